"""Measuring a multi-cell design: all base stations send it together, users say how well they hear, receiving arrays where targets are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hil.estimate.loss import Clean
from hil.estimate.slowtime import SlowTime
from hil.knowledge import Design
from hil.loop.cells.chains import Learnt
from hil.loop.cells.sensing import AngleFix, look_for
from hil.loop.cells.stations import ECHO_S, Stations
from hil.loop.intact import sifted
from hil.loop.lab import Sent, Taken
from hil.loop.measuring import limits, say_users
from hil.loop.sounding import AGAIN
from hil.loop.states import State


class OnAir(Protocol):
    """A design as it is sent, and what a user makes of it: on tones, or on one carrier."""

    version: int
    frames: tuple[Any, ...]
    parts: Mapping[str, Sent]  # radio -> what it sends

    @property
    def length(self) -> int:
        """Samples of a turn."""

    @property
    def user_samples(self) -> int:
        """That a user captures."""

    def look(self, taken: Taken, user: int) -> Clean:
        """What of a user's capture may be used; HilError where it must be taken again."""

    def quality(self, taken: Taken, user: int) -> Any:
        """Of a capture that was looked at: with `sinr_db` and `std_db` (block,), `evm`, `bit_errors`, `symbol_errors`, `rate`."""

    def slow(self, station: int, samples: NDArray[np.complexfloating], start: float) -> SlowTime:
        """What a base station's receive array heard, against what was sent: (rx, sample) sqrt(W), a turn beginning at `start`."""

    def constellation(self, found: Any) -> NDArray[np.complex128]:
        """Its payload, equalised."""


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """What one pushed design achieved. sinr_db, std_db, upper_db: (user, block)."""

    version: int
    quality: tuple[Any, ...]  # per user
    sinr_db: NDArray[np.float64]
    std_db: NDArray[np.float64]
    upper_db: NDArray[np.float64]
    worst_db: NDArray[np.float64]  # (user,) smallest over the blocks, its downward bias removed
    worst_std_db: NDArray[np.float64]
    angles: tuple[AngleFix | None, ...]  # per cell, of its own target

    @property
    def sinr(self) -> float:
        """Decibels of the worst user."""
        return float(self.worst_db.min())


def push(stations: Stations, on_air: OnAir) -> None:
    """Load a design everywhere, then put it on the air together."""
    lab = stations.lab
    lab.enter(State.LOADING, "design judged")
    lab.prepare(on_air.version, on_air.parts)
    lab.apply(on_air.version)


def measure(stations: Stations, design: Design, on_air: OnAir, learnt: Learnt | None, rng: np.random.Generator) -> Measured:
    """Capture everywhere while the design is on the air, mute, and estimate SINR per user and block, errors, and the targets' angles."""
    lab = stations.lab
    lab.enter(State.MEASURING, "applied")
    users = {radio: u for u, radio in enumerate(lab.user_radio.values())}
    wanted = dict.fromkeys(users, on_air.user_samples)
    wanted |= dict.fromkeys((one.receive.radio for one in stations.each), int(np.ceil(ECHO_S * lab.scenario.signal.sample_rate_hz)) + on_air.length)
    prefix = f"measure-{lab.designer}"

    def look(taken: Taken) -> Clean:
        return on_air.look(taken, users[taken.radio])

    with lab.muted_after("measured"):
        taken = lab.capture(prefix, "measure", wanted)
        _, again = sifted(lab, {radio: taken[radio] for radio in users}, look)
        if again:
            taken |= lab.capture(prefix + AGAIN, "measure", {radio: wanted[radio] for radio in again})
            for radio in again:
                look(taken[radio])
    lab.enter(State.ESTIMATING, "captured")
    found = [on_air.quality(taken[radio], user) for radio, user in users.items()]
    lab.link.progress()
    told = limits(found, rng)
    angles = look_for(stations, on_air, {radio: taken[radio] for radio in wanted if radio not in users}, learnt)
    lab.link.progress()
    lab.clock.charge("estimate")
    measured = Measured(on_air.version, tuple(found), *told, angles)
    say_users(lab, design, measured, [on_air.constellation(one) for one in found])
    return measured
