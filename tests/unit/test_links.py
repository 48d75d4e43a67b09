"""Radii of links and the rule of cooperation, in closed form."""

import numpy as np
import pytest

from hil.errors import InputError
from hil.estimate.coherence import coherent_enough
from hil.estimate.links import link_radius
from hil.uncertainty import ball_radius, interval_factor


@pytest.mark.parametrize("antennas, factor", [(1, 4.61), (4, 10.05), (6, 13.11), (10, 18.78), (16, 26.74), (20, 31.85)])
def test_squared_radius_is_the_chi_square_quantile_over_two(antennas, factor):
    assert float(ball_radius(np.eye(antennas), 0.99)) ** 2 == pytest.approx(factor, abs=0.006)


def test_thirty_decibels_of_pilots_on_six_antennas():
    assert float(ball_radius(1e-3 * np.eye(6), 0.99)) == pytest.approx(0.1145, abs=1e-4)


def channel(rng, stations=2, users=6, blocks=3, antennas=4):
    return rng.standard_normal((stations, users, blocks, antennas)) + 1j * rng.standard_normal((stations, users, blocks, antennas))


def test_parts_add_and_hold_together():
    h = channel(np.random.default_rng(0))
    variance = np.random.default_rng(1).uniform(0.5, 2.0, h.shape[:3])
    got = link_radius(h, variance[..., None, None] * np.eye(4), 0.95, moving=0.1, phase_std=[0.0, 0.02])
    assert got.statistical == pytest.approx(ball_radius(variance[..., None, None] * np.eye(4), 0.95 ** (1 / 36)))
    assert got.moving == pytest.approx(0.2)
    assert np.all(got.phase[0] == 0.0)
    assert got.phase[1] == pytest.approx(0.02 * interval_factor(0.95) * np.linalg.norm(h[1], axis=-1))
    assert got.radius == pytest.approx(got.statistical + got.moving + got.phase)
    assert got.alone == pytest.approx(got.radius - got.phase)


def test_all_links_hold_at_once_as_often_as_promised():
    rng = np.random.default_rng(2)
    radius = link_radius(np.zeros((2, 3, 1, 4)), np.broadcast_to(0.3 * np.eye(4), (2, 3, 1, 4, 4)), 0.95).radius
    e = np.sqrt(0.15) * (rng.standard_normal((20000, 2, 3, 1, 4)) + 1j * rng.standard_normal((20000, 2, 3, 1, 4)))
    inside = np.all(np.linalg.norm(e, axis=-1) <= radius, axis=(1, 2, 3))
    assert inside.mean() == pytest.approx(0.95, abs=0.007)


def test_a_turned_channel_stays_in_its_ball():
    h = channel(np.random.default_rng(3))
    phi = 0.07
    got = link_radius(h, np.zeros((*h.shape, 4)), phase_std=phi / interval_factor(0.95))
    assert np.all(np.linalg.norm(h * np.exp(1j * phi) - h, axis=-1) <= got.radius + 1e-12)
    assert np.all(np.linalg.norm(h * np.exp(1j * phi) - h, axis=-1) > 0.99 * got.radius)


def test_stations_send_together_only_below_half_the_radius():
    h = np.zeros((2, 1, 4), complex)
    h[:, 0, 0] = [1.0, 3.0]
    radius = np.array([[0.1], [0.2]])
    good, worst = coherent_enough(h, radius, 0.03)
    assert good and worst == pytest.approx(0.45)
    assert coherent_enough(h, radius, 0.034) == (False, pytest.approx(0.51))
    assert coherent_enough(h, radius, [0.049, 0.0])[0]  # only the link of a station that turns
    assert coherent_enough(h, 0.0 * radius, 1e-6)[0] is False and coherent_enough(h, 0.0 * radius, 0.0) == (True, 0.0)


def test_shapes_that_disagree_are_refused():
    with pytest.raises(InputError, match="disagree"):
        link_radius(np.zeros((2, 3, 4)), np.zeros((2, 3, 4, 4)))
