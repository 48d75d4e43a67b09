"""Element channels from a sounding frame: least squares, delay window and prior against their bounds, balls, phase noise.

From samples: carrier and comb in one chain. SNR: an antenna's power over the noise per tone for a channel of unit gain. The bound is the
noise that the pilots leave, through the filter; its error is common to all tones of a block in `response.covariance`.
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
from scipy.stats import chi2

from benchmarks.estimator_cases import Row, coverage, efficiency
from benchmarks.signals import Sounded, walked
from hil.estimate import carrier, channel
from hil.estimate.acquisition import Acquisition
from hil.waveform import Numerology

WIDE = Numerology(15.36e6, 11.52e6)


def run(trials: int, rng: np.random.Generator) -> list[Row]:
    rows: list[Row] = []
    for antennas, pilots, count in ((4, 8, trials // 2), (16, 32, trials // 4)):
        for snr_db in (10.0, 20.0):
            rows += measured(antennas, pilots, snr_db, count, rng)
    for linewidth in (0.1, 1.0):
        for track in (True, False):
            rows += measured(16, 32, 20.0, trials // 8, rng, linewidth, track)
    return rows


def measured(
    antennas: int, pilots: int, snr_db: float, trials: int, rng: np.random.Generator, linewidth: float = 0.0, track: bool = True
) -> list[Row]:
    """linewidth: hertz, of both oscillators together; track: the common phase of every pilot symbol."""
    begun = time.thread_time()
    plain, windowed, prior, ball, likely = [], [], [], [], []
    for _ in range(trials):
        one = Sounded.of(rng, WIDE, antennas, pilots, snr_db)
        if linewidth:
            one = replace(one, capture=walked(one.capture, 2.0 * np.pi * linewidth, rng))
        fit = carrier.refine(one.capture, one.frame, Acquisition(float(round(one.start)), one.cfo + 200.0 * rng.standard_normal(), 1.0, 0.0))
        power = np.square(np.abs(one.frame.reference[one.frame.pilots, 0])).max(0)
        exact = float(np.mean(one.noise / (power * (pilots // antennas))))
        if not linewidth:
            raw = channel.estimate(one.capture, one.frame, fit, window_s=None, track_phase=track)
            plain.append([rms(raw.value - one.truth(raw)), np.sqrt(exact)])
            shrunk = channel.estimate(one.capture, one.frame, fit, prior=True, track_phase=track)
            prior.append([rms(shrunk.value - one.truth(shrunk)), np.sqrt(exact * float(shrunk.filter.spread().mean()))])
        got = channel.estimate(one.capture, one.frame, fit, track_phase=track)
        error = got.value - one.truth(got)
        windowed.append([rms(error), np.sqrt(exact * float(got.filter.spread().mean()))])
        block = WIDE.block_mean(error, axis=1)
        distance = np.real(np.einsum("rbn,rbnm,rbm->rb", block.conj(), np.linalg.inv(got.response.covariance), block))
        middle = distance.shape[1] // 2  # one block a trial: neighbours share their error
        ball.append(2.0 * distance[0, middle] < chi2.ppf(0.95, 2 * antennas))
        likely.append(np.mean(distance) / antennas)
    what = f"{antennas} elements, {pilots} pilots, {snr_db:g} dB" + (f", phase walk of {linewidth:g} Hz linewidth" if linewidth else "")
    what += "" if track else ", phase not followed"
    bar, rows = 1.05 if track and not linewidth else None, []
    if not linewidth:
        rows.append(efficiency(f"{what}: least squares, RMSE/bound", *np.array(plain).T, 1.05))
        rows.append(efficiency(f"{what}: with the delay prior, RMSE/predicted", *np.array(prior).T, 1.05))
    spent = time.thread_time() - begun
    rows.append(efficiency(f"{what}: delay window, RMSE/bound", *np.array(windowed).T, bar, spent))
    rows.append(coverage(f"{what}: 95 % ball of one block holds", np.array(ball), *((0.93, 0.97) if track else (None, None))))
    return rows


def rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(np.abs(values)))))
