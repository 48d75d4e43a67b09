"""Prices that make a dual bound tight when the floor on target power binds: one small semidefinite program over prices alone.

Strategies of the adversary fixed, the conditions of `bound` are linear in prices, reward and eta. All antennas' caps are worth 1
together; what the program returns is repaired until it holds, so a badly solved program costs tightness, never truth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import clarabel
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from hil.systems.maxmin.problem import Problem
from hil.systems.maxmin.worst_case import Field


@dataclass(frozen=True, slots=True, eq=False)
class Certificate:
    """surplus > 0 proves the level out of reach: (sum of costs + reward floor) / (sum lambda cap) - 1, after repair."""

    surplus: float
    per_watt: NDArray[np.float64]  # (transmitter, antenna)
    reward: float
    eta: NDArray[np.float64]  # (user, block)


def certificate(
    problem: Problem, field: Field, moments: NDArray[np.complex128], steering: NDArray[np.complex128], level: float
) -> Certificate:
    """Best prices, reward and eta against strategies `moments` (transmitter, user, block, antenna, antenna) at `level`."""
    transmitters, users, blocks, n = field.mean.shape
    cap, tones, floor = problem.element_power_w, problem.tones, problem.floor_w
    unit = cap.mean()
    upper = np.triu_indices(2 * n)
    order = np.lexsort(upper)
    i, j = upper[0][order], upper[1][order]
    weight = np.where(i == j, 1.0, math.sqrt(2.0))

    def vector(matrix: NDArray[np.complex128]) -> NDArray[np.float64]:
        """Upper triangle of [[Re, -Im], [Im, Re]], columns first, off-diagonal entries times sqrt 2."""
        top = np.concatenate([matrix.real, -matrix.imag], -1)
        bottom = np.concatenate([matrix.imag, matrix.real], -1)
        return np.concatenate([top, bottom], -2)[..., i, j] * weight

    size, reward_at, eta_at = len(i), transmitters * n, transmitters * n + 1
    variables = eta_at + users * blocks
    row, col, val = [], [], []

    def put(cone, variable, values):
        cone, variable = np.broadcast_arrays(cone, variable)
        row.append((cone[..., None] * size + np.arange(size)).ravel())
        col.append(np.repeat(variable.ravel(), size))
        val.append(-np.broadcast_to(values, (*cone.shape, size)).ravel())

    # variables: lambda cap, reward floor, tones noise level eta: all of the order of 1
    block = np.arange(blocks)
    for a in range(transmitters):
        cone = a * blocks + block
        for m in range(n):
            put(cone, a * n + m, vector(np.diag(np.eye(n)[m] / cap[a, m] * unit).astype(complex)))
        put(cone, reward_at, vector(-np.outer(steering[a].conj(), steering[a]) * unit / floor))
        for u in range(users):
            share = vector(moments[a, u]) * (unit / (field.noise[u] * tones))[:, None]
            put(cone, eta_at + u * blocks + block, -share / level if field.serving[u] == a else share)
    cones = transmitters * blocks
    body = sparse.csc_matrix((np.concatenate(val), (np.concatenate(row), np.concatenate(col))), (cones * size, variables))
    normal = sparse.csc_matrix((np.ones(reward_at), (np.zeros(reward_at, int), np.arange(reward_at))), (1, variables))
    matrix = sparse.vstack([body, -sparse.eye(variables), normal]).tocsc()
    right = np.concatenate([np.zeros(cones * size + variables), [1.0]])
    q = np.concatenate([np.zeros(reward_at), -np.ones(1 + users * blocks)])
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.max_threads = 1
    kinds = [clarabel.PSDTriangleConeT(2 * n)] * cones + [clarabel.NonnegativeConeT(variables), clarabel.ZeroConeT(1)]
    x = np.array(clarabel.DefaultSolver(sparse.csc_matrix((variables, variables)), q, matrix, right, kinds, settings).solve().x)
    x = np.maximum(np.nan_to_num(x), 0.0)
    per_watt, reward = x[:reward_at].reshape(transmitters, n) / cap, x[reward_at] / floor
    eta = x[eta_at:].reshape(users, blocks) / (field.noise[:, None] * tones * level)
    return repaired(problem, field, moments, steering, level, per_watt, reward, eta)


def repaired(problem: Problem, field: Field, moments: NDArray[np.complex128], steering: NDArray[np.complex128], level: float,
             per_watt: NDArray[np.float64], reward: float, eta: NDArray[np.float64]) -> Certificate:  # fmt: skip
    """Raise prices until M_a + level sum eta Q >= eta R holds in every block, with room for rounding, and count what that costs."""
    serving = list(field.serving)
    sign = np.where(field.interferes[..., 0] > 0.0, level, -1.0)
    loaded = np.einsum("au,ub,aubij->abij", sign, eta, moments)
    loaded = loaded + (per_watt[:, :, None] * np.eye(problem.elements))[:, None]
    loaded = loaded - (reward * steering.conj()[:, :, None] * steering[:, None, :])[:, None]
    rounding = 1e-13 * float(np.abs(loaded).max()) + 1e-13 * level * float(np.abs(moments[serving]).max() * eta.max())
    lift = np.maximum(rounding - np.linalg.eigvalsh(loaded)[..., 0].min(-1), 0.0)
    per_watt = per_watt + lift[:, None]
    worth = float((per_watt * problem.element_power_w).sum())
    cost = level * float((problem.tones * field.noise[:, None] * eta).sum())
    return Certificate((cost + reward * problem.floor_w) / worth - 1.0, per_watt, reward, eta)
