"""`hil doctor` and `hil profile` on emulated radios, those of the command itself and those at an address of the testbed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from daemon_bench import require_libiio

from hil import bench
from hil.cli import call
from hil.commands import doctor

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "emulated" / "two_plutos"
RADIOS = ("pluto-a", "pluto-b")


@pytest.fixture(autouse=True)
def libiio() -> None:
    require_libiio()


@pytest.fixture
def served(tmp_path: Path):
    """A bench whose testbed gives the addresses of radios that are there, and their daemon."""
    folder = tmp_path / "desk"
    shutil.copytree(EXAMPLE, folder)
    daemon = bench.emulated_radios(bench.load(EXAMPLE))
    with daemon:
        text = (folder / "testbed.toml").read_text()
        for name in RADIOS:
            text = text.replace(f'serial = "emulated-{name}"', f'uri = "{daemon.uris[name]}", serial = "emulated-{name}"')
        (folder / "testbed.toml").write_text(text)
        yield folder, daemon


def findings(capsys: pytest.CaptureFixture[str]) -> dict[str, dict]:
    found = json.loads(capsys.readouterr().out)["result"]["findings"]
    return {one["what"]: one for one in found}


def test_a_bench_that_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["doctor", str(EXAMPLE), "--json", "-q"]) == 0
    found = findings(capsys)
    for name in RADIOS:
        assert f"serial emulated-{name}, firmware 0.38" in found[name]["found"] and found[name]["verdict"] == "ok"
        assert found[f"{name} loopback"]["found"].startswith("100.00% of 4096")
        for what in ("profile", "temperature", "noise", "lines", "ports"):
            assert found[f"{name} {what}"]["verdict"] == "ok", found[f"{name} {what}"]
    assert "ppm" in found["pluto-a clock"]["found"]
    assert found["libraries"]["verdict"] == found["disk"]["verdict"] == "ok"


def test_a_radio_that_is_not_there_another_in_its_place_and_nothing_radiates_unasked(served, capsys: pytest.CaptureFixture[str]) -> None:
    folder, daemon = served
    text = (folder / "testbed.toml").read_text()
    a, b = (daemon.uris[name] for name in RADIOS)
    (folder / "testbed.toml").write_text(text.replace(a, b).replace('serial = "emulated-pluto-b"', 'serial = "another"'))
    assert call(["doctor", str(folder), "--air"]) == 1
    out = capsys.readouterr().out
    assert out.count("another radio answers at this address: serial emulated-pluto-b") == 2 and out.count("FIX") == 2
    (folder / "testbed.toml").write_text(text)
    assert call(["doctor", str(folder), "--air", "--json", "-q"]) == 0
    found = findings(capsys)
    assert found["pluto-a ports"]["found"] == "not tried: it would radiate" and "pluto-a loopback" not in found
    assert not any(airing for airing in daemon.world._airings), "not one sample went out"
    daemon.stop()
    assert call(["doctor", str(folder), "--air"]) == 1
    assert capsys.readouterr().out.count("nobody answers at this address") == 2


def test_profiles_shown_checked_and_applied(served, capsys: pytest.CaptureFixture[str]) -> None:
    folder, daemon = served
    assert call(["profile", "show", str(folder), "pluto-a"]) == 0
    shown = capsys.readouterr().out
    assert "3.400 GHz ... 3.800 GHz, starts at 3.500 GHz" in shown and "pluto-b" not in shown
    assert call(["profile", "check", str(folder), "--air"]) == 1
    checked = capsys.readouterr()
    assert "pluto-a  carrier" in checked.out and "DIFFERS" in checked.out and "hil profile apply" in checked.err
    assert call(["profile", "apply", str(folder), "--air"]) == 0
    assert "DIFFERS" not in capsys.readouterr().out
    assert call(["profile", "check", str(folder), "--air"]) == 0
    assert all(daemon.boards[name].front.ears[0].gain_db == 40.0 for name in RADIOS), "what was applied stays"


def test_what_the_licence_forbids_is_not_written(served, capsys: pytest.CaptureFixture[str]) -> None:
    folder, daemon = served
    text = (folder / "testbed.toml").read_text().replace("band_hz = [3.4e9, 3.8e9]", "band_hz = [3.4985e9, 3.5015e9]")
    (folder / "testbed.toml").write_text(text)
    (folder / "nodes").mkdir()
    (folder / "nodes" / "desk.toml").write_text(
        'format = "hil.node.v1"\nname = "desk"\nlisten = "tcp://127.0.0.1:5557"\nlease_ms = 100.0\nmay_open = []\n'
        "limits = { band_hz = [3.498e9, 3.5e9], power_dbm = 17.0, eirp_dbm = 20.0, duty = 0.5, temperature_c = 70.0 }\n"
    )
    before = [ear for name in RADIOS for ear in daemon.boards[name].front.ears]
    code = call(["profile", "apply", str(folder), "--air"])
    err = capsys.readouterr().err
    assert code in (2, 3) and "error[out-of-band]" in err and "3.498" in err
    assert [ear for name in RADIOS for ear in daemon.boards[name].front.ears] == before


def test_a_radio_nobody_knows(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["profile", "check", str(EXAMPLE), "pluto-c"]) == 2
    assert "pluto-a, pluto-b" in capsys.readouterr().err


def test_over_the_air_a_testbed_must_say_where_and_who(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert call(["profile", "check", str(EXAMPLE), "--air"]) == 2
    assert "error[no-address]" in capsys.readouterr().err
    folder = tmp_path / "desk"
    shutil.copytree(EXAMPLE, folder)
    text = (folder / "testbed.toml").read_text().replace('serial = "emulated-pluto-a"', 'uri = "ip:10.0.0.9"')
    (folder / "testbed.toml").write_text(text)
    assert call(["profile", "check", str(folder), "--air"]) == 2
    assert "error[no-serial]" in capsys.readouterr().err


@pytest.mark.parametrize(("air", "verdict"), [(False, "-"), (True, "FIX")])
def test_a_stage_without_a_driver_is_named_and_over_the_air_has_to_be_dealt_with(air: bool, verdict: str) -> None:
    (row,) = doctor._stages(bench.load(EXAMPLE.parents[1] / "two-plutos-one-rail"), air)
    assert (row.what, row.verdict) == ("rail", verdict) and "grbl-1.1, no driver" in row.found and ("position_mm" in row.fix) == air
