"""One HTML page per run: no network, no script; a section is a printed page."""

from __future__ import annotations

from html import escape

from hil.records import Run
from hil.report import spent
from hil.report.answer import answer
from hil.report.facts import Facts, number
from hil.report.provenance import provenance
from hil.report.style import STYLE
from hil.report.table import table

# figure -> (what it answers, how to read it)
QUESTIONS = {
    "place": (
        "Place: where did things stand?",
        "Plan view with the target as known before (dashed) and as found; a dashed line joins a transmitter and the user it serves. "
        "Along each rail: positions visited when exploring, those of the baselines, and of every round.",
    ),
    "promise": (
        "Promise: was it kept?",
        "Every number is that of the worst user and block. Promised is the worst case over what is uncertain, bound what no design at "
        "these positions can pass. A promise counts as broken when the upper 99 % limit of what was measured lies below it.",
    ),
    "rail": (
        "Channel along the rail: may we design where no antenna has been?",
        "At the centre frequency. The band holds 95 % of the predictions' error; a point is compared with what was predicted before "
        "it was visited.",
    ),
    "time": (
        "Time: what should be made faster?",
        "Stacked in the order of a round. The time from one state to the next belongs to the state entered.",
    ),
}


def page(run: Run, found: Facts, figures: dict[str, tuple[bytes, str]]) -> str:
    """The whole report. figures: name -> (SVG, finding)."""
    sections = [("answer", answer(run, found))]
    for name, (image, says) in figures.items():
        question, caption = QUESTIONS[name]
        extra = _time_table(run) if name == "time" else ""
        sections.append((name, _figure(name, question, caption, image, says) + extra))
    sections.append(("provenance", provenance(run)))
    titles = {"answer": "Answer", "provenance": "Provenance"} | {name: QUESTIONS[name][0].split(":")[0] for name in figures}
    body = "\n".join(f'<section id="{name}">\n{content}\n</section>' for name, content in sections)
    links = "".join(f'<a href="#{name}">{escape(titles[name])}</a>' for name, _ in sections)
    air = run.about.get("air")
    tag = '<span class="tag air">ON THE AIR</span>' if air else '<span class="tag">EMULATED</span>'
    started = str(run.about.get("started", ""))[:16].replace("T", " ")
    facts = f"<span>{escape(started)} UTC</span><span>seed {run.about.get('seed')}</span>"
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(run.name)}</title><style>{STYLE}</style></head>\n<body>\n"
        f"<header><b>{escape(run.name)}</b>{tag}{facts}</header>\n<nav>{links}</nav>\n{body}\n</body></html>\n"
    )


def _figure(name: str, question: str, caption: str, image: bytes, says: str) -> str:
    text = image.decode()
    text = text[text.index("<svg") :].replace("<svg", f'<svg role="img" aria-label="{escape(says, quote=True)}"', 1)
    files = f'<a href="figures/{name}.svg">SVG</a>' + (' &middot; <a href="results.csv">rows</a>' if name == "promise" else "")
    return f"<h2>{escape(question)}</h2>\n<figure>{text}<figcaption>{escape(caption)} {files}</figcaption></figure>"


def _time_table(run: Run) -> str:
    bars = spent.bars(run)
    if not bars:
        return ""
    totals = [[sum(getattr(bar, clock)[part] for bar in bars) for part in spent.PARTS] for clock in ("clock", "wall")]
    rows = [
        ("", [name, *(number(value, 2) for value in values), number(sum(values), 2)])
        for name, values in zip(("run's clock", "wall clock"), totals)
    ]
    return table(["s, whole run", *spent.PARTS, "sum"], rows, "", left=(0,))
