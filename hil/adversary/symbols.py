"""The adversary of symbol-level designs: looks for channels inside the error balls that bring a symbol closer to a decision boundary.

No formula of a worst case: random members on the surfaces of the balls, then descent of every user's and symbol's margin from the worst of
them and from the known channels, projected onto the balls.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from hil.adversary.cells import Verdict
from hil.errors import InputError

KEPT = 4  # worst members per (user, symbol) that the descent starts from
DESCENT = 40  # its steps


def verdict(x: ArrayLike, channel: ArrayLike, radius: ArrayLike, noise: ArrayLike, cells: ArrayLike, mode: str, payload: ArrayLike, psi: float,
            promised: float | None, rng: np.random.Generator, *, members: int = 256, tolerance_db: float = 1e-3) -> Verdict:  # fmt: skip
    """Judge X (base station, antenna, symbol), square-root power. channel: (base station, user, antenna); radius: (base station, user);
    noise: (user,); cells: (user,) base station of each; payload: (user, symbol) unit amplitude; psi: half a decision region's angle, radians.
    mode: "comp", all base stations carry what is meant; "cbf", others' largest amplitude counts as noise. promised: dB of the smallest
    squared margin over noise, or None.
    """
    x, channel, radius = np.asarray(x, complex), np.asarray(channel, complex), np.asarray(radius, float)
    noise, meant, cells = np.asarray(noise, float), np.conj(np.asarray(payload, complex)), np.asarray(cells, int)
    if mode not in ("cbf", "comp") or meant.shape != (channel.shape[1], x.shape[2]):
        raise InputError("shape", "a payload fits users and symbols", found=f"{mode}, {meant.shape}", allowed=f"{(channel.shape[1], x.shape[2])}")
    stations, users, _ = channel.shape
    carries = (np.arange(stations)[:, None] == cells) | (mode == "comp")  # (base station, user)
    errors = rng.standard_normal((members, *channel.shape, 2)) @ np.array([1.0, 1j])
    errors *= (radius / np.maximum(np.linalg.norm(errors, axis=-1), 1e-300))[..., None]
    errors = np.concatenate([np.zeros((1, *channel.shape)), errors])

    def margin(amplitude: np.ndarray) -> np.ndarray:
        return amplitude.real - np.abs(amplitude.imag) / np.tan(psi)

    heard = np.einsum("knui,nit->knut", channel + errors, x, optimize=True)
    found = margin(np.sum(heard * carries[:, :, None], 1) * meant)  # (member, user, symbol)
    loudest = np.abs(channel @ x) + radius[..., None] * np.linalg.norm(x, axis=1)[:, None]  # of errors along what is sent
    noisy = noise + np.sum(np.where(carries, 0.0, loudest.max(-1)) ** 2, 0)
    worst = np.argsort(found, axis=0)[:KEPT]
    least = found.min(0)
    tried = found.shape[0]
    for k in range(worst.shape[0]):
        start = errors[worst[k], :, np.arange(users)[:, None]]  # (user, symbol, base station, antenna)
        at = np.moveaxis(start, 2, 0)  # (base station, user, symbol, antenna)
        for _ in range(DESCENT):
            amplitude = np.sum((np.einsum("nui,nit->nut", channel, x) + np.einsum("nuti,nit->nut", at, x)) * carries[:, :, None], 0) * meant
            least = np.minimum(least, margin(amplitude))
            push = -(1.0 - 1j * np.sign(amplitude.imag) / np.tan(psi))  # steepest descent of the margin in the amplitude, conjugated
            step = np.conj(np.einsum("nit,ut,ut->nuti", x, meant, np.conj(push))) * carries[:, :, None, None]
            size = np.linalg.norm(step, axis=-1, keepdims=True)
            at = at + 0.5 * radius[..., None, None] * step / np.maximum(size, 1e-300)
            at = at * np.minimum(1.0, radius[..., None] / np.maximum(np.linalg.norm(at, axis=-1), 1e-300))[..., None]
        tried += DESCENT
    with np.errstate(divide="ignore"):
        each = 10.0 * np.log10(np.maximum(least.min(-1), 0.0) ** 2 / noisy)
    lowest = float(each.min())
    shortfall = 0.0 if promised is None else max(0.0, promised - lowest)
    stands = shortfall <= tolerance_db
    return Verdict(lowest, each, 0.0 if stands else shortfall, tried, stands, errors[0])
