"""A moving target from the echoes of several transmitters at one sensing array: position in the plane, velocity, and how sure.

Non-coherent maximum likelihood: every transmitter's echo has its own unknown complex gain. A grid over the prior's region with free Doppler
per transmitter, then Gauss-Newton on position, velocity, acceleration, delay references and gains from the best few lobes. The static room
is removed by its zero Doppler; what that costs the target is the reported loss.

At 45 dB what the model leaves out decides, not the noise. So the covariance holds, as parameters with a prior (`echofit`): the direct
paths' delays, which scatterers bias (`echoes.direct_delay`); velocity and acceleration of somebody who walks and turns; the gains of the
chains that hear and send; and the height, to which the prior's error is passed on. Two lobes count as told apart only when their distance
exceeds what a model true to 1 % could be wrong by.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from hil.clock import Instant
from hil.errors import InputError
from hil.estimate.echoes import Echoes
from hil.estimate.echofit import EchoFit, Point
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
    turn_std: float = 0.5  # m/s^2, prior of each component of acceleration: who walks 1 m/s on a circle of 1.5 m has 0.67 in all
    lobes: int = 6  # starts of the refinement
    least_snr_db: float = 15.0  # integrated, after the static part is removed; a pair below it is not used
    most_loss_db: float = 10.0  # some pair must lose less: a target that walks along every ellipse hides behind the room's zero Doppler
    ambiguity: float = 4.6  # log-likelihood distance below which two lobes are not told apart,
    model_db: float = -40.0  # and that much of the echo's energy more: receive chains and the point target are as modelled to 1 %
    false_alarm: float = 1e-3
    chain_std: float = 0.5  # of what is left of a receive chain's gain: beyond it directions cannot be told


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


def locate(
    echoes: Sequence[Echoes], *, receivers: Any, carrier_hz: float, prior: Any, prior_std: Any, of: str = "target",
    settings: Settings = Settings(), heard_error: NDArray[np.float64] | None = None, epoch: Instant | None = None,
    sources: tuple[str, ...] = (),
) -> Fix:  # fmt: skip
    """Fix of one target from `hil.estimate.echoes.observe`.

    receivers: (rx, 3) metres, world frame. prior: (3,) metres, its z taken as known to prior_std; prior_std: scalar or (3,) metres.
    heard_error: covariance of what is left of the receive chains' gains (`echofit.relative_error`); None: nothing.
    """
    prior, prior_std = np.asarray(prior, dtype=float), np.broadcast_to(np.asarray(prior_std, dtype=float), (3,))
    if prior.shape != (3,) or not np.all(np.isfinite(prior)) or not np.all(prior_std > 0.0):
        raise InputError("prior", "a prior is a point and a positive standard deviation", found=f"{prior}, {prior_std}", allowed="(3,) m")
    if not echoes:
        raise InputError("no-transmitter", "no echoes to locate by", fix="capture while at least one transmitter sends")
    prior_std = np.append(np.maximum(prior_std[:2], settings.least_std), prior_std[2])
    everything = [Pair.of(each, receivers, carrier_hz) for each in echoes]
    fit = EchoFit(everything, heard_error, settings.speed_std, settings.turn_std)
    starts, cells = _starts(everything, prior, prior_std, settings)
    lobes = _lobes(fit, starts)
    before, after = fit.energies(lobes[0])
    used = 10.0 * np.log10(np.maximum(after, 1e-12)) >= settings.least_snr_db
    if used.any() and not used.all():  # fit again with the strong ones alone
        strong = [pair for pair, enough in zip(everything, used) if enough]
        fit = EchoFit(strong, heard_error, settings.speed_std, settings.turn_std)
        starts, cells = _starts(strong, prior, prior_std, settings)
        lobes = _lobes(fit, starts)
    best = lobes[0]
    bound, spread = fit.bound(best, float(prior_std[2]))
    ratio, misfit = fit.residual(best)
    covariance = bound.copy()
    if misfit:
        covariance[:2, :2] *= max(ratio, 1.0)
    others = [lobe for lobe in lobes[1:] if np.linalg.norm(lobe.place - best.place) > 3.0 * np.sqrt(np.trace(bound[:2, :2])) + 0.05]
    alike = settings.ambiguity + best.found * 10.0 ** (settings.model_db / 10.0)
    ambiguity = min((lobe.cost - best.cost for lobe in others), default=np.inf)
    close = [lobe.place for lobe in others if lobe.cost - best.cost < alike]
    threshold = _threshold(cells, len(fit.pairs), settings.false_alarm)
    inside = np.all(np.abs(best.place[:2] - prior[:2]) <= settings.reach * prior_std[:2] + settings.step)
    sharp = np.trace(bound[:2, :2]) < float(np.sum(prior_std[:2] ** 2))
    reasons = [
        (best.found >= threshold, f"no echo: {best.found:.1f} below {threshold:.1f}"),
        (used.any(), f"every echo under {settings.least_snr_db:g} dB after removing the static room"),
        (np.any(used & (before < after * 10.0 ** (settings.most_loss_db / 10.0))), "walks across the line of sight: Doppler too small"),
        (ambiguity >= alike, f"ambiguous: another lobe {ambiguity:.1f} below"),
        (sharp, "no sharper than the prior"),
        (inside, "outside the prior's region"),
        (heard_error is None or np.linalg.eigvalsh(heard_error)[-1] < settings.chain_std**2, "receive chains unknown"),
    ]
    assumptions = ["point target", "one bounce", f"height known to {prior_std[2]:.2g} m", "even walk or curve", "static room"]
    assumptions += ["receive chains even"] if heard_error is None else []
    assumptions += [text for good, text in reasons if not good]
    assumptions += ["model misfit"] if misfit else []
    assumptions += [f"pair {number} not used" for number in np.flatnonzero(~used)] if used.any() else []
    gains = np.zeros(len(everything), complex)
    gains[used if used.any() else slice(None)] = best.gains
    estimate = Estimate(
        "target position", of, best.place, covariance, "m", bound=bound, epoch=epoch,
        above_threshold=all(bool(good) for good, _ in reasons), assumptions=tuple(assumptions), residual_test=ratio, sources=sources,
    )  # fmt: skip
    decibels = lambda power: 10.0 * np.log10(np.maximum(power, 1e-12))
    return Fix(
        estimate, best.velocity[:2], spread[2:4], decibels(before), decibels(before) - decibels(after), used, gains,
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


def _lobes(fit: EchoFit, starts: Sequence[tuple[NDArray, NDArray]]) -> list[Point]:
    """Refined lobes, best first, each once; those hopelessly behind after a few steps are not followed to their tops."""
    early = [fit.refined(fit.start(place, velocity), steps=3) for place, velocity in starts]
    best = min(point.cost for point in early)
    close = _apart([point for point in early if point.cost < best + max(25.0, 0.3 * abs(best))], 0.2, 0.2)
    return _apart([fit.refined(point, steps=12) for point in close], 0.05, np.inf)


def _apart(points: Sequence[Point], metres: float, speed: float) -> list[Point]:
    """Best first, without those that are within so many metres and metres per second of a better one."""
    kept: list[Point] = []
    for point in sorted(points, key=lambda point: point.cost):
        if all(np.linalg.norm(point.place - o.place) > metres or np.linalg.norm(point.velocity - o.velocity) > speed for o in kept):
            kept.append(point)
    return kept
