"""Duals of small semidefinite programs, solved from the inside: every iterate is feasible, so the value of every iterate is a bound.

    minimise cost y   subject to   H_i(y) = sum_j y_j H_ij >= 0 for every Hermitian block i,   rows y >= 0,   one y = 1

All of it homogeneous, so that any y in the cones is made feasible by dividing by `one` y. Damped Newton steps on the logarithmic barrier
(Boyd and Vandenberghe, Convex Optimization, 11.3) with an exact line search. A y from elsewhere, a general solver's inaccurate one for
instance, is repaired by moving it towards a point inside as far as it takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.linalg import LinAlgError, cho_factor, cho_solve

STRIDE = 10.0  # growth of the barrier's weight
CENTRED = 0.3  # Newton decrement at which a point counts as the centre
EDGE = 0.7  # of the way to the boundary, most of a step: a point nearly on it creeps back along it
MARGIN = 1e-12  # eigenvalues of a certified point, least, over the largest of their block: far above the rounding of eigenvalues


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """One Hermitian matrix linear in y. matrix: (size^2, column), coordinates of `coordinates`; columns: the variables it depends on."""

    size: int
    columns: NDArray[np.int64]
    matrix: sparse.csr_array

    def at(self, y: NDArray[np.float64]) -> NDArray[np.complex128]:
        return hermitian(self.matrix @ y[self.columns], self.size)


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """cost, one: (variable,); rows: (row, variable)."""

    cost: NDArray[np.float64]
    one: NDArray[np.float64]
    blocks: list[Block]
    rows: sparse.csr_array


@dataclass(frozen=True, slots=True, eq=False)
class Certificate:
    """A feasible point and its value, which no primal point exceeds. gap: how far below it the optimum may lie, as far as the centre is
    one. residual: violation of the cones before `repair`, over each block's largest eigenvalue; zero from the barrier.
    """

    y: NDArray[np.float64]
    value: float
    gap: float
    residual: float
    steps: int
    status: Literal["solved", "below", "stopped"]


# -- Hermitian matrices as real vectors --------------------------------------------------------------------------------------------------


@cache
def basis(size: int) -> sparse.csr_array:
    """(size^2, size^2), orthonormal columns: a Hermitian matrix, row after row, is `basis` @ (diagonal, sqrt 2 Re, sqrt 2 Im above it)."""
    i, j = np.triu_indices(size, 1)
    count, upper, lower, diagonal = len(i), i * size + j, j * size + i, np.arange(size) * (size + 1)
    at = size + np.arange(count)
    half = np.full(count, np.sqrt(0.5))
    row = np.concatenate([diagonal, upper, lower, upper, lower])
    column = np.concatenate([np.arange(size), at, at, at + count, at + count])
    value = np.concatenate([np.ones(size), half, half, 1j * half, -1j * half])
    return sparse.csr_array((value, (row, column)), (size**2, size**2))


def hermitian(coordinates: NDArray[np.float64], size: int) -> NDArray[np.complex128]:
    return (basis(size) @ coordinates).reshape(size, size)


def coordinates(matrix: NDArray[np.complex128]) -> NDArray[np.float64]:
    """Of the Hermitian part."""
    return np.real(basis(len(matrix)).conj().T @ matrix.ravel())


def congruence(t: NDArray[np.complex128]) -> sparse.csr_array:
    """(row^2, column^2): coordinates of E to those of t E t^H."""
    rows, columns = t.shape
    outer = sparse.kron(sparse.csr_array(t), sparse.csr_array(t.conj()))
    return sparse.csr_array((basis(rows).conj().T @ outer @ basis(columns)).real)


def _kernel(inverse: NDArray[np.complex128]) -> NDArray[np.float64]:
    """K with <x, K z> = tr(H(x) inverse H(z) inverse): the Hessian of -log det in coordinates."""
    size = len(inverse)
    whole = (inverse[:, None, :, None] * inverse.conj()[None, :, None, :]).reshape(size**2, size**2)
    i, j = np.triu_indices(size, 1)
    d, up, low, half = np.arange(size) * (size + 1), i * size + j, j * size + i, np.sqrt(0.5)
    right = np.concatenate([whole[:, d], half * (whole[:, up] + whole[:, low]), 1j * half * (whole[:, up] - whole[:, low])], 1)
    return np.concatenate([right[d].real, half * (right[up] + right[low]).real, half * (right[up] - right[low]).imag])


# -- the barrier -------------------------------------------------------------------------------------------------------------------------


def minimise(program: Program, start: NDArray[np.float64], relative: float = 1e-4, floor: float = 0.0, steps: int = 300) -> Certificate:
    """From a point inside the cones to a value within `relative` of the optimum. "below": stopped since the value fell under `floor`.

    ValueError: `start` is not inside.
    """
    y = start / float(program.one @ start)
    degree = sum(block.size for block in program.blocks) + program.rows.shape[0]
    weight = degree / max(abs(float(program.cost @ y)), 1e-9)
    status: Literal["solved", "below", "stopped"] = "stopped"
    taken = 0
    for taken in range(1, steps + 1):  # noqa: B007
        roots = _inverse_roots(program, y)
        if roots is None:
            raise ValueError("the barrier starts inside its cones")
        slack = program.rows @ y
        move, decrement = _newton(program, roots, slack, weight)
        y = y + _stride(program, roots, slack, move, weight) * move
        y = y / float(program.one @ y)
        value = float(program.cost @ y)
        if value < floor:
            status = "below"
            break
        if decrement < CENTRED:
            if degree / weight <= relative * abs(value):
                status = "solved"
                break
            weight *= STRIDE
    y, residual = repair(program, y, start)
    return Certificate(y, float(program.cost @ y), degree / weight, residual, taken, status)


def _inverse_roots(program: Program, y: NDArray[np.float64]) -> list[NDArray[np.complex128]] | None:
    """L^-1 of every block L L^H; None outside the cones."""
    try:
        roots = [np.linalg.inv(np.linalg.cholesky(block.at(y))) for block in program.blocks]
    except np.linalg.LinAlgError:
        return None
    return roots if np.all(program.rows @ y > 0.0) else None


def _newton(program: Program, roots: list[NDArray[np.complex128]], slack: NDArray[np.float64], weight: float
            ) -> tuple[NDArray[np.float64], float]:  # fmt: skip
    """The step along `one` y = constant, and its decrement."""
    gradient = weight * program.cost - program.rows.T @ (1.0 / slack)
    scaled = program.rows.multiply(1.0 / slack[:, None]).tocsr()
    hessian = np.asarray((scaled.T @ scaled).todense())
    for block, root in zip(program.blocks, roots):
        inverse = root.conj().T @ root
        gradient[block.columns] -= block.matrix.T @ coordinates(inverse)
        here = np.s_[:] if len(block.columns) == len(gradient) else np.ix_(block.columns, block.columns)
        hessian[here] += block.matrix.T @ (block.matrix.T @ _kernel(inverse)).T
    unit = 1.0 / np.sqrt(np.diag(hessian))
    hessian *= unit[:, None] * unit
    ridge = 0.0
    while True:
        try:
            factor = cho_factor((hessian + ridge * np.eye(len(unit))).T, check_finite=False)  # upper of columns: the fast one
            break
        except LinAlgError:
            ridge = max(10.0 * ridge, 1e-14)
    away, across = (unit[:, None] * cho_solve(factor, unit[:, None] * np.stack([-gradient, program.one], 1), check_finite=False)).T
    move = away - across * float(program.one @ away) / float(program.one @ across)
    return move, float(np.sqrt(max(-gradient @ move, 0.0)))


def _stride(program: Program, roots: list[NDArray[np.complex128]], slack: NDArray[np.float64], move: NDArray[np.float64], weight: float) -> float:
    """Length of the step that minimises the barrier along it."""
    rates = [np.linalg.eigvalsh(root @ block.at(move) @ root.conj().T) for block, root in zip(program.blocks, roots)]
    rate = np.concatenate([*rates, (program.rows @ move) / slack])
    slope = weight * float(program.cost @ move)
    edge = -1.0 / rate.min() if rate.min() < 0.0 else np.inf
    low, high = 0.0, min(EDGE * edge, 1e6)
    for _ in range(60):
        middle = 1.0 if low < 1.0 < high and low == 0.0 else 0.5 * (low + high)
        if slope - np.sum(rate / (1.0 + middle * rate)) < 0.0:
            low = middle
        else:
            high = middle
        if high - low < 1e-3 * high:
            break
    return low if low > 0.0 else 0.5 * high


def repair(program: Program, y: NDArray[np.float64], inside: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """(a feasible point next to any y, violation before): the nearest on the segment to `inside`, where all blocks are definite."""
    y = y / float(program.one @ y)
    inside = inside / float(program.one @ inside)
    share, residual = 0.0, 0.0
    for block in program.blocks:
        mine, safe = block.at(y), block.at(inside)
        largest = float(np.linalg.eigvalsh(mine)[-1])
        mine = mine - MARGIN * max(largest, 0.0) * np.eye(block.size)
        root = np.linalg.inv(np.linalg.cholesky(safe))
        least = float(np.linalg.eigvalsh(root @ mine @ root.conj().T)[0])
        if least < 0.0:
            share = max(share, -least / (1.0 - least))
            residual = max(residual, -float(np.linalg.eigvalsh(mine)[0]) / max(largest, 1e-300))
    slack, safe_slack = program.rows @ y, program.rows @ inside
    short = slack < 0.0
    if np.any(short):
        share = max(share, float(np.max(slack[short] / (slack[short] - safe_slack[short]))))
        residual = max(residual, float(-slack.min() / np.abs(slack).max()))
    y = (1.0 - share) * y + share * inside
    return y / float(program.one @ y), residual
