"""A moving target from the echoes of several transmitters at one sensing array: position in the plane, velocity, and how sure.

Non-coherent maximum likelihood: every transmitter's echo has its own unknown complex gain. A grid over the prior's region with free Doppler
per transmitter, then Gauss-Newton on position, velocity, delay references and gains from the best few lobes. The static room is removed by
its zero Doppler; what that costs the target is the reported loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, special

from hil.clock import Instant
from hil.errors import InputError
from hil.estimate.echoes import Echoes
from hil.estimate.echomodel import Pair
from hil.knowledge import Estimate

__all__ = ["Fix", "Settings", "locate"]


@dataclass(frozen=True, slots=True)
class Settings:
    """How a target is looked for."""

    reach: float = 4.0  # standard deviations of the prior that the grid covers
    least_std: float = 0.5  # metres; a sharper prior still leaves the target room to have walked
    step: float = 0.4  # metres between grid points: a third of the beam of +-4 wavelengths at 10 m
    speed: float = 2.0  # m/s, the fastest target looked for
    speed_std: float = 2.0  # m/s, prior of each velocity component
    lobes: int = 6  # starts of the refinement
    least_snr_db: float = 15.0  # integrated, after the static part is removed; a pair below it is not used
    most_loss_db: float = 6.0  # some pair must lose less: a target that walks along every ellipse hides behind the room's zero Doppler
    ambiguity: float = 4.6  # log-likelihood distance below which two lobes are not told apart
    false_alarm: float = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class Fix:
    """Where the target is. Pairs are (transmitter, sensing array), in the order of the echoes given."""

    estimate: Estimate  # value (3,) metres, world frame, at the middle of the capture; covariance (3, 3), z from the prior
    velocity: NDArray[np.float64]  # (2,) m/s, world x and y
    velocity_std: NDArray[np.float64]
    snr_db: NDArray[np.float64]  # (pair,) integrated, before the static part was removed
    loss_db: NDArray[np.float64]  # (pair,) of target energy by that removal
    used: NDArray[np.bool_]  # (pair,) whether its echo was strong enough to count
    gains: NDArray[np.complex128]  # (pair,)
    ambiguity: float  # log-likelihood distance of the second-best lobe; infinity when there is none
    alternatives: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 3)))  # lobes within `Settings.ambiguity`
    likelihood: float = 0.0  # energy found over noise: the detection statistic
    threshold: float = 0.0

    @property
    def above_threshold(self) -> bool:
        return self.estimate.above_threshold


@dataclass(frozen=True, slots=True, eq=False)
class _Point:
    """Parameters at one stage of the refinement, and what they leave."""

    place: NDArray[np.float64]  # (3,)
    velocity: NDArray[np.float64]  # (3,)
    delays: NDArray[np.float64]  # (pair,)
    gains: NDArray[np.complex128]  # (pair,)
    cost: float  # minus log posterior
    found: float  # log-likelihood gained over "no target"


def locate(
    echoes: Sequence[Echoes], *, receivers: Any, carrier_hz: float, prior: Any, prior_std: Any, of: str = "target",
    settings: Settings = Settings(), epoch: Instant | None = None, sources: tuple[str, ...] = (),
) -> Fix:  # fmt: skip
    """Fix of one target from `hil.estimate.echoes.observe`.

    receivers: (rx, 3) metres, world frame. prior: (3,) metres, its z taken as known to prior_std; prior_std: scalar or (3,) metres.
    """
    prior, prior_std = np.asarray(prior, dtype=float), np.broadcast_to(np.asarray(prior_std, dtype=float), (3,))
    if prior.shape != (3,) or not np.all(np.isfinite(prior)) or not np.all(prior_std > 0.0):
        raise InputError("prior", "a prior is a point and a positive standard deviation", found=f"{prior}, {prior_std}", allowed="(3,) m")
    if not echoes:
        raise InputError("no-transmitter", "no echoes to locate by", fix="capture while at least one transmitter sends")
    prior_std = np.append(np.maximum(prior_std[:2], settings.least_std), prior_std[2])
    everything = [Pair.of(each, receivers, carrier_hz) for each in echoes]
    starts, cells = _starts(everything, prior, prior_std, settings)
    lobes = _lobes(everything, starts, settings)
    before, after = _energies(everything, lobes[0])
    used = 10.0 * np.log10(np.maximum(after, 1e-12)) >= settings.least_snr_db
    pairs = everything
    if used.any() and not used.all():  # fit again with the strong ones alone
        pairs = [pair for pair, strong in zip(everything, used) if strong]
        starts, cells = _starts(pairs, prior, prior_std, settings)
        lobes = _lobes(pairs, starts, settings)
    best = lobes[0]
    bound, everything_std = _bound(pairs, best, settings)
    ratio, misfit = _residual(pairs, best)
    covariance = np.zeros((3, 3))
    covariance[:2, :2] = bound * (max(ratio, 1.0) if misfit else 1.0)
    covariance[2, 2] = prior_std[2] ** 2
    full_bound = covariance.copy()
    full_bound[:2, :2] = bound
    others = [lobe for lobe in lobes[1:] if np.linalg.norm(lobe.place - best.place) > 3.0 * np.sqrt(np.trace(bound)) + 0.05]
    ambiguity = min((lobe.cost - best.cost for lobe in others), default=np.inf)
    close = [lobe.place for lobe in others if lobe.cost - best.cost < settings.ambiguity]
    threshold = _threshold(cells, len(pairs), settings.false_alarm)
    inside = np.all(np.abs(best.place[:2] - prior[:2]) <= settings.reach * prior_std[:2] + settings.step)
    sharp = np.trace(bound) < float(np.sum(prior_std[:2] ** 2))
    reasons = [
        (best.found >= threshold, f"no echo: {best.found:.1f} below {threshold:.1f}"),
        (used.any(), f"every echo under {settings.least_snr_db:g} dB after removing the static room"),
        (np.any(used & (before < after * 10.0 ** (settings.most_loss_db / 10.0))), "walks across the line of sight: Doppler too small"),
        (ambiguity >= settings.ambiguity, f"ambiguous: another lobe {ambiguity:.1f} below"),
        (sharp, "no sharper than the prior"),
        (inside, "outside the prior's region"),
    ]
    assumptions = ["point target", "height known", "static room"] + [text for good, text in reasons if not good]
    assumptions += ["model misfit"] if misfit else []
    assumptions += [f"pair {number} not used" for number in np.flatnonzero(~used)] if used.any() else []
    gains = np.zeros(len(everything), complex)
    gains[used if used.any() else slice(None)] = best.gains
    estimate = Estimate(
        "target position", of, best.place, covariance, "m", bound=full_bound, epoch=epoch,
        above_threshold=all(bool(good) for good, _ in reasons), assumptions=tuple(assumptions), residual_test=ratio, sources=sources,
    )  # fmt: skip
    decibels = lambda power: 10.0 * np.log10(np.maximum(power, 1e-12))
    return Fix(
        estimate, best.velocity[:2], everything_std[2:4], decibels(before), decibels(before) - decibels(after), used, gains,
        float(ambiguity), np.array(close).reshape(-1, 3), best.found, threshold,
    )  # fmt: skip


def _threshold(cells: float, pairs: int, false_alarm: float) -> float:
    """x with cells exp(-x) sum_{i<pairs} x^i/i! = false alarm."""
    return float(special.gammainccinv(pairs, false_alarm / cells))


def _starts(
    pairs: Sequence[Pair], prior: NDArray, prior_std: NDArray, settings: Settings
) -> tuple[list[tuple[NDArray, NDArray]], float]:
    """Best few grid points with a velocity each, and how many cells were looked at."""
    axes = [np.arange(-settings.reach * std, settings.reach * std + settings.step / 2, settings.step) for std in prior_std[:2]]
    shape = (axes[0].size, axes[1].size)
    grid = np.stack([*np.meshgrid(prior[0] + axes[0], prior[1] + axes[1], indexing="ij"), np.full(shape, prior[2])], axis=-1)
    points = grid.reshape(-1, 3)
    total = np.zeros(len(points))
    dopplers = []
    width = 0.0
    for pair in pairs:
        match, doppler = _map(pair, points, settings)
        dopplers.append(doppler[np.argmax(match, axis=0)])
        total += match.max(axis=0)
        width = doppler.size
    total = total.reshape(shape)
    chosen: list[tuple[NDArray, NDArray]] = []
    left = total.copy()
    while len(chosen) < settings.lobes and np.isfinite(left.max()):
        i, j = np.unravel_index(np.argmax(left), shape)
        number = int(np.ravel_multi_index((i, j), shape))
        around = total[max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2]
        if total[i, j] >= around.max():
            chosen.append((grid[i, j], _velocity(pairs, grid[i, j], [d[number] for d in dopplers], settings)))
        left[max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2] = -np.inf
    return chosen, float(points.shape[0] * width)


def _map(pair: Pair, points: NDArray, settings: Settings) -> tuple[NDArray, NDArray]:
    """Detection statistic (doppler, point) of one pair, and the Doppler frequencies in hertz."""
    times = pair.echoes.times
    span = float(np.ptp(times))
    most = 2.0 * settings.speed / pair.wavelength
    count = int(np.ceil(most * span * 2.0))
    doppler = np.linspace(-most, most, 2 * count + 1)
    turn = np.exp(-2j * np.pi * np.outer(doppler, times))
    spectrum = np.einsum("dt,trg->drg", turn, pair.data * pair.root, optimize=True)
    weight = np.mean(pair.root[:, 0] ** 2, axis=1)
    kept = weight.sum() - np.abs(turn @ weight) ** 2 / weight.sum()  # energy left of a unit echo at this Doppler
    b = pair.snapshot(points).reshape(len(points), -1)
    match = np.abs(b.conj() @ spectrum.reshape(doppler.size, -1).T) ** 2
    energy = np.sum(np.abs(b) ** 2, axis=1)
    kept = np.maximum(kept, 0.02 * weight.sum())
    return (match / (energy[:, None] * kept * pair.variance)).T, doppler


def _velocity(pairs: Sequence[Pair], point: NDArray, dopplers: Sequence[float], settings: Settings) -> NDArray:
    """(3,) velocity whose Doppler is nearest to those found, under the prior of zero mean."""
    rows = []
    for pair in pairs:
        legs = [point - pair.echoes.antennas.mean(axis=0), point - pair.receivers.mean(axis=0)]
        rows.append(-sum(leg / np.linalg.norm(leg) for leg in legs)[:2] / pair.wavelength)
    rows, wanted = np.array(rows), np.array(dopplers)
    good = 4.0**2  # variance of a Doppler read off the grid, Hz^2
    normal = rows.T @ rows / good + np.eye(2) / settings.speed_std**2
    return np.append(np.linalg.solve(normal, rows.T @ wanted / good), 0.0)


def _normal(pairs: Sequence[Pair], point: _Point, settings: Settings) -> tuple[NDArray, NDArray]:
    """Normal matrix and slope of minus log posterior; parameters (x, y, vx, vy, delay per pair, Re g and Im g per pair)."""
    count = len(pairs)
    size = 4 + 3 * count
    normal, slope = np.zeros((size, size)), np.zeros(size)
    for number, pair in enumerate(pairs):
        unit, parts = pair.slopes(point.place, point.velocity, float(point.delays[number]))
        gain = point.gains[number]
        columns = pair.cleaned(np.concatenate([gain * parts, unit[None], 1j * unit[None]])).reshape(7, -1)
        columns = columns * np.sqrt(2.0 / pair.variance)
        rest = (pair.data * np.sqrt(2.0 / pair.variance)).ravel() - (gain.real * columns[5] + gain.imag * columns[6])
        where = np.r_[0:4, 4 + number, 4 + count + 2 * number, 5 + count + 2 * number]
        normal[np.ix_(where, where)] += np.real(columns.conj() @ columns.T)
        slope[where] += np.real(columns.conj() @ rest)
    spread = np.array([pair.echoes.reference_std for pair in pairs])
    index = np.arange(size)
    normal[index[2:4], index[2:4]] += settings.speed_std**-2
    slope[2:4] -= point.velocity[:2] / settings.speed_std**2
    normal[index[4 : 4 + count], index[4 : 4 + count]] += spread**-2
    slope[4 : 4 + count] -= point.delays / spread**2
    return normal, slope


def _evaluated(pairs: Sequence[Pair], place: NDArray, velocity: NDArray, delays: NDArray, settings: Settings) -> _Point:
    """Best gains and the cost of these parameters."""
    gains, cost, found = np.zeros(len(pairs), complex), 0.0, 0.0
    for number, pair in enumerate(pairs):
        unit = pair.field(place, velocity, float(delays[number]))
        real, imaginary = (pair.cleaned(part).ravel() for part in (unit, 1j * unit))
        basis = np.stack([np.concatenate([c.real, c.imag]) for c in (real, imaginary)])
        wanted = np.concatenate([pair.data.real.ravel(), pair.data.imag.ravel()])
        weights = np.linalg.solve(basis @ basis.T + 1e-12 * np.trace(basis @ basis.T) * np.eye(2), basis @ wanted)
        gains[number] = weights[0] + 1j * weights[1]
        energy = float(weights @ (basis @ wanted)) / pair.variance
        found += energy
        cost -= energy
    spread = np.array([pair.echoes.reference_std for pair in pairs])
    cost += 0.5 * float(np.sum((delays / spread) ** 2)) + 0.5 * float(np.sum(velocity[:2] ** 2)) / settings.speed_std**2
    return _Point(place, velocity, delays, gains, cost, found)


def _refined(pairs: Sequence[Pair], point: _Point, settings: Settings, steps: int) -> _Point:
    """Levenberg-Marquardt from one point."""
    count = len(pairs)
    damping = 1e-3
    for _ in range(steps):
        normal, slope = _normal(pairs, point, settings)
        scale = 1.0 / np.sqrt(np.maximum(np.diag(normal), 1e-300))
        gain = 0.0
        for _ in range(5):
            damped = normal * np.outer(scale, scale) + damping * np.eye(scale.size)
            step = scale * linalg.solve(damped, scale * slope, assume_a="pos", check_finite=False)
            far = max(np.max(np.abs(step[:2])) / 0.5, np.max(np.abs(step[2:4])) / 1.0, 1.0)
            trial = _evaluated(
                pairs, point.place + np.append(step[:2], 0.0) / far, point.velocity + np.append(step[2:4], 0.0) / far,
                point.delays + step[4 : 4 + count] / far, settings,
            )  # fmt: skip
            if trial.cost < point.cost:
                gain, point, damping = point.cost - trial.cost, trial, max(damping / 10.0, 1e-9)
                break
            damping *= 10.0
        if gain < 1e-3:
            break
    return point


def _lobes(pairs: Sequence[Pair], starts: Sequence[tuple[NDArray, NDArray]], settings: Settings) -> list[_Point]:
    """Refined lobes, best first, each once; those hopelessly behind after a few steps are not followed to their tops."""
    lobes: list[_Point] = []
    still = np.zeros(len(pairs))
    early = [_refined(pairs, _evaluated(pairs, *start, still, settings), settings, steps=4) for start in starts]
    best = min(point.cost for point in early)
    close = [_refined(pairs, point, settings, steps=12) for point in early if point.cost < best + max(25.0, 0.3 * abs(best))]
    for point in sorted(close, key=lambda point: point.cost):
        if all(np.linalg.norm(point.place - other.place) > 0.05 for other in lobes):
            lobes.append(point)
    return lobes


def _energies(pairs: Sequence[Pair], point: _Point) -> tuple[NDArray, NDArray]:
    """Integrated SNR per pair before and after the static part is removed."""
    before, after = [], []
    for pair, gain, delay in zip(pairs, point.gains, point.delays):
        echo = gain * pair.field(point.place, point.velocity, float(delay))
        before.append(np.sum(np.abs(echo) ** 2) / pair.variance)
        after.append(np.sum(np.abs(pair.cleaned(echo)) ** 2) / pair.variance)
    return np.array(before), np.array(after)


def _bound(pairs: Sequence[Pair], point: _Point, settings: Settings) -> tuple[NDArray, NDArray]:
    """(2, 2) covariance of the position, velocities, delays and gains projected out, and the standard deviations of all parameters."""
    normal, _ = _normal(pairs, point, settings)
    scale = 1.0 / np.sqrt(np.maximum(np.diag(normal), 1e-300))
    inverse = np.linalg.pinv(normal * np.outer(scale, scale), hermitian=True, rcond=1e-14) * np.outer(scale, scale)
    return inverse[:2, :2], np.sqrt(np.diag(inverse))


def _residual(pairs: Sequence[Pair], point: _Point) -> tuple[float, bool]:
    """Energy left at walking Doppler over the noise measured at Dopplers above, and whether it exceeds 99.9 %."""
    energy = degrees = 0.0
    for pair, gain, delay in zip(pairs, point.gains, point.delays):
        rest = pair.data - pair.cleaned(gain * pair.field(point.place, point.velocity, float(delay)))
        cells = rest.shape[0]
        spectrum = np.fft.fft(rest, axis=0) / np.sqrt(cells)
        doppler = np.abs(np.fft.fftfreq(cells, float(np.mean(np.diff(pair.echoes.times)))))
        low = (doppler > 0.0) & (doppler < 60.0)
        energy += float(np.sum(np.abs(spectrum[low]) ** 2)) / pair.variance
        degrees += float(low.sum() * rest.shape[1] * rest.shape[2])
    ratio = energy / max(degrees, 1.0)
    return ratio, bool(special.gammainc(degrees, energy) > 0.999)
