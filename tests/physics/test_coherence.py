"""Phase between stations from two soundings on: closed forms, consistency, and drift as it is believed and as it is."""

import numpy as np
import pytest

from hil.estimate.coherence import Drift, Look, coherence, rotation


def looks(rng, times, *, stations=2, users=6, tones=4, antennas=6, noise=0.05, moving=0.0, rate=0.0, diffusion=0.0):
    """Looks at Rayleigh links whose users have clocks and oscillators of their own; truth (look, station) rad."""
    unit = lambda *shape: (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) / np.sqrt(2)
    tone = np.arange(tones)[:, None]
    static = unit(stations, users, 1, antennas)
    phase, found, truth = np.zeros(stations), [], []
    for number, time in enumerate(times):
        if number:
            jump = time - times[number - 1]
            phase = phase + np.append(0.0, rate * jump + np.sqrt(diffusion * jump) * rng.standard_normal(stations - 1))
        user = np.exp(2j * np.pi * (rng.uniform(0, 1, (users, 1, 1)) - tone * rng.uniform(0, 0.05, (users, 1, 1))))
        wave = np.exp(1j * np.pi * np.arange(antennas) * rng.uniform(-1, 1, (stations, users, 1, 1)))
        h = (static + moving * unit(stations, users, 1, 1) * wave) * np.exp(1j * phase)[:, None, None, None] * user
        found.append(Look(h + noise * unit(stations, users, tones, antennas), np.array(noise**2), time))
        truth.append(phase)
    return found, np.array(truth)


def test_the_users_clocks_and_phases_drop_out():
    rng = np.random.default_rng(0)
    pair, truth = looks(rng, (0.0, 0.1), stations=3, rate=7.0, diffusion=4.0, noise=1e-6)
    turned = rotation(*pair)
    assert np.exp(1j * turned.value) == pytest.approx(np.exp(1j * truth[1, 1:]), abs=1e-5)
    assert turned.covariance == pytest.approx(turned.covariance.T) and turned.above_threshold


def test_the_bound_of_one_user_in_closed_form():
    """Phase of a product of two channels with noise: v/E of each station, twice."""
    rng = np.random.default_rng(1)
    pair, _ = looks(rng, (0.0, 0.1), users=1, noise=1e-3)
    energy = np.sum(np.abs(pair[0].channels) ** 2, axis=(1, 2, 3))
    assert rotation(*pair).bound[0, 0] == pytest.approx(np.sum(1e-6 / energy), rel=1e-3)


def off(turned, truth):
    return (turned.value - (truth[1] - truth[0])[1:] + np.pi) % (2 * np.pi) - np.pi


@pytest.mark.parametrize("stations, noise, moving", [(2, 0.1, 0.0), (2, 0.05, 0.2), (3, 0.3, 0.0)])
def test_errors_agree_with_the_covariance(stations, noise, moving):
    nees = []
    for seed in range(60):
        pair, truth = looks(np.random.default_rng(seed), (0.0, 0.05), stations=stations, noise=noise, moving=moving, rate=5.0)
        turned = rotation(*pair)
        error = off(turned, truth)
        nees.append(error @ np.linalg.solve(turned.covariance, error) / error.size)
    assert 0.4 < np.mean(nees) < 1.25  # added scatter is never negative, so errors are a little smaller than told
    assert np.quantile(nees, 0.95) < 5.5


def test_one_user_who_walks_away_hardly_counts():
    errors = []
    for seed in range(20):
        pair, truth = looks(np.random.default_rng(seed), (0.0, 0.05), noise=0.02)
        spoilt = pair[1].channels.copy()
        spoilt[1, 2] *= np.exp(1.5j)
        turned = rotation(pair[0], Look(spoilt, pair[1].variance, pair[1].time_s))
        errors.append(abs(off(turned, truth)[0]))
    assert np.median(errors) < 0.1  # a plain mean is 0.25 off


def test_without_a_second_look_the_prior_speaks():
    drift = Drift(rate_std=0.3, diffusion=0.04, spread=0.0, walk=0.6)
    one, _ = looks(np.random.default_rng(2), (0.0,))
    known = coherence([one], drift)
    assert known.phase_std(0.5) == pytest.approx(np.sqrt((0.3 * 0.5) ** 2 + 0.04 * 0.5 + 0.6 * 0.5**3 / 3.0))
    assert known.phase_stds(0.5)[0] == 0.0 and known.turn(0.5) == pytest.approx([0.0, 0.0])


def test_clocks_become_a_drift():
    drift = Drift.of_clocks(1e-24, 1e-28, 5.6e9, 0.01)
    assert drift.rate_std == pytest.approx(2 * np.pi * 0.01)
    assert drift.diffusion == pytest.approx(2 * (2 * np.pi * 5.6e9) ** 2 * 1e-24)


def test_a_rate_is_learnt_and_followed():
    drift = Drift(rate_std=3.0, diffusion=1e-5, spread=0.5)
    rounds = [looks(np.random.default_rng(s), (0.0, 0.05, 0.15), rate=2.0, noise=0.02)[0] for s in range(4)]
    known = coherence(rounds, drift)
    assert known.rates.value[1] == pytest.approx(2.0, abs=4 * known.rates.std[1]) and known.rates.std[1] < 0.1
    assert known.turn(0.3)[1] == pytest.approx(0.6, abs=0.1)
    assert known.phase_std(0.3) < 0.05 < 0.5 < known.phase_std(0.3, turned=False)


def test_a_walk_ten_times_what_was_believed_is_noticed():
    believed = Drift(rate_std=0.05, diffusion=1e-3, spread=1.5)
    rounds = lambda k, d: [looks(np.random.default_rng(10 * k + s), (0.0, 0.1, 0.2), diffusion=d, noise=0.02)[0] for s in range(8)]
    stds = [coherence(rounds(k, d), believed).phase_std(0.5) for k, d in enumerate((1e-3, 1e-2))]
    assert stds[0] == pytest.approx(np.sqrt(0.5e-3), rel=0.5) and stds[1] == pytest.approx(np.sqrt(0.5e-2), rel=0.5)


def test_looks_too_far_apart_for_the_clocks_are_not_trusted():
    rounds = [looks(np.random.default_rng(4), (0.0, 1.0))[0]]
    known = coherence(rounds, Drift(rate_std=5.0, diffusion=1e-3))
    assert not known.above_threshold and known.phase_std(0.1) == np.inf and "ambiguous" in known.rates.assumptions[-1]


@pytest.mark.slow
@pytest.mark.parametrize("rounds", [1, 6])
def test_phase_at_an_age_lies_where_it_is_told(rounds):
    inside = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        drift = Drift(rate_std=0.06, diffusion=1e-3, spread=1.0)
        rate, diffusion = 0.06 * rng.standard_normal(), 1e-3 * np.exp(rng.standard_normal())
        known = coherence([looks(rng, (0.0, 0.05, 0.1), rate=rate, diffusion=diffusion)[0] for _ in range(rounds)], drift)
        later = rate * 0.5 + np.sqrt(diffusion * 0.5) * rng.standard_normal()
        inside.append(abs(later - known.turn(0.5)[1]) < 1.96 * known.phase_std(0.5))
    assert 0.915 < np.mean(inside) < 0.985
