"""The cone programs of block-level design, handed to Clarabel as matrices: users' robust SINR, power, and a minorant of the sensing.

Users (exact for every stream alone, errors of different streams taken apart), with beta >= norm(w), a reach sum_n radius_n beta_n:

    zeta_us >= abs(h_u w_s) + reach_us,     Re(h_u w_u) - reach_uu >= sqrt(target_u) norm([zeta_us (s != u), 1]),     Im(h_u w_u) = 0.

Sensing: W W^H >= W0 W^H + W W0^H - W0 W0^H for any W0 and t grows with R, so t of the right-hand side is a concave minorant of t, tight at
W0; its Schur complement is a linear matrix inequality. In coordinated beamforming the part of t that the reflections of other cells dim
by D >= 1 + N_rx s_m is q / D >= z, kept by the tangent q >= (D^2 z0 / D0 + z^2 D0 / z0) / 2.

The sparsity pattern is made once; a step changes the entries of the sensing rows only, other targets those of one row a user.
"""

from __future__ import annotations

import clarabel
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from hil.systems.multicell.space import Space

SOLVED = (clarabel.SolverStatus.Solved, clarabel.SolverStatus.AlmostSolved)
BLIND = 1e-9  # share of its largest possible below which the transmit side's information on the angle is left out


class Triplets:
    """Rows of A x + s = b, s in cones, as they are collected."""

    def __init__(self) -> None:
        self.row: list[NDArray] = []
        self.col: list[NDArray] = []
        self.val: list[NDArray] = []
        self.right: list[NDArray] = []
        self.cones: list = []
        self.height = 0

    def cone(self, cone, right) -> int:
        """A cone for len(right) further rows; the number of its first."""
        top = self.height
        self.cones.append(cone)
        self.right.append(np.asarray(right, float))
        self.height += len(self.right[-1])
        return top

    def add(self, rows, cols, slack) -> None:
        """s[rows] grows by slack x[cols]; arguments broadcast."""
        rows, cols, slack = np.broadcast_arrays(rows, cols, slack)
        self.row.append(rows.ravel()), self.col.append(cols.ravel()), self.val.append(-slack.ravel())

    @property
    def entries(self) -> int:
        return sum(len(v) for v in self.val)


def users_rows(space: Space, lines: Triplets, extra: int) -> int:
    """Adds users' and power rows; variables beyond W start at `extra`. -> the number of the next variable. The first rows, one a user on
    top of its cone, are for a target of 1 (`Program` divides them by the root of the target) and hold the lines' first entries.
    """
    problem, users = space.problem, space.problem.users
    pairs = len(space.station)
    beta = extra + (space.stream if space.stacked else np.arange(pairs))  # of every pair
    extra += users if space.stacked else pairs
    zeta = extra + np.cumsum(~np.eye(users, dtype=bool)).reshape(users, users) - 1
    extra += users * (users - 1)
    streams = [np.flatnonzero(space.stream == s) for s in range(users)]

    unit = space.unit

    def reach(u, s):
        """(variables, factors) of how far an error moves what user u hears of stream s."""
        if space.stacked:
            return beta[streams[s][:1]], problem.stacked_radius[[u]] / unit[u]
        return beta[streams[s]], problem.radius[space.station[streams[s]], u] / unit[u]

    def heard(u, s):
        """(variables of the real parts, coefficients) of h_u w_s."""
        return space.variable(streams[s]).ravel(), space.channel[space.station[streams[s]], u].ravel() / unit[u]

    noise = np.sqrt(problem.noise) / unit
    tops = [lines.cone(clarabel.SecondOrderConeT(users + 1), np.eye(users + 1)[-1] * noise[u]) for u in range(users)]
    for u, top in enumerate(tops):
        x, h = heard(u, u)
        lines.add(top, x, h.real), lines.add(top, x + space.half, -h.imag)
        b, d = reach(u, u)
        lines.add(top, b, -d)
    for u, top in enumerate(tops):
        lines.add(top + 1 + np.arange(users - 1), np.delete(zeta[u], u), 1.0)
    top = lines.cone(clarabel.ZeroConeT(users), np.zeros(users))
    for u in range(users):
        x, h = heard(u, u)
        lines.add(top + u, x, h.imag), lines.add(top + u, x + space.half, h.real)
    for u in range(users):
        for s in range(users):
            if s != u:
                top = lines.cone(clarabel.SecondOrderConeT(3), np.zeros(3))
                x, h = heard(u, s)
                b, d = reach(u, s)
                lines.add(top, zeta[u, s], 1.0), lines.add(top, b, -d)
                lines.add(top + 1, x, h.real), lines.add(top + 1, x + space.half, -h.imag)
                lines.add(top + 2, x, h.imag), lines.add(top + 2, x + space.half, h.real)
    for group in streams if space.stacked else np.arange(pairs)[:, None]:
        x = space.variable(group).ravel()
        top = lines.cone(clarabel.SecondOrderConeT(1 + 2 * len(x)), np.zeros(1 + 2 * len(x)))
        lines.add(top, beta[group[0]], 1.0)
        lines.add(top + 1 + np.arange(2 * len(x)), np.concatenate([x, x + space.half]), 1.0)
    for n in range(problem.stations):
        mine = np.flatnonzero(space.station == n)
        x = np.concatenate([space.variable(mine).ravel(), space.variable(mine).ravel() + space.half]) if space.stacked else beta[mine]
        if len(mine):
            top = lines.cone(clarabel.SecondOrderConeT(1 + len(x)), np.eye(1 + len(x))[0] * np.sqrt(problem.power[n]))
            lines.add(top + 1 + np.arange(len(x)), x, 1.0)
        if len(mine) and problem.element_power is not None:
            for i, cap in enumerate(problem.element_power[n]):
                x = np.concatenate([space.variable(mine)[:, i], space.variable(mine)[:, i] + space.half])
                top = lines.cone(clarabel.SecondOrderConeT(1 + len(x)), np.eye(1 + len(x))[0] * np.sqrt(cap))
                lines.add(top + 1 + np.arange(len(x)), x, 1.0)
    return extra


class Program:
    """Users' rows and, by what is asked: nothing ("beam", a linear objective over W), one margin ("level"), or the minorant ("sense")."""

    def __init__(self, space: Space, purpose: str) -> None:
        self.space, self.purpose = space, purpose
        users = space.problem.users
        lines = Triplets()
        self.size = users_rows(space, lines, 2 * space.half)
        lengths = [len(part) for part in lines.row[: 3 * users]]
        self.user_of = np.repeat(np.repeat(np.arange(users), 3), lengths)
        self.margin = None
        if purpose == "level":
            self.margin = lines.entries
            lines.add((users + 1) * np.arange(users), self.size, -1.0)
            self.size += 1
        self.echoes = space.echoes() if purpose == "sense" else []
        self.fixed = lines.entries
        self.cost = np.zeros(self.size)
        if self.margin is not None:
            self.cost[-1] = -1.0
        if self.echoes:
            self._sensing_rows(lines)
        self.lines = lines
        row, col, self.val = (np.concatenate(part) for part in (lines.row, lines.col, lines.val))
        self.right = np.concatenate(lines.right)
        self.order = np.lexsort((row, col))
        self.indices = row[self.order]
        self.indptr = np.concatenate([[0], np.cumsum(np.bincount(col, minlength=self.size))])
        self.base = self.val[: len(self.user_of)].copy()

    # -- sensing -------------------------------------------------------------------------------------------------------------------------

    def _sensing_rows(self, lines: Triplets) -> None:
        """Rows of all echoes: first their fixed parts, then, one after the other, the entries that `at` fills in."""
        self.reference = min(1.0 / echo.first**2 for echo in self.echoes)  # one unit of t for all
        self.tau, self.size = self.size, self.size + 1
        self.parts: list[dict] = []
        for echo in self.echoes:
            coupled = len(echo.others) > 0
            part = {"coupled": coupled}
            p = len(echo.u)
            cone = clarabel.PSDTriangleConeT(p)
            first, second = np.triu_indices(p)
            column = np.argsort(second * p + first, kind="stable")
            part["first"], part["second"] = first[column], second[column]
            part["weight"] = np.where(part["first"] == part["second"], 1.0, np.sqrt(2.0))
            part["lmi"] = lines.cone(cone, np.zeros(p * (p + 1) // 2))
            if coupled:
                part["q"], part["D"], part["z"] = self.size + np.arange(3)
                self.size += 3
                top = lines.cone(clarabel.SecondOrderConeT(4), np.array([0.5, 0.0, 0.0, -0.5]))
                lines.add(top + np.arange(4), [part["q"], part["z"], part["D"], part["q"]], 1.0)
                part["line"] = lines.cone(clarabel.NonnegativeConeT(1), np.zeros(1))
                x = self.space.variable(echo.others)
                streams, which = np.unique(self.space.stream[echo.others], return_inverse=True)
                part["dim"] = lines.cone(clarabel.SecondOrderConeT(2 + 2 * len(streams)), np.concatenate([[0.0, -2.0], np.zeros(2 * len(streams))]))
                rows, h = part["dim"] + 2 + 2 * which[:, None], 2.0 * np.sqrt(self.space.rows.receive) * echo.heard
                lines.add(rows, x, h.real), lines.add(rows, x + self.space.half, -h.imag)
                lines.add(rows + 1, x, h.imag), lines.add(rows + 1, x + self.space.half, h.real)
            self.parts.append(part)
        self.fixed = lines.entries
        for echo, part in zip(self.echoes, self.parts):
            x = self.space.variable(echo.pairs).ravel()
            x = np.concatenate([x, x + self.space.half])
            rows = part["lmi"] + np.arange(len(part["first"]))
            lines.add(rows[:, None], x, 0.0)
            if part["coupled"]:
                lines.add(part["lmi"], part["q"], 0.0)
                lines.add(part["line"], x, 0.0)
                lines.add(part["line"], [part["z"], self.tau], 0.0)
                lines.add(part["dim"] + np.arange(2), part["D"], 0.0)
            else:
                lines.add(part["lmi"], self.tau, 0.0)
        self.cost = np.zeros(self.size)
        self.cost[self.tau] = -1.0

    def at(self, w0: NDArray[np.complex128]) -> None:
        """The minorant of the sensing at W0."""
        space = self.space
        receive, length = space.rows.receive, space.rows.length
        w = space.gathered(w0)
        values = []
        for echo, part in zip(self.echoes, self.parts):
            stream = space.stream[echo.pairs]
            onto = stream[:, None] == np.arange(space.problem.users)
            own = w[echo.pairs]
            y = np.einsum("pak,ak->pa", echo.u, own) @ onto  # (parameter, stream)
            b = np.einsum("ak,ak->a", echo.g, own) @ onto
            first, second = part["first"], part["second"]
            swing = y.conj()[second][:, stream, None] * echo.u[first] + y.conj()[first][:, stream, None] * echo.u[second]
            base = np.sum(y[first] * y[second].conj(), 1).real
            edge_swing, edge_base = 2.0 * b.conj()[stream, None] * echo.g, float(np.sum(np.abs(b) ** 2))
            edge = 2.0 * length * echo.edge
            lmi = slice(part["lmi"], part["lmi"] + len(first))
            q = 2.0 * length * _schur(y, echo.first)
            seen = q * receive * echo.first**2 > BLIND
            factor = 2.0 * length * receive * part["weight"] * seen
            swing, constant = swing * factor[:, None, None], -base * factor + (0.0 if seen else 1.0) * (first == second)
            if part["coupled"]:
                dim = 1.0 + receive * float(np.sum(np.abs(np.einsum("ak,ak->a", echo.heard, w[echo.others])) ** 2))
                values += [_slack(swing), echo.first**2 * receive * q if seen else 1.0]
                values += [_slack(edge * edge_swing[None] / self.reference), -receive * q / dim / self.reference * seen, 1.0, -dim, -dim]
                self.right[part["line"]] = -edge * edge_base / self.reference
            else:
                swing[0] += echo.first**2 * edge * edge_swing
                constant[0] = -base[0] * factor[0] - echo.first**2 * edge * edge_base
                values += [_slack(swing), echo.first**2 * self.reference]
            self.right[lmi] = constant
        self.val[self.fixed :] = np.concatenate([np.ravel(v) for v in values])

    # -- solving -------------------------------------------------------------------------------------------------------------------------

    def solve(self, targets: NDArray[np.float64], cost: NDArray[np.float64] | None = None, margins: NDArray[np.float64] | None = None,
              accuracy: float = 1e-6) -> tuple[NDArray[np.complex128], NDArray[np.float64]] | None:  # fmt: skip
        """(W, x) at targets (user,), or None where the solver finds no point. margins: (user,) what a unit of the common margin is worth."""
        self.val[: len(self.base)] = self.base / np.sqrt(targets)[self.user_of]
        if self.margin is not None:
            self.val[self.margin : self.margin + len(targets)] = (np.ones(len(targets)) if margins is None else margins) / self.space.unit
        a = sparse.csc_matrix((self.val[self.order], self.indices, self.indptr), (self.lines.height, self.size))
        settings = clarabel.DefaultSettings()
        settings.verbose = False
        settings.max_threads = 1
        settings.presolve_enable = settings.equilibrate_enable = False  # entries are near 1 already; equilibrated it takes twice the steps
        settings.tol_gap_abs = settings.tol_gap_rel = accuracy
        settings.tol_feas = 0.1 * accuracy
        c = self.cost if cost is None else np.concatenate([cost, np.zeros(self.size - len(cost))])
        result = clarabel.DefaultSolver(sparse.csc_matrix((self.size, self.size)), c, a, self.right, self.lines.cones, settings).solve()
        if result.status not in SOLVED:
            return None
        x = np.array(result.x)
        return self.space.spread(x), x


def _schur(y: NDArray[np.complex128], scale: float) -> float:
    """Schur complement of Re(y y^H), (parameter, stream), scaled rows, with regard to its first row, unscaled."""
    parts = np.concatenate([y.real, y.imag], 1)
    rest = parts[0] - np.linalg.lstsq(parts[1:].T, parts[0], rcond=1e-10)[0] @ parts[1:]
    return float(rest @ rest) / scale**2


def _slack(coefficients: NDArray[np.complex128]) -> NDArray[np.float64]:
    """Entries of A, negative of Re(c w), over (..., row) x (real parts, then imaginary parts), of c (row, pair, coordinate)."""
    flat = coefficients.reshape(-1, coefficients.shape[-2] * coefficients.shape[-1])
    return np.concatenate([-flat.real, flat.imag], -1)
