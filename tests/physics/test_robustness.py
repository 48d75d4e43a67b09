"""Everything that goes wrong with a capture, line by line: the estimate stays within a standard deviation of the truth on the mean and its
interval holds, or it is flagged, or the capture is refused with a reason."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from test_estimate_usable import CARRIER, NARROW, heard, jammed

from hil.device import Capture, Loss
from hil.errors import HilError
from hil.estimate import carrier, channel, loss, marks, mirror, spurs, timing, usable
from hil.waveform import SoundingFrame

FRAME = SoundingFrame(NARROW, 0, 1, 1, 1.0, 8, 28)
COARSE_HZ = 200.0
TRIALS = 16


def spoilt(capture, change):
    return replace(capture, samples=change(capture.samples).astype(np.complex64))


def clipped(over_rms_db):
    """A converter whose rails lie so far above the rms of one of its two halves; what it says of itself."""

    def change(capture, rng):
        y = capture.samples
        rail = np.sqrt(np.mean(np.abs(y) ** 2) / 2) * 10 ** (over_rms_db / 20)
        cut = np.clip(y.real, -rail, rail) + 1j * np.clip(y.imag, -rail, rail)
        rails = np.mean((np.abs(y.real) >= rail) | (np.abs(y.imag) >= rail))
        return replace(capture, samples=cut.astype(np.complex64), clipped=float(rails))

    return change


def dc(level_db):
    def change(capture, rng):
        offset = np.sqrt(np.mean(np.abs(capture.samples) ** 2)) * 10 ** (level_db / 20) * np.exp(2j * np.pi * rng.random())
        return spoilt(capture, lambda y: y + offset)

    return change


def image(level_db):
    def change(capture, rng):
        return spoilt(capture, lambda y: y + 10 ** (level_db / 20) * np.exp(2j * np.pi * rng.random()) * y.conj())

    return change


def walk(rate):
    def change(capture, rng):
        phase = np.cumsum(rng.standard_normal(capture.samples.shape[-1])) * np.sqrt(rate / 4e6)
        return spoilt(capture, lambda y: y * np.exp(1j * phase))

    return change


def band(capture, rng):
    return jammed(capture, rng, 0.5e6, 0.9e6, 10**1.5 * 0.01 * np.mean(np.abs(capture.samples) ** 2))


def one(rng, change, **scene):
    capture, _, coarse, cfo = heard(FRAME, rng, 20.0, **scene)
    return change(capture, rng), coarse, cfo


def statistics(seed, change, clean=False, **scene):
    """(carrier errors over their standard deviations, errors over the unspoilt bound, the last fit)."""
    rng, errors = np.random.default_rng(seed), []
    for _ in range(TRIALS):
        capture, coarse, cfo = one(rng, change, turns=1, **scene)
        fit = carrier.refine(capture, FRAME, coarse)
        if clean:
            fit = carrier.refine(mirror.clean(capture, FRAME, fit)[0], FRAME, coarse)
        errors.append([(fit.cfo_hz - cfo) / fit.cfo.std[0], (fit.cfo_hz - cfo) / 0.72])  # 29 symbols at 20 dB: 0.784 x (28/29)^1.5 Hz
    return np.array(errors), fit


FAULTS = [  # change, removed first, most that the error may grow, what is said
    pytest.param(clipped(9.0), False, 1.1, None, id="clipping 9 dB over rms"),
    pytest.param(clipped(6.0), False, 1.3, "clipped", id="clipping 6 dB over rms"),
    pytest.param(clipped(3.0), False, 1.7, "clipped", id="clipping 3 dB over rms"),
    pytest.param(dc(-20.0), False, 1.1, None, id="dc -20 dB"),
    pytest.param(dc(0.0), False, 1.1, None, id="dc 0 dB"),
    pytest.param(image(-30.0), False, 1.2, None, id="image -30 dB"),
    pytest.param(image(-25.0), False, 1.4, None, id="image -25 dB"),
    pytest.param(image(-25.0), True, 1.1, None, id="image -25 dB, removed"),
    pytest.param(walk(40.0), False, None, "phase noise", id="phase noise"),
    pytest.param(band, False, 1.3, "interference", id="interference in part of the band"),
]


@pytest.mark.parametrize("change, clean, growth, said", FAULTS)
def test_bias_is_under_a_standard_deviation_and_the_interval_holds(change, clean, growth, said):
    """The mean of so many errors scatters by 1/sqrt(trials), their rms by 1/sqrt(2 trials): judged at 99 %."""
    errors, fit = statistics(11, change, clean)
    assert abs(errors[:, 0].mean()) < 2.576 / np.sqrt(TRIALS) + 0.2
    assert np.mean(np.abs(errors[:, 0]) < 1.96) > 0.93 - 2.576 * np.sqrt(0.07 * 0.93 / TRIALS)
    if growth is not None:
        assert np.sqrt(np.mean(errors[:, 1] ** 2)) < growth * (1.0 + 2.576 / np.sqrt(2 * TRIALS))
    notes = " ".join(fit.cfo.assumptions)
    assert (said in notes) if said else not any(word in notes for word in ("clipped", "phase noise", "interference"))


@pytest.mark.slow
@pytest.mark.parametrize("change, clean, growth, said", FAULTS)
def test_faults_in_full(change, clean, growth, said):
    errors = np.concatenate([statistics(seed, change, clean)[0] for seed in range(20, 24)])
    assert abs(errors[:, 0].mean()) < 2.576 / np.sqrt(len(errors)) + 0.2
    assert np.mean(np.abs(errors[:, 0]) < 1.96) > 0.93 - 2.576 * np.sqrt(0.07 * 0.93 / len(errors)) - 0.03 * (said == "phase noise")


def test_clipping_beyond_use_is_refused_by_what_it_would_bias():
    rng = np.random.default_rng(12)
    capture, coarse, _ = one(rng, clipped(3.0))
    fit = carrier.refine(capture, FRAME, coarse)
    with pytest.raises(HilError) as caught:
        channel.estimate(capture, FRAME, fit)
    assert caught.value.id == "capture-clipped" and caught.value.fix
    with pytest.raises(HilError) as caught:
        carrier.acquire(one(rng, clipped(-3.0))[0], FRAME)
    assert caught.value.id == "capture-unusable" and "at the rails" in caught.value.found


def test_dc_and_image_are_reported():
    rng = np.random.default_rng(13)
    capture, _, coarse, _ = heard(FRAME, rng, 25.0)
    level = np.sqrt(np.mean(np.abs(capture.samples) ** 2))
    bad = spoilt(capture, lambda y: y + 0.05 * y.conj() + 1.0 * level)
    found = mirror.clean(bad, FRAME, carrier.refine(bad, FRAME, coarse))[1]
    assert found.image[0] == pytest.approx(0.05, abs=4 * found.image_std[0])
    plain = spurs.remove(bad.samples, 4e6, 0.0, usable.DC_LINE)[1]
    assert abs(plain[0, 0]) == pytest.approx(level, rel=0.05)


def test_a_second_path_moves_the_single_path_far_beyond_its_bound_and_is_said():
    """Known beforehand: 50 ns and 6 dB away, phases 0, 90, 180 degrees, it moves the maximum by 15.23, 5.27 and -18.08 ns at 11.52 MHz."""
    wide = SoundingFrame(type(NARROW)(15.36e6, 11.52e6), 0, 1, 1, 1.0, 8, 28)
    for phase, bias_ns in ((0.0, 15.23052), (0.5, 5.27354), (1.0, -18.08328)):
        gains = np.array([[[1.0, 0.5 * np.exp(1j * np.pi * phase)]]])
        rng = np.random.default_rng(14)
        capture, _, coarse, _ = heard(wide, rng, 45.0, gains=gains, delays=(0.0, 50e-9), turns=1, cfo=0.0)
        start = np.random.default_rng(14).uniform(0, 200)  # the first that `heard` draws
        fit = timing.one_path(capture, wide, replace(coarse, cfo_hz=0.0))
        assert (fit.joint.value[1] - start / 15.36e6) * 1e9 == pytest.approx(bias_ns, abs=0.02)
        assert "model misfit" in fit.joint.assumptions and fit.joint.residual_test > 10.0


def test_a_lost_block_is_found_and_the_rest_is_good():
    rng = np.random.default_rng(15)
    errors = []
    for _ in range(8):
        capture, _, cfo = one(rng, lambda capture, rng: capture, turns=3)
        cut = spoilt(capture, lambda y: np.delete(y, np.s_[5000:5064], axis=1))
        run = loss.clean(cut, FRAME, carrier.acquire(cut, FRAME))
        assert run.loss is Loss.SOME and [jump.count for jump in run.jumps] == [64]
        fit = carrier.refine(run.capture, FRAME, run.acquisition)
        assert fit.cfo.loss is Loss.SOME
        errors.append((fit.cfo_hz - cfo) / fit.cfo.std[0])
    assert np.abs(errors).max() < 4.0


def test_wrong_references_are_named():
    rng = np.random.default_rng(16)
    capture, _, coarse, _ = heard(FRAME, rng, 20.0)
    for frame in (SoundingFrame(NARROW, 1, 1, 1, 1.0, 8, 28), SoundingFrame(NARROW, 5, 1, 1, 1.0, 8, 28)):  # another device
        with pytest.raises(HilError) as caught:
            carrier.refine(capture, frame, carrier.acquire(capture, frame))
        assert caught.value.id == "no-preamble"
    stale = SoundingFrame(NARROW, 0, 2, 1, 1.0, 8, 28)  # the version that was asked for since
    with pytest.raises(HilError, match="version 1 on air, 2 expected"):
        marks.check(capture, stale, carrier.refine(capture, stale, coarse), range(4)).expect(2)
    with pytest.raises(HilError) as caught:  # another rate
        carrier.acquire(replace(capture, sample_rate_hz=3.84e6), FRAME)
    assert caught.value.id == "capture-unusable" and "samples/s" in caught.value.found
    far = heard(FRAME, rng, 20.0, cfo=60e-6 * CARRIER)[0]  # another carrier
    seen = carrier.acquire(far, FRAME)
    assert not seen.above_threshold or abs(seen.cfo_hz) > 39e-6 * CARRIER


@pytest.mark.parametrize(
    "change, found",
    [
        (lambda y: y[:, :0], "0 samples"),
        (lambda y: y[:, : 28 * 137 + 255], "samples"),
        (lambda y: np.where(np.arange(y.shape[1]) == 99, np.nan, y), "not finite"),
        (lambda y: 0.0 * y, "all zero"),
    ],
)
def test_unusable_captures_are_refused_before_anything_else(change, found):
    capture = heard(FRAME, np.random.default_rng(17), 20.0)[0]
    with pytest.raises(HilError) as caught:
        carrier.acquire(Capture.of(change(capture.samples), rate=4e6, carrier=CARRIER, device="u1"), FRAME)
    assert caught.value.id == "capture-unusable" and found in caught.value.found and caught.value.fix and caught.value.where == "u1"
