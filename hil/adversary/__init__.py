"""Adversaries: whoever judges a robust design by trying, and shares no code with who made it. `maxmin` one stream a transmitter over blocks
of tones (`verdict` here), `cells` several cells on one narrow band.
"""

from hil.adversary.maxmin import Verdict, verdict

__all__ = ["Verdict", "verdict"]
