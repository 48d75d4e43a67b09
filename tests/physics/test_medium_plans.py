"""Bundles of moving rays, phase noise and the polynomials of oscillators: against the reference, and cut in any way."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from sites import CARRIER, RATE, Still, airing, configure, error_db, exact, radio, rail, running, site, tabled, trial, tuning, waveform

from hil.clock import Instant, VirtualClock
from hil.device import Move
from sim_backend import bundle, interpolator, seeds
from sim_backend.kernels import BLOCK, TAPS
from sim_backend.oscillator import Oscillator, draw
from sim_backend.paths import Echo, Rays, Scatterers, Sight, Wall, trace
from sim_backend.window import Window
from sim_backend.world import build

WAVELENGTH = 299792458.0 / CARRIER


def array(rng: np.random.Generator, count: int, centre, aperture: float) -> np.ndarray:
    """Elements on a line of any direction."""
    way = rng.standard_normal(3)
    return np.array(centre) + np.sort(rng.uniform(-0.5, 0.5, count))[:, None] * aperture * way / np.linalg.norm(way)


class Sliding(Still):
    """A scene whose transmit elements each go their own way at constant speed."""

    def __init__(self, paths, transmit, receive, velocity) -> None:
        super().__init__(paths, transmit, receive)
        self._velocity = velocity

    def moves_within(self, transmitter, receiver, begin, end) -> bool:
        return True

    def _rays(self, paths, at) -> Rays:
        seconds = np.array([instant.seconds for instant in at])[:, None, None]
        return trace(paths, self._transmit + seconds * self._velocity, np.tile(self._receive, (len(at), 1, 1)), WAVELENGTH)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("aperture", [0.13, 0.7])
def test_a_moving_target_is_right_to_ninety_decibels_of_its_own_path(seed, aperture):
    rng = np.random.default_rng(seed)
    start, velocity = np.array([9.0, -4.0, 1.0]) + rng.uniform(-3, 3, 3), rng.uniform(-8, 8, 3)

    def track(at):
        return Echo(np.array([start + velocity * t.seconds for t in at]))

    scene = Still([], array(rng, 4, (0, 0, 2), aperture), array(rng, 4, (2, 1, 2), aperture), track)
    sent = airing(waveform(rng, 4, 700), Oscillator(3e-6), start=-7000)
    tuned, ticks = tuning(Oscillator(-3e-6)), np.sort(rng.integers(0, 400000, 24))
    assert error_db(tabled(scene, tuned, [sent], ticks, 4), exact(scene, tuned, [sent], ticks)) < -90.0


@pytest.mark.parametrize(("seed", "aperture", "bar"), [(0, 0.13, -90.0), (1, 0.13, -90.0), (2, 0.8, -80.0), (3, 0.8, -80.0), (4, 6.0, -80.0)])
def test_elements_in_motion(seed, aperture, bar):
    """Six metres apart they go one by one, and cost what they cost."""
    rng = np.random.default_rng(seed)
    paths = [Sight(), Scatterers(rng.uniform((3, -6, 0), (12, 6, 3), (3, 3)), 0.5 * np.exp(1j * np.arange(3)))]
    transmit, receive = array(rng, 4, (0, 0, 2), aperture), array(rng, 3, (14, 1, 1.5), 0.2)
    scene = Sliding(paths, transmit, receive, rng.uniform(-0.3, 0.3, (4, 3)))
    sent = airing(waveform(rng, 4, 700), Oscillator(3e-6), start=-7000)
    tuned, ticks = tuning(Oscillator(-3e-6)), np.sort(rng.integers(0, 400000, 24))
    assert error_db(tabled(scene, tuned, [sent], ticks, 3), exact(scene, tuned, [sent], ticks)) < bar


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 30))
def test_twenty_scenes_of_elements_in_motion(seed):
    test_elements_in_motion(seed, 0.13 if seed % 2 else 0.8, -80.0)


def planned(paths, transmit, receive) -> list[tuple[int, ...]]:
    delay, gain = trace(paths, np.array(transmit, float), np.array(receive, float), WAVELENGTH)
    out = np.empty((delay.size, 6), np.int64)
    return [tuple(int(v) for v in row) for row in out[: bundle.plan(delay, gain.astype(complex), CARRIER, RATE, out)]]


def test_a_path_by_way_of_a_point_is_one_bundle_and_a_line_of_sight_one_for_each_antenna():
    transmit, receive = [(0, 0.04 * e, 2) for e in range(4)], [(5, 0.04 * r, 2) for r in range(3)]
    assert planned([Echo(np.array([3.0, 4.0, 1.0]))], transmit, receive) == [(0, 0, 4, 0, 3, 1)]
    assert planned([Sight()], transmit, receive) == [(0, 0, 4, a, a + 1, 1) for a in range(3)]
    far = [(0, 6.0 * e, 2) for e in range(2)]
    assert planned([Sight()], far, receive[:1]) == [(0, e, e + 1, 0, 1, 0) for e in range(2)]
    assert planned([Wall(np.array([0, 9.0, 0]), np.array([0, 1.0, 0]), 0.0)], transmit, receive) == []


def test_derivatives_of_the_interpolator_are_those_of_its_weights():
    zeroth, first, second = interpolator.filters().astype(float)
    step = 64
    slope = (zeroth[2 * step :] - zeroth[: -2 * step]) / (2 * step / 2048)
    assert np.abs(slope - first[step:-step]).max() < 2e-3
    taps, mu = np.arange(-TAPS // 2 + 1, TAPS // 2 + 1), 0.3
    row = round((mu + 1 / 8) * 2048)
    mu = row / 2048 - 1 / 8
    for f in (-0.19, 0.07, 0.15):
        waves = np.exp(2j * np.pi * f * taps)
        for order, weights in enumerate((zeroth, first, second)):
            assert weights[row] @ waves == pytest.approx((2j * np.pi * f) ** order * np.exp(2j * np.pi * f * mu), abs=1e-5)


@pytest.mark.parametrize("epoch", [0, 1_000_000])
def test_polynomials_follow_an_oscillator(epoch):
    oscillator = draw({"class": "crystal"}, 3, "a")
    tuned = dataclasses.replace(tuning(oscillator), radio="a")
    first = oscillator.next_tick(Instant(epoch, 0.25), int(RATE)) // BLOCK * BLOCK
    window = Window.of(tuned, first, 40)
    for block, at in enumerate(window.instants()):
        assert abs(at.since(oscillator.tick(first + block * BLOCK, int(RATE)))) < (2e-16 if epoch == 0 else 1e-15)


@pytest.mark.parametrize("rate", [RATE, 3.84e6])
def test_phase_noise_of_both_ends_is_the_references(rate):
    rng = np.random.default_rng(4)
    scene = Still([Sight()], [(0, 0, 0)], [(60.0, 0, 0)])
    noise = [(seeds.key("a phase", n), 0.02) for n in range(2)]
    sent = airing(waveform(rng, 1, 512, 0.1), Oscillator(3e-6), start=-5120, phase_noise=noise[0])
    tuned = dataclasses.replace(tuning(Oscillator(-2e-6), rate=rate), phase_noise=noise[1])
    ticks = np.sort(rng.integers(0, 60000, 30))
    wanted = exact(scene, tuned, [sent], ticks)
    assert error_db(tabled(scene, tuned, [sent], ticks), wanted) < -100.0
    calm = dataclasses.replace(tuned, phase_noise=(0, 0.0))
    assert -34.0 < error_db(tabled(scene, calm, [dataclasses.replace(sent, phase_noise=(0, 0.0))], ticks), wanted) < -28.0


def test_phase_noise_of_a_moving_ray_is_as_late_as_the_ray():
    rng = np.random.default_rng(5)
    scene = Still([], [(0, 0, 0)], [(60.0, 0, 0)], lambda at: Echo(np.array([[9.0 + t.seconds, 150.0, 0.0] for t in at])))
    sent = airing(waveform(rng, 1, 512, 0.3), start=-5120, phase_noise=(11, 0.02))
    ticks = np.sort(rng.integers(0, 60000, 30))
    assert error_db(tabled(scene, tuning(), [sent], ticks), exact(scene, tuning(), [sent], ticks)) < -95.0


@pytest.mark.parametrize("motion", ["rest", "move"])
def test_a_window_cut_in_any_way_has_equal_bits(motion):
    """Every impairment on, a walking target, a rail that starts to move in the middle."""
    rng = np.random.default_rng(6)
    world = running(trial(3, {"severity": 1.0}), {"ap1": waveform(rng, 4, 600), "ap2": waveform(rng, 4, 512)})
    stage, begin = world.stage("rail1"), world.now
    if motion == "move":
        goal = {axis: value + 0.01 for axis, value in stage.where().axes.items()}
        stage.move(Move(goal, 0.1, 0.5), 20.0)
    else:
        world.advance(0.01)
    world.radio("u1").capture(64, 1.0)
    tuned, _, _ = world.truth.windows("u1")[-1]
    first = tuned.oscillator.next_tick(begin, tuned.rate) // BLOCK * BLOCK + 3 * BLOCK
    whole, _ = world.samples(tuned, first + 100, 40 * BLOCK)
    world.medium._shelf.clear()  # nor does the order of requests matter
    for low, high in [(20 * BLOCK, 40 * BLOCK), (0, 77), (5000, 30000), (77, 5000), (7 * BLOCK - 1, 7 * BLOCK + 1)]:
        part, _ = world.samples(tuned, first + 100 + low, high - low)
        assert np.array_equal(part, whole[:, low:high])


def test_elements_at_rest_sound_the_same_from_tables_and_from_bundles(monkeypatch):
    rng = np.random.default_rng(7)
    radios = [radio("ap1", 4, 0, [0, 0, 1.0], stage="rail1"), radio("u1", 0, 2, [10.0, 0, 1.0])]
    world = build(site(radios, stages=[rail("rail1")], emulated={"severity": 0, "receiver": {"noise_figure_db": -1000.0}}), VirtualClock())
    configure(world)
    world.radio("ap1").load(1, waveform(rng, 4, 512))
    world.radio("ap1").apply(1)
    world.advance(0.005)
    world.radio("u1").capture(64, 1.0)
    tuned, first, _ = world.truth.windows("u1")[-1]
    first -= first % BLOCK
    tables = world.port(tuned, first, 6, world.airings())
    monkeypatch.setattr(type(world.room), "moves_within", lambda *_: True)
    bundles = world.port(tuned, first, 6, world.airings())
    assert error_db(bundles[0] + 1j * bundles[1], tables[0] + 1j * tables[1]) < -85.0
