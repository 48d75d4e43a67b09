"""How still the room is: the same place sounded several times within a fraction of a second, and what differs beyond the noise.

What moves (a walking target, a door) adds an echo to every channel whose phase has turned by the time a design is on the air. It is no
error of the estimate and no averaging over tones finds it; only a second look some tens of milliseconds later does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hil.errors import InputError
from hil.estimate.visits import delay_between

__all__ = ["Looks", "pool"]


@dataclass(frozen=True, slots=True, eq=False)
class Looks:
    """Several looks at one channel as one. mean: (antenna, tone), phase and delay of the first look; variance: (antenna,) or (antenna, tone)
    of its noise; moving: power of what moves, mean over antennas and tones, 0 where the noise hides it; std of that."""

    mean: NDArray[np.complex128]
    variance: NDArray[np.float64]
    moving: float
    moving_std: float


def pool(values: NDArray[np.complex128], variance: NDArray[np.float64], frequencies_hz: NDArray[np.float64]) -> Looks:
    """Join looks at one place. values: (look, antenna, tone); variance: (look, antenna) or (look, antenna, tone) of their noise.

    Looks are not coherent: each is turned by a phase and a delay onto the first, as the static part, which is most of it, demands. Between
    two looks whose moving echoes m are unrelated, E|h1 - h2|^2 = 2 E|m|^2 + noise. Two real parameters per look are fitted and counted.
    """
    values, variance = np.asarray(values, dtype=complex), np.asarray(variance, dtype=float)
    if values.ndim != 3 or variance.shape[:2] != values.shape[:2] or values.shape[-1] != np.size(frequencies_hz):
        raise InputError("shape", "looks, variances and tones disagree", found=f"{values.shape}, {variance.shape}, {np.shape(frequencies_hz)}",
                         allowed="(look, antenna, tone), (look, antenna[, tone]), (tone,)")  # fmt: skip
    looks = values.shape[0]
    turned = values.copy()
    for look in range(1, looks):
        phase, delay = delay_between(values[0], values[look], frequencies_hz)
        turned[look] = values[look] * np.exp(-1j * phase + 2j * np.pi * delay * np.asarray(frequencies_hz))
    mean = turned.mean(0)
    noise = variance.mean(0) / looks
    if looks < 2:
        return Looks(mean, noise, 0.0, np.inf)
    free = values[0].size - 1.0  # complex; a phase and a delay of each look are gone
    spread = float(np.sum(np.abs(turned - mean) ** 2)) / ((looks - 1) * free)
    level = float(variance.mean())
    return Looks(mean, noise, max(spread - level, 0.0), level / np.sqrt((looks - 1) * free))
