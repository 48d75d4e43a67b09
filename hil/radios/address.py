"""Addresses of radios as libiio writes them, and a plain TCP connection first: libiio itself says "no device found" whatever went wrong."""

from __future__ import annotations

import socket

from hil.device import DeviceError

PORT = 30431
SCHEMES = ("ip", "usb", "serial", "local")


def host_and_port(uri: str) -> tuple[str, int] | None:
    """Where a network address leads: `ip:HOST`, `ip:HOST:PORT`, `ip:[V6]:PORT`, `ip:V6`; None for another kind. ValueError when it is none."""
    scheme, _, rest = uri.partition(":")
    if scheme not in SCHEMES or (scheme in ("ip", "usb") and not rest):
        raise ValueError(uri)
    if scheme != "ip":
        return None
    if rest.startswith("["):
        host, bracket, port = rest[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            raise ValueError(uri)
        port = port[1:]
    elif rest.count(":") > 1:
        host, port = rest, ""
    else:
        host, _, port = rest.partition(":")
    if port and not (port.isdigit() and 0 < int(port) < 1 << 16):
        raise ValueError(uri)
    return host, int(port) if port else PORT


def require_listener(name: str, uri: str, timeout_s: float) -> None:
    """DeviceError `nobody-listens` unless something accepts a connection there; nothing for what is not on the network."""
    try:
        place = host_and_port(uri)
    except ValueError:
        raise DeviceError(
            "bad-address", "not the address of a radio", where=name, found=f'"{uri}"', allowed="ip:HOST, ip:HOST:PORT, usb:BUS.PORT.INTERFACE"
        ) from None
    if place is None:
        return
    try:
        socket.create_connection(place, timeout_s).close()
    except OSError as error:
        fix = "is it powered and on this network, and is the address right? `hil doctor BENCH` looks; emulated: `hil emulate BENCH`"
        raise DeviceError(
            "nobody-listens", "nobody answers at this address", where=f"{name} {uri}", found=f"{error.strerror or error}",
            allowed=f"a radio's IIO daemon within {timeout_s:g} s", fix=fix,
        ) from error  # fmt: skip
