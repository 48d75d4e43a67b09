"""A link to workers in this very process: no messages, no lease, one clock, the same checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from numpy.typing import NDArray

from hil.clock import Clock, Instant
from hil.errors import HilError
from hil.link import messages as m
from hil.link.link import Call, Link, Outcome


class Handler(Protocol):
    """What carries out requests: `hil.node.worker.Worker`."""

    name: str
    clock: Clock

    @property
    def radios(self) -> Mapping[str, Any]: ...

    @property
    def stages(self) -> Mapping[str, Any]: ...

    def handle(
        self, request: m.Request, arrays: Sequence[NDArray[Any]] = (), session: str = "local"
    ) -> tuple[m.Message, list[NDArray[Any]]]: ...

    def tick(self) -> None: ...

    def close(self) -> None: ...


class InProcess:
    """Transport to workers of this process. Calls of one exchange run together from the same instant of the clock."""

    def __init__(self, workers: Sequence[Handler], clock: Clock) -> None:
        self._workers, self._clock = {worker.name: worker for worker in workers}, clock
        self.nodes = tuple(self._workers)

    def exchange(self, calls: Sequence[Call]) -> list[Outcome]:
        return self._clock.together([partial(self._one, call) for call in calls])

    def _one(self, call: Call) -> Outcome:
        worker = self._workers[call.node]
        worker.tick()
        try:
            return worker.handle(call.request, call.arrays)
        except HilError as error:
            return error

    def here(self, node: str, instant: Instant | None) -> Instant | None:
        return instant

    def progress(self) -> None:
        for worker in self._workers.values():
            worker.tick()

    def close(self) -> None:
        for worker in self._workers.values():
            worker.close()


def local_link(workers: Sequence[Handler], clock: Clock, *, timeout_s: float = 2.0) -> Link:
    """A link to these workers; device owners are read off them. Closing it closes the workers and their devices."""
    owners = {device: worker.name for worker in workers for device in [*worker.radios, *worker.stages]}
    return Link(InProcess(workers, clock), owners, timeout_s=timeout_s)
