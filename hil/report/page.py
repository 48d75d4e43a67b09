"""One HTML page per run: no network, no script; a section is a printed page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from hil.records import Run
from hil.report import signal
from hil.report.answer import answer
from hil.report.facts import Facts
from hil.report.provenance import provenance
from hil.report.style import STYLE
from hil.report.tables import gain_table, signal_table, time_table


@dataclass(frozen=True, slots=True)
class Section:
    """A printed page. figures: name -> how to read it. absent: what is said when the run recorded nothing for any of them."""

    name: str
    question: str
    figures: Mapping[str, str]
    absent: str

    @property
    def title(self) -> str:
        return self.question.split(":")[0]


SECTIONS = (
    Section(
        "place",
        "Place: where did things stand?",
        {
            "place": "Plan view with the target as known before (dashed) and as found; a dashed line joins a transmitter and the user it "
            "serves. Along each rail: positions visited when exploring, those of the baselines, and of every round."
        },
        "Nothing was placed.",
    ),
    Section(
        "promise",
        "Promise: was it kept?",
        {
            "promise": "Every number is that of the worst user and block. Promised is the worst case over what is uncertain, bound what no "
            "design at these positions can promise. A promise counts as broken when the upper 99 % limit of what was measured lies below it."
        },
        "Nothing was promised.",
    ),
    Section(
        "gain",
        "Where the gain comes from: what needs a motor at all?",
        {
            "gain": "Measured in this run, on the same channels, each design pushed and received; \N{PLUS-MINUS SIGN} is the 95 % of both "
            "measurements' noise. The price of robustness needs a nominal design among the baselines. The bound is loose: no design passes "
            "it, none need reach it."
        },
        "Nothing was measured.",
    ),
    Section(
        "rail",
        "Channel along the rail: may we design where no antenna has been?",
        {
            "rail": "At the centre frequency. The band holds 95 % of the predictions' error; a point is compared with what was predicted "
            "before it was visited."
        },
        "No channel along a rail was predicted.",
    ),
    Section(
        "signal",
        "Signal: is the waveform clean?",
        {
            "signal": "The final design as each user received it. Bold: power from the edge of the used band (shaded) to the end of what was "
            f"sampled, over the power in the band. {signal.EVM}"
        },
        "No signal was measured.",
    ),
    Section(
        "knowledge",
        "Knowledge: are the error bars honest?",
        {
            "knowledge": "Solid above threshold, hollow below. Errors are known where a point was measured after it had been predicted, or "
            "surveyed; the grey strip is where 95 % of them should end, and n of m lie in their 95 % region.",
            "sets": "Radius of the ball around each link's channel, mean over the blocks, over the norm of that channel.",
            "clocks": "Frequency of the transmitter less that of the receiver, from the measuring captures, with 95 % bars.",
        },
        "No estimate was recorded.",
    ),
    Section(
        "target",
        "Target: does sensing reach its bound?",
        {
            "target": "Ellipses hold 95 %; dashed: baselines. A cross is where the target was surveyed at that moment, joined to its fix. "
            "The target walks, so rounds differ in place and in what a fix can do."
        },
        "No target was fixed.",
    ),
    Section(
        "motion",
        "Motion and time: did anything come close, and what should be made faster?",
        {
            "motion": "One letter per axis, drawn straight between where it began and where it arrived. Bars: 95 % of the read-back's own "
            "uncertainty.",
            "time": "Stacked in the order of a round. The time from one state to the next belongs to the state entered.",
        },
        "Nothing moved and no time was recorded.",
    ),
)
_ROWS = {"promise": "results.csv", "gain": "results.csv", "time": "timing.jsonl", "study": "results.csv"}  # all others: the events


def page(run: Run, found: Facts, figures: dict[str, tuple[bytes, str]]) -> str:
    """The whole report. figures: name -> (SVG, finding)."""
    sections = [("answer", "Answer", answer(run, found))]
    sections += [(section.name, section.title, _section(run, found, section, figures)) for section in SECTIONS]
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
