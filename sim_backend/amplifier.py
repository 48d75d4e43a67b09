"""Power amplifiers: what goes in and what comes out, complex baseband in square-root watts, on a grid fine enough for what they make.

With small-signal amplitude gain b and saturated output amplitude A:

    rapp    b x / (1 + |b x/A|^(2p))^(1/(2p)), turned by c1 |x|^2 + c2 |x|^4 + ... radians (Rapp 1991)
    cubic   b x (1 + c |x|^2); from |x|^2 = h on, where it peaks, amplitude and phase are held (1/(3|c|) where c is real and negative)
    saleh   b x / (1 + s |x|^2), turned by c |x|^2/(1 + d |x|^2) radians (Saleh 1981)
    memory  sum over branches (delay T) and odd k of b a_k x(t - T) |x(t - T)|^(k - 1)
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from hil.units import from_db, from_dbm
from sim_backend.kernels import COMPILE

_f32 = np.float32


@dataclass(frozen=True, slots=True)
class Amplifier:
    """curve: of `rapp` (p, A/b, c1, c2, ...), `cubic` (Re c, Im c, h), `saleh` (s, c, d); the c's and s per watt of the input.

    branches: of `memory`, (delay in seconds, (a1, a3, a5, a7, a9)) each.
    """

    model: str = "linear"
    gain: float = 1.0
    curve: tuple[float, ...] = ()
    branches: tuple[tuple[float, tuple[complex, ...]], ...] = ()

    @property
    def small_signal(self) -> complex:
        """Amplitude gain of a vanishing input at the carrier's own frequency."""
        return self.gain * complex(sum(terms[0] for _, terms in self.branches) if self.branches else 1.0)

    def response(self, amplitude: float) -> complex:
        """Gain of a steady sample of this amplitude, in the closed forms above; of `memory` with all its delays in step."""
        power = amplitude**2
        if self.model == "rapp":
            smoothness, knee, *turn = self.curve
            angle = sum(c * power ** (i + 1) for i, c in enumerate(turn))
            return self.gain * cmath.exp(1j * angle) * (1.0 + (amplitude / knee) ** (2.0 * smoothness)) ** (-0.5 / smoothness)
        if self.model == "cubic":
            real, imaginary, edge = self.curve
            return self.gain * (1.0 + complex(real, imaginary) * min(power, edge)) * (math.sqrt(edge / power) if power > edge else 1.0)
        if self.model == "saleh":
            s, c, d = self.curve
            return self.gain * cmath.exp(1j * c * power / (1.0 + d * power)) / (1.0 + s * power)
        if self.model == "memory":
            return self.gain * complex(sum(a * power**i for _, terms in self.branches for i, a in enumerate(terms)))
        return complex(self.gain)

    def bends(self, amplitude: float) -> float:
        """By how much of itself a steady sample of this amplitude leaves the straight line; infinite for an amplifier that also filters."""
        return math.inf if self.model == "memory" else abs(self.response(amplitude) / self.gain - 1.0)

    def apply(self, x: NDArray[np.complex64], out: NDArray[np.complex64], branch: int = 0) -> int:
        """One branch's output for samples x (sample,), its delay apart; answers how many samples were beyond the curve and held."""
        gain = _f32(self.gain)
        if self.model == "rapp":
            _rapp(x, gain, self.curve[0], _f32(self.curve[1]), np.array(self.curve[2:], np.float32), out)
        elif self.model == "cubic":
            return int(_cubic(x, gain, *map(_f32, self.curve), out))
        elif self.model == "saleh":
            _saleh(x, gain, *map(_f32, self.curve), out)
        elif self.model == "memory":
            terms = self.branches[branch][1]
            _polynomial(x, np.array(terms + (0.0,) * (5 - len(terms)), np.complex64) * gain, out)
        else:
            np.multiply(x, gain, out=out)
        return 0

    @property
    def delays(self) -> tuple[float, ...]:
        """Seconds, one per branch."""
        return tuple(delay for delay, _ in self.branches) or (0.0,)


def make(values: Mapping[str, Any]) -> Amplifier:
    """The amplifier of the table [emulated] amplifier, checked by `settings`. What the table leaves out follows from `saturation_dbm`:
    the cubic's and Saleh's largest output is A, and Saleh's phase is that of his travelling-wave tube against its amplitude."""
    model, gain = values["model"], math.sqrt(from_db(values["gain_db"]))
    knee = math.sqrt(from_dbm(values["saturation_dbm"])) / gain  # input amplitude at which the straight line meets A
    if model == "rapp":
        return Amplifier(model, gain, (float(values["smoothness"]), knee, *map(float, values["am_pm_rad_per_w"] or ())))
    if model == "cubic":
        real, imaginary = map(float, values["beta3_per_w"] or (-4.0 / (27.0 * knee**2), 0.0))
        return Amplifier(model, gain, (real, imaginary, peak(complex(real, imaginary)) if values["hold"] else math.inf))
    if model == "saleh":
        s = 0.25 / knee**2
        return Amplifier(model, gain, tuple(map(float, values["saleh_per_w"] or (s, 4.0033 / 1.1517 * s, 9.1040 / 1.1517 * s))))
    if model == "memory":
        branches: dict[float, list[complex]] = {}
        for order, delay_ns, real, imaginary in values["taps"]:
            branches.setdefault(float(delay_ns) * 1e-9, [0j] * 5)[(order - 1) // 2] += complex(real, imaginary)
        return Amplifier(model, gain, branches=tuple((delay, tuple(terms)) for delay, terms in branches.items()))
    return Amplifier(model, gain)


def peak(c: complex) -> float:
    """|x|^2 at which |x (1 + c |x|^2)| is largest: the smaller root of 1 + 4 Re(c) p + 3 |c|^2 p^2; 1/(3|c|) where it never falls."""
    if c == 0:
        return math.inf
    below = 4.0 * c.real**2 - 3.0 * abs(c) ** 2
    return (-2.0 * c.real - math.sqrt(below)) / (3.0 * abs(c) ** 2) if c.real < 0.0 <= below else 1.0 / (3.0 * abs(c))


@njit("void(c8[::1],f4,f8,f4,f4[::1],c8[::1])", **COMPILE)
def _rapp(x, gain, smoothness, knee, turn, out):
    inverse = _f32(1.0) / (knee * knee)
    one = _f32(1.0)
    if smoothness == 2.0:
        for n in range(x.size):
            u = (x[n].real * x[n].real + x[n].imag * x[n].imag) * inverse
            out[n] = x[n] * (gain / math.sqrt(math.sqrt(one + u * u)))
    elif smoothness == 1.0:
        for n in range(x.size):
            u = (x[n].real * x[n].real + x[n].imag * x[n].imag) * inverse
            out[n] = x[n] * (gain / math.sqrt(one + u))
    else:
        for n in range(x.size):
            u = (x[n].real * x[n].real + x[n].imag * x[n].imag) * inverse
            out[n] = x[n] * _f32(gain * (1.0 + u**smoothness) ** (-0.5 / smoothness))
    if turn.size:
        for n in range(x.size):
            power = x[n].real * x[n].real + x[n].imag * x[n].imag
            angle = _f32(0.0)
            for i in range(turn.size - 1, -1, -1):
                angle = (angle + turn[i]) * power
            out[n] *= complex(math.cos(angle), math.sin(angle))


@njit("i8(c8[::1],f4,f4,f4,f4,c8[::1])", **COMPILE)
def _cubic(x, gain, re, im, edge, out):
    held = 0
    for n in range(x.size):
        power = x[n].real * x[n].real + x[n].imag * x[n].imag
        scale = gain
        if power > edge:
            held += 1
            scale = gain * math.sqrt(edge / power)
            power = edge
        out[n] = x[n] * complex(scale * (_f32(1.0) + re * power), scale * im * power)
    return held


@njit("void(c8[::1],f4,f4,f4,f4,c8[::1])", **COMPILE)
def _saleh(x, gain, s, c, d, out):
    one = _f32(1.0)
    for n in range(x.size):
        power = x[n].real * x[n].real + x[n].imag * x[n].imag
        angle = c * power / (one + d * power)
        scale = gain / (one + s * power)
        out[n] = x[n] * complex(scale * math.cos(angle), scale * math.sin(angle))


@njit("void(c8[::1],c8[::1],c8[::1])", **COMPILE)
def _polynomial(x, terms, out):
    for n in range(x.size):
        power = x[n].real * x[n].real + x[n].imag * x[n].imag
        value = terms[4]
        for i in range(3, -1, -1):
            value = value * power + terms[i]
        out[n] = x[n] * value
