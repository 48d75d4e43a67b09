"""An open output buffer: blocks on their way from a client to a converter."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import numpy as np

from hil.clock import Instant
from sim_backend.iiod.inlet import Wait
from sim_backend.iiod.listening import Codes
from sim_backend.iiod.sending import Sending
from sim_backend.iiod.values import EBADF, EBUSY, EINVAL, ETIMEDOUT, Refused


class Outlet:
    """columns: which of (channel, IQ), counted through, a sample of the client holds. width: how many there are.

    held: a block written before a trigger waits for it. underflowed: called when the converter had nothing to send.
    """

    def __init__(
        self, sending: Sending, columns: Sequence[int], width: int, samples: int, depth: int, cyclic: bool, held: bool,
        underflowed: Callable[[], None], closed: Callable[[Outlet], None],
    ) -> None:  # fmt: skip
        self._sending, self._columns, self._width, self._samples, self._depth = sending, list(columns), width, samples, depth
        self.cyclic, self._held, self._underflowed, self._closed = cyclic, held, underflowed, closed
        self._waiting: list[Codes] = []
        self._ends: deque[int] = deque()
        self._cycling = False

    @property
    def block_bytes(self) -> int:
        return 2 * self._samples * len(self._columns)

    def read(self, wait: Wait) -> memoryview:
        raise Refused(EBADF)

    def write(self, data: bytes | bytearray | memoryview, wait: Wait) -> None:
        """A cyclic buffer takes one block; another waits until there is room for the next."""
        step = 2 * len(self._columns)
        if len(data) % step:
            raise Refused(EINVAL)
        codes = np.zeros((len(data) // step, self._width), np.int16)
        codes[:, self._columns] = np.frombuffer(data, "<i2").reshape(-1, len(self._columns))
        if self._cycling:
            raise Refused(EBUSY)
        self._cycling = self.cyclic
        block = codes.reshape(len(codes), -1, 2)
        with self._sending.lock:
            if self._held:
                self._waiting.append(block)
            else:
                self._send(block, None)
        if not self.cyclic and not wait(self._room):
            raise Refused(ETIMEDOUT)

    def release(self, tick: int) -> None:
        """The trigger: what waits begins at a tick."""
        with self._sending.lock:
            self._held = False
            for block in self._waiting:
                self._send(block, tick)
            self._waiting.clear()

    def _send(self, block: Codes, tick: int | None) -> None:
        if self.cyclic:
            self._sending.play(block, tick)
            return
        end, starved = self._sending.push(block, tick)
        if starved:
            self._underflowed()
        self._ends.append(end)

    def _room(self) -> Instant | None:
        """When fewer blocks than there are kernel buffers are on their way."""
        with self._sending.lock:
            if self._held:
                return Instant(0, 0.0) if len(self._waiting) < self._depth else None
            while len(self._ends) > self._depth:
                self._ends.popleft()
            return Instant(0, 0.0) if len(self._ends) < self._depth else self._sending.instant(self._ends[0])

    @property
    def empty(self) -> bool:
        """Whether the converter has nothing to send now."""
        return not self.cyclic and self._sending.starved()

    def close(self) -> None:
        self._closed(self)
