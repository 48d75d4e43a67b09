"""Cubic coefficient of an amplifier from its coupler and through an unknown channel, against the least-squares bound."""

from __future__ import annotations

import time

import numpy as np

from benchmarks.estimator_cases import Row, coverage, efficiency, middle, share
from hil.device import Capture
from hil.estimate import amplifier
from hil.estimate.carrier import Carrier
from hil.knowledge import Estimate
from hil.uncertainty import disc_factor
from hil.waveform import Numerology, ofdm
from tests.physics.test_estimate_amplifier import Drive, captured, cubic, noise, rapp_at, through

WIDE = Numerology(15.36e6, 11.52e6)
KAPPA = 0.04 * np.exp(2.7j)


def run(trials: int, rng: np.random.Generator) -> list[Row]:
    rows: list[Row] = []
    for snr_db in (20.0, 30.0, 40.0):
        rows += coupler(snr_db, trials, rng)
    for snr_db in (10.0, 20.0, 30.0):
        rows += air(snr_db, trials // 4, rng)
    return rows + order(trials // 40, rng)


def coupler(snr_db: float, trials: int, rng: np.random.Generator) -> list[Row]:
    """4096 samples, three quarters of the band, any delay. Textbook: least squares aligned to the nearest sample."""
    begun, found = time.thread_time(), []
    for _ in range(trials):
        spectrum = np.fft.fft(noise(rng, 4096, 1.0))
        spectrum[1536:-1536] = 0.0
        x = np.fft.ifft(spectrum)
        x /= np.sqrt(np.mean(np.abs(x) ** 2))
        delay = rng.uniform(0, 4096)
        capture = captured(through(x, cubic(KAPPA), delay), rng, snr_db)
        got = amplifier.coupler(capture, x, scale=10.0, order=3)
        plain = amplifier.fit(amplifier.basis(x, 3, float(round(delay))), capture.samples[0] * 10.0)
        spread = np.sqrt(got.kappa.covariance[0, 0].real)
        found.append([abs(got.kappa.value[0] - KAPPA), spread, abs(plain.kappa.value[0] - KAPPA), got.valid_to / got.highest])
    return rows_of(f"coupler, 4096 samples, {snr_db:g} dB", np.array(found), time.thread_time() - begun, "nearest sample")


def air(snr_db: float, trials: int, rng: np.random.Generator) -> list[Row]:
    """Eight symbols of 384 tones through three paths, the channel free on every tone. Textbook: the channel taken from the linear fit first."""
    begun, found = time.thread_time(), []
    delays = np.array([0.0, 2.3, 5.9])
    at_tones = np.exp(-2j * np.pi / WIDE.fft * np.outer(WIDE.tones, delays))
    for _ in range(trials):
        x = ofdm.modulate(WIDE, np.exp(2j * np.pi * rng.random((8, WIDE.used))) / np.sqrt(WIDE.used))
        paths = noise(rng, 3, 1 / 3)
        spectrum = np.fft.fft(through(x, cubic(KAPPA))) * (np.exp(-2j * np.pi * np.outer(np.fft.fftfreq(len(x)), delays)) @ paths)
        level = float(np.mean(np.abs(at_tones @ paths) ** 2)) / WIDE.used
        y = np.tile(np.fft.ifft(spectrum), 3) + noise(rng, 3 * len(x), WIDE.fft * level / 10 ** (snr_db / 10))
        capture = Capture.of(y[4340:8760], rate=WIDE.sample_rate_hz, carrier=3.5e9)
        known = Carrier(Estimate("carrier", "bench", np.zeros(1), np.eye(1), "Hz"), float(len(x) - 4340), 0.0, 3.5e9, np.ones(1), 1.0, 8)
        got = amplifier.over_air(capture, Drive(WIDE, 8), known, x)
        spread = np.sqrt(got.kappa.covariance[0, 0].real)
        found.append([abs(got.kappa.value[0] - KAPPA), spread, abs(one_after_the_other(capture, known, x) - KAPPA), got.valid_to / got.highest])
    return rows_of(f"air, 8 symbols of 384 tones, {snr_db:g} dB", np.array(found), time.thread_time() - begun, "channel first")


def one_after_the_other(capture: Capture, known: Carrier, x: np.ndarray) -> complex:
    """Channel by the linear model, then kappa by least squares on what is left."""
    heard = amplifier.symbols_of(capture, WIDE, known)
    waves, step = amplifier.basis(x, 3), WIDE.symbol_samples
    around = np.concatenate([waves[:, -step:], waves, waves[:, :step]], axis=-1)
    linear, bent = ofdm.demodulate(around, WIDE, float(step), np.arange(8))[0][:, heard.index % 8]
    channel = np.sum(heard.values[0] * linear.conj(), 0) / np.sum(np.abs(linear) ** 2, 0)
    left, turned = heard.values[0] - channel * linear, channel * bent
    return complex(np.vdot(turned, left) / np.vdot(turned, turned))


def rows_of(what: str, found: np.ndarray, seconds: float, plain: str) -> list[Row]:
    return [
        efficiency(f"{what}: kappa, RMSE/bound", found[:, 0], found[:, 1], 1.05, seconds, floor=0.95),
        coverage(f"{what}: 95 % disc holds", found[:, 0] < disc_factor() * found[:, 1]),
        efficiency(f"{what}: textbook ({plain}), RMSE/bound", found[:, 2], found[:, 1], None),
        share(f"{what}: cubic said to be valid to the largest drive", found[:, 3] > 0.999),
    ]


def order(trials: int, rng: np.random.Generator) -> list[Row]:
    """Rapp amplifiers behind a coupler at 40 dB: orders are added while they help, and a cubic ends where it departs."""
    orders, limits, begun = [], [], time.thread_time()
    for _ in range(max(trials, 5)):
        tones = rng.choice([-3, -1, 1, 3], (2, 56, WIDE.used)) / np.sqrt(10.0 * WIDE.used)
        x = ofdm.modulate(WIDE, tones[0] + 1j * tones[1])
        rms = np.sqrt(np.mean(np.abs(x) ** 2))
        pure = captured(through(x, rapp_at(x, 3.0)), rng, 40.0, rate=WIDE.sample_rate_hz)
        bent = captured(through(x, rapp_at(x, 3.0, 0.6)), rng, 40.0, rate=WIDE.sample_rate_hz)
        orders.append(amplifier.coupler(pure, x, scale=10.0).order)
        limits.append([amplifier.coupler(one, x, scale=10.0, order=3).valid_to / rms for one in (pure, bent)])
    decibels = 20 * np.log10(np.array(limits))
    seconds = time.thread_time() - begun
    return [
        middle("Rapp, 3 dB back-off, coupler 40 dB: order chosen", np.array(orders), at_least=5, seconds=seconds),
        middle("Rapp, 3 dB back-off: cubic valid to, dB over rms", decibels[:, 0], at_most=10.0, at_least=5.0),
        middle("Rapp with AM/PM 0.6: cubic valid to, dB over rms", decibels[:, 1], at_most=0.0),
    ]
