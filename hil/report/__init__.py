"""The report of a run: its figures and one HTML page, made from the run folder alone, also of an interrupted run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hil.records import Run, files, read
from hil.report import (
    angles,
    clocks,
    cooperation,
    gain,
    ground,
    knowledge,
    motion,
    page,
    phases,
    place,
    promise,
    rail,
    sets,
    signal,
    spent,
    study,
    target,
)  # fmt: skip
from hil.report.facts import Facts, Round, facts, gain_split

__all__ = ["Facts", "Round", "facts", "figures", "gain_split", "render"]

_DRAWN: dict[str, Callable[[Run, Facts], tuple[bytes, str] | None]] = {
    "place": place.draw,
    "promise": promise.draw,
    "gain": gain.draw,
    "rail": rail.draw,
    "signal": signal.draw,
    "knowledge": knowledge.draw,
    "sets": sets.draw,
    "clocks": clocks.draw,
    "phases": phases.draw,
    "target": target.draw,
    "motion": motion.draw,
    "time": spent.draw,
}
_OF_CELLS: dict[str, Callable[[Run, Facts], tuple[bytes, str] | None]] = {
    "place": ground.draw,
    "gain": cooperation.draw,
    "target": angles.draw,
}


def figures(run: Run) -> dict[str, tuple[bytes, str]]:
    """Each figure as (SVG, the finding it states); those for which the run recorded nothing are left out. Needs matplotlib."""
    found = facts(run)
    drawn = {name: draw(run, found) for name, draw in (_DRAWN | (_OF_CELLS if run.scenario.get("cell") else {})).items()}
    return {name: one for name, one in drawn.items() if one is not None}


def render(run: Run | str | Path) -> Path:
    """Writes figures/* and report.html into the run folder and returns the path of the page. Nothing else is read or written."""
    run = run if isinstance(run, Run) else read(run)
    if run.study:
        return study.render(run)
    drawn = figures(run)
    for name, (image, _) in drawn.items():
        files.write_whole(run.folder / "figures" / f"{name}.svg", image)
    path = run.folder / "report.html"
    files.write_whole(path, page.page(run, facts(run), drawn).encode())
    return path
