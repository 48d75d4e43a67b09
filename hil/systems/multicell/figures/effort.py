"""Figures 10 and 11: what a design gains step by step, and how long it takes."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from hil.figure import Claim, Curve, Drawing, Figure, Panel, Parameters, Results, Table
from hil.systems.multicell.figures.schemes import HUES, SCHEMES, designed, drop, pick, plain, tidy, values

TARGET_DB = 10.0
LENGTHS = (4, 8, 16, 32)
EARLY, GAINED = 5, 0.8  # steps after which that share of the whole gain in t is there
SUPERLINEAR = 1.35  # exponent of time in L above which it grows faster than its problem


def history_tasks(seeds: int) -> list[dict[str, Any]]:
    return [
        {"drop": number, "scheme": scheme, "target_db": TARGET_DB, "stations": 2, "transmit": 10, "receive": 6, "delta": 0.01}
        for number in range(seeds) for scheme in ("CBF-BLP", "CoMP-BLP")
    ]  # fmt: skip


def history_work(parameters: Parameters, seed: np.random.SeedSequence) -> dict[str, Any]:
    """A design with its t per step."""
    made, took_s = designed(drop(parameters), parameters["scheme"], parameters["target_db"])
    return {**plain(made, took_s), "t": [float(one) for one in made.history]}


def length_tasks(seeds: int) -> list[dict[str, Any]]:
    return [
        {"drop": number, "scheme": scheme, "target_db": TARGET_DB, "stations": 2, "transmit": 10, "receive": 6, "delta": 0.01, "length": length}
        for number in range(seeds) for length in LENGTHS for scheme in SCHEMES
    ]  # fmt: skip


def length_work(parameters: Parameters, seed: np.random.SeedSequence) -> dict[str, Any]:
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


def length_drawing(results: Results) -> Drawing:
    lengths = values(results, "length")
    curve = lambda scheme, name: Curve(scheme, lengths, _time(results, scheme, name), hue=HUES[scheme], line="solid" if "BLP" in scheme else "dashed")
    return Drawing("Block-level designs take as long for any frame; symbol-level ones grow with its length, step for step", [
        Panel("symbols per frame", f"processor time of a {what}, s", [curve(scheme, name) for scheme in SCHEMES], title, log_x=True, log_y=True)
        for what, name, title in (("design", "took_s", "whole designs"), ("step", "step_s", "one step"))
    ])  # fmt: skip


def length_table(results: Results) -> Table:
    rows = [[scheme, *(f"{value:.2f}" for value in _time(results, scheme, "took_s")), f"{1e3 * _time(results, scheme, 'step_s')[-1]:.0f}",
             f"{_exponent(results, scheme):.2f}"] for scheme in SCHEMES]  # fmt: skip
    lengths = values(results, "length")
    head = ["scheme", *(f"L {length}" for length in lengths), f"step at L {lengths[-1]}, ms", "exponent"]
    return Table("processor time of a design, s; medians over drops. exponent: of a step's time in L, between the two longest", head, rows)


def length_claims(results: Results) -> list[Claim]:
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


# -- step by step ------------------------------------------------------------------------------------------------------------------------


def _share(history: list[float], step: int) -> float:
    """Of the whole gain that is there after so many steps."""
    whole = history[-1] - history[0]
    return 1.0 if whole <= 0.0 else (history[min(step, len(history) - 1)] - history[0]) / whole


def _rcrb(t: list[float]) -> list[float]:
    return [float(np.degrees(1.0 / np.sqrt(one))) if one > 0.0 else float("nan") for one in t]


def _median_history(results: Results, scheme: str) -> list[float]:
    """RCRB per step, degrees: the median over drops, each continued at its last value."""
    rows = [_rcrb(one["t"]) for _, one in pick(results, scheme=scheme) if one["feasible"]]
    longest = max(map(len, rows), default=0)
    return [float(np.median([row[min(place, len(row) - 1)] for row in rows])) for place in range(longest)]


def history_drawing(results: Results) -> Drawing:
    panels = []
    for scheme in ("CBF-BLP", "CoMP-BLP"):
        ours = _median_history(results, scheme)
        panels.append(
            Panel("step", "angle RCRB, deg", [Curve("minorise-maximise", list(range(len(ours))), ours, hue=0)], f"{scheme}, median of drops")
        )
    return Drawing("Every step of minorise-maximise is a better design that can be radiated", panels)


def history_table(results: Results) -> Table:
    rows = []
    for scheme in ("CBF-BLP", "CoMP-BLP"):
        made = [one["t"] for _, one in pick(results, scheme=scheme) if one["feasible"]]
        ours = _median_history(results, scheme)
        early = f"{100 * float(np.median([_share(t, EARLY) for t in made])):.0f} %" if made else "-"
        rows.append(
            [
                scheme,
                f"{ours[0]:.3f}" if ours else "-",
                f"{ours[-1]:.3f}" if ours else "-",
                early,
                f"{np.median([len(t) - 1 for t in made]):.0f}" if made else "-",
            ]
        )
    return Table("medians over drops", ["scheme", "RCRB at the start, deg", "at the end", f"of the gain in t after {EARLY} steps", "steps"], rows)


def history_claims(results: Results) -> list[Claim]:
    made = [one["t"] for _, one in results if one["feasible"]]
    falls = max((1.0 - after / before for t in made for before, after in itertools.pairwise(t) if before > 0.0), default=0.0)
    early = [_share(t, EARLY) for t in made]
    share = float(np.median(early)) if early else 0.0
    return [
        Claim("the objective improves with every iteration", f"no step loses more than {max(falls, 0.0):.1e} of t", falls <= 1e-6),
        Claim("it settles within a few iterations", f"{100 * share:.0f} % of the gain after {EARLY} steps, in the median", share >= GAINED),
    ]


FIGURES = {
    "10": Figure("Convergence: RCRB against iterations", 5, history_tasks, history_work, tidy, history_drawing, history_table, history_claims),
    "11": Figure("Time of a design against the length of the frame", 3, length_tasks, length_work, tidy, length_drawing, length_table, length_claims),
}
