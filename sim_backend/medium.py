"""The medium, evaluated for the window a capture asks for.

What stands still is tabulated: per (transmission, receiver, geometry) the response of every path and element is summed in the frequency
domain with exact delays and turned into one cyclic signal per receive antenna, common delay removed. What moves is evaluated directly:
from the elements' signals, in bundles of rays or, where that costs less, through one short filter for every element and antenna.

Conventions: received = sum over paths of g exp(-j 2 pi f0 tau) z(t - tau) exp(j psi_tx(t - tau)) exp(-j psi_rx(t)), where
psi(t) = 2 pi (f - f0) t + 2 pi f x(t) + phi. Geometry is that of the instant of reception.
"""

from __future__ import annotations

import itertools
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from hil.clock import Instant
from sim_backend import bundle, interpolator, kernels, sweep
from sim_backend.history import Airing, Tuning
from sim_backend.kernels import BLOCK
from sim_backend.paths import Rays
from sim_backend.tables import Table, element_spectra, tabulated
from sim_backend.window import Looks, Window, course

Kept = TypeVar("Kept")
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Part = tuple[int, int, Callable[[int, int], None]]
Still = tuple[Hashable, int]  # a geometry and the age of a transmission, in AGE_S
AGE_S = 4.0  # a table holds for so long: oscillators drift, and the path phase runs at the actual frequency
STRETCH = 16  # blocks that are added to at a time
PLAN = 256  # blocks of a receiver's grid for which rays are bundled alike


class Scene(Protocol):
    """Where everything is, as the medium asks for it. Ray shapes: (..., path, receive antenna, transmit element)."""

    def moves_within(self, transmitter: str, receiver: str, begin: Instant, end: Instant) -> bool:
        """Whether an antenna of either moves at any time in [begin, end]."""

    def place(self, transmitter: str, receiver: str, at: Instant) -> Hashable:
        """A key of the geometry of both: equal keys, equal static rays."""

    def static(self, transmitter: str, receiver: str, at: Sequence[Instant]) -> Rays:
        """Rays of all that stands still while the antennas do, one leading axis for the instants."""

    def moving(self, transmitter: str, receiver: str, at: Sequence[Instant]) -> Rays:
        """Rays of all that moves by itself."""


class Gate(NamedTuple):
    """Receiver ticks [begin, end) of a transmission, delayed by the shortest still path at its start; and the longest, seconds."""

    begin: int
    end: int
    longest: float


class Medium:
    """Carries transmissions to receivers through a scene. What was computed is kept, least recently used first to go."""

    def __init__(self, scene: Scene, cache_bytes: int = 384 << 20) -> None:
        self._scene = scene
        self._shelf: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._room, self._filled = cache_bytes, 0
        self._lock = threading.Lock()

    def receive(
        self, tuning: Tuning, airings: Iterable[Airing], first: int, out_re: NDArray[np.float32], out_im: NDArray[np.float32]
    ) -> None:
        """Add what the antennas hear, (antenna, sample) in square-root watts, from receiver tick `first`, whole blocks."""
        blocks = out_re.shape[1] // BLOCK
        begins, ends = (tuning.oscillator.tick(tick, tuning.rate).after(late) for tick, late in ((first, -1e-3), (first + blocks * BLOCK, 1e-6)))
        heard = [a for a in airings if a.channels.size and a.overlaps(begins, ends)]
        if not heard:
            return
        window = Window.of(tuning, first, blocks)
        noisy = tuning.phase_noise[1] > 0.0 or any(airing.phase_noise[1] > 0.0 for airing in heard)
        receiver = self._unsteadiness(tuning, window) if noisy else np.zeros(0, np.float32)
        instants = window.looks(tuning, PLAN)  # the same for all, which the scene answers once
        parts = [part for airing in heard for part in self._parts(tuning, airing, window, instants, receiver, out_re, out_im)]
        for at in range(0, blocks, STRETCH):  # short enough for the nearest memory to hold what all add to
            for begin, end, play in parts:
                low, high = max(begin, at), min(end, at + STRETCH)
                if low < high:
                    play(low, high)

    def _parts(
        self,
        tuning: Tuning,
        airing: Airing,
        window: Window,
        instants: Looks,
        receiver: NDArray[np.float32],
        out_re: NDArray[np.float32],
        out_im: NDArray[np.float32],
    ) -> list[Part]:
        """What a transmission adds: runs of blocks [begin, end), and the call that adds any blocks [low, high) of them."""
        pair, scene = (airing.radio, tuning.radio), self._scene
        cells = course(airing.oscillator, window.first_cell, window.cells.shape[0])
        relation = self._related(tuning, airing, window, cells, window.whole, window.fraction)
        gate = self._gate(airing, tuning)
        count = window.station_whole.size
        runs = self._stretches(airing, tuning, window)
        walking = scene.moving(*pair, instants)
        rays = {False: walking}  # and, where antennas move, all rays together
        if any(still is None for _, _, still in runs):
            there = scene.static(*pair, instants)
            rays[True] = Rays(np.concatenate([there.delay, walking.delay], axis=1), np.concatenate([there.gain, walking.gain], axis=1))
        longest = max([gate.longest] + [float(found.delay[:count].max()) for found in rays.values() if found.delay.size])
        track, first = window.track(airing.phase_noise, longest) if receiver.size else (receiver, 0)

        def common(table: Table, low: int, high: int) -> tuple[Any, ...]:
            return (
                table.planes, table.length, table.scale, table.spin, airing.rate, airing.carrier, airing.phase - tuning.phase,
                interpolator.filters(), np.ascontiguousarray(relation[:, low : high + 1]), window.whole[low : high + 1],
                window.fraction[low : high + 1], track, first, receiver[low * BLOCK : high * BLOCK],
                window.first + low * BLOCK, low * BLOCK, gate.begin, gate.end,
            )  # fmt: skip

        def still_part(begin: int, end: int, key: Still) -> Part:
            table = self._response(airing, tuning, key, window.instant(begin))
            return begin, end, lambda low, high: sweep.still(*common(table, low, high), table.delay, out_re, out_im)

        def moving_part(begin: int, end: int, plan: Ints | None, found: Rays) -> Part:
            table = self._signals(airing, tuning)
            low, high = (window.offset + begin) // window.stride, -(-(window.offset + end) // window.stride)
            there, then = window.station_whole[low : high + 1], window.station_fraction[low : high + 1]
            near = Rays(found.delay[low : high + 1], found.gain[low : high + 1])
            relation = self._related(tuning, airing, window, cells, there, then)
            sides = _unfolded(near, relation, airing, table) if plan is None else _factored(near, plan, relation, airing, table)
            sides = tuple(window.between(side, low, begin, end) for side in sides)

            def play(low: int, high: int) -> None:
                here = [side[low - begin : high - begin + 1] for side in sides]
                if plan is None:
                    sweep.responses(*common(table, low, high), *here, out_re, out_im)
                else:
                    sweep.bundles(*common(table, low, high), plan, *here, out_re, out_im)

            return begin, end, play

        parts = [still_part(begin, end, still) for begin, end, still in runs if still is not None]
        for begin, end, still in runs:
            found = rays[still is None]
            if found.delay.size:
                plans = self._plans(airing, tuning, window, begin, end, Rays(found.delay[count:], found.gain[count:]))
                parts += [moving_part(low, high, plan, found) for low, high, plan in plans]
        return parts

    @staticmethod
    def _related(tuning: Tuning, airing: Airing, window: Window, cells: Floats, whole: Ints, fraction: Floats) -> Floats:
        tx, rx = airing.oscillator, tuning.oscillator
        relation = np.empty((6, whole.size))
        kernels.relate(
            rx.head, window.cells, tuning.carrier, tx.head, cells, airing.carrier, airing.rate, airing.first_tick,
            airing.program.period, window.first_cell, whole, fraction, relation,
        )  # fmt: skip
        return relation

    @staticmethod
    def _plans(airing: Airing, tuning: Tuning, window: Window, begin: int, end: int, rays: Rays) -> Iterator[tuple[int, int, Ints | None]]:
        """Runs of blocks and how their rays are bundled, None for filters, as it is best when a stretch of PLAN blocks of the receiver's grid
        begins: cutting a request differently changes nothing. rays: at every instant of `Window.every`."""
        first = window.first // BLOCK
        for number in range((first + begin) // PLAN, (first + end - 1) // PLAN + 1):
            at = 2 * (number - first // PLAN)
            delay, gain = np.ascontiguousarray(rays.delay[at : at + 2]), np.ascontiguousarray(rays.gain[at], dtype=complex)
            plan = np.empty((gain.size, 6), np.int64)
            plan = plan[: bundle.plan(delay[0], gain, airing.carrier, tuning.rate, plan)]
            filtered = bundle.filters_pay(delay, np.abs(gain), plan, airing.carrier, tuning.rate)
            yield max(number * PLAN - first, begin), min((number + 1) * PLAN - first, end), None if filtered else plan

    def _gate(self, airing: Airing, tuning: Tuning) -> Gate:
        def build() -> Gate:
            rays = self._scene.static(airing.radio, tuning.radio, [airing.start])
            shortest, longest = (float(rays.delay.min()), float(rays.delay.max())) if rays.delay.size else (0.0, 0.0)
            ticks = [tuning.oscillator.next_tick(at.after(shortest), tuning.rate) if at else 1 << 62 for at in (airing.start, airing.stop)]
            return Gate(ticks[0], ticks[1], longest)

        return self._kept(("gate", airing.number, airing.stop, *_tuned(tuning)), build, lambda _: 64)

    def _stretches(self, airing: Airing, tuning: Tuning, window: Window) -> list[tuple[int, int, Still | None]]:
        """Runs of blocks (begin, end, key) with one table each; key None where an antenna moves. They change at stations."""

        def age(at: Instant) -> int:
            return math.floor(max(0.0, at.since(airing.start)) / AGE_S)

        pair, blocks = (airing.radio, tuning.radio), window.whole.size - 1
        first, last = window.station(0), window.station(-1)
        if not self._scene.moves_within(*pair, first, last) and age(first) == age(last):
            return [(0, blocks, (self._scene.place(*pair, first), age(first)))]
        runs: list[tuple[int, int, Still | None]] = []
        for number, (before, after) in enumerate(itertools.pairwise(window.stations)):
            key = None if self._scene.moves_within(*pair, before, after) else (self._scene.place(*pair, before), age(before))
            begin, end = (min(max(0, n * window.stride - window.offset), blocks) for n in (number, number + 1))
            if runs and runs[-1][2] == key:
                runs[-1] = (runs[-1][0], end, key)
            else:
                runs.append((begin, end, key))
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
            return tabulated(heard, bins, airing, tuning, common)

        return self._kept(("response", airing.number, *_tuned(tuning), key), build, lambda table: table.planes.nbytes)

    def _signals(self, airing: Airing, tuning: Tuning) -> Table:
        """Signals of each transmit element, as the receiver's filter passes them."""

        def build() -> Table:
            spectra, bins = self._spectra(airing, tuning)
            return tabulated(spectra, bins, airing, tuning, 0.0)

        return self._kept(("signals", airing.sent, *_tuned(tuning)[1:]), build, lambda table: table.planes.nbytes)

    def _spectra(self, airing: Airing, tuning: Tuning) -> tuple[NDArray[np.complex64], NDArray[np.int64]]:
        key = ("spectra", airing.sent, *_tuned(tuning)[1:])
        return self._kept(key, lambda: element_spectra(airing, tuning), lambda found: found[0].nbytes + found[1].nbytes)

    @staticmethod
    def _unsteadiness(tuning: Tuning, window: Window) -> NDArray[np.float32]:
        """Phase noise of a receiver, (sample,) rad."""
        out = np.empty((window.whole.size - 1) * BLOCK, np.float32)
        track, first = window.track(tuning.phase_noise)
        sweep.wobble(window.whole, window.fraction, first, track, out)
        return out

    def _kept(self, key: Hashable, build: Callable[[], Kept], size: Callable[[Kept], int]) -> Kept:
        with self._lock:
            if key in self._shelf:
                self._shelf.move_to_end(key)
                found: Kept = self._shelf[key][0]
                return found
        made = build()  # two threads may build the same; it is the same
        with self._lock:
            self._filled += size(made) - self._shelf.pop(key, (None, 0))[1]
            self._shelf[key] = made, size(made)
            while len(self._shelf) > 1 and self._filled > self._room:
                self._filled -= self._shelf.popitem(last=False)[1][1]
        return made


def _factored(rays: Rays, plan: NDArray[np.int64], relation: Floats, airing: Airing, table: Table) -> tuple[Any, ...]:
    """Sides of bundles, as `sweep.bundles` reads them."""
    ends, _, antennas, elements = rays.delay.shape
    size = ends, plan.shape[0]
    common, early, late = np.empty(size), np.zeros((*size, elements)), np.zeros((*size, antennas))
    leave, arrive = np.zeros((*size, elements), complex), np.zeros((*size, antennas), complex)
    bundle.factor(
        np.ascontiguousarray(rays.delay), np.ascontiguousarray(rays.gain, dtype=complex), plan, relation,
        airing.carrier - table.spin * airing.rate, airing.rate * table.scale, common, leave, early, arrive, late,
    )  # fmt: skip
    return common, leave, early, arrive, late


def _unfolded(rays: Rays, relation: Floats, airing: Airing, table: Table) -> tuple[Any, ...]:
    """Rays one by one, as `sweep.responses` reads them."""
    common, late, turned = np.empty(rays.delay.shape[0]), np.empty(rays.delay.shape), np.empty(rays.delay.shape, complex)
    bundle.unfold(
        np.ascontiguousarray(rays.delay), np.ascontiguousarray(rays.gain, dtype=complex), relation,
        airing.carrier - table.spin * airing.rate, airing.rate * table.scale, common, late, turned,
    )  # fmt: skip
    return common, late, turned


def _tuned(tuning: Tuning) -> tuple[Hashable, ...]:
    return tuning.radio, tuning.carrier, tuning.rate
