"""What was commanded, with its instants: programs on the air and the tuning of a receiver.

A capture is a pure function of these values, so it can be evaluated for any window that has passed, in any order.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from hil.clock import Instant
from sim_backend import transmit
from sim_backend.oscillator import Oscillator

Phase = tuple[int, float]  # of a synthesiser: key of its phase noise, radians rms


@dataclass(frozen=True, eq=False)
class Program:
    """A cyclic waveform as the converter holds it. codes: (transmit channel, sample) complex, whole numbers, full scale `full_scale`."""

    version: int
    codes: NDArray[np.complex64]
    full_scale: int
    saturated: int = 0  # samples the converter could not represent

    @property
    def period(self) -> int:
        return self.codes.shape[1]

    @cached_property
    def spectrum(self) -> NDArray[np.complex64]:
        """(transmit channel, bin), fractions of full scale; the waveform is the sum over k of spectrum[k] exp(j 2 pi k n/period)."""
        return scipy.fft.fft(self.codes, axis=1, norm="forward") / np.float32(self.full_scale)

    @cached_property
    def largest(self) -> NDArray[np.float64]:
        """(transmit channel,) amplitude of the largest sample, fraction of full scale."""
        return np.abs(self.codes).max(axis=1).astype(float) / self.full_scale


@dataclass(eq=False)
class Airing:
    """One program on the air, from its first sample until `stop` (None: still)."""

    radio: str
    program: Program
    channels: NDArray[np.int64]  # (element,) the program's channel that feeds each transmit element
    amplitude: NDArray[np.float64]  # (element,) square-root watts at the antenna port of a full-scale sample
    oscillator: Oscillator
    carrier: int  # Hz, nominal
    rate: int  # Hz, nominal
    first_tick: int  # of the sample clock, at which sample 0 leaves
    start: Instant
    phase: float  # cycles, of the local oscillator
    stop: Instant | None = None
    number: int = 0  # unique within a world
    chains: transmit.Chains | None = None  # of the elements; None: ideal
    phase_noise: Phase = (0, 0.0)

    @cached_property
    def sent(self) -> Hashable:
        """What tells its signals from another's: equal keys, equal spectra on equal carriers."""
        chains = () if self.chains is None else self.chains.key
        return self.program, self.channels.tobytes(), self.amplitude.tobytes(), self.carrier, self.rate, chains

    @property
    def bins_per_period(self) -> int:
        """Bins of `spectrum`."""
        return transmit.OVERSAMPLING * self.program.period

    @property
    def spectrum(self) -> NDArray[np.complex64]:
        """(element, bin) square-root watts at the antenna ports, fft order: bin k at k rate/period hertz, |k| < 2 period."""
        return self._radiated[0]

    @property
    def overdriven(self) -> NDArray[np.int64]:
        """(element,) samples of four per code that were beyond the amplifier's curve and held."""
        return self._radiated[1]

    def lighten(self) -> None:
        """Let go of the spectrum; it is worked out again should anybody ask."""
        self.__dict__.pop("_radiated", None)

    @cached_property
    def _radiated(self) -> tuple[NDArray[np.complex64], NDArray[np.int64]]:
        chains = transmit.Chains.ideal(self.channels.size) if self.chains is None else self.chains
        sent, largest = self.program.spectrum[self.channels], self.program.largest[self.channels]
        return transmit.radiated(sent, largest, self.amplitude, chains, self.rate)

    def overlaps(self, begin: Instant, end: Instant) -> bool:
        return self.start < end and (self.stop is None or begin < self.stop)


@dataclass(frozen=True, eq=False)
class Tuning:
    """A receiver as it was tuned during a window."""

    radio: str
    oscillator: Oscillator
    carrier: int
    rate: int
    phase: float  # cycles
    gain_db: tuple[float, ...] = field(default=())  # per receive channel
    phase_noise: Phase = (0, 0.0)
