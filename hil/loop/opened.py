"""What `hil.open` hands out: a lab, and the trial that runs on it."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hil.adversary import Verdict
from hil.knowledge import Design
from hil.loop.lab import Lab
from hil.loop.trials import trial_of


@dataclass(frozen=True)
class Designed:
    """One design and what the adversary says of it. took_s: the processor time of its designer alone, seconds."""

    design: Design
    verdict: Verdict
    took_s: float = 0.0

    @property
    def promised(self) -> float | None:
        return self.design.promised

    @property
    def predicted(self) -> float | None:
        return self.design.predicted

    @property
    def bound(self) -> float | None:
        return self.design.bound


class Timed:
    """A designer that knows how much processor time it has spent."""

    def __init__(self, designer: Any) -> None:
        self._designer, self.took_s = designer, 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._designer, name)

    def __call__(self, problem: Any, knowledge: Any) -> Design:
        began = time.process_time()
        try:
            design: Design = self._designer(problem, knowledge)
            return design
        finally:
            self.took_s += time.process_time() - began


class OpenLab:
    """An open bench. `rounds()` runs the trial round by round, `run()` to its end."""

    def __init__(self, scenario, testbed, link, clock, run, seed, depth, survey, designer: Any, baselines: Sequence[Any], **resumed: Any) -> None:
        self.scenario, self.testbed, self.seed, self.depth = scenario, testbed, seed, depth
        self.link, self.clock = link, clock
        self.record = run
        self.trial = trial_of(Lab(scenario, testbed, link, clock, run, seed, depth, survey), designer, baselines, **resumed)
        self._rounds: Generator[Any, None, None] | None = None

    @property
    def folder(self) -> Path:
        return self.record.folder

    def rounds(self) -> Iterator[Any]:
        self._rounds = self.trial.rounds()
        return self._rounds

    def close(self) -> None:
        """End a trial that was left in the middle of its rounds, as interrupted."""
        if self._rounds is not None:
            self._rounds.close()

    def run(self) -> list[Any]:
        return self.trial.run()

    def design(self) -> Designed:
        """One design of the lab's designer on sounded channels; nothing is pushed."""
        timed = Timed(self.trial.designer)
        self.trial.designer = timed
        return Designed(*self.trial.design_once(), took_s=timed.took_s)
