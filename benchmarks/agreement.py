"""Does the emulator, measured through radios and estimators, agree with y = H x? `python -m benchmarks.agreement [--quick] [--seeds N]`.

Random benches, every imperfection of the devices on, at once and twice the default severity. In each the rails are explored, the elements
go to random legal places, robust precoders are designed on the channels that the path fits predict there, pushed and measured; then the
channels are sounded, precoders designed again, pushed and measured. The SINR of every user and block, from 280-symbol frames, is compared
with three predictions: from the true channels at the instants of the capture, from the sounded channels, and from the path fits at these
places nobody had visited (their own variance counted as interference). One number stands for the chains themselves: the error power that
the profiles of the parts state, which the sounder measures. Nothing is fitted to the outcome.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import hil
from benchmarks.scenes import random_bench, severity
from hil import tasks
from hil.bench import build_world
from hil.knowledge import Design, Knowledge
from hil.loop import measuring
from hil.loop.states import State
from hil.systems.maxmin import Problem, Robust
from hil.systems.maxmin.prediction import paths_of
from hil.systems.maxmin.worst_case import known_field, powers

LARGEST_DB = 25.0  # of predicted SINR; above, asynchronous symbol edges and the floor of the estimators take over
INSTANTS = 5  # of the capture at which the true channel is asked


@dataclass(frozen=True)
class Somewhere(Robust):
    """Robust precoders at a given layout."""

    name: str = "somewhere"
    layout: NDArray[np.float64] | None = None

    def positions(self, problem: Problem) -> NDArray[np.float64] | None:
        return self.layout


@dataclass(frozen=True)
class Compared:
    """(user, block) decibels of one scene."""

    measured: NDArray[np.float64]
    true: NDArray[np.float64]
    estimated: NDArray[np.float64]
    unvisited: NDArray[np.float64] | None  # measured less predicted where no antenna had been; None where no path fit was to be trusted

    @property
    def errors(self) -> dict[str, NDArray[np.float64]]:
        """|measured - predicted| by what the prediction rests on."""
        found = {"true parameters": self.measured - self.true, "estimates after sounding": self.measured - self.estimated}
        if self.unvisited is not None:
            found["positions not yet visited"] = self.unvisited
        return {name: np.abs(error) for name, error in found.items()}


def true_sinr(world: Any, lab: Any, design: Design, residual: float) -> NDArray[np.float64]:
    """(user, block) decibels: what one gain per tone finds, the channel's motion during the capture counted as noise, and the chains' error."""
    numerology = lab.numerology
    weights = design.precoders[..., 0][:, numerology.block_of_tone]  # (transmitter, tone, antenna)
    rows = []
    for u, user in enumerate(lab.users):
        radio = lab.user_radio[user]
        tuning, first, count = world.truth.windows(radio)[-1]
        ticks = first + np.linspace(0, count / 2, INSTANTS).astype(int)
        instants = [tuning.oscillator.tick(int(tick), tuning.rate) for tick in ticks]
        antenna = lab.user_channel[user]
        chain = np.abs(world.truth.chain(radio, "receive")[antenna]) ** 2  # the channel is as the controller counts, the noise at the port
        noise = chain * world.truth.noise_power(radio)[antenna] / numerology.fft
        signal, rest = 0.0, noise
        for t, array in enumerate(lab.transmitters):
            channels = np.array([
                world.truth.channel(array.radio, radio, numerology.frequencies_hz, at)[:, antenna][:, list(array.channels)]
                for at in instants
            ])  # fmt: skip
            amplitude = np.einsum("ikn,kn->ik", channels, weights[t])
            if t == u:
                signal, rest = np.abs(amplitude.mean(0)) ** 2, rest + amplitude.var(0)
            else:
                rest = rest + np.mean(np.abs(amplitude) ** 2, axis=0)
        rows.append(10.0 * np.log10(numerology.block_mean(signal) / numerology.block_mean(rest + residual * (signal + rest))))
    return np.array(rows)


def foreseen(problem: Problem, knowledge: Knowledge, design: Design) -> NDArray[np.float64]:
    """(user, block) decibels that a design on predicted channels should reach, the variance of the prediction counted as interference."""
    variance = np.zeros((len(problem.arrays), problem.users, problem.blocks, problem.elements))
    for a, row in enumerate(paths_of(problem, knowledge)):
        for u, fit in enumerate(row):
            spread = np.asarray(fit.predict(problem.positions[a], problem.frequencies_hz)[1])
            for block in range(problem.blocks):
                variance[a, u, block] = spread[:, problem.block_of_tone == block].mean(-1)
    weights = design.precoders[..., 0]
    field = known_field(problem, knowledge)
    signal, received = powers(field.exact(), weights)
    doubt = np.einsum("aubn,abn->ub", variance, np.abs(weights) ** 2)
    own = signal[list(field.serving), range(problem.users)]
    interference = (received * field.interferes).sum(0) + doubt + field.noise[:, None]
    return 10.0 * np.log10(problem.with_residual(own / interference))


def scene(seed: int, changes: Mapping[str, Any]) -> Compared:
    """One random bench: explored, designed on predictions and measured, sounded, designed and measured."""
    rng = np.random.default_rng([seed, 99])
    bench = random_bench(rng, **changes)
    held = {}

    def world(clock):
        return held.setdefault("world", build_world(bench, seed, clock))

    with tempfile.TemporaryDirectory() as runs, hil.open(bench, seed=seed, runs=runs, world=world) as lab:
        trial, loop = lab.trial, lab.trial.lab
        trial.prepare()
        layout = trial.problem.random_positions(1)[0]
        unvisited = None
        if trial.trusted:
            loop.designer = "unvisited"
            loop.move(layout, "design")
            loop.enter(State.IDLE, "where nobody has been")
            loop.enter(State.DESIGNING, "paths known")
            problem, knowledge = trial.problem.at(loop.here()), trial.know(None)
            guess = Robust().at(problem, knowledge)
            frames = measuring.push(loop, guess, (version := loop.next_version()), seed)
            found = measuring.measure(loop, trial.sounding, guess, version, frames, {}, None, {}, rng)
            unvisited = found.sinr_db - foreseen(problem, knowledge, guess)
        loop.designer = "somewhere"
        made = trial.one(Somewhere(layout=layout))
        assert made.design.predicted_each is not None
        true = true_sinr(held["world"], loop, made.design, trial.problem.residual)
        compared = Compared(made.measured_design.sinr_db, true, made.design.predicted_each, unvisited)
        loop.rest("compared")
        return compared


def suited(seed: int, changes: Mapping[str, Any]) -> Compared:
    """The scene with powers lowered until no predicted SINR passes the largest."""
    power = -20.0
    while True:
        found = scene(seed, {**changes, "array__ap1__element_power_dbm": power, "array__ap2__element_power_dbm": power})
        over = float(found.estimated.max()) - LARGEST_DB
        if over <= 0.0:
            return found
        power -= np.ceil(over + 0.5)


BARS = {"true parameters": (0.25, 0.5), "estimates after sounding": (0.5, 1.0), "positions not yet visited": (1.0, 3.0)}


def one(parameters: Mapping[str, Any], _: np.random.SeedSequence) -> dict[str, Any]:
    """Errors of one scene, as lists."""
    found = suited(parameters["seed"], {"target__floor_dbm": -60.0, **severity(parameters["severity"])})
    return {"worst": float(found.measured.min()), **{name: error.ravel().tolist() for name, error in found.errors.items()}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--severities", type=float, nargs="+", default=[1.0, 2.0])
    asked = parser.parse_args()
    seeds = range(2 if asked.quick else asked.seeds)
    results = []
    for times in asked.severities:
        wanted = [{"seed": seed, "severity": times} for seed in seeds]
        scenes = [outcome.result for outcome in tasks.run(one, wanted, seed=0, jobs=asked.jobs)]
        print(f"severity {times:g}\nscene   worst " + "".join(f"{name:>32}" for name in BARS) + "   |measured - predicted|, median and 95 %, dB")
        for seed, found in zip(seeds, scenes):
            numbers = {name: f"{np.median(found[name]):24.3f} {np.quantile(found[name], 0.95):7.3f}" for name in BARS if name in found}
            cells = [numbers.get(name, f"{'paths untrusted':>32}") for name in BARS]
            print(f"{seed:5d}   {found['worst']:5.1f} " + "".join(cells))
        for name, bars in BARS.items():
            pooled = np.concatenate([np.zeros(0), *(found[name] for found in scenes if name in found)])
            told = sum(name in found for found in scenes)
            for quantile, label, bar in ((0.5, "median", bars[0]), (0.95, "95th percentile", bars[1])):
                value = float(np.quantile(pooled, quantile)) if pooled.size else float("inf")
                what = f"severity {times:g}: |measured - predicted| from {name}, {label}, dB ({told} scenes)"
                results.append({"what": what, "value": round(value, 4), "bar": bar, "ok": value <= bar})
    print()
    for row in results:
        print(f"{row['what']:100} {row['value']:7.3f}   bar {row['bar']}")
    print(json.dumps({"benchmark": "agreement", "results": results}))


if __name__ == "__main__":
    main()
