"""Several cells that serve users and sense one target each, on one narrow band: what is given, and what a design is.

Babu, Masouros, Papadias, Eldar, "Precoding for Multi-Cell ISAC". Unlike the paper, echo gains and departure angles depend on
(transmitter, target), and every link from a base station to a user has an error ball of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hil.errors import InputError

Mode = Literal["cbf", "comp"]  # coordinated beamforming: a cell's streams leave its own base station; multipoint: every station sends every stream
Kind = Literal["blp", "slp"]  # block level: a precoder for all symbols; symbol level: the waveform itself

PHASES = 6  # relative phases of each base station in a phase-robust problem
MOST_VIEWS = 64  # beyond this many combinations phases are drawn instead


@dataclass(frozen=True, eq=False)
class Problem:
    """What is to be designed, in any consistent unit of power; `normalised` makes noise and power 1. Frozen.

    channel: (base station, user, antenna), received amplitude `channel @ w`. cells: (user,) the cell, that is the base station, of each.
    radius: (base station, user) of the ball around each link's channel, in its units. noise: (user,); power: (base station,) budget.
    angle: (base station, target) azimuth at the base station, radians from broadside; target m belongs to base station m.
    alpha: (base station, target) complex gain base station n -> target m -> base station m. noise_radar: (base station,) at its receivers.
    transmit_place, receive_place: (antenna,) wavelengths along the array from where `angle` is seen and the phase of alpha is meant.
    length: symbols L of a frame. csi_set: "links", one ball a link, or "stacked", one ball of radius sqrt(sum of squares) around the
    stacked channel (the published set; coordinated multipoint only). turns: (view, base station) phases in radians added to alpha's
    transmitters, tilts: (view, base station, target) radians added to angle: sensing is judged by the worst view. payload: (user, symbol)
    unit amplitude, for symbol-level designs, of a constellation of `points` phases. element_power: (base station, antenna) caps or None.
    gains: (base station, antenna) complex gains of the transmit chains over that of an average one: what is steered by geometry, towards
    targets, needs them; `channel` has them in it. None: all alike.
    """

    channel: NDArray[np.complex128]
    cells: NDArray[np.int64]
    radius: NDArray[np.float64]
    noise: NDArray[np.float64]
    power: NDArray[np.float64]
    angle: NDArray[np.float64]
    alpha: NDArray[np.complex128]
    noise_radar: NDArray[np.float64]
    transmit_place: NDArray[np.float64]
    receive_place: NDArray[np.float64]
    length: int = 30
    csi_set: Literal["links", "stacked"] = "links"
    turns: NDArray[np.float64] | None = None
    tilts: NDArray[np.float64] | None = None
    payload: NDArray[np.complex128] | None = None
    points: int = 4
    element_power: NDArray[np.float64] | None = None
    gains: NDArray[np.complex128] | None = None
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def __post_init__(self) -> None:
        stations = np.shape(self.channel)[0] if np.ndim(self.channel) == 3 else 0
        turns = np.zeros((1, stations)) if self.turns is None else self.turns
        tilts = np.zeros((1, stations, stations)) if self.tilts is None else self.tilts
        kinds = {
            "channel": complex, "alpha": complex, "payload": complex, "cells": np.int64, "radius": float, "noise": float, "power": float,
            "angle": float, "noise_radar": float, "transmit_place": float, "receive_place": float, "turns": float, "tilts": float,
            "element_power": float, "gains": complex,
        }  # fmt: skip
        for name, kind in kinds.items():
            given = {"turns": turns, "tilts": tilts}.get(name, getattr(self, name))
            if given is not None:
                value = np.array(given, kind)
                value.setflags(write=False)
                object.__setattr__(self, name, value)
        self._validate()

    def _validate(self) -> None:
        if self.channel.ndim != 3 or 0 in self.channel.shape:
            raise InputError("shape", "channel is (base station, user, antenna)", found=str(self.channel.shape))
        stations, users, antennas = self.channel.shape
        views = max(len(self.turns), len(self.tilts))
        shapes = {
            "cells": (users,), "radius": (stations, users), "noise": (users,), "power": (stations,), "angle": (stations, stations),
            "alpha": (stations, stations), "noise_radar": (stations,), "transmit_place": (antennas,), "element_power": (stations, antennas),
            "gains": (stations, antennas),
            "payload": (users, self.length), "turns": (views, stations), "tilts": (views, stations, stations),
        }  # fmt: skip
        for name, shape in shapes.items():
            value = getattr(self, name)
            alone = name in ("turns", "tilts") and value.shape == (1, *shape[1:])
            if value is not None and value.shape != shape and not alone:
                raise InputError("shape", f"{name} does not fit the channel", key=name, found=str(value.shape), allowed=str(shape))
        for entry in fields(self):
            value = getattr(self, entry.name)
            if isinstance(value, np.ndarray) and not np.all(np.isfinite(value)):
                raise InputError("not-finite", "must hold finite numbers only", key=entry.name)
        for name in ("noise", "noise_radar", "power"):
            if np.any(getattr(self, name) <= 0.0):
                raise InputError("not-positive", "must be positive", key=name, found=str(getattr(self, name).min()))
        if np.any(self.radius < 0.0) or (self.element_power is not None and np.any(self.element_power <= 0.0)):
            raise InputError("not-positive", "radii are not negative, caps are positive", key="radius, element_power")
        if self.csi_set == "stacked" and np.ptp(self.power) > 1e-9 * self.power.max():
            raise InputError("csi-set", "one ball around the stacked channel is for base stations of one power", key="csi_set, power",
                             found=str(self.power), fix='csi_set "links"')  # fmt: skip
        if np.any((self.cells < 0) | (self.cells >= stations)):
            raise InputError("cells", "every user belongs to a base station", found=str(self.cells), allowed=f"0 to {stations - 1}")
        if self.length < 1 or self.receive_place.ndim != 1 or not len(self.receive_place) or self.points < 2:
            raise InputError("problem", "length >= 1, receive_place (antenna,) and points >= 2 are needed")

    # -- sizes ---------------------------------------------------------------------------------------------------------------------------

    @property
    def stations(self) -> int:
        return self.channel.shape[0]

    @property
    def users(self) -> int:
        return self.channel.shape[1]

    @property
    def antennas(self) -> int:
        """Of one base station, transmitting."""
        return self.channel.shape[2]

    @property
    def psi(self) -> float:
        """Half the angle of a decision region, radians."""
        return np.pi / self.points

    @cached_property
    def stacked(self) -> NDArray[np.complex128]:
        """(user, base station x antenna): every user's channel from all base stations, as coordinated multipoint sees it."""
        return np.moveaxis(self.channel, 0, 1).reshape(self.users, -1)

    @cached_property
    def stacked_radius(self) -> NDArray[np.float64]:
        """(user,) of the ball around the stacked channel that holds the product of the links' balls: root of the sum of squares."""
        return np.sqrt(np.sum(self.radius**2, axis=0))

    @cached_property
    def views(self) -> tuple[tuple[NDArray[np.float64], NDArray[np.complex128]], ...]:
        """(angle, alpha) of every view that sensing has to stand: (base station, target) each."""
        count = max(len(self.turns), len(self.tilts))
        turns = np.broadcast_to(self.turns, (count, *self.turns.shape[1:]))
        tilts = np.broadcast_to(self.tilts, (count, *self.tilts.shape[1:]))
        return tuple((self.angle + tilt, self.alpha * np.exp(1j * turn)[:, None]) for turn, tilt in zip(turns, tilts))

    # -- relatives -----------------------------------------------------------------------------------------------------------------------

    @cached_property
    def normalised(self) -> Problem:
        """The same problem with every noise 1 and every power budget 1: solvers fail on watts. `restored` takes its waveforms back."""
        root = np.sqrt(self.power)
        to_user = root[:, None] / np.sqrt(self.noise)
        return replace(
            self, channel=self.channel * to_user[..., None], radius=self.radius * to_user, noise=np.ones(self.users),
            power=np.ones(self.stations), alpha=self.alpha * root[:, None] / np.sqrt(self.noise_radar), noise_radar=np.ones(self.stations),
            element_power=None if self.element_power is None else self.element_power / self.power[:, None],
        )  # fmt: skip

    def restored(self, waveform: NDArray[np.complex128]) -> NDArray[np.complex128]:
        """W or X (base station, antenna, stream or symbol) of the normalised problem in this problem's units."""
        return waveform * np.sqrt(self.power)[:, None, None]

    def phase_robust(self) -> Problem:
        """Sensing judged over unknown phases between base stations: PHASES each, or drawn where that were more than MOST_VIEWS views."""
        others = self.stations - 1
        if others == 0:
            return self
        if PHASES**others <= MOST_VIEWS:
            grid = np.stack(np.meshgrid(*[2 * np.pi * np.arange(PHASES) / PHASES] * others, indexing="ij"), -1).reshape(-1, others)
        else:
            grid = self.rng.uniform(0.0, 2 * np.pi, (16, others))
        return self._crossed(np.concatenate([np.zeros((len(grid), 1)), grid], 1), np.zeros((1, self.stations, self.stations)))

    def angle_robust(self, std: ArrayLike) -> Problem:
        """Sensing judged at the estimate and two standard deviations to each side, all angles together. std: broadcasts to angle, radians."""
        away = 2.0 * np.broadcast_to(np.asarray(std, float), self.angle.shape)
        return self._crossed(np.zeros((1, self.stations)), np.stack([np.zeros_like(away), away, -away]))

    def _crossed(self, turns: NDArray[np.float64], tilts: NDArray[np.float64]) -> Problem:
        """Every view of ours with every one given."""
        mine = max(len(self.turns), len(self.tilts))
        old_turns = np.broadcast_to(self.turns, (mine, self.stations))
        old_tilts = np.broadcast_to(self.tilts, (mine, self.stations, self.stations))
        new_turns, new_tilts = (np.concatenate([new] * (count // len(new)) if len(new) < count else [new])
                                for count in [max(len(turns), len(tilts))] for new in (turns, tilts))  # fmt: skip
        return replace(
            self, turns=(old_turns[:, None] + new_turns).reshape(-1, self.stations),
            tilts=(old_tilts[:, None] + new_tilts).reshape(-1, self.stations, self.stations),
        )  # fmt: skip

    def nominal(self) -> Problem:
        """The same with no channel error: what a design that ignores its sets is made for."""
        return replace(self, radius=np.zeros_like(self.radius))

    def with_payload(self, rng: np.random.Generator) -> Problem:
        """With random symbols of the constellation, phases pi/points + 2 pi k/points."""
        k = rng.integers(self.points, size=(self.users, self.length))
        return replace(self, payload=np.exp(1j * np.pi * (1 + 2 * k) / self.points))

    def spent(self, waveform: NDArray[np.complex128], kind: Kind) -> NDArray[np.float64]:
        """(base station,) mean power of W, or of X over its symbols."""
        return np.sum(np.abs(waveform) ** 2, axis=(1, 2)) / (self.length if kind == "slp" else 1)


@dataclass(frozen=True, slots=True, eq=False)
class Precoding:
    """What a designer answers. waveform: W (base station, antenna, stream), stream s for user s, or X (base station, antenna, symbol), in
    the problem's units; None when `status` is "infeasible", and then `achievable` is the largest target (linear) that could be promised.

    sinr: (user,) exact worst case over the set, linear; of a symbol-level design squared margin over noise. t: (base station,) what one
    over it bounds the variance of its target's angle, rad^-2, over the worst view, of the waveform given. history: objective per step.
    """

    mode: Mode
    kind: Kind
    asked: float  # linear target
    status: Literal["solved", "infeasible"]
    waveform: NDArray[np.complex128] | None = None
    sinr: NDArray[np.float64] | None = None
    t: NDArray[np.float64] | None = None
    achievable: float | None = None
    history: Sequence[float] = ()
    designer: str = ""
    stopped: str = ""

    @property
    def rcrb(self) -> NDArray[np.float64]:
        """(base station,) radians; infinite where nothing is learnt of the angle."""
        t = np.zeros(1) if self.t is None else self.t
        with np.errstate(divide="ignore"):
            return 1.0 / np.sqrt(np.maximum(t, 0.0))


def half_wave(count: int) -> NDArray[np.float64]:
    """(antenna,) places in wavelengths, half a wavelength apart around 0."""
    return 0.5 * (np.arange(count) - (count - 1) / 2)
