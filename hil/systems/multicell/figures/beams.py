"""Figures 4 and 5: where base station 1 sends its power, two and three cells."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.figure import Claim, Curve, Drawing, Figure, Panel, Parameters, Results, Table
from hil.systems.multicell import fisher
from hil.systems.multicell.figures.schemes import decibel, designed, drop, pick, plain, tidy, values
from hil.systems.multicell.problem import Problem

TARGETS_DB = {"CBF-BLP": 30.0, "CoMP-BLP": 35.0}
RECEIVE = {2: 15, 3: 20}
GRID = np.radians(np.arange(-90.0, 90.1, 0.25))
LESS_DB = 10.0  # coordinated beamforming sends at least so much less towards the other cells than multipoint does
FLOOR_DB = -50.0
APART = np.radians(5.0)  # beams of 20 elements are 5 to 6 degrees wide


def tasks(stations: int, seeds: int) -> list[dict[str, Any]]:
    """Of the first drops in which a beam can tell every user from all others, as in the paper's pictures: else 30 dB are not to be had."""
    scene = {"stations": stations, "transmit": 20, "receive": RECEIVE[stations], "delta": 0.01, "fading": "line-of-sight"}
    apart = (number for number in itertools.count() if _apart(drop({**scene, "drop": number})))
    return [
        {**scene, "drop": number, "scheme": scheme, "target_db": target}
        for number in itertools.islice(apart, seeds) for scheme, target in TARGETS_DB.items()
    ]  # fmt: skip


def _apart(problem: Problem) -> bool:
    """Whether every base station sees its users at least APART from every other user."""
    for station in range(problem.stations):
        angle = _user_angles(problem, station)
        gap = np.abs(angle[problem.cells == station, None] - angle)
        if np.min(gap, initial=np.pi, where=gap > 0.0) < APART:
            return False
    return True


def work(parameters: Parameters, seed: np.random.SeedSequence) -> dict[str, Any]:
    """Power of base station 1 over the angles and towards users and targets, dB re its largest."""
    problem = drop(parameters)
    made, took_s = designed(problem, parameters["scheme"], parameters["target_db"])
    told = plain(made, took_s)
    if made.waveform is None:
        return told
    sent = made.waveform[0] @ made.waveform[0].conj().T
    everywhere = _power(problem, sent, GRID)
    most = float(everywhere.max())
    user, mine = _user_angles(problem), problem.cells == 0
    other_target = np.arange(problem.stations) != 0
    relative = lambda angle: [decibel(one / most) for one in _power(problem, sent, np.atleast_1d(angle))]
    towards = {
        "own user": user[mine], "own target": problem.angle[0, :1], "other user": user[~mine], "other target": problem.angle[0, other_target],
    }  # fmt: skip
    return {
        **told, "pattern_db": [decibel(one / most) for one in everywhere],
        "towards": {name: {"deg": np.degrees(angle).tolist(), "db": relative(angle)} for name, angle in towards.items()},
    }  # fmt: skip


def _power(problem: Problem, sent: NDArray[np.complex128], angle: NDArray[np.float64]) -> NDArray[np.float64]:
    v, _ = fisher.steering(problem.transmit_place, angle)
    power: NDArray[np.float64] = np.einsum("ai,ij,aj->a", v, sent, v.conj()).real
    return power


def _user_angles(problem: Problem, station: int = 0) -> NDArray[np.float64]:
    """(user,) azimuth at a base station: in line of sight a channel is a steering vector, its elements half a wavelength apart."""
    turn = np.angle(problem.channel[station, :, 1] / problem.channel[station, :, 0])
    return np.arcsin(turn / np.pi)


def _shown(results: Results) -> int | None:
    """The first drop in which both can be had."""
    for number in values(results, "drop"):
        both = pick(results, drop=number)
        if len(both) == len(TARGETS_DB) and all(one["feasible"] for _, one in both):
            return int(number)
    return None


def _others(one: dict[str, Any]) -> float:
    """Mean power towards users and targets of other cells, dB re the peak."""
    towards = [*one["towards"]["other user"]["db"], *one["towards"]["other target"]["db"]]
    return decibel(float(np.mean(10.0 ** (np.array(towards) / 10.0))))


def _pairs(results: Results) -> list[tuple[float, float]]:
    """(CBF, CoMP) of `_others` in every drop that has both."""
    pairs = []
    for number in values(results, "drop"):
        found = {asked["scheme"]: one for asked, one in pick(results, drop=number) if one["feasible"]}
        if len(found) == len(TARGETS_DB):
            pairs.append((_others(found["CBF-BLP"]), _others(found["CoMP-BLP"])))
    return pairs


def drawing(results: Results) -> Drawing:
    number, panels = _shown(results), []
    hues = {"own user": 0, "own target": 2, "other user": 4, "other target": 1}
    for scheme, target in TARGETS_DB.items():
        chosen = [one for _, one in pick(results, drop=number, scheme=scheme)] if number is not None else []
        curves = []
        if chosen:
            pattern = [max(value, FLOOR_DB) for value in chosen[0]["pattern_db"]]
            curves.append(Curve("power sent", np.degrees(GRID).tolist(), pattern, hue=7, marked=False))
            for name, place in chosen[0]["towards"].items():
                curves.append(Curve(name, place["deg"], [max(value, FLOOR_DB) for value in place["db"]], hue=hues[name], line="none"))
        panels.append(
            Panel("azimuth at base station 1, deg", "power re its peak, dB", curves, f"{scheme}, {target:.0f} dB promised", limits_y=(FLOOR_DB, 3.0))
        )
    pairs = _pairs(results)
    less = float(np.mean([comp - cbf for cbf, comp in pairs])) if pairs else float("nan")
    title = f"Towards the other cells coordinated beamforming sends {less:.0f} dB less than multipoint" if pairs else "No drop had both designs"
    return Drawing(title, panels)


def table(results: Results) -> Table:
    """Means over the drops that have both designs."""
    rows = []
    for scheme, target in TARGETS_DB.items():
        chosen = [one for _, one in pick(results, scheme=scheme)]
        made = [one for one in chosen if one["feasible"]]
        cells = []
        for name in ("own user", "own target", "other user", "other target"):
            power = [10.0 ** (value / 10.0) for one in made for value in one["towards"][name]["db"]]
            cells.append(f"{decibel(float(np.mean(power))):.1f}" if power else "-")
        rows.append([scheme, f"{target:.0f}", *cells, f"{len(made)}/{len(chosen)}"])
    head = ["scheme", "promised, dB", "own users", "own target", "other users", "other targets", "feasible"]
    return Table("power of base station 1 towards, dB re its peak; means over drops", head, rows)


def claims(results: Results) -> list[Claim]:
    pairs = _pairs(results)
    less = [comp - cbf for cbf, comp in pairs]
    found = (
        f"{min(less):.1f} to {max(less):.1f} dB less in {len(less)} drops, {np.mean(less):.1f} in the mean" if less else "no drop had both designs"
    )
    fine = bool(less) and float(np.mean(less)) >= LESS_DB
    return [
        Claim("CBF sends little towards users and targets of other cells, CoMP serves them too", found, fine,
              f"at least {LESS_DB:.0f} dB in the mean, relative to the own peak"),
        Claim("the patterns themselves", "another drop: not the paper's", None, "the paper gives its directions only as a picture", must=False),
    ]  # fmt: skip


FIGURES = {
    number: Figure(
        f"Where base station 1 sends its power, {word} cells in line of sight", 5, partial(tasks, stations), work, tidy, drawing, table, claims
    )
    for number, word, stations in (("4", "two", 2), ("5", "three", 3))
}
