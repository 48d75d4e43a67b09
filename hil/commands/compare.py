"""`hil compare`: runs side by side."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hil.commands.streams import Streams
from hil.errors import InputError

LONGEST = 24  # letters of a setting's value


def compare(streams: Streams, names: Sequence[str], folder: Path) -> None:
    """Settings that differ, numbers with their differences from the first run and what noise alone would make, agreement of estimates."""
    if len(names) < 2:
        raise InputError("usage", "two runs are wanted, or more", key="hil compare", found=", ".join(names), fix="hil compare last~1 last")
    from hil.records import comparing, read

    found = comparing.compare([read(name, folder) for name in names])
    for line in lines(found):
        streams.result(line)
    streams.done(dataclasses.asdict(found))


def lines(found: Any) -> list[str]:
    """As a table: a column per run, then one per difference from the first."""
    many = len(found.runs) > 2
    rows = [("", *found.heads, *([f"{head} - {found.heads[0]}" for head in found.heads[1:]] if many else ["difference"]))]
    rows += [(setting.key, *(_value(value) for value in setting.values)) for setting in found.settings]
    for number in found.numbers:
        unit = f" [{number.unit}]" if number.unit else ""
        differences = (_difference(*pair, number) for pair in zip(number.differences, number.expected))
        rows.append((f"{number.what}{unit}", *(_decimal(value, number) for value in number.values), *differences))
    agreements = [f"{one.inside} of {one.of} inside each other's 95 % regions" for one in found.agreements]
    rows.append(("estimates", *[""] * len(found.runs), *agreements))
    widths = [max(len(row[column]) if column < len(row) else 0 for row in rows) for column in range(len(rows[0]))]
    told = [_line(row, widths, len(found.runs)) for row in rows]
    for name, one in zip(found.runs[1:], found.agreements):
        told += [f"outside     {what}" + (f" ({name})" if many else "") for what in one.outside]
    if not found.same_truth:
        told.append("note        seeds or benches differ: what was estimated need not have been the same")
    elif not found.same_times:
        told.append("note        measured at other times: what walks stood elsewhere, what drifts had drifted")
    return told


def _line(row: Sequence[str], widths: Sequence[int], runs: int) -> str:
    """Columns of runs end together, all others begin together."""
    cells = [cell.rjust(width) if 0 < column <= runs else cell.ljust(width) for column, (cell, width) in enumerate(zip(row, widths))]
    return "   ".join(cells).rstrip()


def _value(value: Any) -> str:
    text = "-" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def _decimal(value: float | None, number: Any) -> str:
    return "-" if value is None else f"{value:.{1 if number.unit == 'dB' else 2 if number.unit else 0}f}"


def _difference(value: float | None, expected: float | None, number: Any) -> str:
    if value is None:
        return "-"
    size = _decimal(abs(value), number)
    told = f"{'+' if value > 0.0 else '-'}{size}" if float(size) else "0"
    if expected is None:
        return told
    return f"{told}  {'within' if abs(value) <= expected else 'beyond'} the {expected:.2g} expected from noise"
