"""The channel along the rail: was it right to design where no antenna had been?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hil.records import Run
from hil.report import look
from hil.report.facts import Facts, number
from hil.units import wavelength

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PANELS = 4
TRUSTED = 0.85  # of the points in their 95 % region: fewer, and the predictions promise more than they keep
_WITHIN = -np.log(0.05)  # |error|^2 over its variance: 95 % of a complex Gaussian


@dataclass(frozen=True, slots=True)
class Point:
    """Channels at positions sounded after a move: predicted before, measured then."""

    x: NDArray[np.float64]
    predicted: NDArray[np.complex128]
    measured: NDArray[np.complex128]
    variance: NDArray[np.float64]  # of the difference

    @property
    def within(self) -> NDArray[np.bool_]:
        return np.abs(self.measured - self.predicted) ** 2 <= _WITHIN * self.variance


@dataclass(frozen=True, slots=True)
class Rail:
    """One (transmitter, user): the latest prediction along the rail, and every point sounded since the exploring."""

    transmitter: str
    user: str
    arrays: dict[str, NDArray[Any]]
    sounded: Point


def rails(run: Run) -> list[Rail]:
    """Every pair that was mapped, in the order of the run. A point is compared with the prediction made before it was visited."""
    latest: dict[tuple[str, str], dict[str, NDArray[Any]]] = {}
    points: dict[tuple[str, str], list[Point]] = {}
    for _, transmitter, user, arrays in run.fields():
        latest[transmitter, user] = arrays
        if len(arrays.get("sounded", ())):
            points.setdefault((transmitter, user), []).append(_point(arrays))
    return [Rail(*pair, arrays, _joined(points.get(pair, []))) for pair, arrays in latest.items()]


def _point(arrays: dict[str, NDArray[Any]]) -> Point:
    x, grid = arrays["sounded"], arrays["grid"]
    predicted = arrays.get("sounded_predicted")
    if predicted is None:  # between grid points: the slope of the strongest path taken out, what is left is smooth
        slope = steepest(grid, arrays["predicted"])
        predicted = between(grid, arrays["predicted"] * np.exp(-1j * slope * grid), x) * np.exp(1j * slope * x)
    spread = arrays.get("sounded_predicted_variance", np.interp(x, grid, arrays["variance"]))
    return Point(x, predicted, arrays["sounded_value"], spread + arrays.get("sounded_variance", 0.0))


def _joined(points: list[Point]) -> Point:
    if not points:
        return Point(*(np.zeros(0) for _ in range(4)))
    return Point(*(np.concatenate([getattr(point, name) for point in points]) for name in ("x", "predicted", "measured", "variance")))


def between(grid: NDArray[np.float64], values: NDArray[np.complex128], x: NDArray[np.float64]) -> NDArray[np.complex128]:
    """Values at x by the cubic through the four nearest points of an even grid."""
    place = (np.asarray(x) - grid[0]) / (grid[1] - grid[0])
    first = np.clip(np.floor(place).astype(int) - 1, 0, len(grid) - 4)
    u = place - first
    weights = (
        -(u - 1) * (u - 2) * (u - 3) / 6, u * (u - 2) * (u - 3) / 2, -u * (u - 1) * (u - 3) / 2, u * (u - 1) * (u - 2) / 6,
    )  # fmt: skip
    return sum((weight * values[first + step] for step, weight in enumerate(weights)), np.zeros(len(u), complex))


def steepest(x: NDArray[np.float64], values: NDArray[np.complex128]) -> float:
    """Phase slope, rad/m, of the strongest plane wave in values: (point,) on an even grid x."""
    step = float(x[1] - x[0])
    size = 8 * len(x)
    spectrum = np.abs(np.fft.fft(values, size))
    return float(2 * np.pi * np.fft.fftfreq(size, step)[int(np.argmax(spectrum))])


def finding(found: list[Rail]) -> str:
    """How many sounded points the prediction's 95 % region held, and how far off its gain was."""
    within = np.concatenate([rail.sounded.within for rail in found]) if found else np.zeros(0)
    if not len(within):
        return "Channels along the rail were predicted and not yet measured again" if found else "No channel along a rail was predicted"
    off = np.concatenate([_db(rail.sounded.measured) - _db(rail.sounded.predicted) for rail in found])
    verdict = "may be designed on" if np.mean(within) >= TRUSTED else "promise more than they keep"
    held = f"{int(within.sum())} of {len(within)} points sounded after a move lie in the predicted 95 % region"
    return f"{held} ({number(float(np.median(np.abs(off))))} dB off in the median): the predictions {verdict}"


def draw(run: Run, found: Facts) -> tuple[bytes, str] | None:
    """The figure as SVG and its finding; at most four pairs, gain beside phase. None when no channel was predicted."""
    all_pairs = rails(run)
    if not all_pairs:
        return None
    shown = all_pairs[:_PANELS]
    height = 0.95 + 1.62 * len(shown)
    with look.figure(height) as fig:
        says = finding(all_pairs)
        top = look.title(fig, says)
        above, below = 0.22 / height, 0.40 / height
        each = (top - above - below) / len(shown)
        unit = wavelength(float(run.scenario.get("signal", {}).get("carrier_hz", 3.5e9)))
        for index, rail in enumerate(shown):
            base = top - above - each * (index + 1)
            tall = each - 0.30 / height
            gain, phase = fig.add_axes((0.085, base, 0.395, tall)), fig.add_axes((0.585, base, 0.395, tall))
            _gain(gain, rail, unit, look.hue(found.designer))
            _phase(phase, rail, unit, look.hue(found.designer))
            look.panel_title(gain, f"{rail.transmitter} to {rail.user}")
            if index == 0:
                phase.set_title("phase less the strongest path's slope", loc="right", fontsize=8.5, color=look.SOFT, pad=5.0)
            for axes in (gain, phase):
                axes.set_xlim(rail.arrays["grid"][0] / unit * 1.03, rail.arrays["grid"][-1] / unit * 1.03)
                if index == len(shown) - 1:
                    axes.set_xlabel("local x, wavelengths", labelpad=1.0)
                else:
                    axes.set_xticklabels([])
        _legend(fig, found, top)
        return look.svg(fig, "rail"), says


def _gain(axes: Axes, rail: Rail, unit: float, colour: str) -> None:
    arrays = rail.arrays
    size, std = np.abs(arrays["predicted"]), np.sqrt(arrays["variance"] / 2)
    floor = 0.1 * float(np.sqrt(np.mean(size**2)))
    low, high = np.maximum(size - 1.96 * std, 0.5 * floor), size + 1.96 * std
    _band(axes, arrays["grid"] / unit, _db(low), _db(high), _db(np.maximum(size, 0.5 * floor)))
    if "visited" in arrays:
        _visited(axes, arrays["visited"] / unit, _db(arrays["visited_value"]))
    _sounded(axes, rail.sounded, unit, _db(rail.sounded.measured), colour)
    axes.set_ylim(bottom=max(float(_db(np.array(floor))), float(_db(low.min()))) - 1.0)
    axes.set_ylabel("gain, dB", labelpad=2.0)


def _phase(axes: Axes, rail: Rail, unit: float, colour: str) -> None:
    """Less the slope of the strongest path, so that what is left can be read; measured phases are taken next to the predicted one."""
    arrays = rail.arrays
    grid, slope = arrays["grid"], steepest(arrays["grid"], arrays["predicted"])
    flat = arrays["predicted"] * np.exp(-1j * slope * grid)
    curve = np.unwrap(np.angle(flat))
    curve -= 2 * np.pi * np.round(np.median(curve) / (2 * np.pi))
    half = np.minimum(1.96 * np.sqrt(arrays["variance"] / 2) / np.maximum(np.abs(flat), 1e-30), np.pi)
    degrees = np.degrees
    _band(axes, grid / unit, degrees(curve - half), degrees(curve + half), degrees(curve))

    def near(x: NDArray[np.float64], values: NDArray[np.complex128]) -> NDArray[np.float64]:
        beside = np.interp(x, grid, curve)
        return degrees(beside + np.angle(values * np.exp(-1j * (slope * x + beside))))

    if "visited" in arrays:
        _visited(axes, arrays["visited"] / unit, near(arrays["visited"], arrays["visited_value"]))
    _sounded(axes, rail.sounded, unit, near(rail.sounded.x, rail.sounded.measured), colour)
    axes.set_ylabel("phase, deg", labelpad=2.0)


def _band(axes: Axes, x: Any, low: Any, high: Any, middle: Any) -> None:
    axes.fill_between(x, low, high, color=look.SOFT, alpha=0.28, lw=0, zorder=1)
    axes.plot(x, middle, color=look.INK, lw=0.8, zorder=2)


def _visited(axes: Axes, x: Any, y: Any) -> None:
    axes.plot(x, y, ls="none", marker="|", ms=8, mew=1.3, color=look.INK, zorder=3)


def _sounded(axes: Axes, points: Point, unit: float, y: NDArray[np.float64], colour: str) -> None:
    inside = points.within
    axes.plot(points.x[inside] / unit, y[inside], ls="none", marker="o", ms=5.2, mfc=colour, mec="white", mew=0.6, zorder=4)
    axes.plot(points.x[~inside] / unit, y[~inside], ls="none", marker="X", ms=7.0, mfc="white", mec=colour, mew=1.4, zorder=5)


def _legend(fig: Any, found: Facts, top: float) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    colour = look.hue(found.designer)
    handles = [
        ((Patch(facecolor=look.SOFT, alpha=0.3), Line2D([], [], color=look.INK, lw=0.8)), "predicted, 95 %"),
        (Line2D([], [], ls="none", marker="|", ms=8, mew=1.3, color=look.INK), "visited when exploring"),
        (Line2D([], [], ls="none", marker="o", ms=5.2, mfc=colour, mec="white", mew=0.6), "sounded after a move"),
        (Line2D([], [], ls="none", marker="X", ms=7.0, mfc="white", mec=colour, mew=1.4), "outside 95 %"),
    ]
    fig.legend(
        [h for h, _ in handles],
        [label for _, label in handles],
        loc="upper left",
        bbox_to_anchor=(0.06, top + 0.01),
        ncols=4,
        columnspacing=1.8,
        handletextpad=0.5,
        borderaxespad=0.0,
    )


def _db(values: NDArray[Any]) -> NDArray[np.float64]:
    return 20.0 * np.log10(np.maximum(np.abs(values), 1e-30))
