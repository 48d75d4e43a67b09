"""`hil sweep` and `hil design` on an emulated bench: each row is what `hil run` would have measured."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trial_bench import lone_bench

import hil
from hil.commands import design, sweep
from hil.commands.streams import Streams
from hil.commands.study import Where
from hil.errors import InputError, RecordError
from hil.records import read, verifying
from hil.report import swept


@pytest.fixture
def streams() -> Streams:
    return Streams("sweep", json=True, out=io.StringIO(), err=io.StringIO())


def asked(bench: Any, runs: Path, over: tuple[str, ...] = (), designers: tuple[str, ...] = (), seeds: tuple[int, ...] = (1,), **more: Any) -> Any:
    return sweep.Asked((bench.folder,), over, designers, seeds, "process", Where(runs, "local", 0), **more)


@pytest.mark.slow
def test_a_sweep_measures_what_single_runs_measure(tmp_path: Path, streams: Streams) -> None:
    bench = lone_bench(tmp_path / "bench")
    assert sweep.sweep(streams, asked(bench, tmp_path / "runs", ("array.element_power_dbm=-30,-20",), ("fixed",))) == 0
    run = read("last", tmp_path / "runs")
    assert "-sweep-quickstart-" in run.name and verifying.verify(run.folder).whole
    found = swept.trials(run)
    assert [one.point for one in found] == [(-30,), (-20,)] and found[1].measured - found[0].measured > 5.0
    with hil.open(bench.replace({"array.element_power_dbm": -30, "design.designer": "fixed"}), seed=1, runs=tmp_path / "single") as lab:
        lab.run()
    assert found[0].measured == np.min(read(lab.folder).table()["measured_db"])
    told = json.loads(streams.out.getvalue())["result"]  # type: ignore[attr-defined]
    assert told["trials"] == 2 and told["table"][0]["array.element_power_dbm"] == "-30" and Path(told["report"]).is_file()


@pytest.mark.slow
def test_designs_side_by_side(tmp_path: Path, streams: Streams) -> None:
    bench = lone_bench(tmp_path / "bench")
    wanted = design.Asked((bench.folder,), ("fixed", "fixed-rzf"), (3,), Where(tmp_path / "runs", "local", 0))
    assert design.design(streams, wanted) == 0
    table = read("last", tmp_path / "runs").table()
    alone = hil.design(bench, "fixed", seed=3)
    assert table["designer"].tolist() == ["fixed", "fixed-rzf"] and table["promised"][0] == alone.promised and table["bound"][0] == alone.bound
    assert np.isnan(table["promised"][1]) and table["took_s"][0] > 0.0


@pytest.mark.parametrize(
    ("over", "designers", "id"),
    [
        (("design.confidenc=0.5",), (), "unknown-key"),
        (("design.confidence=0.5,1.5",), (), "out-of-range"),
        (("depth=proces",), (), "depth"),
        (("design.designer=fixed",), (), "usage"),
        ((), ("nobody",), "no-designer"),
    ],
)
def test_nothing_is_started_before_all_of_it_is_checked(
    over: tuple[str, ...], designers: tuple[str, ...], id: str, tmp_path: Path, streams: Streams
) -> None:
    bench = lone_bench(tmp_path / "bench")
    with pytest.raises(InputError) as caught:
        sweep.sweep(streams, asked(bench, tmp_path / "runs", over, designers))
    assert caught.value.id == id and not (tmp_path / "runs").exists()


def test_a_plan_counts_trials(tmp_path: Path, streams: Streams) -> None:
    bench = lone_bench(tmp_path / "bench")
    wanted = asked(bench, tmp_path / "runs", ("depth=process,device", "design.confidence=0.5:0.9:3"), ("fixed", "robust"), (0, 1), plan=True)
    assert sweep.sweep(streams, wanted) == 0 and json.loads(streams.out.getvalue())["result"]["trials"] == 24  # type: ignore[attr-defined]


def test_keys_are_listed_as_over_takes_them(tmp_path: Path, streams: Streams) -> None:
    bench = lone_bench(tmp_path / "bench")
    assert sweep.sweep(streams, asked(bench, tmp_path / "runs", list=True)) == 0
    told = json.loads(streams.out.getvalue())["result"]  # type: ignore[attr-defined]
    assert "robust" in told["designers"] and told["keys"]["array.ap1.elements"] == 4
    for key in ("rounds.max", "array.ap1.elements", "user.u1.position_m", "emulated.room.scatterers", "wire.ap1.antenna_gain_dbi"):
        bench.replace({key: told["keys"][key]})


def test_a_trial_does_not_go_on_where_a_sweep_began(tmp_path: Path, streams: Streams) -> None:
    bench = lone_bench(tmp_path / "bench")
    sweep.sweep(streams, asked(bench, tmp_path / "runs", ("rounds.max=1",), ("fixed-rzf",)))
    again = sweep.Asked((), (), (), (1,), "process", Where(tmp_path / "runs", "local", 0, "last"))
    with pytest.raises(RecordError, match="has ended"):
        sweep.sweep(streams, again)
    with pytest.raises(InputError) as caught, hil.bench.resume("last", runs=tmp_path / "runs"):
        pass
    assert caught.value.id == "another-command" and "hil sweep --resume" in caught.value.fix
