"""Exploring: take the elements to a few places along their rails, listen at each, and fit the paths between each rail and each user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hil.estimate import chains, hearing, paths, visits
from hil.estimate.chains import ChainGains
from hil.estimate.channel import ToneChannel
from hil.estimate.paths import PathFit
from hil.estimate.stillness import Looks
from hil.estimate.window import delay_filter
from hil.loop.arrays import BenchArray
from hil.loop.lab import Lab, Taken
from hil.loop.sounding import Sounding
from hil.loop.states import State

VISITS, MOST_VISITS = 6, 9  # planned; and at most, while a link's paths are not to be trusted
CANDIDATES = 17  # layouts the next visit is chosen from
ANCHOR = 0  # the element that stays put in all visits but the last, so that visits can be told apart from drifting clocks
MOST_LATER = 8  # of the later rounds' soundings that fits take in; the oldest go first
LOUDER = (1.0, 3.0, 10.0)  # times the expected echo of the target until the paths to a sensing array are understood
GRID = 241  # points of the map along a rail


@dataclass(frozen=True, slots=True, eq=False)
class Explored:
    """What the visits told. positions: (transmitter, visit, antenna) m; values: (transmitter, user, visit, antenna, tone) each tone on
    its own; variance: (transmitter, user, visit, antenna) of its noise; moving: (transmitter, user) power of what moves in that link, of
    which a share `left` is in `values`; std: metres, of every position; apart: like values, what differed between a visit's looks
    (hil.estimate.stillness.Looks), or None; later: the soundings of later rounds; sensed: what the sensing arrays heard of the visits."""

    positions: NDArray[np.float64]
    values: NDArray[np.complex128]
    variance: NDArray[np.float64]
    moving: NDArray[np.float64]
    std: float
    apart: NDArray[np.complex128] | None = None
    left: float = 1.0
    later: tuple[Later, ...] = ()
    sensed: Sensed | None = None

    def more(self, t: int, u: int) -> paths.More | None:
        """The later soundings of one link, for the path fit."""
        if not self.later:
            return None
        return paths.More(
            np.array([one.positions[t] for one in self.later]), np.array([one.values[t, u] for one in self.later]),
            np.array([one.variance[t, u] for one in self.later]),
        )  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Later:
    """One later round's sounding: no anchor, channels smoothed to a window of delays. positions: (transmitter, antenna) m; values:
    (transmitter, user, antenna, tone); variance: (transmitter, user, antenna) of the noise per direction kept, which is that of a tone
    before smoothing."""

    positions: NDArray[np.float64]
    values: NDArray[np.complex128]
    variance: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Sensed:
    """Each tone on its own. values: sensing array -> (transmitter, visit, element, antenna, tone); variance: (transmitter, visit, element,
    antenna) of its noise."""

    values: Mapping[str, NDArray[np.complex128]]
    variance: Mapping[str, NDArray[np.float64]]


def explore(lab: Lab, sounding: Sounding, visits_wanted: int = VISITS) -> Explored:
    """Visit, listen, and come home with least-squares channels; on to where most would be learnt while some link's paths are not trusted."""
    lab.enter(State.EXPLORING, "levels set")
    layouts = np.array([
        visits.plan(array.travel, array.spacing, array.elements, visits_wanted, lab.scenario.wavelength, anchor=ANCHOR)
        for array in lab.transmitters
    ])  # fmt: skip
    heard: list[Sequence[Mapping[str, Mapping[str, Taken]]]] = []
    reached: list[NDArray[np.float64]] = []

    def visit(layout: NDArray[np.float64]) -> None:
        number = len(heard)
        if number:
            lab.enter(State.EXPLORING, f"visit {number - 1} heard")
        lab.move(layout, "explore")
        lab.enter(State.SOUNDING, f"visit {number}")
        heard.append(sounding.hear(f"explore-v{number:02d}", "explore"))
        reached.append(lab.here())

    for number in range(visits_wanted):
        visit(layouts[:, number])
    explored = understand(lab, sounding, heard, np.array(reached))
    while visits_wanted >= VISITS and len(heard) < MOST_VISITS:
        fits = {(t, u): fit_link(lab, explored, t, u) for t, u in np.ndindex(explored.moving.shape)}
        if all(fit.above_threshold for fit in fits.values()):
            break
        visit(next_visit(lab, explored, fits))
        explored = understand(lab, sounding, heard, np.array(reached))
    lab.enter(State.ESTIMATING, "all visits heard")
    lab.clock.charge("estimate")
    return explored


def next_visit(lab: Lab, explored: Explored, fits: Mapping[tuple[int, int], PathFit]) -> NDArray[np.float64]:
    """(transmitter, antenna) metres: of the layouts of a long exploration, each array's from which its predictions gain most."""
    chosen = []
    tones = lab.numerology.frequencies_hz[:: lab.numerology.used // 3]
    for t, array in enumerate(lab.transmitters):
        plan = visits.plan(array.travel, array.spacing, array.elements, CANDIDATES, lab.scenario.wavelength, anchor=ANCHOR)[:-1]
        region = np.linspace(*array.travel, GRID // 8)
        own = [(fit, float(explored.variance[t, u].mean())) for (a, u), fit in fits.items() if a == t]
        worth = [sum(visits.score(fit, layout, noise, region, tones) / fit.level for fit, noise in own) for layout in plan]
        chosen.append(plan[int(np.argmin(worth))])
    return np.array(chosen)


def understand(lab: Lab, sounding: Sounding, heard: Sequence[Sequence[Mapping[str, Mapping[str, Taken]]]], reached: NDArray[np.float64]) -> Explored:
    """Channels of what was heard, visit by visit (visit, look, access point, receiver), at reached (visit, transmitter, antenna)."""
    visits_wanted = len(heard)
    tones, users = lab.numerology.used, len(lab.users)
    shape = (len(lab.transmitters), users, visits_wanted, lab.transmitters[0].elements)
    values, variance = np.zeros((*shape, tones), complex), np.zeros(shape)
    moving, left = np.zeros(shape[:2]), 1.0
    apart: NDArray[np.complex128] | None = np.zeros_like(values)
    sensed: list[Sensed | None] = []
    for visit, looks in enumerate(heard):
        understood = [sounding.understand(look, raw=True) for look in looks]
        links = sounding.links(understood)
        sensed.append(_sensed(lab, understood[0]))
        lab.link.progress()
        for (t, u), link in links.items():
            values[t, u, visit], variance[t, u, visit] = link.mean, link.variance
            moving[t, u] += link.moving / visits_wanted
            left = link.left
            if apart is not None and link.apart is not None:
                apart[t, u, visit] = link.apart
            else:
                apart = None
    return Explored(np.moveaxis(reached, 0, 1), values, variance, moving, float(lab.here_std().max()), apart, left, sensed=_joined(sensed))


def _sensed(lab: Lab, channels: Mapping[str, Mapping[str, ToneChannel]]) -> Sensed | None:
    """One visit's channels to the sensing arrays (transmitter, element, antenna, tone), or None where they did not listen."""
    if not lab.sensors or any(array.radio not in channels[lab.transmitters[0].name] for array in lab.sensors):
        return None
    values, variance = {}, {}
    for array in lab.sensors:
        each = [channels[transmitter.name][array.radio] for transmitter in lab.transmitters]
        own = list(array.channels)
        values[array.name] = np.array([np.moveaxis(one.value[own], 1, -1) for one in each])
        variance[array.name] = np.array([one.variance[own].mean(axis=1) for one in each])
    return Sensed(values, variance)


def _joined(visited: Sequence[Sensed | None]) -> Sensed | None:
    """Visits side by side."""
    present = [one for one in visited if one is not None]
    if not present or len(present) < len(visited):
        return None
    return Sensed(
        {name: np.stack([one.values[name] for one in present], axis=1) for name in present[0].values},
        {name: np.stack([one.variance[name] for one in present], axis=1) for name in present[0].variance},
    )


def fit_link(lab: Lab, explored: Explored, t: int, u: int, before: PathFit | None = None) -> PathFit:
    """The paths of one link from everything that was heard of it."""
    return paths.fit(
        explored.positions[t], explored.values[t, u], explored.variance[t, u], lab.numerology.frequencies_hz,
        wavelength=lab.scenario.wavelength, position_std=explored.std, moving=explored.left * explored.moving[t, u],
        apart=None if explored.apart is None else explored.apart[t, u], more=explored.more(t, u), before=before,
    )  # fmt: skip


def fit_paths(lab: Lab, explored: Explored, *, tell: bool = True) -> dict[tuple[int, int], PathFit]:
    """(transmitter, user) -> fit; each said as an event, with the channel along the rail as a file, unless a resumed run has said so."""
    fits = {}
    for t, u in np.ndindex(len(lab.transmitters), len(lab.users)):
        fits[t, u] = fit_link(lab, explored, t, u)
        lab.link.progress()
    fits = agreed(lab, fits)
    if tell:
        for (t, u), fit in fits.items():
            say_paths(lab, fit, t, u)
            say_map(lab, explored, fit, t, u)
    return fits


def agreed(lab: Lab, fits: Mapping[tuple[int, int], PathFit]) -> dict[tuple[int, int], PathFit]:
    """The fits with what all links of an array tell of its chains."""
    return {(t, u): fit.with_chains(transmit_chains(fits, t)) for (t, u), fit in fits.items()}


def transmit_chains(fits: Mapping[tuple[int, int], PathFit], t: int) -> ChainGains:
    """Chain gains of one transmitting array from the fits to all users."""
    return chains.combine([fit.own_chains for link, fit in fits.items() if link[0] == t])


def array_chains(lab: Lab, explored: Explored, fits: Mapping[tuple[int, int], PathFit], *, tell: bool = True) -> dict[str, ChainGains]:
    """Array -> complex gains of its chains relative to its first element; each said as an event unless a resumed run has said so.

    Transmitting arrays from `fits`; sensing arrays, which stand still, from the direct paths of the exploring, where they listened.
    """
    found = {array.name: transmit_chains(fits, t) for t, array in enumerate(lab.transmitters)}
    for sensor in lab.sensors:
        if explored.sensed is not None and sensor.fixed is not None:
            told = [receive_chains(lab, explored, sensor, t, found[array.name]) for t, array in enumerate(lab.transmitters)]
            found[sensor.name] = chains.combine(told)
    for name, gains in found.items() if tell else ():
        lab.event(
            "estimated", what="chain gains", of=name, value=gains.value, unit="1", std=gains.std, bound_std=gains.bound_std,
            above_threshold=gains.above_threshold, assumes=list(gains.assumptions), from_=[],
        )  # fmt: skip
    return found


def receive_chains(lab: Lab, explored: Explored, sensor: BenchArray, t: int, sent: ChainGains) -> ChainGains:
    """Chain gains of a sensing array from what it heard of one transmitting array whose own are known as `sent`."""
    assert explored.sensed is not None and sensor.fixed is not None
    array, scenario, frequencies = lab.transmitters[t], lab.scenario, lab.numerology.frequencies_hz
    places, values, variance = explored.positions[t], explored.sensed.values[sensor.name][t], explored.sensed.variance[sensor.name][t]
    expected = moving_heard(lab, explored, sensor, t)
    for moving in expected * np.array(LOUDER):  # only as much of it as it takes
        fit = paths.fit(
            places, values[:, 0], variance[:, 0], frequencies, wavelength=scenario.wavelength, position_std=explored.std,
            chains=sent if sent.above_threshold else None, moving=moving,
        )  # fmt: skip
        lab.link.progress()
        if fit.above_threshold:
            break
    return hearing.hear(
        fit, places, values, variance, frequencies, array.origin, array.axis, sensor.points(sensor.fixed), carrier_hz=scenario.signal.carrier_hz,
        position_std=explored.std, moving=float(moving),
    )  # fmt: skip


def learn(
    lab: Lab, explored: Explored, fits: Mapping[tuple[int, int], PathFit], here: NDArray[np.float64],
    links: Mapping[tuple[int, int], Looks], *, tell: bool = True,
) -> tuple[Explored, dict[tuple[int, int], PathFit]]:  # fmt: skip
    """Take a round's sounding into the fits: `here` (transmitter, antenna) metres as read back, `links` its windowed channels.

    A link whose fit no longer predicts its own visits keeps the one it had; where none of them gains the sounding is forgotten.
    """
    shape = (len(lab.transmitters), len(lab.users))
    values = np.array([[links[t, u].mean for u in range(shape[1])] for t in range(shape[0])])
    variance = np.array([[unsmoothed(lab, links[t, u]) for u in range(shape[1])] for t in range(shape[0])])
    grown = replace(explored, later=(*explored.later, Later(np.array(here), values, variance))[-MOST_LATER:])
    better = {}
    for t, u in np.ndindex(*shape):
        before = fits[t, u]
        fit = fit_link(lab, grown, t, u, before)
        lab.link.progress()
        if fit.above_threshold or not before.above_threshold:
            better[t, u] = fit
            if tell:
                say_paths(lab, fit, t, u)
        elif tell:
            link = f"{lab.transmitters[t].name}-{lab.users[u]}"
            lab.event("warned", id="paths-kept", message=f"{link}: sounding and paths do not agree; the paths stay", device="")
    return (grown if better else explored), agreed(lab, {**fits, **better})


def unsmoothed(lab: Lab, link: Looks) -> NDArray[np.float64]:
    """(antenna,) noise of a windowed channel per direction kept: its variance per tone times tones over rank, `paths.More`."""
    smooth = np.broadcast_to(link.variance.T, link.mean.shape[::-1]).mean(axis=0)
    signal, tones = float(np.mean(np.abs(link.mean) ** 2)), link.mean.shape[-1]
    rank = 1
    for _ in range(2):  # the rank hangs on the noise before smoothing, weakly
        rank = delay_filter(lab.numerology, float(smooth.mean()) * tones / rank / signal).rank
    return smooth * tones / rank


def moving_heard(lab: Lab, explored: Explored, sensor: BenchArray, t: int) -> float:
    """Power of the target's echo at a sensing array, which looks but once: what the users heard, by how much nearer it is, squared."""
    heard, target = float(explored.moving[t].mean()), lab.scenario.target
    if target is None:
        return heard
    place = np.asarray(target.position_m, dtype=float)
    away = np.array([np.linalg.norm(place - np.asarray(user.position_m, dtype=float)) for user in lab.scenario.user])
    near = max(float(np.linalg.norm(place - sensor.origin)), target.position_std_m)
    return float(np.mean(explored.moving[t] * away**2)) / near**2


def say_paths(lab: Lab, fit: PathFit, t: int, u: int) -> None:
    """The directions that were found, as an event."""
    lab.event(
        "estimated", what="path directions", of=f"{lab.transmitters[t].name}-{lab.users[u]}", value=fit.cosines[: fit.order], unit="cosine",
        std=fit.cosine_std, bound_std=fit.cosine_bound_std, above_threshold=fit.above_threshold, assumes=list(fit.assumptions), from_=[],
        residual_test=fit.residual_test,
    )  # fmt: skip


def say_map(lab: Lab, explored: Explored, fit: PathFit, t: int, u: int, sounded: tuple[NDArray, NDArray, NDArray] | None = None) -> None:
    """The channel along one rail at the centre of the band: predicted, visited and, after a move, sounded (positions, value, variance).

    All as the chain of the first element would have it, the other chains' gains taken off: one field along the rail.
    """
    array, user = lab.transmitters[t], lab.users[u]
    centre = int(np.argmin(np.abs(lab.numerology.frequencies_hz)))
    frequency = lab.numerology.frequencies_hz[centre : centre + 1]
    grid = np.linspace(*array.travel, GRID)
    value, variance = fit.predict(grid, frequency)
    arrays = {"grid": grid, "predicted": value[:, 0], "variance": variance[:, 0]}
    turned = turn_visits(explored.values[t, u][..., centre], fit, explored.positions[t], frequency)
    variance = (explored.variance[t, u] / np.abs(fit.chains) ** 2).ravel()
    arrays |= {"visited": explored.positions[t].ravel(), "visited_value": turned.ravel(), "visited_variance": variance}
    if sounded is not None:
        positions, measured, error = sounded
        predicted, spread = fit.predict(positions, frequency, np.arange(len(positions)))
        arrays |= {
            "sounded": positions, "sounded_value": turn_visits(measured[None], fit, positions[None], frequency)[0],
            "sounded_variance": error / np.abs(fit.chains) ** 2,
            "sounded_predicted": predicted[:, 0] / fit.chains, "sounded_predicted_variance": spread[:, 0] / np.abs(fit.chains) ** 2,
        }  # fmt: skip
    file, _ = lab.run.field(lab.round, array.name, user, arrays)
    lab.event("mapped", file=file, transmitter=array.name, user=user, paths=fit.order, residual_db=fit.left_out.error_db)


def turn_visits(values: NDArray, fit: PathFit, positions: NDArray, frequency: NDArray) -> NDArray:
    """(visit, antenna) values less their chains' gains, each visit turned by its own phase onto the fit: visits are not coherent with
    each other."""
    turned = values / fit.chains
    for visit, (value, places) in enumerate(zip(turned, positions)):
        expected = fit.channel(places, frequency)[:, 0]
        turned[visit] = value * np.exp(1j * np.angle(np.vdot(value, expected)))
    return turned
