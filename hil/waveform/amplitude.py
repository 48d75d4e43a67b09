"""Between sqrt(W) at an antenna port and fractions of a converter's full scale. Nothing is ever rescaled silently."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hil.device import Capability
from hil.errors import InputError
from hil.units import from_dbm

LARGEST = 0.98  # of full scale, at four times the sample rate


def peak(samples: NDArray[np.complex128]) -> NDArray[np.float64]:
    """(antenna,) largest |x| of cyclic samples (antenna, sample) between the samples too: interpolated four times."""
    samples = np.atleast_2d(samples)
    size = samples.shape[-1]
    spectrum = np.fft.fft(samples.astype(np.complex64), axis=-1)  # single precision: 1e-6 of the peak, half the time
    wide = np.zeros((samples.shape[0], 4 * size), dtype=np.complex64)
    half = (size + 1) // 2
    wide[:, :half], wide[:, half - size :] = spectrum[:, :half], spectrum[:, half:]
    return 4.0 * np.abs(np.fft.ifft(wide, axis=-1)).max(-1).astype(np.float64)


def transmit_scale(capability: Capability, attenuation_db: ArrayLike) -> NDArray[np.float64]:
    """Fraction of full scale per sqrt(W) at the port, at an attenuation."""
    return 10.0 ** (np.asarray(attenuation_db, dtype=np.float64) / 20.0) / np.sqrt(from_dbm(capability.transmit_full_scale_dbm))


def receive_scale(capability: Capability, gain_db: ArrayLike) -> NDArray[np.float64]:
    """sqrt(W) at the port per full scale of a capture, at the gains (channel,) the capture was taken with."""
    return np.sqrt(from_dbm(capability.receive_full_scale_dbm - np.asarray(gain_db, dtype=np.float64)))


def choose_attenuation(samples: NDArray[np.complex128], capability: Capability, headroom_db: float = 1.0) -> float:
    """The largest attenuation step (dB, common to all antennas) at which every peak stays `headroom_db` below the largest fraction.

    Raises InputError when even the least attenuation is too much: the waveform asks for more than the converter can give.
    """
    least, most = capability.attenuation_db
    step = capability.attenuation_step_db or 0.25
    fraction = float(np.max(peak(samples)) * transmit_scale(capability, 0.0))
    room = 20.0 * np.log10(LARGEST / fraction) - headroom_db if fraction > 0.0 else most
    steps = np.floor((min(room, most) - least) / step + 1e-9)
    if steps < 0:
        raise _too_large(fraction * 10.0 ** (least / 20.0), headroom_db, capability)
    return float(least + steps * step)


def to_fractions(samples: NDArray[np.complex128], capability: Capability, attenuation_db: ArrayLike) -> NDArray[np.complex64]:
    """Converter fractions (antenna, sample) of samples in sqrt(W); attenuation_db: one, or (antenna,).

    Raises InputError when |x|, interpolated four times, passes 0.98 of full scale anywhere.
    """
    samples = np.atleast_2d(samples)
    scale = np.broadcast_to(transmit_scale(capability, attenuation_db), (samples.shape[0],))
    largest = float(np.max(peak(samples) * scale))
    if not largest <= LARGEST:
        raise _too_large(largest, 0.0, capability)
    return (samples * scale[:, None]).astype(np.complex64)


def _too_large(fraction: float, headroom_db: float, capability: Capability) -> InputError:
    over = 20.0 * np.log10(fraction / LARGEST) + headroom_db
    return InputError("full-scale", "the waveform does not fit the converter", where=capability.part,
                      found=f"peak {fraction:.3f} of full scale", allowed=f"{LARGEST} with {headroom_db:g} dB of head-room",
                      fix=f"lower the attenuation or the power by {over:.2f} dB")  # fmt: skip
