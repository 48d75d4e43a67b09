"""How a carrier's phase wanders within one capture: a random walk, and a part that stays bounded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_LEAST_PAIRS = 12  # of symbols, from which a walk can be told from noise
_CLEAR = 4.0  # standard deviations that it must stand out
_STILL = 1.5  # and the bounded part beside it: what cannot be told apart counts as a walk, which errs upwards
_NO_WALK = 2.5  # standard deviations of the still part from which a growth that is not clear is none
_MEDIAN = 0.4549  # of a squared Gaussian of unit variance
_OUTLIER = 9.0  # times the mean square: a Gaussian passes it once in 370
_SPREAD = 1.42  # standard deviation of a squared Gaussian over its mean


@dataclass(frozen=True, slots=True)
class Wander:
    """diffusion: rad^2/s, rate s_w of the random walk; bounded: rad^2 per symbol, of what does not grow. Zero where it does not stand out."""

    diffusion: float = 0.0
    bounded: float = 0.0


def structure(
    times: NDArray[np.float64], phases: NDArray[np.float64], variance: NDArray[np.float64], label: NDArray[np.int64], averaged: float = 0.0
) -> Wander:
    """From the structure function of residual phases: E(phi(t + a) - phi(t))^2 = s_w a + 2 bounded, less what noise puts there.

    averaged: seconds over which each phase is a mean: of a walk it takes s_w averaged/3, a fifth of it between neighbouring symbols.

    times, phases, variance, label: (symbol,) rising seconds, radians, noise variance, group; only symbols of one group have a common
    reference. Ages reach to an eighth of the capture: beyond, the carrier's fit takes the walk's slope away. Outliers are cut, so
    that an interferer in a few symbols does not count as a walk.
    """
    if len(times) < 3:
        return Wander()
    first, second = np.triu_indices(len(times), 1)
    age = times[second] - times[first]
    span = times[-1] - times[0]
    kept = (label[first] == label[second]) & (age <= span / 8.0)
    first, second, age = first[kept], second[kept], age[kept]
    if len(age) < _LEAST_PAIRS:
        return Wander()
    turn = np.angle(np.exp(1j * (phases[second] - phases[first])))
    shortest = float(age.min())
    octave = np.round(np.log2(age / shortest)).astype(int)
    ages, values, noise, number = [], [], [], []
    for each in np.unique(octave):
        mine = octave == each
        ages.append(float(age[mine].mean()))
        noise.append(float(np.median(variance[first[mine]] + variance[second[mine]])))
        square = turn[mine] ** 2
        values.append(float(np.mean(np.minimum(square, _OUTLIER * np.median(square) / _MEDIAN))) - noise[-1])
        # differences over an age that overlap tell no more than those side by side
        number.append(max(min(float(np.count_nonzero(mine)), len(times) * shortest / ages[-1]), 1.0))
    a, v, level, n = (np.array(part) for part in (ages, values, noise, number))
    a = a - averaged / 3.0
    spread = _SPREAD * (level + np.maximum(v, 0.0).min()) / np.sqrt(n)
    weight = 1.0 / np.square(spread)
    scale = np.sum(weight * a**2)
    diffusion, deviation, rest = np.sum(weight * a * v) / scale, 1.0 / np.sqrt(scale), 0.0
    if diffusion <= _CLEAR * deviation:
        diffusion, rest = 0.0, np.sum(weight * v) / weight.sum()
    elif len(a) > 1:  # a walk alone, unless what does not grow with age stands out
        mean_a, mean_v = np.sum(weight * a) / weight.sum(), np.sum(weight * v) / weight.sum()
        stretch = np.sum(weight * (a - mean_a) ** 2)
        slope = np.sum(weight * (a - mean_a) * (v - mean_v)) / stretch
        still = mean_v - slope * mean_a
        doubt = np.sqrt(1.0 / weight.sum() + mean_a**2 / stretch)
        if still > _STILL * doubt and slope > _CLEAR / np.sqrt(stretch):
            diffusion, rest = slope, still
        elif still > _NO_WALK * doubt:
            diffusion, rest = 0.0, mean_v
    bounded = rest / 2.0 if rest > _CLEAR / np.sqrt(weight.sum()) else 0.0
    return Wander(float(diffusion), float(bounded))
