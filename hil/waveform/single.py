"""Single carrier with root-raised-cosine pulses: every antenna sends what it is told, symbol by symbol, over a channel that is flat.

A frame is | preambles, one device after another | a slot per antenna, `rounds` times | a silent slot | payload |, cyclic. Devices that send
together build frames of the same slots, each with its own antennas in its own ones, so a receiver sounds all antennas of all devices in
one frame and hears its noise. Two rounds tell the carrier between what a slot and what the next turn of a long frame can.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hil.errors import InputError
from hil.waveform import ofdm
from hil.waveform.amplitude import peak
from hil.waveform.crest import preamble
from hil.waveform.numerology import Numerology

ROLL_OFF = 0.25
SPAN = 12  # symbols to either side after which a pulse ends: what that leaves between symbols is 58 dB below them
PILOT = 64  # symbols of a slot that are looked at; before and after them it is continued cyclically
SLOT = PILOT + 2 * SPAN
SHIFT = 2.0  # samples at most between antennas' copies of the preamble, all within its prefix


def pulse(time: NDArray[np.float64], roll_off: float = ROLL_OFF) -> NDArray[np.float64]:
    """Root-raised cosine at `time` symbols from its middle, its square's integral over time one symbol."""
    t = np.asarray(time, float)
    edge = np.isclose(np.abs(4 * roll_off * t), 1.0, rtol=0.0, atol=1e-7)
    inner = np.where(edge | (np.abs(t) < 1e-9), 0.5, t)  # anywhere but the two removable singularities
    top = np.sin(np.pi * inner * (1 - roll_off)) + 4 * roll_off * inner * np.cos(np.pi * inner * (1 + roll_off))
    value = top / (np.pi * inner * (1 - (4 * roll_off * inner) ** 2))
    angle = np.pi / (4 * roll_off)
    at_edge = roll_off / np.sqrt(2.0) * ((1 + 2 / np.pi) * np.sin(angle) + (1 - 2 / np.pi) * np.cos(angle))
    return np.where(edge, at_edge, np.where(np.abs(t) < 1e-9, 1 - roll_off + 4 * roll_off / np.pi, value))


def taps(samples_per_symbol: int) -> NDArray[np.float64]:
    """(2 SPAN samples_per_symbol + 1,) samples of the pulse."""
    reach = SPAN * samples_per_symbol
    return pulse(np.arange(-reach, reach + 1) / samples_per_symbol)


def matched(samples: NDArray, times: NDArray[np.float64], samples_per_symbol: int) -> NDArray[np.complex128]:
    """Matched filter at `times` (any shape), fractional samples: the pulse itself is shifted, nothing is interpolated.

    samples: (sample,); beyond its ends it is taken as silent. An isolated symbol a gives a at its own time.
    """
    reach = SPAN * samples_per_symbol + 1
    padded = np.concatenate([np.zeros(reach), samples, np.zeros(reach)])
    middle = np.round(times).astype(np.int64)
    around = np.arange(-reach, reach + 1)
    index = np.clip(middle[..., None] + around + reach, 0, len(padded) - 1)
    away = (around - (times - middle)[..., None]) / samples_per_symbol
    weight = np.where(np.abs(away) <= SPAN, pulse(away), 0.0)
    return np.sum(padded[index] * weight, axis=-1) / samples_per_symbol


def pilot() -> NDArray[np.complex128]:
    """(PILOT,) a Zadoff-Chu sequence: constant amplitude, and cyclically unlike every shift of itself."""
    return np.exp(1j * np.pi * np.arange(PILOT) ** 2 / PILOT)


@dataclass(frozen=True, eq=False)
class SingleCarrierFrame:
    """One device's frame.

    payload: (antenna, symbol) sqrt(W), any X, sent as it is: W @ S of a block-level design, the waveform of a symbol-level one, tiled as
    often as measuring takes. pilot_power_w: (slot,) of every antenna of every device, alike on all of them; antenna n of this one sends in
    slot `first_slot` + n. Device and stream choose the preamble, in which all antennas of a device send, at the power of their slots; seat:
    its place among the `seats` preambles of all devices.
    """

    numerology: Numerology
    device: int
    version: int
    payload: NDArray[np.complex128]
    pilot_power_w: NDArray[np.float64]
    first_slot: int = 0
    seat: int = 0
    seats: int = 1
    rounds: int = 2
    samples_per_symbol: int = 4
    stream: int = 0

    def __post_init__(self) -> None:
        payload = np.array(self.payload, dtype=np.complex128)
        power = np.atleast_1d(np.array(self.pilot_power_w, dtype=np.float64))
        if payload.ndim != 2 or 0 in payload.shape or not np.all(np.isfinite(payload)):
            raise InputError("frame", "not a payload", found=f"shape {payload.shape}, or not finite", allowed="(antenna, symbol), finite",
                             fix="one row of symbols per antenna")  # fmt: skip
        if power.ndim != 1 or not np.all(np.isfinite(power)) or not np.all(power > 0.0):
            raise InputError("frame-power", "an antenna that is sounded needs power", found=str(power.tolist()), allowed="above 0 W each",
                             fix="sound only the antennas that may radiate")  # fmt: skip
        if not 0 <= self.first_slot <= len(power) - len(payload):
            raise InputError("pilots", "not every antenna has a slot", found=f"slots {self.first_slot} to {self.first_slot + len(payload) - 1}",
                             allowed=f"0 to {len(power) - 1}", fix="give pilot_power_w one entry per antenna of all devices")  # fmt: skip
        if not 0 <= self.seat < self.seats:
            raise InputError("preamble", "no seat for this device's preamble", found=f"seat {self.seat} of {self.seats}",
                             allowed="0 to seats - 1", fix="as many seats as devices send together")  # fmt: skip
        if self.rounds < 1:
            raise InputError("pilots", "antennas are sounded at least once", found=f"{self.rounds} rounds", allowed="1 or more")
        if self.samples_per_symbol < 2:
            raise InputError("frame", "a pulse needs more than its symbol rate", found=f"{self.samples_per_symbol} samples per symbol",
                             allowed="2 or more", fix="sample faster or send slower")  # fmt: skip
        object.__setattr__(self, "payload", payload)
        object.__setattr__(self, "pilot_power_w", power)

    # -- when ------------------------------------------------------------------------------------------------------------------------------

    @property
    def antennas(self) -> int:
        return self.payload.shape[0]

    @property
    def slots(self) -> int:
        """Of all devices together, without the silent one, which is the last."""
        return len(self.pilot_power_w)

    @property
    def symbols(self) -> int:
        """Of the payload."""
        return self.payload.shape[1]

    @property
    def symbol_rate_hz(self) -> float:
        return self.numerology.sample_rate_hz / self.samples_per_symbol

    @property
    def occupied_hz(self) -> float:
        """Two-sided, of everything but the preamble."""
        return (1 + ROLL_OFF) * self.symbol_rate_hz

    @property
    def length(self) -> int:
        """Samples of one turn of the buffer."""
        return self.payload_at + (self.symbols + SPAN) * self.samples_per_symbol

    @property
    def preamble_at(self) -> int:
        """Sample at which this device's preamble begins."""
        return self.seat * 2 * self.numerology.symbol_samples

    def slot_at(self, slot: int, round: int = 0) -> int:
        """Sample of the middle of the first pilot symbol that is looked at."""
        return self.seats * 2 * self.numerology.symbol_samples + (2 * SPAN + (round * self.slots + slot) * SLOT) * self.samples_per_symbol

    @property
    def silence_at(self) -> int:
        """Sample from which PILOT symbols are silent on all devices."""
        return self.slot_at(0, self.rounds)

    @property
    def payload_at(self) -> int:
        """Sample of the middle of the first payload symbol."""
        return self.silence_at + (PILOT + SPAN) * self.samples_per_symbol

    # -- what ------------------------------------------------------------------------------------------------------------------------------

    @cached_property
    def preambles(self) -> NDArray[np.complex128]:
        """(antenna, tone) sqrt(W) of the second preamble symbol."""
        grid = self.numerology
        step = min(SHIFT, (grid.prefix - 1) / max(self.antennas, 1))
        turn = np.exp(-2j * np.pi / grid.fft * np.outer(step * np.arange(self.antennas), grid.tones))
        power = self.pilot_power_w[self.first_slot : self.first_slot + self.antennas, None] / grid.used
        return np.sqrt(power) * turn * preamble(grid.fft, grid.used, self.device, self.stream)

    def samples(self) -> NDArray[np.complex128]:
        """(antenna, sample) sqrt(W) at the antenna ports."""
        grid, step = self.numerology, self.samples_per_symbol
        wave = np.zeros((self.antennas, self.length), dtype=np.complex128)
        first = self.preambles * np.exp(-2j * np.pi * grid.tones * grid.prefix / grid.fft)
        wave[:, self.preamble_at : self.preamble_at + 2 * grid.symbol_samples] = ofdm.modulate(grid, np.stack([first, self.preambles], axis=1))
        train = np.zeros_like(wave)
        cyclic = np.resize(np.roll(pilot(), SPAN), SLOT)
        for antenna in range(self.antennas):
            slot = self.first_slot + antenna
            for visit in range(self.rounds):
                at = self.slot_at(slot, visit) - SPAN * step
                train[antenna, at : at + SLOT * step : step] = np.sqrt(self.pilot_power_w[slot]) * cyclic
        train[:, self.payload_at : self.payload_at + self.symbols * step : step] = self.payload
        size = self.length + 2 * SPAN * step
        shaped = np.fft.ifft(np.fft.fft(train, size) * np.fft.fft(taps(step), size))
        return wave + shaped[:, SPAN * step : SPAN * step + self.length]

    def crest_db(self) -> NDArray[np.float64]:
        """(antenna,) peak over mean power of the payload as it leaves the antenna; 0 of one that is silent."""
        sent = self._sent()
        mean = np.mean(np.abs(self.payload) ** 2, axis=-1)
        return 10.0 * np.log10(np.where(mean > 0.0, peak(sent) ** 2 / np.where(mean > 0.0, mean, 1.0), 1.0))

    def clipped(self, most: NDArray[np.float64] | float) -> NDArray[np.float64]:
        """(antenna,) share of the payload's samples beyond an amplitude of `most` sqrt(W)."""
        return np.mean(np.abs(self._sent()) > np.broadcast_to(most, (self.antennas,))[:, None], axis=-1)

    def _sent(self) -> NDArray[np.complex128]:
        return self.samples()[:, self.payload_at : self.payload_at + self.symbols * self.samples_per_symbol]
