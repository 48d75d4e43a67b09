"""From a converter's codes to the antenna port: interpolation, IQ imbalance, LO leakage, attenuator, what the chain adds, amplifier.

All of it is done once per transmission and kept as a spectrum on four times the program's bins: a cyclic waveform has no other state. An
amplifier works on at least four samples per code, so that its distortion of third order folds nowhere and what folds of the higher ones
stays small. A stage that is ideal costs nothing and changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass, field

import numpy as np
import scipy.fft
from numba import njit
from numpy.typing import NDArray

from hil.units import from_db
from sim_backend import seeds
from sim_backend.amplifier import Amplifier, make
from sim_backend.kernels import COMPILE
from sim_backend.settings import Chain, Emulated

Complex = NDArray[np.complex128]
OVERSAMPLING = 4
STRAIGHT = 1e-6  # an amplifier that bends its largest sample by less than this is taken as linear: -120 dB
HEADROOM = 2.0  # a waveform between its samples stays below so many times the largest of them


@dataclass(frozen=True, slots=True)
class Chains:
    """What the chains of some transmit elements are, (element,) each; fractions of full scale go in.

    image: against the signal, of its conjugate. leakage: fractions of full scale at 0 dB. gain: of attenuator and chain against nominal.
    """

    image: Complex
    leakage: Complex
    gain: Complex
    amplifier: Amplifier = field(default_factory=Amplifier)

    @classmethod
    def ideal(cls, elements: int) -> Chains:
        return cls(np.zeros(elements, complex), np.zeros(elements, complex), np.ones(elements, complex))

    @property
    def key(self) -> Hashable:
        """Equal keys, equal chains."""
        return self.image.tobytes(), self.leakage.tobytes(), self.gain.tobytes(), self.amplifier

    @property
    def direct(self) -> Complex:
        """mu of s -> mu s + nu conj(s), (element,): an imbalance g exp(jp) of Q has mu = (1 + g exp(jp))/2, nu = (1 - g exp(jp))/2."""
        return 1.0 / (1.0 + self.image)

    @property
    def mirrored(self) -> Complex:
        """nu."""
        return self.image / (1.0 + self.image)

    @property
    def small_signal(self) -> Complex:
        """Gain against nominal of a small signal at the carrier, (element,)."""
        return self.direct * self.gain * self.amplifier.small_signal


def draw(emulated: Emulated, radio: str, channels: NDArray[np.int64], attenuation_db: tuple[float, ...], tuning: object) -> Chains:
    """The chains of a radio's channels (element,) at an attenuation per channel. tuning: whatever differs from one tuning to the next."""
    own, seed = emulated.transmitter, emulated.seed

    def turned(amplitude: float, *purpose: object) -> Complex:
        return amplitude * np.exp(2j * np.pi * np.array([seeds.uniform(0.0, 1.0, seed, radio, *purpose, int(c)) for c in channels]))

    attenuation = np.array([attenuation_db[c] for c in channels])
    key = [(int(c), round(1000 * a)) for c, a in zip(channels, attenuation)]
    error = np.array([seeds.uniform(-own.attenuator_db, own.attenuator_db, seed, radio, "attenuator", *k) for k in key])
    slope = np.array([seeds.uniform(-own.attenuator_phase, own.attenuator_phase, seed, radio, "attenuator phase", int(c)) for c in channels])
    return Chains(
        image=turned(own.image, "transmit image"),
        leakage=turned(own.leakage, "leakage", tuning),
        gain=np.sqrt(from_db(error)) * np.exp(1j * slope * attenuation / 10.0) * chain_gain(own.chain, seed, radio, "transmit", channels),
        amplifier=make(emulated.amplifier),
    )


def chain_gain(chain: Chain, seed: int, radio: str, side: str, channels: NDArray[np.int64]) -> Complex:
    """The fixed complex gain of a radio's channels, (channel,)."""
    out = np.ones(len(channels), complex)
    for i, channel in enumerate(channels):
        rng = seeds.generator(seed, radio, side, "chain", int(channel))
        gain_db, normal, turn = chain.gain_db * rng.standard_normal(), rng.standard_normal(), rng.uniform(-np.pi, np.pi)
        out[i] = math.sqrt(from_db(gain_db)) * np.exp(1j * (turn if math.isinf(chain.phase) else chain.phase * normal))
    return out


def chain_delay(chain: Chain, seed: int, radio: str, side: str, channels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Seconds by which each of a radio's channels is late, (channel,)."""
    return np.array([seeds.uniform(-chain.delay, chain.delay, seed, radio, side, "chain delay", int(c)) for c in channels])


def radiated(
    sent: NDArray[np.complex64], largest: NDArray[np.float64], amplitude: NDArray[np.float64], chains: Chains, rate: float
) -> tuple[NDArray[np.complex64], NDArray[np.int64]]:
    """What comes out at the antenna ports, and how many samples each amplifier held.

    sent: (element, bin) a program's spectrum in fractions of full scale, fft order. largest: (element,) of its samples. amplitude:
    (element,) square-root watts at the port of full scale through a nominal chain. rate: of the codes, hertz. Answers
    (element, 4 x bins), square-root watts, fft order.
    """
    elements, period = sent.shape
    held = np.zeros(elements, np.int64)
    most = period - period // 2  # bins 0 .. most - 1, then -(period // 2) .. -1
    half = period // 2
    centred = np.zeros((elements, 2 * half + 1), np.complex64)  # bins -half .. half
    centred[:, half : half + most] = sent[:, :most]
    centred[:, :half] = sent[:, most:]
    if np.any(chains.image):
        mirrored = np.conj(centred[:, ::-1])
        centred = chains.direct.astype(np.complex64)[:, None] * centred + chains.mirrored.astype(np.complex64)[:, None] * mirrored
    if np.any(chains.leakage):
        centred[:, half] += chains.leakage
    if np.any(chains.gain != 1.0):
        centred *= (amplitude * chains.gain).astype(np.complex64)[:, None]
    else:
        centred = (centred * amplitude[:, None]).astype(np.complex64)
    out = np.zeros((elements, OVERSAMPLING * period), np.complex64)
    amplifier = chains.amplifier
    length = scipy.fft.next_fast_len(period)
    twiddle = np.exp(-2j * np.pi / (OVERSAMPLING * length) * np.arange(length)).astype(np.complex64)
    peak = HEADROOM * amplitude * np.abs(chains.gain) * (largest * (1.0 + np.abs(chains.image)) + np.abs(chains.leakage))
    for e in range(elements):
        if amplifier.bends(float(peak[e])) < STRAIGHT:
            own = centred[e] if amplifier.gain == 1.0 else centred[e] * np.float32(amplifier.gain)
            out[e, : half + 1] = own[half:]
            out[e, out.shape[1] - half :] = own[:half]
        else:
            held[e] = _amplified(amplifier, centred[e], twiddle, rate / period, out[e])
    return out, held


def _amplified(
    amplifier: Amplifier, centred: NDArray[np.complex64], twiddle: NDArray[np.complex64], spacing: float, out: NDArray[np.complex64]
) -> int:
    """The spectrum of one element behind its amplifier, into out (bin,); spacing: hertz from bin to bin.

    Four transforms side by side, of every fourth sample each, take half the time of a long one; an amplifier does not mind the order.
    """
    x = np.zeros((OVERSAMPLING, twiddle.size), np.complex64)
    _spread(centred, twiddle, x)
    x = scipy.fft.ifft(x, axis=1, norm="forward", overwrite_x=True)
    held = 0
    for branch, delay in enumerate(amplifier.delays):
        z = np.empty_like(x)
        held += amplifier.apply(x.reshape(-1), z.reshape(-1), branch)
        bins = np.zeros_like(out)
        _gather(scipy.fft.fft(z, axis=1, norm="forward", overwrite_x=True), twiddle, bins)
        if delay:
            bins *= np.exp(-2j * np.pi * delay * spacing * scipy.fft.fftfreq(out.size, 1.0 / out.size)).astype(np.complex64)
        out += bins
    return held


@njit("void(c8[::1],c8[::1],c8[:,::1])", **COMPILE)
def _spread(centred, twiddle, x):
    """Spectra (4, length) of the samples 4n + m from bins -half .. half; twiddle: exp(-j 2 pi k/(4 length))."""
    half = centred.size // 2
    for i in range(centred.size):
        k = i - half
        turn = twiddle[k].conjugate() if k >= 0 else twiddle[-k]
        value = centred[i]
        place = k if k >= 0 else k + twiddle.size
        for m in range(4):
            x[m, place] += value
            value *= turn


@njit("void(c8[:,::1],c8[::1],c8[::1])", **COMPILE)
def _gather(parts, twiddle, out):
    """Bins of the whole, |k| < out.size/2 in fft order, from spectra (4, length) of the samples 4n + m."""
    length = twiddle.size
    top = out.size // 2
    last = 4 * length - top  # bins from here on are the negative ones
    for q in range(length):
        turn = twiddle[q]
        a = parts[0, q]
        b = parts[1, q] * turn
        c = parts[2, q] * (turn * turn)
        d = parts[3, q] * (turn * turn * turn)
        even, odd, plus, minus = a + c, a - c, b + d, b - d
        minus = complex(minus.imag, -minus.real)  # -j (b - d)
        for r in range(4):
            value = even + plus if r == 0 else odd + minus if r == 1 else even - plus if r == 2 else odd - minus
            k = q + r * length
            if k < top:
                out[k] = np.float32(0.25) * value
            elif k >= last:
                out[k - last + top] = np.float32(0.25) * value
