"""Base stations as they stand on the bench: what each sends with, hears with, serves and looks for, and which of them speak as one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hil.knowledge import Reflections
from hil.loop.arrays import BenchArray
from hil.loop.lab import Lab
from hil.loop.sounding import Speaker
from hil.scenario import Whereabouts

ECHO_S = 0.1  # what a receiving array captures: at half a metre a second a target's Doppler is a few hertz
AREA_M2 = 1.0  # radar cross-section that a target is taken to have before its first echo


@dataclass(frozen=True, slots=True, eq=False)
class Station:
    """One cell's base station. users: indices into the lab's users."""

    cell: str
    transmit: BenchArray
    receive: BenchArray
    users: tuple[int, ...]
    target: Whereabouts

    def sine_towards(self, point: NDArray[np.float64]) -> float:
        """Sine of the angle from broadside at which a point is seen from the transmitting array's origin."""
        away = np.asarray(point, float) - self.transmit.origin
        return float(self.transmit.axis @ away / np.linalg.norm(away))


@dataclass(frozen=True, eq=False)
class Stations:
    """All of them, in the order of the scenario's cells."""

    lab: Lab
    each: tuple[Station, ...]

    @classmethod
    def of(cls, lab: Lab) -> Stations:
        """Those of an open lab."""
        arrays = {array.name: array for array in (*lab.transmitters, *lab.sensors)}
        return cls(lab, tuple(
            Station(cell.name, arrays[cell.transmit], arrays[cell.receive], tuple(lab.users.index(user) for user in cell.users), cell.target)
            for cell in lab.scenario.cell
        ))  # fmt: skip

    @property
    def cells(self) -> NDArray[np.int64]:
        """(user,) which station serves each."""
        served = {user: n for n, station in enumerate(self.each) for user in station.users}
        return np.array([served[user] for user in range(len(self.lab.users))])

    @property
    def element_power(self) -> NDArray[np.float64]:
        """(station, antenna) watts, caps."""
        return np.array([np.full(one.transmit.elements, one.transmit.element_power) for one in self.each])

    @property
    def identity(self) -> tuple[tuple[int, int], ...]:
        """Of every user's stream, (cell, number in it): the same wherever it is sent from."""
        return tuple((int(n), self.each[n].users.index(user)) for user, n in enumerate(self.cells))

    @property
    def together(self) -> bool:
        """Whether the bench says that all of them share frequency reference and start."""
        radios = {station.transmit.radio for station in self.each}
        return any(radios <= set(shared.radios) and shared.reference and shared.trigger for shared in self.lab.testbed.shared)

    @property
    def speakers(self) -> tuple[Speaker, ...]:
        """Who is sounded in one frame: all of them where they are together, else each alone."""
        arrays = tuple(station.transmit for station in self.each)
        if self.together:
            return (Speaker("stations", arrays),)
        return tuple(Speaker(array.name, (array,)) for array in arrays)

    def speaker(self, user: int) -> str:
        """By whose name the clock of a user's own base station is known."""
        return self.speakers[0].name if self.together else self.each[self.cells[user]].transmit.name

    def wavelengths(self, array: BenchArray) -> NDArray[np.float64]:
        """(antenna,) places along an array, from its origin."""
        return array.local(self.lab.positions) / self.lab.scenario.wavelength

    def expected(self, noise: NDArray[np.float64]) -> Reflections:
        """What the scenario says of the targets before the first echo. noise: (station,) watts per tone."""
        count = len(self.each)
        places = [np.asarray(station.target.position_m, float) for station in self.each]
        angle, std, reach = np.empty((3, count, count))
        for n, station in enumerate(self.each):
            for m, place in enumerate(places):
                sine = station.sine_towards(place)
                reach[n, m] = np.linalg.norm(place - station.transmit.origin)
                angle[n, m], std[n, m] = np.arcsin(sine), self.each[m].target.position_std_m / reach[n, m]
        amplitude = np.sqrt(self.lab.scenario.wavelength**2 * AREA_M2 / (4.0 * np.pi) ** 3) / (reach * np.diagonal(reach))
        return Reflections(angle, std, amplitude.astype(complex), np.full((count, count), np.inf), noise, ("scenario", f"{AREA_M2:g} m^2"))
