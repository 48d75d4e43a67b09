"""What every Radio must do, in the words of `hil.device.Radio`. Plain asserts; no test runner needed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hil.device import Capability, Capture, DeviceError, Radio, Setting, Tolerance, differences, fractions

SAMPLES = 2000
TIMEOUT_S = 5.0


@contextmanager
def refused(*ids: str, silent: Radio | None = None) -> Iterator[None]:
    """The block must raise DeviceError (with one of `ids`, when any are given) that names the device; `silent` is then off the air."""
    try:
        yield
    except DeviceError as error:
        assert not ids or error.id in ids, f"expected error {' or '.join(ids)}, got {error.id}: {error}"
        assert error.where or error.what, "an error must say where and what"
    else:
        raise AssertionError(f"should have been refused{': ' + ' or '.join(ids) if ids else ''}")
    if silent is not None:
        assert silent.version is None, "after an error the transmitter is silent"


def middle_setting(capability: Capability, carrier_hz: float | None = None, sample_rate_hz: float | None = None) -> Setting:
    """A setting that the part can take, away from the ends of its ranges."""

    def inside(limits: tuple[float, float], wanted: float | None, usual: float) -> float:
        return wanted if wanted is not None else min(max(usual, limits[0]), limits[1])

    gain = round(sum(capability.receive_gain_db) / 2.0 / capability.receive_gain_step_db) * capability.receive_gain_step_db
    attenuation = round(sum(capability.attenuation_db) / 4.0 / capability.attenuation_step_db) * capability.attenuation_step_db
    return Setting(
        inside(capability.carrier_hz, carrier_hz, 3.5e9), inside(capability.sample_rate_hz, sample_rate_hz, 15.36e6),
        (gain,) * capability.receive_channels, (attenuation,) * capability.transmit_channels,
    )  # fmt: skip


def tone(channels: int, samples: int = 512, cycles: int = 16, amplitude: float = 0.3) -> NDArray[np.complex64]:
    """(channel, sample): one whole number of cycles, the same on every channel."""
    one = amplitude * np.exp(2j * np.pi * cycles * np.arange(samples) / samples)
    return np.tile(one.astype(np.complex64), (channels, 1))


def radio_contract(
    make: Callable[[], Radio], *, carrier_hz: float | None = None, sample_rate_hz: float | None = None, tolerance: Tolerance | None = None
) -> None:  # fmt: skip
    """Put the radio that `make()` opens through the contract; AssertionError says what it breaks. `make` is called once per rule.

    Transmits a tone at most 10 dB below full scale behind a quarter of the attenuator's range: use a cable, an attenuator or a dummy load.
    """
    for rule in RULES:
        radio = make()
        try:
            setting = middle_setting(radio.capability, carrier_hz, sample_rate_hz)
            rule(radio, setting, tolerance or Tolerance(gain_db=1.0))
        except AssertionError as error:
            raise AssertionError(f"{getattr(radio, 'name', radio)}: {rule.__name__.replace('_', ' ')}: {error}") from error
        finally:
            radio.close()


def is_a_radio(radio: Radio, setting: Setting, tolerance: Tolerance) -> None:
    assert isinstance(radio, Radio), "methods of hil.device.Radio are missing"
    can = radio.capability
    assert can.part and can.serial, "part and serial are the radio's identity"
    assert can.transmit_channels + can.receive_channels > 0
    for pair in (can.carrier_hz, can.sample_rate_hz, can.receive_gain_db, can.attenuation_db):
        assert pair[0] <= pair[1], f"a range must be (least, most): {pair}"
    assert math.isfinite(can.transmit_full_scale_dbm) and math.isfinite(can.receive_full_scale_dbm)
    assert radio.capability == can, "capability does not change"
    assert radio.supports("a word nobody knows") is False


def a_setting_is_taken_and_read_back(radio: Radio, setting: Setting, tolerance: Tolerance) -> None:
    assert radio.setting is None, "before the first configure there is no setting"
    became = radio.configure(setting)
    assert not differences(setting, became, tolerance), f"asked {setting}, became {became}"
    assert radio.setting == became, "`setting` is what was read back"
    assert radio.version is None, "configuring mutes"


def an_impossible_setting_is_refused(radio: Radio, setting: Setting, tolerance: Tolerance) -> None:
    can = radio.capability
    for carrier in (2.0 * can.carrier_hz[1], math.nan):
        with refused(silent=radio):
            radio.configure(Setting(carrier, setting.sample_rate_hz, setting.receive_gain_db, setting.attenuation_db))
    with refused(silent=radio):
        radio.configure(Setting(setting.carrier_hz, 2.0 * can.sample_rate_hz[1], setting.receive_gain_db, setting.attenuation_db))
    for name, channels, limit in (
        ("receive_gain_db", can.receive_channels, can.receive_gain_db[1] + 20.0),
        ("attenuation_db", can.transmit_channels, can.attenuation_db[0] - 20.0),
    ):
        if channels:
            asked = replace(setting, **{name: (limit,) * channels})  # type: ignore[arg-type]
            try:
                became = radio.configure(asked)
            except DeviceError:
                pass
            else:
                assert differences(asked, became, tolerance), f"{name} of {limit} dB cannot have been taken"
            assert radio.version is None


def a_capture_carries_what_it_must(radio: Radio, setting: Setting, tolerance: Tolerance) -> None:
    if not radio.capability.receive_channels:
        return
    became = radio.configure(setting)
    capture = radio.capture(SAMPLES, TIMEOUT_S)
    assert isinstance(capture, Capture)
    assert capture.samples.shape == (radio.capability.receive_channels, SAMPLES), f"samples have the shape {capture.samples.shape}"
    assert capture.samples.dtype == np.complex64
    codes = np.ascontiguousarray(capture.samples).view(np.float32) * capture.full_scale
    assert np.isfinite(codes).all(), "samples are finite"
    assert np.abs(codes - np.rint(codes)).max() < 1e-2, "samples times full_scale are the converter's integer codes"
    assert np.abs(codes).max() <= capture.full_scale, "samples are fractions of full scale"
    if capture.codes is not None:  # they are what is recorded
        assert np.array_equal(fractions(capture.codes.values, capture.full_scale), capture.samples), "samples are what the codes given make"
    assert capture.sample_rate_hz == became.sample_rate_hz and capture.carrier_hz == became.carrier_hz
    assert capture.gain_db == became.receive_gain_db, "gains are those read back"
    assert capture.version is None, "nothing is on the air"
    assert 0.0 <= capture.clipped <= 1.0
    assert capture.device == radio.name
    if not radio.capability.reports_first_sample:
        assert capture.first_sample is None, "an unknown first sample is None"
    again = radio.capture(SAMPLES, TIMEOUT_S)
    if capture.clock is not None and again.clock is not None:
        assert again.clock.since(capture.clock) > 0.5 * SAMPLES / became.sample_rate_hz, "a later capture begins later"


def a_capture_refuses_nonsense(radio: Radio, setting: Setting, tolerance: Tolerance) -> None:
    with refused():
        radio.capture(SAMPLES, TIMEOUT_S)  # not configured
    if not radio.capability.receive_channels:
        return
    radio.configure(setting)
    for samples in (0, -1):
        with refused():
            radio.capture(samples, TIMEOUT_S)


def a_capture_is_not_stale(radio: Radio, setting: Setting, tolerance: Tolerance) -> None:
    """What a buffer held before the request is the driver's to discard: after a mute, and after a setting, nothing old is heard.

    Shows only in a radio that hears itself, over a cable or through its own isolation.
    """
    can = radio.capability
    if not can.transmit_channels or not can.receive_channels:
        return

    def power() -> float:
        return float(np.mean(np.abs(radio.capture(SAMPLES, TIMEOUT_S).samples) ** 2))

    radio.configure(setting)
    idle = power()
    for _ in range(3):
        radio.configure(setting)
        radio.load(1, tone(can.transmit_channels))
        radio.apply(1)
        first, second = power(), power()
        if not second > 10.0 * idle:
            return  # it does not hear itself well enough to tell
        assert first > 0.5 * second, "the first capture after switching on is of the time before"
        radio.mute()
        assert power() < 0.1 * second, "the first capture after a mute is of the time before"


def a_gain_mode_is_taken_or_refused(radio: Radio, setting: Setting, tolerance: Tolerance) -> None:
    if not radio.capability.receive_channels:
        return
    with refused(silent=radio):
        radio.configure(replace(setting, gain_mode="a word nobody knows"))
    for mode in ("slow", "fast"):
        asked = replace(setting, gain_mode=mode)
        if not radio.supports("gain-modes"):
            with refused(silent=radio):
                radio.configure(asked)
            continue
        assert radio.configure(asked).gain_mode == mode, "the mode is read back"
        capture = radio.capture(SAMPLES, TIMEOUT_S)
        after = radio.setting
        assert after is not None and capture.gain_db == after.receive_gain_db, "the gain read back is the latest"
    assert radio.configure(setting).gain_mode == "manual"


def loading_is_not_sending(radio: Radio, setting: Setting, tolerance: Tolerance) -> None:
    if not radio.capability.transmit_channels:
        return
    radio.configure(setting)
    radio.load(3, tone(radio.capability.transmit_channels))
    assert radio.version is None, "load puts nothing on the air"
    radio.apply(3)
    assert radio.version == 3, "`version` is what is on the air"
    radio.load(4, tone(radio.capability.transmit_channels, samples=640))
    assert radio.version == 3, "loading the next version leaves the present one on the air"
    radio.apply(4)
    assert radio.version == 4
    radio.mute()
    radio.mute()
    assert radio.version is None
    radio.load(5, tone(radio.capability.transmit_channels))
    radio.apply(5)
    radio.configure(setting)
    assert radio.version is None, "configuring mutes"


def a_bad_waveform_is_refused(radio: Radio, setting: Setting, tolerance: Tolerance) -> None:
    channels = radio.capability.transmit_channels
    radio.configure(setting)
    if not channels:
        with refused():
            radio.load(1, tone(1))
        return
    wrong = tone(channels)
    wrong[0, 5] = np.nan
    loud = tone(channels, amplitude=1.5)
    for bad in (tone(channels + 1), tone(channels)[0], tone(channels)[:, :0], wrong, loud):
        radio.load(1, tone(channels))
        radio.apply(1)
        with refused(silent=radio):
            radio.load(2, bad)
        with refused("not-loaded", silent=radio):
            radio.apply(2)


def a_version_that_is_not_loaded_is_refused(radio: Radio, setting: Setting, tolerance: Tolerance) -> None:
    radio.configure(setting)
    if radio.capability.transmit_channels:
        radio.load(1, tone(radio.capability.transmit_channels))
        radio.apply(1)
    with refused("not-loaded", silent=radio):
        radio.apply(77)


def the_waveform_may_change_after_loading(radio: Radio, setting: Setting, tolerance: Tolerance) -> None:
    """The caller's array is its own again when load returns: what goes out afterwards does not move with it."""
    if not radio.capability.transmit_channels or not radio.capability.receive_channels:
        return
    radio.configure(setting)
    wave = tone(radio.capability.transmit_channels)
    radio.load(1, wave)
    wave[:] = np.nan
    radio.apply(1)
    assert np.isfinite(radio.capture(SAMPLES, TIMEOUT_S).samples.view(np.float32)).all()


def closing_is_final_and_may_be_repeated(radio: Radio, setting: Setting, tolerance: Tolerance) -> None:
    radio.configure(setting)
    if radio.capability.transmit_channels:
        radio.load(1, tone(radio.capability.transmit_channels))
        radio.apply(1)
    radio.close()
    radio.close()
    assert radio.version is None, "closing mutes"
    radio.mute()
    with refused():
        radio.capture(SAMPLES, TIMEOUT_S)
    with refused():
        radio.configure(setting)


RULES = (
    is_a_radio, a_setting_is_taken_and_read_back, an_impossible_setting_is_refused, a_capture_carries_what_it_must,
    a_capture_refuses_nonsense, a_capture_is_not_stale, a_gain_mode_is_taken_or_refused,
    loading_is_not_sending, a_bad_waveform_is_refused, a_version_that_is_not_loaded_is_refused, the_waveform_may_change_after_loading,
    closing_is_final_and_may_be_repeated,
)  # fmt: skip
