"""What stands in the way for a while: someone between two radios, a target that is not there."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from hil.clock import Instant
from hil.units import from_db
from sim_backend.faults import ROOM, Fault, Faults

PASSING_S = 50e-3  # in which a path becomes blocked, or free again


class Obstacles:
    """Faults of a room, as factors on the amplitudes of its paths."""

    def __init__(self, faults: Faults) -> None:
        self._blocked = faults.all(ROOM, "path-blocked")
        self._absent = faults.all(ROOM, "target-vanishes")

    def passes(self, transmitter: str, receiver: str, at: Sequence[Instant]) -> NDArray[np.float64]:
        """(instant, 1, 1, 1) amplitude left of all that goes from one radio to another."""
        left = np.ones(len(at))
        for fault in self._between(transmitter, receiver):
            share = np.array([_reached(fault, instant) for instant in at])
            left *= np.sqrt(from_db(-fault["loss_db"] * share))
        return left[:, None, None, None]

    def target(self, name: str, at: Sequence[Instant]) -> NDArray[np.float64]:
        """(instant,) 1 where a target is there, else 0."""
        absent = [fault for fault in self._absent if fault["target"] in ("", name)]
        return 1.0 - np.array([any(fault.active(instant) for fault in absent) for instant in at], float)

    def changes_within(self, transmitter: str, receiver: str, begin: Instant, end: Instant) -> bool:
        edges = [edge for fault in self._between(transmitter, receiver) for edge in (fault.begins, fault.ends) if edge is not None]
        return any(edge < end and begin < edge.after(PASSING_S) for edge in edges)

    def state(self, transmitter: str, receiver: str, at: Instant) -> Hashable:
        """What tells one still moment from another."""
        return tuple(_reached(fault, at) for fault in self._between(transmitter, receiver))

    def _between(self, transmitter: str, receiver: str) -> list[Fault]:
        return [fault for fault in self._blocked if transmitter != receiver and fault["between"] in ("", f"{transmitter}>{receiver}")]


def _reached(fault: Fault, at: Instant) -> float:
    """Share of the loss, 0 before and after, 1 between, straight in decibels where it comes and goes."""
    come = min(1.0, max(0.0, at.since(fault.begins) / PASSING_S))
    gone = 0.0 if fault.ends is None else min(1.0, max(0.0, at.since(fault.ends) / PASSING_S))
    return come * (1.0 - gone)
