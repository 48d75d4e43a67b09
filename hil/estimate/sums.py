"""Compiled sums of a frame that is followed: windows turned back, tones matched to what was sent, moments over time and frequency.

Single precision throughout, phases from tables formed in double: an error of 3e-6 of the signal, -110 dB.
"""

from __future__ import annotations

import numba
import numpy as np

FINE = 16  # tones of one table of phases; divides half of every grid's used tones

_compiled = numba.njit(cache=True, fastmath=True, nogil=True, error_model="numpy")


@_compiled
def windows(samples, dc, first, table, out):
    """out (channel, symbol, sample): samples (channel, n) from first (symbol,) on, less dc (channel,), times table (sample,)."""
    for channel in range(samples.shape[0]):
        for symbol in range(first.shape[0]):
            begin = first[symbol]
            for n in range(table.shape[0]):
                out[channel, symbol, n] = (samples[channel, begin + n] - dc[channel]) * table[n]


@_compiled
def matched(spectrum, known_re, known_im, turn, label, times, lag, base, moments, total):
    """Sums over symbols of Z t^i, i = 0, 1, 2, with Z = Y conj(X), delay and phase of each window undone.

    spectrum: (channel, symbol, 2 x bin) float32, real and imaginary parts in turn; known: (symbol of the frame, tone) real and imaginary
    parts; turn, label: (symbol,) symbol of the frame and its group; times: (symbol,); lag: (symbol,) samples that the window lies late;
    base: (symbol,) complex phase and scale of each window. moments: (channel, group, 6, tone) float32, real and imaginary part of each;
    total: (channel,) energy of the tones on which anything was sent.
    """
    size, tones = spectrum.shape[2] // 2, known_re.shape[1]
    half = tones // 2
    fine_re, fine_im = np.empty(FINE, np.float32), np.empty(FINE, np.float32)
    for channel in range(spectrum.shape[0]):
        energy = 0.0
        for symbol in range(turn.shape[0]):
            row, group, t = turn[symbol], label[symbol], np.float32(times[symbol])
            step = 2.0 * np.pi / size * lag[symbol]
            leap, unit = 1.0 + 0.0j, np.exp(1j * step)
            for i in range(FINE):
                fine_re[i], fine_im[i] = np.float32(leap.real), np.float32(leap.imag)
                leap *= unit
            norm = abs(base[symbol]) ** 2
            for side in range(2):  # negative tones lie at the end of the spectrum, the empty tone 0 between them and the positive ones
                offset = size - half if side == 0 else 1 - half
                coarse = base[symbol] * (np.exp(1j * step * -half) if side == 0 else unit)
                part = np.float32(0.0)
                for begin in range(side * half, side * half + half, FINE):
                    c, s = np.float32(coarse.real), np.float32(coarse.imag)
                    for i in range(FINE):
                        k = begin + i
                        y_re, y_im = spectrum[channel, symbol, 2 * (k + offset)], spectrum[channel, symbol, 2 * (k + offset) + 1]
                        x_re, x_im = known_re[row, k], known_im[row, k]
                        e_re, e_im = c * fine_re[i] - s * fine_im[i], c * fine_im[i] + s * fine_re[i]
                        # conj(X) exp(j ..) first, then Y: both are exact to rounding
                        w_re, w_im = x_re * e_re + x_im * e_im, x_re * e_im - x_im * e_re
                        z_re, z_im = y_re * w_re - y_im * w_im, y_re * w_im + y_im * w_re
                        part += (y_re * y_re + y_im * y_im) * np.float32(x_re * x_re + x_im * x_im > 0.0)
                        moments[channel, group, 0, k] += z_re
                        moments[channel, group, 1, k] += z_im
                        moments[channel, group, 2, k] += t * z_re
                        moments[channel, group, 3, k] += t * z_im
                        moments[channel, group, 4, k] += t * t * z_re
                        moments[channel, group, 5, k] += t * t * z_im
                    coarse *= leap
                energy += part * norm
        total[channel] = energy


@_compiled
def slopes(moments, inverse, out):
    """Per channel, of J(w) = sum |sum Z exp(-j w t)|^2/E at w = 0: J, half its slope and half its bend. inverse: (group, tone) 1/E."""
    for channel in range(moments.shape[0]):
        energy, slope, bend = 0.0, 0.0, 0.0
        for group in range(moments.shape[1]):
            m = moments[channel, group]
            for k in range(m.shape[1]):
                weight = inverse[group, k]
                energy += weight * (m[0, k] * m[0, k] + m[1, k] * m[1, k])
                slope += weight * (m[0, k] * m[3, k] - m[1, k] * m[2, k])
                bend += weight * (m[2, k] * m[2, k] + m[3, k] * m[3, k] - m[0, k] * m[4, k] - m[1, k] * m[5, k])
        out[channel, 0], out[channel, 1], out[channel, 2] = energy, slope, bend


@_compiled
def gains(moments, inverse, about, w, out, strength):
    """out (channel, group, tone) complex gains after the phase w t is taken out, to second order in w; strength: (channel,) sum of
    |gain|^2 x about (group, tone)."""
    for channel in range(moments.shape[0]):
        total = 0.0
        for group in range(moments.shape[1]):
            m = moments[channel, group]
            part = np.float32(0.0)
            for k in range(m.shape[1]):
                real = inverse[group, k] * (m[0, k] + w * (m[3, k] - np.float32(0.5) * w * m[4, k]))
                imaginary = inverse[group, k] * (m[1, k] - w * (m[2, k] + np.float32(0.5) * w * m[5, k]))
                out[channel, group, k] = complex(real, imaginary)
                part += about[group, k] * (real * real + imaginary * imaginary)
            total += part
        strength[channel] = total


@_compiled
def elements(combs, first, out):
    """out (channel, antenna, tone) of combs (channel, group, tone): antenna n is heard in group first + (n - tone) mod antennas."""
    antennas = out.shape[1]
    for channel in range(out.shape[0]):
        for antenna in range(antennas):
            for start in range(antennas):
                group = first + (antenna - start) % antennas
                for tone in range(start, out.shape[2], antennas):
                    out[channel, antenna, tone] = combs[channel, group, tone]


@_compiled
def arrival(elements, error, size, most):
    """Radians per tone by which the profiles of elements (channel, antenna, tone) lie late, energy over noise (less its own mean) and whether
    it was found within `most`: Newton on sum |sum_k H exp(j w k)|^2/error, error (channel, antenna)."""
    tones = elements.shape[2]
    half = tones // 2
    w, found = 0.0, False
    energy = 0.0
    for _ in range(8):
        slope, bend, energy = 0.0, 0.0, 0.0
        turn = np.empty(tones, np.complex64)
        for k in range(tones):
            turn[k] = np.exp(1j * w * (k - half if k < half else k - half + 1))
        for channel in range(elements.shape[0]):
            for antenna in range(elements.shape[1]):
                zero_re, zero_im, one_re, one_im = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
                two_re, two_im = np.float32(0), np.float32(0)
                for k in range(tones):
                    tone = np.float32(k - half if k < half else k - half + 1)
                    h = elements[channel, antenna, k] * turn[k]
                    zero_re += h.real
                    zero_im += h.imag
                    one_re += tone * h.real
                    one_im += tone * h.imag
                    two_re += tone * tone * h.real
                    two_im += tone * tone * h.imag
                weight = 1.0 / error[channel, antenna]
                slope += weight * (zero_im * one_re - zero_re * one_im)
                bend += weight * (one_re * one_re + one_im * one_im - zero_re * two_re - zero_im * two_im)
                energy += max((zero_re * zero_re + zero_im * zero_im) * weight / tones - 1.0, 0.0)
        if bend >= 0.0:
            return w, energy, False
        step = -slope / bend
        w += step
        if abs(w) > most:
            return w, energy, False
        if abs(step) * size < 1e-2:  # the next step would be its cube
            found = True
            break
    return w, energy, found


@_compiled
def merged(elements, out):
    """out (channel, antenna, block) sums over neighbouring tones of elements (channel, antenna, tone)."""
    width = elements.shape[2] // out.shape[2]
    for channel in range(elements.shape[0]):
        for antenna in range(elements.shape[1]):
            for block in range(out.shape[2]):
                part = np.complex64(0)
                for k in range(block * width, block * width + width):
                    part += elements[channel, antenna, k]
                out[channel, antenna, block] = part
