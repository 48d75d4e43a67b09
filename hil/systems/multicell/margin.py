"""Constructive interference: how deep each user's noise-free signal lies inside the decision region of the symbol meant for it.

With r = conj(s) h x, s the symbol of unit amplitude and psi half the region's angle, the margin Re(r) - |Im(r)| cot(psi) is an amplitude,
positive inside; times sin(psi) it is the distance to the nearest boundary. A ball of radius d around h takes d ||x|| / sin(psi) of it,
exactly: the normals of the two half-planes are equally long (Babu et al., eqs. 63, 64); with one ball a link the losses add.
Multipoint: h and x stacked over base stations. Beamforming: one's own base station; what others send counts as noise, at its largest
over the symbols. X: (base station, antenna, symbol) throughout, in the problem's units.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hil.errors import InputError
from hil.systems.multicell.problem import Mode, Problem


def intended(problem: Problem, x: NDArray[np.complex128], mode: Mode, channel: NDArray[np.complex128] | None = None) -> NDArray[np.complex128]:
    """(..., user, symbol) r: what is meant for each user, turned so that its symbol lies at phase 0.

    channel: (..., base station, user, antenna), the problem's where None.
    """
    heard = np.einsum("...nui,nit->...nut", problem.channel if channel is None else channel, x, optimize=True)
    if mode == "comp":
        mine = heard.sum(-3)
    else:
        mine = heard[..., problem.cells, np.arange(problem.users), :]
    return mine * np.conj(symbols(problem))


def depth(r: ArrayLike, psi: float) -> NDArray[np.float64]:
    """Margin of a symbol received at r when it was sent at phase 0: amplitude, negative outside its region."""
    return np.real(r) - np.abs(np.imag(r)) / np.tan(psi)


def erosion(problem: Problem, x: NDArray[np.complex128], mode: Mode) -> NDArray[np.float64]:
    """(user, symbol) what the set of channels can take from the margin."""
    length = np.linalg.norm(x, axis=1)  # (base station, symbol)
    if mode == "cbf":
        most = problem.radius[problem.cells, np.arange(problem.users), None] * length[problem.cells]
    elif problem.csi_set == "links":
        most = problem.radius.T @ length
    else:
        most = problem.stacked_radius[:, None] * np.linalg.norm(length, axis=0)
    return most / np.sin(problem.psi)


def margins(problem: Problem, x: NDArray[np.complex128], mode: Mode) -> NDArray[np.float64]:
    """(user, symbol) least margin over the set; of `problem.nominal()` the margin itself."""
    return depth(intended(problem, x, mode), problem.psi) - erosion(problem, x, mode)


def disturbance(problem: Problem, x: NDArray[np.complex128], mode: Mode) -> NDArray[np.float64]:
    """(user,) effective noise power: noise and, in coordinated beamforming, each other base station's largest amplitude over set and
    symbols, squared."""
    if mode == "comp":
        return problem.noise.copy()
    iota = np.max(np.abs(problem.channel @ x) + problem.radius[..., None] * np.linalg.norm(x, axis=1)[:, None], axis=-1)
    iota[problem.cells, np.arange(problem.users)] = 0.0
    return problem.noise + np.sum(iota**2, axis=0)


def sinr(problem: Problem, x: NDArray[np.complex128], mode: Mode) -> NDArray[np.float64]:
    """(user,) what a symbol-level design promises, linear: the least margin over set and symbols, squared, over the effective noise.

    A distance to the decision boundary, not a ratio of powers. 0 where some channel of the set leaves the region.
    """
    return np.maximum(margins(problem, x, mode).min(-1), 0.0) ** 2 / disturbance(problem, x, mode)


def symbol_errors(
    problem: Problem, x: NDArray[np.complex128], rng: np.random.Generator, frames: int, channel: NDArray[np.complex128] | None = None
) -> NDArray[np.int64]:
    """(user,) wrong decisions among frames x length when X is sent, everything that leaves any base station heard, noise added.

    channel: (base station, user, antenna) the true one, the problem's where None. Decisions by phase, without training at the receiver.
    """
    heard = np.einsum("nui,nit->ut", problem.channel if channel is None else channel, x) * np.conj(symbols(problem))
    wrong = np.zeros(problem.users, np.int64)
    scale = np.sqrt(problem.noise / 2.0)[:, None]
    for _ in range(frames):
        noise = rng.standard_normal((2, *heard.shape)) * scale
        wrong += np.count_nonzero(np.abs(np.angle(heard + noise[0] + 1j * noise[1])) > problem.psi, axis=-1)
    return wrong


def symbols(problem: Problem) -> NDArray[np.complex128]:
    """(user, symbol) the payload. Raises InputError where there is none, or where it is not a row of phases."""
    if problem.payload is None:
        raise InputError("payload", "a symbol-level design is made for the symbols it will carry", key="payload", found="none",
                         allowed="(user, symbol) of unit amplitude", fix="give the problem a payload, or with_payload(rng)")  # fmt: skip
    size = np.abs(problem.payload)
    if np.any(np.abs(size - 1.0) > 1e-6):
        raise InputError("payload", "symbols of a payload have unit amplitude", key="payload", found=f"{size.min():.3g} to {size.max():.3g}",
                         allowed="1", fix="scale power with `power`, not with the payload")  # fmt: skip
    return problem.payload
