"""Field response and steering in torch: closed forms, exact distances, finite differences, legal layouts."""

import numpy as np
import pytest
import torch
from maxmin_scene import WAVELENGTH, room
from scipy.optimize import minimize

from hil.model.arrays import extra_distance, legal, steering, towards
from hil.model.response import response


def test_plane_wave_steering_advances_by_plus_k_p_cosine():
    p = torch.tensor([0.0, 0.25 * WAVELENGTH, 1.0])
    want = np.exp(2j * np.pi / WAVELENGTH * p.numpy() * 0.5)
    assert np.allclose(steering(p.double(), torch.tensor(0.5), WAVELENGTH).numpy(), want, atol=1e-6)


def test_spherical_wave_is_the_exact_distance_and_becomes_plane_at_zero_curvature():
    p = torch.linspace(-0.35, 0.35, 9, dtype=torch.float64)
    source = np.array([3.0, 2.0, -1.0])
    reach = np.linalg.norm(source)
    exact = np.linalg.norm(source - np.stack([p.numpy(), 0 * p.numpy(), 0 * p.numpy()], -1), axis=-1) - reach
    cosine = torch.tensor(source[0] / reach, dtype=torch.float64)
    assert np.allclose(extra_distance(p, cosine, torch.tensor(1.0 / reach)).numpy(), exact, atol=1e-12)
    flat = towards(p, cosine, torch.tensor(0.0, dtype=torch.float64), WAVELENGTH)
    assert torch.allclose(flat, steering(p, cosine, WAVELENGTH))
    assert not torch.allclose(flat, towards(p, cosine, torch.tensor(1.0 / reach), WAVELENGTH), atol=0.1)


def test_response_equals_the_path_fits_on_batched_positions():
    scene = room(3, blocks=4)
    problem = scene.problem
    torch_paths = response([[scene.paths[a, u] for u in range(2)] for a in range(2)], WAVELENGTH)
    batch = problem.random_positions(5)
    got = torch_paths.channel(torch.as_tensor(batch)[..., :, None, :], torch.tensor(problem.frequencies_hz)).numpy()
    want = np.array([scene.channel(p) for p in batch])
    assert got.shape == want.shape and np.allclose(got, want, rtol=1e-9, atol=1e-15)


def test_response_pads_links_of_unequal_path_counts():
    scene = room(0, blocks=2)
    short = room(1, blocks=2, scatterers=2)
    torch_paths = response([[scene.paths[0, 0], short.paths[0, 1]]], WAVELENGTH)
    p = torch.zeros(1, 1, 1, dtype=torch.float64) + 0.01
    got = torch_paths.channel(p, torch.tensor(scene.problem.frequencies_hz)).numpy()[0, 1, :, 0]
    assert np.allclose(got, short.paths[0, 1].predict([0.01], scene.problem.frequencies_hz)[0][0])


def test_response_gradient_agrees_with_central_differences():
    scene = room(2, blocks=2, per_block=3)
    torch_paths = response([[scene.paths[0, 0]]], WAVELENGTH)
    frequencies = torch.tensor(scene.problem.frequencies_hz)
    weights = torch.as_tensor(np.random.default_rng(0).standard_normal((6, 4)))

    def value(p):
        return (torch_paths.channel(p[None, None], frequencies)[0, 0].abs() ** 2 * weights).sum() * 1e9

    p = torch.tensor([-0.2, -0.05, 0.03, 0.3], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(value(p), p)
    step = 1e-7
    for n in range(4):
        shift = torch.zeros(4, dtype=torch.float64)
        shift[n] = step
        slope = (value(p.detach() + shift) - value(p.detach() - shift)) / (2 * step)
        assert float(gradient[n]) == pytest.approx(float(slope), rel=1e-5)


def test_legal_keeps_legal_layouts_and_repairs_the_rest():
    rng = np.random.default_rng(5)
    least, most, gap = torch.tensor([[-1.0]]).double(), torch.tensor([[1.0]]).double(), torch.tensor([[0.3]]).double()
    wild = torch.as_tensor(rng.uniform(-2, 2, (300, 1, 4)))
    tidy = legal(wild, least, most, gap)
    assert float(tidy.min()) >= -1.0 - 1e-12 and float(tidy.max()) <= 1.0 + 1e-12
    assert float(torch.diff(tidy).min()) >= 0.3 - 1e-12
    assert torch.allclose(legal(tidy, least, most, gap), tidy, atol=1e-12)


def test_legal_is_the_nearest_layout():
    rng = np.random.default_rng(6)
    limits = [torch.tensor([x]).double() for x in (-1.0, 1.0, 0.3)]
    ordered = [{"type": "ineq", "fun": lambda x: np.diff(x) - 0.3}, {"type": "ineq", "fun": lambda x: np.array([x[0] + 1, 1 - x[-1]])}]
    for wild in rng.uniform(-1.5, 1.5, (10, 4)):
        peer = minimize(lambda x, to: ((x - to) ** 2).sum(), np.linspace(-0.9, 0.9, 4), args=(wild,), constraints=ordered, method="SLSQP",
                        options={"ftol": 1e-14, "maxiter": 300})  # fmt: skip
        assert np.allclose(legal(torch.as_tensor(wild), *limits).numpy(), peer.x, atol=1e-5)
