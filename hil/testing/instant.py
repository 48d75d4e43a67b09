"""A radio and a stage without physics: they keep every rule of the protocols and know nothing of waves or motors.

What a radio transmits it hears at once, all transmit channels added with a fixed phase each, delayed by nothing, with an arbitrary start
in the cycle. Captures and moves spend exactly their time on the clock.
"""

from __future__ import annotations

import functools
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.clock import Clock, WallClock
from hil.device import Capability, Capture, DeviceError, Loss, Move, Position, Setting

STEP_S = 0.002  # how often a wait looks for a halt


class _Journal:
    """Appends `NANOSECONDS DEVICE WHAT` (monotonic clock) per call to a file, for those who measure reactions; None keeps nothing."""

    def __init__(self, device: str, path: str | None) -> None:
        self._device, self._path = device, Path(path) if path else None

    def note(self, what: str) -> None:
        if self._path is not None:
            with self._path.open("a") as file:
                file.write(f"{time.monotonic_ns()} {self._device} {what}\n")


def _silent_on_error(method: Callable[..., Any]) -> Callable[..., Any]:
    """After any error of a radio its transmitter is silent."""

    @functools.wraps(method)
    def guarded(self: InstantRadio, *arguments: Any) -> Any:
        try:
            return method(self, *arguments)
        except DeviceError:
            self.mute()
            raise

    return guarded


class InstantRadio:
    """Implements `hil.device.Radio`. extra_s: seconds each capture takes beyond its airtime (a slow or stuck device)."""

    def __init__(
        self, name: str, clock: Clock | None = None, *, transmit_channels: int = 2, receive_channels: int = 2, serial: str = "",
        seed: int = 0, extra_s: float = 0.0, journal: str | None = None,
    ) -> None:  # fmt: skip
        self.name = name
        self._clock = clock or WallClock()
        self._capability = Capability(
            part="instant", serial=serial or f"instant-{name}", transmit_channels=transmit_channels, receive_channels=receive_channels,
            carrier_hz=(70e6, 6e9), sample_rate_hz=(0.5e6, 61.44e6), receive_gain_db=(0.0, 60.0), receive_gain_step_db=1.0,
            attenuation_db=(0.0, 80.0), attenuation_step_db=0.25, bits=12, transmit_full_scale_dbm=7.0, receive_full_scale_dbm=0.0,
        )  # fmt: skip
        self._random = np.random.default_rng(seed)
        self._extra_s = extra_s
        self._journal = _Journal(name, journal)
        self._setting: Setting | None = None
        self._loaded: dict[int, NDArray[np.complex64]] = {}
        self._version: int | None = None
        self._closed = False

    @property
    def capability(self) -> Capability:
        return self._capability

    @property
    def setting(self) -> Setting | None:
        return self._setting

    @property
    def version(self) -> int | None:
        return self._version

    def _open(self) -> Setting | None:
        if self._closed:
            raise DeviceError("closed", "the radio was closed", where=self.name)
        return self._setting

    @_silent_on_error
    def configure(self, setting: Setting) -> Setting:
        self._open()
        self.mute()
        can = self._capability

        def stepped(values: Sequence[float], channels: int, limits: tuple[float, float], step: float) -> tuple[float, ...]:
            values = tuple(values) or (limits[0],) * channels
            if len(values) != channels or not all(limits[0] <= value <= limits[1] for value in values):
                raise DeviceError(
                    "out-of-range", "gain or attenuation outside range", where=self.name, found=str(values), allowed=str(limits)
                )
            return tuple(round(value / step) * step for value in values)

        for name in ("carrier_hz", "sample_rate_hz"):
            if not getattr(can, name)[0] <= getattr(setting, name) <= getattr(can, name)[1]:  # NaN as well
                raise DeviceError("out-of-range", f"{name} outside range", where=self.name, found=str(getattr(setting, name)))
        if setting.gain_mode != "manual":
            raise DeviceError("out-of-range", "no such gain mode", where=self.name, found=setting.gain_mode, allowed="manual")
        self._setting = Setting(
            setting.carrier_hz, setting.sample_rate_hz,
            stepped(setting.receive_gain_db, can.receive_channels, can.receive_gain_db, can.receive_gain_step_db),
            stepped(setting.attenuation_db, can.transmit_channels, can.attenuation_db, can.attenuation_step_db),
        )  # fmt: skip
        return self._setting

    @_silent_on_error
    def load(self, version: int, waveform: NDArray[np.complex64]) -> None:
        if self._open() is None:
            raise DeviceError("not-configured", "no setting yet", where=self.name, fix="configure first")
        waveform = np.array(waveform, dtype=np.complex64)
        if waveform.ndim != 2 or waveform.shape[0] != self._capability.transmit_channels or waveform.shape[1] < 1:
            raise DeviceError(
                "wrong-shape", "waveform needs the axes (transmit channel, sample)", where=self.name, found=str(waveform.shape)
            )
        if not waveform.shape[0]:
            raise DeviceError("no-transmitter", "this radio receives only", where=self.name)
        if not np.isfinite(waveform.view(np.float32)).all():
            raise DeviceError("not-finite", "waveform holds NaN or infinity", where=self.name)
        if np.abs(waveform.view(np.float32)).max() > 1.0 + 1e-6:
            raise DeviceError("over-full-scale", "waveform would clip", where=self.name, allowed="at most 1 per part")
        self._loaded[version] = waveform
        self._journal.note(f"load {version}")

    @_silent_on_error
    def apply(self, version: int) -> None:
        self._open()
        if version not in self._loaded:
            raise DeviceError("not-loaded", f"version {version} is not loaded", where=self.name, found=str(sorted(self._loaded)))
        self._version = version
        self._journal.note(f"apply {version}")

    @_silent_on_error
    def capture(self, samples: int, timeout_s: float) -> Capture:
        setting = self._open()
        if setting is None:
            raise DeviceError("not-configured", "no setting yet", where=self.name, fix="configure first")
        if samples < 1:
            raise DeviceError("out-of-range", "a capture needs at least one sample", where=self.name, found=str(samples))
        if not self._capability.receive_channels:
            raise DeviceError("no-receiver", "this radio transmits only", where=self.name)
        duration = samples / setting.sample_rate_hz + self._extra_s
        if duration > timeout_s:
            self._clock.sleep(timeout_s)
            raise DeviceError("timeout", "the capture did not come", where=self.name, found=f"nothing within {timeout_s} s")
        begun, version = self._clock.now(), self._version
        heard = np.zeros(samples, dtype=np.complex64)
        if version is not None:
            wave = self._loaded[version]
            index = (int(self._random.integers(wave.shape[1])) + np.arange(samples)) % wave.shape[1]
            phases = np.exp(2j * np.pi * np.arange(len(wave)) / 7.0).astype(np.complex64) / np.float32(2 * len(wave))
            heard = phases @ wave[:, index]
        parts = np.ascontiguousarray(heard).view(np.float32)
        noisy = parts[None, :] * 2048.0 + self._random.normal(0.0, 2.0, (self._capability.receive_channels, 2 * samples))
        codes = np.clip(np.rint(noisy), -2048, 2047).astype(np.float32)
        self._clock.sleep(duration)
        return Capture(
            (codes / np.float32(2048)).view(np.complex64), setting.sample_rate_hz, setting.carrier_hz, setting.receive_gain_db,
            version=version, loss=Loss.NONE, clock=begun, full_scale=2048, clipped=float(np.mean(np.abs(codes) >= 2047)), device=self.name,
        )  # fmt: skip

    def mute(self) -> None:
        self._version = None
        self._journal.note("mute")

    def supports(self, what: str) -> bool:
        return False

    def close(self) -> None:
        if not self._closed:
            self.mute()
            self._closed = True


class InstantStage:
    """Implements `hil.device.Stage`: linear travel at the asked speed, exact arrival, brakes within a step."""

    def __init__(
        self, name: str, clock: Clock | None = None, *, axes: Mapping[str, Sequence[float]] | None = None, std: float = 1e-5,
        homed: bool = True,
        journal: str | None = None,
    ) -> None:  # fmt: skip
        self.name = name
        self._clock = clock or WallClock()
        self._axes = {axis: (float(least), float(most)) for axis, (least, most) in (axes or {"x": (0.0, 0.3)}).items()}
        self._at = {axis: least for axis, (least, _) in self._axes.items()}
        self._std, self._homed = std, homed
        self._halted = threading.Event()
        self._moving = self._closed = False
        self._journal = _Journal(name, journal)

    @property
    def axes(self) -> Mapping[str, tuple[float, float]]:
        return dict(self._axes)

    def where(self) -> Position:
        if self._closed:
            raise DeviceError("closed", "the stage was closed", where=self.name)
        known = dict(self._at) if self._homed else {}
        return Position(known, {axis: self._std for axis in known}, self._homed, self._moving, self._clock.now())

    def move(self, move: Move, timeout_s: float) -> Position:
        if not self.where().homed:
            raise DeviceError("not-homed", "position unknown", where=self.name, fix="home it")
        for axis, target in move.targets.items():
            if axis not in self._axes:
                raise DeviceError("no-such-axis", f"no axis `{axis}`", where=self.name, allowed=", ".join(self._axes))
            least, most = self._axes[axis]
            if not (math.isfinite(target) and least <= target <= most):
                raise DeviceError(
                    "beyond-travel", f"axis {axis} cannot go there", where=self.name, found=str(target), allowed=f"{least} ... {most}"
                )
        if not (math.isfinite(move.speed) and move.speed > 0.0 and math.isfinite(move.acceleration) and move.acceleration > 0.0):
            raise DeviceError("out-of-range", "speed and acceleration must be above 0", where=self.name)
        start = dict(self._at)
        furthest = max((abs(target - start[axis]) for axis, target in move.targets.items()), default=0.0)
        duration = furthest / move.speed
        if duration > timeout_s:
            raise DeviceError(
                "timeout", "the move takes longer than allowed", where=self.name, found=f"{duration:.3f} s", allowed=f"{timeout_s} s"
            )
        self._halted.clear()
        self._moving = True
        self._journal.note("move")
        try:
            begun = self._clock.now()
            while (gone := self._clock.now().since(begun)) < duration:
                if self._halted.is_set():
                    raise DeviceError("halted", "halted on the way", where=self.name)
                for axis, target in move.targets.items():
                    self._at[axis] = start[axis] + (target - start[axis]) * gone / duration
                self._clock.sleep(min(STEP_S, duration - gone))
            self._at.update(move.targets)
        finally:
            self._moving = False
            self._journal.note("still")
        return self.where()

    def halt(self) -> None:
        self._halted.set()
        self._journal.note("halt")

    def home(self, timeout_s: float) -> Position:
        self.where()
        self._at = {axis: least for axis, (least, _) in self._axes.items()}
        self._homed = True
        return self.where()

    def close(self) -> None:
        if not self._closed:
            self.halt()
            self._closed = True


def radio(name: str, clock: Clock, **arguments: object) -> InstantRadio:
    """Entry for a node plan."""
    return InstantRadio(name, clock, **arguments)  # type: ignore[arg-type]


def stage(name: str, clock: Clock, **arguments: object) -> InstantStage:
    """Entry for a node plan."""
    return InstantStage(name, clock, **arguments)  # type: ignore[arg-type]
