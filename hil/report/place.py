"""Where things stood: the plan view, and along each rail which positions were visited, compared, designed and reached."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hil.records import Run
from hil.report import look
from hil.report.facts import Facts, number
from hil.report.target import CHI2_95, Fix, ellipse, fixes
from hil.units import wavelength

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_ROWS = 6  # rounds shown on a rail; the first, the last and some between


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a rail: positions in metres of local x. asked is None where nothing was asked (visits)."""

    label: str
    designer: str
    asked: NDArray[np.float64] | None
    reached: NDArray[np.float64]


def rows_of(run: Run, found: Facts, index: int) -> list[Row]:
    """The lines of one transmitter's rail, bottom up: visited, baselines (equal ones on one line), rounds."""
    rows: list[Row] = []
    visits = [np.asarray(event["reached"][index]) for event in run.of("placed", purpose="explore") if len(event["reached"]) > index]
    if visits:
        rows.append(Row("visited", "", None, np.unique(np.round(np.concatenate(visits), 4))))
    rounds: list[Row] = []
    for event in run.of("placed", purpose="design"):
        if len(event["reached"]) <= index:
            continue
        asked, reached = np.asarray(event["asked"][index], float), np.asarray(event["reached"][index], float)
        designer = event.get("designer", "")
        if event["round"]:
            named = "" if designer == found.designer else f" {look.short(designer)}"
            rounds.append(Row(f"round {event['round']}{named}", designer, asked, reached))
            continue
        same = [
            i
            for i, row in enumerate(rows)
            if row.asked is not None and row.asked.shape == asked.shape and np.allclose(row.asked, asked, atol=1e-4)
        ]
        if same:
            rows[same[0]] = Row(f"{rows[same[0]].label}, {look.short(designer)}", rows[same[0]].designer, asked, reached)
        else:
            rows.append(Row(look.short(designer), designer, asked, reached))
    if len(rounds) > _MOST_ROWS:
        rounds = [rounds[i] for i in sorted(set(np.linspace(0, len(rounds) - 1, _MOST_ROWS).round().astype(int)))]
    return rows + rounds


def fixes_of(run: Run, designer: str) -> list[Fix]:
    """Target fixes of the rounds of one designer, oldest first."""
    return [fix for fix in fixes(run) if fix.designer in (designer, "")]


def finding(run: Run, found: Facts) -> str:
    """What the places say: how far the final elements spread, how well they were reached, where the target is."""
    parts = []
    last = [event for event in run.of("placed", purpose="design") if event.get("designer") == found.designer and event["round"]]
    if last:
        spans = " and ".join(number(float(np.ptp(row)) / _wavelength(run)) for row in np.asarray(last[-1]["reached"], float))
        off = _length(max(float(np.abs(np.subtract(event["reached"], event["asked"])).max()) for event in last))
        parts.append(f"the elements ended spread over {spans} wavelengths, each round within {off} of its design")
    fixed = fixes_of(run, found.designer)
    if fixed:
        final = fixed[-1]
        bound = "" if math.isnan(final.crlb) else f" (bound {number(final.crlb, 2)} m)"
        parts.append(f"the target was fixed{bound}" if math.isnan(final.error) else f"the target's fix is {number(final.error, 2)} m off{bound}")
    text = "; ".join(parts)
    return text[:1].upper() + text[1:] if text else "No elements were moved and no target was fixed"


def draw(run: Run, found: Facts) -> tuple[bytes, str]:
    """The figure as SVG and its finding."""
    arrays = run.scenario.get("array", [])
    rails = [array for array in arrays if array.get("role") == "transmit"]
    tables = [rows_of(run, found, index) for index in range(len(rails))]
    deep = max([len(rows) for rows in tables], default=0)
    below = 0.95 + 0.21 * deep if deep else 0.0
    plan = 3.7
    height = 0.55 + plan + below * math.ceil(len(rails) / 2)
    with look.figure(height) as fig:
        says = finding(run, found)
        top = look.title(fig, says)
        bottom = (below * math.ceil(len(rails) / 2) + 0.42) / height if deep else 0.5 / height
        _plan(fig.add_axes((0.09, bottom, 0.90, top - bottom - 0.02)), run, found, arrays)
        for index, (array, rows) in enumerate(zip(rails, tables)):
            if rows:
                line, column = divmod(index, 2)
                base = (below * (math.ceil(len(rails) / 2) - 1 - line) + 0.42) / height
                axes = fig.add_axes((0.148 + 0.5 * column, base, 0.345, (below - 0.80) / height))
                _rail(axes, run, array, rows)
        return look.svg(fig, "place"), says


def _plan(axes: Axes, run: Run, found: Facts, arrays: list[dict[str, Any]]) -> None:
    points: list[tuple[float, float]] = []
    for index, array in enumerate(arrays):
        origin, axis = np.array(array["origin_m"]), np.array(array.get("axis", (1.0, 0.0, 0.0)))
        transmits = array.get("role") == "transmit"
        half = 0.5 * float(array.get("travel_wavelengths", 0.0)) * _wavelength(run)
        ends = np.array([origin - half * axis, origin + half * axis])
        axes.plot(ends[:, 0], ends[:, 1], color=look.INK, lw=4.0, solid_capstyle="butt", zorder=4)
        axes.plot(*origin[:2], marker="s" if transmits else "D", ms=8, mfc="white", mec=look.INK, mew=1.4, zorder=5)
        _name(axes, origin, array["name"], "transmits, moves" if transmits else "listens")
        points += [tuple(end[:2]) for end in ends]
        users = run.scenario.get("user", [])
        if transmits and index < len(users):  # access point u serves user u
            to = users[index]["position_m"]
            axes.plot([origin[0], to[0]], [origin[1], to[1]], color=look.SOFT, lw=0.8, ls=(0, (5, 3)), zorder=2)
    for user in run.scenario.get("user", []):
        axes.plot(*user["position_m"][:2], marker="o", ms=8, mfc=look.INK, mec=look.INK, zorder=5)
        _name(axes, user["position_m"], user["name"], "")
        points.append(tuple(user["position_m"][:2]))
    points += _target(axes, run, found)
    if points:
        _frame(axes, np.array(points))
    for side in (axes.xaxis, axes.yaxis):
        side.get_major_locator().set_params(integer=True, nbins=8)
    axes.set_xlabel("x, m", labelpad=1.0)
    axes.set_ylabel("y, m")


def _target(axes: Axes, run: Run, found: Facts) -> list[tuple[float, float]]:
    """The target: what was known before (dashed), each round's fix (small), the last with its 95 % ellipse."""
    from matplotlib.patches import Ellipse

    target = run.scenario.get("target")
    points: list[tuple[float, float]] = []
    if target:
        x, y = target["position_m"][:2]
        radius = math.sqrt(CHI2_95) * float(target.get("position_std_m", 0.0))
        axes.add_patch(Ellipse((x, y), 2 * radius, 2 * radius, fill=False, ec=look.SOFT, lw=1.0, ls=(0, (4, 2)), zorder=3))
        axes.plot([x], [y], marker="+", ms=8, color=look.SOFT, mew=1.2, zorder=3)
        axes.annotate(
            "target, before the\nfirst echo: 95 %",
            (x + radius * 0.71, y - radius * 0.71),
            xytext=(4, -2),
            textcoords="offset points",
            ha="left",
            va="top",
            color=look.SOFT,
            fontsize=8.5,
        )
        points += [(x - radius, y - radius), (x + radius, y + radius)]
    fixed = fixes_of(run, found.designer)
    if not fixed:
        return points
    colour = look.hue(found.designer)
    track = np.array([fix.place for fix in fixed])
    axes.plot(track[:, 0], track[:, 1], color=colour, lw=0.8, marker="o", ms=3, zorder=5)
    ellipse(axes, fixed[-1], fc=colour, alpha=0.18, lw=0, zorder=4)
    ellipse(axes, fixed[-1], fill=False, ec=colour, lw=1.2, zorder=4)
    axes.plot(*track[-1], marker="*", ms=12, mfc=colour, mec="white", mew=0.8, zorder=6)
    axes.annotate(
        f"fix of round {fixed[-1].round},\nwith 95 %",
        tuple(track[-1]),
        xytext=(14, 4),
        textcoords="offset points",
        color=colour,
        va="bottom",
        fontsize=8.5,
        fontweight="bold",
    )
    return points + [tuple(row) for row in track]


def _rail(axes: Axes, run: Run, array: dict[str, Any], rows: list[Row]) -> None:
    """One rail, in wavelengths from its middle. Hollow: asked; solid: reached; thin lines follow each element from round to round."""
    unit = _wavelength(run)
    half = 0.5 * float(array.get("travel_wavelengths", 8.0))
    for height, row in enumerate(rows):
        axes.plot([-half, half], [height, height], color=look.FAINT, lw=2.0, solid_capstyle="butt", zorder=1)
        if row.asked is None:
            axes.plot(row.reached / unit, np.full(len(row.reached), height), ls="none", marker="|", ms=8, mew=1.1, color=look.INK, zorder=3)
            continue
        colour, shape = look.hue(row.designer), look.MARKERS.get(row.designer, "P")
        axes.plot(
            row.asked / unit, np.full(len(row.asked), height), ls="none", marker=shape, ms=8.5, mfc="white", mec=colour, mew=1.1, zorder=3
        )
        axes.plot(row.reached / unit, np.full(len(row.reached), height), ls="none", marker=shape, ms=4, mfc=colour, mec=colour, zorder=4)
        if height and rows[height - 1].designer == row.designer:
            before = rows[height - 1].reached
            for start, stop in zip(before / unit, row.reached / unit):
                axes.plot([start, stop], [height - 1, height], color=colour, lw=0.7, zorder=2)
    axes.set_yticks(range(len(rows)), [row.label for row in rows])
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_xlim(-half * 1.06, half * 1.06)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("local x, wavelengths", labelpad=1.0)
    look.panel_title(axes, f"{array['name']}: asked hollow, reached solid")


def _name(axes: Axes, at: Any, name: str, what: str) -> None:
    axes.annotate(name, (at[0], at[1]), xytext=(8, 7), textcoords="offset points", fontweight="bold", zorder=7)
    if what:
        axes.annotate(what, (at[0], at[1]), xytext=(8, -3), textcoords="offset points", fontsize=8, color=look.SOFT, va="top", zorder=7)


def _frame(axes: Axes, points: NDArray[np.float64]) -> None:
    """Equal scales, everything inside, the panel filled."""
    low, high = points.min(0), np.maximum(points.max(0), points.min(0) + 1.0)
    low, high = low - 0.09 * max(high - low), high + np.array([0.14, 0.09]) * max(high - low)
    width, tall = axes.get_figure().get_size_inches() * np.array([axes.get_position().width, axes.get_position().height])
    scale = max((high[0] - low[0]) / width, (high[1] - low[1]) / tall)
    middle = (low + high) / 2
    axes.set_xlim(middle[0] - scale * width / 2, middle[0] + scale * width / 2)
    axes.set_ylim(middle[1] - scale * tall / 2, middle[1] + scale * tall / 2)


def _wavelength(run: Run) -> float:
    return wavelength(float(run.scenario.get("signal", {}).get("carrier_hz", 3.5e9)))


def _length(metres: float) -> str:
    return f"{1e3 * metres:.1f} mm" if metres >= 1e-4 else f"{1e6 * metres:.0f} \N{MICRO SIGN}m"
