"""Phase between base stations: how far it turned from one sounding to the next, how it drifts, and how sure it is at an age.

A look is one joint capture per user in which the pilots of all stations are heard, so that the user's own oscillator and clock turn all
stations alike and drop out. The channel of a station against that of the first then turns by the stations' oscillators alone, by one angle
for all users. A design from the last look is in force some time later: what it may assume of the phase is the drift's prediction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hil.errors import InputError
from hil.knowledge import Estimate

__all__ = ["Coherence", "Drift", "Look", "coherence", "coherent_enough", "rotation"]

MOST_SHARE = 0.5  # of a link's error radius that the phase may take before cooperation does not pay
CLEAR = np.pi / 3.0  # rad; a turn expected with a larger standard deviation may be a whole one off
HUBER = 2.5  # standard deviations from which a user counts for less
SPARED = 5  # one in so many users may do as it likes
GRID = np.linspace(-3.0, 3.0, 25)  # of the logarithm of diffusion, in its prior's standard deviations


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """channels: (station, user, tone, antenna), of every user in one capture; variance: of the noise of an entry, broadcasts to (station,
    user); time_s: when, on any one clock."""

    channels: NDArray[np.complex128]
    variance: NDArray[np.float64]
    time_s: float

    def __post_init__(self) -> None:
        if self.channels.ndim != 4 or self.channels.shape[0] < 2 or not np.all(np.isfinite(self.channels)):
            raise InputError("shape", "a look is (station, user, tone, antenna) of two stations or more, finite", found=f"{self.channels.shape}")


@dataclass(frozen=True, slots=True)
class Drift:
    """What is believed before the first look. rate_std: rad/s between two stations; diffusion: rad^2/s of the walk of their phase; spread:
    standard deviation of its logarithm; walk: rad^2/s^3 of the walk of their frequency."""

    rate_std: float
    diffusion: float
    spread: float = 1.5
    walk: float = 0.0

    @classmethod
    def of_clocks(cls, white: float, walk: float, carrier_hz: float, cfo_std_hz: float) -> Drift:
        """Two oscillators of white frequency noise q1 (s) and frequency walk q2 (1/s) each, whose carriers differ by so much."""
        turns = (2.0 * np.pi * carrier_hz) ** 2
        return cls(2.0 * np.pi * cfo_std_hz, 2.0 * turns * white, walk=2.0 * turns * walk)


def rotation(first: Look, second: Look) -> Estimate:
    """value (station - 1,) rad by which stations 1, 2, ... turned against station 0; covariance (station - 1, station - 1).

    Maximum likelihood over users with what each one's channel moved as a noise of its own: by the coherence of its two looks, at least, and
    by how users disagree (Paule and Mandel 1982). Above threshold when every standard deviation is below a radian.
    """
    if first.channels.shape != second.channels.shape:
        raise InputError("shape", "two looks at one constellation have one shape", found=f"{second.channels.shape}",
                         allowed=f"{first.channels.shape}")  # fmt: skip
    stations, users, tones, antennas = first.channels.shape
    match = np.sum(np.conj(first.channels) * second.channels, axis=3)  # (station, user, tone)
    if tones > 1:  # a user's clock stands elsewhere in each look: the same delay for all stations
        step = np.angle(np.sum(match[..., 1:] * np.conj(match[..., :-1]), axis=(0, 2)))
        match = match * np.exp(-1j * step[:, None] * (np.arange(tones) - 0.5 * (tones - 1)))
    total = match.sum(axis=2)
    entries = tones * antennas
    v1, v2 = (np.broadcast_to(np.asarray(look.variance, float), (stations, users)) for look in (first, second))
    e1, e2 = (np.sum(np.abs(look.channels) ** 2, axis=(2, 3)) for look in (first, second))
    still = np.maximum(np.abs(total) ** 2, 1e-300)
    noise = (v1 * np.maximum(e2 - entries * v2, 0.0) + v2 * np.maximum(e1 - entries * v1, 0.0) + entries * v1 * v2) / (2.0 * still)
    like = np.sqrt(np.maximum((e1 - entries * v1) * (e2 - entries * v2), 0.0) / still)
    power = np.maximum(like - 1.0, 0.0) * np.sqrt(still)  # of what moves; two looks tell it badly, so no link counts less than the mean
    moved = np.maximum(power, power.mean()) / np.sqrt(still) / antennas  # as much of it as falls on the static channel
    each = noise + moved
    apart = np.angle(total[1:] * np.conj(total[:1])).T  # (user, station - 1)
    inner = np.einsum("nu,nk->unk", each[1:], np.eye(stations - 1)) + each[0][:, None, None]
    value, covariance, ratio = _agreed(apart, inner)
    good = bool(np.all(np.diagonal(covariance) < 1.0))
    return Estimate(
        "turn between stations", "stations 1.. against 0", value, covariance, "rad", bound=np.linalg.inv(np.linalg.inv(
            np.einsum("nu,nk->unk", noise[1:], np.eye(stations - 1)) + noise[0][:, None, None]).sum(axis=0)),
        above_threshold=good, assumptions=("one turn for all users",), residual_test=ratio,
    )  # fmt: skip


def _agreed(angles: NDArray, covariances: NDArray) -> tuple[NDArray, NDArray, float]:
    """(mean (n,), covariance (n, n), chi-square per degree) of angles (user, n) that scatter by more than their covariances (user, n, n)."""
    users, n = angles.shape
    weight = 1.0 / np.trace(covariances, axis1=1, axis2=2)
    wrapped = lambda value: (angles - value + np.pi) % (2.0 * np.pi) - np.pi
    # from the user the others are nearest to: a mean would be drawn by one that walked away, and take it for scatter of all
    value = angles[np.argmin([np.sqrt(weight) @ np.linalg.norm(wrapped(one), axis=1) for one in angles])]
    extra, first = 0.0, 0.0
    degrees = (users - 1 - users // SPARED) * n
    for _ in range(8):
        inverse = np.linalg.inv(covariances + extra * np.eye(n))
        rest = wrapped(value)
        far = np.einsum("un,unk,uk->u", rest, inverse, rest)
        held = np.minimum(1.0, HUBER * np.sqrt(n / np.maximum(far, 1e-300)))
        information = np.einsum("u,unk->nk", held, inverse)
        value = value + np.linalg.solve(information, np.einsum("u,unk,uk->n", held, inverse, rest))
        rest = wrapped(value)
        first = _scatter(rest, covariances, 0.0) / max(degrees, 1)
        extra = _extra(rest, covariances, degrees) if degrees and first > 1.0 else 0.0
    covariance = np.linalg.inv(np.einsum("u,unk->nk", held, np.linalg.inv(covariances + extra * np.eye(n))))
    return (value + np.pi) % (2.0 * np.pi) - np.pi, covariance, first


def _scatter(rest: NDArray, covariances: NDArray, extra: float) -> float:
    """Chi-square of angles off their mean, without the worst one in SPARED users: what one does is no scatter of all."""
    each = np.einsum("un,unk,uk->u", rest, np.linalg.inv(covariances + extra * np.eye(rest.shape[1])), rest)
    return float(np.sort(each)[: len(each) - len(each) // SPARED].sum())


def _extra(rest: NDArray, covariances: NDArray, degrees: int) -> float:
    """Added variance at which chi-square equals its degrees of freedom."""
    low, high = 0.0, 1e-8
    while _scatter(rest, covariances, high) > degrees and high < 10.0:
        high *= 4.0
    for _ in range(40):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if _scatter(rest, covariances, middle) > degrees else (low, middle)
    return high


@dataclass(frozen=True, slots=True, eq=False)
class Coherence:
    """Phases between stations after the last look. rates: value (station,) rad/s, 0 for station 0, covariance of stations one by one.

    diffusions: (station, grid) rad^2/s with their posterior weights and, for each, rate and its variance. `above_threshold`: no look's turn
    may be a whole one off.
    """

    rates: Estimate
    diffusions: NDArray[np.float64]
    weights: NDArray[np.float64]
    given: NDArray[np.float64]  # (station, grid, 2) rate and its variance
    walk: float

    @property
    def above_threshold(self) -> bool:
        return self.rates.above_threshold

    def turn(self, age_s: float) -> NDArray[np.float64]:
        """(station,) rad by which the channels of the last look are expected to have turned."""
        return self.rates.value * age_s

    def phase_stds(self, age_s: float, *, turned: bool = True) -> NDArray[np.float64]:
        """(station,) rms error in rad against station 0, `age_s` after the last look. turned: whether the design follows `turn`."""
        rate, variance = self.given[..., 0], self.given[..., 1]
        off = (rate - self.rates.value[:, None]) ** 2 if turned else rate**2
        each = age_s**2 * (variance + off) + self.diffusions * age_s + self.walk * age_s**3 / 3.0
        out = np.sqrt(np.sum(self.weights * each, axis=1))
        out[0] = 0.0
        return out if self.above_threshold else np.where(np.arange(out.size) > 0, np.inf, 0.0)

    def phase_std(self, age_s: float, *, turned: bool = True) -> float:
        """The worst station's."""
        return float(np.max(self.phase_stds(age_s, turned=turned)))


def coherence(rounds: Sequence[Sequence[Look]], drift: Drift) -> Coherence:
    """From the looks of some rounds: within a round antennas stand where they are, between rounds the channels need not be the same.

    Turns against a round's first look y = rate a + walk + noise, walk of covariance diffusion min(a, a'); the rate is normal, the diffusion
    log-normal beforehand. Both are constant over the rounds; without two looks in any, the prior speaks.
    """
    stations = next((len(look.channels) for looks in rounds for look in looks), 0)
    if stations < 2:
        raise InputError("looks", "phases between stations need a look at two of them", found=f"{stations} stations", allowed=">= 2")
    grid = drift.diffusion * np.exp(drift.spread * GRID)
    evidence = np.tile(-0.5 * GRID**2, (stations, 1))
    precision, pull = np.full((stations, grid.size), drift.rate_std**-2.0), np.zeros((stations, grid.size))
    good, seen = True, 0
    for looks in rounds:
        found = [rotation(looks[0], look) for look in looks[1:]]
        if not found:
            continue
        ages = np.array([look.time_s - looks[0].time_s for look in looks[1:]])
        if np.any(np.diff(ages, prepend=0.0) <= 0.0):
            raise InputError("looks", "the looks of a round follow each other", found=f"{ages} s after the first", allowed="increasing")
        good &= all(one.above_threshold for one in found)
        seen += len(found)
        for station in range(1, stations):
            y = np.array([one.value[station - 1] for one in found])
            noise = np.array([one.covariance[station - 1, station - 1] for one in found])
            weight = np.exp(evidence[station] - evidence[station].max())
            mean = float(weight @ (pull[station] / precision[station])) / weight.sum()
            spread = float(weight @ (1.0 / precision[station])) / weight.sum()
            jumps, before = np.diff(ages, prepend=0.0), 0.0
            for k, jump in enumerate(jumps):  # unwrapped from look to look
                expected = before + mean * jump
                y[k] += 2.0 * np.pi * np.round((expected - y[k]) / (2.0 * np.pi))
                before = y[k]
            walked = float(weight @ grid) / weight.sum()
            good &= bool(np.all(np.sqrt(spread * jumps**2 + walked * jumps + noise + drift.walk * jumps**3 / 3.0) < CLEAR))
            common = 0.5 * np.sqrt(np.outer(noise, noise))  # half of each is the first look's
            common[np.diag_indices(len(noise))] = noise
            late = np.minimum.outer(ages, ages)
            least = late**2 * (3.0 * np.maximum.outer(ages, ages) - late) / 6.0 * drift.walk  # of the integral of a walk
            covariance = common + least + grid[:, None, None] * late
            inverse = np.linalg.inv(covariance)
            fresh = precision[station] + np.einsum("i,gij,j->g", ages, inverse, ages)
            moved = pull[station] + np.einsum("i,gij,j->g", ages, inverse, y)
            evidence[station] -= 0.5 * (
                np.linalg.slogdet(covariance)[1] + np.log(fresh / precision[station]) + np.einsum("i,gij,j->g", y, inverse, y)
                - moved**2 / fresh + pull[station] ** 2 / precision[station]
            )  # fmt: skip
            precision[station], pull[station] = fresh, moved
    weights = np.exp(evidence - evidence.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    rate, variance = pull / precision, 1.0 / precision
    value = np.sum(weights * rate, axis=1)
    value[0] = 0.0
    total = np.sum(weights * (variance + (rate - value[:, None]) ** 2), axis=1)
    total[0] = 0.0
    notes = (f"{seen} turns seen", "constant rate", *(() if good else ("turns between looks ambiguous",)))
    rates = Estimate("rate between stations", "stations against 0", value, np.diag(total), "rad/s", bound=np.diag(total), above_threshold=good,
                     assumptions=notes)  # fmt: skip
    return Coherence(rates, np.tile(grid, (stations, 1)), weights, np.stack([rate, variance], axis=-1), drift.walk)


def coherent_enough(channel: ArrayLike, radius: ArrayLike, phase_std: ArrayLike) -> tuple[bool, float]:
    """(whether stations may send one user's data together, worst ||h|| phi over d): only while it is below a half on every link.

    channel: (station, user, [block,] antenna); radius: d without the phase's part, (station, user[, block]), which grows by ||h|| phi, added
    and not by squares; phase_std: phi in rad, one or (station,).
    """
    size = np.linalg.norm(np.asarray(channel), axis=-1)
    phi = np.asarray(phase_std, float)
    turned = size * phi.reshape(phi.shape + (1,) * (size.ndim - phi.ndim))
    radius = np.broadcast_to(np.asarray(radius, float), size.shape)
    share = np.where(turned > 0.0, turned / np.where(radius > 0.0, radius, 1e-300), 0.0)
    worst = float(np.max(share))
    return worst < MOST_SHARE, worst
