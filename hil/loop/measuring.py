"""Measuring: push a design, let all access points transmit together, and see what the users and the sensing arrays make of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from hil.device import Capture
from hil.errors import HilError
from hil.estimate import carrier, quality, spurs, target
from hil.estimate.carrier import Carrier
from hil.estimate.chains import ChainGains
from hil.estimate.channel import ToneChannel
from hil.estimate.echoes import SHORTEST_S, Illumination, observe
from hil.estimate.echofit import relative_error
from hil.estimate.loss import Clean
from hil.estimate.quality import Quality
from hil.estimate.target import Fix
from hil.knowledge import Design, Estimate
from hil.loop.intact import SPOILT, intact, of_version, sifted
from hil.loop.lab import Lab, Taken
from hil.loop.sounding import AGAIN, Sounding, cleaned, say
from hil.loop.states import State
from hil.waveform.amplitude import receive_scale
from hil.waveform.frame import payload_ranks
from hil.waveform.measuring import MeasuringFrame
from hil.waveform.modulation import Modulation

USER_FRAMES = 2  # whole measuring frames in a user's capture
ECHO_S = 0.055  # what a sensing array captures: a walking target's Doppler shows in 50 ms
SLOWEST = 0.5  # m/s that a target may walk whatever the scenario says
TURN_M = 1.5  # metres, a tight curve of somebody who walks: what the prior of acceleration comes from
SHOWN = 400  # symbols of a constellation that go into the record
LEAST_SYMBOLS = 64  # in a row, from which a user's quality is measured
STALE = 8  # versions that may still be on the air unnoticed
CONFIDENCE = 0.99  # of the limits that break a promise, all users and blocks together


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """What one pushed design achieved. sinr_db, std_db, upper_db: (user, block)."""

    version: int
    quality: tuple[Quality, ...]  # per user
    sinr_db: NDArray[np.float64]
    std_db: NDArray[np.float64]
    upper_db: NDArray[np.float64]
    worst_db: NDArray[np.float64]  # (user,) smallest over the blocks, its downward bias removed
    worst_std_db: NDArray[np.float64]
    fix: Fix | None
    surveyed: NDArray[np.float64] | None  # (xyz) metres: the target's true place at the fix's epoch, asked for once

    @property
    def sinr(self) -> float:
        """Decibels of the worst user."""
        return float(self.worst_db.min())

    @property
    def target_error(self) -> float | None:
        """Metres in the plane, where the truth has been surveyed."""
        if self.fix is None or self.surveyed is None:
            return None
        return float(np.linalg.norm((self.fix.estimate.value - self.surveyed)[:2]))


def push(lab: Lab, design: Design, version: int, payload_seed: int) -> dict[str, MeasuringFrame]:
    """Load the design's measuring frames everywhere as `version`, then put them on the air together; frames by array."""
    lab.enter(State.LOADING, "design judged")
    signal = lab.scenario.signal
    frames = {
        array.name: MeasuringFrame(
            lab.numerology, device, version, design.precoders[device], modulation=Modulation(signal.modulation),
            payload_symbols=signal.payload_symbols, seed=payload_seed,
        )
        for device, array in enumerate(lab.transmitters)
    }  # fmt: skip
    lab.prepare(version, {array.radio: frames[array.name] for array in lab.transmitters})
    lab.apply(version)
    return frames


def measure(
    lab: Lab, sounding: Sounding, design: Design, version: int, frames: dict[str, MeasuringFrame], channels: dict[str, dict[str, ToneChannel]],
    prior: Estimate | None, chains: Mapping[str, ChainGains], rng: np.random.Generator,
) -> Measured:  # fmt: skip
    """Capture everywhere while the design is on the air, mute, and estimate SINR per user and block, errors, and the target.

    chains: of arrays, by name, where something is known of them; an array that is left out is taken as even.
    """
    lab.enter(State.MEASURING, "applied")
    some = frames[lab.transmitters[0].name]
    prefix = f"measure-{lab.designer}"
    wanted = dict.fromkeys(lab.user_radio.values(), USER_FRAMES * some.length + 2 * lab.numerology.symbol_samples)
    echo = int(np.ceil(max(ECHO_S * lab.scenario.signal.sample_rate_hz, 2 * some.length)))
    if prior is not None:
        wanted |= {array.radio: echo for array in lab.sensors}
    with lab.muted_after("measured"):
        taken = lab.capture(prefix, "measure", wanted)
        carriers: dict[str, Carrier] = {}  # by the capture's name

        def look(one: Taken) -> Clean:
            whole, carriers[one.name] = _intact(lab, sounding, one, frames, version)
            return whole

        kept, again = sifted(lab, taken, look)
        if again:
            taken |= lab.capture(prefix + AGAIN, "measure", {radio: wanted[radio] for radio in again})
            kept |= _last(lab, {radio: taken[radio] for radio in again}, look)
    lab.enter(State.ESTIMATING, "captured")
    found = []
    for u, user in enumerate(lab.users):
        one = taken[lab.user_radio[user]]
        found.append(_quality(lab, sounding, one, kept[one.name].capture, carriers[one.name], frames[lab.transmitters[u].name], u))
    lab.link.progress()
    told = limits(found, rng)
    fix, surveyed = _locate(lab, sounding, design, taken, kept, frames, channels, prior, chains)
    lab.link.progress()
    lab.clock.charge("estimate")
    measured = Measured(version, tuple(found), *told, fix, surveyed)
    say_users(lab, design, measured, [q.equalised[:, payload_ranks(lab.numerology)] for q in found])
    _say_fix(lab, measured)
    return measured


def _intact(
    lab: Lab, sounding: Sounding, taken: Taken, frames: Mapping[str, MeasuringFrame], version: int
) -> tuple[Clean, Carrier]:  # fmt: skip
    """A capture of a measuring frame of this version, as far as nothing is missing from it, and its carrier.

    A user's of its own access point's; a sensing array's of the one it hears best: samples that are missing, or of another version, are so
    for all of them.
    """
    users = list(lab.user_radio.values())
    if taken.radio in users:
        array, least = lab.transmitters[users.index(taken.radio)].name, LEAST_SYMBOLS
    else:
        array = max(frames, key=lambda name: carrier.acquire(taken.capture, frames[name], near_hz=sounding.clocks.near(name, taken.radio)).metric)
        least = int(np.ceil(SHORTEST_S * lab.numerology.sample_rate_hz / lab.numerology.symbol_samples))
    whole = intact(taken.capture, frames[array], sounding.clocks.near(array, taken.radio), least)
    return whole, of_version(whole, frames[array], version, range(version - 1, max(version - 1 - STALE, 0), -1))


def _last(lab: Lab, takes: Mapping[str, Taken], look: Callable[[Taken], Clean]) -> dict[str, Clean]:
    """What is intact of captures taken once more, by name. A user's must be; without a sensing array's there is no fix, which is said."""
    kept = {}
    for radio, taken in takes.items():
        try:
            kept[taken.name] = look(taken)
        except HilError as error:
            if error.id not in SPOILT or radio in lab.user_radio.values():
                raise
            lab.event("warned", id=error.id, message=f"{taken.name}: {error.what}; no fix of the target from it", device=radio,
                      found=error.found, allowed=error.allowed, fix=error.fix)  # fmt: skip
    return kept


def _quality(lab: Lab, sounding: Sounding, taken: Taken, capture: Capture, found: Carrier, frame: MeasuringFrame, user: int) -> Quality:
    array = lab.transmitters[user].name
    leaks = [sounding.clocks.near(other.name, taken.radio) for other in lab.transmitters if other.name != array]
    capture, found, _ = cleaned(capture, frame, found, [hz for hz in leaks if hz is not None])
    heard = replace(found.cfo, of=f"{array}-{lab.users[user]}", sources=(taken.file,))
    say(lab, heard)
    expected = sounding.clocks.heard(array, taken.radio, heard)
    if expected is not None:
        say(lab, expected)
    channel = lab.user_channel[lab.users[user]]
    scale = float(receive_scale(lab.capability[taken.radio], taken.capture.gain_db)[channel])
    return quality.measure(capture, frame, found, scale=scale, channel=channel)


def limits(found: Sequence[Quality], rng: np.random.Generator) -> tuple[NDArray[np.float64], ...]:
    """(user, block) SINR, its standard deviation and upper limit, all users and blocks together; (user,) worst block and its deviation. dB."""
    sinr, std = np.array([q.sinr_db for q in found]), np.array([q.std_db for q in found])
    upper = sinr + ndtri(1.0 - (1.0 - CONFIDENCE) / sinr.size) * std
    lows = [unbiased_minimum(s, d, rng) for s, d in zip(sinr, std)]
    return sinr, std, upper, np.array([low for low, _ in lows]), np.array([spread for _, spread in lows])


def unbiased_minimum(values: NDArray[np.float64], std: NDArray[np.float64], rng: np.random.Generator, draws: int = 2000) -> tuple[float, float]:
    """(minimum, std): the least of noisy values reads low; the bias that the same noise adds once more is taken off."""
    again = (values + std * rng.standard_normal((draws, values.size))).min(axis=-1)
    least = float(values.min())
    return least - (float(again.mean()) - least), float(again.std())


def _locate(lab, sounding, design, taken, kept, frames, channels, prior, chains) -> tuple[Fix | None, NDArray[np.float64] | None]:
    """Fix of the target from what is intact of the first sensing array's capture, and where it really was if somebody has surveyed it."""
    if prior is None or not lab.sensors or taken[lab.sensors[0].radio].name not in kept:
        return None, None
    array = lab.sensors[0]
    whole = kept[taken[array.radio].name].capture
    heard = replace(taken[array.radio], capture=whole)
    points = array.points(array.local(lab.positions))
    known = chains.get(array.name)
    uneven = np.ones(array.elements) if known is None else known.balanced  # behind the chains it is an array as the geometry has it
    lights = []
    for device, transmitter in enumerate(lab.transmitters):
        frame = frames[transmitter.name]
        coarse = carrier.acquire(whole, frame, near_hz=sounding.clocks.near(transmitter.name, array.radio))
        sounded = channels[transmitter.name].get(array.radio)
        told = chains.get(transmitter.name)
        sent = np.ones(transmitter.elements) if told is None else told.balanced
        lights.append(
            Illumination(
                frame.reference[..., 0], design.precoders[device, ..., 0] * sent, transmitter.points(lab.here()[device]), coarse.start, coarse.cfo_hz,
                None if sounded is None else np.moveaxis(sounded.value[list(array.channels)] / (uneven[:, None, None] * sent), 1, -1),
                None if told is None else relative_error(told, 2.0 * np.pi / lab.scenario.wavelength * float(lab.here_std()[device].max())),
            )
        )  # fmt: skip
    tones = [0.0, *(light.cfo_hz for light in lights)]
    samples, _, _ = spurs.remove(heard.amplitude(lab.capability[array.radio])[list(array.channels)], lab.scenario.signal.sample_rate_hz, tones)
    carrier_hz = lab.scenario.signal.carrier_hz
    samples = samples / uneven[:, None].astype(np.complex64)
    echoes = observe(samples, lab.numerology, lights, points, carrier_hz)
    std = np.sqrt(np.diag(prior.covariance))
    middle = None if whole.clock is None else whole.clock.after(samples.shape[-1] / lab.scenario.signal.sample_rate_hz / 2)
    walks = max(lab.scenario.target.speed_m_s, SLOWEST)
    settings = target.Settings(speed=2.0 * walks, speed_std=walks, turn_std=walks**2 / TURN_M)
    fix = target.locate(
        echoes, receivers=points, carrier_hz=carrier_hz, prior=prior.value, prior_std=std, settings=settings,
        heard_error=None if known is None else relative_error(known), epoch=middle, sources=(heard.file,),
    )  # fmt: skip
    if lab.survey is None or middle is None:
        return fix, None
    return fix, lab.survey(middle)


def say_users(lab: Lab, design: Design, measured: Any, shown: Sequence[NDArray[np.complex128]]) -> None:
    """A `measured` event for every user. shown: of each, its equalised symbols, any shape."""
    for u, user in enumerate(lab.users):
        found = measured.quality[u]
        each = {
            name: None if values is None else float(values[u].min())
            for name, values in (("predicted_db", design.predicted_each), ("promised_db", design.promised_each))
        }
        lab.event(
            "measured", version=measured.version, user=user, sinr_db=measured.worst_db[u], std_db=measured.worst_std_db[u],
            upper_db=float(measured.upper_db[u].min()), blocks_db=measured.sinr_db[u], blocks_std_db=measured.std_db[u],
            mean_rate_db=10.0 * np.log10(2.0**found.rate - 1.0), evm=found.evm, rate_bit=found.rate, bit_errors=found.bit_errors.errors,
            bits=found.bit_errors.of, equalised=some(shown[u]), **each,
        )  # fmt: skip


def _say_fix(lab: Lab, measured: Measured) -> None:
    if measured.fix is not None:
        fix = measured.fix
        bound = fix.estimate.bound
        crlb = None if bound is None else float(np.sqrt(np.trace(bound[:2, :2])))
        lab.event(
            "measured", version=measured.version,
            target={"position": fix.estimate.value, "error": measured.target_error, "surveyed": measured.surveyed, "crlb": crlb,
                    "covariance": fix.estimate.covariance, "above_threshold": fix.above_threshold, "loss_db": fix.loss_db,
                    "snr_db": fix.snr_db, "assumes": list(fix.estimate.assumptions)},
        )  # fmt: skip


def some(equalised: NDArray[np.complex128]) -> list[complex]:
    """About SHOWN of the symbols (payload symbol, tone), spread over both, to a thousandth: what a constellation shows."""
    step = max(1, equalised.size // SHOWN) | 1  # odd: does not fall on the same tones again and again
    return [complex(value) for value in np.round(equalised.ravel()[::step][:SHOWN], 3)]


def broken(design: Design, measured: Any) -> bool:
    """Whether a promise was not kept: a simultaneous upper 99 % limit of some user and block lies below it."""
    return design.promised is not None and bool(np.min(measured.upper_db) < design.promised)
