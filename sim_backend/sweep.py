"""Compiled loops that run for every sample: tables and bundles of rays through the fractional interpolator, one phasor each.

What moves, moves in bundles: transmit elements and receive antennas that see one path over nearly the same length. Elements are added up
on the table's grid, each turned to its own phase and shifted to its own delay by a Taylor series about the bundle's; one interpolation
reads the sum; the same series spreads it over the antennas. Where elements move and everything does with them, all rays of an element and
an antenna become one short filter instead, whose price hardly knows how many they are. Blocks are always computed whole, on an absolute
grid (see `kernels`).
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from sim_backend.kernels import BLOCK, COMPILE, FINE, MARGIN, TAPS

TURN = 32  # samples between phasors restarted from float64
DRIFT = 0.004  # table samples: the drift over which interpolator weights may be taken as linear (-110 dB at 0.2 of the grid)
LOW_RATE = 1_920_000  # Hz of the grid of phase noise

_f32 = np.float32
_HALF = _f32(0.5)


@njit("i8(f8)", **COMPILE)
def _reach(drift):
    """Samples over which the interpolator's weights are taken as linear."""
    reach = BLOCK
    while reach > 16 and abs(drift) * reach > DRIFT:
        reach //= 2
    return reach


@njit("void(f8,f4[:,::1],f4[::1],f8,f8,f4[::1])", **COMPILE)
def _weights(position, table, out, drift, reach, slope):
    """Interpolator weights at a position in [-1/8, 9/8], linear between rows of the table, and their growth per sample over `reach`."""
    row = position * FINE + MARGIN
    low = min(max(int(row), 0), table.shape[0] - 2)
    rest = _f32(row - low)
    here, above = table[low], table[low + 1]
    row += drift * reach * FINE
    low = min(max(int(row), 0), table.shape[0] - 2)
    last = _f32(row - low)
    there, beyond = table[low], table[low + 1]
    share = _f32(1.0) / _f32(reach)
    for k in range(TAPS):
        w = here[k] + rest * (above[k] - here[k])
        out[k] = w
        slope[k] = (there[k] + last * (beyond[k] - there[k]) - w) * share


@njit("void(f4[::1],f4[::1],f4[::1],f4[::1],f4[::1],f4[::1],i8,f4[::1],f4[::1],f4[::1],f4[::1])", **COMPILE)
def _span(ar, ai, br, bi, w, dw, start, turn_re, turn_im, out_re, out_im):
    """Twelve weights, linear in the sample, then the phasor; written out so that it vectorises. a: the grid points of even taps, b of odd."""
    a0, a1, a2, a3, a4, a5 = w[0], w[2], w[4], w[6], w[8], w[10]
    b0, b1, b2, b3, b4, b5 = w[1], w[3], w[5], w[7], w[9], w[11]
    d0, d1, d2, d3, d4, d5 = dw[0], dw[2], dw[4], dw[6], dw[8], dw[10]
    e0, e1, e2, e3, e4, e5 = dw[1], dw[3], dw[5], dw[7], dw[9], dw[11]
    for m in range(out_re.size):
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


@njit("void(f8,f8,f8,f4[:,::1],f4[:,::1])", **COMPILE)
def _turns(cycles, growth, bent, small, turn):
    """A phasor for every sample of a block: `cycles` at its begin, `growth` a sample, `bent` above the chord half-way; writes turn (2, BLOCK)."""
    angle = 2.0 * math.pi * (cycles - math.floor(cycles))
    z = complex(math.cos(angle), math.sin(angle))
    angle = 2.0 * math.pi * growth
    one = complex(math.cos(angle), math.sin(angle))
    angle = 2.0 * math.pi * (TURN * growth - math.floor(TURN * growth))
    many = complex(math.cos(angle), math.sin(angle))
    power = complex(1.0, 0.0)
    for m in range(TURN):
        small[0, m] = power.real
        small[1, m] = power.imag
        power *= one
    for i in range(0, BLOCK, TURN):
        at = (i + 0.5 * TURN) / BLOCK
        bend = 8.0 * math.pi * bent * at * (1.0 - at)
        now = z * complex(1.0 - 0.5 * bend * bend, bend)
        zr = _f32(now.real)
        zi = _f32(now.imag)
        for m in range(TURN):
            turn[0, i + m] = zr * small[0, m] - zi * small[1, m]
            turn[1, i + m] = zr * small[1, m] + zi * small[0, m]
        z *= many


@njit("void(f4[::1],f8,f8,f4[::1])", **COMPILE)
def _wobble(track, position, step, out):
    """Phase noise between the points of a track, linearly, at position, position + step, ...; writes `out`. A ramp from point to point."""
    base = math.floor(position)
    track = track[int(base) :]
    position -= base
    count = min(int(position + out.size * step) + 2, track.size - 1)
    begins = np.empty(count + 1)
    starts = np.empty(count, np.float32)
    rises = np.empty(count, np.float32)
    for k in range(count + 1):
        begins[k] = min(np.ceil((k - position) / step), out.size)
    begins[0] = 0.0
    for k in range(count):
        rise = track[k + 1] - track[k]
        starts[k] = track[k] + _f32(position + begins[k] * step - k) * rise
        rises[k] = rise * _f32(step)
    if step < 0.25:
        for k in range(count):
            ramp = out[int(begins[k]) : int(begins[k + 1])]
            for m in range(ramp.size):
                ramp[m] = starts[k] + _f32(m) * rises[k]
        return
    k = 0
    while k < count and begins[k] + 5.0 <= out.size:  # a ramp is at most five samples long; what is too many of one is written over by the next
        n = int(begins[k])
        at, rise = starts[k], rises[k]
        out[n] = at
        out[n + 1] = at + rise
        out[n + 2] = at + _f32(2.0) * rise
        out[n + 3] = at + _f32(3.0) * rise
        out[n + 4] = at + _f32(4.0) * rise
        k += 1
    while k < count:
        n = int(begins[k])
        for m in range(n, int(begins[k + 1])):
            out[m] = starts[k] + _f32(m - n) * rises[k]
        k += 1


@njit("void(i8[::1],f8[::1],i8,f4[::1],f4[::1])", **COMPILE)
def wobble(whole, fraction, first, track, out):
    """Phase noise of a receiver, rad, for every sample of the blocks between the instants whole + fraction.

    track: on the grid of LOW_RATE of true time from its point `first`.
    """
    for b in range(whole.size - 1):
        position = (whole[b] * LOW_RATE - first) + fraction[b] * LOW_RATE
        passed = (whole[b + 1] - whole[b]) + (fraction[b + 1] - fraction[b])
        _wobble(track, position, passed * LOW_RATE / BLOCK, out[b * BLOCK : (b + 1) * BLOCK])


@njit("void(f4[::1],f4[::1],f4[:,::1])", **COMPILE)
def _shake(transmitter, receiver, turn):
    """Turn a block's phasor by the transmitter's phase noise less the receiver's: cosine and sine to the fifth order."""
    re, im = turn[0], turn[1]
    for m in range(re.size):
        a = transmitter[m] - receiver[m]
        z = a * a
        c = _f32(1.0) - z * (_HALF - z * _f32(1 / 24))
        s = a * (_f32(1.0) - z * (_f32(1 / 6) - z * _f32(1 / 120)))
        x = re[m]
        y = im[m]
        re[m] = x * c - y * s
        im[m] = x * s + y * c


@njit("void(c16,c16,f8,f8,f4[::1])", **COMPILE)
def _line(early, then, length, start, out):
    """Real, imaginary and their growth a point of a gain that goes from `early` to `then` in `length` points, from point `start`."""
    grow = (then - early) / length
    early += start * grow
    out[0], out[1], out[2], out[3] = early.real, early.imag, grow.real, grow.imag


@njit("void(f4[::1],f4[::1],f4[::1],f4[::1],f4[:,::1],f4[::1],f4[::1])", **COMPILE)
def _gather(ar, ai, br, bi, lines, out_re, out_im):
    """Add two signals, each times a complex gain that is a straight line."""
    p, q, dp, dq = lines[0, 0], lines[0, 1], lines[0, 2], lines[0, 3]
    u, v, du, dv = lines[1, 0], lines[1, 1], lines[1, 2], lines[1, 3]
    for m in range(out_re.size):
        n = _f32(m)
        c = p + n * dp
        s = q + n * dq
        f = u + n * du
        g = v + n * dv
        out_re[m] += c * ar[m] - s * ai[m] + f * br[m] - g * bi[m]
        out_im[m] += c * ai[m] + s * ar[m] + f * bi[m] + g * br[m]


@njit("void(f4[:,:,::1],i8,i8,f8,f8,f4[:,::1],i8,i8,f4[:,::1],f4[:,::1],f4[:,::1],f4[:,::1],i8)", **COMPILE)
def _read(planes, origin, length, position, slope, table, low, high, turn, weights, out_re, out_im, base):
    """Add samples low .. high of a block, read from every signal of `planes` at position + n slope, to the rows of `out` from `base`.

    planes: (signal, 4, .) whose first grid point is number `origin` of a cycle of `length`. weights: scratch (2, TAPS).
    """
    drift = slope - 2.0
    reach = _reach(drift)
    for i in range(0, BLOCK, reach):
        start = max(low - i, 0)
        stop = min(high - i, reach)
        if start >= stop:
            continue
        p = position + i * slope
        whole = math.floor(p)
        _weights(p - whole, table, weights[0], drift, reach, weights[1])
        j = (np.int64(whole) - (TAPS // 2 - 1) - origin) % length
        odd = j % 2
        a = j // 2 + start
        b = a + odd
        turn_re, turn_im = turn[0, i + start : i + stop], turn[1, i + start : i + stop]
        for s in range(planes.shape[0]):
            signal = planes[s]
            _span(
                signal[2 * odd, a:], signal[2 * odd + 1, a:], signal[2 - 2 * odd, b:], signal[3 - 2 * odd, b:], weights[0], weights[1],
                start, turn_re, turn_im, out_re[s, base + i + start : base + i + stop], out_im[s, base + i + start : base + i + stop],
            )  # fmt: skip


@njit("c16(c16,f8,i8)", **COMPILE)
def _power(gain, late, k):
    """Factor of the k-th derivative in the series of what is `late` grid points behind."""
    return gain if k == 0 else -late * gain if k == 1 else 0.5 * late * late * gain


@njit("UniTuple(f8,4)(f8[:,::1],i8,f8,f8,f8,f8,f8,f8,f8)", **COMPILE)
def _meet(relation, b, delay0, delay1, rate, carrier, phase, scale, spin):
    """Of a block: table position at its begin, growth a sample; the carrier's cycles there, growth a sample. delays: at begin and end."""
    y0 = 1.0 + relation[4, b]
    y1 = 1.0 + relation[4, b + 1]
    sent = relation[2, b] - delay0 * y0 * rate
    grown = relation[3, b] - (delay1 * y1 - delay0 * y0) * rate
    before = carrier * y0 * delay0
    cycles = relation[0, b] + phase - before - spin * sent
    growth = (relation[1, b] - (carrier * y1 * delay1 - before) - spin * grown) / BLOCK
    return sent * scale, grown * scale / BLOCK, cycles, growth


@njit("void(f4[::1],i8,i8[::1],f8[::1],i8,f8,f8,f4[::1],f4[::1],f4[:,::1])", **COMPILE)
def _unsteady(track, track_first, whole, fraction, b, delay0, delay1, receiver, scratch, turn):
    """Put both ends' phase noise into a block's phasor, the transmitter's as it was `delay` ago."""
    if track.size == 0:
        return
    position = (whole[b] * LOW_RATE - track_first) + (fraction[b] - delay0) * LOW_RATE
    passed = (whole[b + 1] - whole[b]) + (fraction[b + 1] - fraction[b]) - (delay1 - delay0)
    _wobble(track, position, passed * LOW_RATE / BLOCK, scratch)
    _shake(scratch, receiver[b * BLOCK : (b + 1) * BLOCK], turn)


@njit(
    "void(f4[:,:,::1],i8,f8,f8,f8,f8,f8,f4[:,:,::1],f8[:,::1],i8[::1],f8[::1],f4[::1],i8,f4[::1],i8,i8,i8,i8,f8,f4[:,::1],f4[:,::1])",
    **COMPILE,
)
def still(
    planes, length, scale, spin, rate, carrier, phase, filters, relation, whole, fraction, track, track_first, receiver,
    first, skip, begin, end, delay, out_re, out_im,
):  # fmt: skip
    """Add a table to what the antennas hear, block by block: one phasor and one set of weights for all antennas.

    planes: (antenna, 4, .) signals on the table grid: even real, even imaginary, odd real, odd imaginary, cyclic with `length` and
    an overhang. scale: table samples per transmitter sample. spin: cycles per transmitter sample by which the table stands higher than
    the transmitter's baseband. rate, carrier: hertz of the transmitter. phase: cycles, constant. filters: of `interpolator.filters`.
    relation: (6, block end) of `relate`; whole, fraction: the instants of the block ends. track: the transmitter's phase noise on the
    grid of LOW_RATE from point `track_first`; receiver: the receiver's, (sample,); both empty for none. first: receiver sample at which
    the first block begins; samples in [begin, end) are added. skip: samples of `out` before that block. delay: seconds taken out of the
    table. out: (antenna, sample).
    """
    weights = np.empty((2, TAPS), np.float32)
    turn = np.empty((2, BLOCK), np.float32)
    small = np.empty((2, TURN), np.float32)
    scratch = np.empty(BLOCK, np.float32)
    for b in range(relation.shape[1] - 1):
        low = max(begin - first - b * BLOCK, 0)
        high = min(end - first - b * BLOCK, BLOCK)
        if low >= high:
            continue
        position, slope, cycles, growth = _meet(relation, b, delay, delay, rate, carrier, phase, scale, spin)
        _turns(cycles, growth, relation[5, b], small, turn)
        _unsteady(track, track_first, whole, fraction, b, delay, delay, receiver, scratch, turn)
        _read(planes, 0, length, position, slope, filters[0], low, high, turn, weights, out_re, out_im, skip + b * BLOCK)


@njit(
    "void(f4[:,:,::1],i8,f8,f8,f8,f8,f8,f4[:,:,::1],f8[:,::1],i8[::1],f8[::1],f4[::1],i8,f4[::1],i8,i8,i8,i8,"
    "i8[:,::1],f8[:,::1],c16[:,:,::1],f8[:,:,::1],c16[:,:,::1],f8[:,:,::1],f4[:,::1],f4[:,::1])",
    **COMPILE,
)
def bundles(
    planes, length, scale, spin, rate, carrier, phase, filters, relation, whole, fraction, track, track_first, receiver,
    first, skip, begin, end, plan, delay, leave, late, arrive, later, out_re, out_im,
):  # fmt: skip
    """Add bundles of rays to what the antennas hear, block by block: project the elements, interpolate once, spread over the antennas.

    As `still`, but planes: (element, 4, .), and of `bundle`: plan (bundle, 6), delay (block end, bundle),
    leave and late (block end, bundle, element), arrive and later (block end, bundle, antenna).
    """
    weights = np.empty((2, TAPS), np.float32)
    turn = np.empty((2, BLOCK), np.float32)
    small = np.empty((2, TURN), np.float32)
    scratch = np.empty(BLOCK, np.float32)
    heard = np.empty((3, 2, BLOCK), np.float32)
    lines = np.empty((2, 4), np.float32)
    pairs = (int(scale * relation[3, 0] / 2) // 32 + 2) * 32
    sum_ = np.empty((3, 1, 4, pairs), np.float32)
    for b in range(relation.shape[1] - 1):
        low = max(begin - first - b * BLOCK, 0)
        high = min(end - first - b * BLOCK, BLOCK)
        if low >= high:
            continue
        at = skip + b * BLOCK
        for q in range(plan.shape[0]):
            e0, e1, a0, a1, order = plan[q, 1], plan[q, 2], plan[q, 3], plan[q, 4], plan[q, 5]
            position, slope, cycles, growth = _meet(relation, b, delay[b, q], delay[b + 1, q], rate, carrier, phase, scale, spin)
            _turns(cycles, growth, relation[5, b], small, turn)
            _unsteady(track, track_first, whole, fraction, b, delay[b, q], delay[b + 1, q], receiver, scratch, turn)
            origin = np.int64(math.floor(position)) - (TAPS // 2 - 1)
            j = origin % length
            odd = j % 2
            for k in range(order + 1):
                sum_[k] = 0.0
                for e in range(e0, e1, 2):
                    f = min(e + 1, e1 - 1)  # the last of an odd number goes with itself at no gain
                    for i in range(2):
                        early = _power(leave[b, q, e + i], late[b, q, e + i], k) if e + i < e1 else 0.0j
                        then = _power(leave[b + 1, q, e + i], late[b + 1, q, e + i], k) if e + i < e1 else 0.0j
                        _line(early, then, 0.5 * BLOCK * slope, 0.0, lines[i])
                    for half in range(2):
                        p = 2 * (half ^ odd)
                        i = j // 2 + (half & odd)
                        _gather(
                            planes[e, p, i : i + pairs], planes[e, p + 1, i : i + pairs], planes[f, p, i : i + pairs],
                            planes[f, p + 1, i : i + pairs], lines, sum_[k, 0, 2 * half], sum_[k, 0, 2 * half + 1],
                        )  # fmt: skip
            if a1 - a0 == 1:
                for k in range(order + 1):
                    _read(
                        sum_[k], origin, 1 << 62, position, slope, filters[k], low, high, turn, weights, out_re[a0:a1], out_im[a0:a1], at
                    )
                continue
            for i in range(order + 1):
                heard[i] = 0.0
                for k in range(order + 1 - i):
                    _read(
                        sum_[k], origin, 1 << 62, position, slope, filters[i + k], low, high, turn, weights, heard[i, 0:1], heard[i, 1:2], 0
                    )
            for a in range(a0, a1):
                for i in range(0, order + 1, 2):
                    for k in range(i, i + 2):
                        early = _power(arrive[b, q, a], later[b, q, a], k) if k <= order else 0.0j
                        then = _power(arrive[b + 1, q, a], later[b + 1, q, a], k) if k <= order else 0.0j
                        _line(early, then, float(BLOCK), float(low), lines[k - i])
                    k = min(i + 1, order)
                    _gather(
                        heard[i, 0, low:high], heard[i, 1, low:high], heard[k, 0, low:high], heard[k, 1, low:high], lines,
                        out_re[a, at + low : at + high], out_im[a, at + low : at + high],
                    )  # fmt: skip


@njit("void(f8,f8,f8,f8[:,:,::1],f8[:,:,::1],c16[:,:,::1],c16[:,:,::1],i8,i8,i8,i8,f4[:,::1],f4[:,::1],f4[:,::1])", **COMPILE)
def _taps(position, drift, along, late0, late1, gain0, gain1, a, e, reach, origin, table, weights, out):
    """The response between an element and an antenna as taps on the table's grid, from its point `origin`: (real, imaginary, their growth a
    sample; tap), over `reach` samples from the part `along` of a block on. late, gain: (path, antenna, element) at the block's ends."""
    out[:] = 0.0
    step = reach / BLOCK
    for p in range(late0.shape[0]):
        grown = late1[p, a, e] - late0[p, a, e]
        there = position - (late0[p, a, e] + along * grown)
        whole = math.floor(there)
        _weights(there - whole, table, weights[0], drift - grown / BLOCK, reach, weights[1])
        change = gain1[p, a, e] - gain0[p, a, e]
        early = gain0[p, a, e] + along * change
        then = early + step * change
        er, ei = _f32(early.real), _f32(early.imag)
        gr, gi = _f32(step * change.real / reach), _f32(step * change.imag / reach)
        tr, ti = _f32(then.real), _f32(then.imag)
        k = np.int64(whole) - (TAPS // 2 - 1) - origin
        re, im, more_re, more_im = out[0, k : k + TAPS], out[1, k : k + TAPS], out[2, k : k + TAPS], out[3, k : k + TAPS]
        w, d = weights[0], weights[1]
        for k in range(TAPS):
            re[k] += er * w[k]
            im[k] += ei * w[k]
            more_re[k] += gr * w[k] + tr * d[k]
            more_im[k] += gi * w[k] + ti * d[k]


@njit("void(f4[::1],f4[::1],f4[::1],f4[::1],f4[:,::1],i8,i8,f4[::1],f4[::1])", **COMPILE)
def _filter(ar, ai, br, bi, taps, at, start, out_re, out_im):
    """Add a signal through six complex taps from `at`, linear in the sample; written out so that it vectorises. a, b: as in `_span`."""
    p0, p1, p2, p3, p4, p5 = taps[0, at], taps[0, at + 1], taps[0, at + 2], taps[0, at + 3], taps[0, at + 4], taps[0, at + 5]
    q0, q1, q2, q3, q4, q5 = taps[1, at], taps[1, at + 1], taps[1, at + 2], taps[1, at + 3], taps[1, at + 4], taps[1, at + 5]
    d0, d1, d2, d3, d4, d5 = taps[2, at], taps[2, at + 1], taps[2, at + 2], taps[2, at + 3], taps[2, at + 4], taps[2, at + 5]
    e0, e1, e2, e3, e4, e5 = taps[3, at], taps[3, at + 1], taps[3, at + 2], taps[3, at + 3], taps[3, at + 4], taps[3, at + 5]
    for m in range(out_re.size):
        n = _f32(m + start)
        c0, c1, c2, c3, c4, c5 = p0 + n * d0, p1 + n * d1, p2 + n * d2, p3 + n * d3, p4 + n * d4, p5 + n * d5
        s0, s1, s2, s3, s4, s5 = q0 + n * e0, q1 + n * e1, q2 + n * e2, q3 + n * e3, q4 + n * e4, q5 + n * e5
        re = out_re[m] + c0 * ar[m] + c2 * ar[m + 1] + c4 * ar[m + 2] + c1 * br[m] + c3 * br[m + 1] + c5 * br[m + 2]
        im = out_im[m] + c0 * ai[m] + c2 * ai[m + 1] + c4 * ai[m + 2] + c1 * bi[m] + c3 * bi[m + 1] + c5 * bi[m + 2]
        out_re[m] = re - s0 * ai[m] - s2 * ai[m + 1] - s4 * ai[m + 2] - s1 * bi[m] - s3 * bi[m + 1] - s5 * bi[m + 2]
        out_im[m] = im + s0 * ar[m] + s2 * ar[m + 1] + s4 * ar[m + 2] + s1 * br[m] + s3 * br[m + 1] + s5 * br[m + 2]


@njit("void(f4[::1],f4[::1],f4[::1],f4[::1],f4[::1],f4[::1])", **COMPILE)
def _turned(re, im, turn_re, turn_im, out_re, out_im):
    """Add a signal times a phasor."""
    for m in range(out_re.size):
        out_re[m] += re[m] * turn_re[m] - im[m] * turn_im[m]
        out_im[m] += re[m] * turn_im[m] + im[m] * turn_re[m]


@njit(
    "void(f4[:,:,::1],i8,f8,f8,f8,f8,f8,f4[:,:,::1],f8[:,::1],i8[::1],f8[::1],f4[::1],i8,f4[::1],i8,i8,i8,i8,"
    "f8[::1],f8[:,:,:,::1],c16[:,:,:,::1],f4[:,::1],f4[:,::1])",
    **COMPILE,
)
def responses(
    planes, length, scale, spin, rate, carrier, phase, filters, relation, whole, fraction, track, track_first, receiver,
    first, skip, begin, end, delay, late, gain, out_re, out_im,
):  # fmt: skip
    """Add rays to what the antennas hear as one short filter for every element and antenna: many paths cost what one does.

    As `bundles`, but of `bundle.unfold`: delay (block end,), late and gain (block end, path, antenna, element). One phasor serves all
    rays, so phase noise reaches the antennas as it was at the middle delay; what else the rays turn by within a block is in the taps.
    """
    weights = np.empty((2, TAPS), np.float32)
    turn = np.empty((2, BLOCK), np.float32)
    small = np.empty((2, TURN), np.float32)
    scratch = np.empty(BLOCK, np.float32)
    heard = np.empty((2, BLOCK), np.float32)
    antennas, elements = late.shape[2], late.shape[3]
    taps = np.empty((4, -(-(int(late.max() - late.min()) + TAPS + 3) // 6) * 6), np.float32)
    for b in range(relation.shape[1] - 1):
        low = max(begin - first - b * BLOCK, 0)
        high = min(end - first - b * BLOCK, BLOCK)
        if low >= high:
            continue
        at = skip + b * BLOCK
        position, slope, cycles, growth = _meet(relation, b, delay[b], delay[b + 1], rate, carrier, phase, scale, spin)
        _turns(cycles, growth, relation[5, b], small, turn)
        _unsteady(track, track_first, whole, fraction, b, delay[b], delay[b + 1], receiver, scratch, turn)
        reach = _reach(0.5 * (slope - 2.0))
        earliest = latest = late[b, 0, 0, 0]
        for p in range(late.shape[1]):
            for a in range(antennas):
                for e in range(elements):
                    earliest = min(earliest, late[b, p, a, e], late[b + 1, p, a, e])
                    latest = max(latest, late[b, p, a, e], late[b + 1, p, a, e])
        for a in range(antennas):
            heard[:, low:high] = 0.0
            for i in range(0, BLOCK, reach):
                start = max(low - i, 0)
                stop = min(high - i, reach)
                if start >= stop:
                    continue
                there = position + i * slope
                origin = np.int64(math.floor(there - latest)) - (TAPS // 2 - 1)
                count = np.int64(math.floor(there - earliest)) + TAPS // 2 + 1 - origin
                j = origin % length
                odd = j % 2
                for e in range(elements):
                    _taps(there, slope - 2.0, i / BLOCK, late[b], late[b + 1], gain[b], gain[b + 1], a, e, reach, origin, filters[0], weights, taps)
                    even, other = planes[e, 2 * odd : 2 * odd + 2], planes[e, 2 - 2 * odd : 4 - 2 * odd]
                    for k in range(0, count, 6):
                        x = j // 2 + start + k // 2
                        y = x + odd
                        _filter(
                            even[0, x:], even[1, x:], other[0, y:], other[1, y:], taps, k, start,
                            heard[0, i + start : i + stop], heard[1, i + start : i + stop],
                        )  # fmt: skip
            _turned(
                heard[0, low:high], heard[1, low:high], turn[0, low:high], turn[1, low:high],
                out_re[a, at + low : at + high], out_im[a, at + low : at + high],
            )  # fmt: skip
