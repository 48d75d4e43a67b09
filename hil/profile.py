"""Profiles of radios and stages (firmware_configs/*.toml, or a bench's own profiles/): applied, read back, compared."""

from __future__ import annotations

import dataclasses
import importlib.resources
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from hil import quantities, strict
from hil.device import Capability, Tolerance
from hil.errors import InputError
from hil.fir import Fir
from hil.fir import parse as parse_fir
from hil.parts import capability
from hil.strict import Source

PACKAGE = "firmware_configs"

Hertz = Annotated[float, Meta(gt=0, le=100e9)]
Millimetres = Annotated[float, Meta(ge=-1e5, le=1e5)]
Range = tuple[Hertz, Hertz]
strict.PATTERNS[r"^(>=|<=|==)?\d+(\.\d+)*$"] = "a version, perhaps after >=, <= or =="


class Tuning(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where a scenario may tune the radio."""

    carrier_hz: Annotated[Range, Meta(description="least and greatest carrier")]
    sample_rate_hz: Annotated[Range, Meta(description="least and greatest sampling rate")]


class Filter(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Filters of the signal path."""

    fir: Annotated[str, Meta(description="FIR file in the part's own format; left out: the part's default")] | None = None
    bandwidth_hz: Annotated[float, Meta(gt=0, le=1e9, description="analogue bandwidth")]


class Gain(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Gains a radio starts with; the level step of a run sets receive gains anew."""

    receive_mode: Annotated[Literal["manual"], Meta(description="automatic gain would change amplitudes between captures")]
    receive_db: Annotated[float, Meta(ge=-20, le=100, description="receive gain, every channel")]
    attenuation_db: Annotated[float, Meta(ge=0, le=100, description="transmit attenuation, every channel")]


class Tracking(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Corrections the part makes on its own."""

    quadrature: Annotated[bool, Meta(description="image rejection")]
    rf_dc: Annotated[bool, Meta(description="DC offset before the mixer")]
    baseband_dc: Annotated[bool, Meta(description="DC offset after it")]


class Ports(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which of a chip's antenna ports are switched to its channels, in the part's own words."""

    receive: Annotated[str, Meta(min_length=1, description="A_BALANCED, B_BALANCED, C_BALANCED, A_N, A_P ...")]
    transmit: Annotated[str, Meta(min_length=1, description="A or B")]


class Protection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Beyond this the driver mutes, whatever a licence or a node would permit."""

    temperature_c: Annotated[float, Meta(ge=-40, le=150, description="of the chip; warmer, nothing is put on the air")]


class Deviation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How far a setting read back may lie from what was asked; beyond it: did not take."""

    lo_hz: Annotated[float, Meta(ge=0, le=1e6, description="carrier")]
    sample_rate_hz: Annotated[float, Meta(ge=0, le=1e6, description="sampling rate")]
    gain_db: Annotated[float, Meta(ge=0, le=10, description="gains and attenuations")]

    @property
    def values(self) -> Tolerance:
        return Tolerance(carrier_hz=self.lo_hz, sample_rate_hz=self.sample_rate_hz, gain_db=self.gain_db)


class RadioProfile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole of a radio profile."""

    format: Annotated[Literal["hil.radio.v1"], Meta(description="first line of the file")]
    part: Annotated[Literal["pluto", "ad9361", "fmcomms5", "ad9081"], Meta(description="what the radio is")]
    firmware: Annotated[str, Meta(pattern=r"^(>=|<=|==)?\d+(\.\d+)*$", description="wanted on the device")]
    channels: Annotated[int, Meta(ge=1, le=64, description="each way; only for a part whose boards differ in it (ad9081, ad9361)")] | None = None
    range: Tuning
    filter: Filter
    gain: Gain
    tracking: Tracking
    tolerance: Deviation
    ports: Annotated[Ports, Meta(description="left out: as the part comes")] | None = None
    limits: Annotated[Protection, Meta(description="left out: only the part's own")] | None = None
    evm_db: Annotated[float, Meta(ge=-200, le=0, description="error the part itself adds to what it sends or hears: phase noise, images")] = -200.0
    source: Source | None = None

    def capability(self, serial: str) -> Capability:
        """The part's capability, narrowed to this profile's ranges."""
        whole = capability(self.part, serial, self.firmware.lstrip("<>="), self.channels)
        return dataclasses.replace(whole, carrier_hz=self.range.carrier_hz, sample_rate_hz=self.range.sample_rate_hz)

    @property
    def fir(self) -> Fir | None:
        """The filter that `filter.fir` names."""
        return None if self.filter.fir is None or self.source is None else parse_fir(_beside(self.source, self.filter.fir).read_text())

    @property
    def fitting(self) -> dict[str, Any]:
        """What a driver sets beside a `hil.device.Setting`, in plain values: bandwidth, filter, tracking, ports, protection, tolerances."""
        return {
            "bandwidth_hz": self.filter.bandwidth_hz,
            "fir": None if self.fir is None else self.fir.text,
            "tracking": {} if self.part == "ad9081" else msgspec.structs.asdict(self.tracking),
            "ports": None if self.ports is None else msgspec.structs.asdict(self.ports),
            "temperature_c": None if self.limits is None else self.limits.temperature_c,
            "tolerance": dataclasses.asdict(self.tolerance.values),
        }


class Axis(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One axis of a stage and the carriage on it."""

    steps_per_mm: Annotated[float, Meta(gt=0, le=1e6, description="motor steps")]
    travel_mm: Annotated[tuple[Millimetres, Millimetres], Meta(description="soft limits")]
    speed_mm_s: Annotated[float, Meta(gt=0, le=1e4, description="greatest speed")]
    acceleration_mm_s2: Annotated[float, Meta(gt=0, le=1e6, description="of every ramp")]
    home: Annotated[Literal["-", "+"], Meta(description="end with the switch")]
    carriage_mm: Annotated[float, Meta(ge=0, le=1e4, description="width along the axis; neighbours keep at least this")]

    @property
    def travel(self) -> tuple[float, float]:
        """Metres."""
        return self.travel_mm[0] * 1e-3, self.travel_mm[1] * 1e-3

    @property
    def speed(self) -> float:
        """m/s."""
        return self.speed_mm_s * 1e-3

    @property
    def acceleration(self) -> float:
        """m/s^2."""
        return self.acceleration_mm_s2 * 1e-3

    @property
    def carriage(self) -> float:
        """Metres."""
        return self.carriage_mm * 1e-3


class Arrival(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When a move has ended: read-back inside the tolerance, then settled."""

    tolerance_mm: Annotated[float, Meta(gt=0, le=100, description="read-back from what was asked")]
    settle_ms: Annotated[float, Meta(ge=0, le=60000, description="wait after that")]
    approach: Annotated[Literal["+", "-"], Meta(description="side from which a position is taken, against backlash")]
    accuracy_mm: Annotated[float, Meta(ge=0, le=100, description="std of an element about its read-back: scale, lead, straightness of rail")] = 0.0

    @property
    def accuracy(self) -> float:
        """Metres."""
        return self.accuracy_mm * 1e-3

    @property
    def tolerance(self) -> float:
        """Metres."""
        return self.tolerance_mm * 1e-3

    @property
    def settle(self) -> float:
        """Seconds."""
        return self.settle_ms * 1e-3


class StageProfile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole of a stage profile."""

    format: Annotated[Literal["hil.stage.v1"], Meta(description="first line of the file")]
    controller: Annotated[Literal["grbl-1.1", "grblhal", "zaber-ascii"], Meta(description="what is spoken on the port")]
    axis: Annotated[Mapping[str, Axis], Meta(min_length=1, description="by its name")]
    soft_limits: Annotated[Literal[True], Meta(description="a controller without them is refused")]
    arrival: Arrival
    source: Source | None = None


def radio_profile(source: Source) -> RadioProfile:
    """A radio profile, checked against its part."""
    profile = strict.read(source, RadioProfile)
    whole = capability(profile.part, "", channels=profile.channels)
    errors = []
    if profile.channels not in (None, whole.receive_channels):
        found, has = str(profile.channels), f"{whole.receive_channels}, or leave it out"
        errors.append(source.error("beyond-part", f"part `{profile.part}` has a fixed number of channels", "channels", found=found, allowed=has))
    if profile.part == "ad9361" and profile.channels is not None and profile.channels % 2:
        found = str(profile.channels)
        errors.append(source.error("beyond-part", "each `ad9361` has two channels", "channels", found=found, allowed="a multiple of 2"))
    for key, wanted, limits in (
        ("carrier_hz", profile.range.carrier_hz, whole.carrier_hz),
        ("sample_rate_hz", profile.range.sample_rate_hz, whole.sample_rate_hz),
    ):
        errors += ordered(source, wanted, "range", key)
        if wanted[0] < limits[0] or wanted[1] > limits[1]:
            errors.append(beyond_part(source, profile.part, span(wanted), span(limits), "range", key))
    for key, value, within in (
        ("receive_db", profile.gain.receive_db, whole.receive_gain_db),
        ("attenuation_db", profile.gain.attenuation_db, whole.attenuation_db),
    ):
        if not within[0] <= value <= within[1]:
            errors.append(beyond_part(source, profile.part, f"{value:g} dB", f"{within[0]:g} ... {within[1]:g} dB", "gain", key))
    if profile.filter.fir is not None:
        errors += _fir_errors(source, profile.filter.fir)
    strict.raise_all(errors)
    return profile


def _beside(source: Source, name: str) -> Any:
    """A file that a profile names: paths start at the profile, those of profiles that came with hil inside their package."""
    if source.file.startswith(f"{PACKAGE}/"):
        return importlib.resources.files(PACKAGE).joinpath(name)
    return Path(source.file).parent / name


def _fir_errors(source: Source, name: str) -> list[InputError]:
    file = _beside(source, name)
    if not file.is_file():
        fix = "paths start at the file that holds them"
        return [source.error("no-file", "there is no such file", "filter", "fir", found=name, fix=fix)]
    try:
        parse_fir(file.read_text())
    except (ValueError, OSError) as error:
        return [source.error("bad-filter", "this FIR file cannot be used", "filter", "fir", found=f"{name}: {error}")]
    return []


def stage_profile(source: Source) -> StageProfile:
    """A stage profile, its travels in order."""
    profile = strict.read(source, StageProfile)
    strict.raise_all([error for name, axis in profile.axis.items() for error in ordered(source, axis.travel_mm, "axis", name, "travel_mm")])
    return profile


def beyond_part(source: Source, part: str, found: str, limits: str, *path: str) -> InputError:
    return source.error("beyond-part", f"part `{part}` cannot do this", *path, found=found, allowed=limits)


def span(pair: tuple[float, float]) -> str:
    """Two frequencies as a range."""
    return f"{quantities.frequency(pair[0])} ... {quantities.frequency(pair[1])}"


def ordered(source: Source, pair: tuple[float, float], *path: str | int) -> list[InputError]:
    """An error where a range ends before it begins."""
    if pair[0] < pair[1]:
        return []
    return [source.error("empty-range", "the first must be less than the second", *path, found=quantities.toml(list(pair)))]


def find(name: str, folder: Path | None) -> Source | None:
    """The file of a profile: the bench's own profiles/NAME.toml, else the one that came with hil; None when neither exists."""
    if folder is not None and (own := folder / "profiles" / f"{name}.toml").is_file():
        return strict.parse(own)
    shipped = importlib.resources.files(PACKAGE).joinpath(f"{name}.toml")
    return strict.parse(name, shipped.read_bytes(), f"{PACKAGE}/{name}.toml") if shipped.is_file() else None


def names(folder: Path | None) -> list[str]:
    """Profiles that `find` would find."""
    shipped = [entry.name for entry in importlib.resources.files(PACKAGE).iterdir()]
    own = [entry.name for entry in (folder / "profiles").glob("*.toml")] if folder is not None else []
    return sorted({name.removesuffix(".toml") for name in shipped + own if name.endswith(".toml")})
