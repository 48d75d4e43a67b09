"""Echoes of a walking target for testing the fix: exact distances over time, tone by tone, static room, precoded light."""

import numpy as np

from hil.estimate.echoes import Echoes

C = 299_792_458.0
CARRIER = 3.5e9
WAVELENGTH = C / CARRIER
TONES = np.concatenate([np.arange(-192, 0), np.arange(1, 193)]) * 30e3
SENSE = np.array([0.0, 8.0, 2.0]) + np.linspace(-4, 4, 4)[:, None] * WAVELENGTH * np.array([0.0, 1.0, 0.0])
AP1 = np.array([0.0, 0.0, 2.0]) + np.array([-4.0, -1.7, 0.9, 4.0])[:, None] * WAVELENGTH * np.array([0.0, 1.0, 0.0])
AP2 = np.array([0.0, -7.0, 2.0]) + np.array([-3.6, -1.1, 1.9, 3.3])[:, None] * WAVELENGTH * np.array([0.0, 1.0, 0.0])


def precoder(rng, towards, antennas, spread=1.0):
    """(block, antenna): random per block, with a share towards the target so that none is dark."""
    steer = np.exp(2j * np.pi / WAVELENGTH * np.linalg.norm(antennas - towards, axis=1))
    return steer + spread * (rng.standard_normal((32, 4)) + 1j * rng.standard_normal((32, 4)))


def pair(rng, antennas, place, velocity, snr_db, *, receivers=SENSE, cells=50, static_db=40.0, reference_std=1e-9, w=None, centre=None,
         heard=1.0, sent=1.0, sent_error=None):  # fmt: skip
    """One transmitter's `Echoes` at an integrated SNR, groups of six tones, static room removed as a receiver removes it.

    heard, sent: (rx,), (antenna,) what the chains do to everything, of which the receiver knows nothing but `sent_error`.
    """
    place, velocity = np.asarray(place, float), np.asarray(velocity, float)
    w = precoder(rng, place, antennas) if w is None else w
    times = (np.arange(cells) - (cells - 1) / 2) * 28 * 548 / 15.36e6
    groups = TONES.reshape(64, 6).mean(axis=1)
    blocks = np.repeat(np.arange(32), 2)
    late = reference_std * rng.standard_normal()
    direct = np.linalg.norm(receivers[:, None] - antennas[None], axis=-1)
    if centre is None:
        track = place + times[:, None] * velocity
    else:  # a circle about `centre` through `place`
        radius = np.linalg.norm((place - centre)[:2])
        turn = np.linalg.norm(velocity) / radius * times * np.sign(np.cross(np.append((place - centre)[:2], 0), velocity)[2])
        x, y = (place - centre)[:2]
        track = np.stack([centre[0] + x * np.cos(turn) - y * np.sin(turn), centre[1] + x * np.sin(turn) + y * np.cos(turn),
                          np.full(cells, place[2])], axis=-1)  # fmt: skip
    out = np.linalg.norm(track[:, None] - antennas, axis=-1)  # (cell, antenna)
    back = np.linalg.norm(track[:, None] - receivers, axis=-1)  # (cell, rx)
    wave = np.zeros((cells, 4, 64), complex)
    for n in range(4):
        length = out[:, None, n, None] + back[:, :, None]
        turn = CARRIER * length + groups * (length - direct.mean() + C * late)
        wave += direct.mean() ** 2 / (out[:, None, n, None] * back[:, :, None]) * (w * sent)[blocks, n] * np.exp(-2j * np.pi * turn / C)
    room = np.zeros((4, 64), complex)
    for point in [None, *rng.uniform([0, -10, 0], [20, 10, 4], (3, 3))]:
        legs = direct if point is None else np.linalg.norm(receivers - point, axis=1)[:, None] + np.linalg.norm(antennas - point, axis=1)
        gain = 1.0 if point is None else 0.4 * np.exp(2j * np.pi * rng.uniform())
        turn = CARRIER * legs[..., None] + groups * (legs[..., None] - direct.mean())
        room += gain * np.einsum("ng,rng->rg", (w * sent)[blocks].T, np.exp(-2j * np.pi * turn / C))
    wave, room = wave * np.broadcast_to(heard, 4)[:, None], room * np.broadcast_to(heard, 4)[:, None]
    weight = rng.uniform(0.9, 1.1, (cells, 64))
    energy = np.sum(weight[:, None] * np.abs(wave) ** 2)
    gain = np.sqrt(10 ** (snr_db / 10) / energy) * np.exp(2j * np.pi * rng.uniform())
    noise = (rng.standard_normal(wave.shape) + 1j * rng.standard_normal(wave.shape)) / np.sqrt(2 * weight[:, None])
    room *= 10 ** (static_db / 20) * np.sqrt(10 ** (snr_db / 10)) / np.sqrt(np.sum(np.abs(room) ** 2) * cells)
    received = room + gain * wave + noise
    for _ in range(2):  # the receiver follows the phase of what does not move, then takes it out
        mean = np.sum(weight[:, None] * received, axis=0) / weight.sum(axis=0)
        turn = np.angle(np.einsum("trg,rg,tg->t", received, mean.conj(), weight))
        received = received * np.exp(-1j * turn)[:, None, None]
    mean = np.sum(weight[:, None] * received, axis=0) / weight.sum(axis=0)
    return Echoes(received - mean, weight, times, groups, blocks, w, antennas, mean, reference_std, sent_error=sent_error)
