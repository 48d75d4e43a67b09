"""What the figures share: the four schemes, a drop from plain parameters, a design as plain data, means and tables over drops."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hil.figure import Parameters, Results, Table
from hil.systems.multicell.draws import draw
from hil.systems.multicell.problem import Kind, Mode, Precoding, Problem, half_wave

SCHEMES: dict[str, tuple[Mode, Kind]] = {
    "CBF-BLP": ("cbf", "blp"), "CoMP-BLP": ("comp", "blp"), "CBF-SLP": ("cbf", "slp"), "CoMP-SLP": ("comp", "slp"),
}  # fmt: skip
HUES = {"CBF-BLP": 1, "CoMP-BLP": 0, "CBF-SLP": 4, "CoMP-SLP": 2}  # places in the palette
ABSOLUTE = "the paper gives neither its angles nor its fading nor the unit of its RCRB"
_DRAWN = ("stations", "users", "transmit", "receive", "delta", "snr_db", "length", "fading")


def drop(parameters: Parameters) -> Problem:
    """The drop `parameters["drop"]`, the same for every scheme and target; with the paper's set, one ball around all links of a user.

    drawn: antennas of the array the drop was drawn for, of which the first `transmit` are there: more antennas then see the same scene.
    """
    options = {name: parameters[name] for name in _DRAWN if name in parameters}
    seed, antennas = int(parameters["drop"]), parameters["transmit"]
    problem = draw(np.random.default_rng(seed), csi_set="stacked", **{**options, "transmit": parameters.get("drawn", antennas)})
    if antennas != problem.antennas:
        problem = replace(problem, channel=problem.channel[..., :antennas], transmit_place=half_wave(antennas))
    return problem.with_payload(np.random.default_rng([seed, 1]))


def designed(problem: Problem, scheme: str, target_db: float) -> tuple[Precoding, float]:
    """A design, and the processor time it took, seconds."""
    from hil.systems.multicell.solve import design

    mode, kind = SCHEMES[scheme]
    began = time.process_time()
    made = design(problem, mode, kind, asked=10.0 ** (target_db / 10.0))
    return made, time.process_time() - began


def plain(made: Precoding, took_s: float) -> dict[str, Any]:
    """What the figures want of a design: RCRB of the worst base station, degrees; worst-case SINR, dB."""
    if made.status == "infeasible" or made.sinr is None:
        return {"feasible": False, "achievable_db": None if not made.achievable else decibel(made.achievable), "took_s": took_s}
    return {
        "feasible": True, "rcrb_deg": float(np.degrees(np.max(made.rcrb))), "sinr_db": decibel(float(np.min(made.sinr))),
        "steps": len(made.history), "took_s": took_s, "stopped": made.stopped,
    }  # fmt: skip


def decibel(value: float) -> float:
    return float(10.0 * np.log10(max(value, 1e-30)))


def tidy(parameters: Parameters, result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One line of results.csv: parameters and those results that are single values."""
    single = {name: int(value) if isinstance(value, bool) else value for name, value in result.items() if not isinstance(value, (list, dict))}
    return [{**parameters, **single}]


def pick(results: Results, **wanted: Any) -> list[tuple[Parameters, Any]]:
    """Those with these parameters."""
    return [(asked, one) for asked, one in results if all(asked.get(name) == value for name, value in wanted.items())]


def values(results: Results, name: str) -> list[Any]:
    """Values of a parameter, in their order."""
    return list(dict.fromkeys(asked[name] for asked, _ in results))


def common(results: Results, **wanted: Any) -> set[int]:
    """Drops in which every one of these has a feasible design."""
    chosen = pick(results, **wanted)
    return {int(asked["drop"]) for asked, _ in chosen} - {int(asked["drop"]) for asked, one in chosen if not one["feasible"]}


def mean(results: Results, name: str, drops: set[int], **wanted: Any) -> float:
    """Over these drops; NaN where there are none."""
    found = [one[name] for asked, one in pick(results, **wanted) if asked["drop"] in drops and one["feasible"]]
    return float(np.mean(found)) if found else float("nan")


def grid_table(caption: str, corner: str, heads: Sequence[str], rows: Mapping[str, Sequence[float]], digits: int = 3) -> Table:
    """A row per scheme; `-` where there is no number."""
    cell: Callable[[float], str] = lambda value: "-" if value is None or np.isnan(value) else f"{value:.{digits}f}"
    return Table(caption, [corner, *heads], [[name, *map(cell, row)] for name, row in rows.items()])
