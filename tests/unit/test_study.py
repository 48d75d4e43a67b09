"""Many tasks in one run folder: kept, stopped, resumed, refused where something else is asked for; a figure from its tasks alone."""

from __future__ import annotations

import dataclasses
import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import hil.tasks
from hil import cli
from hil.commands import listing, reproduce, study
from hil.commands.streams import Streams
from hil.errors import InputError
from hil.figure import Claim, Curve, Drawing, Figure, Mark, Panel, Table
from hil.records import read, verifying
from hil.report import curves, render

STOP: list[int] = []  # tasks before which Ctrl-C comes


def work(parameters: Any, seed: np.random.SeedSequence) -> dict[str, float]:
    if parameters["drop"] in STOP:
        raise KeyboardInterrupt
    if parameters["drop"] == 99:
        raise ValueError("no such drop")
    return {"value": parameters["gain"] + float(np.random.default_rng(seed).standard_normal())}


def tasks_of(seeds: int) -> list[dict[str, Any]]:
    return [{"drop": drop, "gain": gain} for drop in range(seeds) for gain in (0.0, 10.0)]


def drawing(results: Any) -> Drawing:
    x = [0.0, 10.0]
    y = [float(np.mean([one["value"] for asked, one in results if asked["gain"] == gain])) for gain in x]
    panel = Panel("gain, dB", "value, dB", [Curve("found", x, y, [one - 1 for one in y], [one + 1 for one in y])], marks=[Mark("y", 10.0, "asked")])
    return Drawing("Gain counts", [panel])


def claims(results: Any) -> list[Claim]:
    most = max(one["value"] for _, one in results)
    return [Claim("gain helps", f"up to {most:.1f}", most > LIMIT[0], "it is added"), Claim("numbers", "units are not given", None)]


LIMIT = [1.0]
FIGURE = Figure(
    "Value against gain", 2, tasks_of, work, lambda asked, one: [{**asked, **one}], drawing,
    lambda results: Table("means", ["gain", "value"], [["0", "1.0"], ["10", "11.0"]]), claims,
)  # fmt: skip


@pytest.fixture
def streams() -> Streams:
    return Streams("reproduce", json=True, out=io.StringIO(), err=io.StringIO())


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system `toy` with one figure."""
    monkeypatch.setitem(sys.modules, "hil.systems.toy", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "hil.systems.toy.figures", SimpleNamespace(FIGURES={"1": FIGURE}))
    STOP.clear()
    LIMIT[0] = 1.0


def asked(runs: Path, **changes: Any) -> reproduce.Asked:
    resume = changes.pop("resume", None)
    where = study.Where(runs, "local", 0, resume)
    return dataclasses.replace(reproduce.Asked("toy", "1", None, where), **changes)


def test_a_figure_is_a_run_with_table_claims_and_picture(tmp_path: Path, streams: Streams) -> None:
    assert reproduce.reproduce(streams, asked(tmp_path)) == 0
    run = read("last", tmp_path)
    assert "-toy-1-" in run.name and run.ended == "done" and not run.interrupted and verifying.verify(run.folder).whole
    table = run.table()
    assert table["drop"].tolist() == [0, 0, 1, 1] and np.all(np.isfinite(table["value"]))
    told = json.loads(streams.out.getvalue())  # type: ignore[attr-defined]
    assert told["ok"] and told["result"]["claims"][0]["holds"] and told["result"]["title"] == "Gain counts"
    assert (run.folder / "figures" / "study.png").read_bytes()[1:4] == b"PNG" and "value, dB" in (run.folder / "figures" / "study.svg").read_text()
    page = (run.folder / "report.html").read_text()
    assert all(word in page for word in ("Gain counts", "gain helps", "cannot be compared", "Provenance"))
    assert "http" not in page.replace("http://www.w3", "").replace("http://purl", "").replace("http://creativecommons", "")


def test_a_claim_that_has_to_hold_and_does_not_is_an_answer_of_no(tmp_path: Path, streams: Streams) -> None:
    LIMIT[0] = 1e9
    assert reproduce.reproduce(streams, asked(tmp_path)) == 1
    assert "does not hold" in (read("last", tmp_path).folder / "report.html").read_text()


def test_what_was_interrupted_goes_on_and_ends_as_if_it_had_not_been(tmp_path: Path, streams: Streams) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    reproduce.reproduce(streams, asked(whole))
    STOP.append(1)
    with pytest.raises(KeyboardInterrupt):
        reproduce.reproduce(streams, asked(cut))
    half = read("last", cut)
    assert half.ended == "interrupted" and half.table()["drop"].tolist() == [0, 0]
    assert f"hil reproduce --resume {half.name}" in render(half).read_text()
    last = json.loads(streams.out.getvalue().splitlines()[-1])  # type: ignore[attr-defined]
    assert last["error"]["id"] == "interrupted" and half.name in last["error"]["fix"]
    STOP.clear()
    assert reproduce.reproduce(streams, asked(cut, system=None, figure=None, resume="last")) == 0
    run = read("last", cut)
    assert run.name == half.name and [event["kept"] for event in run.of("task")] == [True, True, False, False]
    assert (run.folder / "results.csv").read_bytes() == (read("last", whole).folder / "results.csv").read_bytes()
    assert verifying.verify(run.folder).whole


def test_a_resumed_study_is_the_one_that_was_begun(tmp_path: Path, streams: Streams) -> None:
    STOP.append(1)
    with pytest.raises(KeyboardInterrupt):
        reproduce.reproduce(streams, asked(tmp_path))
    with pytest.raises(InputError) as caught:
        reproduce.reproduce(streams, asked(tmp_path, seeds=7, resume="last"))
    assert caught.value.id == "resume-changed" and "seeds 7 was 2" in caught.value.found
    with pytest.raises(InputError) as caught:
        study.begun("last", tmp_path, "sweep")
    assert caught.value.id == "another-command" and "hil reproduce --resume" in caught.value.fix


def test_a_task_that_fails_is_an_error_of_the_bench_and_all_others_are_kept(tmp_path: Path, streams: Streams) -> None:
    bad = dataclasses.replace(FIGURE, tasks=lambda seeds: [*tasks_of(seeds), {"drop": 99, "gain": 0.0}])
    sys.modules["hil.systems.toy.figures"].FIGURES["1"] = bad  # type: ignore[attr-defined]
    with pytest.raises(hil.tasks.TasksFailed) as caught:
        reproduce.reproduce(streams, asked(tmp_path))
    run = read("last", tmp_path)
    assert caught.value.exit_code == 3 and caught.value.fix == f"hil reproduce --resume {run.name} --runs {tmp_path}"
    assert run.ended == "fault" and len(list((run.folder / "tasks").glob("*.json"))) == 4
    assert run.of("task")[-1]["error"] == "ValueError: no such drop"


def test_what_does_not_exist_is_refused_before_anything_starts(tmp_path: Path, streams: Streams) -> None:
    for changes, id in (({"figure": "9"}, "no-figure"), ({"system": None}, "usage")):
        with pytest.raises(InputError) as caught:
            reproduce.reproduce(streams, asked(tmp_path, **changes))
        assert caught.value.id == id
    assert not list(tmp_path.iterdir())


def test_a_plan_starts_nothing(tmp_path: Path, streams: Streams) -> None:
    assert reproduce.reproduce(streams, asked(tmp_path, plan=True, seeds=5)) == 0
    assert not list(tmp_path.iterdir()) and json.loads(streams.out.getvalue())["result"] == {"tasks": 10, "seeds": 5}  # type: ignore[attr-defined]


def test_a_system_without_figures_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert cli.call(["reproduce", "nosuch", "1", "--runs", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("error[no-figures] SYSTEM: no figures of a system `nosuch`")


def test_every_figure_that_is_listed_says_what_it_is() -> None:
    from hil.report.study import figures

    for system in listing.systems():
        for number, one in figures(system).items():
            assert one.title and one.seeds > 0 and one.tasks(1), f"{system} {number}"
            keys = [hil.tasks.key_of(one.work, parameters, 0) for parameters in one.tasks(2)]
            assert len(set(keys)) == len(keys), f"{system} {number}: a task twice"


class Record:
    """In place of a run's writer."""

    def event(self, *_: Any, **__: Any) -> None: ...


def test_progress_is_a_line_now_and_then_where_nobody_looks() -> None:
    streams = Streams("sweep", out=io.StringIO(), err=io.StringIO())
    clock = iter(range(1000))
    told = study.Progress(streams, 200, Record(), now=lambda: float(next(clock)))
    for number in range(200):
        told(hil.tasks.Outcome(str(number), {}, number, kept=number < 20))
    lines = streams.err.getvalue().splitlines()  # type: ignore[attr-defined]
    assert 30 < len(lines) <= 40 and lines[-1].endswith("200/200 tasks") and "about" in lines[5] and "Z " in lines[0]


def test_times_are_said_in_words() -> None:
    assert [study.lasting(seconds) for seconds in (12.4, 372, 7500)] == ["12 s", "6 min 12 s", "2 h 5 min"]


def test_a_drawing_has_a_gap_where_a_value_is_missing_and_no_label_twice() -> None:
    panel = Panel("x", "y", [Curve("a", [1, 2, 3], [1.0, None, 3.0]), Curve("b", [1, 2, 3], [2.0, 2.0, float("nan")], line="dashed")], log_y=True)
    image = curves.svg(Drawing("Two panels", [panel, panel]), "study").decode()
    assert image.count(">a<") == 1 and image.count(">b<") == 1 and 'id="study-' in image


def test_words_begin_and_numbers_end_together() -> None:
    lines = study.columns(["scheme", "method", "dB"], [["a", "ours", "1.0"], ["bbb", "published", "-10.0"]])
    assert lines == ["scheme   method         dB", "a        ours          1.0", "bbb      published   -10.0"]
