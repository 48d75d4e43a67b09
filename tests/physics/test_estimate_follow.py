"""A frame that is followed: the estimates of the searching route within their errors, and told when they are not to be believed."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic import tone_channel
from test_estimate_carrier import CARRIER, NARROW, WIDE, capture_of, rayleigh

from hil.device import Capture
from hil.errors import HilError
from hil.estimate import carrier, channel, sums
from hil.estimate.acquisition import Acquisition
from hil.estimate.follow import Follower
from hil.waveform import SoundingFrame


@pytest.mark.parametrize("numerology, antennas, pilots, receivers", [(WIDE, 16, 16, 1), (WIDE, 4, 8, 2), (NARROW, 2, 8, 1), (NARROW, 1, 8, 1)])
def test_it_is_the_searching_estimator(numerology, antennas, pilots, receivers):
    """Same likelihood, same bound: a tenth of a standard deviation apart, from a carrier 4 Hz and a start 0.2 samples off."""
    rng = np.random.default_rng(antennas)
    frame = SoundingFrame(numerology, 0, 1, antennas, 1.0, pilots, 28)
    gains, delays = rayleigh(rng, receivers, antennas)
    capture, _ = capture_of(frame, rng, cfo=900.0, start=77.4, snr_db=20.0, gains=gains, delays=delays)
    slow = carrier.refine(capture, frame, Acquisition(77.0, 896.0, 1.0, 0.0))
    fast = Follower(frame, antennas)(capture, slow.start - 0.1, 896.0)
    assert fast.holds
    assert abs(fast.cfo_hz - slow.cfo_hz) < 0.1 * slow.cfo.bound_std[0]
    assert fast.variance == pytest.approx(slow.cfo.bound[0, 0], rel=0.02)
    assert fast.centre_s == pytest.approx(slow.centre_s, abs=1e-9)
    np.testing.assert_allclose(fast.noise, slow.noise, rtol=0.02)
    assert fast.start == pytest.approx(slow.start, abs=0.05)  # the slow one interpolates a grid of delays
    if antennas > 1:
        found = channel.estimate(capture, frame, slow, window_s=None, track_phase=False)
        late = fast.reference / numerology.sample_rate_hz - found.delay_s
        same = fast.gains * np.exp(2j * np.pi * numerology.frequencies_hz * -late)[:, None]
        turn = np.exp(1j * np.angle(np.vdot(same, found.value)))
        off = np.mean(np.abs(same * turn - found.value) ** 2) / np.mean(fast.error)
        assert off < 0.15  # its symbols are those of whole frames only
        np.testing.assert_allclose(fast.error, found.variance.mean(1), rtol=0.05)


def test_error_of_carrier_and_elements_is_what_is_said():
    rng = np.random.default_rng(5)
    frame, errors = SoundingFrame(NARROW, 0, 1, 4, 1.0, 8, 28), []
    follower = Follower(frame, 4)
    for _ in range(100):
        gains = rayleigh(rng, 1, 4, 1)[0]
        cfo, start = rng.uniform(-4e3, 4e3), rng.uniform(0.0, 100.0)
        capture, _ = capture_of(frame, rng, cfo=cfo, start=start, snr_db=15.0, gains=gains, samples=frame.length + 137)
        got = follower(capture, start + rng.uniform(-0.2, 0.2), cfo + rng.uniform(-5.0, 5.0))
        true = tone_channel(NARROW, gains, np.zeros(1))[0]
        seen = got.gains[0] * np.exp(2j * np.pi * NARROW.tones * (start - got.reference) / 128)[:, None]
        # the carrier's phase at the centroid is nobody's to know: one phase for all
        seen = seen * np.exp(1j * np.angle(np.vdot(seen, true)))
        errors.append([(got.cfo_hz - cfo) / got.variance**0.5, (got.start - start) / got.start_variance**0.5,
                       np.mean(np.abs(seen - true) ** 2 / got.error)])  # fmt: skip
        assert got.holds
    ratio = np.sqrt(np.mean(np.square(errors), axis=0)[:2])
    assert np.all(np.abs(ratio - 1.0) < 0.05 + 2.576 / np.sqrt(200.0)), ratio
    assert np.mean(errors, axis=0)[2] == pytest.approx(1.0, abs=0.02)


def test_sums_are_the_taylor_series_of_the_likelihood():
    """J(w) = sum |sum Z exp(-j w t)|^2/E, its slope and bend by differences; gains after a step to the third order in w t."""
    rng = np.random.default_rng(9)
    t, energy = np.arange(-14.0, 15.0), rng.uniform(1.0, 2.0, (1, 5))
    Z = rng.standard_normal((29, 5)) + 1j * rng.standard_normal((29, 5)) + 3.0
    moments = np.stack([part for i in range(3) for part in ((Z * t[:, None] ** i).sum(0).real, (Z * t[:, None] ** i).sum(0).imag)])
    moments, inverse = moments[None, None].astype(np.float32), (1.0 / energy).astype(np.float32)
    turned = lambda w: (Z * np.exp(-1j * w * t)[:, None]).sum(0)
    J = lambda w: float(np.sum(np.abs(turned(w)) ** 2 / energy))
    got, h = np.empty((1, 3)), 1e-4
    sums.slopes(moments, inverse, got)
    np.testing.assert_allclose(got[0], [J(0.0), (J(h) - J(-h)) / (4 * h), (J(h) - 2 * J(0.0) + J(-h)) / (2 * h**2)], rtol=1e-4)
    out, strength = np.empty((1, 1, 5), np.complex64), np.empty(1)
    for w in (2e-3, -4e-3):  # 0.03 and 0.06 radians at the ends
        sums.gains(moments, inverse, np.ones((1, 5), np.float32), np.float32(w), out, strength)
        np.testing.assert_allclose(out[0, 0], turned(w) / energy[0], atol=abs(w * 14) ** 3 / 6 * np.abs(Z).sum(0).max())
        assert strength[0] == pytest.approx(float(np.sum(np.abs(out) ** 2)), rel=1e-5)


def test_receiver_dc_is_subtracted_before_derotation():
    rng = np.random.default_rng(6)
    frame = SoundingFrame(NARROW, 0, 1, 2, 1.0, 8, 28)
    capture, _ = capture_of(frame, rng, cfo=9e3, start=5.0, snr_db=25.0)
    offset = np.complex64(0.8 - 0.3j)
    spoilt = Capture.of(capture.samples + offset, rate=4e6, carrier=CARRIER)
    follow = Follower(frame, 2)
    clean, hurt, cured = follow(capture, 5.0, 9e3), follow(spoilt, 5.0, 9e3), follow(spoilt, 5.0, 9e3, dc=np.array([offset]))
    assert hurt.noise[0] > 1.5 * clean.noise[0]
    assert cured.noise[0] == pytest.approx(clean.noise[0], rel=1e-4) and cured.cfo_hz == pytest.approx(clean.cfo_hz, abs=1e-3)


def test_it_says_when_it_lost_the_frame():
    rng = np.random.default_rng(7)
    frame = SoundingFrame(NARROW, 0, 1, 2, 1.0, 8, 28)
    capture, per_tone = capture_of(frame, rng, cfo=1e3, start=5.0, snr_db=20.0)
    follow = Follower(frame, 2)
    assert follow(capture, 5.0, 1e3, noise=np.array([per_tone])).holds
    assert follow(capture, 5.0, 1_040.0).holds  # 0.25 radians of phase at the ends: two more passes
    assert not follow(capture, 7.0, 1e3).holds  # two samples late
    assert not follow(capture, 5.0, 1e3, noise=np.array([per_tone / 2])).holds
    assert not follow(capture, 5.0, 3e3, noise=np.array([per_tone])).holds
    other = capture_of(SoundingFrame(NARROW, 0, 2, 2, 1.0, 8, 28), rng, cfo=1e3, start=5.0, snr_db=20.0)[0]
    assert not follow(other, 5.0, 1e3, noise=np.array([per_tone])).holds


@pytest.mark.parametrize(
    "spoil, cfo, found",
    [
        (lambda y: y[:, :400], 1e3, "capture-short"),
        (lambda y: np.where(np.arange(y.shape[1]) == 900, np.nan, y), 1e3, "capture-unusable"),
        (lambda y: np.vstack([y, 0 * y]), 1e3, "capture-unusable"),
        (lambda y: y, 6e-6 * CARRIER, "capture-unusable"),
    ],
)
def test_what_cannot_be_followed_is_refused(spoil, cfo, found):
    rng = np.random.default_rng(8)
    frame = SoundingFrame(NARROW, 0, 1, 2, 1.0, 8, 28)
    capture, _ = capture_of(frame, rng, cfo=1e3, start=5.0, snr_db=20.0)
    with pytest.raises(HilError) as caught:
        Follower(frame, 2)(Capture.of(spoil(capture.samples), rate=4e6, carrier=CARRIER), 5.0, cfo)
    assert caught.value.id == found
