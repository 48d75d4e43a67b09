"""What a moving point target writes into the echoes of one transmitter, with derivatives, and what removing the static part does to it.

Cells t, receivers r, frequency groups g: s = exp(-j k (|p(t) - q_r| + |p(t) - m|)) A_g exp(-j 2 pi f_g (excess/c + delta)),
p(t) = p0 + v t, m the transmit array's centre, A_g = sum_n w_bn exp(-j 2 pi (fc + f_g)/c (|p0 - a_n| - |p0 - m|)) how much of the
precoded power of block b goes towards the target, delta the error of the direct path's delay. Exact distances: a room is the near field.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.estimate.echoes import Echoes
from hil.units import SPEED_OF_LIGHT


def _unit(points: NDArray, origin: NDArray) -> tuple[NDArray, NDArray]:
    """Distances (...) and unit vectors (..., 3) from `origin` to points."""
    away = points - origin
    length = np.linalg.norm(away, axis=-1)
    return length, away / length[..., None]


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """One transmitter's echoes made ready: whitened up to a common factor, static part and followed phase taken out."""

    echoes: Echoes
    receivers: NDArray[np.float64]
    carrier_hz: float
    root: NDArray[np.float64]  # (cell, 1, group) square root of the weights
    data: NDArray[np.complex128]  # (cell, rx, group) whitened
    still: NDArray[np.float64]  # (cell, 1, group) unit vectors over cells: what does not move
    follow: NDArray[np.complex128]  # (cell, rx, group) unit vectors of the common phase of each cell
    variance: float  # of each whitened entry, from Doppler no target reaches

    @classmethod
    def of(cls, echoes: Echoes, receivers: Any, carrier_hz: float) -> Pair:
        root = np.sqrt(echoes.weight)[:, None, :]
        still = root / np.linalg.norm(root, axis=0)
        follow = 1j * echoes.static[None] * root
        length = np.linalg.norm(follow, axis=(1, 2), keepdims=True)
        follow = np.where(length > 0.0, follow / np.maximum(length, 1e-300), 0.0)
        made = cls(echoes, np.asarray(receivers, dtype=float), carrier_hz, root, echoes.spectra * root, still, follow, 1.0)
        data = made.cleaned(made.data)
        return cls(echoes, made.receivers, carrier_hz, root, data, still, follow, _floor(data, echoes.times))

    @property
    def wavelength(self) -> float:
        return SPEED_OF_LIGHT / self.carrier_hz

    @property
    def degrees(self) -> int:
        """Complex degrees of freedom left in the data."""
        cells, receivers, groups = self.data.shape
        return (cells - 1) * receivers * groups

    def cleaned(self, field: NDArray[np.complex128]) -> NDArray[np.complex128]:
        """What is left of a whitened field (..., cell, rx, group) after the receiver followed the phase and took out the static part."""
        field = field - self.follow * np.sum(np.real(np.conj(self.follow) * field), axis=(-2, -1), keepdims=True)
        return field - self.still * np.sum(self.still * field, axis=-3, keepdims=True)

    def _direct(self) -> float:
        """Mean length of the direct paths, to which delays are referred."""
        return float(np.linalg.norm(self.receivers[:, None] - self.echoes.antennas[None], axis=-1).mean())

    def across(self, point: NDArray) -> tuple[NDArray, NDArray, NDArray]:
        """At points (..., 3): frequency part B (..., rx, group), its slopes (..., 3, rx, group), and unit-gain d B/d delay error."""
        e, k = self.echoes, 2.0 * np.pi / SPEED_OF_LIGHT
        middle, to_middle = _unit(point, e.antennas.mean(axis=0))
        distance, to_antenna = _unit(point[..., None, :], e.antennas)
        tone = k * (self.carrier_hz + e.frequencies)
        waves = e.precoder[e.blocks].T * np.exp(-1j * tone * (distance - middle[..., None])[..., None])  # (..., antenna, group)
        away = to_antenna - to_middle[..., None, :]
        towards = waves.sum(axis=-2)
        slope = -1j * tone * np.einsum("...ng,...nx->...xg", waves, away)
        length, to_receiver = _unit(point[..., None, :], self.receivers)
        excess = length + middle[..., None] - self._direct()
        late = np.exp(-1j * k * e.frequencies * excess[..., None])  # (..., rx, group)
        b = towards[..., None, :] * late
        bend = np.swapaxes(to_receiver, -1, -2) + to_middle[..., :, None]  # (..., 3, rx)
        slopes = slope[..., None, :] * late[..., None, :, :] - 1j * k * e.frequencies * bend[..., None] * b[..., None, :, :]
        return b, slopes, -2j * np.pi * e.frequencies * b

    def along(self, point: NDArray, velocity: NDArray) -> tuple[NDArray, NDArray]:
        """Slow-time part E (cell, rx) and its slopes with position (3, cell, rx)."""
        k = 2.0 * np.pi / self.wavelength
        track = point + self.echoes.times[:, None] * velocity
        length, to_receiver = _unit(track[:, None], self.receivers)
        middle, to_middle = _unit(track, self.echoes.antennas.mean(axis=0))
        e = np.exp(-1j * k * (length + middle[:, None]))
        return e, -1j * k * np.moveaxis(to_receiver + to_middle[:, None], -1, 0) * e

    def field(self, point: NDArray, velocity: NDArray, delay: float) -> NDArray[np.complex128]:
        """(cell, rx, group) whitened unit-gain echo, nothing removed."""
        late = np.exp(-2j * np.pi * self.echoes.frequencies * delay)
        return self.along(point, velocity)[0][..., None] * self.across(point)[0] * late * self.root

    def slopes(self, point: NDArray, velocity: NDArray, delay: float) -> tuple[NDArray, NDArray]:
        """Whitened unit-gain echo and its derivatives (x, y, vx, vy, delay; cell, rx, group), nothing removed."""
        late = np.exp(-2j * np.pi * self.echoes.frequencies * delay)
        b, by_place, by_delay = (part * late for part in self.across(point))
        e, moved = self.along(point, velocity)
        times = self.echoes.times[:, None]
        parts = [moved[axis][..., None] * b + e[..., None] * by_place[axis] for axis in (0, 1)]
        parts += [(times * moved[axis])[..., None] * b for axis in (0, 1)]
        parts.append(e[..., None] * by_delay)
        return e[..., None] * b * self.root, np.stack(parts) * self.root


def _floor(data: NDArray, times: NDArray) -> float:
    """Noise per entry from the upper half of the Doppler band, where nothing that walks is."""
    cells = data.shape[0]
    spectrum = np.fft.fft(data, axis=0) / np.sqrt(cells)
    step = float(np.mean(np.diff(times)))
    high = np.abs(np.fft.fftfreq(cells, step)) > 0.25 / step
    return float(np.mean(np.abs(spectrum[high]) ** 2))
