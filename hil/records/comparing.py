"""Runs side by side: which settings differ, what they reached, whether that is more than noise, and whether their estimates agree."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from hil.records.reader import Run

CONFIDENCE = 0.95
PLANE = 5.991  # 95 % point of chi-square with two degrees of freedom
SAME_TIME_S = 0.02  # a walking target is where it was, an oscillator as far off
OF_CLOCKS = ("Hz", "s", "Hz, s", "rad")  # units of what drifts
NO_PARAMETERS = ("channel", "path directions")  # a power that belongs to a round's positions; a model whose order is chosen: maps tell


@dataclass(frozen=True, slots=True)
class Setting:
    """One thing that was not set alike; None: not there."""

    key: str
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Number:
    """What each run reached, the differences from the first run, and what noise alone makes of them at 95 % (None: not stated)."""

    what: str
    unit: str
    values: tuple[float | None, ...]
    differences: tuple[float | None, ...]
    expected: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Agreement:
    """Estimates that a run has in common with the first: how many differ by no more than both their errors, and which do."""

    inside: int
    of: int
    outside: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Compared:
    runs: tuple[str, ...]
    heads: tuple[str, ...]  # what tells them apart, short
    settings: tuple[Setting, ...]
    numbers: tuple[Number, ...]
    agreements: tuple[Agreement, ...]  # with the first run, from the second on
    same_truth: bool  # one seed, scenario and testbed: what was estimated was the same
    same_times: bool  # measured at the same times of their clocks: what moves and drifts was where it was


def compare(runs: Sequence[Run]) -> Compared:
    """Two runs or more; differences are from the first."""
    settings = tuple(_settings(runs))
    keys = {setting.key for setting in settings}
    truth = not any(key == "seed" or key.startswith(("testbed", "profiles", "scenario.array", "scenario.user", "scenario.signal")) for key in keys)
    return Compared(
        runs=tuple(run.name for run in runs), heads=_heads(runs), settings=settings, numbers=tuple(_numbers(runs)),
        agreements=tuple(agreement(runs[0], run) for run in runs[1:]), same_truth=truth,
        same_times=all(_times(run, runs[0]) for run in runs[1:]),
    )  # fmt: skip


def _times(run: Run, first: Run) -> bool:
    """Whether rounds that both have were measured at the same times."""
    one, other = ({event["round"]: event["t"] for event in each.of("measured")} for each in (run, first))
    return all(abs(one[number] - other[number]) <= SAME_TIME_S for number in one.keys() & other.keys())


# -- settings --------------------------------------------------------------------------------------------------------------------------------


def _settings(runs: Sequence[Run]) -> Iterator[Setting]:
    all_of_them = [_set(run) for run in runs]
    for key in dict.fromkeys(key for one in all_of_them for key in one):
        values = tuple(one.get(key) for one in all_of_them)
        if any(value != values[0] for value in values):
            yield Setting(key, values)


def _set(run: Run) -> dict[str, Any]:
    about = run.about
    held = {"seed": about["seed"], "depth": "air" if about.get("air") else about["depth"]}
    for name in about["inputs"]:
        if name.endswith(".toml"):
            held |= dict(_flat(name.removesuffix(".toml"), tomllib.loads(run.input(name).decode())))
    held |= {f"versions.{name}": version for name, version in about["versions"].items()}
    held["commit"] = f"{(about.get('commit') or '-')[:7]}{' and changes' if about.get('dirty') else ''}"
    return held


def _flat(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Key paths as in messages: tables of a list by their names."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _flat(f"{key}.{name}", inner)
    elif isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
        for index, item in enumerate(value):
            yield from _flat(f"{key}.{item.get('name', item.get('array', item.get('user', index)))}", item)
    else:
        yield key, value


def _heads(runs: Sequence[Run]) -> tuple[str, ...]:
    choices = (
        [_set(run)["depth"] for run in runs],
        [f"seed {run.about['seed']}" for run in runs],
        [_designer(run) for run in runs],
        [run.name[-4:] for run in runs],
    )
    return next((tuple(heads) for heads in choices if len(set(heads)) == len(heads)), tuple(run.name[-4:] for run in runs))


def _designer(run: Run) -> str:
    started = run.of("started")
    return str(started[0].get("designer", "-")) if started else "-"


# -- numbers ---------------------------------------------------------------------------------------------------------------------------------


def _numbers(runs: Sequence[Run]) -> Iterator[Number]:
    tables = [run.table() for run in runs]
    last = [_rows(table, designer=_designer(run), last=True) for run, table in zip(runs, tables)]
    for what in ("measured", "promised", "predicted", "bound"):
        yield from _number(f"{what}, last", "dB", [_worst(rows, f"{what}_db") for rows in last], noisy=what == "measured")
    yield from _number("target error, last", "m", [_worst(rows, "target_error_m") for rows in last])
    for baseline in dict.fromkeys(str(name) for table in tables for name in _rows(table, number=0).get("designer", ())):
        rows = [_rows(table, designer=baseline, number=0) for table in tables]
        yield from _number(f"measured, {baseline}", "dB", [_worst(one, "measured_db") for one in rows], noisy=True)
    rounds: list[tuple[float | None, float | None]] = [(float(run.last_whole_round or 0), None) for run in runs]
    yield from _number("rounds", "", rounds)


def _rows(table: Mapping[str, NDArray[Any]], designer: str | None = None, number: int | None = None, last: bool = False) -> dict[str, NDArray[Any]]:
    if "round" not in table:
        return {}
    keep = np.ones(len(table["round"]), bool)
    if designer is not None:
        keep &= table["designer"] == designer
    if number is not None:
        keep &= table["round"] == number
    if last and keep.any():
        keep &= table["round"] == table["round"][keep].max()
    return {name: column[keep] for name, column in table.items()}


def _worst(rows: Mapping[str, NDArray[Any]], column: str) -> tuple[float | None, float | None]:
    """(smallest over the users, its standard deviation); None where there is none."""
    values = np.asarray(rows.get(column, np.zeros(0)), dtype=float) if len(rows.get("round", ())) else np.zeros(0)
    if not np.isfinite(values).any():
        return None, None
    at = int(np.nanargmin(values))
    std = float(rows["std_db"][at]) if column == "measured_db" and "std_db" in rows else None
    return float(values[at]), std


def _number(what: str, unit: str, found: Sequence[tuple[float | None, float | None]], noisy: bool = False) -> Iterator[Number]:
    values = tuple(value for value, _ in found)
    if all(value is None for value in values):
        return
    first, spread = found[0]
    differences = tuple(None if value is None or first is None else value - first for value in values[1:])
    z = float(ndtri(0.5 + CONFIDENCE / 2))
    expected = tuple(None if not noisy or std is None or spread is None else z * float(np.hypot(std, spread)) for _, std in found[1:])
    yield Number(what, unit, values, differences, expected)


# -- estimates -------------------------------------------------------------------------------------------------------------------------------


def agreement(one: Run, other: Run) -> Agreement:
    """Estimates of the same thing in the same round, both above threshold: the difference lies in the 95 % region of both errors together.

    Several numbers of one estimate, or the points of a map (their magnitudes): all of them at once (Bonferroni). A target: the ellipse of
    both covariances. What drifts or walks is compared where both saw it at one time.
    """
    inside, outside = 0, []
    for key, agrees in (*_told_alike(one, other), *_mapped_alike(one, other)):
        inside += agrees
        outside += [] if agrees else [key]
    return Agreement(inside, inside + len(outside), tuple(outside))


def _told_alike(one: Run, other: Run) -> Iterator[tuple[str, bool]]:
    theirs = dict(_told(other))
    for key, event in _told(one):
        agrees = _agree(event, theirs[key]) if key in theirs else None
        if agrees is not None:
            yield key, agrees


def _told(run: Run) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for event in run.of("estimated"):
        if event.get("above_threshold") and event.get("std") is not None and event["what"] not in NO_PARAMETERS:
            yield _key(event, event["what"], event["of"]), event
    for event in run.of("measured"):
        target = event.get("target")
        if target and target.get("above_threshold") and target.get("covariance") is not None:
            yield _key(event, "target"), {"t": event["t"], **target}


def _key(event: Mapping[str, Any], *what: str) -> str:
    return " ".join([f"r{event['round']:03d}", *([event["designer"]] if event.get("designer") else []), *what])


def _agree(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool | None:
    """None where the two cannot be compared."""
    if ("covariance" in a or a["unit"] in OF_CLOCKS) and abs(a["t"] - b["t"]) > SAME_TIME_S:
        return None
    if "covariance" in a:
        apart = (np.array(a["position"]) - np.array(b["position"]))[:2]
        both = (np.array(a["covariance"]) + np.array(b["covariance"]))[:2, :2]
        return bool(apart @ np.linalg.solve(both, apart) <= PLANE)
    value, other, std, spread = (np.atleast_1d(np.array(x, dtype=float)) for x in (a["value"], b["value"], a["std"], b["std"]))
    if not value.shape == other.shape == std.shape == spread.shape or not value.size:
        return None
    return _within(value - other, np.hypot(std, spread))


def _mapped_alike(one: Run, other: Run) -> Iterator[tuple[str, bool]]:
    """The predicted channel along each rail, as the last map of a round has it; a channel's phase is another in every sounding."""
    theirs = {event["file"] for event in other.of("mapped")}
    for file in dict.fromkeys(event["file"] for event in one.of("mapped") if event["file"] in theirs):
        a, b = one.field_arrays(file), other.field_arrays(file)
        if np.array_equal(a["grid"], b["grid"]):
            apart = np.abs(a["predicted"]) - np.abs(b["predicted"])
            yield file.removesuffix(".npz"), _within(apart, np.sqrt((a["variance"] + b["variance"]) / 2.0))


def _within(apart: NDArray[np.float64], std: NDArray[np.float64]) -> bool:
    return bool(np.all(np.abs(apart) <= ndtri(1.0 - (1.0 - CONFIDENCE) / (2 * apart.size)) * std))
