"""What a path fit tells: paths, chain gains, and the channel where no element has been, with its error.

Phase and delay of a link mean nothing by themselves: an error that all visited places share is none of the prediction's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from hil.estimate import fieldfit as engine
from hil.estimate.chains import ChainGains
from hil.estimate.fieldfit import Observations, State
from hil.estimate.sources import DelayBasis, Sources, field, respond

__all__ = ["Fitted", "LeftOut", "PathFit"]

BAND = 5  # frequencies over the band at which the visited places agree on a delay


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Every visit predicted from the others: chi-square over its degrees of freedom, and whether each visit passes at 99 %."""

    ratio: float
    passed: bool
    worst: float  # largest ratio of one visit
    error_db: float  # prediction error over channel power of the left-out visits, noise taken off (not below a quarter of the expected)


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """Where a fit ended: the state and what it explains, observed through chains of gains `first` (antenna,), `late` seconds early."""

    state: State
    seen: Observations
    first: NDArray[np.complex128]
    late: float

    def at(self, gains: NDArray[np.complex128]) -> tuple[State, Observations]:
        """The same as seen through chains of these gains."""
        by = (gains / self.first)[self.seen.element, None]
        echo, count = self.seen.echo, 2 * (gains.size - 1)
        if echo is not None:
            echo = (echo.reshape(*self.seen.values.shape, -1) / by[..., None]).reshape(echo.shape)
        seen = replace(
            self.seen, values=self.seen.values / by, variance=self.seen.variance / np.abs(by) ** 2, chain_prior=np.zeros((count, count)), echo=echo
        )
        return replace(self.state, chains=np.ones(gains.size, complex)), seen


@dataclass(frozen=True, eq=False)
class PathFit:
    """Fitted paths; satisfies hil.knowledge.FieldResponse. Phase and delay are those of the first visit, amplitude that of element 0.

    gains, cosines, curvatures, delays: resolved paths first (`order` of them), then the plane waves of the unresolved field. tapers: slope
    of each path's amplitude along the rail, 1/m, a -40 dB effect that `predict` includes and the protocol's formula leaves out.
    chains: (antenna,) gain of each element's chain relative to element 0. covariance: of the real parameters (cosine, curvature, delay,
    taper, Re g, Im g) per resolved path, then Re and Im of the waves, then (Re c, Im c) of elements 1, 2, ...; visits' phases and delays
    and position errors are marginalised. bound: the same without misfit scaling (Cramer-Rao with the priors, at the estimate).
    own_chains: what this link alone tells of the chains, whatever `with_chains` has added since. fitted: where the fit ended.
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
    fitted: Fitted
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

    def with_chains(self, known: ChainGains) -> PathFit:
        """This fit made again with the chain gains of `known`, of which `own_chains` is a part (hil.estimate.chains.combine).

        The paths are refined beside the gains, not moved along a slope: two of them that nearly cancel would not follow it.
        """
        own = slice(-known.covariance.shape[0] or None, None)
        if not self.own_chains.covariance.any() or known is self.own_chains or not known.above_threshold:
            return self
        state, seen = self.fitted.at(known.value)
        state, _ = engine.refine(state, replace(seen, chain_prior=None), steps=8, tolerance=0.01)
        _, whole = solved(state, seen)
        lower = told(_root(marginal(state, seen, whole, known.value)), own, known.bound)
        wider = np.sqrt(self.covariance[0, 0] / self.bound[0, 0]) if self.order else 1.0  # misfit
        spread = told(_root(wider**2 * marginal(state, seen, whole, known.value)), own, known.covariance)
        everything, late = state.sources.joined(state.waves), self.fitted.late
        again = replace(
            self, gains=everything.gains, cosines=everything.cosines, curvatures=everything.curvatures, delays=everything.delays + late,
            tapers=everything.tapers, chains=known.value.copy(), covariance=spread @ spread.T, bound=lower @ lower.T,
            phases=self.phases + state.phases - self.fitted.state.phases, fitted=Fitted(state, seen, known.value.copy(), late),
            visit_delays=self.visit_delays + state.delays - self.fitted.state.delays,
        )  # fmt: skip
        again.__dict__["_root"] = spread  # two paths that are hardly told apart make a covariance whose root cannot be had back
        return again

    def seen_through(self, elements: Any, positions: NDArray[np.float64]) -> NDArray[np.complex128]:
        """(position, 1) chain gains of the elements that stand at the positions; of element 0 where None."""
        if elements is None:
            return np.ones((positions.size, 1), complex)
        return self.chains[np.broadcast_to(np.asarray(elements, dtype=np.intp), positions.shape)][:, None]

    def prediction_jacobian(self, positions: Any, frequencies_hz: Any, elements: Any = None) -> NDArray[np.complex128]:
        """d h/d parameter, (position, frequency, parameter), parameters ordered as in `covariance`."""
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
    def _root(self) -> NDArray[np.float64]:
        return _root(self.covariance)

    @cached_property
    def _spread(self) -> NDArray[np.float64]:
        """Root of the covariance, less the phase and the delay that the channels at all visited places have in common."""
        root, seen = self._root, self.fitted.seen
        band = seen.basis.frequencies
        slopes = self.prediction_jacobian(seen.positions, np.linspace(band.min(), band.max(), BAND), seen.element).reshape(-1, len(root))
        common = np.zeros((len(root), 2))
        paths = engine.PER_PATH * self.order
        turn = np.stack([-self.gains.imag, self.gains.real], axis=-1)
        own, waves = turn[: self.order], turn[self.order :]
        common[:paths, 0] = np.pad(own, ((0, 0), (engine.PER_PATH - 2, 0))).ravel()
        common[paths : paths + waves.size, 0] = waves.T.ravel()
        common[2 : paths : engine.PER_PATH, 1] = 1e-9 if self.order else 0.0  # nanoseconds, for the size of the numbers
        seen_as = slopes @ common
        through = np.real(seen_as.conj().T @ slopes) @ root
        return root - common @ (np.linalg.pinv(np.real(seen_as.conj().T @ seen_as)) @ through)

    def predict(
        self, positions: Any, frequencies_hz: Any, elements: Any = None, *, position_std: float = 0.0
    ) -> tuple[NDArray[np.complex128], NDArray[np.float64]]:
        """Channel (position, frequency) at positions (m, local x) and baseband frequencies, and its error variance E|h_hat - h|^2,
        but for one phase and one delay: those that the channels at all visited places have in common.

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
        """Covariance of the prediction error over an array as in `predict`, (frequency, 2 position, 2 position) real, (real; imaginary) stacked.

        For sets: hil.uncertainty.real_radius of it.
        """
        slopes = np.swapaxes(self.prediction_jacobian(positions, frequencies_hz, elements), 0, 1)
        stacked = np.concatenate([slopes.real, slopes.imag], axis=1) @ self._spread
        if not self.above_threshold:
            return np.broadcast_to(self.level / 2.0 * np.eye(stacked.shape[1]), (stacked.shape[0],) + 2 * (stacked.shape[1],)).copy()
        return stacked @ np.swapaxes(stacked, 1, 2)


def solved(state: State, seen: Observations) -> tuple[engine.Linear, NDArray[np.float64]]:
    """The fit linearised, and the covariance of its scaled parameters."""
    here = engine.linearise(state, seen)
    return here, engine.covariance_of(here)


def marginal(state: State, seen: Observations, covariance: NDArray[np.float64], first: NDArray[np.complex128]) -> NDArray[np.float64]:
    """Covariance of paths, waves and chain gains, in this order, from that of all scaled parameters. first: gains the rows were divided by."""
    scale = engine.scales(state, seen)
    paths, waves, chained = engine.PER_PATH * state.sources.count, 2 * state.waves.count, 2 * (first.size - 1)
    fitted = chained if seen.chain_prior is not None else 0
    keep = np.r_[0:paths, scale.size - waves : scale.size, scale.size - waves - fitted : scale.size - waves]
    kept = np.zeros((paths + waves + chained,) * 2)
    kept[: keep.size, : keep.size] = covariance[np.ix_(keep, keep)] * np.outer(scale[keep], scale[keep])
    turn = through(first)
    kept[paths + waves :] = turn @ kept[paths + waves :]
    kept[:, paths + waves :] = kept[:, paths + waves :] @ turn.T
    return kept


def through(gains: NDArray[np.complex128]) -> NDArray[np.float64]:
    """Real matrix (2 (n - 1), 2 (n - 1)) of the product with gains 1, 2, ... on interleaved Re and Im."""
    return linalg.block_diag(*(np.array([[g.real, -g.imag], [g.imag, g.real]]) for g in gains[1:]))


def told(root: NDArray[np.float64], own: slice, known: NDArray[np.float64]) -> NDArray[np.float64]:
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
