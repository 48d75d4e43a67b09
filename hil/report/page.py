"""One HTML page per run: no network, no script; a section is a printed page."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from hil.records import Run
from hil.report.angles import angle_table
from hil.report.answer import answer
from hil.report.facts import Facts
from hil.report.provenance import provenance
from hil.report.sections import Section, sections_of
from hil.report.style import STYLE
from hil.report.tables import gain_table, signal_table, time_table

_ROWS = {"promise": "results.csv", "gain": "results.csv", "time": "timing.jsonl", "study": "results.csv"}  # all others: the events


def page(run: Run, found: Facts, figures: dict[str, tuple[bytes, str]]) -> str:
    """The whole report. figures: name -> (SVG, finding)."""
    sections = [("answer", "Answer", answer(run, found))]
    sections += [(section.name, section.title, _section(run, found, section, figures)) for section in sections_of(run)]
    sections.append(("provenance", "Provenance", provenance(run)))
    return document(run, sections)


def document(run: Run, sections: Sequence[tuple[str, str, str]]) -> str:
    """A page of sections (name, title, content): each printed on its own."""
    body = "\n".join(f'<section id="{name}">\n{content}\n</section>' for name, _, content in sections)
    links = "".join(f'<a href="#{name}">{escape(title)}</a>' for name, title, _ in sections)
    air = run.about.get("air")
    tag = '<span class="tag air">ON THE AIR</span>' if air else '<span class="tag">EMULATED</span>'
    started = str(run.about.get("started", ""))[:16].replace("T", " ")
    facts = f"<span>{escape(started)} UTC</span><span>seed {run.about.get('seed')}</span>"
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(run.name)}</title><style>{STYLE}</style></head>\n<body>\n"
        f"<header><b>{escape(run.name)}</b>{tag}{facts}</header>\n<nav>{links}</nav>\n{body}\n</body></html>\n"
    )


def _section(run: Run, found: Facts, section: Section, figures: dict[str, tuple[bytes, str]]) -> str:
    parts = [f"<h2>{escape(section.question)}</h2>"]
    parts += [figure(run, name, caption, *figures[name]) for name, caption in section.figures.items() if name in figures]
    if len(parts) == 1:
        parts.append(f"<p>{escape(section.absent)}</p>")
    if section.name == "gain":
        parts.append(gain_table(found))
    if section.name == "target":
        parts.append(angle_table(run))
    if section.name == "signal":
        parts.append(signal_table(run, found))
    if section.name == "motion":
        parts.append(time_table(run))
    return "\n".join(part for part in parts if part)


def figure(run: Run, name: str, caption: str, image: bytes, says: str) -> str:
    """An SVG in the page, with links to itself and to the rows it was drawn from."""
    text = image.decode()
    text = text[text.index("<svg") :].replace("<svg", f'<svg role="img" aria-label="{escape(says, quote=True)}"', 1)
    rows = _ROWS.get(name, "events.jsonl")
    links = f'<a href="figures/{name}.svg">SVG</a>'
    if (run.folder / rows).exists():
        links += f' &middot; <a href="{rows}">rows</a>'
    return f"<figure>{text}<figcaption>{escape(caption)} {links}</figcaption></figure>"
