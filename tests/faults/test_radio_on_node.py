"""A real node process that drives a radio on the network: it transmits, captures, and falls silent however controller or node end."""

from __future__ import annotations

import os
import signal
from dataclasses import asdict, replace

import numpy as np
import pytest
from daemon_bench import require_libiio, site
from link_bench import children, wait_for

from hil import reach
from hil.clock import WallClock
from hil.device import DeviceError, Setting
from hil.envelope import Limits
from hil.link.client import connect
from hil.node.launch import LocalNodes
from hil.node.plan import Device, NodePlan
from hil.parts import capability
from sim_backend.iiod.daemon import Daemon

SETTING = Setting(3.5e9, 4e6, (20.0,), (20.0,))
WAVE = np.full((1, 512), 0.3, np.complex64)


@pytest.fixture
def node():
    """(link, nodes, daemon): one node with one radio that is on the air."""
    require_libiio()
    with Daemon(site("pluto")) as daemon:
        arguments = {"uri": daemon.uris["a"], "capability": asdict(capability("pluto", "emulated-a")), "fitting": {"bandwidth_hz": 3e6}}
        radio = Device(kind="radio", name="a", entry=reach.DRIVER, arguments=arguments)
        plan = NodePlan(name="desk", devices=(radio,), lease_s=0.5, limits=Limits(band_hz=(3.4e9, 3.6e9), power_dbm=-20.0))
        with LocalNodes([plan]) as nodes, connect(nodes.addresses, clock=WallClock(), timeout_s=5.0, lease_s=0.5) as link:
            link.configure_all({"a": SETTING})
            link.prepare(1, {"a": WAVE})
            link.apply(1)
            assert wait_for(lambda: on_air(daemon))
            yield link, nodes, daemon


def on_air(daemon: Daemon) -> bool:
    return daemon.world.on_air("a", daemon.pace.now()) is not None


def test_samples_come_through_driver_and_link_and_limits_hold(node) -> None:
    link, _, daemon = node
    capture = link.capture({"a": 4096})["a"]
    expected = 7.0 - 20.0 + 20 * np.log10(0.3) - 30.0 + 10.0 + 20.0
    assert capture.version == 1 and 10 * np.log10(np.mean(np.abs(capture.samples) ** 2)) == pytest.approx(expected, abs=0.5)
    before = daemon.boards["a"].front.mouths[0]
    with pytest.raises(DeviceError) as caught:
        link.configure("a", replace(SETTING, carrier_hz=3.7e9))
    assert caught.value.id == "out-of-band" and daemon.boards["a"].front.mouths[0].carrier == before.carrier
    with pytest.raises(DeviceError) as caught:
        link.prepare(2, {"a": WAVE * 3})
    assert caught.value.id == "power-cap"
    assert wait_for(lambda: not on_air(daemon)), "after any error the transmitter is silent"


def test_a_node_that_is_told_to_end_leaves_silence(node) -> None:
    _, nodes, daemon = node
    nodes.stop()
    assert wait_for(lambda: not on_air(daemon))


def test_a_worker_that_is_killed_leaves_silence(node) -> None:
    _, nodes, daemon = node
    for worker in children(nodes.pid("desk")):
        os.kill(worker, signal.SIGKILL)
    assert wait_for(lambda: not on_air(daemon))


def test_a_radio_that_goes_away_is_named_with_a_remedy(node) -> None:
    link, _, daemon = node
    daemon.stop()
    with pytest.raises(DeviceError) as caught:
        link.capture({"a": 4096})
    assert caught.value.id in ("unplugged", "no-answer") and "hil doctor" in caught.value.fix
