"""What one receive channel hears of single-carrier frames: every antenna's channel, whether it is flat, the payload's symbols, the noise.

The preamble says where a turn of the frame begins; the slots of all turns together give carrier and timing, each antenna's gain unknown;
every turn's slots give its phase, between turns it is interpolated. The silent slot gives noise and the receiver's own DC.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hil.device import Capture
from hil.errors import HilError, InputError
from hil.estimate.acquisition import Acquisition, acquire
from hil.estimate.quality import Count, clopper_pearson
from hil.estimate.usable import refuse_clipped, samples_of
from hil.waveform.single import PILOT, SLOT, SPAN, SingleCarrierFrame, matched, pilot, pulse

FLAT_DB = 0.5  # from a flat channel's mean power, anywhere in the occupied band
DEGREE = 4  # of the polynomial in frequency that a slot's response is smoothed by
SURE = 3.0  # standard deviations by which a ripple must pass the limit before it is refused
SEEN = 0.1  # tones of a pilot below this share of its strongest are left out
CARRIER_SEARCH_HZ = 2000.0  # around the preamble's
TIMING_SEARCH = 1.0  # symbols around the preamble's


@dataclass(frozen=True, slots=True, eq=False)
class Received:
    """One receive channel's view of the frames in a capture, in the capture's units (times `receive_scale`: sqrt(W) at the port).

    symbols: (turn, symbol) of the payload, matched, carrier, timing and common phase undone. sounded: (slot,) gain of every antenna of all
    devices per sqrt(W), of the same phase; sounded_variance: (slot,). noise: variance of a symbol, from the silent slots. response:
    (slot, tone) per sqrt(W) at `frequencies_hz`. ripple_db: largest deviation of the antennas' summed power from its mean over the
    occupied band, ripple_std_db its standard deviation. dispersion: energy of what is not flat over energy of what is, so the symbols'
    floor of interference from their neighbours. phases: (turn,) radians taken out beyond the carrier; turned: by `expected`, all turns.
    """

    symbols: NDArray[np.complex128]
    sounded: NDArray[np.complex128]
    sounded_variance: NDArray[np.float64]
    noise: float
    cfo_hz: float
    start: float  # sample of the capture at which a frame's sample 0 arrives
    response: NDArray[np.complex128]
    frequencies_hz: NDArray[np.float64]
    ripple_db: float
    ripple_std_db: float
    dispersion: float
    phases: NDArray[np.float64]
    turned: float
    clipped: float  # share of the capture's samples at the rails


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """How well symbols arrived that were sent at phases `meant`.

    margins: (symbol,) least distance measure Re(r) - |Im(r)| cot(psi) of the mean over turns, in roots of the noise; margin: the least of
    them; margin_std: of each. slp_sinr: margin squared, linear, 0 below 0. sinr: |gain|^2 over noise and interference about the one
    complex gain that fits best, data-aided, linear; evm: its inverse root. errors: hard decisions of every symbol of every turn by phase
    alone, without training. floor: share of the symbols' energy in mean deviations from that gain: not noise, it repeats every turn.
    """

    margins: NDArray[np.float64]
    margin: float
    margin_std: float
    slp_sinr: float
    sinr: float
    evm: float
    errors: Count
    floor: float


def receive(
    capture: Capture, frame: SingleCarrierFrame, *, channel: int = 0, expected: NDArray[np.complex128] | None = None,
    coarse: Acquisition | None = None, widest_ppm: float = 40.0, most_ripple_db: float | None = FLAT_DB,
    near: tuple[float, float] | None = None,
) -> Received:  # fmt: skip
    """Everything above from one capture of two frames or more.

    frame: that of the device to synchronise to; its slots are those of all devices. coarse: where that device's preamble begins, from
    `acquire` or an earlier capture; looked for where None. expected: (slot,) channel that the design was made
    for, any common scale; 0 where it does not count. The common phase, which nobody knows, is then chosen so that what is sounded agrees
    with it best: no payload is used. Without it symbols keep the phase of the first turn. most_ripple_db: None to report only. near: (Hz, standard
    deviation) carrier offset that a clock's track expects: with one round of slots a preamble alone may leave a whole turn of doubt.
    Raises HilError `no-preamble`, `capture-short`, `capture-clipped`, `capture-unusable` and `channel-not-flat`.
    """
    if expected is not None and np.shape(expected) != (frame.slots,):
        raise InputError("shape", "the channel to agree with has one gain per slot", key="expected", found=str(np.shape(expected)),
                         allowed=f"({frame.slots},)")  # fmt: skip
    refuse_clipped(capture)
    found = acquire(capture, frame, widest_ppm=widest_ppm) if coarse is None else coarse
    if not found.above_threshold:
        raise HilError("no-preamble", "this device's preamble is not in the capture", where=capture.device,
                       found=f"metric {found.metric:.4f}", allowed=f"above {found.threshold:.4f}",
                       fix="check that the device transmits and that carrier and rate agree")  # fmt: skip
    raw = np.atleast_2d(capture.samples)[channel].astype(np.complex128)
    samples_of(capture, frame.length, frame.numerology.sample_rate_hz)  # refuses what cannot be used
    turns = _Turns(raw, frame, found, capture.carrier_hz)
    if near is not None:
        turns.expect(*near)
    if not len(turns.payload):
        raise HilError("capture-short", "no whole frame in the capture", where=capture.device, found=f"{len(raw)} samples",
                       allowed=f"{2 * frame.length} or more", fix="capture at least two frames")  # fmt: skip
    turns.without_dc()
    for refine in (turns.tune, turns.align, turns.tune, turns.align):
        refine()
    return turns.received(capture, expected, most_ripple_db)


def judge(received: Received, meant: NDArray[np.complex128], psi: float = np.pi / 4) -> Verdict:
    """Of one user. meant: (symbol,) unit amplitude; psi: half the angle of a decision region."""
    if np.shape(meant) != received.symbols.shape[1:]:
        raise InputError("shape", "every symbol of the payload has one that was meant", key="meant", found=str(np.shape(meant)),
                         allowed=str(received.symbols.shape[1:]))  # fmt: skip
    turned = received.symbols * np.conj(meant)
    turns = len(turned)
    mean = turned.mean(axis=0)
    unit = float(np.sqrt(max(received.noise, 1e-300)))
    margins = (mean.real - np.abs(mean.imag) / np.tan(psi)) / unit
    gain = turned.mean()
    left = float(np.sum(np.abs(turned - gain) ** 2)) / max(turned.size - 1, 1)
    power = max(float(np.abs(gain) ** 2) - left / turned.size, 0.0)
    wrong = int(np.count_nonzero(np.abs(np.angle(turned)) > psi))
    floor = max(float(np.mean(np.abs(mean - gain) ** 2)) - received.noise / turns, 0.0)
    least = float(margins.min())
    return Verdict(
        margins, least, float(1.0 / np.sin(psi) / np.sqrt(2.0 * turns)), max(least, 0.0) ** 2, power / max(left, 1e-300),
        float(np.sqrt(left / max(power, 1e-300))), Count(wrong, turned.size, clopper_pearson(wrong, turned.size)),
        floor / max(float(np.mean(np.abs(mean) ** 2)), 1e-300),
    )  # fmt: skip


class _Turns:
    """The slots and payloads of one channel that lie in the capture; carrier and start as good as known so far."""

    def __init__(self, raw: NDArray[np.complex128], frame: SingleCarrierFrame, found: Acquisition, carrier_hz: float) -> None:
        self.raw, self.frame, self.carrier_hz = raw, frame, carrier_hz
        self.start, self.cfo = float(found.start) - frame.preamble_at, float(found.cfo_hz)
        grid, share = frame.numerology, min(max(found.metric, 1e-6), 1.0 - 1e-6)
        self.coarse = self.cfo, grid.spacing_hz / (2.0 * np.pi) * np.sqrt((1.0 - share) / (share * grid.used))  # Hz, its standard deviation
        self.noise, self.known_hz = 0.0, np.inf
        step, reach = frame.samples_per_symbol, (SPAN + 1) * frame.samples_per_symbol + 2
        turn = np.arange(-1, len(raw) // frame.length + 2)

        def inside(first: int, symbols: int) -> NDArray[np.bool_]:
            at = self.when(turn, first)
            return (at - reach >= 0) & (at + symbols * step + reach < len(raw))

        self.payload = turn[inside(frame.silence_at, PILOT + SPAN + frame.symbols)]
        self.quiet = turn[inside(frame.silence_at, PILOT)]
        self.places = np.array([[frame.slot_at(slot, visit) for slot in range(frame.slots)] for visit in range(frame.rounds)])
        seen = np.array([[inside(int(place), PILOT) for place in row] for row in self.places])
        self.round, self.slot, at = np.nonzero(seen)  # of every visit of a slot
        self.turn, self.first = turn[at], self.places[self.round, self.slot]

    def expect(self, cfo_hz: float, std_hz: float) -> None:
        """What is known of the carrier better than a slot can tell: a pilot that arrives early looks like one of another carrier."""
        self.cfo, self.known_hz = cfo_hz, std_hz

    @property
    def length(self) -> float:
        """Of a turn in the receiver's samples."""
        return self.frame.length / (1.0 + self.cfo / self.carrier_hz)

    def when(self, turn: NDArray[np.int64], sample: NDArray[np.float64] | float) -> NDArray[np.float64]:
        """Capture sample at which a sample of a turn of the frame arrives: one oscillator for carrier and clock."""
        return self.start + (turn * self.frame.length + sample) / (1.0 + self.cfo / self.carrier_hz)

    def symbols(self, turn: NDArray[np.int64], first: NDArray[np.int64] | int, count: int) -> tuple[NDArray[np.complex128], NDArray[np.float64]]:
        """(visit, symbol) matched, the carrier taken out at their (visit, symbol) times in seconds."""
        frame = self.frame
        times = self.when(turn[:, None], np.asarray(first).reshape(-1, 1) + frame.samples_per_symbol * np.arange(count))
        seconds = times / frame.numerology.sample_rate_hz
        return matched(self.derotated, times, frame.samples_per_symbol), seconds

    @property
    def derotated(self) -> NDArray[np.complex128]:
        return self.raw * np.exp(-2j * np.pi * self.cfo / self.frame.numerology.sample_rate_hz * np.arange(len(self.raw)))

    def without_dc(self) -> None:
        """The receiver's own, from silent slots: the payload's mean is signal."""
        if len(self.quiet):
            at = np.round(self.when(self.quiet, self.frame.silence_at)).astype(np.int64)
            quiet = at[:, None] + np.arange(PILOT * self.frame.samples_per_symbol)
            self.raw = self.raw - self.raw[quiet].mean()
            self.noise = float(np.var(self.raw[quiet])) / self.frame.samples_per_symbol

    def tune(self) -> None:
        """Carrier: likelihood of the pilots, every slot's gain unknown. First each visit by itself, with what the preamble said; then the
        visits of one turn together, then those of all turns: each tells the next, finer one which of its maxima is meant."""
        heard, seconds = self.symbols(self.turn, self.first, PILOT)
        left, times = heard * np.conj(pilot()), seconds - seconds.mean()
        rate = self.frame.numerology.sample_rate_hz
        energy = PILOT * max(self.noise, 1e-12 * float(np.mean(np.abs(heard) ** 2)))
        centre = times.mean(axis=1)
        told, std = self.coarse

        def alone(carriers: NDArray[np.float64]) -> NDArray[np.float64]:
            turned = np.exp(-2j * np.pi * np.multiply.outer(carriers, times[:1] - times[0, 0]))  # every visit lasts as long
            fit = np.sum(np.abs(np.sum(left * turned, axis=-1)) ** 2, axis=-1) / energy
            return fit - 0.5 * ((self.cfo + carriers - told) / std) ** 2

        step = 0.0 if np.isfinite(self.known_hz) else _summit(alone, CARRIER_SEARCH_HZ, 50.0, 5.0)
        for label, apart in ((self.slot + self.frame.slots * self.turn, self.frame.slots * SLOT * self.frame.samples_per_symbol),
                             (self.slot, self.frame.length)):  # fmt: skip
            visits = np.sum(left * np.exp(-2j * np.pi * step * times), axis=-1)
            same = label == np.unique(label)[:, None]
            weight = same / np.sqrt(same.sum(axis=1))[:, None]
            if np.all(same.sum(axis=1) < 2):
                continue

            def together(carriers: NDArray[np.float64], visits=visits, weight=weight) -> NDArray[np.float64]:
                return np.sum(np.abs((visits * np.exp(-2j * np.pi * np.multiply.outer(carriers, centre))) @ weight.T) ** 2, axis=-1)

            widest = min(0.5 * rate / apart, 5.0 * self.known_hz)
            step += _summit(together, widest, min(1.0 / (8.0 * float(np.ptp(centre))), widest / 4.0), widest / 400.0)
        self.cfo += step

    def align(self) -> None:
        """Timing: most of sum over slots |response's delay spectrum|^2."""
        response, weight, tones = self.responses()
        middle = np.stack([np.mean(response[self.slot == slot], axis=0) for slot in np.unique(self.slot)]) * weight

        def height(delays: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.sum(np.abs(middle @ np.exp(2j * np.pi * np.outer(tones, delays))) ** 2, axis=0)

        rate = self.frame.symbol_rate_hz
        self.start += _summit(height, TIMING_SEARCH / rate, 0.05 / rate, 0.05 / rate) * self.frame.numerology.sample_rate_hz

    def responses(self) -> tuple[NDArray[np.complex128], NDArray[np.float64], NDArray[np.float64]]:
        """(visit, tone) per sqrt(W), (tone,) energy of a pilot there over its mean, (tone,) hertz."""
        frame, step = self.frame, self.frame.samples_per_symbol
        size = PILOT * step
        train = np.zeros(size, complex)
        train[::step] = pilot()
        reach = np.arange(size) - size // 2
        shape = np.where(np.abs(reach) <= SPAN * step, pulse(reach / step), 0.0)
        spectrum = np.fft.fft(train) * np.fft.fft(np.fft.ifftshift(shape)) / size
        tone = np.fft.fftfreq(size, 1.0 / size)
        energy = np.abs(spectrum) ** 2
        kept = np.flatnonzero(energy > SEEN * energy.max())
        kept = kept[np.argsort(tone[kept])]
        at = self.when(self.turn, self.first)
        begin = np.round(at).astype(np.int64)
        heard = np.fft.fft(self.derotated[begin[:, None] + np.arange(size)])[:, kept] / size
        early = np.exp(2j * np.pi * np.outer(at - begin, tone[kept]) / size)
        amplitude = np.sqrt(frame.pilot_power_w[self.slot])[:, None]
        return (heard * early / spectrum[kept] / amplitude, energy[kept] / np.sum(energy[kept]), tone[kept] / size * frame.numerology.sample_rate_hz)

    def received(self, capture: Capture, expected: NDArray[np.complex128] | None, most_ripple_db: float | None) -> Received:
        frame = self.frame
        response, weight, tones = self.responses()
        gains = response @ weight
        numbers, phases = _phases(gains, self.slot, self.turn, frame)
        turn_phase = phases[np.searchsorted(numbers, self.turn)]
        response = response * np.exp(-1j * turn_phase)[:, None]
        visits = np.bincount(self.slot, minlength=frame.slots)
        mean = np.zeros((frame.slots, len(tones)), complex)
        np.add.at(mean, self.slot, response)
        mean /= np.maximum(visits, 1)[:, None]
        centres = np.array([self.when(self.turn[self.turn == n], self.first[self.turn == n]).mean() for n in numbers])
        symbols, seconds = self.symbols(self.payload, frame.payload_at, frame.symbols)
        phase = np.interp(seconds, centres / frame.numerology.sample_rate_hz, np.unwrap(phases))
        symbols = symbols * np.exp(-1j * phase)
        quiet, _ = self.symbols(self.quiet, frame.silence_at, PILOT)
        noise = float(np.mean(np.abs(quiet) ** 2))
        sounded = mean @ weight
        turned = 0.0
        if expected is not None:
            turned = float(np.angle(np.vdot(np.asarray(expected), sounded)))
        back = np.exp(-1j * turned)
        variance = noise / (PILOT * frame.pilot_power_w * np.maximum(visits, 1))
        ripple, ripple_std, dispersion = _flatness(mean, weight, tones, variance)
        if most_ripple_db is not None and ripple - SURE * ripple_std > most_ripple_db:
            raise HilError("channel-not-flat", "one complex gain an antenna does not describe this channel", where=capture.device,
                           found=f"{ripple:.2f} dB +- {ripple_std:.2f} over {frame.occupied_hz / 1e6:.2f} MHz",
                           allowed=f"{most_ripple_db:g} dB", fix="lower the symbol rate, or send a block-level design on OFDM")  # fmt: skip
        return Received(
            symbols * back, sounded * back, variance, noise, self.cfo, float(self.start % self.length), mean * back, tones, ripple, ripple_std,
            dispersion, phases, turned, capture.clipped,
        )  # fmt: skip


def _summit(height, reach: float, coarse: float, fine: float) -> float:
    """Where `height` of an array is most within +-reach: on a grid of `coarse`, on ever finer ones around its best, then a parabola."""
    grid = np.arange(-reach, reach + coarse / 2, coarse)
    best = float(grid[np.argmax(height(grid))])
    step = coarse
    while step > fine:
        step = max(step / 4.0, fine)
        grid = best + step * np.arange(-6, 7)
        best = float(grid[np.argmax(height(grid))])
    for _ in range(2):
        low, middle, high = height(best + step * np.array([-1.0, 0.0, 1.0]))
        bend = low - 2.0 * middle + high
        best += float(np.clip(0.5 * (low - high) / bend, -1.0, 1.0)) * step if bend < 0.0 else 0.0
        step /= 8.0
    return best


def _phases(
    gains: NDArray[np.complex128], slot: NDArray[np.int64], turn: NDArray[np.int64], frame: SingleCarrierFrame
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """(turn,) numbers and phases of turns, the first one 0: weighted by what is heard, all slots of one turn together."""
    numbers = np.unique(turn)
    phases = np.zeros(len(numbers))
    where = np.searchsorted(numbers, turn)
    for _ in range(3):
        mean = np.zeros(frame.slots, complex)
        np.add.at(mean, slot, gains * np.exp(-1j * phases[where]) * frame.pilot_power_w[slot])
        agreement = np.zeros(len(numbers), complex)
        np.add.at(agreement, where, gains * np.conj(mean[slot]))
        phases = np.angle(agreement)
    phases = np.unwrap(phases)
    return numbers, phases - phases[0]


def _flatness(
    response: NDArray[np.complex128], weight: NDArray[np.float64], tones: NDArray[np.float64], variance: NDArray[np.float64]
) -> tuple[float, float, float]:
    """(ripple, its standard deviation, both decibels, dispersion) of (slot, tone) responses; variance: (slot,) of their weighted means."""
    powers = (tones / np.abs(tones).max())[:, None] ** np.arange(DEGREE + 1)
    inverse = np.linalg.inv(powers.T @ (weight[:, None] * powers))
    smooth = (response * weight) @ powers @ inverse @ powers.T
    leverage = np.einsum("ki,ij,kj->k", powers, inverse, powers)  # variance at a tone over that of the weighted mean
    power = np.sum(np.abs(smooth) ** 2, axis=0) - leverage * np.sum(variance)
    level = float(power @ weight)
    if level <= 0.0:
        return 0.0, np.inf, np.inf
    off = 10.0 * np.log10(np.maximum(power, 1e-6 * level) / level)
    most = int(np.argmax(np.abs(off)))
    shaken = 2.0 * leverage[most] * float(np.sum(np.abs(smooth[:, most]) ** 2 * variance))
    std = 10.0 / np.log(10.0) * np.sqrt(shaken) / level
    flat = response @ weight
    strayed = float(np.sum(np.abs(smooth - flat[:, None]) ** 2 @ weight)) - DEGREE * float(np.sum(variance))
    energy = max(float(np.sum(np.abs(flat) ** 2)) - float(np.sum(variance)), 1e-300)
    return float(abs(off[most])), float(std), max(strayed, 0.0) / energy
