"""The transmit side of an emulated part: codes in its converters' format become transmissions of the world.

What is sent runs on through a change of settings: a new gain or carrier applies to the same waveform from then on.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from hil.clock import Instant
from sim_backend import transmission
from sim_backend.converter import transmit_amplitude
from sim_backend.history import Airing, Program
from sim_backend.iiod.listening import Codes
from sim_backend.oscillator import Oscillator
from sim_backend.transmission import PIPELINE
from sim_backend.world import World

UNLOCKED_S = 300e-6  # a retuned synthesiser is muted for so long
RETURN = 8  # samples that a digital loopback takes
GUARD = 64  # samples of a stream beside a piece of it that shape its edge
PIECE = 1 << 14  # samples of a stream that are put on the air together at most
REMEMBERED = 8  # waveforms, for a digital loopback
STREAM_S, LONGEST_S = 2.0, 6.0  # for how long what a stream sent is remembered, and at most while somebody has yet to read blocks of then


@dataclass(frozen=True, slots=True)
class Mouth:
    """One transmit channel. phase: cycles, of its synthesiser. turn: cycles that a digital oscillator turns it by. tuning: a key of the
    phase of its leakage."""

    carrier: int
    phase: float
    attenuation_db: float
    on: bool = True
    turn: float = 0.0
    tuning: int = 0


@dataclass(eq=False)
class Played:
    """codes: (sample, channel, IQ) as written. origin: tick at which sample 0 leaves the buffer. end: tick behind the last; None: still."""

    codes: Codes
    origin: int
    cyclic: bool
    end: int | None = None
    program: Program | None = None
    airings: list[Airing] = field(default_factory=list)


class Sending:
    """shift: bits by which the codes as written are finer than the converter. latency: seconds from a buffer to its first sample.
    needed: the instant from which on what was sent may still be asked for.

    Whoever holds `lock` waits for no lock of a receiver: those who hold one of them wait for this.
    """

    def __init__(
        self, world: World, name: str, reference: Callable[[Instant], tuple[Oscillator, float]], shift: int, latency: Callable[[], float],
        needed: Callable[[], Instant],
    ) -> None:  # fmt: skip
        self._world, self._name, self._reference, self._shift, self._latency = world, name, reference, shift, latency
        self._needed = needed
        self._mouths: tuple[Mouth, ...] = ()
        self._retuned = world.now
        self._played: deque[Played] = deque(maxlen=REMEMBERED)
        self._stream: Train | None = None
        self.rate = 0
        self.lock = threading.RLock()

    def now(self) -> int:
        """The present tick."""
        at = self._world.now
        return self._reference(at)[0].next_tick(at, self.rate)

    def instant(self, tick: int) -> Instant:
        return self._reference(self._world.now)[0].tick(tick, self.rate)

    def soon(self) -> int:
        """The tick at which a buffer that is filled now begins to leave it."""
        at = self._world.now.after(self._latency())
        return self._reference(at)[0].next_tick(at, self.rate)

    # -- settings ----------------------------------------------------------------------------------------------------------------------

    def tune(self, mouths: Sequence[Mouth], rate: int, retuned: Instant | None) -> None:
        """In force from now on. retuned: when synthesisers began to lock, if they did. At another rate everything starts anew."""
        with self.lock:
            if tuple(mouths) == self._mouths and rate == self.rate:
                return
            playing, stream = self._playing, self._stream
            program = playing.program if playing is not None else None
            self.stop()
            self._mouths, anew = tuple(mouths), rate != self.rate
            self.rate = rate
            self._retuned = retuned or self._retuned
            begin = self._world.now if retuned is None else self._world.now.after(UNLOCKED_S)
            if playing is not None:
                origin = self.soon() if anew else playing.origin
                codes = playing.codes
                self._played.append(Played(codes, origin, True, program=program))
                self._air(self._played[-1], max(begin, self.instant(origin + PIPELINE)))
            if stream is not None and not anew:
                stream.rewind(self.now() - PIPELINE)
                self._stream = stream

    @property
    def _playing(self) -> Played | None:
        last = self._played[-1] if self._played else None
        return last if last is not None and last.cyclic and last.end is None else None

    # -- waveforms ---------------------------------------------------------------------------------------------------------------------

    def play(self, codes: Codes, origin: int | None = None) -> None:
        """Send a waveform (sample, channel, IQ) again and again, from a tick or from soon on."""
        with self.lock:
            self.stop()
            played = Played(codes, self.soon() if origin is None else origin, True, program=self._program(codes))
            self._played.append(played)
            self._air(played, self.instant(played.origin + PIPELINE))

    def stop(self) -> None:
        """Silence, now."""
        with self.lock:
            self.flush()
            stream, self._stream = self._stream, None
            now = self._world.now
            for played in [*self._played, *(stream.sent if stream else ())]:
                transmission.stop(played.airings, now)
                if played.end is None:
                    played.end = max(self.now(), played.origin)
                played.program, played.airings = None, []  # the world remembers them for as long as anybody may ask

    def _program(self, codes: Codes, taper: NDArray[np.float32] | None = None) -> Program:
        """taper: (sample,) by which the ends of a piece are faded."""
        if wrap := self._world.faults.active(self._name, "dac-wrap", self._world.now):
            codes = np.rint(codes * wrap["scale"]).astype(np.int64).astype(np.int16)
        values = (codes >> self._shift).astype(np.float32).view(np.complex64)[..., 0].T
        turn = np.array([mouth.turn for mouth in self._mouths])
        if turn.any():
            values = values * np.exp(2j * np.pi * turn).astype(np.complex64)[:, None]
        if taper is not None:
            values = values * taper
        return Program(0, np.ascontiguousarray(values, np.complex64), 1 << (15 - self._shift))

    def _air(self, played: Played, begin: Instant, end: Instant | None = None) -> None:
        """Put a waveform on the air: a transmission for every synthesiser, in which the others' elements are silent."""
        assert played.program is not None
        full_scale = self._world.radio(self._name).capability.transmit_full_scale_dbm
        channels = self._world.channels(self._name, "transmit")
        oscillator, _ = self._reference(begin)
        if not channels.size:
            return
        mouths = [self._mouths[c] for c in channels]
        for carrier, phase, tuning in dict.fromkeys((m.carrier, m.phase, m.tuning) for m in mouths if m.on):
            sounding = [m.on and (m.carrier, m.phase) == (carrier, phase) for m in mouths]
            amplitude = [transmit_amplitude(full_scale, m.attenuation_db) if here else 0.0 for m, here in zip(mouths, sounding)]
            whole = Airing(
                radio=self._name, program=played.program, channels=channels, amplitude=np.array(amplitude), oscillator=oscillator,
                carrier=carrier, rate=self.rate, first_tick=played.origin + PIPELINE, start=begin, phase=phase,
                chains=self._world.chains(self._name, tuple(m.attenuation_db for m in self._mouths), tuning),
                phase_noise=self._world.phase_noise(self._name, "transmit"),
            )  # fmt: skip
            for airing in transmission.pieces(whole, self._world.faults, self._reference, self._retuned):
                if end is not None and (airing.stop is None or end < airing.stop):
                    airing.stop = max(airing.start, end)
                self._world.air(airing)
                played.airings.append(airing)

    # -- streams -----------------------------------------------------------------------------------------------------------------------

    def push(self, codes: Codes, origin: int | None = None) -> tuple[int, bool]:
        """Send a block (sample, channel, IQ) behind the one before, or as soon as can be. The tick behind its last sample, and whether
        there was nothing left to send before it came. origin: of the first block."""
        with self.lock:
            stream = self._stream or Train()
            starved = stream.started and self.now() > stream.end
            if starved:
                self.flush()
            if starved or not stream.started:
                stream.begin(self.soon() if origin is None else origin, codes.shape[1])
            stream.add(codes)
            self._stream = stream
            if stream.waiting > PIECE:
                self._put_on_air(stream, stream.end - GUARD)
            return stream.end, starved

    @property
    def streaming(self) -> bool:
        """Whether what is sent next is still to come from a client."""
        return self._stream is not None

    def starved(self) -> bool:
        """Whether a stream has nothing left to send."""
        with self.lock:
            return self._stream is not None and self._stream.started and self.now() > self._stream.end

    def flush(self) -> None:
        """Put on the air what a stream has sent and will send: whoever listens now must hear it."""
        with self.lock:
            stream = self._stream
            if stream is not None and stream.started and stream.aired <= self.now():
                dry = self.now() >= stream.end - GUARD
                self._put_on_air(stream, stream.end + (GUARD if dry else -GUARD))

    def _put_on_air(self, stream: Train, until: int) -> None:
        while stream.aired < until:
            begin, end = stream.aired, min(until, stream.aired + PIECE)
            codes, taper = stream.piece(begin, end)
            played = Played(codes, begin - GUARD, False, end, self._program(codes, taper))
            self._air(played, self.instant(begin + PIPELINE), self.instant(end + PIPELINE))
            stream.sent.append(played)
            stream.aired = end
        now = self._world.now
        horizon = max(min(now.after(-STREAM_S), self._needed()), now.after(-LONGEST_S))
        while stream.sent and self.instant(stream.sent[0].end or 0) < horizon:
            self._world.forget(stream.sent.popleft().airings)
        stream.drop(self.now() - PIPELINE)

    # -- digital loopback --------------------------------------------------------------------------------------------------------------

    def codes(self, first: int, count: int) -> Codes:
        """What the converter was given for `count` samples, (sample, channel, IQ) at its own resolution, as a loopback returns it."""
        out = np.zeros((count, len(self._mouths), 2), np.int16)
        first -= RETURN
        with self.lock:
            sent = list(self._stream.sent) if self._stream else []
            found = [*self._played, *sent]
            stream = self._stream
        for played in found:
            start = played.origin + (0 if played.cyclic else GUARD)
            low = max(start, first)
            high = first + count if played.end is None else min(first + count, played.end)
            if low < high:
                index = (np.arange(low, high) - played.origin) % len(played.codes)
                out[low - first : high - first] = played.codes[index] >> self._shift
        if stream is not None and stream.started:
            low, high = max(stream.aired, first), min(first + count, stream.end)
            if low < high:
                out[low - first : high - first] = stream.piece(low, high)[0][GUARD : GUARD + high - low] >> self._shift
        return out


class Train:
    """Blocks that follow each other without a gap, and how far they are on the air. Ticks count samples leaving the buffer."""

    def __init__(self) -> None:
        self.sent: deque[Played] = deque()
        self.aired = self.end = self._first = 0
        self._held: list[Codes] = []

    @property
    def started(self) -> bool:
        return bool(self._held)

    @property
    def waiting(self) -> int:
        return self.end - self.aired

    def begin(self, tick: int, channels: int) -> None:
        """The next block starts anew, at a tick."""
        self.aired = self.end = max(tick, self.aired)
        self._first = self.end - GUARD
        self._held = [np.zeros((GUARD, channels, 2), np.int16)]

    def add(self, codes: Codes) -> None:
        self._held.append(codes)
        self.end += len(codes)

    def piece(self, begin: int, end: int) -> tuple[Codes, NDArray[np.float32]]:
        """Samples from GUARD before `begin` on, some more behind `end`, zeros where there are none; and how they are faded, so that the end
        of the piece does not ring into its beginning."""
        held = np.concatenate(self._held)
        size = scipy.fft.next_fast_len(end - begin + 2 * GUARD, real=False)
        codes = np.zeros((size, *held.shape[1:]), np.int16)
        low, high = begin - GUARD - self._first, min(end + GUARD - self._first, len(held))
        codes[: max(0, high - low)] = held[low:high]
        ramp = 0.5 - 0.5 * np.cos(np.pi * (np.arange(GUARD) + 0.5) / GUARD)
        taper = np.ones(size, np.float32)
        taper[: GUARD // 2] = ramp[::2]
        taper[end - begin + GUARD + GUARD // 2 :] = 0.0
        taper[end - begin + GUARD : end - begin + GUARD + GUARD // 2] = ramp[::-2]
        return codes, taper

    def rewind(self, tick: int) -> None:
        """What leaves from a tick on is to be put on the air again."""
        self.aired = min(self.aired, max(tick, self._first + GUARD))

    def drop(self, tick: int) -> None:
        """Let go of what no piece that begins at a tick will need."""
        while len(self._held) > 1 and self._first + len(self._held[0]) < min(tick, self.aired) - 2 * GUARD:
            self._first += len(self._held.pop(0))
