"""Radii of uncertainty sets: golden values of the specification and sampled coverage."""

import numpy as np
import pytest

from hil import uncertainty as sets
from hil.errors import InputError


@pytest.mark.parametrize(
    ("n", "at95", "at99"),
    [(1, 1.7308, 2.1460), (2, 2.1780, 2.5765), (4, 2.7845, 3.1694), (8, 3.6260, 4.0000), (16, 4.8059, 5.1714)],
)
def test_ball_factor_counts_two_real_degrees_per_complex_entry(n, at95, at99):
    assert sets.ball_factor(n) == pytest.approx(at95, abs=5e-5)
    assert sets.ball_factor(n, 0.99) == pytest.approx(at99, abs=5e-5)


@pytest.mark.parametrize(("nu", "value"), [(4, 3.708), (8, 3.219), (16, 2.996), (64, 2.837)])
def test_ball_factor_with_an_estimated_variance(nu, value):
    assert sets.ball_factor_estimated(4, nu) == pytest.approx(value, abs=5e-4)
    assert sets.ball_factor_estimated(4, nu) > sets.ball_factor(4)


def test_golden_disc_interval_boxes_ellipsoids_and_joint_links():
    assert sets.disc_factor() == pytest.approx(1.7308, abs=5e-5)
    assert sets.disc_factor(sets.each(0.95, 2, dependent=True)) == pytest.approx(np.sqrt(-np.log(0.025)), rel=1e-12)
    assert sets.disc_factor(sets.each(0.95, 2)) == pytest.approx(1.9173, abs=5e-5)
    assert sets.interval_factor() == pytest.approx(1.9600, abs=5e-5)
    for n, value in [(2, 2.2365), (3, 2.3877), (4, 2.4909), (6, 2.6310), (8, 2.7270), (12, 2.8578)]:
        assert sets.box_factor(n) == pytest.approx(value, abs=5e-5)
    for n, value in [(2, 2.4477), (3, 2.7955), (4, 3.0802), (6, 3.5485), (8, 3.9379), (12, 4.5854)]:
        assert sets.ellipsoid_factor(n) == pytest.approx(value, abs=5e-5)
    assert sets.ball_factor(4, sets.each(0.95, 8)) == pytest.approx(3.2635, abs=5e-5)
    for n, value in [(100, 1.189), (1000, 1.054), (10000, 1.017)]:
        assert sets.variance_upper_factor(n) == pytest.approx(value, abs=5e-4)


def test_csi_ball_of_the_worked_example():
    assert sets.ball_radius(0.0125 * np.eye(4)) == pytest.approx(0.311, abs=5e-4)
    assert sets.ball_radius(10**-3.31 * np.eye(4)) == pytest.approx(0.0616, abs=5e-4)


def test_ball_radius_covers_unequal_eigenvalues_where_the_trace_alone_falls_short():
    rng = np.random.default_rng(1)
    mix = rng.standard_normal((4, 4)) + 1j * rng.standard_normal((4, 4))
    basis, _ = np.linalg.qr(mix)
    covariance = (basis * np.array([10.0, 1.0, 0.3, 0.1])) @ basis.conj().T
    root = np.linalg.cholesky(covariance)
    z = (rng.standard_normal((4, 200_000)) + 1j * rng.standard_normal((4, 200_000))) / np.sqrt(2.0)
    norms = np.linalg.norm(root @ z, axis=0)
    assert np.mean(norms <= sets.ball_radius(covariance)) == pytest.approx(0.95, abs=0.004)
    trace_only = np.sqrt(np.trace(covariance).real / 4.0) * sets.ball_factor(4)
    assert trace_only < 0.9 * sets.ball_radius(covariance)


def test_ball_radius_takes_batches_and_ignores_the_basis():
    rng = np.random.default_rng(2)
    basis, _ = np.linalg.qr(rng.standard_normal((3, 3)) + 1j * rng.standard_normal((3, 3)))
    values = np.array([[1.0, 2.0, 3.0], [0.5, 0.5, 4.0]])
    turned = np.einsum("ij,bj,kj->bik", basis, values, basis.conj())
    plain = np.stack([np.diag(row) for row in values])
    assert sets.ball_radius(turned, 0.9, joint=5) == pytest.approx(sets.ball_radius(plain, 0.9, joint=5), rel=1e-12)
    assert sets.ball_radius(plain).shape == (2,)
    assert sets.ball_radius(np.zeros((2, 2))) == 0.0


def test_real_radius_of_a_circular_error_is_the_complex_ball():
    covariance = np.diag([1.0, 2.0, 0.2]) + 0.0j
    stacked = np.kron(np.eye(2), covariance.real) / 2.0
    assert sets.real_radius(stacked) == pytest.approx(sets.ball_radius(covariance), rel=1e-12)


def test_joint_confidence_holds_for_all_sets_together():
    rng = np.random.default_rng(3)
    radius = sets.ball_radius(np.eye(2), 0.95, joint=8)
    norms = np.linalg.norm((rng.standard_normal((100_000, 8, 2, 2)) / np.sqrt(2.0)).reshape(100_000, 8, 4), axis=-1)
    assert np.mean(np.all(norms <= radius, axis=1)) == pytest.approx(0.95, abs=0.004)
    assert sets.each(0.95, 8, dependent=True) > sets.each(0.95, 8)


def test_hard_part_is_added_not_squared():
    assert sets.add_hard(3.0, 4.0) == 7.0
    rng = np.random.default_rng(4)
    radius, hard = sets.ball_radius(np.eye(1)), 2.0
    e = hard + (rng.standard_normal(100_000) + 1j * rng.standard_normal(100_000)) / np.sqrt(2.0)
    assert np.mean(np.abs(e) <= sets.add_hard(radius, hard)) >= 0.95
    assert np.mean(np.abs(e) <= np.hypot(radius, hard)) < 0.90


@pytest.mark.parametrize("eigenvalues", [(1.0, 1.0, 1.0, 1.0), (2.0, 1.0, 0.5, 0.5), (1.0, 0.01, 0.01, 0.01)])
@pytest.mark.parametrize("hard", [0.0, 0.5, 2.0, 8.0])
def test_ball_around_a_hard_part_that_knows_nothing_of_the_error(eigenvalues, hard):
    covariance = np.diag(eigenvalues).astype(complex)
    radius = sets.ball_around(covariance, hard)
    assert radius <= sets.add_hard(sets.ball_radius(covariance), hard)
    rng = np.random.default_rng(5)
    e = (rng.standard_normal((100_000, 4)) + 1j * rng.standard_normal((100_000, 4))) * np.sqrt(np.array(eigenvalues) / 2.0)
    worst = e + np.array([hard, 0, 0, 0])  # along the largest eigenvalue
    share = np.mean(np.linalg.norm(worst, axis=1) <= radius)
    assert share >= 0.95 - 0.0018  # 99 % of 100 000 draws
    if len(set(eigenvalues)) == 1:
        assert share <= 0.95 + 0.0018
    assert np.mean(np.linalg.norm(e + np.array([0, hard, 0, 0]), axis=1) <= radius) >= 0.95 - 0.0018


def test_ball_around_nothing_hard_or_nothing_else():
    assert sets.ball_around(np.eye(4), 0.0, 0.9, joint=3) == pytest.approx(sets.ball_radius(np.eye(4), 0.9, joint=3), rel=1e-9)
    assert sets.ball_around(np.zeros((4, 4)), 2.0) == 2.0
    assert sets.ball_around(1e-12 * np.eye(4), 2.0) == pytest.approx(2.0, abs=1e-5)


@pytest.mark.parametrize(
    "call",
    [
        lambda: sets.ball_factor(2, 1.0), lambda: sets.each(0.95, 0), lambda: sets.ball_radius(np.ones(3)),
        lambda: sets.ball_radius(np.full((2, 2), np.nan)), lambda: sets.add_hard(-1.0, 0.0),
    ],
)  # fmt: skip
def test_nonsense_is_refused(call):
    with pytest.raises(InputError):
        call()
