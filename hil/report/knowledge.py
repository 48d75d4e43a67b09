"""Are the error bars honest: each estimate's standard deviation over its bound, errors over standard deviations, and residual tests."""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hil.records import Run
from hil.report import look
from hil.report.angles import bearings
from hil.report.facts import Facts, counted
from hil.report.rail import rails
from hil.report.target import fixes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_POINTS = 600  # of one estimate in a column: evenly thinned beyond


@dataclass(slots=True)
class Kind:
    """All estimates of one quantity. ratio: std over CRLB; error: |error| over its standard deviation, where somebody knows the error;
    test: residual energy over its degrees of freedom. sure: above threshold, per entry of each. within: 95 % regions, (held, of)."""

    what: str
    ratio: list[tuple[float, bool]] = field(default_factory=list)
    error: list[tuple[float, bool]] = field(default_factory=list)
    test: list[tuple[float, bool]] = field(default_factory=list)
    within: tuple[int, int] = (0, 0)

    @property
    def shown(self) -> bool:
        return bool(self.ratio or self.error or self.test)


def kinds(run: Run) -> list[Kind]:
    """By quantity, in the order of the run; the target and the channel predicted along the rails last."""
    found: dict[str, Kind] = {}
    for event in run.of("estimated"):
        kind = found.setdefault(str(event["what"]), Kind(str(event["what"])))
        sure = event.get("above_threshold") is not False
        for ratio in ratios(event.get("std"), event.get("bound_std")):
            kind.ratio.append((float(ratio), sure))
        if isinstance(event.get("residual_test"), (int, float)):
            kind.test.append((float(event["residual_test"]), sure))
    return [kind for kind in [*found.values(), _target(run), _angle(run), _rails(run)] if kind.shown]


def ratios(std: Any, bound: Any) -> NDArray[np.float64]:
    """(entry,) of values that are numbers or even nested lists, where both are known and the bound is not zero."""
    if std is None or bound is None:
        return np.zeros(0)
    try:
        left, right = (np.ravel(np.array(value, dtype=float)) for value in (std, bound))
    except (TypeError, ValueError):  # named or ragged: no ratio to be drawn
        return np.zeros(0)
    if left.shape != right.shape:
        return np.zeros(0)
    return (left / np.where(right > 0.0, right, np.nan))[np.isfinite(left) & (right > 0.0)]


def _target(run: Run) -> Kind:
    kind = Kind("target position")
    judged = []
    for fix in fixes(run):
        if not math.isnan(fix.std + fix.crlb):
            kind.ratio.append((fix.std / fix.crlb, fix.sure))
        if not math.isnan(fix.std + fix.error):
            kind.error.append((fix.error / fix.std, fix.sure))
        if fix.within is not None and fix.sure:
            judged.append(fix.within)
    kind.within = (sum(judged), len(judged))
    return kind


def _angle(run: Run) -> Kind:
    kind = Kind("target angle")
    for fix in bearings(run):
        if not math.isnan(fix.std + fix.crlb):
            kind.ratio.append((fix.std / fix.crlb, fix.sure))
        if not math.isnan(fix.std + fix.error):
            kind.error.append((abs(fix.error) / fix.std, fix.sure))
    judged = [fix.within for fix in bearings(run) if fix.within is not None and fix.sure]
    kind.within = (sum(judged), len(judged))
    return kind


def _rails(run: Run) -> Kind:
    kind = Kind("channel, predicted")
    for rail in rails(run):
        points = rail.sounded
        kind.error += [(float(value), True) for value in np.abs(points.measured - points.predicted) / np.sqrt(points.variance)]
        kind.within = (kind.within[0] + int(points.within.sum()), kind.within[1] + len(points.within))
    return kind


def finding(found: list[Kind]) -> str:
    values = [value for kind in found for value, sure in kind.ratio if sure]
    parts = []
    if values:
        middle, most = (f"{value:.2f}" if value < 10.0 else f"{value:.0f}" for value in (float(np.median(values)), max(values)))
        parts.append(f"{counted(len(values), 'standard deviation')} {middle} times the bound in the median, {most} at most")
    held, judged = (sum(kind.within[i] for kind in found) for i in (0, 1))
    if judged:
        known = [value for kind in found for value, sure in kind.error if sure]
        rms = f", {float(np.sqrt(np.mean(np.square(known)))):.2f} std in the rms" if known else ""
        parts.append(f"{held} of {judged} known errors ({100 * held / judged:.0f} %) lie in their 95 % region{rms}")
    low = sum(not sure for kind in found for value, sure in kind.ratio + kind.error)
    parts += [f"{low} below threshold"] if low else []
    text = "; ".join(parts)
    return text[:1].upper() + text[1:] if text else "No estimate of this run has a bound, and no error is known"


def draw(run: Run, found: Facts) -> tuple[bytes, str] | None:
    """The figure as SVG and its finding: a line per quantity, columns of std over CRLB, error over std, residual test."""
    lines = kinds(run)
    if not lines:
        return None
    height = 1.35 + 0.34 * len(lines)
    with look.figure(height) as fig:
        says = finding(lines)
        top = look.title(fig, says)
        base, tall = 0.42 / height, top - (0.42 + 0.28) / height
        columns = (
            ("ratio", "std over CRLB", "1: the bound"),
            ("error", "error over its std", "known errors"),
            ("test", "residual over its freedom", "1: the model holds"),
        )
        for index, (name, label, title) in enumerate(columns):
            axes = fig.add_axes(((0.165, 0.435, 0.77)[index], base, (0.235, 0.235, 0.22)[index], tall))
            _column(axes, lines, name)
            axes.set_xlabel(label, labelpad=1.0)
            look.panel_title(axes, title)
            axes.set_yticks(range(len(lines)), [textwrap.fill(kind.what, 19) for kind in lines] if index == 0 else [""] * len(lines))
        return look.svg(fig, "knowledge"), says


def _column(axes: Axes, lines: list[Kind], name: str) -> None:
    """Logarithmic, so that twice and half are equally far; above threshold solid, below hollow; each line spread by its order."""
    every = [value for kind in lines for value, _ in getattr(kind, name) if value > 0.0]
    low, high = min([0.5, *every]), max([2.0, *every])
    low = max(low, 1e-3)
    for height, kind in enumerate(lines):
        values = getattr(kind, name)
        values = values[:: max(1, -(-len(values) // MOST_POINTS))]
        if not values:
            box = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
            axes.annotate(
                "not known", (0.5, height), xycoords=("axes fraction", "data"), ha="center", va="center", fontsize=8, color=look.SOFT, bbox=box
            )
            continue
        for sure, face in ((True, look.INK), (False, "white")):
            some = [(value, place) for place, (value, one) in enumerate(values) if one is sure]
            x = [max(value, low) for value, _ in some]
            y = [height + 0.5 * (place / max(len(values) - 1, 1) - 0.5) * (len(values) > 1) for _, place in some]
            axes.plot(x, y, ls="none", marker="o", ms=3.2, mfc=face, mec=look.INK, mew=0.7, alpha=0.75, zorder=3)
        if name == "error" and kind.within[1]:
            where = {"xycoords": ("axes fraction", "data"), "xytext": (4, 0), "textcoords": "offset points", "va": "center", "annotation_clip": False}
            axes.annotate("{} of\n{}".format(*kind.within), (1.0, height), fontsize=8, fontweight="bold", linespacing=1.0, **where)
    axes.axvline(1.0, color=look.BOUND, lw=1.4, ls=(0, (1, 1.3)), zorder=2)
    if name == "error":
        axes.axvspan(1.731, 1.960, color=look.FAINT, lw=0, zorder=1)  # where 95 % of errors end: complex 1.73, real 1.96
    look.logarithmic(axes, "x", low / 1.25, high * 1.25)
    axes.set_ylim(len(lines) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
