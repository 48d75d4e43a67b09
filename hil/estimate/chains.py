"""Complex gains of an array's chains, relative to the first: converters, cables and amplifiers that no calibration has compared yet.

What element n sends (or hears) at local x p is c_n h(p). A delay error of 50 ps in a chain is 0.9 mrad rms over 11.5 MHz, 1.8 mrad at its
edges, -58 dB of the signal: one complex number per chain is enough for a band this narrow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hil.errors import InputError

__all__ = ["ChainGains", "combine", "complex_covariance", "guess"]


@dataclass(frozen=True, slots=True, eq=False)
class ChainGains:
    """Gains of an array's chains relative to its first.

    value: (antenna,), value[0] = 1. covariance: real (2 (antenna - 1), 2 (antenna - 1)) of Re and Im of chains 1, 2, ..., interleaved;
    bound: the same from the Cramer-Rao bound. Zeros: known exactly. Below threshold nothing is known but that the chains are there.
    """

    value: NDArray[np.complex128]
    covariance: NDArray[np.float64]
    bound: NDArray[np.float64]
    above_threshold: bool = True
    assumptions: tuple[str, ...] = ()

    @classmethod
    def known(cls, value: NDArray[np.complex128]) -> ChainGains:
        """Without error."""
        nothing = np.zeros(2 * (2 * (len(value) - 1),))
        return cls(np.asarray(value, dtype=complex) / value[0], nothing, nothing)

    @property
    def balanced(self) -> NDArray[np.complex128]:
        """(antenna,) scaled to rms 1, as only ratios are known; ones where nothing is."""
        value = self.value if self.above_threshold else np.ones_like(self.value)
        return value / np.sqrt(np.mean(np.abs(value) ** 2))

    @property
    def std(self) -> NDArray[np.float64]:
        """(antenna,) root of E|error|^2, the first 0."""
        return _std(self.covariance)

    @property
    def bound_std(self) -> NDArray[np.float64]:
        """(antenna,) the same from the bound."""
        return _std(self.bound)


def _std(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.sqrt(np.append(0.0, np.diag(covariance).reshape(-1, 2).sum(axis=1)))


def combine(told: Sequence[ChainGains]) -> ChainGains:
    """One array's chain gains from several estimates, each weighed by its information; their noise is taken to be independent.

    Errors of the array's positions are shared by links of one array and counted as independent; they are a small part (a displacement
    that stays alike over an element's visits turns its chain, 4 mrad for 50 um). Estimates below threshold have no say; with none above,
    the first is returned. A disagreement beyond 99.9 % widens the covariance by its ratio.
    """
    if not told:
        raise InputError("no-chains", "chain gains are combined from one estimate or more", found="none")
    trusted = [one for one in told if one.above_threshold]
    if len(trusted) < 2 or not trusted[0].covariance.any():
        return (trusted or list(told))[0]
    precision = [np.linalg.inv(one.covariance) for one in trusted]
    covariance = np.linalg.inv(sum(precision))
    parts = [np.ascontiguousarray(one.value[1:]).view(np.float64) for one in trusted]
    mean = covariance @ sum(p @ part for p, part in zip(precision, parts))
    apart = sum(float((part - mean) @ p @ (part - mean)) for p, part in zip(precision, parts))
    degrees, notes = (len(trusted) - 1) * mean.size, trusted[0].assumptions
    if apart > degrees * _limit(degrees):
        covariance, notes = covariance * apart / degrees, (*notes, "links disagree")
    bound = np.linalg.inv(sum(np.linalg.inv(one.bound) for one in trusted))
    return ChainGains(np.append(1.0, mean.view(np.complex128)), covariance, bound, True, notes)


def _limit(degrees: int) -> float:
    """99.9 % of chi-square over its degrees of freedom (Wilson and Hilferty 1931)."""
    spread = 2.0 / (9.0 * degrees)
    return float((1.0 - spread + 3.0902 * np.sqrt(spread)) ** 3)


def guess(
    values: NDArray[np.complex128], variance: NDArray[np.float64], positions: NDArray[np.float64], element: NDArray[np.intp],
    wavelength: float, position_std: float,
) -> ChainGains:  # fmt: skip
    """Chain gains without any idea of the paths, from visits aligned with each other.

    values: (row, dimension); variance (row, 1) of noise and whatever moves; positions (row,), element (row,). The field along the rail is
    band-limited: waves from all directions have the covariance sinc(2 d/wavelength) between places d apart, and rows divided by their chain
    gains c_n must fit one such field. With b_n = 1/c_n the likelihood's exponent is a Hermitian form b^H M b; its least eigenvector is the
    answer, so there is no start to get wrong. Places that two elements have visited weigh most.
    """
    antennas = int(element.max()) + 1
    noise = float(np.mean(variance))
    form = np.zeros((antennas, antennas), complex)
    member = element == np.arange(antennas)[:, None]  # (antenna, row)
    kernel, modes = np.linalg.eigh(np.sinc(2.0 * (positions[:, None] - positions) / wavelength))
    for entry in values.T:
        power = max(float(np.mean(np.abs(entry) ** 2)) - noise, 0.0)
        floor = noise + power * (2.0 * np.pi * position_std / wavelength) ** 2
        own = modes.T @ (entry * member).T  # (mode, antenna)
        form += (own.conj() / (power * np.maximum(kernel, 0.0) + floor)[:, None]).T @ own
    share = np.sqrt(member.sum(axis=1))
    _, vectors = np.linalg.eigh(form / np.outer(share, share))
    value = (vectors[0, 0] / share[0]) / (vectors[:, 0] / share)
    slope = np.diag(value[1:] ** 2)  # of c on b, but for the sign
    return ChainGains(value, *2 * (complex_covariance(slope @ np.linalg.inv(form[1:, 1:]) @ slope.conj()),))


def complex_covariance(spread: NDArray[np.complex128]) -> NDArray[np.float64]:
    """Of Re and Im, interleaved, from E[e e^H] of a circular error."""
    rows = np.stack([np.stack([spread.real, -spread.imag], -1), np.stack([spread.imag, spread.real], -1)], axis=1) / 2.0
    return rows.reshape(2 * len(spread), 2 * len(spread))
