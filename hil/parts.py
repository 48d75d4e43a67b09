"""Radio parts: what their silicon can do, before any profile narrows it. Facts, not settings; sources stand beside them."""

from __future__ import annotations

from hil.device import Capability

# Both are built on the AD9361 family: 12 bit, receive gain -3 ... 71 dB in 1 dB steps (full table below 4 GHz), transmit attenuation
# 0 ... 89.75 dB in 0.25 dB steps, 61.44 MS/s, 2.084 MS/s without a decimating filter. Full scale: +7 dBm at the port at 0 dB attenuation,
# -10 dBm at 0 dB gain. Neither counts its samples nor reports lost ones; buffers are destroyed and recreated between two waveforms.
_AD9361 = {
    "receive_gain_db": (-3.0, 71.0),
    "receive_gain_step_db": 1.0,
    "attenuation_db": (0.0, 89.75),
    "attenuation_step_db": 0.25,
    "bits": 12,
    "transmit_full_scale_dbm": 7.0,
    "receive_full_scale_dbm": -10.0,
    "start": "arbitrary",
    "reports_first_sample": False,
    "reports_loss": False,
    "switch_gap_s": 2e-3,
}

_PARTS = {
    "pluto": {"transmit_channels": 1, "receive_channels": 1, "carrier_hz": (325e6, 3.8e9), "sample_rate_hz": (2.084e6, 61.44e6)},
    "fmcomms5": {"transmit_channels": 4, "receive_channels": 4, "carrier_hz": (70e6, 6.0e9), "sample_rate_hz": (2.084e6, 61.44e6)},
}

PARTS = tuple(_PARTS)


def capability(part: str, serial: str, firmware: str = "") -> Capability:
    """What a radio of that part can do; KeyError for a part not listed in `PARTS`."""
    return Capability(part=part, serial=serial, firmware=firmware, **{**_AD9361, **_PARTS[part]})  # type: ignore[arg-type]
