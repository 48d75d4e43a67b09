"""A node's end of the link: one ROUTER socket, one thread per device, an answer kept for every request.

The thread that owns the socket answers what must never wait (mute, halt, lease, status) and keeps the dead man's rule; device requests
run in their device's own lane. A request that is repeated gets the first one's answer: a repeated move does not move twice.
"""

from __future__ import annotations

import queue
import socket as sockets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import zmq

from hil.errors import DeviceError, HilError, LinkError
from hil.link import messages as m
from hil.link.control import MOST_PARTS, failure
from hil.link.local import Handler
from hil.link.sockets import loopback, prepared

KEPT_REPLIES = 256
KEPT_BYTES = 64 << 20
LONGEST_QUEUE = 16
_AT_ONCE = (m.Hello, m.Describe, m.Status, m.Lease, m.Mute, m.Halt, m.Clear, m.Bye)
_NOT_KEPT = (m.Lease, m.Status, m.Mute, m.Halt)  # doing these twice is what one wants

Key = tuple[str, int]


@dataclass(slots=True)
class _Kept:
    """A request and, once there is one, its answer; whom to send it to until then."""

    waiting: list[bytes] = field(default_factory=list)
    frames: list[Any] | None = None
    size: int = 0


class ReplyCache:
    """Answers by (session, request id), newest kept; a request older than what is kept is known to be old."""

    def __init__(self, count: int = KEPT_REPLIES, size: int = KEPT_BYTES) -> None:
        self._count, self._size, self._held = count, size, 0
        self._kept: OrderedDict[Key, _Kept] = OrderedDict()
        self._forgotten: OrderedDict[str, int] = OrderedDict()  # session -> highest id no longer kept

    def seen(self, key: Key) -> _Kept | None:
        """The earlier request with this key; LinkError `old-request` when it is too old to be known."""
        if (kept := self._kept.get(key)) is None and key[1] <= self._forgotten.get(key[0], -1):
            raise LinkError("old-request", "a request from the past", found=f"id {key[1]}", allowed=f"above {self._forgotten[key[0]]}")
        return kept

    def begin(self, key: Key, peer: bytes) -> None:
        self._kept[key] = _Kept([peer])

    def answer(self, key: Key, frames: list[Any]) -> list[bytes]:
        """Keep the answer; who waits for it."""
        if (kept := self._kept.get(key)) is None:
            return []
        kept.frames, kept.size = frames, sum(len(frame) for frame in frames)
        self._held += kept.size
        waiting, kept.waiting = kept.waiting, []
        for old in list(self._kept):
            if len(self._kept) <= self._count and self._held <= self._size:
                break
            if self._kept[old].frames is None:
                continue
            self._held -= self._kept.pop(old).size
            self._forgotten[old[0]] = max(old[1], self._forgotten.pop(old[0], -1))
        while len(self._forgotten) > 64:
            self._forgotten.popitem(last=False)
        return waiting


class _Lane(threading.Thread):
    """Carries out one device's requests, one after the other."""

    def __init__(self, name: str, work: Callable[..., None]) -> None:
        super().__init__(name=f"lane {name}", daemon=True)
        self._queue: queue.Queue[tuple[Any, ...] | None] = queue.Queue(LONGEST_QUEUE)
        self._work = work

    def put(self, *job: Any) -> bool:
        try:
            self._queue.put_nowait(job)
        except queue.Full:
            return False
        return True

    def run(self) -> None:
        while (job := self._queue.get()) is not None:
            self._work(*job)
            del job  # frames of the past are not kept alive

    def end(self) -> None:
        try:
            self._queue.put_nowait(None)
        except queue.Full:
            pass  # daemon: ends with the process


class NodeServer:
    """Serves one worker at one loopback address. `beat` is called in every turn of the loop: it tells the guardian that the node lives."""

    def __init__(self, worker: Handler, address: str, *, beat: Callable[[], None] = lambda: None, turn_s: float = 0.01) -> None:
        self.worker, self.address = worker, loopback(address)
        self._beat, self._turn_ms = beat, max(1, round(turn_s * 1e3))
        self._cache = ReplyCache()
        self._lanes: dict[str, _Lane] = {}
        self._done: queue.SimpleQueue[tuple[Key, list[Any]]] = queue.SimpleQueue()
        self._wake, self._woken = sockets.socketpair()
        self._wake.setblocking(False)
        self._woken.setblocking(False)
        self._context = zmq.Context()
        self._socket = prepared(self._context.socket(zmq.ROUTER))
        self._socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        try:
            self._socket.bind(self.address)
        except zmq.ZMQError as error:
            self.close()
            raise LinkError(
                "cannot-listen", "the node cannot listen there", where=self.address, found=str(error), fix="is another node running?"
            ) from error

    def run(self, stop: Callable[[], bool]) -> None:
        """Serve until `stop()` says so; it is asked at least every turn."""
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._woken, zmq.POLLIN)
        while not stop():
            self._beat()
            self.worker.tick()
            poller.poll(self._turn_ms)
            self._send_answers()
            for _ in range(32):  # then the dead man's rule again
                try:
                    frames = self._socket.recv_multipart(zmq.NOBLOCK, copy=False)
                except zmq.Again:
                    break
                self._receive(frames[0].bytes, [frame.buffer for frame in frames[1:]])

    def close(self) -> None:
        """Stop serving; the worker stays."""
        for lane in self._lanes.values():
            lane.end()
        self._socket.close(linger=200)
        self._context.term()
        self._wake.close()
        self._woken.close()

    # -- in --------------------------------------------------------------------------------------------------------------------------

    def _receive(self, peer: bytes, frames: Sequence[Any]) -> None:
        arrived = time.monotonic()
        if len(frames) > MOST_PARTS:
            return
        try:
            head = m.decode_request_head(frames)
        except LinkError as error:
            self._send(peer, self._encode(failure(error), (), 0))
            return
        key = (head.session, head.id)
        try:
            request, arrays = m.decode_request_body(head, frames)
            kept = None if isinstance(request, _NOT_KEPT) else self._cache.seen(key)
        except LinkError as error:
            self._send(peer, self._encode(failure(error), (), head.id))
            return
        if kept is not None:
            if kept.frames is not None:
                self._send(peer, kept.frames)
            elif peer not in kept.waiting:
                kept.waiting.append(peer)
            return
        if isinstance(request, _NOT_KEPT):
            self._send(peer, self._carry_out(request, arrays, key))
            return
        self._cache.begin(key, peer)
        if isinstance(request, _AT_ONCE):
            self._answer(key, self._carry_out(request, arrays, key))
            return
        if not self._lane(request).put(request, arrays, key, arrived + head.deadline_s):
            full = DeviceError("busy", "too many requests wait for this device", allowed=str(LONGEST_QUEUE))
            self._answer(key, self._encode(failure(full), (), head.id))

    def _lane(self, request: m.Request) -> _Lane:
        name = getattr(request, "device", None) or getattr(request, "stage", None) or "transmission"
        if name not in self.worker.radios and name not in self.worker.stages:
            name = "transmission"  # unknown names do not make threads
        if name not in self._lanes:
            self._lanes[name] = _Lane(name, self._in_lane)
            self._lanes[name].start()
        return self._lanes[name]

    # -- work ------------------------------------------------------------------------------------------------------------------------

    def _in_lane(self, request: m.Request, arrays: list[Any], key: Key, deadline: float) -> None:
        if time.monotonic() > deadline:  # nobody waits for it any more
            error = LinkError("too-late", "the request's time was over before it could begin", where=f"node `{self.worker.name}`")
            frames = self._encode(failure(error), (), key[1])
        else:
            frames = self._carry_out(request, arrays, key)
        self._done.put((key, frames))
        try:
            self._wake.send(b".")
        except (BlockingIOError, OSError):
            pass  # awake already, or closing

    def _carry_out(self, request: m.Request, arrays: list[Any], key: Key) -> list[Any]:
        try:
            return self._encode(*self.worker.handle(request, arrays, key[0]), key[1])
        except HilError as error:
            return self._encode(failure(error), (), key[1])
        except Exception as error:  # a driver's bug must not take the node down
            fault = DeviceError(
                "node-fault", f"{type(request).__name__.lower()} failed", where=f"node `{self.worker.name}`", found=repr(error)
            )
            return self._encode(failure(fault), (), key[1])

    def _encode(self, reply: m.Message, arrays: Sequence[Any], id: int) -> list[Any]:
        return m.encode_reply(reply, arrays, id=id, node=self.worker.name, at=self.worker.clock.now())

    # -- out -------------------------------------------------------------------------------------------------------------------------

    def _send_answers(self) -> None:
        try:
            self._woken.recv(4096)
        except BlockingIOError:
            pass
        while True:
            try:
                key, frames = self._done.get_nowait()
            except queue.Empty:
                return
            self._answer(key, frames)

    def _answer(self, key: Key, frames: list[Any]) -> None:
        for peer in self._cache.answer(key, frames):
            self._send(peer, frames)

    def _send(self, peer: bytes, frames: list[Any]) -> None:
        try:
            self._socket.send_multipart([peer, *frames], zmq.NOBLOCK, copy=False)
        except zmq.ZMQError:
            pass  # the asker has gone; it will ask again, or never
