"""The receive side of an emulated part: what its converters deliver for any window of its ticks, by the settings of their time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hil.clock import Instant
from sim_backend.converter import write_codes
from sim_backend.history import Tuning
from sim_backend.kernels import BLOCK
from sim_backend.oscillator import Oscillator
from sim_backend.reception import PIPELINE, Receiver, Tuned
from sim_backend.world import World

Codes = NDArray[np.int16]
CHUNK = 1 << 17  # samples computed at a time
ERAS = 32  # remembered
LOOK = 64  # samples at which automatic gain is looked at
EARLIER = 1 << 20  # ticks before a receiver's first setting of which it may be asked


@dataclass(frozen=True, slots=True)
class Ear:
    """One receive channel. phase: cycles, of its synthesiser. turn: cycles that a digital oscillator turns it back by, and scale
    what a digital gain multiplies it with. looped: it hears the transmitter's codes instead of the air."""

    carrier: int
    phase: float
    gain_db: float
    mode: str = "manual"
    turn: float = 0.0
    scale: float = 1.0
    looped: bool = False

    @property
    def digital(self) -> tuple[object, ...]:
        """What is done to codes."""
        return self.turn, self.scale, self.looped

    @property
    def group(self) -> tuple[object, ...]:
        """Channels that agree on this are computed together."""
        return self.carrier, self.phase, self.mode


class Era(NamedTuple):
    """From `tick` on channels are grouped, turned and looped like this."""

    tick: int
    ears: tuple[Ear, ...]
    groups: tuple[tuple[tuple[int, ...], Receiver], ...]

    def continues(self, other: Era) -> bool:
        """Whether what differs from another era is analogue, which receivers keep book of themselves."""
        alike = [channels for channels, _ in self.groups] == [channels for channels, _ in other.groups]
        return alike and all(a.digital == b.digital for a, b in zip(self.ears, other.ears))


class Listening:
    """looped: (first tick, samples) -> the transmitter's codes (sample, channel, IQ), as a digital loopback returns them."""

    def __init__(
        self, world: World, name: str, reference: Callable[[Instant], tuple[Oscillator, float]], bits: int, looped: Callable[[int, int], Codes]
    ) -> None:
        self._world, self._name, self._reference, self._looped = world, name, reference, looped
        self._bits = bits
        self._capability = world.radio(name).capability
        self._eras: tuple[Era, ...] = ()
        self._lock = threading.Lock()
        self.rate = 0
        self.version = 0  # another after every tuning

    def now(self) -> int:
        """The present tick."""
        at = self._world.now
        return self._reference(at)[0].next_tick(at, self.rate)

    def instant(self, tick: int) -> Instant:
        """When a tick's sample has come through."""
        return self._reference(self._world.now)[0].tick(tick, self.rate)

    def tune(self, ears: Sequence[Ear], rate: int, retuned: Instant) -> None:
        """In force from now on; at another rate nothing earlier can be asked for."""
        with self._lock:
            old = self._eras if rate == self.rate else ()
            self.rate = rate
            at, tick = self._world.now, self.now()
            oscillator, _ = self._reference(at)
            groups: dict[tuple[object, ...], list[int]] = {}
            for channel, ear in enumerate(ears):
                groups.setdefault(ear.group, []).append(channel)
            fresh = tuple((tuple(chosen), Receiver(self._world, self._name, self._capability, self._reference)) for chosen in groups.values())
            era = Era(tick, tuple(ears), fresh)
            if old and era.continues(old[-1]):
                era = Era(old[-1].tick, era.ears, old[-1].groups)
                old = old[:-1]
            else:  # a receiver's book reaches back to before any window that may be asked for
                before = old[-1].ears if old else era.ears
                for chosen, receiver in fresh:
                    self._write(receiver, before, chosen[0], tick - EARLIER, retuned, oscillator)
            for chosen, receiver in era.groups:
                self._write(receiver, era.ears, chosen[0], tick, retuned, oscillator)
            self._eras = (*old, era)[-ERAS:]
            self.version += 1

    def _write(self, receiver: Receiver, ears: tuple[Ear, ...], channel: int, tick: int, retuned: Instant, oscillator: Oscillator) -> None:
        receiver.tune(Tuned(tick, retuned, self._tuning(ears, channel, oscillator), ears[channel].mode), anew=False)

    def _tuning(self, ears: tuple[Ear, ...], channel: int, oscillator: Oscillator) -> Tuning:
        ear, jitter = ears[channel], self._world.phase_noise(self._name, "receive")
        return Tuning(self._name, oscillator, ear.carrier, self.rate, ear.phase, tuple(e.gain_db for e in ears), jitter)

    def take(self, first: int, count: int, columns: Sequence[int]) -> tuple[Codes, int]:
        """`count` samples from a tick, (sample, column) codes; column 2 c is I and 2 c + 1 is Q of channel c. And the tick behind the last:
        further than `count` ticks when samples were lost on the way."""
        channels = len(self._eras[-1].ears)
        whole = np.empty((count, channels, 2), np.int16)
        wanted = sorted({column // 2 for column in columns})
        done, at = 0, first
        while done < count:
            era, size = self._stretch(at, min(CHUNK, count - done))
            end = at + size
            for chosen, receiver in era.groups:
                if needed := [c for c in chosen if c in wanted]:
                    end = self._group(receiver, era, needed, at, size, whole[done : done + size])
            done, at = done + size, end
        flat = whole.reshape(count, -1)
        return flat if list(columns) == list(range(2 * channels)) else np.take(flat, columns, axis=1), at

    def _stretch(self, at: int, size: int) -> tuple[Era, int]:
        """The era of a tick, and how many samples of `size` it lasts."""
        eras = self._eras
        index = max([0, *(i for i, era in enumerate(eras) if era.tick <= at)])
        return eras[index], min(size, eras[index + 1].tick - at) if index + 1 < len(eras) else size

    def _group(self, receiver: Receiver, era: Era, needed: list[int], at: int, size: int, whole: Codes) -> int:
        """Fill channels of (sample, channel, IQ); the tick behind the last sample."""
        if all(era.ears[c].looped for c in needed):
            whole[:, needed] = self._looped(at, size)[:, needed]
            return at + size
        taken = receiver.take(at, size, self.rate, needed)
        samples = taken.samples
        for c in needed:
            if (ear := era.ears[c]).turn or ear.scale != 1.0:
                samples[c] *= ear.scale * np.exp(-2j * np.pi * ear.turn)
        write_codes(samples, needed, self._bits, whole)
        return taken.end

    # -- what a driver reads of it ----------------------------------------------------------------------------------------------------

    def gain_db(self, channel: int) -> float:
        """The gain a channel has now, which automatic control may have set."""
        era = self._eras[-1]
        if era.ears[channel].mode == "manual":
            return era.ears[channel].gain_db
        receiver = next(receiver for chosen, receiver in era.groups if channel in chosen)
        return receiver.take(self.now() - LOOK, LOOK, self.rate).gain_db[channel]

    def power(self, channel: int) -> float:
        """Watts at the port of a channel in the last BLOCK samples, noise included."""
        oscillator, _ = self._reference(self._world.now)
        tuning = self._tuning(self._eras[-1].ears, channel, oscillator)
        first = (self.now() - PIPELINE) // BLOCK * BLOCK - BLOCK
        re, im = self._world.port(tuning, first, 1, self._world.airings())
        return float(np.mean(np.square(re[channel], dtype=float) + np.square(im[channel], dtype=float)))
