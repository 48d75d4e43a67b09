"""Delays and gains of ways of known length: a flat multitone, its phase slope, and least squares where ways overlap."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from hil.clock import Instant
from sim_backend.sounder.budget import NOTHING_DB, Budget
from sim_backend.sounder.cable import CARRIER, Cable, delay, lay, loss_db, window
from sim_backend.sounder.estimate import Periods, least_squares
from sim_backend.sounder.line import Line, degrees
from sim_backend.sounder.waveform import flat, tones

PERIOD = 512
SAMPLES = 196 * PERIOD
USED = [k for k in range(-192, 193) if k]
SENT = flat(USED, PERIOD)
USED_HZ = 385 / 512 * 15.36e6


def hear(cable: Cable, samples: int = SAMPLES, channel: int = 0) -> tuple[Periods, float]:
    """Periods of what element 0 sends and the middle's clock lateness: apparent delay = length/c + lateness."""
    airing = cable.send(_on_element(cable, 0))
    heard = cable.listen(samples)
    periods = Periods.of(heard.port[channel], SENT, PERIOD, cable.rate, heard.first - airing.first_tick)
    return periods, cable.lateness(middle(cable, heard.first, periods))


def middle(cable: Cable, first: int, periods: Periods) -> Instant:
    """The true instant that a measured response stands for."""
    tick = cable.world.oscillators["b"].tick(first + periods.middle * PERIOD, int(cable.rate))
    return tick.after((PERIOD - 1) / 2 / cable.rate)


def _on_element(cable: Cable, element: int) -> np.ndarray:
    waveform = np.zeros((cable.transmitter.capability.transmit_channels, PERIOD), complex)
    waveform[element] = tones(SENT, PERIOD)
    return waveform


def one_path(
    emulated: Mapping[str, Any],
    where: str,
    delay_s: float,
    gain_db: float,
    phase_deg: float,
    metres: float = 3.7,
    start: Instant | None = None,
) -> list[Line]:
    """Delay, gain and phase of one way, the first of two elements' to the second of two antennas. Phases drawn at tuning are taken from
    the truth, and so are the chains."""
    cable = lay(emulated, (metres, 1.3 * metres), receive=2, attenuation_db=10.0, start=start)
    periods, late = hear(cable, channel=1)
    chain = complex(cable.sent_gain[0] * cable.heard_gain[1])
    truth = delay(metres) + float(cable.extra_delay[1, 0])
    measured = periods.delay(truth + late) - late
    arithmetic = _budget(cable)
    loss = 20 * math.log10(cable.amplitude()) + loss_db(metres) + 20 * math.log10(abs(chain))
    lines = [
        Line("path delay", where, truth * 1e12, measured * 1e12, delay_s * 1e12, "ps").against(arithmetic.seconds(USED_HZ) * 1e12, arithmetic.worst),
        Line("path gain", where, loss, periods.gain_db, gain_db, "dB").against(arithmetic.decibels, arithmetic.worst),
    ]  # fmt: skip
    airing, (tuning, first) = cable.world.airings()[-1], window(cable.world, "b", SAMPLES)
    at = middle(cable, first, periods)
    (x, _), y = cable.apart(at), cable.world.truth.oscillator("a", at)[1]
    turns = (CARRIER * x) % 1.0 - (CARRIER * (1.0 + y) * truth) % 1.0 + airing.phase - tuning.phase
    expected = 2 * math.pi * turns + float(np.angle(chain))
    found = periods.phase(measured + late)
    off = degrees(found - expected)
    return [
        *lines,
        Line("path phase", where, degrees(expected), degrees(expected) + off, phase_deg, "deg").against(arithmetic.degrees, arithmetic.worst),
    ]


def several(emulated: Mapping[str, Any], where: str, residual_db: float, metres: tuple[float, ...] = (20.0, 50.0, 90.0)) -> list[Line]:
    """Three ways at once, all elements sending the same: gains by least squares on the known delays, and what they leave unexplained."""
    cable = lay(emulated, metres, attenuation_db=0.0)
    airing = cable.send(np.tile(tones(SENT, PERIOD) * 0.6, (len(metres), 1)))
    heard = cable.listen(SAMPLES)
    periods = Periods.of(heard.port[0], SENT, PERIOD, cable.rate, heard.first - airing.first_tick)
    at = middle(cable, heard.first, periods)
    delays = np.array([delay(d) for d in metres]) + cable.extra_delay[0] + cable.lateness(at)
    regressors = np.exp(-1j * np.outer(periods.omega, delays))
    gains = least_squares(regressors, periods.response)
    left = periods.response - regressors @ gains
    unexplained = 10 * np.log10((np.abs(left) ** 2).mean() / (np.abs(periods.response) ** 2).mean())
    arithmetic = _budget(cable, spread_s=delay(metres[-1] - metres[0]))
    lines = [
        Line("several paths, residual", where, residual_db, float(unexplained), 0.0, "dB", at_most=True).against(
            arithmetic.steady_db, arithmetic.worst
        )
    ]
    for d, gain, chain in zip(metres, gains, cable.sent_gain * cable.heard_gain[0]):
        truth = 20 * math.log10(0.6 * cable.amplitude()) + loss_db(d) + 20 * math.log10(abs(chain))
        allowed = 1e-3 if residual_db < -60 else 0.05
        lines.append(Line(f"tap at {d:g} m", where, truth, 20 * math.log10(abs(gain)), allowed, "dB").against(arithmetic.decibels, arithmetic.worst))
    return lines


def _budget(cable: Cable, spread_s: float = 0.0) -> Budget:
    return Budget.of(cable.world, "ab", cable.rate, USED_HZ, spread_s=spread_s, retained_db=NOTHING_DB)
