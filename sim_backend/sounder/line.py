"""One line of the sounder's table: what should be, what was measured, and how far apart they may lie."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Line:
    """A quantity and its judgement. With `at_most`, only a measured value above truth + tolerance is wrong.

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
    budget: float = 0.0
    term: str = ""

    @property
    def difference(self) -> float:
        return self.measured - self.truth

    @property
    def ok(self) -> bool:
        apart = self.difference if self.at_most else abs(self.difference)
        return apart <= self.tolerance and (self.at_most or self.budget < self.tolerance)  # NaN is not ok

    @property
    def why(self) -> str:
        """What is wrong with the line; empty when nothing is."""
        if self.ok:
            return ""
        if not self.at_most and not self.budget < self.tolerance:
            return f"tolerance {self.tolerance:.3g} {self.unit} is within the error budget {self.budget:.3g}: {self.term}"
        return f"off by {self.difference:+.3g} {self.unit}, tolerance {self.tolerance:.3g}"

    def at(self, where: str) -> Line:
        return replace(self, where=where)


def degrees(angle: float) -> float:
    """Of an angle in radians, in -180 .. 180."""
    return math.degrees(math.remainder(angle, 2.0 * math.pi))


Sounding = Callable[..., list[Line]]
