"""The adversary finds by trying what the formula says, and breaks promises that should break."""

import ast
import inspect
import time
from dataclasses import replace

import numpy as np
import pytest
from maxmin_scene import room

import hil.adversary.maxmin
from hil.adversary import verdict
from hil.systems.maxmin.worst_case import known_field, worst_errors, worst_sinr


def case(seed, *, radius=1.0, blocks=6):
    """A scene, random precoders within the caps and the closed-form worst case (user, block) in dB."""
    scene = room(seed, blocks=blocks)
    rng = np.random.default_rng(seed + 100)
    positions = scene.problem.random_positions(1)[0]
    problem = scene.problem.at(positions)
    w = problem.scale(rng.standard_normal((2, blocks, 4, 1)) + 1j * rng.standard_normal((2, blocks, 4, 1)))
    field = known_field(problem, scene.knowledge(positions, radius))
    return scene, problem, w, field


def judge(scene, problem, w, field, promised, **rest):
    return verdict(w, scene.channel(problem.positions), field.radius, scene.noise, problem.block_of_tone, problem.serving, promised,
                   np.random.default_rng(1), **rest)  # fmt: skip


@pytest.mark.parametrize("radius", [0.3, 1.0, 4.0, 30.0])
def test_reaches_the_closed_form_and_never_passes_it(radius):
    for seed in range(4):
        scene, problem, w, field = case(seed, radius=radius)
        exact = 10 * np.log10(worst_sinr(field, w[..., 0]))
        found = judge(scene, problem, w, field, None)
        assert np.all(found.worst_each >= exact - 1e-6)
        assert np.all(found.worst_each <= exact + 0.01)
        assert found.worst_db == pytest.approx(exact.min(), abs=0.01)


def test_random_members_alone_never_pass_the_closed_form():
    scene, problem, w, field = case(7, radius=2.0, blocks=2)
    rng = np.random.default_rng(3)
    e = rng.standard_normal((4000, 2, 2, 2, 4)) + 1j * rng.standard_normal((4000, 2, 2, 2, 4))
    e *= (field.radius * rng.uniform(0, 1, (4000, 2, 2, 2)) ** (1 / 8) / np.linalg.norm(e, axis=-1))[..., None]
    h = scene.channel(problem.positions).reshape(2, 2, 2, 12, 4)
    received = np.abs(np.einsum("maubkn,abn->maubk", h + e[..., None, :], w[..., 0])) ** 2
    power = received.mean(-1)
    sinr = np.stack([power[:, u, u] / (power[:, 1 - u, u] + scene.noise[u]) for u in range(2)], 1)
    assert np.all(sinr >= worst_sinr(field, w[..., 0]) * (1 - 1e-9))


def test_the_stated_worst_errors_reach_the_worst_case():
    _, _, w, field = case(2, radius=1.5)
    e = worst_errors(field, w[..., 0])
    assert np.all(np.linalg.norm(e, axis=-1) <= field.radius * (1 + 1e-12))
    moved = replace(field, mean=field.mean + e, radius=0.0 * field.radius)
    assert np.allclose(worst_sinr(moved, w[..., 0]), worst_sinr(field, w[..., 0]), rtol=1e-9)


def test_a_promise_at_the_worst_case_stands_and_one_above_it_falls_by_the_difference():
    scene, problem, w, field = case(3)
    exact = float(10 * np.log10(worst_sinr(field, w[..., 0]).min()))
    kept = judge(scene, problem, w, field, exact)
    assert kept.passed and kept.shortfall_db == 0.0
    broken = judge(scene, problem, w, field, exact + 0.5)
    assert not broken.passed and broken.shortfall_db == pytest.approx(0.5, abs=0.01)
    assert judge(scene, problem, w, field, None).passed


def test_zero_radius_is_the_plain_sinr():
    scene, problem, w, field = case(4, radius=0.0)
    assert np.allclose(judge(scene, problem, w, field, None).worst_each, 10 * np.log10(worst_sinr(field.exact(), w[..., 0])), atol=1e-9)


def test_several_streams_of_a_transmitter_are_all_wanted_by_its_user():
    scene, problem, w, field = case(5, radius=1.0, blocks=3)
    split = np.concatenate([w * 0.6, w * 0.8], -1)  # same covariance as one stream
    one, two = judge(scene, problem, w, field, None), judge(scene, problem, split, field, None)
    assert np.allclose(one.worst_each, two.worst_each, atol=0.01)


def test_full_size_takes_under_half_a_second_of_one_core():
    scene, problem, w, field = case(6, blocks=32)
    judge(scene, problem, w, field, None)
    start = time.process_time()
    judge(scene, problem, w, field, None)
    assert time.process_time() - start < 0.5


def test_shares_no_code_with_designers():
    tree = ast.parse(inspect.getsource(hil.adversary.maxmin))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    imported = {getattr(node, "module", None) or node.names[0].name for node in imports}
    assert imported == {"__future__", "dataclasses", "numpy", "numpy.typing"}


@pytest.mark.parametrize("radius", [0.3, 4.0])
def test_the_chains_own_error_is_judged_too(radius):
    """The promise with the residual stands before the adversary, by no more than the residual of the noise itself."""
    scene, problem, w, field = case(3, radius=radius)
    problem = replace(problem, residual=1e-2)
    promised = 10 * np.log10(problem.with_residual(worst_sinr(field, w[..., 0])))
    found = judge(scene, problem, w, field, float(promised.min()), residual=1e-2)
    assert found.passed and np.all(found.worst_each >= promised - 1e-6) and np.all(found.worst_each <= promised + 0.06)
    assert not judge(scene, problem, w, field, float(promised.min()) + 0.2, residual=1e-2).passed
