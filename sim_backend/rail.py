"""Carriages that share a rail: who stands next to whom, and where two would meet."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sim_backend.motion import Ramp

SLACK = 1e-9  # metres


@dataclass(frozen=True, slots=True)
class Rider:
    """One carriage: it stands at offset + sign x position along its rail, metres, and is `width` wide."""

    axis: str
    offset: float
    sign: float
    width: float

    def local(self, position: float) -> float:
        return self.offset + self.sign * position


@dataclass(frozen=True, slots=True)
class Meeting:
    """Two carriages would touch after this share of a move."""

    share: float
    axes: tuple[str, str]
    gap: float  # metres between the two centres


def neighbours(
    radios: Iterable[Mapping[str, Any]], stage: str, start: Mapping[str, float], width: Mapping[str, float]
) -> tuple[tuple[Rider, Rider], ...]:
    """Pairs of carriages of one stage that stand side by side on one rail, as their antennas tell.

    start, width: axis -> metres.
    """
    rails: dict[Any, dict[str, Rider]] = {}
    for radio in radios:
        for item in radio["antennas"]:
            if item.get("stage") == stage:
                rail = tuple(item["origin_m"]), tuple(item.get("axis", (1.0, 0.0, 0.0)))
                axis = item["stage_axis"]
                rider = Rider(axis, float(item.get("offset_m", 0.0)), float(item.get("sign", 1)), width[axis])
                rails.setdefault(rail, {})[axis] = rider
    pairs = []
    for riders in rails.values():
        row = sorted(riders.values(), key=lambda rider: rider.local(start[rider.axis]))
        pairs += list(itertools.pairwise(row))
    return tuple(pairs)


def _gap(pair: tuple[Rider, Rider], ramp: Ramp, lost: Mapping[str, float], share: float) -> float:
    """Metres between the centres when `share` of the way is behind."""
    at = []
    for rider in pair:
        begin, goal = ramp.begin[rider.axis], ramp.goal[rider.axis]
        motor = begin + min(share, ramp.stalls.get(rider.axis, 1.0)) * (goal - begin) + lost.get(rider.axis, 0.0)
        at.append(rider.local(motor))
    return at[1] - at[0]


def first_meeting(pairs: Sequence[tuple[Rider, Rider]], ramp: Ramp, lost: Mapping[str, float]) -> Meeting | None:
    """Where on a move two carriages first touch. Gaps are straight lines of the share between stalls, so this is exact.

    lost: axis -> metres by which a motor is off its count.
    """
    found = []
    for pair in pairs:
        least = (pair[0].width + pair[1].width) / 2.0 - SLACK
        knots = sorted({0.0, 1.0, *(ramp.stalls.get(rider.axis, 1.0) for rider in pair)})
        gaps = [_gap(pair, ramp, lost, share) for share in knots]
        for a, b, before, after in zip(knots, knots[1:], gaps, gaps[1:]):
            if after < least and after < before:
                share = a + (b - a) * max(0.0, before - least) / (before - after)
                found.append(Meeting(share, (pair[0].axis, pair[1].axis), _gap(pair, ramp, lost, share)))
                break
    return min(found, key=lambda meeting: meeting.share) if found else None


def with_collisions(pairs: Sequence[tuple[Rider, Rider]], ramp: Ramp, lost: Mapping[str, float]) -> tuple[Ramp, list[Meeting]]:
    """The move as it really goes: two carriages that touch stop where they do, and their motors lose the rest of the way."""
    meetings = []
    while (meeting := first_meeting(pairs, ramp, lost)) is not None:
        meetings.append(meeting)
        stalls = dict(ramp.stalls)
        stalls |= {axis: min(meeting.share, stalls.get(axis, 1.0)) for axis in meeting.axes}
        if stalls == dict(ramp.stalls):
            break
        ramp = replace(ramp, stalls=stalls)
    return ramp, meetings
