"""Did anything come close, and is settling long enough: positions asked and read back over time, gaps, and what was left to go."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hil.records import Run
from hil.report import look
from hil.report.facts import Facts, number
from hil.units import wavelength

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, slots=True)
class Leg:
    """One axis on one move; seconds on the run's clock, metres on the axis. begin: when the last thing before it was over."""

    stage: str
    axis: str
    designer: str
    begin: float
    arrived: float
    start: float
    asked: float
    reached: float
    std: float
    speed: float
    closest: float

    @property
    def off(self) -> float:
        return self.reached - self.asked


@dataclass(frozen=True, slots=True)
class Rules:
    """What a stage must keep, metres; None where the run does not say."""

    tolerance: float | None
    gap: float | None
    what: str  # the gap is kept for


def legs(run: Run) -> list[Leg]:
    """Every `moved` event. A move lasts from the event before it, states of settling left out, to its time less the settling."""
    found, before = [], 0.0
    for event in run.events:
        if event["event"] == "moved":
            at, settle = float(event["t"]), float(event.get("settle") or 0.0)
            begin = min(before, at - settle)
            values = [np.nan if event.get(key) is None else float(event[key]) for key in ("from", "asked", "reached", "std", "peak_speed", "closest")]
            found.append(Leg(event["stage"], event["axis"], str(event.get("designer") or ""), begin, at - settle, *values))
        elif not (event["event"] == "state" and event.get("to") == "settling"):
            before = float(event["t"])
    return found


def rules(run: Run, stage: str) -> Rules:
    """From the run's byte copies of testbed, profile and scenario."""
    tolerance = carriage = None
    inputs = run.about.get("inputs", {})
    if "testbed.toml" in inputs:
        bed = tomllib.loads(run.input("testbed.toml").decode())
        named = next((one.get("profile") for one in bed.get("stage", []) if one.get("name") == stage), None)
        if f"profiles/{named}.toml" in inputs:
            profile = tomllib.loads(run.input(f"profiles/{named}.toml").decode())
            tolerance = profile.get("arrival", {}).get("tolerance_mm")
            carriage = max((axis.get("carriage_mm", 0.0) for axis in profile.get("axis", {}).values()), default=None)
        array = next((wire.get("array") for wire in bed.get("wire", []) if wire.get("stage") == stage), None)
        spacing = _spacing(run, array)
    else:
        spacing = None
    wanted = [(gap, what) for gap, what in ((None if carriage is None else 1e-3 * carriage, "carriage"), (spacing, "spacing")) if gap]
    gap, what = max(wanted, default=(None, ""))
    return Rules(None if tolerance is None else 1e-3 * tolerance, gap, what)


def _spacing(run: Run, array: str | None) -> float | None:
    found = next((one for one in run.scenario.get("array", []) if one.get("name") == array), None)
    if found is None or "min_spacing_wavelengths" not in found:
        return None
    return float(found["min_spacing_wavelengths"]) * wavelength(float(run.scenario.get("signal", {}).get("carrier_hz", 3.5e9)))


def finding(run: Run, found: list[Leg]) -> str:
    gone = sum(abs(leg.reached - leg.start) for leg in found)
    off = max(abs(leg.off) for leg in found)
    limits = {stage: rules(run, stage) for stage in dict.fromkeys(leg.stage for leg in found)}
    tolerance = min((rule.tolerance for rule in limits.values() if rule.tolerance is not None), default=None)
    text = f"{len(found)} moves of an axis over {number(gone)} m in all, each ended within {_length(off)} of where it was asked to"
    if tolerance is not None:
        text += f" ({_length(tolerance)} allowed)" if off <= tolerance else f": MORE than the {_length(tolerance)} allowed"
    near = min(found, key=lambda leg: np.inf if np.isnan(leg.closest) else leg.closest)
    if not np.isnan(near.closest):
        text += f"; the smallest gap was {1e3 * near.closest:.1f} mm on {near.stage}"
        rule = limits[near.stage]
        if rule.gap is not None:
            slack = rule.tolerance or 0.0  # two neighbours may each stand half of it off
            held = "is kept for" if near.closest >= rule.gap - slack else "SHOULD be kept for"
            text += f", {1e3 * rule.gap:.1f} mm {held} {'the spacing' if rule.what == 'spacing' else 'the carriages'}"
    return text


def draw(run: Run, found: Facts) -> tuple[bytes, str] | None:
    """The figure as SVG and its finding; None when nothing moved. A column per stage, three at most."""
    moves = legs(run)
    if not moves:
        return None
    stages = list(dict.fromkeys(leg.stage for leg in moves))[:3]
    with look.figure(5.3) as fig:
        says = finding(run, moves)
        top = look.title(fig, says) - 0.085
        bottom, between = 0.085, 0.045
        tall = top - bottom - 2 * between
        shares = (0.54, 0.23, 0.23)
        span = (min(leg.begin for leg in moves), max(leg.arrived for leg in moves))
        limits = _limits(run, moves)
        for column, stage in enumerate(stages):
            mine, rule = [leg for leg in moves if leg.stage == stage], rules(run, stage)
            left, width = 0.08 + column * 0.92 / len(stages), 0.92 / len(stages) - 0.045
            high = top
            for row, (share, panel) in enumerate(zip(shares, (_positions, _gaps, _arrivals))):
                axes = fig.add_axes((left, high - share * tall, width, share * tall))
                high -= share * tall + between
                axes.set_ylim(*limits[row])
                panel(axes, mine, rule)
                axes.set_xlim(span[0] - 0.02 * (span[1] - span[0]), span[1] + 0.06 * (span[1] - span[0]))
                if row == 0:
                    look.panel_title(axes, f"{stage}: asked hollow, read back solid")
                if row < 2:
                    axes.set_xticklabels([])
                if column:
                    axes.set_ylabel("")
                    axes.set_yticklabels([])
            axes.set_xlabel("s on the run's clock", labelpad=1.0)
        _legend(fig, moves, top)
        return look.svg(fig, "motion"), says


def _limits(run: Run, moves: list[Leg]) -> tuple[tuple[float, float], ...]:
    """The three rows' vertical limits, the same for every stage: mm, mm, micrometres."""
    places = 1e3 * np.array([value for leg in moves for value in (leg.start, leg.asked, leg.reached)])
    room = 0.07 * max(float(np.ptp(places)), 1.0)
    gaps = [1e3 * leg.closest for leg in moves if not np.isnan(leg.closest)]
    off = [abs(1e6 * leg.off) + 1.96e6 * float(np.nan_to_num(leg.std)) for leg in moves]
    tolerated = [1e6 * rule.tolerance for rule in (rules(run, leg.stage) for leg in {leg.stage: leg for leg in moves}.values()) if rule.tolerance]
    most = 1.1 * max([1.0, *off, *tolerated])
    return (float(places.min()) - room, float(places.max()) + room), (0.0, 1.15 * max(gaps, default=1.0)), (-most, most)


def _positions(axes: Axes, moves: list[Leg], rule: Rules) -> None:
    """Drawn straight from start to arrival, then standing; each axis named at its end."""
    for axis in dict.fromkeys(leg.axis for leg in moves):
        mine = [leg for leg in moves if leg.axis == axis]
        for leg, later in zip(mine, [*mine[1:], mine[-1]]):
            places = 1e3 * np.array([leg.start, leg.reached, leg.reached])
            axes.plot([leg.begin, leg.arrived, max(leg.arrived, later.begin)], places, color=_colour(leg), lw=1.1, zorder=2)
    for colour in dict.fromkeys(map(_colour, moves)):
        mine = [leg for leg in moves if _colour(leg) == colour]
        at = [leg.arrived for leg in mine]
        axes.plot(at, [1e3 * leg.asked for leg in mine], ls="none", marker="o", ms=5.5, mfc="white", mec=colour, mew=1.0, zorder=3)
        axes.plot(at, [1e3 * leg.reached for leg in mine], ls="none", marker="o", ms=2.6, color=colour, zorder=4)
    ends = list({leg.axis: leg for leg in moves}.values())
    low, high = axes.get_ylim()
    for leg, height in zip(ends, look.spread([1e3 * leg.reached for leg in ends], 0.055 * (high - low))):
        axes.annotate(leg.axis, (leg.arrived, height), xytext=(6, 0), textcoords="offset points", va="center", fontweight="bold")
    axes.set_ylabel("on the axis, mm", labelpad=2.0)


def _gaps(axes: Axes, moves: list[Leg], rule: Rules) -> None:
    once = {(leg.arrived, leg.closest): leg for leg in moves}.values()  # one gap per move of a stage
    for leg in once:
        axes.plot([leg.arrived], [1e3 * leg.closest], ls="none", marker="v", ms=5, color=_colour(leg), zorder=3)
    if rule.gap is not None:
        axes.axhline(1e3 * rule.gap, color=look.BOUND, lw=1.4, ls=(0, (1, 1.3)), zorder=2)
        axes.annotate(f"{rule.what} {1e3 * rule.gap:.1f} mm", (0.99, 1e3 * rule.gap), xycoords=("axes fraction", "data"), xytext=(0, -2),
                      textcoords="offset points", ha="right", va="top", fontsize=8, color=look.SOFT)  # fmt: skip
    axes.set_ylabel("gap, mm", labelpad=2.0)


def _arrivals(axes: Axes, moves: list[Leg], rule: Rules) -> None:
    """What was left to go after settling, with 95 % of the read-back's own uncertainty."""
    for colour in dict.fromkeys(map(_colour, moves)):
        mine = [leg for leg in moves if _colour(leg) == colour]
        bars = 1.96e6 * np.nan_to_num([leg.std for leg in mine])
        axes.errorbar([leg.arrived for leg in mine], [1e6 * leg.off for leg in mine], yerr=bars, color=colour, ls="none", marker="o", ms=3,
                      elinewidth=0.8, capsize=0, zorder=3)  # fmt: skip
    if rule.tolerance is not None:
        axes.axhspan(-1e6 * rule.tolerance, 1e6 * rule.tolerance, color=look.FAINT, alpha=0.45, lw=0, zorder=0)
        axes.annotate("tolerated", (0.99, 1e6 * rule.tolerance), xycoords=("axes fraction", "data"), xytext=(0, -2), textcoords="offset points",
                      ha="right", va="top", fontsize=8, color=look.SOFT)  # fmt: skip
    axes.set_ylabel("off, \N{MICRO SIGN}m", labelpad=2.0)


def _colour(leg: Leg) -> str:
    return look.hue(leg.designer) if leg.designer else look.SOFT


def _legend(fig: Any, moves: list[Leg], top: float) -> None:
    from matplotlib.lines import Line2D

    names = {look.short(leg.designer) or "exploring": Line2D([], [], color=_colour(leg), lw=2.0, marker="o", ms=4) for leg in moves}
    fig.legend(list(names.values()), list(names), loc="upper left", bbox_to_anchor=(0.06, top + 0.085), ncols=6, columnspacing=1.4, handletextpad=0.4,
               borderaxespad=0.0)  # fmt: skip


def _length(metres: float) -> str:
    return f"{1e3 * metres:.2f} mm" if metres >= 1e-4 else f"{1e6 * metres:.0f} \N{MICRO SIGN}m"
