"""Noise per tone from an idle capture: same gain, same band as the tones, nobody transmitting."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaincinv

from hil.device import Capture
from hil.estimate.usable import assumptions_of, samples_of
from hil.knowledge import Estimate
from hil.waveform.numerology import Numerology


def upper_factor(count: float, confidence: float = 0.95) -> float:
    """By how much a noise power averaged over `count` complex values may be too low: 2n/chi2inv(1 - confidence, 2n)."""
    return float(count / gammaincinv(count, 1.0 - confidence))


def idle(capture: Capture, numerology: Numerology, *, scale: ArrayLike = 1.0) -> Estimate:
    """value (channel,) watts per used tone, mean |y|^2 in the band of the tones; relative standard deviation 1/sqrt(tones x windows).

    scale: sqrt(W) at the port per unit of the capture (`waveform.amplitude.receive_scale`); 1 keeps the capture's units squared. Never
    below what rounding to the converter's codes adds (a sixth of a code squared per sample). Raises HilError for an unusable capture.
    """
    size = numerology.fft
    samples = samples_of(capture, size, numerology.sample_rate_hz)
    windows = samples.shape[-1] // size
    tones = np.fft.fft(samples[:, : windows * size].reshape(samples.shape[0], windows, size), axis=-1)[..., numerology.bins] / size
    scale = np.broadcast_to(np.asarray(scale, dtype=np.float64), (samples.shape[0],))
    count = windows * numerology.used
    power = np.mean(np.square(np.abs(tones)), axis=(1, 2)) * scale**2
    rounding = scale**2 / (6.0 * capture.full_scale**2 * size)
    value = np.maximum(power, rounding)
    spread = np.diag(value**2 / count)
    notes = ("white over the used band", *(("at the converter's rounding",) if np.any(power < rounding) else ()), *assumptions_of(capture))
    return Estimate(
        what="noise per tone", of=capture.device or "receiver", value=value, covariance=spread, bound=spread, unit="W", loss=capture.loss,
        epoch=capture.clock, assumptions=notes, residual_test=_evenness(tones),
    )  # fmt: skip


def upper(noise: Estimate, confidence: float = 0.95) -> NDArray[np.float64]:
    """(channel,) watts per tone that the noise lies below with `confidence`."""
    count = noise.value**2 / np.diagonal(noise.covariance)
    return noise.value * np.array([upper_factor(float(n), confidence) for n in count])


def _evenness(tones: NDArray[np.complex128]) -> float:
    """Spread of the noise from tone to tone over that of white noise; far above 1 tells of an interferer."""
    power = np.mean(np.square(np.abs(tones)), axis=1)
    relative = np.var(power / np.maximum(power.mean(-1, keepdims=True), 1e-300), axis=-1)
    return float(np.mean(relative) * tones.shape[1])
