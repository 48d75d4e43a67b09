"""What a moving point target writes into the echoes of one transmitter, with derivatives, and what removing the static part does to it.

s = sum_n w_bn exp(-j k (d_n(t) + d_r(t))) exp(-j 2 pi f_g ((d_n + d_r - D)/c + delta)) over cells t, receivers r and groups g, with
d_n(t) = |p(t) - a_n|, d_r(t) = |p(t) - q_r|, p(t) = p0 + v t, D the mean direct path, delta the error of its delay. The sum over antennas
is how much of the precoded power of block b goes towards the target. Distances are exact: a room is the near field, and a walk of
centimetres already turns the array's light.
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

    def snapshot(self, points: NDArray) -> NDArray[np.complex128]:
        """(..., rx, group) echo of targets that stand at points (..., 3), unit gain."""
        e = self.echoes
        wave = 2.0 * np.pi / SPEED_OF_LIGHT * (self.carrier_hz + e.frequencies)
        out = np.linalg.norm(points[..., None, :] - e.antennas, axis=-1)
        back = np.linalg.norm(points[..., None, :] - self.receivers, axis=-1)
        towards = np.sum(e.precoder[e.blocks].T * np.exp(-1j * wave * out[..., None]), axis=-2)
        turn = 2.0 * np.pi / SPEED_OF_LIGHT * e.frequencies * self._direct()
        return np.exp(-1j * wave * back[..., None]) * (towards * np.exp(1j * turn))[..., None, :]

    def field(self, point: NDArray, velocity: NDArray, delay: float) -> NDArray[np.complex128]:
        """(cell, rx, group) whitened unit-gain echo, nothing removed."""
        e, k = self.echoes, 2.0 * np.pi / SPEED_OF_LIGHT
        track = point + e.times[:, None] * velocity
        out = np.exp(-1j * k * self.carrier_hz * np.linalg.norm(track[:, None] - e.antennas, axis=-1))
        back = np.exp(-1j * k * self.carrier_hz * np.linalg.norm(track[:, None] - self.receivers, axis=-1))
        light, late = self._light(point)[0], self._late(point, delay)[0]
        return back[..., None] * (self.root * (out @ light)[:, None]) * late

    def slopes(self, point: NDArray, velocity: NDArray, delay: float) -> tuple[NDArray, NDArray]:
        """Whitened unit-gain echo and its derivatives (x, y, vx, vy, delay; cell, rx, group), nothing removed."""
        e, k = self.echoes, 2.0 * np.pi / self.wavelength
        track = point + e.times[:, None] * velocity
        length, to_antenna = _unit(track[:, None], e.antennas)
        out = np.exp(-1j * k * length)
        length, to_receiver = _unit(track[:, None], self.receivers)
        back = np.exp(-1j * k * length)[..., None]
        light, light_slopes = self._light(point)
        late, late_slopes = self._late(point, delay)
        towards = (out @ light)[:, None]
        value = back * towards * late
        by_place, by_velocity = [], []
        for axis in (0, 1):
            moved = -1j * k * to_receiver[..., axis, None] * value
            moved += back * ((-1j * k * to_antenna[..., axis] * out) @ light)[:, None] * late
            by_velocity.append(e.times[:, None, None] * moved)
            by_place.append(moved + back * ((out @ light_slopes[axis])[:, None] * late + towards * late_slopes[axis]))
        parts = [*by_place, *by_velocity, -2j * np.pi * e.frequencies * value]
        return value * self.root, np.stack(parts) * self.root

    def _light(self, point: NDArray) -> tuple[NDArray, NDArray]:
        """(antenna, group) precoder with the delays over the band of each antenna's way out, and its slopes (2, antenna, group)."""
        e = self.echoes
        distance, away = _unit(point, e.antennas)
        turn = 2.0 * np.pi / SPEED_OF_LIGHT * e.frequencies
        light = e.precoder[e.blocks].T * np.exp(-1j * turn * distance[:, None])
        return light, -1j * turn * away.T[:2, :, None] * light

    def _late(self, point: NDArray, delay: float) -> tuple[NDArray, NDArray]:
        """(rx, group) delays over the band of the way back, direct path taken off, and their slopes (2, rx, group)."""
        distance, away = _unit(point, self.receivers)
        turn = 2.0 * np.pi * self.echoes.frequencies
        late = np.exp(-1j * turn * ((distance - self._direct()) / SPEED_OF_LIGHT + delay)[:, None])
        return late, -1j * turn / SPEED_OF_LIGHT * away.T[:2, :, None] * late


def _floor(data: NDArray, times: NDArray) -> float:
    """Noise per entry from the upper half of the Doppler band, where nothing that walks is."""
    cells = data.shape[0]
    spectrum = np.fft.fft(data, axis=0) / np.sqrt(cells)
    step = float(np.mean(np.diff(times)))
    high = np.abs(np.fft.fftfreq(cells, step)) > 0.25 / step
    return float(np.mean(np.abs(spectrum[high]) ** 2))
