"""Legal layouts, synchronous moves, and how close carriages come on the way."""

import math

import numpy as np
import pytest

from hil import motion
from hil.device import Position
from hil.errors import DeviceError, InputError


def rail(**change):
    carriages = (
        motion.Carriage("a", offset=-0.1), motion.Carriage("b", offset=0.3, sign=-1), motion.Carriage("c"), motion.Carriage("d", 0.05)
    )  # fmt: skip
    settings = dict(
        name="rail1", carriages=carriages, travel={axis: (-0.5, 0.6) for axis in "abcd"}, spacing=0.04, speed=0.1, acceleration=0.5,
        span=(-0.34, 0.34),
    )  # fmt: skip
    return motion.Rail(**(settings | change))


def test_mapping_goes_both_ways_and_knows_the_sign():
    layout = np.array([-0.3, -0.1, 0.05, 0.3])
    readings = rail().readings(layout)
    assert readings == pytest.approx({"a": -0.2, "b": 0.4, "c": 0.05, "d": 0.25})
    assert rail().local(readings) == pytest.approx(layout)
    homed = Position(readings, dict.fromkeys(readings, 1e-5), True, False)
    assert rail().positions(homed) == pytest.approx(layout)
    with pytest.raises(DeviceError) as caught:
        rail().positions(Position(readings, dict.fromkeys(readings, math.inf), False, False))
    assert caught.value.id == "not-homed"


def test_limits_are_the_axis_travel_seen_from_local_x_cut_to_the_span():
    limits = rail(travel={"a": (0.0, 0.2), "b": (0.0, 0.2), "c": (-1.0, 1.0), "d": (-0.2, 0.0)}).limits()
    assert limits == pytest.approx(np.array([[-0.1, 0.1], [0.1, 0.3], [-0.34, 0.34], [-0.15, 0.05]]))


@pytest.mark.parametrize(
    ("layout", "id"),
    [
        ([-0.35, 0.0, 0.1, 0.2], "travel"), ([-0.3, 0.1, 0.0, 0.2], "order"), ([-0.3, 0.0, 0.039, 0.2], "spacing"),
        ([-0.3, 0.0, math.nan, 0.2], "layout"), ([[0.0]], "layout"),
    ],
)  # fmt: skip
def test_illegal_layouts_are_refused_with_found_and_allowed(layout, id):
    with pytest.raises(InputError) as caught:
        motion.check_layout(layout, (-0.34, 0.34), 0.04, rail="rail1")
    assert caught.value.id == id and caught.value.found and caught.value.allowed


def test_a_layout_exactly_at_its_limits_is_legal_and_a_margin_makes_it_not():
    layout = np.array([-0.34, -0.30, 0.30, 0.34])
    assert motion.check_layout(layout, (-0.34, 0.34), 0.04) is not None
    with pytest.raises(InputError):
        motion.check_layout(layout, (-0.34, 0.34), 0.04, margin=1e-4)


def test_duration_of_long_and_short_moves():
    assert motion.duration(0.04283, 0.1, 0.5) == pytest.approx(0.6283)  # half a wavelength at 3.5 GHz: 0.63 s
    assert motion.duration(0.3426, 0.1, 0.5) == pytest.approx(3.626)  # four wavelengths: 3.6 s
    assert motion.duration(0.005, 0.1, 0.5) == pytest.approx(2 * math.sqrt(0.01))
    edge = 0.1**2 / 0.5
    assert motion.duration(edge * (1 - 1e-12), 0.1, 0.5) == pytest.approx(motion.duration(edge, 0.1, 0.5))
    assert motion.duration(0.0, 0.1, 0.5) == 0.0
    with pytest.raises(InputError):
        motion.duration(0.1, 0.0, 0.5)


@pytest.mark.parametrize("distance", [0.004, 0.02, 0.2])
def test_profile_keeps_speed_and_acceleration_and_arrives(distance):
    total = motion.duration(distance, 0.1, 0.5)
    times = np.linspace(0.0, total, 4001)
    way = distance * np.array([motion.elapsed_fraction(t, distance, 0.1, 0.5) for t in times])
    speed = np.gradient(way, times)
    assert way[0] == 0.0 and way[-1] == pytest.approx(distance)
    assert np.all(np.diff(way) >= 0.0) and np.max(speed) <= 0.1 * (1 + 1e-6)
    assert np.max(np.abs(np.gradient(speed, times))) <= 0.5 * 1.01
    assert np.max(speed) == pytest.approx(min(0.1, math.sqrt(distance * 0.5)), rel=1e-3)


def test_no_move_between_legal_layouts_comes_closer_than_its_ends():
    rng = np.random.default_rng(5)
    for _ in range(200):
        start, goal = (np.sort(rng.uniform(-0.34, 0.22, 4)) + 0.04 * np.arange(4) for _ in range(2))
        planned = motion.plan(rail(), start, goal)
        times = np.linspace(0.0, planned.duration, 60)
        share = np.array([motion.elapsed_fraction(t, planned.distance, 0.1, 0.5) for t in times])
        path = start + share[:, None] * (goal - start)
        assert planned.closest == pytest.approx(np.min(np.diff(path, axis=1)), abs=1e-12)
        assert planned.closest >= 0.04 - 1e-9
        assert rail().local(planned.move.targets) == pytest.approx(goal)


def test_plan_refuses_bad_goals_before_anything_moves_and_bad_starts_as_a_device_fault():
    good = np.array([-0.3, -0.1, 0.05, 0.3])
    with pytest.raises(InputError):
        motion.plan(rail(), good, good + 0.1)
    with pytest.raises(DeviceError):
        motion.plan(rail(), good - 0.1, good)
    with pytest.raises(DeviceError) as caught:
        rail(travel={"a": (0, 1)}).limits()
    assert caught.value.id == "no-axis"
    slightly_close = np.array([-0.3, -0.1, -0.0605, 0.3])
    assert motion.plan(rail(), slightly_close, good).closest == pytest.approx(0.0395)
