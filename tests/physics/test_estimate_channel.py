"""Per-element channels: y = H @ x, the bounds of least squares and delay window, and honest covariances."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from synthetic import received, tone_channel

from hil.device import Capture
from hil.errors import HilError
from hil.estimate import carrier, channel, window
from hil.waveform import Numerology, SoundingFrame

WIDE, NARROW = Numerology(15.36e6, 11.52e6), Numerology(4.0e6, 3.0e6)
CARRIER = 3.5e9


class Scene:
    """One sounding capture through a known random channel."""

    def __init__(self, rng, *, numerology=WIDE, receivers=1, antennas=4, pilots=8, symbols=28, snr_db=10.0, cfo=None, start=None,
                 frames=2, delays=None, power=1.0, dc=0.0, phases=None, far_s=None):  # fmt: skip
        n = self.numerology = numerology
        self.frame = SoundingFrame(n, 1, 5, antennas, power, pilots, symbols)
        self.delays = np.array([0.0, *np.sort(rng.uniform(0.0, 150e-9, 2))]) if delays is None else np.asarray(delays)
        shape = (receivers, antennas, len(self.delays))
        self.gains = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) / np.sqrt(2 * len(self.delays))
        if far_s is not None:
            self.delays = np.append(self.delays, far_s)
            self.gains = np.concatenate([self.gains, 0.3 * self.gains[..., :1]], axis=-1)
        self.cfo = rng.uniform(-20e3, 20e3) if cfo is None else cfo
        self.start = rng.uniform(0.0, self.frame.length) if start is None else start
        self.noise = np.mean(self.frame.element_power_w) / n.used / 10 ** (snr_db / 10)  # per tone
        samples = frames * self.frame.length + 2 * n.symbol_samples
        y = received(self.frame.samples(), self.gains, self.delays, rate=n.sample_rate_hz, carrier_hz=CARRIER, cfo_hz=self.cfo,
                     start=self.start, samples=samples, rng=rng, noise=self.noise * n.fft, phase=rng.uniform(0, 2 * np.pi))  # fmt: skip
        if phases is not None:
            y = y * np.exp(1j * phases(np.arange(samples) / n.sample_rate_hz))
        self.capture = Capture.of(y + dc, rate=n.sample_rate_hz, carrier=CARRIER, device="u1")
        self.carrier = carrier.refine(self.capture, self.frame, carrier.acquire(self.capture, self.frame))

    def estimate(self, **how):
        return channel.estimate(self.capture, self.frame, self.carrier, **how)

    def truth(self, got):
        """(channel, tone, antenna), turned by the one phase per capture that nobody can know and referred to the estimate's delay."""
        delta = self.cfo / CARRIER
        reference = got.delay_s - ((1 + delta) * self.start / self.numerology.sample_rate_hz - delta * got.centre_s)
        h = tone_channel(self.numerology, self.gains, self.delays)
        turn = self.frame.length / self.numerology.sample_rate_hz
        reference = (reference + turn / 2) % turn - turn / 2
        h = h * np.exp(2j * np.pi * self.numerology.frequencies_hz * reference)[None, :, None]
        common = np.vdot(h, got.value)
        return h * common / abs(common)


def test_y_is_h_times_x():
    """A conjugated pilot, an antenna permutation, a wrong delay sign or amplitude: all fail against what a new x lets through."""
    rng = np.random.default_rng(1)
    scene = Scene(rng, receivers=3, snr_db=45.0, power=(2e-5, 1e-5, 4e-5, 1e-5))
    got = scene.estimate()
    truth = scene.truth(got)
    x = rng.standard_normal((384, 4)) + 1j * rng.standard_normal((384, 4))
    y, predicted = (np.einsum("rkn,kn->rk", h, x) for h in (truth, got.value))
    assert np.linalg.norm(y - predicted) / np.linalg.norm(y) < 3e-3
    assert np.linalg.norm(np.conj(got.value) - truth) > np.linalg.norm(truth)
    assert got.response.above_threshold and "y = H @ x" in got.response.assumptions


def errors(seed, trials, how, **scene):
    rng = np.random.default_rng(seed)
    ratio, predicted, cover, blocks = [], [], [], []
    for _ in range(trials):
        one = Scene(rng, **scene)
        got = one.estimate(**how)
        error = got.value - one.truth(got)
        ratio.append(np.mean(np.abs(error) ** 2))
        predicted.append(np.mean(got.variance))
        block = one.numerology.block_mean(error, axis=1)
        covariance = got.response.covariance
        # the estimate's own noise variance scatters: judge blocks through their covariance
        distance = np.real(np.einsum("rbn,rbnm,rbm->rb", block.conj(), np.linalg.inv(covariance), block))
        blocks.append(distance.mean() / block.shape[-1])
        limit = 0.5 * 15.50731 if block.shape[-1] == 4 else 0.5 * 9.487729  # half chi-square of 2n, 95 %
        cover.append(np.mean(distance < limit))
    return np.array(ratio), np.array(predicted), np.array(blocks), np.array(cover)


@pytest.mark.parametrize(
    "how, scene, level_db",
    [
        ({"window_s": None}, {"snr_db": 10.0}, -10.0 - 10 * np.log10(4 * 4)),
        ({}, {"snr_db": 10.0, "frames": 1}, -33.1),
        ({}, {"snr_db": 20.0, "frames": 1}, -43.1),
        ({}, {"snr_db": 10.0, "frames": 1, "numerology": NARROW, "antennas": 2, "delays": [0.0, 100e-9]}, None),
    ],
)
def test_error_is_what_the_covariance_says(how, scene, level_db):
    trials = 16
    measured, predicted, blocks, cover = errors(2, trials, how, **scene)
    excess = measured.mean() / predicted.mean()
    assert abs(excess - 1.0) < 0.06 + 3.0 * np.std(measured / predicted) / np.sqrt(trials)
    assert blocks.mean() == pytest.approx(1.0, abs=0.05 + 3.0 * np.std(blocks) / np.sqrt(trials))
    assert cover.mean() == pytest.approx(0.95, abs=0.02 + 3.0 * np.std(cover) / np.sqrt(trials))
    if level_db is not None:  # the specification's own figures, for unit-gain elements
        assert 10 * np.log10(measured.mean()) == pytest.approx(level_db, abs=0.5)


@pytest.mark.slow
@pytest.mark.parametrize("scene", [{"antennas": 4}, {"antennas": 16, "pilots": 32, "symbols": 36, "snr_db": 20.0}])
def test_window_reaches_its_bound_in_full(scene):
    measured, predicted, blocks, _ = errors(3, 120, {}, frames=1, **scene)
    assert measured.mean() / predicted.mean() == pytest.approx(1.0, abs=0.05)
    assert blocks.mean() == pytest.approx(1.0, abs=0.05)


def test_golden_window_rank():
    assert window.delay_filter(WIDE, 0.0125).rank == 15
    wide = window.delay_filter(WIDE, 0.0125)
    np.testing.assert_allclose(wide.directions.conj().T @ wide.directions, np.eye(15), atol=1e-10)
    assert np.sum(wide.spread()) == pytest.approx(15.0)
    echo = np.exp(-2j * np.pi * WIDE.frequencies_hz * 0.4e-6)
    assert np.linalg.norm(wide(echo) - echo) < 0.08 * np.linalg.norm(echo)
    late = np.exp(-2j * np.pi * WIDE.frequencies_hz * 2.0e-6)
    assert np.linalg.norm(wide(late)) < 0.2 * np.linalg.norm(late)


def test_prior_is_the_least_mean_square_error():
    """R (R + v)^-1 and its error R - R (R + v)^-1 R of echoes uniform in the window, R in closed form."""
    f, v = NARROW.frequencies_hz, 0.3
    apart = f[:, None] - f[None, :]
    middle, width = (window.EARLIEST + window.LATEST) / 2.0, window.LATEST - window.EARLIEST
    R = np.sinc(apart * width) * np.exp(-2j * np.pi * apart * middle)
    weights = R @ np.linalg.inv(R + v * np.eye(96))
    got = window.delay_filter(NARROW, v, prior=True)
    assert np.linalg.norm(got(np.eye(96, dtype=complex)).T - weights, 2) < 0.1  # directions below a tenth of the noise are left out
    error = np.real(np.diag(R - weights @ R))
    np.testing.assert_allclose(v * got.spread(), error, rtol=0.1)


def test_block_spread_is_that_of_white_noise_through_the_filter():
    rng = np.random.default_rng(4)
    sieve = window.delay_filter(WIDE, 0.01)
    noise = (rng.standard_normal((4000, 384)) + 1j * rng.standard_normal((4000, 384))) / np.sqrt(2)
    through = WIDE.block_mean(sieve(noise))
    np.testing.assert_allclose(np.mean(np.abs(through) ** 2, 0), sieve.block_spread(WIDE), rtol=0.12)
    np.testing.assert_allclose(np.mean(np.abs(sieve(noise)) ** 2, 0), sieve.spread(), rtol=0.12)


def test_prior_gains_on_the_projection_and_says_so():
    scene, both = {"snr_db": 10.0, "frames": 1, "delays": np.linspace(0.0, 0.4e-6, 12)}, (-0.4e-6, 0.4e-6)
    measured, predicted, *_ = errors(5, 8, {"prior": True, "window_s": both}, **scene)
    plain, *_ = errors(5, 8, {"window_s": both}, **scene)
    assert measured.mean() < 0.97 * plain.mean()
    assert measured.mean() == pytest.approx(predicted.mean(), rel=0.2)


@pytest.mark.parametrize("pilots, symbols", [(4, 8), (8, 12), (24, 28)])
def test_noise_has_the_right_degrees_of_freedom(pilots, symbols):
    """One visit only, two, six: dividing by n instead of n - p would read 3 dB low at two."""
    rng = np.random.default_rng(6)
    ratios = []
    for _ in range(6):
        scene = Scene(rng, receivers=2, pilots=pilots, symbols=symbols, frames=1, snr_db=15.0)
        got = scene.estimate()
        assert got.frames == 1
        ratios.append(got.noise.value / scene.noise)
    assert np.mean(ratios) == pytest.approx(1.0, abs=0.04)
    assert got.noise.std == pytest.approx(got.noise.value / np.sqrt(384 * (pilots - 4)) if pilots > 4 else got.noise.std, rel=0.03)


def test_every_turn_of_the_buffer_lowers_the_error():
    rng = np.random.default_rng(7)
    one, three = (np.mean([np.mean(s.estimate().variance) for s in (Scene(rng, frames=f) for _ in range(3))]) for f in (1, 3))
    assert one / three == pytest.approx(3.0, rel=0.2)


def test_phase_steps_between_symbols_are_tracked():
    wander = lambda t: 0.35 * np.sin(2 * np.pi * 1300.0 * t) + 0.2 * np.sin(2 * np.pi * 410.0 * t + 1.0)
    measured, predicted, *_ = errors(8, 8, {}, snr_db=15.0, phases=wander)
    loose, *_ = errors(8, 8, {"track_phase": False}, snr_db=15.0, phases=wander)
    # what is left: leakage within a symbol and the phase of each comb; without tracking the window cannot see it
    assert measured.mean() < 0.3 * loose.mean()
    assert measured.mean() < 2.0 * predicted.mean()


def test_carrier_error_is_propagated_when_phases_are_not_tracked():
    rng = np.random.default_rng(9)
    scene = Scene(rng, snr_db=25.0)
    tracked, plain = scene.estimate(), scene.estimate(track_phase=False)
    extra = plain.response.covariance - plain.response.bound
    late = np.linalg.eigvalsh(extra)[..., -1] / np.linalg.norm(scene.numerology.block_mean(plain.value, axis=1), axis=-1) ** 2
    assert np.all(np.linalg.matrix_rank(extra, tol=1e-9 * np.abs(extra).max()) <= 1)  # elements err together
    assert np.all(late < (2 * np.pi * scene.carrier.cfo.std[0] * 1e-3) ** 2)
    # its size: what a carrier 1 Hz higher and lower, turned about its epoch, makes of the channels
    sides = []
    for step in (1.0, -1.0):
        off = replace(scene.carrier, cfo=replace(scene.carrier.cfo, value=scene.carrier.cfo.value + step))
        got = channel.estimate(scene.capture, scene.frame, off, track_phase=False).value
        sides.append(scene.numerology.block_mean(got, axis=1) * np.exp(2j * np.pi * step * scene.carrier.centre_s))
    slope = (sides[0] - sides[1]) / 2.0
    expected = scene.carrier.cfo.covariance[0, 0] * slope[..., :, None] * slope[..., None, :].conj()
    np.testing.assert_allclose(np.linalg.norm(extra, axis=(2, 3)), np.linalg.norm(expected, axis=(2, 3)), rtol=0.3)
    assert np.linalg.norm(extra) == pytest.approx(np.linalg.norm(expected), rel=0.05)
    # and every tone's variance has it as well
    known = replace(scene.carrier, cfo=replace(scene.carrier.cfo, covariance=1e4 * scene.carrier.cfo.covariance))
    more = channel.estimate(scene.capture, scene.frame, known, track_phase=False).variance - plain.variance
    each = np.real(np.einsum("rbnn->rbn", extra))
    np.testing.assert_allclose(scene.numerology.block_mean(more, axis=1), (1e4 - 1.0) * each, rtol=1e-6)
    assert np.all(np.linalg.eigvalsh(tracked.response.covariance)[..., 0] >= np.real(tracked.response.bound[..., 0, 0]) * 0.999)


def test_receiver_dc_does_not_reach_the_channel():
    """-6 dB of the signal, removed before derotation; after it, DC sits at -cfo on the tones next to it."""
    rng = np.random.default_rng(10)
    scene = Scene(rng, snr_db=20.0, cfo=11e3, dc=0.5 - 0.1j)
    got = scene.estimate()
    error = np.mean(np.abs(got.value - scene.truth(got)) ** 2)
    assert error < 2.0 * np.mean(got.variance)
    assert got.noise.value[0] == pytest.approx(scene.noise, rel=0.1)


def test_echo_beyond_the_window_is_a_misfit_and_widens_the_covariance():
    rng = np.random.default_rng(11)
    near, far = Scene(rng, snr_db=20.0), Scene(rng, snr_db=20.0, far_s=1.4e-6)
    fine, bad = near.estimate(), far.estimate()
    assert "model misfit" not in fine.response.assumptions and fine.response.residual_test == pytest.approx(1.0, abs=0.15)
    assert "model misfit" in bad.response.assumptions and bad.response.residual_test > 3.0
    assert np.mean(bad.variance) > 3.0 * np.mean(fine.variance)
    assert np.mean(np.abs(far.estimate(window_s=None).value - far.truth(bad)) ** 2) < np.mean(np.abs(bad.value - far.truth(bad)) ** 2)


def test_scale_turns_noise_into_watts_and_leaves_the_channel_relative_to_what_was_sent():
    rng = np.random.default_rng(12)
    scene = Scene(rng, snr_db=20.0)
    plain, scaled = scene.estimate(), scene.estimate(scale=1e-4)
    np.testing.assert_allclose(scaled.noise.value, plain.noise.value * 1e-8)
    np.testing.assert_allclose(scaled.value, plain.value * 1e-4, atol=1e-9)
    np.testing.assert_allclose(scaled.variance, plain.variance * 1e-8, rtol=1e-4)


def test_removed_delay_is_where_the_strongest_echo_arrives():
    rng = np.random.default_rng(13)
    scene = Scene(rng, snr_db=30.0, delays=[80e-9], start=2000.25, cfo=14e3)
    got = scene.estimate()
    delta = scene.cfo / CARRIER
    arrival = (1 + delta) * 2000.25 / 15.36e6 - delta * got.centre_s + 80e-9
    assert got.delay_s == pytest.approx(arrival, abs=2e-9)
    slope = np.angle(np.sum(got.value[:, 1:] * np.conj(got.value[:, :-1])))  # 80 ns left in would be -15 mrad from tone to tone
    late = Scene(rng, snr_db=30.0, delays=[80e-9], start=2004.25, cfo=14e3)
    off = channel.estimate(late.capture, late.frame, replace(late.carrier, start=2000.25))
    assert abs(slope) < 1e-3 and abs(np.angle(np.sum(off.value[:, 1:] * np.conj(off.value[:, :-1])))) < 1e-3


def test_clipped_or_short_captures_are_refused():
    rng = np.random.default_rng(14)
    scene = Scene(rng)
    clipped = Capture.of(scene.capture.samples, rate=15.36e6, carrier=CARRIER, clipped=0.2)
    with pytest.raises(HilError) as caught:
        channel.estimate(clipped, scene.frame, scene.carrier)
    assert caught.value.id == "capture-clipped" and "20" in caught.value.found
    short = Capture.of(scene.capture.samples[:, :14000], rate=15.36e6, carrier=CARRIER)
    with pytest.raises(HilError) as caught:
        channel.estimate(short, scene.frame, scene.carrier)
    assert caught.value.id == "capture-short"
    noted = Capture.of(scene.capture.samples, rate=15.36e6, carrier=CARRIER, clipped=0.02)
    assert "clipped" in channel.estimate(noted, scene.frame, scene.carrier).response.assumptions
