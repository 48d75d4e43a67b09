"""The report of a run: four figures and one HTML page, made from the run folder alone, also of an interrupted run."""

from __future__ import annotations

from pathlib import Path

from hil.records import Run, files, read
from hil.report import page, place, promise, rail, spent
from hil.report.facts import Facts, Round, facts, gain_split

__all__ = ["Facts", "Round", "facts", "figures", "gain_split", "render"]

_DRAWN = {"place": place.draw, "promise": promise.draw, "rail": rail.draw, "time": spent.draw}


def figures(run: Run) -> dict[str, tuple[bytes, str]]:
    """Each figure as (SVG, the finding it states). Needs matplotlib."""
    found = facts(run)
    return {name: draw(run, found) for name, draw in _DRAWN.items()}


def render(run: Run | str | Path) -> Path:
    """Writes figures/*.svg and report.html into the run folder and returns the path of the page. Nothing else is read or written."""
    run = run if isinstance(run, Run) else read(run)
    drawn = figures(run)
    for name, (image, _) in drawn.items():
        files.write_whole(run.folder / "figures" / f"{name}.svg", image)
    path = run.folder / "report.html"
    files.write_whole(path, page.page(run, facts(run), drawn).encode())
    return path
