"""What drivers are told and held to: plain values that travel, the tighter of two limits, versions compared as versions."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from bench_files import EAST, QUICKSTART, TESTBED, changed

from hil import reach, scenario, testbed
from hil.clock import WallClock
from hil.commands.profile import satisfies
from hil.device import Capability, DeviceError, Setting
from hil.errors import InputError
from hil.radios.buffers import BYTES, MOST_BUFFERS, MOST_BYTES, ROOM_S, _depth
from hil.radios.fitting import Fitting
from hil.radios.opening import _capability


def bed(*changes: tuple[str, str]) -> testbed.Testbed:
    return testbed.parse(changed(TESTBED, *changes))


def test_what_a_driver_is_told_survives_a_file() -> None:
    told = reach.arguments(bed(), "ap1", "ip:10.0.0.9")
    again = msgspec.json.decode(msgspec.json.encode(told))
    assert again["uri"] == "ip:10.0.0.9"
    can = _capability(again["capability"])
    assert can == bed().capability("ap1") and isinstance(can, Capability) and can.carrier_hz == (3.4e9, 3.8e9)
    fitting = Fitting.of(again["fitting"])
    assert fitting.bandwidth_hz == 14e6 and fitting.tolerance == bed().radio_profile("ap1").tolerance.values
    assert fitting.tracking == {"quadrature": True, "rf_dc": True, "baseband_dc": True}


def test_over_the_air_the_testbed_says_where_and_who() -> None:
    radio = '{ name = "u1", node = "desk1", profile = "pluto-3g5" }'
    with pytest.raises(InputError) as caught:
        reach.arguments(bed(), "u1")
    assert caught.value.id == "no-address" and caught.value.key == "radio.u1.uri" and caught.value.line > 0
    with pytest.raises(InputError) as caught:
        reach.arguments(bed((radio, radio.replace(" }", ', uri = "usb:1.5.5" }'))), "u1")
    assert caught.value.id == "no-serial"
    told = reach.arguments(bed((radio, radio.replace(" }", ', uri = "usb:1.5.5", serial = "1044" }'))), "u1")
    assert told["uri"] == "usb:1.5.5" and told["capability"]["serial"] == "1044"


def test_a_radio_starts_with_the_scenario_s_carrier_and_the_profile_s_gains() -> None:
    asked = reach.starting(scenario.load(QUICKSTART / "scenario.toml"), bed(), "ap1")
    assert asked == Setting(3.5e9, 15.36e6, (40.0,) * 4, (10.0,) * 4)


def test_the_tighter_of_licence_and_node_file() -> None:
    file = testbed.parse_node(EAST)
    alone, both = reach.limits(bed(), "site1"), reach.limits(bed(), "site1", {"site1": file})
    assert (alone.band_hz, alone.eirp_dbm, alone.power_dbm, alone.duty) == ((3.4e9, 3.8e9), 10.0, None, 1.0)
    assert both.band_hz == (max(3.4e9, file.limits.band_hz[0]), min(3.8e9, file.limits.band_hz[1]))
    assert (both.eirp_dbm, both.power_dbm, both.duty) == (min(10.0, file.limits.eirp_dbm), file.limits.power_dbm, file.limits.duty)
    assert both.temperature_c == file.limits.temperature_c
    assert reach.limits(bed(), "site1", {"elsewhere": file}) == alone


def test_a_licence_and_a_node_that_do_not_meet_permit_nothing() -> None:
    file = testbed.parse_node(changed(EAST, ("band_hz = [3.4e9, 3.6e9]", "band_hz = [2.4e9, 2.5e9]")))
    with pytest.raises(DeviceError) as caught:
        reach.limits(bed(), "site1", {"site1": file})
    assert caught.value.id == "out-of-band"


def test_antenna_gain_per_transmit_channel() -> None:
    wired = bed(('array = "ap1"\nradio = "ap1"', 'array = "ap1"\nantenna_gain_dbi = 2.2\nradio = "ap1"'))
    assert reach.antenna_gain_dbi(wired, "ap1") == (2.2,) * 4 and reach.antenna_gain_dbi(wired, "u1") == (0.0,)


def test_a_radio_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DeviceError):
        reach.open_radio(bed(), "u1", WallClock(), "ip:127.0.0.1:1")


@pytest.mark.parametrize(
    ("found", "wanted", "fits"),
    [
        ("0.38", ">=0.37", True), ("0.9", ">=0.37", False), ("0.35", ">=0.37", False), ("0.38-dirty", ">=0.37", True), ("0.37", "0.37", True),
        ("0.38", "<=0.37", False), ("2021_r2", ">=0.32", None), ("", ">=0.32", None),
    ],
)  # fmt: skip
def test_versions_are_numbers_not_text(found: str, wanted: str, fits: bool | None) -> None:
    assert satisfies(found, wanted) is fits


ROWS = [(1, 61e6, 1), (2000, 15.36e6, 1), (1 << 16, 15.36e6, 16), (1 << 22, 4e6, 4), (10**6, 4e6, 1)]


@pytest.mark.parametrize(("samples", "rate", "channels"), ROWS)
def test_room_behind_the_block_that_is_read(samples: int, rate: float, channels: int) -> None:
    """Never only one, which would report an overflow after every capture; as much time as memory allows."""
    depth = _depth(samples, rate, BYTES * channels)
    assert 2 <= depth <= MOST_BUFFERS
    assert depth == 2 or depth * samples * BYTES * channels <= MOST_BYTES
    if depth < MOST_BUFFERS and (depth + 1) * samples * BYTES * channels <= MOST_BYTES:
        assert (depth - 1) * samples / rate >= ROOM_S
