"""Constellations, marks, headers and the way from sqrt(W) to converter fractions."""

from __future__ import annotations

import numpy as np
import pytest

from hil.device import Capability
from hil.errors import InputError
from hil.waveform import Header, Mark, MeasuringFrame, Modulation, Numerology, SoundingFrame, amplitude, mark, modulation
from hil.waveform.mark import FrameKind

N = Numerology(15.36e6, 11.52e6)
RADIO = Capability("fmcomms5", "s", 4, 4, (70e6, 6e9), (1e6, 61e6), (0.0, 60.0), 1.0, (0.0, 80.0), 0.25, 12, 7.0, -10.0)


@pytest.mark.parametrize("kind", list(Modulation))
def test_constellations(kind):
    bits = ((np.arange(1 << kind.bits)[:, None] >> np.arange(kind.bits)[::-1]) & 1).astype(np.uint8)
    points = modulation.symbols_of(bits, kind)
    assert np.mean(np.abs(points) ** 2) == pytest.approx(1.0)
    assert len(np.unique(points.round(9))) == 1 << kind.bits
    assert np.array_equal(modulation.bits_of(points, kind), bits)
    corner = np.argmax(np.abs(points))
    assert np.array_equal(modulation.bits_of(10 * points[corner], kind), bits[corner])  # beyond the edge stays at the edge
    gap = np.abs(points[:, None] - points)
    neighbours = np.isclose(gap, 2 * kind.scale)
    differing = (bits[:, None] != bits).sum(-1)
    assert np.all(differing[neighbours] == 1)  # Gray


def test_errors_are_counted():
    sent = np.zeros((3, 5, 4), np.uint8)
    got = sent.copy()
    got[0, 0] = [1, 1, 0, 0]
    got[2, 4, 3] = 1
    assert modulation.errors(sent, got) == (3, 2)


def test_random_bits_never_change():
    assert np.packbits(modulation.random_bits(64, 1, 2, 3)).tobytes().hex() == GOLDEN_BITS
    assert abs(modulation.random_bits(100_000, 7).mean() - 0.5) < 0.006


GOLDEN_BITS = "90b9c9f6f811a4ab"


def test_mark_hashes_device_version_stream_and_symbol():
    one = Mark(1, 7).signs(5, 24)
    assert set(np.unique(one)) == {-1.0, 1.0}
    for other in (Mark(2, 7).signs(5, 24), Mark(1, 8).signs(5, 24), Mark(1, 7, 1).signs(5, 24), Mark(1, 7).signs(6, 24)):
        assert 3 < np.sum(one != other) < 21
    assert len(mark.mark_ranks(N)) == 24 and len(mark.mark_ranks(Numerology(4e6, 3e6))) == 6


@pytest.mark.parametrize("count, level", [(360, 0.5), (90, 0.2)])
def test_header_survives_noise_and_tells_when_it_does_not(count, level):
    header = Header(3, 70_000, FrameKind.MEASURING, 280)
    rng = np.random.default_rng(1)
    tones = header.tones(count)
    noise = rng.standard_normal(count) + 1j * rng.standard_normal(count)
    assert Header.read(tones + level * noise) == header
    assert Header.read(np.stack([tones + noise, tones - noise])) == header  # captures add up
    assert Header.read(1j * tones) is None
    assert Header.read(noise) is None


def test_header_does_not_make_a_crest():
    power = np.abs(SoundingFrame(N, 0, 1, 4, 1.0).samples()[0]).reshape(28, -1).max(-1) ** 2
    assert 10 * np.log10(power.max()) < 11.5  # bare repetition: 22 dB


def test_crc_is_the_standard_one():
    assert mark.crc16(b"123456789") == 0x29B1


def test_full_scale_tone_has_the_radios_power():
    tone = np.sqrt(10 ** (7.0 / 10) * 1e-3) * np.exp(2j * np.pi * np.arange(64) / 16)
    fractions = amplitude.to_fractions(0.9 * tone[None], RADIO, 0.0)
    np.testing.assert_allclose(np.abs(fractions), 0.9, rtol=1e-6)
    attenuated = amplitude.to_fractions(0.09 * tone[None], RADIO, 20.0)
    np.testing.assert_allclose(attenuated, fractions, rtol=1e-5)
    assert amplitude.receive_scale(RADIO, 40.0) == pytest.approx(np.sqrt(10 ** (-50 / 10) * 1e-3))


def test_peak_between_samples_counts():
    n = np.arange(16)
    samples = np.cos(2 * np.pi * 4 * n / 16 + np.pi / 4) * (1 + 0j)  # crests lie half way between samples
    assert amplitude.peak(samples)[0] == pytest.approx(1.0, rel=1e-6)
    assert np.abs(samples).max() < 0.71


def test_overdrive_is_refused_and_never_rescaled():
    samples = SoundingFrame(N, 0, 1, 4, 1e-5).samples()
    attenuation = amplitude.choose_attenuation(samples, RADIO, headroom_db=1.0)
    assert (attenuation / 0.25) % 1 == 0
    fractions = amplitude.to_fractions(samples, RADIO, attenuation)
    largest = amplitude.peak(fractions).max()
    assert 0.98 * 10 ** (-1.25 / 20) < largest <= 0.98 * 10 ** (-1.0 / 20) * (1 + 1e-6)
    np.testing.assert_allclose(fractions, samples * amplitude.transmit_scale(RADIO, attenuation), rtol=1e-5, atol=1e-7)
    with pytest.raises(InputError) as caught:
        amplitude.to_fractions(samples, RADIO, attenuation + 1.5)
    assert "1" in caught.value.found and "0.98" in caught.value.allowed
    with pytest.raises(InputError):
        amplitude.choose_attenuation(samples * 1e3, RADIO)


def test_attenuation_may_differ_per_antenna():
    samples = MeasuringFrame(N, 0, 1, np.full((32, 2, 1), 1e-4), payload_symbols=2).samples()
    fractions = amplitude.to_fractions(samples, RADIO, [3.0, 0.0])
    np.testing.assert_allclose(np.abs(fractions[0]), np.abs(fractions[1]) * 10 ** (3 / 20), rtol=1e-4, atol=1e-9)
