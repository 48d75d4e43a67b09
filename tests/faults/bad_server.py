"""Between a driver and a daemon: passes what the daemon says up to some byte, then spoils it. A client run against it must end in good time.

python bad_server.py ATTEMPTS URI: opens the radio at URI so often, with everything a trial does, and prints how each attempt ended.
"""

from __future__ import annotations

import socket
import sys
import threading
import time
from contextlib import suppress

import numpy as np

from hil.clock import WallClock
from hil.device import DeviceError, Setting
from hil.parts import capability
from hil.radios import opening

WAYS = ("close", "corrupt", "stall", "flood")
LIMIT_S = 12.0  # of an attempt with time-outs of one second


class BadServer:
    """A proxy on a port of its own. Each connection is spoilt in its own way after its own number of bytes."""

    def __init__(self, behind: tuple[str, int], seed: int) -> None:
        self._behind, self._rng, self._lock = behind, np.random.default_rng(seed), threading.Lock()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.uri = f"ip:127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._welcome, daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _welcome(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._server.accept()
                with self._lock:
                    way = str(self._rng.choice(WAYS))
                    after = int(10 ** self._rng.uniform(0.0, 5.5)) if self._rng.random() < 0.8 else 1 << 40
                    seed = int(self._rng.integers(1 << 30))
                threading.Thread(target=self._pass_on, args=(client, way, after, seed), daemon=True).start()

    def _pass_on(self, client: socket.socket, way: str, after: int, seed: int) -> None:
        with suppress(OSError), client, socket.create_connection(self._behind) as daemon:
            threading.Thread(target=_copy, args=(client, daemon), daemon=True).start()
            said, rng = 0, np.random.default_rng(seed)
            while block := daemon.recv(4096):
                if said + len(block) <= after:
                    client.sendall(block)
                    said += len(block)
                    continue
                whole = bytearray(block)
                client.sendall(whole[: after - said])
                rest = whole[after - said :]
                if way == "close":
                    return
                if way == "stall":
                    time.sleep(20.0)
                    return
                if way == "flood":
                    client.sendall(rng.bytes(20_000))
                    return
                rest[0] ^= 1 << int(rng.integers(8))
                client.sendall(rest)
                said, after = said + len(block), said + len(block) + int(10 ** rng.uniform(0.0, 4.0))


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while block := source.recv(4096):
            sink.sendall(block)
        sink.shutdown(socket.SHUT_WR)


def attempt(uri: str) -> str:
    """One trial's worth of the driver; how it ended."""
    can = capability("pluto", "emulated-a")
    try:
        with opening.radio("a", WallClock(), uri=uri, capability=can, timeout_s=1.0) as radio:
            radio.configure(Setting(3.5e9, 4e6, (20.0,), (20.0,)))
            radio.load(1, np.full((1, 512), 0.3, np.complex64))
            radio.apply(1)
            for _ in range(3):
                radio.capture(2048, 1.0)
            return "whole"
    except DeviceError as error:
        return error.id


def main() -> None:
    for _ in range(int(sys.argv[1])):
        begun = time.monotonic()
        ended = attempt(sys.argv[2])
        took = time.monotonic() - begun
        print(ended, f"{took:.1f}", flush=True)
        assert took < LIMIT_S, f"{ended} after {took:.1f} s"


if __name__ == "__main__":
    main()
