"""The sounder's own test signals: cyclic, within full scale, as exact as a converter can send them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Complex = NDArray[np.complex128]


def tones(amplitudes: dict[int, complex], period: int) -> Complex:
    """(sample,) sum of amplitudes[k] exp(j 2 pi k n/period)."""
    n = np.arange(period)
    total = np.zeros(period, complex)
    for k, amplitude in amplitudes.items():
        total += amplitude * np.exp(2j * np.pi * ((k * n) % period) / period)
    return total


def flat(bins: Iterable[int], period: int, peak: float = 0.9) -> dict[int, complex]:
    """Equal amplitudes with phases that grow with the square of the index (Schroeder 1970), so that the peak stays low."""
    kept = np.array(sorted(bins))
    phases = np.pi * np.arange(kept.size) ** 2 / kept.size
    raw = tones(dict(zip(kept.tolist(), np.exp(1j * phases))), period)
    scale = peak / max(np.abs(raw.real).max(), np.abs(raw.imag).max())
    return dict(zip(kept.tolist(), scale * np.exp(1j * phases)))


@dataclass(frozen=True, eq=False)
class Ofdm:
    """A cyclic train of symbols with four-phase data. data: (symbol, bin), bins: in tones of rate/size, guard: samples before each."""

    data: Complex
    bins: NDArray[np.int64]
    size: int
    guard: int
    samples: Complex

    @classmethod
    def draw(cls, rng: np.random.Generator, symbols: int = 40, size: int = 512, guard: int = 128, used: int = 384, rms: float = 0.2) -> Ofdm:
        bins = np.concatenate([np.arange(-used // 2, 0), np.arange(1, used // 2 + 1)])
        data = np.exp(0.5j * np.pi * (rng.integers(0, 4, (symbols, bins.size)) + 0.5))
        spectrum = np.zeros((symbols, size), complex)
        spectrum[:, bins] = data
        bodies = np.fft.ifft(spectrum, axis=1) * size * rms / np.sqrt(bins.size)
        samples = np.concatenate([bodies[:, size - guard :], bodies], axis=1).ravel()
        return cls(data * rms / np.sqrt(bins.size), bins, size, guard, np.clip(samples.real, -1, 1) + 1j * np.clip(samples.imag, -1, 1))
