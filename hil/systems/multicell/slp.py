"""Symbol-level designs: the waveform X itself, by minorise-maximise steps from the X of largest margin.

    maximise min_m t_m(X X^H / L)   subject to   margin_ut >= sqrt(gamma) sigma_eff for every user, symbol and channel of its set,
                                                  power of every base station over the frame, of every element where capped

What is reported is recomputed from the X that is answered. Iterates are mended to keep every promise exactly: users and power are
convex in X, so a blend with the X of largest margin is enough.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hil.errors import InputError
from hil.systems.multicell import fisher, margin
from hil.systems.multicell.problem import Mode, Precoding, Problem
from hil.systems.multicell.slp_cone import Cone
from hil.systems.multicell.slp_sight import SensingCone

STEPS = 10
SETTLED = 1e-3  # relative gain of a step below which t has settled
SAFE = 1e-9  # relative, over rounding when units are put back
ROUNDS = 30  # of a target raised to what was just reached
CLOSE = 1e-7


def design(problem: Problem, mode: Mode, gamma: float, *, steps: int = STEPS, settled: float = SETTLED) -> Precoding:
    """X (base station, antenna, symbol) that promises every user the linear SLP SINR `gamma` and raises the smallest t.

    Answers "infeasible" with what is achievable where gamma is not. history: least t per step, never falling. Raises InputError for a
    problem without payload or a target that is negative or not finite.
    """
    if not (np.isfinite(gamma) and gamma >= 0.0):
        raise InputError("target", "a target is a linear ratio", key="gamma", found=str(gamma), allowed="0 or more, finite")
    scaled = problem.normalised
    heard = bool(np.all(fisher.rows(scaled, mode).scale[..., 0] > 0.0))
    cone = SensingCone(scaled, mode) if heard else Cone(scaled, mode)
    start = _mended(scaled, mode, cone.excess(np.sqrt(gamma)), gamma)
    if start is None:
        most, start = _reach(cone, mode)
        if most < gamma:
            return Precoding(mode, "slp", gamma, "infeasible", achievable=most, designer="slp")
    if isinstance(cone, SensingCone):
        x, history, stopped = _raised(cone, mode, gamma, start, steps, settled)
    else:
        x, history, stopped = start, [0.0], "some base station hears nothing of its target"
    return _answer(problem, mode, gamma, problem.restored(x), history, stopped, None)


def gamma_max(problem: Problem, mode: Mode) -> Precoding:
    """The X of the largest target that can be promised; `asked` and `achievable` are that target, linear."""
    gamma, x = _reach(Cone(problem.normalised, mode), mode)
    return _answer(problem, mode, gamma, problem.restored(x), [], "largest margin", gamma)


def _answer(
    problem: Problem, mode: Mode, gamma: float, x: NDArray[np.complex128], history: list[float], stopped: str, most: float | None
) -> Precoding:
    t = fisher.sensing(problem, mode, x, "slp")
    return Precoding(mode, "slp", gamma, "solved", x, margin.sinr(problem, x, mode), t, most, history, "slp", stopped)


def _reach(cone: Cone, mode: Mode) -> tuple[float, NDArray[np.complex128]]:
    """(target, X): the largest target that some X keeps, raised to what the last X reached until no X reaches more (Dinkelbach)."""
    p = cone.problem
    gamma, best = 0.0, np.zeros((p.stations, p.antennas, p.length), complex)
    for _ in range(ROUNDS):
        x = _within(p, cone.excess(np.sqrt(gamma)))
        reached = 0.0 if x is None else float(margin.sinr(p, x, mode).min())
        if x is None or reached <= gamma * (1.0 + CLOSE):
            break
        gamma, best = reached, x
    return gamma * (1.0 - SAFE), best


def _raised(
    cone: SensingCone, mode: Mode, gamma: float, start: NDArray[np.complex128], steps: int, settled: float
) -> tuple[NDArray[np.complex128], list[float], str]:
    """(X, history, why it stopped). Steps are taken from X + (X - previous X): any point gives a minorant, and this one goes further."""
    p, root = cone.problem, float(np.sqrt(gamma))
    best, previous, leap = start, start, 0.0
    history = [float(fisher.sensing(p, mode, start, "slp").min())]
    for _ in range(steps):
        x = _mended(p, mode, cone.step(root, best + leap * (best - previous)), gamma, start)
        t = -1.0 if x is None else float(fisher.sensing(p, mode, x, "slp").min())
        if x is None or t <= history[-1]:
            if leap == 0.0:
                return best, history, "no step gains"
            leap = 0.0
            continue
        gain = t / max(history[-1], 1e-300) - 1.0
        best, previous, leap = x, best, float(len(history) > 1)
        history.append(t)
        if gain < settled:
            return best, history, "settled"
    return best, history, "steps"


def _within(p: Problem, x: NDArray[np.complex128] | None) -> NDArray[np.complex128] | None:
    """X scaled down to its powers."""
    if x is None:
        return None
    over = float(np.max(p.spent(x, "slp") / p.power))
    if p.element_power is not None:
        over = max(over, float(np.max(np.mean(np.abs(x) ** 2, axis=-1) / p.element_power)))
    scaled: NDArray[np.complex128] = x / np.sqrt(max(1.0, over * (1.0 + SAFE)))
    return scaled


def _mended(
    p: Problem, mode: Mode, x: NDArray[np.complex128] | None, gamma: float, anchor: NDArray[np.complex128] | None = None
) -> NDArray[np.complex128] | None:
    """X within its powers and, blended with as little of the anchor as that takes, at its target; None where it is not to be had."""
    x = _within(p, x)
    share = 0.0
    while x is not None and share <= 1.0:
        blend = x if anchor is None else (1.0 - share) * x + share * anchor
        if np.all(margin.sinr(p, blend, mode) >= gamma * (1.0 + SAFE)):
            return blend
        if anchor is None:
            return None
        share = max(1e-7, 4.0 * share)
    return None
