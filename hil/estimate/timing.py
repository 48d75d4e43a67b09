"""Delays: one path through an unknown gain, and the first of several paths in a channel estimate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from hil.device import Capture
from hil.estimate.bounds import useful_variance
from hil.estimate.carrier import Acquisition, Carrier, symbols_of
from hil.estimate.usable import assumptions_of
from hil.knowledge import Estimate
from hil.waveform.frame import Frame
from hil.waveform.numerology import Numerology

FLAG = 10.5  # flagged below ln(cells) + this: catches 99 % of outliers
FIRST_WITHIN_DB = 15.0  # the first path is the earliest within this of the strongest
FALSE_PATH = 0.01
UNRESOLVED = 0.3  # over the bandwidth: below this separation the order of paths is a guess


@dataclass(frozen=True, slots=True, eq=False)
class Arrival:
    """Carrier offset in Hz and delay of frame sample 0 in seconds after the capture's first sample, both in `joint` at the energy centroid
    `centre_s` (seconds after the first sample): there, and only there, their covariance (2, 2) is diagonal."""

    joint: Estimate
    centre_s: float


def one_path(capture: Capture, frame: Frame, coarse: Acquisition | Carrier, *, passes: int = 2) -> Arrival:
    """Joint maximum likelihood of (carrier offset in Hz, arrival in seconds) through one complex gain per receive channel.

    For cables and single paths with one transmit antenna: a second path biases it, and only the residual test tells. Flagged below
    threshold when the likelihood peak is not ln(cells) + 10.5 above the noise; "model misfit", and the covariance scaled, where one gain per
    tone explains more than 99.9 % of noise would let it.
    """
    numerology, rate = frame.numerology, frame.numerology.sample_rate_hz
    start, cfo, carrier_hz = float(coarse.start), float(coarse.cfo_hz), capture.carrier_hz
    for _ in range(passes):
        symbols = symbols_of(capture, numerology, Acquisition(start, cfo, 1.0, 0.0))
        known = frame.known[symbols.index % frame.layout.symbols]
        matched = symbols.values * np.conj(known)  # (channel, symbol, tone)
        power = np.square(np.abs(known))
        centre = float(np.sum(power.sum(1) * symbols.times) / power.sum())
        times = symbols.times - centre
        step = _flat_peak(numerology, matched, times, carrier_hz)
        delay = (1.0 + cfo / carrier_hz) * start / rate - cfo / carrier_hz * centre + step[1]
        cfo += step[0]
        start = (delay + cfo / carrier_hz * centre) * rate / (1.0 + cfo / carrier_hz)

    phase = _phase_rates(numerology, times, carrier_hz)
    turn = np.exp(-1j * (phase[0] * step[0] + phase[1] * step[1]))
    total = np.sum(matched * turn, axis=(1, 2))
    gain = total / power.sum()
    left = symbols.values * turn - gain[:, None, None] * known
    noise = np.sum(np.square(np.abs(left)), axis=(1, 2)) / (power.size - 1)
    snr = float(np.sum(np.maximum(np.square(np.abs(gain)) * power.sum() / noise - 1.0, 1e-9)))
    spread = float(np.sum(power.sum(1) * times**2) / power.sum()) + useful_variance(numerology)
    bandwidth = float(np.sum(power.sum(0) * numerology.frequencies_hz**2) / power.sum())
    bound = np.diag([1.0 / (2.0 * snr * (2.0 * np.pi) ** 2 * spread), 1.0 / (2.0 * snr * (2.0 * np.pi) ** 2 * bandwidth)])
    peak = float(np.sum(np.square(np.abs(total)) / (power.sum() * noise)))
    above = peak >= np.log(power.size) + FLAG
    flatness = _flatness(matched, turn, gain, power, noise)
    misfit = abs(flatness - 1.0) > 3.29 / np.sqrt(gain.size * (power.shape[1] - 1))
    joint = Estimate(
        what="carrier offset and arrival", of=f"device {frame.device} at {capture.device or 'receiver'}", value=np.array([cfo, delay]),
        covariance=bound * (max(flatness, 1.0) if misfit else 1.0), bound=bound, unit="Hz, s",
        epoch=None if capture.clock is None else capture.clock.after(centre),
        loss=capture.loss, above_threshold=bool(above), residual_test=flatness,
        assumptions=("one path", *assumptions_of(capture), *(("model misfit",) if misfit else ())),
    )  # fmt: skip
    return Arrival(joint, centre)


def _phase_rates(numerology: Numerology, times: NDArray, carrier_hz: float) -> NDArray[np.float64]:
    """(2, symbol, tone) derivative of the phase by carrier (drift included: the clock is the same oscillator) and by delay."""
    tones = numerology.frequencies_hz
    by_carrier = 2.0 * np.pi * times[:, None] * (1.0 + tones / carrier_hz)
    return np.stack([by_carrier, np.broadcast_to(-2.0 * np.pi * tones, by_carrier.shape)])


def _flat_peak(numerology: Numerology, matched: NDArray, times: NDArray, carrier_hz: float) -> NDArray[np.float64]:
    """(cfo, delay) at the maximum of sum over channels |sum Z exp(-j phase)|^2: zero-padded 2-D FFT, then clipped Newton, exact Hessian."""
    symbols = matched.shape[1]
    wide = np.zeros((matched.shape[0], symbols, numerology.used + 1), dtype=np.complex128)
    wide[..., numerology.tones + numerology.used // 2] = matched
    size = (scipy.fft.next_fast_len(2 * symbols), scipy.fft.next_fast_len(2 * wide.shape[-1]))
    surface = np.sum(np.square(np.abs(scipy.fft.ifft(scipy.fft.fft(wide, size[0], axis=1), size[1], axis=2))), axis=0)
    spacing = (times[-1] - times[0]) / max(symbols - 1, 1)
    carriers, delays = scipy.fft.fftfreq(size[0], spacing), scipy.fft.fftfreq(size[1], numerology.spacing_hz)
    surface[np.abs(carriers) > numerology.spacing_hz / 4.0] = 0.0
    row, column = np.unravel_index(int(np.argmax(surface)), surface.shape)
    point = np.array([carriers[row], delays[column]])
    cell = 0.25 * np.array([1.0 / (symbols * spacing), 1.0 / numerology.used_bandwidth_hz])
    rates = _phase_rates(numerology, times, carrier_hz)
    for _ in range(20):
        terms = matched * np.exp(-1j * np.tensordot(point, rates, 1))
        total = terms.sum((1, 2))
        first = np.stack([np.sum(-1j * rate * terms, axis=(1, 2)) for rate in rates])
        second = np.stack([[np.sum(-a * b * terms, axis=(1, 2)) for b in rates] for a in rates])
        slope = 2.0 * np.real(np.sum(first * np.conj(total), axis=-1))
        outer = 2.0 * np.real(np.einsum("ac,bc->ab", first, np.conj(first)))
        bend = outer + 2.0 * np.real(np.sum(second * np.conj(total), axis=-1))
        if np.linalg.eigvalsh(bend * np.outer(cell, cell))[-1] >= 0.0:  # not concave: the part that always is
            bend = -2.0 * np.diag(np.sum(np.square(np.abs(total))) * np.mean(np.square(rates), axis=(1, 2)))
        step = np.clip(-np.linalg.solve(bend, slope), -cell, cell)
        point = point + step
        if np.all(np.abs(step) < 1e-9 * cell):
            break
    return point


def _flatness(matched, turn, gain, power, noise) -> float:
    """What one gain per tone would explain beyond the one gain, over what noise puts there; far above 1 is multipath."""
    energy = power.sum(0)
    each = np.sum(matched * turn, axis=1) / energy
    beyond = np.sum(np.square(np.abs(each - gain[:, None])) * energy, axis=1) / noise
    return float(np.mean(beyond) / (power.shape[1] - 1))


@dataclass(frozen=True, slots=True, eq=False)
class Paths:
    """Discrete echoes of one channel. delays: (path,) seconds, rising; gains: (path,); covariance: (path, path) of the delays, bound of the
    fitted model; first: index of the first path; resolved: whether the neighbours of the first path are far enough to be told apart."""

    delays: NDArray[np.float64]
    gains: NDArray[np.complex128]
    covariance: NDArray[np.float64]
    first: int
    resolved: bool


def delay_bound(
    frequencies_hz: NDArray[np.float64], delays: NDArray[np.float64], gains: NDArray[np.complex128], variance: float
) -> NDArray[np.float64]:
    """(path, path) Cramer-Rao covariance of delays with all gains unknown, for errors of `variance` on each tone."""
    echoes = np.exp(-2j * np.pi * np.outer(frequencies_hz, delays))
    slopes = -2j * np.pi * frequencies_hz[:, None] * echoes * gains
    left = slopes - echoes @ np.linalg.lstsq(echoes, slopes, rcond=None)[0]
    return np.linalg.inv(2.0 / variance * np.real(left.conj().T @ left))


def resolve(
    channel: NDArray[np.complex128], frequencies_hz: NDArray[np.float64], variance: float, most: int = 6, false_path: float = FALSE_PATH
) -> Paths:
    """Newtonised orthogonal matching pursuit on one channel (tone,) whose tones carry errors of `variance`.

    Paths are added while the residual's delay spectrum stands above variance x (ln 2K - ln(-ln(1 - false_path))); after each, Gauss-Newton
    on all delays with the gains projected out.
    """
    tones = len(frequencies_hz)
    span = float(frequencies_hz[-1] - frequencies_hz[0])
    spacing = float(np.min(np.diff(frequencies_hz)))
    bins = np.round((frequencies_hz - frequencies_hz[0]) / spacing).astype(int)
    limit = variance * (np.log(2.0 * tones) - np.log(-np.log1p(-false_path)))
    delays = np.zeros(0)
    gains = np.zeros(0, dtype=np.complex128)
    residual = channel
    while len(delays) < most:
        series = np.zeros(4 * (bins[-1] + 1), dtype=np.complex128)
        series[bins] = residual
        spectrum = np.square(np.abs(scipy.fft.ifft(series) * len(series))) / tones
        at = int(np.argmax(spectrum))
        if spectrum[at] <= limit:
            break
        delay = at / (len(series) * spacing)
        delays = np.append(delays, delay - 1.0 / spacing if delay > 0.5 / spacing else delay)
        delays, gains, residual = _polish(channel, frequencies_hz, delays, 0.25 / span)
    if not len(delays):
        return Paths(delays, gains, np.zeros((0, 0)), -1, False)
    order = np.argsort(delays)
    delays, gains = delays[order], gains[order]
    covariance = delay_bound(frequencies_hz, delays, gains, variance)
    strong = np.abs(gains) >= np.max(np.abs(gains)) * 10.0 ** (-FIRST_WITHIN_DB / 20.0)
    first = int(np.argmax(strong))
    gaps = np.abs(np.delete(delays, first) - delays[first])
    return Paths(delays, gains, covariance, first, bool(np.all(gaps > UNRESOLVED / span)))


def _polish(channel, frequencies_hz, delays, cell):
    """Gauss-Newton on all delays, gains projected out; returns delays, gains and what is left."""
    for _ in range(30):
        echoes = np.exp(-2j * np.pi * np.outer(frequencies_hz, delays))
        gains = np.linalg.lstsq(echoes, channel, rcond=None)[0]
        left = channel - echoes @ gains
        slopes = -2j * np.pi * frequencies_hz[:, None] * echoes * gains
        free = slopes - echoes @ np.linalg.lstsq(echoes, slopes, rcond=None)[0]
        normal = np.real(free.conj().T @ free)
        step = np.linalg.lstsq(normal, np.real(free.conj().T @ left), rcond=None)[0]
        step = np.clip(step, -cell, cell)
        delays = delays + step
        if np.all(np.abs(step) < 1e-6 * cell):
            break
    echoes = np.exp(-2j * np.pi * np.outer(frequencies_hz, delays))
    gains = np.linalg.lstsq(echoes, channel, rcond=None)[0]
    return delays, gains, channel - echoes @ gains


def first_path(channel: NDArray[np.complex128], frequencies_hz: NDArray[np.float64], variance: float, of: str = "channel") -> Estimate:
    """Delay of the first path of one channel (tone,), seconds relative to the channel's reference, with the bound of *this* channel."""
    paths = resolve(channel, frequencies_hz, variance)
    if paths.first < 0:
        return Estimate("first-path delay", of, np.array([0.0]), np.array([[np.inf]]), "s", above_threshold=False,
                        assumptions=("no path found",))  # fmt: skip
    spread = paths.covariance[paths.first : paths.first + 1, paths.first : paths.first + 1]
    notes = ("discrete paths",) if paths.resolved else ("discrete paths", "first path unresolved")
    value = paths.delays[paths.first : paths.first + 1]
    return Estimate("first-path delay", of, value, spread, "s", bound=spread, above_threshold=paths.resolved, assumptions=notes)
