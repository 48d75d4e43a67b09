"""How good a link is: SINR per block of tones, error vector, bit errors and rate of a measuring capture, all data-aided.

Every symbol on the air is known. Each tone gets one complex gain over the payload symbols and loses its degree of freedom; each symbol gets
one common phase over all tones, half a degree of freedom in K, which is given back. What is left is noise, interference, distortion and
nothing that a receiver could have equalised with one gain per tone. Decision-directed values flatter and never leave this module.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv, ndtri

from hil.device import Capture
from hil.errors import HilError
from hil.estimate.carrier import Carrier, symbols_of
from hil.estimate.usable import assumptions_of, refuse_clipped
from hil.knowledge import Estimate
from hil.waveform import modulation, ofdm
from hil.waveform.frame import SymbolKind, payload_ranks
from hil.waveform.measuring import MeasuringFrame

DECIBEL = 10.0 / np.log(10.0)


@dataclass(frozen=True, slots=True)
class Count:
    """Errors counted among `of`, with the exact (Clopper-Pearson) 95 % interval of their rate."""

    errors: int
    of: int
    interval: tuple[float, float]

    @property
    def rate(self) -> float:
        return self.errors / self.of


@dataclass(frozen=True, slots=True, eq=False)
class Quality:
    """One stream at one receive channel.

    sinr.value: (block,) ratios, mean signal over mean interference and noise of the block's tones; sinr.covariance (block, block).
    sinr_db, std_db: (block,); errors are Gaussian on the decibel scale. signal, noise: (tone,) watts (or capture units squared). evm: rms
    error over rms symbol, equalised per tone, common phase per symbol tracked, no other retraining. gains: (tone,) complex, of the whole
    chain from stream to receiver. equalised: (payload symbol, tone) for constellations.
    """

    sinr: Estimate
    sinr_db: NDArray[np.float64]
    std_db: NDArray[np.float64]
    signal: NDArray[np.float64]
    noise: NDArray[np.float64]
    gains: NDArray[np.complex128]
    evm: float
    bit_errors: Count
    symbol_errors: Count
    rate: float  # bit/s/Hz, mean over blocks of log2(1 + SINR)
    rate_interval: tuple[float, float]  # 95 %
    equalised: NDArray[np.complex128]
    symbols: int

    def lower_limits_db(self, confidence: float = 0.99, among: int | None = None) -> NDArray[np.float64]:
        """(block,) limits that all `among` SINRs (default: these blocks) exceed together with `confidence` (one-sided, Bonferroni)."""
        return lower_limits_db(self.sinr_db, self.std_db, confidence, among or self.sinr_db.size)


def sinr(power: ArrayLike, residual: ArrayLike, count: float, freedom: ArrayLike | None = None) -> NDArray[np.float64]:
    """Unbiased SINR of known symbols through an unknown gain.

    power: |g|^2 mean|x|^2; residual: s2 = residual energy/freedom; count: n symbols the gain was fitted over; freedom: complex degrees of
    freedom of s2, n - 1 for one tone: (n-2)/(n-1) |g|^2 mean|x|^2/s2 - 1/n.
    """
    freedom = np.asarray(count - 1 if freedom is None else freedom, dtype=np.float64)
    return (freedom - 1.0) / freedom * np.asarray(power) / np.asarray(residual) - 1.0 / count


def relative_std(sinr: ArrayLike, count: float) -> NDArray[np.float64]:
    """Relative standard deviation of `sinr` from n known symbols of one tone: sqrt(2/(n SINR) + 1/(n - 1))."""
    return np.sqrt(2.0 / (count * np.maximum(np.asarray(sinr), 1e-12)) + 1.0 / (count - 1))


def lower_limits_db(sinr_db: ArrayLike, std_db: ArrayLike, confidence: float, among: int) -> NDArray[np.float64]:
    """Limits that `among` SINRs, dependent or not, all exceed with `confidence`: each one-sided at 1 - (1 - confidence)/among."""
    return np.asarray(sinr_db) - ndtri(1.0 - (1.0 - confidence) / among) * np.asarray(std_db)


def clopper_pearson(errors: int, of: int, confidence: float = 0.95) -> tuple[float, float]:
    """Exact interval of a rate from `errors` among `of`; without any errors one-sided, upper limit 3.0/n at 95 %."""
    tail = (1.0 - confidence) / (2.0 if 0 < errors < of else 1.0)
    low = 0.0 if errors == 0 else float(betaincinv(errors, of - errors + 1, tail))
    high = 1.0 if errors == of else float(betaincinv(errors + 1, of - errors, 1.0 - tail))
    return low, high


def measure(capture: Capture, frame: MeasuringFrame, carrier: Carrier, *, scale: float = 1.0, channel: int = 0,
            stream: int = 0, turns: int = 1) -> Quality:  # fmt: skip
    """Quality of `stream` of `frame` at one receive channel, over the payload of `turns` of the buffer (fewer if the capture is shorter).

    carrier: refined on this capture. scale: sqrt(W) at the port per unit of the capture. Another turn averages noise, not the interference
    that it repeats, so the standard deviations count the symbols of one only; and what moves in the room during it counts as noise, because
    a tone has one gain. Raises HilError for a clipped capture or one with
    fewer than 16 payload symbols.
    """
    refuse_clipped(capture)
    numerology = frame.numerology
    inside = ofdm.whole_symbols(numerology, capture.samples.shape[-1], carrier.start, carrier.stretch)
    inside = inside[: turns * frame.symbols]
    which = inside[frame.layout.kinds[inside % frame.symbols] == SymbolKind.PAYLOAD]
    if len(which) < 16:
        raise HilError("capture-short", "too few payload symbols to measure quality", where=capture.device, found=str(len(which)),
                       allowed="16 or more", fix="capture at least one whole frame")  # fmt: skip
    received = symbols_of(capture, numerology, carrier, which).values[channel] * scale
    sent = frame.reference[which % frame.symbols, :, stream]
    gains, turned = _equalise(received, sent)

    count = len(which)
    energy = np.mean(np.square(np.abs(sent)), axis=0)
    freedom = (count - 1.0) * (1.0 - 0.5 / numerology.used * count / (count - 1.0))
    noise = np.sum(np.square(np.abs(turned - gains * sent)), axis=0) / freedom
    signal = np.maximum(np.square(np.abs(gains)) * energy - noise / count, 1e-300)

    distinct = min(count, frame.payload_symbols)
    blocks = np.bincount(numerology.block_of_tone)
    power, left = numerology.block_mean(np.square(np.abs(gains)) * energy), numerology.block_mean(noise)
    ratio = np.maximum(sinr(power, left, count, blocks * freedom), 1e-6)
    unevenness = numerology.block_mean(noise**2) / left**2 / blocks
    beat = numerology.block_mean(np.square(np.abs(gains)) * energy * noise) / (power * left) / blocks
    relative = np.sqrt(2.0 * beat / (distinct * ratio) + unevenness / (distinct - 1.0))
    notes = ("data-aided", "one gain per tone", "common phase per symbol", *assumptions_of(capture))
    estimate = Estimate(
        what="SINR per block", of=f"device {frame.device} stream {stream} at {capture.device or 'receiver'}", value=ratio, unit="1",
        covariance=np.diag((ratio * relative) ** 2), epoch=None if capture.clock is None else capture.clock.after(carrier.centre_s),
        above_threshold=carrier.above_threshold, loss=capture.loss, assumptions=notes,
    )  # fmt: skip
    equalised = turned / np.where(np.abs(gains) > 0.0, gains, 1.0)
    bits, words = _errors(equalised, frame, which, stream)
    evm = float(np.sqrt(np.sum(np.square(np.abs(equalised - sent))) / np.sum(np.square(np.abs(sent)))))
    each = np.log2(1.0 + ratio)
    slope = ratio / (1.0 + ratio) / np.log(2.0)
    half = 1.96 * float(np.sqrt(np.sum((slope * relative) ** 2))) / len(ratio)
    rate = float(each.mean())
    return Quality(estimate, 10.0 * np.log10(ratio), DECIBEL * relative, signal, noise, gains, evm, bits, words, rate,
                   (rate - half, rate + half), equalised, count)  # fmt: skip


def _equalise(received: NDArray[np.complex128], sent: NDArray[np.complex128]) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
    """One gain per tone and received symbols with the common phase of each taken out; both from a weighted second pass.

    received, sent: (symbol, tone). Tones count by their signal over noise, so that a tone full of interference does not turn the others.
    """
    energy = np.sum(np.square(np.abs(sent)), axis=0)
    gains = np.sum(received * np.conj(sent), axis=0) / energy
    turned, weight = received, np.ones(len(energy))
    for _ in range(2):
        turn = np.sum(received * np.conj(gains * sent) * weight, axis=1)
        phase = np.angle(turn)
        turned = received * np.exp(-1j * phase)[:, None]
        gains = np.sum(turned * np.conj(sent), axis=0) / energy
        left = np.mean(np.square(np.abs(turned - gains * sent)), axis=0)
        weight = np.mean(left) / np.maximum(left, 1e-6 * np.mean(left))
    return gains, turned


def _errors(equalised: NDArray[np.complex128], frame: MeasuringFrame, which: NDArray[np.int64], stream: int) -> tuple[Count, Count]:
    data = payload_ranks(frame.numerology)
    sent = frame.bits(stream)[np.searchsorted(frame.payload, which % frame.symbols)]
    got = modulation.bits_of(equalised[:, data], frame.modulation)
    bits, words = modulation.errors(sent, got)
    return (Count(bits, sent.size, clopper_pearson(bits, sent.size)),
            Count(words, sent.size // sent.shape[-1], clopper_pearson(words, sent.size // sent.shape[-1])))  # fmt: skip
