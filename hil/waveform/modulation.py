"""Square constellations of unit mean energy with Gray labels, and counting of errors."""

from __future__ import annotations

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray


class Modulation(StrEnum):
    """What a payload tone carries."""

    QPSK = "qpsk"
    QAM16 = "16qam"
    QAM64 = "64qam"

    @property
    def bits(self) -> int:
        """Bits of a symbol, half of them on each rail."""
        return {"qpsk": 2, "16qam": 4, "64qam": 6}[self.value]

    @property
    def scale(self) -> float:
        """Odd integers times this have unit mean energy."""
        levels = 1 << (self.bits // 2)
        return float(np.sqrt(1.5 / (levels**2 - 1)))


def _rail(bits: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Odd integers of Gray-labelled bits (..., bits of one rail), first bit the sign: 0 -> negative."""
    binary = np.bitwise_xor.accumulate(bits.astype(np.int64), axis=-1)  # Gray to binary
    value = binary @ (1 << np.arange(bits.shape[-1])[::-1])
    return 2.0 * value - ((1 << bits.shape[-1]) - 1)


def symbols_of(bits: NDArray[np.uint8], modulation: Modulation) -> NDArray[np.complex128]:
    """Symbols (...) of bits (..., modulation.bits): first half in phase, second half quadrature."""
    half = modulation.bits // 2
    return modulation.scale * (_rail(bits[..., :half]) + 1j * _rail(bits[..., half:]))


def bits_of(symbols: NDArray[np.complex128], modulation: Modulation) -> NDArray[np.uint8]:
    """Nearest symbols' bits (..., modulation.bits)."""
    half = modulation.bits // 2
    top = (1 << half) - 1

    def rail(values: NDArray[np.float64]) -> NDArray[np.uint8]:
        level = np.clip(np.round((values / modulation.scale + top) / 2.0), 0, top).astype(np.int64)
        gray = level ^ (level >> 1)
        return ((gray[..., None] >> np.arange(half)[::-1]) & 1).astype(np.uint8)

    return np.concatenate([rail(np.real(symbols)), rail(np.imag(symbols))], axis=-1)


def random_bits(count: int, *entropy: int) -> NDArray[np.uint8]:
    """Bits (count,) fixed by the integers `entropy`, the same with every numpy: raw words of PCG64, which never change."""
    words = np.random.PCG64(np.random.SeedSequence(entropy)).random_raw(-(-count // 64))
    return np.unpackbits(np.asarray(words, dtype="<u8").view(np.uint8))[:count]


def errors(sent: NDArray[np.uint8], got: NDArray[np.uint8]) -> tuple[int, int]:
    """How many bits and how many symbols differ; both arrays (..., bits of a symbol)."""
    wrong = sent != got
    return int(np.count_nonzero(wrong)), int(np.count_nonzero(wrong.any(-1)))
