"""The testbed as a value: wiring, reach, capabilities, and that nothing of the truth is understood here."""

from __future__ import annotations

from pathlib import Path

import pytest
from bench_files import DESK, EAST, PLUTO, QUICKSTART, TESTBED, changed, desk

from hil import files, profile, testbed
from hil.device import Tolerance
from hil.parts import PARTS, capability


@pytest.fixture
def quickstart() -> testbed.Testbed:
    return testbed.load(QUICKSTART)


def test_wiring_of_a_moving_array(quickstart: testbed.Testbed) -> None:
    elements = quickstart.wire_of("ap1").elements
    assert [(element.channel, element.stage, element.axis, element.sign) for element in elements] == [
        (channel, "rail1", axis, 1) for channel, axis in enumerate("abcd")
    ]
    assert [element.offset for element in elements] == pytest.approx([-0.35] * 4)
    assert quickstart.reach(quickstart.wire_of("ap1")) == tuple([pytest.approx((-0.35, 0.35))] * 4)
    assert quickstart.carriage(quickstart.wire_of("ap1")) == pytest.approx(0.038)


def test_wiring_of_what_stands_still(quickstart: testbed.Testbed) -> None:
    wire = quickstart.wire_of("sense1")
    assert [element.offset for element in wire.elements] == pytest.approx([-0.3426, -0.1142, 0.1142, 0.3426])
    assert {(element.stage, element.axis) for element in wire.elements} == {(None, None)}
    assert wire.moving == () and quickstart.carriage(wire) == 0.0
    assert quickstart.wire_of("u1").elements == (testbed.Element(0, None, None, 1, 0.0),)


def test_an_axis_may_count_against_local_x_and_an_element_may_stand_still(tmp_path: Path) -> None:
    text = changed(
        DESK,
        ("channels = [0]", "channels = [0, 1, 2]"),
        ('axes = ["+x"]', 'axes = ["", "-x", ""]'),
        ("offset_mm = [-150.0]", "offset_mm = [120.0]\nposition_mm = [-200.0, 130.0]"),
    )
    bed = testbed.parse(text, folder=desk(tmp_path))
    wire = bed.wire_of("tx")
    assert [(element.axis, element.sign, element.offset) for element in wire.elements] == [
        (None, 1, pytest.approx(-0.2)),
        ("x", -1, pytest.approx(0.12)),
        (None, 1, pytest.approx(0.13)),
    ]
    assert wire.moving == (1,)
    assert bed.reach(wire) == (pytest.approx((-0.2, -0.2)), pytest.approx((-0.18, 0.12)), pytest.approx((0.13, 0.13)))


def test_a_radio_is_its_part_within_its_profile(quickstart: testbed.Testbed) -> None:
    ap1, u1 = quickstart.capability("ap1"), quickstart.capability("u1")
    assert (ap1.part, ap1.transmit_channels, ap1.receive_channels) == ("fmcomms5", 4, 4)
    assert (u1.part, u1.transmit_channels, u1.receive_channels) == ("pluto", 1, 1)
    assert ap1.carrier_hz == (3.4e9, 3.8e9) and u1.sample_rate_hz == (2.084e6, 20e6)
    assert (ap1.serial, ap1.bits, ap1.transmit_full_scale_dbm, ap1.receive_full_scale_dbm) == ("emulated-ap1", 12, 7.0, -10.0)
    assert ap1.receive_gain_db == (-3.0, 71.0) and ap1.attenuation_db == (0.0, 89.75) and ap1.attenuation_step_db == 0.25
    assert quickstart.radio_profile("u1").tolerance.values == Tolerance(5.0, 1.0, 0.5)


def test_every_part_can_be_named_by_a_profile() -> None:
    for part in PARTS:
        assert capability(part, "s").part == part
    with pytest.raises(KeyError):
        capability("usrp", "s")
    assert capability("ad9081", "s", channels=16).receive_channels == 16 and capability("ad9081", "s").bits == 16


def test_every_profile_that_comes_with_it_is_read_and_fits_its_part() -> None:
    names = profile.names(None)
    assert {"fmcomms5-3g5", "pluto-3g5", "belt-rail-4x700"} <= set(names)
    for name in names:
        source = profile.find(name, None)
        assert source is not None
        kind = {"hil.radio.v1": profile.radio_profile, "hil.stage.v1": profile.stage_profile}[source.document["format"]]
        assert kind(source).source is source


def test_a_bench_s_own_profile_comes_before_the_one_that_came_with_it(tmp_path: Path) -> None:
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "pluto-3g5.toml").write_text(PLUTO)
    assert testbed.parse(TESTBED).capability("u1").carrier_hz == (3.4e9, 3.8e9)
    bed = testbed.parse(TESTBED, folder=tmp_path)
    assert bed.capability("u1").carrier_hz == (325e6, 3.8e9)
    assert bed.sources["profiles/pluto-3g5.toml"] == PLUTO and set(bed.sources) == {
        "testbed.toml",
        "profiles/pluto-3g5.toml",
        "profiles/fmcomms5-3g5.toml",
        "profiles/belt-rail-4x700.toml",
    }


def test_a_run_folder_s_copies_make_the_same_testbed(quickstart: testbed.Testbed, tmp_path: Path) -> None:
    for name, text in quickstart.sources.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    again = testbed.load(tmp_path)
    assert again.sources == quickstart.sources
    assert (again.wire, again.radio_profiles, again.stage_profiles) == (
        quickstart.wire,
        quickstart.radio_profiles,
        quickstart.stage_profiles,
    )


def test_the_truth_is_passed_on_and_not_understood(quickstart: testbed.Testbed) -> None:
    assert quickstart.emulated["oscillator"] == {"class": "tcxo", "spread_ppm": 3.0, "clock_offset_ns": 300.0}
    strange = testbed.parse(TESTBED + 'anything = { at = "all", deep = [ { nested = true } ] }\n')
    assert strange.emulated["anything"] == {"at": "all", "deep": [{"nested": True}]}
    assert testbed.parse(TESTBED[: TESTBED.index("[emulated]")]).emulated == {}


def test_a_changed_copy(quickstart: testbed.Testbed) -> None:
    other = quickstart.replace({"limits.eirp_dbm": 5.0, "emulated.oscillator.spread_ppm": 6.0, "emulated.fault": []})
    assert (other.limits.eirp_dbm, other.emulated["oscillator"]["spread_ppm"], other.emulated["fault"]) == (5.0, 6.0, [])
    assert quickstart.emulated["oscillator"]["spread_ppm"] == 3.0
    assert other.radio_profiles == quickstart.radio_profiles


@pytest.mark.parametrize(
    ("listen", "loopback"), [("127.0.0.1", True), ("localhost", True), ("127.1.2.3", True), ("10.0.0.11", False), ("0.0.0.0", False)]
)
def test_which_addresses_are_this_machine_only(listen: str, loopback: bool) -> None:
    assert testbed.parse_node(changed(EAST, ("127.0.0.1", listen))).loopback is loopback


def test_a_node_in_si() -> None:
    node = testbed.parse_node(EAST)
    assert (node.lease, node.limits.power_dbm, node.may_open) == (0.1, 17.0, ("ip:10.0.0.21", "/dev/ttyUSB0"))


def test_a_bench_is_its_folder_or_its_files_in_any_order(tmp_path: Path) -> None:
    folder = desk(tmp_path / "desk")
    whole = files.read_bench(folder)
    again = files.read_bench(folder / "testbed.toml", folder / "scenario.toml")
    assert (whole.scenario, whole.testbed, whole.folder) == (again.scenario, again.testbed, again.folder)
    assert whole.names == ("scenario.toml", "testbed.toml", "2 profiles")


def test_node_files_of_a_bench_are_part_of_it(tmp_path: Path) -> None:
    folder = desk(tmp_path / "desk")
    (folder / "nodes").mkdir()
    (folder / "nodes" / "desk.toml").write_text(changed(EAST, ('"east"', '"desk"'), ("3.4e9, 3.6e9", "2.4e9, 2.5e9")))
    assert files.read_bench(folder).names == ("scenario.toml", "testbed.toml", "2 profiles", "1 node file")
    assert files.check(folder, folder / "nodes" / "desk.toml", folder / "profiles" / "pluto-2g45.toml") == [
        "scenario.toml, testbed.toml, 2 profiles, 1 node file",
        str(folder / "nodes" / "desk.toml"),
        str(folder / "profiles" / "pluto-2g45.toml"),
    ]
