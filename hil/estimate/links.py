"""How far a channel in force may lie from its estimate, link by link: noise, what moves and the stations' phase, added."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hil.errors import InputError
from hil.uncertainty import add_hard, ball_radius, each, interval_factor

__all__ = ["LinkRadius", "link_radius"]


@dataclass(frozen=True, slots=True, eq=False)
class LinkRadius:
    """radius: (station, user, block), the sum of its parts of the same shape: statistical of the estimate's noise, moving of what walks in the
    room, phase of stations that send together (0 where each sends alone: a phase common to a link changes nothing then)."""

    statistical: NDArray[np.float64]
    moving: NDArray[np.float64]
    phase: NDArray[np.float64]

    @property
    def alone(self) -> NDArray[np.float64]:
        """Radius for stations that do not send together."""
        return add_hard(self.statistical, self.moving)

    @property
    def radius(self) -> NDArray[np.float64]:
        return add_hard(self.alone, self.phase)


def link_radius(
    channel: ArrayLike, covariance: ArrayLike, confidence: float = 0.95, *, moving: ArrayLike = 0.0, phase_std: ArrayLike = 0.0,
    dependent: bool = False,
) -> LinkRadius:  # fmt: skip
    """Balls that hold all links and blocks together with `confidence`.

    channel: (station, user, block, antenna); covariance: (station, user, block, antenna, antenna) E[e e^H]; moving: (station, user) norm over
    root of antennas; phase_std: rad, one or (station,), rms error of the stations' phase when the design is in force; its part is ||h|| z
    phi with z the two-sided quantile of all phases together, as a promise holds at the edge and not at the rms. dependent: errors that share
    captures. For v I the squared statistical part is v chi2inv(c', 2 antenna)/2 with c' = c^(1/(stations users blocks)).
    """
    channel, covariance = np.asarray(channel), np.asarray(covariance)
    if channel.ndim != 4 or covariance.shape != (*channel.shape, channel.shape[-1]):
        raise InputError("shape", "channel and covariance disagree", found=f"{channel.shape}, {covariance.shape}",
                         allowed="(station, user, block, antenna), (station, user, block, antenna, antenna)")  # fmt: skip
    stations, users, blocks, antennas = channel.shape
    statistical = ball_radius(covariance, confidence, stations * users * blocks, dependent=dependent)
    walks = np.broadcast_to(np.asarray(moving, float), (stations, users))[..., None] * np.sqrt(antennas)
    phi = np.broadcast_to(np.asarray(phase_std, float), (stations,))[:, None, None]
    turned = np.linalg.norm(channel, axis=-1) * phi * interval_factor(each(confidence, max(stations - 1, 1), dependent=dependent))
    return LinkRadius(statistical, np.broadcast_to(walks, statistical.shape).copy(), turned)
