"""The page of a sweep, of designs side by side, or of a figure of a paper: answer, figure, claims, provenance."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from hil import tasks
from hil.errors import InputError
from hil.figure import Claim, Drawing, Figure, Table
from hil.records import Run, files
from hil.report import curves, designs, swept
from hil.report.page import document, figure
from hil.report.provenance import provenance
from hil.report.table import table

HOLDS = {True: "holds", False: "does not hold", None: "cannot be compared"}


@dataclass(frozen=True, slots=True)
class Content:
    """What a page of this kind says. head: the finding; caption: how to read the figure."""

    head: str
    table: Table
    drawing: Drawing | None
    caption: str = ""
    claims: Sequence[Claim] = ()


def render(run: Run) -> Path:
    """Writes figures/study.svg and .png, where there is something to draw, and report.html."""
    made = content(run)
    sections = [("answer", "Answer", _answer(run, made))]
    if made.drawing is not None:
        image = curves.svg(made.drawing, "study")
        files.write_whole(run.folder / "figures" / "study.svg", image)
        files.write_whole(run.folder / "figures" / "study.png", curves.png(made.drawing))
        sections.append(("figure", "Figure", "<h2>Figure</h2>" + figure(run, "study", made.caption, image, made.drawing.title)))
    if made.claims:
        sections.append(("claims", "Claims", _claims(made.claims)))
    sections.append(("provenance", "Provenance", provenance(run)))
    path = run.folder / "report.html"
    files.write_whole(path, document(run, sections).encode())
    return path


def content(run: Run) -> Content:
    """By the command that made the run; of an interrupted one what there is so far."""
    return _CONTENT[run.study["command"]](run)


def _sweep(run: Run) -> Content:
    found = swept.trials(run)
    drawn = swept.drawing(run, found) if found else None
    said = "The promise is of the last round of each trial. The bound is on the promise. Right: each trial counts once."
    return Content(drawn.title if drawn else "Nothing was measured.", swept.table(run, found), drawn, said)


def _design(run: Run) -> Content:
    made = designs.table(run)
    return Content(designs.finding(run), made, None)


def _reproduce(run: Run) -> Content:
    wanted = figures(run.study["system"])[run.study["figure"]]
    asked = wanted.tasks(run.study["seeds"])
    results = tasks.kept(wanted.work, asked, seed=run.about["seed"], folder=run.folder / "tasks")
    if len(results) < len(asked):
        return Content(f"{len(results)} of {len(asked)} tasks are done: the figure is drawn when all are.", Table("", [], []), None)
    drawn = wanted.drawing(results)
    return Content(drawn.title, wanted.table(results), drawn, wanted.title, wanted.claims(results))


_CONTENT: dict[str, Callable[[Run], Content]] = {"sweep": _sweep, "design": _design, "reproduce": _reproduce}


def figures(system: str) -> dict[str, Figure]:
    """Figures of a system, by the paper's numbers. InputError `no-figures` for a system that has none."""
    try:
        found: Any = importlib.import_module(f"hil.systems.{system}.figures")
    except ModuleNotFoundError as error:
        if error.name is not None and not error.name.startswith(f"hil.systems.{system}"):
            raise
        raise InputError("no-figures", f"no figures of a system `{system}`", key="SYSTEM", found=system, fix="hil reproduce --list") from error
    held: dict[str, Figure] = found.FIGURES
    return held


def _answer(run: Run, made: Content) -> str:
    parts = [f"<h1>{escape(made.head)}</h1>"]
    if run.interrupted:
        again = f"hil {run.study['command']} --resume {run.name}"
        parts.append(f'<p class="warn">Not all of it is done. Continue with <code>{escape(again)}</code></p>')
    rows = [("", [escape(str(cell)) for cell in row]) for row in made.table.rows]
    parts.append(table([escape(head) for head in made.table.head], rows, escape(made.table.caption), left=_texts(made.table)))
    return "\n".join(parts)


def _texts(made: Table) -> list[int]:
    """Columns that hold words."""
    number = lambda text: text.lstrip("-\N{MINUS SIGN}+ ")[:1].isdigit()
    return [place for place in range(len(made.head)) if not any(number(str(row[place])) for row in made.rows)]


def _claims(claims: Sequence[Claim]) -> str:
    rows = []
    for one in claims:
        kind = "broken" if one.holds is False and one.must else ""
        rows.append((kind, [escape(one.paper), escape(one.found), HOLDS[one.holds], escape(one.why)]))
    return "<h2>Claims: what of the paper holds?</h2>" + table(["the paper says", "found here", "", "why"], rows, left=range(4))
