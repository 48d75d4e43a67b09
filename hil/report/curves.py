"""Draws what `hil.figure` describes, in the look of every figure here: as SVG for the page, as PNG for a paper or a talk."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hil.figure import Curve, Drawing, Mark, Panel
from hil.report import look

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#7A5C00", "#000000")  # Okabe and Ito, yellow darkened
MARKERS = ("o", "D", "^", "s", "v", "P", "X", "h")
_LINES = {"solid": "-", "dashed": (0, (4, 2)), "dotted": (0, (1, 1.3)), "none": ""}
_ROW = 2.55  # inches of a row of panels
_LETTER, _HANDLE = 0.066, 0.62  # inches of a legend's letter, and of its line with the space beside it
_SPAN = 5.0  # less than this from end to end is read better on a linear axis
_BANDS = 2  # shaded at most; more of them, or choices in place of numbers, get bars beside each other
_BESIDE = 0.02  # of the axis
PNG_DPI = 200


def svg(drawing: Drawing, name: str) -> bytes:
    """The drawing as SVG whose ids carry `name`."""
    with _figure(drawing) as fig:
        return look.svg(fig, name)


def png(drawing: Drawing) -> bytes:
    """The drawing as PNG."""
    buffer = io.BytesIO()
    with _figure(drawing) as fig:
        fig.savefig(buffer, format="png", dpi=PNG_DPI, metadata={"Software": None})
    return buffer.getvalue()


class _figure:
    """A context in which matplotlib has our settings, and the figure drawn in it."""

    def __init__(self, drawing: Drawing) -> None:
        self._drawing = drawing
        self._rows = math.ceil(len(drawing.panels) / 2)
        self._looks = _looks(drawing.panels)
        self._lines = _legend_rows([label for label in self._looks if label])
        self._open = look.figure(0.75 + 0.22 * len(self._lines) + _ROW * self._rows + (0.45 if len(drawing.panels) == 1 else 0.0))

    def __enter__(self) -> Figure:
        fig = self._open.__enter__()
        top = look.title(fig, self._drawing.title) if self._drawing.title else 1.0
        height = fig.get_size_inches()[1]
        top = _legend(fig, self._looks, self._lines, top, height)
        columns = 1 if len(self._drawing.panels) == 1 else 2
        grid = fig.add_gridspec(
            self._rows, columns, left=0.72 / look.WIDTH, right=1.0 - 0.12 / look.WIDTH, bottom=0.5 / height, top=top - 0.26 / height,
            wspace=0.3, hspace=0.46,
        )  # fmt: skip
        for place, panel in enumerate(self._drawing.panels):
            _draw(fig.add_subplot(grid[place // columns, place % columns]), panel, self._looks)
        return fig

    def __exit__(self, *error: Any) -> None:
        self._open.__exit__(*error)


def _looks(panels: Sequence[Panel]) -> dict[str, dict[str, Any]]:
    """label -> how its curves look; the first one of a label decides."""
    looks: dict[str, dict[str, Any]] = {}
    taken = {curve.hue for panel in panels for curve in panel.curves}
    free = [place for place in range(len(PALETTE)) if place not in taken]
    for curve in (curve for panel in panels for curve in panel.curves):
        if curve.label in looks:
            continue
        hue = curve.hue
        if hue == -1:
            hue = free.pop(0) if free else len(looks) % len(PALETTE)
        looks[curve.label] = {"color": _colour(hue), "ls": _LINES[curve.line], "lw": 1.2 if hue == "bound" else 1.7, **_marker(curve, hue)}
    return looks


def _colour(hue: int | str | None) -> str:
    if hue is None:
        return look.INK
    return PALETTE[hue % len(PALETTE)] if isinstance(hue, int) else look.BOUND if hue == "bound" else look.hue(hue)


def _marker(curve: Curve, hue: int | str) -> dict[str, Any]:
    if not curve.marked:
        return {}
    if isinstance(hue, str):
        return {**look.marker(hue), "ms": 5.0}
    face = "white" if curve.line in ("dashed", "dotted") else PALETTE[hue % len(PALETTE)]
    return {"marker": MARKERS[hue % len(MARKERS)], "ms": 5.0, "markerfacecolor": face, "markeredgewidth": 1.1}


def _legend_rows(labels: Sequence[str]) -> list[list[str]]:
    """Labels in as few rows as their lengths allow, in order."""
    rows: list[list[str]] = []
    for label in labels:
        wide = lambda row: sum(_HANDLE + _LETTER * len(one) for one in row)
        if rows and wide([*rows[-1], label]) <= look.WIDTH - 0.2:
            rows[-1].append(label)
        else:
            rows.append([label])
    return rows


def _legend(fig: Figure, looks: dict[str, dict[str, Any]], rows: Sequence[Sequence[str]], top: float, height: float) -> float:
    """Rows of the legend below `top`; returns where they end."""
    from matplotlib.lines import Line2D

    for row in rows:
        handles = [Line2D([], [], **looks[label]) for label in row]
        fig.legend(
            handles, row, loc="upper left", bbox_to_anchor=(0.004, top), ncols=len(row), columnspacing=1.3, handlelength=2.2,
            handletextpad=0.5, borderaxespad=0.0, borderpad=0.2,
        )  # fmt: skip
        top -= 0.21 / height
    return top - 0.04 / height


def _draw(axes: Axes, panel: Panel, looks: dict[str, dict[str, Any]]) -> None:
    banded = [curve.label for curve in panel.curves if curve.low is not None]
    for order, curve in enumerate(panel.curves):
        how = looks[curve.label] if curve.marked else {**looks[curve.label], "marker": ""}
        x, y = list(curve.x), [math.nan if value is None else value for value in curve.y]
        if curve.low is not None and curve.high is not None:
            low, high = ([math.nan if value is None else value for value in values] for values in (curve.low, curve.high))
            if panel.ticks or len(banded) > _BANDS:
                x = [at + _BESIDE * (max(x) - min(x) or 1.0) * (banded.index(curve.label) - (len(banded) - 1) / 2) for at in x]
                axes.vlines(x, low, high, color=how["color"], lw=1.1, zorder=3)
            else:
                axes.fill_between(x, low, high, color=how["color"], alpha=0.15, lw=0)
        axes.plot(x, y, drawstyle="steps-post" if curve.stepped else "default", zorder=3 + order / 100, **how)
    if panel.log_x or panel.log_y:
        _logarithmic(axes, panel)
    if panel.limits_y is not None:
        axes.set_ylim(*panel.limits_y)
    if panel.ticks:
        axes.set_xticks(list(panel.ticks), list(panel.ticks.values()))
        axes.set_xlim(min(panel.ticks) - 0.4, max(panel.ticks) + 0.4)
    for mark in panel.marks:
        _mark(axes, mark)
    if not panel.ticks and axes.get_xscale() == "linear" and all(float(x).is_integer() for curve in panel.curves for x in curve.x):
        axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel(panel.x)
    axes.set_ylabel(panel.y)
    if panel.title:
        look.panel_title(axes, panel.title)


def _logarithmic(axes: Axes, panel: Panel) -> None:
    for which, wanted in (("x", panel.log_x), ("y", panel.log_y)):
        values = [value for curve in panel.curves for value in (curve.x if which == "x" else [*curve.y, *(curve.low or ()), *(curve.high or ())])]
        positive = [value for value in values if value is not None and value > 0.0 and math.isfinite(value)]
        if wanted and positive and max(positive) > _SPAN * min(positive):
            room = max((max(positive) / min(positive)) ** 0.06, 1.03)
            look.logarithmic(axes, which, min(positive) / room, max(positive) * room)


def _mark(axes: Axes, mark: Mark) -> None:
    """The word stands along the line, inside the panel."""
    style: dict[str, Any] = {"color": _colour(mark.hue), "lw": 0.9, "ls": (0, (5, 3)), "zorder": 2}
    words: dict[str, Any] = {"color": _colour(mark.hue), "fontsize": 8.0, "textcoords": "offset points", "annotation_clip": True}
    if mark.axis == "x":
        axes.axvline(mark.at, **style)
        where: dict[str, Any] = {"xycoords": axes.get_xaxis_transform(), "xytext": (2, -2), "va": "top", "ha": "left", "rotation": 90}
        axes.annotate(mark.label, (mark.at, 1.0), **where, **words)
    else:
        axes.axhline(mark.at, **style)
        axes.annotate(mark.label, (1.0, mark.at), xycoords=axes.get_yaxis_transform(), xytext=(-2, 2), va="bottom", ha="right", **words)
