"""The estimators on the emulated bench: an independent implementation of the physics, oscillators and converters included."""

from __future__ import annotations

import numpy as np
import pytest
import sites

from hil.clock import VirtualClock
from hil.device import Setting
from hil.estimate import carrier, channel, marks, noise, quality
from hil.waveform import MeasuringFrame, Numerology, SoundingFrame, amplitude
from sim_backend.world import build

GRID = Numerology(15.36e6, 11.52e6)
POWER = 1e-5  # watts per element, -20 dBm
GAIN = 40.0
USERS = {"u1": "ap1", "u2": "ap2"}


@pytest.fixture(scope="module")
def bench():
    """Two access points, two users, no target; every channel sounded, one access point at a time."""
    clock = VirtualClock()
    world = build(sites.trial(seed=3, target=False), clock)
    radios = {name: world.radio(name) for name in ("ap1", "ap2", "u1", "u2")}
    for name in USERS:
        radios[name].configure(Setting(sites.CARRIER, sites.RATE, (GAIN,), ()))
    scale = float(amplitude.receive_scale(radios["u1"].capability, GAIN))
    idle = {name: noise.idle(radios[name].capture(31236, 1.0), GRID, scale=scale) for name in USERS}
    heard, truth = {}, {}
    for device, name in enumerate(("ap1", "ap2")):
        frame = SoundingFrame(GRID, device, 1, 4, POWER)
        transmit(radios[name], frame, 1)
        clock.sleep(5e-3)
        for user in USERS:
            capture = radios[user].capture(2 * frame.length + GRID.symbol_samples, 1.0)
            fit = carrier.refine(capture, frame, carrier.acquire(capture, frame))
            heard[name, user] = fit, channel.estimate(capture, frame, fit, scale=scale), marks.check(capture, frame, fit, range(4)).version
            middle = capture.clock.after(fit.centre_s) if capture.clock else clock.now()
            fast = [world.truth.oscillator(radio, middle)[1] for radio in (name, user)]
            truth[name, user] = world.truth.channel(name, user, GRID.frequencies_hz).transpose(1, 0, 2), sites.CARRIER * (fast[0] - fast[1])
        radios[name].mute()
    return clock, world, radios, scale, idle, heard, truth


def transmit(radio, frame, version):
    samples = frame.samples()
    attenuation = amplitude.choose_attenuation(samples, radio.capability)
    radio.configure(Setting(sites.CARRIER, sites.RATE, (GAIN,) * 4, (attenuation,) * 4))
    radio.load(version, amplitude.to_fractions(samples, radio.capability, attenuation))
    radio.apply(version)


def aligned(value, truth):
    """`value` with the one delay and phase per link taken out that no receiver can know."""
    delays = np.linspace(-150e-9, 350e-9, 2001)
    match = np.array([np.sum(truth.conj() * value * np.exp(-2j * np.pi * GRID.frequencies_hz * d)[:, None]) for d in delays])
    best = int(np.argmax(np.abs(match)))
    return value * np.exp(-2j * np.pi * GRID.frequencies_hz * delays[best])[:, None] * np.conj(match[best]) / abs(match[best])


@pytest.mark.parametrize("link", [("ap1", "u1"), ("ap1", "u2"), ("ap2", "u1"), ("ap2", "u2")])
def test_channel_is_the_emulators_to_within_its_covariance(bench, link):
    *_, heard, truth = bench
    fit, got, version = heard[link]
    h, cfo = truth[link]
    error = aligned(got.value, h) - h
    assert np.sum(np.abs(error) ** 2) / np.sum(got.variance) < 2.0
    assert np.sum(np.abs(error) ** 2) < 1e-3 * np.sum(np.abs(h) ** 2)
    assert abs(fit.cfo_hz - cfo) < 10.0  # the emulated oscillators flicker by 1e-9, 3.5 Hz each
    assert version == 1


def test_noise_of_idle_and_sounding_captures_agree_with_the_receivers(bench):
    _, world, *_, idle, heard, _ = bench
    for user in USERS:
        assert idle[user].value[0] == pytest.approx(world.truth.noise_power(user)[0] / GRID.fft, rel=0.05)
        for name in ("ap1", "ap2"):
            assert heard[name, user][1].noise.value[0] == pytest.approx(idle[user].value[0], rel=0.06)


def test_measured_sinr_is_that_of_the_true_channels(bench):
    clock, _, radios, scale, idle, heard, truth = bench
    frames = {}
    for device, (user, name) in enumerate(USERS.items()):
        other = next(u for u in USERS if u != user)
        own, leak = (GRID.block_mean(heard[name, u][1].value[0], axis=0) for u in (user, other))
        gram = leak.conj()[:, :, None] * leak[:, None, :] / np.sum(np.abs(leak) ** 2, -1)[:, None, None] + 3e-3 * np.eye(4)
        w = np.linalg.solve(gram, own.conj()[..., None])
        w *= np.sqrt(POWER / GRID.used / np.mean(np.sum(np.abs(w) ** 2, axis=-1), axis=0).max())  # the loudest antenna at its cap
        frames[name] = MeasuringFrame(GRID, device, 2, w, "16qam")
        transmit(radios[name], frames[name], 2)
    clock.sleep(5e-3)
    for user, name in USERS.items():
        frame = frames[name]
        capture = radios[user].capture(frame.length + 2 * GRID.symbol_samples, 1.0)
        fit = carrier.refine(capture, frame, carrier.acquire(capture, frame, near_hz=heard[name, user][0].cfo_hz))
        got = quality.measure(capture, frame, fit, scale=scale)
        power = {n: GRID.block_mean(np.abs(np.einsum("kn,kn->k", truth[n, user][0][0], frames[n].precoder[GRID.block_of_tone, :, 0])) ** 2)
                 for n in frames}  # fmt: skip
        expected = 10 * np.log10(power[name] / (sum(power.values()) - power[name] + idle[user].value[0]))
        off = np.abs(got.sinr_db - expected)
        assert np.median(off) < 0.35 and np.quantile(off, 0.95) < 0.6
        assert marks.check(capture, frame, fit, range(4)).version == 2
