"""Bringing a carrier onto frequency: what the reference's correction takes, what the synthesiser's step takes, what is left to arithmetic."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hil.device import Capture

_VCO_HZ = (6e9, 12e9)
_PLL_REFERENCE_HZ = 80e6  # 40 MHz, doubled
_MODULUS = 8_388_593


@dataclass(frozen=True, slots=True)
class Trim:
    """How an offset is taken back. reference_hz: value for `xo_correction`, None where the part has none. carrier_hz: to be programmed.

    rest_hz: what neither can take, for `derotated` on captures; positive when the radio still receives from too high a carrier.
    """

    reference_hz: int | None
    carrier_hz: float
    rest_hz: float


def step_hz(carrier_hz: float) -> float:
    """Distance of neighbouring carriers of an AD9361: its modulus at the oscillator, which runs at the carrier times a power of two."""
    divider = 2.0 ** math.ceil(math.log2(_VCO_HZ[0] / carrier_hz)) if carrier_hz < _VCO_HZ[0] else 1.0
    return _PLL_REFERENCE_HZ / _MODULUS / divider


def planned(carrier_hz: float, offset_hz: float, reference_hz: int | None, limits: tuple[int, int] | None, step: float) -> Trim:
    """Take back `offset_hz`, by which the radio's carrier is too high at `carrier_hz`.

    reference_hz: correction in force and, in `limits`, its least and most (both None where the part has none). A reference that is high by
    a part in a million is told to the part, which then divides rightly: carrier and sampling rate both. step: of the synthesiser.
    """
    left = offset_hz
    if reference_hz is not None:
        told = round(reference_hz * (1.0 + offset_hz / carrier_hz))
        if limits is not None:
            told = min(max(told, limits[0]), limits[1])
        left -= carrier_hz * (told / reference_hz - 1.0)
        reference_hz = told
    steps = round(left / step)
    return Trim(reference_hz, carrier_hz - steps * step, left - steps * step)


def derotated(capture: Capture, offset_hz: float) -> Capture:
    """A capture as a receiver with a carrier higher by `offset_hz` would have taken it; phase zero at its first sample.

    The samples are no longer whole codes: for estimators, never for the record.
    """
    return replace(capture, samples=_turned(capture.samples, -offset_hz / capture.sample_rate_hz))


def closed(waveform: NDArray[np.complex64], sample_rate_hz: float, offset_hz: float, longest: int) -> tuple[NDArray[np.complex64], float]:
    """A cyclic waveform moved up by about `offset_hz`, and by how much it is.

    A cycle must end where it begins, so that shifts come in steps of rate over length; the waveform is repeated up to `longest` samples as
    often as brings the shift nearest to what is wanted.
    """
    length = waveform.shape[1]
    turns = offset_hz * length / sample_rate_hz
    repeats = min(range(1, max(1, longest // length) + 1), key=lambda count: (abs(round(turns * count) / count - turns), count))
    exact = round(turns * repeats) / (repeats * length)
    return _turned(np.tile(waveform, (1, repeats)), exact), exact * sample_rate_hz


def _turned(samples: NDArray[np.complex64], cycles_per_sample: float) -> NDArray[np.complex64]:
    phase = np.mod(np.arange(samples.shape[-1]) * cycles_per_sample, 1.0)  # in cycles, in double: float32 would drift
    return (samples * np.exp(2j * np.pi * phase)).astype(np.complex64)
