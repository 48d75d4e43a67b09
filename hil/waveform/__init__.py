"""Frames on the air: grid, preambles, pilots, payload, marks, amplitudes.

Sounding frames carry every antenna's own pilots and are sent by one device at a time; measuring frames carry payload through the design's
precoder and are sent by all devices together. Both are cyclic and known to the last symbol. Single-carrier frames carry both, pilots and
any payload, symbol by symbol.
"""

from hil.waveform import amplitude, modulation, ofdm
from hil.waveform.frame import Frame, Layout, SymbolKind
from hil.waveform.mark import FrameKind, Header, Mark
from hil.waveform.measuring import MeasuringFrame
from hil.waveform.modulation import Modulation
from hil.waveform.numerology import BLOCK_TONES, Numerology
from hil.waveform.single import SingleCarrierFrame
from hil.waveform.sounding import SoundingFrame

__all__ = [
    "BLOCK_TONES", "Frame", "FrameKind", "Header", "Layout", "Mark", "MeasuringFrame", "Modulation", "Numerology", "SingleCarrierFrame",
    "SoundingFrame", "SymbolKind", "amplitude", "modulation", "ofdm",
]  # fmt: skip
