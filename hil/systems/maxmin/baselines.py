"""What movable elements are compared with: fixed layouts, and regularised zero forcing."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hil.knowledge import Design, Knowledge
from hil.systems.maxmin.problem import Problem
from hil.systems.maxmin.solve import Robust, bounds, judged
from hil.systems.maxmin.worst_case import Field, known_field


@dataclass(frozen=True)
class Fixed(Robust):
    """Half a wavelength apart in the middle of the rail, precoders as `Robust`."""

    name: str = "fixed"

    def positions(self, problem: Problem) -> NDArray[np.float64] | None:
        return problem.centre

    def __call__(self, problem: Problem, knowledge: Knowledge) -> Design:
        if problem.positions is None:
            problem, knowledge = problem.at(self.positions(problem)), replace(knowledge, channel=None, radius=None)
        return self.at(problem, knowledge)


@dataclass(frozen=True)
class Sparse(Fixed):
    """Evenly spread over the whole rail, precoders as `Robust`."""

    name: str = "sparse"

    def positions(self, problem: Problem) -> NDArray[np.float64] | None:
        return problem.spread


@dataclass(frozen=True)
class FixedRzf(Fixed):
    """Half a wavelength apart, regularised zero forcing at the estimate, equal power in every tone. Promises nothing, and knows
    neither the uncertainty sets nor the floor on power towards the target; its bound is the one without floor.
    """

    name: str = "fixed-rzf"

    def at(self, problem: Problem, knowledge: Knowledge) -> Design:
        field = known_field(problem, knowledge)
        w = problem.scale(regularised_zero_forcing(problem, field)[..., None])[..., 0]
        facts = {"designer": self.name, "steps": 1, "stopped": "closed form", "promised": None, "promised_each": None}
        free = replace(problem, floor_w=0.0)  # a bound with the floor would not hold for a design without
        return judged(problem, knowledge, field, w, **facts, **bounds(free, knowledge, field))


def regularised_zero_forcing(problem: Problem, field: Field) -> NDArray[np.complex128]:
    """(transmitter, block, antenna), unit norm: (sum_u h_u^* h_u^T / noise_u + I users / power)^-1 h_own^* per transmitter and block
    (Peel, Hochwald and Swindlehurst 2005), power being the transmitter's per tone, tones of a block by their mean.
    """
    h = field.mean / np.sqrt(field.noise)[:, None, None]
    power = problem.element_power_w.sum(-1) / problem.tones.sum()
    load = np.einsum("aubi,aubj->abij", h.conj(), h) + (problem.users / power)[:, None, None, None] * np.eye(problem.elements)
    own = np.stack([h[a, problem.serving.index(a)] for a in range(len(problem.arrays))])
    w = np.linalg.solve(load, own.conj()[..., None])[..., 0]
    return w / np.linalg.norm(w, axis=-1, keepdims=True)
