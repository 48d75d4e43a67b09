"""The fractional interpolator and its signal planes: twelve weights on a grid of twice the receiver's rate.

Weights minimise the mean square error of exp(j 2 pi f mu) over |f| <= BAND of the grid (closed-form Gram matrix), so what lies
within 0.4 of the receiver's rate comes out right to better than -110 dB. Its derivatives in mu are filters of the same kind.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from sim_backend.kernels import FINE, MARGIN, TAPS

BAND = 0.21  # of the table grid


@cache
def filters() -> NDArray[np.float32]:
    """(derivative 0 .. 2, position, tap): the taps at -TAPS/2 + 1 .. TAPS/2 for positions -1/8 .. 9/8 in steps of 1/FINE."""
    taps = np.arange(-TAPS // 2 + 1, TAPS // 2 + 1)
    positions = np.arange(-MARGIN, FINE + MARGIN + 1) / FINE
    gram = np.sinc(2 * BAND * (taps[:, None] - taps))
    y = 2 * BAND * (positions[:, None] - taps)
    safe = np.where(y == 0.0, 1.0, y)
    slope = np.where(y == 0.0, 0.0, (np.cos(np.pi * y) - np.sinc(y)) / safe)
    curve = np.where(y == 0.0, -(np.pi**2) / 3, -(np.pi**2) * np.sinc(y) - 2 * slope / safe)
    wanted = np.stack([np.sinc(y), 2 * BAND * slope, (2 * BAND) ** 2 * curve])
    return np.ascontiguousarray(np.linalg.solve(gram, wanted.swapaxes(1, 2)).swapaxes(1, 2), dtype=np.float32)


def planes(spectrum: NDArray[np.complex64], overhang: int) -> NDArray[np.float32]:
    """Signals of cyclic spectra (signal, bin of an even length), as the kernels read them: (signal, 4, half the length + overhang)."""
    signal = scipy.fft.ifft(spectrum, axis=1, norm="forward", overwrite_x=True)
    half = signal.shape[1] // 2
    size = half + overhang
    out = np.empty((signal.shape[0], 4, size), np.float32)
    for i, part in enumerate((signal.real[:, 0::2], signal.imag[:, 0::2], signal.real[:, 1::2], signal.imag[:, 1::2])):
        out[:, i, :half] = part
        at = half
        while at < size:
            more = min(half, size - at)
            out[:, i, at : at + more] = part[:, :more]
            at += more
    return out
