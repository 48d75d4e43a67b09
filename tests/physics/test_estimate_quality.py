"""SINR, error vector and error rates of measuring captures: unbiased, data-aided, with intervals that hold."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hil.device import Capture
from hil.errors import HilError
from hil.estimate import carrier, quality
from hil.waveform import MeasuringFrame, Modulation, Numerology
from tests.physics.synthetic import received, tone_channel

WIDE, NARROW = Numerology(15.36e6, 11.52e6), Numerology(4.0e6, 3.0e6)
CARRIER = 3.5e9


def link(rng, numerology, *, snr_db, cfo=9e3, start=700.3, kind=Modulation.QPSK, payload=60, delays=(0.0, 60e-9), turns=1, sir_db=None,
         flat=False, wander=0.0):  # fmt: skip
    """A capture of one precoded device, perhaps with another that nobody has synchronised; and the block SINRs that y = H x predicts."""
    n = numerology
    shape = (n.blocks, 2, 1)
    frames, gains, chans = [], [], []
    for device, level in ((0, 1.0), (1, None if sir_db is None else 10 ** (-sir_db / 20))):
        precoder = np.ones(shape) if flat else (rng.standard_normal((1, 2, 1)) + 1j * rng.standard_normal((1, 2, 1))) * np.ones(shape)
        frame = MeasuringFrame(n, device, 3, precoder * np.exp(2j * np.pi * rng.random((n.blocks, 1, 1))) ** (device == 0), kind, payload)
        paths = (1, 2, len(delays))
        gain = np.ones(paths) if flat else rng.standard_normal(paths) + 1j * rng.standard_normal(paths)
        gain = gain * (level or 0.0)
        frames.append(frame)
        gains.append(gain)
        chans.append(np.einsum("kn,kn->k", tone_channel(n, gain, np.array(delays))[0], frame.precoder[n.block_of_tone, :, 0]))
    rate, samples = n.sample_rate_hz, turns * frames[0].length + 2 * n.symbol_samples
    noise = np.mean(np.abs(chans[0]) ** 2) / 10 ** (snr_db / 10)
    y = received(frames[0].samples(), gains[0], np.array(delays), rate=rate, carrier_hz=CARRIER, cfo_hz=cfo, start=start, samples=samples,
                 rng=rng, noise=noise * n.fft)  # fmt: skip
    if sir_db is not None:
        y = y + received(frames[1].samples(), gains[1], np.array(delays), rate=rate, carrier_hz=CARRIER, cfo_hz=-4e3, start=200.0 + start,
                         samples=samples)  # fmt: skip
    if wander:
        y = y * np.exp(1j * wander * np.sin(2 * np.pi * 300.0 * np.arange(samples) / rate))
    expected = n.block_mean(np.abs(chans[0]) ** 2) / (n.block_mean(np.abs(chans[1]) ** 2) + noise)
    return Capture.of(y, rate=rate, carrier=CARRIER), frames[0], 10 * np.log10(expected)


def measured(capture, frame, **how):
    fit = carrier.refine(capture, frame, carrier.acquire(capture, frame))
    return quality.measure(capture, frame, fit, **how)


@pytest.mark.parametrize("n, sinr_db", [(24, -5.0), (24, 10.0), (268, 20.0)])
def test_sinr_formula_is_unbiased_and_its_spread_is_known(n, sinr_db):
    rng = np.random.default_rng(1)
    true = 10 ** (sinr_db / 10)
    x = np.exp(0.5j * np.pi * rng.integers(0, 4, (8000, n)))
    y = np.sqrt(true) * np.exp(0.3j) * x + (rng.standard_normal(x.shape) + 1j * rng.standard_normal(x.shape)) / np.sqrt(2)
    g = np.mean(y * x.conj(), -1, keepdims=True)
    residual = np.sum(np.abs(y - g * x) ** 2, -1) / (n - 1)  # divided by n it would read 0.2 dB high at 24
    got = quality.sinr(np.abs(g[:, 0]) ** 2, residual, n)
    spread = quality.relative_std(true, n)
    assert np.mean(got) == pytest.approx(true, rel=4 * spread / np.sqrt(8000))
    assert np.std(got) / true == pytest.approx(spread, rel=0.12)
    inside = np.abs(10 * np.log10(np.maximum(got, 1e-9) / true)) < 1.96 * quality.DECIBEL * quality.relative_std(np.maximum(got, 1e-9), n)
    assert 0.93 < inside.mean() < 0.97


def test_block_sinr_scatters_as_its_standard_deviation_says():
    rng = np.random.default_rng(2)
    errors, low = [], []
    for _ in range(12):
        capture, frame, truth = link(rng, NARROW, snr_db=rng.uniform(0.0, 25.0), payload=40)
        got = measured(capture, frame)
        errors.append((got.sinr_db - truth) / got.std_db)
        low.append(got.lower_limits_db(0.99) > truth)
    errors = np.array(errors)
    assert np.sqrt(np.mean(errors**2)) == pytest.approx(1.0, abs=0.25)
    assert abs(np.mean(errors)) < 4.0 / np.sqrt(errors.size)
    assert np.mean(np.any(low, axis=-1)) < 0.2


def test_interference_counts_as_noise():
    rng = np.random.default_rng(3)
    capture, frame, truth = link(rng, WIDE, snr_db=30.0, sir_db=12.0, payload=60)
    got = measured(capture, frame)
    assert np.median(np.abs(got.sinr_db - truth)) < 0.3
    assert np.max(np.abs(got.sinr_db - truth)) < 1.5


def test_long_frame_with_8_ppm_and_25_khz_keeps_its_floor_below_45_db():
    """10 ms x 8 ppm is 1.2 samples of drift: with the wrong sign, or none, the floor is at -15 dB."""
    rng = np.random.default_rng(4)
    for cfo in (28e3, -25e3):
        capture, frame, _ = link(rng, WIDE, snr_db=70.0, cfo=cfo, payload=268, delays=(0.0,), flat=True, kind=Modulation.QAM64)
        assert 20 * np.log10(measured(capture, frame).evm) < -45.0


def test_error_vector_is_data_aided():
    """At 10 dB 64-QAM decisions would flatter it to 15.7 dB."""
    rng = np.random.default_rng(5)
    capture, frame, _ = link(rng, NARROW, snr_db=10.0, payload=100, delays=(0.0,), kind=Modulation.QAM64, flat=True)
    got = measured(capture, frame)
    assert -20 * np.log10(got.evm) == pytest.approx(10.0, abs=0.25)
    sliced = got.equalised - quality.modulation.symbols_of(quality.modulation.bits_of(got.equalised, Modulation.QAM64), Modulation.QAM64)
    assert -10 * np.log10(np.mean(np.abs(sliced) ** 2)) > 14.0


@pytest.mark.parametrize("kind, snr_db", [(Modulation.QPSK, 6.0), (Modulation.QAM16, 12.0), (Modulation.QAM64, 17.0)])
def test_symbol_errors_agree_with_square_qam_theory(kind, snr_db):
    rng = np.random.default_rng(6)
    capture, frame, _ = link(rng, NARROW, snr_db=snr_db, payload=150, delays=(0.0,), kind=kind, flat=True)
    got = measured(capture, frame)
    levels = 1 << (kind.bits // 2)
    ratio = got.sinr.value.mean()
    rail = (1 - 1 / levels) * math.erfc(math.sqrt(1.5 * ratio / (levels**2 - 1)))
    theory = 1 - (1 - rail) ** 2
    low, high = got.symbol_errors.interval
    assert low * 0.9 < theory < high * 1.1
    assert got.symbol_errors.of == 150 * 90 and got.bit_errors.of == 150 * 90 * kind.bits
    assert got.bit_errors.rate == pytest.approx(got.symbol_errors.rate / kind.bits, rel=0.15)  # Gray


def test_common_phase_is_followed_but_costs_no_noise():
    rng = np.random.default_rng(7)
    capture, frame, truth = link(rng, NARROW, snr_db=20.0, payload=60, wander=0.5, flat=True, delays=(0.0,))
    got = measured(capture, frame)
    assert np.median(got.sinr_db - truth) == pytest.approx(0.0, abs=0.35)
    still, same, _ = link(rng, NARROW, snr_db=20.0, payload=268, flat=True, delays=(0.0,))
    assert measured(still, same).noise.mean() == pytest.approx(np.abs(measured(still, same).gains[0]) ** 2 / 100.0, rel=0.03)


def test_second_turn_averages_noise_but_not_the_stated_spread():
    rng = np.random.default_rng(8)
    capture, frame, _ = link(rng, NARROW, snr_db=15.0, turns=2)
    one, two = measured(capture, frame), measured(capture, frame, turns=2)
    assert (one.symbols, two.symbols) == (60, 120)
    np.testing.assert_allclose(two.std_db, one.std_db, rtol=0.2)


def test_golden_lower_limits_and_intervals():
    limits = quality.lower_limits_db([20.0, 10.0], [0.1, 0.2], 0.99, 64)
    np.testing.assert_allclose(limits, [20.0 - 0.36044, 10.0 - 0.72088], atol=2e-4)
    assert quality.clopper_pearson(0, 10_000) == (0.0, pytest.approx(3.0 / 10_000, rel=2e-3))
    low, high = quality.clopper_pearson(5, 100)
    assert (low, high) == (pytest.approx(0.016432, abs=1e-6), pytest.approx(0.112835, abs=1e-6))
    assert quality.clopper_pearson(100, 100)[1] == 1.0


def test_rate_carries_its_interval():
    rng = np.random.default_rng(9)
    capture, frame, truth = link(rng, NARROW, snr_db=15.0, payload=200)
    got = measured(capture, frame)
    expected = np.mean(np.log2(1 + 10 ** (truth / 10)))
    assert got.rate_interval[0] < got.rate < got.rate_interval[1]
    assert abs(got.rate - expected) < 2.0 * (got.rate_interval[1] - got.rate_interval[0])


def test_streams_of_one_device_are_told_apart():
    rng = np.random.default_rng(10)
    precoder = np.zeros((8, 2, 2), complex)
    precoder[:, 0, 0], precoder[:, 1, 1] = 1.0, 0.5
    frame = MeasuringFrame(NARROW, 0, 1, precoder, payload_symbols=60)
    gains = np.array([[[1.0], [0.1]], [[0.1], [1.0]]])
    y = received(frame.samples(), gains, np.zeros(1), rate=4e6, carrier_hz=CARRIER, cfo_hz=2e3, start=10.0,
                 samples=frame.length + 300, rng=rng, noise=1e-6)  # fmt: skip
    capture = Capture.of(y, rate=4e6, carrier=CARRIER)
    fit = carrier.refine(capture, frame, carrier.acquire(capture, frame))
    first, second = (quality.measure(capture, frame, fit, channel=s, stream=s) for s in (0, 1))
    assert np.median(first.sinr_db) == pytest.approx(20 * np.log10(1.0 / 0.05), abs=0.5)
    assert np.median(second.sinr_db) == pytest.approx(20 * np.log10(0.5 / 0.1), abs=0.5)


def test_too_little_payload_is_refused():
    rng = np.random.default_rng(11)
    capture, frame, _ = link(rng, NARROW, snr_db=15.0, payload=10)
    with pytest.raises(HilError) as caught:
        measured(capture, frame)
    assert caught.value.id == "capture-short" and caught.value.found == "10"
