"""Block-level designs: fixed numbers, promises kept, bad input answered."""

from __future__ import annotations

import numpy as np
import pytest

from hil.systems.multicell import worst_case
from hil.systems.multicell.blp import design
from hil.systems.multicell.draws import golden
from hil.systems.multicell.level import gamma_max
from hil.units import to_db


@pytest.mark.parametrize("mode,csi_set,levels", [
    ("comp", "stacked", (23.605, 23.417, 16.996)), ("comp", "links", (23.605, 23.429, 17.541)), ("cbf", "links", (18.762, 18.500, 14.131)),
])  # fmt: skip
def test_golden_largest_targets(mode, csi_set, levels):
    for delta, level in zip((0.0, 0.01, 0.1), levels):
        assert to_db(gamma_max(golden(delta, csi_set), mode)) == pytest.approx(level, abs=0.01)


@pytest.mark.parametrize("mode,asked_db,t", [("comp", 5, 567), ("comp", 10, 494), ("cbf", 5, 326), ("cbf", 10, 194)])
def test_golden_designs(mode, asked_db, t):
    problem, asked = golden(), 10 ** (asked_db / 10)
    made = design(problem, mode, asked)
    assert made.status == "solved" and made.t.min() >= t
    assert worst_case.sinr(problem, mode, made.waveform).min() >= asked
    assert np.all(problem.spent(made.waveform, "blp") <= problem.power * (1 + 1e-9))
    assert np.all(np.diff(made.history) >= -1e-6 * made.history[0])
