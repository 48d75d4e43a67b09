"""Golden values: closed forms worked out in rational arithmetic, held against the reference and against the fast medium."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
from sites import CARRIER, RATE, WAVELENGTH, Still, airing, digitise, exact, spectrum_of, tabled, tuning

from hil.clock import Instant
from hil.units import SPEED_OF_LIGHT
from sim_backend import kernels, medium
from sim_backend.converter import noise_power, receive_scale, transmit_amplitude
from sim_backend.oscillator import Oscillator
from sim_backend.paths import Echo, Plane, Sight, Wall, trace
from sim_backend.sounder.amplifier import compression, intermodulation
from sim_backend.sounder.cable import Cable, lay
from sim_backend.sounder.taps import one_path as one_path_line
from sim_backend.sounder.waveform import tones as sum_of_tones

ZERO = np.zeros(3)
DISTORTED = {-23: 0.024 - 0.012j, -9: -0.044 + 0.112j, 5: 0.198 + 0.051j, 19: 0.018 + 0.036j}  # two tones behind a cubic amplifier
G1 = {
    0: 1.867992779296e-4 - 2.116022566676e-4j,
    1: 1.084449013419e-4 - 1.990290301326e-4j,
    2: 1.025688242196e-4 + 7.261628916557e-5j,
    1000: -2.733960048306e-4 - 7.175003781126e-5j,
    1000000: 5.812820146261e-5 - 1.114201844936e-4j,
}


def one_path(gain: complex = 1.0, delay: float = 0.0) -> Still:
    return Still([Plane(gain, delay, ZERO, ZERO, ZERO, ZERO)])


def g1(transform=lambda oscillator: oscillator, plan=exact, tones=DISTORTED) -> dict[int, complex]:
    tx, rx = transform(Oscillator(1.5e-6, 40e-9)), transform(Oscillator(-0.5e-6, -25e-9))
    sent = airing(spectrum_of(tones), tx, 0.7, start=-640)  # ten periods early: the same cyclic phase, and nothing to gate
    values = plan(one_path(1e-3, 123.456e-9), tuning(rx, -0.4), [sent], list(G1))
    return dict(zip(G1, values[0]))


def g1_error(found: dict[int, complex]) -> float:
    return max(abs(found[n] - G1[n]) for n in G1) / np.abs(list(G1.values())).max()


def test_g1_two_tones_with_offsets_of_carrier_clock_and_phase():
    assert g1_error(g1()) < 2e-9  # sample 0 lies 25 ns before the epoch: an instant there steps 1.1e-16 s, 4e-9 rad of bin 23
    assert g1_error(g1(plan=tabled)) < 3e-6
    linear = g1(tones={5: 0.3, -9: 0.2j})[0]
    assert abs(linear - (1.610919226403e-4 - 4.395065542350e-4j)) < 1e-9 * abs(linear)


@pytest.mark.parametrize("plan", [exact, tabled])
def test_g2_a_fast_transmitter_is_heard_high(plan):
    constant = airing(np.ones((1, 1)), Oscillator(1e-6), start=-4096)
    ticks = np.arange(0, 3000, 10)
    heard = plan(one_path(), tuning(), [constant], ticks)[0]
    slope = np.polyfit(ticks / RATE, np.unwrap(np.angle(heard)), 1)[0] / (2 * np.pi)
    assert slope == pytest.approx(3500.0, abs=1e-5 if plan is exact else 0.05)


@pytest.mark.parametrize(("tx", "rx", "delay"), [(100e-9, 0.0, 200.0692285594e-9), (0.0, 100e-9, 0.0692285594e-9)])
def test_g3_clock_offsets_add_for_the_transmitter_and_subtract_for_the_receiver(tx, rx, delay):
    sent = airing(spectrum_of({0: 1.0, 1: 1.0}), Oscillator(0.0, tx), start=-640)
    scene = Still([Sight()], receive=[(30.0, 0.0, 0.0)])
    for plan in (exact, tabled):
        series = plan(scene, tuning(Oscillator(0.0, rx)), [sent], np.arange(64))[0]
        bins = np.fft.fft(series)
        assert np.angle(bins[1] / bins[0]) == pytest.approx(-2 * np.pi * RATE / 64 * delay, abs=1e-9 if plan is exact else 3e-6)
    if tx:
        assert -2 * np.pi * RATE / 64 * delay == pytest.approx(-0.301697288953, abs=1e-11)


@pytest.mark.parametrize("plan", [exact, tabled])
def test_g4_the_delay_of_a_fast_transmitter_shrinks(plan):
    def delay(n: int) -> float:
        one, nought = (plan(one_path(), tuning(), [airing(spectrum_of({k: 1.0}), Oscillator(10e-6), start=-640)], [n])[0, 0] for k in (1, 0))
        return -np.angle(one / nought * np.exp(-2j * np.pi * n / 64)) / (2 * np.pi) * 64

    assert delay(0) == pytest.approx(0.0, abs=1e-3)
    assert delay(1000000) == pytest.approx(-10.0, abs=1e-3)


def test_g5_direct_and_image_two_wavelengths_longer_nearly_cancel():
    direct, image = 26.182517509, 26.353827485
    height = 0.5 * math.sqrt(image**2 - direct**2)
    paths = [Sight(), Wall(ZERO, np.array([0.0, 0.0, 1.0]))]
    delay, gain = trace(paths, np.array([[0, 0, height]]), np.array([[direct, 0, height]]), WAVELENGTH)

    def h(f: float) -> complex:
        return complex((gain * np.exp(-2j * np.pi * (CARRIER + f) * delay)).sum())

    assert abs(h(0.0)) == pytest.approx(1.692273e-6, rel=1e-5)
    assert abs(h(5e6)) == pytest.approx(4.956100e-6, rel=1e-5)
    assert abs(h(-5e6)) == pytest.approx(4.956100e-6, rel=1e-5)
    assert 20 * np.log10(abs(h(0.0)) / abs(gain[0, 0, 0])) == pytest.approx(-43.7412, abs=1e-4)


def test_g6_phase_follows_the_exact_distance_of_every_element():
    def phase(element, receiver) -> float:
        delay = Sight().rays(np.array([element]), np.array([receiver]), WAVELENGTH).delay
        return float(-2 * np.pi * CARRIER * delay[0, 0, 0])

    toward = phase((1e-3, 0, 0), (10, 0, 0)) - phase((0, 0, 0), (10, 0, 0))
    assert toward == pytest.approx(0.073354575768, abs=1e-9)
    receiver = (10 * math.cos(math.pi / 3), 10 * math.sin(math.pi / 3), 0)
    along = phase((0, 0.2, 0), receiver) - phase((0, 0, 0), receiver)
    assert along == pytest.approx(12.668062431792, abs=1e-9)  # a plane wave would say 12.705385


@pytest.mark.parametrize(
    ("transmit", "receive", "target", "velocity", "doppler"),
    [
        ((0, 0, 0), (0, 0, 0), (100, 0, 0), (-10, 0, 0), 233.494866639),
        ((0, 0, 0), (0, 0, 0), (100, 0, 0), (10, 0, 0), -233.494866639),
        ((-50, 0, 0), (50, 0, 0), (0, 40, 0), (3, -8, 0), 116.690469455),
    ],
)
def test_g7_doppler_of_mono_and_bistatic_echoes(transmit, receive, target, velocity, doppler):
    def track(at: list[Instant]) -> Echo:
        return Echo(np.array([np.array(target) + instant.seconds * np.array(velocity) for instant in at]), 1e6)

    scene = Still([], [transmit], [receive], track)
    constant = airing(np.ones((1, 1)), start=-8192)
    ticks = np.arange(-2000, 2001, 40)
    for plan, allowed in ((exact, 2e-4), (tabled, 0.02)):
        heard = plan(scene, tuning(), [constant], ticks)[0]
        slope = np.polyfit(ticks / RATE, np.unwrap(np.angle(heard)), 1)[0] / (2 * np.pi)
        assert slope == pytest.approx(doppler, abs=allowed)


def test_g8_power_at_the_port_and_in_codes():
    sent = transmit_amplitude(10.0, 0.0)
    gain = abs(Sight().rays(np.zeros((1, 3)), np.array([[10.0, 0, 0]]), WAVELENGTH).gain[0, 0, 0])
    assert 20 * np.log10(gain) == pytest.approx(-63.329144, abs=1e-6)
    port = sent * gain
    assert port == pytest.approx(6.816207370e-5, rel=1e-9)
    fractions, clipped = digitise(np.full((1, 8), port, np.float32), np.zeros((1, 8), np.float32), np.array([receive_scale(-10.0, 40.0)]), 12)
    assert port * receive_scale(-10.0, 40.0) * 2048 == pytest.approx(1395.959, abs=1e-3)
    assert np.all(fractions * 2048 == 1396) and clipped == 0
    echo = Echo(np.array([0.0, 40.0, 0.0])).rays(np.array([[-50.0, 0, 0]]), np.array([[50.0, 0, 0]]), WAVELENGTH)
    assert 20 * np.log10(abs(echo.gain[0, 0, 0])) == pytest.approx(-126.576920, abs=1e-6)


def test_g9_noise_power_and_its_dependence_on_rate_and_gain():
    for rate, figure, dbm in ((15.36e6, 0.0, -102.111275), (20e6, 0.0, -100.964887), (15.36e6, 7.0, -95.111275), (20e6, 7.0, -93.964887)):
        assert 10 * np.log10(noise_power(rate, figure, 40.0) / 1e-3) == pytest.approx(dbm, abs=1e-6)
    assert noise_power(15.36e6, 7.0, 71.0) == noise_power(15.36e6, 7.0, 40.0)
    assert 10 * np.log10(noise_power(15.36e6, 7.0, 20.0) / noise_power(15.36e6, 7.0, 40.0)) == pytest.approx(10.0)


def steered(scene: Still, sign: int) -> float:
    """Amplitude at the receiver of unit power steered with conj(a) (sign -1) or a (sign +1)."""
    weights = np.exp(sign * 2j * np.pi / WAVELENGTH * np.array([-WAVELENGTH / 8, WAVELENGTH / 8])) / math.sqrt(2)
    sent = airing(np.tile(weights[:, None], (1, 4)), start=-4096)
    return float(abs(tabled(scene, tuning(), [sent], [0])[0, 0]))


def test_g11_conjugate_weights_add_and_their_conjugates_cancel():
    elements = [(-WAVELENGTH / 8, 0, 0), (WAVELENGTH / 8, 0, 0)]
    for scene in (
        Still([Sight()], elements, [(100.0, 0, 0)]),
        Still(
            [Plane(6.816207e-5, 100 / SPEED_OF_LIGHT, np.array([1.0, 0, 0]), ZERO, ZERO, np.array([100.0, 0, 0]))],
            elements,
            [(100.0, 0, 0)],
        ),
    ):
        assert steered(scene, -1) == pytest.approx(9.639573018e-5, rel=1e-5)
        assert steered(scene, +1) < 3e-8


def test_g12_carrier_phase_is_right_far_from_the_epoch():
    x, y = Oscillator(1.5e-6).error(Instant(1000000, 1e-6))
    assert y == 1.5e-6
    assert 2 * np.pi * ((CARRIER * x) % 1.0) == pytest.approx(0.032986723, abs=1e-5)


def mutated(monkeypatch, change) -> None:
    """Replace kernels.relate in the medium by one whose answer is changed."""

    def relate(*arguments):
        kernels.relate(*arguments)
        change(arguments[-1], arguments[7])

    monkeypatch.setattr(medium, "kernels", SimpleNamespace(**(vars(kernels) | {"relate": relate})))


def flip_carrier(out, rate) -> None:
    out[[0, 1, 5]] *= -1.0


def ignore_sampling(out, rate) -> None:
    out[2] -= np.cumsum(np.append(0.0, out[3, :-1] - kernels.BLOCK))
    out[3, :-1] = kernels.BLOCK
    out[2] = np.round(out[2])


def nominal_carrier(out, rate) -> None:
    out[4] = 0.0


@pytest.mark.parametrize("change", [flip_carrier, ignore_sampling, nominal_carrier])
def test_g1_would_catch(change, monkeypatch):
    assert g1_error(g1(plan=tabled)) < 3e-6
    mutated(monkeypatch, change)
    assert g1_error(g1(plan=tabled)) > 1e-3


def test_g1_would_catch_a_wrong_sign_of_the_clock_offset_or_of_the_path_phase():
    assert g1_error(g1(lambda o: Oscillator(o.constant, -o.offset))) > 0.1
    assert g1_error({n: np.conj(value) for n, value in g1().items()}) > 0.1


def test_g11_would_catch_conjugated_steering():
    mirrored = [(WAVELENGTH / 8, 0, 0), (-WAVELENGTH / 8, 0, 0)]
    assert steered(Still([Sight()], mirrored, [(100.0, 0, 0)]), -1) < 3e-8


# -- the same through radios, on cables -----------------------------------------------------------------------------------------------------

STEADY = {"severity": 0.0, "receiver": {"noise_figure_db": -1000.0, "bits": 24}}


def tone_heard(cable: Cable, waveform: np.ndarray, samples: int = 20480) -> np.ndarray:
    """(channel, sample) square-root watts at the ports."""
    cable.send(waveform)
    return cable.listen(samples).port


def test_g8_power_through_radios():
    cable = lay({"severity": 0.0, "receiver": {"noise_figure_db": -1000.0}}, (10.0,), attenuation_db=0.0, transmit={"transmit_full_scale_dbm": 10.0})
    cable.send(sum_of_tones({0: 2047 / 2048}, 64))
    capture = cable.listen(4096).capture
    assert np.abs(capture.samples).max() * 2048 == pytest.approx(1395.959 * 2047 / 2048, abs=0.75)  # whole codes of both parts
    exactly = lay(STEADY, (10.0,), attenuation_db=0.0, transmit={"transmit_full_scale_dbm": 10.0})
    port = np.abs(tone_heard(exactly, sum_of_tones({1: 0.5}, 64))).mean()
    assert 2 * port == pytest.approx(6.816207370e-5, rel=1e-6)
    assert 20 * math.log10(2 * port) + 30 == pytest.approx(-53.329144, abs=1e-5)


@pytest.mark.parametrize(("rate", "figure", "dbm"), [(15.36e6, 7.0, -95.111275), (20e6, 7.0, -93.964887), (7.68e6, 0.0, -105.121575)])
def test_g9_idle_power_through_radios(rate, figure, dbm):
    cable = lay({"severity": 0.0, "receiver": {"noise_figure_db": figure, "bits": 16}}, gain_db=50.0, rate=rate)
    count = 200_000
    power = float((np.abs(cable.listen(count).port) ** 2).mean())
    assert 10 * math.log10(power / 1e-3) == pytest.approx(dbm, abs=4 * 4.34 / math.sqrt(count))


def test_g10_compression_and_intermodulation_through_radios():
    cubic = {**STEADY, "amplifier": {"model": "cubic", "beta3_per_w": [-2.0, 0.0]}}
    point = compression(cubic, "", 0.01, 0.01)[0]
    assert point.measured == pytest.approx(17.353955, abs=0.005)
    product = intermodulation(cubic, "", 0.01, below_db=17.353955 - 10.0)[0]  # two tones of amplitude 0.1
    assert product.measured == pytest.approx(-33.441957, abs=1e-3)


def test_g11_conjugate_weights_through_radios():
    """Elements a quarter of a wavelength apart along the line to the receiver, 100 m away."""
    cable = lay(STEADY, (100.0 + WAVELENGTH / 8, 100.0 - WAVELENGTH / 8), gain_db=60.0, attenuation_db=0.0)
    steering = np.exp(2j * np.pi / WAVELENGTH * np.array([-WAVELENGTH / 8, WAVELENGTH / 8])) / math.sqrt(2)
    levels = []
    for weights in (steering.conj(), steering):
        port = tone_heard(cable, 0.5 * weights[:, None] * np.ones((2, 64)))
        levels.append(float(np.abs(port).mean()) / (0.5 * cable.amplitude()))
    assert levels[0] == pytest.approx(9.639573018e-5, rel=1e-5)
    assert levels[1] < 3e-8


def test_g12_carrier_phase_through_radios_far_from_the_epoch():
    """After 1e6 s the phase of two radios' carriers is that of their clocks, to 1e-5 rad."""
    late = one_path_line({**STEADY, "oscillator": {"class": "perfect", "spread_ppm": 2.0}}, "", 1e-9, 1e-3, 1e-3, start=Instant(1_000_000, 1e-6))[2]
    assert math.radians(abs(late.difference)) < 1e-5
