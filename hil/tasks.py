"""Many independent tasks on the processors of this machine: each knows its parameters and its own seed, and is done once.

A task is a function at the top of a module, called with its parameters and a `SeedSequence`; its result is plain data (numbers, text,
lists, dictionaries). Tasks are known by a hash of function, parameters and seed. With a folder, results are kept as KEY.json, and a
second call does only what is missing. Neither order nor number of workers changes a result.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import multiprocessing
import os
import signal
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hil.errors import HilError
from hil.interrupts import held

Parameters = Mapping[str, Any]
Work = Callable[[Parameters, np.random.SeedSequence], Any]

# Workers share the processors by tasks, so each keeps to one thread inside; the libraries read these when they are loaded.
_ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")}


@dataclass(frozen=True)
class Outcome:
    """What became of one task. error: why it has no result; such a task is tried again next time."""

    key: str
    parameters: Parameters
    result: Any = None
    error: str = ""
    kept: bool = False  # the result was there already


class TasksFailed(HilError):
    """Some tasks raised; `.outcomes` has all of them, the good ones kept."""

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        self.outcomes = tuple(outcomes)
        failed = [outcome for outcome in outcomes if outcome.error]
        first = failed[0]
        super().__init__(
            "tasks-failed",
            f"{len(failed)} of {len(outcomes)} tasks have no result",
            found=f"first: {first.error} with {json.dumps(dict(first.parameters), sort_keys=True)}",
            fix="the same command does only those that are missing",
        )


def key_of(function: Work, parameters: Parameters, seed: int) -> str:
    """Name of a task: 32 hexadecimal digits, the same for the same function, parameters (in any order) and seed."""
    what = [f"{function.__module__}:{function.__qualname__}", parameters, seed]
    return hashlib.sha256(json.dumps(what, sort_keys=True, allow_nan=False).encode()).hexdigest()[:32]


def seed_of(key: str, seed: int) -> np.random.SeedSequence:
    """The task's own randomness: independent of every other task's and of when it is done."""
    return np.random.SeedSequence(seed, spawn_key=tuple(int(key[start : start + 8], 16) for start in range(0, 32, 8)))


def run(
    function: Work,
    tasks: Sequence[Parameters],
    *,
    seed: int,
    jobs: int | None = None,
    folder: Path | None = None,
    done: Callable[[Outcome], None] | None = None,
) -> list[Outcome]:
    """Do every task; outcomes in the order of `tasks`. Raises TasksFailed after all have ended if some have no result.

    jobs: worker processes, by default one per processor this process may use; 0 works here. done: told of each outcome as it comes.
    Ctrl-C lets the tasks in hand finish, keeps their results and is raised then.
    """
    keys = [key_of(function, parameters, seed) for parameters in tasks]
    found: dict[str, Outcome] = {}
    for key, parameters in zip(keys, tasks):
        if folder is not None and key not in found and (result := _kept(folder / f"{key}.json")) is not None:
            found[key] = Outcome(key, parameters, result["result"], kept=True)
            if done is not None:
                done(found[key])
    missing = {key: parameters for key, parameters in zip(keys, tasks) if key not in found}

    def came(outcome: Outcome) -> None:
        if folder is not None and not outcome.error:
            _keep(folder / f"{outcome.key}.json", outcome, seed)
        found[outcome.key] = outcome
        if done is not None:
            done(outcome)

    if missing:
        _work(function, missing, seed, _workers(jobs, len(missing)), came)
    outcomes = [found[key] for key in keys]
    if any(outcome.error for outcome in outcomes):
        raise TasksFailed(outcomes)
    return outcomes


def _workers(jobs: int | None, tasks: int) -> int:
    if jobs is None:
        jobs = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if jobs < 0:
        raise ValueError(f"jobs must not be negative, found {jobs}")
    return min(jobs, tasks)


def _work(function: Work, tasks: Mapping[str, Parameters], seed: int, jobs: int, came: Callable[[Outcome], None]) -> None:
    """Tells of outcomes as they come."""
    if jobs == 0:
        for key, parameters in tasks.items():
            came(_one(function, key, parameters, seed))
        return
    waiting = iter(tasks.items())
    in_hand: dict[Future[Outcome], str] = {}
    pool = ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"), initializer=_ignore_interrupt)

    def hand_out(count: int) -> None:
        """No more than there are workers: what a pool has queued cannot be taken back from it."""
        with held(), _environment(_ONE_THREAD):  # workers are started by the first submissions and inherit it
            for key, parameters in itertools.islice(waiting, count):
                in_hand[pool.submit(_one, function, key, parameters, seed)] = key

    def ended(future: Future[Outcome]) -> None:
        with held():  # Ctrl-C finds a task either in hand or kept
            key, error = in_hand.pop(future), future.exception()
            came(future.result() if error is None else Outcome(key, tasks[key], error=_said(error)))

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
        pool.shutdown(wait=True)
        for future in list(in_hand):
            ended(future)
        raise
    finally:
        pool.shutdown(wait=True)


def _one(function: Work, key: str, parameters: Parameters, seed: int) -> Outcome:
    """In the worker: one task, its exception turned into words."""
    try:
        return Outcome(key, parameters, function(parameters, seed_of(key, seed)))
    except Exception as error:
        return Outcome(key, parameters, error=_said(error))


def _said(error: BaseException) -> str:
    return " ".join(str(error).split()) if isinstance(error, HilError) else f"{type(error).__name__}: {error}"


def _ignore_interrupt() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group; the parent decides


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


def _kept(path: Path) -> dict[str, Any] | None:
    """A result that is there and whole; anything else is done again."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) and "result" in content else None


def _keep(path: Path, outcome: Outcome, seed: int) -> None:
    """Write beside, then rename: a file with the final name is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = json.dumps(
        {"key": outcome.key, "seed": seed, "parameters": dict(outcome.parameters), "result": outcome.result}, sort_keys=True
    )
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".", suffix=".part", delete=False) as file:
        file.write(content)
    os.replace(file.name, path)
