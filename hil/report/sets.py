"""How large the sets are that a robust design must hold for, and what each part of them is there for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hil.errors import HilError
from hil.records import Run
from hil.report import look
from hil.report.facts import NONE, Facts

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_ROWS = 9  # designs shown
_MOST_LINKS = 12  # panels
WORDS = {"noise": "noise", "moving": "what moves in the room", "phase": "phases between stations"}


@dataclass(frozen=True, slots=True)
class Ball:
    """The set of one link in one design: radius and its parts as fractions of the channel's norm. least: made of the bound alone."""

    link: str
    label: str
    size: float
    parts: dict[str, float]
    least: float


def balls(run: Run) -> list[Ball]:
    """`bounded` channels of pushed designs over the channel's own norm; links without one are left out."""
    norms = _norms(run) | _norms_of_cells(run)
    found: dict[tuple[Any, ...], Ball] = {}
    for event in run.of("bounded", what="channel"):
        key = (event["round"], event.get("designer"), event["of"])
        norm = norms.get(key)
        if not norm:
            continue
        label = look.short(str(event.get("designer") or "")) if event["round"] == 0 else str(event["round"])
        parts = {name: float(value) / norm for name, value in (event.get("parts") or {}).items()}
        least = event.get("bound_size")
        found[key] = Ball(event["of"], label, _mean(event["size"]) / norm, parts, NONE if least is None else _mean(least) / norm)
    return list(found.values())


def _norms(run: Run) -> dict[tuple[Any, ...], float]:
    """(round, designer, link) -> root of elements times mean power, where a link is an array and a user."""
    elements = {array["name"]: int(array.get("elements", 1)) for array in run.scenario.get("array", [])}
    return {
        (event["round"], event.get("designer"), event["of"]): math.sqrt(elements[event["of"].split("-")[0]] * float(event["value"]))
        for event in run.of("estimated", what="channel")
        if isinstance(event.get("value"), (int, float)) and event.get("unit") == "power gain" and event["of"].split("-")[0] in elements
    }


def _norms_of_cells(run: Run) -> dict[tuple[Any, ...], float]:
    """The same where a link is a cell's base station and a user: of the channel that the design rests on."""
    cells, users = ([one["name"] for one in run.scenario.get(kind, [])] for kind in ("cell", "user"))
    found: dict[tuple[Any, ...], float] = {}
    for event in run.of("designed") if cells else ():
        try:
            channel = run.design_arrays(event["round"], event["designer"]).get("channel")
        except (HilError, OSError):
            continue
        if channel is not None and channel.shape[:2] == (len(cells), len(users)):  # (station, user, tone, 1, antenna)
            norms = np.sqrt(np.mean(np.sum(np.abs(channel) ** 2, axis=-1), axis=(-2, -1)))
            found |= {(event["round"], event["designer"], f"{n}-{u}"): float(norms[i, j]) for i, n in enumerate(cells) for j, u in enumerate(users)}
    return found


def _mean(values: Any) -> float:
    return float(np.mean(np.array(values, dtype=float)))


def finding(found: list[Ball]) -> str:
    sizes = [ball.size for ball in found]
    text = f"The sets reach {100 * min(sizes):.1f} to {100 * max(sizes):.1f} % of the channel they surround"
    sums: dict[str, float] = {}
    for ball in found:
        for name, value in ball.parts.items():
            sums[name] = sums.get(name, 0.0) + value
    if sums:
        first = max(sums, key=lambda name: sums[name])
        text += f"; most of it, {100 * sums[first] / max(sum(sums.values()), 1e-30):.0f} %, is for {WORDS.get(first, first)}"
    return text


def draw(run: Run, found: Facts) -> tuple[bytes, str] | None:
    """A panel per link, a bar per design: the radius' parts stacked, the bound's own radius dotted."""
    every = balls(run)
    if not every:
        return None
    links = list(dict.fromkeys(ball.link for ball in every))[:_MOST_LINKS]
    columns = min(len(links), 4)
    lines = -(-len(links) // columns)
    labels = list(dict.fromkeys(ball.label for ball in every))
    if len(labels) > _MOST_ROWS:  # baselines, the first and the last round and some between
        labels = [labels[i] for i in sorted(set(np.linspace(0, len(labels) - 1, _MOST_ROWS).round().astype(int)))]
    names = list(dict.fromkeys(name for ball in every for name in ball.parts)) or ["all of it"]
    each = 0.21 * len(labels) + 0.33
    height = 0.92 + each + (each + 0.24) * (lines - 1)
    with look.figure(height) as fig:
        says = finding(every)
        top = look.title(fig, says)
        room = 0.24 / height
        base, tall = 0.42 / height, (top - (0.42 + 0.50) / height - (lines - 1) * room) / lines
        left = 0.105 if max(map(len, labels)) <= 11 else 0.165
        widest = 105.0 * max(ball.size for ball in every)
        for place, link in enumerate(links):
            line, column = divmod(place, columns)
            bottom = base + (lines - 1 - line) * (tall + room)
            axes = fig.add_axes((left + column * (0.995 - left) / columns, bottom, (0.995 - left) / columns - 0.03, tall))
            for ball in (one for one in every if one.link == link and one.label in labels):
                _ball(axes, ball, labels.index(ball.label), names)
            axes.set_yticks(range(len(labels)), labels if column == 0 else [""] * len(labels))
            axes.set_ylim(len(labels) - 0.4, -0.6)
            axes.set_xlim(0.0, widest)
            axes.tick_params(axis="y", length=0)
            axes.grid(axis="y", visible=False)
            if place + columns >= len(links):
                axes.set_xlabel("radius, % of channel", labelpad=1.0)
            else:
                axes.set_xticklabels([])
            look.panel_title(axes, link)
        _legend(fig, names, every, top)
        return look.svg(fig, "sets"), says


def _shade(index: int, of: int) -> tuple[float, ...]:
    import matplotlib

    return matplotlib.colormaps["cividis"](0.15 + 0.7 * index / max(of - 1, 1))


def _ball(axes: Axes, ball: Ball, height: int, names: list[str]) -> None:
    left = 0.0
    for index, name in enumerate(names):
        width = 100.0 * (ball.parts.get(name, 0.0) if ball.parts else ball.size)
        axes.barh(height, width, 0.68, left=left, color=_shade(index, len(names)), edgecolor="white", linewidth=0.6, zorder=3)
        left += width
    if not math.isnan(ball.least):
        axes.plot([100 * ball.least] * 2, [height - 0.34, height + 0.34], color="white", lw=2.2, zorder=4)  # to be seen on the dark part
        axes.plot([100 * ball.least] * 2, [height - 0.45, height + 0.45], color=look.INK, lw=1.4, ls=(0, (1, 1.0)), zorder=4)


def _legend(fig: Any, names: list[str], every: list[Ball], top: float) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [Patch(facecolor=_shade(index, len(names))) for index in range(len(names))]
    labels = [f"for {WORDS[name]}" if name in WORDS else name for name in names]
    if any(not math.isnan(ball.least) for ball in every):
        handles.append(Line2D([], [], color=look.INK, lw=1.4, ls=(0, (1, 1.0))))
        labels.append("of the CRLB alone")
    fig.legend(handles, labels, loc="upper left", bbox_to_anchor=(0.005, top), ncols=5, columnspacing=1.6, handletextpad=0.5, borderaxespad=0.0)
