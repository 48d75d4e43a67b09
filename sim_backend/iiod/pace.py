"""How time passes for a daemon: with the machine's clock, or as fast as clients ask.

Both are clocks of a world that can also be waited on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from hil.clock import Instant, WallClock

Result = TypeVar("Result")
Ready = Callable[[], Instant | None]
LOOK_S = 0.05  # how often a wait looks whether it is still wanted
UNKNOWN_S = 0.002  # and whether what starts it has happened


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
