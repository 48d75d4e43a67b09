"""An open input buffer: the ring of blocks between a converter's DMA and a client."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import numpy as np

from hil.clock import Instant
from sim_backend.faults import Fault
from sim_backend.iiod.ahead import Ahead
from sim_backend.iiod.listening import Codes, Listening
from sim_backend.iiod.pace import Ready
from sim_backend.iiod.values import EBADF, ETIMEDOUT, Refused
from sim_backend.ring import Ring

Wait = Callable[[Ready], bool]


class Inlet:
    """Blocks fill from `start` on and wait until they are read; with all of them full the converter's samples are lost.

    columns: those of `Listening.take`. overflowed: called when samples were lost. refresh: called before samples are computed.
    fault: one of a kind that befalls the radio now, or None. computing: surrounds it, with the instant before which it had better end.
    history: as `Ahead` reads it.
    """

    def __init__(
        self, listening: Listening, columns: Sequence[int], samples: int, depth: int, overflowed: Callable[[], None],
        refresh: Callable[[], None], fault: Callable[[str], Fault | None], computing: Callable[[Instant], AbstractContextManager[None]],
        history: Callable[[], object | None], closed: Callable[[Inlet], None],
    ) -> None:  # fmt: skip
        self._listening, self._columns, self._samples, self._depth = listening, tuple(columns), samples, depth
        self._overflowed, self._refresh, self._fault, self._closed = overflowed, refresh, fault, closed
        self._computing = computing
        self._ahead = Ahead(lambda tick: self._listening.take(tick, self._samples, self._columns), history)
        self._streaming = False  # since a second block was read
        self._ring: Ring | None = None  # not before a trigger, where there is one
        self._kept: deque[memoryview] = deque()
        self._last = memoryview(b"")
        self.lock = threading.RLock()

    @property
    def block_bytes(self) -> int:
        return 2 * self._samples * len(self._columns)

    def start(self, tick: int) -> None:
        with self.lock:
            self._ring = Ring(tick, self._depth, self._samples)

    @property
    def full(self) -> bool:
        """Whether the converter has nowhere to put its samples now."""
        with self.lock:
            return self._ring is not None and self._listening.now() > self._ring.stops

    def read(self, wait: Wait) -> memoryview:
        """The oldest block, as soon as it is full; less than a block where a fault makes it so."""
        while wait(self._ready):
            with self.lock:
                if self._kept:
                    block = self._kept.popleft()
                elif self._ring is not None and self._ring.oldest + self._samples <= self._listening.now():
                    block = self._take(self._ring)
                    if self._streaming:
                        self._ahead.prepare(self._ring.oldest)
                    self._streaming = True
                else:
                    continue  # it began anew meanwhile
                self._last = block = self._last if self._last and self._fault("stuck-ring") else block
                short = self._fault("returns-short")
                step = 2 * len(self._columns)
                return block[: max(1, int(short["share"] * self._samples)) * step] if short else block
        raise Refused(ETIMEDOUT)

    def _ready(self) -> Instant | None:
        """When the oldest block is full; None while nothing has started."""
        with self.lock:
            if self._fault("capture-never-returns"):
                return None
            if self._kept:
                return Instant(0, 0.0)
            if self._ring is None:
                return None
            full = self._listening.instant(self._ring.oldest + self._samples)
            late = self._fault("returns-late")
            return full.after(late["late_s"]) if late else full

    def _take(self, ring: Ring) -> memoryview:
        now = self._listening.now()
        if now > ring.stops:
            self._overflowed()
        begin = ring.take(now)
        with self._computing(self._listening.instant((now + max(now, ring.stops)) // 2)):  # with room left for whoever looks afterwards
            self._refresh()
            codes, end = self._ahead.block(begin)
        if end != begin + self._samples:
            self._overflowed()
            ring.skip(end - begin - self._samples)
        return _bytes(codes)

    @property
    def since(self) -> Instant:
        """When the oldest block began to fill."""
        ring = self._ring
        return self._listening.instant(ring.oldest if ring is not None else self._listening.now())

    def keep(self) -> None:
        """Compute the blocks that are full, for at another rate they cannot be."""
        with self.lock:
            ring = self._ring
            if ring is None:
                return
            self._kept.extend(self._take(ring) for _ in range(self._full_blocks(ring)))

    def _full_blocks(self, ring: Ring) -> int:
        now = self._listening.now()
        return sum(begin + self._samples <= now for begin in ring.begins)

    def restart(self) -> None:
        """Fill from now on: the converter's ticks count anew."""
        if self._ring is not None:
            self.start(self._listening.now())

    def write(self, data: bytes | bytearray | memoryview, wait: Wait) -> None:
        raise Refused(EBADF)

    def close(self) -> None:
        self._closed(self)


def _bytes(codes: Codes) -> memoryview:
    return memoryview(np.ascontiguousarray(codes, dtype="<i2").reshape(-1).view(np.uint8))
