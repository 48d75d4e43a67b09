"""The process that owns the world at depth `nodes`: serves its radios and stages on a private socket, in wall time.

    python -m sim_backend.server SITE.json SOCKET --parent PID

One thread per connection, so that receivers capture side by side. When a connection ends, however it ends, its radio is muted or its
stage halted, and so it is before another may hold it: a transmission does not outlive the node that made it. One line on standard
output says that the socket is there.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hil.clock import Clock, Instant, WallClock
from hil.device import Capture, DeviceError, Radio, Setting, Stage
from sim_backend import wire

if TYPE_CHECKING:
    from sim_backend.world import World

Survey = Callable[[Instant, str], tuple[float, float, float] | None]
STARTING_S = 120.0  # kernels may have to be compiled first


class WorldProcess:
    """A world in a process of its own, from `start` to `stop`; gone when this process is, however it ends.

    `address` is what `sim_backend.remote` connects to: a socket in a folder only this user can enter. `words`: lines that the process
    said before it was ready.
    """

    module = "sim_backend.server"

    def __init__(self, site: Mapping[str, Any]) -> None:
        self._site = dict(site)
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self.address = self.site_file = ""
        self.words: list[str] = []

    def arguments(self) -> list[str]:
        """Of the process."""
        return [self.site_file, self.address]

    def __enter__(self) -> WorldProcess:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def start(self, timeout_s: float = STARTING_S) -> None:
        """Returns when radios and stages can be opened; DeviceError with the process's last words when they cannot."""
        self._folder = Path(tempfile.mkdtemp(prefix="hil-world-"))  # mode 0700
        self.address = str(self._folder / "socket")
        self.site_file = str(self._folder / "site.json")
        Path(self.site_file).write_text(json.dumps(self._site, default=float))
        command = [sys.executable, "-m", self.module, *self.arguments(), "--parent", str(os.getpid())]
        try:
            with open(self._folder / "log", "wb") as log:
                self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, bufsize=0)
            assert self._process.stdout is not None
            ready, _, _ = select.select([self._process.stdout], [], [], timeout_s)
            said = os.read(self._process.stdout.fileno(), 1 << 16).decode().splitlines() if ready else []
            if said[-1:] != ["ready"]:
                words = (self._folder / "log").read_text(errors="replace").strip().splitlines()
                raise DeviceError(
                    "no-world", "the emulator did not start", found=words[-1] if words else f"nothing within {timeout_s:.0f} s"
                )  # fmt: skip
            self.words = said[:-1]
        except BaseException:
            self.stop()
            raise

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def stop(self, timeout_s: float = 3.0) -> None:
        """End it. Twice is fine."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(timeout_s)
            process.stdout.close()  # type: ignore[union-attr]
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


class Server:
    """Serves devices on a UNIX socket, a thread per connection. survey: where the target of a name is at an instant, or None without one."""

    def __init__(
        self, radios: Mapping[str, Radio], stages: Mapping[str, Stage], clock: Clock, address: str, survey: Survey = lambda at, name: None
    ) -> None:
        self._radios, self._stages, self._clock, self._survey = dict(radios), dict(stages), clock, survey
        self._holders: dict[tuple[str, str], object] = {}  # (kind, name) -> who opened the device last
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listening.bind(address)
        self._listening.listen(64)
        self._listening.settimeout(0.05)

    def run(self, stop: Callable[[], bool]) -> None:
        """Until `stop()` says so; then everything is muted and halted."""
        while not stop():
            try:
                channel, _ = self._listening.accept()
            except TimeoutError:
                continue
            channel.settimeout(None)  # a node may be quiet for as long as it lives
            threading.Thread(target=self._converse, args=(channel,), daemon=True).start()
        self._listening.close()
        for radio in self._radios.values():
            radio.mute()
        for stage in self._stages.values():
            stage.halt()

    def _converse(self, channel: socket.socket) -> None:
        """One connection from its first word to its end."""
        end: Callable[[], None] = lambda: None
        try:
            request, _ = wire.receive_request(channel)
            while isinstance(request, wire.Survey):
                self._reply(channel, wire.Surveyed(self._survey(request.at or self._clock.now(), request.target)))
                request, _ = wire.receive_request(channel)
            if not isinstance(request, wire.Open):
                return
            devices: Mapping[str, Any] = self._radios if request.kind == "radio" else self._stages
            if request.name not in devices:
                self._reply(channel, wire.Failed("no-such-device", f"no such {request.kind}", request.name, "", ", ".join(devices), "", ""))
                return
            device = devices[request.name]
            end = self._hold(request, device.mute if request.kind == "radio" else device.halt)
            carry_out = _radio if request.kind == "radio" else _stage
            self._reply(channel, _opened(request.kind, device))
            while True:
                request, payload = wire.receive_request(channel)
                samples = None
                try:
                    reply = carry_out(device, request, payload)
                    if isinstance(reply, Capture):
                        samples, codes = wire.pack(reply)
                        reply = _captured(reply, codes)
                except DeviceError as error:
                    reply = wire.Failed(error.id, error.what, error.where, error.found, error.allowed, error.fix, error.note)
                except Exception as error:
                    end()
                    reply = wire.Failed("emulator-fault", f"{type(request).__name__.lower()} failed", device.name, repr(error), "", "", "")
                self._reply(channel, reply, samples)
        except OSError:
            pass  # the node has gone
        finally:
            end()
            channel.close()

    def _hold(self, opening: wire.Open, quieten: Callable[[], None]) -> Callable[[], None]:
        """What ends a connection: quiet, unless somebody else has opened the device since, before whom it was made quiet."""
        device = opening.kind, opening.name
        if not opening.control:
            quieten()
            self._holders[device] = object()
        holder = self._holders.get(device)

        def end() -> None:
            if self._holders.get(device) is holder:
                quieten()

        return end

    def _reply(self, channel: socket.socket, body: Any, samples: Any = None) -> None:
        wire.send(channel, wire.Reply(body, self._clock.now()), samples)


def _opened(kind: str, device: Any) -> wire.Opened:
    if kind == "radio":
        return wire.Opened(device.capability, device.setting, {})
    return wire.Opened(None, None, dict(device.axes))


def _captured(capture: Capture, codes: bool) -> wire.Captured:
    return wire.Captured(
        capture.samples.shape, codes, capture.sample_rate_hz, capture.carrier_hz, capture.gain_db, capture.first_sample, capture.version,
        capture.loss, capture.clock, capture.full_scale, capture.clipped,
    )  # fmt: skip


def _radio(radio: Radio, request: Any, payload: bytearray) -> Any:
    match request:
        case wire.Configure(setting):
            return wire.Configured(radio.configure(setting))
        case wire.Load(version, shape):
            radio.load(version, np.frombuffer(payload, dtype="<c8").reshape(shape))
        case wire.Apply(version):
            radio.apply(version)
        case wire.Capture(samples, timeout_s):
            return radio.capture(samples, timeout_s)
        case wire.Mute():
            radio.mute()
        case wire.Supports(what):
            return wire.Done(radio.version, radio.supports(what))
        case wire.Where():
            pass
        case _:
            raise DeviceError("unknown-request", "a radio cannot do this", where=radio.name, found=type(request).__name__.lower())
    return wire.Done(radio.version)


def _stage(stage: Stage, request: Any, payload: bytearray) -> Any:
    match request:
        case wire.Move(move, timeout_s):
            return wire.Positioned(stage.move(move, timeout_s))
        case wire.Home(timeout_s):
            return wire.Positioned(stage.home(timeout_s))
        case wire.Where():
            return wire.Positioned(stage.where())
        case wire.Halt():
            stage.halt()
        case _:
            raise DeviceError("unknown-request", "a stage cannot do this", where=stage.name, found=type(request).__name__.lower())
    return wire.Done()


def warm_up(world: World, carrier_hz: float) -> None:
    """Run every kernel once on a world of no further use, so that no capture waits for a compiler."""
    settings = {}
    for name, radio in world.radios.items():
        can = radio.capability
        rate = min(max(15.36e6, can.sample_rate_hz[0]), can.sample_rate_hz[1])
        settings[name] = radio.configure(Setting(min(max(float(carrier_hz), can.carrier_hz[0]), can.carrier_hz[1]), rate))
        if can.transmit_channels:
            radio.load(0, np.full((can.transmit_channels, 512), 0.1, dtype=np.complex64))
            radio.apply(0)
    for radio in world.radios.values():
        if radio.capability.receive_channels:
            radio.capture(2048, 60.0)
            break
    for radio in world.radios.values():
        radio.close()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="sim_backend.server")
    parser.add_argument("site")
    parser.add_argument("socket")
    parser.add_argument("--parent", type=int, required=True)
    told = parser.parse_args(arguments)
    ending: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: ending.append(number))
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # Ctrl-C is the controller's to handle: the world stays until told
    from sim_backend.world import build

    site = json.loads(Path(told.site).read_text())
    warm_up(build(site, WallClock()), site["carrier_hz"])
    clock = WallClock()
    world = build(site, clock)

    def survey(at: Instant, name: str) -> tuple[float, float, float] | None:
        found = world.truth.target(at, name)
        return None if found is None else tuple(float(metres) for metres in found[0])  # type: ignore[return-value]

    server = Server(world.radios, world.stages, clock, told.socket, survey)
    os.write(1, b"ready\n")
    server.run(lambda: bool(ending) or os.getppid() != told.parent)
    return 0


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # threads that still compute for nobody must not keep the process
