"""Windows of a receiver's samples: whole blocks, the true instants of their ends, and the stations at which the scene is looked at."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hil.clock import Instant
from sim_backend import kernels, phasenoise
from sim_backend.history import Phase, Tuning
from sim_backend.kernels import BLOCK
from sim_backend.oscillator import Oscillator

Floats = NDArray[np.float64]
CELLS_KEPT = 8  # of an oscillator's course, together
COURSES = 4096  # of them; 1 kB each
STATION_S = 3e-4  # at most, from one look at the scene to the next; what moves is taken as straight in between


class Window(NamedTuple):
    """Whole blocks of one receiver's samples and the true instants of their ends."""

    first: int  # receiver tick of the first sample, a multiple of BLOCK
    whole: NDArray[np.int64]  # (block end,)
    fraction: NDArray[np.float64]
    stride: int  # blocks from station to station, a power of two
    station_whole: NDArray[np.int64]  # (station,) every `stride` blocks of the receiver's grid, from the last before the window
    station_fraction: NDArray[np.float64]
    first_cell: int  # of the receiver's course
    cells: Floats

    @classmethod
    def of(cls, tuning: Tuning, first: int, blocks: int) -> Window:
        oscillator, rate = tuning.oscillator, tuning.rate
        stride = 1 << max(0, math.floor(math.log2(STATION_S * rate / BLOCK)))
        step = stride * BLOCK
        before, after = first // step, -(-(first // BLOCK + blocks) // stride)
        begin, end = oscillator.tick(before * step, rate), oscillator.tick(after * step, rate)
        first_cell, last = (at.whole * kernels.CELLS + math.floor(at.fraction * kernels.CELLS) for at in (begin, end))
        cells = course(oscillator, first_cell, last - first_cell + 1)
        sizes = blocks + 1, after - before + 1
        (whole, fraction), (there, then) = [(np.empty(size, np.int64), np.empty(size)) for size in sizes]
        kernels.tick_instants(oscillator.head, cells, first_cell, rate, first, BLOCK, whole, fraction)
        kernels.tick_instants(oscillator.head, cells, first_cell, rate, before * step, step, there, then)
        return cls(first, whole, fraction, stride, there, then, first_cell, cells)

    @property
    def offset(self) -> int:
        """Blocks of the window's begin after the first station."""
        return self.first // BLOCK % self.stride

    def instant(self, end: int) -> Instant:
        return Instant(int(self.whole[end]), float(self.fraction[end]))

    def station(self, number: int) -> Instant:
        return Instant(int(self.station_whole[number]), float(self.station_fraction[number]))

    @property
    def stations(self) -> list[Instant]:
        return [Instant(int(w), float(f)) for w, f in zip(self.station_whole, self.station_fraction)]

    def every(self, blocks: int) -> list[int]:
        """Of every stretch of so many blocks of the receiver's grid that the window touches: its first block, and the one a station on."""
        first = self.first // BLOCK
        last = first + self.whole.size - 2
        return [block for start in range(first // blocks * blocks, last + 1, blocks) for block in (start, start + self.stride)]

    def looks(self, tuning: Tuning, every: int) -> Looks:
        """Where the scene is looked at: at stations, and for every stretch of `every` blocks."""
        return Looks(self, tuning, self.every(every))

    def between(self, values: NDArray[Any], station: int, begin: int, end: int) -> NDArray[Any]:
        """What was found at stations, the first of them number `station`, at the ends of blocks [begin, end], straight in between."""
        out = np.empty((end - begin + 1, *values.shape[1:]), values.dtype)
        flat, there = (part.view(np.float64).reshape(len(part), -1) for part in (np.ascontiguousarray(values), out))
        kernels.straight(flat, self.offset + begin - station * self.stride, self.stride, there)
        return out

    def instants(self) -> list[Instant]:
        return [Instant(int(w), float(f)) for w, f in zip(self.whole, self.fraction)]

    def track(self, phase_noise: Phase, lag: float = 0.0) -> tuple[NDArray[np.float32], int]:
        """Phase noise of a synthesiser over the window and `lag` seconds before it, on the grid of true time, and the number of its first
        point."""
        key, rms = phase_noise
        grid = phasenoise.GRID_HZ
        first = int(self.whole[0]) * grid + math.floor((self.fraction[0] - lag) * grid) - 1
        last = int(self.whole[-1]) * grid + math.ceil(self.fraction[-1] * grid) + 2
        return phasenoise.track(key, rms, first, last - first + 1), first


class Looks(Sequence[Instant]):
    """Instants, worked out when one of them is asked for. In many scenes nothing moves, and nobody does."""

    def __init__(self, window: Window, tuning: Tuning, blocks: list[int]) -> None:
        self._window, self._tuning, self._blocks = window, tuning, blocks

    @cached_property
    def _all(self) -> list[Instant]:
        oscillator, rate = self._tuning.oscillator, self._tuning.rate
        return [*self._window.stations, *(oscillator.tick(block * BLOCK, rate) for block in self._blocks)]

    def __len__(self) -> int:
        return self._window.station_whole.size + len(self._blocks)

    def __getitem__(self, which: Any) -> Any:
        return self._all[which]

    def __iter__(self) -> Iterator[Instant]:
        return iter(self._all)


def course(oscillator: Oscillator, first: int, count: int) -> Floats:
    """Cells of an oscillator's course (see `kernels.course`). Every receiver asks for every transmitter's, again and again."""
    lines = oscillator.lines.tobytes()
    low, high = first // CELLS_KEPT, (first + count - 1) // CELLS_KEPT
    cells = np.concatenate([_cells(lines, number) for number in range(low, high + 1)])
    return cells[first - low * CELLS_KEPT :][:count]


@lru_cache(COURSES)
def _cells(lines: bytes, number: int) -> Floats:
    out = np.empty((CELLS_KEPT, 2, kernels.NODES))
    kernels.course(np.frombuffer(bytearray(lines)).reshape(-1, 3), number * CELLS_KEPT, out)
    return out
