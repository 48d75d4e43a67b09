"""Does sensing reach its bound: every fix of the target with its 95 % ellipse, and error and bound round by round."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hil.records import Run
from hil.report import look
from hil.report.facts import NONE, Facts, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CHI2_95 = 5.991  # two degrees of freedom
_RAYS = 720


@dataclass(frozen=True, slots=True)
class Fix:
    """One fix. place: (x, y) m; covariance: (2, 2) m^2 or None; surveyed: (x, y) or None. loss_db, snr_db: per access point."""

    label: str
    round: int
    designer: str
    place: NDArray[np.float64]
    covariance: NDArray[np.float64] | None
    surveyed: NDArray[np.float64] | None
    error: float
    crlb: float
    sure: bool
    loss_db: tuple[float, ...]
    snr_db: tuple[float, ...]

    @property
    def std(self) -> float:
        """What the fix itself claims: root of the trace of its covariance."""
        return NONE if self.covariance is None else float(np.sqrt(np.trace(self.covariance)))

    @property
    def within(self) -> bool | None:
        """Whether the surveyed place lies in the 95 % region; without its direction, whether so large an error is one of the 95 %."""
        if self.covariance is None or math.isnan(self.error):
            return None
        if self.surveyed is not None:
            off = self.surveyed - self.place
            return bool(off @ np.linalg.solve(self.covariance, off) <= CHI2_95)
        return share_within(self.error, self.covariance) <= 0.95


def share_within(radius: float, covariance: NDArray[np.float64]) -> float:
    """Probability that a Gaussian error in the plane is shorter than radius: along each ray the length is Rayleigh."""
    angle = 2.0 * np.pi * (np.arange(_RAYS) + 0.5) / _RAYS
    ray = np.stack([np.cos(angle), np.sin(angle)])
    stiff = np.sum(ray * np.linalg.solve(covariance, ray), axis=0)
    return float(np.mean((1.0 - np.exp(-0.5 * radius**2 * stiff)) / stiff) / np.sqrt(np.linalg.det(covariance)))


def fixes(run: Run) -> list[Fix]:
    """Every fix in the order of the run, baselines first."""
    found = []
    for event in run.of("measured"):
        target = event.get("target")
        if not target or not target.get("position"):
            continue
        designer = str(event.get("designer") or "")
        covariance = None if target.get("covariance") is None else np.asarray(target["covariance"], float)[:2, :2]
        surveyed = None if target.get("surveyed") is None else np.asarray(target["surveyed"], float)[:2]
        found.append(
            Fix(
                label=look.short(designer) if event["round"] == 0 else str(event["round"]),
                round=event["round"],
                designer=designer,
                place=np.asarray(target["position"], float)[:2],
                covariance=covariance,
                surveyed=surveyed,
                error=_number(target.get("error")),
                crlb=_number(target.get("crlb")),
                sure=target.get("above_threshold") is not False,
                loss_db=_numbers(target.get("loss_db")),
                snr_db=_numbers(target.get("snr_db")),
            )
        )
    return found


def _number(value: Any) -> float:
    return NONE if value is None else float(value)


def _numbers(values: Sequence[Any] | float | None) -> tuple[float, ...]:
    return tuple(map(_number, values if isinstance(values, (list, tuple)) else [] if values is None else [values]))


def finding(found: list[Fix]) -> str:
    known = [fix for fix in found if not math.isnan(fix.error) and not math.isnan(fix.crlb)]
    if not known:
        bounds = [fix.crlb for fix in found if not math.isnan(fix.crlb)]
        return f"The target was fixed {len(found)} times" + (f", the bound {number(min(bounds), 2)} m at best" if bounds else "")
    ratio = math.sqrt(np.mean([(fix.error / fix.crlb) ** 2 for fix in known]))
    judged = [fix.within for fix in found if fix.within is not None]
    text = f"Over {len(known)} fixes the error is {number(ratio)} times its bound (rms)"
    if judged:
        text += f", and {sum(judged)} of {len(judged)} surveyed places lie in their 95 % ellipse"
    below = sum(not fix.sure for fix in found)
    if below:
        text += f", {below} {'was' if below == 1 else 'were'} below threshold"
    return text + f"; the last is {number(known[-1].error, 2)} m off, bound {number(known[-1].crlb, 2)} m"


def draw(run: Run, found: Facts) -> tuple[bytes, str] | None:
    """The figure as SVG and its finding; None when no target was fixed."""
    all_fixes = fixes(run)
    if not all_fixes:
        return None
    with look.figure(4.75) as fig:
        says = finding(all_fixes)
        top = look.title(fig, says)
        base = 0.145
        tall = top - base - 0.085
        lost = any(fix.loss_db for fix in all_fixes)
        plan = fig.add_axes((0.075, base, 0.475, tall))
        _plan(plan, run, all_fixes, 0.475 * look.WIDTH, tall * 4.75)
        error = fig.add_axes((0.645, base + (0.55 * tall if lost else 0.0), 0.345, tall * (0.45 if lost else 1.0)))
        _errors(error, all_fixes)
        if lost:
            error.set_xticklabels([])
            loss = fig.add_axes((0.645, base, 0.345, 0.43 * tall))
            _losses(loss, run, all_fixes)
        below = loss if lost else error
        named = [i for i, fix in enumerate(all_fixes) if not fix.round or fix.round % -(-len(all_fixes) // 12) == 0]
        turned = any(len(all_fixes[i].label) > 3 for i in named)
        below.set_xticks(named, [all_fixes[i].label for i in named], rotation=30 if turned else 0, ha="right" if turned else "center")
        below.set_xlabel("design or round", labelpad=0.0)
        return look.svg(fig, "target"), says


def ellipse(axes: Axes, fix: Fix, **style: Any) -> NDArray[np.float64]:
    """Draws the 95 % ellipse; returns the corners of its box (2, xy)."""
    from matplotlib.patches import Ellipse

    if fix.covariance is None:
        return np.array([fix.place, fix.place])
    values, vectors = np.linalg.eigh(fix.covariance)
    long, short = 2.0 * np.sqrt(CHI2_95 * np.maximum(values[::-1], 0.0))
    angle = math.degrees(math.atan2(vectors[1, 1], vectors[0, 1]))
    axes.add_patch(Ellipse(tuple(fix.place), long, short, angle=angle, **style))
    half = np.sqrt(CHI2_95 * np.diag(fix.covariance))
    return np.array([fix.place - half, fix.place + half])


def _plan(axes: Axes, run: Run, found: list[Fix], width: float, tall: float) -> None:
    """Fixes solid (hollow below threshold), surveyed places as crosses joined to their fix; the last fix filled."""
    corners = []
    for index, fix in enumerate(found):
        colour, last = look.hue(fix.designer), index == len(found) - 1
        corners.append(ellipse(axes, fix, fill=False, ec=colour, lw=1.6 if last else 0.9, ls="-" if fix.round else (0, (4, 2)), zorder=3))
        if last:
            ellipse(axes, fix, fc=colour, alpha=0.16, lw=0, zorder=2)
        if fix.surveyed is not None:
            axes.plot(*np.array([fix.place, fix.surveyed]).T, color=look.SOFT, lw=0.7, zorder=4)
            axes.plot(*fix.surveyed, marker="x", ms=6, mew=1.4, color=look.INK, zorder=6)
            corners.append(fix.surveyed[None])
        shape = look.marker(fix.designer) | ({} if fix.sure else {"markerfacecolor": "white"})
        axes.plot(*fix.place, ms=5, ls="none", zorder=5, **shape)
        if fix.round:  # away from the cross
            below = fix.surveyed is not None and fix.surveyed[1] > fix.place[1]
            where = {"xytext": (5, -4 if below else 4), "textcoords": "offset points", "va": "top" if below else "bottom"}
            axes.annotate(fix.label, tuple(fix.place), fontsize=8, fontweight="bold", color=colour, zorder=7, **where)
    points = np.concatenate(corners)
    low, high = points.min(0), np.maximum(points.max(0), points.min(0) + 0.1)
    scale = 1.12 * max((high[0] - low[0]) / width, (high[1] - low[1]) / tall)
    middle = (low + high) / 2
    axes.set_xlim(middle[0] - scale * width / 2, middle[0] + scale * width / 2)
    axes.set_ylim(middle[1] - scale * tall / 2, middle[1] + scale * tall / 2)
    axes.set_xlabel("x, m", labelpad=1.0)
    axes.set_ylabel("y, m", labelpad=1.0)
    _legend(axes, found)


def _legend(axes: Axes, found: list[Fix]) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], ms=5, lw=1.2, color=look.hue(fix.designer), ls="-" if fix.round else (0, (4, 2)), **look.marker(fix.designer)) for fix in found
    ]
    named = {(look.short(fix.designer) + ", by round" * bool(fix.round)): handle for fix, handle in zip(found, handles)}
    if any(fix.surveyed is not None for fix in found):
        named["surveyed then"] = Line2D([], [], ls="none", marker="x", ms=6, mew=1.4, color=look.INK)
    axes.legend(list(named.values()), list(named), loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=3, columnspacing=1.0, handletextpad=0.4,
                borderaxespad=0.1, fontsize=8)  # fmt: skip


def _errors(axes: Axes, found: list[Fix]) -> None:
    """Error of each fix, its own standard deviation thin, the bound grey dotted; logarithmic."""
    for place, fix in enumerate(found):
        if not math.isnan(fix.crlb):
            axes.plot([place - 0.38, place + 0.38], [fix.crlb] * 2, color=look.BOUND, lw=1.6, ls=(0, (1, 1.3)), zorder=2)
        if not math.isnan(fix.std):
            axes.plot([place], [fix.std], marker="_", ms=11, mew=0.9, color=look.hue(fix.designer), zorder=3)
        if not math.isnan(fix.error):
            shape = look.marker(fix.designer) | ({} if fix.sure else {"markerfacecolor": "white"})
            axes.plot([place], [fix.error], ms=6, ls="none", zorder=4, **shape)
    values = [value for fix in found for value in (fix.error, fix.crlb, fix.std) if value > 0.0]
    look.logarithmic(axes, "y", min(values, default=0.1) / 1.4, max(values, default=1.0) * 1.4)
    axes.set_xlim(-0.6, len(found) - 0.4)
    axes.set_xticks(range(len(found)))
    axes.grid(axis="x", visible=False)
    axes.set_ylabel("error, m", labelpad=2.0)
    look.panel_title(axes, "error; its std dash, CRLB dotted")


def _losses(axes: Axes, run: Run, found: list[Fix]) -> None:
    """What taking the static room out of the echo cost, per access point."""
    names = [array["name"] for array in run.scenario.get("array", []) if array.get("role") == "transmit"]
    marks = ("o", "s", "^", "D", "v")
    for index in range(max(len(fix.loss_db) for fix in found)):
        values = [fix.loss_db[index] if index < len(fix.loss_db) else NONE for fix in found]
        label = names[index] if index < len(names) else f"source {index}"
        axes.plot(
            range(len(found)), values, color=look.INK, lw=0.8, ls=("-", "--", ":")[index % 3], marker=marks[index % 5], ms=5, mfc="white", label=label
        )
    axes.set_xlim(-0.6, len(found) - 0.4)
    axes.set_ylim(0.0, 1.35 * max([1.0, *(value for fix in found for value in fix.loss_db if not math.isnan(value))]))
    axes.grid(axis="x", visible=False)
    axes.set_ylabel("loss, dB", labelpad=2.0)
    axes.legend(loc="upper left", bbox_to_anchor=(0.0, 1.03), ncols=3, borderaxespad=0.1, fontsize=8)
    look.panel_title(axes, "echo lost with the static room")
