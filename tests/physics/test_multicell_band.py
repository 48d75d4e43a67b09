"""From a wide channel to narrow-band problems and back: tones, one carrier, payloads, and the adversary of symbol-level designs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hil.adversary import symbols
from hil.errors import Infeasible, InputError
from hil.knowledge import Estimate, Knowledge, Reflections
from hil.systems.multicell import designers, fisher, margin
from hil.systems.multicell.band import Band, over_tones
from hil.systems.multicell.carrier import Carrier, payload
from hil.systems.multicell.draws import draw
from hil.systems.multicell.problem import half_wave
from hil.systems.multicell.solve import design

TONES = np.concatenate([np.arange(-48, 0), np.arange(1, 49)])
SPACING = 30e3


def knowledge(rng: np.random.Generator, delta: float = 0.03, late_s: float = 15e-9) -> Knowledge:
    """Two stations of four antennas, two users each, delays of up to `late_s`; noise 1 per tone, 30 dB at full power."""
    own = np.arange(2)[:, None] == np.array([0, 0, 1, 1])
    size = np.sqrt(1000.0 / 4.0 * np.where(own, 1.0, 1.0 / 3.0))
    fades = rng.standard_normal((2, 4, 4, 2)) @ [1, 1j] / np.sqrt(2.0) * size[..., None]
    delay = rng.uniform(0.0, late_s, (2, 4))
    channel = fades[:, :, None] * np.exp(-2j * np.pi * SPACING * TONES * delay[..., None])[..., None]
    seen = Reflections(
        np.array([[0.3, -0.2], [-0.4, 0.5]]), np.full((2, 2), 0.001), np.full((2, 2), 0.05 + 0j), np.zeros((2, 2)), np.ones(2)
    )  # fmt: skip
    estimate = Estimate("channel", "users", channel[..., None, :], np.zeros(1), "1")
    radius = np.broadcast_to(delta * size[..., None], (2, 4, 8))
    return Knowledge(1, 0.95, Estimate("noise", "users", np.ones(4), np.eye(4), "W"), np.zeros((2, 4)), estimate, radius, reflections=seen)


def told(**more) -> dict:
    half = half_wave(4)
    return {"asked": 5.0, "residual": 1e-4, "cells": np.array([0, 0, 1, 1]), "transmit_place": half, "receive_place": half, "coherent": True,
            "positions": np.zeros((2, 4)), **more}  # fmt: skip


def band(**more) -> Band:
    return Band(**told(block_of_tone=np.arange(96) // 12, element_power_w=np.full((2, 4), 96.0), length=20) | more)


def carrier(rng: np.random.Generator, **more) -> Carrier:
    edge = np.clip((np.abs(TONES) / 32 - 0.375) / 0.25, 0.0, 1.0)
    shape = np.where(edge < 1.0, 0.5 + 0.5 * np.cos(np.pi * edge), 0.0)
    return Carrier(**told(tones=TONES, shape=shape, blocks=np.arange(96) // 12, wider=32, element_power_w=np.full((2, 4), 32.0),
                          payload=payload(4, 16, rng), turns=3) | more)  # fmt: skip


def test_rows_of_a_payload_are_orthogonal_symbols_of_the_constellation():
    for length in (8, 64):
        rows = payload(6, length, np.random.default_rng(length))
        np.testing.assert_allclose(rows @ rows.conj().T / length, np.eye(6), atol=1e-12)
        np.testing.assert_allclose(np.angle(rows**4), np.pi * np.sign(np.angle(rows**4)), atol=1e-9)
    with pytest.raises(InputError, match="power of two"):
        payload(6, 24, np.random.default_rng(0))


@pytest.mark.parametrize("mode", ["cbf", "comp"])
def test_a_phase_that_the_receiver_takes_out_of_each_tone_leaves_nothing(mode):
    rng = np.random.default_rng(1)
    flat = rng.standard_normal((2, 3, 1, 4, 2)) @ [1, 1j]
    turned = flat * np.exp(1j * rng.uniform(0, 6, (2 if mode == "cbf" else 1, 3, 12, 1)))
    mean, uneven = over_tones(turned, mode)
    w = rng.standard_normal((2, 4, 3, 2)) @ [1, 1j]
    assert np.all(uneven.power(w) < 1e-20 * np.sum(np.abs(w) ** 2))
    np.testing.assert_allclose(np.abs(mean), np.abs(flat[:, :, 0]))


@pytest.mark.parametrize("mode", ["cbf", "comp"])
def test_what_goes_through_the_differences_of_tones_is_counted_once(mode):
    """Mean over tones of all power received is that through the mean channel and that through the differences, tones aligned."""
    rng = np.random.default_rng(2)
    channel = rng.standard_normal((2, 3, 5, 4, 2)) @ [1, 1j]
    mean, uneven = over_tones(channel, mode)
    w = rng.standard_normal((2, 4, 3, 2)) @ [1, 1j]
    each = np.einsum("nuti,nis->nuts", channel, w)
    through = np.einsum("nui,nis->nus", mean, w)
    if mode == "comp":
        each, through = each.sum(0, keepdims=True), through.sum(0, keepdims=True)
    whole = np.mean(np.sum(np.abs(each) ** 2, -1), 2).sum(0)
    np.testing.assert_allclose(whole, np.sum(np.abs(through) ** 2, (0, 2)) + uneven.power(w), rtol=1e-10)
    even = rng.standard_normal((4000, 2, 4, 1, 2)) @ [1, 1j] / np.sqrt(2 * 4)  # unit power a station, no direction
    np.testing.assert_allclose(np.mean([uneven.power(one) for one in even], 0), uneven.expected(np.ones(2)), rtol=0.1)


def test_tones_a_symbol_rate_apart_fold():
    made, rng = carrier(np.random.default_rng(3)), np.random.default_rng(4)
    flat = np.repeat(rng.standard_normal((2, 4, 1, 4)) + 0j, 96, axis=2)
    np.testing.assert_allclose(made.folded(flat), flat[:, :, :32])
    delay = 20e-9
    late = np.exp(-2j * np.pi * SPACING * TONES * delay)[None, None, :, None]
    folded = made.folded(late)[0, 0, :, 0]
    middle = np.abs(np.angle(folded))
    steps = np.abs(TONES[np.abs(TONES) <= 16])
    np.testing.assert_allclose(middle[steps <= 12], 2 * np.pi * SPACING * steps[steps <= 12] * delay, atol=1e-9)  # no partner there
    assert np.all(middle[steps == 16] < 1e-9)  # at the edge both halves lean as far to either side
    assert middle.max() < 2 * np.pi * SPACING * 13.5 * delay


def test_a_band_promises_what_single_tones_keep():
    """Every block's promise against SINRs of its own tones, summed one by one, for channels as they are known."""
    known, asked = knowledge(np.random.default_rng(5)), band()
    for name in ("cbf-blp", "comp-blp"):
        made = designers[name]()(asked, known)
        asked.check(made)
        assert made.promised == pytest.approx(10 * np.log10(5.0), abs=0.2) and made.promised <= made.predicted
        heard = np.einsum("nuti,ntis->uts", known.channel.value[..., 0, :], made.precoders[:, asked.block_of_tone])
        power = np.abs(heard) ** 2
        for user in range(4):
            for block in range(8):
                mine = power[user, asked.block_of_tone == block].mean(0)
                ratio = mine[user] / (mine.sum() - mine[user] + 1.0)
                assert 10 * np.log10(asked.with_residual(ratio)) == pytest.approx(made.predicted_each[user, block], abs=1e-9)


def test_one_carrier_is_designed_by_block_and_by_symbol():
    rng = np.random.default_rng(6)
    known, asked = knowledge(rng), carrier(rng)
    for name in ("comp-blp", "comp-slp", "cbf-slp", "nominal-comp-slp"):
        made = designers[name]()(asked, known)
        asked.check(made)
        assert made.precoders.shape == (2, 1, 4, 16) and made.kind == name[-3:] and np.all(np.isfinite(made.sensing_std))
        if not name.startswith("nominal"):
            assert made.promised >= 10 * np.log10(5.0) - 1e-6
        problem = next(asked.judged(known, made))
        if made.kind == "slp":
            worst = asked.with_residual(margin.sinr(problem, made.precoders[:, 0], made.mode))
            np.testing.assert_allclose(10.0 ** (made.promised_each[:, 0] / 10.0), worst, rtol=1e-6, atol=1e-9)


def test_what_is_asked_is_left_after_the_chains():
    made = band(residual=1e-2)
    assert made.with_residual(np.array(made.without_residual(7.0))) == pytest.approx(7.0)
    with pytest.raises(InputError, match="cannot be asked"):
        band(asked=200.0, residual=1e-2)


def test_too_much_is_infeasible_and_malformed_designs_are_refused():
    known = knowledge(np.random.default_rng(7), delta=0.2)
    with pytest.raises(Infeasible) as error:
        designers["cbf-blp"]()(band(asked=1000.0), known)
    assert error.value.achievable is not None and error.value.achievable < 30.0
    made = designers["cbf-blp"]()(band(asked=0.1), known)
    loud = type(made)(made.precoders * 2.0, made.positions)
    with pytest.raises(InputError, match="cap"):
        band().check(loud)
    with pytest.raises(InputError, match="precoders"):
        band().check(type(made)(made.precoders[:, :3], made.positions))
    with pytest.raises(InputError, match="waveform"):
        carrier(np.random.default_rng(0)).check(made)


@pytest.mark.parametrize("mode", ["comp", "cbf"])
def test_the_adversary_of_symbols_comes_to_the_exact_worst_case_and_breaks_more(mode):
    problem = draw(np.random.default_rng(0), delta=0.05, length=8).with_payload(np.random.default_rng(1))
    made = design(problem, mode, "slp", asked=10.0)
    exact = 10 * np.log10(margin.sinr(problem, made.waveform, mode))
    facts = (made.waveform, problem.channel, problem.radius, problem.noise, problem.cells, mode, problem.payload, problem.psi)
    found = symbols.verdict(*facts, float(exact.min()), np.random.default_rng(2))
    assert found.passed and np.all(found.worst_each >= exact - 1e-6)
    np.testing.assert_allclose(found.worst_each, exact, atol=1e-3)
    broken = symbols.verdict(*facts, float(exact.min()) + 0.05, np.random.default_rng(2))
    assert not broken.passed and broken.shortfall_db == pytest.approx(0.05, abs=2e-3)


@pytest.mark.parametrize("mode", ["cbf", "comp"])
def test_uneven_transmit_chains_are_seen_by_targets_as_by_users(mode):
    """Chains of gains g and W teach what even chains and g W do; a symbol-level design steers through them too."""
    rng = np.random.default_rng(8)
    problem = draw(rng, length=8)
    gains = rng.uniform(0.8, 1.2, (2, 6)) * np.exp(1j * rng.uniform(0, 6, (2, 6)))
    uneven = replace(problem, gains=gains)
    w = rng.standard_normal((2, 6, 6, 2)) @ [1, 1j]
    there, here = fisher.sensing(uneven, mode, w, "blp"), fisher.sensing(problem, mode, gains[..., None] * w, "blp")
    np.testing.assert_allclose(there, here, rtol=1e-9)
    through = replace(uneven, channel=problem.channel * gains[:, None]).with_payload(np.random.default_rng(9))
    even = problem.with_payload(np.random.default_rng(9))
    turned = np.exp(1j * np.angle(gains))  # of unit size the two problems are one, powers included
    alike = replace(through, gains=turned, channel=problem.channel * turned[:, None])
    for kind in ("blp", "slp"):
        one, other = (design(p, mode, kind, asked=5.0).t for p in (alike, even))
        np.testing.assert_allclose(one, other, rtol=2e-3)
