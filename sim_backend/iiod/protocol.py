"""The text protocol of IIO over a network: lines that clients send, taken apart, and the bytes of an answer."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from sim_backend.iiod.context import Context, Device
from sim_backend.iiod.values import EINVAL, Refused, Value

VERSION = "0.25.b6028fd"  # two dots, and at least seven characters behind the second
LONGEST_LINE = 1 << 12
LONGEST_VALUE = 1 << 20  # bytes of an attribute


@dataclass(frozen=True)
class Place:
    """Where a READ or WRITE goes: attributes of a device, of a channel, its debug or buffer ones. name: empty for all of them."""

    device: Device
    kind: str
    output: bool
    channel: str
    name: str

    @property
    def values(self) -> dict[str, Value]:
        return self.device.set_of(self.kind, self.output, self.channel)


def place(context: Context, words: list[str]) -> Place:
    """DEVICE [DEBUG | BUFFER | INPUT CHANNEL | OUTPUT CHANNEL] [ATTRIBUTE]."""
    if not words:
        raise Refused(EINVAL)
    device, rest = context.device(words[0]), words[1:]
    kind, output, channel = "device", False, ""
    if rest and rest[0] in ("INPUT", "OUTPUT"):
        if len(rest) < 2:
            raise Refused(EINVAL)
        kind, output, channel, rest = "channel", rest[0] == "OUTPUT", rest[1], rest[2:]
    elif rest and rest[0] in ("DEBUG", "BUFFER"):
        kind, rest = rest[0].lower(), rest[1:]
    if len(rest) > 1:
        raise Refused(EINVAL)
    return Place(device, kind, output, channel, rest[0] if rest else "")


def natural(word: str, most: int = 1 << 40) -> int:
    """A count that a client states."""
    if not (word.isascii() and word.isdigit() and len(word) < 20 and int(word) <= most):
        raise Refused(EINVAL)
    return int(word)


def scans(device: Device, mask: str) -> list[int]:
    """Scan indices, ascending, that a mask of hexadecimal words selects: most significant word first, a bit per channel in order."""
    channels = device.in_order
    if len(mask) != 8 * -(-len(channels) // 32):
        raise Refused(EINVAL)
    try:
        bits = int(mask, 16)
    except ValueError:
        raise Refused(EINVAL) from None
    chosen = [channel for i, channel in enumerate(channels) if bits >> i & 1]
    if not chosen or bits >> len(channels) or any(channel.scan is None for channel in chosen):
        raise Refused(EINVAL)
    return [channel.scan.index for channel in chosen if channel.scan is not None]


def text(value: Value) -> bytes:
    """A value as it is sent: with a NUL in place of the newline."""
    return value.get().encode() + b"\0"


def text_of_all(values: dict[str, Value]) -> bytes:
    """Every value of a set: big-endian length or negative error number, bytes, padding to four."""
    out = bytearray()
    for value in values.values():
        try:
            one = text(value)
        except Refused as refused:
            out += struct.pack(">i", -refused.number)
            continue
        out += struct.pack(">i", len(one)) + one + bytes(-len(one) % 4)
    return bytes(out)


def written(payload: bytes) -> str:
    """What a client wrote, up to its NUL."""
    return payload.split(b"\0", 1)[0].decode("latin-1").rstrip("\n")


def write_all(values: dict[str, Value], payload: bytes) -> int:
    """Set every value of a set from the form of `text_of_all`; the number of bytes taken."""
    at = 0
    for value in values.values():
        if at + 4 > len(payload):
            raise Refused(EINVAL)
        (size,) = struct.unpack_from(">i", payload, at)
        at += 4
        if size > 0:
            value.set(written(payload[at : at + size]))
            at += size + -size % 4
    return at
