"""Upper bounds on the smallest t that any design of a worst-case SINR can have, each with a certificate that stands without its solver.

A certificate prices what a design spends and gains: power (nu per base station), information (Z_m >= 0 with sum Z_m,00 = 1, since
t_m = min over Z >= 0, Z_00 = 1 of tr(Z F_m), linear in R) and every user's promise. The promise is priced by a random strategy of the
adversary: second moments Theta >= 0 of (e, 1) with E|e|^2 <= radius^2 E1, which by the S-lemma is what one ball, or one ellipsoid, can
do. Streams of any rank then gain at most sum nu P - sum eta noise when, for every stream s,

    diag(nu) - G(Z) - M_s / gamma + sum_{u hears s, u != s} M_u >= 0,   M_u = [I g] Theta_u [I g]^H,  eta_u = E1,  g = conj(channel).

Multipoint, one ball per link: E|e_n|^2 <= radius_n^2 for each, which is what a product of two balls can do too (Huang and Zhang, 2007). Of
three or more it would give the adversary more than the product has, and no bound: there he keeps to the ellipsoid
sum_n |e_n|^2 / radius_n^2 <= 1 inside the product, and the bound holds but is less tight.
Coordinated beamforming: at s_m in a cell [low, high] information at low, s_m priced at both ends; the bound is the largest over cells that
cover every s_m, the worst split first. Views beyond the first are left out there. Symbol level, multipoint: the waveform enters R by
R >= X X^H / L only, so a symbol costs c_t^H Omega^-1 c_t, Omega = diag(nu) - G(Z), c_t what its margins are worth.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from hil.errors import InputError
from hil.systems.multicell import dual, fisher
from hil.systems.multicell.problem import Kind, Mode, Problem

RELATIVE = 2e-4  # of one program's value, between it and the optimum


@dataclass(frozen=True, slots=True, eq=False)
class Bound:
    """t: rad^-2, no design's min t is larger; negative when no design keeps the promise. gap: relative, of the worst program.
    residual: of its dual before repair. status: "solved", "infeasible", or "stopped" early (a bound all the same). programs, steps: counts.
    """

    t: float
    gap: float
    residual: float
    status: str
    programs: int
    steps: int


def upper(problem: Problem, mode: Mode, kind: Kind, target: float, *, known: float = 0.0, relative: float = RELATIVE, tightness: float = 5e-3,
          programs: int = 60) -> Bound:  # fmt: skip
    """Bound at a worst-case SINR `target` (linear; of a symbol-level design squared margin over noise).

    known: t of a design, saves time only: coordinated beamforming stops splitting cells once the bound is within `tightness` of it, or
    after so many `programs`. InputError `no-bound`: symbol level with coordinated beamforming.
    """
    if kind == "slp" and mode == "cbf":
        raise InputError("no-bound", "no bound is known for symbol-level coordinated beamforming", key="mode, kind", found=f"{mode}, {kind}",
                         allowed="cbf-blp, comp-blp, comp-slp")  # fmt: skip
    problem = problem.normalised
    of = fisher.rows(problem, mode)
    if np.any(of.scale[..., 0] == 0.0):
        return Bound(0.0, 0.0, 0.0, "solved", 0, 0)  # a target that returns nothing
    size = problem.stations * problem.antennas
    unit = float(fisher.t_of(problem, mode, np.eye(size, dtype=complex) / problem.antennas).min())
    unit = unit if unit > 0.0 else 1.0
    if mode == "cbf":
        return _over_cells(problem, of, target, unit, known, relative, tightness, programs)
    program, start = (_blocks(problem, of, mode, target, unit) if kind == "blp" else _symbols(problem, of, target, unit))
    found = dual.minimise(program, start, relative)
    status = "infeasible" if found.status == "below" else found.status
    return Bound(found.value * unit, found.gap / max(abs(found.value), 1e-300), found.residual, status, 1, found.steps)


# -- building blocks of the dual ---------------------------------------------------------------------------------------------------------


class _Sheet:
    """Variables, blocks and rows while a program is being written."""

    def __init__(self) -> None:
        self.count = 0
        self.cost: list[NDArray[np.float64]] = []
        self.one: list[NDArray[np.float64]] = []
        self.start: list[NDArray[np.float64]] = []
        self.blocks: list[tuple[int, list[tuple[NDArray[np.int64], sparse.csr_array]]]] = []
        self.rows: list[tuple[NDArray[np.int64], NDArray[np.float64]]] = []

    def new(self, start: NDArray[np.float64], cost: float | NDArray[np.float64] = 0.0, one: float | NDArray[np.float64] = 0.0
            ) -> NDArray[np.int64]:  # fmt: skip
        """Indices of new variables."""
        start = np.atleast_1d(np.asarray(start, float))
        self.start.append(start)
        self.cost.append(np.broadcast_to(np.asarray(cost, float), start.shape))
        self.one.append(np.broadcast_to(np.asarray(one, float), start.shape))
        self.count += start.size
        return np.arange(self.count - start.size, self.count)

    def block(self, size: int, terms: Sequence[tuple[NDArray[np.int64], sparse.csr_array]]) -> None:
        self.blocks.append((size, list(terms)))

    def positive(self, columns: NDArray[np.int64], values: NDArray[np.float64] | float = 1.0) -> None:
        """A row that must not be negative."""
        self.rows.append((columns, np.broadcast_to(np.asarray(values, float), columns.shape)))

    def program(self) -> tuple[dual.Program, NDArray[np.float64]]:
        blocks = [dual.Block(size, *_joined(terms)) for size, terms in self.blocks]
        at = np.repeat(np.arange(len(self.rows)), [len(columns) for columns, _ in self.rows])
        values, columns = np.concatenate([v for _, v in self.rows]), np.concatenate([c for c, _ in self.rows])
        rows = sparse.csr_array((values, (at, columns)), (len(self.rows), self.count))
        return dual.Program(np.concatenate(self.cost), np.concatenate(self.one), blocks, rows), np.concatenate(self.start)


def _joined(terms: Sequence[tuple[NDArray[np.int64], sparse.csr_array]]) -> tuple[NDArray[np.int64], sparse.csr_array]:
    """(variables, matrix) of a sum of matrices whose columns are these variables."""
    parts = [sparse.coo_array(matrix) for _, matrix in terms]
    row = np.concatenate([part.coords[0] for part in parts])
    every, column = np.unique(np.concatenate([columns[part.coords[1]] for (columns, _), part in zip(terms, parts)]), return_inverse=True)
    data = np.concatenate([part.data for part in parts])
    return every, sparse.csr_array((data, (row, column)), (terms[0][1].shape[0], len(every)))


Terms = list[tuple[NDArray[np.int64], sparse.csr_array]]


def _information(sheet: _Sheet, of: fisher.Rows, view: int, m: int, reflected: float, unit: float, places: NDArray[np.int64]) -> Terms:
    """Terms of G(Z) on antennas `places` for one view of one target, Z >= 0 being a new block. Starts at a share of the isotropic answer."""
    scale = of.scale[view, m]
    kept = np.flatnonzero(scale > 0.0)
    size = len(kept)
    symmetric = size * (size + 1) // 2
    own = unit * scale[0] ** 2
    z = sheet.new(np.r_[np.ones(size), np.zeros(symmetric - size)], one=np.r_[own, np.zeros(symmetric - 1)])
    sheet.block(size, [(z, sparse.csr_array(sparse.eye_array(size**2, symmetric)))])
    kappa = of.receive / (of.noise[m] + of.receive * reflected)
    u = (of.u[view, m][kept] * scale[kept, None])[:, places]
    g = of.g[view, m][places] * scale[0]
    terms = np.sqrt(2 * of.length * kappa) * u.conj().T, np.sqrt(2 * of.length * of.edge[view, m]) * g.conj()[:, None]
    return [(z, dual.congruence(terms[0])[:, :symmetric]), (z[:1], dual.congruence(terms[1]))]


def _power(sheet: _Sheet, stations: int, antennas: int) -> NDArray[np.int64]:
    nu = sheet.new(np.ones(stations), cost=1.0)
    for one in nu:
        sheet.positive(np.array([one]))
    return nu


def _budget(nu: NDArray[np.int64], antennas: int) -> Terms:
    """diag(nu) over the antennas of these base stations."""
    size = len(nu) * antennas
    return [(nu, sparse.csr_array((np.ones(size), (np.arange(size), np.arange(size) // antennas)), (size**2, len(nu))))]


def _moment(sheet: _Sheet, eta: NDArray[np.int64], channel: NDArray[np.complex128], radius: NDArray[np.float64], balls: int, begin: float
            ) -> Terms:  # fmt: skip
    """Terms of M for a strategy on one set: |e / radius| <= 1 in each of so many equal parts, radius per antenna. Corner eta is shared by all
    sets of one user.
    """
    n = len(channel)
    corner = n  # the last of the diagonal
    free = np.delete(np.arange((n + 1) ** 2), corner)
    theta = sheet.new(np.r_[np.full(n, 0.5 * begin * balls / n), np.zeros(len(free) - n)])
    columns = np.insert(theta, corner, eta[0])
    sheet.block(n + 1, [(columns, sparse.csr_array(sparse.eye_array((n + 1) ** 2)))])
    for part in np.split(theta[:n], balls):
        sheet.positive(np.r_[eta, part], np.r_[1.0, -np.ones(len(part))])
    return [(columns, dual.congruence(np.concatenate([np.diag(radius).astype(complex), channel.conj()[:, None]], axis=1)))]


def _scaled(terms: Terms, factor: float) -> Terms:
    return [(columns, matrix * factor) for columns, matrix in terms]


def _largest(terms: Terms, start: NDArray[np.float64], size: int) -> float:
    """Largest eigenvalue of the terms at the start."""
    at = sum((matrix @ start[columns] for columns, matrix in terms), np.zeros(size**2))
    return float(np.linalg.eigvalsh(dual.hermitian(at, size))[-1])


# -- block level -------------------------------------------------------------------------------------------------------------------------


def _blocks(problem: Problem, of: fisher.Rows, mode: Mode, target: float, unit: float, low: NDArray[np.float64] | None = None,
            high: NDArray[np.float64] | None = None) -> tuple[dual.Program, NDArray[np.float64]]:  # fmt: skip
    """The dual program and a point inside it; low, high: (base station,) cell of s_m, coordinated beamforming only."""
    stations, users, n = problem.channel.shape
    sheet = _Sheet()
    nu = _power(sheet, stations, n)
    places = np.arange(stations * n)
    groups = [np.arange(stations)] if mode == "comp" else [np.array([m]) for m in range(stations)]
    where = [np.concatenate([places[m * n : (m + 1) * n] for m in group]) for group in groups]
    gains: list[Terms] = [[] for _ in groups]
    for view in range(len(of.u) if mode == "comp" else 1):
        for m in range(stations):
            group = 0 if mode == "comp" else m
            gains[group] += _information(sheet, of, view, m, 0.0 if low is None else float(low[m]), unit, where[group])
    if low is not None and high is not None:
        for m in range(stations):
            ends = sheet.new(np.full(2, 1e-3), cost=np.array([high[m], -low[m]]))
            sheet.positive(ends[:1]), sheet.positive(ends[1:])
            for c in range(stations):
                if c != m:
                    back = dual.congruence(of.reflection[0, m, c][where[c], None].conj())
                    gains[c] += [(ends[:1], -back), (ends[1:], back)]
    so_far = np.concatenate(sheet.start)
    worth = max(_largest(gain, so_far, len(w)) for gain, w in zip(gains, where))
    stacked = mode == "comp" and problem.csi_set == "stacked"
    balls = 2 if mode == "comp" and stations == 2 and not stacked else 1
    moments: list[list[Terms]] = []  # (user, group)
    for u in range(users):
        strongest = float(np.max(np.sum(np.abs(problem.channel[:, u]) ** 2, axis=-1)))
        begin = 0.1 * worth * min(target, 1.0) / strongest
        eta = sheet.new(np.array([begin]), cost=-problem.noise[u])
        radius = np.full(stations, problem.stacked_radius[u]) if stacked else problem.radius[:, u]
        moments.append([_moment(sheet, eta, problem.channel[group, u].ravel(), np.repeat(radius[group], n), balls, begin) for group in groups])
    begun = np.concatenate(sheet.start)
    most = 0.0
    for s in range(users):
        group = 0 if mode == "comp" else int(problem.cells[s])
        spent = gains[group] + _scaled(moments[s][group], 1.0 / target)
        most = max(most, _largest(spent, begun, len(where[group])))
        heard = [term for u in range(users) if u != s for term in moments[u][group]]
        sheet.block(len(where[group]), _budget(nu[groups[group]], n) + _scaled(spent, -1.0) + heard)
    sheet.start[0] = np.full(stations, 2.0 * most)
    return sheet.program()


def _over_cells(problem: Problem, of: fisher.Rows, target: float, unit: float, known: float, relative: float, tightness: float, programs: int
                ) -> Bound:  # fmt: skip
    """Best first: the cell with the largest bound is split where its information varies most."""
    most = np.sum(np.sum(np.abs(of.reflection[0]) ** 2, axis=-1), axis=-1)  # v^T R conj(v) <= |v|^2 power
    kappa = lambda s: of.receive / (of.noise + of.receive * s)
    worst_gap, residual, steps, solved = 0.0, 0.0, 0, 0
    enough = known * (1.0 + tightness)

    def of_cell(low: NDArray[np.float64], high: NDArray[np.float64]) -> float:
        nonlocal worst_gap, residual, steps, solved
        program, start = _blocks(problem, of, "cbf", target, unit, low, high)
        found = dual.minimise(program, start, relative, floor=max(enough, 0.0) / unit)
        residual, steps, solved = max(residual, found.residual), steps + found.steps, solved + 1
        if found.status != "below":
            worst_gap = max(worst_gap, found.gap / max(abs(found.value), 1e-300))
        return found.value * unit

    low = np.zeros_like(most)
    heap = [(-of_cell(low, most), 0, low, most)]
    order = 0
    while solved < programs and -heap[0][0] > enough:
        _, _, low, high = heapq.heappop(heap)
        axis = int(np.argmax(kappa(low) / kappa(high)))
        middle = 0.5 * (low[axis] + high[axis])
        for a, b in ((low, np.where(np.arange(len(high)) == axis, middle, high)), (np.where(np.arange(len(low)) == axis, middle, low), high)):
            order += 1
            heapq.heappush(heap, (-of_cell(a, b), order, a, b))
    value = -heap[0][0]
    return Bound(value, worst_gap, residual, "infeasible" if value < 0.0 else "solved" if value <= enough else "stopped", solved, steps)


# -- symbol level ------------------------------------------------------------------------------------------------------------------------


def _symbols(problem: Problem, of: fisher.Rows, target: float, unit: float) -> tuple[dual.Program, NDArray[np.float64]]:
    """The dual program and a point inside it, multipoint: one R >= X X^H / L, exact robust margins."""
    if problem.payload is None:
        raise ValueError("symbol-level bounds need a payload")
    stations, users, n = problem.channel.shape
    size, length = stations * n, problem.length
    sheet = _Sheet()
    nu = _power(sheet, stations, n)
    gain = [term for view in range(len(of.u)) for m in range(stations) for term in _information(sheet, of, view, m, 0.0, unit, np.arange(size))]
    worth = _largest(gain, np.concatenate(sheet.start), size)
    sheet.start[0] = np.full(stations, 2.0 * worth)
    omega = _budget(nu, n) + _scaled(gain, -1.0)

    upper_i, upper_j = np.triu_indices(size + 1, 1)
    inner = np.r_[np.arange(size), size + 1 + np.flatnonzero(upper_j < size), size + 1 + len(upper_i) + np.flatnonzero(upper_j < size)]
    rim = np.r_[size + 1 + np.flatnonzero(upper_j == size), size + 1 + len(upper_i) + np.flatnonzero(upper_j == size)]
    pad = sparse.csr_array((np.ones(size**2), (inner, np.arange(size**2))), ((size + 1) ** 2, size**2))
    body = [(columns, sparse.csr_array(pad @ matrix)) for columns, matrix in omega]
    sets = [np.arange(size)] if problem.csi_set == "stacked" else [np.arange(m * n, (m + 1) * n) for m in range(stations)]
    radius = problem.stacked_radius[None] if problem.csi_set == "stacked" else problem.radius
    slope = np.array([1.0, -1.0]) / np.tan(problem.psi)
    begin = 0.01 * worth / np.sqrt(length) / np.linalg.norm(problem.stacked) / np.sqrt(users)
    for t in range(length):
        y = sheet.new(np.array([worth / length]), cost=1.0)
        price = sheet.new(np.full(2 * users, begin), cost=-np.repeat(np.sqrt(target * problem.noise), 2))
        for one in price:
            sheet.positive(np.array([one]))
        pull = (problem.payload[:, t, None] * problem.stacked.conj())[:, None] * (1.0 - 1j * slope)[:, None]
        pull = pull.reshape(2 * users, size).T  # (antenna, price)
        half = np.sqrt(0.5 * length)  # sqrt(L) / 2 times the root of 2 of off-diagonal coordinates
        column = lambda c: np.concatenate([c.real, c.imag])
        wide = lambda c: sparse.csr_array((c.ravel(), (np.repeat(rim, c.shape[1]), np.tile(np.arange(c.shape[1]), len(rim)))),
                                          ((size + 1) ** 2, c.shape[1]))  # fmt: skip
        corner = sparse.csr_array(([1.0], ([size], [0])), ((size + 1) ** 2, 1))
        terms = [*body, (y, corner), (price, wide(half * column(pull)))]
        for mine, d in zip(sets, radius):
            many = len(mine)
            weight = np.repeat(d, 2) / np.sin(problem.psi)
            if not np.any(weight > 0.0):
                continue
            b = sheet.new(np.zeros(2 * many))
            place = np.zeros((size, 2 * many), complex)
            place[mine, np.arange(many)], place[mine, many + np.arange(many)] = 1.0, 1j
            terms.append((b, wide(-half * column(place))))
            sheet.block(many + 1, _ball(b, price, weight))
        sheet.block(size + 1, terms)
    return sheet.program()


def _ball(b: NDArray[np.int64], price: NDArray[np.int64], weight: NDArray[np.float64]) -> Terms:
    """|b| <= weight price as an arrow matrix, b being real and then imaginary parts."""
    many = len(b) // 2
    i, j = np.triu_indices(many + 1, 1)
    rim = np.flatnonzero(j == many)
    at = np.r_[many + 1 + rim, many + 1 + len(i) + rim]
    arrow = sparse.csr_array((np.full(2 * many, np.sqrt(2.0)), (at, np.arange(2 * many))), ((many + 1) ** 2, 2 * many))
    ones = np.zeros(((many + 1) ** 2, len(price)))
    ones[: many + 1] = weight
    return [(b, arrow), (price, sparse.csr_array(ones))]


