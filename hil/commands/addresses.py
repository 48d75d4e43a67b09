"""Where the radios of a bench answer: over the air as the testbed says, else from the emulator that runs, else from one of the command's own."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hil.clock import WallClock
from hil.commands.streams import Streams
from hil.errors import HilError

FIRST_PORT = 30431  # of `hil emulate`; its other radios follow


@contextmanager
def addressed(streams: Streams, lab: Any, *, air: bool, seed: int) -> Iterator[dict[str, str | None]]:
    """Radio -> address, None for the testbed's own. An emulator that this starts ends with the block."""
    names = [radio.name for radio in lab.testbed.radio]
    if air:
        yield dict.fromkeys(names)
        return
    from hil import bench

    if running := _running(lab, names):
        streams.say("emulated radios: those of `hil emulate`")
        yield running
        return
    streams.say("emulated radios: of this command, gone with it")
    daemon = bench.emulated_radios(lab, seed)
    daemon.start()
    try:
        yield dict(daemon.uris)
    finally:
        daemon.stop()


def _running(lab: Any, names: list[str]) -> dict[str, str | None]:
    """Addresses of an emulator that serves this bench here; none when any of its radios is not there."""
    from hil import reach

    uris: dict[str, str | None] = {name: f"ip:127.0.0.1:{FIRST_PORT + index}" for index, name in enumerate(names)}
    for index, name in enumerate(names):
        try:
            socket.create_connection(("127.0.0.1", FIRST_PORT + index), 0.5).close()
            reach.open_radio(lab.testbed, name, WallClock(), uris[name]).close()
        except (OSError, HilError):
            return {}
    return uris
