"""What does not go through the air: cables and couplers between named ports, and the leakage of a radio into itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.units import SPEED_OF_LIGHT, from_db
from sim_backend import seeds
from sim_backend.paths import Itself, Line
from sim_backend.settings import SILENCE_DB

VELOCITY = 0.7 * SPEED_OF_LIGHT  # in a cable with PTFE
LETTERS = {"transmit": "tx", "receive": "rx"}
KEYS = ("from", "to", "gain_db", "length_m", "delay_ns", "exclusive")


@dataclass(frozen=True, slots=True)
class Cable:
    """From a transmit port to a receive port, each (radio, channel). exclusive: neither port has an antenna as well."""

    ports: Mapping[str, tuple[str, int]]  # side -> port
    amplitude: float
    delay: float  # s
    exclusive: bool

    @classmethod
    def parse(cls, table: Mapping[str, Any], channels: Mapping[tuple[str, str], int]) -> Cable:
        """`[[emulated.cable]]`: from = "<radio>.tx<channel>", to = "<radio>.rx<channel>", gain_db, length_m or delay_ns, exclusive.

        channels: (radio, side) -> how many there are. ValueError for what cannot be.
        """
        for key in table:
            if key not in KEYS:
                raise _wrong(key, "unknown key", " | ".join(KEYS))
        ports = {}
        for side, key in (("transmit", "from"), ("receive", "to")):
            known = [f"{radio}.{LETTERS[side]}{n}" for (radio, s), count in channels.items() if s == side for n in range(count)]
            if table.get(key) not in known:
                raise _wrong(key, table.get(key), " | ".join(known))
            radio, channel = str(table[key]).rsplit(f".{LETTERS[side]}", 1)
            ports[side] = radio, int(channel)
        for key in ("gain_db", "length_m", "delay_ns"):
            value = table.get(key, 0.0)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or (key != "gain_db" and not 0.0 <= value <= 1e6):
                raise _wrong(key, value, "a number" if key == "gain_db" else "a number in 0 .. 1e6")
        if "length_m" in table and "delay_ns" in table:
            raise _wrong("delay_ns", table["delay_ns"], "one of length_m and delay_ns")
        if not isinstance(table.get("exclusive", False), bool):
            raise _wrong("exclusive", table["exclusive"], "true or false")
        delay = 1e-9 * table["delay_ns"] if "delay_ns" in table else table.get("length_m", 0.0) / VELOCITY
        return cls(ports, float(np.sqrt(from_db(table.get("gain_db", 0.0)))), delay, table.get("exclusive", False))


def lines(cables: Sequence[Cable], transmitter: str, elements: Sequence[int], receiver: str, antennas: Sequence[int]) -> list[Line]:
    """The cables from one radio to another, a path each. elements, antennas: channels in the order of the ports."""
    found = []
    for cable in cables:
        (tx, e), (rx, a) = cable.ports["transmit"], cable.ports["receive"]
        if tx == transmitter and rx == receiver:
            gain = np.zeros((len(antennas), len(elements)), complex)
            gain[list(antennas).index(a), list(elements).index(e)] = cable.amplitude
            found.append(Line(gain, np.full(gain.shape, cable.delay)))
    return found


def own(radio: str, mean_db: float, seed: int, antennas: int, elements: int) -> Itself:
    """A radio heard by itself: complex Gaussian couplings whose mean power is `mean_db`."""
    rng = seeds.generator(seed, radio, "self-interference")
    draw: NDArray[np.complex128] = rng.standard_normal((antennas, elements)) + 1j * rng.standard_normal((antennas, elements))
    power = 0.0 if mean_db <= SILENCE_DB else from_db(mean_db)
    return Itself(draw * np.sqrt(power / np.mean(np.abs(draw) ** 2)))


def _wrong(key: str, found: Any, allowed: str) -> ValueError:
    return ValueError(f"[emulated] cable.{key}: found {found}; allowed {allowed}")
