"""Carrier offset, and with it clock rate and arrival, of one device's frame in a capture.

Model: r(t) = g x((1 + delta) t - tau) exp(+j 2 pi cfo t), delta = cfo/carrier: one oscillator for both, so the delay at time t is
tau - delta t and a fast transmitter arrives ever earlier. The gain is unknown on every tone and for every group of symbols that share a
channel: the likelihood is the sum over tones of |sum over symbols of Y conj(X)|^2, whose bound is that of a known channel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.special import stdtrit

from hil.device import Capture
from hil.errors import HilError
from hil.estimate.acquisition import Acquisition, acquire
from hil.estimate.bounds import useful_variance
from hil.estimate.phasenoise import Wander, structure
from hil.estimate.usable import assumptions_of, samples_of
from hil.knowledge import Estimate
from hil.waveform import ofdm
from hil.waveform.frame import Frame
from hil.waveform.numerology import Numerology

__all__ = ["Acquisition", "Carrier", "Symbols", "acquire", "refine", "symbols_of"]

_COLOUR_SYMBOLS = 64  # symbols from which each tone's own noise is told well enough to weight it
_CLEAR_PHASE = 0.1  # rad^2 up to which a symbol's phase is one
INTERFERED = 10.0**0.9  # times the median from which a tone's residual is interference
MOST_EXCISED = 0.25  # of the tones; where more are hit, they are the signal's own
_LEAST_FREEDOM = 4.0  # of one tone's residual, from which it is judged
_LOBES = 8  # maxima of the likelihood that are climbed,
_FEW_SYMBOLS = 96  # up to which their products are cheaper than a transform of every tone
_NEAR_EQUAL = 0.5  # as far as this of the highest: the grid hides less than a fifth of a lobe
_FIRST_PASS = 128  # symbols after the frame's start that the first pass looks at
LEAST_SYMBOLS_SNR = 10.0**0.9  # symbols x SNR per tone from which the estimate is efficient (9 dB)
DISAGREES = 4.0  # standard deviations between clock and carrier from which they do not share a reference
PHASE_NOISE_FLOOR = 1.2  # var(cfo) of Wiener phase of rate s over T: 1.2 s/(T (2 pi)^2)


@dataclass(frozen=True, slots=True, eq=False)
class Carrier:
    """What the transmitter's oscillator does to this capture.

    cfo: hertz, (1,) with covariance (1, 1), f_transmitter - f_receiver; its errors are uncorrelated with those of phase and delay at
    `centre_s` only. start: sample at which the frame's sample 0 arrives, for the strongest path, in (0, length). noise: (channel,) residual
    per tone in the capture's units squared. snr: per tone, mean over what was used. phase_diffusion: rad^2/s of the phase's random walk;
    phase_bounded: rad^2 per symbol of phase noise that does not grow. excised: share of the tones left out for interference. clock: the offset
    that the drift of the symbols alone tells, hertz; fc/B_rms times worse, a test of the reference that both share and never averaged in.
    """

    cfo: Estimate
    start: float
    centre_s: float  # seconds from the capture's first sample to the energy centroid
    carrier_hz: float
    noise: NDArray[np.float64]
    snr: float
    symbols: int
    phase_diffusion: float = 0.0
    phase_bounded: float = 0.0
    excised: float = 0.0
    clock: Estimate | None = None

    @property
    def cfo_hz(self) -> float:
        return float(self.cfo.value[0])

    @property
    def stretch(self) -> float:
        """delta: how much faster the transmitter's clock runs."""
        return self.cfo_hz / self.carrier_hz

    @property
    def above_threshold(self) -> bool:
        return self.cfo.above_threshold

    def delay_at(self, seconds: float, rate: float) -> float:
        """Delay of frame sample 0 in seconds, `seconds` after the capture's first sample; falls for a fast transmitter."""
        return (1.0 + self.stretch) * self.start / rate - self.stretch * seconds


@dataclass(frozen=True, slots=True, eq=False)
class Symbols:
    """Tones of a capture with carrier, delay and drift undone.

    values: (channel, symbol, tone); index: (symbol,) counted from the frame's start, negative before it, on and on over turns of the
    buffer; times: (symbol,) seconds after the first sample.
    """

    values: NDArray[np.complex128]
    index: NDArray[np.int64]
    times: NDArray[np.float64]


def symbols_of(
    capture: Capture, numerology: Numerology, carrier: Carrier | Acquisition, which: NDArray[np.int64] | None = None
) -> Symbols:
    """Demodulate the symbols `which` (default: all that lie wholly in the capture) at a known carrier."""
    samples = samples_of(capture, numerology.symbol_samples, numerology.sample_rate_hz)
    return _demodulate(samples, numerology, carrier.start, carrier.cfo_hz, capture.carrier_hz, which)


def _demodulate(
    samples: NDArray, numerology: Numerology, start: float, cfo: float, carrier_hz: float, which: NDArray[np.int64] | None = None
) -> Symbols:
    stretch = cfo / carrier_hz
    index = ofdm.whole_symbols(numerology, samples.shape[-1], start, stretch) if which is None else which
    values, times = ofdm.demodulate(samples, numerology, start, index, cfo, stretch)
    return Symbols(values, index, times)


def refine(capture: Capture, frame: Frame, coarse: Acquisition | Carrier, *, noise: float | None = None, passes: int = 2,
           phase_diffusion: float = 0.0) -> Carrier:  # fmt: skip
    """Maximum likelihood over every whole symbol of the capture, the channel unknown on each tone.

    coarse: from `acquire` or an earlier capture's carrier with this capture's start. noise: power per tone in the capture's units squared
    where an idle capture told it; the residual is then tested against it. phase_diffusion: rad^2/s of the phase's walk known before, from
    longer captures or the oscillators' class: one short capture shows a walk only where it doubles the scatter of its symbols.
    Raises HilError `no-preamble` when `coarse` is below threshold
    and `capture-short` when fewer than four symbols are there.
    """
    numerology, rate = frame.numerology, frame.numerology.sample_rate_hz
    if isinstance(coarse, Acquisition) and not coarse.above_threshold:
        raise HilError("no-preamble", "this device's preamble is not in the capture", where=capture.device,
                       found=f"metric {coarse.metric:.4f}", allowed=f"above {coarse.threshold:.4f}",
                       fix="check that the device transmits and that carrier and rate agree")  # fmt: skip
    samples = samples_of(capture, 4 * numerology.symbol_samples, rate)
    start, cfo = float(coarse.start), float(coarse.cfo_hz)
    for last in (*[False] * (passes - 1), True):
        symbols = _demodulate(samples[:, : None if last else _FIRST_PASS * numerology.symbol_samples + int(start)], numerology, start, cfo,
                              capture.carrier_hz)  # fmt: skip
        if len(symbols.index) < 4:
            raise HilError("capture-short", "too few whole symbols for a carrier estimate", where=capture.device,
                           found=str(len(symbols.index)), allowed="4 or more",
                           fix="capture at least two frames and one symbol")  # fmt: skip
        fit, undone = _Fit.of(symbols, frame), cfo
        centre = fit.centre
        delay = (1.0 + cfo / capture.carrier_hz) * start / rate - cfo / capture.carrier_hz * centre
        cfo += fit.residual_cfo(numerology)
        if not last:
            delay += strongest_delay(numerology, _separate(frame, fit.gains))
        # The delay at the centroid is what was estimated; a new rate moves the frame's start, not that.
        start = (delay + cfo / capture.carrier_hz * centre) * rate / (1.0 + cfo / capture.carrier_hz)
    turn = frame.length / (1.0 + cfo / capture.carrier_hz)
    return _result(capture, frame, fit, cfo, start % turn, noise, undone, phase_diffusion)


def _result(capture: Capture, frame: Frame, fit: _Fit, cfo: float, start: float, noise: float | None, undone: float,
            least_diffusion: float) -> Carrier:  # fmt: skip
    """undone: the carrier whose drift the symbols no longer have."""
    bound = 1.0 / fit.information(frame.numerology)
    wander = fit.wander(frame.numerology.fft / frame.numerology.sample_rate_hz)
    span = float(fit.times[-1] - fit.times[0])
    # A rate from few symbols is itself uncertain: the Gaussian interval is widened to Student's, half a degree of freedom a symbol.
    student = float(stdtrit(max(len(fit.times) / 2.0, 2.0), 0.975) / 1.96) ** 2
    floor = PHASE_NOISE_FLOOR * max(student * wander.diffusion, least_diffusion) / (max(span, 1e-9) * (2.0 * np.pi) ** 2)
    floor += wander.bounded / ((2.0 * np.pi) ** 2 * max(float(np.sum(np.square(fit.times - fit.times.mean()))), 1e-18))
    ratio = None if noise is None else float(np.mean(fit.noise) / noise)
    spread = 3.29 / np.sqrt(fit.freedom * len(fit.noise))
    misfit = ratio is not None and abs(ratio - 1.0) > spread
    covariance = bound + floor
    if ratio is not None and misfit and ratio > 1.0:
        covariance *= ratio
    notes = ("channel unknown on each tone", *assumptions_of(capture))
    notes += ("phase noise",) * (floor > 0.0) + ("model misfit",) * bool(misfit)
    notes += (f"interference: {fit.excised:.0%} of the tones left out",) * (fit.excised > 0.0)
    drift, drift_variance = fit.drift(frame.numerology)
    by_clock, clock_variance = undone + capture.carrier_hz * drift, capture.carrier_hz**2 * drift_variance
    disagrees = (by_clock - cfo) ** 2 > DISAGREES**2 * (clock_variance + covariance)
    notes += ("clock and carrier disagree",) * bool(disagrees)
    estimate = Estimate(
        what="carrier offset", of=f"device {frame.device} at {capture.device or 'receiver'}", value=np.array([cfo]), unit="Hz",
        covariance=np.array([[covariance]]), bound=np.array([[bound]]),
        epoch=None if capture.clock is None else capture.clock.after(fit.centre),
        above_threshold=bool(fit.snr * len(fit.times) / fit.groups_used >= LEAST_SYMBOLS_SNR), loss=capture.loss, assumptions=notes,
        residual_test=ratio,
    )  # fmt: skip
    clock = Estimate(
        what="carrier offset by the clock", of=estimate.of, value=np.array([by_clock]), unit="Hz", covariance=np.array([[clock_variance]]),
        bound=np.array([[clock_variance]]), epoch=estimate.epoch, above_threshold=estimate.above_threshold, loss=capture.loss,
        assumptions=("channel unknown on each tone", "phase common to all tones free"),
    )  # fmt: skip
    return Carrier(estimate, start, fit.centre, capture.carrier_hz, fit.noise, fit.snr, len(fit.times),
                   wander.diffusion, wander.bounded, fit.excised, clock)  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Fit:
    """One least-squares gain per (group, channel, tone) and what is left."""

    matched: NDArray[np.complex128]  # (channel, symbol, tone) Y conj(X)
    power: NDArray[np.float64]  # (symbol, tone) |X|^2
    label: NDArray[np.int64]  # (symbol,) group
    times: NDArray[np.float64]
    gains: dict[int, NDArray[np.complex128]]  # group -> (channel, tone)
    energy: dict[int, NDArray[np.float64]]  # group -> (tone,)
    noise: NDArray[np.float64]  # (channel,) per tone, mean over the tones
    colour: NDArray[np.float64]  # (channel, tone) noise of each tone where enough symbols tell it, else the mean
    freedom: float  # complex degrees of freedom of one channel's noise
    snr: float
    centre: float
    excised: float = 0.0

    @property
    def groups_used(self) -> int:
        return len(self.gains)

    @classmethod
    def of(cls, symbols: Symbols, frame: Frame, clear: NDArray[np.bool_] | None = None) -> _Fit:
        """clear: (tone,) those to use; None: all that interference does not stand out of."""
        turn = symbols.index % frame.layout.symbols
        known, label = frame.known[turn], frame.groups[turn]
        if clear is not None:
            known = np.where(clear, known, 0.0)
        matched = symbols.values * np.conj(known)
        power = np.square(known.real) + np.square(known.imag)
        gains, energy = {}, {}
        size = np.square(symbols.values.real, dtype=np.float64) + np.square(symbols.values.imag, dtype=np.float64)
        total = np.einsum("rmk,mk->rk", size, (power > 0.0).astype(float))
        explained, parameters = np.zeros(total.shape), 0
        for group in np.unique(label):
            mine = label == group
            energy[group] = power[mine].sum(0)
            gains[group] = matched[:, mine].sum(1) / np.maximum(energy[group], 1e-300)
            explained += np.abs(gains[group]) ** 2 * energy[group]
            parameters += int(np.count_nonzero(energy[group]))
        freedom = max(float(np.count_nonzero(power) - parameters), 1.0)
        left = np.maximum(total - explained, 1e-12 * total)
        tones = known.shape[1] if clear is None else int(np.count_nonzero(clear))
        each = freedom / tones
        if clear is None and each >= _LEAST_FREEDOM:
            clear = np.all(left <= INTERFERED * np.median(left, axis=-1, keepdims=True), axis=0)
            if 0 < np.count_nonzero(~clear) <= MOST_EXCISED * len(clear):
                return cls.of(symbols, frame, clear)
        noise = left.sum(-1) / freedom
        colour = np.where(left > 0.0, left / each, noise[:, None]) if each >= _COLOUR_SYMBOLS else np.repeat(noise[:, None], known.shape[1], axis=1)
        received = np.maximum(explained.sum(-1) / noise - parameters, 0.0)  # energy over noise of each channel
        weight = power.sum(1)
        snr = float(received.sum() / (np.count_nonzero(power) * len(noise)))
        centre = float(np.sum(weight * symbols.times) / weight.sum())
        return cls(matched, power, label, symbols.times, gains, energy, noise, colour, freedom, snr, centre,
                   1.0 - tones / known.shape[1])  # fmt: skip

    def residual_cfo(self, numerology: Numerology) -> float:
        """The maximum of sum |sum Z exp(-j 2 pi f t_m)|^2 in hertz: FFT over the symbols, then Newton on the exact trigonometric sum."""
        spacing = (self.times[-1] - self.times[0]) / (len(self.times) - 1)
        lags = np.zeros(len(self.times), dtype=np.complex128)
        for group, energy in self.energy.items():
            mine = np.flatnonzero(self.label == group)
            weight = (energy > 0.0) / np.sqrt(np.maximum(energy, 1e-300) * self.colour)  # (channel, tone)
            rows = (self.matched[:, mine] * weight[:, None]).astype(np.complex64)
            lags += _self_correlation(np.moveaxis(rows, 1, 0).reshape(len(mine), -1), mine, len(lags))
        length = scipy.fft.next_fast_len(2 * len(lags))
        spectrum = 2.0 * scipy.fft.fft(lags, length).real - lags[0].real  # of lags on both sides
        steps = scipy.fft.fftfreq(length, spacing)
        inside = np.abs(steps) <= min(numerology.spacing_hz / 4.0, 0.5 / spacing)
        peaks = inside & (spectrum >= np.roll(spectrum, 1)) & (spectrum >= np.roll(spectrum, -1))
        # A comb of many antennas repeats seldom and has near-equal lobes, between which the grid is too coarse to choose: climb them all.
        peaks &= spectrum > _NEAR_EQUAL * spectrum[inside].max()
        first = np.flatnonzero(peaks)[np.argsort(spectrum[peaks])[::-1][:_LOBES]]
        phase, cell = 2.0 * np.pi * spacing * np.arange(1, len(lags)), 0.125 / (spacing * len(self.times))
        tops = [_climb(lags[1:], phase, float(step), cell) for step in (steps[first] if len(first) else [0.0])]
        return max(tops, key=lambda top: float(np.sum((lags[1:] * np.exp(-1j * phase * top)).real)))

    def information(self, numerology: Numerology) -> float:
        """Fisher information of the carrier, 1/Hz^2: 2 (2 pi)^2 sum |H|^2/s2 sum |X|^2 (t - mean t)^2, gains projected out."""
        total = 0.0
        for group, energy in self.energy.items():
            mine = self.label == group
            power, times = self.power[mine], self.times[mine] - self.centre
            used = energy > 0.0
            mean = times @ power / np.maximum(energy, 1e-300)
            spread = (times**2) @ power - energy * mean**2 + energy * useful_variance(numerology)
            gain = np.abs(self.gains[group]) ** 2 - self.colour / np.maximum(energy, 1e-300)
            total += max(float(np.sum((gain / self.colour)[:, used] * spread[used])), 0.0)
        return max(2.0 * (2.0 * np.pi) ** 2 * total, 1e-30)

    def drift(self, numerology: Numerology) -> tuple[float, float]:
        """How much faster than undone the symbols arrive, and its variance: one step of least squares on the phase 2 pi f t of each tone, the
        gain of each (group, channel, tone) and a frequency common to all tones projected out."""
        fisher, score, f = np.zeros((2, 2)), np.zeros(2), 2.0 * np.pi * numerology.frequencies_hz
        for group, energy in self.energy.items():
            mine = self.label == group
            times = self.times[mine] - self.centre
            late = times[:, None] - times @ self.power[mine] / np.maximum(energy, 1e-300)  # (symbol, tone)
            strength = np.sum(np.square(np.abs(self.gains[group])) / self.colour, axis=0)
            turn = np.einsum("rmk,rk->mk", self.matched[:, mine], np.conj(self.gains[group]) / self.colour).imag
            slopes, bends = np.sum(turn * late, axis=0), strength * np.sum(self.power[mine] * late**2, axis=0)
            for i, first in enumerate((2.0 * np.pi, f)):
                score[i] += 2.0 * np.sum(first * slopes)
                fisher[i] += [2.0 * np.sum(first * second * bends) for second in (2.0 * np.pi, f)]
        if fisher[1, 1] <= 0.0 or np.linalg.det(fisher / np.sqrt(np.outer(np.diag(fisher), np.diag(fisher)))) < 1e-9:
            return 0.0, np.inf
        inverse = np.linalg.inv(fisher)
        return float((inverse @ score)[1]), float(inverse[1, 1])

    def wander(self, useful_s: float) -> Wander:
        """What each symbol's phase, a mean over `useful_s`, does against its group's gains."""
        phases, variance = np.zeros(len(self.times)), np.full(len(self.times), np.inf)
        for group, gains in self.gains.items():
            mine = self.label == group
            level = self.colour[:, None]
            turn = np.sum(self.matched[:, mine] * np.conj(gains)[:, None] / level, axis=(0, 2))
            size = np.einsum("mk,rk->m", self.power[mine], np.square(np.abs(gains)) / self.colour)
            phases[mine], variance[mine] = np.angle(turn), 0.5 / np.maximum(size, 1e-300)
        clear = variance < _CLEAR_PHASE
        return structure(self.times[clear], phases[clear], variance[clear], self.label[clear], useful_s)


def _self_correlation(rows: NDArray[np.complex64], places: NDArray[np.int64], count: int) -> NDArray[np.complex128]:
    """(lag,) sum over columns of rows[i] conj(rows[j]) with places[i] - places[j] = 0..count - 1; rows: (symbol, column) at rising places."""
    if len(rows) > _FEW_SYMBOLS:
        series = np.zeros((rows.shape[1], count), dtype=np.complex64)
        series[:, places] = rows.T
        transform = scipy.fft.fft(series, scipy.fft.next_fast_len(2 * count), axis=-1)
        power = np.sum(np.square(transform.real) + np.square(transform.imag), axis=0, dtype=np.float64)
        return scipy.fft.ifft(power)[:count]
    products = (rows @ rows.conj().T).ravel()
    lag = (places[:, None] - places).ravel()
    kept = lag >= 0
    return np.bincount(lag[kept], products.real[kept], count) + 1j * np.bincount(lag[kept], products.imag[kept], count)


def _climb(lags: NDArray[np.complex128], phase: NDArray[np.float64], frequency: float, cell: float) -> float:
    """Newton on J(f) = 2 Re sum lags[d] exp(-j phase[d] f), steps clipped to `cell`, gradient steps where J is not concave."""
    for _ in range(20):
        terms = lags * np.exp(-1j * phase * frequency)
        slope, bend = 2.0 * np.sum(phase * terms.imag), -2.0 * np.sum(phase**2 * terms.real)
        step = -slope / bend if bend < 0.0 else np.copysign(cell, slope)
        step = float(np.clip(step, -cell, cell))
        frequency += step
        if abs(step) < 1e-9 * cell:
            break
    return frequency


def _separate(frame: Frame, gains: dict[int, NDArray[np.complex128]]) -> NDArray[np.complex128]:
    """(profile, tone) gains that have one delay profile each, zero elsewhere.

    Pilot groups mix antennas from tone to tone, so they are sorted by antenna; a precoder may turn each block by its own phase, so blocks
    are kept apart.
    """
    if not frame.coherent_blocks:
        block = frame.numerology.block_of_tone
        mask = block == np.arange(frame.numerology.blocks)[:, None]
        return (gains[0][:, None] * mask).reshape(-1, block.size)
    combs = sorted(group for group in gains if group > 0)
    if not combs:
        return gains[0]
    stack = np.stack([gains[group] for group in combs])  # (comb, channel, tone)
    tone = np.arange(stack.shape[-1])
    antennas = [stack[(antenna - tone) % len(combs), :, tone].T for antenna in range(len(combs))]
    return np.concatenate(antennas)


def strongest_delay(numerology: Numerology, gains: NDArray[np.complex128]) -> float:
    """Seconds by which the strongest echo lies after the windows' reference; gains: (..., tone), added without phases."""
    length = 8 * numerology.fft
    spectrum = np.zeros((*gains.shape[:-1], length), dtype=np.complex64)
    spectrum[..., numerology.tones % length] = gains
    profile = np.abs(scipy.fft.ifft(spectrum, axis=-1)) ** 2
    power = profile.reshape(-1, length).sum(0)
    at = int(np.argmax(power))
    before, here, after = power[at - 1], power[at], power[(at + 1) % length]
    bend = before - 2.0 * here + after
    lag = at + (0.5 * (before - after) / bend if bend < 0.0 else 0.0)
    return float((lag - length if lag > length / 2 else lag) / length / numerology.spacing_hz)
