"""Per-element channels from a sounding capture: y = H @ x on every tone, with what is not known about them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hil.device import Capture
from hil.errors import HilError
from hil.estimate.carrier import Carrier, Symbols, strongest_delay, symbols_of
from hil.estimate.usable import assumptions_of, refuse_clipped
from hil.estimate.window import EARLIEST, LATEST, DelayFilter, delay_filter, no_filter
from hil.knowledge import Estimate
from hil.waveform import ofdm
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
    pilot = symbols.index % frame.layout.symbols - frame.pilots[0]
    scale = np.broadcast_to(np.asarray(scale, dtype=np.float64), (symbols.values.shape[0],))
    known = frame.known[symbols.index % frame.layout.symbols]
    received = symbols.values * scale[:, None, None]
    ratio = received / known

    phase = np.zeros(len(pilot))
    gains = _sort(ratio, pilot, antennas)
    reference = strongest_delay(numerology, np.moveaxis(gains, 1, -1))
    turn = np.exp(2j * np.pi * numerology.frequencies_hz * reference)
    if track_phase:
        window = window_s or (EARLIEST, LATEST)
        smooth = _filtered(gains, turn, delay_filter(numerology, _level(gains, window, numerology, turn), window))
        phase = _phases(received, known, smooth * np.conj(turn)[:, None], pilot, antennas)
        gains = _sort(ratio * np.exp(-1j * phase)[:, None], pilot, antennas)

    visits = len(pilot) // antennas
    noise, freedom = _noise(received * np.exp(-1j * phase)[:, None], known, gains, pilot, antennas)
    if visits == 1:
        noise, freedom = _noise_outside(gains * turn[:, None], known, frame, window_s, noise)
    element = np.square(np.abs(frame.reference[frame.pilots])).max(0)[0]  # (antenna,) |X|^2 of its pilots, the same on every tone
    raw = noise[:, None] / (element * visits)  # (channel, antenna) variance per tone before filtering
    signal = np.maximum(np.mean(np.square(np.abs(gains)), axis=(0, 1, 2)) - raw.mean(), 1e-300)
    sieve = _filter(numerology, float(raw.mean() / signal), window_s, prior)
    value = _filtered(gains, turn, sieve)
    misfit, ratio_test = _misfit(gains * turn[:, None], value, raw, sieve, prior or window_s is None)

    bound = sieve.block_spread(numerology)[None, :, None, None] * raw[:, None, :, None] * np.eye(antennas)
    rotation = _rotation(value, numerology, symbols, carrier, received, noise, known, pilot, antennas, track_phase)
    swell = ratio_test if misfit and ratio_test > 1.0 else 1.0
    covariance = bound * swell + rotation
    turning = np.real(np.einsum("rbnn->rbn", rotation))[:, numerology.block_of_tone]
    variance = sieve.spread()[None, :, None] * raw[:, None, :] * swell + turning
    snr = float(signal / raw.mean())
    centre = float(symbols.times.mean())
    of = f"device {frame.device} at {capture.device or 'receiver'}"
    notes = ("y = H @ x", "white noise", *assumptions_of(capture), *(("model misfit",) if misfit else ()))
    common = dict(of=of, epoch=None if capture.clock is None else capture.clock.after(centre), loss=capture.loss)
    response = Estimate(what="tone channel", value=value, covariance=covariance, bound=bound.astype(complex), unit="1",
                        above_threshold=snr > 1.0 and carrier.above_threshold, assumptions=notes, residual_test=ratio_test, **common)  # fmt: skip
    spread = np.diag(noise**2 / freedom)
    told = Estimate(what="noise per tone", value=noise, covariance=spread, bound=spread, unit="W",
                    assumptions=("from the pilots' residual",), **common)  # fmt: skip
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


def _sort(ratio: NDArray[np.complex128], pilot: NDArray[np.int64], antennas: int) -> NDArray[np.complex128]:
    """(channel, tone, antenna) means over visits of Y/X (channel, pilot symbol, tone)."""
    comb = np.stack([ratio[:, pilot % antennas == turn].mean(1) for turn in range(antennas)])  # (turn, channel, tone)
    tone = np.arange(ratio.shape[-1])
    return np.stack([comb[(antenna - tone) % antennas, :, tone].T for antenna in range(antennas)], axis=-1)


def _spoken(gains: NDArray[np.complex128], pilot: NDArray[np.int64], antennas: int) -> NDArray[np.complex128]:
    """(channel, pilot symbol, tone) the channel of the antenna that sends there; the inverse of `_sort`."""
    tone = np.arange(gains.shape[1])
    combs = np.stack([gains[:, tone, (tone + turn) % antennas] for turn in range(antennas)], axis=1)
    return combs[:, pilot % antennas]


def _phases(
    received: NDArray[np.complex128], known: NDArray[np.complex128], gains: NDArray[np.complex128], pilot: NDArray[np.int64], antennas: int
) -> NDArray[np.float64]:
    """(pilot symbol,) common phase of each symbol against a first estimate that is smooth over tones, mean zero."""
    turn = np.sum(received * np.conj(known * _spoken(gains, pilot, antennas)), axis=(0, 2))
    mean = np.sum(turn) / max(abs(np.sum(turn)), 1e-300)
    phase = np.angle(turn * np.conj(mean))
    return phase - phase.mean()


def _noise(
    received: NDArray[np.complex128], known: NDArray[np.complex128], gains: NDArray[np.complex128], pilot: NDArray[np.int64], antennas: int
) -> tuple[NDArray[np.float64], float]:
    """(channel,) noise per tone from what the visits of one antenna do not agree on, and its complex degrees of freedom."""
    left = received - known * _spoken(gains, pilot, antennas)
    freedom = received.shape[2] * (len(pilot) - antennas) - 0.5 * len(pilot) / received.shape[0]
    return np.sum(np.square(np.abs(left)), axis=(1, 2)) / max(freedom, 1.0), max(freedom, 1.0)


def _noise_outside(gains, known, frame, window_s, fallback):
    """(channel,) noise per tone from delays outside the window, for a capture that shows every antenna once only."""
    if window_s is None:
        return fallback, 1.0
    sieve = delay_filter(frame.numerology, 1e-3, window_s)
    outside = gains - _filtered(gains, np.ones(frame.numerology.used), sieve)
    freedom = (frame.numerology.used - sieve.rank) * frame.antennas
    element = np.square(np.abs(frame.reference[frame.pilots])).max(0)[0]
    return np.sum(np.square(np.abs(outside)) * element, axis=(1, 2)) / freedom, float(freedom)


def _filter(numerology, noise_over_signal, window_s, prior):
    return no_filter(numerology) if window_s is None else delay_filter(numerology, noise_over_signal, window_s, prior)


def _filtered(gains: NDArray[np.complex128], turn: NDArray, sieve: DelayFilter) -> NDArray[np.complex128]:
    """(channel, tone, antenna) referred by `turn` and filtered along the tones."""
    return np.moveaxis(sieve(np.moveaxis(gains * turn[:, None], 1, -1)), -1, 1)


def _level(gains, window_s, numerology, turn) -> float:
    """A first guess of noise over signal per tone, from the energy outside the window."""
    sieve = delay_filter(numerology, 1e-2, window_s)
    inside = _filtered(gains, turn, sieve)
    total, kept = np.mean(np.square(np.abs(gains))), np.mean(np.square(np.abs(inside)))
    noise = max(total - kept, 1e-9 * total) * numerology.used / (numerology.used - sieve.rank)
    return float(noise / max(total - noise, 1e-3 * total))


def _misfit(gains, value, raw, sieve, skip: bool) -> tuple[bool, float | None]:
    """Energy outside the window over what noise puts there; outside 99.9 % of its spread the window does not hold the echoes."""
    if skip:
        return False, None
    tones = gains.shape[1] - sieve.rank
    outside = np.sum(np.square(np.abs(gains - value)), axis=1) / (raw * tones)
    ratio = float(np.mean(outside))
    return abs(ratio - 1.0) > 3.29 / np.sqrt(tones * raw.size), ratio


def _rotation(value, numerology, symbols, carrier, received, noise, known, pilot, antennas, tracked) -> NDArray[np.complex128]:
    """(channel, block, antenna, antenna) covariance of what phases do, correlated over the elements.

    Tracked: variance of each symbol's phase; the gains of one comb share it, the antennas of a block average over all combs. Not tracked:
    the carrier's error times the time from the epoch at which each antenna was heard.
    """
    mean = numerology.block_mean(value, axis=1)
    if tracked:
        heard = np.sum(np.square(np.abs(known * _spoken(value, pilot, antennas))) / noise[:, None, None], axis=(0, 2))
        variance = np.sum(0.5 / np.maximum(heard, 1e-300)) / len(pilot) ** 2
        return variance * mean[..., :, None] * np.conj(mean[..., None, :])
    late = np.array([symbols.times[pilot % antennas == turn].mean() for turn in range(antennas)]) - carrier.centre_s
    tone = np.arange(numerology.used)
    when = np.stack([late[(antenna - tone) % antennas] for antenna in range(antennas)], axis=-1)  # (tone, antenna)
    slide = numerology.block_mean(value * when, axis=1)
    return float(carrier.cfo.covariance[0, 0]) * (2.0 * np.pi) ** 2 * slide[..., :, None] * np.conj(slide[..., None, :])
