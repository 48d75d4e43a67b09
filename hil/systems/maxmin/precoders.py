"""Near-optimal robust precoders at fixed positions: secant and convex-concave steps over the cone programs of `cone`.

theta(level), the scale of all caps that a level needs, grows with the level; secant steps on log theta over log level end at theta = 1.
Every solve takes its tangents at the last precoders, so the fixed point is stationary for the exact worst case (tone variance of the
signal included) and for the floor; every solve also gives a design within caps and floor, of which the best is kept.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hil.errors import HilError, Infeasible, InputError
from hil.knowledge import Knowledge
from hil.systems.maxmin.cone import Program, Tangent
from hil.systems.maxmin.problem import Problem
from hil.systems.maxmin.worst_case import Field, norm, worst_sinr

FLOOR_STAGES = (0.25, 0.5, 0.75, 1.0)  # of the way, in decibels, from what the target gets for nothing to the floor


@dataclass(frozen=True, slots=True, eq=False)
class Solution:
    """Precoders w (transmitter, block, antenna), their worst-case SINR `level` (linear), and what the dual says.

    prices: (transmitter, antenna) per watt; floor_price: per watt towards the target; lean: (transmitter, user, block) in the unit
    disc, how far the adversary's interfering phase is determined (1 in modulus unless the mean interference is nulled). relaxed: the
    solution without the floor, where the floor bound.
    """

    w: NDArray[np.complex128]
    level: float
    prices: NDArray[np.float64]
    floor_price: float
    lean: NDArray[np.complex128]
    solves: int
    stopped: str
    relaxed: Solution | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Best:
    """The best of several solves: w within the scaled caps, its level, and the raw optimum it came from."""

    w: NDArray[np.complex128]
    level: float
    raw: tuple  # (w, theta, dual z, row places) of the program
    solves: int
    stopped: str


def solve(problem: Problem, field: Field, steering: NDArray[np.complex128] | None = None, *, solves: int = 14, tolerance: float = 2e-4
          ) -> Solution:  # fmt: skip
    """Precoders that maximise the smallest worst-case SINR at the positions of `field`.

    steering: (transmitter, antenna) towards the target, needed when the problem has a floor. The floor is raised in stages from the
    power that precoders free of it send there: met all at once it leaves the program in poor local optima. tolerance: of log theta,
    and of the level's gain. Raises Infeasible (with what is achievable, dBm) when the floor cannot be met.
    """
    floor = problem.floor_w if steering is not None else 0.0
    if floor > problem.most_target_power:
        achievable = 10.0 * np.log10(problem.most_target_power / 1e-3)
        raise Infeasible("the floor on power towards the target is above what all elements give together", achievable=float(achievable),
                         unit="dBm", found=f"{10.0 * np.log10(floor / 1e-3):.2f} dBm", allowed=f"at most {achievable:.2f} dBm",
                         fix="lower the floor or raise element_power_dbm")  # fmt: skip
    program = Program(problem, field, steering)
    best = ascend(program, program.first_tangent(), _first_level(program), 0.0, solves, tolerance)
    if best is None:
        raise HilError("precoders", "the cone program found no precoders at any level", fix="check the channel estimates for zeros")
    relaxed = finished(problem, field, program, best)
    if floor <= 0.0:
        return relaxed
    sent = problem.steered_power(relaxed.w[..., None], steering)
    if sent >= floor:
        return relaxed
    count, sent = best.solves, max(sent, 1e-3 * floor)
    for stage in FLOOR_STAGES:
        last = stage == FLOOR_STAGES[-1]
        partial = floor if last else sent * (floor / sent) ** stage
        found = ascend(program, program.tangent(best.w, partial), best.level, partial, solves if last else 3, tolerance)
        if found is not None:
            best, count = found, count + found.solves
        elif last:
            raise HilError("precoders", "the cone program met the floor on target power at no level", fix="lower the floor")
    return finished(problem, field, program, replace(best, solves=count), floor, relaxed)


def ascend(program: Program, tangent: Tangent, level: float, floor: float, solves: int, tolerance: float) -> Best | None:
    """Secant and convex-concave steps from a tangent and a level; None when no solve had a solution."""
    best, history, gains, lowest_lost, stopped, count = None, [], [], np.inf, "solves", 0
    while count < solves:
        count += 1
        found = program.solve(level, tangent, floor)
        if found is None:
            lowest_lost = level
            level = np.sqrt(level * history[-1][0]) if history else level / 4.0
            continue
        w, theta, _, _ = found
        reached = float(worst_sinr(program.field, w / theta).min())
        if best is None or reached > best.level:
            best = Best(w / theta, reached, found, count, stopped)
        gains.append(best.level)
        settled = abs(np.log(theta)) < tolerance and history and abs(np.log(level / history[-1][0])) < 1e-2
        if settled or (len(gains) > 3 and gains[-1] < gains[-3] * (1.0 + tolerance)):
            stopped = "converged"
            break
        history.append((level, theta))
        tangent = program.tangent(w / theta, floor)
        level = _next_level(history, lowest_lost)
    return None if best is None else replace(best, solves=count, stopped=stopped)


def finished(problem: Problem, field: Field, program: Program, best: Best, floor: float = 0.0, relaxed: Solution | None = None) -> Solution:
    """In watts, at the caps, with prices, judged on the field as it is."""
    w = problem.scale_common(best.w * program.unit)
    stopped = best.stopped + (", a set holds a channel of zero" if program.covers_zero else "")
    return Solution(w, float(worst_sinr(field, w).min()), *program.duals(*best.raw, floor), best.solves, stopped, relaxed)


def target_of(problem: Problem, knowledge: Knowledge) -> NDArray[np.float64]:
    """(3,) metres: where the target is believed to be; InputError when the problem has a floor and nobody knows."""
    if knowledge.target is None:
        raise InputError("no-target", "a floor on power towards the target needs an estimate of where it is",
                         found="knowledge.target is None", fix="state the target's prior in the scenario, or no floor")  # fmt: skip
    return np.asarray(knowledge.target.value, float).reshape(3)


def _first_level(program: Program) -> float:
    """Half the interference-free level of equal powers: a start the secant reaches from in few steps."""
    serving, users = list(program.field.serving), range(program.shape[1])
    gain = np.maximum(norm(program.field.mean[serving, users]) - program.field.radius[serving, users], 0.0) ** 2
    return 0.5 * program.shape[3] / float((1.0 / np.maximum(gain, 1e-300)).mean(-1).max())


def _next_level(history: list[tuple[float, float]], lowest_lost: float) -> float:
    """Secant on log theta over log level; from one point, the slope 1/2 of the interference-free case."""
    (level, theta) = history[-1]
    slope = 0.5
    if len(history) > 1 and abs(np.log(level / history[-2][0])) > 1e-9:
        slope = np.clip(np.log(theta / history[-2][1]) / np.log(level / history[-2][0]), 0.3, 20.0)
    proposal = level * np.exp(np.clip(-np.log(theta) / slope, -2.0, 2.0))
    return float(proposal if proposal < lowest_lost else np.sqrt(level * lowest_lost))
