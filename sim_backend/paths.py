"""From geometry to paths: the delay and the complex gain of every (path, receive antenna, transmit element), exactly.

Positions come as (..., element, 3) metres with any leading axes (instants); every kind of path answers with delay and gain of shape
(..., path, receive antenna, transmit element). Gains leave out exp(-j 2 pi f delay): phase always comes from the true length.
Wavelength is that of the nominal carrier over the whole band. Antennas have a gain, and a pattern if one is given, which asks every path
that leaves through the air for the ways it takes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from hil.units import SPEED_OF_LIGHT

Array = NDArray[np.float64]


class Rays(NamedTuple):
    """delay: (..., path, receive antenna, transmit element) seconds; gain: the same shape, complex amplitude."""

    delay: Array
    gain: NDArray[np.complex128]


class Ways(NamedTuple):
    """Vectors of any length, (..., path, receive antenna or 1, transmit element or 1, 3): where a path heads, and where it comes from."""

    departure: Array
    arrival: Array


class Path(Protocol):
    """One kind of path between two sets of antennas."""

    def rays(self, transmit: Array, receive: Array, wavelength: float) -> Rays: ...

    def ways(self, transmit: Array, receive: Array) -> Ways | None:
        """None for a path that no antenna's pattern or gain touches."""


@dataclass(frozen=True, eq=False)
class Cosine:
    """A pattern: power max(0, cos)^exponent of the angle to each antenna's normal. normals: unit vectors, (antenna, 3)."""

    exponent: float
    transmit: Array
    receive: Array

    def amplitude(self, ways: Ways) -> Array:
        """(..., path, receive antenna, transmit element)."""
        return self._side(ways.departure, self.transmit) * self._side(ways.arrival, self.receive[:, None])

    def _side(self, way: Array, normal: Array) -> Array:
        return np.maximum(0.0, (way * normal).sum(-1) / np.sqrt((way * way).sum(-1))) ** (0.5 * self.exponent)


def distance(a: Array, b: Array) -> Array:
    """|a - b| over the last axis. Written out: square roots and products round the same way however many there are."""
    d = a - b
    return np.sqrt(d[..., 0] * d[..., 0] + d[..., 1] * d[..., 1] + d[..., 2] * d[..., 2])


def friis(length: Array, wavelength: float) -> Array:
    """Amplitude of free space, wavelength/(4 pi d); never more than 1, however near."""
    near = wavelength / (4.0 * math.pi)
    return near / np.maximum(length, near)


@dataclass(frozen=True)
class Sight:
    """Line of sight, exact for every antenna pair."""

    def rays(self, transmit: Array, receive: Array, wavelength: float) -> Rays:
        d = distance(receive[..., :, None, :], transmit[..., None, :, :])
        return _single(d / SPEED_OF_LIGHT, friis(d, wavelength).astype(complex))

    def ways(self, transmit: Array, receive: Array) -> Ways:
        way = (receive[..., :, None, :] - transmit[..., None, :, :])[..., None, :, :, :]
        return Ways(way, -way)


@dataclass(frozen=True, eq=False)
class Itself:
    """A device heard by itself: `coupling` (receive antenna, transmit element) whatever the distance, 1 ns later than the distance says."""

    coupling: NDArray[np.complex128]
    extra_s: float = 1e-9

    def rays(self, transmit: Array, receive: Array, wavelength: float) -> Rays:
        delay = distance(receive[..., :, None, :], transmit[..., None, :, :]) / SPEED_OF_LIGHT + self.extra_s
        return _single(delay, np.broadcast_to(self.coupling, delay.shape))

    def ways(self, transmit: Array, receive: Array) -> None:
        return None


@dataclass(frozen=True, eq=False)
class Line:
    """Cables between ports: gain and delay of each (receive antenna, transmit element), gain 0 where there is none."""

    gain: NDArray[np.complex128]
    delay: Array

    def rays(self, transmit: Array, receive: Array, wavelength: float) -> Rays:
        shape = (*np.broadcast_shapes(transmit.shape[:-2], receive.shape[:-2]), *self.gain.shape)
        return _single(np.broadcast_to(self.delay, shape), np.broadcast_to(self.gain, shape))

    def ways(self, transmit: Array, receive: Array) -> None:
        return None


@dataclass(frozen=True, eq=False)
class Scatterers:
    """Points that send on `coefficient` of the amplitude of a path of their own whole length. positions: (point, 3)."""

    positions: Array
    coefficient: NDArray[np.complex128]  # (point,)

    def rays(self, transmit: Array, receive: Array, wavelength: float) -> Rays:
        first, second = _legs(self.positions, transmit, receive)
        length = first + second
        return Rays(length / SPEED_OF_LIGHT, self.coefficient[:, None, None] * friis(length, wavelength))

    def ways(self, transmit: Array, receive: Array) -> Ways:
        return _by_way_of(self.positions, transmit, receive)


@dataclass(frozen=True, eq=False)
class Echo:
    """Points at `position` (..., point, 3), or one at (..., 3), that share a radar cross-section of `area` m^2: the radar equation."""

    position: Array
    area: float = 1.0
    several: bool = False

    def rays(self, transmit: Array, receive: Array, wavelength: float) -> Rays:
        first, second = _legs(self._points, transmit, receive)
        area = self.area / self._points.shape[-2]
        amplitude = friis(first, wavelength) * friis(second, wavelength) * (math.sqrt(4.0 * math.pi * area) / wavelength)
        return Rays((first + second) / SPEED_OF_LIGHT, amplitude.astype(complex))

    def ways(self, transmit: Array, receive: Array) -> Ways:
        return _by_way_of(self._points, transmit, receive)

    @property
    def _points(self) -> Array:
        return self.position if self.several else self.position[..., None, :]


@dataclass(frozen=True, eq=False)
class Wall:
    """A mirror: the transmitter's image in the plane through `point` with unit `normal`, times `reflection`; for who is on one side of it."""

    point: Array
    normal: Array
    reflection: complex = -1.0

    def rays(self, transmit: Array, receive: Array, wavelength: float) -> Rays:
        d = distance(receive[..., :, None, :], self._image(transmit)[..., None, :, :])
        together = self._height(receive)[..., :, None] * self._height(transmit)[..., None, :] > 0.0
        return _single(d / SPEED_OF_LIGHT, self.reflection * friis(d, wavelength) * together)

    def ways(self, transmit: Array, receive: Array) -> Ways:
        departure = self._image(receive)[..., :, None, :] - transmit[..., None, :, :]
        arrival = self._image(transmit)[..., None, :, :] - receive[..., :, None, :]
        return Ways(departure[..., None, :, :, :], arrival[..., None, :, :, :])

    def _height(self, points: Array) -> Array:
        d = points - self.point
        return d[..., 0] * self.normal[0] + d[..., 1] * self.normal[1] + d[..., 2] * self.normal[2]

    def _image(self, points: Array) -> Array:
        return points - 2.0 * self._height(points)[..., None] * self.normal


@dataclass(frozen=True, eq=False)
class Plane:
    """A declared plane wave, g a(arrival) a(departure)^T with a = exp(+j (2 pi/wavelength) position . direction), delay of the centres.

    Directions are unit vectors from an array towards the far point; positions count from `transmit_centre`, `receive_centre`.
    """

    coefficient: complex
    delay: float
    departure: Array
    arrival: Array
    transmit_centre: Array
    receive_centre: Array

    def rays(self, transmit: Array, receive: Array, wavelength: float) -> Rays:
        early = ((receive - self.receive_centre) * self.arrival).sum(-1)[..., :, None]
        early = early + ((transmit - self.transmit_centre) * self.departure).sum(-1)[..., None, :]
        delay = self.delay - early / SPEED_OF_LIGHT
        return _single(delay, np.full(delay.shape, self.coefficient, complex))

    def ways(self, transmit: Array, receive: Array) -> None:
        return None


def trace(
    paths: Sequence[Path], transmit: Array, receive: Array, wavelength: float, gains: Array | None = None, pattern: Cosine | None = None
) -> Rays:
    """All paths together, along the path axis. gains: (receive antenna, transmit element) amplitude of the antennas."""
    shape = (*np.broadcast_shapes(transmit.shape[:-2], receive.shape[:-2]), 0, receive.shape[-2], transmit.shape[-2])
    delays, amplitudes = [np.zeros(shape)], [np.zeros(shape, complex)]
    for path in paths:
        delay, gain = path.rays(transmit, receive, wavelength)
        if (gains is not None or pattern is not None) and (ways := path.ways(transmit, receive)) is not None:
            gain = gain if gains is None else gain * gains
            gain = gain if pattern is None else gain * pattern.amplitude(ways)
        delays.append(delay)
        amplitudes.append(gain)
    return Rays(np.concatenate(delays, axis=-3), np.concatenate(amplitudes, axis=-3))


def _single(delay: Array, gain: NDArray[np.complex128]) -> Rays:
    return Rays(delay[..., None, :, :], gain[..., None, :, :])


def _legs(points: Array, transmit: Array, receive: Array) -> tuple[Array, Array]:
    """Distances transmit element -> point and point -> receive antenna, each (..., point, receive antenna or 1, element or 1)."""
    first = distance(points[..., :, None, :], transmit[..., None, :, :])
    second = distance(points[..., :, None, :], receive[..., None, :, :])
    return first[..., :, None, :], second[..., :, :, None]


def _by_way_of(points: Array, transmit: Array, receive: Array) -> Ways:
    departure = points[..., :, None, None, :] - transmit[..., None, None, :, :]
    return Ways(departure, points[..., :, None, None, :] - receive[..., None, :, None, :])
