"""Samples as converters hold them: int16 words in turns of channel, I and Q, and complex64 fractions of full scale, (channel, sample).

Received words are right-justified codes of `bits` bits; words to send are left-justified in 16 bits, so that a 12 bit converter drops the
lowest four. A word beyond 16 bits would wrap round in silence; none is ever made.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from hil.device import Codes, DeviceError

HEADROOM = 0.98  # of full scale: interpolation filters overshoot between the samples they are given
_LITTLE = np.dtype("<i2")


def received(memory: bytes | bytearray | memoryview, channels: int, bits: int) -> tuple[Codes, float]:
    """The codes with their fractions of full scale, (channel, sample) contiguous, and the share of samples with I or Q at a rail.

    memory: whole samples, as they came from the device; copied.
    """
    words = np.frombuffer(memory, _LITTLE).copy()  # the device's memory is soon overwritten
    full = 1 << (bits - 1)
    clipped = 0.0
    if words.size and (int(words.max()) >= full - 1 or int(words.min()) <= -full):
        railed = ((words >= full - 1) | (words <= -full)).reshape(-1, 2).any(axis=1)
        clipped = float(np.count_nonzero(railed)) / len(railed)
    return Codes.of(words.reshape(-1, channels, 2), full), clipped


def to_send(waveform: NDArray[np.complex64], bits: int) -> NDArray[np.int16]:
    """Words of a checked waveform, (transmit channel, sample): rounded to the converter's codes, (sample, channel, I and Q) in turns."""
    channels, samples = waveform.shape
    parts = np.ascontiguousarray(waveform, np.complex64).view(np.float32).reshape(channels, samples, 2)
    full = np.float32(1 << (bits - 1))
    codes = np.floor(parts * full + np.float32(0.5)) * np.float32(1 << (16 - bits))
    return np.ascontiguousarray(codes.astype(_LITTLE).transpose(1, 0, 2)).reshape(-1)


def checked(where: str, waveform: NDArray[np.complex64], channels: int, longest: int) -> NDArray[np.complex64]:
    """A waveform that can be sent as it is; DeviceError `bad-waveform`, `not-finite` or `over-full-scale`."""
    array = np.asarray(waveform)
    if array.dtype.kind not in "cf" or array.ndim != 2 or array.shape[0] != channels or not 1 <= array.shape[1] <= longest:
        raise DeviceError(
            "bad-waveform", "cannot be sent", where=where, found=f"{array.shape} of {array.dtype}",
            allowed=f"({channels} transmit channels, 1 ... {longest} samples), complex", note="nothing was loaded",
        )  # fmt: skip
    array = np.ascontiguousarray(array, np.complex64)
    peak = float(np.max(np.abs(array.view(np.float32))))
    if not math.isfinite(peak):
        raise DeviceError("not-finite", "the waveform holds NaN or infinity", where=where, note="nothing was loaded")
    if peak > HEADROOM:
        raise DeviceError(
            "over-full-scale", "the waveform would wrap round in the converter", where=where, found=f"peak {peak:.4g} of full scale",
            allowed=f"at most {HEADROOM:g}", fix="a smaller waveform with less attenuation, or less power", note="nothing was loaded",
        )  # fmt: skip
    return array
