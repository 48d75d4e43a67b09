"""What an estimator was measured to do, beside the bar it was promised to meet: a file per estimator, each with

    run(trials: int, rng: numpy.random.Generator) -> list[Row]

`python -m benchmarks.estimators` finds the files by name. A statistic is judged with its 99 % interval, so that a good estimator does
not fail for luck and a bad one does not pass for it with many trials.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import beta, norm

CONFIDENCE = 0.99


@dataclass(frozen=True)
class Row:
    """One number. low, high: its 99 % interval (the value twice where it has none). bar: what it was held against, a number or words,
    None where it is only told. trials: how many it was made from. seconds: of processor time for all of them."""

    what: str
    value: float
    low: float
    high: float
    bar: float | str | None
    ok: bool
    trials: int
    seconds: float = 0.0


def efficiency(what: str, errors: np.ndarray, bounds: np.ndarray | float, bar: float | None, seconds: float = 0.0, floor: float = 0.95) -> Row:
    """RMS error over bound, each trial by its own bound: (trial, ...) both. Met when the interval reaches [floor, bar]; a ratio
    clearly below the floor is as suspect as one above the bar. bar None: told, not judged."""
    squares = np.abs(np.asarray(errors) / bounds) ** 2
    squares = squares.reshape(len(squares), -1).mean(axis=1)
    value, low, high = (float(np.sqrt(x)) for x in interval_of_mean(squares))
    words = None if bar is None else f"{floor:g} to {bar:g}"
    return Row(what, value, low, high, words, bar is None or (low <= bar and high >= floor), len(squares), seconds)


def coverage(what: str, held: np.ndarray, low: float | None = 0.93, high: float | None = 0.97, seconds: float = 0.0) -> Row:
    """Share of trials whose region held the truth: (trial,) of bool. Met when its interval reaches [low, high]; None: told, not judged."""
    if low is None or high is None:
        return share(what, held, seconds=seconds)
    found, least, most = _share(held)
    return Row(what, found, least, most, f"{low:g} to {high:g}", least <= high and most >= low, len(held), seconds)


def share(what: str, yes: np.ndarray, at_least: float | None = None, at_most: float | None = None, seconds: float = 0.0) -> Row:
    """Share of trials of which something is so: (trial,) of bool, against a least and a most."""
    found, least, most = _share(yes)
    fine = (at_least is None or most >= at_least) and (at_most is None or least <= at_most)
    return Row(what, found, least, most, _words(at_least, at_most), fine, len(yes), seconds)


def middle(what: str, values: np.ndarray, at_most: float | None = None, at_least: float | None = None, seconds: float = 0.0) -> Row:
    """Median over trials, with the interval of order statistics (which asks nothing of the distribution)."""
    ordered, n = np.sort(np.asarray(values, float)), len(values)
    reach = float(norm.ppf((1 + CONFIDENCE) / 2)) * np.sqrt(n) / 2
    low, high = float(ordered[max(0, int(n / 2 - reach))]), float(ordered[min(n - 1, int(np.ceil(n / 2 + reach)))])
    fine = (at_least is None or high >= at_least) and (at_most is None or low <= at_most)
    return Row(what, float(np.median(ordered)), low, high, _words(at_least, at_most), fine, n, seconds)


def told(what: str, value: float, at_most: float | None = None, at_least: float | None = None, trials: int = 1, seconds: float = 0.0) -> Row:
    """A number without an interval: a rate, a time."""
    fine = (at_least is None or value >= at_least) and (at_most is None or value <= at_most)
    return Row(what, float(value), float(value), float(value), _words(at_least, at_most), fine, trials, seconds)


def interval_of_mean(values: np.ndarray) -> tuple[float, float, float]:
    """Mean of (trial,) and its 99 % interval, never below zero."""
    mean = float(np.mean(values))
    reach = float(norm.ppf((1 + CONFIDENCE) / 2)) * float(np.std(values, ddof=1)) / np.sqrt(len(values)) if len(values) > 1 else np.inf
    return mean, max(0.0, mean - reach), mean + reach


def _words(at_least: float | None, at_most: float | None) -> str | None:
    limits = [f"{sign} {limit:g}" for sign, limit in ((">=", at_least), ("<=", at_most)) if limit is not None]
    return " and ".join(limits) or None


def _share(yes: np.ndarray) -> tuple[float, float, float]:
    """Share and its Clopper-Pearson interval; nothing is known of no trials."""
    n, k = len(yes), int(np.count_nonzero(yes))
    if n == 0:
        return float("nan"), 0.0, 1.0
    tail = (1 - CONFIDENCE) / 2
    low = float(beta.ppf(tail, k, n - k + 1)) if k else 0.0
    high = float(beta.ppf(1 - tail, k + 1, n - k)) if k < n else 1.0
    return k / n, low, high
