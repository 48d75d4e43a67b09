"""The fast medium against the reference: tables, rays, moves, other rates and carriers, starts and stops."""

from __future__ import annotations

import numpy as np
import pytest
from sites import (
    CARRIER,
    QUIET,
    RATE,
    Still,
    airing,
    at_port,
    configure,
    error_db,
    exact,
    pair,
    radio,
    rail,
    running,
    site,
    tabled,
    trial,
    tuning,
    waveform,
)  # fmt: skip

from hil.clock import Instant, VirtualClock
from hil.device import Move
from sim_backend.kernels import BLOCK
from sim_backend.oscillator import Oscillator
from sim_backend.paths import Echo, Rays, Scatterers, Sight
from sim_backend.tables import Grid
from sim_backend.world import build


def ticks_of(world, name: str, rng, count: int = 30):
    tuned, first, samples = world.truth.windows(name)[-1]
    return tuned, np.sort(first + rng.choice(samples, count, replace=False))


@pytest.mark.parametrize("seed", range(4))
def test_static_scene_with_real_oscillators(seed):
    rng = np.random.default_rng(seed)
    period = int(rng.integers(300, 1500))
    emulated = {"seed": seed, "receiver": QUIET, "oscillator": {"class": "tcxo", "spread_ppm": 3.0}}
    world = running(trial(seed, emulated, target=False), {"ap1": waveform(rng, 4, period), "ap2": waveform(rng, 4, 2 * period - 100)})
    for name in ("sense1", "u1"):
        world.radio(name).capture(8192, 1.0)
        tuned, ticks = ticks_of(world, name, rng)
        assert error_db(at_port(world, tuned, ticks), world.truth.heard(tuned, ticks)) < -100.0


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_twenty_random_scenes(seed):
    test_static_scene_with_real_oscillators(100 + seed)


@pytest.mark.parametrize(("ppm", "bar"), [(0.0, -115.0), (3.0, -115.0), (25.0, -105.0)])
def test_relative_sampling_rate_error(ppm, bar):
    rng = np.random.default_rng(3)
    scene = Still([Sight()], receive=[(12.0, 0, 0)])
    sent = airing(waveform(rng, 1, 512), Oscillator(ppm * 1e-6), start=-5120)
    tuned, ticks = tuning(Oscillator(-ppm * 1e-6)), np.sort(rng.integers(0, 400000, 40))
    assert error_db(tabled(scene, tuned, [sent], ticks), exact(scene, tuned, [sent], ticks)) < bar


def test_walking_target_as_a_ray_of_its_own():
    rng = np.random.default_rng(5)

    def track(at):
        return Echo(np.array([[9.0 + 14.0 * t.seconds, -4.0, 1.0 - 3.0 * t.seconds] for t in at]))

    scene = Still([], [(0, 0.02 * e, 2) for e in range(3)], [(2, 0.05 * r, 2) for r in range(2)], track)
    sent = airing(waveform(rng, 3, 700), Oscillator(3e-6), start=-7000)
    tuned, ticks = tuning(Oscillator(-3e-6)), np.sort(rng.integers(0, 800000, 40))
    assert error_db(tabled(scene, tuned, [sent], ticks, 2), exact(scene, tuned, [sent], ticks)) < -105.0


def test_tables_and_rays_are_one_physics():
    """The same still point, once in the table and once as a ray of its own."""
    rng = np.random.default_rng(6)
    place, near = np.array([9.0, -4.0, 1.0]), [Sight()]
    transmit, receive = [(0, 0, 2.0), (0, 0.04, 2.0)], [(14.0, 3.0, 1.5)]
    points = Scatterers(place[None], np.array([0.5 + 0.1j]))
    sent = airing(waveform(rng, 2, 900), Oscillator(2e-6), start=-9000)
    ticks = np.arange(0, 200000, 9001)
    table, rays = Still([*near, points], transmit, receive), Still(near, transmit, receive, lambda at: AtInstants(points, len(at)))
    assert error_db(tabled(table, tuning(), [sent], ticks), tabled(rays, tuning(), [sent], ticks)) < -115.0


class AtInstants:
    """Scatterers as a path that might move: one leading axis for the instants."""

    def __init__(self, points: Scatterers, count: int) -> None:
        self._points, self._shape = points, (count, 1, 1, 1)

    def rays(self, transmit, receive, wavelength):
        return Rays(*(np.tile(part, self._shape) for part in self._points.rays(transmit[0], receive[0], wavelength)))


@pytest.mark.parametrize(
    ("carrier", "rate", "period", "bar"),
    [
        (CARRIER + 2e6, RATE, 512, -100.0),
        (CARRIER - 1_234_567, RATE, 500, -100.0),
        (CARRIER, 7.68e6, 512, -100.0),
        (CARRIER, 30.72e6, 511, -110.0),
        (CARRIER + 1e6, 20e6, 1536, -105.0),
        (CARRIER, 10e6, 15344, -95.0),  # no whole table: one a little finer than twice the rate
    ],
)
def test_receiver_of_another_rate_and_carrier(carrier, rate, period, bar):
    rng = np.random.default_rng(7)
    scene = Still([Sight(), Scatterers(np.array([[9.0, -4.0, 1.0]]), np.array([0.5j]))], receive=[(14.0, 3.0, 1.5)])
    sent = airing(waveform(rng, 1, period), Oscillator(2e-6), start=-period)
    tuned, ticks = tuning(Oscillator(-1e-6), carrier=carrier, rate=rate), np.sort(rng.integers(2048, 100000, 25))
    assert error_db(tabled(scene, tuned, [sent], ticks), exact(scene, tuned, [sent], ticks)) < bar


@pytest.mark.parametrize(
    ("period", "tx", "rx"), [(512, 15.36e6, 15.36e6), (512, 15.36e6, 20e6), (15344, 15.36e6, 10e6), (1, 3e6, 7e6), (7, 9e6, 9e6)]
)
def test_a_grid_holds_whole_periods_at_no_less_than_twice_the_rate(period, tx, rx):
    grid = Grid.of(period, int(tx), int(rx))
    assert grid.length % 2 == 0
    fine = grid.scale * tx / (2 * rx)  # table rate over twice the receiver's
    assert 1.0 - 1e-12 <= fine <= 1.0 + 2.0 / grid.length + 1e-12


def test_capture_during_a_move():
    rng = np.random.default_rng(8)
    world = running(trial(2, {"receiver": QUIET}), {"ap1": waveform(rng, 4, 600)})
    stage, user = world.stage("rail1"), world.radio("u1")
    goal = {axis: stage.where().axes[axis] + 0.03 * (i + 1) for i, axis in enumerate("abcd")}
    start = world.now

    def listen():
        world.clock.sleep(0.3)
        return user.capture(20000, 1.0)

    world.clock.together([lambda: stage.move(Move(goal, 0.1, 0.5), 20.0), listen])
    tuned, ticks = ticks_of(world, "u1", rng, 40)
    before, after = (world.truth.elements("ap1", "transmit", start.after(s)) for s in (0.301, 0.304))
    assert np.abs(after - before).max() > 1e-4  # it did move while it was heard
    assert error_db(at_port(world, tuned, ticks), world.truth.heard(tuned, ticks)) < -100.0


def test_capture_across_the_start_and_the_end_of_a_move():
    rng = np.random.default_rng(9)
    world = running(trial(3, {"receiver": QUIET}, target=False), {"ap1": waveform(rng, 4, 600)})
    stage = world.stage("rail1")
    begin = world.now.after(0.004)
    goal = {axis: value + 0.0005 for axis, value in stage.where().axes.items()}

    def go():
        world.advance(0.004)
        stage.move(Move(goal, 0.1, 0.5), 20.0)

    def listen(wait: float):
        world.advance(wait)
        world.radio("u1").capture(120000, 1.0)

    world.clock.together([go, lambda: listen(0.0005), lambda: listen(0.063)])
    ends = [begin, begin.after(2 * np.sqrt(0.0005 / 0.5))]  # a triangle
    for edge, (tuned, first, samples) in zip(ends, world.truth.windows("u1")):
        assert tuned.oscillator.tick(first, tuned.rate) < edge < tuned.oscillator.tick(first + samples, tuned.rate)
        ticks = np.sort(first + rng.choice(samples, 40, replace=False))
        assert error_db(at_port(world, tuned, ticks), world.truth.heard(tuned, ticks)) < -100.0


def test_nothing_is_heard_before_the_start_or_after_the_mute():
    rng = np.random.default_rng(10)
    world = running(pair({"receiver": QUIET}, transmit=1, receive=1), {})
    a, b = world.radio("a"), world.radio("b")
    a.load(1, waveform(rng, 1, 512))

    def switch():
        a.apply(1)
        world.advance(0.003)
        a.mute()

    world.clock.together([switch, lambda: b.capture(230000, 1.0)])
    tuned, first, count = world.truth.windows("b")[-1]
    (sent,) = world.airings()
    samples = world.samples(tuned, first, count)[0][0]
    flight = 10.0 / 299792458.0
    on, off = (tuned.oscillator.next_tick(at.after(flight), tuned.rate) - first for at in (sent.start, sent.stop))
    assert 0 < on < off < count
    assert not samples[:on].any() and not samples[off:].any()
    assert np.abs(samples[on:off]).min() >= 0 and np.abs(samples[on : on + 8]).max() > 0 and np.abs(samples[off - 8 : off]).max() > 0
    ticks = first + on + np.arange(0, 1000, 37)  # the very first sample sent is the waveform's sample 0
    assert error_db(at_port(world, tuned, ticks), world.truth.heard(tuned, ticks)) < -100.0


def test_two_transmitters_of_unequal_buffers_add():
    rng = np.random.default_rng(11)
    waves = {"ap1": waveform(rng, 4, 512), "ap2": waveform(rng, 4, 700)}
    both = running(trial(4, {"receiver": QUIET}), waves)
    tuned, first, _ = (both.radio("u2").capture(1000, 1.0), both.truth.windows("u2")[-1])[1]
    blocks = first - first % BLOCK
    parts = [both.port(tuned, blocks, 2, [airing]) for airing in both.airings()]
    whole = both.port(tuned, blocks, 2, both.airings())
    assert np.abs(sum(p[0] for p in parts) - whole[0]).max() < 1e-6 * np.abs(whole[0]).max()
    assert all(np.abs(p[0]).max() > 0.05 * np.abs(whole[0]).max() for p in parts)


def test_a_radio_hears_itself_at_minus_seventy_decibels():
    rng = np.random.default_rng(12)
    alone = site([radio("ap1", 1, 1, [0.0, 0.0, 1.0])], emulated={"receiver": QUIET, "room": {"scatterers": 0}})
    world = running(alone, {"ap1": waveform(rng, 1, 512)})
    tuned, first, _ = (world.radio("ap1").capture(4096, 1.0), world.truth.windows("ap1")[-1])[1]
    heard = world.port(tuned, first - first % BLOCK, 4, world.airings())
    (sent,) = world.airings()
    radiated = np.mean(np.abs(sent.program.codes / sent.program.full_scale) ** 2) * sent.amplitude[0] ** 2
    power = np.mean(heard[0] ** 2 + heard[1] ** 2) / radiated
    assert 10 * np.log10(power) == pytest.approx(-70.0, abs=0.3)
    assert world.truth.rays("ap1", "ap1").delay == pytest.approx(1e-9)


def test_reciprocity():
    points = Scatterers(np.random.default_rng(0).uniform(0, 10, (5, 3)), np.exp(1j * np.arange(5)))
    a, b = np.random.default_rng(1).uniform(-1, 1, (4, 3)), np.random.default_rng(2).uniform(20, 21, (3, 3))

    def h(transmit, receive):
        parts = [path.rays(transmit, receive, 0.0857) for path in (Sight(), points, Echo(np.array([3.0, 9.0, 1.0])))]
        return sum((gain * np.exp(-2j * np.pi * ((CARRIER + 4e6) * delay % 1.0))).sum(axis=0) for delay, gain in parts)

    there, back = h(a, b), h(b, a)
    assert there.shape == (3, 4)
    assert np.abs(there - back.T).max() < 1e-12 * np.abs(there).max()


@pytest.mark.parametrize("start", [0, 1_000_000])
def test_carrier_and_sampling_offsets_are_one_number(start):
    """The growth of the apparent delay is -cfo/fc, seen over a tenth of a second, near and far from the epoch."""
    emulated = {"receiver": QUIET, "oscillator": {"class": "docxo", "spread_ppm": 3.0}}
    world = build(pair(emulated, transmit=1, receive=1), VirtualClock(Instant(start, 0.0)))
    configure(world)
    n = np.arange(512)
    world.radio("a").load(1, (0.3 * (1 + np.exp(2j * np.pi * 128 * n / 512)) / 2)[None].astype(np.complex64))
    world.radio("a").apply(1)
    world.advance(0.002)
    world.radio("b").capture(1600000, 1.0)
    tuned, first, count = world.truth.windows("b")[-1]
    cfo = CARRIER * (world.truth.oscillator("a")[1] - world.truth.oscillator("b")[1])
    blocks = np.arange(first - first % BLOCK + BLOCK, first + count - BLOCK, 40 * BLOCK)
    tones = []
    for block in blocks:
        re, im = world.port(tuned, int(block), 1, world.airings())
        sample = np.arange(BLOCK)
        x = (re + 1j * im)[0] * np.exp(-2j * np.pi * cfo * (1 - world.truth.oscillator("b")[1]) * sample / RATE)
        tones.append([x.mean(), (x * np.exp(-2j * np.pi * sample / 4)).mean()])
    low, high = np.array(tones).T
    t = (blocks - blocks[0]) / RATE
    measured = np.polyfit(t, np.unwrap(np.angle(low * np.exp(-2j * np.pi * cfo * t))), 1)[0] / (2 * np.pi) + cfo
    delay = -np.unwrap(np.angle(high / low)) / (2 * np.pi * RATE / 4)
    drift = np.polyfit(t, delay, 1)[0]
    assert abs(cfo) > 100.0
    assert measured == pytest.approx(cfo, abs=0.3)  # 1e-10 of the carrier: the oscillators' own wander
    assert drift == pytest.approx(-cfo / CARRIER, rel=2e-3)


def test_a_long_airing_keeps_its_accuracy_as_the_oscillator_drifts():
    rng = np.random.default_rng(13)
    world = running(trial(5, {"receiver": QUIET}, target=False), {"ap1": waveform(rng, 4, 512)})
    world.advance(30.0)
    world.radio("u1").capture(4096, 1.0)
    tuned, ticks = ticks_of(world, "u1", rng, 20)
    assert error_db(at_port(world, tuned, ticks), world.truth.heard(tuned, ticks)) < -100.0


def test_a_moving_rail_needs_no_table(monkeypatch):
    """Rays of a moving array are read from the element's own signal; a table made at the start would be some degrees off."""
    rng = np.random.default_rng(14)
    radios = [radio("ap1", 2, 0, [0, 0, 1.0], stage="rail1"), radio("u1", 0, 1, [10.0, 0, 1.0])]
    bench = site(radios, stages=[rail("rail1", "ab")], emulated={"receiver": QUIET})
    world = running(bench, {"ap1": waveform(rng, 2, 512)})
    stage = world.stage("rail1")
    before = {axis: value for axis, value in stage.where().axes.items()}
    world.clock.together([
        lambda: stage.move(Move({axis: value + 0.05 for axis, value in before.items()}, 0.1, 0.5), 20.0),
        lambda: (world.clock.sleep(0.35), world.radio("u1").capture(2048, 1.0)),
    ])  # fmt: skip
    tuned, ticks = ticks_of(world, "u1", rng, 20)
    moving = at_port(world, tuned, ticks)
    monkeypatch.setattr(type(world.room), "moves_within", lambda *_: False)
    frozen = at_port(world, tuned, ticks)
    wanted = world.truth.heard(tuned, ticks)
    assert error_db(moving, wanted) < -100.0
    assert error_db(frozen, wanted) > -90.0
