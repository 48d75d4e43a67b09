"""Amplifiers through their radios: compression, AM/PM, intermodulation and where distortion lies, against the formulas."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.units import from_db, from_dbm, to_dbm
from sim_backend.settings import Emulated
from sim_backend.sounder.budget import NOTHING_DB
from sim_backend.sounder.cable import SILENT, Cable, delay, lay, loss_db
from sim_backend.sounder.estimate import least_squares, strongest
from sim_backend.sounder.line import Line
from sim_backend.sounder.waveform import Ofdm, tones

Complex = NDArray[np.complex128]
PERIOD, PLATEAU, SMALL, BIN = 4096, 1536, 0.06, 128
ATTENUATION_DB = 10.0


def curve(table: Mapping[str, Any], x: Complex) -> Complex:
    """What an amplifier of the table [emulated] amplifier makes of samples in square-root watts at its input, by the published formulas:
    Rapp 1991, Saleh 1981, and a cubic that is held where it peaks. ValueError for one with memory: no single curve describes it."""
    gain, power = math.sqrt(from_db(table["gain_db"])), np.abs(x) ** 2
    saturation, model = math.sqrt(from_dbm(table["saturation_dbm"])), table["model"]
    if model == "rapp":
        p = table["smoothness"]
        angle = sum(c * power ** (i + 1) for i, c in enumerate(table.get("am_pm_rad_per_w") or ()))
        return gain * x / (1.0 + (gain * np.abs(x) / saturation) ** (2 * p)) ** (0.5 / p) * np.exp(1j * angle)
    if model == "cubic":
        c = complex(*(table.get("beta3_per_w") or (-4.0 * gain**2 / (27.0 * saturation**2), 0.0)))
        held = np.minimum(1.0, np.sqrt(1.0 / (3.0 * abs(c)) / np.maximum(power, 1e-30)))
        return gain * x * held * (1.0 + c * power * held**2)
    if model == "saleh":
        s = 0.25 * gain**2 / saturation**2
        s, c, d = table.get("saleh_per_w") or (s, 4.0033 / 1.1517 * s, 9.1040 / 1.1517 * s)
        return gain * x / (1.0 + s * power) * np.exp(1j * c * power / (1.0 + d * power))
    if model == "linear":
        return gain * x
    raise ValueError(f"no curve for an amplifier model {model!r}")


def bends(table: Mapping[str, Any]) -> bool:
    """Whether there is a curve to measure."""
    return table["model"] in ("rapp", "cubic", "saleh")


def retained_db(table: Mapping[str, Any], mean_dbm: float) -> float:
    """In-band difference between a spectrum kept on four times the rate and on sixteen, against the signal: OFDM of `mean_dbm` at the input."""
    if not bends(table):
        return NOTHING_DB
    signal = Ofdm.draw(np.random.default_rng(2), symbols=8)
    x = signal.samples * math.sqrt(from_dbm(mean_dbm) / float((np.abs(signal.samples) ** 2).mean()))
    kept = np.abs(np.fft.fftfreq(x.size)) <= 0.375
    found = []
    for fine in (4, 16):
        spectrum = np.zeros(fine * x.size, complex)
        spectrum[: x.size // 2], spectrum[-(x.size // 2) :] = np.split(np.fft.fft(x), 2)
        spectrum = np.fft.fft(curve(table, np.fft.ifft(spectrum) * fine)) / fine
        found.append(np.concatenate(np.split(spectrum, [x.size // 2, spectrum.size - x.size // 2])[::2])[kept])
    return 10 * math.log10(float((np.abs(found[0] - found[1]) ** 2).sum() / (np.abs(found[1]) ** 2).sum()))


def relative(table: Mapping[str, Any], amplitude: float) -> complex:
    """Gain of a steady tone, square-root watts at the input, over that of a vanishing one."""
    x = np.array([amplitude, 1e-6], complex)
    gain = curve(table, x) / x
    return complex(gain[0] / gain[1])


def compression_point(table: Mapping[str, Any]) -> float:
    """dBm at the input where a tone's gain is 1 dB less than a vanishing one's."""
    low, high = 1e-4, 1e2
    for _ in range(100):
        x = math.sqrt(low * high)
        low, high = (x, high) if 20 * math.log10(abs(relative(table, x))) > -1.0 else (low, x)
    return to_dbm(low**2)


def driven(emulated: Mapping[str, Any], table: Mapping[str, Any]) -> tuple[Cable, float]:
    """A cable behind a transmitter strong enough to compress, and the watts at the amplifier's input of its full scale. The attenuator is
    in use: it stands before the amplifier."""
    compressed = compression_point(table)
    full_dbm = compressed + 6.0 + ATTENUATION_DB
    gain_db = min(max(round(29.0 - compressed - table["gain_db"]), -3), 60)
    cable = lay(emulated, gain_db=gain_db, attenuation_db=ATTENUATION_DB, transmit={"transmit_full_scale_dbm": full_dbm})
    chain = abs(cable.world.chains("a", cable.transmitter.setting.attenuation_db).gain[0])  # type: ignore[union-attr]
    return cable, from_dbm(full_dbm - ATTENUATION_DB) * chain**2


def bent(cable: Cable, level: float, periods: int = 24) -> complex:
    """Gain at `level` of full scale over that of a small tone in the same period: two plateaus, so that nothing else can differ."""
    ramp = 0.5 - 0.5 * np.cos(np.pi * (np.arange(PERIOD // 2 - PLATEAU) + 0.5) / (PERIOD // 2 - PLATEAU))
    envelope = np.concatenate([np.full(PLATEAU, level), level + (SMALL - level) * ramp, np.full(PLATEAU, SMALL), SMALL + (level - SMALL) * ramp])
    airing = cable.send(envelope * np.exp(2j * np.pi * BIN * np.arange(PERIOD) / PERIOD))
    heard = cable.listen(periods * PERIOD)
    n = np.arange(heard.port.shape[1])
    cycles = strongest(heard.port[0])
    turned = heard.port[0] * np.exp(-2j * np.pi * ((cycles * n) % 1.0))
    rows = turned.reshape(periods, PERIOD)
    start = (heard.first - airing.first_tick) % PERIOD
    place = (np.arange(PERIOD) + start) % PERIOD
    inner = PLATEAU // 4
    large, small = (place > inner) & (place < PLATEAU - inner), (place > PERIOD // 2 + inner) & (place < PERIOD // 2 + PLATEAU - inner)
    drift = np.angle((rows[1:].mean(axis=1) * rows[:-1].mean(axis=1).conj()).sum()) / PERIOD
    level_means, small_means = (rows[:, part].mean(axis=1) for part in (large, small))
    between = (np.flatnonzero(large).mean() - np.flatnonzero(small).mean()) * drift
    return complex((level_means * small_means.conj()).sum() / (np.abs(small_means) ** 2).sum() * SMALL / level * np.exp(-1j * between))


def compression(emulated: Mapping[str, Any], where: str, tolerance: float, angle_deg: float) -> list[Line]:
    """P1dB by halving an interval of levels; AM/AM and AM/PM there and 6 dB below, against a vanishing tone."""
    table = Emulated.parse(emulated).amplifier
    cable, input_w = driven(emulated, table)
    small = relative(table, SMALL * math.sqrt(input_w))
    low, high = 2 * SMALL, 0.98
    for _ in range(12):
        level = math.sqrt(low * high)
        drop = 20 * math.log10(abs(bent(cable, level)) * abs(small))
        low, high = (level, high) if drop > -1.0 else (low, level)
    level = math.sqrt(low * high)
    lines = [Line("P1dB", where, compression_point(table), to_dbm(input_w * level**2), tolerance, "dBm")]
    for share in (0.5, 1.0):
        ratio = bent(cable, share * level) * small
        truth = relative(table, share * level * math.sqrt(input_w))
        at = f"{to_dbm(input_w * (share * level) ** 2):.1f} dBm"
        lines.append(Line(f"AM/AM at {at}", where, 20 * math.log10(abs(truth)), 20 * math.log10(abs(ratio)), tolerance, "dB"))
        lines.append(Line(f"AM/PM at {at}", where, math.degrees(np.angle(truth)), math.degrees(np.angle(ratio)), angle_deg, "deg"))
    return lines


def intermodulation(emulated: Mapping[str, Any], where: str, tolerance: float, below_db: float = 8.0) -> list[Line]:
    """Two tones, each `below_db` under the compression point: third-order product against fundamental, and the intercept they point to."""
    table = Emulated.parse(emulated).amplifier
    each_dbm = compression_point(table) - below_db
    cable, input_w = driven(emulated, table)
    amplitude = math.sqrt(from_dbm(each_dbm) / input_w)
    k1, k2, period = 60, 84, 1024
    cable.send(tones({k1: amplitude, k2: amplitude}, period))
    heard = cable.listen(100 * period).port[0]
    n = np.arange(heard.size)
    offset = _offset(heard, (k1, k2), period)
    cycles = np.array([k1, k2, 2 * k1 - k2, 2 * k2 - k1]) / period + offset
    found = np.abs(least_squares(np.exp(2j * np.pi * ((np.outer(n, cycles)) % 1.0)), heard))
    measured = 20 * math.log10(math.sqrt(float((found[2:] ** 2).mean() / (found[:2] ** 2).mean())))
    grid = np.arange(64 * period) / 64
    x = math.sqrt(from_dbm(each_dbm)) * (np.exp(2j * np.pi * k1 * grid / period) + np.exp(2j * np.pi * k2 * grid / period))
    spectrum = np.abs(np.fft.fft(curve(table, x))) / grid.size
    truth = 20 * math.log10(spectrum[2 * k2 - k1] / spectrum[k1])
    return [
        Line(f"IM3, two tones of {each_dbm:.1f} dBm", where, truth, measured, tolerance, "dBc"),
        Line("IIP3", where, each_dbm - truth / 2, each_dbm - measured / 2, tolerance, "dBm"),
    ]


def _offset(heard: Complex, bins: tuple[int, int], period: int) -> float:
    """Cycles per sample by which two equal tones are heard high."""
    n = np.arange(heard.size)
    coarse = strongest(heard)
    k = min(bins, key=lambda k: abs(coarse - k / period))
    turned = heard * np.exp(-2j * np.pi * ((coarse * n) % 1.0))
    blocks = turned[: heard.size // period * period].reshape(-1, period).mean(axis=1)
    turn = float(np.angle((blocks[1:] * blocks[:-1].conj()).sum())) / (2 * math.pi * period)
    return coarse + turn - k / period


def spectrum(where: str, draws: int = 8) -> list[Line]:
    """Where the distortion of a flat Gaussian band by a cubic lies: two thirds in the band itself, with densities 3/4 of total over
    bandwidth at its centre and 1/2 at its edge; as much of it when the band fills three quarters of the rate and the rest cannot be seen."""
    share, middle, _ = _distortion(6000, draws)
    _, _, wide = _distortion(49152, draws)
    return [
        Line("cubic distortion, share in band", where, 2 / 3, share, 0.01, "1"),
        Line("cubic distortion, density at centre", where, 0.75, middle, 0.03, "1"),
        Line("cubic distortion of a wide band, in band", where, 10 * math.log10(2 / 3), wide, 0.15, "dB"),
    ]


def _distortion(used: int, draws: int, period: int = 1 << 16, rms: float = 0.15, beta3: float = -0.3) -> tuple[float, float, float]:
    """Share in band, density at the centre over total/bandwidth, and power in band over 2 |beta3|^2 sigma^6 (Bussgang: what is left of
    |x|^2 x when its part along x is taken out), decibels. used: bins of `period` that are occupied."""
    rng = np.random.default_rng(8)
    bins = np.concatenate([np.arange(-used // 2, 0), np.arange(1, used // 2 + 1)])
    k = np.fft.fftfreq(period, 1.0 / period)
    cable = lay(
        {"severity": 0.0, "receiver": SILENT["receiver"], "amplifier": {"model": "cubic", "beta3_per_w": [beta3, 0.0]}},
        gain_db=5.0, attenuation_db=0.0, transmit={"transmit_full_scale_dbm": 27.0},
    )  # fmt: skip
    distortion, sigma = np.zeros(period), rms * cable.amplitude()
    for _ in range(draws):
        reference = np.zeros(period, complex)
        reference[bins] = rng.standard_normal(used) + 1j * rng.standard_normal(used)
        reference *= rms * period / np.linalg.norm(reference)
        airing = cable.send(np.fft.ifft(reference))
        heard = cable.listen(period)
        late = (heard.first - airing.first_tick) % period - delay(1.0) * cable.rate
        received = np.fft.fft(heard.port[0]) * np.exp(-2j * np.pi * k * late / period)
        linear = (received * reference.conj()).sum() / (np.abs(reference) ** 2).sum()
        distortion += np.abs(received - linear * reference) ** 2
    total = distortion[np.abs(k) <= 0.4 * period].sum()
    inside = distortion[np.abs(k) <= used / 2].sum()
    middle = float(distortion[np.abs(k) <= used / 20].mean() * used / total)
    expected = 2 * beta3**2 * sigma**6 * from_db(loss_db(1.0))
    return float(inside / total), middle, 10 * math.log10(float(inside) / draws / period**2 / expected)
