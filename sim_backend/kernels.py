"""Compiled loops of the medium: oscillators, block instants, response spectra, and rays through the fractional interpolator.

All of them live in one file, because the compiler's cache looks at the file of a function only. None holds the interpreter's lock.
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
CHUNK = 64  # bins between exact phasors of a spectrum
TURN = 32  # samples between phasors restarted from float64
DRIFT = 0.004  # table samples: the drift over which interpolator coefficients may be taken as linear (-110 dB at 0.2 of the grid)

_f32 = np.float32


def _probe() -> bool:
    """Whether the compiler can keep what it makes, beside this file or in the user's cache folder."""
    try:
        njit(cache=True)(_probe)
    except RuntimeError:
        return False
    return True


COMPILE = dict(cache=_probe(), nogil=True, error_model="numpy")


@njit("UniTuple(f8,2)(f8[::1],f8[:,::1],i8,f8)", **COMPILE)
def oscillator(head, lines, whole, fraction):
    """(x, y) at the instant whole + fraction. head: constant, ageing, warm-up, its time constant, clock offset."""
    t = whole + fraction
    decay = math.exp(-t / head[3])
    y = head[0] + head[1] * t + head[2] * decay
    x = head[0] * t + 0.5 * head[1] * t * t + head[2] * head[3] * (1.0 - decay)
    for i in range(lines.shape[0]):
        half = 0.5 * lines[i, 1] * t
        y += lines[i, 0] * math.cos(2.0 * half + lines[i, 2])
        x += 2.0 * lines[i, 0] / lines[i, 1] * math.sin(half) * math.cos(half + lines[i, 2])
    return x, y


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


@njit("void(f8[::1],f8[:,::1],i8,i8,i8,i8[::1],f8[::1])", **COMPILE)
def tick_instants(head, lines, rate, first, step, whole, fraction):
    """True instants of the ticks first, first + step, ... of a sample clock; writes `whole` and `fraction`."""
    for b in range(whole.size):
        n = first + b * step
        w = n // rate
        whole[b], fraction[b] = true_instant(head, lines, w, (n - w * rate) / rate)


@njit(
    "void(f8[::1],f8[:,::1],i8,f8[::1],f8[:,::1],i8,i8,i8,i8,i8[::1],f8[::1],f8[:,::1])",
    **COMPILE,
)
def relate(rx_head, rx_lines, rx_carrier, tx_head, tx_lines, tx_carrier, tx_rate, tx_start, period, whole, fraction, out):
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
        xr, _ = oscillator(rx_head, rx_lines, whole[b], fraction[b])
        xt, y = oscillator(tx_head, tx_lines, whole[b], fraction[b])
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
            xr_half, _ = oscillator(rx_head, rx_lines, whole[b - 1], fraction[b - 1] + 0.5 * passed)
            xt_half, _ = oscillator(tx_head, tx_lines, whole[b - 1], fraction[b - 1] + 0.5 * passed)
            bent = tx_carrier * (xt_half - 0.5 * (xt + tx_before)) - rx_carrier * (xr_half - 0.5 * (xr + rx_before))
            out[5, b - 1] = bent
        rx_before, tx_before = xr, xt
    out[1, count - 1] = 0.0
    out[3, count - 1] = 0.0
    out[5, count - 1] = 0.0


@njit("void(c8[:,::1],f8,f8,i8,f8[:,:,::1],c16[:,:,::1],c8[:,::1])", fastmath={"contract"}, **COMPILE)
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


@njit("void(f8,f4[:,::1],f8[::1])", **COMPILE)
def _coefficients(position, table, out):
    """Interpolator weights at a fractional position in [-1/8, 9/8]: linear between rows of the table."""
    row = position * FINE + MARGIN
    low = min(max(int(row), 0), table.shape[0] - 2)
    rest = row - low
    for k in range(TAPS):
        out[k] = table[low, k] + rest * (table[low + 1, k] - table[low, k])


@njit(
    "void(f4[::1],f4[::1],f4[::1],f4[::1],i8,i8,f8[::1],f8[::1],f4[::1],f4[::1],i8,i8,i8,i8,f4[::1],f4[::1],i8)",
    fastmath={"contract"},
    **COMPILE,
)
def _span(ar, ai, br, bi, oa, ob, w0, w1, turn_re, turn_im, at, reach, low, high, out_re, out_im, base):
    """Samples at .. at + reach of one ray: twelve weights, linear over the span, then the phasor; written out so that it vectorises."""
    a0, a1, a2, a3, a4, a5 = _f32(w0[0]), _f32(w0[2]), _f32(w0[4]), _f32(w0[6]), _f32(w0[8]), _f32(w0[10])
    b0, b1, b2, b3, b4, b5 = _f32(w0[1]), _f32(w0[3]), _f32(w0[5]), _f32(w0[7]), _f32(w0[9]), _f32(w0[11])
    d0, d1, d2 = _f32((w1[0] - w0[0]) / reach), _f32((w1[2] - w0[2]) / reach), _f32((w1[4] - w0[4]) / reach)
    d3, d4, d5 = _f32((w1[6] - w0[6]) / reach), _f32((w1[8] - w0[8]) / reach), _f32((w1[10] - w0[10]) / reach)
    e0, e1, e2 = _f32((w1[1] - w0[1]) / reach), _f32((w1[3] - w0[3]) / reach), _f32((w1[5] - w0[5]) / reach)
    e3, e4, e5 = _f32((w1[7] - w0[7]) / reach), _f32((w1[9] - w0[9]) / reach), _f32((w1[11] - w0[11]) / reach)
    start = max(low - at, 0)
    count = min(high - at, reach) - start
    ar, ai, br, bi = ar[oa + start :], ai[oa + start :], br[ob + start :], bi[ob + start :]
    turn_re, turn_im = turn_re[at + start :], turn_im[at + start :]
    out_re, out_im = out_re[base + at + start :], out_im[base + at + start :]
    for m in range(count):
        n = _f32(m + start)
        f0, f1, f2, f3, f4, f5 = a0 + n * d0, a1 + n * d1, a2 + n * d2, a3 + n * d3, a4 + n * d4, a5 + n * d5
        g0, g1, g2, g3, g4, g5 = b0 + n * e0, b1 + n * e1, b2 + n * e2, b3 + n * e3, b4 + n * e4, b5 + n * e5
        re = f0 * ar[m] + f1 * ar[m + 1] + f2 * ar[m + 2] + f3 * ar[m + 3] + f4 * ar[m + 4] + f5 * ar[m + 5]
        re += g0 * br[m] + g1 * br[m + 1] + g2 * br[m + 2] + g3 * br[m + 3] + g4 * br[m + 4] + g5 * br[m + 5]
        im = f0 * ai[m] + f1 * ai[m + 1] + f2 * ai[m + 2] + f3 * ai[m + 3] + f4 * ai[m + 4] + f5 * ai[m + 5]
        im += g0 * bi[m] + g1 * bi[m + 1] + g2 * bi[m + 2] + g3 * bi[m + 3] + g4 * bi[m + 4] + g5 * bi[m + 5]
        c = turn_re[m]
        s = turn_im[m]
        out_re[m] += re * c - im * s
        out_im[m] += re * s + im * c


@njit(
    "void(f4[:,:,::1],i8,f8,f8,f8,f8,f8,f4[:,::1],f8[:,::1],f8[:,::1],c16[:,::1],i8[::1],i8[::1],i8,i8,i8,i8,f4[:,::1],f4[:,::1])",
    fastmath={"contract"},
    **COMPILE,
)
def rays(
    planes, length, scale, spin, rate, carrier, phase, table, relation, delay, gain, source, antenna,
    first, skip, begin, end, out_re, out_im,
):  # fmt: skip
    """Add rays to what the receive antennas hear, block by block.

    planes: (source, 4, .) signals on the table grid: even real, even imaginary, odd real, odd imaginary, cyclic with `length` and
    an overhang. scale: table samples per transmitter sample. spin: cycles per transmitter sample by which the table stands higher than
    the transmitter's baseband. rate, carrier: hertz of the transmitter. phase: cycles, constant.
    relation: (6, block end) of `relate`. delay: (block end, ray) seconds. gain: (block end, ray). source, antenna: of each ray.
    first: receiver sample at which the first block begins; samples in [begin, end) are added. skip: samples of `out` before that block.
    out: (antenna, sample).
    """
    weights0 = np.empty(TAPS)
    weights1 = np.empty(TAPS)
    turn_re = np.empty(BLOCK, np.float32)
    turn_im = np.empty(BLOCK, np.float32)
    small_re = np.empty(TURN, np.float32)
    small_im = np.empty(TURN, np.float32)
    for b in range(delay.shape[0] - 1):
        low = max(begin - first - b * BLOCK, 0)
        high = min(end - first - b * BLOCK, BLOCK)
        if low >= high:
            continue
        y0 = 1.0 + relation[4, b]
        y1 = 1.0 + relation[4, b + 1]
        for q in range(delay.shape[1]):
            # time: position in the waveform at the block's begin, in transmitter samples, and growth over the block
            sent = relation[2, b] - delay[b, q] * y0 * rate
            grown = relation[3, b] - (delay[b + 1, q] * y1 - delay[b, q] * y0) * rate
            # carrier: phase at the block's begin and growth per sample, then a phasor for every sample
            before = carrier * y0 * delay[b, q]
            cycles = relation[0, b] + phase - before - spin * sent
            growth = (relation[1, b] - (carrier * y1 * delay[b + 1, q] - before) - spin * grown) / BLOCK
            angle = 2.0 * math.pi * (cycles - math.floor(cycles))
            z = complex(math.cos(angle), math.sin(angle))
            angle = 2.0 * math.pi * growth
            one = complex(math.cos(angle), math.sin(angle))
            angle = 2.0 * math.pi * (TURN * growth - math.floor(TURN * growth))
            many = complex(math.cos(angle), math.sin(angle))
            small = complex(1.0, 0.0)
            for m in range(TURN):
                small_re[m] = small.real
                small_im[m] = small.imag
                small *= one
            for i in range(0, BLOCK, TURN):
                at = (i + 0.5 * TURN) / BLOCK
                bend = 8.0 * math.pi * relation[5, b] * at * (1.0 - at)
                bent = z * complex(1.0 - 0.5 * bend * bend, bend) * (gain[b, q] + at * (gain[b + 1, q] - gain[b, q]))
                zr = _f32(bent.real)
                zi = _f32(bent.imag)
                for m in range(TURN):
                    turn_re[i + m] = zr * small_re[m] - zi * small_im[m]
                    turn_im[i + m] = zr * small_im[m] + zi * small_re[m]
                z *= many
            position = sent * scale
            slope = grown * scale / BLOCK
            drift = slope - 2.0
            reach = BLOCK
            while reach > 16 and abs(drift) * reach > DRIFT:
                reach //= 2
            signal = planes[source[q]]
            o = antenna[q]
            for i in range(0, BLOCK, reach):
                if i + reach <= low or i >= high:
                    continue
                p = position + i * slope
                base = math.floor(p)
                mu = p - base
                _coefficients(mu, table, weights0)
                _coefficients(mu + reach * drift, table, weights1)
                j = (np.int64(base) - (TAPS // 2 - 1)) % length
                if j % 2 == 0:
                    ar, ai, br, bi = signal[0], signal[1], signal[2], signal[3]
                    oa = j // 2
                    ob = oa
                else:
                    ar, ai, br, bi = signal[2], signal[3], signal[0], signal[1]
                    oa = j // 2
                    ob = oa + 1
                _span(
                    ar,
                    ai,
                    br,
                    bi,
                    oa,
                    ob,
                    weights0,
                    weights1,
                    turn_re,
                    turn_im,
                    i,
                    reach,
                    low,
                    high,
                    out_re[o],
                    out_im[o],
                    skip + b * BLOCK,
                )


@njit("i8(f4[:,::1],f4[:,::1],i8,f4[::1],f4,c8[:,::1])", **COMPILE)
def digitise(port_re, port_im, skip, gain, full, out):
    """Codes over full scale, (channel, sample), of port samples from `skip`; answers how many samples met a rail.

    gain: (channel,) codes per unit. Codes are rounded to the nearest and held within -full .. full - 1.
    """
    held = 0
    most = full - _f32(1.0)
    for c in range(gain.size):
        re, im, codes = port_re[c, skip:], port_im[c, skip:], out[c]
        for n in range(codes.size):
            i = np.floor(re[n] * gain[c] + _f32(0.5))
            q = np.floor(im[n] * gain[c] + _f32(0.5))
            held += (i >= most) | (i <= -full) | (q >= most) | (q <= -full)
            codes[n] = complex(min(max(i, -full), most) / full, min(max(q, -full), most) / full)
    return held
