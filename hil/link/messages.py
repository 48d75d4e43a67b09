"""What a controller asks of a node and what a node answers: typed, strict, versioned; arrays travel as raw frames beside the header.

Samples of a capture travel as the converter's integer codes (int16 pairs, in the order of the file they will be recorded in) whenever they
are codes, so that nothing is rounded on the way and nothing converted but for computing; waveforms as complex64.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from hil.clock import Instant
from hil.device import Capability, Codes, Loss, Position, Setting, interleaved
from hil.device import Capture as DeviceCapture
from hil.device import Move as StageMove
from hil.errors import LinkError
from hil.link import control
from hil.link.control import (
    MOST_FRAME,
    MOST_PARTS,
    MOST_TOTAL,
    Array,
    Bye,
    Clear,
    Count,
    Done,
    Failed,
    Halt,
    Hello,
    Lease,
    Message,
    Mute,
    Name,
    ReplyHead,
    RequestHead,
    Seconds,
    State,
    Status,
)  # fmt: skip

__all__ = [
    "Applied", "Apply", "Arrays", "Bye", "Capture", "Captured", "Clear", "Configure", "Configured", "Describe", "Described", "Done",
    "Failed",
    "Halt", "Hello", "Home", "Lease", "Message", "Move", "Mute", "Positioned", "Prepare", "Prepared", "Reply", "Request", "State", "Status",
    "Where", "decode_reply", "decode_request_body", "decode_request_head", "encode_reply", "encode_request", "pack_samples",
]  # fmt: skip

Arrays = Sequence[NDArray[Any]]


class Describe(Message, frozen=True):
    """Which devices there are and what they can do."""


class Configure(Message, frozen=True):
    """Apply a setting to one radio and read it back."""

    device: Name
    setting: Setting


class Prepare(Message, frozen=True):
    """Check and load one version at every radio named; a radio of the node that is not named is silent in that version.

    radios: name -> index of its array, (transmit channel, sample). power_dbm: name -> stated average power per channel.
    """

    version: Count
    radios: dict[Name, Count] = {}
    power_dbm: dict[Name, tuple[float, ...]] = {}


class Apply(Message, frozen=True):
    """Put a prepared version on the air."""

    version: Count


class Capture(Message, frozen=True):
    """The next `samples` of every receive channel of one radio."""

    device: Name
    samples: Annotated[int, Meta(ge=1, le=1 << 24)]
    timeout_s: Seconds
    purpose: Name = ""


class Move(Message, frozen=True):
    """Move one stage and wait until it has arrived."""

    stage: Name
    move: StageMove
    timeout_s: Seconds


class Where(Message, frozen=True):
    stage: Name


class Home(Message, frozen=True):
    stage: Name
    timeout_s: Seconds


class Described(Message, frozen=True):
    """A node and its devices. stages: name -> axis -> travel (least, most) in metres."""

    node: Name
    state: State
    lease_s: float | None = None
    radios: dict[Name, Capability] = {}
    settings: dict[Name, Setting | None] = {}
    stages: dict[Name, dict[Name, tuple[float, float]]] = {}


class Configured(Message, frozen=True):
    setting: Setting


class Prepared(Message, frozen=True):
    """power_dbm: radio -> average power per channel at the port, from the samples."""

    version: Count
    power_dbm: dict[Name, tuple[float, ...]] = {}


class Applied(Message, frozen=True):
    version: Count


class Captured(Message, frozen=True):
    """A `hil.device.Capture` without its samples, which are the reply's one array: codes (sample, channel, iq) int16, or, where they are
    not known to be codes, (channel, sample) complex64.
    """

    device: Name
    sample_rate_hz: float
    carrier_hz: float
    gain_db: tuple[float, ...] = ()
    first_sample: int | None = None
    version: int | None = None
    loss: Loss = Loss.UNKNOWN
    clock: Instant | None = None
    full_scale: Annotated[int, Meta(ge=1)] = 2048
    clipped: float = 0.0

    @classmethod
    def of(cls, capture: DeviceCapture) -> Captured:
        return cls(**{name: getattr(capture, name) for name in cls.__struct_fields__})

    def capture(self, array: NDArray[Any]) -> DeviceCapture:
        """The capture with the reply's array."""
        codes = Codes.of(array, self.full_scale) if array.dtype == np.int16 else None
        rest = {name: getattr(self, name) for name in self.__struct_fields__}
        return DeviceCapture(array if codes is None else codes.samples, codes=codes, **rest)


class Positioned(Message, frozen=True):
    position: Position


Request = (
    Hello | Describe | Configure | Prepare | Apply | Capture | Mute | Halt | Move | Where | Home | Lease | Clear | Status | Bye
)  # fmt: skip
Reply = Described | Configured | Prepared | Applied | Captured | Positioned | Done | State | Failed

_request_head = msgspec.msgpack.Decoder(RequestHead)
_reply_head = msgspec.msgpack.Decoder(ReplyHead)
_request_body = msgspec.msgpack.Decoder(Request)
_reply_body = msgspec.msgpack.Decoder(Reply)


def pack_samples(array: NDArray[Any], full_scale: int) -> NDArray[Any]:
    """What of a capture travels: codes (sample, channel, iq) int16 as they are, samples (channel, sample) complex64 as the codes that they
    are exactly, or as they are.
    """
    if array.dtype == np.int16:
        return array
    codes = interleaved(array, full_scale)
    return array if codes is None else codes


def _frames(arrays: Arrays) -> tuple[tuple[Array, ...], list[Any]]:
    heads, frames = [], []
    for array in arrays:
        kind: Literal["<i2", "<c8"] = "<i2" if array.dtype == np.int16 else "<c8"
        plain = np.ascontiguousarray(array, dtype=kind)
        heads.append(Array(kind, plain.shape))
        frames.append(plain.data.cast("B") if plain.size else b"")
    return tuple(heads), frames


def encode_request(body: Message, arrays: Arrays = (), *, session: str, id: int, deadline_s: float) -> list[Any]:
    """Header frame and one frame per array (the array's own memory, not a copy)."""
    heads, frames = _frames(arrays)
    return [control.encode_request(body, session=session, id=id, deadline_s=deadline_s, arrays=heads), *frames]


def encode_reply(body: Message, arrays: Arrays = (), *, id: int, node: str, at: tuple[int, float]) -> list[Any]:
    """As `encode_request`; the samples of a capture are packed."""
    if isinstance(body, Captured):
        arrays = [pack_samples(array, body.full_scale) for array in arrays]
    heads, frames = _frames(arrays)
    return [control.encode_reply(body, id=id, node=node, at=at, arrays=heads), *frames]


def _arrays(heads: tuple[Array, ...], frames: Sequence[Any], peer: str) -> list[NDArray[Any]]:
    """Read-only arrays over the frames' memory."""
    if len(heads) != len(frames):
        raise LinkError("bad-message", "header and frames disagree", where=peer, found=f"{len(frames)} frames", allowed=f"{len(heads)}")
    arrays = []
    for head, frame in zip(heads, frames):
        kind = np.dtype(head.dtype)
        view = memoryview(frame).cast("B") if len(frame) else memoryview(b"")
        wanted = int(np.prod(head.shape, dtype=object)) * kind.itemsize
        if view.nbytes != wanted:
            raise LinkError(
                "bad-message", "a frame is not as long as its shape says", where=peer, found=f"{view.nbytes} bytes", allowed=str(wanted)
            )
        array = np.require(np.frombuffer(view, dtype=kind), requirements="A").reshape(head.shape)
        array.flags.writeable = False
        arrays.append(array if sys.byteorder == "little" else array.astype(kind.newbyteorder("=")))
    return arrays


def _checked(frames: Sequence[Any], peer: str) -> bytes:
    """The header's bytes behind the first word, sizes checked."""
    if not 1 <= len(frames) <= MOST_PARTS:
        raise LinkError("bad-message", "too many or no parts", where=peer, found=str(len(frames)), allowed=f"1 ... {MOST_PARTS}")
    sizes = [len(frame) for frame in frames]
    if sizes[0] > control.MOST_HEADER or max(sizes) > MOST_FRAME or sum(sizes) > MOST_TOTAL:
        raise LinkError("bad-message", "a message larger than permitted", where=peer, found=f"{sum(sizes)} bytes")
    return control.after_first_word(bytes(frames[0]), peer)


def decode_request_head(frames: Sequence[Any], peer: str = "") -> RequestHead:
    """LinkError `protocol-mismatch` or `bad-message`; never anything else."""
    try:
        return _request_head.decode(_checked(frames, peer))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise LinkError("bad-message", "a request that cannot be read", where=peer, found=str(error)) from error


def decode_request_body(head: RequestHead, frames: Sequence[Any], peer: str = "") -> tuple[Request, list[NDArray[Any]]]:
    """The request and its arrays, read-only views of the frames (frames[0] is the header)."""
    try:
        body = _request_body.decode(head.body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise LinkError("bad-message", "a request that cannot be read", where=peer, found=str(error)) from error
    return body, _arrays(head.arrays, frames[1:], peer)


def decode_reply(frames: Sequence[Any], peer: str = "") -> tuple[ReplyHead, Reply, list[NDArray[Any]]]:
    """Header, reply, arrays; `Captured.capture` makes a capture of its own. LinkError as for requests."""
    try:
        head = _reply_head.decode(_checked(frames, peer))
        body = _reply_body.decode(head.body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise LinkError("bad-message", "a reply that cannot be read", where=peer, found=str(error)) from error
    arrays = _arrays(head.arrays, frames[1:], peer)
    if isinstance(body, Captured):
        for array in arrays:
            if array.ndim != (3 if array.dtype == np.int16 else 2) or (array.dtype == np.int16 and array.shape[2] != 2):
                allowed = "(sample, channel, iq) int16 or (channel, sample) complex64"
                raise LinkError("bad-message", "samples of a capture with other axes", where=peer, found=str(array.shape), allowed=allowed)
    return head, body, arrays
