"""Samples that a driver lost or repeated, found from the frame itself.

Every symbol is known, so its coherence with what was sent, through the channel that the other symbols show, is known beforehand. Where it
falls below half of that the lag may have jumped: the samples behind are then looked for in the whole turn of the frame. A cyclic frame
hides a loss of exactly whole turns.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from hil.device import Capture, Loss
from hil.errors import HilError
from hil.estimate.acquisition import Acquisition, acquire
from hil.estimate.carrier import strongest_delay
from hil.estimate.usable import samples_of
from hil.waveform import ofdm
from hil.waveform.frame import Frame

LEAST_SYMBOLS = 4  # of a clean run that is worth estimating from
_SURE = 60.0  # energy over noise at which a stretch of symbols is looked for
_STANDS = 10.5  # above ln(lags) a match in noise is one in 40 000
_NEAR = 16  # symbols about the anchor, besides pilots, from which channel and carrier are taken
_ALIKE = 0.8  # of the best match: another that may be the right one
_TAP = 6.0  # times the noise from which an echo is kept


@dataclass(frozen=True, slots=True)
class Jump:
    """count: samples missing (negative: repeated) at `sample` of the capture, in symbol `symbol` of the frame, counted from its start.
    count is None where nothing of the frame is found behind."""

    sample: int
    symbol: int
    count: int | None

    def __str__(self) -> str:
        what = "frame lost" if self.count is None else f"{abs(self.count)} samples {'lost' if self.count > 0 else 'repeated'}"
        return f"{what} at sample {self.sample}, symbol {self.symbol}"


@dataclass(frozen=True, slots=True, eq=False)
class Clean:
    """The longest stretch of a capture without a jump. capture: that stretch, with its own clock, first sample and `loss`; acquisition:
    where the frame lies in it; jumps: of the whole capture; begin: sample of the capture where the stretch begins."""

    capture: Capture
    acquisition: Acquisition
    jumps: tuple[Jump, ...]
    begin: int
    followed: bool = True  # False: too weak for losses to be seen

    @property
    def loss(self) -> Loss:
        return self.capture.loss

    @property
    def assumptions(self) -> tuple[str, ...]:
        return tuple(str(jump) for jump in self.jumps) if self.followed else ("losses would not be seen",)


def clean(capture: Capture, frame: Frame, acquisition: Acquisition) -> Clean:
    """The capture itself when no symbol is out of step, else its longest clean run, with what was lost and where.

    Raises HilError `samples-lost` when the run has fewer than four symbols, `no-preamble` when `acquisition` is below threshold.
    """
    if not acquisition.above_threshold:
        raise HilError("no-preamble", "samples cannot be missed from a frame that was not found", where=capture.device,
                       found=f"metric {acquisition.metric:.4f}", allowed=f"above {acquisition.threshold:.4f}",
                       fix="check that the device transmits and that carrier and rate agree")  # fmt: skip
    numerology = frame.numerology
    samples = samples_of(capture, 4 * numerology.symbol_samples, numerology.sample_rate_hz)
    track = _Track.of(samples, frame, acquisition, capture.carrier_hz)
    if not track.holds and samples.shape[-1] >= frame.length + 2 * numerology.fft:
        # A jump in the preamble itself: acquisition met half of it. The last turn has another.
        begin = samples.shape[-1] - frame.length - 2 * numerology.fft
        again = acquire(replace(capture, samples=capture.samples[:, begin:]), frame)
        track = _Track.of(samples, frame, replace(again, start=again.start + begin), capture.carrier_hz) if again.above_threshold else track
    if not track.holds:
        if acquisition.metric * numerology.used < _SURE:
            return Clean(capture, acquisition, (), 0, followed=False)
        raise _refused(capture, 2, "nothing that fits on either side of the preamble")
    late, early = track.follow(+1), track.follow(-1)
    if not late and not early:
        return Clean(capture, acquisition, (), 0)
    pieces = [*early[::-1], _Piece(0, 0), *late]
    # a piece begins (or, before the anchor, ends) at its jump
    edges = [0, *(piece.at for piece in early[::-1]), *(piece.at for piece in late), capture.samples.shape[-1]]
    lags = [piece.lag for piece in pieces]
    jumps = tuple(
        Jump(edge, track.symbol_at(edge, first if first is not None else second), None if first is None or second is None else second - first)
        for edge, first, second in zip(edges[1:-1], lags, lags[1:])
    )
    spans = [(end - begin) * (lag is not None) for begin, end, lag in zip(edges, edges[1:], lags)]
    longest = int(np.argmax(spans))
    begin, end, lag = edges[longest], edges[longest + 1], lags[longest] or 0
    symbols = len(ofdm.whole_symbols(numerology, end - begin, track.start - lag - begin, track.stretch))
    if symbols < LEAST_SYMBOLS:
        raise _refused(capture, symbols, ", ".join(map(str, jumps)))
    turn = frame.length / (1.0 + track.stretch)
    rest = replace(
        capture, samples=capture.samples[:, begin:end], loss=Loss.SOME,
        first_sample=None if begin else capture.first_sample,
        clock=None if capture.clock is None else capture.clock.after(begin / numerology.sample_rate_hz),
    )  # fmt: skip
    found = replace(acquisition, start=(track.start - lag - begin) % turn, cfo_hz=track.cfo_hz)
    return Clean(rest, found, jumps, begin)


def _refused(capture: Capture, symbols: int, jumps: str) -> HilError:
    return HilError("samples-lost", "too little of the capture is in one piece", where=capture.device, found=f"{symbols} clean symbols; {jumps}",
                    allowed=f"{LEAST_SYMBOLS} or more", fix="capture again; lower the sample rate or close what else uses the link")  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Piece:
    """From a jump on, away from the anchor: at, sample of the jump; lag, samples by which the frame arrives early; None: not found."""

    at: int
    lag: int | None


@dataclass(frozen=True, slots=True, eq=False)
class _Demodulated:
    """Every symbol of a capture, from `first` on, at one place (start, carrier)."""

    place: tuple[float, float]
    first: int
    values: NDArray[np.complex128]  # (channel, symbol, tone)


@dataclass(eq=False)
class _Track:
    """A frame followed through a capture from one preamble. response: group -> (channel, tone) channel over noise-free gain."""

    samples: NDArray
    frame: Frame
    start: float
    cfo_hz: float
    stretch: float
    anchor: int  # symbol from which the frame is followed both ways
    response: dict[int, NDArray[np.complex128]]
    expected: float  # coherence
    holds: bool = False  # whether enough symbols about the anchor fit it
    _spectrum: NDArray[np.complex64] | None = None
    _demodulated: _Demodulated | None = None

    @classmethod
    def of(cls, samples: NDArray, frame: Frame, acquisition: Acquisition, carrier_hz: float) -> _Track:
        start, cfo = float(acquisition.start), float(acquisition.cfo_hz)
        track = cls(samples, frame, start, cfo, cfo / carrier_hz, 1, {}, 0.0)
        index = ofdm.whole_symbols(frame.numerology, samples.shape[-1], start, track.stretch)
        turn = index % frame.layout.symbols
        seconds = index[turn == 1]
        if not len(seconds):
            return track
        # The preamble that acquisition met: in the first turn, or cut at the capture's beginning.
        best = -1.0
        for second in seconds[np.argsort(np.abs(seconds - 1))][:2]:
            pair = index[(index == second) | (index == second - 1)]
            gains, _ = track._gains(pair, 0)
            response = {0: _smooth(frame, gains)}
            share = float(np.mean(track._coherence(pair, 0, response)[0]))
            if share > 1.2 * best:  # the acquired one unless it was cut
                best, track.anchor, track.response, track.expected = share, int(second), response, share
        # Once more with all symbols about the anchor that agree, and with their carrier.
        near = index[np.abs(index - track.anchor) <= _NEAR + track.alike]
        share, turns = track._coherence(near, 0)
        known = np.isfinite(share)
        good = np.zeros(len(near), dtype=bool)
        good[known] = _about(share[known], min(track.pool, 3)) > 0.5 * track.expected
        good &= _joined(good | ~known, int(np.flatnonzero(near == track.anchor)[0]))
        track.holds = np.count_nonzero(good) >= LEAST_SYMBOLS
        if not track.holds:
            return track
        follow = good[1:] & good[:-1]
        spin = np.sum(turns[1:][follow] * np.conj(turns[:-1][follow]))
        track.cfo_hz += float(np.angle(spin)) / (2.0 * np.pi * frame.numerology.symbol_time_s) if follow.any() else 0.0
        track.stretch = track.cfo_hz / carrier_hz
        # The start was the anchor's; a new rate turns about it.
        track.start = start + (track.anchor * frame.numerology.symbol_samples) * (1.0 / (1.0 + cfo / carrier_hz) - 1.0 / (1.0 + track.stretch))
        for group in np.unique(frame.groups):
            mine = near[(near >= near[good][0]) & (near <= near[good][-1])]  # pilots with the same lag on either side
            gains, count = track._gains(mine, int(group))
            if count:
                track.response[int(group)] = _smooth(frame, gains) if group == 0 else gains
        track.expected = float(np.median(track._coherence(near[good], 0)[0]))
        return track

    def _demodulate(self, index: NDArray[np.int64], lag: int = 0) -> NDArray[np.complex128]:
        """(channel, symbol, tone). At the anchor's lag every symbol is transformed once and kept, until the carrier is known better."""
        numerology, place = self.frame.numerology, (self.start, self.cfo_hz)
        if lag or not len(index):
            values = ofdm.demodulate(self.samples, numerology, self.start - lag, index, self.cfo_hz, self.stretch)[0]
            return values.astype(np.complex128)
        kept = self._demodulated
        if kept is None or kept.place != place or not kept.first <= index.min() <= index.max() < kept.first + kept.values.shape[1]:
            whole = ofdm.whole_symbols(numerology, self.samples.shape[-1], self.start, self.stretch)
            every = np.arange(min(whole[0], index.min()), max(whole[-1], index.max()) + 1)  # a symbol at the edge may have been whole before
            values = ofdm.demodulate(self.samples, numerology, self.start, every, self.cfo_hz, self.stretch)[0]
            self._demodulated = kept = _Demodulated(place, int(every[0]), values.astype(np.complex128))
        return kept.values[:, index - kept.first]

    def _known(self, index: NDArray[np.int64], group: int) -> NDArray[np.complex128]:
        turn = index % self.frame.layout.symbols
        return np.where((self.frame.groups[turn] == group)[:, None], self.frame.known[turn], 0.0)

    def _gains(self, index: NDArray[np.int64], group: int) -> tuple[NDArray[np.complex128], int]:
        """(channel, tone) gain of the symbols of one group, turned into phase with each other, and how many there were."""
        turn = index % self.frame.layout.symbols
        index = index[self.frame.groups[turn] == group]
        if not len(index):
            return np.zeros((len(self.samples), self.frame.numerology.used), dtype=np.complex128), 0
        known = self._known(index, group)
        matched = self._demodulate(index) * np.conj(known)
        reference = self.response.get(group, matched[:, 0])
        phase = np.angle(np.sum(matched * np.conj(reference)[:, None], axis=(0, 2)))
        energy = np.maximum(np.sum(np.square(np.abs(known)), axis=0), 1e-300)
        return np.sum(matched * np.exp(-1j * phase)[:, None], axis=1) / energy, len(index)

    def _coherence(
        self, index: NDArray[np.int64], lag: int, response: dict[int, NDArray[np.complex128]] | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.complex128]]:
        """(symbol,) |sum Y conj(H X)|^2/(sum |Y|^2 sum |H X|^2), NaN where the channel of a symbol's group is not known; and the sums."""
        response = self.response if response is None else response
        values, groups = self._demodulate(index, lag), self.frame.groups[index % self.frame.layout.symbols]
        share, turns = np.full(len(index), np.nan), np.zeros(len(index), dtype=np.complex128)
        energy = np.sum(np.square(np.abs(values)), axis=(0, 2))
        for group in np.unique(groups):
            if int(group) not in response:
                continue
            mine = groups == group
            expected = response[int(group)][:, None] * self._known(index[mine], int(group))
            turns[mine] = np.sum(values[:, mine] * np.conj(expected), axis=(0, 2))
            size = np.sum(np.square(np.abs(expected)), axis=(0, 2))
            share[mine] = np.square(np.abs(turns[mine])) / np.maximum(energy[mine] * size, 1e-300)
        return share, turns

    @property
    def alike(self) -> int:
        """Symbols of a frame that repeat each other; a lag is told from longer stretches only."""
        return 3 + self.frame.layout.pilots

    @property
    def pool(self) -> int:
        """Symbols that tell a lag for sure."""
        each = self.frame.numerology.used * len(self.samples) * self.expected / max(1.0 - self.expected, 1e-3)
        return int(np.clip(np.ceil(_SURE / each), 1, 12))

    def symbol_at(self, sample: int, lag: int | None) -> int:
        place = (1.0 + self.stretch) * (sample - self.start + (lag or 0)) / self.frame.numerology.symbol_samples
        return int(np.floor(place)) % self.frame.layout.symbols

    def follow(self, way: int) -> list[_Piece]:
        """Jumps met on the way from the anchor to the capture's end (+1) or beginning (-1), in this order."""
        pieces: list[_Piece] = []
        lag, begin = 0, self.anchor
        while True:
            index = ofdm.whole_symbols(self.frame.numerology, self.samples.shape[-1], self.start - lag, self.stretch)
            index = index[index >= begin] if way > 0 else index[index <= begin][::-1]
            share, _ = self._coherence(index, lag)
            known = np.flatnonzero(np.isfinite(share))
            bad = known[_pooled(share[known], min(self.pool, 4)) < 0.5 * self.expected]
            last = pieces
            found, beyond = None, -1
            for first in bad:
                if first < beyond:
                    continue
                found = self._search(int(index[first]), lag, way)
                if found == lag:  # something else disturbed this symbol
                    beyond = first + self.alike + self.pool
                    continue
                good = known[known < first]
                reached = int(index[good[-1]]) if len(good) else begin
                pieces = [*pieces, _Piece(self._edge(reached, int(index[first]), lag, found, way), found)]
                break
            if pieces is last or found is None:
                return pieces
            # go on from the first symbol that lies wholly beyond the jump
            place = (1.0 + self.stretch) * (pieces[-1].at - self.start + found) / self.frame.numerology.symbol_samples
            lag, begin = found, int(np.ceil(place) + 1 if way > 0 else np.floor(place) - 2)

    def _chunk(self, symbol: int, lag: int, way: int, skip: int, length: int) -> tuple[int, int]:
        """Samples (begin, end) of `length` symbols that lie `skip` symbols beyond `symbol`."""
        step = self.frame.numerology.symbol_samples
        edge = self.start - lag + (symbol + (way > 0)) * step / (1.0 + self.stretch) + way * skip * step
        begin, end = (edge, edge + length * step) if way > 0 else (edge - length * step, edge)
        return max(int(np.ceil(begin)), 0), min(int(end), self.samples.shape[-1])

    def _search(self, symbol: int, lag: int, way: int) -> int | None:
        """The lag at which the frame goes on behind a symbol that does not fit: `lag` itself where nothing better is found behind it."""
        step, nothing = self.frame.numerology.symbol_samples, True
        for skip in (0, 1, 3, 7):
            begin, end = self._chunk(symbol, lag, way, skip, self.alike + max(self.pool, 2))
            if end - begin < step:
                return lag if skip == 0 or not nothing else None
            found, clear = self._match(begin, end, lag)
            if clear:
                return found
            nothing = nothing and found != lag
        return None if nothing else lag

    def _match(self, begin: int, end: int, lag: int) -> tuple[int, bool]:
        """(lag, whether it stands out) of samples begin..end against a whole turn of the frame."""
        length = self.frame.length
        n = np.arange(begin, end)
        part = self.samples[:, begin:end] * np.exp(-2j * np.pi * self.cfo_hz / self.frame.numerology.sample_rate_hz * n)
        padded = np.zeros((len(part), length), dtype=np.complex64)
        padded[:, : part.shape[-1]] = part[:, :length]
        here = (1.0 + self.stretch) * (begin - self.start + lag)  # sample of the frame with which the part should begin
        whole = round(here)
        match = scipy.fft.ifft(np.sum(scipy.fft.fft(padded) * np.conj(scipy.fft.fft(self._wave(here - whole))), axis=0))
        power = np.square(np.abs(match))[(-whole - np.arange(length)) % length]  # [count]: the part begins `count` later in the frame
        clear = float(power.mean()) * (np.log(length) + _STANDS)
        if power[0] > 0.5 * power.max():
            return lag, bool(power[0] > clear)
        counts = np.flatnonzero(power > _ALIKE * power.max())  # symbols that are alike: the smallest jump
        counts = np.where(counts > length // 2, counts - length, counts)
        return lag + int(counts[np.argmin(np.abs(counts))]), bool(power.max() > clear)

    def _wave(self, fraction: float) -> NDArray[np.complex64]:
        """(channel, sample) one turn of the frame through the channels known, begun `fraction` of a sample late in it."""
        if self._spectrum is None:
            index = np.arange(self.frame.layout.symbols)
            tones = sum(gain[:, None] * self._known(index, group) for group, gain in self.response.items())
            self._spectrum = scipy.fft.fft(ofdm.modulate(self.frame.numerology, np.asarray(tones)).astype(np.complex64))
        turn = np.exp(2j * np.pi * fraction * scipy.fft.fftfreq(self.frame.length)).astype(np.complex64)
        return scipy.fft.ifft(self._spectrum * turn)

    def _edge(self, good: int, bad: int, lag: int, found: int | None, way: int) -> int:
        """The sample between the last good symbol and those behind the bad one at which the residual changes from one lag to the other."""
        near, end = self._chunk(good, lag, way, -1, 1)
        if found is None:
            return end if way > 0 else near
        far = self._chunk(bad, lag, way, self.pool, self.alike + self.pool)
        low, high = (near, max(far[1], end)) if way > 0 else (min(far[0], near), end)
        n = np.arange(low, high)
        part = self.samples[:, low:high] * np.exp(-2j * np.pi * self.cfo_hz / self.frame.numerology.sample_rate_hz * n)
        place = (1.0 + self.stretch) * (n - self.start)
        whole = np.floor(place[0]).astype(np.int64) + np.arange(len(n))
        wave = self._wave(float(np.mean(place - whole)))
        sides = []
        for shift, (begin, until) in ((lag, (near, end)), (found, far)):
            expected = wave[:, (whole + shift) % self.frame.length]
            inside = slice(max(begin - low, 0), max(until - low, 1))
            gain = np.sum(part[:, inside] * expected[:, inside].conj()) / max(np.sum(np.square(np.abs(expected[:, inside]))), 1e-300)
            sides.append(np.sum(np.square(np.abs(part - gain * expected)), axis=0))
        before, after = (sides[0], sides[1]) if way > 0 else (sides[1], sides[0])
        cost = np.concatenate([[0.0], np.cumsum(before - after, dtype=np.float64)])
        return low + int(np.argmin(cost))


def _pooled(share: NDArray[np.float64], pool: int) -> NDArray[np.float64]:
    """Mean over each symbol and those behind it."""
    padded = np.concatenate([share, np.repeat(share[-1:], pool - 1)])
    return np.convolve(padded, np.ones(pool) / pool, mode="valid") if len(share) else share


def _about(share: NDArray[np.float64], pool: int) -> NDArray[np.float64]:
    """Mean over each symbol and, where one symbol alone is not sure, its neighbours."""
    if pool == 1:
        return share
    padded = np.concatenate([share[:1], share, share[-1:]])
    return (padded[:-2] + padded[1:-1] + padded[2:]) / 3.0


def _joined(good: NDArray[np.bool_], at: int) -> NDArray[np.bool_]:
    """The unbroken stretch of `good` about one place."""
    bad = np.flatnonzero(~good)
    low, high = bad[bad < at].max(initial=-1), bad[bad > at].min(initial=len(good))
    place = np.arange(len(good))
    return (place > low) & (place < high)


def _smooth(frame: Frame, gains: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """(channel, tone) less noise: the echoes that stand out, or one gain per block where a precoder turns the blocks."""
    numerology, block = frame.numerology, frame.numerology.block_of_tone
    alone = gains if frame.coherent_blocks else (gains[:, None] * (block == np.arange(numerology.blocks)[:, None])).reshape(-1, block.size)
    turn = np.exp(2j * np.pi * numerology.frequencies_hz * strongest_delay(numerology, alone))
    if not frame.coherent_blocks:
        return numerology.block_mean(gains * turn)[:, block] * np.conj(turn)
    spectrum = np.zeros((len(gains), numerology.fft), dtype=np.complex128)
    spectrum[:, numerology.bins] = gains * turn
    taps = np.fft.ifft(spectrum, axis=-1)
    power = np.square(np.abs(taps))
    # half of all taps at least hold noise and the empty band's leakage only; an exponential's median is ln 2 of its mean
    noise = np.median(power, axis=-1, keepdims=True) / np.log(2.0)
    kept = (power > _TAP * noise) | (power == power.max(-1, keepdims=True))
    return np.fft.fft(np.where(kept, taps, 0.0), axis=-1)[:, numerology.bins] * np.conj(turn)
