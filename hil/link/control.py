"""The outer form of every message, and the few messages that matter most: lease, mute, halt.

A message is a header frame and raw array frames. The header begins with four bytes, `hil` and the protocol's version, so that a peer of
another version is told apart at the first word, whatever follows. Needs msgspec and nothing else, so that the lease process stays small.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from hil.errors import DeviceError, HilError, InputError, LinkError, RecordError, SafeState

PROTOCOL = 2
MOST_PARTS = 64
MOST_HEADER = 1 << 16  # bytes
MOST_FRAME = 1 << 28  # bytes
MOST_TOTAL = 1 << 29  # bytes

Name = Annotated[str, Meta(max_length=64)]
Text = Annotated[str, Meta(max_length=4096)]
Count = Annotated[int, Meta(ge=0, le=(1 << 62))]
Seconds = Annotated[float, Meta(gt=0.0, le=86400.0)]


class Message(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag=str.lower):
    """Base of every request and reply."""


class Array(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """What a raw frame holds: numpy's name of little-endian complex64 or int16, and its shape in C order."""

    dtype: Literal["<c8", "<i2"]
    shape: Annotated[tuple[Annotated[int, Meta(ge=0, le=MOST_FRAME)], ...], Meta(max_length=3)]


class RequestHead(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who asks (session), which request of that session (id), how long the asker will wait, what follows."""

    session: Name
    id: Count
    deadline_s: Seconds
    arrays: Annotated[tuple[Array, ...], Meta(max_length=MOST_PARTS)] = ()
    body: msgspec.Raw


class ReplyHead(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which request this answers, by whom, at what reading of the node's clock (whole seconds, fraction)."""

    id: Count
    node: Name
    at: tuple[int, float]
    arrays: Annotated[tuple[Array, ...], Meta(max_length=MOST_PARTS)] = ()
    body: msgspec.Raw


class Hello(Message, frozen=True):
    """The first request on a connection. Takes the node, unless another controller's lease is still running."""

    controller: Name


class Lease(Message, frozen=True):
    """The controller is alive: for `valid_s` (at most the node's own lease) more seconds."""

    sequence: Count
    valid_s: Seconds


class Mute(Message, frozen=True):
    """Silence every transmitter now. With `hold` nothing radiates or moves again until a Clear or a new controller."""

    why: Text = ""
    hold: bool = False


class Halt(Message, frozen=True):
    """Brake every stage now; `hold` as in Mute."""

    why: Text = ""
    hold: bool = False


class Clear(Message, frozen=True):
    """Leave the safe state."""


class Status(Message, frozen=True):
    """How is the node?"""


class Bye(Message, frozen=True):
    """Mute, halt, and let another controller have the node."""


class Done(Message, frozen=True):
    """It was done."""


class State(Message, frozen=True):
    """state: ready, held or safe, and why; radiating and moving name devices."""

    state: Literal["ready", "held", "safe"]
    why: Text = ""
    version: int | None = None
    radiating: tuple[Name, ...] = ()
    moving: tuple[Name, ...] = ()
    executed: Count = 0  # device requests carried out since start


class Failed(Message, frozen=True):
    """An error of `hil.errors`, field by field."""

    kind: Literal["input", "device", "link", "record", "safe"]
    id: Name
    what: Text
    where: Text = ""
    found: Text = ""
    allowed: Text = ""
    fix: Text = ""
    note: Text = ""


_KINDS: dict[str, type[HilError]] = {
    "input": InputError, "device": DeviceError, "link": LinkError, "record": RecordError, "safe": SafeState,
}  # fmt: skip


def failure(error: HilError) -> Failed:
    """The message that carries an error."""
    kind = next((name for name, cls in _KINDS.items() if isinstance(error, cls)), "device")
    facts = {name: str(getattr(error, name))[:4000] for name in ("what", "where", "found", "allowed", "fix", "note")}
    return Failed(kind=kind, id=error.id, **facts)  # type: ignore[arg-type]


def error_of(failed: Failed) -> HilError:
    """The error a message carries, of the class it had at the node."""
    error = _KINDS[failed.kind](failed.id, failed.what, found=failed.found, allowed=failed.allowed, fix=failed.fix, note=failed.note)
    error.where = failed.where
    error.args = (error.message,)
    return error


def _plain(value: Any) -> Any:
    """numpy scalars as Python numbers; anything else is a mistake."""
    if hasattr(value, "item"):
        return value.item()
    raise NotImplementedError(f"a message cannot carry {type(value).__name__}")


_encoder = msgspec.msgpack.Encoder(enc_hook=_plain)


def first_word(protocol: int = PROTOCOL) -> bytes:
    return b"hil" + bytes([protocol])


def encode_body(body: Message) -> msgspec.Raw:
    return msgspec.Raw(_encoder.encode(body))


def encode_request(body: Message, *, session: str, id: int, deadline_s: float, arrays: tuple[Array, ...] = ()) -> bytes:
    """The header frame of a request."""
    head = RequestHead(session=session, id=id, deadline_s=deadline_s, arrays=arrays, body=encode_body(body))
    return first_word() + _encoder.encode(head)


def encode_reply(body: Message, *, id: int, node: str, at: tuple[int, float], arrays: tuple[Array, ...] = ()) -> bytes:
    """The header frame of a reply."""
    return first_word() + _encoder.encode(ReplyHead(id=id, node=node, at=(at[0], at[1]), arrays=arrays, body=encode_body(body)))


def after_first_word(frame: bytes, peer: str) -> bytes:
    """What follows the first word; LinkError `protocol-mismatch` from a peer of another version, `bad-message` from a stranger."""
    if len(frame) > MOST_HEADER or len(frame) < 4 or frame[:3] != b"hil":
        raise LinkError(
            "bad-message", "this is not a message of hil", where=peer, found=f"{len(frame)} bytes beginning {bytes(frame[:8])!r}"
        )
    if frame[3] != PROTOCOL:
        raise LinkError(
            "protocol-mismatch", "the peer speaks another protocol version", where=peer, found=f"version {frame[3]}",
            allowed=f"version {PROTOCOL}", fix="install the same version of hil on both sides",
        )  # fmt: skip
    return frame[4:]
