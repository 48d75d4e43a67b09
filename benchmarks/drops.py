"""Trials of two cells over many drops: `python -m benchmarks.drops [--quick] [--drops N] [--out FILE] [--only NAME ...]`.

Every drop is a seed of `examples/multicell` at depth process: scatterers, walks and noise anew. On the same channels are pushed and measured
beamforming apart, beamforming blind to its sets, and multipoint in phase; then multipoint on a bench whose base stations drift apart by
3 rad in a second, which must give way; then symbol by symbol on one carrier. Measured: promises kept and their price (worst user: measured
less promised), what a blind design is short of what it was asked, the angle's bound at what either has sent, and of the
targets' angles error over standard deviation and bound. A drop is one trial of the statistics; FILE keeps a line per drop and is gone on with.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest

import hil
from hil.bench import Bench, load

BENCH = Path(__file__).resolve().parent.parent / "examples" / "multicell"
ASKED_DB = 10.0
ADRIFT = {"class": "tcxo", "spread_ppm": 3.0, "clock_offset_ns": 300.0, "site_drift_rad": 3.0}
CASES: dict[str, tuple[str, list[str], dict[str, Any]]] = {
    "tones": ("comp-blp", ["cbf-blp", "nominal-cbf-blp"], {}),
    "adrift": ("comp-blp", [], {"emulated.oscillator": ADRIFT}),
    "carrier": ("comp-slp", [], {"design.waveform": "single-carrier"}),
}


def bench(case: str) -> Bench:
    """One round of the case."""
    _, baselines, changes = CASES[case]
    return load(BENCH).replace({"rounds.max": 1, "design.baselines": baselines, "design.asked_db": ASKED_DB} | changes)


def drop(case: str, seed: int) -> list[dict[str, Any]]:
    """A row for every design of a drop."""
    rows = []
    with tempfile.TemporaryDirectory() as runs, hil.open(bench(case), seed=seed, designer=CASES[case][0], runs=runs) as lab:
        for one in lab.rounds():
            angles = [
                {"error": fix.error, "std": float(fix.bearing.azimuth.std[0]), "ideal": float(np.sqrt(fix.bearing.ideal)),
                 "trusted": fix.bearing.above_threshold}
                for fix in one.measured_design.angles if fix is not None
            ]  # fmt: skip
            errors = [found.symbol_errors for found in one.measured_design.quality]
            rows.append({
                "designer": one.designer, "mode": one.design.mode, "promised": one.promised, "predicted": one.predicted, "measured": one.measured,
                "std": float(one.measured_design.worst_std_db[np.argmin(one.measured_design.worst_db)]), "kept": one.kept,
                "passed": one.verdict.passed,
                "sensing": [float(value) for value in one.design.sensing_std], "angles": angles,
                "errors": sum(count.errors for count in errors), "symbols": sum(count.of for count in errors),
            })  # fmt: skip
    return rows


def share(hits: int, of: int) -> tuple[float, float, float]:
    """Share with its exact 99 % interval."""
    interval = binomtest(hits, of).proportion_ci(0.99)
    return hits / of, interval.low, interval.high


def judged(found: dict[str, list[list[dict[str, Any]]]]) -> list[dict[str, Any]]:
    """Rows against their bars."""
    results = []

    def row(what: str, value: object, bar: object, ok: bool) -> None:
        results.append({"what": what, "value": value, "bar": bar, "ok": bool(ok)})

    every = [one for drops in found.values() for rows in drops for one in rows]
    robust = [one for one in every if not one["designer"].startswith("nominal")]
    if robust:
        mean, low, high = share(sum(one["kept"] and one["passed"] for one in robust), len(robust))
        row(f"promises kept, {len(robust)} designs (99 %: {low:.3f} - {high:.3f})", round(mean, 3), 0.95, high >= 0.95)
        price = float(np.median([one["measured"] - one["promised"] for one in robust if not one["designer"].endswith("slp")]))
        row("their price: worst user measured less promised, block level, median, dB", round(price, 2), 2.0, price <= 2.0)
    slp = [one for one in robust if one["designer"].endswith("slp")]
    if slp:
        price = float(np.median([one["measured"] - one["promised"] for one in slp]))
        row("the same, symbol level on one carrier, median, dB", round(price, 2), 2.0, price <= 2.0)
        row("symbol errors among symbols, symbol level", f"{sum(o['errors'] for o in slp)} of {sum(o['symbols'] for o in slp)}", None, True)
    drops = found.get("tones", [])
    if drops:
        named = [{one["designer"]: one for one in rows} for rows in drops]
        blind = [one["nominal-cbf-blp"] for one in named]
        short = sum(one["measured"] + 1.645 * one["std"] < ASKED_DB for one in blind)
        row(f"nominal design below what it was asked, with 95 %, of {len(blind)} drops", short, "> 5 %", short > 0.05 * len(blind))
        ratio = [
            alone["ideal"] / both["ideal"] for one in named if len(one["cbf-blp"]["angles"]) == len(one["comp-blp"]["angles"])
            for alone, both in zip(one["cbf-blp"]["angles"], one["comp-blp"]["angles"])
        ]  # fmt: skip
        row("angle bound at what was sent, all echoes used: beamforming over multipoint, median", round(float(np.median(ratio)), 2), None, True)
        row("drops where multipoint was in phase", sum(one["comp-blp"]["mode"] == "comp" for one in named), len(named),
            all(one["comp-blp"]["mode"] == "comp" for one in named))  # fmt: skip
    if found.get("adrift"):
        modes = [rows[-1]["mode"] for rows in found["adrift"]]
        row("drops adrift where multipoint gave way", sum(mode == "cbf" for mode in modes), len(modes), all(mode == "cbf" for mode in modes))
    angles = [angle for one in every for angle in one["angles"]]
    sure = [angle for angle in angles if angle["trusted"]]
    row("angles of targets that may be trusted, of all", f"{len(sure)} of {len(angles)}", None, True)
    if sure:
        off = np.array([angle["error"] for angle in sure])
        std, ideal = (np.array([angle[name] for angle in sure]) for name in ("std", "ideal"))
        mean, low, high = share(int(np.sum(np.abs(off) < 1.96 * std)), len(sure))
        row(f"angles within their 95 % intervals (99 %: {low:.3f} - {high:.3f})", round(mean, 3), "0.93 - 0.97", high >= 0.93 and low <= 0.97)
        row("angle RMSE over the bound of the model fitted", round(float(np.sqrt(np.mean((off / std) ** 2))), 2), None, True)
        row("angle RMSE over the bound a design is made for, median of |error| / (0.6745 bound)",
            round(float(np.median(np.abs(off) / ideal) / 0.6745), 2), None, True)  # fmt: skip
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one drop")
    parser.add_argument("--drops", type=int, default=20)
    parser.add_argument("--only", nargs="*", default=list(CASES), choices=list(CASES))
    parser.add_argument("--out", type=Path, help="file of a JSON line per case and drop, gone on with if it is there")
    asked = parser.parse_args()
    lines = [json.loads(line) for line in asked.out.read_text().splitlines()] if asked.out and asked.out.exists() else []
    found: dict[str, list[list[dict[str, Any]]]] = {case: [] for case in asked.only}
    for seed in range(1, (1 if asked.quick else asked.drops) + 1):
        for case in asked.only:
            rows = next((line["rows"] for line in lines if (line["case"], line["seed"]) == (case, seed)), None)
            if rows is None:
                rows = drop(case, seed)
                if asked.out:
                    with asked.out.open("a") as file:
                        file.write(json.dumps({"case": case, "seed": seed, "rows": rows}) + "\n")
            found[case].append(rows)
            for one in rows:
                print(f"{seed:3d} {case:8} {one['designer']:16} {one['mode']:5} promised {one['promised']:6.2f} predicted {one['predicted']:6.2f} "
                      f"measured {one['measured']:6.2f} {'kept' if one['kept'] else 'BROKEN'}", flush=True)  # fmt: skip
    results = judged(found)
    for one in results:
        print(f"{one['what']}: {one['value']}   bar {one['bar']}   {'ok' if one['ok'] else 'MISSED'}")
    print(json.dumps({"benchmark": "drops", "results": results}))


if __name__ == "__main__":
    main()
