"""Chains of unknown gain: found along with the paths, agreed on by the links of an array, heard by a sensing array; and honest errors."""

import numpy as np
import pytest
import torch
from path_scene import CARRIER, TONES, WAVELENGTH, Room, chain_gains, measure

from hil.errors import InputError
from hil.estimate import chains, hearing, paths, visits
from hil.estimate.chains import ChainGains
from hil.estimate.sources import DelayBasis
from hil.model.response import response

RAIL = 4 * WAVELENGTH
PLAN = visits.plan((-RAIL, RAIL), WAVELENGTH / 2, 4, 8, WAVELENGTH)
STD = 60e-6
USERS = [(14.0, 3.0, 1.5), (11.0, -6.0, 1.5)]
ELEMENTS = np.arange(4)


def linked(seed, users=USERS, snr_db=25.0, record=None):
    """Fits of one array with unknown chains to several users."""
    rng = np.random.default_rng(seed)
    gains, late = chain_gains(rng), 50e-12 * rng.standard_normal(4)
    rooms = [Room(rng, user, chains=gains) for user in users]
    fits = []
    for room in rooms:
        channel, variance = measure(room, PLAN, snr_db, rng, position_std=STD, chain_delays=late)
        fits.append(paths.fit(PLAN, channel, variance, TONES, wavelength=WAVELENGTH, position_std=STD, chains=record and record(gains)))
    return fits, rooms, gains, rng


def off(found, truth):
    """Chi-square of a chain estimate over its degrees of freedom."""
    away = (found.value - truth)[1:].view(float)
    return float(away @ np.linalg.solve(found.covariance, away)) / away.size


def error_db(fit, room, rng):
    places = rng.uniform(-RAIL, RAIL, 40)
    who = np.tile(ELEMENTS, 10)
    truth = room.channel(places, TONES[::48], who)
    return 10 * np.log10(np.mean(np.abs(fit.channel(places, TONES[::48], who) - truth) ** 2) / np.mean(np.abs(truth) ** 2))


def test_chains_are_found_with_the_paths_and_links_agree():
    fits, rooms, gains, rng = linked(1)
    together = chains.combine([fit.own_chains for fit in fits])
    assert together.value[0] == 1.0 and together.std[0] == 0.0
    for fit, room in zip(fits, rooms):
        assert fit.above_threshold and fit.order == 7 and 0.8 < fit.residual_test < 1.2
        assert np.abs(fit.chains - gains).max() < 0.05 and 0.1 < off(fit.own_chains, gains) < 3.0
        assert np.all(together.std[1:] < fit.own_chains.std[1:])
        better = fit.with_chains(together)
        assert better.chains == pytest.approx(together.value) and better.own_chains is fit.own_chains
        assert error_db(better, room, rng) < -35.0
        spread = [each.predict(np.linspace(-RAIL, RAIL, 9), [0.0], 2)[1].mean() for each in (better, fit)]
        assert spread[0] < spread[1]
    assert 0.1 < off(together, gains) < 3.0


def test_a_record_of_chains_sharpens_the_fit_and_one_without_error_leaves_them_alone():
    sure, rooms, gains, rng = linked(2, USERS[:1], record=ChainGains.known)
    assert sure[0].chains == pytest.approx(gains) and not sure[0].own_chains.covariance.any()
    loose = lambda gains: ChainGains(gains, 1e-4 * np.eye(6), 1e-4 * np.eye(6))
    about, blind = linked(2, USERS[:1], record=loose)[0], linked(2, USERS[:1])[0]
    variance = [fits[0].predict(np.linspace(-RAIL, RAIL, 9), TONES[::96])[1].mean() for fits in (sure, about, blind)]
    assert variance[0] < variance[1] < variance[2]
    assert error_db(sure[0], rooms[0], rng) < -43.0


def test_what_the_chains_of_a_fit_are_moved_by_its_paths_follow():
    """Given the truth about the chains, the paths become what they are when the chains were known all along."""
    fits, _, gains, _ = linked(3, USERS[:1])
    exact = ChainGains.known(gains)
    moved, sure = fits[0].with_chains(exact), linked(3, USERS[:1], record=ChainGains.known)[0][0]
    places = np.linspace(-RAIL, RAIL, 15)
    one, other = (fit.channel(places, TONES[::96]) for fit in (moved, sure))
    assert np.mean(np.abs(one - other) ** 2) < 0.3 * np.mean(np.abs(fits[0].channel(places, TONES[::96]) - other) ** 2)
    assert np.diag(moved.covariance)[-6:] == pytest.approx(0.0, abs=1e-12)


def test_variance_and_covariance_of_elements_against_the_jacobian():
    fits, *_ = linked(4, USERS[:1])
    fit, places = fits[0], np.array([-0.3, -0.1, -0.1, 0.25])
    slopes = fit.prediction_jacobian(places, TONES[::96], ELEMENTS)
    # every direction of the covariance, less the phase and the delay that all visited places, heard at five frequencies, agree on
    values, vectors = np.linalg.eigh(fit.covariance / np.outer(size := np.sqrt(np.diag(fit.covariance)), size))
    root = size[:, None] * vectors * np.sqrt(np.maximum(values, 0.0))
    visited, band = PLAN.ravel(), np.linspace(TONES[0], TONES[-1], 5)
    channel = fit.channel(visited, band, np.tile(ELEMENTS, 8))
    alike = np.stack([1j * channel, -2e-9j * np.pi * band * channel], axis=-1)
    here = fit.channel(places, TONES[::96], ELEMENTS)
    gone = np.stack([1j * here, -2e-9j * np.pi * TONES[::96] * here], axis=-1)
    real = lambda part: np.concatenate([part.real.ravel(), part.imag.ravel()])
    columns = np.column_stack([real(alike[..., slot]) for slot in (0, 1)])
    around = fit.prediction_jacobian(visited, band, np.tile(ELEMENTS, 8))
    wanted = np.zeros(here.shape)
    for direction in root.T:
        error = around @ direction
        wanted += np.abs(slopes @ direction - gone @ np.linalg.lstsq(columns, real(error), rcond=None)[0]) ** 2
    assert fit.predict(places, TONES[::96], ELEMENTS)[1] == pytest.approx(wanted, rel=0.01)
    per_tone = fit.error_covariance(places, TONES[::96], ELEMENTS)
    wanted = fit.predict(places, TONES[::96], ELEMENTS)[1]
    assert np.diagonal(per_tone, axis1=1, axis2=2)[:, :4] + np.diagonal(per_tone, axis1=1, axis2=2)[:, 4:] == pytest.approx(wanted.T, rel=1e-6)
    gain = np.zeros(4, complex)
    for slot, turn in enumerate((1.0, 1j)):  # the last columns are the chains'
        gain[2] = 1e-6 * turn
        ahead = fit.channel(places, TONES[::96], ELEMENTS) * (1 + gain / fit.chains)[:, None]
        assert slopes[..., -6 + 2 + slot] * 1e-6 == pytest.approx(ahead - fit.channel(places, TONES[::96], ELEMENTS), rel=1e-6, abs=1e-15)


def test_designers_see_the_element_that_stands_there():
    fits, *_ = linked(5, USERS[:1])
    places = np.array([-0.3, -0.1, 0.1, 0.25])
    got = response([[fits[0]]], WAVELENGTH).channel(torch.as_tensor(places)[None, None], torch.zeros(1, dtype=torch.float64)).numpy()[0, 0, 0]
    wanted = fits[0].channel(places, [0.0], ELEMENTS)[:, 0]
    assert np.linalg.norm(got - wanted) < 0.03 * np.linalg.norm(wanted)  # the protocol leaves out tapers and delays across the rail
    assert np.linalg.norm(got / fits[0].chains - wanted) > 0.3 * np.linalg.norm(wanted)


def test_a_guess_without_any_paths_is_near_whatever_the_phases():
    for seed in range(20):
        rng = np.random.default_rng(100 + seed)
        gains = chain_gains(rng)
        room = Room(rng, USERS[seed % 2], chains=gains)
        arrival = np.linalg.norm(room.user - room.origin) / 299_792_458.0
        heard = room.channel(PLAN, TONES, np.broadcast_to(ELEMENTS, PLAN.shape)) * np.exp(2j * np.pi * TONES * arrival)
        rows = DelayBasis.of_window(TONES, -0.15e-6, 0.45e-6).project(heard).reshape(PLAN.size, -1)
        variance = 1e-3 * np.mean(np.abs(rows) ** 2)
        rows = rows + (rng.standard_normal(rows.shape) + 1j * rng.standard_normal(rows.shape)) * np.sqrt(variance / 2)
        found = chains.guess(rows, np.full((PLAN.size, 1), variance), PLAN.ravel(), np.tile(ELEMENTS, 8), WAVELENGTH, STD)
        assert np.abs(found.value - gains).max() < 0.15 and off(found, gains) < 5.0


def test_links_that_disagree_widen_what_is_said_and_untrusted_ones_have_no_say():
    spread = 1e-4 * np.eye(4)
    one = ChainGains(np.array([1.0, 1j, -1.0]), spread, spread)
    near, far = (ChainGains(one.value + shift * np.array([0, 1, 1]), spread, spread) for shift in (0.01, 0.2))
    assert chains.combine([one, near]).covariance == pytest.approx(spread / 2)
    assert chains.combine([one, near]).value == pytest.approx(one.value + np.array([0, 0.005, 0.005]))
    apart = chains.combine([one, far])
    assert apart.covariance[0, 0] > 10 * spread[0, 0] and "links disagree" in apart.assumptions
    lost = ChainGains(np.ones(3, complex), spread, spread, above_threshold=False)
    assert chains.combine([lost, one]) is one and not chains.combine([lost]).above_threshold
    with pytest.raises(InputError):
        chains.combine([])


def sensed(seed, origin, snr_db=25.0, hears=None):
    """One sensing array hearing a moving one: (chain gains found, true ones)."""
    rng = np.random.default_rng(seed)
    receivers = np.array([28.0, 0.0, 2.0]) + np.outer(np.linspace(-4, 4, 4) * WAVELENGTH, [0.0, 1.0, 0.0])
    sent, ears = chain_gains(rng), chain_gains(np.random.default_rng([seed, 7]))
    room = Room(rng, receivers[0], origin=origin, chains=sent)
    miss = STD * rng.standard_normal(PLAN.shape)
    miss[1:-1, 0], miss[-1, 1] = miss[0, 0], miss[-2, 1]
    clean = []
    for receiver, ear in zip(receivers, ears):
        room.user = receiver
        clean.append(ear * room.channel(PLAN + miss, elements=np.broadcast_to(ELEMENTS, PLAN.shape)))
    clean = np.moveaxis(np.array(clean), 0, 1)
    variance = np.mean(np.abs(clean) ** 2) * 10 ** (-snr_db / 10)
    phase, late = rng.uniform(0, 2 * np.pi, 8), rng.uniform(-3e-7, 3e-7, 8)
    heard = clean * (np.exp(1j * phase)[:, None] * np.exp(-2j * np.pi * late[:, None] * TONES))[:, None, None]
    heard = heard + (rng.standard_normal(clean.shape) + 1j * rng.standard_normal(clean.shape)) * np.sqrt(variance / 2)
    noise = np.full(clean.shape[:3], variance)
    known = ChainGains(sent, 1e-5 * np.eye(6), 1e-5 * np.eye(6))
    fit = paths.fit(PLAN, heard[:, 0], variance, TONES, wavelength=WAVELENGTH, position_std=STD, chains=known)
    found = hearing.hear(fit, PLAN, heard, noise, TONES, origin, room.axis, hears if hears is not None else receivers, carrier_hz=CARRIER,
                         position_std=STD)  # fmt: skip
    return found, ears


def test_a_sensing_array_s_chains_are_heard_along_the_direct_paths():
    for seed in (0, 2):
        told = [sensed(seed, (0.0, 0.0, 2.0)), sensed(seed, (23.0, -9.0, 2.0))]
        together = chains.combine([found for found, _ in told])
        assert together.above_threshold and np.abs(together.value - told[0][1]).max() < 0.1
        assert np.all(together.std[1:] < 0.1) and off(together, told[0][1]) < 4.0


def test_a_sensing_array_somewhere_else_than_surveyed_is_not_believed():
    elsewhere = np.array([20.0, 12.0, 2.0]) + np.outer(np.linspace(-4, 4, 4) * WAVELENGTH, [0.0, 1.0, 0.0])
    found, _ = sensed(0, (0.0, 0.0, 2.0), hears=elsewhere)
    assert not found.above_threshold and "surveyed" in found.assumptions[0]


@pytest.mark.slow
def test_chains_and_predictions_are_honest_over_many_rooms():
    """About 3 dB of what known chains would give, never a wrong start, and coverage as it says."""
    results = []
    for seed in range(30):
        fits, rooms, gains, rng = linked(1000 + seed, USERS[seed % 2 : seed % 2 + 1])
        fit, room = fits[0], rooms[0]
        predicted = 10 * np.log10(fit.predict(np.linspace(-RAIL, RAIL, 33), [0.0], 3)[1].mean() / fit.level)
        results.append((error_db(fit, room, rng), predicted, off(fit.own_chains, gains), fit.order, fit.above_threshold))
    error, predicted, apart, order, trusted = np.array(results, dtype=float).T
    assert np.all(trusted == 1.0) and np.mean(np.abs(order - 7) <= 1) > 0.9
    assert np.median(error) < -44.0 and np.max(error) < -33.0
    assert 0.5 < np.mean(apart) < 1.7 and np.max(apart) < 5.0


@pytest.mark.slow
def test_sensing_chains_are_honest_over_many_rooms():
    results = []
    for seed in range(20):
        found, ears = sensed(seed, (0.0, 0.0, 2.0) if seed % 2 else (23.0, -9.0, 2.0))
        if found.above_threshold:
            results.append((off(found, ears), np.abs(found.value - ears).max()))
    apart, worst = np.array(results).T
    assert len(results) >= 15 and np.median(apart) < 1.5 and np.mean(apart < 3.0) > 0.85 and np.median(worst) < 0.1
