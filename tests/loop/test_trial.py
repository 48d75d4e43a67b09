"""A whole trial at depth `process`: what comes after what, what is recorded, how it ends."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
from trial_bench import lone_bench, narrow, narrow_bench, own_designer, quiet_and_still

import hil.bench
from hil.errors import InputError
from hil.loop.states import State, check_step
from hil.loop.trial import Trial
from hil.records import read

SEED = 1


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A trial of the robust designer beside one baseline, two rounds; (run, rounds, what was true of the world on the way)."""
    folder = tmp_path_factory.mktemp("trial")
    bench = narrow_bench(folder / "bench", rounds__max=2, design__baselines=["fixed"])
    loud_moves, gains = [], {}

    def watch(event):
        if event["event"] == "state" and event["to"] == "moving":
            loud_moves.extend(name for name, radio in lab.link.world.radios.items() if radio.version is not None)
        if event["event"] == "captured" and event["purpose"] != "idle":
            gains.setdefault(event["purpose"], {})[event["device"]] = lab.link.world.radios[event["device"]].setting.receive_gain_db

    with hil.bench.open(bench, seed=SEED, runs=folder, observers=[watch]) as lab:
        rounds = lab.run()
        still = quiet_and_still(lab.link.world)
    return SimpleNamespace(run=read(lab.folder), rounds=rounds, loud_moves=loud_moves, gains=gains, still=still, bench=bench, folder=folder)


def states(run, round=None):
    return [event["to"] for event in run.of("state", round)]


def test_states_follow_the_order_of_a_trial(done):
    for event in done.run.of("state"):
        check_step(State(event["from"]), State(event["to"]))
    assert all(before["to"] == after["from"] for before, after in pairwise(done.run.of("state")))
    visit = ["exploring", "moving", "settling", "sounding"]
    baseline = ["moving", "settling", "sounding", "estimating", "designing", "loading", "measuring", "estimating", "idle"]
    assert states(done.run, 0) == ["exploring", "sounding", *visit * 6, "estimating", *baseline]
    for number in (1, 2):
        went = states(done.run, number)
        moved = ["designing", "moving", "settling", "sounding", "estimating", "designing", "loading", "measuring", "estimating", "idle"]
        stayed = [state for state in moved if state not in ("moving", "settling")]
        assert went in (moved, stayed)
    assert moved in (states(done.run, 1), states(done.run, 2)), "a designer of positions moves in one round at least"


def test_events_of_a_push_come_in_order(done):
    wanted = ["placed", "captured", "bounded", "designed", "judged", "prepared", "applied", "captured", "muted", "measured", "recorded"]
    for number in (1, 2):
        kinds = [event["event"] for event in done.run.round(number)]
        at = -1
        for kind in wanted:
            at = kinds.index(kind, at + 1)
        assert [event["purpose"] for event in done.run.of("captured", number)][-3:] == ["measure"] * 3
    assert [event["what"] for event in done.run.of("recorded")] == ["explore", "fixed", "round", "round"]
    assert done.run.events[0]["event"] == "started" and done.run.events[-1]["event"] == "ended"
    times = [event["t"] for event in done.run.events]
    assert times == sorted(times)


def test_versions_that_are_measured_are_those_that_were_designed(done):
    for number in (0, 1, 2):
        designed = done.run.of("designed", number, step="precoders")[0]["version"]
        assert {event["version"] for event in done.run.of("captured", number, purpose="measure")} == {designed}
        assert {event["version"] for event in done.run.of("measured", number)} == {designed}
        assert done.run.of("applied", number)[-1]["version"] == designed
    pushed = [event["version"] for event in done.run.of("prepared")]
    assert pushed == sorted(set(pushed)), "a version is prepared once and never used again"


def test_levels_are_set_before_anything_is_sounded_and_kept(done):
    kinds = [event["event"] for event in done.run.events]
    levelled = done.run.of("levelled")
    assert {event["device"] for event in levelled} == {"u1", "u2", "sense1"}
    first = next(event for event in done.run.events if event["event"] == "captured" and event["purpose"] == "explore")
    assert max(index for index, kind in enumerate(kinds) if kind == "levelled") < first["n"]
    for purpose in ("explore", "measure"):
        for device, gain in done.gains[purpose].items():
            assert tuple(next(event for event in levelled if event["device"] == device)["gain_db"]) == tuple(gain)
    assert all(event["clipped"] == 0.0 for event in done.run.of("captured"))


def test_it_ends_muted_and_at_rest(done):
    ended = done.run.of("ended")
    assert len(ended) == 1 and ended[0]["muted"] and ended[0]["at_rest"] and ended[0]["how"] == "limit"
    assert done.still
    assert states(done.run)[-1] == "idle"


def test_nothing_is_on_the_air_while_anything_moves(done):
    assert done.run.of("moved") and done.loud_moves == []


def test_promised_predicted_measured_bound(done):
    assert [(r.number, r.designer) for r in done.rounds] == [(0, "fixed"), (1, "robust"), (2, "robust")]
    for r in done.rounds:
        assert r.promised <= r.predicted + 1e-6
        assert r.promised <= r.bound + 1e-3
        assert r.verdict.passed and r.verdict.shortfall_db == 0.0
        assert abs(r.measured - r.predicted) < 1.0
        assert r.kept
    assert all(event["pass"] and event["members"] > 0 for event in done.run.of("judged"))
    assert done.rounds[1].measured > done.rounds[0].measured + 1.0, "motion pays"


def test_the_table_says_what_the_rounds_said(done):
    table = done.run.table()
    assert len(table["round"]) == 2 * len(done.rounds)
    for r in done.rounds:
        rows = table["round"] == r.number
        assert np.min(table["measured_db"][rows]) == pytest.approx(r.measured, abs=1e-9)
        assert np.min(table["promised_db"][rows]) == pytest.approx(r.promised, abs=1e-6)


def test_positions_are_read_back_and_kept(done):
    tolerance = done.bench.testbed.stage_profile("rail1").arrival.tolerance
    moved = done.run.of("moved")
    assert {event["stage"] for event in moved} == {"rail1", "rail2"}
    assert all(abs(event["reached"] - event["asked"]) <= tolerance and event["std"] > 0.0 for event in moved)
    assert any(event["reached"] != event["asked"] for event in moved), "what is read back is on the steps of the motor"
    last: dict[tuple[str, str], float] = {}
    for event in done.run.events:
        if event["event"] == "moved":
            assert event["from"] == last.get((event["stage"], event["axis"]), event["from"]), "it starts where it had arrived"
            last[event["stage"], event["axis"]] = event["reached"]
        if event["event"] == "placed" and last:
            reached = np.array([[last[stage, axis] - 0.35 for axis in "abcd"] for stage in ("rail1", "rail2")])
            assert np.allclose(event["reached"], reached, atol=1e-9)
    for number in (0, 1, 2):
        design = done.run.design(number, done.run.of("designed", number, step="precoders")[0]["designer"])
        assert np.allclose(design.positions, done.run.of("placed", number)[-1]["reached"], atol=1e-6)


def test_spacing_is_kept_all_the_way(done):
    least = done.bench.scenario.wavelength / 2 - 1e-3 / 80  # two neighbours rounded to their motors' steps
    assert min(event["closest"] for event in done.run.of("moved")) >= least
    for event in done.run.of("placed"):
        assert np.min(np.diff(np.array(event["reached"]), axis=1)) >= least


# -- the same again ------------------------------------------------------------------------------------------------------------------------


def bytes_of(run) -> bytes:
    return (run.folder / "events.jsonl").read_bytes()


def test_a_seed_is_a_run_bit_for_bit_in_another_process_too(done):
    """From the command line, with another hash seed: events compare equal; they hold the hashes of all captures."""
    bench = narrow(done.folder / "again", ("max = 1", "max = 2"), ("baselines = []", 'baselines = ["fixed"]'))
    command = [sys.executable, "-m", "hil.cli", "run", str(bench), "--seed", str(SEED), "--runs", str(done.folder / "more")]
    told = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert told.returncode == 0, told.stderr
    again = read("last", done.folder / "more")
    assert bytes_of(again) == bytes_of(done.run)
    assert captures(again) == captures(done.run)
    assert Path(told.stdout.splitlines()[-1].split()[1]).name == "report.html"


def brief(bench, folder, seed=SEED, until=None):
    """A trial of a quick designer; with `until` only to the first event of that state."""

    def stop(event):
        if event.get("to") == until is not None:
            raise KeyboardInterrupt

    with suppress(KeyboardInterrupt), hil.bench.open(bench, designer=own_designer(), seed=seed, runs=folder, observers=[stop]) as lab:
        lab.run()
    return read(lab.folder)


def captures(run) -> list[str]:
    return [event["sha512"] for event in run.of("captured")]


def test_nobody_above_the_devices_reads_the_truth(tmp_path, monkeypatch):
    """The table [emulated] withheld from everything but the world: the same events; with a world or a seed that differs, others."""
    bench = narrow_bench(tmp_path / "bench")
    first, other = brief(bench, tmp_path), brief(bench, tmp_path, seed=2, until="moving")
    assert captures(other) and not set(captures(first)) & set(captures(other))

    truth = hil.bench.site(bench, SEED)
    withheld = hil.bench.Bench(bench.scenario, msgspec.structs.replace(bench.testbed, emulated={}), bench.folder)
    assert truth["emulated"] and not hil.bench.site(withheld, SEED)["emulated"]
    monkeypatch.setattr(hil.bench, "site", lambda bench, seed: truth)
    assert bytes_of(brief(withheld, tmp_path)) == bytes_of(first)
    monkeypatch.setattr(hil.bench, "site", lambda bench, seed: {**truth, "emulated": {**truth["emulated"], "seed": 2}})
    assert not set(captures(brief(withheld, tmp_path, until="moving"))) & set(captures(first))


@pytest.mark.slow
def test_the_quickstart_itself_repeats_bit_for_bit(tmp_path):
    bench = hil.bench.load(Path(__file__).resolve().parents[2] / "examples" / "quickstart")
    bench = bench.replace({"rounds.max": 1, "design.baselines": ["fixed-rzf"], "design.steps": 40, "design.starts": 2})
    runs = []
    for _ in range(2):
        with hil.bench.open(bench, seed=3, runs=tmp_path) as lab:
            lab.run()
        runs.append(read(lab.folder))
    assert bytes_of(runs[0]) == bytes_of(runs[1])


# -- when it stops -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("promises", "stops"),
    [
        ([], False),
        ([10.0], False),
        ([10.0, 10.0], False),
        ([10.0, 10.05, 10.0], True),
        ([10.0, 10.5, 10.55], False),
        ([10.0, 10.05, 10.5], False),
        ([5.0, 10.0, 10.09, 10.0], True),
        ([10.0, 10.01, 10.02, 12.0, 12.05], False),
        ([10.0, 9.95, 10.0], True),
        ([10.0, 10.11, 10.22], False),
    ],
)
def test_convergence_is_two_small_changes_of_the_promise_in_a_row(promises, stops):
    trial = SimpleNamespace(promises=promises, lab=SimpleNamespace(scenario=SimpleNamespace(rounds=SimpleNamespace(stop_change_db=0.1))))
    assert Trial.converged.fget(trial) is stops


def test_a_promise_that_stands_still_ends_the_trial(tmp_path):
    class Steady:
        """Promises the same every time."""

        name = "steady"

        def __call__(self, problem, knowledge):
            return dataclasses.replace(own_designer()(problem, knowledge), promised=-30.0, designer=self.name)

    bench = lone_bench(tmp_path / "bench", rounds__max=8)
    with hil.bench.open(bench, designer=Steady(), runs=tmp_path) as lab:
        rounds = lab.run()
    assert [r.number for r in rounds] == [1, 2, 3]
    assert read(lab.folder).ended == "converged"


def test_infeasible_is_said_with_what_can_be_had(tmp_path):
    bench = hil.bench.load(narrow(tmp_path / "bench", ("floor_dbm = -13.0", "floor_dbm = 20.0")))
    with hil.bench.open(bench, runs=tmp_path) as lab:
        assert lab.run() == []
    run = read(lab.folder)
    said = run.of("designed")[-1]
    assert said["infeasible"] and -20.0 < said["achievable"] < 20.0
    assert not run.of("measured") and run.of("ended")[0]["muted"]
    assert lab.trial.infeasible.where == "scenario quickstart, round 1"
    assert lab.trial.infeasible.message.startswith("error[infeasible] scenario quickstart, round 1: the floor on power towards the target")


def test_one_s_own_designer_is_judged_and_measured_like_any_other(tmp_path):
    bench = lone_bench(tmp_path / "bench", design__baselines=["fixed"])
    with hil.bench.open(bench, designer=own_designer(), runs=tmp_path) as lab:
        rounds = list(lab.rounds())
    assert [r.designer for r in rounds] == ["fixed", "matched"]
    assert rounds[1].promised is None and rounds[1].bound is None
    run = read(lab.folder)
    assert {event["designer"] for event in run.of("designed", 1)} == {"matched"} and run.of("judged", 1)
    assert run.design(1, "matched").stopped == "closed form"


# -- where elements are asked to stand -----------------------------------------------------------------------------------------------------


def test_a_layout_a_motor_step_beside_a_legal_one_is_moved_onto_it_and_no_other(tmp_path):
    from hil.loop.arrays import NUDGE, transmit_arrays

    bench = lone_bench(tmp_path / "bench")
    array = transmit_arrays(bench.scenario, bench.testbed)[0]
    low, high = array.travel
    gap = array.spacing
    legal = np.array([low, low + gap, 0.0, high])
    assert np.array_equal(array.nudged(legal), legal)
    for off in ([-5e-6, 0, 0, 0], [0, -5e-6, 0, 0], [-1e-5, -2e-5, 0, 3e-5], [0, 0, 0, 1e-5]):
        nudged = array.nudged(legal + off)
        assert np.max(np.abs(nudged - legal)) < 1e-12
        plan = array.plan(np.array([-2.5, -0.5, 0.5, 2.5]) * gap, legal + off)
        assert plan is not None and np.allclose(plan.goal, legal)
    packed = high - gap * np.arange(3, -1, -1)
    assert np.allclose(array.nudged(packed + [1e-5, 0, 0, 0]), packed, atol=1e-12), "pushed back where the end of the rail is near"
    for off in ([-2 * NUDGE, 0, 0, 0], [0, -2 * NUDGE, 0, 0]):
        assert np.array_equal(array.nudged(legal + off), legal + off), "what is really wrong stays wrong, and is refused"
        with pytest.raises(InputError):
            array.plan(np.array([-2.5, -0.5, 0.5, 2.5]) * gap, legal + off)
