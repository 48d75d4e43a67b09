"""What no device tells: the side channel by which tests ask the world. Nothing of the controller may use it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hil.clock import Instant
from hil.device import Setting
from sim_backend import oracle
from sim_backend.converter import noise_power
from sim_backend.history import Tuning
from sim_backend.paths import Rays

if TYPE_CHECKING:
    from sim_backend.world import World


class Truth:
    """Positions, channels, oscillators, powers and windows as they really are."""

    def __init__(self, world: World) -> None:
        self._world = world

    def elements(self, radio: str, side: str, at: Instant | None = None) -> NDArray[np.float64]:
        """Positions of a radio's antennas, (antenna, 3) metres in the order of channels. side: transmit or receive."""
        return self._world.room.positions(radio, side, [at or self._world.now])[0]

    def rays(self, transmitter: str, receiver: str, at: Instant | None = None) -> Rays:
        """Delay in seconds and complex gain of every path, (path, receive antenna, transmit antenna); the target's path is the last."""
        instants = [at or self._world.now]
        room = self._world.room
        parts = room.static(transmitter, receiver, instants), room.moving(transmitter, receiver, instants)
        return Rays(*(np.concatenate(both, axis=1)[0] for both in zip(*parts)))

    def channel(
        self, transmitter: str, receiver: str, offsets: NDArray[np.float64], at: Instant | None = None, carrier: float | None = None
    ) -> NDArray[np.complex128]:
        """H at radio frequencies carrier + offsets, (frequency, receive antenna, transmit antenna): y = H @ x, oscillators apart.

        offsets: (frequency,) hertz. carrier: that of the world unless given.
        """
        delay, gain = self.rays(transmitter, receiver, at)
        base = self._world.room.carrier if carrier is None else carrier
        phase = np.exp(-2j * np.pi * ((base * delay) % 1.0)) * gain
        return np.stack([(phase * np.exp(-2j * np.pi * f * delay)).sum(axis=0) for f in np.atleast_1d(offsets)])

    def oscillator(self, radio: str, at: Instant | None = None) -> tuple[float, float]:
        """(x, y): seconds of accumulated error since the epoch, and fractional frequency error."""
        return self._world.oscillators[radio].error(at or self._world.now)

    def clock_offset(self, radio: str) -> float:
        """Seconds by which a radio's clock was late at the epoch."""
        return self._world.oscillators[radio].offset

    def noise_power(self, radio: str) -> NDArray[np.float64]:
        """Watts per complex sample referred to the port, (receive channel,), at the present setting."""
        setting = self.setting(radio)
        figure = self._world.emulated.receiver.noise_figure_db
        return np.array([noise_power(setting.sample_rate_hz, figure, gain) for gain in setting.receive_gain_db])

    def setting(self, radio: str) -> Setting:
        """Gains and tuning as they really are."""
        setting = self._world.radio(radio).setting
        if setting is None:
            raise ValueError(f"{radio} is not configured")
        return setting

    def target(self, at: Instant | None = None) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """Position and velocity, (3,) metres and metres per second; None in a world without a target."""
        walker = self._world.room.target
        return None if walker is None else (walker.at(at or self._world.now), walker.velocity(at or self._world.now))

    def scatterers(self) -> tuple[NDArray[np.float64], NDArray[np.complex128]]:
        """Positions (point, 3) metres and coefficients (point,)."""
        found = self._world.room.scatterers
        return (np.zeros((0, 3)), np.zeros(0, complex)) if found is None else (found.positions, found.coefficient)

    def windows(self, radio: str) -> list[tuple[Tuning, int, int]]:
        """The latest windows a radio captured: tuning, first tick of its sample clock, number of samples."""
        return [window for window in self._world.windows if window[0].radio == radio]

    def heard(self, tuning: Tuning, ticks: Sequence[int]) -> NDArray[np.complex128]:
        """The reference: what the antennas hear at receiver ticks, (antenna, tick) in square-root watts, without noise."""
        instants = [tuning.oscillator.tick(int(n), tuning.rate) for n in ticks]
        airings = [a for a in self._world.airings() if a.overlaps(instants[0], instants[-1].after(1e-9))]
        return oracle.receive(self._world.room, tuning, airings, ticks)
