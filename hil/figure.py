"""A figure of a paper, as values: what has to be computed for it, what it shows, and which of the paper's claims hold.

A system's `figures.py` has `FIGURES`, name -> `Figure`. What is computed is plain data (`hil.tasks`); what is shown are panels of curves,
drawn elsewhere in one look; so a figure can be drawn again from what was kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

Parameters = Mapping[str, Any]
Results = Sequence[tuple[Parameters, Any]]  # of all tasks, in their order
Line = Literal["solid", "dashed", "dotted", "none"]


@dataclass(frozen=True, slots=True)
class Curve:
    """One line of a panel. A y of None or NaN is a gap; low, high: a band around it. hue: place in the palette (-1: the next free one), or
    the name of a designer, or "bound". Curves of one label look the same in all panels."""

    label: str
    x: Sequence[float]
    y: Sequence[float | None]
    low: Sequence[float | None] | None = None
    high: Sequence[float | None] | None = None
    hue: int | str = -1
    line: Line = "solid"
    marked: bool = True
    stepped: bool = False


@dataclass(frozen=True, slots=True)
class Mark:
    """A straight line across a panel at one value of x or y, with a word on it. hue as of a curve; None: ink."""

    axis: Literal["x", "y"]
    at: float
    label: str = ""
    hue: int | str | None = None


@dataclass(frozen=True, slots=True)
class Panel:
    """Axes with their labels, unit included. log_x, log_y: where values span enough of it. ticks: x -> text, where x is no number but a choice."""

    x: str
    y: str
    curves: Sequence[Curve]
    title: str = ""
    log_x: bool = False
    log_y: bool = False
    marks: Sequence[Mark] = ()
    ticks: Mapping[float, str] = field(default_factory=dict)
    limits_y: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Drawing:
    """title: the finding, in a sentence. Panels stand side by side, two in a row; those of one row share the legend above them."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True, slots=True)
class Table:
    """What is printed: a caption, the heads of the columns, rows of text."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Claim:
    """What the paper says, what was found, whether it holds (None: cannot be compared), and why.

    must: the reproduction has to show it; where such a claim fails, either is wrong.
    """

    paper: str
    found: str
    holds: bool | None
    why: str = ""
    must: bool = True


@dataclass(frozen=True, slots=True)
class Figure:
    """seeds: drops by default. tasks: number of drops -> parameters of every task; `work` does one, at the top of a module.

    rows: one line or more of the tidy table for each result. The others see the results of all tasks.
    """

    title: str
    seeds: int
    tasks: Callable[[int], list[dict[str, Any]]]
    work: Callable[[Parameters, np.random.SeedSequence], Any]
    rows: Callable[[Parameters, Any], list[dict[str, Any]]]
    drawing: Callable[[Results], Drawing]
    table: Callable[[Results], Table]
    claims: Callable[[Results], list[Claim]]
