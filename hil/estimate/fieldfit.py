"""The engine of the path fit: parameters, residuals, Levenberg-Marquardt, search for the next path, and the unresolved field.

Data lie in a delay basis, shape (position row, dimension), a row being one element of one visit, and are whitened to unit variance per
complex entry: the error of an entry is white noise and, common to the rows of a visit, the echo of whatever moves. Real parameters, in
this order: per path (cosine, curvature, delay, taper, Re g, Im g); phase and delay of every visit but the first; displacements, one for
every place an element was moved to; Re and Im of every element's chain gain but the first's; Re and Im of the plane waves that stand for
unresolved energy.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import linalg
from scipy.linalg import lapack

from hil.estimate import fieldrows
from hil.estimate.sources import DelayBasis, Sources, Weights, units

CURVATURE, CURVATURE_STD = 0.1, 0.15  # 1/m, prior: ten metres away; a metre and a half is three standard deviations off
CURVATURES = (-0.05, 1.2)  # 1/m, nothing is behind the horizon; slightly less than 0 only for the sake of a smooth search
TAPER_STD = 0.06  # 1/m, prior: c/R of a source at the end of the room
PER_PATH = 6
FELT = 1e-4  # of the channel's power


@dataclass(frozen=True, eq=False)
class Observations:
    """What was measured, aligned and projected. The rows of a visit follow one another, equally many in each."""

    values: NDArray[np.complex128]  # (row, dimension)
    variance: NDArray[np.float64]  # (row, dimension) or (row, 1) of white noise
    positions: NDArray[np.float64]  # (row,) metres as read back
    visit: NDArray[np.intp]  # (row,)
    displacement: NDArray[np.intp]  # (row,) which displacement parameter; rows of an element that has not moved share theirs
    element: NDArray[np.intp]  # (row,) which element of the array
    basis: DelayBasis
    wavelength: float
    position_std: float
    chain_prior: NDArray[np.float64] | None = None  # precision of Re, Im of the elements 1, 2, ... about chain gain 1; None: all are 1
    echo: NDArray[np.complex128] | None = None  # (visit, rows of a visit x dimension, factor): covariance echo echo^H on top of the noise
    _weight: NDArray[np.float64] = field(init=False, default_factory=lambda: np.ones((1, 1)))  # (row, dimension) one over the noise's size
    _axes: NDArray[np.complex128] | None = field(init=False, default=None)  # of the echo, after the noise is white: orthonormal
    _share: NDArray[np.float64] | None = field(init=False, default=None)  # (visit, factor) echo over noise along them

    def __post_init__(self) -> None:
        object.__setattr__(self, "_weight", 1.0 / np.sqrt(self.variance))
        if self.echo is None:
            return
        scaled = self.echo / np.sqrt(np.broadcast_to(self.variance, self.values.shape)).reshape(*self.echo.shape[:2], 1)
        share, vectors = np.linalg.eigh(np.conj(np.swapaxes(scaled, 1, 2)) @ scaled)
        share = np.maximum(share, 0.0)
        usable = share > 1e-9
        axes = (scaled @ vectors) / np.sqrt(np.where(usable, share, 1.0))[:, None, :]
        object.__setattr__(self, "_axes", axes * usable[:, None, :])
        object.__setattr__(self, "_share", share * usable)

    def white(self, entries: NDArray[np.complex128]) -> NDArray[np.complex128]:
        """Entries (..., row, dimension) times the symmetric inverse root of the error's covariance: errors become white, of variance 1."""
        scaled = entries * self._weight
        if self._axes is None or self._share is None:
            return scaled
        by_visit = np.moveaxis(scaled.reshape(len(scaled), *self._axes.shape[:2]), 0, 2)
        along = np.conj(np.swapaxes(self._axes, 1, 2)) @ by_visit
        back = by_visit - self._axes @ ((1.0 - 1.0 / np.sqrt(1.0 + self._share))[..., None] * along)
        return np.ascontiguousarray(np.moveaxis(back, 2, 0)).reshape(entries.shape)

    @cached_property
    def level(self) -> float:
        """Mean channel power per tone, noise taken off."""
        power = np.mean(np.abs(self.values) ** 2) - np.mean(self.variance)
        return float(max(power, 0.01 * np.mean(np.abs(self.values) ** 2)) * self.basis.dimension / self.basis.frequencies.size)

    @cached_property
    def size(self) -> float:
        """Root of the mean power per tone, noise and all."""
        return float(np.sqrt(np.mean(np.abs(self.values) ** 2) * self.basis.dimension / self.basis.frequencies.size)) or 1.0

    @cached_property
    def visits(self) -> int:
        return int(self.visit.max()) + 1

    @cached_property
    def elements(self) -> int:
        return int(self.element.max()) + 1

    @cached_property
    def displacements(self) -> int:
        return int(self.displacement.max()) + 1 if self.position_std > 0.0 else 0


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """A point in parameter space."""

    sources: Sources
    phases: NDArray[np.float64]  # (visit,), the first 0
    delays: NDArray[np.float64]  # (visit,) seconds, the first 0
    moved: NDArray[np.float64]  # (displacement,) metres
    chains: NDArray[np.complex128]  # (element,) chain gains, the first 1
    waves: Sources = field(default_factory=Sources.none)  # unresolved field
    wave_variance: float = 0.0  # prior E|g|^2 of each of its plane waves

    @classmethod
    def empty(cls, seen: Observations) -> State:
        return cls(Sources.none(), np.zeros(seen.visits), np.zeros(seen.visits), np.zeros(seen.displacements), np.ones(seen.elements, complex))

    def turn(self, seen: Observations) -> NDArray[np.complex128]:
        """(row, 1) what multiplies the field at every row: the visit's phase and the element's chain gain."""
        return (np.exp(1j * self.phases[seen.visit]) * self.chains[seen.element])[:, None]


def scales(state: State, seen: Observations) -> NDArray[np.float64]:
    """Natural size of each parameter, so that the normal matrix is well conditioned."""
    span = max(float(np.ptp(seen.positions)), seen.wavelength)
    width = max(float(np.ptp(seen.basis.frequencies)), 1.0)
    level = seen.size
    path = [seen.wavelength / span, 8.0 * seen.wavelength / span**2, 1.0 / width, 1.0 / span, level, level]
    others = seen.visits - 1
    return np.concatenate(
        [np.tile(path, state.sources.count), np.ones(others), np.full(others, 1.0 / width),
         np.full(state.moved.size, max(seen.position_std, 1e-12)), np.ones(_chained(seen)), np.full(2 * state.waves.count, level)]
    )  # fmt: skip


def _chained(seen: Observations) -> int:
    """Real parameters of the chain gains."""
    return 0 if seen.chain_prior is None else 2 * (seen.elements - 1)


def at(state: State, seen: Observations) -> NDArray[np.float64]:
    return seen.positions + state.moved[seen.displacement] if state.moved.size else seen.positions


@dataclass(frozen=True, slots=True, eq=False)
class Weak:
    """The unresolved field as a fit sees it, linear in its gains, with elements where they are taken to stand."""

    columns: NDArray[np.complex128]  # (wave, row, dimension), of unit gain, phases and chains left out
    rows: NDArray[np.float64]  # (2 wave, 2 row dimension) white, per scaled parameter
    gram: NDArray[np.float64]  # (2 wave, 2 wave)

    @classmethod
    def of(cls, state: State, seen: Observations) -> Weak:
        unit = np.swapaxes(units(state.waves, at(state, seen), state.delays[seen.visit], seen.basis, seen.wavelength), 0, 1)
        white = seen.white(unit * state.turn(seen)) * (np.sqrt(2.0) * scales(state, seen)[-1])
        rows = np.concatenate([white, 1j * white]).reshape(2 * len(unit), -1).view(np.float64)
        return cls(unit, rows, rows @ rows.T)

    def value(self, state: State, seen: Observations) -> NDArray[np.complex128]:
        return state.turn(seen) * np.tensordot(state.waves.gains, self.columns, axes=1)

    @staticmethod
    def felt(state: State, seen: Observations) -> bool:
        """Whether it is so strong that it must follow the elements while a fit is refined, and pulls at their places."""
        return state.wave_variance * state.waves.count > FELT * seen.level


def model(state: State, seen: Observations, weak: Weak | None = None) -> NDArray[np.complex128]:
    """(row, dimension) as the state predicts it."""
    g, c, bend, delays, taper = state.sources
    shifts, turn = state.delays[seen.visit], state.turn(seen)[:, 0]
    paths = fieldrows.value(g, c, bend, taper, seen.basis.near(delays, 4), at(state, seen), shifts, turn, seen.wavelength)
    if not state.waves.count:
        return paths
    return paths + (weak or Weak.of(state, seen)).value(state, seen)


def jacobian(state: State, seen: Observations, weak: Weak | None = None) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
    """Model (row, dimension) and its derivatives (parameter, row, dimension), those along the waves' gains left out."""
    g, c, bend, delays, taper = state.sources
    positions, shifts, turn = at(state, seen), state.delays[seen.visit], state.turn(seen)[:, 0]
    rows, dimension = seen.values.shape
    others, moved = seen.visits - 1, state.moved.size
    cuts = np.cumsum([PER_PATH * g.size, others, others, moved, _chained(seen)])
    slopes = np.zeros((cuts[-1], rows, dimension), complex)
    late, along = np.empty((2, rows, dimension), complex)
    value = fieldrows.slopes(g, c, bend, taper, seen.basis.near(delays, 5), positions, shifts, turn, seen.wavelength, slopes[: cuts[0]], late, along)
    if state.waves.count:
        value = value + (weak or Weak.of(state, seen)).value(state, seen)
        if Weak.felt(state, seen):
            weights, atoms = Weights(state.waves, positions, shifts, seen.wavelength), seen.basis.near(state.waves.delays, 5)
            late, along = (sum_ + turn[:, None] * part for sum_, part in ((late, weights.late(atoms)), (along, weights.along(atoms))))
    row, mine = np.arange(rows), seen.visit > 0
    slopes[cuts[0] + seen.visit[mine] - 1, row[mine]] = 1j * value[mine]
    slopes[cuts[1] + seen.visit[mine] - 1, row[mine]] = late[mine]
    if moved:
        slopes[cuts[2] + seen.displacement, row] = along
    if seen.chain_prior is not None:
        behind = seen.element > 0
        number = cuts[3] + 2 * (seen.element[behind] - 1)
        slopes[number, row[behind]] = value[behind] / state.chains[seen.element[behind], None]
        slopes[number + 1, row[behind]] = 1j * slopes[number, row[behind]]
    return value, slopes


def prior(state: State, seen: Observations) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Precision of every parameter, 0 where nothing is known, and how far each stands from its prior mean; of the chain gains only the
    latter, `chain_prior` is the other."""
    others, paths, s = seen.visits - 1, state.sources.count, state.sources
    room = 8.0 * seen.level  # E|g|^2: wide, only to stop two close paths from growing against each other
    path = np.tile([0.0, CURVATURE_STD**-2, 0.0, TAPER_STD**-2, 2.0 / room, 2.0 / room], paths)
    away = np.column_stack([np.zeros(paths), s.curvatures - CURVATURE, np.zeros(paths), s.tapers, s.gains.real, s.gains.imag]).ravel()
    wave = 2.0 / state.wave_variance if state.waves.count else 0.0
    still = np.full(state.moved.size, seen.position_std**-2 if state.moved.size else 0.0)
    precision = np.concatenate([path, np.zeros(2 * others), still, np.zeros(_chained(seen)), np.full(2 * state.waves.count, wave)])
    chains = (state.chains[1:] - 1.0).view(np.float64) if seen.chain_prior is not None else np.zeros(0)
    return precision, np.concatenate([away, np.zeros(2 * others), state.moved, chains, state.waves.gains.real, state.waves.gains.imag])


def stepped(state: State, step: NDArray[np.float64]) -> State:
    """The state moved by a real parameter step."""
    paths, visits, moved, waves = state.sources.count, state.phases.size, state.moved.size, state.waves.count
    chained = step.size - PER_PATH * paths - 2 * (visits - 1) - moved - 2 * waves
    cuts = np.cumsum([PER_PATH * paths, visits - 1, visits - 1, moved, chained, waves])
    own, phases, delays, places, chains, real, imaginary = np.split(step, cuts)
    own = own.reshape(paths, PER_PATH)
    s, w = state.sources, state.waves
    sources = Sources(
        s.gains + own[:, 4] + 1j * own[:, 5], np.clip(s.cosines + own[:, 0], -1.0, 1.0), np.clip(s.curvatures + own[:, 1], *CURVATURES),
        s.delays + own[:, 2], np.clip(s.tapers + own[:, 3], -1.0, 1.0),
    )  # fmt: skip
    return replace(
        state, sources=sources, phases=state.phases + np.append(0.0, phases), delays=state.delays + np.append(0.0, delays),
        moved=state.moved + places, chains=state.chains + np.append(0.0, chains.view(np.complex128)) if chained else state.chains,
        waves=replace(w, gains=w.gains + real + 1j * imaginary),
    )  # fmt: skip


def cost(state: State, seen: Observations, weak: Weak | None = None) -> float:
    """Minus twice the log posterior, up to a constant."""
    precision, away = prior(state, seen)
    misfit = seen.white((seen.values - model(state, seen, weak))[None])
    chained = 0.0
    if seen.chain_prior is not None:
        off = (state.chains[1:] - 1.0).view(np.float64)
        chained = off @ seen.chain_prior @ off
    return float(2.0 * np.vdot(misfit, misfit).real + precision @ away**2 + chained)


def tempered(state: State, seen: Observations, share: float) -> Observations:
    """The observations with `share` of the present residual power added to their variance; never below the variance itself."""
    rest = float(np.mean(np.abs(seen.values - model(state, seen)) ** 2))
    return replace(seen, variance=np.maximum(seen.variance, share * rest)) if share > 0.0 else seen


@dataclass(frozen=True, slots=True, eq=False)
class Linear:
    """The fit linearised at a state: real rows of unit variance, scaled parameters."""

    strong: NDArray[np.float64]  # (parameter but for waves, 2 row dimension), real and imaginary parts in turn
    weak: NDArray[np.float64]  # (2 wave, 2 row dimension)
    residual: NDArray[np.float64]
    prior: NDArray[np.float64]  # (parameter,) diagonal of the prior's precision
    scale: NDArray[np.float64]
    information: NDArray[np.float64]
    slope: NDArray[np.float64]  # half the log posterior's derivative with respect to the scaled parameters

    @property
    def columns(self) -> NDArray[np.float64]:
        return np.concatenate([self.strong, self.weak]) if len(self.weak) else self.strong


def linearise(state: State, seen: Observations, weak: Weak | None = None) -> Linear:
    weak = (weak or Weak.of(state, seen)) if state.waves.count else None
    value, slopes = jacobian(state, seen, weak)
    scale = scales(state, seen)
    own = np.sqrt(2.0) * scale[: len(slopes)]
    columns = (seen.white(slopes) * own[:, None, None]).reshape(len(slopes), -1).view(np.float64)
    residual = np.sqrt(2.0) * seen.white((seen.values - value)[None]).ravel().view(np.float64)
    precision, away = prior(state, seen)
    precision = precision * scale**2
    slope = -precision * away / scale
    information = np.diag(precision)
    count = len(slopes)
    information[:count, :count] += columns @ columns.T
    slope[:count] += columns @ residual
    if seen.chain_prior is not None:
        information[count - _chained(seen) : count, count - _chained(seen) : count] += seen.chain_prior
        slope[count - _chained(seen) : count] -= seen.chain_prior @ (state.chains[1:] - 1.0).view(np.float64)
    if weak is not None:
        information[count:, :count] = weak.rows @ columns.T
        information[:count, count:] = information[count:, :count].T
        information[count:, count:] += weak.gram
        slope[count:] += weak.rows @ residual
    return Linear(columns, weak.rows if weak is not None else np.zeros((0, residual.size)), residual, precision, scale, information, slope)


def refine(state: State, seen: Observations, steps: int = 8, tolerance: float = 1e-3) -> tuple[State, float]:
    """Levenberg-Marquardt on every parameter of the state; returns it with its cost."""
    weak = Weak.of(state, seen) if state.waves.count else None
    best = cost(state, seen, weak)
    damping = 1e-4
    for _ in range(steps):
        here = linearise(state, seen, weak)
        slope, size = here.slope, np.diag(here.information) + 1e-9
        gain = 0.0
        for _ in range(6):
            damped = here.information.copy()
            damped.flat[:: len(damped) + 1] += damping * size
            _, step, failed = lapack.dposv(damped, slope, lower=True, overwrite_a=True)
            trial = stepped(state, step * here.scale)
            value = cost(trial, seen, weak) if failed == 0 else np.inf
            if value < best:
                gain, best, state, damping = best - value, value, trial, max(damping / 10.0, 1e-9)
                if weak is not None and Weak.felt(state, seen):
                    weak = Weak.of(state, seen)
                    best = cost(state, seen, weak)
                break
            damping *= 10.0
        if gain < tolerance:
            break
    return state, best


def covariance_of(here: Linear) -> NDArray[np.float64]:
    """Of the scaled parameters."""
    information = here.information.copy()
    information.flat[:: len(information) + 1] *= 1.0 + 1e-12
    lower, failed = lapack.dpotrf(information, lower=True, overwrite_a=True)
    if failed:
        return linalg.pinvh(here.information, check_finite=False)
    inverse, _ = lapack.dpotri(lower, lower=True, overwrite_c=True)
    inverse = np.tril(inverse)
    return inverse + np.tril(inverse, -1).T


def significance(state: State, seen: Observations) -> NDArray[np.float64]:
    """(path,) about what the cost would rise by without each path, the others free to take its place: small for two that share one."""
    here = linearise(state, seen)
    covariance = covariance_of(here)
    rise = []
    for path, gain in enumerate(state.sources.gains):
        own = slice(PER_PATH * path + 4, PER_PATH * path + 6)
        step = np.array([gain.real, gain.imag]) / here.scale[own]
        rise.append(float(step @ np.linalg.solve(covariance[own, own], step)))
    return np.array(rise)


def wave_evidence(state: State, seen: Observations, waves: Sources) -> float:
    """Variance of each plane wave of the unresolved field: posterior mean, never zero.

    Marginal likelihood of the residual with all paths and nuisances projected out (restricted maximum likelihood).
    """
    here = linearise(state, seen)
    weak = Weak.of(replace(state, waves=waves), seen)
    scale = scales(replace(state, waves=waves), seen)[-1]
    field_rows, gram = weak.rows / scale, weak.gram / scale**2  # per unit of gain
    across = here.columns @ field_rows.T
    lower = linalg.cholesky(here.information + 1e-9 * np.eye(here.scale.size), lower=True, check_finite=False)
    half = linalg.solve_triangular(lower, across, lower=True, check_finite=False)
    through = linalg.solve_triangular(lower, half, lower=True, trans=1, check_finite=False)
    values, vectors = linalg.eigh(gram - half.T @ half, check_finite=False, driver="evd")
    values = np.maximum(values, 0.0)
    score = (vectors.T @ (field_rows @ here.residual - through.T @ here.slope)) ** 2
    candidates = seen.level / max(waves.count, 1) * np.logspace(-7.0, 0.5, 150)
    each = candidates[:, None] / 2.0  # variance of the real and of the imaginary part
    likelihood = 0.5 * np.sum(each * score / (1.0 + each * values) - np.log1p(each * values), axis=1)
    posterior = np.exp(likelihood - likelihood.max())  # flat in the logarithm of the variance, as the grid is
    return float(np.sum(posterior * candidates) / np.sum(posterior))
