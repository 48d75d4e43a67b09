"""Phase noise of the emulated synthesisers: its density, that it is a function of time alone, and who shares it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import signal
from sites import QUIET, RATE, at_port, pair, running

from hil.clock import VirtualClock
from sim_backend import phasenoise
from sim_backend.oscillator import Oscillator
from sim_backend.phasenoise import GRID_HZ, density, track
from sim_backend.world import build

RMS = math.radians(0.45)
STEADY = {"a": Oscillator(), "b": Oscillator()}


def db(ratio) -> float:
    return 10 * np.log10(ratio)


def test_rms_and_density_at_one_ten_and_a_hundred_kilohertz():
    phase = track(4711, RMS, 0, 1 << 20).astype(float)
    assert np.degrees(phase.std()) == pytest.approx(0.45, rel=0.01)
    assert ((phase / phase.std()) ** 4).mean() == pytest.approx(3.0, abs=0.05)
    frequency, both = signal.welch(phase, GRID_HZ, nperseg=8192)
    for f, width, golden in ((1e3, 500.0, -97.1), (10e3, 2e3, -97.1), (100e3, 10e3, -100.1)):
        found = db(both[np.abs(frequency - f) <= width].mean() / 2)  # one sideband
        assert found == pytest.approx(golden, abs=0.4)
        assert db(density(RMS, np.array([f]))[0]) == pytest.approx(golden, abs=0.1)


def test_power_is_the_same_everywhere_in_a_segment():
    many = np.array([track(key, 1.0, 0, 3 * phasenoise.HOP) for key in range(600)])
    power = (many**2).reshape(600, 24, -1).mean(axis=(0, 2))
    assert power == pytest.approx(1.0, abs=0.06)


def test_any_stretch_in_any_order_has_the_same_bits():
    whole = track(5, RMS, -3000, 20000)
    rng = np.random.default_rng(0)
    for first in rng.integers(-3000, 16000, 40):
        count = int(rng.integers(1, 17000 - first + 1))
        assert np.array_equal(track(5, RMS, int(first), count), whole[first + 3000 : first + 3000 + count])
    far = 1_000_000 * GRID_HZ
    assert np.array_equal(track(5, RMS, far + 77, 100), track(5, RMS, far, 5000)[77:177])
    assert not track(5, 0.0, 0, 10).any() and track(5, RMS, 0, 0).size == 0


def test_keys_are_independent():
    a, b = track(1, 1.0, 0, 1 << 18), track(2, 1.0, 0, 1 << 18)
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.01
    assert abs(np.corrcoef(a[:-4096], a[4096:])[0, 1]) < 0.01  # and segments of one


def test_synthesisers_of_a_device_are_two_unless_it_shares_one():
    apart, shared = (build(pair({"severity": 1.0, "oscillator": {"shared_lo": one}}), VirtualClock()) for one in (False, True))
    assert apart.phase_noise("a", "transmit")[0] != apart.phase_noise("a", "receive")[0] != apart.phase_noise("b", "receive")[0]
    assert shared.phase_noise("a", "transmit") == shared.phase_noise("a", "receive") != shared.phase_noise("b", "receive")
    assert apart.phase_noise("a", "transmit")[1] == apart.truth.phase_noise("a", "transmit") == pytest.approx(RMS)
    assert build(pair(), VirtualClock()).truth.phase_noise("a", "transmit") == 0.0


def received(degrees: float, symbols: int = 40000):
    """A constant carrier through two devices with phase noise and nothing else, (antenna, sample), its mean turned to 1."""
    constant = np.full((1, 256), 0.5, np.complex64)
    emulated = {"receiver": QUIET, "oscillator": {"phase_noise_deg": degrees}}
    world = running(pair(emulated, transmit=1, receive=2), {"a": constant}, oscillators=STEADY)
    samples = world.radio("b").capture(symbols, 1.0).samples
    return samples / samples.mean(axis=1, keepdims=True), world


def test_two_ends_make_the_error_floor_of_39_decibels_and_channels_share_it():
    (one, two), world = received(0.45, 1 << 19)
    assert db(2 * RMS**2) == pytest.approx(-39.1, abs=0.02)
    assert db((np.abs(one - 1.0) ** 2).mean()) == pytest.approx(db(2 * phasenoise.at_samples(RMS) ** 2), abs=0.1)
    assert db((phasenoise.at_samples(RMS) / RMS) ** 2) == pytest.approx(-0.42, abs=0.01)
    assert db((np.abs(one / two - 1.0) ** 2).mean()) < -85.0
    assert np.abs(np.abs(one) - 1.0).max() < 1e-4  # phase only
    tuned, first, _ = world.truth.windows("b")[-1]
    sent = world.airings()[-1]
    delay = float(world.truth.rays("a", "b").delay[0, 0, 0])
    begin = tuned.oscillator.tick(first, tuned.rate)
    at = (begin.whole + begin.fraction + np.arange(20000) / RATE) * GRID_HZ
    grid = np.arange(int(at[0]) - 2, int(at[-1]) + 3)

    def turned(phase_noise, late):
        return np.interp(at - late * GRID_HZ, grid, track(*phase_noise, int(grid[0]), grid.size))

    wanted = turned(sent.phase_noise, delay) - turned(tuned.phase_noise, 0.0)
    assert np.angle(one[:20000]) - np.angle(one[:20000]).mean() == pytest.approx(wanted - wanted.mean(), abs=2e-5)


def test_phase_noise_at_the_port_is_that_of_the_reference():
    _, world = received(0.45, 4000)
    tuned, first, count = world.truth.windows("b")[-1]
    ticks = np.arange(first, first + count, 97)
    found, wanted = at_port(world, tuned, ticks), world.truth.heard(tuned, ticks)
    assert db((np.abs(found - wanted) ** 2).mean() / (np.abs(wanted) ** 2).mean()) < -100.0
