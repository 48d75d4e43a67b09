"""A capture of known waveforms as sufficient statistics in slow time: Y X^H and X X^H of every millisecond and block of tones.

What several base stations send at once is a few known sequences, the modes: streams of precoded frames, or antennas whose samples are
designed one by one. In a cell of slow time Y = H X + Z with one response H (rx, mode), so that Y X^H and X X^H hold all that the samples
tell about H. Two front ends make them, one from OFDM and one from a single carrier; nothing behind them asks which.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from hil.errors import DeviceError, InputError
from hil.waveform import ofdm
from hil.waveform.numerology import Numerology

__all__ = ["CELL_S", "SHORTEST_S", "SlowTime", "aligned", "begun", "of_frames", "of_samples", "of_tones"]

CELL_S = 1e-3  # of one cell, within which 35 Hz of Doppler turn 13 degrees: 0.02 dB
FRAMES = 5  # turns of a waveform that a capture must hold
SHORTEST_S = 0.05  # of a capture: shorter, walking speed and walls are not told apart


@dataclass(frozen=True, slots=True, eq=False)
class SlowTime:
    """received: (cell, block, rx, mode) sum of Y X^H; sent: (cell, block, mode, mode) sum of X X^H; times: (cell,) seconds from the middle of
    the capture to the middle of the cell; frequencies: (block,) baseband hertz; light: (transmitter, block, antenna, mode) what each
    antenna sends of each mode, so that a base station's samples are light @ X. count: complex samples (or tones) per receive element.
    places: cells in a turn of the waveform; cell c is the same stretch of it as cell c + places, so `sent` repeats and cells are whole turns.
    """

    received: NDArray[np.complex128]
    sent: NDArray[np.complex128]
    times: NDArray[np.float64]
    frequencies: NDArray[np.float64]
    light: NDArray[np.complex128]
    count: int
    places: int
    assumptions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        cells, blocks, _, modes = self.received.shape
        if self.places < 1 or cells % self.places or cells < 2 * self.places:
            raise InputError("turns", "cells are two whole turns or more", found=f"{cells} cells, {self.places} in a turn",
                             allowed="a multiple")  # fmt: skip
        if self.sent.shape != (cells, blocks, modes, modes) or self.light.ndim != 4 or self.light.shape[1::2] != (blocks, modes):
            raise InputError(
                "shape", "received, sent and light disagree", found=f"{self.received.shape}, {self.sent.shape}, {self.light.shape}",
                allowed="(cell, block, rx, mode), (cell, block, mode, mode), (transmitter, block, antenna, mode)",
            )  # fmt: skip
        for name in ("received", "sent", "light"):
            if not np.all(np.isfinite(getattr(self, name))):
                raise DeviceError("capture-bad", "nothing or no number in the capture", where=name, found="NaN or infinity", fix="capture again")
        if not np.any(self.received) or not np.any(self.sent):
            raise DeviceError("capture-bad", "nothing or no number in the capture", found="zeros", fix="capture again")

    @property
    def turns(self) -> int:
        """Whole turns of the waveform."""
        return self.times.size // self.places

    @property
    def owner(self) -> NDArray[np.int64]:
        """(mode,) the transmitter that alone sends it, -1 where several do or none."""
        lit = np.any(self.light != 0.0, axis=(1, 2))  # (transmitter, mode)
        return np.where(lit.sum(axis=0) == 1, np.argmax(lit, axis=0), -1)


def begun(slow: SlowTime, spread_s: float) -> NDArray[np.float64]:
    """(transmitter,) seconds by which what each transmitter sends stands late against the frame: the delay of a flat response of all its
    antennas that, all transmitters together, explains most of what stands still. spread_s: how far apart they are looked for.

    Zeros where one frequency tells nothing of delays.
    """
    count, blocks = slow.light.shape[:2]
    if blocks < 2:
        return np.zeros(count)
    received, sent = slow.received.sum(axis=0), slow.sent.sum(axis=0)
    lit = slow.light @ sent  # (transmitter, block, antenna, mode)
    onto = np.einsum("brm,nbam->nbra", received, slow.light.conj())
    among = np.einsum("nbam,kbcm->nkbac", lit, slow.light.conj())
    antennas = slow.light.shape[2]

    def missed(late: NDArray[np.float64]) -> float:
        turn = np.exp(-2j * np.pi * late[:, None] * slow.frequencies)  # (transmitter, block)
        match = np.einsum("nbra,nb->rna", onto, turn.conj()).reshape(received.shape[1], -1)
        gram = np.einsum("nkbac,nb,kb->nakc", among, turn, turn.conj(), optimize=True).reshape(count * antennas, -1)
        return -float(np.real(np.sum((match @ np.linalg.pinv(gram, rcond=1e-6, hermitian=True)) * match.conj())))

    late, step = np.zeros(count), spread_s
    while step > 1e-10:
        for n in range(count):
            tries = late + np.eye(count)[n] * step * np.arange(-2, 3)[:, None]
            late = tries[np.argmin([missed(one) for one in tries])]
        step /= 2.0
    return late


def aligned(slow: SlowTime, direct_s: NDArray[np.float64], spread_s: float) -> SlowTime:
    """As if all transmitters' frames began with the capture's: what stands still tells when each did, by a direct path of known delay,
    (transmitter,) seconds; two starts a cable apart and a leak of a few nanoseconds pass for one another's delay otherwise."""
    late = begun(slow, spread_s) - direct_s
    return replace(slow, light=slow.light * np.exp(-2j * np.pi * late[:, None] * slow.frequencies)[..., None, None])


def of_samples(samples: Any, modes: Any, light: Any, rate_hz: float, *, start: float = 0.0, cell_s: float = CELL_S) -> SlowTime:
    """From a capture of a single carrier, narrow enough that an echo's delay is a phase.

    samples: (rx, sample). modes: (mode, sample) one turn of the cyclic waveform, which fits at least FRAMES times into the capture. light:
    (transmitter, antenna, mode). start: sample of the capture at which a turn begins, within a sample: the fraction is found from what
    stands still.
    """
    samples, modes = np.asarray(samples), np.asarray(modes, dtype=complex)
    light = np.asarray(light, dtype=complex)[:, None]
    if samples.ndim != 2 or modes.ndim != 2:
        raise InputError("shape", "samples and modes are matrices", found=f"{samples.shape}, {modes.shape}", allowed="(rx, sample), (mode, sample)")
    count, turn = samples.shape[1], modes.shape[1]
    _long_enough(count / rate_hz)
    if turn * FRAMES > count:
        raise _seldom(turn, count, "samples")
    whole = int(np.round(start))
    order = (np.arange(turn) + whole) % turn  # sample of the turn -> sample of the capture, modulo a turn
    turns = count // turn
    mean = samples[:, : turns * turn].reshape(len(samples), turns, turn).mean(axis=1)[:, order]
    modes = delayed(modes, _fraction(mean, modes, start - whole))
    at, places = _cells(count, turn, cell_s * rate_hz)
    y, x = np.moveaxis(samples[:, at], 1, 0), np.moveaxis(modes[:, (at - whole) % turn], 1, 0)  # (cell, row, sample)
    back = np.conj(np.swapaxes(x, 1, 2))
    times = (at.mean(axis=1) + 0.5 - 0.5 * count) / rate_hz
    return SlowTime((y @ back)[:, None], (x @ back)[:, None], times, np.zeros(1), light, at.size, places, ("narrow band",))


def _cells(count: int, turn: int, size: float) -> tuple[NDArray[np.int64], int]:
    """(cell, sample) of whole turns and the cells in a turn: a cell is some whole turns, or a turn some cells and a few samples at its end."""
    if turn <= 1.5 * size:
        each = max(1, round(size / turn)) * turn
        return np.arange(count // each)[:, None] * each + np.arange(each), 1
    places = round(turn / size)
    each = turn // places
    begins = (np.arange(count // turn)[:, None] * turn + np.arange(places) * each).ravel()
    return begins[:, None] + np.arange(each), places


def _seldom(turn: int, count: int, what: str) -> InputError:
    return InputError("frame-long", "the waveform repeats too seldom to tell what stands still", found=f"{turn} {what} in a capture of {count}",
                      allowed=f"<= {count // FRAMES} {what}", fix="send a shorter frame or capture for longer")  # fmt: skip


def delayed(rows: NDArray[np.complex128], samples: float) -> NDArray[np.complex128]:
    """Cyclic rows (row, sample), band-limited, so many samples late."""
    turn = np.exp(-2j * np.pi * np.fft.fftfreq(rows.shape[1]) * samples)
    return np.fft.ifft(np.fft.fft(rows, axis=1) * turn, axis=1)


def _fraction(mean: NDArray, modes: NDArray, near: float) -> float:
    """Samples, within one of `near`, by which the modes are late in what stands still: where they explain most of it."""

    def missed(late: float) -> float:
        rows = np.linalg.qr(delayed(modes, late).T)[0]  # (sample, mode)
        return -float(np.linalg.norm(mean @ rows.conj()) ** 2)

    grid = near + np.linspace(-1.0, 1.0, 9)
    best = float(grid[np.argmin([missed(late) for late in grid])])
    return float(optimize.minimize_scalar(missed, bounds=(best - 0.25, best + 0.25), method="bounded", options={"xatol": 1e-3}).x)


def of_frames(
    samples: Any, numerology: Numerology, reference: Any, light: Any, *, start: float, cell_s: float = CELL_S
) -> SlowTime:
    """From a capture of cyclic OFDM frames that all base stations start together.

    samples: (rx, sample). reference: (symbol, tone, mode) what each stream carries before the precoder. light: (transmitter, block, antenna,
    mode) precoders, sqrt(W) per tone. start: sample of the capture at which a frame begins; any whole number of frames away.
    """
    samples = np.atleast_2d(np.asarray(samples))
    _long_enough(samples.shape[1] / numerology.sample_rate_hz)
    index = ofdm.whole_symbols(numerology, samples.shape[1], start)
    tones, times = ofdm.demodulate(samples.astype(np.complex64), numerology, start, index)
    reference = np.asarray(reference)
    middle = 0.5 * samples.shape[1] / numerology.sample_rate_hz
    turn = len(reference)
    return of_tones(tones, reference[index % turn], light, times - middle, numerology, turn=turn, cell_s=cell_s)


def of_tones(
    tones: NDArray, reference: NDArray, light: Any, times: NDArray[np.float64], numerology: Numerology, *, turn: int, cell_s: float = CELL_S
) -> SlowTime:
    """From demodulated symbols. tones: (rx, symbol, tone); reference: (symbol, tone, mode) of the same symbols, the same again after `turn`;
    times: (symbol,) seconds."""
    light = np.asarray(light, dtype=complex)
    _, symbols, used = tones.shape
    if reference.shape[:2] != (symbols, used) or light.ndim != 4 or light.shape[1] != numerology.blocks or light.shape[3] != reference.shape[2]:
        raise InputError(
            "shape", "tones, reference and light disagree", found=f"{tones.shape}, {reference.shape}, {light.shape}",
            allowed=f"(rx, symbol, tone), (symbol, tone, mode), (transmitter, {numerology.blocks}, antenna, mode)",
        )  # fmt: skip
    if symbols // turn < FRAMES - 1:  # a symbol is lost at either end
        raise _seldom(turn, symbols, "symbols")
    at, places = _cells(symbols, turn, cell_s / numerology.symbol_time_s)
    cut = lambda rows: np.moveaxis(rows, 1, -1)[..., at]
    y = np.transpose(cut(tones), (2, 1, 0, 3))  # (cell, tone, rx, symbol)
    x = np.transpose(np.moveaxis(reference, 0, -1).astype(tones.dtype)[..., at], (2, 0, 1, 3))
    back = np.conj(np.swapaxes(x, 2, 3))
    starts = np.flatnonzero(np.diff(numerology.block_of_tone, prepend=-1))
    total = lambda values: np.add.reduceat(values, starts, axis=1).astype(complex)
    return SlowTime(
        total(y @ back), total(x @ back), times[at].mean(axis=1), numerology.block_mean(numerology.frequencies_hz), light, at.size * used, places,
    )  # fmt: skip


def _long_enough(seconds: float) -> None:
    if seconds < SHORTEST_S * (1.0 - 1e-6):
        raise DeviceError(
            "capture-short", "too short to tell a walking target from the walls", found=f"{seconds * 1e3:.1f} ms",
            allowed=f">= {SHORTEST_S * 1e3:g} ms", fix="capture more measuring frames",
        )  # fmt: skip
