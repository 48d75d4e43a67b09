"""The OFDM grid of a bench: rate, FFT, prefix, used tones and their blocks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hil.errors import InputError

BLOCK_TONES = 12  # neighbouring tones that share a precoder

# (sample rate in Hz, FFT length): the grids for which preambles and pilots are stored
GRIDS: tuple[tuple[float, int], ...] = ((3.84e6, 128), (4.0e6, 128), (15.36e6, 512), (30.72e6, 1024))
# used tones that each FFT length offers: three quarters of the band first, then the narrower licences
USED_TONES: dict[int, tuple[int, ...]] = {128: (96, 64), 512: (384,), 1024: (768, 640)}


@dataclass(frozen=True, eq=True)
class Numerology:
    """One OFDM grid: N-point FFT, prefix 9N/128, K used tones at k = +-1..+-K/2 (k = 0, DC and leakage, stays empty).

    Tones are counted by rank 0..K-1 in order of frequency everywhere; a block is 12 neighbouring ranks. Raises InputError for a rate or a
    bandwidth for which no preambles are stored.
    """

    sample_rate_hz: float
    used_bandwidth_hz: float

    def __post_init__(self) -> None:
        if self.sample_rate_hz not in dict(GRIDS):
            allowed = ", ".join(f"{rate / 1e6:g}" for rate, _ in GRIDS)
            raise InputError("numerology", "no OFDM grid for this sample rate", key="sample_rate",
                             found=f"{self.sample_rate_hz / 1e6:g} MS/s", allowed=f"{allowed} MS/s",
                             fix="choose one of the allowed rates")  # fmt: skip
        offered = [tones * self.spacing_hz for tones in USED_TONES[self.fft]]
        if not any(abs(self.used_bandwidth_hz - width) < 0.5 for width in offered):
            allowed = ", ".join(f"{width / 1e6:g}" for width in offered)
            raise InputError("numerology", "no OFDM grid with this used bandwidth", key="used_bandwidth",
                             found=f"{self.used_bandwidth_hz / 1e6:g} MHz", allowed=f"{allowed} MHz at {self.sample_rate_hz / 1e6:g} MS/s",
                             fix="choose one of the allowed bandwidths, or another sample rate")  # fmt: skip

    @property
    def fft(self) -> int:
        """N, samples of the useful part of a symbol."""
        return dict(GRIDS)[self.sample_rate_hz]

    @property
    def prefix(self) -> int:
        """Samples of the cyclic prefix."""
        return 9 * self.fft // 128

    @property
    def symbol_samples(self) -> int:
        """Prefix and useful part."""
        return self.fft + self.prefix

    @property
    def spacing_hz(self) -> float:
        return self.sample_rate_hz / self.fft

    @property
    def symbol_time_s(self) -> float:
        return self.symbol_samples / self.sample_rate_hz

    @property
    def used(self) -> int:
        """K, how many tones carry energy."""
        return round(self.used_bandwidth_hz / self.spacing_hz)

    @cached_property
    def tones(self) -> NDArray[np.int64]:
        """(tone,) tone numbers k, by frequency, without 0."""
        half = self.used // 2
        return np.concatenate([np.arange(-half, 0), np.arange(1, half + 1)])

    @cached_property
    def bins(self) -> NDArray[np.int64]:
        """(tone,) where each tone lies in an N-point FFT."""
        return self.tones % self.fft

    @cached_property
    def frequencies_hz(self) -> NDArray[np.float64]:
        """(tone,) baseband hertz."""
        return self.tones * self.spacing_hz

    @cached_property
    def block_of_tone(self) -> NDArray[np.int64]:
        """(tone,) index of the block a tone belongs to."""
        return np.arange(self.used) // BLOCK_TONES

    @property
    def blocks(self) -> int:
        return -(-self.used // BLOCK_TONES)

    @property
    def rms_bandwidth_hz(self) -> float:
        """B_rms = sqrt(mean (k df)^2) over the used tones."""
        return float(np.sqrt(np.mean(self.frequencies_hz**2)))

    def block_mean(self, values: NDArray, axis: int = -1) -> NDArray:
        """Means over the tones of each block along `axis`, which becomes the block axis."""
        starts = np.arange(0, self.used, BLOCK_TONES)
        sums = np.add.reduceat(values, starts, axis=axis)
        shape = [1] * sums.ndim
        shape[axis] = -1
        return sums / np.bincount(self.block_of_tone).reshape(shape)
