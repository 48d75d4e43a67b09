"""A receiver's mirror image, its DC and the transmitters' LO leakage, told from what a known frame leaves unexplained.

A receiver whose I and Q differ adds its own conjugate. Once derotated it lies at -k - 2 cfo/spacing, between the tones: it is demodulated
like the capture itself and regressed on, and taken away before any derotation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hil.device import Capture
from hil.estimate.carrier import Carrier
from hil.estimate.usable import samples_of
from hil.waveform import ofdm
from hil.waveform.frame import Frame

CLEAR = 3.0  # standard deviations from which a spur is taken away


@dataclass(frozen=True, slots=True, eq=False)
class Spurs:
    """What was found beside a known frame. frequencies_hz: (tone,); tones: (channel, tone) amplitudes in the capture's units; image:
    (channel,) gain of the conjugate. The standard deviations are those of thermal noise and interference: the frame itself is known.
    `removed` says of each whether it stood out and was taken away."""

    frequencies_hz: NDArray[np.float64]
    tones: NDArray[np.complex128]
    tones_std: NDArray[np.float64]
    image: NDArray[np.complex128]
    image_std: NDArray[np.float64]
    removed: NDArray[np.bool_]  # (channel, tone and then image)


def clean(capture: Capture, frame: Frame, carrier: Carrier, leakages_hz: Sequence[float] = ()) -> tuple[Capture, Spurs]:
    """The capture without DC, without LO leakage at `leakages_hz` (other transmitters' carrier offsets) and without its mirror image.

    Regression of what `frame` does not explain, tone by tone with every gain projected out, on the tones and on the capture's conjugate as
    demodulation sees them. To be refined again afterwards. The frame's own leakage lies on its empty tone, where it harms nobody here.
    """
    numerology = frame.numerology
    samples = samples_of(capture, 4 * numerology.symbol_samples, numerology.sample_rate_hz)
    kept = [0.0]
    duration = samples.shape[-1] / numerology.sample_rate_hz
    for frequency in leakages_hz:  # closer than half a turn over the capture is one tone
        if min(abs(frequency - other) for other in kept) > 0.5 / duration:
            kept.append(float(frequency))
    frequencies = np.array(kept)
    n = np.arange(samples.shape[-1])
    tones = np.exp(2j * np.pi / numerology.sample_rate_hz * np.outer(frequencies, n)).astype(np.complex64)
    index = ofdm.whole_symbols(numerology, samples.shape[-1], carrier.start, carrier.stretch)
    stack = np.concatenate([samples, samples.conj(), tones])
    values = ofdm.demodulate(stack, numerology, carrier.start, index, carrier.cfo_hz, carrier.stretch)[0]
    left = _unexplained(values.astype(np.complex128), frame, index)

    channels, out = len(samples), samples.copy()
    amplitudes = np.zeros((channels, len(kept) + 1), dtype=np.complex128)
    std, removed = np.full(amplitudes.shape, np.inf), np.zeros(amplitudes.shape, dtype=bool)
    for channel in range(channels):
        target = left[channel].reshape(-1)
        each = np.concatenate([left[2 * channels :], left[channels + channel][None]]).reshape(len(kept) + 1, -1)
        size = np.linalg.norm(each, axis=-1)
        told = size > 1e-3 * np.linalg.norm(values[[*range(2 * channels, len(values)), channels + channel]], axis=(1, 2))
        while True:
            solved, covariance = _regress(target, each[told])
            clear = np.square(np.abs(solved)) > CLEAR**2 * np.real(np.diag(covariance))
            amplitudes[channel, told], std[channel, told] = solved, np.sqrt(np.real(np.diag(covariance)))
            if clear.all() or not clear.any():
                break
            told[told] = clear  # what does not stand out leaves, and the others are fitted without it
        removed[channel, told] = clear
        gone = np.where(removed[channel], amplitudes[channel], 0.0).astype(np.complex64)
        # The conjugate holds the tones and the image of the image too: undone to first order, -100 dB of a -50 dB image.
        out[channel] -= gone[:-1] @ tones + gone[-1] * samples[channel].conj()
    found = Spurs(frequencies, amplitudes[:, :-1], std[:, :-1], amplitudes[:, -1], std[:, -1], removed)
    return replace(capture, samples=out), found


def _unexplained(values: NDArray[np.complex128], frame: Frame, index: NDArray[np.int64]) -> NDArray[np.complex128]:
    """(row, symbol, tone) what no gain per tone and group of symbols explains."""
    turn = index % frame.layout.symbols
    known, label = frame.known[turn], frame.groups[turn]
    out = np.empty_like(values)
    for group in np.unique(label):
        mine = label == group
        energy = np.maximum(np.sum(np.square(np.abs(known[mine])), axis=0), 1e-300)
        sent, seen = known[mine], values[:, mine]
        gains = np.sum(seen * sent.conj(), axis=1) / energy
        out[:, mine] = (seen - gains[:, None] * sent) * (sent != 0.0)
    return out


def _regress(target: NDArray[np.complex128], regressors: NDArray[np.complex128]) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
    """Least squares of (sample,) on (regressor, sample): coefficients and their covariance."""
    inverse = np.linalg.inv(regressors.conj() @ regressors.T)
    solved = inverse @ (regressors.conj() @ target)
    left = target - solved @ regressors
    return solved, inverse * float(np.sum(np.square(np.abs(left)))) / max(np.count_nonzero(target) - len(solved), 1)
