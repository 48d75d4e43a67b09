"""Two emulated radios that hear each other over the air and themselves through a coupler, or that a third one hears."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hil.clock import Instant, VirtualClock
from hil.device import Setting
from hil.estimate import phase, tracking, twoway
from hil.units import SPEED_OF_LIGHT
from hil.waveform import Numerology, SoundingFrame, amplitude
from sim_backend.world import World, build
from tests.physics import sites

LOOPS = {"a": 7e-9, "b": 4e-9}  # s from port to own receiver
APART_M = 10.0
WIDE, USUAL = Numerology(30.72e6, 19.2e6), Numerology(15.36e6, 11.52e6)
SMALL = Numerology(3.84e6, 2.88e6)
AGES = np.array([0.0, 5e-3, 10e-3, 20e-3, 40e-3])  # s, of a push
POWER = {WIDE: 1e-4, USUAL: 6e-5}  # watts, for 20 dB per tone at the other end


@dataclass
class Pair:
    """Radios a and b on the air with a frame each, and what they last measured."""

    world: World
    clock: VirtualClock
    numerology: Numerology
    frames: dict[str, SoundingFrame]
    turns: dict[str, twoway.Turns]
    near: dict[str, float | None]
    true: dict[str, Instant]

    @classmethod
    def on_air(cls, seed: int, numerology: Numerology = USUAL, own_db: float = -70.0, symbols: int = 28, **emulated: Any) -> Pair:
        coupler = [{"from": f"{name}.tx0", "to": f"{name}.rx0", "gain_db": own_db, "delay_ns": 1e9 * loop} for name, loop in LOOPS.items()]
        radios = [sites.radio("a", 1, 1, [0.0, 0.0, 1.0]), sites.radio("b", 1, 1, [APART_M, 0.0, 1.0])]
        room = {"scatterers": 0, "self_interference_db": -200.0}
        clock = VirtualClock()
        world = build(sites.site(radios, seed=seed, emulated={"room": room, "cable": coupler, **emulated}), clock)
        frames = {name: SoundingFrame(numerology, i, 1, 1, POWER[numerology], 1, symbols) for i, name in enumerate(LOOPS)}
        for name, frame in frames.items():
            radio, samples = world.radio(name), frame.samples()
            attenuation = amplitude.choose_attenuation(samples, radio.capability)
            radio.configure(Setting(sites.CARRIER, numerology.sample_rate_hz, (40.0,), (attenuation,)))
            radio.load(1, amplitude.to_fractions(samples, radio.capability, attenuation))
            radio.apply(1)
        clock.sleep(5e-3)
        return cls(world, clock, numerology, frames, {}, dict.fromkeys(LOOPS), {})

    def hear(self, name: str) -> twoway.Lateness:
        """One node's capture, dated by its own frames; notes when it really was."""
        other = next(each for each in LOOPS if each != name)
        frame = self.frames[name]
        capture = self.world.radio(name).capture(frame.length + 3 * self.numerology.symbol_samples, 1.0)
        told = twoway.lateness(capture, frame, self.frames[other], near_hz=self.near[name])
        tuning, first, _ = self.world.truth.windows(name)[-1]
        self.true[name] = tuning.oscillator.tick(first, tuning.rate).after(told.at.since(capture.clock))
        self.near[name] = told.cfo_hz
        self.turns[name], told = self.turns.setdefault(name, twoway.Turns.begin(told)).dated(told)
        return told

    def exchange(self, turnaround_s: float = 0.0, noise: tracking.ClockNoise = twoway.TWO_CRYSTALS) -> twoway.Exchange:
        one = self.hear("a")
        self.clock.sleep(turnaround_s)
        return twoway.exchange(one, self.hear("b"), *(twoway.Loop(loop) for loop in LOOPS.values()), noise)

    @property
    def middle(self) -> Instant:
        """True middle of the last exchange."""
        return self.true["a"].after(self.true["b"].since(self.true["a"]) / 2.0)

    def offset(self, at: Instant) -> tuple[float, float]:
        """(seconds by which b's frame is late against a's, its growth), as it is; modulo the frame."""
        rate = int(self.numerology.sample_rate_hz)
        sent = {airing.radio: airing for airing in self.world.airings()}
        local = {name: sent[name].oscillator.local(at) for name in LOOPS}
        ticks = {name: local[name].whole * rate - sent[name].first_tick + local[name].fraction * rate for name in LOOPS}
        growth = self.world.truth.oscillator("a", at)[1] - self.world.truth.oscillator("b", at)[1]
        return (ticks["a"] - ticks["b"]) / rate, growth

    def error(self, offset: float, at: Instant) -> float:
        """Seconds by which a stated offset is wrong."""
        turn = self.frames["a"].length / self.numerology.sample_rate_hz
        return (offset - self.offset(at)[0] + turn / 2.0) % turn - turn / 2.0

    @property
    def way(self) -> float:
        return APART_M / SPEED_OF_LIGHT


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
