"""Cramer-Rao bound of a target's azimuth at its own base station, everything but the target and the noise known to be absent.

Babu, Masouros, Papadias, Eldar, "Precoding for Multi-Cell ISAC", with gains and departure angles of each (transmitter, target) and an
array that need not be centred. One formula serves cooperating stations (all echoes known) and single ones (others' echoes are noise from
the target's direction). What clutter, Doppler, delays and other targets add is in the covariance of `hil.estimate.azimuth`.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["azimuth_bound"]


def azimuth_bound(
    arrival: ArrayLike, arrival_slope: ArrayLike, departure: ArrayLike, departure_slope: ArrayLike, gains: ArrayLike, sent: ArrayLike,
    noise: float, own: int, mode: Literal["comp", "cbf"] = "comp", samples: float = 1.0,
) -> float:  # fmt: skip
    """Variance in rad^2; infinite where nothing is learnt.

    arrival, its slope: (rx,). departure, its slope: (transmitter, [block,] mode) what each mode sends towards the target. gains:
    (transmitter,) alpha. sent: ([block,] mode, mode) X X^H, the sum over samples. noise: variance of a sample. own: the transmitter that
    departs at the azimuth itself. mode "cbf": only its echo is known, the others' are noise C = s a a^H + noise; samples: over which
    `sent` was summed, for their mean power s.
    """
    a, slope = np.asarray(arrival, complex), np.asarray(arrival_slope, complex)
    sent = np.asarray(sent, complex)
    shape = (-1, sent.shape[-1]) if sent.ndim == 2 else (-1, *sent.shape[:2])
    g, turned = np.asarray(departure, complex).reshape(shape), np.asarray(departure_slope, complex).reshape(shape)
    if sent.ndim == 2:
        g, turned, sent = g[:, None], turned[:, None], sent[None]
    gains = np.asarray(gains, complex)
    power = np.real(np.einsum("nbm,bmk,nbk->n", g, sent, g.conj())) / samples
    others = np.arange(len(gains)) != own
    reflected = float(np.sum((np.abs(gains) ** 2 * power)[others])) if mode == "cbf" else 0.0
    arriving = np.stack([a, slope])
    inverse = (np.eye(a.size) - reflected * np.outer(a, a.conj()) / (noise + reflected * np.vdot(a, a).real)) / noise
    between = arriving.conj() @ inverse @ arriving.T  # (arrival or its slope, the same)
    known = np.flatnonzero(~others) if mode == "cbf" else np.arange(len(gains))
    zero = np.zeros_like(g[0])
    # every derivative of the mean: its part along the arrival and its part along the slope of the arrival
    parts = [(gains[own] * turned[own], np.tensordot(gains[known], g[known], axes=1))]
    parts += [(gains[n] * turned[n], zero) for n in known if n != own]
    parts += [(factor * g[n], zero) for n in known for factor in (1.0, 1j)]
    fields = np.array(parts)  # (parameter, arrival or slope, block, mode)
    information = 2.0 * np.real(np.einsum("ij,pibm,bmk,qjbk->qp", between.T, fields, sent, fields.conj(), optimize=True))
    return _first(information)


def _first(information: NDArray[np.float64]) -> float:
    """Inverse of the Schur complement of the first parameter; nuisances nothing is known of count as absent."""
    size = np.sqrt(np.maximum(np.diagonal(information), 0.0))
    size = np.where(size > 0.0, size, 1.0)
    scaled = information / np.outer(size, size)
    left = scaled[0, 0] - scaled[0, 1:] @ np.linalg.pinv(scaled[1:, 1:], rcond=1e-10, hermitian=True) @ scaled[1:, 0]
    return float(1.0 / (left * size[0] ** 2)) if left > 1e-10 else float("inf")
