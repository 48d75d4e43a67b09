"""The engine of the path fit: parameters, residuals, Levenberg-Marquardt, search for the next path, and the unresolved field.

Data lie in a delay basis, shape (position row, dimension), a row being one element of one visit, and are whitened to unit variance per
complex entry: the error of an entry is white noise and, common to the rows of a visit, the echo of whatever moves. Real parameters, in
this order: per path (cosine, curvature, delay, taper, Re g, Im g); phase and delay of every visit but the first; displacements, one for
every place an element was moved to; Re and Im of every element's chain gain but the first's; Re and Im of the plane waves that stand for
unresolved energy.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from hil.estimate.sources import DelayBasis, Sources, Weights, excess, respond, units

CURVATURE, CURVATURE_STD = 0.1, 0.15  # 1/m, prior: ten metres away; a metre and a half is three standard deviations off
CURVATURES = (-0.05, 1.2)  # 1/m, nothing is behind the horizon; slightly less than 0 only for the sake of a smooth search
TAPER_STD = 0.06  # 1/m, prior: c/R of a source at the end of the room
PER_PATH = 6


@dataclass(frozen=True, slots=True, eq=False)
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
    _axes: NDArray[np.complex128] | None = field(init=False, default=None)  # of the echo, after the noise is white: orthonormal
    _share: NDArray[np.float64] | None = field(init=False, default=None)  # (visit, factor) echo over noise along them

    def __post_init__(self) -> None:
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
        """Entries (row, dimension, ...) times the symmetric inverse root of the error's covariance: errors become white, of variance 1."""
        trailing = entries.ndim - 2
        scaled = entries / np.sqrt(self.variance).reshape(*self.variance.shape, *trailing * (1,))
        if self._axes is None or self._share is None:
            return scaled
        by_visit = scaled.reshape(*self._axes.shape[:2], -1)
        along = np.conj(np.swapaxes(self._axes, 1, 2)) @ by_visit
        return (by_visit - self._axes @ ((1.0 - 1.0 / np.sqrt(1.0 + self._share))[..., None] * along)).reshape(entries.shape)

    @property
    def visits(self) -> int:
        return int(self.visit.max()) + 1

    @property
    def elements(self) -> int:
        return int(self.element.max()) + 1

    @property
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
    level = float(np.sqrt(np.mean(np.abs(seen.values) ** 2) / max(_atom_power(seen), 1e-300))) or 1.0
    path = [seen.wavelength / span, 8.0 * seen.wavelength / span**2, 1.0 / width, 1.0 / span, level, level]
    others = seen.visits - 1
    return np.concatenate(
        [np.tile(path, state.sources.count), np.ones(others), np.full(others, 1.0 / width),
         np.full(state.moved.size, max(seen.position_std, 1e-12)), np.ones(_chained(seen)), np.full(2 * state.waves.count, level)]
    )  # fmt: skip


def _chained(seen: Observations) -> int:
    """Real parameters of the chain gains."""
    return 0 if seen.chain_prior is None else 2 * (seen.elements - 1)


def _atom_power(seen: Observations) -> float:
    """Mean power of a unit path per entry of the basis."""
    return seen.basis.frequencies.size / seen.basis.dimension


def level_of(seen: Observations) -> float:
    """Mean channel power per tone, noise taken off."""
    power = np.mean(np.abs(seen.values) ** 2) - np.mean(seen.variance)
    return float(max(power, 0.01 * np.mean(np.abs(seen.values) ** 2)) / _atom_power(seen))


def _at(state: State, seen: Observations) -> NDArray[np.float64]:
    return seen.positions + state.moved[seen.displacement] if state.moved.size else seen.positions


def model(state: State, seen: Observations) -> NDArray[np.complex128]:
    """(row, dimension) as the state predicts it."""
    sources = state.sources.joined(state.waves)
    weights = Weights(sources, _at(state, seen), state.delays[seen.visit], seen.wavelength)
    return state.turn(seen) * weights.value(seen.basis.atoms(sources.delays, 4))


def jacobian(state: State, seen: Observations) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
    """Model (row, dimension) and its derivatives (row, dimension, parameter)."""
    sources = state.sources.joined(state.waves)
    positions, shifts = _at(state, seen), state.delays[seen.visit]
    atoms = seen.basis.atoms(sources.delays, 5)
    weights = Weights(sources, positions, shifts, seen.wavelength)
    turn = state.turn(seen)
    value, late, along = (turn * part(atoms) for part in (weights.value, weights.late, weights.along))
    rows, dimension = value.shape
    paths, others, moved, waves = state.sources.count, seen.visits - 1, state.moved.size, state.waves.count
    cuts = np.cumsum([PER_PATH * paths, others, others, moved, _chained(seen), 2 * waves])
    slopes = np.zeros((rows, dimension, cuts[-1]), complex)
    answer = respond(state.sources, positions, shifts, seen.basis, seen.wavelength)
    own, gains = slopes[..., : cuts[0]].reshape(rows, dimension, paths, PER_PATH), state.sources.gains
    for slot, part in enumerate((answer.cosine, answer.curvature, answer.late, answer.taper)):
        own[..., slot] = np.swapaxes(part * (turn * gains)[..., None], 1, 2)
    own[..., 4] = np.swapaxes(answer.unit * turn[..., None], 1, 2)
    own[..., 5] = 1j * own[..., 4]
    slopes[..., : cuts[0]] = own.reshape(rows, dimension, -1)
    row, mine = np.arange(rows), seen.visit > 0
    slopes[row[mine], :, cuts[0] + seen.visit[mine] - 1] = 1j * value[mine]
    slopes[row[mine], :, cuts[1] + seen.visit[mine] - 1] = late[mine]
    if moved:
        slopes[row, :, cuts[2] + seen.displacement] = along
    if seen.chain_prior is not None:
        behind = seen.element > 0
        number = cuts[3] + 2 * (seen.element[behind] - 1)
        slopes[row[behind], :, number] = value[behind] / state.chains[seen.element[behind], None]
        slopes[row[behind], :, number + 1] = 1j * slopes[row[behind], :, number]
    if waves:
        unit = np.swapaxes(units(state.waves, positions, shifts, seen.basis, seen.wavelength) * turn[..., None], 1, 2)
        slopes[..., cuts[4] : cuts[4] + waves] = unit
        slopes[..., cuts[4] + waves :] = 1j * unit
    return value, slopes


def prior(state: State, seen: Observations) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Precision (parameter, parameter), 0 where nothing is known, and how far each parameter stands from its prior mean."""
    others, paths, s = seen.visits - 1, state.sources.count, state.sources
    room = 8.0 * level_of(seen)  # E|g|^2: wide, only to stop two close paths from growing against each other
    path = np.tile([0.0, CURVATURE_STD**-2, 0.0, TAPER_STD**-2, 2.0 / room, 2.0 / room], paths)
    away = np.column_stack(
        [np.zeros(paths), s.curvatures - CURVATURE, np.zeros(paths), s.tapers, s.gains.real, s.gains.imag]
    ).ravel()
    wave = 2.0 / state.wave_variance if state.waves.count else 0.0
    still = np.full(state.moved.size, seen.position_std**-2 if state.moved.size else 0.0)
    precision = np.diag(np.concatenate([path, np.zeros(2 * others), still, np.zeros(_chained(seen)), np.full(2 * state.waves.count, wave)]))
    chains = np.zeros(0)
    if seen.chain_prior is not None:
        chains = (state.chains[1:] - 1.0).view(np.float64)
        own = slice(path.size + 2 * others + still.size, path.size + 2 * others + still.size + chains.size)
        precision[own, own] = seen.chain_prior
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


def cost(state: State, seen: Observations) -> float:
    """Minus twice the log posterior, up to a constant."""
    precision, away = prior(state, seen)
    misfit = np.abs(seen.white(seen.values - model(state, seen))) ** 2
    return float(2.0 * misfit.sum() + away @ precision @ away)


def tempered(state: State, seen: Observations, share: float) -> Observations:
    """The observations with `share` of the present residual power added to their variance; never below the variance itself."""
    rest = float(np.mean(np.abs(seen.values - model(state, seen)) ** 2))
    return replace(seen, variance=np.maximum(seen.variance, share * rest)) if share > 0.0 else seen


@dataclass(frozen=True, slots=True, eq=False)
class Linear:
    """The fit linearised at a state: real rows of unit variance, scaled parameters."""

    rows: NDArray[np.float64]  # (2 row dimension, parameter)
    residual: NDArray[np.float64]
    precision: NDArray[np.float64]  # (parameter, parameter)
    away: NDArray[np.float64]
    scale: NDArray[np.float64]

    @property
    def information(self) -> NDArray[np.float64]:
        return self.rows.T @ self.rows + self.precision

    @property
    def slope(self) -> NDArray[np.float64]:
        """Half the log posterior's derivative with respect to the scaled parameters."""
        return self.rows.T @ self.residual - self.precision @ self.away


def linearise(state: State, seen: Observations) -> Linear:
    value, slopes = jacobian(state, seen)
    scale = scales(state, seen)
    slopes = seen.white(slopes).reshape(-1, scale.size) * (np.sqrt(2.0) * scale)
    residual = np.sqrt(2.0) * seen.white(seen.values - value).ravel()
    precision, away = prior(state, seen)
    stacked = np.concatenate([slopes.real, slopes.imag])
    return Linear(stacked, np.concatenate([residual.real, residual.imag]), precision * np.outer(scale, scale), away / scale, scale)


def refine(state: State, seen: Observations, steps: int = 8, tolerance: float = 1e-3) -> tuple[State, float]:
    """Levenberg-Marquardt on every parameter of the state; returns it with its cost."""
    best = cost(state, seen)
    damping = 1e-4
    for _ in range(steps):
        here = linearise(state, seen)
        information = here.information
        slope = here.slope
        gain = 0.0
        for _ in range(6):
            damped = information + np.diag(damping * (np.diag(information) + 1e-9))
            step = linalg.solve(damped, slope, assume_a="pos", check_finite=False) * here.scale
            trial = stepped(state, step)
            value = cost(trial, seen)
            if value < best:
                gain, best, state, damping = best - value, value, trial, max(damping / 10.0, 1e-9)
                break
            damping *= 10.0
        if gain < tolerance:
            break
    return state, best


@dataclass(frozen=True, slots=True, eq=False)
class Search:
    """The grid on which the next path is looked for."""

    cosines: NDArray[np.float64]
    curvatures: NDArray[np.float64]
    delays: NDArray[np.float64]
    cells: float  # independent ones, for the false-alarm rate


def strongest(state: State, seen: Observations, search: Search) -> tuple[float, tuple[complex, float, float, float]]:
    """Peak over the grid of |s^H r|^2/||s||^2 (noise alone: unit exponential per cell), and the path there."""
    residual = seen.values - model(state, seen)
    turn = state.turn(seen)
    weight = 1.0 / np.broadcast_to(seen.variance, residual.shape)
    atoms = seen.basis.atoms(search.delays)[0]  # (delay, dimension)
    cosine, bend = (a.ravel() for a in np.meshgrid(search.cosines, search.curvatures, indexing="ij"))
    grid = Sources(np.ones(cosine.size, complex), cosine, bend, *np.zeros((2, cosine.size)))
    positions = _at(state, seen)
    steering = np.exp(-2j * np.pi / seen.wavelength * excess(positions, grid.cosines, grid.curvatures)[0])  # (row, cell)
    match = steering.conj().T @ ((turn.conj() * residual * weight) @ atoms.conj().T)  # (cell, delay)
    energy = np.broadcast_to(np.abs(atoms) ** 2 @ (np.abs(turn) ** 2 * weight).sum(axis=0), match.shape)
    if seen._axes is not None and seen._share is not None:  # what the echo's covariance takes off both
        echoed = seen._axes * np.sqrt(weight).reshape(*seen._axes.shape[:2], 1)
        visits, _, factors = echoed.shape
        taken = seen._share / (1.0 + seen._share)
        heard = np.einsum("vmk,vm->vk", echoed.conj(), residual.reshape(visits, -1))
        by_delay = np.einsum("vndk,td->vnkt", echoed.reshape(visits, -1, weight.shape[1], factors).conj(), atoms)
        waves = (steering * turn).reshape(visits, -1, cosine.size)
        through = np.swapaxes(waves, 1, 2) @ by_delay.reshape(visits, waves.shape[1], -1)
        through = through.reshape(visits, cosine.size, factors, -1)
        match = match - np.einsum("vckt,vk->ct", through.conj(), taken * heard)
        energy = np.maximum(energy - np.einsum("vckt,vk->ct", np.abs(through) ** 2, taken), 1e-6 * energy)
    peak = np.abs(match) ** 2 / energy
    cell, late = np.unravel_index(np.argmax(peak), peak.shape)
    gain = complex(match[cell, late] / energy[cell, late])
    return float(peak[cell, late]), (gain, float(cosine[cell]), float(bend[cell]), float(search.delays[late]))


def strongest_pair(state: State, seen: Observations, search: Search) -> list[tuple[complex, float, float, float]]:
    """The two paths of usual curvature that together explain most of the residual: every pair of the grid by least squares."""
    cosine, delay = (a.ravel() for a in np.meshgrid(search.cosines, search.delays, indexing="ij"))
    steering = np.exp(-2j * np.pi / seen.wavelength * excess(_at(state, seen), cosine, np.full(cosine.size, CURVATURE))[0])
    waves = (state.turn(seen) * steering)[:, None, :] * seen.basis.atoms(delay)[0].T
    waves = seen.white(waves).reshape(-1, cosine.size)
    residual = seen.white(seen.values - model(state, seen)).ravel()
    gram, match = waves.conj().T @ waves, waves.conj().T @ residual
    power = np.real(np.diag(gram))
    first, second = np.triu_indices(cosine.size, 1)
    cross = gram[first, second]
    free = power[first] * power[second] - np.abs(cross) ** 2
    apart = free > 0.1 * power[first] * power[second]  # pairs more alike than that are one path
    explained = (
        power[second] * np.abs(match[first]) ** 2 + power[first] * np.abs(match[second]) ** 2
        - 2.0 * np.real(np.conj(match[first]) * cross * match[second])
    )  # fmt: skip
    best = int(np.argmax(np.where(apart, explained / np.where(apart, free, 1.0), 0.0)))
    chosen = [first[best], second[best]]
    gains = np.linalg.solve(gram[np.ix_(chosen, chosen)], match[chosen])
    return [(complex(gain), float(cosine[cell]), CURVATURE, float(delay[cell])) for gain, cell in zip(gains, chosen)]


def significance(state: State, seen: Observations) -> NDArray[np.float64]:
    """(path,) about what the cost would rise by without each path, the others free to take its place: small for two that share one."""
    here = linearise(state, seen)
    information = here.information
    covariance = linalg.inv(information + 1e-12 * np.diag(np.diag(information)), check_finite=False)
    rise = []
    for path, gain in enumerate(state.sources.gains):
        own = slice(PER_PATH * path + 4, PER_PATH * path + 6)
        step = np.array([gain.real, gain.imag]) / here.scale[own]
        rise.append(float(step @ linalg.solve(covariance[own, own], step)))
    return np.array(rise)


def wave_evidence(state: State, seen: Observations, waves: Sources) -> float:
    """Variance of each plane wave of the unresolved field: posterior mean under a flat prior, never zero.

    Marginal likelihood of the residual with all paths and nuisances projected out (restricted maximum likelihood).
    """
    here = linearise(state, seen)
    widened = replace(state, waves=waves, wave_variance=1.0)
    extra = linearise(widened, seen)
    scale = extra.scale[-1] if waves.count else 1.0
    field_rows = extra.rows[:, -2 * waves.count :] / scale  # per unit of gain
    factor = linalg.cho_factor(here.information + 1e-9 * np.eye(here.scale.size), lower=True, check_finite=False)
    through = linalg.cho_solve(factor, here.rows.T @ field_rows, check_finite=False)
    inner = field_rows.T @ field_rows - (field_rows.T @ here.rows) @ through
    values, vectors = linalg.eigh(inner, check_finite=False)
    values = np.maximum(values, 0.0)
    score = (vectors.T @ (field_rows.T @ here.residual - through.T @ here.slope)) ** 2
    candidates = level_of(seen) / max(waves.count, 1) * np.logspace(-7.0, 0.5, 150)
    each = candidates[:, None] / 2.0  # variance of the real and of the imaginary part
    likelihood = 0.5 * np.sum(each * score / (1.0 + each * values) - np.log1p(each * values), axis=1)
    posterior = np.exp(likelihood - likelihood.max()) * candidates  # flat in the variance, grid in its logarithm
    return float(np.sum(posterior * candidates) / np.sum(posterior))
