"""An AD9081 mixed-signal front end with any number of channels: direct sampling, and digital oscillators in place of synthesisers.

Codes are 16 bits both ways. A receive oscillator below zero tunes to the second Nyquist zone of its converter. All channels share clock,
DMA and start, so their phases repeat from one tuning to the next; `sync_start_enable` starts transmit and receive buffers together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from sim_backend.iiod.context import Device, Scan
from sim_backend.iiod.converters import buffer_values
from sim_backend.iiod.dds import Dds
from sim_backend.iiod.frontend import RECEIVE, TRANSMIT, FrontEnd
from sim_backend.iiod.listening import Ear
from sim_backend.iiod.registers import OVERFLOW, UNDERFLOW, registers, sticky
from sim_backend.iiod.sending import Mouth
from sim_backend.iiod.values import Value, choice, constant, decimal, flag, held, integer, whole, within
from sim_backend.world import World

BITS = 16
FORMAT = "le:S16/16>>0"
ADC, DAC = 4_000_000_000, 12_000_000_000  # Hz
FIRST_HZ = 1_000_000_000
TEST_MODES = "off midscale_short pos_fullscale neg_fullscale checkerboard pn23 pn9 one_zero_toggle user pn7 pn15 pn31 ramp"
VERSION = {0x80000000: 0x000A0262}
SYNC = "arm disarm trigger_manual"


class Oscillators:
    """The two digital oscillators of one channel: coarse and fine. Frequencies in hertz, phases in millidegrees."""

    def __init__(self, front: FrontEnd, side: str, channel: int, rate: int) -> None:
        self._front, self._side, self._channel, self._rate = front, side, channel, rate
        self._hertz = {"main": FIRST_HZ, "channel": 0}
        self._phase = {"main": 0, "channel": 0}
        self._switched = {"main": False, "channel": False}
        self._scale = 1.0
        self._apply(retuned=True)

    def _apply(self, *, retuned: bool = False) -> None:
        carrier, turn = sum(self._hertz.values()), sum(self._phase.values()) / 360e3 % 1.0
        if self._side == RECEIVE:
            carrier += ADC if self._hertz["main"] < 0 else 0
            scale = 2.0 ** sum(self._switched.values())
            self._front.hear([self._channel], retuned=retuned, carrier=carrier, turn=turn, scale=scale)
        else:
            attenuation = -20.0 * math.log10(self._scale) if self._scale else 0.0
            self._front.speak([self._channel], carrier=carrier, turn=turn, attenuation_db=attenuation, on=self._scale > 0.0)

    def _set_frequency(self, which: str, text: str) -> None:
        self._hertz[which] = int(within(integer(text), *self.reach(which)))
        self._apply(retuned=True)

    def _set_phase(self, which: str, text: str) -> None:
        self._phase[which] = int(within(integer(text), -180_000, 180_000))
        self._apply()

    def _switch(self, which: str, text: str) -> None:
        self._switched[which] = flag(text) == "1"
        self._apply()

    def _set_scale(self, text: str) -> None:
        self._scale = within(decimal(text), 0.0, 1.0)
        self._apply()

    def reach(self, which: str) -> tuple[int, int]:
        if which == "channel":
            return -self._rate // 2, self._rate // 2
        return (-ADC // 2, ADC // 2) if self._side == RECEIVE else (0, DAC // 2)

    def values(self) -> dict[str, Value]:
        found = {}
        for which in self._hertz:
            least, most = self.reach(which)
            found[f"{which}_nco_frequency"] = self._value(self._hertz, which, self._set_frequency)
            found[f"{which}_nco_frequency_available"] = constant(f"[{least} 1 {most}]")
            found[f"{which}_nco_phase"] = self._value(self._phase, which, self._set_phase)
            if self._side == RECEIVE:
                found[f"{which}_6db_digital_gain_en"] = self._value(self._switched, which, self._switch)
        if self._side == TRANSMIT:
            found["channel_nco_gain_scale"] = Value(lambda: f"{self._scale:.6f}", self._set_scale)
        return found

    @staticmethod
    def _value(kept: Mapping[str, int], which: str, write: Any) -> Value:
        return Value(lambda: str(int(kept[which])), lambda text: write(which, text))


def build(world: World, radio: Mapping[str, Any], fronts: list[FrontEnd]) -> tuple[FrontEnd, list[Device]]:
    """radio: with `rate_hz`, the rate that the board's link was built for (default: the capability's greatest)."""
    can = world.radio(radio["name"]).capability
    rate = int(radio.get("rate_hz") or can.sample_rate_hz[1])
    ears = [Ear(FIRST_HZ, 0.0, can.receive_gain_db[0])] * can.receive_channels
    mouths = [Mouth(FIRST_HZ, 0.0, 0.0)] * can.transmit_channels
    front = FrontEnd(world, radio["name"], (BITS, BITS), ears, mouths, rate, fronts)
    front.hear(range(len(ears)), phase=front.phase(RECEIVE))
    front.speak(range(len(mouths)), phase=front.phase(TRANSMIT))
    return front, [_receiver(front, rate), _transmitter(front, rate), _clock()]


def _receiver(front: FrontEnd, rate: int) -> Device:
    device = Device("iio:device1", "axi-ad9081-rx-hpc")
    shared = {"sampling_frequency": constant(str(rate)), "adc_frequency": constant(str(ADC)), "test_mode": held("off", choice(*TEST_MODES.split())),
              "test_mode_available": constant(TEST_MODES)}  # fmt: skip
    for channel in range(len(front.ears)):
        values = Oscillators(front, RECEIVE, channel, rate).values() | {
            "label": constant(f"FDDC{channel}->CDDC{channel}->ADC{channel}"), "en": held("1", flag), "main_nco_ffh_index": held("0", whole(0, 15)),
            "nyquist_zone": held("odd", choice("odd", "even")), "nyquist_zone_available": constant("odd even"),
        }  # fmt: skip
        for k, part in enumerate("iq"):
            device.channel(f"voltage{channel}_{part}", values, shared=shared, scan=Scan(2 * channel + k, FORMAT))
    sent = {"sampling_frequency": constant(str(rate)), "dac_frequency": constant(str(DAC))}
    for channel in range(len(front.mouths)):
        values = Oscillators(front, TRANSMIT, channel, rate).values() | {
            "label": constant(f"FDUC{channel}->CDUC{channel}->DAC{channel}"), "en": held("1", flag), "main_nco_ffh_index": held("0", whole(0, 15)),
            "main_nco_test_tone_en": held("0", flag), "channel_nco_test_tone_en": held("0", flag),
            "main_nco_test_tone_scale": held("0.000000", lambda text: f"{within(decimal(text), 0.0, 1.0):.6f}"),
            "channel_nco_test_tone_scale": held("0.000000", lambda text: f"{within(decimal(text), 0.0, 1.0):.6f}"),
        }  # fmt: skip
        for part in "iq":
            device.channel(f"voltage{channel}_{part}", values, output=True, shared=sent)
    device.attributes = {
        "loopback_mode": held("0", whole(0, 3)), "multichip_sync": Value(None, lambda text: None),
        "filter_fir_config": Value(None, lambda text: None),
        "jesd204_fsm_state": constant("opt_post_running_stage"), "jesd204_fsm_error": constant("0"), "jesd204_fsm_paused": constant("0"),
        **_sync(front, front.inputs, triggers=False),
    }  # fmt: skip
    device.debug = {
        "direct_reg_access": registers(VERSION, sticky(OVERFLOW, lambda: front.inputs.overflowed, front.inputs.clear)),
        "pseudorandom_err_check": constant("CH0 : PN9 : Out of Sync : PN Error"),
    }
    device.buffer, device.stream = buffer_values(), front.inputs
    return device


def _transmitter(front: FrontEnd, rate: int) -> Device:
    device = Device("iio:device2", "axi-ad9081-tx-hpc")
    shared = {"sampling_frequency": constant(str(rate))}
    for index in range(2 * len(front.mouths)):
        device.channel(f"voltage{index // 2}_{'iq'[index % 2]}", {}, output=True, shared=shared, scan=Scan(index, FORMAT))
    Dds(front, BITS).channels(device, range(len(front.mouths)), shared)
    device.attributes = _sync(front, front.outputs, triggers=True)
    device.debug = {"direct_reg_access": registers(VERSION, sticky(UNDERFLOW, lambda: front.outputs.underflowed, front.outputs.clear))}
    device.buffer, device.stream = buffer_values(), front.outputs
    return device


def _sync(front: FrontEnd, stream: Any, *, triggers: bool) -> dict[str, Value]:
    """Buffers opened while armed wait; the transmitter's device starts them all."""
    allowed = choice(*SYNC.split())

    def write(text: str) -> None:
        match allowed(text):
            case "trigger_manual" if triggers:
                front.trigger()
            case word:
                stream.wait_for_trigger = word == "arm"

    state = Value(lambda: "arm" if stream.wait_for_trigger else "disarm", write)
    return {"sync_start_enable": state, "sync_start_enable_available": constant(SYNC)}


def _clock() -> Device:
    """The clock generator of the board."""
    device = Device("iio:device0", "hmc7044")
    for index, name in enumerate(("CORE_CLK_RX", "CORE_CLK_TX", "DEV_REFCLK", "DEV_SYSREF")):
        device.channel(f"altvoltage{index}", {"frequency": constant("250000000"), "phase": constant("0.000000")}, output=True, name=name)
    return device
