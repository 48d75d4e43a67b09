"""Where the elements of an array are: between axis read-backs, positions along the array, and points in the room."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hil.device import Position
from hil.motion import Carriage, Plan, Rail, plan
from hil.scenario import Array, Scenario
from hil.testbed import Testbed

NUDGE = 50e-6  # metres; four steps of a belt's motor


@dataclass(frozen=True, slots=True, eq=False)
class BenchArray:
    """A linear array of the scenario as it hangs on the bench. Local x runs along `axis` from `origin`, metres.

    channels: element -> channel of the radio. fixed: (element,) local x of an array that stands still, else None. spacing: metres
    that neighbours keep, of scenario or carriages, whichever is wider.
    """

    name: str
    radio: str
    channels: tuple[int, ...]
    origin: NDArray[np.float64]  # (3,)
    axis: NDArray[np.float64]  # (3,) unit
    element_power: float  # watts
    spacing: float
    travel: tuple[float, float]  # local x that every element can be asked for
    stage: str | None
    rail: Rail | None
    fixed: NDArray[np.float64] | None
    accuracy: float = 0.0  # metres, std about a read-back that the stage itself cannot see

    @property
    def elements(self) -> int:
        return len(self.channels)

    def local(self, positions: Mapping[str, Position]) -> NDArray[np.float64]:
        """(element,) metres of local x, from the stages' read-backs."""
        if self.rail is None or self.stage is None:
            assert self.fixed is not None
            return self.fixed.copy()
        return self.rail.positions(positions[self.stage])

    def std(self, positions: Mapping[str, Position]) -> NDArray[np.float64]:
        """(element,) metres."""
        if self.rail is None or self.stage is None:
            return np.zeros(self.elements)
        return np.hypot(self.accuracy, [positions[self.stage].std[carriage.axis] for carriage in self.rail.carriages])

    def plan(self, start: NDArray[np.float64], goal: NDArray[np.float64]) -> Plan | None:
        """The move from layout to layout, checked; None when the array stands still."""
        return None if self.rail is None else plan(self.rail, start, self.nudged(goal))

    def nudged(self, goal: NDArray[np.float64]) -> NDArray[np.float64]:
        """The legal layout beside a goal that is a few motor steps from one, as where elements stand may be; any other goal as it is."""
        low, high = self.travel
        legal = np.clip(goal, low, high)
        for element in range(1, len(legal)):
            legal[element] = max(legal[element], legal[element - 1] + self.spacing)
        legal[-1] = min(legal[-1], high)
        for element in range(len(legal) - 2, -1, -1):
            legal[element] = min(legal[element], legal[element + 1] - self.spacing)
        return legal if np.max(np.abs(legal - goal)) <= NUDGE else goal

    def points(self, local: NDArray[np.float64]) -> NDArray[np.float64]:
        """(element, xyz) metres in the room."""
        return self.origin + np.asarray(local)[:, None] * self.axis


def bench_array(array: Array, testbed: Testbed, wavelength: float) -> BenchArray:
    """An array of the scenario joined with its wire and its stage's profile."""
    wire = testbed.wire_of(array.name)
    elements = wire.elements
    spacing = max(array.min_spacing(wavelength), testbed.carriage(wire))
    low, high = array.travel(wavelength)
    rail, fixed, stage, accuracy = None, None, None, 0.0
    if wire.moving:
        stage = elements[0].stage
        profile = testbed.stage_profile(str(stage))
        accuracy = profile.arrival.accuracy
        axes = [profile.axis[str(element.axis)] for element in elements]
        carriages = tuple(Carriage(str(element.axis), element.offset, element.sign) for element in elements)
        travel = {carriage.axis: axis.travel for carriage, axis in zip(carriages, axes)}
        speed, acceleration = min(axis.speed for axis in axes), min(axis.acceleration for axis in axes)
        rail = Rail(str(stage), carriages, travel, spacing, speed, acceleration, (low, high))
        limits = rail.limits()
        low, high = float(limits[:, 0].max()), float(limits[:, 1].min())
    else:
        fixed = np.array([element.offset for element in elements])
    return BenchArray(
        array.name, wire.radio, tuple(element.channel for element in elements), np.array(array.origin_m, dtype=float),
        np.array(array.axis, dtype=float), array.element_power, spacing, (low, high), stage, rail, fixed, accuracy,
    )  # fmt: skip


def transmit_arrays(scenario: Scenario, testbed: Testbed) -> tuple[BenchArray, ...]:
    """In the scenario's order: transmitter t serves user t."""
    return tuple(bench_array(array, testbed, scenario.wavelength) for array in scenario.transmitters)


def sense_arrays(scenario: Scenario, testbed: Testbed) -> tuple[BenchArray, ...]:
    return tuple(bench_array(array, testbed, scenario.wavelength) for array in scenario.sensors)


