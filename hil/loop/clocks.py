"""The clocks of a trial: how far every transmitter is from every receiver, from one carrier that was heard to the next."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hil.estimate import tracking
from hil.estimate.tracking import Reading, Track, Verdict
from hil.knowledge import Estimate
from hil.loop.lab import Lab

CLASS = "tcxo"  # what a clock is taken for until its own readings tell otherwise


class Clocks:
    """A track per (access point, radio): rates alone, as a capture that may begin anywhere tells no offset."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        ends = tracking.CLASSES[CLASS] + tracking.CLASSES[CLASS]
        self._noise = replace(ends, fast=ends.white / tracking.FRAME_S)  # a frame is short: it reads more than what lasts
        self._tracks: dict[tuple[str, str], Track] = {}
        self._coarse: dict[tuple[str, str], float] = {}

    def near(self, array: str, radio: str) -> float | None:
        """Carrier offset in Hz where the next search begins; None for a pair that has not been heard."""
        track = self._tracks.get((array, radio))
        if track is None:
            return self._coarse.get((array, radio))
        return -float(track.value[1]) * self.lab.scenario.signal.carrier_hz

    def acquired(self, array: str, radio: str, cfo_hz: float) -> None:
        """A carrier found but not refined yet: within 1 kHz, which makes the next search short already."""
        self._coarse.setdefault((array, radio), cfo_hz)

    def heard(self, array: str, radio: str, cfo: Estimate) -> Estimate | None:
        """Take a refined carrier offset in; what the track had expected to read, in Hz, None where there was nothing to expect it from.

        A reading that the track cannot believe is said in `assumptions`; two running begin it anew.
        """
        carrier_hz = self.lab.scenario.signal.carrier_hz
        self._coarse[array, radio] = float(cfo.value[0])
        if cfo.epoch is None or not cfo.above_threshold:
            return None
        reading, track = Reading.of_carrier(cfo, carrier_hz), self._tracks.get((array, radio))
        if track is None or reading.at.since(track.at) < 0.0:
            self._tracks.setdefault((array, radio), Track.begin(reading, self._noise))
            return None
        value, covariance = track.after(reading.at.since(track.at))
        expected = (float(covariance[1, 1]) + float(reading.error(track.noise)[0, 0])) * carrier_hz**2
        new = self._tracks[array, radio] = track.updated(reading)
        said = () if new.verdict is Verdict.TAKEN else (f"the reading that came was {new.verdict}",)
        late = float(cfo.value[0]) + float(value[1]) * carrier_hz
        return replace(
            cfo, what="clock track", value=-value[1:] * carrier_hz, covariance=np.array([[expected]]), bound=None, assumptions=said,
            above_threshold=new.verdict is Verdict.TAKEN, residual_test=late**2 / expected,
        )  # fmt: skip
