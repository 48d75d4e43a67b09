"""Boards as contexts: Pluto, AD9361 (two channels), FMComms5 and AD9081 (any number of channels)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sim_backend.iiod import mxfe, phy
from sim_backend.iiod.chip import AD9361, AD9363, FIRST_ATTENUATION_DB, FIRST_GAIN_DB, FIRST_LO, FIRST_RATE, Chip, Part
from sim_backend.iiod.context import Context, Device
from sim_backend.iiod.converters import receiver, transmitter
from sim_backend.iiod.dds import Dds
from sim_backend.iiod.frontend import RECEIVE, TRANSMIT, FrontEnd
from sim_backend.iiod.listening import Ear
from sim_backend.iiod.sending import Mouth
from sim_backend.iiod.values import constant
from sim_backend.world import World

KERNEL = "5.10.0-98248-g1bbe32fa5182"
BITS = 12


class Board:
    """A context and the front end behind it."""

    def __init__(self, context: Context, front: FrontEnd) -> None:
        self.context, self.front = context, front


def board(world: World, radio: Mapping[str, Any], fronts: list[FrontEnd]) -> Board:
    """radio: as `world.build` takes it, and perhaps `rate_hz` for a part whose rate is fixed. ValueError for a part nobody emulates."""
    make = BOARDS.get(radio.get("part", ""))
    if make is None:
        raise ValueError(f"radio {radio['name']}: part {radio.get('part')!r}; emulated are {', '.join(BOARDS)}")
    return make(world, radio, fronts)


def _front(world: World, name: str, fronts: list[FrontEnd]) -> FrontEnd:
    capability = world.radio(name).capability
    ears = [Ear(FIRST_LO[RECEIVE], 0.0, FIRST_GAIN_DB, "slow")] * capability.receive_channels
    mouths = [Mouth(FIRST_LO[TRANSMIT], 0.0, FIRST_ATTENUATION_DB)] * capability.transmit_channels
    return FrontEnd(world, name, (BITS, BITS), ears, mouths, FIRST_RATE, fronts)


def _attributes(radio: Mapping[str, Any], hardware: str, part: Part, firmware: str) -> dict[str, str]:
    return {
        "hw_model": hardware,
        "hw_model_variant": "0",
        "hw_serial": str(radio.get("serial") or radio["name"]),
        "fw_version": firmware,
        "ad9361-phy,xo_correction": "40000000",
        "ad9361-phy,model": part.model,
        "local,kernel": KERNEL,
    }


def pluto(world: World, radio: Mapping[str, Any], fronts: list[FrontEnd]) -> Board:
    front = _front(world, radio["name"], fronts)
    chip, dds = Chip(front, AD9363, range(1), range(1)), Dds(front, BITS)
    devices = [
        _supply("iio:device0"),
        phy.device(chip, "iio:device1", "ad9361-phy"),
        _monitor("iio:device2"),
        transmitter("iio:device3", "cf-ad9361-dds-core-lpc", front, chip, 1, dds, range(1), divides=True),
        receiver("iio:device4", "cf-ad9361-lpc", front, chip, 1, divides=True),
    ]
    described = f"Linux (none) {KERNEL} #2 SMP PREEMPT armv7l"
    return Board(Context(described, _attributes(radio, "Analog Devices PlutoSDR Rev.C (Z7010-AD9363A)", AD9363, "v0.38"), devices), front)


def ad9361(world: World, radio: Mapping[str, Any], fronts: list[FrontEnd]) -> Board:
    if (channels := world.radio(radio["name"]).capability.receive_channels) != 2:
        raise ValueError(f"radio {radio['name']}: {channels} channels; an AD9361 behind its network interface has 2")
    front = _front(world, radio["name"], fronts)
    chip, dds = Chip(front, AD9361, range(2), range(2)), Dds(front, BITS)
    devices = [
        phy.device(chip, "iio:device0", "ad9361-phy"),
        _monitor("iio:device1"),
        transmitter("iio:device2", "cf-ad9361-dds-core-lpc", front, chip, 2, dds, range(2)),
        receiver("iio:device3", "cf-ad9361-lpc", front, chip, 2),
    ]
    described = f"Linux analog {KERNEL} #2 SMP PREEMPT armv7l"
    return Board(Context(described, _attributes(radio, "Analog Devices AD-FMCOMMS2-EBZ (AD9361)", AD9361, "2021_r2"), devices), front)


def fmcomms5(world: World, radio: Mapping[str, Any], fronts: list[FrontEnd]) -> Board:
    front = _front(world, radio["name"], fronts)
    chips = [Chip(front, AD9361, range(2 * n, 2 * n + 2), range(2 * n, 2 * n + 2), "-B" if n else "") for n in range(2)]
    dds = Dds(front, BITS)
    devices = [
        phy.device(chips[0], "iio:device0", "ad9361-phy"),
        phy.device(chips[1], "iio:device1", "ad9361-phy-B"),
        _monitor("iio:device2"),
        transmitter("iio:device3", "cf-ad9361-dds-core-lpc", front, chips[0], 4, dds, range(2)),
        transmitter("iio:device4", "cf-ad9361-dds-core-B", front, chips[1], 2, dds, range(2, 4), buffered=False),
        receiver("iio:device5", "cf-ad9361-A", front, chips[0], 4),
        receiver("iio:device6", "cf-ad9361-B", front, chips[1], 2, buffered=False),
    ]
    described = f"Linux analog {KERNEL} #2 SMP PREEMPT armv7l"
    return Board(Context(described, _attributes(radio, "Analog Devices AD-FMCOMMS5-EBZ (AD9361 x 2)", AD9361, "2021_r2"), devices), front)


def ad9081(world: World, radio: Mapping[str, Any], fronts: list[FrontEnd]) -> Board:
    front, devices = mxfe.build(world, radio, fronts)
    attributes = {
        "hw_model": "Analog Devices AD9081-FMCA-EBZ", "hw_serial": str(radio.get("serial") or radio["name"]), "fw_version": "2022_r2",
        "local,kernel": KERNEL,
    }  # fmt: skip
    return Board(Context(f"Linux analog {KERNEL} #2 SMP aarch64", attributes, devices), front)


BOARDS: Mapping[str, Callable[[World, Mapping[str, Any], list[FrontEnd]], Board]] = {
    "pluto": pluto, "ad9361": ad9361, "fmcomms5": fmcomms5, "ad9081": ad9081,
}  # fmt: skip


def _supply(id: str) -> Device:
    """A Pluto's monitor of its supply."""
    device = Device(id, "adm1177-iio")
    for channel, raw, scale in (("current0", 753, "0.516601562"), ("voltage0", 782, "6.433105468")):
        device.channel(channel, {"raw": constant(str(raw)), "scale": constant(scale)})
    return device


def _monitor(id: str) -> Device:
    """The FPGA's monitor of itself."""
    device = Device(id, "xadc")
    values: dict[str, tuple[str, str]] = {"voltage0": ("1375", "0.732421875"), "voltage1": ("2458", "0.732421875")}
    for channel, (raw, scale) in values.items():
        device.channel(channel, {"raw": constant(raw), "scale": constant(scale)}, name="vccint" if channel == "voltage0" else "vccaux")
    device.channel("temp0", {"raw": constant("2620"), "scale": constant("123.040771484"), "offset": constant("-2219")})
    device.attributes = {"sampling_frequency": constant("961538")}
    return device

