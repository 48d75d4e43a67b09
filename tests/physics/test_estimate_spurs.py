"""DC, LO leakage and mirror image: found to their own noise, taken away before derotation, left alone where they do not stand out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from synthetic import received

from hil.device import Capture
from hil.estimate import acquisition, carrier, mirror, spurs, usable
from hil.waveform import MeasuringFrame, Numerology, SoundingFrame

WIDE, NARROW = Numerology(15.36e6, 11.52e6), Numerology(4.0e6, 3.0e6)
CARRIER = 3.5e9


def white(rng, *shape):
    return ((rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) / np.sqrt(2)).astype(np.complex64)


def tone(amplitude, frequency, rate, count):
    return amplitude * np.exp(2j * np.pi * frequency / rate * np.arange(count))


def heard(frame, rng, *, cfo, snr_db, start=50.0, turns=2):
    """Samples of unit mean power with `snr_db` per used tone, and where a carrier estimate starts."""
    n = frame.numerology
    sent = frame.samples() / np.sqrt(np.mean(np.abs(frame.samples().sum(0)) ** 2))
    y = received(sent, np.ones((1, frame.antennas, 1)), np.zeros(1), rate=n.sample_rate_hz, carrier_hz=CARRIER, cfo_hz=cfo, start=start,
                 samples=turns * frame.length + n.symbol_samples, rng=rng, noise=n.fft / n.used / 10 ** (snr_db / 10))  # fmt: skip
    return y, acquisition.Acquisition(start, cfo + rng.uniform(-200, 200), 1.0, 0.0)


def refined(y, frame, coarse):
    capture = Capture.of(y, rate=frame.numerology.sample_rate_hz, carrier=CARRIER)
    return capture, carrier.refine(capture, frame, coarse)


@pytest.mark.parametrize("count", [31_236, 40_001])
def test_tones_in_noise_are_found_to_their_own_error(count):
    rng = np.random.default_rng(1)
    frequencies, amplitudes = np.array([0.0, 3_100.0, -41_000.0]), np.array([[0.3, 0.1j, 0.05], [0.02j, 0.2, -0.1]])
    errors = []
    for _ in range(20):
        y = white(rng, 2, count) + sum(tone(amplitudes[:, t : t + 1], f, 15.36e6, count) for t, f in enumerate(frequencies))
        cleaned, found, std = spurs.remove(y.astype(np.complex64), 15.36e6, frequencies)
        errors.append((found - amplitudes) / std)
        np.testing.assert_allclose(std, 1 / np.sqrt(count), rtol=0.5)
    assert np.mean(np.abs(errors) ** 2) == pytest.approx(1.0, abs=0.4)  # a complex error: E|e|^2 = std^2
    assert cleaned.dtype == np.complex64
    expected = np.mean(cleaned * tone(1.0, -3_100.0, 15.36e6, count), axis=-1)  # what is left on a line: less than noise puts there
    assert np.all(np.abs(expected) < 1 / np.sqrt(count))


@pytest.mark.parametrize("apart", [100.0, 1.0, 0.0])
def test_tones_too_close_to_tell_are_removed_together(apart):
    rng = np.random.default_rng(2)
    for _ in range(10):
        noise = white(rng, 1, 31_236)
        y = noise + tone(0.5, 0.0, 15.36e6, 31_236) + tone(0.5j, apart, 15.36e6, 31_236)
        cleaned, amplitudes, _ = spurs.remove(y, 15.36e6, [0.0, apart])
        assert np.all(np.isfinite(amplitudes)) and np.max(np.abs(amplitudes)) < 1.0
        assert np.sum(np.abs(cleaned - noise) ** 2) < 12.0  # one or two unit exponentials


def test_a_frame_hides_dc_below_its_own_lines_but_is_not_mistaken_for_it():
    """Nothing is there: what is taken from a frame with a line of its own near 0 Hz is less than that line's 1.3/samples."""
    rng = np.random.default_rng(3)
    frame = SoundingFrame(WIDE, 0, 1, 2, 1.0)
    taken, found = [], []
    for cfo in rng.uniform(-40e3, 40e3, 24):
        y, _ = heard(frame, rng, cfo=cfo, snr_db=30.0)
        _, amplitude, _ = spurs.remove(y, 15.36e6, [0.0, cfo])
        taken.append(np.abs(amplitude[0]) ** 2)
        dc = y + 0.1 * np.exp(0.3j)  # -20 dB
        found.append(np.abs(spurs.remove(dc, 15.36e6, 0.0)[1][0, 0] - 0.1 * np.exp(0.3j)) ** 2)
    line = 1.33 / y.shape[-1]
    assert 10 * np.log10(line) == pytest.approx(-43.7, abs=0.1)
    assert np.mean(taken) < 0.5 * line
    assert 0.3 * line < np.mean(found) < 3.0 * line


def test_golden_image_of_the_small_frame():
    """-25 dB of image at 25 dB of SNR: residual -22.0 dB with it, -25.0 without, and known to -59.7 dB (bound -59.9)."""
    rng = np.random.default_rng(4)
    frame = MeasuringFrame(NARROW, 0, 1, np.ones((8, 1, 1)), payload_symbols=16)
    epsilon, errors, before, after, told = 10 ** (-25 / 20) * np.exp(2.0j), [], [], [], []
    for _ in range(40):
        y, coarse = heard(frame, rng, cfo=5e3, snr_db=25.0 + 10 * np.log10(128 / 96), turns=1)  # 25 dB per sample
        capture, fit = refined(y + epsilon * y.conj(), frame, coarse)
        cleaned, found = mirror.clean(capture, frame, fit)
        errors.append(abs(found.image[0] - epsilon) ** 2)
        told.append(found.image_std[0] ** 2)
        before.append(fit.noise[0] * 96)
        after.append(carrier.refine(cleaned, frame, fit).noise[0] * 96)
    db = [10 * np.log10(np.mean(part)) for part in (before, after, errors, told)]
    thermal = -25.0 - 10 * np.log10(128 / 96)
    assert db[1] == pytest.approx(thermal, abs=0.15)
    assert db[0] == pytest.approx(10 * np.log10(10 ** (thermal / 10) + 10**-2.5), abs=0.4)
    assert db[2] == pytest.approx(-59.7, abs=1.5) and db[3] == pytest.approx(db[2], abs=1.5)


@pytest.mark.parametrize("cfo", [1_234.0, -12e3, 15e3])
def test_a_known_frame_lets_dc_and_leakage_be_told_to_thermal_noise(cfo):
    """-40 dBc of DC lies below what the frame puts on a line; with the frame known it is found 25 dB further down."""
    rng = np.random.default_rng(5)
    frame, other = SoundingFrame(WIDE, 0, 1, 2, 1.0), cfo + 7_700.0
    y, coarse = heard(frame, rng, cfo=cfo, snr_db=30.0)
    dc, leakage, epsilon = 0.01 * np.exp(1j), 0.01 * np.exp(2j), 10 ** (-44 / 20) * np.exp(-1j)
    spoilt = y + dc + tone(leakage, other, 15.36e6, y.shape[-1])
    capture, fit = refined(spoilt + epsilon * spoilt.conj(), frame, coarse)
    cleaned, found = mirror.clean(capture, frame, fit, [other])
    clean_fit = refined(y, frame, coarse)[1]
    again = carrier.refine(cleaned, frame, fit)
    assert fit.noise[0] > 1.03 * clean_fit.noise[0]
    assert again.noise[0] == pytest.approx(clean_fit.noise[0], rel=0.005)
    if cfo == 1_234.0:  # DC lies almost on the frame's empty tone, where it harms nobody and is not told
        assert found.tones_std[0, 0] > 5 * found.tones_std[0, 1]
        return
    assert found.removed.all()
    gone = spoilt + epsilon * spoilt.conj() - cleaned.samples
    lines = [np.mean(gone * tone(1.0, -f, 15.36e6, y.shape[-1])) for f in (0.0, other)]
    assert abs(lines[0] - dc) < 2.5e-3 and abs(lines[1] - leakage) < 2.5e-3
    assert 20 * np.log10(found.tones_std[0, 0]) < -60.0
    assert abs(found.image[0] - epsilon) < 4 * found.image_std[0] + abs(epsilon) * 0.02


def test_what_does_not_stand_out_is_left_alone():
    rng = np.random.default_rng(6)
    frame = SoundingFrame(NARROW, 0, 1, 2, 1.0)
    touched = []
    for _ in range(30):
        y, coarse = heard(frame, rng, cfo=4e3, snr_db=15.0)
        capture, fit = refined(y, frame, coarse)
        cleaned, found = mirror.clean(capture, frame, fit, [9e3])
        touched.append(found.removed[0])
        if not found.removed.any():
            np.testing.assert_array_equal(cleaned.samples, usable.samples_of(capture, 1, 4e6))
    assert np.mean(touched) < 0.03  # three standard deviations of a complex value: 1.2e-4 each


def test_every_receive_channel_has_its_own_spurs():
    rng = np.random.default_rng(7)
    frame = SoundingFrame(NARROW, 0, 1, 2, 1.0)
    y, coarse = heard(frame, rng, cfo=4e3, snr_db=25.0)
    both = np.concatenate([y + 0.03, 0.5 * y + 0.04j + 0.01 * (0.5 * y + 0.04j).conj()])
    capture, fit = refined(both, frame, coarse)
    found = mirror.clean(replace(capture, samples=capture.samples), frame, fit)[1]
    assert found.removed.tolist() == [[True, False], [True, True]]


def test_dc_removed_after_derotation_stays():
    """After derotation it lies at -cfo: the mean there is not it."""
    rng = np.random.default_rng(8)
    frame = SoundingFrame(NARROW, 0, 1, 1, 1.0)
    y, coarse = heard(frame, rng, cfo=9e3, snr_db=20.0)
    dirty = (y + 1.0).astype(np.complex64)  # 0 dB
    n = np.arange(y.shape[-1])
    turned = dirty * np.exp(-2j * np.pi * 9e3 / 4e6 * n)
    late = (turned - turned.mean()) * np.exp(2j * np.pi * 9e3 / 4e6 * n)
    right = usable.samples_of(Capture.of(dirty, rate=4e6, carrier=CARRIER), 1, 4e6)
    assert np.mean(np.abs(right - y) ** 2) < 0.003
    assert np.mean(np.abs(late - y) ** 2) > 0.97
    clean, fit = refined(y, frame, coarse)[1], refined(dirty, frame, coarse)[1]
    assert fit.cfo.std[0] < 1.05 * clean.cfo.std[0] and abs(fit.cfo_hz - 9e3) < 4 * clean.cfo.std[0]
