"""The azimuth's bound against the fixed scenario of the multi-cell system, and in its limits."""

import numpy as np
import pytest

from hil.estimate.anglebound import azimuth_bound

PLACE = 0.5 * (np.arange(4) - 1.5)
ANGLE = np.array([[0.4, 0.6], [-0.5, 0.0]])  # (station, target)
GAIN = np.array([[1.0, 3**-0.5], [3**-0.5, 1.0]]) / 40.0
LENGTH = 16


def steer(angle):
    wave = np.exp(2j * np.pi * PLACE * np.sin(angle))
    return wave, 2j * np.pi * PLACE * np.cos(angle) * wave


def information(target, sent, mode, gains=None):
    a, slope = steer(ANGLE[target, target])
    departure, turned = np.zeros((2, 8), complex), np.zeros((2, 8), complex)
    for n in (0, 1):
        departure[n, 4 * n : 4 * n + 4], turned[n, 4 * n : 4 * n + 4] = steer(ANGLE[n, target])
    gains = GAIN[:, target] if gains is None else gains
    return 1.0 / azimuth_bound(a, slope, departure, turned, gains, LENGTH * sent, 1.0, target, mode, LENGTH)


@pytest.mark.parametrize("target, comp, cbf", [(0, 195.367947, 161.017539), (1, 230.290769, 189.800085)])
def test_the_fixed_scenario(target, comp, cbf):
    sent = 25.0 * np.eye(8)
    assert information(target, sent, "comp") == pytest.approx(comp, rel=1e-8)
    assert information(target, sent, "cbf") == pytest.approx(cbf, rel=1e-8)


@pytest.mark.parametrize("phase, t", [(0.0, 514.325747), (np.pi / 2, 320.961627), (np.pi, 127.597507)])
def test_the_phase_of_the_other_echo_counts(phase, t):
    w = 5.0 * np.concatenate([steer(ANGLE[0, 0])[0].conj(), steer(ANGLE[1, 0])[0].conj()])
    sent = 0.5 * np.outer(w, w.conj()) + 12.5 * np.eye(8)
    assert information(0, sent, "comp", GAIN[:, 0] * np.array([1.0, np.exp(1j * phase)])) == pytest.approx(t, rel=1e-8)


def test_blocks_add_up_and_nothing_sent_teaches_nothing():
    rng = np.random.default_rng(1)
    root = rng.standard_normal((2, 8, 8)) + 1j * rng.standard_normal((2, 8, 8))
    sent = root @ np.conj(np.swapaxes(root, 1, 2))
    a, slope = steer(0.3)
    g, turned = rng.standard_normal((2, 8)) + 0j, 1j * rng.standard_normal((2, 8))
    twice = [np.repeat(x[:, None], 2, axis=1) for x in (g, turned)]
    both = azimuth_bound(a, slope, *twice, [0.1, 0.2j], sent, 1.0, 0)
    assert both == pytest.approx(azimuth_bound(a, slope, g, turned, [0.1, 0.2j], sent.sum(0), 1.0, 0), rel=1e-9)
    assert azimuth_bound(a, slope, g, turned, [0.1, 0.2j], np.zeros((8, 8)), 1.0, 0) == np.inf
