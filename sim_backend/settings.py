"""The `[emulated]` table: how good or bad the emulated hardware is. Everything left out has the quickstart's default."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sim_backend.oscillator import CLASSES

Check = Any  # a predicate and, for messages, what it allows


def _number(least: float = -math.inf, most: float = math.inf) -> Check:
    allowed = "a number" if math.isinf(least) and math.isinf(most) else f"a number in {least:g} .. {most:g}"
    return (lambda v: isinstance(v, (int, float)) and not isinstance(v, bool) and least <= v <= most), allowed


def _whole(least: int, most: int) -> Check:
    return (lambda v: isinstance(v, int) and not isinstance(v, bool) and least <= v <= most), f"a whole number in {least} .. {most}"


def _is_point(value: Any) -> bool:
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence) or len(value) != 3:
        return False
    return all(isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v) for v in value)


def _are_corners(value: Any) -> bool:
    return isinstance(value, Sequence) and len(value) == 2 and all(map(_is_point, value))


def _only(value: Any, later: str) -> Check:
    return (lambda v: v == value), f"{value!r}; {later} is not modelled yet"


def _silent(what: str) -> Check:
    return (lambda v: isinstance(v, (int, float)) and v <= -200.0), f"at most -200 (off); {what} is not modelled yet"


_TABLES: Mapping[str, Mapping[str, Check]] = {
    "oscillator": {
        "class": ((lambda v: v in CLASSES), " | ".join(CLASSES)),
        "spread_ppm": _number(0.0, 1000.0),
        "clock_offset_ns": _number(0.0, 1e9),
    },
    "receiver": {
        "bits": _whole(4, 24),
        "noise_figure_db": _number(-math.inf, 60.0),
        "dc_dbfs": _silent("a receiver's DC"),
        "iq_image_dbc": _silent("IQ imbalance"),
    },
    "amplifier": {"model": _only("linear", "a nonlinear amplifier")},
    "stage": {
        "settle_ms": _number(0.0, 1e5),
        "repeatability_mm": _number(0.0, 10.0),
        "overshoot_mm": _only(0.0, "overshoot"),
        "backlash_mm": _only(0.0, "backlash"),
    },
    "room": {
        "corners_m": (_are_corners, "two opposite corners [[x, y, z], [x, y, z]]"),
        "scatterers": _whole(0, 1000),
        "scatter_db": _number(-200.0, 0.0),
    },
    "target": {
        "position_m": (_is_point, "[x, y, z]"),
        "speed_m_s": _number(-100.0, 100.0),
        "radius_m": _number(0.0, 1000.0),
        "area_m2": _number(0.0, 1e6),
    },
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Emulated:
    """The table, checked."""

    seed: int = 1  # of the devices' imperfections
    oscillator: Mapping[str, Any] = field(default_factory=dict)
    bits: int | None = None  # None: as the part's capability says
    noise_figure_db: float = 7.0
    settle_s: float | None = None  # None: as the stage says
    repeatability_m: float = 20e-6
    corners: tuple[tuple[float, ...], tuple[float, ...]] = ((0.0, -10.0, 0.0), (30.0, 10.0, 4.0))
    scatterers: int = 6
    scatter_db: float = -6.0  # power of a scatterer's path against free space over its own whole length
    target: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, table: Mapping[str, Any]) -> Emulated:
        """ValueError with key, found and allowed for anything unknown, impossible or not modelled yet."""
        known = ("seed", *_TABLES, "cable", "fault")
        for key, value in table.items():
            if key not in known:
                raise _wrong(key, "unknown key", " | ".join(known))
            if key in ("cable", "fault"):
                if value:
                    raise _wrong(key, value, f"an empty list; a {key} is not modelled yet")
            elif key == "seed":
                if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                    raise _wrong(key, value, "a whole number, not negative")
            else:
                _check(key, value)
        receiver, stage, room = (table.get(part, {}) for part in ("receiver", "stage", "room"))
        corners = room.get("corners_m", cls.__dataclass_fields__["corners"].default)
        return cls(
            seed=table.get("seed", 1),
            oscillator=dict(table.get("oscillator", {})),
            bits=receiver.get("bits"),
            noise_figure_db=receiver.get("noise_figure_db", 7.0),
            settle_s=stage["settle_ms"] * 1e-3 if "settle_ms" in stage else None,
            repeatability_m=stage.get("repeatability_mm", 0.02) * 1e-3,
            corners=(tuple(map(float, corners[0])), tuple(map(float, corners[1]))),
            scatterers=room.get("scatterers", 6),
            scatter_db=room.get("scatter_db", -6.0),
            target=dict(table.get("target", {})),
        )


def _check(part: str, table: Any) -> None:
    if not isinstance(table, Mapping):
        raise _wrong(part, table, "a table")
    for key, value in table.items():
        if key not in _TABLES[part]:
            raise _wrong(f"{part}.{key}", "unknown key", " | ".join(_TABLES[part]))
        good, allowed = _TABLES[part][key]
        if not good(value):
            raise _wrong(f"{part}.{key}", value, allowed)


def _wrong(key: str, found: Any, allowed: str) -> ValueError:
    return ValueError(f"[emulated] {key}: found {found}; allowed {allowed}")
