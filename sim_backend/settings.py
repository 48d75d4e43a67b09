"""The `[emulated]` table: how good or bad the emulated hardware is, as final values in SI units.

`severity` scales every value that is left out: 1 is the quickstart's hardware, 2 has everything twice as bad, 0 is ideal but for thermal
noise and the converters' bits. A value that is written is taken as written. Decibels of an amplitude at or below -200 mean none of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sim_backend.oscillator import CLASSES

Table = Mapping[str, Any]
MODELS = ("linear", "rapp", "cubic", "saleh", "memory")
SILENCE_DB = -200.0


class Key(NamedTuple):
    """One key of a table: what it may be, and what it is when left out."""

    good: Any  # a predicate
    allowed: str
    default: Any = None
    grows: str = ""  # with severity: "" not at all, "times" in proportion, "decibels" as an amplitude in decibels

    def value(self, severity: float) -> Any:
        if self.grows == "times":
            return self.default * severity
        if self.grows == "decibels":
            return self.default + 20.0 * math.log10(severity) if severity > 0.0 else -math.inf
        return self.default


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isnan(value)


def _number(least: float = -math.inf, most: float = math.inf, default: float | None = None, grows: str = "") -> Key:
    allowed = "a number" if math.isinf(least) and math.isinf(most) else f"a number in {least:g} .. {most:g}"
    return Key(lambda v: _is_number(v) and least <= v <= most, allowed, default, grows)


def _numbers(count: int | None, what: str) -> Key:
    def good(value: Any) -> bool:
        return _is_list(value) and (count is None or len(value) == count) and all(_is_number(v) and math.isfinite(v) for v in value)

    return Key(good, what)


def _whole(least: int, most: int, default: int | None = None) -> Key:
    return Key(
        lambda v: isinstance(v, int) and not isinstance(v, bool) and least <= v <= most, f"a whole number in {least} .. {most}", default
    )


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def _is_point(value: Any) -> bool:
    return _is_list(value) and len(value) == 3 and all(_is_number(v) and math.isfinite(v) for v in value)


def _are_corners(value: Any) -> bool:
    return _is_list(value) and len(value) == 2 and all(map(_is_point, value))


def _are_taps(value: Any) -> bool:
    def good(tap: Any) -> bool:
        return _is_list(tap) and len(tap) == 4 and all(map(_is_number, tap)) and tap[0] in (1, 3, 5, 7, 9) and 0.0 <= tap[1] <= 1e4

    return _is_list(value) and len(value) > 0 and all(map(good, value)) and len({tap[1] for tap in value}) <= 3


_TABLE_LIST = Key(lambda v: _is_list(v) and all(isinstance(item, Mapping) for item in v), "a list of tables", ())
_SWITCH = Key(lambda v: isinstance(v, bool), "true or false", False)
_PHASE = Key(lambda v: v == "uniform" or (_is_number(v) and 0.0 <= v <= 360.0), '"uniform" or degrees rms in 0 .. 360', "uniform")
_CHAIN = {"chain_db": _number(0.0, 20.0, 0.5, "times"), "chain_phase": _PHASE, "chain_delay_ps": _number(0.0, 1e6, 50.0, "times")}

_KEYS: Mapping[str, Mapping[str, Key]] = {
    "oscillator": {
        "class": Key(lambda v: v in CLASSES, " | ".join(CLASSES), "tcxo"),
        "spread_ppm": _number(0.0, 1000.0),
        "clock_offset_ns": _number(0.0, 1e9),
        "phase_noise_deg": _number(0.0, 30.0, 0.45),
        "site_drift_rad": _number(0.0, 1000.0, 0.01, "times"),
        "shared_lo": _SWITCH,
    },
    "transmitter": {
        "iq_image_dbc": _number(-math.inf, 0.0, -50.0, "decibels"),
        "leakage_dbc": _number(-math.inf, 0.0, -50.0, "decibels"),
        "attenuator_error_db": _number(0.0, 5.0, 0.05, "times"),
        "attenuator_phase_deg": _number(0.0, 180.0, 3.0, "times"),
        **_CHAIN,
    },
    "receiver": {
        "bits": _whole(4, 24),
        "noise_figure_db": _number(-math.inf, 60.0),
        "dc_dbfs": _number(-math.inf, 0.0, -50.0, "decibels"),
        "iq_image_dbc": _number(-math.inf, 0.0, -50.0, "decibels"),
        "gain_error_db": _number(0.0, 5.0, 0.2, "times"),
        "gain_phase_deg": _number(0.0, 180.0, 3.0, "times"),
        "iip3_dbm": _number(-100.0, 100.0),
        **_CHAIN,
    },
    "amplifier": {
        "model": Key(lambda v: v in MODELS, " | ".join(MODELS), "rapp"),
        "gain_db": _number(-60.0, 60.0, 0.0),
        "saturation_dbm": _number(-60.0, 80.0, 20.0),
        "smoothness": _number(0.5, 20.0, 2.0),
        "am_pm_rad_per_w": _numbers(None, "[c1, c2, ...], radians of |x|^2, |x|^4, ..."),
        "beta3_per_w": _numbers(2, "[real, imaginary] per watt, relative to the small-signal gain"),
        "hold": _SWITCH._replace(default=True),
        "saleh_per_w": _numbers(3, "[b, c, d] per watt"),
        "taps": Key(_are_taps, "[[odd order, delay_ns, real, imaginary], ...], at most three delays"),
    },
    "stage": {
        "overshoot_mm": _number(0.0, 10.0, 0.15, "times"),
        "settle_ms": _number(0.0, 1e5),
        "backlash_mm": _number(0.0, 10.0, 0.05, "times"),
        "scale_error": _number(-0.1, 0.1, 1e-4, "times"),
        "lead_error_um": _number(0.0, 1e4, 20.0, "times"),
        "straightness_um": _number(0.0, 1e4, 50.0, "times"),
        "repeatability_mm": _number(0.0, 10.0, 0.02),
    },
    "room": {
        "corners_m": Key(_are_corners, "two opposite corners [[x, y, z], [x, y, z]]", ((0.0, -10.0, 0.0), (30.0, 10.0, 4.0))),
        "scatterers": _whole(0, 1000, 6),
        "scatter_db": _number(-200.0, 0.0, -6.0),
        "wall": _TABLE_LIST,
        "pattern": Key(lambda v: isinstance(v, (str, Mapping)), "a name or a table", "isotropic"),
        "self_interference_db": _number(-math.inf, 20.0, -70.0),
    },
    "target": {
        "position_m": Key(_is_point, "[x, y, z]"),
        "speed_m_s": _number(-100.0, 100.0),
        "radius_m": _number(0.0, 1000.0),
        "area_m2": _number(0.0, 1e6),
        "points_m": Key(lambda v: _is_list(v) and len(v) > 0 and all(map(_is_point, v)), "[[x, y, z], ...] from the target's centre"),
    },
}


@dataclass(frozen=True, slots=True)
class Chain:
    """What cables and analogue stages of one channel add, fixed for a device's life."""

    gain_db: float  # rms
    phase: float  # radians rms; infinite: anything is as likely
    delay: float  # s, within +- of it

    @classmethod
    def of(cls, values: Table) -> Chain:
        phase = math.inf if values["chain_phase"] == "uniform" else math.radians(values["chain_phase"])
        return cls(values["chain_db"], phase, values["chain_delay_ps"] * 1e-12)


@dataclass(frozen=True, slots=True)
class Transmitter:
    """Amplitudes: the image against the signal, the leakage against full scale at 0 dB."""

    image: float
    leakage: float
    attenuator_db: float  # each setting is off by up to so much
    attenuator_phase: float  # radians for every 10 dB, up to so much
    chain: Chain


@dataclass(frozen=True, slots=True)
class Receiver:
    """Amplitudes: the image against the signal, the offset against full scale."""

    bits: int | None  # None: as the part's capability says
    noise_figure_db: float
    dc: float
    image: float
    gain_db: float  # each setting is off by up to so much
    gain_phase: float  # radians for every 10 dB, up to so much
    intercept_dbm: float | None  # of third order, at the port; None: the front end never compresses
    chain: Chain


@dataclass(frozen=True, slots=True)
class Carriages:
    """Metres and seconds; what no stage tells."""

    overshoot: float
    settle: float | None  # None: as the stage says
    backlash: float
    scale_error: float
    lead_error: float
    straightness: float
    repeatability: float


@dataclass(frozen=True, slots=True)
class Emulated:
    """The table, checked, with what was left out filled in."""

    seed: int  # of the devices' imperfections
    severity: float
    oscillator: Table  # class, spread_ppm, clock_offset_ns, as `oscillator.draw` reads them
    phase_noise: float  # radians rms
    site_drift: float  # radians rms after one second between two radios on one reference; grows as the square root of time
    shared_lo: bool  # transmit and receive synthesiser of a device are one
    transmitter: Transmitter
    receiver: Receiver
    amplifier: Table  # as `amplifier.make` reads it
    stage: Carriages
    corners: tuple[tuple[float, ...], tuple[float, ...]]
    scatterers: int
    scatter_db: float  # power of a scatterer's path against free space over its own whole length
    walls: tuple[Table, ...]
    pattern: str | Table
    self_interference_db: float  # mean power of a radio heard by itself
    target: Table
    cables: tuple[Table, ...] = field(default=())
    faults: tuple[Table, ...] = field(default=())

    @classmethod
    def parse(cls, table: Table) -> Emulated:
        """ValueError with key, found and allowed for anything unknown or impossible."""
        known = ("seed", "severity", *_KEYS, "cable", "fault")
        for key, value in table.items():
            if key not in known:
                raise _wrong(key, "unknown key", " | ".join(known))
            if key in ("cable", "fault"):
                _require(_TABLE_LIST, key, value)
            elif key == "seed":
                _require(Key(lambda v: isinstance(v, int) and not isinstance(v, bool) and v >= 0, "a whole number, not negative"), key, value)
            elif key == "severity":
                _require(_number(0.0, 100.0), key, value)
            else:
                _check(key, value)
        severity = float(table.get("severity", 1.0))
        part = {name: {key: kind.value(severity) for key, kind in keys.items()} | dict(table.get(name, {})) for name, keys in _KEYS.items()}
        written = {name: table.get(name, {}) for name in _KEYS}
        transmitter, receiver, stage, room = (part[name] for name in ("transmitter", "receiver", "stage", "room"))
        if severity == 0.0:
            for name in ("transmitter", "receiver"):
                part[name]["chain_phase"] = written[name].get("chain_phase", 0.0)
        return cls(
            seed=table.get("seed", 1),
            severity=severity,
            oscillator=_oscillator(written["oscillator"], severity),
            phase_noise=math.radians(part["oscillator"]["phase_noise_deg"] if severity else written["oscillator"].get("phase_noise_deg", 0.0)),
            site_drift=part["oscillator"]["site_drift_rad"],
            shared_lo=part["oscillator"]["shared_lo"],
            transmitter=Transmitter(
                _amplitude(transmitter["iq_image_dbc"]), _amplitude(transmitter["leakage_dbc"]), transmitter["attenuator_error_db"],
                math.radians(transmitter["attenuator_phase_deg"]), Chain.of(transmitter),
            ),
            receiver=Receiver(
                receiver["bits"], written["receiver"].get("noise_figure_db", 7.0 + 3.0 * max(0.0, severity - 1.0)),
                _amplitude(receiver["dc_dbfs"]), _amplitude(receiver["iq_image_dbc"]), receiver["gain_error_db"],
                math.radians(receiver["gain_phase_deg"]), receiver["iip3_dbm"], Chain.of(receiver),
            ),
            amplifier=_amplifier(part["amplifier"], written["amplifier"], severity),
            stage=Carriages(
                stage["overshoot_mm"] * 1e-3, None if stage["settle_ms"] is None else stage["settle_ms"] * 1e-3, stage["backlash_mm"] * 1e-3,
                stage["scale_error"], stage["lead_error_um"] * 1e-6, stage["straightness_um"] * 1e-6, stage["repeatability_mm"] * 1e-3,
            ),
            corners=tuple(tuple(map(float, corner)) for corner in room["corners_m"]),  # type: ignore[arg-type]
            scatterers=room["scatterers"],
            scatter_db=room["scatter_db"],
            walls=tuple(room["wall"]),
            pattern=room["pattern"],
            self_interference_db=room["self_interference_db"],
            target=dict(written["target"]),
            cables=tuple(table.get("cable", ())),
            faults=tuple(table.get("fault", ())),
        )  # fmt: skip


def _oscillator(written: Table, severity: float) -> Table:
    """Without severity an oscillator whose class nobody wrote is perfect; a class that is written keeps its own noise."""
    name = written.get("class", "tcxo" if severity else "perfect")
    kind = CLASSES[name]
    spread = 3.0 if name == "tcxo" else kind.spread * 1e6
    late = 50.0 if kind.disciplined else 300.0
    return {"class": name, "spread_ppm": spread * severity, "clock_offset_ns": late * severity} | {
        key: written[key] for key in ("spread_ppm", "clock_offset_ns") if key in written
    }


def _amplifier(values: dict[str, Any], written: Table, severity: float) -> Table:
    if severity == 0.0 and not written:
        values["model"] = "linear"
    needs = {"beta3_per_w": "cubic", "hold": "cubic", "saleh_per_w": "saleh", "taps": "memory"}
    for key, model in needs.items():
        if key in written and values["model"] != model:
            raise _wrong(f"amplifier.{key}", f"model {values['model']}", f'this key with model = "{model}" only')
    if values["model"] == "memory" and values["taps"] is None:
        raise _wrong("amplifier.taps", "none", _KEYS["amplifier"]["taps"].allowed)
    return values


def _amplitude(decibels: float) -> float:
    return 0.0 if decibels <= SILENCE_DB else 10.0 ** (decibels / 20.0)


def _check(part: str, table: Any) -> None:
    if not isinstance(table, Mapping):
        raise _wrong(part, table, "a table")
    for key, value in table.items():
        if key not in _KEYS[part]:
            raise _wrong(f"{part}.{key}", "unknown key", " | ".join(_KEYS[part]))
        _require(_KEYS[part][key], f"{part}.{key}", value)


def _require(kind: Key, key: str, value: Any) -> None:
    if not kind.good(value):
        raise _wrong(key, value, kind.allowed)


def _wrong(key: str, found: Any, allowed: str) -> ValueError:
    return ValueError(f"[emulated] {key}: found {found}; allowed {allowed}")
