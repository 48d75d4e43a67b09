"""Receiver noise: the generator's known answers, its statistics, and what the world makes of it; converters."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sites import RATE, configure, digitise, pair, radio, site, waveform

from hil.clock import VirtualClock
from hil.device import Setting
from sim_backend import noise
from sim_backend.converter import noise_power, on_grid, to_codes
from sim_backend.medium import Medium
from sim_backend.world import build


def drawn(key: int, first: int, count: int, power: float = 2.0) -> np.ndarray:
    re, im = np.zeros((2, count), np.float32)
    noise.add(key, first, power, re, im)
    return re + 1j * im


def test_philox_known_answers():
    assert [f"{w:08x}" for w in noise.words(0, 0, 1)[:, 0]] == ["6627e8d5", "e169c58d", "bc57ac4c", "9b00dbd8"]
    assert drawn(0, 0, 2) == pytest.approx([0.991138 - 0.924663j, -0.617609 - 0.482069j], abs=2e-6)


def test_philox_against_a_second_implementation():
    """Every word of the key and of the counter counts: the same rounds with Python's integers."""

    def philox(counter: int, key: int) -> list[int]:
        c = [counter >> (32 * i) & 0xFFFFFFFF for i in range(4)]
        k = [key & 0xFFFFFFFF, key >> 32]
        for _ in range(10):
            p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
            c = [(p1 >> 32) ^ c[1] ^ k[0], p1 & 0xFFFFFFFF, (p0 >> 32) ^ c[3] ^ k[1], p0 & 0xFFFFFFFF]
            k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
        return c

    assert philox(2**128 - 1, 2**64 - 1) == [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]
    for counter, key in ((0, 0), (7_680_000_123_456, 0x0123456789ABCDEF), (2**64 - 2, 2**64 - 1)):
        assert noise.words(key, counter, 1)[:, 0].tolist() == philox(counter, key)


def test_box_muller_against_the_formula():
    w = noise.words(99, 1000, 4096).astype(np.float64)
    even = np.sqrt(-2 * np.log((w[0] + 0.5) / 2**32)) * np.exp(2j * np.pi * w[1] / 2**32)
    odd = np.sqrt(-2 * np.log((w[2] + 0.5) / 2**32)) * np.exp(2j * np.pi * w[3] / 2**32)
    found = drawn(99, 2000, 8192)
    assert np.abs(found[0::2] - even).max() < 5e-6 and np.abs(found[1::2] - odd).max() < 5e-6


def test_moments_and_distribution():
    z = drawn(5, 0, 1 << 20)
    for part in (z.real, z.imag):
        assert part.mean() == pytest.approx(0.0, abs=5e-3)
        assert part.var() == pytest.approx(1.0, abs=7e-3)
        assert stats.kurtosis(part) == pytest.approx(0.0, abs=0.03)
        assert stats.kstest(part[::7], "norm").pvalue > 1e-3
        for sigma in (3.0, 4.0):
            assert np.mean(np.abs(part) > sigma) == pytest.approx(2 * stats.norm.sf(sigma), rel=0.25)
    assert abs(np.mean(z.real * z.imag)) < 5e-3
    spectrum = (np.abs(np.fft.fft(z.reshape(-1, 256), axis=1)) ** 2).mean(axis=0)
    assert spectrum.max() / spectrum.min() < 1.25  # white: 4096 periodograms scatter by 1.6 %


def test_one_stretch_is_the_same_however_it_is_cut():
    whole = drawn(3, 4096, 5000)
    assert np.array_equal(whole[1024:3000], drawn(3, 5120, 1976))


def test_idle_power_follows_rate_and_gain():
    world = build(pair(), VirtualClock())
    for rate in (RATE, RATE / 2):
        for gain in (40.0, 60.0, 30.0):
            configure(world, rate=rate, gain=gain)
            heard = world.radio("b").capture(60000, 1.0).samples
            power = (np.abs(heard) ** 2).mean(axis=1) * 1e-3 * 10 ** ((-10.0 - gain) / 10)
            rounding = 2 * (2.0**-11) ** 2 / 12 * 1e-3 * 10 ** ((-10.0 - gain) / 10)
            assert 10 * np.log10((power - rounding) / noise_power(rate, 7.0, gain)) == pytest.approx(
                [0.0, 0.0], abs=4 * 4.34 / np.sqrt(60000)
            )


def growth_with_two_silent_transmissions() -> float:
    """Idle power with two transmitters that send zeros, over idle power without."""
    world = build(site([radio("a", 1, 0, [0, 0, 1]), radio("c", 1, 0, [0, 5, 1]), radio("b", 0, 2, [9, 0, 1])]), VirtualClock())
    configure(world, gain=60.0)
    quiet = (np.abs(world.radio("b").capture(60000, 1.0).samples) ** 2).mean()
    for name in ("a", "c"):
        world.radio(name).load(1, np.zeros((1, 512), np.complex64))
        world.radio(name).apply(1)
    return float((np.abs(world.radio("b").capture(60000, 1.0).samples) ** 2).mean() / quiet)


def test_noise_belongs_to_the_receiver_and_not_to_links(monkeypatch):
    assert growth_with_two_silent_transmissions() == pytest.approx(1.0, rel=0.03)
    receive = Medium.receive

    def noisy_links(self, tuning, airings, first, out_re, out_im):
        for airing in airings:
            for channel in range(out_re.shape[0]):
                noise.add(airing.number, first, noise_power(RATE, 7.0, 60.0), out_re[channel], out_im[channel])
        receive(self, tuning, airings, first, out_re, out_im)

    monkeypatch.setattr(Medium, "receive", noisy_links)
    assert growth_with_two_silent_transmissions() > 2.0  # what this test must catch


def test_truth_states_the_noise_power_at_the_port():
    world = build(pair(), VirtualClock())
    configure(world, gain=30.0)
    assert world.truth.noise_power("b") == pytest.approx([noise_power(RATE, 7.0, 30.0)] * 2)


def test_channels_devices_seeds_and_times_are_independent():
    captures = []
    for seed in (1, 2):
        world = build(site([radio("b", 0, 2, [9, 0, 1]), radio("c", 0, 1, [9, 3, 1])], seed=seed), VirtualClock())
        configure(world, gain=60.0)
        captures += [*world.radio("b").capture(20000, 1.0).samples, *world.radio("c").capture(20000, 1.0).samples]
        captures += [*world.radio("b").capture(20000, 1.0).samples]
    z = np.array(captures)
    correlation = np.abs(z @ z.conj().T) / np.outer(np.linalg.norm(z, axis=1), np.linalg.norm(z, axis=1))
    assert np.max(correlation - np.eye(len(z))) < 5 / np.sqrt(20000)


def test_codes_are_whole_rounded_and_held_at_the_rails():
    rng = np.random.default_rng(0)
    x = (rng.uniform(-0.999, 0.999, 5000) + 1j * rng.uniform(-0.999, 0.999, 5000)).astype(np.complex64)[None]
    out, clipped = digitise(x.real.copy(), x.imag.copy(), np.array([1.0]), 12)
    codes = out * 2048
    assert np.array_equal(codes, np.round(codes.real) + 1j * np.round(codes.imag))
    assert np.abs(codes - x * 2048).max() < np.sqrt(0.5) + 1e-3 and clipped == 0
    loud, held = digitise(np.float32([[3.0, -3.0, 0.0, 0.1]]), np.zeros((1, 4), np.float32), np.array([1.0]), 12)
    assert (loud.real * 2048).tolist() == [[2047.0, -2048.0, 0.0, 205.0]] and held == 2
    sent, saturated = to_codes(np.array([[1.0 + 0.25j, -1.0, 0.5]], np.complex64), 12)
    assert sent[0].tolist() == [2047 + 512j, -2048, 1024] and saturated == 1


def test_quantiser_of_a_full_scale_tone():
    n = np.arange(1 << 16)
    tone = 0.9995 * np.exp(2j * np.pi * 0.1234567 * n)
    out, _ = digitise(tone.real.astype(np.float32)[None], tone.imag.astype(np.float32)[None], np.array([1.0]), 12)
    assert 10 * np.log10(1 / (np.abs(out[0] - tone) ** 2).mean()) == pytest.approx(74.0, abs=0.1)


def test_a_receiver_with_too_much_gain_says_how_often_it_clipped():
    world = build(pair({"receiver": {"noise_figure_db": -1000.0}}, transmit=1, receive=1), VirtualClock())
    configure(world, gain=40.0, attenuation=0.0)
    world.radio("a").load(1, waveform(np.random.default_rng(0), 1, 512, rms=0.3))
    world.radio("a").apply(1)
    fair = world.radio("b").capture(5000, 1.0)
    world.radio("b").configure(Setting(3.5e9, RATE, (71.0,)))
    loud = world.radio("b").capture(5000, 1.0)
    assert fair.clipped == 0.0 and 0.5 < loud.clipped <= 1.0
    codes = loud.samples * loud.full_scale
    assert codes.real.max() == 2047 and codes.real.min() == -2048
    assert loud.clipped == np.mean((np.maximum(codes.real, codes.imag) >= 2047) | (np.minimum(codes.real, codes.imag) <= -2048))


@pytest.mark.parametrize(("asked", "became"), [(12.4, 12.0), (12.6, 13.0), (-99.0, -3.0), (99.0, 71.0)])
def test_gains_land_on_their_grid(asked, became):
    assert on_grid(asked, -3.0, 71.0, 1.0) == became
