"""Robust precoders at fixed positions: against cvxpy, symmetries, limits, floor and caps."""

from dataclasses import replace

import cvxpy as cp
import numpy as np
import pytest
from maxmin_scene import room

from hil.errors import Infeasible, InputError
from hil.systems.maxmin import Nominal, Robust, designers
from hil.systems.maxmin.precoders import solve
from hil.systems.maxmin.worst_case import Field, known_field, worst_sinr


def small(seed, *, blocks=2, floor_dbm=None, radius=1.0, **rest):
    """(scene, problem at random positions, knowledge there, field)."""
    scene = room(seed, blocks=blocks, floor_dbm=floor_dbm, **rest)
    positions = scene.problem.random_positions(1)[0]
    problem = scene.problem.at(positions)
    knowledge = scene.knowledge(positions, radius)
    return scene, problem, knowledge, known_field(problem, knowledge)


def reference_scale(problem, field, level):
    """Smallest scale of all caps at which `level` is reached, by cvxpy; the signal's variance over the tones is left out."""
    unit = np.sqrt(problem.element_power_w.mean() / problem.tones.sum())
    gain = unit / np.sqrt(field.noise)[:, None, None]
    mean, spread, radius = field.mean * gain, field.spread * gain[..., None], field.radius * gain[..., 0]
    w = [[cp.Variable(4, complex=True) for _ in range(problem.blocks)] for _ in range(2)]
    scale = cp.Variable()
    limits = []
    for u in range(2):
        a = problem.serving[u]
        for b in range(problem.blocks):
            v = 1 - a
            leak = cp.abs(mean[v, u, b] @ w[v][b]) + radius[v, u, b] * cp.norm(w[v][b])
            unwanted = cp.norm(cp.hstack([1.0, leak, cp.norm(spread[v, u, b] @ w[v][b])]))
            least = cp.real(mean[a, u, b] @ w[a][b]) - radius[a, u, b] * cp.norm(w[a][b])
            limits.append(least / np.sqrt(level) >= unwanted)
    for a in range(2):
        for n in range(4):
            parts = [np.sqrt(problem.tones[b]) * w[a][b][n] for b in range(problem.blocks)]
            limits.append(cp.norm(cp.hstack(parts)) <= scale * np.sqrt(problem.element_power_w[a, n]) / unit)
    program = cp.Problem(cp.Minimize(scale), limits)
    program.solve(solver=cp.CLARABEL)
    return float(scale.value)


@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_cvxpy(seed):
    """At the level found the reference needs exactly the caps; half a percent more level, more than the caps."""
    _, problem, _, field = small(seed)
    level = solve(problem, field).level
    assert reference_scale(problem, field, level) == pytest.approx(1.0, abs=1e-3)
    assert reference_scale(problem, field, level * 1.005) > 1.001


def test_level_is_the_exact_worst_case_of_the_precoders_and_all_users_and_blocks_share_it():
    _, problem, _, field = small(5, blocks=6)
    found = solve(problem, field)
    each = worst_sinr(field, found.w)
    assert found.level == pytest.approx(each.min(), rel=1e-12)
    assert each.max() / each.min() < 1.01


def test_no_nearby_precoders_are_better():
    """A random direction from the optimum, scaled back into the caps, never helps."""
    _, problem, _, field = small(6, blocks=3)
    found = solve(problem, field)
    rng = np.random.default_rng(0)
    for size in (1e-3, 1e-2, 1e-1):
        for _ in range(100):
            push = rng.standard_normal(found.w.shape) + 1j * rng.standard_normal(found.w.shape)
            w = problem.scale_common(found.w + size * np.abs(found.w).mean() * push)
            assert worst_sinr(field, w).min() <= found.level * 1.001


def test_common_phase_of_a_transmitter_changes_nothing():
    _, problem, _, field = small(1)
    turned = replace(field, mean=field.mean * np.exp(1j * np.array([0.7, -2.0]))[:, None, None, None],
                     spread=field.spread * np.exp(1j * np.array([0.7, -2.0]))[:, None, None, None, None])  # fmt: skip
    assert solve(problem, turned).level == pytest.approx(solve(problem, field).level, rel=1e-3)


def test_relabelled_users_get_the_same_level():
    _, problem, _, field = small(2, blocks=3)
    swapped = replace(problem, serving=(1, 0))
    other = Field(field.mean[:, ::-1], field.spread[:, ::-1], field.radius[:, ::-1], field.noise[::-1], (1, 0))
    assert solve(swapped, other).level == pytest.approx(solve(problem, field).level, rel=1e-3)


def test_power_and_noise_scaled_together_change_only_the_precoders():
    _, problem, _, field = small(3)
    louder = replace(problem, element_power_w=problem.element_power_w * 9.0)
    base, scaled = solve(problem, field), solve(louder, replace(field, noise=field.noise * 9.0))
    assert scaled.level == pytest.approx(base.level, rel=1e-3)
    assert np.linalg.norm(scaled.w) == pytest.approx(3.0 * np.linalg.norm(base.w), rel=2e-2)


def test_a_larger_set_promises_less():
    levels = [solve(problem, field).level for _, problem, _, field in (small(4, radius=r) for r in (0.0, 0.5, 1.0, 2.0, 5.0))]
    assert np.all(np.diff(levels) < 0.0)


def test_zero_radius_makes_robust_nominal():
    _, problem, knowledge, _ = small(7, radius=0.0)
    robust, nominal = Robust()(problem, knowledge), Nominal()(problem, knowledge)
    assert robust.promised == pytest.approx(robust.predicted, abs=1e-9)
    assert robust.predicted == pytest.approx(nominal.predicted, abs=1e-3)


def test_robust_guarantees_more_and_nominal_predicts_more():
    _, problem, knowledge, _ = small(8, radius=4.0, blocks=4)
    robust, nominal = Robust()(problem, knowledge), Nominal()(problem, knowledge)
    assert robust.promised > nominal.promised + 0.1
    assert nominal.predicted > robust.predicted


@pytest.mark.parametrize("name", designers)
def test_every_designer_keeps_caps_and_reports_what_it_does(name):
    scene = room(4, blocks=3)
    designer = designers[name]()
    positions = designer.positions(scene.problem)
    positions = scene.problem.centre if positions is None else positions
    problem, knowledge = scene.problem.at(positions), scene.knowledge(positions)
    design = designer(problem, knowledge)
    assert design.designer == name and design.knowledge == knowledge.version and design.stopped and design.steps >= 1
    assert design.precoders.shape == (2, 3, 4, 1) and design.predicted_each.shape == (2, 3)
    assert np.all(problem.element_power(design.precoders) <= problem.element_power_w * (1 + 1e-9))
    problem.check(design, target=None if name == "fixed-rzf" else scene.target)
    each = 10 * np.log10(worst_sinr(known_field(problem, knowledge), design.precoders[..., 0]))
    if name == "fixed-rzf":
        assert design.promised is None
    else:
        assert design.promised == pytest.approx(each.min(), abs=1e-9)
        assert design.promised <= design.bound <= design.bound_anywhere


def test_floor_is_met_and_costs_level():
    scene, problem, _, field = small(9, blocks=4, floor_dbm=-10.0)
    steering = problem.steering(problem.positions, scene.target)
    free = solve(replace(problem, floor_w=0.0), field)
    for share in (0.3, 0.7, 0.95):
        asked = replace(problem, floor_w=share * problem.most_target_power)
        found = solve(asked, field, steering)
        assert asked.target_power(found.w[..., None], problem.positions, scene.target) >= asked.floor_w * (1 - 1e-9)
        assert np.all(asked.element_power(found.w[..., None]) <= asked.element_power_w)
        assert found.level <= free.level * 1.001


def test_a_floor_beyond_all_power_is_infeasible_with_what_is_achievable():
    _, problem, knowledge, _ = small(9, floor_dbm=0.0)
    with pytest.raises(Infeasible) as caught:
        Robust()(problem, knowledge)
    assert caught.value.unit == "dBm"
    assert caught.value.achievable == pytest.approx(-20 + 20 * np.log10(4) + 10 * np.log10(2), abs=1e-9)


def test_a_floor_without_a_target_is_refused():
    _, problem, knowledge, _ = small(9, floor_dbm=-12.0)
    with pytest.raises(InputError, match="no-target"):
        Robust()(problem, replace(knowledge, target=None))


def test_a_set_that_holds_a_channel_of_zero_is_said_so_and_promised_honestly():
    _, problem, knowledge, field = small(10, radius=400.0)
    design = Robust()(problem, knowledge)
    assert "zero" in design.stopped
    assert design.promised < 0.0 and design.promised == pytest.approx(10 * np.log10(worst_sinr(field, design.precoders[..., 0]).min()))


def test_a_channel_measured_elsewhere_is_refused():
    _, problem, knowledge, _ = small(1)
    with pytest.raises(InputError, match="stale-channel"):
        Robust()(problem.at(problem.positions + 0.01), knowledge)


def test_a_shorter_last_block_counts_its_own_tones():
    _, problem, knowledge, _ = small(3, blocks=3)
    cut = replace(problem, frequencies_hz=problem.frequencies_hz[:30], block_of_tone=problem.block_of_tone[:30])
    assert list(cut.tones) == [12, 12, 6]
    known = replace(knowledge, channel=replace(knowledge.channel, value=knowledge.channel.value[:, :, :30]))
    design = Robust()(cut, known)
    assert np.max(cut.element_power(design.precoders) / cut.element_power_w) == pytest.approx(1.0, abs=1e-6)
    assert design.promised <= design.bound < design.promised + 0.3
