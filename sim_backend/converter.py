"""Converters and stepped gains: fractions of full scale to whole codes and back, and the receiver's noise figure.

A complex tone of amplitude 1 is full scale: 2^(bits - 1) codes. At 0 dB it is `transmit_full_scale_dbm` at the antenna port when sent and
`receive_full_scale_dbm` when received; receive full scale falls dB for dB with gain.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray

from hil.units import from_dbm, thermal_noise
from sim_backend.kernels import COMPILE

REFERENCE_GAIN_DB = 40.0  # at and above it the noise figure is the front end's own
PASS = 256  # samples

_f32, _i16 = np.float32, np.int16


def to_codes(fractions: NDArray[np.complex64], bits: int) -> tuple[NDArray[np.complex64], int]:
    """Rounded to the nearest code and held at the rails; also how many samples were at fault."""
    full = np.float32(2 ** (bits - 1))
    parts = np.ascontiguousarray(fractions, dtype=np.complex64).view(np.float32)
    codes = np.floor(parts * full + np.float32(0.5))
    held = np.clip(codes, -full, full - 1)
    return held.view(np.complex64), int(np.count_nonzero((codes != held).reshape(*fractions.shape, 2).any(-1)))


def write_codes(fractions: NDArray[np.complex64], channels: Sequence[int], bits: int, out: NDArray[np.int16]) -> None:
    """Codes of (channel, sample) into those channels of `out` (sample, channel, IQ), rounded to the nearest and held at the rails."""
    parts = np.ascontiguousarray(fractions).view(np.float32)
    _write_codes(parts, np.array(channels, np.int64), _f32(1 << (bits - 1)), out.view(np.int32)[:, :, 0])


@njit("void(f4[:,::1],i8[::1],f4,i4[:,:])", **COMPILE)
def _write_codes(parts, channels, full, out):
    """parts: (channel, I and Q in turn). out: (sample, channel) pairs of codes; a few samples of all channels at a time, for they lie apart."""
    row = np.empty(2 * PASS, np.int16)
    pairs = row.view(np.int32)
    most = full - _f32(1.0)
    for at in range(0, out.shape[0], PASS):
        size = min(PASS, out.shape[0] - at)
        for c in channels:
            part = parts[c, 2 * at : 2 * (at + size)]
            for n in range(part.size):
                row[n] = _i16(min(max(np.rint(part[n] * full), -full), most))
            for n in range(size):
                out[at + n, c] = pairs[n]


def transmit_amplitude(full_scale_dbm: float, attenuation_db: float) -> float:
    """Square-root watts at the antenna port of a sample of 1."""
    return math.sqrt(from_dbm(full_scale_dbm - attenuation_db))


def receive_scale(full_scale_dbm: float, gain_db: float) -> float:
    """Fraction of full scale per square-root watt at the antenna port."""
    return 1.0 / math.sqrt(from_dbm(full_scale_dbm - gain_db))


def noise_power(rate: float, figure_db: float, gain_db: float) -> float:
    """Watts at the port, per complex sample: k T0 F fs with F(G) = F0 + max(0, 40 dB - G)/2."""
    return thermal_noise(rate, figure_db + max(0.0, REFERENCE_GAIN_DB - gain_db) / 2.0)


def on_grid(asked_db: float, least_db: float, most_db: float, step_db: float) -> float:
    """The nearest setting there is."""
    steps = round((asked_db - least_db) / step_db)
    return least_db + step_db * min(max(steps, 0), math.floor((most_db - least_db) / step_db + 1e-9))
