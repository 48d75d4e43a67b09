"""The first of two paths against the two-path bound: on the channel of one antenna, and through sounding, carrier and comb.

Second path 6 dB down, any phase. The bound is that of each trial's own phase. rho: SNR per tone of the channel estimate.
"""

from __future__ import annotations

import time

import numpy as np

from benchmarks.estimator_cases import Row, coverage, efficiency, share
from benchmarks.signals import Sounded
from hil.estimate import carrier, channel, timing
from hil.estimate.acquisition import Acquisition
from hil.waveform import Numerology

WIDE, WIDER = Numerology(15.36e6, 11.52e6), Numerology(30.72e6, 23.04e6)
SECOND = 0.5


def run(trials: int, rng: np.random.Generator) -> list[Row]:
    rows: list[Row] = []
    for numerology, gap, ratios in ((WIDE, 50e-9, (20.0, 30.0, 40.0)), (WIDE, 100e-9, (30.0,)), (WIDE, 25e-9, (30.0,)), (WIDER, 50e-9, (30.0,))):
        for ratio_db in ratios:
            rows += on_tones(numerology, gap, ratio_db, trials // 2, rng)
    rows += through_sounding(trials // 4, rng)
    rows += one_path_instead(trials // 8, rng)
    return rows


def pair(rng: np.random.Generator) -> np.ndarray:
    return np.array([1.0, SECOND * np.exp(2j * np.pi * rng.random())]) * np.exp(2j * np.pi * rng.random())


def on_tones(numerology: Numerology, gap: float, ratio_db: float, trials: int, rng: np.random.Generator) -> list[Row]:
    begun, f, variance = time.thread_time(), numerology.frequencies_hz, 10.0 ** (-ratio_db / 10.0)
    errors, two, held, resolved = [], [], [], []
    for _ in range(trials):
        first, gains = rng.uniform(-30e-9, 30e-9), pair(rng)
        h = np.exp(-2j * np.pi * np.outer(f, [first, first + gap])) @ gains
        h = h + np.sqrt(variance / 2.0) * (rng.standard_normal((2, len(f))).T @ [1.0, 1j])
        paths = timing.resolve(h, f, variance)
        error = paths.delays[paths.first] - first
        errors.append(error / np.sqrt(timing.delay_bound(f, np.array([0.0, gap]), gains, variance)[0, 0]))
        two.append(len(paths.delays) == 2)
        held.append(abs(error) < 1.96 * np.sqrt(paths.covariance[paths.first, paths.first]))
        resolved.append(paths.resolved)
    what, bar = f"{gap * 1e9:g} ns apart, {numerology.used_bandwidth_hz / 1e6:g} MHz, rho {ratio_db:g} dB", gap >= 49e-9
    return [
        efficiency(f"{what}: first path, RMSE/two-path bound", np.array(errors), 1.0, 1.10 if bar else None, time.thread_time() - begun),
        coverage(f"{what}: 95 % interval holds", np.array(held), *((0.93, 0.97) if bar else (None, None))),
        share(f"{what}: two paths found", np.array(two), at_least=0.98 if bar else None),
        share(f"{what}: said to be resolved", np.array(resolved)),
    ]


def through_sounding(trials: int, rng: np.random.Generator) -> list[Row]:
    """From samples: carrier, comb and first path of one antenna of two, 50 ns apart; the arrival is absolute in the capture."""
    begun, errors, held = time.thread_time(), [], []
    for _ in range(trials):
        gains = np.stack([pair(rng), pair(rng)])[None]
        one = Sounded.of(rng, WIDE, 2, 8, 24.0, gains=gains, delays=np.array([0.0, 50e-9]))
        fit = carrier.refine(one.capture, one.frame, Acquisition(float(round(one.start)), one.cfo + 200.0 * rng.standard_normal(), 1.0, 0.0))
        got = channel.estimate(one.capture, one.frame, fit, window_s=None)
        variance = float(got.variance[0, :, 0].mean())
        found = timing.first_path(got.value[0, :, 0], WIDE.frequencies_hz, variance)
        pilots = float(np.square(np.abs(one.frame.reference[one.frame.pilots, :, 0])).sum(0).mean())  # energy of an antenna's on a tone
        bound = np.sqrt(timing.delay_bound(WIDE.frequencies_hz, one.delays, gains[0, 0], one.noise / pilots)[0, 0])
        error = got.delay_s + found.value[0] - one.delay_at(got.centre_s)
        errors.append(error / bound)
        held.append(abs(error) < 1.96 * found.std[0])
    spent, what = time.thread_time() - begun, "50 ns apart, from samples, 24 dB per antenna, 8 pilot symbols"
    return [
        efficiency(f"{what}: first path, RMSE/two-path bound", np.array(errors), 1.0, 1.10, spent),
        coverage(f"{what}: 95 % interval holds", np.array(held)),
    ]


def one_path_instead(trials: int, rng: np.random.Generator) -> list[Row]:
    """What a peak of the correlation gives, with a parabola through it: the textbook's delay."""
    begun, errors, f = time.thread_time(), [], WIDE.frequencies_hz
    for _ in range(trials):
        gains = pair(rng)
        h = np.exp(-2j * np.pi * np.outer(f, [0.0, 50e-9])) @ gains + np.sqrt(0.001 / 2.0) * (rng.standard_normal((2, len(f))).T @ [1.0, 1j])
        bound = np.sqrt(timing.delay_bound(f, np.array([0.0, 50e-9]), gains, 0.001)[0, 0])
        errors.append(carrier.strongest_delay(WIDE, h) / bound)
    what = "50 ns apart, 11.52 MHz, rho 30 dB: correlation's peak instead, RMSE/two-path bound"
    return [efficiency(what, np.array(errors), 1.0, None, time.thread_time() - begun)]
