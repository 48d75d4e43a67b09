"""What the emulator's own arithmetic may contribute to a measurement, term by term, in decibels of the strongest path."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hil.units import SPEED_OF_LIGHT
from sim_backend import interpolator, medium
from sim_backend.kernels import BLOCK, FINE, MARGIN, TAPS
from sim_backend.sweep import DRIFT

if TYPE_CHECKING:
    from sim_backend.world import World

NOTHING_DB = -300.0
NOISE_GRID_HZ = 1.92e6  # on which phase noise is made, linear in between
NOISE_CORNER_HZ = 100e3
NOISE_TERM = "phase noise beyond its grid"


@dataclass(frozen=True)
class Budget:
    """terms: name -> decibels of the strongest path. What noise like phase noise lacks concerns single samples only; the mean of many
    (`radians` and what follows from it) has the other terms alone."""

    terms: Mapping[str, float]

    @classmethod
    def of(
        cls,
        world: World,
        names: Iterable[str],
        rate: float,
        used_hz: float,
        *,
        spread_s: float = 0.0,
        acceleration: float = 0.0,
        retained_db: float = NOTHING_DB,
    ) -> Budget:
        """Of links between the radios `names`.

        used_hz: occupied band. spread_s: largest excess delay over the shortest path. acceleration: of a path's length, m/s^2, of what
        moves. retained_db: what an amplifier puts beyond the grid that its spectrum is kept on (`amplifier.retained_db`).
        """
        oscillators = [world.oscillators[name] for name in names]
        now = world.now
        apart = max(abs(a.error(now)[1] - b.error(now)[1]) for a in oscillators for b in oscillators)
        aged = max(abs(o.error(now.after(medium.AGE_S))[1] - o.error(now)[1]) for o in oscillators)
        carrier, seconds = world.room.carrier, BLOCK / rate
        terms = {
            "interpolator": interpolation_db(used_hz / rate),
            "coefficients over the block": drift_db(used_hz / rate, apart),
            "float32": single_db(),
            "frozen geometry": _power(2 * math.pi * carrier / SPEED_OF_LIGHT * acceleration * seconds**2 / 8),
            "frozen carrier of a table": _power(2 * math.pi * carrier * spread_s * aged),
            "retained spectrum": retained_db,
            "filter shift by drift": shift_db(used_hz, rate, carrier * apart),
            NOISE_TERM: beyond_grid_db(world.emulated.phase_noise),
        }
        return cls(terms)

    @property
    def total_db(self) -> float:
        """Of a single sample."""
        return _sum(self.terms.values())

    @property
    def steady_db(self) -> float:
        """Of the mean of many."""
        return _sum(value for name, value in self.terms.items() if name != NOISE_TERM)

    @property
    def worst(self) -> str:
        """The largest term of a mean."""
        return max((name for name in self.terms if name != NOISE_TERM), key=lambda name: self.terms[name])

    @property
    def radians(self) -> float:
        """Of a phase; also the relative error of an amplitude."""
        return 10.0 ** (self.steady_db / 20.0)

    @property
    def degrees(self) -> float:
        return math.degrees(self.radians)

    @property
    def decibels(self) -> float:
        """Of a level."""
        return 20.0 * math.log10(1.0 + self.radians)

    def seconds(self, used_hz: float) -> float:
        """Of a delay, by the phase slope over a flat band `used_hz` wide: rms distance from its middle is used/sqrt(12)."""
        return self.radians / (2.0 * math.pi * used_hz / math.sqrt(12.0))

    def hertz(self, seconds: float) -> float:
        """Of a frequency by the phase at the two ends of a stretch."""
        return self.radians / (math.pi * seconds)


def _sum(decibels: Iterable[float]) -> float:
    return 10.0 * math.log10(sum(10.0 ** (value / 10.0) for value in decibels))


def _power(amplitude: float) -> float:
    return 20.0 * math.log10(amplitude) if amplitude > 0.0 else NOTHING_DB


def interpolation_db(used: float) -> float:
    """Rms error of the fractional interpolator over the band and all positions. used: band over the receiver's rate."""
    f, positions, response = _response(used, 0)
    return _power(float(np.sqrt((np.abs(response - np.exp(2j * np.pi * np.outer(positions, f))) ** 2).mean())))


def drift_db(used: float, apart: float) -> float:
    """Rms error in the middle of a stretch whose coefficients are linear between its ends; stretches are cut at DRIFT."""
    drift = 2.0 * BLOCK * apart
    while drift > DRIFT:
        drift /= 2.0
    return _power(float(np.sqrt((np.abs(_response(used, 2)[2]) ** 2).mean())) * drift**2 / 8.0)


def _response(used: float, derivative: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frequencies in cycles per table sample, positions, and what the coefficients or a derivative of them make (position, frequency)."""
    table = interpolator.filters()[derivative, MARGIN : MARGIN + FINE + 1 : 16].astype(float)
    positions = np.arange(table.shape[0]) * 16 / FINE
    f = np.linspace(-used / 4.0, used / 4.0, 65)
    taps = np.arange(-TAPS // 2 + 1, TAPS // 2 + 1)
    return f, positions, table @ np.exp(2j * np.pi * np.outer(taps, f))


def single_db() -> float:
    """Independent roundings of float32, uniform within half a step, of the products and sums that make one sample."""
    operations = 2 * TAPS + 2 * 4  # per part: weights and sums, phasor, rotation, table entry
    return _power(math.sqrt(operations / 3.0) * 2.0**-24)


def shift_db(used_hz: float, rate: float, drift_hz: float) -> float:
    """The receiver's filter is applied at nominal frequencies: what a carrier that runs `drift_hz` off changes within the band."""
    f = np.linspace(-used_hz / 2.0, used_hz / 2.0, 2001)
    return _power(float(np.sqrt(((_filter((f + drift_hz) / rate) - _filter(f / rate)) ** 2).mean())))


def _filter(f: np.ndarray) -> np.ndarray:
    """The receiver's: flat to 0.4 of its rate, a raised cosine to zero at 0.5."""
    return 0.5 + 0.5 * np.cos(np.pi * np.clip((np.abs(f) - 0.4) / 0.1, 0.0, 1.0))


def beyond_grid_db(rms: float) -> float:
    """Power of a one-pole phase noise above half its grid's rate, which no sample of it holds; both ends."""
    share = 1.0 - 2.0 / math.pi * math.atan(NOISE_GRID_HZ / 2.0 / NOISE_CORNER_HZ)
    return _power(rms * math.sqrt(2.0 * share))
