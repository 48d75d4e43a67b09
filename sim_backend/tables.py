"""Tables: cyclic signals of a transmission as a receiver's filter passes them, on a grid of about twice the receiver's rate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim_backend import interpolator
from sim_backend.history import Airing, Tuning
from sim_backend.kernels import BLOCK

MOST_BINS = 1 << 22


class Table(NamedTuple):
    """Cyclic signals on a grid of about twice the receiver's rate."""

    planes: NDArray[np.float32]  # (signal, 4, .)
    length: int
    scale: float  # table samples per transmitter sample
    spin: float  # cycles per transmitter sample by which the table stands higher than the transmitter's baseband
    delay: float  # removed from the signals, to be applied exactly at run time


@dataclass(frozen=True)
class Grid:
    """A table's grid: `repeats` periods of `period` transmitter samples on `length` points."""

    period: int
    repeats: int
    length: int

    @classmethod
    def of(cls, period: int, tx_rate: int, rx_rate: int) -> Grid:
        """Exactly twice the receiver's rate where a few periods allow it, else a little more."""
        whole = 2 * period * rx_rate
        repeats = 1
        while (whole * repeats) % (2 * tx_rate):
            repeats += 1
            if repeats > 64 or whole * repeats > tx_rate * MOST_BINS:
                return cls(period, 1, 2 * math.ceil(whole / (2 * tx_rate)))
        return cls(period, repeats, whole * repeats // tx_rate)

    @property
    def scale(self) -> float:
        return self.length / (self.period * self.repeats)


def channel_filter(frequency: NDArray[np.float64], rate: float) -> NDArray[np.float64]:
    """The receiver's filter: flat to 0.4 of its rate, a raised cosine to zero at 0.5."""
    return 0.5 + 0.5 * np.cos(np.pi * np.clip((np.abs(frequency) / rate - 0.4) / 0.1, 0.0, 1.0))


def element_spectra(airing: Airing, tuning: Tuning) -> tuple[NDArray[np.complex64], NDArray[np.int64]]:
    """(element, bin) in square-root watts behind the receiver's filter, and the bins that pass it, ascending."""
    most = airing.bins_per_period
    bins = np.arange(-(most // 2), most - most // 2)
    amplitude = channel_filter(bins * (airing.rate / airing.program.period) + (airing.carrier - tuning.carrier), tuning.rate)
    heard = np.flatnonzero(amplitude > 0.0)
    spectrum = np.take(airing.spectrum, bins[heard] % most, axis=1)
    return spectrum * amplitude[heard].astype(np.float32), bins[heard]


def tabulated(spectra: NDArray[np.complex64], bins: NDArray[np.int64], airing: Airing, tuning: Tuning, delay: float) -> Table:
    """Signals of spectra (signal, bin), on a grid in the middle of the receiver's band. delay: seconds taken out of them."""
    period = airing.program.period
    grid = Grid.of(period, airing.rate, tuning.rate)
    lift = round((airing.carrier - tuning.carrier) * period / airing.rate)  # bins: centre the table in the receiver's band
    spectrum = np.zeros((spectra.shape[0], grid.length), np.complex64)
    spectrum[:, ((bins + lift) * grid.repeats) % grid.length] = spectra
    overhang = math.ceil(0.5 * grid.scale * airing.rate / tuning.rate * BLOCK) + 96
    return Table(interpolator.planes(spectrum, overhang), grid.length, grid.scale, lift / period, delay)
