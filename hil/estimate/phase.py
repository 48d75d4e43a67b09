"""Carrier phase of a transmitter at a receiver, and for how long it may be used.

Antennas of one device share oscillator and start, so the phase between them is the channel's. Between devices it is known at the energy
centroid t_c of a capture and ages: by the carrier's error, by the walk of the oscillators' phase and frequency. Every reload, retune or
rate change voids it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from hil.device import Capture
from hil.errors import HilError
from hil.estimate.carrier import Carrier, strongest_delay, symbols_of
from hil.estimate.tracking import ClockNoise
from hil.uncertainty import interval_factor
from hil.waveform.frame import Frame

LONGEST_S = 1e4  # windows are not told beyond
FLAG = 10.5  # above the log of what was tried; here nothing is, but a phase of noise must not pass either


@dataclass(frozen=True, slots=True)
class Phase:
    """radians at centre_s (seconds after the capture's first sample), with variance; cfo_hz and its variance without the phase noise's share.

    diffusion: s_w in rad^2/s, which holds the white part of the frequency noise. span_s: length T of the capture the carrier came from,
    whose error and the walk since are one and the same noise; 0 for a tracked carrier. bounded: rad^2 of the part of the synthesiser's
    phase noise that does not grow. frequency_walk: q2 in 1/s. carrier_hz: fc.
    """

    radians: float
    variance: float
    centre_s: float
    cfo_hz: float
    cfo_variance: float
    carrier_hz: float
    diffusion: float = 0.0
    span_s: float = 0.0
    bounded: float = 0.0
    frequency_walk: float = 0.0
    above_threshold: bool = True

    def variance_at(self, age_s: float) -> float:
        """rad^2, `age_s` after centre_s: 1/(2 SNR) + (2 pi a)^2 var(cfo) + s_w a + (2 pi fc)^2 q2 a^3/3 + sigma_pll^2.

        With the carrier of one capture of length T the walk and its share in var(cfo) together are s_w (1.2 a^2/T - T/6) from a = T/2 on,
        s_w T/12 at the centre.
        """
        age, length = abs(age_s), self.span_s
        if length == 0.0:
            walk = age
        elif age >= length / 2.0:
            walk = 1.2 * age**2 / length - length / 6.0
        else:  # between the two
            walk = length / 12.0 + 0.2 * age**2 / length
        return float(
            self.variance + (2.0 * np.pi * age) ** 2 * self.cfo_variance + self.diffusion * walk
            + (2.0 * np.pi * self.carrier_hz) ** 2 * self.frequency_walk * age**3 / 3.0 + self.bounded
        )  # fmt: skip

    def at(self, seconds: float) -> tuple[float, float]:
        """(radians, variance) `seconds` after the capture's first sample."""
        return self.radians + 2.0 * np.pi * self.cfo_hz * (seconds - self.centre_s), self.variance_at(seconds - self.centre_s)

    def window(self, limit_rad: float, confidence: float = 0.95) -> float:
        """Largest age in seconds at which the phase lies within `limit_rad` with `confidence`; 0 when it never does."""
        factor = interval_factor(confidence)

        def excess(age: float) -> float:
            return factor * np.sqrt(self.variance_at(age)) - limit_rad

        if not self.above_threshold or excess(0.0) > 0.0:
            return 0.0
        high = 1e-6
        while excess(high) <= 0.0:
            high *= 2.0
            if high > LONGEST_S:
                return LONGEST_S
        return float(brentq(excess, 0.0, high, xtol=1e-12))


def between(first: Phase, second: Phase) -> Phase:
    """Phase of `first` less that of `second`, on one capture's clock, where it is known best: at the epochs' mean weighted by var(cfo)."""
    if abs(first.carrier_hz - second.carrier_hz) > 1.0:
        raise HilError("carriers", "phases at different carriers have no difference", found=f"{second.carrier_hz:.0f} Hz",
                       allowed=f"{first.carrier_hz:.0f} Hz", fix="tune both alike")  # fmt: skip
    total = first.cfo_variance + second.cfo_variance
    share = first.cfo_variance / total if total > 0.0 else 0.5
    centre = share * first.centre_s + (1.0 - share) * second.centre_s
    apart = (2.0 * np.pi * (first.centre_s - second.centre_s)) ** 2 * share * second.cfo_variance
    radians = first.at(centre)[0] - second.at(centre)[0]
    return Phase(
        radians, first.variance + second.variance + apart, centre, first.cfo_hz - second.cfo_hz, total, first.carrier_hz,
        first.diffusion + second.diffusion, max(first.span_s, second.span_s), first.bounded + second.bounded,
        first.frequency_walk + second.frequency_walk, first.above_threshold and second.above_threshold,
    )  # fmt: skip


def measure(
    capture: Capture, frame: Frame, carrier: Carrier, response: NDArray[np.complex128] | None = None, *, clock: ClockNoise | None = None
) -> Phase:
    """Phase of the frame against a known channel, at the carrier's epoch.

    response: (channel, tone) channel of what `frame.known` tells in group 0; its phase is the zero. None: a single path, whose delay is
    taken from this capture (a symmetric band keeps it out of the phase). clock: how the pair's oscillators wander beyond what one capture
    shows: white noise that too short a capture hides, the walk of their frequency, and what of the carrier heard does not last. Above
    threshold when energy over noise passes 10.5.
    """
    numerology = frame.numerology
    heard = symbols_of(capture, numerology, carrier)
    turn = heard.index % frame.layout.symbols
    mine = frame.groups[turn] == 0
    known = frame.known[turn[mine]]
    gains = np.einsum("rmk,mk->rk", heard.values[:, mine], known.conj())  # matched, in units of energy
    energy = np.sum(np.square(np.abs(known)), axis=0)
    if response is None:
        delay = strongest_delay(numerology, gains / np.maximum(energy, 1e-300))
        path = np.exp(-2j * np.pi * numerology.frequencies_hz * delay)
        each = np.sum(gains * path.conj(), axis=-1)  # one gain per channel; their mean phase is the phase
        response = np.abs(each)[:, None] * np.exp(1j * (np.angle(each) - np.angle(each[0])))[:, None] * path
    total = np.sum(gains * np.conj(response) / carrier.noise[:, None])
    size = float(np.sum(np.square(np.abs(response)) * energy / carrier.noise[:, None]))
    ratio = float(np.square(np.abs(total))) / size  # energy of the known channel, as heard, over noise
    radians = float(np.angle(total)) + 2.0 * np.pi * carrier.cfo_hz * carrier.centre_s
    bound = carrier.cfo.covariance if carrier.cfo.bound is None else carrier.cfo.bound
    clock = clock or ClockNoise(0.0, 0.0)
    fast = carrier.carrier_hz**2 * clock.fast
    diffusion = max(carrier.phase_diffusion, (2.0 * np.pi * carrier.carrier_hz) ** 2 * clock.white)
    return Phase(
        radians, 0.5 / max(ratio, 1e-12), carrier.centre_s, carrier.cfo_hz, float(bound[0, 0]) + fast, carrier.carrier_hz, diffusion,
        float(heard.times[-1] - heard.times[0]) + numerology.symbol_time_s, carrier.phase_bounded, clock.walk,
        bool(carrier.above_threshold and ratio > FLAG),
    )  # fmt: skip


def combining(variance: float, devices: int = 2) -> float:
    """Share of the coherent power that `devices` keep when each phase has `variance` rad^2: 1/n + (1 - 1/n) exp(-variance).

    For two devices a variance of the difference counts half: 1/2 + exp(-var/2)/2.
    """
    return 1.0 / devices + (1.0 - 1.0 / devices) * float(np.exp(-variance))
