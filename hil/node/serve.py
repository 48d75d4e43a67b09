"""The worker process of a node: opens the devices of its plan and serves them until its guardian ends or tells it to.

python -m hil.node.serve PLAN --parent PID --heartbeat FD [--devices JSON] [--safe WHY]
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time

from hil.clock import WallClock
from hil.errors import HilError
from hil.link.server import NodeServer
from hil.node.plan import compose, read_plan

BEAT_S = 0.03


class Heart:
    """Tells the guardian through a pipe that the serving loop still turns."""

    def __init__(self, channel: int) -> None:
        self._channel, self._last = channel, 0.0
        os.set_blocking(channel, False)

    def beat(self) -> None:
        now = time.monotonic()
        if now - self._last >= BEAT_S:
            self._last = now
            try:
                os.write(self._channel, b".")
            except OSError:
                pass  # a full pipe, or a guardian that has gone; the parent watch ends us then


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="hil.node.serve")
    parser.add_argument("plan")
    parser.add_argument("--devices")
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--heartbeat", type=int, required=True)
    parser.add_argument("--safe", default="")
    told = parser.parse_args(arguments)
    ending: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: ending.append(number))
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the guardian decides
    try:
        plan = read_plan(told.plan, told.devices)
        worker = compose(plan, WallClock(), told.safe)
        try:
            server = NodeServer(worker, plan.listen, beat=Heart(told.heartbeat).beat, turn_s=min(0.01, plan.lease_s / 8.0))
            try:
                server.run(lambda: bool(ending) or os.getppid() != told.parent)
            finally:
                server.close()
        finally:
            worker.close()
    except HilError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # a lane that hangs in a driver must not keep the process
