"""How far the clocks are apart and how fast that changes: carrier offset of each link over the run, and what its track expected."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from hil.records import Run
from hil.report import look
from hil.report.facts import Facts, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RADIAN = 0.1  # of phase: a push is coherent while it stands
MOST_LINKS = 12  # panels


@dataclass(frozen=True, slots=True)
class Reading:
    """One estimate of a link's carrier offset. at: s on the run's clock; hertz, std: Hz."""

    at: float
    hertz: float
    std: float
    designer: str
    sure: bool


def tracks(run: Run, *of: str) -> dict[str, list[Reading]]:
    """link -> readings in the order of the run, or what was expected of them: of "clock track"."""
    found: dict[str, list[Reading]] = {}
    for event in run.of("estimated"):
        if event["what"] in (of or ("carrier offset", "carrier")) and event.get("unit") == "Hz" and event.get("value") is not None:
            value, std = (float(np.ravel(np.array(event.get(key) or 0.0, dtype=float))[0]) for key in ("value", "std"))
            sure = event.get("above_threshold") is not False
            found.setdefault(event["of"], []).append(Reading(float(event["t"]), value, std, str(event.get("designer") or ""), sure))
    return found


def coherent(readings: list[Reading]) -> float:
    """Seconds until the phase error of the last reading has a standard deviation of RADIAN, its own and that of the wander since.

    The wander is taken for a random walk of frequency, q Hz per root second as the readings differ: after t seconds the phase is off by
    2 pi sqrt(std^2 t^2 + q^2 t^3/3). Infinite where neither is known.
    """
    pairs = [(later.hertz - one.hertz, later.at - one.at) for one, later in pairwise(readings) if later.at > one.at]
    walk = float(np.mean([step**2 / apart for step, apart in pairs])) if pairs else 0.0
    times = np.logspace(-5, 5, 4001)
    phase = 2.0 * np.pi * np.sqrt(readings[-1].std ** 2 * times**2 + walk * times**3 / 3.0)
    return float(times[np.searchsorted(phase, RADIAN)]) if phase[-1] > RADIAN else math.inf


def finding(found: dict[str, list[Reading]], carrier: float) -> str:
    apart = {link: abs(np.mean([one.hertz for one in readings])) / carrier * 1e6 for link, readings in found.items()}
    far = max(apart, key=lambda link: apart[link])
    text = f"Clocks are up to {number(apart[far], 2)} ppm apart ({far})"
    spans = {link: max(one.hertz for one in readings) - min(one.hertz for one in readings) for link, readings in found.items()}
    most = max(spans, key=lambda link: spans[link])
    if len(found[most]) > 1:
        text += f" and moved by up to {number(spans[most])} Hz during the run ({most})"
    least = min(map(coherent, found.values()))
    return text if math.isinf(least) else text + f"; at that pace phase keeps within {RADIAN:g} rad for {_seconds(least)}"


def draw(run: Run, found: Facts) -> tuple[bytes, str] | None:
    """The figure as SVG and its finding; a panel per link, twelve at most. None when no offset was recorded."""
    every = tracks(run)
    if not every:
        return None
    carrier = float(run.scenario.get("signal", {}).get("carrier_hz", 3.5e9))
    shown = list(every.items())[:MOST_LINKS]
    expected = tracks(run, "clock track")
    narrow = len(shown) > 4
    columns = 3 if narrow else len(shown)
    lines = -(-len(shown) // columns)
    foot, head = 0.437, 0.39 if narrow else 0.253  # inches below and above a panel
    height = 2.3 if not narrow else 0.55 + 1.55 * lines
    with look.figure(height) as fig:
        says = finding(every, carrier)
        top = look.title(fig, says)
        wide, each = 0.915 / columns, (top * height - 0.13 * narrow) / lines
        for place, (link, readings) in enumerate(shown):
            line, column = divmod(place, columns)
            bottom = (lines - 1 - line) * each + foot
            axes = fig.add_axes((0.085 + column * wide, bottom / height, wide - 0.055, (each - foot - head) / height))
            _track(axes, readings, expected.get(link, []))
            middle = float(np.mean([one.hertz for one in readings]))
            apart = "\n" if narrow else " "
            look.panel_title(axes, f"{link}:{apart}{number(middle)} Hz, {number(middle / carrier * 1e6, 3)} ppm")
            if line == lines - 1 or place + columns >= len(shown):
                grey = "; grey: where its track expected it, 95 %" if not narrow and link in expected and column == 0 else ""
                axes.set_xlabel("s on the run's clock" + grey, labelpad=1.0)
            if column == 0:
                axes.set_ylabel("Hz off the mean")
        return look.svg(fig, "clocks"), says


def _track(axes: Axes, readings: list[Reading], expected: list[Reading]) -> None:
    """With 95 % bars, mostly smaller than the marker; below threshold hollow. Behind each, where the track expected it, 95 %."""
    middle = float(np.mean([one.hertz for one in readings]))
    for one in expected:
        axes.errorbar([one.at], [one.hertz - middle], yerr=[1.96 * one.std], color=look.FAINT, elinewidth=5.0, fmt="_", ms=5, zorder=1)
    axes.plot([one.at for one in readings], [one.hertz - middle for one in readings], color=look.SOFT, lw=0.8, zorder=2)
    for one in readings:
        shape = look.marker(one.designer) | ({} if one.sure else {"markerfacecolor": "white"})
        axes.errorbar(
            [one.at], [one.hertz - middle], yerr=[1.96 * one.std], color=look.hue(one.designer), ms=5, elinewidth=1.2, capsize=2.5, zorder=3, **shape
        )
    axes.margins(x=0.08, y=0.2)


def _seconds(value: float) -> str:
    return f"{number(1e3 * value, 0)} ms" if value < 1.0 else f"{number(value)} s"
