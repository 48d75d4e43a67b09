"""The hardware behind a context: one radio of a world with its converters, synthesisers, gains and buffers.

Everything that a driver sets comes through here and nowhere else, and from here it reaches the medium.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace

from hil.clock import Instant
from hil.device import Setting
from sim_backend import seeds
from sim_backend.faults import Fault
from sim_backend.iiod.inlet import Inlet
from sim_backend.iiod.listening import Ear, Listening
from sim_backend.iiod.outlet import Outlet
from sim_backend.iiod.pace import FreePace, PatientPace
from sim_backend.iiod.sending import Mouth, Sending
from sim_backend.iiod.values import EBUSY, EINVAL, ENOMEM, Refused
from sim_backend.oscillator import Oscillator
from sim_backend.radio import LATENCY_S
from sim_backend.world import World

RECEIVE, TRANSMIT = "receive", "transmit"
DEPTH, MOST_BUFFERS = 4, 64
MOST_BYTES = 1 << 28  # of all kernel buffers of a device


class FrontEnd:
    """bits: (transmit, receive) of the converters; codes of a transmitter are left-justified in 16.

    others: every front end of the world, this one too; what one sends must be on the air before another listens.
    """

    def __init__(
        self, world: World, name: str, bits: tuple[int, int], ears: Sequence[Ear], mouths: Sequence[Mouth], rate: int, others: list[FrontEnd]
    ) -> None:  # fmt: skip
        self.world, self.name, self._others = world, name, others
        self._radio = world.radio(name)
        self.lock = threading.RLock()
        self._error, self._since = 0.0, 0.0  # of the clock, by a correction: fractional frequency, and seconds at the epoch
        self._draws: dict[str, int] = {}
        self._locked = world.now
        self.sending = Sending(world, name, self.reference, 16 - bits[0], self._latency, self._needed)
        self.listening = Listening(world, name, self.reference, bits[1], self.sending.codes)
        self.ears, self.mouths = list(ears), list(mouths)
        self.rates = {RECEIVE: rate, TRANSMIT: rate}
        self.inputs, self.outputs = InputStream(self), OutputStream(self)
        self._tune(world.now, world.now)
        others.append(self)

    @property
    def now(self) -> Instant:
        return self.world.now

    def reference(self, at: Instant) -> tuple[Oscillator, float]:
        """The oscillator in force, as corrected, and cycles that a phase counted with it needs per hertz of carrier."""
        oscillator, cycles = self._radio.reference(at)
        if self._error or self._since:
            oscillator = replace(oscillator, constant=oscillator.constant + self._error, offset=oscillator.offset + self._since)
        return oscillator, cycles

    def correct(self, error: float) -> None:
        """Run the clock fast by so much, as a fraction, from now on; its ticks go on without a jump. Synthesisers must be tuned next."""
        with self.lock:
            self._since += (error - self._error) * self.now.seconds
            self._error = error

    def fault(self, what: str) -> Fault | None:
        """One that befalls this radio now."""
        return self.world.faults.active(self.name, what, self.now)

    def phase(self, what: str) -> float:
        """Cycles, drawn anew whenever a synthesiser has lost it."""
        self._draws[what] = self._draws.get(what, 0) + 1
        return seeds.uniform(0.0, 1.0, self.world.seed, self.name, "synthesiser", what, self._draws[what])

    def hear(self, channels: Sequence[int], *, retuned: bool = False, **changes: object) -> None:
        """Change receive channels: fields of `Ear`."""
        with self.lock:
            for channel in channels:
                self.ears[channel] = replace(self.ears[channel], **changes)  # type: ignore[arg-type]
            self._tune(self.now if retuned else None, None)

    def speak(self, channels: Sequence[int], *, retuned: bool = False, **changes: object) -> None:
        """Change transmit channels: fields of `Mouth`."""
        with self.lock:
            for channel in channels:
                self.mouths[channel] = replace(self.mouths[channel], **changes)  # type: ignore[arg-type]
            self._tune(None, self.now if retuned else None)

    def set_rate(self, receive: int | None = None, transmit: int | None = None) -> None:
        """Samples per second from now on."""
        with self.lock:
            anew = self.inputs.open_now if receive is not None and receive != self.rates[RECEIVE] else ()
            with ExitStack() as still:
                for inlet in anew:
                    still.enter_context(inlet.lock)
                    inlet.keep()
                self.rates = {RECEIVE: receive or self.rates[RECEIVE], TRANSMIT: transmit or self.rates[TRANSMIT]}
                self._tune(None, None)
                for inlet in anew:
                    inlet.restart()

    def _tune(self, received: Instant | None, transmitted: Instant | None) -> None:
        """received, transmitted: when synthesisers of a side began to lock, if they did."""
        self._locked = received or self._locked
        self.listening.tune(self.ears, self.rates[RECEIVE], self._locked)
        self.sending.tune(self.mouths, self.rates[TRANSMIT], transmitted)
        gains, attenuations = tuple(e.gain_db for e in self.ears), tuple(m.attenuation_db for m in self.mouths)
        self._radio.adopt(Setting(float(self.ears[0].carrier), float(self.rates[RECEIVE]), gains, attenuations, self.ears[0].mode))

    def computing(self, until: Instant) -> AbstractContextManager[None]:
        """As the world's clock has it, which may be any clock."""
        clock = self.world.clock
        return clock.computing(until) if isinstance(clock, PatientPace) else nullcontext()

    def refresh(self) -> None:
        """Have on the air what every radio has sent up to now."""
        for other in self._others:
            other.sending.flush()

    def history(self) -> object | None:
        """What makes samples that are yet to come: equal values, equal samples. None where time does not wait, or more is under way."""
        waits = isinstance(self.world.clock, FreePace)
        if not waits or any(ear.looped for ear in self.ears) or any(other.sending.streaming for other in self._others):
            return None
        return self.world.history, self.listening.version

    def silence(self) -> None:
        self.sending.stop()

    def _latency(self) -> float:
        self._draws["latency"] = self._draws.get("latency", 0) + 1
        return seeds.uniform(*LATENCY_S, self.world.seed, self.name, "latency", "iio", self._draws["latency"])

    def soon(self) -> int:
        """The receiver's tick at which a buffer that is opened now begins to fill."""
        at = self.now.after(self._latency())
        return self.reference(at)[0].next_tick(at, self.rates[RECEIVE])

    def _needed(self) -> Instant:
        """Since when blocks wait to be read, at any radio."""
        return min([self.now, *(inlet.since for other in self._others for inlet in other.inputs.open_now)])

    def trigger(self) -> None:
        """Start every buffer that waits for it, on the same tick."""
        with self.lock:
            tick = self.soon()
            for inlet in self.inputs.armed:
                inlet.start(tick)
            for outlet in self.outputs.armed:
                outlet.release(tick)
            self.inputs.armed, self.outputs.armed = [], []
            self.inputs.wait_for_trigger = self.outputs.wait_for_trigger = False


class InputStream:
    """Input buffers of a converter device: any number of clients, each with a ring of its own. overflowed: sticky."""

    output = False

    def __init__(self, front: FrontEnd) -> None:
        self._front, self._depth = front, DEPTH
        self.open_now: tuple[Inlet, ...] = ()
        self.armed: list[Inlet] = []
        self.wait_for_trigger = self._lost = False

    @property
    def overflowed(self) -> bool:
        if any(inlet.full for inlet in self.open_now):
            self._lost = True
        return self._lost or self._front.fault("overflow-stuck") is not None

    def clear(self) -> None:
        self._lost = False

    def _overflow(self) -> None:
        self._lost = True

    def set_count(self, count: int) -> None:
        if not 1 <= count <= MOST_BUFFERS:
            raise Refused(EINVAL)
        with self._front.lock:
            if self.open_now:
                raise Refused(EBUSY)
            self._depth = count

    def open(self, scans: list[int], samples: int, cyclic: bool) -> Inlet:
        _check(scans, samples, self._depth)
        if cyclic:
            raise Refused(EINVAL)
        front = self._front
        inlet = Inlet(
            front.listening, scans, samples, self._depth, self._overflow, front.refresh, front.fault, front.computing, front.history, self._close
        )
        with front.lock:
            if self.wait_for_trigger:
                self.armed.append(inlet)
            else:
                inlet.start(front.soon())
            self.open_now = (*self.open_now, inlet)
        return inlet

    def _close(self, inlet: Inlet) -> None:
        with self._front.lock:
            self.open_now = tuple(other for other in self.open_now if other is not inlet)
            self.armed = [other for other in self.armed if other is not inlet]


class OutputStream:
    """The output buffer of a converter device: one at a time, as a cyclic one shares with nobody. underflowed: sticky.

    idle: called when the buffer has gone, for what the converter sends without one.
    """

    output = True

    def __init__(self, front: FrontEnd) -> None:
        self._front, self._depth = front, DEPTH
        self._open_now: Outlet | None = None
        self.armed: list[Outlet] = []
        self.wait_for_trigger = self._dry = False
        self.idle: Callable[[], None] = front.silence

    @property
    def busy(self) -> bool:
        return self._open_now is not None

    @property
    def underflowed(self) -> bool:
        if self._open_now is not None and self._open_now.empty:
            self._dry = True
        return self._dry

    def clear(self) -> None:
        self._dry = False

    def _underflow(self) -> None:
        self._dry = True

    def set_count(self, count: int) -> None:
        if not 1 <= count <= MOST_BUFFERS:
            raise Refused(EINVAL)
        with self._front.lock:
            if self._open_now is not None:
                raise Refused(EBUSY)
            self._depth = count

    def open(self, scans: list[int], samples: int, cyclic: bool) -> Outlet:
        _check(scans, samples, self._depth)
        front = self._front
        with front.lock:
            if self._open_now is not None:
                raise Refused(EBUSY)
            front.silence()
            width = 2 * len(front.mouths)
            outlet = Outlet(front.sending, scans, width, samples, self._depth, cyclic, self.wait_for_trigger, self._underflow, self._close)
            if self.wait_for_trigger:
                self.armed.append(outlet)
            self._open_now = outlet
        return outlet

    def _close(self, outlet: Outlet) -> None:
        with self._front.lock:
            self.armed = [other for other in self.armed if other is not outlet]
            if self._open_now is outlet:
                self._open_now = None
                self._front.silence()
                self.idle()


def _check(scans: Sequence[int], samples: int, depth: int) -> None:
    if samples < 1:
        raise Refused(EINVAL)
    if 2 * samples * len(scans) * depth > MOST_BYTES:
        raise Refused(ENOMEM)
