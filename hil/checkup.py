"""A radio looked at: noise floor, lines in it, tones from port to port, codes through its loopback, pace of its sample clock.

Functions of captures are arithmetic; those of a radio use nothing but the protocol `hil.device.Radio`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hil import units
from hil.clock import Clock
from hil.device import Capture, Loss, Radio

SAMPLES = 1 << 15
CYCLE = 4096  # samples of a test waveform
DEAD_CODES = 0.2  # a receiver whose noise moves its converter by less is not connected to it
HEARD_DB = 10.0  # a tone this far above what is there without it is heard
LINE_DB = 15.0  # above the strongest that noise makes: a line of its own
BLOCKS, BLOCK_S, MOST_SAMPLES = 10, 0.05, 1 << 21  # of each half of a row of captures; of all channels of one
WIDEST_PPM = 100.0  # between two radios
ROWS, ROWS_S = 4, 10.0  # of captures to tell a sample clock by, at most, and none begins later
RATE_OFF = 0.05  # a wrong decimation is off by far more, a wrong crystal by far less than a host can tell
STEADY = 0.01  # rows that agree so well were not made by a host that has too much to do

Verdict = Literal["ok", "WARN", "FIX", "-"]


@dataclass(frozen=True)
class Finding:
    """One line of a doctor's table."""

    what: str
    found: str
    wanted: str = ""
    verdict: Verdict = "ok"
    fix: str = ""


@dataclass(frozen=True)
class Line:
    """A spectral line: channel, hertz from the carrier, level in dB of full scale."""

    channel: int
    hz: float
    dbfs: float


def spectrum(samples: NDArray[np.complex64], size: int = CYCLE) -> NDArray[np.float64]:
    """(channel, bin) power of full scale per bin, averaged over blocks under a Hann window; frequencies as of `np.fft.fftfreq`."""
    blocks = samples[:, : samples.shape[1] // size * size].reshape(len(samples), -1, size)
    window = np.hanning(size + 1)[:-1]
    power = np.abs(np.fft.fft(blocks * window, axis=-1)) ** 2
    return np.asarray(power.mean(axis=1) / window.sum() ** 2)


def noise_dbfs(capture: Capture) -> tuple[float, ...]:
    """Noise of each channel over its whole band: from the median bin, so that lines and the carrier's residue do not count."""
    power = spectrum(capture.samples)
    size = power.shape[1]
    blocks = max(1, capture.samples.shape[1] // size)
    per_bin = np.median(power, axis=1) / (1.0 - 1.0 / (9.0 * blocks)) ** 3  # median over mean of a mean of that many exponentials
    window = np.hanning(size + 1)[:-1]
    return tuple(units.to_db(float(one)) for one in per_bin * window.sum() ** 2 / (window**2).sum())


def lines(capture: Capture) -> list[Line]:
    """Lines that stand out of the noise, the carrier's residue in the middle left out; strongest first, one per neighbourhood."""
    power = spectrum(capture.samples)
    size = power.shape[1]
    blocks = max(1, capture.samples.shape[1] // size)
    highest = np.median(power, axis=1) * (1.0 + math.log(size) / math.sqrt(blocks))  # a bound on what noise alone reaches
    found = []
    for channel, row in enumerate(power):
        row = row.copy()
        row[[0, 1, 2, -1, -2]] = 0.0
        while (top := int(np.argmax(row))) and row[top] > highest[channel] * units.from_db(LINE_DB):
            hz = float(np.fft.fftfreq(size)[top] * capture.sample_rate_hz)
            found.append(Line(channel, hz, units.to_db(float(row[top]))))
            row[[(top + step) % size for step in range(-4, 5)]] = 0.0
    return sorted(found, key=lambda line: -line.dbfs)


def dead_channels(capture: Capture) -> list[int]:
    """Channels on which not even noise is heard: no converter behind them, or none that runs."""
    spread = np.std(capture.samples, axis=1) * capture.full_scale
    return [channel for channel, codes in enumerate(spread) if not codes > DEAD_CODES]


def tones(channels: int, amplitude: float) -> NDArray[np.complex64]:
    """(transmit channel, sample) one tone per channel, each at its own frequency: `tone_cycles` in CYCLE samples."""
    turns = np.outer([tone_cycles(channel, channels) for channel in range(channels)], np.arange(CYCLE)) / CYCLE
    return (amplitude * np.exp(2j * np.pi * turns)).astype(np.complex64)


def tone_cycles(channel: int, channels: int) -> int:
    """Between an eighth and three eighths of the rate: away from the carrier, inside every filter. Gaps grow from channel to channel, so
    that the tones cannot be taken for each other however far all of them are shifted."""
    return CYCLE // 8 + CYCLE // 4 * channel * (channel + 1) // max(channels * (channels + 1), 1)


def heard(capture: Capture, silence: Capture, channels: int) -> NDArray[np.float64]:
    """(transmit channel, receive channel, 2): level in dB of full scale and dB above the same band without it, of each tone of `tones`.

    One radio's tones are shifted alike, by as much as two radios may be apart: the shift at which most is heard of all of them.
    """
    reach = max(2, math.ceil(WIDEST_PPM * 1e-6 * capture.carrier_hz / capture.sample_rate_hz * CYCLE))
    here, before = spectrum(capture.samples), spectrum(silence.samples)
    places = np.array([tone_cycles(channel, channels) for channel in range(channels)])
    shifts = np.array(sorted(range(-reach, reach + 1), key=abs))
    fit = here[:, (places + shifts[:, None]) % CYCLE].sum(axis=(0, 2))
    shift = int(shifts[np.flatnonzero(fit > 0.7 * fit.max())[0]])  # of equals the smallest: most clocks are good
    found = np.empty((channels, len(here), 2))
    for sent, place in enumerate(places):
        band = np.arange(-1, 2) + place + shift
        level, floor = here[:, band].max(axis=1), before[:, band].max(axis=1)
        found[sent] = np.stack([10 * np.log10(level + 1e-30), 10 * np.log10((level + 1e-30) / (floor + 1e-30))], axis=-1)
    return found


def offset_hz(capture: Capture, receive: int, cycles: int) -> float:
    """By how much a tone of `cycles` in CYCLE samples arrives too high: the peak of the spectrum of all samples and its greater neighbour,
    whose ratio under a Hann window gives the place between them exactly."""
    row = capture.samples[receive].astype(np.complex128)
    count, rate = len(row), capture.sample_rate_hz
    expected = cycles / CYCLE * rate
    bins = np.abs(np.fft.fft(row * np.hanning(count + 1)[:-1]))
    hertz = np.fft.fftfreq(count, 1.0 / rate)
    near = np.flatnonzero(np.abs(hertz - expected) <= WIDEST_PPM * 1e-6 * capture.carrier_hz)
    top = int(near[np.argmax(bins[near])])
    side = max((-1, 1), key=lambda step: bins[(top + step) % count])
    ratio = bins[(top + side) % count] / bins[top]
    return float(hertz[top] + side * (2.0 * ratio - 1.0) / (ratio + 1.0) * rate / count - expected)


def looped_back(radio: Radio, waveform: NDArray[np.complex64], bits: int) -> float | None:
    """Share of codes that came back through the digital loopback as they were sent; None where the radio has none.

    The radio is configured, its attenuators at their most. waveform: (transmit channel, sample).
    """
    switch = getattr(radio, "loopback", None)
    if switch is None or not radio.supports("loopback"):
        return None
    full = 1 << (bits - 1)
    sent = np.floor(waveform.view(np.float32) * full + np.float32(0.5)).view(np.complex64)
    switch(True)
    try:
        radio.load(0, waveform)
        radio.apply(0)
        taken = radio.capture(2 * waveform.shape[1], 5.0)
    finally:
        radio.mute()
        switch(False)
    back = np.rint((taken.samples * full).view(np.float32)).view(np.complex64)
    return float(np.mean([_share(one, row) for one, row in zip(sent, back)]))


def _share(sent: NDArray[np.complex64], back: NDArray[np.complex64]) -> float:
    """Share of one cycle within a capture that equals what was sent, at the cyclic shift where most does."""
    length = len(sent)
    shift = int(np.argmax(np.abs(np.fft.ifft(np.fft.fft(back[:length]) * np.conj(np.fft.fft(sent))))))
    return float(np.mean(back[:length] == np.roll(sent, shift)))


@dataclass(frozen=True)
class Pace:
    """rate_hz: samples per second of the host's clock, NaN when some were lost meanwhile. transfer_hz: as many as were moved and turned into
    fractions. lost: captures."""

    rate_hz: float
    transfer_hz: float
    lost: int
    captures: int


def pace(radio: Radio, clock: Clock, rate_hz: float) -> Pace:
    """A row of captures against the host's clock, which notices a block late, never early: so each half of the row counts by its least delay."""
    block = max(1000, min(int(rate_hz * BLOCK_S), MOST_SAMPLES // radio.capability.receive_channels))
    begin, row = clock.now(), [radio.capture(block, 5.0) for _ in range(2 * BLOCKS)]
    moved = clock.now().since(begin)
    lost = sum(capture.loss is Loss.SOME for capture in row)
    clocks = [capture.clock for capture in row]
    if lost or any(one is None for one in clocks):
        return Pace(math.nan, len(row) * block / moved, lost, len(row))
    delays = [one.since(begin) - index * block / rate_hz for index, one in enumerate(clocks) if one is not None]
    late = (min(delays[BLOCKS:]) - min(delays[:BLOCKS])) / (BLOCKS * block / rate_hz)
    return Pace(rate_hz / (1.0 + late), len(row) * block / moved, lost, len(row))


def paces(radio: Radio, clock: Clock, rate_hz: float) -> list[Pace]:
    """Rows of captures, until one has the rate that is expected or lost samples, or there are enough of them."""
    begin, found = clock.now(), list[Pace]()
    while len(found) < ROWS and clock.now().since(begin) < ROWS_S:
        found.append(pace(radio, clock, rate_hz))
        if not abs(found[-1].rate_hz / rate_hz - 1.0) >= RATE_OFF:
            break
    return found


def sample_clock(what: str, rows: Sequence[Pace], rate_hz: float) -> Finding:
    """The verdict on rows of captures. A host that is busy reads late, or opens a stream anew, as it happens: what it makes of a clock differs
    from row to row. Only rows that are off alike speak of the clock."""
    rates, wanted = [row.rate_hz for row in rows], f"{rate_hz / 1e6:g} MS/s"
    if math.isnan(rates[-1]):
        return Finding(what, "cannot be told while samples are lost", verdict="-")
    if abs(rates[-1] / rate_hz - 1.0) < RATE_OFF:
        return Finding(what, f"{rates[-1] / 1e6:.3f} MS/s by this machine's clock", wanted)
    if len(rates) > 1 and max(rates) / min(rates) - 1.0 < STEADY:
        fix = "another rate than the radio says: its reference, or its filter's decimation"
        return Finding(what, f"{rates[-1] / 1e6:.3f} MS/s by this machine's clock, {len(rates)} times", wanted, "FIX", fix)
    found = f"{min(rates) / 1e6:.3f} ... {max(rates) / 1e6:.3f} MS/s by this machine's clock"
    return Finding(what, found, wanted, "WARN", "this machine is too busy to tell: look again when it has less to do")


def describe_lines(found: Sequence[Line], full: int = 3) -> str:
    """The strongest, in words."""
    return ", ".join(f"{line.dbfs:.0f} dBFS at {line.hz / 1e3:+.0f} kHz (channel {line.channel})" for line in found[:full]) or "none"
