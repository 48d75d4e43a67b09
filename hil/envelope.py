"""Limits a node never passes, whoever asks: band, power, duty, travel, spacing.

Everything is checked on what would really leave the antenna or turn the motor (the samples themselves, the settings as read back, the
position as read back), completely, and before anything is sent. A refusal is a `DeviceError`; nothing has happened then.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from hil import units
from hil.clock import Instant
from hil.device import Capability, DeviceError, Move, Position, Setting

POWER_SLACK_DB = 0.05  # finite frames of random symbols scatter around their design power
STATED_SLACK_DB = 0.5  # a controller whose stated power is further off than this has a scale wrong


@dataclass(frozen=True, slots=True)
class Limits:
    """What the keeper of a node permits; None is no limit. Powers are averages over one period of the cyclic waveform.

    power_dbm: per channel at the antenna port. eirp_dbm: per radio, all its channels adding up in one direction. duty: fraction of
    `duty_window_s` during which the node may radiate.
    """

    band_hz: tuple[float, float] | None = None
    power_dbm: float | None = None
    eirp_dbm: float | None = None
    duty: float = 1.0
    duty_window_s: float = 60.0
    temperature_c: float | None = None

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            for number in value if isinstance(value, tuple) else (value,):
                if number is not None and not math.isfinite(number):
                    raise ValueError(f"limits.{item.name} must be a finite number, found {number}")
        if self.band_hz is not None and not 0.0 < self.band_hz[0] < self.band_hz[1]:
            raise ValueError(f"limits.band_hz must be (lowest, highest), found {self.band_hz}")
        if not 0.0 < self.duty <= 1.0 or not self.duty_window_s > 0.0:
            raise ValueError(f"limits.duty must lie in (0, 1] over a window longer than 0 s, found {self.duty} over {self.duty_window_s} s")

    def tightened(self, other: Limits) -> Limits:
        """Both at once: a testbed's limits can tighten a node's, never widen them."""

        def least(a: float | None, b: float | None) -> float | None:
            return min((value for value in (a, b) if value is not None), default=None)

        band = self.band_hz or other.band_hz
        if self.band_hz and other.band_hz:
            band = (max(self.band_hz[0], other.band_hz[0]), min(self.band_hz[1], other.band_hz[1]))
            if not band[0] < band[1]:
                raise DeviceError(
                    "out-of-band",
                    "the licensed band and the node's band do not meet",
                    found=_band(other.band_hz),
                    allowed=_band(self.band_hz),
                )
        window = self.duty_window_s if self.duty <= other.duty else other.duty_window_s
        return Limits(
            band, least(self.power_dbm, other.power_dbm), least(self.eirp_dbm, other.eirp_dbm),
            min(self.duty, other.duty), window, least(self.temperature_c, other.temperature_c),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rail:
    """Carriages that share one rail and must not meet, in order along it.

    A carriage stands at `offset_m + sign * axis reading` metres along the rail; neighbours keep `gap_m` between their centres.
    """

    axes: tuple[str, ...]
    offset_m: tuple[float, ...]
    sign: tuple[int, ...]
    gap_m: float

    def places(self, readings: Mapping[str, float]) -> list[float]:
        """Metres along the rail, in order."""
        return [offset + sign * readings[axis] for axis, offset, sign in zip(self.axes, self.offset_m, self.sign)]


def _band(band: tuple[float, float]) -> str:
    return f"{band[0] / 1e9:.6g} ... {band[1] / 1e9:.6g} GHz"


def check_setting(where: str, capability: Capability, setting: Setting, limits: Limits) -> None:
    """Refuse a setting the part cannot take or the band does not hold. Nothing is sent on refusal."""
    for name in ("carrier_hz", "sample_rate_hz"):
        value, (least, most) = getattr(setting, name), getattr(capability, name)
        if not math.isfinite(value):
            raise DeviceError("not-finite", f"{name} must be a finite number", where=where, found=str(value))
        if not least <= value <= most:
            raise DeviceError(
                "out-of-range", f"{name} outside what the {capability.part} can do", where=where, found=f"{value:.9g} Hz",
                allowed=f"{least:.9g} ... {most:.9g} Hz",
            )  # fmt: skip
    for name, channels in (("receive_gain_db", capability.receive_channels), ("attenuation_db", capability.transmit_channels)):
        values, (least, most) = getattr(setting, name), getattr(capability, name)
        if len(values) not in (0, channels):
            raise DeviceError(
                "wrong-shape", f"{name} needs one value per channel", where=where, found=str(len(values)), allowed=str(channels)
            )
        for channel, value in enumerate(values):
            if not math.isfinite(value) or not least <= value <= most:
                raise DeviceError(
                    "out-of-range", f"{name}[{channel}] outside what the {capability.part} can do", where=where, found=f"{value} dB",
                    allowed=f"{least} ... {most} dB",
                )  # fmt: skip
    if capability.transmit_channels and limits.band_hz and not limits.band_hz[0] <= setting.carrier_hz <= limits.band_hz[1]:
        raise DeviceError(
            "out-of-band", "carrier outside the permitted band", where=where, found=f"{setting.carrier_hz / 1e9:.6g} GHz",
            allowed=_band(limits.band_hz), note="nothing was sent",
        )  # fmt: skip


def occupied(waveform: NDArray[np.complex64], sample_rate_hz: float) -> tuple[float, float]:
    """Edges (lowest, highest) in baseband hertz of the occupied bandwidth: 0.5 % of the mean power lies beyond each (ITU-R SM.328).

    waveform: (channel, sample), all channels together; (0, 0) for silence.
    """
    power = np.zeros(waveform.shape[1])
    for row in waveform:
        power += np.abs(np.fft.fft(row)) ** 2
    total = power.sum()
    if not total > 0.0:
        return 0.0, 0.0
    share = np.cumsum(np.fft.fftshift(power)) / total
    frequencies = np.fft.fftshift(np.fft.fftfreq(waveform.shape[1], 1.0 / sample_rate_hz))
    last = len(frequencies) - 1
    return float(frequencies[min(int(np.searchsorted(share, 0.005)), last)]), float(frequencies[min(int(np.searchsorted(share, 0.995)),
    last)])


def port_power_dbm(waveform: NDArray[np.complex64], capability: Capability, setting: Setting) -> tuple[float, ...]:
    """Average power per channel at the antenna port, of samples in fractions of full scale."""
    attenuation = setting.attenuation_db or (0.0,) * len(waveform)
    mean = [float(np.vdot(row, row).real) / len(row) for row in waveform]
    return tuple(capability.transmit_full_scale_dbm - a + units.to_db(p) for p, a in zip(mean, attenuation))


def check_waveform(
    where: str, capability: Capability, setting: Setting | None, waveform: NDArray[np.complex64], limits: Limits, *,
    antenna_gain_dbi: Sequence[float] = (), stated_dbm: Sequence[float] | None = None,
) -> tuple[float, ...]:  # fmt: skip
    """Refuse a waveform that must not be sent; return its average power per channel in dBm at the antenna port.

    waveform: (transmit channel, sample) fractions of full scale. stated_dbm: what the controller believes it to be, per channel.
    """
    if setting is None:
        raise DeviceError("not-configured", "no setting was read back yet", where=where, fix="configure the radio first")
    if waveform.ndim != 2 or waveform.shape[0] != capability.transmit_channels or not 1 <= waveform.shape[1] <= capability.longest_waveform:
        raise DeviceError(
            "wrong-shape", "waveform needs the axes (transmit channel, sample)", where=where, found=str(waveform.shape),
            allowed=f"({capability.transmit_channels}, 1 ... {capability.longest_waveform})",
        )  # fmt: skip
    parts = np.ascontiguousarray(waveform).view(np.float32)
    most = float(np.max(np.abs(parts)))  # NaN when any sample is
    if not math.isfinite(most):
        channel = int(np.argmin(np.isfinite(parts).all(axis=1)))
        raise DeviceError("not-finite", f"waveform of channel {channel} holds NaN or infinity", where=where, note="nothing was loaded")
    if most > 1.0 + 1e-6:
        raise DeviceError(
            "over-full-scale", "waveform would clip in the converter", where=where, found=f"{most:.4g} of full scale", allowed="at most 1",
            fix="less attenuation with a smaller waveform, or less power", note="nothing was loaded",
        )  # fmt: skip
    power = port_power_dbm(waveform, capability, setting)
    for channel, value in enumerate(power):
        if limits.power_dbm is not None and value > limits.power_dbm + POWER_SLACK_DB:
            raise DeviceError(
                "power-cap", f"average power of channel {channel} is above what this node permits", where=where, found=f"{value:.2f} dBm",
                allowed=f"at most {limits.power_dbm:.2f} dBm", fix="lower it, or ask the keeper: a controller cannot raise it",
                note="nothing was loaded",
            )  # fmt: skip
    if stated_dbm is not None:
        if len(stated_dbm) != len(power):
            raise DeviceError("wrong-shape", "stated power needs one value per channel", where=where, found=str(len(stated_dbm)))
        for channel, (value, stated) in enumerate(zip(power, stated_dbm)):
            if not value <= stated + STATED_SLACK_DB:
                raise DeviceError(
                    "power-mismatch", f"channel {channel} is stronger than stated", where=where, found=f"{value:.2f} dBm",
                    allowed=f"the stated {stated:.2f} dBm", note="nothing was loaded",
                )  # fmt: skip
    if limits.eirp_dbm is not None:
        gains = tuple(antenna_gain_dbi) or (0.0,) * len(power)
        field = sum(math.sqrt(units.from_dbm(p + g)) for p, g in zip(power, gains))
        if (eirp := units.to_dbm(field**2)) > limits.eirp_dbm + POWER_SLACK_DB:
            raise DeviceError(
                "eirp-cap", "all channels in phase would radiate more than this node permits", where=where, found=f"{eirp:.2f} dBm EIRP",
                allowed=f"at most {limits.eirp_dbm:.2f} dBm", note="nothing was loaded",
            )  # fmt: skip
    if limits.band_hz is not None:
        low, high = (setting.carrier_hz + edge for edge in occupied(waveform, setting.sample_rate_hz))
        if not limits.band_hz[0] <= low <= high <= limits.band_hz[1]:
            raise DeviceError(
                "out-of-band", "the signal leaves the permitted band", where=where,
                found=f"{(low + high) / 2e9:.6g} GHz +- {(high - low) / 2e6:.4g} MHz", allowed=_band(limits.band_hz),
                note="nothing was loaded",
            )  # fmt: skip
    return power


def check_move(where: str, travel: Mapping[str, tuple[float, float]], move: Move, here: Position, rail: Rail | None = None) -> None:
    """Refuse a move beyond travel, or one whose start or goal puts neighbours closer than their gap (a synchronous straight move is
    nowhere closer than at one of its ends)."""
    if not move.targets:
        raise DeviceError("no-target", "a move needs at least one axis", where=where, note="nothing moved")
    for axis, target in move.targets.items():
        if axis not in travel:
            raise DeviceError("no-such-axis", f"no axis `{axis}`", where=where, allowed=", ".join(travel), note="nothing moved")
        least, most = travel[axis]
        if not math.isfinite(target):
            raise DeviceError(
                "not-finite", f"target of axis {axis} must be a finite number", where=where, found=str(target), note="nothing moved"
            )
        if not least <= target <= most:
            raise DeviceError(
                "beyond-travel", f"target of axis {axis} lies outside its travel", where=where, found=f"{target * 1e3:.3f} mm",
                allowed=f"{least * 1e3:.3f} ... {most * 1e3:.3f} mm", note="nothing moved",
            )  # fmt: skip
    for name, value in (("speed", move.speed), ("acceleration", move.acceleration)):
        if not (math.isfinite(value) and value > 0.0):
            raise DeviceError("not-finite", f"{name} must be a finite number above 0", where=where, found=str(value), note="nothing moved")
    if not here.homed:
        raise DeviceError("not-homed", "position unknown", where=where, allowed="homing only", fix="home the stage", note="nothing moved")
    if rail is None:
        return
    for when, readings in (("before", dict(here.axes)), ("after", {**here.axes, **move.targets})):
        places = rail.places(readings)
        for left, right, a, b in zip(rail.axes, rail.axes[1:], places, places[1:]):
            slack = 3.0 * math.hypot(here.std.get(left, 0.0), here.std.get(right, 0.0)) + 1e-9
            if not b - a >= rail.gap_m - slack:
                raise DeviceError(
                    "too-close", f"carriages {left} and {right} would be too close {when} the move", where=where,
                    found=f"{(b - a) * 1e3:.3f} mm", allowed=f"at least {rail.gap_m * 1e3:.3f} mm", note="nothing moved",
                )  # fmt: skip


class Duty:
    """How long a node has radiated within the window of its duty limit."""

    def __init__(self, limits: Limits) -> None:
        self._limit, self._window = limits.duty, limits.duty_window_s
        self._spans: deque[tuple[Instant, Instant]] = deque()
        self._since: Instant | None = None

    def on(self, now: Instant) -> None:
        if self._since is None:
            self._since = now

    def off(self, now: Instant) -> None:
        if self._since is not None:
            self._spans.append((self._since, now))
            self._since = None

    def used(self, now: Instant) -> float:
        """Fraction of the window that ended now during which the node radiated."""
        while self._spans and now.since(self._spans[0][1]) > self._window:
            self._spans.popleft()
        spans = list(self._spans) + ([(self._since, now)] if self._since is not None else [])
        return sum(min(now.since(a), self._window) - now.since(b) for a, b in spans) / self._window

    def exceeded(self, now: Instant) -> bool:
        return self._limit < 1.0 and self.used(now) >= self._limit
