"""Where to go while exploring: legal, ordered, anchored, dense enough."""

import itertools

import numpy as np
import pytest

from hil.errors import InputError
from hil.estimate import visits

WAVELENGTH = 0.08565


@pytest.mark.parametrize("count", [4, 5, 6, 7, 8, 10])
@pytest.mark.parametrize("anchor", [0, 3])
def test_a_plan_is_legal_anchored_and_leaves_no_grating_ambiguity(count, anchor):
    low, high, spacing = -3.5 * WAVELENGTH, 4 * WAVELENGTH, WAVELENGTH / 2
    layouts = visits.plan((low, high), spacing, 4, count, WAVELENGTH, anchor=anchor)
    assert layouts.shape == (count, 4)
    assert np.ptp(layouts[:-1, anchor]) == 0.0 and layouts[0, anchor] == (low if anchor == 0 else high)
    assert np.all(np.diff(layouts, axis=1) >= spacing - 1e-12)
    union = np.unique(layouts.round(9))
    assert union[0] == pytest.approx(low) and union[-1] == pytest.approx(high)
    assert union.size == 3 * count - 2
    for first, second in itertools.pairwise(range(4)):  # chains of neighbours can be compared: both have stood at one place
        assert set(layouts[:, first].round(9)) & set(layouts[:, second].round(9))
    assert layouts[-1, abs(anchor - 1)] == layouts[-2, abs(anchor - 1)]  # what ties the visit in which the anchor moves
    gaps = np.diff(union)
    run = best = 0
    for gap in gaps:
        run = run + 1 if gap <= 0.46 * WAVELENGTH else 0
        best = max(best, run)
    assert best >= min(count, 5)  # a run of five or six positions or more at less than half a wavelength
    for a, b in itertools.pairwise(layouts):
        for share in np.linspace(0.0, 1.0, 11):
            assert np.min(np.diff(a + share * (b - a))) >= spacing - 1e-12
    assert np.array_equal(layouts, visits.plan((low, high), spacing, 4, count, WAVELENGTH, anchor=anchor))


def test_short_rails_and_wide_carriages_still_give_legal_plans():
    layouts = visits.plan((0.0, 0.2), 0.06, 4, 6, WAVELENGTH)
    assert np.all(np.diff(layouts, axis=1) >= 0.06 - 1e-9) and layouts.max() <= 0.2 + 1e-9
    assert np.ptp(layouts[:, 0]) == 0.0 and np.ptp(layouts[:, 3]) == pytest.approx(0.02)


def test_impossible_plans_are_refused():
    with pytest.raises(InputError) as caught:
        visits.plan((0.0, 0.1), 0.05, 4, 6, WAVELENGTH)
    assert caught.value.id == "rail-too-short"
    with pytest.raises(InputError):
        visits.plan((0.0, 1.0), 0.05, 4, 6, WAVELENGTH, anchor=1)
    with pytest.raises(InputError):
        visits.plan((0.0, 1.0), 0.05, 1, 6, WAVELENGTH)
