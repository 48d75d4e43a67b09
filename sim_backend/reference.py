"""The reference of a radio as faults leave it: one oscillator behind the other."""

from __future__ import annotations

from dataclasses import replace

from hil.clock import Instant
from sim_backend.faults import Faults
from sim_backend.oscillator import Oscillator, draw

KINDS = ("clock-step", "frequency-step", "reference-unlock")


def in_force(oscillator: Oscillator, faults: Faults, radio: str, seed: int, at: Instant) -> tuple[Oscillator, float]:
    """The oscillator at an instant, and cycles that a phase counted with it needs per hertz of carrier.

    Whatever happens to it, clock and phase go on where they were; only a step of the clock moves the one and not the other.
    """
    per_hertz = 0.0
    for fault in faults.all(radio, *KINDS):
        if at < fault.begins:
            break
        if fault.what == "clock-step":
            oscillator = replace(oscillator, offset=oscillator.offset - 1e-9 * fault["step_ns"])
            continue
        if fault.what == "frequency-step":
            after = replace(oscillator, constant=oscillator.constant + 1e-6 * fault["step_ppm"])
        else:
            after = draw({"class": "ocxo"}, seed, f"{radio} unlocked at {fault.at_s}")
            after = replace(after, constant=after.constant + oscillator.error(fault.begins)[1] - after.error(fault.begins)[1])
        ahead = after.error(fault.begins)[0] - oscillator.error(fault.begins)[0]
        oscillator, per_hertz = replace(after, offset=oscillator.offset + ahead), per_hertz - ahead
    return oscillator, per_hertz
