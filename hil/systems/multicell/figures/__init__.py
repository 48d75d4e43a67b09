"""Figures 3 to 11 of Babu, Masouros, Papadias, Eldar, "Precoding for Multi-Cell ISAC", and what of its claims holds.

`hil reproduce multicell 6`. Drops are numbered; all schemes and targets see the same ones.
"""

from hil.systems.multicell.figures import alone, beams, convergence, lengths, sets, trade

_ALL = {**alone.FIGURES, **beams.FIGURES, **trade.FIGURES, **sets.FIGURES, **convergence.FIGURES, **lengths.FIGURES}
FIGURES = {number: _ALL[number] for number in sorted(_ALL, key=int)}
