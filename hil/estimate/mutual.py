"""Gains of the chains of arrays that hear each other in line of sight: what a sounding between two base stations tells about both.

What element i sends and element r hears is c_r t_i (A_ri + multipath), A the exact spherical wave between two places that are known. Over
all pairs the gains are the best product in least squares. Scatterers are what limits it: seen from arrays half a wavelength apart, waves
from all directions are uncorrelated from element to element (their covariance is sinc(2 d / wavelength)), so each pair errs on its own but
for all tones alike. How much is told by the pairs themselves: 60 of them have 15 gains. The few strongest scatterers are found and fitted along,
each a point somewhere between, so that how they cost certainty is in the covariance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import linalg

from hil.errors import InputError
from hil.estimate.chains import ChainGains, complex_covariance
from hil.units import SPEED_OF_LIGHT

__all__ = ["Mutual", "mutual"]

ROUNDS = 14  # Gauss-Newton
TONES = 6  # that are looked at: the band is narrow, and their errors are taken to be independent
FAINT, NARROW = 0.016, 0.15  # a wave that no delay tells from the direct one: of its amplitude, and the sine it may lie off
USUAL = 0.1  # of the direct path, a scatterer's amplitude
GRID = 30  # points each way at which scatterers are looked for
REACH = 10.0  # metres around the arrays
WHERE = np.array([4.0, 4.0, 2.0])  # metres, how far from there, at the arrays' height, one may be
FARTHEST = 1.0  # metres in one step
STARTS, APART = 4, 3.0  # places a scatterer is refined from, and metres between them
PARAMETERS = 2.5  # complex, of a scatterer: gain, and where it is
WORTH = 16.0  # times the noise of an entry that a scatterer takes away at least; the best of all places takes about 8 of mere noise
CLEAR = 0.5  # of a radian: gains less sure tell no direction


@dataclass(frozen=True, slots=True, eq=False)
class Mutual:
    """Gains of the hearing and of the sending chains. scattered: rms of what is left over the direct path; scatterers: how many were found."""

    heard: ChainGains
    sent: ChainGains
    scattered: float
    scatterers: int


def mutual(
    channel: ArrayLike, variance: ArrayLike, receive: ArrayLike, transmit: ArrayLike, frequencies: ArrayLike, carrier_hz: float, *,
    scatterers: int = 4,
) -> Mutual:  # fmt: skip
    """channel: (rx, tone, antenna) with any common delay and phase; variance: of the noise of an entry, broadcasts; receive: (rx, 3), transmit:
    (antenna, 3) metres; frequencies: (tone,) baseband hertz. scatterers: looked for at most.

    InputError for arrays of one element, or values that are no numbers.
    """
    h = np.asarray(channel, complex)
    ears, mouths, tones = np.asarray(receive, float), np.asarray(transmit, float), np.asarray(frequencies, float)
    if h.ndim != 3 or h.shape != (len(ears), len(tones), len(mouths)) or min(len(ears), len(mouths)) < 2 or not np.all(np.isfinite(h)):
        raise InputError("shape", "a channel between two arrays is finite, (rx, tone, antenna)", found=f"{h.shape}",
                         allowed=f"({len(ears)}, {len(tones)}, {len(mouths)}), two elements or more at each end")  # fmt: skip
    noise = float(np.mean(np.asarray(variance, float)))
    legs = np.linalg.norm(ears[:, None] - mouths, axis=-1)
    waves = np.exp(-2j * np.pi / SPEED_OF_LIGHT * (carrier_hz + tones[:, None, None]) * (legs - legs.mean())) * legs.mean() / legs
    h = np.moveaxis(h, 1, 0)  # (tone, rx, antenna)
    h = h * np.exp(2j * np.pi * tones * _late(h, waves, tones))[:, None, None]
    some = np.linspace(0, len(tones) - 1, min(TONES, len(tones))).astype(int)
    h, waves, tones = h[some], waves[some], tones[some]
    pairs = _Pairs(h, waves, ears, mouths, carrier_hz + tones)
    fit = pairs.fitted([])
    for _ in range(scatterers):
        more = min((pairs.fitted([*fit.scatterers, place]) for place in pairs.strongest(fit.rest)), key=lambda one: one.left)
        if fit.left - more.left < WORTH * more.left / (more.degrees * len(tones)):
            break
        fit = more
    floor = noise / max(float(np.mean(np.abs(h) ** 2)), 1e-300) / len(tones)  # of a pair, relative
    alike = float(np.sum(np.abs(np.mean(fit.rest, axis=0)) ** 2))  # what all tones have in common is no noise
    spread = max(alike / fit.degrees, floor)
    found, heard, sent = len(fit.scatterers), fit.heard, fit.sent
    bounds = [_white(gains, floor / other) for gains, other in ((heard, len(mouths)), (sent, len(ears)))]
    whole = 2.0 / spread * fit.information + fit.prior
    size = np.sqrt(np.maximum(np.diagonal(whole), 1e-300))
    covariance = np.linalg.pinv(whole / np.outer(size, size), rcond=1e-10, hermitian=True) / np.outer(size, size)
    hidden = [_relative(gains, _behind(places, carrier_hz)) for gains, places in ((heard, ears), (sent, mouths))]
    told = [_told(gains, covariance, first) + more for gains, first, more in ((heard, 0, hidden[0]), (sent, len(ears), hidden[1]))]
    notes: tuple[str, ...] = ("line of sight between base stations", f"scattered {np.sqrt(spread):.2g} of the direct path")
    chains = [
        ChainGains(gains / gains[0], one, bound, bool(np.all(np.diag(one) < CLEAR**2)), notes)
        for gains, one, bound in zip((heard, sent), told, bounds)
    ]
    return Mutual(chains[0], chains[1], float(np.sqrt(spread)), found)


def _late(h: NDArray, waves: NDArray, tones: NDArray) -> float:
    """Seconds by which the channels are late, all pairs together."""
    pairs = h * waves.conj()
    step = np.angle(np.sum(pairs[1:] * pairs[:-1].conj()))
    late = -step / (2.0 * np.pi * float(np.mean(np.diff(tones))))
    reach = len(tones) // 2
    turned = pairs * np.exp(2j * np.pi * tones * late)[:, None, None]
    return float(late - np.angle(np.sum(turned[reach:] * turned[:-reach].conj())) / (2.0 * np.pi * np.mean(tones[reach:] - tones[:-reach])))


@dataclass(frozen=True, slots=True, eq=False)
class _Fit:
    """Gains with some scatterers, each a place (3,) in metres. rest: (tone, rx, antenna) what is left over the model; left: its energy, pairs
    summed and tones averaged; degrees: complex, of the pairs. information: of the relative errors of all gains (Re, Im each), then of the
    scatterers, at unit noise of a pair, prior beside it."""

    heard: NDArray[np.complex128]
    sent: NDArray[np.complex128]
    scatterers: list[NDArray[np.float64]]
    rest: NDArray[np.complex128]
    left: float
    degrees: float
    information: NDArray[np.float64]
    prior: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class _Pairs:
    """What is fitted: h, waves (tone, rx, antenna), measured and of a direct path; ears (rx, 3), mouths (antenna, 3); hertz (tone,)."""

    h: NDArray[np.complex128]
    waves: NDArray[np.complex128]
    ears: NDArray[np.float64]
    mouths: NDArray[np.float64]
    hertz: NDArray[np.float64]

    def scattered(self, place: NDArray[np.float64]) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
        """(tone, rx, antenna) by way of a point, and its slopes (3, tone, rx, antenna) per metre; late by what it is behind the direct path."""
        legs, ways = [], []
        for places in (self.ears, self.mouths):
            away = place - places
            legs.append(np.linalg.norm(away, axis=1))
            ways.append(away / legs[-1][:, None])
        direct = np.linalg.norm(self.ears[:, None] - self.mouths, axis=-1).mean()
        longer = legs[0][:, None] + legs[1] - direct
        k = -2j * np.pi / SPEED_OF_LIGHT * self.hertz[:, None, None]
        wave = np.exp(k * (longer - longer.mean()) + (k - k.mean()) * longer.mean())
        slopes = np.moveaxis(ways[0][:, None] + ways[1], -1, 0)
        middle = slopes.mean(axis=(1, 2), keepdims=True)
        return wave, wave * (k * (slopes - middle)[:, None] + (k - k.mean()) * middle[:, None])

    def strongest(self, rest: NDArray[np.complex128]) -> list[NDArray[np.float64]]:
        """Points at the arrays' height that explain most of what is left, none near another."""
        ends = np.concatenate([self.ears, self.mouths])
        low, high = ends.min(0) - REACH, ends.max(0) + REACH
        places = [np.array([x, y, ends[:, 2].mean()]) for x in np.linspace(low[0], high[0], GRID) for y in np.linspace(low[1], high[1], GRID)]
        flat = rest.ravel()
        match = [abs(np.vdot(self.scattered(place)[0].ravel(), flat)) for place in places]
        best: list[NDArray[np.float64]] = []
        for k in np.argsort(match)[::-1]:
            if all(np.linalg.norm(places[k] - other) > APART for other in best):
                best.append(places[k])
            if len(best) == STARTS:
                break
        return best

    def fitted(self, scatterers: Sequence[NDArray[np.float64]]) -> _Fit:
        """Everything at once by Gauss-Newton. A scatterer straight behind one array looks from there like gains of the other: only its delay, and
        that it is no stronger than scatterers are, tell them apart, and that is in the covariance."""
        ratio = np.sum(self.h * self.waves.conj(), axis=0) / np.sum(np.abs(self.waves) ** 2, axis=0)  # (rx, antenna)
        vectors, sizes, others = np.linalg.svd(ratio)
        heard, sent = vectors[:, 0] * np.sqrt(sizes[0]), others[0] * np.sqrt(sizes[0])
        count, rx, antennas = len(scatterers), len(heard), len(sent)
        places, gains = np.array(scatterers).reshape(count, 3), np.zeros(count, complex)
        width, tones = 2 * (rx + antennas), len(self.hertz)
        prior = np.concatenate([np.zeros(width), np.tile([2.0 / USUAL**2, 2.0 / USUAL**2, *WHERE**-2.0], count)])
        degrees = max((rx - 1) * (antennas - 1) - PARAMETERS * count, 1.0)
        rounds = ROUNDS if count else 6
        for step in range(rounds):
            made = [self.scattered(place) for place in places]
            model = self.waves + sum((gain * field for gain, (field, _) in zip(gains, made)), np.zeros_like(self.waves))
            rest = self.h / np.outer(heard, sent) - model
            left = float(np.sum(np.mean(np.abs(rest) ** 2, axis=0)))
            columns = np.zeros((width + 5 * count, *self.h.shape), complex)
            for r in range(rx):
                columns[2 * r, :, r] = model[:, r]
            for i in range(antennas):
                columns[2 * (rx + i), :, :, i] = model[:, :, i]
            columns[1:width:2] = 1j * columns[:width:2]
            for q, (field, slopes) in enumerate(made):
                first = width + 5 * q
                columns[first], columns[first + 1], columns[first + 2 : first + 5] = field, 1j * field, gains[q] * slopes
            flat = columns.reshape(len(columns), -1)
            information = np.real(flat.conj() @ flat.T) / tones
            if step == rounds - 1:
                break
            noise = 0.5 * left / (degrees * tones)
            held = np.zeros(len(columns))
            for q in range(count):
                held[width + 5 * q : width + 5 * q + 5] = [gains[q].real, gains[q].imag, *(places[q] - scatterers[q])]
            pull = np.real(flat.conj() @ rest.ravel()) / tones - noise * prior * held
            whole = information + noise * np.diag(prior)
            size = np.sqrt(np.maximum(np.diagonal(whole), 1e-300))
            damped = whole / np.outer(size, size) + 0.01 / (1.0 + step) ** 3 * np.eye(len(size))
            moved = np.linalg.lstsq(damped, pull / size, rcond=1e-12)[0] / size
            parts = moved[width:].reshape(count, 5)
            places = places + np.clip(parts[:, 2:], -FARTHEST, FARTHEST)
            gains = gains + parts[:, 0] + 1j * parts[:, 1]
            turned = np.clip(moved[:width], -0.3, 0.3).view(complex)
            heard, sent = heard * (1.0 + turned[:rx]), sent * (1.0 + turned[rx:])
        return _Fit(heard, sent, list(places), rest, left, degrees, information, np.diag(prior))


def _white(gains: NDArray, spread: float) -> NDArray[np.float64]:
    """Covariance of chains 1, 2, ... over the first, Re and Im interleaved, of gains that each err by `spread` of themselves."""
    return _relative(gains, spread * np.eye(len(gains)))


def _relative(gains: NDArray, errors: NDArray) -> NDArray[np.float64]:
    """The same of relative errors with this covariance (element, element)."""
    apart = np.column_stack([-np.ones(len(gains) - 1), np.eye(len(gains) - 1)])
    ratio = gains[1:] / gains[0]
    return complex_covariance(np.outer(ratio, ratio.conj()) * (apart @ errors @ apart.T))


def _behind(places: NDArray, carrier_hz: float) -> NDArray[np.float64]:
    """(element, element) covariance of what a wave beside the direct one, as late as that, makes of gains: it turns along the array."""
    off = np.linalg.norm(places[:, None] - places, axis=-1)
    return FAINT**2 * np.exp(-0.5 * np.square(2.0 * np.pi * carrier_hz / SPEED_OF_LIGHT * NARROW * off))


def _told(gains: NDArray, covariance: NDArray, first: int) -> NDArray[np.float64]:
    """The same from the covariance of relative errors of all gains, these from place `first`."""
    count = len(gains)
    own = covariance[2 * first : 2 * (first + count), 2 * first : 2 * (first + count)]
    apart = np.kron(np.column_stack([-np.ones(count - 1), np.eye(count - 1)]), np.eye(2))
    turn = linalg.block_diag(*([[one.real, -one.imag], [one.imag, one.real]] for one in gains[1:] / gains[0]))
    return turn @ apart @ own @ apart.T @ turn.T
