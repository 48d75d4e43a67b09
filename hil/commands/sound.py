"""`hil sound`: the emulator measured by its own sounder, truth beside measurement, and the error budget that the tolerances rest on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hil.commands.streams import Streams

HEADS = ("quantity", "where", "truth", "measured", "difference", "tolerance", "unit")
LEAST_DB = -250.0  # a term below this is not there


def sound(streams: Streams, paths: Sequence[Path], seed: int) -> int:
    """Print a line per quantity and the budget per link; 1 when a line fails."""
    from hil import bench

    sounding = bench.sound(bench.load(*paths), seed)
    for text in lines(sounding.parts):
        streams.result(text)
    for text in budget(sounding.budgets):
        streams.result(text)
    failed = [line for line in sounding.lines if not line.ok]
    for line in failed:
        streams.result(f"{streams.paint('FAIL', 'red', streams.out)}  {line.quantity}, {line.where}: {line.why}")
    verdict = f"{len(sounding.lines) - len(failed)} of {len(sounding.lines)} lines within tolerance, seed {seed}"
    streams.result(verdict)
    streams.done(
        {
            "seed": seed,
            "lines": [{"part": part, **plain(line)} for part, found in sounding.parts.items() for line in found],
            "budget_db": {name: {**one.terms, "total": one.total_db} for name, one in sounding.budgets.items()},
        },
        ok=not failed,
    )
    return 1 if failed else 0


def plain(line: Any) -> dict[str, Any]:
    names = ("quantity", "where", "truth", "measured", "difference", "tolerance", "unit", "at_most", "budget", "term", "ok")
    return {name: getattr(line, name) for name in names}


def lines(parts: Mapping[str, Sequence[Any]]) -> list[str]:
    """A table per part; numbers with one digit more than their tolerance needs."""
    rows = {part: [_cells(line) for line in found] for part, found in parts.items()}
    every = [HEADS, *(row for found in rows.values() for row in found)]
    widths = [max(len(row[column]) for row in every) for column in range(len(HEADS))]
    told = []
    for part, found in rows.items():
        told += [f"-- {part}", _line(HEADS, widths), *(_line(row, widths) for row in found), ""]
    return told


def _cells(line: Any) -> tuple[str, ...]:
    needed = line.tolerance or 0.1
    digits = min(max(0, 1 - math.floor(math.log10(needed))), 9)
    truth = f"{'<= ' if line.at_most else ''}{line.truth:.{digits}f}"
    tolerance = "-" if line.at_most else f"{line.tolerance:.2g}"
    return line.quantity, line.where, truth, f"{line.measured:.{digits}f}", f"{line.difference:+.{digits}f}", tolerance, line.unit


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [cell.rjust(width) if 2 <= column <= 5 else cell.ljust(width) for column, (cell, width) in enumerate(zip(row, widths))]
    return "  ".join(cells).rstrip()


def budget(budgets: Mapping[str, Any]) -> list[str]:
    """Terms down, links across: the sounder's cable and, of the bench's links, the one with most of each term."""
    own, *links = budgets.values()
    told = [f"-- error budget, dB of the strongest path: a cable of the sounder, and the worst of {len(links)} links of this bench"]
    names = list(own.terms)
    width = max(map(len, [*names, "sum"]))
    for name in names:
        worst = max((one.terms[name] for one in links), default=own.terms[name])
        told.append(f"{name.ljust(width)}  {_decibels(own.terms[name]):>8}  {_decibels(worst):>8}")
    worst = max((one.total_db for one in links), default=own.total_db)
    told += [f"{'sum'.ljust(width)}  {_decibels(own.total_db):>8}  {_decibels(worst):>8}", ""]
    return told


def _decibels(value: float) -> str:
    return "none" if value < LEAST_DB else f"{value:.1f}"
