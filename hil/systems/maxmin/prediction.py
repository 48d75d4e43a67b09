"""Channels where nothing has been sounded yet: the path fits of a `Knowledge`, with the ball their variance asks for."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.errors import InputError
from hil.knowledge import Knowledge
from hil.systems.maxmin.problem import Problem
from hil.uncertainty import ball_factor, each


def paths_of(problem: Problem, knowledge: Knowledge) -> list[list[Any]]:
    """Path fits [transmitter][user]; InputError naming the link that has none or none to be trusted."""
    links = [(a, u) for a in range(len(problem.arrays)) for u in range(problem.users)]
    for link in links:
        fit = knowledge.paths.get(link)
        if fit is None or not fit.above_threshold:
            raise InputError("no-paths", f"no trustworthy path fit from transmitter {link[0]} to user {link[1]}",
                             found="none" if fit is None else "a fit below threshold", fix="visit more positions")  # fmt: skip
    return [[knowledge.paths[a, u] for u in range(problem.users)] for a in range(len(problem.arrays))]


def predicted_channel(problem: Problem, knowledge: Knowledge) -> tuple[NDArray[np.complex128], NDArray[np.float64]]:
    """Channel (transmitter, user, tone, antenna) at `problem.positions` and its radius (transmitter, user, block)."""
    fits = paths_of(problem, knowledge)
    channel = np.zeros((len(fits), problem.users, problem.frequencies_hz.size, problem.elements), complex)
    variance = np.zeros((len(fits), problem.users, problem.blocks, problem.elements))
    for a, row in enumerate(fits):
        for u, fit in enumerate(row):
            value, error = fit.predict(problem.positions[a], problem.frequencies_hz, np.arange(problem.elements))
            channel[a, u] = np.asarray(value).T
            for block in range(problem.blocks):
                variance[a, u, block] = np.asarray(error)[:, problem.block_of_tone == block].mean(-1)
    return channel, joint_factor(problem, knowledge.confidence) * np.sqrt(variance.mean(-1)) + moving_radius(problem, knowledge)[..., None]


def moving_radius(problem: Problem, knowledge: Knowledge) -> NDArray[np.float64]:
    """(transmitter, user) hard part of a ball: what moves was there with one phase and will be there with another."""
    if knowledge.moving is None:
        return np.zeros((len(problem.arrays), problem.users))
    return np.sqrt(problem.elements) * np.asarray(knowledge.moving)


def joint_factor(problem: Problem, confidence: float) -> float:
    """q of the radius q sqrt(mean variance), so that the balls of all (transmitter, user, block) hold together with `confidence`."""
    return ball_factor(problem.elements, each(confidence, len(problem.arrays) * problem.users * problem.blocks))
