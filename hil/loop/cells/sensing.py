"""Where the targets are, as base stations hear them while a design is on the air; and what the next design may know of their echoes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.clock import Instant
from hil.errors import HilError
from hil.estimate import azimuth, ownframe, slowtime, spurs
from hil.estimate import stations as estimating
from hil.estimate.azimuth import Bearing
from hil.knowledge import Reflections
from hil.loop.cells.chains import Learnt
from hil.loop.cells.stations import Station, Stations
from hil.loop.intact import SPOILT
from hil.loop.lab import Lab, Taken
from hil.units import SPEED_OF_LIGHT

APART_S = 150e-9  # between the starts of stations on one trigger
START_STD_S = 5e-9  # of what is known of them: a radio leaks into itself by more than the air
SLOWEST = 0.5  # m/s that a target may walk whatever the scenario says


@dataclass(frozen=True, slots=True, eq=False)
class AngleFix:
    """One cell's target as its own base station heard it. surveyed: (3,) metres, where it truly was then, where somebody has surveyed it;
    error: radians, of the angle against that."""

    cell: str
    bearing: Bearing
    surveyed: NDArray[np.float64] | None
    error: float | None


def as_seen(stations: Stations, one: Station) -> estimating.Station:
    """A base station in the terms of the estimator: level, facing its own target."""
    axis = one.transmit.axis
    facing = np.cross(axis, [0.0, 0.0, 1.0])
    facing /= np.linalg.norm(facing)
    if facing @ (np.asarray(one.target.position_m) - one.transmit.origin) < 0.0:
        facing = -facing
    positions = stations.lab.positions
    transmit, receive = (array.points(array.local(positions)) for array in (one.transmit, one.receive))
    return estimating.Station(one.transmit.origin, axis, facing, transmit, receive)


def look_for(stations: Stations, on_air: Any, taken: Mapping[str, Taken], learnt: Learnt | None) -> tuple[AngleFix | None, ...]:
    """One fix per cell, None where its capture tells nothing; a `measured` event for each."""
    fixes = []
    for n, one in enumerate(stations.each):
        try:
            fix = _fix(stations, n, on_air, taken[one.receive.radio], learnt)
        except HilError as error:
            if error.id not in SPOILT:
                raise
            stations.lab.event("warned", id=error.id, message=f"{one.cell}: {error.what}; no angle of its target from it", device=one.receive.radio,
                               found=error.found, allowed=error.allowed, fix=error.fix)  # fmt: skip
            fix = None
        if fix is not None:
            _say(stations.lab, fix, on_air.version)
        fixes.append(fix)
    return tuple(fixes)


def _fix(stations: Stations, n: int, on_air: Any, taken: Taken, learnt: Learnt | None) -> AngleFix:
    lab, one = stations.lab, stations.each[n]
    rate, elements = lab.scenario.signal.sample_rate_hz, one.transmit.elements
    scaled = taken.amplitude(lab.capability[taken.radio])[list(one.receive.channels)]
    samples, _, _ = spurs.remove(scaled, rate, [0.0])
    first = n * elements if stations.together else 0
    sent = on_air.frames[0 if stations.together else n].samples()
    found = ownframe.begins(samples, sent[first : first + elements], taken.radio)
    seen = [as_seen(stations, other) for other in stations.each]
    which, own = (range(len(seen)), n) if stations.together else ([n], 0)
    direct = [np.linalg.norm(seen[k].transmit[:, None] - seen[n].receive, axis=-1).mean() / SPEED_OF_LIGHT for k in which]
    slow = slowtime.aligned(on_air.slow(n, samples, found.start), np.array(direct), APART_S)
    priors = [estimating.Prior(np.asarray(other.target.position_m, float), other.target.position_std_m) for other in stations.each]
    speed = max(max(other.target.speed_m_s for other in stations.each), SLOWEST)
    middle = None if taken.capture.clock is None else taken.capture.clock.after(samples.shape[-1] / rate / 2)
    bearing = azimuth.bearing(
        slow, [seen[k] for k in which], own, [priors[k] for k in which], lab.scenario.signal.carrier_hz,
        settings=azimuth.Settings(speed=2.0 * speed, speed_std=speed, start_std=START_STD_S),
        chains=None if learnt is None else learnt.of(stations, n), of=one.cell, epoch=middle, sources=(taken.file,),
    )  # fmt: skip
    if lab.survey is None or middle is None:
        return AngleFix(one.cell, bearing, None, None)
    surveyed = np.asarray(lab.survey(middle, one.cell), float)
    return AngleFix(one.cell, bearing, surveyed, float(bearing.azimuth.value[0]) - seen[n].azimuth(surveyed)[0])


def _say(lab: Lab, fix: AngleFix, version: int) -> None:
    angle = fix.bearing.azimuth
    lab.event(
        "measured", version=version,
        target={"cell": fix.cell, "angle": float(angle.value[0]), "error": fix.error, "surveyed": fix.surveyed, "unit": "rad",
                "std": float(angle.std[0]), "crlb": float(angle.bound_std[0]), "ideal": float(np.sqrt(fix.bearing.ideal)),
                "above_threshold": fix.bearing.above_threshold, "loss_db": fix.bearing.loss_db, "snr_db": fix.bearing.snr_db,
                "gains": fix.bearing.gains.value, "assumes": list(angle.assumptions)},
    )  # fmt: skip


def reflections(
    stations: Stations, noise: NDArray[np.float64], fixes: Sequence[AngleFix | None], learnt: Learnt | None, now: Instant
) -> Reflections:  # fmt: skip
    """What a design may use now: the scenario's word, and where a fix is above threshold its angles and gains, aged by how targets walk; the
    gains of transmit chains where stations have heard each other."""
    known = stations.expected(noise)
    angle, std, gain, phase = (np.array(part) for part in (known.angle, known.angle_std, known.gain, known.phase_std))
    notes = list(known.assumptions)
    for m, fix in enumerate(fixes):
        if fix is None or not fix.bearing.above_threshold or fix.bearing.azimuth.epoch is None or not stations.together:
            continue
        age = max(now.since(fix.bearing.azimuth.epoch), 0.0)
        seen = [as_seen(stations, other).azimuth(np.asarray(stations.each[m].target.position_m)) for other in stations.each]
        walked = age * stations.each[m].target.speed_m_s / np.array([ground for _, ground, _ in seen])
        angle[:, m] = fix.bearing.departures.value
        std[:, m] = np.minimum(np.hypot(fix.bearing.departures.std, walked), std[:, m])
        gain[:, m], phase[:, m] = fix.bearing.gains.value, fix.bearing.phases(age).std
        notes.append(f"{fix.cell} seen {age:.1f} s ago")
    sent = None
    if learnt is not None and any(one is not None for one in learnt.sent):
        even = np.ones(stations.each[0].transmit.elements, complex)
        sent = np.array([even if one is None else one.balanced for one in learnt.sent])
    return Reflections(angle, std, gain, phase, noise, tuple(notes), sent)
