"""An antenna on its rail: phase against position at stations along the travel, held against a second antenna that stands still."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from hil.clock import VirtualClock
from hil.device import Move
from sim_backend.sounder.budget import budget
from sim_backend.sounder.cable import CARRIER, WAVELENGTH, Cable, antenna, radio
from sim_backend.sounder.estimate import least_squares
from sim_backend.sounder.line import Line
from sim_backend.sounder.waveform import tones
from sim_backend.world import build

PERIOD = 1024
BINS = {0: 100, 1: 120}  # element 0 rides, element 1 stands still; each sends at both signs, so that no delay of a clock counts
RECEIVER = (3.0, 1.2, 0.4)


def stations(emulated: Mapping[str, Any], where: str, tolerance: float, count: int = 21) -> list[Line]:
    """Largest difference between measured phase and -2 pi f d/c of the true positions, both relative to the first station.

    The exact test takes the positions from the stage's own count; with play, scale and straightness on, from the truth.
    """
    exact = emulated.get("severity") == 0.0 and "stage" not in emulated
    axis = {"steps_per_mm": 80.0, "travel_mm": [-400.0, 400.0], "speed_mm_s": 200.0, "acceleration_mm_s2": 1000.0, "start_mm": -200.0}
    table = {key: value for key, value in emulated.items() if key not in ("room", "target", "cable", "fault")}
    rides = antenna("transmit", 0, (0.0, 0.0, 0.0), axis=[0.0, 1.0, 0.0], stage="rail", stage_axis="a", sign=1, offset_m=0.0)
    still = antenna("transmit", 1, (0.0, 0.0, 1.0))
    site = {
        "carrier_hz": CARRIER, "seed": 1, "target": None, "emulated": {**table, "room": {"scatterers": 0}},
        "stages": [{"name": "rail", "axes": {"a": axis}}],
        "radios": [radio("a", [rides, still], 2, 0), radio("b", [antenna("receive", 0, RECEIVER)], 0, 1)],
    }  # fmt: skip
    cable = Cable(build(site, VirtualClock()), gain_db=40.0, attenuation_db=10.0, rate=15.36e6)
    cable.send(np.stack([tones({k: 0.4, -k: 0.4j}, PERIOD) for k in BINS.values()]))
    stage, found, wanted = cable.world.stage("rail"), [], []
    for place in np.linspace(-0.2, 0.2, count):
        at = stage.move(Move({"a": float(place)}, 0.2, 1.0), 60.0)
        position = np.array([0.0, at.axes["a"], 0.0]) if exact else cable.world.truth.elements("a", "transmit")[0]
        found.append(_relative(cable))
        actual = 1.0 + cable.world.truth.oscillator("a")[1]
        wanted.append(-2 * math.pi * CARRIER * actual / 299_792_458.0 * float(np.linalg.norm(position - np.array(RECEIVER))))
    off = np.array([_half(f - found[0], w - wanted[0]) for f, w in zip(found, wanted)])
    span = (wanted[-1] - wanted[0]) / (2 * math.pi) * WAVELENGTH
    worst = float(off[np.argmax(np.abs(off))])
    arithmetic = budget(cable.world, "ab", cable.rate, 0.0)
    return [
        Line(f"element phase, {count} stations, {abs(span) * 1e3:.0f} mm of path", where, 0.0, worst, tolerance, "deg").against(
            arithmetic.degrees, arithmetic.worst
        )
    ]


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
