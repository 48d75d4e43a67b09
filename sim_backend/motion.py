"""Positions as closed forms of time: carriages on a trapezoid, a target that walks a circle.

A stage counts steps; its carriages follow the count as belts, screws and play let them. Both are closed forms between commands.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hil.clock import Instant

Array = NDArray[np.float64]
NEGLIGIBLE = 1e-6  # metres; a carriage that rings by less stands still
RINGING = 2  # moves, of which a carriage may still ring


@dataclass(frozen=True)
class Ramp:
    """One straight synchronous move: speed up at `acceleration`, cruise at `speed`, brake; a triangle when short.

    begin, goal: axis name -> metres by the count. length: metres of the axis that travels furthest, whose speed and acceleration these are.
    brake: seconds after `start` at which braking began early (a halt), if it did. stalls: axis -> share of the way after which its motor
    no longer follows the count. shift: axis -> metres by which the count was set anew when this began, carriage minus count. ringing:
    how much more than usual the carriages ring when it ends.
    """

    start: Instant
    begin: dict[str, float]
    goal: dict[str, float]
    length: float
    speed: float
    acceleration: float
    brake: float = math.inf
    stalls: Mapping[str, float] = field(default_factory=dict)
    shift: Mapping[str, float] = field(default_factory=dict)
    ringing: float = 1.0

    @cached_property
    def peak(self) -> float:
        """The speed reached, m/s."""
        return min(self.speed, math.sqrt(self.acceleration * self.length))

    @cached_property
    def planned(self) -> float:
        """Seconds of the whole move when nobody halts it."""
        return 0.0 if self.length == 0.0 else self.length / self.peak + self.peak / self.acceleration

    @cached_property
    def duration(self) -> float:
        """Seconds from start to standstill."""
        if self.brake >= self.planned:
            return self.planned
        return self.brake + self._travelled(self.brake)[1] / self.acceleration

    @cached_property
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

    def when(self, share: float) -> Instant:
        """When `share` of the way is behind, halts not considered."""
        v, a, way = self.peak, self.acceleration, share * self.length
        if way <= 0.5 * v * v / a:
            return self.start.after(math.sqrt(2.0 * way / a))
        if way >= self.length - 0.5 * v * v / a:
            return self.start.after(self.planned - math.sqrt(2.0 * (self.length - way) / a))
        return self.start.after(way / v + 0.5 * v / a)

    def at(self, instant: Instant) -> dict[str, float]:
        """Axis name -> metres by the count at an instant, standing before and after."""
        return self.along(self.fraction(instant.since(self.start)))

    def along(self, s: float) -> dict[str, float]:
        """Axis name -> metres by the count with a share of the way behind."""
        return {axis: self.begin[axis] + s * (self.goal[axis] - self.begin[axis]) if s < 1.0 else self.goal[axis] for axis in self.begin}


@dataclass(frozen=True)
class Carriage:
    """How one carriage follows its motor; as made, exactly. Metres, seconds, radians.

    position = motor (1 + scale_error) + lead_error sin(2 pi motor/lead + lead_phase), the motor seen through `backlash` (a carriage pushed
    towards plus stands where the motor does, one pulled back stands `backlash` ahead of it), + ringing after each stop:
    a damped sine of `frequency` whose first lobe is `overshoot` after braking at `acceleration`, and negligible after `settle`.
    """

    scale_error: float = 0.0
    lead_error: float = 0.0
    lead: float = 0.04  # per turn
    lead_phase: float = 0.0
    backlash: float = 0.0
    overshoot: float = 0.0
    acceleration: float = 0.5  # m/s^2
    frequency: float = 20.0  # Hz
    settle: float = 0.12
    straightness: float = 0.0  # amplitude of the sine across the rail
    bend: float = 1.0  # its period
    bend_phase: float = 0.0

    @cached_property
    def _decay(self) -> tuple[float, float]:
        """(1/s, amplitude over first lobe) of A exp(-d t) sin(w t): lobe 1 at tan(w t) = w/d, and A overshoot exp(-d settle) negligible."""
        if self.overshoot <= NEGLIGIBLE or self.settle <= 0.0:
            return math.inf, 0.0
        omega, amplitude, decay = 2 * math.pi * self.frequency, 1.0, 0.0
        for _ in range(40):  # a contraction: the amplitude enters by its logarithm
            decay = math.log(amplitude * self.overshoot / NEGLIGIBLE) / self.settle
            top = math.atan2(omega, decay) / omega
            amplitude = 1.0 / (math.exp(-decay * top) * math.sin(omega * top))
        return decay, amplitude

    def tail(self, more: float = 1.0) -> float:
        """Seconds for which it rings, or `more` times as much."""
        decay, _ = self._decay
        return 0.0 if math.isinf(decay) else max(0.0, self.settle + math.log(more) / decay)

    def rings(self, lobe: float, since: float) -> float:
        """Metres `since` seconds after a stop whose first lobe is `lobe` metres."""
        decay, amplitude = self._decay
        if lobe == 0.0 or math.isinf(decay) or not 0.0 <= since < self.tail(max(1.0, abs(lobe) / self.overshoot)):
            return 0.0
        return lobe * amplitude * math.exp(-decay * since) * math.sin(2 * math.pi * self.frequency * since)

    def at(self, motor: float, seen: float) -> float:
        """Metres; motor: what the motor has turned, seen: the same through the play."""
        position = seen * (1.0 + self.scale_error)
        if self.lead_error:
            position += self.lead_error * math.sin(2 * math.pi * motor / self.lead + self.lead_phase)
        return position

    def across(self, position: float) -> float:
        """Metres off the rail's line."""
        return self.straightness * math.sin(2 * math.pi * position / self.bend + self.bend_phase)


EXACT = Carriage()


@dataclass(slots=True)
class Journey:
    """Where the axes of one stage have been, are and will be: a start and ramps in the order of their instants.

    begin: axis name -> metres by the count. carriages: axis name -> how it follows; one that is not named follows exactly. lost: axis name
    -> metres by which the motor is ahead of the count at the start.
    """

    begin: dict[str, float]
    ramps: list[Ramp] = field(default_factory=list)
    carriages: Mapping[str, Carriage] = field(default_factory=dict)
    lost: Mapping[str, float] = field(default_factory=dict)
    _origin: dict[str, tuple[float, float]] = field(init=False)  # axis -> (motor minus count, motor seen through the play) at the start
    _entries: list[dict[str, tuple[float, float]]] = field(init=False, default_factory=list)  # the same when each ramp began
    _still: list[Instant] = field(init=False, default_factory=list)  # when the last carriage stands still after each ramp

    def __post_init__(self) -> None:
        self._origin = {axis: (self.lost.get(axis, 0.0), count + self.lost.get(axis, 0.0)) for axis, count in self.begin.items()}

    def add(self, ramp: Ramp) -> None:
        """Append a move; whatever was planned to begin at or after its start is forgotten."""
        kept = sum(other.start < ramp.start or (other.start == ramp.start and other.length == 0.0) for other in self.ramps)
        del self.ramps[kept:], self._entries[kept:], self._still[kept:]
        self._entries.append(self._state(kept, ramp.start)[1])
        self._still.append(self.still(ramp))
        self.ramps.append(ramp)

    def in_force(self, instant: Instant) -> Ramp | None:
        """The last ramp that began at or before an instant."""
        i = self._index(instant)
        return self.ramps[i - 1] if i else None

    def steps(self, instant: Instant) -> dict[str, float]:
        """Axis name -> metres as the count of steps has them: all that a stage knows."""
        ramp = self.in_force(instant)
        return dict(self.begin) if ramp is None else ramp.at(instant)

    def motors(self, instant: Instant) -> dict[str, float]:
        """Axis name -> metres that the motors have really turned."""
        steps, state = self._state(self._index(instant), instant)
        return {axis: steps[axis] + state[axis][0] for axis in steps}

    def at(self, instant: Instant) -> dict[str, float]:
        """Axis name -> metres at which the carriages really are."""
        i = self._index(instant)
        steps, state = self._state(i, instant)
        ringing = [self.ramps[k] for k in range(max(0, i - RINGING), i) if self.ramps[k].end <= instant < self._still[k]]
        out = {}
        for axis, count in steps.items():
            lost, seen = state[axis]
            carriage = self.carriages.get(axis, EXACT)
            out[axis] = carriage.at(count + lost, seen)
            if ringing and carriage.overshoot:
                out[axis] += sum(self._rings(ramp, axis, carriage, instant) for ramp in ringing)
        return out

    def course(self, at: Sequence[Instant]) -> list[dict[str, float]]:
        """What `at` says of every one of some instants; where nothing moves between them all, it is asked once."""
        if len(at) > 1:
            first = min(at)
            i = self._index(first)
            if i == self._index(max(at)) and all(still <= first for still in self._still[max(0, i - RINGING) : i]):
                return [self.at(first)] * len(at)
        return [self.at(instant) for instant in at]

    def track(self, axis: str, at: Sequence[Instant]) -> tuple[Array, Array]:
        """Of one carriage, (instant,) metres along its rail and across it."""
        along = [where[axis] for where in self.course(at)]
        carriage = self.carriages.get(axis, EXACT)
        return np.array(along), np.array([carriage.across(position) for position in along])

    def moving(self, instant: Instant) -> bool:
        """Whether the count moves: what a controller calls not idle."""
        ramp = self.in_force(instant)
        return ramp is not None and instant < ramp.end

    def moves_within(self, begin: Instant, end: Instant) -> bool:
        """Whether a carriage moves or rings at any time in [begin, end]."""
        return any(ramp.length > 0.0 and ramp.start < end and begin < still for ramp, still in zip(self.ramps, self._still))

    def still(self, ramp: Ramp) -> Instant:
        """When the last carriage stands still after a move."""
        return ramp.end.after(max((carriage.tail(max(1.0, ramp.ringing)) for carriage in self.carriages.values()), default=0.0))

    def forget_before(self, instant: Instant) -> None:
        """Drop ramps that ended before an instant; the position afterwards is unchanged."""
        while len(self.ramps) > 1 and self._still[0] < instant and self.ramps[1].start < instant:
            self.begin, self._origin = self.ramps[0].at(self.ramps[1].start), self._entries[1]
            del self.ramps[0], self._entries[0], self._still[0]

    def _index(self, instant: Instant) -> int:
        return bisect.bisect_right(self.ramps, instant, key=lambda ramp: ramp.start)

    def _state(self, i: int, instant: Instant) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
        """At an instant of the i-th ramp, counted from 1 (0: before the first): axis -> metres by the count, and axis -> (motor minus
        count, motor seen through the play)."""
        if i == 0:
            return self.begin, self._origin
        ramp, state = self.ramps[i - 1], {}
        share = ramp.fraction(instant.since(ramp.start))
        steps = ramp.along(share)
        for axis, (lost, seen) in self._entries[i - 1].items():
            lost += ramp.shift.get(axis, 0.0)
            lost -= max(0.0, share - ramp.stalls.get(axis, 1.0)) * (ramp.goal[axis] - ramp.begin[axis])
            motor = steps[axis] + lost
            state[axis] = lost, min(max(seen, motor), motor + self.carriages.get(axis, EXACT).backlash)
        return steps, state

    @staticmethod
    def _rings(ramp: Ramp, axis: str, carriage: Carriage, instant: Instant) -> float:
        way, since = ramp.goal[axis] - ramp.begin[axis], instant.since(ramp.end)
        if way == 0.0 or since < 0.0 or ramp.stalls.get(axis, 1.0) < 1.0:
            return 0.0
        strength = min(1.0, ramp.acceleration * abs(way) / ramp.length / carriage.acceleration)
        lobe = min(ramp.ringing * strength * carriage.overshoot, abs(way))
        return carriage.rings(math.copysign(lobe, way), since)


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
