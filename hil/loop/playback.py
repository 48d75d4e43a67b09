"""A recorded bench: devices that answer what they answered, designers that decide what they decided, a clock that shows what it showed.

A `Link` over this transport cannot be told from one to a bench, as long as it is asked what the run asked, in the run's order.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from hil.clock import Instant
from hil.device import Capability, Loss, Position, Setting
from hil.errors import Infeasible, RecordError
from hil.knowledge import Design
from hil.link import messages as m
from hil.link.link import Call, Link, Outcome
from hil.records.reader import Run
from hil.testbed import Testbed


class Departed(RecordError):
    """What is asked for is not what the run had asked for: from here on nothing recorded answers it."""

    def __init__(self, where: str, asked: str, recorded: str) -> None:
        super().__init__(
            "replay-departed", "this version asks for something else than the run did", where=where, found=asked, allowed=recorded,
            fix="replay it with the version that made it (run.json: hil, commit)",
        )  # fmt: skip


class Recording:
    """Transport (`hil.link.link.Transport`) to the devices of one session of a run: events first ... last - 1, opened once.

    testbed: the run's own. hashes: captures are compared with the hashes of their events as they are read.
    """

    def __init__(self, run: Run, testbed: Testbed, first: int, last: int, *, hashes: bool = True) -> None:
        self._run, self._testbed, self._hashes = run, testbed, hashes
        self.nodes = tuple(node.name for node in testbed.node)
        self._captured: defaultdict[str, deque[dict[str, Any]]] = defaultdict(deque)
        self._moved: defaultdict[str, deque[dict[str, Any]]] = defaultdict(deque)
        opened: dict[str, dict[str, Any]] = {}
        for event in run.events[first:last]:
            if event["event"] == "captured":
                self._captured[event["device"]].append(event)
            elif event["event"] == "moved":
                self._moved[event["stage"]].append(event)
            elif event["event"] == "opened":
                opened[event["device"]] = event
        self._capability = {radio.name: self._able(radio.name, opened.get(radio.name, {})) for radio in testbed.radio}
        self._where = {stage.name: self._stood(stage.name, opened.get(stage.name, {})) for stage in testbed.stage}
        self._settings = {
            name: deque(entry for entry in history if first - 1 <= entry["after_event"] < last) for name, history in run.settings.items()
        }

    def _able(self, radio: str, opened: Mapping[str, Any]) -> Capability:
        """As the radio said; what a run that did not record it can have had is its profile's."""
        said = opened.get("capability")
        return msgspec.convert(said, Capability) if said else self._testbed.capability(radio)

    def _stood(self, stage: str, opened: Mapping[str, Any]) -> Position:
        """Where a stage was when it was opened; else where its first moves began."""
        if "axes" in opened:
            return Position(opened["axes"], opened["std"], homed=True, moving=False)
        axes, std = {}, {}
        for event in reversed(self._moved[stage]):
            axes[event["axis"]], std[event["axis"]] = event["from"], event["std"]
        return Position(axes, std, homed=True, moving=False)

    # -- Transport -------------------------------------------------------------------------------------------------------------------------

    def exchange(self, calls: Sequence[Call]) -> list[Outcome]:
        return [self._answer(call) for call in calls]

    def here(self, node: str, instant: Instant | None) -> Instant | None:
        return instant

    def progress(self) -> None:
        """Nobody holds a lease."""

    def close(self) -> None:
        """Nothing is held."""

    def _answer(self, call: Call) -> tuple[m.Message, list[NDArray[Any]]]:
        match call.request:
            case m.Describe():
                return self._described(call.node), []
            case m.Configure(device=name, setting=asked):
                return m.Configured(setting=self._became(name, asked)), []
            case m.Prepare(version=version, power_dbm=powers):
                return m.Prepared(version=version, power_dbm=powers), []
            case m.Apply(version=version):
                return m.Applied(version=version), []
            case m.Capture(device=name, samples=samples, purpose=purpose):
                return self._capture(name, samples, purpose)
            case m.Move(stage=name, move=move):
                return m.Positioned(position=self._arrived(name, move.targets)), []
            case m.Where(stage=name):
                return m.Positioned(position=self._where[name]), []
            case m.Status() | m.Clear():
                return m.State(state="ready"), []
        return m.Done(), []

    def _described(self, node: str) -> m.Described:
        radios = {radio.name: self._capability[radio.name] for radio in self._testbed.radio if radio.node == node}
        return m.Described(node=node, state=m.State(state="ready"), radios=radios)

    def _became(self, radio: str, asked: Setting) -> Setting:
        history = self._settings.get(radio) or deque()
        if not history:
            raise Departed(radio, str(asked), "no more settings")
        entry = history.popleft()
        before = msgspec.convert(entry["asked"], Setting)
        if before != asked:
            raise Departed(radio, str(asked), str(before))
        return msgspec.convert(entry["became"], Setting)

    def _capture(self, radio: str, samples: int, purpose: str) -> tuple[m.Message, list[NDArray[Any]]]:
        asked = f"{samples} samples to {purpose}"
        if not self._captured[radio]:
            raise Departed(radio, asked, "no more captures")
        event = self._captured[radio].popleft()
        if (event["samples"], event["purpose"]) != (samples, purpose):
            raise Departed(f"{radio} {event['file']}", asked, f"{event['samples']} samples to {event['purpose']}")
        name = event["file"].removeprefix("captures/").removesuffix(".sigmf-data")
        found = self._run.capture(name, verify=self._hashes)
        head = {field: getattr(found, field) for field in m.Captured.__struct_fields__}
        return m.Captured(**head | {"device": radio, "loss": Loss(found.loss)}), [found.samples]

    def _arrived(self, stage: str, targets: Mapping[str, float]) -> Position:
        events = [self._moved[stage].popleft() for _ in range(min(len(targets), len(self._moved[stage])))]
        asked = {event["axis"]: event["asked"] for event in events}
        if asked.keys() != targets.keys() or any(abs(asked[axis] - goal) > 1e-9 for axis, goal in targets.items()):
            raise Departed(stage, _millimetres(targets), _millimetres(asked) or "no more moves")
        before = self._where[stage]
        axes = {**before.axes, **{event["axis"]: event["reached"] for event in events}}
        std = {**before.std, **{event["axis"]: event["std"] for event in events}}
        self._where[stage] = Position(axes, std, homed=True, moving=False)
        return self._where[stage]


def _millimetres(axes: Mapping[str, float]) -> str:
    return ", ".join(f"{axis} to {place * 1e3:.6f} mm" for axis, place in sorted(axes.items()))


def recorded_link(run: Run, testbed: Testbed, first: int, last: int, *, hashes: bool = True) -> Link:
    """A link to the devices of one session of a run."""
    owners = {radio.name: radio.node for radio in testbed.radio} | {stage.name: stage.node for stage in testbed.stage}
    return Link(Recording(run, testbed, first, last, hashes=hashes), owners)


class RecordedClock:
    """Shows what the run's clock showed at the event that comes next; waiting and computing cost nothing."""

    def __init__(self, coming: Callable[[], Instant]) -> None:
        self._coming = coming

    def now(self) -> Instant:
        return self._coming()

    def sleep(self, seconds: float) -> None:
        """The next event's time already holds it."""

    def charge(self, what: str) -> None:
        """As for `sleep`."""

    def together(self, calls: Sequence[Callable[[], Any]]) -> list[Any]:
        return [call() for call in calls]


class RecordedDesigner:
    """Stands where a run's designer stood and gives the design it gave, without working it out again. at: the round now replayed.

    like: the designer of that name, which says whether it needs base stations in phase and who gives way to whom.
    """

    def __init__(self, name: str, run: Run, at: Callable[[], int], like: Any = None, recorded: str | None = None) -> None:
        self.name, self._run, self._at, self._like, self._recorded = name, run, at, like, recorded or name
        self.coherent = bool(getattr(like, "coherent", False))

    def apart(self) -> RecordedDesigner:
        """What designed in its place; recorded under its name."""
        instead = self._like.apart()
        return RecordedDesigner(instead.name, self._run, self._at, instead, self._recorded)

    def positions(self, problem: Any) -> NDArray[np.float64]:
        """(transmitter, antenna) metres of local x that were asked for in this round. Infeasible where none could be had."""
        placed = self._run.of("placed", self._at(), purpose="design", designer=self._recorded)
        if not placed:
            raise self._infeasible()
        return np.array(placed[-1]["asked"])

    def __call__(self, problem: Any, knowledge: Any) -> Design:
        if not [event for event in self._run.of("designed", self._at(), step="precoders", designer=self._recorded) if event.get("file")]:
            raise self._infeasible()
        return self._run.design(self._at(), self._recorded)

    def _infeasible(self) -> Infeasible:
        said = [event for event in self._run.of("designed", self._at(), designer=self._recorded) if event.get("infeasible")]
        why = said[-1]["stopped"] if said else "no design is recorded"
        return Infeasible(why, achievable=said[-1].get("achievable") if said else None)
