"""The small process that keeps nodes alive while the controller gets on, and silences them when it is interrupted.

A thread starves for hundreds of milliseconds under a solver; a process of its own does not. It shares the controller's process group, so
that Ctrl-C reaches it directly: it mutes and brakes every node at once, whatever the controller is doing. Needs pyzmq, msgspec and the
standard library only.

    python -m hil.link.lease '{"addresses": {...}, "session": ..., "lease_s": ..., "progress_deadline_s": ...}'

Standard input is the controller's pipe: every byte is progress, its end is the controller's end. One line on standard output says that
renewing has begun.
"""

from __future__ import annotations

import json
import os
import secrets
import select
import signal
import socket as sockets
import subprocess
import sys
import time
from collections.abc import Mapping

import zmq

from hil.errors import LinkError
from hil.link.control import Bye, Halt, Lease, Message, Mute, encode_request
from hil.link.sockets import loopback, prepared

FIRST_ID = 1 << 40  # ids of this process, apart from the controller's of the same session
AGAIN_S = 5.0  # a second Ctrl-C within this time ends the process at once
_STOP = b"q"


class LeaseProcess:
    """The controller's handle on its lease process.

    Renews at every node each quarter of `lease_s`, while `progress` was called within the last `progress_deadline_s`; after that the
    nodes' leases lapse. SIGINT, SIGTERM and SIGHUP to it, or the end of this process, mute and halt every node at once.
    """

    def __init__(
        self, addresses: Mapping[str, str], lease_s: float, progress_deadline_s: float = 30.0, *, session: str | None = None
    ) -> None:
        self.session = session or secrets.token_hex(8)
        self._about = {
            "addresses": {node: loopback(address) for node, address in addresses.items()}, "session": self.session,
            "lease_s": float(lease_s), "progress_deadline_s": float(progress_deadline_s),
        }  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, timeout_s: float = 10.0) -> None:
        """Begin; returns when the first renewal is on its way."""
        command = [sys.executable, "-m", "hil.link.lease", json.dumps(self._about)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        os.set_blocking(self._process.stdin.fileno(), False)  # type: ignore[union-attr]
        assert self._process.stdout is not None
        readable, _, _ = select.select([self._process.stdout], [], [], timeout_s)
        if not readable or not self._process.stdout.readline():
            self.stop()
            raise LinkError("lease-lost", "the lease process did not start", found=f"nothing within {timeout_s:.1f} s")

    def progress(self) -> None:
        """The controller is getting on. LinkError `lease-lost` when the lease process has ended (the nodes mute by themselves then)."""
        if self._process is None or self._process.poll() is not None:
            raise LinkError("lease-lost", "the lease process has ended", note="the nodes mute and halt by their leases")
        try:
            os.write(self._process.stdin.fileno(), b".")  # type: ignore[union-attr]
        except BlockingIOError:
            pass  # a full pipe is progress enough
        except OSError as error:
            raise LinkError("lease-lost", "the lease process has ended", note="the nodes mute and halt by their leases") from error

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def stop(self) -> None:
        """End it; the nodes are muted, halted and let go. Twice is fine."""
        process, self._process = self._process, None
        if process is None:
            return
        try:
            process.stdin.write(_STOP)  # type: ignore[union-attr]
        except (OSError, ValueError):
            pass
        process.stdin.close()  # type: ignore[union-attr]
        try:
            process.wait(2.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(2.0)
        process.stdout.close()  # type: ignore[union-attr]


class _Keeper:
    """The process itself."""

    def __init__(self, addresses: Mapping[str, str], session: str, lease_s: float, progress_deadline_s: float) -> None:
        self._session, self._lease_s, self._deadline_s, self._id = session, lease_s, progress_deadline_s, FIRST_ID
        context = zmq.Context()
        self._nodes = [prepared(context.socket(zmq.DEALER)) for _ in addresses]
        for node, address in zip(self._nodes, addresses.values()):
            node.connect(address)

    def _tell(self, body: Message) -> None:
        """Send to every node; waits for nobody."""
        self._id += 1
        frame = encode_request(body, session=self._session, id=self._id, deadline_s=max(self._lease_s, 1.0))
        for node in self._nodes:
            try:
                node.send(frame, zmq.NOBLOCK)
            except zmq.Again:
                pass  # a node that is not there has nothing on the air of ours, or mutes by its lease

    def _stop_everything(self, why: str) -> None:
        self._tell(Mute(why=why, hold=True))
        self._tell(Halt(why=why, hold=True))

    def _leave(self) -> int:
        for node in self._nodes:
            node.close(linger=200)
        return 0

    def run(self, signals: sockets.socket) -> int:
        """Until the controller ends, or a second signal comes within `AGAIN_S`."""
        os.set_blocking(0, False)
        poller = zmq.Poller()
        for channel in (0, signals.fileno(), *self._nodes):
            poller.register(channel, zmq.POLLIN)
        period, progress, interrupted = self._lease_s / 4.0, time.monotonic(), -AGAIN_S
        renewal = progress
        self._tell(Lease(sequence=self._id, valid_s=self._lease_s))
        os.write(1, b"renewing\n")
        while True:
            ready = dict(poller.poll(max(0, int((renewal + period - time.monotonic()) * 1e3) + 1)))
            now = time.monotonic()
            if signals.fileno() in ready and (caught := signals.recv(64)):
                again = now - interrupted < AGAIN_S or len(caught) > 1
                self._stop_everything(f"{signal.Signals(caught[-1]).name} at the controller")
                if again:
                    return self._leave()
                interrupted = now
            if 0 in ready:
                heard = os.read(0, 4096)
                if _STOP in heard:
                    self._tell(Bye())
                    return self._leave()
                if not heard:
                    self._stop_everything("the controller has ended")
                    return self._leave()
                if now - progress > self._deadline_s:  # it was thought dead: renew before anything else
                    renewal = now - period
                progress = now
            for node in self._nodes:
                while node in ready and node.poll(0):
                    node.recv_multipart(zmq.NOBLOCK)  # replies; who is silent shows to the controller itself
            if now - renewal >= period:
                renewal = now
                if now - progress <= self._deadline_s:
                    self._tell(Lease(sequence=self._id, valid_s=self._lease_s))


def main(about: str) -> int:
    inbox, outbox = sockets.socketpair()
    outbox.setblocking(False)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    signal.set_wakeup_fd(outbox.fileno())
    return _Keeper(**json.loads(about)).run(inbox)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
