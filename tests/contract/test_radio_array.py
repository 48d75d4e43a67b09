"""Several radios as one array: the contract of any radio, and no claim of a coherence that is not there."""

from __future__ import annotations

import numpy as np
import pytest

from hil.clock import VirtualClock, WallClock
from hil.device import DeviceError, Loss, Setting
from hil.radios.array import RadioArray
from hil.testing import InstantRadio, radio_contract


def array(clock, count=3, **more):
    radios = [InstantRadio(f"r{number}", clock, transmit_channels=1, receive_channels=1, seed=number, **more) for number in range(count)]
    return RadioArray("array", radios, clock)


SETTING = Setting(3.5e9, 15.36e6, (20.0, 30.0, 40.0), (10.0, 20.0, 30.0))


@pytest.mark.parametrize("clock", [VirtualClock, WallClock])
def test_the_contract_of_any_radio(clock) -> None:
    radio_contract(lambda: array(clock()))


def test_channels_and_gains_in_the_radios_order() -> None:
    radio = array(VirtualClock())
    assert (radio.capability.transmit_channels, radio.capability.receive_channels) == (3, 3)
    assert radio.capability.serial == "instant-r0+instant-r1+instant-r2"
    became = radio.configure(SETTING)
    assert became.receive_gain_db == (20.0, 30.0, 40.0) and became.attenuation_db == (10.0, 20.0, 30.0)
    assert [one.setting.receive_gain_db for one in radio._radios] == [(20.0,), (30.0,), (40.0,)]


def test_it_claims_no_coherence() -> None:
    radio = array(VirtualClock())
    assert not radio.supports("coherent") and not radio.supports("first-sample")
    radio.configure(SETTING)
    assert radio.capture(100, 5.0).first_sample is None


def test_captures_lie_side_by_side_and_the_worst_is_said() -> None:
    radio = array(WallClock())
    radio.configure(SETTING)
    alone = [one.capture(200, 5.0) for one in radio._radios]
    assert len({capture.samples.tobytes() for capture in alone}) == 3
    taken = radio.capture(200, 5.0)
    assert taken.samples.shape == (3, 200) and taken.samples.flags.c_contiguous and taken.gain_db == (20.0, 30.0, 40.0)
    assert taken.loss in (Loss.UNKNOWN, Loss.NONE) and taken.device == "array"


def test_one_that_cannot_silences_all() -> None:
    radio = array(VirtualClock())
    radio.configure(SETTING)
    radio.load(1, np.full((3, 64), 0.1, np.complex64))
    radio.apply(1)
    assert [one.version for one in radio._radios] == [1, 1, 1]
    radio._radios[1].mute()
    assert radio.version is None, "what does not send as a whole sends no version"
    radio.apply(1)
    radio._radios[2].close()
    with pytest.raises(DeviceError):
        radio.capture(100, 5.0)
    assert [one.version for one in radio._radios] == [None, None, None]


def test_radios_that_came_out_differently_are_no_array() -> None:
    class Off(InstantRadio):
        def configure(self, setting):
            became = super().configure(setting)
            return type(became)(became.carrier_hz + 2.0, became.sample_rate_hz, became.receive_gain_db, became.attenuation_db)

    clock = VirtualClock()
    radios = [kind(name, clock, transmit_channels=1, receive_channels=1) for name, kind in (("a", InstantRadio), ("b", Off))]
    with pytest.raises(DeviceError) as caught:
        RadioArray("array", radios, clock).configure(Setting(3.5e9, 15.36e6))
    assert caught.value.id == "did-not-take" and "b 3500000002.0" in caught.value.found


def test_only_like_joins_like() -> None:
    clock = VirtualClock()
    with pytest.raises(DeviceError):
        RadioArray("array", [], clock)
