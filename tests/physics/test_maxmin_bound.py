"""The bounds hold for every design tried, agree with a semidefinite program, and are near our designer."""

from dataclasses import replace

import cvxpy as cp
import numpy as np
import pytest
from maxmin_scene import room

from hil.systems.maxmin import bound, designers
from hil.systems.maxmin.baselines import regularised_zero_forcing
from hil.systems.maxmin.placement import place
from hil.systems.maxmin.precoders import solve
from hil.systems.maxmin.prices import certificate, repaired
from hil.systems.maxmin.worst_case import known_field, worst_sinr


def at_random(seed, *, blocks, floor_dbm=None, radius=1.0):
    scene = room(seed, blocks=blocks, floor_dbm=floor_dbm)
    positions = scene.problem.random_positions(1)[0]
    problem, knowledge = scene.problem.at(positions), scene.knowledge(positions, radius)
    return scene, problem, knowledge, known_field(problem, knowledge)


@pytest.mark.parametrize("radius", [0.0, 1.0, 5.0])
@pytest.mark.parametrize("seed", range(4))
def test_robust_is_just_below_the_bound(seed, radius):
    _, problem, knowledge, field = at_random(seed, blocks=5, radius=radius)
    found = solve(problem, field)
    limit = bound.at_positions(problem, knowledge, field, found)
    assert 0.0 <= limit - 10 * np.log10(found.level) < 0.05


@pytest.mark.parametrize("seed", range(3))
def test_no_random_design_passes_the_bound_even_with_poor_prices_and_strategies(seed):
    _, problem, knowledge, field = at_random(seed, blocks=4)
    rng = np.random.default_rng(seed)
    best = solve(problem, field)
    poor = replace(best, w=best.w + 0.3 * np.abs(best.w).mean() * rng.standard_normal(best.w.shape), lean=0.5 * best.lean,
                   prices=best.prices * rng.uniform(0.3, 3.0, best.prices.shape) + 0.01 * best.prices.max())  # fmt: skip
    limits = [bound.at_positions(problem, knowledge, field, solution) for solution in (best, poor)]
    assert limits[1] >= 10 * np.log10(best.level)
    zero_forcing = regularised_zero_forcing(problem, field)
    for mix in np.linspace(0, 1, 50):
        push = rng.standard_normal(best.w.shape) + 1j * rng.standard_normal(best.w.shape)
        w = problem.scale_common(mix * zero_forcing + (1 - mix) * push / 4)
        assert 10 * np.log10(worst_sinr(field, w).min()) <= min(limits)


def relaxation_feasible(problem, field, level, steering=None):
    """Whether covariances of any rank reach `level`: the semidefinite program with both S-procedure constraints, by cvxpy."""
    unit = np.sqrt(problem.element_power_w.mean() / problem.tones.sum())
    gain = unit / np.sqrt(field.noise)[:, None, None]
    mean, spread, radius = field.mean * gain, field.spread * gain[..., None], field.radius * gain[..., 0]
    blocks, n = problem.blocks, problem.elements
    w = [[cp.Variable((n, n), hermitian=True) for _ in range(blocks)] for _ in range(2)]
    limits = [matrix >> 0 for row in w for matrix in row]
    scale = cp.Variable(nonneg=True)

    def quadratic(matrix, h):
        """[[W, W h^*], [h^T W, h^T W h^*]] and the power of the variation over the tones is added by the caller."""
        frame = np.concatenate([np.eye(n), h[None]], 0)
        return frame @ matrix @ frame.conj().T

    for u in range(2):
        a, v = problem.serving[u], 1 - problem.serving[u]
        for b in range(blocks):
            most, mine, theirs = cp.Variable(), cp.Variable(nonneg=True), cp.Variable(nonneg=True)
            inside = np.diag([1.0] * n + [0.0]), np.diag([0.0] * n + [1.0])
            own_spread = cp.real(cp.trace(spread[a, u, b] @ w[a][b] @ spread[a, u, b].conj().T))
            leak_spread = cp.real(cp.trace(spread[v, u, b] @ w[v][b] @ spread[v, u, b].conj().T))
            limits.append(quadratic(w[a][b], mean[a, u, b]) + mine * inside[0]
                          + (own_spread - level * (1.0 + most) - mine * radius[a, u, b] ** 2) * inside[1] >> 0)  # fmt: skip
            limits.append(theirs * inside[0] + (most - leak_spread - theirs * radius[v, u, b] ** 2) * inside[1]
                          - quadratic(w[v][b], mean[v, u, b]) >> 0)  # fmt: skip
    for a in range(2):
        for m in range(n):
            used = sum(problem.tones[b] * cp.real(w[a][b][m, m]) for b in range(blocks)) * unit**2
            limits.append(used / problem.element_power_w[a, m] <= scale)
    if steering is not None:
        sent = sum(problem.tones[b] * cp.real(steering[a] @ w[a][b] @ steering[a].conj()) for a in range(2) for b in range(blocks))
        limits.append(sent * unit**2 / problem.floor_w >= 1.0)
    program = cp.Problem(cp.Minimize(scale), limits)
    program.solve(solver=cp.CLARABEL)
    return program.status in ("optimal", "optimal_inaccurate") and scale.value <= 1.0 + 1e-5


@pytest.mark.filterwarnings("ignore:Solution may be inaccurate")
@pytest.mark.parametrize(("floor_dbm", "seed"), [(None, 0), (None, 4), (-8.0, 0), (-8.0, 4)])
def test_agrees_with_the_semidefinite_relaxation(floor_dbm, seed):
    """Just below our level covariances exist, just above our bound none do, of whatever rank."""
    _, problem, knowledge, field = at_random(seed, blocks=2, floor_dbm=floor_dbm, radius=1.0)
    steering = bound.target_steering(problem, knowledge)
    found = solve(problem, field, steering)
    limit = bound.at_positions(problem, knowledge, field, found)
    assert relaxation_feasible(problem, field, found.level * 0.99, steering)
    assert not relaxation_feasible(problem, field, 10 ** (limit / 10) * 1.01, steering)


@pytest.mark.parametrize("seed", range(3))
def test_with_a_floor_robust_is_below_and_near_the_bound(seed):
    _, problem, knowledge, field = at_random(seed, blocks=6, floor_dbm=-9.0)
    steering = bound.target_steering(problem, knowledge)
    found = solve(problem, field, steering)
    limit = 10 ** (bound.at_positions(problem, knowledge, field, found) / 10)
    assert found.level <= limit
    free = solve(replace(problem, floor_w=0.0), field)
    assert limit <= free.level * 10 ** (0.05 / 10)


def test_the_bound_of_zero_forcing_knows_no_floor():
    """Where the floor is dear, a design that ignores it passes the bound of those that keep it, and must not pass its own."""
    scene = room(12, users=((14.0, 1.0, 1.5), (12.0, -3.0, 1.5)))
    problem, knowledge = scene.problem.at(scene.problem.centre), scene.knowledge(scene.problem.centre)
    free, kept = (designers[name]()(problem, knowledge) for name in ("fixed-rzf", "fixed"))
    assert kept.bound < free.predicted <= free.bound


def test_a_botched_certificate_is_repaired_into_a_true_one():
    """Whatever prices and eta are handed in, surplus > 0 only at levels that our designer does not reach."""
    _, problem, knowledge, field = at_random(2, blocks=3, floor_dbm=-9.0)
    steering = bound.target_steering(problem, knowledge)
    found = solve(problem, field, steering)
    moments = bound.strategy(field, found.w, found.lean, 1e-3)
    rng = np.random.default_rng(0)
    good = certificate(problem, field, moments, steering, found.level * 1.2)
    assert good.surplus > 0.0
    for size in (1e-3, 1e-1, 1.0):
        for _ in range(20):
            shake = np.exp(size * rng.standard_normal(good.eta.shape))
            shaken = repaired(problem, field, moments, steering, found.level * 0.999, good.per_watt, good.reward, good.eta * shake)
            assert shaken.surplus <= 0.0


def test_nothing_anywhere_passes_the_loose_bound():
    for seed in range(3):
        scene = room(seed, blocks=4, floor_dbm=None)
        limit = bound.anywhere(scene.problem, scene.knowledge())
        for positions in scene.problem.random_positions(5):
            problem, knowledge = scene.problem.at(positions), scene.knowledge(positions, 0.0)
            assert 10 * np.log10(solve(problem, known_field(problem, knowledge)).level) < limit
        lone = anywhere_single(scene)
        assert lone <= limit < lone + 12.0


def anywhere_single(scene):
    """Best single-user matched filter over random layouts, each user alone, equal power per block: the loose bound's own world."""
    best = []
    for positions in scene.problem.random_positions(200):
        h = scene.channel(positions)
        share = scene.problem.element_power_w / scene.problem.frequencies_hz.size
        levels = [(np.abs(h[u, u]) @ np.sqrt(share[u])).min() ** 2 / scene.noise[u] for u in range(2)]
        best.append(min(levels))
    return 10 * np.log10(max(best))


@pytest.mark.slow
def test_statistics_over_twenty_rooms():
    """Robust against bound and baselines, quickstart size, floor -10 dBm: the numbers of the issue, on exact path fits."""
    gaps, promised = [], {"robust": [], "fixed": [], "sparse": []}
    for seed in range(20):
        scene = room(seed)
        for name, values in promised.items():
            designer = designers[name]()
            positions = designer.positions(scene.problem)
            if positions is None:
                positions = place(scene.problem, scene.knowledge()).positions[0]
            design = designer(scene.problem.at(positions), scene.knowledge(positions))
            values.append(design.promised)
            if name == "robust":
                gaps.append(design.bound - design.promised)
    assert min(gaps) >= 0.0 and np.median(gaps) <= 0.3
    assert np.median(np.array(promised["robust"]) - np.maximum(promised["fixed"], promised["sparse"])) > 0.5
    assert 15.0 < np.median(promised["fixed"]) < 25.0 and 15.0 < np.median(promised["robust"]) < 25.0
