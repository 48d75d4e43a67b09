"""Over the air: what is said and asked before, what is refused, and a trial on radios that stand at the testbed's addresses."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench_files import DESK, DESK_SCENARIO, changed, desk
from daemon_bench import require_libiio
from trial_bench import OWN, lone_bench, own_designer

import hil.bench
from hil import cli
from hil.errors import InputError
from hil.records import read
from sim_backend.iiod.serve import RadioProcess

STILL = (
    ('stage  = [ { name = "rail", node = "desk", profile = "belt-rail-300", port = "/dev/ttyUSB0" } ]\n', ""),
    ('stage = "rail"\naxes = ["+x"]\noffset_mm = [-150.0]\n', "position_mm = [0.0]\n"),
)
QUIETER = ("element_power_dbm = 3.0", "element_power_dbm = -10.0")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def run(folder: Path, *more: str) -> int:
    return cli.call(["run", str(folder), "--air", "--runs", str(folder / "runs"), *more])


# -- refused -----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scenario", "testbed", "said"),
    [
        ((), (), ["error[no-driver] {}/testbed.toml:8 stage: no driver for stage `rail` (grbl-1.1) yet"]),
        ((), (*STILL, (', uri = "usb:1.5.5"', "")), ["error[no-address] {}/testbed.toml:6 radio.pluto-a.uri"]),
        ((), (*STILL, (', serial = "104473541196000618001900f2f97f0"', "")), ["error[no-serial] {}/testbed.toml:7 radio.pluto-b.serial"]),
        ((), (*STILL, ('address = "local"', 'address = "tcp://10.0.0.11:5557"')), ["error[node-elsewhere] {}/testbed.toml:4 node"]),
        ((), ((', uri = "usb:1.5.5"', ""),), ["error[no-address] {}/testbed.toml:6", "error[no-driver] {}/testbed.toml:8"]),
        ((), STILL, ["error[no-calibration] {}/scenario.toml:", "found 5.2 dBm EIRP by the data sheet, 11.2 at worst; allowed 10.0 dBm",
                     "fix: element_power_dbm = 1.8"]),
        ((QUIETER,), STILL, ["error[usage] --air: nobody can be asked: stdin is not a terminal", "--yes"]),
    ],
)  # fmt: skip
def test_what_cannot_go_over_the_air_is_refused_before_anything_is_opened(scenario, testbed, said, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    folder = desk(tmp_path / "desk", changed(DESK_SCENARIO, *scenario), changed(DESK, *testbed))
    assert run(folder) == 2
    told = capsys.readouterr()
    assert told.out == "" and told.err.startswith("Radiates  pluto-a tx0  2.450 GHz, at most ")
    for words in said:
        assert words.format(folder) in told.err, told.err
    assert not (folder / "runs").exists()


def test_a_bench_that_is_only_emulated_says_so_once(capsys) -> None:
    quickstart = Path(hil.__file__).resolve().parent.parent / "examples" / "quickstart"
    assert cli.call(["run", str(quickstart), "--air", "--yes"]) == 2
    told = capsys.readouterr().err
    assert told.count("error[no-address]") == 1 and "this bench is emulated only" in told and "`rail1` (grblhal), `rail2` (grblhal)" in told


@pytest.mark.parametrize("answer", ["n\n", "\n", "", "maybe\n"])
def test_anything_but_yes_is_no(answer: str, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    folder = desk(tmp_path / "desk", changed(DESK_SCENARIO, QUIETER), changed(DESK, *STILL))
    assert run(folder, "-q") == 1
    told = capsys.readouterr()
    assert told.out == "" and "Radiates  pluto-a tx0" in told.err and told.err.endswith("Continue? [y/N] "), "asked in full, though quiet"
    assert not (folder / "runs").exists()


def test_a_program_has_to_say_that_somebody_was_asked(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught, hil.bench.open(lone_bench(tmp_path / "bench"), air=True, runs=tmp_path / "runs"):
        pass
    assert caught.value.id == "not-confirmed" and not (tmp_path / "runs").exists()


# -- done --------------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def hardware(tmp_path: Path) -> Iterator[Path]:
    """A bench whose testbed gives addresses and serials of radios that answer there; its antennas stand still and its [emulated] is gone."""
    require_libiio()
    folder = tmp_path / "bench"
    lone_bench(folder)
    text = (folder / "testbed.toml").read_text()
    text = re.sub(r"^stage = \[.*\n", "", text, flags=re.MULTILINE)
    text = re.sub(r'stage = "rail1"\naxes.*\noffset_mm.*\n', "position_mm = [-150.0, -50.0, 50.0, 150.0]\n", text)
    (folder / "testbed.toml").write_text(text)
    with RadioProcess(hil.bench.site(hil.bench.load(folder), 1), patient=True) as radios:
        for name, uri in radios.uris.items():
            text = text.replace(f'{{ name = "{name}", node', f'{{ name = "{name}", uri = "{uri}", serial = "emulated-{name}", node')
        (folder / "testbed.toml").write_text(text.partition("[emulated]")[0])
        yield folder


@pytest.mark.slow
def test_a_trial_on_radios_at_the_testbeds_addresses(hardware: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    monkeypatch.chdir(OWN.parent)
    assert run(hardware, "--designer", "own_designer:Matched") == 0, capsys.readouterr().err
    told = capsys.readouterr()
    assert "Continue? [y/N] " in told.err and "over the air, wall time" in told.err
    done = read("last", hardware / "runs")
    assert done.ended == "limit" and done.about["air"] and done.of("started")[0]["depth"] == "air"
    assert done.events[-1]["muted"] and done.of("measured", 1)[0]["sinr_db"] > 10.0
    with pytest.raises(InputError) as caught, hil.bench.resume(done.folder, designer=own_designer()):
        pass
    assert caught.value.id == "resume-changed" and caught.value.fix == "add --air"
