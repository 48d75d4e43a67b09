"""Disks that are full and processes that die while a run is recorded, and a trial that meets them."""

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from trial_bench import own_designer

import hil.bench
from hil.loop.replaying import replay, sessions
from hil.records import read
from hil.records.verifying import verify

NAME = "20260314-152033-quickstart-k7qd"

PRELUDE = f"""
import os, resource, sys
import numpy as np
from hil.clock import Instant
from hil.device import Capture
from hil.errors import RecordError
from hil.records import RunWriter

def capture(samples):
    return Capture(np.zeros((1, samples), np.complex64), 15.36e6, 3.5e9, device="u1")

def at(seconds):
    return Instant.of(seconds)

writer = RunWriter.create(sys.argv[1], {NAME!r}, scenario_name="quickstart", command="hil run quickstart", seed=1, depth="process",
                          inputs={{"scenario.toml": b"name = 'quickstart'"}}, versions={{"hil": "0.1.0"}})
writer.event("started", t=at(0.0), seed=1)
file, digest = writer.capture("r001-sound-u1", capture(1000), purpose="sound", round=1)
writer.event("captured", 1, at(0.5), file=file, sha512=digest)
writer.results([dict(round=1, designer="robust", user="u1", measured_db=17.0)])
writer.round_ends(1, t=at(1.0))
"""


def run_script(folder, body, **more):
    script = PRELUDE + textwrap.dedent(body)
    return subprocess.run([sys.executable, "-c", script, str(folder)], capture_output=True, text=True, timeout=60, **more)


def readable(folder, rounds=1):
    run = read(folder / NAME)
    assert run.interrupted and run.last_whole_round == rounds and run.capture("r001-sound-u1", verify=True).samples.shape == (1, 1000)
    assert run.table()["measured_db"].tolist() == [17.0] * rounds
    return run


def test_a_full_disk_during_a_capture_is_said_and_costs_that_capture_only(tmp_path):
    done = run_script(
        tmp_path,
        """
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        try:
            writer.capture("r002-sound-u1", capture(100_000), purpose="sound", round=2)
        except RecordError as error:
            print(error)
        writer.event("failed", 2, at(2.0), id="disk-full")
        writer.end("fault", muted=True, at_rest=True, t=at(2.0))
        """,
    )
    assert done.returncode == 0, done.stderr
    said = done.stdout
    assert "error[disk-full]" in said and "r002-sound-u1.sigmf-data" in said and f"hil run --resume {NAME}" in said and "MB free" in said
    run = readable(tmp_path)
    assert run.ended == "fault" and run.captures == ["r001-sound-u1"]
    assert not [path for path in run.folder.rglob("*") if path.name.endswith(".part")]
    assert [event["event"] for event in run.events][-2:] == ["failed", "ended"]


def test_a_full_disk_during_an_event_leaves_no_half_line(tmp_path):
    done = run_script(
        tmp_path,
        """
        size = os.path.getsize(writer.folder / "events.jsonl") + 30
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        for _ in range(2):
            try:
                writer.event("warned", 2, at(2.0), id="x", message="long " * 20)
            except RecordError as error:
                print(error.id)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        writer.event("warned", 2, at(3.0), id="y")
        """,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["disk-full", "disk-full"]
    run = readable(tmp_path)
    assert run.dropped == 0 and run.events[-1]["id"] == "y" and [event["n"] for event in run.events] == list(range(len(run.events)))


def test_a_folder_that_may_not_be_written_is_said(tmp_path):
    done = run_script(
        tmp_path,
        """
        import os
        (writer.folder / "captures").mkdir(exist_ok=True)
        (writer.folder / "captures").chmod(0o555)
        if os.geteuid() == 0:  # root may write anywhere: go on as nobody, who may pass through the folders above
            for above in writer.folder.parents:
                if any(part.startswith("pytest-of-") for part in above.parts):
                    above.chmod(0o755)
            os.seteuid(65534)
        try:
            writer.capture("r002-sound-u1", capture(10), purpose="sound", round=2)
        except RecordError as error:
            print(error)
        """,
    )
    assert "error[cannot-write]" in done.stdout and "permissions" in done.stdout


def test_a_folder_that_is_a_file_is_said(tmp_path):
    (tmp_path / "runs").write_text("")
    done = run_script(tmp_path / "runs", "")
    assert "error[cannot-write]" in done.stderr


def test_a_killed_writer_leaves_a_readable_run_that_resumes(tmp_path):
    done = run_script(
        tmp_path,
        """
        writer.event("state", 2, at(2.0), to="sounding")
        writer.capture("r002-sound-u1", capture(10), purpose="sound", round=2)
        os.kill(os.getpid(), 9)
        """,
    )
    assert done.returncode == -signal.SIGKILL
    run = readable(tmp_path)
    assert run.ended == "interrupted" and run.events[-1]["to"] == "sounding"
    from hil.records import RunWriter

    RunWriter.resume(run.folder, command="hil run --resume last").close()
    again = readable(tmp_path)
    assert again.events[-1]["event"] == "recorded" and again.captures == ["r001-sound-u1"]


# -- a whole trial -------------------------------------------------------------------------------------------------------------------------

TRIAL = """
import os, resource, sys
sys.path[:0] = sys.argv[2:]
from pathlib import Path
from trial_bench import lone_bench, own_designer, quiet_and_still
import hil.bench
from hil.errors import HilError

def full(event):
    if event["event"] == "judged" and event["round"] == 2:
        FILL

def limited(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

folder = Path(sys.argv[1])
try:
    with hil.bench.open(lone_bench(folder / "bench", rounds__max=2), designer=own_designer(), runs=folder, observers=[full]) as lab:
        try:
            lab.run()
        finally:
            print("quiet" if quiet_and_still(lab.link.world) else "LOUD", lab.folder)
except HilError as error:
    print(error.exit_code, error)
"""
FULL = {
    # every file limited: not even the events can say that the run failed
    "every file": ("limited(10_000)", "events.jsonl", "File too large", None),
    # a device that is really full stands where the capture would be written
    "a full device": (
        "(lab.folder / 'captures/.r002-measure-matched-u1.sigmf-data.part').symlink_to('/dev/full')",
        "captures/r002-measure-matched-u1.sigmf-data", "No space left on device", "fault",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", FULL)
def test_a_trial_on_a_full_disk_says_so_falls_silent_and_can_be_gone_on_with(what, tmp_path):
    fill, file, reason, how = FULL[what]
    beside = [str(Path(__file__).parents[1] / "unit"), str(Path(__file__).parents[2])]
    words = [sys.executable, "-c", TRIAL.replace("FILL", fill), str(tmp_path), *beside]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    state, said = done.stdout.split("\n", 1)
    quiet, folder = state.split(" ", 1)
    run = read(folder)
    assert quiet == "quiet"
    first, second = said.splitlines()
    assert first == f"3 error[disk-full] {folder}/{file}: could not be written: no space"
    assert second.startswith("  found ") and second.endswith(
        f" MB free ({reason}); what was recorded before it is whole; "
        f"fix: free some space or raise the quota, or use --runs DIR on another disk, then hil run --resume {run.name}"
    )
    assert run.interrupted and run.last_whole_round == 1 and run.dropped == 0
    assert (run.about.get("ended") or {}).get("how") == how
    if how:
        assert (run.of("failed")[0]["id"], run.of("ended")[0]["muted"], run.of("ended")[0]["at_rest"]) == ("disk-full", True, True)
    assert not list(run.folder.rglob("*.part"))
    assert [one.kind for one in verify(run.folder).problems] == ["incomplete"]

    with hil.bench.resume(run.folder, designer=own_designer()) as lab:  # the disk has space again
        lab.run()
    run = read(folder)
    assert run.ended == "limit" and run.last_whole_round == 2 and verify(run.folder).whole


def test_a_resumed_run_is_replayed_from_what_each_opening_had_set(tmp_path):
    """A resume that dies before anything is whole leaves settings behind; they are nobody's afterwards."""
    from trial_bench import lone_bench

    def press_in(state):
        def press(event):
            if event["event"] == "state" and event["to"] == state and event["round"] == 1:
                raise KeyboardInterrupt

        return press

    bench = lone_bench(tmp_path / "bench")
    with hil.bench.open(bench, designer=own_designer(), runs=tmp_path, observers=[press_in("measuring")]) as lab, pytest.raises(KeyboardInterrupt):
        lab.run()
    with hil.bench.resume(lab.folder, designer=own_designer(), observers=[press_in("loading")]) as again, pytest.raises(KeyboardInterrupt):
        again.run()
    with hil.bench.resume(lab.folder, designer=own_designer()) as again:
        again.run()
    run = read(lab.folder)
    assert len(run.about["resumed"]) == 2 and verify(run.folder).whole
    configured = [entry["after_event"] for entry in run.settings["u1"]]
    assert len(configured) == len(run.of("opened", device="u1")) + len(run.of("levelled", device="u1")) == 4
    (begins, cut), (again_begins, end) = sessions(run)
    assert (begins, end) == (0, len(run.events)) and cut == again_begins and run.events[cut - 1]["event"] == "recorded"
    found = replay(run, bench.scenario, bench.testbed)
    assert found.agrees(0.0) and found.identical == found.events > 10
