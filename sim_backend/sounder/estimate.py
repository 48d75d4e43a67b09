"""The sounder's own estimators, float64, from first principles: least squares, phase regression, periods laid side by side."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Complex = NDArray[np.complex128]


def least_squares(regressors: Complex, samples: Complex) -> Complex:
    """Coefficients (regressor,) of regressors (sample, regressor) in samples (sample,), by normal equations."""
    conjugate = regressors.conj().T
    return np.linalg.solve(conjugate @ regressors, conjugate @ samples)


def straight(x: Floats, y: Floats, weights: Floats | None = None) -> tuple[float, float]:
    """(slope, value at the weighted mean of x) of the best straight line."""
    w = np.ones(x.size) if weights is None else weights
    mean_x, mean_y = (w * x).sum() / w.sum(), (w * y).sum() / w.sum()
    return float((w * (x - mean_x) * (y - mean_y)).sum() / (w * (x - mean_x) ** 2).sum()), float(mean_y)


def phases(samples: Complex, cycles: float, reach: int) -> tuple[Floats, Floats]:
    """(positions, phases) of a tone of `cycles` per sample: means over `reach` samples, unwrapped, positions in samples."""
    count = samples.size // reach
    n = np.arange(count * reach)
    turned = samples[: n.size] * np.exp(-2j * np.pi * ((cycles * n) % 1.0))
    means = turned.reshape(count, reach).mean(axis=1)
    return (np.arange(count) + 0.5) * reach - 0.5, np.unwrap(np.angle(means))


def strongest(samples: Complex) -> float:
    """Cycles per sample of the strongest tone: the largest bin of a windowed transform, refined by the phase between two halves."""
    half = samples.size // 2
    spectrum = np.fft.fft(samples[:half] * np.hanning(half))
    k = int(np.argmax(np.abs(spectrum)))
    coarse = (k if k < half / 2 else k - half) / half
    n = np.arange(half)
    turn = np.exp(-2j * np.pi * ((coarse * n) % 1.0))
    first, second = (samples[:half] * turn).sum(), (samples[half : 2 * half] * turn).sum() * np.exp(-2j * np.pi * ((coarse * half) % 1.0))
    return coarse + float(np.angle(second / first)) / (2 * np.pi * half)


def carrier_offset(samples: Complex, bins: NDArray[np.int64], size: int) -> float:
    """Cycles per sample by which a cyclic multitone is heard high: how its periods turn, and which whole bin keeps its energy."""
    turned = float(np.angle((samples[size:] * samples[:-size].conj()).sum())) / (2 * np.pi * size)
    few = samples[: min(samples.size // size, 16) * size]

    def kept(cycles: float) -> float:
        straightened = few * np.exp(-2j * np.pi * ((cycles * np.arange(few.size)) % 1.0))
        return float((np.abs(np.fft.fft(straightened.reshape(-1, size), axis=1)[:, bins]) ** 2).sum())

    return max((turned + whole / size for whole in (-1, 0, 1)), key=kept)


@dataclass(frozen=True, eq=False)
class Periods:
    """A cyclic multitone heard over whole periods: how its common phase and its delay went, and its tones at mid-capture.

    heard: (period number, tone) complex, tones referred to what was sent, a carrier of `cycles` per sample from the first sample on
    taken out. bins: (tone,). rate: Hz. size: samples of a period.
    """

    heard: Complex
    bins: NDArray[np.int64]
    rate: float
    size: int
    cycles: float

    @classmethod
    def of(cls, samples: Complex, sent: dict[int, complex], size: int, rate: float, lag: int) -> Periods:
        """lag: samples by which the first sample lies behind sample 0 of a transmitted period, by the two devices' tick numbers."""
        count = samples.size // size
        bins = np.array(sorted(sent))
        turn = np.exp(-2j * np.pi * ((bins * (lag % size)) % size) / size) / np.array([sent[int(k)] for k in bins])
        cycles = carrier_offset(samples, bins, size)
        within = (np.arange(size) - (size - 1) / 2) / rate
        smear = np.zeros((count, size), complex)  # what a delay that drifts within a period does to it, to first order
        for _ in range(3):
            straightened = samples[: count * size] * np.exp(-2j * np.pi * ((cycles * np.arange(count * size)) % 1.0))
            spectra = np.fft.fft(straightened.reshape(count, size) + smear, axis=1)[:, bins] / size
            found = cls(spectra * turn, bins, rate, size, cycles)
            phase, delay = found.track
            cycles += straight(found.positions, phase)[0] / (2 * np.pi)
            drift = straight(found.positions / rate, delay)[0]
            bent = np.zeros((count, size), complex)
            bent[:, bins] = spectra * (1j * found.omega * drift * size)
            smear = np.fft.ifft(bent, axis=1) * within
        return found

    @cached_property
    def omega(self) -> Floats:
        return 2 * np.pi * self.bins * self.rate / self.size

    @property
    def middle(self) -> int:
        """Number of the period that all is referred to."""
        return self.heard.shape[0] // 2

    @property
    def positions(self) -> Floats:
        """Samples from the first to the middle of each period."""
        return (np.arange(self.heard.shape[0]) + 0.5) * self.size - 0.5

    @cached_property
    def track(self) -> tuple[Floats, Floats]:
        """(phase, delay), each (period,): radians and seconds relative to the middle period, by weighted phase slopes."""
        of, middle = self.heard[self.middle], self.middle
        phase, delay = np.zeros(self.heard.shape[0]), np.zeros(self.heard.shape[0])
        for m in sorted(range(phase.size), key=lambda m: abs(m - middle)):  # outwards, from the inner neighbour, so that nothing wraps
            inner = m + (m < middle) - (m > middle)
            product = self.heard[m] * of.conj() * np.exp(-1j * (phase[inner] - self.omega * delay[inner]))
            common = np.angle(product.sum())
            weights = np.abs(product)
            slope, value = straight(self.omega, np.angle(product * np.exp(-1j * common)), weights)
            delay[m] = delay[inner] - slope
            phase[m] = phase[inner] + common + value - slope * float((weights * self.omega).sum() / weights.sum())
        return phase, delay

    @property
    def turned(self) -> Floats:
        """(period,) radians of the carrier at the middles of the periods, relative to the middle one, nothing taken out."""
        return self.track[0] + 2 * np.pi * self.cycles * (self.positions - self.positions[self.middle])

    @cached_property
    def response(self) -> Complex:
        """(tone,) at the middle period, averaged over all; its common phase as heard there. What oscillators do within a capture is
        smooth: a straight drift of the delay, a polynomial of the phase."""
        phase, delay = self.track
        u = 2.0 * (self.positions - self.positions[self.middle]) / self.positions[-1]
        polynomial = np.polynomial.Polynomial.fit(u, phase, min(5, u.size - 1), domain=[-1, 1])
        smooth = polynomial(u) - polynomial(0.0)
        drifted = straight(u, delay)[0] * u
        mean = (self.heard * np.exp(-1j * (smooth[:, None] - self.omega * drifted[:, None]))).mean(axis=0)
        return mean * np.exp(2j * np.pi * ((self.cycles * self.positions[self.middle]) % 1.0))

    def delay(self, expected: float) -> float:
        """Seconds of the one path at the middle period, by the phase slope; `expected` to within half a period of the highest tone."""
        turned = self.response * np.exp(1j * self.omega * expected)
        turned = turned / np.exp(1j * np.angle(turned.sum()))
        return expected - straight(self.omega, np.angle(turned), np.abs(turned))[0]

    def phase(self, delay: float) -> float:
        """Radians of the one path at zero baseband frequency, its delay known."""
        return float(np.angle((self.response * np.exp(1j * self.omega * delay)).sum()))

    @property
    def gain_db(self) -> float:
        return float(10 * np.log10((np.abs(self.response) ** 2).mean()))
