"""What a sweep found, from its run folder: the worst user of each trial against what was swept."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hil.figure import Curve, Drawing, Panel, Table
from hil.records import Run
from hil.report.facts import number

Point = tuple[Any, ...]  # values of the swept keys, in their order
_ECDFS = 6  # curves at most before the swept values are taken together


@dataclass(frozen=True, slots=True)
class Trial:
    """The last round of a trial's own designer, dB of the worst user; NaN: there was none. kept: the promise; None: nothing promised."""

    point: Point
    designer: str
    seed: int
    promised: float
    predicted: float
    measured: float
    bound: float
    kept: bool | None


def trials(run: Run) -> list[Trial]:
    """Of results.csv, in its order; one that was infeasible has no numbers."""
    table, keys = run.table(), list(run.study["over"])
    if not table:
        return []
    wanted = [index for index in range(len(table["seed"])) if int(table["last"][index])]
    found: dict[tuple[Point, str, int], list[int]] = {}
    for index in wanted:
        point = tuple(table[key][index].item() for key in keys)
        found.setdefault((point, str(table["designer"][index]), int(table["seed"][index])), []).append(index)
    return [_trial(table, *key, rows) for key, rows in found.items()]


def _trial(table: Mapping[str, Any], point: Point, designer: str, seed: int, rows: list[int]) -> Trial:
    def least(name: str) -> float:
        values = [float(table[name][row]) for row in rows if name in table and table[name].dtype.kind in "fi"]
        values = [value for value in values if math.isfinite(value)]
        return min(values, default=math.nan)

    promised = least("promised_db")
    broken = [float(table["shortfall_db"][row]) > 0.0 for row in rows if "shortfall_db" in table and table["shortfall_db"].dtype.kind in "fi"]
    kept = None if math.isnan(promised) or not broken else not any(broken)
    return Trial(point, designer, seed, promised, least("predicted_db"), least("measured_db"), least("bound_db"), kept)


def table(run: Run, found: Sequence[Trial]) -> Table:
    """A row per point and designer: medians over the seeds."""
    keys = list(run.study["over"])
    rows = []
    for point, designer in dict.fromkeys((one.point, one.designer) for one in found):
        some = [one for one in found if (one.point, one.designer) == (point, designer)]
        measured = [one.measured for one in some if not math.isnan(one.measured)]
        judged = [one.kept for one in some if one.kept is not None]
        low, high = np.percentile(measured, [5, 95]) if measured else (math.nan, math.nan)
        rows.append([
            *map(_said, point), designer, *(number(_median([getattr(one, name) for one in some])) for name in ("promised", "predicted", "measured")),
            f"{number(low)} ... {number(high)}" if measured else "-", number(_median([one.bound for one in some])),
            f"{sum(judged)}/{len(judged)}" if judged else "-", f"{len(measured)}/{len(some)}",
        ])  # fmt: skip
    head = [*keys, "designer", "promised", "predicted", "measured", "5 ... 95 %", "bound", "kept", "feasible"]
    return Table(" ".join(["Worst user of the last round, dB; medians over the seeds.", *_pairs(found)]), head, rows)


def _pairs(found: Sequence[Trial]) -> list[str]:
    """Where two values were swept, their difference seed by seed: much of what a seed draws is common to both."""
    values = list(dict.fromkeys(map(_first, found)))
    if len(values) != 2:
        return []
    at = {(_first(one), one.point[1:], one.designer, one.seed): one.measured for one in found}
    differences = [value - at.get((values[0], *rest), math.nan) for (first, *rest), value in at.items() if first == values[1]]
    differences = [one for one in differences if not math.isnan(one)]
    if not differences:
        return []
    low, middle, high = (f"{one:+.2f}".replace("-", "\N{MINUS SIGN}") for one in np.percentile(differences, [5, 50, 95]))
    return [f"Measured, {_said(values[1])} less {_said(values[0])}: {middle} dB in the median of {len(differences)} pairs, {low} ... {high}."]


def drawing(run: Run, found: Sequence[Trial]) -> Drawing:
    """The first swept key against the objective, a curve per designer and combination of the other keys; and the ECDF of what was measured."""
    keys = list(run.study["over"])
    named = {label: [one for one in found if _label(one, keys) == label] for label in dict.fromkeys(_label(one, keys) for one in found)}
    values = list(dict.fromkeys(_first(one) for one in found))
    numeric = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
    place = {value: float(value) if numeric else float(index) for index, value in enumerate(values)}
    curves, bounds = [], []
    for label, some in named.items():
        at = {value: [one for one in some if _first(one) == value] for value in sorted(values, key=place.__getitem__)}
        measured = {place[value]: [one.measured for one in those if not math.isnan(one.measured)] for value, those in at.items()}
        x = list(measured)
        spread = [np.percentile(those, [5, 50, 95]) if those else (math.nan,) * 3 for those in measured.values()]
        curves.append(Curve(label, x, [one[1] for one in spread], [one[0] for one in spread], [one[2] for one in spread], hue=_hue(label, named)))
        bound = [_median([one.bound for one in those]) for those in at.values()]
        if not all(map(math.isnan, bound)):
            bounds.append(Curve("bound on the promise", x, bound, hue="bound", line="dashed", marked=False))
    ticks = {} if numeric else {place[value]: _said(value) or "bench" for value in values}
    title, key = _finding(found, keys, named), keys[0] if keys else ""
    objective = Panel(key, "worst-user SINR measured, dB", [*curves, *bounds], "median, 5 to 95 % of seeds", ticks=ticks)
    return Drawing(title, [objective, Panel("worst-user SINR measured, dB", "fraction of trials", _ecdfs(found, keys, named), "trials at or below")])


def _ecdfs(found: Sequence[Trial], keys: Sequence[str], named: Mapping[str, Sequence[Trial]]) -> list[Curve]:
    """Per designer and combination; the line tells values of the first key apart where these are few."""
    lines = ("solid", "dashed", "dotted")
    values = list(dict.fromkeys(_first(one) for one in found))
    apart = bool(keys) and len(values) <= len(lines) and 1 < len(values) * len(named) <= _ECDFS
    curves = []
    for label, some in named.items():
        for line, value in zip(lines, values) if apart else [("solid", None)]:
            measured = sorted(one.measured for one in some if not math.isnan(one.measured) and (not apart or _first(one) == value))
            if measured:
                name = f"{label}, {keys[0]} {_said(value)}" if apart else label
                steps = [index / len(measured) for index in range(len(measured) + 1)]
                curves.append(Curve(name, [measured[0], *measured], steps, hue=_hue(label, named), line=line, marked=False, stepped=True))  # type: ignore[arg-type]
    return curves


def _first(one: Trial) -> Any:
    """Its value of the first swept key; "" where nothing was swept."""
    return one.point[0] if one.point else ""


def _label(one: Trial, keys: Sequence[str]) -> str:
    """What tells a curve from the others: the designer, and what else than the first key was swept."""
    return ", ".join([one.designer, *(f"{key.rpartition('.')[2]} {_said(value)}" for key, value in zip(keys[1:], one.point[1:]))])


def _hue(label: str, named: Mapping[str, Sequence[Trial]]) -> str | int:
    """The designer's, where it has one curve."""
    designer = label.partition(",")[0]
    return designer if sum(other.partition(",")[0] == designer for other in named) == 1 else list(named).index(label)


def _finding(found: Sequence[Trial], keys: Sequence[str], named: Mapping[str, Sequence[Trial]]) -> str:
    """What the first curve does from one end to the other."""
    if not found or not keys:
        return "Nothing was measured." if not found else "Measured over the seeds."
    first = next(iter(named.values()))
    ends = [first[0].point[0], max((one.point[0] for one in first), key=lambda value: [one.point[0] for one in first].index(value))]
    medians = [_median([one.measured for one in first if one.point[0] == end]) for end in ends]
    if ends[0] == ends[1] or any(map(math.isnan, medians)):
        return "Measured over the seeds."
    return f"{first[0].designer}: {number(medians[0])} dB at {keys[0]} {_said(ends[0])}, {number(medians[1])} dB at {_said(ends[1])}"


def _median(values: Sequence[float]) -> float:
    finite = [value for value in values if not math.isnan(value)]
    return float(np.median(finite)) if finite else math.nan


def _said(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
