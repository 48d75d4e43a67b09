"""An emulated radio: `hil.device.Radio` on top of the world. It tells what hardware tells, and no more.

Hardware and its driver in one: the converter's blocks wait in a ring and grow old there, and `capture` discards what is stale.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hil.clock import Instant
from hil.device import Capability, Capture, DeviceError, Loss, Setting
from sim_backend import limits, reception, reference, seeds, transmission
from sim_backend.converter import to_codes, transmit_amplitude
from sim_backend.faults import Fault
from sim_backend.history import Airing, Program, Tuning
from sim_backend.oscillator import Oscillator
from sim_backend.reception import Receiver, Tuned
from sim_backend.ring import Ring
from sim_backend.sharing import Trigger

if TYPE_CHECKING:
    from sim_backend.world import World

LATENCY_S = (0.2e-3, 2e-3)  # from a request to its first sample
LOCK_S = 1e-3  # a retuned synthesiser locks within this, configure waits for it
READING_S = 1e-4  # standard deviation of a clock reading
PROGRAMS = 8  # waveforms a radio holds
LONGEST_CAPTURE = 1 << 27
PHASE_EVENTS = ("retune", "rate", "power", "buffer")  # upon which a part may draw its synthesisers' phases anew
FAR_OFF = 1_000_000_000  # hertz from where a synthesiser that does not lock is: nothing comes through


class Radio:
    """One front end. Channels share one oscillator; transmit and receive synthesisers draw a phase each at every retune."""

    def __init__(
        self, world: World, name: str, capability: Capability, oscillator: Oscillator, phase_events: Iterable[str] = PHASE_EVENTS[:3],
        trigger: Trigger | None = None,
    ) -> None:  # fmt: skip
        self.name = name
        self._world, self._capability, self._oscillator = world, capability, oscillator
        self._phase_events, self._trigger = frozenset(phase_events), trigger
        self._lock = threading.RLock()
        self._setting: Setting | None = None  # as read back
        self._really: Setting | None = None  # as it is
        self._programs: dict[int, Program] = {}
        self._airings: list[Airing] = []
        self._version: int | None = None  # as the driver believes
        self._receiver = Receiver(world, name, capability, self.reference)
        self._ring: Ring | None = None
        self._window: int | None = None  # first tick of the latest capture
        self._retuned = self._seen = world.clock.now()
        self._off_hz = 0  # by which the synthesisers are not where they should be
        self._phases = self._captures = self._applies = self._mutes = 0
        self._closed = False

    @property
    def capability(self) -> Capability:
        return self._capability

    @property
    def setting(self) -> Setting | None:
        self._notice()
        return self._setting

    @property
    def really(self) -> Setting | None:
        """Gains as they are, whatever was read back: for the world, not for a controller."""
        return self._really

    @property
    def version(self) -> int | None:
        with self._lock:
            self._notice()
            return self._version

    def adopt(self, really: Setting) -> None:
        """Gains and tuning that another driver of the same hardware has brought about."""
        self._really = really

    def reference(self, at: Instant) -> tuple[Oscillator, float]:
        """The oscillator in force at an instant, and cycles that a phase counted with it needs per hertz of carrier."""
        return reference.in_force(self._oscillator, self._world.faults, self.name, self._world.emulated.seed, at)

    def supports(self, what: str) -> bool:
        has = {"transmit": self._capability.transmit_channels > 0, "receive": self._capability.receive_channels > 0}
        has |= {"first-sample": self._capability.reports_first_sample, "loss": self._capability.reports_loss}
        has |= {"gain-modes": self._capability.receive_channels > 0}
        return has.get(what, False)

    def configure(self, setting: Setting) -> Setting:
        with self._silent_on_error():
            self._open()
            self.mute()
            became = limits.became(self.name, self._capability, setting, self._really)
            with self._lock:
                became = self._tune(became)
            self._world.clock.sleep(LOCK_S)
            return became

    def load(self, version: int, waveform: NDArray[np.complex64]) -> None:
        with self._silent_on_error():
            self._open()
            samples = limits.waveform(self.name, self._capability, waveform)
            codes, saturated = to_codes(samples, self._capability.bits)
            if fault := self._fault("dac-wrap"):
                full = 1 << (self._capability.bits - 1)
                parts = np.floor(samples.view(np.float32) * np.float32(full * fault["scale"]) + np.float32(0.5))
                codes = (np.mod(parts + full, 2 * full) - full).astype(np.float32).view(np.complex64)
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
                ignored = self._version is not None and self._fault("reload-ignored") is not None
                if not ignored:
                    self.mute()
                self._applies += 1
                latency, mutes = self._latency("apply", self._applies), self._mutes
            self._world.clock.sleep(self._capability.switch_gap_s + latency)
            with self._lock:
                if self._mutes != mutes:
                    raise self._error("muted", f"muted while version {version} was being switched on")
                if not ignored:
                    self._airings = self._start(program, setting)
                self._version = version
                start = self._airings[0].start
            self._world.clock.sleep(max(0.0, start.since(self._world.clock.now())))

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
                number, rate = self._captures, int(setting.sample_rate_hz)
                first = self._next_block(self._world.clock.now().after(self._latency("capture", number)), rate)
            short = self._fault("returns-short")
            samples = max(1, int(samples * short["share"])) if short else int(samples)
            last, count = self._receiver.pieces(first, samples, rate)[-1]
            end = last + count
            begin, ready = (self._oscillator_now.tick(tick, rate) for tick in (first - reception.PIPELINE, end))
            clock, late = self._world.clock, self._fault("returns-late")
            needed = max(0.0, ready.since(clock.now())) + (late["late_s"] if late else 0.0)
            if needed > timeout_s or self._fault("capture-never-returns"):
                clock.sleep(max(0.0, timeout_s))
                raise self._error(
                    "capture-timeout", f"{samples} samples did not come", f"{needed:.4f} s needed", f"{timeout_s:g} s", "wait longer"
                )
            with self._lock:
                assert self._ring is not None
                self._window = first
                if first == self._ring.oldest:
                    self._ring.read(end - first, self._oscillator_now.next_tick(clock.now(), rate))
            clock.sleep(needed)
            taken = self._receiver.take(first, samples, rate)
            own = self._world.on_air(self.name, begin)
            loss = Loss.SOME if taken.slipped or self._fault("overflow-stuck") else Loss.NONE
            return Capture(
                samples=taken.samples,
                sample_rate_hz=setting.sample_rate_hz,
                carrier_hz=setting.carrier_hz,
                gain_db=setting.receive_gain_db if setting.gain_mode == "manual" else self._read_gains(taken.gain_db),
                first_sample=first if self._capability.reports_first_sample else None,
                version=self._believed(own),
                loss=loss if self._capability.reports_loss else Loss.UNKNOWN,
                clock=self._reading(begin, number),
                full_scale=1 << (self._capability.bits - 1),
                clipped=taken.clipped,
                device=self.name,
            )

    def mute(self) -> None:
        with self._lock:
            self._mutes += 1
            self._version = None
            if self._trigger is not None:
                self._trigger.release(self.name)
            transmission.stop(self._airings, self._world.clock.now())

    def close(self) -> None:
        self.mute()
        self._closed = True

    # ------------------------------------------------------------------------------------------------------------------------------

    @property
    def _oscillator_now(self) -> Oscillator:
        return self.reference(self._world.clock.now())[0]

    def _tune(self, became: Setting) -> Setting:
        """Settings in force from now on, and what is read back: what the synthesisers, the receiver and its ring make of them."""
        now, before = self._world.clock.now(), self._setting
        rate_changed = before is None or before.sample_rate_hz != became.sample_rate_hz
        retuned = before is None or before.carrier_hz != became.carrier_hz
        ring_opens = self._capability.receive_channels > 0 and (rate_changed or "buffer" in self._phase_events)
        happened = {"power": before is None, "retune": retuned, "rate": rate_changed, "buffer": ring_opens}
        if any(happened[event] for event in self._phase_events):
            self._phases += 1
            self._retuned = now
        if retuned:
            fault = self._fault("unlocked-retune")
            self._off_hz = (round(fault["offset_hz"]) or FAR_OFF) if fault else 0
        really = became
        if before is not None and self._really is not None and self._fault("gain-step-ignored"):
            really = replace(became, receive_gain_db=self._really.receive_gain_db)
        if fault := self._fault("gain-readback-wrong"):
            became = replace(became, receive_gain_db=tuple(gain + fault["error_db"] for gain in became.receive_gain_db))
        self._setting, self._really = became, really
        rate = int(became.sample_rate_hz)
        tick = self._oscillator_now.next_tick(now, rate)
        if ring_opens:
            self._ring, self._window = Ring(tick), None
        self._receiver.tune(Tuned(tick, self._retuned, self._tuning(really), really.gain_mode), anew=rate_changed)
        return became

    def _next_block(self, at: Instant, rate: int) -> int:
        """First tick of the block that a capture begins with: the driver discards those that began before the request."""
        assert self._ring is not None
        if self._fault("stuck-ring") and self._window is not None:
            return self._window
        if not self._fault("stale-buffer"):
            self._ring.discard_before(self._oscillator_now.next_tick(at, rate))
        return self._ring.oldest

    def _read_gains(self, gain_db: tuple[float, ...]) -> tuple[float, ...]:
        """The gains that automatic control has reached, as read back now."""
        with self._lock:
            fault = self._fault("gain-readback-wrong")
            gain_db = tuple(gain + (fault["error_db"] if fault else 0.0) for gain in gain_db)
            if self._setting is not None:
                self._setting = replace(self._setting, receive_gain_db=gain_db)
            return gain_db

    def _believed(self, airing: Airing | None) -> int | None:
        """The version that the driver thinks a transmission of its own is."""
        with self._lock:
            present = airing in self._airings and self._version is not None
            return None if airing is None else self._version if present else airing.program.version

    def _fault(self, what: str) -> Fault | None:
        return self._world.faults.active(self.name, what, self._world.clock.now())

    def _notice(self) -> None:
        """What happened to the radio since it was last asked."""
        with self._lock:
            now, faults = self._world.clock.now(), self._world.faults
            if faults.begun(self.name, "power-cycle", self._seen, now):
                self._setting = self._really = self._version = self._ring = None
                self._programs.clear()
            if faults.begun(self.name, "node-reboot", self._seen, now):
                self._closed, self._version = True, None
            self._seen = now

    def _start(self, program: Program, setting: Setting) -> list[Airing]:
        now, rate = self._world.clock.now(), int(setting.sample_rate_hz)
        oscillator, present = self._oscillator, self._oscillator_now
        tick = present.next_tick(now, rate)
        first = tick if self._trigger is None else present.next_tick(self._trigger.start(self.name, program.version, now), rate)
        channels = self._world.channels(self.name, "transmit")
        full_scale = self._capability.transmit_full_scale_dbm
        whole = Airing(
            radio=self.name,
            program=program,
            channels=channels,
            amplitude=np.array([transmit_amplitude(full_scale, setting.attenuation_db[channel]) for channel in channels]),
            oscillator=oscillator,
            carrier=int(setting.carrier_hz) + self._off_hz,
            rate=rate,
            first_tick=first + transmission.PIPELINE,
            start=present.tick(max(tick, first) + transmission.PIPELINE, rate),
            phase=self._phase("transmit"),
            chains=self._world.chains(self.name, setting.attenuation_db, self._phases),
            phase_noise=self._world.phase_noise(self.name, "transmit"),
        )
        airings = transmission.pieces(whole, self._world.faults, self.reference, self._retuned)
        for airing in airings:
            self._world.air(airing)
        return airings

    def _tuning(self, setting: Setting) -> Tuning:
        rate, carrier = int(setting.sample_rate_hz), int(setting.carrier_hz) + self._off_hz
        phase, jitter = self._phase("receive"), self._world.phase_noise(self.name, "receive")
        return Tuning(self.name, self._oscillator, carrier, rate, phase, setting.receive_gain_db, jitter)

    def _phase(self, side: str) -> float:
        """Cycles; drawn anew at every event that the part's synthesisers lose it at."""
        return seeds.uniform(0.0, 1.0, self._world.seed, self.name, "phase", side, self._phases)

    def _latency(self, what: str, number: int) -> float:
        return seeds.uniform(*LATENCY_S, self._world.seed, self.name, "latency", what, number)

    def _reading(self, at: Instant, number: int) -> Instant:
        """The host's clock at `at`, as well as a host reads it."""
        return at.after(READING_S * float(seeds.generator(self._world.seed, self.name, "reading", number).standard_normal()))

    def _tuned(self) -> Setting:
        if self._setting is None:
            raise self._error("not-configured", "has no setting yet", fix="configure it first")
        return self._setting

    def _open(self) -> None:
        self._notice()
        if self._fault("power-cycle") or self._fault("node-reboot"):
            raise self._error("no-answer", "does not answer", fix="wait until it is back, and configure it anew")
        if self._closed:
            raise self._error("closed", "is closed", fix="open it again")

    def _error(self, id: str, what: str, found: str = "", allowed: str = "", fix: str = "") -> DeviceError:
        return limits.refusal(self.name, id, what, found, allowed, fix)

    @contextmanager
    def _silent_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.mute()
            raise
