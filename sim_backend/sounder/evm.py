"""The floor below which no error vector falls: OFDM through a known way, equalised with what the geometry says."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from hil.units import from_db, to_db
from sim_backend.sounder.budget import Budget
from sim_backend.sounder.cable import Cable, delay, lay, loss_db
from sim_backend.sounder.line import Line
from sim_backend.sounder.waveform import Ofdm

METRES = 0.3


def floor(
    emulated: Mapping[str, Any], where: str, tolerance: float, *, phase_noise_deg: float = 0.0, images: tuple[float, ...] = (),
    at_most: float | None = None,
) -> list[Line]:  # fmt: skip
    """Error of OFDM symbols behind 0.3 m, power of the error over that of the data.

    The oscillators' true errors and the receiver's true offset are taken out; of the phase that is left only what is smooth over the whole
    capture goes, so that all of the phase noise stays. Truth: both ends' phase noise, their images, thermal noise and rounding.
    at_most: a bar instead of that truth.
    """
    rng = np.random.default_rng(4)
    signal = Ofdm.draw(rng)
    cable = lay(emulated, (METRES,), attenuation_db=0.0, gain_db=18.0)
    airing = cable.send(signal.samples)
    heard = cable.listen(3 * signal.samples.size)
    n = np.arange(heard.port.shape[1])
    at = cable.world.oscillators["b"].tick(heard.first, int(cable.rate))
    y = cable.apart(at)[1]
    late = delay(METRES) + float(cable.extra_delay[0, 0]) + cable.lateness(at)
    turned = (heard.port[0] - _offset(cable, heard.first, n.size)) * np.exp(-2j * np.pi * ((cable.carrier * y / cable.rate * n) % 1.0))
    step = signal.size + signal.guard
    start = (heard.first - airing.first_tick) % signal.samples.size
    first = -(-(start + signal.guard) // step)  # the first symbol that begins within the capture
    count = (n.size - (first * step - start) - step) // step
    omega = 2 * np.pi * signal.bins * cable.rate / signal.size
    symbols = []
    early = signal.guard // 2  # taken from the middle of the guard, so that the filter's tail stays outside
    for m in range(count):
        begin = (first + m) * step - start + signal.guard - early
        spectrum = np.fft.fft(turned[begin : begin + signal.size])[signal.bins] / signal.size
        now = late - y * (begin + signal.size / 2) / cable.rate
        symbols.append(spectrum * np.exp(1j * omega * (now + early / cable.rate)))
    received = np.array(symbols)
    sent = signal.data[(first + np.arange(count)) % signal.data.shape[0]]
    loss = math.sqrt(from_db(loss_db(METRES))) * cable.amplitude() * abs(cable.sent_gain[0] * cable.heard_gain[0])
    phase = np.unwrap(np.angle((received * sent.conj()).sum(axis=1)))
    u = np.linspace(-1, 1, count)
    smooth = np.polynomial.Polynomial.fit(u, phase, 9)(u)  # oscillators wander by up to 200 Hz
    error = received * np.exp(-1j * smooth)[:, None] / loss - sent
    measured = to_db(float((np.abs(error) ** 2).mean() / (np.abs(sent) ** 2).mean()))
    arithmetic = Budget.of(cable.world, "ab", cable.rate, 385 / 512 * cable.rate)
    if at_most is not None:
        return [Line("EVM floor", where, at_most, measured, tolerance, "dB", at_most=True).against(arithmetic.total_db, arithmetic.worst)]
    power = float((np.abs(sent) ** 2).mean()) * loss**2
    thermal = float(cable.world.truth.noise_power("b")[0]) * abs(cable.heard_gain[0]) ** 2  # passes the receive chain as the signal does
    noise = (thermal + _rounding(cable)) / signal.size / power
    truth = 2 * math.radians(phase_noise_deg) ** 2 + sum(from_db(image) for image in images) + noise
    added = 10 * math.log10(1.0 + from_db(arithmetic.total_db) / truth)
    return [Line("EVM floor", where, to_db(truth), measured, tolerance, "dB").against(added, arithmetic.worst)]


def _offset(cable: Cable, first: int, samples: int) -> complex:
    """Square-root watts at the port that the receiver's offset looks like: turned by a carrier offset it would fall among the tones."""
    assert cable.receiver.setting is not None
    front = cable.world.front("b", cable.receiver.setting.receive_gain_db)
    return complex(front.offsets(first - first % 1024, max(1, samples // 1024), cable.rate)[0].mean() / front.scale[0])


def _rounding(cable: Any) -> float:
    """Watts at the port that the receiver's codes add."""
    full = from_db(cable.receiver.capability.receive_full_scale_dbm - cable.gain_db - 30.0)
    return full / 4.0 ** (cable.receiver.capability.bits - 1) / 6.0
