"""Figure 11: how long a design takes against the length of the frame."""

from __future__ import annotations

from typing import Any

import numpy as np

from hil.figure import Claim, Curve, Drawing, Figure, Panel, Parameters, Results, Table
from hil.systems.multicell.figures.schemes import HUES, SCHEMES, designed, drop, pick, plain, tidy, values

TARGET_DB = 10.0
LENGTHS = (4, 8, 16, 32)
SUPERLINEAR = 1.35  # exponent of time in L above which it grows faster than its problem


def tasks(seeds: int) -> list[dict[str, Any]]:
    return [
        {"drop": number, "scheme": scheme, "target_db": TARGET_DB, "stations": 2, "transmit": 10, "receive": 6, "delta": 0.01, "length": length}
        for number in range(seeds) for length in LENGTHS for scheme in SCHEMES
    ]  # fmt: skip


def work(parameters: Parameters, seed: np.random.SeedSequence) -> dict[str, Any]:
    """A design and the processor time it took, per step as well; once before, so that nothing is being loaded."""
    problem = drop(parameters)
    designed(drop({**parameters, "transmit": 4, "length": 4}), parameters["scheme"], 0.0)
    made, took_s = designed(problem, parameters["scheme"], parameters["target_db"])
    return {**plain(made, took_s), "step_s": took_s / max(len(made.history) - 1, 1)}


def _time(results: Results, scheme: str, name: str) -> list[float]:
    """Median over drops per L."""
    rows = [[one[name] for _, one in pick(results, scheme=scheme, length=length) if one["feasible"]] for length in values(results, "length")]
    return [float(np.median(row)) if row else float("nan") for row in rows]


def _exponent(results: Results, scheme: str) -> float:
    """Of the time per step in L, from the two longest."""
    lengths, times = values(results, "length"), _time(results, scheme, "step_s")
    return float(np.log(times[-1] / times[-2]) / np.log(lengths[-1] / lengths[-2])) if len(times) > 1 else float("nan")


def drawing(results: Results) -> Drawing:
    lengths = values(results, "length")
    curve = lambda scheme, name: Curve(scheme, lengths, _time(results, scheme, name), hue=HUES[scheme], line="solid" if "BLP" in scheme else "dashed")
    return Drawing("Block-level designs take as long for any frame; symbol-level ones grow with its length, step for step", [
        Panel("symbols per frame", f"processor time of a {what}, s", [curve(scheme, name) for scheme in SCHEMES], title, log_x=True, log_y=True)
        for what, name, title in (("design", "took_s", "whole designs"), ("step", "step_s", "one step"))
    ])  # fmt: skip


def table(results: Results) -> Table:
    rows = [[scheme, *(f"{value:.2f}" for value in _time(results, scheme, "took_s")), f"{1e3 * _time(results, scheme, 'step_s')[-1]:.0f}",
             f"{_exponent(results, scheme):.2f}"] for scheme in SCHEMES]  # fmt: skip
    lengths = values(results, "length")
    head = ["scheme", *(f"L {length}" for length in lengths), f"step at L {lengths[-1]}, ms", "exponent"]
    return Table("processor time of a design, s; medians over drops. exponent: of a step's time in L, between the two longest", head, rows)


def claims(results: Results) -> list[Claim]:
    flat = {scheme: _time(results, scheme, "took_s") for scheme in ("CBF-BLP", "CoMP-BLP")}
    spread = max(max(row) / min(row) for row in flat.values())
    exponents = {scheme: _exponent(results, scheme) for scheme in ("CBF-SLP", "CoMP-SLP")}
    grown = ", ".join(f"{scheme} L^{value:.2f}" for scheme, value in exponents.items())
    slp = [_time(results, scheme, "took_s") for scheme in exponents]
    return [
        Claim("the time of BLP does not depend on L", f"a factor {spread:.2f} from the shortest to the longest", spread < 2.0, must=False,
              why="processor time on a busy machine is not exact"),
        Claim("the time of SLP grows with L", f"by {min(row[-1] / row[0] for row in slp):.1f} times and more from L = {LENGTHS[0]} to {LENGTHS[-1]}",
              all(row[-1] > row[0] for row in slp)),
        Claim("SLP becomes impractical as constraints grow with L", f"a step takes {grown}", max(exponents.values()) > SUPERLINEAR,
              "with one matrix inequality for all symbols instead of one each, time grows as the problem does", must=False),
    ]  # fmt: skip


FIGURES = {
    "11": Figure("Time of a design against the length of the frame", 3, tasks, work, tidy, drawing, table, claims),
}
