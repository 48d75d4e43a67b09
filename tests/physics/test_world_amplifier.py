"""Amplifiers of the emulated transmitters: closed forms, golden values, where their distortion falls, and a second calculation in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sites import Still, airing, error_db, exact, spectrum_of, tabled, tuning, waveform

from sim_backend import amplifier, oracle
from sim_backend.amplifier import Amplifier
from sim_backend.oscillator import Oscillator
from sim_backend.paths import Plane
from sim_backend.settings import Emulated
from sim_backend.transmit import Chains

TONES = {5: 0.3, -9: 0.2j}
BEHIND = {-23: 0.024 - 0.012j, -9: -0.044 + 0.112j, 5: 0.198 + 0.051j, 19: 0.018 + 0.036j}
G1 = {
    0: 1.867992779296e-4 - 2.116022566676e-4j,
    1: 1.084449013419e-4 - 1.990290301326e-4j,
    2: 1.025688242196e-4 + 7.261628916557e-5j,
    1000: -2.733960048306e-4 - 7.175003781126e-5j,
    1000000: 5.812820146261e-5 - 1.114201844936e-4j,
}
RAPP = Amplifier("rapp", 1.0, (2.0, 1.0))


def behind(amp: Amplifier, samples: np.ndarray, **more):
    """Samples in square-root watts on the air through amplifiers of this kind."""
    ideal = Chains.ideal(samples.shape[0])
    return airing(samples, chains=Chains(ideal.image, ideal.leakage, ideal.gain, amp), **more)


def curve(amp: Amplifier, amplitude: np.ndarray, branch: int = 0) -> np.ndarray:
    """Output of the compiled amplifier for real inputs."""
    out = np.empty(amplitude.size, np.complex64)
    amp.apply(amplitude.astype(np.complex64), out, branch)
    return out


def cubic(beta3: complex, held: bool = True) -> Amplifier:
    c = complex(beta3)
    return Amplifier("cubic", 1.0, (c.real, c.imag, amplifier.peak(c) if held else math.inf))


def compression_point(amp: Amplifier) -> float:
    """Input watts at which the gain has fallen by 1 dB, by bisection of the closed form; confirmed on the compiled curve."""
    low, high = 1e-6, 10.0
    while high / low > 1.0 + 1e-12:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if abs(amp.response(middle)) > 10 ** (-1 / 20) * abs(amp.small_signal) else (low, middle)
    found = abs(curve(amp, np.array([low]))[0]) / low / abs(amp.small_signal)
    assert 20 * math.log10(found) == pytest.approx(-1.0, abs=1e-5)
    return low**2


def test_g1_the_cubic_makes_the_tones_of_the_golden_values():
    sent = behind(cubic(-2 + 1j, held=False), spectrum_of(TONES))
    assert sent.spectrum.shape == (1, 256) and sent.bins_per_period == 256
    for k, z in BEHIND.items():
        assert abs(sent.spectrum[0, k] - z) < 1e-7
    others = np.setdiff1d(np.arange(256), [k % 256 for k in BEHIND])
    assert np.abs(sent.spectrum[0, others]).max() < 1e-7


@pytest.mark.parametrize(("plan", "bar"), [(exact, 2e-9), (tabled, 3e-6)])
def test_g1_from_the_codes_to_the_antenna(plan, bar):
    tx, rx = Oscillator(1.5e-6, 40e-9), Oscillator(-0.5e-6, -25e-9)
    zero = np.zeros(3)
    scene = Still([Plane(1e-3, 123.456e-9, zero, zero, zero, zero)])
    ticks = list(G1)

    def error(beta3: complex) -> float:
        sent = behind(cubic(beta3, held=False), spectrum_of(TONES), oscillator=tx, phase=0.7, start=-640)
        return float(np.abs(plan(scene, tuning(rx, -0.4), [sent], ticks)[0] - list(G1.values())).max() / np.abs(list(G1.values())).max())

    assert error(-2 + 1j) < bar
    assert error(-2 - 1j) > 0.1  # a conjugated coefficient


def test_g10_compression_and_peak_of_a_cubic():
    amp = cubic(-2.0)
    power = compression_point(amp)
    assert power == pytest.approx(0.054374531, abs=1e-9) and power == pytest.approx(0.10875 / 2, rel=1e-4)
    assert 10 * math.log10(power / 1e-3) == pytest.approx(17.353955, abs=1e-6)
    amplitude = np.sqrt(np.linspace(0.01, 1.0, 991))
    out = np.abs(curve(amp, amplitude))
    assert out[amplitude**2 < 1 / 6].max() < out.max() == pytest.approx(curve(amp, np.array([math.sqrt(1 / 6)]))[0].real, rel=1e-6)
    assert out[amplitude**2 > 1 / 6] == pytest.approx(2 / 3 / math.sqrt(6), rel=1e-6)  # held, and not falling


def test_a_cubic_beyond_its_peak_is_held_with_its_phase_and_counted():
    amp = cubic(-2 + 1j)
    assert amplifier.peak(-2) == pytest.approx(1 / 6) and amplifier.peak(-2 + 1j) == pytest.approx(0.2)
    assert amplifier.peak(3j) == pytest.approx(1 / 9)
    edge = math.sqrt(0.2)
    inside, beyond = curve(amp, np.array([edge * 0.999999])), curve(amp, np.array([3 * edge]))
    assert beyond == pytest.approx(inside, rel=1e-5)
    samples = np.full((1, 16), 0.1, complex)
    samples[0, 3:6] = 2 * edge
    assert behind(amp, samples).overdriven[0] == pytest.approx(12, abs=4)
    assert behind(amp, 0.1 * samples).overdriven[0] == 0


def test_g10_two_tones():
    z = behind(cubic(-2.0), spectrum_of({5: 0.1, -9: 0.1})).spectrum[0]
    assert abs(z[5]) == pytest.approx(0.094, abs=1e-7) and abs(z[-9]) == pytest.approx(0.094, abs=1e-7)
    assert abs(z[19]) == pytest.approx(0.002, abs=1e-7) and abs(z[-23]) == pytest.approx(0.002, abs=1e-7)
    assert 20 * math.log10(abs(z[19]) / abs(z[5])) == pytest.approx(-33.441957, abs=1e-3)


@pytest.mark.parametrize(("smoothness", "power"), [(1.0, 10**0.1 - 1), (2.0, math.sqrt(10**0.2 - 1)), (3.0, (10**0.3 - 1) ** (1 / 3))])
def test_rapp_compresses_by_its_closed_form(smoothness, power):
    amp = Amplifier("rapp", 2.0, (smoothness, 0.7))
    assert compression_point(amp) == pytest.approx(power * 0.49, rel=1e-9)
    assert abs(curve(amp, np.array([50.0]))[0]) == pytest.approx(1.4, rel=1e-3)  # saturates at knee x gain


def test_terms_of_third_order_of_rapp_and_saleh():
    small = np.array([0.03])
    first = (curve(Amplifier("rapp", 3.0, (1.0, 0.5)), small) / small / 3.0 - 1.0) / small**2
    assert first == pytest.approx(-1 / (2 * 0.25), rel=0.01)  # beta3 = -beta1 |beta1|^2/(2 A^2)
    second = (curve(Amplifier("rapp", 3.0, (2.0, 0.5)), small) / small / 3.0 - 1.0) / small**2
    assert abs(second) < 0.02  # p = 2 has none
    tube = (curve(Amplifier("saleh", 2.0, (1.5, 0.8, 3.0)), small) / small / 2.0 - 1.0) / small**2
    assert tube == pytest.approx(-1.5 + 0.8j, rel=0.01)
    turned = curve(Amplifier("rapp", 1.0, (2.0, 100.0, 0.4, -0.1)), np.array([1.2]))
    assert np.angle(turned[0]) == pytest.approx(0.4 * 1.44 - 0.1 * 1.44**2, abs=1e-6)


def test_amplifiers_of_the_table():
    def made(**values) -> Amplifier:
        return amplifier.make(Emulated.parse({"severity": 0, "amplifier": values}).amplifier)

    default = amplifier.make(Emulated.parse({}).amplifier)
    assert (default.model, default.gain, default.curve) == ("rapp", 1.0, (2.0, pytest.approx(math.sqrt(0.1))))
    assert amplifier.make(Emulated.parse({"severity": 0}).amplifier) == Amplifier()
    for model in ("rapp", "cubic", "saleh"):  # each tops out at the saturation it was given, whatever its gain
        amp = made(model=model, gain_db=20.0, saturation_dbm=30.0)
        largest = max(abs(amp.response(r)) * r for r in np.geomspace(1e-3, 3.0, 4000))
        assert largest == pytest.approx(1.0, rel=1e-3) and abs(amp.small_signal) == pytest.approx(10.0)
    assert made(model="cubic", beta3_per_w=[-2.0, 1.0], hold=False) == cubic(-2 + 1j, held=False)
    taps = made(model="memory", taps=[[1, 0.0, 1.0, 0.0], [3, 0.0, -0.5, 0.1], [1, 20.0, 0.1, 0.0]])
    assert taps.delays == (0.0, 20e-9) and taps.branches[0][1][:2] == (1.0, -0.5 + 0.1j) and taps.small_signal == pytest.approx(1.1)


@pytest.mark.parametrize("rate", [7.68e6, 15.36e6])
def test_delays_of_a_memory_amplifier_are_seconds_and_not_samples(rate):
    delay = 33e-9
    amp = Amplifier("memory", 1.0, branches=((0.0, (1.0,)), (delay, (0.2j,))))
    z = behind(amp, spectrum_of({7: 0.5}), rate=int(rate)).spectrum[0, 7]
    assert z == pytest.approx(0.5 * (1 + 0.2j * np.exp(-2j * np.pi * 7 * rate / 64 * delay)), abs=1e-6)


MODELS = {
    "cubic": (cubic(-0.1 + 0.03j), -115.0),
    "rapp": (RAPP, -100.0),
    "rapp-turned": (Amplifier("rapp", 2.0, (1.0, 1.0, 0.2)), -85.0),
    "saleh": (Amplifier("saleh", 1.0, (0.25, 0.5, 0.6)), -90.0),
    "memory": (Amplifier("memory", 1.0, branches=((0.0, (1.0, -0.1)), (40e-9, (0.05, 0.03j)))), -115.0),
}


@pytest.mark.parametrize("name", MODELS)
def test_the_spectrum_on_the_air_is_that_of_the_reference(name):
    """At 6 dB below saturation: what the fast one folds over is no more than the samples per code allow."""
    amp, bar = MODELS[name]
    samples = waveform(np.random.default_rng(2), 3, 700, rms=0.5).astype(complex) + 1e-3
    sent = behind(amp, samples)
    bins, wanted = oracle.radiated(sent)
    kept = np.abs(bins) < 350
    found = sent.spectrum[:, bins[kept].astype(int) % sent.bins_per_period]
    assert error_db(found, wanted[:, kept]) < bar


def test_two_thirds_of_a_cubics_distortion_fall_into_the_band():
    """Flat band: density 3/4 of total/bandwidth at the centre, 1/2 at the edge; on one sample per code all of it would fold in: 3/2."""
    rng = np.random.default_rng(3)
    elements, period = 24, 4096
    samples = waveform(rng, elements, period, used=0.5, rms=0.05).astype(complex)
    amp = cubic(-20.0)

    def distortion(x, z):
        return z - x * (np.vdot(x, z) / np.vdot(x, x))

    sent = behind(amp, samples)
    linear = np.zeros_like(sent.spectrum)
    inside = np.fft.fftfreq(period, 1 / period).round().astype(int)
    linear[:, inside] = np.fft.fft(samples, axis=1, norm="forward")
    d = (np.abs(distortion(linear, sent.spectrum.astype(complex))) ** 2).sum(axis=0)
    total = d.sum()
    assert d[inside].sum() / total == pytest.approx(2 / 3, abs=0.01)
    centre, edge = d[np.arange(-200, 200)].mean() * period / total, d[np.r_[1900:2047, -2047:-1900]].mean() * period / total
    assert centre == pytest.approx(0.75, abs=0.02) and edge == pytest.approx(0.52, abs=0.03)
    coarse = np.empty(samples.shape, np.complex64)
    for x, z in zip(samples.astype(np.complex64), coarse):
        amp.apply(x, z)
    folded = elements * (np.abs(distortion(samples, coarse)) ** 2).mean()
    assert folded / d[inside].sum() == pytest.approx(1.5, abs=0.05)


def test_an_amplifier_that_hardly_bends_is_passed_by_unnoticed():
    samples = waveform(np.random.default_rng(4), 1, 512, rms=0.004)
    sent = behind(RAPP, samples)
    assert np.array_equal(sent.spectrum, airing(samples).spectrum)
    bins, wanted = oracle.radiated(sent)
    assert error_db(sent.spectrum[0, bins.astype(int)[np.abs(bins) < 1024] % 2048], wanted[0, np.abs(bins) < 1024]) < -120.0
    loud = behind(RAPP, 10 * samples)
    assert not np.array_equal(loud.spectrum, airing(10 * samples).spectrum)
