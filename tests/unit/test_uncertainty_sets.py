"""Sets made from estimates: the worked examples, joint confidence by sampling, age, and refusal of what is stale."""

from __future__ import annotations

import numpy as np
import pytest

from hil import uncertainty as sets
from hil.clock import Instant
from hil.errors import HilError, InputError
from hil.estimate.phase import Phase
from hil.estimate.tracking import CLASSES, ClockNoise, Reading, Track

FC = 3.5e9
TCXO = CLASSES["tcxo"]


def track(noise=TCXO, frequency_std=0.6):
    """Of one two-way exchange, nothing before."""
    covariance = np.diag([(0.085e-9) ** 2, (frequency_std / FC) ** 2])
    return Track(Instant(5, 0.0), np.array([120e-9, -1e-6]), covariance, noise)


def test_channel_balls_of_the_worked_example():
    """4 elements, 8 symbols, 10 dB: plain and windowed; kappa is over ||h|| = 2."""
    channel = np.exp(1j * np.arange(4.0))
    plain = sets.csi_ball(channel, 0.0125 * np.eye(4))
    assert plain.size() == pytest.approx(0.311, abs=5e-4) and plain.size() / np.linalg.norm(channel) == pytest.approx(0.156, abs=5e-4)
    assert sets.csi_ball(channel, 10**-3.31 * np.eye(4)).size() == pytest.approx(0.062, abs=5e-4)
    assert sets.csi_ball(channel, np.eye(4), joint=8).size() == pytest.approx(3.2635, abs=1e-3)
    assert plain.valid_until == np.inf and plain.size(1e4) == plain.size()


def test_timing_box_of_the_worked_example():
    """One two-way reading through a TCXO over 100 ms: 0.093 ns; three pairs +-0.22 ns, and 0.02 of calibration on top."""
    one = track()
    assert np.sqrt(one.offset_variance(0.1)) == pytest.approx(0.093e-9, rel=4e-3)
    found = sets.box(np.zeros(3), lambda age: np.full(3, one.offset_variance(age)), hard=0.02e-9)
    np.testing.assert_allclose(found.size(0.1), 0.2221e-9 + 0.02e-9, rtol=4e-3)
    np.testing.assert_allclose(found.high(0.1) - found.low(0.1), 2 * found.size(0.1))


def test_carrier_box_of_the_worked_example():
    """0.784 Hz of the frame, 1.24 Hz of the phase noise's floor, 0.61 Hz of the walk over 0.1 s; four nodes +-4.0 Hz."""
    one = track(frequency_std=np.hypot(0.784, 1.24))
    found = sets.box([100.0, -50.0, 0.0, 7.0], lambda age: FC**2 * np.full(4, one.rate_variance(age)))
    np.testing.assert_allclose(found.size(0.1), 4.0, atol=0.06)
    assert found.centre[0] - found.low(0.1)[0] == pytest.approx(found.size(0.1)[0])


def test_amplifier_disc_of_the_worked_example():
    assert sets.disc(-0.03 + 0.01j, 3.05e-4**2).size() == pytest.approx(5.28e-4, rel=2e-3)
    assert sets.disc(0.0, 3.05e-4**2, joint=2).size() == pytest.approx(3.05e-4 * 1.9173, rel=1e-4)
    ruled = sets.disc(-0.03, 3.05e-4**2, hard=0.01)
    assert ruled.size() == pytest.approx(0.01 + 5.28e-4, rel=1e-3)  # added: by squares it would be 0.01001
    assert ruled.holds(-0.0405) and not ruled.holds(-0.0406)


def test_target_ellipse_of_the_worked_example():
    found = sets.ellipse([1.0, 2.0], np.diag([4.0, 0.25]))
    assert found.radius == pytest.approx(2.4477, abs=5e-5)
    np.testing.assert_allclose(np.abs(found.axes), [[2 * 2.4477, 0.0], [0.0, 0.5 * 2.4477]], atol=1e-4)
    assert found.holds([5.8, 2.0]) and not found.holds([6.0, 2.0]) and not found.holds([1.0, 3.3])


def test_a_coherent_ball_ages_with_its_phase():
    """||h|| z sqrt(var) on top, and the age where it has grown by half is where that is half of what it began with."""
    told = Phase(0.0, 1e-6, 0.0, 0.0, 0.4**2, FC)
    channel = 2.0 * np.ones(1)
    ball = sets.csi_ball(channel, 1e-4 * np.eye(1), phase_variance=told.variance_at)
    still = 1e-2 * sets.disc_factor()
    assert ball.size(1e-3) == pytest.approx(still + 2.0 * 1.959964 * np.sqrt(told.variance_at(1e-3)), rel=1e-6)
    until = ball.valid_until
    assert ball.reach.at(until) == pytest.approx(1.5 * ball.size(0.0), rel=1e-6)
    ball.size(0.99 * until)
    with pytest.raises(HilError) as caught:
        ball.size(1.01 * until)
    assert caught.value.id == "set-stale" and "measure again" in caught.value.fix
    longer = sets.csi_ball(channel, 1e-4 * np.eye(1), phase_variance=told.variance_at, growth=3.0)
    assert longer.valid_until > 2.0 * until
    with pytest.raises(InputError):
        ball.size(-1.0)


def test_a_box_is_refused_when_its_first_side_has_grown():
    slow, fast = track(CLASSES["ocxo"]), track(CLASSES["crystal"])

    def variances(*clocks):
        return lambda age: np.array([clock.offset_variance(age) for clock in clocks])

    alone, both = sets.box([0.0], variances(fast)), sets.box([0.0, 0.0], variances(slow, fast))
    assert both.valid_until == pytest.approx(alone.valid_until, rel=1e-6)
    assert sets.box([0.0], variances(slow)).valid_until > 10.0 * alone.valid_until
    hard = sets.box([0.0], variances(fast), hard=1e-9)  # a hard part does not grow, and leaves more room for what does
    assert hard.valid_until > 2.0 * alone.valid_until


def test_radius_where_no_antenna_has_been():
    """Improper covariance: the quantile of its eigenvalues; plus the place's own error times the slope."""
    rng = np.random.default_rng(1)
    root = rng.standard_normal((8, 3)) * [1e-2, 5e-3, 1e-3]
    covariance, slope = root @ root.T, 1j * 73.0 * np.ones(4)
    still = sets.csi_ball(np.ones(4), covariance)
    errors = rng.standard_normal((200_000, 3)) @ root.T
    assert np.mean(np.linalg.norm(errors, axis=1) <= still.size()) == pytest.approx(0.95, abs=0.006)
    ball = sets.unvisited_ball(np.ones(4), covariance, slope, 1e-4)
    assert ball.size() == pytest.approx(still.size() + 1e-4 * 73.0 * 2.0)


@pytest.mark.parametrize("dependent", [False, True])
def test_boxes_hold_together(dependent):
    rng = np.random.default_rng(2)
    found = sets.box(np.zeros(4), lambda age: np.array([1.0, 4.0, 9.0, 16.0]), dependent=dependent)
    common = rng.standard_normal((100_000, 1)) if dependent else 0.0
    off = (np.sqrt(0.5) * (common + rng.standard_normal((100_000, 4))) if dependent else rng.standard_normal((100_000, 4))) * [1.0, 2.0, 3.0, 4.0]
    inside = np.mean(np.all(np.abs(off) <= found.size(), axis=1))
    assert inside >= 0.95 if dependent else abs(inside - 0.95) < 0.004
    assert found.holds(found.size() * 0.999) and not found.holds([0.0, 0.0, 0.0, found.size()[3] * 1.001])


def test_a_set_from_a_track_holds_at_the_age_of_the_push():
    """Monte Carlo of everything between: reading, drift, and the box asked for at the end of the push."""
    rng, noise, inside = np.random.default_rng(3), ClockNoise(1e-20, 3e-19), 0
    start = np.array([50e-9, 1e-6])
    covariance = np.diag([(0.085e-9) ** 2, (0.6 / FC) ** 2])
    step = np.linalg.cholesky(noise.grown(0.1))
    trials = 800
    for _ in range(trials):
        seen = start + np.sqrt(np.diag(covariance)) * rng.standard_normal(2)
        one = Track.begin(Reading(Instant(5, 0.0), *seen, covariance), noise)
        truth = np.array([start[0] + 0.1 * start[1], start[1]]) + step @ rng.standard_normal(2)
        found = sets.box(one.after(0.1)[0][:1], lambda age, one=one: [one.offset_variance(age)], growth=3.0)
        inside += found.holds(truth[:1], 0.1)
    assert inside / trials == pytest.approx(0.95, abs=0.022)
