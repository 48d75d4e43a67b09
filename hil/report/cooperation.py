"""What sending together, caution and symbol-level precoding are worth: designs of one run side by side, the promise and the targets' angles."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hil.errors import HilError
from hil.records import Run
from hil.report import look
from hil.report.facts import NONE, Angle, Facts, Round, counted, difference, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WORDS = {"cooperation": "sending together", "robustness": "caution", "symbols": "precoding symbol by symbol"}


@dataclass(frozen=True, slots=True)
class Step:
    """Two designs of which one has what the other lacks. gain: dB of the worst user, half: of its 95 % interval; ratio: of the other's bound on
    the worst target's angle over this one's, NaN where they do not compare; of: designed, or sent."""

    what: str
    one: Round
    other: Round
    ratio: float
    of: str

    @property
    def gain(self) -> float:
        return self.one.measured - self.other.measured

    @property
    def half(self) -> float:
        return 1.96 * math.hypot(self.one.std, self.other.std)


def lasts(found: Facts) -> list[Round]:
    """The latest measured round of every design, the run's own first."""
    names = [found.designer, *found.baselines]
    return [entry for entry in map(found.last, names) if entry is not None]


def steps(run: Run, found: Facts) -> list[Step]:
    """Every pair that differs in one thing. A design that gave way was not what its name says: it is compared with nothing."""
    entries = [entry for entry in lasts(found) if not entry.gave_way]
    return [
        Step(what, one, other, *_ratio(run, one, other))
        for one in entries
        for other in entries
        if (what := difference(one.designer, other.designer))
    ]


def _ratio(run: Run, one: Round, other: Round) -> tuple[float, str]:
    """As designed where both believed the same of the echoes, else at what was sent where both heard them."""
    if _believed(run, one, other):
        mine, its = (max((angle.designed for angle in entry.angles), default=NONE) for entry in (one, other))
        if not math.isnan(mine + its):
            return its / mine, "designed"
    if one.angles and other.angles and all(angle.sure for entry in (one, other) for angle in entry.angles):
        mine, its = (max(angle.bound for angle in entry.angles) for entry in (one, other))
        return its / mine, "sent"
    return NONE, ""


def _believed(run: Run, one: Round, other: Round) -> bool:
    """Whether two designs were made for the same echoes."""
    try:
        first, second = (run.design_arrays(entry.number, entry.designer) for entry in (one, other))
    except (HilError, OSError):
        return False
    return all(name in first and name in second and np.allclose(first[name], second[name], rtol=1e-6, atol=0.0) for name in ("gain", "angle_std"))


def finding(found: Facts, made: list[Step]) -> str:
    if not made:
        only = "nothing to compare" if len(lasts(found)) < 2 else "no two designs differ in one thing alone"
        gave = next((entry for entry in lasts(found) if entry.gave_way), None)
        return f"{gave.designer} gave way to coordinated beamforming: there is no cooperation to compare" if gave else f"One run, {only}"
    said = []
    for what in dict.fromkeys(step.what for step in made):
        step = next(one for one in made if one.what == what)
        clear = math.isnan(step.half) or abs(step.gain) > step.half
        parts = [f"{'brings' if step.gain >= 0.0 else 'costs'} the worst user {number(abs(step.gain))} dB{'' if clear else ' (within noise)'}"]
        if not math.isnan(step.ratio):
            parts.append(_bound(step.ratio))
        if what == "robustness" and step.one.promised - step.other.promised > 0.1:
            parts.append(f"lets it promise {number(step.one.promised)} in place of {number(step.other.promised)} dB")
        if what == "robustness" and step.other.shortfall > 0.0:
            kept = "keeps" if step.one.kept is not False else "breaks too"
            parts.append(f"{kept} a promise that {step.other.designer} broke by {number(step.other.shortfall)} dB")
        said.append(f"{WORDS[what]} {', '.join(parts[:-1])}{' and ' * (len(parts) > 1)}{parts[-1]}")
    text = "; ".join(said)
    return text[:1].upper() + text[1:]


def _bound(ratio: float) -> str:
    """What a step does to the bound on the worst target's angle."""
    if abs(math.log(ratio)) < math.log(1.05):
        return "leaves the bound on the angle as it is"
    return f"makes the bound on the angle {max(ratio, 1.0 / ratio):.1f} times {'smaller' if ratio > 1.0 else 'larger'}"


def draw(run: Run, found: Facts) -> tuple[bytes, str] | None:
    """The figure as SVG and its finding: a line per design; SINR of the worst user, and the angle of the worst target."""
    entries = lasts(found)
    if not entries:
        return None
    height = 1.50 + 0.40 * len(entries)
    with look.figure(height) as fig:
        says = finding(found, steps(run, found))
        top = look.title(fig, says)
        base, tall = 0.42 / height, top - (0.42 + 0.40) / height
        left = fig.add_axes((0.19, base, 0.36, tall))
        right = fig.add_axes((0.60, base, 0.385, tall))
        for row, entry in enumerate(entries):
            _sinr(left, row, entry)
            _angles(right, row, entry)
        left.set_yticks(range(len(entries)), [_name(entry) for entry in entries])
        right.set_yticks(range(len(entries)), [""] * len(entries))
        for axes in (left, right):
            axes.set_ylim(len(entries) - 0.5, -0.5)
            axes.tick_params(axis="y", length=0)
            axes.grid(axis="y", visible=False)
        left.margins(x=0.12)
        left.set_xlabel("SINR of the worst user, dB", labelpad=1.0)
        values = [v for entry in entries for a in entry.angles for v in (abs(a.error), a.bound, a.designed, a.std) if v > 0.0]
        look.logarithmic(right, "x", min(values, default=0.1) / 1.6, max(values, default=1.0) * 1.6)
        right.set_xlabel("angle, degrees, each cell's target", labelpad=1.0)
        _legend(fig, top)
        return look.svg(fig, "gain"), says


def _name(entry: Round) -> str:
    return look.short(entry.designer) + ("\nas CBF" if entry.gave_way else "")


def _sinr(axes: Axes, row: int, entry: Round) -> None:
    """Promised as an upright line, shaded to what was measured; 95 % bars; crossed out where the promise was broken."""
    colour = look.hue(entry.designer)
    if not math.isnan(entry.promised):
        axes.plot([entry.promised] * 2, [row - 0.3, row + 0.3], color=colour, lw=1.8, zorder=3)
        axes.fill_betweenx([row - 0.3, row + 0.3], *sorted((entry.promised, entry.measured)), facecolor=colour, alpha=0.16, lw=0, zorder=1)
    if not math.isnan(entry.predicted):
        axes.plot([entry.predicted], [row], marker="|", ms=11, mew=1.0, color=colour, zorder=4)
    half = 0.0 if math.isnan(entry.std) else 1.96 * entry.std
    axes.errorbar([entry.measured], [row], xerr=[half], color=colour, elinewidth=1.3, capsize=2.5, ms=6, zorder=5, **look.marker(entry.designer))
    if entry.kept is False:
        axes.plot([entry.measured], [row], marker="x", ms=12, mew=2.0, color=look.INK, zorder=6)


def _angles(axes: Axes, row: int, entry: Round) -> None:
    """Of every cell: the bound designed thin, at what was sent grey, the error; hollow below threshold."""
    count = len(entry.angles)
    for place, angle in enumerate(entry.angles):
        at = row + 0.52 * ((place + 0.5) / count - 0.5)
        for value, style in ((angle.designed, {"color": look.hue(entry.designer), "lw": 1.0}), (angle.bound, {"color": look.BOUND, "lw": 1.8})):
            if value > 0.0:
                axes.plot([value] * 2, [at - 0.11, at + 0.11], zorder=2, **style)
        if abs(angle.error) > 0.0:
            hollow = {} if angle.sure else {"markerfacecolor": "white"}
            axes.plot([abs(angle.error)], [at], ls="none", ms=5, zorder=4, **look.marker(entry.designer) | hollow)


def _legend(fig: object, top: float) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    upright = {"ls": "none", "marker": "|", "color": look.SOFT}
    rows = {
        "promised, shaded to measured": (Patch(facecolor=look.SOFT, alpha=0.22), Line2D([], [], ms=10, mew=1.8, **upright)),
        "predicted": Line2D([], [], ms=10, mew=1.0, **upright),
        "measured; angle error": Line2D([], [], ls="none", marker="o", ms=6, color=look.SOFT),
        "angle below threshold": Line2D([], [], ls="none", marker="o", ms=6, mfc="white", mec=look.SOFT),
        "angle bound: designed; as sent, grey": Line2D([], [], ls="none", marker="|", ms=10, mew=1.8, color=look.BOUND),
    }
    fig.legend(list(rows.values()), list(rows), loc="upper left", bbox_to_anchor=(0.005, top), ncols=3, columnspacing=1.4,
               handletextpad=0.4, borderaxespad=0.0, fontsize=8, labelspacing=0.25)  # fmt: skip


# ---- the first page


def sentences(run: Run, found: Facts, final: Round) -> tuple[str, str]:
    """Did it work, and by how much: the promise to every user, and how well the targets' angles were told."""
    rounds = [entry for entry in found.designed if entry.designer == found.designer] or [final]
    asked = run.scenario.get("design", {}).get("asked_db")
    told = [angle for entry in rounds for angle in entry.angles]
    sure = [angle for angle in told if angle.sure]
    after = f" after {counted(len(rounds), 'round')}" if found.designed else ""
    measured = f"{final.designer} measured {number(final.measured)} dB at the worst user{after}"
    broken = any(entry.kept is False for entry in rounds)
    if run.ended not in ("converged", "limit"):
        head = f"It was cut short: {measured}."
    elif not found.designed:
        head = f"Only baselines were measured: {measured}."
    elif broken:
        head = f"It ran to its end and broke its promise: {measured}."
    elif told and not sure:
        head = f"Users have what they were promised, targets were not found: {measured}, and no angle is above threshold."
    elif _wrong(sure):
        head = f"Users have what they were promised, targets were told wrong: {measured}, and angles are {_rms(sure)} off."
    else:
        head = f"It worked: {measured}" + (f", and told angles to {_rms(sure)}." if sure else ".")
    parts = [] if asked is None else [f"asked for were {asked:g} dB at every user"]
    parts += [_heard(told, sure)] * bool(told)
    gave = [entry for entry in rounds if entry.gave_way]
    if gave:
        parts.append(_gave_way(run, gave, len(rounds)))
    made = steps(run, found)
    if made:
        text = finding(found, made)
        parts.append(text[:1].lower() + text[1:])
    text = "; ".join(parts) or "no angle was told"
    return head, f"{text[:1].upper()}{text[1:]}."


def _wrong(sure: list[Angle]) -> bool:
    """Whether most angles that count as trusted are further off than 95 % should be."""
    known = [abs(angle.error) <= 1.96 * angle.std for angle in sure if not math.isnan(angle.error)]
    return bool(known) and sum(known) < 0.5 * len(known)


def _rms(angles: list[Angle]) -> str:
    errors = [angle.error for angle in angles if not math.isnan(angle.error)]
    values = errors or [angle.std for angle in angles]
    return number(math.sqrt(float(np.mean(np.square(values)))), 2, f"\N{DEGREE SIGN} rms{'' if errors else ' of their own deviation'}")


def _heard(told: list[Angle], sure: list[Angle]) -> str:
    if not sure:
        return f"none of {counted(len(told), 'angle')} is above threshold"
    bound = math.sqrt(float(np.mean([angle.bound**2 for angle in sure])))
    allowed = f"{number(bound, 2)}\N{DEGREE SIGN}"
    return f"{len(sure)} of {counted(len(told), 'angle')} above threshold, where one target and noise alone would allow {allowed}"


def _gave_way(run: Run, gave: list[Round], of: int) -> str:
    why = next((str(event.get("message")) for event in run.of("warned", id="not-coherent")), "").partition(":")[0]
    named = ", ".join(str(entry.number) for entry in gave)
    text = f"in {len(gave)} of {counted(of, 'round')} ({named}) it gave way to coordinated beamforming"
    return text + (f", because {why}" if why else "")
