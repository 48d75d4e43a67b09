"""The paper's symbol-level problems (P3.A), (P3.B) and (P4) in cvxpy: X beside an R that need not be what X sends.

R >= X X^H / L is a relaxation and almost never tight, so the t answered is not that of X: judge X itself. The paper's L matrices R_s are
as good as one R with [[R, X / sqrt L], [., I]] >= 0; `one_r=False` builds them all the same. Radius per link by default, `published_radius`
the one link's delta of (71), (72).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cvxpy as cp
import numpy as np
from numpy.typing import NDArray

from hil.systems.multicell import fisher
from hil.systems.multicell.baselines import SOLVERS, Solved, Weighing, answered, information_lmi, solve
from hil.systems.multicell.problem import Problem


def constructive(problem: Problem, u: int, x: cp.Expression, groups: Sequence[tuple[NDArray[np.complex128], cp.Expression, float]]
                 ) -> cp.Expression:  # fmt: skip
    """(symbol,) margins (63), (64), (71), (72) of user u over tan psi: Re r - |Im r| cot psi - delta |x| / sin psi. groups: (channel, its rows of
    X, radius) of every ball.
    """
    assert problem.payload is not None
    turned = sum(cp.multiply(problem.payload[u].conj(), h @ part) for h, part, _ in groups)
    spread = sum(radius * cp.norm(part, axis=0) for _, part, radius in groups if radius > 0.0)
    margin = cp.real(turned) - cp.abs(cp.imag(turned)) / np.tan(problem.psi)
    return margin - spread / np.sin(problem.psi)


def covariances(size: int, length: int, one_r: bool) -> tuple[cp.Variable, cp.Expression, list[cp.Constraint]]:
    """(X, R_X, relaxed R_X >= X X^H / L): (59c), (73c)."""
    x = cp.Variable((size, length), complex=True)
    if one_r:
        r = cp.Variable((size, size), hermitian=True)
        return x, r, [_hermitian([[r, x / np.sqrt(length)], [x.H / np.sqrt(length), np.eye(length)]])]
    each = [cp.Variable((size, size), hermitian=True) for _ in range(length)]
    bounds = [_hermitian([[one, x[:, s : s + 1]], [x[:, s : s + 1].H, np.ones((1, 1))]]) for s, one in enumerate(each)]
    return x, sum(each[1:], each[0]) / length, bounds


def p4(problem: Problem, weighing: Weighing, *, one_r: bool = True, published_radius: bool = False,
       solvers: Sequence[tuple[str, dict[str, Any]]] = SOLVERS) -> Solved:  # fmt: skip
    """(P4): one convex problem. gamma is gamma'^2."""
    stations, users, n = problem.channel.shape
    x, r, constraints = covariances(stations * n, problem.length, one_r)
    f, gamma = cp.Variable(), cp.Variable(nonneg=True)
    of = fisher.rows(problem, "comp")
    for m in range(stations):
        constraints.append(cp.real(cp.trace(r[m * n : (m + 1) * n, m * n : (m + 1) * n])) <= problem.power[m])  # (73d)
        constraints.append(information_lmi(of, m, r, f))  # (73a), (73b)
    for u in range(users):
        groups: list[tuple[NDArray[np.complex128], cp.Expression, float]] = [
            (problem.channel[m, u], x[m * n : (m + 1) * n], problem.radius[m, u]) for m in range(stations)
        ]
        if problem.csi_set == "stacked" or published_radius:
            radius = problem.radius[problem.cells[u], u] if published_radius else problem.stacked_radius[u]
            groups = [(problem.stacked[u], x, radius)]
        constraints.append(constructive(problem, u, x, groups) >= gamma * np.sqrt(problem.noise[u]))
    return _weighed(x, f, gamma, weighing, constraints, solvers)


def p3(problem: Problem, m: int, cap: float, weighing: Weighing, reflected: float, *, held: tuple[float, float] | None = None,
       one_r: bool = True, solvers: Sequence[tuple[str, dict[str, Any]]] = SOLVERS) -> Solved:  # fmt: skip
    """(P3.A) of base station m, the others frozen: cap the amplitude iota of (67), `reflected` the s_m of (9). With held (t*, gamma*): (P3.B),
    the least cap at that t and gamma = gamma'^2.
    """
    users, others = np.flatnonzero(problem.cells == m), np.flatnonzero(problem.cells != m)
    x, r, constraints = covariances(problem.antennas, problem.length, one_r)
    t, gamma = (cp.Variable(), cp.Variable(nonneg=True)) if held is None else (held[0], float(np.sqrt(held[1])))
    limit = cap if held is None else cp.Variable(nonneg=True)
    constraints.append(cp.real(cp.trace(r)) <= problem.power[m])  # (59b)
    constraints.append(information_lmi(fisher.rows(problem, "cbf"), m, r, t, reflected))  # (59a), (69a)
    heard = cap if problem.stations > 1 else 0.0
    h, delta = problem.channel[m], problem.radius[m]
    for u in users:
        margin = constructive(problem, int(u), x, [(h[u], x, delta[u])])
        constraints.append(margin >= gamma * np.sqrt(problem.noise[u] + heard**2))  # (63), (64)
    for u in others:
        spread = delta[u] * cp.norm(x, axis=0) if delta[u] > 0.0 else 0.0
        constraints.append(cp.abs(h[u] @ x) + spread <= limit / np.sqrt(max(problem.stations - 1, 1)))  # (67), (69d)
    if held is None:
        return _weighed(x, t, gamma, weighing, constraints, solvers)
    status = solve(cp.Problem(cp.Minimize(limit / cap), [*constraints, limit <= cap]), solvers)
    if not answered(status) or limit.value is None:
        return Solved(status)
    return Solved(status, [np.asarray(x.value)], *held, (max(float(limit.value), 0.0),))


def _weighed(x: cp.Variable, t: cp.Variable, root: cp.Variable, weighing: Weighing, constraints: list[cp.Constraint],
             solvers: Sequence[tuple[str, dict[str, Any]]]) -> Solved:  # fmt: skip
    """Maximise rho t / NF_R + (1 - rho) gamma' / NF_C, or t at a given gamma."""
    if weighing.gamma is None:
        objective = weighing.rho * t / weighing.nf_r + (1 - weighing.rho) * root / np.sqrt(weighing.nf_c)
        if weighing.rho == 0.0:
            constraints = [*constraints, t == 0.0]
    else:
        objective, constraints = t / weighing.nf_r, [*constraints, root == np.sqrt(weighing.gamma)]
    status = solve(cp.Problem(cp.Maximize(objective), constraints), solvers)
    if not answered(status) or x.value is None:
        return Solved(status)
    return Solved(status, [np.asarray(x.value)], float(t.value), float(root.value) ** 2)


def _hermitian(blocks: list[list[Any]]) -> cp.Constraint:
    whole = cp.bmat(blocks)
    return (whole + whole.H) / 2 >> 0
