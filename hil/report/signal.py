"""Is the waveform clean: spectra of what the users received, SINR across the band, and constellations after the loop's equalisation."""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hil.records import Run
from hil.report import look
from hil.report.facts import NONE, Facts, number
from hil.report.spectrum import Spectrum, band, decibels, of_capture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_USERS = 12
_MHZ = ("MHz from the carrier", "MHz")
_COLUMNS = 6  # users side by side; above _WIDE of them panels are small and say less
_WIDE = 3
EVM = (
    "EVM: rms error over rms reference of the payload's known symbols (data-aided), after one complex gain per tone, fitted over the whole "
    "payload, and each symbol's common phase; nothing else is equalised."
)
EVM_SINGLE = (
    "EVM: rms error over rms reference of the payload's known symbols (data-aided), after one complex gain for the whole payload. A symbol-level "
    "design moves symbols deeper into their regions on purpose: its EVM says nothing of errors."
)


@dataclass(frozen=True, slots=True, eq=False)
class Heard:
    """What one user received of one design. acpr, floor: dB re the used band, (below, above): of the capture, and of silence alone."""

    user: str
    designer: str
    round: int
    spectrum: Spectrum | None
    silence: Spectrum | None
    level: float  # dBm (dBFS) in the used band
    acpr: tuple[float, float]
    floor: tuple[float, float]
    clipped: float
    event: dict[str, Any]

    @property
    def evm(self) -> float:
        return NONE if self.event.get("evm") is None else float(self.event["evm"])

    @property
    def points(self) -> NDArray[np.complex128]:
        """(symbol,) equalised; empty where the run recorded none."""
        pairs = np.asarray(self.event.get("equalised") or np.zeros((0, 2)), float)
        return pairs[:, 0] + 1j * pairs[:, 1]


def heard(run: Run, round: int, designer: str) -> list[Heard]:
    """One entry per user that was measured in a round of a designer, in the order of the run."""
    ports = _ports(run)
    found = []
    for event in run.of("measured", round=round):
        user = event.get("user")
        if user is None or event.get("designer", designer) != designer:
            continue
        radio, channel = ports.get(user, (user, 0))
        spectrum, clipped = of_capture(run, channel, purpose="measure", round=round, device=radio, designer=designer)
        silence, _ = of_capture(run, channel, purpose="idle", device=radio)
        level, acpr, floor = _adjacent(run, spectrum, silence)
        found.append(Heard(user, designer, round, spectrum, silence, level, acpr, floor, clipped, event))
    return found


def _ports(run: Run) -> dict[str, tuple[str, int]]:
    """user -> (radio, channel) by the testbed's wires."""
    if "testbed.toml" not in run.about["inputs"]:
        return {}
    wires = tomllib.loads(run.input("testbed.toml").decode()).get("wire", [])
    return {wire["user"]: (wire["radio"], wire.get("channels", [0])[0]) for wire in wires if "user" in wire}


def _adjacent(run: Run, spectrum: Spectrum | None, silence: Spectrum | None) -> tuple[float, tuple[float, float], tuple[float, float]]:
    if spectrum is None:
        return NONE, (NONE, NONE), (NONE, NONE)
    half, end = band(run, spectrum)
    inside = spectrum.power(-half, half)
    sides = ((-end, -half), (half, end))

    def relative(one: Spectrum | None) -> tuple[float, float]:
        if one is None or one.unit != spectrum.unit:
            return NONE, NONE
        below, above = (float(decibels(np.array(one.power(*side) / inside))) for side in sides)
        return below, above

    return float(decibels(np.array(inside))) + (30.0 if spectrum.unit == "dBm" else 0.0), relative(spectrum), relative(silence)


def finding(found: list[Heard]) -> str:
    if not found:
        return "No signal was measured"
    worst = max(found, key=lambda one: -1.0 if math.isnan(one.evm) else one.evm)
    if deeper(worst.designer):
        errors, bits = (sum(int(one.event.get(key) or 0) for one in found) for key in ("bit_errors", "bits"))
        text = f"Symbols were moved deeper into their regions, so EVM says nothing: {errors} bit errors in {bits}"
    else:
        text = _evm(worst)
    sides = [(side, floor) for one in found for side, floor in zip(one.acpr, one.floor) if not math.isnan(side)]
    if sides:
        most, floor = max(sides)
        text += f"; beside the band the power received is {number(-most)} dB below that in it"
        if not math.isnan(floor):
            text += ", the receiver's own noise" if most - floor < 1.0 else f", {number(most - floor)} dB above silence"
    return text


def deeper(designer: str) -> bool:
    """Whether a design is one of symbols: they may lie anywhere in their decision regions."""
    return designer.endswith("-slp")


def _evm(worst: Heard) -> str:
    return f"EVM is {100 * worst.evm:.1f} % ({number(20 * math.log10(worst.evm))} dB) at the worst user" if worst.evm > 0 else "EVM was not recorded"


def draw(run: Run, found: Facts) -> tuple[bytes, str] | None:
    """The figure as SVG and its finding: a column per user of the final design."""
    final = found.final
    everybody = heard(run, final.number, final.designer) if final is not None else []
    shown = everybody[:MOST_USERS]
    if not shown:
        return None
    points = any(len(one.points) for one in shown)
    blocks = any(len(one.event.get("blocks_db") or ()) > (1 if len(shown) > _WIDE else 0) for one in shown)
    spectra = any(one.spectrum is not None for one in shown)
    columns = min(len(shown), _COLUMNS)
    small = columns > _WIDE
    tall_each = (1.45, 1.0, 0.90) if small else (1.75, 1.15, 1.75)  # inches
    rows = [(tall, panel) for tall, there, panel in zip(tall_each, (spectra, blocks, points), (_density, _blocks, _constellation)) if there]
    lines = -(-len(shown) // columns)
    says = finding(everybody)
    if len(everybody) > len(shown):
        says += f"; {len(shown)} of {len(everybody)} users are shown"
    height = 0.50 + lines * sum(tall + 0.66 for tall, _ in rows) + 0.2 * (len(says) > 150)
    with look.figure(height) as fig:
        top = (look.title(fig, says) - 1.0) * height + height
        limits = _limits(shown)
        for line in range(lines):
            some = shown[line * columns : (line + 1) * columns]
            for tall, panel in rows:
                panels = []
                for column, one in enumerate(some):
                    left, width = 0.085 + column * 0.915 / columns, 0.915 / columns - (0.022 if small else 0.045) - 0.02 * (columns < 3)
                    axes = fig.add_axes((left, (top - tall - 0.26) / height, width, tall / height))
                    panel(fig, axes, run, one, column, limits, small)
                    panels.append(axes)
                if small:
                    _alike(panels, square=panel is _constellation)
                top -= tall + 0.66
        return look.svg(fig, "signal"), says


def _alike(panels: list[Axes], square: bool) -> None:
    """One scale for a row, written at its left end; square: for both axes."""
    low, high = (pick(axes.get_ylim()[side] for axes in panels) for side, pick in enumerate((min, max)))
    for column, axes in enumerate(panels):
        axes.set_ylim(low, high)
        if square:
            step = max(1, int(0.75 * high))
            axes.set_xlim(low, high)
            axes.set_xticks((-step, 0, step))
            axes.set_yticks((-step, 0, step))
        if column:
            axes.set_yticklabels([])


def _limits(shown: list[Heard]) -> tuple[float, float]:
    values = [
        value for one in shown for spectrum in (one.spectrum, one.silence) if spectrum is not None for value in (spectrum.db.min(), spectrum.db.max())
    ]
    return (min(values) - 3.0, max(values) + 4.0) if values else (0.0, 1.0)


def _density(fig: Figure, axes: Axes, run: Run, one: Heard, column: int, limits: tuple[float, float], small: bool) -> None:
    look.panel_title(axes, f"{one.user}: received" if small else f"{one.user}: received, {look.short(one.designer)}")
    if one.spectrum is None:
        axes.text(0.5, 0.5, "capture not in this folder", transform=axes.transAxes, ha="center", color=look.SOFT)
        return
    half, end = band(run, one.spectrum)
    axes.axvspan(-half / 1e6, half / 1e6, color=look.FAINT, alpha=0.45, lw=0, zorder=0)
    axes.plot(one.spectrum.hertz / 1e6, one.spectrum.db, color=look.hue(one.designer), lw=1.2, zorder=3)
    if one.silence is not None and one.silence.unit == one.spectrum.unit:
        axes.plot(one.silence.hertz / 1e6, one.silence.db, color=look.SOFT, lw=0.8, zorder=2)
        axes.annotate(
            "silence" if not small or not column else "",
            (-0.5 * half / 1e6, float(np.median(one.silence.db))),
            xytext=(0, 5),
            textcoords="offset points",
            color=look.SOFT,
            fontsize=8,
            ha="center",
        )
    if not small:
        axes.annotate("used band", (0.0, limits[1]), xytext=(0, -2), textcoords="offset points", color=look.SOFT, fontsize=8, ha="center", va="top")
    for place, value, align, inwards in ((-end, one.acpr[0], "left", 2), (end, one.acpr[1], "right", -2)):
        where = {"xytext": (inwards, -2), "textcoords": "offset points", "ha": align, "va": "top"}
        axes.annotate(number(value) + " dB" * (not small), (place / 1e6, limits[1]), fontsize=7.5 if small else 8, fontweight="bold", **where)
    axes.set_xlim(-end / 1e6, end / 1e6)
    axes.set_ylim(*limits)
    axes.set_xlabel(_MHZ[small], labelpad=1.0)
    if column:
        axes.set_yticklabels([])
    else:
        axes.set_ylabel(f"{one.spectrum.unit}/Hz", labelpad=2.0)


def _blocks(fig: Figure, axes: Axes, run: Run, one: Heard, column: int, limits: tuple[float, float], small: bool) -> None:
    """SINR of each block: measured with 95 % bars, the user's promise stepped and predicted thin."""
    values = np.asarray(one.event.get("blocks_db") or [], float)
    spread = np.asarray(one.event.get("blocks_std_db") or np.zeros(len(values)), float)
    width = float(run.scenario.get("signal", {}).get("used_bandwidth_hz", 1e6 * max(len(values), 1)))
    at = (np.arange(len(values)) + 0.5) / max(len(values), 1) * width / 1e6 - 0.5 * width / 1e6
    colour, box = look.hue(one.designer), {"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.75}
    axes.errorbar(at, values, yerr=1.96 * spread, color=colour, lw=1.2, elinewidth=1.0, ms=3, **look.marker(one.designer) | {"markeredgewidth": 0.8})
    for key, style in (("promised_db", {"lw": 1.8}), ("predicted_db", {"lw": 0.8})):
        if one.event.get(key) is not None:
            axes.axhline(float(one.event[key]), color=colour, zorder=2, **style)
            if small and column:
                continue
            word = key.removesuffix("_db")
            where = {"va": "top", "xytext": (0, -2)} if word == "promised" else {"va": "bottom", "xytext": (0, 1)}
            axes.annotate(
                word,
                (at[-1], float(one.event[key])),
                textcoords="offset points",
                ha="right",
                fontsize=8,
                color=look.SOFT,
                bbox=box,
                zorder=6,
                **where,
            )
    axes.margins(y=0.25)
    axes.set_xlabel(_MHZ[small], labelpad=1.0)
    look.panel_title(axes, f"{one.user}: blocks" if small else f"{one.user}: SINR per block")
    if column == 0:
        axes.set_ylabel("SINR, dB", labelpad=2.0)


def _constellation(fig: Figure, axes: Axes, run: Run, one: Heard, column: int, limits: tuple[float, float], small: bool) -> None:
    """At the left of its column, words at the right where there is room."""
    box = axes.get_position()
    height = fig.get_size_inches()[1]
    side = min(box.height * height, box.width * look.WIDTH)
    axes.set_position((box.x0, box.y0, side / look.WIDTH, side / height))
    points = one.points
    axes.plot(points.real, points.imag, ls="none", marker="o", ms=1.8, mec="none", mfc=look.hue(one.designer), alpha=0.75)
    reach = 1.1 * max([1.2, *np.abs(points.real), *np.abs(points.imag)])
    axes.set_xlim(-reach, reach)
    axes.set_ylim(-reach, reach)
    axes.set_xticks((-1, 0, 1))
    axes.set_yticks((-1, 0, 1))
    axes.set_xlabel("I" if small else "I, of the rms symbol", labelpad=1.0)
    if column == 0:
        axes.set_ylabel("Q" if small else "Q, of the rms symbol", labelpad=1.0)
    modulation = run.scenario.get("signal", {}).get("modulation", "payload")
    named = small and one.evm > 0 and not deeper(one.designer)
    look.panel_title(axes, f"{one.user}: EVM {100 * one.evm:.0f} %" if named else f"{one.user}: {modulation}")
    bits, errors = one.event.get("bits"), one.event.get("bit_errors")
    lines = [f"EVM {100 * one.evm:.1f} %", f"  = {number(20 * math.log10(one.evm))} dB"] if one.evm > 0 else []
    lines += [f"{errors} bit errors", f"  in {bits:,}".replace(",", "\N{THIN SPACE}")] if bits else []
    lines += [f"{number(float(one.event['rate_bit']), 2)} bit/s/Hz"] if one.event.get("rate_bit") is not None else []
    if side < 0.75 * box.width * look.WIDTH:
        axes.text(1.08, 0.98, "\n".join(lines), transform=axes.transAxes, va="top", fontsize=8.5, linespacing=1.4)


def rows(run: Run, found: Facts) -> list[Heard]:
    """The last measured round of every designer, for the table."""
    last = [found.last(name) for name in dict.fromkeys(entry.designer for entry in found.rounds)]
    return [one for entry in last if entry is not None for one in heard(run, entry.number, entry.designer)]
