"""Positions as closed forms of time: carriages on a trapezoid, a target that walks a circle."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hil.clock import Instant

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Ramp:
    """One straight synchronous move: speed up at `acceleration`, cruise at `speed`, brake; a triangle when short.

    begin, goal: axis name -> metres. length: metres of the axis that travels furthest, whose speed and acceleration these are.
    brake: seconds after `start` at which braking began early (a halt), if it did.
    """

    start: Instant
    begin: dict[str, float]
    goal: dict[str, float]
    length: float
    speed: float
    acceleration: float
    brake: float = math.inf

    @property
    def peak(self) -> float:
        """The speed reached, m/s."""
        return min(self.speed, math.sqrt(self.acceleration * self.length))

    @property
    def planned(self) -> float:
        """Seconds of the whole move when nobody halts it."""
        return 0.0 if self.length == 0.0 else self.length / self.peak + self.peak / self.acceleration

    @property
    def duration(self) -> float:
        """Seconds from start to standstill."""
        if self.brake >= self.planned:
            return self.planned
        return self.brake + self._travelled(self.brake)[1] / self.acceleration

    @property
    def end(self) -> Instant:
        return self.start.after(self.duration)

    def _travelled(self, t: float) -> tuple[float, float]:
        """(metres, metres per second) of the longest axis at t seconds, no halt considered."""
        v, a, whole = self.peak, self.acceleration, self.planned
        if t <= 0.0:
            return 0.0, 0.0
        if t >= whole:
            return self.length, 0.0
        if t < v / a:
            return 0.5 * a * t * t, a * t
        if t > whole - v / a:
            left = whole - t
            return self.length - 0.5 * a * left * left, a * left
        return v * (t - 0.5 * v / a), v

    def fraction(self, t: float) -> float:
        """How much of the way is behind at t seconds after the start, halts considered."""
        if self.length == 0.0:
            return 1.0
        if t <= self.brake:
            return self._travelled(t)[0] / self.length
        at, v = self._travelled(self.brake)
        t = min(t - self.brake, v / self.acceleration)
        return (at + v * t - 0.5 * self.acceleration * t * t) / self.length

    def at(self, instant: Instant) -> dict[str, float]:
        """Axis name -> metres at an instant, standing before and after."""
        s = self.fraction(instant.since(self.start))
        return {axis: self.begin[axis] + s * (self.goal[axis] - self.begin[axis]) if s < 1.0 else self.goal[axis] for axis in self.begin}


@dataclass(slots=True)
class Journey:
    """Where the axes of one stage have been, are and will be: a start and ramps in the order of their instants."""

    begin: dict[str, float]
    ramps: list[Ramp] = field(default_factory=list)

    def add(self, ramp: Ramp) -> None:
        """Append a move; whatever was planned to begin at or after its start is forgotten."""
        self.ramps = [other for other in self.ramps if other.start < ramp.start] + [ramp]

    def in_force(self, instant: Instant) -> Ramp | None:
        """The last ramp that began at or before an instant."""
        i = bisect.bisect_right([ramp.start for ramp in self.ramps], instant)
        return self.ramps[i - 1] if i else None

    def at(self, instant: Instant) -> dict[str, float]:
        ramp = self.in_force(instant)
        return dict(self.begin) if ramp is None else ramp.at(instant)

    def moving(self, instant: Instant) -> bool:
        ramp = self.in_force(instant)
        return ramp is not None and instant < ramp.end

    def moves_within(self, begin: Instant, end: Instant) -> bool:
        """Whether anything moves at any time in [begin, end]."""
        return any(ramp.start < end and begin < ramp.end for ramp in self.ramps)

    def forget_before(self, instant: Instant) -> None:
        """Drop ramps that ended before an instant; the position afterwards is unchanged."""
        while len(self.ramps) > 1 and self.ramps[0].end < instant and self.ramps[1].start < instant:
            self.begin = self.ramps[0].at(self.ramps[0].end)
            del self.ramps[0]


@dataclass(frozen=True, eq=False)
class Walker:
    """A target on a horizontal circle: centre (3,) metres, radius m, speed m/s (positive: counter-clockwise), phase rad at the epoch."""

    centre: Array
    radius: float
    speed: float
    phase: float

    def at(self, instant: Instant) -> Array:
        """Position, (3,) metres."""
        return self.track([instant])[0]

    def track(self, instants: Sequence[Instant]) -> Array:
        """Positions, (instant, 3) metres."""
        angles = [self._angle(instant) for instant in instants]  # one by one: a vector's tail may round differently
        out = np.tile(self.centre, (len(angles), 1))
        out[:, 0] += self.radius * np.array([math.cos(angle) for angle in angles])
        out[:, 1] += self.radius * np.array([math.sin(angle) for angle in angles])
        return out

    def velocity(self, instant: Instant) -> Array:
        """(3,) metres per second."""
        angle, speed = self._angle(instant), self.speed if self.radius > 0.0 else 0.0
        return speed * np.array([-math.sin(angle), math.cos(angle), 0.0])

    def _angle(self, instant: Instant) -> float:
        return self.phase + (self.speed / self.radius * instant.seconds if self.radius > 0.0 else 0.0)
