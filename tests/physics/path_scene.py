"""An independent little room for testing the path fit: exact distances, Friis amplitudes, point scatterers, incoherent visits."""

import numpy as np

C = 299_792_458.0
CARRIER = 3.5e9
WAVELENGTH = C / CARRIER
TONES = np.concatenate([np.arange(-192, 0), np.arange(1, 193)]) * 30e3


class Room:
    """Line of sight and scatterers between a rail at `origin` along `axis` and one user; chains: (antenna,) gains of the rail's elements."""

    def __init__(self, rng, user=(14.0, 3.0, 1.5), origin=(0.0, 0.0, 2.0), axis=(0.0, 1.0, 0.0), scatterers=6, loss_db=6.0, chains=None):
        self.user, self.origin, self.axis = (np.array(v, float) for v in (user, origin, axis))
        self.points = rng.uniform([0.0, -10.0, 0.0], [30.0, 10.0, 4.0], (scatterers, 3))
        self.turns = rng.uniform(0.0, 2.0 * np.pi, scatterers)
        self.factor = 10.0 ** (-loss_db / 20.0)
        self.chains = np.ones(4, complex) if chains is None else chains

    def channel(self, local, frequencies=TONES, elements=None):
        """(..., tone) exact channel at local x, through the chains of `elements` (...,) or none."""
        local = np.asarray(local, float)
        element = self.origin + local[..., None] * self.axis
        legs = np.linalg.norm(element - self.user, axis=-1)
        total = self._wave(legs, 1.0, frequencies)
        for point, turn in zip(self.points, self.turns):
            length = np.linalg.norm(element - point, axis=-1) + np.linalg.norm(point - self.user)
            total = total + self._wave(length, self.factor * np.exp(1j * turn), frequencies)
        return total if elements is None else total * self.chains[elements][..., None]

    @staticmethod
    def _wave(length, factor, frequencies):
        gain = factor * WAVELENGTH / (4.0 * np.pi * length)
        return gain[..., None] * np.exp(-2j * np.pi * (CARRIER + frequencies) * length[..., None] / C)


def chain_gains(rng, antennas=4, spread_db=0.5):
    """(antenna,) chains nobody has calibrated: gains of 0.5 dB rms, any phase; the first is 1."""
    gains = 10 ** (spread_db * rng.standard_normal(antennas) / 20) * np.exp(2j * np.pi * rng.uniform(size=antennas))
    return gains / gains[0]


def measure(room, positions, snr_db, rng, position_std=0.0, jumps=300e-9, chain_delays=0.0):
    """LS channel per visit: unknown phase and delay per visit (the first has none), white error; returns (channel, variance).

    An element that has not moved since the last visit keeps its position error. chain_delays: (antenna,) seconds.
    """
    visits = positions.shape[0]
    miss = position_std * rng.standard_normal(positions.shape)
    for visit in range(1, visits):
        stays = positions[visit] == positions[visit - 1]
        miss[visit, stays] = miss[visit - 1, stays]
    clean = room.channel(positions + miss, elements=np.broadcast_to(np.arange(positions.shape[1]), positions.shape))
    clean = clean * np.exp(-2j * np.pi * np.reshape(chain_delays, (-1, 1)) * TONES)
    variance = np.mean(np.abs(clean) ** 2) * 10.0 ** (-snr_db / 10.0)
    phase = np.append(0.0, rng.uniform(0.0, 2.0 * np.pi, visits - 1))
    delay = np.append(0.0, rng.uniform(-jumps, jumps, visits - 1))
    turned = clean * np.exp(1j * phase)[:, None, None] * np.exp(-2j * np.pi * delay[:, None, None] * TONES)
    noise = (rng.standard_normal(clean.shape) + 1j * rng.standard_normal(clean.shape)) * np.sqrt(variance / 2.0)
    return turned + noise, np.full(visits, variance)
