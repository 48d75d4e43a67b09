"""Sounding frames: every antenna's own pilots, sent by one device at a time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hil.errors import InputError
from hil.waveform import ofdm
from hil.waveform.crest import comb
from hil.waveform.frame import Layout, SymbolKind, common_symbols
from hil.waveform.mark import FrameKind
from hil.waveform.modulation import Modulation
from hil.waveform.numerology import Numerology

CYCLIC_SHIFT = 2.0  # samples at most between the antennas' copies of a common symbol; all of them stay within the prefix


@dataclass(frozen=True, eq=False)
class SoundingFrame:
    """Per-antenna pilots on a rotating comb between preamble and header.

    In pilot symbol m antenna n sends on the tones of rank i with (i + m) mod antennas = n, its full power on them. Preamble, header,
    payload and closing symbol are sent by all antennas, antenna n with a cyclic shift of 2n samples, less where the prefix is too short
    for that: no receiver lies in a null of the whole band, and an acquisition finds the antennas a few samples apart at most. Each
    antenna's mean power over the frame is exactly `element_power_w[n]`.

    element_power_w: (antenna,) watts. pilot_symbols: a multiple of the number of antennas; every visit more lowers the error of each
    element. symbols: of the whole frame; what preamble, pilots, header and closing leave is payload (QPSK).
    """

    numerology: Numerology
    device: int
    version: int
    antennas: int
    element_power_w: NDArray[np.float64] | tuple[float, ...] | float
    pilot_symbols: int = 8
    symbols: int = 28
    seed: int = 0

    def __post_init__(self) -> None:
        power = np.broadcast_to(np.asarray(self.element_power_w, dtype=np.float64), (self.antennas,))
        if not (np.all(np.isfinite(power)) and np.all(power > 0.0)):
            raise InputError("frame-power", "an antenna that is sounded needs power", found=str(power.tolist()), allowed="above 0 W each",
                             fix="sound only the antennas that may radiate")  # fmt: skip
        if self.pilot_symbols < self.antennas or self.pilot_symbols % self.antennas:
            raise InputError("pilots", "every antenna must visit every tone equally often", found=f"{self.pilot_symbols} pilot symbols",
                             allowed=f"a multiple of {self.antennas}", fix="change pilot_symbols")  # fmt: skip
        comb(self.numerology.fft, self.numerology.used, self.antennas)  # refuses a number of antennas without pilots
        if self.symbols < 4 + self.pilot_symbols:
            raise InputError("frame", "the frame is too short for its pilots", found=f"{self.symbols} symbols",
                             allowed=f"{4 + self.pilot_symbols} or more", fix="lengthen the frame or take fewer pilots")  # fmt: skip
        object.__setattr__(self, "element_power_w", np.array(power))

    kind = FrameKind.SOUNDING
    stream = 0

    @property
    def layout(self) -> Layout:
        return Layout(self.pilot_symbols, self.symbols - 4 - self.pilot_symbols)

    @property
    def length(self) -> int:
        return self.symbols * self.numerology.symbol_samples

    @cached_property
    def groups(self) -> NDArray[np.int64]:
        """(symbol,) 0 for symbols sent by all antennas alike, 1 + m mod antennas for pilot symbol m."""
        groups = np.zeros(self.symbols, dtype=np.int64)
        if self.antennas > 1:
            groups[self.pilots] = 1 + np.arange(self.pilot_symbols) % self.antennas
        return groups

    @property
    def pilots(self) -> NDArray[np.int64]:
        """Indices of the pilot symbols."""
        return self.layout.where(SymbolKind.PILOT)

    def antenna_of(self, pilot: NDArray[np.int64] | int) -> NDArray[np.int64]:
        """(pilot, tone) which antenna sends in pilot symbol m = 0.. on each tone."""
        return (np.arange(self.numerology.used) + np.asarray(pilot)[..., None]) % self.antennas

    coherent_blocks = True

    @property
    def preambles(self) -> NDArray[np.complex128]:
        """(antenna, tone) sqrt(W) of the second preamble symbol."""
        return self.reference[1].T

    @cached_property
    def _amplitude(self) -> NDArray[np.float64]:
        """(antenna,) sqrt(W) per tone of a symbol that uses all tones, such that the mean power over the frame is exact."""
        wave = ofdm.modulate(self.numerology, self._unit)
        return np.sqrt(np.asarray(self.element_power_w) / np.mean(np.abs(wave) ** 2, axis=-1))

    @cached_property
    def _common(self) -> NDArray[np.complex128]:
        return common_symbols(self.numerology, self.layout, self.device, self.version, self.kind, Modulation.QPSK, self.seed)

    @cached_property
    def _unit(self) -> NDArray[np.complex128]:
        """(antenna, symbol, tone) before scaling."""
        shift = min(CYCLIC_SHIFT, self.numerology.prefix / self.antennas) * np.arange(self.antennas)
        turn = np.exp(-2j * np.pi / self.numerology.fft * np.outer(shift, self.numerology.tones))
        tones = self._common * turn[:, None, :]
        phases = comb(self.numerology.fft, self.numerology.used, self.antennas) * np.sqrt(self.antennas)
        mine = self.antenna_of(np.arange(self.pilot_symbols)) == np.arange(self.antennas)[:, None, None]
        tones[:, self.pilots] = np.where(mine, phases, 0.0)
        return tones

    @cached_property
    def reference(self) -> NDArray[np.complex128]:
        """(symbol, tone, antenna) sqrt(W): what each antenna sends, to which y = H @ x refers."""
        return np.moveaxis(self._unit * self._amplitude[:, None, None], 0, -1)

    @cached_property
    def known(self) -> NDArray[np.complex128]:
        """(symbol, tone) sqrt(W): in a pilot symbol the tone's one antenna, else the common symbol at the antennas' rms amplitude."""
        known = self._common * np.sqrt(np.mean(self._amplitude**2))
        known[self.pilots] = self.reference[self.pilots].sum(-1)
        return known

    def samples(self) -> NDArray[np.complex128]:
        """(antenna, sample) sqrt(W) at the antenna ports."""
        return ofdm.modulate(self.numerology, np.moveaxis(self.reference, -1, 0))
