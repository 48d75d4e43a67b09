"""A design on OFDM: a precoder per block of tones, frames in which every stream is known wherever it is sent from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from hil.adversary import Verdict
from hil.adversary import cells as adversary
from hil.estimate import quality, slowtime
from hil.estimate.carrier import Carrier
from hil.estimate.loss import Clean
from hil.estimate.quality import Quality
from hil.estimate.slowtime import SlowTime
from hil.knowledge import Design, Knowledge
from hil.loop.cells.stations import ECHO_S, Stations
from hil.loop.intact import intact, of_version
from hil.loop.lab import Taken
from hil.loop.measuring import LEAST_SYMBOLS, STALE, USER_FRAMES
from hil.loop.sounding import Part, Sounding, cleaned, say
from hil.systems.multicell.band import Band
from hil.units import from_db
from hil.waveform.amplitude import receive_scale
from hil.waveform.frame import payload_ranks
from hil.waveform.measuring import MeasuringFrame
from hil.waveform.modulation import Modulation

MEMBERS = 256  # of every block's sets that the adversary draws before it searches


def band(stations: Stations, asked: float, residual: float, rng: np.random.Generator) -> Band:
    """The design problem of a bench: places of elements, caps, tones, cells, what is asked."""
    grid, first = stations.lab.numerology, stations.each[0]
    return Band(
        asked=asked, residual=residual, cells=stations.cells, block_of_tone=grid.block_of_tone, element_power_w=stations.element_power,
        transmit_place=stations.wavelengths(first.transmit), receive_place=stations.wavelengths(first.receive),
        length=int(ECHO_S / grid.symbol_time_s), coherent=stations.together, rng=rng,
    )  # fmt: skip


def judge(asked: Band, design: Design, knowledge: Knowledge, rng: np.random.Generator) -> Verdict:
    """The adversary's word on every block, as one."""
    promised = None if design.promised is None else float(10.0 * np.log10(asked.without_residual(float(from_db(design.promised)))))
    each = [
        adversary.verdict(
            design.precoders[:, block], problem.channel, problem.radius, problem.noise, problem.cells, design.mode, promised, rng, members=MEMBERS
        )
        for block, problem in enumerate(asked.judged(knowledge, design))
    ]
    with np.errstate(divide="ignore"):
        worst = 10.0 * np.log10(asked.with_residual(10.0 ** (np.array([one.worst_each for one in each]).T / 10.0)))
    return Verdict(
        float(worst.min()), worst, max(one.shortfall_db for one in each), sum(one.members for one in each), all(one.passed for one in each)
    )  # fmt: skip


@dataclass(eq=False)
class OnTones:
    """What is sent. frames: one for all base stations that are together, else one each; which: (user,) frame; stream: (user,) in it."""

    stations: Stations
    sounding: Sounding
    version: int
    frames: tuple[MeasuringFrame, ...]
    which: NDArray[np.int64]
    stream: NDArray[np.int64]
    parts: Mapping[str, Part]  # radio -> what it sends
    design: Design
    _kept: dict[str, tuple[Clean, Carrier]] = field(default_factory=dict)

    @classmethod
    def of(cls, stations: Stations, sounding: Sounding, design: Design, version: int, seed: int) -> OnTones:
        """The frames of a design. Streams are known by cell and number wherever they are sent from."""
        signal, identity, cells = stations.lab.scenario.signal, stations.identity, stations.cells
        told = {"modulation": Modulation(signal.modulation), "payload_symbols": signal.payload_symbols, "seed": seed}
        grid, w = stations.lab.numerology, design.precoders  # (station, block, antenna, stream)
        elements = w.shape[2]
        if stations.together:
            whole = MeasuringFrame(grid, 0, version, np.concatenate(list(w), axis=1), identity=identity, **told)
            parts = {one.transmit.radio: Part(whole, n * elements, (n + 1) * elements) for n, one in enumerate(stations.each)}
            return cls(stations, sounding, version, (whole,), np.zeros(len(cells), np.int64), np.arange(len(cells)), parts, design)
        frames, parts = [], {}
        for n, one in enumerate(stations.each):
            own = list(one.users)
            frames.append(MeasuringFrame(grid, n, version, w[n][..., own], identity=tuple(identity[user] for user in own), **told))
            parts[one.transmit.radio] = Part(frames[n], 0, elements)
        return cls(stations, sounding, version, tuple(frames), cells, np.array([number for _, number in identity]), parts, design)

    @property
    def length(self) -> int:
        """Samples of a turn."""
        return self.frames[0].length

    @property
    def user_samples(self) -> int:
        """That a user captures."""
        return USER_FRAMES * self.length + 2 * self.stations.lab.numerology.symbol_samples

    def wanted(self, user: int) -> MeasuringFrame:
        """The frame as that user looks for it."""
        return self.frames[self.which[user]].of(int(self.stream[user]))

    def look(self, taken: Taken, user: int) -> Clean:
        """What of a user's capture may be used; HilError where it must be taken again."""
        frame = self.wanted(user)
        whole = intact(taken.capture, frame, self.sounding.clocks.near(self.stations.speaker(user), taken.radio), LEAST_SYMBOLS)
        before = range(self.version - 1, max(self.version - 1 - STALE, 0), -1)
        self._kept[taken.name] = whole, of_version(whole, frame, self.version, before)
        return whole

    def quality(self, taken: Taken, user: int) -> Quality:
        """Of a capture that was looked at."""
        stations, lab, frame = self.stations, self.stations.lab, self.wanted(user)
        speaker, (whole, found) = stations.speaker(user), self._kept[taken.name]
        others = {stations.speaker(other) for other in range(len(lab.users))} - {speaker}
        leaks = {hz for name in others if (hz := self.sounding.clocks.near(name, taken.radio)) is not None}
        capture, found, _ = cleaned(whole.capture, frame, found, sorted(leaks))
        heard = replace(found.cfo, of=f"{speaker}-{lab.users[user]}", sources=(taken.file,))
        say(lab, heard)
        expected = self.sounding.clocks.heard(speaker, taken.radio, heard)
        if expected is not None:
            say(lab, expected)
        channel = lab.user_channel[lab.users[user]]
        scale = float(receive_scale(lab.capability[taken.radio], taken.capture.gain_db)[channel])
        return quality.measure(capture, frame, found, scale=scale, channel=channel, stream=frame.wanted)

    def slow(self, station: int, samples: NDArray[np.complexfloating], start: float) -> SlowTime:
        """What a base station's receive array heard, against the streams sent: of all stations that are together, else of its own."""
        together = self.stations.together
        frame = self.frames[0 if together else station]
        own = list(self.stations.each[station].users)
        lights = self.design.precoders if together else self.design.precoders[station : station + 1][..., own]
        return slowtime.of_frames(samples, self.stations.lab.numerology, frame.reference, lights, start=start)

    def constellation(self, found: Quality) -> NDArray[np.complex128]:
        """Its payload, equalised."""
        return found.equalised[:, payload_ranks(self.stations.lab.numerology)]
