"""Whole trials of the quickstart over many seeds: `python -m benchmarks.designers [--quick] [--seeds N] [--jobs N] [--severity S] [--keep FILE]`.

In every trial robust, sparse, fixed and regularised zero forcing meet the same room, and at the end a nominal design where the robust one
stands. Measured: the worst user's SINR of each, the
gain split into design, aperture and motion; whether the robust promise was kept and what it cost (measured less promised; the size of the
sets against those of the Cramer-Rao bound); whether the true channels lay in the sets; and whether a nominal design, taken at its word, keeps it.

The Cramer-Rao set of a channel in force is made as the loop makes its own, of the bound's covariance (noise through the delay window)
and, with the same joint confidence, of what moves: an echo of the true power that was there with one phase at either look and will be
with another (1.5 times its power for the mean of two looks). One process per trial, one thread each.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

import hil
from benchmarks.scenes import quickstart, severity
from hil import tasks
from hil.estimate.visits import delay_between
from hil.loop.states import State
from hil.records.reader import read
from hil.systems.maxmin import Nominal, Problem
from hil.uncertainty import ball_radius

SPLIT = (("design", "fixed", "fixed-rzf"), ("aperture", "sparse", "fixed"), ("motion", "robust", "sparse"))
NAMES = ("robust", "nominal", "sparse", "fixed", "fixed-rzf")
BASELINES = ("fixed-rzf", "fixed", "sparse")
KEPT_AT_ONCE = 10  # seeds between two writings of --keep
LOOKS_SHARE = 1.5  # of a moving echo's power: its phase in force, less the mean of the phases at two looks


def trial(parameters: Mapping[str, Any], _: np.random.SeedSequence) -> dict[str, Any]:
    """The last round of each designer, promises kept of those made, sets against truth and bound of every robust round."""
    bench = quickstart(design__baselines=parameters["baselines"], rounds__max=parameters["rounds"], **parameters["changes"])
    found: dict[str, Any] = {"sets": [], "kept": 0, "made": 0, "passed": 0, "rounds": 0}
    with tempfile.TemporaryDirectory() as runs, hil.open(bench, seed=parameters["seed"], runs=runs) as lab:
        for one in lab.rounds():
            found[one.designer] = numbers(one)
            found["rounds"] += 1
            found["passed"] += one.verdict.passed
            if one.designer == "robust":
                found["made"] += 1
                found["kept"] += one.kept
                found["sets"].append(sets(lab, one.number, one.design))
                if one.number == parameters["rounds"] or lab.trial.converged:
                    lab.trial.lab.designer = "nominal"
                    found["nominal"] = numbers(lab.trial.one(Here(layout=lab.trial.lab.here())))
                    lab.trial.lab.enter(State.IDLE, "compared")
    return found


@dataclass(frozen=True)
class Here(Nominal):
    """A nominal design at a given layout."""

    layout: NDArray[np.float64] | None = None

    def positions(self, problem: Problem) -> NDArray[np.float64] | None:
        return self.layout


def numbers(one: Any) -> dict[str, Any]:
    """Decibels of one round; `upper`: simultaneous 99 % limits (user, block) of what was measured."""
    return {
        "promised": one.promised, "predicted": one.predicted, "measured": one.measured, "bound": one.bound, "round": one.number,
        "target": one.measured_design.target_error, "upper": one.measured_design.upper_db.tolist(),
    }  # fmt: skip


def sets(lab: Any, number: int, design: Any) -> dict[str, Any]:
    """Sizes of one round's balls over those of the bound (medians), and whether the true channels in force lay in all of them."""
    world, loop = lab.trial.lab.link.world, lab.trial.lab
    arrays = np.load(Path(lab.folder) / "designs" / f"r{number:03d}-robust.npz")
    radius, channel = arrays["radius"], arrays["channel"][..., 0, :]
    numerology = loop.numerology
    ratio, still, inside = [], [], True
    bounded = [e for e in read(lab.folder).events if e["event"] == "bounded" and e["round"] == number and e["what"] == "channel"]
    for t, array in enumerate(loop.transmitters):
        for u, user in enumerate(loop.users):
            radio, antenna = loop.user_radio[user], loop.user_channel[user]
            tuning, first, count = world.truth.windows(radio)[-1]
            at = tuning.oscillator.tick(first + count // 2, tuning.rate)
            true = world.truth.channel(array.radio, radio, numerology.frequencies_hz, at)[:, antenna][:, list(array.channels)]
            phase, delay = delay_between(channel[t, u].T, true.T, numerology.frequencies_hz)
            turned = true * np.exp(-1j * phase + 2j * np.pi * numerology.frequencies_hz * delay)[:, None]
            error = np.linalg.norm(numerology.block_mean(turned - channel[t, u], axis=0), axis=-1)
            inside &= bool(np.all(error <= radius[t, u]))
            noise = np.asarray(next(e["bound_size"] for e in bounded if e["of"] == f"{array.name}-{user}"))
            walks = world.room.moving(array.radio, radio, [at]).gain[0, :, antenna]
            moves = float(np.sum(np.mean(np.abs(walks) ** 2, axis=-1)))
            joint, n = radius.size, channel.shape[-1]
            unit = float(ball_radius(np.eye(n), loop.scenario.design.confidence, joint=joint))
            ratio.append(np.median(radius[t, u] / np.sqrt(noise**2 + LOOKS_SHARE * moves * unit**2)))
            still.append(np.median(radius[t, u] / noise))
    return {"ratio": ratio, "still": still, "inside": inside}


def broken(one: Mapping[str, Any]) -> bool:
    """Whether a design taken at its word (its prediction) was not kept: a simultaneous upper 99 % limit lies below what it predicts."""
    return bool(np.min(one["upper"]) < one["predicted"])


def interval(count: int, of: int) -> str:
    """The exact 99 % interval of a share."""
    low, high = binomtest(count, of).proportion_ci(0.99, method="exact")
    return f"{low:.3f} .. {high:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--compared", type=int, default=50, help="seeds up to this one meet all baselines, others one robust round and a nominal one")
    parser.add_argument("--rounds", type=int, default=2, help="of the robust designer, at most")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--severity", type=float, help="of the emulated devices; left out: as the bench says")
    parser.add_argument("--keep", type=Path, help="add every trial's numbers to this file, or with --show read them")
    parser.add_argument("--show", action="store_true", help="no trials: judge what --keep holds")
    asked = parser.parse_args()
    if asked.show:
        found = json.loads(asked.keep.read_text())
    else:
        changes = {} if asked.severity is None else severity(asked.severity)
        seeds = range(asked.first, asked.first + (1 if asked.quick else asked.seeds))
        found = json.loads(asked.keep.read_text()) if asked.keep and asked.keep.exists() else []
        for at in range(0, len(seeds), KEPT_AT_ONCE):
            wanted = [
                {"seed": seed, "changes": changes, "rounds": asked.rounds if seed <= asked.compared else 1,
                 "baselines": list(BASELINES) if seed <= asked.compared else []}
                for seed in seeds[at : at + KEPT_AT_ONCE]
            ]  # fmt: skip
            done = tasks.run(trial, wanted, seed=0, jobs=asked.jobs)
            found += [{"seed": parameters["seed"], **outcome.result} for parameters, outcome in zip(wanted, done)]
            if asked.keep:
                asked.keep.write_text(json.dumps(found))
    results = judged(found)
    print(json.dumps({"benchmark": "designers", "results": results}))


def judged(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The table of all trials, and every number against its bar."""
    print("seed   " + "".join(f"{name:>11}" for name in NAMES) + "   measured worst user, dB;  promised   bound  rounds   kept   in sets")
    for one in found:
        last = one["robust"]
        within = sum(each["inside"] for each in one["sets"])
        promises = f"{last['promised']:9.2f} {last['bound']:7.2f} {last['round']:7d}   {one['kept']}/{one['made']}   {within}/{one['made']}"
        print(f"{one['seed']:4d}   " + "".join(f"{one[name]['measured']:11.2f}" if name in one else f"{'-':>11}" for name in NAMES)
              + f"   {'':24}{promises}")  # fmt: skip
    results = []

    def add(what: str, value: float, bar: float | None = None, ok: bool = True) -> None:
        results.append({"what": what, "value": round(float(value), 4), "bar": bar, "ok": bool(ok)})
        print(f"{what:100} {value:8.3f}" + ("" if bar is None else f"   bar {bar}"))

    print()
    compared = [one for one in found if all(name in one for name in NAMES)]
    for name in NAMES if compared else ():
        measured = [one[name]["measured"] for one in compared]
        low, middle, high = np.quantile(measured, [0.05, 0.5, 0.95])
        add(f"{name}: measured worst user, median, dB (5 to 95 %: {low:.1f} .. {high:.1f})", middle)
    for name, better, worse in SPLIT if compared else ():
        gains = [one[better]["measured"] - one[worse]["measured"] for one in compared]
        low, middle, high = np.quantile(gains, [0.05, 0.5, 0.95])
        add(f"gain by {name} ({better} - {worse}), median, dB (5 to 95 %: {low:.1f} .. {high:.1f})", middle)
    gaps = [one["robust"]["bound"] - one["robust"]["promised"] for one in found]
    add("robust: bound less promise at the same positions, median, dB", np.median(gaps), 0.3, np.median(gaps) <= 0.3)
    trials = len(found)
    kept = sum(one["kept"] == one["made"] for one in found)
    add(f"trials that kept every promise, of {trials} (99 %: {interval(kept, trials)})", kept / trials, 0.95,
        binomtest(kept, trials).proportion_ci(0.99, method="exact").high >= 0.95)  # fmt: skip
    within = sum(all(each["inside"] for each in one["sets"]) for one in found)
    add(f"trials whose true channels lay in every set, of {trials} (99 %: {interval(within, trials)})", within / trials, 0.95,
        binomtest(within, trials).proportion_ci(0.99, method="exact").high >= 0.95)  # fmt: skip
    margin = np.median([one["robust"]["measured"] - one["robust"]["promised"] for one in found])
    add("robust: measured less promised, median, dB", margin, 2.0, margin <= 2.0)
    ratio = np.median([value for one in found for each in one["sets"] for value in each["ratio"]])
    add("size of a set over the Cramer-Rao set of the channel in force, median", ratio, 1.3, ratio <= 1.3)
    still = np.median([value for one in found for each in one["sets"] for value in each["still"]])
    add("size of a set over the Cramer-Rao set of a room where nothing moves, median", still)
    shortfalls = sum(broken(one["nominal"]) for one in found)
    add(f"trials in which a nominal design, taken at its word, breaks it, of {trials} (99 %: {interval(shortfalls, trials)})",
        shortfalls / trials, 0.05, binomtest(shortfalls, trials).proportion_ci(0.99, method="exact").low > 0.05)  # fmt: skip
    worst = np.median([min(np.min(np.array(one["nominal"]["upper"])) - one["nominal"]["predicted"], 0.0) for one in found])
    add("nominal: how far below its word, median of all trials, dB", worst)
    verdicts = sum(one["passed"] for one in found) / sum(one["rounds"] for one in found)
    add("designs that the adversary could not break", verdicts, 1.0, verdicts == 1.0)
    return results


if __name__ == "__main__":
    main()
