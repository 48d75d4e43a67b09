"""From the antenna port to codes: what the chain adds, the gain as it really is, IQ imbalance, DC and the converter.

Everything but the compression of the front end is one real 2 x 2 matrix and an offset per channel, so one pass does it all. It depends on
nothing but the sample's number: cut a request as you like, the bits stay.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from hil.units import from_db, from_dbm
from sim_backend import seeds
from sim_backend.converter import receive_scale
from sim_backend.kernels import BLOCK, COMPILE
from sim_backend.settings import Emulated
from sim_backend.transmit import chain_gain

Complex = NDArray[np.complex128]
WANDER = 0.1  # of the DC, in each of its lines
WANDER_S = (12.0, 37.0, 110.0)  # their periods

_f32 = np.float32


@dataclass(frozen=True, slots=True)
class Front:
    """The receive chains of a radio at its present gains, (channel,) each.

    scale: fractions of full scale per square-root watt, nominal. gain: what chain and step error make of it. image: of the conjugate,
    against the signal. dc: (channel, line) fractions of full scale, line 0 constant. compression: 1/W, cubic, of the front end.
    """

    scale: NDArray[np.float64]
    gain: Complex
    image: Complex
    dc: Complex
    compression: float = 0.0

    @classmethod
    def ideal(cls, scale: NDArray[np.float64]) -> Front:
        return cls(scale, np.ones(scale.size, complex), np.zeros(scale.size, complex), np.zeros((scale.size, 1 + len(WANDER_S)), complex))

    @property
    def direct(self) -> Complex:
        """mu of s -> mu s + nu conj(s), (channel,)."""
        return 1.0 / (1.0 + self.image)

    @property
    def small_signal(self) -> Complex:
        """Gain against nominal, (channel,)."""
        return self.direct * self.gain

    def offsets(self, first: int, blocks: int, rate: float) -> Complex:
        """DC in blocks of samples of which the first begins at sample `first`, (channel, block) fractions of full scale."""
        if not self.dc.any():
            return np.zeros((self.scale.size, blocks), complex)
        middle = (first + BLOCK * (np.arange(blocks) + 0.5)) / rate
        lines = np.exp(2j * np.pi * np.concatenate([np.zeros((1, blocks)), middle / np.array(WANDER_S)[:, None]]))
        return (self.dc[:, :, None] * lines).sum(axis=1)  # and not a matrix product, whose bits depend on its shape

    def digitiser(self, first: int, rate: float, bits: int, skip: int, count: int) -> Digitiser:
        """For `count` samples from `skip` of whole blocks at the ports, of which the first begins at sample `first`."""
        full = 2 ** (bits - 1)
        direct = full * self.scale * self.gain * self.direct
        mirrored = full * self.scale * np.conj(self.gain) * self.image * self.direct
        matrix = np.stack(
            [direct.real + mirrored.real, mirrored.imag - direct.imag, direct.imag + mirrored.imag, direct.real - mirrored.real], axis=1
        )
        begin = skip // BLOCK
        blocks = -(-(skip + count) // BLOCK) - begin
        dc = full * self.offsets(first + begin * BLOCK, blocks, rate)
        return Digitiser(matrix.astype(np.float32), dc.astype(np.complex64), _f32(full), _f32(self.compression), skip, count)

    def digitise(
        self, port_re: NDArray[np.float32], port_im: NDArray[np.float32], first: int, rate: float, bits: int, skip: int, count: int
    ) -> tuple[NDArray[np.complex64], int]:
        """`count` samples from `skip` of whole blocks of (channel, sample) at the ports, square-root watts, as fractions of full scale that
        are whole codes; and how many of them met a rail. first: the number of the blocks' first sample."""
        digitiser, out = self.digitiser(first, rate, bits, skip, count), np.empty((port_re.shape[0], count), np.complex64)
        return out, sum(digitiser.channel(c, port_re, port_im, out) for c in range(len(out)))


class Digitiser(NamedTuple):
    """Chains and converters for one window of samples. matrix, dc: as `_convert` reads them. compression: 1/W, 0 for none."""

    matrix: NDArray[np.float32]
    dc: NDArray[np.complex64]
    full: np.float32
    compression: np.float32
    skip: int
    count: int

    def channel(self, c: int, port_re: NDArray[np.float32], port_im: NDArray[np.float32], out: NDArray[np.complex64]) -> int:
        """Digitise one channel of ports (channel, sample) into its row of `out`; how many samples met a rail."""
        one = slice(c, c + 1)
        re, im = port_re[one], port_im[one]
        if self.compression:
            end = self.skip + self.count
            shrunk = np.empty((1, end), np.float32), np.empty((1, end), np.float32)
            _compress(re[:, :end], im[:, :end], self.compression, *shrunk)
            re, im = shrunk
        return int(_convert(re, im, self.skip, self.matrix[one], self.dc[one], self.full, out[one]))


def draw(emulated: Emulated, radio: str, full_scale_dbm: float, gain_db: Sequence[float]) -> Front:
    """The receive chains of a radio at a gain per channel."""
    own, seed, channels = emulated.receiver, emulated.seed, range(len(gain_db))

    def turned(amplitude: float, *purpose: object) -> Complex:
        return amplitude * np.exp(2j * np.pi * np.array([seeds.uniform(0.0, 1.0, seed, radio, *purpose, c) for c in channels]))

    error = np.array([seeds.uniform(-own.gain_db, own.gain_db, seed, radio, "gain", c, round(1000 * g)) for c, g in enumerate(gain_db)])
    slope = np.array([seeds.uniform(-own.gain_phase, own.gain_phase, seed, radio, "gain phase", c) for c in channels])
    step = np.sqrt(from_db(error)) * np.exp(1j * slope * np.array(gain_db) / 10.0)
    dc = [turned(own.dc * (WANDER if line else 1.0), "dc", line) for line in range(1 + len(WANDER_S))]
    return Front(
        scale=np.array([receive_scale(full_scale_dbm, gain) for gain in gain_db]),
        gain=step * chain_gain(own.chain, seed, radio, "receive", np.arange(len(gain_db))),
        image=turned(own.image, "receive image"),
        dc=np.stack(dc, axis=1) if len(gain_db) else np.zeros((0, 1 + len(WANDER_S)), complex),
        compression=0.0 if own.intercept_dbm is None else 1.0 / float(from_dbm(own.intercept_dbm)),
    )


@njit("void(f4[:,::1],f4[:,::1],f4,f4[:,::1],f4[:,::1])", **COMPILE)
def _compress(re, im, compression, out_re, out_im):
    """x (1 - compression |x|^2), held from its peak on."""
    edge = _f32(1.0) / (_f32(3.0) * compression)
    for c in range(re.shape[0]):
        for n in range(re.shape[1]):
            power = re[c, n] * re[c, n] + im[c, n] * im[c, n]
            scale = _f32(1.0) - compression * power if power <= edge else math.sqrt(edge / power) * _f32(2.0 / 3.0)
            out_re[c, n] = scale * re[c, n]
            out_im[c, n] = scale * im[c, n]


@njit("i8(f4[:,::1],f4[:,::1],i8,f4[:,::1],c8[:,::1],f4,c8[:,::1])", **COMPILE)
def _convert(port_re, port_im, skip, matrix, dc, full, out):
    """Codes over full scale, (channel, sample), of port samples from `skip`; answers how many samples met a rail.

    matrix: (channel, 4) codes per unit: I from I, I from Q, Q from I, Q from Q. dc: (channel, block) codes, from the block of `skip`.
    """
    held = 0
    most = full - _f32(1.0)
    inverse = _f32(1.0) / full
    half = _f32(0.5)
    count = out.shape[1]
    offset = skip % BLOCK
    for c in range(out.shape[0]):
        ii, iq, qi, qq = matrix[c, 0], matrix[c, 1], matrix[c, 2], matrix[c, 3]
        for b in range(dc.shape[1]):
            low = max(b * BLOCK - offset, 0)
            high = min((b + 1) * BLOCK - offset, count)
            re, im, codes = port_re[c, skip + low : skip + high], port_im[c, skip + low : skip + high], out[c, low:high]
            di = dc[c, b].real + half
            dq = dc[c, b].imag + half
            met = np.int32(0)
            for n in range(codes.size):
                i = np.floor(re[n] * ii + (im[n] * iq + di))
                q = np.floor(re[n] * qi + (im[n] * qq + dq))
                met += np.int32((i >= most) | (i <= -full) | (q >= most) | (q <= -full))
                codes[n] = complex(min(max(i, -full), most) * inverse, min(max(q, -full), most) * inverse)
            held += met
    return held
