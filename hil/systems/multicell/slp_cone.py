"""The cone program of symbol-level designs, in normalised units, handed to Clarabel as it is.

    Re r_ut - |Im r_ut| cot(psi) - loss_ut >= root ||(1, iota_nu, ...)|| + excess,    iota_nu >= |h_nu x_nt| + d_nu beta_nt
    beta_nt >= ||x_nt||,    ||(beta_n1, ..., beta_nL)||^2 <= L,    loss_ut = sum_n d_nu beta_nt / sin(psi)  (one ball a link)

What a program is after comes on top: here `excess`, in `hil.systems.multicell.slp_sight` the smallest t. Everything here is
block-diagonal in the symbols, so work grows as their number.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import clarabel
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from hil.systems.multicell.margin import symbols
from hil.systems.multicell.problem import Mode, Problem

Index = NDArray[np.int64]
Triangle, Positive, Zero, Second = clarabel.PSDTriangleConeT, clarabel.NonnegativeConeT, clarabel.ZeroConeT, clarabel.SecondOrderConeT
TOLERANCE = 1e-5  # of gap and feasibility: what a solution lacks is mended afterwards, exactly
REFINE = (1e-9, 1e-9)


@dataclass
class Rows:
    """Cones s, and s as an affine function of the variables: `put` adds value x[column] to s[row]."""

    row: list[Index] = field(default_factory=list)
    col: list[Index] = field(default_factory=list)
    val: list[NDArray[np.float64]] = field(default_factory=list)
    right: list[NDArray[np.float64]] = field(default_factory=list)
    cones: list[Any] = field(default_factory=list)
    at: int = 0

    def copy(self) -> Rows:
        return Rows(*(list(part) for part in (self.row, self.col, self.val, self.right, self.cones)), self.at)

    def block(self, kind: Any, height: int, count: int = 1, constant: ArrayLike = 0.0) -> Index:
        """First rows (count,) of `count` new cones of one height. constant: (height,) or (count, height) of s."""
        self.right.append(np.array(np.broadcast_to(constant, (count, height)), float).ravel())
        self.cones += [kind(height * count)] if kind in (Zero, Positive) else [kind(height)] * count
        self.at += height * count
        return self.at - height * count + height * np.arange(count)

    def triangle(self, constant: NDArray[np.float64]) -> int:
        """First row of a new positive semidefinite matrix: upper triangle by columns, off its diagonal times root 2. constant: the matrix."""
        size = len(constant)
        row, column = np.tril_indices(size)
        self.right.append(constant[row, column] * np.where(row == column, 1.0, np.sqrt(2.0)))
        self.cones.append(Triangle(size))
        self.at += len(row)
        return self.at - len(row)

    def put(self, row: ArrayLike, col: ArrayLike, value: ArrayLike) -> None:
        rows, cols, values = np.broadcast_arrays(row, col, np.asarray(value, float))
        self.row.append(rows.ravel()), self.col.append(cols.ravel()), self.val.append(values.ravel())


class Cone:
    """Users and power of one normalised problem."""

    def __init__(self, problem: Problem, mode: Mode) -> None:
        self.problem, self.mode = problem, mode
        j, u, n, length = problem.stations, problem.users, problem.antennas, problem.length
        self.count = 0  # variables
        self.re, self.im = self.new(length, j, n), self.new(length, j, n)
        self.beta = self.new(length, j)
        self.whole = self.new(length) if mode == "comp" and problem.csi_set == "stacked" else None  # ||x_t|| over all base stations
        self.others = [[n for n in range(j) if n != problem.cells[v]] if mode == "cbf" else [] for v in range(u)]
        self.iota = [self.new(len(others)) for others in self.others]
        self.floor = self.new(u)  # ||(1, iota)||
        self.inside: list[Index] = []  # (row,) of each user's margins
        self.size = np.sqrt(np.mean(np.abs(problem.channel) ** 2, axis=-1).max(axis=0))  # (user,) of a channel entry: its rows' unit
        self.size[self.size == 0.0] = 1.0
        self.rows = Rows()
        for user in range(u):
            self._margins(user), self._interference(user)
        self._power()

    def new(self, *shape: int) -> Index:
        """Indices of new variables."""
        size = int(np.prod(shape))
        self.count += size
        return np.arange(self.count - size, self.count).reshape(shape)

    def linear(self, row: Index, station: int, weight: NDArray[np.complex128]) -> None:
        """s[row] += Re(weight x_t) of one base station. row: (symbol,), weight: (antenna,) or (symbol, antenna)."""
        self.rows.put(row[:, None], self.re[:, station], weight.real), self.rows.put(row[:, None], self.im[:, station], -weight.imag)

    def _margins(self, u: int) -> None:
        p, rows = self.problem, self.rows
        cot, sine = 1.0 / np.tan(p.psi), np.sin(p.psi)
        mine = range(p.stations) if self.mode == "comp" else [int(p.cells[u])]
        tops = []
        for sign in (1.0, -1.0):
            top = rows.block(Positive, 1, p.length)
            weight = np.conj(symbols(p)[u])[:, None] * (1.0 + 1j * sign * cot) / self.size[u]
            for n in mine:
                self.linear(top, n, weight * p.channel[n, u])
                if self.whole is None:
                    rows.put(top, self.beta[:, n], -p.radius[n, u] / sine / self.size[u])
            if self.whole is not None:
                rows.put(top, self.whole, -p.stacked_radius[u] / sine / self.size[u])
            tops.append(top)
        self.inside.append(np.concatenate(tops))

    def _interference(self, u: int) -> None:
        p, rows = self.problem, self.rows
        for i, n in enumerate(self.others[u]):
            top = rows.block(Second, 3, p.length)
            unit, channel = 1.0 / self.size[u], p.channel[n, u] / self.size[u]
            rows.put(top, self.iota[u][i], unit), rows.put(top, self.beta[:, n], -p.radius[n, u] * unit)
            self.linear(top + 1, n, channel), self.linear(top + 2, n, -1j * channel)
        height = 2 + len(self.others[u])
        top = rows.block(Second, height, 1, np.eye(height)[1])
        rows.put(top, self.floor[u], 1.0), rows.put(top + 2 + np.arange(height - 2), self.iota[u], 1.0)

    def _power(self) -> None:
        p, rows = self.problem, self.rows
        length, j, n = p.length, p.stations, p.antennas
        top = rows.block(Second, 1 + 2 * n, length * j).reshape(length, j)
        rows.put(top, self.beta, 1.0)
        rows.put(top[..., None] + 1 + np.arange(n), self.re, 1.0), rows.put(top[..., None] + 1 + n + np.arange(n), self.im, 1.0)
        if self.whole is not None:
            top = rows.block(Second, 1 + j, length)
            rows.put(top, self.whole, 1.0), rows.put(top[:, None] + 1 + np.arange(j), self.beta, 1.0)
        top = rows.block(Second, 1 + length, j, _first(np.sqrt(length), 1 + length))
        rows.put(top[:, None] + 1 + np.arange(length), self.beta.T, 1.0)
        if p.element_power is not None:
            top = rows.block(Second, 1 + 2 * length, j * n, _first(np.sqrt(length * p.element_power).reshape(-1, 1), 1 + 2 * length))
            entry = top.reshape(j, n, 1) + 1 + np.arange(length)
            rows.put(entry, np.moveaxis(self.re, 0, -1), 1.0), rows.put(entry + length, np.moveaxis(self.im, 0, -1), 1.0)

    def above(self, root: float) -> Rows:
        """A copy of the rows with margins above root ||(1, iota)||."""
        rows = self.rows.copy()
        for inside, floor, size in zip(self.inside, self.floor, self.size):
            rows.put(inside, floor, -root / size)
        return rows

    def excess(self, root: float) -> NDArray[np.complex128] | None:
        """X that maximises the least of margin - root ||(1, iota)||."""
        rows = self.above(root)
        unit = self.size.max()  # of the excess
        for inside, size in zip(self.inside, self.size):
            rows.put(inside, self.count, -unit / size)
        cost = np.zeros(self.count + 1)
        cost[-1] = -1.0
        return self.solve(rows, cost)

    def solve(self, rows: Rows, cost: NDArray[np.float64]) -> NDArray[np.complex128] | None:
        """X (base station, antenna, symbol) that minimises cost, or None where the solver did not get there."""
        entries = (-np.concatenate(rows.val), (np.concatenate(rows.row), np.concatenate(rows.col)))
        a = sparse.csc_matrix(entries, (rows.at, cost.size))
        settings = clarabel.DefaultSettings()
        settings.verbose = False
        settings.max_threads = 1
        settings.chordal_decomposition_enable = False  # the matrices are small
        settings.equilibrate_enable = False  # rows are scaled where they are made; a second scaling doubles the iterations
        settings.tol_gap_abs = settings.tol_gap_rel = TOLERANCE
        settings.tol_feas = 0.1 * TOLERANCE
        settings.iterative_refinement_reltol, settings.iterative_refinement_abstol = REFINE
        solver = clarabel.DefaultSolver(sparse.csc_matrix((cost.size, cost.size)), cost, a, np.concatenate(rows.right), rows.cones, settings)
        result = solver.solve()
        if result.status not in (clarabel.SolverStatus.Solved, clarabel.SolverStatus.AlmostSolved):
            return None
        x = np.array(result.x)
        return np.moveaxis(x[self.re] + 1j * x[self.im], 0, -1)


def _first(value: ArrayLike, height: int) -> NDArray[np.float64]:
    """(..., height) the value first, then zeros."""
    return np.concatenate([np.atleast_1d(value), np.zeros((*np.atleast_1d(value).shape[:-1], height - 1))], axis=-1)
