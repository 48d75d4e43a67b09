"""One task: its name, its randomness, and doing it, wherever that is."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hil.errors import HilError

Parameters = Mapping[str, Any]
Work = Callable[[Parameters, np.random.SeedSequence], Any]

# Workers share the processors by tasks, so each keeps to one thread inside; the libraries read these when they are loaded.
BLAS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
ONE_THREAD = {name: "1" for name in (*BLAS, "NUMBA_NUM_THREADS")}


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


@dataclass(frozen=True)
class Call:
    """What a worker is given: the function, what all its tasks have in common, and the seed."""

    function: Work
    common: Parameters
    seed: int

    def key(self, parameters: Parameters) -> str:
        return key_of(self.function, {**self.common, **parameters}, self.seed)

    def __call__(self, key: str, parameters: Parameters) -> Outcome:
        """One task; its exception turned into words, its result into what it would be when read back from its file."""
        try:
            result = self.function({**self.common, **parameters}, seed_of(key, self.seed))
            return Outcome(key, parameters, json.loads(json.dumps(result)))
        except Exception as error:
            return Outcome(key, parameters, error=said(error))


def said(error: BaseException) -> str:
    """An exception on one line."""
    return " ".join(str(error).split()) if isinstance(error, HilError) else f"{type(error).__name__}: {error}"


def say_finishing(count: int) -> None:
    """To whoever has asked for an end."""
    logging.getLogger(__name__).warning("%d task%s in hand will be finished and kept; Ctrl-C again drops them", count, "" if count == 1 else "s")
