"""What came of a run in a line per design: the promise, and what each step from one design to the next is worth."""

from __future__ import annotations

import math

from hil.commands.rows import Row, number
from hil.report.cooperation import WORDS
from hil.report.facts import difference

_WORSE = {"sparse": "fixed", "fixed": "fixed-rzf"}
_WHY = {"sparse": "need motion", "fixed": "only a wider array", "fixed-rzf": "only a better precoder"}


def promise(rounds: list[Row]) -> str:
    """Of the run's own rounds: whether users got what they were promised, who gave way, what targets were told."""
    judged = [row for row in rounds if row.kept is not None]
    facts = [f"promise kept in {sum(bool(row.kept) for row in judged)} of {len(judged)} rounds"] if judged else []
    final = rounds[-1]
    if final.bound is not None and final.promised is not None:
        facts.append(f"the last {number(max(final.bound - final.promised, 0.0))} dB below its bound")
    if gave := sum(row.gave_way for row in rounds):
        facts.append(f"gave way to CBF in {gave} of {len(rounds)}")
    if angles := [angle for row in rounds for angle in row.angles]:
        sure = [angle for angle in angles if angle.sure]
        errors = [angle.error**2 for angle in sure if angle.error is not None]
        rms = f", {math.sqrt(sum(errors) / len(errors)):.2f}\N{DEGREE SIGN} rms" if errors else ""
        facts.append(f"{len(sure)} of {len(angles)} angles above threshold{rms}")
    return "; ".join(facts)


def beside(final: Row | None, other: Row) -> str:
    """What the run's design has over another that lacks one thing, and whether the other kept its promise."""
    facts = ["promise broken"] if other.kept is False else []
    if final is None or final.gave_way or other.gave_way or final.measured is None or other.measured is None:
        return "; ".join(facts)
    here, there = difference(final.designer, other.designer), difference(other.designer, final.designer)
    gain = final.measured - other.measured if here else other.measured - final.measured
    if what := here or there:
        facts.append(f"{WORDS[what]} {'brings' if gain >= 0.0 else 'costs'} {abs(gain):.1f} dB")
    if what == "robustness" and final.promised is not None and other.promised is not None:
        more = (final.promised - other.promised) * (1.0 if here else -1.0)
        facts += [f"it lets {more:.1f} dB more be promised"] if more > 0.1 else []
    return "; ".join(facts)


def step(better: Row, worse: Row) -> str:
    """What the step from one line to the next is worth; negative where it did not pay."""
    why = _WHY.get(worse.designer, "")
    follows = better.round > 0 if worse.designer == "sparse" else _WORSE.get(better.designer) == worse.designer
    if better.measured is None or worse.measured is None or not why or not follows:
        return ""
    return f"{better.measured - worse.measured:.1f} dB {why}"


def chained(lines: list[str]) -> list[str]:
    """The steps as one sentence over several lines: so ... of the gain need motion ..., ... only ..., ... and ... only ..."""
    steps = [index for index, line in enumerate(lines) if any(line.endswith(why) for why in _WHY.values())]
    for order, index in enumerate(steps):
        head, _, tail = lines[index].rpartition("   ")
        tail = tail.replace("need motion", "of the gain need motion")
        before = "so " if order == 0 else "... and " if index == steps[-1] else "... "
        lines[index] = f"{head}   {before}{tail}{'' if index == steps[-1] else ' ...'}"
    return lines
