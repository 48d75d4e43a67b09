"""What a profile says about a radio beside its settings; plain values in, so that it travels to a node in a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hil.device import Tolerance


@dataclass(frozen=True, slots=True)
class Fitting:
    """bandwidth_hz: analogue; None: as wide as the rate. fir: text of a filter file; None: the driver's own for each rate.

    tracking: quadrature, rf_dc, baseband_dc -> on. ports: receive, transmit -> the part's word. temperature_c: of the chip, above which
    nothing is put on the air. tolerance: how far what is read back may lie from what was asked.
    """

    bandwidth_hz: float | None = None
    fir: str | None = None
    tracking: Mapping[str, bool] = field(default_factory=dict)
    ports: Mapping[str, str] | None = None
    temperature_c: float | None = None
    tolerance: Tolerance = field(default_factory=Tolerance)

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Fitting:
        tolerance = plain.get("tolerance") or {}
        return cls(**{**plain, "tolerance": tolerance if isinstance(tolerance, Tolerance) else Tolerance(**tolerance)})
