"""Allan deviation of the oscillators through their radios: time differences at equal intervals, by carrier phase or by delay."""

from __future__ import annotations

import math

import numpy as np

from sim_backend.oscillator import CLASSES, YEAR
from sim_backend.sounder.cable import SILENT, Cable, lay
from sim_backend.sounder.estimate import Periods
from sim_backend.sounder.line import Line
from sim_backend.sounder.taps import PERIOD, SENT
from sim_backend.sounder.waveform import tones

TAUS = (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)
BY_PHASE_S = 0.05  # intervals below this are short enough for the phase not to turn
REACH = 48_000  # samples of a capture: more than a radio's latency


def allan(where: str, kind: str = "ocxo", seeds: int = 48, count: int = 16, tolerance: float = 0.1) -> list[Line]:
    """Ratio of the measured deviation, rms over pairs of oscillators and times, to that of the class: h0/(2 tau) + 2 ln2 h-1 +
    (2 pi)^2/6 tau h-2, ageing D^2 tau^2/2 and temperature a^2 sin^4(pi f tau)/(pi f tau)^2. Two oscillators differ by twice the variance."""
    lines = []
    for tau in TAUS:
        squares = [np.mean(np.diff(_times(seed, kind, tau, count), 2) ** 2) / (2 * tau**2) / 2 for seed in range(seeds)]
        ratio = math.sqrt(float(np.mean(squares))) / deviation(kind, tau)
        lines.append(Line(f"Allan deviation of {kind} at {tau:g} s", where, 1.0, ratio, tolerance, "1"))
    return lines


def deviation(kind: str, tau: float) -> float:
    """Of one oscillator."""
    own = CLASSES[kind]
    turn = math.pi * tau / own.period_s
    slow = own.swing**2 * math.sin(turn) ** 4 / turn**2 + (own.ageing / YEAR * tau) ** 2 / 2
    return math.sqrt(own.h0 / (2 * tau) + 2 * math.log(2) * own.h1 + (2 * math.pi) ** 2 / 6 * tau * own.h2 + slow)


def _times(seed: int, kind: str, tau: float, count: int) -> np.ndarray:
    """Seconds by which one clock has gained on the other at count + 2 instants tau apart."""
    cable = lay({**SILENT, "seed": seed, "oscillator": {"class": kind, "spread_ppm": 0.0, "clock_offset_ns": 0.0}})
    airing = cable.send(tones(SENT, PERIOD))
    oscillator = cable.world.oscillators["b"]
    begin = oscillator.next_tick(cable.world.now.after(5e-3), int(cable.rate))
    found = [_at(cable, airing.first_tick, begin + round(i * tau * cable.rate), tau < BY_PHASE_S) for i in range(count + 2)]
    return np.unwrap(np.array(found), period=1.0 / cable.carrier if tau < BY_PHASE_S else PERIOD / cable.rate)


def _at(cable: Cable, sent: int, tick: int, by_phase: bool) -> float:
    """The gain at one tick, but for a constant."""
    due = cable.world.oscillators["b"].tick(tick, int(cable.rate))
    cable.world.advance(max(0.0, due.since(cable.world.now) - 2.2e-3))
    heard = cable.listen(REACH)
    skip = tick - heard.first
    periods = Periods.of(heard.port[0, skip : skip + 8 * PERIOD], SENT, PERIOD, cable.rate, tick - sent)
    neighbours = periods.response[1:] * periods.response[:-1].conj()
    steps = np.diff(periods.bins) == 1
    coarse = -float(np.angle(neighbours[steps].sum())) / (2 * math.pi * cable.rate / PERIOD)
    late = periods.delay(coarse)
    return periods.phase(late) / (2 * math.pi * cable.carrier) if by_phase else -late
