"""A bench of the sounder's own: one transmitter, one receiver, and nothing else in the room but the way between them.

Transmit element e lies `metres[e]` from every receive antenna, so the truth is elementary: delay d/c, amplitude wavelength/(4 pi d).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.clock import Instant, VirtualClock
from hil.device import Capture, Setting
from hil.units import SPEED_OF_LIGHT, from_dbm, wavelength
from sim_backend.history import Airing, Tuning
from sim_backend.world import World, build

CARRIER, RATE = 3.5e9, 15.36e6
WAVELENGTH = wavelength(CARRIER)
SILENT: Mapping[str, Any] = {  # exact: clocks that are off but steady, and receivers that add nothing
    "severity": 0.0,
    "oscillator": {"class": "perfect", "spread_ppm": 3.0, "clock_offset_ns": 300.0},
    "receiver": {"noise_figure_db": -1000.0, "bits": 24},
}
CAPABILITY: Mapping[str, Any] = {
    "carrier_hz": [70e6, 6e9],
    "sample_rate_hz": [0.5e6, 61.44e6],
    "receive_gain_db": [-3.0, 71.0],
    "receive_gain_step_db": 1.0,
    "attenuation_db": [0.0, 89.75],
    "attenuation_step_db": 0.25,
    "bits": 12,
    "transmit_full_scale_dbm": 7.0,
    "receive_full_scale_dbm": -10.0,
    "reports_first_sample": True,
}


def window(world: World, name: str, samples: int) -> tuple[Tuning, int]:
    """How a radio was tuned at the end of its latest capture, and the tick of the first of its `samples`. A capture that begins while a
    setting comes about is kept in pieces."""
    tuning, tick, count = world.truth.windows(name)[-1]
    return tuning, tick + count - samples


def delay(metres: float) -> float:
    """Seconds."""
    return metres / SPEED_OF_LIGHT


def loss_db(metres: float) -> float:
    """Power gain of a way in free space (negative)."""
    return 20.0 * math.log10(WAVELENGTH / (4.0 * math.pi * metres))


@dataclass(frozen=True, eq=False)
class Heard:
    """port: (channel, sample) square-root watts at the port, as the reported gain says. first: tick of the receiver's sample clock."""

    port: NDArray[np.complex128]
    capture: Capture
    first: int
    middle: Instant  # true

    @property
    def rate(self) -> float:
        return self.capture.sample_rate_hz


class Cable:
    """The bench, its two radios (or one that hears itself) and how they are set. `world.truth` is asked for what elementary geometry cannot tell."""

    def __init__(self, world: World, gain_db: float, attenuation_db: float, rate: float, carrier: float = CARRIER) -> None:
        self.world = world
        self.transmitter, self.receiver = world.radio("a"), world.radio("b" if "b" in world.radios else "a")
        self.gain_db, self.attenuation_db, self.rate, self.carrier = gain_db, attenuation_db, rate, carrier
        self._version = 0
        self.tune()

    def tune(self, gain_db: float | None = None, attenuation_db: float | None = None) -> None:
        """Set both radios anew; what is left out stays."""
        self.gain_db = self.gain_db if gain_db is None else gain_db
        self.attenuation_db = self.attenuation_db if attenuation_db is None else attenuation_db
        for radio in (self.transmitter, self.receiver):
            limits = radio.capability
            radio.configure(
                Setting(self.carrier, self.rate, (self.gain_db,) * limits.receive_channels, (self.attenuation_db,) * limits.transmit_channels)
            )

    def send(self, waveform: NDArray[np.complex128]) -> Airing:
        """Put (element, sample) or (sample,) on the air and wait until it has arrived."""
        self._version += 1
        self.transmitter.load(self._version, np.atleast_2d(waveform).astype(np.complex64))
        self.transmitter.apply(self._version)
        self.world.advance(1e-3)
        return self.world.airings()[-1]

    def listen(self, samples: int) -> Heard:
        capture = self.receiver.capture(samples, 60.0)
        full = np.sqrt(from_dbm(self.receiver.capability.receive_full_scale_dbm - np.array(capture.gain_db)))
        tuning, first = window(self.world, self.receiver.name, samples)
        middle = tuning.oscillator.tick(first + samples // 2, tuning.rate)
        return Heard(capture.samples.astype(complex) * full[:, None], capture, first, middle)

    def amplitude(self) -> float:
        """Square-root watts at the antenna port of a full-scale tone, by the attenuation that was asked for."""
        return math.sqrt(from_dbm(self.transmitter.capability.transmit_full_scale_dbm - self.attenuation_db))

    @property
    def sent_gain(self) -> NDArray[np.complex128]:
        """(element,) what the transmit chains really are against nominal, for a small signal at the carrier."""
        return self.world.chains("a", self.transmitter.setting.attenuation_db).small_signal

    @property
    def heard_gain(self) -> NDArray[np.complex128]:
        """(channel,) what the receive chains really are against nominal."""
        return self.world.front("b", self.receiver.setting.receive_gain_db).small_signal

    @property
    def extra_delay(self) -> NDArray[np.float64]:
        """(channel, element) seconds that the chains add."""
        room = self.world.room
        return room.chain_delay("b", "receive")[:, None] + room.chain_delay("a", "transmit")

    def apart(self, at: Instant) -> tuple[float, float]:
        """(x, y) of the transmitter's oscillator less the receiver's."""
        (tx, ty), (rx, ry) = (self.world.truth.oscillator(name, at) for name in ("a", "b"))
        return tx - rx, ty - ry

    def lateness(self, at: Instant) -> float:
        """Seconds by which the transmitter's clock is late against the receiver's at a true instant."""
        return self.world.truth.clock_offset("a") - self.world.truth.clock_offset("b") - self.apart(at)[0]


def lay(
    emulated: Mapping[str, Any],
    metres: Sequence[float] = (1.0,),
    *,
    receive: int = 1,
    gain_db: float = 40.0,
    attenuation_db: float = 20.0,
    rate: float = RATE,
    seed: int = 1,
    start: Instant | None = None,
    transmit: Mapping[str, Any] | None = None,
    **more: Any,
) -> Cable:
    """A cable per transmit element to `receive` antennas. emulated: the table; its room and its target are left out.

    transmit: fields of the transmitter's capability that differ; more: further keys of the site.
    """
    table = {key: value for key, value in emulated.items() if key not in ("room", "target", "cable", "fault")}
    table["room"] = {"scatterers": 0}
    sends = [antenna("transmit", channel, (-d, 0.0, 0.0)) for channel, d in enumerate(metres)]
    hears = [antenna("receive", channel, (0.0, 0.0, 0.0)) for channel in range(receive)]
    site = {
        "carrier_hz": CARRIER, "seed": seed, "stages": [], "emulated": table,
        "radios": [radio("a", sends, len(metres), 0, **(transmit or {})), radio("b", hears, 0, receive)], **more,
    }  # fmt: skip
    return Cable(build(site, VirtualClock(start)), gain_db, attenuation_db, rate)


def antenna(side: str, channel: int, origin: Sequence[float], **more: Any) -> dict[str, Any]:
    return {"transmit": None, "receive": None, side: channel, "origin_m": list(origin), "axis": [1.0, 0.0, 0.0], "gain_dbi": 0.0} | more


def radio(name: str, antennas: list[dict[str, Any]], transmit: int, receive: int, **capability: Any) -> dict[str, Any]:
    fields = {**CAPABILITY, "transmit_channels": transmit, "receive_channels": receive, **capability}
    return {"name": name, "serial": f"sounder-{name}", "part": "sounder", "capability": fields, "antennas": antennas}
