"""Constructive-interference margins against explicit errors, symmetries and the error rate they stand for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import ndtr

from hil.errors import InputError
from hil.systems.multicell import margin
from hil.systems.multicell.draws import draw

MODES = ("comp", "cbf")


@pytest.fixture
def problem(rng):
    return draw(rng, stations=3, users=2, transmit=4, delta=0.1, length=5).with_payload(rng)


@pytest.fixture
def rng():
    return np.random.default_rng(4)


@pytest.fixture
def x(problem, rng):
    shape = (problem.stations, problem.antennas, problem.length)
    return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)


def balls(problem, rng, count):
    """(count, base station, user, antenna) errors on the surface of every link's ball."""
    e = rng.standard_normal((count, *problem.channel.shape, 2)) @ [1.0, 1.0j]
    return e * (problem.radius[..., None] / np.linalg.norm(e, axis=-1, keepdims=True))


def test_both_half_planes_have_normals_of_equal_length(rng):
    """|xhat -+ xhat' tan psi| = |x| / cos psi with xhat = [Im x; Re x], xhat' = [Re x; -Im x] (eqs. 63 and 64)."""
    for psi in np.pi / np.array([2.5, 3, 4, 8]):
        x = rng.standard_normal(6) + 1j * rng.standard_normal(6)
        xhat, turned = np.r_[x.imag, x.real], np.r_[x.real, -x.imag]
        for sign in (1.0, -1.0):
            assert np.isclose(np.linalg.norm(xhat + sign * np.tan(psi) * turned), np.linalg.norm(x) / np.cos(psi), rtol=1e-14)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("points", [4, 8])
def test_no_error_of_the_set_goes_below_the_margin_and_one_attains_it(problem, x, rng, mode, points):
    problem = replace(problem, points=points).with_payload(rng)
    promised = margin.margins(problem, x, mode)
    found = np.full(promised.shape, np.inf)
    for _ in range(10):
        r = margin.intended(problem, x, mode, problem.channel + balls(problem, rng, 1000))
        found = np.minimum(found, margin.depth(r, problem.psi).min(axis=0))
    assert np.all(found >= promised - 1e-12)
    # against the nearer half-plane: e_n = -d_n conj(x_n) / |x_n|, turned by its normal's phase
    for u, t in ((0, 0), (3, 2), (5, 4)):
        least = np.inf
        for sign in (1.0, -1.0):
            normal = np.conj(problem.payload[u, t]) * (1.0 + 1j * sign / np.tan(problem.psi))
            e = np.zeros_like(problem.channel)
            e[:, u] = -problem.radius[:, u, None] * np.conj(normal) / abs(normal) * np.conj(x[:, :, t])
            e[:, u] /= np.linalg.norm(x[:, :, t], axis=1)[:, None]
            least = min(least, margin.depth(margin.intended(problem, x, mode, problem.channel + e)[u, t], problem.psi))
        assert least == pytest.approx(promised[u, t], abs=1e-9)


def test_one_ball_around_everything_takes_more_than_one_ball_a_link(problem, x):
    links, stacked = (margin.erosion(replace(problem, csi_set=kind), x, "comp") for kind in ("links", "stacked"))
    assert np.all(links <= stacked)
    one = replace(problem, radius=problem.radius * np.array([[1.0], [0.0], [0.0]]))
    assert np.all(margin.erosion(replace(one, csi_set="stacked"), x, "comp") > margin.erosion(one, x, "comp"))


@pytest.mark.parametrize("mode", MODES)
def test_a_common_turn_of_payload_and_waveform_changes_nothing(problem, x, mode):
    turn = np.exp(0.7j)
    turned = replace(problem, payload=problem.payload * turn)
    assert np.allclose(margin.margins(turned, turn * x, mode), margin.margins(problem, x, mode), rtol=1e-12)
    assert not np.allclose(margin.margins(problem, turn * x, mode), margin.margins(problem, x, mode), rtol=1e-3)


def test_other_cells_never_add_more_than_their_disturbance(problem, x, rng):
    most = margin.disturbance(problem, x, "cbf")
    heard = np.abs(np.einsum("...nui,nit->...nut", problem.channel + balls(problem, rng, 2000), x)) ** 2
    heard[:, problem.cells, np.arange(problem.users)] = 0.0
    found = heard.max(axis=-1).sum(axis=1).max(axis=0) + problem.noise
    assert np.all(found <= most * (1 + 1e-12))
    still = margin.disturbance(problem.nominal(), x, "cbf")
    amplitude = np.abs(problem.channel @ x).max(-1)
    amplitude[problem.cells, np.arange(problem.users)] = 0.0
    assert np.allclose(still, problem.noise + np.sum(amplitude**2, axis=0))
    assert np.array_equal(margin.disturbance(problem, x, "comp"), problem.noise)


def test_a_channel_outside_its_region_has_no_sinr(problem, x):
    hopeless = replace(problem, radius=np.linalg.norm(problem.channel, axis=-1))
    assert np.array_equal(margin.sinr(hopeless, x, "comp"), np.zeros(problem.users))


@pytest.mark.parametrize("points", [2, 4])
def test_symbol_errors_of_ideal_symbols_follow_theory(rng, points):
    """r = a on every symbol: Q(a sqrt 2) for two phases, 1 - (1 - Q(a))^2 for four."""
    p = replace(draw(rng, stations=1, users=1, transmit=2, length=50), points=points).with_payload(rng)
    h = p.channel[0, 0]
    x = 1.6 * (np.conj(h) / np.linalg.norm(h) ** 2)[None, :, None] * p.payload[None, :1]
    frames = 2000
    rate = margin.symbol_errors(p, x, rng, frames)[0] / (frames * p.length)
    theory = ndtr(-1.6 * np.sqrt(2)) if points == 2 else 1.0 - (1.0 - ndtr(-1.6)) ** 2
    assert rate == pytest.approx(theory, abs=4 * np.sqrt(theory / (frames * p.length)))
    assert margin.sinr(p.nominal(), x, "comp")[0] == pytest.approx(1.6**2)


def test_a_payload_is_needed_and_is_phases_only(problem, x):
    with pytest.raises(InputError, match="payload"):
        margin.margins(replace(problem, payload=None), x, "comp")
    with pytest.raises(InputError, match="unit amplitude"):
        margin.margins(replace(problem, payload=2 * problem.payload), x, "comp")
