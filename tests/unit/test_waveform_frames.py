"""Grids, frames and what they promise: layout, power, prefixes, combs, crests."""

from __future__ import annotations

import numpy as np
import pytest

from hil.errors import InputError
from hil.waveform import MeasuringFrame, Modulation, Numerology, SoundingFrame, SymbolKind, crest, ofdm

DEFAULT = Numerology(15.36e6, 11.52e6)
SMALL = Numerology(4.0e6, 3.0e6)


def power_of(samples):
    return np.mean(np.abs(samples) ** 2, axis=-1)


@pytest.mark.parametrize(
    "rate, used, fft, prefix, tones, rms_mhz, symbol_us, frame",
    [
        (4.0e6, 3.0e6, 128, 9, 96, 0.87955, 34.2500, 3836),
        (3.84e6, 2.88e6, 128, 9, 96, 0.84436, 35.6771, 3836),
        (15.36e6, 11.52e6, 512, 36, 384, 3.33853, 35.6771, 15344),
        (30.72e6, 23.04e6, 1024, 72, 768, 6.66406, 35.6771, 30688),
    ],
)
def test_grids_are_those_of_the_table(rate, used, fft, prefix, tones, rms_mhz, symbol_us, frame):
    n = Numerology(rate, used)
    assert (n.fft, n.prefix, n.used, n.blocks) == (fft, prefix, tones, tones // 12)
    assert n.rms_bandwidth_hz / 1e6 == pytest.approx(rms_mhz, abs=6e-6)
    assert n.symbol_time_s * 1e6 == pytest.approx(symbol_us, abs=6e-5)
    assert SoundingFrame(n, 0, 1, 2, 1.0).length == frame
    assert np.all(np.diff(n.frequencies_hz) > 0) and 0 not in n.tones
    assert np.array_equal(n.tones, -n.tones[::-1])


def test_last_block_may_be_shorter():
    n = Numerology(30.72e6, 19.2e6)
    assert n.used == 640 and n.blocks == 54 and np.bincount(n.block_of_tone)[-1] == 4
    values = np.random.default_rng(1).standard_normal((3, 640, 2))
    means = n.block_mean(values, axis=1)
    assert means[1, 53, 1] == pytest.approx(values[1, 636:, 1].mean())
    assert means[2, 7, 0] == pytest.approx(values[2, 84:96, 0].mean())


@pytest.mark.parametrize(
    "rate, used, key, allowed",
    [(10e6, 7.5e6, "sample_rate", "15.36"), (15.36e6, 10e6, "used_bandwidth", "11.52"), (30.72e6, 15e6, "used_bandwidth", "23.04, 19.2")],
)
def test_unknown_grid_is_refused_with_the_allowed_ones(rate, used, key, allowed):
    with pytest.raises(InputError) as caught:
        Numerology(rate, used)
    assert caught.value.key == key and allowed in caught.value.allowed


def test_sounding_layout():
    frame = SoundingFrame(DEFAULT, 0, 1, 4, 1.0)
    kinds = [SymbolKind(kind).name for kind in frame.layout.kinds]
    assert kinds == ["PREAMBLE"] * 2 + ["PILOT"] * 8 + ["HEADER"] + ["PAYLOAD"] * 16 + ["CLOSING"]
    assert SoundingFrame(DEFAULT, 0, 1, 4, 1.0, 24).layout.payload == 0
    samples = frame.samples()
    assert samples.shape == (4, 15344)
    useful, prefix = DEFAULT.fft, DEFAULT.prefix
    first = samples[:, 2 * prefix : 2 * prefix + useful]
    np.testing.assert_allclose(samples[:, 2 * prefix + useful : 2 * prefix + 2 * useful], first, atol=1e-12)  # 2 CP, P, P
    np.testing.assert_allclose(samples[:, : 2 * prefix], first[:, -2 * prefix :], atol=1e-12)
    np.testing.assert_allclose(samples[:, -useful:], first, atol=1e-12)  # closing P


def test_measuring_layout():
    frame = MeasuringFrame(DEFAULT, 0, 1, np.ones((32, 4, 1)))
    assert frame.symbols == 280 and frame.length == 153440 and len(frame.payload) == 268


@pytest.mark.parametrize("frame", [SoundingFrame(DEFAULT, 2, 1, 4, (1e-5, 2e-5, 5e-6, 1e-5)), SoundingFrame(SMALL, 1, 1, 2, 1e-3, 4, 9)])
def test_sounding_power_of_each_antenna_is_exact(frame):
    np.testing.assert_allclose(power_of(frame.samples()), frame.element_power_w, rtol=1e-12)


def test_every_symbol_has_its_prefix_so_the_buffer_wraps():
    for frame in (SoundingFrame(DEFAULT, 0, 1, 4, 1.0), MeasuringFrame(SMALL, 0, 1, np.ones((8, 2, 2)), payload_symbols=20)):
        symbols = frame.samples().reshape(frame.antennas, -1, frame.numerology.symbol_samples)
        prefix = frame.numerology.prefix
        np.testing.assert_allclose(symbols[..., :prefix], symbols[..., -prefix:], atol=1e-12)


def test_demodulation_across_the_wrap_with_fractional_start_and_early_window():
    frame = SoundingFrame(SMALL, 0, 1, 1, 1.0, 4, 12)
    cyclic = np.tile(frame.samples(), 3)
    shift = 1000
    index = ofdm.whole_symbols(SMALL, cyclic.shape[-1], -shift)
    assert index[0] == 8 and len(index) >= 3 * 12 - 9  # symbol 7 began at sample 959 - 1000
    values, times = ofdm.demodulate(cyclic[:, shift:], SMALL, -shift, index[index < 25])
    np.testing.assert_allclose(values[0], frame.known[index[index < 25] % 12], atol=1e-12)
    assert times[0] == pytest.approx((8 * 137 + 9 - shift - 4 + 63.5) / 4e6)
    with pytest.raises(InputError):
        ofdm.demodulate(cyclic, SMALL, 0.0, [40])


def test_comb_rotates_over_all_tones_and_antennas():
    frame = SoundingFrame(DEFAULT, 0, 1, 8, 1.0, 16)
    pilots = np.abs(frame.reference[frame.pilots]) > 0
    assert np.all(pilots.sum(-1) == 1)  # one antenna on each tone
    assert np.all(pilots.sum(0) == 2)  # each antenna on every tone equally often
    rank = np.arange(DEFAULT.used)
    for m in (0, 3, 11):
        assert np.array_equal(np.argmax(pilots[m], axis=-1), (rank + m) % 8)
    per_symbol = np.sum(np.abs(frame.reference[frame.pilots]) ** 2, axis=1)
    np.testing.assert_allclose(per_symbol, 1.0, rtol=5e-3)  # all antennas, all the time, full power (prefixes differ a little)


def test_pilot_crests_stay_low():
    for antennas in (2, 4, 8, 16):
        tones = crest.comb(512, 384, antennas)
        for turn in range(antennas):
            mine = DEFAULT.tones[turn::antennas]
            assert crest.peak_to_mean_db(tones[turn::antennas], mine, 512) < 3.1


@pytest.mark.parametrize("numerology, limit_db", [(SMALL, -10.5), (DEFAULT, -17.0)])
def test_preambles_are_flat_low_and_unlike_each_other(numerology, limit_db):
    stack = np.stack([crest.preamble(numerology.fft, numerology.used, device) for device in range(16)])
    np.testing.assert_allclose(np.abs(stack), 1.0, rtol=1e-12)
    assert crest.peak_to_mean_db(stack, numerology.tones, numerology.fft).max() < 2.3
    spectrum = np.zeros((16, 16, numerology.fft), complex)
    spectrum[..., numerology.bins] = stack[:, None] * stack.conj()
    response = 20 * np.log10(np.abs(np.fft.ifft(spectrum)).max(-1) * numerology.fft / numerology.used)
    assert np.max(response[~np.eye(16, dtype=bool)]) < limit_db + 3.0
    assert np.median(response[~np.eye(16, dtype=bool)]) < limit_db


def test_preamble_disappears_at_a_wrong_carrier_instead_of_moving():
    wave = np.zeros(512, complex)
    wave[DEFAULT.bins] = crest.preamble(512, 384, 0)
    wave = np.fft.ifft(wave) * 512
    for tones in (1.0, 1.5, 2.0, 5.0):
        turned = wave * np.exp(2j * np.pi * tones * np.arange(512) / 512)
        match = np.abs(np.fft.ifft(np.fft.fft(turned) * np.fft.fft(wave).conj())).max() / np.sum(np.abs(wave) ** 2)
        assert 20 * np.log10(match) < -11.0  # a chirp would read -0.3


def test_measuring_frame_sends_every_symbol_through_the_precoder():
    rng = np.random.default_rng(3)
    precoder = rng.standard_normal((8, 3, 2)) + 1j * rng.standard_normal((8, 3, 2))
    frame = MeasuringFrame(SMALL, 4, 1, precoder, Modulation.QAM16, payload_symbols=40)
    values, _ = ofdm.demodulate(frame.samples(), SMALL, 0.0, np.arange(frame.symbols))
    expected = np.einsum("kns,mks->nmk", precoder[SMALL.block_of_tone], frame.reference)
    np.testing.assert_allclose(values, expected, atol=1e-11)
    assert np.all(np.abs(frame.reference[frame.layout.kinds != SymbolKind.PILOT]).min((1, 2)) > 0)


def test_measuring_power_is_the_precoders():
    rng = np.random.default_rng(4)
    precoder = rng.standard_normal((32, 2, 1)) + 1j * rng.standard_normal((32, 2, 1))
    frame = MeasuringFrame(DEFAULT, 0, 1, precoder, Modulation.QAM64)
    np.testing.assert_allclose(power_of(frame.samples()), 12 * np.sum(np.abs(precoder) ** 2, axis=(0, 2)), rtol=5e-3)


def test_payload_differs_between_devices_streams_and_seeds_only():
    precoder = np.ones((8, 1, 2))
    make = lambda **more: MeasuringFrame(SMALL, **({"device": 0, "version": 1, "precoder": precoder, "payload_symbols": 4} | more))
    one = make()
    assert np.array_equal(one.bits(), make(version=2).bits())
    assert not np.array_equal(one.bits(), one.bits(1))
    assert not np.array_equal(one.bits(), make(device=1).bits())
    assert not np.array_equal(one.bits(), make(seed=1).bits())


@pytest.mark.parametrize(
    "make",
    [
        lambda: SoundingFrame(DEFAULT, 0, 1, 4, 1.0, 6),
        lambda: SoundingFrame(DEFAULT, 0, 1, 3, 1.0, 6),
        lambda: SoundingFrame(DEFAULT, 0, 1, 4, 1.0, 28),
        lambda: SoundingFrame(DEFAULT, 0, 1, 4, (1.0, 0.0, 1.0, 1.0)),
        lambda: SoundingFrame(DEFAULT, 99, 1, 4, 1.0).samples(),
        lambda: SoundingFrame(DEFAULT, 0, 1 << 32, 4, 1.0).samples(),
        lambda: MeasuringFrame(DEFAULT, 0, 1, np.ones((31, 4, 1))),
        lambda: MeasuringFrame(DEFAULT, 0, 1, np.full((32, 4, 1), np.nan)),
        lambda: MeasuringFrame(DEFAULT, 0, 1, np.ones((32, 4, 1)), payload_symbols=-1).samples(),
    ],
)
def test_frames_that_cannot_be_are_refused(make):
    with pytest.raises(InputError) as caught:
        make()
    assert caught.value.found and caught.value.allowed and caught.value.fix


def test_changed_table_is_noticed(monkeypatch):
    crest._stored.cache_clear()
    monkeypatch.setattr(crest, "TABLE_SHA256", "0" * 64)
    with pytest.raises(InputError):
        crest._stored()
    monkeypatch.undo()
    crest._stored.cache_clear()
    assert crest._stored()


def test_streams_that_several_sites_send_together_keep_their_identity():
    """Six streams of two cells from two sites: the sites' frames add up to each stream's own, and a receiver looks for the one it wants."""
    rng = np.random.default_rng(3)
    whole = rng.standard_normal((8, 12, 6)) + 1j * rng.standard_normal((8, 12, 6))
    identity = ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2))
    sites = [MeasuringFrame(SMALL, site, 7, whole[:, 6 * site : 6 * site + 6], payload_symbols=9, identity=identity) for site in range(2)]
    together = MeasuringFrame(SMALL, 0, 7, whole, payload_symbols=9, identity=identity)
    np.testing.assert_allclose(np.concatenate([site.samples() for site in sites]), together.samples(), atol=1e-9)
    own = MeasuringFrame(SMALL, 1, 7, whole[..., 3:], payload_symbols=9)  # the second cell's streams as its own site names them
    payload = together.payload
    np.testing.assert_array_equal(together.reference[payload][..., 3:], own.reference[payload])
    sought = together.of(4)
    assert (sought.device, sought.stream) == (1, 1)
    np.testing.assert_array_equal(sought.known[payload], own.of(1).known[payload])
    np.testing.assert_array_equal(sought.bits(4), own.bits(1))
    training = together.reference[together.layout.where(SymbolKind.PILOT)]  # (symbol, tone, stream): one stream a tone, two of eight seats empty
    assert np.all(np.count_nonzero(training, axis=-1) <= 1) and np.all(np.count_nonzero(training, axis=0) == 1)
    with pytest.raises(InputError, match="identity"):
        MeasuringFrame(SMALL, 0, 1, whole, identity=identity[:5])


def test_a_narrow_frame_sounds_sixteen_antennas_and_keeps_their_copies_within_the_prefix():
    frame = SoundingFrame(SMALL, 0, 1, 16, 1.0, 32, 40)
    visited = np.stack([frame.antenna_of(np.arange(32)) == antenna for antenna in range(16)]).sum(1)
    assert np.all(visited == 2)
    np.testing.assert_allclose(np.mean(np.abs(frame.samples()) ** 2, axis=-1), 1.0)
    common = frame.reference[1] / frame.reference[1, :, :1]  # (tone, antenna): a delay each
    slope = np.angle(common[11] * np.conj(common[10]))
    assert np.all(np.abs(slope) * SMALL.fft / (2 * np.pi) < SMALL.prefix)
