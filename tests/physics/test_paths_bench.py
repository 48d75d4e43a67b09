"""The path fit on the emulated room's own channels: another program's geometry, signs and amplitudes, a walking target included."""

import numpy as np
import pytest
from sites import WAVELENGTH, trial

from hil import motion
from hil.clock import VirtualClock
from hil.estimate import paths, visits
from hil.estimate.chains import ChainGains
from hil.waveform import Numerology
from sim_backend.world import build

GRID = Numerology(15.36e6, 11.52e6)
TRAVEL = (-4 * WAVELENGTH, 4 * WAVELENGTH)


@pytest.mark.parametrize("seed", [1, 2])
def test_channels_of_the_emulated_room_are_predicted_where_nothing_has_been(seed):
    world = build(trial(seed), VirtualClock())
    rail = motion.Rail(
        "rail1", tuple(motion.Carriage(axis) for axis in "abcd"), world.stage("rail1").axes, WAVELENGTH / 2, 0.1, 0.5, TRAVEL
    )
    rng = np.random.default_rng(seed)

    def go(layout):
        start = rail.positions(world.stage("rail1").where())
        moved = motion.plan(rail, start, layout)
        return rail.positions(world.stage("rail1").move(moved.move, moved.duration + 10.0))

    def channel(user):
        return world.truth.channel("ap1", user, GRID.frequencies_hz)[:, 0].T  # (antenna, tone)

    def echo(user):
        return float(np.mean(np.abs(world.truth.rays("ap1", user).gain[-1]) ** 2))  # the target's path is the last

    layouts = visits.plan(TRAVEL, WAVELENGTH / 2, 4, 8, WAVELENGTH)
    users = ("u1", "u2")
    reached, heard, walker = zip(*[(go(layout), {u: channel(u) for u in users}, {u: echo(u) for u in users}) for layout in layouts])
    goal = np.array([-3.2, -0.4, 1.3, 3.7]) * WAVELENGTH
    there = go(goal)
    for user in users:
        values = np.array([visit[user] for visit in heard])
        variance = 1e-3 * np.mean(np.abs(values) ** 2)
        values = values * np.exp(2j * np.pi * rng.uniform(size=8))[:, None, None]
        noise = (rng.standard_normal(values.shape) + 1j * rng.standard_normal(values.shape)) * np.sqrt(variance / 2)
        fit = paths.fit(
            np.array(reached), values + noise, variance, GRID.frequencies_hz,
            wavelength=WAVELENGTH, position_std=20e-6, chains=ChainGains.known(np.ones(4)),
            moving=np.array([visit[user] for visit in walker]),
        )
        assert fit.above_threshold, fit.left_out
        ray = world.truth.rays("ap1", user)  # the room at the goal, without the walker
        truth = np.einsum("pn,pnk->nk", ray.gain[:-1, 0], np.exp(-2j * np.pi * (3.5e9 + GRID.frequencies_hz) * ray.delay[:-1, 0, :, None]))
        predicted = fit.channel(there, GRID.frequencies_hz)
        spread = fit.predict(there, GRID.frequencies_hz[::24])[1]
        turn = np.vdot(predicted, truth)
        error = np.mean(np.abs(truth - predicted * turn / abs(turn)) ** 2) / np.mean(np.abs(truth) ** 2)
        assert 10 * np.log10(error) < -18.0  # the walker, 20 to 25 dB below, is no part of the room
        assert np.mean(np.abs(truth - predicted * turn / abs(turn)) ** 2) < 5.0 * spread.mean()
