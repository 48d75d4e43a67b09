"""What a radio takes and what it refuses: settings on their grids, waveforms within full scale."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hil.device import Capability, DeviceError, Setting
from sim_backend import agc
from sim_backend.converter import on_grid

GAIN_MODES = ("manual", *agc.LAWS)


def with_bits(capability: Capability, bits: int | None) -> Capability:
    """The part's capability, with other converters where the emulated bench has them."""
    return capability if bits is None else replace(capability, bits=bits)


def refusal(where: str, id: str, what: str, found: str = "", allowed: str = "", fix: str = "") -> DeviceError:
    return DeviceError(id, what, where=where, found=found, allowed=allowed, fix=fix)


def became(name: str, limits: Capability, asked: Setting, before: Setting | None) -> Setting:
    """What the hardware makes of a setting: whole hertz, gains on their grid and within their range.

    before: the setting in force, whose gains stay where `asked` has none.
    """
    for key, value, (least, most) in (
        ("carrier_hz", asked.carrier_hz, limits.carrier_hz),
        ("sample_rate_hz", asked.sample_rate_hz, limits.sample_rate_hz),
    ):
        if not (math.isfinite(value) and least <= value <= most):
            raise refusal(
                name, "out-of-range", f"{key} cannot be set", f"{value:g}", f"{least:g} .. {most:g}", "choose one within the range"
            )
    if asked.gain_mode not in GAIN_MODES:
        raise refusal(name, "out-of-range", "no such gain mode", f"{asked.gain_mode}", " | ".join(GAIN_MODES))
    return Setting(
        carrier_hz=float(round(asked.carrier_hz)),
        sample_rate_hz=float(round(asked.sample_rate_hz)),
        receive_gain_db=_gains(
            name, "receive_gain_db", asked.receive_gain_db, limits.receive_channels, limits.receive_gain_db, limits.receive_gain_step_db,
            before.receive_gain_db if before else (limits.receive_gain_db[0],) * limits.receive_channels,
        ),
        attenuation_db=_gains(
            name, "attenuation_db", asked.attenuation_db, limits.transmit_channels, limits.attenuation_db, limits.attenuation_step_db,
            before.attenuation_db if before else (limits.attenuation_db[1],) * limits.transmit_channels,
        ),
        gain_mode=asked.gain_mode,
    )  # fmt: skip


def _gains(
    name: str, key: str, asked: tuple[float, ...], channels: int, reach: tuple[float, float], step: float, before: tuple[float, ...]
) -> tuple[float, ...]:
    """One per channel, or none to leave them as they are."""
    if not asked:
        return before
    if len(asked) != channels:
        raise refusal(name, "bad-setting", f"{key} needs one value per channel", f"{len(asked)} values", f"{channels} or none")
    if not all(math.isfinite(value) for value in asked):
        raise refusal(name, "bad-setting", f"{key} must be finite", f"{asked}", f"{reach[0]:g} .. {reach[1]:g} dB")
    return tuple(on_grid(value, *reach, step) for value in asked)


def waveform(name: str, limits: Capability, offered: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """A waveform to hold, (transmit channel, sample) within full scale; a copy."""
    if limits.transmit_channels == 0:
        raise refusal(name, "no-transmitter", "cannot load a waveform", "0 transmit channels", "a radio that transmits")
    samples = np.asarray(offered)
    if samples.dtype.kind not in "cf" or samples.ndim != 2 or samples.shape[0] != limits.transmit_channels or samples.shape[1] < 1:
        shape = f"{limits.transmit_channels} channels x samples, complex"
        raise refusal(name, "bad-waveform", "wrong shape", f"{samples.shape} of {samples.dtype}", shape)
    if samples.shape[1] > limits.longest_waveform:
        raise refusal(name, "bad-waveform", "too long", f"{samples.shape[1]} samples", f"{limits.longest_waveform}")
    peak = float(max(np.abs(samples.real).max(), np.abs(samples.imag).max()))
    if not peak <= 1.0:  # also when it is not a number
        raise refusal(
            name, "bad-waveform", "beyond full scale", f"peak {peak:g}", "real and imaginary part within -1 .. 1", "scale it down"
        )
    return samples.astype(np.complex64)
