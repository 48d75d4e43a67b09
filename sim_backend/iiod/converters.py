"""The converter devices of AD936x boards: `cf-ad9361-lpc`, `cf-ad9361-dds-core-lpc` and the second chip's on an FMComms5."""

from __future__ import annotations

from collections.abc import Sequence

from sim_backend.iiod.chip import Chip
from sim_backend.iiod.context import Device, Scan
from sim_backend.iiod.dds import Dds
from sim_backend.iiod.frontend import RECEIVE, TRANSMIT, FrontEnd
from sim_backend.iiod.registers import OVERFLOW, UNDERFLOW, registers, sticky
from sim_backend.iiod.values import EINVAL, Refused, Value, constant, held, integer, ratio, whole

RECEIVED, SENT = "le:S12/16>>0", "le:S16/16>>0"
VERSION = {0x80000000: 0x000A0062}  # of the core
FPGA = 8  # decimation and interpolation of a Pluto's FPGA


def rate_values(chip: Chip, side: str, divides: bool) -> dict[str, Value]:
    """`sampling_frequency`; where the FPGA can divide by 8, two of them are available."""

    def available() -> str:
        return f"{chip.rate} {chip.rate // FPGA}" if divides else str(chip.rate)

    def set_rate(text: str) -> None:
        asked = integer(text)
        for divisor in (1, FPGA) if divides else (1,):
            if asked == chip.rate // divisor:
                chip.divided[side] = divisor
                chip.apply_rate()
                return
        if divides:
            raise Refused(EINVAL)
        chip.set_rate(text)

    return {"sampling_frequency": Value(lambda: str(chip.rate // chip.divided[side]), set_rate), "sampling_frequency_available": Value(available)}


def buffer_values() -> dict[str, Value]:
    return {"data_available": constant("0"), "length_align_bytes": constant("8"), "watermark": held("2048", whole(1, 1 << 30))}


def receiver(id: str, name: str, front: FrontEnd, chip: Chip, channels: int, *, divides: bool = False, buffered: bool = True) -> Device:
    """channels: complex ones. buffered: whether this device has the DMA."""
    device = Device(id, name)
    shared = rate_values(chip, RECEIVE, divides)
    for index in range(2 * channels):
        device.channel(
            f"voltage{index}", {"calibbias": held("0", whole(-32768, 32767)), **_calibration()}, shared=shared,
            scan=Scan(index, RECEIVED) if buffered else None,
        )  # fmt: skip
    live = sticky(OVERFLOW, lambda: front.inputs.overflowed, front.inputs.clear) if buffered else {}
    device.debug = {"direct_reg_access": registers(VERSION, live), "pseudorandom_err_check": constant("CH0 : PN9 : Out of Sync : PN Error\n")}
    if buffered:
        device.buffer, device.stream = buffer_values(), front.inputs
    return device


def transmitter(
    id: str, name: str, front: FrontEnd, chip: Chip, channels: int, dds: Dds, tones: Sequence[int], *, divides: bool = False,
    buffered: bool = True,
) -> Device:  # fmt: skip
    """channels: complex ones; tones: those of them whose generators this core has."""
    device = Device(id, name)
    shared = rate_values(chip, TRANSMIT, divides)
    for index in range(2 * channels):
        device.channel(f"voltage{index}", _calibration(), output=True, shared=shared, scan=Scan(index, SENT) if buffered else None)
    dds.channels(device, tones, {"sampling_frequency": shared["sampling_frequency"]})
    live = sticky(UNDERFLOW, lambda: front.outputs.underflowed, front.outputs.clear) if buffered else {}
    device.debug = {"direct_reg_access": registers(VERSION, live)}
    if buffered:
        device.buffer, device.stream = buffer_values(), front.outputs
    return device


def _calibration() -> dict[str, Value]:
    return {"calibscale": held("1.000000", ratio(-2.0, 2.0)), "calibphase": held("0.000000", ratio(-2.0, 2.0))}
