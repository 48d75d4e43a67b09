"""Channels predicted where no element has been: error over the prediction bound, coverage of the stated sets, and what is refused.

Every trial has its own room of point sources, its own errors and one placement of four elements that have not been there. The bound is
J C J^T at the truth with phases, delays, displacements and, where they are unknown, chains as nuisances, by differences of the exact
geometry. The textbook is orthogonal matching pursuit on a grid of plane waves, least squares for the gains, nuisances ignored.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.estimator_cases import Row, coverage, middle, share, told
from hil.estimate import paths, visits
from hil.estimate.chains import ChainGains
from hil.estimate.fieldfit import CURVATURE_STD
from hil.uncertainty import real_radius
from hil.units import SPEED_OF_LIGHT

CARRIER = 3.5e9
WAVELENGTH = SPEED_OF_LIGHT / CARRIER
TONES = (np.arange(48) - 23.5) * 240e3
RAIL = 4.0 * WAVELENGTH
ELEMENTS = np.arange(4)
BOUND_DB, COVERED, CPU_S = 2.0, (0.93, 0.97), 0.1


@dataclass(frozen=True)
class Case:
    visits: int
    snr_db: float
    position_std: float
    chained: bool = False

    def __str__(self) -> str:
        chains = ", chains unknown" if self.chained else ""
        return f"{self.visits} visits, {self.snr_db:g} dB, {1e3 * self.position_std:g} mm{chains}"


@dataclass(frozen=True, eq=False)
class Room:
    """Three Rayleigh paths within 60 degrees of broadside and 200 ns, from sources 4 to 40 m away; and the chains of the elements."""

    cosines: NDArray[np.float64]
    curvatures: NDArray[np.float64]
    delays: NDArray[np.float64]
    gains: NDArray[np.complex128]
    chains: NDArray[np.complex128]

    @classmethod
    def drawn(cls, rng: np.random.Generator, chained: bool) -> Room:
        gains = (rng.standard_normal(3) + 1j * rng.standard_normal(3)) / np.sqrt(6.0)
        chains = np.append(1.0, np.exp(0.06 * rng.standard_normal(3) + 2j * np.pi * rng.uniform(size=3))) if chained else np.ones(4, complex)
        angles = np.deg2rad(rng.uniform(-60.0, 60.0, 3))
        return cls(np.sin(angles), 1.0 / rng.uniform(4.0, 40.0, 3), rng.uniform(0.0, 200e-9, 3), gains, chains)

    def channel(self, positions: NDArray[np.float64], elements: NDArray[np.intp], frequencies: NDArray[np.float64] = TONES) -> NDArray:
        """(place, tone) by exact distances, through the chains of the elements that stand there."""
        reach = 1.0 / self.curvatures
        away = np.sqrt(reach**2 - 2.0 * reach * positions[:, None] * self.cosines + positions[:, None] ** 2)
        phase = CARRIER / SPEED_OF_LIGHT * (away - reach)[..., None]
        late = (self.delays + (away - reach) / SPEED_OF_LIGHT)[..., None]
        wave = np.exp(-2j * np.pi * (phase + frequencies * late)) * (reach / away)[..., None]
        return self.chains[elements][:, None] * np.einsum("l,plk->pk", self.gains, wave)

    def moved(self, step: NDArray[np.float64]) -> Room:
        """By (cosine, curvature, delay in ns, Re g, Im g) of every path, then Re, Im of chains 1, 2, ...; the last may be left out."""
        own, chains = step[:15].reshape(3, 5), step[15:]
        return Room(
            self.cosines + own[:, 0], self.curvatures + own[:, 1], self.delays + 1e-9 * own[:, 2], self.gains + own[:, 3] + 1j * own[:, 4],
            self.chains + np.append(0.0, chains.view(complex)) if chains.size else self.chains,
        )  # fmt: skip


def _slopes(room: Room, places: NDArray, elements: NDArray, chained: bool) -> NDArray[np.complex128]:
    """(place, tone, parameter) by central differences."""
    count = 15 + (6 if chained else 0)
    one = lambda number, sign: room.moved(sign * 1e-6 * np.eye(count)[number]).channel(places, elements)
    return np.stack([(one(n, 1) - one(n, -1)) / 2e-6 for n in range(count)], axis=-1)


def bound(case: Case, room: Room, layouts: NDArray, places: NDArray, noise: float) -> float:
    """Mean square error at `places` that no unbiased estimate passes, but for the phase and delay that all visited places share."""
    visited, who, visit = layouts.ravel(), np.tile(ELEMENTS, case.visits), np.repeat(np.arange(case.visits), 4)
    own, value = _slopes(room, visited, who, case.chained), room.channel(visited, who)
    late = -2e-9j * np.pi * TONES * value
    along = (room.channel(visited + 1e-6, who) - room.channel(visited - 1e-6, who)) / 2e-6
    columns = [own[..., n] for n in range(own.shape[-1])]
    prior = [CURVATURE_STD**-2 if n < 15 and n % 5 == 1 else 0.0 for n in range(own.shape[-1])]
    for number in range(1, case.visits):
        mine = (visit == number)[:, None]
        columns += [1j * value * mine, late * mine]
        prior += [0.0, 0.0]
    displaced = _displaced(layouts).ravel()
    for number in range(displaced.max() + 1):
        columns.append(along * (displaced == number)[:, None])
        prior.append(case.position_std**-2)
    flat = np.stack(columns, axis=-1).reshape(-1, len(columns))
    size = np.linalg.norm(flat, axis=0)
    flat, prior = flat / size, np.array(prior) / size**2
    covariance = np.linalg.inv(2.0 / noise * np.real(flat.conj().T @ flat) + np.diag(prior))
    root = (np.linalg.cholesky(covariance) / size[:, None])[: own.shape[-1]]
    alike = np.stack([1j * value, late], axis=-1).reshape(-1, 2)
    through = np.linalg.solve(np.real(alike.conj().T @ alike), np.real(alike.conj().T @ own.reshape(-1, own.shape[-1])) @ root)
    there = room.channel(places, ELEMENTS)
    ahead = _slopes(room, places, ELEMENTS, case.chained) @ root
    ahead = ahead - np.stack([1j * there, -2e-9j * np.pi * TONES * there], axis=-1) @ through
    return float(np.mean(np.sum(np.abs(ahead) ** 2, axis=-1)))


def _displaced(layouts: NDArray[np.float64]) -> NDArray[np.intp]:
    """(visit, antenna) number of each place's own error: an element that stays keeps it."""
    number = np.tile(ELEMENTS, (len(layouts), 1))
    for visit in range(1, len(layouts)):
        number[visit] = np.where(layouts[visit] == layouts[visit - 1], number[visit - 1], number.max() + 1 + ELEMENTS)
    return np.unique(number, return_inverse=True)[1].reshape(layouts.shape)


def measured(case: Case, room: Room, layouts: NDArray, noise: float, rng: np.random.Generator) -> NDArray[np.complex128]:
    """(visit, antenna, tone) with position errors, a phase and a delay of every visit, and noise."""
    number = _displaced(layouts)
    there = layouts + case.position_std * rng.standard_normal(number.max() + 1)[number]
    clean = room.channel(there.ravel(), np.tile(ELEMENTS, case.visits)).reshape(*layouts.shape, -1)
    turn = rng.uniform(0.0, 2.0 * np.pi, (case.visits, 1)) - 2.0 * np.pi * TONES * rng.uniform(-3e-7, 3e-7, (case.visits, 1))
    grain = rng.standard_normal(clean.shape) + 1j * rng.standard_normal(clean.shape)
    return clean * np.exp(1j * turn)[:, None] + grain * np.sqrt(noise / 2.0)


def textbook(layouts: NDArray, channel: NDArray, noise: float, places: NDArray) -> tuple[NDArray, NDArray]:
    """Channels (place, tone) at the visited places and at `places`, by orthogonal matching pursuit on a grid of plane waves."""
    aligned, _, _ = visits.align(channel, TONES, visits.stayed(layouts, 1e-9))
    cosines, delays = np.linspace(-1.0, 1.0, 65), np.arange(-50e-9, 300e-9, 20e-9)
    reference, _ = visits.delay_between(np.ones(TONES.size, complex), aligned[0, 0], TONES)[::-1]
    delays = delays + reference
    wave = lambda x, cell: np.exp(2j * np.pi * (x[:, None] * cosines[cell[0]] / WAVELENGTH - TONES * delays[cell[1]]))
    spatial, temporal = np.exp(2j * np.pi / WAVELENGTH * np.outer(layouts.ravel(), cosines)), np.exp(-2j * np.pi * np.outer(TONES, delays))
    heard = aligned.reshape(-1, TONES.size)
    rest, cells, limit = heard, [], noise * heard.size * (np.log(32.0) + 4.6)
    while len(cells) < 10:
        power = np.abs(spatial.conj().T @ rest @ temporal.conj()) ** 2
        if power.max() < limit:
            break
        cells.append(np.unravel_index(np.argmax(power), power.shape))
        columns = np.stack([wave(layouts.ravel(), cell).ravel() for cell in cells], axis=-1)
        gains = np.linalg.lstsq(columns, heard.ravel(), rcond=None)[0]
        rest = heard - (columns @ gains).reshape(heard.shape)
    if not cells:
        return np.zeros_like(heard), np.zeros((places.size, TONES.size), complex)
    return tuple(sum(g * wave(x, cell) for g, cell in zip(gains, cells)) for x in (layouts.ravel(), places))


@dataclass(frozen=True)
class Trial:
    trusted: bool
    error: float  # mean square, over the bound's
    held: bool
    textbook: float  # mean square of the textbook's error over the bound's
    bound_db: float  # over the channel's mean power
    seconds: float  # of the fit


def one(case: Case, rng: np.random.Generator) -> Trial:
    """A new room, its exploration, and one placement."""
    room = Room.drawn(rng, case.chained)
    layouts = visits.plan((-RAIL, RAIL), WAVELENGTH / 2, 4, case.visits, WAVELENGTH)
    noise = 10.0 ** (-case.snr_db / 10.0)
    channel = measured(case, room, layouts, noise, rng)
    places = np.sort(rng.uniform(-RAIL, RAIL, 4))
    visited, truth = room.channel(layouts.ravel(), np.tile(ELEMENTS, case.visits)), room.channel(places, ELEMENTS)
    began = time.process_time()
    fit = paths.fit(
        layouts, channel, noise, TONES, wavelength=WAVELENGTH, position_std=case.position_std,
        chains=None if case.chained else ChainGains.known(room.chains),
    )  # fmt: skip
    seconds = time.process_time() - began
    least = bound(case, room, layouts, places, noise)
    away = _turned(truth, fit.channel(layouts.ravel(), TONES, np.tile(ELEMENTS, case.visits)), visited) - fit.channel(places, TONES, ELEMENTS)
    middle_tone = TONES.size // 2
    radius = real_radius(fit.error_covariance(places, TONES[[middle_tone]], ELEMENTS))[0]
    there, plain = textbook(layouts, channel, noise, places)
    worse = np.mean(np.abs(_turned(truth, there, visited) - plain) ** 2) if there.any() else np.mean(np.abs(truth) ** 2)
    return Trial(
        fit.above_threshold, float(np.mean(np.abs(away) ** 2)) / least, bool(np.linalg.norm(away[:, middle_tone]) <= radius), float(worse) / least,
        float(10.0 * np.log10(least)), seconds,
    )  # fmt: skip


def _turned(value: NDArray, predicted: NDArray, truth: NDArray) -> NDArray[np.complex128]:
    """`value` with the phase and delay off that turn the visited places' truth onto what is predicted of them."""
    phase, delay = visits.delay_between(predicted, truth, TONES)
    return value * np.exp(-1j * phase + 2j * np.pi * delay * TONES)


def rows(case: Case, trials: int, rng: np.random.Generator, judged: bool) -> list[Row]:
    made = [one(case, rng) for _ in range(trials)]
    good = [trial for trial in made if trial.trusted]
    seconds = sum(trial.seconds for trial in made)
    if not good:
        return [share(f"{case}: trusted", np.zeros(trials, bool), seconds=seconds)]
    decibels = 10.0 * np.log10([trial.error for trial in good])
    held = np.array([trial.held for trial in good])
    least_db = float(np.median([trial.bound_db for trial in made]))
    told_of = [
        middle(f"{case}: error over bound, dB (bound {least_db:.1f} dB)", decibels, at_most=BOUND_DB if judged else None, seconds=seconds),
        told(f"{case}: mean error over mean bound, dB", _mean_db(good, "error"), trials=len(good)),
        coverage(f"{case}: 95 % sets that hold the truth", held, *(COVERED if judged and case.position_std < 2e-4 else (None, None))),
        share(f"{case}: trusted", np.array([trial.trusted for trial in made])),
        middle(f"{case}: textbook (OMP on a grid), error over bound, dB", 10.0 * np.log10([trial.textbook for trial in good])),
    ]
    if judged:
        told_of.append(middle(f"{case}: CPU of one fit, s", np.array([trial.seconds for trial in made]), at_most=CPU_S))
    return told_of


def _mean_db(trials: list[Trial], which: str) -> float:
    bounds = np.array([10.0 ** (trial.bound_db / 10.0) for trial in trials])
    return float(10.0 * np.log10(np.sum(bounds * [getattr(trial, which) for trial in trials]) / np.sum(bounds)))


def run(trials: int, rng: np.random.Generator) -> list[Row]:
    found: list[Row] = []
    for position_std in (1e-4, 3e-4):
        found += rows(Case(6, 20.0, position_std), trials, rng, True)
    few = max(trials // 20, 10)
    for count in (4, 6, 8):
        for snr_db in (10.0, 20.0, 30.0):
            for position_std in (1e-4, 3e-4):
                found += rows(Case(count, snr_db, position_std), few, rng, False)
    for count in (6, 8):
        found += rows(Case(count, 30.0, 1e-4, chained=True), few, rng, False)
    return found
