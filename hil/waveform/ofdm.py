"""Tones to samples and back: x[n] = sum_k X_k exp(+j 2 pi k n/N), Y_k = (1/N) sum_n y[n] exp(-j 2 pi k n/N)."""

from __future__ import annotations

import numpy as np
import scipy.fft
from numpy.typing import ArrayLike, DTypeLike, NDArray

from hil.errors import InputError
from hil.waveform.numerology import Numerology

# Drift inside one symbol is undone from this delay phase at the band edge on (radians); below, its leakage is under -60 dB.
_DRIFT_PHASE = 1e-3


def modulate(numerology: Numerology, tones: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """Samples (..., symbol x symbol_samples) of tones (..., symbol, tone). Every symbol has its prefix: a cyclic buffer has no seam."""
    spectrum = np.zeros((*tones.shape[:-1], numerology.fft), dtype=np.complex128)
    spectrum[..., numerology.bins] = tones
    useful = np.fft.ifft(spectrum, axis=-1) * numerology.fft
    whole = np.concatenate([useful[..., -numerology.prefix :], useful], axis=-1)
    return whole.reshape(*tones.shape[:-2], -1)


def whole_symbols(numerology: Numerology, samples: int, start: float, stretch: float = 0.0) -> NDArray[np.int64]:
    """Numbers of the symbols that lie wholly inside a capture of `samples`, when symbol 0 begins at sample `start` (may be negative)."""
    step = numerology.symbol_samples / (1.0 + stretch)
    margin = numerology.prefix / 2 + 1  # the window begins half a prefix into the symbol
    first = int(np.ceil((1 - margin - start) / step))
    last = int(np.floor((samples - 1 - start) / step + (numerology.prefix - margin) / numerology.symbol_samples)) - 1
    return np.arange(first, max(first, last + 1))


def demodulate(
    samples: NDArray, numerology: Numerology, start: float, index: ArrayLike, cfo_hz: float = 0.0, stretch: float = 0.0
) -> tuple[NDArray[np.complex128], NDArray[np.float64]]:
    """Tones (channel, symbol, tone) of symbols `index`, and the times of their window centres in seconds after the capture's first sample.

    samples: (channel, sample). start: sample at which symbol 0 arrives, with its fraction. The model is r(t) = x((1 + stretch)(t - start))
    exp(+j 2 pi cfo t): a positive stretch (cfo/carrier, one oscillator for both) makes later symbols arrive ever earlier. Rotation, delay
    and drift are undone; windows begin half a prefix early, so that +-prefix/2 of error costs nothing. The drift within a symbol is undone
    to first order (second order is below -90 dB at 40 ppm). Works in the precision of `samples`.
    """
    samples = np.atleast_2d(samples)
    index = np.asarray(index)
    size, rate = numerology.fft, numerology.sample_rate_hz
    useful = index * numerology.symbol_samples + numerology.prefix  # in the transmitter's samples
    first = np.round(start + useful / (1.0 + stretch)).astype(np.int64) - numerology.prefix // 2
    if len(index) and (first.min() < 0 or first.max() + size > samples.shape[-1]):
        raise InputError("capture-short", "symbols outside the capture were asked for",
                         found=f"samples {first.min()}..{first.max() + size}", allowed=f"0..{samples.shape[-1]}",
                         fix="capture at least two frames and one symbol")  # fmt: skip
    # Phases are formed in float64 and turn into tables: of the windows' beginnings, of the samples in a window, of the tones.
    kind = samples.dtype if samples.dtype in (np.complex64, np.complex128) else np.dtype(np.complex128)
    windows = np.lib.stride_tricks.sliding_window_view(samples, size, axis=-1)[:, first]
    spin = -2j * np.pi * cfo_hz / rate
    if cfo_hz != 0.0:
        windows = windows * np.exp(spin * np.arange(size)).astype(kind)
    spectrum = scipy.fft.fft(windows, axis=-1, overwrite_x=True, norm="forward")
    if np.pi * numerology.used * abs(stretch) / 2 > _DRIFT_PHASE:
        spectrum -= np.float32(stretch) * _time_times_slope(spectrum, size)
    centre = first + (size - 1) / 2
    lag = (1.0 + stretch) * (centre - start) - (size - 1) / 2 - useful
    undo = ramp(numerology, -lag, kind)
    undo *= np.exp(spin * first).astype(kind)[:, None]
    half = numerology.used // 2
    tones = np.empty((*spectrum.shape[:-1], 2 * half), dtype=spectrum.dtype)
    np.multiply(spectrum[..., -half:], undo[:, :half], out=tones[..., :half])
    np.multiply(spectrum[..., 1 : half + 1], undo[:, half:], out=tones[..., half:])
    return tones, centre / rate


def ramp(numerology: Numerology, samples: ArrayLike, kind: DTypeLike = np.complex64) -> NDArray:
    """(symbol, tone) exp(+j 2 pi k samples/N) for (symbol,) delays, as the product of a coarse and a fine table formed in float64."""
    fine, half = 16, numerology.used // 2
    step = 2j * np.pi / numerology.fft * np.asarray(samples, dtype=float)
    first = -(-half // fine) * fine
    coarse = np.exp(step[:, None] * np.arange(-first, half + 1, fine)).astype(kind)
    table = (coarse[:, :, None] * np.exp(step[:, None] * np.arange(fine)).astype(kind)[:, None]).reshape(step.size, -1)
    return np.concatenate([table[:, first - half : first], table[:, first + 1 : first + half + 1]], axis=1)


def _time_times_slope(spectrum: NDArray[np.complex128], size: int) -> NDArray[np.complex128]:
    """Spectrum of (n - centre) dy/dn for windows whose spectrum is given."""
    tone = np.fft.fftfreq(size, 1.0 / size)
    tone[size // 2] = 0.0
    slope = scipy.fft.ifft(spectrum * (2j * np.pi / size * tone).astype(spectrum.dtype), axis=-1, overwrite_x=True)
    slope *= (np.arange(size) - (size - 1) / 2).astype(spectrum.real.dtype)
    return scipy.fft.fft(slope, axis=-1, overwrite_x=True)
