"""Positions: gradients, agreement with the exact metric, legality, repeatability, and gain over fixed layouts."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from maxmin_scene import WAVELENGTH, room

from hil.errors import InputError
from hil.systems.maxmin import Fixed, Nominal, Rail, Robust
from hil.systems.maxmin.placement import Landscape, place, soft_minimum
from hil.systems.maxmin.problem import check_rail
from hil.systems.maxmin.worst_case import known_field, worst_sinr


@pytest.fixture(scope="module")
def landscape():
    scene = room(0, blocks=3, floor_dbm=-10.0)
    return scene, Landscape(scene.problem, scene.knowledge())


def test_worst_case_agrees_with_the_exact_one(landscape):
    """The tones of a block are kept to first order here, exactly there."""
    scene, torch_side = landscape
    rng = np.random.default_rng(2)
    for positions in scene.problem.random_positions(4):
        exact = known_field(scene.problem.at(positions), scene.knowledge(positions))
        w = rng.standard_normal((2, 3, 4)) + 1j * rng.standard_normal((2, 3, 4))
        want = worst_sinr(exact, w * torch_side.unit)
        field = torch_side.field(torch.as_tensor(positions))
        assert np.allclose(worst_sinr(field, torch.as_tensor(w)).numpy(), want, rtol=2e-3)


def test_precoders_keep_caps_and_state_the_target_power(landscape):
    scene, torch_side = landscape
    positions = torch.as_tensor(scene.problem.random_positions(3))
    w, margin = torch_side.precoders(torch_side.field(positions), positions, torch_side.fresh_knobs(3))
    for start in range(3):
        watts = w[start].numpy()[..., None] * torch_side.unit
        hottest = (scene.problem.element_power(watts) / scene.problem.element_power_w).max(-1)
        assert np.allclose(hottest, 1.0)
        sent = scene.problem.target_power(watts, positions[start].numpy(), scene.target)
        assert float(margin[start]) == pytest.approx(np.log(sent / scene.problem.floor_w), abs=1e-9)


def test_gradients_agree_with_central_differences(landscape):
    scene, torch_side = landscape
    rng = np.random.default_rng(1)
    positions = torch.as_tensor(scene.problem.random_positions(1) / WAVELENGTH)
    knobs = {name: knob + 0.3 * torch.as_tensor(rng.standard_normal(knob.shape)) for name, knob in torch_side.fresh_knobs(1).items()}
    inputs = [positions, *knobs.values()]

    def value(*given):
        sinr, margin = torch_side.log_sinr(given[0] * WAVELENGTH, dict(zip(knobs, given[1:])))
        return (soft_minimum(sinr, 4.0) + margin).sum()

    gradients = torch.autograd.grad(value(*[x.requires_grad_() for x in inputs]), inputs)
    for which, gradient in enumerate(gradients):
        for index in np.ndindex(*gradient.shape):
            step = torch.zeros_like(gradient)
            step[index] = 1e-6
            with torch.no_grad():
                ahead, behind = (value(*[x + sign * step if i == which else x for i, x in enumerate(inputs)]) for sign in (1, -1))
            assert float(gradient[index]) == pytest.approx(float(ahead - behind) / 2e-6, rel=1e-4, abs=1e-6)


def test_soft_minimum_lies_between_minimum_and_mean():
    values = torch.tensor([[1.0, 2.0], [3.0, 6.0]], dtype=torch.float64)
    assert 1.0 < float(soft_minimum(values, 5.0)) < 3.0
    assert float(soft_minimum(values, 1000.0)) == pytest.approx(1.0, abs=2e-3)


def test_moving_beats_half_wavelength_and_stays_below_the_loose_bound():
    scene = room(1, blocks=8, floor_dbm=None, steps=120, starts=4)
    moved = Robust()(scene.problem, scene.knowledge())
    scene.problem.check(moved)
    measured = Robust()(scene.problem.at(moved.positions), scene.knowledge(moved.positions))
    fixed = Fixed()(scene.problem, scene.knowledge())
    assert measured.promised > fixed.promised + 0.5
    assert measured.promised <= moved.bound_anywhere
    assert moved.promised == pytest.approx(measured.promised, abs=0.05)  # exact path fits with the sounding's own variance


def test_staying_is_a_candidate():
    """A start that is already good is never given up for a worse layout."""
    scene = room(2, blocks=4, floor_dbm=None, steps=80, starts=4)
    good = Robust()(scene.problem, scene.knowledge())
    lazy = replace(scene.problem, steps=1, starts=2)
    again = Robust()(lazy, replace(scene.knowledge(), positions=good.positions))
    assert again.promised >= good.promised - 1e-6


def test_same_seed_same_design_and_another_seed_another_search():
    runs = [place(s.problem, s.knowledge()) for s in (room(3, blocks=2, steps=15, rng=r) for r in (5, 5, 6))]
    assert np.array_equal(runs[0].positions, runs[1].positions) and np.array_equal(runs[0].promised_db, runs[1].promised_db)
    assert not np.array_equal(runs[0].positions, runs[2].positions)


def test_nominal_places_without_regard_to_the_sets():
    scene = room(4, blocks=2, floor_dbm=None, steps=10, starts=2)
    known = scene.knowledge()
    blurred = replace(known, paths={link: replace(fit, variance=100 * fit.variance) for link, fit in known.paths.items()})

    def fresh(knowledge, designer):
        return designer(replace(scene.problem, rng=np.random.default_rng(0)), knowledge).positions

    assert np.array_equal(fresh(known, Nominal()), fresh(blurred, Nominal()))
    assert not np.array_equal(fresh(known, Robust()), fresh(blurred, Robust()))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), elements=st.integers(2, 5), travel=st.floats(1.0, 4.0), spare=st.floats(0.0, 0.3))
def test_every_layout_is_legal(seed, elements, travel, spare):
    scene = room(seed % 7, blocks=2, elements=elements, floor_dbm=None, steps=6, starts=4)
    span = travel * WAVELENGTH
    gap = (1.0 - spare) * span / (elements - 1)  # rails from full to nearly full
    rails = tuple(replace(rail, travel=(-0.3 * span, 0.7 * span), spacing=gap) for rail in scene.problem.arrays)
    problem = replace(scene.problem, arrays=rails, rng=np.random.default_rng(seed))
    layouts = place(problem, replace(scene.knowledge(), positions=problem.spread))
    for layout in layouts.positions:
        for rail, positions in zip(rails, layout):
            check_rail(rail, positions)


def test_no_trustworthy_paths_are_refused():
    scene = room(0, blocks=2)
    known = scene.knowledge()
    with pytest.raises(InputError, match="no-paths"):
        Robust()(scene.problem, replace(known, paths={}))
    poor = {**known.paths, (1, 0): replace(known.paths[1, 0], above_threshold=False)}
    with pytest.raises(InputError, match="transmitter 1 to user 0"):
        Robust()(scene.problem, replace(known, paths=poor))


def test_one_element_per_rail_works():
    scene = room(5, blocks=2, elements=1, floor_dbm=None, steps=20)
    design = Robust()(scene.problem, scene.knowledge())
    scene.problem.check(design)
    assert isinstance(scene.problem.arrays[0], Rail) and design.promised <= design.bound < design.promised + 0.1
