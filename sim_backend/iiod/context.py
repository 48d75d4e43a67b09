"""A context: devices, channels and attributes as a client sees them, and the XML that tells it so.

The file is the identity of a channel's attribute: attributes that share a file name share the value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from xml.sax.saxutils import quoteattr

from sim_backend.iiod.values import ENODEV, ENOENT, ENXIO, Refused, Value

DTD = (
    "<!DOCTYPE context ["
    "<!ELEMENT context (device | context-attribute)*><!ELEMENT context-attribute EMPTY>"
    "<!ELEMENT device (channel | attribute | debug-attribute | buffer-attribute)*>"
    "<!ELEMENT channel (scan-element?, attribute*)><!ELEMENT attribute EMPTY><!ELEMENT scan-element EMPTY>"
    "<!ELEMENT debug-attribute EMPTY><!ELEMENT buffer-attribute EMPTY>"
    "<!ATTLIST context name CDATA #REQUIRED version-major CDATA #IMPLIED version-minor CDATA #IMPLIED version-git CDATA #IMPLIED "
    "description CDATA #IMPLIED>"
    "<!ATTLIST context-attribute name CDATA #REQUIRED value CDATA #REQUIRED>"
    "<!ATTLIST device id CDATA #REQUIRED name CDATA #IMPLIED label CDATA #IMPLIED>"
    "<!ATTLIST channel id CDATA #REQUIRED type (input|output) #REQUIRED name CDATA #IMPLIED>"
    "<!ATTLIST scan-element index CDATA #REQUIRED format CDATA #REQUIRED scale CDATA #IMPLIED>"
    "<!ATTLIST attribute name CDATA #REQUIRED filename CDATA #IMPLIED>"
    "<!ATTLIST debug-attribute name CDATA #REQUIRED value CDATA #IMPLIED>"
    "<!ATTLIST buffer-attribute name CDATA #REQUIRED value CDATA #IMPLIED>]>"
)


@dataclass(frozen=True, slots=True)
class Scan:
    """A channel's place in a buffer."""

    index: int
    format: str


class Opened(Protocol):
    """A buffer between OPEN and CLOSE. wait: whether an instant came in time."""

    def read(self, wait: Any) -> memoryview:
        """The next whole block."""

    def write(self, data: bytes | bytearray | memoryview, wait: Any) -> None:
        """Queue a block, and wait for room for another."""

    @property
    def block_bytes(self) -> int: ...

    def close(self) -> None: ...


class Stream(Protocol):
    """What fills or empties the buffers of a device."""

    output: bool

    def open(self, scans: list[int], samples: int, cyclic: bool) -> Opened: ...

    def set_count(self, count: int) -> None:
        """Kernel buffers of the next buffer."""


@dataclass(eq=False)
class Channel:
    """id: `voltage0`, `altvoltage1`, ...; name: beside the id, `RX_LO`. attributes: name -> file."""

    id: str
    output: bool = False
    name: str | None = None
    scan: Scan | None = None
    attributes: dict[str, str] = field(default_factory=dict)

    def file(self, attribute: str, shared: bool) -> str:
        """The name of the file behind an attribute, as the kernel forms it."""
        side = "out" if self.output else "in"
        if shared:
            return f"{side}_{re.sub('[0-9].*', '', self.id)}_{attribute}"
        return "_".join([side, self.id, *([self.name] if self.name else []), attribute])


@dataclass(eq=False)
class Device:
    """id: `iio:device0`. files: the values of its channels' attributes, by file name."""

    id: str
    name: str
    label: str | None = None
    channels: list[Channel] = field(default_factory=list)
    files: dict[str, Value] = field(default_factory=dict)
    attributes: dict[str, Value] = field(default_factory=dict)
    debug: dict[str, Value] = field(default_factory=dict)
    buffer: dict[str, Value] = field(default_factory=dict)
    stream: Stream | None = None

    def channel(
        self, id: str, values: Mapping[str, Value], *, output: bool = False, name: str | None = None, scan: Scan | None = None,
        shared: Mapping[str, Value] | None = None,
    ) -> Channel:  # fmt: skip
        """Add a channel. shared: attributes that all channels of its kind have in one file."""
        channel = Channel(id, output, name, scan)
        for found, one_file in ((values, False), (shared or {}, True)):
            for attribute, value in found.items():
                file = channel.file(attribute, one_file)
                channel.attributes[attribute] = file
                self.files.setdefault(file, value)
        channel.attributes = dict(sorted(channel.attributes.items()))
        self.channels.append(channel)
        return channel

    @property
    def in_order(self) -> list[Channel]:
        """Channels as a mask counts them: scan elements by index, then the rest."""
        return sorted(self.channels, key=lambda channel: (channel.scan is None, channel.scan.index if channel.scan else 0))

    def find(self, id: str, output: bool) -> Channel:
        for channel in self.channels:
            if channel.output == output and id in (channel.id, channel.name):
                return channel
        raise Refused(ENXIO)

    def values(self, channel: Channel) -> dict[str, Value]:
        return {name: self.files[file] for name, file in channel.attributes.items()}

    def set_of(self, kind: str, output: bool = False, channel: str = "") -> dict[str, Value]:
        """Attributes by name. kind: device, channel, debug, buffer."""
        if kind == "channel":
            return self.values(self.find(channel, output))
        return {"device": self.attributes, "debug": self.debug, "buffer": self.buffer}[kind]


def pick(values: Mapping[str, Value], name: str) -> Value:
    if name not in values:
        raise Refused(ENOENT)
    return values[name]


@dataclass(eq=False)
class Context:
    """All that one address serves."""

    description: str
    attributes: dict[str, str]
    devices: list[Device]

    def device(self, key: str) -> Device:
        """By id, name or label."""
        for device in self.devices:
            if key in (device.id, device.name, device.label):
                return device
        raise Refused(ENODEV)

    def xml(self) -> bytes:
        lines = ['<?xml version="1.0" encoding="utf-8"?>', DTD, f'<context name="network" description={quoteattr(self.description)} >']
        lines += [f"<context-attribute name={quoteattr(k)} value={quoteattr(v)} />" for k, v in self.attributes.items()]
        for device in self.devices:
            label = f" label={quoteattr(device.label)}" if device.label else ""
            lines.append(f"<device id={quoteattr(device.id)} name={quoteattr(device.name)}{label} >")
            lines += [_channel(channel) for channel in device.channels]
            lines += [f"<attribute name={quoteattr(name)} />" for name in device.attributes]
            lines += [f"<debug-attribute name={quoteattr(name)} />" for name in device.debug]
            lines += [f"<buffer-attribute name={quoteattr(name)} />" for name in device.buffer]
            lines.append("</device>")
        return "".join([*lines, "</context>"]).encode()


def _channel(channel: Channel) -> str:
    name = f" name={quoteattr(channel.name)}" if channel.name else ""
    parts = [f'<channel id={quoteattr(channel.id)}{name} type="{"output" if channel.output else "input"}" >']
    if channel.scan is not None:
        parts.append(f'<scan-element index="{channel.scan.index}" format={quoteattr(channel.scan.format)} />')
    parts += [f"<attribute name={quoteattr(name)} filename={quoteattr(file)} />" for name, file in channel.attributes.items()]
    return "".join([*parts, "</channel>"])
