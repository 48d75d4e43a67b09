"""Carrier, clock and arrival: signs, drift, efficiency, honest flags."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic import received

from hil.clock import Instant
from hil.device import Capture
from hil.errors import HilError
from hil.estimate import acquisition, bounds, carrier, timing
from hil.waveform import MeasuringFrame, Numerology, SoundingFrame

WIDE, NARROW = Numerology(15.36e6, 11.52e6), Numerology(4.0e6, 3.0e6)
CARRIER = 3.5e9


def capture_of(frame, rng, *, cfo, start, snr_db, samples=None, gains=None, delays=(0.0,), level=1.0, clock=None, jumps=None):
    """A capture of `frame` with `snr_db` per used tone and antenna; noise is set per sample: N/K x power over snr."""
    n = frame.numerology
    gains = np.ones((1, frame.antennas, 1)) if gains is None else gains
    power = np.mean(np.abs(frame.samples()) ** 2)
    noise = power * n.fft / n.used / 10 ** (snr_db / 10)
    samples = samples or 2 * frame.length + n.symbol_samples
    y = received(frame.samples(), gains, np.asarray(delays), rate=n.sample_rate_hz, carrier_hz=CARRIER, cfo_hz=cfo, start=start,
                 samples=samples, rng=rng, noise=noise, phase=rng.uniform(0, 2 * np.pi))  # fmt: skip
    return Capture.of(level * y, rate=n.sample_rate_hz, carrier=CARRIER, clock=clock, device="receiver"), noise / n.fft


def rayleigh(rng, receivers, antennas, paths=3):
    shape = (receivers, antennas, paths)
    gains = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) / np.sqrt(2 * paths)
    return gains, np.concatenate([[0.0], np.sort(rng.uniform(0, 150e-9, paths - 1))])


@pytest.mark.parametrize(
    "rate, used, symbols, cfo, delay_ns, phase",
    [
        (4.0e6, 3.0e6, 28, 0.784147, 0.246793, 1.363862e-3),
        (3.84e6, 2.88e6, 28, 0.752782, 0.257076, 1.363862e-3),
        (15.36e6, 11.52e6, 28, 0.376391, 0.032509, 6.819309e-4),
        (30.72e6, 23.04e6, 28, 0.266148, 0.011516, 4.821980e-4),
        (15.36e6, 11.52e6, 8, 2.466820, 0.060819, 1.275776e-3),
    ],
)
def test_golden_bounds(rate, used, symbols, cfo, delay_ns, phase):
    bound = bounds.carrier_bounds(Numerology(rate, used), symbols, 100.0)
    assert bound.cfo_hz == pytest.approx(cfo, rel=1e-5)
    assert bound.delay_s * 1e9 == pytest.approx(delay_ns, rel=3e-5)
    assert bound.phase_rad == pytest.approx(phase, rel=1e-5)


def test_golden_times_and_block():
    bound = bounds.carrier_bounds(NARROW, 28, 100.0)
    assert bound.time_variance == pytest.approx(7.662765625e-8, rel=1e-9)
    assert bound.centre_s == pytest.approx(478.25e-6, rel=1e-9)
    assert bounds.block_cfo_bound(4096, 4e6, 100.0) == pytest.approx(0.5948614649, rel=1e-8)


@pytest.mark.parametrize("half_tones", [-9, -4, -1, 0, 1, 2, 7])
def test_acquisition_finds_even_and_odd_hypotheses(half_tones):
    rng = np.random.default_rng(100 + half_tones)
    frame = SoundingFrame(WIDE, 3, 1, 4, 1.0)
    cfo = half_tones * WIDE.spacing_hz / 2 + rng.uniform(-6e3, 6e3)
    start = rng.uniform(0, frame.length)
    gains, delays = rayleigh(rng, 2, 4)
    capture, _ = capture_of(frame, rng, cfo=cfo, start=start, snr_db=0.0, gains=gains, delays=delays)
    found = carrier.acquire(capture, frame)
    assert found.above_threshold
    assert abs(found.cfo_hz - cfo) < WIDE.spacing_hz / 4
    late = (found.start - start + frame.length / 2) % frame.length - frame.length / 2
    assert abs(late) < WIDE.prefix / 2


def test_acquisition_success_rate_over_trials():
    rng = np.random.default_rng(7)
    frame = SoundingFrame(NARROW, 1, 1, 2, 1.0, 4, 12)
    good = 0
    for _ in range(60):
        cfo, start = rng.uniform(-100e3, 100e3), rng.uniform(0, frame.length)
        gains, delays = rayleigh(rng, 1, 2)
        capture, _ = capture_of(frame, rng, cfo=cfo, start=start, snr_db=6.0, gains=gains, delays=delays)
        found = carrier.acquire(capture, frame)
        late = (found.start - start + frame.length / 2) % frame.length - frame.length / 2
        good += abs(found.cfo_hz - cfo) < NARROW.spacing_hz / 4 and abs(late) < NARROW.prefix
    assert good >= 57  # 0.995 at 0 dB without fading of all antennas


def test_another_devices_frame_and_noise_stay_below_threshold():
    rng = np.random.default_rng(8)
    other = SoundingFrame(WIDE, 1, 1, 4, 1.0)
    gains, delays = rayleigh(rng, 1, 4)
    capture, _ = capture_of(other, rng, cfo=5e3, start=700.0, snr_db=20.0, gains=gains, delays=delays)
    noise = rng.standard_normal((1, 31236)) + 1j * rng.standard_normal((1, 31236))
    for kept in (capture, Capture.of(noise, rate=15.36e6, carrier=CARRIER)):
        found = carrier.acquire(kept, SoundingFrame(WIDE, 0, 1, 4, 1.0))
        assert not found.above_threshold
        with pytest.raises(HilError) as caught:
            carrier.refine(kept, SoundingFrame(WIDE, 0, 1, 4, 1.0), found)
        assert caught.value.id == "no-preamble"


def test_threshold_of_noise_follows_the_tail_of_a_sum_of_exponentials():
    x = acquisition.noise_threshold(WIDE, 353_000.0) * 2 * WIDE.used
    assert 353_000.0 * np.exp(-x) * (1 + x) == pytest.approx(1e-3, rel=1e-6)


def test_precoder_that_turns_every_block_does_not_spread_the_peak():
    rng = np.random.default_rng(9)
    turns = np.exp(2j * np.pi * rng.random((32, 1, 1)))
    frame = MeasuringFrame(WIDE, 0, 1, turns * np.ones((32, 2, 1)), payload_symbols=16)
    capture, _ = capture_of(frame, rng, cfo=-7e3, start=4321.0, snr_db=10.0, gains=np.array([[[1.0], [0.3j]]]))
    found = carrier.acquire(capture, frame)
    assert found.metric > 0.7 and found.start == 4321.0
    assert carrier.refine(capture, frame, found).start == pytest.approx(4321.0, abs=0.2)


@pytest.mark.parametrize("ppm", [-8.0, 5.0])
def test_a_fast_transmitter_arrives_ever_earlier(ppm):
    """The sign of the drift, which a wrong sign of the carrier alone would hide: arrivals of later turns of the frame."""
    rng = np.random.default_rng(10)
    frame = SoundingFrame(WIDE, 0, 1, 1, 1.0, 8, 28)
    start, cfo = 1000.0, ppm * 1e-6 * CARRIER
    turns = 10
    capture, _ = capture_of(frame, rng, cfo=cfo, start=start, snr_db=30.0, samples=turns * frame.length + 1200)
    fit = carrier.refine(capture, frame, carrier.acquire(capture, frame))
    assert np.sign(fit.cfo_hz) == np.sign(ppm) and abs(fit.cfo_hz - cfo) < 5 * fit.cfo.std[0]
    rate = WIDE.sample_rate_hz
    drift = fit.delay_at(9e-3, rate) - fit.delay_at(0.0, rate)
    assert drift == pytest.approx(-ppm * 1e-6 * 9e-3, rel=1e-4)
    # the last turn by itself lies where the first one's fit says: 10 ms x 8 ppm is 1.2 samples
    last = Capture.of(capture.samples[:, 8 * frame.length :], rate=rate, carrier=CARRIER)
    alone = carrier.refine(last, frame, carrier.acquire(last, frame))
    expected = (start + 8 * frame.length / (1 + ppm * 1e-6)) - 8 * frame.length
    turn = frame.length / (1 + ppm * 1e-6)
    assert (alone.start - expected + turn / 2) % turn - turn / 2 == pytest.approx(0.0, abs=0.05)
    # and the drift is undone: one gain per tone explains 10 ms down to the noise
    assert fit.noise[0] == pytest.approx(1.0 / 384 / 1000, rel=0.05)


def test_drift_within_a_symbol_is_undone():
    """At 40 ppm it alone leaves -37 dB; with the wrong sign -31."""
    rng = np.random.default_rng(22)
    frame = SoundingFrame(WIDE, 0, 1, 1, 1.0, 8, 28)
    capture, _ = capture_of(frame, rng, cfo=40e-6 * CARRIER, start=100.0, snr_db=55.0)
    fit = carrier.refine(capture, frame, acquisition.Acquisition(100.0, 40e-6 * CARRIER, 1.0, 0.0))
    assert 10 * np.log10(fit.noise[0] * 384) < -49.0


def test_noise_is_per_tone_not_per_sample():
    rng = np.random.default_rng(11)
    frame = SoundingFrame(WIDE, 0, 1, 4, 1.0)
    gains, delays = rayleigh(rng, 2, 4)
    capture, per_tone = capture_of(frame, rng, cfo=3e3, start=55.5, snr_db=10.0, gains=gains, delays=delays, level=0.01)
    fit = carrier.refine(capture, frame, carrier.acquire(capture, frame))
    np.testing.assert_allclose(fit.noise, per_tone * 1e-4, rtol=0.03)


def normalised_errors(trials, seed, snr_db, make):
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(trials):
        frame, gains, delays = make(rng)
        cfo, start = rng.uniform(-20e3, 20e3), rng.uniform(0, frame.length)
        capture, _ = capture_of(frame, rng, cfo=cfo, start=start, snr_db=snr_db, gains=gains, delays=delays)
        coarse = acquisition.Acquisition(round(start), cfo + rng.uniform(-800.0, 800.0), 1.0, 0.0)
        fit = carrier.refine(capture, frame, coarse)
        out.append([(fit.cfo_hz - cfo) / fit.cfo.std[0], (fit.cfo_hz - cfo) / fit.cfo.bound_std[0]])
    return np.array(out)


def judge(errors, trials):
    """RMSE over bound within its own sampling error (3 sigma) of the 5 % bar; 95 % coverage likewise."""
    ratio = np.sqrt(np.mean(errors**2))
    coverage = np.mean(np.abs(errors) < 1.96)
    assert abs(ratio - 1.0) < 0.05 + 3.0 / np.sqrt(2.0 * trials), ratio
    assert abs(coverage - 0.95) < 0.02 + 3.0 * np.sqrt(0.95 * 0.05 / trials), coverage


def three_paths(rng):
    gains, delays = rayleigh(rng, 1, 2)
    return SoundingFrame(NARROW, 0, 1, 2, 1.0, 8, 14), gains, delays


def stream(rng):
    gains, delays = rayleigh(rng, 2, 2)
    return MeasuringFrame(NARROW, 0, 1, np.ones((8, 2, 1)) * np.exp(2j * np.pi * rng.random((8, 2, 1))), payload_symbols=16), gains, delays


def test_lobes_of_a_comb_that_repeats_seldom_are_told_apart():
    """16 antennas: their combs repeat every 16 symbols, 1.75 kHz; only preamble, header and closing symbol tell the lobes apart."""
    rng = np.random.default_rng(23)
    frame = SoundingFrame(WIDE, 1, 1, 16, 1.0, 32, 36)
    for _ in range(8):
        gains, delays = rayleigh(rng, 1, 16)
        capture, _ = capture_of(frame, rng, cfo=5e3, start=50.0, snr_db=20.0, gains=gains, delays=delays)
        fit = carrier.refine(capture, frame, acquisition.Acquisition(50.0, 5e3 + rng.uniform(-900, 900), 1.0, 0.0))
        assert abs(fit.cfo_hz - 5e3) < 5 * fit.cfo.bound_std[0]


@pytest.mark.parametrize("make, snr_db, seed", [(three_paths, 20.0, 1), (three_paths, 8.0, 2), (stream, 10.0, 3)])
def test_carrier_reaches_its_bound(make, snr_db, seed):
    judge(normalised_errors(80, seed, snr_db, make)[:, 1], 80)


@pytest.mark.slow
@pytest.mark.parametrize("make, snr_db, seed", [(three_paths, 20.0, 1), (three_paths, 5.0, 2), (stream, 5.0, 3)])
def test_carrier_reaches_its_bound_in_full(make, snr_db, seed):
    errors = normalised_errors(400, seed, snr_db, make)
    judge(errors[:, 1], 400)
    judge(errors[:, 0], 400)


def cable(rng, trials, snr_db, turns=1):
    """(carrier, delay at the centroid, delay at the capture's start) errors over their standard deviations at the centroid."""
    frame = SoundingFrame(NARROW, 0, 1, 1, 1.0, 8, 28)
    out, flags = [], []
    for _ in range(trials):
        cfo, start = rng.uniform(-5e3, 5e3), rng.uniform(0, 400)
        capture, _ = capture_of(frame, rng, cfo=cfo, start=start, snr_db=snr_db, samples=frame.length + 600)
        fit = timing.one_path(capture, frame, acquisition.Acquisition(round(start), cfo + 30.0, 1.0, 0.0))
        estimate, centre = fit.joint, fit.centre_s
        true = (1 + cfo / CARRIER) * start / 4e6 - cfo / CARRIER * centre
        out.append([(estimate.value[0] - cfo) / estimate.std[0], (estimate.value[1] - true) / estimate.std[1]])
        flags.append(estimate.above_threshold)
    return np.array(out), np.array(flags)


@pytest.mark.parametrize("snr_db", [20.0, 0.0])
def test_one_path_reaches_its_bound_in_carrier_and_delay(snr_db):
    errors, flags = cable(np.random.default_rng(12), 100, snr_db)
    judge(errors[:, 0], 100)
    judge(errors[:, 1], 100)
    assert flags.all()
    assert abs(np.corrcoef(errors.T)[0, 1]) < 0.35  # uncorrelated at the centroid


def test_covariance_is_that_of_the_golden_bound():
    rng = np.random.default_rng(13)
    frame = SoundingFrame(NARROW, 0, 1, 1, 1.0, 8, 28)
    capture, _ = capture_of(frame, rng, cfo=100.0, start=10.0, snr_db=20.0, samples=28 * 137 + 20)
    estimate = timing.one_path(capture, frame, acquisition.Acquisition(10.0, 100.0, 1.0, 0.0)).joint
    assert estimate.std[0] == pytest.approx(0.784, rel=0.06)
    assert estimate.std[1] == pytest.approx(0.2468e-9, rel=0.06)


def test_flag_falls_below_threshold_from_the_data_alone():
    good, bad = cable(np.random.default_rng(14), 30, -10.0)[1], cable(np.random.default_rng(15), 30, -29.0)[1]
    assert good.mean() > 0.9
    assert bad.mean() < 0.1


def test_second_path_is_seen_by_the_residual():
    rng = np.random.default_rng(16)
    frame = SoundingFrame(WIDE, 0, 1, 1, 1.0, 8, 28)
    for gains, delays, least, most in (([1.0], [0.0], 0.7, 1.3), ([1.0, 0.5], [0.0, 50e-9], 20.0, np.inf)):
        capture, _ = capture_of(frame, rng, cfo=900.0, start=20.0, snr_db=20.0, gains=np.array([[gains]]), delays=delays)
        test = timing.one_path(capture, frame, carrier.acquire(capture, frame)).joint.residual_test
        assert least < test < most


def test_clock_and_carrier_share_a_reference_or_it_is_said():
    """The clock alone tells the offset fc/B_rms times worse, within what it says; an LO of its own, 3 kHz off, disagrees with it."""
    rng = np.random.default_rng(24)
    frame, errors, disagree = SoundingFrame(WIDE, 0, 1, 2, 1.0, 8, 28), [], []
    for trial in range(40):
        cfo, own = rng.uniform(-60e3, 60e3), 3e3 * (trial % 2)
        gains, delays = rayleigh(rng, 1, 2)
        capture, _ = capture_of(frame, rng, cfo=cfo, start=40.3, snr_db=20.0, gains=gains, delays=delays)
        turn = np.exp(2j * np.pi * own / 15.36e6 * np.arange(capture.samples.shape[-1]))
        turned = Capture.of(capture.samples * turn, rate=15.36e6, carrier=CARRIER)
        fit = carrier.refine(turned, frame, acquisition.Acquisition(40.0, cfo + own + 300.0, 1.0, 0.0))
        errors.append((fit.clock.value[0] - cfo) / fit.clock.std[0])
        disagree.append("clock and carrier disagree" in fit.cfo.assumptions)
        assert fit.clock.std[0] / fit.cfo.bound_std[0] == pytest.approx(CARRIER / WIDE.rms_bandwidth_hz, rel=0.6)  # less where it fades
        # never averaged in; a drift that is not the carrier's costs 1e-6 of the channel's mean frequency
        assert abs(fit.cfo_hz - cfo - own) < 5.0 * fit.cfo.std[0] + 1e-3 * own
    assert np.array_equal(disagree, np.arange(40) % 2 == 1)
    assert abs(np.sqrt(np.mean(np.square(errors))) - 1.0) < 2.576 / np.sqrt(80.0)


def test_epoch_is_the_centroid_on_the_captures_clock():
    rng = np.random.default_rng(17)
    frame = SoundingFrame(NARROW, 0, 1, 2, 1.0, 8, 14)
    capture, _ = capture_of(frame, rng, cfo=100.0, start=3.0, snr_db=20.0, clock=Instant(7, 0.25))
    fit = carrier.refine(capture, frame, carrier.acquire(capture, frame))
    middle = (2 * frame.length + 137) / 2 / 4e6
    assert fit.cfo.epoch.since(Instant(7, 0.25)) == pytest.approx(middle, abs=5e-5)
    assert fit.centre_s == pytest.approx(middle, abs=5e-5)


def test_wandering_phase_widens_the_covariance():
    rng = np.random.default_rng(18)
    frame = SoundingFrame(WIDE, 0, 1, 4, 1.0)
    gains, delays = rayleigh(rng, 1, 4)
    clean, _ = capture_of(frame, rng, cfo=2e3, start=0.0, snr_db=25.0, gains=gains, delays=delays)
    rate = 60.0  # rad^2/s
    walk = np.cumsum(rng.standard_normal(clean.samples.shape[-1])) * np.sqrt(rate / 15.36e6)
    noisy = Capture.of(clean.samples * np.exp(1j * walk), rate=15.36e6, carrier=CARRIER)
    before, after = (carrier.refine(c, frame, carrier.acquire(c, frame)) for c in (clean, noisy))
    assert before.phase_diffusion == 0.0 and "phase noise" not in before.cfo.assumptions
    assert 0.3 * rate < after.phase_diffusion < 3 * rate
    assert after.cfo.std[0] > 3 * after.cfo.bound_std[0]
    assert abs(after.cfo_hz - 2e3) < 4 * after.cfo.std[0]


def test_interference_in_a_few_tones_does_not_rule_the_carrier():
    rng = np.random.default_rng(19)
    frame = MeasuringFrame(NARROW, 0, 1, np.ones((8, 1, 1)), payload_symbols=80)
    capture, _ = capture_of(frame, rng, cfo=2e3, start=0.0, snr_db=15.0)
    tone = 30.0 * np.exp(2j * np.pi * 10.3 * np.arange(capture.samples.shape[-1]) / 128)
    jammed = Capture.of(capture.samples + tone, rate=4e6, carrier=CARRIER)
    kept = acquisition.Acquisition(0.0, 2050.0, 1.0, 0.0)
    clean, hurt = carrier.refine(capture, frame, kept), carrier.refine(jammed, frame, kept)
    assert abs(hurt.cfo_hz - 2e3) < 4 * hurt.cfo.std[0]
    assert hurt.cfo.std[0] < 10 * clean.cfo.std[0]


def test_given_noise_is_tested_and_scales_the_covariance():
    rng = np.random.default_rng(20)
    frame = SoundingFrame(NARROW, 0, 1, 2, 1.0, 8, 14)
    capture, per_tone = capture_of(frame, rng, cfo=100.0, start=3.0, snr_db=20.0)
    start = carrier.acquire(capture, frame)
    honest, surprised = carrier.refine(capture, frame, start, noise=per_tone), carrier.refine(capture, frame, start, noise=per_tone / 2)
    assert honest.cfo.residual_test == pytest.approx(1.0, abs=0.12) and "model misfit" not in honest.cfo.assumptions
    assert "model misfit" in surprised.cfo.assumptions
    assert surprised.cfo.covariance[0, 0] > 1.7 * honest.cfo.covariance[0, 0]


@pytest.mark.parametrize(
    "spoil, found",
    [
        (lambda y: y[:, :500], "500 samples"),
        (lambda y: np.where(np.arange(y.shape[1]) == 9, np.nan, y), "not finite"),
        (lambda y: np.vstack([y, 0 * y]), "all zero"),
    ],
)
def test_unusable_captures_are_refused_with_the_reason(spoil, found):
    rng = np.random.default_rng(21)
    frame = SoundingFrame(NARROW, 0, 1, 2, 1.0, 8, 14)
    capture, _ = capture_of(frame, rng, cfo=0.0, start=0.0, snr_db=20.0)
    with pytest.raises(HilError) as caught:
        carrier.acquire(Capture.of(spoil(capture.samples), rate=4e6, carrier=CARRIER), frame)
    assert found in caught.value.found and caught.value.fix
    with pytest.raises(HilError):
        carrier.acquire(Capture.of(capture.samples, rate=3.84e6, carrier=CARRIER), frame)
