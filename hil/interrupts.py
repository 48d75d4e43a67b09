"""Ctrl-C, SIGTERM and a closed terminal as one thing: a KeyboardInterrupt, never in the middle of what must end whole.

The first signal asks for an orderly end; another within `AGAIN_S` leaves at once, whatever is going on.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType, TracebackType
from typing import Generic, NoReturn, TypeVar

AGAIN_S = 5.0
INTERRUPTED, TERMINATED = 130, 143  # exit codes; a closed terminal counts as Ctrl-C
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))

Entered = TypeVar("Entered")


class Interrupted(KeyboardInterrupt):
    """What a signal becomes. A class of its own: Python notes the plain one wherever it leaves evaluated text, and would then end the
    process by SIGINT instead of with its exit code."""


class Interrupts:
    """The signal handler of a command. `received`: what came so far, in order.

    leave: called with the exit code on a second signal within `AGAIN_S`; does not return. now: seconds that only run forward.
    """

    def __init__(self, leave: Callable[[int], NoReturn] | None = None, now: Callable[[], float] = time.monotonic) -> None:
        self.received: list[int] = []
        self._leave, self._now, self._last = leave or _leave_at_once, now, -AGAIN_S
        self._terminals: tuple[int, ...] = ()

    def install(self) -> None:
        """Take the three signals from here on."""
        self._terminals = tuple(channel for channel in (0, 1, 2) if os.isatty(channel))
        for number in SIGNALS:
            signal.signal(number, self)

    @property
    def code(self) -> int:
        """What to exit with after an interruption."""
        return TERMINATED if self.received[:1] == [signal.SIGTERM] else INTERRUPTED

    def __call__(self, number: int, frame: object = None) -> None:
        self.note(number)
        raise Interrupted

    def note(self, number: int) -> None:
        """Remember a signal; the second in a row leaves."""
        self.received.append(number)
        if number == getattr(signal, "SIGHUP", None):
            _detach(self._terminals)
        now = self._now()
        if now - self._last < AGAIN_S:
            self._leave(self.code)
        self._last = now


def _detach(terminals: tuple[int, ...]) -> None:
    """Let words to a terminal that has gone vanish, instead of failing where a run is being closed."""
    null = os.open(os.devnull, os.O_RDWR)
    for channel in terminals:
        os.dup2(null, channel)
    os.close(null)


def _leave_at_once(code: int) -> NoReturn:
    """Without another word to anybody: nodes notice by themselves that their controller has gone, and mute and halt."""
    os._exit(code)


_holding = False


@contextmanager
def held() -> Iterator[None]:
    """Nothing interrupts this block: a signal that comes meanwhile is a KeyboardInterrupt at its end. A second one breaks through.

    For the main thread, which alone is ever interrupted; inside another such block it is part of that one.
    """
    global _holding
    if _holding or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: handler for number in SIGNALS if callable(handler := signal.getsignal(number))}
    came: list[int] = []

    def later(number: int, frame: FrameType | None) -> None:
        came.append(number)
        handler = before[number]
        if isinstance(handler, Interrupts):
            handler.note(number)
        elif len(came) > 1:
            handler(number, frame)

    _holding = True
    try:
        for number in before:
            signal.signal(number, later)
        yield
    finally:
        _holding = False
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        raise Interrupted


class LeftWhole(Generic[Entered]):
    """A context manager whose leaving is not interrupted, so that nothing it opened stays behind."""

    def __init__(self, inner: AbstractContextManager[Entered]) -> None:
        self._inner = inner

    def __enter__(self) -> Entered:
        return self._inner.__enter__()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool | None:
        with held():
            return self._inner.__exit__(kind, error, trace)


def behind(error: BaseException) -> bool:
    """Whether a KeyboardInterrupt lies behind an error that was raised while it was on its way out."""
    seen: set[int] = set()
    last: BaseException | None = error
    while last is not None and id(last) not in seen:
        if isinstance(last, KeyboardInterrupt):
            return True
        seen.add(id(last))
        last = last.__cause__ or last.__context__
    return False
