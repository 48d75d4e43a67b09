"""Every benchmark in full, one after the other, and its table with the date: `python -m benchmarks.soak [--write docs/measured.md] [NAME ...]`.

Takes the better part of an hour on two cores. A benchmark that fails is said to have failed; the others still run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

NAMES = (
    "start", "estimators", "agreement", "designers", "depths", "design", "multicell", "drops", "medium", "link", "record", "loop", "iiod",
    "radio",
)  # fmt: skip


def measured(name: str) -> tuple[list[dict[str, Any]], float]:
    """Results of one benchmark, and the wall seconds it took; no results where it failed."""
    begun = time.monotonic()
    run = subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], stdout=subprocess.PIPE, text=True)
    took = time.monotonic() - begun
    lines = run.stdout.strip().splitlines()
    print(run.stdout, flush=True)
    try:
        return json.loads(lines[-1])["results"], took
    except (IndexError, ValueError, KeyError):
        return [], took


def table(name: str, results: list[dict[str, Any]], took: float) -> str:
    """One benchmark as Markdown."""
    head = f"## {name}\n\n`python -m benchmarks.{name}`, {took:.0f} s\n\n"
    if not results:
        return head + "FAILED\n"
    rows = ["| what | value | bar | |", "|---|---|---|---|"]
    for one in results:
        bar = "" if one.get("bar") is None else one["bar"]
        rows.append(f"| {str(one['what']).replace('|', '&#124;')} | {one['value']} | {bar} | {'ok' if one['ok'] else 'MISSED'} |")
    return head + "\n".join(rows) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=Path, help="file for the tables")
    parser.add_argument("names", nargs="*", default=NAMES)
    asked = parser.parse_args()
    for library in ("OMP", "OPENBLAS", "MKL"):
        os.environ[f"{library}_NUM_THREADS"] = "1"
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    text = f"# Measured\n\n{datetime.now(UTC):%Y-%m-%d}, commit {commit}, Python {platform.python_version()}, {cores} cores, by `make soak`.\n"
    fine = True
    for name in asked.names:
        print(f"== benchmarks.{name}", flush=True)
        results, took = measured(name)
        fine &= bool(results) and all(one["ok"] for one in results)
        text += "\n" + table(name, results, took)
        if asked.write:
            asked.write.write_text(text)
    if not asked.write:
        print(text)
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
