"""Where carriages really are: scale, lead, play, ringing, lost steps, collisions; what the stage says of it, which is nothing."""

from __future__ import annotations

import numpy as np
import pytest
from sites import radio, rail, site

from hil.clock import Instant, VirtualClock
from hil.device import Move
from sim_backend.motion import NEGLIGIBLE, Carriage, Journey, Ramp
from sim_backend.world import build

STEP = 1 / 80e3


def bench(emulated=None, faults=(), **stage):
    """One rail with four carriages, ideal but for what `emulated` says of stages."""
    table = {"severity": 0.0, "stage": emulated or {}, "fault": list(faults)}
    plan = site([radio("ap1", 4, 0, [0, 0, 1], stage="rail1")], stages=[rail("rail1", **stage)], emulated=table)
    for axis in plan["stages"][0]["axes"].values():
        axis["carriage_mm"] = 38.0
    return build(plan, VirtualClock())


def go(world, **by):
    stage = world.stage("rail1")
    here = stage.where().axes
    return stage.move(Move({axis: here[axis] + way for axis, way in by.items()}, 0.1, 0.5), 30.0)


def real(world, at=None):
    return world._journeys["rail1"].at(at or world.now)


def test_an_ideal_stage_is_where_it_says():
    world = bench()
    for way in (0.0023, -0.003, 0.004):
        said = go(world, b=way).axes
        assert real(world) == pytest.approx(said, abs=1e-12)
    assert not any(entry.what == "too-close" for entry in world.truth.log)


def test_scale_and_lead_are_those_of_the_table():
    world = bench({"scale_error": 1e-3, "lead_error_um": 50.0})
    begin = real(world)["d"]
    counts, found = [world.stage("rail1").where().axes["d"]], [begin]
    for _ in range(80):
        counts.append(go(world, d=2e-3).axes["d"])
        found.append(real(world)["d"])
    off = np.array(found) - np.array(counts)
    turns = 2 * np.pi * np.array(counts) / 0.04  # 3200 steps of 12.5 um
    basis = np.stack([np.array(counts), np.sin(turns), np.cos(turns)], axis=1)
    fit, *_ = np.linalg.lstsq(basis, off, rcond=None)
    assert fit[0] == pytest.approx(1e-3, rel=1e-6) and np.hypot(*fit[1:]) == pytest.approx(50e-6, rel=1e-6)
    assert np.abs(basis @ fit - off).max() < 1e-12


def test_play_depends_on_the_side_a_position_is_reached_from():
    world = bench({"backlash_mm": 0.1})
    start = world.stage("rail1").where().axes["a"]
    go(world, a=-0.01)
    from_plus = real(world)["a"] - world.stage("rail1").where().axes["a"]
    go(world, a=-0.01)
    go(world, a=+0.01)
    from_minus = real(world)["a"] - world.stage("rail1").where().axes["a"]
    assert world.stage("rail1").where().axes["a"] == pytest.approx(start - 0.01)
    assert from_plus == pytest.approx(1e-4) and from_minus == pytest.approx(0.0, abs=1e-12)  # one pulled back stays ahead of its motor
    go(world, a=-37.5e-6)
    assert real(world)["a"] == pytest.approx(start - 0.01, abs=1e-12)  # within the play nothing follows
    go(world, a=-75e-6)
    assert real(world)["a"] == pytest.approx(start - 0.01 - 12.5e-6, abs=STEP / 100)


def test_an_approach_takes_the_play_up():
    world = bench({"backlash_mm": 0.1}, approach="+")
    start = world.stage("rail1").where().axes
    for way in (-0.01, 0.004, -0.002):
        said = go(world, a=way).axes
        assert real(world) == pytest.approx(said, abs=1e-12)
    straight = bench({"backlash_mm": 0.1})
    go(straight, a=-0.01)
    assert real(straight)["a"] - (start["a"] - 0.01) == pytest.approx(1e-4)


@pytest.mark.parametrize("frequency", [5.0, 15.0, 30.0])
@pytest.mark.parametrize("settle", [0.05, 0.12, 0.5])
def test_ringing_has_its_overshoot_as_first_lobe_and_is_gone_in_time(frequency, settle):
    carriage = Carriage(overshoot=0.15e-3, frequency=frequency, settle=settle)
    t = np.linspace(0.0, 1.2 * settle, 60001)
    x = np.array([carriage.rings(0.15e-3, s) for s in t])
    peak = int(x.argmax())
    assert x[peak] == pytest.approx(0.15e-3, rel=1e-6) and x[0] == 0.0 and np.all(np.diff(x[: peak + 1]) > 0)
    assert np.abs(x[t > 0.99 * settle]).max() < 1.2 * NEGLIGIBLE and not x[t >= settle].any()
    crossings = t[np.flatnonzero(np.diff(np.sign(x[(t > 0) & (t < settle)])))]
    assert crossings == pytest.approx(np.arange(1, crossings.size + 1) / (2 * frequency), abs=2 * t[1])


def test_a_stop_rings_in_the_direction_of_travel_by_its_deceleration_and_counts_as_motion():
    world = bench({"overshoot_mm": 0.15, "settle_ms": 120.0})
    journey, begun = world._journeys["rail1"], world.now
    go(world, a=-0.02, d=0.01)
    ramp = journey.ramps[-1]
    t = [ramp.end.after(s) for s in np.linspace(0, 0.2, 2001)]
    ring = {axis: np.array([journey.at(at)[axis] - ramp.goal[axis] for at in t]) for axis in "abd"}
    assert ring["a"].min() == pytest.approx(-0.15e-3, rel=1e-3)  # full braking
    assert ring["d"].max() == pytest.approx(0.075e-3, rel=1e-3)  # half of it, the other way
    assert not ring["b"].any()
    assert journey.moves_within(ramp.end.after(0.05), ramp.end.after(0.06)) and not journey.moving(ramp.end.after(0.05))
    assert not journey.moves_within(ramp.end.after(0.121), world.now.after(10.0))
    assert journey.moves_within(begun, ramp.end) and journey.at(world.now) == ramp.goal


def test_homing_is_as_good_as_its_switches():
    off = []
    for seed in range(60):
        plan = site([radio("ap1", 4, 0, [0, 0, 1], stage="rail1")], stages=[rail("rail1")], seed=seed)
        plan["emulated"] = {"severity": 1.0, "stage": {"scale_error": 0.0, "lead_error_um": 0.0, "overshoot_mm": 0.0, "repeatability_mm": 0.04}}
        world = build(plan, VirtualClock())
        said = world.stage("rail1").home(60.0).axes
        off += [real(world)[axis] - said[axis] for axis in "abcd"]
        again = world.stage("rail1").home(60.0).axes
        assert again == said and all(real(world)[axis] - said[axis] != off[-4 + i] for i, axis in enumerate("abcd"))
    assert np.std(off) == pytest.approx(40e-6, rel=0.15) and abs(np.mean(off)) < 10e-6


def test_straightness_and_its_place_across_the_rail():
    world = bench({"straightness_um": 50.0})
    journey = world._journeys["rail1"]
    along, across = journey.track("a", [world.now])
    assert along == pytest.approx([real(world)["a"]]) and 0 < abs(across[0]) <= 50e-6
    seen = np.array([journey.carriages["a"].across(x) for x in np.linspace(-0.4, 0.4, 2001)])
    assert np.abs(seen).max() == pytest.approx(50e-6, rel=1e-4) and seen[0] == pytest.approx(seen[-1])
    ideal = bench().truth.elements("ap1", "transmit")[0]
    assert world.truth.elements("ap1", "transmit")[0] - ideal == pytest.approx([-across[0], 0.0, 0.0], abs=1e-12)  # the rail lies along y


def test_antennas_are_where_the_carriages_are_not_where_the_stage_says():
    world = bench({"scale_error": 1e-3, "backlash_mm": 0.1, "lead_error_um": 20.0})
    go(world, a=-0.02, d=0.03)
    assert world.truth.elements("ap1", "transmit")[:, 1] == pytest.approx(list(real(world).values()), abs=1e-12)
    assert np.abs(np.array(list(real(world).values())) - list(world.stage("rail1").where().axes.values())).max() > 20e-6


def test_carriages_that_meet_stop_and_lose_the_rest_of_the_way():
    world = bench()
    begin, gap = real(world), real(world)["b"] - real(world)["a"]
    said = go(world, a=0.03).axes
    stop = real(world)
    assert said["a"] == pytest.approx(begin["a"] + 0.03, abs=STEP)
    assert stop["b"] - stop["a"] == pytest.approx(0.038, abs=1e-8)  # they touch
    (entry,) = [entry for entry in world.truth.log if entry.what == "collision"]
    assert entry.details["axes"] == ("a", "b") and entry.at < world.now
    met = real(world, entry.at)
    assert met["b"] - met["a"] == pytest.approx(0.038, abs=1e-7) and gap > 0.038
    before = real(world)
    go(world, a=-0.02)  # the count has lost what the collision cost
    assert real(world)["a"] - before["a"] == pytest.approx(-0.02, abs=STEP)
    assert real(world)["a"] - world.stage("rail1").where().axes["a"] == pytest.approx(stop["a"] - said["a"], abs=1e-9)
    world.stage("rail1").home(60.0)
    assert real(world) == pytest.approx(world.stage("rail1").where().axes, abs=1e-12)


def test_moves_that_keep_their_distance_lose_nothing():
    rng = np.random.default_rng(3)
    world = bench()
    for _ in range(20):
        goal = rng.uniform(-0.39, 0.1) + np.cumsum(rng.uniform(0.0381, 0.1, 4))
        world.stage("rail1").move(Move(dict(zip("abcd", goal)), 0.1, 0.5), 30.0)
        assert real(world) == pytest.approx(world.stage("rail1").where().axes, abs=1e-12)
    assert not world.truth.log


def test_what_was_forgotten_moves_nothing():
    carriage = Carriage(scale_error=1e-3, lead_error=20e-6, backlash=50e-6, overshoot=0.15e-3)
    journey = Journey({"a": 0.0}, carriages={"a": carriage}, lost={"a": 13e-6})
    ways = [0.1, -0.03, 0.02, 20e-6, -0.01]
    at = 0.0
    for i, way in enumerate(ways):
        stalls = {"a": 0.5} if i == 1 else {}
        journey.add(Ramp(Instant(10 * i, 0.0), {"a": at}, {"a": at + way}, abs(way), 0.1, 0.5, stalls=stalls))
        at += way
    looks = [Instant(i, 0.25) for i in range(31, 60)] + [journey.ramps[-1].end.after(s) for s in (0.01, 0.05)]
    before = [journey.at(look) for look in looks]
    journey.forget_before(Instant(31, 0.0))
    assert len(journey.ramps) < 5 and [journey.at(look) for look in looks] == before


FAULTS = {
    "lost-steps": {"steps": 40, "axis": "a"},
    "stuck-axis": {"axis": "a"},
    "half-speed": {},
    "overshoot-x5": {},
    "count-reset": {},
}


@pytest.mark.parametrize("kind", FAULTS)
def test_each_fault_of_a_stage_shows_where_it_should_and_nowhere_else(kind):
    table = {"overshoot_mm": 0.1, "settle_ms": 100.0}
    good = bench(table)
    bad = bench(table, [{"what": kind, "where": "rail1", "at_s": 1.0, "for_s": 2.0, **FAULTS[kind]}])
    for world in (good, bad):
        assert go(world, a=-0.001).axes and world.now.seconds < 1.0  # before the fault
    assert real(good) == real(bad)
    for world in (good, bad):
        world.advance(0.5 + Instant(1, 0.0).since(world.now))
    lasted, said, ring = [], [], []
    for world in (good, bad):
        begun = world.now
        said.append(go(world, a=-0.02, d=0.01).axes)
        ramp = world._journeys["rail1"].ramps[-1]
        lasted.append(ramp.end.since(begun))
        ring.append(max(abs(real(world, ramp.end.after(s))["a"] - real(world)["a"]) for s in np.linspace(0, 0.1, 200)))
    off = real(bad)["a"] - real(good)["a"]
    assert lasted[1] / lasted[0] == pytest.approx(2.0 if kind == "half-speed" else 1.0, rel=1e-6)
    assert off == pytest.approx({"lost-steps": 40 * STEP, "stuck-axis": 0.02}.get(kind, 0.0), abs=1e-6)
    assert real(bad)["d"] == pytest.approx(real(good)["d"], abs=1e-6)
    if kind == "overshoot-x5":
        assert ring[1] == pytest.approx(5 * ring[0], rel=0.02)
    if kind == "count-reset":
        assert said[1]["a"] - said[0]["a"] == pytest.approx(0.001, abs=STEP)  # what it had moved before
    else:
        assert said[0] == said[1]
    assert [entry.what for entry in bad.truth.log] == [kind, f"{kind} ends"][: len(bad.truth.log)] and not good.truth.log


def test_a_switch_that_bounces_sets_the_count_wrong():
    world = bench({}, [{"what": "switch-bounce", "where": "rail1", "at_s": 0.0, "axis": "b", "error_mm": 0.5}])
    said = world.stage("rail1").home(60.0).axes
    off = np.array([real(world)[axis] - said[axis] for axis in "abcd"])
    assert off == pytest.approx([0.0, 0.5e-3, 0.0, 0.0], abs=1e-9)


@pytest.mark.parametrize(("kind", "id", "homed"), [("alarm", "alarm", True), ("controller-reset", "reset", False)])
def test_a_stage_that_gives_up_says_so_and_stands(kind, id, homed):
    from hil.device import DeviceError

    world = bench({}, [{"what": kind, "where": "rail1", "at_s": 0.2, "for_s": 1.0}])
    begin = real(world)["a"]
    with pytest.raises(DeviceError, match=rf"error\[{id}\]"):
        go(world, a=0.03, b=0.03, c=0.03, d=0.03)
    assert 0.2 < world.now.seconds < 0.5 and 0.002 < real(world)["a"] - begin < 0.028
    assert world.stage("rail1").where().homed is homed and not world.stage("rail1").where().moving
    world.advance(2.0)
    if not homed:
        with pytest.raises(DeviceError, match=r"error\[not-homed\]"):
            world.stage("rail1").move(Move({"a": 0.0}, 0.1, 0.5), 30.0)
        world.stage("rail1").home(30.0)
    go(world, a=-0.001)
