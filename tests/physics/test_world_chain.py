"""The chains of the emulated devices between codes and antenna: what each imperfection does, where it falls, and what stays."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sites import CARRIER, QUIET, RATE, airing, at_port, configure, error_db, pair, radio, running, site, trial, waveform

from hil.clock import VirtualClock
from hil.device import Setting
from sim_backend import receive, transmit
from sim_backend.kernels import BLOCK
from sim_backend.oscillator import Oscillator
from sim_backend.settings import Emulated
from sim_backend.transmit import Chains
from sim_backend.world import build

N = 4096
BIN = RATE / N
ALL = {"severity": 1.0, "oscillator": {"spread_ppm": 3.0}}
STEADY = {"a": Oscillator(), "b": Oscillator()}


def tone(k: int, amplitude: float = 0.5, channels: int = 1) -> np.ndarray:
    return np.tile(amplitude * np.exp(2j * np.pi * k * np.arange(N) / N), (channels, 1)).astype(np.complex64)


def heard(emulated: dict, samples: np.ndarray, oscillators: dict | None = None, count: int = N, **setting: float):
    """Spectrum in fractions of full scale, (channel, bin), of a capture in a quiet bench of one link; and the bench."""
    plan = pair({"receiver": QUIET | emulated.pop("receiver", {}), **emulated}, transmit=samples.shape[0], receive=1)
    world = running(plan, {"a": samples}, oscillators=oscillators or STEADY, **setting)
    capture = world.radio("b").capture(count, 1.0)
    return np.fft.fft(capture.samples, axis=1, norm="forward"), world


def db(ratio: float) -> float:
    return 20 * math.log10(abs(ratio))


def test_an_ideal_chain_changes_no_bit():
    world = running(trial(1, {"receiver": QUIET}), {"ap1": waveform(np.random.default_rng(0), 4, 999)})
    (sent,) = world.airings()
    k = np.arange(-499, 500)
    old = (sent.program.spectrum[:, k] * sent.amplitude[:, None]).astype(np.complex64)
    assert np.array_equal(sent.spectrum[:, k], old)
    assert not sent.spectrum[:, 500:-499].any() and sent.spectrum.shape == (4, 4 * 999)
    ideal = world.front("u1", (40.0,))
    assert ideal.small_signal == 1.0 and not ideal.offsets(0, 10, RATE).any() and not ideal.image.any()


def test_image_of_a_tenth_of_a_decibel_and_half_a_degree():
    imbalance = 10 ** (0.1 / 20) * np.exp(1j * np.radians(0.5))
    image = np.array([(1 - imbalance) / (1 + imbalance)])
    chains = Chains(image, np.zeros(1), np.ones(1, complex))
    assert chains.direct[0] == pytest.approx((1 + imbalance) / 2) and chains.mirrored[0] == pytest.approx((1 - imbalance) / 2)
    x = tone(300)
    z = airing(x.astype(complex), chains=chains).spectrum[0]
    assert db(z[-300] / z[300]) == pytest.approx(-42.8, abs=0.05)
    by_hand = x[0].real + imbalance * 1j * x[0].imag  # Q scaled and turned
    assert np.fft.fft(by_hand, norm="forward")[[300, -300]] == pytest.approx(z[[300, -300]], rel=1e-4)


def test_the_transmitters_image_and_leakage_turn_with_the_carrier_and_the_receivers_do_not():
    """Tone at +f, carriers cfo apart: transmitter's image at -f + cfo, its leakage at cfo; receiver's image at -(f + cfo), its DC at 0."""
    f, cfo = 500, 64
    fast = {"a": Oscillator(cfo * BIN / CARRIER), "b": Oscillator()}
    own = {"iq_image_dbc": -40.0, "leakage_dbc": -35.0}
    bins, _ = heard({"transmitter": own, "receiver": {"iq_image_dbc": -45.0, "dc_dbfs": -55.0}}, tone(f), fast, gain=50.0)
    y = np.abs(bins[0] - 0.5 * (np.roll(bins[0], 1) + np.roll(bins[0], -1)))  # a Hann window: the clocks differ as the carriers do
    at = {name: y[k] for name, k in {"tone": f + cfo, "tx image": cfo - f, "leak": cfo, "rx image": -f - cfo, "dc": 0}.items()}
    assert db(at["tx image"] / at["tone"]) == pytest.approx(-40.0, abs=0.1)
    assert db(at["leak"] / at["tone"]) == pytest.approx(-35.0 + 6.02, abs=0.15)  # the tone is 6 dB below full scale
    assert db(at["rx image"] / at["tone"]) == pytest.approx(-45.0, abs=0.1)
    assert db(at["dc"]) == pytest.approx(-55.0, abs=1.8)  # it wanders
    known = np.array([f + cfo, cfo - f, cfo, -f - cfo, 0, f - cfo, -cfo])  # the last two: images of images
    others = np.delete(y, np.unique((known[:, None] + np.arange(-4, 5)) % N))
    assert others.max() < 3e-4 * at["tone"]
    assert y[-cfo] < 0.02 * at["leak"] and y[-f] < 0.02 * at["tx image"]


def test_leakage_passes_the_attenuator_and_is_there_without_a_signal():
    own = {"transmitter": {"leakage_dbc": -30.0}}
    levels = [abs(heard(dict(own), np.zeros((1, N), np.complex64), attenuation=a, gain=60.0)[0][0, 0]) for a in (0.0, 20.0)]
    assert db(levels[1] / levels[0]) == pytest.approx(-20.0, abs=0.02)
    _, world = heard(dict(own), np.zeros((1, N), np.complex64), attenuation=0.0)
    assert world.truth.output_dbm("a") == pytest.approx([7.0 - 30.0], abs=1e-4)
    before = world.airings()[-1].chains.leakage
    world.radio("a").apply(1)
    assert np.array_equal(world.airings()[-1].chains.leakage, before)
    world.radio("a").configure(Setting(CARRIER + 1e6, RATE, (), (0.0,)))
    world.radio("a").apply(1)
    assert not np.allclose(world.airings()[-1].chains.leakage, before)  # a phase of its own at every tuning


def two_tones(amplitude: float, channels: int = 1) -> np.ndarray:
    return tone(300, amplitude, channels) + tone(420, amplitude, channels)


def test_the_attenuator_stands_before_the_amplifier():
    """6 dB less drive: third-order products fall 18 dB, against the tones 12; behind the amplifier they would fall with the tones."""
    amp = {"amplifier": {"model": "cubic", "saturation_dbm": 15.0}}
    ratios = []
    for attenuation in (0.0, 6.0):
        z = heard(dict(amp), two_tones(0.45), attenuation=attenuation, gain=20.0)[1].airings()[-1].spectrum[0]
        ratios.append(db(z[540] / z[420]))
    assert ratios[1] - ratios[0] == pytest.approx(-12.0, abs=0.3)


def test_the_amplifier_stands_before_the_air():
    """A tone from each of two antennas: no amplifier ever sees both, so nothing is made of the pair, however strong they meet."""
    apart = np.concatenate([tone(300, 0.45), tone(420, 0.45)])
    amp = {"amplifier": {"model": "cubic", "saturation_dbm": 10.0}}
    alone = heard(dict(amp), apart, attenuation=0.0, gain=40.0)[0][0]
    both = heard(dict(amp), two_tones(0.45, 2), attenuation=0.0, gain=40.0)[0][0]
    assert db(alone[540] / alone[420]) < -90.0
    assert db(both[540] / both[420]) > -40.0


def test_power_is_that_of_the_mean_at_the_antenna_port():
    _, world = heard({}, two_tones(0.25), attenuation=10.0)
    assert world.truth.output_dbm("a") == pytest.approx([7.0 - 10.0 + 10 * math.log10(2 * 0.25**2)], abs=2e-3)  # 12-bit codes
    _, world = heard({"amplifier": {"gain_db": 12.0, "saturation_dbm": 60.0}}, tone(5, 0.999), attenuation=0.0)
    assert world.truth.output_dbm("a") == pytest.approx([19.0], abs=0.01)
    world.radio("a").mute()
    assert world.truth.output_dbm("a") == [-math.inf]
    _, world = heard({"amplifier": {"saturation_dbm": 0.0, "model": "rapp"}}, tone(5, 0.999), attenuation=0.0)
    u = 10**0.7
    assert world.truth.output_dbm("a") == pytest.approx([10 * math.log10(u / math.sqrt(1 + u**2))], abs=0.01)


def test_g8_ten_dbm_over_ten_metres_in_codes():
    """From the codes of one device to those of the other: -3.329144 dBFS, 1395.959 codes; a gain that is 0.2 dB off would show."""
    radios = [radio("a", 1, 0, [0.0, 0.0, 1.0], transmit_full_scale_dbm=10.0), radio("b", 0, 1, [10.0, 0.0, 1.0])]
    emulated = {"room": {"scatterers": 0}, "receiver": {"noise_figure_db": -1000.0, "bits": 12}}
    constant = np.full((1, 64), 2047 / 2048, np.complex64)
    world = running(site(radios, emulated=emulated), {"a": constant}, oscillators=STEADY, attenuation=0.0, gain=40.0)
    samples = world.radio("b").capture(5000, 1.0).samples
    assert np.abs(samples).mean() * 2048 == pytest.approx(1395.959 * 2047 / 2048, abs=0.8)  # rounded to whole codes
    assert db(np.abs(samples).mean() * 2048 / 2047) == pytest.approx(-3.329144, abs=0.006)


def test_received_power_comes_out_in_codes_through_the_real_gain():
    bins, world = heard({"receiver": {"gain_error_db": 1.0, "chain_db": 3.0, "chain_phase": "uniform"}}, tone(77), gain=45.0)
    h = world.truth.channel("a", "b", np.array([77 * BIN]))[0, 0, 0]
    sent, tuned = world.airings()[-1], world.truth.windows("b")[-1]
    port = h * 0.5 * sent.amplitude[0] / math.sqrt(1e-3 * 10 ** ((-10.0 - 45.0) / 10))
    turn = np.exp(2j * np.pi * (77 * (tuned[1] - sent.first_tick) / N + sent.phase - tuned[0].phase))
    assert bins[0, 77] == pytest.approx(port * turn, rel=3e-5)


@pytest.mark.parametrize("severity", [1.0, 2.0])
def test_the_channel_of_the_truth_is_that_of_the_whole_chain(severity):
    """y = H x in nominal units, with chain gains, delays and gain errors of both ends and images off, to -100 dB."""
    off = {"iq_image_dbc": -300.0}
    emulated = {
        "severity": severity, "oscillator": {"phase_noise_deg": 0.0}, "amplifier": {"model": "linear", "gain_db": 3.0},
        "transmitter": off | {"leakage_dbc": -300.0}, "receiver": QUIET | off | {"dc_dbfs": -300.0}, "room": {"scatterers": 3},
    }  # fmt: skip
    k, columns = 37, []
    for element in range(2):
        x = np.zeros((2, 512), np.complex64)
        x[element] = 0.5 * np.exp(2j * np.pi * k * np.arange(512) / 512)
        world = running(pair(emulated), {"a": x}, oscillators=STEADY)
        capture = world.radio("b").capture(512, 1.0)
        tuned, first, _ = world.truth.windows("b")[-1]
        sent = world.airings()[-1]
        turn = np.exp(2j * np.pi * (k * (first + np.arange(512) - sent.first_tick) / 512 + sent.phase - tuned.phase))
        nominal = math.sqrt(1e-3 * 10 ** ((-10.0 - 40.0) / 10))
        columns.append(capture.samples / turn @ np.full(512, nominal / 512 / (0.5 * sent.amplitude[element])))
    h = world.truth.channel("a", "b", np.array([k * RATE / 512]))[0]
    assert error_db(np.array(columns).T, h) < -95.0  # 24-bit codes
    bare = world.truth.rays("a", "b").gain.sum(axis=0)
    assert error_db(bare, h) > -20.0
    assert world.truth.chain("a", "transmit").shape == (2,) and np.abs(world.truth.chain("a", "transmit")) == pytest.approx(1.41, rel=0.4)


def test_chain_errors_are_half_a_decibel_rms_with_any_phase_and_stay():
    channels = np.arange(64)
    emulated = Emulated.parse({"severity": 1.0})
    fixed = np.concatenate([transmit.chain_gain(emulated.transmitter.chain, 1, f"r{i}", "transmit", channels) for i in range(10)])
    assert np.std(20 * np.log10(np.abs(fixed))) == pytest.approx(0.5, abs=0.04)
    assert abs(np.mean(fixed / np.abs(fixed))) < 0.1
    late = transmit.chain_delay(emulated.receiver.chain, 1, "r", "receive", np.arange(400))
    assert np.abs(late).max() < 50e-12 and np.std(late) == pytest.approx(50e-12 / math.sqrt(3), rel=0.1)
    small = Emulated.parse({"transmitter": {"chain_phase": 5.0}}).transmitter.chain
    assert np.std(np.angle(transmit.chain_gain(small, 1, "r", "transmit", np.arange(600)))) == pytest.approx(np.radians(5.0), rel=0.1)

    world = build(pair(ALL), VirtualClock())
    configure(world)
    first = world.truth.chain("a", "transmit"), world.truth.chain("b", "receive")
    configure(world, carrier=CARRIER + 5e6)
    assert np.array_equal(first[0], world.truth.chain("a", "transmit")) and np.array_equal(first[1], world.truth.chain("b", "receive"))
    assert not np.allclose(first[0][0], first[0][1], rtol=1e-3)
    other = build(pair(ALL | {"seed": 2}), VirtualClock())
    configure(other)
    assert not np.allclose(first[0], other.truth.chain("a", "transmit"), rtol=1e-2)


def test_steps_of_attenuator_and_gain_are_a_little_off_always_the_same():
    emulated = Emulated.parse({"severity": 1.0, "transmitter": {"chain_db": 0.0, "chain_phase": 0.0}, "receiver": {"chain_db": 0.0}})
    steps = np.arange(0.0, 60.0, 0.25)
    gain = np.array([transmit.draw(emulated, "a", np.arange(1), (a,), 0).gain[0] for a in steps])
    error = 20 * np.log10(np.abs(gain))
    assert np.abs(error).max() <= 0.05 and np.std(error) == pytest.approx(0.05 / math.sqrt(3), rel=0.15)
    again = transmit.draw(emulated, "a", np.arange(1), (steps[7],), 99).gain[0]
    assert again == gain[7]
    turned = np.degrees(np.unwrap(np.angle(gain)))
    slopes = np.diff(turned) / np.diff(steps) * 10
    assert slopes == pytest.approx(slopes[0]) and 0.0 < abs(slopes[0]) <= 3.0
    settings = np.arange(0.0, 71.0)
    front = np.array([abs(receive.draw(emulated, "a", -10.0, (g,)).gain[0]) for g in settings])
    assert np.abs(20 * np.log10(front)).max() <= 0.2 and np.std(20 * np.log10(front)) == pytest.approx(0.2 / math.sqrt(3), rel=0.25)


def test_a_receive_chain_is_gain_then_image_then_dc_then_codes():
    front = receive.draw(Emulated.parse({"severity": 1.0, "receiver": {"iq_image_dbc": -20.0, "dc_dbfs": -20.0}}), "a", -10.0, (40.0, 30.0))
    rng = np.random.default_rng(0)
    re, im = rng.standard_normal((2, 2, 3 * BLOCK)).astype(np.float32) * 1e-5
    out, _ = front.digitise(re, im, 9 * BLOCK, RATE, 24, 100, 2 * BLOCK)
    v = (front.scale * front.gain)[:, None] * (re + 1j * im)
    y = (v + front.image[:, None] * np.conj(v)) / (1.0 + front.image[:, None]) + np.repeat(front.offsets(9 * BLOCK, 3, RATE), BLOCK, axis=1)
    assert error_db(out, y[:, 100 : 100 + 2 * BLOCK]) < -115.0


def test_dc_wanders_slowly_around_its_level():
    front = receive.draw(Emulated.parse({"severity": 1.0}), "a", -10.0, (40.0, 40.0))
    hours = np.concatenate([front.offsets(int(t * RATE) // BLOCK * BLOCK, 1, RATE) for t in range(0, 600, 2)], axis=1)
    level = 20 * np.log10(np.abs(hours))
    assert -53.1 < level.min() < level.max() < -47.7 and np.ptp(level) > 0.5
    near = front.offsets(0, 100, RATE)
    assert np.abs(np.diff(near, axis=1)).max() < 1e-6 * np.abs(near).max() * 100
    assert np.array_equal(front.offsets(7 * BLOCK, 5, RATE), front.offsets(0, 12, RATE)[:, 7:])
    assert not np.allclose(hours[0], hours[1])


def test_third_order_intercept_of_a_front_end():
    """Two tones of power P each: products lie 2 (IIP3 - P) below them."""
    n = np.arange(BLOCK)
    p_dbm, iip3 = -30.0, -10.0
    port = math.sqrt(1e-3 * 10 ** (p_dbm / 10)) * (np.exp(2j * np.pi * 50 * n / BLOCK) + np.exp(2j * np.pi * 80 * n / BLOCK))[None]
    plain = Emulated.parse({"severity": 0.0, "receiver": {"iip3_dbm": iip3}})
    front = receive.draw(plain, "a", -10.0, (0.0,))
    out, clipped = front.digitise(port.real.astype(np.float32), port.imag.astype(np.float32), 0, RATE, 24, 0, BLOCK)
    y = np.abs(np.fft.fft(out[0], norm="forward"))
    assert clipped == 0 and db(y[110] / y[80]) == pytest.approx(-2 * (iip3 - p_dbm), abs=0.3)
    assert db(y[20] / y[50]) == pytest.approx(-40.0, abs=0.3)


def test_compression_is_that_of_the_noisy_port_and_counts_for_every_cut():
    plain = Emulated.parse({"severity": 1.0, "receiver": {"iip3_dbm": -20.0}})
    front = receive.draw(plain, "a", -10.0, (10.0, 20.0))
    re, im = np.random.default_rng(0).standard_normal((2, 2, 8 * BLOCK)).astype(np.float32) * 3e-3
    whole, clipped = front.digitise(re, im, 5 * BLOCK, RATE, 24, 0, 8 * BLOCK)
    part, _ = front.digitise(re, im, 5 * BLOCK, RATE, 24, 2500, 3000)
    assert np.array_equal(whole[:, 2500:5500], part) and clipped > 0


def test_everything_at_once_is_the_same_however_it_is_cut():
    world = running(trial(3, ALL), {"ap1": waveform(np.random.default_rng(1), 4, 1000), "ap2": waveform(np.random.default_rng(2), 4, 800)})
    for name in ("u1", "sense1"):
        capture = world.radio(name).capture(9000, 1.0).samples
        tuned, first, count = world.truth.windows(name)[-1]
        pieces = [world.samples(tuned, first + at, 1800)[0] for at in (7200, 0, 3600, 5400, 1800)]
        assert np.array_equal(capture, np.concatenate([pieces[i] for i in (1, 4, 2, 3, 0)], axis=1))
        assert np.array_equal(capture, world.samples(tuned, first, count)[0])


@pytest.mark.parametrize(
    ("model", "phase_noise", "bar"), [("rapp", 0.0, -110.0), ("cubic", 0.0, -110.0), ("saleh", 0.0, -110.0), ("rapp", 0.45, -70.0)]
)
def test_everything_at_once_against_the_reference(model, phase_noise, bar):
    """Image, leakage, attenuator, chain, amplifier near saturation, delays, oscillators. With phase noise, whose share of an echo the
    fast medium takes at the delay of the first path: over 30 ns it turns by 1.6 mrad, -56 dB of the echo."""
    rng = np.random.default_rng(5)
    emulated = {
        "severity": 2.0, "receiver": {"noise_figure_db": -1000.0, "bits": 24}, "amplifier": {"model": model, "saturation_dbm": 12.0},
        "oscillator": {"phase_noise_deg": phase_noise},
    }  # fmt: skip
    world = running(trial(5, emulated, target=False), {"ap1": waveform(rng, 4, 700), "ap2": waveform(rng, 4, 512)}, attenuation=0.0)
    assert not np.array_equal(world.airings()[0].spectrum[:, :300], world.airings()[0].program.spectrum[:, :300])
    for name in ("u1", "sense1"):
        world.radio(name).capture(8192, 1.0)
        tuned, first, samples = world.truth.windows(name)[-1]
        ticks = np.sort(first + rng.choice(samples, 25, replace=False))
        error = error_db(at_port(world, tuned, ticks), world.truth.heard(tuned, ticks))
        assert error < bar


def test_codes_that_saturate_are_on_the_air_as_codes():
    loud = tone(3, 1.0)
    loud[0, 100:200] = 1.0 + 1.0j
    _, world = heard({"receiver": {"bits": 12}}, loud, attenuation=10.0)
    program = world.airings()[-1].program
    assert program.saturated >= 100 and program.codes[0, 150] == 2047 + 2047j
    z = np.fft.ifft(world.airings()[-1].spectrum[0], norm="forward")[::4]
    assert z[150] == pytest.approx((2047 + 2047j) / 2048 * math.sqrt(1e-3 * 10**-0.3), rel=1e-3)


def test_a_radio_without_antennas_has_no_chains_to_speak_of():
    world = build(site([radio("a", 1, 1, [0.0, 0.0, 0.0]) | {"antennas": []}], emulated=ALL), VirtualClock())
    configure(world)
    world.radio("a").load(1, tone(3))
    world.radio("a").apply(1)
    assert world.truth.output_dbm("a").size == 0 and world.radio("a").capture(100, 1.0).samples.shape == (1, 100)
