"""Where the antennas, the scatterers and the targets of a world are at any instant, and the paths between them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.clock import Instant
from hil.units import SPEED_OF_LIGHT, from_db
from sim_backend import seeds
from sim_backend.faults import Faults
from sim_backend.motion import EXACT, Journey, Walker
from sim_backend.obstacles import Obstacles
from sim_backend.paths import Cosine, Echo, Itself, Path, Rays, Scatterers, Sight, Wall, trace
from sim_backend.settings import Emulated
from sim_backend.wiring import Cable, lines, own

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Antenna:
    """An antenna on a channel, at origin + axis (offset + sign x reading of its stage axis), metres."""

    channel: int
    origin: Floats
    axis: Floats
    offset: float
    stage: str | None
    stage_axis: str | None
    sign: float
    amplitude: float  # square root of the power gain
    normal: Floats  # unit vector, the axis of its pattern

    @property
    def aside(self) -> Floats:
        """Unit vector across the axis, horizontal where that is one."""
        level = np.array([-self.axis[1], self.axis[0], 0.0])
        length = float(np.linalg.norm(level))
        return level / length if length > 0.0 else np.array([1.0, 0.0, 0.0])

    @classmethod
    def parse(cls, item: Mapping[str, Any], side: str) -> Antenna:
        return cls(
            channel=int(item[side]),
            origin=np.array(item["origin_m"], float),
            axis=np.array(item.get("axis", (1.0, 0.0, 0.0)), float),
            offset=float(item.get("offset_m", 0.0)),
            stage=item.get("stage"),
            stage_axis=item.get("stage_axis"),
            sign=float(item.get("sign", 1)),
            amplitude=float(np.sqrt(from_db(item.get("gain_dbi", 0.0)))),
            normal=_unit(item.get("normal", (0.0, 0.0, 1.0))),
        )


def antennas(radio: Mapping[str, Any], side: str, cables: Sequence[Cable] = ()) -> tuple[Antenna, ...]:
    """The antennas of one side (`transmit` or `receive`) of a radio, in the order of their channels; a port that only a cable is on is one
    that radiates nothing."""
    found = {int(item[side]): Antenna.parse(item, side) for item in radio["antennas"] if item.get(side) is not None}
    for cable in cables:
        name, channel = cable.ports[side]
        if name == radio["name"] and (cable.exclusive or channel not in found):
            port = found.get(channel) or Antenna.parse({side: channel, "origin_m": (0.0, 0.0, 0.0)}, side)
            found[channel] = replace(port, amplitude=0.0)
    return tuple(found[channel] for channel in sorted(found))


@dataclass(frozen=True, eq=False)
class Fittings:
    """What a room has besides antennas, scatterers and targets."""

    walls: tuple[Wall, ...] = ()
    cables: tuple[Cable, ...] = ()
    self_interference_db: float = -70.0  # mean power of a radio heard by itself
    seed: int = 1
    exponent: float | None = None  # of the antennas' cosine pattern; None: isotropic
    target_points: Floats = field(default_factory=lambda: np.zeros((1, 3)))  # (point, 3) metres from a target's centre

    def own(self, radio: str, antennas: int, elements: int) -> Itself:
        """How a radio hears itself."""
        return own(radio, self.self_interference_db, self.seed, antennas, elements)

    @classmethod
    def of(cls, emulated: Emulated, cables: tuple[Cable, ...], seed: int) -> Fittings:
        """ValueError for a wall or a pattern that cannot be."""
        return cls(
            tuple(_wall(item) for item in emulated.walls), cables, emulated.self_interference_db, seed, _exponent(emulated.pattern),
            np.array(emulated.target.get("points_m", [[0.0, 0.0, 0.0]]), float),
        )  # fmt: skip


def _wall(item: Mapping[str, Any]) -> Wall:
    """point_m [x, y, z], normal [x, y, z], reflection_db (default 0: a conductor)."""
    known = ("point_m", "normal", "reflection_db")
    for key in item:
        if key not in known:
            raise ValueError(f"[emulated] room.wall.{key}: found unknown key; allowed {' | '.join(known)}")
    for key in known[:2]:
        if np.shape(item.get(key, ())) != (3,) or (key == "normal" and not np.any(item[key])):
            raise ValueError(f"[emulated] room.wall.{key}: found {item.get(key)}; allowed [x, y, z]{', not zero' * (key == 'normal')}")
    loss = item.get("reflection_db", 0.0)
    if not isinstance(loss, (int, float)) or isinstance(loss, bool) or loss > 0.0:
        raise ValueError(f"[emulated] room.wall.reflection_db: found {loss}; allowed a number, at most 0")
    return Wall(np.array(item["point_m"], float), _unit(item["normal"]), -float(np.sqrt(from_db(loss))))


def _exponent(pattern: Any) -> float | None:
    """"isotropic", or {exponent}: power cos^exponent of the angle to an antenna's normal, nothing behind it."""
    if pattern == "isotropic":
        return None
    if isinstance(pattern, Mapping) and set(pattern) == {"exponent"} and isinstance(pattern["exponent"], (int, float)) and pattern["exponent"] >= 0:
        return float(pattern["exponent"])
    raise ValueError(f'[emulated] room.pattern: found {pattern}; allowed "isotropic" or {{exponent = a number, not negative}}')


def _unit(vector: Any) -> Floats:
    found = np.array(vector, float)
    return found / float(np.linalg.norm(found))


@dataclass(frozen=True, eq=False)
class Target:
    """Who walks, and the radar cross-section in m^2."""

    walker: Walker
    area: float = 1.0


class Room:
    """Antennas on their stages, scatterers and targets: the `Scene` of a world."""

    def __init__(
        self,
        carrier_hz: float,
        transmit: Mapping[str, tuple[Antenna, ...]],
        receive: Mapping[str, tuple[Antenna, ...]],
        journeys: Mapping[str, Journey],
        scatterers: Scatterers | None,
        targets: Mapping[str, Target],
        fittings: Fittings | None = None,
    ) -> None:
        self.carrier = carrier_hz
        self.wavelength = SPEED_OF_LIGHT / carrier_hz
        self._sides = {"transmit": transmit, "receive": receive}
        self._journeys = journeys
        self.scatterers = scatterers
        self.targets = dict(targets)
        self.obstacles = Obstacles(Faults())
        self.chain_delays: dict[tuple[str, str], Floats] = {}  # (radio, side) -> (antenna,) seconds; none where missing
        self.fittings = fittings or Fittings()
        self._sight = Sight()
        self._tracked: tuple[Sequence[Instant], dict[str, Floats]] | None = None  # the latest answers
        self._read: dict[str, tuple[Sequence[Instant], list[dict[str, float]]]] = {}

    def channels(self, radio: str, side: str) -> NDArray[np.int64]:
        """(antenna,) the channels the antennas of one side hang on."""
        return np.array([antenna.channel for antenna in self._sides[side][radio]], np.int64)

    def chain_delay(self, radio: str, side: str) -> Floats:
        """(antenna,) seconds by which what lies between converter and antenna delays the channels of one side."""
        return self.chain_delays.get((radio, side), np.zeros(len(self._sides[side][radio])))

    def positions(self, radio: str, side: str, at: Sequence[Instant]) -> Floats:
        """(instant, antenna, 3) metres of the antennas of one side of a radio."""
        elements = self._sides[side][radio]
        out = np.empty((len(at), len(elements), 3))
        for e, antenna in enumerate(elements):
            if antenna.stage is None:
                out[:, e] = antenna.origin + antenna.axis * antenna.offset
            else:
                axis = str(antenna.stage_axis)
                carriage = self._journeys[antenna.stage].carriages.get(axis, EXACT)
                along = np.array([reading[axis] for reading in self._readings(antenna.stage, at)])
                across = np.array([carriage.across(position) for position in along])
                out[:, e] = antenna.origin + antenna.axis * (antenna.offset + antenna.sign * along)[:, None] + antenna.aside * across[:, None]
        return out

    def _readings(self, stage: str, at: Sequence[Instant]) -> list[dict[str, float]]:
        """Where the carriages of a stage really are. The same list of instants is asked for again and again: it is answered once."""
        known = self._read.get(stage)
        if known is None or known[0] is not at:
            known = self._read[stage] = at, self._journeys[stage].course(at)
        return known[1]

    def moves_within(self, transmitter: str, receiver: str, begin: Instant, end: Instant) -> bool:
        if self.obstacles.changes_within(transmitter, receiver, begin, end):
            return True
        return any(self._journeys[stage].moves_within(begin, end) for stage in self._stages(transmitter, receiver))

    def place(self, transmitter: str, receiver: str, at: Instant) -> Hashable:
        stages = [tuple(self._journeys[stage].at(at).values()) for stage in self._stages(transmitter, receiver)]
        return *stages, self.obstacles.state(transmitter, receiver, at)

    def static(self, transmitter: str, receiver: str, at: Sequence[Instant]) -> Rays:
        fittings, channels = self.fittings, [self.channels(transmitter, "transmit").tolist(), self.channels(receiver, "receive").tolist()]
        first: Path = self._sight if transmitter != receiver else fittings.own(transmitter, len(channels[1]), len(channels[0]))
        cables = lines(fittings.cables, transmitter, channels[0], receiver, channels[1])
        return self._trace([first, *([self.scatterers] if self.scatterers else []), *fittings.walls, *cables], transmitter, receiver, at)

    def moving(self, transmitter: str, receiver: str, at: Sequence[Instant]) -> Rays:
        if not self.targets:
            shape = len(at), 0, len(self._sides["receive"][receiver]), len(self._sides["transmit"][transmitter])
            return Rays(np.zeros(shape), np.zeros(shape, complex))
        known = self._tracked
        if known is None or known[0] is not at:  # every transmission asks for the same instants
            known = self._tracked = at, {name: target.walker.track(at) for name, target in self.targets.items()}
        points = self.fittings.target_points
        echoes = [Echo(known[1][name][:, None] + points, target.area, several=True) for name, target in self.targets.items()]
        delay, gain = self._trace(echoes, transmitter, receiver, at)
        there = np.stack([self.obstacles.target(name, at) for name in self.targets], axis=1)  # (instant, target)
        return Rays(delay, gain * np.repeat(there, len(points), axis=1)[:, :, None, None])

    def _trace(self, paths: Sequence[Path], transmitter: str, receiver: str, at: Sequence[Instant]) -> Rays:
        t, r = self.positions(transmitter, "transmit", at), self.positions(receiver, "receive", at)
        gains = np.outer(self._amplitudes(receiver, "receive"), self._amplitudes(transmitter, "transmit"))
        delay, gain = trace(paths, t, r, self.wavelength, gains, self._pattern(transmitter, receiver))
        delay = delay + self.chain_delay(receiver, "receive")[:, None] + self.chain_delay(transmitter, "transmit")
        return Rays(delay, gain * self.obstacles.passes(transmitter, receiver, at))

    def _pattern(self, transmitter: str, receiver: str) -> Cosine | None:
        if self.fittings.exponent is None:
            return None
        normals = [np.array([a.normal for a in self._sides[side][radio]]) for side, radio in (("transmit", transmitter), ("receive", receiver))]
        return Cosine(self.fittings.exponent, *normals)

    def _amplitudes(self, radio: str, side: str) -> Floats:
        return np.array([antenna.amplitude for antenna in self._sides[side][radio]])

    def _stages(self, transmitter: str, receiver: str) -> list[str]:
        sides = self._sides["transmit"][transmitter] + self._sides["receive"][receiver]
        return sorted({antenna.stage for antenna in sides if antenna.stage})


def draw_scatterers(emulated: Emulated, seed: int) -> Scatterers | None:
    """Points anywhere in the room with a uniform phase each."""
    if not emulated.scatterers:
        return None
    rng = seeds.generator(seed, "scatterers")
    low, high = np.sort(np.array(emulated.corners), axis=0)
    positions = rng.uniform(low, high, (emulated.scatterers, 3))
    phase = np.exp(2j * np.pi * rng.uniform(size=emulated.scatterers))
    return Scatterers(positions, np.sqrt(from_db(emulated.scatter_db)) * phase)


def draw_targets(emulated: Emulated, priors: Sequence[Mapping[str, Any]], seed: int) -> dict[str, Target]:
    """Who walks, by name. Each centre is drawn around its prior, horizontally; [emulated] target may place one where none is known of, and
    the only one that is. ValueError for a place that several would have."""
    if "position_m" not in emulated.target:
        return {str(prior["name"]): _target(emulated, prior, seed) for prior in priors}
    if len(priors) > 1:
        raise ValueError(f"[emulated] target.position_m: found {emulated.target['position_m']}; allowed with one target, here are {len(priors)}")
    prior = priors[0] if priors else {"name": "target"}
    return {str(prior["name"]): _target(emulated, prior, seed)}


def _target(emulated: Emulated, prior: Mapping[str, Any], seed: int) -> Target:
    own = () if prior["name"] == "target" else (prior["name"],)
    rng = seeds.generator(seed, "target", *own)
    offset = float(prior.get("position_std_m", 0.0)) * np.append(rng.standard_normal(2), 0.0)
    phase, turn = rng.uniform(0, 2 * np.pi), 1.0 if rng.uniform() < 0.5 else -1.0
    centre = np.array(emulated.target.get("position_m") or np.array(prior["position_m"], float) + offset, float)
    speed = float(emulated.target.get("speed_m_s", turn * float(prior.get("speed_m_s", 1.0))))
    area = float(emulated.target.get("area_m2", prior.get("area_m2", 1.0)))
    return Target(Walker(centre, float(emulated.target.get("radius_m", 1.5)), speed, phase), area)
