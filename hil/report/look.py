"""How every figure looks: hue says who designed, the line says which number, so that it survives colour-blindness and greyscale print."""

from __future__ import annotations

import io
import math
import re
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 7.1  # inches: A4 portrait less its margins
INK, SOFT, FAINT, BOUND = "#222222", "#666666", "#d9d9d9", "#8a8a8a"
HUES = {  # Okabe and Ito
    "robust": "#0072B2",
    "nominal": "#E69F00",
    "sparse": "#009E73",
    "fixed": "#CC79A7",
    "fixed-rzf": "#CC79A7",
    "learned": "#D55E00",
    "comp-blp": "#0072B2",
    "comp-slp": "#0072B2",
    "cbf-blp": "#009E73",
    "cbf-slp": "#009E73",
    "nominal-comp-blp": "#E69F00",
    "nominal-comp-slp": "#E69F00",
    "nominal-cbf-blp": "#CC79A7",
    "nominal-cbf-slp": "#CC79A7",
}
_OTHER_HUES = ("#56B4E9", "#D55E00", "#7A5C00", "#000000")
MARKERS = {"robust": "o", "nominal": "D", "sparse": "^", "fixed": "s", "fixed-rzf": "s", "learned": "v",
           "comp-blp": "o", "comp-slp": "o", "cbf-blp": "^", "cbf-slp": "^", "nominal-comp-blp": "D", "nominal-comp-slp": "D",
           "nominal-cbf-blp": "s", "nominal-cbf-slp": "s"}  # fmt: skip
HOLLOW = {"fixed-rzf", "comp-slp", "cbf-slp", "nominal-comp-slp", "nominal-cbf-slp"}  # another design of the same kind: same hue, open marker

_SETTINGS: dict[str, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.0,
    "axes.labelsize": 9.0,
    "axes.titlesize": 9.0,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.fontsize": 8.5,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#ececec",
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "lines.solid_capstyle": "round",
    "axes.unicode_minus": True,
    "path.simplify": True,
}


def hue(designer: str) -> str:
    """The designer's colour; one's own designer gets one that depends on its name alone."""
    return HUES.get(designer) or _OTHER_HUES[sum(designer.encode()) % len(_OTHER_HUES)]


def short(designer: str) -> str:
    """A designer's name as it fits beside a figure: without its module, 16 letters at most."""
    name = designer.rpartition(":")[2]
    return name if len(name) <= 16 else f"{name[:15]}\N{HORIZONTAL ELLIPSIS}"


def broken(label: str) -> str:
    """A designer's name under a figure, over two lines where it is long."""
    return label.replace("nominal-", "nominal-\n", 1)


def marker(designer: str) -> dict[str, Any]:
    """Marker of measured values, as matplotlib keywords."""
    face = "white" if designer in HOLLOW else hue(designer)
    return {"marker": MARKERS.get(designer, "P"), "markerfacecolor": face, "markeredgecolor": hue(designer), "markeredgewidth": 1.2}


def logarithmic(axes: Axes, which: str, low: float, high: float) -> None:
    """A logarithmic x or y axis from low to high with ticks as 0.1, 0.2, 0.5, not as powers of ten, and few enough to be read."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    axis = axes.xaxis if which == "x" else axes.yaxis
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    decades = math.log10(high / low)
    steps = (1.0, 2.0, 5.0) if decades < 1.8 else (1.0,)
    every = 1 if decades < 4.5 else math.ceil(decades / 4.0)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    axis.set_major_locator(FixedLocator([step * 10.0**power for power in powers if power % every == 0 for step in steps]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())
    (axes.set_xlim if which == "x" else axes.set_ylim)(low, high)


@contextmanager
def figure(height: float) -> Iterator[Figure]:
    """A figure of full width in this look. matplotlib is imported here and nowhere earlier; no window, no global state."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_SETTINGS):
        yield Figure(figsize=(WIDTH, height))


def title(fig: Figure, text: str) -> float:
    """Writes the finding above everything, wrapped; returns how far down it reaches, as a fraction of the height."""
    lines = textwrap.wrap(re.sub(r"(\d) (?=(?:dB|mm|m|s|ms|Hz|ppm|rad|\N{MICRO SIGN}m)\b|%)", "\\1\N{NO-BREAK SPACE}", text), 78)
    height = fig.get_size_inches()[1]
    fig.text(0.012, 1.0 - 0.06 / height, "\n".join(lines), ha="left", va="top", fontsize=10.0, fontweight="bold", linespacing=1.25)
    return 1.0 - (0.10 + 0.19 * len(lines)) / height


def panel_title(axes: Axes, text: str) -> None:
    axes.set_title(text, loc="left", fontsize=9.0, fontweight="bold", pad=5.0)


def svg(fig: Figure, name: str) -> bytes:
    """The figure as SVG. Text stays text, ids carry the figure's name (figures share one page), numbers end at a hundredth of a point."""
    import matplotlib

    buffer = io.BytesIO()
    with matplotlib.rc_context(_SETTINGS | {"svg.hashsalt": f"hil-{name}"}):
        fig.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Title": name})
    text = buffer.getvalue().decode()
    text = re.sub(r'id="([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r'(href="#|url\(#)([^")]+)', rf"\1{name}-\2", text)
    text = re.sub(r"<[^>]+>", lambda tag: _LONG.sub(_shorter, tag.group()), text)  # in tags only: what is written stays as it is
    text = re.sub(r"'DejaVu Sans'(, [^;\"]*)?", FONTS.replace('"', "'"), text)
    return text.encode()


_LONG = re.compile(r"-?\d+\.\d{3,}")


def _shorter(number: re.Match[str]) -> str:
    return f"{float(number.group()):.2f}".rstrip("0").rstrip(".")


FONTS = "system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif"


def spread(wanted: list[float], gap: float) -> list[float]:
    """Label heights near the wanted ones, in the same order, at least `gap` apart."""
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    groups: list[list[int]] = []
    heights = list(wanted)
    for index in order:
        groups.append([index])
        while len(groups) > 1:
            lower, upper = groups[-2], groups[-1]
            if _centre(upper, wanted) - _centre(lower, wanted) >= gap * (len(lower) + len(upper)) / 2:
                break
            groups[-2:] = [lower + upper]
    for group in groups:
        middle = _centre(group, wanted)
        for place, index in enumerate(group):
            heights[index] = middle + (place - (len(group) - 1) / 2) * gap
    return heights


def _centre(group: list[int], wanted: list[float]) -> float:
    return sum(wanted[index] for index in group) / len(group)
