"""`hil runs` and `hil report`: what there is, and its page."""

from __future__ import annotations

import shutil
from pathlib import Path

from hil.commands.streams import Streams


def runs(streams: Streams, folder: Path) -> None:
    """A table of the runs in a folder, oldest first."""
    from hil.records import list_runs

    found = list_runs(folder)
    rows = [("run", "scenario", "seed", "depth", "rounds", "measured", "ended")]
    for one in found:
        measured = "-" if one.measured is None else f"{one.measured:.1f} {one.unit}"
        rows.append((one.name, one.scenario, str(one.seed), one.depth, str(one.rounds), measured, one.ended))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows if found else []:
        cells = [
            cell.rjust(width) if 2 <= column <= 5 and column != 3 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths))
        ]
        streams.result("  ".join(cells).rstrip())
    if not found:
        streams.say(f"no runs in {folder}; `hil run BENCH` makes one")
    names = ("name", "scenario", "seed", "depth", "started", "ended", "rounds", "measured", "unit")
    streams.done({"runs": [{name: getattr(one, name) for name in names} for one in found]})


def report(streams: Streams, run: str, folder: Path, out: Path | None) -> None:
    """Make the report of a run from its folder alone, also of an interrupted one; prints where it is."""
    from hil.records import resolve

    found = resolve(run, folder)
    from hil.report import render

    page = render(found)
    if out is not None:
        shutil.copyfile(page, out)
        page = out
    streams.result(str(page))
    streams.done({"report": str(page)})
