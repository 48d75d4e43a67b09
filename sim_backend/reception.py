"""What a radio's host gets for a window of its ticks: settings of their time, automatic gain, transients, losses and faults.

A function of the history alone: the radio writes down from which tick it was tuned how, and any window can be asked for again.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hil.clock import Instant
from hil.device import Capability
from sim_backend import agc, reference, ring, seeds, symptoms
from sim_backend.history import Tuning
from sim_backend.kernels import BLOCK
from sim_backend.oscillator import Oscillator

if TYPE_CHECKING:
    from sim_backend.world import World

PIPELINE = 28  # samples from the antenna port to the host's buffer, at any rate
UNLOCKED_S, UNLOCKED_NOISE = 300e-6, 10.0  # after a retune, and by how much its phase noise is larger
TRANSIENT_S, TRANSIENT_STEPS = 20e-6, 4  # in which a new gain comes about
MEMORY = 64  # tunings remembered
LO_KINDS = ("lo-phase-jump", *reference.KINDS)

Run = tuple[Tuning, int, int]  # a tuning, the first tick under it, samples


@dataclass(frozen=True, slots=True)
class Tuned:
    """From `tick` on a receiver is tuned like this, and its synthesiser since `retuned`."""

    tick: int
    retuned: Instant
    tuning: Tuning
    mode: str = "manual"


@dataclass(frozen=True, slots=True)
class Taken:
    """samples: (channel, sample) fractions of full scale. clipped: fraction at the rails. end: tick behind the last. gain_db: then."""

    samples: NDArray[np.complex64]
    clipped: float
    end: int
    slipped: bool
    gain_db: tuple[float, ...]


def jumps(world: World, name: str, after: Instant, until: Instant) -> float:
    """Cycles by which a radio's synthesisers jumped in (after, until]."""
    return float(sum(fault["cycles"] for fault in world.faults.begun(name, "lo-phase-jump", after, until)))


class Receiver:
    """One radio's receive side. clock: the oscillator in force at an instant, and cycles of its phase per hertz of carrier."""

    def __init__(
        self, world: World, name: str, capability: Capability, clock: Callable[[Instant], tuple[Oscillator, float]]
    ) -> None:
        self._world, self._name, self._capability, self._clock = world, name, capability, clock
        self._book: list[Tuned] = []

    def tune(self, tuned: Tuned, *, anew: bool) -> None:
        """Write a tuning down. anew: ticks count at another rate from now on, so nothing before can be asked for."""
        earlier = [] if anew else [entry for entry in self._book if entry.tick < tuned.tick][-MEMORY:]
        self._book = [*earlier, tuned]  # at once: a window may be being read

    def slips(self, first: int, samples: int, rate: int) -> list[ring.Slip]:
        """Losses and repeats that may befall `samples` from a tick."""
        faults, found = self._world.faults, []
        for kind, lost in (("lost-block", True), ("repeated-block", False)):
            for fault in faults.all(self._name, kind):
                key = seeds.key(self._world.seed, self._name, kind, fault.at_s)
                low, high = self._ticks(fault.begins, rate), self._ticks(fault.ends, rate)
                # what is lost makes the window longer; twice its length is more than enough at any rate worth the name
                begin, end = max(first, low), min(first + 2 * samples + ring.CELL, high)
                if begin < end:
                    found += ring.slips(key, fault["rate_hz"] / rate, int(fault["samples"]), lost, begin, end)
        return sorted(found)

    def pieces(self, first: int, samples: int, rate: int) -> list[tuple[int, int]]:
        """Runs (first tick, samples) that the host gets for `samples` from a tick on."""
        return ring.pieces(first, samples, self.slips(first, samples, rate))

    def take(self, first: int, samples: int, rate: int, channels: Sequence[int] | None = None) -> Taken:
        """`samples` from a tick on. channels: those that matter, all by default; the others may be silent."""
        if self._world.faults.all(self._name, *symptoms.AT_CODES):
            channels = None  # which may swap them
        pieces = self.pieces(first, samples, rate)
        runs = [run for at, count in pieces for run in self._runs(at, count)]
        parts, clipped = [], 0.0
        for tuning, at, count in runs:
            self._world.windows.append((tuning, at - PIPELINE, count))
            heard, held = self._world.samples(tuning, at - PIPELINE, count, channels)
            parts.append(symptoms.of_codes(self._world.faults, self._capability.bits, tuning, at - PIPELINE, heard))
            clipped += held * count
        end = pieces[-1][0] + pieces[-1][1]
        whole = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
        return Taken(whole, clipped / samples, end, pieces != [(first, samples)], runs[-1][0].gain_db)

    # ------------------------------------------------------------------------------------------------------------------------------

    def _ticks(self, at: Instant | None, rate: int) -> int:
        return 1 << 62 if at is None else self._clock(at)[0].next_tick(at, rate)

    def _runs(self, first: int, count: int) -> list[Run]:
        """The window cut where the tuning changes."""
        out: list[Run] = []
        marks = self._marks(first, first + count)
        for (begin, tuned, tuning), end in zip(marks, [mark[0] for mark in marks[1:]] + [first + count]):
            begin, end = max(begin, first), min(end, first + count)  # what a change brings about may come after the window
            if begin < end:
                run = self._present(tuned, tuning, begin), begin, end - begin
                out += [run] if tuned.mode == "manual" else self._automatic(agc.LAWS[tuned.mode], *run)
        return out

    def _marks(self, first: int, end: int) -> list[tuple[int, Tuned, Tuning]]:
        """(tick, entry, tuning but for what depends on the instant) in order; the first at or before `first`."""
        at = max(0, bisect.bisect_right([entry.tick for entry in self._book], first) - 1)
        marks: list[tuple[int, Tuned, Tuning]] = []
        for i, entry in enumerate(self._book[at:], start=at):
            if entry.tick >= end and marks:
                break
            before = self._book[i - 1].tuning if i else None
            marks = [mark for mark in marks if mark[0] < entry.tick]
            marks += [(entry.tick + late, entry, tuning) for late, tuning in _settling(before, entry.tuning)]
        if not self._world.faults.all(self._name, *LO_KINDS):
            return marks
        rate = marks[0][2].rate
        begin, until = (marks[0][2].oscillator.tick(tick, rate) for tick in (first - PIPELINE, end))
        for edge in self._world.faults.edges(self._name, LO_KINDS, begin, until):
            tick = self._ticks(edge, rate) + PIPELINE
            k = bisect.bisect_right([mark[0] for mark in marks], tick)
            marks.insert(k, (tick, *marks[max(0, k - 1)][1:]))
        return marks

    def _present(self, tuned: Tuned, tuning: Tuning, tick: int) -> Tuning:
        """The tuning with the oscillator and the phase of a tick's instant."""
        if not self._world.faults.all(self._name, *LO_KINDS):
            return tuning
        at = tuning.oscillator.tick(tick - PIPELINE, tuning.rate).after(1e-6)  # a step of the clock may leave a tick just before it
        oscillator, per_hertz = self._clock(at)
        turn = tuning.carrier * per_hertz + jumps(self._world, self._name, tuned.retuned, at)
        return replace(tuning, oscillator=oscillator, phase=(tuning.phase + turn) % 1.0)

    def _automatic(self, law: agc.Law, tuning: Tuning, first: int, count: int) -> list[Run]:
        can = self._capability
        cell = max(1, round(law.cell * tuning.rate))
        lead = -(-round(law.memory * tuning.rate) // cell)
        low, high = first // cell - lead, -(-(first + count) // cell)
        peaks = self._peaks(replace(tuning, gain_db=(agc_reference(can),) * len(tuning.gain_db)), low, high, cell)
        each = [
            agc.gains(
                law, agc.settled(law, float(row[:lead].max()), can.receive_full_scale_dbm, can.receive_gain_db),
                row[lead:].tolist(), can.receive_full_scale_dbm, can.receive_gain_db,
            )
            for row in peaks
        ]  # fmt: skip
        runs: list[Run] = []
        for k, gain in enumerate(zip(*each)):
            begin, end = max(first, (low + lead + k) * cell), min(first + count, (low + lead + k + 1) * cell)
            if runs and runs[-1][0].gain_db == gain:
                runs[-1] = (runs[-1][0], runs[-1][1], end - runs[-1][1])
            else:
                present = replace(tuning, gain_db=gain)
                starts = [(0, present)] if not runs else _settling(runs[-1][0], present)
                for (late, now), later in itertools.zip_longest(starts, [s[0] for s in starts[1:]]):
                    a, b = begin + late, end if later is None else min(begin + later, end)
                    if a < b:
                        runs.append((now, a, b - a))
        return runs

    def _peaks(self, tuning: Tuning, low: int, high: int, cell: int) -> NDArray[np.float64]:
        """(channel, cell) dBm at the port of the strongest sample in cells [low, high)."""
        first, last = low * cell - PIPELINE, high * cell - PIPELINE
        begin = first - first % BLOCK
        re, im = self._world.port(tuning, begin, -(-(last - begin) // BLOCK), self._world.airings())
        power = (np.square(re) + np.square(im))[:, first - begin : last - begin].reshape(len(re), -1, cell).max(axis=2)
        return 10.0 * np.log10(np.maximum(power.astype(float), 1e-30)) + 30.0


def agc_reference(capability: Capability) -> float:
    """The gain at which levels are looked at: one at which the front end's own noise rules."""
    return min(40.0, capability.receive_gain_db[1])


def _settling(before: Tuning | None, after: Tuning) -> list[tuple[int, Tuning]]:
    """(ticks late, tuning) by which a new tuning comes about: a retune through loud phase noise, a gain in a few steps."""
    if before is None or (before.carrier, before.phase) != (after.carrier, after.phase):
        key, rms = after.phase_noise
        return [(0, replace(after, phase_noise=(key, UNLOCKED_NOISE * rms))), (math.ceil(UNLOCKED_S * after.rate), after)]
    if before.gain_db == after.gain_db:
        return [(0, after)]
    steps = []
    for k in range(TRANSIENT_STEPS):
        share = (k + 0.5) / TRANSIENT_STEPS
        gain = tuple(a + share * (b - a) for a, b in zip(before.gain_db, after.gain_db))
        steps.append((math.ceil(TRANSIENT_S * after.rate * k / TRANSIENT_STEPS), replace(after, gain_db=gain)))
    return [*steps, (math.ceil(TRANSIENT_S * after.rate), after)]
