"""A capture of known waveforms as sufficient statistics in slow time: Y X^H and X X^H of every millisecond and block of tones.

What several base stations send at once is a few known sequences, the modes: streams of precoded frames, or antennas whose samples are
designed one by one. In a cell of slow time Y = H X + Z with one response H (rx, mode), so that Y X^H and X X^H hold all that the samples
tell about H. Two front ends make them, one from OFDM and one from a single carrier; nothing behind them asks which.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from hil.errors import DeviceError, InputError
from hil.waveform import ofdm
from hil.waveform.numerology import Numerology

__all__ = ["CELL_S", "SHORTEST_S", "SlowTime", "of_frames", "of_samples", "of_tones"]

CELL_S = 1e-3  # of one cell, within which 35 Hz of Doppler turn 13 degrees: 0.02 dB
FRAMES = 5  # turns of a waveform that a capture must hold
SHORTEST_S = 0.05  # of a capture: shorter, walking speed and walls are not told apart


@dataclass(frozen=True, slots=True, eq=False)
class SlowTime:
    """received: (cell, block, rx, mode) sum of Y X^H; sent: (cell, block, mode, mode) sum of X X^H; times: (cell,) seconds from the middle of
    the capture to the middle of the cell; frequencies: (block,) baseband hertz; light: (transmitter, block, antenna, mode) what each
    antenna sends of each mode, so that a base station's samples are light @ X. count: complex samples (or tones) per receive element.
    """

    received: NDArray[np.complex128]
    sent: NDArray[np.complex128]
    times: NDArray[np.float64]
    frequencies: NDArray[np.float64]
    light: NDArray[np.complex128]
    count: int
    assumptions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        cells, blocks, _, modes = self.received.shape
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
    def owner(self) -> NDArray[np.int64]:
        """(mode,) the transmitter that alone sends it, -1 where several do or none."""
        lit = np.any(self.light != 0.0, axis=(1, 2))  # (transmitter, mode)
        return np.where(lit.sum(axis=0) == 1, np.argmax(lit, axis=0), -1)


def of_samples(samples: Any, modes: Any, light: Any, rate_hz: float, *, start: float = 0.0, cell_s: float = CELL_S) -> SlowTime:
    """From a capture of a single carrier, narrow enough that an echo's delay is a phase.

    samples: (rx, sample). modes: (mode, sample) one turn of the cyclic waveform, which fits at least FRAMES times into the capture. light:
    (transmitter, antenna, mode). start: sample of the capture at which a turn begins, within a sample: the fraction is found from what
    stands still. Whatever repeats with the waveform but is not a response without memory (pulses that are sampled off their middle, late
    walls) is taken out beforehand; cells are whole turns where one fits into `cell_s`, so that this holds for wandering carriers too.
    """
    samples, modes = np.asarray(samples), np.asarray(modes, dtype=complex)
    light = np.asarray(light, dtype=complex)[:, None]
    if samples.ndim != 2 or modes.ndim != 2:
        raise InputError("shape", "samples and modes are matrices", found=f"{samples.shape}, {modes.shape}", allowed="(rx, sample), (mode, sample)")
    count, turn = samples.shape[1], modes.shape[1]
    _long_enough(count / rate_hz)
    if turn * FRAMES > count:
        raise InputError("frame-long", "the waveform repeats too seldom to tell what stands still", found=f"{turn} samples in a capture of {count}",
                         allowed=f"<= {count // FRAMES} samples", fix="send a shorter frame or capture for longer")  # fmt: skip
    whole = int(np.round(start))
    order = (np.arange(turn) + whole) % turn  # sample of the turn -> sample of the capture, modulo a turn
    turns = count // turn
    mean = samples[:, : turns * turn].reshape(len(samples), turns, turn).mean(axis=1)[:, order]
    modes = delayed(modes, _fraction(mean, modes, start - whole))
    response = mean @ modes.conj().T @ np.linalg.pinv(modes @ modes.conj().T, rcond=1e-9, hermitian=True)
    at = (np.arange(count) - whole) % turn
    size = max(1, round(cell_s * rate_hz / turn)) * turn if turn <= 1.5 * cell_s * rate_hz else round(cell_s * rate_hz)
    cells = count // size
    rest = (mean - response @ modes)[:, at]
    cut = lambda rows: np.moveaxis(rows[:, : cells * size].reshape(len(rows), cells, size), 1, 0)
    y, x = cut(samples - rest), cut(modes[:, at])
    back = np.conj(np.swapaxes(x, 1, 2))
    times = ((np.arange(cells) + 0.5) * size - 0.5 * count) / rate_hz
    return SlowTime((y @ back)[:, None], (x @ back)[:, None], times, np.zeros(1), light, cells * size, ("narrow band",))


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
    return of_tones(tones, reference[index % reference.shape[0]], light, times - middle, numerology, cell_s=cell_s)


def of_tones(
    tones: NDArray, reference: NDArray, light: Any, times: NDArray[np.float64], numerology: Numerology, *, cell_s: float = CELL_S
) -> SlowTime:
    """From demodulated symbols. tones: (rx, symbol, tone); reference: (symbol, tone, mode) of the same symbols; times: (symbol,) seconds.

    What stands still is taken out tone by tone as far as it differs from its block's mean: as data are random, it would not average out.
    """
    light = np.asarray(light, dtype=complex)
    _, symbols, used = tones.shape
    if reference.shape[:2] != (symbols, used) or light.ndim != 4 or light.shape[1] != numerology.blocks or light.shape[3] != reference.shape[2]:
        raise InputError(
            "shape", "tones, reference and light disagree", found=f"{tones.shape}, {reference.shape}, {light.shape}",
            allowed=f"(rx, symbol, tone), (symbol, tone, mode), (transmitter, {numerology.blocks}, antenna, mode)",
        )  # fmt: skip
    y = np.moveaxis(tones, 2, 0)  # (tone, rx, symbol)
    x = np.moveaxis(reference, 0, 2).astype(tones.dtype)  # (tone, mode, symbol)
    back = np.conj(np.swapaxes(x, 1, 2))
    static = (y @ back) @ np.linalg.pinv((x @ back).astype(complex), rcond=1e-6, hermitian=True)  # (tone, rx, mode)
    block = numerology.block_of_tone
    uneven = static - numerology.block_mean(static, axis=0)[block]
    y = y - (uneven.astype(tones.dtype) @ x)
    size = max(1, round(cell_s / numerology.symbol_time_s))
    cells = symbols // size
    cut = lambda rows: rows[..., : cells * size].reshape(*rows.shape[:2], cells, size)
    y, x = np.moveaxis(cut(y), 2, 0), np.moveaxis(cut(x), 2, 0)  # (cell, tone, row, symbol)
    back = np.conj(np.swapaxes(x, 2, 3))
    starts = np.flatnonzero(np.diff(block, prepend=-1))
    total = lambda values: np.add.reduceat(values, starts, axis=1).astype(complex)
    return SlowTime(
        total(y @ back), total(x @ back), times[: cells * size].reshape(cells, size).mean(axis=1),
        numerology.block_mean(numerology.frequencies_hz), light, cells * size * used,
    )  # fmt: skip


def _long_enough(seconds: float) -> None:
    if seconds < SHORTEST_S * (1.0 - 1e-6):
        raise DeviceError(
            "capture-short", "too short to tell a walking target from the walls", found=f"{seconds * 1e3:.1f} ms",
            allowed=f">= {SHORTEST_S * 1e3:g} ms", fix="capture more measuring frames",
        )  # fmt: skip
