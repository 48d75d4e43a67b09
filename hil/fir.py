"""FIR filters of the AD9361 family in the part's own file format (.ftr), as its driver takes them in `filter_fir_config`.

A header line per direction (`RX 3 GAIN -6 DEC 4`, `TX 3 GAIN 0 INT 4`; 3: both channels), optional lines of rates and bandwidths, then one
line per tap, `transmit,receive` or one number for both. Lines that begin with # are comments.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

DECIMATIONS = (1, 2, 4)
MOST_TAPS = 128
_HEADER = re.compile(r"^(RX|TX)\s+([123])\s+GAIN\s+(-?\d+)\s+(?:DEC|INT)\s+(\d+)$")
_ASIDE = re.compile(r"^(RTX|RRX|BWTX|BWRX|SYNTH)\b")
_TAP = re.compile(r"^(-?\d+)(?:\s*,\s*(-?\d+))?$")


@dataclass(frozen=True, slots=True)
class Fir:
    """A filter pair: taps as 16 bit integers, gain of each in dB, and how many samples become one (decimation, interpolation)."""

    transmit: tuple[int, ...]
    receive: tuple[int, ...]
    transmit_gain_db: int
    receive_gain_db: int
    interpolation: int
    decimation: int

    @property
    def text(self) -> str:
        """As the driver takes it."""
        head = f"RX 3 GAIN {self.receive_gain_db} DEC {self.decimation}\nTX 3 GAIN {self.transmit_gain_db} INT {self.interpolation}\n"
        return head + "".join(f"{sent},{heard}\n" for sent, heard in zip(self.transmit, self.receive)) + "\n"

    @property
    def read_back(self) -> str:
        """What the driver answers once it holds this filter."""
        return f"FIR Rx: {len(self.receive)},{self.decimation} Tx: {len(self.transmit)},{self.interpolation}"


def parse(text: str) -> Fir:
    """Read a filter; ValueError in words that name the line and the rule."""
    headers: dict[str, tuple[int, int]] = {}
    transmit: list[int] = []
    receive: list[int] = []
    for number, line in enumerate(text.splitlines(), 1):
        line = line.partition("#")[0].strip()
        if not line or _ASIDE.match(line):
            continue
        if header := _HEADER.match(line):
            headers[header[1]] = (int(header[3]), int(header[4]))
        elif tap := _TAP.match(line):
            transmit.append(int(tap[1]))
            receive.append(int(tap[2] or tap[1]))
        else:
            raise ValueError(f"line {number} is neither a header nor a tap: {line[:40]!r}")
    for side in ("RX", "TX"):
        if side not in headers:
            raise ValueError(f"the {side} header is missing; allowed: {side} 3 GAIN -6 {'DEC' if side == 'RX' else 'INT'} 4")
        if headers[side][1] not in DECIMATIONS:
            raise ValueError(f"{side} changes the rate by {headers[side][1]}; allowed: 1, 2 or 4")
    if headers["RX"][1] != headers["TX"][1]:
        raise ValueError("decimation and interpolation differ; both directions share one rate")
    if not 16 <= len(receive) <= MOST_TAPS or len(receive) % 16:
        raise ValueError(f"{len(receive)} taps; allowed: a multiple of 16, at most {MOST_TAPS}")
    if wide := [tap for tap in (*transmit, *receive) if not -(1 << 15) <= tap < 1 << 15]:
        raise ValueError(f"tap {wide[0]} does not fit 16 bits")
    return Fir(tuple(transmit), tuple(receive), headers["TX"][0], headers["RX"][0], headers["TX"][1], headers["RX"][1])


def most_taps(converter_rate_hz: float, sample_rate_hz: float) -> int:
    """Taps the filter can compute at a rate: 16 per sample for each time the converter is faster than it (AD9361 reference manual)."""
    return min(MOST_TAPS, 16 * int(converter_rate_hz // sample_rate_hz))
