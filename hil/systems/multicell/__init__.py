"""Multi-cell integrated sensing and communication: coordinated beamforming and multipoint, block- and symbol-level precoding.

`Problem` says what is given, `design` answers a target with a `Precoding`, and `designers` holds every scheme by name: "comp-blp",
"cbf-blp", "comp-slp", "cbf-slp" and the same behind "nominal-", blind to the error sets; called as (problem, asked linear target).
"""

from hil.systems.multicell.problem import Precoding, Problem
from hil.systems.multicell.solve import Designer, design, designers

__all__ = ["Designer", "Precoding", "Problem", "design", "designers"]
