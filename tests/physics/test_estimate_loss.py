"""Lost and repeated samples, found from the frame: how many, where, and what is left to estimate from."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic import received

from hil.clock import Instant
from hil.device import Capture, Loss
from hil.errors import HilError
from hil.estimate import acquisition, carrier, loss, quality
from hil.waveform import MeasuringFrame, Numerology, SoundingFrame

WIDE, NARROW = Numerology(15.36e6, 11.52e6), Numerology(4.0e6, 3.0e6)
CARRIER = 3.5e9
ONE = SoundingFrame(WIDE, 0, 1, 1, 1.0, 8, 28)


def rayleigh(rng, receivers, antennas, paths=3):
    shape = (receivers, antennas, paths)
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) / np.sqrt(2 * paths)


def without(y, at, count):
    """(channel, sample) with `count` samples missing from `at` on, or -count repeated."""
    return np.concatenate([y[:, :at], y[:, at + count :]], axis=-1)


def heard(frame, rng, snr_db, jumps=(), *, gains=None, delays=(0.0,), turns=2):
    """A capture with `jumps` (sample, count), each counted in the capture as it was before, last first; and an acquisition."""
    n = frame.numerology
    gains = np.ones((1, frame.antennas, 1)) if gains is None else gains
    cfo, start = rng.uniform(-20e3, 20e3), rng.uniform(0, frame.length)
    total = turns * frame.length + n.symbol_samples
    power = np.mean(np.abs(frame.samples().sum(0)) ** 2)
    y = received(frame.samples(), gains, np.array(delays), rate=n.sample_rate_hz, carrier_hz=CARRIER, cfo_hz=cfo, start=start,
                 samples=total + sum(max(count, 0) for _, count in jumps), rng=rng,
                 noise=power * n.fft / n.used / 10 ** (snr_db / 10))  # fmt: skip
    for at, count in jumps:
        y = without(y, at, count)
    capture = Capture.of(y[:, :total], rate=n.sample_rate_hz, carrier=CARRIER, clock=Instant(5, 0.25))
    return capture, carrier.acquire(capture, frame, near_hz=cfo)


def trials(frame, rng, snr_db, count, number, **how):
    """(found, counted right) shares and the distances from the truth in symbols, of captures whose frame was acquired."""
    n, found, right, off, tried = frame.numerology, 0, 0, [], 0
    for _ in range(number):
        at = int(rng.integers(3 * n.symbol_samples, 2 * frame.length - 3 * n.symbol_samples))
        capture, coarse = heard(frame, rng, snr_db, [(at, count)] if count else [], **how)
        if not coarse.above_threshold:
            continue
        tried += 1
        try:
            jumps = loss.clean(capture, frame, coarse).jumps
        except HilError:
            continue
        found += bool(jumps)
        right += [jump.count for jump in jumps] == [count]
        off += [abs(jumps[0].sample - at) / n.symbol_samples] if jumps else []
    return found / tried, right / tried, off


@pytest.mark.parametrize("count", [1, 3, 64, 1024, 4096, -64])
def test_losses_are_found_counted_and_located(count):
    found, right, off = trials(ONE, np.random.default_rng(1), 10.0, count, 4)
    assert found == 1.0 and right >= 0.75
    assert np.median(off) < 0.05


def test_one_sample_of_many_antennas_echoes_and_channels_is_missed_by_nobody():
    rng = np.random.default_rng(2)
    frame = SoundingFrame(WIDE, 0, 1, 4, 1.0)
    found, right, off = trials(frame, rng, 10.0, 1, 5, gains=rayleigh(rng, 2, 4), delays=(0.0, 55e-9, 140e-9))
    assert found == right == 1.0 and np.median(off) < 0.25


def test_nothing_is_lost_from_a_whole_capture():
    rng = np.random.default_rng(3)
    for snr_db in (20.0, -5.0, -10.0):
        capture, coarse = heard(ONE, rng, snr_db)
        kept = loss.clean(capture, ONE, coarse)
        assert kept.capture is capture and kept.acquisition is coarse and kept.loss is capture.loss and not kept.jumps


def test_the_longest_clean_run_is_left_with_its_clock_and_start():
    rng = np.random.default_rng(4)
    frame = MeasuringFrame(NARROW, 0, 1, np.exp(2j * np.pi * rng.random((8, 2, 1))), payload_symbols=80)
    at = 20 * NARROW.symbol_samples + 77
    gains = rayleigh(rng, 1, 2)
    capture, coarse = heard(frame, rng, 20.0, [(at + 6000, -40), (at, 333)], gains=gains)
    kept = loss.clean(capture, frame, coarse)
    assert [jump.count for jump in kept.jumps] == [333, -40]
    assert abs(kept.begin - at - 6000 + 333) < 20
    assert kept.loss is Loss.SOME and kept.capture.first_sample is None
    assert kept.capture.clock == capture.clock.after(kept.begin / 4e6)
    assert "333 samples lost" in kept.assumptions[0] and "40 samples repeated" in kept.assumptions[1]
    fit = carrier.refine(kept.capture, frame, kept.acquisition)
    got = quality.measure(kept.capture, frame, fit)
    assert np.all(got.sinr_db > np.median(got.sinr_db) - 12.0) and np.median(got.sinr_db) > 12.0
    spoilt = quality.measure(capture, frame, carrier.refine(capture, frame, coarse))
    assert np.median(spoilt.sinr_db) < np.median(got.sinr_db) - 6.0


def test_a_jump_within_the_preamble_is_no_loss_of_the_other_turn():
    rng = np.random.default_rng(5)
    for symbol in (0.3, 0.9, 1.2, 1.8):
        capture, coarse = heard(ONE, rng, 10.0)
        at = round(coarse.start + symbol * WIDE.symbol_samples)
        cut = Capture.of(without(capture.samples, at, 64), rate=15.36e6, carrier=CARRIER)
        kept = loss.clean(cut, ONE, carrier.acquire(cut, ONE))
        assert kept.jumps and kept.jumps[0].count == 64 and abs(kept.jumps[0].sample - at) < 30


def test_a_burst_of_interference_is_no_loss():
    rng = np.random.default_rng(6)
    capture, coarse = heard(ONE, rng, 15.0)
    burst = np.zeros(capture.samples.shape, dtype=complex)
    burst[:, 9000:10_200] = 20.0 * np.exp(2j * np.pi * rng.random(1200))
    kept = loss.clean(Capture.of(capture.samples + burst, rate=15.36e6, carrier=CARRIER), ONE, coarse)
    assert not kept.jumps


def test_a_frame_that_stops_is_told():
    rng = np.random.default_rng(7)
    capture, coarse = heard(ONE, rng, 15.0)
    y = capture.samples.copy()
    y[:, 21_000:] = 0.2 * (rng.standard_normal(y[:, 21_000:].shape) + 1j * rng.standard_normal(y[:, 21_000:].shape))
    kept = loss.clean(Capture.of(y, rate=15.36e6, carrier=CARRIER), ONE, coarse)
    assert [jump.count for jump in kept.jumps] == [None] and abs(kept.jumps[0].sample - 21_000) < WIDE.symbol_samples
    assert "frame lost" in kept.assumptions[0]


def test_fewer_than_four_clean_symbols_are_refused():
    rng = np.random.default_rng(8)
    capture, coarse = heard(ONE, rng, 15.0)
    step = WIDE.symbol_samples
    y = capture.samples
    for turn in range(18, 0, -1):  # three symbols, then 100 samples missing, over and over
        y = without(y, turn * 3 * step, 100)
    with pytest.raises(HilError) as caught:
        loss.clean(Capture.of(y, rate=15.36e6, carrier=CARRIER), ONE, acquisition.Acquisition(coarse.start, coarse.cfo_hz, 0.9, 0.03))
    assert caught.value.id == "samples-lost" and caught.value.fix


def test_a_frame_that_was_not_found_is_refused():
    capture, _ = heard(ONE, np.random.default_rng(9), 10.0)
    with pytest.raises(HilError) as caught:
        loss.clean(capture, ONE, acquisition.Acquisition(0.0, 0.0, 0.01, 0.03))
    assert caught.value.id == "no-preamble"


@pytest.mark.slow
@pytest.mark.parametrize("snr_db", [20.0, 0.0, -10.0])
def test_losses_in_full(snr_db):
    """All of 1, 3, 64, 1024, 4096 samples, to a quarter symbol in the median; false alarms not above one in a hundred."""
    rng = np.random.default_rng(10)
    for count in (1, 3, 64, 1024, 4096):
        found, right, off = trials(ONE, rng, snr_db, count, 20)
        assert found >= (0.9 if snr_db < 0 else 1.0) and right >= 0.85
        assert np.median(off) < 0.25
    assert trials(ONE, rng, snr_db, 0, 60)[0] <= 0.01


@pytest.mark.soak
@pytest.mark.parametrize("snr_db", [20.0, 0.0, -5.0, -10.0])
def test_false_alarms_and_losses_by_hundreds(snr_db):
    rng = np.random.default_rng(11)
    assert trials(ONE, rng, snr_db, 0, 400)[0] <= 0.01
    for count in (1, 3, 64, 1024, 4096):
        found, _, off = trials(ONE, rng, snr_db, count, 100)
        assert found >= (0.9 if snr_db < -5 else 0.99) and np.median(off) < 0.25
