"""Every way a file or a flag can be wrong: the message, word for word, and nothing started."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from bench_files import DESK, DESK_SCENARIO, EAST, PLUTO, RAIL, SCENARIO, SPEC_SCENARIO, TESTBED, changed, desk

import hil
from hil import files, scenario, testbed
from hil.crosscheck import check_bench
from hil.errors import InputError, InputErrors

SIGNAL = "carrier_hz = 3.5e9"


def said(file: str, text: str, parse=scenario.parse) -> str:
    with pytest.raises(InputError) as caught:
        parse(text, file)
    assert caught.value.exit_code == 2
    return str(caught.value)


# -- one scenario, one mistake -----------------------------------------------------------------------------------------------------------

SCENARIO_MISTAKES = [
    # the messages of the specification
    (
        [("elements = 4", "elments = 4")],
        "error[unknown-key] my-lab/scenario.toml:13 array.ap1.elments: no such key\n"
        "  allowed here: axis, element_power_dbm, elements, min_spacing_wavelengths, name, normal, origin_m, role, travel_wavelengths; "
        "did you mean `elements`?",
    ),
    (
        [(SIGNAL, "carrier_ghz = 3.5")],
        "error[wrong-unit] my-lab/scenario.toml:4 signal.carrier_ghz: this quantity is given in hertz\n"
        "  found carrier_ghz = 3.5; fix: carrier_hz = 3.5e9",
    ),
    (
        [(SIGNAL, 'carrier_hz = "3.5 GHz"')],
        "error[wrong-unit] my-lab/scenario.toml:4 signal.carrier_hz: this quantity is given in hertz\n"
        '  found carrier_hz = "3.5 GHz"; fix: carrier_hz = 3.5e9',
    ),
    (
        [("element_power_dbm = -20.0", "element_power_dbm = nan")],
        "error[not-finite] my-lab/scenario.toml:16 array.ap1.element_power_dbm: must be a finite number\n"
        "  found nan; allowed -60 ... 40 dBm",
    ),
    (
        [("elements = 4", "elements = 8"), ("travel_wavelengths = 8.0", "travel_wavelengths = 3.0")],
        "error[rail-too-short] my-lab/scenario.toml:13 array.ap1.elements: 8 elements do not fit the travel\n"
        "  found 7 gaps x 0.5 = 3.5 wavelengths, travel 3.0; fix: elements <= 7, or travel_wavelengths >= 3.5 (4.5 leaves room to move)",
    ),
    # a unit left out, one of power, one of a list
    (
        [(SIGNAL, "carrier = 3.5e9")],
        "error[wrong-unit] my-lab/scenario.toml:4 signal.carrier: this quantity is given in hertz\n"
        "  found carrier = 3.5e9; fix: carrier_hz = 3.5e9",
    ),
    (
        [("element_power_dbm = -20.0", "element_power_w = 1e-5")],
        "error[wrong-unit] my-lab/scenario.toml:16 array.ap1.element_power_w: this quantity is given in dBm\n"
        "  found element_power_w = 10e-6; fix: element_power_dbm = -20.0",
    ),
    (
        [("origin_m = [0.0, 0.0, 2.0]", "origin_mm = [0.0, 0.0, 2000.0]")],
        "error[wrong-unit] my-lab/scenario.toml:11 array.ap1.origin_mm: this quantity is given in metres\n"
        "  found origin_mm = [0.0, 0.0, 2000.0]; fix: origin_m = [0.0, 0.0, 2.0]",
    ),
    (
        [("travel_wavelengths = 8.0", "travel_mm = 700.0")],
        "error[wrong-unit] my-lab/scenario.toml:14 array.ap1.travel_mm: this quantity is given in wavelengths\n"
        "  found travel_mm = 700.0; fix: travel_wavelengths = <number>",
    ),
    # types, ranges, words
    (
        [("steps = 400\n", "")],
        "error[missing-key] my-lab/scenario.toml:17 design.steps: must be given, there is no default\n"
        "  allowed 1 ... 1e6; fix: add steps = ...   (work per start; work, not seconds, so that a seed repeats anywhere)",
    ),
    (
        [("elements = 4", "elements = 4.0")],
        "error[wrong-type] my-lab/scenario.toml:13 array.ap1.elements: must be a whole number\n  found 4.0; allowed 1 ... 64",
    ),
    (
        [("elements = 4", "elements = true")],
        "error[wrong-type] my-lab/scenario.toml:13 array.ap1.elements: must be a whole number\n  found true; allowed 1 ... 64",
    ),
    (
        [("element_power_dbm = -20.0", "element_power_dbm = 41.5")],
        "error[out-of-range] my-lab/scenario.toml:16 array.ap1.element_power_dbm: is too large\n  found 41.5 dBm; allowed -60 ... 40 dBm",
    ),
    (
        [("confidence = 0.95", "confidence = 1.0")],
        "error[out-of-range] my-lab/scenario.toml:20 design.confidence: is too large\n  found 1.0; allowed more than 0, less than 1",
    ),
    (
        [('move = "muted"', 'move = "mutd"')],
        "error[not-allowed] my-lab/scenario.toml:7 rounds.move: is none of the words allowed here\n"
        '  found "mutd"; allowed muted | radiating; did you mean `muted`?',
    ),
    (
        [("axis = [0.0, 1.0, 0.0]", "axis = [0.0, 1.0]")],
        "error[wrong-length] my-lab/scenario.toml:12 array.ap1.axis: must have 3 entries\n  found 2 in [0.0, 1.0]",
    ),
    (
        [("axis = [0.0, 1.0, 0.0]", "axis = [0.5, 0.5, 0.0]")],
        "error[not-unit] my-lab/scenario.toml:12 array.ap1.axis: a direction is a unit vector\n"
        "  found [0.5, 0.5, 0.0], length 0.707107; fix: axis = [0.707107, 0.707107, 0.0]",
    ),
    (
        [("axis = [0.0, 1.0, 0.0]", "axis = [0.0, 1.0, 0.0]\nnormal = [0.0, 1.0, 0.0]")],
        "error[not-normal] my-lab/scenario.toml:13 array.ap1.normal: must stand at right angles to axis\n  found [0.0, 1.0, 0.0]",
    ),
    (
        [('name   = "quickstart"', 'name   = "My Lab"')],
        "error[bad-text] my-lab/scenario.toml:2 name: is not of the form wanted here\n"
        '  found "My Lab"; allowed a-z 0-9 -, at most 32 characters',
    ),
    (
        [('name = "ap1"', 'name = "u1"')],
        "error[duplicate-name] my-lab/scenario.toml:9 array.u1.name: this name is taken\n"
        '  found "u1", first used in line 5; fix: users, arrays and cells need different names',
    ),
    (
        [("element_power_dbm = -20.0\n", "")],
        "error[missing-key] my-lab/scenario.toml:8 array.ap1.element_power_dbm: must be given, there is no default\n"
        "  allowed -60 ... 40 dBm; fix: add element_power_dbm = ...   (cap per element, always on)",
    ),
    (
        [('role = "transmit"', 'role = "sense"')],
        "error[unserved] my-lab/scenario.toml:5 user: as many users as transmit arrays are wanted: user u is served by transmit array u\n"
        '  found 1 users, 0 arrays with role = "transmit"; fix: add or remove one or the other',
    ),
    (
        [("rounds =", "target = { position_m = [9.0, -4.0, 1.0], position_std_m = 2.0, speed_m_s = 1.0, floor_dbm = -10.0 }\nrounds =")],
        "error[unsensed] my-lab/scenario.toml:7 target: nobody listens for the target\n"
        '  found no array with role = "sense"; fix: add one, or leave [target] out',
    ),
    (
        [("used_bandwidth_hz = 11.52e6", "used_bandwidth_hz = 15.0e6")],
        "error[band-too-wide] my-lab/scenario.toml:4 signal.used_bandwidth_hz: the used band does not fit the sampling rate\n"
        "  found 15.000 MHz of 15.360 MHz; allowed at most 0.9 of it, 13.824 MHz",
    ),
    ([("user   = [", "user   = {")], None),
    ([("[design]", "[rounds]")], None),
    (
        [('format = "hil.scenario.v1"', 'format = "hil.scenario.v2"')],
        "error[wrong-format] my-lab/scenario.toml:1 format: another kind or version of file is wanted here\n"
        '  found "hil.scenario.v2"; allowed "hil.scenario.v1"',
    ),
    (
        [('format = "hil.scenario.v1"\n', "")],
        "error[no-format] my-lab/scenario.toml:1: does not say what kind of file it is\n"
        '  fix: format = "hil.scenario.v1" as the first line',
    ),
    (
        [("signal = {", "signal = 3 #")],
        "error[wrong-type] my-lab/scenario.toml:4 signal: must be a table\n"
        "  found 3; allowed { carrier_hz, sample_rate_hz, used_bandwidth_hz, modulation, payload_symbols }",
    ),
    (
        [('designer = "robust"', "designer = 7")],
        "error[wrong-type] my-lab/scenario.toml:18 design.designer: must be text in quotes\n  found 7",
    ),
    (
        [('baselines = ["fixed-rzf", "fixed", "sparse"]', 'baselines = "fixed"')],
        'error[wrong-type] my-lab/scenario.toml:19 design.baselines: must be a list\n  found "fixed"',
    ),
    (
        [('user   = [ { name = "u1", position_m = [14.0, 3.0, 1.5] } ]', "user = []")],
        "error[wrong-length] my-lab/scenario.toml:5 user: has too few entries\n  found 0; allowed at least 1",
    ),
]


@pytest.mark.parametrize(("pairs", "message"), SCENARIO_MISTAKES)
def test_a_mistake_in_a_scenario_is_said_with_line_and_remedy(pairs: list[tuple[str, str]], message: str | None) -> None:
    text = said("my-lab/scenario.toml", changed(SPEC_SCENARIO, *pairs))
    if message is None:
        assert text.startswith("error[bad-toml] my-lab/scenario.toml:") and "is not valid TOML\n  found " in text
    else:
        assert text == message


def test_all_mistakes_are_said_at_once_in_the_order_of_their_lines() -> None:
    pairs = [
        (SIGNAL, "carrier_ghz = 3.5"),
        ("max = 8", 'max = "x"'),
        ("elements = 4", "elments = 4"),
        ("= -20.0", "= inf"),
        ("0.95", "nan"),
    ]
    with pytest.raises(InputErrors) as caught:
        scenario.parse(changed(SPEC_SCENARIO, *pairs))
    assert [(error.id, error.line) for error in caught.value.errors] == [
        ("wrong-unit", 4),
        ("wrong-type", 7),
        ("unknown-key", 13),
        ("not-finite", 16),
        ("not-finite", 20),
    ]
    assert caught.value.id == "wrong-unit" and caught.value.line == 4
    assert str(caught.value).count("error[") == 5


def test_several_rules_across_keys_are_said_at_once() -> None:
    with pytest.raises(InputErrors) as caught:
        scenario.parse(
            changed(SPEC_SCENARIO, ("elements = 4", "elements = 40"), ("[0.0, 1.0, 0.0]", "[0.0, 0.9, 0.0]"), ("11.52e6", "15.3e6"))
        )
    assert [error.id for error in caught.value.errors] == ["band-too-wide", "not-unit", "rail-too-short"]


@pytest.mark.parametrize(
    ("data", "id"), [(b"\xff\xfe", "not-text"), (b"format = ", "bad-toml"), (b"", "no-format"), (b'format = "x"', "wrong-format")]
)
def test_a_file_that_is_no_file_of_ours(data: bytes, id: str, tmp_path: Path) -> None:
    (tmp_path / "scenario.toml").write_bytes(data)
    with pytest.raises(InputError) as caught:
        scenario.load(tmp_path)
    assert caught.value.id == id


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        scenario.load(tmp_path / "nothing.toml")
    assert (
        str(caught.value)
        == f"error[no-file] {tmp_path}/nothing.toml: cannot be read: no such file or directory\n  fix: see `ls {tmp_path}`"
    )


# -- a testbed ---------------------------------------------------------------------------------------------------------------------------

TWO = changed(
    DESK,
    ("channels = [0]", "channels = [0, 1]"),
    ('axes = ["+x"]', 'axes = ["+x", "+x"]'),
    ("offset_mm = [-150.0]", "offset_mm = [-150.0, -100.0]"),
)

TESTBED_MISTAKES = [
    (
        TWO,
        "error[one-axis-twice] desk/testbed.toml:14 wire.tx.axes: two elements ride on one axis\n"
        '  found ["+x", "+x"] on stage `rail`; fix: one axis per element, or leave one element fixed (position_mm)',
    ),
    (
        changed(DESK, ('axes = ["+x"]', 'axes = ["+y"]')),
        'error[no-such-name] desk/testbed.toml:14 wire.tx.axes: stage `rail` has no axis of this name\n  found "y"; allowed x',
    ),
    (
        changed(DESK, ('axes = ["+x"]', 'axes = ["x"]')),
        "error[bad-text] desk/testbed.toml:14 wire.tx.axes[0]: is not of the form wanted here\n"
        '  found "x"; allowed +AXIS, or -AXIS where the axis counts against local x, or "" for an element that stands still',
    ),
    (
        changed(DESK, ("offset_mm = [-150.0]\n", "")),
        "error[wire-lengths] desk/testbed.toml:9 wire.tx.offset_mm: this list has the wrong length\n"
        "  found 0 entries; allowed 1, one per element that moves",
    ),
    (
        changed(DESK, ('axes = ["+x"]\n', "")),
        "error[wire-lengths] desk/testbed.toml:9 wire.tx.axes: this list has the wrong length\n"
        "  found 0 entries; allowed 1, one per element of an array with a stage",
    ),
    (
        changed(DESK, ('stage = "rail"\naxes = ["+x"]\noffset_mm = [-150.0]\n', "")),
        "error[wire-lengths] desk/testbed.toml:9 wire.tx.position_mm: this list has the wrong length\n"
        "  found 0 entries; allowed 1, one per element that stands still",
    ),
    (
        changed(
            DESK, ('node = "desk", profile = "pluto-2g45", uri = "usb:1.5.5"', 'node = "dsk", profile = "pluto-2g45", uri = "usb:1.5.5"')
        ),
        "error[no-such-name] desk/testbed.toml:6 radio.pluto-a.node: there is no node of this name\n"
        '  found "dsk"; allowed desk; fix: use one of these, or add the node',
    ),
    (
        changed(DESK, ('radio = "pluto-a"\n', 'radio = "pluto-c"\n')),
        "error[no-such-name] desk/testbed.toml:11 wire.tx.radio: there is no radio of this name\n"
        '  found "pluto-c"; allowed pluto-a, pluto-b; fix: use one of these, or add the radio',
    ),
    (
        changed(DESK, ('stage = "rail"\n', 'stage = "rial"\n')),
        "error[no-such-name] desk/testbed.toml:13 wire.tx.stage: there is no stage of this name\n"
        '  found "rial"; allowed rail; fix: use one of these, or add the stage',
    ),
    (
        changed(DESK, ('name = "pluto-b"', 'name = "pluto-a"'), ('radio = "pluto-b"', 'radio = "pluto-a"')),
        'error[duplicate-name] desk/testbed.toml:7 radio.pluto-a: this name is taken\n  found "pluto-a", first in line 6',
    ),
    (
        changed(DESK, ('user = "u1"', 'array = "tx"')),
        "duplicate-name",
    ),
    (
        changed(DESK, ('array = "tx"', 'array = "tx"\nuser = "u1"')),
        "wire-of-what",
    ),
    (
        changed(DESK, ("[2.4e9, 2.4835e9]", "[2.4835e9, 2.4e9]")),
        "error[empty-range] desk/testbed.toml:3 limits.band_hz: the first must be less than the second\n  found [2.4835e9, 2.4e9]",
    ),
    (
        changed(DESK, ('address = "local"', 'address = "tcp://*:5557"')),
        "error[bad-text] desk/testbed.toml:4 node.desk.address: is not of the form wanted here\n"
        '  found "tcp://*:5557"; allowed local, or tcp://HOST:PORT',
    ),
    (DESK + "[emulated]\nreceiver = { noise_figure_db = nan }\n", "not-finite"),
]


@pytest.mark.parametrize(("text", "message"), TESTBED_MISTAKES)
def test_a_mistake_in_a_testbed_is_said_with_line_and_remedy(text: str, message: str, tmp_path: Path) -> None:
    desk(tmp_path)
    found = said("desk/testbed.toml", text, lambda text, file: testbed.parse(text, file, tmp_path))
    if message.startswith("error["):
        assert found == message
    else:
        assert f"error[{message}]" in found


def test_an_element_can_hang_on_no_channel_twice(tmp_path: Path) -> None:
    text = changed(TWO, ("[0, 1]", "[0, 0]"), ('["+x", "+x"]', '["+x", ""]'), ("[-150.0, -100.0]", "[-150.0]\nposition_mm = [20.0]"))
    found = said("desk/testbed.toml", text, lambda text, file: testbed.parse(text, file, desk(tmp_path)))
    assert found == "error[one-channel-twice] desk/testbed.toml:12 wire.tx.channels: two elements hang on one channel\n  found [0, 0]"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "pluto-2g45",
            changed(PLUTO, ("3.8e9", "6.0e9")),
            "beyond-part] {}/profiles/pluto-2g45.toml:4 range.carrier_hz: part `pluto` cannot do this",
        ),
        (
            "pluto-2g45",
            changed(PLUTO, ("attenuation_db = 12.0", "attenuation_db = 95.0")),
            "beyond-part] {}/profiles/pluto-2g45.toml:6 gain.attenuation_db",
        ),
        ("pluto-2g45", changed(PLUTO, ("[325e6, 3.8e9]", "[3.8e9, 325e6]")), "empty-range] {}/profiles/pluto-2g45.toml:4 range.carrier_hz"),
        (
            "pluto-2g45",
            changed(PLUTO, ("filter = {", 'filter = { fir = "fir/none.ftr",')),
            "no-file] {}/profiles/pluto-2g45.toml:5 filter.fir",
        ),
        ("pluto-2g45", changed(PLUTO, ('"manual"', '"slow_attack"')), "not-allowed] {}/profiles/pluto-2g45.toml:6 gain.receive_mode"),
        ("pluto-2g45", RAIL, "wrong-format] {}/profiles/pluto-2g45.toml:1 format"),
        (
            "belt-rail-300",
            changed(RAIL, ("[0.0, 300.0]", "[300.0, 0.0]")),
            "empty-range] {}/profiles/belt-rail-300.toml:7 axis.x.travel_mm",
        ),
        (
            "belt-rail-300",
            changed(RAIL, ("soft_limits = true", "soft_limits = false")),
            "not-allowed] {}/profiles/belt-rail-300.toml:3 soft_limits",
        ),
    ],
)
def test_a_mistake_in_a_profile_is_said_with_its_own_file(name: str, text: str, message: str, tmp_path: Path) -> None:
    desk(tmp_path, **{name: text})
    with pytest.raises(InputError) as caught:
        testbed.load(tmp_path)
    assert f"error[{message.format(tmp_path)}" in str(caught.value)


def test_a_profile_that_is_not_there(tmp_path: Path) -> None:
    desk(tmp_path, testbed=changed(DESK, ("belt-rail-300", "belt-rail-301")))
    with pytest.raises(InputError) as caught:
        testbed.load(tmp_path)
    assert caught.value.id == "no-such-name" and "belt-rail-300" in caught.value.allowed and caught.value.line == 8


def test_mistakes_of_testbed_and_profiles_are_said_together(tmp_path: Path) -> None:
    desk(
        tmp_path,
        testbed=changed(DESK, ('node = "desk", profile', 'node = "x", profile')),
        **{"belt-rail-300": changed(RAIL, ("80.0", "-1.0"))},
    )
    with pytest.raises(InputErrors) as caught:
        testbed.load(tmp_path)
    assert {Path(error.file).name for error in caught.value.errors} == {"testbed.toml", "belt-rail-300.toml"}


@pytest.mark.parametrize(
    ("pair", "id", "line"),
    [
        (("lease_ms = 100.0", "lease_s = 0.1"), "wrong-unit", 4),
        (("tcp://127.0.0.1:5557", "tcp://*:5557"), "bad-text", 3),
        (("[3.4e9, 3.6e9]", "[3.6e9, 3.4e9]"), "empty-range", 6),
        (("duty = 0.10, ", ""), "missing-key", 6),
    ],
)
def test_a_mistake_in_a_node_file(pair: tuple[str, str], id: str, line: int, tmp_path: Path) -> None:
    (tmp_path / "node.toml").write_text(changed(EAST, pair))
    with pytest.raises(InputError) as caught:
        testbed.load_node(tmp_path)
    assert (caught.value.id, caught.value.line) == (id, line)


# -- a scenario and a testbed that do not fit ---------------------------------------------------------------------------------------------


def disagreements(folder: Path, scenario_text: str = DESK_SCENARIO, testbed_text: str = DESK, node: str | None = None) -> list[str]:
    desk(folder, scenario_text, testbed_text)
    nodes = {}
    if node is not None:
        (folder / "node.toml").write_text(node)
        nodes = {"desk": testbed.load_node(folder)}
    here = {
        "scenario": scenario.parse(scenario_text, "desk/scenario.toml"),
        "testbed": testbed.parse(testbed_text, "desk/testbed.toml", folder),
    }
    return [str(error) for error in check_bench(here["scenario"], here["testbed"], nodes)]


def test_the_desk_fits(tmp_path: Path) -> None:
    assert disagreements(tmp_path) == []


BENCH_MISTAKES = [
    (
        [('name = "tx"', 'name = "ap1"')],
        [],
        "error[not-wired] desk/scenario.toml:8 array.ap1: the testbed has no such array\n"
        '  arrays wired in testbed.toml: tx; fix: rename the array, or add a [[wire]] with array = "ap1" to desk/testbed.toml',
    ),
    (
        [('name = "u1"', 'name = "u7"')],
        [],
        "error[not-wired] desk/scenario.toml:5 user.u7: the testbed has no such user\n"
        '  users wired in testbed.toml: u1; fix: rename the user, or add a [[wire]] with user = "u7" to desk/testbed.toml',
    ),
    (
        [("carrier_hz = 2.45e9", "carrier_hz = 2.5e9")],
        [],
        "error[out-of-band] desk/scenario.toml:4 signal.carrier_hz: outside the licensed band\n"
        "  found 2.500 GHz +- 1.35 MHz; allowed 2.400 ... 2.4835 GHz (testbed.toml:3 limits.band_hz); nothing was sent",
    ),
    (
        [("sample_rate_hz = 3.84e6", "sample_rate_hz = 30.72e6")],
        [],
        "error[out-of-reach] desk/scenario.toml:4 signal.sample_rate_hz: radio `pluto-a` does not go there\n"
        "  found 30.720 MHz; allowed 2.084 MHz ... 20.000 MHz (profile pluto-2g45, range.sample_rate_hz)",
    ),
    (
        [("element_power_dbm = 3.0", "element_power_dbm = 8.0")],
        [("eirp_dbm = 10.0", "eirp_dbm = 30.0")],
        "error[power-cap] desk/scenario.toml:16 array.tx.element_power_dbm: above what radio `pluto-a` can send\n"
        "  found 8.0 dBm; allowed at most 7.0 dBm (full scale of part `pluto`)",
    ),
    (
        [],
        [("eirp_dbm = 10.0", "eirp_dbm = 5.0")],
        "error[eirp] desk/scenario.toml:16 array.tx.element_power_dbm: radiates more than the licence permits\n"
        "  found 3.0 dBm + 0.0 dB (1 in phase) + 2.2 dBi = 5.2 dBm EIRP; allowed at most 5.0 dBm (testbed.toml:3 limits.eirp_dbm)",
    ),
    (
        [],
        [("channels = [0]", "channels = [1]")],
        "error[no-channel] desk/testbed.toml:12 wire.tx.channels: radio `pluto-a` has no such channel\n"
        "  found 1; allowed 0 (1 transmit channel of part `pluto`)",
    ),
    (
        [("travel_wavelengths = 2.2", "travel_wavelengths = 3.0")],
        [],
        "error[off-the-rail] desk/testbed.toml:14 wire.tx.axes: element 0 cannot reach its part of the rail\n"
        "  found -150.0 ... 150.0 mm; allowed at least local x -183.5 ... 183.5 mm (array.tx.travel_wavelengths)",
    ),
    (
        [],
        [('stage = "rail"\naxes = ["+x"]\noffset_mm = [-150.0]\n', "position_mm = [140.0]\n")],
        "error[off-the-rail] desk/testbed.toml:13 wire.tx.position_mm: element 0 stands off the rail\n"
        "  found 140.0 mm; allowed local x -134.6 ... 134.6 mm (array.tx.travel_wavelengths)",
    ),
    (
        [("elements = 1", "elements = 2")],
        [],
        "error[wire-lengths] desk/testbed.toml:12 wire.tx.channels: this list has the wrong length\n"
        "  found 1 entries; allowed 2, one per element (scenario.toml:13 array.tx.elements)",
    ),
]


@pytest.mark.parametrize(("scenario_pairs", "testbed_pairs", "message"), BENCH_MISTAKES)
def test_a_bench_that_does_not_fit(
    scenario_pairs: list[tuple[str, str]], testbed_pairs: list[tuple[str, str]], message: str, tmp_path: Path
) -> None:
    assert message in disagreements(tmp_path, changed(DESK_SCENARIO, *scenario_pairs), changed(DESK, *testbed_pairs))


def test_a_controller_cannot_raise_what_a_node_permits() -> None:
    bench = scenario.parse(changed(SCENARIO, ("element_power_dbm = -20.0", "element_power_dbm = 20.0")), "my-lab/scenario.toml")
    east = testbed.parse(
        changed(TESTBED, ('name = "site1"', 'name = "east"'), ('node = "site1"', 'node = "east"'), ('node = "site1"', 'node = "east"'))
    )
    node = testbed.parse_node(EAST, "node.toml")
    assert (
        "error[power-cap] my-lab/scenario.toml:16 array.ap1.element_power_dbm: above what node `east` permits\n"
        "  found 20.0 dBm; allowed at most 17.0 dBm (node.toml of `east`, limits.power_dbm); "
        "fix: lower it, or ask the keeper of `east`: a controller cannot raise it"
    ) in [str(error) for error in check_bench(bench, east, {"east": node})]


def test_a_node_can_be_tighter_in_band_and_eirp_too() -> None:
    node = testbed.parse_node(
        changed(EAST, ("[3.4e9, 3.6e9]", "[3.4e9, 3.5e9]"), ("eirp_dbm = 40.0", "eirp_dbm = -10.0"), ('"east"', '"site1"')), "n"
    )
    found = check_bench(scenario.parse(SCENARIO), testbed.parse(TESTBED), {"site1": node})
    assert [(error.id, error.allowed.partition(" (")[0]) for error in found] == [
        ("out-of-band", "3.400 ... 3.500 GHz"),
        ("eirp", "at most -10.0 dBm"),
    ]


def test_fixed_elements_keep_their_distance() -> None:
    found = check_bench(scenario.parse(SCENARIO), testbed.parse(changed(TESTBED, ("-114.2, 114.2", "-10.0, 10.0"))))
    assert [error.id for error in found] == ["spacing"] and "elements 1 and 2 at -10.0 and 10.0 mm" in found[0].found


def test_carriages_wider_than_the_spacing_need_more_rail(tmp_path: Path) -> None:
    rail = changed((files_folder() / "belt-rail-4x700.toml").read_text(), *[("carriage_mm = 38.0", "carriage_mm = 240.0")] * 4)
    folder = desk(tmp_path, SCENARIO, TESTBED, **{"belt-rail-4x700": rail})
    with pytest.raises(InputErrors) as caught:
        files.read_bench(folder)
    first = caught.value.errors[0]
    assert first.id == "rail-too-short" and first.found == "3 gaps x 240.0 mm = 720.0 mm, travel 685.24 mm"


def files_folder() -> Path:
    return Path(__file__).resolve().parents[2] / "firmware_configs"


# -- what was given ----------------------------------------------------------------------------------------------------------------------


def test_a_bench_without_a_testbed(tmp_path: Path) -> None:
    (tmp_path / "scenario.toml").write_text(SCENARIO)
    with pytest.raises(InputError) as caught:
        files.read_bench(tmp_path)
    assert caught.value.id == "no-bench" and "no testbed.toml" in caught.value.what


def test_two_scenarios_are_no_bench(tmp_path: Path) -> None:
    for name in ("a.toml", "b.toml"):
        (tmp_path / name).write_text(SCENARIO)
    with pytest.raises(InputError) as caught:
        files.read_bench(tmp_path / "a.toml", tmp_path / "b.toml")
    assert caught.value.id == "one-bench"


def test_mistakes_of_both_files_are_said_together(tmp_path: Path) -> None:
    folder = desk(tmp_path, changed(DESK_SCENARIO, ("elements = 1", "elements = 0")), changed(DESK, ("duty = 0.10", "duty = 2.0")))
    with pytest.raises(InputErrors) as caught:
        files.check(folder)
    assert [(Path(error.file).name, error.key) for error in caught.value.errors] == [
        ("scenario.toml", "array.tx.elements"),
        ("testbed.toml", "limits.duty"),
    ]


def test_an_array_of_which_some_elements_ride_and_some_stand_is_refused(tmp_path):
    quickstart = Path(__file__).resolve().parents[2] / "examples" / "quickstart"
    shutil.copy(quickstart / "scenario.toml", tmp_path)
    text = (quickstart / "testbed.toml").read_text()
    rides = 'axes = ["+a", "+b", "+c", "+d"]\noffset_mm = [-350.0, -350.0, -350.0, -350.0]'
    some = 'axes = ["+a", "+b", "+c", ""]\nposition_mm = [340.0]\noffset_mm = [-350.0, -350.0, -350.0]'
    (tmp_path / "testbed.toml").write_text(text.replace(rides, some, 1))
    with pytest.raises(InputError) as caught:
        hil.load(tmp_path)
    assert caught.value.id == "half-carried" and "3 of 4 on an axis" in str(caught.value)
