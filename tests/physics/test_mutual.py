"""Chains of two arrays that hear each other: against gains that are known, with scatterers anywhere between."""

import numpy as np
import pytest

from hil.errors import InputError
from hil.estimate.mutual import mutual

C, CARRIER = 299_792_458.0, 3.5e9
WAVELENGTH = C / CARRIER
TONES = 30e3 * np.concatenate([np.arange(-48, 0), np.arange(1, 49)])


def line(origin, count):
    return np.array(origin) + 0.5 * WAVELENGTH * (np.arange(count) - (count - 1) / 2)[:, None] * [0.0, 1.0, 0.0]


SENDS, HEARS = line([0.0, 0.0, 1.6], 6), line([20.0, 0.0, 1.4], 10)


def sounded(seed, scatterers=3, snr_db=40.0):
    """(channel (rx, tone, antenna), variance of an entry, gains that hear, gains that send), path by path."""
    rng = np.random.default_rng(seed)
    gains = lambda n: 10 ** (0.5 * rng.standard_normal(n) / 20) * np.exp(2j * np.pi * rng.uniform(size=n))
    heard, sent = gains(10), gains(6)
    legs = [(1.0, np.linalg.norm(HEARS[:, None] - SENDS, axis=-1))]
    for point in rng.uniform([0, -9, 0], [20, 9, 4], (scatterers, 3)):
        way = np.linalg.norm(HEARS - point, axis=-1)[:, None] + np.linalg.norm(SENDS - point, axis=-1)
        legs.append((0.1 * np.exp(2j * np.pi * rng.uniform()), way))
    h = sum(g / d[:, None] * np.exp(-2j * np.pi * (CARRIER + TONES[:, None]) / C * d[:, None]) for g, d in legs)
    h = heard[:, None, None] * h * sent * np.exp(2j * np.pi * (rng.uniform() - 3e-7 * TONES[:, None]))
    variance = np.mean(np.abs(h) ** 2) / 10 ** (snr_db / 10)
    return h + np.sqrt(variance / 2) * (rng.standard_normal(h.shape) + 1j * rng.standard_normal(h.shape)), variance, heard, sent


def judged(found, true):
    """(rms error relative to the array's mean, chi-square over its degrees of freedom) of one array's gains."""
    ratio = found.value / true
    error = np.ascontiguousarray(found.value[1:] - true[1:] / true[0]).view(float)
    return np.sqrt(np.mean(np.abs(ratio / ratio.mean() - 1.0) ** 2)), error @ np.linalg.solve(found.covariance, error) / error.size


def test_an_open_field_tells_gains_to_the_noise():
    for seed in range(3):
        h, variance, heard, sent = sounded(seed, scatterers=0)
        found = mutual(h, variance, HEARS, SENDS, TONES, CARRIER)
        assert found.scatterers == 0
        for chains, true in ((found.heard, heard), (found.sent, sent)):
            off, chi = judged(chains, true)
            assert off < 0.003 and chi < 1.5 and chains.above_threshold


def test_scatterers_are_found_and_gains_are_better_than_without():
    better = []
    for seed in range(1, 4):
        h, variance, heard, _ = sounded(seed)
        plain, fitted = (mutual(h, variance, HEARS, SENDS, TONES, CARRIER, scatterers=most) for most in (0, 4))
        assert fitted.scatterers >= 2 and fitted.scattered < 0.3 * plain.scattered
        better.append((judged(plain.heard, heard)[0], judged(fitted.heard, heard)[0]))
    plain, fitted = np.median(better, axis=0)
    assert fitted < 0.3 * plain


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="two arrays"):
        mutual(np.ones((10, 96, 5)), 1.0, HEARS, SENDS, TONES, CARRIER)


@pytest.mark.slow
def test_stated_covariance_over_many_rooms():
    rows = []
    for seed in range(100, 140):
        h, variance, heard, sent = sounded(seed)
        found = mutual(h, variance, HEARS, SENDS, TONES, CARRIER)
        rows.append([*judged(found.heard, heard), *judged(found.sent, sent)])
    rows = np.array(rows)
    assert np.all(np.median(rows[:, [0, 2]], axis=0) < 0.006)
    assert np.all(np.mean(rows[:, [1, 3]] < 2.0, axis=0) > 0.8)
