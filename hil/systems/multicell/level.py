"""The largest SINR that all users can be promised: margins of cone programs at a target, the target raised by Newton's method."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hil.systems.multicell import worst_case
from hil.systems.multicell.problem import Mode, Problem
from hil.systems.multicell.program import Program
from hil.systems.multicell.space import Space

STEPS = 30
CLOSE = 1e-6  # relative, of the target: 4e-6 dB
LEAST = 1e-6  # something to divide by where the first W promises nothing
ROUNDS = 3


def apart(space: Space, w: NDArray[np.complex128]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Every user's (least wanted amplitude, most of the rest, noise included), (user,) each, errors of different streams taken apart: the
    root of what the cone programs promise is their ratio."""
    problem, users = space.problem, space.problem.users
    heard = np.abs(np.einsum("nui,nis->us", problem.channel, w))
    if space.stacked:
        reach = problem.stacked_radius[:, None] * np.sqrt(np.sum(np.abs(w) ** 2, axis=(0, 1)))
    else:
        reach = np.einsum("nu,ns->us", problem.radius, np.sqrt(np.sum(np.abs(w) ** 2, axis=1)))
    rest = np.where(np.eye(users, dtype=bool), 0.0, heard + reach)
    return np.maximum(np.diag(heard - reach), 0.0), np.sqrt(np.sum(rest**2, axis=1) + problem.noise)


def matched(space: Space) -> NDArray[np.complex128]:
    """W (base station, antenna, stream) along the conjugate channels, full power of the busiest base station: somewhere to start."""
    problem = space.problem
    w = np.zeros((problem.stations, problem.antennas, problem.users), complex)
    w[space.station, :, space.stream] = problem.channel[space.station, space.stream].conj()
    w /= np.maximum(np.linalg.norm(w, axis=(0, 1)), 1e-300)
    worst = np.max(problem.spent(w, "blp") / problem.power)
    if problem.element_power is not None:
        worst = max(worst, np.max(np.sum(np.abs(w) ** 2, axis=2) / problem.element_power))
    return w / np.sqrt(worst) if worst > 0.0 else w


def highest(space: Space, shares: NDArray[np.float64] | None = None) -> tuple[float, NDArray[np.complex128]]:
    """(target, W): the largest target that the cone programs can promise all users, linear, and a W that has it. 0 where nothing can be.
    shares: (user,) of the target that each of them is promised instead.
    """
    shares = np.ones(space.problem.users) if shares is None else shares
    program = Program(space, "level")
    w = matched(space)
    wanted, rest = apart(space, w)
    level = float(np.min((wanted / rest) ** 2 / shares))
    for _ in range(STEPS):
        found = program.solve(max(level, LEAST) * shares, margins=rest, accuracy=1e-8)
        if found is None:
            break
        wanted, fresh = apart(space, found[0])
        better = float(np.min((wanted / fresh) ** 2 / shares))
        if better <= level * (1 + CLOSE):
            break
        level, w, rest = better, found[0], fresh
    return level, w


def gamma_max(problem: Problem, mode: Mode) -> float:
    """The largest common SINR target, linear, that designs can be asked for, errors of different streams taken apart."""
    return highest(Space(problem.normalised, mode))[0]


def stood(space: Space) -> tuple[float, NDArray[np.complex128]]:
    """(SINR, W): a W whose exact worst case over all users is as large as we know how to make it: what the cone programs promise each
    user is divided by how much the exact worst case of the last W lies above it."""
    w = space.radiable(highest(space)[1])
    worst = worst_case.sinr(space.problem, space.mode, w)
    for _ in range(ROUNDS):
        if worst.min() <= 0.0:
            break
        wanted, rest = apart(space, w)
        fresh = space.radiable(highest(space, (wanted / rest) ** 2 / worst)[1])
        better = worst_case.sinr(space.problem, space.mode, fresh)
        if better.min() <= worst.min() * (1.0 + 1e-4):
            break
        w, worst = fresh, better
    return float(worst.min()), w
