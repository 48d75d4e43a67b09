"""Faults: what goes wrong, where and when, as scheduled in `[emulated] fault`; and the log of what happened to the world.

    fault = [{ what = "lost-block", where = "u1", at_s = 2.0, for_s = 1.0, rate_hz = 100.0 },
             { what = "stuck-axis", where = "rail1", at_s = 0.0, axis = "b" }]

A fault is a value with instants; a device asks whether one is active, so samples and positions stay functions of the history. No device
tells; `Truth.log` does.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from hil.clock import Instant

ROOM = "room"  # where a fault of the medium is


class Parameter(NamedTuple):
    default: float | str
    least: float = -math.inf
    most: float = math.inf


class Kind(NamedTuple):
    """One fault: the device it befalls (radio, stage, room or link), its parameters and what is seen of it."""

    of: str
    parameters: Mapping[str, Parameter] = {}
    seen: str = ""


_CHANNEL = {"channel": Parameter(0, 0, 63)}
_AXIS = {"axis": Parameter("")}
_RATE = {"rate_hz": Parameter(100.0, 1e-6, 1e6), "samples": Parameter(0, 0, 1 << 20)}

KINDS: Mapping[str, Kind] = {
    # captures
    "lost-block": Kind("radio", _RATE, "samples vanish, rate_hz times a second; `samples` in multiples of 64, 0: a DMA block"),
    "repeated-block": Kind("radio", _RATE, "samples come twice"),
    "stuck-ring": Kind("radio", {}, "every capture is the last one before"),
    "stale-buffer": Kind("radio", {}, "the driver does not discard: blocks of an earlier time and setting"),
    "capture-never-returns": Kind("radio", {}, "a capture ends at its timeout"),
    "returns-short": Kind("radio", {"share": Parameter(0.5, 0.0, 1.0)}, "fewer samples than asked"),
    "returns-late": Kind("radio", {"late_s": Parameter(0.5, 0.0, 1e4)}, "a capture comes later"),
    "overflow-stuck": Kind("radio", {}, "the overflow bit stays set, where the part has one"),
    "adc-stuck-bit": Kind("radio", _CHANNEL | {"bit": Parameter(6, 0, 23)}, "one bit of the in-phase code is always set"),
    "dead-channel": Kind("radio", _CHANNEL, "codes are zero"),
    "weak-channel": Kind("radio", _CHANNEL | {"loss_db": Parameter(20.0, 0.0, 200.0)}, "the antenna's signal is weaker, the noise is not"),
    "polarity-flip": Kind("radio", _CHANNEL, "codes change sign"),
    "channels-swapped": Kind("radio", _CHANNEL | {"other": Parameter(1, 0, 63)}, "two channels change places"),
    "dc-jump": Kind("radio", _CHANNEL | {"level_dbfs": Parameter(-20.0, -120.0, 0.0)}, "a constant is added to the codes"),
    "iq-tracking-off": Kind("radio", {"image_dbc": Parameter(-35.0, -200.0, 0.0)}, "an image at minus the frequency"),
    "cable-loose": Kind("radio", _CHANNEL | {"loss_db": Parameter(20.0, 0.0, 200.0)}, "the antenna's signal flickers between 0 and -loss_db"),
    # tuning
    "unlocked-retune": Kind("radio", {"offset_hz": Parameter(50e3, -1e9, 1e9)}, "a retune ends off frequency; 0: it stays mute and deaf"),
    "lo-phase-jump": Kind("radio", {"cycles": Parameter(0.25, -1.0, 1.0)}, "both local oscillators jump in phase"),
    "clock-step": Kind("radio", {"step_ns": Parameter(100.0, -1e9, 1e9)}, "the sample clock jumps ahead"),
    "frequency-step": Kind("radio", {"step_ppm": Parameter(0.1, -100.0, 100.0)}, "the reference changes frequency for good"),
    "reference-unlock": Kind("radio", {}, "from then on the oscillator wanders like a free ocxo"),
    "gain-readback-wrong": Kind("radio", {"error_db": Parameter(6.0, -100.0, 100.0)}, "read-back differs from the gain in force"),
    "gain-step-ignored": Kind("radio", {}, "read-back follows, the gain does not"),
    # transmission
    "reload-ignored": Kind("radio", {}, "the version before stays on the air under the new one's number"),
    "dac-wrap": Kind("radio", {"scale": Parameter(4.0, 1.0, 1e3)}, "codes are scaled and wrap around"),
    "amplifier-gain-drop": Kind("radio", _CHANNEL | {"loss_db": Parameter(1.0, 0.0, 200.0)}, "one channel sends less"),
    "amplifier-death": Kind("radio", _CHANNEL, "one channel sends nothing"),
    "power-cycle": Kind("radio", {}, "silent, and not configured"),
    "node-reboot": Kind("radio", {}, "silent, and closed to the one who held it"),
    # medium
    "path-blocked": Kind("room", {"between": Parameter(""), "loss_db": Parameter(15.0, 0.0, 200.0)}, "less goes from one radio to another"),
    "target-vanishes": Kind("room", {"target": Parameter("")}, "no echo, of one target or of all"),
    "interferer": Kind("room", {"carrier_hz": Parameter(0.0), "at_port_dbm": Parameter(-80.0, -200.0, 30.0)}, "a tone at every port"),
    # stage
    "lost-steps": Kind("stage", _AXIS | {"steps": Parameter(40, 1, 1e6)}, "a move ends short, the count does not"),
    "stuck-axis": Kind("stage", _AXIS, "the count moves, the carriage stays"),
    "half-speed": Kind("stage", {}, "moves take longer"),
    "overshoot-x5": Kind("stage", {"times": Parameter(5.0, 0.0, 100.0)}, "carriages ring more"),
    "switch-bounce": Kind("stage", _AXIS | {"error_mm": Parameter(1.0, -100.0, 100.0)}, "homing sets the count wrong"),
    "alarm": Kind("stage", {}, "moves end in an alarm"),
    "controller-reset": Kind("stage", {}, "stops, and must be homed"),
    "count-reset": Kind("stage", {}, "the count reads as after homing, nothing moved"),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Fault:
    """One fault from `begins` until `ends` (None: for good)."""

    what: str
    where: str
    at_s: float
    for_s: float
    parameters: Mapping[str, Any]
    begins: Instant
    ends: Instant | None

    def __getitem__(self, name: str) -> Any:
        return self.parameters[name]

    def active(self, at: Instant) -> bool:
        return self.begins <= at and (self.ends is None or at < self.ends)


@dataclass(frozen=True, slots=True)
class Happening:
    """One line of the log."""

    at: Instant
    where: str
    what: str
    details: Mapping[str, Any] = field(default_factory=dict)


class Faults:
    """The schedule of a world, and its log. `none` of a kind costs one look into a dictionary."""

    def __init__(self, scheduled: Iterable[Fault] = ()) -> None:
        self._by: dict[tuple[str, str], list[Fault]] = {}
        self._log: list[Happening] = []
        self._lock = threading.Lock()
        for fault in sorted(scheduled, key=lambda fault: fault.begins):
            self._by.setdefault((fault.where, fault.what), []).append(fault)
            details = dict(fault.parameters)
            self._log.append(Happening(fault.begins, fault.where, fault.what, details))
            if fault.ends is not None:
                self._log.append(Happening(fault.ends, fault.where, f"{fault.what} ends"))

    def all(self, where: str, *what: str) -> list[Fault]:
        """Those of some kinds at one place, in the order of their instants."""
        return sorted((fault for kind in what for fault in self._by.get((where, kind), ())), key=lambda fault: fault.begins)

    def active(self, where: str, what: str, at: Instant) -> Fault | None:
        """The one in force at an instant; of several, the latest."""
        found = [fault for fault in self._by.get((where, what), ()) if fault.active(at)]
        return found[-1] if found else None

    def within(self, where: str, what: str, begin: Instant, end: Instant) -> list[Fault]:
        """Those that are in force at any time in [begin, end)."""
        return [f for f in self._by.get((where, what), ()) if f.begins < end and (f.ends is None or begin < f.ends)]

    def begun(self, where: str, what: str, after: Instant | None, until: Instant) -> list[Fault]:
        """Those that began in (after, until]; after None: since ever."""
        return [f for f in self._by.get((where, what), ()) if (after is None or after < f.begins) and f.begins <= until]

    def edges(self, where: str, what: Sequence[str], begin: Instant, end: Instant) -> list[Instant]:
        """Instants inside (begin, end) at which one of these kinds begins or ends."""
        instants = {at for fault in self.all(where, *what) for at in (fault.begins, fault.ends) if at is not None}
        return sorted(at for at in instants if begin < at < end)

    def note(self, at: Instant, where: str, what: str, **details: Any) -> None:
        with self._lock:
            self._log.append(Happening(at, where, what, details))

    def retract(self, where: str, what: str, after: Instant) -> None:
        """Take back what was foreseen of a device and will not happen."""
        with self._lock:
            self._log = [entry for entry in self._log if not (entry.where == where and entry.what == what and after < entry.at)]

    def log(self, until: Instant) -> list[Happening]:
        """What has happened, in the order of the instants."""
        with self._lock:
            return sorted((entry for entry in self._log if entry.at <= until), key=lambda entry: entry.at)


def parse(tables: Sequence[Mapping[str, Any]], radios: Collection[str], stages: Collection[str], origin: Instant) -> Faults:
    """The schedule of `[emulated] fault`. at_s: seconds after `origin`; for_s: how long, left out: for good.

    ValueError with place, found and allowed for anything unknown or impossible.
    """
    places = {"radio": tuple(radios), "stage": tuple(stages), ROOM: (ROOM,)}
    return Faults(_fault(f"fault[{i}]", table, places, origin) for i, table in enumerate(tables))


def _fault(key: str, table: Mapping[str, Any], places: Mapping[str, tuple[str, ...]], origin: Instant) -> Fault:
    what = table.get("what")
    if what not in KINDS:
        raise _wrong(f"{key}.what", what, " | ".join(KINDS))
    kind = KINDS[what]
    where = table.get("where", ROOM if kind.of == ROOM else None)
    if where not in places[kind.of]:
        raise _wrong(f"{key}.where", where, f"a {kind.of}: {' | '.join(places[kind.of]) or 'there is none'}")
    times = {}
    for name, usual in (("at_s", None), ("for_s", math.inf)):
        times[name] = table.get(name, usual)
        if not _is_number(times[name]) or not times[name] >= 0.0:
            raise _wrong(f"{key}.{name}", times[name], "seconds, not negative")
    parameters = {name: usual.default for name, usual in kind.parameters.items()}
    for name, value in table.items():
        if name in ("what", "where", "at_s", "for_s"):
            continue
        if name not in kind.parameters:
            raise _wrong(f"{key}.{name}", "unknown key", " | ".join(("what", "where", "at_s", "for_s", *kind.parameters)))
        usual = kind.parameters[name]
        if isinstance(usual.default, str):
            if not isinstance(value, str):
                raise _wrong(f"{key}.{name}", value, "a name")
            pairs = [f"{a}>{b}" for a in places["radio"] for b in places["radio"] if a != b]
            if name == "between" and value and value not in pairs:
                raise _wrong(f"{key}.{name}", value, " | ".join(pairs))
        elif not _is_number(value) or not usual.least <= value <= usual.most or (isinstance(usual.default, int) and value != int(value)):
            word = "a whole number" if isinstance(usual.default, int) else "a number"
            raise _wrong(f"{key}.{name}", value, f"{word} in {usual.least:g} .. {usual.most:g}")
        parameters[name] = value
    begins = origin.after(float(times["at_s"]))
    ends = None if math.isinf(times["for_s"]) else begins.after(float(times["for_s"]))
    return Fault(what, where, float(times["at_s"]), float(times["for_s"]), parameters, begins, ends)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isnan(value)


def _wrong(key: str, found: Any, allowed: str) -> ValueError:
    return ValueError(f"[emulated] {key}: found {found}; allowed {allowed}")
