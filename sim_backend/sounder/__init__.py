"""The sounder: the emulator measured by itself, with waveforms and estimators of its own.

It drives the same radios and stages a controller holds and says of every quantity what it should be, what it is, and how far apart the
two may lie. Three parts: cables between ideal devices, where the truth is a closed form and only arithmetic is left to err; the same
cables between devices as a bench's table [emulated] draws them; and the bench itself on its own air.

    line         a quantity, its truth, its tolerance and the error budget it is held against
    budget       what the emulator's arithmetic may contribute, term by term
    cable        the sounder's own benches; `waveform` and `estimate` are its signals and its mathematics
    tones, taps, clocks, amplifier, phasenoise, evm, rail, nulling, repeat     one subject each
    stability    Allan deviation over 0.01 .. 1000 s; minutes of computing, so it is asked for by itself
    onair        the bench that is given, every receiver idle and every transmitter to every receiver

Of the emulator's truth it asks what no geometry tells: how oscillators ran, what chains were drawn, which phase a tuning got.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hil.clock import Instant
from sim_backend.settings import Emulated
from sim_backend.sounder import amplifier, clocks, evm, nulling, onair, phasenoise, rail, repeat, taps, tones
from sim_backend.sounder.budget import Budget
from sim_backend.sounder.cable import SILENT, lay
from sim_backend.sounder.line import Line

__all__ = ["Budget", "Line", "Sounding", "sound"]

ALIKE: Mapping[str, Any] = {**SILENT, "oscillator": {"class": "perfect", "spread_ppm": 0.0, "clock_offset_ns": 300.0}}
SPURS: Mapping[str, Any] = {
    **SILENT,
    "transmitter": {"iq_image_dbc": -45.0, "leakage_dbc": -41.0},
    "receiver": {**SILENT["receiver"], "iq_image_dbc": -48.0, "dc_dbfs": -52.0},
}
CUBIC: Mapping[str, Any] = {**SILENT, "amplifier": {"model": "cubic", "beta3_per_w": [-2.0, 0.0]}}
SALEH: Mapping[str, Any] = {**SILENT, "amplifier": {"model": "saleh", "saleh_per_w": [2.5, 6.0, 8.0]}}
RAPP: Mapping[str, Any] = {**SILENT, "amplifier": {"model": "rapp"}}
BACKOFF_DB = 14.0  # of the waveform that the retained spectrum is worked out for, below a transmitter's full scale


@dataclass(frozen=True)
class Sounding:
    """lines, in parts; budgets: of the sounder's cable and of each link of the bench."""

    parts: Mapping[str, list[Line]]
    budgets: Mapping[str, Budget]

    @property
    def lines(self) -> list[Line]:
        return [line for lines in self.parts.values() for line in lines]

    @property
    def ok(self) -> bool:
        return all(line.ok for line in self.lines)


def sound(site: Mapping[str, Any], rate: float) -> Sounding:
    """Measure the emulator at the devices of a site (`world.build`), whose links run at `rate` samples per second."""
    emulated = site["emulated"]
    full_dbm = max((radio["capability"]["transmit_full_scale_dbm"] for radio in site["radios"]), default=7.0)
    retained = amplifier.retained_db(Emulated.parse(emulated).amplifier, full_dbm - BACKOFF_DB)
    air, budgets = onair.measure(site, rate, retained)
    cable = lay(emulated)
    own = {"a cable of the sounder": Budget.of(cable.world, "ab", cable.rate, taps.USED_HZ, retained_db=retained)}
    parts = {"cables, ideal devices": list(exact()), "cables, devices of this bench": list(honest(emulated)), "this bench, on its air": air}
    return Sounding(parts, own | budgets)


def exact() -> Iterator[Line]:
    """No noise, 24 bits, steady clocks: what is left is arithmetic."""
    where = "ideal"
    yield from tones.port_power(SILENT, where, 1e-4)
    yield from taps.one_path(SILENT, where, 0.1e-12, 1e-4, 1e-3)
    yield from taps.one_path(SILENT, "ideal, after 1e6 s", 0.1e-12, 1e-4, 1e-3, start=Instant(1_000_000, 0.25))
    yield from taps.several(SILENT, where, -90.0)
    yield from clocks.offsets(SILENT, where, 1e-5, 1e-4)
    yield from clocks.doppler(SILENT, where, 1e-4)
    yield from clocks.itself(SILENT, where, 1e-4)
    yield from rail.stations(SILENT, where, 1e-3)
    yield from rail.carriage(where)
    yield from evm.floor(ALIKE, where, 0.0, at_most=-100.0)
    yield from nulling.rejection(SILENT, where, -100.0)
    yield from tones.quantiser(where)
    yield from tones.spurious(SPURS, where, 0.1)
    for table, name in ((CUBIC, "cubic"), (SALEH, "Saleh"), (RAPP, "Rapp")):
        yield from amplifier.compression(table, name, 0.01, 0.01)
    yield from amplifier.intermodulation(CUBIC, "cubic", 0.01)
    yield from amplifier.spectrum("cubic")


def honest(emulated: Mapping[str, Any]) -> Iterator[Line]:
    """Devices as the table draws them, two of them on cables."""
    drawn, where = Emulated.parse(emulated), "drawn"
    yield from tones.port_power(emulated, where, 0.03)
    yield from tones.noise(emulated, where, drawn.receiver.noise_figure_db)
    yield from tones.noise_over_rates(emulated, where)
    yield from tones.noise_beside(emulated, where)
    yield from taps.one_path(emulated, where, 20e-12, 0.02, 0.5)
    yield from taps.several(emulated, where, -38.0)
    yield from clocks.offsets(emulated, where, 0.1, 0.01)
    yield from clocks.doppler(emulated, where, 0.1)
    yield from rail.stations(emulated, where, 0.5)
    images = tuple(20 * math.log10(a) for a in (drawn.transmitter.image, drawn.receiver.image) if a > 0.0)
    yield from evm.floor(emulated, where, 1.0, phase_noise_deg=math.degrees(drawn.phase_noise), images=images)
    yield from nulling.rejection(emulated, where, -45.0)
    yield from tones.spurious(emulated, where, 0.5)
    if drawn.phase_noise > 0.0:
        yield from phasenoise.density(emulated, where, math.degrees(drawn.phase_noise), 1.5)
        yield from phasenoise.shared(emulated, where, math.degrees(drawn.phase_noise))
    if amplifier.bends(drawn.amplifier):
        yield from amplifier.compression(emulated, where, 0.1, 0.3)
        yield from amplifier.intermodulation(emulated, where, 0.2)
    yield from repeat.determinism(emulated, where)
