"""Designs side by side, from the run folder of `hil design`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.figure import Table
from hil.records import Run
from hil.report.facts import number


def table(run: Run) -> Table:
    """A row per designer: medians over the seeds, of feasible designs only."""
    rows = []
    for name, some in _designers(run).items():
        feasible = some["infeasible"] == 0
        kept = some["kept"][feasible]
        numbers = [number(_median(some.get(column), feasible), 2) for column in ("promised", "predicted", "bound")]
        counts = [f"{feasible.sum()}/{len(feasible)}", f"{int(np.sum(kept == 1))}/{feasible.sum()}"]
        rows.append([name, *numbers, *counts, _seconds(_median(some.get("took_s"), feasible))])
    unit = _unit(run)
    head = ["designer", f"promised{unit}", "predicted", "bound", "feasible", "promise stands", "time per design"]
    said = "Medians over the seeds. Promised: the worst case over what is uncertain; bound: on the promise. Time: of the processor."
    return Table(said, head, rows)


def finding(run: Run) -> str:
    """Who promises most."""
    best = {name: _median(some.get("promised"), some["infeasible"] == 0) for name, some in _designers(run).items()}
    best = {name: value for name, value in best.items() if not math.isnan(value)}
    if not best:
        return "No design could be had."
    name = max(best, key=lambda one: best[one])
    return f"{name} promises {number(best[name], 2)}{_unit(run).replace('[', '').replace(']', '')} in the median."


def _designers(run: Run) -> dict[str, dict[str, NDArray[Any]]]:
    held = run.table()
    names = dict.fromkeys(map(str, held.get("designer", [])))
    return {name: {column: values[held["designer"] == name] for column, values in held.items()} for name in names}


def _unit(run: Run) -> str:
    units = [str(unit) for unit in run.table().get("unit", []) if str(unit) not in ("", "nan")]
    return f" [{units[0]}]" if units else ""


def _median(values: NDArray[Any] | None, which: NDArray[np.bool_]) -> float:
    if values is None or values.dtype.kind not in "fi":
        return math.nan
    chosen = values[which].astype(float)
    chosen = chosen[np.isfinite(chosen)]
    return float(np.median(chosen)) if len(chosen) else math.nan


def _seconds(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2g} s" if value < 9.95 else f"{value:.0f} s"
