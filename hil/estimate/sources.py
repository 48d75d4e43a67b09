"""Point sources seen from a linear array: the response of each path over positions and tones, and its derivatives.

One path: h(p, f) = g exp(-j k rho(p)) exp(-j 2 pi f (tau + rho(p)/c)), rho(p) = r(p) - R = sqrt(R^2 - 2 R p c + p^2) - R, p metres along
local x, c the cosine towards the source, R its distance (1/R the curvature, 0 a plane wave: rho = -p c). The term f rho/c is the delay
across the aperture: -37 dB of an end-fire path at +-4 wavelengths and 11.52 MHz, not to be left out at 30 dB SNR. A near source is also
louder on its side of the array: amplitude 1 + taper p, taper in 1/m, between 0 and about c/R.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.estimate.fieldrows import atoms_near
from hil.units import SPEED_OF_LIGHT


@dataclass(frozen=True, slots=True, eq=False)
class Sources:
    """Paths as arrays of one length: complex gain, cosine, curvature 1/R (1/m), delay (s), taper (1/m)."""

    gains: NDArray[np.complex128]
    cosines: NDArray[np.float64]
    curvatures: NDArray[np.float64]
    delays: NDArray[np.float64]
    tapers: NDArray[np.float64]

    def __iter__(self) -> Iterator[NDArray]:
        return iter((self.gains, self.cosines, self.curvatures, self.delays, self.tapers))

    @property
    def count(self) -> int:
        return self.gains.size

    @classmethod
    def none(cls) -> Sources:
        return cls(np.zeros(0, complex), *np.zeros((4, 0)))

    def and_one(self, gain: complex, cosine: float, curvature: float, delay: float) -> Sources:
        return Sources(*(np.append(a, value) for a, value in zip(self, (gain, cosine, curvature, delay, 0.0))))

    def without(self, index: int) -> Sources:
        return Sources(*(np.delete(a, index) for a in self))

    def joined(self, other: Sources) -> Sources:
        return Sources(*(np.concatenate(pair) for pair in zip(self, other)))


class DelayBasis:
    """Tones, or an orthonormal basis of few dimensions in which every delay of a window lies: noise outside is left behind.

    Rows of `matrix` (dimension, tone) are conjugated basis vectors; None keeps the tones themselves. A unitary projection leaves
    white noise white with the same variance.
    """

    def __init__(self, frequencies_hz: Any, matrix: NDArray[np.complex128] | None = None, window: tuple[float, float] | None = None) -> None:
        self.frequencies = np.asarray(frequencies_hz, dtype=float)
        self.matrix = matrix
        self.window = window

    @classmethod
    def of_window(cls, frequencies_hz: Any, earliest: float, latest: float, floor: float = 1e-3) -> DelayBasis:
        """Left singular vectors of exp(-j 2 pi f tau), tau over the window, while their value exceeds `floor` of the largest."""
        return _of_window(np.asarray(frequencies_hz, dtype=float).tobytes(), earliest, latest, floor)

    @property
    def dimension(self) -> int:
        return self.frequencies.size if self.matrix is None else self.matrix.shape[0]

    def project(self, tones: NDArray[np.complex128]) -> NDArray[np.complex128]:
        """(..., tone) -> (..., dimension)."""
        return tones if self.matrix is None else tones @ self.matrix.T

    def atoms(self, delays: NDArray[np.float64], orders: int = 1) -> NDArray[np.complex128]:
        """(order, path, dimension): exp(-j 2 pi f tau) and its derivatives with respect to tau."""
        delays = np.asarray(delays, dtype=float)
        different, which = np.unique(delays, return_inverse=True)  # a field of plane waves has a few delays only
        turn = -2j * np.pi * self.frequencies
        stack = np.empty((orders, different.size, self.frequencies.size), complex)
        stack[0] = np.exp(np.multiply.outer(different, turn))
        for order in range(1, orders):
            np.multiply(stack[order - 1], turn, out=stack[order])
        return self.project(stack)[:, which.reshape(delays.shape)]

    def near(self, delays: NDArray[np.float64], orders: int) -> NDArray[np.complex128]:
        """`atoms` of delays in the window by a Taylor series about the nearest of a table, exact to 1e-7 and much cheaper."""
        if self.window is None or delays.size == 0 or delays.min() < self.window[0] or delays.max() > self.window[1]:
            return np.ascontiguousarray(self.atoms(delays, orders))
        first, step, table = self._table
        return atoms_near(table, first, step, delays, orders)

    @cached_property
    def _table(self) -> tuple[float, float, NDArray[np.complex128]]:
        assert self.window is not None
        step = 0.1 / max(np.ptp(self.frequencies), 1.0)
        delays = np.arange(self.window[0], self.window[1] + step, step)
        return self.window[0], step, np.ascontiguousarray(np.swapaxes(self.atoms(delays, 10), 0, 1))


@lru_cache(maxsize=16)
def _of_window(frequencies: bytes, earliest: float, latest: float, floor: float) -> DelayBasis:
    tones = np.frombuffer(frequencies)
    step = 0.35 / max(np.ptp(tones), 1.0)
    delays = np.linspace(earliest, latest, max(3, int(np.ceil((latest - earliest) / step)) + 1))
    vectors, values, _ = np.linalg.svd(np.exp(-2j * np.pi * np.outer(tones, delays)), full_matrices=False)
    return DelayBasis(tones, vectors[:, values > floor * values[0]].conj().T.copy(), (earliest, latest))


@dataclass(frozen=True, slots=True, eq=False)
class Response:
    """Each path's response (position, path, dimension) and what its derivatives are made of."""

    unit: NDArray[np.complex128]  # gain left out
    late: NDArray[np.complex128]  # d unit / d delay
    along: NDArray[np.complex128]  # d unit / d p, without gain
    cosine: NDArray[np.complex128]
    curvature: NDArray[np.complex128]
    taper: NDArray[np.complex128]


def excess(positions: NDArray[np.float64], cosines: NDArray[np.float64], curvatures: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """rho (position, path) in metres and its derivatives with respect to p, cosine and curvature."""
    p, c, bend = positions[:, None], cosines[None, :], curvatures[None, :]
    root = np.sqrt(np.maximum(1.0 - 2.0 * bend * p * c + (bend * p) ** 2, 1e-12))  # r/R
    top = p * (bend * p - 2.0 * c)
    by_bend = p**2 / (1.0 + root) - top * p * (bend * p - c) / (root * (1.0 + root) ** 2)
    return top / (1.0 + root), (bend * p - c) / root, -p / root, by_bend


def respond(sources: Sources, positions: NDArray[np.float64], shifts: NDArray[np.float64], basis: DelayBasis, wavelength: float) -> Response:
    """Responses at (position,) metres, each with its extra delay `shifts` (position,) seconds (that of its visit).

    Delays across the aperture and between aligned visits are nanoseconds: a third-order series in them about each path's delay is
    exact to 1e-6 over 12 MHz.
    """
    rho, by_p, by_c, by_bend = excess(positions, sources.cosines, sources.curvatures)
    phase = np.exp(-2j * np.pi / wavelength * rho)[..., None]
    loud = 1.0 + positions[:, None, None] * sources.tapers[:, None]
    wave = loud * phase
    shift = (shifts[:, None] + rho / SPEED_OF_LIGHT)[..., None]
    a = basis.atoms(sources.delays, 5)
    unit = wave * (a[0] + shift * (a[1] + shift / 2.0 * (a[2] + shift / 3.0 * a[3])))
    late = wave * (a[1] + shift * (a[2] + shift / 2.0 * (a[3] + shift / 3.0 * a[4])))
    # the series is cut at third order, so its derivative in `shift` is cut at second
    moved = -2j * np.pi / wavelength * unit + wave * (a[1] + shift * (a[2] + shift / 2.0 * a[3])) / SPEED_OF_LIGHT
    plain = unit / loud
    along = moved * by_p[..., None] + plain * sources.tapers[:, None]
    return Response(unit, late, along, moved * by_c[..., None], moved * by_bend[..., None], plain * positions[:, None, None])


class Weights:
    """What multiplies each path's atoms at each position; the response is a series in the delays beside the path's own.

    Sums over paths made from it are matrix products: for the value and its slopes along delay and position no array of
    (position, path, dimension) is needed.
    """

    def __init__(self, sources: Sources, positions: NDArray[np.float64], shifts: NDArray[np.float64] | float, wavelength: float) -> None:
        rho, self.by_p, _, _ = excess(positions, sources.cosines, sources.curvatures)
        self.loud = 1.0 + positions[:, None] * sources.tapers
        self.tapers = sources.tapers
        self.plain = sources.gains * np.exp(-2j * np.pi / wavelength * rho)
        self.shift = np.broadcast_to(np.reshape(shifts, (-1, 1)), (positions.size, 1)) + rho / SPEED_OF_LIGHT
        self.wavelength = wavelength

    def value(self, atoms: NDArray[np.complex128]) -> NDArray[np.complex128]:
        """(position, dimension), all paths together. atoms: (order >= 4, path, dimension)."""
        return self._series(self.loud * self.plain, atoms[:4])

    def late(self, atoms: NDArray[np.complex128]) -> NDArray[np.complex128]:
        """d value / d delay; wants five orders."""
        return self._series(self.loud * self.plain, atoms[1:5])

    def along(self, atoms: NDArray[np.complex128]) -> NDArray[np.complex128]:
        """d value / d p."""
        steep = self.loud * self.plain * self.by_p
        slope = self._series(self.plain * self.tapers - 2j * np.pi / self.wavelength * steep, atoms[:4])
        return slope + self._series(steep, atoms[1:4]) / SPEED_OF_LIGHT

    def _series(self, weight: NDArray[np.complex128], atoms: NDArray[np.complex128]) -> NDArray[np.complex128]:
        total = weight @ atoms[0]
        for order in range(1, len(atoms)):
            weight = weight * self.shift / order
            total = total + weight @ atoms[order]
        return total


def units(
    sources: Sources, positions: NDArray[np.float64], shifts: NDArray[np.float64], basis: DelayBasis, wavelength: float
) -> NDArray[np.complex128]:
    """(position, path, dimension) as `respond(...).unit`, without its derivatives."""
    if sources.count == 0:
        return np.zeros((positions.size, 0, basis.dimension), complex)
    rho = excess(positions, sources.cosines, sources.curvatures)[0]
    wave = ((1.0 + positions[:, None] * sources.tapers) * np.exp(-2j * np.pi / wavelength * rho))[..., None]
    shift = (shifts[:, None] + rho / SPEED_OF_LIGHT)[..., None]
    a = basis.atoms(sources.delays, 4)
    return wave * (a[0] + shift * (a[1] + shift / 2.0 * (a[2] + shift / 3.0 * a[3])))


def field(sources: Sources, positions: NDArray[np.float64], frequencies_hz: NDArray[np.float64], wavelength: float) -> NDArray[np.complex128]:
    """All paths together, (position, frequency), by the series of `respond`."""
    atoms = DelayBasis(frequencies_hz).atoms(sources.delays, 4)
    return Weights(sources, positions, 0.0, wavelength).value(atoms)
