"""What no design can pass: rigorous upper bounds on the worst-case SINR, from the dual side alone.

At fixed positions. Price every antenna's power (lambda_an per watt) and reward target power (mu per watt); blocks then decouple. In each,
let the adversary play a fixed random strategy, an error e with E||e||^2 <= r^2: signals see R_u = E conj(h+e)(h+e)^T + S^H S,
interference Q_vu likewise. Precoders W_a >= 0 of any rank that give every user the mean SINR gamma cost, by Lagrange duality, at least

    cost_b = gamma sum_u noise_u eta_u   for every eta >= 0 with   M_a + gamma sum_{u not served by a} eta_u Q_au >= eta_{u(a)} R_{u(a)},

M_a = diag(lambda_a) - mu conj(a) a^T >= 0. (This is the dual of the semidefinite program with the two S-procedure constraints: the
strategy's second moment is its multiplier.) If sum_b tones_b cost_b > sum lambda cap - mu floor, level gamma is out of reach. Whatever
the prices, strategies and eta, the conclusion holds; good ones come from the multipliers of the designer's last cone program.
The largest feasible eta is the fixed point of a standard interference function, reached from below, so each iterate is feasible.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hil.knowledge import Knowledge
from hil.systems.maxmin import precoders
from hil.systems.maxmin.prediction import paths_of
from hil.systems.maxmin.problem import Problem
from hil.systems.maxmin.worst_case import Field, norm
from hil.units import to_db

SCATTERS = (0.0, 1e-3, 5e-3, 2e-2)
LEAST_PRICES = (1e-9, 1e-4, 1e-2)
REPAIR = 1e-7  # eta is shrunk by this relative amount, far above the rounding of 4 x 4 eigenvalues


@dataclass(frozen=True, slots=True, eq=False)
class Prices:
    """per_watt: (transmitter, antenna) > 0; target: reward per watt towards the target."""

    per_watt: NDArray[np.float64]
    target: float


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


@dataclass(frozen=True, slots=True, eq=False)
class Blocks:
    """The decoupled blocks under fixed prices and strategies, and the function eta -> largest eta each user could have alone."""

    moments: NDArray[np.complex128]  # (transmitter, user, block, antenna, antenna)
    free: NDArray[np.complex128]  # (transmitter, antenna, antenna) diag of prices
    rewarded: NDArray[np.complex128]  # the same less the reward: M_a
    noise: NDArray[np.float64]
    tones: NDArray[np.float64]
    serving: tuple[int, ...]
    budget: float

    def cost(self, level: float, eta: NDArray[np.float64]) -> float:
        return level * float((self.tones * (self.noise[:, None] * eta)).sum())

    def alone(self, level: float, eta: NDArray[np.float64], priced: NDArray[np.complex128]) -> NDArray[np.float64]:
        """f(eta) (user, block); 0 where the matrix that eta must support is not positive definite."""
        users = np.arange(len(self.serving))
        interferes = np.ones((len(users), len(users)))
        interferes[list(self.serving), users] = 0.0
        loaded = priced[:, None] + level * np.einsum("au,ub,aubij->abij", interferes, eta, self.moments)
        loaded = loaded[list(self.serving)]
        values, vectors = np.linalg.eigh(loaded)
        safe = np.maximum(values, 1e-14 * values[..., -1:])
        factor = np.conj(np.swapaxes(vectors, -1, -2)) @ self.roots / np.sqrt(safe)[..., None]
        largest = np.linalg.eigvalsh(np.conj(np.swapaxes(factor, -1, -2)) @ factor)[..., -1]
        return np.where(values[..., 0] > 1e-14 * values[..., -1], 1.0 / largest, 0.0)

    @property
    def roots(self) -> NDArray[np.complex128]:
        return _square_root(self.moments[list(self.serving), np.arange(len(self.serving))])

    def beyond(self, level: float, eta: NDArray[np.float64], iterations: int = 400) -> tuple[bool, NDArray[np.float64], float]:
        """(level is out of reach, the eta reached without reward, its share of the budget), from an eta feasible without reward."""
        rewarding = self.rewarded is not self.free
        total = self.cost(level, eta)
        for _ in range(iterations):  # from below, reward left out: every iterate is feasible
            eta = np.maximum(eta, (1.0 - REPAIR) * self.alone(level, eta, self.free))
            previous, total = total, self.cost(level, eta)
            if (total > self.budget and not rewarding) or total > 1e6 * self.budget or total - previous < 1e-9 * total:
                break
        if not rewarding or total <= self.budget:
            return total > self.budget, eta, total / self.budget
        lower = eta
        for _ in range(iterations):  # from above, reward included: descends to the largest fixed point, then is checked
            fresh = np.minimum(lower, self.alone(level, lower, self.rewarded))
            if not np.all(fresh > 0.0) or self.cost(level, fresh) <= self.budget:
                return False, eta, 1.0
            settled = np.all(fresh > lower * (1.0 - 1e-8))
            lower = fresh
            if settled:
                break
        for shrink in (1e-7, 1e-6, 1e-5, 1e-4):
            candidate = lower * (1.0 - shrink)
            if np.all(self.alone(level, candidate, self.rewarded) * (1.0 - REPAIR) >= candidate):
                return self.cost(level, candidate) > self.budget, eta, self.cost(level, candidate) / self.budget
        return False, eta, 1.0


def _square_root(moment: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """F with F F^H = moment, positive semidefinite."""
    values, vectors = np.linalg.eigh(moment)
    return vectors * np.sqrt(np.maximum(values, 0.0))[..., None, :]


def level_bound(problem: Problem, field: Field, moments: NDArray[np.complex128], prices: Prices,
                steering: NDArray[np.complex128] | None, guess: float, tolerance_db: float = 1e-3) -> float:  # fmt: skip
    """Smallest level (linear, to `tolerance_db` above) proven out of reach; `guess` only saves time. Infinite when none is."""
    floor = problem.floor_w if steering is not None else 0.0
    reward = prices.target if floor > 0.0 else 0.0
    free = (prices.per_watt[:, :, None] * np.eye(problem.elements)).astype(complex)
    rewarded = free - reward * steering.conj()[:, :, None] * steering[:, None, :] if reward > 0.0 else free
    budget = float((prices.per_watt * problem.element_power_w).sum()) - reward * floor
    blocks = Blocks(moments, free, rewarded, field.noise, problem.tones, field.serving, budget)
    step = 10 ** (tolerance_db / 10)
    reachable, upper, level, stride = 0.0, np.inf, guess, step
    eta = np.zeros((problem.users, problem.blocks))
    for _ in range(80):
        proven, climbed, _ = blocks.beyond(level, eta)
        if proven:
            upper = level
        else:
            reachable, eta = level, climbed
        if upper <= reachable * step or (np.isinf(upper) and level > 1e12):
            return upper
        if np.isinf(upper):
            level, stride = level * stride, stride**2
        elif reachable == 0.0:
            level, stride = level / stride, stride**2
        else:
            level = np.sqrt(upper * reachable)
    return upper


def at_positions(problem: Problem, knowledge: Knowledge, field: Field, solution: precoders.Solution | None = None) -> float:
    """dB: no precoders at `problem.positions` have a larger worst-case SINR over the sets of `field`."""
    steering = target_steering(problem, knowledge)
    solution = solution or precoders.solve(problem, field, steering)
    levels = [np.inf]
    for scatter in SCATTERS:
        moments = strategy(field, solution.w, solution.lean, scatter)
        for least in LEAST_PRICES:
            prices = Prices(np.maximum(solution.prices, least * solution.prices.max()), solution.floor_price)
            levels.append(level_bound(problem, field, moments, prices, steering, solution.level))
    return to_db(min(levels))


def target_steering(problem: Problem, knowledge: Knowledge) -> NDArray[np.complex128] | None:
    """(transmitter, antenna) towards the estimated target; None when no floor is asked."""
    if problem.floor_w <= 0.0:
        return None
    return problem.steering(problem.positions, precoders.target_of(problem, knowledge))


def anywhere(problem: Problem, knowledge: Knowledge, grid: int = 2049) -> float:
    """Loose bound, dB, at any positions, on the SINR of the path fits: no interference, no error, each block and element at its own
    best place. |h_k^T w|^2 <= G_k (sum_n |w_n|)^2 with G_k the largest |h_k(p)|^2 on the rail (grid plus slope), and by Minkowski
    sum_b tones_b (sum_n |w_bn|)^2 <= (sum_n sqrt(cap_n))^2, so level <= (sum_n sqrt cap)^2 / (noise sum_b tones_b / G_b).
    """
    fits = paths_of(problem, knowledge)
    noise = np.asarray(knowledge.noise.value, float)
    levels = []
    for u, a in enumerate(problem.serving):
        least, most = problem.arrays[a].travel
        value, _ = fits[a][u].predict(np.linspace(least, most, grid), problem.frequencies_hz)
        between = 2.0 * np.pi / problem.wavelength * float(np.abs(fits[a][u].gains).sum()) * (most - least) / (grid - 1) / 2.0
        best = (np.abs(value).max(0) + between) ** 2
        gain = np.bincount(problem.block_of_tone, best) / problem.tones
        levels.append(np.sqrt(problem.element_power_w[a]).sum() ** 2 / (noise[u] * (problem.tones / gain).sum()))
    return to_db(min(levels))
