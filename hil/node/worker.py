"""The one place that touches devices: carries out requests, keeps the envelope, mutes after every error.

It mutes and halts as well when its controller falls silent.

The same Worker serves a controller in its own process (depth `process`, `hil.link.local`) and one behind ZeroMQ (`hil.link.server`).
Requests to different devices may come from different threads; `mute`, `halt` and `tick` may come at any time from any thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hil.clock import Clock
from hil.device import DeviceError, Radio, Setting, Stage
from hil.envelope import Duty, Limits, Rail, check_move, check_setting, check_waveform
from hil.errors import LinkError, SafeState
from hil.link import messages as m

Answer = tuple[m.Message, list[NDArray[Any]]]

KEPT_VERSIONS = 8  # that stay prepared: sounding frames of every transmitter beside the design in force


class Worker:
    """Owns the radios and stages of one node.

    rails: stage -> carriages that must not meet. antenna_gain_dbi: radio -> gain per transmit channel, for EIRP. lease_s: a controller
    silent for longer while something radiates or moves has lost the node: mute, halt, state `safe`; None when the controller is this very
    process. safe: why to begin in the safe state (after a restart), or "".
    """

    def __init__(
        self, name: str, radios: Mapping[str, Radio], stages: Mapping[str, Stage], limits: Limits | None = None, *, clock: Clock,
        lease_s: float | None = None, rails: Mapping[str, Rail] | None = None,
        antenna_gain_dbi: Mapping[str, Sequence[float]] | None = None, safe: str = "",
    ) -> None:  # fmt: skip
        self.name, self.radios, self.stages, self.clock = name, dict(radios), dict(stages), clock
        self.limits = limits or Limits()
        self.lease_s = lease_s
        self._rails, self._gains = dict(rails or {}), dict(antenna_gain_dbi or {})
        self._lock = threading.RLock()  # state below; never held while a device works
        self._busy = {device: threading.Lock() for device in [*self.radios, *self.stages]}
        self._prepared: dict[int, tuple[str, ...]] = {}
        self._version: int | None = None
        self._on_air: set[str] = set()
        self._moving: set[str] = set()
        self._silenced = 0  # counts mutes, so that an apply that was overtaken by one is undone
        self._braked = 0
        self._safe, self._held = safe, ""
        self._owner, self._until = "", clock.now()
        self._duty = Duty(self.limits)
        self.executed = 0
        self._do: dict[type, Callable[[Any, Sequence[NDArray[Any]]], m.Message | Answer]] = {
            m.Hello: lambda request, arrays: self.described(), m.Describe: lambda request, arrays: self.described(),
            m.Status: lambda request, arrays: self.state(), m.Lease: lambda request, arrays: m.Done(),
            m.Mute: self._mute, m.Halt: self._halt, m.Clear: self._clear, m.Bye: self._bye,
            m.Configure: self._configure, m.Prepare: self._prepare, m.Apply: self._apply, m.Capture: self._capture,
            m.Move: self._move, m.Where: self._where, m.Home: self._home,
        }  # fmt: skip
        if safe:
            self._silence()
            self._brake()

    # -- what a controller asks ---------------------------------------------------------------------------------------------------

    def handle(self, request: m.Request, arrays: Sequence[NDArray[Any]] = (), session: str = "local") -> Answer:
        """Carry out one request; (reply, arrays of the reply).

        Raises HilError, and whatever a device raises; the node's transmitters are then silent. Another controller's request is refused
        while the owner's lease runs (Status, Describe, Mute and Halt are anybody's) and changes nothing.
        """
        self._admit(request, session)
        try:
            answer = self._do[type(request)](request, arrays)
        except Exception:
            self._silence()
            raise
        return answer if isinstance(answer, tuple) else (answer, [])

    def _admit(self, request: m.Request, session: str) -> None:
        if isinstance(request, m.Status | m.Describe | m.Mute | m.Halt):
            if session == self._owner:
                self._heard(self.lease_s)
            return
        with self._lock:
            now = self.clock.now()
            if session != self._owner:
                if self._owner and self.lease_s is not None and now.since(self._until) < 0.0:
                    raise LinkError(
                        "in-use", "another controller holds this node", where=f"node `{self.name}`",
                        found=f"its lease runs for {-now.since(self._until):.2f} s more", fix="wait for it to end, or stop it",
                    )  # fmt: skip
                if isinstance(request, m.Lease | m.Bye):
                    raise LinkError("not-owner", "this controller does not hold the node", where=f"node `{self.name}`")
                self._owner, self._held = session, ""
            self._heard(request.valid_s if isinstance(request, m.Lease) else self.lease_s)

    def _heard(self, valid_s: float | None) -> None:
        if self.lease_s is not None and valid_s is not None:
            with self._lock:
                self._until = self.clock.now().after(min(valid_s, self.lease_s))

    # -- dead man's rule -----------------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Call often. Enters the safe state when the lease has lapsed, or the duty limit is reached, while radiating or moving."""
        with self._lock:
            now = self.clock.now()
            active = bool(self._on_air or self._moving)
            late = now.since(self._until) if self.lease_s is not None else -1.0
            over = bool(self._on_air) and self._duty.exceeded(now)
        if active and late > 0.0:
            self.enter_safe(f"the controller was silent for longer than its lease of {self.lease_s:.3g} s")
        elif over:
            self.enter_safe(f"radiated {self.limits.duty:.0%} of {self.limits.duty_window_s:.0f} s, the duty limit")

    def enter_safe(self, why: str) -> None:
        """Mute, halt, and refuse to radiate or move until cleared. The first reason is kept."""
        with self._lock:
            self._safe = self._safe or why
        self._silence()
        self._brake()

    def _refuse_if_safe(self) -> None:
        with self._lock:
            safe, held = self._safe, self._held
        if safe:
            raise SafeState("safe-state", "muted and halted itself", where=f"node `{self.name}`", found=safe, fix="hil clear BENCH")
        if held:
            raise SafeState(
                "interrupted", "muted and halted on request", where=f"node `{self.name}`", found=held, fix="hil run --resume RUN"
            )

    def _silence(self) -> None:
        with self._lock:
            self._silenced += 1
            self._version = None
            self._on_air.clear()
            self._duty.off(self.clock.now())
        _each(radio.mute for radio in self.radios.values())

    def _brake(self) -> None:
        with self._lock:
            self._braked += 1
        _each(stage.halt for stage in self.stages.values())

    def close(self) -> None:
        """Mute, halt and let go of every device. Twice is fine."""
        self._silence()
        self._brake()
        _each(radio.close for radio in self.radios.values())
        _each(stage.close for stage in self.stages.values())

    # -- state ---------------------------------------------------------------------------------------------------------------------

    def state(self) -> m.State:
        with self._lock:
            word: Literal["safe", "held", "ready"] = "safe" if self._safe else "held" if self._held else "ready"
            return m.State(
                state=word, why=self._safe or self._held, version=self._version, radiating=tuple(sorted(self._on_air)),
                moving=tuple(sorted(self._moving)), executed=self.executed,
            )  # fmt: skip

    def described(self) -> m.Described:
        return m.Described(
            node=self.name, state=self.state(), lease_s=self.lease_s,
            radios={name: radio.capability for name, radio in self.radios.items()},
            settings={name: radio.setting for name, radio in self.radios.items()},
            stages={name: dict(stage.axes) for name, stage in self.stages.items()},
        )  # fmt: skip

    def _mute(self, request: m.Mute, arrays: Sequence[NDArray[Any]]) -> m.Message:
        self._hold(request)
        self._silence()
        return m.Done()

    def _halt(self, request: m.Halt, arrays: Sequence[NDArray[Any]]) -> m.Message:
        self._hold(request)
        self._brake()
        return m.Done()

    def _hold(self, request: m.Mute | m.Halt) -> None:
        if request.hold:
            with self._lock:
                self._held = request.why or "interrupted"

    def _clear(self, request: m.Clear, arrays: Sequence[NDArray[Any]]) -> m.Message:
        self._silence()
        self._brake()
        with self._lock:
            self._safe = self._held = ""
        return self.state()

    def _bye(self, request: m.Bye, arrays: Sequence[NDArray[Any]]) -> m.Message:
        self._silence()
        self._brake()
        with self._lock:
            self._owner, self._prepared = "", {}
        return m.Done()

    # -- radios ----------------------------------------------------------------------------------------------------------------------

    def _radio(self, name: str) -> Radio:
        if name not in self.radios:
            raise DeviceError(
                "no-such-radio", f"no radio `{name}` here", where=f"node `{self.name}`", allowed=", ".join(self.radios) or "none"
            )
        return self.radios[name]

    def _stage(self, name: str) -> Stage:
        if name not in self.stages:
            raise DeviceError(
                "no-such-stage", f"no stage `{name}` here", where=f"node `{self.name}`", allowed=", ".join(self.stages) or "none"
            )
        return self.stages[name]

    @contextmanager
    def _owning(self, *devices: str, timeout_s: float = 2.0) -> Iterator[None]:
        """Hold devices against other requests; DeviceError `busy` when one is not free in time."""
        taken = []
        try:
            for device in sorted(devices):
                if not self._busy[device].acquire(timeout=timeout_s):
                    raise DeviceError("busy", "another request holds the device", where=device, allowed=f"free within {timeout_s} s")
                taken.append(device)
            with self._lock:
                self.executed += 1
            yield
        finally:
            for device in taken:
                self._busy[device].release()

    def _configure(self, request: m.Configure, arrays: Sequence[NDArray[Any]]) -> m.Message:
        radio = self._radio(request.device)
        check_setting(request.device, radio.capability, request.setting, self.limits)
        with self._owning(request.device):
            before = radio.setting
            with self._lock:
                if request.device in self._on_air:  # configuring mutes
                    self._on_air.discard(request.device)
                    if not self._on_air:
                        self._version = None
                        self._duty.off(self.clock.now())
            became = radio.configure(request.setting)
        if before is None or _transmits_like(before) != _transmits_like(became):  # what was checked no longer holds
            with self._lock:
                self._prepared = {v: radios for v, radios in self._prepared.items() if request.device not in radios}
        return m.Configured(setting=became)

    def _prepare(self, request: m.Prepare, arrays: Sequence[NDArray[Any]]) -> m.Message:
        self._refuse_if_safe()
        if sorted(request.radios.values()) != list(range(len(arrays))):
            raise LinkError(
                "bad-message", "every waveform belongs to exactly one radio", found=f"{len(arrays)} arrays for {len(request.radios)} radios"
            )
        with self._lock:
            self._prepared.pop(request.version, None)
        power = {}
        for name, index in request.radios.items():  # all checked before any is loaded
            radio = self._radio(name)
            waveform = arrays[index]
            if waveform.dtype != np.complex64:
                raise LinkError("bad-message", "a waveform must be complex64", where=name, found=str(waveform.dtype))
            power[name] = check_waveform(
                name, radio.capability, radio.setting, waveform, self.limits,
                antenna_gain_dbi=self._gains.get(name, ()), stated_dbm=request.power_dbm.get(name),
            )  # fmt: skip
        with self._owning(*request.radios):
            for name, index in request.radios.items():
                self.radios[name].load(request.version, arrays[index])
        with self._lock:
            self._prepared[request.version] = tuple(request.radios)
            for old in [version for version in self._prepared if version != self._version][: max(0, len(self._prepared) - KEPT_VERSIONS)]:
                del self._prepared[old]
        return m.Prepared(version=request.version, power_dbm=power)

    def _apply(self, request: m.Apply, arrays: Sequence[NDArray[Any]]) -> m.Message:
        self._refuse_if_safe()
        with self._lock:
            radios, before = self._prepared.get(request.version), self._silenced
            over = self._duty.exceeded(self.clock.now())
        if radios is None:
            raise DeviceError(
                "not-loaded", f"version {request.version} was not prepared", where=f"node `{self.name}`",
                found=", ".join(map(str, self._prepared)) or "none", fix="prepare it first",
            )  # fmt: skip
        if radios and over:
            raise DeviceError(
                "duty-cap", "the node has radiated as long as it may", where=f"node `{self.name}`",
                allowed=f"{self.limits.duty:.0%} of {self.limits.duty_window_s:.0f} s", fix="wait",
            )  # fmt: skip
        with self._owning(*self.radios):
            for name, radio in self.radios.items():
                if name not in radios and radio.version is not None:
                    radio.mute()
            with self._lock:
                self._on_air = set(radios)
                if radios:
                    self._duty.on(self.clock.now())
                else:
                    self._duty.off(self.clock.now())
            for name in radios:
                self.radios[name].apply(request.version)
            with self._lock:
                overtaken = self._silenced != before
                if not overtaken:
                    self._version = request.version
                    self._prepared[request.version] = self._prepared.pop(request.version, radios)  # what is used stays longest
        if overtaken:  # a mute came while applying: it has the last word
            self._silence()
            self._refuse_if_safe()
            raise DeviceError("muted", f"muted while version {request.version} was applied", where=f"node `{self.name}`")
        return m.Applied(version=request.version)

    def _capture(self, request: m.Capture, arrays: Sequence[NDArray[Any]]) -> Answer:
        radio = self._radio(request.device)
        with self._owning(request.device):
            version = self._version
            capture = radio.capture(request.samples, request.timeout_s)
        capture = replace(capture, version=version, device=request.device)
        return m.Captured.of(capture), [capture.samples if capture.codes is None else capture.codes.values]

    # -- stages ----------------------------------------------------------------------------------------------------------------------

    def _where(self, request: m.Where, arrays: Sequence[NDArray[Any]]) -> m.Message:
        return m.Positioned(position=self._stage(request.stage).where())

    def _move(self, request: m.Move, arrays: Sequence[NDArray[Any]]) -> m.Message:
        self._refuse_if_safe()
        stage = self._stage(request.stage)
        with self._owning(request.stage):
            check_move(request.stage, stage.axes, request.move, stage.where(), self._rails.get(request.stage))
            return self._travel(request.stage, lambda: stage.move(request.move, request.timeout_s))

    def _home(self, request: m.Home, arrays: Sequence[NDArray[Any]]) -> m.Message:
        self._refuse_if_safe()
        stage = self._stage(request.stage)
        with self._owning(request.stage):
            return self._travel(request.stage, lambda: stage.home(request.timeout_s))

    def _travel(self, name: str, go: Callable[[], Any]) -> m.Message:
        with self._lock:
            before = self._braked
            self._moving.add(name)
        try:
            position = go()
        except Exception:
            self._refuse_if_safe()  # the reason it was halted says more than "halted"
            raise
        finally:
            with self._lock:
                self._moving.discard(name)
                braked = self._braked != before
        if braked:
            self._refuse_if_safe()
            raise DeviceError("halted", "halted on the way", where=name, found=_millimetres(position.axes))
        return m.Positioned(position=position)


def _transmits_like(setting: Setting) -> tuple[Any, ...]:
    return setting.carrier_hz, setting.sample_rate_hz, setting.attenuation_db


def _millimetres(axes: Mapping[str, float]) -> str:
    return ", ".join(f"{axis} {value * 1e3:.3f} mm" for axis, value in axes.items())


def _each(calls: Any) -> None:
    """Call all, whatever some of them raise; the first error is raised after the last call."""
    errors = []
    for call in calls:
        try:
            call()
        except Exception as error:
            errors.append(error)
    if errors:
        raise errors[0]
