"""Azimuths of the two cells' targets over rooms: errors over their standard deviations, against the bounds.

`python -m benchmarks.angles [drops] [first seed] [designer]`
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

import hil.bench
from hil.estimate.quality import clopper_pearson


def fixes(seeds: Iterable[int], designer: str = "cbf-blp", over: dict[str, object] | None = None) -> NDArray[np.float64]:
    """(fix, column) of one round each: error, std, std of the bound fitted, std of the ideal bound (rad), SNR dB, 1 where above threshold."""
    rows = []
    bench = hil.bench.load("examples/multicell").replace({"design.baselines": [], "rounds.max": 1} | (over or {}))
    for seed in seeds:

        def seen(event: dict) -> None:
            if event["event"] == "measured" and "target" in event:
                told = event["target"]
                rows.append([told[key] for key in ("error", "std", "crlb", "ideal", "snr_db", "above_threshold")])

        with tempfile.TemporaryDirectory() as runs, hil.bench.open(bench, seed=seed, designer=designer, runs=runs, observers=[seen]) as lab:
            for _ in lab.rounds():
                pass
    return np.array(rows, float).reshape(-1, 6)


def main() -> None:
    drops, first = (int(word) for word in [*sys.argv[1:3], *["20", "1"][len(sys.argv) - 1 :]][:2])
    each = []
    for seed in range(first, first + drops):
        each.append(fixes([seed], *sys.argv[3:4]))
        for row in each[-1]:
            print(f"{seed:5d}", "".join(f"{1e3 * value:9.3f}" for value in row[:4]), f"{row[4]:7.1f}", int(row[5]), flush=True)
    rows = np.concatenate(each)
    good = rows[rows[:, 5] > 0]
    error, std, bound, ideal = good[:, :4].T
    inside = int(np.sum(np.abs(error) < 1.96 * std))
    low, high = clopper_pearson(inside, len(good), 0.99)
    rms = lambda values: 1e3 * float(np.sqrt(np.mean(values**2)))
    print(f"{len(good)} of {len(rows)} fixes above threshold, SNR {np.median(good[:, 4]):.1f} dB in the median")
    print(f"inside 95 %: {inside / len(good):.3f}, 99 % interval {low:.3f} .. {high:.3f}")
    print(f"error rms {rms(error):.3f} mrad, median {1e3 * np.median(np.abs(error)):.3f}; std {rms(std):.3f}, bound {rms(bound):.3f}, "
          f"ideal {rms(ideal):.3f}")  # fmt: skip


if __name__ == "__main__":
    main()
