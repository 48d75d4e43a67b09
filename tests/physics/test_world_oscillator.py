"""Oscillators: closed forms against each other, the drawn noise against its Allan deviation, clocks forth and back."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from hil.clock import Instant
from sim_backend.oscillator import CLASSES, YEAR, Oscillator, draw, noise


def allan(oscillator: Oscillator, tau: float, count: int = 40) -> float:
    """Allan variance from time errors, nonoverlapping."""
    x = np.array([oscillator.error(Instant.of(i * tau))[0] for i in range(count + 2)])
    return float(np.mean((x[2:] - 2 * x[1:-1] + x[:-2]) ** 2) / (2 * tau**2))


def predicted(name: str, tau: float) -> float:
    kind = CLASSES[name]
    return kind.h0 / (2 * tau) + 2 * math.log(2) * kind.h1 + (2 * math.pi) ** 2 / 6 * tau * kind.h2


@pytest.mark.parametrize("name", ["crystal", "tcxo", "ocxo", "docxo"])
def test_allan_deviation_of_the_noise(name):
    for tau in (0.1, 1.0, 30.0):
        variances = [allan(Oscillator(lines=noise(CLASSES[name], np.random.default_rng(seed))), tau) for seed in range(12)]
        assert math.sqrt(np.mean(variances) / predicted(name, tau)) == pytest.approx(1.0, abs=0.3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tcxo", "ocxo", "docxo"])
def test_allan_deviation_of_a_hundred_oscillators(name):
    for tau in (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0):
        variances = [allan(Oscillator(lines=noise(CLASSES[name], np.random.default_rng(seed))), tau, 60) for seed in range(96)]
        assert math.sqrt(np.mean(variances) / predicted(name, tau)) == pytest.approx(1.0, abs=0.1)


def test_a_disciplined_oscillator_follows_true_time():
    late = [draw({"class": "gpsdo"}, seed, "a") for seed in range(20)]
    wander = np.array([[o.error(Instant.of(t))[0] for t in np.linspace(1e4, 1e5, 60)] for o in late])
    assert 5e-9 < np.std(wander) < 60e-9  # x starts at zero at the epoch, so up to sqrt(2) of 20 ns, and the loop's own
    assert all(abs(o.offset) <= 50e-9 for o in late)
    free = draw({"class": "ocxo"}, 0, "a")
    assert abs(free.error(Instant(100000, 0.0))[0]) > 10 * np.abs(wander).max()


@pytest.mark.parametrize("name", list(CLASSES))
def test_y_is_the_slope_of_x(name):
    oscillator = draw({"class": name}, 3, "radio")
    for at in (Instant(0, 0.5), Instant(1234, 0.25), Instant(100000, 0.0)):
        step = 1e-4
        slope = (oscillator.error(at.after(step))[0] - oscillator.error(at.after(-step))[0]) / (2 * step)
        resolution = abs(oscillator.error(at)[0]) * 2.3e-16 / step
        assert slope == pytest.approx(oscillator.error(at)[1], abs=3e-11 + resolution)
    assert oscillator.error(Instant(0, 0.0))[0] == 0.0


def test_time_error_against_a_series_in_rational_arithmetic():
    rng = np.random.default_rng(1)
    lines = np.stack([1e-9 * rng.standard_normal(3), rng.uniform(0.1, 1000, 3), rng.uniform(0, 6, 3)], axis=1)
    oscillator = Oscillator(2.5e-6, 0.0, 1e-6 / YEAR, 0.2e-6, lines)
    at = Instant(5000, 0.123456789)
    t = Fraction(at.whole) + Fraction(at.fraction)
    exact = Fraction(oscillator.constant) * t + Fraction(oscillator.ageing) * t * t / 2
    rest = 0.2e-6 * 300 * (1 - math.exp(-float(t) / 300)) + sum(a / w * (math.sin(w * float(t) + p) - math.sin(p)) for a, w, p in lines)
    assert oscillator.error(at)[0] == pytest.approx(float(exact) + rest, abs=2e-17)


def test_clocks_forth_and_back():
    for name in CLASSES:
        oscillator = draw({"class": name}, 7, "radio")
        for at in (Instant(0, 0.0), Instant(10, 0.999999999), Instant(1000000, 0.5)):
            assert abs(oscillator.true(oscillator.local(at)).since(at)) < 3e-16 * max(1.0, abs(oscillator.error(at)[0]) * 2)
        tick = oscillator.next_tick(Instant(3, 0.3), 15_360_000)
        assert 0.0 <= oscillator.tick(tick, 15_360_000).since(Instant(3, 0.3)) < 1.001 / 15.36e6
    late = Oscillator(offset=1e-6)
    assert late.local(Instant(1, 0.0)).since(Instant(1, 0.0)) == pytest.approx(-1e-6, abs=1e-15)


def test_draws_keep_to_their_spread_and_depend_on_seed_and_device():
    many = [draw({}, seed, "ap1") for seed in range(300)]
    constants, offsets = np.array([o.constant for o in many]), np.array([o.offset for o in many])
    assert np.abs(constants).max() <= 3e-6 and np.std(constants) == pytest.approx(3e-6 / math.sqrt(3), rel=0.15)
    assert np.abs(offsets).max() <= 300e-9 and np.std(offsets) == pytest.approx(300e-9 / math.sqrt(3), rel=0.15)
    assert draw({}, 1, "ap1").constant == many[1].constant != draw({}, 1, "ap2").constant
    assert abs(draw({"class": "ocxo"}, 1, "a").constant) <= 20e-9
    assert abs(draw({"class": "tcxo", "spread_ppm": 0.0}, 1, "a").constant) == 0.0
