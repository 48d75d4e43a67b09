"""Captures in which samples are missing or stale: found from the waveform, said, and never silently used."""

import json
import re

import pytest
from bench_files import SCENARIO, TESTBED, changed
from trial_bench import NARROW, lone_bench, own_designer

import hil
from hil.errors import HilError


def watched_bench(folder, fault):
    """One access point, its user, and a sensing array that looks for the target."""
    folder.mkdir(parents=True)
    scenario = changed(SCENARIO, *NARROW, (', { name = "u2", position_m = [11.0, -6.0, 1.5] }', ""))
    (folder / "scenario.toml").write_text("[[array]]".join(part for part in scenario.split("[[array]]") if 'name = "ap2"' not in part))
    described, emulated = TESTBED.split("[emulated]")
    devices, *wires = described.split("[[wire]]")
    kept = [devices, *(wire for wire in wires if '"ap2"' not in wire and '"u2"' not in wire)]
    (folder / "testbed.toml").write_text("[[wire]]".join(kept) + "[emulated]" + emulated)
    return hil.load(folder).replace({"emulated.fault": fault})


def run_of(folder, fault, seed=3, bench_of=lambda folder, fault: lone_bench(folder, emulated__fault=fault)):
    """(rounds or the error, events) of a short trial with faults at a receiver."""
    bench = bench_of(folder / "bench", fault)
    with hil.open(bench, seed=seed, runs=folder / "runs", designer=own_designer()) as lab:
        try:
            found = lab.run()
        except HilError as error:
            found = error
    events = [json.loads(line) for line in (lab.folder / "events.jsonl").read_text().splitlines()]
    return found, events


def warnings(events):
    return [event for event in events if event["event"] == "warned"]


def test_lost_samples_are_found_in_the_waveform_and_said(tmp_path):
    """The part reports no loss. What was measured stays what it is without faults, and every warning says how many and where."""
    whole, quiet = run_of(tmp_path / "a", [])
    lossy, events = run_of(tmp_path / "b", [{"what": "lost-block", "where": "u1", "at_s": 0.0, "rate_hz": 30.0, "samples": 640}])
    assert not [event for event in warnings(quiet) if event["id"] == "samples-lost"]
    told = [event for event in warnings(events) if event["id"] == "samples-lost"]
    lost = [int(count) for event in told for count in re.findall(r"(\d+) samples lost", event["message"] + event.get("found", ""))]
    # pilots of one antenna repeat: where a capture ends among them, whole symbols are not told
    assert len(lost) >= len(told) > 0 and 640 in lost and all(count % 548 == 640 % 548 for count in lost)
    assert lossy[-1].measured == pytest.approx(whole[-1].measured, abs=0.7)


@pytest.mark.parametrize("when", ["judged", "placed"])
def test_a_stuck_receiver_ends_the_trial(tmp_path, when):
    """It gives again what it gave before: in the measurement a frame of another version, in the sounding the channel of another place."""
    _, quiet = run_of(tmp_path / "a", [])
    at = [event["t"] for event in quiet if event["event"] == when][-1]
    error, events = run_of(tmp_path / "b", [{"what": "stuck-ring", "where": "u1", "at_s": at}])
    assert isinstance(error, HilError) and error.id == "stale-capture"
    assert not [event for event in events if event["event"] == "measured"]
    assert events[-1]["event"] == "ended" and events[-1]["how"] == "fault" and events[-1]["muted"]


def test_a_capture_cut_short_is_taken_once_more(tmp_path):
    """It does not hold a whole frame: the receiver listens again, and the trial goes on with what it hears then."""
    whole, quiet = run_of(tmp_path / "a", [])
    heard = next(event for event in quiet if event["event"] == "captured" and "sound-matched-l0" in event["file"])
    short = {"what": "returns-short", "where": "u1", "at_s": heard["t"] - 0.006, "for_s": 0.006, "share": 0.4}
    found, events = run_of(tmp_path / "b", [short])
    assert [event for event in warnings(events) if "it is taken once more" in event["message"]]
    assert any(event["file"].endswith("sound-matched-l0-ap1-again-u1.sigmf-data") for event in events if event["event"] == "captured")
    assert found[-1].measured == pytest.approx(whole[-1].measured, abs=0.7)


def test_what_a_sensing_array_lost_is_not_used_for_a_fix(tmp_path):
    """Blocks missing from one capture: it is taken once more, and the fix made from that."""
    whole, quiet = run_of(tmp_path / "a", [], bench_of=watched_bench)
    assert whole[-1].measured_design.fix is not None and not [event for event in warnings(quiet) if event["id"] == "samples-lost"]
    found, events = run_of(tmp_path / "b", [losing(quiet, 60.0) | {"for_s": 0.05}], bench_of=watched_bench)
    assert [event for event in warnings(events) if event["id"] == "samples-lost" and "taken once more" in event["message"]]
    again = [event["file"] for event in events if event["event"] == "captured" and "-again-sense1" in event["file"]]
    assert len(again) == 1 and found[-1].measured_design.fix.estimate.sources == tuple(again)


@pytest.mark.slow
def test_without_a_whole_capture_there_is_no_fix(tmp_path):
    """Which is said, and what the users measured stands."""
    whole, quiet = run_of(tmp_path / "a", [], bench_of=watched_bench)
    found, events = run_of(tmp_path / "b", [losing(quiet, 200.0)], bench_of=watched_bench)
    assert [event for event in warnings(events) if "no fix of the target" in event["message"]]
    assert found[-1].measured_design.fix is None and not [event for event in events if event["event"] == "measured" and "target" in event]
    assert found[-1].measured == pytest.approx(whole[-1].measured, abs=0.5)


def losing(quiet, rate_hz):
    """A sensing array's receiver that loses blocks, so many a second, from when it measures on."""
    at = [event["t"] for event in quiet if event["event"] == "state" and event["to"] == "measuring"][-1]
    return {"what": "lost-block", "where": "sense1", "at_s": at, "rate_hz": rate_hz, "samples": 640}
