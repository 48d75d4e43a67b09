"""Time as an argument: instants that stay exact for weeks, a wall clock and a virtual one.

float64 seconds are too coarse for a carrier: at 1e6 s their step is 0.7 cycle of 6 GHz. An `Instant` is a pair of whole seconds and
a fraction; a duration is a float, formed only by subtracting instants.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol, TypeVar

Result = TypeVar("Result")


class Instant(NamedTuple):
    """Seconds since the clock's epoch: `whole` and `fraction` in [0, 1)."""

    whole: int
    fraction: float

    @classmethod
    def of(cls, seconds: float) -> Instant:
        whole = math.floor(seconds)
        return cls(int(whole), float(seconds - whole))

    def after(self, seconds: float) -> Instant:
        """The instant `seconds` later (earlier when negative)."""
        total = self.fraction + seconds
        whole = math.floor(total)
        return Instant(self.whole + int(whole), total - whole)

    def since(self, other: Instant) -> float:
        """Seconds from `other` to here; wholes are subtracted first, so nothing is lost far from the epoch."""
        return (self.whole - other.whole) + (self.fraction - other.fraction)

    @property
    def seconds(self) -> float:
        """As one float, for logs and plots only."""
        return self.whole + self.fraction


class Clock(Protocol):
    """What time it is, and how to let it pass."""

    def now(self) -> Instant: ...

    def sleep(self, seconds: float) -> None:
        """Let `seconds` pass."""

    def charge(self, what: str) -> None:
        """Account for computing done outside emulated time (`what`: design, estimate): a virtual clock adds a declared time."""

    def together(self, calls: Sequence[Callable[[], Result]]) -> list[Result]:
        """Run calls side by side from the same instant; time afterwards is that of the last to finish. Results in order.

        The first exception is raised after all have ended.
        """


def _all_or_first_error(results: list[Any], errors: list[BaseException | None]) -> list[Any]:
    for error in errors:
        if error is not None:
            raise error
    return results


class VirtualClock:
    """Time that moves only when somebody spends it. Every run with the same calls has the same times.

    `charges` declares what a piece of computing costs in virtual seconds, so that knowledge ages during it. Not thread-safe: one
    virtual clock belongs to one thread.
    """

    def __init__(self, start: Instant | None = None, charges: dict[str, float] | None = None) -> None:
        self._now = start or Instant(0, 0.0)
        self._charges = dict(charges or {})

    def now(self) -> Instant:
        return self._now

    def sleep(self, seconds: float) -> None:
        if not seconds >= 0.0:
            raise ValueError(f"time cannot run backwards: sleep({seconds})")
        self._now = self._now.after(seconds)

    def charge(self, what: str) -> None:
        self.sleep(self._charges.get(what, 0.0))

    def together(self, calls: Sequence[Callable[[], Result]]) -> list[Result]:
        start = latest = self._now
        results: list[Any] = []
        errors: list[BaseException | None] = []
        for call in calls:
            self._now = start
            try:
                results.append(call())
                errors.append(None)
            except Exception as error:
                results.append(None)
                errors.append(error)
            latest = max(latest, self._now)
        self._now = latest
        return _all_or_first_error(results, errors)


class WallClock:
    """The machine's monotonic clock; `start` is what it shows at the moment of making."""

    def __init__(self, start: Instant | None = None) -> None:
        shown = start or Instant(0, 0.0)
        self._epoch_ns = time.monotonic_ns() - shown.whole * 1_000_000_000 - round(shown.fraction * 1e9)

    def now(self) -> Instant:
        whole, fraction_ns = divmod(time.monotonic_ns() - self._epoch_ns, 1_000_000_000)
        return Instant(whole, fraction_ns * 1e-9)

    def sleep(self, seconds: float) -> None:
        if seconds > 0.0:
            time.sleep(seconds)

    def charge(self, what: str) -> None:
        """Nothing: on a wall clock computing has already taken its time."""

    def together(self, calls: Sequence[Callable[[], Result]]) -> list[Result]:
        if len(calls) < 2:
            return [call() for call in calls]
        with ThreadPoolExecutor(len(calls)) as pool:
            futures = [pool.submit(call) for call in calls]
            errors = [future.exception() for future in futures]
        return _all_or_first_error([f.result() if e is None else None for f, e in zip(futures, errors)], errors)
