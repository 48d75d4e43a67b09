"""Phase noise of two synthesisers on a tone: single-sideband density at 1, 10 and 100 kHz."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from hil.units import to_db
from sim_backend.sounder.cable import lay
from sim_backend.sounder.estimate import strongest
from sim_backend.sounder.line import Line
from sim_backend.sounder.waveform import tones

POLE_HZ = 100e3
BIN = 8  # of 64
SEGMENT = 1 << 17  # 34 ms: the oscillators' own noise ends at 200 Hz, and must not leak to 1 kHz


def density(emulated: Mapping[str, Any], where: str, degrees: float, tolerance: float, seconds: float = 0.5) -> list[Line]:
    """L(f) of one synthesiser: half of what both make together, by averaged periodograms of the tone's phase (Hann, half overlapping).

    The truth is a plateau L0 = sigma^2/(pi 100 kHz) with one pole at 100 kHz, for `degrees` rms. The receiver's own noise is measured
    where phase noise has died away and taken off.
    """
    cable = lay(emulated, gain_db=20.0, attenuation_db=0.0, rate=3.84e6)
    cable.send(tones({BIN: 0.5}, 64))  # so high that images, leakage and offset lie beyond what is looked at
    heard = cable.listen(round(seconds * cable.rate)).port[0]
    turned = heard * np.exp(-2j * np.pi * ((strongest(heard) * np.arange(heard.size)) % 1.0))
    angle = np.unwrap(np.angle(turned))
    window, u = np.hanning(SEGMENT), np.linspace(-1, 1, SEGMENT)
    starts = range(0, angle.size - SEGMENT + 1, SEGMENT // 2)
    pieces = (angle[s : s + SEGMENT] for s in starts)
    spectrum = np.mean([np.abs(np.fft.fft((p - np.polynomial.Polynomial.fit(u, p, 4)(u)) * window)) ** 2 for p in pieces], axis=0)
    spectrum /= cable.rate * (window**2).sum()  # two-sided: what is called L(f)
    frequency = np.fft.fftfreq(SEGMENT, 1.0 / cable.rate)
    sigma = math.radians(degrees)
    floor = spectrum[np.abs(frequency) > 1.7e6].mean() - _truth(sigma, 1.75e6) * 2
    lines = []
    for offset in (1e3, 1e4, 1e5):
        near = np.abs(np.abs(frequency) - offset) <= max(0.15 * offset, 1.5 * cable.rate / SEGMENT)
        measured = to_db(float(spectrum[near].mean() - max(floor, 0.0)) / 2)
        lines.append(Line(f"phase noise at {offset / 1e3:.0f} kHz", where, to_db(_truth(sigma, offset)), measured, tolerance, "dBc/Hz"))
    return lines


def shared(emulated: Mapping[str, Any], where: str, degrees: float) -> list[Line]:
    """Channels of one device share its synthesiser: what two receive channels' phases differ by, rms over blocks of 16 samples."""
    cable = lay(emulated, receive=2, gain_db=20.0, attenuation_db=0.0)
    cable.send(tones({BIN: 0.9}, 64))
    blocks = cable.listen(1 << 16).port.reshape(2, -1, 16)
    turn = np.exp(-2j * np.pi * strongest(blocks[0].ravel()) * np.arange(16))
    one, other = (blocks * turn).mean(axis=2)
    apart = np.degrees(np.angle(one * other.conj() * np.exp(-1j * np.angle((one * other.conj()).sum()))))
    return [Line("phase between channels, rms", where, degrees / 2, float(apart.std()), 0.0, "deg", at_most=True)]


def _truth(sigma: float, offset: float) -> float:
    return sigma**2 / (math.pi * POLE_HZ) / (1.0 + (offset / POLE_HZ) ** 2)
