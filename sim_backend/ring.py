"""The receive buffer between converter and host: blocks that fill, wait and grow stale; and samples that get lost on the way.

Everything is counted in ticks of the receiver's sample clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from sim_backend import seeds

DEPTH = 4
BLOCK = 1024  # samples of a DMA block
GRAIN = 64  # losses come in multiples of this
CELL = 1 << 16  # ticks among which losses are drawn together


class Ring:
    """Blocks of one open buffer. It fills from `opened` on and stops when `depth` blocks wait; each block taken makes room for one more.

    So what is read first after a pause is old. Nothing but discarding `depth` blocks or opening anew cures that.
    """

    def __init__(self, opened: int, depth: int = DEPTH, block: int = BLOCK) -> None:
        self.block = block
        self._begins = deque(opened + k * block for k in range(depth))

    @property
    def oldest(self) -> int:
        """First tick of the block that is read next."""
        return self._begins[0]

    @property
    def begins(self) -> tuple[int, ...]:
        """First ticks of the blocks, oldest first."""
        return tuple(self._begins)

    @property
    def stops(self) -> int:
        """Tick from which on samples find no room, unless a block is taken before."""
        return self._begins[-1] + self.block

    def skip(self, ticks: int) -> None:
        """Every block begins so much later: samples were lost before it, or came twice (less than 0)."""
        self._begins = deque(begin + ticks for begin in self._begins)

    def take(self, now: int) -> int:
        """Read the oldest block, at tick `now` or as soon as it is full; its first tick."""
        begin = self._begins.popleft()
        newest = self._begins[-1] if self._begins else begin
        taken = max(now, begin + self.block)
        self._begins.append(max(newest + self.block, taken))  # right behind the newest, or from now on where it had stopped
        return begin

    def discard_before(self, tick: int) -> int:
        """Take blocks until one begins at or after a tick, as a driver must; how many that were."""
        count = 0
        while self.oldest < tick:
            self.take(tick)
            count += 1
        return count

    def read(self, samples: int, now: int) -> None:
        """Take as many blocks as hold `samples`, from tick `now` on, as they come."""
        for _ in range(-(-samples // self.block)):
            self.take(now)


class Slip(NamedTuple):
    """At `tick`, `size` samples vanish (lost) or those before come once more."""

    tick: int
    size: int
    lost: bool


def slips(key: int, per_sample: float, size: int, lost: bool, begin: int, end: int) -> list[Slip]:
    """Those in [begin, end) of a Poisson process, in order: a function of the ticks, however they are asked for. size: 0 for a block."""
    found = []
    for cell in range(begin // CELL, -(-end // CELL)):
        draw = seeds.generator(key, lost, cell)
        for place in draw.integers(0, CELL // GRAIN, draw.poisson(per_sample * CELL)):
            tick = cell * CELL + int(place) * GRAIN
            if begin <= tick < end:
                found.append(Slip(tick, BLOCK if size == 0 else -(-size // GRAIN) * GRAIN, lost))
    return sorted(found)


def pieces(first: int, samples: int, slipped: Iterable[Slip]) -> list[tuple[int, int]]:
    """What the host gets for `samples` from tick `first`: runs (first tick, samples) in the order in which they come."""
    out: list[tuple[int, int]] = []
    at, wanted = first, samples
    for slip in slipped:
        if slip.tick < at or wanted == 0:
            continue
        run = min(slip.tick - at, wanted)
        out, at, wanted = [*out, (at, run)], at + run, wanted - run
        if slip.lost:
            at += slip.size
        else:
            again = min(slip.size, wanted)
            out, wanted = [*out, (at - slip.size, again)], wanted - again
    return [piece for piece in [*out, (at, wanted)] if piece[1] > 0]
