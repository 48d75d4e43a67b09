"""Exact worst cases of block-level designs: the paper's counterexamples, closed forms, and what trying finds."""

from __future__ import annotations

import ast
import inspect
from dataclasses import replace

import numpy as np
import pytest

import hil.adversary.cells
from hil.adversary.cells import verdict
from hil.errors import InputError
from hil.systems.multicell import worst_case
from hil.systems.multicell.draws import draw

H = np.array([1, 1j, -1, 0.5])
W = np.array([0.3, -0.2j, 0.1, 0.4 + 0.1j])
U = np.array([0.1, 0.3, -0.2, 0.2j])


def regularised(problem, mode):
    """Zero-forcing with a ridge, at full power of the busiest base station."""
    w = np.zeros((problem.stations, problem.antennas, problem.users), complex)
    if mode == "comp":
        h = problem.stacked
        w[:] = np.linalg.solve(h.conj().T @ h + 3 * np.eye(h.shape[1]), h.conj().T).reshape(w.shape)
    else:
        for m, h in enumerate(problem.channel):
            own = problem.cells == m
            w[m][:, own] = np.linalg.solve(h.conj().T @ h + 3 * np.eye(h.shape[1]), h.conj().T)[:, own]
    return w / np.sqrt(problem.spent(w, "blp").max())


def judged(problem, mode, w, seed=0, **options):
    return verdict(
        w, problem.channel, problem.radius, problem.noise, problem.cells, mode, None, np.random.default_rng(seed), csi_set=problem.csi_set, **options
    )  # fmt: skip


def test_counterexamples_to_the_published_extremes():
    a, g = np.outer(W, W.conj()), H.conj()
    assert worst_case.least(a, g, 0.2) == pytest.approx(0.2408105, abs=1e-7)
    assert worst_case.most(a, g, 0.2) == pytest.approx(0.5089895, abs=1e-7)
    b = a + np.outer(U, U.conj())
    assert worst_case.most(b, g, 0.2) == pytest.approx(0.8212235, abs=1e-7)
    published = (g.conj() @ b @ g).real + 0.4 * np.linalg.norm(b @ g) + 0.04 * np.trace(b).real
    assert published == pytest.approx(0.8249212, abs=1e-7)


def test_quadratic_forms_against_projected_gradient():
    rng = np.random.default_rng(1)
    a = rng.standard_normal((5, 6, 6)) + 1j * rng.standard_normal((5, 6, 6))
    a = a + np.swapaxes(a.conj(), 1, 2)
    g = rng.standard_normal((5, 6)) + 1j * rng.standard_normal((5, 6))
    for radius in (0.0, 0.3, 2.0):
        e = rng.standard_normal((200, 5, 6)) + 1j * rng.standard_normal((200, 5, 6))
        for _ in range(400):
            e = e - 0.05 * ((g + e)[..., None, :] @ np.swapaxes(a, 1, 2))[..., 0, :]
            e *= np.minimum(1.0, radius / np.linalg.norm(e, axis=-1))[..., None]
        found = np.sum((g + e).conj() * ((g + e)[..., None, :] @ np.swapaxes(a, 1, 2))[..., 0, :], -1).real.min(0)
        assert worst_case.least(a, g, radius) == pytest.approx(found, rel=1e-9)


def test_hard_cases_have_their_value():
    a = np.diag([-2.0, 1.0, 3.0]).astype(complex)
    assert worst_case.least(a, np.array([0.0, 1.0, 0.0]), 2.0) == pytest.approx(-2 * (4 - 1 / 9) + 4 / 9, rel=1e-12)  # e free along the first
    assert worst_case.least(a, np.zeros(3), 1.5) == pytest.approx(-2 * 2.25, rel=1e-12)
    assert worst_case.least(abs(a), np.array([0.3, 0.2, 0.1]), 1.0) == pytest.approx(0.0, abs=1e-12)  # the zero lies inside
    assert worst_case.least(np.diag([0.0, 1.0]), np.array([5.0, 0.5]), 1.0) == pytest.approx(0.0, abs=1e-12)  # as long as the rest does
    assert worst_case.least(np.zeros((2, 2)), np.ones(2), 1.0) == 0.0


@pytest.mark.parametrize("mode,csi_set", [("cbf", "links"), ("comp", "links"), ("comp", "stacked")])
@pytest.mark.parametrize("stations", [1, 2, 3])
def test_no_member_lies_below_and_the_worst_one_reaches(mode, csi_set, stations):
    for seed, delta in ((0, 0.01), (1, 0.1), (2, 0.3)):
        problem = draw(np.random.default_rng(seed), stations=stations, delta=delta, csi_set=csi_set).normalised
        w = regularised(problem, mode)
        promised = worst_case.sinr(problem, mode, w)
        found = 10 ** (judged(problem, mode, w).worst_each / 10)
        assert np.all(promised <= found * (1 + 1e-11))
        assert np.all(found <= promised * (1 + 1e-5) + 1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["cbf", "comp"])
def test_ten_thousand_members_lie_above(mode):
    problem = draw(np.random.default_rng(3), delta=0.05).normalised
    w = regularised(problem, mode)
    found = 10 ** (judged(problem, mode, w, members=10_000).worst_each / 10)
    assert np.all(worst_case.sinr(problem, mode, w) == pytest.approx(found, rel=1e-6))


def test_errors_of_the_adversary_lie_in_their_balls_and_do_what_it_says():
    problem = draw(np.random.default_rng(4), delta=0.1).normalised
    w = regularised(problem, "comp")
    found = judged(problem, "comp", w)
    assert np.all(np.linalg.norm(found.errors, axis=-1) <= problem.radius * (1 + 1e-12))
    received = np.abs(np.einsum("nua,nas->us", problem.channel + found.errors, w)) ** 2
    own = np.diag(received)
    assert own / (received.sum(1) - own + 1) == pytest.approx(10 ** (found.worst_each / 10), rel=1e-9)


def test_one_stream_alone_in_closed_form_and_the_published_numerator_falls_short():
    """K = J = 1, norm(h) = sqrt 6: the published minimum, the value at no error, is 0.362 dB above the truth at delta 0.1."""
    problem = draw(np.random.default_rng(5), stations=1, users=1, snr_db=0.0, delta=0.1)
    h = problem.channel * np.sqrt(6) / np.linalg.norm(problem.channel)
    problem = replace(problem, channel=h)
    w = h[0].conj().T[None] / np.sqrt(6)
    for mode in ("cbf", "comp"):
        worst = worst_case.sinr(problem, mode, w)
        assert worst == pytest.approx((np.sqrt(6) - 0.1) ** 2, rel=1e-11)
        assert 10 * np.log10(6.0 / worst[0]) == pytest.approx(0.362, abs=5e-4)
        assert judged(problem, mode, w).worst_db == pytest.approx(10 * np.log10(worst[0]), abs=1e-9)


@pytest.mark.parametrize("mode,csi_set", [("cbf", "links"), ("comp", "links"), ("comp", "stacked")])
def test_balls_as_large_as_the_channels_leave_nothing(mode, csi_set):
    problem = draw(np.random.default_rng(6), csi_set=csi_set).normalised
    w = regularised(problem, mode)
    lost = replace(problem, radius=1.01 * np.linalg.norm(problem.channel, axis=-1))
    assert worst_case.sinr(lost, mode, w) == pytest.approx(np.zeros(6), abs=1e-12)


@pytest.mark.parametrize("mode", ["cbf", "comp"])
def test_without_errors_it_is_the_sinr(mode):
    problem = draw(np.random.default_rng(7), stations=3).normalised.nominal()
    w = regularised(problem, mode)
    received = np.abs(np.einsum("nua,nas->us", problem.channel, w)) ** 2
    own = np.diag(received)
    assert worst_case.sinr(problem, mode, w) == pytest.approx(own / (received.sum(1) - own + 1), rel=1e-11)


def test_a_ball_a_link_is_never_worse_than_the_stacked_ball_around_them():
    for seed in range(5):
        rng = np.random.default_rng(seed)
        problem = draw(rng, stations=3, delta=0.1)
        problem = replace(problem, radius=problem.radius * rng.uniform(0.0, 2.0, problem.radius.shape)).normalised
        w = regularised(problem, "comp")
        assert np.all(worst_case.sinr(problem, "comp", w) >= worst_case.sinr(replace(problem, csi_set="stacked"), "comp", w) * (1 - 1e-12))


@pytest.mark.parametrize("mode", ["cbf", "comp"])
def test_silent_streams_known_links_and_single_antennas_are_defined(mode):
    problem = draw(np.random.default_rng(8), transmit=1, delta=0.1).normalised
    w = regularised(problem, mode)
    w[..., 2] = 0.0
    radius = problem.radius.copy()
    radius[1] = 0.0
    problem = replace(problem, radius=radius)
    worst = worst_case.sinr(problem, mode, w)
    found = 10 ** (judged(problem, mode, w).worst_each / 10)
    assert worst[2] == 0.0 and np.all(np.isfinite(worst))
    assert worst == pytest.approx(found, rel=1e-5, abs=1e-12)


def test_a_foreign_stream_in_beamforming_is_refused():
    problem = draw(np.random.default_rng(9)).normalised
    w = regularised(problem, "comp")
    with pytest.raises(InputError, match="own cell"):
        worst_case.sinr(problem, "cbf", w)
    with pytest.raises(InputError, match="own cell"):
        judged(problem, "cbf", w)


def test_the_promise_is_what_the_verdict_is_about():
    problem = draw(np.random.default_rng(10), delta=0.1).normalised
    w = regularised(problem, "comp")
    worst = 10 * np.log10(worst_case.sinr(problem, "comp", w).min())
    for above, stands in ((0.0, True), (0.05, False)):
        found = verdict(w, problem.channel, problem.radius, problem.noise, problem.cells, "comp", worst + above, np.random.default_rng(0))
        assert found.passed == stands
        assert found.shortfall_db == pytest.approx(above, abs=1e-6)


def test_the_adversary_knows_no_model_and_no_system():
    tree = ast.parse(inspect.getsource(hil.adversary.cells))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert {getattr(node, "module", None) or node.names[0].name for node in imports} == {
        "__future__", "dataclasses", "typing", "numpy", "numpy.typing", "hil.errors"
    }  # fmt: skip
