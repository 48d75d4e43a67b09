"""A record that keeps nothing: each event that is told to it is compared with the one a run has in its place.

What follows from captures is compared field by field, arrays stored beside events key by key; clocks, words and decisions are not.
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.clock import Instant
from hil.device import Capture
from hil.errors import RecordError
from hil.records import events, layout
from hil.records.reader import Run

FROM_CAPTURES = ("levelled", "estimated", "bounded", "mapped", "judged", "measured")
DISTINCT = ("designer", "what", "of", "transmitter", "user", "device", "to", "stage", "axis", "purpose", "file")  # which event of a kind it is
NOT_FROM_CAPTURES = ("n", "t", "crc", "event", "round", "age")  # counts and clocks


class Whole(Exception):
    """The last thing the run had recorded whole has been told again."""


@dataclass(frozen=True, slots=True)
class Departure:
    """One number, word or array that did not come out as recorded. relative: largest difference over largest magnitude; inf: not comparable."""

    where: str
    field: str
    now: Any
    recorded: Any
    relative: float

    def __str__(self) -> str:
        much = f"relative {self.relative:.1e}" if math.isfinite(self.relative) else "not the same kind or size"
        return f"{self.where}, {self.field}: {_short(self.now)} was {_short(self.recorded)}; {much}"


class Recomputing:
    """Takes the place of a `RunWriter` (`hil.records.record.Record`) for events first ... last - 1 of a run.

    compared, identical: events made from captures, and those of them equal to the bit; arrays: stored arrays compared; departures: all
    that was not equal to the bit; raises Whole when the last `recorded` event among them comes round.
    """

    def __init__(self, run: Run, first: int, last: int) -> None:
        self.run = run
        self.compared = self.identical = self.arrays = 0
        self.departures: list[Departure] = []
        self._expected: defaultdict[tuple[Any, ...], deque[dict[str, Any]]] = defaultdict(deque)
        self._whole = max((event["n"] for event in run.events[first:last] if event["event"] == "recorded"), default=-1)
        for event in run.events[first : self._whole + 1]:
            self._expected[_which(event)].append(event)
        self._next = first
        self._fields: dict[str, Mapping[str, Any]] = {}
        self._captures = {event["file"]: event["sha512"] for event in run.of("captured")}

    def coming(self) -> Instant:
        """The recorded time of the next event."""
        events = self.run.events
        return Instant.of(events[min(self._next, len(events) - 1)]["t"])

    def missing(self) -> list[dict[str, Any]]:
        """Events made from captures that were recorded and did not come again."""
        left = (event for queue in self._expected.values() for event in queue if event["event"] in FROM_CAPTURES)
        return sorted(left, key=lambda event: event["n"])

    # ---- what a loop tells its record

    def event(self, event: str, round: int | None = None, t: Instant | None = None, **fields: Any) -> dict[str, Any]:
        made = {"event": event, "round": round, **events.plain({key.rstrip("_"): value for key, value in fields.items()}, self.run.name)}
        queue = self._expected[_which(made)]
        then = queue.popleft() if queue else None
        if then is not None:
            self._next = max(self._next, then["n"] + 1)
        if event in FROM_CAPTURES:
            self.compared += 1
            found = list(_differences(_place(made), made, then))
            self.identical += not found
            self.departures += found
        if then is not None and then["n"] == self._whole:
            raise Whole
        return made

    def capture(self, name: str, capture: Capture, *, round: int, **_: Any) -> tuple[str, str]:
        file = layout.data_file(name)
        if file not in self._captures:
            raise RecordError("no-file", "not among this run's captures", where=f"{self.run.name} {file}")
        return file, self._captures[file]

    def captures(self, several: Mapping[str, tuple[Capture, Mapping[str, Any]]]) -> dict[str, tuple[str, str]]:
        return {name: self.capture(name, capture, **rest) for name, (capture, rest) in several.items()}

    def design(self, round: int, designer: str, design: Any, extras: Mapping[str, Any] | None = None, *, step: str = "") -> tuple[str, str]:
        self._compare(f"r{round:03d} {designer}, stored design", extras or {}, self.run.design_arrays(round, designer, step))
        return layout.design_file(round, designer, step), ""

    def field(self, round: int, transmitter: str, user: str, arrays: Mapping[str, Any]) -> tuple[str, str]:
        file = layout.field_file(round, transmitter, user)
        self._fields[file] = arrays  # a file holds the last map of its round
        return file, ""

    def results(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """The same numbers as in events."""

    def settings(self, *_: Any, **__: Any) -> None:
        """Read back from the record itself."""

    def log(self, text: str) -> None:
        """Words."""

    def round_ends(self, round: int, what: str = "round", t: Instant | None = None) -> None:
        self.event("recorded", round, what=what)

    def end(self, how: str, **_: Any) -> None:
        """A replay ends as it ends."""

    def compare_fields(self) -> None:
        """The maps as they were last stored; those that a round not replayed has stored again are left out."""
        later = {event["file"] for event in self.run.events[self._whole + 1 :] if event["event"] == "mapped"}
        for file, arrays in self._fields.items():
            if file not in later:
                self._compare(file, arrays, self.run.field_arrays(file))

    def _compare(self, where: str, now: Mapping[str, Any], recorded: Mapping[str, NDArray[Any]]) -> None:
        for key, value in now.items():
            self.arrays += value is not None
            if value is None and key not in recorded:
                continue
            if value is None or key not in recorded:
                self.departures.append(Departure(where, key, value, recorded.get(key), math.inf))
                continue
            self.departures += list(_apart(where, key, np.asarray(value), recorded[key]))


def _which(event: Mapping[str, Any]) -> tuple[Any, ...]:
    detail = tuple(event.get(field) for field in DISTINCT)
    return event["event"], event["round"], detail


def _place(event: Mapping[str, Any]) -> str:
    number = "" if event["round"] is None else f"r{event['round']:03d} "
    detail = " ".join(str(event[field]) for field in DISTINCT if event.get(field) is not None and field != "file")
    return f"{number}{event['event']} {detail}".strip()


def _differences(where: str, now: Mapping[str, Any], recorded: Mapping[str, Any] | None) -> Iterator[Departure]:
    """Field by field; fields that a later version has added are its own."""
    if recorded is None:
        yield Departure(where, "event", "made", "not in the record", math.inf)
        return
    for field, then in recorded.items():
        if field not in NOT_FROM_CAPTURES:
            yield from _apart(where, field, now.get(field), then)


def _apart(where: str, field: str, now: Any, then: Any) -> Iterator[Departure]:
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        for key in then:
            yield from _apart(where, f"{field}.{key}", now.get(key), then[key])
        return
    relative = relative_difference(now, then)
    if relative != 0.0:
        yield Departure(where, field, now, then, relative)


def relative_difference(now: Any, then: Any) -> float:
    """Largest difference over the largest magnitude of `then`; 0 when equal to the bit; inf for other shapes, kinds or words."""
    a, b = _numbers(now), _numbers(then)
    if a is None or b is None:
        return 0.0 if type(now) is type(then) and _equal(now, then) else math.inf
    if a.shape != b.shape or np.any(np.isnan(a) != np.isnan(b)):
        return math.inf
    if np.array_equal(a, b, equal_nan=True):
        return 0.0
    largest = float(np.nanmax(np.abs(b)))
    return float(np.nanmax(np.abs(a - b))) / largest if largest > 0.0 else math.inf


def _equal(now: Any, then: Any) -> bool:
    return bool(np.array_equal(now, then)) if isinstance(now, np.ndarray) else bool(now == then)


def _numbers(value: Any) -> NDArray[Any] | None:
    """As an array of float64 or complex128 (null: NaN); None for what is no number or list of numbers."""
    if isinstance(value, np.ndarray):
        return value if value.dtype.kind in "fciu" else None
    if isinstance(value, bool | str) or value is None:
        return None
    try:
        array = np.array(value, dtype=np.float64)  # None becomes NaN; words and ragged lists are refused
    except (TypeError, ValueError):
        return None
    return None if isinstance(value, list) and _any_word(value) else array


def _any_word(value: Any) -> bool:
    return any(_any_word(item) for item in value) if isinstance(value, list) else isinstance(value, bool | str)


def _short(value: Any) -> str:
    numbers = _numbers(value)
    if numbers is None:
        return str(value)
    return f"{numbers.item():.9g}" if numbers.size == 1 else f"{'x'.join(map(str, numbers.shape))} numbers"
