"""Paths between a linear array that has been to a few places and one far antenna: the channel where no element has been.

Each path is a point source (hil.knowledge.FieldResponse). Paths are found one by one (Newtonised orthogonal matching pursuit, Mamandipoor,
Ramasamy and Madhow 2016), refined together with every visit's unknown phase and delay and with the position errors, and what remains
unresolved is carried as a field of weak plane waves whose power is estimated from the residual: it follows the data where there are any
and widens the predicted error where there are none. Elements keep their order on the rail and each has a chain of unknown gain, fitted
along with the paths: element n standing at p is heard as c_n h(p).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, special

from hil.errors import InputError
from hil.estimate import chains as gains_of
from hil.estimate import fieldfit as engine
from hil.estimate.chains import ChainGains
from hil.estimate.fieldfit import Observations, Search, State
from hil.estimate.sources import DelayBasis, Sources, field, respond
from hil.estimate.stillness import Moving, whereabouts
from hil.estimate.visits import align, delay_between, stayed

__all__ = ["LeftOut", "More", "PathFit", "Settings", "fit"]

NEGLIGIBLE = 0.03  # directions in which the moving echo has less of the noise's variance are left to the noise
BENT = 2.0  # standard deviations of curvature that make a path suspect
NEAR = 0.12  # of a cosine: paths nearer, and in delay, weigh on each other
PARTED = 2  # suspects that are looked into
HELD = 2.0  # standard deviations by which chain gains may leave their first guess while paths are looked for, rms
SLOW = 1.25  # what walks slowly as seen by a link differs less between two looks than it weighs on both


@dataclass(frozen=True, slots=True)
class Settings:
    """How a fit is made. Delays in seconds relative to the strongest arrival."""

    false_alarm: float = 0.01
    strict_false_alarm: float = 1e-4  # an order that differs between the two is reported as not stable
    window: tuple[float, float] = (-0.15e-6, 0.45e-6)  # delays kept of the data
    search: tuple[float, float] = (-0.05e-6, 0.25e-6)  # where paths are looked for
    spread: tuple[float, float] = (-0.03e-6, 0.18e-6)  # where unresolved energy may lie
    echoes: tuple[float, float] = (-0.03e-6, 0.2e-6)  # where the echo of what moves may lie
    most_paths: int = 12
    unresolved: bool = True  # carry the field of weak plane waves
    widenings: int = 3  # times its power may be raised by 6 dB until every left-out visit is predicted within its covariance
    least_visits: int = 4


@dataclass(frozen=True, slots=True, eq=False)
class More:
    """Visits that nothing ties to the others: every element has moved. Arrays as in `fit`.

    variance: of the white error per tone. A channel smoothed to the delays of a window has errors that are alike on neighbouring tones:
    with `rank` directions kept of `tones`, an error variance v per tone is v tones/rank per direction; that is the variance meant here.
    """

    positions: NDArray[np.float64]  # (visit, antenna)
    channel: NDArray[np.complex128]  # (visit, antenna, tone)
    variance: NDArray[np.float64]  # (visit,) or (visit, antenna)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Every visit predicted from the others: chi-square over its degrees of freedom, and whether each visit passes at 99 %."""

    ratio: float
    passed: bool
    worst: float  # largest ratio of one visit
    error_db: float  # prediction error over channel power of the left-out visits, noise taken off (not below a quarter of the expected)


@dataclass(frozen=True, eq=False)
class PathFit:
    """Fitted paths; satisfies hil.knowledge.FieldResponse. Phase and delay are those of the first visit, amplitude that of element 0.

    gains, cosines, curvatures, delays: resolved paths first (`order` of them), then the plane waves of the unresolved field. tapers: slope
    of each path's amplitude along the rail, 1/m, a -40 dB effect that `predict` includes and the protocol's formula leaves out.
    chains: (antenna,) gain of each element's chain relative to element 0. covariance: of the real parameters (cosine, curvature, delay,
    taper, Re g, Im g) per resolved path, then Re and Im of the waves, then (Re c, Im c) of elements 1, 2, ...; visits' phases and delays
    and position errors are marginalised. bound: the same without misfit scaling (Cramer-Rao with the priors, at the estimate).
    own_chains: what this link alone tells of the chains, whatever `with_chains` has added since.
    """

    gains: NDArray[np.complex128]
    cosines: NDArray[np.float64]
    curvatures: NDArray[np.float64]
    delays: NDArray[np.float64]
    tapers: NDArray[np.float64]
    chains: NDArray[np.complex128]
    above_threshold: bool
    order: int
    covariance: NDArray[np.float64]
    bound: NDArray[np.float64]
    own_chains: ChainGains
    phases: NDArray[np.float64]  # (visit,) rad, relative to the first
    visit_delays: NDArray[np.float64]  # (visit,) s
    residual_test: float
    left_out: LeftOut
    orders: tuple[int, int]  # at the strict and at the ordinary false-alarm rate
    unresolved_db: float  # power of the unresolved field over the channel's, prior
    wavelength: float
    level: float  # mean channel power
    assumptions: tuple[str, ...] = ()
    slopes_of: PathFit | None = None  # the fit whose slopes the covariance goes with, where that is another one

    @property
    def resolved(self) -> Sources:
        return Sources(*(a[: self.order] for a in self.everything))

    @property
    def cosine_std(self) -> NDArray[np.float64]:
        """(order,) standard deviation of every resolved path's cosine."""
        return np.sqrt(np.diag(self.covariance)[: engine.PER_PATH * self.order : engine.PER_PATH])

    @property
    def cosine_bound_std(self) -> NDArray[np.float64]:
        """(order,) the same from the bound."""
        return np.sqrt(np.diag(self.bound)[: engine.PER_PATH * self.order : engine.PER_PATH])

    @property
    def everything(self) -> Sources:
        """Resolved paths and the waves of the unresolved field."""
        return Sources(self.gains, self.cosines, self.curvatures, self.delays, self.tapers)

    def with_chains(self, known: ChainGains) -> PathFit:
        """This fit with the chain gains of `known`, of which `own_chains` is a part (hil.estimate.chains.combine): what the paths have in
        common with the chains moves along."""
        count = known.covariance.shape[0]
        own = slice(-count or None, None)
        if not self.own_chains.covariance.any() or known is self.own_chains or not known.above_threshold:
            return self
        spread = _told(self._spread, own, known.covariance)
        lower = _told(_root(self.bound), own, known.bound)
        root = self._spread
        apart = (known.value[1:] - self.chains[1:]).view(np.float64)
        step = root @ (root[own].T @ np.linalg.solve(root[own] @ root[own].T, apart))
        paths, waves = engine.PER_PATH * self.order, self.gains.size - self.order
        each = step[:paths].reshape(self.order, engine.PER_PATH)
        moved = np.concatenate([each[:, 4] + 1j * each[:, 5], step[paths : paths + waves] + 1j * step[paths + waves : paths + 2 * waves]])
        onto = lambda old, slot: old + np.pad(each[:, slot], (0, waves))
        told = replace(
            self, gains=self.gains + moved, cosines=np.clip(onto(self.cosines, 0), -1.0, 1.0), curvatures=onto(self.curvatures, 1),
            delays=onto(self.delays, 2), tapers=onto(self.tapers, 3), chains=known.value.copy(), covariance=spread @ spread.T, bound=lower @ lower.T,
            slopes_of=self.slopes_of or self,
        )  # fmt: skip
        told.__dict__["_spread"] = spread  # two paths that are hardly told apart make a covariance whose root cannot be had back
        return told

    def seen_through(self, elements: Any, positions: NDArray[np.float64]) -> NDArray[np.complex128]:
        """(position, 1) chain gains of the elements that stand at the positions; of element 0 where None."""
        if elements is None:
            return np.ones((positions.size, 1), complex)
        return self.chains[np.broadcast_to(np.asarray(elements, dtype=np.intp), positions.shape)][:, None]

    def prediction_jacobian(self, positions: Any, frequencies_hz: Any, elements: Any = None) -> NDArray[np.complex128]:
        """d h/d parameter, (position, frequency, parameter), parameters ordered as in `covariance`."""
        if self.slopes_of is not None:  # of two paths that nearly cancel the covariance knows which sum is sure, where it was made
            return self.slopes_of.prediction_jacobian(positions, frequencies_hz, elements)
        positions = np.atleast_1d(np.asarray(positions, dtype=float))
        basis = DelayBasis(np.atleast_1d(np.asarray(frequencies_hz, dtype=float)))
        answer = respond(self.everything, positions, np.zeros(positions.size), basis, self.wavelength)
        gains, n, antennas = self.gains[: self.order, None], self.order, self.chains.size
        own = [part[:, :n] * gains for part in (answer.cosine, answer.curvature, answer.late, answer.taper)]
        own += [answer.unit[:, :n], 1j * answer.unit[:, :n]]
        own = np.swapaxes(np.stack(own, axis=2).reshape(positions.size, -1, basis.dimension), 1, 2)
        waves = np.swapaxes(answer.unit[:, n:], 1, 2)
        chained = np.zeros((positions.size, basis.dimension, antennas - 1), complex)
        if elements is not None:
            stands = np.broadcast_to(np.asarray(elements, dtype=np.intp), positions.shape)[:, None] == np.arange(1, antennas)
            chained = self.channel(positions, frequencies_hz)[..., None] * stands[:, None]
        through = self.seen_through(elements, positions)[..., None]
        both = np.stack([chained, 1j * chained], axis=-1).reshape(*chained.shape[:2], -1)
        return np.concatenate([own * through, waves * through, 1j * waves * through, both], axis=-1)

    def channel(self, positions: Any, frequencies_hz: Any, elements: Any = None) -> NDArray[np.complex128]:
        """(position, frequency) predicted channel alone, without its variance: cheap. elements: as in `predict`."""
        positions = np.atleast_1d(np.asarray(positions, dtype=float))
        value = field(self.everything, positions, np.atleast_1d(np.asarray(frequencies_hz, dtype=float)), self.wavelength)
        return value * self.seen_through(elements, positions)

    @cached_property
    def _spread(self) -> NDArray[np.float64]:
        return _root(self.covariance)

    def predict(
        self, positions: Any, frequencies_hz: Any, elements: Any = None, *, position_std: float = 0.0
    ) -> tuple[NDArray[np.complex128], NDArray[np.float64]]:
        """Channel (position, frequency) at positions (m, local x) and baseband frequencies, and its error variance E|h_hat - h|^2.

        elements: which element will stand at each position, (position,) or one for all; None: element 0, the chains' reference.
        position_std: metres by which an element may miss the position it is sent to; adds |dh/dp|^2 std^2. Below threshold the variance
        is the channel's own power: nothing is known.
        """
        value = self.channel(positions, frequencies_hz, elements)
        if not self.above_threshold:
            return value, np.full(value.shape, self.level)
        variance = self._variance(np.atleast_1d(np.asarray(positions, dtype=float)), frequencies_hz, elements)
        if position_std > 0.0:
            step = 1e-3 * self.wavelength
            positions = np.atleast_1d(np.asarray(positions, dtype=float))
            ahead, behind = (self.channel(positions + side, frequencies_hz, elements) for side in (step, -step))
            variance = variance + np.abs((ahead - behind) / (2.0 * step)) ** 2 * position_std**2
        return value, variance

    def _variance(self, positions: NDArray[np.float64], frequencies_hz: Any, elements: Any) -> NDArray[np.float64]:
        """(position, frequency) |J A|^2 of the covariance A A^T; for a place that several elements may take it is worked out once.

        Element n's row of J is c_n times the field's, and h(p) along its own chain.
        """
        places, which = np.unique(positions, return_inverse=True)
        slopes = self.prediction_jacobian(places, frequencies_hz)
        fields = slopes.shape[-1] - 2 * (self.chains.size - 1)
        root = self._spread
        flat = slopes[..., :fields].reshape(-1, fields)
        alike = flat.real @ root[:fields] + 1j * (flat.imag @ root[:fields])
        variance = np.sum(alike.real**2 + alike.imag**2, axis=-1).reshape(slopes.shape[:2])[which]
        if elements is None:
            return variance
        own = np.zeros((self.chains.size, root.shape[1]), complex)
        own[1:] = root[fields::2] + 1j * root[fields + 1 :: 2]
        both = (alike @ own.conj().T).reshape(*slopes.shape[:2], -1)
        element = np.broadcast_to(np.asarray(elements, dtype=np.intp), positions.shape)
        h, c = self.channel(positions, frequencies_hz), self.chains[element, None]
        alone = np.sum(np.abs(own) ** 2, axis=-1)[element, None]
        mixed = both[which, :, element]
        return np.maximum(np.abs(c) ** 2 * variance + np.abs(h) ** 2 * alone + 2.0 * np.real(c * mixed * h.conj()), 0.0)

    def error_covariance(self, positions: Any, frequencies_hz: Any, elements: Any = None) -> NDArray[np.float64]:
        """Covariance of the prediction error over an array, (frequency, 2 position, 2 position) real, (real; imaginary) stacked.

        For sets: hil.uncertainty.real_radius of it.
        """
        slopes = np.swapaxes(self.prediction_jacobian(positions, frequencies_hz, elements), 0, 1)
        stacked = np.concatenate([slopes.real, slopes.imag], axis=1) @ self._spread
        if not self.above_threshold:
            return np.broadcast_to(self.level / 2.0 * np.eye(stacked.shape[1]), (stacked.shape[0],) + 2 * (stacked.shape[1],)).copy()
        return stacked @ np.swapaxes(stacked, 1, 2)


def _told(root: NDArray[np.float64], own: slice, known: NDArray[np.float64]) -> NDArray[np.float64]:
    """Root of the covariance root root^T once the parameters `own` have the covariance `known`."""
    gain = np.linalg.solve(root[own] @ root[own].T, root[own])
    inner = np.eye(root.shape[1]) - gain.T @ (root[own] @ root[own].T - known) @ gain
    values, vectors = linalg.eigh(inner, check_finite=False)
    return root @ (vectors * np.sqrt(np.maximum(values, 0.0)))


def _root(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """A with A A^T = covariance, for covariances that may be singular to rounding."""
    scale = np.sqrt(np.maximum(np.diag(covariance), 1e-300))
    values, vectors = linalg.eigh(covariance / np.outer(scale, scale), check_finite=False)
    keep = values > 1e-12 * max(values[-1], 1e-300)
    return scale[:, None] * vectors[:, keep] * np.sqrt(values[keep])


def fit(
    positions: Any, channel: Any, variance: Any, frequencies_hz: Any, *, wavelength: float, position_std: float = 0.0,
    chains: ChainGains | None = None, moving: Any = 0.0, apart: Any = None, more: More | None = None, before: PathFit | None = None,
    settings: Settings = Settings(),
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
    state, orders = _search(_held(seen, start_chains), settings, known)
    waves = _waves(seen, settings)
    unresolved = 0.0
    if settings.unresolved:
        power = engine.wave_evidence(state, seen, waves)
        state = replace(state, waves=waves, wave_variance=power)
        for _ in range(settings.widenings + 1):
            state, _ = engine.refine(state, seen, steps=6, tolerance=0.01)
            if _left_out(seen, *_solved(state, seen)).passed:
                break
            state = replace(state, wave_variance=4.0 * state.wave_variance)
        unresolved = state.wave_variance * waves.count / engine.level_of(seen)
    return _result(state, seen, settings, orders, unresolved, start, phases, delays, first)


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
        per_unit = _through(first)
        prior = per_unit.T @ np.linalg.inv(chains.covariance) @ per_unit if chains.covariance.any() else None
    return replace(seen, values=seen.values / gain, variance=seen.variance / np.abs(gain) ** 2, chain_prior=prior)


def _held(seen: Observations, start: ChainGains) -> Observations:
    """With chains kept near where they begin: paths still missing must not bend them."""
    if seen.chain_prior is None or not start.covariance.any():
        return seen
    per_unit = _through(start.value)
    return replace(seen, chain_prior=seen.chain_prior + per_unit.T @ np.linalg.inv(HELD**2 * start.covariance) @ per_unit)


def _through(gains: NDArray[np.complex128]) -> NDArray[np.float64]:
    """Real matrix (2 (n - 1), 2 (n - 1)) of the product with gains 1, 2, ... on interleaved Re and Im."""
    return linalg.block_diag(*(np.array([[g.real, -g.imag], [g.imag, g.real]]) for g in gains[1:]))


def _checked(
    positions: NDArray, channel: NDArray, variance: NDArray, frequencies: NDArray, chains: ChainGains | None
) -> NDArray[np.float64]:
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
    width = np.ptp(frequencies)
    reach = 0.5 / np.min(np.diff(np.sort(frequencies)))
    grid = np.arange(-reach, reach, 0.5 / width)
    rows = aligned.reshape(-1, frequencies.size)
    rows = rows if rows.shape[0] <= 16 else rows[:: rows.shape[0] // 16 + 1]
    turn = np.exp(2j * np.pi * np.outer(frequencies, grid))
    best = float(grid[np.argmax(np.sum(np.abs(rows @ turn) ** 2, axis=0))])
    fine = best + np.linspace(-0.5, 0.5, 21) / width
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


def _grid(seen: Observations, settings: Settings) -> Search:
    span = np.ptp(seen.positions) / seen.wavelength
    width = np.ptp(seen.basis.frequencies)
    cosines = np.linspace(-1.0, 1.0, 4 * int(np.ceil(2.0 * span)) + 1)
    delays = np.arange(settings.search[0], settings.search[1], 0.3 / width)
    cells = (2.0 * span + 1.0) * ((settings.search[1] - settings.search[0]) * width + 1.0) * 2.0
    return Search(cosines, np.array([0.0, 0.08, 0.2, 0.35]), delays, max(cells, 32.0))


def _from(before: PathFit, seen: Observations, start: float, phases: NDArray, delays: NDArray) -> State:
    """The paths of an earlier fit as a state of these observations."""
    found, anchored = before.resolved, len(before.phases) if len(before.phases) < seen.visits else seen.visits
    state = State.empty(seen)
    state.phases[:anchored] = before.phases[:anchored] - phases[:anchored]
    state.delays[:anchored] = before.visit_delays[:anchored] - delays[:anchored]
    return replace(state, sources=replace(found, delays=found.delays - start))


def _search(seen: Observations, settings: Settings, known: State | None = None) -> tuple[State, tuple[int, int]]:
    """Add paths while they are significant; returns the state and the orders at the strict and the ordinary false-alarm rate.

    known: the paths of an earlier fit, to begin with.
    """
    search = _grid(seen, settings)
    limit, strict = (np.log(search.cells) - np.log(-np.log1p(-rate)) for rate in (settings.false_alarm, settings.strict_false_alarm))
    places = np.unique(seen.positions.round(6)).size
    most = max(1, min(settings.most_paths, places // 2 - 1))
    state = State.empty(seen) if known is None else _annealed(known, seen)[0]
    state, order_strict = _grown(state, seen, search, most, limit, strict)
    state, value = _annealed(state, seen)
    state, value = _pruned(state, seen, value, limit)
    if known is None:
        state, value = _parted(state, seen, value, search, most, limit)
    order = state.sources.count
    return state, (min(order_strict, order) if order_strict >= 0 else order, order)


def _grown(state: State, seen: Observations, search: Search, most: int, limit: float, strict: float) -> tuple[State, int]:
    """Paths added while they pass `limit`; and how many there were when the first did not pass `strict` (-1: all did)."""
    order_strict = -1
    while state.sources.count < most:
        peak, path = engine.strongest(state, seen, search)
        if peak < strict and order_strict < 0:
            order_strict = state.sources.count
        if peak < limit:
            break
        # the paths still missing weigh on the fit like noise; counted as such, they cannot push the positions about
        noisy = engine.tempered(state, seen, 0.25)
        trial, lower = engine.refine(replace(state, sources=state.sources.and_one(*path)), noisy, steps=6, tolerance=0.5)
        if engine.cost(state, noisy) - lower < 2.0:
            break
        state = trial
    return state, order_strict


def _annealed(state: State, seen: Observations) -> tuple[State, float]:
    """Every parameter refined, gently first; the state and its cost."""
    value = engine.cost(state, seen)
    for share in (0.25, 0.0):
        state, value = engine.refine(state, engine.tempered(state, seen, share), steps=8, tolerance=0.05)
    return state, value


def _pruned(state: State, seen: Observations, value: float, limit: float) -> tuple[State, float]:
    """Without the paths whose removal costs less than their detection needed (those that later ones have made superfluous)."""
    while state.sources.count > 1:
        trial, higher = state, np.inf
        for index in np.argsort(engine.significance(state, seen))[:2]:
            less, cost = engine.refine(replace(state, sources=state.sources.without(int(index))), seen, steps=4, tolerance=0.5)
            if cost < higher:
                trial, higher = less, cost
        if higher - value > 2.0 * limit:
            break
        state, value = trial, higher
    return state, value


def _parted(state: State, seen: Observations, value: float, search: Search, most: int, limit: float) -> tuple[State, float]:
    """Two neighbours that were taken for one bent path, or for a crowd, are told apart: around each such path the best pair is tried."""
    width = np.ptp(seen.basis.frequencies)
    tried: list[tuple[float, float]] = []
    at_cap = state.sources.count >= most  # the search ended for want of room, not of energy
    while len(tried) < PARTED and (at_cap or value > 2.0 * seen.values.size):  # below that everything is explained already
        s = state.sources
        close = (np.abs(s.cosines[:, None] - s.cosines) < NEAR) & (np.abs(s.delays[:, None] - s.delays) < 0.4 / width)
        bent = np.abs(s.curvatures - engine.CURVATURE) > BENT * engine.CURVATURE_STD
        suspects = sorted(np.flatnonzero(bent | (close.sum(axis=1) > 2)), key=lambda i: -abs(s.gains[i]))
        fresh = [i for i in suspects if all(abs(s.cosines[i] - c) > NEAR / 2 or abs(s.delays[i] - d) > 0.2 / width for c, d in tried)]
        if not fresh:
            break
        cosine, far = s.cosines[fresh[0]], ~close[fresh[0]]
        tried.append((float(cosine), float(s.delays[fresh[0]])))
        rest = replace(state, sources=Sources(*(a[far] for a in state.sources)))
        around = replace(search, cosines=search.cosines[np.abs(search.cosines - cosine) < 0.35])
        for one in engine.strongest_pair(rest, seen, around):
            rest = replace(rest, sources=rest.sources.and_one(*one))
        trial, _ = engine.refine(rest, engine.tempered(rest, seen, 0.25), steps=8, tolerance=0.5)
        trial, _ = _grown(trial, seen, search, s.count, limit, limit)  # no more than there were: parting is no licence to fit more
        if trial.sources.count > s.count:
            continue
        trial, cost = _annealed(trial, seen)
        if cost + 2.0 * limit * trial.sources.count < value + 2.0 * limit * state.sources.count:
            state, value = _pruned(trial, seen, cost, limit)
    return state, value


def _waves(seen: Observations, settings: Settings) -> Sources:
    """Plane waves, cosine x delay, whose span is dense enough for any field over the rail: a kernel sinc-like along it."""
    span = max(np.ptp(seen.positions) / seen.wavelength, 1.0)
    cosines = np.linspace(-1.0, 1.0, int(np.ceil(2.0 * span * 1.5)) + 1)
    width = np.ptp(seen.basis.frequencies)
    count = max(2, int(np.ceil((settings.spread[1] - settings.spread[0]) * width / 0.6)) + 1)
    cosine, delay = (a.ravel() for a in np.meshgrid(cosines, np.linspace(*settings.spread, count), indexing="ij"))
    return Sources(np.zeros(cosine.size, complex), cosine, np.zeros(cosine.size), delay, np.zeros(cosine.size))


def _result(
    state: State, seen: Observations, settings: Settings, orders: tuple[int, int], unresolved: float, start: float, phases: NDArray,
    delays: NDArray, first: NDArray,
) -> PathFit:  # fmt: skip
    here, covariance = _solved(state, seen)
    left_out = _left_out(seen, here, covariance)
    ratio, misfit = _residual_test(here, covariance)
    paths, waves = engine.PER_PATH * state.sources.count, 2 * state.waves.count
    chained = 2 * (first.size - 1)
    fitted = chained if seen.chain_prior is not None else 0
    keep = np.r_[0:paths, here.scale.size - waves : here.scale.size, here.scale.size - waves - fitted : here.scale.size - waves]
    bound = np.zeros((paths + waves + chained,) * 2)
    bound[: keep.size, : keep.size] = covariance[np.ix_(keep, keep)] * np.outer(here.scale[keep], here.scale[keep])
    bound[paths + waves :] = _through(first) @ bound[paths + waves :]
    bound[:, paths + waves :] = bound[:, paths + waves :] @ _through(first).T
    assumptions = ["point sources", "static room between visits"]
    factor = 1.0
    if misfit:
        factor, assumptions = max(ratio, 1.0), assumptions + ["model misfit"]
    everything = state.sources.joined(state.waves)
    enough = seen.visits >= settings.least_visits
    gains, own = first * state.chains, slice(paths + waves, None)
    if not enough:
        assumptions.append(f"only {seen.visits} visits")
    if orders[0] != orders[1]:
        assumptions.append(f"order {orders[0]} at the strict false-alarm rate, {orders[1]} at the ordinary one")
    level = engine.level_of(seen)
    return PathFit(
        everything.gains, everything.cosines, everything.curvatures, everything.delays + start, everything.tapers, gains,
        enough and left_out.passed, state.sources.count, bound * factor, bound,
        ChainGains(gains, bound[own, own] * factor, bound[own, own], enough and left_out.passed, ("one complex gain per chain",)),
        phases + state.phases, delays + state.delays, ratio, left_out, orders, float(10.0 * np.log10(max(unresolved, 1e-12))),
        seen.wavelength, level, tuple(assumptions),
    )  # fmt: skip


def _solved(state: State, seen: Observations) -> tuple[engine.Linear, NDArray[np.float64]]:
    """The fit linearised, and the covariance of its scaled parameters."""
    here = engine.linearise(state, seen)
    information = here.information
    return here, linalg.inv(information + 1e-12 * np.diag(np.diag(information)), check_finite=False)


def _residual_test(here: engine.Linear, covariance: NDArray[np.float64]) -> tuple[float, bool]:
    """Residual energy over its degrees of freedom, and whether it lies outside 99.9 %."""
    used = float(np.sum((here.rows @ covariance) * here.rows))
    degrees = max(here.residual.size - used, 1.0)
    energy = float(here.residual @ here.residual)
    low, high = (2.0 * special.gammaincinv(degrees / 2.0, q) for q in (0.0005, 0.9995))
    return energy / degrees, not low <= energy <= high


def _left_out(seen: Observations, here: engine.Linear, covariance: NDArray[np.float64]) -> LeftOut:
    """Leave one visit out, in the model linearised at the fit: residual (I - H_vv)^-1 r_v has covariance (I - H_vv)^-1.

    A visit's own phase and delay are free, so two directions of I - H_vv vanish and are left out.
    """
    visit = np.tile(np.repeat(seen.visit, seen.values.shape[1]), 2)
    total = degrees = worst = error = power = 0.0
    passed = True
    for number in range(seen.visits):
        own = visit == number
        rows, residual = here.rows[own], here.residual[own]
        values, vectors = linalg.eigh(np.eye(residual.size) - rows @ covariance @ rows.T, check_finite=False)
        keep = values > 1e-3
        parts = vectors[:, keep].T @ residual
        statistic, freedom = float(np.sum(parts**2 / values[keep])), int(keep.sum())
        total, degrees, worst = total + statistic, degrees + freedom, max(worst, statistic / freedom)
        passed &= special.gammainc(freedom / 2.0, statistic / 2.0) < 1.0 - 0.01 / seen.visits
        mine = seen.visit == number
        apart = (vectors[:, keep] @ (parts / values[keep])) ** 2 - 1.0  # prediction minus measurement, its own noise taken off
        noise = np.tile(np.broadcast_to(seen.variance, seen.values.shape)[mine].ravel() / 2.0, 2)
        expected = np.sum(vectors[:, keep] ** 2 / values[keep], axis=1) - 1.0
        error += max(float(np.sum(apart * noise)), 0.25 * float(np.sum(np.maximum(expected, 0.0) * noise)))
        power += float(np.sum(np.abs(seen.values[mine]) ** 2))
    return LeftOut(total / max(degrees, 1.0), bool(passed), worst, float(10.0 * np.log10(max(error / max(power, 1e-300), 1e-8))))
