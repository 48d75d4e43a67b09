"""Phase noise of a synthesiser: a Gaussian phase with a plateau and one pole, as a function of (key, time).

S(f) = 2 L0/(1 + (f/f_pole)^2) with L0 = sigma^2/(pi f_pole): single-sideband, per hertz. The phase lives on a grid of 1.92 MHz of true
time. Segments of 4096 samples, one every 2048, are stationary first-order autoregressions, each from a key of its own; under sine windows,
whose squares add to one, their sum has the same power everywhere, and any stretch can be asked for in any order with equal bits.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sim_backend.kernels import COMPILE
from sim_backend.noise import PASS, _normals

GRID_HZ = 1_920_000
POLE_HZ = 100e3
SEGMENT, HOP = 4096, 2048
MEMORY = math.exp(-2.0 * math.pi * POLE_HZ / GRID_HZ)  # of the autoregression, from one sample to the next

STRETCH = 7 * HOP  # points kept together: eight segments
KEPT = 256  # stretches, 57 kB each

_WINDOW = np.sin(np.pi * (np.arange(SEGMENT) + 0.5) / SEGMENT).astype(np.float32)
_f32, _u64 = np.float32, np.uint64


def density(rms: float, frequency: NDArray[np.float64]) -> NDArray[np.float64]:
    """L(f), single-sideband power per hertz against the carrier (a ratio), of a phase of `rms` radians."""
    return rms**2 / (math.pi * POLE_HZ) / (1.0 + (np.asarray(frequency) / POLE_HZ) ** 2)


def at_samples(rms: float) -> float:
    """Radians rms of what samples see: straight lines between the points of the grid keep (2 + MEMORY)/3 of the power, 0.4 dB less, all of
    it beyond 300 kHz."""
    return rms * math.sqrt((2.0 + MEMORY) / 3.0)


def track(key: int, rms: float, first: int, count: int) -> NDArray[np.float32]:
    """Phase in radians, (count,), on the grid: index = true seconds x 1.92e6, from index `first`."""
    out = np.zeros(count, np.float32)
    if rms > 0.0 and count > STRETCH // 2:  # every receiver asks for every transmitter's, and the next window begins where this one ends
        for number in range(first // STRETCH, (first + count - 1) // STRETCH + 1):
            low, high = max(number * STRETCH - first, 0), min((number + 1) * STRETCH - first, count)
            begin = first + low - number * STRETCH
            out[low:high] = _stretch(key, rms, number)[begin : begin + high - low]
    elif rms > 0.0 and count > 0:
        _track(_u64(key), first, _f32(rms), _WINDOW, out)
    return out


@lru_cache(KEPT)
def _stretch(key: int, rms: float, number: int) -> NDArray[np.float32]:
    out = np.zeros(STRETCH, np.float32)
    _track(_u64(key), number * STRETCH, _f32(rms), _WINDOW, out)
    return out


@njit("void(u8,i8,f4,f4[::1],f4[::1])", **COMPILE)
def _track(key, first, rms, window, out):
    """Two segments at a time: their recursions do not wait for each other."""
    lowest = first // HOP - 1
    highest = (first + out.size - 1) // HOP
    normal = np.empty((2, 2, SEGMENT // 2), np.float32)  # (segment, half, sample)
    words = np.empty((4, PASS // 2), np.uint32)
    drawn = np.empty((2, 2, PASS // 2), np.float32)  # (half, even or odd, counter)
    keep = _f32(MEMORY)
    fresh = _f32(rms * math.sqrt(1.0 - MEMORY * MEMORY))
    for segment in range(lowest, highest + 1, 2):
        for s in range(2):
            # words of a segment's own counters: 2048 pairs of normals; the grid may begin before the epoch
            base = _u64(segment + s + (1 << 40)) * _u64(SEGMENT // 4)
            for at in range(0, SEGMENT // 2, PASS):
                _normals(key, base + _u64(at // 2), words, drawn[0], drawn[1])
                for half in range(2):
                    row = normal[s, half, at : at + PASS]
                    for i in range(PASS // 2):
                        row[2 * i] = drawn[half, 0, i]
                        row[2 * i + 1] = drawn[half, 1, i]
        a = rms / fresh * normal[0, 0, 0]
        b = rms / fresh * normal[1, 0, 0]
        start = segment * HOP - first  # of the first segment in `out`
        for half in range(2):
            for m in range(SEGMENT // 2):
                if half + m > 0:
                    a = keep * a + normal[0, half, m]
                    b = keep * b + normal[1, half, m]
                normal[0, half, m] = a
                normal[1, half, m] = b
        for s in range(2):
            begin = start + s * HOP
            for half in range(2):
                offset = begin + half * (SEGMENT // 2)
                low = max(0, -offset)
                high = min(SEGMENT // 2, out.size - offset)
                weight = window[half * (SEGMENT // 2) :]
                for m in range(low, high):
                    out[offset + m] += fresh * weight[m] * normal[s, half, m]
