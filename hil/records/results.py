"""results.csv: one row per round, designer and user, with units in the header."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.records.events import plain

# Columns of the SINR trials, in order. The four numbers are those of this user's worst block, so the smallest over the users of a round
# is the trial's; the bound is of the whole design. An empty cell says: there is none.
COLUMNS: dict[str, tuple[str, str]] = {
    "round": ("", "0: baselines"),
    "designer": ("", "designer or baseline"),
    "user": ("", "name"),
    "version": ("", "of the transmission"),
    "promised_db": ("dB", "worst case over what is uncertain"),
    "predicted_db": ("dB", "at the estimate"),
    "measured_db": ("dB", "from the measuring frame"),
    "bound_db": ("dB", "no design at these positions passes it"),
    "bound_anywhere_db": ("dB", "loose: no design at any positions passes it"),
    "std_db": ("dB", "standard deviation of measured_db"),
    "upper_db": ("dB", "upper 99 % limit of measured_db, simultaneous over users and blocks"),
    "shortfall_db": ("dB", "promise less upper limit where positive; 0: kept"),
    "evm": ("", "RMS error over RMS reference"),
    "rate_bit": ("bit/s/Hz", "mean over blocks"),
    "bit_errors": ("", "in `bits`"),
    "bits": ("", "compared"),
    "target_error_m": ("m", "of the target's fix, where the truth is known"),
    "target_crlb_m": ("m", "its Cramer-Rao bound"),
    "moved": ("", "elements moved in this round"),
    "movable": ("", "elements that could have been"),
    "took_s": ("s", "on the run's clock"),
}


def columns_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Known columns first and in their order, then any others as they came."""
    named = dict.fromkeys(name for row in rows for name in row)
    return [name for name in COLUMNS if name in named] + [name for name in named if name not in COLUMNS]


def encode(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], header: bool) -> str:
    """Lines of CSV; a float by its shortest exact digits, None and what is not finite as an empty cell."""
    strangers = sorted({name for row in rows for name in row} - set(columns))
    if strangers:
        raise ValueError(f"results.csv has no column {', '.join(strangers)}: its first rows had {', '.join(columns)}")
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    if header:
        writer.writerow(columns)
    for row in rows:
        cells = (plain(row.get(name)) for name in columns)
        writer.writerow(["" if cell is None else repr(cell) if isinstance(cell, float) else cell for cell in cells])
    return out.getvalue()


def decode(text: str) -> dict[str, NDArray[Any]]:
    """Columns as arrays: int64 where every cell is a whole number, float64 (empty: NaN) where every cell is a number, else text."""
    rows = list(csv.reader(io.StringIO(text)))
    if not rows:
        return {}
    header, body = rows[0], [row for row in rows[1:] if len(row) == len(rows[0])]
    return {name: _column([row[index] for row in body]) for index, name in enumerate(header)}


def _column(cells: list[str]) -> NDArray[Any]:
    for kind, read in ((np.int64, int), (np.float64, lambda cell: float(cell) if cell else math.nan)):
        try:
            return np.array([read(cell) for cell in cells], dtype=kind)
        except ValueError:
            continue
    return np.array(cells, dtype=str)
