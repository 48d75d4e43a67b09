"""Clock tracks: golden step, consistency, what happens at a jump, noise fitted to readings, and the emulated oscillators."""

from __future__ import annotations

import numpy as np
import pytest

from hil.clock import Instant
from hil.errors import InputError
from hil.estimate import tracking
from hil.estimate.tracking import CLASSES, ClockNoise, Reading, Track, Verdict
from hil.knowledge import Estimate
from sim_backend.oscillator import draw

TCXO = CLASSES["tcxo"]
ERROR = np.diag([(0.085e-9) ** 2, (0.6 / 3.5e9) ** 2])  # of an exchange at 20 dB
STEP_S = 0.1
START = np.diag([tracking.OFFSET_STD**2, tracking.RATE_STD**2])


def test_golden_step():
    noise = ClockNoise(1e-20, 3e-19)
    value, covariance = tracking.predicted(np.zeros(2), np.diag([1e-18, 1e-18]), noise, 0.1)
    np.testing.assert_allclose(covariance, [[1.0111e-18, 1.0150e-19], [1.0150e-19, 1.0300e-18]], rtol=1e-9)
    value, covariance, test = tracking.corrected(value, covariance, np.array([2e-9, 1e-9]), np.diag([7.2e-21, 2.938776e-20]), np.eye(2))
    np.testing.assert_allclose(value, [1.98640640e-9, 9.77575609e-10], rtol=1e-8)
    np.testing.assert_allclose(covariance, [[7.14860076e-21, 2.01002636e-23], [2.01002636e-23, 2.85646736e-20]], rtol=1e-8)
    assert test == pytest.approx(4.5390517, rel=1e-8)


def test_two_short_steps_are_one_long_one():
    """F and Q form a semigroup, which a Q that does not grow with the interval breaks."""
    once = tracking.predicted(np.array([1e-9, 2e-9]), ERROR, TCXO, 0.7)
    twice = tracking.predicted(*tracking.predicted(np.array([1e-9, 2e-9]), ERROR, TCXO, 0.3), TCXO, 0.4)
    np.testing.assert_allclose(once[0], twice[0], rtol=1e-12)
    np.testing.assert_allclose(once[1], twice[1], rtol=1e-12)
    assert tracking.predicted(np.zeros((5, 2)), np.zeros((5, 2, 2)), TCXO, np.arange(5.0))[1].shape == (5, 2, 2)


def tracks(rng, count, steps, assumed=TCXO):
    """Normalised errors squared (step, track), squared innovations (step, track), the last covariance and error one step ahead."""
    truth = rng.standard_normal((count, 2)) * [tracking.OFFSET_STD, tracking.RATE_STD]
    value, covariance = np.zeros((count, 2)), np.broadcast_to(START, (count, 2, 2))
    walk, nees, tests = np.linalg.cholesky(TCXO.grown(STEP_S)), [], []
    for step in range(steps):
        if step:
            truth = (tracking.forward(STEP_S) @ truth[..., None])[..., 0] + rng.standard_normal((count, 2)) @ walk.T
            value, covariance = tracking.predicted(value, covariance, assumed, STEP_S)
        seen = truth + rng.standard_normal((count, 2)) * np.sqrt(np.diag(ERROR))
        value, covariance, test = tracking.corrected(value, covariance, seen, ERROR, np.eye(2))
        off = truth - value
        nees.append(np.einsum("ti,tij,tj->t", off, np.linalg.inv(covariance), off))
        tests.append(test)
    return np.array(nees), np.array(tests), covariance[0]


def test_errors_are_what_the_covariance_says():
    nees, tests, covariance = tracks(np.random.default_rng(1), 300, 100)
    assert 1.9 < nees.mean() < 2.1
    assert np.mean(nees < 5.991) == pytest.approx(0.95, abs=0.012)
    assert np.mean(tests > 13.82) == pytest.approx(1e-3, abs=8e-4)
    assert np.sqrt(np.diag(covariance)) * [1e9, 3.5e9] == pytest.approx([0.049, 0.47], rel=0.02)


def test_noise_that_is_wrong_shows():
    assert 7.0 < tracks(np.random.default_rng(2), 100, 100, TCXO.scaled(0.1))[0].mean() < 10.0
    assert tracks(np.random.default_rng(2), 100, 100, TCXO.scaled(10.0))[0].mean() < 1.85


def readings(rng, count, noise=TCXO, step=STEP_S, jump=None):
    """Readings of a clock that wanders as told; `jump`: (at which reading, seconds)."""
    state, walk, out = np.array([200e-9, 1.5e-6]), np.linalg.cholesky(noise.grown(step)), []
    for k in range(count):
        if k:
            state = tracking.forward(step) @ state + walk @ rng.standard_normal(2)
        if jump and k >= jump[0]:
            state = state + [jump[1] * (k == jump[0]), 0.0]
        seen = state + np.sqrt(np.diag(ERROR) + [0.0, noise.fast]) * rng.standard_normal(2)
        out.append((Reading(Instant.of(5.0 + k * step), float(seen[0]), float(seen[1]), ERROR), state))
    return out


def followed(found, noise=TCXO):
    track = Track.begin(found[0][0], noise)
    out = [track]
    for reading, _ in found[1:]:
        out.append(out[-1].updated(reading))
    return out


def test_one_wild_reading_is_rejected_and_forgotten():
    found = readings(np.random.default_rng(3), 30)
    wild = found[20][0]
    found[20] = (Reading(wild.at, wild.offset + 5e-9, wild.rate, ERROR), found[20][1])
    seen = followed(found)
    assert [track.verdict for track in seen[19:22]] == [Verdict.TAKEN, Verdict.REJECTED, Verdict.TAKEN]
    assert seen[20].offset_variance(0.0) > 5.0 * seen[19].offset_variance(STEP_S)
    assert seen[-1].generation == 0
    assert abs(seen[-1].value[0] - found[-1][1][0]) < 4.0 * np.sqrt(seen[-1].offset_variance(0.0))


def test_a_jump_restarts_the_track_and_voids_what_it_told():
    found = readings(np.random.default_rng(4), 40, jump=(25, 3e-6))
    seen = followed(found)
    assert [track.verdict for track in seen[25:27]] == [Verdict.REJECTED, Verdict.RESTARTED]
    assert [track.generation for track in (seen[24], seen[26], seen[-1])] == [0, 1, 1]
    assert abs(seen[26].value[0] - found[26][1][0]) < 4.0 * np.sqrt(ERROR[0, 0])
    assert abs(seen[-1].value[0] - found[-1][1][0]) < 4.0 * np.sqrt(seen[-1].offset_variance(0.0))


def test_noise_is_scaled_when_innovations_say_so_and_hardly_otherwise():
    found = readings(np.random.default_rng(5), 400)
    small = followed(found, TCXO.scaled(0.05))[-1]
    assert 3.0 < small.scaled < 60.0
    rng = np.random.default_rng(6)
    assert sum(followed(readings(rng, 51))[-1].scaled != 1.0 for _ in range(40)) <= 7  # one in twenty


def test_rate_alone_is_followed_too():
    """Receivers that do not hear themselves tell carriers only."""
    found = [(Reading(r.at, None, r.rate, r.covariance[1:, 1:]), truth) for r, truth in readings(np.random.default_rng(7), 60)]
    last = followed(found)[-1]
    assert abs(last.value[1] - found[-1][1][1]) < 4.0 * np.sqrt(last.rate_variance(0.0))
    assert last.rate_variance(0.0) == pytest.approx((0.47 / 3.5e9) ** 2, rel=0.2)
    assert last.offset_variance(0.0) > 0.9 * tracking.OFFSET_STD**2


def test_a_carrier_offset_becomes_a_rate_of_the_other_sign():
    told = Estimate("carrier offset", "link", np.array([3500.0]), np.array([[4.0]]), "Hz", epoch=Instant(3, 0.5))
    reading = Reading.of_carrier(told, 3.5e9)
    assert reading.rate == pytest.approx(-1e-6) and reading.covariance[0, 0] == pytest.approx((2.0 / 3.5e9) ** 2)
    with pytest.raises(InputError):
        Reading.of_carrier(Estimate("carrier offset", "link", np.array([3500.0]), np.eye(1), "Hz"), 3.5e9)


def test_readings_out_of_order_are_refused():
    found = readings(np.random.default_rng(8), 3)
    with pytest.raises(InputError) as caught:
        followed([found[0], found[2], found[1]])
    assert "order of time" in str(caught.value)


def test_allan_variance_is_that_of_the_model():
    rng, noise = np.random.default_rng(9), ClockNoise(1e-20, 1e-19)
    every = []
    for _ in range(30):
        state = np.cumsum(rng.standard_normal((2000, 2)) @ np.linalg.cholesky(noise.grown(STEP_S)).T, axis=0)
        offsets = state[:, 0] + STEP_S * (np.cumsum(state[:, 1]) - state[:, 1])
        every.append(tracking.allan(offsets, STEP_S)[1])
    tau = tracking.allan(offsets, STEP_S)[0]
    np.testing.assert_allclose(np.mean(every, axis=0)[:6], noise.allan(tau)[:6], rtol=0.2)


def test_noise_is_fitted_to_readings_whatever_the_class_said():
    true, ratios = ClockNoise(2e-19, 5e-18, 3e-19), []
    for seed in range(6):
        found = [reading for reading, _ in readings(np.random.default_rng(seed), 200, true)]
        told = tracking.fitted([r.offset for r in found], [r.rate for r in found], STEP_S, ERROR, TCXO)
        ratios.append([told.white / true.white, told.walk / true.walk, told.fast / true.fast])
    assert np.all(np.abs(np.mean(np.log(ratios), axis=0)) < np.log(2.0))
    with pytest.raises(InputError):
        tracking.fitted(np.zeros(5), np.zeros(5), STEP_S, ERROR, TCXO)


def emulated(kind, seed, count, fitted_to=100):
    """(normalised errors one step ahead (step, 2), NEES (step,)) of a track on two emulated oscillators, noise fitted to its first readings."""
    rng = np.random.default_rng(seed)
    clocks = [draw({"class": kind}, seed, name) for name in "ab"]

    def truth(at):
        (xa, ya), (xb, yb) = (clock.error(at) for clock in clocks)
        return np.array([(xb - clocks[1].offset) - (xa - clocks[0].offset), yb - ya])

    times = [Instant(400, 0.0).after(k * STEP_S) for k in range(count + 1)]
    states = np.array([truth(at) for at in times])
    seen = states + rng.standard_normal(states.shape) * np.sqrt(np.diag(ERROR))
    noise = tracking.fitted(seen[:fitted_to, 0], seen[:fitted_to, 1], STEP_S, ERROR, CLASSES[kind] + CLASSES[kind])
    track = Track.begin(Reading(times[0], *seen[0], ERROR), noise)
    off, nees = [], []
    for k in range(1, count):
        track = track.updated(Reading(times[k], *seen[k], ERROR))
        if k > 20:
            value, covariance = track.after(STEP_S)
            covariance = covariance + np.diag([0.0, track.noise.fast])
            error = value - states[k + 1]
            off.append(error / np.sqrt(np.diag(covariance)))
            nees.append(error @ np.linalg.solve(covariance, error))
    return np.array(off), np.array(nees)


@pytest.mark.parametrize("kind, trials", [("tcxo", 5), pytest.param("crystal", 30, marks=pytest.mark.slow),
                                          pytest.param("tcxo", 60, marks=pytest.mark.slow)])  # fmt: skip
def test_flickering_oscillators_of_the_emulator_are_predicted_to_within_a_fifth(kind, trials):
    """One interval ahead, as old as a push: standard deviation within 20 % of what the track says."""
    found = [emulated(kind, seed, 200) for seed in range(trials)]
    off, nees = np.concatenate([f[0] for f in found]), np.concatenate([f[1] for f in found])
    assert np.sqrt(np.mean(off**2, axis=0)) == pytest.approx([1.0, 1.0], abs=0.2)
    assert 1.7 < nees.mean() < 2.5 and np.mean(nees < 5.991) > 0.92
