"""From estimate to set: exact radii of the balls, boxes and ellipsoids that a robust design must hold for.

A covariance says how an error scatters; a set says where it lies with confidence c. Factors are quantiles of the exact distribution:
chi-square for a known covariance, F where the variance itself was estimated, Satterthwaite's scaled chi-square (Biometrics 1946) for
unequal eigenvalues. One set per quantity: two sets of confidence c each must not be intersected.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from hil.errors import InputError

__all__ = [
    "add_hard", "ball_factor", "ball_factor_estimated", "ball_radius", "box_factor", "disc_factor", "each", "ellipsoid_factor",
    "interval_factor", "real_radius", "variance_upper_factor",
]  # fmt: skip


def _checked(confidence: float) -> float:
    if not 0.0 < confidence < 1.0:
        raise InputError(
            "confidence", "a confidence is a probability", key="confidence", found=f"{confidence}", allowed="0 < confidence < 1",
            fix="0.95 is usual",
        )  # fmt: skip
    return float(confidence)


def _chi_square(confidence: float, degrees: Any) -> Any:
    """Quantile of chi-square with (possibly fractional) degrees of freedom."""
    return 2.0 * special.gammaincinv(np.asarray(degrees, dtype=float) / 2.0, confidence)


def each(confidence: float, joint: int, *, dependent: bool = False) -> float:
    """Confidence that each of `joint` sets needs so that all of them hold together with `confidence`.

    Independent errors: c^(1/J). Errors that share captures: 1 - (1 - c)/J (Bonferroni), which holds for any dependence.
    """
    confidence = _checked(confidence)
    if joint < 1:
        raise InputError("joint", "at least one set", key="joint", found=f"{joint}", allowed=">= 1")
    return 1.0 - (1.0 - confidence) / joint if dependent else confidence ** (1.0 / joint)


def ball_factor(n: int, confidence: float = 0.95) -> float:
    """q of ||e|| <= sqrt(v) q for a complex n-vector e ~ CN(0, v I): sqrt(chi2inv(c, 2n)/2)."""
    return float(np.sqrt(_chi_square(_checked(confidence), 2 * n) / 2.0))


def ball_factor_estimated(n: int, degrees: float, confidence: float = 0.95) -> float:
    """As `ball_factor`, v estimated with `degrees` complex degrees of freedom: sqrt(n F_inv(c; 2n, 2 degrees))."""
    beta = float(special.betaincinv(n, degrees, _checked(confidence)))
    return float(np.sqrt(degrees * beta / (1.0 - beta)))  # F = (d2/d1) beta/(1-beta) with d1 = 2n, d2 = 2 degrees


def disc_factor(confidence: float = 0.95) -> float:
    """Radius of one complex error over sqrt(E|e|^2): sqrt(-ln(1-c))."""
    return float(np.sqrt(-np.log1p(-_checked(confidence))))


def interval_factor(confidence: float = 0.95) -> float:
    """Half-width of a two-sided interval over sigma."""
    return float(special.ndtri((1.0 + _checked(confidence)) / 2.0))


def box_factor(n: int, confidence: float = 0.95) -> float:
    """Half-width over sigma of a box that holds n independent real errors at once."""
    return interval_factor(_checked(confidence) ** (1.0 / n))


def ellipsoid_factor(n: int, confidence: float = 0.95) -> float:
    """Mahalanobis radius of a real n-vector: sqrt(chi2inv(c, n)); n = 2, 0.95 -> 2.4477."""
    return float(np.sqrt(_chi_square(_checked(confidence), n)))


def variance_upper_factor(n: float, confidence: float = 0.95) -> float:
    """Factor on a noise power measured from n complex samples that bounds the true one from above: 2n/chi2inv(1-c, 2n)."""
    return float(2.0 * n / _chi_square(1.0 - _checked(confidence), 2.0 * n))


def _satterthwaite(trace: NDArray[np.float64], squares: NDArray[np.float64], confidence: float) -> NDArray[np.float64]:
    """Radius whose square is the quantile of sum lambda_i z_i^2, from sum lambda and sum lambda^2 over real components."""
    safe = np.where(trace > 0.0, trace, 1.0)
    scale = np.where(trace > 0.0, squares / safe, 0.0)
    degrees = np.where(squares > 0.0, trace**2 / np.where(squares > 0.0, squares, 1.0), 1.0)
    return np.sqrt(scale * _chi_square(confidence, degrees))


def _square(matrix: Any) -> NDArray[Any]:
    matrix = np.asarray(matrix)
    if matrix.ndim < 2 or matrix.shape[-1] != matrix.shape[-2]:
        raise InputError("covariance", "a covariance is square", found=f"shape {matrix.shape}", allowed="(..., n, n)")
    if not np.all(np.isfinite(matrix)):
        raise InputError("covariance", "a covariance must be finite", found="NaN or infinity", fix="leave out estimates below threshold")
    return matrix


def ball_radius(covariance: Any, confidence: float = 0.95, joint: int = 1, *, dependent: bool = False) -> NDArray[np.float64]:
    """Radius of the ball around a complex estimate: ||e|| <= radius with `confidence`, all `joint` balls together.

    covariance: (..., n, n) E[e e^H] of a circular error. Returns (...). Exact for v I; within 0.4 % for unequal eigenvalues, where a
    radius from the trace alone would be 14-19 % short.
    """
    covariance = _square(covariance)
    trace = np.real(np.trace(covariance, axis1=-2, axis2=-1))
    squares = np.sum(np.abs(covariance) ** 2, axis=(-2, -1)) / 2.0  # each eigenvalue is two real ones of half its size
    return _satterthwaite(trace, squares, each(confidence, joint, dependent=dependent))


def real_radius(covariance: Any, confidence: float = 0.95, joint: int = 1, *, dependent: bool = False) -> NDArray[np.float64]:
    """As `ball_radius` for real errors, or improper complex ones stacked as (real, imaginary): covariance (..., m, m) real."""
    covariance = _square(covariance)
    trace = np.trace(covariance, axis1=-2, axis2=-1)
    return _satterthwaite(trace, np.sum(covariance**2, axis=(-2, -1)), each(confidence, joint, dependent=dependent))


def add_hard(statistical: Any, hard: Any) -> NDArray[np.float64]:
    """Radius of a set with a statistical and a hard part (calibration spread, stage tolerance): they add, never by squares.

    A hard error may sit at its limit all the time, so it moves the whole statistical ball.
    """
    statistical, hard = np.asarray(statistical, dtype=float), np.asarray(hard, dtype=float)
    if np.any(statistical < 0.0) or np.any(hard < 0.0):
        raise InputError("radius", "a radius is not negative", found=f"{min(np.min(statistical), np.min(hard)):g}", allowed=">= 0")
    return statistical + hard
