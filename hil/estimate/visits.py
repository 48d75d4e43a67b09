"""Visits of an array to several layouts: where to go, and how to bring the captures together.

Visits lie seconds apart: each has its own oscillator phase and its own delay. An element that has not moved since an earlier visit ties
the two together. Elements have chains of unknown complex gain: two of them that have stood at one place tell their ratio.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.errors import InputError

RUN = 0.45  # of a wavelength: neighbouring visited positions closer than half a wavelength leave no grating ambiguity
LEAST_HINGED = 4  # visits from which the last one compares the anchor with its neighbour
STAYED = 1e-6  # metres; an element whose read-back differs less, beyond three standard deviations, has not moved


def plan(
    travel: tuple[float, float], spacing: float, antennas: int, visits: int, wavelength: float, *, anchor: int = 0
) -> NDArray[np.float64]:
    """Layouts to visit, (visit, antenna) metres of local x, each legal and in order; deterministic.

    travel: least and most local x. spacing: least gap. anchor: 0 (stays at the low end) or antennas - 1 (at the high end). The moving
    elements share the rest of the rail in order, one stretch each, and the last place of one is the first of the next; together they
    visit positions at most 0.45 wavelength apart, or, where there are too few for that, a run of half of them at that step and the rest
    evenly spread. In the last visit the anchor's neighbour stays and the anchor goes where that has been: so any two neighbours have stood
    at one place. Both ends are occupied, and moves between successive visits keep the spacing. On a rail too short for stretches the
    elements slide along together instead.
    """
    low, high = map(float, travel)
    if anchor == antennas - 1 and antennas > 1:
        return -plan((-high, -low), spacing, antennas, visits, wavelength)[:, ::-1]
    if anchor != 0:
        raise InputError("anchor", "the anchor is an outer element", key="anchor", found=f"{anchor}", allowed=f"0 or {antennas - 1}")
    moving = antennas - 1
    if antennas < 2 or visits < 1:
        raise InputError("visits", "an anchor and at least one moving element, one visit or more", found=f"{antennas} x {visits}")
    if high - low < moving * spacing - 1e-12:
        raise InputError(
            "rail-too-short", f"{antennas} elements do not fit the travel", found=f"{moving} gaps x {1e3 * spacing:.1f} mm",
            allowed=f"{1e3 * (high - low):.1f} mm", fix="fewer elements or a longer rail",
        )  # fmt: skip
    hinged = visits >= LEAST_HINGED
    own = [visits - 1 if hinged and element == 0 else visits for element in range(moving)]  # places of each stretch
    ends = np.concatenate([[0], np.cumsum(np.array(own) - 1)])
    steps = _steps(high - low - spacing, int(ends[-1]) + 1, RUN * wavelength)
    points = low + spacing + np.concatenate([[0.0], np.cumsum(steps)]) if visits > 1 else np.linspace(low + spacing, high, moving)
    if visits > 1 and np.min(np.diff(points[ends])) < spacing - 1e-9:
        slack = high - low - moving * spacing
        share = np.linspace(0.0, 1.0, visits)[:, None]
        return low + spacing * np.arange(antennas) + slack * share ** (moving / np.maximum(np.arange(antennas), 1)) * (np.arange(antennas) > 0)
    layouts = np.full((visits, antennas), low)
    for element in range(moving):
        first = ends[element] if visits > 1 else element
        layouts[:, element + 1] = points[np.minimum(first + np.arange(visits), first + own[element] - 1)]
    if hinged:
        layouts[-1, 0] = points[points <= layouts[-1, 1] - spacing + 1e-12].max()
    return layouts


def _steps(length: float, points: int, run: float) -> NDArray[np.float64]:
    """Gaps between `points` visited positions that fill `length`: even if that is fine enough, else half of them a run in the middle."""
    even = length / max(points - 1, 1)
    if even <= run or points < 4:
        return np.full(points - 1, even)
    inside = points // 2
    outside = points - 1 - inside
    steps = np.full(points - 1, (length - inside * run) / outside)
    steps[outside // 2 : outside // 2 + inside] = run
    return steps


def delay_between(
    reference: NDArray[np.complex128], other: NDArray[np.complex128], frequencies_hz: NDArray[np.float64]
) -> tuple[float, float]:
    """(phase, delay) of `other` against `reference`, two channels (tone,) of one antenna pair: other = ref exp(j phase - j 2 pi f delay).

    Peak of the cross-spectrum over every delay the tone spacing tells apart, then Newton.
    """
    frequencies_hz = np.asarray(frequencies_hz, dtype=float)
    cross = (other * np.conj(reference)).reshape(-1, frequencies_hz.size).sum(0)
    spread = max(np.ptp(frequencies_hz), 1.0)
    step = float(np.min(np.diff(np.sort(frequencies_hz))))
    bins = np.rint((frequencies_hz - frequencies_hz.min()) / step).astype(int)  # tones off this grid only blur the first guess
    length = 1 << int(np.ceil(np.log2(4.0 * (bins.max() + 1))))
    comb = np.zeros(length, complex)
    comb[bins] = cross
    peak = int(np.argmax(np.abs(np.fft.ifft(comb))))
    delay = (peak - length if peak > length // 2 else peak) / (length * step)
    for _ in range(6):
        terms = cross * np.exp(2j * np.pi * frequencies_hz * delay)
        turn = 2j * np.pi * frequencies_hz
        total, first, second = terms.sum(), (turn * terms).sum(), (turn**2 * terms).sum()
        slope = 2.0 * np.real(np.conj(total) * first)
        bend = 2.0 * (np.abs(first) ** 2 + np.real(np.conj(total) * second))
        if bend >= 0.0:
            break
        delay -= float(np.clip(slope / bend, -0.25 / spread, 0.25 / spread))
    total = (cross * np.exp(2j * np.pi * frequencies_hz * delay)).sum()
    return float(np.angle(total)), delay


def stayed(positions: NDArray[np.float64], position_std: float) -> NDArray[np.bool_]:
    """(visit, earlier visit, antenna): whether an element stood in both visits at one place, as far as read-backs tell."""
    near = np.abs(positions[:, None] - positions) <= 3.0 * position_std + STAYED
    return near & np.tri(len(positions), k=-1, dtype=bool)[..., None]


def align(
    channel: Any, frequencies_hz: Any, tied: NDArray[np.bool_]
) -> tuple[NDArray[np.complex128], NDArray[np.float64], NDArray[np.float64]]:
    """Turn every visit onto the first by the elements that stayed: (visit, antenna, tone) aligned, phases (visit,) and delays (visit,)
    taken out. tied: (visit, earlier visit, antenna), see `stayed`."""
    frequencies = np.asarray(frequencies_hz, dtype=float)
    aligned = np.array(channel, dtype=complex)
    phases, delays = np.zeros(len(aligned)), np.zeros(len(aligned))
    for visit in range(1, len(aligned)):
        earlier, element = np.nonzero(tied[visit])
        if earlier.size == 0:
            raise InputError("untied-visit", "no element stands where it stood in an earlier visit", found=f"visit {visit}",
                             fix="leave one element where it is, or give such visits as `more`")  # fmt: skip
        phases[visit], delays[visit] = delay_between(aligned[earlier, element], aligned[visit, element], frequencies)
        aligned[visit] *= np.exp(-1j * phases[visit] + 2j * np.pi * delays[visit] * frequencies)
    return aligned, phases, delays


def score(fit: Any, candidate: Any, variance: float, region: Any, frequencies_hz: Any) -> float:
    """Mean predicted variance over `region` (position,) after visiting `candidate` (antenna,) too; lower is better.

    Linear in the paths' covariance (greedy choice of the next visit): `fit` offers `prediction_jacobian(positions, frequencies)` and
    `covariance`. variance: per tone of the coming visit, whose own phase is unknown and is projected out.
    """
    covariance = fit.covariance
    rows = fit.prediction_jacobian(np.asarray(candidate, dtype=float), frequencies_hz)  # (antenna, tone, parameter) complex
    flat = rows.reshape(-1, rows.shape[-1])
    seen = np.concatenate([flat.real, flat.imag]) / np.sqrt(variance / 2.0)
    value = np.ravel(fit.predict(np.asarray(candidate, dtype=float), frequencies_hz)[0])
    turn = np.concatenate([-value.imag, value.real])
    turn = turn / np.linalg.norm(turn)
    seen = seen - np.outer(turn, turn @ seen)
    gain = seen @ covariance
    smaller = covariance - gain.T @ np.linalg.solve(seen @ gain.T + np.eye(seen.shape[0]), gain)
    ahead = fit.prediction_jacobian(np.asarray(region, dtype=float), frequencies_hz)
    ahead = ahead.reshape(-1, ahead.shape[-1])
    return float(np.mean(np.real(np.einsum("ij,jk,ik->i", ahead, smaller, ahead.conj()))))
