"""Was the promise kept: round against the worst user's SINR, as promised, predicted, measured and bounded."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from hil.records import Run
from hil.report import look
from hil.report.facts import Facts, Round, number, promise_kept

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HALF = 0.32  # of a round: half a step of the promise


def finding(found: Facts) -> str:
    final = found.final
    if final is None:
        return "No round was measured"
    bounded = not (math.isnan(final.bound) or math.isnan(final.promised))
    distance = f", promised {number(max(0.0, final.bound - final.promised))} dB below the bound" if bounded else ""
    reached = f"{final.designer} reached {number(final.measured)} dB at the worst user{distance}"
    if not found.designed:
        return f"Only baselines were measured: {reached}"
    kept = promise_kept(found)
    return f"{reached}; {kept}"


def draw(run: Run, found: Facts) -> tuple[bytes, str]:
    """The figure as SVG and its finding."""
    with look.figure(4.5) as fig:
        says = finding(found)
        top = look.title(fig, says)
        axes = fig.add_axes((0.075, 0.115, 0.745, top - 0.185))
        baselines = [entry for entry in found.rounds if entry.number == 0]
        share = 1.04 / max(len(baselines), 2)  # of round 0's width, per baseline
        offsets = {entry.designer: (index - (len(baselines) - 1) / 2) * share for index, entry in enumerate(baselines)}
        start = -0.62 if baselines else 0.5
        last = max([entry.number for entry in found.rounds], default=0)
        end = _missing(axes, run, found, last)
        for entry in baselines:
            _marks(axes, [entry], [offsets[entry.designer]], 0.42 * share)
            if end > 0.5 and not math.isnan(entry.measured):  # carried on thinly, to compare the later rounds with
                axes.plot(
                    [offsets[entry.designer], end],
                    [entry.measured] * 2,
                    color=look.hue(entry.designer),
                    lw=0.6,
                    ls=(0, (6, 3)),
                    alpha=0.8,
                    zorder=1,
                )
        for designer in dict.fromkeys(entry.designer for entry in found.designed):
            rounds = [entry for entry in found.designed if entry.designer == designer]
            _marks(axes, rounds, [float(entry.number) for entry in rounds], HALF)
        _broken(axes, found, offsets)
        axes.set_xlim(start, end)
        axes.set_ylim(*_limits(found))
        _labels(axes, found, end)
        every = max(1, -(-last // 20))
        named = [number for number in range(1, last + 1) if number % every == 0]
        axes.set_xticks([0.0] * bool(baselines) + named, ["0\nbaselines"] * bool(baselines) + [str(number) for number in named])
        axes.tick_params(axis="x", length=0)
        axes.set_xlabel("round", labelpad=-4.0 if baselines else 4.0)
        axes.set_ylabel("SINR of the worst user and block, dB")
        axes.grid(axis="x", visible=False)
        if baselines and found.designed:
            axes.axvline(0.6, color=look.FAINT, lw=0.8)
        _legend(axes)
        return look.svg(fig, "promise"), says


def _marks(axes: Axes, rounds: list[Round], at: list[float], half: float) -> None:
    """One designer's rounds: bound dotted grey, promised stepped and shaded to measured, predicted thin, measured solid with 95 % bars."""
    colour = look.hue(rounds[0].designer)
    for entry, x in zip(rounds, at):
        step = [x - half, x + half]
        if not math.isnan(entry.bound):
            axes.plot(
                step, [entry.bound] * 2, color=look.BOUND, lw=1.6, ls=(0, (1, 1.3)), zorder=3.5, solid_capstyle="butt", dash_capstyle="butt"
            )
        if not math.isnan(entry.promised):
            axes.plot(step, [entry.promised] * 2, color=colour, lw=1.8, zorder=3, solid_capstyle="butt")
            if not math.isnan(entry.measured):
                broken = {"hatch": "////", "edgecolor": colour} if entry.kept is False else {}
                axes.fill_between(step, entry.promised, entry.measured, facecolor=colour, alpha=0.16, lw=0, zorder=1, **broken)
    for before, after in zip(range(len(at) - 1), range(1, len(at))):  # risers join the steps of consecutive rounds
        if not math.isnan(rounds[before].promised + rounds[after].promised):
            middle = (at[before] + at[after]) / 2
            xs = [at[before] + half, middle, middle, at[after] - half]
            ys = [rounds[before].promised] * 2 + [rounds[after].promised] * 2
            axes.plot(xs, ys, color=colour, lw=0.9, zorder=2, solid_capstyle="butt")
    axes.plot(at, [entry.predicted for entry in rounds], color=colour, lw=0.8, marker="_", ms=9, mew=1.0, zorder=4)
    bars = [1.96 * entry.std if not math.isnan(entry.std) else 0.0 for entry in rounds]
    measured = [entry.measured for entry in rounds]
    axes.errorbar(
        at, measured, yerr=bars, color=colour, lw=1.8, elinewidth=1.3, capsize=2.5, ms=6, zorder=5, **look.marker(rounds[0].designer)
    )


def _broken(axes: Axes, found: Facts, offsets: dict[str, float]) -> None:
    for entry in found.rounds:
        if entry.kept is False:
            x = offsets.get(entry.designer, 0.0) if entry.number == 0 else float(entry.number)
            axes.annotate(
                f"broken by\n{number(entry.shortfall)} dB",
                (x, entry.measured),
                xytext=(0, -26),
                textcoords="offset points",
                ha="center",
                va="top",
                fontsize=8.5,
                fontweight="bold",
                arrowprops={"arrowstyle": "-|>", "color": look.INK, "lw": 1.0},
                zorder=7,
            )
            axes.plot([x], [entry.measured], marker="x", ms=13, mew=2.0, color=look.INK, zorder=6)


def _missing(axes: Axes, run: Run, found: Facts, last: int) -> float:
    """A grey band where rounds should have been; returns the right end of the axis."""
    end = last + 0.6 if last else 0.75
    if not run.interrupted:
        return end
    wanted = int(run.scenario.get("rounds", {}).get("max", last + 1))
    stop = min(max(wanted, last + 1), last + 2) + 0.6
    axes.axvspan(end - 0.1, stop, color="#e6e6e6", lw=0, zorder=0)
    axes.text(
        (end + stop) / 2,
        0.03,
        "no rounds:\n" + run.ended,
        transform=axes.get_xaxis_transform(),
        ha="center",
        va="bottom",
        color=look.SOFT,
        fontsize=8.5,
    )
    return stop


def _limits(found: Facts) -> tuple[float, float]:
    values = [v for e in found.rounds for v in (e.promised, e.predicted, e.measured, e.bound) if not math.isnan(v)]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    room = max(0.6, 0.08 * (high - low))
    broken = any(entry.kept is False for entry in found.rounds)
    return low - room * (3.0 if broken else 1.0), high + room


def _labels(axes: Axes, found: Facts, end: float) -> None:
    """Names at the right end, at the height of what was measured last."""
    rows = [entry for entry in (found.last(name) for name in dict.fromkeys(e.designer for e in found.rounds)) if entry is not None]
    low, high = axes.get_ylim()
    names = [look.broken(look.short(entry.designer)) for entry in rows]
    heights = look.spread([entry.measured for entry in rows], (0.1 if "\n" in "".join(names) else 0.062) * (high - low))
    for entry, name, height in zip(rows, names, heights):
        text = f"{name} {number(entry.measured)}"
        where = {"xytext": (16, 0), "textcoords": "offset points", "va": "center", "annotation_clip": False}
        axes.annotate(text, (end, height), fontweight="bold", **where)
        axes.plot([end + 9 / 390 * (end - axes.get_xlim()[0])], [height], ms=6, clip_on=False, **look.marker(entry.designer))


def _legend(axes: Axes) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles = [
        ((Patch(facecolor=look.SOFT, alpha=0.22), Line2D([], [], color=look.SOFT, lw=1.8)), "promised, shaded to measured"),
        (Line2D([], [], color=look.SOFT, lw=0.8, marker="_", ms=9), "predicted"),
        (Line2D([], [], color=look.SOFT, lw=1.8, marker="o", ms=6), "measured, 95 %"),
        (Line2D([], [], color=look.BOUND, lw=1.6, ls=(0, (1, 1.3))), "bound on the promise"),
    ]
    axes.legend(
        [handle for handle, _ in handles],
        [label for _, label in handles],
        loc="lower left",
        bbox_to_anchor=(-0.01, 1.0),
        ncols=4,
        columnspacing=1.4,
        handlelength=2.0,
        handletextpad=0.6,
        borderaxespad=0.2,
    )
