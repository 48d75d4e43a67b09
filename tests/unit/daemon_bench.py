"""Emulated radios on the network and the driver's radios that open them, for tests; skipped by name where libiio is missing."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

from hil.clock import WallClock
from hil.device import DeviceError
from hil.parts import capability
from hil.radios import library, opening
from hil.radios.radio import AdiRadio
from sim_backend.iiod.daemon import Daemon

CHANNELS = {"pluto": 1, "ad9361": 2, "fmcomms5": 4, "ad9081": 4}
RATE = {"ad9081": 15.36e6}  # of a part whose rate is fixed


def require_libiio() -> None:
    """Skip, saying what would make the test run."""
    try:
        library.load()
    except DeviceError as error:
        pytest.skip(str(error))


def radio_site(name: str, part: str, channels: int, origin: list[float]) -> dict[str, Any]:
    antennas = [
        {"transmit": n, "receive": n, "origin_m": origin, "axis": [0.0, 1.0, 0.0], "offset_m": 0.05 * n, "stage": None, "stage_axis": None,
         "sign": 1, "gain_dbi": 0.0}
        for n in range(channels)
    ]  # fmt: skip
    can = asdict(capability(part, f"emulated-{name}", channels=channels))
    return {"name": name, "serial": f"emulated-{name}", "part": part, "capability": can, "antennas": antennas, "rate_hz": RATE.get(part)}


def site(part: str, names: tuple[str, ...] = ("a",), channels: int | None = None, cable_db: float | None = -30.0, **emulated: Any) -> dict[str, Any]:
    """Radios of one part, ten metres apart, each with a cable from each of its transmitters to the receiver of the same number."""
    count = channels or CHANNELS[part]
    radios = [radio_site(name, part, count, [10.0 * number, 0.0, 1.5]) for number, name in enumerate(names)]
    cables = [{"from": f"{name}.tx{n}", "to": f"{name}.rx{n}", "gain_db": cable_db} for name in names for n in range(count)]
    return {
        "carrier_hz": 3.5e9, "seed": 1, "stages": [], "radios": radios,
        "emulated": {"severity": 0.0, **({"cable": cables} if cable_db is not None else {}), **emulated},
    }  # fmt: skip


def opened(daemon: Daemon | None, name: str, part: str, *, uri: str = "", channels: int | None = None, **more: Any) -> AdiRadio:
    """The driver's radio on an emulated one, or on whatever is at `uri`. channels: None for as many as those of `site`."""
    where = uri or (daemon.uris[name] if daemon else "")
    can = more.pop("capability", None) or capability(part, f"emulated-{name}", channels=channels or CHANNELS[part])
    return opening.radio(name, WallClock(), uri=where, capability=can, **more)
