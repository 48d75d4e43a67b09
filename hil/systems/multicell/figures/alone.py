"""Figure 3: a design that is blind to the other cell, and what becomes of it there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from hil.figure import Claim, Curve, Drawing, Figure, Panel, Parameters, Results, Table
from hil.systems.multicell import fisher, worst_case
from hil.systems.multicell.figures.schemes import common, decibel, designed, drop, grid_table, mean, plain, tidy, values
from hil.systems.multicell.problem import Problem

TARGETS_DB = (0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0)
KINDS = ("single cell", "single cell among others", "CBF-BLP")
MISSED_DB = 10.0


def tasks(seeds: int) -> list[dict[str, Any]]:
    return [
        {"drop": number, "kind": kind, "target_db": target, "stations": 2, "transmit": 10, "receive": 10, "delta": 0.0, "snr_db": 40.0}
        for number in range(seeds) for kind in ("single cell", "CBF-BLP") for target in TARGETS_DB
    ]  # fmt: skip


def alone(problem: Problem, station: int) -> Problem:
    """One base station with its own users and target, as if there were no other."""
    one, mine = slice(station, station + 1), problem.cells == station
    return replace(
        problem, channel=problem.channel[one, mine], cells=np.zeros(int(mine.sum()), int), radius=problem.radius[one, mine],
        noise=problem.noise[mine], power=problem.power[one], angle=problem.angle[one, one], alpha=problem.alpha[one, one],
        noise_radar=problem.noise_radar[one], turns=None, tilts=None, payload=None if problem.payload is None else problem.payload[mine],
    )  # fmt: skip


def work(parameters: Parameters, seed: np.random.SeedSequence) -> dict[str, Any]:
    """Blind designs of both cells, as they see themselves and as they are; or one that knows of the other cell."""
    problem = drop(parameters)
    if parameters["kind"] == "CBF-BLP":
        return plain(*designed(problem, "CBF-BLP", parameters["target_db"]))
    w = np.zeros((problem.stations, problem.antennas, problem.users), complex)
    own, took_s = [], 0.0
    for station in range(problem.stations):
        made, took = designed(alone(problem, station), "CBF-BLP", parameters["target_db"])
        took_s += took
        if made.waveform is None:
            return {"feasible": False, "took_s": took_s}
        own.append(plain(made, took))
        w[station][:, problem.cells == station] = made.waveform[0]
    t = fisher.sensing(problem, "cbf", w, "blp")
    published = fisher.sensing(problem, "cbf", w, "blp", published_covariance_factor=True)
    return {
        "feasible": True, "rcrb_deg": max(one["rcrb_deg"] for one in own), "sinr_db": min(one["sinr_db"] for one in own),
        "actual_rcrb_deg": _degrees(t), "actual_sinr_db": decibel(float(worst_case.sinr(problem, "cbf", w).min())),
        "published_rcrb_deg": _degrees(published), "took_s": took_s,
    }  # fmt: skip


def _degrees(t: Any) -> float:
    return float(np.degrees(1.0 / np.sqrt(np.min(t))))


def _means(results: Results, name: str, kind: str) -> list[float]:
    return [mean(results, name, common(results, target_db=target), kind=kind, target_db=target) for target in values(results, "target_db")]


def drawing(results: Results) -> Drawing:
    blind, actual = _means(results, "sinr_db", "single cell"), _means(results, "actual_sinr_db", "single cell")
    cbf, targets = _means(results, "sinr_db", "CBF-BLP"), values(results, "target_db")
    sinr = [
        Curve("single cell, as designed", targets, blind, hue=3), Curve("single cell, among others", targets, actual, hue=4),
        Curve("CBF-BLP", targets, cbf, hue=0),
    ]  # fmt: skip
    crb = [
        Curve("single cell, as designed", targets, _means(results, "rcrb_deg", "single cell"), hue=3),
        Curve("single cell, among others", targets, _means(results, "actual_rcrb_deg", "single cell"), hue=4),
        Curve("the same, noise taken L times", targets, _means(results, "published_rcrb_deg", "single cell"), hue=5, line="dotted"),
        Curve("CBF-BLP", targets, _means(results, "rcrb_deg", "CBF-BLP"), hue=0),
    ]
    at = targets.index(20.0)
    return Drawing(f"A design blind to the other cell asks for 20 dB and gets {actual[at]:.1f} dB", [
        Panel("SINR asked for, dB", "worst user's SINR, dB", sinr, "what users get"),
        Panel("SINR asked for, dB", "angle RCRB, deg", crb, "what sensing gets", log_y=True),
    ])  # fmt: skip


def table(results: Results) -> Table:
    targets = values(results, "target_db")
    rows = {
        "SINR, as designed": _means(results, "sinr_db", "single cell"), "SINR, among others": _means(results, "actual_sinr_db", "single cell"),
        "SINR, CBF-BLP": _means(results, "sinr_db", "CBF-BLP"), "RCRB, as designed": _means(results, "rcrb_deg", "single cell"),
        "RCRB, among others": _means(results, "actual_rcrb_deg", "single cell"),
        "RCRB, noise L times": _means(results, "published_rcrb_deg", "single cell"), "RCRB, CBF-BLP": _means(results, "rcrb_deg", "CBF-BLP"),
    }  # fmt: skip
    return grid_table("worst user's SINR [dB] and angle RCRB [deg] at target; means over drops where all are feasible", "",
                      [f"{t:.0f} dB" for t in targets], rows)  # fmt: skip


def claims(results: Results) -> list[Claim]:
    targets = values(results, "target_db")
    asked, got = _means(results, "sinr_db", "single cell"), _means(results, "actual_sinr_db", "single cell")
    high = [place for place, target in enumerate(targets) if target >= 10.0 and not np.isnan(got[place])]
    missed = [asked[place] - got[place] for place in high]
    own, actual, published = (np.array(_means(results, name, "single cell"))[high] for name in ("rcrb_deg", "actual_rcrb_deg", "published_rcrb_deg"))
    loss, said = 100 * float(np.max(actual / own - 1.0, initial=0.0)), 100 * float(np.max(published / own - 1.0, initial=0.0))
    far = f"missed by {min(missed):.1f} to {max(missed):.1f} dB at 10 dB and above" if missed else "no drop where all are feasible"
    return [
        Claim("ignoring the links between cells breaks the promise to users", far, bool(missed) and min(missed) > MISSED_DB),
        Claim("it also costs visible accuracy of the angle", f"at most {loss:.2f} %; {said:.1f} % with the paper's covariance", loss > 2.0,
              "the paper's covariance of one snapshot has a factor L (its equation 9) that the model does not have", must=False),
    ]  # fmt: skip


FIGURES = {"3": Figure("RCRB and SINR of a design that neglects the other cell", 5, tasks, work, tidy, drawing, table, claims)}
