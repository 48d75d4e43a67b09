"""An emulated radio: `hil.device.Radio` on top of the world. It tells what hardware tells, and no more."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hil.clock import Instant
from hil.device import Capability, Capture, DeviceError, Loss, Setting
from sim_backend import seeds
from sim_backend.converter import on_grid, to_codes, transmit_amplitude
from sim_backend.history import Airing, Program, Tuning
from sim_backend.oscillator import Oscillator

if TYPE_CHECKING:
    from sim_backend.world import World

LATENCY_S = (0.2e-3, 2e-3)  # from a request to its first sample
LOCK_S = 1e-3  # a retuned synthesiser locks within this, configure waits for it
READING_S = 1e-4  # standard deviation of a clock reading
PROGRAMS = 8  # waveforms a radio holds
LONGEST_CAPTURE = 1 << 27


class Radio:
    """One front end. Channels share one oscillator; transmit and receive synthesisers draw a phase each at every retune."""

    def __init__(self, world: World, name: str, capability: Capability, oscillator: Oscillator) -> None:
        self.name = name
        self._world, self._capability, self._oscillator = world, capability, oscillator
        self._lock = threading.RLock()
        self._setting: Setting | None = None
        self._programs: dict[int, Program] = {}
        self._airing: Airing | None = None
        self._retunes = self._captures = self._applies = self._mutes = 0
        self._closed = False

    @property
    def capability(self) -> Capability:
        return self._capability

    @property
    def setting(self) -> Setting | None:
        return self._setting

    @property
    def version(self) -> int | None:
        with self._lock:
            return None if self._airing is None else self._airing.program.version

    def supports(self, what: str) -> bool:
        has = {"transmit": self._capability.transmit_channels > 0, "receive": self._capability.receive_channels > 0}
        has |= {"first-sample": self._capability.reports_first_sample, "loss": self._capability.reports_loss}
        return has.get(what, False)

    def configure(self, setting: Setting) -> Setting:
        with self._silent_on_error():
            self._open()
            self.mute()
            became = self._became(setting)
            with self._lock:
                before = self._setting
                if before is None or (before.carrier_hz, before.sample_rate_hz) != (became.carrier_hz, became.sample_rate_hz):
                    self._retunes += 1
                self._setting = became
            self._world.clock.sleep(LOCK_S)
            return became

    def load(self, version: int, waveform: NDArray[np.complex64]) -> None:
        with self._silent_on_error():
            self._open()
            samples = self._checked(waveform)
            codes, saturated = to_codes(samples, self._capability.bits)
            with self._lock:
                self._programs.pop(version, None)
                self._programs[version] = Program(int(version), codes, 1 << (self._capability.bits - 1), saturated)
                while len(self._programs) > PROGRAMS:
                    del self._programs[next(iter(self._programs))]

    def apply(self, version: int) -> None:
        with self._silent_on_error():
            self._open()
            setting = self._tuned()
            with self._lock:
                if version not in self._programs:
                    held = ", ".join(map(str, self._programs)) or "none"
                    raise self._error(
                        "not-loaded", f"version {version} is not loaded", f"loaded: {held}", "a loaded version", "load it first"
                    )
                program = self._programs[version] = self._programs.pop(version)  # what is used stays longest
                self.mute()
                self._applies += 1
                latency, mutes = self._latency("apply", self._applies), self._mutes
            self._world.clock.sleep(self._capability.switch_gap_s + latency)
            with self._lock:
                if self._mutes != mutes:
                    raise self._error("muted", f"muted while version {version} was being switched on")
                self._airing = self._start(program, setting)
            self._world.clock.sleep(max(0.0, self._airing.start.since(self._world.clock.now())))

    def capture(self, samples: int, timeout_s: float) -> Capture:
        with self._silent_on_error():
            self._open()
            setting = self._tuned()
            if self._capability.receive_channels == 0:
                raise self._error("no-receiver", "cannot capture", "0 receive channels", "a radio that receives")
            if isinstance(samples, bool) or not isinstance(samples, (int, np.integer)) or not 1 <= samples <= LONGEST_CAPTURE:
                raise self._error("bad-request", "cannot capture so many samples", f"{samples}", f"1 .. {LONGEST_CAPTURE}")
            with self._lock:
                self._captures += 1
                number, tuning = self._captures, self._tuning(setting)
            clock = self._world.clock
            latency = self._latency("capture", number)
            first = self._oscillator.next_tick(clock.now().after(latency), tuning.rate)
            begin, end = self._oscillator.tick(first, tuning.rate), self._oscillator.tick(first + int(samples), tuning.rate)
            needed = end.since(clock.now())
            if needed > timeout_s:
                clock.sleep(max(0.0, timeout_s))
                raise self._error(
                    "capture-timeout", f"{samples} samples did not come", f"{needed:.4f} s needed", f"{timeout_s:g} s", "wait longer"
                )
            clock.sleep(needed)
            self._world.windows.append((tuning, first, int(samples)))
            fractions, clipped = self._world.samples(tuning, first, int(samples))
            own = self._world.on_air(self.name, begin)
            return Capture(
                samples=fractions,
                sample_rate_hz=setting.sample_rate_hz,
                carrier_hz=setting.carrier_hz,
                gain_db=setting.receive_gain_db,
                first_sample=first if self._capability.reports_first_sample else None,
                version=None if own is None else own.program.version,
                loss=Loss.NONE if self._capability.reports_loss else Loss.UNKNOWN,
                clock=self._reading(begin, number),
                full_scale=1 << (self._capability.bits - 1),
                clipped=clipped,
                device=self.name,
            )

    def mute(self) -> None:
        with self._lock:
            self._mutes += 1
            airing, self._airing = self._airing, None
            if airing is not None:
                airing.stop = max(airing.start, self._world.clock.now())

    def close(self) -> None:
        self.mute()
        self._closed = True

    # ------------------------------------------------------------------------------------------------------------------------------

    def _start(self, program: Program, setting: Setting) -> Airing:
        rate = int(setting.sample_rate_hz)
        tick = self._oscillator.next_tick(self._world.clock.now(), rate)
        channels = self._world.channels(self.name, "transmit")
        full_scale = self._capability.transmit_full_scale_dbm
        airing = Airing(
            radio=self.name,
            program=program,
            channels=channels,
            amplitude=np.array([transmit_amplitude(full_scale, setting.attenuation_db[channel]) for channel in channels]),
            oscillator=self._oscillator,
            carrier=int(setting.carrier_hz),
            rate=rate,
            first_tick=tick,
            start=self._oscillator.tick(tick, rate),
            phase=self._phase("transmit"),
        )
        self._world.air(airing)
        return airing

    def _tuning(self, setting: Setting) -> Tuning:
        rate, carrier = int(setting.sample_rate_hz), int(setting.carrier_hz)
        phase, jitter = self._phase("receive"), self._world.phase_noise(self.name, "receive")
        return Tuning(self.name, self._oscillator, carrier, rate, phase, setting.receive_gain_db, jitter)

    def _phase(self, side: str) -> float:
        """Cycles; drawn anew at every retune."""
        return seeds.uniform(0.0, 1.0, self._world.seed, self.name, "phase", side, self._retunes)

    def _latency(self, what: str, number: int) -> float:
        return seeds.uniform(*LATENCY_S, self._world.seed, self.name, "latency", what, number)

    def _reading(self, at: Instant, number: int) -> Instant:
        """The host's clock at `at`, as well as a host reads it."""
        return at.after(READING_S * float(seeds.generator(self._world.seed, self.name, "reading", number).standard_normal()))

    def _became(self, asked: Setting) -> Setting:
        """What the hardware makes of a setting: whole hertz, gains on their grid and within their range."""
        limits = self._capability
        for key, value, (least, most) in (
            ("carrier_hz", asked.carrier_hz, limits.carrier_hz),
            ("sample_rate_hz", asked.sample_rate_hz, limits.sample_rate_hz),
        ):
            if not (math.isfinite(value) and least <= value <= most):
                raise self._error(
                    "out-of-range", f"{key} cannot be set", f"{value:g}", f"{least:g} .. {most:g}", "choose one within the range"
                )
        before = self._setting
        return Setting(
            carrier_hz=float(round(asked.carrier_hz)),
            sample_rate_hz=float(round(asked.sample_rate_hz)),
            receive_gain_db=self._gains(
                "receive_gain_db", asked.receive_gain_db, limits.receive_channels, limits.receive_gain_db, limits.receive_gain_step_db,
                before.receive_gain_db if before else (limits.receive_gain_db[0],) * limits.receive_channels,
            ),
            attenuation_db=self._gains(
                "attenuation_db", asked.attenuation_db, limits.transmit_channels, limits.attenuation_db, limits.attenuation_step_db,
                before.attenuation_db if before else (limits.attenuation_db[1],) * limits.transmit_channels,
            ),
        )  # fmt: skip

    def _gains(
        self, key: str, asked: tuple[float, ...], channels: int, reach: tuple[float, float], step: float, before: tuple[float, ...]
    ) -> tuple[float, ...]:
        """One per channel, or none to leave them as they are."""
        if not asked:
            return before
        if len(asked) != channels:
            raise self._error("bad-setting", f"{key} needs one value per channel", f"{len(asked)} values", f"{channels} or none")
        if not all(math.isfinite(value) for value in asked):
            raise self._error("bad-setting", f"{key} must be finite", f"{asked}", f"{reach[0]:g} .. {reach[1]:g} dB")
        return tuple(on_grid(value, *reach, step) for value in asked)

    def _checked(self, waveform: NDArray[np.complex64]) -> NDArray[np.complex64]:
        limits = self._capability
        if limits.transmit_channels == 0:
            raise self._error("no-transmitter", "cannot load a waveform", "0 transmit channels", "a radio that transmits")
        samples = np.asarray(waveform)
        if samples.dtype.kind not in "cf" or samples.ndim != 2 or samples.shape[0] != limits.transmit_channels or samples.shape[1] < 1:
            shape = f"{limits.transmit_channels} channels x samples, complex"
            raise self._error("bad-waveform", "wrong shape", f"{samples.shape} of {samples.dtype}", shape)
        if samples.shape[1] > limits.longest_waveform:
            raise self._error("bad-waveform", "too long", f"{samples.shape[1]} samples", f"{limits.longest_waveform}")
        peak = float(max(np.abs(samples.real).max(), np.abs(samples.imag).max()))
        if not peak <= 1.0:  # also when it is not a number
            raise self._error(
                "bad-waveform", "beyond full scale", f"peak {peak:g}", "real and imaginary part within -1 .. 1", "scale it down"
            )
        return samples.astype(np.complex64)

    def _tuned(self) -> Setting:
        if self._setting is None:
            raise self._error("not-configured", "has no setting yet", fix="configure it first")
        return self._setting

    def _open(self) -> None:
        if self._closed:
            raise self._error("closed", "is closed", fix="open it again")

    def _error(self, id: str, what: str, found: str = "", allowed: str = "", fix: str = "") -> DeviceError:
        return DeviceError(id, what, where=self.name, found=found, allowed=allowed, fix=fix)

    @contextmanager
    def _silent_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.mute()
            raise


def with_bits(capability: Capability, bits: int | None) -> Capability:
    """The part's capability, with other converters where the emulated bench has them."""
    return capability if bits is None else replace(capability, bits=bits)
