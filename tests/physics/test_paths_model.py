"""Point sources and the engine of the path fit against closed forms and finite differences."""

from dataclasses import replace

import numpy as np
import pytest
from path_scene import TONES, WAVELENGTH, Room, chain_gains, measure

from hil.estimate import fieldfit, paths, visits
from hil.estimate.sources import DelayBasis, Sources, respond

C = 299_792_458.0


def random_sources(rng, count=4):
    return Sources(
        rng.standard_normal(count) + 1j * rng.standard_normal(count), rng.uniform(-0.9, 0.9, count), rng.uniform(0.0, 0.3, count),
        rng.uniform(0.0, 150e-9, count), rng.uniform(-0.05, 0.05, count),
    )  # fmt: skip


def test_a_point_source_is_the_exact_distance_and_a_plane_wave_its_limit():
    p = np.linspace(-0.34, 0.34, 9)
    basis = DelayBasis(TONES[::48])
    origin_to_source = 5.0 * np.array([0.6, 0.8])
    distance = np.hypot(origin_to_source[0] - p, origin_to_source[1])
    exact = np.exp(-2j * np.pi * (3.5e9 + TONES[::48]) * (distance - 5.0)[:, None] / C)
    one = Sources(np.ones(1, complex), np.array([0.6]), np.array([0.2]), np.zeros(1), np.zeros(1))
    assert respond(one, p, np.zeros(9), basis, WAVELENGTH).unit[:, 0] == pytest.approx(exact, abs=1e-6)
    plane = replace(one, curvatures=np.zeros(1))
    got = respond(plane, p, np.zeros(9), DelayBasis([0.0]), WAVELENGTH).unit[:, 0, 0]
    assert got == pytest.approx(np.exp(2j * np.pi * p * 0.6 / WAVELENGTH), abs=1e-9)  # +j: nearer on the source's side


def test_the_delay_basis_keeps_the_window_and_white_noise_white():
    basis = DelayBasis.of_window(TONES, -0.15e-6, 0.45e-6)
    assert basis.dimension <= 16
    wave = np.exp(-2j * np.pi * TONES * np.array([[-0.1e-6], [0.03e-6], [0.4e-6]]))
    lost = wave - (wave @ basis.matrix.T) @ basis.matrix.conj()
    assert np.mean(np.abs(lost) ** 2) < 1e-5
    assert basis.matrix @ basis.matrix.conj().T == pytest.approx(np.eye(basis.dimension), abs=1e-12)


def scene(rng):
    layouts = visits.plan((-4 * WAVELENGTH, 4 * WAVELENGTH), WAVELENGTH / 2, 4, 3, WAVELENGTH)
    count = layouts.size
    seen = fieldfit.Observations(
        np.zeros((count, 10), complex), rng.uniform(0.5, 2.0, (count, 1)), layouts.ravel(), np.repeat(np.arange(3), 4),
        np.where(np.arange(count) % 4 == 0, 0, np.cumsum(np.arange(count) % 4 > 0)), np.tile(np.arange(4), 3),
        DelayBasis.of_window(TONES, -0.1e-6, 0.3e-6), WAVELENGTH, 1e-4, np.zeros((6, 6)),
    )  # fmt: skip
    state = fieldfit.State(
        random_sources(rng), np.array([0.0, 0.4, -1.0]), np.array([0.0, 0.2e-9, -0.1e-9]), 1e-4 * rng.standard_normal(10), chain_gains(rng),
        replace(random_sources(rng, 2), curvatures=np.zeros(2), tapers=np.zeros(2)), 0.1,
    )  # fmt: skip
    seen = replace(seen, values=rng.standard_normal((count, seen.basis.dimension)) + 0j)
    return state, seen


def test_every_derivative_of_the_fit_against_central_differences():
    state, seen = scene(np.random.default_rng(1))
    here, scale = fieldfit.linearise(state, seen), fieldfit.scales(state, seen)
    assert here.columns.shape == (scale.size, 2 * seen.values.size)
    assert here.information - np.diag(here.prior) == pytest.approx(here.columns @ here.columns.T, rel=1e-9, abs=1e-6)
    for number in range(scale.size):
        step = np.zeros(scale.size)
        step[number] = 1e-4 * scale[number]
        ahead, back = (fieldfit.model(fieldfit.stepped(state, sign * step), seen) for sign in (1.0, -1.0))
        wanted = np.sqrt(2.0) * ((ahead - back) / 2e-4 / np.sqrt(seen.variance)).ravel().view(float)
        assert here.columns[number] == pytest.approx(wanted, abs=1e-5 * np.abs(wanted).max()), number


def test_the_compiled_model_is_the_sum_of_the_responses():
    state, seen = scene(np.random.default_rng(4))
    places, turn = seen.positions + state.moved[seen.displacement], np.exp(1j * state.phases[seen.visit]) * state.chains[seen.element]
    both = state.sources.joined(state.waves)
    wanted = turn[:, None] * np.einsum("l,rlk->rk", both.gains, respond(both, places, state.delays[seen.visit], seen.basis, WAVELENGTH).unit)
    assert fieldfit.model(state, seen) == pytest.approx(wanted, rel=1e-6)
    late = np.array([-0.09e-6, 1.7e-9, 0.299e-6, 0.5e-6])  # the last lies outside the window
    for delays in (late[:3], late):
        for order, exact in zip(seen.basis.near(delays, 5), seen.basis.atoms(delays, 5)):
            assert order == pytest.approx(exact, abs=1e-6 * np.abs(exact).max())


def test_prediction_jacobian_against_central_differences():
    rng = np.random.default_rng(2)
    room = Room(rng, scatterers=2)
    layouts = visits.plan((-4 * WAVELENGTH, 4 * WAVELENGTH), WAVELENGTH / 2, 4, 6, WAVELENGTH)
    fit = paths.fit(layouts, *measure(room, layouts, 30, rng), TONES, wavelength=WAVELENGTH)
    p, f = np.array([-0.2, 0.11]), TONES[::100]
    slopes = fit.prediction_jacobian(p, f)
    names = ["cosines", "curvatures", "delays", "tapers"]
    for path in range(fit.order):
        for slot, name in enumerate(names):
            step = {"delays": 1e-13}.get(name, 1e-5)
            values = getattr(fit, name)
            ahead, back = (replace(fit, **{name: values + sign * step * np.eye(values.size)[path]}).channel(p, f) for sign in (1, -1))
            wanted = (ahead - back) / (2 * step)
            assert slopes[..., 6 * path + slot] == pytest.approx(wanted, abs=1e-4 * np.abs(wanted).max())
        wanted = replace(fit, gains=np.eye(fit.gains.size)[path]).channel(p, f)
        assert slopes[..., 6 * path + 4] == pytest.approx(wanted) and slopes[..., 6 * path + 5] == pytest.approx(1j * wanted)


def test_delay_between_visits_is_found_over_microseconds_and_to_picoseconds():
    rng = np.random.default_rng(3)
    channel = Room(rng).channel(np.array([0.1]))[0]
    for delay in (-1.1e-6, -3e-9, 0.4e-6, 5e-6):
        moved = channel * np.exp(0.7j - 2j * np.pi * TONES * delay)
        phase, found = visits.delay_between(channel, moved, TONES)
        assert found == pytest.approx(delay, abs=1e-13) and phase == pytest.approx(0.7, abs=1e-6)
