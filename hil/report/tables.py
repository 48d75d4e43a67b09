"""Tables that stand under a figure."""

from __future__ import annotations

import math
from html import escape

from hil.records import Run
from hil.report import signal, spent
from hil.report.facts import Facts, gain_split, number
from hil.report.table import table


def gain_table(found: Facts) -> str:
    """The steps in words, as the terminal's last lines."""
    split = gain_split(found)
    if len(split) < 2:
        return ""
    rows = [("", [escape(designer), number(measured, 1, " dB"), escape(said)]) for designer, measured, said in split]
    return table(["design", "measured", "so"], rows, left=(0, 2))


def signal_table(run: Run, found: Facts) -> str:
    """The last round of each design at each user."""
    rows = []
    unit = "dBm"
    wrong = _symbol_errors(run)
    for one in signal.rows(run, found):
        unit = one.spectrum.unit if one.spectrum is not None else unit
        evm = "-" if math.isnan(one.evm) else f"{100 * one.evm:.1f} % ({number(20 * math.log10(one.evm))} dB)"
        errors = "-" if not one.event.get("bits") else f"{one.event.get('bit_errors')} of {one.event['bits']}"
        cells = [escape(one.designer), escape(one.user), number(one.level), *map(number, one.acpr), number(max(one.floor)), evm, errors]
        if wrong:
            cells.append(wrong.get((one.round, one.designer, one.user), "-"))
        cells.append("-" if math.isnan(one.clipped) else f"{100 * one.clipped:.2f} %")
        rows.append(("", cells))
    if not rows:
        return ""
    errors = ["bit errors", "symbol errors"] if wrong else ["bit errors"]
    head = ["design", "user", f"in band,<br>{unit}", "below it,<br>dB", "above it,<br>dB", "silence,<br>dB", "EVM", *errors, "clipped"]
    return table(head, rows, "Each design's last round as received. Beside the band: re the power in it; silence: the receiver alone.", left=(0, 1))


def _symbol_errors(run: Run) -> dict[tuple[int, str, str], str]:
    """(round, designer, user) -> so many of so many, where results.csv counts symbols."""
    held = run.table()
    if "symbols" not in held or held["symbols"].dtype.kind not in "if":
        return {}
    columns = (held[name] for name in ("round", "designer", "user", "symbol_errors", "symbols"))
    return {(int(n), str(d), str(u)): f"{errors:.0f} of {of:.0f}" for n, d, u, errors, of in zip(*columns) if of > 0}


def time_table(run: Run) -> str:
    """Seconds of the whole run on both clocks."""
    bars = spent.bars(run)
    if not bars:
        return ""
    totals = [[sum(getattr(bar, clock)[part] for bar in bars) for part in spent.PARTS] for clock in ("clock", "wall")]
    rows = [
        ("", [name, *(number(value, 2) for value in values), number(sum(values), 2)]) for name, values in zip(("run's clock", "wall clock"), totals)
    ]
    return table(["s, whole run", *spent.PARTS, "sum"], rows, "", left=(0,))
