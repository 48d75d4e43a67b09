"""Clock tracks and two-way exchanges: errors against what is told, in the model, on the emulator's oscillators and through its radios."""

from __future__ import annotations

import time

import numpy as np

from benchmarks.estimator_cases import Row, coverage, efficiency, interval_of_mean, share, told
from hil.clock import Instant
from hil.estimate import tracking
from hil.estimate.tracking import CLASSES, Reading, Track
from sim_backend.oscillator import draw
from tests.physics.exchange_bench import WIDE, Pair

ERROR = np.diag([(0.085e-9) ** 2, (0.6 / 3.5e9) ** 2])  # of a reading
STEP_S = 0.1
TCXO = CLASSES["tcxo"]


def run(trials: int, rng: np.random.Generator) -> list[Row]:
    return [*in_the_model(trials, rng), *emulated("tcxo", trials // 40, rng), *emulated("crystal", trials // 40, rng), *exchanges(trials // 20, rng)]


def in_the_model(trials: int, rng: np.random.Generator) -> list[Row]:
    """Tracks of a hundred readings by a clock that is what the track takes it for."""
    begun = time.thread_time()
    truth = rng.standard_normal((trials, 2)) * [tracking.OFFSET_STD, tracking.RATE_STD]
    value, covariance = np.zeros((trials, 2)), np.broadcast_to(np.diag([tracking.OFFSET_STD**2, tracking.RATE_STD**2]), (trials, 2, 2))
    walk, nees, tests, last = np.linalg.cholesky(TCXO.grown(STEP_S)), [], [], truth
    for step in range(100):
        if step:
            truth = (tracking.forward(STEP_S) @ truth[..., None])[..., 0] + rng.standard_normal((trials, 2)) @ walk.T
            value, covariance = tracking.predicted(value, covariance, TCXO, STEP_S)
        seen = truth + rng.standard_normal((trials, 2)) * np.sqrt(np.diag(ERROR))
        before = seen[:, 0] - truth[:, 0]
        value, covariance, test = tracking.corrected(value, covariance, seen, ERROR, np.eye(2))
        off = truth - value
        nees.append(np.einsum("ti,tij,tj->t", off, np.linalg.inv(covariance), off))
        tests.append(test)
        last = off
    seconds, found = time.thread_time() - begun, np.array(nees)
    mean, low, high = interval_of_mean(found.mean(axis=0))
    return [
        Row("tcxo, 100 readings: NEES", mean, low, high, "1.8 to 2.2", low <= 2.2 and high >= 1.8, trials, seconds),
        share("tcxo, 100 readings: 95 % ellipse holds, every step", (found < 5.991).ravel(), at_least=0.93, at_most=0.97),
        share("tcxo, 100 readings: innovations beyond 13.82", (np.array(tests) > 13.82).ravel(), at_most=0.0015),
        efficiency("tcxo, 100th reading: offset error over what is told", last[:, 0], np.sqrt(covariance[:, 0, 0]), 1.05, floor=0.95),
        efficiency("textbook, the reading alone: offset error over what a track tells", before, np.sqrt(covariance[:, 0, 0]), None),
    ]


def emulated(kind: str, clocks: int, rng: np.random.Generator) -> list[Row]:
    """Two oscillators of the emulator, which flicker; noise fitted to the first hundred of two hundred readings. Rows per pair of clocks."""
    begun, off, nees = time.thread_time(), [], []
    for _ in range(max(clocks, 8)):
        seed = int(rng.integers(1 << 30))
        pair = [draw({"class": kind}, seed, name) for name in "ab"]
        times = [Instant(400, 0.0).after(k * STEP_S) for k in range(201)]
        read = np.array([[clock.error(at) for clock in pair] for at in times])  # (time, clock, (x, y))
        states = read[:, 1] - read[:, 0] - [pair[1].offset - pair[0].offset, 0.0]
        states[:, 1] = read[:, 1, 1] - read[:, 0, 1]
        seen = states + rng.standard_normal(states.shape) * np.sqrt(np.diag(ERROR))
        noise = tracking.fitted(seen[:100, 0], seen[:100, 1], STEP_S, ERROR, CLASSES[kind] + CLASSES[kind])
        track = Track.begin(Reading(times[0], *seen[0], ERROR), noise)
        errors, tests = [], []
        for k in range(1, 200):
            track = track.updated(Reading(times[k], *seen[k], ERROR))
            if k > 20:
                value, covariance = track.after(STEP_S)
                covariance = covariance + np.diag([0.0, track.noise.fast])
                error = value - states[k + 1]
                errors.append(error / np.sqrt(np.diag(covariance)))
                tests.append(error @ np.linalg.solve(covariance, error))
        off.append(np.sqrt(np.mean(np.square(errors), axis=0)))
        nees.append(np.mean(tests))
    ratio, mean = np.array(off), interval_of_mean(np.array(nees))
    seconds = time.thread_time() - begun
    return [
        efficiency(f"emulated {kind}: offset a push later over what is told", ratio[:, 0], 1.0, 1.2, seconds, floor=0.8),
        efficiency(f"emulated {kind}: rate a push later over what is told", ratio[:, 1], 1.0, 1.2, floor=0.8),
        Row(f"emulated {kind}: NEES a push later", *mean, "1.8 to 2.2", mean[1] <= 2.2 and mean[2] >= 1.8, len(nees)),
    ]


def exchanges(trials: int, rng: np.random.Generator) -> list[Row]:
    """Through emulated radios with TCXOs that hear themselves, 19.2 MHz at 20 dB; ten exchanges to a bench."""
    begun, off, way, cost = time.thread_time(), [], [], []
    for _ in range(max(trials // 10, 1)):
        pair = Pair.on_air(int(rng.integers(1 << 30)), WIDE)
        for _ in range(10):
            started = time.thread_time()
            found = pair.exchange()
            cost.append(time.thread_time() - started)
            off.append([pair.error(found.offset.value[0], pair.middle), found.offset.std[0]])
            way.append([found.range.value[0] - pair.way, found.range.std[0]])
            pair.clock.sleep(0.02)
    errors, ranges = np.array(off), np.array(way)
    rms, low, high = (np.sqrt(x) * 1e9 for x in interval_of_mean(np.square(errors[:, 0])))
    return [
        Row("two-way through radios: offset, ns rms at the instant", rms, low, high, "<= 0.1", low <= 0.1, len(off), time.thread_time() - begun),
        efficiency("two-way through radios: offset error/bound", errors[:, 0], errors[:, 1], 1.05, floor=0.9),
        coverage("two-way through radios: 95 % interval of the offset holds", np.abs(errors[:, 0]) < 1.96 * errors[:, 1]),
        efficiency("two-way through radios: range error/bound", ranges[:, 0], ranges[:, 1], None),
        told("two-way through radios: s of processor per exchange, emulation included", float(np.median(cost)), trials=len(cost)),
    ]
