"""Carriers and sampling clocks: by the phase, by the delay, and by both with something that moves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from hil.clock import VirtualClock
from hil.units import SPEED_OF_LIGHT
from sim_backend.sounder.budget import Budget
from sim_backend.sounder.cable import CARRIER, Cable, antenna, lay, radio
from sim_backend.sounder.estimate import Periods, least_squares, phases, straight, strongest
from sim_backend.sounder.line import Line
from sim_backend.sounder.taps import PERIOD, SENT, USED_HZ
from sim_backend.sounder.waveform import tones
from sim_backend.world import build

REACH = 1024
RADIUS = 20.0  # metres, of the target's circle


def offsets(emulated: Mapping[str, Any], where: str, cfo_hz: float, sfo_ppm: float, seconds: float = 0.1, samples: int = 1_000_000) -> list[Line]:
    """Carrier offset by phase regression over 100 ms; sampling offset by the drift of the delay over 1e6 samples, against the carrier's.

    The truth of both is the same regression on what the oscillators really did: within 100 ms a real one wanders by hertz.
    """
    cable = lay(emulated)
    cable.send(tones({0: 0.5}, PERIOD))
    heard = cable.listen(round(seconds * cable.rate))
    guess = strongest(heard.port[0][: 1 << 16])
    place, phase = phases(heard.port[0], guess, REACH)
    measured = (straight(place, phase)[0] / (2 * math.pi) + guess) * cable.rate
    truth = straight(place / cable.rate, CARRIER * cable_errors(cable, heard.first, place))[0]
    arithmetic = Budget.of(cable.world, "ab", cable.rate, 0.0)
    lines = [Line("carrier offset", where, truth, measured, cfo_hz, "Hz").against(arithmetic.hertz(seconds), arithmetic.worst)]

    airing = cable.send(tones(SENT, PERIOD))
    heard = cable.listen(samples)
    periods = Periods.of(heard.port[0], SENT, PERIOD, cable.rate, heard.first - airing.first_tick)
    drift = straight(periods.positions / cable.rate, periods.track[1])[0] * 1e6
    turned = straight(periods.positions / cable.rate, periods.turned)[0] / (2 * math.pi)
    x = cable_errors(cable, heard.first, periods.positions)
    truth = -straight(periods.positions / cable.rate, x)[0] * 1e6
    arithmetic = Budget.of(cable.world, "ab", cable.rate, USED_HZ)
    ppm = 2e6 * arithmetic.seconds(USED_HZ) / (samples / cable.rate)
    lines.append(Line("sampling offset", where, truth, drift, sfo_ppm, "ppm").against(ppm, arithmetic.worst))
    lines.append(Line("sampling offset against carrier", where, -turned / CARRIER * 1e6, drift, sfo_ppm, "ppm").against(ppm, arithmetic.worst))
    return lines


def itself(emulated: Mapping[str, Any], where: str, tolerance: float) -> list[Line]:
    """A device heard by itself has one oscillator: no carrier offset at all."""
    table = {key: value for key, value in emulated.items() if key not in ("room", "target", "cable", "fault")}
    ports = [antenna("transmit", 0, (0.0, 0.0, 0.0)), antenna("receive", 0, (0.1, 0.0, 0.0))]
    site = {
        "carrier_hz": CARRIER, "seed": 1, "stages": [], "emulated": {**table, "room": {"scatterers": 0}},
        "radios": [radio("a", ports, 1, 1)],
    }  # fmt: skip
    cable = Cable(build(site, VirtualClock()), gain_db=40.0, attenuation_db=10.0, rate=15.36e6)
    cable.send(tones({16: 0.5}, 64))
    heard = cable.listen(round(0.02 * cable.rate))
    place, phase = phases(heard.port[0], 16 / 64, REACH)
    return [Line("carrier offset of a device to itself", where, 0.0, straight(place, phase)[0] / (2 * math.pi) * cable.rate, tolerance, "Hz")]


def cable_errors(cable: Cable, first: int, place: np.ndarray) -> np.ndarray:
    """x of the transmitter less that of the receiver, seconds, at samples `first` + place of the receiver."""
    oscillator = cable.world.oscillators[cable.receiver.name]
    some = np.append(place[: -1 : max(1, place.size // 256)], place[-1])  # what oscillators do is smooth over milliseconds
    out = np.empty(some.size)
    for i, p in enumerate(some):
        whole = math.floor(p)
        at = oscillator.tick(first + whole, int(cable.rate)).after((p - whole) / cable.rate)
        out[i] = cable.apart(at)[0]
    return np.interp(place, some, out)


def doppler(emulated: Mapping[str, Any], where: str, tolerance: float) -> list[Line]:
    """A large target at 20 m/s, both ways round its circle: the bend of its echo's phase, beside the still path, against the geometry."""
    lines = []
    for speed in (20.0, -20.0):
        site = {
            "carrier_hz": CARRIER, "seed": 3, "stages": [],
            "emulated": {**{k: v for k, v in emulated.items() if k not in ("room", "target", "cable", "fault")}, "room": {"scatterers": 0},
                         "target": {"position_m": [0.0, 0.0, 0.0], "speed_m_s": speed, "radius_m": RADIUS, "area_m2": 1e6}},
            "radios": [radio("a", [antenna("transmit", 0, (40.0, -30.0, 0.0))], 1, 0), radio("b", [antenna("receive", 0, (40.0, 30.0, 0.0))], 0, 1)],
        }  # fmt: skip
        cable = Cable(build(site, VirtualClock()), gain_db=20.0, attenuation_db=0.0, rate=15.36e6)
        cable.send(tones({0: 0.9}, 64))
        heard = cable.listen(round(0.1 * cable.rate))
        place, bare = _blocks(heard.port[0], 512)
        t = place / cable.rate
        x = cable_errors(cable, heard.first, place)
        unturned = bare * np.exp(-2j * np.pi * ((CARRIER * x) % 1.0))
        measured = _echo(t, unturned)
        arithmetic = Budget.of(cable.world, "ab", cable.rate, 0.0, acceleration=2 * speed**2 / RADIUS)
        line = Line(f"Doppler, {speed:+.0f} m/s", where, _rate(cable, heard.middle), measured, tolerance, "Hz")
        lines.append(line.against(arithmetic.hertz(0.1), arithmetic.worst))
    return lines


def _blocks(samples: np.ndarray, reach: int) -> tuple[np.ndarray, np.ndarray]:
    count = samples.size // reach
    return (np.arange(count) + 0.5) * reach - 0.5, samples[: count * reach].reshape(count, reach).mean(axis=1)


def _echo(t: np.ndarray, heard: np.ndarray) -> float:
    """Hertz at mid-capture of what moves in `heard`, what stands still solved for beside it."""
    u = 2 * (t - t.mean()) / (t[-1] - t[0])
    still = 0.0
    for _ in range(12):
        fitted = np.polynomial.Polynomial.fit(u, np.unwrap(np.angle(heard - still)), 8, domain=[-1, 1])
        turn = np.exp(1j * fitted(u))
        still = least_squares(np.stack([np.ones(t.size), *(turn * u**j for j in range(6))], axis=1), heard)[0]
    return float(fitted.deriv()(0.0)) / (2 * math.pi) * 2 / (t[-1] - t[0])


def _rate(cable: Cable, at: Any) -> float:
    """-f d(length)/dt / c of the target's path, by differences of exact positions."""

    def length(when: Any) -> float:
        target = cable.world.truth.target(when)[0]
        ends = cable.world.truth.elements("a", "transmit", when)[0], cable.world.truth.elements("b", "receive", when)[0]
        return float(sum(np.linalg.norm(target - end) for end in ends))

    h = 1e-4
    slope = (8 * (length(at.after(h)) - length(at.after(-h))) - (length(at.after(2 * h)) - length(at.after(-2 * h)))) / (12 * h)
    return -CARRIER * (1.0 + cable.world.truth.oscillator("a", at)[1]) * slope / SPEED_OF_LIGHT
