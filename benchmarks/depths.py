"""Does a run over nodes, or through the radios' drivers, measure what a run in one process does?

`python -m benchmarks.depths [--quick] [--depth nodes|device] [--seeds N] [--free N] [--out FILE]`. Per seed a trial at depth `process` is run
and its designs are kept; at depth `nodes`, where time is the wall's and every sample crosses a network, the same designs are pushed at the
same positions. At depth `device` weights cannot be: a synthesiser that is tuned anew starts at another phase, and weights made for the old ones
add up to nothing. There, and in one process once more, the same designers stand at the same positions and make their weights of what they
sound there. The paired differences of the measured worst-user SINR must average to zero. At depth `device` they are taken of what was measured
less what was predicted for the design that was pushed, since weights hang on where the target walked while each trial sounded; those of
what was measured alone stand beside them. Free runs at depth `nodes`, which design for themselves, are reported too.

With `--out` each seed is a line of a file as soon as it is through; seeds that are there are not run again, so that the same command goes on
where it was interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

import hil
from benchmarks.scenes import quickstart
from hil.knowledge import Design
from hil.loop import lab as laboratory
from hil.systems.maxmin import designers

CONFIDENCE = 0.99
SLACK_S = 120.0  # for an emulator to compute a capture, on a machine that may have other things to do


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


@dataclass
class Standing(Stored):
    """The designer of a design that was made before, where it stood then."""

    def __call__(self, problem: Any, knowledge: Any) -> Design:
        return designers[self.design.designer]()(problem, knowledge)


def free(seed: int, depth: str, runs: str, **changes: Any) -> list[Any]:
    """The rounds of a whole trial, short: one round of the designer."""
    with hil.open(quickstart(rounds__max=1, design__steps=100, **changes), seed=seed, depth=depth, runs=runs) as lab:
        return lab.run()


def again(seed: int, depth: str, designs: list[Stored], runs: str) -> list[Any]:
    """Rounds of what was designed before, at another depth; nothing is explored."""
    with hil.open(quickstart(), seed=seed, depth=depth, runs=runs) as lab:
        trial = lab.trial
        trial.set_up()
        found = []
        for number, stored in enumerate(designs):
            trial.lab.round, trial.lab.designer = number, stored.name
            found.append(trial.one(stored))
        trial.lab.rest("measured")
    return found


def line(seed: int, depth: str, runs: str, *, quick: bool, loose: bool) -> dict[str, Any]:
    """A seed's numbers, dB; designs in the order of the rounds."""
    spent = _processor_s()
    rounds = free(seed, "process", runs, **({"design__baselines": ["fixed"]} if quick else {}))
    if depth == "device":
        standing = [Standing(one.design) for one in rounds]
        rounds, others = again(seed, "process", standing, runs), again(seed, depth, standing, runs)
    else:
        others = again(seed, depth, [Stored(one.design) for one in rounds], runs)
    off = [[one.measured - one.predicted for one in some] for some in (rounds, others)] if depth == "device" else None
    return {
        "depth": depth, "seed": seed, "quick": quick, "designers": [one.designer for one in rounds], "process": [one.measured for one in rounds],
        "other": [one.measured for one in others], "off": off, "free": free(seed, depth, runs)[-1].measured if loose else None,
        "processor_s": round(_processor_s() - spent, 1),
    }  # fmt: skip


def _processor_s() -> float:
    """Of this process and of those it started that have ended."""
    return sum(os.times()[:4])


def known(file: Path | None, depth: str, quick: bool) -> dict[int, dict[str, Any]]:
    """Seed -> its line in a file. What an interruption left of a last line is no line."""
    found = {}
    for text in file.read_text().splitlines() if file and file.exists() else []:
        with suppress(json.JSONDecodeError):
            one = json.loads(text)
            if (one["depth"], one["quick"]) == (depth, quick):
                found[one["seed"]] = one
    return found


def interval(differences: NDArray[np.float64]) -> tuple[float, float]:
    """Mean and half width at 99 %; what is given are independent trials."""
    count = differences.size
    spread = differences.std(ddof=1) / np.sqrt(count) if count > 1 else np.inf
    return float(differences.mean()), float(student.ppf(0.5 + CONFIDENCE / 2, max(count - 1, 1)) * spread)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one seed, a design and a baseline, no free run")
    parser.add_argument("--depth", choices=("nodes", "device"), default="nodes", help="what is compared with depth process")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--free", type=int, default=3, help="seeds of free runs at depth nodes")
    parser.add_argument("--out", type=Path, help="file of a JSON line per seed, gone on with if it is there")
    asked = parser.parse_args()
    seeds, frees = (1, 0) if asked.quick else (asked.seeds, asked.free if asked.depth == "nodes" else 0)
    laboratory.CAPTURE_SLACK_S = SLACK_S
    lines, depth = known(asked.out, asked.depth, asked.quick), asked.depth
    print(f"seed   designer      process {depth:>8}   difference, dB   (measured worst user)")
    for seed in range(1, seeds + 1):
        if seed not in lines:
            with tempfile.TemporaryDirectory() as runs:
                lines[seed] = line(seed, depth, runs, quick=asked.quick, loose=seed <= frees)
            if asked.out:
                with asked.out.open("a") as file:
                    file.write(json.dumps(lines[seed]) + "\n")
        one = lines[seed]
        for designer, process, other in zip(one["designers"], one["process"], one["other"]):
            print(f"{seed:4d}   {designer:12} {process:8.2f} {other:8.2f} {other - process:+12.3f}", flush=True)
        if one["free"] is not None:
            print(f"{seed:4d}   free robust  {one['process'][-1]:8.2f} {one['free']:8.2f} {one['free'] - one['process'][-1]:+12.3f}", flush=True)
    had = [lines[seed] for seed in range(1, seeds + 1)]
    raw = np.array([np.mean(np.subtract(one["other"], one["process"])) for one in had])
    paired = raw if depth == "nodes" else np.array([np.mean(np.subtract(one["off"][1], one["off"][0])) for one in had])
    what = "measured" if depth == "nodes" else "measured less predicted"
    loose = [one["free"] - one["process"][-1] for one in had if one["free"] is not None]
    mean, half = interval(paired)
    told = np.isfinite(half)  # one seed has no interval
    results = [
        {"what": f"{what}: paired difference {depth} - process, mean, dB", "value": round(mean, 4), "bar": round(half, 4) if told else None,
         "ok": not told or abs(mean) <= half},
        {"what": "width of its 99 % interval, dB", "value": round(2 * half, 4) if told else None, "bar": 0.5, "ok": not told or 2 * half < 0.5},
    ]  # fmt: skip
    if depth == "device":
        far, wide = interval(raw)
        results.append({"what": "the same of what was measured alone, mean, dB (99 % half width)", "value": f"{far:.4f} ({wide:.4f})", "bar": None,
                        "ok": True})  # fmt: skip
    if loose:
        results.append({"what": f"free runs, robust, mean of {len(loose)}, dB", "value": round(float(np.mean(loose)), 4), "bar": None, "ok": True})
    cost = float(np.mean([one["processor_s"] for one in had]))
    print(f"\n{len(paired)} seeds, each the mean over its designs: {mean:+.3f} dB, 99 % interval +-{half:.3f}; {cost:.0f} s of processors a seed")
    print(json.dumps({"benchmark": "depths", "results": results}))


if __name__ == "__main__":
    main()
