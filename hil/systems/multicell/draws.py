"""Random and fixed instances of the multi-cell problem, as the paper's figures and the tests use them (normalised: noise and power 1)."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hil.systems.multicell.problem import Problem, half_wave

INTER = 1.0 / 3.0  # received power from another cell over that from one's own
USER_ANGLE = np.radians(60.0)
TARGET_ANGLE = np.radians(45.0)
APART = np.radians(5.0)  # least between the targets that one base station sees


def draw(
    rng: np.random.Generator, *, stations: int = 2, users: int = 3, transmit: int = 6, receive: int = 10, delta: float = 0.01, snr_db: float = 30.0,
    length: int = 30, fading: Literal["rayleigh", "line-of-sight"] = "rayleigh", csi_set: Literal["links", "stacked"] = "links",
) -> Problem:  # fmt: skip
    """One drop. users: per cell; delta: radius over the unit-variance channel of each link; snr_db: power x gain / noise within a cell.

    Order of the generator: channels, user angles, target angles, echo phases. A target's echo at its own base station has 0 dB after
    `length` symbols of full power on one antenna, that of another base station a third of it.
    """
    u = stations * users
    cells = np.repeat(np.arange(stations), users)
    own = np.arange(stations)[:, None] == cells
    amplitude = np.sqrt(10.0 ** (snr_db / 10.0) * np.where(own, 1.0, INTER))
    place = half_wave(transmit)
    fades = (rng.standard_normal((stations, u, transmit)) + 1j * rng.standard_normal((stations, u, transmit))) / np.sqrt(2.0)
    towards = rng.uniform(-USER_ANGLE, USER_ANGLE, (stations, u))
    if fading == "line-of-sight":
        fades = np.exp(2j * np.pi * place * np.sin(towards)[..., None])
    angle = _targets(rng, stations)
    phase = rng.uniform(0.0, 2.0 * np.pi, (stations, stations))
    echo = np.sqrt(np.where(np.eye(stations, dtype=bool), 1.0, INTER) / length)
    return Problem(
        amplitude[..., None] * fades, cells, delta * amplitude, np.ones(u), np.ones(stations), angle, echo * np.exp(1j * phase), np.ones(stations),
        place, half_wave(receive), length, csi_set, rng=rng,
    )  # fmt: skip


def _targets(rng: np.random.Generator, stations: int) -> NDArray[np.float64]:
    """(base station, target) radians, those of one base station at least APART from each other."""
    angle = np.empty((stations, stations))
    for n in range(stations):
        while True:
            row = rng.uniform(-TARGET_ANGLE, TARGET_ANGLE, stations)
            if stations == 1 or np.min(np.diff(np.sort(row))) >= APART:
                break
        angle[n] = row
    return angle


def golden(delta: float = 0.01, csi_set: Literal["links", "stacked"] = "stacked") -> Problem:
    """The fixed scenario G of the tests: two cells of two users, four antennas, power 100, noise 1; delta is absolute and equal on all links."""
    place = half_wave(4)
    towards = np.array([[[0.1, -0.7], [0.9, 0.5]], [[-0.9, -0.4], [0.3, -0.2]]]).reshape(2, 4)
    cells = np.array([0, 0, 1, 1])
    gain = np.where(np.arange(2)[:, None] == cells, 1.0, np.sqrt(INTER))
    channel = gain[..., None] * np.exp(2j * np.pi * place * np.sin(towards)[..., None])
    alpha = np.where(np.eye(2, dtype=bool), 1.0, np.sqrt(INTER)) / 40.0
    angle = np.array([[0.4, 0.6], [-0.5, 0.0]])
    return Problem(
        channel, cells, np.full((2, 4), delta), np.ones(4), np.full(2, 100.0), angle, alpha, np.ones(2), place, place, 16, csi_set
    )  # fmt: skip
