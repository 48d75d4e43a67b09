"""Azimuths of two walking targets from one station's capture while both transmit: efficiency, coverage, phases, and what must be flagged."""

import numpy as np
import pytest
from cells_scene import CARRIER, STATIONS, WAVELENGTH, C, capture, designed, walk

from hil.errors import DeviceError, InputError
from hil.estimate.azimuth import bearing
from hil.estimate.clutter import Terms, clear
from hil.estimate.echofields import Chains, Fields, Spread
from hil.estimate.slowtime import SlowTime, of_frames, of_samples, of_tones
from hil.estimate.stations import Prior
from hil.waveform import Numerology, ofdm

RATE = 1e6


def heard(seed, snr_db=25.0, kind="slp", length=480, **rest):
    """(scene, own station, slow time) of a single-carrier capture whose start is known within a sample."""
    rng = np.random.default_rng(seed)
    own, scene = seed % 2, walk(rng)
    frames, modes, light = designed(rng, scene, length, kind)
    samples, *_ = capture(rng, scene, frames, own, RATE, snr_db, **rest)
    return scene, own, of_samples(samples, modes, light, RATE)


def found(seed, *args, **rest):
    scene, own, slow = heard(seed, *args, **rest)
    return scene, own, bearing(slow, STATIONS, own, scene.priors, CARRIER)


@pytest.mark.parametrize("kind, wander", [("slp", (0.0, 0.0)), ("slp", (0.01, 0.3)), ("blp", (0.0, 0.0)), ("cbf", (0.0, 0.0))])
def test_both_stations_find_their_own_target_under_sixty_decibels_of_interference(kind, wander):
    for seed in (0, 1):
        scene, own, got = found(seed, kind=kind, wander=wander if seed == 0 else wander[::-1])
        error = got.azimuth.value[0] - scene.truth[own, own]
        assert got.above_threshold and abs(error) < 3.5 * got.azimuth.std[0] and got.azimuth.std[0] < 0.01
        assert got.snr_db == pytest.approx(25.0, abs=2.0) and got.azimuth.residual_test == pytest.approx(1.0, abs=0.2)
        assert got.azimuth.covariance[0, 0] >= got.azimuth.bound[0, 0] >= 0.9 * got.ideal


def test_dopplers_and_relative_phases_are_those_of_the_walk():
    scene, own, got = found(2, 35.0)
    place, velocity = scene.places[own], scene.velocities[own]
    away = [(place - s.origin) / np.linalg.norm(place - s.origin) for s in STATIONS]
    doppler = np.array([-(velocity @ away[n] + velocity @ away[own]) / WAVELENGTH for n in (0, 1)])
    assert np.all(np.abs(got.dopplers.value - doppler) < 4.0 * got.dopplers.std)
    later = got.phases(0.02)
    turned = later.value[1] - got.phases().value[1] - 2 * np.pi * 0.02 * np.diff(got.dopplers.value)[0]
    assert np.exp(1j * turned) == pytest.approx(1.0)
    assert later.value[0] == 0.0 and later.std[0] == pytest.approx(0.0, abs=1e-9) and later.std[1] > got.phases().std[1]
    age = got.valid_for(np.deg2rad(20.0))
    assert 0.0 < age < 0.5 and got.phases(age).std[1] == pytest.approx(np.deg2rad(20.0), rel=1e-3)


def fitted(seed=4, **rest):
    scene, own, slow = heard(seed, **rest)
    targets = [scene.priors[own], scene.priors[1 - own]]
    chains = Chains(np.ones(10, complex), 2 * (np.ones(6, complex),), 0.1 * np.eye(18), 2 * (0.1 * np.eye(10),))
    return Fields(clear(slow), STATIONS, own, targets, WAVELENGTH, Spread(), chains)


def test_slopes_are_those_of_the_fields():
    fields = fitted(kind="blp")
    rng = np.random.default_rng(0)
    point = fields.mean + 0.1 * fields.width * rng.standard_normal(fields.mean.shape)
    gains = rng.standard_normal(4) + 1j * rng.standard_normal(4)

    errors = 0.1 * rng.standard_normal(len(fields.held))
    point[:, fields.turning(0) : fields.turning(0) + 2] = 0.0  # how angles turn is linearised, at none

    def field(point, errors):
        terms, weights = fields.terms(point, errors), fields.units(point) @ gains
        return np.einsum("k,kr,kbm,kc->rbmc", weights, terms.arrival, terms.departure, terms.slow)

    def check(terms, by, upper, lower, step):
        numeric = (upper - lower) / (2 * step)
        told = np.einsum("k,kr,kbm,kc->rbmc", by, terms.arrival, terms.departure, terms.slow)
        assert told == pytest.approx(numeric, rel=1e-5, abs=1e-6 * np.abs(numeric).max())

    terms, columns = fields.terms(point, errors), fields.columns(point, gains)
    for number in range(point.size):
        step = np.zeros(point.size)
        step[number] = 1e-6 * fields.width.ravel()[number]
        step = step.reshape(point.shape)
        check(terms, columns[:, number], field(point + step, errors), field(point - step, errors), step.max())
    terms, columns = fields.by_chains(point, gains)
    for number, step in enumerate(1e-3 * np.eye(len(errors))):
        check(terms, columns[:, number], field(point, step), field(point, -step), 1e-3)


def test_products_are_those_of_explicit_projections():
    """Against columns written out sample statistics by sample statistics, nuisances by least squares."""
    rng = np.random.default_rng(5)
    unit = lambda *shape: rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    turns, places, rx, modes, samples = 4, 2, 2, 2, 20
    cells = turns * places
    x, static = np.tile(unit(places, modes, samples), (turns, 1, 1)), 30.0 * unit(rx, modes)
    repeats = np.tile(100.0 * unit(places, rx, samples), (turns, 1, 1))  # whatever comes with the waveform, no response to it
    wander = np.exp(1j * 0.05 * rng.standard_normal((cells, modes)))
    y = static @ (wander[..., None] * x) + repeats + unit(cells, rx, samples)
    back = np.conj(np.swapaxes(x, 1, 2))
    light = np.eye(2)[:, None, None, :] + 0j  # a transmitter of one antenna for each mode
    slow = SlowTime((y @ back)[:, None], (x @ back)[:, None], np.arange(cells) * 1e-3, np.zeros(1), light, cells * samples, places)
    cleared = clear(slow)
    terms = Terms(unit(3, rx), unit(3, 1, modes), unit(3, cells))
    mixing = unit(3, 4)
    gram, onto = cleared.products(terms, mixing)
    turned = np.exp(1j * cleared.phases[:, cleared.group])[..., None] * x
    real = lambda fields: np.concatenate([fields.real.reshape(len(fields), -1), fields.imag.reshape(len(fields), -1)], axis=1)
    fields = np.einsum("kr,km,kc,cms,kf->fcrs", terms.arrival, terms.departure[:, 0], terms.slow, turned, mixing)
    nuisances = []
    for place, r, sample in np.ndindex(places, rx, samples):
        for factor in (1.0, 1.0j):
            nuisances.append(np.zeros((cells, rx, samples), complex))
            nuisances[-1][place::places, r, sample] = factor
    for c, m in np.ndindex(cells - places, modes):
        nuisances.append(np.zeros((cells, rx, samples), complex))
        nuisances[-1][c] = 1j * np.outer(cleared.static[0][:, m], turned[c, m])
        nuisances[-1][c + places] = -1j * np.outer(cleared.static[0][:, m], turned[c + places, m])
    basis, size, _ = np.linalg.svd(real(np.array(nuisances)).T, full_matrices=False)
    basis = basis[:, size > 1e-6 * size[0]]
    rows = real(fields)
    past = rows - (rows @ basis) @ basis.T
    assert gram == pytest.approx(past @ past.T, rel=1e-6, abs=1e-6 * np.abs(gram).max())
    followed = np.einsum("rm,cms->crs", cleared.static[0], turned)
    assert onto == pytest.approx(past @ real((y - followed)[None])[0], rel=1e-5, abs=1e-5 * np.abs(onto).max())


GRID = Numerology(3.84e6, 2.88e6)


def ofdm_capture(rng, scene, own, snr_db, symbols=1460):
    """Streams of both stations over their blocks' precoders, echoes and room tone by tone in every symbol: (rx, symbol, tone), parts."""
    streams, antennas = 4, 6
    reference = np.exp(0.5j * np.pi * rng.integers(4, size=(280, GRID.used, streams)))
    light = (rng.standard_normal((2, GRID.blocks, antennas, streams)) + 1j * rng.standard_normal((2, GRID.blocks, antennas, streams)))
    index = np.arange(symbols)
    times = (index - 0.5 * (symbols - 1)) * GRID.symbol_time_s
    x = reference[index % 280]
    wave = 2 * np.pi * (CARRIER + GRID.frequencies_hz) / C
    ears = STATIONS[own].receive
    echoes, static = np.zeros((2, len(ears), symbols, GRID.used), complex), 0.0
    for n, s in enumerate(STATIONS):
        sent = np.einsum("ykm,kim->yik", x, light[n][GRID.block_of_tone])  # (symbol, antenna, tone)
        for q, (place, velocity) in enumerate(zip(scene.places, scene.velocities)):
            track = place + times[:, None] * velocity
            out = np.linalg.norm(track[:, None] - s.transmit, axis=-1)[..., None]
            back = np.linalg.norm(track[:, None] - ears, axis=-1)[..., None]
            towards = np.sum(np.exp(-1j * wave * out) / out * sent, axis=1)
            echoes[q] += np.exp(2j * np.pi * rng.uniform()) * np.moveaxis(np.exp(-1j * wave * back) / back * towards[:, None], 1, 0)
        legs = np.linalg.norm(ears[:, None] - s.transmit, axis=-1)[..., None]
        walls = [np.linalg.norm(ears - p, axis=-1)[:, None, None] + np.linalg.norm(s.transmit - p, axis=-1)[:, None] for p in scene.points]
        room = np.exp(-1j * wave * legs) / legs + sum(0.1 * np.exp(2j * np.pi * rng.uniform()) * np.exp(-1j * wave * w) / w for w in walls)
        static = static + np.einsum("rik,yik->ryk", room, sent)
    total = echoes.sum(0)
    total += static * 1e3 * np.sqrt(np.mean(np.abs(total) ** 2) / np.mean(np.abs(static) ** 2))
    noise = np.sum(np.abs(echoes[own]) ** 2) / 10 ** (snr_db / 10)
    total += np.sqrt(noise / 2) * (rng.standard_normal(total.shape) + 1j * rng.standard_normal(total.shape))
    return total, x, light, times


def test_frames_of_many_tones():
    rng = np.random.default_rng(3)
    scene, own = walk(rng), 1
    tones, x, light, times = ofdm_capture(rng, scene, own, 25.0)
    got = bearing(of_tones(tones, x, light, times, GRID, turn=280), STATIONS, own, scene.priors, CARRIER)
    error = got.azimuth.value[0] - scene.truth[own, own]
    assert got.above_threshold and abs(error) < 3.5 * got.azimuth.std[0] and got.azimuth.std[0] < 0.01
    assert got.snr_db + got.loss_db == pytest.approx(25.0, abs=2.0)


def test_samples_of_frames_become_their_tones():
    rng = np.random.default_rng(6)
    reference = np.exp(0.5j * np.pi * rng.integers(4, size=(20, GRID.used, 2)))
    light = rng.standard_normal((2, GRID.blocks, 1, 2)) + 0j
    response = rng.standard_normal((3, 2)) + 1j * rng.standard_normal((3, 2))  # (rx, station)
    sent = np.einsum("ykm,nkm->nyk", reference, light[:, GRID.block_of_tone, 0])
    samples = np.tile(response @ ofdm.modulate(GRID, sent), (1, 75))[:, 7:]
    slow = of_frames(samples, GRID, reference, light, start=-7.0)
    told = slow.received.sum(0) @ np.linalg.inv(slow.sent.sum(0))  # (block, rx, mode)
    assert told == pytest.approx(np.einsum("rn,nbm->brm", response, light[:, :, 0]), abs=1e-4)


def test_noise_alone_and_a_tangential_walk_are_flagged():
    assert not found(6, 0.0)[2].above_threshold
    rng = np.random.default_rng(8)
    scene = walk(rng)
    away = scene.places[0] - STATIONS[0].origin
    scene.velocities[0] = 0.3 * np.array([-away[1], away[0], 0.0]) / np.hypot(*away[:2])
    frames, modes, light = designed(rng, scene, 480, "cbf")
    frames[1], light[1] = 1e-6 * frames[1], 0.0  # no other station's light to see it by
    samples, *_ = capture(rng, scene, frames, 0, RATE, 25.0, neighbour_db=-300.0)
    got = bearing(of_samples(samples, modes[:3], light[..., :3], RATE), STATIONS, 0, scene.priors, CARRIER)
    assert not got.above_threshold


def test_bad_input_is_refused():
    scene, _, slow = heard(0)
    with pytest.raises(InputError, match="stations"):
        bearing(slow, STATIONS[:1], 0, scene.priors, CARRIER)
    with pytest.raises(DeviceError, match="too short"):
        of_samples(np.ones((10, 20_000)), np.ones((2, 400)), np.ones((2, 1, 2)), RATE)
    with pytest.raises(InputError, match="too seldom"):
        of_samples(np.ones((10, 60_000)), np.ones((2, 20_000)), np.ones((2, 1, 2)), RATE)
    with pytest.raises(DeviceError, match="no number"):
        SlowTime(slow.received * np.nan, slow.sent, slow.times, slow.frequencies, slow.light, 1, slow.places)
    with pytest.raises(InputError, match="prior"):
        Prior(np.array([0.0, np.inf, 0.0]))


def judged(seeds, snr_db, wander=(0.0, 0.0)):
    """(error, std, bound) of those above threshold, and how many there were."""
    rows = []
    for seed in seeds:
        scene, own, got = found(seed, snr_db, wander=wander if seed % 2 == 0 else wander[::-1])
        if got.above_threshold:
            rows.append((got.azimuth.value[0] - scene.truth[own, own], got.azimuth.std[0], got.azimuth.bound_std[0]))
    return np.array(rows), len(seeds)


@pytest.mark.slow
@pytest.mark.parametrize("snr_db, wander", [(18.0, (0.0, 0.0)), (25.0, (0.01, 0.3))])
def test_efficiency_and_coverage(snr_db, wander):
    rows, count = judged(range(100, 200), snr_db, wander)
    assert len(rows) > 0.75 * count
    assert np.sqrt(np.mean((rows[:, 0] / rows[:, 2]) ** 2)) < 1.15 + 2.0 * 0.07
    assert np.mean(np.abs(rows[:, 0]) < 1.96 * rows[:, 1]) > 0.95 - 2.5 * 0.022
    assert np.max(np.abs(rows[:, 0] / rows[:, 1])) < 5.0


@pytest.mark.soak
@pytest.mark.parametrize("snr_db, wander", [(15.0, (0.0, 0.0)), (20.0, (0.0, 0.0)), (30.0, (0.01, 0.3))])
def test_efficiency_and_coverage_in_full(snr_db, wander):
    rows, _ = judged(range(1000, 1400), snr_db, wander)
    assert np.sqrt(np.mean((rows[:, 0] / rows[:, 2]) ** 2)) < 1.15
    assert 0.93 <= np.mean(np.abs(rows[:, 0]) < 1.96 * rows[:, 1]) <= 0.97
