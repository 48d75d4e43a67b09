"""What moves between two looks: how much of it there is, from where it comes, and that a path fit lives with it."""

import numpy as np
import pytest
from path_scene import TONES, WAVELENGTH, Room, measure

from hil import uncertainty
from hil.errors import InputError
from hil.estimate import paths, stillness, visits
from hil.estimate.sources import DelayBasis
from hil.estimate.window import delay_filter
from hil.waveform import Numerology

RAIL = 4 * WAVELENGTH
PLAN = visits.plan((-RAIL, RAIL), WAVELENGTH / 2, 4, 8, WAVELENGTH)
GRID = Numerology(15.36e6, 11.52e6)


def noise(rng, shape, variance):
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) * np.sqrt(variance / 2.0)


def echo(layouts, cosines, delay, amplitude, phases):
    """(visit, antenna, tone) of a walker: a plane wave of its own direction and phase in every visit."""
    steering = np.exp(2j * np.pi / WAVELENGTH * layouts * np.asarray(cosines)[:, None])
    return amplitude * np.exp(1j * phases)[:, None, None] * steering[..., None] * np.exp(-2j * np.pi * TONES * delay)


def walked(rng, room, layouts=PLAN, snr_db=29.0, walker_db=-36.0, position_std=20e-6):
    """Two looks per visit at a room with a walker in it, pooled: (channel, variance, moving, apart)."""
    miss = position_std * rng.standard_normal(layouts.shape) * (np.arange(layouts.shape[1]) > 0)
    clean = room.channel(layouts + miss)
    power = np.mean(np.abs(clean) ** 2)
    variance = power * 10 ** (-snr_db / 10)
    course = rng.uniform(-0.8, 0.8) + 0.05 * np.sin(np.arange(len(layouts)))
    delay = rng.uniform(20e-9, 100e-9)
    arrival = np.linalg.norm(room.user - room.origin) / 299_792_458.0
    amplitude = np.sqrt(power * 10 ** (walker_db / 10))
    phases, lags = rng.uniform(0, 2 * np.pi, len(layouts)), rng.uniform(-300e-9, 300e-9, len(layouts))
    turns = np.exp(1j * phases)[:, None, None] * np.exp(-2j * np.pi * TONES * lags[:, None, None])
    looks = []
    for _ in range(2):
        walker = echo(layouts, course, arrival + delay, amplitude, rng.uniform(0, 2 * np.pi, len(layouts)))
        looks.append((clean + walker) * turns + noise(rng, clean.shape, variance))
    each = [stillness.pool(np.array(pair), np.full((2, 4), variance), TONES) for pair in zip(*looks)]
    values, apart = (np.array([getattr(look, name) for look in each]) for name in ("mean", "apart"))
    return values, np.array([look.variance for look in each]), np.mean([look.left * look.moving for look in each]), apart


def test_two_looks_tell_how_much_moves_and_a_still_room_moves_nothing():
    rng = np.random.default_rng(1)
    still = Room(rng).channel(PLAN[0])
    power = np.mean(np.abs(still) ** 2)
    found, quiet = [], []
    for _ in range(200):
        both = np.array([still, still * np.exp(1.3j)])
        grain = noise(rng, both.shape, 1e-3 * power)
        walkers = np.array([echo(PLAN[:1], [0.4], 60e-9, np.sqrt(1e-3 * power), rng.uniform(0, 2 * np.pi, 1))[0] for _ in range(2)])
        looks = stillness.pool(both + grain, np.full((2, 4), 1e-3 * power), TONES)
        quiet.append(looks.moving)
        assert np.mean(np.abs(looks.apart) ** 2) == pytest.approx(np.mean(looks.variance), rel=0.15)
        found.append(stillness.pool(both + grain + walkers, np.full((2, 4), 1e-3 * power), TONES).moving)
    assert np.mean(found) == pytest.approx(1e-3 * power, rel=0.2)
    assert np.mean(quiet) < 0.05e-3 * power
    assert stillness.pool(both[:1], np.full((1, 4), 1.0), TONES).apart is None


def test_no_phase_of_an_echo_leaves_what_may_be_off_and_turned_echoes_leave_half():
    m, steady = 0.3, 1.0 / (1.0 + 1.6448536 * np.sqrt(stillness.FADING))  # of many visits, and no fading between then and now
    for turned in np.linspace(0.0, 2.0 * np.pi, 25):
        first, second = m, m * np.exp(1j * turned)
        now = abs(first - second) ** 2 / 2.0  # what `pool` calls moving
        reach = stillness.off(steady * m**2, 10**12, now)
        later = m * np.exp(1j * np.linspace(0.0, 2.0 * np.pi, 361))
        furthest = np.abs(later - (first + second) / 2.0).max()
        assert furthest <= reach + 1e-9
        assert furthest >= reach - 1e-3 * m  # and nothing smaller would hold
    assert stillness.off(steady * m**2, 10**12, 2.0 * m**2) == pytest.approx(m, rel=2e-3)
    assert stillness.off(m**2, 8) > stillness.off(m**2, 10**12)  # a mean of few visits may be low
    assert stillness.off(0.0, 8, 2.0 * m**2) == pytest.approx(m)  # what is seen now counts, whatever was seen before


def test_looks_of_other_shapes_are_refused():
    with pytest.raises(InputError):
        stillness.pool(np.zeros((2, 4, 384), complex), np.ones((3, 4)), TONES)


def test_differences_of_looks_tell_where_the_walker_is():
    rng = np.random.default_rng(2)
    basis = DelayBasis.of_window(TONES, -0.15e-6, 0.45e-6)
    start = stillness.Moving.anywhere(1.0, np.linspace(-1, 1, 25), np.linspace(-30e-9, 200e-9, 6))
    waves = start.waves(PLAN, basis.atoms(start.delays)[0], WAVELENGTH)
    truth = echo(PLAN, np.full(8, start.cosines[50]), start.delays[50], 1.0, rng.uniform(0, 2 * np.pi, 8))
    heard = basis.project(truth + noise(rng, truth.shape, 1.0)).reshape(8, -1)
    found = stillness.whereabouts(heard, np.ones(heard.shape), waves, start)
    assert np.argmax(found.powers) == 50
    assert found.powers[50] == pytest.approx(1.0, rel=0.5) and found.power - found.powers[50] < 0.5


@pytest.mark.parametrize("seed", [3])
def test_a_fit_beside_a_walker_is_honest_and_better_for_knowing_where_it_walks(seed):
    rng = np.random.default_rng(seed)
    room = Room(rng)
    values, variance, moving, apart = walked(rng, room)
    fit = {
        name: paths.fit(PLAN, values, variance, TONES, wavelength=WAVELENGTH, position_std=20e-6, **told)
        for name, told in {
            "ignored": {"settings": paths.Settings(most_paths=7)}, "anywhere": {"moving": moving},
            "seen": {"moving": moving, "apart": apart},
        }.items()
    }
    assert fit["seen"].above_threshold and 0.75 < fit["seen"].residual_test < 1.15
    assert fit["ignored"].residual_test > 1.3
    assert fit["anywhere"].residual_test < 1.2
    got = {name: judged(one, room, np.random.default_rng(7)) for name, one in fit.items()}
    assert got["seen"][0] < -42.0 and got["seen"][0] - got["seen"][1] < 3.0
    assert got["seen"][0] < min(got["ignored"][0], got["anywhere"][0]) + 1.0


def test_later_visits_without_an_anchor_sharpen_the_prediction_near_them():
    rng = np.random.default_rng(5)
    room = Room(rng)
    channel, variance = measure(room, PLAN, 25.0, rng, position_std=20e-6)
    told = {"wavelength": WAVELENGTH, "position_std": 20e-6}
    before = paths.fit(PLAN, channel, variance, TONES, **told)
    places = np.array([[-3.4, -1.3, 0.9, 2.6], [-2.2, -0.4, 1.7, 3.3]]) * WAVELENGTH
    later, _ = measure(room, places, 25.0, rng, position_std=20e-6)
    later = later * np.exp(1j * rng.uniform(0, 6, 2))[:, None, None] * np.exp(-2j * np.pi * TONES * np.array([[[70e-9]], [[-130e-9]]]))
    more = paths.More(places, later, np.full(2, variance[0]))
    after = paths.fit(PLAN, channel, variance, TONES, **told, more=more, before=before)
    assert after.above_threshold and after.phases.size == 10 and 0.8 < after.residual_test < 1.2
    near = (places + 0.1 * WAVELENGTH).ravel()
    smaller = after.predict(near, TONES[::32])[1].mean() / before.predict(near, TONES[::32])[1].mean()
    assert 0.3 < smaller < 0.92
    assert after.order == before.order and after.channel(near, TONES[::32]) == pytest.approx(
        before.channel(near, TONES[::32]), abs=0.05 * np.sqrt(before.level)
    )


def test_smoothed_channels_bring_the_noise_of_a_tone_before_smoothing():
    rng = np.random.default_rng(6)
    room = Room(rng)
    sieve = delay_filter(GRID, 1e-3)
    channel, variance = measure(room, PLAN, 30.0, rng, jumps=0.0)
    arrival = np.linalg.norm(room.user - room.origin) / 299_792_458.0
    back = np.exp(2j * np.pi * TONES * arrival)
    places = PLAN[2:3] + 0.11 * WAVELENGTH
    later, _ = measure(room, places, 30.0, rng)
    smooth = sieve(later * back) / back
    per_tone = float(np.mean(sieve.spread())) * variance[0]
    more = paths.More(places, smooth, np.array([per_tone * TONES.size / sieve.rank]))
    fit = paths.fit(PLAN, channel, variance, TONES, wavelength=WAVELENGTH, more=more)
    assert per_tone < 0.06 * variance[0] and more.variance[0] == pytest.approx(variance[0])
    assert fit.above_threshold and fit.left_out.passed and 0.8 < fit.residual_test < 1.2


def judged(fit, room, rng, placements=12):
    """(error, predicted error) in dB and the share of 95 % sets of four elements that hold the truth, but for one phase and delay in all."""
    blocks, elements = TONES[5::96], np.arange(4)
    layouts = np.sort(rng.uniform(-RAIL, RAIL, (placements, 4)))
    truth = room.channel(layouts)
    value = np.array([fit.channel(layout, TONES, elements) for layout in layouts])
    phase, delay = visits.delay_between(value, truth, TONES)
    away = (truth * np.exp(-1j * phase + 2j * np.pi * delay * TONES) - value)[..., 5::96]
    spread = np.mean([fit.predict(layout, blocks, elements)[1] for layout in layouts])
    radii = np.array([uncertainty.real_radius(fit.error_covariance(layout, blocks, elements)) for layout in layouts])
    power = np.mean(np.abs(truth) ** 2)
    return *(10 * np.log10(np.array([np.mean(np.abs(away) ** 2), spread]) / power)), float(np.mean(np.linalg.norm(away, axis=1) <= radii))


@pytest.mark.slow
def test_coverage_beside_a_walker_over_many_rooms():
    results = []
    for seed in range(16):
        rng = np.random.default_rng(2000 + seed)
        room = Room(rng)
        values, variance, moving, apart = walked(rng, room)
        fit = paths.fit(PLAN, values, variance, TONES, wavelength=WAVELENGTH, position_std=20e-6, moving=moving, apart=apart)
        results.append((*judged(fit, room, rng), fit.residual_test, fit.above_threshold))
    error, predicted, held, residual, trusted = np.array(results, dtype=float).T
    assert np.median(error) < -46.0
    assert 0.35 < np.mean(10 ** ((error - predicted) / 10)) < 1.5  # on the careful side: the walker walks on
    assert np.mean(held) > 0.88 and np.mean(trusted) > 0.9
    assert np.median(residual) == pytest.approx(0.93, abs=0.1)
