"""The private conversation between the world's process and the processes that hold its radios and stages.

One UNIX stream socket per device and purpose; a message is two lengths, a msgpack header and the samples as they lie in memory. That the
operating system closes a socket when its process dies is how a transmission ends with the node that made it.
"""

from __future__ import annotations

import socket
import struct
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from hil import device
from hil.clock import Instant

_LENGTHS = struct.Struct("<IQ")
MOST_HEADER = 1 << 16
MOST_SAMPLES = 1 << 28  # bytes


class Open(msgspec.Struct, frozen=True, tag="open"):
    """The first word of a connection. control: for mute, halt and the version, which must not wait behind a capture or a move."""

    kind: str  # radio | stage
    name: str
    control: bool


class Configure(msgspec.Struct, frozen=True, tag="configure"):
    setting: device.Setting


class Load(msgspec.Struct, frozen=True, tag="load"):
    version: int
    shape: tuple[int, ...]


class Apply(msgspec.Struct, frozen=True, tag="apply"):
    version: int


class Capture(msgspec.Struct, frozen=True, tag="capture"):
    samples: int
    timeout_s: float


class Supports(msgspec.Struct, frozen=True, tag="supports"):
    what: str


class Mute(msgspec.Struct, frozen=True, tag="mute"):
    pass


class Move(msgspec.Struct, frozen=True, tag="move"):
    move: device.Move
    timeout_s: float


class Home(msgspec.Struct, frozen=True, tag="home"):
    timeout_s: float


class Where(msgspec.Struct, frozen=True, tag="where"):
    pass


class Halt(msgspec.Struct, frozen=True, tag="halt"):
    pass


class Survey(msgspec.Struct, frozen=True, tag="survey"):
    """Where a target is, as a survey of the room would find it; the first and only kind of word of its connection."""

    at: Instant | None  # on the world's clock; None: now
    target: str = "target"


class Surveyed(msgspec.Struct, frozen=True, tag="surveyed"):
    target: tuple[float, float, float] | None


class Opened(msgspec.Struct, frozen=True, tag="opened"):
    capability: device.Capability | None
    setting: device.Setting | None
    axes: dict[str, tuple[float, float]]


class Done(msgspec.Struct, frozen=True, tag="done"):
    """version: on the air now. answer: of `supports`."""

    version: int | None = None
    answer: bool = False


class Configured(msgspec.Struct, frozen=True, tag="configured"):
    setting: device.Setting


class Captured(msgspec.Struct, frozen=True, tag="captured"):
    """A capture without samples; they follow as int16 codes (sample, channel, iq), or as complex64 when `codes` is false."""

    shape: tuple[int, int]
    codes: bool
    sample_rate_hz: float
    carrier_hz: float
    gain_db: tuple[float, ...]
    first_sample: int | None
    version: int | None
    loss: device.Loss
    clock: Instant | None
    full_scale: int
    clipped: float


class Positioned(msgspec.Struct, frozen=True, tag="positioned"):
    position: device.Position


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    id: str
    what: str
    where: str
    found: str
    allowed: str
    fix: str
    note: str


class Request(msgspec.Struct, frozen=True):
    body: Open | Survey | Configure | Load | Apply | Capture | Supports | Mute | Move | Home | Where | Halt


class Reply(msgspec.Struct, frozen=True):
    """at: the world's clock when this was sent."""

    body: Opened | Surveyed | Done | Configured | Captured | Positioned | Failed
    at: Instant


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise NotImplementedError(f"cannot be sent: {type(value).__name__}")


_encoder = msgspec.msgpack.Encoder(enc_hook=_plain)
_request = msgspec.msgpack.Decoder(Request)
_reply = msgspec.msgpack.Decoder(Reply)


def _exactly(channel: socket.socket, count: int) -> bytearray:
    """Receive `count` bytes; ConnectionError when the other side ends before, TimeoutError by the socket's own timeout."""
    buffer = bytearray(count)
    view, have = memoryview(buffer), 0
    while have < count:
        got = channel.recv_into(view[have:])
        if got == 0:
            raise ConnectionError("the other side has gone")
        have += got
    return buffer


def send(channel: socket.socket, message: Request | Reply, samples: NDArray[Any] | None = None) -> None:
    header = _encoder.encode(message)
    payload = memoryview(b"") if samples is None or not samples.size else np.ascontiguousarray(samples).data.cast("B")
    channel.sendall(_LENGTHS.pack(len(header), payload.nbytes) + header)
    if payload.nbytes:
        channel.sendall(payload)


def _receive(channel: socket.socket) -> tuple[bytearray, bytearray]:
    header, payload = _LENGTHS.unpack(bytes(_exactly(channel, _LENGTHS.size)))
    if header > MOST_HEADER or payload > MOST_SAMPLES:
        raise ConnectionError(f"not a message: {header} + {payload} bytes")
    return _exactly(channel, header), _exactly(channel, payload)


def receive_request(channel: socket.socket) -> tuple[Any, bytearray]:
    header, payload = _receive(channel)
    try:
        return _request.decode(header).body, payload
    except msgspec.DecodeError as error:
        raise ConnectionError(str(error)) from error


def receive_reply(channel: socket.socket) -> tuple[Reply, bytearray]:
    header, payload = _receive(channel)
    try:
        return _reply.decode(header), payload
    except msgspec.DecodeError as error:
        raise ConnectionError(str(error)) from error


def pack(capture: device.Capture) -> tuple[NDArray[Any], bool]:
    """A capture's codes (sample, channel, iq) int16 where its samples are exactly codes / full_scale (half the bytes), else the samples as
    they are; and which.
    """
    codes = device.interleaved(capture.samples, capture.full_scale) if capture.codes is None else capture.codes.values
    return (np.ascontiguousarray(capture.samples, dtype="<c8"), False) if codes is None else (codes.astype("<i2", copy=False), True)


def unpack(payload: bytearray, shape: tuple[int, int], codes: bool, full_scale: int) -> tuple[NDArray[np.complex64], device.Codes | None]:
    """Samples (channel, sample), and the codes where codes came."""
    if not codes:
        return np.frombuffer(payload, dtype="<c8").reshape(shape), None
    made = device.Codes.of(np.frombuffer(payload, dtype="<i2").reshape(shape[1], shape[0], 2), full_scale)
    return made.samples, made
