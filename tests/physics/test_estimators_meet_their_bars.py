"""The benchmark's cases of clocks, phase, amplifier and quality, 2000 trials each, held to their bars."""

from __future__ import annotations

import importlib

import numpy as np
import pytest


@pytest.mark.soak
@pytest.mark.parametrize("name", ["clocks", "phase", "amplifier", "quality"])
def test_every_row_meets_its_bar(name):
    rows = importlib.import_module(f"benchmarks.estimator_cases.{name}").run(2000, np.random.default_rng([1, *name.encode()]))
    missed = [f"{row.what}: {row.value:.4g} ({row.low:.4g} .. {row.high:.4g}), bar {row.bar}" for row in rows if not row.ok]
    assert len(rows) > 10 and not missed, "\n".join(missed)
