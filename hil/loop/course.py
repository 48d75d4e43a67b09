"""The course of a trial: baselines, then round after round until nothing more is gained, each recorded when it is whole.

However a trial ends, everything is muted and at rest and the run so far can be read.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hil import interrupts
from hil.adversary import Verdict
from hil.errors import HilError, Infeasible, SafeState
from hil.knowledge import Design
from hil.loop.lab import Lab
from hil.loop.measuring import broken
from hil.loop.resuming import Before
from hil.loop.states import State


@dataclass(frozen=True, slots=True, eq=False)
class Round:
    """One design that was pushed and measured. Decibels of the worst user; None where there is none.

    measured_design: what the system has measured, with `sinr` and `upper_db`. moved: elements.
    """

    number: int
    designer: str
    design: Design
    measured_design: Any
    verdict: Any  # of the system's adversary: `passed`, `worst_db`, `shortfall_db`
    moved: int = 0
    unit: str = "dB"

    @property
    def promised(self) -> float | None:
        return self.design.promised

    @property
    def predicted(self) -> float | None:
        return self.design.predicted

    @property
    def measured(self) -> float:
        return float(self.measured_design.sinr)

    @property
    def bound(self) -> float | None:
        return self.design.bound

    @property
    def kept(self) -> bool:
        return not broken(self.design, self.measured_design)


@dataclass(eq=False)
class Course(ABC):
    """A trial on an open lab. `designer` and `baselines` are callables (problem, knowledge) -> Design with a name.

    What one round does, and what comes before the first, is the system's: `prepare`, `recall`, `one`, `rows`.
    """

    lab: Lab
    designer: Any
    baselines: Sequence[Any] = ()
    before: Before | None = None  # the interrupted run this goes on with
    how: str = "limit"

    def __post_init__(self) -> None:
        self.done: frozenset[tuple[int, str]] = self.before.done if self.before else frozenset()
        self.promises: list[float] = self.before.promises if self.before else []
        self.infeasible: Infeasible | None = None  # the first design that could not be had
        self._started = False

    # -- what a system says --------------------------------------------------------------------------------------------------------------

    @abstractmethod
    def prepare(self) -> None:
        """Everything before the first round, from devices opened on."""

    @abstractmethod
    def recall(self) -> None:
        """Instead of `prepare`, when an interrupted run goes on: devices opened, and what was learnt before the first round made again."""

    @abstractmethod
    def one(self, designer: Any) -> Round:
        """One round of one designer, from sounding to measuring. Raises Infeasible when no design exists."""

    @abstractmethod
    def rows(self, made: Round, took: float) -> None:
        """The round's lines of results.csv."""

    @abstractmethod
    def decided(self, designer: Any) -> tuple[Design, Any]:
        """A round up to its design, and the adversary's verdict on it."""

    @abstractmethod
    def settled(self, made: Round, number: int) -> None:
        """Told of every round that is recorded."""

    # -- the whole -------------------------------------------------------------------------------------------------------------------------

    def rounds(self) -> Generator[Round, None, None]:
        """Baselines as round 0, then rounds of the designer. Closing the iterator early ends the trial as interrupted."""
        how = "interrupted"
        try:
            self._begin()
            for baseline in self.baselines:
                if (0, baseline.name) not in self.done:
                    yield from self._recorded(0, baseline, baseline.name)
            for number in range(1, self.lab.scenario.rounds.max + 1):
                if (number, "round") not in self.done:
                    made = list(self._recorded(number, self.designer, "round"))
                    yield from made
                    if not made:
                        break
                if self.converged:
                    self.how = "converged"
                    break
            how = self.how
        except HilError as error:
            if interrupts.behind(error):  # what failed while Ctrl-C was on its way out does not replace it
                raise KeyboardInterrupt from error
            how = "interrupted" if error.id == "interrupted" else "safe" if isinstance(error, SafeState) else "fault"
            self._failed(error)
            raise
        except Exception:
            how = "fault"
            raise
        finally:
            self._end(how)

    def run(self) -> list[Round]:
        """All rounds."""
        return list(self.rounds())

    @property
    def converged(self) -> bool:
        """The promise changed less than the scenario asks for, two rounds in a row."""
        changes = np.abs(np.diff(self.promises[-3:]))
        return len(changes) == 2 and bool(np.all(changes < self.lab.scenario.rounds.stop_change_db))

    def _begin(self) -> None:
        lab = self.lab
        if self.before is None:
            lab.run.event("started", format="hil.events.v1", seed=lab.seed, depth=lab.depth, designer=self.designer.name,
                          baselines=[baseline.name for baseline in self.baselines])  # fmt: skip
        self._started = True
        known = (0, "explore") in self.done
        if not known:
            lab.enter(State.EXPLORING, "begun")
        if self.before is not None and known:
            self.recall()
            lab.follow(self.before.version)
        else:
            self.prepare()
            lab.run.round_ends(0, "explore")

    def design_once(self) -> tuple[Design, Any]:
        """One design with its verdict; nothing is pushed, and everything ends muted and at rest."""
        lab = self.lab
        how = "fault"
        try:
            self._begin()
            lab.designer, lab.round = self.designer.name, 1
            decided = self.decided(self.designer)
            how = "limit"
            return decided
        finally:
            self._end(how)

    def _end(self, how: str) -> None:
        lab = self.lab
        with interrupts.held():
            muted, at_rest = lab.rest(f"the trial ends: {how}")
            if self._started:
                lab.enter(State.SAFE if how == "safe" else State.IDLE, how)
                lab.run.end(how, muted=muted, at_rest=at_rest)

    def _failed(self, error: HilError) -> None:
        if self._started:
            self.lab.event("failed", id=error.id, message=error.what, device=error.where, found=error.found, allowed=error.allowed, fix=error.fix)

    def _recorded(self, number: int, designer: Any, what: str) -> Iterator[Round]:
        """A round and its record; nothing when no design exists."""
        lab = self.lab
        lab.round, lab.designer = number, designer.name
        began = lab.clock.now()
        try:
            made = self.one(designer)
        except Infeasible as error:
            error.where = error.where or f"scenario {lab.scenario.name}, round {number}"
            self.infeasible = self.infeasible or error
            lab.event("designed", version=None, step="precoders", objective="sinr", unit="dB", better="up", infeasible=True,
                      achievable=error.achievable, stopped=error.what)  # fmt: skip
            made = None
        if made is not None:
            self.rows(made, lab.clock.now().since(began))
        lab.enter(State.IDLE, "round recorded")
        lab.run.round_ends(number, what)
        lab.designer = None
        if made is not None:
            self.settled(made, number)
            if number > 0 and made.promised is not None:
                self.promises.append(made.promised)
            yield made


# -- words that rounds of all systems share ----------------------------------------------------------------------------------------------


def say_decided(lab: Lab, design: Design, version: int | None, step: str, file: str) -> None:
    """A `designed` event."""
    lab.event(
        "designed", version=version, step=step, objective="sinr", unit=design.unit, better="up", file=file, promised=design.promised,
        predicted=design.predicted, bound=design.bound, bound_anywhere=design.bound_anywhere, steps=design.steps, stopped=design.stopped,
    )  # fmt: skip


def say_judged(lab: Lab, design: Design, version: int, verdict: Verdict) -> None:
    """A `judged` event, and a warning where the adversary broke the promise."""
    lab.event("judged", version=version, worst=verdict.worst_db, unit="dB", shortfall=verdict.shortfall_db, members=verdict.members,
              pass_=verdict.passed)  # fmt: skip
    if not verdict.passed:
        lab.event("warned", id="promise-refuted", message=f"the adversary found a channel {verdict.shortfall_db:.2f} dB below the promise",
                  device="", found=f"{verdict.worst_db:.2f} dB", allowed=f"{design.promised:.2f} dB")  # fmt: skip


def user_row(made: Round, u: int, user: str, took: float) -> dict[str, Any]:
    """What results.csv has of one user of a round, whatever the system."""
    measured, design = made.measured_design, made.design
    found, upper = measured.quality[u], float(measured.upper_db[u].min())
    return {
        "round": made.number, "designer": made.designer, "user": user, "version": measured.version,
        "promised_db": None if design.promised_each is None else float(design.promised_each[u].min()),
        "predicted_db": None if design.predicted_each is None else float(design.predicted_each[u].min()),
        "measured_db": float(measured.worst_db[u]), "bound_db": design.bound, "bound_anywhere_db": design.bound_anywhere,
        "std_db": float(measured.worst_std_db[u]), "upper_db": upper,
        "shortfall_db": 0.0 if design.promised is None else max(0.0, design.promised - upper), "evm": found.evm, "rate_bit": found.rate,
        "bit_errors": found.bit_errors.errors, "bits": found.bit_errors.of, "took_s": took,
    }  # fmt: skip
