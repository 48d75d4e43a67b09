"""The target's benchmark, sampled: its rows are judged with their 99 % intervals, and the textbook's method stands behind the fix."""

import numpy as np
import pytest

from benchmarks.estimator_cases import target as case


def sampled(monkeypatch, trials, *snr_db):
    monkeypatch.setattr(case, "SNR_DB", snr_db)
    return {row.what: row for row in case.run(trials, np.random.default_rng(5))}


def test_a_few_fixes_meet_the_bars(monkeypatch):
    rows = sampled(monkeypatch, 20, 20.0)
    assert all(row.ok for row in rows.values()), [row for row in rows.values() if not row.ok]
    assert rows["20 dB: RMSE over bound, outliers apart"].high < 2.0 and rows["20 dB: flagged"].value < 0.3
    (naive,) = (row.value for what, row in rows.items() if "nothing removed" in what)
    assert naive > 3.0 * rows["20 dB: bound, m"].value


@pytest.mark.soak
def test_fixes_meet_the_bars(monkeypatch):
    rows = sampled(monkeypatch, 2000, 11.0, 14.0, 17.0, 20.0, 25.0, 30.0)
    assert all(row.ok for row in rows.values()), [row for row in rows.values() if not row.ok]
