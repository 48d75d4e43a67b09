"""Nodes that a controller starts for itself: one guardian and one worker process each, gone when the controller is, however it ends."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from hil.errors import LinkError
from hil.link.client import ZeroMq
from hil.link.link import Call
from hil.link.messages import Status
from hil.node.plan import NodePlan


class LocalNodes:
    """Node processes on this machine, reachable at `addresses` (node -> ipc socket in a private folder) from `start` to `stop`.

    environment: added to that of the node processes (one thread per numerical library unless it says otherwise).
    """

    def __init__(self, plans: Sequence[NodePlan], *, environment: Mapping[str, str] | None = None) -> None:
        self._plans, self._environment = list(plans), dict(environment or {})
        self._folder: Path | None = None
        self._guardians: dict[str, subprocess.Popen[bytes]] = {}
        self.addresses: dict[str, str] = {}

    def __enter__(self) -> LocalNodes:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def start(self, timeout_s: float = 60.0) -> None:
        """Start all and wait until each answers; LinkError with its last words when one does not."""
        self._folder = Path(tempfile.mkdtemp(prefix="hil-"))  # mode 0700
        threads = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
        environment = {**threads, **os.environ, **self._environment}
        try:
            for index, plan in enumerate(self._plans):
                listen = plan.listen or f"ipc://{self._folder}/{index}"
                self.addresses[plan.name] = listen
                file = self._folder / f"{index}.json"
                file.write_bytes(msgspec.json.encode(msgspec.structs.replace(plan, listen=listen)))
                command = [sys.executable, "-m", "hil.node", str(file), "--silence-s", str(plan.silence_s), "--owned-by", str(os.getpid())]
                with open(self._log(index), "wb") as log:
                    self._guardians[plan.name] = subprocess.Popen(
                        command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
                    )
            self._wait_ready(timeout_s)
        except BaseException:
            self.stop()
            raise

    def _log(self, index: int) -> Path:
        assert self._folder is not None
        return self._folder / f"{index}.log"

    def log(self, name: str) -> str:
        """What a node has said on standard error."""
        index = [plan.name for plan in self._plans].index(name)
        return self._log(index).read_text(errors="replace") if self._folder else ""

    def _wait_ready(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        transport = ZeroMq(self.addresses, session="launcher")
        try:
            waiting = set(self.addresses)
            while waiting:
                for node in sorted(waiting):
                    if (code := self._guardians[node].poll()) is not None:
                        raise LinkError(
                            "node-fault",
                            "the node did not start",
                            where=f"node `{node}`",
                            found=f"exit code {code}",
                            note=self.log(node)[-500:],
                        )
                if time.monotonic() > deadline:
                    node = min(waiting)
                    raise LinkError(
                        "no-answer", f"silent for {timeout_s:.1f} s while starting", where=f"node `{node}` {self.addresses[node]}",
                        note=self.log(node)[-500:] or f"reached {len(self.addresses) - len(waiting)} of {len(self.addresses)} nodes",
                    )  # fmt: skip
                calls = [Call(node, Status(), timeout_s=0.25) for node in sorted(waiting)]
                outcomes = transport.exchange(calls)
                waiting -= {call.node for call, outcome in zip(calls, outcomes) if isinstance(outcome, tuple)}
        finally:
            transport.close()

    def pid(self, name: str) -> int:
        """Process id of a node's guardian."""
        return self._guardians[name].pid

    def stop(self, timeout_s: float = 5.0) -> None:
        """Ask all to mute, halt and end; kill stragglers. Twice is fine."""
        for guardian in self._guardians.values():
            if guardian.poll() is None:
                guardian.terminate()
        deadline = time.monotonic() + timeout_s
        for guardian in self._guardians.values():
            try:
                guardian.wait(max(0.01, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                guardian.send_signal(signal.SIGKILL)
                guardian.wait(2.0)  # its worker sees its parent gone and ends by itself
        self._guardians.clear()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
