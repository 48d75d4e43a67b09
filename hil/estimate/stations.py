"""Base stations as a sensing estimator sees them: where their elements are, and what a point at an azimuth looks like from there.

Azimuth is counted from broadside towards the array's local x: direction = (sin, cos, 0) in (axis, normal, up). Distances are exact, so
that a target ten metres away is no plane wave; far away the vectors are the usual exp(+j 2 pi/lambda position . direction).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hil.errors import InputError
from hil.knowledge import Estimate
from hil.units import SPEED_OF_LIGHT

__all__ = ["Prior", "Station", "seen"]


@dataclass(frozen=True, slots=True, eq=False)
class Station:
    """origin: (3,) metres, the point that azimuths are seen from and echo phases referred to. axis, normal: (3,) unit, level and square to each
    other. transmit: (antenna, 3), receive: (rx, 3) metres, world frame.
    """

    origin: NDArray[np.float64]
    axis: NDArray[np.float64]
    normal: NDArray[np.float64]
    transmit: NDArray[np.float64]
    receive: NDArray[np.float64]

    def __post_init__(self) -> None:
        frame = np.array([self.axis, self.normal])
        if frame.shape != (2, 3) or not np.allclose(frame @ frame.T, np.eye(2), atol=1e-6):
            raise InputError("frame", "axis and normal are unit vectors square to each other", found=f"{frame.tolist()}", allowed="(3,), (3,)")

    def azimuth(self, point: ArrayLike) -> tuple[float, float, float]:
        """(azimuth rad, distance along the ground, height over the origin) of a point (3,)."""
        away = np.asarray(point, float) - self.origin
        x, y, z = away @ self.axis, away @ self.normal, away @ np.cross(self.axis, self.normal)
        return float(np.arctan2(x, y)), float(np.hypot(x, y)), float(z)

    def steering(
        self, elements: NDArray[np.float64], azimuth: float, ground: float, height: float, wavelength: float
    ) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
        """(element,) D/d exp(-j k (d - D)) of a point at this azimuth, D its distance from the origin, and the slope per radian."""
        up = np.cross(self.axis, self.normal)
        away = ground * (np.sin(azimuth) * self.axis + np.cos(azimuth) * self.normal) + height * up
        moved = ground * (np.cos(azimuth) * self.axis - np.sin(azimuth) * self.normal)
        places = elements - self.origin
        whole = float(np.linalg.norm(away))
        distance = np.linalg.norm(away - places, axis=-1)
        k = 2.0 * np.pi / wavelength
        # d - D without the cancellation of two long distances
        extra = (np.sum(places**2, axis=-1) - 2.0 * places @ away) / (distance + whole)
        wave = whole / distance * np.exp(-1j * k * extra)
        return wave, -(1j * k + 1.0 / distance) * ((away - places) @ moved / distance) * wave


@dataclass(frozen=True, slots=True, eq=False)
class Prior:
    """What is known of a target beforehand. place: (3,) metres; std: of each of its two coordinates in the plane; its height is taken as known."""

    place: NDArray[np.float64]
    std: float = 1.0

    def __post_init__(self) -> None:
        if np.shape(self.place) != (3,) or not np.all(np.isfinite(self.place)) or not self.std > 0.0:
            raise InputError("prior", "a prior is a point and a positive standard deviation", found=f"{self.place}, {self.std}", allowed="(3,) m")

    @classmethod
    def of(cls, estimate: Estimate) -> Prior:
        """From a position (3,) with covariance (3, 3), as a scenario or an earlier fix has it."""
        return cls(np.asarray(estimate.value, float), float(np.sqrt(np.trace(np.atleast_2d(estimate.covariance)[:2, :2]) / 2.0)))


def seen(stations: list[Station], own: int, prior: Prior) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(transmitter, azimuth ground height) of a target at every station, and (transmitter,) seconds from there by it to station `own`."""
    views = np.array([station.azimuth(prior.place) for station in stations])
    legs = np.hypot(views[:, 1], views[:, 2])
    return views, (legs + legs[own]) / SPEED_OF_LIGHT
