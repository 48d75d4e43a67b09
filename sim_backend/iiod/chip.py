"""An AD936x transceiver as its driver works it: what is written acts on a front end, what is read comes from there."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from hil.units import to_dbm
from sim_backend import seeds
from sim_backend.iiod import rates, synthesiser
from sim_backend.iiod.frontend import RECEIVE, TRANSMIT, FrontEnd
from sim_backend.iiod.values import EINVAL, EOPNOTSUPP, Refused, decibels, decimal, flag, integer, within
from sim_backend.radio import FAR_OFF

AWAKE = ("fdd", "pinctrl", "pinctrl_fdd_indep")
FIRST_LO = {RECEIVE: 2_400_000_000, TRANSMIT: 2_450_000_000}
FIRST_RATE = 30_720_000
FIRST_GAIN_DB, FIRST_ATTENUATION_DB = 71.0, 10.0
CRYSTAL = 40_000_000  # Hz


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
        self.lo = dict(FIRST_LO)
        self._ports = {(TRANSMIT, channel): "A" for channel in transmit} | {(RECEIVE, channel): "A_BALANCED" for channel in receive}
        self._off_hz = {RECEIVE: 0, TRANSMIT: 0}  # by which a synthesiser is not where it should be
        self._ignored: dict[int, float] = {}  # receive channel -> a gain that was written and not taken
        self._state, self._powered_down = "fdd", {RECEIVE: "0", TRANSMIT: "0"}
        self._tune(RECEIVE)
        self._tune(TRANSMIT)

    # -- what is set -------------------------------------------------------------------------------------------------------------------

    def _tune(self, side: str) -> None:
        phase, fault = self.front.phase(f"{side}{self._label}"), self.front.fault("unlocked-retune")
        self._off_hz[side] = (round(fault["offset_hz"]) or FAR_OFF) if fault else 0
        if side == TRANSMIT:
            tuning = self.front.mouths[self.transmit[0]].tuning + 1
            self.front.speak(self.transmit, retuned=True, carrier=self.lo[side] + self._off_hz[side], phase=phase, tuning=tuning)
        else:
            self._switch_receiver(retuned=True, phase=phase)
            least, most = gain_range(self.lo[side])
            for channel in self.receive:
                if (gain := min(max(self.front.ears[channel].gain_db, least), most)) != self.front.ears[channel].gain_db:
                    self.front.hear([channel], gain_db=gain)

    def set_lo(self, side: str, text: str) -> None:
        least, most = self.part.receive_lo if side == RECEIVE else self.part.transmit_lo
        self.lo[side] = synthesiser.lo(int(within(integer(text), least, most)))
        self._tune(side)

    @property
    def filter(self) -> rates.Fir | None:
        return self.fir if self.fir_on else None

    def set_rate(self, text: str) -> None:
        rate = integer(text)
        rates.require(rate, self.filter)
        self.rate = rate
        self.apply_rate()

    def apply_rate(self) -> None:
        self.front.set_rate(*(self.rate // self.divided[side] for side in (RECEIVE, TRANSMIT)))

    def switch_fir(self, text: str) -> None:
        on = flag(text) == "1"
        if on and self.fir is None:
            raise Refused(EINVAL)
        rates.require(self.rate, self.fir if on else None)
        self.fir_on = on

    def load_fir(self, text: str) -> None:
        self.fir = rates.Fir.parse(text)

    def set_gain(self, channel: int, text: str) -> None:
        gain = within(decimal(text), *gain_range(self.lo[RECEIVE]))
        if self.front.ears[channel].mode != "manual":
            raise Refused(EOPNOTSUPP)
        if self.front.fault("gain-step-ignored"):
            self._ignored[channel] = float(round(gain))
            return
        self._ignored.pop(channel, None)
        self.front.hear([channel], gain_db=float(round(gain)))

    def set_attenuation(self, channel: int, text: str) -> None:
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
                self.front.hear(channels, carrier=self.lo[RECEIVE] + self._off_hz[RECEIVE] + off_hz, **changes)

    def set_state(self, text: str) -> None:
        self._state = text
        self._switch_transmitter()
        self._switch_receiver()

    def power(self, side: str, text: str) -> None:
        self._powered_down[side] = text
        self._switch_transmitter()
        self._switch_receiver()

    def select(self, where: tuple[str, int], text: str) -> None:
        self._ports[where] = text
        self._switch_transmitter()
        self._switch_receiver()

    def correct(self, text: str) -> None:
        """The driver divides by what it takes the crystal for: too large a value slows everything down."""
        self.front.correct(CRYSTAL / int(text) - 1.0)
        self._tune(RECEIVE)
        self._tune(TRANSMIT)

    def loop(self, text: str) -> None:
        self.front.hear(self.receive, looped=text == "1")

    # -- what is read ------------------------------------------------------------------------------------------------------------------

    def rssi(self, channel: int) -> str:
        self.front.refresh()
        power = to_dbm(max(self.front.listening.power(channel), 1e-18))
        return f"{min(max(round(-4.0 * power) / 4.0, 0.0), 127.75):.2f} dB"

    def temperature(self) -> str:
        """Thousandths of a degree: it warms up within minutes, and wanders a little."""
        now = self.front.now.seconds
        at_rest = seeds.uniform(24.0, 28.0, self.front.world.seed, self.front.name, "temperature", self._label)
        warm = 12.0 * (1.0 - math.exp(-now / 240.0)) + 0.6 * math.sin(2.0 * math.pi * now / 97.0)
        return str(round(1000.0 * (at_rest + warm)))

    def read_gain(self, channel: int) -> str:
        self.front.refresh()
        wrong = self.front.fault("gain-readback-wrong")
        return decibels(self._ignored.get(channel, self.front.listening.gain_db(channel)) + (wrong["error_db"] if wrong else 0.0))
