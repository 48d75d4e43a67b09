"""Automatic gain of a receiver, as a function of the levels at its port: slow steps towards a target, or a fast attack.

Both look at the peak of one cell of samples and set the gain of the next. A window begins with the gain that the cells before it led to.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Law:
    """cell: seconds. target_dbfs: where the peak shall lie. hysteresis_db: how far it may lie from there before the gain moves.
    fall_db, rise_db: most in one step. hold: seconds without an attack before the gain rises. memory: seconds that lead to a gain."""

    cell: float
    target_dbfs: float
    hysteresis_db: float
    fall_db: float
    rise_db: float
    hold: float
    memory: float


LAWS = {
    "slow": Law(1e-3, -12.0, 3.0, 1.0, 1.0, 0.0, 1e-3),
    "fast": Law(10e-6, -6.0, 0.0, math.inf, 1.0, 1e-3, 1e-3),
}


def settled(law: Law, peak_dbm: float, full_scale_dbm: float, reach: tuple[float, float]) -> float:
    """The gain, in whole decibels within reach, at which a steady peak at the port lies on target. full_scale_dbm: at 0 dB of gain."""
    return min(max(float(math.floor(full_scale_dbm + law.target_dbfs - peak_dbm)), reach[0]), reach[1])


def gains(law: Law, start_db: float, peaks_dbm: Sequence[float], full_scale_dbm: float, reach: tuple[float, float]) -> list[float]:
    """Gain in each cell, whole decibels; peaks_dbm: at the port, cell by cell."""
    gain, quiet, out = start_db, 0.0, []
    for peak in peaks_dbm:
        out.append(gain)
        over = peak - (full_scale_dbm - gain) - law.target_dbfs
        quiet += law.cell
        if over > law.hysteresis_db:
            gain, quiet = max(gain - min(math.ceil(over), law.fall_db), reach[0]), 0.0
        elif over < -max(law.hysteresis_db, 1.0) and quiet >= law.hold:
            gain = min(gain + law.rise_db, reach[1])
    return out
