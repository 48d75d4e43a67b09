"""Addresses a link may use and the socket options that every end of it sets."""

from __future__ import annotations

import re

import zmq

from hil.errors import InputError

MOST_FRAME = 1 << 28  # bytes, as hil.link.control
_LOOPBACK = re.compile(r"ipc://(?!\*)\S+|tcp://(127(\.\d{1,3}){3}|localhost|\[::1\]):(\d{1,5})")


def loopback(address: str) -> str:
    """The address, when it stays on this machine; InputError `not-loopback` otherwise."""
    if not _LOOPBACK.fullmatch(address):
        raise InputError(
            "not-loopback", "a node answers on this machine only until it has keys", found=address,
            allowed="tcp://127.0.0.1:PORT, or ipc:// and a path",
            fix="run the controller on the node's machine; keys for other machines come later",
        )  # fmt: skip
    return address


def prepared(socket: zmq.Socket[bytes], *, high_water: int = 16) -> zmq.Socket[bytes]:
    """No waiting at exit, bounded queues and frames, quick reconnects, dead peers noticed."""
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.SNDHWM, high_water)
    socket.setsockopt(zmq.RCVHWM, high_water)
    socket.setsockopt(zmq.MAXMSGSIZE, MOST_FRAME)
    socket.setsockopt(zmq.HEARTBEAT_IVL, 500)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 5000)
    socket.setsockopt(zmq.RECONNECT_IVL, 20)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 200)
    return socket
