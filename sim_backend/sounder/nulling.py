"""Interference rejection: two antennas that cancel at a receiver, by weights worked out from the geometry alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from hil.units import from_dbm
from sim_backend.sounder.budget import Budget
from sim_backend.sounder.cable import Cable, delay, lay, loss_db
from sim_backend.sounder.line import Line
from sim_backend.sounder.waveform import tones

PERIOD, BIN = 1024, 64
METRES = (2.0, 2.9)


def rejection(emulated: Mapping[str, Any], where: str, bar_db: float, samples: int = 100 * PERIOD) -> list[Line]:
    """Power at the receiver with weights that null over that with weights that add, a tone per weight."""
    cable = lay(emulated, METRES, attenuation_db=20.0)
    f = cable.carrier * (1.0 + cable.world.truth.oscillator("a")[1]) + BIN / PERIOD * cable.rate
    late = np.array([delay(d) for d in METRES]) + cable.extra_delay[0]
    h = np.array([10 ** (loss_db(d) / 20) for d in METRES]) * np.exp(-2j * math.pi * ((f * late) % 1.0)) * cable.sent_gain
    level = []
    for weights in (h.conj() / np.abs(h), np.array([h[1], -h[0]])):
        weights = 0.9 * weights / np.abs(weights).max() * min(1.0, abs(h[1] / h[0]))
        weights *= np.linalg.norm(h) / np.linalg.norm(weights) / np.abs(h).max() * 0.5
        cable.send(weights[:, None] * tones({BIN: 1.0}, PERIOD))
        level.append(_power(cable, samples))
    arithmetic = Budget.of(cable.world, "ab", cable.rate, 0.0, spread_s=delay(METRES[1] - METRES[0]))
    code = from_dbm(cable.receiver.capability.receive_full_scale_dbm - cable.gain_db) / 4.0 ** (cable.receiver.capability.bits - 1)
    measured = 10 * math.log10(max(level[1], code) / level[0])  # what lies below one code is not seen
    return [Line("interference rejection", where, bar_db, measured, 0.0, "dB", at_most=True).against(arithmetic.steady_db, arithmetic.worst)]


def _power(cable: Cable, samples: int) -> float:
    heard = cable.listen(samples)
    y = cable.apart(heard.middle)[1]
    cycles = BIN / PERIOD * (1 + y) + cable.carrier * y / cable.rate
    blocks = (heard.port[0] * np.exp(-2j * np.pi * ((cycles * np.arange(samples)) % 1.0))).reshape(-1, PERIOD).mean(axis=1)
    return float((np.abs(blocks) ** 2).mean())
