"""Multi-cell integrated sensing and communication: coordinated beamforming and multipoint, block- and symbol-level precoding.

On one narrow band `Problem` says what is given, `design` answers a target with a `Precoding`, and `schemes` holds every scheme by name:
"comp-blp", "cbf-blp", "comp-slp", "cbf-slp" and the same behind "nominal-", blind to the error sets; called as (problem, asked linear
target). On a whole band `Band` says what is asked and `designers` makes every designer by the same names: (band, knowledge) -> Design.
"""

from hil.systems.multicell.band import Band, designers
from hil.systems.multicell.problem import Precoding, Problem
from hil.systems.multicell.solve import Scheme, design, schemes

__all__ = ["Band", "Precoding", "Problem", "Scheme", "design", "designers", "schemes"]
