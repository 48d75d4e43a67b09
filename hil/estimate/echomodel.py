"""What a moving point target writes into the echoes of one transmitter, with derivatives, and what removing the static part does to it.

s = h_r sum_n w_bn s_n D^2/(d_n(t) d_r(t)) exp(-j k (d_n(t) + d_r(t))) exp(-j 2 pi f_g ((d_n + d_r - D)/c + delta)) over cells t, receivers
r and groups g, with d_n(t) = |p(t) - a_n|, d_r(t) = |p(t) - q_r|, p(t) = p0 + v t + a t^2/2, D the mean direct path, delta the error of
its delay, h_r and s_n what is left of the chains' gains once those known are taken off, 1 where exact: the radar equation with exact
distances. The sum over antennas is how much of the precoded power of block b goes towards the target. A room is the near field: over an
array of eight wavelengths the amplitude of an echo from six metres changes by a tenth, which at 45 dB is far above the noise; a walk of
centimetres already turns the array's light, and a walker who turns bends the phase.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.estimate.echoes import Echoes
from hil.units import SPEED_OF_LIGHT

STRAIGHT = np.zeros(3)
MOTION = 6  # parameters of the target alone: place, velocity and acceleration in the plane


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
    direct: float  # metres, mean length of the direct paths, to which delays are referred
    common: NDArray[np.float64]  # (cell,) what the data still hold along the followed phases
    variance: float  # of each whitened entry, from Doppler no target reaches
    heard: NDArray[np.complex128]  # (rx,) what is left of the receive chains' gains
    sent: NDArray[np.complex128]  # (antenna,) of the transmit chains'

    @classmethod
    def of(cls, echoes: Echoes, receivers: Any, carrier_hz: float) -> Pair:
        root = np.sqrt(echoes.weight)[:, None, :]
        still = root / np.linalg.norm(root, axis=0)
        follow = 1j * echoes.static[None] * root
        length = np.linalg.norm(follow, axis=(1, 2), keepdims=True)
        follow = np.where(length > 0.0, follow / np.maximum(length, 1e-300), 0.0)
        receivers = np.asarray(receivers, dtype=float)
        direct = float(np.linalg.norm(receivers[:, None] - echoes.antennas[None], axis=-1).mean())
        made = cls(echoes, receivers, carrier_hz, root, echoes.spectra * root, still, follow, direct, np.zeros(0), 1.0,
                   np.ones(len(receivers), complex), np.ones(len(echoes.antennas), complex))  # fmt: skip
        data = made.cleaned(made.data)
        return replace(made, data=data, common=made._phases(data[None])[0], variance=_floor(data, echoes.times))

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

    def products(self, fields: NDArray[np.complex128]) -> tuple[NDArray, NDArray]:
        """Real inner products of cleaned fields (n, cell, rx, group) with each other (n, n) and with the data (n,), none of them formed.

        With F the followed phases and S what is still, cleaned is (1 - S)(1 - F), both orthogonal projections, so that
        <a, b> = a.b - Fa.Fb - S(1 - F)a . S(1 - F)b.
        """
        count, (cells, *_) = fields.shape[0], self.data.shape
        flat = lambda values: np.ascontiguousarray(values).view(float)
        rows = flat(fields).reshape(count, -1)
        phases = self._phases(fields)
        means = np.einsum("cg,ncrg->nrg", self.still[:, 0], fields).reshape(count, -1)
        means -= phases @ (self.still * self.follow).reshape(cells, -1)
        means = flat(means)
        return rows @ rows.T - phases @ phases.T - means @ means.T, rows @ flat(self.data).ravel() - phases @ self.common

    def _phases(self, fields: NDArray[np.complex128]) -> NDArray[np.float64]:
        """(n, cell) of fields (n, cell, rx, group) along each cell's followed phase."""
        shape = (*fields.shape[:2], -1)
        return np.einsum("ncx,cx->nc", fields.view(float).reshape(shape), self.follow.view(float).reshape(shape[1:]))

    def snapshot(self, points: NDArray) -> NDArray[np.complex128]:
        """(..., rx, group) echo of targets that stand at points (..., 3), unit gain."""
        e = self.echoes
        wave = 2.0 * np.pi / SPEED_OF_LIGHT * (self.carrier_hz + e.frequencies)
        out = np.linalg.norm(points[..., None, :] - e.antennas, axis=-1)[..., None]
        back = np.linalg.norm(points[..., None, :] - self.receivers, axis=-1)[..., None]
        towards = np.sum(e.precoder[e.blocks].T * (self.direct / out) * np.exp(-1j * wave * out), axis=-2)
        turn = 2.0 * np.pi / SPEED_OF_LIGHT * e.frequencies * self.direct
        return self.direct / back * np.exp(-1j * wave * back) * (towards * np.exp(1j * turn))[..., None, :]

    def _way(self, point: NDArray, velocity: NDArray, acceleration: NDArray) -> NDArray:
        """(cell, 3) where the target is at the middle of every cell."""
        times = self.echoes.times[:, None]
        return point + times * velocity + 0.5 * times**2 * acceleration

    def field(self, point: NDArray, velocity: NDArray, delay: float, acceleration: NDArray = STRAIGHT) -> NDArray[np.complex128]:
        """(cell, rx, group) whitened unit-gain echo, nothing removed."""
        track = self._way(point, velocity, acceleration)
        out, back = self._wave(track, self.echoes.antennas)[0], self._wave(track, self.receivers)[0]
        towards = (out @ self._light(point)[0])[:, None] * self.root
        return (self.heard * back)[..., None] * towards * self._late(point, delay)[0]

    def slopes(
        self, point: NDArray, velocity: NDArray, delay: float, acceleration: NDArray = STRAIGHT, gain: complex = 1.0, *,
        of_heard: bool = False, of_sent: bool = False,
    ) -> NDArray[np.complex128]:
        """Derivatives of gain times `field`: (column, cell, rx, group).

        Columns: x, y, vx, vy, ax, ay, delay; with `of_heard` Re and Im of the error of receive chains 1, 2, ...; with `of_sent` the same of
        the transmit chains; Re gain, Im gain.
        """
        track = self._way(point, velocity, acceleration)
        out, out_slopes = self._wave(track, self.echoes.antennas)
        back, back_slopes = (self.heard * part for part in self._wave(track, self.receivers))
        light, light_slopes = self._light(point)
        late, late_slopes = self._late(point, delay)
        ears, mouths = ((of.size - 1) * wanted for of, wanted in ((self.heard, of_heard), (self.sent, of_sent)))
        parts = np.zeros((MOTION + 3 + 2 * (ears + mouths), *self.data.shape), complex)
        towards = (out @ light)[:, None] * self.root
        came = (gain * back)[..., None] * late
        value = came * towards
        times = self.echoes.times[:, None, None]
        for axis in (0, 1):
            moved = ((gain * back_slopes[axis])[..., None] * late) * towards
            moved += came * ((out_slopes[axis] @ light)[:, None] * self.root)
            np.multiply(times, moved, out=parts[2 + axis])
            np.multiply(0.5 * times, parts[2 + axis], out=parts[4 + axis])
            moved += came * ((out @ light_slopes[axis])[:, None] * self.root)
            np.multiply(late_slopes[axis] / late, value, out=parts[axis])
            parts[axis] += moved
        np.multiply(-2j * np.pi * self.echoes.frequencies, value, out=parts[6])
        chains = parts[MOTION + 1 : -2]
        for ear in range(ears):
            chains[2 * ear, :, ear + 1] = value[:, ear + 1] / self.heard[ear + 1]
        for mouth in range(mouths):
            lit = np.outer(out[:, mouth + 1], light[mouth + 1] / self.sent[mouth + 1])
            np.multiply(came, lit[:, None] * self.root, out=chains[2 * (ears + mouth)])
        np.multiply(1j, chains[::2], out=chains[1::2])
        np.multiply(back[..., None] * late, towards, out=parts[-2])
        np.multiply(1j, parts[-2], out=parts[-1])
        return parts

    def _wave(self, track: NDArray, elements: NDArray) -> tuple[NDArray, NDArray]:
        """(cell, element) spherical wave between the target's way and the elements, and its slopes (2, cell, element)."""
        k = 2.0 * np.pi / self.wavelength
        length, away = _unit(track[:, None], elements)
        wave = self.direct / length * np.exp(-1j * k * length)
        return wave, -np.moveaxis(away[..., :2], -1, 0) * (1j * k + 1.0 / length) * wave

    def _light(self, point: NDArray) -> tuple[NDArray, NDArray]:
        """(antenna, group) precoder with the delays over the band of each antenna's way out, and its slopes (2, antenna, group)."""
        e = self.echoes
        distance, away = _unit(point, e.antennas)
        turn = 2.0 * np.pi / SPEED_OF_LIGHT * e.frequencies
        light = self.sent[:, None] * e.precoder[e.blocks].T * np.exp(-1j * turn * distance[:, None])
        return light, -1j * turn * away.T[:2, :, None] * light

    def _late(self, point: NDArray, delay: float) -> tuple[NDArray, NDArray]:
        """(rx, group) delays over the band of the way back, direct path taken off, and their slopes (2, rx, group)."""
        distance, away = _unit(point, self.receivers)
        turn = 2.0 * np.pi * self.echoes.frequencies
        late = np.exp(-1j * turn * ((distance - self.direct) / SPEED_OF_LIGHT + delay)[:, None])
        return late, -1j * turn / SPEED_OF_LIGHT * away.T[:2, :, None] * late


def _floor(data: NDArray, times: NDArray) -> float:
    """Noise per entry from the upper half of the Doppler band, where nothing that walks is."""
    cells = data.shape[0]
    spectrum = np.fft.fft(data, axis=0) / np.sqrt(cells)
    step = float(np.mean(np.diff(times)))
    high = np.abs(np.fft.fftfreq(cells, step)) > 0.25 / step
    return float(np.mean(np.abs(spectrum[high]) ** 2))
