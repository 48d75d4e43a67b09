"""Determinism: the same window asked for out of order, cut anew and in a world built twice, bit for bit."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from sim_backend.sounder.cable import Cable, lay, window
from sim_backend.sounder.line import Line
from sim_backend.sounder.waveform import flat, tones


def determinism(emulated: Mapping[str, Any], where: str, count: int = 20_000) -> list[Line]:
    """How many samples differ; none may."""
    first, second = _heard(emulated, count), _heard(emulated, count)
    cable, samples = first
    tuning, tick = window(cable.world, "b", count)
    edges = [0, 1, 777, 1024, 5000, 5001, count]
    pieces = list(itertools.pairwise(edges))
    order = [pieces[i] for i in (3, 0, 5, 1, 4, 2)]
    cut = np.empty_like(samples)
    cable.world.advance(0.5)
    for low, high in order:
        cut[:, low:high] = cable.world.samples(tuning, tick + low, high - low)[0]
    again = cable.world.samples(tuning, tick, count)[0]
    return [
        Line("determinism, out of order and re-cut", where, 0.0, float(np.count_nonzero(cut != samples)), 0.5, "samples"),
        Line("determinism, asked twice", where, 0.0, float(np.count_nonzero(again != samples)), 0.5, "samples"),
        Line("determinism, built twice", where, 0.0, float(np.count_nonzero(second[1] != samples)), 0.5, "samples"),
    ]


def _heard(emulated: Mapping[str, Any], count: int) -> tuple[Cable, np.ndarray]:
    cable = lay(emulated, (4.0, 7.0), receive=2)
    waveform = tones(flat([k for k in range(-96, 97) if k], 300, 0.5), 300)
    cable.send(np.stack([waveform, np.roll(waveform, 111)]))
    return cable, cable.listen(count).capture.samples
