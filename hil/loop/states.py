"""The states of a trial, and which may follow which."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """What the bench is doing. `safe` can be entered from anywhere; every trial begins and ends in `idle` or `safe`."""

    IDLE = "idle"
    EXPLORING = "exploring"
    SOUNDING = "sounding"
    ESTIMATING = "estimating"
    DESIGNING = "designing"
    MOVING = "moving"
    SETTLING = "settling"
    LOADING = "loading"
    MEASURING = "measuring"
    SAFE = "safe"


_NEXT = {
    State.IDLE: {State.EXPLORING, State.SOUNDING, State.ESTIMATING, State.DESIGNING, State.MOVING},
    State.EXPLORING: {State.MOVING, State.SOUNDING},
    State.SOUNDING: {State.ESTIMATING, State.EXPLORING, State.MOVING},
    State.ESTIMATING: {State.DESIGNING, State.SOUNDING, State.MOVING},
    State.DESIGNING: {State.MOVING, State.SOUNDING, State.LOADING},
    State.MOVING: {State.SETTLING},
    State.SETTLING: {State.SOUNDING},
    State.LOADING: {State.MEASURING},
    State.MEASURING: {State.ESTIMATING},
    State.SAFE: set(),
}


def check_step(old: State, new: State) -> None:
    """Raise ValueError for a step the state machine does not have: a bug in the loop, never a user's mistake."""
    if new not in (State.SAFE, State.IDLE) and new not in _NEXT[old]:
        raise ValueError(f"a trial cannot go from {old} to {new}; from there: {', '.join(sorted(_NEXT[old]))}, idle, safe")
