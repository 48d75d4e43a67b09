"""Offset between the frames of two nodes that hear themselves: two-way exchange without timed starts.

A capture begins nobody knows when, so an arrival alone means nothing. A node that hears its own frame beside the other's (coupler, leakage)
tells how much later the other's arrives, and there the beginning of the capture cancels, and the receiver's own latency with it:
u_b = o + d - l_b at b and u_a = -o + d - l_a at a, all modulo the frame, with o = how late a's frame leaves against b's, d the way between
them and l the calibrated loop from a node's port to its own receiver. Half the difference is o at the middle of both epochs, half the sum
is d. Holds between transmissions: any reload voids it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from hil.clock import Instant
from hil.device import Capture
from hil.errors import HilError, InputError
from hil.estimate import timing
from hil.estimate.acquisition import Acquisition, acquire
from hil.estimate.carrier import Carrier, refine, symbols_of
from hil.estimate.tracking import CLASSES, FRAME_S, ClockNoise, Reading
from hil.estimate.usable import samples_of
from hil.knowledge import Estimate
from hil.uncertainty import interval_factor
from hil.waveform import ofdm
from hil.waveform.frame import Frame

ROUNDS = 1  # of taking every signal out of the others' way
OVERSAMPLING = 8  # at which six-point interpolation leaves -100 dB
AVERAGED = 10  # clock readings
NEAR_HALF = 0.45  # of a turn, from which its number is a guess
SURE = 0.999  # confidence of the free tests
TWO_CRYSTALS = CLASSES["tcxo"] + CLASSES["tcxo"]


@dataclass(frozen=True, slots=True, eq=False)
class Heard:
    """One device's frame in a capture, other devices' taken out of it: arrival for delay and carrier at the centroid, carrier for phase
    noise. capture: what is left for this device."""

    arrival: timing.Arrival
    carrier: Carrier
    capture: Capture

    def content_at(self, seconds: float, frame_s: float) -> float:
        """Where in its frame the device is heard to be, `seconds` after the capture's first sample; nominal seconds in [0, frame)."""
        stretch = float(self.arrival.joint.value[0]) / self.carrier.carrier_hz
        delay = float(self.arrival.joint.value[1]) - stretch * (seconds - self.arrival.centre_s)
        return float((seconds - delay) % frame_s)


def separated(
    capture: Capture, frames: Sequence[Frame], *, near_hz: Sequence[float | None] = (), first_path: bool = False
) -> list[Heard]:
    """Every device's arrival in a capture that holds all of them: strongest first, rebuilt and subtracted, then each without the others.

    frames: of one antenna each. near_hz: carrier offsets that are known, None where not; 0 for one's own. first_path: several paths, of
    which the first is wanted; else a single one, as over a cable. Raises HilError `no-preamble` for a device that is not heard.
    """
    near = list(near_hz) or [None] * len(frames)
    for frame in frames:
        if frame.preambles.shape[0] != 1:
            raise InputError("frame", "an arrival belongs to one antenna", where=f"device {frame.device}", found=f"{frame.preambles.shape[0]}",
                             allowed="1", fix="let one antenna send this frame")  # fmt: skip
    samples = samples_of(capture, 1, frames[0].numerology.sample_rate_hz)
    copies: dict[int, NDArray[np.complex64]] = {}
    found: dict[int, Heard] = {}
    waiting = set(range(len(frames)))
    left = capture
    while waiting:
        looks = {i: acquire(left, frames[i], near_hz=near[i]) for i in waiting}
        i = max(waiting, key=lambda each: looks[each].metric)
        found[i], copies[i] = _heard(left, frames[i], looks[i], first_path)
        waiting.remove(i)
        left = replace(capture, samples=samples - sum(copies.values()))
    for _ in range(ROUNDS if len(frames) > 1 else 0):
        for i in list(found):  # in the order of their strength
            rest = replace(capture, samples=samples - sum(copy for j, copy in copies.items() if j != i))
            found[i], copies[i] = _heard(rest, frames[i], found[i].carrier, first_path)
    return [found[i] for i in range(len(frames))]


def _heard(capture: Capture, frame: Frame, coarse: Acquisition | Carrier, first_path: bool) -> tuple[Heard, NDArray[np.complex64]]:
    """One device, and a copy of what it put into the capture: its frame through the channel found on each tone."""
    carrier = refine(capture, frame, coarse)
    arrival = timing.one_path(capture, frame, carrier)
    numerology = frame.numerology
    heard = symbols_of(capture, numerology, carrier)
    known = frame.known[heard.index % frame.layout.symbols]
    energy = np.sum(np.square(np.abs(known)), axis=0)
    channel = np.einsum("rmk,mk->rk", heard.values, known.conj()) / energy
    if first_path:
        arrival = _first(arrival, carrier, channel, energy, frame)
    waves = ofdm.modulate(numerology, frame.known * channel[:, None])
    return Heard(arrival, carrier, capture), rebuilt(waves, carrier, numerology.sample_rate_hz, capture.samples.shape[-1])


def _first(arrival: timing.Arrival, carrier: Carrier, channel: NDArray, energy: NDArray, frame: Frame) -> timing.Arrival:
    """The arrival over the first of several paths, on the first receive channel."""
    numerology = frame.numerology
    variance = float(np.mean(carrier.noise[0] / energy))
    told = timing.first_path(channel[0], numerology.frequencies_hz, variance, arrival.joint.of)
    value = np.array([arrival.joint.value[0], carrier.delay_at(arrival.centre_s, numerology.sample_rate_hz) + told.value[0]])
    spread = np.diag([arrival.joint.covariance[0, 0], told.covariance[0, 0]])
    above = arrival.joint.above_threshold and told.above_threshold
    joint = replace(arrival.joint, value=value, covariance=spread, bound=spread, above_threshold=above, assumptions=told.assumptions)
    return timing.Arrival(joint, arrival.centre_s)


def rebuilt(waves: NDArray[np.complex128], carrier: Carrier, rate: float, samples: int) -> NDArray[np.complex64]:
    """(channel, sample) of cyclic waves (channel, turn) as they arrive with a carrier's start, offset and stretch."""
    length = waves.shape[-1]
    half, size = length // 2, scipy.fft.next_fast_len(OVERSAMPLING * length)
    spectrum = scipy.fft.fft(waves.astype(np.complex64), axis=-1, norm="forward")
    wide = np.zeros((len(waves), size), dtype=np.complex64)
    wide[:, :half], wide[:, half - length :] = spectrum[:, :half], spectrum[:, half:]
    fine = scipy.fft.ifft(wide, axis=-1, norm="forward", overwrite_x=True)
    n = np.arange(samples)
    at = (1.0 + carrier.stretch) * (n - carrier.start) * (size / length)
    whole = np.floor(at).astype(np.int64)
    u = (at - whole).astype(np.float32)
    out = np.zeros((len(waves), samples), dtype=np.complex64)
    nodes = range(-2, 4)
    for node in nodes:
        others = [other for other in nodes if other != node]
        weight = np.prod([u - np.float32(other) for other in others], axis=0) / np.float32(np.prod([node - other for other in others]))
        out += weight * fine[:, (whole + node) % size]
    return out * np.exp(2j * np.pi * carrier.cfo_hz / rate * n).astype(np.complex64)


@dataclass(frozen=True, slots=True, eq=False)
class Lateness:
    """How much later another node's frame arrives than one's own, at one node.

    seconds: u modulo the frame, at `at`, with variance; cfo_hz: of the other, with variance, phase noise included. own, other: where in
    its frame each is heard to be at `at`. at: clock reading, good to a fraction of a frame until counted in `Turns`.
    """

    seconds: float
    variance: float
    cfo_hz: float
    cfo_variance: float
    carrier_hz: float
    frame_s: float
    own: float
    other: float
    at: Instant
    node: str
    above_threshold: bool


@dataclass(frozen=True, slots=True)
class Turns:
    """A node's own frames as its clock, which lets the jitter of clock readings out of epochs: at 3 ppm a tenth of a millisecond is 0.3 ns.

    zero: when a turn began, by the first reading. late_s: what later readings say more than the frames, as averaged over the last ten;
    readings: how many there were.
    """

    zero: Instant
    late_s: float = 0.0
    readings: int = 1

    @classmethod
    def begin(cls, first: Lateness) -> Turns:
        return cls(first.at.after(-first.own))

    def dated(self, heard: Lateness) -> tuple[Turns, Lateness]:
        """`heard` with `at` counted in whole turns, and the count with one more reading.

        Raises HilError `frame-slipped` where the reading lies near half a turn away: too coarse a clock, or a reload in between.
        """
        since = heard.at.since(self.zero) - heard.own
        turns = round((since - self.late_s) / heard.frame_s)
        late = since - turns * heard.frame_s
        if abs(late - self.late_s) > NEAR_HALF * heard.frame_s:
            raise HilError("frame-slipped", "this capture does not continue the frames of the first", where=heard.node,
                           found=f"{(since - self.late_s) / heard.frame_s:.2f} turns later", allowed=f"a whole number, to {NEAR_HALF}",
                           fix="longer frames, or a new track after a reload")  # fmt: skip
        share = 1.0 / min(self.readings + 1, AVERAGED)
        after = replace(self, late_s=self.late_s + share * (late - self.late_s), readings=self.readings + 1)
        return after, replace(heard, at=self.zero.after(turns * heard.frame_s + heard.own))


def lateness(capture: Capture, own: Frame, other: Frame, *, near_hz: float | None = None, first_path: bool = False) -> Lateness:
    """What one node hears of the other and of itself. near_hz: the other's tracked carrier offset.

    One's own carrier offset is nil; a node whose own frame seems to be off by more than chance has taken another's for it.
    Raises HilError for frames of different lengths, a frame that is not heard and a capture without clock reading.
    """
    if own.length != other.length or capture.clock is None:
        raise HilError("exchange", "this exchange tells no offset", where=capture.device,
                       found=f"frames of {own.length} and {other.length} samples, clock reading {capture.clock}",
                       allowed="frames of one length, and when the capture was taken")  # fmt: skip
    mine, theirs = separated(capture, [own, other], near_hz=[0.0, near_hz], first_path=first_path)
    spread = float(mine.carrier.cfo.covariance[0, 0])
    if mine.carrier.cfo_hz**2 > interval_factor(SURE) ** 2 * spread + 1.0:
        raise HilError("exchange", "the frame heard as one's own is not", where=capture.device, found=f"{mine.carrier.cfo_hz:.1f} Hz off",
                       allowed="0 Hz: one oscillator", fix="check which device sends which frame")  # fmt: skip
    frame_s, middle = own.length / own.numerology.sample_rate_hz, theirs.arrival.centre_s
    own_at, other_at = mine.content_at(middle, frame_s), theirs.content_at(middle, frame_s)
    variance = float(mine.arrival.joint.covariance[1, 1] + theirs.arrival.joint.covariance[1, 1])
    return Lateness(
        (own_at - other_at) % frame_s, variance, theirs.carrier.cfo_hz, float(theirs.carrier.cfo.covariance[0, 0]), capture.carrier_hz,
        frame_s, own_at, other_at, capture.clock.after(middle), capture.device,
        mine.arrival.joint.above_threshold and theirs.arrival.joint.above_threshold and theirs.carrier.above_threshold,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Loop:
    """Calibrated delay from a node's transmit port to where its receiver hears it, s, with variance."""

    seconds: float
    variance: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Exchange:
    """offset: value (2,) = seconds by which the second node's frame leaves late against the first's (in +- half a frame) and its growth in
    s/s, covariance (2, 2), at `offset.epoch`, the middle of both epochs. range: s between the ports, (1,), corrected for the rate.
    apart_s: from the first node's epoch to the second's."""

    offset: Estimate
    range: Estimate
    apart_s: float

    @property
    def reading(self) -> Reading:
        """For the track of the second node's clock against the first's. Refuses an exchange that is not to be trusted."""
        if not self.offset.above_threshold or self.offset.epoch is None:
            raise InputError("reading", "this exchange cannot enter a track", key=self.offset.of, found=", ".join(self.offset.assumptions),
                             allowed="above threshold, carriers that agree", fix="exchange again")  # fmt: skip
        return Reading(self.offset.epoch, float(self.offset.value[0]), float(self.offset.value[1]), self.offset.covariance)


def exchange(first: Lateness, second: Lateness, first_loop: Loop, second_loop: Loop, noise: ClockNoise = TWO_CRYSTALS) -> Exchange:
    """Offset and range from what both nodes heard, each of the other and of itself.

    noise: of the pair's clocks; what they wander between the captures is then allowed for in the test that both carriers are one
    (cfo_ab + cfo_ba = 0), a failure of which flags the exchange. The two carriers' half difference is the rate. The whole number of frames
    between the epochs is told by clock readings that must be good to a quarter of a frame.
    """
    frame_s = first.frame_s
    if abs(frame_s - second.frame_s) > 1e-12:
        raise InputError("exchange", "both nodes must send frames of one length", found=f"{second.frame_s:g} s", allowed=f"{frame_s:g} s")
    one, two = first.seconds + first_loop.seconds, second.seconds + second_loop.seconds
    both = _near_zero(one + two, frame_s)  # twice the way, which is short against a frame
    late = _near_zero(one - both / 2.0, frame_s)
    stretch = (first.cfo_hz - second.cfo_hz) / 2.0 / first.carrier_hz  # of the second node over the first
    apart = second.other - first.own + both / 2.0 - first_loop.seconds
    apart += frame_s * round((second.at.since(first.at) - apart) / frame_s)
    apart -= stretch * apart / 2.0  # by which half the sum is not the way
    stretch_variance = (first.cfo_variance + second.cfo_variance) / 4.0 / first.carrier_hz**2
    quarter = (first.variance + second.variance + first_loop.variance + second_loop.variance) / 4.0
    wander = first.carrier_hz**2 * (2.0 * max(noise.fast, noise.white / FRAME_S) + noise.walk * abs(apart))
    sure = interval_factor(SURE) ** 2 * (first.cfo_variance + second.cfo_variance + wander)
    agree = (first.cfo_hz + second.cfo_hz) ** 2 <= sure
    notes = ("frames on the air since before both captures", *(() if agree else ("carriers of both ways disagree",)))
    above = first.above_threshold and second.above_threshold and agree
    of = f"{second.node} against {first.node}"
    covariance = np.diag([quarter + noise.white * abs(apart) / 4.0, stretch_variance])
    offset = Estimate("frame offset and rate", of, np.array([late, -stretch]), covariance, "s, s/s", bound=np.diag([quarter, stretch_variance]),
                      epoch=first.at.after(apart / 2.0), above_threshold=above, assumptions=notes)  # fmt: skip
    spread = np.array([[covariance[0, 0] + (apart / 2.0) ** 2 * stretch_variance]])
    way = Estimate("range", of, np.array([both / 2.0 - stretch * apart / 2.0]), spread, "s", bound=spread, epoch=offset.epoch,
                   above_threshold=above, assumptions=notes)  # fmt: skip
    return Exchange(offset, way, apart)


def _near_zero(seconds: float, frame_s: float) -> float:
    """Modulo the frame, in [-frame/2, frame/2)."""
    return (seconds + frame_s / 2.0) % frame_s - frame_s / 2.0
