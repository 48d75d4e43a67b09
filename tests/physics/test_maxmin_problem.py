"""The problem's geometry, limits and refusals."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from maxmin_scene import WAVELENGTH, room

from hil.errors import InputError
from hil.knowledge import Design
from hil.model.arrays import towards
from hil.systems.maxmin import Problem, Rail


@pytest.fixture(scope="module")
def problem():
    return room(0, blocks=3).problem


def silent(problem, positions=None, w=None):
    shape = (2, problem.blocks, problem.elements, 1)
    return Design(np.zeros(shape, complex) if w is None else w, problem.centre if positions is None else positions)


def test_centre_is_half_a_wavelength_and_spread_uses_the_whole_rail(problem):
    assert np.allclose(np.diff(problem.centre), 0.5 * WAVELENGTH) and np.allclose(problem.centre.mean(-1), 0.0)
    assert np.allclose(problem.spread[:, [0, -1]], [-4 * WAVELENGTH, 4 * WAVELENGTH]) and np.allclose(np.diff(problem.spread, 2), 0.0)
    problem.check(silent(problem, problem.centre))
    problem.check(silent(problem, problem.spread))


def test_steering_is_the_exact_distance_and_equals_the_torch_model(problem):
    point = np.array([9.0, -1.0, 1.0])
    got = problem.steering(problem.spread, point)
    for a, rail in enumerate(problem.arrays):
        elements = np.array(rail.origin) + problem.spread[a][:, None] * np.array(rail.axis)
        reach = np.linalg.norm(point - np.array(rail.origin))
        exact = np.exp(-2j * np.pi / WAVELENGTH * (np.linalg.norm(point - elements, axis=-1) - reach))
        assert np.allclose(got[a], exact, atol=1e-9)
        cosine = np.array(rail.axis) @ (point - np.array(rail.origin)) / reach
        numbers = (torch.tensor(x, dtype=torch.float64) for x in (problem.spread[a], cosine, 1.0 / reach))
        assert np.allclose(towards(*numbers, WAVELENGTH).numpy(), exact, atol=1e-9)


def test_steering_towards_a_far_point_advances_with_the_cosine(problem):
    """a_n = exp(+j k p cos): positive when the element moves towards the point."""
    far = np.array(problem.arrays[0].origin) + 1e7 * np.array([0.6, 0.8, 0.0])
    got = problem.steering(np.array([[0.0, 0.01, 0.02, 0.03]] * 2), far)[0]
    assert np.allclose(got, np.exp(2j * np.pi / WAVELENGTH * 0.8 * np.array([0.0, 0.01, 0.02, 0.03])), atol=1e-5)


def test_conjugate_steering_at_the_caps_reaches_the_most_target_power(problem):
    point = np.array([9.0, -1.0, 1.0])
    amplitude = np.sqrt(problem.element_power_w / problem.tones.sum())
    w = (problem.steering(problem.spread, point).conj() * amplitude)[:, None, :, None] * np.ones((1, 3, 1, 1))
    assert problem.target_power(w, problem.spread, point) == pytest.approx(problem.most_target_power, rel=1e-12)
    assert problem.most_target_power == pytest.approx(1e-5 * 16 * 2)


def test_scale_brings_each_transmitter_to_its_hottest_cap(problem):
    rng = np.random.default_rng(0)
    w = problem.scale(rng.standard_normal((2, 3, 4, 1)) * np.array([1.0, 50.0])[:, None, None, None])
    assert np.allclose((problem.element_power(w) / problem.element_power_w).max(-1), 1.0)
    narrow = problem.scale(np.ones((2, 4, 1)))
    assert narrow.shape == (2, 3, 4, 1) and np.allclose(np.abs(narrow) ** 2 * 36, problem.element_power_w[:, None, :, None])
    assert np.all(problem.scale(np.zeros((2, 3, 4, 1))) == 0.0)


@pytest.mark.parametrize(
    ("positions", "id"),
    [
        (lambda p: p.spread + 1e-6, "travel"),
        (lambda p: p.centre[:, ::-1], "spacing"),
        (lambda p: p.centre * (1 - 1e-6), "spacing"),
        (lambda p: p.centre * np.nan, "design-nan"),
        (lambda p: p.centre[:, :3], "design-shape"),
    ],
)
def test_illegal_positions_are_refused(problem, positions, id):
    with pytest.raises(InputError) as caught:
        problem.check(silent(problem, positions(problem)))
    assert caught.value.id == id


def test_fixed_positions_are_where_a_stage_said_and_not_judged_by_the_rail(problem):
    near = problem.centre * (1 - 1e-5)
    problem.at(near).check(silent(problem, near))
    with pytest.raises(InputError, match="spacing"):
        problem.check(silent(problem, near))


def test_a_cap_exceeded_by_a_millionth_is_refused_with_the_element_named(problem):
    w = problem.scale(np.ones((2, 3, 4, 1)))
    problem.check(silent(problem, w=w))
    w[1, :, 2] *= 1.0 + 1e-6
    with pytest.raises(InputError, match="transmitter 1 antenna 2"):
        problem.check(silent(problem, w=w))


def test_a_missed_floor_is_refused(problem):
    with pytest.raises(InputError, match="target-floor"):
        problem.check(silent(problem), target=[9.0, -1.0, 1.0])


@pytest.mark.parametrize(
    ("change", "id"),
    [
        ({"serving": (0, 0)}, "serving"),
        ({"element_power_w": np.zeros((2, 4))}, "power-cap"),
        ({"element_power_w": np.ones((2, 3))}, "power-cap"),
        ({"element_power_w": np.full((2, 4), np.nan)}, "power-cap"),
        ({"block_of_tone": np.zeros(7, int)}, "tones"),
        ({"block_of_tone": np.repeat([0, 2, 3], 12)}, "blocks"),
        ({"wavelength": 0.0}, "problem"),
        ({"floor_w": float("nan")}, "problem"),
        ({"steps": 0}, "effort"),
        ({"positions": np.zeros((2, 3))}, "positions"),
        ({"positions": np.full((2, 4), np.inf)}, "positions"),
    ],
)
def test_impossible_problems_are_refused(problem, change, id):
    with pytest.raises(InputError) as caught:
        replace(problem, **change)
    assert caught.value.id == id and caught.value.exit_code == 2


def test_rails_that_cannot_be_are_refused():
    good = Rail((0.0, 0.0, 0.0), (0.0, 1.0, 0.0), (-0.1, 0.1), 0.05, 4)
    for change, id in (({"axis": (0.0, 2.0, 0.0)}, "rail-axis"), ({"elements": 6}, "rail-short"), ({"spacing": float("nan")}, "rail")):
        with pytest.raises(InputError) as caught:
            replace(good, **change)
        assert caught.value.id == id


def test_a_problem_is_frozen_and_at_copies_the_positions(problem):
    mine = problem.centre
    there = problem.at(mine)
    mine[:] = 7.0
    assert np.allclose(there.positions, problem.centre) and problem.positions is None
    with pytest.raises(ValueError):
        there.positions[0, 0] = 1.0
    with pytest.raises(AttributeError):
        problem.floor_w = 1.0
    assert isinstance(there, Problem)


def test_known_chain_gains_turn_the_steering_and_nothing_else(problem):
    """What leaves element n is gain_n times what was asked: power towards a point is that of the turned precoders."""
    draw = np.random.default_rng(4)
    point, shape = np.array([9.0, -1.0, 1.0]), (2, problem.elements)
    gains = draw.uniform(0.9, 1.1, shape) * np.exp(2j * np.pi * draw.random(shape))
    w = draw.standard_normal((2, problem.blocks, problem.elements, 1)) + 1j * draw.standard_normal((2, problem.blocks, problem.elements, 1))
    turned = replace(problem, gains=gains)
    assert turned.target_power(w, problem.spread, point) == pytest.approx(problem.target_power(gains[:, None, :, None] * w, problem.spread, point))
    assert np.allclose(turned.element_power(w), problem.element_power(w))


def test_the_chains_own_error_limits_a_perfect_link_and_spares_a_poor_one(problem):
    """S/(I + N + r (S + I + N)): 1/SINR grows by r (1 + 1/SINR)."""
    limited = replace(problem, residual=1e-4)
    assert limited.with_residual(1e12) == pytest.approx(1e4, rel=1e-6)
    assert limited.with_residual(10.0) == pytest.approx(1.0 / (0.1 + 1e-4 * 1.1))
    assert problem.with_residual(123.0) == 123.0


def test_chain_gains_of_a_wrong_shape_are_refused(problem):
    with pytest.raises(InputError, match="gains are finite"):
        replace(problem, gains=np.ones((2, problem.elements + 1)))
