"""`hil sound` as it speaks: tables, budget, verdict, exit code, and the one object of --json. What it measures is made by hand here."""

from __future__ import annotations

import json
import math
import re
from types import SimpleNamespace

import pytest

from hil import bench, cli
from hil.commands import sound
from sim_backend.sounder import Budget, Line, Sounding

GOOD = Line("port power", "ap1.0", -62.35, -62.352, 0.03, "dBm").against(1e-5, "float32")
REST = Line("interference rejection", "ap1 > u1", -45.0, -51.2, 0.0, "dB", at_most=True)
BAD = Line("carrier offset", "ap1 > u2", 1000.0, 1000.25, 0.1, "Hz")
OWN, NEAR, FAR = ({"float32": -134.0, "retained spectrum": value} for value in (-300.0, -120.0, -90.0))


def said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, lines: list[Line], *more: str) -> tuple[int, str, str]:
    made = Sounding({"cables": lines, "air": []}, {"own": Budget(OWN), "ap1 > u1": Budget(NEAR), "ap1 > u2": Budget(FAR)})
    monkeypatch.setattr(bench, "load", lambda *paths: SimpleNamespace(paths=paths))
    monkeypatch.setattr(bench, "sound", lambda loaded, seed: made)
    code = cli.call(["sound", "my-lab", *more])
    out, err = capsys.readouterr()
    return code, out, err


def test_truth_stands_beside_measurement_and_the_budget_below(capsys, monkeypatch):
    code, out, err = said(capsys, monkeypatch, [GOOD, REST])
    rows = [line.split() for line in out.splitlines()]
    assert (code, err) == (0, "")
    assert ["port", "power", "ap1.0", "-62.350", "-62.352", "-0.002", "0.03", "dBm"] in rows
    assert ["interference", "rejection", "ap1", ">", "u1", "<=", "-45.00", "-51.20", "-6.20", "-", "dB"] in rows
    assert ["retained", "spectrum", "none", "-90.0"] in rows and ["float32", "-134.0", "-134.0"] in rows and ["sum", "-134.0", "-90.0"] in rows
    assert out.splitlines()[-1] == "2 of 2 lines within tolerance, seed 1"


def test_a_line_that_fails_is_named_and_the_answer_is_no(capsys, monkeypatch):
    code, out, _ = said(capsys, monkeypatch, [GOOD, BAD], "--seed", "7")
    assert code == 1
    assert "FAIL  carrier offset, ap1 > u2: off by +0.25 Hz, tolerance 0.1" in out
    assert out.splitlines()[-1] == "1 of 2 lines within tolerance, seed 7"


def test_one_object_on_stdout(capsys, monkeypatch):
    code, out, _ = said(capsys, monkeypatch, [GOOD, BAD], "--json")
    told = json.loads(out)
    assert code == 1 and told["command"] == "sound" and told["ok"] is False
    first, second = told["result"]["lines"]
    assert (first["part"], first["ok"], first["budget"], first["term"]) == ("cables", True, 1e-5, "float32")
    assert second["difference"] == pytest.approx(0.25) and second["budget"] is None  # no budget: minus infinity
    assert told["result"]["budget_db"]["ap1 > u2"]["total"] == pytest.approx(-90.0, abs=1e-3)


@pytest.mark.parametrize(("tolerance", "digits"), [(1e-4, 5), (0.03, 3), (0.5, 2), (20.0, 0)])
def test_numbers_have_the_digits_their_tolerance_asks_for(tolerance, digits):
    cells = sound.lines({"part": [Line("x", "", math.pi, math.pi, tolerance, "")]})[2].split()
    assert len(cells[1].partition(".")[2]) == digits


def test_a_table_the_emulator_refuses_is_refused(tmp_path, capsys):
    assert cli.call(["new", str(tmp_path / "lab")]) == 0
    testbed = tmp_path / "lab" / "testbed.toml"
    testbed.write_text(re.sub(r"(\[emulated\][^\n]*\nseed = )\d+", r"\g<1>-1", testbed.read_text()))
    assert cli.call(["sound", str(tmp_path / "lab")]) == 2
    assert "error[emulated]" in capsys.readouterr().err
