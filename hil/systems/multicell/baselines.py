"""The paper's convex problems (P1.A) to (P4), in cvxpy and in its words: W_k and R are the variables, caps on leakage are given.

Every problem is built from a normalised `Problem` (noise and powers 1) and solved by Clarabel, by SCS where that fails; the status stays
with the answer. By default the numerator of (32) is the true minimum over the ball (S-procedure); `published_min_numerator` is (33), which
is not. Misprints are mended: Q = h^* h^T, all J K streams, noise of the users in (48b), I_inter an amplitude in (67). Fisher blocks are
scaled to correlations, without which no solver finishes. `alternating` makes designs of these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import cvxpy as cp
import numpy as np
from numpy.typing import NDArray

from hil.systems.multicell import fisher
from hil.systems.multicell.problem import Problem

SOLVERS: tuple[tuple[str, dict[str, Any]], ...] = (("CLARABEL", {}), ("SCS", {"eps_abs": 1e-5, "eps_rel": 1e-5, "max_iters": 20000}))


@dataclass(frozen=True)
class Weighing:
    """The objective rho t / NF_R + (1 - rho) gamma / NF_C of (P1), (P2); of (P3), (P4) with sqrt(gamma). gamma given: that target, t alone."""

    rho: float = 0.5
    nf_r: float = 1.0
    nf_c: float = 1.0
    gamma: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Solved:
    """w: list of W_k, or X; t, gamma: of the relaxation; caps: the leakage it needs (problems B). status: of every solver tried."""

    status: tuple[str, ...]
    w: list[NDArray[np.complex128]] = field(default_factory=list)
    t: float = 0.0
    gamma: float = 0.0
    caps: tuple[float, ...] = ()

    @property
    def found(self) -> bool:
        return bool(self.w)


def solve(problem: cp.Problem, solvers: Sequence[tuple[str, dict[str, Any]]] = SOLVERS) -> tuple[str, ...]:
    """Statuses, "CLARABEL optimal" for instance, up to the first solver that answers, accurately or not: whoever uses it judges it anew."""
    tried = []
    for solver, settings in solvers:
        try:
            problem.solve(solver=solver, **settings)
            tried.append(f"{solver} {problem.status}")
        except cp.SolverError:
            tried.append(f"{solver} failed")
            continue
        if problem.status in ("optimal", "optimal_inaccurate", "infeasible", "unbounded"):
            break
    return tuple(tried)


def answered(status: Sequence[str]) -> bool:
    return status[-1].endswith(("optimal", "optimal_inaccurate"))


# -- pieces of the constraints -----------------------------------------------------------------------------------------------------------


def information_lmi(of: fisher.Rows, m: int, r: cp.Expression, t: Any, reflected: float = 0.0, view: int = 0) -> cp.Constraint:
    """(30a), (49a), (59a), (73a): [[F_theta - t, f], [f^T, F_eta]] >= 0 for base station m, r its R_X; rows and columns scaled."""
    kept = np.flatnonzero(of.scale[view, m])
    kappa = of.receive / (of.noise[m] + of.receive * reflected)
    places = np.flatnonzero(np.any(of.u[view, m] != 0.0, axis=0)) if r.shape[0] < of.u.shape[-1] else slice(None)
    u = (of.u[view, m][kept] * of.scale[view, m][kept, None])[:, places]
    g = of.g[view, m][None, places] * of.scale[view, m, 0]
    corner = np.zeros((len(kept), 1))
    corner[0] = 1.0
    angle = of.edge[view, m] * cp.real(g @ r @ g.conj().T) - t * of.scale[view, m, 0] ** 2 / (2 * of.length)
    f = kappa * cp.real(u @ r @ u.conj().T) + corner @ angle @ corner.T
    return (f + f.T) / 2 >> 0


def max_leak(h: NDArray[np.complex128], w: cp.Expression, delta: float) -> cp.Expression:
    """(34), (42), (43), (51): the most of |(h + e) w|^2, above it for any rank but one."""
    row = h[None]
    leak = cp.real(row @ w @ row.conj().T)[0, 0]
    return leak if delta == 0.0 else leak + 2 * delta * cp.norm(w @ h.conj()) + delta**2 * cp.real(cp.trace(w))


def min_numerator(h: NDArray[np.complex128], w: cp.Expression, delta: float, published: bool) -> tuple[cp.Expression, list[cp.Constraint]]:
    """The least of (h + e) W (h + e)^H by the S-procedure, or as (33) prints it; and what that takes. Scaled by delta / |h|, |h|."""
    row = h[None]
    nominal = cp.real(row @ w @ row.conj().T)
    if published or delta == 0.0:
        return nominal[0, 0], []
    size, n = float(np.linalg.norm(h)), len(h)
    e, g = delta / size, row.conj().T / size
    lam, least = cp.Variable(nonneg=True), cp.Variable()
    corner = cp.real(g.conj().T @ w @ g) - cp.reshape(least + e * lam, (1, 1), order="C")
    side = np.sqrt(e) * (w @ g)
    lmi = cp.bmat([[e * w + lam * np.eye(n), side], [side.H, corner]])
    return size**2 * least, [(lmi + lmi.H) / 2 >> 0]


def precoders(count: int, size: int) -> list[cp.Variable]:
    """W_k >= 0, the rank constraint dropped: (47b), (54b)."""
    return [cp.Variable((size, size), hermitian=True) for _ in range(count)]


def values(w: Sequence[cp.Variable]) -> list[NDArray[np.complex128]]:
    return [np.asarray(one.value) for one in w]


# -- block level -------------------------------------------------------------------------------------------------------------------------


def p1(problem: Problem, m: int, caps: tuple[float, float], weighing: Weighing, reflected: float, *, held: tuple[float, float] | None = None,
       published_min_numerator: bool = False, solvers: Sequence[tuple[str, dict[str, Any]]] = SOLVERS) -> Solved:  # fmt: skip
    """(P1.A) of base station m, the others frozen: caps (I_intra, I_inter), `reflected` the s_m of (9). With held (t*, gamma*): (P1.B),
    least I_m,intra / I_max + I_m,inter / ((J - 1) I_max) at that t and gamma, I_m,inter <= I_inter.
    """
    users = np.flatnonzero(problem.cells == m)
    others = np.flatnonzero(problem.cells != m)
    neighbours = max(problem.stations - 1, 1)
    w = precoders(len(users), problem.antennas)
    t, gamma = (cp.Variable(), cp.Variable(nonneg=True)) if held is None else held
    intra, inter = caps if held is None else (cp.Variable(nonneg=True), cp.Variable(nonneg=True))
    constraints = [one >> 0 for one in w]
    constraints.append(sum(cp.real(cp.trace(one)) for one in w) <= problem.power[m])  # (47a)
    constraints.append(information_lmi(fisher.rows(problem, "cbf"), m, sum(w[1:], w[0]), t, reflected))  # (30a), (48a)
    h, delta = problem.channel[m], problem.radius[m]
    heard = caps[1] if problem.stations > 1 else 0.0
    for k, u in enumerate(users):
        if len(users) > 1:
            constraints.append(sum(max_leak(h[u], w[q], delta[u]) for q in range(len(users)) if q != k) <= intra)  # (44)
        least, more = min_numerator(h[u], w[k], delta[u], published_min_numerator)
        constraints += [*more, _reaches(least, gamma, (intra if len(users) > 1 else 0.0), heard + problem.noise[u])]  # (46), (48b)
    constraints += [sum(max_leak(h[u], one, delta[u]) for one in w) <= inter / neighbours for u in others]  # (45), (48c)
    if held is not None:
        constraints.append(inter <= caps[1])
        return _least_caps(w, (intra, inter), intra / caps[0] + inter / (neighbours * caps[1]), constraints, held, solvers)
    return _weighed(w, t, gamma, weighing, constraints, solvers)


def p2(problem: Problem, cap: float, weighing: Weighing, *, held: tuple[float, float] | None = None, published_min_numerator: bool = False,
       solvers: Sequence[tuple[str, dict[str, Any]]] = SOLVERS) -> Solved:  # fmt: skip
    """(P2.A) under the leakage cap I_comp; with held (f*, gamma*) (P2.B): the least cap at that f and gamma."""
    n, users = problem.antennas, problem.users
    w = precoders(users, problem.stations * n)
    f, gamma = (cp.Variable(), cp.Variable(nonneg=True)) if held is None else held
    limit = cap if held is None else cp.Variable(nonneg=True)
    r = sum(w[1:], w[0])
    of = fisher.rows(problem, "comp")
    constraints = [one >> 0 for one in w]
    for m in range(problem.stations):
        constraints.append(cp.real(cp.trace(r[m * n : (m + 1) * n, m * n : (m + 1) * n])) <= problem.power[m])  # (54a)
        constraints.append(information_lmi(of, m, r, f))  # (49a), (49b)
    for k in range(users):
        h, delta = problem.stacked[k], problem.stacked_radius[k]
        constraints.append(sum(max_leak(h, w[q], delta) for q in range(users) if q != k) <= limit)  # (53)
        least, more = min_numerator(h, w[k], delta, published_min_numerator)
        constraints += [*more, _reaches(least, gamma, limit, problem.noise[k])]  # (52)
    if held is not None:
        return _least_caps(w, (limit,), limit / cap, constraints, held, solvers)
    return _weighed(w, f, gamma, weighing, constraints, solvers)


def _reaches(least: cp.Expression, gamma: Any, leak: Any, noise: float) -> cp.Constraint:
    """least >= gamma (leak + noise), one of gamma and leak being a number; scaled by the noise and cap, which are near each other."""
    return least >= gamma * (leak + noise)


def _weighed(w: Sequence[cp.Variable], t: cp.Variable, gamma: cp.Variable, weighing: Weighing, constraints: list[cp.Constraint],
             solvers: Sequence[tuple[str, dict[str, Any]]]) -> Solved:  # fmt: skip
    """Maximise the weighted sum, or t at a given gamma."""
    if weighing.gamma is None:
        objective = weighing.rho * t / weighing.nf_r + (1 - weighing.rho) * gamma / weighing.nf_c
    else:
        objective, constraints = t / weighing.nf_r, [*constraints, gamma == weighing.gamma]
    if weighing.gamma is None and weighing.rho == 0.0:
        constraints = [*constraints, t == 0.0]
    status = solve(cp.Problem(cp.Maximize(objective), constraints), solvers)
    if not answered(status) or t.value is None:
        return Solved(status)
    return Solved(status, values(w), float(t.value), float(gamma.value))


def _least_caps(w: Sequence[cp.Variable], caps: Sequence[cp.Variable], objective: cp.Expression, constraints: list[cp.Constraint],
                held: tuple[float, float], solvers: Sequence[tuple[str, dict[str, Any]]]) -> Solved:  # fmt: skip
    status = solve(cp.Problem(cp.Minimize(objective), constraints), solvers)
    if not answered(status) or caps[0].value is None:
        return Solved(status)
    return Solved(status, values(w), *held, tuple(max(float(cap.value), 0.0) for cap in caps))
