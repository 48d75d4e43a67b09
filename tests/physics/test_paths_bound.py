"""The path fit against its prediction bound: a new room, a new exploration and an unvisited placement every time."""

import numpy as np
import pytest

from benchmarks.estimator_cases import paths as rooms
from hil.estimate import paths, visits
from hil.estimate.chains import ChainGains


def judged(case, trials, seed):
    """(median error over bound in dB, share of 95 % sets that hold the truth, share trusted, median of the textbook's error in dB)."""
    rng = np.random.default_rng(seed)
    made = [rooms.one(case, rng) for _ in range(trials)]
    good = [trial for trial in made if trial.trusted]
    decibels = [10 * np.log10(np.median([getattr(trial, name) for trial in good])) for name in ("error", "textbook")]
    return decibels[0], np.mean([trial.held for trial in good]), len(good) / trials, decibels[1]


def test_prediction_is_at_its_bound_and_its_sets_hold():
    error, held, trusted, textbook = judged(rooms.Case(6, 20.0, 1e-4), 30, 1)
    assert -2.0 < error < 2.0 and held > 0.85 and trusted > 0.85
    assert textbook > error + 10.0


def test_the_bound_falls_with_the_noise_and_rises_with_unknown_chains():
    rng = np.random.default_rng(2)
    room = rooms.Room.drawn(rng, False)
    layouts = visits.plan((-rooms.RAIL, rooms.RAIL), rooms.WAVELENGTH / 2, 4, 6, rooms.WAVELENGTH)
    places = np.array([-3.1, -0.7, 0.9, 2.2]) * rooms.WAVELENGTH
    bound = lambda snr_db, std, chained=False: rooms.bound(rooms.Case(6, snr_db, std, chained), room, layouts, places, 10 ** (-snr_db / 10))
    assert bound(30, 1e-7) == pytest.approx(0.1 * bound(20, 1e-7), rel=0.02)
    assert 1.3 * bound(30, 1e-7) < bound(30, 3e-4) and 1.2 * bound(30, 1e-4) < bound(30, 1e-4, True)


def test_an_order_that_hangs_on_the_false_alarm_rate_is_not_trusted_where_nothing_carries_the_rest():
    rng = np.random.default_rng(8)
    room = rooms.Room.drawn(rng, False)
    layouts = visits.plan((-rooms.RAIL, rooms.RAIL), rooms.WAVELENGTH / 2, 4, 6, rooms.WAVELENGTH)
    channel = rooms.measured(rooms.Case(6, 20.0, 1e-4), room, layouts, 1e-2, rng)
    told = {"wavelength": rooms.WAVELENGTH, "position_std": 1e-4, "chains": ChainGains.known(np.ones(4))}
    fit = paths.fit(layouts, channel, 1e-2, rooms.TONES, **told)
    wary = paths.fit(layouts, channel, 1e-2, rooms.TONES, **told, settings=paths.Settings(false_alarm=1 - 1e-6, unresolved=False))
    assert fit.above_threshold and fit.orders[0] == fit.orders[1]
    assert fit.order <= wary.orders[0] < wary.orders[1] == wary.order and not wary.above_threshold
    assert wary.predict([0.1], [0.0])[1] == pytest.approx(wary.level)


@pytest.mark.soak
@pytest.mark.parametrize("position_std", [1e-4, 3e-4])
def test_bound_and_coverage_over_two_thousand_layouts(position_std):
    rows = rooms.rows(rooms.Case(6, 20.0, position_std), 2000, np.random.default_rng(4), judged=True)
    assert all(row.ok for row in rows), rows
