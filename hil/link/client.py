"""The controller's end of the link: one DEALER per node, requests scattered to all, replies gathered until each one's deadline."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import zmq

from hil.clock import Clock, Instant, WallClock
from hil.errors import HilError, LinkError
from hil.link import messages as m
from hil.link.control import Failed, error_of
from hil.link.lease import LeaseProcess
from hil.link.link import Call, Link, Outcome, Silent
from hil.link.sockets import loopback, prepared

RETRY_AFTER = 0.5  # of a request's time; nodes answer a repeated request from memory


@dataclass(slots=True)
class _Open:
    """A request without its reply."""

    place: int
    call: Call
    frames: list[Any]
    begun: float
    again: float
    deadline: float


class ZeroMq:
    """Transport to nodes behind ZeroMQ. Belongs to one thread.

    addresses: node -> tcp://127.0.0.1:PORT or ipc://PATH. `clock` is the controller's: readings of node clocks are carried over to it,
    good to half a round trip.
    """

    def __init__(self, addresses: Mapping[str, str], *, clock: Clock | None = None, session: str | None = None) -> None:
        self.addresses = {node: loopback(address) for node, address in addresses.items()}
        self.nodes = tuple(self.addresses)
        self.session = session or secrets.token_hex(8)
        self.clock = clock or WallClock()
        self._id = 0
        self.lease: LeaseProcess | None = None  # renews this session's leases; without it each request alone does
        self._ahead: dict[str, tuple[float, float]] = {}  # node -> (half round trip, node clock - ours)
        self._context = zmq.Context()
        self._sockets: dict[str, zmq.Socket[bytes]] = {}
        for node, address in self.addresses.items():
            self._sockets[node] = prepared(self._context.socket(zmq.DEALER))
            self._sockets[node].connect(address)

    def hello(self, timeout_s: float = 2.0) -> dict[str, m.Described]:
        """Take every node and learn what it has; LinkError `no-answer`, `protocol-mismatch` or `in-use`."""
        outcomes = self.exchange([Call(node, m.Hello(controller=self.session), timeout_s=timeout_s) for node in self.nodes])
        described: dict[str, m.Described] = {}
        for node, outcome in zip(self.nodes, outcomes):
            if isinstance(outcome, HilError):
                raise outcome
            if isinstance(outcome, Silent):
                reached = sum(not isinstance(o, Silent) for o in outcomes)
                raise LinkError(
                    "no-answer", f"silent for {outcome.seconds:.1f} s in `hello`", where=f"node `{node}` {outcome.address}",
                    note=f"reached {reached} of {len(self.nodes)} nodes; nothing was started",
                    fix="on that machine `hil node node.toml -v`",
                )  # fmt: skip
            if not isinstance(outcome[0], m.Described) or outcome[0].node != node:
                raise LinkError(
                    "wrong-node", "another node answers at this address", where=f"node `{node}` {self.addresses[node]}",
                    found=getattr(outcome[0], "node", type(outcome[0]).__name__), fix="swap the addresses in testbed.toml",
                )  # fmt: skip
            described[node] = outcome[0]
        return described

    def exchange(self, calls: Sequence[Call]) -> list[Outcome]:
        outcomes: list[Outcome | None] = [None] * len(calls)
        pending: dict[tuple[str, int], _Open] = {}
        now = time.monotonic()
        for place, call in enumerate(calls):
            self._id += 1
            frames = m.encode_request(call.request, call.arrays, session=self.session, id=self._id, deadline_s=call.timeout_s)
            pending[call.node, self._id] = _Open(place, call, frames, now, now + RETRY_AFTER * call.timeout_s, now + call.timeout_s)
            self._send(call.node, frames)
        poller = zmq.Poller()
        for node in {call.node for call in calls}:
            poller.register(self._sockets[node], zmq.POLLIN)
        while pending:
            now = time.monotonic()
            for key, open_ in list(pending.items()):
                if now >= open_.deadline:
                    del pending[key]
                    outcomes[open_.place] = Silent(open_.call.node, self.addresses[open_.call.node], now - open_.begun)
                elif now >= open_.again:
                    open_.again = open_.deadline
                    self._send(open_.call.node, open_.frames)
            if not pending:
                break
            wait = min(min(open_.again, open_.deadline) for open_ in pending.values()) - time.monotonic()
            for socket, _ in poller.poll(max(0, int(wait * 1e3) + 1)):
                node = next(name for name, own in self._sockets.items() if own is socket)
                self._gather(node, pending, outcomes)
        return outcomes  # type: ignore[return-value]

    def _send(self, node: str, frames: list[Any]) -> None:
        try:
            self._sockets[node].send_multipart(frames, zmq.NOBLOCK, copy=False)
        except zmq.Again:
            pass  # the queue to a dead node is full; its deadline will tell

    def _gather(self, node: str, pending: dict[tuple[str, int], _Open], outcomes: list[Outcome | None]) -> None:
        """Take every reply that has arrived; replies to requests of the past are dropped."""
        peer = f"node `{node}` {self.addresses[node]}"
        while True:
            try:
                frames = self._sockets[node].recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            try:
                head, body, arrays = m.decode_reply([frame.buffer for frame in frames], peer)
            except LinkError as error:  # it cannot be told which request this answers: all to this node have failed
                for key in [key for key in pending if key[0] == node]:
                    outcomes[pending.pop(key).place] = error
                continue
            if head.id == 0 and isinstance(body, Failed):  # the node could not read a request of ours
                for key in [key for key in pending if key[0] == node]:
                    outcomes[pending.pop(key).place] = error_of(body)
            open_ = pending.pop((node, head.id), None)
            if open_ is None:
                continue
            self._compare_clocks(node, Instant(*head.at), time.monotonic() - open_.begun)
            outcomes[open_.place] = error_of(body) if isinstance(body, Failed) else (body, arrays)

    def _compare_clocks(self, node: str, theirs: Instant, round_trip: float) -> None:
        """Keep the comparison with the shortest round trip."""
        if node not in self._ahead or round_trip / 2.0 < self._ahead[node][0]:
            ours = self.clock.now().after(-round_trip / 2.0)
            self._ahead[node] = (round_trip / 2.0, theirs.since(ours))

    def here(self, node: str, instant: Instant | None) -> Instant | None:
        return None if instant is None else instant.after(-self._ahead[node][1])

    def progress(self) -> None:
        if self.lease is not None:
            self.lease.progress()

    def close(self) -> None:
        if self.lease is not None:
            self.lease.stop()
        for socket in self._sockets.values():
            socket.close(linger=100)
        self._context.term()


def connect(
    addresses: Mapping[str, str], *, clock: Clock | None = None, timeout_s: float = 2.0, hello_s: float | None = None,
    lease_s: float | None = None, progress_deadline_s: float = 30.0,
) -> Link:  # fmt: skip
    """A link to running nodes; device owners are what the nodes say they have.

    lease_s: renew the nodes' leases from a separate process, as long as the link is used, or `Link.progress` is called, at least every
    `progress_deadline_s`; None: no such process, so that only requests keep a node from muting itself.
    """
    transport = ZeroMq(addresses, clock=clock)
    try:
        described = transport.hello(hello_s or timeout_s)
        owners: dict[str, str] = {}
        for node, what in described.items():
            for device in [*what.radios, *what.stages]:
                if device in owners:
                    raise LinkError(
                        "one-device-twice", f"device `{device}` at two nodes", found=f"{owners[device]}, {node}", fix="rename one"
                    )
                owners[device] = node
        if lease_s is not None:
            transport.lease = LeaseProcess(transport.addresses, lease_s, progress_deadline_s, session=transport.session)
            transport.lease.start()
    except BaseException:
        transport.close()
        raise
    return Link(transport, owners, timeout_s=timeout_s)
