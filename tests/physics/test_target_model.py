"""The echo of a walking target, its derivatives, and what the receiver's clutter removal does to it."""

import numpy as np
import pytest
from target_scene import AP1, AP2, CARRIER, SENSE, WAVELENGTH, pair

from hil.estimate.echoes import direct_delay, direct_response
from hil.estimate.echomodel import Pair

PLACE, VELOCITY = np.array([9.3, -3.2, 1.0]), np.array([0.7, -0.5, 0.0])


def ready(seed=0, snr_db=60.0, antennas=AP1, **changes):
    return Pair.of(pair(np.random.default_rng(seed), antennas, PLACE, VELOCITY, snr_db, **changes), SENSE, CARRIER)


def test_the_model_is_what_a_walking_target_writes():
    made = ready(snr_db=50.0, reference_std=1e-15)
    echo = made.cleaned(made.field(PLACE, VELOCITY, 0.0))
    gain = np.vdot(echo, made.data) / np.vdot(echo, echo)
    rest = made.data - gain * echo
    assert np.mean(np.abs(rest) ** 2) == pytest.approx(1.0, abs=0.05)  # nothing but the noise of unit variance per whitened entry
    mirrored = made.cleaned(made.field(PLACE * [1, -1, 1], VELOCITY, 0.0))
    assert np.abs(np.vdot(mirrored, made.data)) ** 2 < 0.1 * np.abs(np.vdot(echo, made.data)) ** 2


def test_doppler_of_an_approaching_target_is_positive():
    made = ready()
    direction = (SENSE.mean(axis=0) - PLACE) / np.linalg.norm(SENSE.mean(axis=0) - PLACE)
    towards = np.append(direction[:2], 0.0)
    turn = np.unwrap(np.angle(made.field(PLACE, towards, 0.0)[:, 0, 32]))
    to_ap = (AP1.mean(axis=0) - PLACE) / np.linalg.norm(AP1.mean(axis=0) - PLACE)
    wanted = 2 * np.pi / WAVELENGTH * (towards @ direction + towards @ to_ap)
    assert np.polyfit(made.echoes.times, turn, 1)[0] == pytest.approx(wanted, rel=0.01)


def test_derivatives_against_central_differences():
    made = ready(antennas=AP2)
    value, slopes = made.slopes(PLACE, VELOCITY, 2e-9)
    assert value == pytest.approx(made.field(PLACE, VELOCITY, 2e-9))
    base = np.concatenate([PLACE[:2], VELOCITY[:2], [2e-9]])
    for number, step in enumerate([3e-6, 3e-6, 1e-4, 1e-4, 1e-13]):
        ahead, back = (
            made.field(np.append(p[:2], 1.0), np.append(p[2:4], 0.0), p[4]) for p in (base + s * step * np.eye(5)[number] for s in (1, -1))
        )
        wanted = (ahead - back) / (2 * step)
        assert slopes[number] == pytest.approx(wanted, abs=1e-6 * np.abs(wanted).max())


def test_cleaning_takes_out_what_stands_still_and_only_that():
    made = ready()
    still = made.root * (1.0 + 2.0j) * np.ones(made.data.shape)
    assert np.abs(made.cleaned(still)).max() < 0.1  # the followed phase tilts it a little where it is not the static part itself
    static = made.root * made.echoes.static[None]
    assert np.linalg.norm(made.cleaned(static)) < 1e-9 * np.linalg.norm(static)
    wobble = static * np.exp(1j * 1e-3 * np.sin(np.arange(made.data.shape[0])))[:, None, None]
    assert np.linalg.norm(made.cleaned(wobble)) < 1e-5 * np.linalg.norm(static)
    fast = made.field(PLACE, VELOCITY, 0.0)
    slow = made.field(PLACE, 0.05 * VELOCITY, 0.0)
    keep = [np.sum(np.abs(made.cleaned(f)) ** 2) / np.sum(np.abs(f) ** 2) for f in (fast, slow)]
    assert keep[0] > 0.7 and keep[1] < 0.05


def test_noise_floor_ignores_the_target():
    assert ready(snr_db=40.0).variance == pytest.approx(1.0, abs=0.06)
    assert ready(snr_db=0.0).variance == pytest.approx(1.0, abs=0.06)


def test_direct_delay_from_many_pairs_is_better_than_from_few():
    rng = np.random.default_rng(5)
    tones = np.concatenate([np.arange(-192, 0), np.arange(1, 193)]) * 30e3
    expected = direct_response(AP1, SENSE, tones, CARRIER).reshape(16, -1)
    errors = {4: [], 16: []}
    for _ in range(12):
        channel = expected * np.exp(-2j * np.pi * tones * 37e-9) * np.exp(1j)
        for point in rng.uniform([0, -10, 0], [25, 10, 4], (6, 3)):
            legs = (np.linalg.norm(SENSE - point, axis=1)[:, None] + np.linalg.norm(AP1 - point, axis=1)).T.ravel()
            late = (legs - 8.0) / 299792458.0
            channel = channel + 0.3 * np.exp(-2j * np.pi * (CARRIER + tones) * (late[:, None] + 37e-9))
        for count in errors:
            rows = slice(None) if count == 16 else slice(0, 16, 4)
            delay, std = direct_delay(channel[rows], expected[rows], tones)
            errors[count].append((delay - 37e-9, std))
    rms = {count: np.sqrt(np.mean(np.square(np.array(e)[:, 0]))) for count, e in errors.items()}
    assert rms[16] < 4e-9 and rms[16] < rms[4]
    claimed = np.sqrt(np.mean(np.square(np.array(errors[16])[:, 1])))
    assert 0.3 < rms[16] / claimed < 2.5
    alone = direct_delay(expected * np.exp(-2j * np.pi * tones * 1.3e-6), expected, tones)
    assert alone[0] == pytest.approx(1.3e-6, abs=1e-13)


