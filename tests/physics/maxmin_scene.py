"""A synthetic room for the max-min designers: line of sight and point scatterers, all waves spherical, own generator."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hil.knowledge import Estimate, Knowledge
from hil.systems.maxmin.prediction import joint_factor
from hil.systems.maxmin.problem import Problem, Rail
from hil.units import SPEED_OF_LIGHT, from_dbm, thermal_noise

CARRIER = 3.5e9
WAVELENGTH = SPEED_OF_LIGHT / CARRIER


@dataclass(frozen=True)
class Paths:
    """A perfect path fit with a stated error variance per unit of power."""

    gains: np.ndarray
    cosines: np.ndarray
    curvatures: np.ndarray
    delays: np.ndarray
    variance: float
    chains: np.ndarray
    above_threshold: bool = True

    def predict(self, positions, frequencies_hz, elements=None):
        h = self.channel(positions, frequencies_hz, elements)
        return h, np.full(h.shape, self.variance)

    def channel(self, positions, frequencies_hz, elements=None):
        p, f = np.asarray(positions, float), np.asarray(frequencies_hz, float)
        reach = 1.0 / self.curvatures
        distance = np.sqrt(reach**2 - 2.0 * reach * p[:, None] * self.cosines + p[:, None] ** 2)
        waves = self.gains * np.exp(-2j * np.pi / WAVELENGTH * (distance - reach))
        through = self.chains[np.zeros(p.size, int) if elements is None else elements]
        return through[:, None] * (waves @ np.exp(-2j * np.pi * self.delays[:, None] * f))


@dataclass(frozen=True)
class Room:
    problem: Problem
    paths: dict
    noise: np.ndarray
    radius: np.ndarray
    target: np.ndarray

    def channel(self, positions):
        """(transmitter, user, tone, antenna)"""
        users = self.problem.users
        return np.array([[self.paths[a, u].channel(positions[a], self.problem.frequencies_hz, range(self.problem.elements)).T for u in range(users)]
                         for a in range(len(self.problem.arrays))])  # fmt: skip

    def knowledge(self, positions=None, radius=None):
        """Sounded at `positions`, or before sounding (None); radius: a factor on the room's own."""
        noise = Estimate("noise", "users", self.noise, np.zeros((self.problem.users,) * 2), "W")
        target = Estimate("target", "room", self.target, np.eye(3) * 0.01, "m")
        size = self.radius * (1.0 if radius is None else radius)
        if positions is None:
            return Knowledge(1, 0.95, noise, self.problem.centre, paths=self.paths, target=target)
        h = self.channel(positions)[..., None, :]
        estimate = Estimate("channel", "room", h, np.zeros(1), "1")
        return Knowledge(2, 0.95, noise, np.asarray(positions), estimate, size, self.paths, target)


def room(seed, *, second=(1.0, -9.0, 2.0), axis=(0.0, 1.0, 0.0), axis2=None, users=((14.0, 3.0, 1.5), (11.0, -6.0, 1.5)), blocks=32,
         per_block=12, elements=4, floor_dbm=-10.0, cap_dbm=-20.0, scatterers=6, error_db=-23.0, rng=None, chain_db=None,
         **effort):  # fmt: skip
    """error_db: channel error variance relative to noise over an element's power per tone (the delay window's gain). chain_db: spread of
    unknown chain gains, of any phase; None: ideal ones."""
    draw = np.random.default_rng(seed)
    origins = [(0.0, 0.0, 2.0), second]
    axes = [axis, axis2 or axis]
    points = draw.uniform([0, -10, 0], [30, 10, 4], (scatterers, 3))
    phases = draw.uniform(0, 2 * np.pi, scatterers)
    tones = blocks * per_block
    k = np.concatenate([np.arange(-(tones // 2), 0), np.arange(1, tones - tones // 2 + 1)])
    noise = np.full(len(users), thermal_noise(30e3, 7.0))
    cap = from_dbm(cap_dbm)
    rails = tuple(Rail(o, x, (-4 * WAVELENGTH, 4 * WAVELENGTH), 0.5 * WAVELENGTH, elements) for o, x in zip(origins, axes))
    problem = Problem(WAVELENGTH, k * 30e3, np.arange(tones) // per_block, rails, tuple(range(len(users))),
                      np.full((2, elements), cap), 0.0 if floor_dbm is None else from_dbm(floor_dbm),
                      rng=np.random.default_rng(seed if rng is None else rng), **effort)  # fmt: skip
    variance = noise[0] / (cap / tones) * 10 ** (error_db / 10)
    paths = {}
    chains = np.ones((2, elements), complex)
    if chain_db is not None:
        chains = 10 ** (chain_db / 20 * draw.standard_normal((2, elements))) * np.exp(2j * np.pi * draw.uniform(size=(2, elements)))
    for a, (origin, x) in enumerate(zip(origins, axes)):
        for u, user in enumerate(np.array(users)):
            sources = np.concatenate([user[None], points])
            away = sources - origin
            reach = np.linalg.norm(away, axis=-1)
            length = reach + np.linalg.norm(sources - user, axis=-1)
            gains = WAVELENGTH / (4 * np.pi * length) * np.exp(-2j * np.pi * length / WAVELENGTH)
            gains[1:] *= 0.5 * np.exp(1j * phases)
            delays = (length - length[0]) / SPEED_OF_LIGHT
            paths[a, u] = Paths(gains, away @ np.array(x) / reach, 1.0 / reach, delays, variance, chains[a] / chains[a, 0])
    q = joint_factor(problem, 0.95)
    return Room(problem, paths, noise, np.full((2, len(users), blocks), q * np.sqrt(variance)), np.array([9.0, -1.0, 1.0]))
