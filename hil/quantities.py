"""Units as suffixes of keys: which suffix means what, and how to say a value in another unit of the same quantity."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import NamedTuple


class Unit(NamedTuple):
    """A key's suffix: its quantity, its name in a sentence, its symbol, and how many of the quantity's base unit it is.

    For a logarithmic unit `factor` is that of the linear quantity it refers to.
    """

    quantity: str
    words: str
    symbol: str
    factor: float
    logarithmic: bool = False


UNITS: dict[str, Unit] = {
    "hz": Unit("frequency", "hertz", "Hz", 1.0),
    "khz": Unit("frequency", "kilohertz", "kHz", 1e3),
    "mhz": Unit("frequency", "megahertz", "MHz", 1e6),
    "ghz": Unit("frequency", "gigahertz", "GHz", 1e9),
    "s": Unit("time", "seconds", "s", 1.0),
    "ms": Unit("time", "milliseconds", "ms", 1e-3),
    "us": Unit("time", "microseconds", "us", 1e-6),
    "ns": Unit("time", "nanoseconds", "ns", 1e-9),
    "m": Unit("length", "metres", "m", 1.0),
    "cm": Unit("length", "centimetres", "cm", 1e-2),
    "mm": Unit("length", "millimetres", "mm", 1e-3),
    "um": Unit("length", "micrometres", "um", 1e-6),
    "wavelengths": Unit("wavelengths", "wavelengths", "wavelengths", 1.0),
    "m_s": Unit("speed", "metres per second", "m/s", 1.0),
    "mm_s": Unit("speed", "millimetres per second", "mm/s", 1e-3),
    "mm_min": Unit("speed", "millimetres per minute", "mm/min", 1e-3 / 60),
    "m_s2": Unit("acceleration", "metres per second squared", "m/s^2", 1.0),
    "mm_s2": Unit("acceleration", "millimetres per second squared", "mm/s^2", 1e-3),
    "w": Unit("power", "watts", "W", 1.0),
    "mw": Unit("power", "milliwatts", "mW", 1e-3),
    "uw": Unit("power", "microwatts", "uW", 1e-6),
    "dbm": Unit("power", "dBm", "dBm", 1e-3, logarithmic=True),
    "dbw": Unit("power", "dBW", "dBW", 1.0, logarithmic=True),
    "db": Unit("ratio", "decibels", "dB", 1.0, logarithmic=True),
    "dbi": Unit("gain", "dBi", "dBi", 1.0, logarithmic=True),
    "ppm": Unit("fraction", "parts per million", "ppm", 1e-6),
    "ppb": Unit("fraction", "parts per billion", "ppb", 1e-9),
    "ppm_s": Unit("drift", "parts per million per second", "ppm/s", 1.0),
    "deg": Unit("angle", "degrees", "deg", math.pi / 180),
    "rad": Unit("angle", "radians", "rad", 1.0),
    "c": Unit("temperature", "degrees Celsius", "C", 1.0),
    "bit": Unit("information", "bits", "bit", 1.0),
    "per_mm": Unit("per length", "per millimetre", "/mm", 1.0),
}

_QUANTITY = re.compile(r"\s*([-+]?\d[\d_]*(?:\.\d+)?(?:[eE][-+]?\d+)?)\s*([A-Za-z/^0-9]*)\s*")


def split(key: str) -> tuple[str, str]:
    """Stem and unit suffix of a key: `carrier_hz` is ("carrier", "hz"), `elements` is ("elements", "")."""
    parts = key.split("_")
    for take in (2, 1):
        suffix = "_".join(parts[-take:])
        if len(parts) > take and suffix in UNITS:
            return "_".join(parts[:-take]), suffix
    return key, ""


def unit_of(key: str) -> Unit | None:
    """The unit that a key's suffix states, if it states one."""
    return UNITS.get(split(key)[1])


def converted(value: float, given: str, wanted: str) -> float | None:
    """`value` in suffix `given` as a number in suffix `wanted`; None where the quantities differ."""
    a, b = UNITS.get(given), UNITS.get(wanted)
    if a is None or b is None or a.quantity != b.quantity:
        return None
    linear = a.factor * 10.0 ** (value / 10.0) if a.logarithmic else a.factor * value
    if not b.logarithmic:
        return linear / b.factor
    return 10.0 * math.log10(linear / b.factor) if linear > 0.0 else None


def parse(text: str) -> tuple[float, str] | None:
    """Number and suffix of a quantity written as text, ("3.5 GHz" -> 3.5, "ghz"); suffix "" for a bare number."""
    match = _QUANTITY.fullmatch(text)
    if match is None:
        return None
    symbol = match[2].lower()
    for suffix, unit in UNITS.items():
        if symbol == unit.symbol.lower():
            return float(match[1]), suffix
    return (float(match[1]), "") if not symbol else None


def number(value: object) -> str:
    """A number as one would write it in the file: 3.5e9, 15.36e6, -20.0, 4, 0.05."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return toml(value)
    if isinstance(value, int):
        return str(value)
    if not math.isfinite(value):
        return str(value)
    value = float(f"{value:.12g}")
    if value == 0.0 or 1e-3 <= abs(value) < 1e5:
        return str(value)
    exact = Decimal(f"{value:.12g}").normalize()
    exponent = 3 * (exact.adjusted() // 3)
    return f"{exact.scaleb(-exponent):f}e{exponent}"


def toml(value: object) -> str:
    """A plain value as TOML would spell it on one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return number(value)
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(item)}" for key, item in value.items()) + " }" if value else "{}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    return str(value)


def frequency(hertz: float, places: int = 3) -> str:
    """Hertz with a fitting prefix and at least `places` decimals: 2.500 GHz, 2.4835 GHz, 1.35 MHz."""
    for factor, symbol in ((1e9, "GHz"), (1e6, "MHz"), (1e3, "kHz")):
        if abs(hertz) >= factor:
            return f"{decimals(hertz / factor, places)} {symbol}"
    return f"{decimals(hertz, 0)} Hz"


def decimals(value: float, least: int) -> str:
    """Up to six decimals, at least `least`, no zeros beyond those."""
    whole, _, fraction = f"{value:.6f}".partition(".")
    fraction = fraction.rstrip("0").ljust(least, "0")
    return f"{whole}.{fraction}" if fraction else whole
