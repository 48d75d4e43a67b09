"""The echo of a walking target, its derivatives, and what the receiver's clutter removal does to it."""

from dataclasses import replace

import numpy as np
import pytest
from target_scene import AP1, AP2, CARRIER, SENSE, WAVELENGTH, pair

from hil.estimate.echoes import direct_delay, direct_response
from hil.estimate.echomodel import Pair

PLACE, VELOCITY = np.array([9.3, -3.2, 1.0]), np.array([0.7, -0.5, 0.0])


def ready(seed=0, snr_db=60.0, antennas=AP1, **changes):
    return Pair.of(pair(np.random.default_rng(seed), antennas, PLACE, VELOCITY, snr_db, **changes), SENSE, CARRIER)


def test_the_model_is_what_a_walking_target_writes():
    made = ready(snr_db=50.0, reference_std=1e-15)
    echo = made.cleaned(made.field(PLACE, VELOCITY, 0.0))
    gain = np.vdot(echo, made.data) / np.vdot(echo, echo)
    rest = made.data - gain * echo
    assert np.mean(np.abs(rest) ** 2) == pytest.approx(1.0, abs=0.05)  # nothing but the noise of unit variance per whitened entry
    mirrored = made.cleaned(made.field(PLACE * [1, -1, 1], VELOCITY, 0.0))
    assert np.abs(np.vdot(mirrored, made.data)) ** 2 < 0.1 * np.abs(np.vdot(echo, made.data)) ** 2


def test_doppler_of_an_approaching_target_is_positive():
    made = ready()
    direction = (SENSE.mean(axis=0) - PLACE) / np.linalg.norm(SENSE.mean(axis=0) - PLACE)
    towards = np.append(direction[:2], 0.0)
    turn = np.unwrap(np.angle(made.field(PLACE, towards, 0.0)[:, 0, 32]))
    to_ap = (AP1.mean(axis=0) - PLACE) / np.linalg.norm(AP1.mean(axis=0) - PLACE)
    wanted = 2 * np.pi / WAVELENGTH * (towards @ direction + towards @ to_ap)
    assert np.polyfit(made.echoes.times, turn, 1)[0] == pytest.approx(wanted, rel=0.01)


def test_derivatives_against_central_differences():
    made = ready(antennas=AP2)
    base, gain = np.concatenate([PLACE[:2], VELOCITY[:2], [0.3, -0.4], [2e-9]]), 0.3 - 0.2j

    def field(p):
        return made.field(np.append(p[:2], 1.0), np.append(p[2:4], 0.0), p[6], np.append(p[4:6], 0.0))

    slopes = made.slopes(PLACE, VELOCITY, 2e-9, np.array([0.3, -0.4, 0.0]), gain)
    assert slopes[7] == pytest.approx(field(base)) and slopes[8] == pytest.approx(1j * field(base))
    for number, step in enumerate([3e-6, 3e-6, 1e-4, 1e-4, 1e-3, 1e-3, 1e-13]):
        ahead, back = (field(base + s * step * np.eye(7)[number]) for s in (1, -1))
        wanted = gain * (ahead - back) / (2 * step)
        assert slopes[number] == pytest.approx(wanted, abs=1e-6 * np.abs(wanted).max())


def test_slopes_of_chain_errors_against_central_differences():
    made, gain, rng = ready(antennas=AP2), 0.3 - 0.2j, np.random.default_rng(4)
    heard, sent = (np.append(1.0, 1.0 + 0.2 * (rng.standard_normal(3) + 1j * rng.standard_normal(3))) for _ in range(2))
    tuned = lambda heard, sent: replace(made, heard=heard, sent=sent)
    columns = tuned(heard, sent).slopes(PLACE, VELOCITY, 2e-9, gain=gain, of_heard=True, of_sent=True)
    assert len(columns) == 21
    plain = tuned(heard, sent).slopes(PLACE, VELOCITY, 2e-9, gain=gain)
    assert np.array_equal(columns[[*range(7), -2, -1]], plain)
    for number, step in enumerate(np.tile([1e-6, 1e-6j], 6)):
        move = step * np.eye(4)[1 + number % 6 // 2]
        ears, mouths = (move, 0.0) if number < 6 else (0.0, move)
        ahead, back = (tuned(heard + s * ears, sent + s * mouths).field(PLACE, VELOCITY, 2e-9) for s in (1, -1))
        wanted = gain * (ahead - back) / (2 * abs(step))
        assert columns[7 + number] == pytest.approx(wanted, abs=1e-8 * np.abs(wanted).max())


def test_amplitude_follows_the_radar_equation():
    """One antenna, one receiver: twice as far from both is a quarter of the amplitude."""
    made = ready()
    single = Pair.of(replace(made.echoes, antennas=AP1[:1], precoder=made.echoes.precoder[:, :1], spectra=made.echoes.spectra[:, :1],
                             static=made.echoes.static[:1]), AP1[:1] + [0.0, 0.5, 0.0], CARRIER)  # fmt: skip
    middle = AP1[0] + [0.0, 0.25, 0.0]
    away = np.array([6.0, 0.0, 0.0])
    near, far = (np.abs(single.field(middle + n * away, np.zeros(3), 0.0)) for n in (1, 2))
    assert near / far == pytest.approx(np.full(near.shape, (144.0 + 0.0625) / (36.0 + 0.0625)))
    assert np.abs(single.snapshot(middle + away)) * single.root == pytest.approx(near)


def test_products_are_those_of_cleaned_fields():
    made = ready()
    fields = made.slopes(PLACE, VELOCITY, 1e-9, gain=2.0j)
    cleaned = made.cleaned(fields)
    among, onto = made.products(fields)
    scale = np.sqrt(np.diag(among))
    wanted = np.einsum("acrg,bcrg->ab", cleaned.conj(), cleaned).real
    assert among / np.outer(scale, scale) == pytest.approx(wanted / np.outer(scale, scale), abs=1e-9)
    assert onto / scale == pytest.approx(np.einsum("acrg,crg->a", cleaned.conj(), made.data).real / scale)


def test_cleaning_takes_out_what_stands_still_and_only_that():
    made = ready()
    still = made.root * (1.0 + 2.0j) * np.ones(made.data.shape)
    assert np.abs(made.cleaned(still)).max() < 0.1  # the followed phase tilts it a little where it is not the static part itself
    static = made.root * made.echoes.static[None]
    assert np.linalg.norm(made.cleaned(static)) < 1e-9 * np.linalg.norm(static)
    wobble = static * np.exp(1j * 1e-3 * np.sin(np.arange(made.data.shape[0])))[:, None, None]
    assert np.linalg.norm(made.cleaned(wobble)) < 1e-5 * np.linalg.norm(static)
    fast = made.field(PLACE, VELOCITY, 0.0)
    slow = made.field(PLACE, 0.05 * VELOCITY, 0.0)
    keep = [np.sum(np.abs(made.cleaned(f)) ** 2) / np.sum(np.abs(f) ** 2) for f in (fast, slow)]
    assert keep[0] > 0.7 and keep[1] < 0.05


def test_noise_floor_ignores_the_target():
    assert ready(snr_db=40.0).variance == pytest.approx(1.0, abs=0.06)
    assert ready(snr_db=0.0).variance == pytest.approx(1.0, abs=0.06)


TONES = np.concatenate([np.arange(-192, 0), np.arange(1, 193)]) * 30e3
OFFSET = 37e-9


def room(rng, antennas, scatterers=6, late_only=False):
    """(rx, antenna, tone) channel of a direct path and scatterers 10 dB below, mean direct delay `OFFSET`."""
    expected = direct_response(antennas, SENSE, TONES, CARRIER)
    channel = expected * np.exp(-2j * np.pi * TONES * OFFSET) * np.exp(1j)
    mean = np.linalg.norm(SENSE[:, None] - antennas[None], axis=-1).mean()
    for point in rng.uniform([0, -10, 0], [25, 10, 4], (scatterers, 3)):
        legs = np.linalg.norm(SENSE - point, axis=1)[:, None] + np.linalg.norm(antennas - point, axis=1)
        late = (legs - mean) / 299792458.0
        turn = CARRIER * late[..., None] + TONES * (late[..., None] + OFFSET)
        channel = channel + 0.3 * np.exp(2j * np.pi * rng.uniform()) * np.exp(-2j * np.pi * turn)
    return channel, expected


def test_direct_delay_from_many_pairs_is_better_than_from_few():
    rng = np.random.default_rng(5)
    errors = {1: [], 4: []}
    for _ in range(20):
        channel, expected = room(rng, AP1)
        for count in errors:
            delay, std = direct_delay(channel[:, :count], expected[:, :count], TONES)
            errors[count].append((delay - OFFSET, std))
    rms = {count: np.sqrt(np.mean(np.square(np.array(e)[:, 0]))) for count, e in errors.items()}
    assert rms[4] < 4e-9 and rms[4] < rms[1]
    alone = direct_delay(expected * np.exp(-2j * np.pi * TONES * 1.3e-6), expected, TONES)
    assert alone[0] == pytest.approx(1.3e-6, abs=1e-13) and alone[1] == pytest.approx(0.2e-9)


def test_delay_error_of_a_compact_array_is_not_understated():
    """Elements half a wavelength apart share every scatterer's bias: sixteen pairs are not sixteen looks."""
    rng = np.random.default_rng(6)
    compact = AP2.mean(axis=0) + np.linspace(-0.75, 0.75, 4)[:, None] * WAVELENGTH * np.array([0.0, 1.0, 0.0])
    found = []
    for _ in range(60):
        channel, expected = room(rng, compact)
        delay, std = direct_delay(channel, expected, TONES)
        found.append((delay - OFFSET) / std)
    assert np.mean(np.abs(found) < 1.96) > 0.9 and np.max(np.abs(found)) < 5.0
    assert np.sqrt(np.mean(np.square(found))) > 0.3  # nor hugely overstated


def test_a_scatterer_in_the_beam_shows_in_the_amplitude():
    """A late copy of the direct path itself, which no element tells apart: no jackknife sees it, but amplitude or delay does."""
    expected = direct_response(AP1, SENSE, TONES, CARRIER)
    for phase in np.linspace(0.0, 2.0 * np.pi, 8, endpoint=False):
        channel = expected * (1.0 + 0.2 * np.exp(1j * phase - 2j * np.pi * TONES * 10e-9))
        delay, std = direct_delay(channel, expected, TONES)
        assert np.hypot(delay, std) == pytest.approx(2e-9, rel=0.35), phase


def test_precoded_light_is_no_tilt_of_the_amplitude():
    expected = direct_response(AP1, SENSE, TONES, CARRIER) * (1.0 + 0.8 * TONES / TONES.max())
    assert direct_delay(3.0 * expected, expected, TONES)[1] == pytest.approx(0.2e-9)
