"""Which course a trial takes: every system has its own."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from hil.loop.course import Course
from hil.loop.lab import Lab

COURSES = {"maxmin": "hil.loop.trial:Trial", "multicell": "hil.loop.cells.trial:CellsTrial"}  # read when wanted: each has solvers of its own


def trial_of(lab: Lab, designer: Any, baselines: Sequence[Any] = (), **resumed: Any) -> Course:
    """The trial of the lab's system, not begun."""
    module, _, name = COURSES[lab.scenario.system].partition(":")
    course: type[Course] = getattr(import_module(module), name)
    return course(lab, designer, baselines, **resumed)
