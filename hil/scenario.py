"""What is studied: the file `scenario.toml` as a strict, typed, frozen value.

Keys keep the unit they have in the file; methods and properties give SI. The scenario knows no address, port or serial number: which
hardware plays which part is in `hil.testbed`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from hil import quantities, strict, units
from hil.errors import InputError
from hil.strict import Source

Name = Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,32}$")]
strict.PATTERNS[r"^[a-z0-9-]{1,32}$"] = "a-z 0-9 -, at most 32 characters"

Coordinate = Annotated[float, Meta(ge=-1e4, le=1e4)]
Point = tuple[Coordinate, Coordinate, Coordinate]
Component = Annotated[float, Meta(ge=-1, le=1)]
Direction = tuple[Component, Component, Component]


class Signal(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is sent: OFDM with 30 kHz between tones, used tones on both sides of an empty one in the middle."""

    carrier_hz: Annotated[float, Meta(ge=70e6, le=20e9, description="carrier")]
    sample_rate_hz: Annotated[float, Meta(ge=0.5e6, le=1e9, description="of every radio")]
    used_bandwidth_hz: Annotated[float, Meta(ge=0.1e6, le=1e9, description="used tones times their spacing")]
    modulation: Annotated[Literal["qpsk", "16qam", "64qam"], Meta(description="of the payload")]
    payload_symbols: Annotated[int, Meta(ge=1, le=4096, description="OFDM symbols of a measuring frame after its preamble and pilots")]

    @property
    def wavelength(self) -> float:
        """Metres."""
        return units.wavelength(self.carrier_hz)

    @property
    def band_hz(self) -> tuple[float, float]:
        """Lower and upper edge of what is occupied."""
        return self.carrier_hz - self.used_bandwidth_hz / 2, self.carrier_hz + self.used_bandwidth_hz / 2


class User(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Somebody to be served: one receiving antenna."""

    name: Annotated[Name, Meta(description="unique among users and arrays")]
    position_m: Annotated[Point, Meta(description="in the world frame")]


class Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is known about the target before the first echo, and what it must receive."""

    position_m: Annotated[Point, Meta(description="where it is believed to be, world frame")]
    position_std_m: Annotated[float, Meta(gt=0, le=1000, description="standard deviation of that, each coordinate")]
    speed_m_s: Annotated[float, Meta(ge=0, le=1000, description="how fast it moves")]
    floor_dbm: Annotated[float, Meta(ge=-200, le=80, description="least power sent towards it, isotropic equivalent, all transmit arrays")]

    @property
    def floor(self) -> float:
        """Watts."""
        return float(units.from_dbm(self.floor_dbm))


class Rounds(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When the closed loop ends, and whether it radiates while it moves."""

    max: Annotated[int, Meta(ge=1, le=1000, description="rounds of the designer, baselines not counted")]
    stop_change_db: Annotated[float, Meta(ge=0, le=100, description="converged when the promise changes less, two rounds in a row")]
    move: Annotated[Literal["muted", "radiating"], Meta(description="what the transmitters do while antennas travel")]


class Array(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A row of elements on a straight rail; its local x is the direction of travel, 0 at the origin."""

    name: Annotated[Name, Meta(description="unique among users and arrays")]
    role: Annotated[Literal["transmit", "sense"], Meta(description="serves users, or listens for the target's echo")]
    origin_m: Annotated[Point, Meta(description="in the world frame, the middle of the rail")]
    axis: Annotated[Direction, Meta(description="unit vector of local x, the direction of travel")]
    normal: Annotated[Direction, Meta(description="unit vector of local z, of a planar array")] | None = None
    elements: Annotated[int, Meta(ge=1, le=64, description="antennas, in their order along local x")]
    travel_wavelengths: Annotated[float, Meta(ge=0, le=1000, description="length of the rail, half of it to each side of the origin")]
    min_spacing_wavelengths: Annotated[float, Meta(ge=0, le=100, description="least distance between neighbours")]
    element_power_dbm: Annotated[float, Meta(ge=-60, le=40, description="cap per element, always on; role transmit only")] | None = None

    def travel(self, wavelength: float) -> tuple[float, float]:
        """Least and greatest local x, metres."""
        half = self.travel_wavelengths * wavelength / 2
        return -half, half

    def min_spacing(self, wavelength: float) -> float:
        """Metres."""
        return self.min_spacing_wavelengths * wavelength

    @property
    def element_power(self) -> float:
        """Watts that one element may send on average; 0 for an array that only listens."""
        return 0.0 if self.element_power_dbm is None else float(units.from_dbm(self.element_power_dbm))

    def place(self, local_x: float) -> tuple[float, float, float]:
        """World position of local x, metres."""
        x, y, z = (start + local_x * step for start, step in zip(self.origin_m, self.axis))
        return x, y, z


class Planner(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who designs, what it is compared with, how sure it must be and how long it may work."""

    designer: Annotated[str, Meta(pattern=r"^[a-z0-9+-]+$|^[\w.]+:\w+$", description="a listed name, or module:Class of one's own")]
    baselines: Annotated[tuple[Literal["fixed-rzf", "fixed", "sparse", "nominal"], ...], Meta(description="run first, on the same channels")] = ()
    confidence: Annotated[float, Meta(gt=0, lt=1, description="of all uncertainty sets together")]
    steps: Annotated[int, Meta(ge=1, le=1000000, description="work per start; work, not seconds, so that a seed repeats anywhere")]
    starts: Annotated[int, Meta(ge=1, le=1024, description="starting points of the search over positions")] = 8


strict.PATTERNS[r"^[a-z0-9+-]+$|^[\w.]+:\w+$"] = "a listed name, as robust or nominal, or my_module:MyDesigner"


class Scenario(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole of scenario.toml."""

    format: Annotated[Literal["hil.scenario.v1"], Meta(description="first line of the file")]
    name: Annotated[Name, Meta(description="part of the run's name")]
    system: Annotated[Literal["maxmin"], Meta(description="which problem is solved")]
    signal: Signal
    user: Annotated[tuple[User, ...], Meta(min_length=1, description="user u is served by the u-th transmit array")]
    target: Annotated[Target, Meta(description="left out where nothing is sensed")] | None = None
    rounds: Rounds
    array: Annotated[tuple[Array, ...], Meta(min_length=1)]
    design: Planner
    source: Source | None = None

    @property
    def wavelength(self) -> float:
        """Metres."""
        return self.signal.wavelength

    @property
    def transmitters(self) -> tuple[Array, ...]:
        """Arrays that serve users, in the order of the file: transmitter t serves user t."""
        return tuple(array for array in self.array if array.role == "transmit")

    @property
    def sensors(self) -> tuple[Array, ...]:
        """Arrays that listen for the target."""
        return tuple(array for array in self.array if array.role == "sense")

    def part(self, name: str) -> Array | User:
        """The array or user of that name; KeyError for none."""
        parts: tuple[Array | User, ...] = (*self.array, *self.user)
        for part in parts:
            if part.name == name:
                return part
        raise KeyError(name)

    def replace(self, changes: Mapping[str, Any]) -> Scenario:
        """A changed copy, checked again: `{"rounds.max": 4, "array.ap1.elements": 3}`; the paths are those of messages."""
        return _checked(strict.replaced(self, changes))

    def plain(self) -> dict[str, Any]:
        """As dictionaries, lists and scalars, keys as in the file."""
        document = strict.plain(self)
        assert isinstance(document, dict)
        return document


def load(path: Path | str) -> Scenario:
    """Read scenario.toml (or the one in a bench folder); InputError, or InputErrors with every mistake in it."""
    path = Path(path)
    return _checked(strict.parse(path / "scenario.toml" if path.is_dir() else path))


def parse(text: str, file: str = "scenario.toml") -> Scenario:
    """The same from text; `file` is what messages call it."""
    return _checked(strict.parse(file, text.encode()))


def _checked(source: Source) -> Scenario:
    scenario = strict.read(source, Scenario)
    strict.raise_all(check(scenario))
    return scenario


def check(scenario: Scenario) -> list[InputError]:
    """What the types of single keys cannot say: names, unit vectors, lengths, who is served by whom."""
    source = scenario.source
    assert source is not None
    errors = _names(scenario, source)
    for index, array in enumerate(scenario.array):
        errors += _array(array, source, ("array", index))
    errors += _signal(scenario.signal, source)
    served, serving = len(scenario.user), len(scenario.transmitters)
    if served != serving:
        errors.append(
            source.error(
                "unserved",
                "as many users as transmit arrays are wanted: user u is served by transmit array u",
                "user",
                found=f'{served} users, {serving} arrays with role = "transmit"',
                fix="add or remove one or the other",
            )
        )
    if scenario.target is not None and not scenario.sensors:
        errors.append(
            source.error(
                "unsensed",
                "nobody listens for the target",
                "target",
                found='no array with role = "sense"',
                fix="add one, or leave [target] out",
            )
        )
    return errors


def _names(scenario: Scenario, source: Source) -> list[InputError]:
    seen: dict[str, int] = {}
    errors = []
    tables: tuple[tuple[str, tuple[Array | User, ...]], ...] = (("user", scenario.user), ("array", scenario.array))
    for table, entries in tables:
        for index, entry in enumerate(entries):
            if entry.name in seen:
                errors.append(
                    source.error(
                        "duplicate-name",
                        "this name is taken",
                        table,
                        index,
                        "name",
                        found=f'"{entry.name}", first used in line {seen[entry.name]}',
                        fix="users and arrays need different names",
                    )
                )
            seen.setdefault(entry.name, source.line(table, index, "name"))
    return errors


def _array(array: Array, source: Source, path: tuple[str, int]) -> list[InputError]:
    errors = []
    for key, vector in (("axis", array.axis), ("normal", array.normal)):
        if vector is not None and abs((length := math.hypot(*vector)) - 1.0) > 1e-6:
            unit = [round(part / length, 6) for part in vector] if length > 0 else [1.0, 0.0, 0.0]
            errors.append(
                source.error(
                    "not-unit",
                    "a direction is a unit vector",
                    *path,
                    key,
                    found=f"{quantities.toml(vector)}, length {length:.6g}",
                    fix=f"{key} = {quantities.toml(unit)}",
                )
            )
    if array.normal is not None and abs(sum(a * b for a, b in zip(array.axis, array.normal))) > 1e-6:
        errors.append(
            source.error("not-normal", "must stand at right angles to axis", *path, "normal", found=quantities.toml(array.normal))
        )
    if array.role == "transmit" and array.element_power_dbm is None:
        errors.append(
            source.error(
                "missing-key",
                "must be given, there is no default",
                *path,
                "element_power_dbm",
                allowed="-60 ... 40 dBm",
                fix="add element_power_dbm = ...   (cap per element, always on)",
            )
        )
    gaps = array.elements - 1
    need = gaps * array.min_spacing_wavelengths
    if need > array.travel_wavelengths * (1 + 1e-9):
        most = int(array.travel_wavelengths / array.min_spacing_wavelengths + 1e-9) + 1
        spacing, travel = quantities.number(array.min_spacing_wavelengths), quantities.number(array.travel_wavelengths)
        short, roomy = quantities.number(need), quantities.number(need + 1.0)
        errors.append(
            source.error(
                "rail-too-short",
                f"{array.elements} elements do not fit the travel",
                *path,
                "elements",
                found=f"{gaps} gaps x {spacing} = {short} wavelengths, travel {travel}",
                fix=f"elements <= {most}, or travel_wavelengths >= {short} ({roomy} leaves room to move)",
            )
        )
    return errors


def _signal(signal: Signal, source: Source) -> list[InputError]:
    errors = []
    if signal.used_bandwidth_hz > 0.9 * signal.sample_rate_hz:
        errors.append(
            source.error(
                "band-too-wide",
                "the used band does not fit the sampling rate",
                "signal",
                "used_bandwidth_hz",
                found=f"{quantities.frequency(signal.used_bandwidth_hz)} of {quantities.frequency(signal.sample_rate_hz)}",
                allowed=f"at most 0.9 of it, {quantities.frequency(0.9 * signal.sample_rate_hz)}",
            )
        )
    return errors
