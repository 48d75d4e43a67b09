"""Radio parts: what their silicon can do, before any profile narrows it. Facts, not settings; sources stand beside them."""

from __future__ import annotations

from hil.device import Capability

# Those of _PARTS are built on the AD9361 family: 12 bit, receive gain -3 ... 71 dB in 1 dB steps (full table below 4 GHz), transmit attenuation
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
    "ad9361": {"transmit_channels": 2, "receive_channels": 2, "carrier_hz": (70e6, 6.0e9), "sample_rate_hz": (2.084e6, 61.44e6)},
    "fmcomms5": {"transmit_channels": 4, "receive_channels": 4, "carrier_hz": (70e6, 6.0e9), "sample_rate_hz": (2.084e6, 61.44e6)},
}

# Converters at radio frequency, 16 bit in the words that travel: no analogue gain and no attenuator, so what a waveform's fraction of full
# scale means is fixed. Carriers are set by digital oscillators. 8 is how many channelisers one chip has each way; a build of its firmware
# may show fewer, boards of several chips more. Rates reach from 1.45 GS/s decimated by 144 to half the converters' 4 GS/s.
_AD9081 = {
    "receive_gain_db": (0.0, 0.0),
    "receive_gain_step_db": 1.0,
    "attenuation_db": (0.0, 0.0),
    "attenuation_step_db": 1.0,
    "bits": 16,
    "transmit_full_scale_dbm": 4.0,
    "receive_full_scale_dbm": 4.4,
    "start": "arbitrary",
    "reports_first_sample": False,
    "reports_loss": False,
    "switch_gap_s": 2e-3,
    "carrier_hz": (50e6, 6.0e9),
    "sample_rate_hz": (10.07e6, 2.0e9),
}
_AD9081_CHANNELS = 8

PARTS = (*_PARTS, "ad9081")


def capability(part: str, serial: str, firmware: str = "", channels: int | None = None) -> Capability:
    """What a radio of that part can do; KeyError for a part not listed in `PARTS`.

    channels: each way, for a part whose boards differ in it (ad9081, ad9361); None: as many as one chip has. Elsewhere it is not looked at.
    """
    if part == "ad9081":
        count = _AD9081_CHANNELS if channels is None else channels
        facts = {**_AD9081, "transmit_channels": count, "receive_channels": count}
    else:
        facts = {**_AD9361, **_PARTS[part]}
        if part == "ad9361" and channels is not None:  # several chips, synchronised
            facts |= {"transmit_channels": channels, "receive_channels": channels}
    return Capability(part=part, serial=serial, firmware=firmware, **facts)  # type: ignore[arg-type]
