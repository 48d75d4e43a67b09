"""The daemon: one address per radio, a thread per connection, all radios in one world.

    with Daemon(site) as daemon:
        adi.Pluto(daemon.uris["pluto"])

It answers on this machine only unless told otherwise: the protocol has no authentication.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np

from sim_backend import world as worlds
from sim_backend.iiod.boards import Board, board
from sim_backend.iiod.connection import Conversation
from sim_backend.iiod.frontend import FrontEnd
from sim_backend.iiod.pace import FreePace, Pace, PatientPace, WallPace

PORT = 30431
MOST_CLIENTS = 256  # connections to one radio


class Daemon:
    """The radios of a site (see `world.build`; a radio may have `rate_hz`) on the network, from `start` to `stop`.

    host: where to listen. port: of the first radio, those of the others follow; 0: any that are free. free_run: samples come as fast as
    they are asked for, instead of at the pace of each radio's own sample clock; patient: at that pace, but no faster than they can be computed.
    world: one built of the site by the caller on `pace`.
    """

    def __init__(
        self, site: Mapping[str, Any], *, host: str = "127.0.0.1", port: int = 0, free_run: bool = False, patient: bool = False,
        pace: Pace | None = None, world: Any = None,
    ) -> None:  # fmt: skip
        self.pace: Pace = pace or (FreePace() if free_run else PatientPace() if patient else WallPace())
        self.world = world or worlds.build(site, self.pace)
        self._host, self._port = host, port
        fronts: list[FrontEnd] = []
        self.boards: dict[str, Board] = {radio["name"]: board(self.world, radio, fronts) for radio in site["radios"]}
        self._doors: dict[str, Door] = {}
        self._ended = threading.Event()

    def __enter__(self) -> Daemon:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    @property
    def ports(self) -> dict[str, int]:
        return {name: door.port for name, door in self._doors.items()}

    @property
    def uris(self) -> dict[str, str]:
        """What a client opens, by the name of the radio."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return {name: f"ip:{host}:{port}" for name, port in self.ports.items()}

    @property
    def clients(self) -> int:
        """Connections that are open."""
        return sum(door.clients for door in self._doors.values())

    def start(self) -> None:
        """Listen. OSError for an address that is taken; then nothing listens."""
        self._ended.clear()
        try:
            for number, (name, one) in enumerate(self.boards.items()):
                self._doors[name] = Door(one, self.pace, self._host, self._port + number if self._port else 0)
        except BaseException:
            self.stop()
            raise

    def wait(self) -> None:
        """Until `stop` is called, or a signal ends the waiting."""
        self._ended.wait()

    def stop(self, timeout_s: float = 5.0) -> None:
        """End every connection, and so every transmission. Twice is fine."""
        self._ended.set()
        doors, self._doors = self._doors, {}
        for door in doors.values():
            door.close()
        for door in doors.values():
            door.join(timeout_s)
        for one in self.boards.values():
            one.front.silence()


class Door:
    """The address of one radio."""

    def __init__(self, one: Board, pace: Pace, host: str, port: int) -> None:
        self._context, self._xml, self._pace = one.context, one.context.xml(), pace
        self._ending = False
        self._lock = threading.Lock()
        self._open: dict[socket.socket, threading.Thread] = {}
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listening = socket.create_server((host, port), family=family, backlog=64)
        self.port: int = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._welcome, name=f"iiod {self.port}", daemon=True)
        self._thread.start()

    @property
    def clients(self) -> int:
        with self._lock:
            return len(self._open)

    def _welcome(self) -> None:
        while not self._ending:
            try:
                channel, _ = self._listening.accept()
            except OSError:
                if self._ending:
                    return
                continue
            with self._lock:
                if self._ending or len(self._open) >= MOST_CLIENTS:
                    channel.close()
                    continue
                thread = threading.Thread(target=self._serve, args=(channel,), daemon=True)
                self._open[channel] = thread
            thread.start()

    def _serve(self, channel: socket.socket) -> None:
        try:
            channel.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            channel.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            Conversation(self._context, self._xml, channel, self._pace, lambda: self._ending).run()
        except OSError:
            pass  # it was gone before it began
        finally:
            channel.close()
            with self._lock:
                self._open.pop(channel, None)

    def close(self) -> None:
        self._ending = True
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        with self._lock:
            channels = list(self._open)
        for channel in channels:
            with contextlib.suppress(OSError):
                channel.shutdown(socket.SHUT_RDWR)

    def join(self, timeout_s: float) -> None:
        with self._lock:
            threads = [self._thread, *self._open.values()]
        for thread in threads:
            thread.join(timeout_s)


def warm_up(site: Mapping[str, Any]) -> None:
    """Run every kernel once on a world of no further use, so that no client waits for a compiler."""
    daemon = Daemon(site, free_run=True)
    for one in daemon.boards.values():
        front = one.front
        if front.mouths:
            front.sending.play(np.full((1024, len(front.mouths), 2), 1 << 12, np.int16))
            break
    for one in daemon.boards.values():
        front = one.front
        if front.ears:
            daemon.pace.sleep(0.01)
            front.listening.take(front.listening.now() - 4096, 2048, range(2 * len(front.ears)))
