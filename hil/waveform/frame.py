"""What both kinds of frame share: the layout 2 preamble | Q pilot | 1 header | D payload | 1 closing, and its symbols.

Every frame is cyclic. Its tones are known completely, payload included: they are the reference of every estimator.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hil.errors import InputError
from hil.waveform.crest import preamble
from hil.waveform.mark import FrameKind, Header, Mark, mark_ranks
from hil.waveform.modulation import Modulation, random_bits, symbols_of
from hil.waveform.numerology import Numerology


class SymbolKind(IntEnum):
    """What a symbol of a frame is for."""

    PREAMBLE = 0
    PILOT = 1
    HEADER = 2
    PAYLOAD = 3
    CLOSING = 4


@dataclass(frozen=True)
class Layout:
    """How many symbols of each kind, in the order preamble, pilot, header, payload, closing."""

    pilots: int
    payload: int

    @property
    def symbols(self) -> int:
        return 4 + self.pilots + self.payload

    @cached_property
    def kinds(self) -> NDArray[np.int64]:
        """(symbol,) SymbolKind."""
        counts = (2, self.pilots, 1, self.payload, 1)
        return np.repeat(np.array(list(SymbolKind)), counts)

    def where(self, kind: SymbolKind) -> NDArray[np.int64]:
        """Indices of the symbols of one kind."""
        return np.flatnonzero(self.kinds == kind)


class Announced(Protocol):
    """A cyclic transmission of one device that begins with its preamble: all that finding it takes."""

    numerology: Numerology
    device: int
    version: int

    @property
    def length(self) -> int:
        """Samples of one turn of the buffer."""

    @property
    def preambles(self) -> NDArray[np.complex128]:
        """(antenna, tone) what each antenna sends in the second preamble symbol."""

    def samples(self) -> NDArray[np.complex128]:
        """(antenna, sample) sqrt(W) at the antenna ports."""


class Frame(Announced, Protocol):
    """A cyclic transmission of one device, as the estimators need it."""

    @property
    def layout(self) -> Layout: ...

    @property
    def stream(self) -> int:
        """Number of the device's stream that `known` and the marks are of."""

    @property
    def groups(self) -> NDArray[np.int64]:
        """(symbol,) label; symbols of one label reach a receiver through the same channel on each tone."""

    @property
    def known(self) -> NDArray[np.complex128]:
        """(symbol, tone) sqrt(W): what is sent, for a channel that is the same within a group."""

    @property
    def coherent_blocks(self) -> bool:
        """Whether blocks of tones are sent alike; a precoder may turn each block by its own phase."""


def payload_ranks(numerology: Numerology) -> NDArray[np.int64]:
    """Ranks of the tones that carry bits in a payload symbol: all but those of the mark."""
    return np.setdiff1d(np.arange(numerology.used), mark_ranks(numerology))


def payload_bits(numerology: Numerology, layout: Layout, modulation: Modulation, seed: int, device: int, stream: int) -> NDArray[np.uint8]:
    """(payload symbol, data tone, bit)."""
    shape = (layout.payload, len(payload_ranks(numerology)), modulation.bits)
    return random_bits(int(np.prod(shape)), seed, device, stream).reshape(shape)


def common_symbols(
    numerology: Numerology, layout: Layout, device: int, version: int, kind: FrameKind, modulation: Modulation, seed: int, stream: int = 0
) -> NDArray[np.complex128]:
    """(symbol, tone) unit mean energy; pilot symbols are left zero.

    The preamble is 2 prefixes, P, P. On the symbol grid its first window holds P exp(-j 2 pi k prefix/N) and its second P.
    """
    if not (layout.pilots >= 0 and layout.payload >= 0):
        raise InputError("frame", "a frame cannot hold fewer than no symbols", found=f"{layout.pilots} pilot, {layout.payload} payload",
                         allowed="0 or more", fix="lengthen the frame or take fewer pilot symbols")  # fmt: skip
    start = preamble(numerology.fft, numerology.used, device, stream)
    tones = np.zeros((layout.symbols, numerology.used), dtype=np.complex128)
    tones[0] = start * np.exp(-2j * np.pi * numerology.tones * numerology.prefix / numerology.fft)
    tones[1] = tones[-1] = start
    marked, data = mark_ranks(numerology), payload_ranks(numerology)
    header = int(layout.where(SymbolKind.HEADER)[0])
    tones[header, data] = Header(device, version, kind, layout.symbols).tones(len(data))
    payload = layout.where(SymbolKind.PAYLOAD)
    bits = payload_bits(numerology, layout, modulation, seed, device, stream)
    tones[np.ix_(payload, data)] = symbols_of(bits, modulation)
    mark = Mark(device, version, stream)
    for symbol in (header, *payload):
        tones[symbol, marked] = mark.signs(int(symbol), len(marked))
    return tones
