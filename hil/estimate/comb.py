"""The rotating comb as a receiver sees it: pilot symbols in which every antenna is heard on its share of the tones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Comb:
    """Pilot symbols of a capture.

    received: (channel, pilot symbol, tone); known: (pilot symbol, tone) what the one antenna on a tone sends; number: (pilot symbol,) m of
    the frame: antenna n is heard where (rank + m) mod antennas = n.
    """

    received: NDArray[np.complex128]
    known: NDArray[np.complex128]
    number: NDArray[np.int64]
    antennas: int

    @property
    def visits(self) -> int:
        """How often each antenna is heard on each tone."""
        return len(self.number) // self.antennas

    def turned(self, phase: NDArray[np.float64]) -> Comb:
        """The same with the common phase (pilot symbol,) of each symbol taken out."""
        return Comb(self.received * np.exp(-1j * phase)[:, None], self.known, self.number, self.antennas)

    def gains(self) -> NDArray[np.complex128]:
        """(channel, tone, antenna) means over visits of Y/X."""
        ratio = self.received / self.known
        combs = np.stack([ratio[:, self.number % self.antennas == turn].mean(1) for turn in range(self.antennas)])
        tone = np.arange(ratio.shape[-1])
        return np.stack([combs[(antenna - tone) % self.antennas, :, tone].T for antenna in range(self.antennas)], axis=-1)

    def expected(self, gains: NDArray[np.complex128]) -> NDArray[np.complex128]:
        """(channel, pilot symbol, tone) what channels (channel, tone, antenna) would let through."""
        tone = np.arange(gains.shape[1])
        combs = np.stack([gains[:, tone, (tone + turn) % self.antennas] for turn in range(self.antennas)], axis=1)
        return combs[:, self.number % self.antennas] * self.known

    def phases(self, gains: NDArray[np.complex128]) -> NDArray[np.float64]:
        """(pilot symbol,) common phase of each symbol against channels that are smooth over tones; their mean is zero."""
        turn = np.sum(self.received * np.conj(self.expected(gains)), axis=(0, 2))
        phase = np.angle(turn * np.conj(np.sum(turn)))
        return phase - phase.mean()

    def noise(self, gains: NDArray[np.complex128]) -> tuple[NDArray[np.float64], float]:
        """(channel,) noise per tone from what the visits do not agree on, and its complex degrees of freedom per channel.

        Each (tone, antenna) costs one, each symbol's phase half of one shared by the channels.
        """
        channels, pilots, tones = self.received.shape
        freedom = max(tones * (pilots - self.antennas) - 0.5 * pilots / channels, 1.0)
        return np.sum(np.square(np.abs(self.received - self.expected(gains))), axis=(1, 2)) / freedom, freedom
