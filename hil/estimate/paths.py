"""Paths between a linear array that has been to a few places and one far antenna: the channel where no element has been.

Each path is a point source (hil.knowledge.FieldResponse). Paths are found one by one (Newtonised orthogonal matching pursuit, Mamandipoor,
Ramasamy and Madhow 2016), refined together with every visit's unknown phase and delay and with the position errors, and what remains
unresolved is carried as a field of weak plane waves whose power is estimated from the residual: it follows the data where there are any
and widens the predicted error where there are none.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, special

from hil.errors import InputError
from hil.estimate import fieldfit as engine
from hil.estimate.fieldfit import Observations, Search, State
from hil.estimate.sources import DelayBasis, Sources, field, respond
from hil.estimate.visits import align

__all__ = ["LeftOut", "PathFit", "Settings", "fit"]

ECHO_MARGIN = 2.0  # an echo is one wave over all elements of a visit, counted here as independent on each: room for its larger scatter


@dataclass(frozen=True, slots=True)
class Settings:
    """How a fit is made. Delays in seconds relative to the strongest arrival."""

    false_alarm: float = 0.01
    strict_false_alarm: float = 1e-4  # an order that differs between the two is reported as not stable
    window: tuple[float, float] = (-0.15e-6, 0.45e-6)  # delays kept of the data
    search: tuple[float, float] = (-0.05e-6, 0.25e-6)  # where paths are looked for
    spread: tuple[float, float] = (-0.03e-6, 0.18e-6)  # where unresolved energy may lie
    echoes: tuple[float, float] = (-0.03e-6, 0.12e-6)  # where the echo of what moves may lie
    most_paths: int = 12
    unresolved: bool = True  # carry the field of weak plane waves
    widenings: int = 3  # times its power may be raised by 6 dB until every left-out visit is predicted within its covariance
    least_visits: int = 4


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Every visit predicted from the others: chi-square over its degrees of freedom, and whether each visit passes at 99 %."""

    ratio: float
    passed: bool
    worst: float  # largest ratio of one visit
    error_db: float  # prediction error over channel power of the left-out visits, noise taken off (not below a quarter of the expected)


@dataclass(frozen=True, eq=False)
class PathFit:
    """Fitted paths; satisfies hil.knowledge.FieldResponse. Phase and delay are those of the first visit.

    gains, cosines, curvatures, delays: resolved paths first (`order` of them), then the plane waves of the unresolved field. tapers: slope
    of each path's amplitude along the rail, 1/m, a -40 dB effect that `predict` includes and the protocol's formula leaves out.
    covariance: of the real parameters (cosine, curvature, delay, taper, Re g, Im g) per resolved path, then Re and Im of the waves;
    visits' phases and delays and position errors are marginalised. bound: the same without misfit scaling (Cramer-Rao with the
    priors, at the estimate).
    """

    gains: NDArray[np.complex128]
    cosines: NDArray[np.float64]
    curvatures: NDArray[np.float64]
    delays: NDArray[np.float64]
    tapers: NDArray[np.float64]
    above_threshold: bool
    order: int
    covariance: NDArray[np.float64]
    bound: NDArray[np.float64]
    phases: NDArray[np.float64]  # (visit,) rad, relative to the first
    visit_delays: NDArray[np.float64]  # (visit,) s
    residual_test: float
    left_out: LeftOut
    orders: tuple[int, int]  # at the strict and at the ordinary false-alarm rate
    unresolved_db: float  # power of the unresolved field over the channel's, prior
    wavelength: float
    level: float  # mean channel power
    assumptions: tuple[str, ...] = ()

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

    def prediction_jacobian(self, positions: Any, frequencies_hz: Any) -> NDArray[np.complex128]:
        """d h/d parameter, (position, frequency, parameter), parameters ordered as in `covariance`."""
        positions = np.atleast_1d(np.asarray(positions, dtype=float))
        basis = DelayBasis(np.atleast_1d(np.asarray(frequencies_hz, dtype=float)))
        answer = respond(self.everything, positions, np.zeros(positions.size), basis, self.wavelength)
        gains, n = self.gains[: self.order, None], self.order
        own = [part[:, :n] * gains for part in (answer.cosine, answer.curvature, answer.late, answer.taper)]
        own += [answer.unit[:, :n], 1j * answer.unit[:, :n]]
        own = np.swapaxes(np.stack(own, axis=2).reshape(positions.size, -1, basis.dimension), 1, 2)
        waves = np.swapaxes(answer.unit[:, n:], 1, 2)
        return np.concatenate([own, waves, 1j * waves], axis=-1)

    def channel(self, positions: Any, frequencies_hz: Any) -> NDArray[np.complex128]:
        """(position, frequency) predicted channel alone, without its variance: cheap."""
        positions = np.atleast_1d(np.asarray(positions, dtype=float))
        return field(self.everything, positions, np.atleast_1d(np.asarray(frequencies_hz, dtype=float)), self.wavelength)

    @cached_property
    def _spread(self) -> NDArray[np.float64]:
        return _root(self.covariance)

    def predict(
        self, positions: Any, frequencies_hz: Any, position_std: float = 0.0
    ) -> tuple[NDArray[np.complex128], NDArray[np.float64]]:
        """Channel (position, frequency) at positions (m, local x) and baseband frequencies, and its error variance E|h_hat - h|^2.

        position_std: metres by which an element may miss the position it is sent to; adds |dh/dp|^2 std^2. Below threshold the variance
        is the channel's own power: nothing is known.
        """
        value = self.channel(positions, frequencies_hz)
        if not self.above_threshold:
            return value, np.full(value.shape, self.level)
        slopes = self.prediction_jacobian(positions, frequencies_hz)
        shape = slopes.shape
        flat = slopes.reshape(-1, shape[-1])
        root = self._spread
        spread = (flat @ root).view(np.float64).reshape(shape[0], shape[1], -1)
        variance = np.sum(spread**2, axis=-1)
        if position_std > 0.0:
            step = 1e-3 * self.wavelength
            positions = np.atleast_1d(np.asarray(positions, dtype=float))
            slope = (self.channel(positions + step, frequencies_hz) - self.channel(positions - step, frequencies_hz)) / (2.0 * step)
            variance = variance + np.abs(slope) ** 2 * position_std**2
        return value, variance

    def error_covariance(self, positions: Any, frequencies_hz: Any) -> NDArray[np.float64]:
        """Covariance of the prediction error over an array, (frequency, 2 position, 2 position) real, (real; imaginary) stacked.

        For sets: hil.uncertainty.real_radius of it.
        """
        slopes = np.swapaxes(self.prediction_jacobian(positions, frequencies_hz), 0, 1)
        stacked = np.concatenate([slopes.real, slopes.imag], axis=1) @ self._spread
        if not self.above_threshold:
            return np.broadcast_to(self.level / 2.0 * np.eye(stacked.shape[1]), (stacked.shape[0],) + 2 * (stacked.shape[1],)).copy()
        return stacked @ np.swapaxes(stacked, 1, 2)


def _root(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """A with A A^T = covariance, for covariances that may be singular to rounding."""
    scale = np.sqrt(np.maximum(np.diag(covariance), 1e-300))
    values, vectors = linalg.eigh(covariance / np.outer(scale, scale), check_finite=False)
    keep = values > 1e-12 * max(values[-1], 1e-300)
    return scale[:, None] * vectors[:, keep] * np.sqrt(values[keep])


def fit(
    positions: Any, channel: Any, variance: Any, frequencies_hz: Any, *, wavelength: float, anchor: int, position_std: float = 0.0,
    moving: Any = 0.0, settings: Settings = Settings(),
) -> PathFit:  # fmt: skip
    """Fit the paths of one link from V visits of n elements.

    positions: (visit, antenna) metres of local x as read back. channel: (visit, antenna, tone) least-squares estimate per tone; every visit
    may have its own phase and delay. variance: of its white error per tone, (visit,), (visit, antenna) or scalar. frequencies_hz: (tone,)
    baseband. anchor: the element that stays put in all visits. position_std: metres, of every read-back. moving: power per tone of the
    echo of whatever walks about, shaped like `variance`: new in every visit, it is noise to the room, but gathered in a few delays.
    """
    positions, channel = np.asarray(positions, dtype=float), np.asarray(channel, dtype=complex)
    frequencies = np.asarray(frequencies_hz, dtype=float)
    variance = _checked(positions, channel, np.asarray(variance, dtype=float), frequencies, anchor, position_std)
    moving = _per_row(np.asarray(moving, dtype=float), positions)
    aligned, phases, delays = align(channel, frequencies, anchor)
    start = _arrival(aligned, frequencies)
    aligned = aligned * np.exp(2j * np.pi * start * frequencies)
    seen = _observations(positions, aligned, variance, moving, frequencies, wavelength, anchor, position_std, settings)
    state, orders = _search(seen, settings)
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
    return _result(state, seen, settings, orders, unresolved, start, phases, delays)


def _checked(
    positions: NDArray, channel: NDArray, variance: NDArray, frequencies: NDArray, anchor: int, position_std: float
) -> NDArray[np.float64]:
    if channel.shape != (*positions.shape, frequencies.size) or positions.ndim != 2:
        raise InputError(
            "shape", "positions, channel and tones disagree", found=f"{positions.shape}, {channel.shape}, {frequencies.shape}",
            allowed="(visit, antenna), (visit, antenna, tone), (tone,)",
        )  # fmt: skip
    variance = _per_row(variance, positions)
    if not (np.all(np.isfinite(channel)) and np.all(np.isfinite(positions)) and np.all(variance > 0.0) and np.all(np.isfinite(variance))):
        raise InputError("not-finite", "channels and positions must be finite, variances positive", found="NaN, infinity or zero variance")
    if not 0 <= anchor < positions.shape[1]:
        raise InputError("anchor", "no such element", key="anchor", found=f"{anchor}", allowed=f"0 ... {positions.shape[1] - 1}")
    wander = float(np.ptp(positions[:, anchor]))
    if wander > 6.0 * position_std + 1e-6:
        raise InputError(
            "anchor", "the anchor moved between visits", key="anchor", found=f"{1e3 * wander:.3f} mm",
            allowed=f"{1e3 * (6.0 * position_std):.3f} mm (6 std)", fix="name the element that stays put",
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
    positions: NDArray, aligned: NDArray, variance: NDArray, moving: NDArray, frequencies: NDArray, wavelength: float, anchor: int,
    position_std: float, settings: Settings,
) -> Observations:  # fmt: skip
    visits, antennas = positions.shape
    basis, gathered = DelayBasis.of_window(frequencies, *settings.window).turned(*settings.echoes)
    number = np.zeros((visits, antennas), dtype=np.intp)  # the anchor has not moved: one displacement for all its rows
    others = [n for n in range(antennas) if n != anchor]
    number[:, others] = 1 + np.arange(visits * (antennas - 1)).reshape(visits, antennas - 1)
    return Observations(
        basis.project(aligned).reshape(visits * antennas, -1), variance.reshape(-1, 1) + ECHO_MARGIN * moving.reshape(-1, 1) * gathered,
        positions.ravel(),
        np.repeat(np.arange(visits), antennas), number.ravel(), basis, wavelength, float(position_std),
    )  # fmt: skip


def _grid(seen: Observations, settings: Settings) -> Search:
    span = np.ptp(seen.positions) / seen.wavelength
    width = np.ptp(seen.basis.frequencies)
    cosines = np.linspace(-1.0, 1.0, 4 * int(np.ceil(2.0 * span)) + 1)
    delays = np.arange(settings.search[0], settings.search[1], 0.3 / width)
    cells = (2.0 * span + 1.0) * ((settings.search[1] - settings.search[0]) * width + 1.0) * 2.0
    return Search(cosines, np.array([0.0, 0.08, 0.2, 0.35]), delays, max(cells, 32.0))


def _search(seen: Observations, settings: Settings) -> tuple[State, tuple[int, int]]:
    """Add paths while they are significant; returns the state and the orders at the strict and the ordinary false-alarm rate."""
    search = _grid(seen, settings)
    limit, strict = (np.log(search.cells) - np.log(-np.log1p(-rate)) for rate in (settings.false_alarm, settings.strict_false_alarm))
    most = max(1, min(settings.most_paths, (np.unique(seen.positions.round(6)).size - 4) // 2))
    state = State.empty(seen)
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
    for share in (0.25, 0.0):
        state, value = engine.refine(state, engine.tempered(state, seen, share), steps=8, tolerance=0.05)
    state = _pruned(state, seen, value, limit)
    order = state.sources.count
    return state, (min(order_strict, order) if order_strict >= 0 else order, order)


def _pruned(state: State, seen: Observations, value: float, limit: float) -> State:
    """Without the paths whose removal costs less than their detection needed (those that later ones have made superfluous)."""
    while state.sources.count > 1:
        power = np.abs(state.sources.gains) ** 2
        weakest = int(np.argmin(power))
        trial, higher = engine.refine(replace(state, sources=state.sources.without(weakest)), seen, steps=4, tolerance=0.5)
        if higher - value > 2.0 * limit:
            return state
        state, value = trial, higher
    return state


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
    delays: NDArray,
) -> PathFit:  # fmt: skip
    here, covariance = _solved(state, seen)
    left_out = _left_out(seen, here, covariance)
    ratio, misfit = _residual_test(here, covariance)
    paths, waves = engine.PER_PATH * state.sources.count, 2 * state.waves.count
    keep = np.r_[0:paths, here.scale.size - waves : here.scale.size]
    bound = covariance[np.ix_(keep, keep)] * np.outer(here.scale[keep], here.scale[keep])
    assumptions = ["point sources", "static room between visits"]
    factor = 1.0
    if misfit:
        factor, assumptions = max(ratio, 1.0), assumptions + ["model misfit"]
    everything = state.sources.joined(state.waves)
    enough = seen.visits >= settings.least_visits
    if not enough:
        assumptions.append(f"only {seen.visits} visits")
    if orders[0] != orders[1]:
        assumptions.append(f"order {orders[0]} at the strict false-alarm rate, {orders[1]} at the ordinary one")
    level = engine.level_of(seen)
    return PathFit(
        everything.gains, everything.cosines, everything.curvatures, everything.delays + start, everything.tapers,
        enough and left_out.passed, state.sources.count, bound * factor, bound, phases + state.phases, delays + state.delays, ratio,
        left_out, orders, float(10.0 * np.log10(max(unresolved, 1e-12))), seen.wavelength, level, tuple(assumptions),
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
        noise = np.tile(seen.variance[mine].ravel() / 2.0, 2)
        expected = np.sum(vectors[:, keep] ** 2 / values[keep], axis=1) - 1.0
        error += max(float(np.sum(apart * noise)), 0.25 * float(np.sum(np.maximum(expected, 0.0) * noise)))
        power += float(np.sum(np.abs(seen.values[mine]) ** 2))
    return LeftOut(total / max(degrees, 1.0), bool(passed), worst, float(10.0 * np.log10(max(error / max(power, 1e-300), 1e-8))))
