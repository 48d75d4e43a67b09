"""The medium, evaluated for the window a capture asks for.

What stands still is tabulated: per (transmission, receiver, geometry) the response of every path and element is summed in the frequency
domain with exact delays and turned into one cyclic signal per receive antenna, common delay removed. What moves is evaluated directly:
every (element, path, antenna) as a ray of its own, read from the element's signal at its exact delay. One kernel plays both.

Conventions: received = sum over paths of g exp(-j 2 pi f0 tau) z(t - tau) exp(j psi_tx(t - tau)) exp(-j psi_rx(t)), where
psi(t) = 2 pi (f - f0) t + 2 pi f x(t) + phi. Geometry is that of the instant of reception.
"""

from __future__ import annotations

import itertools
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from hil.clock import Instant
from sim_backend import interpolator, kernels
from sim_backend.history import Airing, Tuning
from sim_backend.kernels import BLOCK
from sim_backend.paths import Rays

Kept = TypeVar("Kept")
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Still = tuple[Hashable, int]  # a geometry and the age of a transmission, in AGE_S
AGE_S = 4.0  # a table holds for so long: oscillators drift, and the path phase runs at the actual frequency
MOST_BINS = 1 << 22


class Scene(Protocol):
    """Where everything is, as the medium asks for it. Ray shapes: (..., path, receive antenna, transmit element)."""

    def moves_within(self, transmitter: str, receiver: str, begin: Instant, end: Instant) -> bool:
        """Whether an antenna of either moves at any time in [begin, end]."""

    def place(self, transmitter: str, receiver: str, at: Instant) -> Hashable:
        """A key of the geometry of both: equal keys, equal static rays."""

    def static(self, transmitter: str, receiver: str, at: list[Instant]) -> Rays:
        """Rays of all that stands still while the antennas do, one leading axis for the instants."""

    def moving(self, transmitter: str, receiver: str, at: list[Instant]) -> Rays:
        """Rays of all that moves by itself."""


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


def heard_bins(airing: Airing, tuning: Tuning) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Bins of a transmission that pass a receiver's filter, ascending, and the filter's amplitude there."""
    period = airing.program.period
    bins = np.arange(-2 * period, 2 * period)
    amplitude = channel_filter(bins * (airing.rate / period) + (airing.carrier - tuning.carrier), tuning.rate)
    heard = np.flatnonzero(amplitude > 0.0)
    return bins[heard], amplitude[heard]


def element_spectra(airing: Airing, tuning: Tuning) -> tuple[NDArray[np.complex64], NDArray[np.int64]]:
    """(element, bin) in square-root watts behind the receiver's filter, and the bins."""
    bins, amplitude = heard_bins(airing, tuning)
    return np.take(airing.spectrum, bins % airing.bins_per_period, axis=1) * amplitude.astype(np.float32), bins


class Window(NamedTuple):
    """Whole blocks of one receiver's samples and the true instants of their ends."""

    first: int  # receiver tick of the first sample, a multiple of BLOCK
    whole: NDArray[np.int64]  # (block end,)
    fraction: NDArray[np.float64]

    @classmethod
    def of(cls, tuning: Tuning, first: int, blocks: int) -> Window:
        whole, fraction = np.empty(blocks + 1, np.int64), np.empty(blocks + 1)
        kernels.tick_instants(tuning.oscillator.head, tuning.oscillator.lines, tuning.rate, first, BLOCK, whole, fraction)
        return cls(first, whole, fraction)

    def instants(self, begin: int = 0, end: int | None = None) -> list[Instant]:
        return [Instant(int(w), float(f)) for w, f in zip(self.whole[begin:end], self.fraction[begin:end])]


class Medium:
    """Carries transmissions to receivers through a scene. What was computed is kept, least recently used first to go."""

    def __init__(self, scene: Scene, cache_bytes: int = 384 << 20) -> None:
        self._scene = scene
        self._shelf: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._room = cache_bytes
        self._lock = threading.Lock()

    def receive(
        self, tuning: Tuning, airings: Iterable[Airing], first: int, out_re: NDArray[np.float32], out_im: NDArray[np.float32]
    ) -> None:
        """Add what the antennas hear, (antenna, sample) in square-root watts, from receiver tick `first`, whole blocks."""
        window = Window.of(tuning, first, out_re.shape[1] // BLOCK)
        ends = window.instants()
        for airing in airings:
            if airing.channels.size and airing.overlaps(ends[0].after(-1e-3), ends[-1]):
                self._add(tuning, airing, window, ends, out_re, out_im)

    def _add(
        self, tuning: Tuning, airing: Airing, window: Window, ends: list[Instant], out_re: NDArray[np.float32], out_im: NDArray[np.float32]
    ) -> None:
        transmitter, receiver = airing.radio, tuning.radio
        tx, rx = airing.oscillator, tuning.oscillator
        relation = np.empty((6, len(ends)))
        kernels.relate(
            rx.head, rx.lines, tuning.carrier, tx.head, tx.lines, airing.carrier, airing.rate, airing.first_tick,
            airing.program.period, window.whole, window.fraction, relation,
        )  # fmt: skip
        gate = self._gate(airing, tuning)

        def play(table: Table, begin: int, end: int, delay: Floats, gain: NDArray[np.complex128], source: Ints, antenna: Ints) -> None:
            kernels.rays(
                table.planes, table.length, table.scale, table.spin, airing.rate, airing.carrier, airing.phase - tuning.phase,
                interpolator.weights(), np.ascontiguousarray(relation[:, begin : end + 1]),
                np.ascontiguousarray(delay), np.ascontiguousarray(gain), source, antenna,
                window.first + begin * BLOCK, begin * BLOCK, gate[0], gate[1], out_re, out_im,
            )  # fmt: skip

        def play_rays(begin: int, end: int, rays: Rays) -> None:
            if rays.delay.size == 0:
                return
            table = self._signals(airing, tuning)
            _, paths, antennas, elements = rays.delay.shape
            source = np.tile(np.arange(elements), paths * antennas)
            antenna = np.tile(np.repeat(np.arange(antennas), elements), paths)
            flat = (end - begin + 1, -1)
            play(table, begin, end, rays.delay.reshape(flat), rays.gain.reshape(flat).astype(complex), source, antenna)

        for begin, end, still in self._stretches(airing, tuning, ends):
            if still is None:
                play_rays(begin, end, self._scene.static(transmitter, receiver, ends[begin : end + 1]))
            else:
                table = self._response(airing, tuning, still, ends[begin])
                antennas = table.planes.shape[0]
                shape = (end - begin + 1, antennas)
                play(table, begin, end, np.full(shape, table.delay), np.ones(shape, complex), np.arange(antennas), np.arange(antennas))
        play_rays(0, len(ends) - 1, self._scene.moving(transmitter, receiver, ends))

    def _gate(self, airing: Airing, tuning: Tuning) -> tuple[int, int]:
        """Receiver ticks [begin, end) of a transmission, delayed by the shortest path at its start."""
        rays = self._scene.static(airing.radio, tuning.radio, [airing.start])
        common = float(rays.delay.min()) if rays.delay.size else 0.0
        ticks = [tuning.oscillator.next_tick(at.after(common), tuning.rate) if at else 1 << 62 for at in (airing.start, airing.stop)]
        return ticks[0], ticks[1]

    def _stretches(self, airing: Airing, tuning: Tuning, ends: list[Instant]) -> list[tuple[int, int, Still | None]]:
        """Runs of blocks (begin, end, key) with one table each; key None where an antenna moves."""

        def age(at: Instant) -> int:
            return math.floor(max(0.0, at.since(airing.start)) / AGE_S)

        pair, blocks = (airing.radio, tuning.radio), len(ends) - 1
        if not self._scene.moves_within(*pair, ends[0], ends[-1]) and age(ends[0]) == age(ends[-1]):
            return [(0, blocks, (self._scene.place(*pair, ends[0]), age(ends[0])))]
        runs: list[tuple[int, int, Still | None]] = []
        for b, (begin, end) in enumerate(itertools.pairwise(ends)):
            key = None if self._scene.moves_within(*pair, begin, end) else (self._scene.place(*pair, begin), age(begin))
            if runs and runs[-1][2] == key:
                runs[-1] = (runs[-1][0], b + 1, key)
            else:
                runs.append((b, b + 1, key))
        return runs

    def _response(self, airing: Airing, tuning: Tuning, key: Still, at: Instant) -> Table:
        """Signals at each receive antenna through everything that stands still."""

        def build() -> Table:
            rays = self._scene.static(airing.radio, tuning.radio, [at])
            delay, gain = rays.delay[0], rays.gain[0].astype(complex)
            common = float(delay.min()) if delay.size else 0.0
            spectra, bins = self._spectra(airing, tuning)
            actual = 1.0 + airing.oscillator.error(airing.start.after(key[1] * AGE_S))[1]
            heard = np.empty((delay.shape[1], bins.size), np.complex64)
            spacing = airing.rate / airing.program.period
            lowest = int(bins[0]) if bins.size else 0
            kernels.response(
                spectra, airing.carrier * actual, spacing * actual, lowest, np.ascontiguousarray(delay - common),
                np.ascontiguousarray(gain), heard,
            )  # fmt: skip
            return self._table(heard, bins, airing, tuning, common)

        return self._kept(("response", airing.number, *_tuned(tuning), key), build, lambda table: table.planes.nbytes)

    def _signals(self, airing: Airing, tuning: Tuning) -> Table:
        """Signals of each transmit element, as the receiver's filter passes them."""

        def build() -> Table:
            spectra, bins = self._spectra(airing, tuning)
            return self._table(spectra, bins, airing, tuning, 0.0)

        return self._kept(("signals", airing.number, *_tuned(tuning)[1:]), build, lambda table: table.planes.nbytes)

    def _spectra(self, airing: Airing, tuning: Tuning) -> tuple[NDArray[np.complex64], NDArray[np.int64]]:
        key = ("spectra", airing.number, *_tuned(tuning)[1:])
        return self._kept(key, lambda: element_spectra(airing, tuning), lambda found: found[0].nbytes + found[1].nbytes)

    @staticmethod
    def _table(spectra: NDArray[np.complex64], bins: NDArray[np.int64], airing: Airing, tuning: Tuning, delay: float) -> Table:
        period = airing.program.period
        grid = Grid.of(period, airing.rate, tuning.rate)
        lift = round((airing.carrier - tuning.carrier) * period / airing.rate)  # bins: centre the table in the receiver's band
        spectrum = np.zeros((spectra.shape[0], grid.length), np.complex64)
        spectrum[:, ((bins + lift) * grid.repeats) % grid.length] = spectra
        return Table(interpolator.planes(spectrum), grid.length, grid.scale, lift / period, delay)

    def _kept(self, key: Hashable, build: Callable[[], Kept], size: Callable[[Kept], int]) -> Kept:
        with self._lock:
            if key in self._shelf:
                self._shelf.move_to_end(key)
                return self._shelf[key][0]
        made = build()  # two threads may build the same; it is the same
        with self._lock:
            self._shelf[key] = made, size(made)
            while len(self._shelf) > 1 and sum(size for _, size in self._shelf.values()) > self._room:
                self._shelf.popitem(last=False)
        return made


def _tuned(tuning: Tuning) -> tuple[Hashable, ...]:
    return tuning.radio, tuning.carrier, tuning.rate
