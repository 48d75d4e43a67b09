"""Cramer-Rao bounds of carrier and delay for a known OFDM signal through an unknown gain."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hil.waveform.numerology import Numerology


@dataclass(frozen=True, slots=True)
class CarrierBounds:
    """Standard deviations at the energy centroid t_c, where the three errors are uncorrelated."""

    cfo_hz: float
    delay_s: float
    phase_rad: float
    time_variance: float  # of the samples used, s^2
    centre_s: float  # t_c, from the first useful sample


def useful_variance(numerology: Numerology) -> float:
    """Variance of the sample times within one useful symbol, s^2: (T_u^2 - dt^2)/12."""
    return ((numerology.fft / numerology.sample_rate_hz) ** 2 - numerology.sample_rate_hz**-2) / 12.0


def carrier_bounds(numerology: Numerology, symbols: int, snr: float) -> CarrierBounds:
    """Bounds of a flat channel, or of one unknown gain per tone (carrier only): M consecutive symbols at `snr` per used tone (a ratio)."""
    energy = 2.0 * snr * numerology.used * symbols
    variance = numerology.symbol_time_s**2 * (symbols**2 - 1) / 12.0 + useful_variance(numerology)
    centre = numerology.symbol_time_s * (symbols - 1) / 2.0 + (numerology.fft - 1) / 2.0 / numerology.sample_rate_hz
    return CarrierBounds(
        cfo_hz=1.0 / math.sqrt(energy * (2.0 * math.pi) ** 2 * variance),
        delay_s=1.0 / math.sqrt(energy * (2.0 * math.pi * numerology.rms_bandwidth_hz) ** 2),
        phase_rad=1.0 / math.sqrt(energy),
        time_variance=variance,
        centre_s=centre,
    )


def block_cfo_bound(samples: int, rate: float, snr: float) -> float:
    """Carrier bound in hertz of a full-band block of n samples at `snr` per sample: var = 6/(snr (2 pi dt)^2 n (n^2 - 1)).

    Rife and Boorstyn 1974, unknown phase and amplitude.
    """
    return math.sqrt(6.0 / (snr * samples * (samples**2 - 1))) * rate / (2.0 * math.pi)
