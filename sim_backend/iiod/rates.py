"""The clock chain of an AD936x from its sampling rate, and the FIR filter that is part of it."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

from sim_backend.iiod.values import EINVAL, Refused

LEAST_CONVERTER, MOST_CONVERTER = 25_000_000, 336_000_000  # Hz
LEAST_PLL, MOST_PLL = 715_000_000, 1_430_000_000
MOST_RATE = 61_440_000
FACTORS = {12: (3, 2, 2), 8: (2, 2, 2), 6: (3, 2, 1), 4: (1, 2, 2), 3: (3, 1, 1), 2: (1, 1, 2), 1: (1, 1, 1)}
TAPS_PER_CLOCK = 16  # the filter multiplies so often in a cycle of the converter


@dataclass(frozen=True)
class Fir:
    """A filter as it was written. decimation, interpolation: 1, 2 or 4; taps: of each side."""

    decimation: int = 1
    interpolation: int = 1
    receive_taps: int = 0
    transmit_taps: int = 0

    @classmethod
    def parse(cls, text: str) -> Fir:
        """A filter file: `RX 3 GAIN -6 DEC 4`, `TX 3 GAIN 0 INT 4`, some optional lines, then `tx,rx` per tap."""
        factors = {"RX": 1, "TX": 1}
        taps = [0, 0]
        for line in text.splitlines():
            words = line.split("#")[0].replace(",", " ").split()
            if not words:
                continue
            if words[0] in factors and len(words) >= 6 and words[2] == "GAIN" and words[4] in ("DEC", "INT"):
                factors[words[0]] = _one_of(words[5], (1, 2, 4))
                _one_of(words[3], (-12, -6, 0, 6))
            elif words[0] in ("RTX", "RRX", "BWTX", "BWRX"):
                continue
            else:
                for side, word in enumerate(words[:2]):
                    _one_of(word, range(-32768, 32768))
                    taps[side] += 1
        if not any(taps) or any(count % 16 or count > 128 for count in taps):
            raise Refused(EINVAL)
        return cls(factors["RX"], factors["TX"], taps[1], taps[0])

    def __str__(self) -> str:
        return f"FIR Rx: {self.receive_taps},{self.decimation} Tx: {self.transmit_taps},{self.interpolation}"


def _one_of(word: str, allowed: Container[int]) -> int:
    try:
        value = int(word)
    except ValueError:
        raise Refused(EINVAL) from None
    if value not in allowed:
        raise Refused(EINVAL)
    return value


def factor(rate: int, filtered: int) -> int:
    """By how much the converter is faster than the filter."""
    for times in FACTORS:
        if LEAST_CONVERTER <= rate * filtered * times <= MOST_CONVERTER:
            return times
    raise Refused(EINVAL)


def require(rate: int, fir: Fir | None) -> None:
    """Refuse a rate that the chain cannot make: the converter has a least rate, and the filter as many taps as it has time for."""
    if not 0 < rate <= MOST_RATE or rate * 12 * (fir.decimation if fir else 1) < LEAST_CONVERTER - 12:
        raise Refused(EINVAL)
    for filtered, taps in ((fir.decimation, fir.receive_taps), (fir.interpolation, fir.transmit_taps)) if fir else ((1, 0),):
        if taps > TAPS_PER_CLOCK * factor(rate, filtered) * filtered:
            raise Refused(EINVAL)


def least(fir: Fir | None) -> int:
    """Samples per second."""
    return -(-LEAST_CONVERTER // (12 * (fir.decimation if fir else 1)))


def path(rate: int, fir: Fir | None, transmit: bool) -> str:
    """`tx_path_rates` or `rx_path_rates`."""
    filtered = (fir.interpolation if transmit else fir.decimation) if fir else 1
    times = factor(rate, filtered)
    third, second, _ = FACTORS[times]
    converter = rate * filtered * times
    pll = converter
    while pll < LEAST_PLL:
        pll *= 2
    chain = (pll, converter, converter // third, converter // third // second, rate * filtered, rate)
    names = ("BBPLL", "DAC", "T2", "T1", "TF", "TXSAMP") if transmit else ("BBPLL", "ADC", "R2", "R1", "RF", "RXSAMP")
    return " ".join(f"{name}:{value}" for name, value in zip(names, chain))
