"""Measuring a multi-cell design: all base stations send it together, users say how well they hear, receiving arrays where targets are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hil.estimate import quality
from hil.estimate.carrier import Carrier
from hil.estimate.loss import Clean
from hil.estimate.quality import Quality
from hil.knowledge import Design
from hil.loop.cells.sensing import AngleFix, look_for
from hil.loop.cells.stations import Stations
from hil.loop.intact import intact, of_version, sifted
from hil.loop.lab import Taken
from hil.loop.measuring import ECHO_S, LEAST_SYMBOLS, STALE, USER_FRAMES, limits, say_users
from hil.loop.sounding import AGAIN, Part, Sounding, cleaned, say
from hil.loop.states import State
from hil.waveform.amplitude import receive_scale
from hil.waveform.frame import payload_ranks
from hil.waveform.measuring import MeasuringFrame
from hil.waveform.modulation import Modulation


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
    angles: tuple[AngleFix | None, ...]  # per cell, of its own target

    @property
    def sinr(self) -> float:
        """Decibels of the worst user."""
        return float(self.worst_db.min())


@dataclass(frozen=True, slots=True, eq=False)
class OnAir:
    """What is sent. frames: one for all base stations that are together, else one each; which: (user,) frame; stream: (user,) in it."""

    version: int
    frames: tuple[MeasuringFrame, ...]
    which: NDArray[np.int64]
    stream: NDArray[np.int64]

    def wanted(self, user: int) -> MeasuringFrame:
        """The frame as that user looks for it."""
        return self.frames[self.which[user]].of(int(self.stream[user]))


def frames_of(stations: Stations, design: Design, version: int, seed: int) -> tuple[OnAir, dict[str, Part]]:
    """The frames of a design, and what each radio sends of them. Streams are known by cell and number wherever they are sent from."""
    lab, identity, cells = stations.lab, stations.identity, stations.cells
    told = {"modulation": Modulation(lab.scenario.signal.modulation), "payload_symbols": lab.scenario.signal.payload_symbols, "seed": seed}
    w = design.precoders  # (station, block, antenna, stream)
    elements = w.shape[2]
    if stations.together:
        whole = MeasuringFrame(lab.numerology, 0, version, np.concatenate(list(w), axis=1), identity=identity, **told)
        parts = {one.transmit.radio: Part(whole, n * elements, (n + 1) * elements) for n, one in enumerate(stations.each)}
        return OnAir(version, (whole,), np.zeros(len(cells), np.int64), np.arange(len(cells))), parts
    frames, parts = [], {}
    for n, one in enumerate(stations.each):
        own = list(one.users)
        frames.append(MeasuringFrame(lab.numerology, n, version, w[n][..., own], identity=tuple(identity[user] for user in own), **told))
        parts[one.transmit.radio] = Part(frames[n], 0, elements)
    return OnAir(version, tuple(frames), cells, np.array([number for _, number in identity])), parts


def push(stations: Stations, design: Design, version: int, seed: int) -> OnAir:
    """Load a design everywhere as `version`, then put it on the air together."""
    lab = stations.lab
    lab.enter(State.LOADING, "design judged")
    on_air, parts = frames_of(stations, design, version, seed)
    lab.prepare(version, parts)
    lab.apply(version)
    return on_air


def measure(stations: Stations, sounding: Sounding, design: Design, on_air: OnAir, rng: np.random.Generator) -> Measured:
    """Capture everywhere while the design is on the air, mute, and estimate SINR per user and block, errors, and the targets' angles."""
    lab = stations.lab
    lab.enter(State.MEASURING, "applied")
    length = on_air.frames[0].length
    wanted = dict.fromkeys(lab.user_radio.values(), USER_FRAMES * length + 2 * lab.numerology.symbol_samples)
    wanted |= dict.fromkeys((one.receive.radio for one in stations.each), int(np.ceil(ECHO_S * lab.scenario.signal.sample_rate_hz)) + length)
    prefix = f"measure-{lab.designer}"
    users = {radio: u for u, radio in enumerate(lab.user_radio.values())}
    carriers: dict[str, Carrier] = {}

    def look(taken: Taken) -> Clean:
        frame = on_air.wanted(users[taken.radio])
        whole = intact(taken.capture, frame, sounding.clocks.near(_speaker(stations, users[taken.radio]), taken.radio), LEAST_SYMBOLS)
        before = range(on_air.version - 1, max(on_air.version - 1 - STALE, 0), -1)
        carriers[taken.name] = of_version(whole, frame, on_air.version, before)
        return whole

    with lab.muted_after("measured"):
        taken = lab.capture(prefix, "measure", wanted)
        kept, again = sifted(lab, {radio: taken[radio] for radio in users}, look)
        if again:
            taken |= lab.capture(prefix + AGAIN, "measure", {radio: wanted[radio] for radio in again})
            kept |= {taken[radio].name: look(taken[radio]) for radio in again}
    lab.enter(State.ESTIMATING, "captured")
    found = [_quality(stations, sounding, taken[radio], kept, carriers, on_air, user) for radio, user in users.items()]
    lab.link.progress()
    told = limits(found, rng)
    angles = look_for(stations, design, on_air.frames, {radio: taken[radio] for radio in wanted if radio not in users}, on_air.version)
    lab.link.progress()
    lab.clock.charge("estimate")
    measured = Measured(on_air.version, tuple(found), *told, angles)
    say_users(lab, design, measured, [one.equalised[:, payload_ranks(lab.numerology)] for one in found])
    return measured


def _speaker(stations: Stations, user: int) -> str:
    """By whose name the clock of a user's own base station is known."""
    return "stations" if stations.together else stations.each[stations.cells[user]].transmit.name


def _quality(
    stations: Stations, sounding: Sounding, taken: Taken, kept: Mapping[str, Clean], carriers: Mapping[str, Carrier], on_air: OnAir, user: int
) -> Quality:  # fmt: skip
    lab, speaker, frame = stations.lab, _speaker(stations, user), on_air.wanted(user)
    others = [] if stations.together else [_speaker(stations, other) for other in range(len(lab.users)) if _speaker(stations, other) != speaker]
    leaks = {hz for name in others if (hz := sounding.clocks.near(name, taken.radio)) is not None}
    capture, found, _ = cleaned(kept[taken.name].capture, frame, carriers[taken.name], sorted(leaks))
    heard = replace(found.cfo, of=f"{speaker}-{lab.users[user]}", sources=(taken.file,))
    say(lab, heard)
    expected = sounding.clocks.heard(speaker, taken.radio, heard)
    if expected is not None:
        say(lab, expected)
    channel = lab.user_channel[lab.users[user]]
    scale = float(receive_scale(lab.capability[taken.radio], taken.capture.gain_db)[channel])
    return quality.measure(capture, frame, found, scale=scale, channel=channel, stream=frame.wanted)
