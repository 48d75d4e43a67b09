"""Does a run over real nodes measure what a run in one process does? `python -m benchmarks.depths [--quick] [--seeds N] [--free N]`.

Per seed a trial at depth `process` is run and its designs are kept; at depth `nodes`, where time is the wall's and every sample crosses
ZeroMQ, the same designs are pushed at the same positions. The paired differences of the measured worst-user SINR must average to zero. Free
runs, which design for themselves at both depths, are reported beside it.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

import hil
from benchmarks.scenes import quickstart
from hil.knowledge import Design

CONFIDENCE = 0.99


@dataclass
class Stored:
    """A design that was made before, at the positions it was made for."""

    design: Design

    @property
    def name(self) -> str:
        return self.design.designer

    def positions(self, problem: Any) -> NDArray[np.float64]:
        return np.clip(self.design.positions, *np.array([rail.travel for rail in problem.arrays]).T[..., None])

    def __call__(self, problem: Any, knowledge: Any) -> Design:
        return replace(self.design, positions=problem.positions)


def free(seed: int, depth: str, runs: str, **changes: Any) -> list[Any]:
    """The rounds of a whole trial, short: one round of the designer."""
    with hil.open(quickstart(rounds__max=1, design__steps=100, **changes), seed=seed, depth=depth, runs=runs) as lab:
        return lab.run()


def again(seed: int, designs: list[Design], runs: str) -> list[float]:
    """Measured worst-user SINR of stored designs at depth `nodes`."""
    with hil.open(quickstart(), seed=seed, depth="nodes", runs=runs) as lab:
        trial = lab.trial
        trial.set_up()
        found = []
        for number, design in enumerate(designs):
            trial.lab.round, trial.lab.designer = number, design.designer
            found.append(trial.one(Stored(design)).measured)
        trial.lab.rest("measured")
    return found


def interval(differences: NDArray[np.float64]) -> tuple[float, float]:
    """Mean and half width at 99 %; what is given are independent trials."""
    count = differences.size
    spread = differences.std(ddof=1) / np.sqrt(count) if count > 1 else np.inf
    return float(differences.mean()), float(student.ppf(0.5 + CONFIDENCE / 2, max(count - 1, 1)) * spread)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--free", type=int, default=3, help="seeds of free runs at depth nodes")
    asked = parser.parse_args()
    seeds, frees = (1, 0) if asked.quick else (asked.seeds, asked.free)
    paired, loose = [], []
    print("seed   designer      process    nodes   difference, dB   (measured worst user)")
    with tempfile.TemporaryDirectory() as runs:
        for seed in range(1, seeds + 1):
            rounds = free(seed, "process", runs, **({"design__baselines": ["fixed"]} if asked.quick else {}))
            measured = again(seed, [one.design for one in rounds], runs)
            paired.append(np.mean([nodes - one.measured for one, nodes in zip(rounds, measured)]))
            for one, nodes in zip(rounds, measured):
                print(f"{seed:4d}   {one.designer:12} {one.measured:8.2f} {nodes:8.2f} {nodes - one.measured:+12.3f}", flush=True)
            if seed <= frees:
                other = free(seed, "nodes", runs)[-1]
                loose.append(other.measured - rounds[-1].measured)
                print(f"{seed:4d}   free robust  {rounds[-1].measured:8.2f} {other.measured:8.2f} {loose[-1]:+12.3f}", flush=True)
    mean, half = interval(np.array(paired))
    told = np.isfinite(half)  # one seed has no interval
    results = [
        {"what": "paired difference nodes - process, mean, dB", "value": round(mean, 4), "bar": round(half, 4) if told else None,
         "ok": not told or abs(mean) <= half},
        {"what": "width of its 99 % interval, dB", "value": round(2 * half, 4) if told else None, "bar": 0.5, "ok": not told or 2 * half < 0.5},
    ]  # fmt: skip
    if loose:
        results.append({"what": f"free runs, robust, mean of {len(loose)}, dB", "value": round(float(np.mean(loose)), 4), "bar": None, "ok": True})
    print(f"\n{len(paired)} seeds, each the mean over its designs: {mean:+.3f} dB, 99 % interval +-{half:.3f}")
    print(json.dumps({"benchmark": "depths", "results": results}))


if __name__ == "__main__":
    main()
