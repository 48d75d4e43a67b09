"""Nodes that are silent, killed, of another version, or talked to by strangers."""

from __future__ import annotations

import os
import signal
import threading
import time

import numpy as np
import pytest
import zmq
from link_bench import SETTING, children, gone, journal, plan, radiate, wait_for, wave, when

from hil.device import Move
from hil.envelope import Limits
from hil.errors import DeviceError, InputError, LinkError, SafeState
from hil.link import control
from hil.link import messages as m
from hil.link.client import connect
from hil.link.link import Link
from hil.link.sockets import prepared
from hil.node.launch import LocalNodes


@pytest.fixture
def book(tmp_path):
    return tmp_path / "journal"


class Stranger:
    """A raw socket to a node."""

    def __init__(self, address: str) -> None:
        self._context = zmq.Context()
        self._socket = prepared(self._context.socket(zmq.DEALER))
        self._socket.connect(address)

    def send(self, *frames: bytes) -> None:
        self._socket.send_multipart(frames)

    def receive(self, timeout_s: float = 2.0) -> list[bytes] | None:
        return self._socket.recv_multipart() if self._socket.poll(timeout_s * 1e3) else None

    def ask(self, request: m.Message, *, id: int, session: str = "stranger", deadline_s: float = 5.0) -> None:
        self.send(*map(bytes, m.encode_request(request, session=session, id=id, deadline_s=deadline_s)))

    def close(self) -> None:
        self._socket.close(0)
        self._context.term()


def test_a_node_of_another_protocol_version_is_refused_at_the_first_word(tmp_path):
    address = f"ipc://{tmp_path}/node"
    context = zmq.Context()
    node = context.socket(zmq.ROUTER)
    node.bind(address)

    def serve() -> None:
        if node.poll(3000):
            peer, *_ = node.recv_multipart()
            node.send_multipart([peer, control.first_word(control.PROTOCOL + 1) + b"a header nobody here can read"])

    thread = threading.Thread(target=serve)
    thread.start()
    with pytest.raises(LinkError) as caught:
        connect({"east": address})
    thread.join()
    node.close(0)
    context.term()
    assert caught.value.id == "protocol-mismatch" and caught.value.exit_code == 3
    assert caught.value.message == (
        f"error[protocol-mismatch] node `east` {address}: the peer speaks another protocol version\n"
        f"  found version {control.PROTOCOL + 1}; allowed version {control.PROTOCOL}; fix: install the same version of hil on both sides"
    )


def test_a_controller_of_another_version_is_told_so_and_the_node_lives_on(book):
    with LocalNodes([plan("ap1", book)]) as nodes:
        stranger = Stranger(nodes.addresses["ap1"])
        stranger.send(control.first_word(control.PROTOCOL + 1) + b"whatever that version says")
        reply = stranger.receive()
        assert reply is not None and reply[0][:4] == control.first_word()  # which that version reads first
        _, body, _ = m.decode_reply(reply)
        assert isinstance(body, m.Failed) and body.id == "protocol-mismatch"
        stranger.close()
        with connect(nodes.addresses) as link:
            radiate(link, "ap1")


def test_hostile_frames_never_stop_a_node(book):
    with LocalNodes([plan("ap1", book)]) as nodes:
        stranger = Stranger(nodes.addresses["ap1"])
        good = bytes(m.encode_request(m.Status(), session="s", id=1, deadline_s=1.0)[0])
        generator = np.random.default_rng(5)
        stranger.send(b"")
        stranger.send(b"", b"", b"")
        stranger.send(*[good] * 500)
        stranger.send(good, bytes(1 << 20))
        stranger.send(b"\x80" * 100_000)
        stranger.send(control.first_word() + b"\xdf\xff\xff\xff\xff")  # a map of four billion entries
        stranger.send(control.first_word() + b"\x91" * 60_000)  # sixty thousand nested lists
        for _ in range(200):
            stranger.send(control.first_word() + generator.bytes(int(generator.integers(1, 200))))
            torn = bytearray(good)
            torn[int(generator.integers(len(torn)))] ^= 1 << int(generator.integers(8))
            stranger.send(bytes(torn))
        raw = Stranger(nodes.addresses["ap1"])
        raw.send(bytes(control.MOST_FRAME + 1))  # drops the connection, not the node
        with connect(nodes.addresses, timeout_s=5.0) as link:
            radiate(link, "ap1")
            assert link.status()["ap1"].radiating == ("ap1",)
        assert "warning" not in nodes.log("ap1"), nodes.log("ap1")
        stranger.close()
        raw.close()


def test_a_repeated_request_is_carried_out_once(book):
    with LocalNodes([plan("ap1", book, stage=True, lease_s=2.0)]) as nodes:
        stranger = Stranger(nodes.addresses["ap1"])
        move = m.Move(stage="rail-ap1", move=Move({"x": 0.1}, 0.5, 1.0), timeout_s=3.0)
        stranger.ask(move, id=17)
        time.sleep(0.05)
        stranger.ask(move, id=17)  # while it moves
        first = stranger.receive()
        stranger.ask(move, id=17)  # after it has arrived
        second = stranger.receive()
        assert first is not None and first == second
        assert isinstance(m.decode_reply(first)[1], m.Positioned)
        assert len([what for _, _, what in journal(book) if what == "move"]) == 1
        stranger.ask(m.Status(), id=18)
        assert m.decode_reply(stranger.receive() or [])[1].executed == 1
        stranger.close()


def test_a_request_whose_time_is_over_is_not_carried_out(book):
    with LocalNodes([plan("ap1", book, stage=True, lease_s=3.0)]) as nodes:
        stranger = Stranger(nodes.addresses["ap1"])
        stranger.ask(m.Move(stage="rail-ap1", move=Move({"x": 0.3}, 0.5, 1.0), timeout_s=3.0), id=1)
        stranger.ask(m.Move(stage="rail-ap1", move=Move({"x": 0.0}, 0.5, 1.0), timeout_s=3.0), id=2, deadline_s=0.1)
        replies = [m.decode_reply(stranger.receive() or [])[1] for _ in range(2)]
        assert isinstance(replies[0], m.Positioned)
        assert isinstance(replies[1], m.Failed) and replies[1].id == "too-late"
        assert len([what for _, _, what in journal(book) if what == "move"]) == 1
        stranger.close()


@pytest.mark.parametrize("bad", ["power", "nan"])
def test_a_waveform_that_must_not_be_sent_loads_nothing_anywhere_it_was_refused(book, bad):
    limits = Limits(power_dbm=-20.0)
    with LocalNodes([plan("ap1", book, limits=limits), plan("ap2", book, limits=limits)]) as nodes, connect(nodes.addresses) as link:
        link.configure_all({"ap1": SETTING, "ap2": SETTING})
        ok = wave(10 ** (-8 / 20))  # 7 dBm - 20 dB - 8 dB = -21 dBm
        link.prepare(1, {"ap1": ok, "ap2": ok})
        link.apply(1)
        loud = wave(10 ** (-6 / 20))
        if bad == "nan":
            loud = ok.copy()
            loud[0, 0] = np.nan
        with pytest.raises(DeviceError) as caught:
            link.prepare(2, {"ap1": ok, "ap2": loud})
        assert caught.value.id == {"power": "power-cap", "nan": "not-finite"}[bad] and caught.value.where == "ap2"
        assert "nothing was loaded" in caught.value.message
        if bad == "power":
            assert "found -19.00 dBm; allowed at most -20.00 dBm" in caught.value.message
        assert ("ap2", "load 2") not in [(who, what) for _, who, what in journal(book)]
        assert {state.version for state in link.status().values()} == {None}, "version 1 was muted everywhere"
        with pytest.raises(DeviceError, match="not-loaded"):
            link.apply(2)


def test_a_silent_node_is_an_error_in_words_that_help(book):
    plans = [plan(name, book, lease_s=0.4) for name in ("ap1", "ap2", "ap3", "ap4")]
    with LocalNodes(plans) as nodes, connect(nodes.addresses, timeout_s=0.4) as link:
        radiate(link, "ap1", "ap2", "ap3", "ap4", version=11)
        os.kill(nodes.pid("ap2"), signal.SIGSTOP)  # neither guardian nor worker answers
        os.kill(children(nodes.pid("ap2"))[0], signal.SIGSTOP)
        with pytest.raises(LinkError) as caught:
            link.prepare(12, {"ap1": wave()})
        error = caught.value
        assert error.id == "no-answer" and error.exit_code == 3
        address = nodes.addresses["ap2"]
        assert error.message == (
            f"error[no-answer] node `ap2` {address}: silent for 0.4 s in `prepare`, version 12\n"
            "  reached 3 of 4 nodes; version 12 was applied nowhere; all muted (`ap2` by its lease)"
            "; fix: on that machine `hil node node.toml -v`"
        )
        for name in ("ap1", "ap3", "ap4"):
            assert when(book, "mute", device=name, after=when(book, "apply 11", device=name) or 0.0)
        for pid in (children(nodes.pid("ap2"))[0], nodes.pid("ap2")):
            os.kill(pid, signal.SIGCONT)
        wait_for(lambda: when(book, "mute", device="ap2", after=when(book, "apply 11", device="ap2") or 0.0))


def test_a_silent_worker_is_killed_and_its_successor_stays_safe(book):
    with LocalNodes([plan("ap1", book, stage=True)]) as nodes, connect(nodes.addresses, timeout_s=0.3) as link:
        radiate(link, "ap1")
        old = children(nodes.pid("ap1"))[0]
        os.kill(old, signal.SIGSTOP)
        stopped = time.monotonic()
        with pytest.raises(LinkError, match="no-answer"):
            link.capture({"ap1": 100}, timeout_s=0.1)
        wait_for(lambda: gone(old))
        assert time.monotonic() - stopped < 2.0
        new = wait_for(lambda: [pid for pid in children(nodes.pid("ap1")) if pid != old])
        wait_for(lambda: when(book, "mute", after=stopped) and when(book, "halt", after=stopped))
        state = wait_for(lambda: _state(link))
        assert state.state == "safe" and "silent for 0.5 s and was killed" in state.why and state.radiating == ()
        link.configure("ap1", SETTING)  # looking and setting is permitted, radiating and moving is not
        for forbidden in (
            lambda: link.prepare(2, {"ap1": wave()}),
            lambda: link.move({"rail-ap1": Move({"x": 0.1}, 0.5, 1.0)}),
            lambda: link.apply(1),
        ):
            with pytest.raises(SafeState) as caught:
                forbidden()
            assert caught.value.id == "safe-state" and caught.value.exit_code == 4
        link.clear()
        radiate(link, "ap1", version=3)
        assert link.status()["ap1"].state == "ready" and not gone(new[0])


def _state(link):
    try:
        return link.status()["ap1"]
    except LinkError:
        return None


def test_a_node_killed_in_mid_round_stops_the_round_and_mutes_the_others(book):
    with (
        LocalNodes([plan("ap1", book, lease_s=2.0), plan("ap2", book, extra_s=0.3)]) as nodes,
        connect(nodes.addresses, timeout_s=0.4) as link,
    ):
        radiate(link, "ap1", "ap2")
        victims = [nodes.pid("ap2"), *children(nodes.pid("ap2"))]
        killer = threading.Timer(0.1, lambda: [os.kill(pid, signal.SIGKILL) for pid in victims])
        killer.start()
        begun = time.monotonic()
        with pytest.raises(LinkError) as caught:
            link.capture({"ap1": 100, "ap2": 100}, "measure", timeout_s=0.5)
        killer.join()
        assert time.monotonic() - begun < 3.0, "no wait without a deadline"
        assert caught.value.id == "no-answer" and "node `ap2`" in caught.value.message and "reached 1 of 2 nodes" in caught.value.message
        assert when(book, "mute", device="ap1", after=begun)
        assert link.capture({"ap1": 100}, timeout_s=1.0)["ap1"].version is None, "the others can still be used"


def test_a_driver_s_own_error_mutes_and_does_not_stop_the_node(book):
    with LocalNodes([plan("ap1", book, extra_s=0.5)]) as nodes, connect(nodes.addresses, lease_s=0.3) as link:
        radiate(link, "ap1")
        with pytest.raises(DeviceError) as caught:
            link.capture({"ap1": 100}, timeout_s=0.1)
        assert caught.value.id == "timeout" and caught.value.where == "ap1"
        assert link.status()["ap1"].radiating == ()
        radiate(link, "ap1", version=2)


def test_a_plan_that_cannot_be_opened_says_why(book):
    wrong = plan("ap1", book).__class__(
        name="ap1", devices=(plan("ap1", book).devices[0].__class__(kind="radio", name="r", entry="no.such:thing"),)
    )
    with pytest.raises(LinkError) as caught:
        LocalNodes([wrong]).start()
    assert "no-such-entry" in caught.value.message


@pytest.mark.parametrize(
    "address", ["tcp://10.0.0.11:5557", "tcp://*:5557", "tcp://0.0.0.0:5557", "tcp://localhost.evil.org:1", "udp://127.0.0.1:1"]
)
def test_no_address_but_loopback_before_there_are_keys(address):
    with pytest.raises(InputError) as caught:
        connect({"east": address})
    assert caught.value.id == "not-loopback" and "keys" in caught.value.message


def test_another_controller_is_refused_while_the_lease_runs(book):
    with LocalNodes([plan("ap1", book, lease_s=0.6)]) as nodes:
        first = connect(nodes.addresses, lease_s=0.6)
        radiate(first, "ap1")
        with pytest.raises(LinkError) as caught:
            connect(nodes.addresses)
        assert caught.value.id == "in-use"
        assert first.status()["ap1"].radiating == ("ap1",), "a stranger's question changes nothing"
        first.close()
        with connect(nodes.addresses) as second:
            assert second.status()["ap1"].state == "ready" and second.status()["ap1"].radiating == ()


def test_an_answer_to_another_question_is_not_believed():
    class Confused:
        nodes = ("east",)

        def exchange(self, calls):
            return [(m.Done(), []) for _ in calls]

        def here(self, node, instant):
            return instant

        def progress(self):
            pass

        def close(self):
            pass

    with pytest.raises(LinkError) as caught:
        Link(Confused(), {"u1": "east"}).capture({"u1": 10})
    assert caught.value.id == "bad-message" and caught.value.found == "done"
