"""Where the time went: each round's seconds by what was being done, on the run's clock and on the wall's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hil.records import Run
from hil.report import look
from hil.report.facts import Facts, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# What a state's time counts as, in the order of a round.
PARTS = ("sound", "estimate", "design", "move", "settle", "push", "measure", "overhead")
_PART_OF = {
    "exploring": "sound",
    "sounding": "sound",
    "estimating": "estimate",
    "designing": "design",
    "moving": "move",
    "settling": "settle",
    "loading": "push",
    "measuring": "measure",
}
_VERBS = {
    "sound": "sounding",
    "estimate": "estimating",
    "design": "designing",
    "move": "moving",
    "settle": "settling",
    "push": "pushing",
    "measure": "measuring",
    "overhead": "neither of these",
}
_ALIKE = 0.02  # of the total: clocks that differ by less are shown once


@dataclass(frozen=True, slots=True)
class Bar:
    """Seconds per part of one row: the exploring, a baseline or a round. whole: it was recorded to its end."""

    label: str
    clock: dict[str, float]
    wall: dict[str, float]
    whole: bool


def bars(run: Run) -> list[Bar]:
    """One bar per (round, designer), from the `state` events; the time from one to the next belongs to the state entered."""
    states = run.of("state")
    timing = run.timing()
    wall_of = dict(zip(timing["n"].astype(int).tolist(), timing["wall_s"].tolist()))
    found: dict[tuple[int | None, str], Bar] = {}
    done = {(event["round"], event["what"]) for event in run.of("recorded")}
    for index, state in enumerate(states):
        until = states[index + 1] if index + 1 < len(states) else run.events[-1]
        key = (state["round"], state.get("designer") or ("explore" if state["to"] == "exploring" else ""))
        if not key[1] and (last := next(reversed(found), None)) and last[0] == key[0]:
            key = last  # a state that names nobody belongs to what went on before it in the same round
        bar = found.setdefault(key, _bar(key, done))
        part = _PART_OF.get(state["to"], "overhead")
        bar.clock[part] += max(0.0, until["t"] - state["t"])
        bar.wall[part] += max(0.0, wall_of.get(until["n"], 0.0) - wall_of.get(state["n"], wall_of.get(until["n"], 0.0)))
    return [bar for bar in found.values() if sum(bar.clock.values()) + sum(bar.wall.values()) > 0.0]


def _bar(key: tuple[int | None, str], done: set[tuple[int | None, str]]) -> Bar:
    round, designer = key
    named = look.short(designer) if round in (None, 0) else f"{round} {look.short(designer)}"
    label = f"0 {named}" if round == 0 else named
    whole = bool({(round, designer), (round, "round")} & done)
    return Bar(label.strip() or "start", dict.fromkeys(PARTS, 0.0), dict.fromkeys(PARTS, 0.0), whole)


def finding(found: list[Bar], wall: bool = False) -> str:
    """Which part took most, of all bars together."""
    totals = {part: sum((bar.wall if wall else bar.clock)[part] for bar in found) for part in PARTS}
    whole = sum(totals.values())
    if not whole:
        return "No time was recorded"
    first, second = sorted(PARTS, key=lambda part: -totals[part])[:2]
    shares = f"{_VERBS[first]} took {100 * totals[first] / whole:.0f} % of {number(whole)} s"
    then = f", {_VERBS[second]} {100 * totals[second] / whole:.0f} %" if totals[second] > 0.05 * whole else ""
    return shares[0].upper() + shares[1:] + then


def draw(run: Run, found: Facts) -> tuple[bytes, str] | None:
    """The figure as SVG and its finding; None when no time was recorded."""
    rows = bars(run)
    if not rows:
        return None
    clock, wall = sum(sum(bar.clock.values()) for bar in rows), sum(sum(bar.wall.values()) for bar in rows)
    alike = abs(clock - wall) <= _ALIKE * max(clock, wall, 1e-9)
    height = 1.55 + min(0.27 * max(len(rows), 2), 6.5)  # many rounds share half a page
    with look.figure(height) as fig:
        if alike:
            says = finding(rows)
        else:
            on_wall = finding(rows, wall=True)
            says = f"{finding(rows)} on the run's clock; on the wall clock {on_wall[0].lower()}{on_wall[1:]}"
        top = look.title(fig, says)
        base, tall = 0.45 / height, top - (0.45 + 0.47) / height
        boxes = [(0.14, base, 0.845, tall)] if alike else [(0.14, base, 0.395, tall), (0.59, base, 0.395, tall)]
        for index, box in enumerate(boxes):
            axes = fig.add_axes(box)
            _stack(axes, rows, wall=bool(index))
            axes.set_xlabel("s on the run's clock" if not index else "s on the wall clock", labelpad=1.0)
            if index:
                axes.set_yticklabels([])
        _legend(fig, top, height)
        return look.svg(fig, "time"), says


def _colour(part: str) -> tuple[float, ...]:
    """From dark to light through cividis in the order of a round, so that neighbours differ in greyscale too."""
    import matplotlib

    place = {"sound": 0.05, "estimate": 0.75, "design": 0.30, "move": 0.95, "settle": 0.55, "push": 0.85, "measure": 0.18}.get(part)
    return (0.93, 0.93, 0.93, 1.0) if place is None else matplotlib.colormaps["cividis"](place)


def _stack(axes: Axes, rows: list[Bar], wall: bool) -> None:
    widest = max([sum((bar.wall if wall else bar.clock).values()) for bar in rows], default=1.0) or 1.0
    for height, bar in enumerate(rows):
        left = 0.0
        for part in PARTS:
            seconds = (bar.wall if wall else bar.clock)[part]
            if seconds <= 0.0:
                continue
            colour = _colour(part)
            axes.barh(height, seconds, 0.72, left=left, color=colour, edgecolor="white", linewidth=0.6, zorder=3)
            if seconds > 0.13 * widest:
                dark = float(np.dot(colour[:3], (0.3, 0.59, 0.11))) < 0.5
                ink = "white" if dark else look.INK
                axes.text(left + seconds / 2, height, number(seconds), ha="center", va="center", color=ink, fontsize=8, zorder=4)
            left += seconds
        if not bar.whole:
            axes.axhspan(height - 0.5, height + 0.5, color="#e6e6e6", lw=0, zorder=0)
            axes.text(left + 0.01 * widest, height, "not whole", va="center", fontsize=8, color=look.SOFT, zorder=4)
    named = range(0, len(rows), -(-len(rows) // 40))
    axes.set_yticks(named, [look.broken(rows[i].label) for i in named])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(0.0, 1.04 * widest)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)


def _legend(fig: Any, top: float, height: float) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(facecolor=_colour(part), edgecolor=look.FAINT) for part in PARTS]
    fig.legend(
        handles,
        PARTS,
        loc="upper left",
        bbox_to_anchor=(0.005, top + 0.0),
        ncols=8,
        columnspacing=1.0,
        handlelength=1.4,
        handletextpad=0.4,
        borderaxespad=0.0,
    )
