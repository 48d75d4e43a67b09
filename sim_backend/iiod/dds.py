"""Tone generators of a converter core: two tones for I and two for Q of every channel, on the air while no buffer is open."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sim_backend.iiod.context import Device
from sim_backend.iiod.frontend import TRANSMIT, FrontEnd
from sim_backend.iiod.synthesiser import ACCUMULATOR, increment, tone
from sim_backend.iiod.values import Value, decimal, flag, integer, within

NAMES = ("I_F1", "I_F2", "Q_F1", "Q_F2")
LEAST_PERIOD = 1024  # samples


@dataclass
class Tone:
    """steps: of the accumulator per sample. phase: millidegrees. scale: of full scale."""

    steps: int = 0
    phase: int = 0
    scale: float = 0.0


class Dds:
    """The generators of all transmit channels. on: as `raw` says, of every core."""

    def __init__(self, front: FrontEnd, bits: int) -> None:
        self._front, self._mask = front, -1 << (16 - bits)
        self.tones = [[Tone() for _ in NAMES] for _ in front.mouths]
        self.on = False
        front.outputs.idle = self.refresh

    def refresh(self) -> None:
        """Send what the generators make, unless a buffer has the converter."""
        with self._front.lock:
            if self._front.outputs.busy:
                return
            if self.on and any(one.scale for four in self.tones for one in four):
                self._front.sending.play(self.codes())
            else:
                self._front.silence()

    def codes(self) -> np.ndarray:
        """One period of all tones, (sample, channel, IQ) codes left-justified in 16 bits."""
        shared = math.gcd(ACCUMULATOR, *(one.steps for four in self.tones for one in four))
        period = max(ACCUMULATOR // shared, LEAST_PERIOD)
        n = np.arange(period)
        out = np.zeros((period, len(self.tones), 2))
        for c, four in enumerate(self.tones):
            for k, one in enumerate(four):
                if one.scale:
                    turns = (n * one.steps % ACCUMULATOR) / ACCUMULATOR + one.phase / 360e3
                    out[:, c, k // 2] += one.scale * np.sin(2 * np.pi * turns)
        return (np.clip(np.rint(out * 32767), -32768, 32767)).astype(np.int16) & np.int16(self._mask)

    def channels(self, device: Device, channels: Sequence[int], shared: dict[str, Value]) -> None:
        """Add the generators of some transmit channels to a device: altvoltage0 .. 3 named TX1_I_F1 and so on, four to a channel."""
        raw = Value(lambda: str(int(self.on)), self._switch)
        for place, channel in enumerate(channels):
            for k, name in enumerate(NAMES):
                device.channel(
                    f"altvoltage{4 * place + k}", {**self._values(self.tones[channel][k]), "raw": raw}, output=True,
                    name=f"TX{place + 1}_{name}", shared=shared,
                )  # fmt: skip

    def _switch(self, text: str) -> None:
        self.on = flag(text) == "1"
        self.refresh()

    def _values(self, one: Tone) -> dict[str, Value]:
        def rate() -> int:
            return self._front.rates[TRANSMIT]

        def set_frequency(text: str) -> None:
            one.steps = increment(within(decimal(text), 0, rate() / 2), rate())
            self._changed(one)

        def set_phase(text: str) -> None:
            one.phase = int(within(integer(text), 0, 360_000))
            self._changed(one)

        def set_scale(text: str) -> None:
            one.scale = within(decimal(text), 0.0, 1.0)
            if self.on:
                self.refresh()

        return {
            "frequency": Value(lambda: str(tone(one.steps, rate())), set_frequency),
            "phase": Value(lambda: str(one.phase), set_phase),
            "scale": Value(lambda: f"{one.scale:.6f}", set_scale),
        }

    def _changed(self, one: Tone) -> None:
        if self.on and one.scale:
            self.refresh()

