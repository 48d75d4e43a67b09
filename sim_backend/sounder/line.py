"""One line of the sounder's table: what should be, what was measured, and how far apart they may lie."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Line:
    """A quantity and its judgement. With `at_most`, truth is a bar and only a measured value above it is wrong.

    budget: what the emulator's own arithmetic may contribute, in the unit of the line; a tolerance that does not exceed it proves
    nothing, and the line fails with the name of the largest `term`.
    """

    quantity: str
    where: str  # the devices and the condition
    truth: float
    measured: float
    tolerance: float
    unit: str
    at_most: bool = False
    budget: float = -math.inf
    term: str = ""

    @property
    def difference(self) -> float:
        return self.measured - self.truth

    @property
    def allowed(self) -> float:
        """What the budget must stay below: the tolerance, or the bar of a line that only has one."""
        return self.truth + self.tolerance if self.at_most else self.tolerance

    @property
    def ok(self) -> bool:
        apart = self.difference if self.at_most else abs(self.difference)
        return apart <= self.tolerance and self.budget < self.allowed  # NaN is not ok

    @property
    def why(self) -> str:
        """What is wrong with the line; empty when nothing is."""
        if self.ok:
            return ""
        if not self.budget < self.allowed:
            return f"{self.allowed:.3g} {self.unit} is within the error budget of {self.budget:.3g}, most of it: {self.term}"
        return f"off by {self.difference:+.3g} {self.unit}, tolerance {self.tolerance:.3g}"

    def against(self, budget: float, term: str) -> Line:
        """The same line with the error budget it must exceed."""
        return replace(self, budget=budget, term=term)


def degrees(angle: float) -> float:
    """Of an angle in radians, in -180 .. 180."""
    return math.degrees(math.remainder(angle, 2.0 * math.pi))
