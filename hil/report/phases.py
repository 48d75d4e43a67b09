"""How base stations turn against each other: the rate of the phase between them, and how far it is trusted until a design was measured."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hil.records import Run
from hil.report import look
from hil.report.facts import NONE, Facts, counted, gave_way, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_UNTIL = re.compile(r"([\d.e+-]+) rad after ([\d.e+-]+) s")


@dataclass(frozen=True, slots=True)
class Turning:
    """One estimate. rate, std: (station,) rad/s against the first. until: rad rms after `after` s, NaN where it was not said. gave_way: in that
    round base stations were not trusted to send together."""

    at: float
    round: int
    designer: str
    rate: tuple[float, ...]
    std: tuple[float, ...]
    until: float
    after: float
    assumes: tuple[str, ...]
    sure: bool
    gave_way: bool


def turnings(run: Run) -> list[Turning]:
    """In the order of the run."""
    apart = gave_way(run)
    found = []
    for event in run.of("estimated", what="phase between stations"):
        assumes = tuple(map(str, event.get("assumes") or ()))
        told = next((match for note in assumes if (match := _UNTIL.fullmatch(note))), None)
        designer = str(event.get("designer") or "")
        found.append(
            Turning(
                at=float(event["t"]),
                round=int(event["round"]),
                designer=designer,
                rate=tuple(map(float, event["value"])),
                std=tuple(map(float, event["std"])),
                until=float(told[1]) if told else NONE,
                after=float(told[2]) if told else NONE,
                assumes=assumes,
                sure=event.get("above_threshold") is not False,
                gave_way=(event["round"], designer) in apart,
            )
        )
    return found


def finding(found: list[Turning]) -> str:
    last = found[-1]
    rate, std = max(zip(last.rate, last.std), key=lambda pair: abs(pair[0]))
    text = f"Base stations turn by {number(1e3 * abs(rate))} \N{PLUS-MINUS SIGN} {number(1.96e3 * std)} mrad/s against each other"
    if not math.isnan(last.until):
        text += f"; until a design has been measured, {number(last.after)} s later, that is known to {number(1e3 * last.until, 0)} mrad"
    gave = sum(one.gave_way for one in found)
    return text + (f"; in {gave} of {counted(len(found), 'design')} they were not trusted to send together" if gave else "")


def draw(run: Run, found: Facts) -> tuple[bytes, str] | None:
    """The figure as SVG and its finding; None where no phase between stations was estimated."""
    every = turnings(run)
    if not every:
        return None
    with look.figure(2.35) as fig:
        says = finding(every)
        top = look.title(fig, says)
        rate = fig.add_axes((0.085, 0.19, 0.40, top - 0.31))
        until = fig.add_axes((0.585, 0.19, 0.40, top - 0.31))
        _rates(rate, every)
        _until(until, every)
        labels = [f"{one.round}" if one.round else look.broken(look.short(one.designer)) for one in every]
        for axes in (rate, until):
            axes.set_xticks(range(len(every)), labels)
            axes.set_xlim(-0.6, len(every) - 0.4)
            if not any("\n" in label for label in labels):
                axes.set_xlabel("round", labelpad=1.0)
            axes.grid(axis="x", visible=False)
        return look.svg(fig, "phases"), says


def _rates(axes: Axes, every: list[Turning]) -> None:
    """Against the first station, with 95 % bars; hollow below threshold."""
    for station in range(1, len(every[0].rate)):
        for place, one in enumerate(every):
            mark = look.marker(one.designer) | ({} if one.sure else {"markerfacecolor": "white"})
            axes.errorbar([place + 0.12 * (station - 1)], [1e3 * one.rate[station]], yerr=[1.96e3 * one.std[station]], color=look.hue(one.designer),
                          elinewidth=1.2, capsize=2.5, ms=5, zorder=3, **mark)  # fmt: skip
    axes.axhline(0.0, color=look.FAINT, lw=1.0, zorder=1)
    axes.set_ylabel("mrad/s", labelpad=2.0)
    look.panel_title(axes, "rate against the first station, 95 %")


def _until(axes: Axes, every: list[Turning]) -> None:
    for place, one in enumerate(every):
        if math.isnan(one.until):
            continue
        axes.bar(place, 1e3 * one.until, 0.6, facecolor=look.hue(one.designer), alpha=0.55, zorder=2)
        if one.gave_way:
            axes.annotate("gave\nway", (place, 1e3 * one.until), ha="center", va="bottom", fontsize=8, fontweight="bold", zorder=4)
    known = [1e3 * one.until for one in every if not math.isnan(one.until)]
    axes.set_ylim(0.0, 1.35 * float(np.max(known)) if known else 1.0)
    axes.set_ylabel("mrad rms", labelpad=2.0)
    look.panel_title(axes, "phase error until it was measured")


def assumption(run: Run) -> str:
    """What the last estimate took for granted, in its own words."""
    every = turnings(run)
    return "; ".join(every[-1].assumes) if every else ""
