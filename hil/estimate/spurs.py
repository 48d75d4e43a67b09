"""Constant tones that a receiver and the transmitters add to a capture, found without knowing what else is in it.

A receiver's DC offset lies at 0 Hz of its own baseband, a transmitter's LO leakage at that transmitter's carrier offset: on the empty tone
of its own grid and between the tones of everybody else's. They must go before derotation, which moves the DC to -cfo. Where the frame is
known `mirror.clean` tells them apart from it, to thermal noise.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

_SEGMENT = 256  # samples whose phases are tabled once
_NEAREST, _FARTHEST = 2, 16  # lines of 1/duration on either side of a tone that tell what else is there
_SAME = 1e-3  # of the strongest: weaker combinations of tones cannot be told apart (closer than a thirtieth of a turn)


def remove(
    samples: NDArray, rate: float, frequencies_hz: ArrayLike, stands: float = 1.0
) -> tuple[NDArray, NDArray[np.complex128], NDArray[np.float64]]:
    """Subtract constant tones, jointly by least squares over the whole capture.

    samples: (channel, sample); frequencies_hz: (tone,), 0 for DC and each transmitter's carrier offset for its leakage. Returns the samples
    without them, the amplitudes (channel, tone) that were subtracted, and the standard deviations (channel, tone) that the lines beside
    each tone tell. An OFDM signal puts 1.3/samples of its power on a line in its band: two frames of 28 symbols hide DC below -44 dBc.
    A cyclic frame has lines of its own, so only what stands `stands` times above the strongest line beside it is taken away, shrunk by
    1 - variance/|amplitude|^2 (James and Stein 1961). That goes for every combination of tones that the capture can tell apart; tones too
    close to tell are merged by it.
    """
    samples = np.atleast_2d(samples)
    frequencies = np.atleast_1d(np.asarray(frequencies_hz, dtype=np.float64))
    count = samples.shape[-1]
    whole = count // _SEGMENT * _SEGMENT
    within = np.exp(2j * np.pi / rate * np.outer(frequencies, np.arange(_SEGMENT)))  # (tone, sample of a segment)
    begin = np.exp(2j * np.pi / rate * np.outer(frequencies, np.arange(0, whole, _SEGMENT)))  # (tone, segment)
    rest = np.exp(2j * np.pi / rate * np.outer(frequencies, np.arange(whole, count)))
    segments = samples[:, :whole].reshape(len(samples), -1, _SEGMENT)
    kind = samples.dtype if samples.dtype in (np.complex64, np.complex128) else np.complex128
    sums = np.moveaxis(segments @ within.conj().T.astype(kind), -1, 1).astype(np.complex128) * begin.conj()  # (channel, tone, segment)
    match = (sums.sum(-1) + samples[:, whole:] @ rest.conj().T) / count

    gram = _overlap(frequencies[None, :] - frequencies[:, None], rate, count)
    spread, highest = _beside(sums, match, gram, frequencies, rate, count)
    values, vectors = np.linalg.eigh(gram)
    kept = values > _SAME * values[-1]
    values, vectors = values[kept], vectors[:, kept]
    apart = match @ vectors.conj() / np.sqrt(values)  # (channel, combination), each with the variance of one line
    variance = spread @ np.square(np.abs(vectors))
    power = np.square(np.abs(apart))
    clear = power > stands * (highest @ np.square(np.abs(vectors)))
    apart *= np.where(clear, 1.0 - variance / np.maximum(power, 1e-300), 0.0)
    amplitudes = (apart / np.sqrt(values)) @ vectors.T
    std = np.sqrt((variance / values) @ np.square(np.abs(vectors)).T)

    tones = np.concatenate([
        ((amplitudes[:, None] * begin.T).astype(kind) @ within.astype(kind)).reshape(len(samples), -1),
        (amplitudes @ rest).astype(kind),
    ], axis=-1)  # fmt: skip
    return samples - tones, amplitudes, std


def _overlap(apart_hz: NDArray[np.float64], rate: float, count: int) -> NDArray[np.complex128]:
    """Mean over `count` samples of exp(j 2 pi f n/rate)."""
    turn = np.pi * apart_hz / rate
    small = np.abs(np.sin(turn)) < 1e-12
    ratio = np.where(small, 1.0, np.sin(count * turn) / (count * np.where(small, 1.0, np.sin(turn))))
    return ratio * np.exp(1j * (count - 1) * turn)


def _beside(sums, match, gram, frequencies, rate, count) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(channel, tone) mean and largest power of the lines beside each tone, the tones themselves taken out first."""
    first = match @ np.linalg.pinv(gram, rcond=_SAME, hermitian=True).T
    begins = np.arange(sums.shape[-1]) * _SEGMENT
    lines = np.concatenate([np.arange(-_FARTHEST, -_NEAREST + 1), np.arange(_NEAREST, _FARTHEST + 1)])
    turn = np.exp(-2j * np.pi * np.outer(lines, (begins + _SEGMENT / 2) / count))
    power = np.empty((*match.shape, len(lines)))
    for tone, frequency in enumerate(frequencies):
        apart = frequencies - frequency
        shape = _SEGMENT * _overlap(apart, rate, _SEGMENT)[:, None] * np.exp(2j * np.pi * apart[:, None] / rate * begins)
        power[:, tone] = np.square(np.abs((sums[:, tone] - first @ shape) @ turn.T / count))
    return power.mean(-1), power.max(-1)
