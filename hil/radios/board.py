"""A board behind an address: its context and pyadi object, who it is, its attributes, and how it is let go without a crash.

pylibiio leaves destroying to the garbage collector, which may take a context before its buffers; the buffers' destructors then read freed
memory. A traceback that is still held is enough. So buffers and contexts are destroyed here by name, in order, whoever still refers to them.
"""

from __future__ import annotations

import ctypes
import errno
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hil.device import DeviceError
from hil.errors import HilError
from hil.radios.address import require_listener
from hil.radios.library import load

CLASSES = {"pluto": "Pluto", "ad9361": "ad9361", "fmcomms5": "FMComms5", "ad9081": "ad9081"}
GONE = (errno.EPIPE, errno.ECONNRESET, errno.ENODEV, errno.ENOTCONN, errno.EBADF, errno.EIO, errno.ECONNREFUSED, errno.ECONNABORTED)
LATE = (errno.ETIMEDOUT, errno.EAGAIN, errno.EBUSY)
LOOK = "look at its power, cable and network, then `hil doctor BENCH`"


class Board:
    """One context on one radio. timeout_s: longest wait for one answer, as it was last set."""

    def __init__(self, name: str, uri: str, part: str, serial: str = "", timeout_s: float = 5.0) -> None:
        self.name, self.uri, self.timeout_s = name, uri, timeout_s
        self.where = f"{name} {uri}"
        library = load()
        require_listener(name, uri, timeout_s)
        self._iio = library.iio
        self.context = self._opened()
        try:
            self.set_timeout(timeout_s)
            self.attributes: dict[str, str] = dict(self.context.attrs)
            with self.speaking("list its devices"):
                self.part = part_of(self.context)
            self.serial = self.attributes.get("hw_serial", "").strip()
            self.firmware = self.attributes.get("fw_version", "").strip().lstrip("v")
            self._require(part, serial)
            kind = getattr(library.adi, CLASSES[part])
            self.sdr = kind.__new__(kind)  # given its context beforehand, it opens none of its own; not every class takes one
            self.sdr._ctx, self.sdr.uri = self.context, uri
            with self.speaking("list its devices"):
                self.sdr.__init__(uri)
        except BaseException:
            self.close()
            raise

    def _opened(self) -> Any:
        try:
            return self._iio.Context(self.uri)
        except (OSError, ValueError) as error:  # what is not ASCII is a ValueError
            raise DeviceError(
                "no-context", "what answers here does not speak as a radio's IIO daemon does", where=self.where,
                found=f"{getattr(error, 'strerror', '') or error}"[:80], fix="is the address right? `iio_info -u URI` shows what is there",
            ) from error  # fmt: skip

    def _require(self, part: str, serial: str) -> None:
        if serial and self.serial != serial:
            raise DeviceError(
                "wrong-device", "another radio answers at this address", where=self.where, found=f"serial {self.serial or 'none'}",
                allowed=f"serial {serial} (testbed.toml)", fix="swap the cables, or give the `uri` where the wanted one is",
            )  # fmt: skip
        if self.part != part and not (part == "ad9361" and both_pairs(self.context)):
            raise DeviceError(
                "wrong-part", "the radio at this address is of another part", where=self.where,
                found=f"{self.part or 'none known here'} ({self.attributes.get('hw_model', 'no model stated')})", allowed=part,
                fix="a profile for that part, or the `uri` of the wanted radio",
            )  # fmt: skip

    # -- attributes --------------------------------------------------------------------------------------------------------------------

    def device(self, name: str) -> Any:
        """A device of the context; DeviceError `no-such-attribute` for none."""
        found = self.context.find_device(name)
        if found is None:
            raise self._missing(name)
        return found

    def has(self, device: Any, name: str, channel: str = "", output: bool = False) -> bool:
        with self.speaking(f"show {name}"):
            holder = device.find_channel(channel, output) if channel else device
            return holder is not None and name in holder.attrs

    def text(self, device: Any, name: str, channel: str = "", output: bool = False) -> str:
        """An attribute as it is read."""
        with self.speaking(f"read {name}"):
            return str(self._attribute(device, name, channel, output).value)

    def number(self, device: Any, name: str, channel: str = "", output: bool = False) -> float:
        """The first number in an attribute, finite: gains carry a unit."""
        text = self.text(device, name, channel, output)
        found = re.search(r"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?", text)
        if found is None or not math.isfinite(float(found[0])):
            raise DeviceError("bad-answer", f"`{name}` is not a number", where=self.where, found=text[:60], fix=LOOK)
        return float(found[0])

    def write(self, device: Any, name: str, value: str | int | float, channel: str = "", output: bool = False) -> None:
        """Set an attribute; DeviceError `refused` when the device does not take the value."""
        text = f"{value:.6f}" if isinstance(value, float) else str(value)
        with self.speaking(f"set {name}", asked=text[:60]):
            self._attribute(device, name, channel, output).value = text

    def register(self, device: Any, address: int) -> int:
        with self.speaking(f"read register {address:#x}"):
            return int(device.reg_read(address))

    def write_register(self, device: Any, address: int, value: int) -> None:
        with self.speaking(f"write register {address:#x}"):
            device.reg_write(address, value)

    def _attribute(self, device: Any, name: str, channel: str, output: bool) -> Any:
        holder = device.find_channel(channel, output) if channel else device
        if holder is None or name not in holder.attrs:
            raise self._missing(f"{device.name} {channel} {name}")
        return holder.attrs[name]

    def _missing(self, what: str) -> DeviceError:
        fix = "firmware of another version? `hil doctor BENCH`"
        return DeviceError("no-such-attribute", f"the radio has no `{what}`", where=self.where, found=f"firmware {self.firmware}", fix=fix)

    @contextmanager
    def speaking(self, what: str, asked: str = "") -> Iterator[None]:
        """Errors of libiio in this block are DeviceErrors that say what was being done."""
        try:
            yield
        except OSError as error:
            raise self.failure(error, what, asked) from error
        except HilError:
            raise
        except Exception as error:  # whatever pyadi made of an answer; some of its own are plain Exceptions
            raise DeviceError(
                "bad-answer", f"gave an answer that makes no sense when asked to {what}", where=self.where, found=str(error)[:80], fix=LOOK
            ) from error

    def failure(self, error: OSError, what: str, asked: str = "") -> DeviceError:
        """What an error number of libiio means to somebody at the bench."""
        found = error.strerror or str(error)
        if error.errno in LATE:
            return DeviceError("no-answer", f"did not {what} in time", where=self.where, found=found, allowed=f"{self.timeout_s:g} s", fix=LOOK)
        if error.errno in GONE:
            return DeviceError("unplugged", f"went away when asked to {what}", where=self.where, found=found, note="transmitter silent", fix=LOOK)
        fix = "`hil profile check BENCH` compares the profile with the radio"
        return DeviceError("refused", f"refuses to {what}", where=self.where, found=f"{asked}: {found}" if asked else found, fix=fix)

    # -- buffers, and the end --------------------------------------------------------------------------------------------------------------

    def set_timeout(self, seconds: float) -> None:
        """Longest wait for one answer from here on, buffers opened later included. The daemon is told half of it."""
        with self.speaking("set its time-out"):
            self.context.set_timeout(max(100, round(seconds * 1e3)))
        self.timeout_s = seconds

    def memory(self, buffer: Any) -> memoryview:
        """The bytes of a receive buffer where libiio keeps them; gone with the buffer."""
        begin, end = self._iio._buffer_start(buffer._buffer), self._iio._buffer_end(buffer._buffer)
        return memoryview((ctypes.c_char * (end - begin)).from_address(begin)).cast("B")

    def destroy(self, buffer: Any) -> None:
        """Destroy a buffer now, whoever still refers to it."""
        pointer, buffer._buffer = buffer._buffer, None
        if pointer is not None:
            self._iio._buffer_destroy(pointer)

    def close(self) -> None:
        """Destroy the context; its buffers must be gone. Twice is fine."""
        pointer, self.context._context = self.context._context, None
        if pointer is not None:
            self._iio._destroy(pointer)


def require_agreement(board: Board, carriers_hz: list[float], slack_hz: float, rates_hz: list[float]) -> None:
    """DeviceError `did-not-take` when the channels of a radio, of all its chips and both directions, are not tuned alike."""
    for what, values, slack in (("carrier", carriers_hz, slack_hz), ("sampling rate", rates_hz, 0.0)):
        if max(values) - min(values) > slack:
            raise DeviceError(
                "did-not-take", f"the {what}s of this radio's chips and directions differ", where=board.where,
                found=", ".join(f"{value:.0f} Hz" for value in values), note="transmitter silent",
                fix="another program holds the radio? see `hil doctor BENCH`",
            )  # fmt: skip


def part_of(context: Any) -> str:
    """Which part a context is of, by the devices in it; "" for none of ours."""
    names = {device.name for device in context.devices}
    if "axi-ad9081-rx-hpc" in names:
        return "ad9081"
    if not {"ad9361-phy", "cf-ad9361-dds-core-lpc"} <= names:
        return ""
    if {"ad9361-phy-B", "cf-ad9361-A"} <= names:
        return "fmcomms5"
    if "cf-ad9361-lpc" not in names:
        return ""
    if "pluto" in context.attrs.get("hw_model", "").lower():
        return "pluto"  # revision C has the second pair on its pads: its model, not its channels, tells
    return "ad9361"


def both_pairs(context: Any) -> bool:
    """Whether a Pluto of revision C or later has its second pair of channels switched on: it is then as good as an AD9361 board."""
    core = next((device for device in context.devices if device.name == "cf-ad9361-lpc"), None)
    return part_of(context) == "pluto" and core is not None and core.find_channel("voltage3") is not None
