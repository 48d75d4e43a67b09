"""The page itself: whole, readable without network or scripts, the same every time, and made of any run however short."""

import html
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import pytest
from synthetic_run import BASELINES, make

from hil.records import RunWriter, read
from hil.report import facts, page, place, promise, render, signal, spent

FIGURES = ["place", "promise", "gain", "rail", "signal", "knowledge", "sets", "clocks", "target", "motion", "time"]

VOID = {"meta", "br", "link", "img", "hr", "input"}


class Page(HTMLParser):
    """Collects tags, ids, links and text; fails on a tag that is not closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.ids, self.links, self.words = [], [], [], [], []
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        for name, value in attributes:
            if name == "id":
                self.ids.append(value)
            if name in ("href", "src", "xlink:href"):
                self.links.append(value)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).replace("\N{NO-BREAK SPACE}", " ").split())


def words_of(folder):
    """The page without its figures, which take most of the time."""
    run = read(folder)
    return Page(page.page(run, facts(run), {}))


def labels_of(text):
    """What each figure of a page says to somebody who cannot see it."""
    return [html.unescape(label) for label in re.findall(r'<svg role="img" aria-label="([^"]*)"', text)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = make(tmp_path_factory.mktemp("runs"))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return folder, render(folder).read_text(), before


def test_the_page_is_well_formed_and_stands_alone(whole):
    folder, text, _ = whole
    found = Page(text)
    assert len(found.ids) == len(set(found.ids))
    outside = [link for link in found.links if not link.startswith("#")]
    assert all((folder / link).is_file() for link in outside) and len(outside) == 2 * len(FIGURES)  # each figure and its rows
    assert {link[1:] for link in found.links if link.startswith("#")} <= set(found.ids)
    assert "script" not in found.tags and "link" not in found.tags and "@import" not in text and "url(http" not in text
    assert found.tags.count("section") == 10 and found.tags.count("svg") == len(FIGURES)
    assert len(text) < 2_000_000


def test_the_page_answers_first(whole):
    found = Page(whole[1])
    assert "It worked: robust measured 17.5 dB at the worst user after 3 rounds." in found.text
    assert "That is 1.8 \N{PLUS-MINUS SIGN} 0.17 dB above the best baseline (sparse, 15.7 dB), 6.7 dB above fixed-rzf (10.8 dB)" in found.text
    assert "Promise kept in 3 of 3 rounds; what was measured lies 0.15 dB from what was predicted in the median of 6 designs, 0.20 dB" in found.text
    assert "EMULATED" in found.text and "nothing was radiated" in found.text and "ON THE AIR" not in found.text
    head = found.text.index("promised"), found.text.index("predicted"), found.text.index("measured bound")
    assert found.text.index("Place:") > max(head) and "1.8 dB of the gain need motion" in found.text


def test_what_was_emulated_is_said_in_the_testbeds_own_words(whole):
    text = Page(whole[1]).text
    assert "class tcxo, spread_ppm 3" in text and "scatterers 6" in text and "EMULATED" in text


def test_provenance_lets_a_stranger_repeat_it(whole):
    run, text = read(whole[0]), Page(whole[1]).text
    for said in (run.name, run.about["command"], "seed 1", "5f1d0c7", "clarabel 0.11.1", *run.about["inputs"].values(), "emulated-ap1"):
        assert said in text


def test_every_figure_is_a_file_whose_text_is_text(whole):
    said = {
        "place": ["ap1", "sense1", "u2", "x, m", "y, m", "local x, wavelengths", "visited", "fixed-rzf, fixed", "round 3"],
        "promise": ["round", "SINR of the worst user and block, dB", "bound on the promise", "predicted", "robust 17.5", "sparse 15.7"],
        "gain": [
            "SINR of the worst user, dB",
            "wider array,",
            "no motor",
            "motion",
            "+1.8 dB",
            "+3.0 dB",
            "10.8 dB",
            "17.5 dB",
            "at any positions",
        ],
        "rail": ["ap1 to u1", "ap2 to u2", "gain, dB", "phase, deg", "predicted, 95 %"],
        "signal": ["u1: received, robust", "dBm/Hz", "MHz from the carrier", "used band", "silence", "u2: 16qam", "I, of the rms symbol", "promised"],
        "knowledge": ["std over CRLB", "error over its std", "target position", "channel, predicted", "carrier offset", "not known"],
        "sets": ["ap1-u2", "radius, % of channel", "for noise", "for what moves in the room", "of the CRLB alone", "sparse"],
        "clocks": ["Hz off the mean", "s on the run's clock"],
        "target": ["error, m", "loss, dB", "surveyed then", "robust, by round", "y, m"],
        "motion": ["on the axis, mm", "gap, mm", "off, \N{MICRO SIGN}m", "spacing 42.8 mm", "exploring", "rail2: asked hollow, read back solid"],
        "time": ["s on the run's clock", "s on the wall clock", "0 explore", "1 robust", "overhead"],
    }
    assert list(said) == FIGURES
    for name, words in said.items():
        root = ElementTree.fromstring((whole[0] / "figures" / f"{name}.svg").read_bytes())
        texts = ["".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text")]
        for word in words:
            assert word in texts, (name, word)


def test_the_same_run_makes_the_same_page_and_figures(whole):
    run = read(whole[0])
    for name, draw in (("place", place.draw), ("signal", signal.draw)):
        assert draw(run, facts(run))[0] == (run.folder / "figures" / f"{name}.svg").read_bytes()
    drawn = {name: ((run.folder / "figures" / f"{name}.svg").read_bytes(), says) for name, says in zip(FIGURES, labels_of(whole[1]))}
    assert page.page(run, facts(run), drawn) == whole[1]


def test_an_interrupted_run_has_a_page_with_a_grey_band(tmp_path):
    folder = make(tmp_path, end=None, rounds=2)
    run, text = read(folder), words_of(folder).text
    assert f"Not a whole run. Continue with hil run --resume {folder.name}" in text and "It was cut short: robust measured" in text
    drawn, time = (draw(run, facts(run))[0].decode() for draw in (promise.draw, spent.draw))
    assert "no rounds:" in drawn and "#e6e6e6" in drawn and "not whole" in time and "3 robust" in time


def test_a_broken_promise_is_marked_in_words_not_only_in_colour(tmp_path):
    folder = make(tmp_path, shortfall_in=2)
    run, text = read(folder), words_of(folder).text
    short = max(0.0, run.table()["shortfall_db"][-4:].max())
    assert short > 0.1 and "BROKEN in round 2" in text and f"BROKEN {short:.1f}" in text and "2 flags raised" in text
    assert f"The promise of robust in round 2 was broken by {short:.1f} dB." in text
    assert "broken by" in promise.draw(run, facts(run))[0].decode()


@pytest.mark.parametrize(
    "how",
    [
        dict(rounds=0, end=None, baselines={"fixed": BASELINES["fixed"]}),
        dict(rounds=0, baselines={}, fields=False, end=None),
        dict(rounds=1, baselines={}, targets=False),
        dict(rounds=9, baselines={}, fields=False, targets=False, end="fault"),
        dict(rounds=1, scenario=b"name = 'bare'"),
        dict(rounds=2, baselines={name: BASELINES[name] for name in ("sparse",)}, designer="my_module:My<Designer>", end="safe"),
    ],
)
def test_short_and_odd_runs_have_a_page_too(tmp_path, how):
    folder = make(tmp_path, **how)
    found = Page(render(folder).read_text())
    assert 2 <= found.tags.count("svg") == len(list((folder / "figures").glob("*.svg"))) and found.tags.count("section") == 10
    assert not re.search(r"\bnan\b|\bNone\b|\binf\b", found.text)
    assert "designer" not in found.tags  # a name is text, whatever letters it has


def test_a_run_that_has_only_begun_has_a_page(tmp_path):
    facts = dict(scenario_name="x", command="hil run x", seed=1, depth="process", inputs={}, versions={})
    RunWriter.create(tmp_path, "20260314-152033-x-k7qd", **facts).close()
    assert "No round was measured" in Page(render(tmp_path / "20260314-152033-x-k7qd").read_text()).text


def test_over_the_air_is_said_first(tmp_path):
    found = words_of(make(tmp_path, air=True, rounds=1))
    assert "ON THE AIR" in found.text and "EMULATED" not in found.text and "transmitters radiated" in found.text
    assert "spread_ppm" not in found.text  # what an emulator would have done is of no account


def test_the_report_reads_the_folder_alone_and_changes_nothing_recorded(whole):
    folder, _, before = whole
    assert {path: path.read_bytes() for path in before} == before
    made = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file() and path not in before}
    assert made == {"report.html"} | {f"figures/{name}.svg" for name in FIGURES}
    done = subprocess.run(["sha512sum", "-c", "--quiet", "SHA512SUMS"], cwd=folder, capture_output=True)
    assert done.returncode == 0


def test_matplotlib_is_imported_only_to_draw():
    script = (
        "import sys, hil.report, hil.report.page\n"
        "assert 'matplotlib' not in sys.modules and 'scipy' not in sys.modules\n"
        "from hil.report import look\n"
        "with look.figure(1.0) as fig: look.svg(fig, 'empty')\n"
        "assert 'torch' not in sys.modules and 'matplotlib.pyplot' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_findings_are_the_titles(whole):
    labels = labels_of(whole[1])
    assert len(labels) == len(FIGURES)
    for name, says in zip(FIGURES, labels):
        texts = "".join(ElementTree.parse(whole[0] / "figures" / f"{name}.svg").getroot().itertext())
        assert re.sub(r"\s", "", says) in re.sub(r"\s", "", texts), name
