"""The world in its own process: transmissions end with the node that made them, waits end, nothing is left behind."""

from __future__ import annotations

import math
import os
import signal
import threading
import time

import numpy as np
import pytest
from link_bench import children, controller, end, gone, wait_for

from hil.clock import Instant, VirtualClock, WallClock
from hil.device import DeviceError, Move, Setting
from hil.link.client import connect
from hil.node.launch import LocalNodes
from hil.node.plan import Device, NodePlan
from sim_backend import remote
from sim_backend.server import WorldProcess
from sim_backend.world import build

CAPABILITY = {
    "transmit_channels": 1, "receive_channels": 1, "carrier_hz": [70e6, 6e9], "sample_rate_hz": [0.5e6, 61.44e6],
    "receive_gain_db": [0.0, 60.0],
    "receive_gain_step_db": 1.0, "attenuation_db": [0.0, 80.0], "attenuation_step_db": 0.25, "bits": 12, "transmit_full_scale_dbm": 7.0,
    "receive_full_scale_dbm": 0.0,
}  # fmt: skip
SETTING = Setting(3.5e9, 15.36e6, (40.0,), (20.0,))


def radio(name: str, y: float, axis: str | None = None) -> dict:
    antenna = {
        "transmit": 0, "receive": 0, "origin_m": [0.0, y, 2.0], "axis": [0.0, 1.0, 0.0], "offset_m": 0.0, "stage": "rail" if axis else None,
        "stage_axis": axis, "sign": 1, "gain_dbi": 0.0,
    }  # fmt: skip
    return {"name": name, "serial": f"emulated-{name}", "part": "pluto", "capability": CAPABILITY, "antennas": [antenna]}


SITE = {
    "carrier_hz": 3.5e9, "seed": 3, "emulated": {}, "radios": [radio("ap", 0.0, "x"), radio("u", 5.0)],
    "targets": [{"name": "target", "position_m": [9.0, -4.0, 1.0], "position_std_m": 1.0, "speed_m_s": 1.0}],
    "stages": [{"name": "rail", "axes": {
        "x": {"steps_per_mm": 80.0, "travel_mm": [0.0, 1000.0], "speed_mm_s": 200.0, "acceleration_mm_s2": 2000.0, "start_mm": 0.0}
    }}],
}  # fmt: skip


@pytest.fixture
def world():
    with WorldProcess(SITE) as process:
        yield process


NODE = """
import sys, time
import numpy as np
from hil.clock import WallClock
from hil.device import Move, Setting
from sim_backend import remote
radio = remote.radio("ap", WallClock(), address=sys.argv[1])
radio.configure(Setting(3.5e9, 15.36e6, (40.0,), (20.0,)))
radio.load(1, np.full((1, 512), 0.3, np.complex64)); radio.apply(1)
stage = remote.stage("rail", WallClock(), address=sys.argv[1])
print("on the air", flush=True)
stage.move(Move({"x": 1.0}, 0.2, 2.0), 60.0)
"""


def test_transmission_and_move_end_with_the_node_that_made_them(world):
    clock = WallClock()
    onlooker = remote.stage("rail", clock, address=world.address)
    node = controller(NODE, world.address)
    try:
        wait_for(lambda: onlooker.where().moving)
        user = remote.radio("u", clock, address=world.address)
        user.configure(SETTING)
        loud = np.std(user.capture(5000, 5.0).samples)
        os.kill(node.pid, signal.SIGKILL)
        wait_for(lambda: not onlooker.where().moving, 2.0)
        assert onlooker.where().axes["x"] < 0.9, "braked on the way"
        quiet = wait_for(lambda: np.std(user.capture(5000, 5.0).samples) < 0.5 * loud, 2.0)
        assert quiet
        user.close()
    finally:
        end(node)
        onlooker.close()


def test_a_mute_does_not_wait_for_a_capture(world):
    held = remote.radio("u", WallClock(), address=world.address)
    held.configure(SETTING)
    held.load(1, np.full((1, 512), 0.3, np.complex64))
    held.apply(1)
    capturing = threading.Thread(target=lambda: held.capture(8_000_000, 5.0))  # half a second of airtime
    capturing.start()
    time.sleep(0.1)
    begun = time.monotonic()
    held.mute()
    assert time.monotonic() - begun < 0.25 and capturing.is_alive()
    assert held.version is None
    capturing.join(30.0)
    held.close()


def test_a_world_that_has_gone_is_an_error_not_a_wait(world):
    held = remote.radio("u", WallClock(), address=world.address)
    held.configure(SETTING)
    assert world.pid is not None
    os.kill(world.pid, signal.SIGKILL)
    begun = time.monotonic()
    with pytest.raises(DeviceError) as caught:
        held.capture(1000, 5.0)
    assert caught.value.id == "no-world" and caught.value.where == "u"
    held.mute()
    held.close()
    assert time.monotonic() - begun < 2.0
    with pytest.raises(DeviceError, match="no-world"):
        remote.radio("u", WallClock(), address=world.address)


def test_unknown_devices_are_refused_by_name(world):
    with pytest.raises(DeviceError) as caught:
        remote.radio("nobody", WallClock(), address=world.address)
    assert caught.value.id == "no-such-device" and caught.value.allowed == "ap, u"


def test_a_site_that_cannot_be_built_says_why():
    with pytest.raises(DeviceError) as caught:
        WorldProcess({**SITE, "emulated": {"no-such-key": 1}}).start()
    assert caught.value.id == "no-world" and "no-such-key" in caught.value.message


def test_clocks_of_world_and_node_are_carried_over(world):
    """A capture's clock reading is one of the holder's own clock, whenever that began."""
    clock = WallClock()
    time.sleep(0.2)
    held = remote.radio("u", clock, address=world.address)
    held.configure(SETTING)
    before = clock.now()
    reading = held.capture(100, 5.0).clock
    assert reading is not None and -0.02 < reading.since(before) < clock.now().since(before) + 0.02
    held.close()


def test_the_survey_finds_the_target_on_its_circle(world):
    survey = remote.Survey(world.address, WallClock())
    now = survey()
    truth = build(SITE, VirtualClock()).truth.target(Instant(0, 0.0))
    assert now is not None and truth is not None
    assert math.dist(now, truth[0]) < 3.1, "one seed, one circle of 1.5 m radius, in every process"
    time.sleep(0.3)
    later = survey()
    assert later is not None and 0.2 < math.dist(now, later) < 1.5, "it walks 1 m/s"
    survey.close()


def test_nodes_over_an_emulated_world_move_and_capture(world):
    """The whole chain: controller, ZeroMQ, node process, socket, world process."""
    address = {"address": world.address}
    plans = [
        NodePlan(name="ap", devices=(
            Device(kind="radio", name="ap", entry="sim_backend.remote:radio", arguments=address),
            Device(kind="stage", name="rail", entry="sim_backend.remote:stage", arguments=address),
        )),
        NodePlan(name="u", devices=(Device(kind="radio", name="u", entry="sim_backend.remote:radio", arguments=address),)),
    ]  # fmt: skip
    clock = WallClock()
    with LocalNodes(plans) as nodes, connect(nodes.addresses, clock=clock, lease_s=0.5, timeout_s=5.0) as link:
        link.configure_all({"ap": SETTING, "u": SETTING})
        silence = link.capture({"u": 20_000}, timeout_s=5.0)["u"]
        link.prepare(4, {"ap": np.full((1, 512), 0.3, np.complex64)})
        link.apply(4)
        heard = link.capture({"ap": 20_000, "u": 20_000}, timeout_s=5.0)["u"]
        assert silence.version is None and heard.version == 4
        assert np.std(heard.samples) > 3.0 * np.std(silence.samples)
        assert heard.clock is not None and abs(clock.now().since(heard.clock)) < 5.0
        there = link.move({"rail": Move({"x": 0.02}, 0.2, 2.0)}, timeout_s=10.0)["rail"]
        assert abs(there.axes["x"] - 0.02) < 2e-5 + 5.0 * there.std["x"]
        worker = children(nodes.pid("ap"))[0]
        os.kill(worker, signal.SIGKILL)  # its connections die, and with them what it had on the air
        onlooker = remote.radio("ap", clock, address=world.address)
        wait_for(lambda: onlooker.version is None, 2.0)
        onlooker.close()


def test_a_world_ends_with_the_process_that_started_it():
    script = (
        "import json, sys, time\nfrom sim_backend.server import WorldProcess\n"
        "world = WorldProcess(json.loads(sys.argv[1])); world.start(); print('up', flush=True); time.sleep(30)\n"
    )
    import json

    process = controller(script, json.dumps(SITE))
    try:
        (world,) = children(process.pid)
        os.kill(process.pid, signal.SIGKILL)
        wait_for(lambda: gone(world), 3.0)
    finally:
        end(process)
