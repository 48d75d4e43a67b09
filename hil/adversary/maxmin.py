"""The adversary: looks for channels inside the uncertainty sets that break a design's promise, by trying, not by formula.

Its own numpy metrics; it shares no code with the designers. Errors are common to the tones of a block, ||e|| <= radius for each
(transmitter, user, block). Many random members on the surfaces of the balls, then projected gradient descent of every user's and
block's SINR from the worst of them and from the estimate itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

KEPT = 4  # worst members per (user, block) that the local search starts from, besides the estimate
DESCENT = 60  # steps of the local search
CHUNK = 64  # members tried at once


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """worst_db: smallest SINR found; worst_each: (user, block) dB; shortfall_db: how far it lies below the promise, 0: it stands.
    members: channels tried. passed: no member broke the promise, or nothing was promised.
    """

    worst_db: float
    worst_each: NDArray[np.float64]
    shortfall_db: float
    members: int
    passed: bool


def verdict(precoders: ArrayLike, channel: ArrayLike, radius: ArrayLike, noise: ArrayLike, block_of_tone: ArrayLike, serving: ArrayLike,
            promised: float | None, rng: np.random.Generator, members: int = 512, tolerance_db: float = 1e-3,
            residual: float = 0.0) -> Verdict:  # fmt: skip
    """Judge a design. precoders: (transmitter, block, antenna, stream) square-root watts per tone, all streams of a transmitter for its
    own user; channel: (transmitter, user, tone, antenna), y = H x; radius: (transmitter, user, block); noise: (user,) watts per tone;
    block_of_tone: (tone,); serving: (user,) transmitter; promised: dB of the smallest SINR over users and blocks, or None.
    residual: error power of the chains themselves over all power received.
    """
    cast = _Case(np.asarray(precoders, complex), np.asarray(channel, complex), np.asarray(radius, float), np.asarray(noise, float),
                 np.asarray(block_of_tone, int), np.asarray(serving, int), residual)  # fmt: skip
    worst, tried = cast.search(rng, members)
    with np.errstate(divide="ignore"):
        each = 10.0 * np.log10(worst)
    lowest = float(each.min())
    shortfall = 0.0 if promised is None else max(0.0, promised - lowest)
    return Verdict(lowest, each, shortfall if shortfall > tolerance_db else 0.0, tried, shortfall <= tolerance_db)


class _Case:
    """One design on one set. Received amplitudes are split as s_k + e^T w; only their first two moments over tones are kept."""

    def __init__(self, w, channel, radius, noise, block_of_tone, serving, residual) -> None:
        self.w, self.radius, self.noise, self.serving, self.residual = w, radius, noise, serving, residual
        blocks = w.shape[1]
        shape = (*channel.shape[:2], blocks, w.shape[-1])
        self.middle, self.scatter = np.zeros(shape, complex), np.zeros(shape[:3])  # mean over tones; variance summed over streams
        for block in range(blocks):
            received = channel[:, :, block_of_tone == block] @ w[:, None, block]  # (transmitter, user, tone, stream)
            self.middle[:, :, block] = received.mean(2)
            self.scatter[:, :, block] = np.var(received, axis=2).sum(-1)
        self.wanted = np.zeros((*shape[:2], 1), bool)
        self.wanted[serving, np.arange(len(serving))] = True

    def power(self, errors: NDArray[np.complex128]) -> tuple[NDArray[np.float64], NDArray[np.complex128]]:
        """Received power (..., transmitter, user, block) and mean amplitudes (..., stream) with errors (..., antenna)."""
        amplitude = self.middle + (errors[..., None, :] @ self.w[:, None])[..., 0, :]
        return self.scatter + (np.abs(amplitude) ** 2).sum(-1), amplitude

    def sinr(self, power: NDArray[np.float64]) -> NDArray[np.float64]:
        """(..., user, block)"""
        wanted = np.where(self.wanted, power, 0.0).sum(-3)
        return wanted / (np.where(self.wanted, 0.0, power).sum(-3) + self.noise[:, None] + self.residual * power.sum(-3))

    def on_ball(self, errors: NDArray[np.complex128], *, surface: bool) -> NDArray[np.complex128]:
        """Errors brought to the surface, or back into the ball where they left it."""
        length = np.linalg.norm(errors, axis=-1)
        factor = self.radius / np.maximum(length, 1e-300)
        return errors * (factor if surface else np.minimum(factor, 1.0))[..., None]

    def search(self, rng: np.random.Generator, members: int) -> tuple[NDArray[np.float64], int]:
        """Smallest SINR found per (user, block), and how many members were tried."""
        transmitters, users, blocks = self.radius.shape
        shape = (transmitters, users, blocks, self.w.shape[2])
        keep = np.zeros((1, *shape), complex)
        worst = self.sinr(self.power(keep)[0])
        for first in range(0, members, CHUNK):
            count = min(CHUNK, members - first)
            drawn = rng.standard_normal((count, *shape, 2)) @ np.array([1.0, 1j])
            pool = np.concatenate([keep, self.on_ball(drawn, surface=True)])
            sinr = self.sinr(self.power(pool)[0])
            order = np.argsort(sinr, axis=0)[:KEPT]
            keep = np.take_along_axis(pool, order[:, None, :, :, None], axis=0)
            worst = np.minimum(worst, sinr.min(0))
        starts = np.concatenate([keep, np.zeros((1, *shape), complex)])
        return np.minimum(worst, self._descend(starts)), members + len(starts) * DESCENT

    def _descend(self, errors: NDArray[np.complex128]) -> NDArray[np.float64]:
        """Projected gradient descent of ln SINR: wanted power down, unwanted power up, both from the same members."""
        curvature = np.maximum((np.abs(self.w) ** 2).sum((-1, -2)), 1e-300)[:, None, :, None]  # (transmitter, 1, block, 1)
        sign = np.where(self.wanted, -1.0, 1.0)[..., None]
        worst = np.full(errors.shape[2:4], np.inf)
        for _ in range(DESCENT):
            power, amplitude = self.power(errors)
            worst = np.minimum(worst, self.sinr(power).min(0))
            gradient = (amplitude[..., None, :] @ np.conj(np.swapaxes(self.w, -1, -2))[:, None])[..., 0, :]
            errors = self.on_ball(errors + sign * gradient / curvature, surface=False)
        return np.minimum(worst, self.sinr(self.power(errors)[0]).min(0))
