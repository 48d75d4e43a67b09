"""One line per design that was pushed and measured."""

from __future__ import annotations

from dataclasses import dataclass, field

HEADER = "round  {design} promised predicted measured  bound   worst user, dB; target error (CRLB), {unit}   EVM{moved}    took"
NAME = 10  # letters of a design's name that lines leave room for, or as many as the longest has


@dataclass(frozen=True)
class Angle:
    """One target's angle. error, bound: degrees, None where nobody knows; sure: above threshold."""

    error: float | None
    bound: float | None
    sure: bool


@dataclass
class Row:
    """One design that was pushed and measured: the four numbers of the worst user (dB), and what else a line shows."""

    round: int
    designer: str
    promised: float | None = None
    predicted: float | None = None
    measured: float | None = None
    bound: float | None = None
    kept: bool | None = None
    evm: float | None = None
    error: float | None = None
    crlb: float | None = None
    angles: list[Angle] = field(default_factory=list)  # in place of error and crlb where targets are told by angles
    gave_way: bool = False
    moved: int = 0
    movable: int = 0
    distance: float = 0.0
    began: float = 0.0
    took: float = 0.0
    infeasible: bool = False

    @property
    def target(self) -> str:
        """Error and bound; of angles the worst of those above threshold, and how many are not."""
        error, crlb, more = self.error, self.crlb, ""
        if self.angles:
            sure = [angle for angle in self.angles if angle.sure]
            if not sure:
                return "below threshold"
            worst = max(sure, key=lambda angle: angle.error or 0.0)
            error, crlb, unsure = worst.error, worst.bound, len(self.angles) - len(sure)
            more = f", {unsure} unsure" if unsure else ""
        return "" if crlb is None else f"{'-' if error is None else f'{error:.2f}'} ({crlb:.2f}){more}"

    def line(self, name: int = NAME, moves: bool = True) -> str:
        """Aligned under HEADER. name: letters of the longest design's; moves: whether anything on the bench does."""
        evm = "-" if self.evm is None else f"{100 * self.evm:.0f} %"
        moved = "-" if not self.moved else f"{1e3 * self.distance:.1f} mm" if self.movable == 1 else f"{self.moved}/{self.movable}"
        numbers = f"{number(self.promised):>8}{number(self.predicted):>10}{number(self.measured):>9}{number(self.bound):>7}"
        took = max(5, 8 - max(0, len(moved) - 3)) if moves else 8
        remark = "   infeasible" * self.infeasible + "   gave way to CBF" * self.gave_way
        column = f"   {moved:^3}" if moves else ""
        return f"{self.round:>5}  {self.designer:<{name}} {numbers}   {self.target:<35}{evm:>8}{column}{self.took:>{took}.1f} s{remark}"


def number(value: float | None) -> str:
    """To a tenth; a dash where there is none."""
    return "-" if value is None else f"{value:.1f}"
