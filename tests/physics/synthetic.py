"""An exact one-transmitter channel for tests, independent of `hil.waveform.ofdm`: fractional delays, one ppm for carrier and clock."""

from __future__ import annotations

import numpy as np

OVERSAMPLING = 16


def received(sent, gains, delays_s, *, rate, carrier_hz, cfo_hz, start, samples, rng=None, noise=0.0, phase=0.0):
    """Samples (receive antenna, sample) of a cyclic transmission.

    sent: (antenna, sample); gains: (receive antenna, antenna, path); delays_s: (path,); start: sample at which frame sample 0 arrives over
    a path without delay; noise: variance per complex sample. r(n) = sum g x((1 + delta)(n - start) - tau) exp(j 2 pi cfo n/rate + phase).
    """
    length = sent.shape[-1]
    frequency = np.fft.fftfreq(length, 1.0 / rate)
    spectrum = np.fft.fft(sent, axis=-1)
    turn = np.exp(-2j * np.pi * np.outer(delays_s, frequency))
    mixed = np.einsum("rnp,nf,pf->rf", gains, spectrum, turn, optimize=True)
    wide = np.zeros((mixed.shape[0], OVERSAMPLING * length), dtype=complex)
    half = length // 2
    wide[:, :half], wide[:, half - length :] = mixed[:, :half], mixed[:, half:]
    fine = np.fft.ifft(wide, axis=-1) * OVERSAMPLING
    n = np.arange(samples)
    at = (1.0 + cfo_hz / carrier_hz) * (n - start) * OVERSAMPLING
    whole = np.floor(at).astype(np.int64)
    u = at - whole
    # six-point Lagrange interpolation at offsets -2..3
    nodes = np.arange(-2, 4)
    out = np.zeros((mixed.shape[0], samples), dtype=complex)
    for node in nodes:
        weight = np.ones(samples)
        for other in nodes:
            if other != node:
                weight *= (u - other) / (node - other)
        out += weight * fine[:, (whole + node) % fine.shape[-1]]
    out *= np.exp(1j * (2.0 * np.pi * cfo_hz / rate * n + phase))
    if noise > 0.0:
        out += np.sqrt(noise / 2.0) * (rng.standard_normal(out.shape) + 1j * rng.standard_normal(out.shape))
    return out


def tone_channel(numerology, gains, delays_s):
    """(receive antenna, tone, antenna) transfer coefficients y = H x of the same paths."""
    turn = np.exp(-2j * np.pi * np.outer(numerology.frequencies_hz, delays_s))
    return np.einsum("rnp,kp->rkn", gains, turn)
