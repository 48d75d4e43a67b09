"""Where base stations, users and targets of several cells stand, and in which direction each target was heard."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hil.records import Run
from hil.report import look
from hil.report.angles import HALF, Bearing, bearings, degrees
from hil.report.facts import Facts, counted
from hil.report.target import CHI2_95

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True)
class Site:
    """One cell on the ground. origin: (2,) m, what angles are seen from. axis, facing: (2,) unit: local x, broadside towards its target.
    users: name -> (2,) m. target: (2,) m as known before, std: m of each of its coordinates."""

    name: str
    arrays: tuple[str, str]
    origin: NDArray[np.float64]
    axis: NDArray[np.float64]
    facing: NDArray[np.float64]
    users: dict[str, NDArray[np.float64]]
    target: NDArray[np.float64]
    std: float

    def towards(self, angle: float) -> NDArray[np.float64]:
        """(2,) unit vector of an angle from broadside towards local x, rad."""
        return math.sin(angle) * self.axis + math.cos(angle) * self.facing


def sites(scenario: dict[str, Any]) -> list[Site]:
    """Those of a scenario's cells, as plain values of its file."""
    arrays = {array["name"]: array for array in scenario.get("array", [])}
    places = {user["name"]: np.asarray(user["position_m"], float)[:2] for user in scenario.get("user", [])}
    found = []
    for cell in scenario.get("cell", []):
        transmit = arrays[cell["transmit"]]
        origin, axis = np.asarray(transmit["origin_m"], float)[:2], np.asarray(transmit.get("axis", (1.0, 0.0, 0.0)), float)[:2]
        target = np.asarray(cell["target"]["position_m"], float)[:2]
        facing = np.array([axis[1], -axis[0]])
        facing = facing if facing @ (target - origin) >= 0.0 else -facing
        users = {name: places[name] for name in cell["users"]}
        names = (cell["transmit"], cell["receive"])
        found.append(Site(cell["name"], names, origin, axis, facing, users, target, float(cell["target"].get("position_std_m", 0.0))))
    return found


def latest(run: Run, found: Facts) -> dict[str, Bearing]:
    """cell -> what the final design told last of its target."""
    return {fix.cell: fix for fix in bearings(run) if fix.designer in (found.designer, "")}


def finding(run: Run, found: Facts) -> str:
    placed = sites(run.scenario)
    users = sum(len(site.users) for site in placed)
    text = f"{counted(len(placed), 'base station')} with {counted(users, 'user')}; nothing moves but the targets"
    told = latest(run, found)
    if not told:
        return f"{text}, of which no angle was told"
    said = ", ".join(f"{cell} {degrees(abs(fix.error)) + ' off' if not math.isnan(fix.error) else degrees(fix.std)}" for cell, fix in told.items())
    unsure = sum(not fix.sure for fix in told.values())
    last = next(iter(told.values())).round
    where = f"in round {last}" if last else "at last"
    return f"{text}, heard {where}: {said}" + (f"; {unsure} of {len(told)} below threshold" if unsure else "")


def draw(run: Run, found: Facts) -> tuple[bytes, str]:
    """The figure as SVG and its finding."""
    placed, told = sites(run.scenario), latest(run, found)
    with look.figure(5.0) as fig:
        says = finding(run, found)
        top = look.title(fig, says)
        axes = fig.add_axes((0.075, 0.09, 0.915, top - 0.155))
        for site in placed:
            _site(axes, site)
            _target(axes, site, [fix for fix in bearings(run) if fix.cell == site.name])
        points = [place for site in placed for place in (site.origin, *site.users.values(), site.target)]
        points += [fix.surveyed[:2] for fix in told.values() if fix.surveyed is not None]
        reach = _frame(fig, axes, np.array(points))
        for site in placed:
            if site.name in told:
                _ray(axes, site, told[site.name], reach)
        axes.set_xlabel("x, m", labelpad=1.0)
        axes.set_ylabel("y, m", labelpad=1.0)
        _legend(fig, told, top)
        return look.svg(fig, "place"), says


def _site(axes: Axes, site: Site) -> None:
    """A base station, its broadside, and whom it serves."""
    for name, place in site.users.items():
        axes.plot(*np.array([site.origin, place]).T, color=look.SOFT, lw=0.7, ls=(0, (5, 3)), zorder=2)
        axes.plot(*place, marker="o", ms=7, mfc=look.INK, mec=look.INK, zorder=5)
        axes.annotate(name, tuple(place), xytext=(7, 5), textcoords="offset points", fontweight="bold", zorder=7)
    axes.plot(*np.array([site.origin - 0.35 * site.axis, site.origin + 0.35 * site.axis]).T, color=look.INK, lw=4.0, solid_capstyle="butt", zorder=4)
    axes.plot(*site.origin, marker="s", ms=8, mfc="white", mec=look.INK, mew=1.4, zorder=5)
    where = {"textcoords": "offset points", "ha": "center", "va": "top", "zorder": 7}
    axes.annotate(site.name, tuple(site.origin), xytext=(0, -12), fontweight="bold", **where)
    axes.annotate("\n".join(dict.fromkeys(site.arrays)), tuple(site.origin), xytext=(0, -24), fontsize=8, color=look.SOFT, linespacing=1.1, **where)


def _target(axes: Axes, site: Site, heard: list[Bearing]) -> None:
    """What was known before (dashed), and where it was surveyed when it was heard, the last time large."""
    from matplotlib.patches import Ellipse

    width = 2.0 * math.sqrt(CHI2_95) * site.std
    axes.add_patch(Ellipse(tuple(site.target), width, width, fill=False, ec=look.SOFT, lw=1.0, ls=(0, (4, 2)), zorder=3))
    axes.plot(*site.target, marker="+", ms=7, color=look.SOFT, mew=1.1, zorder=3)
    walked = np.array([fix.surveyed[:2] for fix in heard if fix.surveyed is not None])
    if len(walked):
        axes.plot(*walked.T, ls="none", color=look.INK, marker="x", ms=3.5, mew=0.8, zorder=5)
        axes.plot(*walked[-1], marker="x", ms=8, mew=1.8, color=look.INK, zorder=6)


def _ray(axes: Axes, site: Site, fix: Bearing, reach: float) -> None:
    """Where the target was heard: a ray with its 95 % wedge; dashed below threshold."""
    from matplotlib.patches import Polygon

    colour, half = look.hue(fix.designer), min(HALF * fix.std, 0.5 * math.pi) if not math.isnan(fix.std) else 0.0
    fan = np.linspace(fix.angle - half, fix.angle + half, 33)
    corners = [site.origin, *(site.origin + reach * site.towards(float(angle)) for angle in fan)]
    axes.add_patch(Polygon(corners, closed=True, fc=colour, alpha=0.16 if fix.sure else 0.08, lw=0, zorder=1.5))
    style = "-" if fix.sure else (0, (6, 3))
    axes.plot(*np.array([site.origin, site.origin + reach * site.towards(fix.angle)]).T, color=colour, lw=1.4, ls=style, zorder=3.5)


def _frame(fig: Figure, axes: Axes, points: NDArray[np.float64]) -> float:
    """Equal scales, everything inside, the panel filled; returns its diagonal, m."""
    low, high = points.min(0), np.maximum(points.max(0), points.min(0) + 1.0)
    room = 0.09 * max(high - low)
    low, high = low - room, high + room
    width, tall = fig.get_size_inches() * np.array([axes.get_position().width, axes.get_position().height])
    scale = max((high[0] - low[0]) / width, (high[1] - low[1]) / tall)
    middle = (low + high) / 2
    half = 0.5 * scale * np.array([width, tall])
    axes.set_xlim(middle[0] - half[0], middle[0] + half[0])
    axes.set_ylim(middle[1] - half[1], middle[1] + half[1])
    return 2.0 * float(np.linalg.norm(half))


def _legend(fig: Any, told: dict[str, Bearing], top: float) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    rows: dict[str, Any] = {
        "user of a base station": Line2D([], [], color=look.SOFT, lw=0.7, ls=(0, (5, 3)), marker="o", ms=6, mfc=look.INK, mec=look.INK),
        "target as known before": Line2D([], [], ls="none", marker="o", ms=9, mfc="none", mec=look.SOFT),
    }
    if any(fix.surveyed is not None for fix in told.values()):
        rows["surveyed when heard"] = Line2D([], [], ls="none", marker="x", ms=7, mew=1.6, color=look.INK)
    for fix in told.values():
        name = f"heard, {look.short(fix.designer)}" if fix.sure else f"{look.short(fix.designer)}, below threshold"
        line = Line2D([], [], color=look.hue(fix.designer), lw=1.4, ls="-" if fix.sure else (0, (4, 2)))
        rows.setdefault(name, (Patch(facecolor=look.hue(fix.designer), alpha=0.2), line))
    fig.legend(list(rows.values()), list(rows), loc="upper left", bbox_to_anchor=(0.005, top), ncols=4, columnspacing=1.1, handletextpad=0.5,
               borderaxespad=0.0, fontsize=8)  # fmt: skip
