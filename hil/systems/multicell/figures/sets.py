"""Figure 8: what users see of channel errors, drawn and worst; designs that know the sets and designs that do not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.figure import Claim, Curve, Drawing, Figure, Mark, Panel, Parameters, Results, Table
from hil.systems.multicell.figures.schemes import HUES, SCHEMES, decibel, designed, drop, pick, plain, tidy, values
from hil.systems.multicell.problem import Mode, Problem

TARGETS_DB = {"cbf": 15.0, "comp": 30.0}
ERRORS = 100
PRICE = 0.01  # of robustness in RCRB, at most


def tasks(seeds: int) -> list[dict[str, Any]]:
    return [
        {"drop": number, "scheme": scheme, "nominal": nominal, "target_db": TARGETS_DB[mode], "stations": 2, "transmit": 16, "receive": 6,
         "delta": 0.01}
        for number in range(seeds) for scheme, (mode, _) in SCHEMES.items() for nominal in (False, True)
    ]  # fmt: skip


def work(parameters: Parameters, seed: np.random.SeedSequence) -> dict[str, Any]:
    """A design, its exact worst case over the sets, and the smallest SINR under errors drawn on their surface.

    A drop's errors are the same for every design; nominal: designed for the estimate alone.
    """
    from hil.systems.multicell.solve import rejudged

    problem = drop(parameters)
    made, took_s = designed(problem.nominal() if parameters["nominal"] else problem, parameters["scheme"], parameters["target_db"])
    told = plain(made, took_s)
    if made.waveform is None:
        return told
    judged = rejudged(problem, made)
    rng = np.random.default_rng([int(parameters["drop"]), 2])
    seen = []
    for _ in range(ERRORS):
        true = replace(problem.nominal(), channel=problem.channel + errors(problem, made.mode, rng))
        met = rejudged(true, made)
        seen.append(decibel(float(np.min(met.sinr))))  # type: ignore[arg-type]
    return {**told, "worst_db": decibel(float(np.min(judged.sinr))), "least_db": min(seen), "seen_db": seen}  # type: ignore[arg-type]


def errors(problem: Problem, mode: Mode, rng: np.random.Generator) -> NDArray[np.complex128]:
    """(base station, user, antenna) on the surface of the set: of each link's ball, or in multipoint of the ball around all links."""
    e = rng.standard_normal(problem.channel.shape) + 1j * rng.standard_normal(problem.channel.shape)
    if mode == "comp" and problem.csi_set == "stacked":
        scaled: NDArray[np.complex128] = e / np.sqrt(np.sum(np.abs(e) ** 2, axis=(0, 2), keepdims=True)) * problem.stacked_radius[:, None]
    else:
        scaled = e / np.linalg.norm(e, axis=2, keepdims=True) * problem.radius[..., None]
    return scaled


def _label(scheme: str, nominal: bool) -> str:
    return f"{scheme.partition('-')[2]}, {'blind to errors' if nominal else 'robust'}"


def drawing(results: Results) -> Drawing:
    panels = []
    for word, mode in (("CBF", "cbf"), ("CoMP", "comp")):
        curves = []
        for kind in ("BLP", "SLP"):
            for nominal in (False, True):
                seen = sorted(
                    value for _, one in pick(results, scheme=f"{word}-{kind}", nominal=nominal) if one["feasible"] for value in one["seen_db"]
                )
                if seen:
                    steps = [place / len(seen) for place in range(len(seen) + 1)]
                    hue = HUES[f"CoMP-{kind}"]
                    curves.append(Curve(_label(f"{word}-{kind}", nominal), [seen[0], *seen], steps, hue=hue, line="dashed" if nominal else "solid",
                                        marked=False, stepped=True))  # fmt: skip
        marks = [Mark("x", TARGETS_DB[mode], "promised")]
        panels.append(
            Panel("worst user's SINR under an error, dB", "fraction of errors", curves, f"{word}, {TARGETS_DB[mode]:.0f} dB promised", marks=marks)
        )
    broken = [one["worst_db"] - asked["target_db"] for asked, one in results if one["feasible"] and asked["nominal"]]
    return Drawing(f"Designs that know the sets keep their promise; blind ones miss it by up to {-min(broken, default=0.0):.1f} dB", panels)


def table(results: Results) -> Table:
    rows = []
    for scheme in SCHEMES:
        for nominal in (False, True):
            made = [one for _, one in pick(results, scheme=scheme, nominal=nominal) if one["feasible"]]
            chosen = pick(results, scheme=scheme, nominal=nominal)
            least, worst = (f"{min(one[name] for one in made):.2f}" if made else "-" for name in ("least_db", "worst_db"))
            target = f"{chosen[0][0]['target_db']:.0f}" if chosen else "-"
            rcrb = f"{np.mean([one['rcrb_deg'] for one in made]):.4f}" if made else "-"
            rows.append([scheme, "blind" if nominal else "robust", target, least, worst, rcrb, f"{len(made)}/{len(chosen)}"])
    head = ["scheme", "design", "promised, dB", f"least of {ERRORS} errors", "exact worst case", "RCRB, deg", "feasible"]
    return Table("smallest SINR over drops and users, dB", head, rows)


def _price(results: Results) -> list[float]:
    """RCRB of the robust design over that of the blind one, less one, block level; per drop that has both."""
    found = []
    for number in values(results, "drop"):
        for scheme in ("CBF-BLP", "CoMP-BLP"):
            robust, blind = (
                [one for _, one in pick(results, drop=number, scheme=scheme, nominal=nominal) if one["feasible"]] for nominal in (False, True)
            )
            if robust and blind:
                found.append(robust[0]["rcrb_deg"] / blind[0]["rcrb_deg"] - 1.0)
    return found


def claims(results: Results) -> list[Claim]:
    robust = [
        (one["least_db"] - asked["target_db"], one["worst_db"] - asked["target_db"])
        for asked, one in results
        if one["feasible"] and not asked["nominal"]
    ]
    blind = [one["worst_db"] - asked["target_db"] for asked, one in results if one["feasible"] and asked["nominal"]]
    lucky = sum(one["least_db"] >= asked["target_db"] > one["worst_db"] for asked, one in results if one["feasible"] and asked["nominal"])
    least, worst = (min(part) for part in zip(*robust)) if robust else (float("nan"),) * 2
    cost = float(np.median(_price(results) or [np.inf]))
    return [
        Claim(f"all of {ERRORS} observed SINRs are above the target", f"least {least:+.2f} dB re target in {len(robust)} designs", least >= 0.0),
        Claim("the design is robust", f"exact worst case {worst:+.3f} dB re target", worst >= -1e-6, "drawn errors alone are weak evidence of it"),
        Claim("(not shown) a design for the estimate alone is not", f"worst case {max(blind, default=np.nan):+.2f} dB re target at best; "
              f"{lucky} of {len(blind)} would pass the test of drawn errors", bool(blind) and max(blind) < 0.0),
        Claim("(not shown) what robustness costs in RCRB", f"{100 * cost:.2f} % in the median, block level", cost < PRICE),
    ]  # fmt: skip


FIGURES = {"8": Figure("Smallest SINR under channel errors, drawn and worst", 5, tasks, work, tidy, drawing, table, claims)}
