"""The controller is killed, interrupted, or stuck: nodes mute and halt, by message or by lease; nothing stays behind."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from functools import partial

import pytest
from link_bench import children, controller, end, gone, kill_group, plan, radiate, wait_for, wave, when

from hil.clock import VirtualClock
from hil.device import DeviceError, Move, Setting
from hil.envelope import Limits
from hil.errors import LinkError, SafeState
from hil.link import messages as m
from hil.link.client import connect
from hil.node.launch import LocalNodes
from hil.node.worker import Worker
from hil.testing import InstantRadio, InstantStage

ROUND = """
import json, signal, sys, time
from link_bench import radiate
from hil.device import Move
from hil.link.client import connect
noticed = []
signal.signal(signal.SIGINT, lambda *_: noticed.append(1))      # as a loop inside a solver: it will look later
link = connect(json.loads(sys.argv[1]), lease_s=float(sys.argv[2]), timeout_s=1.0)
radiate(link, "ap1")
print("radiating", flush=True)
if len(sys.argv) > 3:
    link.move({"rail-ap1": Move({"x": 1.0}, 0.1, 1.0)}, timeout_s=30.0)
end = time.monotonic() + 20.0
while time.monotonic() < end:
    sum(range(100000))
"""


@pytest.fixture
def book(tmp_path):
    return tmp_path / "journal"


def start_round(nodes: LocalNodes, lease_s: float, *more: str) -> subprocess.Popen[str]:
    import json

    return controller(ROUND, json.dumps(nodes.addresses), str(lease_s), *more)


def status(nodes: LocalNodes) -> m.State:
    """Of ap1, asked by somebody who does not want to own it."""
    from hil.link.client import ZeroMq
    from hil.link.link import Call

    transport = ZeroMq(nodes.addresses, session="onlooker")
    try:
        outcome = transport.exchange([Call("ap1", m.Status(), timeout_s=2.0)])[0]
        assert isinstance(outcome, tuple), outcome
        return outcome[0]
    finally:
        transport.close()


def test_ctrl_c_mutes_within_100_ms_while_the_controller_computes(book):
    """Measured at the node, best of three: the machine that runs the tests may be busy, a design that is slow is slow three times."""
    took = []
    for _ in range(3):
        with LocalNodes([plan("ap1", book, stage=True, lease_s=5.0)]) as nodes:
            process = start_round(nodes, 5.0)
            try:
                pressed = kill_group(process, signal.SIGINT)
                took.append(wait_for(partial(when, book, "mute", after=pressed)) - pressed)
                wait_for(partial(when, book, "halt", after=pressed))
                state = status(nodes)
                assert state.state == "held" and "SIGINT" in state.why and state.radiating == ()
                assert process.poll() is None, "the controller itself is still computing"
            finally:
                end(process)
        if took[-1] < 0.1:
            break
    assert min(took) < 0.1, took


def test_ctrl_c_brakes_a_move_on_its_way(book):
    with LocalNodes([plan("ap1", book, stage=True, lease_s=2.0)]) as nodes:
        process = start_round(nodes, 2.0, "move")
        try:
            wait_for(lambda: when(book, "move"))
            time.sleep(0.2)
            pressed = kill_group(process, signal.SIGINT)
            still = wait_for(lambda: when(book, "still", after=pressed))
            assert still - pressed < 0.3
        finally:
            end(process)
        wait_for(lambda: _free(nodes))
        with connect(nodes.addresses) as link:
            assert 0.0 < link.where(["rail-ap1"])["rail-ap1"].axes["x"] < 0.5, "it stopped on the way, and knows where"


def _free(nodes: LocalNodes) -> bool:
    """Whether the last controller's lease is over."""
    try:
        connect(nodes.addresses).close()
    except LinkError:
        return False
    return True


def test_a_second_ctrl_c_ends_the_lease_process(book):
    with LocalNodes([plan("ap1", book, lease_s=0.5)]) as nodes:
        process = start_round(nodes, 0.5)
        try:
            lease = wait_for(lambda: children(process.pid))[0]
            kill_group(process, signal.SIGINT)
            time.sleep(0.3)
            assert not gone(lease), "after the first it goes on, so that the controller can end in order"
            kill_group(process, signal.SIGINT)
            wait_for(lambda: gone(lease), 2.0)
        finally:
            end(process)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_closed_terminal_and_sigterm_equal_ctrl_c(book, number):
    with LocalNodes([plan("ap1", book, lease_s=2.0)]) as nodes:
        process = start_round(nodes, 2.0)
        try:
            pressed = kill_group(process, number)
            muted = wait_for(lambda: when(book, "mute", after=pressed))
            assert muted - pressed < 0.5
        finally:
            end(process)


def test_controller_killed_alone_is_noticed_by_its_lease_process(book):
    """Far sooner than the lease of 5 s."""
    with LocalNodes([plan("ap1", book, stage=True, lease_s=5.0)]) as nodes:
        process = start_round(nodes, 5.0, "move")
        try:
            wait_for(lambda: when(book, "move"))
            at = time.monotonic()
            os.kill(process.pid, signal.SIGKILL)
            assert wait_for(lambda: when(book, "mute", after=at)) - at < 1.0
            assert wait_for(lambda: when(book, "still", after=at)) - at < 1.0
        finally:
            end(process)


def test_controller_and_lease_process_killed_in_mid_round_the_lease_mutes_and_halts(book):
    lease_s = 0.3
    with LocalNodes([plan("ap1", book, stage=True, lease_s=lease_s)]) as nodes:
        process = start_round(nodes, lease_s, "move")
        try:
            wait_for(lambda: when(book, "move"))
            time.sleep(3 * lease_s)  # the lease process has kept it alive for longer than one lease
            assert when(book, "still") is None and status(nodes).radiating == ("ap1",)
            at = kill_group(process)
            muted = wait_for(lambda: when(book, "mute", after=at))
            assert muted - at < lease_s + 0.25, f"{muted - at:.3f} s"
            assert wait_for(lambda: when(book, "still", after=at)) - at < lease_s + 0.5
            state = status(nodes)
            assert state.state == "safe" and "silent for longer than its lease of 0.3 s" in state.why
        finally:
            end(process)
        with connect(nodes.addresses) as link:
            with pytest.raises(SafeState):
                radiate(link, "ap1")
            link.clear()
            radiate(link, "ap1")


def test_a_controller_that_gets_nowhere_loses_its_leases(book):
    with LocalNodes([plan("ap1", book, lease_s=0.2)]) as nodes:
        with connect(nodes.addresses, lease_s=0.2, progress_deadline_s=0.6) as link:
            radiate(link, "ap1")
            for _ in range(8):  # computing, but reporting: longer than lease and deadline
                time.sleep(0.15)
                link.progress()
            assert status(nodes).radiating == ("ap1",)
            at = time.monotonic()
            muted = wait_for(lambda: when(book, "mute", after=at))
            assert 0.5 < muted - at < 1.3, f"{muted - at:.3f} s"
            assert status(nodes).state == "safe"
        with connect(nodes.addresses) as link:
            link.clear()


def test_a_lost_lease_process_is_noticed_by_the_controller(book):
    with LocalNodes([plan("ap1", book)]) as nodes, connect(nodes.addresses, lease_s=0.3) as link:
        for pid in [pid for pid in children(os.getpid()) if b"hil.link.lease" in open(f"/proc/{pid}/cmdline", "rb").read()]:
            os.kill(pid, signal.SIGKILL)
        with pytest.raises(LinkError, match="lease-lost"):
            for _ in range(100):
                link.progress()
                time.sleep(0.01)


def test_nothing_is_left_behind_when_the_controller_is_killed(book):
    """Guardians, workers, lease process: all gone, whatever happened to their parent."""
    script = """
import sys, time
from pathlib import Path
from link_bench import plan, radiate
from hil.node.launch import LocalNodes
from hil.link.client import connect
nodes = LocalNodes([plan("ap1", Path(sys.argv[1])), plan("ap2", Path(sys.argv[1]))]); nodes.start()
link = connect(nodes.addresses, lease_s=0.3); radiate(link, "ap1", "ap2")
print("radiating", flush=True); time.sleep(30)
"""
    process = controller(script, str(book))
    try:
        mine = children(process.pid)
        everybody = mine + [grandchild for child in mine for grandchild in children(child)]
        assert len(everybody) == 5  # two guardians, two workers, one lease process
        at = time.monotonic()
        os.kill(process.pid, signal.SIGKILL)
        wait_for(lambda: all(gone(pid) for pid in everybody), 5.0)
        assert when(book, "mute", device="ap1", after=at) and when(book, "mute", device="ap2", after=at)
    finally:
        end(process)


def test_a_guardian_killed_takes_its_worker_along(book):
    with LocalNodes([plan("ap1", book)]) as nodes:
        worker = children(nodes.pid("ap1"))[0]
        os.kill(nodes.pid("ap1"), signal.SIGKILL)
        wait_for(lambda: gone(worker), 3.0)


# -- the dead man's rule itself, in virtual time -------------------------------------------------------------------------------------------


def virtual(**changes) -> tuple[Worker, VirtualClock, InstantRadio]:
    clock = VirtualClock()
    radio = InstantRadio("ap1", clock)
    worker = Worker("east", {"ap1": radio}, {"rail": InstantStage("rail", clock)}, clock=clock, **changes)
    worker.handle(m.Configure(device="ap1", setting=Setting(3.5e9, 10e6)))
    worker.handle(m.Prepare(version=1, radios={"ap1": 0}), [wave(0.1)])
    return worker, clock, radio


def test_lease_lapses_only_while_radiating_or_moving():
    worker, clock, radio = virtual(lease_s=0.1)
    clock.sleep(10.0)
    worker.tick()
    assert worker.state().state == "ready", "an idle node may wait for ever"
    worker.handle(m.Apply(version=1))
    clock.sleep(0.099)
    worker.tick()
    assert radio.version == 1
    worker.handle(m.Lease(sequence=1, valid_s=5.0))  # no controller can make a lease longer than the node's own
    clock.sleep(0.101)
    worker.tick()
    assert radio.version is None and worker.state().state == "safe"
    with pytest.raises(SafeState):
        worker.handle(m.Apply(version=1))
    worker.handle(m.Clear())
    worker.handle(m.Apply(version=1))
    assert radio.version == 1


def test_a_hold_lasts_until_cleared_or_another_controller():
    worker, _, radio = virtual()
    worker.handle(m.Apply(version=1))
    worker.handle(m.Mute(why="Ctrl-C", hold=True), session="anybody")
    assert radio.version is None
    with pytest.raises(SafeState) as caught:
        worker.handle(m.Apply(version=1))
    assert caught.value.id == "interrupted" and caught.value.found == "Ctrl-C"
    with pytest.raises(SafeState):
        worker.handle(m.Move(stage="rail", move=Move({"x": 0.1}, 0.1, 0.5), timeout_s=5.0))
    worker.handle(m.Hello(controller="next"), session="next")
    worker.handle(m.Apply(version=1), session="next")


def test_duty_limit_mutes_and_is_remembered():
    worker, clock, radio = virtual(limits=Limits(duty=0.1, duty_window_s=10.0))
    worker.handle(m.Apply(version=1))
    clock.sleep(0.9)
    worker.tick()
    assert radio.version == 1
    clock.sleep(0.2)
    worker.tick()
    assert radio.version is None and "duty" in worker.state().why
    worker.handle(m.Clear())
    with pytest.raises(DeviceError) as caught:
        worker.handle(m.Apply(version=1))
    assert caught.value.id == "duty-cap"
    clock.sleep(10.0)
    worker.handle(m.Apply(version=1))


def test_a_mute_that_overtakes_an_apply_has_the_last_word():
    begun, go = threading.Event(), threading.Event()

    class Slow(InstantRadio):
        def apply(self, version):
            begun.set()
            assert go.wait(5.0)
            super().apply(version)

    clock = VirtualClock()
    radio = Slow("ap1", clock)
    worker = Worker("east", {"ap1": radio}, {}, clock=clock)
    worker.handle(m.Configure(device="ap1", setting=Setting(3.5e9, 10e6)))
    worker.handle(m.Prepare(version=1, radios={"ap1": 0}), [wave(0.1)])
    caught: list[Exception] = []

    def apply() -> None:
        try:
            worker.handle(m.Apply(version=1))
        except DeviceError as error:
            caught.append(error)

    thread = threading.Thread(target=apply)
    thread.start()
    assert begun.wait(5.0)
    worker.handle(m.Mute())
    go.set()
    thread.join(5.0)
    assert caught and caught[0].id == "muted"
    assert radio.version is None and worker.state().version is None


def test_an_error_of_one_device_silences_the_node():
    worker, _, radio = virtual()
    worker.handle(m.Apply(version=1))
    with pytest.raises(DeviceError, match="no-such-stage"):
        worker.handle(m.Where(stage="nobody"))
    assert radio.version is None and worker.state().version is None


def test_importing_the_node_is_quick():
    """A worker process costs at most 0.6 s of processor time before it serves, interpreter included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", "import hil.node.serve"], check=True, timeout=20)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.6
