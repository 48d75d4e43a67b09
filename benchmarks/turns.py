"""Calls compared on a machine that has other things to do: in turns, by processor time, the least of each."""

from __future__ import annotations

import time
from collections.abc import Callable


def interleaved(calls: list[Callable[[], object]], times: int) -> list[float]:
    """Least processor seconds of this thread of each call, turn about."""
    spent = [float("inf")] * len(calls)
    for _ in range(times):
        for i, call in enumerate(calls):
            begin = time.thread_time()
            call()
            spent[i] = min(spent[i], time.thread_time() - begin)
    return spent
