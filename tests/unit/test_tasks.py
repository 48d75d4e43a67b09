"""Tasks: the same results whatever the order and number of workers, done once, none lost."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hil import tasks
from hil.errors import HilError, InputError


def draw(parameters: tasks.Parameters, seed: np.random.SeedSequence) -> dict[str, Any]:
    """A result that depends on parameters and on the seed alone."""
    return {"sum": parameters["a"] + parameters.get("b", 0), "drawn": np.random.default_rng(seed).standard_normal(3).tolist()}


def threads(parameters: tasks.Parameters, seed: np.random.SeedSequence) -> dict[str, str | None]:
    return {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}


def stumble(parameters: tasks.Parameters, seed: np.random.SeedSequence) -> int:
    if parameters["a"] == 1 and not Path(parameters["flag"]).exists():
        raise ValueError("not yet")
    return int(parameters["a"])


def pairs(parameters: tasks.Parameters, seed: np.random.SeedSequence) -> Any:
    return {1, 2} if parameters.get("odd") else {parameters["a"]: (1, 2)}


def die(parameters: tasks.Parameters, seed: np.random.SeedSequence) -> int:
    if parameters["a"] == 1:
        os._exit(9)
    return int(parameters["a"])


GRID = [{"a": a, "b": b} for a in range(3) for b in (0.5, -1.5)]


@pytest.fixture(scope="module")
def here() -> list[Any]:
    return [outcome.result for outcome in tasks.run(draw, GRID, seed=7, engine=tasks.LocalProcesses(0))]


@pytest.mark.parametrize("jobs", [1, 2])
def test_workers_change_nothing(jobs: int, here: list[Any]) -> None:
    assert [outcome.result for outcome in tasks.run(draw, GRID, seed=7, engine=tasks.LocalProcesses(jobs))] == here


def test_order_changes_nothing(here: list[Any]) -> None:
    assert [outcome.result for outcome in tasks.run(draw, GRID[::-1], seed=7, engine=tasks.LocalProcesses(0))] == here[::-1]
    turned = [{"b": one["b"], "a": one["a"]} for one in GRID]
    assert [outcome.result for outcome in tasks.run(draw, turned, seed=7, engine=tasks.LocalProcesses(0))] == here


def test_tasks_and_seeds_draw_differently(here: list[Any]) -> None:
    drawn = {tuple(result["drawn"]) for result in here}
    other = {tuple(outcome.result["drawn"]) for outcome in tasks.run(draw, GRID, seed=8, engine=tasks.LocalProcesses(0))}
    assert len(drawn) == len(GRID) and not drawn & other


def test_keys_tell_functions_parameters_and_seeds_apart() -> None:
    keys = {
        tasks.key_of(function, parameters, seed) for function in (draw, stumble) for parameters in ({"a": 1}, {"a": 1.5}) for seed in (1, 2)
    }
    assert len(keys) == 8 and all(len(key) == 32 for key in keys)
    with pytest.raises(ValueError):
        tasks.key_of(draw, {"a": float("nan")}, 1)


def test_each_worker_keeps_to_one_thread_and_this_process_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    assert tasks.run(threads, [{"a": 0}], seed=1, engine=tasks.LocalProcesses(1))[0].result == {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    assert os.environ["OMP_NUM_THREADS"] == "5" and "OPENBLAS_NUM_THREADS" not in os.environ


def test_what_tasks_have_in_common_is_a_part_of_them(tmp_path: Path) -> None:
    whole = tasks.run(draw, GRID, seed=7, engine=tasks.LocalProcesses(0))
    shared = tasks.run(draw, [{"a": one["a"]} for one in GRID[::2]], common={"b": 0.5}, seed=7, engine=tasks.LocalProcesses(0), folder=tmp_path)
    assert [(one.key, one.result) for one in shared] == [(one.key, one.result) for one in whole[::2]]
    assert '"b"' not in (tmp_path / f"{shared[0].key}.json").read_text()


def test_a_result_is_what_its_file_says(tmp_path: Path) -> None:
    first = tasks.run(pairs, [{"a": 1}], seed=1, engine=tasks.LocalProcesses(0), folder=tmp_path)
    again = tasks.run(pairs, [{"a": 1}], seed=1, engine=tasks.LocalProcesses(0), folder=tmp_path)
    assert first[0].result == again[0].result == {"1": [1, 2]} and again[0].kept
    with pytest.raises(tasks.TasksFailed, match="not JSON serializable"):
        tasks.run(pairs, [{"a": 1, "odd": True}], seed=1, engine=tasks.LocalProcesses(0))


def test_what_is_there_is_not_done_again(tmp_path: Path, here: list[Any]) -> None:
    tasks.run(draw, GRID[:4], seed=7, engine=tasks.LocalProcesses(0), folder=tmp_path)
    torn = sorted(tmp_path.glob("*.json"))[0]
    torn.write_text(torn.read_text()[:-9])
    told: list[tasks.Outcome] = []
    outcomes = tasks.run(draw, GRID, seed=7, engine=tasks.LocalProcesses(0), folder=tmp_path, done=told.append)
    assert [outcome.result for outcome in outcomes] == here
    assert sum(outcome.kept for outcome in outcomes) == 3 and len(told) == 6
    kept = json.loads((tmp_path / f"{outcomes[0].key}.json").read_text())
    assert (kept["parameters"], kept["seed"], kept["result"]) == (GRID[0], 7, here[0])
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("jobs", [0, 2])
def test_a_task_that_raises_costs_only_itself_and_is_tried_again(jobs: int, tmp_path: Path) -> None:
    grid = [{"a": a, "flag": str(tmp_path / "flag")} for a in range(3)]
    with pytest.raises(tasks.TasksFailed) as caught:
        tasks.run(stumble, grid, seed=1, engine=tasks.LocalProcesses(jobs), folder=tmp_path / "kept")
    assert [outcome.result for outcome in caught.value.outcomes] == [0, None, 2]
    assert caught.value.id == "tasks-failed" and "1 of 3 tasks" in str(caught.value) and "ValueError: not yet" in str(caught.value)
    (tmp_path / "flag").touch()
    again = tasks.run(stumble, grid, seed=1, engine=tasks.LocalProcesses(jobs), folder=tmp_path / "kept")
    assert [outcome.kept for outcome in again] == [True, False, True]


def test_a_worker_that_dies_is_an_error_not_a_wait() -> None:
    with pytest.raises(tasks.TasksFailed) as caught:
        tasks.run(die, [{"a": 1}], seed=1, engine=tasks.LocalProcesses(1))
    assert "BrokenProcessPool" in str(caught.value)


def test_a_negative_number_of_workers_is_refused() -> None:
    with pytest.raises(ValueError, match="jobs"):
        tasks.run(draw, GRID, seed=1, engine=tasks.LocalProcesses(-1))


INTERRUPTED = """
import signal, sys, time
from pathlib import Path
from hil import tasks

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job, and what it starts, would ignore it

def slow(parameters, seed):
    Path(sys.argv[1], f"began-{parameters['a']}").touch()
    time.sleep(0.5 if parameters["a"] == 0 else 2)
    return parameters["a"]

if __name__ == "__main__":
    try:
        tasks.run(slow, [{"a": a} for a in range(4)], seed=1, engine=tasks.LocalProcesses(1), folder=Path(sys.argv[1], "kept"))
    except KeyboardInterrupt:
        sys.exit(130)
"""


def test_ctrl_c_lets_the_task_in_hand_finish_and_drops_the_rest(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(INTERRUPTED)
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    process = subprocess.Popen([sys.executable, str(script), str(tmp_path)], start_new_session=True, env=env)
    try:
        deadline = time.monotonic() + 30
        while not (tmp_path / "began-1").exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the whole group
        assert process.wait(30) == 130
    finally:
        process.kill()
        process.wait()
    kept = sorted(json.loads(path.read_text())["result"] for path in (tmp_path / "kept").glob("*.json"))
    assert kept[:2] == [0, 1] and len(kept) < 4


# -- on a dask cluster -------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Address of a scheduler on this machine, with two workers that are processes of their own."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", silence_logs=50) as made:
        yield made.scheduler_address.replace("tcp://", "dask://")


def test_a_cluster_gives_the_same_numbers(cluster: str, here: list[Any]) -> None:
    assert [outcome.result for outcome in tasks.run(draw, GRID, seed=7, engine=tasks.engine(cluster))] == here


def test_a_cluster_resumes_what_processes_began(cluster: str, here: list[Any], tmp_path: Path) -> None:
    tasks.run(draw, GRID[:3], seed=7, engine=tasks.LocalProcesses(0), folder=tmp_path)
    outcomes = tasks.run(draw, GRID, seed=7, engine=tasks.engine(cluster), folder=tmp_path)
    assert [outcome.result for outcome in outcomes] == here and sum(outcome.kept for outcome in outcomes) == 3


def test_workers_of_a_cluster_keep_to_one_thread(cluster: str) -> None:
    assert set(tasks.run(threads, [{"a": 0}], seed=1, engine=tasks.engine(cluster))[0].result.values()) == {"1"}


def test_a_task_that_raises_on_a_cluster_costs_only_itself(cluster: str, tmp_path: Path) -> None:
    grid = [{"a": a, "flag": str(tmp_path / "flag")} for a in range(3)]
    with pytest.raises(tasks.TasksFailed) as caught:
        tasks.run(stumble, grid, seed=1, engine=tasks.engine(cluster))
    assert [outcome.result for outcome in caught.value.outcomes] == [0, None, 2]


def test_a_worker_that_would_compute_otherwise_is_refused(cluster: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from hil.tasks import cluster as module

    mine = module.versions() | {"numpy": "0.1"}
    monkeypatch.setattr(module, "versions", lambda: mine)
    with pytest.raises(HilError) as caught:
        tasks.run(draw, GRID, seed=7, engine=tasks.engine(cluster))
    assert caught.value.id == "other-worker" and "for 0.1" in caught.value.found


def test_more_threads_in_a_worker_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    from hil.tasks import cluster as module

    worker = SimpleNamespace(state=SimpleNamespace(nthreads=1))
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    assert module.unlike(module.versions(), worker) == ""
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "4")  # numpy is loaded: nothing can be set any more
    assert module.unlike(module.versions(), worker) == "OPENBLAS_NUM_THREADS=4"
    worker.state.nthreads = 8
    assert "8 tasks at a time" in module.unlike(module.versions(), worker)


def test_a_scheduler_that_does_not_answer_is_an_error_within_its_deadline() -> None:
    pytest.importorskip("distributed")
    from hil.tasks.cluster import Dask

    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        began = time.monotonic()
        with pytest.raises(HilError) as caught:
            tasks.run(draw, GRID, seed=7, engine=Dask(f"dask://127.0.0.1:{nobody.getsockname()[1]}", deadline_s=0.5))
    assert caught.value.id == "no-scheduler" and "--engine local" in caught.value.fix and time.monotonic() - began < 20


def test_a_scheduler_without_workers_is_an_error_within_its_deadline() -> None:
    distributed = pytest.importorskip("distributed")
    from hil.tasks.cluster import Dask

    with distributed.LocalCluster(n_workers=0, dashboard_address=":0", silence_logs=50) as made, pytest.raises(HilError) as caught:
        tasks.run(draw, GRID, seed=7, engine=Dask(made.scheduler_address.replace("tcp://", "dask://"), deadline_s=0.5))
    assert caught.value.id == "no-workers"


def test_without_dask_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError) as caught:
        tasks.run(draw, GRID, seed=7, engine=tasks.engine("dask://127.0.0.1:8786"))
    assert caught.value.id == "no-dask" and "hil[sweep]" in caught.value.fix


def test_an_engine_that_does_not_exist_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        tasks.engine("slurm")
    assert caught.value.id == "no-engine" and caught.value.exit_code == 2
