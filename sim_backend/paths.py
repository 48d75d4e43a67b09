"""From geometry to paths: the delay and the complex gain of every (path, receive antenna, transmit element), exactly.

Positions come as (..., element, 3) metres with any leading axes (instants); every kind of path answers with delay and gain of shape
(..., path, receive antenna, transmit element). Gains leave out exp(-j 2 pi f delay): phase always comes from the true length.
Antennas are isotropic with a gain, wavelength is that of the nominal carrier over the whole band.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from hil.units import SPEED_OF_LIGHT, from_db

Array = NDArray[np.float64]


class Rays(NamedTuple):
    """delay: (..., path, receive antenna, transmit element) seconds; gain: the same shape, complex amplitude."""

    delay: Array
    gain: NDArray[np.complex128]


class Path(Protocol):
    """One kind of path between two sets of antennas."""

    def rays(self, transmit: Array, receive: Array, wavelength: float) -> Rays: ...


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


@dataclass(frozen=True)
class Itself:
    """A device heard by itself: `power_db` whatever the distance, 1 ns later than the distance says."""

    power_db: float = -70.0
    extra_s: float = 1e-9

    def rays(self, transmit: Array, receive: Array, wavelength: float) -> Rays:
        delay = distance(receive[..., :, None, :], transmit[..., None, :, :]) / SPEED_OF_LIGHT + self.extra_s
        return _single(delay, np.full(delay.shape, math.sqrt(from_db(self.power_db)), complex))


@dataclass(frozen=True, eq=False)
class Scatterers:
    """Points that send on `coefficient` of the amplitude of a path of their own whole length. positions: (point, 3)."""

    positions: Array
    coefficient: NDArray[np.complex128]  # (point,)

    def rays(self, transmit: Array, receive: Array, wavelength: float) -> Rays:
        first, second = _legs(self.positions, transmit, receive)
        length = first + second
        return Rays(length / SPEED_OF_LIGHT, self.coefficient[:, None, None] * friis(length, wavelength))


@dataclass(frozen=True, eq=False)
class Echo:
    """A point of radar cross-section `area` m^2 at `position` (..., 3): the radar equation."""

    position: Array
    area: float = 1.0

    def rays(self, transmit: Array, receive: Array, wavelength: float) -> Rays:
        first, second = _legs(self.position[..., None, :], transmit, receive)
        amplitude = friis(first, wavelength) * friis(second, wavelength) * (math.sqrt(4.0 * math.pi * self.area) / wavelength)
        return Rays((first + second) / SPEED_OF_LIGHT, amplitude.astype(complex))


@dataclass(frozen=True, eq=False)
class Wall:
    """A mirror: the transmitter's image in the plane through `point` with unit `normal`, times `reflection`."""

    point: Array
    normal: Array
    reflection: complex = -1.0

    def rays(self, transmit: Array, receive: Array, wavelength: float) -> Rays:
        height = ((transmit - self.point) * self.normal).sum(-1, keepdims=True)
        d = distance(receive[..., :, None, :], (transmit - 2.0 * height * self.normal)[..., None, :, :])
        return _single(d / SPEED_OF_LIGHT, self.reflection * friis(d, wavelength))


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


def trace(paths: Sequence[Path], transmit: Array, receive: Array, wavelength: float, gains: Array | None = None) -> Rays:
    """All paths together, along the path axis. gains: (receive antenna, transmit element) amplitude of the antennas."""
    parts = [path.rays(transmit, receive, wavelength) for path in paths]
    if not parts:
        shape = (*np.broadcast_shapes(transmit.shape[:-2], receive.shape[:-2]), 0, receive.shape[-2], transmit.shape[-2])
        return Rays(np.zeros(shape), np.zeros(shape, complex))
    gain = np.concatenate([part.gain for part in parts], axis=-3)
    return Rays(np.concatenate([part.delay for part in parts], axis=-3), gain if gains is None else gain * gains)


def _single(delay: Array, gain: NDArray[np.complex128]) -> Rays:
    return Rays(delay[..., None, :, :], gain[..., None, :, :])


def _legs(points: Array, transmit: Array, receive: Array) -> tuple[Array, Array]:
    """Distances transmit element -> point and point -> receive antenna, each (..., point, receive antenna or 1, element or 1)."""
    first = distance(points[..., :, None, :], transmit[..., None, :, :])
    second = distance(points[..., :, None, :], receive[..., None, :, :])
    return first[..., :, None, :], second[..., :, :, None]
