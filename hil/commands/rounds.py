"""A running trial as lines on a terminal: what it is, a line per round, and what came of it. Fed with events, in their order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from hil.commands.streams import Streams
from hil.scenario import Scenario
from hil.testbed import Testbed

HEADER = "round  design     promised predicted measured  bound   worst user, dB; target error (CRLB), m   EVM   moved    took"
_BAR = 20  # characters
_WORSE = {"sparse": "fixed", "fixed": "fixed-rzf"}
_WHY = {"sparse": "need motion", "fixed": "only a wider array", "fixed-rzf": "only a better precoder"}


@dataclass
class Row:
    """One design that was pushed and measured: the four numbers of the worst user (dB), and what else a line shows."""

    round: int
    designer: str
    promised: float | None = None
    predicted: float | None = None
    measured: float | None = None
    bound: float | None = None
    kept: bool | None = None
    evm: float | None = None
    error: float | None = None
    crlb: float | None = None
    moved: int = 0
    movable: int = 0
    distance: float = 0.0
    began: float = 0.0
    took: float = 0.0
    infeasible: bool = False

    @property
    def line(self) -> str:
        """Aligned under HEADER."""
        target = "" if self.crlb is None else f"{'-' if self.error is None else f'{self.error:.2f}'} ({self.crlb:.2f})"
        evm = "-" if self.evm is None else f"{100 * self.evm:.0f} %"
        moved = "-" if not self.moved else f"{1e3 * self.distance:.1f} mm" if self.movable == 1 else f"{self.moved}/{self.movable}"
        numbers = f"{_number(self.promised):>8}{_number(self.predicted):>10}{_number(self.measured):>9}{_number(self.bound):>7}"
        remark, took = "   infeasible" if self.infeasible else "", max(5, 8 - max(0, len(moved) - 3))
        return f"{self.round:>5}  {self.designer:<11}{numbers}   {target:<35}{evm:>8}   {moved:^3}{self.took:>{took}.1f} s{remark}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


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

    # -- before ----------------------------------------------------------------------------------------------------------------------------

    def opening(self, folder: str, seed: int, depth: str, scenario: Scenario, testbed: Testbed) -> None:
        """The lines before the first round."""
        self._stop_change_db = scenario.rounds.stop_change_db
        self._steps = 1 + len(scenario.design.baselines) + scenario.rounds.max
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
            row.error, row.crlb = target.get("error"), target.get("crlb")
            return
        sinr, promised, upper = event.get("sinr_db"), event.get("promised_db"), event.get("upper_db")
        if sinr is not None and (row.measured is None or sinr < row.measured):
            row.measured, row.evm = sinr, event.get("evm")
        if promised is not None and upper is not None:
            row.kept = (row.kept is not False) and upper >= promised

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
            self._line(self.streams.paint(HEADER, "bold"))
            self._header = True
        self._line(row.line + (f"   {remark}" if remark else ""))

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
        names = ([final.designer] if final else []) + [name for name in ("sparse", "fixed", "fixed-rzf") if name in last]
        width = max([10, *(len(name) + 1 for name in names)])
        lines = []
        for place, name in enumerate(names):
            row = last[name]
            text = f"{name:<{width}}{_number(row.measured):>6} dB"
            remark = _promise(rounds) if row is final else _step(last[names[place - 1]], row) if place else ""
            lines.append(text + (f"   {remark}" if remark else ""))
        return _chained(lines)

    def result(self) -> dict[str, Any]:
        """The same for --json."""
        keys = ("round", "designer", "promised", "predicted", "measured", "bound", "kept", "evm", "moved", "movable", "took")
        rows = [{key: getattr(row, key) for key in keys} for row in self.rows]
        return {"ended": self.how, "unit": "dB", "rounds": rows}


def _promise(rounds: list[Row]) -> str:
    judged = [row for row in rounds if row.kept is not None]
    facts = [f"promise kept in {sum(bool(row.kept) for row in judged)} of {len(judged)} rounds"] if judged else []
    final = rounds[-1]
    if final.bound is not None and final.promised is not None:
        facts.append(f"the last {_number(max(final.bound - final.promised, 0.0))} dB below its bound")
    return "; ".join(facts)


def _step(better: Row, worse: Row) -> str:
    """What the step from one line to the next is worth; negative where it did not pay."""
    why = _WHY.get(worse.designer, "")
    follows = better.round > 0 if worse.designer == "sparse" else _WORSE.get(better.designer) == worse.designer
    if better.measured is None or worse.measured is None or not why or not follows:
        return ""
    return f"{better.measured - worse.measured:.1f} dB {why}"


def _chained(lines: list[str]) -> list[str]:
    """The steps as one sentence over several lines: so ... of the gain need motion ..., ... only ..., ... and ... only ..."""
    steps = [index for index, line in enumerate(lines) if any(line.endswith(why) for why in _WHY.values())]
    for order, index in enumerate(steps):
        head, _, tail = lines[index].rpartition("   ")
        tail = tail.replace("need motion", "of the gain need motion")
        before = "so " if order == 0 else "... and " if index == steps[-1] else "... "
        lines[index] = f"{head}   {before}{tail}{'' if index == steps[-1] else ' ...'}"
    return lines


def _short(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def bench_line(scenario: Scenario, testbed: Testbed) -> str:
    """The bench in one line: 2 access points x 4 movable elements, 1 sensing array x 4, 2 users, 1 target, 3.5 GHz, 15.36 MS/s."""
    parts = []
    for arrays, one, many in (
        (scenario.transmitters, "access point", "access points"),
        (scenario.sensors, "sensing array", "sensing arrays"),
    ):
        sizes = {(array.elements, bool(testbed.wire_of(array.name).moving)) for array in arrays}
        for elements, moving in sorted(sizes, reverse=True):
            count = sum((array.elements, bool(testbed.wire_of(array.name).moving)) == (elements, moving) for array in arrays)
            parts.append(f"{count} {one if count == 1 else many} x {elements}{' movable elements' if moving else ''}")
    parts.append(f"{len(scenario.user)} user{'' if len(scenario.user) == 1 else 's'}")
    if walking := len(scenario.targets):
        parts.append(f"{walking} target{'' if walking == 1 else 's'}")
    parts.append(f"{scenario.signal.carrier_hz / 1e9:g} GHz")
    parts.append(f"{scenario.signal.sample_rate_hz / 1e6:g} MS/s")
    return ", ".join(parts)
