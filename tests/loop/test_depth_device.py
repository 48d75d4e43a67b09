"""Trials whose radios are reached by their drivers, over the network protocol."""

from __future__ import annotations

from pathlib import Path

import pytest
from daemon_bench import require_libiio
from trial_bench import lone_bench, narrow_bench, own_designer

import hil.bench
from hil.records import Run, read

pytestmark = pytest.mark.slow


def trial(bench: hil.bench.Bench, depth: str, runs: Path) -> Run:
    """A whole one."""
    with hil.bench.open(bench, depth=depth, designer=own_designer(), runs=runs) as lab:
        lab.run()
    run = read(lab.folder)
    ended = run.events[-1]
    assert (ended["how"], ended["muted"], ended["at_rest"]) == ("limit", True, True)
    return run


def test_a_design_is_worth_through_drivers_what_it_is_worth_in_one_process(tmp_path: Path) -> None:
    """The same room and radios; noise and the phases of synthesisers are others."""
    require_libiio()
    bench = lone_bench(tmp_path / "bench")
    process, device = (trial(bench, depth, tmp_path / depth) for depth in ("process", "device"))
    sinr = [[event["sinr_db"] for event in run.of("measured", 1)] for run in (process, device)]
    assert len(sinr[0]) == 1 and sinr[1] == pytest.approx(sinr[0], abs=1.0)
    assert {event["part"] for event in device.of("opened")} == {event["part"] for event in process.of("opened")}


def test_no_sample_is_lost_and_the_target_is_where_it_was_at_the_time_of_the_capture(tmp_path: Path) -> None:
    """Five radios side by side, on a machine that computes their samples slower than they would come: the emulation waits for itself."""
    require_libiio()
    run = trial(narrow_bench(tmp_path / "bench"), "device", tmp_path)
    assert {event["loss"] for event in run.of("captured")} == {"none"}
    (fix,) = [event["target"] for event in run.of("measured") if event.get("target")]
    assert fix["error"] < 4.0 * fix["crlb"], fix
