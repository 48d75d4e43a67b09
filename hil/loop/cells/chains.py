"""What base stations learn of their chains by hearing each other: once a trial, from the first look of its first sounding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hil.estimate.chains import ChainGains, combine
from hil.estimate.channel import ToneChannel
from hil.estimate.echofields import Chains
from hil.estimate.echofit import relative_error
from hil.estimate.mutual import mutual
from hil.loop.cells.stations import Stations


@dataclass(frozen=True, slots=True, eq=False)
class Learnt:
    """Of every station, the chains it hears with and sends with; None where no other station is there to tell."""

    heard: tuple[ChainGains | None, ...]
    sent: tuple[ChainGains | None, ...]

    def of(self, stations: Stations, own: int) -> Chains | None:
        """As station `own` looks for echoes of all that is sent; None: nothing is known of any, chains are taken to be even."""
        heard, sent = self.heard[own], self.sent
        if heard is None:
            return None
        which = range(len(sent)) if stations.together else [own]
        told = [one for one in (sent[n] for n in which) if one is not None]
        if len(told) < len(which):
            return None
        return Chains(heard.balanced, tuple(one.balanced for one in told), relative_error(heard), tuple(relative_error(one) for one in told))


def learn(stations: Stations, channels: Mapping[str, Mapping[str, ToneChannel]]) -> Learnt:
    """From one look: speaker -> radio -> channel. Said as `estimated` events, an array each."""
    lab = stations.lab
    points = [[array.points(array.local(lab.positions)) for array in (one.receive, one.transmit)] for one in stations.each]
    heard: list[list[ChainGains]] = [[] for _ in stations.each]
    sent: list[list[ChainGains]] = [[] for _ in stations.each]
    first = 0
    for speaker in stations.speakers:
        for place, array in enumerate(speaker.arrays):
            n, own = first + place, slice(place * array.elements, (place + 1) * array.elements)
            for m, other in enumerate(stations.each):
                if m == n or other.receive.radio not in channels[speaker.name]:
                    continue
                one, at = channels[speaker.name][other.receive.radio], list(other.receive.channels)
                if not one.response.above_threshold:
                    continue
                found = mutual(one.value[at][..., own], one.variance[at][..., own], points[m][0], points[n][1], lab.numerology.frequencies_hz,
                               lab.scenario.signal.carrier_hz)  # fmt: skip
                heard[m].append(found.heard)
                sent[n].append(found.sent)
        first += len(speaker.arrays)
    learnt = Learnt(*(tuple(combine(each) if each else None for each in told) for told in (heard, sent)))
    for one, hears, sends in zip(stations.each, learnt.heard, learnt.sent):
        for array, chains in ((one.receive, hears), (one.transmit, sends)):
            if chains is not None:
                lab.event(
                    "estimated", what="chain gains", of=array.name, value=_decibels(chains), unit="dB", std=chains.std, bound_std=chains.bound_std,
                    above_threshold=chains.above_threshold, assumes=list(chains.assumptions), from_=[], residual_test=None,
                )  # fmt: skip
    return learnt


def _decibels(chains: ChainGains) -> NDArray[np.float64]:
    """Amplitudes, (antenna,); `std` is of the complex gain relative to the first."""
    return 20.0 * np.log10(np.abs(chains.balanced))
