"""Amplifier coefficients: golden values, efficiency, honest discs, order, range of validity, Bussgang."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hil.device import Capture
from hil.errors import HilError
from hil.estimate import amplifier
from hil.estimate.carrier import Carrier
from hil.knowledge import Estimate
from hil.uncertainty import disc_factor
from hil.waveform import Numerology, SoundingFrame, ofdm

WIDE, NARROW = Numerology(15.36e6, 11.52e6), Numerology(4.0e6, 3.0e6)
KAPPA = 0.04 * np.exp(2.7j)


def noise(rng, shape, power):
    return np.sqrt(power / 2) * (rng.standard_normal(shape) + 1j * rng.standard_normal(shape))


def test_golden_cubic_least_squares():
    x = np.array([1, 0.5j, -1.2 + 0.3j, 0.2 - 0.9j, 0.7 + 0.7j, -0.4])
    y = (0.9 + 0.1j) * (x + 0.04 * np.exp(2.7j) * x * np.abs(x) ** 2) + np.array([0.01, -0.01j, 0.005, 0.002j, -0.004, 0.003])
    found = amplifier.fit(np.stack([x, x * np.abs(x) ** 2]), y)
    assert found.beta1 == pytest.approx(0.89479618 + 0.10198822j, rel=1e-7)
    assert found.beta1 * found.kappa.value[0] == pytest.approx(-0.03073058 + 0.0102467j, rel=1e-6)
    assert found.noise == pytest.approx(5.842412669e-5, rel=1e-8)
    assert found.kappa.value[0] == pytest.approx(-0.0326147267 + 0.0151688386j, rel=1e-8)
    assert found.kappa.covariance[0, 0].real == pytest.approx(9.895035635e-5, rel=1e-8)
    assert found.radius() == pytest.approx(0.0172171071, rel=1e-8)


def test_variance_is_that_of_both_coefficients():
    """Gaussian input of unit mean power: s/T (0.5 + 2 Re kappa + 3 |kappa|^2)."""
    rng = np.random.default_rng(1)
    x = noise(rng, 200_000, 1.0)
    y = 2j * (x + KAPPA * x * np.abs(x) ** 2) + noise(rng, x.shape, 4e-2)
    found = amplifier.fit(np.stack([x, x * np.abs(x) ** 2]), y)
    expected = 1e-2 / len(x) * (0.5 + 2 * KAPPA.real + 3 * abs(KAPPA) ** 2)
    assert found.kappa.covariance[0, 0].real == pytest.approx(expected, rel=0.03)


def frame_of(numerology=NARROW, symbols=28):
    frame = SoundingFrame(numerology, 0, 1, 1, 1.0, 1, symbols)
    return frame, frame.samples()[0]


def fine(x, times=amplifier.OVERSAMPLING):
    size, half = len(x), (len(x) + 1) // 2
    spectrum, wide = np.fft.fft(x), np.zeros(times * len(x), complex)
    wide[:half], wide[half - size :] = spectrum[:half], spectrum[half:]
    return np.fft.ifft(wide) * times


def through(x, law, delay=0.0):
    """A cyclic waveform through a memoryless law at 8 times the rate, cut to the band, `delay` samples later."""
    size, half = len(x), (len(x) + 1) // 2
    spectrum = np.fft.fft(law(fine(x, 8))) / 8
    kept = np.concatenate([spectrum[:half], spectrum[half - size :]])
    return np.fft.ifft(kept * np.exp(-2j * np.pi * delay * np.fft.fftfreq(size)))


def cubic(kappa):
    return lambda x: x + kappa * x * np.abs(x) ** 2


def rapp(saturation, bend=0.0):
    def law(x):
        r2 = np.abs(x) ** 2 / saturation**2
        return x / (1 + r2**2) ** 0.25 * np.exp(1j * bend * r2 / (1 + r2))

    return law


def rapp_at(x, back_off_db, bend=0.0):
    """With the 1 dB compression point `back_off_db` above the mean input power."""
    mean = np.mean(np.abs(x) ** 2)
    r4 = 10 ** (4 / 20) - 1  # (1 + r^4)^(1/4) = 1 dB
    return rapp(np.sqrt(mean * 10 ** (back_off_db / 10) / np.sqrt(r4)), bend)


def captured(y, rng, snr_db, rate=4e6, **rest):
    power = np.mean(np.abs(y) ** 2)
    return Capture.of(0.1 * (y + noise(rng, y.shape, power / 10 ** (snr_db / 10))), rate=rate, carrier=3.5e9, **rest)


def coupler_errors(rng, snr_db, trials):
    """Errors and discs of kappa over bounds, from 4096-sample captures aligned by the estimator."""
    out = []
    for _ in range(trials):
        x = noise(rng, 4096, 1.0)
        spectrum = np.fft.fft(x)
        spectrum[1536:-1536] = 0.0  # 75 % of the band
        x = np.fft.ifft(spectrum)
        x /= np.sqrt(np.mean(np.abs(x) ** 2))
        found = amplifier.coupler(captured(through(x, cubic(KAPPA), rng.uniform(0, 4096)), rng, snr_db), x, scale=10.0, order=3)
        out.append([abs(found.kappa.value[0] - KAPPA), np.sqrt(found.kappa.covariance[0, 0].real)])
    return np.array(out)


def judge(errors):
    """RMSE over bound and coverage, each within its 99 % interval of the spec's bar."""
    trials = len(errors)
    ratio = np.sqrt(np.mean(errors[:, 0] ** 2) / np.mean(errors[:, 1] ** 2))
    inside = np.mean(errors[:, 0] < disc_factor() * errors[:, 1])
    assert 1.0 - 2.6 / (2 * np.sqrt(trials)) < ratio < 1.05 + 2.6 / (2 * np.sqrt(trials)), ratio
    assert abs(inside - 0.95) < 0.01 + 2.6 * np.sqrt(0.95 * 0.05 / trials), inside


def test_coupler_reaches_its_bound():
    judge(coupler_errors(np.random.default_rng(2), 30.0, 30))


def sample_errors(rng, snr_db, trials):
    """Without band limits and alignment: 4096 Gaussian samples, noise below the output's power."""
    out = []
    for _ in range(trials):
        x = noise(rng, 4096, 1.0)
        y = x + KAPPA * x * np.abs(x) ** 2
        y = y + noise(rng, 4096, np.mean(np.abs(y) ** 2) / 10 ** (snr_db / 10))
        found = amplifier.fit(np.stack([x, x * np.abs(x) ** 2]), y)
        out.append([abs(found.kappa.value[0] - KAPPA), np.sqrt(found.kappa.covariance[0, 0].real)])
    return np.array(out)


@pytest.mark.parametrize("snr_db, rmse, bound", [(20.0, 9.39e-4, 9.62e-4), (30.0, 3.05e-4, 3.05e-4), (40.0, 9.66e-5, 9.63e-5)])
def test_least_squares_of_samples_reaches_its_bound(snr_db, rmse, bound):
    errors = sample_errors(np.random.default_rng(3), snr_db, 200)
    judge(errors)
    assert np.sqrt(np.mean(errors[:, 0] ** 2)) == pytest.approx(rmse, rel=0.03 + 2.6 / (2 * np.sqrt(200)))
    assert np.sqrt(np.mean(errors[:, 1] ** 2)) == pytest.approx(bound, rel=0.03)


@pytest.mark.slow
def test_coupler_reaches_its_bound_in_full():
    judge(coupler_errors(np.random.default_rng(12), 30.0, 500))


def tone_carrier(cfo=0.0, start=0.0):
    value = Estimate("carrier", "test", np.array([cfo]), np.eye(1), "Hz")
    return Carrier(value, start, 0.0, 3.5e9, np.ones(1), 1.0, 8)


def air_errors(rng, snr_db, trials):
    """Through a three-path channel free on every tone: 8 payload symbols of 384 tones, 64-QAM-like Gaussian drive of unit power."""
    n, out = WIDE, []
    for _ in range(trials):
        tones = np.exp(2j * np.pi * rng.random((8, n.used))) / np.sqrt(n.used)
        x = ofdm.modulate(n, tones)
        frame = Drive(n, 8)
        paths = noise(rng, 3, 1 / 3)
        delays = np.array([0.0, 2.3, 5.9])
        spectrum = np.fft.fft(through(x, cubic(KAPPA)))
        spectrum = spectrum * (np.exp(-2j * np.pi * np.outer(np.fft.fftfreq(len(x)), delays)) @ paths)
        y = np.fft.ifft(spectrum)
        tone_power = np.mean(np.abs(np.exp(-2j * np.pi / n.fft * np.outer(n.tones, delays)) @ paths) ** 2) / n.used
        y = np.tile(y, 3) + noise(rng, 3 * len(x), n.fft * tone_power / 10 ** (snr_db / 10))
        capture = Capture.of(y[4340:8760], rate=n.sample_rate_hz, carrier=3.5e9)  # eight whole symbols
        found = amplifier.over_air(capture, frame, tone_carrier(start=float(2 * len(x) - 4340 - len(x))), x)
        out.append([abs(found.kappa.value[0] - KAPPA), np.sqrt(found.kappa.covariance[0, 0].real)])
    return np.array(out)


class Drive:
    """A frame of unprecoded symbols, nothing but what the amplifier's estimator asks of one."""

    def __init__(self, numerology, symbols):
        self.numerology, self.device = numerology, 0
        self.layout = type("Layout", (), {"symbols": symbols})


def test_over_the_air_reaches_its_bound():
    judge(air_errors(np.random.default_rng(4), 20.0, 12))


@pytest.mark.slow
@pytest.mark.parametrize("snr_db", [10.0, 20.0, 30.0])
def test_over_the_air_reaches_its_bound_in_full(snr_db):
    errors = air_errors(np.random.default_rng(5), snr_db, 150)
    judge(errors)
    assert np.sqrt(np.mean(errors[:, 1] ** 2)) == pytest.approx({10.0: 4.96e-3, 20.0: 1.57e-3, 30.0: 4.99e-4}[snr_db], rel=0.15)


def through_the_air(rng, law_of, snr_db, order):
    """24 symbols of 16-QAM through a law and three paths; law_of: waveform -> law. Returns the estimate and the drive's rms."""
    n = WIDE
    tones = rng.choice([-3, -1, 1, 3], (2, 24, n.used)) / np.sqrt(10.0 * n.used)
    x = ofdm.modulate(n, tones[0] + 1j * tones[1])
    paths, delays = noise(rng, 3, 1 / 3), np.array([0.0, 2.3, 5.9])
    spectrum = np.fft.fft(through(x, law_of(x))) * (np.exp(-2j * np.pi * np.outer(np.fft.fftfreq(len(x)), delays)) @ paths)
    level = np.mean(np.abs(np.exp(-2j * np.pi / n.fft * np.outer(n.tones, delays)) @ paths) ** 2) / n.used
    y = np.tile(np.fft.ifft(spectrum), 2) + noise(rng, 2 * len(x), n.fft * level / 10 ** (snr_db / 10))
    capture = Capture.of(y[300 : 900 + len(x)], rate=n.sample_rate_hz, carrier=3.5e9)
    found = amplifier.over_air(capture, Drive(n, 24), tone_carrier(start=float(len(x) - 300)), x, order=order)
    return found, np.sqrt(np.mean(np.abs(x) ** 2))


@pytest.mark.parametrize("law_of, snr_db, least, most", [
    (lambda x: cubic(KAPPA), 30.0, 3, 3), (lambda x: rapp_at(x, 8.0), 40.0, 5, 7), (lambda x: rapp_at(x, 3.0), 20.0, 3, 5),
    (lambda x: rapp_at(x, 3.0, 0.6), 40.0, 5, 9),
])  # fmt: skip
def test_order_is_chosen_over_the_air_too(law_of, snr_db, least, most):
    found, rms = through_the_air(np.random.default_rng(12), law_of, snr_db, None)
    assert least <= found.order <= most and f"order {found.order}" in found.kappa.assumptions
    assert 2.0 * rms < found.valid_to <= found.highest and found.kappa.above_threshold


def test_cubic_ends_where_the_amplifier_departs_from_it_through_an_unknown_channel():
    """Pure compression: 8 to 9 dB over the rms drive. With AM/PM the cubic fails inside the bulk and is not to be used."""
    rng = np.random.default_rng(13)
    found, rms = through_the_air(rng, lambda x: rapp_at(x, 3.0), 40.0, 3)
    assert 7.0 < 20 * np.log10(found.valid_to / rms) < 10.0 and found.kappa.above_threshold
    bent, rms = through_the_air(rng, lambda x: rapp_at(x, 3.0, 0.6), 40.0, 3)
    assert 20 * np.log10(bent.valid_to / rms) < -3.0
    assert not bent.kappa.above_threshold and "model misfit" in bent.kappa.assumptions
    with pytest.raises(HilError):
        bent.output(rms)


def test_model_leaves_nothing_but_noise():
    rng = np.random.default_rng(6)
    x = frame_of()[1]
    found = amplifier.coupler(captured(np.tile(through(x, cubic(KAPPA), 3.3), 2), rng, 30.0), x, scale=10.0, order=3)
    output = through(x, cubic(KAPPA), 3.3)
    assert 10 * np.log10(found.noise / (np.mean(np.abs(output) ** 2) * 1e-3)) == pytest.approx(0.0, abs=0.15)
    assert amplifier.coupler(captured(np.tile(output, 2), rng, 30.0), x, scale=10.0).order == 3


@pytest.mark.parametrize("back_off_db, expected", [(3.0, (-19.4, -34.2, -36.4)), (6.0, (-26.0, -37.6, -38.2))])
def test_orders_of_a_rapp_amplifier(back_off_db, expected):
    """Error on the other half of a 40 dB capture, by order, and the order chosen; what falls out of the band is not counted here."""
    rng = np.random.default_rng(7)
    frame = SoundingFrame(WIDE, 0, 1, 1, 1.0, 1, 60)
    x = frame.samples()[0]
    y = through(x, rapp_at(x, back_off_db))
    capture = captured(y, rng, 40.0, rate=15.36e6)
    samples = capture.samples[0].astype(complex)
    half = len(samples) // 2
    for order, level in zip((1, 3, 5), expected):
        regressors = amplifier.basis(x, order)
        found = amplifier.fit(regressors[:, :half], samples[:half])
        error = 10 * np.log10(amplifier._missed(found, regressors[:, half:], samples[half:]))
        assert level - 4.0 < error < level + 1.0
    assert amplifier.coupler(capture, x).order >= 5  # another 0.3 dB is worth it


def test_range_of_validity_and_refusal_beyond_it():
    rng = np.random.default_rng(8)
    _, x = frame_of(WIDE, 60)
    rms = np.sqrt(np.mean(np.abs(x) ** 2))
    pure = amplifier.coupler(captured(np.tile(through(x, rapp_at(x, 8.0)), 2), rng, 40.0, rate=15.36e6), x, scale=10.0, order=3)
    bent = amplifier.coupler(captured(np.tile(through(x, rapp_at(x, 3.0, 0.6)), 2), rng, 40.0, rate=15.36e6), x, scale=10.0, order=3)
    assert 20 * np.log10(pure.valid_to / rms) > 6.0
    assert bent.valid_to < pure.valid_to
    inside = pure.output(0.9 * pure.valid_to)
    assert abs(inside) == pytest.approx(abs(pure.beta1) * abs(rapp_at(x, 8.0)(np.array(0.9 * pure.valid_to + 0j))), rel=0.05)
    with pytest.raises(HilError) as caught:
        pure.output([0.1, 1.01 * pure.valid_to])
    assert caught.value.id == "amplifier-range"
    assert pure.valid_to <= pure.highest * (1 + 1e-12)


def test_saturated_and_short_captures_are_refused():
    rng = np.random.default_rng(9)
    _, x = frame_of()
    good = captured(np.tile(through(x, cubic(KAPPA)), 2), rng, 30.0)
    for capture, kind in ((replace(good, clipped=0.06), "capture-clipped"), (replace(good, samples=good.samples[:, :900]), "capture-unusable")):
        with pytest.raises(HilError) as caught:
            amplifier.coupler(capture, x)
        assert caught.value.id == kind
    assert "clipped" in amplifier.coupler(replace(good, clipped=0.02), x).kappa.assumptions


def test_misalignment_would_hide_the_distortion():
    """A delay wrong by 0.02 samples alone leaves -31 dB; the estimator's own leaves nothing."""
    rng = np.random.default_rng(10)
    _, x = frame_of(WIDE, 28)
    y = through(x, lambda s: s, 12.34)
    assert amplifier._delay(x, y + noise(rng, y.shape, 1e-4 * np.mean(np.abs(y) ** 2))) == pytest.approx(12.34, abs=2e-3)
    left = y - through(x, lambda s: s, 12.36)
    assert 10 * np.log10(np.mean(np.abs(left) ** 2) / np.mean(np.abs(y) ** 2)) == pytest.approx(-31.0, abs=2.0)


@pytest.mark.parametrize("back_off_db, level", [(3.0, -23.0), (6.0, -29.5), (8.0, -33.7)])
def test_bussgang_floor(back_off_db, level):
    kappa = -0.10875 * 10 ** (-back_off_db / 10)
    assert 20 * np.log10(amplifier.evm_floor(kappa, 1.0)) == pytest.approx(level, abs=0.05)


def test_bussgang_gain_and_spectrum_are_those_of_gaussian_drive():
    rng = np.random.default_rng(11)
    spectrum = np.concatenate([np.zeros(30), rng.uniform(0.5, 2.0, 40), np.zeros(10)])
    spectrum /= spectrum.sum()
    tones = noise(rng, (6_000, 80), 1.0) * np.sqrt(spectrum)
    wide = np.zeros((6_000, 256), complex)
    wide[:, (np.arange(80) - 40) % 256] = tones
    x = np.fft.ifft(wide, axis=-1) * 256
    y = x + KAPPA * x * np.abs(x) ** 2
    measured_gain = np.mean(y * x.conj()) / np.mean(np.abs(x) ** 2)
    assert measured_gain == pytest.approx(complex(amplifier.gain(KAPPA, 1.0)), abs=4e-3)
    left = np.fft.fft(y - measured_gain * x, axis=-1) / 256
    power = np.mean(np.abs(left) ** 2, axis=0)
    expected = amplifier.distortion(KAPPA, spectrum)
    assert len(expected) == 238
    places = (np.arange(238) - 40 - 40 - (79 - 40)) % 256  # bin 0 of the result: two lowest less the highest
    np.testing.assert_allclose(power[places][80:150], expected[80:150], rtol=0.15)
    assert expected.sum() == pytest.approx(2 * abs(KAPPA) ** 2, rel=1e-9)
