"""The bench of two cells: what its files say is what the emulator makes of them, and what a lab on it finds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import hil.bench
from benchmarks.cells import budget
from hil.clock import VirtualClock
from hil.errors import InputError
from hil.loop.lab import Lab
from hil.records import RunWriter, new_name

BENCH = Path(__file__).resolve().parents[2] / "examples" / "multicell"


@pytest.fixture(scope="module")
def bench():
    return hil.bench.load(BENCH)


@pytest.fixture(params=["process", pytest.param("nodes", marks=pytest.mark.slow)])
def lab(bench, request, tmp_path):
    """Devices opened at a depth."""
    clock = VirtualClock() if request.param == "process" else hil.clock.WallClock()
    with hil.bench._depth(bench, request.param, 1, clock, 2.0) as (link, survey), RunWriter.create(
        tmp_path, new_name("multicell"), scenario_name="multicell", command="", seed=1, depth=request.param, inputs=bench.inputs,
        versions={}, clock=clock,
    ) as run:  # fmt: skip
        made = Lab(bench.scenario, bench.testbed, link, clock, run, 1, request.param, survey)
        made.open_devices()
        yield made


def test_a_base_station_is_two_arrays_on_one_radio(bench):
    world = hil.bench.build_world(bench, 1, VirtualClock())
    for cell in bench.scenario.cell:
        send, hear = (bench.scenario.part(name) for name in (cell.transmit, cell.receive))
        radio = bench.testbed.wire_of(cell.transmit).radio
        for side, array in (("transmit", send), ("receive", hear)):  # nothing else on either side
            local = (np.arange(array.elements) - (array.elements - 1) / 2) * bench.scenario.wavelength / 2
            wanted = np.array(array.origin_m) + local[:, None] * np.array(array.axis)
            assert world.truth.elements(radio, side) == pytest.approx(wanted, abs=1e-6)
        itself = world.truth.rays(radio, radio)
        assert 10 * np.log10(np.mean(np.abs(itself.gain[0]) ** 2)) == pytest.approx(-70.0, abs=1e-6)
        away = np.linalg.norm(wanted[4] - world.truth.elements(radio, "transmit")[2])
        assert itself.delay[0, 4, 2] == pytest.approx(1e-9 + away / 299792458.0, abs=1.01e-10)  # and 50 ps of each chain


def test_a_lab_finds_its_arrays_targets_and_what_they_share(lab):
    assert lab.capability["bs1"].start == lab.capability["bs2"].start == "triggered" and lab.capability["u1"].start == "arbitrary"
    assert (lab.capability["bs1"].transmit_channels, lab.capability["bs1"].receive_channels) == (10, 10)
    assert [array.channels for array in lab.transmitters] == [(0, 1, 2, 3, 4, 5)] * 2
    points, array = lab.antenna_points("bs2"), lab.sensors[1]
    assert points == pytest.approx(array.points(array.fixed)) and points.shape == (10, 3)
    assert lab.antenna_points("u5") == pytest.approx(np.array([[13.7, 3.4, 1.5]]))
    now = lab.clock.now()
    for name, target in lab.scenario.targets.items():
        assert np.linalg.norm(np.subtract(lab.survey(now, name), target.position_m)) < 0.5 + 4 * target.position_std_m
    assert lab.survey(now) is None
    assert np.linalg.norm(np.subtract(lab.survey(now, "west"), lab.survey(now, "east"))) > 5.0


def test_the_room_is_what_the_readme_says(bench):
    found = [budget(bench, seed) for seed in (1, 2, 3)]
    snr = np.array([one.snr for one in found])
    own = np.array([[True] * 3 + [False] * 3, [False] * 3 + [True] * 3])
    assert np.median(snr[:, own]) == pytest.approx(30.0, abs=0.7) and np.median(snr[:, own]) - np.median(snr[:, ~own]) == pytest.approx(5.0, abs=1.0)
    for one in found:
        assert one.ripple.max() < 0.5 and one.spread.max() < 0.019
        assert 4.0 < one.distance.min() and one.distance[:, :6].max() < 15.6 and np.all(one.echo > 30.0)
        bearing, away = (np.diag(each[:, 6:]) for each in (one.bearing, one.distance))
        assert np.abs(bearing).max() < 45.0 and 5.0 < away.min() and away.max() < 12.0


def test_a_trigger_needs_hardware_that_has_one(bench):
    with pytest.raises(InputError) as caught:
        hil.bench.reach.require_own_start(bench.testbed)
    assert (caught.value.id, caught.value.key, caught.value.found) == ("no-trigger", "shared[0].trigger", "bs1, bs2")
    hil.bench.reach.require_own_start(bench.testbed.replace({"shared.trigger": False}))
