"""Figures 6, 7 and 9: accuracy of the angle against the promised SINR, two and three cells, and against the number of antennas."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

import numpy as np

from hil.figure import Claim, Curve, Drawing, Figure, Panel, Parameters, Results, Table
from hil.systems.multicell.figures.schemes import (
    ABSOLUTE,
    HUES,
    SCHEMES,
    common,
    designed,
    drop,
    grid_table,
    mean,
    pick,
    plain,
    tidy,
    values,
)  # fmt: skip

TARGETS_DB = {2: (0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0), 3: (-5.0, 0.0, 5.0, 10.0, 15.0, 20.0, 25.0)}
ANTENNAS = (6, 8, 10, 12, 16, 20)
TIE = 0.05  # block level and symbol level differ by no more at the lowest target
TOLERANCE = 0.01  # by which a curve of local optima may fall where it should not


def work(parameters: Parameters, seed: np.random.SeedSequence) -> dict[str, Any]:
    """One design of one drop."""
    made, took_s = designed(drop(parameters), parameters["scheme"], parameters["target_db"])
    return plain(made, took_s)


# -- against the target ------------------------------------------------------------------------------------------------------------------


def _tasks(stations: int, seeds: int) -> list[dict[str, Any]]:
    return [
        {"drop": number, "scheme": scheme, "target_db": target, "stations": stations, "transmit": 6, "receive": 10, "delta": 0.01}
        for number in range(seeds) for scheme in SCHEMES for target in TARGETS_DB[stations]
    ]  # fmt: skip


def _compared(results: Results, target: float) -> tuple[list[str], set[int]]:
    """(schemes that at least half of the drops allow this target, drops in which all of these are feasible)."""
    schemes = [scheme for scheme in SCHEMES if _feasible(results, scheme, target) >= 0.5]
    drops = [common(results, scheme=scheme, target_db=target) for scheme in schemes]
    return schemes, set.intersection(*drops) if drops else set()


def _means(results: Results) -> dict[str, list[float]]:
    """scheme -> mean RCRB per target, degrees, over the drops of `_compared`; NaN for a scheme that is not."""
    rows: dict[str, list[float]] = {scheme: [] for scheme in SCHEMES}
    for target in values(results, "target_db"):
        schemes, drops = _compared(results, target)
        for scheme, row in rows.items():
            row.append(mean(results, "rcrb_deg", drops, scheme=scheme, target_db=target) if scheme in schemes else float("nan"))
    return rows


def _feasible(results: Results, scheme: str, target: float) -> float:
    chosen = pick(results, scheme=scheme, target_db=target)
    return float(np.mean([one["feasible"] for _, one in chosen])) if chosen else float("nan")


def _drawing(results: Results) -> Drawing:
    targets, means = values(results, "target_db"), _means(results)
    curves = [Curve(scheme, targets, row, hue=HUES[scheme], line="solid" if "BLP" in scheme else "dashed") for scheme, row in means.items()]
    feasible = [Curve(scheme, targets, [100 * _feasible(results, scheme, target) for target in targets], hue=HUES[scheme]) for scheme in SCHEMES]
    both = [place for place, pair in enumerate(zip(means["CBF-BLP"], means["CoMP-BLP"])) if not any(map(np.isnan, pair))]
    ratio = [means["CBF-BLP"][place] / means["CoMP-BLP"][place] for place in both[-1:]]
    gain = f"At {targets[both[-1]]:.0f} dB cooperation is {ratio[0]:.1f} times as accurate; h" if both else "H"
    return Drawing(f"{gain}igher promises need it", [
        Panel("SINR promised to every user, dB", "angle RCRB, deg", curves, "mean over drops that all shown allow", log_y=True),
        Panel("SINR promised to every user, dB", "feasible, % of drops", feasible, "how often it can be promised", limits_y=(-4.0, 104.0)),
    ])  # fmt: skip


def _table(results: Results) -> Table:
    targets, means = values(results, "target_db"), _means(results)
    shared = [len(_compared(results, target)[1]) for target in targets]
    caption = "angle RCRB [deg] at target; means over drops where all that are shown are feasible (a scheme is, where half the drops allow it)"
    told = grid_table(caption, "scheme", [f"{t:.0f} dB" for t in targets], means)
    return Table(told.caption, told.head, [*told.rows, ["drops", *map(str, shared)]])


def _claims(results: Results) -> list[Claim]:
    means, targets = _means(results), values(results, "target_db")
    return [_order(results), _rising(results), _range(results), _tie(means, targets),
            Claim("values of the RCRB", f"CBF-BLP {means['CBF-BLP'][targets.index(0.0)]:.3f} deg at 0 dB", None, ABSOLUTE, must=False)]  # fmt: skip


ORDER = (("CoMP-SLP", "CoMP-BLP"), ("CoMP-BLP", "CBF-BLP"), ("CBF-SLP", "CBF-BLP"))  # the first at least as accurate


def _order(results: Results) -> Claim:
    """From 10 dB on, over the drops in which all four are feasible; where there are none, pair by pair over those of both."""
    broken, compared = [], 0
    for target in (target for target in values(results, "target_db") if target >= 10.0):
        for better, worse in ORDER:
            pair = [common(results, scheme=scheme, target_db=target) for scheme in (better, worse)]
            if drops := common(results, target_db=target) or set.intersection(*pair):
                compared += 1
                less, more = (mean(results, "rcrb_deg", drops, scheme=scheme, target_db=target) for scheme in (better, worse))
                broken += [] if less <= more else [f"{better} at {target:.0f} dB"]
    fine = f"so in all {compared} comparisons of means at 10 dB and above"
    return Claim("CoMP-SLP is the most accurate, CBF-BLP the least", f"not {', '.join(broken)}" if broken else fine, not broken and compared > 0,
                 "cooperation adds echoes, symbols add freedom; but CBF-SLP counts what neighbours send at its largest over all symbols, "
                 "which near 10 dB costs what the freedom gains")  # fmt: skip


def _rising(results: Results) -> Claim:
    """Drop by drop: a mean over other drops at every target says nothing."""
    worst = 0.0
    for scheme in SCHEMES:
        for number in values(results, "drop"):
            row = [one["rcrb_deg"] for _, one in pick(results, scheme=scheme, drop=number) if one["feasible"]]
            worst = max([worst, *(1.0 - after / before for before, after in itertools.pairwise(row))])
    found = f"no curve falls by more than {100 * worst:.2f} % from one target to the next, in any drop"
    return Claim(
        "what is promised to users is taken from the target", found, worst <= TOLERANCE, f"designs are local optima: {100 * TOLERANCE:.0f} % allowed"
    )


def _range(results: Results) -> Claim:
    short = [
        (asked["drop"], asked["target_db"]) for asked, one in results if asked["scheme"] in ("CBF-BLP", "CBF-SLP") and one["feasible"]
        for other, twin in pick(results, drop=asked["drop"], target_db=asked["target_db"], scheme=asked["scheme"].replace("CBF", "CoMP"))
        if not twin["feasible"]
    ]  # fmt: skip
    most = {scheme: [max([a["target_db"] for a, one in pick(results, scheme=scheme, drop=n) if one["feasible"]], default=-np.inf)
                     for n in values(results, "drop")] for scheme in ("CBF-BLP", "CoMP-BLP")}  # fmt: skip
    gains = [after - before for before, after in zip(most["CBF-BLP"], most["CoMP-BLP"]) if np.isfinite(before) and np.isfinite(after)]
    found = f"the largest feasible target of the grid grows by {np.mean(gains):.1f} dB in the mean" if gains else "no drop to compare"
    return Claim("cooperation widens the range of targets", found + (f"; not in {len(short)} designs" if short else ""), not short and bool(gains))


def _tie(means: dict[str, list[float]], targets: list[float]) -> Claim:
    off = [abs(means[f"{mode}-SLP"][0] / means[f"{mode}-BLP"][0] - 1.0) for mode in ("CBF", "CoMP")]
    off = [one for one in off if not np.isnan(one)]
    found = f"at {targets[0]:.0f} dB they differ by at most {100 * max(off):.1f} %" if off else "not measured"
    why = "nothing is left for symbols to win; the paper's curves are those of a relaxation whose covariance cannot be radiated"
    return Claim("symbol level is better than block level everywhere", found, bool(off) and max(off) <= TIE, f"a tie is right there: {why}")


# -- against the number of antennas ------------------------------------------------------------------------------------------------------


def _antenna_tasks(seeds: int) -> list[dict[str, Any]]:
    return [
        {"drop": number, "scheme": scheme, "target_db": 10.0, "stations": 2, "transmit": antennas, "drawn": ANTENNAS[-1],
         "receive": 10, "delta": 0.01}
        for number in range(seeds) for antennas in ANTENNAS for scheme in SCHEMES
    ]  # fmt: skip


def _by_antennas(results: Results) -> dict[str, list[float]]:
    """scheme -> mean RCRB per number of antennas, over drops in which everything is feasible, so that means can be compared."""
    drops = common(results)
    return {scheme: [mean(results, "rcrb_deg", drops, scheme=scheme, transmit=n) for n in values(results, "transmit")] for scheme in SCHEMES}


def _antenna_drawing(results: Results) -> Drawing:
    means, antennas = _by_antennas(results), values(results, "transmit")
    curves = [Curve(scheme, antennas, row, hue=HUES[scheme], line="solid" if "BLP" in scheme else "dashed") for scheme, row in means.items()]
    gain = [cbf / comp for cbf, comp in zip(means["CBF-BLP"], means["CoMP-BLP"])]
    advantage = [Curve("CBF-BLP over CoMP-BLP", antennas, gain, hue=7)]
    return Drawing(f"Antennas do what cooperation does: its gain falls from {gain[0]:.1f} to {gain[-1]:.1f} times", [
        Panel("transmit antennas per base station", "angle RCRB, deg", curves, "10 dB promised to every user", log_y=True),
        Panel("transmit antennas per base station", "ratio of RCRB", advantage, "what cooperation gains"),
    ])  # fmt: skip


def _antenna_table(results: Results) -> Table:
    heads = [f"N_tx {n}" for n in values(results, "transmit")]
    return grid_table(
        f"angle RCRB [deg] at 10 dB; means over {len(common(results))} drops where all are feasible", "scheme", heads, _by_antennas(results)
    )


def _antenna_claims(results: Results) -> list[Claim]:
    means = _by_antennas(results)
    rising = [scheme for scheme, row in means.items() if np.any(np.isnan(row)) or np.any(np.diff(row) >= 0.0)]
    gain = [cbf / comp for cbf, comp in zip(means["CBF-BLP"], means["CoMP-BLP"])]
    return [
        Claim("more antennas, better sensing", "every curve falls strictly" if not rising else f"not {', '.join(rising)}", not rising,
              "a narrower beam wastes less on users"),
        Claim("cooperation gains most where antennas are few", f"{gain[0]:.2f} times at the fewest, {gain[-1]:.2f} at the most", gain[-1] < gain[0]),
        Claim("values of the RCRB", f"CBF-BLP {means['CBF-BLP'][0]:.3f} to {means['CBF-BLP'][-1]:.3f} deg", None, ABSOLUTE, must=False),
    ]  # fmt: skip


FIGURES = {
    "6": Figure("Angle RCRB against the promised SINR, four schemes, two cells", 20, partial(_tasks, 2), work, tidy, _drawing, _table, _claims),
    "7": Figure("Angle RCRB against the promised SINR, four schemes, three cells", 20, partial(_tasks, 3), work, tidy, _drawing, _table, _claims),
    "9": Figure(
        "Angle RCRB against the number of transmit antennas", 5, _antenna_tasks, work, tidy, _antenna_drawing, _antenna_table, _antenna_claims
    ),
}
