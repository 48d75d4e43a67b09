"""The block that a client asks for next, worked out while it deals with the one before, as a board's memory fills meanwhile.

This is for time that waits for clients: what has not come yet is worked out as if nothing more were commanded, and thrown away if something was.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import Generic, TypeVar

Block = TypeVar("Block")


class Ahead(Generic[Block]):
    """take: a block from a tick on. history: equal values, and that block is the same; None where nobody can say."""

    def __init__(self, take: Callable[[int], Block], history: Callable[[], object | None]) -> None:
        self._take, self._history = take, history
        self._prepared: tuple[int, object, Future[Block]] | None = None

    def prepare(self, tick: int) -> None:
        """Begin with the block from a tick on."""
        history = self._history()
        self._prepared = None if history is None else (tick, history, _workers().submit(self._take, tick))

    def block(self, tick: int) -> Block:
        """As `take`, sooner where it was prepared; what nobody has begun with yet is done here."""
        prepared, self._prepared = self._prepared, None
        if prepared is not None and not prepared[2].cancel() and prepared[:2] == (tick, self._history()):
            return prepared[2].result()
        return self._take(tick)


@cache
def _workers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count(), "ahead")
