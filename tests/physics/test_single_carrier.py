"""Single carrier from symbols to symbols: pulses in closed form, frames of two devices, error rates against theory, channels that are not flat."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import sites
from scipy.special import ndtr
from synthetic import received

from hil.clock import VirtualClock
from hil.device import Capture, Setting
from hil.errors import HilError, InputError
from hil.estimate.single import judge, receive
from hil.systems.multicell import margin, slp
from hil.systems.multicell.draws import golden
from hil.waveform import Numerology, amplitude
from hil.waveform.single import PILOT, ROLL_OFF, SLOT, SPAN, SingleCarrierFrame, matched, pulse, taps
from sim_backend.world import build

GRID = Numerology(4e6, 3e6)
CARRIER = 3.5e9


def qpsk(rng, *shape):
    return np.exp(1j * np.pi / 4 * (1 + 2 * rng.integers(4, size=shape)))


def frames(payload, devices=2, power=0.1, grid=GRID):
    """One frame per device, antennas shared out among them."""
    each = len(payload) // devices
    own = [payload[d * each : (d + 1) * each] for d in range(devices)]
    powers = np.full(len(payload), power)
    return [SingleCarrierFrame(grid, d, 7, own[d], powers, d * each, seat=d, seats=devices) for d in range(devices)]


def through(sent, gains, rng, *, noise=1e-4, cfo_hz=1234.5, start=777.37, turns=3.2, delays=(0.0,), grid=GRID, offset=0.0):
    """A capture of frames that start together; gains: (antenna,) or (antenna, path)."""
    waves = np.concatenate([frame.samples() for frame in sent])
    r = received(
        waves, np.atleast_3d(gains[None]), np.array(delays), rate=grid.sample_rate_hz, carrier_hz=CARRIER, cfo_hz=cfo_hz, start=start,
        samples=int(turns * sent[0].length), rng=rng, noise=noise, phase=1.1,
    )  # fmt: skip
    return Capture.of(r + offset, rate=grid.sample_rate_hz, carrier=CARRIER)


def rayleigh(rng, *shape):
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) / np.sqrt(2)


def beam(h, symbols):
    return (h.conj() / np.linalg.norm(h) ** 2)[:, None] * symbols


# -- pulses ------------------------------------------------------------------------------------------------------------------------------


def test_the_pulse_is_the_root_of_a_raised_cosine():
    """Spectrum 1 up to (1 - a)/2, cos^2 to (1 + a)/2, nothing beyond; both removable singularities filled in."""
    time = np.arange(-4096, 4096) / 8
    spectrum = np.abs(np.fft.fft(pulse(time))) ** 2 / 64
    f = np.abs(np.fft.fftfreq(len(time), 1 / 8))
    bend = np.clip((f - (1 - ROLL_OFF) / 2) / ROLL_OFF, 0.0, 1.0)
    assert np.max(np.abs(spectrum - np.cos(np.pi / 2 * bend) ** 2)) < 2e-3
    for singular in (0.0, 1 / (4 * ROLL_OFF), -1 / (4 * ROLL_OFF)):
        around = pulse(singular + np.array([-1e-4, 1e-4]))
        assert pulse(np.array(singular)) == pytest.approx(around.mean(), abs=1e-6)


@pytest.mark.parametrize("step", [2, 4, 8])
def test_what_a_cut_pulse_leaves_between_symbols_is_below_fifty_decibels(step):
    both = np.convolve(taps(step), taps(step)) / step
    symbols = both[len(both) // 2 % step :: step]
    main = symbols.max()
    assert main == pytest.approx(1.0, abs=1e-4)
    assert 10 * np.log10((np.sum(symbols**2) - main**2) / main**2) < -50.0


def test_the_matched_filter_needs_no_interpolation():
    """Symbols at fractional sample times, pulses of three times the span: each comes back."""
    rng = np.random.default_rng(0)
    symbols, step, start = qpsk(rng, 60), 4, 200.37
    n = np.arange(700)
    away = (n[:, None] - start - step * np.arange(60)) / step
    sent = np.where(np.abs(away) < 3 * SPAN, pulse(away), 0.0) @ symbols
    got = matched(sent, start + step * np.arange(60.0), step)
    assert 10 * np.log10(np.mean(np.abs(got - symbols) ** 2)) < -50.0
    late = matched(sent, start + 0.4 + step * np.arange(60.0), step)
    assert 10 * np.log10(np.mean(np.abs(late - symbols) ** 2)) > -25.0
    assert np.all(matched(sent, np.array([-500.0, 5000.0]), step) == 0.0)


# -- frames ------------------------------------------------------------------------------------------------------------------------------


def test_a_frame_sends_what_it_is_told():
    rng = np.random.default_rng(1)
    payload = rayleigh(rng, 4, 50)
    sent = frames(payload)
    waves = np.concatenate([frame.samples() for frame in sent])
    frame = sent[0]
    assert waves.shape == (4, frame.length) and sent[1].length == frame.length
    times = frame.payload_at + 4.0 * np.arange(50)
    got = np.stack([matched(wave, times, 4) for wave in waves])
    assert 10 * np.log10(np.mean(np.abs(got - payload) ** 2)) < -50.0
    for place in range(9):  # two rounds, each slot one antenna's, then nobody's
        at = frame.silence_at if place == 8 else frame.slot_at(place % 4, place // 4)
        power = np.mean(np.abs(waves[:, at : at + 4 * PILOT]) ** 2, axis=-1)
        assert np.allclose(power, 0.1 * (np.arange(4) == (place % 4 if place < 8 else 9)), rtol=1e-3, atol=1e-6)
    for d in range(2):  # one preamble after the other
        power = np.mean(np.abs(waves[:, 274 * d : 274 * (d + 1)]) ** 2, axis=-1)
        assert np.allclose(power, 0.1 * np.repeat(np.arange(2) == d, 2), rtol=0.02)
    assert frame.slot_at(1) - frame.slot_at(0) == SLOT * 4
    assert frame.symbol_rate_hz == 1e6 and frame.occupied_hz == 1.25e6


def test_nothing_leaves_the_band_of_the_pulses():
    frame = frames(qpsk(np.random.default_rng(1), 1, 400), devices=1)[0]
    body = frame.samples()[0, 2 * GRID.symbol_samples :]
    spectrum = np.abs(np.fft.fft(body)) ** 2
    outside = np.abs(np.fft.fftfreq(len(body), 1 / 4e6)) > 0.5 * frame.occupied_hz * 1.02
    assert 10 * np.log10(spectrum[outside].sum() / spectrum.sum()) < -45.0


def test_crest_and_clipping_are_those_of_what_is_sent():
    payload = qpsk(np.random.default_rng(1), 2, 300)
    frame = frames(np.concatenate([payload, np.zeros((1, 300))]), devices=1)[0]
    crest = frame.crest_db()
    assert np.all((crest[:2] > 3.0) & (crest[:2] < 7.0)) and crest[2] == 0.0
    top = 10 ** (crest / 20)
    assert np.array_equal(frame.clipped(1.01 * top), np.zeros(3))
    shares = [frame.clipped(level)[0] for level in (0.9, 1.1, 1.3)]
    assert 1.0 > shares[0] > shares[1] > shares[2] > 0.0


@pytest.mark.parametrize("change", [
    {"payload": np.ones(4)}, {"payload": np.full((2, 4), np.nan)}, {"payload": np.zeros((2, 0))}, {"pilot_power_w": [0.1, 0.0]},
    {"pilot_power_w": [0.1]}, {"first_slot": 1}, {"first_slot": -1}, {"rounds": 0}, {"seat": 1}, {"samples_per_symbol": 1},
])  # fmt: skip
def test_frames_that_cannot_be_are_refused(change):
    good = SingleCarrierFrame(GRID, 0, 1, np.ones((2, 4)), np.full(2, 0.1))
    with pytest.raises(InputError):
        replace(good, **change)


# -- reception -----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("grid,cfo_hz,start", [(GRID, 0.0, 12.5), (GRID, -31234.5, 4000.9), (Numerology(3.84e6, 2.88e6), 2345.6, 777.37)])
def test_symbols_and_every_antennas_channel_come_back(grid, cfo_hz, start):
    rng = np.random.default_rng(2)
    h, s = rayleigh(rng, 4), qpsk(rng, 200)
    sent = frames(beam(h, s), grid=grid)
    noise = 4e-4  # per sample: a quarter of it per symbol
    got = receive(through(sent, h, rng, noise=noise, cfo_hz=cfo_hz, start=start, grid=grid), sent[1], expected=3.0 * h)
    assert got.cfo_hz == pytest.approx(cfo_hz, abs=3.0)
    assert (got.start - start + 100) % sent[0].length - 100 == pytest.approx(0.0, abs=0.02)
    assert np.all(np.abs(got.sounded - h) < 5 * np.sqrt(got.sounded_variance) + 2e-3)
    assert got.noise == pytest.approx(noise / 4, rel=0.25)
    assert got.symbols.shape[0] in (2, 3)
    verdict = judge(got, s)
    assert 10 * np.log10(verdict.sinr) == pytest.approx(40.0, abs=0.7)
    assert verdict.errors.errors == 0 and verdict.floor < 1e-4
    assert verdict.margin * np.sqrt(got.noise) == pytest.approx(1.0, abs=0.03)
    assert got.ripple_db < 0.1 and got.dispersion < 1e-4


def test_error_rate_is_that_of_theory():
    """Two phases of noise at 7 dB: 1 - (1 - Q(sqrt snr))^2, channel, carrier, timing and phase all estimated."""
    rng = np.random.default_rng(3)
    h, s = rayleigh(rng, 4), qpsk(rng, 2000)
    sent = frames(beam(h, s), power=1.0)
    snr = 10**0.7
    wrong, of, sinr = 0, 0, []
    for _ in range(2):
        got = receive(through(sent, h, rng, noise=4 / snr, turns=4.2), sent[0], expected=h, most_ripple_db=None)
        verdict = judge(got, s)
        wrong, of = wrong + verdict.errors.errors, of + verdict.errors.of
        sinr.append(verdict.sinr)
    theory = 1.0 - (1.0 - ndtr(-np.sqrt(snr))) ** 2
    assert wrong / of == pytest.approx(theory, rel=0.15)
    assert np.mean(sinr) == pytest.approx(snr, rel=0.05)


def test_without_a_channel_to_agree_with_symbols_keep_the_phase_of_what_is_sounded():
    rng = np.random.default_rng(4)
    h, x = rayleigh(rng, 4), rayleigh(rng, 4, 60)
    sent = frames(x)
    got = receive(through(sent, h, rng, noise=1e-6), sent[0])
    assert got.turned == 0.0 and abs(np.angle(np.vdot(h, got.sounded))) > 0.1
    assert np.allclose(got.symbols, got.sounded @ x, atol=0.02)


def test_a_receivers_dc_is_taken_out_and_a_payloads_mean_is_not():
    rng = np.random.default_rng(5)
    h = rayleigh(rng, 2)
    s = np.tile(qpsk(rng, 3), 60)
    s[::2] = s[0]  # a payload whose mean is large
    sent = frames(beam(h, s), devices=1)
    for cfo_hz in (0.0, 800.0):
        got = receive(through(sent, h, rng, noise=1e-5, cfo_hz=cfo_hz, offset=0.1 - 0.05j), sent[0], expected=h)
        assert 10 * np.log10(judge(got, s).sinr) > 45.0


def test_an_oscillator_that_wanders_between_turns_is_followed():
    rng = np.random.default_rng(6)
    h, s = rayleigh(rng, 2), qpsk(rng, 100)
    sent = frames(beam(h, s), devices=1)
    still = through(sent, h, rng, turns=6.2, noise=1e-5)
    t = np.arange(still.samples.shape[1]) / still.samples.shape[1]
    wandering = replace(still, samples=(still.samples * np.exp(0.6j * np.sin(2 * np.pi * t))).astype(np.complex64))
    got = receive(wandering, sent[0], expected=h)
    assert np.ptp(got.phases) > 0.4
    assert 10 * np.log10(judge(got, s).sinr) > 20.0


def test_a_channel_that_is_not_flat_is_refused_or_reported():
    rng = np.random.default_rng(7)
    s = qpsk(rng, 100)
    h = rayleigh(rng, 4)
    sent = frames(beam(h, s))
    near, far = np.stack([h, 0.1 * rayleigh(rng, 4)], 1), np.stack([h, 0.6 * h], 1)
    flat = receive(through(sent, near, rng, delays=(0.0, 40e-9)), sent[0])
    assert flat.ripple_db < 0.3
    capture = through(sent, far, rng, delays=(0.0, 0.6e-6))
    with pytest.raises(HilError, match="one complex gain") as refused:
        receive(capture, sent[0])
    assert refused.value.id == "channel-not-flat"
    got = receive(capture, sent[0], most_ripple_db=None)
    f = np.linspace(-0.55e6, 0.55e6, 50)
    power = 20 * np.log10(np.abs(1 + 0.6 * np.exp(-2j * np.pi * f * 0.6e-6)))
    assert got.ripple_db == pytest.approx(np.max(np.abs(power - 10 * np.log10(np.mean(10 ** (power / 10))))), abs=1.0)
    assert got.dispersion > 0.015 and judge(got, s).sinr < 1.5 / got.dispersion


def test_captures_that_cannot_be_used_are_refused():
    rng = np.random.default_rng(8)
    h, s = rayleigh(rng, 2), qpsk(rng, 50)
    sent = frames(beam(h, s), devices=1)
    heard = through(sent, h, rng)
    with pytest.raises(InputError, match="one gain per slot"):
        receive(heard, sent[0], expected=h[:1])
    with pytest.raises(InputError, match="one that was meant"):
        judge(receive(heard, sent[0]), s[:-1])
    noise = Capture.of(rayleigh(rng, 3 * sent[0].length), rate=4e6, carrier=CARRIER)
    with pytest.raises(HilError) as nothing:
        receive(noise, sent[0])
    assert nothing.value.id == "no-preamble"
    long = frames(beam(h, qpsk(rng, 900)), devices=1)
    with pytest.raises(HilError) as short:
        receive(through(long, h, rng, turns=1.1, start=0.3 * long[0].length), long[0])
    assert short.value.id == "capture-short"
    with pytest.raises(HilError) as over:
        receive(replace(through(sent, h, rng), clipped=0.2), sent[0])
    assert over.value.id == "capture-clipped"


def test_a_symbol_level_design_arrives_as_deep_in_its_regions_as_it_was_designed():
    rng = np.random.default_rng(9)
    problem = replace(golden(), length=8).with_payload(rng)
    answer = slp.design(problem, "comp", 30.0, steps=3)
    sent = frames(np.tile(answer.waveform.reshape(8, 8), 6), power=10.0)
    designed = margin.margins(problem.nominal(), answer.waveform, "comp")
    for user in (0, 3):
        capture = through(sent, problem.stacked[user], rng, noise=4.0)
        got = receive(capture, sent[problem.cells[user]], expected=problem.stacked[user])
        verdict = judge(got, np.tile(problem.payload[user], 6), problem.psi)
        assert got.noise == pytest.approx(1.0, rel=0.3)
        measured = verdict.margins.reshape(6, 8).mean(axis=0) * np.sqrt(got.noise)
        assert np.allclose(measured, designed[user], atol=4.0 * verdict.margin_std)
        assert verdict.errors.errors == 0
        assert verdict.slp_sinr > 0.3 * answer.sinr[user]


def test_on_the_emulated_bench_what_was_sounded_carries_a_beam():
    """Oscillators, converters and paths of an independent emulator: sounded without a design, then a beam made of what was heard."""
    clock, grid, rng = VirtualClock(), Numerology(15.36e6, 11.52e6), np.random.default_rng(10)
    world = build(sites.trial(seed=3, target=False), clock)
    ap, user = world.radio("ap1"), world.radio("u1")
    user.configure(Setting(sites.CARRIER, grid.sample_rate_hz, (40.0,), ()))
    scale = float(amplitude.receive_scale(user.capability, 40.0))
    power = np.full(4, 1e-6)

    def heard(payload, version, **options):
        frame = SingleCarrierFrame(grid, 0, version, payload, power, samples_per_symbol=16)
        samples = frame.samples()
        attenuation = amplitude.choose_attenuation(samples, ap.capability)
        ap.configure(Setting(sites.CARRIER, grid.sample_rate_hz, (40.0,) * 4, (attenuation,) * 4))
        ap.load(version, amplitude.to_fractions(samples, ap.capability, attenuation))
        ap.apply(version)
        clock.sleep(5e-3)
        return receive(user.capture(4 * frame.length, 1.0), frame, **options)

    s = qpsk(rng, 200)
    sounded = heard(np.sqrt(power[0]) * rayleigh(rng, 4, 40), 1, most_ripple_db=None)
    f = np.linspace(-0.4e6, 0.4e6, 9)
    truth = world.truth.channel("ap1", "u1", f).transpose(1, 0, 2).reshape(-1, 9, 4).mean(axis=1)[0]
    h = scale * sounded.sounded
    assert abs(np.vdot(truth, h)) / np.linalg.norm(truth) / np.linalg.norm(h) > 0.999
    assert np.linalg.norm(h) == pytest.approx(np.linalg.norm(truth), rel=0.02)
    x = np.sqrt(4e-6) * beam(h, s) * np.linalg.norm(h)
    got = heard(x, 2, expected=sounded.sounded, most_ripple_db=None)
    verdict = judge(got, s)
    assert verdict.errors.errors == 0 and verdict.margin > 0.0
    assert scale * np.abs(np.mean(got.symbols * np.conj(s))) == pytest.approx(np.sqrt(4e-6) * np.linalg.norm(h), rel=0.02)
    assert got.noise * scale**2 == pytest.approx(world.truth.noise_power("u1")[0] / 16, rel=0.3)
