"""For how long two devices stay coherent: what of their power adds up at an age, on the emulated bench, against the window that is told."""

from __future__ import annotations

import numpy as np
import pytest
import sites

from hil.clock import VirtualClock
from hil.device import Setting
from hil.estimate import phase, twoway
from hil.estimate.tracking import ClockNoise
from hil.waveform import Numerology, SoundingFrame, amplitude
from sim_backend.world import build

SMALL = Numerology(3.84e6, 2.88e6)
AGES = np.array([0.0, 5e-3, 10e-3, 20e-3, 40e-3])


def pushes(kind, seed, trials, clock_noise=None, snr_scale=1.0):
    """(trial, age) error of the phase between two devices, and the variance told for it: one capture each time, nothing reloaded since.

    Errors are against the phase that both oscillators really had, for which no capture is needed.
    """
    cables = [{"from": f"{name}.tx0", "to": "u.rx0", "gain_db": -70.0, "delay_ns": 30.0, "exclusive": True} for name in "ab"]
    radios = [sites.radio("a", 1, 0, [0.0, 0.0, 1.0]), sites.radio("b", 1, 0, [5.0, 0.0, 1.0]), sites.radio("u", 0, 1, [10.0, 0.0, 1.0])]
    clock = VirtualClock()
    emulated = {"room": {"scatterers": 0}, "cable": cables, "oscillator": {"class": kind, "spread_ppm": 0.5}}
    world = build(sites.site(radios, seed=seed, emulated=emulated), clock)
    frames = [SoundingFrame(SMALL, i, 1, 1, 6e-6 * snr_scale, 1, 28) for i in range(2)]
    world.radio("u").configure(Setting(sites.CARRIER, SMALL.sample_rate_hz, (40.0,), ()))
    for name, frame in zip("ab", frames):
        radio, samples = world.radio(name), frame.samples()
        attenuation = amplitude.choose_attenuation(samples, radio.capability)
        radio.configure(Setting(sites.CARRIER, SMALL.sample_rate_hz, (), (attenuation,)))
        radio.load(1, amplitude.to_fractions(samples, radio.capability, attenuation))
        radio.apply(1)
    clock.sleep(5e-3)
    errors, told, near, zero = [], [], [None, None], None
    for _ in range(trials):
        capture = world.radio("u").capture(frames[0].length + 3 * SMALL.symbol_samples, 1.0)
        tuning, first, _ = world.truth.windows("u")[-1]
        found = twoway.separated(capture, frames, near_hz=near)
        near = [each.carrier.cfo_hz for each in found]
        both = phase.between(*(phase.measure(each.capture, frame, each.carrier, clock=clock_noise) for each, frame in zip(found, frames)))

        def true(age, tuning=tuning, first=first, both=both):
            """Radians by which a is ahead of b, up to a constant of the run: carriers and the frames' starts are fixed."""
            at = tuning.oscillator.tick(first, tuning.rate).after(both.centre_s + age)
            return 2 * np.pi * sites.CARRIER * (world.truth.oscillator("a", at)[0] - world.truth.oscillator("b", at)[0])

        row = [both.at(both.centre_s + age)[0] - true(age) for age in AGES]
        zero = row[0] if zero is None else zero
        errors.append(np.angle(np.exp(1j * (np.array(row) - zero))))
        told.append([both.variance_at(age) for age in AGES])
        clock.sleep(2e-3)
    errors = np.array(errors)
    return np.angle(np.exp(1j * (errors - np.angle(np.mean(np.exp(1j * errors[:, :1])))))), np.array(told)


def kept(errors):
    """Power of the sum of two carriers over what they would give in step, mean over the trials; its standard deviation."""
    power = np.abs((1.0 + np.exp(1j * errors)) / 2.0) ** 2
    return power.mean(0), power.std(0) / np.sqrt(len(power))


def judge(errors, told, slack):
    expected = np.array([phase.combining(variance / 2.0) for variance in told.mean(0)])
    power, spread = kept(errors)
    assert expected[-1] < 0.95 < expected[1]  # the range in which it falls is seen
    assert np.all(np.abs(power - expected) < 4.0 * spread + slack * (1.0 - expected) + 1e-4), (power, expected, spread)
    ratio = np.sqrt(np.mean(errors**2, axis=0) / told.mean(0))
    assert ratio[1:4] == pytest.approx(np.ones(3), abs=3.5 / np.sqrt(2 * len(errors)))


def test_power_of_the_sum_falls_as_the_variance_says():
    judge(*pushes("ocxo", 1, 20), slack=0.3)


@pytest.mark.slow
def test_power_of_the_sum_falls_as_the_variance_says_in_full():
    errors, told = pushes("ocxo", 2, 200)
    judge(errors, told, slack=0.1)
    ratio = np.sqrt(np.mean(errors**2, axis=0) / told.mean(0))
    assert ratio == pytest.approx(np.ones(len(AGES)), abs=0.2)
    window = phase.Phase(0.0, told[:, 0].mean(), 0.0, 0.0, (told[:, 3].mean() - told[:, 0].mean()) / (2 * np.pi * AGES[3]) ** 2, sites.CARRIER)
    limit = 1.96 * np.sqrt(told[:, 2].mean())
    assert window.window(limit) == pytest.approx(AGES[2], rel=0.02)
    assert np.mean(np.abs(errors[:, 2]) < limit) == pytest.approx(0.95, abs=0.04)


@pytest.mark.slow
def test_flickering_oscillators_lose_it_as_soon_as_their_noise_says():
    """TCXOs, with the noise that fits readings ten times a second: what of it is slower than the age counts too, so it errs upwards."""
    parts = [pushes("tcxo", seed, 40, ClockNoise(1.4e-19, 7e-18, 8e-18), snr_scale=10.0) for seed in range(2)]
    errors, told = (np.concatenate(part) for part in zip(*parts))
    ratio = np.sqrt(np.mean(errors**2, axis=0) / told.mean(0))
    assert np.all((ratio[1:4] > 0.25) & (ratio[1:4] < 1.1)), ratio
