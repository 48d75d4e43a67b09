"""Paths between a linear array that has been to a few places and one far antenna: the channel where no element has been.

Each path is a point source (hil.knowledge.FieldResponse). Paths are found one by one (hil.estimate.pathsearch), refined together with
every visit's unknown phase and delay and with the position errors, and what remains unresolved is carried as a field of weak plane waves
whose power is estimated from the residual: it follows the data where there are any and widens the predicted error where there are none.
Elements keep their order on the rail and each has a chain of unknown gain, fitted along with the paths: element n standing at p is heard
as c_n h(p).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from hil.errors import InputError
from hil.estimate import chains as gains_of
from hil.estimate import fieldfit as engine
from hil.estimate.chains import ChainGains
from hil.estimate.fieldfit import Observations, State
from hil.estimate.pathfit import Fitted, LeftOut, PathFit, marginal, solved, through
from hil.estimate.pathsearch import Settings, search
from hil.estimate.sources import DelayBasis, Sources
from hil.estimate.stillness import Moving, whereabouts
from hil.estimate.visits import align, delay_between, stayed

__all__ = ["LeftOut", "More", "PathFit", "Settings", "fit"]

SURE = 1e-2  # of the noise's variance: what is left of it where only the left-out visit tells
NEGLIGIBLE = 0.03  # directions in which the moving echo has less of the noise's variance are left to the noise
HELD = 2.0  # standard deviations by which chain gains may leave their first guess while paths are looked for, rms
USUAL = Settings()
SLOW = 1.25  # what walks slowly as seen by a link differs less between two looks than it weighs on both


@dataclass(frozen=True, slots=True, eq=False)
class More:
    """Visits that nothing ties to the others: every element has moved. Arrays as in `fit`.

    variance: of the white error per tone. A channel smoothed to the delays of a window has errors that are alike on neighbouring tones:
    with `rank` directions kept of `tones`, an error variance v per tone is v tones/rank per direction; that is the variance meant here.
    """

    positions: NDArray[np.float64]  # (visit, antenna)
    channel: NDArray[np.complex128]  # (visit, antenna, tone)
    variance: NDArray[np.float64]  # (visit,) or (visit, antenna)


def fit(
    positions: Any, channel: Any, variance: Any, frequencies_hz: Any, *, wavelength: float, position_std: float = 0.0,
    chains: ChainGains | None = None, moving: Any = 0.0, apart: Any = None, more: More | None = None, before: PathFit | None = None,
    settings: Settings = USUAL,
) -> PathFit:  # fmt: skip
    """Fit the paths of one link from V visits of n elements.

    positions: (visit, antenna) metres of local x as read back. channel: (visit, antenna, tone) least-squares estimate per tone; every visit
    may have its own phase and delay, and an element that has not moved since an earlier visit ties it to that. variance: of its white
    error per tone, (visit,), (visit, antenna) or scalar. frequencies_hz: (tone,) baseband. position_std: metres, of every read-back.

    chains: gains of the elements' chains from a record; None: not known, fitted along.

    moving: power per tone and element of the echo of whatever walks about, as it is in `channel`: in every visit a plane wave of new phase,
    from any direction and delay. apart: (visit, antenna, tone) hil.estimate.stillness.Looks.apart of the same visits, which tells where
    that echo comes from and how strong it is from there.

    more: visits that nothing ties; `before`, a fit of the others (made here unless given), tells their phase and delay to start with.
    """
    positions, channel = np.asarray(positions, dtype=float), np.asarray(channel, dtype=complex)
    frequencies = np.asarray(frequencies_hz, dtype=float)
    variance = _checked(positions, channel, np.asarray(variance, dtype=float), frequencies, chains)
    tied = stayed(positions, position_std)
    aligned, phases, delays = align(channel, frequencies, tied)
    start = _arrival(aligned, frequencies)
    back = np.exp(2j * np.pi * start * frequencies)
    places, number = positions, _displacements(tied)
    difference = None
    if apart is not None:
        turn = np.exp(-1j * phases[:, None] + 2j * np.pi * delays[:, None] * frequencies)
        difference = np.asarray(apart, dtype=complex) * (turn * back)[:, None]
    if more is not None and len(more.positions):
        if before is None:
            before = fit(positions, channel, variance, frequencies, wavelength=wavelength, position_std=position_std, chains=chains,
                         moving=moving, apart=apart, settings=settings)  # fmt: skip
        joined, extra, late = _onto(before, more, frequencies)
        places = np.concatenate([positions, more.positions])
        number = np.concatenate([number, number.max() + 1 + np.arange(more.positions.size).reshape(more.positions.shape)])
        aligned = np.concatenate([aligned, joined])
        variance = np.concatenate([variance, _per_row(np.asarray(more.variance, dtype=float), more.positions)])
        phases, delays = np.append(phases, extra), np.append(delays, late)
    seen = _observations(places, number, aligned * back, variance, frequencies, wavelength, position_std, settings)
    mover = float(np.mean(np.asarray(moving, dtype=float)))
    start_chains = chains or _first_chains(seen, before, mover)
    first = start_chains.value
    seen = _unchained(seen, first, chains)
    if difference is not None:
        difference = difference / first[:, None]
    seen = _echoed(seen, mover, difference, settings)
    known = None if before is None or more is None else _from(before, seen, start, phases, delays)
    state, orders = search(_held(seen, start_chains), settings, known)
    if settings.unresolved:
        waves = _waves(seen, settings)
        state = replace(state, waves=waves, wave_variance=engine.wave_evidence(state, seen, waves))
        state, _ = engine.refine(state, seen, steps=6, tolerance=0.05)
    here, covariance = solved(state, seen)
    left_out = _left_out(seen, here, covariance)
    for _ in range(settings.widenings if settings.unresolved else 0):
        if left_out.passed:
            break
        state, _ = engine.refine(replace(state, wave_variance=4.0 * state.wave_variance), seen, steps=6, tolerance=0.05)
        here, covariance = solved(state, seen)
        left_out = _left_out(seen, here, covariance)
    tested = _residual_test(here, covariance)
    bound = marginal(state, seen, covariance, first)
    return _told(Fitted(state, seen, first, start), bound, left_out, orders, tested, settings, phases, delays)


def _onto(before: PathFit, more: More, frequencies: NDArray[np.float64]) -> tuple[NDArray, NDArray, NDArray]:
    """Visits turned onto what `before` predicts at their positions; their phases and delays against it."""
    turned, phases, delays = [], [], []
    for positions, channel in zip(more.positions, more.channel):
        phase, delay = delay_between(before.channel(positions, frequencies, np.arange(positions.size)), channel, frequencies)
        turned.append(channel * np.exp(-1j * phase + 2j * np.pi * delay * frequencies))
        phases.append(phase)
        delays.append(delay)
    return np.array(turned), np.array(phases), np.array(delays)


def _displacements(tied: NDArray[np.bool_]) -> NDArray[np.intp]:
    """(visit, antenna) number of each place's displacement: an element that has not moved since the last visit keeps it."""
    number = np.zeros((len(tied), tied.shape[-1]), dtype=np.intp)
    for visit in range(len(tied)):
        fresh = number.max() + 1 + np.arange(number.shape[1]) if visit else np.arange(number.shape[1])
        number[visit] = np.where(tied[visit, visit - 1], number[visit - 1], fresh) if visit else fresh
    return np.unique(number, return_inverse=True)[1].reshape(number.shape)


def _first_chains(seen: Observations, before: PathFit | None, moving: float) -> ChainGains:
    """Chain gains that a fit without a record begins with."""
    if before is not None:
        return replace(before.own_chains, value=before.chains)
    noise = seen.variance + moving * seen.basis.frequencies.size / seen.basis.dimension
    return gains_of.guess(seen.values, noise, seen.positions, seen.element, seen.wavelength, seen.position_std)


def _unchained(seen: Observations, first: NDArray[np.complex128], chains: ChainGains | None) -> Observations:
    """Observations divided by the chain gains `first`: what is left of the chains is near 1."""
    gain = first[seen.element, None]
    count = 2 * (first.size - 1)
    prior: NDArray[np.float64] | None = np.zeros((count, count))
    if chains is not None:
        per_unit = through(first)
        prior = per_unit.T @ np.linalg.inv(chains.covariance) @ per_unit if chains.covariance.any() else None
    return replace(seen, values=seen.values / gain, variance=seen.variance / np.abs(gain) ** 2, chain_prior=prior)


def _held(seen: Observations, start: ChainGains) -> Observations:
    """With chains kept near where they begin: paths still missing must not bend them."""
    if seen.chain_prior is None or not start.covariance.any():
        return seen
    per_unit = through(start.value)
    return replace(seen, chain_prior=seen.chain_prior + per_unit.T @ np.linalg.inv(HELD**2 * start.covariance) @ per_unit)


def _checked(positions: NDArray, channel: NDArray, variance: NDArray, frequencies: NDArray, chains: ChainGains | None) -> NDArray[np.float64]:
    if channel.shape != (*positions.shape, frequencies.size) or positions.ndim != 2:
        raise InputError(
            "shape", "positions, channel and tones disagree", found=f"{positions.shape}, {channel.shape}, {frequencies.shape}",
            allowed="(visit, antenna), (visit, antenna, tone), (tone,)",
        )  # fmt: skip
    variance = _per_row(variance, positions)
    if not (np.all(np.isfinite(channel)) and np.all(np.isfinite(positions)) and np.all(variance > 0.0) and np.all(np.isfinite(variance))):
        raise InputError("not-finite", "channels and positions must be finite, variances positive", found="NaN, infinity or zero variance")
    if chains is not None and (chains.value.size != positions.shape[1] or not chains.above_threshold):
        raise InputError(
            "chains", "a record of chain gains has one above threshold for every element", key="chains",
            found=f"{chains.value.size} gains, {'above' if chains.above_threshold else 'below'} threshold", allowed=f"{positions.shape[1]}",
            fix="fit without it",
        )  # fmt: skip
    return variance


def _per_row(value: NDArray[np.float64], positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """(visit, antenna) of a scalar, (visit,) or (visit, antenna)."""
    return np.broadcast_to(value[:, None] if value.ndim == 1 else value, positions.shape)


def _arrival(aligned: NDArray[np.complex128], frequencies: NDArray[np.float64]) -> float:
    """Delay of the strongest arrival over all visits and elements, seconds."""
    width, step = np.ptp(frequencies), np.min(np.diff(np.sort(frequencies)))
    bins = np.rint((frequencies - frequencies.min()) / step).astype(int)  # tones off this grid only blur the first guess
    comb = np.zeros((*aligned.shape[:-1], 1 << int(np.ceil(np.log2(2 * bins.max() + 2)))), complex)
    comb[..., bins] = aligned
    power = np.sum(np.abs(np.fft.ifft(comb)) ** 2, axis=(0, 1))
    best = float(np.fft.fftfreq(power.size, step)[np.argmax(power)])
    fine = best + np.linspace(-0.5, 0.5, 21) / width
    rows = aligned.reshape(-1, frequencies.size)
    return float(fine[np.argmax(np.sum(np.abs(rows @ np.exp(2j * np.pi * np.outer(frequencies, fine))) ** 2, axis=0))])


def _observations(
    positions: NDArray, number: NDArray, aligned: NDArray, variance: NDArray, frequencies: NDArray, wavelength: float, position_std: float,
    settings: Settings,
) -> Observations:  # fmt: skip
    """number: (visit, antenna) which displacement."""
    visits, antennas = positions.shape
    basis = DelayBasis.of_window(frequencies, *settings.window)
    return Observations(
        basis.project(aligned).reshape(visits * antennas, -1), variance.reshape(-1, 1), positions.ravel(),
        np.repeat(np.arange(visits), antennas), number.ravel(), np.tile(np.arange(antennas), visits), basis, wavelength, float(position_std),
    )  # fmt: skip


def _echoed(seen: Observations, moving: float, apart: NDArray | None, settings: Settings) -> Observations:
    """With the covariance of what moves: from where the differences of looks say it comes, or from anywhere."""
    if moving <= 0.0:
        return seen
    width = np.ptp(seen.basis.frequencies)
    span = max(np.ptp(seen.positions) / seen.wavelength, 1.0)
    cosines = np.linspace(-1.0, 1.0, int(np.ceil(3.0 * span)) + 1)
    delays = np.linspace(*settings.echoes, max(2, int(np.ceil((settings.echoes[1] - settings.echoes[0]) * width / 0.6)) + 1))
    where = Moving.anywhere(moving, cosines, delays)
    places = seen.positions.reshape(seen.visits, -1)
    waves = where.waves(places, seen.basis.atoms(where.delays)[0], seen.wavelength)
    noise = np.broadcast_to(seen.variance, seen.values.shape).reshape(seen.visits, -1)
    if apart is not None:
        visits = len(apart)
        where = whereabouts(seen.basis.project(apart).reshape(visits, -1), noise[:visits], waves[:visits], where)
    root = waves * np.sqrt(SLOW * where.powers)
    scaled = root / np.sqrt(noise)[..., None]
    powers, axes = np.linalg.eigh(scaled @ np.conj(np.swapaxes(scaled, 1, 2)))
    kept = int(np.max(np.sum(powers > NEGLIGIBLE, axis=1)))
    factor = axes[..., -kept:] * np.sqrt(np.maximum(powers[:, None, -kept:], 0.0)) if kept else axes[..., :0]
    return replace(seen, echo=factor * np.sqrt(noise)[..., None])


def _from(before: PathFit, seen: Observations, start: float, phases: NDArray, delays: NDArray) -> State:
    """The paths of an earlier fit as a state of these observations."""
    found, anchored = before.resolved, len(before.phases) if len(before.phases) < seen.visits else seen.visits
    state = State.empty(seen)
    state.phases[:anchored] = before.phases[:anchored] - phases[:anchored]
    state.delays[:anchored] = before.visit_delays[:anchored] - delays[:anchored]
    return replace(state, sources=replace(found, delays=found.delays - start))


def _waves(seen: Observations, settings: Settings) -> Sources:
    """Plane waves, cosine x delay, whose span is dense enough for any field over the rail: a kernel sinc-like along it."""
    span = max(np.ptp(seen.positions) / seen.wavelength, 1.0)
    cosines = np.linspace(-1.0, 1.0, int(np.ceil(2.0 * span * 1.5)) + 1)
    width = np.ptp(seen.basis.frequencies)
    count = max(2, int(np.ceil((settings.spread[1] - settings.spread[0]) * width / 0.6)) + 1)
    cosine, delay = (a.ravel() for a in np.meshgrid(cosines, np.linspace(*settings.spread, count), indexing="ij"))
    return Sources(np.zeros(cosine.size, complex), cosine, np.zeros(cosine.size), delay, np.zeros(cosine.size))


def _told(
    fitted: Fitted, bound: NDArray, left_out: LeftOut, orders: tuple[int, int], tested: tuple[float, bool], settings: Settings,
    phases: NDArray, delays: NDArray,
) -> PathFit:  # fmt: skip
    """What a fit says. bound: covariance of paths, waves and chain gains, before any misfit; phases, delays: those visits were turned by."""
    ratio, misfit = tested
    state, seen, first, start = fitted.state, fitted.seen, fitted.first, fitted.late
    assumptions = ["point sources", "static room between visits"]
    factor = 1.0
    if misfit:
        factor, assumptions = max(ratio, 1.0), assumptions + ["model misfit"]
    everything = state.sources.joined(state.waves)
    unresolved = state.wave_variance * state.waves.count / seen.level
    enough, stable = seen.visits >= settings.least_visits, orders[0] == orders[1]
    # a doubtful path is carried by the unresolved field either way; without that field the order decides what is said of unvisited places
    trusted = enough and (stable or settings.unresolved) and left_out.passed
    gains, own = first * state.chains, slice(len(bound) - 2 * (first.size - 1), None)
    if not enough:
        assumptions.append(f"only {seen.visits} visits")
    if not stable:
        assumptions.append(f"order {orders[0]} at the strict false-alarm rate, {orders[1]} at the ordinary one")
    return PathFit(
        everything.gains, everything.cosines, everything.curvatures, everything.delays + start, everything.tapers, gains,
        trusted, state.sources.count, bound * factor, bound,
        ChainGains(gains, bound[own, own] * factor, bound[own, own], trusted, ("one complex gain per chain",)),
        phases + state.phases, delays + state.delays, ratio, left_out, orders, float(10.0 * np.log10(max(unresolved, 1e-12))),
        seen.wavelength, seen.level, fitted, tuple(assumptions),
    )  # fmt: skip


def _residual_test(here: engine.Linear, covariance: NDArray[np.float64]) -> tuple[float, bool]:
    """Residual energy over its degrees of freedom, and whether it lies outside 99.9 %."""
    used = float(np.sum(covariance * (here.columns @ here.columns.T)))
    degrees = max(here.residual.size - used, 1.0)
    energy = float(here.residual @ here.residual)
    low, high = (2.0 * special.gammaincinv(degrees / 2.0, q) for q in (0.0005, 0.9995))
    return energy / degrees, not low <= energy <= high


def _left_out(seen: Observations, here: engine.Linear, covariance: NDArray[np.float64]) -> LeftOut:
    """Leave one visit out, in the model linearised at the fit: residual (I - H_vv)^-1 r_v has covariance (I - H_vv)^-1.

    Where only a visit itself tells something, its own phase and delay to begin with, I - H_vv vanishes; SURE keeps those directions out.
    """
    visit = np.repeat(seen.visit, 2 * seen.values.shape[1])
    spread = covariance @ here.columns
    total = degrees = worst = error = power = 0.0
    passed = True
    for number in range(seen.visits):
        own = visit == number
        residual = here.residual[own]
        left = np.eye(residual.size) - here.columns[:, own].T @ spread[:, own]
        inverse = np.linalg.inv(left + SURE * np.eye(residual.size))
        apart = inverse @ residual  # prediction minus measurement
        statistic, freedom = float(apart @ residual), residual.size - SURE * float(np.trace(inverse))
        total, degrees, worst = total + statistic, degrees + freedom, max(worst, statistic / freedom)
        passed &= special.gammainc(freedom / 2.0, statistic / 2.0) < 1.0 - 0.01 / seen.visits
        mine = seen.visit == number
        noise = np.repeat(np.broadcast_to(seen.variance, seen.values.shape)[mine].ravel() / 2.0, 2)
        expected = np.maximum(np.einsum("ij,ji->i", inverse @ left, inverse) - 1.0, 0.0)
        error += max(float(np.sum((apart**2 - 1.0) * noise)), 0.25 * float(np.sum(expected * noise)))
        power += float(np.sum(np.abs(seen.values[mine]) ** 2))
    return LeftOut(total / max(degrees, 1.0), bool(passed), worst, float(10.0 * np.log10(max(error / max(power, 1e-300), 1e-8))))
