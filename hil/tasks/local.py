"""Tasks in worker processes of this machine."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing import connection
from typing import Any

from hil.interrupts import held
from hil.tasks.task import ONE_THREAD, Call, Outcome, Parameters, said, say_finishing


@dataclass(frozen=True)
class LocalProcesses:
    """jobs: worker processes, by default one per processor this process may use; 0 works in this process."""

    jobs: int | None = None

    def __post_init__(self) -> None:
        if self.jobs is not None and self.jobs < 0:
            raise ValueError(f"jobs must not be negative, found {self.jobs}")

    def work(self, call: Call, tasks: Mapping[str, Parameters], came: Callable[[Outcome], None]) -> None:
        """Each worker has one task at a time: what a pool has queued cannot be taken back from it."""
        jobs = processors() if self.jobs is None else self.jobs
        if jobs == 0:
            for key, parameters in tasks.items():
                came(call(key, parameters))
            return
        _pooled(call, tasks, min(jobs, len(tasks)), came)


def processors() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _pooled(call: Call, tasks: Mapping[str, Parameters], jobs: int, came: Callable[[Outcome], None]) -> None:
    waiting = iter(tasks.items())
    in_hand: dict[Future[Outcome], str] = {}
    pool = ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"), initializer=_follow_parent)

    def hand_out(count: int) -> None:
        with held(), _environment(ONE_THREAD):  # workers are started by the first submissions and inherit it
            for key, parameters in itertools.islice(waiting, count):
                in_hand[pool.submit(call, key, parameters)] = key

    def ended(future: Future[Outcome]) -> None:
        with held():  # Ctrl-C finds a task either in hand or kept
            key, error = in_hand.pop(future), future.exception()
            came(future.result() if error is None else Outcome(key, tasks[key], error=said(error)))

    try:
        hand_out(jobs)
        while in_hand:
            finished = wait(in_hand, return_when=FIRST_COMPLETED).done
            for future in finished:
                ended(future)
            if any(future.exception() is not None for future in finished):  # a worker died and took the pool with it
                for key, parameters in waiting:
                    came(Outcome(key, parameters, error="not begun: a worker process died"))
                return
            hand_out(len(finished))
    except KeyboardInterrupt:
        say_finishing(len(in_hand))
        pool.shutdown(wait=True)
        for future in list(in_hand):
            ended(future)
        raise
    finally:
        pool.shutdown(wait=True)


def _follow_parent() -> None:
    """In a worker: Ctrl-C and a closed terminal reach the whole process group, and the parent decides; when it is gone, so is this."""
    for name in ("SIGINT", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    threading.Thread(target=_leave_with, args=(multiprocessing.parent_process(),), daemon=True).start()


def _leave_with(parent: Any) -> None:
    connection.wait([parent.sentinel])
    os._exit(1)


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
