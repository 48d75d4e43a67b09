"""The guardian of a node: owns no device, watches the worker that does, and replaces it when it falls silent.

A worker whose serving loop has stopped is killed, which ends its connections and with them its transmissions. The new one opens the
devices again, mutes, halts and stays in the safe state until a controller clears it.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections import deque

STARTING_S = 20.0  # until the first heartbeat
ENDING_S = 2.0
MOST_RESTARTS = (5, 60.0)  # within seconds; then the node gives up


class Guardian:
    """Runs `python -m hil.node.serve PLAN` and keeps it running.

    silence_s: how long a worker may go without a heartbeat. parent: process whose end is ours too (None: nobody's).
    """

    def __init__(self, plan: str, devices: str | None = None, *, silence_s: float = 1.0, parent: int | None = None) -> None:
        self._plan, self._devices, self._silence_s, self._parent = plan, devices, silence_s, parent
        self._ending = False

    def end(self, *_: object) -> None:
        """Let `run` return soon (a signal handler)."""
        self._ending = True

    def run(self) -> int:
        """Until told to end, the parent is gone, or the worker cannot be kept; the exit code."""
        restarts: deque[float] = deque()
        why = ""
        while True:
            code, beaten, silent = self._watch(why)
            if self._over():
                return 0
            if not beaten and not silent:  # it said on stderr why it cannot start
                return code if code > 0 else 3
            restarts.append(time.monotonic())
            while restarts[-1] - restarts[0] > MOST_RESTARTS[1]:
                restarts.popleft()
            if len(restarts) > MOST_RESTARTS[0]:
                print(
                    f"error[node-fault] the worker failed {len(restarts)} times within {MOST_RESTARTS[1]:.0f} s: giving up", file=sys.stderr
                )
                return 3
            how = f"was silent for {self._silence_s:.3g} s and was killed" if silent else f"ended by itself (exit code {code})"
            why = f"the worker {how}; devices reopened, muted, halted"
            print(f"warning: {why}", file=sys.stderr, flush=True)

    def _over(self) -> bool:
        return self._ending or (self._parent is not None and os.getppid() != self._parent)

    def _watch(self, safe: str) -> tuple[int, bool, bool]:
        """One worker from start to end: (exit code, whether it ever beat, whether it fell silent)."""
        hear, speak = os.pipe()
        command = [sys.executable, "-m", "hil.node.serve", self._plan, "--parent", str(os.getpid()), "--heartbeat", str(speak)]
        command += ["--devices", self._devices] if self._devices else []
        command += ["--safe", safe] if safe else []
        try:
            worker = subprocess.Popen(command, pass_fds=[speak], stdin=subprocess.DEVNULL)
        finally:
            os.close(speak)
        beaten, last = False, time.monotonic()
        try:
            while worker.poll() is None and not self._over():
                ready, _, _ = select.select([hear], [], [], 0.02)
                now = time.monotonic()
                if ready:
                    if not os.read(hear, 4096):
                        break  # it has closed its end: it is going
                    beaten, last = True, now
                elif now - last > (self._silence_s if beaten else STARTING_S):
                    worker.kill()
                    worker.wait(ENDING_S)
                    return worker.returncode, beaten, True
            return _ended(worker), beaten, False
        finally:
            if worker.poll() is None:
                worker.kill()
                worker.wait(ENDING_S)
            os.close(hear)


def _ended(worker: subprocess.Popen[bytes]) -> int:
    """Ask it to mute, halt and go; then insist. Its exit code."""
    if worker.poll() is None:
        worker.terminate()
        try:
            worker.wait(ENDING_S)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait(ENDING_S)
    return worker.returncode


def guard(plan: str, devices: str | None = None, *, silence_s: float = 1.0, owned_by: int | None = None) -> int:
    """Run a node in this process until it ends. owned_by: the controller's process id when it started us; Ctrl-C is then its business."""
    guardian = Guardian(plan, devices, silence_s=silence_s, parent=owned_by)
    signal.signal(signal.SIGTERM, guardian.end)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, guardian.end if owned_by is None else signal.SIG_IGN)
    return guardian.run()
