"""Measuring frames: payload through the design's precoder, sent by all devices together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hil.errors import InputError
from hil.waveform import ofdm
from hil.waveform.crest import COMBS, comb
from hil.waveform.frame import Layout, SymbolKind, common_symbols, payload_bits
from hil.waveform.mark import FrameKind
from hil.waveform.modulation import Modulation
from hil.waveform.numerology import Numerology

TRAINING = 8  # known low-crest symbols per stream after the preamble, on a comb that rotates over the streams


def seats(streams: int) -> int:
    """Places of the training comb: as many as streams, or the next number there is a comb for; what is left over stays empty."""
    return next((places for places in COMBS if places >= streams), streams)


@dataclass(frozen=True, eq=False)
class MeasuringFrame:
    """280 symbols, every one of them through the precoder: 2 preamble, 8 training, 1 header, 268 payload, 1 closing.

    precoder: (block, antenna, stream) sqrt(W) per tone, so antenna n radiates sum over tones and streams of |w|^2 watts on average. There
    are no per-antenna pilots: one device's would fall on the other's user. Each stream has its own preamble, training comb and payload.

    identity: of each stream, (device, number), by which preamble, mark and payload are known wherever it is sent from: several sites that
    send one stream together give it one identity. Left out, the streams are this device's 0, 1, ... wanted: the stream that a receiver of
    the frame is after.
    """

    numerology: Numerology
    device: int
    version: int
    precoder: NDArray[np.complex128]
    modulation: Modulation = Modulation.QPSK
    payload_symbols: int = 268
    seed: int = 0
    identity: tuple[tuple[int, int], ...] | None = None
    wanted: int = 0

    def __post_init__(self) -> None:
        precoder = np.array(self.precoder, dtype=np.complex128)
        if precoder.ndim != 3 or precoder.shape[0] != self.numerology.blocks or not np.all(np.isfinite(precoder)):
            allowed = f"({self.numerology.blocks} blocks, antenna, stream), finite"
            raise InputError("precoder", "not a precoder of this numerology", found=f"shape {precoder.shape}, or not finite",
                             allowed=allowed, fix="one precoder per block of 12 tones")  # fmt: skip
        streams = precoder.shape[2]
        if not 0 <= self.wanted < streams or (self.identity is not None and len(self.identity) != streams):
            raise InputError("streams", "one identity per stream, and one of the streams is wanted", found=f"{self.identity}, {self.wanted}",
                             allowed=f"{streams} streams", fix="name every stream")  # fmt: skip
        comb(self.numerology.fft, self.numerology.used, seats(streams))  # refuses a number of streams without training
        object.__setattr__(self, "precoder", precoder)
        object.__setattr__(self, "modulation", Modulation(self.modulation))

    kind = FrameKind.MEASURING

    @property
    def layout(self) -> Layout:
        return Layout(TRAINING, self.payload_symbols)

    @property
    def symbols(self) -> int:
        return self.layout.symbols

    @property
    def length(self) -> int:
        return self.symbols * self.numerology.symbol_samples

    @property
    def antennas(self) -> int:
        return self.precoder.shape[1]

    @property
    def streams(self) -> int:
        return self.precoder.shape[2]

    @property
    def stream(self) -> int:
        """Number of the wanted stream with its device."""
        return self.identities[self.wanted][1]

    @property
    def identities(self) -> tuple[tuple[int, int], ...]:
        """(device, number) of every stream."""
        return self.identity or tuple((self.device, number) for number in range(self.streams))

    def of(self, stream: int) -> MeasuringFrame:
        """The same frame as the receiver of one stream looks for it."""
        return replace(self, wanted=stream, device=self.identities[stream][0], identity=self.identities)

    @property
    def groups(self) -> NDArray[np.int64]:
        """(symbol,) all alike: a stream has one channel per tone throughout the frame."""
        return np.zeros(self.symbols, dtype=np.int64)

    @cached_property
    def reference(self) -> NDArray[np.complex128]:
        """(symbol, tone, stream) unit mean energy: what each stream carries before the precoder."""
        streams = [
            common_symbols(self.numerology, self.layout, device, self.version, self.kind, self.modulation, self.seed, number)
            for device, number in self.identities
        ]
        tones = np.stack(streams, axis=-1)
        training, places = self.layout.where(SymbolKind.PILOT), seats(self.streams)
        phases = comb(self.numerology.fft, self.numerology.used, places) * np.sqrt(places)
        turn = (np.arange(self.numerology.used) + np.arange(len(training))[:, None]) % places
        tones[training] = np.where(turn[..., None] == np.arange(self.streams), phases[:, None], 0.0)
        return tones

    @property
    def known(self) -> NDArray[np.complex128]:
        """(symbol, tone) what the wanted stream carries; the channel it sees includes the precoder."""
        return self.reference[..., self.wanted]

    coherent_blocks = False

    @property
    def preambles(self) -> NDArray[np.complex128]:
        """(antenna, tone) sqrt(W) of the wanted stream's second preamble symbol."""
        return (self.precoder[self.numerology.block_of_tone, :, self.wanted] * self.known[1][:, None]).T

    @property
    def payload(self) -> NDArray[np.int64]:
        """Indices of the payload symbols."""
        return self.layout.where(SymbolKind.PAYLOAD)

    def bits(self, stream: int = 0) -> NDArray[np.uint8]:
        """(payload symbol, data tone, bit) that a stream carries."""
        device, number = self.identities[stream]
        return payload_bits(self.numerology, self.layout, self.modulation, self.seed, device, number)

    def samples(self) -> NDArray[np.complex128]:
        """(antenna, sample) sqrt(W) at the antenna ports."""
        weights = self.precoder[self.numerology.block_of_tone]  # (tone, antenna, stream)
        return ofdm.modulate(self.numerology, np.einsum("kns,mks->nmk", weights, self.reference, optimize=True))
