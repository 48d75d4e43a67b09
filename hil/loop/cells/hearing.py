"""From the looks of a sounding to the channels between every base station and user, and to what moves in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hil.clock import Instant
from hil.estimate.channel import ToneChannel
from hil.estimate.stillness import Looks, pool
from hil.knowledge import Estimate
from hil.loop.cells.stations import Stations
from hil.loop.sounding import Sounding

Channels = Mapping[str, Mapping[str, ToneChannel]]  # speaker -> receiver -> channel


@dataclass(frozen=True, slots=True, eq=False)
class Heard:
    """One sounding. looks: (look, base station, user, tone, antenna) as each look told them; channel: of all looks together, value (base
    station, user, tone, 1, antenna), covariance and bound (base station, user, block, antenna, antenna) of what a block's error has in
    common; moving: (base station, user) power of what moves, mean over antennas and tones; variance: (look, base station, user) of a tone's
    error, mean over tones and antennas; times: (look,) seconds since the first.
    """

    looks: NDArray[np.complex128]
    channel: Estimate
    moving: NDArray[np.float64]
    variance: NDArray[np.float64]
    times: NDArray[np.float64]


def understand(stations: Stations, sounding: Sounding, looks: Sequence[Channels]) -> Heard:
    """Join the looks of one sounding. Base stations that speak as one keep the phases between them, which no two captures share."""
    lab = stations.lab
    shape = len(stations.each), len(lab.users)
    values = np.empty((len(looks), *shape, lab.numerology.used, stations.each[0].transmit.elements), complex)
    variance = np.empty(values.shape)
    blocks = (lab.numerology.blocks, values.shape[-1], values.shape[-1])
    spread = {which: np.zeros((*shape, *blocks), complex) for which in ("covariance", "bound")}
    notes, good, test = (), True, 0.0
    began: list[Instant | None] = [None] * len(looks)
    for look, channels in enumerate(looks):
        first = 0
        for speaker in sounding.speakers:
            for place, array in enumerate(speaker.arrays):
                own = slice(place * array.elements, (place + 1) * array.elements)
                for user, name in enumerate(lab.users):
                    one, at = channels[speaker.name][lab.user_radio[name]], lab.user_channel[name]
                    values[look, first + place, user], variance[look, first + place, user] = one.value[at][:, own], one.variance[at][:, own]
                    for which, total in spread.items():
                        total[first + place, user] += np.asarray(getattr(one.response, which))[at][:, own, own] / len(looks) ** 2
                    began[look] = began[look] or one.response.epoch
                    notes, good = one.response.assumptions, good and one.response.above_threshold
                    test = max(test, one.response.residual_test or 0.0)
            first += len(speaker.arrays)
    mean, moving = _joined(values, variance, stations.together, lab.numerology.frequencies_hz)
    channel = Estimate(
        "channel", "users", mean[..., None, :], spread["covariance"], "1", bound=spread["bound"], epoch=lab.clock.now(), above_threshold=good,
        assumptions=notes, residual_test=test,
    )  # fmt: skip
    times = np.array([0.0 if when is None or began[0] is None else when.since(began[0]) for when in began])
    return Heard(values, channel, moving, variance.mean((-2, -1)), times)


def _joined(
    values: NDArray[np.complex128], variance: NDArray[np.float64], together: bool, frequencies: NDArray[np.float64]
) -> tuple[NDArray[np.complex128], NDArray[np.float64]]:
    """(base station, user, tone, antenna) of all looks, (base station, user) power of what moves."""
    looks, stations, users, tones, antennas = values.shape
    rows, noise = np.swapaxes(values, 3, 4), variance.mean(3)  # (look, station, user, antenna, tone), (look, station, user, antenna)
    links = [[pool(rows[:, n, u], noise[:, n, u], frequencies) for u in range(users)] for n in range(stations)]
    moving = np.array([[link.moving for link in row] for row in links])
    if not together:
        return np.array([[link.mean.T for link in row] for row in links]), moving
    mean = np.empty(values.shape[1:], complex)
    for u in range(users):
        one: Looks = pool(rows[:, :, u].reshape(looks, stations * antennas, tones), noise[:, :, u].reshape(looks, -1), frequencies)
        mean[:, u] = np.swapaxes(one.mean.reshape(stations, antennas, tones), 1, 2)
    return mean, moving
