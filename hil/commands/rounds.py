"""A running trial as lines on a terminal: what it is, a line per round, and what came of it. Fed with events, in their order."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from hil.commands.outcome import beside, chained, promise, step
from hil.commands.rows import HEADER, NAME, Angle, Row, number
from hil.commands.streams import Streams
from hil.scenario import Scenario
from hil.testbed import Testbed

_BAR = 20  # characters


@dataclass
class RoundsView:
    """Call it with each event. Lines go to stderr; what it learnt stays in `rows`, `how` and `failure`.

    utc: asked for the time that each line begins with where stderr is no terminal.
    """

    streams: Streams
    utc: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))
    rows: list[Row] = field(default_factory=list)
    how: str = ""
    where: str = ""  # the flag with which such a run is resumed
    ended: Mapping[str, Any] = field(default_factory=dict)
    elapsed: float = 0.0
    _open: dict[tuple[int, str], Row] = field(default_factory=dict)
    _held: Row | None = None
    _stop_change_db: float = 0.0
    _steps: int = 0  # what there is to do at most: exploring, baselines, rounds
    _recorded: int = 0
    _began: float = 0.0
    _header: bool = False
    _name: int = NAME
    _moves: bool = True
    _cells: bool = False
    _gave_way: bool = False

    # -- before ----------------------------------------------------------------------------------------------------------------------------

    def opening(self, folder: str, seed: int, depth: str, scenario: Scenario, testbed: Testbed) -> None:
        """The lines before the first round."""
        self._stop_change_db = scenario.rounds.stop_change_db
        self._steps = 1 + len(scenario.design.baselines) + scenario.rounds.max
        self._cells, self._moves = bool(scenario.cell), any(wire.moving for wire in testbed.wire)
        if self._cells:
            self._name = max(NAME, *(len(name) for name in (scenario.design.designer, *scenario.design.baselines)))
        clock = "virtual time" if depth == "process" else "wall time"
        self.where = " --air" if depth == "air" else ""
        self._line(f"run     {folder}      seed {seed}, {'over the air' if self.where else f'depth {depth}'}, {clock}")
        self._line(f"bench   {bench_line(scenario, testbed)}")
        self._line(f"calib   no records{'' if self.where else ' for this emulated bench'}: what is needed is measured within the run")

    # -- while it goes on ------------------------------------------------------------------------------------------------------------------

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Take one event in."""
        self.elapsed = float(event.get("t") or self.elapsed)
        kind = event.get("event", "")
        if self.streams.verbose:
            self._verbose(kind, event)
        handler = getattr(self, f"_on_{kind}", None)
        if handler is not None:
            handler(event)

    def _row(self, event: Mapping[str, Any]) -> Row:
        key = (int(event.get("round") or 0), str(event.get("designer") or ""))
        if key not in self._open:
            self._open[key] = Row(*key, began=self._began)
        return self._open[key]

    def _on_designed(self, event: Mapping[str, Any]) -> None:
        row = self._row(event)
        row.infeasible = bool(event.get("infeasible"))
        row.gave_way, self._gave_way = row.gave_way or self._gave_way, False
        for name in ("promised", "predicted", "bound"):
            setattr(row, name, event.get(name))

    def _on_placed(self, event: Mapping[str, Any]) -> None:
        if event.get("purpose") == "explore":
            return
        row = self._row(event)
        row.moved, row.movable = row.moved + int(event.get("moved") or 0), int(event.get("movable") or 0)

    def _on_moved(self, event: Mapping[str, Any]) -> None:
        if event.get("designer"):
            self._row(event).distance += abs(float(event["reached"]) - float(event["from"]))

    def _on_measured(self, event: Mapping[str, Any]) -> None:
        row = self._row(event)
        target = event.get("target")
        if isinstance(target, Mapping):
            self._seen(row, target)
            return
        sinr, promised, upper = event.get("sinr_db"), event.get("promised_db"), event.get("upper_db")
        if sinr is not None and (row.measured is None or sinr < row.measured):
            row.measured, row.evm = sinr, event.get("evm")
        if promised is not None and upper is not None:
            row.kept = (row.kept is not False) and upper >= promised

    def _seen(self, row: Row, target: Mapping[str, Any]) -> None:
        """A target's fix: a place, or an angle of one target of several."""
        if target.get("unit") != "rad":
            row.error, row.crlb = target.get("error"), target.get("crlb")
            return
        error, bound = (None if target.get(key) is None else math.degrees(abs(target[key])) for key in ("error", "ideal"))
        row.angles.append(Angle(error, bound, target.get("above_threshold") is not False))

    def _on_recorded(self, event: Mapping[str, Any]) -> None:
        what, number = event.get("what"), int(event.get("round") or 0)
        now = self.elapsed
        keys = [key for key in self._open if key[0] == number and (key[1] == what or what == "round")]
        for key in keys:
            self._release()
            self._held = self._open.pop(key)
            self._held.took = now - self._held.began
            self.rows.append(self._held)
        self._began = now
        self._recorded += 1

    def _on_state(self, event: Mapping[str, Any]) -> None:
        if event.get("to") not in ("idle", "safe"):
            self._release()
            self._bar(int(event.get("round") or 0), str(event.get("designer") or ""), str(event.get("to")))

    def _on_ended(self, event: Mapping[str, Any]) -> None:
        self.how, self.ended = str(event.get("how")), event
        self._release(self.remark)
        self.streams.status("")

    def _on_warned(self, event: Mapping[str, Any]) -> None:
        if event.get("id") == "not-coherent":
            self._gave_way = True  # the design that comes next
        self._line(f"warning[{event.get('id')}] {event.get('device') or ''} {event.get('message')}".replace("  ", " "))

    @property
    def remark(self) -> str:
        """How it ended, in a few words."""
        why = {"converged": f"converged (< {self._stop_change_db:g} dB)", "limit": "round limit"}.get(self.how, self.how)
        rest = [word for word, key in (("muted", "muted"), ("at rest", "at_rest")) if self.ended.get(key)]
        return ", ".join([why, *rest])

    def _release(self, remark: str = "") -> None:
        """Print the line that was held back for a remark."""
        row, self._held = self._held, None
        if row is None:
            if remark and not self.rows:
                self._line(remark)
            return
        if not self._header:
            unit, moved = "\N{DEGREE SIGN}" if self._cells else "m", "   moved" if self._moves else ""
            self._line(self.streams.paint(HEADER.format(design=f"{'design':<{self._name}}", unit=unit, moved=moved), "bold"))
            self._header = True
        self._line(row.line(self._name, self._moves) + (f"   {remark}" if remark else ""))

    def _bar(self, number: int, designer: str, state: str) -> None:
        """How far it has come, on the line that is written over."""
        done = min(_BAR, _BAR * self._recorded // max(1, self._steps))
        self.streams.status(f"[{'#' * done}{'.' * (_BAR - done)}]  round {number} {designer} {state}".replace("  ", " "))

    def _verbose(self, kind: str, event: Mapping[str, Any]) -> None:
        if kind in ("state", "opened", "levelled", "applied", "muted", "judged", "moved") or self.streams.verbose > 1:
            facts = " ".join(f"{key}={_short(value)}" for key, value in event.items() if key not in ("n", "t", "event", "crc"))
            self._line(f"  {self.elapsed:9.3f}  {kind} {facts}")

    def _line(self, text: str) -> None:
        stamp = "" if self.streams.terminal(self.streams.err) else f"{self.utc():%H:%M:%SZ} "
        self.streams.say(stamp + text)

    # -- after -----------------------------------------------------------------------------------------------------------------------------

    def summary(self) -> list[str]:
        """The lines of the result: the designer's last round, then each baseline and what the steps between them are worth."""
        last = {row.designer: row for row in self.rows}
        rounds = [row for row in self.rows if row.round > 0]
        final = rounds[-1] if rounds else None
        others = list(last) if self._cells else [name for name in ("sparse", "fixed", "fixed-rzf") if name in last]
        names = list(dict.fromkeys([final.designer, *others] if final else others))
        width = max([10, *(len(name) + 1 for name in names)])
        lines = []
        for place, name in enumerate(names):
            row = last[name]
            text = f"{name:<{width}}{number(row.measured):>6} dB"
            remark = self._remark(row, rounds, last[names[place - 1]] if place else None)
            lines.append(text + (f"   {remark}" if remark else ""))
        return chained(lines)

    def _remark(self, row: Row, rounds: list[Row], above: Row | None) -> str:
        final = rounds[-1] if rounds else None
        if row is final:
            return promise(rounds)
        if above is None:
            return ""
        return beside(final, row) if self._cells else step(above, row)

    def result(self) -> dict[str, Any]:
        """The same for --json."""
        keys = ("round", "designer", "promised", "predicted", "measured", "bound", "kept", "evm", "moved", "movable", "took")
        rows = [{key: getattr(row, key) for key in (*keys, *("gave_way",) * self._cells)} for row in self.rows]
        return {"ended": self.how, "unit": "dB", "rounds": rows}


def _short(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def bench_line(scenario: Scenario, testbed: Testbed) -> str:
    """The bench in one line: 2 access points x 4 movable elements, 1 sensing array x 4, 2 users, 1 target, 3.5 GHz, 15.36 MS/s; of several
    cells: 2 base stations x 6 + 10, 6 users in 2 cells, 2 targets, ..., elements that send and that listen.
    """
    signal = f"{scenario.signal.carrier_hz / 1e9:g} GHz, {scenario.signal.sample_rate_hz / 1e6:g} MS/s"
    if scenario.cell:
        elements = {array.name: array.elements for array in scenario.array}
        sizes = [(elements[cell.transmit], elements[cell.receive]) for cell in scenario.cell]
        parts = [f"{_counted(sizes.count(size), 'base station')} x {size[0]} + {size[1]}" for size in dict.fromkeys(sizes)]
        parts += [f"{_counted(len(scenario.user), 'user')} in {_counted(len(sizes), 'cell')}", _counted(len(scenario.targets), "target"), signal]
        return ", ".join(parts)
    parts = []
    for arrays, one, many in (
        (scenario.transmitters, "access point", "access points"),
        (scenario.sensors, "sensing array", "sensing arrays"),
    ):
        sizes = {(array.elements, bool(testbed.wire_of(array.name).moving)) for array in arrays}
        for elements, moving in sorted(sizes, reverse=True):
            count = sum((array.elements, bool(testbed.wire_of(array.name).moving)) == (elements, moving) for array in arrays)
            parts.append(f"{count} {one if count == 1 else many} x {elements}{' movable elements' if moving else ''}")
    parts.append(_counted(len(scenario.user), "user"))
    if walking := len(scenario.targets):
        parts.append(_counted(walking, "target"))
    parts.append(signal)
    return ", ".join(parts)


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
