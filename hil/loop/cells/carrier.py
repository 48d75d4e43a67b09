"""Measuring on a single carrier: what is sent is the design itself, symbol by symbol, and what counts is where symbols arrive."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hil.adversary import cells, symbols
from hil.adversary.cells import Verdict
from hil.errors import HilError
from hil.estimate import carrier, single, slowtime
from hil.estimate.acquisition import Acquisition
from hil.estimate.loss import Clean
from hil.estimate.quality import DECIBEL, Count, clopper_pearson
from hil.estimate.single import FLAT_DB
from hil.estimate.slowtime import SlowTime
from hil.knowledge import Design, Knowledge
from hil.loop.cells.hearing import Heard
from hil.loop.cells.stations import ECHO_S, Stations
from hil.loop.lab import Taken
from hil.loop.sounding import Part, Sounding
from hil.systems.multicell.carrier import Carrier, payload
from hil.systems.multicell.problem import Problem
from hil.units import from_db
from hil.waveform.amplitude import receive_scale
from hil.waveform.single import ROLL_OFF, SingleCarrierFrame

SYMBOLS = 64  # of a payload
STEP = 4  # samples per symbol: 0.96 MS/s at 3.84
ROUNDS = 1  # of the antennas' slots: short turns, and the carrier is known from the sounding
CLOCK_STD_HZ = 30.0  # of a carrier since it was sounded
USER_TURNS = 12  # whole turns in a user's capture


@dataclass(frozen=True, slots=True, eq=False)
class Arrived:
    """One user's symbols. sinr_db, std_db: (1,), SINR of a block-level design, of a symbol-level one squared margin over noise. equalised:
    (turn, symbol) over their mean amplitude. ripple_db: of the channel over the band."""

    sinr_db: NDArray[np.float64]
    std_db: NDArray[np.float64]
    evm: float
    bit_errors: Count
    symbol_errors: Count
    rate: float  # bit/s/Hz of a Gaussian channel of that SINR
    equalised: NDArray[np.complex128]
    ripple_db: float


@dataclass(frozen=True, eq=False)
class OnCarrier:
    """What is sent: one frame of all base stations' antennas, each sending its own rows. problem: what the design was made for."""

    stations: Stations
    sounding: Sounding
    version: int
    frame: SingleCarrierFrame
    problem: Problem
    design: Design

    @classmethod
    def of(cls, stations: Stations, sounding: Sounding, design: Design, asked: Carrier, knowledge: Knowledge, version: int) -> OnCarrier:
        """A design as it is sent."""
        frame = _frame(stations, version, np.concatenate(list(design.precoders[:, 0])))
        return cls(stations, sounding, version, frame, next(asked.judged(knowledge, design)), design)

    @property
    def frames(self) -> tuple[SingleCarrierFrame, ...]:
        return (self.frame,)

    @property
    def parts(self) -> dict[str, Part]:
        """Radio -> what it sends."""
        elements = self.stations.each[0].transmit.elements
        return {one.transmit.radio: Part(self.frame, n * elements, (n + 1) * elements) for n, one in enumerate(self.stations.each)}

    @property
    def length(self) -> int:
        """Samples of a turn."""
        return self.frame.length

    @property
    def user_samples(self) -> int:
        """That a user captures."""
        return (USER_TURNS + 1) * self.length

    def look(self, taken: Taken, user: int) -> Clean:
        """The capture as it is, if the frame is in it: nothing in a frame tells losses within a turn."""
        found = carrier.acquire(taken.capture, self.frame, near_hz=self.sounding.clocks.near(self.stations.speaker(user), taken.radio))
        if not found.above_threshold:
            found = carrier.acquire(taken.capture, self.frame)
        if not found.above_threshold:
            raise HilError("no-preamble", "the base stations' preamble is not in the capture", where=taken.radio, found=f"metric {found.metric:.4f}",
                           allowed=f"above {found.threshold:.4f}", fix="check that they transmit")  # fmt: skip
        return Clean(taken.capture, found, (), 0, followed=False)

    def quality(self, taken: Taken, user: int) -> Arrived:
        """Of a capture that was looked at."""
        return arrived(self, taken, user, self.look(taken, user).acquisition)

    def slow(self, station: int, samples: NDArray[np.complexfloating], start: float) -> SlowTime:
        """What a base station's receive array heard, against what every antenna sent."""
        stations, elements = len(self.stations.each), self.problem.antennas
        light = np.eye(stations * elements).reshape(stations, elements, -1)
        return slowtime.of_samples(samples, self.frame.samples(), light, self.stations.lab.numerology.sample_rate_hz, start=start)

    def constellation(self, found: Arrived) -> NDArray[np.complex128]:
        """Its payload."""
        return found.equalised


def carrier_of(stations: Stations, asked: float, residual: float, rng: np.random.Generator) -> Carrier:
    """The design problem of this bench on a single carrier."""
    lab, first = stations.lab, stations.each[0]
    grid = lab.numerology
    rate = grid.sample_rate_hz / STEP
    edge = np.clip((np.abs(grid.frequencies_hz) / rate - (1.0 - ROLL_OFF) / 2.0) / ROLL_OFF, 0.0, 1.0)
    sent = payload(len(lab.users), SYMBOLS, rng)
    length = _frame(stations, 0, np.zeros((stations.element_power.size, SYMBOLS), complex)).length
    return Carrier(
        asked=asked, residual=residual, cells=stations.cells, tones=grid.tones,
        shape=np.where(edge < 1.0, 0.5 + 0.5 * np.cos(np.pi * edge), 0.0), blocks=grid.block_of_tone, wider=round(rate / grid.spacing_hz),
        element_power_w=stations.element_power, transmit_place=stations.wavelengths(first.transmit),
        receive_place=stations.wavelengths(first.receive), payload=sent, turns=int(ECHO_S * grid.sample_rate_hz / length),
        coherent=stations.together, rng=rng,
    )  # fmt: skip


def require_flat(stations: Stations, asked: Carrier, heard: Heard) -> float:
    """Decibels by which the channel of any user strays from flat over the carrier's band. HilError `channel-not-flat` beyond what one complex
    gain an antenna may stand for."""
    tones = np.asarray(heard.channel.value)[..., 0, :][:, :, asked.inside]
    power = np.sum(np.abs(tones) ** 2, axis=(0, 3))  # (user, tone)
    runs = np.apply_along_axis(lambda row: np.convolve(row, np.ones(5) / 5.0, mode="valid"), 1, power / power.mean(1, keepdims=True))
    ripple = DECIBEL * np.abs(np.log(runs)).max(1)
    worst = int(np.argmax(ripple))
    if ripple[worst] > FLAT_DB:
        raise HilError("channel-not-flat", "one complex gain an antenna does not describe this channel", where=stations.lab.users[worst],
                       found=f"{ripple[worst]:.2f} dB over {np.ptp(stations.lab.numerology.frequencies_hz[asked.inside]) / 1e6:.2f} MHz",
                       allowed=f"{FLAT_DB:g} dB", fix='design.waveform = "ofdm", or a smaller room')  # fmt: skip
    return float(ripple[worst])


def _frame(stations: Stations, version: int, sent: NDArray[np.complex128]) -> SingleCarrierFrame:
    """sent: (antenna of all base stations, symbol)."""
    return SingleCarrierFrame(stations.lab.numerology, 0, version, sent, stations.element_power.ravel(), rounds=ROUNDS, samples_per_symbol=STEP)


def arrived(on_air: OnCarrier, taken: Taken, user: int, coarse: Acquisition) -> Arrived:
    """What a user makes of its capture."""
    stations, problem = on_air.stations, on_air.problem
    lab, channel = stations.lab, stations.lab.user_channel[stations.lab.users[user]]
    scale = float(receive_scale(lab.capability[taken.radio], taken.capture.gain_db)[channel])
    counts = (np.arange(len(stations.each)) == stations.cells[user])[:, None] | (on_air.design.mode == "comp")
    expected = np.where(counts, problem.channel[:, user], 0.0).ravel()
    capture = replace(taken.capture, samples=taken.capture.samples * np.float32(scale))
    expects = on_air.sounding.clocks.near(stations.speaker(user), taken.radio)
    near = None if expects is None else (expects, CLOCK_STD_HZ)
    heard = single.receive(capture, on_air.frame, channel=channel, expected=expected, coarse=coarse, most_ripple_db=None, near=near)
    assert problem.payload is not None
    meant = problem.payload[user]
    found = single.judge(heard, meant, problem.psi)
    if on_air.design.kind == "slp":
        value, std = _margin(on_air, heard, user)
    else:
        ratio, count = max(found.sinr, 1e-6), len(heard.symbols) * SYMBOLS
        value, std = 10.0 * np.log10(ratio), DECIBEL * np.sqrt(2.0 / (count * ratio) + 1.0 / count)
    turned = heard.symbols * np.conj(meant)
    axes = turned * np.exp(1j * np.pi / 4.0)  # QPSK: a bit on each axis
    bits = int(np.count_nonzero(axes.real < 0.0) + np.count_nonzero(axes.imag < 0.0))
    return Arrived(
        np.array([value]), np.array([std]), found.evm, Count(bits, 2 * turned.size, clopper_pearson(bits, 2 * turned.size)), found.errors,
        float(np.log2(1.0 + found.sinr)), heard.symbols / np.abs(turned.mean()), heard.ripple_db,
    )  # fmt: skip


def _margin(on_air: OnCarrier, heard: single.Received, user: int) -> tuple[float, float]:
    """(dB, std) squared least margin over effective noise, in the terms of the promise.

    What arrives is split into what the channels as known make of what is sent, each base station's part that is not sent together times a
    gain of its own, and the rest: neighbouring symbols and errors of the channel. Other base stations' parts count at their largest.
    """
    problem, conj = on_air.problem, np.conj(on_air.problem.payload[user])  # type: ignore[index]
    sent = on_air.frame.payload.reshape(problem.stations, problem.antennas, -1)
    parts = np.einsum("ni,nit->nt", problem.channel[:, user], sent) * conj
    if on_air.design.mode == "comp":
        parts = parts.sum(0, keepdims=True)
    else:
        parts = np.roll(parts, -int(problem.cells[user]), axis=0)  # its own in front
    mean, turns = heard.symbols.mean(0) * conj, len(heard.symbols)
    fitted = np.linalg.lstsq(parts.T, mean, rcond=None)[0][:, None] * parts
    own, rest = fitted[0], mean - fitted.sum(0)
    between = max(float(np.mean(np.abs(rest) ** 2)) - heard.noise / turns, 0.0)
    noise = heard.noise + between + float(np.sum(np.abs(fitted[1:]).max(1, initial=0.0) ** 2))
    known = parts[0]
    least = float((own.real - np.abs(own.imag) / np.tan(problem.psi)).min())
    least = max(least, 1e-3 * np.sqrt(noise))
    share = np.sqrt(heard.noise / (2.0 * turns * problem.length)) / np.sqrt(np.mean(np.abs(known) ** 2)) / least * np.abs(known).max()
    return 20.0 * np.log10(least / np.sqrt(noise)), 2.0 * DECIBEL * float(np.hypot(share, 1.0 / np.sqrt(2.0 * problem.length)))


def judge(asked: Carrier, design: Design, knowledge: Knowledge, rng: np.random.Generator) -> Verdict:
    """The adversary's word on a design."""
    problem = next(asked.judged(knowledge, design))
    assert problem.payload is not None
    x = design.precoders[:, 0]
    promised = None if design.promised is None else float(10.0 * np.log10(asked.without_residual(float(from_db(design.promised)))))
    told = problem.channel, problem.radius, problem.noise, problem.cells, design.mode
    if design.kind == "slp":
        return symbols.verdict(x, *told, problem.payload, problem.psi, promised, rng)
    w = x @ problem.payload.conj().T / problem.length  # rows of the payload are orthogonal
    return cells.verdict(np.where(np.abs(w) > 1e-12 * np.abs(w).max(), w, 0.0), *told, promised, rng)
