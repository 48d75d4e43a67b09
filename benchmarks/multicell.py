"""The multi-cell designers: how fast, how near to what is possible, and beside the published procedure.

    python -m benchmarks.multicell [--quick] [--seeds N] [--quality] [--bounds] [--published] [--only SCHEME] [--growth] [--out DIR]

Seconds are processor seconds of one thread, cvxpy's building and canonicalising included. Instances are `draw(default_rng(seed))`, two cells
of three users, six antennas, delta 0.01, one ball around each stacked channel (the published set); symbols of default_rng(1000 + seed).
--bounds computes the upper bounds that designs are held against and --published the paper's Algorithm 1 in cvxpy (rho 0.5, caps 10 dB, four
rounds): minutes each a seed, so both are kept beside this file, keyed by a hash of the instance, and a run that was stopped goes on.
--growth times designs over antennas, cells, users and symbols, into a table and a picture under --out. --quick: three seeds, no cvxpy.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hil.systems.multicell import bounds
from hil.systems.multicell.draws import draw
from hil.systems.multicell.problem import Kind, Mode, Precoding, Problem
from hil.systems.multicell.solve import design
from hil.units import to_db

HERE = Path(__file__).parent
KEPT = {"bounds": HERE / "multicell_bounds.json", "published": HERE / "multicell_published.json"}
ROUNDS = 4


class Case(NamedTuple):
    """gap: bar on (bound - ours) / bound, median, percent; seconds: bar on a design's median."""

    mode: Mode
    kind: Kind
    db: float
    gap: float
    seconds: float

    @property
    def name(self) -> str:
        return f"{self.mode}-{self.kind} {self.db:g} dB"

    @property
    def target(self) -> float:
        return float(10 ** (self.db / 10))

    def instance(self, seed: int) -> Problem:
        problem = draw(np.random.default_rng(seed), csi_set="stacked", length=16 if self.kind == "slp" else 30)
        return problem.with_payload(np.random.default_rng(1000 + seed)) if self.kind == "slp" else problem


CASES = (Case("comp", "blp", 10.0, 0.5, 1.5), Case("cbf", "blp", 10.0, 1.5, 0.2), Case("comp", "slp", 20.0, 7.0, 0.4))


def fingerprint(problem: Problem) -> str:
    """Of everything that a bound depends on."""
    digest = hashlib.sha256()
    for name in ("channel", "cells", "radius", "noise", "power", "angle", "alpha", "noise_radar", "transmit_place", "receive_place", "payload"):
        digest.update(np.ascontiguousarray(getattr(problem, name) if getattr(problem, name) is not None else 0).tobytes())
    digest.update(f"{problem.length} {problem.points} {problem.csi_set}".encode())
    return digest.hexdigest()[:16]


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    begun = time.process_time()
    return work(), time.process_time() - begun


def ours(case: Case, problem: Problem, target: float | None = None) -> Precoding:
    return design(problem, case.mode, case.kind, asked=case.target if target is None else target, rng=np.random.default_rng(0))


# -- what is computed once and kept ------------------------------------------------------------------------------------------------------


def kept(what: str) -> dict[tuple[str, int], dict[str, Any]]:
    path = KEPT[what]
    return {(one["case"], one["seed"]): one for one in json.loads(path.read_text())} if path.exists() else {}


def keep(what: str, seeds: range, only: str, compute: Callable[[Case, Problem], dict[str, Any]]) -> None:
    """Every case and seed that is not there yet, or is of another instance; written after each."""
    for seed in seeds:
        for case in CASES:
            have = kept(what)
            problem = case.instance(seed)
            mark = fingerprint(problem)
            wanted = case.name.startswith(only) and (what == "bounds" or case.kind == "blp")
            if not wanted or have.get((case.name, seed), {}).get("instance") == mark:
                continue
            found, seconds = timed(lambda c=case, p=problem: compute(c, p))
            have[case.name, seed] = {"case": case.name, "seed": seed, "instance": mark, **found, "seconds": round(seconds, 2)}
            rows = [json.dumps(have[key]) for key in sorted(have)]
            KEPT[what].write_text("[\n" + ",\n".join(rows) + "\n]\n")
            print(f"{what}: {case.name}, seed {seed}: {have[case.name, seed]}", flush=True)


def bound(case: Case, problem: Problem) -> dict[str, Any]:
    made = ours(case, problem)
    known = 0.0 if made.t is None else float(made.t.min())
    found = bounds.upper(problem, case.mode, case.kind, case.target, known=known)
    return {"t": found.t, "status": found.status, "gap": found.gap, "dual_residual": found.residual, "programs": found.programs, "steps": found.steps}


def published(case: Case, problem: Problem) -> dict[str, Any]:
    """The best round of the paper's Algorithm 1 as what it is worth, largest weighted sum of all starts."""
    from hil.systems.multicell import alternating

    starts = 5 if case.mode == "cbf" else 1  # multipoint does not depend on its start
    settings = alternating.Settings(rounds=ROUNDS, published_min_numerator=True)
    found: list[dict[str, Any]] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for start in range(starts):
            made, rounds = alternating.design(problem, case.mode, case.kind, np.random.default_rng(start), settings)
            status = sorted({one for each in rounds for one in each.status})
            claims = [(round(one.t, 1), round(one.gamma, 4)) for one in rounds]
            best = made.status == "solved"
            t, sinr = (float(made.t.min()), float(made.sinr.min())) if best else (0.0, 0.0)
            found.append({"t": t, "sinr": sinr, "claims": claims, "status": status})
    top = max(one["t"] for one in found) or 1.0, max(one["sinr"] for one in found) or 1.0
    return {"starts": starts, **max(found, key=lambda one: one["t"] / top[0] + one["sinr"] / top[1])}


# -- what is shown -----------------------------------------------------------------------------------------------------------------------


def quality(seeds: range, add: Callable[..., None]) -> None:
    """Against the bounds that are kept, and the time that takes."""
    stored, rival = kept("bounds"), kept("published")
    for case in CASES:
        gaps, seconds, short, unbounded, gains, against = [], [], [], 0, [], 0
        ours(case, case.instance(0))  # imports and caches
        for seed in seeds:
            problem = case.instance(seed)
            made, took = timed(lambda c=case, p=problem: ours(c, p))
            seconds.append(took)
            if made.status == "infeasible":
                print(f"{case.name}, seed {seed}: infeasible, {to_db(made.achievable):.1f} dB can be promised")
                continue
            short.append(to_db(float(made.sinr.min())) - case.db)
            have = stored.get((case.name, seed))
            if have is None or have["instance"] != fingerprint(problem):
                unbounded += 1
            else:
                gaps.append(100.0 * (1.0 - float(made.t.min()) / have["t"]))
            against += (case.name, seed) in rival
            theirs = rival.get((case.name, seed), {"sinr": 0.0})
            if theirs["sinr"] > 0.0 and theirs["instance"] == fingerprint(problem):
                again = ours(case, problem, theirs["sinr"])
                gains.append(100.0 * (float(again.t.min()) / theirs["t"] - 1.0))
                print(f"{case.name}, seed {seed}: published t {theirs['t']:.0f} at {to_db(theirs['sinr']):.2f} dB, ours {again.t.min():.0f} there")
        if gaps:
            middle = float(np.median(gaps))
            add(f"{case.name}: t below its bound, median, % (of {len(gaps)}; most {max(gaps):.2f})", middle, case.gap, middle <= case.gap)
        if unbounded:
            add(f"{case.name}: designs without a bound, see --bounds", unbounded, 0, False)
        add(f"{case.name}: exact worst case less target, least, dB", min(short), 0.0, min(short) >= 0.0)
        add(f"{case.name}: seconds a design, median (most {max(seconds):.2f})", np.median(seconds), case.seconds, np.median(seconds) <= case.seconds)
        if gains:
            add(f"{case.name}: t over Algorithm 1 at its exact worst case, median, % ({len(gains)} radiable of {against})", np.median(gains), 15.0,
                np.median(gains) >= 15.0)  # fmt: skip


def speed(quick: bool, add: Callable[..., None]) -> None:
    """Whole multipoint designs, and single problems, against cvxpy in the same run."""
    from hil.systems.multicell import alternating
    from hil.systems.multicell.baselines import SOLVERS, Weighing, p2

    case = CASES[0]
    problem = case.instance(0)
    mine = float(np.median([timed(lambda: ours(case, problem))[1] for _ in range(3)]))
    if quick:
        return
    for solvers, name, bar in ((SOLVERS, "Clarabel, SCS where it fails", 20.0), (SOLVERS[1:], "SCS", None)):
        settings = alternating.Settings(rounds=ROUNDS, published_min_numerator=True, solvers=solvers)
        _, theirs = timed(lambda s=settings: alternating.design(problem, "comp", "blp", np.random.default_rng(0), s))
        add(f"whole multipoint design, six antennas: cvxpy with {name} ({theirs:.1f} s) over ours ({mine:.2f} s)", theirs / mine, bar,
            bar is None or theirs / mine >= bar)  # fmt: skip
    larger = draw(np.random.default_rng(0), transmit=10, csi_set="stacked")
    made, took = timed(lambda: ours(case, larger))
    step = took / max(len(made.history), 1)
    weighing = Weighing(nf_r=float(made.t.min()), nf_c=100.0)
    for solver in SOLVERS:
        solved, theirs = timed(lambda s=solver: p2(larger.normalised, alternating.CAP, weighing, published_min_numerator=True, solvers=(s,)))
        ratio = theirs / step
        add(f"(P2.A), ten antennas: cvxpy, {solved.status[-1]} ({theirs:.1f} s) over a step of ours ({step:.3f} s)", ratio, 50.0, ratio >= 50.0)


def growth(out: Path, add: Callable[..., None]) -> None:
    """Seconds a design over each size, the others as in the cases: growth.csv and growth.png."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    out.mkdir(parents=True, exist_ok=True)
    rows = list(_sizes())
    with (out / "growth.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["over", "size", "scheme", "seconds", "steps", "status"])
        writer.writerows(rows)
    figure, axes = plt.subplots(1, 4, figsize=(14, 3.6), constrained_layout=True)
    for axis, over in zip(axes, dict.fromkeys(row[0] for row in rows)):
        for scheme in dict.fromkeys(row[2] for row in rows if row[0] == over):
            line = [(row[1], row[3]) for row in rows if row[0] == over and row[2] == scheme]
            axis.loglog(*zip(*line), marker="o", label=scheme)
        sizes = list(dict.fromkeys(row[1] for row in rows if row[0] == over))
        axis.set(xlabel=over, ylabel="processor seconds a design", xticks=sizes, xticklabels=[str(size) for size in sizes])
        axis.minorticks_off()
        axis.legend()
    figure.savefig(out / "growth.png", dpi=150)
    symbols = [(row[1], row[3] / row[4]) for row in rows if row[0] == "symbols" and row[2] == "comp-slp"]
    slope = float(np.polyfit(np.log([s for s, _ in symbols[-3:]]), np.log([t for _, t in symbols[-3:]]), 1)[0])
    add("comp-slp: exponent of a step's seconds over symbols", slope, 1.3, slope <= 1.3)


def _sizes() -> Iterator[tuple[str, int, str, float, int, str]]:
    grid = [("transmit", "antennas", n) for n in (6, 10, 16, 24, 32)] + [("stations", "cells", n) for n in (2, 3, 4)]
    grid += [("users", "users a cell", n) for n in (1, 2, 3, 4)] + [("length", "symbols", n) for n in (4, 8, 16, 32, 64)]
    for key, over, n in grid:
        given = {"transmit": 8 if key == "users" else 6, "length": 16, "csi_set": "stacked", key: n}
        problem = draw(np.random.default_rng(0), **given).with_payload(np.random.default_rng(1000))
        for mode, kind in (("comp", "slp"), ("cbf", "slp")) if key == "length" else (("comp", "blp"), ("cbf", "blp"), ("comp", "slp")):
            made, took = timed(lambda m=mode, k=kind, p=problem: design(p, m, k, asked=10.0, rng=np.random.default_rng(0)))
            print(f"{over} {n}: {mode}-{kind} {took:.3f} s, {len(made.history)} steps, {made.status}", flush=True)
            yield over, n, f"{mode}-{kind}", round(took, 4), max(len(made.history), 1), made.status


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--bounds", action="store_true", help="compute and keep the bounds that are missing")
    parser.add_argument("--published", action="store_true", help="run and keep Algorithm 1 where it is missing")
    parser.add_argument("--only", default="", metavar="SCHEME", help="with --bounds and --published: cbf or comp-blp, for instance")
    parser.add_argument("--quality", action="store_true", help="no comparison of times with cvxpy")
    parser.add_argument("--growth", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("runs/multicell-growth"))
    asked = parser.parse_args()
    seeds = range(asked.first, asked.first + (3 if asked.quick else asked.seeds))
    results: list[dict[str, Any]] = []

    def add(what: str, value: float, bar: float | None = None, ok: bool = True) -> None:
        results.append({"what": what, "value": round(float(value), 4), "bar": bar, "ok": bool(ok)})
        print(f"{what:110} {value:9.3f}" + ("" if bar is None else f"   bar {bar}"), flush=True)

    if asked.bounds:
        keep("bounds", seeds, asked.only, bound)
    if asked.published:
        keep("published", seeds, asked.only, published)
    if asked.growth:
        growth(asked.out, add)
    if not (asked.bounds or asked.published or asked.growth):
        quality(seeds, add)
        if not asked.quality:
            speed(asked.quick, add)
    print(json.dumps({"benchmark": "multicell", "results": results}))


if __name__ == "__main__":
    main()
