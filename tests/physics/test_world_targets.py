"""Several targets walk in one world: each has its own draws, its own echo, its own name."""

from __future__ import annotations

import numpy as np
import pytest
from sites import CARRIER, QUIET, WAVELENGTH, at_port, error_db, pair, running, trial, waveform

from hil.clock import Instant, VirtualClock
from hil.units import SPEED_OF_LIGHT as C
from sim_backend.world import build

WALKERS = [
    {"name": "west", "position_m": [4.0, -3.0, 1.0], "position_std_m": 0.5, "speed_m_s": 1.0, "area_m2": 2.0},
    {"name": "east", "position_m": [7.0, 2.0, 1.5], "position_std_m": 0.5, "speed_m_s": 0.7},
]

GOLDEN = ([10.347725609073906, -4.95435865491881, 1.0], [0.6720228312577082, -0.740530427645194, 0.0])


def test_every_echo_has_its_delay_gain_and_doppler():
    world = build(pair(targets=WALKERS), VirtualClock())
    assert world.truth.targets == ("west", "east") and world.truth.target() is None
    at, step = Instant(2, 0.25), 1e-3
    rays, later = world.truth.rays("a", "b", at), world.truth.rays("a", "b", at.after(step))
    sent, heard = world.truth.elements("a", "transmit")[1], world.truth.elements("b", "receive")[0]
    assert rays.delay.shape[0] == 3  # line of sight, and the two
    for ray, (walker, area) in enumerate(zip(WALKERS, (2.0, 1.0)), start=1):
        place, velocity = world.truth.target(at, walker["name"])
        first, second = place - sent, place - heard
        d1, d2 = np.linalg.norm(first), np.linalg.norm(second)
        assert rays.delay[ray, 0, 1] == pytest.approx((d1 + d2) / C, rel=1e-12)
        assert rays.gain[ray, 0, 1] == pytest.approx(np.sqrt(area * WAVELENGTH**2 / (4 * np.pi) ** 3) / d1 / d2)
        nearing = -velocity @ (first / d1 + second / d2)
        moved = (later.delay[ray, 0, 1] - rays.delay[ray, 0, 1]) / step
        assert -CARRIER * moved == pytest.approx(CARRIER / C * nearing, abs=0.02)  # Doppler, hertz


def test_the_fast_medium_carries_both():
    rng = np.random.default_rng(1)
    errors = {}
    for count in (0, 2):
        world = running(pair({"receiver": QUIET}, targets=WALKERS[:count]), {"a": waveform(rng, 2, 600)})
        world.radio("b").capture(4096, 1.0)
        (tuning, first, _), *_ = world.truth.windows("b")[-1:]
        ticks = np.sort(rng.choice(np.arange(first, first + 4096), 12, replace=False))
        exact = world.truth.heard(tuning, ticks)
        errors[count] = error_db(at_port(world, tuning, ticks), exact)
    assert errors[0] < -95.0 and errors[2] < -95.0


def test_each_has_draws_of_its_own():
    both = build(pair(targets=WALKERS), VirtualClock()).truth
    for walker in WALKERS:  # nobody's walk depends on who else is there
        alone = build(pair(targets=[walker]), VirtualClock()).truth
        for mine, theirs in zip(alone.target(Instant(1, 0.5), walker["name"]), both.target(Instant(1, 0.5), walker["name"])):
            assert np.array_equal(mine, theirs)
    same = [{**WALKERS[0], "name": name} for name in ("p", "q")]
    twins = build(pair(targets=same), VirtualClock()).truth
    assert np.linalg.norm(twins.target(name="p")[0] - twins.target(name="q")[0]) > 0.1


def test_one_target_walks_where_it_always_did():
    """Seeds of benches with a single target draw what they drew: the golden numbers of seed 1."""
    place, velocity = build(trial(1), VirtualClock()).truth.target(Instant(3, 0.5))
    assert place == pytest.approx(GOLDEN[0], abs=1e-9) and velocity == pytest.approx(GOLDEN[1], abs=1e-9)


def test_one_of_them_may_vanish():
    gone = {"what": "target-vanishes", "where": "room", "at_s": 1.0, "for_s": 1.0, "target": "east"}
    world = build(pair({"fault": [gone]}, targets=WALKERS), VirtualClock())
    before, while_, after = (np.abs(world.truth.rays("a", "b", Instant(t, 0.5)).gain[:, 0, 0]) for t in (0, 1, 2))
    assert while_[2] == 0.0 and np.all(while_[:2] > 0.0) and np.all(before > 0.0) and np.all(after > 0.0)
    with pytest.raises(ValueError, match=r"fault\.target: found north; allowed west \| east"):
        build(pair({"fault": [gone | {"target": "north"}]}, targets=WALKERS), VirtualClock())


def test_one_written_place_cannot_be_that_of_two():
    with pytest.raises(ValueError, match=r"target\.position_m: .* allowed with one target, here are 2"):
        build(pair({"target": {"position_m": [5.0, 0.0, 1.0]}}, targets=WALKERS), VirtualClock())
