"""A capture's codes: exact both ways, in the order of a SigMF file, and never those of other samples."""

from dataclasses import replace

import numpy as np
import pytest

from hil.device import Capture, Codes, fractions, interleaved
from hil.records import sigmf


@pytest.mark.parametrize("full_scale", [1, 2000, 2048, 32768])
def test_codes_and_fractions_are_each_others_inverse(full_scale):
    codes = np.random.default_rng(1).integers(-32768, 32768, (300, 3, 2)).astype(np.int16)
    codes[0, 0], codes[1, 0] = (-32768, 32767), (0, 1)
    samples = fractions(codes, full_scale)
    for channel, sample in ((0, 0), (1, 7), (2, 299)):
        i, q = codes[sample, channel].astype(float)
        assert samples[channel, sample] == np.complex64(complex(np.float32(i / full_scale), np.float32(q / full_scale)))
    assert samples.dtype == np.complex64 and samples.flags.c_contiguous
    assert np.array_equal(interleaved(samples, full_scale), codes)


@pytest.mark.parametrize("channels", [1, 4])
def test_an_empty_capture_has_empty_codes(channels):
    codes = np.zeros((0, channels, 2), np.int16)
    assert fractions(codes, 2048).shape == (channels, 0)
    assert interleaved(fractions(codes, 2048), 2048).shape == codes.shape


@pytest.mark.parametrize("spoilt", [0.5 / 2048, 1e-6, 16.0, -16.001, np.nan, np.inf])
def test_one_sample_that_is_no_code_means_no_codes(spoilt):
    samples = np.zeros((2, 50), np.complex64)
    assert interleaved(samples, 2048) is not None
    samples[1, 40] = 1j * spoilt
    assert interleaved(samples, 2048) is None


def test_codes_stay_with_their_samples_only():
    codes = Codes.of(np.random.default_rng(2).integers(-2000, 2000, (64, 2, 2)).astype(np.int16), 2048)
    capture = Capture(codes.samples, 1e6, 1e9, codes=codes, device="u1")
    assert replace(capture, version=7).codes is codes
    assert replace(capture, samples=capture.samples[:, 5:]).codes is None
    assert replace(capture, samples=capture.samples.copy()).codes is None
    assert sigmf.codes(capture) is codes.values
    assert np.array_equal(sigmf.codes(replace(capture, samples=capture.samples[:, 5:])), codes.values[5:])
