"""`hil emulate`: the emulated hardware of a bench on network addresses, for any client that speaks to the real one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hil.commands.streams import Streams
from hil.errors import InputError

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def emulate(streams: Streams, paths: Sequence[Path], *, seed: int, host: str, port: int, free_run: bool) -> int:
    """Serve until told to stop: one line per radio once all of them answer, name then address. 0 when stopped by a signal."""
    from hil import bench

    lab = bench.load(*paths)
    daemon = bench.emulated_radios(lab, seed, host=host, port=port, free_run=free_run)
    try:
        try:
            daemon.start()
        except OSError as error:
            last = port + len(lab.testbed.radio) - 1
            raise InputError(
                "no-address", "an address of the emulated radios cannot be had", key="--port",
                found=f"{host}, ports {port} ... {last}: {error.strerror}",
                fix="end what listens there, choose other ports, or --port 0 for any that are free",
            ) from error  # fmt: skip
        width = max(map(len, daemon.uris))
        for name, uri in daemon.uris.items():
            streams.result(f"{name.ljust(width)}  {uri}")
        streams.done({"radios": daemon.uris})  # once they answer: whoever reads it wants to open them
        if host not in LOOPBACK:
            streams.say(f"anybody who reaches {host} may use these radios: the protocol has no authentication")
        streams.say("Ctrl-C ends it")
        daemon.wait()
    except KeyboardInterrupt:
        streams.say("")
    finally:
        daemon.stop()
    return 0
