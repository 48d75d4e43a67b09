"""For how long two devices stay coherent: what of their power adds up at an age, on the emulated bench, against the window that is told."""

from __future__ import annotations

import numpy as np
import pytest

from hil.estimate import phase
from hil.estimate.tracking import ClockNoise
from tests.physics import sites
from tests.physics.exchange_bench import AGES, pushes


def kept(errors):
    """Power of the sum of two carriers over what they would give in step, mean over the trials; its standard deviation."""
    power = np.abs((1.0 + np.exp(1j * errors)) / 2.0) ** 2
    return power.mean(0), power.std(0) / np.sqrt(len(power))


def judge(errors, told, slack):
    expected = np.array([phase.combining(variance / 2.0) for variance in told.mean(0)])
    power, spread = kept(errors)
    assert expected[-1] < 0.95 < expected[1]  # the range in which it falls is seen
    assert np.all(np.abs(power - expected) < 4.0 * spread + slack * (1.0 - expected) + 1e-4), (power, expected, spread)
    ratio = np.sqrt(np.mean(errors**2, axis=0) / told.mean(0))
    assert ratio[1:4] == pytest.approx(np.ones(3), abs=3.5 / np.sqrt(2 * len(errors)))


def test_power_of_the_sum_falls_as_the_variance_says():
    judge(*pushes("ocxo", 1, 20), slack=0.3)


@pytest.mark.slow
def test_power_of_the_sum_falls_as_the_variance_says_in_full():
    errors, told = pushes("ocxo", 2, 200)
    judge(errors, told, slack=0.1)
    ratio = np.sqrt(np.mean(errors**2, axis=0) / told.mean(0))
    assert ratio == pytest.approx(np.ones(len(AGES)), abs=0.2)
    window = phase.Phase(0.0, told[:, 0].mean(), 0.0, 0.0, (told[:, 3].mean() - told[:, 0].mean()) / (2 * np.pi * AGES[3]) ** 2, sites.CARRIER)
    limit = 1.96 * np.sqrt(told[:, 2].mean())
    assert window.window(limit) == pytest.approx(AGES[2], rel=0.02)
    assert np.mean(np.abs(errors[:, 2]) < limit) == pytest.approx(0.95, abs=0.04)


@pytest.mark.slow
def test_flickering_oscillators_lose_it_as_soon_as_their_noise_says():
    """TCXOs, with the noise that fits readings ten times a second: what of it is slower than the age counts too, so it errs upwards."""
    parts = [pushes("tcxo", seed, 40, ClockNoise(1e-22, 7e-18, 8e-18), snr_scale=10.0) for seed in range(2)]
    errors, told = (np.concatenate(part) for part in zip(*parts))
    ratio = np.sqrt(np.mean(errors**2, axis=0) / told.mean(0))
    assert np.all((ratio[1:4] > 0.25) & (ratio[1:4] < 1.1)), ratio
