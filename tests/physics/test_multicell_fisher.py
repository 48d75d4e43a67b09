"""Fisher information of the multi-cell problem: fixed numbers, the echo model differentiated by itself, closed form, limits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from hil.systems.multicell import fisher
from hil.systems.multicell.draws import draw, golden


def random_r(rng, size, rank=None):
    x = rng.standard_normal((size, rank or size)) + 1j * rng.standard_normal((size, rank or size))
    return x @ x.conj().T / size


def differentiated(problem, mode, m, x):
    """F of base station m by torch's Jacobian of its whole complex mean, and nothing else from the package."""
    j = problem.stations
    alpha, angle = torch.tensor(problem.alpha[:, m]), torch.tensor(problem.angle[:, m])
    tx, rx = torch.tensor(problem.transmit_place), torch.tensor(problem.receive_place)
    x = torch.tensor(x)
    order = [m, *((m + step) % j for step in range(1, j))] if mode == "comp" else [m]
    k = len(order)

    def mean(p):
        theta = {n: p[i] for i, n in enumerate(order)}
        gain = {m: torch.complex(p[k], p[k + 1])}
        gain |= {n: torch.complex(p[k + 2 + i], p[2 * k + 1 + i]) for i, n in enumerate(order[1:])}
        a = torch.exp(2j * torch.pi * rx * torch.sin(theta[m]))
        sent = sum(gain[n] * (torch.exp(2j * torch.pi * tx * torch.sin(theta[n])) @ x[n]) for n in order)
        y = a[:, None] * sent
        return torch.stack([y.real, y.imag])

    start = torch.cat([angle[order], alpha[[m]].real, alpha[[m]].imag, alpha[order[1:]].real, alpha[order[1:]].imag])
    jac = torch.autograd.functional.jacobian(mean, start)
    d = torch.complex(jac[0], jac[1])  # (receive, symbol, parameter)
    a = torch.exp(2j * torch.pi * rx * torch.sin(angle[m]))
    noise = float(problem.noise_radar[m]) * torch.eye(len(rx), dtype=torch.complex128)
    if mode == "cbf":
        for n in range(j):
            if n != m:
                v = torch.exp(2j * torch.pi * tx * torch.sin(angle[n]))
                noise = noise + abs(alpha[n]) ** 2 * torch.linalg.norm(v @ x[n]) ** 2 / x.shape[-1] * torch.outer(a, a.conj())
    return 2 * torch.einsum("rlp,rs,slq->pq", d.conj(), torch.linalg.inv(noise), d).real.numpy()


@pytest.mark.parametrize("mode", ["cbf", "comp"])
@pytest.mark.parametrize("stations", [1, 2, 3])
@pytest.mark.parametrize("centre", [0.0, 0.7])
def test_information_is_that_of_the_complex_mean(mode, stations, centre):
    rng = np.random.default_rng(stations)
    problem = draw(rng, stations=stations, transmit=5, receive=4)
    problem = replace(problem, receive_place=problem.receive_place + centre, noise_radar=rng.uniform(0.5, 2.0, stations))
    x = rng.standard_normal((stations, 5, 30)) + 1j * rng.standard_normal((stations, 5, 30))
    f = fisher.information(fisher.rows(problem, mode), fisher.covariance(problem, x, "slp"))[0]
    for m in range(stations):
        wanted = differentiated(problem, mode, m, x)
        assert np.max(np.abs(f[m] - wanted)) < 1e-9 * np.max(np.abs(wanted))
        assert np.linalg.eigvalsh(f[m]).min() > -1e-9 * np.max(np.abs(wanted))


def test_golden_values():
    problem, r = golden(), 25 * np.eye(8, dtype=complex)
    assert fisher.t_of(problem, "comp", r)[0] == pytest.approx([195.367947, 230.290769], abs=1e-6)
    assert fisher.t_of(problem, "cbf", r)[0] == pytest.approx([161.017539, 189.800085], abs=1e-6)
    assert fisher.reflected(fisher.rows(problem, "cbf"), r)[0] == pytest.approx([0.0208333, 0.0208333], abs=1e-7)
    quiet = replace(problem, alpha=np.diag(np.diag(problem.alpha)))
    assert fisher.t_of(quiet, "cbf", r)[0] == pytest.approx([167.458240, 197.392088], abs=1e-6)


def test_echoes_add_as_their_phases_have_it():
    problem = golden()
    w = 5 * np.concatenate([fisher.steering(problem.transmit_place, problem.angle[n, 0])[0].conj() for n in range(2)])
    r = 0.5 * np.outer(w, w.conj()) + 12.5 * np.eye(8)
    for phase, wanted in ((0.0, 514.325747), (np.pi / 2, 320.961627), (np.pi, 127.597507)):
        turned = replace(problem, alpha=problem.alpha * np.exp(1j * np.array([[0.0, 0.0], [phase, 0.0]])))
        assert fisher.t_of(turned, "comp", r)[0, 0] == pytest.approx(wanted, abs=1e-6)
        assert fisher.t_of(replace(problem, turns=np.array([[0.0, phase]])), "comp", r)[0, 0] == pytest.approx(wanted, abs=1e-6)


def test_beamforming_in_closed_form():
    rng = np.random.default_rng(5)
    problem = draw(rng, stations=3, transmit=6)
    r = random_r(rng, 18)
    for m, t in enumerate(fisher.t_of(problem, "cbf", r)[0]):
        own = r[6 * m : 6 * m + 6, 6 * m : 6 * m + 6]
        v, dv = fisher.steering(problem.transmit_place, problem.angle[m, m])
        p, d, c = (v @ own @ v.conj()).real, (dv @ own @ dv.conj()).real, dv @ own @ v.conj()
        s = sum(
            abs(problem.alpha[n, m]) ** 2 * (q @ r[6 * n : 6 * n + 6, 6 * n : 6 * n + 6] @ q.conj()).real
            for n in range(3) if n != m for q in [fisher.steering(problem.transmit_place, problem.angle[n, m])[0]]
        )  # fmt: skip
        edge = (2 * np.pi * np.cos(problem.angle[m, m])) ** 2 * np.sum(problem.receive_place**2)
        kappa = 10 / (1 + 10 * s)
        assert t == pytest.approx(2 * 30 * abs(problem.alpha[m, m]) ** 2 * (edge * p + kappa * (d - abs(c) ** 2 / p)), rel=1e-10)


def test_what_the_coloured_noise_tells_is_slepian_bangs():
    rng = np.random.default_rng(6)
    problem = draw(rng, receive=5)
    problem = replace(problem, receive_place=problem.receive_place + 0.4)
    r, of = random_r(rng, 12), fisher.rows(problem, "cbf")
    more = fisher.information(of, r, covariance_information=True) - fisher.information(of, r)
    for m in range(2):
        s = fisher.reflected(of, r)[0, m]

        def coloured(theta, s=s):
            a = np.exp(2j * np.pi * problem.receive_place * np.sin(theta))
            return s * np.outer(a, a.conj()) + np.eye(5)

        theta, h = problem.angle[m, m], 1e-6
        slope = np.linalg.solve(coloured(theta), (coloured(theta + h) - coloured(theta - h)) / (2 * h))
        assert more[0, m, 0, 0] == pytest.approx(30 * np.trace(slope @ slope).real, rel=1e-7)
        assert np.count_nonzero(more[0, m]) == 1


def test_published_covariance_takes_the_reflection_once_per_symbol():
    rng = np.random.default_rng(7)
    problem, r = draw(rng), random_r(rng, 12)
    louder = replace(problem, alpha=problem.alpha * np.where(np.eye(2, dtype=bool), 1.0, np.sqrt(30.0)))
    assert fisher.t_of(problem, "cbf", r, published_covariance_factor=True) == pytest.approx(fisher.t_of(louder, "cbf", r), rel=1e-12)
    assert np.all(fisher.t_of(louder, "cbf", r) < fisher.t_of(problem, "cbf", r))


@pytest.mark.parametrize("mode", ["cbf", "comp"])
def test_gradient_against_differences_and_autograd(mode):
    rng = np.random.default_rng(8)
    problem = draw(rng, stations=3).phase_robust()
    r, step = random_r(rng, 18), 1e-6 * random_r(rng, 18)
    g = fisher.gradient(fisher.rows(problem, mode), r)
    change = (fisher.t_of(problem, mode, r + step) - fisher.t_of(problem, mode, r - step)) / 2
    assert np.einsum("vmij,ji->vm", g, step).real == pytest.approx(change, rel=1e-6)
    tensor = torch.tensor(r, requires_grad=True)
    fisher.t_of(problem, mode, tensor)[0, 1].backward()
    found = tensor.grad.numpy()
    assert np.max(np.abs((found + found.conj().T) / 2 - g[0, 1])) < 1e-8 * np.max(np.abs(g[0, 1]))


@pytest.mark.parametrize("mode", ["cbf", "comp"])
def test_torch_and_batches_say_the_same(mode):
    rng = np.random.default_rng(9)
    problem = draw(rng)
    r = np.stack([[random_r(rng, 12) for _ in range(3)] for _ in range(2)])
    t = fisher.t_of(problem, mode, r)
    assert t.shape == (2, 3, 1, 2)
    assert t[1, 2] == pytest.approx(fisher.t_of(problem, mode, r[1, 2]), rel=1e-12)
    assert fisher.t_of(problem, mode, torch.tensor(r)).numpy() == pytest.approx(t, rel=1e-10)


def test_one_station_makes_both_modes_one():
    rng = np.random.default_rng(10)
    problem, r = draw(rng, stations=1), random_r(rng, 6)
    assert fisher.t_of(problem, "comp", r) == pytest.approx(fisher.t_of(problem, "cbf", r), rel=1e-12)


def test_no_echo_between_cells_and_none_looked_for_is_monostatic():
    rng = np.random.default_rng(11)
    problem, r = draw(rng), random_r(rng, 12)
    problem = replace(problem, alpha=np.diag(np.diag(problem.alpha)))
    f = fisher.information(fisher.rows(problem, "comp"), r)[0]
    known = f[:, [0, 2, 3]][:, :, [0, 2, 3]]  # without the other station's angle and gain
    t = 1.0 / np.linalg.inv(known)[:, 0, 0]
    assert t == pytest.approx(fisher.t_of(problem, "cbf", r)[0], rel=1e-10)
    assert np.all(fisher.t_of(problem, "comp", r)[0] <= t * (1 + 1e-12))  # a gain that is zero but unknown costs


def test_phase_centres_may_move_when_the_gains_follow():
    rng = np.random.default_rng(12)
    problem, r = draw(rng), random_r(rng, 12)
    shift = 0.8
    moved = replace(problem, transmit_place=problem.transmit_place + shift, receive_place=problem.receive_place - 1.3)
    follow = replace(moved, alpha=problem.alpha * np.exp(-2j * np.pi * shift * np.sin(problem.angle)))
    assert fisher.t_of(follow, "comp", r) == pytest.approx(fisher.t_of(problem, "comp", r), rel=1e-9)
    assert fisher.t_of(moved, "cbf", r) == pytest.approx(fisher.t_of(problem, "cbf", r), rel=1e-9)
    assert np.max(np.abs(fisher.t_of(moved, "comp", r) / fisher.t_of(problem, "comp", r) - 1)) > 1e-3


def test_power_scales_multipoint_and_saturates_beamforming():
    rng = np.random.default_rng(13)
    problem, r = draw(rng), random_r(rng, 12)
    assert fisher.t_of(problem, "comp", 3 * r) == pytest.approx(3 * fisher.t_of(problem, "comp", r), rel=1e-10)
    of = fisher.rows(problem, "cbf")
    spatial = [fisher.t_of(problem, "cbf", c * r) - 60 * of.edge * np.abs(np.einsum("vmi,ij,vmj->vm", of.g, c * r, of.g.conj())) for c in (1e6, 1e8)]
    assert spatial[1] == pytest.approx(spatial[0], rel=1e-4)


def test_t_is_concave_along_segments_of_multipoint():
    rng = np.random.default_rng(14)
    problem = draw(rng, stations=3)
    for _ in range(20):
        ends = np.stack([random_r(rng, 18), random_r(rng, 18, rank=rng.integers(1, 18))])
        t = fisher.t_of(problem, "comp", np.concatenate([ends, ends.mean(0)[None]]))[:, 0]
        assert np.all(t[2] >= t[:2].mean(0) * (1 - 1e-9))


@pytest.mark.parametrize("mode", ["cbf", "comp"])
@pytest.mark.parametrize("transmit", [1, 4])
def test_poor_covariances_have_a_defined_t(mode, transmit):
    rng = np.random.default_rng(15)
    problem = draw(rng, users=1, transmit=transmit)
    silent = replace(problem, alpha=np.zeros((2, 2)))
    for r in (np.zeros((2 * transmit,) * 2, complex), random_r(rng, 2 * transmit, rank=1)):
        for given in (problem, silent):
            t = fisher.t_of(given, mode, r)
            assert np.all(np.isfinite(t)) and np.all(t >= 0.0)
    assert np.all(fisher.t_of(silent, mode, random_r(rng, 2 * transmit)) == 0.0)


def test_one_stream_teaches_by_the_receive_aperture_alone():
    """Three unknowns in one complex number of the transmit side: what is left is kappa_d g^T R g*."""
    rng = np.random.default_rng(16)
    problem = draw(rng, stations=1, users=1)
    w = rng.standard_normal(6) + 1j * rng.standard_normal(6)
    of = fisher.rows(problem, "comp")
    assert fisher.t_of(problem, "comp", np.outer(w, w.conj()))[0, 0] == pytest.approx(60 * of.edge[0, 0] * abs(of.g[0, 0] @ w) ** 2, rel=1e-9)
