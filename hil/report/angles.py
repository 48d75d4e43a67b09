"""Does sensing reach its bound where a target is told by its angle: error, own deviation and bounds of every fix, cell by cell."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hil.records import Run
from hil.report import look
from hil.report.facts import NONE, Facts, counted, number
from hil.report.table import table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HALF = 1.96  # deviations: 95 % of one angle
MOST_CELLS = 4
_COLUMNS = 4  # of the key
DEGREE = "\N{DEGREE SIGN}"


@dataclass(frozen=True, slots=True)
class Bearing:
    """One cell's target, once. angle: rad from broadside towards the array's local x; error, std, crlb (of the model that was fitted), ideal
    (one target and noise alone): rad. surveyed: (3,) m or None. notes: why it is not above threshold."""

    label: str
    round: int
    designer: str
    cell: str
    angle: float
    error: float
    std: float
    crlb: float
    ideal: float
    surveyed: NDArray[np.float64] | None
    sure: bool
    snr_db: float
    loss_db: float
    notes: tuple[str, ...]

    @property
    def within(self) -> bool | None:
        """Whether the error is one of the 95 %."""
        return None if math.isnan(self.error + self.std) else abs(self.error) <= HALF * self.std


def bearings(run: Run) -> list[Bearing]:
    """Every angle in the order of the run, baselines first."""
    told = [(event, event["target"]) for event in run.of("measured") if event.get("target") and event["target"].get("unit") == "rad"]
    common = set.intersection(*(set(target.get("assumes") or ()) for _, target in told)) if len(told) > 1 else set()
    found = []
    for event, target in told:
        designer, sure = str(event.get("designer") or ""), target.get("above_threshold") is not False
        assumes = [str(note) for note in target.get("assumes") or ()]
        notes = () if sure else tuple(note for note in assumes if note not in common and f"{note}:" not in " ".join(assumes))
        found.append(
            Bearing(
                label=look.short(designer) if event["round"] == 0 else str(event["round"]),
                round=event["round"],
                designer=designer,
                cell=str(target.get("cell") or ""),
                angle=_number(target.get("angle")),
                error=_number(target.get("error")),
                std=_number(target.get("std")),
                crlb=_number(target.get("crlb")),
                ideal=_number(target.get("ideal")),
                surveyed=None if target.get("surveyed") is None else np.asarray(target["surveyed"], float),
                sure=sure,
                snr_db=_number(target.get("snr_db")),
                loss_db=_number(target.get("loss_db")),
                notes=notes if notes or sure else tuple(assumes[-1:]),
            )
        )
    return found


def _number(value: Any) -> float:
    return NONE if value is None else float(value)


def degrees(value: float) -> str:
    """An angle of radians for a sentence, to two digits that say something."""
    size = abs(math.degrees(value))
    return number(math.degrees(value), 0 if size >= 9.95 else 1 if size >= 0.995 else 2 if size >= 0.0995 else 3, DEGREE)


def finding(found: list[Bearing]) -> str:
    sure = [fix for fix in found if fix.sure]
    below = len(found) - len(sure)
    if not sure:
        errors = [abs(fix.error) for fix in found if not math.isnan(fix.error)]
        off = f"; they are {degrees(min(errors))} to {degrees(max(errors))} off" if errors else ""
        return f"No angle of {below} is above threshold, so none is used ({reason(found)}){off}"
    known = [fix for fix in sure if not math.isnan(fix.error)]
    text = f"Over {counted(len(known or sure), 'angle')} above threshold "
    if known:
        rms, ratio = (math.sqrt(np.mean(np.square(each))) for each in ([fix.error for fix in known], [fix.error / fix.crlb for fix in known]))
        held = [fix.within for fix in known if fix.within is not None]
        text += f"the error is {degrees(rms)}, {number(ratio)} times the bound (rms), {sum(held)} of {len(held)} within 95 %"
    else:
        text += f"the deviation is {degrees(math.sqrt(np.mean([fix.std**2 for fix in sure])))} (rms); nobody surveyed the targets"
    return text + (f"; {below} below threshold: {reason(found)}" if below else "")


def reason(found: list[Bearing]) -> str:
    """What most often keeps angles from being trusted."""
    said = Counter(note.split(":")[0] for fix in found if not fix.sure for note in fix.notes)
    return said.most_common(1)[0][0] if said else "no reason was recorded"


def draw(run: Run, found: Facts) -> tuple[bytes, str] | None:
    """The figure as SVG and its finding, a column per cell; None when no angle was told."""
    every = bearings(run)
    if not every:
        return None
    cells = list(dict.fromkeys(fix.cell for fix in every))[:MOST_CELLS]
    key = _key(every)
    room = 0.06 + 0.042 * -(-len(key) // _COLUMNS)
    with look.figure(4.6) as fig:
        says = finding(every)
        top = look.title(fig, says) - room
        base, left, wide = 0.105, 0.085, 0.905 / len(cells)
        tall = top - base
        values = [math.degrees(abs(value)) for fix in every for value in (fix.error, fix.std, fix.crlb, fix.ideal) if abs(value) > 0.0]
        limits = min(values, default=0.1) / 1.5, max(values, default=1.0) * 1.5
        for column, cell in enumerate(cells):
            mine = [fix for fix in every if fix.cell == cell]
            error = fig.add_axes((left + column * wide, base + 0.42 * tall, wide - 0.03, 0.58 * tall))
            echo = fig.add_axes((left + column * wide, base, wide - 0.03, 0.31 * tall))
            _errors(error, mine, limits)
            look.panel_title(error, f"target of {cell}")
            _echo(echo, mine, every)
            named = [place for place, fix in enumerate(mine) if not fix.round or fix.round % -(-len(mine) // 10) == 0]
            turned = {"rotation": 25, "ha": "right"} if sum(len(mine[place].label) > 3 for place in named) > 4 else {}
            echo.set_xticks(named, [look.broken(mine[place].label) for place in named], **turned)
            error.set_xticks(named, [""] * len(named))
            if column:
                error.set_yticklabels([])
                echo.set_yticklabels([])
            else:
                error.set_ylabel("angle, degrees", labelpad=2.0)
                echo.set_ylabel("dB", labelpad=2.0)
        fig.legend(list(key.values()), list(key), loc="upper left", bbox_to_anchor=(0.005, top + room - 0.005), ncols=_COLUMNS, columnspacing=1.1,
                   handletextpad=0.4, borderaxespad=0.0, fontsize=8, labelspacing=0.25)  # fmt: skip
        return look.svg(fig, "target"), says


def _errors(axes: Axes, found: Sequence[Bearing], limits: tuple[float, float]) -> None:
    """|Error| with its marker (hollow below threshold), own deviation as a dash, both bounds grey; logarithmic."""
    for place, fix in enumerate(found):
        step = [place - 0.36, place + 0.36]
        for value, style in ((fix.crlb, (0, (1, 1.3))), (fix.ideal, "-")):
            if not math.isnan(value):
                axes.plot(step, [math.degrees(value)] * 2, color=look.BOUND, lw=1.5, ls=style, zorder=2)
        if not math.isnan(fix.std):
            axes.plot([place], [math.degrees(fix.std)], marker="_", ms=12, mew=1.6, color=look.hue(fix.designer), zorder=3)
        if not math.isnan(fix.error):
            axes.plot([place], [math.degrees(abs(fix.error))], ms=6, ls="none", zorder=4, **shape(fix))
    look.logarithmic(axes, "y", *limits)
    axes.set_xlim(-0.6, len(found) - 0.4)
    axes.grid(axis="x", visible=False)


def shape(fix: Bearing) -> dict[str, Any]:
    """Marker of one fix: hollow below threshold."""
    return look.marker(fix.designer) | ({} if fix.sure else {"markerfacecolor": "white"})


def _echo(axes: Axes, found: Sequence[Bearing], every: Sequence[Bearing]) -> None:
    """What there was to see: energy of the echo over noise, and what was lost of it with the room."""
    places = range(len(found))
    axes.plot(places, [fix.snr_db for fix in found], color=look.INK, lw=0.9, marker="o", ms=4)
    axes.plot(places, [fix.loss_db for fix in found], color=look.SOFT, lw=0.9, ls="--", marker="s", ms=4, mfc="white")
    values = [value for fix in every for value in (fix.snr_db, fix.loss_db) if not math.isnan(value)]
    low, high = min([0.0, *values]), max([1.0, *values])
    axes.set_ylim(low - 0.1 * (high - low), high + 0.12 * (high - low))
    axes.set_xlim(-0.6, len(found) - 0.4)
    axes.grid(axis="x", visible=False)


def _key(found: Sequence[Bearing]) -> dict[str, Any]:
    """What each line and marker is."""
    from matplotlib.lines import Line2D

    solid = {fix.designer: fix for fix in found}
    rows = {f"error, {look.short(name)}": Line2D([], [], ls="none", ms=6, **look.marker(name)) for name in solid}
    if not all(fix.sure for fix in found):
        rows["below threshold"] = Line2D([], [], ls="none", ms=6, marker="o", mfc="white", mec=look.INK)
    rows["its own std"] = Line2D([], [], ls="none", marker="_", ms=12, mew=1.6, color=look.INK)
    rows["CRLB of the model"] = Line2D([], [], color=look.BOUND, lw=1.5, ls=(0, (1, 1.3)))
    rows["target and noise alone"] = Line2D([], [], color=look.BOUND, lw=1.5)
    rows["echo over noise"] = Line2D([], [], color=look.INK, lw=0.9, marker="o", ms=4)
    rows["lost with the room"] = Line2D([], [], color=look.SOFT, lw=0.9, ls="--", marker="s", ms=4, mfc="white")
    return rows


def angle_table(run: Run) -> str:
    """Every angle in numbers; why the ones below threshold are not used."""
    rows = []
    for fix in bearings(run):
        numbers = [number(math.degrees(value), 2) for value in (fix.angle, fix.error, fix.std, fix.crlb, fix.ideal)]
        verdict = "yes" if fix.sure else f"no: {'; '.join(fix.notes)}" if fix.notes else "no"
        named = [str(fix.round), escape(fix.designer), escape(fix.cell)]
        rows.append(("", [*named, *numbers, number(fix.snr_db), number(fix.loss_db), escape(verdict)]))
    head = ["round", "design", "cell", "angle", "error", "std", "CRLB", "alone", "echo,<br>dB", "lost,<br>dB", "above threshold"]
    said = "Degrees from broadside. CRLB: of the model that was fitted; alone: one target and noise, what a design is made for."
    return table(head, rows, said, left=(1, 2, 10)) if rows else ""
