"""Per-element channels from a sounding capture: y = H @ x on every tone, with what is not known about them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hil.device import Capture
from hil.errors import HilError
from hil.estimate.carrier import Carrier, Symbols, strongest_delay, symbols_of
from hil.estimate.comb import Comb
from hil.estimate.usable import assumptions_of, refuse_clipped
from hil.estimate.window import EARLIEST, LATEST, DelayFilter, delay_filter, no_filter
from hil.knowledge import Estimate
from hil.waveform import ofdm
from hil.waveform.numerology import Numerology
from hil.waveform.sounding import SoundingFrame


@dataclass(frozen=True, slots=True, eq=False)
class ToneChannel:
    """Channels of every (receive channel, antenna) pair, delays referred to the strongest echo so that a block's mean is coherent.

    response.value: (channel, tone, antenna) transfer coefficients; response.covariance and .bound: (channel, block, antenna, antenna)
    complex covariance of the error that a block has in common (of its mean over the block's tones). variance: (channel, tone, antenna) of
    each tone's error. noise.value: (channel,) watts per tone (or capture units squared when no scale was given), from the residual.
    delay_s: seconds after the capture's first sample at which the delay reference of frame sample 0 arrives, for the clocks as they stand
    at centre_s; value x exp(-j 2 pi f (delay_s - d)) refers it to delay d. filter: what was done along the tones.
    """

    response: Estimate
    variance: NDArray[np.float64]
    noise: Estimate
    delay_s: float
    centre_s: float
    filter: DelayFilter
    frames: int

    @property
    def value(self) -> NDArray[np.complex128]:
        return self.response.value


def estimate(
    capture: Capture, frame: SoundingFrame, carrier: Carrier, *, scale: ArrayLike = 1.0,
    window_s: tuple[float, float] | None = (EARLIEST, LATEST), prior: bool = False, track_phase: bool = True,
) -> ToneChannel:  # fmt: skip
    """Least squares on the rotating comb over all whole frames, the common phase of every pilot symbol tracked, delays windowed.

    scale: sqrt(W) at the port per unit of the capture, one or (channel,) (`waveform.amplitude.receive_scale`). window_s: delays kept about
    the strongest echo; None keeps all. prior: shrink by a uniform delay prior too (its covariance is then that of the prior, not a bound).
    Without `track_phase` the carrier's error is propagated instead: |H|^2 (2 pi sigma_cfo (t - t_c))^2, common to all elements.
    Raises HilError for a clipped or short capture.
    """
    refuse_clipped(capture)
    numerology, antennas = frame.numerology, frame.antennas
    symbols, frames = _pilots(capture, frame, carrier)
    number = symbols.index % frame.layout.symbols
    scale = np.broadcast_to(np.asarray(scale, dtype=np.float64), (symbols.values.shape[0],))
    comb = Comb(symbols.values * scale[:, None, None], frame.known[number], number - frame.pilots[0], antennas)

    gains = comb.gains()
    reference = strongest_delay(numerology, np.moveaxis(gains, 1, -1))
    turn = np.exp(2j * np.pi * numerology.frequencies_hz * reference)[:, None]
    if track_phase:
        comb = comb.turned(comb.phases(_smooth(numerology, gains * turn, window_s or (EARLIEST, LATEST)) * np.conj(turn)))
        gains = comb.gains()
    noise, freedom = comb.noise(gains)
    gains = gains * turn
    pilot_power = np.square(np.abs(frame.reference[frame.pilots, 0])).max(0)  # (antenna,) |X|^2 where it sends, alike on every tone
    if comb.visits == 1:
        noise, freedom = _noise_outside(numerology, gains, pilot_power, window_s)
    raw = noise[:, None] / (pilot_power * comb.visits)  # (channel, antenna) error variance of a tone before filtering
    signal = max(float(np.mean(np.square(np.abs(gains))) - raw.mean()), 1e-300)
    sieve = no_filter(numerology) if window_s is None else delay_filter(numerology, float(raw.mean()) / signal, window_s, prior)
    value = _along_tones(sieve, gains)

    ratio = None if prior or window_s is None else _outside(gains, value, raw, sieve)
    outside = (numerology.used - sieve.rank) * raw.size  # complex degrees of freedom
    misfit = ratio is not None and abs(ratio - 1.0) > 3.29 / np.sqrt(outside)
    swell = max(ratio, 1.0) if ratio is not None and misfit else 1.0
    bound = sieve.block_spread(numerology)[None, :, None, None] * raw[:, None, :, None] * np.eye(antennas, dtype=np.complex128)
    rotation = _tracking(numerology, value, comb, noise) if track_phase else _drift(numerology, value, comb, symbols.times, carrier)
    turning = np.real(np.einsum("rbnn->rbn", rotation))[:, numerology.block_of_tone]
    variance = sieve.spread()[None, :, None] * raw[:, None, :] * swell + turning

    centre = float(symbols.times.mean())
    of = f"device {frame.device} at {capture.device or 'receiver'}"
    epoch = None if capture.clock is None else capture.clock.after(centre)
    notes = ("y = H @ x", "white noise", *assumptions_of(capture), *(("model misfit",) if misfit else ()))
    response = Estimate(
        what="tone channel", of=of, value=value, covariance=bound * swell + rotation, unit="1", bound=bound, epoch=epoch,
        above_threshold=signal > raw.mean() and carrier.above_threshold, loss=capture.loss, assumptions=notes, residual_test=ratio,
    )  # fmt: skip
    spread = np.diag(noise**2 / freedom)
    told = Estimate(what="noise per tone", of=of, value=noise, covariance=spread, unit="W", bound=spread, epoch=epoch, loss=capture.loss,
                    assumptions=("from the pilots' residual",))  # fmt: skip
    delay = carrier.delay_at(centre, numerology.sample_rate_hz) + reference
    return ToneChannel(response, variance, told, delay, centre, sieve, frames)


def _pilots(capture: Capture, frame: SoundingFrame, carrier: Carrier) -> tuple[Symbols, int]:
    """The pilot symbols of as many turns of the buffer as the capture holds whole, starting with any symbol."""
    numerology, symbols = frame.numerology, frame.layout.symbols
    inside = ofdm.whole_symbols(numerology, capture.samples.shape[-1], carrier.start, carrier.stretch)
    frames = len(inside) // symbols
    if frames < 1:
        raise HilError("capture-short", "no whole frame in the capture", where=capture.device, found=f"{len(inside)} whole symbols",
                       allowed=f"{symbols} or more", fix="capture at least two frames and one symbol")  # fmt: skip
    inside = inside[: frames * symbols]
    return symbols_of(capture, numerology, carrier, inside[np.isin(inside % symbols, frame.pilots)]), frames


def _along_tones(sieve: DelayFilter, gains: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """(channel, tone, antenna) filtered along the tones."""
    return np.moveaxis(sieve(np.moveaxis(gains, 1, -1)), -1, 1)


def _smooth(numerology: Numerology, gains: NDArray[np.complex128], window_s: tuple[float, float]) -> NDArray[np.complex128]:
    """A first estimate for the phases, before the noise is known: energy outside the window says how much to keep inside."""
    sieve = delay_filter(numerology, 1e-2, window_s)
    total, kept = np.mean(np.square(np.abs(gains))), np.mean(np.square(np.abs(_along_tones(sieve, gains))))
    noise = max(float(total - kept), 1e-9 * total) * numerology.used / (numerology.used - sieve.rank)
    return _along_tones(delay_filter(numerology, noise / max(float(total - noise), 1e-3 * total), window_s), gains)


def _noise_outside(
    numerology: Numerology, gains: NDArray[np.complex128], pilot_power: NDArray[np.float64], window_s: tuple[float, float] | None
) -> tuple[NDArray[np.float64], float]:
    """(channel,) noise per tone from delays outside the window, for a capture that hears every antenna once only; degrees of freedom."""
    sieve = delay_filter(numerology, 1e-3, window_s or (EARLIEST, LATEST))
    freedom = float((numerology.used - sieve.rank) * gains.shape[-1])
    outside = np.square(np.abs(gains - _along_tones(sieve, gains))) * pilot_power
    return np.sum(outside, axis=(1, 2)) / freedom, freedom


def _outside(gains: NDArray[np.complex128], value: NDArray[np.complex128], raw: NDArray[np.float64], sieve: DelayFilter) -> float:
    """Energy outside the window over what noise puts there; far above 1 the window does not hold the echoes."""
    tones = gains.shape[1] - sieve.rank
    return float(np.mean(np.sum(np.square(np.abs(gains - value)), axis=1) / (raw * tones)))


def _tracking(numerology: Numerology, value: NDArray[np.complex128], comb: Comb, noise: NDArray[np.float64]) -> NDArray[np.complex128]:
    """(channel, block, antenna, antenna) covariance from errors of the symbols' phases, averaged over the symbols of the capture."""
    energy = np.sum(np.square(np.abs(comb.expected(value))) / noise[:, None, None], axis=(0, 2))
    variance = float(np.sum(0.5 / np.maximum(energy, 1e-300))) / len(energy) ** 2
    mean = numerology.block_mean(value, axis=1)
    return variance * mean[..., :, None] * np.conj(mean[..., None, :])


def _drift(
    numerology: Numerology, value: NDArray[np.complex128], comb: Comb, times: NDArray[np.float64], carrier: Carrier
) -> NDArray[np.complex128]:
    """(channel, block, antenna, antenna) covariance from the carrier's error times how long after its epoch an antenna was heard."""
    late = np.array([times[comb.number % comb.antennas == turn].mean() for turn in range(comb.antennas)]) - carrier.centre_s
    tone, antenna = np.arange(numerology.used)[:, None], np.arange(comb.antennas)
    slide = numerology.block_mean(value * late[(antenna - tone) % comb.antennas], axis=1)
    return float(carrier.cfo.covariance[0, 0]) * (2.0 * np.pi) ** 2 * slide[..., :, None] * np.conj(slide[..., None, :])
