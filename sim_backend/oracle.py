"""The definition of what a receiver hears: float64 trigonometric series, every element, every path, exact instants. Slow; for tests.

y[n] = sum over elements, paths and bins of g Z[k] exp(j 2 pi k u/N) exp(j (psi_tx(t - tau) - psi_rx(t) - 2 pi f0 tau)), with t the true
instant of receiver sample n and u = (c_tx(t - tau) - start) fs the position in the cyclic waveform. The transmit chain that makes Z of the
codes is worked out here a second time, in the time domain on a finer grid; both psi carry the phase noise of their synthesisers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from hil.clock import Instant
from sim_backend import phasenoise
from sim_backend.amplifier import Amplifier
from sim_backend.history import Airing, Phase, Tuning
from sim_backend.medium import Scene
from sim_backend.paths import Rays
from sim_backend.tables import channel_filter

OVERSAMPLING = 16  # where an amplifier bends


def receive(scene: Scene, tuning: Tuning, airings: Iterable[Airing], ticks: Sequence[int]) -> NDArray[np.complex128]:
    """What each antenna hears at receiver ticks, (antenna, tick) in square-root watts, in steady state between start and stop."""
    instants = [tuning.oscillator.tick(int(n), tuning.rate) for n in ticks]
    out: NDArray[np.complex128] | None = None
    for airing in airings:
        pair = airing.radio, tuning.radio
        parts = scene.static(*pair, instants), scene.moving(*pair, instants)
        rays = Rays(*(np.concatenate(both, axis=1) for both in zip(*parts)))
        heard = series(airing, tuning, instants, rays)
        out = heard if out is None else out + heard
    if out is None:
        raise ValueError("no transmission to hear")
    return out


def series(airing: Airing, tuning: Tuning, instants: Sequence[Instant], rays: Rays, filtered: bool = True) -> NDArray[np.complex128]:
    """One transmission through given rays (instant, path, antenna, element) -> (antenna, instant)."""
    period = airing.program.period
    bins, spectrum = radiated(airing)
    if filtered:
        spectrum *= channel_filter(bins * (airing.rate / period) + (airing.carrier - tuning.carrier), tuning.rate)
    kept = np.flatnonzero(np.abs(spectrum).max(axis=0) > 0.0)
    bins, spectrum = bins[kept], spectrum[:, kept]
    start_whole, start_rest = divmod(airing.first_tick, airing.rate)
    out = np.zeros((rays.delay.shape[2], len(instants)), complex)
    for i, at in enumerate(instants):
        x_rx, _ = tuning.oscillator.error(at)
        x_tx, y_tx = airing.oscillator.error(at)
        delay = rays.delay[i]
        late = delay * (1.0 + y_tx)
        laps = (at.whole - start_whole) * airing.rate % period - start_rest
        position = laps + (at.fraction + (x_tx - airing.oscillator.offset - late)) * airing.rate
        cycles = airing.carrier * (x_tx - late) - tuning.carrier * x_rx
        cycles += (airing.carrier - tuning.carrier) * at.fraction + airing.phase - tuning.phase
        cycles += (_jitter(airing.phase_noise, at, delay) - _jitter(tuning.phase_noise, at, np.zeros(1))) / (2 * np.pi)
        wave = _wave(position, bins, spectrum, period)
        out[:, i] = (rays.gain[i] * np.exp(2j * np.pi * (cycles % 1.0)) * wave).sum(axis=(0, 2))
    return out


def radiated(airing: Airing) -> tuple[NDArray[np.float64], NDArray[np.complex128]]:
    """Bins, and the spectrum of each element at its antenna port, (element, bin) square-root watts."""
    program, chains = airing.program, airing.chains
    period = program.period
    codes = program.codes[airing.channels].astype(complex) / program.full_scale
    straight = chains is None or chains.amplifier.model == "linear"
    size = period * (1 if chains is None else 4 if straight else OVERSAMPLING)
    sent, bins = np.zeros((airing.channels.size, size), complex), np.fft.fftfreq(period, 1.0 / period).round().astype(int)
    sent[:, bins % size] = np.fft.fft(codes, axis=1) / period
    if chains is not None:
        s = np.fft.ifft(sent, axis=1, norm="forward")
        imbalance = (1.0 - chains.image[:, None]) / (1.0 + chains.image[:, None])  # g exp(jp) of the quadrature branch
        s = 0.5 * (1.0 + imbalance) * s + 0.5 * (1.0 - imbalance) * s.conj() + chains.leakage[:, None]
        x = airing.amplitude[:, None] * chains.gain[:, None] * s
        if chains.amplifier.model == "memory":
            seconds = np.fft.fftfreq(size, 1.0 / size) * airing.rate / period
            z = np.zeros_like(x)
            for delay, terms in chains.amplifier.branches:
                late = np.fft.ifft(np.fft.fft(x, axis=1) * np.exp(-2j * np.pi * seconds * delay), axis=1)
                z += chains.amplifier.gain * sum(a * late * np.abs(late) ** (2 * i) for i, a in enumerate(terms))
        else:
            z = amplified(chains.amplifier, x)
        sent = np.fft.fft(z, axis=1, norm="forward")
    return np.fft.fftfreq(size, 1.0 / size).round(), sent


def amplified(amplifier: Amplifier, x: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """A memoryless amplifier's output for samples x in square-root watts."""
    b, r = amplifier.gain, np.abs(x)
    if amplifier.model == "rapp":
        p, knee, *turn = amplifier.curve
        return b * x * np.exp(1j * np.polyval([*turn[::-1], 0.0], r**2)) / (1.0 + (r / knee) ** (2 * p)) ** (1 / (2 * p))
    if amplifier.model == "cubic":
        real, imaginary, edge = amplifier.curve
        beta3, within = b * (real + 1j * imaginary), np.minimum(r, np.sqrt(edge))
        unit = np.divide(x, r, out=np.zeros_like(x), where=r > 0)
        return unit * (b * within + beta3 * within**3)
    if amplifier.model == "saleh":
        s, c, d = amplifier.curve
        return b * x / (1 + s * r**2) * np.exp(1j * c * r**2 / (1 + d * r**2))
    return b * x


def _jitter(phase_noise: Phase, at: Instant, delay: NDArray[np.float64]) -> NDArray[np.float64]:
    """Radians of a synthesiser's phase noise at at - delay: straight lines between the points of its grid."""
    key, rms = phase_noise
    if rms == 0.0:
        return np.zeros_like(delay)
    place = (at.fraction - delay) * phasenoise.GRID_HZ
    first = int(np.floor(place.min()))
    track = phasenoise.track(key, rms, at.whole * phasenoise.GRID_HZ + first, int(place.max()) - first + 3)
    return np.interp(place - first, np.arange(track.size), track)


def _wave(
    position: NDArray[np.float64], bins: NDArray[np.float64], spectrum: NDArray[np.complex128], period: int
) -> NDArray[np.complex128]:
    """Each element's waveform at positions (path, antenna, element)."""
    turns = np.exp(2j * np.pi * ((position[..., None] * bins / period) % 1.0))
    return np.einsum("prek,ek->pre", turns, spectrum)
