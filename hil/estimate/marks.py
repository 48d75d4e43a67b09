"""Which version is really on the air: the mark of every symbol against a list of candidates, and the header in words."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hil.device import Capture
from hil.errors import HilError
from hil.estimate.carrier import Carrier, Symbols, symbols_of
from hil.waveform.frame import Frame, SymbolKind, payload_ranks
from hil.waveform.mark import Header, Mark, mark_ranks

LEAST_MARGIN = 5.0  # standard deviations by which the best candidate's mark must stand out of chance


@dataclass(frozen=True, slots=True)
class OnAir:
    """What a capture says about the frame in it.

    version: of the best candidate, None when none stands out. margin: its score in standard deviations of chance. header: decoded, None
    when its checksum does not hold.
    """

    version: int | None
    margin: float
    header: Header | None

    def expect(self, version: int, where: str = "") -> None:
        """Raises HilError `wrong-reference` when another version is on the air."""
        found = self.version if self.version is not None else (self.header.version if self.header else None)
        if found != version:
            heard = "unknown" if found is None else str(found)
            raise HilError("wrong-reference", f"version {heard} on air, {version} expected", where=where,
                           found=f"mark margin {self.margin:.1f}",
                           fix="take the next capture; if it stays, push the version again")  # fmt: skip


def check(capture: Capture, frame: Frame, carrier: Carrier, candidates: Iterable[int]) -> OnAir:
    """Tell which of the `candidates` (versions) of `frame`'s device the capture holds; only preamble, header and marks are looked at.

    The channel of each tone comes from preamble and closing symbol, which all versions share. Within a symbol marks are added in phase,
    from symbol to symbol in power: nothing hangs on the carrier beyond one symbol.
    """
    numerology, layout = frame.numerology, frame.layout
    symbols = symbols_of(capture, numerology, carrier)
    number = symbols.index % layout.symbols
    kinds = layout.kinds[number]
    channel = _channel(symbols, frame, kinds, number)
    marked = np.flatnonzero((kinds == SymbolKind.HEADER) | (kinds == SymbolKind.PAYLOAD))
    ranks = mark_ranks(numerology)
    matched = symbols.values[:, marked][..., ranks] * np.conj(channel[:, None, ranks])
    best, top, margin = None, -np.inf, 0.0
    for version in candidates:
        mark = Mark(frame.device, version, frame.stream)
        signs = {int(symbol): mark.signs(int(symbol), len(ranks)) for symbol in np.unique(number[marked])}
        table = np.stack([signs[int(symbol)] for symbol in number[marked]])
        energy = np.sum(np.square(np.abs(matched)), axis=-1)
        # |sum|^2 over its mean for random signs: unit exponentials when the mark is another's.
        score = np.square(np.abs(np.sum(matched * table, axis=-1))) / np.maximum(energy, 1e-300)
        if score.sum() > top:
            best, top = version, float(score.sum())
            margin = (top - score.size) / np.sqrt(score.size)
    header = _header(symbols, frame, channel, kinds)
    return OnAir(best if margin > LEAST_MARGIN else None, float(margin), header)


def _channel(symbols: Symbols, frame: Frame, kinds: NDArray[np.int64], number: NDArray[np.int64]) -> NDArray[np.complex128]:
    shared = np.flatnonzero((kinds == SymbolKind.PREAMBLE) | (kinds == SymbolKind.CLOSING))
    if len(shared) == 0:
        raise HilError("capture-short", "no preamble in the capture", fix="capture at least one whole frame and one symbol")
    known = frame.known[number[shared]]
    return np.sum(symbols.values[:, shared] * np.conj(known), axis=1) / np.sum(np.square(np.abs(known)), axis=0)


def _header(symbols: Symbols, frame: Frame, channel: NDArray[np.complex128], kinds: NDArray[np.int64]) -> Header | None:
    where = np.flatnonzero(kinds == SymbolKind.HEADER)
    data = payload_ranks(frame.numerology)
    return Header.read(symbols.values[:, where][..., data] * np.conj(channel[:, None, data])) if len(where) else None
