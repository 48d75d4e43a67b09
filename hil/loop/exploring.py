"""Exploring: take the elements to a few places along their rails, listen at each, and fit the paths between each rail and each user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hil.estimate import paths, visits
from hil.estimate.paths import PathFit
from hil.loop.lab import Lab, Taken
from hil.loop.sounding import Sounding
from hil.loop.states import State

VISITS = 8
ANCHOR = 0  # the element that stays put, so that visits can be told apart from drifting clocks
GATHERED = 25.0  # a moving echo fills a few of the delays that a tone's noise spreads over: 384 tones, some 15 delays
GRID = 241  # points of the map along a rail


@dataclass(frozen=True, slots=True, eq=False)
class Explored:
    """What the visits told. positions: (transmitter, visit, antenna) m; values: (transmitter, user, visit, antenna, tone) each tone on
    its own; variance: (transmitter, user, visit, antenna) of its noise; moving: (transmitter, user) power of what moves in that link;
    std: metres, of every position."""

    positions: NDArray[np.float64]
    values: NDArray[np.complex128]
    variance: NDArray[np.float64]
    moving: NDArray[np.float64]
    std: float


def explore(lab: Lab, sounding: Sounding, visits_wanted: int = VISITS) -> Explored:
    """Visit, listen, and come home with least-squares channels; no path is fitted here."""
    lab.enter(State.EXPLORING, "opened")
    layouts = np.array([
        visits.plan(array.travel, array.spacing, array.elements, visits_wanted, lab.scenario.wavelength, anchor=ANCHOR)
        for array in lab.transmitters
    ])  # fmt: skip
    heard, reached = [], []
    for visit in range(visits_wanted):
        lab.move(layouts[:, visit], "explore")
        lab.enter(State.SOUNDING, f"visit {visit}")
        heard.append(sounding.hear(f"explore-v{visit:02d}", "explore", sensors=False))
        reached.append(lab.here())
        lab.enter(State.EXPLORING, f"visit {visit} heard") if visit + 1 < visits_wanted else None
    lab.enter(State.ESTIMATING, "all visits heard")
    explored = understand(lab, sounding, heard, np.array(reached))
    lab.clock.charge("estimate")
    return explored


def understand(lab: Lab, sounding: Sounding, heard: Sequence[Sequence[Mapping[str, Mapping[str, Taken]]]], reached: NDArray[np.float64]) -> Explored:
    """Channels of what was heard, visit by visit (visit, look, access point, receiver), at reached (visit, transmitter, antenna)."""
    visits_wanted = len(heard)
    tones, users = lab.numerology.used, len(lab.users)
    shape = (len(lab.transmitters), users, visits_wanted, lab.transmitters[0].elements)
    values, variance = np.zeros((*shape, tones), complex), np.zeros(shape)
    moving = np.zeros(shape[:2])
    for visit, looks in enumerate(heard):
        links = sounding.links([sounding.understand(look, raw=True) for look in looks])
        lab.link.progress()
        for (t, u), link in links.items():
            values[t, u, visit], variance[t, u, visit] = link.mean, link.variance
            moving[t, u] += link.moving / visits_wanted
    return Explored(np.moveaxis(reached, 0, 1), values, variance, moving, float(lab.here_std().max()))


def fit_paths(lab: Lab, explored: Explored, *, tell: bool = True) -> dict[tuple[int, int], PathFit]:
    """(transmitter, user) -> fit; each said as an event, with the channel along the rail as a file, unless a resumed run has said so."""
    fits = {}
    for t, array in enumerate(lab.transmitters):
        for u, user in enumerate(lab.users):
            fit = paths.fit(
                explored.positions[t], explored.values[t, u], explored.variance[t, u] + GATHERED * explored.moving[t, u], lab.numerology.frequencies_hz,
                wavelength=lab.scenario.wavelength, anchor=ANCHOR, position_std=explored.std,
            )  # fmt: skip
            fits[t, u] = fit
            lab.link.progress()
            if not tell:
                continue
            root = np.sqrt(np.maximum(np.diagonal(fit.covariance)[: 5 * fit.order : 5], 0.0))
            lab.event(
                "estimated", what="path directions", of=f"{array.name}-{user}", value=fit.cosines[: fit.order], unit="cosine", std=root,
                bound_std=np.sqrt(np.maximum(np.diagonal(fit.bound)[: 5 * fit.order : 5], 0.0)), above_threshold=fit.above_threshold,
                assumes=list(fit.assumptions), from_=[], residual_test=fit.residual_test,
            )  # fmt: skip
            say_map(lab, explored, fit, t, u)
    return fits


def say_map(lab: Lab, explored: Explored, fit: PathFit, t: int, u: int, sounded: tuple[NDArray, NDArray, NDArray] | None = None) -> None:
    """The channel along one rail at the centre of the band: predicted, visited and, after a move, sounded (positions, value, variance)."""
    array, user = lab.transmitters[t], lab.users[u]
    centre = int(np.argmin(np.abs(lab.numerology.frequencies_hz)))
    frequency = lab.numerology.frequencies_hz[centre : centre + 1]
    grid = np.linspace(*array.travel, GRID)
    value, variance = fit.predict(grid, frequency)
    arrays = {"grid": grid, "predicted": value[:, 0], "variance": variance[:, 0]}
    turned = turn_visits(explored.values[t, u][..., centre], fit, explored.positions[t], frequency)
    arrays |= {"visited": explored.positions[t].ravel(), "visited_value": turned.ravel(), "visited_variance": explored.variance[t, u].ravel()}
    if sounded is not None:
        positions, measured, error = sounded
        predicted, spread = fit.predict(positions, frequency)
        arrays |= {
            "sounded": positions, "sounded_value": turn_visits(measured[None], fit, positions[None], frequency)[0], "sounded_variance": error,
            "sounded_predicted": predicted[:, 0], "sounded_predicted_variance": spread[:, 0],
        }  # fmt: skip
    file, _ = lab.run.field(lab.round, array.name, user, arrays)
    lab.event("mapped", file=file, transmitter=array.name, user=user, paths=fit.order, residual_db=fit.left_out.error_db)


def turn_visits(values: NDArray, fit: PathFit, positions: NDArray, frequency: NDArray) -> NDArray:
    """(visit, antenna) values, each visit turned by its own phase onto the fit: visits are not coherent with each other."""
    turned = np.empty_like(values)
    for visit, (value, places) in enumerate(zip(values, positions)):
        expected = fit.channel(places, frequency)[:, 0]
        turned[visit] = value * np.exp(1j * np.angle(np.vdot(value, expected)))
    return turned
