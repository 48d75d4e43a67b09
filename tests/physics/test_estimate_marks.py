"""The version on the air, by mark and by header."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from synthetic import received

from hil.device import Capture
from hil.errors import HilError
from hil.estimate import acquisition, carrier, marks
from hil.waveform import FrameKind, Header, MeasuringFrame, Numerology, SoundingFrame

WIDE, NARROW = Numerology(15.36e6, 11.52e6), Numerology(4.0e6, 3.0e6)
PHI = np.exp(2j * np.pi * np.arange(8) ** 2 / 8)[:, None, None]


def heard(frame, rng, snr_db, cfo=5e3, start=321.2):
    n = frame.numerology
    gains = np.array([[[1.0, 0.5j]] * frame.antennas])
    power = np.mean(np.abs(frame.samples()) ** 2)
    y = received(frame.samples(), gains, np.array([0.0, 90e-9]), rate=n.sample_rate_hz, carrier_hz=3.5e9, cfo_hz=cfo, start=start,
                 samples=2 * frame.length + n.symbol_samples, rng=rng, noise=power * n.fft / n.used / 10 ** (snr_db / 10))  # fmt: skip
    return Capture.of(y, rate=n.sample_rate_hz, carrier=3.5e9)


@pytest.mark.parametrize(
    "make, snr_db",
    [
        (lambda version: SoundingFrame(WIDE, 2, version, 4, 1.0, 24), 0.0),  # the header's mark only
        (lambda version: SoundingFrame(NARROW, 2, version, 2, 1.0), 5.0),
        (lambda version: MeasuringFrame(NARROW, 2, version, PHI, payload_symbols=60), 0.0),
    ],
)
def test_version_on_air_is_told_whatever_was_expected(make, snr_db):
    rng = np.random.default_rng(1)
    for sent in (12, 13, 19):
        capture = heard(make(sent), rng, snr_db)
        for expected in (12, 13):
            frame = make(expected)
            fit = carrier.refine(capture, frame, carrier.acquire(capture, frame))
            assert marks.check(capture, frame, fit, range(12, 20)).version == sent


def test_unknown_version_stands_out_of_no_list_but_the_header_says_it():
    rng = np.random.default_rng(2)
    frame = MeasuringFrame(NARROW, 2, 77, PHI, payload_symbols=60)
    capture = heard(frame, rng, 10.0)
    expected = MeasuringFrame(NARROW, 2, 78, PHI, payload_symbols=60)
    fit = carrier.refine(capture, expected, carrier.acquire(capture, expected))
    got = marks.check(capture, expected, fit, [78, 79, 80])
    assert got.version is None and got.margin < marks.LEAST_MARGIN
    assert got.header == Header(2, 77, FrameKind.MEASURING, 72 + 0 * fit.symbols)
    with pytest.raises(HilError) as caught:
        got.expect(78, "u1")
    assert "version 77 on air, 78 expected" in str(caught.value) and caught.value.id == "wrong-reference"
    marks.check(capture, expected, fit, [76, 77]).expect(77)


def test_header_is_read_from_a_sounding_capture():
    rng = np.random.default_rng(3)
    frame = SoundingFrame(WIDE, 2, 123_456, 4, 1.0)
    capture = heard(frame, rng, 3.0)
    fit = carrier.refine(capture, frame, carrier.acquire(capture, frame))
    assert marks.check(capture, frame, fit, []).header == Header(2, 123_456, FrameKind.SOUNDING, 28)


def test_capture_without_a_preamble_is_refused():
    rng = np.random.default_rng(4)
    frame = MeasuringFrame(NARROW, 2, 1, PHI, payload_symbols=60)
    whole = heard(frame, rng, 10.0, start=0.0)
    part = Capture.of(whole.samples[:, 12 * 137 : 40 * 137], rate=4e6, carrier=3.5e9)
    fit = carrier.refine(part, frame, acquisition.Acquisition(-12.0 * 137, 5e3, 1.0, 0.0))
    with pytest.raises(HilError):
        marks.check(part, frame, replace(fit, start=-12.0 * 137), [1])
