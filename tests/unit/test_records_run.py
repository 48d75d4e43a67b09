"""A run folder from its first file to its last: what is written can be read, repeated and resumed."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha512

import numpy as np
import pytest

from hil.clock import Instant, VirtualClock
from hil.device import Capture, Setting
from hil.errors import RecordError
from hil.knowledge import Design
from hil.records import RunWriter, TornRecord, list_runs, read, results

NAME = "20260314-152033-quickstart-k7qd"
OTHER = "20260315-152033-quickstart-b2b2"
INPUTS = {"scenario.toml": b'format = "hil.scenario.v1"\nname = "quickstart"\n', "profiles/pluto.toml": b"part = 'pluto'\n"}


def create(folder, name=NAME, **more):
    return RunWriter.create(
        folder, name, scenario_name="quickstart", command="hil run quickstart --seed 7", seed=7, depth="process", inputs=INPUTS,
        versions={"hil": "0.1.0", "numpy": np.__version__}, commit="abc", dirty=False, **more,
    )  # fmt: skip


def capture(rng, device="u1"):
    codes = rng.integers(-2048, 2048, (2, 40, 2)).astype(np.float32)
    return Capture((codes / np.float32(2048)).view(np.complex64)[..., 0], 15.36e6, 3.5e9, gain_db=(40.0, 40.0), device=device)


def design(rng):
    shape = (2, 3, 4, 2)
    precoders = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    return Design(precoders, rng.standard_normal((2, 4)), promised=16.5, predicted=17.25, designer="robust", steps=400, knowledge=3)


def one_round(writer, number, rng, clock):
    clock.sleep(0.125)
    writer.event("state", number, from_="idle", to="sounding", why="round", designer="robust")
    for user in ("u1", "u2"):
        file, digest = writer.capture(
            f"r{number:03d}-sound-{user}", capture(rng, user), purpose="sound", round=number, positions=np.zeros((2, 3))
        )
        writer.event("captured", number, file=file, sha512=digest, device=user, purpose="sound", samples=40)
    file, _ = writer.design(number, "robust", design(rng), {"radius": np.full((2, 2, 3), 0.1)})
    writer.event("designed", number, designer="robust", file=file, promised=16.5)
    row = dict(round=number, designer="robust", promised_db=16.5, predicted_db=17.25, bound_db=None)
    writer.results([row | dict(user="u1", measured_db=17.1), row | dict(user="u2", measured_db=float(17 + number))])
    writer.round_ends(number)


def whole_run(folder, name=NAME, rounds=3, end="converged", **more):
    clock, rng = VirtualClock(), np.random.default_rng(7)
    with create(folder, name, clock=clock, **more) as writer:
        writer.event("started", seed=7, depth="process")
        for number in range(rounds):
            one_round(writer, number, rng, clock)
        if end:
            writer.end(end, muted=True, at_rest=True)
    return folder / name


def test_two_runs_of_one_seed_have_the_same_events_captures_and_designs(tmp_path):
    one = whole_run(tmp_path, utc=lambda: datetime(2026, 1, 1, tzinfo=UTC), wall=lambda: 5.0)
    other = whole_run(tmp_path / "elsewhere", OTHER)
    for file in ("events.jsonl", "results.csv", "captures/r001-sound-u1.sigmf-data", "designs/r002-robust.npz"):
        assert (one / file).read_bytes() == (other / file).read_bytes(), file
    assert (one / "timing.jsonl").read_bytes() != (other / "timing.jsonl").read_bytes()


def test_no_wall_clock_name_or_path_in_the_events(tmp_path):
    text = (whole_run(tmp_path, utc=lambda: datetime(2026, 3, 14, tzinfo=UTC)) / "events.jsonl").read_text()
    assert NAME not in text and str(tmp_path) not in text and "2026-03-14" not in text


def test_a_finished_run_reads_back(tmp_path):
    run = read(whole_run(tmp_path))
    assert (run.interrupted, run.ended, run.last_whole_round, run.rounds, run.dropped) == (False, "converged", 2, (0, 1, 2), 0)
    assert run.about["command"] == "hil run quickstart --seed 7" and run.about["commit"] == "abc" and run.about["dirty"] is False
    assert (
        run.about["ended"]["muted"] and run.about["ended"]["at_rest"] and run.input("profiles/pluto.toml") == INPUTS["profiles/pluto.toml"]
    )
    assert run.scenario["name"] == "quickstart"
    assert [event["n"] for event in run.events] == list(range(len(run.events)))
    assert run.captures == [f"r{r:03d}-sound-{u}" for r in range(3) for u in ("u1", "u2")]
    assert run.recorded == ((0, "round"), (1, "round"), (2, "round")) and run.last_instant == Instant(0, 0.375)
    assert [event["device"] for event in run.of("captured", 1)] == ["u1", "u2"] and len(run.of("captured", device="u2")) == 3


def test_a_design_comes_back_with_what_it_was_made_from(tmp_path):
    run, rng = read(whole_run(tmp_path)), np.random.default_rng(7)
    [capture(rng) for _ in range(2)]
    wanted, found = design(rng), run.design(0, "robust")
    assert np.array_equal(found.precoders, wanted.precoders) and np.array_equal(found.positions, wanted.positions)
    assert (found.promised, found.bound, found.designer, found.steps, found.knowledge, found.promised_each) == (
        16.5,
        None,
        "robust",
        400,
        3,
        None,
    )
    assert isinstance(found.promised, float) and isinstance(found.steps, int) and isinstance(found.designer, str)
    assert np.array_equal(run.design_arrays(0, "robust")["radius"], np.full((2, 2, 3), 0.1))


def test_the_table_has_numpy_columns_and_empty_cells_are_nan(tmp_path):
    table = read(whole_run(tmp_path)).table()
    assert list(table)[:3] == ["round", "designer", "user"] and table["round"].dtype == np.int64
    assert table["measured_db"].tolist() == [17.1, 17.0, 17.1, 18.0, 17.1, 19.0] and np.isnan(table["bound_db"]).all()


def test_results_keep_every_digit_and_refuse_new_columns(tmp_path):
    value = 0.1 + 0.2
    with create(tmp_path) as writer:
        writer.results([dict(round=0, designer='a "b", c', measured_db=np.float64(value), std_db=float("nan"))])
        with pytest.raises(ValueError, match="surprise"):
            writer.results([dict(round=1, surprise=1)])
    table = read(tmp_path / NAME).table()
    assert table["measured_db"][0] == value and table["designer"][0] == 'a "b", c' and np.isnan(table["std_db"][0])


def test_known_columns_come_first_and_in_order():
    assert results.columns_of([{"zeta": 1, "user": 1}, {"round": 1}]) == ["round", "user", "zeta"]


def test_settings_say_asked_became_and_what_did_not_take(tmp_path):
    asked = Setting(3.5e9, 15.36e6, (40.0,), ())
    with create(tmp_path, clock=VirtualClock()) as writer:
        writer.settings("u1", asked, asked)
        writer.settings("u1", asked, Setting(3.5e9, 15.36e6, (62.0,), ()))
    history = read(tmp_path / NAME).settings["u1"]
    assert history[0]["differences"] == [] and history[1]["differences"][0]["setting"] == "receive_gain_db[0]"
    assert history[1]["became"]["receive_gain_db"] == [62.0]


def test_observers_see_each_event_as_it_is_recorded(tmp_path):
    seen = []
    folder = whole_run(tmp_path, observers=[seen.append])
    recorded = [{k: v for k, v in event.items() if k != "t"} for event in read(folder).events]
    assert recorded == [{k: v for k, v in event.items() if k != "t"} for event in seen]


def test_wall_time_is_kept_beside_the_events(tmp_path):
    ticks = iter(np.arange(1000.0))
    timing = read(whole_run(tmp_path, wall=lambda: float(next(ticks)))).timing()
    assert timing["n"].tolist() == list(range(len(timing["n"]))) and (np.diff(timing["wall_s"]) == 1.0).all()


def test_listing(tmp_path):
    whole_run(tmp_path, NAME)
    whole_run(tmp_path, OTHER, rounds=2, end=None)
    first, second = list_runs(tmp_path)
    assert (first.name, first.ended, first.rounds, first.measured, first.seed, first.depth) == (NAME, "converged", 2, 17.1, 7, "process")
    assert (second.name, second.ended, second.rounds) == (OTHER, "interrupted", 1)
    (tmp_path / NAME / "run.json").write_text("{")
    assert list_runs(tmp_path)[0].ended == "damaged"
    assert list_runs(tmp_path / "none") == []


def test_a_name_is_used_once_and_inputs_stay_inside(tmp_path):
    create(tmp_path).close()
    with pytest.raises(RecordError, match="run-exists"):
        create(tmp_path)
    with pytest.raises(ValueError, match="inside"):
        RunWriter.create(tmp_path, OTHER, scenario_name="x", command="", seed=1, depth="process", inputs={"../x": b""}, versions={})


def test_events_want_a_time(tmp_path):
    with create(tmp_path) as writer, pytest.raises(ValueError, match="time"):
        writer.event("warned", id="x")


def test_a_changed_input_is_noticed(tmp_path):
    folder = whole_run(tmp_path)
    (folder / "scenario.toml").write_bytes(b"name = 'other'")
    with pytest.raises(RecordError, match="bad-hash"):
        _ = read(folder).scenario


def test_ctrl_c_between_two_files_leaves_no_gap_and_no_double(tmp_path, monkeypatch):
    def interrupted(_):
        raise KeyboardInterrupt

    with create(tmp_path, clock=VirtualClock()) as writer:
        writer.event("warned", id="a")
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(writer._timing, "append", interrupted)
            writer.event("warned", id="b")
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(writer._events, "_file", Interrupting(writer._events._file))
            writer.event("warned", id="half a line")
        writer.event("warned", id="c")
    assert [(event["n"], event["id"]) for event in read(tmp_path / NAME).events] == [(0, "a"), (1, "b"), (2, "c")]


class Interrupting:
    """A file whose write is cut short by Ctrl-C."""

    def __init__(self, file):
        self.file = file

    def __getattr__(self, name):
        return getattr(self.file, name)

    def write(self, data):
        self.file.write(data[:10])
        raise KeyboardInterrupt


# ---- resume


def continue_run(folder, upto=3):
    """Goes on as the loop does: state of clock and generator are rebuilt by repeating what is recorded."""
    before = read(folder)
    done = len(before.recorded)
    clock, rng = VirtualClock(), np.random.default_rng(7)
    for _ in range(done):
        clock.sleep(0.125)
        capture(rng), capture(rng), design(rng)
    with RunWriter.resume(folder, command="hil run --resume last", clock=clock) as writer:
        if not done:
            writer.event("started", seed=7, depth="process")
        for number in range(done, upto):
            one_round(writer, number, rng, clock)
        writer.end("converged", muted=True, at_rest=True)


@pytest.mark.parametrize("lines_lost", [0, 1, 2, 3, 4, 5, 8, 100])
def test_a_run_cut_anywhere_and_resumed_equals_one_never_cut(tmp_path, lines_lost):
    straight, cut = whole_run(tmp_path / "a"), whole_run(tmp_path / "b", end=None)
    lines = (cut / "events.jsonl").read_bytes().splitlines(keepends=True)
    (cut / "events.jsonl").write_bytes(b"".join(lines[: max(0, len(lines) - lines_lost)]))
    continue_run(cut)
    for file in ("events.jsonl", "results.csv", "captures/r002-sound-u2.sigmf-data", "designs/r001-robust.npz"):
        assert (cut / file).read_bytes() == (straight / file).read_bytes(), file
    run = read(cut)
    assert run.ended == "converged" and run.about["resumed"][0]["command"] == "hil run --resume last"
    done = subprocess.run(["sha512sum", "-c", "--quiet", "SHA512SUMS"], cwd=cut, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    wall = run.timing()["wall_s"]
    assert len(wall) == len(run.events) and (np.diff(wall) >= 0).all()


def test_what_was_not_whole_is_put_aside_not_lost(tmp_path):
    clock, rng = VirtualClock(), np.random.default_rng(7)
    with create(tmp_path, clock=clock) as writer:
        one_round(writer, 0, rng, clock)
        file, digest = writer.capture("r001-sound-u1", capture(rng), purpose="sound", round=1)
        writer.event("captured", 1, file=file, sha512=digest)
        writer.event("state", 1, from_="sounding", to="estimating")
        writer.end("interrupted", muted=True, at_rest=True)
    folder = tmp_path / NAME
    assert read(folder).interrupted and (folder / "SHA512SUMS").exists()
    data = (folder / file).read_bytes()
    with RunWriter.resume(folder, command="again", clock=clock) as writer:
        assert not (folder / file).exists() and not (folder / "SHA512SUMS").exists()
        writer.capture("r001-sound-u1", capture(rng), purpose="sound", round=1)
    aside = folder / "interrupted" / "1"
    assert (aside / file).read_bytes() == data and b'"to":"estimating"' in (aside / "events.jsonl").read_bytes()
    run = read(folder)
    assert run.recorded == ((0, "round"),) and "r000-sound-u1" in run.captures and "ended" not in run.about


def test_exploring_and_baselines_are_kept_on_resume(tmp_path):
    clock, rng = VirtualClock(), np.random.default_rng(7)
    with create(tmp_path, clock=clock) as writer:
        file, digest = writer.capture("r000-explore-u1-v0", capture(rng), purpose="explore", round=0)
        writer.event("captured", 0, file=file, sha512=digest, purpose="explore")
        writer.round_ends(0, "explore")
        one_round(writer, 0, rng, clock)
    with RunWriter.resume(tmp_path / NAME, command="again", clock=clock):
        pass
    run = read(tmp_path / NAME)
    assert run.recorded == ((0, "explore"), (0, "round")) and "r000-explore-u1-v0" in run.captures


def test_a_round_gone_on_with_ties_the_captures_from_before_too(tmp_path):
    clock, rng = VirtualClock(), np.random.default_rng(7)
    with create(tmp_path, clock=clock) as writer:
        file, digest = writer.capture("r000-explore-u1-v0", capture(rng), purpose="explore", round=0)
        writer.event("captured", 0, file=file, sha512=digest, purpose="explore")
        writer.round_ends(0, "explore")
    with RunWriter.resume(tmp_path / NAME, command="again", clock=clock) as writer:
        one_round(writer, 0, rng, clock)
    tied = json.loads((tmp_path / NAME / "captures/r000.sigmf-collection").read_bytes())["collection"]["core:streams"]
    assert [stream["name"] for stream in tied] == ["r000-explore-u1-v0", "r000-sound-u1", "r000-sound-u2"]
    for stream in tied:
        assert stream["hash"] == sha512((tmp_path / NAME / "captures" / f"{stream['name']}.sigmf-meta").read_bytes()).hexdigest()


def test_what_ends_a_round_waits_for_the_disk_and_once_for_each_line(tmp_path, monkeypatch):
    synced, really = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (synced.append((os.fstat(file).st_ino, os.fstat(file).st_size)), really(file)))
    clock, rng = VirtualClock(), np.random.default_rng(7)
    with create(tmp_path, clock=clock) as writer:
        for number in range(2):
            one_round(writer, number, rng, clock)
            grown = [(tmp_path / NAME / name).stat() for name in ("events.jsonl", "timing.jsonl", "results.csv")]
            assert sorted(one for one in synced if one[1]) == sorted((file.st_ino, file.st_size) for file in grown)  # the log is empty
            synced.clear()
        writer.round_ends(1, "again")  # no row since: the table is on the disk already
        assert {inode for inode, _ in synced} == {file.st_ino for file in grown[:2]}


def test_captures_side_by_side_are_all_there_or_told_of(tmp_path):
    rng = np.random.default_rng(7)
    good, bad = capture(rng), replace(capture(rng), samples=np.full((2, 40), 0.3 + 0j, np.complex64))
    with create(tmp_path) as writer:
        rest = dict(purpose="sound", round=0)
        with pytest.raises(RecordError, match="not-codes"):
            writer.captures({"r000-a": (bad, rest), "r000-b": (good, rest)})
        assert (writer.folder / "captures/r000-b.sigmf-meta").exists() and not list(writer.folder.glob("captures/r000-a*"))
        files = writer.captures({f"r001-{n}": (capture(rng), dict(purpose="sound", round=1)) for n in range(9)})
        assert list(files) == [f"r001-{n}" for n in range(9)]
        assert all(sha512((writer.folder / file).read_bytes()).hexdigest() == digest for file, digest in files.values())


def test_a_finished_run_is_not_resumed(tmp_path):
    with pytest.raises(RecordError, match="nothing-to-resume"):
        RunWriter.resume(whole_run(tmp_path), command="again")


def test_a_run_is_written_by_one_process_at_a_time(tmp_path):
    with create(tmp_path, clock=VirtualClock()) as writer:
        writer.event("warned", id="x")
        script = f"from hil.records import RunWriter\nRunWriter.resume({str(writer.folder)!r}, command='x')"
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "run-in-use" in done.stderr
    RunWriter.resume(tmp_path / NAME, command="x").close()


# ---- damaged folders


def test_a_torn_last_line_is_left_out_with_a_warning(tmp_path):
    folder = whole_run(tmp_path, end=None)
    events = (folder / "events.jsonl").read_bytes()
    (folder / "events.jsonl").write_bytes(events[:-20])
    with pytest.warns(TornRecord, match="not whole"):
        run = read(folder)
    assert run.dropped == 1 and run.last_whole_round == 1


def test_a_spoilt_line_in_the_middle_is_an_error(tmp_path):
    folder = whole_run(tmp_path)
    (folder / "events.jsonl").write_bytes((folder / "events.jsonl").read_bytes().replace(b'"device":"u2"', b'"device":"u3"', 1))
    with pytest.raises(RecordError, match="bad-event"):
        read(folder)


def test_a_missing_line_in_the_middle_is_an_error(tmp_path):
    folder = whole_run(tmp_path)
    lines = (folder / "events.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "events.jsonl").write_bytes(b"".join(lines[:4] + lines[5:]))
    with pytest.raises(RecordError, match="bad-event"):
        read(folder)


def test_what_is_not_there_is_said(tmp_path):
    run = read(whole_run(tmp_path))
    with pytest.raises(RecordError, match="r000-sound-u1"):
        run.capture("r009-sound-u1")
    with pytest.raises(RecordError, match=r"r000-robust\.npz"):
        run.design(9, "robust")
    (run.folder / "designs/r000-robust.npz").write_bytes(b"PK not")
    with pytest.raises(RecordError, match="bad-file"):
        run.design(0, "robust")


def test_an_own_designer_has_a_file_name_too(tmp_path):
    with create(tmp_path) as writer:
        file, _ = writer.design(1, "my_module:MyDesigner", design(np.random.default_rng(1)), step="positions")
    assert file == "designs/r001-my_module-MyDesigner-positions.npz"
    assert read(tmp_path / NAME).design(1, "my_module:MyDesigner", "positions").steps == 400


def test_objects_are_never_pickled(tmp_path):
    with create(tmp_path) as writer, pytest.raises(ValueError, match="radius"):
        writer.design(1, "robust", design(np.random.default_rng(1)), {"radius": np.array([{}])})


def test_run_json_says_when_and_where(tmp_path):
    whole_run(tmp_path, utc=lambda: datetime(2026, 3, 14, 15, 20, 33, 123456, tzinfo=UTC), host="bench")
    about = json.loads((tmp_path / NAME / "run.json").read_text())
    assert about["started"] == "2026-03-14T15:20:33.123Z" and about["host"] == "bench" and about["format"] == "hil.run.v1"
