"""The delay window: channels of a short echo are smooth over frequency, so noise outside a few delays can be taken off.

The left singular vectors of exp(-j 2 pi k df tau), tau over the window with uniform density, are an orthonormal basis of such channels;
their eigenvalues say how much of a window full of echoes each one carries.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hil.waveform.numerology import Numerology

EARLIEST, LATEST = -0.15e-6, 0.7e-6  # seconds about the strongest echo
KEPT = 0.1  # directions whose mean energy is below this share of the noise per tone are dropped


@lru_cache(maxsize=16)
def _basis(numerology: Numerology, earliest: float, latest: float) -> tuple[NDArray[np.complex128], NDArray[np.float64]]:
    """Directions (tone, direction) and their eigenvalues, which sum to K. Gauss-Legendre nodes make the mean over tau exact."""
    periods = (latest - earliest) * numerology.used_bandwidth_hz
    nodes, weights = np.polynomial.legendre.leggauss(int(np.ceil(2.0 * periods)) + 24)
    delays = earliest + (latest - earliest) * (nodes + 1.0) / 2.0
    echoes = np.exp(-2j * np.pi * np.outer(numerology.frequencies_hz, delays)) * np.sqrt(weights / 2.0)
    directions, singular, _ = np.linalg.svd(echoes, full_matrices=False)
    return directions, singular**2


@dataclass(frozen=True, slots=True, eq=False)
class DelayFilter:
    """A linear estimate of tone channels: directions (tone, direction), each taken with `weights`.

    The error of a filtered channel whose tones carry independent errors of variance v is v x `spread` per tone.
    """

    directions: NDArray[np.complex128]
    weights: NDArray[np.float64]
    variance: NDArray[np.float64]  # per direction, error over the variance of a tone before filtering

    @property
    def rank(self) -> int:
        return self.directions.shape[1]

    def __call__(self, channels: NDArray[np.complex128]) -> NDArray[np.complex128]:
        """Filter along the last axis, (..., tone)."""
        return ((channels @ self.directions.conj()) * self.weights) @ self.directions.T

    def spread(self) -> NDArray[np.float64]:
        """(tone,) error variance after filtering over that before."""
        return np.abs(self.directions) ** 2 @ self.variance

    def block_spread(self, numerology: Numerology) -> NDArray[np.float64]:
        """(block,) variance of the mean error over each block over the variance of a tone before filtering."""
        mean = numerology.block_mean(self.directions, axis=0)
        return np.abs(mean) ** 2 @ self.variance


def delay_filter(
    numerology: Numerology, noise_over_signal: float, window_s: tuple[float, float] = (EARLIEST, LATEST), prior: bool = False
) -> DelayFilter:
    """The projection on the window, or with `prior` the least mean square error for echoes uniform in it.

    noise_over_signal: error variance of a tone over the channel's mean power. With the projection an error is what noise leaves inside
    the window; with the prior it is R - R (R + C)^-1 R.
    """
    directions, eigen = _basis(numerology, *window_s)
    kept = eigen > KEPT * noise_over_signal
    directions, eigen = directions[:, kept], eigen[kept]
    shrink = eigen / (eigen + noise_over_signal) if prior else np.ones_like(eigen)
    return DelayFilter(directions, shrink, shrink)


def no_filter(numerology: Numerology) -> DelayFilter:
    """Every tone on its own."""
    ones = np.ones(numerology.used)
    return DelayFilter(np.eye(numerology.used, dtype=np.complex128), ones, ones)
