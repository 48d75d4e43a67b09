"""Chain gains of a receiving array that stands still, from what it hears of an array whose elements go from place to place.

Where both stand has been surveyed, so the direct path of every pair is known but for the receive chain's gain. Along the places of the
transmitting elements it is told apart from all other paths. Those are the same for every receive channel but for their gains: a path
that hides behind the direct one on one channel, in phase with it there, is out of phase with it on another, so they are looked for on all
channels at once, the gains being solved for linearly. Visits' phases and delays are those of a fit to channel 0: receive channels share
one oscillator.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.errors import InputError
from hil.estimate.chains import ChainGains, complex_covariance
from hil.estimate.fieldfit import CURVATURE, CURVATURE_STD, CURVATURES
from hil.estimate.paths import PathFit
from hil.estimate.sources import DelayBasis, Response, Sources, excess, respond, units
from hil.units import SPEED_OF_LIGHT

SURVEYED = 0.03  # of a cosine: how far from its surveyed direction the direct path may be found
PARALLAX = 0.004, 0.6e-9  # cosine and seconds by which another path may differ from channel to channel, rms
MOST_ADDED = 6  # paths beside the direct one that the fit to one channel did not show
NOTICED = 25.0  # energy over noise, all channels together, of a path worth adding: of 500 cells none passes it by chance once in 1e4
NEAR = 0.45, (-15e-9, 80e-9)  # cosine and seconds about the direct path where such paths are looked for
STEPS = 10
MISFIT = 2.0  # residual over noise from which what is heard is not understood
STRONG_DB = 10.0  # direct path over its own error from which its gain is worth anything
WINDOW = (-0.15e-6, 0.45e-6)  # delays kept, about the direct path


def hear(
    fit: PathFit, positions: Any, channel: Any, variance: Any, frequencies_hz: Any, origin: Any, axis: Any, receivers: Any, *,
    carrier_hz: float, position_std: float = 0.0, moving: float = 0.0,
) -> ChainGains:  # fmt: skip
    """Receive chain gains relative to channel 0.

    fit: of channel 0 over the same visits. positions: (visit, antenna) metres of the transmitting array's local x; channel: (visit,
    receive channel, antenna, tone); variance: (visit, receive channel, antenna) of its white error. origin, axis: (3,) of the transmitting
    array and receivers: (receive channel, 3) in the room, metres, as surveyed. moving: power per tone of the echo of whatever walks about.
    """
    positions, channel, receivers = np.asarray(positions, float), np.asarray(channel, complex), np.asarray(receivers, float)
    frequencies, variance = np.asarray(frequencies_hz, float), np.asarray(variance, float)
    if channel.ndim != 4 or positions.shape != (channel.shape[0], channel.shape[2]) or receivers.shape != (channel.shape[1], 3):
        raise InputError("shape", "positions, channels and receivers disagree", found=f"{positions.shape}, {channel.shape}, {receivers.shape}",
                         allowed="(visit, antenna), (visit, receive channel, antenna, tone), (receive channel, 3)")  # fmt: skip
    away = receivers[0] - np.asarray(origin, float)
    direct = _direct(fit, float(away @ np.asarray(axis, float) / np.linalg.norm(away)))
    if direct is None or not fit.above_threshold:
        return _unknown(len(receivers), "no direct path found where it was surveyed" if fit.above_threshold else "paths not trusted")
    basis = DelayBasis.of_window(frequencies, *WINDOW)
    late = fit.visit_delays[:, None] + fit.delays[direct]
    turn = np.exp(-1j * fit.phases[:, None] + 2j * np.pi * late * frequencies)[:, None] / fit.chains[:, None]
    heard = np.moveaxis(channel, 1, 0) * turn  # (receive channel, visit, antenna, tone)
    elements = np.asarray(origin, float) + positions[..., None] * np.asarray(axis, float)
    distances = np.linalg.norm(elements - receivers[:, None, None], axis=-1)[..., None]
    first = float(np.mean(distances[0]))
    waves = first / distances * np.exp(-2j * np.pi / SPEED_OF_LIGHT * (carrier_hz * distances + frequencies * (distances - first)))
    # displacements and what moves lie within the delays that are kept
    inside = (fit.level * (2.0 * np.pi * position_std / fit.wavelength) ** 2 + moving) * frequencies.size / basis.dimension
    noise = np.mean(variance / np.abs(fit.chains) ** 2, axis=(0, 2)) + inside
    size = np.sqrt(noise)[:, None]
    ear = _Ear(
        basis.project(heard).reshape(len(receivers), -1) / size, basis.project(waves).reshape(len(receivers), -1) / size,
        positions.ravel(), basis, fit.wavelength,
    )  # fmt: skip
    gains, *rest = fit.everything.without(direct)
    others = Sources(gains / size[0, 0], rest[0], rest[1], rest[2] - fit.delays[direct], rest[3])
    resolved = Sources(*(part[: fit.order - 1] for part in others))
    field = Sources(*(part[fit.order - 1 :] for part in others))
    spread = fit.level * 10.0 ** (fit.unresolved_db / 10.0) / max(field.count, 1) / size[0, 0] ** 2
    return _weighed(ear, _found(ear, resolved, fit.cosines[direct]), field, spread)


@dataclass(frozen=True, slots=True, eq=False)
class _Ear:
    """What all receive channels heard, phases of the visits and transmit chains taken off, noise of variance 1 on every entry."""

    heard: NDArray[np.complex128]  # (receive channel, row x dimension)
    direct: NDArray[np.complex128]  # the same of a direct path of gain 1
    positions: NDArray[np.float64]  # (row,)
    basis: DelayBasis
    wavelength: float

    def respond(self, sources: Sources) -> Response:
        return respond(sources, self.positions, np.zeros(self.positions.size), self.basis, self.wavelength)

    def solve(self, columns: NDArray[np.complex128], precision: NDArray[np.float64]) -> tuple[NDArray, NDArray, NDArray, NDArray]:
        """Least squares for (direct path, columns) of every receive channel: gains (receive channel,) of the direct path and their
        variances, the columns' (receive channel, column), residuals (receive channel, entry). precision: prior, of each column's gain."""
        gram = columns.conj().T @ columns + np.diag(precision)
        both = np.concatenate([self.direct, self.heard]).T
        match = np.linalg.solve(gram, columns.conj().T @ both)
        direct, heard = np.split(both - columns @ match, 2, axis=1)  # (entry, receive channel) less what the columns explain
        weight = np.real(np.einsum("em,em->m", self.direct.T.conj(), direct))
        gain = np.einsum("em,em->m", self.direct.T.conj(), heard) / weight
        others = match[:, len(gain) :] - match[:, : len(gain)] * gain
        return gain, 1.0 / weight, others.T, (heard - direct * gain).T


def _direct(fit: PathFit, cosine: float) -> int | None:
    """The strongest resolved path near the surveyed direction."""
    near = np.flatnonzero(np.abs(fit.cosines[: fit.order] - cosine) < SURVEYED)
    return int(near[np.argmax(np.abs(fit.gains[near]))]) if near.size else None


def _flat(part: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """(position, path, dimension) as columns."""
    return np.swapaxes(part, 1, 2).reshape(-1, part.shape[1])


def _found(ear: _Ear, others: Sources, cosine: float) -> Sources:
    """`others` refined on all channels, with those added that hide beside the direct path."""
    cosines = np.clip(cosine + np.linspace(-NEAR[0], NEAR[0], 31), -1.0, 1.0)
    delays = np.arange(*NEAR[1], 0.25 / np.ptp(ear.basis.frequencies))
    c, b = (a.ravel() for a in np.meshgrid(np.unique(cosines), [0.0, 0.08, 0.2, 0.35], indexing="ij"))
    steering = np.exp(-2j * np.pi / ear.wavelength * excess(ear.positions, c, b)[0])
    atoms = ear.basis.atoms(delays)[0]
    for _ in range(MOST_ADDED):
        others = _refined(ear, others)
        columns = _flat(ear.respond(others).unit)
        *_, rest = ear.solve(columns, np.zeros(others.count))
        # of every candidate only what the direct path and the others leave of it counts
        taken = np.linalg.qr(np.column_stack([columns, ear.direct[0]]))[0]
        rest = rest.reshape(len(ear.heard), ear.positions.size, -1)
        match = np.einsum("rc,mrd,td->mct", steering.conj(), rest, atoms.conj(), optimize=True)
        inside = taken.reshape(ear.positions.size, -1, taken.shape[1]).conj()
        through = np.einsum("rc,rdk,td->kct", steering, inside, atoms, optimize=True)
        own = ear.positions.size * np.sum(np.abs(atoms) ** 2, axis=1)
        left = own - np.sum(np.abs(through) ** 2, axis=0)
        energy = np.where(left > 0.02 * own, np.sum(np.abs(match) ** 2, axis=0) / np.maximum(left, 1e-300), 0.0)
        cell, late = np.unravel_index(int(np.argmax(energy)), energy.shape)
        if energy[cell, late] < NOTICED:
            return others
        others = others.and_one(1.0, float(c[cell]), float(b[cell]), float(delays[late]))
    return _refined(ear, others)


def _refined(ear: _Ear, others: Sources) -> Sources:
    """Cosines, curvatures and delays after a few Levenberg-Marquardt steps on all channels, gains solved for (Kaufman 1975)."""
    if others.count == 0:
        return others
    unit = np.array([1e-2, 0.05, 1e-9])  # of a cosine, 1/m, s
    damping, best, trial = 1e-3, None, others
    for _ in range(STEPS):
        response = ear.respond(trial)
        columns = _flat(response.unit)
        *_, gains, rest = ear.solve(columns, np.zeros(trial.count))
        bend = (trial.curvatures - CURVATURE) / CURVATURE_STD
        cost = float(2.0 * np.sum(np.abs(rest) ** 2) + np.sum(bend**2))
        if best is None or cost < best[0]:
            done = best is not None and best[0] - cost < 0.05
            best, damping = (cost, trial, response, columns, gains, rest, bend), max(damping / 10.0, 1e-6)
            if done:
                break
        else:
            damping *= 10.0
        _, here, response, columns, gains, rest, bend = best
        slopes = np.stack([_flat(part) for part in (response.cosine, response.curvature, response.late)], axis=-1) * unit
        rows, right = np.diag(np.tile([0.0, (unit[1] / CURVATURE_STD) ** 2, 0.0], here.count)), np.zeros(3 * here.count)
        right[1::3] = -bend * unit[1] / CURVATURE_STD
        for number in range(len(rest)):
            known = np.linalg.qr(np.column_stack([columns, ear.direct[number]]))[0]
            own = (slopes * gains[number][:, None]).reshape(len(columns), -1)
            own = own - known @ (known.conj().T @ own)
            rows += 2.0 * np.real(own.conj().T @ own)
            right += 2.0 * np.real(own.conj().T @ rest[number])
        step = np.linalg.solve(rows + damping * np.diag(np.diag(rows) + 1e-9), right).reshape(-1, 3) * unit
        trial = Sources(
            here.gains, np.clip(here.cosines + step[:, 0], -1.0, 1.0), np.clip(here.curvatures + step[:, 1], *CURVATURES),
            here.delays + step[:, 2], here.tapers,
        )  # fmt: skip
    return best[1]


def _weighed(ear: _Ear, others: Sources, field: Sources, spread: float) -> ChainGains:
    """Gains of the direct path, beside the others, whose directions and delays may differ a little between channels, and the unresolved
    field of plane waves, each of variance `spread`."""
    response = ear.respond(others)
    *_, gains, _ = ear.solve(_flat(response.unit), np.zeros(others.count))
    power = np.maximum(np.mean(np.abs(gains) ** 2, axis=0), 1e-12)
    parts = [_flat(response.unit), _flat(response.cosine), _flat(response.late)]
    precision = [np.zeros(others.count), 1.0 / (power * PARALLAX[0] ** 2), 1.0 / (power * PARALLAX[1] ** 2)]
    if field.count:
        parts.append(_flat(units(field, ear.positions, np.zeros(ear.positions.size), ear.basis, ear.wavelength)))
        precision.append(np.full(field.count, 1.0 / spread))
    gain, error, _, rest = ear.solve(np.concatenate(parts, axis=1), np.concatenate(precision))
    ratio = np.mean(np.abs(rest) ** 2, axis=1)
    if ratio.max() > MISFIT:
        return _unknown(gain.size, f"heard more than paths explain, residual {ratio.max():.1f} times the noise")
    return _relative(gain, error * np.maximum(ratio, 1.0))


def _relative(gain: NDArray[np.complex128], error: NDArray[np.float64]) -> ChainGains:
    """Gains over the first, with the covariance of ratios of independent estimates: the first's error is in all of them."""
    if np.any(np.abs(gain) ** 2 < 10.0 ** (STRONG_DB / 10.0) * error):
        return _unknown(gain.size, "direct path too weak")
    value = gain / gain[0]
    share = error / np.abs(gain) ** 2
    spread = np.diag(np.abs(value[1:]) ** 2 * share[1:]) + np.outer(value[1:], value[1:].conj()) * share[0]
    covariance = complex_covariance(spread)
    return ChainGains(value, covariance, covariance, True, ("surveyed geometry", "direct path in sight", "one complex gain per chain"))


def _unknown(receivers: int, why: str) -> ChainGains:
    spread = np.eye(2 * (receivers - 1))
    return ChainGains(np.ones(receivers, complex), spread, spread, False, (why,))
