"""What no device tells: the side channel by which tests ask the world. Nothing of the controller may use it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hil.clock import Instant
from hil.device import Setting
from hil.units import to_dbm
from sim_backend import oracle
from sim_backend.amplifier import Amplifier, make
from sim_backend.converter import noise_power
from sim_backend.faults import Happening
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
        """Delay in seconds and complex gain of every path, (path, receive antenna, transmit antenna); the targets' paths are the last."""
        instants = [at or self._world.now]
        room = self._world.room
        parts = room.static(transmitter, receiver, instants), room.moving(transmitter, receiver, instants)
        return Rays(*(np.concatenate(both, axis=1)[0] for both in zip(*parts)))

    def channel(
        self, transmitter: str, receiver: str, offsets: NDArray[np.float64], at: Instant | None = None, carrier: float | None = None
    ) -> NDArray[np.complex128]:
        """H at radio frequencies carrier + offsets, (frequency, receive antenna, transmit antenna): y = H @ x, oscillators apart.

        x and y are what the two controllers take them for, in square-root watts at nominal gains; the chains of both ends are part of H.
        offsets: (frequency,) hertz. carrier: that of the world unless given.
        """
        delay, gain = self.rays(transmitter, receiver, at)
        base = self._world.room.carrier if carrier is None else carrier
        ends = np.outer(self.chain(receiver, "receive"), self.chain(transmitter, "transmit"))
        phase = np.exp(-2j * np.pi * ((base * delay) % 1.0)) * gain * ends
        return np.stack([(phase * np.exp(-2j * np.pi * f * delay)).sum(axis=0) for f in np.atleast_1d(offsets)])

    def chain(self, radio: str, side: str) -> NDArray[np.complex128]:
        """Small-signal gain of a radio's chains against nominal at the present setting, (antenna,); an amplifier's included."""
        device = self._world.radio(radio)
        limits, setting = device.capability, device.really
        channels = self._world.channels(radio, side)
        if side == "transmit":
            attenuation = setting.attenuation_db if setting else (limits.attenuation_db[1],) * limits.transmit_channels
            return self._world.chains(radio, attenuation).small_signal
        gain = setting.receive_gain_db if setting else (limits.receive_gain_db[0],) * limits.receive_channels
        return self._world.front(radio, gain).small_signal[channels]

    def amplifier(self, radio: str) -> Amplifier:
        """The amplifier behind each of a radio's transmit channels."""
        return make(self._world.emulated.amplifier)

    def output_dbm(self, radio: str) -> NDArray[np.float64]:
        """Mean power at each antenna port of what a radio has on the air now, (antenna,) dBm; minus infinity where it is silent."""
        airing = self._world.on_air(radio, self._world.now)
        if airing is None:
            return np.full(self._world.channels(radio, "transmit").size, -np.inf)
        power = (np.abs(airing.spectrum) ** 2).sum(axis=1, dtype=float)
        return np.array([to_dbm(float(p)) for p in power])

    def overdriven(self, radio: str) -> NDArray[np.int64]:
        """(antenna,) samples, of four per code and program, that the amplifiers of a radio hold at their peak now."""
        airing = self._world.on_air(radio, self._world.now)
        return np.zeros(self._world.channels(radio, "transmit").size, np.int64) if airing is None else airing.overdriven

    def phase_noise(self, radio: str, side: str) -> float:
        """Radians rms of a synthesiser's phase noise."""
        return self._world.phase_noise(radio, side)[1]

    def oscillator(self, radio: str, at: Instant | None = None) -> tuple[float, float]:
        """(x, y): seconds of accumulated error since the epoch, and fractional frequency error."""
        at = at or self._world.now
        present, _ = self._world.radio(radio).reference(at)
        x, y = present.error(at)
        return x - (present.offset - self.clock_offset(radio)), y

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
        setting = self._world.radio(radio).really
        if setting is None:
            raise ValueError(f"{radio} is not configured")
        return setting

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of those who walk."""
        return tuple(self._world.room.targets)

    def target(self, at: Instant | None = None, name: str = "target") -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """Position and velocity of one, (3,) metres and metres per second; None where nobody of that name walks."""
        found, at = self._world.room.targets.get(name), at or self._world.now
        return None if found is None else (found.walker.at(at), found.walker.velocity(at))

    def scatterers(self) -> tuple[NDArray[np.float64], NDArray[np.complex128]]:
        """Positions (point, 3) metres and coefficients (point,)."""
        found = self._world.room.scatterers
        return (np.zeros((0, 3)), np.zeros(0, complex)) if found is None else (found.positions, found.coefficient)

    @property
    def log(self) -> list[Happening]:
        """Faults, collisions and what else happened to the devices, in the order of the instants."""
        return self._world.faults.log(self._world.now)

    def windows(self, radio: str) -> list[tuple[Tuning, int, int]]:
        """The latest windows a radio captured: tuning, first tick of its sample clock, number of samples."""
        return [window for window in self._world.windows if window[0].radio == radio]

    def heard(self, tuning: Tuning, ticks: Sequence[int]) -> NDArray[np.complex128]:
        """The reference: what the antennas hear at receiver ticks, (antenna, tick) in square-root watts, without noise."""
        instants = [tuning.oscillator.tick(int(n), tuning.rate) for n in ticks]
        airings = [a for a in self._world.airings() if a.overlaps(instants[0], instants[-1].after(1e-9))]
        return oracle.receive(self._world.room, tuning, airings, ticks)
