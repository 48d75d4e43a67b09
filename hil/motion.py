"""Carriages on one rail: which layouts are legal, how a synchronous straight move goes, how long it takes, how close it gets.

All axes of a rail start and stop together, so at any instant, braking included, every gap is a mix of its start and its goal: a move
between two legal layouts cannot collide.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.device import Move, Position
from hil.errors import DeviceError, InputError

__all__ = ["Carriage", "Plan", "Rail", "check_layout", "closest_gap", "duration", "elapsed_fraction", "plan"]

SLACK = 1e-9  # metres; a layout that meets a limit to rounding is legal


@dataclass(frozen=True, slots=True)
class Carriage:
    """One element on one axis: local x = offset + sign * axis reading, metres."""

    axis: str
    offset: float = 0.0
    sign: int = 1

    def __post_init__(self) -> None:
        if self.sign not in (1, -1):
            raise InputError("axis-sign", "an axis counts with or against local x", key=self.axis, found=f"{self.sign}", allowed="+1 or -1")

    def local(self, reading: float) -> float:
        return self.offset + self.sign * reading

    def reading(self, local: float) -> float:
        return (local - self.offset) * self.sign


@dataclass(frozen=True, slots=True)
class Rail:
    """Carriages in their order along local x, and the limits they share.

    travel: axis -> (least, most) metres on that axis. span: the part of local x the scenario allows. spacing: least gap between
    neighbours (scenario or carriage width, whichever is wider). speed, acceleration: of the axis that travels furthest.
    """

    name: str
    carriages: tuple[Carriage, ...]
    travel: Mapping[str, tuple[float, float]]
    spacing: float
    speed: float
    acceleration: float
    span: tuple[float, float] = (-math.inf, math.inf)

    def limits(self) -> NDArray[np.float64]:
        """(antenna, 2) least and most local x of every element: its axis' travel cut to the span."""
        ends = []
        for carriage in self.carriages:
            if carriage.axis not in self.travel:
                raise DeviceError(
                    "no-axis", "no such axis on this stage", where=self.name, found=repr(carriage.axis), allowed=", ".join(self.travel),
                    fix="name the axes as the stage does",
                )  # fmt: skip
            low, high = sorted(carriage.local(reading) for reading in self.travel[carriage.axis])
            ends.append((max(low, self.span[0]), min(high, self.span[1])))
        return np.array(ends)

    def local(self, readings: Mapping[str, float]) -> NDArray[np.float64]:
        """(antenna,) metres of local x at these axis readings."""
        return np.array([carriage.local(readings[carriage.axis]) for carriage in self.carriages])

    def readings(self, local: Any) -> dict[str, float]:
        """Axis readings that put the elements at (antenna,) metres of local x."""
        return {carriage.axis: carriage.reading(float(x)) for carriage, x in zip(self.carriages, np.asarray(local), strict=True)}

    def positions(self, position: Position) -> NDArray[np.float64]:
        """(antenna,) local x of a stage's read-back; an axis that is not homed has no position."""
        if not position.homed:
            raise DeviceError("not-homed", "positions are unknown until homed", where=self.name, fix=f"home {self.name} first")
        return self.local(position.axes)

    def check(self, layout: Any, margin: float = 0.0) -> NDArray[np.float64]:
        """The layout as an array, or InputError naming element, limit and remedy."""
        return check_layout(layout, self.limits(), self.spacing, margin=margin, rail=self.name)


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """A checked move: what to send and what to expect of it."""

    move: Move
    start: NDArray[np.float64]  # (antenna,) local x
    goal: NDArray[np.float64]
    duration: float  # seconds from start to stop, settling not counted
    closest: float  # metres, smallest gap on the way
    distance: float  # metres, of the element that travels furthest
    peak_speed: float


def check_layout(layout: Any, limits: Any, spacing: float, *, margin: float = 0.0, rail: str = "") -> NDArray[np.float64]:
    """Refuse a layout that leaves its travel, changes the order or comes too close; returns it as float64.

    layout: (antenna,) metres of local x in rail order. limits: (antenna, 2) or (2,) metres. margin: added to the spacing.
    """
    layout = np.asarray(layout, dtype=float)
    limits = np.broadcast_to(np.asarray(limits, dtype=float), (layout.size, 2))
    if layout.ndim != 1 or layout.size == 0 or not np.all(np.isfinite(layout)):
        raise InputError("layout", "a layout is one finite position per element", key=rail, found=f"{layout}", allowed="(antenna,) metres")
    for element, (x, (low, high)) in enumerate(zip(layout, limits)):
        if not low - SLACK <= x <= high + SLACK:
            raise InputError(
                "travel", f"element {element} leaves the rail", key=rail, found=f"{1e3 * x:.3f} mm", fix="move it inside",
                allowed=f"{1e3 * low:.3f} ... {1e3 * high:.3f} mm of local x",
            )  # fmt: skip
    gaps = np.diff(layout)
    if np.any(gaps <= 0.0):
        element = int(np.argmax(gaps <= 0.0))
        raise InputError(
            "order", f"elements {element} and {element + 1} would have to pass each other", key=rail, fix="sort the positions",
            found=f"{1e3 * layout[element]:.3f} and {1e3 * layout[element + 1]:.3f} mm", allowed="increasing positions along local x",
        )  # fmt: skip
    if np.any(gaps < spacing + margin - SLACK):
        element = int(np.argmin(gaps))
        raise InputError(
            "spacing", f"elements {element} and {element + 1} come too close", key=rail, found=f"gap {1e3 * gaps[element]:.3f} mm",
            allowed=f">= {1e3 * (spacing + margin):.3f} mm", fix="widen the gap or lower the spacing the scenario asks for",
        )  # fmt: skip
    return layout


def duration(distance: float, speed: float, acceleration: float) -> float:
    """Seconds of a trapezoid in speed: d/v + v/a, or 2 sqrt(d/a) when too short to reach v."""
    if not (speed > 0.0 and acceleration > 0.0 and math.isfinite(distance)):
        raise InputError(
            "speed", "a move needs positive speed and acceleration", found=f"{speed} m/s, {acceleration} m/s2, {distance} m", allowed="> 0"
        )
    distance = abs(distance)
    if distance < speed**2 / acceleration:
        return 2.0 * math.sqrt(distance / acceleration)
    return distance / speed + speed / acceleration


def elapsed_fraction(time: float, distance: float, speed: float, acceleration: float) -> float:
    """Share of the way done `time` seconds after the start, in [0, 1]; common to all axes of a synchronous move."""
    distance = abs(distance)
    total = duration(distance, speed, acceleration)
    if time <= 0.0:
        return 0.0
    if time >= total or distance == 0.0:
        return 1.0
    ramp = min(speed / acceleration, total / 2.0)
    if time <= ramp:
        return 0.5 * acceleration * time**2 / distance
    if time >= total - ramp:
        return 1.0 - 0.5 * acceleration * (total - time) ** 2 / distance
    return acceleration * ramp * (time - ramp / 2.0) / distance


def closest_gap(start: Any, goal: Any) -> float:
    """Smallest gap between neighbours at any instant of a synchronous straight move, metres; infinity for one element.

    A gap is linear in the share of the way done, so it is smallest at an end.
    """
    gaps = np.concatenate([np.diff(np.asarray(start, dtype=float)), np.diff(np.asarray(goal, dtype=float))])
    return float(np.min(gaps)) if gaps.size else math.inf


def plan(rail: Rail, start: Any, goal: Any, *, margin: float = 0.0) -> Plan:
    """The synchronous straight move of one rail from `start` to `goal`, (antenna,) metres of local x; both are checked first.

    margin: position uncertainty kept free at the goal on top of the spacing. The start is where the carriages are: it must only be in
    order and on the rail, so that a layout that came out slightly too close can be left.
    """
    goal = rail.check(goal, margin)
    try:
        start = check_layout(start, rail.limits() + np.array([-1e-3, 1e-3]), 0.0, rail=rail.name)
    except InputError as error:
        raise DeviceError(
            "position", "the carriages stand where no move may start", where=rail.name, found=error.found, allowed=error.allowed,
            fix="home the rail", note=error.what,
        ) from error  # fmt: skip
    if start.size != goal.size:
        raise InputError(
            "layout", "start and goal have different elements", key=rail.name, found=f"{goal.size} positions", allowed=f"{start.size}"
        )
    distance = float(np.max(np.abs(goal - start)))
    seconds = duration(distance, rail.speed, rail.acceleration)
    peak = min(rail.speed, math.sqrt(distance * rail.acceleration))
    move = Move(rail.readings(goal), rail.speed, rail.acceleration)
    return Plan(move, start, goal, seconds, closest_gap(start, goal), distance, peak)
