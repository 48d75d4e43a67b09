"""Block-level design by minorise-maximise: the smallest t over base stations and views as large as it goes, every user's SINR kept.

Every step solves one cone program with the minorant at the last W, or a little beyond it where that helped before. What the cone programs
promise lies below the exact worst case, since they take errors of different streams apart; once steps are small the targets are lowered by
that slack (and a little less), and a step counts only when the exact worst case stands. So every W kept is feasible and none is worse than
the one before.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hil.errors import InputError
from hil.systems.multicell import fisher, worst_case
from hil.systems.multicell.level import LEAST, apart, stood
from hil.systems.multicell.problem import Mode, Precoding, Problem
from hil.systems.multicell.program import Program
from hil.systems.multicell.space import Space

SAFE = 1e-5  # relative, of the target: what the solver's accuracy may take
STARTS = 2
TRIED = 3  # steps from every start before the best of them goes on
STEPS = 40
SETTLED = 2e-4  # relative gain of a step that ends the design
SMALL = 2e-2  # relative gain of a step from which on targets are lowered to the exact worst case
FURTHEST = 2.0  # most of the extrapolation of the expansion point, in last steps
AGAIN = 6  # times that a step is tried


@dataclass(slots=True)
class Course:
    """Where a start has come to. t: smallest over base stations and views. slack: (user,) promise of the cone programs over the exact
    worst case, of the last points seen; guard: relative, how much more of it the next step may need. beyond: how far the next expansion
    point lies behind w, in last steps. gain: relative, of the last step.
    """

    w: NDArray[np.complex128]
    t: float
    previous: NDArray[np.complex128]
    history: list[float] = field(default_factory=list)
    slack: NDArray[np.float64] | None = None
    guard: float = 0.0
    beyond: float = 0.0
    gain: float = np.inf
    stopped: str = ""


class Designer:
    """One problem (normalised), mode and target."""

    def __init__(self, problem: Problem, mode: Mode, asked: float) -> None:
        self.problem, self.mode, self.asked = problem, mode, asked
        self.space = Space(problem, mode)
        self.targets = np.full(problem.users, max(asked, LEAST) * (1.0 + SAFE))
        self.program = Program(self.space, "sense")
        sends = np.isin(np.arange(problem.stations), self.space.station)
        self.able = (self.space.rows.scale[:, :, 0] > 0.0) & sends  # (view, base station) that can learn anything

    def measured(self, w: NDArray[np.complex128]) -> float:
        """Smallest t over the base stations that can learn anything."""
        t = fisher.schur(self.space.rows, fisher.information(self.space.rows, fisher.covariance(self.problem, w, "blp")))
        return float(t[self.able].min()) if np.any(self.able) else 0.0

    def promised(self, w: NDArray[np.complex128]) -> NDArray[np.float64]:
        """(user,) SINR with errors of different streams taken apart."""
        wanted, rest = apart(self.space, w)
        return (wanted / rest) ** 2

    def exact(self, w: NDArray[np.complex128]) -> NDArray[np.float64]:
        return worst_case.sinr(self.problem, self.mode, w)

    def start(self, beam: Program, rng: np.random.Generator) -> NDArray[np.complex128] | None:
        """Most amplitude towards the targets with random phases, users served; None where the users' cone program has no point."""
        cost = np.zeros((len(self.space.station), self.space.size), complex)
        for echo in self.program.echoes:
            phase = np.exp(1j * rng.uniform(0.0, 2 * np.pi, self.problem.users))
            cost[echo.pairs] -= phase[self.space.stream[echo.pairs], None] * echo.g / max(np.linalg.norm(echo.g), 1e-300)
        flat = cost.ravel()
        found = beam.solve(self.targets, np.concatenate([flat.real, -flat.imag]))
        return None if found is None else self.space.radiable(found[0])

    def beside(self, beam: Program, w: NDArray[np.complex128]) -> NDArray[np.complex128] | None:
        """The point most like W that serves the users; None where their cone program has none."""
        flat = -self.space.gathered(w).conj().ravel()
        found = beam.solve(self.targets, np.concatenate([flat.real, -flat.imag]))
        return None if found is None else self.space.radiable(found[0])

    def course(self, w: NDArray[np.complex128]) -> Course:
        t, promised = self.measured(w), self.promised(w)
        return Course(w, t, w, [t], slack=None if promised.min() >= self.asked else promised / self.exact(w))

    def step(self, at: Course) -> bool:
        """One step onwards; False where none is found."""
        short = 0.0
        for attempt in range(AGAIN):
            targets = self.targets
            if at.slack is None and at.gain <= SMALL:
                at.slack = self.promised(at.w) / self.exact(at.w)
            if at.slack is not None:
                targets = np.minimum(targets, self.targets * at.slack * (1.0 + at.guard))
            self.program.at(at.w + at.beyond * (at.w - at.previous))
            found = self.program.solve(targets)
            w = at.w if found is None else self.space.radiable(found[0])
            t = at.t if found is None else self.measured(w)
            if t <= at.t:
                if at.beyond == at.guard == 0.0:
                    at.stopped = "no better point" if found is not None else "the solver finds no point"
                    return False
                at.beyond = at.guard = 0.0
                continue
            if targets is not self.targets:
                worst = self.exact(w)
                slack = self.promised(w) / worst
                if worst.min() < self.asked * (1.0 + 1e-9):  # of which units put back may take a little
                    short = self.asked / worst.min() - 1.0
                    at.slack = np.maximum(at.slack, slack) * (1.0 + SAFE + (0.3 * short if attempt else 0.0))
                    at.guard = 0.0
                    continue
                at.slack, at.guard = slack, 0.7 * max(short, at.guard)
            elif self.promised(w).min() < self.asked:
                self.targets = self.targets * (1.0 + SAFE)
                continue
            at.gain = t / at.t - 1.0 if at.t > 0.0 else np.inf
            at.previous, at.w, at.t = at.w, w, t
            at.history.append(t)
            at.beyond = min(max(1.5 * at.beyond, 0.5), FURTHEST)
            return True
        at.stopped = "no better point that stands"
        return False

    def run(self, starts: list[NDArray[np.complex128]]) -> Course:
        courses = [self.course(w) for w in starts]
        for course in courses:
            for _ in range(TRIED if len(courses) > 1 else 0):
                if not self.step(course):
                    break
        best = max(courses, key=lambda course: course.t)
        quiet = False
        while len(best.history) <= STEPS and not best.stopped and self.step(best):
            if best.gain < SETTLED and quiet:
                best.stopped = "settled"
            quiet = best.gain < SETTLED
            best.beyond *= not quiet  # a small gain may be that of an expansion point too far beyond
        return best


def design(
    problem: Problem, mode: Mode, asked: float, *, rng: np.random.Generator | None = None, starts: int = STARTS,
    near: NDArray[np.complex128] | None = None,
) -> Precoding:  # fmt: skip
    """Precoder of largest smallest t with every user's exact worst-case SINR at or above `asked` (linear), or "infeasible" with the
    largest common target that could be promised. rng: of the starts' phases. near: W of a problem much like this one, as of the block
    beside it, to begin from in their place.
    """
    if not (np.isfinite(asked) and asked >= 0.0):
        raise InputError("target", "a target is a linear ratio", key="asked", found=str(asked), allowed="0 or more, finite")
    rng = np.random.default_rng(0) if rng is None else rng
    designer = Designer(problem.normalised, mode, asked)
    beam = Program(designer.space, "beam")
    begun = [] if near is None else [designer.beside(beam, near / np.sqrt(problem.power)[:, None, None])]
    begun = [w for w in begun if w is not None and designer.promised(w).min() >= asked]
    if not begun:
        begun = [w for w in (designer.start(beam, rng) for _ in range(starts)) if w is not None and designer.promised(w).min() >= asked]
    if not begun:
        reached, w = stood(designer.space)
        if reached < asked:
            return Precoding(mode, "blp", asked, "infeasible", achievable=reached, stopped="the largest worst case lies below the target")
        begun = [w]
    course = designer.run(begun) if designer.program.echoes else designer.course(begun[0])
    w = problem.restored(course.w)
    return Precoding(
        mode, "blp", asked, "solved", w, worst_case.sinr(problem, mode, w), fisher.sensing(problem, mode, w, "blp"), history=course.history,
        stopped=course.stopped or "nothing to learn",
    )  # fmt: skip
