"""The pages of a run's report: the question of each, its figures, and how to read them. Benches differ in what there is to ask."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace

from hil.records import Run
from hil.report import phases, signal


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
            "phases": "Of the later base stations against the first, from soundings of all links at one time; hollow below threshold.",
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
_CELLS = {  # in place of the pages above, where base stations of several cells stand still and tell targets by their angles
    "place": Section(
        "place",
        "Place: where did things stand?",
        {
            "place": "Plan view. A base station sends and listens from one place; the ray is where it heard its own target last, the wedge holds "
            "95 %, both dashed or pale below threshold. Small crosses: where the target was surveyed in earlier rounds; it walks."
        },
        "Nothing was placed.",
    ),
    "gain": Section(
        "gain",
        "Cooperation and caution: what is each worth?",
        {
            "gain": "The last round of each design on the channels of this run, each pushed and received; every design is asked for the same SINR "
            "and spends what is left on the targets' angles, so a higher SINR is not the aim. Bars hold 95 %."
        },
        "Nothing was measured.",
    ),
    "target": Section(
        "target",
        "Target: does sensing reach its bound?",
        {
            "target": "Each base station's own target. A fix is used by the next design only above threshold; below, its error is no error bar's "
            "business. What a target's walk does not tell from the standing room is lost with it."
        },
        "No target's angle was told.",
    ),
    "motion": Section(
        "motion",
        "Time: what should be made faster?",
        {"time": "Nothing moves on this bench. Stacked in the order of a round. The time from one state to the next belongs to the state entered."},
        "No time was recorded, and nothing moves on this bench.",
    ),
}


def sections_of(run: Run) -> list[Section]:
    """The pages of a run, in order. Where nothing can move there is no rail to ask about."""
    found = [_CELLS.get(section.name, section) for section in SECTIONS] if run.scenario.get("cell") else list(SECTIONS)
    if still(run):
        found = [_CELLS["motion"] if section.name == "motion" else section for section in found if section.name != "rail"]
    more = {}
    if assumed := phases.assumption(run):
        more["phases"] = f" Assumed: {assumed}."
    if any(signal.deeper(str(event.get("designer") or "")) for event in run.of("designed")):
        more |= dict.fromkeys(("promise", "gain"), " SINR of a symbol-level design: its least margin squared over the noise.")
    single = run.scenario.get("design", {}).get("waveform") == "single-carrier"
    return [replace(section, figures=_captions(section, more, single)) for section in found]


def _captions(section: Section, more: Mapping[str, str], single: bool) -> dict[str, str]:
    texts = {name: text + more.get(name, "") for name, text in section.figures.items()}
    return {name: text.replace(signal.EVM, signal.EVM_SINGLE) if single else text for name, text in texts.items()}


def still(run: Run) -> bool:
    """Whether the bench's own file says that no element rides on an axis, and none moved."""
    if "testbed.toml" not in run.about["inputs"] or run.of("moved"):
        return False
    wires = tomllib.loads(run.input("testbed.toml").decode()).get("wire", [])
    return not any(axis for wire in wires for axis in wire.get("axes", ()))
