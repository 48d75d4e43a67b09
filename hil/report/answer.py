"""The first page: did it work, by how much, may it be believed."""

from __future__ import annotations

import math
from html import escape

from hil.records import Run
from hil.report import look
from hil.report.facts import Facts, ending, gain_split, medium, number, promise_kept
from hil.report.table import table


def answer(run: Run, found: Facts) -> str:
    first, *rest = sentences(run, found)
    parts = [f"<h1>{escape(first)}</h1>"] + [f"<p>{escape(sentence)}</p>" for sentence in rest]
    if run.interrupted:
        parts.append(f'<p class="warn">Not a whole run. Continue with <code>hil run --resume {escape(run.name)}</code></p>')
    parts += [_summary(found), _gains(found), _verdict(run, found)]
    return "\n".join(part for part in parts if part)


def sentences(run: Run, found: Facts) -> list[str]:
    """Did it work, by how much, may I believe it; and whether it was real."""
    final = found.final
    if final is None:
        return ["No round was measured: there is nothing to report yet.", medium(run)]
    rounds = len({entry.number for entry in found.designed})
    best = max((entry for entry in map(found.last, found.baselines) if entry is not None), key=lambda entry: entry.measured, default=None)
    after = f" after {rounds} round{'s' if rounds != 1 else ''}" if rounds else ""
    head = f"{final.designer} measured {number(final.measured)} dB at the worst user{after}"
    if best is not None:
        gain = final.measured - best.measured
        head += (
            f", {number(abs(gain))} dB {'above' if gain >= 0 else 'BELOW'} the best baseline ({best.designer}, {number(best.measured)} dB)"
        )
    believe = f"{promise_kept(found)[:1].upper()}{promise_kept(found)[1:]}"
    if not math.isnan(final.bound) and not math.isnan(final.promised):
        believe += f"; the last {number(max(0.0, final.bound - final.promised))} dB below the most that any design at these positions can promise"
    if not math.isnan(final.predicted):
        believe += f". What was measured last lies {number(abs(final.measured - final.predicted))} dB from what was predicted"
    where = medium(run)
    return [head + ".", believe + ".", f"{where} {ending(run)[:1].upper()}{ending(run)[1:]}."]


def _summary(found: Facts) -> str:
    if not found.rounds:
        return ""
    head = [
        "round",
        "design",
        "promised",
        "predicted",
        "measured",
        "bound",
        "worst<br>user",
        "target, m (CRLB)",
        "EVM",
        "moved",
        "took",
        "promise",
    ]
    rows = []
    for entry in found.rounds:
        target = f"{number(entry.target_error, 2)} ({number(entry.target_crlb, 2)})" if not math.isnan(entry.target_crlb) else "-"
        moved = f"{entry.moved:.0f}/{entry.movable:.0f}" if not math.isnan(entry.moved + entry.movable) else "-"
        kept = {None: "-", True: "kept", False: f"BROKEN {number(entry.shortfall)}"}[entry.kept]
        kind = " ".join(name for name, on in (("final", entry is found.final), ("broken", entry.kept is False)) if on)
        solid = "transparent" if entry.designer in look.HOLLOW else look.hue(entry.designer)
        swatch = f'<span class="swatch" style="border-color:{look.hue(entry.designer)};background:{solid}"></span>'
        cells = [
            str(entry.number),
            swatch + escape(entry.designer),
            number(entry.promised),
            number(entry.predicted),
            number(entry.measured),
            number(entry.bound),
            escape(entry.user),
            target,
            "-" if math.isnan(entry.evm) else f"{100 * entry.evm:.0f} %",
            moved,
            number(entry.took, 1, " s"),
            kept,
        ]
        rows.append((kind, cells))
    return table(head, rows, "Worst user and block, dB. Every row is in results.csv, by user.", left=(1, 6))


def _gains(found: Facts) -> str:
    split = gain_split(found)
    if len(split) < 2:
        return ""
    rows = [("", [escape(designer), number(measured, 1, " dB"), escape(said)]) for designer, measured, said in split]
    return table(
        ["design", "measured", "so"], rows, "Where the gain comes from: each step on the same channels, measured in this run.", left=(0, 2)
    )


def _verdict(run: Run, found: Facts) -> str:
    judged = run.of("judged")
    if not judged:
        return ""
    failed = [event for event in judged if event.get("pass") is False]
    members = sum(int(event.get("members") or 0) for event in judged)
    said = (
        "none of them broke a promise"
        if not failed
        else f"{len(failed)} of {len(judged)} designs promised more than their worst member keeps"
    )
    warned = len(run.of("warned"))
    more = f" {warned} warning{'s' if warned != 1 else ''}: see log.txt." if warned else ""
    return f'<p class="small">Verdict of the adversary over {len(judged)} designs and {members} members of their sets: {said}.{more}</p>'
