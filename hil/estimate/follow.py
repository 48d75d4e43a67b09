"""A frame that is already heard, followed from capture to capture: carrier, arrival and element channels in one pass over the samples.

The estimator is that of `carrier.refine` and `channel.estimate` without delay window: the same likelihood (channel unknown on every tone of
every group), one Newton step over all symbols from a carrier that is nearly right, least squares on the comb. What it does not do is look
for anything: no lobes, no interference, no lost samples, no phase tracked from symbol to symbol. It says when it should not be believed
(`Followed.holds`), and then the frame is acquired and refined anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from hil.device import Capture
from hil.errors import HilError
from hil.estimate import sums
from hil.estimate.bounds import useful_variance
from hil.waveform import ofdm
from hil.waveform.frame import Frame

WIDEST = 5e-6  # stretch up to which drift within a symbol (-60 dB) need not be undone
NEAR_PHASE = 0.06  # radians at the capture's ends up to which one step is enough: it errs by half the cube, a tenth of sigma at 60 dB
_NEAR_START = 0.5  # samples within which the delay's Newton step starts on its peak
_MERGED = 16  # tones that are added before a look at the whole profile: lags up to N/32 are told apart
_SAME_NOISE = 4.0  # standard deviations by which noise may differ from what is expected
_MOST_SYMBOLS = 1200  # of one capture: rounding of single-precision sums stays below 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Followed:
    """cfo_hz and its variance at `centre_s`, seconds after the first sample; start: sample at which frame sample 0 arrives over the strongest
    path, in (0, length), and its variance (samples squared) at the centroid were it one path; gains: (channel, tone, antenna) least squares
    per element, or of the common symbols where the frame has one antenna, delay referred to `start` as it was when the capture was opened
    (`reference`); noise: (channel,) per tone in the capture's units squared; error: (channel, antenna) variance of each tone's gain.
    holds: whether all was near enough to what was expected; if not, acquire and refine."""

    cfo_hz: float
    variance: float
    start: float
    start_variance: float
    reference: float
    centre_s: float
    gains: NDArray[np.complex64]
    noise: NDArray[np.float64]
    error: NDArray[np.float64]
    holds: bool


@dataclass(frozen=True, slots=True, eq=False)
class _Pattern:
    """Which symbols of the frame a run holds: turn, label, (symbol,); centre: energy centroid in symbols of the run; inverse: (group, tone)
    1/E, 0 where nothing was sent; about: (group, tone) sum |X|^2 (t - its mean)^2 in symbols squared; of_noise: what noise of one adds to the
    sum of |gain|^2 x about; freedom: complex degrees of one channel's noise; error: (antenna,) mean variance of a tone's gain for noise of one."""

    turn: NDArray[np.int64]
    label: NDArray[np.int64]
    centre: float
    inverse: NDArray[np.float32]
    about: NDArray[np.float32]
    of_noise: float
    freedom: float
    error: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class _Sums:
    """Of one pass. moments: (channel, group, 6, tone); w: radians per symbol still to go, infinite where no maximum is near."""

    moments: NDArray[np.float32]
    noise: NDArray[np.float64]
    w: float
    centre_s: float


class Follower:
    """One frame, and tables of it that serve every capture. Holds no state of the link: threads may share one."""

    def __init__(self, frame: Frame, antennas: int = 1) -> None:
        """antennas: of a sounding frame's comb; 1 for frames whose symbols all share a channel."""
        self.frame, self.antennas = frame, antennas
        self._re, self._im = (np.ascontiguousarray(part, dtype=np.float32) for part in (frame.known.real, frame.known.imag))
        self._labels = np.unique(frame.groups, return_inverse=True)[1]
        self._first_comb = int(self._labels.max()) + 1 - antennas
        self._pattern = lru_cache(maxsize=64)(self._new_pattern)

    def __call__(self, capture: Capture, start: float, cfo_hz: float, *, dc: NDArray[np.complex64] | None = None,
                 noise: NDArray[np.float64] | None = None) -> Followed:  # fmt: skip
        """start, cfo_hz: as known from the last capture, moved to this one, good to half a sample and a quarter turn over the capture.
        dc: (channel,) to subtract before derotation; noise: (channel,) per tone that is expected.

        Raises HilError `capture-unusable` for samples that are not finite or all zero, and for a frame that needs drift within a symbol
        undone; `capture-short` for fewer than four symbols.
        """
        numerology, carrier_hz = self.frame.numerology, capture.carrier_hz
        rate, stretch = numerology.sample_rate_hz, cfo_hz / carrier_hz
        if abs(capture.sample_rate_hz - rate) > 1.0 or abs(stretch) > WIDEST:
            raise HilError("capture-unusable", "this capture cannot be followed", where=capture.device,
                           found=f"{capture.sample_rate_hz:.0f} samples/s, {1e6 * stretch:.2f} ppm",
                           allowed=f"{rate:.0f} samples/s, {1e6 * WIDEST:g} ppm", fix="use carrier.refine")  # fmt: skip
        samples = np.ascontiguousarray(capture.samples, dtype=np.complex64)
        index = ofdm.whole_symbols(numerology, samples.shape[-1], start, stretch)[:_MOST_SYMBOLS]
        if len(index) < 4:
            raise HilError("capture-short", "too few whole symbols for a carrier estimate", where=capture.device, found=str(len(index)),
                           allowed="4 or more", fix="capture at least two frames and one symbol")  # fmt: skip
        pattern = self._pattern(int(index[0]) % self.frame.layout.symbols, len(index))
        dc = np.zeros(len(samples), np.complex64) if dc is None else np.asarray(dc, np.complex64)
        for last in (False, False, True):
            fit = self._sums(samples, index, pattern, start, cfo_hz, carrier_hz, dc, capture.device)
            if last or abs(fit.w) * len(index) / 2 <= NEAR_PHASE or not np.isfinite(fit.w):
                return self._result(pattern, fit, cfo_hz, start, carrier_hz, noise)
            cfo, centre = cfo_hz + fit.w / (2.0 * np.pi * numerology.symbol_time_s), fit.centre_s * rate
            start = ((1.0 + cfo_hz / carrier_hz) * start + (cfo - cfo_hz) / carrier_hz * centre) / (1.0 + cfo / carrier_hz)
            cfo_hz = cfo
        raise AssertionError("the last pass returns")

    def _sums(self, samples, index, pattern: _Pattern, start: float, cfo_hz: float, carrier_hz: float, dc, device: str) -> _Sums:
        numerology = self.frame.numerology
        size, rate, stretch = numerology.fft, numerology.sample_rate_hz, cfo_hz / carrier_hz
        useful = index * numerology.symbol_samples + numerology.prefix
        first = np.round(start + useful / (1.0 + stretch)).astype(np.int64) - numerology.prefix // 2
        middle = first + (size - 1) / 2
        lag = useful - ((1.0 + stretch) * (middle - start) - (size - 1) / 2)
        spin = -2j * np.pi * cfo_hz / rate
        centre = float(np.interp(pattern.centre, np.arange(len(index)), middle)) / rate
        times = (middle / rate - centre) / numerology.symbol_time_s

        turned = np.empty((len(samples), len(index), size), np.complex64)
        sums.windows(samples, dc, first, np.exp(spin * np.arange(size)).astype(np.complex64), turned)
        spectrum = scipy.fft.fft(turned, axis=-1, overwrite_x=True)
        moments, total = np.zeros((len(samples), len(pattern.inverse), 6, numerology.used), np.float32), np.empty(len(samples))
        sums.matched(spectrum.view(np.float32), self._re, self._im, pattern.turn, pattern.label, times, lag,
                     np.exp(spin * first) / size, moments, total)  # fmt: skip
        if not (np.all(np.isfinite(total)) and np.all(total > 0.0)):
            raise HilError("capture-unusable", "this capture cannot be used", where=device, allowed="finite samples, a live signal",
                           found="samples that are not finite or all zero", fix="check cable, channel enable, gain and driver")  # fmt: skip
        J = np.empty((len(samples), 3))
        sums.slopes(moments, pattern.inverse, J)
        noise = np.maximum(total - J[:, 0], 1e-12 * total) / pattern.freedom
        slope, bend = float(np.sum(J[:, 1] / noise)), float(np.sum(J[:, 2] / noise))
        w = -slope / bend if bend < 0.0 else np.inf
        # What the step explains besides leaves the residue, to second order.
        noise -= (2.0 * w * J[:, 1] + w**2 * J[:, 2]) / pattern.freedom if np.isfinite(w) else 0.0
        return _Sums(moments, np.maximum(noise, 1e-12 * total / pattern.freedom), w, centre)

    def _result(self, pattern: _Pattern, fit: _Sums, cfo_hz: float, start: float, carrier_hz: float, expected) -> Followed:
        numerology, noise = self.frame.numerology, fit.noise
        rate, span = numerology.sample_rate_hz, 2.0 * np.pi * numerology.symbol_time_s
        near = abs(fit.w) * len(pattern.turn) / 2 <= NEAR_PHASE
        w = fit.w if near else 0.0
        cfo = cfo_hz + w / span
        combs, strength = np.empty((len(noise), *pattern.inverse.shape), np.complex64), np.empty(len(noise))
        sums.gains(fit.moments, pattern.inverse, pattern.about, np.float32(w), combs, strength)
        found = np.empty((len(noise), self.antennas, numerology.used), np.complex64)
        sums.elements(combs, self._first_comb, found)
        error = noise[:, None] * pattern.error
        # Fisher information, less what noise adds to |gain|^2
        information = 2.0 * span**2 * max(float(np.sum(strength / noise)) - len(noise) * pattern.of_noise, 0.0)
        unit = numerology.fft / (2.0 * np.pi)
        step, energy, met = sums.arrival(found, error, float(numerology.fft), _NEAR_START / unit)
        near &= met and information > 0.0 and _on_top(found, unit * step, numerology.fft)
        if expected is not None:
            near &= bool(np.all(np.abs(noise / expected - 1.0) < _SAME_NOISE / np.sqrt(pattern.freedom)))
        # The delay at the centroid is what was estimated; a new rate moves the frame's start, not that.
        old, new = cfo_hz / carrier_hz, cfo / carrier_hz
        moved = ((1.0 + old) * start + (new - old) * fit.centre_s * rate) / (1.0 + new) + (unit * step if met else 0.0)
        spread = unit**2 / max(2.0 * energy * float(np.mean(numerology.tones.astype(float) ** 2)), 1e-30)
        return Followed(cfo, 1.0 / max(information, 1e-30), moved % (self.frame.length / (1.0 + new)), spread, start, fit.centre_s,
                        np.moveaxis(found, 1, -1), noise, error, bool(near))  # fmt: skip

    def _new_pattern(self, first: int, count: int) -> _Pattern:
        turn = (first + np.arange(count)) % self.frame.layout.symbols
        label, power = self._labels[turn], np.square(np.abs(self.frame.known[turn]))
        t = np.arange(count) - np.sum(power.sum(1) * np.arange(count)) / power.sum()
        centre = float(-t[0])
        sent, mean, square = (np.zeros((int(self._labels.max()) + 1, power.shape[1])) for _ in range(3))
        for group in np.unique(label):
            mine = label == group
            sent[group], mean[group], square[group] = (np.tensordot(t[mine] ** i, power[mine], 1) for i in range(3))
        inverse = np.divide(1.0, sent, out=np.zeros_like(sent), where=sent > 0.0)
        freedom = max(float(np.count_nonzero(power) - np.count_nonzero(sent)), 1.0)
        within = useful_variance(self.frame.numerology) / self.frame.numerology.symbol_time_s**2
        about = square - mean**2 * inverse + sent * within
        combs, tone = inverse[self._first_comb :], np.arange(inverse.shape[1])
        error = np.array([combs[(antenna - tone) % self.antennas, tone].mean() for antenna in range(self.antennas)])
        return _Pattern(turn, label, centre, *(x.astype(np.float32) for x in (inverse, about)), float(np.sum(about * inverse)), freedom, error)


def _on_top(found: NDArray[np.complex64], late: float, size: int) -> bool:
    """Whether the profile of (channel, antenna, tone) is half as high `late` samples late as at its highest: no side lobe was climbed."""
    part = np.empty((*found.shape[:2], found.shape[2] // _MERGED), np.complex64)
    sums.merged(found, part)
    bins = 2 * part.shape[-1]
    tops = scipy.fft.ifft(part.reshape(-1, part.shape[-1]), bins, axis=-1)
    profile = np.einsum("ab,ab->b", tops, tops.conj()).real
    return bool(profile[round(late * bins * _MERGED / size) % bins] > 0.5 * profile.max())
