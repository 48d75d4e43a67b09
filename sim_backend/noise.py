"""Receiver noise as a function of (key, sample index): Philox4x32-10 counters and Box-Muller, in short passes that vectorise.

Counter = sample index // 2; words (w0, w1) make the even sample, (w2, w3) the odd one:
r = sqrt(-2 ln((w0 + 0.5)/2^32)), I + jQ = r exp(j 2 pi w1/2^32), both parts of unit variance.
Philox: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sim_backend.kernels import COMPILE

PASS = 256  # samples

_f32, _u32, _u64 = np.float32, np.uint32, np.uint64
_M0, _M1 = _u64(0xD2511F53), _u64(0xCD9E8D57)
_W0, _W1 = _u32(0x9E3779B9), _u32(0xBB67AE85)
_LOW, _HALF = _u64(0xFFFFFFFF), _u64(32)
_LN2, _ROOT2 = _f32(math.log(2.0)), _f32(math.sqrt(2.0))
_TURN = _f32(2.0 * math.pi * 2.0**-32)


@njit("void(u4[:,::1],u8,u8,i8)", **COMPILE)
def _words(out, key, first, count):
    """Words (4, counter) of the counters first .. first + count; the upper half of the 128-bit counter is zero."""
    for i in range(count):
        counter = first + _u64(i)
        c0, c1, c2, c3 = _u32(counter & _LOW), _u32(counter >> _HALF), _u32(0), _u32(0)
        k0, k1 = _u32(key & _LOW), _u32(key >> _HALF)
        for _ in range(10):
            p0 = _M0 * _u64(c0)
            p1 = _M1 * _u64(c2)
            c0, c1, c2, c3 = _u32(p1 >> _HALF) ^ c1 ^ k0, _u32(p1 & _LOW), _u32(p0 >> _HALF) ^ c3 ^ k1, _u32(p0 & _LOW)
            k0 = _u32(k0 + _W0)
            k1 = _u32(k1 + _W1)
        out[0, i], out[1, i], out[2, i], out[3, i] = c0, c1, c2, c3


@njit("void(u4[::1],u4[::1],f4[::1],f4[::1])", **COMPILE)
def _box_muller(magnitude, angle, re, im):
    """Two unit normals per pair of words; logarithm, sine and cosine as single-precision polynomials (Cephes)."""
    for i in range(re.size):
        bits = _f32(_f32(magnitude[i]) + _f32(0.5)).view(np.int32)
        m = np.int32((bits & np.int32(0x007FFFFF)) | np.int32(0x3F800000)).view(np.float32)
        large = m > _ROOT2
        m = m * _f32(0.5) if large else m
        e = _f32((bits >> np.int32(23)) - np.int32(127 + 32)) + (_f32(1.0) if large else _f32(0.0))
        x = m - _f32(1.0)
        z = x * x
        p = _f32(7.0376836292e-2)
        p = p * x - _f32(1.1514610310e-1)
        p = p * x + _f32(1.1676998740e-1)
        p = p * x - _f32(1.2420140846e-1)
        p = p * x + _f32(1.4249322787e-1)
        p = p * x - _f32(1.6668057665e-1)
        p = p * x + _f32(2.0000714765e-1)
        p = p * x - _f32(2.4999993993e-1)
        p = p * x + _f32(3.3333331174e-1)
        log = x - _f32(0.5) * z + x * z * p + e * _LN2
        length = math.sqrt(max(_f32(-2.0) * log, _f32(0.0)))
        quadrant = ((angle[i] + _u32(0x20000000)) >> _u32(30)) & _u32(3)
        x = _f32(np.int32(angle[i] - (quadrant << _u32(30)))) * _TURN
        z = x * x
        s = x + x * z * (_f32(-1.6666654611e-1) + z * (_f32(8.3321608736e-3) - z * _f32(1.9515295891e-4)))
        c = (
            _f32(1.0)
            - _f32(0.5) * z
            + z * z * (_f32(4.166664568298827e-2) + z * (_f32(-1.388731625493765e-3) + z * _f32(2.443315711809948e-5)))
        )
        swap = (quadrant & _u32(1)) != _u32(0)
        a = s if swap else c
        b = c if swap else s
        re[i] = length * (-a if (quadrant == _u32(1)) | (quadrant == _u32(2)) else a)
        im[i] = length * (-b if quadrant >= _u32(2) else b)


@njit("void(u8,u8,u4[:,::1],f4[:,::1],f4[:,::1])", **COMPILE)
def _normals(key, counter, words, re, im):
    """Real and imaginary parts (even or odd, counter) of the samples of PASS // 2 counters from `counter`; words: scratch (4, PASS // 2)."""
    _words(words, key, counter, PASS // 2)
    _box_muller(words[0], words[1], re[0], im[0])
    _box_muller(words[2], words[3], re[1], im[1])


@njit("void(f4[:,::1],f4,f4[::1])", **COMPILE)
def _join(parts, scale, out):
    """Add even and odd samples in turn, times `scale`; `out` may be shorter than they are."""
    for i in range(out.size // 2):
        out[2 * i] += scale * parts[0, i]
        out[2 * i + 1] += scale * parts[1, i]
    if out.size % 2:
        out[out.size - 1] += scale * parts[0, out.size // 2]


@njit("void(u8,i8,f4,f4[::1],f4[::1])", **COMPILE)
def _add(key, first, scale, out_re, out_im):
    words = np.empty((4, PASS // 2), np.uint32)
    re = np.empty((2, PASS // 2), np.float32)
    im = np.empty((2, PASS // 2), np.float32)
    for at in range(0, out_re.size, PASS):
        end = min(at + PASS, out_re.size)
        _normals(key, _u64((first + at) // 2), words, re, im)
        _join(re, scale, out_re[at:end])
        _join(im, scale, out_im[at:end])


def words(key: int, first: int, count: int) -> NDArray[np.uint32]:
    """Raw Philox words (4, counter) of the counters from `first`."""
    out = np.empty((4, count), np.uint32)
    _words(out, _u64(key), _u64(first), count)
    return out


def add(key: int, first: int, power: float, out_re: NDArray[np.float32], out_im: NDArray[np.float32]) -> None:
    """Add complex noise of variance `power` per sample to one channel's samples; `first`, even, is the index of the first of them."""
    _add(_u64(key), first, _f32(math.sqrt(0.5 * power)), out_re, out_im)
