"""The sounder itself: judgement of a line, its estimators on signals made by hand, its error budget, and the lines it draws of the emulator."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest

from sim_backend import interpolator, sounder
from sim_backend.kernels import FINE, MARGIN, TAPS
from sim_backend.oscillator import Oscillator
from sim_backend.settings import Emulated
from sim_backend.sounder import amplifier, budget, onair, phasenoise, stability, taps, tones
from sim_backend.sounder.estimate import Periods, carrier_offset, least_squares, phases, straight, strongest
from sim_backend.sounder.line import Line
from sim_backend.sounder.waveform import Ofdm, flat
from sim_backend.sounder.waveform import tones as sum_of_tones

# -- a line ---------------------------------------------------------------------------------------------------------------------------------


def test_a_line_judges_both_sides_or_one():
    assert Line("level", "", 1.0, 1.09, 0.1, "dB").ok and not Line("level", "", 1.0, 0.89, 0.1, "dB").ok
    assert Line("rest", "", -90.0, -120.0, 0.0, "dB", at_most=True).ok and not Line("rest", "", -90.0, -89.9, 0.0, "dB", at_most=True).ok
    assert not Line("level", "", 1.0, math.nan, 0.1, "dB").ok and not Line("rest", "", -90.0, math.nan, 0.0, "dB", at_most=True).ok


def test_a_tolerance_within_the_error_budget_fails_and_names_the_term():
    line = Line("level", "", 1.0, 1.0, 0.1, "dB").against(0.2, "interpolator")
    assert not line.ok and "interpolator" in line.why and "0.2" in line.why
    assert Line("level", "", 1.0, 1.0, 0.1, "dB").against(0.05, "interpolator").ok
    assert not Line("rest", "", -90.0, -120.0, 0.0, "dB", at_most=True).against(-80.0, "float32").ok
    assert "off by -0.2" in Line("level", "", 1.0, 0.8, 0.1, "dB").why


# -- estimators, on signals made by hand ----------------------------------------------------------------------------------------------------


def heard(delay: float, cfo: float, drift: float, count: int = 64, rate: float = 15.36e6, size: int = 512) -> tuple[dict[int, complex], np.ndarray]:
    """A multitone late by delay + drift t, its carrier high by cfo, exactly."""
    sent = flat([k for k in range(-150, 151) if k], size)
    t = np.arange(count * size) / rate
    out = sum(a * np.exp(2j * np.pi * k * rate / size * (t - delay - drift * t)) for k, a in sent.items())
    return sent, out * np.exp(2j * np.pi * cfo * t) * 0.3 * np.exp(1j)


@pytest.mark.parametrize("cfo", [-21e3, -300.0, 0.0, 14.9e3])
def test_delay_drift_and_carrier_of_a_multitone(cfo):
    sent, samples = heard(123.4e-9, cfo, 3e-6)
    periods = Periods.of(samples, sent, 512, 15.36e6, 0)
    middle = periods.positions[periods.middle] / 15.36e6
    assert carrier_offset(samples, periods.bins, 512) * 15.36e6 == pytest.approx(cfo, abs=20.0)
    assert straight(periods.positions / 15.36e6, periods.turned)[0] / (2 * np.pi) == pytest.approx(cfo, abs=1e-3)
    assert straight(periods.positions / 15.36e6, periods.track[1])[0] == pytest.approx(3e-6, rel=1e-5)
    assert periods.delay(100e-9) == pytest.approx(123.4e-9 + 3e-6 * middle, abs=2e-14)
    assert periods.gain_db == pytest.approx(20 * np.log10(0.3), abs=1e-5)
    found = periods.phase(123.4e-9 + 3e-6 * middle)
    assert math.remainder(found - 1.0 - 2 * np.pi * cfo * middle, 2 * np.pi) == pytest.approx(0.0, abs=1e-5)


def test_a_lag_moves_the_delay_by_whole_samples():
    sent, samples = heard(0.0, 0.0, 0.0, count=8)
    late = Periods.of(np.roll(samples, 7), sent, 512, 15.36e6, 0)
    assert late.delay(7 / 15.36e6) == pytest.approx(7 / 15.36e6, abs=1e-14)
    assert Periods.of(samples[100:1124], sent, 512, 15.36e6, 100).delay(0.0) == pytest.approx(0.0, abs=1e-14)


def test_tones_lines_and_least_squares():
    n = np.arange(20000)
    samples = 0.7 * np.exp(2j * np.pi * 0.123456789 * n + 0.4j)
    assert strongest(samples) == pytest.approx(0.123456789, abs=1e-10)
    place, phase = phases(samples, 0.1234, 50)
    assert straight(place, phase)[0] / (2 * np.pi) == pytest.approx(0.000056789, abs=1e-10)
    assert straight(np.array([0.0, 1.0, 2.0]), np.array([1.0, 3.0, 50.0]), np.array([1.0, 1.0, 0.0])) == (2.0, 2.0)
    columns = np.exp(2j * np.pi * np.outer(n, [0.1, -0.2]))
    assert least_squares(columns, columns @ np.array([1 - 2j, 0.5j])) == pytest.approx([1 - 2j, 0.5j])


def test_waveforms_keep_within_full_scale():
    amplitudes = flat(range(1, 200), 512, 0.9)
    x = sum_of_tones(amplitudes, 512)
    assert max(np.abs(x.real).max(), np.abs(x.imag).max()) == pytest.approx(0.9)
    assert np.sqrt((np.abs(x) ** 2).mean()) > 0.55  # as flat in time as in frequency
    signal = Ofdm.draw(np.random.default_rng(1), symbols=3)
    body = signal.samples[signal.guard : signal.guard + signal.size]
    assert np.fft.fft(body)[signal.bins] / signal.size == pytest.approx(signal.data[0], abs=1e-12)
    assert np.array_equal(signal.samples[: signal.guard], body[-signal.guard :])


# -- the budget -----------------------------------------------------------------------------------------------------------------------------


def test_the_interpolators_term_is_what_interpolating_a_tone_leaves():
    """Against tones read at positions between samples with the emulator's own weights, one by one."""
    rng = np.random.default_rng(1)
    table, taps_at, wrong = interpolator.filters()[0].astype(float), np.arange(-TAPS // 2 + 1, TAPS // 2 + 1), []
    for f in rng.uniform(-0.75 / 4, 0.75 / 4, 400):
        row = int(rng.integers(0, FINE))
        found = table[MARGIN + row] @ np.exp(2j * np.pi * f * taps_at)
        wrong.append(abs(found - np.exp(2j * np.pi * f * row / FINE)) ** 2)
    assert budget.interpolation_db(0.75) == pytest.approx(10 * np.log10(np.mean(wrong)), abs=1.5)
    assert budget.interpolation_db(1.0) > -90.0 > -115.0 > budget.interpolation_db(0.75)


def test_the_terms_of_a_budget():
    still = SimpleNamespace(now=None, room=SimpleNamespace(carrier=3.5e9), emulated=SimpleNamespace(phase_noise=0.0), oscillators={})
    still.now = sounder.Instant(0, 0.0)
    still.oscillators = {"a": Oscillator(2e-6), "b": Oscillator(-1e-6)}
    found = budget.Budget.of(still, "ab", 15.36e6, 11.52e6).terms
    assert found["frozen carrier of a table"] == found["frozen geometry"] == found["phase noise beyond its grid"] == budget.NOTHING_DB
    assert found["coefficients over the block"] == pytest.approx(budget.drift_db(0.75, 3e-6)) and found["coefficients over the block"] < -110
    assert budget.drift_db(0.75, 1e-6) == pytest.approx(budget.drift_db(0.75, 0.5e-6) + 40 * math.log10(2), abs=0.1)
    still.oscillators["b"] = Oscillator(-1e-6, ageing=1e-9)  # per second
    moved = budget.Budget.of(still, "ab", 15.36e6, 11.52e6, spread_s=100e-9, acceleration=2.0).terms
    assert moved["frozen carrier of a table"] == pytest.approx(20 * math.log10(2 * math.pi * 3.5e9 * 100e-9 * 4e-9))
    sagitta = 2.0 * (1024 / 15.36e6) ** 2 / 8
    assert moved["frozen geometry"] == pytest.approx(20 * math.log10(2 * math.pi * sagitta * 3.5e9 / 299792458.0))
    assert budget.shift_db(11.52e6, 15.36e6, 10e3) == budget.NOTHING_DB  # flat to 0.4 of the rate
    assert budget.shift_db(14e6, 15.36e6, 20e3) == pytest.approx(budget.shift_db(14e6, 15.36e6, 10e3) + 20 * math.log10(2), abs=0.1)
    assert budget.beyond_grid_db(math.radians(0.45)) == pytest.approx(-50.9, abs=0.2)


def test_what_phase_noise_lacks_counts_for_samples_and_not_for_means():
    found = budget.Budget({"float32": -130.0, budget.NOISE_TERM: -50.0})
    assert found.total_db == pytest.approx(-50.0, abs=1e-6) and found.steady_db == pytest.approx(-130.0) and found.worst == "float32"
    assert found.seconds(12e6) == pytest.approx(10**-6.5 / (2 * math.pi * 12e6 / math.sqrt(12)))


def test_the_retained_spectrum_of_a_hard_driven_amplifier():
    """Rapp p = 2, 4 dB over rms, 11.52 of 15.36 MHz on four times the rate: -81 dB of a distortion that itself lies at -22 dB."""
    table = Emulated.parse({"amplifier": {"model": "rapp", "saturation_dbm": 20.0}}).amplifier
    assert amplifier.retained_db(table, 16.0) == pytest.approx(-103.0, abs=3.0)
    assert amplifier.retained_db(table, 8.0) < amplifier.retained_db(table, 16.0) - 10.0


# -- closed forms -----------------------------------------------------------------------------------------------------------------------------


def test_curves_have_the_compression_points_of_their_formulas():
    cubic = Emulated.parse({"amplifier": {"model": "cubic", "beta3_per_w": [-2.0, 0.0]}}).amplifier
    assert amplifier.compression_point(cubic) == pytest.approx(17.353955, abs=1e-6)
    rapp = Emulated.parse({"amplifier": {"model": "rapp", "smoothness": 2.0, "saturation_dbm": 20.0}}).amplifier
    assert amplifier.compression_point(rapp) == pytest.approx(20.0 + 5.0 * math.log10(10**0.2 - 1), abs=1e-6)
    saleh = Emulated.parse({"amplifier": {"model": "saleh", "saleh_per_w": [2.5, 6.0, 8.0]}}).amplifier
    assert amplifier.compression_point(saleh) == pytest.approx(10 * math.log10((10**0.05 - 1) / 2.5) + 30, abs=1e-6)
    with pytest.raises(ValueError, match="no curve for an amplifier model 'memory'"):
        amplifier.curve({"model": "memory", "gain_db": 0.0, "saturation_dbm": 20.0}, np.ones(1, complex))


# -- the emulator -----------------------------------------------------------------------------------------------------------------------------


def wrong(lines) -> list[str]:
    return [f"{line.quantity}, {line.where}: {line.why}" for line in lines if not line.ok]


@pytest.mark.slow
def test_between_ideal_devices_only_arithmetic_is_left():
    lines = list(sounder.exact())
    assert wrong(lines) == [] and len(lines) > 40


@pytest.mark.slow
@pytest.mark.parametrize("severity", [0.0, 1.0, 2.0])
def test_devices_as_they_are_drawn(severity):
    lines = list(sounder.honest({"seed": 5, "severity": severity, "oscillator": {"class": "tcxo", "spread_ppm": 3.0}}))
    assert wrong(lines) == [] and len(lines) > 25


@pytest.mark.slow
def test_allan_deviation_through_radios():
    lines = stability.allan("")
    assert wrong(lines) == [] and len(lines) == 6


def test_the_bars_with_every_impairment_on():
    """Delay within 0.02 sample, gain within 0.05 dB, carrier within 0.1 Hz: the tolerances of the lines are closer than that."""
    lines = taps.one_path({}, "", 0.02 / 15.36e6, 0.05, 0.5) + tones.port_power({}, "", 0.03) + tones.spurious({}, "", 0.5)
    assert wrong(lines) == []


def test_a_devices_own_phase_noise_is_one_for_all_its_channels():
    assert wrong(phasenoise.shared({}, "", 0.45)) == []


# -- a bench on its air -----------------------------------------------------------------------------------------------------------------------


def bench(severity: float) -> dict:
    from sites import radio, site

    radios = [radio("a", 2, 0, [0.0, 0.0, 1.0]), radio("b", 0, 2, [9.0, 2.0, 1.5])]
    return site(radios, seed=3, emulated={"severity": severity, "room": {"scatterers": 3}, "fault": [{"what": "tone", "where": "b", "at_s": 0.0}]})


def test_a_small_bench_on_its_air():
    lines, budgets = onair.measure(bench(1.0), 15.36e6)
    assert wrong(lines) == [] and list(budgets) == ["a > b"]
    told = {line.quantity for line in lines}
    assert told >= {"noise figure", "DC offset", "carrier offset", "gains of antenna pairs", "phases between antennas", "port power"}
    assert told >= {"transmit image", "leakage heard", "receive image"}


def test_the_worst_line_is_the_one_nearest_its_tolerance():
    lines = [Line("x", str(i), 0.0, value, tolerance, "") for i, (value, tolerance) in enumerate([(0.5, 10.0), (-0.3, 0.4), (0.2, 0.4)])]
    assert onair.worst(lines).where == "1"
