"""Channels of a receiver on their way to codes: each by itself, on whatever thread, and packed as a buffer holds them."""

from __future__ import annotations

import numpy as np
import pytest
from sites import configure, radio, site

from hil.clock import VirtualClock
from sim_backend import world as worlds
from sim_backend.converter import write_codes
from sim_backend.world import ALONE, build

CHANNELS = 6


@pytest.fixture(scope="module")
def heard():
    """A world, a tuning and more samples of six channels than one thread is given."""
    world = build(site([radio("b", 0, CHANNELS, [9, 0, 1])], emulated={"severity": 1.0}), VirtualClock())
    configure(world, gain=50.0)
    world.advance(0.1)
    world.radio("b").capture(1000, 1.0)
    tuning, first, _ = world.windows[-1]
    count = ALONE // CHANNELS + 5000
    return world, tuning, first - count, count, world.samples(tuning, first - count, count)


def test_threads_change_no_bit(heard, monkeypatch):
    world, tuning, first, count, (samples, clipped) = heard
    monkeypatch.setattr(worlds, "ALONE", 1 << 40)
    alone, held = world.samples(tuning, first, count)
    assert np.array_equal(samples, alone) and clipped == held


@pytest.mark.parametrize("chosen", [(0,), (5, 2), tuple(range(CHANNELS))])
def test_a_channel_is_the_same_with_and_without_the_others(heard, chosen):
    world, tuning, first, count, (samples, _) = heard
    some, _ = world.samples(tuning, first, count, chosen)
    assert np.array_equal(some[list(chosen)], samples[list(chosen)])
    assert not some[[c for c in range(CHANNELS) if c not in chosen]].any()


@pytest.mark.parametrize("bits", [12, 16])
@pytest.mark.parametrize("count", [1, 255, 256, 1000])
def test_codes_are_packed_by_sample_rounded_and_held(bits, count):
    rng = np.random.default_rng(count)
    full = 1 << (bits - 1)
    z = (rng.uniform(-1.2, 1.2, (3, count)) + 1j * rng.uniform(-1.2, 1.2, (3, count))).astype(np.complex64)
    out = np.full((count, 3, 2), 77, np.int16)
    write_codes(z, [2, 0], bits, out)
    for c in (0, 2):
        for part, values in enumerate((z[c].real, z[c].imag)):
            assert np.array_equal(out[:, c, part], np.clip(np.rint(values * np.float32(full)), -full, full - 1))
    assert (out[:, 1] == 77).all(), "a channel nobody asked for is left alone"
