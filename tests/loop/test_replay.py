"""Replaying a run: every number again from its captures, to the bit; and what must not pass for it."""

from __future__ import annotations

import json
import math
import re
import shutil
from hashlib import sha512
from pathlib import Path
from types import SimpleNamespace
from zlib import crc32

import numpy as np
import pytest
from trial_bench import lone_bench, narrow_bench, own_designer

import hil.bench
from hil import cli
from hil.errors import Infeasible, RecordError
from hil.loop.replaying import replay
from hil.records import read
from hil.records.recomputing import FROM_CAPTURES, relative_difference
from hil.records.verifying import verify


def again(run, **more):
    bench = hil.bench.load(run.folder / "scenario.toml", run.folder / "testbed.toml")
    return replay(run, bench.scenario, bench.testbed, **more)


def content(folder: Path) -> dict[str, str]:
    return {str(path): sha512(path.read_bytes()).hexdigest() for path in sorted(folder.rglob("*")) if path.is_file()}


def to_the_bit(found) -> bool:
    return found.agrees(0.0) and found.identical == found.events > 0 and not found.departures


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A run of one link: a baseline, and two rounds of a designer whose code nobody has later."""
    folder = tmp_path_factory.mktemp("replay")
    bench = lone_bench(folder / "bench", rounds__max=2, design__baselines=["fixed"], design__steps=5)
    with hil.bench.open(bench, designer=own_designer(), runs=folder) as lab:
        lab.run()
    return SimpleNamespace(run=read(lab.folder), folder=folder)


@pytest.fixture
def copied(done, tmp_path):
    """A copy that may be spoilt."""
    shutil.copytree(done.run.folder, tmp_path / done.run.name)
    return read(tmp_path / done.run.name)


@pytest.fixture
def hil_says(capsys):
    """A command's exit code, stdout and stderr."""

    def run(*words):
        code = cli.call(list(map(str, words)))
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


# -- the same again ------------------------------------------------------------------------------------------------------------------------


def test_every_number_comes_again_to_the_bit_and_nothing_is_written(done):
    before = content(done.run.folder)
    found = again(done.run)
    assert to_the_bit(found)
    assert found.events == sum(event["event"] in FROM_CAPTURES for event in done.run.events) >= 20
    assert found.captures == len(done.run.captures) and found.rounds == 2
    assert found.arrays > 20, "channels, sets and maps stored beside the events"
    assert content(done.run.folder) == before


def test_the_command_says_what_it_recomputed(done, hil_says):
    code, out, err = hil_says("replay", "last", "--runs", done.folder)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == f"run         {done.run.name}   ended: limit, whole up to round 2"
    assert lines[1].startswith("versions    ")
    counted = re.fullmatch(r"recomputed  (\d+) estimates, sets and measurements from (\d+) captures: all to the bit; (\d+) stored arrays", lines[2])
    assert counted and int(counted[2]) == len(done.run.captures)
    assert lines[3:] == ["difference  none"]


class Twice:
    """One's own designer, with nothing to offer from its second round on."""

    name = "twice"

    def __init__(self):
        self.left = 1

    def __call__(self, problem, knowledge):
        if not self.left:
            raise Infeasible("nothing left", achievable=3.5, unit="dB")
        self.left -= 1
        return own_designer()(problem, knowledge)


def test_a_round_without_a_design_is_replayed_as_one(tmp_path):
    with hil.bench.open(lone_bench(tmp_path / "bench", rounds__max=2), designer=Twice(), runs=tmp_path) as lab:
        lab.run()
    assert read(lab.folder).of("designed", infeasible=True)
    assert to_the_bit(again(read(lab.folder)))


def test_an_interrupted_run_is_replayed_up_to_its_last_whole_round(tmp_path):
    def press(event):
        if event["event"] == "state" and event["to"] == "measuring" and event["round"] == 2:
            raise KeyboardInterrupt

    bench = lone_bench(tmp_path / "bench", rounds__max=2)
    with hil.bench.open(bench, designer=own_designer(), runs=tmp_path, observers=[press]) as lab, pytest.raises(KeyboardInterrupt):
        lab.run()
    run = read(lab.folder)
    found = again(run)
    assert to_the_bit(found) and found.rounds == 1
    whole = max(event["n"] for event in run.of("recorded"))
    assert found.events == sum(event["event"] in FROM_CAPTURES and event["n"] < whole for event in run.events)
    assert any(event["event"] in FROM_CAPTURES and event["n"] > whole for event in run.events), "more was made than is whole"


def test_nothing_whole_is_nothing_to_replay(tmp_path):
    def press(event):
        if event.get("to") == "moving":
            raise KeyboardInterrupt

    with hil.bench.open(lone_bench(tmp_path / "bench"), runs=tmp_path, observers=[press]) as lab, pytest.raises(KeyboardInterrupt):
        lab.run()
    with pytest.raises(RecordError) as caught:
        again(read(lab.folder))
    assert str(caught.value) == (
        f"error[nothing-whole] {lab.folder.name}: nothing of this run was recorded whole\n  found interrupted; fix: hil run BENCH"
    )


@pytest.mark.slow
@pytest.mark.parametrize("depth", ["process", "nodes"])
def test_two_links_a_target_and_a_searching_designer(depth, tmp_path):
    bench = narrow_bench(tmp_path / "bench", rounds__max=2, design__baselines=["fixed", "sparse"])
    with hil.bench.open(bench, depth=depth, runs=tmp_path) as lab:
        lab.run()
    run = read(lab.folder)
    assert any("target" in event for event in run.of("measured"))
    assert to_the_bit(again(run))


# -- something else ------------------------------------------------------------------------------------------------------------------------


def altered(run, capture: str, codes: int) -> None:
    """Adds to one sample of a capture's file, and to nothing else."""
    path = run.folder / "captures" / f"{capture}.sigmf-data"
    data = np.fromfile(path, "<i2")
    data[len(data) // 3] += codes  # among the pilots of the first whole frame
    data.tofile(path)


def test_an_altered_capture_alters_what_was_made_of_it_and_nothing_before(copied):
    """Its hash not looked at: the sounding of round 1, one code in one sample."""
    altered(copied, "r001-sound-matched-l0-ap1-u1", 1)
    found = again(copied, hashes=False)
    assert found.stopped is None and not found.missing and not found.agrees(1e-9)
    channel = [one for one in found.departures if one.where == "r001 estimated matched channel ap1-u1" and one.field == "value"]
    assert len(channel) == 1 and 1e-9 < channel[0].relative < 1e-2 and channel[0].now != channel[0].recorded
    assert {one.where[:4] for one in found.departures if re.match(r"r\d{3} ", one.where)} <= {"r001", "r002"}
    assert found.identical >= sum(event["event"] in FROM_CAPTURES for event in copied.round(0))


def forge(run, capture: str) -> None:
    """The same with every hash made to fit, in metadata and in the event with its check sum: only the numbers can tell."""
    file = run.folder / "captures" / f"{capture}.sigmf-data"
    old = sha512(file.read_bytes()).hexdigest()
    altered(run, capture, 40)
    new = sha512(file.read_bytes()).hexdigest()
    meta = file.with_suffix(".sigmf-meta")
    meta.write_text(meta.read_text().replace(old, new))
    lines = (run.folder / "events.jsonl").read_bytes().splitlines()
    for index, line in enumerate(lines):
        if old.encode() in line:
            body = line.replace(old.encode(), new.encode()).rpartition(b',"crc":')[0]
            lines[index] = body + f',"crc":{crc32(body + b"}")}}}'.encode()
    (run.folder / "events.jsonl").write_bytes(b"\n".join(lines) + b"\n")


def test_a_forged_capture_is_a_difference_and_exit_code_1(copied, hil_says):
    forge(copied, "r002-measure-matched-u1")
    code, out, err = hil_says("replay", copied.folder)
    assert (code, err) == (1, "")
    lines = out.splitlines()
    assert re.fullmatch(r"difference  largest \d\.\de-\d\d of what was recorded; allowed (0|1e-09)", lines[3])
    differs = [line for line in lines if line.startswith("differs     r002 ")]
    assert any(re.search(r"r002 measured matched u1, sinr_db: -?[\d.]+ was -?[\d.]+; relative \d\.\de-\d\d", line) for line in differs)
    result = json.loads(hil_says("replay", copied.folder, "--json")[1])
    assert result["ok"] is False and result["result"]["largest"] > 1e-9 and result["result"]["identical"] < result["result"]["events"]


def test_captures_that_are_not_those_recorded_are_refused_by_name_before_anything(copied, hil_says):
    captures = copied.folder / "captures"
    altered(copied, "r001-measure-matched-u1", 1)
    whole = (captures / "r001-sound-matched-l1-ap1-u1.sigmf-data").read_bytes()
    (captures / "r001-sound-matched-l1-ap1-u1.sigmf-data").write_bytes(whole[:-4])
    (captures / "r000-idle-u1.sigmf-data").unlink()
    code, _, err = hil_says("replay", copied.folder)
    assert code == 3
    assert err == (
        f"error[bad-captures] {copied.name}: 3 captures are not what was recorded\n"
        "  found missing captures/r000-idle-u1.sigmf-data: samples of a capture; "
        f"truncated captures/r001-sound-matched-l1-ap1-u1.sigmf-data: {len(whole) - 4} of {len(whole)} bytes; "
        "altered captures/r001-measure-matched-u1.sigmf-data: not the samples that were recorded; "
        "fix: restore them from a copy; see hil verify\n"
    )
    assert [one.kind for one in verify(copied.folder).problems][:3] == ["missing", "truncated", "altered"]


def test_another_version_is_said_first_and_compared_with_a_tolerance(copied, hil_says):
    about = json.loads((copied.folder / "run.json").read_text())
    about["versions"]["numpy"] = "1.0.0"
    about |= {"commit": "0123456789", "dirty": False, "host": "elsewhere"}
    (copied.folder / "run.json").write_text(json.dumps(about))
    code, out, _ = hil_says("replay", copied.folder)
    assert code == 0
    said = out.splitlines()[1]
    assert said.startswith(f"versions    not those of the run: numpy {np.__version__} was 1.0.0; code ")
    assert " was 0123456; machine " in said and said.endswith(" was elsewhere; so equal to 1e-09, not to the bit")


def test_another_scenario_goes_another_way_and_says_where(copied):
    bench = hil.bench.load(copied.folder / "scenario.toml", copied.folder / "testbed.toml")
    shorter = bench.replace({"rounds.max": 1})
    found = replay(copied, shorter.scenario, shorter.testbed)
    assert found.missing and found.stopped is None and not found.agrees(1.0)
    assert {copied.events[int(one.split()[1].rstrip(":"))]["round"] for one in found.missing} == {2}
    narrower = bench.replace({"array.ap1.travel_wavelengths": 6.0})
    found = replay(copied, narrower.scenario, narrower.testbed)
    assert not found.agrees(1.0)
    assert found.stopped.message.startswith("error[replay-departed] rail1: this version asks for something else than the run did\n  found a to ")
    elsewhere = bench.replace({"signal.carrier_hz": 3.51e9})
    assert "error[replay-departed] ap1: " in replay(copied, elsewhere.scenario, elsewhere.testbed).stopped.message


# -- what equal means ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "then", "relative"),
    [
        (1.0, 1.0, 0.0),
        (1.0 + 2**-52, 1.0, 2**-52),
        ([1.0, 1e-12], [1.0, 2e-12], 1e-12),  # by the largest of all, not each by itself
        (np.array([3.0 + 4.0j]), np.array([3.0 + 4.5j]), 0.5 / abs(3 + 4.5j)),
        ([None, 2.0], [None, 2.0], 0.0),
        ([None, 2.0], [1.0, 2.0], math.inf),
        ([1.0], [1.0, 1.0], math.inf),
        (1.0, 0.0, math.inf),
        (0.0, 0.0, 0.0),
        (True, True, 0.0),
        (True, False, math.inf),
        (None, 1.0, math.inf),
        ("dB", "dB", 0.0),
        (["a", "b"], ["a", "c"], math.inf),
        ([], [], 0.0),
    ],
)
def test_relative_difference(now, then, relative):
    assert relative_difference(now, then) == pytest.approx(relative, rel=1e-6)
