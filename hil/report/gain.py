"""Where the gain comes from: a waterfall from the half-wave array to the final design, and what is left to the bound."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from hil.records import Run
from hil.report import look
from hil.report.facts import NONE, Facts, Round, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ORDER = ("fixed-rzf", "fixed", "sparse")
_BASE = {"fixed-rzf": "half-wave array,\nregularised\nzero forcing", "fixed": "half-wave array", "sparse": "sparse array"}
_STEP = {"fixed": "better\nprecoder", "sparse": "wider array,\nno motor"}
_WORDS = {"fixed": "a better precoder", "sparse": "a wider array", "motion": "motion", "both": "a wider array with motion"}


@dataclass(frozen=True, slots=True)
class Step:
    """One bar. kind: total, step, price or left (to the bound). start, to: dB of the worst user. half: of the 95 % interval of to - start."""

    kind: str
    label: str
    designer: str
    start: float
    to: float
    half: float = NONE
    words: str = ""

    @property
    def gain(self) -> float:
        return self.to - self.start

    @property
    def clear(self) -> bool:
        """Whether the noise of both measurements cannot explain it."""
        return math.isnan(self.half) or abs(self.gain) > self.half


def waterfall(found: Facts) -> list[Step]:
    """Bars from left to right; [] when nothing was measured. Each step is the difference of two measurements of this run."""
    entries = [entry for entry in map(found.last, _ORDER) if entry is not None and entry.designer != found.designer]
    final = found.final
    chain = [*entries, final] if final is not None else entries
    if not chain:
        return []
    bars = [Step("total", _BASE.get(chain[0].designer, look.short(chain[0].designer)), chain[0].designer, NONE, chain[0].measured)]
    for before, after in pairwise(chain):
        which = after.designer if after is not final else "motion" if before.designer == "sparse" else "both"
        label = _STEP.get(which, "motion" if which == "motion" else "wider array\nand motion")
        bars.append(Step("step", label, after.designer, before.measured, after.measured, _half(before, after), _WORDS[which]))
    if final is not None and len(chain) > 1:
        bars.append(Step("total", f"{look.short(final.designer)},\nmeasured", final.designer, NONE, final.measured))
    if final is not None:
        bars += _beyond(found, final)
    return bars


def _beyond(found: Facts, final: Round) -> list[Step]:
    """What robustness cost, where the run holds a nominal design too, and what is left to the loose bound on what can be measured.

    The tight bound at the final positions is one on promises, which lie below what is measured: page Promise shows it.
    """
    bars = []
    other = found.last("nominal") if final.designer != "nominal" else None
    if other is not None:
        label = "price of\nrobustness" if other.measured >= final.measured else "lost by not\nbeing robust"
        bars.append(Step("price", label, "nominal", final.measured, other.measured, _half(final, other), "robustness"))
    if final.bound_anywhere > final.measured:
        bars.append(Step("left", "left to the bound\nat any positions", "", final.measured, final.bound_anywhere))
    return bars


def _half(one: Round, other: Round) -> float:
    return 1.96 * math.hypot(one.std, other.std)


def finding(bars: list[Step]) -> str:
    steps = [bar for bar in bars if bar.kind == "step"]
    if not steps:
        return "No baseline was measured in this run: nothing to split" if bars else "No round was measured"
    said = []
    for bar in steps:
        verb = "brings" if bar.gain > 0 else "costs"
        said.append(f"{bar.words} {verb} {number(abs(bar.gain))} dB{'' if bar.clear else ' (within noise)'}")
    text = ", ".join(said[:-1]) + " and " * (len(said) > 1) + said[-1]
    price = next((bar for bar in bars if bar.kind == "price"), None)
    if price is not None:
        text += f"; robustness {'costs' if price.gain >= 0 else 'gains'} {number(abs(price.gain))} dB{'' if price.clear else ' (within noise)'}"
    left = next((bar for bar in bars if bar.kind == "left"), None)
    if left is not None:
        text += f"; no design at any positions brings more than another {number(left.gain)} dB"
    return text[:1].upper() + text[1:]


def draw(run: Run, found: Facts) -> tuple[bytes, str] | None:
    """The figure as SVG and its finding."""
    bars = waterfall(found)
    if not bars:
        return None
    with look.figure(3.9) as fig:
        says = finding(bars)
        top = look.title(fig, says)
        axes = fig.add_axes((0.075, 0.175, 0.915, top - 0.205))
        values = [value for bar in bars for value in (bar.start, bar.to) if not math.isnan(value)]
        room = max(max(values) - min(values), 1.0)
        floor = min(values) - 0.35 * room
        for place, bar in enumerate(bars):
            _bar(axes, place, bar, floor, room)
            if place + 1 < len(bars):
                axes.plot([place + 0.36, place + 0.64], [bar.to if bar.kind != "price" else bar.start] * 2, color=look.SOFT, lw=0.8, zorder=2)
        axes.set_xticks(range(len(bars)), [bar.label for bar in bars])
        axes.tick_params(axis="x", length=0)
        axes.set_xlim(-0.55, len(bars) - 0.45)
        axes.set_ylim(floor, max(values) + 0.2 * room)
        axes.set_ylabel("SINR of the worst user, dB")
        axes.grid(axis="x", visible=False)
        return look.svg(fig, "gain"), says


def _bar(axes: Axes, place: int, bar: Step, floor: float, room: float) -> None:
    """Totals solid, steps pale with an edge, the price hatched, what is left dotted: told apart without colour."""
    colour = look.BOUND if bar.kind == "left" else look.hue(bar.designer)
    low, high = (floor, bar.to) if bar.kind == "total" else sorted((bar.start, bar.to))
    style = {
        "total": {"facecolor": colour, "edgecolor": colour},
        "step": {"facecolor": (*_rgb(colour), 0.35), "edgecolor": colour},
        "price": {"facecolor": "white", "edgecolor": colour, "hatch": "////"},
        "left": {"facecolor": "white", "edgecolor": colour, "linestyle": (0, (1, 1.3))},
    }[bar.kind]
    axes.bar(place, high - low, 0.72, bottom=low, linewidth=1.4, zorder=3, **style)
    if bar.kind == "total":
        text = f"{number(bar.to)} dB"
    else:
        text = f"{'+' if bar.gain >= 0 else ''}{number(bar.gain)} dB"
        if not math.isnan(bar.half):
            text += f"\n\N{PLUS-MINUS SIGN} {number(bar.half, 2)}"
    axes.text(place, high + 0.02 * room, text, ha="center", va="bottom", fontweight="bold", fontsize=8.5, linespacing=1.2, zorder=5)


def _rgb(colour: str) -> tuple[float, float, float]:
    import matplotlib.colors

    return matplotlib.colors.to_rgb(colour)
