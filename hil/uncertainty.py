"""From estimate to set: exact radii of the balls, boxes and ellipsoids that a robust design must hold for.

A covariance says how an error scatters; a set says where it lies with confidence c. Factors are quantiles of the exact distribution:
chi-square for a known covariance, F where the variance itself was estimated, Satterthwaite's scaled chi-square (Biometrics 1946) for
unequal eigenvalues. One set per quantity: two sets of confidence c each must not be intersected. Sets know their size at the age up to
which a design made from them is in force, and refuse to be used when they have grown too far.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from hil.clock import Instant
from hil.errors import HilError, InputError

__all__ = [
    "Ball", "Box", "Ellipse", "Reach", "add_hard", "ball_around", "ball_factor", "ball_factor_estimated", "ball_radius", "box", "box_factor",
    "csi_ball", "disc", "disc_factor", "each", "ellipse", "ellipsoid_factor", "interval_factor", "real_radius", "unvisited_ball",
    "variance_upper_factor",
]  # fmt: skip

GROWTH = 1.5  # times its first size, at which a set is refused unless told otherwise
OLDEST_S = 1e5  # ages are not told beyond
_LARGE_SHIFT = 1e4  # of a noncentral chi-square; beyond, both parts added are within a few percent of its quantile


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


def ball_around(covariance: Any, hard: Any, confidence: float = 0.95, joint: int = 1, *, dependent: bool = False) -> NDArray[np.float64]:
    """Radius of a ball that holds e + m with `confidence` for every fixed m, ||m|| <= hard: smaller than both parts added, as a circular
    error rarely points where m does. For an m that knows of e, `add_hard` is right.

    covariance: (..., n, n) of e; hard: (...). Quantile of noncentral chi-square, exact for v I; unequal eigenvalues are taken as fewer of
    the largest, which errs upwards.
    """
    covariance = _square(covariance)
    statistical = ball_radius(covariance, confidence, joint, dependent=dependent)
    added = add_hard(statistical, hard)
    largest = np.linalg.eigvalsh(covariance)[..., -1]
    scale = np.where(largest > 0.0, largest, 1.0) / 2.0  # of each of the real squares
    degrees = np.real(np.trace(covariance, axis1=-2, axis2=-1)) / scale
    shift = np.asarray(hard, dtype=float) ** 2 / scale
    square = special.chndtrix(each(confidence, joint, dependent=dependent), np.maximum(degrees, 1e-9), np.minimum(shift, _LARGE_SHIFT))
    usable = (largest > 0.0) & (shift < _LARGE_SHIFT) & np.isfinite(square)
    return np.where(usable, np.minimum(np.sqrt(scale * np.where(usable, square, 0.0)), added), added)


def add_hard(statistical: Any, hard: Any) -> NDArray[np.float64]:
    """Radius of a set with a statistical and a hard part (calibration spread, stage tolerance): they add, never by squares.

    A hard error may sit at its limit all the time, so it moves the whole statistical ball.
    """
    statistical, hard = np.asarray(statistical, dtype=float), np.asarray(hard, dtype=float)
    if np.any(statistical < 0.0) or np.any(hard < 0.0):
        raise InputError("radius", "a radius is not negative", found=f"{min(np.min(statistical), np.min(hard)):g}", allowed=">= 0")
    return statistical + hard


# -- sets that age ---------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Reach:
    """How far a set reaches from its centre, and how that grows with its age.

    statistical: seconds after the epoch -> radius or half-widths (..., ) at the set's confidence. hard: what adds to it whatever the
    confidence (calibration spread, stage tolerance, model error); added, not squared. growth: times its size at the epoch from which the
    set is refused; what a designer was told to expect.
    """

    statistical: Callable[[float], Any]
    hard: Any = 0.0
    growth: float = GROWTH

    def at(self, age_s: float) -> NDArray[np.float64]:
        """Radius or half-widths `age_s` after the epoch, past `valid_until` too."""
        return add_hard(self.statistical(age_s), self.hard)

    @property
    def valid_until(self) -> float:
        """Age in seconds at which the first of its dimensions has grown by `growth`; infinite for what does not age."""
        limit = self.growth * self.at(0.0)

        def excess(age: float) -> float:
            return float(np.max(self.at(age) - limit))

        if excess(OLDEST_S) <= 0.0:
            return math.inf
        low, high = 0.0, 1e-6
        while excess(high) <= 0.0:
            low, high = high, 2.0 * high
        for _ in range(60):
            middle = (low + high) / 2.0
            low, high = (middle, high) if excess(middle) <= 0.0 else (low, middle)
        return low


@dataclass(frozen=True, slots=True, eq=False)
class _Set:
    """centre: the estimate; reach: about it; confidence: of this set together with those it was made with; of: what of which device;
    epoch: when the centre held, None for what does not age."""

    centre: NDArray[Any]
    reach: Reach
    confidence: float
    of: str = "set"
    epoch: Instant | None = None

    @property
    def valid_until(self) -> float:
        """Seconds after the epoch."""
        return self.reach.valid_until

    def size(self, age_s: float = 0.0) -> NDArray[np.float64]:
        """Radius, or half-widths, at an age up to which a design made from the set is in force.

        Raises HilError `set-stale` past `valid_until`: what was promised for the set would not hold.
        """
        if age_s < 0.0:
            raise InputError("age", "a set cannot be asked about the time before its epoch", where=self.of, found=f"{age_s:g} s", allowed=">= 0")
        size = self.reach.at(age_s)
        if np.any(size > self.reach.growth * self.reach.at(0.0)):
            raise HilError("set-stale", "this set is too old to be designed for", where=self.of, found=f"{age_s:.4g} s old",
                           allowed=f"{self.valid_until:.4g} s, where it has grown {self.reach.growth:g} times",
                           fix="measure again, then design")  # fmt: skip
        return size


class Ball(_Set):
    """Complex (n,) within a radius in the Euclidean norm. A disc is one with n = 1."""

    def holds(self, truth: Any, age_s: float = 0.0) -> bool:
        return bool(np.linalg.norm(np.asarray(truth) - self.centre) <= self.size(age_s))


class Box(_Set):
    """Real (n,), each within its own half-width."""

    def low(self, age_s: float = 0.0) -> NDArray[np.float64]:
        return np.asarray(self.centre - self.size(age_s))

    def high(self, age_s: float = 0.0) -> NDArray[np.float64]:
        return np.asarray(self.centre + self.size(age_s))

    def holds(self, truth: Any, age_s: float = 0.0) -> bool:
        return bool(np.all(np.abs(np.asarray(truth) - self.centre) <= self.size(age_s)))


@dataclass(frozen=True, slots=True, eq=False)
class Ellipse:
    """Real (n,) within `radius` of the centre in the metric of the covariance (n, n); a target's position, which does not age by itself."""

    centre: NDArray[np.float64]
    covariance: NDArray[np.float64]
    radius: float
    confidence: float
    of: str = "target"

    def holds(self, truth: Any) -> bool:
        off = np.asarray(truth) - self.centre
        return bool(off @ np.linalg.solve(self.covariance, off) <= self.radius**2)

    @property
    def axes(self) -> NDArray[np.float64]:
        """(axis, n) semi-axes, longest first."""
        values, directions = np.linalg.eigh(self.covariance)
        return (directions * np.sqrt(values) * self.radius).T[::-1]


def csi_ball(
    channel: Any, covariance: Any, confidence: float = 0.95, joint: int = 1, *, dependent: bool = False, hard: float = 0.0,
    phase_variance: Callable[[float], float] | None = None, growth: float = GROWTH, of: str = "channel", epoch: Instant | None = None,
) -> Ball:  # fmt: skip
    """Channel (n,) of one link. covariance: (n, n) E[e e^H], or (2n, 2n) real of (real, imaginary) where it is improper.

    phase_variance: rad^2 of the link's common phase at an age, where links are used coherently; it adds ||h|| z sqrt(variance). Without
    it the phase drops out and the ball does not age by itself.
    """
    centre = np.atleast_1d(np.asarray(channel, dtype=np.complex128))
    covariance = np.asarray(covariance)
    radius = real_radius if covariance.shape[-1] == 2 * centre.size else ball_radius
    still = float(radius(covariance, confidence, joint, dependent=dependent))
    turn = float(np.linalg.norm(centre)) * interval_factor(each(confidence, joint, dependent=dependent))
    reach = (lambda age: still) if phase_variance is None else (lambda age: still + turn * math.sqrt(phase_variance(age)))
    return Ball(centre, Reach(reach, hard, growth), confidence, of, epoch)


def unvisited_ball(
    channel: Any, covariance: Any, slope: Any, position_std: float, confidence: float = 0.95, joint: int = 1, *, dependent: bool = False,
    hard: float = 0.0, of: str = "predicted channel",
) -> Ball:  # fmt: skip
    """Channel (n,) where no antenna has been: radius epsilon(p) from the prediction's covariance J C J^T (2n, 2n), plus what the antennas'
    own places make of it, position_std metres times ||dh/dp||; slope: (n,) dh/dp per metre, each element by its own position."""
    return csi_ball(channel, covariance, confidence, joint, dependent=dependent, of=of,
                    hard=hard + position_std * float(np.linalg.norm(np.asarray(slope))))  # fmt: skip


def box(
    centre: Any, variance: Callable[[float], Any], confidence: float = 0.95, *, dependent: bool = False, hard: Any = 0.0,
    growth: float = GROWTH, of: str = "clocks", epoch: Instant | None = None,
) -> Box:  # fmt: skip
    """Real (n,) that all lie within their half-widths together: [tau_min, tau_max] of timing offsets, [f_min, f_max] of carrier offsets.

    variance: age -> (n,) variances. dependent: errors that share captures, as pairs with a common node do.
    """
    middle = np.atleast_1d(np.asarray(centre, dtype=np.float64))
    factor = interval_factor(each(confidence, middle.size, dependent=dependent))
    reach = Reach(lambda age: factor * np.sqrt(np.broadcast_to(np.asarray(variance(age), dtype=np.float64), middle.shape)), hard, growth)
    return Box(middle, reach, confidence, of, epoch)


def disc(value: complex, variance: float, confidence: float = 0.95, joint: int = 1, *, dependent: bool = False, hard: float = 0.0,
         of: str = "amplifier", epoch: Instant | None = None) -> Ball:  # fmt: skip
    """One complex coefficient, |beta3 - beta3_hat| <= radius. hard: half its spread over the drive range, which often rules."""
    radius = math.sqrt(variance) * disc_factor(each(confidence, joint, dependent=dependent))
    return Ball(np.atleast_1d(np.complex128(value)), Reach(lambda age: radius, hard), confidence, of, epoch)


def ellipse(centre: Any, covariance: Any, confidence: float = 0.95, joint: int = 1, *, dependent: bool = False, of: str = "target") -> Ellipse:
    """Real (n,) as an ellipsoid; smaller in volume than a box, and never to be intersected with one."""
    covariance = _square(covariance)
    radius = ellipsoid_factor(covariance.shape[-1], each(confidence, joint, dependent=dependent))
    return Ellipse(np.asarray(centre, dtype=np.float64), covariance, radius, confidence, of)
