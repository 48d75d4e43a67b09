"""An antenna on its rail: phase against position at stations along the travel, held against a second antenna that stands still."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from hil.clock import VirtualClock
from hil.device import Move
from hil.units import SPEED_OF_LIGHT
from sim_backend.sounder.budget import Budget
from sim_backend.sounder.cable import CARRIER, SILENT, WAVELENGTH, Cable, antenna, radio
from sim_backend.sounder.estimate import least_squares
from sim_backend.sounder.line import Line
from sim_backend.sounder.waveform import tones
from sim_backend.world import build

PERIOD = 1024
BINS = {0: 100, 1: 120}  # element 0 rides, element 1 stands still; each sends at both signs, so that no delay of a clock counts
RECEIVER = (3.0, 1.2, 0.4)


def stations(emulated: Mapping[str, Any], where: str, tolerance: float, count: int = 21) -> list[Line]:
    """Largest difference between measured phase and -2 pi f d/c of the positions, both relative to the first station: positions as the
    stage counts them where its table is ideal, else as the truth has them."""
    cable, stage = _lay(emulated), "stage" not in emulated and emulated.get("severity") == 0.0
    found, wanted = [], []
    for place in np.linspace(-0.2, 0.2, count):
        counted = _go(cable, float(place))
        found.append(_relative(cable))
        wanted.append(_phase(cable, counted if stage else cable.world.truth.elements("a", "transmit")[0]))
    off = np.array([_half(f - found[0], w - wanted[0]) for f, w in zip(found, wanted)])
    span = (wanted[-1] - wanted[0]) / (2 * math.pi) * WAVELENGTH
    worst = float(off[np.argmax(np.abs(off))])
    arithmetic = Budget.of(cable.world, "ab", cable.rate, 0.0)
    line = Line(f"element phase, {count} stations, {abs(span) * 1e3:.0f} mm of path", where, 0.0, worst, tolerance, "deg")
    return [line.against(arithmetic.degrees, arithmetic.worst)]


def carriage(where: str, scale: float = 2e-3, play: float = 0.2e-3, tolerance: float = 0.01) -> list[Line]:
    """What a stage does not tell: a scale error, and play, by which a carriage pulled back stands ahead of its count."""
    table = {**SILENT, "stage": {"scale_error": scale, "backlash_mm": play * 1e3}}
    cable = _lay(table)
    steps = [(place, _go(cable, place)[1], _relative(cable)) for place in (-0.1, 0.1, -0.1)]
    (_, low, first), (_, high, second), (_, _, third) = steps

    def change(metres: float, twice: float) -> tuple[float, float]:
        wanted = _phase(cable, np.array([0.0, metres, 0.0])) - _phase(cable, np.array([0.0, low * (1 + scale), 0.0]))
        return math.degrees(wanted), math.degrees(wanted) + _half(twice - first, wanted)

    return [
        Line("carriage with a scale error", where, *change(high * (1 + scale), second), tolerance, "deg"),
        Line("carriage pulled back through its play", where, *change((low + play) * (1 + scale), third), tolerance, "deg"),
    ]


def _lay(emulated: Mapping[str, Any]) -> Cable:
    """A rail along y with one antenna on it and one beside it, and a receiver aside."""
    axis = {"steps_per_mm": 80.0, "travel_mm": [-400.0, 400.0], "speed_mm_s": 200.0, "acceleration_mm_s2": 1000.0, "start_mm": -300.0}
    table = {key: value for key, value in emulated.items() if key not in ("room", "target", "cable", "fault")}
    rides = antenna("transmit", 0, (0.0, 0.0, 0.0), axis=[0.0, 1.0, 0.0], stage="rail", stage_axis="a", sign=1, offset_m=0.0)
    still = antenna("transmit", 1, (0.0, 0.0, 1.0))
    site = {
        "carrier_hz": CARRIER, "seed": 1, "emulated": {**table, "room": {"scatterers": 0}},
        "stages": [{"name": "rail", "axes": {"a": axis}}],
        "radios": [radio("a", [rides, still], 2, 0), radio("b", [antenna("receive", 0, RECEIVER)], 0, 1)],
    }  # fmt: skip
    cable = Cable(build(site, VirtualClock()), gain_db=40.0, attenuation_db=10.0, rate=15.36e6)
    cable.send(np.stack([tones({k: 0.4, -k: 0.4j}, PERIOD) for k in BINS.values()]))
    return cable


def _go(cable: Cable, place: float) -> np.ndarray:
    """Where the count says the riding antenna is after a move, (3,) metres."""
    at = cable.world.stage("rail").move(Move({"a": place}, 0.2, 1.0), 60.0)
    return np.array([0.0, at.axes["a"], 0.0])


def _phase(cable: Cable, position: np.ndarray) -> float:
    """Radians of the way from a position to the receiver, at the carrier as it runs."""
    actual = 1.0 + cable.world.truth.oscillator("a")[1]
    return -2 * math.pi * CARRIER * actual / SPEED_OF_LIGHT * float(np.linalg.norm(position - np.array(RECEIVER)))


def _half(twice: float, wanted: float) -> float:
    """Degrees between an angle of which only the double is known and the one it should be."""
    return math.degrees(math.remainder(twice - 2 * wanted, 2 * math.pi) / 2)


def _relative(cable: Cable) -> float:
    """Twice the carrier phase of the riding element less that of the still one, radians."""
    heard = cable.listen(20 * PERIOD)
    n = np.arange(heard.port.shape[1])
    y = cable.apart(heard.middle)[1]
    cycles = np.array([sign * k / PERIOD for k in BINS.values() for sign in (1, -1)]) * (1.0 + y) + CARRIER * y / cable.rate
    c = least_squares(np.exp(2j * np.pi * ((np.outer(n - n.mean(), cycles)) % 1.0)), heard.port[0])
    return float(np.angle(c[0] * c[1] * (c[2] * c[3]).conj()))
