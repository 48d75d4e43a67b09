"""Small benches for the emulator's tests, as plain values."""

from __future__ import annotations

from typing import Any

CARRIER, RATE = 3.5e9, 15.36e6
WAVELENGTH = 299792458.0 / CARRIER
CAPABILITY = {
    "carrier_hz": [70e6, 6e9], "sample_rate_hz": [0.5e6, 61.44e6], "receive_gain_db": [-3.0, 71.0], "receive_gain_step_db": 1.0,
    "attenuation_db": [0.0, 89.75], "attenuation_step_db": 0.25, "bits": 12, "transmit_full_scale_dbm": 7.0, "receive_full_scale_dbm": -10.0,
}  # fmt: skip


def radio(name: str, transmit: int, receive: int, origin: list[float], *, axis=(0.0, 1.0, 0.0), stage: str | None = None, **capability: Any) -> dict:
    """Transmit element i and receive antenna i hang on channel i, half a wavelength apart along `axis`."""
    antennas = []
    for side, count in (("transmit", transmit), ("receive", receive)):
        for channel in range(count):
            other = "receive" if side == "transmit" else "transmit"
            place = {"origin_m": list(origin), "axis": list(axis), "offset_m": (channel - (count - 1) / 2) * WAVELENGTH / 2}
            if stage and side == "transmit":
                place |= {"stage": stage, "stage_axis": "abcd"[channel], "sign": 1, "offset_m": 0.0}
            antennas.append({side: channel, other: None, "gain_dbi": 0.0} | place)
    fields = {**CAPABILITY, "transmit_channels": transmit, "receive_channels": receive, **capability}
    return {"name": name, "serial": f"emulated-{name}", "part": "fmcomms5", "capability": fields, "antennas": antennas}


def rail(name: str = "rail1", axes: str = "abcd") -> dict:
    half = WAVELENGTH / 2 * 1e3
    return {
        "name": name,
        "axes": {
            axis: {"steps_per_mm": 80.0, "travel_mm": [-400.0, 400.0], "speed_mm_s": 100.0, "acceleration_mm_s2": 500.0, "start_mm": (i - 1.5) * half}
            for i, axis in enumerate(axes)
        },
    }  # fmt: skip


def site(radios: list[dict], *, stages: list[dict] = (), target: dict | None = None, seed: int = 1, emulated: dict | None = None) -> dict:
    return {"carrier_hz": CARRIER, "seed": seed, "radios": radios, "stages": list(stages), "target": target, "emulated": emulated or {}}


def trial(seed: int = 1, emulated: dict | None = None) -> dict:
    """Two access points with four carriages each, a sensing array, two users, a walking target."""
    return site(
        [
            radio("ap1", 4, 4, [0.0, -3.0, 2.0], stage="rail1"),
            radio("ap2", 4, 4, [0.0, 3.0, 2.0], stage="rail2"),
            radio("sense1", 0, 4, [2.0, 0.0, 2.0]),
            radio("u1", 0, 1, [14.0, 3.0, 1.5]),
            radio("u2", 0, 1, [11.0, -6.0, 1.5]),
        ],
        stages=[rail("rail1"), rail("rail2")],
        target={"position_m": [9.0, -4.0, 1.0], "position_std_m": 2.0, "speed_m_s": 1.0},
        seed=seed,
        emulated=emulated,
    )


QUIET = {"bits": 24, "noise_figure_db": -1000.0}  # a receiver that adds nothing
