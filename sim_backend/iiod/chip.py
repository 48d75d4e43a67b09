"""An AD936x transceiver: the attributes of `ad9361-phy`, acting on a front end."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hil.units import to_dbm
from sim_backend import seeds
from sim_backend.iiod import rates, synthesiser
from sim_backend.iiod.context import Device
from sim_backend.iiod.frontend import RECEIVE, TRANSMIT, FrontEnd
from sim_backend.iiod.registers import registers
from sim_backend.iiod.values import (
    EINVAL,
    EIO,
    EOPNOTSUPP,
    Refused,
    Value,
    anything,
    choice,
    constant,
    decibels,
    decimal,
    flag,
    held,
    integer,
    refusing,
    span,
    whole,
    within,
)
from sim_backend.radio import FAR_OFF

MODES = {"manual": "manual", "fast_attack": "fast", "slow_attack": "slow", "hybrid": "slow"}
RECEIVE_PORTS = "A_BALANCED B_BALANCED C_BALANCED A_N A_P B_N B_P C_N C_P TX_MONITOR1 TX_MONITOR2 TX_MONITOR1_2"
CALIBRATIONS = "auto manual manual_tx_quad tx_quad rf_dc_offs rssi_gain_step"
STATES = "sleep wait alert fdd pinctrl pinctrl_fdd_indep"
AWAKE = ("fdd", "pinctrl", "pinctrl_fdd_indep")
FIRST_LO = {RECEIVE: 2_400_000_000, TRANSMIT: 2_450_000_000}
FIRST_RATE = 30_720_000
FIRST_GAIN_DB, FIRST_ATTENUATION_DB = 71.0, 10.0
CRYSTAL = 40_000_000  # Hz
PRODUCT = 0x37, 0x0A  # register and its value


@dataclass(frozen=True)
class Part:
    """What one kind of chip is. lo: hertz, (least, most) of each side."""

    model: str
    receive_lo: tuple[int, int]
    transmit_lo: tuple[int, int]
    bandwidth: int  # Hz, of the transmitter


AD9361 = Part("ad9361", (70_000_000, 6_000_000_000), (46_875_001, 6_000_000_000), 40_000_000)
AD9363 = Part("ad9363a", (325_000_000, 3_800_000_000), (325_000_000, 3_800_000_000), 20_000_000)


def gain_range(lo: int) -> tuple[float, float]:
    """Receive gain, dB, by the table of its band."""
    if lo <= 1_300_000_000:
        return -1.0, 73.0
    return (-3.0, 71.0) if lo <= 4_000_000_000 else (-10.0, 62.0)


class Chip:
    """One transceiver; `receive` and `transmit` are its channels of the front end."""

    def __init__(self, front: FrontEnd, part: Part, receive: range, transmit: range, label: str = "") -> None:
        self.front, self.part, self.receive, self.transmit, self._label = front, part, receive, transmit, label
        self.rate = FIRST_RATE
        self.fir: rates.Fir | None = None
        self.fir_on = False
        self.divided = {RECEIVE: 1, TRANSMIT: 1}
        self._lo = dict(FIRST_LO)
        self._ports = {(TRANSMIT, channel): "A" for channel in transmit} | {(RECEIVE, channel): "A_BALANCED" for channel in receive}
        self._state, self._powered_down = "fdd", {RECEIVE: "0", TRANSMIT: "0"}
        self._tune(RECEIVE)
        self._tune(TRANSMIT)

    # -- what is set -------------------------------------------------------------------------------------------------------------------

    def _tune(self, side: str) -> None:
        phase = self.front.phase(f"{side}{self._label}")
        if side == TRANSMIT:
            tuning = self.front.mouths[self.transmit[0]].tuning + 1
            self.front.speak(self.transmit, retuned=True, carrier=self._lo[side], phase=phase, tuning=tuning)
        else:
            self._switch_receiver(retuned=True, phase=phase)
            least, most = gain_range(self._lo[side])
            for channel in self.receive:
                if (gain := min(max(self.front.ears[channel].gain_db, least), most)) != self.front.ears[channel].gain_db:
                    self.front.hear([channel], gain_db=gain)

    def _set_lo(self, side: str, text: str) -> None:
        least, most = self.part.receive_lo if side == RECEIVE else self.part.transmit_lo
        self._lo[side] = synthesiser.lo(int(within(integer(text), least, most)))
        self._tune(side)

    @property
    def _filter(self) -> rates.Fir | None:
        return self.fir if self.fir_on else None

    def set_rate(self, text: str) -> None:
        rate = integer(text)
        rates.require(rate, self._filter)
        self.rate = rate
        self.apply_rate()

    def apply_rate(self) -> None:
        self.front.set_rate(*(self.rate // self.divided[side] for side in (RECEIVE, TRANSMIT)))

    def _switch_fir(self, text: str) -> None:
        on = flag(text) == "1"
        if on and self.fir is None:
            raise Refused(EINVAL)
        rates.require(self.rate, self.fir if on else None)
        self.fir_on = on

    def _load_fir(self, text: str) -> None:
        self.fir = rates.Fir.parse(text)

    def _set_gain(self, channel: int, text: str) -> None:
        gain = within(decimal(text), *gain_range(self._lo[RECEIVE]))
        if self.front.ears[channel].mode != "manual":
            raise Refused(EOPNOTSUPP)
        self.front.hear([channel], gain_db=float(round(gain)))

    def _set_attenuation(self, channel: int, text: str) -> None:
        gain = within(decimal(text), -89.75, 0.0)
        self.front.speak([channel], attenuation_db=round(-gain / 0.25) * 0.25)

    def _awake(self, side: str) -> bool:
        return self._powered_down[side] == "0" and self._state in AWAKE

    def _switch_transmitter(self) -> None:
        for channel in self.transmit:
            self.front.speak([channel], on=self._awake(TRANSMIT) and self._ports[TRANSMIT, channel] == "A")  # the other port is not wired

    def _switch_receiver(self, **changes: Any) -> None:
        """A receiver that sleeps, or whose port nothing is wired to, hears its own noise. changes: what else is new, of every channel."""
        for off_hz in (0, FAR_OFF):
            channels = [c for c in self.receive if off_hz == (0 if self._awake(RECEIVE) and self._ports[RECEIVE, c] == "A_BALANCED" else FAR_OFF)]
            if channels:
                self.front.hear(channels, carrier=self._lo[RECEIVE] + off_hz, **changes)

    def _set_state(self, text: str) -> None:
        self._state = text
        self._switch_transmitter()
        self._switch_receiver()

    def _power(self, side: str, text: str) -> None:
        self._powered_down[side] = text
        self._switch_transmitter()
        self._switch_receiver()

    def _select(self, where: tuple[str, int], text: str) -> None:
        self._ports[where] = text
        self._switch_transmitter()
        self._switch_receiver()

    def _correct(self, text: str) -> None:
        """The driver divides by what it takes the crystal for: too large a value slows everything down."""
        self.front.correct(CRYSTAL / int(text) - 1.0)
        self._tune(RECEIVE)
        self._tune(TRANSMIT)

    def _loop(self, text: str) -> None:
        self.front.hear(self.receive, looped=text == "1")

    # -- what is read ------------------------------------------------------------------------------------------------------------------

    def _rssi(self, channel: int) -> str:
        self.front.refresh()
        power = to_dbm(max(self.front.listening.power(channel), 1e-18))
        return f"{min(max(round(-4.0 * power) / 4.0, 0.0), 127.75):.2f} dB"

    def _temperature(self) -> str:
        """Thousandths of a degree: it warms up within minutes, and wanders a little."""
        now = self.front.now.seconds
        at_rest = seeds.uniform(24.0, 28.0, self.front.world.seed, self.front.name, "temperature", self._label)
        warm = 12.0 * (1.0 - math.exp(-now / 240.0)) + 0.6 * math.sin(2.0 * math.pi * now / 97.0)
        return str(round(1000.0 * (at_rest + warm)))

    def _read_gain(self, channel: int) -> str:
        self.front.refresh()
        return decibels(self.front.listening.gain_db(channel))

    # -- the device --------------------------------------------------------------------------------------------------------------------

    def device(self, id: str, name: str, label: str | None = None) -> Device:
        """`ad9361-phy` with all its channels and attributes."""
        phy = Device(id, name, label)
        self._synthesisers(phy)
        fir = Value(lambda: str(int(self.fir_on)), self._switch_fir)
        rate = {
            "sampling_frequency": Value(lambda: str(self.rate), self.set_rate),
            "sampling_frequency_available": Value(lambda: span(rates.least(self._filter), 1, rates.MOST_RATE)),
            "filter_fir_en": fir,
        }
        received = {
            **rate,
            "rf_bandwidth": held("18000000", whole(200_000, 56_000_000)),
            "rf_bandwidth_available": constant("[200000 1 56000000]"),
            "gain_control_mode_available": constant(" ".join(MODES)),
            "hardwaregain_available": Value(lambda: span(gain_range(self._lo[RECEIVE])[0], 1, gain_range(self._lo[RECEIVE])[1])),
            "rf_port_select_available": constant(RECEIVE_PORTS),
            "quadrature_tracking_en": held("1", flag),
            "rf_dc_offset_tracking_en": held("1", flag),
            "bb_dc_offset_tracking_en": held("1", flag),
        }
        sent = {
            **rate,
            "rf_bandwidth": held("18000000", whole(200_000, self.part.bandwidth)),
            "rf_bandwidth_available": constant(f"[200000 1 {self.part.bandwidth}]"),
            "hardwaregain_available": constant(span(-89.75, 0.25, 0.0, 6)),
            "rf_port_select_available": constant("A B"),
        }
        for place, channel in enumerate(self.receive):
            phy.channel(f"voltage{place}", self._received(channel), shared=received)
        for place, channel in enumerate(self.transmit):
            phy.channel(f"voltage{place}", self._sent(channel), output=True, shared=sent)
        phy.channel("voltage2", {"raw": constant("1041"), "scale": constant("0.305250"), "offset": constant("57")})
        for extra in ("voltage2", "voltage3"):
            phy.channel(extra, {"raw": held("306", whole(0, 1023)), "scale": constant("1.000000")}, output=True)
        phy.channel("temp0", {"input": Value(self._temperature)})
        phy.channel("out", {"voltage_filter_fir_en": fir})
        phy.attributes = self._attributes()
        phy.debug = self._debug()
        return phy

    def _synthesisers(self, phy: Device) -> None:
        for number, (side, name) in enumerate(((RECEIVE, "RX_LO"), (TRANSMIT, "TX_LO"))):
            least, most = self.part.receive_lo if side == RECEIVE else self.part.transmit_lo
            values = {
                "frequency": self._lo_value(side),
                "frequency_available": constant(f"[{least} 1 {most}]"),
                "powerdown": held("0", flag, _told(self._power, side)),
                "external": held("0", flag),
                "fastlock_load": held("0", anything),
                "fastlock_recall": refusing(EINVAL),
                "fastlock_save": held("0 0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0", anything),
                "fastlock_store": held("0", anything),
            }
            phy.channel(f"altvoltage{number}", values, output=True, name=name)

    def _lo_value(self, side: str) -> Value:
        return Value(lambda: str(self._lo[side]), lambda text: self._set_lo(side, text))

    def _received(self, channel: int) -> dict[str, Value]:
        def set_mode(mode: str) -> None:
            self.front.hear([channel], mode=MODES[mode])

        return {
            "hardwaregain": Value(lambda: self._read_gain(channel), lambda text: self._set_gain(channel, text)),
            "gain_control_mode": held("slow_attack", choice(*MODES), set_mode),
            "rf_port_select": held("A_BALANCED", choice(*RECEIVE_PORTS.split()), _told(self._select, (RECEIVE, channel))),
            "rssi": Value(lambda: self._rssi(channel)),
        }

    def _sent(self, channel: int) -> dict[str, Value]:
        return {
            "hardwaregain": Value(lambda: decibels(-self.front.mouths[channel].attenuation_db), lambda text: self._set_attenuation(channel, text)),
            "rf_port_select": held("A", choice("A", "B"), _told(self._select, (TRANSMIT, channel))),
            "rssi": constant("0.00 dB"),
        }

    def _attributes(self) -> dict[str, Value]:
        return {
            "calib_mode": held("auto", choice(*CALIBRATIONS.split())),
            "calib_mode_available": constant(CALIBRATIONS),
            "dcxo_tune_coarse": refusing(EIO),
            "dcxo_tune_coarse_available": constant("[0 0 0]"),
            "dcxo_tune_fine": refusing(EIO),
            "dcxo_tune_fine_available": constant("[0 0 0]"),
            "ensm_mode": held("fdd", choice(*STATES.split()), self._set_state),
            "ensm_mode_available": constant(STATES),
            "filter_fir_config": Value(lambda: str(self.fir or "FIR Rx: 0,0 Tx: 0,0"), self._load_fir),
            "multichip_sync": Value(None, lambda text: None),
            "rssi_gain_step_error": constant("lna_error: 0 0 0 0\nmixer_error: 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\ngain_step_calib_reg_val: 0 0 0 0 0"),
            "rx_path_rates": Value(lambda: rates.path(self.rate, self._filter, False)),
            "trx_rate_governor": held("nominal", choice("nominal", "highest_osr")),
            "trx_rate_governor_available": constant("nominal highest_osr"),
            "tx_path_rates": Value(lambda: rates.path(self.rate, self._filter, True)),
            "xo_correction": held(str(CRYSTAL), whole(CRYSTAL - 8000, CRYSTAL + 8000), self._correct),
            "xo_correction_available": constant(span(CRYSTAL - 8000, 1, CRYSTAL + 8000)),
        }

    def _debug(self) -> dict[str, Value]:
        switches = "frequency-division-duplex-mode-enable 2rx-2tx-mode-enable tx-fastlock-delay-ns digital-interface-tune-fir-disable"
        return {
            "direct_reg_access": registers({PRODUCT[0]: PRODUCT[1]}),
            "loopback": held("0", whole(0, 2), self._loop),
            "initialize": Value(lambda: "0", lambda text: None),
            "bist_prbs": held("0", whole(0, 2)),
            "bist_tone": held("0 0 0 0", anything),
            "bist_timing_analysis": constant("0"),
            "calibration_switch_control": held("0", anything),
            "digital_tune": held("0", anything),
            "gaininfo_rx1": constant("71 76 0 0 0 0 0 0"),
            "gaininfo_rx2": constant("71 76 0 0 0 0 0 0"),
            **{f"adi,{switch}": held("0", anything) for switch in switches.split()},
        }


def _told(what: Callable[..., None], about: object) -> Callable[[str], None]:
    return lambda text: what(about, text)

