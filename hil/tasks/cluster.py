"""Tasks on the workers of a dask scheduler: one task at a time and one thread of the numerical libraries each, the same program there as
here."""

from __future__ import annotations

import itertools
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from hil.errors import HilError, InputError
from hil.interrupts import held
from hil.tasks.task import BLAS, ONE_THREAD, Call, Outcome, Parameters, said, say_finishing

ANSWER_S = 10.0  # longest wait for the scheduler, and for a first worker
LOOK_S = 2.0  # between two looks whether scheduler and workers are still there
_SAME = ("hil", "numpy", "scipy", "torch", "clarabel", "numba")  # what a result rests on


@dataclass(frozen=True)
class Dask:
    """address: `dask://HOST:PORT`. jobs: tasks at a time, by default one per worker. deadline_s: longest silence of the scheduler."""

    address: str
    jobs: int | None = None
    deadline_s: float = ANSWER_S

    def work(self, call: Call, tasks: Mapping[str, Parameters], came: Callable[[Outcome], None]) -> None:
        """HilError `no-scheduler`, `no-workers` or `other-worker`; a task whose worker died is an outcome with its error."""
        with self._client() as client:
            self._require_alike(client)
            _handed_out(client, call, tasks, self.jobs, self.deadline_s, came)

    def _client(self) -> Any:
        try:
            from distributed import Client
        except ImportError as error:
            raise InputError("no-dask", "dask.distributed is not installed", key="--engine", found=self.address,
                             fix="pip install 'hil[sweep]', or --engine local") from error  # fmt: skip
        try:
            return Client(f"tcp://{self._place}", timeout=self.deadline_s)
        except (OSError, ValueError) as error:  # a TimeoutError is an OSError
            raise HilError("no-scheduler", "no dask scheduler answers", where=self.address, found=f"nothing within {self.deadline_s:g} s",
                           fix="on that machine `dask scheduler`, and workers with it; or --engine local") from error  # fmt: skip

    def _require_alike(self, client: Any) -> None:
        """Every worker does one task at a time with one thread, by the same versions as here: only then are numbers the same."""
        try:
            client.wait_for_workers(1, timeout=self.deadline_s)
        except OSError as error:
            raise self._no_workers() from error
        for address, wrong in client.run(unlike, versions()).items():
            if wrong:
                raise HilError("other-worker", "a worker would not give the numbers of this machine", where=address, found=wrong,
                               fix=f"install there what is here (constraints.txt); dask worker {self._place} --nthreads 1")  # fmt: skip

    def _no_workers(self) -> HilError:
        return HilError("no-workers", "the dask scheduler has no workers", where=self.address, found=f"none within {self.deadline_s:g} s",
                        fix=f"dask worker {self._place} --nthreads 1")  # fmt: skip

    @property
    def _place(self) -> str:
        return self.address.removeprefix("dask://")


def versions() -> dict[str, str]:
    """Of the program and of what its numbers rest on, as installed in this process."""
    found = {"python": platform.python_version()}
    for package in _SAME:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "none"
    return found


def unlike(mine: Mapping[str, str], dask_worker: Any = None) -> str:
    """In a worker: why its numbers could be others than here; "" where they cannot. Libraries not loaded yet will keep to one thread."""
    from distributed import get_worker

    if "numpy" not in sys.modules:
        os.environ.update(ONE_THREAD)
    theirs, tasks = versions(), (dask_worker or get_worker()).state.nthreads
    wrong = [f"{name} {theirs[name]} for {here}" for name, here in mine.items() if theirs[name] != here]
    wrong += [f"{name}={os.environ.get(name, '')}" for name in BLAS if os.environ.get(name) != "1"]
    return "; ".join(wrong + ([f"{tasks} tasks at a time"] if tasks != 1 else []))


def _checked(call: Call, mine: Mapping[str, str], key: str, parameters: Parameters) -> Outcome:
    """In a worker: also of one that joined later."""
    wrong = unlike(mine)
    return Outcome(key, parameters, error=f"not begun: {wrong}") if wrong else call(key, parameters)


def _handed_out(
    client: Any, call: Call, tasks: Mapping[str, Parameters], jobs: int | None, deadline_s: float, came: Callable[[Outcome], None]
) -> None:
    """No more in hand than there are workers, so that Ctrl-C has little to wait for."""
    from distributed import wait

    mine, waiting = versions(), iter(tasks.items())
    in_hand: dict[Any, str] = {}
    seen = time.monotonic()

    def hand_out() -> None:
        room = len(client.scheduler_info(n_workers=-1)["workers"])
        room = min(room, jobs or room) - len(in_hand)
        with held():
            for key, parameters in itertools.islice(waiting, max(room, 0)):
                in_hand[client.submit(_checked, call, mine, key, parameters, key=f"hil-{key}", pure=False, retries=0)] = key

    def ended(future: Any) -> None:
        with held():  # Ctrl-C finds a task either in hand or kept
            key = in_hand[future]
            try:
                error = future.exception(timeout=deadline_s) if future.status != "finished" else None
                outcome = future.result(timeout=deadline_s) if error is None else Outcome(key, tasks[key], error=said(error))
            except TimeoutError:
                return  # its worker died with the result, and it is being done again
            del in_hand[future]
            came(outcome)

    def look(longest: float) -> None:
        """Whatever has ended within `longest` seconds."""
        try:
            finished = wait(list(in_hand), timeout=longest, return_when="FIRST_COMPLETED").done
        except TimeoutError:
            return
        for future in finished:
            ended(future)

    try:
        hand_out()
        while in_hand:
            look(LOOK_S)
            alive = client.status == "running" and bool(client.scheduler_info(n_workers=-1)["workers"])
            seen = time.monotonic() if alive else seen
            if time.monotonic() - seen > deadline_s:
                raise HilError("no-workers", "scheduler or workers have gone", where=client.scheduler.address, found=f"for {deadline_s:g} s",
                               fix="what is done is kept: --resume goes on")  # fmt: skip
            hand_out()
    except KeyboardInterrupt:
        say_finishing(len(in_hand))
        while in_hand and client.status == "running":
            look(LOOK_S)
        raise
