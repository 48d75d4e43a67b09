"""Every scheme behind one call, and by name."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hil.systems.multicell import blp, fisher, margin, slp, worst_case
from hil.systems.multicell.problem import Kind, Mode, Precoding, Problem


def design(
    problem: Problem, mode: Mode, kind: Kind = "blp", *, asked: float, rng: np.random.Generator | None = None,
    near: NDArray[np.complex128] | None = None,
) -> Precoding:  # fmt: skip
    """Largest smallest t over base stations and views with every user's exact worst case at or above `asked` (linear). kind "slp" needs
    `problem.payload`, and `asked` is then the squared margin over noise. rng: of the block-level starts; one of its own if None. near: W of a
    problem much like this one, for block-level designs to begin from.
    """
    return blp.design(problem, mode, asked, rng=rng, near=near) if kind == "blp" else slp.design(problem, mode, asked)


def rejudged(problem: Problem, design: Precoding) -> Precoding:
    """A design made for a relative of the problem, with what it promises and teaches in this one."""
    if design.waveform is None:
        return design
    judge = worst_case.sinr(problem, design.mode, design.waveform) if design.kind == "blp" else margin.sinr(problem, design.waveform, design.mode)
    return replace(design, sinr=judge, t=fisher.sensing(problem, design.mode, design.waveform, design.kind))


@dataclass(frozen=True)
class Scheme:
    """One scheme. nominal: blind to the error sets, so its `sinr`, judged over them, may lie below what was asked."""

    name: str
    mode: Mode
    kind: Kind
    nominal: bool = False

    def __call__(
        self, problem: Problem, asked: float, rng: np.random.Generator | None = None, near: NDArray[np.complex128] | None = None
    ) -> Precoding:
        """asked: linear SINR target of every user. near: where a block-level design begins, see `design`."""
        made = design(problem.nominal() if self.nominal else problem, self.mode, self.kind, asked=asked, rng=rng, near=near)
        return replace(rejudged(problem, made) if self.nominal else made, designer=self.name)


def _every() -> dict[str, Scheme]:
    modes: tuple[Mode, ...] = ("comp", "cbf")
    kinds: tuple[Kind, ...] = ("blp", "slp")
    plain = [Scheme(f"{mode}-{kind}", mode, kind) for kind in kinds for mode in modes]
    return {one.name: one for one in (*plain, *(replace(one, name=f"nominal-{one.name}", nominal=True) for one in plain))}


schemes = _every()
