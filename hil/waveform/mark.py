"""What a frame says about itself: the mark in every symbol, and the header.

The mark tells versions apart from a candidate list even at -10 dB; the header says it in words when there is no list.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from hil.errors import InputError
from hil.waveform.modulation import Modulation, bits_of, random_bits, symbols_of
from hil.waveform.numerology import Numerology

MARK_SPACING = 16  # every 16th used tone
MARK_RANK = 8  # the first of them
_KEY = b"hil frame mark"
_SCRAMBLER = 0x48494C


class FrameKind(IntEnum):
    """Stored in the header, 8 bit."""

    SOUNDING = 1
    MEASURING = 2


def mark_ranks(numerology: Numerology) -> NDArray[np.int64]:
    """Ranks of the tones that carry the mark: 24 at N = 512, 6 at N = 128."""
    return np.arange(MARK_RANK, numerology.used, MARK_SPACING)


@dataclass(frozen=True, slots=True)
class Mark:
    """The mark of one device's version: BPSK from a keyed BLAKE2 hash of (node, version, stream, symbol index)."""

    device: int
    version: int
    stream: int = 0

    def signs(self, symbol: int, count: int) -> NDArray[np.float64]:
        """(mark tone,) +1 or -1 of one symbol of the frame."""
        words = [int(number).to_bytes(8, "little") for number in (self.device, self.version, self.stream, symbol)]
        digest = hashlib.blake2b(b"".join(words), key=_KEY, digest_size=-(-count // 8)).digest()
        return 1.0 - 2.0 * np.unpackbits(np.frombuffer(digest, dtype=np.uint8))[:count].astype(np.float64)


@dataclass(frozen=True, slots=True)
class Header:
    """node 16 bit, version 32, kind 8, length in symbols 16, CRC-16; repeated in QPSK over the tones that the mark leaves.

    Scrambled by a fixed sequence: bare repetition would give the symbol a crest of over 20 dB.
    """

    device: int
    version: int
    kind: FrameKind
    symbols: int

    def bits(self) -> NDArray[np.uint8]:
        """(88,) most significant bit first."""
        words = ((self.device, 16), (self.version, 32), (int(self.kind), 8), (self.symbols, 16))
        for value, width in words:
            if not 0 <= value < 1 << width:
                raise InputError("header", "a number does not fit the frame header", found=str(value), allowed=f"0..{(1 << width) - 1}",
                                 fix="start versions anew, shorten the frame")  # fmt: skip
        body = b"".join(int(value).to_bytes(width // 8, "big") for value, width in words)
        return np.unpackbits(np.frombuffer(body + crc16(body).to_bytes(2, "big"), dtype=np.uint8))

    def tones(self, count: int) -> NDArray[np.complex128]:
        """QPSK symbols (count,), the bits over and over, scrambled."""
        bits = np.resize(self.bits(), 2 * count) ^ random_bits(2 * count, _SCRAMBLER)
        return symbols_of(bits.reshape(count, 2), Modulation.QPSK)

    @classmethod
    def read(cls, tones: NDArray[np.complex128]) -> Header | None:
        """The header in equalised tones (..., count), repetitions added softly; None when the CRC does not hold.

        Tones may be weighted by their reliability; leading axes (channels, repetitions in time) are added too.
        """
        rails = np.stack([np.real(tones), np.imag(tones)], axis=-1).reshape(*tones.shape[:-1], -1)
        length = len(cls(0, 0, FrameKind.SOUNDING, 0).bits())
        rails = rails.reshape(-1, rails.shape[-1]).sum(0)
        rails *= 1.0 - 2.0 * random_bits(len(rails), _SCRAMBLER)
        soft = np.bincount(np.arange(len(rails)) % length, weights=rails, minlength=length)
        pairs = bits_of((soft[0::2] + 1j * soft[1::2]) / np.mean(np.abs(soft) + 1e-300), Modulation.QPSK)
        body = np.packbits(pairs.reshape(-1)).tobytes()
        if crc16(body[:9]) != int.from_bytes(body[9:], "big") or body[6] not in list(FrameKind):
            return None
        return cls(int.from_bytes(body[:2], "big"), int.from_bytes(body[2:6], "big"), FrameKind(body[6]), int.from_bytes(body[7:9], "big"))


def crc16(data: bytes) -> int:
    """CRC-16/CCITT-FALSE (polynomial 0x1021, start 0xFFFF)."""
    value = 0xFFFF
    for byte in data:
        value ^= byte << 8
        for _ in range(8):
            value = ((value << 1) ^ 0x1021 if value & 0x8000 else value << 1) & 0xFFFF
    return value
