"""Stages: closed-form motion, refusals before anything moves, halts on the ramp, read-backs; the target's walk; the [emulated] table."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from sites import pair, radio, rail, site, trial

from hil.clock import Instant, VirtualClock, WallClock
from hil.device import DeviceError, Move, Stage
from sim_backend.motion import Journey, Ramp
from sim_backend.settings import Emulated
from sim_backend.world import build


@pytest.fixture
def world():
    return build(site([radio("ap1", 4, 0, [0, 0, 1], stage="rail1")], stages=[rail("rail1")]), VirtualClock())


def refused(id: str):
    return pytest.raises(DeviceError, match=rf"error\[{id}\]")


@pytest.mark.parametrize(
    ("length", "speed", "acceleration", "seconds"), [(0.2, 0.1, 0.5, 2.2), (0.01, 0.1, 0.5, 0.282842712), (0.02, 0.1, 0.5, 0.4)]
)
def test_trapezoid_and_triangle(length, speed, acceleration, seconds):
    ramp = Ramp(Instant(5, 0.0), {"a": 0.1}, {"a": 0.1 + length}, length, speed, acceleration)
    assert ramp.duration == pytest.approx(seconds, abs=1e-9)
    t = np.linspace(0.0, seconds, 4001)
    x = np.array([ramp.at(Instant(5, 0.0).after(s))["a"] for s in t]) - 0.1
    v = np.gradient(x, t)
    assert x[0] == 0.0 and x[-1] == pytest.approx(length, abs=1e-15)
    assert v.max() <= speed * 1.0001 and np.abs(np.gradient(v, t)).max() <= acceleration * 1.001
    limits = np.minimum(speed, acceleration * np.minimum(t, seconds - t))  # the speed of the law, integrated
    assert x == pytest.approx(np.concatenate([[0.0], np.cumsum((limits[1:] + limits[:-1]) / 2 * np.diff(t))]), abs=2e-7)
    assert ramp.at(Instant(0, 0.0)) == {"a": 0.1} and ramp.at(Instant(99, 0.0)) == {"a": 0.1 + length}


@pytest.mark.parametrize("at", [0.05, 0.5, 2.15])
def test_a_halt_brakes_on_the_ramp(at):
    whole = Ramp(Instant(0, 0.0), {"a": 0.0}, {"a": 0.2}, 0.2, 0.1, 0.5)
    halted = Ramp(Instant(0, 0.0), {"a": 0.0}, {"a": 0.2}, 0.2, 0.1, 0.5, brake=at)
    speed = min(0.1, 0.5 * at, 0.5 * (2.2 - at))
    assert halted.duration == pytest.approx(at + speed / 0.5)
    stop = halted.at(halted.end)["a"]
    assert stop == pytest.approx(whole.at(Instant.of(at))["a"] + speed**2 / (2 * 0.5), abs=1e-12)
    assert halted.at(Instant(50, 0.0))["a"] == stop and stop < 0.2 + 1e-12


def test_journeys_forget_without_moving_anything():
    journey = Journey({"a": 0.0})
    for i in range(4):
        journey.add(Ramp(Instant(10 * i, 0.0), {"a": 0.1 * i}, {"a": 0.1 * (i + 1)}, 0.1, 0.1, 0.5))
    before = [journey.at(Instant(i, 0.3)) for i in range(25, 60)]
    journey.forget_before(Instant(25, 0.0))
    assert len(journey.ramps) < 4 and [journey.at(Instant(i, 0.3)) for i in range(25, 60)] == before


def test_axes_start_and_stop_together_and_straight(world):
    stage, start = world.stage("rail1"), world.now
    assert isinstance(stage, Stage)
    begin = stage.where().axes
    targets = {axis: begin[axis] + way for axis, way in zip("abcd", (0.01, 0.03, 0.05, 0.08))}
    arrived = stage.move(Move(targets, 0.05, 0.5), 10.0)
    assert arrived.homed and not arrived.moving
    for axis in "abcd":
        assert arrived.axes[axis] == pytest.approx(targets[axis], abs=0.5 / 80e3 + 1e-12)
        assert arrived.axes[axis] * 80e3 == pytest.approx(round(arrived.axes[axis] * 80e3), abs=1e-6)
    ramp = world.room._journeys["rail1"].ramps[-1]
    assert world.now.since(start) == pytest.approx(0.08 / 0.05 + 0.05 / 0.5 + 0.12, abs=1e-4)
    done = [(ramp.at(start.after(0.7))[axis] - begin[axis]) / (arrived.axes[axis] - begin[axis]) for axis in "abcd"]
    assert done == pytest.approx([done[0]] * 4, abs=1e-9) and 0.3 < done[0] < 0.5
    for axis in "abcd":
        assert 20e-6 <= arrived.std[axis] < 25e-6


@pytest.mark.parametrize(
    ("stage", "emulated", "seconds"), [({"settle_ms": 300.0}, {}, 0.3), ({"settle_ms": 50.0}, {"settle_ms": 300.0}, 0.05)]
)
def test_a_move_waits_as_long_as_its_profile_says_and_knows_no_better(stage, emulated, seconds):
    bench = site([radio("ap1", 4, 0, [0, 0, 1], stage="rail1")], stages=[rail("rail1", **stage)], emulated={"stage": emulated})
    world = build(bench, VirtualClock())
    begin = world.stage("rail1").where().axes
    world.stage("rail1").move(Move({"a": begin["a"] + 0.02}, 0.1, 0.5), 10.0)
    assert world.now.seconds == pytest.approx(0.4 + seconds, abs=1e-3)


def test_the_slowest_axis_sets_the_pace():
    slow = rail("rail1")
    slow["axes"]["b"]["speed_mm_s"] = 10.0
    world = build(site([radio("ap1", 4, 0, [0, 0, 1], stage="rail1")], stages=[slow]), VirtualClock())
    stage = world.stage("rail1")
    begin = stage.where().axes
    stage.move(Move({"a": begin["a"] + 0.1, "b": begin["b"] + 0.05}, 0.1, 0.5), 60.0)
    assert world.room._journeys["rail1"].ramps[-1].speed == pytest.approx(0.02)


def test_antennas_ride_on_their_carriages(world):
    stage = world.stage("rail1")
    before = world.truth.elements("ap1", "transmit")
    begin = stage.where().axes
    stage.move(Move({"b": begin["b"] + 0.02}, 0.1, 0.5), 10.0)
    moved = world.truth.elements("ap1", "transmit") - before
    assert moved[1] == pytest.approx([0.0, 0.02, 0.0], abs=1.3e-5)
    assert not np.delete(moved, 1, axis=0).any()


def test_refusals_come_before_anything_moves(world):
    stage, start = world.stage("rail1"), world.now
    begin = stage.where().axes
    for id, move, timeout in (
        ("beyond-travel", Move({"a": 0.5}, 0.1, 0.5), 10.0),
        ("beyond-travel", Move({"a": 0.0, "b": float("nan")}, 0.1, 0.5), 10.0),
        ("unknown-axis", Move({"x": 0.0}, 0.1, 0.5), 10.0),
        ("too-slow", Move({"a": begin["a"] + 0.1}, 0.1, 0.5), 1.0),
        ("bad-move", Move({"a": 0.0}, 0.0, 0.5), 10.0),
        ("bad-move", Move({"a": 0.0}, 0.1, float("nan")), 10.0),
    ):
        with refused(id):
            stage.move(move, timeout)
        assert world.now == start and stage.where().axes == begin and not world.room._journeys["rail1"].ramps


def test_where_says_that_it_moves(world):
    stage = world.stage("rail1")
    begin = stage.where().axes
    seen = []

    def look():
        world.advance(0.5)
        seen.append(stage.where())

    world.clock.together([lambda: stage.move(Move({"a": begin["a"] + 0.1}, 0.1, 0.5), 10.0), look])
    assert seen[0].moving and begin["a"] < seen[0].axes["a"] < begin["a"] + 0.1
    assert not stage.where().moving


def test_a_halt_from_another_thread_ends_the_move():
    world = build(site([radio("ap1", 4, 0, [0, 0, 1], stage="rail1")], stages=[rail("rail1")]), WallClock())
    stage = world.stage("rail1")
    begin = stage.where().axes
    timer = threading.Timer(0.15, stage.halt)
    timer.start()
    with refused("halted"):
        stage.move(Move({"a": begin["a"] + 0.2}, 0.1, 1.0), 10.0)
    timer.join()
    here = stage.where()
    assert not here.moving and begin["a"] + 0.001 < here.axes["a"] < begin["a"] + 0.1
    stage.halt()
    assert stage.where().axes == here.axes


def test_homing_and_closing():
    world = build(site([radio("ap1", 4, 0, [0, 0, 1], stage="rail1")], stages=[rail("rail1", homed=False)]), VirtualClock())
    stage = world.stage("rail1")
    assert not stage.where().homed and not stage.where().axes
    with refused("not-homed"):
        stage.move(Move({"a": 0.0}, 0.1, 0.5), 10.0)
    home = stage.home(60.0)
    assert home.homed and set(home.axes) == set("abcd")
    stage.move(Move({"a": home.axes["a"] + 0.1}, 0.1, 0.5), 10.0)
    assert stage.home(60.0).axes == home.axes
    stage.close()
    stage.close()
    stage.halt()
    for call in (stage.where, lambda: stage.move(Move({"a": 0.0}, 0.1, 0.5), 10.0), lambda: stage.home(10.0)):
        with refused("closed"):
            call()


def test_the_target_walks_its_circle_at_its_speed():
    plan = trial(3)
    plan["targets"][0] |= {"speed_m_s": 1.3}
    world = build(plan, VirtualClock())
    track = np.array([world.truth.target(Instant.of(s))[0] for s in np.arange(0, 20, 0.01)])
    centre = (track.max(axis=0) + track.min(axis=0)) / 2
    assert np.linalg.norm(track - centre, axis=1) == pytest.approx(1.5, abs=1e-3)
    assert np.linalg.norm(np.gradient(track, 0.01, axis=0), axis=1)[1:-1] == pytest.approx(1.3, rel=1e-4)
    step = 1e-4
    ahead, behind = (world.truth.target(Instant.of(7.0 + s))[0] for s in (step, -step))
    assert world.truth.target(Instant.of(7.0))[1] == pytest.approx((ahead - behind) / (2 * step), abs=1e-6)
    assert np.all(track[:, 2] == 1.0)


def test_the_targets_centre_is_drawn_from_its_prior():
    centres = []
    for seed in range(300):
        track = build(trial(seed), VirtualClock()).room.targets["target"].walker.centre
        centres.append(track[:2] - [9.0, -4.0])
    assert np.std(centres, axis=0) == pytest.approx([2.0, 2.0], rel=0.15) and np.abs(np.mean(centres, axis=0)).max() < 0.5
    plan = trial(1, {"target": {"position_m": [5.0, 5.0, 1.0], "radius_m": 0.0}})
    assert build(plan, VirtualClock()).truth.target()[0] == pytest.approx([5.0, 5.0, 1.0])
    assert not build(plan, VirtualClock()).truth.target()[1].any()


def test_scatterers_stand_in_the_room_and_lose_six_decibels():
    world = build(pair({"room": {"scatterers": 200, "corners_m": [[0, -10, 0], [30, 10, 4]]}}), VirtualClock())
    positions, coefficients = world.truth.scatterers()
    assert positions.min(axis=0) == pytest.approx([0, -10, 0], abs=0.7) and positions.max(axis=0) == pytest.approx([30, 10, 4], abs=0.7)
    assert np.abs(coefficients) == pytest.approx(10 ** (-6 / 20)) and abs(np.mean(coefficients)) < 0.1
    rays = world.truth.rays("a", "b")
    length = rays.delay * 299792458.0
    assert np.abs(rays.gain[1:]) == pytest.approx(10 ** (-6 / 20) * world.room.wavelength / (4 * np.pi * length[1:]))


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"oscilator": {}}, "oscilator: found unknown key"),
        ({"oscillator": {"class": "rubidium"}}, "oscillator.class: found rubidium; allowed perfect | crystal"),
        ({"oscillator": {"spread": 3}}, "oscillator.spread: found unknown key; allowed class"),
        ({"receiver": {"bits": 12.5}}, "receiver.bits"),
        ({"receiver": {"dc_dbfs": 3.0}}, "receiver.dc_dbfs: found 3.0; allowed a number in -inf .. 0"),
        ({"transmitter": {"chain_phase": "random"}}, 'transmitter.chain_phase: found random; allowed "uniform" or degrees rms'),
        ({"amplifier": {"model": "tube"}}, "amplifier.model: found tube; allowed linear | rapp"),
        ({"amplifier": {"beta3_per_w": [-2.0, 0.0]}}, 'amplifier.beta3_per_w: found model rapp; allowed this key with model = "cubic"'),
        ({"amplifier": {"model": "memory"}}, "amplifier.taps: found none"),
        ({"stage": {"backlash_mm": -0.05}}, "stage.backlash_mm: found -0.05"),
        ({"severity": -1}, "severity: found -1"),
        ({"fault": {"what": "lost-block"}}, "fault: found {'what': 'lost-block'}; allowed a list of tables"),
        ({"cable": [3]}, "cable: found [3]; allowed a list of tables"),
        ({"room": {"corners_m": [[0, 0, 0]]}}, "two opposite corners"),
        ({"target": {"position_m": [0, 0]}}, "target.position_m"),
        ({"seed": -1}, "seed: found -1"),
        ({"receiver": 3}, "receiver: found 3; allowed a table"),
    ],
)
def test_an_emulated_table_that_cannot_be(table, says):
    with pytest.raises(ValueError, match=r"\[emulated\]") as caught:
        Emulated.parse(table)
    assert says in str(caught.value)


def test_severity_scales_what_is_left_out_and_nothing_that_is_written():
    one, two, none = (Emulated.parse({"severity": severity}) for severity in (1.0, 2.0, 0.0))
    assert Emulated.parse({}) == one
    assert two.oscillator["spread_ppm"] == 2 * one.oscillator["spread_ppm"] == 6.0
    assert two.oscillator["clock_offset_ns"] == 2 * one.oscillator["clock_offset_ns"] == 600.0
    assert one.receiver.dc == pytest.approx(10**-2.5) and two.receiver.dc == pytest.approx(2 * one.receiver.dc)
    assert two.transmitter.image == pytest.approx(2 * one.transmitter.image)
    assert two.transmitter.chain.delay == 2 * one.transmitter.chain.delay == pytest.approx(100e-12)
    assert (two.receiver.noise_figure_db, one.receiver.noise_figure_db, none.receiver.noise_figure_db) == (10.0, 7.0, 7.0)
    assert two.stage.backlash == 2 * one.stage.backlash == pytest.approx(0.1e-3) and two.stage.overshoot == pytest.approx(0.3e-3)
    assert two.phase_noise == one.phase_noise == pytest.approx(np.radians(0.45)) and none.phase_noise == 0.0
    assert none.oscillator == {"class": "perfect", "spread_ppm": 0.0, "clock_offset_ns": 0.0}
    assert none.transmitter.image == none.transmitter.leakage == none.receiver.dc == none.receiver.image == 0.0
    assert none.receiver.chain == none.transmitter.chain and none.receiver.chain.phase == none.receiver.chain.delay == 0.0
    assert none.amplifier["model"] == "linear" and one.amplifier["model"] == "rapp" and one.receiver.chain.phase == np.inf
    written = Emulated.parse({"severity": 0.0, "receiver": {"dc_dbfs": -50.0}, "amplifier": {"saturation_dbm": 10.0}})
    assert written.receiver.dc == one.receiver.dc and written.amplifier["model"] == "rapp"
    assert Emulated.parse({"severity": 2.0, "stage": {"backlash_mm": 0.05}}).stage.backlash == one.stage.backlash
    assert Emulated.parse({"receiver": {"dc_dbfs": -300.0}}).receiver.dc == 0.0
    assert Emulated.parse({"receiver": {"bits": 14}}).receiver.bits == 14
