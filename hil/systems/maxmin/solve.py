"""Our designers: positions by batched gradient ascent on the path fits, precoders by cone programs, and the bound beside them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from hil import interrupts
from hil.knowledge import Design, Knowledge
from hil.systems.maxmin import bound, precoders
from hil.systems.maxmin.problem import Problem
from hil.systems.maxmin.worst_case import Field, known_field, worst_sinr
from hil.units import to_db


def judged(problem: Problem, knowledge: Knowledge, field: Field, w: NDArray[np.complex128], **rest) -> Design:
    """A `Design` of w (transmitter, block, antenna) with what it promises and predicts (dB) over the sets of `field`."""
    with np.errstate(divide="ignore"):
        promised = 10.0 * np.log10(problem.with_residual(worst_sinr(field, w)))
        predicted = 10.0 * np.log10(problem.with_residual(worst_sinr(field.exact(), w)))
    facts = {"promised": float(promised.min()), "predicted": float(predicted.min()), "promised_each": promised, "predicted_each": predicted}
    return Design(w[..., None], np.array(problem.positions), knowledge=knowledge.version, **{**facts, **rest})


def bounds(problem: Problem, knowledge: Knowledge, field: Field, solution: precoders.Solution | None = None) -> dict[str, float | None]:
    """`bound` at these positions and the loose `bound_anywhere` (None without path fits), dB.

    The chains' residual takes the same from every SINR of one size, so precoders that are best without it are best with it, and so are bounds.
    """
    trusted = knowledge.paths and all(fit.above_threshold for fit in knowledge.paths.values())

    def heard(limit_db: float) -> float:
        return to_db(float(problem.with_residual(10.0 ** (limit_db / 10.0))))

    return {
        "bound": heard(bound.at_positions(problem, knowledge, field, solution)),
        "bound_anywhere": heard(bound.anywhere(problem, knowledge)) if trusted else None,
    }


@dataclass(frozen=True)
class Robust:
    """Largest worst case over the uncertainty sets. At fixed positions: precoders on what is known there. With `problem.positions`
    None: also positions, from the path fits, the present positions among the candidates.
    """

    name: str = "robust"
    finalists: int = 2  # layouts of the gradient ascent whose precoders are solved to the end
    heeds_sets: ClassVar[bool] = True

    def positions(self, problem: Problem) -> NDArray[np.float64] | None:
        """Where this designer wants to stand before it is asked; None: it designs that itself."""
        return None

    def __call__(self, problem: Problem, knowledge: Knowledge) -> Design:
        if problem.positions is not None:
            return self.at(problem, knowledge)
        with interrupts.held():  # torch, only where positions are free; a signal inside its import ends the process without muting
            from hil.systems.maxmin.placement import place

        unsounded = replace(knowledge, channel=None, radius=None)
        layouts = place(problem, knowledge, robust=self.heeds_sets)
        candidates = [problem.at(p) for p in (*layouts.positions[: self.finalists], np.asarray(knowledge.positions))]
        solved = [self.solved(candidate, unsounded) for candidate in candidates]
        best = int(np.argmax([design.promised if self.heeds_sets else design.predicted for design, _, _ in solved]))
        design = self.bounded(candidates[best], unsounded, *solved[best])
        return replace(design, steps=layouts.steps + design.steps)

    def at(self, problem: Problem, knowledge: Knowledge) -> Design:
        """Precoders at `problem.positions`, with the bounds."""
        return self.bounded(problem, knowledge, *self.solved(problem, knowledge))

    def solved(self, problem: Problem, knowledge: Knowledge) -> tuple[Design, Field, precoders.Solution]:
        field = known_field(problem, knowledge)
        steering = bound.target_steering(problem, knowledge)
        solution = precoders.solve(problem, field if self.heeds_sets else field.exact(), steering)
        facts = {"designer": self.name, "steps": solution.solves, "stopped": solution.stopped}
        return judged(problem, knowledge, field, solution.w, **facts), field, solution

    def bounded(self, problem: Problem, knowledge: Knowledge, design: Design, field: Field, solution: precoders.Solution) -> Design:
        return replace(design, **bounds(problem, knowledge, field, solution if self.heeds_sets else None))


@dataclass(frozen=True)
class Nominal(Robust):
    """Largest SINR at the estimate, sets ignored; `promised` is what its design still guarantees over them."""

    name: str = "nominal"
    heeds_sets: ClassVar[bool] = False
