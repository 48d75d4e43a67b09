"""What no design can pass: rigorous upper bounds on the worst-case SINR, from the dual side alone.

At fixed positions. Price every antenna's power (lambda_an per watt) and reward target power (mu per watt); blocks then decouple. In each,
let the adversary play a fixed random strategy, an error e with E||e||^2 <= r^2: signals see R_u = E conj(h+e)(h+e)^T + S^H S,
interference Q_vu likewise. Precoders W_a >= 0 of any rank that give every user the mean SINR gamma cost, by Lagrange duality, at least

    cost_b = gamma sum_u noise_u eta_u   for every eta >= 0 with   M_a + gamma sum_{u not served by a} eta_u Q_au >= eta_{u(a)} R_{u(a)},

M_a = diag(lambda_a) - mu conj(a) a^T >= 0. (This is the dual of the semidefinite program with the two S-procedure constraints: the
strategy's second moment is its multiplier.) If sum_b tones_b cost_b > sum lambda cap - mu floor, level gamma is out of reach. Whatever
the prices, strategies and eta, the conclusion holds; good ones come from the multipliers of the designer's last cone program, or from
`prices` where the floor binds. Without reward the largest feasible eta is the fixed point of a standard interference function (Yates
1995), reached from below, so each iterate is feasible.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hil.knowledge import Knowledge
from hil.systems.maxmin import precoders
from hil.systems.maxmin.prediction import paths_of
from hil.systems.maxmin.prices import certificate
from hil.systems.maxmin.problem import Problem
from hil.systems.maxmin.worst_case import Field, norm
from hil.units import to_db

SCATTERS = (1e-3, 5e-3)  # shares of the interfering error's energy that point anywhere
LEAST_PRICES = (1e-9, 1e-3)  # of the highest price
FIRST_GAP_DB = 0.02  # a bound this near the design is near enough
PRICE_PROGRAMS = 4
REPAIR = 1e-7  # eta is shrunk by this relative amount, far above the rounding of 4 x 4 eigenvalues


def strategy(field: Field, w: NDArray[np.complex128], lean: NDArray[np.complex128], scatter: float = 0.0) -> NDArray[np.complex128]:
    """Second moments (transmitter, user, block, antenna, antenna) of conj(h + e) under the adversary's mixed answer to w.

    Against the signal e = -r conj(w)/||w||, turned to meet it; against interference e = +r conj(w)/||w|| at a random phase whose mean
    is `lean`, |lean| <= 1; a share `scatter` of the interfering error's energy points anywhere, so that no direction is free of it.
    Where the ball of a signal holds zero, the error that cancels it is enough.
    """
    unit = w / np.maximum(norm(w), 1e-300)[..., None]
    middle = (field.mean * unit[:, None]).sum(-1)
    phase = np.where(abs(middle) > 0.0, middle / np.maximum(abs(middle), 1e-300), 1.0)
    mine = field.interferes == 0.0
    kept = np.where(mine, 1.0, 1.0 - scatter)
    mean_phase = np.where(mine, -phase, np.sqrt(1.0 - scatter) * lean)
    radius = np.where(mine, np.minimum(field.radius, abs(middle)), field.radius)
    shift = mean_phase * radius
    h, e = field.mean.conj(), unit[:, None] * np.ones_like(field.mean)
    cross = shift.conj()[..., None, None] * e[..., :, None] * h.conj()[..., None, :]
    moment = h[..., :, None] * h.conj()[..., None, :] + cross + np.conj(np.swapaxes(cross, -1, -2))
    moment = moment + (kept * radius**2)[..., None, None] * e[..., :, None] * e.conj()[..., None, :]
    moment = moment + ((1.0 - kept) * radius**2 / w.shape[-1])[..., None, None] * np.eye(w.shape[-1])
    return moment + np.einsum("aubri,aubrj->aubij", field.spread.conj(), field.spread)


def climb(level: float, moments: NDArray[np.complex128], priced: NDArray[np.complex128], field: Field, tones: NDArray[np.float64],
          eta: NDArray[np.float64], budget: float, iterations: int = 400) -> tuple[float, NDArray[np.float64]]:  # fmt: skip
    """(cost over all blocks, eta) reached at `level` from a feasible eta (user, block); stops when settled or above `budget`.

    priced: (transmitter, antenna, antenna) positive definite.
    """
    serving, users = list(field.serving), np.arange(len(field.serving))
    others = field.interferes[..., 0]
    root = _square_root(moments[serving, users])
    total = 0.0
    for _ in range(iterations):
        loaded = priced[:, None] + level * np.einsum("au,ub,aubij->abij", others, eta, moments)
        inner = np.conj(np.swapaxes(root, -1, -2)) @ np.linalg.solve(loaded[serving], root)
        eta = np.maximum(eta, (1.0 - REPAIR) / np.linalg.eigvalsh(inner)[..., -1])
        previous, total = total, level * float((tones * field.noise[:, None] * eta).sum())
        if total > budget or total - previous < 1e-9 * total:
            break
    return total, eta


def _square_root(moment: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """F with F F^H = moment, positive semidefinite."""
    values, vectors = np.linalg.eigh(moment)
    return vectors * np.sqrt(np.maximum(values, 0.0))[..., None, :]


def power_bound(problem: Problem, field: Field, moments: NDArray[np.complex128], per_watt: NDArray[np.float64], guess: float,
                tolerance_db: float = 1e-3) -> float:  # fmt: skip
    """Smallest level (linear, to `tolerance_db` above) proven out of reach of the power caps alone; `guess` only saves time.

    per_watt: (transmitter, antenna) > 0. Infinite when no level below 120 dB is.
    """
    priced = (per_watt[:, :, None] * np.eye(problem.elements)).astype(complex)
    budget = float((per_watt * problem.element_power_w).sum())
    step = 10 ** (tolerance_db / 10)
    reachable, upper, level, stride = 0.0, np.inf, guess, step
    eta = np.zeros((problem.users, problem.blocks))
    while upper > reachable * step and level < 1e12:
        total, climbed = climb(level, moments, priced, field, problem.tones, eta, budget)
        if total > budget:
            upper = level
        else:
            reachable, eta = level, climbed
        if np.isinf(upper) or reachable == 0.0:
            level, stride = (level * stride if np.isinf(upper) else level / stride), stride**2
        else:
            level = np.sqrt(upper * reachable)
    return upper


def floor_bound(problem: Problem, field: Field, solution: precoders.Solution, steering: NDArray[np.complex128], limit: float) -> float:
    """As `power_bound` with the floor too, from prices chosen by semidefinite programs; at most `limit`."""
    moments = strategy(field, solution.w, solution.lean, SCATTERS[0])
    steps_db, tried = [FIRST_GAP_DB], []
    while len(tried) < PRICE_PROGRAMS:
        level = solution.level * 10 ** (steps_db[-1] / 10)
        if level >= limit:
            return limit
        surplus = certificate(problem, field, moments, steering, level).surplus
        tried.append((steps_db[-1], surplus))
        if surplus > 0.0:
            return level
        if len(tried) == 1:
            slope = 0.15  # surplus per dB, typical of noise-limited blocks
        else:
            slope = max((tried[-1][1] - tried[-2][1]) / (tried[-1][0] - tried[-2][0]), 1e-3)
        steps_db.append(steps_db[-1] + max(1.1 * -surplus / slope, FIRST_GAP_DB))
    return limit


def at_positions(problem: Problem, knowledge: Knowledge, field: Field, solution: precoders.Solution | None = None) -> float:
    """dB: no precoders at `problem.positions` have a larger worst-case SINR over the sets of `field`."""
    steering = target_steering(problem, knowledge)
    solution = solution or precoders.solve(problem, field, steering)
    limit = power_limit(problem, field, solution.relaxed or solution)
    if solution.relaxed is not None:
        limit = min(limit, floor_bound(problem, field, solution, steering, limit))
    return to_db(limit)


def power_limit(problem: Problem, field: Field, solution: precoders.Solution) -> float:
    """Linear `power_bound` from the multipliers of a solution, by as many variants as it takes to come near it."""
    limit = np.inf
    for scatter in SCATTERS:
        moments = strategy(field, solution.w, solution.lean, scatter)
        for least in LEAST_PRICES:
            per_watt = np.maximum(solution.prices, least * solution.prices.max())
            limit = min(limit, power_bound(problem, field, moments, per_watt, solution.level))
            if limit <= solution.level * 10 ** (FIRST_GAP_DB / 10):
                return limit
    return limit


def target_steering(problem: Problem, knowledge: Knowledge) -> NDArray[np.complex128] | None:
    """(transmitter, antenna) towards the estimated target; None when no floor is asked."""
    if problem.floor_w <= 0.0:
        return None
    return problem.steering(problem.positions, precoders.target_of(problem, knowledge))


def anywhere(problem: Problem, knowledge: Knowledge, grid: int = 513) -> float:
    """Loose bound, dB, at any positions, on the SINR of the path fits: no interference, no error, each block and element at its own
    best place. |h_k^T w|^2 <= G_b (sum_n |c_n| |w_n|)^2 with G_b the largest |h_k(p)|^2 of the block on the rail (grid of positions, centre
    tone, and the steepest slope between them) and c_n the chains' gains; by Minkowski sum_b tones_b (sum_n |c_n| |w_bn|)^2 <=
    (sum_n |c_n| sqrt(cap_n))^2, so level <= (sum_n |c_n| sqrt cap_n)^2 / (noise sum_b tones_b / G_b).
    """
    fits = paths_of(problem, knowledge)
    noise = np.asarray(knowledge.noise.value, float)
    centres = np.bincount(problem.block_of_tone, problem.frequencies_hz) / problem.tones
    reach = float(np.max(np.abs(problem.frequencies_hz - centres[problem.block_of_tone])))
    levels = []
    for u, a in enumerate(problem.serving):
        least, most = problem.arrays[a].travel
        fit = fits[a][u]
        best = np.abs(fit.channel(np.linspace(least, most, grid), centres)).max(0)
        sizes, delays = np.abs(fit.gains), np.asarray(fit.delays, float)
        late = np.abs(delays - float(sizes @ delays) / float(sizes.sum()))
        between = 2.0 * np.pi * (float(sizes.sum()) / problem.wavelength * (most - least) / (grid - 1) / 2.0 + reach * float(sizes @ late))
        gain = (best + between) ** 2
        levels.append((np.abs(fit.chains) * np.sqrt(problem.element_power_w[a])).sum() ** 2 / (noise[u] * (problem.tones / gain).sum()))
    return to_db(min(levels))
