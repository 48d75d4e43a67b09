"""The oscillator of a device: one fractional frequency error for its carrier and for its sampling clock.

y(t) is the fractional frequency error, x(t) its integral from the epoch of the world, x(epoch) = 0. The local clock reads
c(t) = t - offset + x(t); the carrier runs at f (1 + y). Both are closed forms of time (constant, ageing, warm-up and sinusoids), so any
instant can be asked for in any order and nothing is remembered.

The noise is a sum of sinusoids, eight to a decade over 1e-6 .. 200 Hz, each with the exact power of its bin of
S_y(f) = h-2/f^2 + h-1/f + h0 in the mean (Rayleigh amplitude, uniform phase, log-uniform frequency).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.clock import Instant
from sim_backend import kernels, seeds

YEAR = 365.25 * 86400.0  # s
LEAST_HZ, MOST_HZ, PER_DECADE = 1e-6, 200.0, 8
LOOP_S = 300.0  # time constant of a disciplined oscillator's loop


@dataclass(frozen=True, slots=True)
class Class:
    """What is typical of a kind of oscillator. Manufacturers' Allan deviations and ageing; h-1 = ADEV^2/(2 ln 2)."""

    spread: float  # y0 is drawn within +-spread
    ageing: float  # fraction per year
    h0: float
    h1: float  # of 1/f
    h2: float  # of 1/f^2
    warm_up: float = 0.0  # fractional frequency at the epoch, dying away within LOOP_S
    swing: float = 0.0  # amplitude of the room's temperature cycle
    period_s: float = 1200.0
    disciplined: bool = False


CLASSES: Mapping[str, Class] = {
    "perfect": Class(0.0, 0.0, 0.0, 0.0, 0.0),
    "crystal": Class(20e-6, 1e-6, 2e-22, 2.9e-18, 1.5e-20, warm_up=5e-6, swing=1e-6),
    "tcxo": Class(0.5e-6, 1e-6, 2e-22, 7.2e-19, 1.4e-21, warm_up=0.2e-6, swing=0.1e-6),
    "ocxo": Class(20e-9, 5e-8, 2e-24, 7.2e-21, 1.4e-24, swing=2e-9, period_s=3600.0),
    "docxo": Class(5e-9, 1e-8, 2e-26, 1.8e-23, 1e-27, swing=0.1e-9, period_s=3600.0),
    "gpsdo": Class(0.0, 0.0, 2e-24, 7.2e-21, 1.4e-24, disciplined=True),
}


@dataclass(frozen=True, slots=True, eq=False)
class Oscillator:
    """y = constant + ageing t + warm_up exp(-t/LOOP_S) + sum over lines of amplitude cos(omega t + phase).

    lines: (line, 3) amplitude, omega rad/s, phase rad. offset: seconds the local clock is late at the epoch.
    """

    constant: float = 0.0
    offset: float = 0.0
    ageing: float = 0.0  # 1/s
    warm_up: float = 0.0
    lines: NDArray[np.float64] = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        lines = np.zeros((0, 3)) if self.lines is None else np.ascontiguousarray(self.lines, dtype=np.float64)
        object.__setattr__(self, "lines", lines)

    @property
    def head(self) -> NDArray[np.float64]:
        """What the kernels read beside the lines."""
        return np.array([self.constant, self.ageing, self.warm_up, LOOP_S, self.offset])

    def error(self, at: Instant) -> tuple[float, float]:
        """(x, y) at a true instant: seconds of accumulated error, and fractional frequency error."""
        return kernels.oscillator(self.head, self.lines, at.whole, at.fraction)

    def local(self, at: Instant) -> Instant:
        """What the device's clock reads at a true instant."""
        return at.after(self.error(at)[0] - self.offset)

    def true(self, local: Instant) -> Instant:
        """The true instant at which the device's clock reads `local`."""
        whole, fraction = kernels.true_instant(self.head, self.lines, local.whole, local.fraction)
        return Instant(int(whole), float(fraction))

    def next_tick(self, at: Instant, rate: int) -> int:
        """Number of the first tick of a `rate` hertz sample clock at or after a true instant; tick 0 is at local zero."""
        local = self.local(at)
        return local.whole * rate + math.ceil(local.fraction * rate)

    def tick(self, number: int, rate: int) -> Instant:
        """The true instant of a tick."""
        whole, rest = divmod(number, rate)
        return self.true(Instant(whole, rest / rate))


def draw(settings: Mapping[str, Any], seed: int, device: str) -> Oscillator:
    """The oscillator of one device. settings: class, spread_ppm, clock_offset_ns (the last two replace the class's own)."""
    name = settings.get("class", "tcxo")
    kind = CLASSES[name]
    spread = settings.get("spread_ppm", 3.0 if name == "tcxo" else kind.spread * 1e6) * 1e-6
    late = settings.get("clock_offset_ns", 50.0 if kind.disciplined else 300.0) * 1e-9
    rng = seeds.generator(seed, device, "oscillator")
    constant, offset, swing_phase = spread * rng.uniform(-1, 1), late * rng.uniform(-1, 1), rng.uniform(0, 2 * np.pi)
    lines = [noise(kind, rng)] if kind.h0 else [np.zeros((0, 3))]
    if kind.swing:
        lines.append(np.array([[kind.swing, 2 * np.pi / kind.period_s, swing_phase]]))
    if kind.disciplined:
        lines.append(_wander(rng))
    return Oscillator(constant, offset, kind.ageing / YEAR, kind.warm_up, np.concatenate(lines))


def noise(kind: Class, rng: np.random.Generator) -> NDArray[np.float64]:
    """Lines of the frequency noise, (line, 3)."""
    low, high, frequency = _bins(LEAST_HZ, MOST_HZ, rng)
    power = kind.h2 * (1 / low - 1 / high) + kind.h1 * np.log(high / low) + kind.h0 * (high - low)
    if kind.disciplined:
        power = power * np.minimum(1.0, frequency * LOOP_S) ** 4  # the loop's high-pass (f/f_loop)^2, of amplitude
    return _lines(frequency, np.sqrt(2 * power * rng.exponential(size=low.size)), rng)


def _wander(rng: np.random.Generator) -> NDArray[np.float64]:
    """Lines of a disciplined clock's time error: 20 ns rms, one pole at 1/LOOP_S."""
    low, high, frequency = _bins(LEAST_HZ, 1.0, rng)
    power = (20e-9) ** 2 * (2 / np.pi) * (np.arctan(high * LOOP_S) - np.arctan(low * LOOP_S))
    return _lines(frequency, 2 * np.pi * frequency * np.sqrt(2 * power * rng.exponential(size=low.size)), rng)


def random_walk(rms: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Lines of a time error that walks: its change over t has the rms `rms` sqrt(t) seconds, for t from 0.05 to a thousand seconds.

    White frequency noise S_y = h0 makes E[(x(s + t) - x(s))^2] = h0 t/2.
    """
    low, high, frequency = _bins(1e-4, 100.0, rng)
    return _lines(frequency, np.sqrt(2 * (2 * rms**2) * (high - low) * rng.exponential(size=low.size)), rng)


def _bins(least: float, most: float, rng: np.random.Generator) -> tuple[NDArray[np.float64], ...]:
    edges = np.geomspace(least, most, round(PER_DECADE * math.log10(most / least)) + 1)
    low, high = edges[:-1], edges[1:]
    return low, high, low * (high / low) ** rng.uniform(size=low.size)


def _lines(frequency: NDArray[np.float64], amplitude: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    return np.stack([amplitude, 2 * np.pi * frequency, rng.uniform(0, 2 * np.pi, frequency.size)], axis=1)
