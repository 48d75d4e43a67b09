"""A radio or a stage of a world that lives in another process; what a node holds at depth `nodes`.

Light on purpose: numpy and msgspec, nothing of the physics. Every wait has a deadline; a world that has gone is a DeviceError.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.clock import Clock, Instant
from hil.device import Capability, Capture, DeviceError, Move, Position, Setting
from sim_backend import wire

QUICK_S = 5.0  # longest wait for what takes no emulated time
COMPUTE_S = 60.0  # a capture's samples are computed after its airtime, on a machine that may be busy
STOP_S = 0.5  # longest wait for a mute or halt to be confirmed


class _Line:
    """One connection to one device."""

    def __init__(self, address: str, kind: str, name: str, clock: Clock, *, control: bool) -> None:
        self._name, self._clock, self._lock = name, clock, threading.Lock()
        self._ahead = (float("inf"), 0.0)  # (round trip, world's clock - ours), of the shortest
        self._channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._channel.settimeout(QUICK_S)
            self._channel.connect(address)
        except OSError as error:
            self._channel.close()
            raise DeviceError("no-world", "the emulator does not answer", where=name, found=f"{address}: {error}") from error
        first = wire.Survey(None) if kind == "survey" else wire.Open(kind, name, control)
        self.opened: Any = self.ask(first, QUICK_S)[0]

    def ask(self, request: Any, timeout_s: float, samples: NDArray[Any] | None = None) -> tuple[Any, bytearray]:
        """The reply, or the DeviceError it carries."""
        with self._lock:
            try:
                self._channel.settimeout(timeout_s)
                sent = time.monotonic()
                wire.send(self._channel, wire.Request(request), samples)
                reply, payload = wire.receive_reply(self._channel)
            except TimeoutError as error:
                self._channel.close()  # a late reply would be taken for the next one's
                raise DeviceError(
                    "timeout", "the emulator did not answer", where=self._name, found=f"nothing within {timeout_s:.1f} s"
                ) from error
            except OSError as error:
                raise DeviceError(
                    "no-world", "the emulator has gone, or the device is closed", where=self._name, found=str(error)
                ) from error
            if (trip := time.monotonic() - sent) < self._ahead[0]:
                self._ahead = (trip, reply.at.since(self._clock.now()) + trip / 2.0)
        if isinstance(reply.body, wire.Failed):
            f = reply.body
            raise DeviceError(f.id, f.what, where=f.where, found=f.found, allowed=f.allowed, fix=f.fix, note=f.note)
        return reply.body, payload

    def here(self, instant: Instant | None) -> Instant | None:
        """A reading of the world's clock as one of ours."""
        return None if instant is None else instant.after(-self._ahead[1])

    def there(self, instant: Instant | None) -> Instant | None:
        """A reading of our clock as one of the world's."""
        return None if instant is None else instant.after(self._ahead[1])

    def close(self) -> None:
        self._channel.close()


class _Lines:
    """The two connections of a device: one whose requests take time, one for what must not wait."""

    def __init__(self, name: str, kind: str, address: str, clock: Clock) -> None:
        self.name = name
        self._work = _Line(address, kind, name, clock, control=False)
        try:
            self._control = _Line(address, kind, name, clock, control=True)
        except BaseException:
            self._work.close()
            raise
        self._closed = False

    def _stop(self, request: Any) -> Any:
        """Never fails: without a connection the world has already stopped the device."""
        if self._closed:
            return None
        try:
            return self._control.ask(request, STOP_S)[0]
        except DeviceError:
            self._closed = True
            self._work.close()  # which ends what it had on the air, or under way
            self._control.close()
            return None

    def _let_go(self) -> None:
        if not self._closed:
            self._closed = True
            self._work.close()
            self._control.close()

    def _need_open(self) -> None:
        if self._closed:
            raise DeviceError("closed", "the device was closed", where=self.name)


class RemoteRadio(_Lines):
    """`hil.device.Radio` over a world's socket."""

    def __init__(self, name: str, address: str, clock: Clock) -> None:
        super().__init__(name, "radio", address, clock)
        capability = self._work.opened.capability
        assert capability is not None
        self._capability: Capability = capability
        self._setting: Setting | None = self._work.opened.setting
        self._supports: dict[str, bool] = {}

    @property
    def capability(self) -> Capability:
        return self._capability

    @property
    def setting(self) -> Setting | None:
        return self._setting

    @property
    def version(self) -> int | None:
        if self._closed:
            return None
        version: int | None = self._control.ask(wire.Where(), QUICK_S)[0].version
        return version

    def configure(self, setting: Setting) -> Setting:
        self._need_open()
        became: Setting = self._work.ask(wire.Configure(setting), QUICK_S)[0].setting
        self._setting = became
        return became

    def load(self, version: int, waveform: NDArray[np.complex64]) -> None:
        self._need_open()
        waveform = np.ascontiguousarray(waveform, dtype=np.complex64)
        self._work.ask(wire.Load(version, waveform.shape), QUICK_S, waveform)

    def apply(self, version: int) -> None:
        self._need_open()
        self._work.ask(wire.Apply(version), QUICK_S)

    def capture(self, samples: int, timeout_s: float) -> Capture:
        self._need_open()
        body, payload = self._work.ask(wire.Capture(samples, timeout_s), timeout_s + COMPUTE_S)
        if self._setting is not None and self._setting.gain_mode != "manual":
            self._setting = replace(self._setting, receive_gain_db=body.gain_db)
        fractions, codes = wire.unpack(payload, body.shape, body.codes, body.full_scale)
        return Capture(
            fractions, body.sample_rate_hz, body.carrier_hz, body.gain_db, body.first_sample, body.version, body.loss,
            self._work.here(body.clock), body.full_scale, body.clipped, self.name, codes,
        )  # fmt: skip

    def mute(self) -> None:
        self._stop(wire.Mute())

    def supports(self, what: str) -> bool:
        self._need_open()
        if what not in self._supports:
            self._supports[what] = self._control.ask(wire.Supports(what), QUICK_S)[0].answer
        return self._supports[what]

    def close(self) -> None:
        self.mute()
        self._let_go()


class RemoteStage(_Lines):
    """`hil.device.Stage` over a world's socket."""

    def __init__(self, name: str, address: str, clock: Clock) -> None:
        super().__init__(name, "stage", address, clock)

    @property
    def axes(self) -> Mapping[str, tuple[float, float]]:
        axes: Mapping[str, tuple[float, float]] = self._work.opened.axes
        return axes

    def _position(self, line: _Line, request: Any, timeout_s: float) -> Position:
        self._need_open()
        position: Position = line.ask(request, timeout_s)[0].position
        return replace(position, at=line.here(position.at))

    def where(self) -> Position:
        return self._position(self._control, wire.Where(), QUICK_S)

    def move(self, move: Move, timeout_s: float) -> Position:
        return self._position(self._work, wire.Move(move, timeout_s), timeout_s + QUICK_S)

    def home(self, timeout_s: float) -> Position:
        return self._position(self._work, wire.Home(timeout_s), timeout_s + QUICK_S)

    def halt(self) -> None:
        self._stop(wire.Halt())

    def close(self) -> None:
        self.halt()
        self._let_go()


class Survey:
    """Where the targets of a world are, as a survey of the room would find it: for the controller's comparison, never for a node."""

    def __init__(self, address: str, clock: Clock) -> None:
        self._line = _Line(address, "survey", "survey", clock, control=True)

    def __call__(self, at: Instant | None = None, name: str = "target") -> tuple[float, float, float] | None:
        """World coordinates in metres at a reading of this process's clock (None: now); None where there is no target of that name."""
        target: tuple[float, float, float] | None = self._line.ask(wire.Survey(self._line.there(at), name), QUICK_S)[0].target
        return target

    def close(self) -> None:
        self._line.close()


def radio(name: str, clock: Clock, *, address: str) -> RemoteRadio:
    """Opens a radio by name; what a node's plan names as its entry."""
    return RemoteRadio(name, address, clock)


def stage(name: str, clock: Clock, *, address: str) -> RemoteStage:
    """Opens a stage by name; what a node's plan names as its entry."""
    return RemoteStage(name, address, clock)
