"""The search of the path fit: paths added one by one while they are significant, refined together, pruned, and parted from neighbours.

Newtonised orthogonal matching pursuit (Mamandipoor, Ramasamy and Madhow 2016) with every nuisance refined beside the paths.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hil.estimate import fieldfit as engine
from hil.estimate.fieldfit import Observations, State
from hil.estimate.sources import Sources, excess

__all__ = ["Settings", "search"]

BENT = 2.0  # standard deviations of curvature that make a path suspect
NEAR = 0.12  # of a cosine: paths nearer, and in delay, weigh on each other
PLAIN = 12.0  # times the limit: a path this significant needs no trial without it
PARTED = 2  # suspects that are looked into


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


def search(seen: Observations, settings: Settings, known: State | None = None) -> tuple[State, tuple[int, int]]:
    """Add paths while they are significant; returns the state and the orders at the strict and the ordinary false-alarm rate.

    known: the paths of an earlier fit, to begin with.
    """
    grid = _grid(seen, settings)
    limit, strict = (np.log(grid.cells) - np.log(-np.log1p(-rate)) for rate in (settings.false_alarm, settings.strict_false_alarm))
    places = np.unique(seen.positions.round(6)).size
    most = max(1, min(settings.most_paths, places // 2 - 1))
    state = State.empty(seen) if known is None else _annealed(known, seen)[0]
    state, order_strict = _grown(state, seen, grid, most, limit, strict)
    state, value = _annealed(state, seen)
    state, value = _pruned(state, seen, value, limit)
    if known is None:
        state, value = _parted(state, seen, value, grid, most, limit)
    order = state.sources.count
    return state, (min(order_strict, order) if order_strict >= 0 else order, order)


def _grown(state: State, seen: Observations, grid: Search, most: int, limit: float, strict: float) -> tuple[State, int]:
    """Paths added while they pass `limit`; and how many there were when the first did not pass `strict` (-1: all did)."""
    order_strict = -1
    while state.sources.count < most:
        peak, path = strongest(state, seen, grid)
        if peak < strict and order_strict < 0:
            order_strict = state.sources.count
        if peak < limit:
            break
        # the paths still missing weigh on the fit like noise; counted as such, they cannot push the positions about; and what is stopped
        # short of its optimum hides the next path
        noisy = engine.tempered(state, seen, 0.25)
        trial, lower = engine.refine(replace(state, sources=state.sources.and_one(*path)), noisy, steps=8, tolerance=0.1)
        if engine.cost(state, noisy) - lower < 2.0:
            break
        state = trial
    return state, order_strict


def _annealed(state: State, seen: Observations) -> tuple[State, float]:
    """Every parameter refined, gently first; the state and its cost."""
    value = engine.cost(state, seen)
    for share in (0.25, 0.0):
        state, value = engine.refine(state, engine.tempered(state, seen, share), steps=16, tolerance=0.05)
    return state, value


def _pruned(state: State, seen: Observations, value: float, limit: float) -> tuple[State, float]:
    """Without the paths whose removal costs less than their detection needed (those that later ones have made superfluous)."""
    while state.sources.count > 1:
        trial, higher = state, np.inf
        rise = engine.significance(state, seen)
        for index in np.argsort(rise)[:2]:
            if rise[index] > PLAIN * limit:
                continue
            less, cost = engine.refine(replace(state, sources=state.sources.without(int(index))), seen, steps=4, tolerance=0.5)
            if cost < higher:
                trial, higher = less, cost
        if higher - value > 2.0 * limit:
            break
        state, value = trial, higher
    return state, value


def _parted(state: State, seen: Observations, value: float, grid: Search, most: int, limit: float) -> tuple[State, float]:
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
        around = replace(grid, cosines=grid.cosines[np.abs(grid.cosines - cosine) < 0.35])
        for one in strongest_pair(rest, seen, around):
            rest = replace(rest, sources=rest.sources.and_one(*one))
        trial, _ = engine.refine(rest, engine.tempered(rest, seen, 0.25), steps=8, tolerance=0.5)
        trial, _ = _grown(trial, seen, grid, s.count, limit, limit)  # no more than there were: parting is no licence to fit more
        if trial.sources.count > s.count:
            continue
        trial, cost = _annealed(trial, seen)
        if cost + 2.0 * limit * trial.sources.count < value + 2.0 * limit * state.sources.count:
            state, value = _pruned(trial, seen, cost, limit)
    return state, value


def _grid(seen: Observations, settings: Settings) -> Search:
    span = np.ptp(seen.positions) / seen.wavelength
    width = np.ptp(seen.basis.frequencies)
    cosines = np.linspace(-1.0, 1.0, 4 * int(np.ceil(2.0 * span)) + 1)
    delays = np.arange(settings.search[0], settings.search[1], 0.3 / width)
    cells = (2.0 * span + 1.0) * ((settings.search[1] - settings.search[0]) * width + 1.0) * 2.0
    return Search(cosines, np.array([0.0, 0.08, 0.2, 0.35]), delays, max(cells, 32.0))


@dataclass(frozen=True, slots=True, eq=False)
class Search:
    """The grid on which the next path is looked for."""

    cosines: NDArray[np.float64]
    curvatures: NDArray[np.float64]
    delays: NDArray[np.float64]
    cells: float  # independent ones, for the false-alarm rate


def strongest(state: State, seen: Observations, search: Search) -> tuple[float, tuple[complex, float, float, float]]:
    """Peak over the grid of |s^H r|^2/||s||^2 (noise alone: unit exponential per cell), and the path there."""
    residual = seen.values - engine.model(state, seen)
    turn = state.turn(seen)
    weight = 1.0 / np.broadcast_to(seen.variance, residual.shape)
    atoms = seen.basis.atoms(search.delays)[0]  # (delay, dimension)
    cosine, bend = (a.ravel() for a in np.meshgrid(search.cosines, search.curvatures, indexing="ij"))
    grid = Sources(np.ones(cosine.size, complex), cosine, bend, *np.zeros((2, cosine.size)))
    positions = engine.at(state, seen)
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
    steering = np.exp(-2j * np.pi / seen.wavelength * excess(engine.at(state, seen), cosine, np.full(cosine.size, engine.CURVATURE))[0])
    waves = (state.turn(seen) * steering).T[:, :, None] * seen.basis.atoms(delay)[0][:, None, :]
    waves = seen.white(waves).reshape(cosine.size, -1).T
    residual = seen.white((seen.values - engine.model(state, seen))[None]).ravel()
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
    return [(complex(gain), float(cosine[cell]), engine.CURVATURE, float(delay[cell])) for gain, cell in zip(gains, chosen)]
