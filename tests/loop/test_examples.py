"""The example scripts run as they stand."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import hil.bench
from hil.records import read

ROOT = Path(__file__).resolve().parents[2]


def script(name: str, folder: Path, timeout: float) -> str:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / name)], cwd=folder, env=env, capture_output=True, text=True, timeout=timeout
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_ones_own_radio_passes_the_contract(tmp_path: Path) -> None:
    assert script("own_radio.py", tmp_path, 60) == "Wire passes the contract of a radio\n"


@pytest.mark.slow
def test_ones_own_designer_designs_a_trial(tmp_path: Path) -> None:
    lines = script("own_designer.py", tmp_path, 600).splitlines()
    assert [line.split()[:2] for line in lines] == [["0", "fixed"], ["1", "matched"]]


@pytest.mark.slow
def test_two_plutos_and_a_rail_gain_by_moving(tmp_path: Path) -> None:
    with hil.bench.open(hil.bench.load(ROOT / "examples" / "two-plutos-one-rail"), runs=tmp_path) as lab:
        lab.run()
    run = read(lab.folder)
    measured = {name: [event["sinr_db"] for event in run.of("measured", designer=name)] for name in ("fixed", "robust")}
    assert run.ended == "converged" and min(measured["robust"]) > measured["fixed"][0] + 2.0
