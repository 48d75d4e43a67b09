"""Power, noise and spurious lines: a tone on a cable."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from hil.units import from_db, from_dbm, to_db, to_dbm
from sim_backend.sounder.budget import Budget
from sim_backend.sounder.cable import lay, loss_db
from sim_backend.sounder.estimate import least_squares, phases, strongest
from sim_backend.sounder.line import Line
from sim_backend.sounder.waveform import tones

PERIOD = 1024
SAMPLES = 100 * PERIOD
THERMAL_DBM_HZ = 10 * math.log10(1.380649e-23 * 290.0 / 1e-3)


def port_power(emulated: Mapping[str, Any], where: str, tolerance: float) -> list[Line]:
    """A tone of -6 dBFS through 1 m and 20 dB of attenuation. Only a receiver that tells its true gain reads true power, so what the
    radios' own gain errors are is taken from the truth."""
    cable = lay(emulated)
    cable.send(tones({100: 0.5}, PERIOD))
    heard = cable.listen(SAMPLES).port[0]
    measured = to_dbm(_power_at(heard, strongest(heard)))
    truth = to_dbm((0.5 * cable.amplitude()) ** 2) + loss_db(1.0) + _db(cable.sent_gain[0] * cable.heard_gain[0])
    arithmetic = Budget.of(cable.world, "ab", cable.rate, 0.0)
    return [Line("port power", where, truth, measured, tolerance, "dBm").against(arithmetic.decibels, arithmetic.worst)]


def _power_at(samples: np.ndarray, cycles: float) -> float:
    """Watts of a tone near `cycles` per sample, wherever its phase goes: coherent over 256 samples."""
    count = samples.size // 256
    turned = samples[: count * 256] * np.exp(-2j * np.pi * ((cycles * np.arange(count * 256)) % 1.0))
    blocks = turned.reshape(count, 256)
    means = blocks.mean(axis=1)
    spread = (np.abs(blocks - means[:, None]) ** 2).sum(axis=1) / 255 / 256  # what noise adds to the square of a mean
    return float((np.abs(means) ** 2).mean() - spread.mean())


def _db(gain: complex) -> float:
    return 20.0 * math.log10(abs(gain))


def noise(emulated: Mapping[str, Any], where: str, figure_db: float, factor: float = 4.0) -> list[Line]:
    """Idle captures at three gains, then a tone of known port power: what the gain really is falls out of the figure."""
    lines = []
    for gain in (20.0, 40.0, 60.0):
        cable = lay(emulated, gain_db=gain, attenuation_db=40.0 if gain > 50 else 20.0)
        idle = cable.listen(SAMPLES).port[0]
        step = np.sqrt(1e-3 * from_db(cable.receiver.capability.receive_full_scale_dbm - gain)) / (1 << 11)
        noise_w = float(np.mean(np.abs(idle - idle.mean()) ** 2)) - step**2 / 6.0  # less what rounding adds (Sheppard)
        cable.send(tones({100: 0.5}, PERIOD))
        heard = cable.listen(SAMPLES).port[0]
        port = to_dbm((0.5 * cable.amplitude()) ** 2) + loss_db(1.0) + _db(cable.sent_gain[0])
        seen = to_dbm(_power_at(heard, strongest(heard)))
        density = to_dbm(noise_w) - 10 * math.log10(cable.rate) + (port - seen)
        expected = figure_db + max(0.0, 40.0 - gain) / 2.0
        allowed = factor * 4.34 / math.sqrt(SAMPLES)
        lines += [Line(f"noise density, {gain:.0f} dB", where, THERMAL_DBM_HZ + expected, density, allowed, "dBm/Hz")]
        lines += [Line(f"noise figure, {gain:.0f} dB", where, expected, density - THERMAL_DBM_HZ, 0.1, "dB")]
    return lines


def noise_beside(emulated: Mapping[str, Any], where: str) -> list[Line]:
    """A transmission adds no noise of its own: what a weak tone leaves, against the same receiver in silence."""
    cable = lay(emulated, gain_db=60.0, attenuation_db=40.0)
    idle = cable.listen(SAMPLES).port[0]
    cable.send(tones({100: 0.5}, PERIOD))
    heard = cable.listen(SAMPLES).port[0]
    blocks = (heard * np.exp(-2j * np.pi * ((strongest(heard) * np.arange(heard.size)) % 1.0))).reshape(-1, 256)
    left = blocks - blocks.mean(axis=1, keepdims=True)
    powers = [to_dbm(float(np.mean(np.abs(x) ** 2))) for x in (left * math.sqrt(256 / 255), idle - idle.mean())]
    return [Line("noise beside a tone against silence", where, 0.0, powers[0] - powers[1], 8.0 * 4.34 / math.sqrt(SAMPLES), "dB")]


def noise_over_rates(emulated: Mapping[str, Any], where: str) -> list[Line]:
    """Half the rate: half the idle power, the same density."""
    found = []
    for rate in (15.36e6, 7.68e6):
        idle = lay(emulated, gain_db=50.0, rate=rate).listen(SAMPLES).port[0]
        found.append(to_dbm(float(np.mean(np.abs(idle - idle.mean()) ** 2))))
    allowed = 4.0 * 4.34 / math.sqrt(SAMPLES / 2)
    return [Line("idle power, rate halved", where, -10 * math.log10(2.0), found[1] - found[0], allowed, "dB")]


def quantiser(where: str) -> list[Line]:
    """A full-scale tone through a converter of 12 bits, sent by one of 24: 6.02 x 12 + 1.76 dB."""
    emulated = {"severity": 0.0, "receiver": {"noise_figure_db": -1000.0}}
    cable = lay(emulated, transmit={"bits": 24}, attenuation_db=10.0, gain_db=40.0)
    full_dbm = cable.receiver.capability.receive_full_scale_dbm - cable.gain_db
    wanted = full_dbm + 20 * math.log10(2047.4 / 2048) - loss_db(1.0)
    amplitude = math.sqrt(1e-3 * from_db(wanted)) / cable.amplitude()
    cable.send(tones({6421: amplitude}, 65521))
    heard = cable.listen(SAMPLES).port[0]
    turn = np.exp(2j * np.pi * ((6421 / 65521 * np.arange(heard.size)) % 1.0))
    tone = (heard * turn.conj()).mean()
    measured = to_db(abs(tone) ** 2 / float(np.mean(np.abs(heard - tone * turn) ** 2)))
    truth = 10 * math.log10(2047.4**2 * 6.0)
    arithmetic = Budget.of(cable.world, "ab", cable.rate, 0.0)
    return [Line("quantiser", where, truth, measured, 0.1, "dB").against(arithmetic.radians, arithmetic.worst)]


def spurious(emulated: Mapping[str, Any], where: str, tolerance: float) -> list[Line]:
    """The lines that a tone at +f is heard with.

    The transmitter's image (-f) and leakage (0) turn with the carriers' difference, the receiver's image turns against it and its offset
    not at all: the tone's own phase, smoothed, tells the four apart once the carriers differ by more than a few hundred hertz.
    """
    k, level = 100, 0.5
    cable = lay(emulated)
    cable.send(tones({k: level}, PERIOD))
    found = cable.listen(4 * SAMPLES)
    heard = found.port[0]
    n = np.arange(heard.size)
    cycles = strongest(heard)
    place, phase = phases(heard, cycles, 512)
    u = (place - n.size / 2) / n.size
    fitted = np.polynomial.Polynomial.fit(u, phase, 7, domain=[-0.5, 0.5])
    turn = np.exp(1j * (fitted((n - n.size / 2) / n.size) + 2 * np.pi * ((cycles * n) % 1.0)))
    own = np.exp(2j * np.pi * ((k / PERIOD * n * (1.0 + cable.apart(found.middle)[1])) % 1.0))
    carriers = turn * own.conj()
    regressors = np.stack([turn, carriers * own.conj(), carriers, turn.conj(), np.ones(n.size)], axis=1)
    tone, image, leak, mirrored, offset = np.abs(least_squares(regressors, heard))
    assert cable.transmitter.setting is not None and cable.receiver.setting is not None
    chains = cable.world.chains("a", cable.transmitter.setting.attenuation_db)
    front = cable.world.front("b", cable.receiver.setting.receive_gain_db)
    full = math.sqrt(from_dbm(cable.receiver.capability.receive_full_scale_dbm - cable.gain_db))
    first = found.first
    wander = float(np.abs(front.offsets(first - first % 1024, n.size // 1024, cable.rate)[0]).mean())
    rows = (
        ("transmit image", image / tone, abs(chains.image[0])),
        ("LO leakage", leak / tone, abs(chains.leakage[0] / chains.direct[0]) / level),
        ("receive image", mirrored / tone, abs(front.image[0])),
        ("DC offset", offset / full, wander),
    )
    return [Line(name, where, 20 * math.log10(truth), 20 * math.log10(value), tolerance, "dB") for name, value, truth in rows if truth > 1e-9]
