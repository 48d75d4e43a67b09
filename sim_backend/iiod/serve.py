"""The process that owns a world and serves its radios over the network, in wall time.

    python -m sim_backend.iiod.serve SITE.json [--socket PATH] [--port N] [--host HOST] [--free-run | --patient]
        [--parent PID]

One line per radio on standard output, name then address, and `ready` when all of them answer. With --socket its stages, and where the
target is, are served there as `sim_backend.server` does, for the one world has both; with --patient its clock waits for samples that are
still computed, and where the target is can be asked by the machine's clock all the same. SIGTERM and SIGINT end it; so does the end of PARENT.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import signal
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hil.clock import Instant
from sim_backend.iiod.daemon import Daemon, warm_up
from sim_backend.iiod.pace import PatientPace
from sim_backend.server import Server, WorldProcess


class RadioProcess(WorldProcess):
    """The radios of a site in a process of their own, from `start` to `stop`; gone when this process is, however it ends.

    `uris`: name of a radio -> what an IIO client opens. `address`: what `sim_backend.remote` connects to for its stages and the survey.
    """

    module = "sim_backend.iiod.serve"

    def __init__(self, site: Mapping[str, Any], *, free_run: bool = False, patient: bool = False) -> None:
        super().__init__(site)
        self._free_run, self._patient = free_run, patient

    @property
    def uris(self) -> dict[str, str]:
        return dict(tuple(word.split()[:2]) for word in self.words)  # type: ignore[misc]

    def arguments(self) -> list[str]:
        pace = ["--free-run"] if self._free_run else ["--patient"] if self._patient else []
        return [self.site_file, "--socket", self.address, *pace]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="sim_backend.iiod.serve")
    parser.add_argument("site")
    parser.add_argument("--socket")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    pace = parser.add_mutually_exclusive_group()
    pace.add_argument("--free-run", action="store_true")
    pace.add_argument("--patient", action="store_true")
    parser.add_argument("--parent", type=int, default=0)
    told = parser.parse_args(arguments)
    ending = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ending.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN if told.parent else lambda *_: ending.set())  # Ctrl-C is the parent's to handle
    site = json.loads(Path(told.site).read_text())
    warm_up(site)
    gc.freeze()  # what is there now stays: no collection need look at it again
    gc.set_threshold(10_000)
    with Daemon(site, host=told.host, port=told.port, free_run=told.free_run, patient=told.patient) as daemon:

        def stopped() -> bool:
            return ending.is_set() or bool(told.parent and os.getppid() != told.parent)

        clock = daemon.pace.machine if isinstance(daemon.pace, PatientPace) else daemon.pace
        server = Server({}, daemon.world.stages, clock, told.socket, _survey(daemon)) if told.socket else None
        os.write(1, "".join(f"{name}  {uri}\n" for name, uri in daemon.uris.items()).encode() + b"ready\n")
        if server is not None:
            server.run(stopped)
        while not stopped():
            ending.wait(0.1)
    return 0


def _survey(daemon: Daemon) -> Any:
    def survey(at: Instant, name: str) -> tuple[float, float, float] | None:
        there = daemon.pace.world(at) if isinstance(daemon.pace, PatientPace) else at
        found = daemon.world.truth.target(there, name)
        return None if found is None else tuple(float(metres) for metres in found[0])  # type: ignore[return-value]

    return survey


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # threads that still compute for nobody must not keep the process
