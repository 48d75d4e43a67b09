"""Noise from idle captures, and the first of several paths."""

from __future__ import annotations

import numpy as np
import pytest

from hil.device import Capture
from hil.errors import HilError
from hil.estimate import noise, timing
from hil.waveform import Numerology

WIDE = Numerology(15.36e6, 11.52e6)


def white(rng, *shape):
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) / np.sqrt(2)


@pytest.mark.parametrize("count, factor", [(100, 1.189), (1000, 1.054), (10000, 1.017)])
def test_golden_upper_factors(count, factor):
    assert noise.upper_factor(count) == pytest.approx(factor, abs=6e-4)


def test_idle_noise_is_watts_per_tone_with_its_spread():
    rng = np.random.default_rng(1)
    power = np.array([1e-4, 4e-4])  # per sample, in capture units
    scale = np.array([2e-3, 1e-3])
    errors, under = [], []
    for _ in range(60):
        capture = Capture.of(np.sqrt(power)[:, None] * white(rng, 2, 6 * 512 + 77), rate=15.36e6, carrier=3.5e9)
        got = noise.idle(capture, WIDE, scale=scale)
        errors.append((got.value - power * scale**2 / 512) / got.std)  # per tone, not per sample
        under.append(noise.upper(got) < power * scale**2 / 512)
        assert got.std == pytest.approx(got.value / np.sqrt(6 * 384))
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(1.0, abs=0.2)
    assert np.mean(under) == pytest.approx(0.05, abs=0.06)
    assert got.residual_test == pytest.approx(1.0, abs=0.4)


def test_idle_noise_sees_an_interferer_and_ignores_dc():
    rng = np.random.default_rng(2)
    quiet = 1e-2 * white(rng, 1, 30 * 512)
    tone = 3e-2 * np.exp(2j * np.pi * 40 * np.arange(30 * 512) / 512)
    clean, dirty, shifted = (noise.idle(Capture.of(y, rate=15.36e6, carrier=3.5e9), WIDE) for y in (quiet, quiet + tone, quiet + 0.1))
    assert dirty.residual_test > 50 > 2 > clean.residual_test
    assert shifted.value[0] == pytest.approx(clean.value[0], rel=1e-3)


def test_noise_never_falls_below_the_converters_rounding():
    silent = np.full((1, 4096), 1e-9 + 0j)
    silent[0, ::7] *= -1.0
    got = noise.idle(Capture.of(silent, rate=15.36e6, carrier=3.5e9), WIDE)
    assert got.value[0] == pytest.approx(1.0 / (6 * 2048**2 * 512))
    with pytest.raises(HilError):
        noise.idle(Capture.of(np.zeros((1, 4096)), rate=15.36e6, carrier=3.5e9), WIDE)


@pytest.mark.parametrize(
    "gap_ns, phase, bound_ns",
    [(50, 0.0, 1.2217160), (50, 0.5, 0.3582692), (50, 1.0, 1.2217160), (25, 0.0, 4.814865), (25, 0.5, 0.7300680), (100, 0.0, 0.3245600),
     (100, 0.5, 0.1846892)],
)  # fmt: skip
def test_golden_two_path_bounds(gap_ns, phase, bound_ns):
    gains = np.array([1.0, 0.5 * np.exp(1j * np.pi * phase)])
    covariance = timing.delay_bound(WIDE.frequencies_hz, np.array([0.0, gap_ns * 1e-9]), gains, 0.01)
    assert np.sqrt(covariance[0, 0]) * 1e9 == pytest.approx(bound_ns, rel=1e-5)


def test_bound_against_finite_differences():
    rng = np.random.default_rng(3)
    f, delays, gains = WIDE.frequencies_hz, np.array([0.0, 70e-9]), white(rng, 2)
    mean = lambda p: np.exp(-2j * np.pi * np.outer(f, p[:2])) @ (p[2:4] + 1j * p[4:6])
    point = np.concatenate([delays, gains.real, gains.imag])
    steps = np.array([1e-13, 1e-13, 1e-6, 1e-6, 1e-6, 1e-6])
    jacobian = np.stack([(mean(point + s * e) - mean(point - s * e)) / (2 * s) for s, e in zip(steps, np.eye(6))], axis=1)
    weights = np.array([1e-9, 1e-9, 1, 1, 1, 1])
    fisher = 2.0 / 0.01 * np.real((jacobian * weights).conj().T @ (jacobian * weights))
    covariance = np.linalg.inv(fisher)[:2, :2] * 1e-18
    np.testing.assert_allclose(timing.delay_bound(f, delays, gains, 0.01), covariance, rtol=1e-5)


def two_paths(rng, trials, gap_s, second, ratio_db):
    f = WIDE.frequencies_hz
    variance = 10 ** (-ratio_db / 10)
    errors, orders, covered = [], [], []
    for _ in range(trials):
        first = rng.uniform(-30e-9, 30e-9)
        gains = np.array([1.0, second * np.exp(2j * np.pi * rng.random())]) * np.exp(2j * np.pi * rng.random())
        h = np.exp(-2j * np.pi * np.outer(f, [first, first + gap_s])) @ gains + np.sqrt(variance) * white(rng, len(f))
        paths = timing.resolve(h, f, variance)
        bound = np.sqrt(timing.delay_bound(f, np.array([0.0, gap_s]), gains, variance)[0, 0])
        error = paths.delays[paths.first] - first
        errors.append(error / bound)
        orders.append(len(paths.delays))
        covered.append(abs(error) < 1.96 * np.sqrt(paths.covariance[paths.first, paths.first]))
    return np.array(errors), np.array(orders), np.array(covered)


@pytest.mark.parametrize("gap_s, ratio_db", [(50e-9, 30.0), (100e-9, 20.0)])
def test_first_path_reaches_the_two_path_bound(gap_s, ratio_db):
    errors, orders, covered = two_paths(np.random.default_rng(4), 80, gap_s, 0.5, ratio_db)
    assert np.sqrt(np.mean(errors**2)) == pytest.approx(1.0, abs=0.1 + 3 / np.sqrt(160))
    assert np.mean(covered) > 0.95 - 0.02 - 3 * np.sqrt(0.05 * 0.95 / 80)
    assert np.mean(orders == 2) > 0.9


def test_first_path_is_the_earliest_not_the_strongest():
    errors, *_ = two_paths(np.random.default_rng(5), 30, 90e-9, 2.5, 30.0)
    assert np.sqrt(np.mean(errors**2)) < 1.6


def test_one_path_stays_one_and_close_paths_are_called_unresolved():
    rng = np.random.default_rng(6)
    f = WIDE.frequencies_hz
    counts = [len(timing.resolve(np.exp(-2j * np.pi * f * 33e-9) + 0.1 * white(rng, 384), f, 0.01).delays) for _ in range(60)]
    assert np.mean(np.array(counts) == 1) > 0.9
    close = np.exp(-2j * np.pi * np.outer(f, [0.0, 18e-9])) @ np.array([1.0, -0.7]) + 0.01 * white(rng, 384)
    estimate = timing.first_path(close, f, 1e-4)
    assert "first path unresolved" in estimate.assumptions and not estimate.above_threshold
    assert not timing.first_path(0.1 * white(rng, 384), f, 0.01).above_threshold


@pytest.mark.slow
@pytest.mark.parametrize("gap_s, ratio_db", [(50e-9, 20.0), (50e-9, 40.0), (100e-9, 30.0)])
def test_first_path_in_full(gap_s, ratio_db):
    errors, orders, covered = two_paths(np.random.default_rng(7), 600, gap_s, 0.5, ratio_db)
    assert np.sqrt(np.mean(errors**2)) == pytest.approx(1.05, abs=0.14)
    assert np.mean(covered) == pytest.approx(0.95, abs=0.035)
    assert np.mean(orders == 2) > 0.97
