"""A scenario of several cells, and a testbed whose radios share a reference: what they say, and every mistake in its own words."""

from __future__ import annotations

from pathlib import Path

import pytest
from bench_files import SCENARIO, changed

from hil import crosscheck, profile, scenario, strict, testbed
from hil.commands.rounds import bench_line
from hil.errors import InputError

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "multicell"
CELLS = (FOLDER / "scenario.toml").read_text()
BENCH = (FOLDER / "testbed.toml").read_text()


def refused(text: str, read=scenario.parse) -> list[tuple[str, str]]:
    """(id, key) of every mistake."""
    with pytest.raises(InputError) as caught:
        read(text)
    return [(error.id, error.key) for error in getattr(caught.value, "errors", (caught.value,))]


def test_targets_go_by_their_cells() -> None:
    found = scenario.parse(CELLS)
    assert list(found.targets) == ["west", "east"] and found.targets["east"].position_m == (12.2, 6.1, 1.5)
    assert [cell.users for cell in found.cell] == [("u1", "u2", "u3"), ("u4", "u5", "u6")]
    assert found.target is None and found.design.asked_db == 10.0 and found.design.baselines == ("cbf-blp",)
    assert found.replace({"design.asked_db": 6.0, "cell.west.target.speed_m_s": 0.0}).cell[0].target.speed_m_s == 0.0


def test_a_single_target_goes_by_target() -> None:
    assert list(scenario.parse(SCENARIO).targets) == ["target"]
    assert scenario.parse(changed(SCENARIO, ("target =", "# target ="))).targets == {}


WRONG = [
    # what a cell names
    (("transmit = \"bs1-tx\"", "transmit = \"bs3\""), [("no-cell", "array.bs1-tx"), ("no-such-name", "cell.west.transmit")]),
    (("transmit = \"bs1-tx\"", "transmit = \"bs1-rx\""),
     [("no-cell", "array.bs1-tx"), ("wrong-role", "cell.west.transmit")]),
    (("receive = \"bs2-rx\"", "receive = \"bs1-rx\""), [("no-cell", "array.bs2-rx"), ("two-cells", "cell.east.receive")]),
    (("users = [\"u1\", \"u2\", \"u3\"]", "users = [\"u1\", \"u2\", \"u9\"]"), [("no-cell", "user.u3"), ("no-such-name", "cell.west.users[2]")]),
    (("users = [\"u4\", \"u5\", \"u6\"]", "users = [\"u4\", \"u5\", \"u6\", \"u1\"]"), [("two-cells", "cell.east.users[3]")]),
    (("users = [\"u4\", \"u5\", \"u6\"]", "users = []"), [("wrong-length", "cell.east.users")]),
    (("name = \"east\"", "name = \"west\""), [("duplicate-name", "cell.west.name")]),
    (("name = \"east\"", "name = \"u1\""), [("duplicate-name", "cell.u1.name")]),
    (("elements = 6\ntravel", "elements = 4\ntravel"), [("uneven-cells", "array.bs2-tx.elements")]),
    # keys of this system, and of the other
    (("asked_db = 10.0\n", ""), [("missing-key", "design.asked_db")]),
    (("waveform = \"ofdm\"", "waveform = \"dsss\""), [("not-allowed", "design.waveform")]),
    (("rounds = {", "target = { position_m = [6.1, -4.7, 1.5], position_std_m = 0.2, speed_m_s = 0.5, floor_dbm = 0.0 }\nrounds = {"),
     [("not-here", "target")]),
    (("position_std_m = 0.2, speed_m_s = 0.5 }", "position_std_m = 0.2, speed_m_s = 0.5, floor_dbm = 0.0 }"),
     [("unknown-key", "cell.west.target.floor_dbm")]),
]  # fmt: skip


@pytest.mark.parametrize(("change", "found"), WRONG)
def test_mistakes_in_cells(change: tuple[str, str], found: list[tuple[str, str]]) -> None:
    assert refused(changed(CELLS, change)) == found


def test_without_cells_there_is_nothing_to_plan() -> None:
    assert refused(CELLS[: CELLS.index("[[cell]]")] + CELLS[CELLS.index("[design]") :]) == [("missing-key", "cell")]


def test_a_message_says_where_what_and_how_to_mend_it() -> None:
    with pytest.raises(InputError) as caught:
        scenario.parse(changed(CELLS, ('users = ["u4", "u5", "u6"]', 'users = ["u4", "u5", "u6", "u1"]')), "cells.toml")
    line = CELLS.splitlines().index('users = ["u4", "u5", "u6"]') + 1
    first = CELLS.splitlines().index('users = ["u1", "u2", "u3"]') + 1
    assert str(caught.value) == (
        f"error[two-cells] cells.toml:{line} cell.east.users[3]: is in a cell already\n"
        f'  found "u1", first in line {first}; fix: every array and every user belongs to one cell'
    )


def test_one_transmitter_a_user_knows_no_cells() -> None:
    more = CELLS[CELLS.index("[[cell]]") : CELLS.index("[design]")]
    assert ("not-here", "cell") in refused(SCENARIO.replace("[design]", more + "[design]"))
    assert refused(SCENARIO + "asked_db = 3.0\n") == [("not-here", "design.asked_db")]
    assert refused(SCENARIO + 'waveform = "ofdm"\n') == [("not-here", "design.waveform")]
    with pytest.raises(InputError, match=r'\[not-allowed\].*\n.*found "fixd"; allowed fixed-rzf \| fixed \| sparse \| nominal; did you mean `fixed`'):
        scenario.parse(changed(SCENARIO, ('"fixed", ', '"fixd", ')))


# -- what the testbed shares ---------------------------------------------------------------------------------------------------------------


def test_what_radios_share() -> None:
    bench = testbed.parse(BENCH)
    assert bench.share(["bs1", "bs2"], "reference") and bench.share(["bs1", "bs2"], "trigger") and bench.share(["u1"], "trigger")
    assert not bench.share(["bs1", "u1"], "reference") and not bench.share(["u1", "u2"], "trigger")
    only = testbed.parse(changed(BENCH, ("trigger = true\n", "")))
    assert only.share(["bs1", "bs2"], "reference") and not only.share(["bs1", "bs2"], "trigger")


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (('radios = ["bs1", "bs2"]', 'radios = ["bs1", "bs3"]'), [("no-such-name", "shared[0].radios[1]")]),
        (('radios = ["bs1", "bs2"]', 'radios = ["bs1", "bs1"]'), [("duplicate-name", "shared[0].radios[1]")]),
        (('radios = ["bs1", "bs2"]', 'radios = ["bs1"]'), [("wrong-length", "shared[0].radios")]),
        (("reference = true\ntrigger = true\n", ""), [("shares-nothing", "shared[0]")]),
        (("[[shared]]", '[[shared]]\nradios = ["u1", "bs2"]\nreference = true\n[[shared]]'), [("duplicate-name", "shared[1].radios[1]")]),
    ],
)
def test_mistakes_in_what_is_shared(change: tuple[str, str], found: list[tuple[str, str]]) -> None:
    assert refused(changed(BENCH, change), testbed.parse) == found


def test_a_board_of_several_chips() -> None:
    bench = testbed.parse(BENCH)
    can = bench.capability("bs1")
    assert (can.part, can.transmit_channels, can.receive_channels) == ("ad9361", 10, 10)
    text = (FOLDER.parents[1] / "firmware_configs" / "ad9361x5-3g5.toml").read_text()
    with pytest.raises(InputError) as caught:
        profile.radio_profile(strict.parse("odd.toml", changed(text, ("channels = 10", "channels = 7")).encode()))
    assert (caught.value.id, caught.value.key, caught.value.allowed) == ("beyond-part", "channels", "a multiple of 2")


def test_the_bench_in_a_line() -> None:
    line = bench_line(scenario.parse(CELLS), testbed.parse(BENCH))
    assert line == "2 base stations x 6 + 10, 6 users in 2 cells, 2 targets, 3.5 GHz, 3.84 MS/s"


def test_a_channel_has_one_wire_each_way() -> None:
    cells, bench = scenario.parse(CELLS), testbed.parse(BENCH)
    assert crosscheck.check_bench(cells, bench) == []  # transmit channel 0 and receive channel 0 of bs1 are two
    both = testbed.parse(changed(BENCH, ('user = "u1"\nradio = "u1"', 'user = "u1"\nradio = "bs1"')))
    (error,) = crosscheck.check_bench(cells, both)
    assert (error.id, error.key) == ("one-channel-twice", "wire.u1.channels") and "receive channel of radio `bs1`" in str(error)
