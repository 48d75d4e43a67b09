"""The definition of what a receiver hears: float64 trigonometric series, every element, every path, exact instants. Slow; for tests.

y[n] = sum over elements, paths and bins of g Z[k] exp(j 2 pi k u/N) exp(j (psi_tx(t - tau) - psi_rx(t) - 2 pi f0 tau)), with t the true
instant of receiver sample n and u = (c_tx(t - tau) - start) fs the position in the cyclic waveform.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from hil.clock import Instant
from sim_backend.history import Airing, Tuning
from sim_backend.medium import Scene, channel_filter
from sim_backend.paths import Rays


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
    program = airing.program
    period = program.period
    spectrum = (
        np.fft.fft(program.codes[airing.channels].astype(complex), axis=1) / (period * program.full_scale) * airing.amplitude[:, None]
    )
    bins = np.fft.fftfreq(period, 1.0 / period).round()
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
        wave = _wave(position, bins, spectrum, period)
        out[:, i] = (rays.gain[i] * np.exp(2j * np.pi * (cycles % 1.0)) * wave).sum(axis=(0, 2))
    return out


def _wave(
    position: NDArray[np.float64], bins: NDArray[np.float64], spectrum: NDArray[np.complex128], period: int
) -> NDArray[np.complex128]:
    """Each element's waveform at positions (path, antenna, element)."""
    turns = np.exp(2j * np.pi * ((position[..., None] * bins / period) % 1.0))
    return np.einsum("prek,ek->pre", turns, spectrum)
