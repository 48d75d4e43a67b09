"""Replaying: the trial itself, run again on a recorded bench; every number that follows from captures is made again and compared.

Nothing is emulated, solved, sent or written. A replay goes as far as the run was recorded whole; a run that was resumed is replayed
session by session, each with its own opening of the devices.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.clock import Instant
from hil.errors import HilError, RecordError
from hil.loop.lab import Lab
from hil.loop.playback import RecordedClock, RecordedDesigner, recorded_link
from hil.loop.resuming import Before
from hil.loop.trials import trial_of
from hil.records import verifying
from hil.records.reader import Run
from hil.records.recomputing import Departure, Recomputing, Whole
from hil.scenario import Scenario
from hil.testbed import Testbed


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay found. captures: read; events: made from them again, `identical` of them to the bit; arrays: stored arrays compared.

    departures: everything not equal to the bit, `missing`: recorded and not made again, `stopped`: why the replay could not go on.
    """

    run: str
    rounds: int
    captures: int
    events: int
    identical: int
    arrays: int
    departures: tuple[Departure, ...]
    missing: tuple[str, ...]
    stopped: HilError | None

    @property
    def largest(self) -> float:
        """The largest relative difference."""
        return max((one.relative for one in self.departures), default=0.0)

    def agrees(self, allowed: float) -> bool:
        """Whether everything came again, within a relative difference of `allowed`."""
        return self.stopped is None and not self.missing and self.largest <= allowed


def replay(run: Run, scenario: Scenario, testbed: Testbed, *, hashes: bool = True) -> Replayed:
    """Make every estimate of a run again from its captures. scenario, testbed: those in its folder.

    hashes: false reads captures as they are. RecordError `bad-captures` names every capture that is not what was recorded;
    `nothing-whole` when the run was interrupted before anything was.
    """
    if not run.recorded:
        raise RecordError("nothing-whole", "nothing of this run was recorded whole", where=run.name, found=run.ended, fix="hil run BENCH")
    if hashes:
        verifying.require_captures(run)
    whole = run.until(1 + max(event["n"] for event in run.of("recorded")))
    parts = [_session(whole, scenario, testbed, first, last, hashes) for first, last in sessions(whole)]
    return Replayed(
        run=run.name, rounds=whole.last_whole_round or 0, captures=len(whole.of("captured")),
        events=sum(part.compared for part, _ in parts), identical=sum(part.identical for part, _ in parts),
        arrays=sum(part.arrays for part, _ in parts), departures=tuple(one for part, _ in parts for one in part.departures),
        missing=tuple(f"n {event['n']}: {event['event']}" for part, _ in parts for event in part.missing()),
        stopped=next((error for _, error in parts if error is not None), None),
    )  # fmt: skip


def sessions(run: Run) -> list[tuple[int, int]]:
    """(first, last + 1) event of each time the devices were opened and something was recorded whole."""
    starts = sorted({0, *(entry["after_event"] + 1 for entry in run.about.get("resumed", []))})
    ends = [*starts[1:], len(run.events)]
    return [(first, last) for first, last in zip(starts, ends) if first < min(last, len(run.events))]


def _session(run: Run, scenario: Scenario, testbed: Testbed, first: int, last: int, hashes: bool) -> tuple[Recomputing, HilError | None]:
    record = Recomputing(run, first, last)
    link = recorded_link(run, testbed, first, last, hashes=hashes)
    started = run.of("started")[0]

    def survey(at: Instant, name: str = "target") -> NDArray[np.float64]:
        """Where a target was, as somebody told the run."""
        told = [event["target"] for event in run.of("measured", lab.round, designer=lab.designer) if "target" in event]
        return np.array([one for one in told if one.get("cell", "target") == name][-1]["surveyed"], dtype=float)

    surveyed = any(event.get("target", {}).get("surveyed") for event in run.of("measured"))
    lab = Lab(
        scenario, testbed, link, RecordedClock(record.coming), record, int(started["seed"]), str(started["depth"]), survey if surveyed else None
    )

    def designer(name: str) -> Any:
        listed = import_module(f"hil.systems.{scenario.system}").designers.get(name)
        return RecordedDesigner(name, run, lambda: lab.round, listed and listed())

    before = Before(run.until(first), started["designer"]) if first else None
    stopped = None
    try:
        trial_of(lab, designer(started["designer"]), [designer(name) for name in started["baselines"]], before=before).run()
    except Whole:
        record.compare_fields()
    except HilError as error:
        stopped = error
    return record, stopped
