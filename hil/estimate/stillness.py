"""How still the room is: the same place sounded several times within a fraction of a second, what differs, and from where it comes.

What moves (a walking target, a door) adds an echo to every channel whose phase has turned by the time a design is on the air. It is no
error of the estimate and no averaging over tones finds it; only a second look some tens of milliseconds later does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from hil.errors import InputError
from hil.estimate.visits import delay_between

__all__ = ["Looks", "Moving", "off", "pool", "whereabouts"]

ROUNDS = 12  # of the fixed point in `whereabouts`
FAINT = 1e-3  # cells below this share of the strongest are given up on the way
FADING = 0.1  # variance over square mean of an echo's power as its source walks about: its parts do not stay in step
ELSEWHERE = 0.1  # share of the power that is left spread over every direction and delay: it walks on


@dataclass(frozen=True, slots=True, eq=False)
class Looks:
    """Several looks at one channel as one.

    mean: (antenna, tone), phase and delay of the first look; variance: (antenna,) or (antenna, tone) of its noise; moving: power of what
    moves, mean over antennas and tones, 0 where the noise hides it; std of that. apart: (antenna, tone) the last look less the first,
    scaled to hold as much noise as `mean`; its echo of what moves is then as strong as that in `mean`, a share `left` of `moving`, while
    of what stands still it holds nothing. None for a single look.
    """

    mean: NDArray[np.complex128]
    variance: NDArray[np.float64]
    moving: float
    moving_std: float
    apart: NDArray[np.complex128] | None = None
    left: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Moving:
    """Echoes that are new in every visit: a plane wave of unknown phase from each cell. cosines, delays (s), powers: (cell,)."""

    cosines: NDArray[np.float64]
    delays: NDArray[np.float64]
    powers: NDArray[np.float64]

    @classmethod
    def anywhere(cls, power: float, cosines: NDArray[np.float64], delays: NDArray[np.float64]) -> Moving:
        """`power` spread evenly over every pair of a cosine and a delay."""
        cosine, delay = (a.ravel() for a in np.meshgrid(cosines, delays, indexing="ij"))
        return cls(cosine, delay, np.full(cosine.size, power / cosine.size))

    @property
    def power(self) -> float:
        return float(self.powers.sum())

    def waves(self, positions: NDArray[np.float64], atoms: NDArray[np.complex128], wavelength: float) -> NDArray[np.complex128]:
        """(visit, antenna x dimension, cell) of unit gain at positions (visit, antenna); atoms: (cell, dimension) of the delays."""
        steering = np.exp(2j * np.pi / wavelength * positions[..., None] * self.cosines)  # (visit, antenna, cell)
        return np.einsum("vac,cd->vadc", steering, atoms).reshape(positions.shape[0], -1, self.cosines.size)


def pool(values: NDArray[np.complex128], variance: NDArray[np.float64], frequencies_hz: NDArray[np.float64]) -> Looks:
    """Join looks at one place. values: (look, antenna, tone); variance: (look, antenna) or (look, antenna, tone) of their noise.

    Looks are not coherent: each is turned by a phase and a delay onto the first, as the static part, which is most of it, demands. Between
    two looks whose moving echoes m are unrelated, E|h1 - h2|^2 = 2 E|m|^2 + noise. Two real parameters per look are fitted and counted.
    """
    values, variance = np.asarray(values, dtype=complex), np.asarray(variance, dtype=float)
    if values.ndim != 3 or variance.shape[:2] != values.shape[:2] or values.shape[-1] != np.size(frequencies_hz):
        raise InputError(
            "shape", "looks, variances and tones disagree", found=f"{values.shape}, {variance.shape}, {np.shape(frequencies_hz)}",
            allowed="(look, antenna, tone), (look, antenna[, tone]), (tone,)",
        )  # fmt: skip
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
    apart = (turned[-1] - turned[0]) / np.sqrt(2.0 * looks)
    return Looks(mean, noise, max(spread - level, 0.0), level / np.sqrt((looks - 1) * free), apart, 1.0 / looks)


def off(power: NDArray[np.float64], visits: int, now: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """How far a channel in force may lie from the mean of two looks, for what moves: norm over root of antennas, shape of `power`.

    power: of what moves, mean over `visits`, each of which scatters by 1/sqrt 2 of it with the phase its echo turned by, and from place to
    place by `FADING`: taken at its upper 95 % limit. now: `Looks.moving` of the two looks themselves, half the square of their
    difference d. With echoes m1, m2 of norm m,
    |m1 + m2|^2/4 = m^2 - |d|^2/4, so what differs much has already left the mean: at most m + sqrt(m^2 - now/2) is missing, between m and
    2 m. None: before the looks, with the root mean square of that over phases.
    """
    power = np.asarray(power, dtype=float) * (1.0 + ndtri(0.95) * np.sqrt(0.5 / visits + FADING))
    if now is None:
        return (1.0 + np.sqrt(0.5)) * np.sqrt(power)
    gone = np.asarray(now, dtype=float) / 2.0
    power = np.maximum(power, gone)
    return np.sqrt(power) + np.sqrt(power - gone)


def whereabouts(apart: NDArray[np.complex128], variance: NDArray[np.float64], waves: NDArray[np.complex128], start: Moving) -> Moving:
    """Power of what moves, cell by cell, from the differences of the looks of several visits.

    apart: (visit, entry); variance: (visit, entry) of its noise; waves: (visit, entry, cell). The differences hold noise and independent
    gains in every visit: covariance diag(variance) + sum of p_c a_c a_c^H. p_c <- p_c sqrt(sum |a_c^H S^-1 d|^2 / sum a_c^H S^-1 a_c)
    climbs to the maximum of their likelihood and thins out cells that nothing came from.
    """
    powers, cells = start.powers.copy(), np.arange(start.powers.size)
    if start.power <= 0.0:
        return start
    scale = 1.0 / np.sqrt(variance)
    apart, waves = apart * scale, waves * scale[..., None]
    for _ in range(ROUNDS):
        own = waves[..., cells]
        covariance = (own * powers[cells]) @ np.conj(np.swapaxes(own, 1, 2)) + np.eye(apart.shape[1])
        solved = np.linalg.solve(covariance, np.concatenate([own, apart[..., None]], axis=-1))
        got = np.sum(np.abs(np.einsum("vec,ve->vc", own.conj(), solved[..., -1])) ** 2, axis=0)
        expected = np.sum(np.real(own.conj() * solved[..., :-1]), axis=(0, 1))
        powers[cells] *= np.sqrt(got / np.maximum(expected, 1e-300))
        powers[powers < FAINT * powers.max()] = 0.0
        cells = np.flatnonzero(powers)
    spread = ELSEWHERE * start.power / powers.size
    return Moving(start.cosines, start.delays, powers + spread)
