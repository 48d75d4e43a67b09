"""`hil.device.Radio` over a board: settings frozen and read back, captures that are of the present, and silence on every way out."""

from __future__ import annotations

import atexit
import math
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hil.clock import Clock
from hil.device import Capability, Capture, DeviceError, Loss, Setting
from hil.radios import codes
from hil.radios.board import Board
from hil.radios.buffers import Receiver, Sender
from hil.radios.converters import Converters
from hil.radios.fitting import Fitting
from hil.radios.transceiver import Transceiver
from hil.radios.trim import Trim, planned

LONGEST_CAPTURE = 1 << 24
PROGRAMS = 10  # waveforms held; a node keeps fewer versions prepared
WAIT = 2.0  # a daemon gives up a block after half the client's time-out
RECEIVES, SENDS = "receive gain", "attenuation"

_open: weakref.WeakSet[AdiRadio] = weakref.WeakSet()


class AdiRadio:
    """A Pluto, AD9361, FMComms5 or AD9081. Its channels share oscillator, converters' clock and buffer.

    board: opened and identified; the radio closes it. capability: of the part within its profile. A transmission needs the buffer that this
    object holds, so it ends with it, with the process and with the connection; tone generators are silenced when the radio is opened.
    """

    def __init__(self, name: str, board: Board, capability: Capability, fitting: Fitting, clock: Clock) -> None:
        self.name = name
        self._board, self._clock, self._fitting = board, clock, fitting
        channels = capability.receive_channels
        self._receiver = Receiver(board, channels, capability.bits)
        self._sender = Sender(board, capability.transmit_channels, capability.bits)
        self._front = (Converters if capability.part == "ad9081" else Transceiver)(board, channels, fitting)
        self._capability = replace(
            capability, serial=board.serial or capability.serial, firmware=board.firmware, reports_loss=True, start="arbitrary",
            reports_first_sample=False,
        )  # fmt: skip
        self._receiving = threading.RLock()  # held while settings change and while samples come
        self._sending = threading.RLock()  # the transmit buffer and the version in it; never held for long
        self._setting: Setting | None = None
        self._programs: dict[int, NDArray[np.int16]] = {}
        self._version: int | None = None
        self._changes = 0  # settings, switching on, muting: what waits in a receive buffer is then of the past
        self._quiet = self._closed = False
        self._require_range()
        self._sender.silence_tones()
        self._front.quiet()
        self._quiet = True
        _open.add(self)

    # -- the protocol ----------------------------------------------------------------------------------------------------------------------

    @property
    def capability(self) -> Capability:
        return self._capability

    @property
    def setting(self) -> Setting | None:
        return self._setting

    @property
    def version(self) -> int | None:
        return self._version

    @property
    def board(self) -> Board:
        """What the radio stands on, for those who look at the device itself."""
        return self._board

    def configure(self, setting: Setting) -> Setting:
        """Everything applied, read back and compared. DeviceError `did-not-take` beyond the profile's tolerance."""
        with self._silent_on_error(), self._receiving:
            self._require_open()
            asked = self._checked(setting)
            self.mute()
            self._receiver.drop()
            became = self._front.apply(asked)
            self._front.quiet()
            if became.gain_mode != asked.gain_mode:
                raise self._not_taken("receive gain mode", asked.gain_mode, became.gain_mode)
            compared = asked if asked.gain_mode == "manual" else replace(asked, receive_gain_db=became.receive_gain_db)
            for wrong in self._front.compared(compared, became):
                raise self._not_taken(wrong.setting, f"{wrong.asked:.10g} within {wrong.tolerance:g}", f"{wrong.became:.10g}")
            self._setting = became
            self._changes += 1
            return became

    def load(self, version: int, waveform: NDArray[np.complex64]) -> None:
        with self._silent_on_error():
            self._require_open()
            with self._sending:
                self._programs.pop(version, None)
            can = self._capability
            words = codes.to_send(codes.checked(self.name, waveform, can.transmit_channels, can.longest_waveform), can.bits)
            with self._sending:
                self._programs[version] = words
                while len(self._programs) > PROGRAMS:
                    del self._programs[next(iter(self._programs))]

    def apply(self, version: int) -> None:
        with self._silent_on_error(), self._sending:
            self._require_open()
            setting = self._configured()
            if version not in self._programs:
                held = ", ".join(map(str, self._programs)) or "none"
                raise self._error("not-loaded", f"version {version} is not loaded", held, "a loaded version", "load it first")
            self._require_cool()
            self._programs[version] = self._programs.pop(version)  # what is used stays longest
            self._version, self._quiet = None, False
            self._sender.stop()
            self._front.loud(setting)
            self._require_attenuation(setting)  # before there is a signal to attenuate
            self._sender.start(self._programs[version])
            self._clock.sleep(self._capability.switch_gap_s)
            self._changes += 1
            self._version = version

    def capture(self, samples: int, timeout_s: float) -> Capture:
        with self._silent_on_error(), self._receiving:
            self._require_open()
            setting = self._configured()
            count = self._require_size(samples, timeout_s, setting.sample_rate_hz)
            version, changes = self._version, self._changes
            block = self._receiver.fetch(count, setting.sample_rate_hz, changes, timeout_s)
            age = count / setting.sample_rate_hz
            began = self._clock.now().after(-max(age, self._receiver.open_for) if self._receiver.reopened else -age)
            loss = self._receiver.loss()
            if version is not None and self._sender.starved():
                loss = Loss.SOME
            gains = self._read_gains(setting, self._receiver.reopened)
            taken, clipped = codes.received(block, self._capability.receive_channels, self._capability.bits)
            self._receiver.touch()
            return Capture(
                samples=taken.samples, codes=taken, sample_rate_hz=setting.sample_rate_hz, carrier_hz=setting.carrier_hz, gain_db=gains,
                version=version, loss=loss, clock=began,
                full_scale=1 << (self._capability.bits - 1), clipped=clipped, device=self.name,
            )  # fmt: skip

    def mute(self) -> None:
        self._version = None
        with self._sending:
            if self._closed or self._quiet:
                return
            self._quiet = True
            self._changes += 1
            for step in (self._sender.stop, self._front.quiet, self._sender.silence_tones):
                with suppress(Exception):  # a radio that is gone does not transmit for us any more: its daemon ends what lost its connection
                    step()

    def supports(self, what: str) -> bool:
        has = {"transmit": True, "receive": True, "coherent": True, "loss": self._receiver.reports_loss}
        has |= {"gain-modes": len(self._front.gain_modes) > 1, "first-sample": False, "loopback": self._front.loops_back}
        return has.get(what, False)

    def close(self) -> None:
        self.mute()
        with self._receiving, self._sending:
            if self._closed:
                return
            self._closed = True
            _open.discard(self)
            self._programs.clear()
            try:
                self._sender.stop()
                self._receiver.drop()
            finally:
                self._board.close()

    def __enter__(self) -> AdiRadio:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # -- beside the protocol ------------------------------------------------------------------------------------------------------------------

    def read(self) -> Setting:
        """What the device says it is now, whoever set it."""
        with self._receiving:
            self._require_open()
            return self._front.read()

    def audit(self) -> list[tuple[str, str, str]]:
        """(what, asked, found) wherever the device differs from the profile beside its setting. Reads only."""
        with self._receiving:
            self._require_open()
            return self._front.audit(self._front.read().sample_rate_hz)

    def temperature_c(self) -> float | None:
        """Of the chip; None where it does not say."""
        with self._receiving:
            self._require_open()
            return self._front.temperature_c()

    def loopback(self, on: bool) -> None:
        """What is sent comes back inside the chip, digitally; mutes. For a look at the path of the samples alone."""
        with self._silent_on_error(), self._receiving:
            self._require_open()
            self.mute()
            self._front.loopback(on)
            self._changes += 1

    def trim(self, offset_hz: float) -> Trim:
        """Take back `offset_hz`, by which the carrier is too high: reference first, then the synthesiser. Mutes.

        What remains, below the synthesiser's step, is `rest_hz`; `hil.radios.trim.derotated` takes it out of captures. The setting that is
        read back afterwards is the radio's own account of its carrier and differs from what was asked by what was taken back.
        """
        with self._silent_on_error(), self._receiving:
            self._require_open()
            setting = self._configured()
            reference = self._front.reference_hz()
            value, limits = reference if reference is not None else (None, None)
            step = self._front.step_hz(setting.carrier_hz)
            plan = planned(setting.carrier_hz, offset_hz, value, limits, step)
            if plan.reference_hz is not None and plan.reference_hz != value:
                self._front.set_reference_hz(plan.reference_hz)
            self.configure(replace(setting, carrier_hz=plan.carrier_hz))
            return plan

    # ---------------------------------------------------------------------------------------------------------------------------------------

    def _checked(self, asked: Setting) -> Setting:
        """A setting within the part and the profile, one value per channel; DeviceError before anything is written."""
        can, before = self._capability, self._setting
        for key, value, (least, most) in (
            ("carrier_hz", asked.carrier_hz, can.carrier_hz), ("sample_rate_hz", asked.sample_rate_hz, can.sample_rate_hz)
        ):  # fmt: skip
            if not (math.isfinite(value) and least <= value <= most):
                raise self._error("out-of-range", f"{key} cannot be set", f"{value:g} Hz", f"{least:g} ... {most:g} Hz ({can.part}, profile)",
                                  "another carrier or rate, or a profile that reaches it")  # fmt: skip
        if asked.gain_mode not in self._front.gain_modes:
            raise self._error("out-of-range", "no such gain mode", asked.gain_mode, " | ".join(self._front.gain_modes))
        receive = asked.receive_gain_db or (before.receive_gain_db if before else (can.receive_gain_db[0],) * can.receive_channels)
        attenuation = asked.attenuation_db or (before.attenuation_db if before else (can.attenuation_db[1],) * can.transmit_channels)
        for what, values, channels, (least, most) in (
            (RECEIVES, receive, can.receive_channels, can.receive_gain_db), (SENDS, attenuation, can.transmit_channels, can.attenuation_db)
        ):  # fmt: skip
            if len(values) != channels:
                raise self._error("bad-setting", f"{what} needs one value per channel", f"{len(values)}", f"{channels}, or none")
            for channel, value in enumerate(values):
                if not (math.isfinite(value) and least <= value <= most):
                    raise self._error("out-of-range", f"{what} of channel {channel} cannot be set", f"{value:g} dB", f"{least:g} ... {most:g} dB")
        return replace(asked, receive_gain_db=receive, attenuation_db=attenuation)

    def _require_size(self, samples: int, timeout_s: float, rate: float) -> int:
        if isinstance(samples, bool) or not isinstance(samples, (int, np.integer)) or not 1 <= samples <= LONGEST_CAPTURE:
            raise self._error("bad-request", "cannot capture so many samples", f"{samples}", f"1 ... {LONGEST_CAPTURE}")
        if not (math.isfinite(timeout_s) and samples / rate * WAIT <= timeout_s):
            most = max(0, int(timeout_s * rate / WAIT)) if math.isfinite(timeout_s) else 0
            raise self._error(
                "capture-timeout", "the buffer lasts longer than the time-out allows: its daemon would give up half-way",
                f"{samples} samples at {rate:g} Hz, {samples / rate:.3f} s", f"{timeout_s / WAIT:g} s, half of {timeout_s:g} s ({most} samples)",
                "fewer samples, or a longer time-out",
            )  # fmt: skip
        return int(samples)

    def _read_gains(self, setting: Setting, fresh: bool) -> tuple[float, ...]:
        """The gains after the last sample; DeviceError `did-not-take` when they are no longer those that were set.

        fresh: False for the next block of a running stream, where manual gains were read a moment ago.
        """
        if setting.gain_mode == "manual" and not fresh:
            return setting.receive_gain_db
        gains = self._front.receive_gain_db()
        if setting.gain_mode != "manual":
            self._setting = replace(setting, receive_gain_db=gains)
            return gains
        for channel, (asked, found) in enumerate(zip(setting.receive_gain_db, gains)):
            if abs(asked - found) > self._fitting.tolerance.gain_db:
                raise self._not_taken(f"receive gain of channel {channel}", f"{asked:g} dB, as it was set", f"{found:g} dB")
        return setting.receive_gain_db

    def _require_attenuation(self, setting: Setting) -> None:
        for channel, (asked, found) in enumerate(zip(setting.attenuation_db, self._front.attenuation_db())):
            if abs(asked - found) > self._fitting.tolerance.gain_db:
                raise self._not_taken(f"attenuation of channel {channel}", f"{asked:g} dB", f"{found:g} dB")

    def _require_cool(self) -> None:
        limit = self._fitting.temperature_c
        if limit is not None and (found := self._front.temperature_c()) is not None and found > limit:
            raise self._error("too-hot", "the chip is too warm to transmit", f"{found:.1f} C", f"at most {limit:g} C (profile, limits)",
                              "let it cool, and see to its airflow")  # fmt: skip

    def _require_range(self) -> None:
        """The profile's carriers are the device's own: a Pluto whose firmware knows an AD9363 reaches less than one that knows an AD9364."""
        can, own = self._capability.carrier_hz, self._front.carrier_range_hz()
        if own is not None and not (own[0] - 1.0 <= can[0] and can[1] <= own[1] + 1.0):
            raise self._error("beyond-part", "the profile reaches beyond what this device can tune to", f"{can[0]:g} ... {can[1]:g} Hz",
                              f"{own[0]:g} ... {own[1]:g} Hz (frequency_available)", "narrow `range.carrier_hz` of the profile")  # fmt: skip

    def _configured(self) -> Setting:
        if self._setting is None:
            raise self._error("not-configured", "has no setting yet", fix="configure it first")
        return self._setting

    def _require_open(self) -> None:
        if self._closed:
            raise self._error("closed", "is closed", fix="open it again")

    def _error(self, id: str, what: str, found: str = "", allowed: str = "", fix: str = "") -> DeviceError:
        return DeviceError(id, what, where=self._board.where, found=found, allowed=allowed, fix=fix)

    def _not_taken(self, what: str, asked: str, found: str) -> DeviceError:
        return DeviceError(
            "did-not-take", f"{what} did not become what was asked", where=self._board.where, found=found, allowed=asked,
            note="transmitter silent", fix="another program holds the radio? see `hil doctor BENCH`",
        )  # fmt: skip

    @contextmanager
    def _silent_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.mute()
            raise


@atexit.register
def _close_all() -> None:
    """Whatever was left open when the interpreter ends is destroyed in order while there is still an order."""
    for radio in list(_open):
        with suppress(Exception):
            radio.close()
