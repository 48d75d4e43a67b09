"""An emulated stage: `hil.device.Stage` on top of the world. All axes of one stage move as one synchronous straight line."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hil.clock import Instant
from hil.device import DeviceError, Move, Position
from sim_backend.motion import Journey, Ramp

if TYPE_CHECKING:
    from sim_backend.world import World

SLICE_S = 0.02  # how often a waiting move looks whether it was halted


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis. travel, start: metres; speed m/s, acceleration m/s^2: what it can do; step: metres."""

    travel: tuple[float, float]
    start: float
    speed: float
    acceleration: float
    step: float

    @classmethod
    def parse(cls, item: Mapping[str, Any]) -> Axis:
        step = 1e-3 / float(item["steps_per_mm"])
        travel = tuple(1e-3 * float(v) for v in item["travel_mm"])
        start = step * round(1e-3 * float(item.get("start_mm", item["travel_mm"][0])) / step)
        return cls(travel, start, 1e-3 * float(item["speed_mm_s"]), 1e-3 * float(item["acceleration_mm_s2"]), step)  # type: ignore[arg-type]

    def on_step(self, position: float) -> float:
        """The nearest position of the step counter, metres."""
        return self.step * round(position / self.step)


class Stage:
    """One controller with its axes. It knows its count of steps; what the carriages really do belongs to the world."""

    def __init__(
        self, world: World, name: str, axes: Mapping[str, Axis], journey: Journey, settle_s: float, repeatability: float, homed: bool
    ):
        self.name = name
        self._world, self._axes, self._journey = world, dict(axes), journey
        self._settle, self._repeatability, self._homed = settle_s, repeatability, homed
        self._lock = threading.RLock()
        self._busy = self._closed = False

    @property
    def axes(self) -> Mapping[str, tuple[float, float]]:
        return {name: axis.travel for name, axis in self._axes.items()}

    def where(self) -> Position:
        self._open()
        with self._lock:
            now = self._world.clock.now()
            if not self._homed:
                return Position({}, {}, False, self._journey.moving(now), now)
            count = {name: self._axes[name].on_step(value) for name, value in self._journey.at(now).items()}
            std = {name: math.hypot(axis.step / math.sqrt(12.0), self._repeatability) for name, axis in self._axes.items()}
            return Position(count, std, True, self._journey.moving(now), now)

    def move(self, move: Move, timeout_s: float) -> Position:
        self._open()
        if not self._homed:
            raise self._error("not-homed", "does not know where it is", fix="home it first")
        goal = self._goal(move)
        return self._go(goal, move.speed, move.acceleration, timeout_s)

    def halt(self) -> None:
        with self._lock:
            now = self._world.clock.now()
            ramp = self._journey.in_force(now)
            if ramp is not None and now < ramp.end and math.isinf(ramp.brake):
                self._journey.add(replace(ramp, brake=max(0.0, now.since(ramp.start))))

    def home(self, timeout_s: float) -> Position:
        """To the switches, which stand where the axes started, and count from there."""
        self._open()
        axes = self._axes.values()
        position = self._go(
            {name: axis.start for name, axis in self._axes.items()},
            min(axis.speed for axis in axes), min(axis.acceleration for axis in axes), timeout_s,
        )  # fmt: skip
        self._homed = True
        return position if position.homed else self.where()

    def close(self) -> None:
        self.halt()
        self._closed = True

    # ------------------------------------------------------------------------------------------------------------------------------

    def _goal(self, move: Move) -> dict[str, float]:
        """Where every axis shall stand, on its step grid; refuses what cannot be before anything moves."""
        goal = self._journey.at(self._world.clock.now())
        for name, target in move.targets.items():
            if name not in self._axes:
                raise self._error("unknown-axis", f"has no axis {name}", name, ", ".join(self._axes))
            least, most = self._axes[name].travel
            if not least <= target <= most:
                travel = f"{least * 1e3:.3f} .. {most * 1e3:.3f} mm"
                raise self._error(
                    "beyond-travel", f"axis {name} cannot go there", f"{target * 1e3:.3f} mm", travel, "stay within the travel"
                )
            goal[name] = self._axes[name].on_step(target)
        for key, value in (("speed", move.speed), ("acceleration", move.acceleration)):
            if not (math.isfinite(value) and value > 0.0):
                raise self._error("bad-move", f"{key} must be positive", f"{value:g}", "more than 0")
        return goal

    def _go(self, goal: dict[str, float], speed: float, acceleration: float, timeout_s: float) -> Position:
        clock = self._world.clock
        with self._lock:
            now = clock.now()
            if self._busy or self._journey.moving(now):
                raise self._error("busy", "is still moving", fix="wait, or halt it")
            begin = self._journey.at(now)
            ramp = self._ramp(now, begin, goal, speed, acceleration)
            needed = ramp.planned + self._settle
            if needed > timeout_s:
                raise self._error(
                    "too-slow", "cannot arrive in time", f"{needed:.3f} s needed", f"{timeout_s:g} s", "wait longer, or move faster"
                )
            self._journey.add(ramp)
            self._busy = True
        try:
            self._wait(ramp)
        finally:
            self._busy = False
        return self.where()

    def _ramp(self, now: Instant, begin: dict[str, float], goal: dict[str, float], speed: float, acceleration: float) -> Ramp:
        """Speed and acceleration are those of the axis that travels furthest, lowered until every axis can follow."""
        way = {name: abs(goal[name] - begin[name]) for name in goal}
        length = max(way.values())
        for name, metres in way.items():
            if metres > 0.0:
                speed = min(speed, self._axes[name].speed * length / metres)
                acceleration = min(acceleration, self._axes[name].acceleration * length / metres)
        return Ramp(now, begin, goal, length, speed, acceleration)

    def _wait(self, ramp: Ramp) -> None:
        clock = self._world.clock
        while True:
            with self._lock:
                present = self._journey.in_force(ramp.start) or ramp
            left = present.end.since(clock.now())
            if left <= 0.0:
                break
            clock.sleep(min(left, SLICE_S))
        if not math.isinf(present.brake):
            raise self._error("halted", "was halted on the way", fix="look where it stands before moving on")
        clock.sleep(self._settle)

    def _open(self) -> None:
        if self._closed:
            raise self._error("closed", "is closed", fix="open it again")

    def _error(self, id: str, what: str, found: str = "", allowed: str = "", fix: str = "") -> DeviceError:
        return DeviceError(id, what, where=self.name, found=found, allowed=allowed, fix=fix)
