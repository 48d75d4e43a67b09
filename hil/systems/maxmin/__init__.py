"""Max-min SINR: several access points with movable elements, one user each, a floor of power towards a target.

`Problem` says what is asked; `designers` makes every designer by name: a callable (problem, knowledge) -> Design with a `name` and
`positions(problem)`, the layout it wants to stand at before it is called, or None when it designs that itself.
"""

from __future__ import annotations

from collections.abc import Callable

from hil.systems.maxmin.baselines import Fixed, FixedRzf, Sparse
from hil.systems.maxmin.problem import Problem, Rail
from hil.systems.maxmin.solve import Nominal, Robust

__all__ = ["Fixed", "FixedRzf", "Nominal", "Problem", "Rail", "Robust", "Sparse", "designers"]

designers: dict[str, Callable[[], Robust]] = {kind().name: kind for kind in (Robust, Nominal, FixedRzf, Fixed, Sparse)}
