"""What a room may have besides free space: walls, cables, a radio's own leakage, patterns, targets of several points."""

from __future__ import annotations

import numpy as np
import pytest
from sites import CARRIER, QUIET, WAVELENGTH, error_db, pair, radio, running, site, waveform

from hil.clock import VirtualClock
from sim_backend.kernels import BLOCK
from sim_backend.paths import Cosine, Echo, Scatterers, Sight, Wall, trace
from sim_backend.world import build

C = 299792458.0


def world_of(emulated: dict, **more):
    return build(pair({"severity": 0.0, "receiver": QUIET, **emulated}, transmit=1, receive=1, **more), VirtualClock())


def with_room(**room) -> dict:
    return {"room": {"scatterers": 0, **room}}


def test_g5_a_wall_two_wavelengths_longer_nearly_cancels_the_direct_path():
    d1 = 26.182517509
    height = 0.5 * np.sqrt((d1 + 2 * WAVELENGTH) ** 2 - d1**2)
    bench = site(
        [radio("a", 1, 0, [0.0, 0.0, height]), radio("b", 0, 1, [d1, 0.0, height])],
        emulated={"severity": 0.0, **with_room(wall=[{"point_m": [5.0, 7.0, 0.0], "normal": [0.0, 0.0, -3.0]}])},
    )
    h = build(bench, VirtualClock()).truth.channel("a", "b", np.array([0.0, 5e6, -5e6]))[:, 0, 0]
    assert np.abs(h) == pytest.approx([1.692273e-6, 4.956100e-6, 4.956100e-6], rel=2e-3)  # the golden delays have twelve digits
    direct = WAVELENGTH / (4 * np.pi * d1)
    assert 20 * np.log10(np.abs(h[0]) / direct) == pytest.approx(-43.7412, abs=0.01)


def test_a_wall_reflects_with_its_loss_to_its_own_side_only():
    one = np.array([[0.0, 1.0, 0.0], [0.0, -1.0, 0.0]])
    wall = Wall(np.zeros(3), np.array([0.0, 1.0, 0.0]), -0.5)
    rays = wall.rays(one, np.array([[6.0, 2.0, 0.0]]), WAVELENGTH)
    length = np.hypot(6.0, 3.0)
    assert rays.delay[0, 0, 0] == pytest.approx(length / C)
    assert rays.gain[0, 0] == pytest.approx([-0.5 * WAVELENGTH / (4 * np.pi * length), 0.0])


def test_the_medium_plays_a_wall_a_cable_and_a_pattern_as_the_reference_has_them():
    rng = np.random.default_rng(1)
    room = with_room(scatterers=2, wall=[{"point_m": [0.0, 4.0, 0.0], "normal": [0, 1, 0], "reflection_db": -3.0}], pattern={"exponent": 1.5})
    cable = [{"from": "a.tx1", "to": "b.rx0", "gain_db": -60.0, "length_m": 3.0}]
    walks = {"name": "target", "position_m": [5.0, -3.0, 0.5], "speed_m_s": 1.0}
    bench = pair({"severity": 0.0, "receiver": QUIET, **room, "cable": cable}, targets=[walks])
    world = running(bench, {"a": waveform(rng, 2, 512)})
    world.radio("b").capture(4096, 1.0)
    tuned, first, _ = world.truth.windows("b")[-1]
    block = first - first % BLOCK + BLOCK
    heard = world.port(tuned, block, 1, world.airings())
    ticks = np.arange(block, block + BLOCK, 97)
    assert world.truth.rays("a", "b").delay.shape == (1 + 2 + 1 + 1 + 1, 2, 2)
    assert error_db((heard[0] + 1j * heard[1])[:, ticks - block], world.truth.heard(tuned, ticks)) < -100.0


def test_reciprocity_of_walls_and_patterns():
    rng = np.random.default_rng(2)
    a, b = rng.uniform(0, 2, (4, 3)), rng.uniform(4, 6, (3, 3))
    way = rng.standard_normal((7, 3))
    way /= np.linalg.norm(way, axis=1, keepdims=True)
    points = rng.uniform(0, 8, (5, 3))
    wall = Wall(np.array([0, 0, -1.0]), np.array([0, 0.6, 0.8]), -0.7)
    paths = [Sight(), Scatterers(points, np.exp(1j * np.arange(5))), wall, Echo(points, 2.0, several=True)]

    def h(transmit, receive, normals):
        delay, gain = trace(paths, transmit, receive, WAVELENGTH, None, Cosine(1.3, *normals))
        return (gain * np.exp(-2j * np.pi * ((CARRIER + 4e6) * delay % 1.0))).sum(axis=-3)

    there, back = h(a, b, (way[:4], way[4:])), h(b, a, (way[4:], way[:4]))
    assert there.shape == (3, 4) and np.abs(there - back.T).max() < 1e-12 * np.abs(there).max()


def test_a_cosine_pattern_has_its_power_law_and_nothing_behind():
    way = np.array([[np.cos(t), 0.0, np.sin(t)] for t in (np.pi / 2, np.pi / 6, -0.3)]) * 10.0
    up = np.array([[0.0, 0.0, 1.0]])
    pattern = Cosine(2.0, up, -up[[0, 0, 0]])
    rays = trace([Sight()], np.zeros((1, 3)), way, WAVELENGTH, None, pattern)
    assert np.abs(rays.gain[0, :, 0]) == pytest.approx(WAVELENGTH / (4 * np.pi * 10.0) * np.array([1.0, 0.25, 0.0]))


def test_a_cable_adds_to_the_air_or_excludes_it():
    cable = {"from": "a.tx0", "to": "b.rx0", "gain_db": -30.0, "delay_ns": 40.0}
    rays = world_of({"cable": [cable]}).truth.rays("a", "b")
    assert rays.delay[:, 0, 0] == pytest.approx([10.0 / C, 40e-9])
    assert np.abs(rays.gain[:, 0, 0]) == pytest.approx([WAVELENGTH / (40 * np.pi), 10**-1.5])
    only = world_of({"cable": [cable | {"exclusive": True}]}).truth.rays("a", "b")
    assert np.abs(only.gain[:, 0, 0]) == pytest.approx([0.0, 10**-1.5])


def test_a_coupler_to_a_port_without_an_antenna():
    bench = pair({"severity": 0.0, "receiver": QUIET, "cable": [{"from": "a.tx0", "to": "a.rx0", "gain_db": -30.0, "delay_ns": 2.0}]})
    bench["radios"][0]["capability"]["receive_channels"] = 1
    world = running(bench, {"a": waveform(np.random.default_rng(3), 2, 512)})
    rays = world.truth.rays("a", "a")
    assert np.abs(rays.gain[-1, 0]) == pytest.approx([10**-1.5, 0.0]) and rays.delay[-1, 0] == pytest.approx(2e-9)
    world.radio("a").capture(4096, 1.0)
    tuned, first, _ = world.truth.windows("a")[-1]
    heard = world.port(tuned, first - first % BLOCK, 4, world.airings())
    (sent,) = world.airings()
    radiated = np.mean(np.abs(sent.program.codes[0] / sent.program.full_scale) ** 2) * sent.amplitude[0] ** 2
    assert 10 * np.log10(np.mean(heard[0] ** 2 + heard[1] ** 2) / radiated) == pytest.approx(-30.0, abs=0.3)


@pytest.mark.parametrize(
    ("cable", "said"),
    [
        ({"from": "a.tx7", "to": "b.rx0"}, "cable.from: found a.tx7; allowed a.tx0"),
        ({"from": "a.tx0", "to": "b.tx0"}, "cable.to: found b.tx0; allowed b.rx0"),
        ({"from": "a.tx0", "to": "b.rx0", "loss": 3}, "cable.loss: found unknown key"),
        ({"from": "a.tx0", "to": "b.rx0", "length_m": 1.0, "delay_ns": 1.0}, "one of length_m and delay_ns"),
        ({"from": "a.tx0", "to": "b.rx0", "length_m": -1.0}, "cable.length_m: found -1.0"),
    ],
)
def test_a_cable_that_cannot_be(cable, said):
    with pytest.raises(ValueError, match=said):
        world_of({"cable": [cable]})


@pytest.mark.parametrize(
    ("room", "said"),
    [
        ({"wall": [{"point_m": [0, 0, 0]}]}, "room.wall.normal: found None"),
        ({"wall": [{"point_m": [0, 0, 0], "normal": [0, 0, 0]}]}, "not zero"),
        ({"wall": [{"point_m": [0, 0, 0], "normal": [0, 0, 1], "reflection_db": 2.0}]}, "at most 0"),
        ({"pattern": "dipole"}, "room.pattern: found dipole"),
        ({"self_interference_db": "loud"}, "room.self_interference_db"),
    ],
)
def test_a_room_that_cannot_be(room, said):
    with pytest.raises(ValueError, match=said):
        world_of({"room": room})


def test_a_radio_hears_itself_through_a_random_matrix_of_the_mean_power_that_is_declared():
    def own(**room):
        bench = site([radio("x", 4, 3, [0, 0, 0]), radio("y", 4, 3, [5, 0, 0])], emulated={"severity": 0.0, **with_room(**room)})
        return build(bench, VirtualClock()).truth

    default, loud = own().rays("x", "x"), own(self_interference_db=-50.0).rays("x", "x")
    assert 10 * np.log10(np.mean(np.abs(default.gain) ** 2)) == pytest.approx(-70.0)
    assert loud.gain == pytest.approx(10 * default.gain)
    assert np.std(np.abs(default.gain)) > 0.2 * np.mean(np.abs(default.gain))
    assert not np.allclose(own().rays("y", "y").gain, default.gain)
    assert default.delay.min() == pytest.approx(1e-9 + WAVELENGTH / 4 / C, rel=1e-6)  # the two rows stand a quarter of a wave apart
    assert not own(self_interference_db=-1000.0).rays("x", "x").gain.any()


def test_points_of_a_target_share_its_cross_section():
    targets = [{"name": "target", "position_m": [5.0, 3.0, 1.0], "speed_m_s": 0.0}]
    emulated = with_room() | {"target": {"area_m2": 2.0, "radius_m": 0.0}}
    one = world_of(emulated, targets=targets).truth.rays("a", "b")
    emulated["target"]["points_m"] = [[0.5, 0, 0], [-0.5, 0, 0]]
    two = world_of(emulated, targets=targets).truth.rays("a", "b")
    assert two.gain.shape[0] == one.gain.shape[0] + 1
    for x, delay, gain in zip((5.5, 4.5), two.delay[1:, 0, 0], two.gain[1:, 0, 0]):
        legs = np.hypot(x, 3.0), np.hypot(x - 10.0, 3.0)
        assert delay == pytest.approx(sum(legs) / C)
        assert abs(gain) == pytest.approx(WAVELENGTH / (4 * np.pi) ** 1.5 / legs[0] / legs[1])
    assert abs(one.gain[1, 0, 0]) == pytest.approx(WAVELENGTH / (4 * np.pi) ** 1.5 * np.sqrt(2.0) / 34.0)
