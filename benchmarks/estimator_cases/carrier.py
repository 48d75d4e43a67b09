"""Carrier offset and arrival against their bounds, their 95 % regions, acquisition, the flag, phase noise, the second estimate by the clock.

Signals are exact (fractional delays, one ppm for carrier and clock, drift within symbols); the rows "emulated" go through the emulator's
amplifier, medium, oscillators, receiver and converter. SNR per used tone unless said to be total.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np

from benchmarks.estimator_cases import Row, coverage, efficiency, share
from benchmarks.signals import CARRIER, Signal, cable, echoes, emulated, walked
from hil.estimate import carrier, timing
from hil.estimate.acquisition import acquire
from hil.estimate.bounds import carrier_bounds
from hil.estimate.carrier import PHASE_NOISE_FLOOR
from hil.waveform import Numerology, SoundingFrame

SMALL, WIDE = Numerology(4.0e6, 3.0e6), Numerology(15.36e6, 11.52e6)
ELLIPSE = 5.9915  # chi-square of two, 95 %


def run(trials: int, rng: np.random.Generator) -> list[Row]:
    rows = list(found(trials, rng))
    for snr_db in (20.0, 0.0, -16.0, -18.0):
        rows += one_path(SMALL, snr_db, trials, rng)
    rows += one_path(WIDE, 20.0, trials // 4, rng)
    for snr_db, ppm in ((20.0, 5.0), (5.0, 5.0), (0.0, 5.0), (20.0, 20.0)):
        rows += unknown_channel(snr_db, ppm, trials, rng)
    rows += flags(trials, rng)
    rows += phase_noise(trials, rng)
    rows += on_the_bench(max(trials // 20, 8), rng)
    return rows


def found(trials: int, rng: np.random.Generator) -> Iterator[Row]:
    """Any start, +-40 ppm; three taps."""
    for numerology, snr_db, least in ((WIDE, 0.0, 0.999), (WIDE, -8.0, 0.99), (SMALL, 0.0, 0.99)):
        begun, good = time.thread_time(), []
        frame = SoundingFrame(numerology, 0, 1, 1, 1.0, 8, 28 if numerology is WIDE else 14)
        for signal in signals(frame, snr_db, trials // 4, rng, ppm=40.0, channel="taps", anywhere=True):
            seen = acquire(signal.capture, frame)
            late = (seen.start - signal.start + frame.length / 2) % frame.length - frame.length / 2
            good.append(abs(late) < numerology.prefix and abs(seen.cfo_hz - signal.cfo) < numerology.spacing_hz / 4)
        yield share(f"acquisition within CP and a quarter tone, N = {numerology.fft}, {snr_db:g} dB", np.array(good), at_least=least,
                    seconds=time.thread_time() - begun)  # fmt: skip


def signals(frame, snr_db, count, rng, ppm, channel="flat", anywhere=False) -> Iterator[Signal]:
    for _ in range(count):
        start = rng.uniform(0, frame.length if anywhere else 200)
        gains, delays = ([1.0], [0.0]) if channel == "flat" else echoes(rng, frame.numerology)
        samples = 2 * frame.length + frame.numerology.symbol_samples if anywhere else frame.length + 400
        yield cable(frame, rng, snr_db=snr_db, cfo=rng.uniform(-1, 1) * ppm * 1e-6 * CARRIER, start=start, gains=gains, delays=delays,
                    samples=samples)  # fmt: skip


def one_path(numerology: Numerology, snr_db: float, trials: int, rng: np.random.Generator) -> list[Row]:
    """Jointly through one unknown gain: a cable."""
    begun, errors, told, inside = time.thread_time(), [], [], []
    frame = SoundingFrame(numerology, 0, 1, 1, 1.0, 8, 28)
    for signal in signals(frame, snr_db, trials, rng, ppm=4.0):
        fit = timing.one_path(signal.capture, frame, signal.near(rng))
        off = fit.joint.value - [signal.cfo, signal.delay_at(fit.centre_s)]
        bound = carrier_bounds(numerology, signal.whole_symbols(), signal.snr)
        errors.append(off / [bound.cfo_hz, bound.delay_s])
        told.append(fit.joint.above_threshold)
        inside.append(off @ np.linalg.solve(fit.joint.covariance, off) < ELLIPSE)
    errors, told, spent = np.array(errors), np.array(told), time.thread_time() - begun
    what = f"one path, N = {numerology.fft}, {snr_db:g} dB ({snr_db + 10 * np.log10(28 * numerology.used):.1f} dB total)"
    return [
        efficiency(f"{what}: carrier, RMSE/bound", errors[told, 0], 1.0, 1.05, spent),
        efficiency(f"{what}: arrival, RMSE/bound", errors[told, 1], 1.0, 1.05),
        coverage(f"{what}: 95 % joint region holds", np.array(inside)[told]),
        share(f"{what}: flagged below threshold", ~told, at_most=0.01 if snr_db > -17 else None),
    ]


def unknown_channel(snr_db: float, ppm: float, trials: int, rng: np.random.Generator) -> list[Row]:
    """Every tone's gain unknown, three paths, two frames less a bit; the clock's own estimate beside it."""
    begun, errors, inside, clock = time.thread_time(), [], [], []
    frame = SoundingFrame(SMALL, 0, 1, 1, 1.0, 8, 28)
    for signal in signals(frame, snr_db, trials, rng, ppm=ppm, channel="taps"):
        fit = carrier.refine(signal.capture, frame, signal.near(rng))
        error = fit.cfo_hz - signal.cfo
        errors.append([error, signal.bound(fit.symbols)])
        inside.append(abs(error) < 1.96 * fit.cfo.std[0])
        clock.append(abs(fit.clock.value[0] - signal.cfo) < 1.96 * fit.clock.std[0])
    errors = np.array(errors)
    what = f"channel unknown, N = 128, 28 symbols, {snr_db:g} dB, +-{ppm:g} ppm"
    return [
        efficiency(f"{what}: carrier, RMSE/bound", errors[:, 0], errors[:, 1], 1.05, time.thread_time() - begun),
        coverage(f"{what}: 95 % interval holds", np.array(inside)),
        coverage(f"{what}: 95 % interval of the clock's own estimate holds", np.array(clock)),
    ]


def flags(trials: int, rng: np.random.Generator) -> list[Row]:
    """Of the search over every (carrier, delay) cell: outliers are half a cell off."""
    frame, begun, out, good = SoundingFrame(SMALL, 0, 1, 1, 1.0, 8, 28), time.thread_time(), [], []
    cells = 0.5 / np.array([28 * SMALL.symbol_time_s, SMALL.used_bandwidth_hz])
    for total in np.arange(7.0, 15.0):
        for signal in signals(frame, total - 10 * np.log10(28 * SMALL.used), trials // 4, rng, ppm=4.0):
            fit = timing.one_path(signal.capture, frame, signal.near(rng))
            if np.any(np.abs(fit.joint.value - [signal.cfo, signal.delay_at(fit.centre_s)]) > cells):
                out.append(not fit.joint.above_threshold)
    for signal in signals(frame, 19.0 - 10 * np.log10(28 * SMALL.used), trials, rng, ppm=4.0):
        good.append(not timing.one_path(signal.capture, frame, signal.near(rng)).joint.above_threshold)
    return [
        share("flag raised in outliers, 7 to 14 dB total", np.array(out, dtype=bool), at_least=0.99, seconds=time.thread_time() - begun),
        share("flag raised at 19 dB total, 3 dB above threshold", np.array(good), at_most=0.01),
    ]


def phase_noise(trials: int, rng: np.random.Generator) -> list[Row]:
    """Wiener phase through the whole capture, its rate known from before, and estimated from the 28 symbols themselves (told)."""
    rows, frame = [], SoundingFrame(SMALL, 0, 1, 1, 1.0, 8, 28)
    for rate in (2.0 * np.pi, 40.0):
        begun, errors, known, own = time.thread_time(), [], [], []
        for signal in signals(frame, 20.0, trials, rng, ppm=4.0):
            capture, near = walked(signal.capture, rate, rng), signal.near(rng)
            fit = carrier.refine(capture, frame, near, phase_diffusion=rate)
            bound = signal.bound(fit.symbols) ** 2 + PHASE_NOISE_FLOOR * rate / (fit.symbols * SMALL.symbol_time_s * (2 * np.pi) ** 2)
            errors.append([fit.cfo_hz - signal.cfo, np.sqrt(bound)])
            known.append(abs(errors[-1][0]) < 1.96 * np.sqrt(bound))
            own.append(abs(errors[-1][0]) < 1.96 * carrier.refine(capture, frame, near).cfo.std[0])
        errors, what = np.array(errors), f"phase walk of {rate:.3g} rad^2/s, 20 dB"
        rows += [
            efficiency(f"{what}: carrier, RMSE/(bound + phase noise)", errors[:, 0], errors[:, 1], 1.05, time.thread_time() - begun),
            coverage(f"{what}: 95 % interval holds, rate known", np.array(known)),
            coverage(f"{what}: 95 % interval holds, rate from the capture itself", np.array(own), None, None),
        ]
    return rows


def on_the_bench(trials: int, rng: np.random.Generator) -> list[Row]:
    """Through the emulator: one antenna to one antenna, a new world every trial. With severities the ratio is only told."""
    rows = []
    for severity in (0.0, 1.0):
        begun, errors, inside = time.thread_time(), [], []
        frame = SoundingFrame(WIDE, 0, 1, 1, 1e-5, 8, 28)
        for _ in range(trials):
            signal = emulated(frame, int(rng.integers(1 << 30)), severity)
            fit = carrier.refine(signal.capture, frame, acquire(signal.capture, frame))
            errors.append([fit.cfo_hz - signal.cfo, fit.cfo.bound_std[0]])
            inside.append(abs(fit.cfo_hz - signal.cfo) < 1.96 * fit.cfo.std[0])
        errors, what = np.array(errors), f"emulated, severity {severity:g}"
        judged = severity == 0.0
        rows += [
            efficiency(f"{what}: carrier, RMSE/bound", errors[:, 0], errors[:, 1], 1.05 if judged else None, time.thread_time() - begun),
            coverage(f"{what}: 95 % interval holds", np.array(inside), *((0.93, 0.97) if judged else (None, None))),
        ]
    return rows
