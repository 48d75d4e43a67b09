"""How faults of a receiver show: in what its ports hear, and in the codes that leave it."""

from __future__ import annotations

import itertools
import math

import numpy as np
from numpy.typing import NDArray

from hil.clock import Instant
from hil.units import from_db, from_dbm
from sim_backend import seeds
from sim_backend.faults import ROOM, Fault, Faults
from sim_backend.history import Tuning
from sim_backend.kernels import BLOCK

FLICKER_S = 1e-3  # a loose cable makes or breaks contact so often
AT_CODES = ("iq-tracking-off", "dc-jump", "adc-stuck-bit", "polarity-flip", "dead-channel", "channels-swapped")
AT_PORTS = ("weak-channel", "cable-loose")


def _part(fault: Fault, tuning: Tuning, first: int, count: int) -> slice:
    """The samples of a window that a fault covers."""

    def tick(at: Instant | None) -> int:
        return first + count if at is None else tuning.oscillator.next_tick(at, tuning.rate)

    return slice(*(min(max(tick(at) - first, 0), count) for at in (fault.begins, fault.ends)))


def of_codes(faults: Faults, bits: int, tuning: Tuning, first: int, fractions: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """(channel, sample) fractions of full scale from receiver tick `first`, as the faults of the radio leave them: whole codes still."""
    present = faults.all(tuning.radio, *AT_CODES)
    if not present:
        return fractions
    full, count = float(1 << (bits - 1)), fractions.shape[1]
    codes = fractions.astype(complex) * full
    for kind in AT_CODES:
        for fault in faults.all(tuning.radio, kind):
            part = _part(fault, tuning, first, count)
            _spoil(kind, fault, codes[:, part], full, tuning.radio)
    held = np.clip(np.floor(codes.real + 0.5), -full, full - 1) + 1j * np.clip(np.floor(codes.imag + 0.5), -full, full - 1)
    return (held / full).astype(np.complex64)


def _spoil(kind: str, fault: Fault, codes: NDArray[np.complex128], full: float, radio: str) -> None:
    """Change codes (channel, sample) in place."""
    if kind == "iq-tracking-off":
        codes += math.sqrt(from_db(fault["image_dbc"])) * np.exp(2j * np.pi * seeds.uniform(0, 1, radio, "image")) * np.conj(codes)
        return
    channel = int(fault["channel"])
    if channel >= len(codes):
        return
    one = codes[channel]
    match kind:
        case "dc-jump":
            one += full * math.sqrt(from_db(fault["level_dbfs"]))
        case "adc-stuck-bit":
            one.real = (np.floor(one.real + 0.5).astype(np.int64) | (1 << int(fault["bit"]))).astype(float)
        case "polarity-flip":
            one *= -1.0
        case "dead-channel":
            one[:] = 0.0
        case "channels-swapped" if int(fault["other"]) < len(codes):
            codes[[channel, int(fault["other"])]] = codes[[int(fault["other"]), channel]]


def at_ports(faults: Faults, seed: int, tuning: Tuning, first: int, wired: NDArray[np.int64], heard: NDArray[np.float32]) -> None:
    """Change what the antennas hear, (real and imaginary, antenna, sample) square-root watts from receiver tick `first`, in place.

    wired: (antenna,) their channels. Before the receiver's own noise.
    """
    count = heard.shape[2]
    for fault in faults.all(ROOM, "interferer"):
        _interfere(fault, tuning, first, _part(fault, tuning, first, count), heard)
    for kind in AT_PORTS:
        for fault in faults.all(tuning.radio, kind):
            part = _part(fault, tuning, first, count)
            weaker = np.full(count, math.sqrt(from_db(-fault["loss_db"])), np.float32)
            if kind == "cable-loose":
                cell = np.arange(first, first + count) // max(1, round(FLICKER_S * tuning.rate))
                open_ = {int(c): seeds.uniform(0, 1, seed, tuning.radio, "flicker", int(c)) < 0.5 for c in np.unique(cell)}
                weaker = np.where([open_[int(c)] for c in cell], weaker, np.float32(1.0))
            for antenna in np.flatnonzero(wired == int(fault["channel"])):
                heard[:, antenna, part] *= weaker[part]


def _interfere(fault: Fault, tuning: Tuning, first: int, part: slice, heard: NDArray[np.float32]) -> None:
    """Add a tone of a perfect clock, the same at every port, inside the receiver's band."""
    offset = fault["carrier_hz"] - tuning.carrier if fault["carrier_hz"] else 1e6
    if abs(offset) > 0.4 * tuning.rate or part.start >= part.stop:
        return
    count = heard.shape[2]
    cycles = []
    for k in range(count // BLOCK + 1):
        at = tuning.oscillator.tick(first + k * BLOCK, tuning.rate)
        x, _ = tuning.oscillator.error(at)
        cycles.append((round(offset) * at.fraction - tuning.carrier * x - tuning.phase) + (offset - round(offset)) * at.seconds)
    turns = np.empty(count)
    for k, (a, b) in enumerate(itertools.pairwise(cycles)):
        step = b - a - round((b - a) - offset * BLOCK / tuning.rate)  # whole seconds are whole cycles
        turns[k * BLOCK : (k + 1) * BLOCK] = a + step * np.arange(BLOCK) / BLOCK
    tone = math.sqrt(from_dbm(fault["at_port_dbm"])) * np.exp(2j * np.pi * turns)
    heard[0][:, part] += tone.real[part].astype(np.float32)
    heard[1][:, part] += tone.imag[part].astype(np.float32)
