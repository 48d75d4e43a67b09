"""The driver of real radios, through the emulated daemon: every part keeps the contract, over the bytes a real one would see."""

from __future__ import annotations

import os
import time
from dataclasses import asdict, replace

import numpy as np
import pytest
from daemon_bench import opened, require_libiio, site

from hil import checkup, profile
from hil.clock import WallClock
from hil.device import DeviceError, Loss, Setting
from hil.parts import capability
from hil.radios import opening
from hil.radios.array import RadioArray
from hil.radios.trim import derotated
from hil.testing import radio_contract
from hil.testing.radio_contract import tone
from sim_backend.iiod.daemon import Daemon

pytestmark = pytest.mark.usefixtures("libiio")


@pytest.fixture(scope="module")
def libiio() -> None:
    require_libiio()


def assert_let_go(daemon: Daemon) -> None:
    """The daemon notices the end of a connection a moment after it."""
    deadline = time.monotonic() + 2.0
    while daemon.clients and time.monotonic() < deadline:
        time.sleep(0.01)
    assert daemon.clients == 0, "every connection was let go"


@pytest.mark.parametrize("part", ["pluto", "ad9361", "fmcomms5", "ad9081"])
def test_the_contract_of_any_radio(part: str) -> None:
    with Daemon(site(part)) as daemon:
        radio_contract(lambda: opened(daemon, "a", part))
        assert_let_go(daemon)


def test_two_radios_as_one_array_keep_it_too() -> None:
    with Daemon(site("pluto", ("a", "b"))) as daemon:

        radios = [{"name": name, "uri": uri, "capability": asdict(capability("pluto", f"emulated-{name}"))} for name, uri in daemon.uris.items()]

        def array() -> RadioArray:
            return opening.array("array", WallClock(), radios=radios)

        radio_contract(array)
        assert_let_go(daemon)
        with_both = array()
        assert not with_both.supports("coherent") and with_both._radios[0].supports("coherent")
        with_both.close()
        with pytest.raises(DeviceError):
            opening.array("array", WallClock(), radios=[radios[0], {**radios[1], "uri": radios[0]["uri"]}])
        assert_let_go(daemon)


# -- what captures are --------------------------------------------------------------------------------------------------------------------


def setting(part: str, gain_db: float = 20.0, attenuation_db: float = 20.0) -> Setting:
    count = {"pluto": 1, "ad9361": 2, "fmcomms5": 4, "ad9081": 4}[part]
    if part == "ad9081":
        gain_db = attenuation_db = 0.0
    return Setting(3.5e9, 15.36e6, (gain_db,) * count, (attenuation_db,) * count)


@pytest.mark.parametrize("part", ["pluto", "ad9361", "fmcomms5", "ad9081"])
def test_a_channel_hears_the_port_its_cable_comes_from_at_the_level_the_settings_say(part: str) -> None:
    with Daemon(site(part)) as daemon, opened(daemon, "a", part) as radio:
        can = radio.capability
        count = can.transmit_channels
        radio.configure(setting(part))
        silence = radio.capture(checkup.SAMPLES, 5.0)
        radio.load(1, checkup.tones(count, 0.1))
        radio.apply(1)
        radio.capture(1000, 5.0)
        capture = radio.capture(checkup.SAMPLES, 5.0)
        radio.mute()
        levels = checkup.heard(capture, silence, count)[..., 0]
    gain, attenuation = (0.0, 0.0) if part == "ad9081" else (20.0, 20.0)
    expected = can.transmit_full_scale_dbm - attenuation - 20.0 - 30.0 - (can.receive_full_scale_dbm - gain)
    assert np.diag(levels) == pytest.approx([expected] * count, abs=0.3)
    assert np.all(np.argmax(levels, axis=0) == np.arange(count)), "ports in their order"


def test_what_is_driven_too_far_is_reported_not_wrapped() -> None:
    with Daemon(site("pluto")) as daemon, opened(daemon, "a", "pluto") as radio:
        radio.configure(setting("pluto", gain_db=60.0, attenuation_db=0.0))
        assert radio.capture(4096, 5.0).clipped == 0.0
        radio.load(1, tone(1, amplitude=0.9))
        radio.apply(1)
        capture = radio.capture(4096, 5.0)
    assert capture.clipped > 0.5
    assert np.abs(np.diff(np.unwrap(np.angle(capture.samples[0])))).max() < 1.7, "held at the rails: no jump through zero"


def test_samples_that_found_no_room_are_a_loss_and_looking_clears_it() -> None:
    with Daemon(site("pluto")) as daemon, opened(daemon, "a", "pluto") as radio:
        radio.configure(setting("pluto"))
        radio.capture(4096, 5.0)
        time.sleep(0.3)  # longer than the blocks behind the one that was read hold
        assert radio._receiver.loss() is Loss.SOME
        again = radio.capture(4096, 5.0)  # of a new buffer
        assert again.loss is not Loss.UNKNOWN and radio.supports("loss")


def test_a_setting_that_changed_is_heard_in_the_next_capture() -> None:
    """The gain steps by 20 dB; nothing of before is in the first capture after it."""
    with Daemon(site("pluto")) as daemon, opened(daemon, "a", "pluto") as radio:
        for gain in (10.0, 30.0, 10.0):
            radio.configure(setting("pluto", gain_db=gain))
            radio.load(1, tone(1))
            radio.apply(1)
            level = 10 * np.log10(np.mean(np.abs(radio.capture(8192, 5.0).samples) ** 2))
            assert level == pytest.approx(7.0 - 20.0 + 20 * np.log10(0.3) - 30.0 + 10.0 + gain, abs=0.5)


def test_muted_is_silent_whoever_looks() -> None:
    with Daemon(site("fmcomms5")) as daemon, opened(daemon, "a", "fmcomms5") as radio:
        assert radio.configure(setting("fmcomms5")).attenuation_db == (20.0,) * 4
        assert radio.read().attenuation_db == (89.75,) * 4, "configured and read back, then closed again until there is something to send"
        radio.load(1, tone(4))
        radio.apply(1)
        assert radio.read().attenuation_db == (20.0,) * 4
        radio.mute()
        assert radio.read().attenuation_db == (89.75,) * 4
        assert set(radio.board.sdr.dds_enabled) == {"0"} and radio.board.sdr._txbuf is None
        radio.apply(1)
        assert radio.read().attenuation_db == (20.0,) * 4, "and comes back as it was set"


def test_automatic_gain_is_read_after_the_samples() -> None:
    with Daemon(site("pluto")) as daemon, opened(daemon, "a", "pluto") as radio:
        radio.configure(replace(setting("pluto"), gain_mode="slow"))
        time.sleep(0.2)
        quiet = radio.capture(4096, 5.0).gain_db[0]
        radio.load(1, tone(1, amplitude=0.9))
        radio.apply(1)
        time.sleep(0.3)
        loud = radio.capture(4096, 5.0).gain_db[0]
        assert loud < quiet - 5.0 and radio.setting.receive_gain_db == (loud,)


# -- what a profile says ------------------------------------------------------------------------------------------------------------------


def shipped(name: str) -> profile.RadioProfile:
    source = profile.find(name, None)
    assert source is not None
    return profile.radio_profile(source)


@pytest.mark.parametrize("name", ["pluto-3g5", "ad9361-3g5", "fmcomms5-3g5", "ad9081-3g5"])
def test_every_profile_that_comes_with_it_is_taken(name: str) -> None:
    wanted = shipped(name)
    channels = wanted.capability("").receive_channels
    with Daemon(site(wanted.part, channels=channels)) as daemon:
        can = wanted.capability("emulated-a")
        with opened(daemon, "a", wanted.part, capability=can, fitting=wanted.fitting) as radio:
            gain = wanted.gain
            radio.configure(Setting(3.5e9, 15.36e6, (gain.receive_db,) * channels, (gain.attenuation_db,) * channels))
            assert radio.audit() == []
            if wanted.fir is not None:
                phy = radio.board.sdr._ctrl
                assert radio.board.text(phy, "filter_fir_config") == wanted.fir.read_back
                assert radio.board.number(phy, "voltage_filter_fir_en", "out") == 1
                radio.configure(Setting(3.5e9, 4e6, (20.0,) * channels, (20.0,) * channels))  # and at another rate
                assert radio.setting.sample_rate_hz == 4e6 and radio.board.text(phy, "filter_fir_config") == wanted.fir.read_back


def test_a_filter_too_long_for_the_rate_is_refused() -> None:
    wanted = shipped("ad9361-3g5")
    assert wanted.fir is not None
    fitting = {**wanted.fitting, "fir": wanted.fir.text.replace("DEC 4", "DEC 1").replace("INT 4", "INT 1")}
    with Daemon(site("ad9361")) as daemon, opened(daemon, "a", "ad9361", fitting=fitting) as radio:
        with pytest.raises(DeviceError) as caught:
            radio.configure(Setting(3.5e9, 61.44e6, (20.0, 20.0), (20.0, 20.0)))
        assert caught.value.id in ("bad-filter", "refused") and radio.version is None


def test_a_chip_that_is_too_warm_sends_nothing() -> None:
    with Daemon(site("pluto")) as daemon, opened(daemon, "a", "pluto", fitting={"temperature_c": -10.0}) as radio:
        radio.configure(setting("pluto"))
        radio.load(1, tone(1))
        with pytest.raises(DeviceError) as caught:
            radio.apply(1)
        assert caught.value.id == "too-hot" and "-10 C" in caught.value.allowed and radio.version is None


# -- carriers -----------------------------------------------------------------------------------------------------------------------------


def test_a_carrier_is_brought_onto_frequency_below_the_synthesiser_s_step() -> None:
    """Radio b hears a's tone where it is wrong by parts in a million; trimmed, the rest is what the plan says, and taken out it is nought."""
    place = site("pluto", ("a", "b"), cable_db=None, oscillator={"class": "tcxo", "spread_ppm": 3.0, "clock_offset_ns": 0.0})
    place["emulated"]["cable"] = [{"from": "a.tx0", "to": "b.rx0", "gain_db": -30.0}]
    with Daemon(place) as daemon, opened(daemon, "a", "pluto") as sender, opened(daemon, "b", "pluto") as receiver:
        wanted = Setting(3.5e9, 4e6, (30.0,), (20.0,))
        sender.configure(wanted)
        receiver.configure(wanted)
        sender.load(1, checkup.tones(1, 0.3))
        sender.apply(1)

        def off() -> float:
            return checkup.offset_hz(receiver.capture(1 << 17, 5.0), 0, checkup.tone_cycles(0, 1))

        before = off()
        assert abs(before) > 100.0
        plan = receiver.trim(-before)  # it receives too low a carrier where a tone arrives too high
        after = off()
        assert abs(plan.rest_hz) <= 2.5 and plan.reference_hz != 40_000_000
        assert abs(after) < 25.0, f"{before:.1f} Hz before, {after:.1f} Hz after"
        capture = receiver.capture(1 << 17, 5.0)
        rest = checkup.offset_hz(capture, 0, checkup.tone_cycles(0, 1))
        assert abs(checkup.offset_hz(derotated(capture, rest), 0, checkup.tone_cycles(0, 1))) < 1.0


@pytest.mark.hardware
def test_a_radio_on_the_bench() -> None:
    """HIL_RADIO="pluto usb:1.5.5": its transmitter on a cable with 30 dB, or on a dummy load."""
    part, _, uri = os.environ.get("HIL_RADIO", "").partition(" ")
    if not uri:
        pytest.skip('no radio named: HIL_RADIO="pluto usb:1.5.5" make test TESTS=tests/contract ARGS="-m hardware"')
    radio_contract(lambda: opened(None, "bench", part, uri=uri, capability=capability(part, "")))
