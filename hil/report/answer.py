"""The first page: did it work, by how much, may it be believed."""

from __future__ import annotations

import math
import tomllib
from html import escape
from typing import Any

import numpy as np

from hil.records import Run
from hil.report import cooperation, look
from hil.report.facts import Facts, Round, blind, counted, ending, medium, number, promise_kept
from hil.report.flags import flags
from hil.report.table import table

_FINISHED = ("converged", "limit")
_MODE = {"cbf": "CBF", "comp": "CoMP"}
_SUMMARY = "Worst user and block, dB. Every row is in results.csv, by user."
_GAVE_WAY = " Gave way: base stations could not be trusted to send together, so each served its own users alone (CBF)."


def answer(run: Run, found: Facts) -> str:
    raised = flags(run, found)
    first, *rest = sentences(run, found, raised)
    parts = [f"<h1>{escape(first)}</h1>"] + [f"<p>{escape(sentence)}</p>" for sentence in rest]
    if run.interrupted:
        parts.append(f'<p class="warn">Not a whole run. Continue with <code>hil run --resume {escape(run.name)}</code></p>')
    parts += [_summary(found), _verdict(run), _flags(raised), _emulated(run)]
    return "\n".join(part for part in parts if part)


def sentences(run: Run, found: Facts, raised: list[str]) -> list[str]:
    """Did it work, by how much, may I believe it; and whether it was real."""
    where = f"{medium(run)} {_capital(ending(run))}."
    final = found.final
    if final is None:
        return ["No round was measured: there is nothing to report yet.", where]
    if run.scenario.get("cell"):
        return [*cooperation.sentences(run, found, final), _believe(found, final, raised), where]
    return [_worked(run, found, final), _by_how_much(found, final), _believe(found, final, raised), where]


def _beside(found: Facts) -> list[Round]:
    """What the design must beat: the other designs measured, but not the nominal one, whose lead is what robustness costs."""
    entries = [found.last(name) for name in found.baselines if not blind(name)]
    return sorted((entry for entry in entries if entry is not None), key=lambda entry: -entry.measured)


def _half(one: Round, other: Round) -> float:
    """Of the 95 % interval of a difference of two measurements; 0 where the noise was not recorded."""
    return 1.96 * float(np.hypot(np.nan_to_num(one.std), np.nan_to_num(other.std)))


def _worked(run: Run, found: Facts, final: Round) -> str:
    rounds = len({entry.number for entry in found.designed})
    after = f" after {counted(rounds, 'round')}" if rounds else ""
    measured = f"{final.designer} measured {number(final.measured)} dB at the worst user{after}"
    best = next(iter(_beside(found)), None)
    if run.ended not in _FINISHED:
        return f"It was cut short: {measured}."
    if not rounds:
        return f"Only baselines were measured: {measured}."
    if best is not None and final.measured - best.measured < -_half(final, best):
        return f"It ran to its end and did not pay: {measured}."
    if best is not None and final.measured - best.measured <= _half(final, best):
        return f"It ran to its end and gained nothing that can be told from noise: {measured}."
    return f"It worked: {measured}."


def _by_how_much(found: Facts, final: Round) -> str:
    parts, beside = [], _beside(found)
    if beside:
        best, worst = beside[0], beside[-1]
        gain, half = final.measured - best.measured, _half(final, best)
        noise = f" \N{PLUS-MINUS SIGN} {number(half, 2)}" if half else ""
        where = "above" if gain >= 0 else "BELOW"
        parts.append(f"{number(abs(gain))}{noise} dB {where} the best baseline ({best.designer}, {number(best.measured)} dB)")
        if worst is not best:
            parts.append(f"{number(final.measured - worst.measured)} dB above {worst.designer} ({number(worst.measured)} dB)")
    nominal = found.last("nominal") if final.designer != "nominal" else None
    if nominal is not None:
        price = nominal.measured - final.measured
        parts.append(f"{number(abs(price))} dB {'below' if price >= 0 else 'above'} the nominal design, which ignores what is uncertain")
    if not math.isnan(final.bound + final.promised):
        parts.append(
            f"with a promise {number(max(0.0, final.bound - final.promised))} dB below the most that any design at these positions can promise"
        )
    return f"That is {', '.join(parts)}." if parts else "No baseline was measured beside it."


def _believe(found: Facts, final: Round, raised: list[str]) -> str:
    off = [abs(entry.measured - entry.predicted) for entry in found.rounds if not math.isnan(entry.measured + entry.predicted)]
    parts = [promise_kept(found)]
    if off:
        median, most = number(float(np.median(off)), 2), number(max(off), 2)
        parts.append(f"what was measured lies {median} dB from what was predicted in the median of {counted(len(off), 'design')}, {most} dB at most")
    parts.append("no flag was raised" if not raised else f"{counted(len(raised), 'flag')} raised, listed below")
    return f"{_capital('; '.join(parts))}."


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _summary(found: Facts) -> str:
    if not found.rounds:
        return ""
    unit = "\N{DEGREE SIGN}" if found.angles else "m"
    head = ["round", "design", "promised", "predicted", "measured", "bound", "worst<br>user", f"target, {unit} (CRLB)", "EVM", "moved", "took",
            "promise"]  # fmt: skip
    several = any(entry.mode for entry in found.rounds)  # cells: nothing moves, and who sends what is decided
    if several:
        head[9] = "sent as"
    rows = []
    for entry in found.rounds:
        moved = f"{entry.moved:.0f}/{entry.movable:.0f}" if not math.isnan(entry.moved + entry.movable) else "-"
        if several:
            moved = _MODE.get(entry.mode, escape(entry.mode)) + " (gave way)" * entry.gave_way
        kept = {None: "-", True: "kept", False: f"BROKEN {number(entry.shortfall)}"}[entry.kept]
        kind = " ".join(name for name, on in (("final", entry is found.final), ("broken", entry.kept is False)) if on)
        solid = "transparent" if entry.designer in look.HOLLOW else look.hue(entry.designer)
        swatch = f'<span class="swatch" style="border-color:{look.hue(entry.designer)};background:{solid}"></span>'
        cells = [
            str(entry.number), swatch + escape(entry.designer), number(entry.promised), number(entry.predicted), number(entry.measured),
            number(entry.bound), escape(entry.user), _target(entry), "-" if math.isnan(entry.evm) else f"{100 * entry.evm:.0f} %", moved,
            number(entry.took, 1, " s"), kept,
        ]  # fmt: skip
        rows.append((kind, cells))
    return table(head, rows, _SUMMARY + _GAVE_WAY * any(entry.gave_way for entry in found.rounds), left=(1, 6))


def _target(entry: Round) -> str:
    """Error and bound; of angles that of the target that was told worst, and how many are below threshold."""
    angle = entry.angle
    if angle is None:
        return f"{number(entry.target_error, 2)} ({number(entry.target_crlb, 2)})" if not math.isnan(entry.target_crlb) else "-"
    unsure = sum(not one.sure for one in entry.angles)
    if unsure == len(entry.angles):
        return "below threshold"
    return f"{number(abs(angle.error), 2)} ({number(angle.bound, 2)})" + (f", {unsure} unsure" if unsure else "")


def _verdict(run: Run) -> str:
    judged = run.of("judged")
    if not judged:
        return ""
    failed = [event for event in judged if event.get("pass") is False]
    members = sum(int(event.get("members") or 0) for event in judged)
    said = "no member broke a promise" if not failed else f"{len(failed)} of {len(judged)} designs promised more than their worst member keeps"
    return f'<p class="small">Verdict of the adversary over {len(judged)} designs and {members} members of their sets: {said}.</p>'


def _flags(raised: list[str]) -> str:
    if not raised:
        return ""
    items = "".join(f"<li>{escape(one)}</li>" for one in raised)
    return f'<div class="warn"><b>Flags</b><ul>{items}</ul></div>'


def _emulated(run: Run) -> str:
    """What stood in for the hardware: the testbed's own words, which the controller never reads."""
    if run.about.get("air") or "testbed.toml" not in run.about["inputs"]:
        return ""
    asked = tomllib.loads(run.input("testbed.toml").decode()).get("emulated")
    if not asked:
        return ""
    rows = [("", [escape(name), escape(_words(value))]) for name, value in asked.items()]
    return table(["emulated", "as written in testbed.toml; what it leaves out has the emulator's default"], rows, left=(0, 1))


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_words(one)}" for key, one in value.items())
    if isinstance(value, list):
        return "; ".join(map(_words, value)) if value and isinstance(value[0], dict) else " ".join(map(_words, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
