"""The target's fix: two transmitters, one array of four receivers, walking targets drawn from the priors the fix is told of.

Elements at (-4, -1.7, 0.9, 4) wavelengths, 23.04 MHz, 56 ms; in every pair the direct path 50 dB and two clutter points 20 dB over the
echo; SNR integrated, per pair, after what stands still is removed, which costs up to 4 dB of the echo's energy: walks that hide more of
it are drawn again. Beside it backprojection: the peak over place and Doppler of
the echoes' summed energy on a grid, with what stands still left in and with it taken out, and no more.
"""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from benchmarks.estimator_cases import Row, coverage, efficiency, middle, share, told
from hil.estimate import target
from hil.estimate.echoes import Echoes
from hil.units import SPEED_OF_LIGHT

CARRIER, BAND, GROUPS, CELLS, CELL_S = 3.5e9, 23.04e6, 32, 14, 4e-3
WAVELENGTH = SPEED_OF_LIGHT / CARRIER
ELEMENTS = np.array([-4.0, -1.7, 0.9, 4.0])[:, None] * WAVELENGTH * np.array([0.0, 1.0, 0.0])
SENSE, SENDERS = np.array([0.0, 8.0, 2.0]) + ELEMENTS, np.array([[[0.0, 0.0, 2.0]], [[0.0, -7.0, 2.0]]])  # one antenna each
PRIOR, PRIOR_STD, HEIGHT_STD, DIRECT_STD = np.array([9.0, -4.0, 1.0]), 2.0, 1e-3, 0.1e-9
SETTINGS = target.Settings(speed=2.5, speed_std=0.8, turn_std=0.4)
DIRECT_DB, CLUTTER_DB = 50.0, 20.0
FREQUENCIES = (np.arange(GROUPS) - (GROUPS - 1) / 2) * BAND / GROUPS
TIMES = (np.arange(CELLS) - (CELLS - 1) / 2) * CELL_S
SNR_DB = (11.0, 14.0, 17.0, 20.0, 25.0, 30.0)
THRESHOLD_DB, BAR, FAR = 17.0, 1.15, 25.0  # FAR: Mahalanobis distance squared of an outlier, by chance once in 3e5
STEP = 0.25  # metres of the textbook's grid
SHOWN = 0.4  # turns of an echo's phase in the capture, from which it is told from what stands still


def draw(rng: np.random.Generator, snr_db: float) -> tuple[list[Echoes], NDArray[np.float64]]:
    """Echoes of one walk, and where it is at the middle."""
    while True:
        track, place = _walk(rng)
        if np.all(np.abs(_lengths(track[-1]) - _lengths(track[0])) > SHOWN * WAVELENGTH):
            return [_pair(rng, sender, track, snr_db) for sender in SENDERS], place


def _lengths(point: NDArray) -> NDArray[np.float64]:
    """(pair,) metres from each transmitter over a point to the array's middle."""
    return np.linalg.norm(SENDERS.mean(axis=1) - point, axis=-1) + np.linalg.norm(SENSE.mean(axis=0) - point)


def _walk(rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(cell, 3) metres, and the place at the middle."""
    place = PRIOR + np.append(PRIOR_STD * np.clip(rng.standard_normal(2), -2.5, 2.5), 0.0)
    velocity = np.append(np.clip(SETTINGS.speed_std * rng.standard_normal(2), -1.7, 1.7), 0.0)
    bend = np.append(SETTINGS.turn_std * rng.standard_normal(2), 0.0)
    return place + TIMES[:, None] * velocity + 0.5 * TIMES[:, None] ** 2 * bend, place


def _pair(rng: np.random.Generator, sender: NDArray, track: NDArray, snr_db: float) -> Echoes:
    complex_normal = lambda *shape: (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) / np.sqrt(2.0)
    w = np.exp(2j * np.pi * rng.uniform(size=(GROUPS, 1)))
    direct = np.linalg.norm(SENSE[:, None] - sender, axis=-1)
    late = SPEED_OF_LIGHT * DIRECT_STD * rng.standard_normal() - direct.mean()

    def wave(out: NDArray, back: NDArray) -> NDArray:
        """(cell, rx, group) of path lengths (cell, antenna) and (cell, rx)."""
        k = 2.0 * np.pi / SPEED_OF_LIGHT
        sent = np.einsum("gn,cn,cng->cg", w, direct.mean() / out, np.exp(-1j * k * (CARRIER + FREQUENCIES) * out[..., None]), optimize=True)
        heard = direct.mean() / back[..., None] * np.exp(-1j * k * (CARRIER * back[..., None] + FREQUENCIES * (back[..., None] + late)))
        return sent[:, None] * heard

    from_all = lambda points, to: np.linalg.norm(points[:, None] - to, axis=-1)
    echo = wave(from_all(track, sender), from_all(track, SENSE))
    straight = np.exp(-2j * np.pi / SPEED_OF_LIGHT * (CARRIER * direct[..., None] + FREQUENCIES * (direct[..., None] + late)))  # (rx, antenna, g)
    still = [np.einsum("gn,rng->rg", w, straight)]
    still += [wave(from_all(point[None], sender), from_all(point[None], SENSE))[0] for point in rng.uniform([0, -10, 0], [20, 10, 4], (2, 3))]
    left = echo - echo.mean(axis=0)
    echo = echo * np.sqrt(10 ** (snr_db / 10.0) / np.sum(np.abs(left) ** 2)) * np.exp(2j * np.pi * rng.uniform())
    energy, room = np.sum(np.abs(echo) ** 2), np.zeros((4, GROUPS), complex)
    for part, over_db in zip(still, (DIRECT_DB, CLUTTER_DB, CLUTTER_DB)):
        room += part * np.sqrt(10 ** (over_db / 10.0) * energy / (CELLS * np.sum(np.abs(part) ** 2)))
    received = room + echo + complex_normal(CELLS, 4, GROUPS)
    for _ in range(2):  # the receiver follows the phase of what stands still and takes it out
        received = received * np.exp(-1j * np.angle(np.einsum("crg,rg->c", received, received.mean(axis=0).conj())))[:, None, None]
    static = received.mean(axis=0)
    return Echoes(received - static, np.ones((CELLS, GROUPS)), TIMES, FREQUENCIES, np.arange(GROUPS), w, sender, static, DIRECT_STD)


def fix(echoes: list[Echoes]) -> target.Fix:
    return target.locate(
        echoes, receivers=SENSE, carrier_hz=CARRIER, prior=PRIOR, prior_std=[PRIOR_STD, PRIOR_STD, HEIGHT_STD], settings=SETTINGS,
    )  # fmt: skip


def backprojected(echoes: list[Echoes], cleaned: bool) -> NDArray[np.float64]:
    """(2,) metres: the grid point where matched filters over elements, band and Doppler find most, all pairs together."""
    axis = np.arange(-2.5 * PRIOR_STD, 2.5 * PRIOR_STD + STEP / 2, STEP)
    x, y = (PRIOR[i] + part.ravel() for i, part in enumerate(np.meshgrid(axis, axis, indexing="ij")))
    points = np.stack([x, y, np.full(x.size, PRIOR[2])], axis=-1)
    doppler = np.exp(-2j * np.pi * np.outer(np.linspace(-60.0, 60.0, 25), TIMES))
    total = np.zeros(x.size)
    k = 2.0 * np.pi / SPEED_OF_LIGHT
    for each in echoes:
        mean = np.linalg.norm(SENSE[:, None] - each.antennas, axis=-1).mean()
        out, back = (np.linalg.norm(points[:, None] - of, axis=-1)[..., None] for of in (each.antennas, SENSE))
        sent = np.einsum("gn,png->pg", each.precoder, np.exp(-1j * k * (CARRIER + FREQUENCIES) * out), optimize=True)
        copy = (sent[:, None] * np.exp(-1j * k * (CARRIER * back + FREQUENCIES * (back - mean)))).reshape(x.size, -1)
        seen = each.spectra if cleaned else each.spectra + each.static
        match = np.abs(copy.conj() @ (doppler @ seen.reshape(CELLS, -1)).T) ** 2
        total += match.max(axis=1) / np.sum(np.abs(copy) ** 2, axis=1)
    return points[np.argmax(total), :2]


def run(trials: int, rng: np.random.Generator) -> list[Row]:
    rows, flagged_far = [], []
    for snr_db in SNR_DB:
        begun = time.process_time()
        cases = [draw(rng, snr_db) for _ in range(trials)]
        drawn = time.process_time()
        fixes = [fix(echoes) for echoes, _ in cases]
        took = time.process_time() - drawn
        error = np.array([found.estimate.value[:2] - place[:2] for found, (_, place) in zip(fixes, cases)])
        covariance = np.array([found.estimate.covariance[:2, :2] for found in fixes])
        bound = np.array([np.sqrt(np.trace(found.estimate.bound[:2, :2])) for found in fixes])
        distance = np.einsum("ti,tij,tj->t", error, np.linalg.inv(covariance), error)
        far, size, flagged = distance > FAR, np.linalg.norm(error, axis=1), np.array([not found.above_threshold for found in fixes])
        flagged_far += list(flagged[far])
        at = f"{snr_db:g} dB"
        above = snr_db >= THRESHOLD_DB
        rows.append(middle(f"{at}: bound, m", bound))
        rows.append(efficiency(f"{at}: RMSE over bound, outliers apart", size[~far], bound[~far], BAR if snr_db >= 14.0 else None, took))
        rows.append(share(f"{at}: outliers", far))
        if not flagged.all():
            rows.append(coverage(f"{at}: 95 % ellipse of fixes not flagged holds the target", distance[~flagged] < 5.991,
                                 *((0.93, 0.97) if above else (None, None))))  # fmt: skip
        rows.append(share(f"{at}: flagged", flagged, at_most=0.01 if snr_db >= THRESHOLD_DB + 3.0 else None))
        rows.append(told(f"{at}: ms a fix", 1e3 * took / trials, trials=trials, seconds=took))
        some = cases[: max(1, trials // 20)]
        for words, cleaned in (("backprojection, nothing removed", False), ("backprojection, what stands still removed", True)):
            begun = time.process_time()
            away = [np.linalg.norm(backprojected(echoes, cleaned) - place[:2]) for echoes, place in some]
            took = time.process_time() - begun
            rows.append(told(f"{at}: {words}, RMSE, m ({1e3 * took / len(some):.0f} ms)", float(np.sqrt(np.mean(np.square(away)))),
                             trials=len(some), seconds=took))  # fmt: skip
        if not flagged.all():
            rows.append(told(f"{at}: fixes not flagged, RMSE, m", float(np.sqrt(np.mean(size[~flagged] ** 2))), trials=int((~flagged).sum())))
    if flagged_far:
        rows.append(share("outliers that are flagged, all SNRs", np.array(flagged_far, bool), at_least=0.99))
    return rows
