"""What is refused: before anything is opened, before anything radiates, and designs of one's own that break a limit in mid-trial."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from bench_files import changed
from trial_bench import lone_bench, narrow, own_designer, quiet_and_still

import hil.bench
from hil import cli
from hil.errors import DeviceError, InputError
from hil.records import read


@pytest.mark.parametrize(
    ("file", "change", "id"),
    [
        ("scenario.toml", ("elements = 4", "elments = 4"), "unknown-key"),
        ("scenario.toml", ("carrier_hz = 3.5e9", "carrier_ghz = 3.5"), "wrong-unit"),
        ("scenario.toml", ("carrier_hz = 3.5e9", 'carrier_hz = "3.5 GHz"'), "wrong-unit"),
        ("scenario.toml", ("element_power_dbm = -20.0", "element_power_dbm = nan"), "not-finite"),
        ("scenario.toml", ("travel_wavelengths = 8.0", "travel_wavelengths = 1.0"), "rail-too-short"),
        ("scenario.toml", ("min_spacing_wavelengths = 0.5", "min_spacing_wavelengths = 3.0"), "rail-too-short"),
        ("scenario.toml", ("element_power_dbm = -20.0", "element_power_dbm = 12.0"), "power-cap"),
        ("scenario.toml", ("carrier_hz = 3.5e9", "carrier_hz = 4.9e9"), "out-of-band"),
        ("testbed.toml", ('{ name = "site1", address = "local" }, ', ""), "no-such-name"),
        ("testbed.toml", ('[[wire]]\nuser = "u2"\nradio = "u2"\nchannels = [0]\n', ""), "not-wired"),
        ("testbed.toml", ("spread_ppm = 3.0", "spread_ppm = -3.0"), None),
    ],
)
def test_bad_input_starts_nothing(file, change, id, tmp_path, capsys, monkeypatch):
    """Exit code 2, the two-line message, no run folder; no world is made, so that nothing could radiate."""
    worlds, build = [], hil.bench.build_world
    monkeypatch.setattr(hil.bench, "build_world", lambda *arguments: worlds.append(build(*arguments)) or worlds[-1])
    bench = narrow(tmp_path / "bench")
    (bench / file).write_text(changed((bench / file).read_text(), change))
    for depth in ("process", "nodes"):
        assert cli.call(["run", str(bench), "--depth", depth, "--runs", str(tmp_path / "runs")]) == 2
        out, err = capsys.readouterr()
        assert out == "" and err.startswith(f"error[{id}] " if id else "error["), err
    assert not worlds and not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("designer", "what"), [("nobody", "no designer `nobody`"), ("nobody:Nothing", "no designer `nobody:Nothing`")])
def test_a_designer_that_is_not_there_starts_nothing(designer, what, tmp_path, capsys):
    assert cli.call(["run", str(narrow(tmp_path / "bench")), "--designer", designer, "--runs", str(tmp_path / "runs")]) == 2
    assert what in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("wrong", ["serial", "homed", "gain"])
def test_a_device_that_is_not_what_it_should_be_radiates_nothing(wrong, tmp_path, monkeypatch):
    bench = lone_bench(tmp_path / "bench")
    with hil.bench.open(bench, designer=own_designer(), runs=tmp_path) as lab:
        world = lab.link.world
        if wrong == "serial":
            radio = world.radios["u1"]
            monkeypatch.setattr(type(radio), "capability", property(lambda self: dataclasses.replace(radio._capability, serial="another")))
        elif wrong == "homed":
            world.stages["rail1"]._homed = False
        else:
            kind = type(world.radios["ap1"])
            configure = kind.configure
            spoilt = lambda self, setting: dataclasses.replace(configure(self, setting), receive_gain_db=(3.0,) * len(setting.receive_gain_db))
            monkeypatch.setattr(kind, "configure", spoilt)
        with pytest.raises(DeviceError) as caught:
            lab.run()
        assert caught.value.id == {"serial": "wrong-device", "homed": "not-homed", "gain": "did-not-take"}[wrong]
        assert world.airings() == []
    run = read(lab.folder)
    assert run.ended == "fault" and run.events[-1]["muted"] and run.of("failed")[0]["id"] == caught.value.id


class Bad:
    """The designer of the example, spoilt."""

    name = "bad"

    def __init__(self, spoil, when):
        self.spoil, self.when = spoil, when

    def __call__(self, problem, knowledge):
        design = own_designer()(problem, knowledge)
        return self.spoil(design) if (knowledge.channel is not None) == self.when else design


def crowded(design):
    positions = design.positions.copy()
    positions[0, 1] = positions[0, 0] + 0.01
    return dataclasses.replace(design, positions=positions)


def far(design):
    return dataclasses.replace(design, positions=design.positions + 0.5)


def loud(design):
    return dataclasses.replace(design, precoders=design.precoders * 1.01)


def nothing(design):
    return dataclasses.replace(design, precoders=design.precoders * np.nan)


@pytest.mark.parametrize(
    ("spoil", "measured", "id"),
    [(crowded, False, "spacing"), (far, False, "travel"), (loud, True, "power-cap"), (nothing, True, "design-nan")],
)
def test_a_design_beyond_a_limit_is_neither_moved_to_nor_sent(spoil, measured, id, tmp_path):
    with hil.bench.open(lone_bench(tmp_path / "bench"), designer=Bad(spoil, measured), runs=tmp_path) as lab:
        with pytest.raises(InputError) as caught:
            lab.run()
        assert caught.value.id == id
        assert quiet_and_still(lab.link.world)
    run = read(lab.folder)
    assert run.ended == "fault" and run.of("failed")[0]["id"] == id
    assert not run.of("prepared", 1) and not run.of("captured", 1, purpose="measure")
    assert measured or not run.of("moved", 1)
