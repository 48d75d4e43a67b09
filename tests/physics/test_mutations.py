"""Emulators that are wrong in one way each: every one must be told by a line of the sounder or by a golden value.

A mutation lives in this file only; it replaces one function of the emulator for the length of a test. One that survives is a missing line.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import test_world_faults as faults
import test_world_golden as golden
import test_world_radio as radios
from sites import RATE, configure, pair

from hil.clock import Instant, VirtualClock
from sim_backend import amplifier as parts
from sim_backend import (
    converter,
    interpolator,
    kernels,
    medium,
    motion,
    noise,
    paths,
    radio,
    reception,
    ring,
    scene,
    sounder,
    transmit,
    world,
)
from sim_backend.oscillator import Oscillator
from sim_backend.paths import Rays
from sim_backend.sounder import amplifier, clocks, evm, nulling, phasenoise, rail, repeat, taps, tones
from sim_backend.sounder.line import Line

SILENT, CUBIC, SALEH, SPURS = sounder.SILENT, sounder.CUBIC, sounder.SALEH, sounder.SPURS
NOISY = {"severity": 0.0, "oscillator": SILENT["oscillator"]}

# -- what tells -----------------------------------------------------------------------------------------------------------------------------


def one_path() -> list[Line]:
    return taps.one_path(SILENT, "", 0.1e-12, 1e-4, 1e-3)


def one_path_late() -> list[Line]:
    return taps.one_path(SILENT, "", 0.1e-12, 1e-4, 1e-3, start=Instant(1_000_000, 0.25))


def offsets() -> list[Line]:
    return clocks.offsets(SILENT, "", 1e-4, 1e-3, 0.02, 200_000)


def doppler() -> list[Line]:
    return clocks.doppler(SILENT, "", 1e-4)


def own_carrier() -> list[Line]:
    return clocks.itself(SILENT, "", 1e-4)


def port_power() -> list[Line]:
    return tones.port_power(SILENT, "", 1e-4)


def noise_lines() -> list[Line]:
    return tones.noise(NOISY, "", 7.0) + tones.noise_over_rates(NOISY, "")


def noise_beside() -> list[Line]:
    return tones.noise_beside(NOISY, "")


def ofdm() -> list[Line]:
    return evm.floor(sounder.ALIKE, "", 0.0, at_most=-100.0)


def nulls() -> list[Line]:
    return nulling.rejection(SILENT, "", -100.0)


def spurs() -> list[Line]:
    return tones.spurious(SPURS, "", 0.1)


def bent_phase() -> list[Line]:
    return amplifier.compression(SALEH, "", 0.01, 0.01)


def compression() -> list[Line]:
    return amplifier.compression(CUBIC, "", 0.01, 0.01)


def distortion() -> list[Line]:
    return amplifier.spectrum("", draws=3)


def stations() -> list[Line]:
    return rail.stations(SILENT, "", 1e-3, count=5)


def carriage() -> list[Line]:
    return rail.carriage("")


def repeats() -> list[Line]:
    return repeat.determinism(NOISY, "", 6000)


def shared_noise() -> list[Line]:
    return phasenoise.shared({"severity": 0.0, "oscillator": {"phase_noise_deg": 0.45}}, "", 0.45)


def steering() -> list[Line]:
    return _golden(golden.test_g11_conjugate_weights_add_and_their_conjugates_cancel)


def clock_offset() -> list[Line]:
    return _golden(golden.test_g3_clock_offsets_add_for_the_transmitter_and_subtract_for_the_receiver, 100e-9, 0.0, 200.0692285594e-9)


def starts() -> list[Line]:
    made = world.build(pair(), VirtualClock())
    configure(made)
    return _golden(radios.test_apply_is_silent_for_the_gap_and_starts_anew_each_time, made)


def capture_starts() -> list[Line]:
    made = world.build(pair(), VirtualClock())
    configure(made)
    return _golden(radios.test_a_capture_begins_at_an_own_tick_after_a_latency_of_its_own, made)


def buffers() -> list[Line]:
    return _golden(faults.test_a_driver_that_does_not_discard_reads_blocks_of_their_own_time_and_setting)


def _golden(test: Callable, *arguments: object) -> list[Line]:
    """A golden test as one line: how many of its claims failed."""
    try:
        test(*arguments)
    except AssertionError:
        return [Line(test.__name__, "", 0.0, 1.0, 0.5, "failed")]
    return [Line(test.__name__, "", 0.0, 0.0, 0.5, "failed")]


# -- what is wrong --------------------------------------------------------------------------------------------------------------------------


def everywhere(function: Callable, make: Callable) -> Callable:
    """A function of the emulator, replaced wherever one of its modules calls it by name or by its module's."""

    def inject(patch: pytest.MonkeyPatch) -> None:
        name, wrong = function.__name__, make(function)
        home = sys.modules[function.__module__]
        stand_in = SimpleNamespace(**(vars(home) | {name: wrong}))
        for where, module in list(sys.modules.items()):
            if where.startswith("sim_backend.") and ".sounder" not in where:
                for attribute, value in list(vars(module).items()):
                    if value is function:
                        patch.setattr(module, attribute, wrong)
                    elif value is home and isinstance(value, type(sys)):
                        patch.setattr(module, attribute, stand_in)

    return inject


def related(change: Callable) -> Callable:
    """How clocks and carriers stand to each other, changed: change(out, transmitter's head)."""

    def make(relate):
        def wrong(*arguments: object) -> None:
            relate(*arguments)
            change(arguments[-1], arguments[3])

        return wrong

    return everywhere(kernels.relate, make)


def carrier_sign(out, head):
    out[[0, 1, 5]] *= -1.0


def timing_sign(out, head):
    out[2] += 2.0 * head[4] * RATE


def no_sampling_offset(out, head):
    golden.ignore_sampling(out, RATE)


def sampling_against_carrier(out, head):
    drift = np.cumsum(np.append(0.0, out[3, :-1] - kernels.BLOCK))
    out[2] -= 2.0 * drift
    out[3, :-1] = 2 * kernels.BLOCK - out[3, :-1]


def nominal_carrier(out, head):
    out[4] = 0.0


def single_precision_phase(out, head):
    total = np.cumsum(np.append(np.float32(out[0, 0]), out[1, :-1].astype(np.float32)), dtype=np.float32)
    out[0], out[1] = total % 1.0, out[1].astype(np.float32)


def replaced(where: object, name: str, make: Callable) -> Callable:
    """One attribute, replaced by what make(the present one) answers."""
    return lambda patch: patch.setattr(where, name, make(getattr(where, name)))


def rounded_windows(of):
    def rounded(tuning, first, blocks):
        window = of(tuning, first, blocks)
        seconds = window.whole + window.fraction
        return window._replace(fraction=seconds - window.whole)

    return rounded


def mirrored_path_phase(response):
    def wrong(spectrum, carrier, spacing, lowest, delay, gain, out):
        response(spectrum, -carrier, spacing, lowest, delay, gain, out)

    return wrong


def transposed(static):
    def wrong(self, transmitter, receiver, at):
        rays = static(self, transmitter, receiver, at)
        return Rays(*(np.ascontiguousarray(np.swapaxes(part, -1, -2)) for part in rays))

    return wrong


def conjugated(static):
    def wrong(self, transmitter, receiver, at):
        rays = static(self, transmitter, receiver, at)
        return Rays(-rays.delay, rays.gain.conj())

    return wrong


def plane_wave(rays):
    def wrong(self, transmit, receive, wavelength):
        exact = rays(self, transmit, receive, wavelength)
        centre = transmit.mean(axis=-2, keepdims=True) if transmit.shape[-2] > 1 else np.zeros_like(transmit)
        middle = rays(self, centre, receive, wavelength)
        toward = receive[..., :, None, :] - centre[..., None, :, :]
        toward = toward / np.linalg.norm(toward, axis=-1, keepdims=True)
        early = ((transmit - centre)[..., None, :, :] * toward).sum(-1) / 299_792_458.0
        return Rays(middle.delay - early[..., None, :, :], exact.gain)

    return wrong


def backward(moving):
    def wrong(self, transmitter, receiver, at):
        rays = moving(self, transmitter, receiver, at)
        fixed = moving(self, transmitter, receiver, [Instant(0, 0.0)])
        return Rays(2.0 * fixed.delay - rays.delay, rays.gain)

    return wrong


def stepping(moving):
    """Geometry held for sixteen blocks, then a jump."""

    def wrong(self, transmitter, receiver, at):
        held = [at[i - i % 16] for i in range(len(at))]
        return moving(self, transmitter, receiver, held)

    return wrong


def mirrored_axis(positions):
    def wrong(self, name, side, at):
        return positions(self, name, side, at) * np.array([1.0, -1.0, 1.0]) if side == "transmit" else positions(self, name, side, at)

    return wrong


def no_wrap(planes):
    def wrong(spectrum, overhang):
        out = planes(spectrum, overhang)
        out[..., spectrum.shape[1] // 2 :] = 0.0
        return out

    return wrong


def noise_per_link(heard):
    def wrong(self, tuning, first, blocks, airings):
        both = heard(self, tuning, first, blocks, airings)
        for _ in [a for a in airings if a.stop is None]:
            power = converter.noise_power(tuning.rate, 7.0, tuning.gain_db[0])
            noise.add(99, first, power, both[0, 0], both[1, 0])
        return both

    return wrong


def block_noise(add):
    return lambda key, first, power, re, im: add(key, 0, power, re, im)


def own_channel_phase(samples):
    def wrong(self, tuning, first, count, channels=None):
        out, clipped = samples(self, tuning, first, count, channels)
        wander = np.random.default_rng(0).standard_normal(out.shape[1] // 8 + 1).repeat(8)[: out.shape[1]]
        out[1:] *= np.exp(1j * math.radians(0.45) * wander).astype(np.complex64)
        return out, clipped

    return wrong


def two_oscillators(tuning):
    def wrong(self, setting):
        found = tuning(self, setting)
        return dataclasses.replace(found, oscillator=Oscillator(found.oscillator.constant + 1e-6, found.oscillator.offset))

    return wrong


def attenuator_last(radiated):
    def wrong(sent, largest, amplitude, chains, rate):
        tenfold = 10**0.5  # what 10 dB of attenuation leave out
        out, held = radiated(sent, largest, amplitude * tenfold, chains, rate)
        return (out / tenfold).astype(np.complex64), held

    return wrong


def at_symbol_rate(radiated):
    """The amplifier on one sample per code: what it makes beyond the rate folds back."""

    def wrong(sent, largest, amplitude, chains, rate):
        bent = np.empty_like(sent)
        for e in range(sent.shape[0]):
            x = (np.fft.ifft(sent[e], norm="forward") * amplitude[e] * chains.gain[e]).astype(np.complex64)
            z = np.empty_like(x)
            chains.amplifier.apply(x, z)
            bent[e] = np.fft.fft(z, norm="forward")
        linear = dataclasses.replace(chains, amplifier=parts.Amplifier(), gain=np.ones_like(chains.gain))
        return radiated(bent, largest, np.ones_like(amplitude), linear, rate)

    return wrong


def conjugated_bend(apply):
    def wrong(self, x, out, branch=0):
        held = apply(self, np.conj(x), out, branch)
        np.conj(out, out=out)
        return held

    return wrong


def still_leakage(heard):
    """Leakage that does not turn with the carrier: it lands on the receiver's own zero."""

    def wrong(self, tuning, *rest):
        scale = self.front(tuning.radio, tuning.gain_db).scale[0]
        both = heard(self, tuning, *rest)
        both[0] += np.float32(abs(scale) ** -1 * 10 ** (-41.0 / 20) * 0.2)
        return both

    return wrong


def no_leakage(radiated):
    def wrong(sent, largest, amplitude, chains, rate):
        return radiated(sent, largest, amplitude, dataclasses.replace(chains, leakage=np.zeros_like(chains.leakage)), rate)

    return wrong


def image_at_plus_f(radiated):
    def wrong(sent, largest, amplitude, chains, rate):
        once = dataclasses.replace(chains, image=np.zeros_like(chains.image), gain=chains.gain * (1.0 + chains.image))
        return radiated(sent, largest, amplitude, once, rate)

    return wrong


def remembered_start(start):
    """Sample 0 leaves at a whole number of periods: a reload finds its old cyclic phase again."""

    def wrong(self, at, rate):
        tick = start(self, at, rate)
        return tick + (-tick) % 512

    return wrong


def always_fresh(take):
    """A buffer that has nothing old in it."""

    def wrong(self, now):
        self.__init__(now, len(self._begins), self.block)
        return take(self, now)

    return wrong


def present_setting(marks):
    def wrong(self, first, end):
        self._book = [dataclasses.replace(self._book[-1], tick=min(first, self._book[-1].tick))]
        return marks(self, first, end)

    return wrong


def nothing_to_bend(radiated):
    """The signal reaches the amplifier behind the way to the receiver: too weak to be bent by it."""

    def wrong(sent, largest, amplitude, chains, rate):
        out, held = radiated(sent, largest, amplitude * 1e-3, chains, rate)
        return out * np.float32(1e3), held

    return wrong


def both(*changes: Callable) -> Callable:
    def inject(patch: pytest.MonkeyPatch) -> None:
        for change in changes:
            change(patch)

    return inject


MUTATIONS: list[tuple[str, Callable, Callable]] = [
    ("sign of the carrier offset", related(carrier_sign), offsets),
    ("sign of a clock's offset", related(timing_sign), one_path),
    ("sign of a clock's offset, golden", related(timing_sign), clock_offset),
    ("sampling offset ignored", related(no_sampling_offset), offsets),
    ("delay that drifts against the carrier", related(sampling_against_carrier), offsets),
    ("path phase of the nominal carrier", related(nominal_carrier), one_path),
    ("phase accumulated in single precision", related(single_precision_phase), offsets),
    ("instants as one float", replaced(medium.Window, "of", rounded_windows), one_path_late),
    ("sign of the path phase", everywhere(kernels.response, mirrored_path_phase), nulls),
    ("conjugated steering", everywhere(kernels.response, mirrored_path_phase), steering),
    ("channel transposed, ends swapped", replaced(scene.Room, "static", transposed), one_path),
    ("channel conjugated", replaced(scene.Room, "static", conjugated), one_path),
    ("plane instead of spherical wave", replaced(paths.Sight, "rays", plane_wave), stations),
    ("20 log for power", everywhere(paths.friis, lambda f: lambda d, w: f(d, w) ** 2), port_power),
    ("sign of Doppler", replaced(scene.Room, "moving", backward), doppler),
    ("a channel that jumps", replaced(scene.Room, "moving", stepping), doppler),
    ("mirrored array axis", replaced(scene.Room, "positions", mirrored_axis), stations),
    ("reported position is the true one", replaced(motion.Carriage, "at", lambda at: lambda self, motor, seen: motor), carriage),
    ("sign of the play", replaced(motion.Carriage, "at", lambda at: lambda self, motor, seen: at(self, motor, 2 * motor - seen)), carriage),
    ("wrap as linear convolution", everywhere(interpolator.planes, no_wrap), ofdm),
    ("noise per link", replaced(world.World, "_heard", noise_per_link), noise_beside),
    ("noise in half the rate", everywhere(converter.noise_power, lambda f: lambda rate, *more: f(rate, *more) / 2), noise_lines),
    ("noise independent of the rate", everywhere(converter.noise_power, lambda f: lambda rate, *more: f(RATE, *more)), noise_lines),
    ("noise counted per real part", everywhere(converter.noise_power, lambda f: lambda rate, *more: f(rate, *more) * 2), noise_lines),
    ("noise figure independent of gain", everywhere(converter.noise_power, lambda f: lambda rate, figure, gain: f(rate, figure, 71.0)), noise_lines),
    ("noise that depends on the block", everywhere(noise.add, block_noise), repeats),
    ("dBm of the peak", everywhere(converter.transmit_amplitude, lambda f: lambda *a: f(*a) / math.sqrt(2)), port_power),
    ("phase noise of each channel its own", replaced(world.World, "samples", own_channel_phase), shared_noise),
    ("two oscillators in one device", replaced(radio.Radio, "_tuning", two_oscillators), own_carrier),
    ("amplifier behind the medium", everywhere(transmit.radiated, nothing_to_bend), compression),
    ("amplifier before the attenuator", everywhere(transmit.radiated, attenuator_last), compression),
    ("amplifier at the symbol rate", everywhere(transmit.radiated, at_symbol_rate), distortion),
    ("conjugated distortion", replaced(parts.Amplifier, "apply", conjugated_bend), bent_phase),
    ("leakage that does not turn", both(everywhere(transmit.radiated, no_leakage), replaced(world.World, "_heard", still_leakage)), spurs),
    ("image at +f", everywhere(transmit.radiated, image_at_plus_f), spurs),
    ("start remembered over a reload", replaced(Oscillator, "next_tick", remembered_start), starts),
    ("ring without stale blocks", replaced(ring.Ring, "take", always_fresh), buffers),
    ("settings of now for blocks of then", replaced(reception.Receiver, "_marks", present_setting), buffers),
    ("captures without latency", replaced(radio.Radio, "_latency", lambda f: lambda self, what, number: 0.0), capture_starts),
]


@pytest.mark.parametrize(("inject", "look"), [pytest.param(inject, look, id=name) for name, inject, look in MUTATIONS])
def test_a_mutation_is_told(inject, look, monkeypatch):
    inject(monkeypatch)
    assert not all(line.ok for line in look())


@pytest.mark.parametrize("look", sorted({look for _, _, look in MUTATIONS}, key=lambda look: look.__name__), ids=lambda look: look.__name__)
def test_without_it_every_line_holds(look):
    assert [f"{line.quantity}: {line.why}" for line in look() if not line.ok] == []
