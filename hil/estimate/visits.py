"""Visits of an array to several layouts: where to go, and how to bring the captures together.

Visits lie seconds apart: each has its own oscillator phase and its own delay. One element, the anchor, stays put, and its channel ties
them together.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.errors import InputError

RUN = 0.45  # of a wavelength: neighbouring visited positions closer than half a wavelength leave no grating ambiguity


def plan(
    travel: tuple[float, float], spacing: float, antennas: int, visits: int, wavelength: float, *, anchor: int = 0
) -> NDArray[np.float64]:
    """Layouts to visit, (visit, antenna) metres of local x, each legal and in order; deterministic.

    travel: least and most local x. spacing: least gap. anchor: 0 (stays at the low end) or antennas - 1 (at the high end). The moving
    elements share the rest of the rail in order, one stretch each; together they visit positions at most 0.45 wavelength apart, or,
    where there are too few for that, a run of half of them at that step and the rest evenly spread. Both ends are occupied, and moves
    between successive visits keep the spacing.
    """
    low, high = map(float, travel)
    if anchor == antennas - 1 and antennas > 1:
        return -plan((-high, -low), spacing, antennas, visits, wavelength)[:, ::-1]
    if anchor != 0:
        raise InputError("anchor", "the anchor is an outer element", key="anchor", found=f"{anchor}", allowed=f"0 or {antennas - 1}")
    moving = antennas - 1
    if antennas < 2 or visits < 1:
        raise InputError("visits", "an anchor and at least one moving element, one visit or more", found=f"{antennas} x {visits}")
    count = moving * visits
    if high - low < moving * spacing - 1e-12:
        raise InputError(
            "rail-too-short", f"{antennas} elements do not fit the travel", found=f"{moving} gaps x {1e3 * spacing:.1f} mm",
            allowed=f"{1e3 * (high - low):.1f} mm", fix="fewer elements or a longer rail",
        )  # fmt: skip
    steps = _steps(high - low - spacing, count, RUN * wavelength)
    points = low + spacing + np.concatenate([[0.0], np.cumsum(steps)]) if count > 1 else np.array([high])
    layouts = np.column_stack([np.full(visits, low), points.reshape(moving, visits).T])
    if np.min(np.diff(layouts, axis=1)) < spacing - 1e-9:  # stretches shorter than the spacing: slide blocks of elements instead
        slack = high - low - moving * spacing
        share = np.linspace(0.0, 1.0, visits)[:, None] if visits > 1 else np.ones((1, 1))
        tight = low + spacing * np.arange(antennas)
        layouts = tight + slack * share ** (moving / np.maximum(np.arange(antennas), 1)) * (np.arange(antennas) > 0)
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


def align(channel: Any, frequencies_hz: Any, anchor: int) -> tuple[NDArray[np.complex128], NDArray[np.float64], NDArray[np.float64]]:
    """Turn every visit onto the first by its anchor: (visit, antenna, tone) aligned, phases (visit,) and delays (visit,) taken out."""
    channel, frequencies = np.asarray(channel, dtype=complex), np.asarray(frequencies_hz, dtype=float)
    pairs = [delay_between(channel[0, anchor], visit[anchor], frequencies) for visit in channel]
    phases, delays = (np.array(column) for column in zip(*pairs))
    turn = np.exp(-1j * phases[:, None] + 2j * np.pi * delays[:, None] * frequencies[None, :])
    return channel * turn[:, None, :], phases, delays


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
