"""When a trial moves its elements: only for a promise that is worth it, on paths that can be trusted, and not twice for the same reasons."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from hil.knowledge import Design
from hil.loop.trial import Trial

HERE, THERE, BEST, SPREAD = (np.full((2, 4), value) for value in (0.0, 0.1, 0.2, 0.3))


def trial(*, standing=None, optimism=0.0, trusted=True, best=None, promised=20.0, stop_change_db=0.1) -> Trial:
    """A trial that has come to the question, with a designer whose best positions promise `promised` dB on predicted channels."""
    made = object.__new__(Trial)
    said = []
    made.lab = SimpleNamespace(
        here=lambda: HERE.copy(), enter=lambda *_: None, event=lambda kind, **fields: said.append((kind, fields)), round=2,
        scenario=SimpleNamespace(rounds=SimpleNamespace(stop_change_db=stop_change_db)),
        run=SimpleNamespace(design=lambda *_, **__: ("designs/x.npz", "")),
    )  # fmt: skip
    made.problem = SimpleNamespace(spread=SPREAD)
    made._standing, made._optimism, made._best, made._searched, made._expected = standing, optimism, best, None, None
    made._paths = {(0, 0): SimpleNamespace(above_threshold=trusted)}
    design = Design(np.zeros((2, 1, 4, 1)), THERE, promised=promised)
    made.know = lambda channel: None
    made._design = lambda *_: design
    made.said = said
    return made


class Free:
    name = "robust"

    def positions(self, problem):
        return None


class Layout(Free):
    def positions(self, problem):
        return SPREAD


def test_a_designer_with_a_layout_of_its_own_goes_there():
    assert np.array_equal(trial()._goal(Layout()), SPREAD)


def test_the_first_design_of_positions_is_followed():
    assert np.array_equal(trial()._goal(Free()), THERE)


@pytest.mark.parametrize(("promised", "optimism", "goal"), [(20.09, 0.0, HERE), (20.11, 0.0, THERE), (20.4, 0.35, HERE), (20.5, 0.35, THERE)])
def test_a_move_must_promise_more_than_staying_and_than_moves_have_kept(promised, optimism, goal):
    asked = trial(standing=20.0, optimism=optimism, promised=promised)
    assert np.array_equal(asked._goal(Free()), goal)
    assert asked._expected == (promised if goal is THERE else None)


def test_nothing_is_searched_again_before_something_was_learnt():
    asked = trial(standing=20.0, promised=25.0)
    assert np.array_equal(asked._goal(Free()), THERE) and np.array_equal(asked._goal(Free()), HERE)
    asked._paths = dict(asked._paths)
    assert np.array_equal(asked._goal(Free()), THERE)


def test_no_position_is_designed_on_paths_that_do_not_predict_their_own_visits():
    assert np.array_equal(trial(trusted=False)._goal(Free()), SPREAD)
    asked = trial(trusted=False, best=(19.0, BEST))
    assert np.array_equal(asked._goal(Free()), BEST)
    assert [fields["id"] for kind, fields in asked.said if kind == "warned"] == ["paths-untrusted"]
