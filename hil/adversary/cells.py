"""The adversary of several cells: looks for channels inside the error balls that break a block-level precoder's promise, by trying.

Its own numpy metric, no formula of a worst case; it shares no code with the designers. Every user's errors are its own, so all users are
attacked at once: random members on the surfaces of the balls, then from the worst of them, the known channels, and errors that turn the
wanted stream down, a descent of the SINR projected onto the balls, its step grown where it helps and cut where it does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hil.errors import InputError

KEPT = 6  # worst random members per user that the descent starts from
DESCENT = 300  # its steps
CHUNK = 512  # members tried at once


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """worst_db: smallest SINR found; worst_each: (user,) dB; shortfall_db: how far it lies below the promise, 0: it stands.
    members: channels tried. passed: no member broke the promise, or nothing was promised. errors: (base station, user, antenna) worst.
    """

    worst_db: float
    worst_each: NDArray[np.float64]
    shortfall_db: float
    members: int
    passed: bool
    errors: NDArray[np.complex128]


def verdict(w: ArrayLike, channel: ArrayLike, radius: ArrayLike, noise: ArrayLike, cells: ArrayLike, mode: Literal["cbf", "comp"],
            promised: float | None, rng: np.random.Generator, *, members: int = 512, csi_set: Literal["links", "stacked"] = "links",
            tolerance_db: float = 1e-3) -> Verdict:  # fmt: skip
    """Judge W (base station, antenna, stream), square-root power, stream s for user s. channel: (base station, user, antenna), received
    amplitude channel @ w summed over base stations; radius: (base station, user); noise: (user,); cells: (user,) base station of each.
    mode: "cbf" refuses a stream that leaves another cell's base station. promised: dB of the smallest SINR, or None. csi_set: a ball a
    link, or one of the stacked channel with radius root of the sum of squares (multipoint only).
    """
    w, channel, radius, noise = np.asarray(w, complex), np.asarray(channel, complex), np.asarray(radius, float), np.asarray(noise, float)
    foreign = np.arange(len(w))[:, None] != np.asarray(cells, int)
    if mode == "cbf" and np.any(w[np.repeat(foreign[:, None], w.shape[1], 1)] != 0.0):
        raise InputError("precoder", "coordinated beamforming sends a stream from its own cell only")
    stacked = mode == "comp" and csi_set == "stacked"
    worst, errors, tried = _search(w, np.moveaxis(channel, 0, 1), radius.T, noise, stacked, rng, members)
    with np.errstate(divide="ignore"):
        each = 10.0 * np.log10(worst)
    lowest = float(each.min())
    shortfall = 0.0 if promised is None else max(0.0, promised - lowest)
    stands = shortfall <= tolerance_db
    return Verdict(lowest, each, 0.0 if stands else shortfall, tried, stands, np.moveaxis(errors, 0, 1))


def _search(w, channel, radius, noise, stacked, rng, members):
    """(SINR (user,), errors (user, base station, antenna), members tried). channel: (user, base station, antenna), radius alike."""
    users = np.arange(channel.shape[0])

    def received(errors):
        """(..., user, stream) amplitudes and (..., user) SINR for errors (..., user, base station, antenna)."""
        amplitude = np.einsum("...ubn,bns->...us", channel + errors, w)
        power = np.abs(amplitude) ** 2
        wanted = power[..., users, users]
        return amplitude, wanted / (power.sum(-1) - wanted + noise)

    def inside(errors, surface=False):
        axes = (-2, -1) if stacked else -1
        length = np.sqrt(np.sum(np.abs(errors) ** 2, axis=axes, keepdims=True))
        limit = np.sqrt(np.sum(radius**2, -1))[:, None, None] if stacked else radius[..., None]
        factor = limit / np.maximum(length, 1e-300)
        return errors * (factor if surface else np.minimum(factor, 1.0))

    away = -np.conj(np.moveaxis(w, -1, 0)) * np.exp(1j * np.angle(received(0.0 * channel)[0][users, users]))[:, None, None]
    keep = np.stack([np.zeros_like(channel), inside(away, surface=True)])
    for first in range(0, members, CHUNK):
        shape = (min(CHUNK, members - first), *channel.shape, 2)
        pool = np.concatenate([keep, inside(rng.standard_normal(shape) @ np.array([1.0, 1j]), surface=True)])
        order = np.argsort(received(pool)[1], axis=0)[:KEPT]
        keep = np.take_along_axis(pool, order[..., None, None], axis=0)
    errors = np.concatenate([keep, np.stack([np.zeros_like(channel), inside(away, surface=True)])])
    amplitude, sinr = received(errors)
    step = np.broadcast_to(1.0 / np.maximum(np.sum(np.abs(w) ** 2), 1e-300), sinr.shape).copy()
    for _ in range(DESCENT):
        pull = -sinr[..., None] * amplitude
        pull[..., users, users] = amplitude[..., users, users]
        downhill = np.einsum("...us,bns->...ubn", pull, w.conj())
        trial = inside(errors - step[..., None, None] * downhill)
        fresh, lower = received(trial)
        better = lower < sinr
        errors, sinr = np.where(better[..., None, None], trial, errors), np.where(better, lower, sinr)
        amplitude = np.where(better[..., None], fresh, amplitude)
        step = step * np.where(better, 1.5, 0.4)
    best = np.argmin(sinr, axis=0)
    return sinr[best, users], errors[best, users], members + len(errors) * (DESCENT + 1)
