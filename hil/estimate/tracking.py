"""A clock between its measurements: offset and rate of one oscillator against another, with a covariance that holds at any age.

State (o, d): o seconds by which the clock is late, d its growth in s/s. A transmitter that is high by cfo at carrier fc gets ever earlier,
so d = -cfo/fc. White frequency noise (q1, s) diffuses the offset, a random walk of frequency (q2, 1/s) the rate. Real oscillators flicker
as well, which two states do not hold: what of it is slower than the readings passes for a walk, what is faster is in every rate that is read
and gone before the next. Fit all three to readings at the pace at which the track is used, and err upwards: q ten times too small covers 54 %,
ten times too large 97 %.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.special import gammaincinv

from hil.clock import Instant
from hil.errors import InputError
from hil.knowledge import Estimate

OFFSET_STD, RATE_STD = 300e-9, 2e-6  # of a clock nobody has heard yet
FALSE_ALARM = 1e-3  # of one innovation: 13.82 for offset and rate together
WIDENED = 10.0  # times, after an innovation that was not believed
WINDOW = 50  # innovations whose mean is held against what it should be
WINDOW_CONFIDENCE = 0.95  # 1.48 to 2.59 for offset and rate
LEAST_READINGS = 8  # from which a clock's noise is told
FRAME_S = 1e-3  # usual capture
PRIOR_DECADES = 1.0  # standard deviation of q about its class, in decades


@dataclass(frozen=True, slots=True)
class ClockNoise:
    """How an oscillator wanders. white: q1 in s, Allan variance q1/tau; walk: q2 in 1/s, Allan variance q2 tau/3.

    fast: (s/s)^2, variance of a rate read over one capture about the rate that lasts until the next reading.
    """

    white: float
    walk: float
    fast: float = 0.0

    def grown(self, age_s: ArrayLike) -> NDArray[np.float64]:
        """Q (..., 2, 2) of (offset, rate) after (...,) seconds: [[q1 a + q2 a^3/3, q2 a^2/2], [q2 a^2/2, q2 a]]."""
        age = np.abs(np.asarray(age_s, dtype=np.float64))
        mixed = self.walk * age**2 / 2.0
        rows = [self.white * age + self.walk * age**3 / 3.0, mixed, mixed, self.walk * age]
        return np.stack(rows, axis=-1).reshape(*age.shape, 2, 2)

    def allan(self, tau_s: ArrayLike) -> NDArray[np.float64]:
        """Allan variance over averages of `tau_s`."""
        tau = np.asarray(tau_s, dtype=np.float64)
        return self.white / tau + self.walk * tau / 3.0

    def scaled(self, factor: float) -> ClockNoise:
        """q1 and q2 `factor` times as large."""
        return replace(self, white=self.white * factor, walk=self.walk * factor)

    def __add__(self, other: ClockNoise) -> ClockNoise:
        """Of two independent oscillators against each other."""
        return ClockNoise(self.white + other.white, self.walk + other.walk, self.fast + other.fast)


CLASSES: Mapping[str, ClockNoise] = {  # what to begin with; the data sheet's Allan deviation at 1 s is 2e-9, 3.3e-10, 3e-12, 1e-12
    "crystal": ClockNoise(1e-18, 9e-18),
    "tcxo": ClockNoise(1e-20, 3e-19),
    "ocxo": ClockNoise(9e-24, 1e-24),
    "shared": ClockNoise(1e-24, 1e-28),
}


class Verdict(StrEnum):
    """What became of a reading."""

    TAKEN = "taken"
    REJECTED = "rejected"  # alone: the reading is not believed, the track widened
    RESTARTED = "restarted"  # twice running: the track is not believed; whatever was made from it is void


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """offset in s and rate in s/s at one instant with covariance (2, 2), or the rate alone (offset None, covariance (1, 1))."""

    at: Instant
    offset: float | None
    rate: float
    covariance: NDArray[np.float64]

    @classmethod
    def of_carrier(cls, cfo: Estimate, carrier_hz: float) -> Reading:
        """The rate that a carrier offset in Hz tells, model terms such as phase noise included. Refuses one without an epoch."""
        if cfo.epoch is None or not cfo.above_threshold:
            raise InputError("reading", "this carrier offset cannot enter a track", key=cfo.of, found="below threshold or without an epoch",
                             allowed="above threshold, at a known time", fix="capture again, closer or longer")  # fmt: skip
        return cls(cfo.epoch, None, -float(cfo.value[0]) / carrier_hz, np.asarray(cfo.covariance, dtype=np.float64) / carrier_hz**2)

    @property
    def value(self) -> NDArray[np.float64]:
        return np.array([self.rate] if self.offset is None else [self.offset, self.rate])

    def error(self, noise: ClockNoise) -> NDArray[np.float64]:
        """R: the measurement's covariance and what of the rate will not last."""
        spread = np.array(self.covariance, dtype=np.float64)
        spread[-1, -1] += noise.fast
        return spread

    @property
    def shown(self) -> NDArray[np.float64]:
        """H (measured, 2): which part of the state was seen."""
        return np.eye(2)[1:] if self.offset is None else np.eye(2)


def forward(age_s: ArrayLike) -> NDArray[np.float64]:
    """F (..., 2, 2) = [[1, a], [0, 1]]."""
    age = np.asarray(age_s, dtype=np.float64)
    step = np.zeros((*age.shape, 2, 2))
    step[..., 0, 0] = step[..., 1, 1] = 1.0
    step[..., 0, 1] = age
    return step


def predicted(
    value: NDArray[np.float64], covariance: NDArray[np.float64], noise: ClockNoise, age_s: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """State (..., 2) and covariance (..., 2, 2) `age_s` later (or earlier): F x and F P F^T + Q(a)."""
    step = forward(age_s)
    return (step @ value[..., None])[..., 0], step @ covariance @ np.swapaxes(step, -1, -2) + noise.grown(age_s)


def corrected(
    value: NDArray[np.float64], covariance: NDArray[np.float64], measured: NDArray[np.float64], error: NDArray[np.float64],
    shown: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:  # fmt: skip
    """State (..., 2), covariance and squared innovation nu^T S^-1 nu (...,) after a measurement (..., m) with covariance `error`.

    shown: H (m, 2). Joseph's form, which stays positive where (I - K H) P loses it to rounding.
    """
    late = measured - value @ shown.T
    spread = shown @ covariance @ shown.T + error
    gain = np.swapaxes(np.linalg.solve(spread, shown @ covariance), -1, -2)
    kept = np.eye(2) - gain @ shown
    after = kept @ covariance @ np.swapaxes(kept, -1, -2) + gain @ error @ np.swapaxes(gain, -1, -2)
    test = np.einsum("...i,...i->...", late, np.linalg.solve(spread, late[..., None])[..., 0])
    return value + (gain @ late[..., None])[..., 0], after, test


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """What is known of one clock against another at `at`: value (2,) = (s, s/s) and covariance (2, 2).

    generation: counts restarts; what was made from an earlier one is void. noise: in use now, `scaled` times what the track began with.
    tests: squared innovations since the noise was last judged, each with its degrees of freedom.
    """

    at: Instant
    value: NDArray[np.float64]
    covariance: NDArray[np.float64]
    noise: ClockNoise
    verdict: Verdict = Verdict.TAKEN
    generation: int = 0
    scaled: float = 1.0
    tests: tuple[tuple[float, int], ...] = ()

    @classmethod
    def begin(cls, first: Reading, noise: ClockNoise) -> Track:
        """From a first reading, about which nothing was known but that clocks start within 300 ns and 2 ppm of what is measured."""
        value = np.array([0.0, first.rate]) if first.offset is None else first.value
        prior = np.diag([OFFSET_STD**2, RATE_STD**2])
        value, covariance, _ = corrected(value, prior, first.value, first.error(noise), first.shown)
        return cls(first.at, value, covariance, noise)

    def after(self, age_s: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """State (2,) and covariance (2, 2) `age_s` seconds after the last reading."""
        return predicted(self.value, self.covariance, self.noise, age_s)

    def when(self, instant: Instant) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """State and covariance at an instant; before the last reading too, where the covariance is that of going back."""
        return self.after(instant.since(self.at))

    def offset_variance(self, age_s: float) -> float:
        """s^2, `age_s` after the last reading: what a timing box grows by."""
        return float(self.after(age_s)[1][0, 0])

    def rate_variance(self, age_s: float) -> float:
        """(s/s)^2 of the rate over one capture, `age_s` after the last reading; times fc^2 it is that of the carrier offset."""
        return float(self.after(age_s)[1][1, 1]) + self.noise.fast

    def updated(self, reading: Reading) -> Track:
        """With one more reading, after the test of its innovation.

        Beyond what happens once in a thousand: the reading is rejected and the covariance widened by ten; twice running (a retune, a jump
        of temperature, another node): restarted from this reading. When fifty have been taken and their mean lies outside its 95 % range,
        the noise is scaled by what it should have been. Raises InputError for a reading from before the track.
        """
        age = reading.at.since(self.at)
        if age < 0.0:
            raise InputError("reading", "a track takes readings in the order of time", key="at", found=f"{-age:g} s before the last",
                             allowed="later", fix="sort the readings by epoch")  # fmt: skip
        ahead, spread = self.after(age)
        value, covariance, test = corrected(ahead, spread, reading.value, reading.error(self.noise), reading.shown)
        freedom = len(reading.value)
        if float(test) > _quantile(1.0 - FALSE_ALARM, freedom):
            if self.verdict is not Verdict.REJECTED:
                return replace(self, at=reading.at, value=ahead, covariance=WIDENED * spread, verdict=Verdict.REJECTED)
            fresh = Track.begin(reading, self.noise)
            return replace(fresh, verdict=Verdict.RESTARTED, generation=self.generation + 1, scaled=self.scaled)
        taken = replace(self, at=reading.at, value=value, covariance=covariance, verdict=Verdict.TAKEN,
                        tests=(*self.tests, (float(test), freedom)))  # fmt: skip
        return taken if len(taken.tests) < WINDOW else taken._judged()

    def _judged(self) -> Track:
        """With the noise scaled where the last innovations were too large or too small for it, and the count begun anew."""
        freedom = sum(each for _, each in self.tests)
        mean = sum(test for test, _ in self.tests) / freedom
        low, high = (_quantile(tail, freedom) / freedom for tail in ((1.0 - WINDOW_CONFIDENCE) / 2.0, (1.0 + WINDOW_CONFIDENCE) / 2.0))
        factor = 1.0 if low <= mean <= high else mean
        return replace(self, noise=self.noise.scaled(factor), scaled=self.scaled * factor, tests=())


def _quantile(probability: float, freedom: int) -> float:
    """Of chi-square."""
    return 2.0 * float(gammaincinv(freedom / 2.0, probability))


def allan(offsets: ArrayLike, interval_s: float) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """(tau, Allan variance, degrees of freedom), each (octave,), of clock offsets (n,) in s, `interval_s` apart; overlapping estimator."""
    x = np.asarray(offsets, dtype=np.float64)
    steps = 2 ** np.arange(max(int(np.log2(max(len(x) - 1, 1) / 4.0)) + 1, 1))
    variance = [np.mean((x[2 * m :] - 2.0 * x[m:-m] + x[: -2 * m]) ** 2) / (2.0 * (m * interval_s) ** 2) for m in steps]
    return steps * interval_s, np.array(variance), np.maximum((len(x) - 1) / steps - 1.0, 1.0)


def fitted(
    offsets: ArrayLike, rates: ArrayLike, interval_s: float, covariance: NDArray[np.float64], prior: ClockNoise
) -> ClockNoise:
    """A clock's noise from one's own readings of offset and rate, (n,) each, `interval_s` apart, with errors of `covariance` (2, 2).

    The most probable values: Allan variances of the offsets are gamma distributed about q1/tau + q2 tau/3 + 3 var_o/tau^2 (the last is the
    measurement's), half mean squares of rates `tau` apart about q2 tau/2 + fast + var_d, and each value log-normal about the class (fast
    about q1 over a capture of a millisecond where the class tells none). Raises InputError for fewer than eight readings.
    """
    x, d = np.asarray(offsets, dtype=np.float64), np.asarray(rates, dtype=np.float64)
    if len(x) < LEAST_READINGS or x.shape != d.shape:
        raise InputError("clock-noise", "too few readings to tell how a clock wanders", key="offsets", found=f"{len(x)} and {len(d)}",
                         allowed=f"{LEAST_READINGS} of each", fix="use the class until there are more")  # fmt: skip
    tau, variance, freedom = allan(x, interval_s)
    steps = np.round(tau / interval_s).astype(int)
    apart = np.array([np.mean((d[m:] - d[:-m]) ** 2) / 2.0 for m in steps])
    floor = 3.0 * covariance[0, 0] / tau**2
    middle = np.log([prior.white, prior.walk, prior.fast or prior.white / FRAME_S])
    width = np.log(10.0) * np.array([PRIOR_DECADES, PRIOR_DECADES, 2.0 * PRIOR_DECADES])

    def improbable(logs: NDArray[np.float64]) -> float:
        told = ClockNoise(*np.exp(logs))
        total = np.sum(np.square((logs - middle) / width)) / 2.0
        for model, seen in ((told.allan(tau) + floor, variance), (told.walk * tau / 2.0 + told.fast + covariance[1, 1], apart)):
            total += np.sum(freedom / 2.0 * (np.log(model) + seen / model))
        return float(total)

    best = minimize(improbable, middle, method="Nelder-Mead", options={"xatol": 1e-3, "fatol": 1e-4, "maxiter": 2000})
    return ClockNoise(*(float(each) for each in np.exp(best.x)))
