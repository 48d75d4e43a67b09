"""What cables give several radios in common: a frequency reference, and a trigger that starts what they send.

Radios on one reference have one x(t); each has synthesisers, phase noise and a clock reading of its own, and what feeds its synthesisers
drifts by a slow random walk of phase (`[emulated] oscillator.site_drift_rad`, between two of them).

A trigger gives edges every millisecond, by the common reference where there is one. A radio starts a version at its first own tick after
an edge and the delay of its cable, fixed for its life; those that start the same version later do so in step, as if at the first one's edge.
So what they send together keeps its distance in time from one load to the next: to a fraction of a sample with a common reference, within
one sample of each clock's own without. The phases of their synthesisers are as random as ever.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hil.clock import Instant
from sim_backend import oscillator, seeds
from sim_backend.oscillator import Oscillator

EDGES = 1000  # a second
SKEW_S = 5e-9  # cables differ by up to so much
NOTHING = Oscillator()


class Trigger:
    """Edges that several radios start by. clock: what the edges are counted by, without offset. skew: seconds, of each radio's cable."""

    def __init__(self, clock: Oscillator, skew: Mapping[str, float]) -> None:
        self._clock, self._skew = clock, dict(skew)
        self._begun: dict[str, tuple[int, int]] = {}  # radio -> version it sends, and the edge that began
        self._lock = threading.Lock()

    def start(self, radio: str, version: int, now: Instant) -> Instant:
        """When a radio begins a version: after the next edge, or after that of another radio that sends it already."""
        with self._lock:
            edges = [edge for other, (sends, edge) in self._begun.items() if sends == version and other != radio]
            local = self._clock.local(now)
            edge = max(edges) if edges else local.whole * EDGES + math.floor(local.fraction * EDGES) + 1
            self._begun[radio] = version, edge
        second, rest = divmod(edge, EDGES)
        return self._clock.true(Instant(second, rest / EDGES)).after(self._skew[radio])

    def release(self, radio: str) -> None:
        """It sends nothing any more."""
        with self._lock:
            self._begun.pop(radio, None)


def join(
    groups: Sequence[Mapping[str, Any]], drawn: Mapping[str, Oscillator], drift: float, carrier_hz: float, seed: int
) -> tuple[dict[str, Oscillator], dict[str, Trigger]]:
    """Oscillators and triggers by radio, of radios in groups {radios, reference, trigger}; the others keep what was drawn for them.

    drift: radians rms after a second between two radios on one reference, at the carrier. ValueError for a radio that is not there.
    """
    oscillators, triggers = dict(drawn), dict[str, Trigger]()
    for group in groups:
        if unknown := [name for name in group["radios"] if name not in drawn]:
            raise ValueError(f"shared: found {unknown[0]}; allowed {' | '.join(drawn)}")
        common = replace(drawn[group["radios"][0]], offset=0.0)
        for name in group["radios"] if group.get("reference") else ():
            oscillators[name] = replace(common, offset=drawn[name].offset, lines=_drifting(common, name, drift, carrier_hz, seed))
        if group.get("trigger"):
            skew = {name: seeds.uniform(-SKEW_S, SKEW_S, seed, name, "trigger") for name in group["radios"]}
            trigger = Trigger(common if group.get("reference") else NOTHING, skew)
            triggers |= {name: trigger for name in group["radios"]}
    return oscillators, triggers


def _drifting(common: Oscillator, radio: str, drift: float, carrier_hz: float, seed: int) -> np.ndarray:
    """Lines of the common oscillator and of what one radio adds: each has half the variance of the drift between two."""
    if drift == 0.0:
        return common.lines
    walk = oscillator.random_walk(drift / math.sqrt(2.0) / (2.0 * math.pi * carrier_hz), seeds.generator(seed, radio, "site drift"))
    return np.concatenate([common.lines, walk])
