"""The page itself: whole, readable without network or scripts, the same every time, and made of any run however short."""

import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import pytest
from synthetic_run import BASELINES, make

from hil.records import read
from hil.report import figures, render

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


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = make(tmp_path_factory.mktemp("runs"))
    return folder, render(folder).read_text()


def test_the_page_is_well_formed_and_stands_alone(whole):
    folder, text = whole
    page = Page(text)
    assert len(page.ids) == len(set(page.ids))
    outside = [link for link in page.links if not link.startswith("#")]
    assert all((folder / link).is_file() for link in outside) and len(outside) == 5
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert "script" not in page.tags and "link" not in page.tags and "@import" not in text and "url(http" not in text
    assert [tag for tag in page.tags if tag == "section"] == ["section"] * 6 and page.tags.count("svg") == 4
    assert len(text) < 2_000_000


def test_the_page_answers_first(whole):
    page = Page(whole[1])
    assert "robust measured 17.5 dB at the worst user after 3 rounds, 1.8 dB above the best baseline (sparse, 15.7 dB)." in page.text
    assert "Promise kept in 3 of 3 rounds; the last 1.5 dB below the most" in page.text
    assert "EMULATED" in page.text and "nothing was radiated" in page.text and "ON THE AIR" not in page.text
    head = page.text.index("promised"), page.text.index("predicted"), page.text.index("measured bound")
    assert page.text.index("Place:") > max(head) and "1.8 dB of the gain need motion" in page.text


def test_provenance_lets_a_stranger_repeat_it(whole):
    run, text = read(whole[0]), Page(whole[1]).text
    for said in (run.name, run.about["command"], "seed 1", "5f1d0c7", "clarabel 0.11.1", *run.about["inputs"].values(), "emulated-ap1"):
        assert said in text


def test_every_figure_is_a_file_whose_text_is_text(whole):
    said = {
        "place": ["ap1", "sense1", "u2", "x, m", "y, m", "local x, wavelengths", "visited", "fixed-rzf, fixed", "round 3"],
        "promise": ["round", "SINR of the worst user and block, dB", "bound on the promise", "predicted", "robust 17.5", "sparse 15.7"],
        "rail": ["ap1 to u1", "ap2 to u2", "gain, dB", "phase, deg", "predicted, 95 %"],
        "time": ["s on the run's clock", "s on the wall clock", "0 explore", "1 robust", "overhead"],
    }
    for name, words in said.items():
        root = ElementTree.fromstring((whole[0] / "figures" / f"{name}.svg").read_bytes())
        texts = ["".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text")]
        for word in words:
            assert word in texts, (name, word)


def test_the_same_run_makes_the_same_page(whole):
    assert render(whole[0]).read_text() == whole[1]


def test_an_interrupted_run_has_a_page_with_a_grey_band(tmp_path):
    folder = make(tmp_path, end=None, rounds=2)
    text = Page(render(folder).read_text()).text
    assert f"Not a whole run. Continue with hil run --resume {folder.name}" in text
    promise, time = (folder / "figures/promise.svg").read_text(), (folder / "figures/time.svg").read_text()
    assert "no rounds:" in promise and "#e6e6e6" in promise and "not whole" in time and "3 robust" in time


def test_a_broken_promise_is_marked_in_words_not_only_in_colour(tmp_path):
    folder = make(tmp_path, shortfall_in=2)
    text = Page(render(folder).read_text()).text
    short = max(0.0, read(folder).table()["shortfall_db"][-4:].max())
    assert short > 0.1 and "BROKEN in round 2" in text and f"BROKEN {short:.1f}" in text
    assert "broken by" in (folder / "figures/promise.svg").read_text()


@pytest.mark.parametrize(
    "how",
    [
        dict(rounds=0, end=None),
        dict(rounds=0, baselines={}, fields=False, end=None),
        dict(rounds=1, baselines={}, targets=False),
        dict(rounds=9, fields=False, targets=False, end="fault"),
        dict(rounds=1, scenario=b"name = 'bare'"),
        dict(rounds=2, baselines={name: BASELINES[name] for name in ("sparse",)}, designer="my_module:My<Designer>", end="safe"),
    ],
)
def test_short_and_odd_runs_have_a_page_too(tmp_path, how):
    folder = make(tmp_path, **how)
    page = Page(render(folder).read_text())
    assert page.tags.count("svg") == 4 and not re.search(r"\bnan\b|\bNone\b", page.text)
    assert "designer" not in page.tags  # a name is text, whatever letters it has


def test_a_run_that_has_only_begun_has_a_page(tmp_path):
    from hil.records import RunWriter

    facts = dict(scenario_name="x", command="hil run x", seed=1, depth="process", inputs={}, versions={})
    RunWriter.create(tmp_path, "20260314-152033-x-k7qd", **facts).close()
    assert "No round was measured" in Page(render(tmp_path / "20260314-152033-x-k7qd").read_text()).text


def test_over_the_air_is_said_first(tmp_path):
    page = Page(render(make(tmp_path, air=True, rounds=1)).read_text())
    assert "ON THE AIR" in page.text and "EMULATED" not in page.text and "transmitters radiated" in page.text


def test_the_report_reads_the_folder_alone_and_changes_nothing_recorded(tmp_path):
    folder = make(tmp_path, rounds=1)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    render(folder)
    assert {path: path.read_bytes() for path in before} == before
    made = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file() and path not in before}
    assert made == {"report.html"} | {f"figures/{name}.svg" for name in ("place", "promise", "rail", "time")}
    done = subprocess.run(["sha512sum", "-c", "--quiet", "SHA512SUMS"], cwd=folder, capture_output=True)
    assert done.returncode == 0


def test_matplotlib_is_imported_only_to_draw_and_a_page_takes_seconds(whole):
    script = (
        "import sys, time, hil.report\n"
        "assert 'matplotlib' not in sys.modules and 'scipy' not in sys.modules\n"
        f"hil.report.render({str(whole[0])!r})\n"
        "assert 'torch' not in sys.modules and 'matplotlib.pyplot' not in sys.modules\n"
        "print(time.process_time())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 4.5  # of the processor; about 1.7 on a quiet machine


def test_findings_are_the_titles(whole):
    drawn = figures(read(whole[0]))
    for name, (image, says) in drawn.items():
        texts = "".join(ElementTree.fromstring(image).itertext()).replace("\N{NO-BREAK SPACE}", " ")
        assert re.sub(r"\s", "", says) in re.sub(r"\s", "", texts), name
