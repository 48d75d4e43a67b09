"""Compiled loops: oscillators, block instants, response spectra, codes. What runs for every sample of a path is in `sweep`.

What calls each other lives in one file, because the compiler's cache looks at the file of a function only. None holds the interpreter's lock.
Blocks of `BLOCK` receiver samples stand on an absolute grid and are always computed whole, so a request that is cut differently cannot
change a bit.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

BLOCK = 1024  # receiver samples
TAPS = 12
FINE = 2048  # interpolator positions per table sample
MARGIN = FINE // 8  # the table reaches from -1/8 to 9/8, so that drift inside a block needs no new index
CELLS = 512  # a second: pieces in which an oscillator's course is a polynomial
NODES = 8
CHUNK = 64  # bins between exact phasors of a spectrum

_f32 = np.float32


def _probe() -> bool:
    """Whether the compiler can keep what it makes, beside this file or in the user's cache folder."""
    try:
        njit(cache=True)(_probe)
    except RuntimeError:
        return False
    return True


# The same for every function: products and quotients of complex numbers are functions of the compiler's own, made once a process with the
# flags of whoever asks first. Were flags different, bits would depend on what was found in the cache and what had to be made.
COMPILE = dict(cache=_probe(), nogil=True, error_model="numpy", fastmath={"contract"})


@njit("UniTuple(f8,2)(f8[:,::1],f8)", **COMPILE)
def _wander(lines, t):
    """(x, y) of an oscillator's lines."""
    x = y = 0.0
    for i in range(lines.shape[0]):
        half = 0.5 * lines[i, 1] * t
        y += lines[i, 0] * math.cos(2.0 * half + lines[i, 2])
        x += 2.0 * lines[i, 0] / lines[i, 1] * math.sin(half) * math.cos(half + lines[i, 2])
    return x, y


@njit("UniTuple(f8,2)(f8[::1],f8)", **COMPILE)
def _trend(head, t):
    """(x, y) of all but the lines."""
    decay = math.exp(-t / head[3])
    return head[0] * t + 0.5 * head[1] * t * t + head[2] * head[3] * (1.0 - decay), head[0] + head[1] * t + head[2] * decay


@njit("UniTuple(f8,2)(f8[::1],f8[:,::1],i8,f8)", **COMPILE)
def oscillator(head, lines, whole, fraction):
    """(x, y) at the instant whole + fraction. head: constant, ageing, warm-up, its time constant, clock offset."""
    trend, wander = _trend(head, whole + fraction), _wander(lines, whole + fraction)
    return trend[0] + wander[0], trend[1] + wander[1]


@njit("void(f8[:,::1],i8,f8[:,:,::1])", **COMPILE)
def course(lines, first, out):
    """Chebyshev coefficients (cell, x or y, NODES) of an oscillator's lines in cells of true time 1/CELLS s long, from cell `first`.

    Lines end at 200 Hz, so eight nodes in 2 ms give x to 1e-18 s, at a tenth of the price of asking for every block's ends and middle.
    """
    nodes = np.empty((NODES, 2))
    for c in range(out.shape[0]):
        for j in range(NODES):
            s = math.cos(math.pi * (j + 0.5) / NODES)
            nodes[j] = _wander(lines, (first + c + 0.5 + 0.5 * s) / CELLS)
        for k in range(NODES):
            out[c, 0, k] = out[c, 1, k] = 0.0
            for j in range(NODES):
                share = (2.0 if k else 1.0) / NODES * math.cos(math.pi * k * (j + 0.5) / NODES)
                out[c, 0, k] += share * nodes[j, 0]
                out[c, 1, k] += share * nodes[j, 1]


@njit("UniTuple(f8,2)(f8[::1],f8[:,:,::1],i8,i8,f8)", **COMPILE)
def _follow(head, cells, first, whole, fraction):
    """(x, y) at the instant whole + fraction, by the oscillator's course."""
    place = fraction * CELLS
    cell = math.floor(place)
    s = 2.0 * (place - cell) - 1.0
    row = cells[min(max(whole * CELLS + np.int64(cell) - first, 0), cells.shape[0] - 1)]
    x = y = x_before = y_before = 0.0
    for k in range(NODES - 1, 0, -1):
        x, x_before = 2.0 * s * x - x_before + row[0, k], x
        y, y_before = 2.0 * s * y - y_before + row[1, k], y
    trend = _trend(head, whole + fraction)
    return trend[0] + (s * x - x_before + row[0, 0]), trend[1] + (s * y - y_before + row[1, 0])


@njit("Tuple((i8,f8))(f8[::1],f8[:,::1],i8,f8)", **COMPILE)
def true_instant(head, lines, whole, fraction):
    """The true instant at which the local clock t - offset + x(t) reads whole + fraction: three Newton steps."""
    w, f = whole, fraction + head[4]
    for _ in range(3):
        x, y = oscillator(head, lines, w, f)
        f += ((whole - w) + (fraction - f) + head[4] - x) / (1.0 + y)
        carry = math.floor(f)
        w += np.int64(carry)
        f -= carry
    return w, f


@njit("void(f8[::1],f8[:,:,::1],i8,i8,i8,i8,i8[::1],f8[::1])", **COMPILE)
def tick_instants(head, cells, first_cell, rate, first, step, whole, fraction):
    """True instants of the ticks first, first + step, ... of a sample clock, as `true_instant`; writes `whole` and `fraction`."""
    for b in range(whole.size):
        n = first + b * step
        local = n // rate
        rest = (n - local * rate) / rate
        w, f = local, rest + head[4]
        for _ in range(3):
            x, y = _follow(head, cells, first_cell, w, f)
            f += ((local - w) + (rest - f) + head[4] - x) / (1.0 + y)
            carry = math.floor(f)
            w += np.int64(carry)
            f -= carry
        whole[b], fraction[b] = w, f


@njit("void(f8[::1],f8[:,:,::1],i8,f8[::1],f8[:,:,::1],i8,i8,i8,i8,i8,i8[::1],f8[::1],f8[:,::1])", **COMPILE)
def relate(rx_head, rx_cells, rx_carrier, tx_head, tx_cells, tx_carrier, tx_rate, tx_start, period, first_cell, whole, fraction, out):
    """How a transmitter stands to a receiver at true instants; writes out (6, instant):

    0 carrier of the transmitter minus the receiver's, cycles in [0, 1); 1 its growth to the next instant, cycles;
    2 position in the cyclic waveform, transmitter samples in [0, period); 3 its growth to the next instant; 4 the transmitter's y;
    5 cycles by which the carrier lies above its chord half-way to the next instant (noise up to 200 Hz bends it within a block).
    """
    count = whole.size
    start_whole = tx_start // tx_rate
    start_rest = tx_start - start_whole * tx_rate
    apart = tx_carrier - rx_carrier
    rx_before = tx_before = 0.0
    for b in range(count):
        xr, _ = _follow(rx_head, rx_cells, first_cell, whole[b], fraction[b])
        xt, y = _follow(tx_head, tx_cells, first_cell, whole[b], fraction[b])
        cycles = apart * fraction[b] + (tx_carrier * xt - rx_carrier * xr)
        out[0, b] = cycles - math.floor(cycles)
        laps = ((whole[b] - start_whole) * tx_rate) % period
        position = laps - start_rest + (fraction[b] + (xt - tx_head[4])) * tx_rate
        out[2, b] = position - math.floor(position / period) * period
        out[4, b] = y
        if b > 0:
            passed = (whole[b] - whole[b - 1]) + (fraction[b] - fraction[b - 1])
            out[1, b - 1] = apart * passed + tx_carrier * (xt - tx_before) - rx_carrier * (xr - rx_before)
            out[3, b - 1] = (passed + (xt - tx_before)) * tx_rate
            xr_half, _ = _follow(rx_head, rx_cells, first_cell, whole[b - 1], fraction[b - 1] + 0.5 * passed)
            xt_half, _ = _follow(tx_head, tx_cells, first_cell, whole[b - 1], fraction[b - 1] + 0.5 * passed)
            bent = tx_carrier * (xt_half - 0.5 * (xt + tx_before)) - rx_carrier * (xr_half - 0.5 * (xr + rx_before))
            out[5, b - 1] = bent
        rx_before, tx_before = xr, xt
    out[1, count - 1] = 0.0
    out[3, count - 1] = 0.0
    out[5, count - 1] = 0.0


@njit("void(f8[:,::1],i8,i8,f8[:,::1])", **COMPILE)
def straight(values, offset, stride, out):
    """Rows of `values`, `stride` steps apart, and straight lines between them: writes `out`, of which the first row is `offset` steps on."""
    for n in range(out.shape[0]):
        low = (offset + n) // stride
        share = (offset + n - low * stride) / stride
        high = min(low + 1, values.shape[0] - 1)
        for i in range(out.shape[1]):
            out[n, i] = values[low, i] + share * (values[high, i] - values[low, i])


@njit("void(c8[:,::1],f8,f8,i8,f8[:,:,::1],c16[:,:,::1],c8[:,::1])", **COMPILE)
def response(spectrum, carrier, spacing, lowest, delay, gain, out):
    """Spectra at each receive antenna of what all transmit elements send through all paths.

    out[r, k] = sum over e, p of spectrum[e, k] gain[p, r, e] exp(-j 2 pi (carrier + (lowest + k) spacing) delay[p, r, e]).
    spectrum: (element, bin). carrier, spacing: hertz as the transmitter really runs. delay, gain: (path, antenna, element).
    """
    paths, antennas, elements = delay.shape
    bins = spectrum.shape[1]
    step_re = np.empty((paths, CHUNK), np.float32)
    step_im = np.empty((paths, CHUNK), np.float32)
    sum_re = np.empty(CHUNK, np.float32)
    sum_im = np.empty(CHUNK, np.float32)
    for r in range(antennas):
        for k in range(bins):
            out[r, k] = 0.0
        for e in range(elements):
            for p in range(paths):
                for m in range(CHUNK):
                    angle = -2.0 * math.pi * (spacing * m * delay[p, r, e])
                    step_re[p, m] = math.cos(angle)
                    step_im[p, m] = math.sin(angle)
            for first in range(0, bins, CHUNK):
                size = min(CHUNK, bins - first)
                for m in range(CHUNK):
                    sum_re[m] = 0.0
                    sum_im[m] = 0.0
                for p in range(paths):
                    cycles = (carrier + (lowest + first) * spacing) * delay[p, r, e]
                    angle = -2.0 * math.pi * (cycles - math.floor(cycles))
                    a = gain[p, r, e] * complex(math.cos(angle), math.sin(angle))
                    ar = _f32(a.real)
                    ai = _f32(a.imag)
                    for m in range(CHUNK):
                        sum_re[m] += ar * step_re[p, m] - ai * step_im[p, m]
                        sum_im[m] += ar * step_im[p, m] + ai * step_re[p, m]
                for m in range(size):
                    out[r, first + m] += spectrum[e, first + m] * complex(sum_re[m], sum_im[m])
