"""What a fractional-N synthesiser and a numerically controlled oscillator make of a frequency that is asked of them."""

from __future__ import annotations

REFERENCE = 80_000_000  # Hz, behind the doubler
MODULUS = 8_388_593
VCO = 6_000_000_000  # Hz, its lower end; LO = VCO / 2^k
ACCUMULATOR = 1 << 16  # of the tone generators of a converter core


def lo(asked: int) -> int:
    """Hertz that an AD936x is tuned to, as its driver states it: in whole steps of 2."""
    halvings, vco = 0, asked
    while vco <= VCO:
        vco, halvings = vco << 1, halvings + 1
    whole, rest = divmod(vco, REFERENCE)
    fraction = (rest * MODULUS + REFERENCE // 2) // REFERENCE
    return (REFERENCE * whole + REFERENCE * fraction // MODULUS >> halvings + 1) << 1


def increment(frequency: float, rate: int) -> int:
    """Steps of the accumulator per sample, for the nearest tone there is."""
    return round(frequency * ACCUMULATOR / rate) % ACCUMULATOR


def tone(steps: int, rate: int) -> int:
    """Hertz of so many steps per sample, as a driver reads it back."""
    return round(steps * rate / ACCUMULATOR)
