"""The envelope refuses on what would really leave the antenna or turn the motor, and lets everything else through."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from hil.clock import Instant
from hil.device import Capability, DeviceError, Move, Position, Setting
from hil.envelope import Duty, Limits, Rail, check_move, check_setting, check_waveform, occupied, port_power_dbm

CAN = Capability(
    "fmcomms5", "1", 2, 2, (70e6, 6e9), (0.5e6, 61.44e6), (0.0, 62.0), 1.0, (0.0, 89.75), 0.25, 12,
    transmit_full_scale_dbm=7.0, receive_full_scale_dbm=0.0,
)  # fmt: skip
SETTING = Setting(3.5e9, 10e6, (30.0, 30.0), (10.0, 20.0))


def tone(*amplitudes: float, cycles: int = 16, samples: int = 1000) -> np.ndarray:
    phase = 2j * np.pi * cycles * np.arange(samples) / samples
    return (np.array(amplitudes)[:, None] * np.exp(phase)).astype(np.complex64)


def refusal(call, *arguments, **named) -> DeviceError:
    with pytest.raises(DeviceError) as caught:
        call(*arguments, **named)
    assert caught.value.where == "ap1"
    return caught.value


def test_power_is_that_of_the_samples_behind_the_attenuator():
    # amplitude 1 is full scale: 7 dBm less 10 dB; amplitude 0.1 is 20 dB below: 7 - 20 - 20
    assert port_power_dbm(tone(1.0, 0.1), CAN, SETTING) == pytest.approx((-3.0, -33.0), abs=1e-4)
    assert port_power_dbm(tone(1.0, 0.0), CAN, SETTING)[1] == -math.inf
    bursts = tone(1.0, 1.0)
    bursts[:, 250:] = 0.0  # a quarter of the time: 6.02 dB less on average
    assert port_power_dbm(bursts, CAN, SETTING)[0] == pytest.approx(-3.0 + 10 * math.log10(0.25), abs=1e-4)


@pytest.mark.parametrize(("amplitude", "refused"), [(0.5, False), (0.51, True)])
def test_power_cap_holds_per_channel(amplitude, refused):
    cap = 7.0 - 10.0 + 20 * math.log10(0.5)
    check = lambda: check_waveform("ap1", CAN, SETTING, tone(amplitude, 0.1), Limits(power_dbm=cap))
    if refused:
        error = refusal(check)
        assert error.id == "power-cap" and "channel 0" in error.what and f"{cap:.2f} dBm" in error.allowed
    else:
        assert check() == pytest.approx((cap, 7.0 - 20.0 - 20.0), abs=1e-3)


def test_eirp_adds_amplitudes_and_antenna_gain():
    # two channels of -20 dBm in phase: 6.02 dB more than one; 3 dBi on top
    wave = tone(10 ** (-17 / 20), 10 ** (-7 / 20))
    exact = -20.0 + 20 * math.log10(2.0) + 3.0
    check_waveform("ap1", CAN, SETTING, wave, Limits(eirp_dbm=exact), antenna_gain_dbi=(3.0, 3.0))
    error = refusal(check_waveform, "ap1", CAN, SETTING, wave, Limits(eirp_dbm=exact - 0.1), antenna_gain_dbi=(3.0, 3.0))
    assert error.id == "eirp-cap" and f"{exact:.2f} dBm" in error.found


def test_occupied_bandwidth_holds_ninety_nine_percent():
    tones = sum(tone(0.01, 0.01, cycles=k) for k in range(-100, 101))
    low, high = occupied(tones, 10e6)
    assert (low, high) == pytest.approx((-0.99e6, 0.99e6), abs=2e4)  # 201 tones of 10 kHz spacing, one of which may lie beyond each edge
    assert occupied(np.zeros((2, 100), np.complex64), 10e6) == (0.0, 0.0)


@pytest.mark.parametrize(("cycles", "refused"), [(90, False), (110, True), (-90, False), (-110, True)])
def test_signal_must_stay_in_the_band_bandwidth_included(cycles, refused):
    limits = Limits(band_hz=(3.499e9, 3.501e9))
    check = lambda: check_waveform("ap1", CAN, SETTING, tone(0.1, 0.1, cycles=cycles), limits)
    if refused:
        assert refusal(check).id == "out-of-band"
    else:
        check()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1j * np.nan])
def test_one_sample_that_is_not_a_number_is_refused(bad):
    wave = tone(0.1, 0.1)
    wave[1, 17] = bad
    error = refusal(check_waveform, "ap1", CAN, SETTING, wave, Limits())
    assert error.id == "not-finite" and "channel 1" in error.what and "nothing was loaded" in error.message


@pytest.mark.parametrize(
    ("wave", "setting", "id"),
    [
        (tone(1.1, 0.1), SETTING, "over-full-scale"), (tone(0.1), SETTING, "wrong-shape"), (tone(0.1, 0.1)[:, :0], SETTING, "wrong-shape"),
        (tone(0.1, 0.1)[0], SETTING, "wrong-shape"), (tone(0.1, 0.1), None, "not-configured"),
    ],
)  # fmt: skip
def test_waveform_that_cannot_be_sent_is_refused(wave, setting, id):
    assert refusal(check_waveform, "ap1", CAN, setting, wave, Limits()).id == id


def test_a_scale_mistake_is_found_by_the_stated_power():
    wave = tone(0.5, 0.5)
    power = port_power_dbm(wave, CAN, SETTING)
    check_waveform("ap1", CAN, SETTING, wave, Limits(), stated_dbm=power)
    stated = [power[0], power[1] - 6.0]
    assert refusal(check_waveform, "ap1", CAN, SETTING, wave, Limits(), stated_dbm=stated).id == "power-mismatch"
    assert refusal(check_waveform, "ap1", CAN, SETTING, wave, Limits(), stated_dbm=[math.nan] * 2).id == "power-mismatch"


@pytest.mark.parametrize(
    ("changed", "id"),
    [
        ({"carrier_hz": math.nan}, "not-finite"), ({"carrier_hz": 7e9}, "out-of-range"), ({"carrier_hz": 2.0e9}, "out-of-band"),
        ({"sample_rate_hz": 100e6}, "out-of-range"), ({"receive_gain_db": (30.0,)}, "wrong-shape"),
        ({"receive_gain_db": (30.0, 63.0)}, "out-of-range"),
        ({"attenuation_db": (math.nan, 0.0)}, "out-of-range"), ({"attenuation_db": (-1.0, 0.0)}, "out-of-range"),
    ],
)  # fmt: skip
def test_setting_outside_part_or_band_is_refused(changed, id):
    limits = Limits(band_hz=(3.4e9, 3.6e9))
    check_setting("ap1", CAN, SETTING, limits)
    assert refusal(check_setting, "ap1", CAN, replace(SETTING, **changed), limits).id == id


def test_a_receiver_may_listen_outside_the_transmit_band():
    check_setting(
        "u1", replace(CAN, transmit_channels=0), replace(SETTING, carrier_hz=2.0e9, attenuation_db=()), Limits(band_hz=(3.4e9, 3.6e9))
    )


def test_both_limits_hold_at_once():
    both = Limits(band_hz=(1e9, 2e9), power_dbm=10.0, duty=0.5).tightened(Limits(band_hz=(1.5e9, 3e9), power_dbm=12.0, eirp_dbm=3.0))
    assert both == Limits(band_hz=(1.5e9, 2e9), power_dbm=10.0, eirp_dbm=3.0, duty=0.5)
    with pytest.raises(DeviceError):
        Limits(band_hz=(1e9, 2e9)).tightened(Limits(band_hz=(3e9, 4e9)))


@pytest.mark.parametrize(
    "wrong", [{"power_dbm": math.nan}, {"band_hz": (2e9, 1e9)}, {"duty": 0.0}, {"duty": 1.5}, {"band_hz": (math.nan, 1e9)}]
)
def test_limits_that_limit_nothing_cannot_be_made(wrong):
    with pytest.raises(ValueError):
        Limits(**wrong)


TRAVEL = {"a": (0.0, 0.3), "b": (0.0, 0.3)}
HERE = Position({"a": 0.1, "b": 0.1}, {"a": 1e-5, "b": 1e-5}, True, False)
RAIL = Rail(("a", "b"), (0.0, 0.05), (1, 1), gap_m=0.04)  # b stands 50 mm further along the rail at equal readings


def move(**targets: float) -> Move:
    return Move(targets, 0.1, 0.5)


def test_a_move_that_keeps_gaps_passes():
    check_move("ap1", TRAVEL, move(a=0.2, b=0.191), HERE, RAIL)
    check_move("ap1", TRAVEL, move(a=0.109), HERE, RAIL)


@pytest.mark.parametrize(
    ("asked", "here", "id"),
    [
        (move(a=0.31), HERE, "beyond-travel"), (move(a=-0.001), HERE, "beyond-travel"), (move(a=math.nan), HERE, "not-finite"),
        (move(c=0.1), HERE, "no-such-axis"),
        (move(), HERE, "no-target"), (move(a=0.12), HERE, "too-close"), (move(a=0.2), HERE, "too-close"), (move(a=0.3, b=0.28),
        HERE, "too-close"),
        (move(a=0.0), replace(HERE, axes={"a": 0.13, "b": 0.1}), "too-close"), (move(a=0.1), replace(HERE, axes={}, homed=False),
        "not-homed"),
        (Move({"a": 0.1}, 0.0, 0.5), HERE, "not-finite"), (Move({"a": 0.1}, 0.1, math.inf), HERE, "not-finite"),
    ],
)  # fmt: skip
def test_a_move_that_must_not_be_is_refused(asked, here, id):
    error = refusal(check_move, "ap1", TRAVEL, asked, here, RAIL)
    assert error.id == id and "nothing moved" in error.message


def test_an_axis_that_counts_backwards_is_placed_on_the_rail():
    rail = Rail(("a", "b"), (0.0, 0.5), (1, -1), gap_m=0.04)
    assert rail.places({"a": 0.1, "b": 0.3}) == pytest.approx([0.1, 0.2])
    assert refusal(check_move, "ap1", TRAVEL, move(a=0.28, b=0.2), replace(HERE, axes={"a": 0.1, "b": 0.1}), rail).id == "too-close"


def test_duty_counts_radiating_time_within_the_window():
    duty = Duty(Limits(duty=0.1, duty_window_s=10.0))
    at = lambda seconds: Instant.of(seconds)
    duty.on(at(0.0))
    assert not duty.exceeded(at(0.9)) and duty.exceeded(at(1.1))
    duty.off(at(1.1))
    assert duty.used(at(5.0)) == pytest.approx(0.11)
    assert duty.used(at(10.6)) == pytest.approx(0.05)  # half of it has left the window
    assert duty.used(at(20.0)) == 0.0
    duty.on(at(20.0))
    duty.on(at(20.5))  # a second apply does not start anew
    assert duty.used(at(20.6)) == pytest.approx(0.06)
    assert not Duty(Limits()).exceeded(at(1e6))
