"""Conversions at the edges: inside the code everything is SI (metres, seconds, hertz, watts, radians)."""

from __future__ import annotations

import math

SPEED_OF_LIGHT = 299_792_458.0  # m/s
BOLTZMANN = 1.380649e-23  # J/K
NOISE_TEMPERATURE = 290.0  # K, the reference of every noise figure


def wavelength(carrier_hz: float) -> float:
    """Metres."""
    return SPEED_OF_LIGHT / carrier_hz


def from_db(ratio_db):
    """Power ratio of decibels."""
    return 10.0 ** (ratio_db / 10.0)


def to_db(ratio: float) -> float:
    """Decibels of a power ratio; minus infinity for zero."""
    return 10.0 * math.log10(ratio) if ratio > 0.0 else -math.inf


def from_dbm(power_dbm):
    """Watts of dBm."""
    return 1e-3 * 10.0 ** (power_dbm / 10.0)


def to_dbm(power: float) -> float:
    """dBm of watts."""
    return to_db(power / 1e-3)


def thermal_noise(bandwidth_hz: float, noise_figure_db: float = 0.0) -> float:
    """k T0 B F in watts (T0 = 290 K)."""
    return BOLTZMANN * NOISE_TEMPERATURE * bandwidth_hz * from_db(noise_figure_db)
