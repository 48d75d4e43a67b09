"""Every estimator against its bound, its regions against the truth, its flags against its outliers, and what it costs.

`python -m benchmarks.estimators [--trials N] [--only NAME ...] [--quick]`. A row is a number, its 99 % interval, the bar it was promised
to meet and whether the interval meets it. The cases are the files of benchmarks/estimator_cases.
"""

from __future__ import annotations

import argparse
import importlib
import json
import pkgutil
import time

import numpy as np

from benchmarks import estimator_cases
from benchmarks.estimator_cases import Row

TRIALS, QUICK = 2000, 100


def names() -> list[str]:
    return sorted(found.name for found in pkgutil.iter_modules(estimator_cases.__path__))


def line(row: Row) -> str:
    interval = f"{row.low:.4g} .. {row.high:.4g}" if row.low != row.high else ""
    bar = "" if row.bar is None else str(row.bar)
    return f"{row.what:84s} {row.value:10.4g}  {interval:22s} {bar:18s} {'ok' if row.ok else 'MISSED':6s} {row.trials:6d} {row.seconds:7.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, help=f"of each statistic, {TRIALS} unless told")
    parser.add_argument("--only", nargs="+", choices=names(), metavar="NAME", help=", ".join(names()))
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} trials")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    trials = asked.trials or (QUICK if asked.quick else TRIALS)
    results = []
    for name in asked.only or names():
        begun = time.monotonic()
        case = importlib.import_module(f"benchmarks.estimator_cases.{name}")
        # Each case has its own stream, so that it gives the same numbers alone and among others.
        rows = case.run(trials, np.random.default_rng([asked.seed, *name.encode()]))
        print(f"\n{name}, {time.monotonic() - begun:.0f} s")
        print(f"{'':84s} {'value':>10s}  {'99 % interval':22s} {'bar':18s} {'':6s} {'trials':>6s} {'CPU s':>7s}")
        for row in rows:
            print(line(row), flush=True)
            results.append({"what": f"{name}: {row.what}", "value": round(row.value, 5), "bar": row.bar, "ok": bool(row.ok)})
    print(json.dumps({"benchmark": "estimators", "results": results}))


if __name__ == "__main__":
    main()
