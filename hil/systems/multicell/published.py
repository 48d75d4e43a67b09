"""Formulas as the paper prints them where they differ from what is true, to be compared with; nothing that designs uses them by default.

Babu, Masouros, Papadias, Eldar, "Precoding for Multi-Cell ISAC". One channel row h (antenna,), one stream's matrix W (antenna, antenna)
Hermitian, one ball of radius delta. The covariance of (9), L times too large, is an option of `fisher.information`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hil.systems.multicell.problem import Problem


def min_numerator(h: NDArray[np.complex128], w: NDArray[np.complex128]) -> float:
    """(33), (50): the least |(h + e) w|^2, said to be the value without error. For W = w w^H it is max(|h w| - delta |w|, 0)^2."""
    return float(np.real(h @ w @ h.conj()))


def max_leak(h: NDArray[np.complex128], w: NDArray[np.complex128], delta: float) -> float:
    """(34), (51): h W h^H + 2 delta |W h^*| + delta^2 tr W. Exact for rank one, above the maximum for any other."""
    return float(np.real(h @ w @ h.conj()) + 2 * delta * np.linalg.norm(w @ h.conj()) + delta**2 * np.trace(w).real)


def symbol_margin(problem: Problem, x: NDArray[np.complex128]) -> NDArray[np.float64]:
    """(user, symbol): what (71), (72) take for the multipoint margin of X, the radius of one link for that of the stacked channel."""
    if problem.payload is None:
        raise ValueError("margins need a payload")
    stacked = x.reshape(-1, x.shape[-1])
    received = problem.payload.conj() * (problem.stacked @ stacked)
    own = problem.radius[problem.cells, np.arange(problem.users)]
    spread = own[:, None] * np.linalg.norm(stacked, axis=0) / np.sin(problem.psi)
    return received.real - np.abs(received.imag) / np.tan(problem.psi) - spread
