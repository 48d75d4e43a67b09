"""A program on the air as faults make it: pieces of transmission, each steady, one behind the other without a seam."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from hil.clock import Instant
from hil.units import from_db
from sim_backend import reference
from sim_backend.faults import Faults
from sim_backend.history import Airing
from sim_backend.oscillator import Oscillator

PIPELINE = 36  # samples from the buffer to the antenna port, at any rate
LATEST = Instant(1 << 40, 0.0)
ENDS = ("power-cycle", "node-reboot")
CHANGES = ("amplifier-gain-drop", "amplifier-death", "lo-phase-jump", *reference.KINDS)


def pieces(airing: Airing, faults: Faults, clock: Callable[[Instant], tuple[Oscillator, float]], retuned: Instant) -> list[Airing]:
    """The transmission cut where a fault begins or ends, to its end by a loss of power.

    clock: the oscillator in force at an instant, and cycles of its phase per hertz. retuned: since when the synthesiser runs.
    """
    name = airing.radio
    ended = [fault.begins for fault in faults.all(name, *ENDS) if airing.start < fault.begins]
    stop = min(ended) if ended else None
    edges = [airing.start, *faults.edges(name, CHANGES, airing.start, stop or LATEST)]
    out = []
    for begin, end in zip(edges, [*edges[1:], stop]):
        oscillator, per_hertz = clock(begin.after(1e-9))
        jumped = sum(fault["cycles"] for fault in faults.begun(name, "lo-phase-jump", retuned, begin))
        amplitude = airing.amplitude.copy()
        for kind in ("amplifier-gain-drop", "amplifier-death"):
            fault = faults.active(name, kind, begin)
            if fault is not None:
                left = 0.0 if kind == "amplifier-death" else math.sqrt(from_db(-fault["loss_db"]))
                amplitude[airing.channels == int(fault["channel"])] *= left
        if len(edges) == 1 and not jumped and not per_hertz and np.array_equal(amplitude, airing.amplitude):
            airing.stop = stop
            return [airing]
        phase = (airing.phase + jumped + airing.carrier * per_hertz) % 1.0
        out.append(replace(airing, start=begin, stop=end, oscillator=oscillator, phase=phase, amplitude=amplitude))
    return out


def stop(airings: list[Airing], at: Instant) -> None:
    """End them at an instant; those that have not begun never will."""
    for airing in airings:
        if airing.stop is None or at < airing.stop:
            airing.stop = max(airing.start, at)
