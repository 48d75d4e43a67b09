"""Finding a frame in a capture: where it starts and, within half a tone, its carrier."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.special import gammainccinv

from hil.device import Capture
from hil.estimate.usable import samples_of
from hil.waveform.frame import Announced
from hil.waveform.numerology import Numerology

FALSE_ALARM = 1e-3
_MOST_WAVES = 4  # antennas' preambles that are looked for at most
_BLOCK = 8  # FFT length of the overlap-save correlation in symbols; a hypothesis is then a shift by whole bins


@dataclass(frozen=True, slots=True)
class Acquisition:
    """Where the first whole frame begins, and roughly how fast its transmitter is.

    start: sample of the capture at which the frame's sample 0 arrives. metric: share of the energy in two symbols that the preamble
    explains (mean over channels); below `threshold` the rest is for the record only.
    """

    start: float
    cfo_hz: float
    metric: float
    threshold: float

    @property
    def above_threshold(self) -> bool:
        return self.metric > self.threshold


def noise_threshold(numerology: Numerology, cells: float, channels: int = 1, waves: int = 1) -> float:
    """Metric that noise alone passes with probability 1e-3: times 2K it is a mean over channels of 2 x waves unit exponentials.

    K, not N: payload of other devices fills the used tones only and comes nearer to a preamble than white noise.
    """
    return float(gammainccinv(2 * channels * waves, FALSE_ALARM / cells)) / (2 * numerology.used * channels)


def foreign_threshold(numerology: Numerology, tried: int, waves: int = 1) -> float:
    """Metric that another device's preamble passes with probability 1e-3: it repeats itself too, a pair tells no more than one."""
    return float(gammainccinv(waves, FALSE_ALARM / (tried * 4 * numerology.fft))) / numerology.used


def hypotheses(numerology: Numerology, lowest_hz: float, highest_hz: float) -> NDArray[np.int64]:
    """Carrier offsets to try, in half tones: worst mismatch a quarter tone (0.9 dB)."""
    half = numerology.spacing_hz / 2.0
    return np.arange(round(lowest_hz / half), round(highest_hz / half) + 1)


def acquire(
    capture: Capture, frame: Announced, *, widest_ppm: float = 40.0, near_hz: float | None = None, width_hz: float = 3000.0
) -> Acquisition:
    """Correlate with the frame's preamble over one frame and all carrier hypotheses; the strongest pair of preamble symbols wins.

    What is looked for is the space spanned by the antennas' preambles, so neither an unknown channel per antenna nor a precoder that turns
    every block by its own phase spreads the peak.
    near_hz: a tracked carrier offset; only hypotheses within `width_hz` of it are tried. Channels are summed without phases. The fraction
    of a tone comes from the phase between the two symbols, each derotated by the hypothesis over the whole stretch.
    """
    numerology = frame.numerology
    size, prefix, rate = numerology.fft, numerology.prefix, numerology.sample_rate_hz
    pair = 2 * size
    samples = samples_of(capture, frame.length + pair, rate).astype(np.complex64, copy=False)
    lags = min(frame.length, samples.shape[-1] - pair)
    widest = widest_ppm * 1e-6 * capture.carrier_hz
    tried = hypotheses(numerology, *((-widest, widest) if near_hz is None else (near_hz - width_hz, near_hz + width_hz)))

    length = _BLOCK * size
    waves = _waves(frame)
    reference = np.conj(scipy.fft.fft(waves, length, axis=-1)).astype(np.complex64)
    blocks = scipy.fft.fft(_blocks(samples[:, : lags + pair], size, length), axis=-1)

    energy = np.cumsum(np.pad(np.abs(samples[:, : lags + pair]) ** 2, ((0, 0), (1, 0))), axis=-1, dtype=np.float64)
    weight = (1.0 / np.maximum(energy[:, pair : pair + lags] - energy[:, :lags], 1e-300)).astype(np.float32) / samples.shape[0]

    best = (-1.0, 0, 0, 0j)
    for half_tones in tried:
        metric, matches = np.zeros(lags, dtype=np.float32), []
        for wave in reference:
            shifted = np.roll(wave, (_BLOCK // 2) * int(half_tones))
            valid = scipy.fft.ifft(blocks * shifted, axis=-1, overwrite_x=True)[..., : length - size]
            match = valid.reshape(samples.shape[0], -1)[:, : lags + size]
            power = np.square(match.real) + np.square(match.imag)
            metric += np.sum((power[:, :lags] + power[:, size : size + lags]) * weight, axis=0)
            matches.append(match)
        at = int(np.argmax(metric))
        if metric[at] > best[0]:
            turn = sum(np.sum(match[:, at + size] * np.conj(match[:, at])) for match in matches)
            best = (float(metric[at]), at, int(half_tones), complex(turn))
    metric, at, half_tones, turn = best
    # Over one symbol the hypothesis turns by pi per half tone; without taking that out, every odd hypothesis reads half a tone wrong.
    fraction = np.angle(turn * np.exp(-1j * np.pi * half_tones)) / (2.0 * np.pi)
    cfo = (half_tones / 2.0 + fraction) * numerology.spacing_hz
    start = float(at - 2 * prefix)
    if start < 0.0:
        start += frame.length / (1.0 + cfo / capture.carrier_hz)
    limit = max(
        noise_threshold(numerology, float(len(tried) * lags), samples.shape[0], len(waves)),
        foreign_threshold(numerology, len(tried), len(waves)),
    )
    return Acquisition(start, float(cfo), metric, limit)


def _waves(frame: Announced) -> NDArray[np.complex128]:
    """(wave, sample) orthonormal waveforms of one useful symbol that span what the antennas send in the preamble; the strongest few."""
    numerology = frame.numerology
    _, strength, tones = np.linalg.svd(frame.preambles, full_matrices=False)
    tones = tones[:_MOST_WAVES][strength[:_MOST_WAVES] > 0.1 * strength[0]]
    spectrum = np.zeros((len(tones), numerology.fft), dtype=np.complex128)
    spectrum[:, numerology.bins] = tones
    return np.fft.ifft(spectrum, axis=-1, norm="ortho")


def _blocks(samples: NDArray[np.complex64], size: int, length: int) -> NDArray[np.complex64]:
    """(channel, block, length) overlapping by one symbol, so that each block's first length - size correlations are whole."""
    step = length - size
    count = -(-(samples.shape[-1] - size + 1) // step)
    padded = np.pad(samples, ((0, 0), (0, max(0, count * step + size - samples.shape[-1]))))
    view = np.lib.stride_tricks.sliding_window_view(padded, length, axis=-1)
    return view[:, ::step][:, :count]
