"""Words and fractions: every code there and back, channels in their places, rails counted, nothing ever wraps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hil.device import DeviceError, fractions
from hil.radios import codes


@pytest.mark.parametrize("count", [1, 50, 70_001])
@pytest.mark.parametrize(("bits", "channels"), [(12, 1), (12, 2), (12, 4), (16, 3)])
def test_received_words_are_fractions_of_full_scale_channel_by_channel(bits: int, channels: int, count: int) -> None:
    full = 1 << (bits - 1)
    words = np.random.default_rng(1).integers(-full + 1, full - 1, (count, channels, 2)).astype("<i2")
    taken, clipped = codes.received(words.tobytes(), channels, bits)
    samples = taken.samples
    assert np.array_equal(taken.values, words) and np.array_equal(samples, fractions(words, full))
    assert samples.shape == (channels, count) and samples.dtype == np.complex64 and samples.flags.c_contiguous and clipped == 0.0
    for channel in range(channels):
        assert np.array_equal(samples[channel] * full, words[:, channel, 0] + 1j * words[:, channel, 1])


def test_what_was_received_stays_when_the_device_writes_over_its_memory() -> None:
    memory = bytearray(np.arange(64, dtype="<i2").tobytes())
    taken, _ = codes.received(memoryview(memory), 2, 12)
    memory[:] = bytes(len(memory))
    assert np.array_equal(taken.values.ravel(), np.arange(64)) and taken.samples[1, 15] == (62 + 63j) / 2048


@pytest.mark.parametrize(("bits", "channels"), [(12, 1), (12, 4), (16, 2)])
def test_the_share_at_the_rails_counts_samples_not_words(bits: int, channels: int) -> None:
    full = 1 << (bits - 1)
    words = np.zeros((100, channels, 2), "<i2")
    words[3] = [full - 1, -full]  # both parts of one sample count once
    words[7, 0, 1] = -full
    _, clipped = codes.received(words.tobytes(), channels, bits)
    assert clipped == pytest.approx((channels + 1) / (100 * channels))


def test_a_code_short_of_the_rail_is_not_clipped() -> None:
    assert codes.received(np.full((4, 2), 2046, "<i2").tobytes(), 1, 12)[1] == 0.0


@given(st.floats(-0.9799, 0.9799), st.floats(-0.9799, 0.9799), st.sampled_from([12, 16]))
@settings(max_examples=200, deadline=None)
def test_words_to_send_never_wrap_and_err_by_half_a_code(real: float, imaginary: float, bits: int) -> None:
    words = codes.to_send(np.array([[complex(real, imaginary)]], np.complex64), bits)
    assert words.dtype == np.int16 and np.all(words % (1 << (16 - bits)) == 0)
    assert np.abs(words / 32768.0 - [real, imaginary]).max() <= 0.5 / (1 << (bits - 1)) + 1e-7


def test_words_to_send_take_turns_of_channel_and_part() -> None:
    waveform = np.array([[0.25 + 0.5j, -0.25 - 0.5j], [0.125 + 0j, 0.0625j]], np.complex64)
    expected = np.array([0.25, 0.5, 0.125, 0.0, -0.25, -0.5, 0.0, 0.0625]) * 32768
    assert np.array_equal(codes.to_send(waveform, 12), expected)


def test_what_digital_loopback_returns_is_what_was_sent() -> None:
    """Sent words come back shifted right by four: as received codes of the same fractions."""
    rng = np.random.default_rng(2)
    waveform = (rng.uniform(-0.9, 0.9, (2, 64)) + 1j * rng.uniform(-0.9, 0.9, (2, 64))).astype(np.complex64)
    taken, _ = codes.received((codes.to_send(waveform, 12) >> 4).astype("<i2").tobytes(), 2, 12)
    assert np.abs(taken.samples - waveform).max() <= np.sqrt(0.5) / 2048 + 1e-7


@pytest.mark.parametrize(
    ("waveform", "id"),
    [
        (np.full((1, 4), 0.99, np.complex64), "over-full-scale"), (np.full((1, 4), 1j * -0.981, np.complex64), "over-full-scale"),
        (np.array([[0.1, np.nan]], np.complex64), "not-finite"), (np.array([[0.1, np.inf]], np.complex64), "not-finite"),
        (np.zeros((2, 4), np.complex64), "bad-waveform"), (np.zeros(4, np.complex64), "bad-waveform"),
        (np.zeros((1, 0), np.complex64), "bad-waveform"), (np.zeros((1, 101), np.complex64), "bad-waveform"),
        (np.array([["a"]]), "bad-waveform"),
    ],
)  # fmt: skip
def test_a_waveform_that_must_not_be_sent_is_refused(waveform: np.ndarray, id: str) -> None:
    with pytest.raises(DeviceError) as caught:
        codes.checked("pluto-a", waveform, 1, 100)
    assert caught.value.id == id and caught.value.where == "pluto-a"


def test_the_greatest_waveform_that_is_taken() -> None:
    waveform = np.full((1, 8), codes.HEADROOM - 1e-6, np.complex64)
    assert codes.to_send(codes.checked("r", waveform, 1, 100), 12).max() == 2007 * 16
