"""What the controller expects of a radio and of an antenna stage: protocols and values, nothing else.

Two implementations of everything here stand beside each other: drivers of real hardware and the emulator. Nothing above this layer
asks which one it holds; differences are capabilities that are asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from hil.clock import Instant
from hil.errors import DeviceError

__all__ = [
    "Capability", "Capture", "Codes", "DeviceError", "Difference", "Loss", "Move", "Position", "Radio", "Setting", "Stage", "Tolerance",
    "differences", "fractions", "interleaved",
]  # fmt: skip


class Loss(StrEnum):
    """Whether samples are missing from a capture, as far as the device knows."""

    NONE = "none"
    SOME = "some"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Capability:
    """What a radio can do; asked for, never assumed. Pairs are (least, most)."""

    part: str
    serial: str
    transmit_channels: int
    receive_channels: int
    carrier_hz: tuple[float, float]
    sample_rate_hz: tuple[float, float]
    receive_gain_db: tuple[float, float]
    receive_gain_step_db: float
    attenuation_db: tuple[float, float]
    attenuation_step_db: float
    bits: int
    transmit_full_scale_dbm: float  # power of a full-scale complex tone at the antenna port, 0 dB attenuation
    receive_full_scale_dbm: float  # port power of a full-scale complex tone at 0 dB gain; falls dB for dB with gain
    start: str = "arbitrary"  # of a transmission: arbitrary; timed: on the device's clock; triggered: with others, by an edge that comes by cable
    reports_first_sample: bool = False
    reports_loss: bool = False
    switch_gap_s: float = 2e-3  # silence between two versions
    longest_waveform: int = 1 << 22  # samples per channel
    firmware: str = ""


@dataclass(frozen=True, slots=True)
class Setting:
    """A radio's settings, all of them. Frozen: a changed setting is a new one, configured and read back."""

    carrier_hz: float
    sample_rate_hz: float
    receive_gain_db: tuple[float, ...] = ()  # per receive channel; in another mode than manual: where it stood when read back
    attenuation_db: tuple[float, ...] = ()  # per transmit channel
    gain_mode: str = "manual"  # manual, slow, fast: who sets the receive gain


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far what a device became may lie from what was asked."""

    carrier_hz: float = 5.0
    sample_rate_hz: float = 1.0
    gain_db: float = 0.5


@dataclass(frozen=True, slots=True)
class Difference:
    """One setting that did not become what was asked."""

    setting: str
    asked: float
    became: float
    tolerance: float


def differences(asked: Setting, became: Setting, tolerance: Tolerance) -> list[Difference]:
    """Every setting outside its tolerance; a missing channel counts as not taken."""
    pairs = [
        ("carrier_hz", asked.carrier_hz, became.carrier_hz, tolerance.carrier_hz),
        ("sample_rate_hz", asked.sample_rate_hz, became.sample_rate_hz, tolerance.sample_rate_hz),
    ]
    for name in ("receive_gain_db", "attenuation_db"):
        wanted, got = getattr(asked, name), getattr(became, name)
        got = got + (float("nan"),) * (len(wanted) - len(got))
        pairs += [(f"{name}[{channel}]", w, g, tolerance.gain_db) for channel, (w, g) in enumerate(zip(wanted, got))]
    return [Difference(name, a, b, limit) for name, a, b, limit in pairs if not abs(a - b) <= limit]


_TILE = 1 << 16  # I and Q pairs


def fractions(codes: NDArray[np.int16], full_scale: int) -> NDArray[np.complex64]:
    """(channel, sample) complex64 of a converter's codes (sample, channel, iq): each over full scale, correctly rounded."""
    count, channels, _ = codes.shape
    pairs = np.ascontiguousarray(codes).view(np.int32).reshape(count, channels)  # I and Q of a sample move as one word
    found = np.empty((channels, count), np.complex64)
    parts, binary = found.view(np.float32), full_scale & (full_scale - 1) == 0  # then its reciprocal is exact, and the product as well
    rows = max(1024, _TILE // channels)  # channels are taken apart where the codes still lie in the cache
    for begin in range(0, count, rows):
        tile = parts[:, 2 * begin : 2 * (begin + rows)]
        tile[...] = np.ascontiguousarray(pairs[begin : begin + rows].T).view(np.int16)
        if binary:
            tile *= np.float32(1.0 / full_scale)
        else:
            tile /= np.float32(full_scale)
    return found


def interleaved(samples: NDArray[np.complex64], full_scale: int) -> NDArray[np.int16] | None:
    """The codes (sample, channel, iq) of which `fractions` makes exactly these samples (channel, sample); None where there are none."""
    parts = np.ascontiguousarray(samples, dtype=np.complex64).view(np.float32)
    whole = np.rint(parts * np.float32(full_scale))
    if not (whole.max(initial=0.0) <= 32767.0 and whole.min(initial=0.0) >= -32768.0):  # NaN as well
        return None
    channels, count = samples.shape
    pairs = whole.astype(np.int16).view(np.int32).reshape(channels, count)
    whole /= np.float32(full_scale)
    if not np.array_equal(whole, parts):
        return None
    return np.ascontiguousarray(pairs.T).view(np.int16).reshape(count, channels, 2)


@dataclass(frozen=True, slots=True, eq=False)
class Codes:
    """A converter's integers as they came and the samples that were made of them; neither is changed in place afterwards.

    values: (sample, channel, iq) int16 in C order, as converters and SigMF files have them. samples: `fractions` of them.
    """

    values: NDArray[np.int16]
    samples: NDArray[np.complex64]

    @classmethod
    def of(cls, values: NDArray[np.int16], full_scale: int) -> Codes:
        return cls(values, fractions(values, full_scale))


@dataclass(frozen=True, slots=True, eq=False)
class Capture:
    """Samples of one radio and what an estimator needs to trust them.

    samples: (channel, sample) complex64, fractions of the converter's full scale; times `full_scale` they are the converter's integer
    codes. codes: those integers, where whoever made the capture still had them: recorded as they are, nothing is converted back. A capture
    made from another by changing its samples has none. Positions are not here: the loop joins them from stage read-backs.
    """

    samples: NDArray[np.complex64]
    sample_rate_hz: float
    carrier_hz: float
    gain_db: tuple[float, ...] = ()  # per receive channel, as read back after the last sample
    first_sample: int | None = None  # index on the device's sample clock, or honestly unknown
    version: int | None = None  # of the transmission in force on the device's own node when the capture began; None: unknown
    loss: Loss = Loss.UNKNOWN
    clock: Instant | None = None  # host clock reading near the first sample; good to milliseconds
    full_scale: int = 2048
    clipped: float = 0.0  # fraction of samples at the converter's rails, from the codes
    device: str = ""
    codes: Codes | None = None

    def __post_init__(self) -> None:
        if self.codes is not None and self.codes.samples is not self.samples:  # `replace(capture, samples=...)`
            object.__setattr__(self, "codes", None)

    @classmethod
    def of(cls, samples: Any, *, rate: float, carrier: float, **rest: Any) -> Capture:
        """A capture of one's own samples, (sample,) or (channel, sample)."""
        array = np.atleast_2d(np.asarray(samples, dtype=np.complex64))
        return cls(array, float(rate), float(carrier), **rest)


@dataclass(frozen=True, slots=True)
class Move:
    """A synchronous straight move: every axis starts and stops together, so gaps are always between those of start and goal.

    targets: axis name -> metres on that axis. speed and acceleration: of the axis that travels furthest, m/s and m/s^2.
    """

    targets: Mapping[str, float]
    speed: float
    acceleration: float


@dataclass(frozen=True, slots=True)
class Position:
    """Where a stage says it is. `std` is the standard deviation a user may trust; an axis that is not homed has no position."""

    axes: Mapping[str, float]  # axis name -> metres
    std: Mapping[str, float]
    homed: bool
    moving: bool
    at: Instant | None = None  # clock reading of the read-back
    details: Mapping[str, str] = field(default_factory=dict)


@runtime_checkable
class Radio(Protocol):
    """A front end with a cyclic transmitter and a receiver. Channels of one radio share clock and start.

    Every method raises DeviceError with device, found, allowed and fix; after any error the transmitter is silent.
    """

    name: str

    @property
    def capability(self) -> Capability: ...

    @property
    def setting(self) -> Setting | None:
        """As last read back from the device; None before the first configure."""

    def configure(self, setting: Setting) -> Setting:
        """Apply a setting and return what the device really became. Mutes. The caller compares (`differences`)."""

    def load(self, version: int, waveform: NDArray[np.complex64]) -> None:
        """Hold a cyclic waveform, (transmit channel, sample) in fractions of full scale, without putting it on the air."""

    def apply(self, version: int) -> None:
        """Put a loaded waveform on the air; DeviceError `not-loaded` for a version that is not."""

    @property
    def version(self) -> int | None:
        """The version on the air, or None while silent."""

    def capture(self, samples: int, timeout_s: float) -> Capture:
        """The next `samples` of every receive channel; stale buffers are the driver's to drop."""

    def mute(self) -> None:
        """Silence the transmitter now. Never fails, never waits, may be called twice."""

    def supports(self, what: str) -> bool:
        """Whether an optional feature is there; an unknown word is False."""

    def close(self) -> None:
        """Mute and let go. Closing twice is fine."""


@runtime_checkable
class Stage(Protocol):
    """Antenna carriages on one controller. Accepted is not arrived: `move` returns when read-back and settling say so."""

    name: str

    @property
    def axes(self) -> Mapping[str, tuple[float, float]]:
        """Axis name -> travel (least, most) in metres."""

    def where(self) -> Position: ...

    def move(self, move: Move, timeout_s: float) -> Position:
        """Go there, wait until arrived and settled, and say where that is. Refuses before anything moves."""

    def halt(self) -> None:
        """Brake on the ramp now, so that positions stay known. Never fails, may be called twice."""

    def home(self, timeout_s: float) -> Position: ...

    def close(self) -> None:
        """Halt and let go. Closing twice is fine."""
