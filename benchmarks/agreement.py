"""Does the emulator, measured through radios and estimators, agree with y = H x? `python -m benchmarks.agreement [--quick] [--seeds N]`.

Random benches. In each the elements go to random legal places, the channels are sounded, robust precoders are designed and pushed, and
the SINR of every user and block is measured from 280-symbol frames. It is compared with two predictions: from the true channels at the
positions read back, at the instants of the capture, and from the sounded channels. Nothing is fitted to the outcome.
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
from benchmarks.scenes import random_bench
from hil.bench import build_world
from hil.knowledge import Design
from hil.systems.maxmin import Problem, Robust

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


def true_sinr(world: Any, lab: Any, design: Design) -> NDArray[np.float64]:
    """(user, block) decibels: what one gain per tone finds, the channel's motion during the capture counted as noise."""
    numerology = lab.numerology
    weights = design.precoders[..., 0][:, numerology.block_of_tone]  # (transmitter, tone, antenna)
    rows = []
    for u, user in enumerate(lab.users):
        radio = lab.user_radio[user]
        tuning, first, count = world.truth.windows(radio)[-1]
        ticks = first + np.linspace(0, count / 2, INSTANTS).astype(int)
        instants = [tuning.oscillator.tick(int(tick), tuning.rate) for tick in ticks]
        noise = world.truth.noise_power(radio)[lab.user_channel[user]] / numerology.fft
        signal, rest = 0.0, noise
        for t, array in enumerate(lab.transmitters):
            channels = np.array([
                world.truth.channel(array.radio, radio, numerology.frequencies_hz, at)[:, lab.user_channel[user]][:, list(array.channels)]
                for at in instants
            ])  # fmt: skip
            amplitude = np.einsum("ikn,kn->ik", channels, weights[t])
            if t == u:
                signal, rest = np.abs(amplitude.mean(0)) ** 2, rest + amplitude.var(0)
            else:
                rest = rest + np.mean(np.abs(amplitude) ** 2, axis=0)
        rows.append(10.0 * np.log10(numerology.block_mean(signal) / numerology.block_mean(rest)))
    return np.array(rows)


def scene(seed: int, changes: Mapping[str, Any]) -> Compared:
    """One random bench, one design, one measurement."""
    rng = np.random.default_rng([seed, 99])
    bench = random_bench(rng, **changes)
    held = {}

    def world(clock):
        return held.setdefault("world", build_world(bench, seed, clock))

    with tempfile.TemporaryDirectory() as runs, hil.open(bench, seed=seed, runs=runs, world=world) as lab:
        trial = lab.trial
        trial.set_up()
        trial.lab.designer = "somewhere"
        layout = trial.problem.random_positions(1)[0]
        made = trial.one(Somewhere(layout=layout))
        assert made.design.predicted_each is not None
        found = Compared(made.measured_design.sinr_db, true_sinr(held["world"], trial.lab, made.design), made.design.predicted_each)
        trial.lab.rest("compared")
        return found


def suited(seed: int, changes: Mapping[str, Any]) -> Compared:
    """The scene with powers lowered until no predicted SINR passes the largest."""
    power = -20.0
    while True:
        found = scene(seed, {**changes, "array__ap1__element_power_dbm": power, "array__ap2__element_power_dbm": power})
        over = float(found.estimated.max()) - LARGEST_DB
        if over <= 0.0:
            return found
        power -= np.ceil(over + 0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seeds", type=int, default=20)
    asked = parser.parse_args()
    seeds = range(3 if asked.quick else asked.seeds)
    scenes = []
    print("scene   worst   | measured - true |   | measured - estimated |    dB: median, 95 %")
    for seed in seeds:
        found = suited(seed, {"target__floor_dbm": -60.0})
        scenes.append(found)
        each = [np.abs(found.measured - found.true), np.abs(found.measured - found.estimated)]
        numbers = "   ".join(f"{np.median(error):9.3f} {np.quantile(error, 0.95):8.3f}" for error in each)
        print(f"{seed:5d}   {found.measured.min():5.1f}   {numbers}", flush=True)
    results = []
    for name, errors, bars in (
        ("from the true parameters", [np.abs(one.measured - one.true) for one in scenes], (0.25, 0.5)),
        ("from the estimates after sounding", [np.abs(one.measured - one.estimated) for one in scenes], (0.5, 1.0)),
    ):
        pooled = np.concatenate([error.ravel() for error in errors])
        for quantile, label, bar in ((0.5, "median", bars[0]), (0.95, "95th percentile", bars[1])):
            value = float(np.quantile(pooled, quantile))
            results.append({"what": f"|measured - predicted| {name}, {label}, dB", "value": round(value, 4), "bar": bar, "ok": value <= bar})
    print(f"\n{len(scenes)} scenes, {pooled.size} users and blocks")
    for row in results:
        print(f"{row['what']:75} {row['value']:7.3f}   bar {row['bar']}")
    print(json.dumps({"benchmark": "agreement", "results": results}))


if __name__ == "__main__":
    main()
