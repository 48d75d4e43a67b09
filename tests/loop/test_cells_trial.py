"""Trials of two cells on the emulated bench: what is promised is measured, who gives way to whom, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hil
from hil.bench import Bench, load
from hil.errors import HilError, Infeasible
from hil.records import Run

ROOT = Path(__file__).resolve().parents[2]


def bench(**changes: Any) -> Bench:
    """One short round on a single carrier, unless told otherwise."""
    short = {"rounds.max": 1, "design.baselines": [], "design.waveform": "single-carrier", "signal.payload_symbols": 60}
    return load(ROOT / "examples/multicell").replace(short | {key.replace("__", "."): value for key, value in changes.items()})


def run(tmp_path: Path, made: Bench, designer: str, seed: int = 1) -> tuple[list[Any], Run]:
    with hil.open(made, seed=seed, designer=designer, runs=tmp_path) as lab:
        rounds = lab.run()
        folder = lab.folder
    return rounds, hil.read(folder)


def warned(of: Run) -> list[str]:
    return [event["id"] for event in of.of("warned")]


def test_a_round_keeps_its_promise_and_says_what_it_did(tmp_path: Path):
    (made,), record = run(tmp_path, bench(), "cbf-blp")
    assert made.design.mode == "cbf" and made.verdict.passed and made.kept
    assert made.promised == pytest.approx(10.0, abs=0.1) and made.promised <= made.predicted
    assert abs(made.predicted - made.measured) < 1.5
    table = record.table()
    assert set(table["user"]) == {"u1", "u2", "u3", "u4", "u5", "u6"} and set(table["mode"]) == {"cbf"}
    assert list(table["target"]) == ["west"] * 3 + ["east"] * 3
    assert np.all(table["symbols"] > 500) and np.all(table["upper_db"] >= table["promised_db"])
    kinds = {event["event"] for event in record.events}
    assert {"sounded", "moved"}.isdisjoint(kinds) and {"levelled", "bounded", "designed", "judged", "measured"} <= kinds
    parts = record.of("bounded")[0]["parts"]
    assert set(parts) == {"noise", "moving", "phase"} and parts["phase"] == 0.0  # nobody is in phase with anybody


def test_stations_that_share_nothing_are_designed_apart_and_it_is_said(tmp_path: Path):
    apart = bench(design__waveform="ofdm", shared=[])
    with pytest.raises(HilError, match="share"):
        run(tmp_path, bench(shared=[]), "comp-slp")  # one carrier for all is not sent by stations that start on their own
    with hil.open(apart, seed=1, designer="comp-blp", runs=tmp_path) as lab:
        design = lab.design().design
        folder = lab.folder
    assert design.mode == "cbf" and "not-coherent" in warned(hil.read(folder))
    foreign = np.arange(2)[:, None] != lab.trial.stations.cells
    assert not np.any(design.precoders[np.repeat(foreign[:, None, None], 8, 1).repeat(6, 2)])


def test_a_phase_that_is_not_kept_is_seen_and_multipoint_gives_way(tmp_path: Path):
    drifting = bench(emulated__oscillator={"class": "tcxo", "spread_ppm": 3.0, "clock_offset_ns": 300.0, "site_drift_rad": 3.0})
    with hil.open(drifting, seed=1, designer="comp-blp", runs=tmp_path) as lab:
        design = lab.design().design
        record = hil.read(lab.folder)
    assert design.mode == "cbf" and "not-coherent" in warned(record)
    (told,) = [event for event in record.of("estimated") if event["what"] == "phase between stations"]
    assert "rad after" in told["assumes"][-1]


def test_too_much_is_infeasible_with_what_can_be_had(tmp_path: Path):
    with hil.open(bench(design__asked_db=35.0), seed=1, designer="cbf-blp", runs=tmp_path) as lab, pytest.raises(Infeasible) as error:
        lab.design()
    assert error.value.achievable is not None and 5.0 < error.value.achievable < 35.0


def test_a_room_that_echoes_is_no_place_for_one_carrier(tmp_path: Path):
    loud = bench(emulated__room={"corners_m": [[0.0, -40.0, 0.0], [20.0, 40.0, 4.0]], "scatterers": 12, "scatter_db": 0.0})
    with hil.open(loud, seed=1, designer="cbf-blp", runs=tmp_path) as lab, pytest.raises(HilError) as error:
        lab.design()
    assert error.value.id == "channel-not-flat" and "ofdm" in error.value.fix


@pytest.mark.slow
def test_multipoint_in_phase_learns_more_of_targets_and_nominal_promises_nothing(tmp_path: Path):
    made = bench(design__waveform="ofdm", design__baselines=["cbf-blp", "nominal-cbf-blp"])
    rounds, record = run(tmp_path, made, "comp-blp")
    apart, nominal, together = rounds
    assert [one.design.mode for one in rounds] == ["cbf", "cbf", "comp"] and warned(record) == []
    assert together.kept and apart.kept and together.verdict.passed and apart.verdict.passed
    with hil.open(made, seed=1, designer="comp-blp", runs=tmp_path) as lab:  # before any echo, as `apart` was designed
        fresh = lab.design().design
    assert fresh.mode == "comp" and np.all(fresh.sensing_std < apart.design.sensing_std)
    assert nominal.promised < 9.5 < apart.promised  # over the sets it ignores
    for one in (apart, together):
        assert abs(one.predicted - one.measured) < 0.5
    assert nominal.predicted == pytest.approx(10.0, abs=0.05) and nominal.measured < 9.8  # what it takes its word from is not what is there


@pytest.mark.slow
@pytest.mark.parametrize("designer", ["comp-slp", "cbf-slp", "comp-blp"])
def test_symbol_by_symbol_and_by_block_on_one_carrier(tmp_path: Path, designer: str):
    (made,), record = run(tmp_path, bench(), designer, seed=2)
    assert made.design.mode == designer[: designer.index("-")] and made.design.kind == designer[-3:]
    assert made.kept and made.verdict.passed
    table = record.table()
    assert np.all(table["symbol_errors"] == 0) and np.all(table["measured_db"] > table["promised_db"] - 3 * table["std_db"])


@pytest.mark.slow
def test_a_run_of_cells_replays_and_repeats(tmp_path: Path):
    from hil.loop.replaying import replay

    made = bench()
    _, record = run(tmp_path / "a", made, "comp-blp", seed=3)
    _, again = run(tmp_path / "b", made, "comp-blp", seed=3)
    assert [event for event in record.events if event["event"] != "started"] == [event for event in again.events if event["event"] != "started"]
    found = replay(record, made.scenario, made.testbed)
    assert found.stopped is None and not found.missing and found.identical == found.events
