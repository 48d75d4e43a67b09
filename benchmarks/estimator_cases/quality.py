"""SINR, error vector and error rates: bias, intervals that hold, and what decisions would have flattered."""

from __future__ import annotations

import math
import time

import numpy as np
from scipy.stats import binom

from benchmarks.estimator_cases import Row, coverage, efficiency, interval_of_mean, share, told
from hil.estimate import carrier, quality
from hil.waveform import Modulation, Numerology
from tests.physics.test_estimate_quality import link

NARROW = Numerology(4.0e6, 3.0e6)


def run(trials: int, rng: np.random.Generator) -> list[Row]:
    rows: list[Row] = []
    for count, sinr_db in ((24, -5.0), (24, 10.0), (268, 20.0)):
        rows += formula(count, sinr_db, trials, rng)
    return [*rows, *captures(trials // 20, rng), *counts(rng), *decisions(max(trials // 200, 3), rng)]


def formula(count: int, sinr_db: float, trials: int, rng: np.random.Generator) -> list[Row]:
    """n known symbols through an unknown gain. Textbook: signal over residual, neither corrected."""
    begun, true = time.thread_time(), 10 ** (sinr_db / 10)
    x = np.exp(0.5j * np.pi * rng.integers(0, 4, (trials, count)))
    y = np.sqrt(true) * np.exp(0.3j) * x + (rng.standard_normal(x.shape) + 1j * rng.standard_normal(x.shape)) / np.sqrt(2)
    gain = np.mean(y * x.conj(), -1, keepdims=True)
    left = np.sum(np.abs(y - gain * x) ** 2, -1)
    got = np.maximum(quality.sinr(np.abs(gain[:, 0]) ** 2, left / (count - 1), count), 1e-9)
    plain = np.abs(gain[:, 0]) ** 2 / (left / count)
    inside = np.abs(10 * np.log10(got / true)) < 1.96 * quality.DECIBEL * quality.relative_std(got, count)
    linear = np.abs(got - true) < 1.96 * got * quality.relative_std(got, count)
    what, seconds = f"SINR {sinr_db:g} dB, {count} symbols", time.thread_time() - begun
    spread = float(quality.relative_std(true, count))
    return [
        bias(f"{what}: bias, dB", got / true, 0.02, seconds),
        efficiency(f"{what}: spread over what is told", got / true - 1.0, spread, None),
        coverage(f"{what}: 95 % interval holds, decibel scale", inside),
        coverage(f"{what}: 95 % interval on the linear scale (textbook)", linear, None, None),
        bias(f"{what}: bias of the plain ratio (textbook), dB", plain / true, None),
    ]


def bias(what: str, ratio: np.ndarray, bar: float | None, seconds: float = 0.0) -> Row:
    value, low, high = (10 * math.log10(max(x, 1e-9)) for x in interval_of_mean(ratio))
    return Row(what, value, low, high, None if bar is None else f"within {bar:g}", bar is None or (low <= bar and high >= -bar), len(ratio), seconds)


def captures(trials: int, rng: np.random.Generator) -> list[Row]:
    """Whole captures, carrier included: SINR of each block against y = H x; limits that every block exceeds; the rate."""
    begun, errors, limits, rates = time.thread_time(), [], [], []
    for _ in range(trials):
        got, truth = measured(rng, rng.uniform(5.0, 25.0))
        errors.append((got.sinr_db - truth) / got.std_db)
        limits.append(np.all(got.lower_limits_db(0.99) < truth))
        rate = float(np.mean(np.log2(1 + 10 ** (truth / 10))))
        rates.append(got.rate_interval[0] < rate < got.rate_interval[1])
    blocks, seconds = np.array(errors), time.thread_time() - begun
    weak = [measured(rng, rng.uniform(0.0, 5.0)) for _ in range(trials // 2)]
    wild = np.array([np.max(np.abs(got.sinr_db - truth) / got.std_db) > 4.0 for got, truth in weak])
    return [
        efficiency("captures: SINR per block, error over what is told", blocks, 1.0, 1.05, seconds, floor=0.95),
        coverage("captures: 95 % interval of a block's SINR holds", (np.abs(blocks) < 1.96).ravel()),
        share("captures: all blocks above their joint 99 % limits", np.array(limits), at_least=0.99),
        coverage("captures: 95 % interval of the rate holds", np.array(rates)),
        share("captures at 0 to 5 dB: a block four deviations off", wild),
    ]


def measured(rng: np.random.Generator, snr_db: float) -> tuple[quality.Quality, np.ndarray]:
    capture, frame, truth = link(rng, NARROW, snr_db=snr_db, payload=60)
    return quality.measure(capture, frame, carrier.refine(capture, frame, carrier.acquire(capture, frame))), truth


def counts(rng: np.random.Generator) -> list[Row]:
    """Clopper-Pearson against the binomial itself, no trials needed: the least coverage over rates of errors."""
    least, most = 1.0, 0.0
    for of in (100, 1000):
        for rate in rng.uniform(0.001, 0.2, 40):
            errors = np.arange(of + 1)
            probable = binom.pmf(errors, of, rate)
            told_of = {int(e): quality.clopper_pearson(int(e), of) for e in errors[probable > 1e-12]}
            held = sum(float(probable[e]) for e, (low, high) in told_of.items() if low <= rate <= high)
            least, most = min(least, held), max(most, held)
    return [
        told("error rates: least coverage of the 95 % interval, exact", least, at_least=0.925, trials=80),  # one-sided without errors
        told("error rates: greatest coverage", most, trials=80),
        told("error rates: no error in 10000, upper limit times 10000", 1e4 * quality.clopper_pearson(0, 10_000)[1], at_most=3.01),
    ]


def decisions(trials: int, rng: np.random.Generator) -> list[Row]:
    """64-QAM at 10 dB, flat: what is told, and what the distance to the nearest point would have told. Symbol errors against theory at 17 dB."""
    told_db, sliced_db, ratios = [], [], []
    for _ in range(trials):
        capture, frame, _ = link(rng, NARROW, snr_db=10.0, payload=100, delays=(0.0,), kind=Modulation.QAM64, flat=True)
        got = quality.measure(capture, frame, carrier.refine(capture, frame, carrier.acquire(capture, frame)))
        told_db.append(-20 * np.log10(got.evm))
        nearest = quality.modulation.symbols_of(quality.modulation.bits_of(got.equalised, Modulation.QAM64), Modulation.QAM64)
        sliced_db.append(-10 * np.log10(np.mean(np.abs(got.equalised - nearest) ** 2)))
        capture, frame, _ = link(rng, NARROW, snr_db=17.0, payload=150, delays=(0.0,), kind=Modulation.QAM64, flat=True)
        got = quality.measure(capture, frame, carrier.refine(capture, frame, carrier.acquire(capture, frame)))
        rail = (1 - 1 / 8) * math.erfc(math.sqrt(1.5 * float(got.sinr.value.mean()) / 63))
        ratios.append(got.symbol_errors.rate / (1 - (1 - rail) ** 2))
    return [
        told("64-QAM at 10 dB: error vector told, dB", float(np.mean(told_db)), at_least=9.8, at_most=10.3, trials=trials),
        told("64-QAM at 10 dB: by decisions (textbook), dB", float(np.mean(sliced_db)), trials=trials),
        told("64-QAM at 17 dB: symbol errors over square-QAM theory", float(np.mean(ratios)), at_least=0.9, at_most=1.1, trials=trials),
    ]
