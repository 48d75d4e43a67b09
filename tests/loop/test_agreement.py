"""The emulator, measured through radios and estimators, agrees with y = H x: two random benches of `benchmarks.agreement`."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.agreement import suited


@pytest.fixture(scope="module")
def scenes():
    return [suited(seed, {"target__floor_dbm": -60.0}) for seed in (101, 102)]


def test_measured_agrees_with_the_true_parameters(scenes):
    error = np.concatenate([np.abs(one.measured - one.true).ravel() for one in scenes])
    assert np.median(error) <= 0.25 and np.quantile(error, 0.95) <= 0.5


def test_measured_agrees_with_the_sounded_channels(scenes):
    error = np.concatenate([np.abs(one.measured - one.estimated).ravel() for one in scenes])
    assert np.median(error) <= 0.5 and np.quantile(error, 0.95) <= 1.0


def test_users_and_blocks_are_told_apart(scenes):
    """Compared with another block or user the same numbers do not agree: the test can fail."""
    for one in scenes:
        assert np.median(np.abs(one.measured - one.true[::-1, ::-1])) > 3.0 * np.median(np.abs(one.measured - one.true))
