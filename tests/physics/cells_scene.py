"""Two base stations that transmit at once, a walking target in each cell, and what one station's receive array captures.

Exact distances from every element to where the target is at that instant, fractional delays, a static room and self-interference far above
the echoes, oscillators that wander against each other. Written apart from the estimators: sample by sample, path by path.
"""

from dataclasses import dataclass

import numpy as np

from hil.estimate.stations import Prior, Station

C = 299_792_458.0
CARRIER = 5.6e9
WAVELENGTH = C / CARRIER
Y, X = np.array([0.0, 1.0, 0.0]), np.array([1.0, 0.0, 0.0])


def station(origin, transmit=6, receive=10):
    origin = np.array(origin, float)
    line = lambda count: 0.5 * WAVELENGTH * (np.arange(count) - (count - 1) / 2)[:, None]
    up = np.array([0.0, 0.0, 0.1])
    return Station(origin, Y, X, origin + up + line(transmit) * Y, origin - up + line(receive) * Y)


STATIONS = [station([0.0, 0.0, 2.0]), station([0.0, 9.0, 2.0])]


@dataclass
class Walk:
    """Targets at mid-capture and how they go, a prior for each, the room's points."""

    places: np.ndarray
    velocities: np.ndarray
    priors: list
    points: np.ndarray

    @property
    def truth(self):
        """(station, target) azimuths."""
        return np.array([[s.azimuth(place)[0] for place in self.places] for s in STATIONS])


def walk(rng, prior_std=1.0, least_doppler=8.0):
    """One target in front of each station, 5 to 11 m away, walking 0.5 to 1.5 m/s and not quite across both lines of sight."""
    places, velocities, priors = [], [], []
    for s in STATIONS:
        azimuth, ground = rng.uniform(-0.7, 0.7), rng.uniform(5.0, 11.0)
        place = s.origin + ground * (np.sin(azimuth) * Y + np.cos(azimuth) * X) + [0.0, 0.0, -1.0]
        while True:
            heading, speed = rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 1.5)
            velocity = speed * np.array([np.cos(heading), np.sin(heading), 0.0])
            away = (place - s.origin) / np.linalg.norm(place - s.origin)
            if abs(2.0 * away @ velocity / WAVELENGTH) > least_doppler:
                break
        places.append(place)
        velocities.append(velocity)
        priors.append(Prior(place + np.append(prior_std * rng.standard_normal(2), 0.0), prior_std))
    points = rng.uniform([2.0, -6.0, 0.0], [16.0, 15.0, 4.0], (4, 3))
    return Walk(np.array(places), np.array(velocities), priors, points)


def delayed(frame, samples, count, lateness):
    """(antenna, sample) cyclic frame, band-limited, `lateness` samples late."""
    size = frame.shape[1]
    turn = np.exp(-2j * np.pi * np.fft.fftfreq(size) * lateness)
    late = np.fft.ifft(np.fft.fft(frame, axis=1) * turn, axis=1)
    return late[:, np.arange(count) % size]


def capture(rng, scene, frames, own, rate, snr_db, *, seconds=0.0515, clutter_db=60.0, neighbour_db=35.0, start=0.3, wander=(0.0, 0.0), steps=200):
    """(rx, sample), noise variance, energy of the own target's echoes. frames: (station, antenna, sample) what is sent, cyclic.

    clutter_db: own station's self-interference and walls over all echoes; neighbour_db: the other's. wander: rad^2/s of each
    transmitter's phase at this receiver.
    """
    count = round(seconds * rate)
    edges = np.linspace(0, count, steps + 1).astype(int)
    middle = (0.5 * (edges[1:] + edges[:-1]) - 0.5 * count) / rate
    ears = STATIONS[own].receive
    k = 2 * np.pi / WAVELENGTH
    phases = [np.cumsum(np.sqrt(w / rate) * rng.standard_normal(count)) for w in wander]
    turned = [np.exp(1j * (phase - phase.mean())) for phase in phases]
    echoes = np.zeros((len(scene.places), len(ears), count), complex)
    for n, s in enumerate(STATIONS):
        for q, (place, velocity) in enumerate(zip(scene.places, scene.velocities)):
            track = place + middle[:, None] * velocity
            out = np.linalg.norm(track[:, None] - s.transmit, axis=-1)
            back = np.linalg.norm(track[:, None] - ears, axis=-1)
            late = (np.linalg.norm(place - s.origin) + np.linalg.norm(place - STATIONS[own].origin)) / C
            sent = delayed(frames[n], None, count, start + late * rate)
            gain = np.exp(2j * np.pi * rng.uniform())
            for step in range(steps):
                at = slice(edges[step], edges[step + 1])
                towards = (np.exp(-1j * k * out[step]) / out[step]) @ sent[:, at]
                echoes[q][:, at] += gain * np.outer(np.exp(-1j * k * back[step]) / back[step], towards * turned[n][at])
    level = np.sqrt(np.mean(np.abs(echoes.sum(0)) ** 2))
    total = echoes.sum(0)
    for n, (s, db) in enumerate(zip(STATIONS, (clutter_db, neighbour_db) if own == 0 else (neighbour_db, clutter_db))):
        static = np.zeros((len(ears), count), complex)
        for point in [None, *scene.points]:
            if point is None:
                legs = np.linalg.norm(ears[:, None] - s.transmit, axis=-1)
                gains = 1.0 / legs
            else:
                legs = np.linalg.norm(ears - point, axis=-1)[:, None] + np.linalg.norm(s.transmit - point, axis=-1)
                gains = 0.05 * np.exp(2j * np.pi * rng.uniform()) / legs
            static += (gains * np.exp(-1j * k * legs)) @ delayed(frames[n], None, count, start + legs.mean() / C * rate)
        static *= turned[n]
        total += static * level * 10 ** (db / 20) / np.sqrt(np.mean(np.abs(static) ** 2))
    energy = np.sum(np.abs(echoes[own]) ** 2)
    noise = energy / 10 ** (snr_db / 10)
    total += np.sqrt(noise / 2) * (rng.standard_normal(total.shape) + 1j * rng.standard_normal(total.shape))
    return total, noise, energy


def designed(rng, scene, length, kind="slp"):
    """(station, antenna, sample) frames: symbol-level (any matrix) or block-level (six streams over all antennas), with a share towards the
    targets; and (modes, light) as a receiver knows them."""
    antennas = STATIONS[0].transmit.shape[0]
    unit = lambda *shape: (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) / np.sqrt(2)
    if kind == "slp":
        frames = unit(2, antennas, length)
        for n, s in enumerate(STATIONS):
            for place in scene.places:
                beam = np.exp(2j * np.pi / WAVELENGTH * np.linalg.norm(s.transmit - place, axis=1)).conj()
                frames[n] += np.outer(beam.conj(), unit(length)) * 0.7
        light = np.zeros((2, antennas, 2 * antennas), complex)
        light[0, :, :antennas] = light[1, :, antennas:] = np.eye(antennas)
        return frames, frames.reshape(2 * antennas, length), light
    streams = np.exp(0.5j * np.pi * rng.integers(4, size=(6, length)))
    light = unit(2, antennas, 6)
    for n, s in enumerate(STATIONS):
        for place in scene.places:
            beam = np.exp(2j * np.pi / WAVELENGTH * np.linalg.norm(s.transmit - place, axis=1))
            light[n] += np.outer(beam, unit(6)) * 0.7
        if kind == "cbf":
            light[n][:, [3, 4, 5] if n == 0 else [0, 1, 2]] = 0.0
    return np.einsum("nim,ml->nil", light, streams), streams, light
