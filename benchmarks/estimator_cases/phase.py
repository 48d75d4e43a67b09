"""Phase of a carrier at the age of a push, and what of two devices' power adds up by then."""

from __future__ import annotations

import time

import numpy as np

from benchmarks.estimator_cases import Row, coverage, efficiency, told
from hil.device import Capture
from hil.estimate import carrier, phase
from hil.estimate.acquisition import Acquisition
from hil.estimate.bounds import carrier_bounds
from hil.estimate.tracking import ClockNoise
from hil.waveform import Numerology, SoundingFrame
from tests.physics.exchange_bench import AGES, pushes
from tests.physics.synthetic import received

SMALL = Numerology(3.84e6, 2.88e6)
CARRIER = 3.5e9
FRAME = SoundingFrame(SMALL, 0, 1, 1, 1.0, 1, 28)


def run(trials: int, rng: np.random.Generator) -> list[Row]:
    rows: list[Row] = []
    for snr_db, age in ((20.0, 0.0), (20.0, 5e-3), (10.0, 20e-3)):
        rows += aged(snr_db, age, 0.0, None, trials // 4, rng)
    for clock in (ClockNoise(1e-20, 0.0), None):
        rows += aged(20.0, 1e-3, (2 * np.pi * CARRIER) ** 2 * 1e-20, clock, trials // 4, rng)
    return rows + coherence(trials // 10, rng)


def aged(snr_db: float, age: float, walk: float, clock: ClockNoise | None, trials: int, rng: np.random.Generator) -> list[Row]:
    """One frame of 28 symbols, in which a walk of the phase hardly shows: what the clock is known to do must tell it.

    Textbook: the turn between the two preamble symbols, and the phase of the correlation with them.
    """
    begun, found = time.thread_time(), []
    bound = carrier_bounds(SMALL, 28, 10 ** (snr_db / 10))
    samples, rate = FRAME.length + 200, SMALL.sample_rate_hz
    for _ in range(trials):
        cfo, start, zero = rng.uniform(-8e3, 8e3), rng.uniform(0, 50), rng.uniform(0, 2 * np.pi)
        ahead = samples + int((age + 1e-3) * rate)
        wander = np.cumsum(rng.standard_normal(ahead)) * np.sqrt(walk / rate)
        noise = SMALL.fft / SMALL.used * float(np.mean(np.abs(FRAME.samples()) ** 2)) / 10 ** (snr_db / 10)
        y = received(FRAME.samples(), np.ones((1, 1, 1)), np.zeros(1), rate=rate, carrier_hz=CARRIER, cfo_hz=cfo, start=start, samples=samples,
                     phase=zero) * np.exp(1j * wander[:samples])  # fmt: skip
        y = y + np.sqrt(noise / 2) * (rng.standard_normal(y.shape) + 1j * rng.standard_normal(y.shape))
        capture = Capture.of(y, rate=rate, carrier=CARRIER)
        fit = carrier.refine(capture, FRAME, Acquisition(round(start), cfo + rng.uniform(-300, 300), 1.0, 0.0))
        got = phase.measure(capture, FRAME, fit, clock=clock)
        at = got.centre_s + age
        true = zero + 2 * np.pi * cfo * at + wander[int(at * rate)]
        radians, variance = got.at(at)
        plain = textbook(y[0], round(start), cfo, at)
        found.append([turned(radians - true), np.sqrt(variance), turned(plain - true)])
    off = np.array(found)
    theirs = np.sqrt(bound.phase_rad**2 + (2 * np.pi * age * bound.cfo_hz) ** 2)
    seconds = time.thread_time() - begun
    what = f"{snr_db:g} dB, {age * 1e3:g} ms old" + (f", walk {walk:.2f} rad^2/s, clock {'known' if clock else 'unknown'}" if walk else "")
    judged = not walk or clock is not None
    held = np.abs(off[:, 0]) < 1.96 * off[:, 1]
    return [
        efficiency(f"{what}: RMSE/" + ("what is told" if walk else "bound"), off[:, 0], off[:, 1] if walk else theirs, 1.05 if judged else None,
                   seconds, 0.9 if walk else 0.95),
        coverage(f"{what}: 95 % interval holds", held, *((0.93, 0.97) if judged else (None, None))),
        *([] if walk else [efficiency(f"{what}: textbook RMSE/bound", off[:, 2], theirs, None)]),
    ]  # fmt: skip


def textbook(y: np.ndarray, start: int, near: float, at: float) -> float:
    """Carrier from the turn between the two preamble symbols (Moose 1994), its ambiguity resolved; phase of their correlation."""
    size, rate, first = SMALL.fft, SMALL.sample_rate_hz, start + 2 * SMALL.prefix
    pair = y[first : first + 2 * size].reshape(2, size)
    turn = np.angle(np.vdot(pair[0], pair[1])) * rate / (2 * np.pi * size)
    cfo = turn + np.round((near - turn) * size / rate) * rate / size
    time_of = (first + np.arange(2 * size)) / rate
    sent = FRAME.samples()[0, 2 * SMALL.prefix : 2 * SMALL.prefix + 2 * size]
    middle = float(time_of.mean())
    total = np.vdot(sent, y[first : first + 2 * size] * np.exp(-2j * np.pi * cfo * (time_of - middle)))
    return float(np.angle(total) + 2 * np.pi * cfo * (at - middle))


def coherence(trials: int, rng: np.random.Generator) -> list[Row]:
    """Two emulated devices whose phases a third has heard: power of their sum over that in step, 1/2 + exp(-var/2)/2."""
    begun = time.thread_time()
    errors, variances = pushes("ocxo", int(rng.integers(1 << 30)), max(trials, 20))
    power = np.abs((1 + np.exp(1j * errors)) / 2) ** 2
    expected = np.array([phase.combining(each / 2) for each in variances.mean(0)])
    rows, seconds = [], time.thread_time() - begun
    for i, age in enumerate(AGES[1:], 1):
        reach = 2.58 * power[:, i].std() / np.sqrt(len(power))
        low, high, wanted = power[:, i].mean() - reach, power[:, i].mean() + reach, expected[i]
        rows.append(Row(f"coherent push, {age * 1e3:g} ms old: power kept", power[:, i].mean(), low, high, f"{wanted:.4f} told, 20 % of the loss",
                        low <= wanted + 0.2 * (1 - wanted) and high >= wanted - 0.2 * (1 - wanted), len(power), seconds))  # fmt: skip
    rows.append(efficiency("coherent push, 20 ms old: error over what is told", errors[:, 3], np.sqrt(variances[:, 3]), 1.2, floor=0.8))
    limit = np.radians(10.0)
    window = phase.Phase(0.0, variances[:, 0].mean(), 0.0, 0.0, (variances[:, 3] - variances[:, 0]).mean() / (2 * np.pi * AGES[3]) ** 2, CARRIER)
    rows.append(told("coherent push: window for 10 degrees at 95 %, ms", 1e3 * window.window(limit)))
    return rows


def turned(radians: float) -> float:
    return float(np.angle(np.exp(1j * radians)))
