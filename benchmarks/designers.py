"""Whole trials of the quickstart over many seeds: `python -m benchmarks.designers [--quick] [--seeds N] [--jobs N]`.

Measured worst-user SINR of the robust designer, a nominal one and the baselines, the distance of the promise to the bound at the same
positions, whether promises were kept, and the gain split into design, aperture and motion. One process per trial, one thread each.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping
from typing import Any

import numpy as np

import hil
from benchmarks.scenes import quickstart
from hil import tasks

SPLIT = (("design", "fixed", "fixed-rzf"), ("aperture", "sparse", "fixed"), ("motion", "robust", "sparse"))


def trial(parameters: Mapping[str, Any], _: np.random.SeedSequence) -> dict[str, Any]:
    """The last round of each designer: promised, predicted, measured, bound (dB), and promises kept of those made."""
    seed = parameters["seed"]
    bench = quickstart()
    with tempfile.TemporaryDirectory() as runs, hil.open(bench, seed=seed, runs=runs) as lab:
        rounds = lab.run()
    found: dict[str, Any] = {}
    for one in rounds:
        found[one.designer] = {
            "promised": one.promised, "predicted": one.predicted, "measured": one.measured, "bound": one.bound, "round": one.number,
            "target": one.measured_design.target_error,
        }  # fmt: skip
    promised = [one for one in rounds if one.promised is not None]
    found["promises"] = {"kept": sum(one.kept for one in promised), "made": len(promised)}
    found["verdicts"] = {"passed": sum(one.verdict.passed for one in rounds), "of": len(rounds)}
    return found


def nominal(parameters: Mapping[str, Any], _: np.random.SeedSequence) -> dict[str, Any]:
    """The same seed with a designer that ignores the sets: what it still guarantees, and what was measured."""
    bench = quickstart(design__designer="nominal", design__baselines=[], rounds__max=2)
    with tempfile.TemporaryDirectory() as runs, hil.open(bench, seed=parameters["seed"], runs=runs) as lab:
        last = lab.run()[-1]
    return {"promised": last.promised, "predicted": last.predicted, "measured": last.measured}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=2)
    asked = parser.parse_args()
    seeds = 1 if asked.quick else asked.seeds
    wanted = [{"seed": seed} for seed in range(1, seeds + 1)]
    found = [outcome.result for outcome in tasks.run(trial, wanted, seed=0, jobs=asked.jobs)]
    blind = [] if asked.quick else [outcome.result for outcome in tasks.run(nominal, wanted, seed=0, jobs=asked.jobs)]
    names = ("robust", "sparse", "fixed", "fixed-rzf")
    print("seed   " + "".join(f"{name:>12}" for name in names) + "   measured worst user, dB;   promised   bound   rounds   kept")
    for seed, one in enumerate(found, 1):
        last = one["robust"]
        kept = f"{one['promises']['kept']}/{one['promises']['made']}"
        print(f"{seed:4d}   " + "".join(f"{one[name]['measured']:12.2f}" for name in names)
              + f"   {'':26}{last['promised']:9.2f} {last['bound']:7.2f} {last['round']:8d}   {kept}")  # fmt: skip
    results = []

    def add(what: str, value: float, bar: float | None = None, ok: bool = True) -> None:
        results.append({"what": what, "value": round(float(value), 4), "bar": bar, "ok": bool(ok)})
        print(f"{what:75} {value:8.3f}" + ("" if bar is None else f"   bar {bar}"))

    print()
    for name in names:
        add(f"{name}: measured worst user, median, dB", np.median([one[name]["measured"] for one in found]))
    if blind:
        add("nominal: measured worst user, median, dB", np.median([one["measured"] for one in blind]))
        add("nominal: guaranteed over the sets, median, dB", np.median([one["promised"] for one in blind]))
        below = np.mean([one["measured"] < one["predicted"] - 0.5 for one in blind])
        add("nominal: share measured 0.5 dB below its prediction", below)
    gaps = np.array([one["robust"]["bound"] - one["robust"]["promised"] for one in found])
    add("robust: bound less promise at the same positions, median, dB", np.median(gaps), 0.3, np.median(gaps) <= 0.3)
    for name, better, worse in SPLIT:
        add(f"gain by {name} ({better} - {worse}), median, dB", np.median([one[better]["measured"] - one[worse]["measured"] for one in found]))
    made, kept = (sum(one["promises"][key] for one in found) for key in ("made", "kept"))
    add(f"promises kept of {made}", kept / made, 0.95, kept / made >= 0.95)
    margin = np.median([one["robust"]["measured"] - one["robust"]["promised"] for one in found])
    add("robust: measured less promised, median, dB", margin, 2.0, margin <= 2.0)
    verdicts = sum(one["verdicts"]["passed"] for one in found) / sum(one["verdicts"]["of"] for one in found)
    add("designs that the adversary could not break", verdicts, 1.0, verdicts == 1.0)
    print(json.dumps({"benchmark": "designers", "results": results}))


if __name__ == "__main__":
    main()
