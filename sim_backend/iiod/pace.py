"""How time passes for a daemon: with the machine's clock, with that clock but waiting for whoever computes, or as fast as clients ask.

All are clocks of a world that can also be waited on.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, Protocol, TypeVar

from hil.clock import Instant, WallClock

Result = TypeVar("Result")
Ready = Callable[[], Instant | None]
LOOK_S = 0.05  # how often a wait looks whether it is still wanted
UNKNOWN_S = 0.002  # and whether what starts it has happened
STOPS = 4096  # remembered, of a patient clock


class Pace(Protocol):
    """A clock that can be waited on."""

    def now(self) -> Instant: ...

    def sleep(self, seconds: float) -> None: ...

    def charge(self, what: str) -> None: ...

    def together(self, calls: Sequence[Callable[[], Result]]) -> list[Result]: ...

    def wait(self, ready: Ready, given_up: Callable[[], bool], timeout_s: float | None) -> bool:
        """True once the instant has come; False when `given_up()` says so or the time-out is over. ready: asked again and again, for the
        instant may not be known yet (None) or change."""


class WallPace(WallClock):
    """Samples come when their time has come."""

    def wait(self, ready: Ready, given_up: Callable[[], bool], timeout_s: float | None) -> bool:
        patience = float("inf") if timeout_s is None else timeout_s
        while True:
            until = ready()
            left = UNKNOWN_S if until is None else until.since(self.now())
            if left <= 0.0:
                return True
            if patience <= 0.0 or given_up():
                return False
            pause = min(left, LOOK_S, patience)
            time.sleep(pause)
            patience -= pause


class Stop(NamedTuple):
    """The clock stood at `at` and was `behind` seconds behind the machine's when it went on."""

    at: Instant
    behind: float


class PatientPace(WallPace):
    """The machine's clock, but it stands still rather than run away from somebody who waits for an instant or computes samples.

    However slow or busy the machine, converters then lose no sample because of it. `world` says what this clock showed at a reading of the
    machine's own, `machine`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.machine = WallClock()
        self._epoch_ns = self.machine._epoch_ns
        self._behind = 0.0
        self._held: dict[object, Instant] = {}  # whom the clock waits for, and where
        self._stops: list[Stop] = []
        self._lock = threading.RLock()

    def now(self) -> Instant:
        with self._lock:
            raw = super().now().after(-self._behind)
            hold = min(self._held.values(), default=raw)
            if raw <= hold:
                return raw
            self._behind += raw.since(hold)
            if self._stops and self._stops[-1].at == hold:
                self._stops.pop()
            self._stops.append(Stop(hold, self._behind))
            del self._stops[:-STOPS]
            return hold

    def world(self, shown: Instant) -> Instant:
        """What this clock showed when the machine's showed `shown`."""
        self.now()
        with self._lock:
            index = bisect_right([stop.at.after(stop.behind) for stop in self._stops], shown)  # stops that were over by then
            behind = self._stops[index - 1].behind if index else 0.0
            there = shown.after(-behind)
            return min(there, self._stops[index].at) if index < len(self._stops) else there

    def sleep(self, seconds: float) -> None:
        end = self.now().after(seconds)
        self.wait(lambda: end, lambda: False, None)

    def wait(self, ready: Ready, given_up: Callable[[], bool], timeout_s: float | None) -> bool:
        me = object()

        def held() -> Instant | None:
            until = ready()
            with self._lock:
                self.now()  # which counts how long it stood
                self._held.pop(me, None)
                if until is not None and until > self.now():
                    self._held[me] = until
            return until

        try:
            return super().wait(held, given_up, timeout_s)
        finally:
            self._release(me)

    @contextmanager
    def computing(self, until: Instant) -> Iterator[None]:
        """Goes no further than `until` before the block is left."""
        me = object()
        with self._lock:
            self._held[me] = max(until, self.now())
        try:
            yield
        finally:
            self._release(me)

    def _release(self, one: object) -> None:
        with self._lock:
            self.now()  # which counts how long it stood
            self._held.pop(one, None)


class FreePace:
    """Samples come as soon as they are asked for: time stands still until somebody waits, and then jumps."""

    def __init__(self) -> None:
        self._now, self._lock = Instant(0, 0.0), threading.Lock()

    def now(self) -> Instant:
        return self._now

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self._now = self._now.after(max(0.0, seconds))

    def charge(self, what: str) -> None:
        """Nothing: computing takes no time here."""

    def together(self, calls: Sequence[Callable[[], Result]]) -> list[Result]:
        return [call() for call in calls]

    def wait(self, ready: Ready, given_up: Callable[[], bool], timeout_s: float | None) -> bool:
        patience = float("inf") if timeout_s is None else timeout_s
        while (until := ready()) is None:
            if patience <= 0.0 or given_up():
                return False
            time.sleep(UNKNOWN_S)
            patience -= UNKNOWN_S
        with self._lock:
            self._now = max(self._now, until)
        return True
