"""What a scenario names: signal, users, arrays, targets, cells, and how it is designed for. Keys keep the unit they have in the file."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from hil import strict, units

Name = Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,32}$")]
strict.PATTERNS[r"^[a-z0-9-]{1,32}$"] = "a-z 0-9 -, at most 32 characters"
_BASELINE = r"^[a-z0-9+-]+$"
strict.PATTERNS[_BASELINE] = "a listed name"

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


class Whereabouts(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is known about a target before the first echo."""

    position_m: Annotated[Point, Meta(description="where it is believed to be, world frame")]
    position_std_m: Annotated[float, Meta(gt=0, le=1000, description="standard deviation of that, each coordinate")]
    speed_m_s: Annotated[float, Meta(ge=0, le=1000, description="how fast it moves")]


class Target(Whereabouts, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is known about the target before the first echo, and what it must receive."""

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


class Cell(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A base station with the users it serves and the target it senses."""

    name: Annotated[Name, Meta(description="unique among cells, users and arrays; its target goes by it")]
    transmit: Annotated[str, Meta(description="the array its base station sends with")]
    receive: Annotated[str, Meta(description="the array its base station hears echoes with")]
    users: Annotated[tuple[str, ...], Meta(min_length=1, description="whom it serves; every user belongs to one cell")]
    target: Annotated[Whereabouts, Meta(description="whose angle it estimates")]


class Planner(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who designs, what it is compared with, how sure it must be and how long it may work."""

    designer: Annotated[str, Meta(pattern=r"^[a-z0-9+-]+$|^[\w.]+:\w+$", description="a listed name, or module:Class of one's own")]
    baselines: Annotated[tuple[Annotated[str, Meta(pattern=_BASELINE)], ...], Meta(description="run first, on the same channels")] = ()
    confidence: Annotated[float, Meta(gt=0, lt=1, description="of all uncertainty sets together")]
    steps: Annotated[int, Meta(ge=1, le=1000000, description="work per start; work, not seconds, so that a seed repeats anywhere")]
    starts: Annotated[int, Meta(ge=1, le=1024, description="starting points of the search over positions")] = 8
    asked_db: Annotated[float, Meta(ge=-30, le=60, description="multicell, needed there: SINR that every user is promised")] | None = None
    waveform: Annotated[Literal["ofdm", "single-carrier"], Meta(description="multicell: what carries the payload; left out: ofdm")] | None = None


strict.PATTERNS[r"^[a-z0-9+-]+$|^[\w.]+:\w+$"] = "a listed name, as robust or nominal, or my_module:MyDesigner"
