"""One client's connection, from its first line to its end. Whatever it opened is closed when it ends, however it ends."""

from __future__ import annotations

import logging
import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from sim_backend.iiod import protocol
from sim_backend.iiod.context import Context, Device, Opened, pick
from sim_backend.iiod.pace import Pace, Ready
from sim_backend.iiod.values import EBADF, EBUSY, EINVAL, EIO, ENODEV, ENXIO, Refused

Result = TypeVar("Result")
PATIENCE_S = 2.5  # longest wait for one block unless TIMEOUT says otherwise
AGAIN_S = 0.05  # a close and the next open travel on different sockets and may overtake each other
LARGEST_SKIP = 1 << 24  # bytes of a refused payload that are read and dropped; beyond, the connection ends


class Gone(Exception):
    """The client has left, or must."""


@dataclass(eq=False)
class Buffer:
    """A buffer that this connection opened. rest: of a block, not asked for yet."""

    opened: Opened
    mask: str
    output: bool
    rest: memoryview = field(default_factory=lambda: memoryview(b""))


class Conversation:
    """Reads commands and answers each before the next. ending: whether the daemon is being stopped."""

    def __init__(self, context: Context, xml: bytes, channel: socket.socket, pace: Pace, ending: Callable[[], bool]) -> None:
        self._context, self._xml, self._channel, self._pace, self._ending = context, xml, channel, pace, ending
        self._heard = bytearray()
        self._patience: float | None = PATIENCE_S
        self._buffers: dict[Device, Buffer] = {}

    def run(self) -> None:
        """Until the client leaves; never raises."""
        try:
            while True:
                line = self._line()
                words = line.decode("latin-1").split()
                if words == ["EXIT"]:
                    return
                if words:
                    self._obey(words)
        except (Gone, OSError):
            pass
        finally:
            for buffer in self._buffers.values():
                buffer.opened.close()
            self._channel.close()

    # -- bytes ---------------------------------------------------------------------------------------------------------------------

    def _line(self) -> bytes:
        while (end := self._heard.find(b"\n")) < 0:
            if len(self._heard) > protocol.LONGEST_LINE:
                raise Gone
            self._hear()
        if end > protocol.LONGEST_LINE:
            raise Gone
        line = bytes(self._heard[:end])
        del self._heard[: end + 1]
        return line

    def _hear(self) -> None:
        more = self._channel.recv(1 << 16)
        if not more:
            raise Gone
        self._heard += more

    def _payload(self, size: int) -> bytearray:
        """Exactly `size` bytes; what came with the command first."""
        out = bytearray(size)
        at = min(size, len(self._heard))
        out[:at] = self._heard[:at]
        del self._heard[:at]
        view = memoryview(out)
        while at < size:
            count = self._channel.recv_into(view[at:])
            if count == 0:
                raise Gone
            at += count
        return out

    def _skip(self, size: int) -> None:
        """Read and drop a payload that is refused, so that the next line is one."""
        if size > LARGEST_SKIP:
            self._number(-EINVAL)
            raise Gone
        self._payload(size)

    def _send(self, *parts: bytes | memoryview) -> None:
        if sum(map(len, parts)) < 1 << 12:
            self._channel.sendall(b"".join(parts))
            return
        sent = self._channel.sendmsg(parts)  # in one piece: a client that waits wakes once
        for part in parts:
            if sent < len(part):
                self._channel.sendall(memoryview(part)[sent:])
            sent = max(0, sent - len(part))

    def _number(self, number: int) -> None:
        self._send(b"%d\n" % number)

    def _wait(self, ready: Ready) -> bool:
        """Whether an instant comes within the client's patience; raises Gone when it leaves meanwhile."""
        return self._pace.wait(ready, self._left, self._patience)

    def _left(self) -> bool:
        if self._ending():
            raise Gone
        ready, _, _ = select.select([self._channel], [], [], 0.0)
        if ready and not self._channel.recv(1, socket.MSG_PEEK):
            raise Gone
        return False

    # -- commands --------------------------------------------------------------------------------------------------------------------

    def _obey(self, words: list[str]) -> None:
        """Answer one command; what is refused is answered by its error number."""
        command = getattr(self, f"_do_{words[0].lower()}", None) if words[0].isascii() and words[0].isupper() else None
        if command is None:
            self._number(-EINVAL)
            return
        try:
            command(words[1:])
        except Refused as refused:
            self._number(-refused.number)

    def _do_print(self, words: list[str]) -> None:
        self._send(b"%d\n" % len(self._xml), self._xml, b"\n")

    def _do_version(self, words: list[str]) -> None:
        self._send(protocol.VERSION.encode() + b"\n")

    def _do_timeout(self, words: list[str]) -> None:
        milliseconds = protocol.natural(_only(words, 1)[0], 1 << 31)
        self._patience = milliseconds * 1e-3 if milliseconds else None
        self._number(0)

    def _do_read(self, words: list[str]) -> None:
        place = protocol.place(self._context, words)
        if place.name:
            payload = _driver(lambda: protocol.text(pick(place.values, place.name)))
        else:
            payload = _driver(lambda: protocol.text_of_all(place.values))
        self._send(b"%d\n" % len(payload), payload, b"\n")

    def _do_write(self, words: list[str]) -> None:
        if len(words) < 2:
            raise Refused(EINVAL)
        size = protocol.natural(words[-1])
        if size > protocol.LONGEST_VALUE:
            self._skip(size)
            raise Refused(EINVAL)
        payload = bytes(self._payload(size))
        place = protocol.place(self._context, words[:-1])
        if place.name:
            _driver(lambda: pick(place.values, place.name).set(protocol.written(payload)))
            self._number(size)
        else:
            self._number(_driver(lambda: protocol.write_all(place.values, payload)))

    def _do_set(self, words: list[str]) -> None:
        device, what, number = _only(words, 3)
        if what != "BUFFERS_COUNT":
            raise Refused(EINVAL)
        count, found = protocol.natural(number, 1 << 31), self._context.device(device)
        if found.stream is None:
            raise Refused(ENODEV)
        stream = found.stream
        self._again(lambda: stream.set_count(count))
        self._number(0)

    def _do_gettrig(self, words: list[str]) -> None:
        self._context.device(_only(words, 1)[0])
        self._number(0)  # no trigger

    def _do_settrig(self, words: list[str]) -> None:
        if not words:
            raise Refused(EINVAL)
        self._context.device(words[0])
        raise Refused(ENODEV)

    def _do_open(self, words: list[str]) -> None:
        cyclic = words[3:] == ["CYCLIC"]
        if len(words) != 3 + cyclic:
            raise Refused(EINVAL)
        device, samples = self._context.device(words[0]), protocol.natural(words[1])
        scans = protocol.scans(device, words[2])
        if device in self._buffers:
            raise Refused(EBUSY)
        if device.stream is None:
            raise Refused(ENODEV)
        stream = device.stream
        opened = self._again(lambda: stream.open(scans, samples, cyclic))
        self._buffers[device] = Buffer(opened, words[2].lower(), stream.output)
        self._number(0)

    def _do_close(self, words: list[str]) -> None:
        device = self._context.device(_only(words, 1)[0])
        if device not in self._buffers:
            raise Refused(ENXIO)
        self._buffers.pop(device).opened.close()
        self._number(0)

    def _do_readbuf(self, words: list[str]) -> None:
        buffer, left = self._buffer(words, output=False)
        mask = b"%s\n" % buffer.mask.encode()
        short = False
        while left > 0:
            if short and not buffer.rest:
                self._number(0)
                return
            if not buffer.rest:
                buffer.rest = _driver(lambda: buffer.opened.read(self._wait))
                short = len(buffer.rest) < buffer.opened.block_bytes
            part = buffer.rest[:left]
            buffer.rest = buffer.rest[len(part) :]
            self._send(b"%d\n" % len(part), mask, part)
            left, mask = left - len(part), b""

    def _do_writebuf(self, words: list[str]) -> None:
        buffer, size = self._buffer(words, output=True)
        if not 0 < size <= buffer.opened.block_bytes:
            raise Refused(EINVAL)
        self._number(0)
        data = self._payload(size)
        _driver(lambda: buffer.opened.write(data, self._wait))
        self._number(size)

    def _buffer(self, words: list[str], *, output: bool) -> tuple[Buffer, int]:
        key, size = _only(words, 2)
        device, bytes_ = self._context.device(key), protocol.natural(size)
        buffer = self._buffers.get(device)
        if buffer is None or buffer.output != output:
            raise Refused(EBADF)
        return buffer, bytes_

    def _again(self, attempt: Callable[[], Result]) -> Result:
        """Try for a while what another client's close may still make possible."""
        until = time.monotonic() + AGAIN_S
        while True:
            try:
                return _driver(attempt)
            except Refused as refused:
                if refused.number != EBUSY or time.monotonic() > until:
                    raise
            time.sleep(0.005)


def _only(words: list[str], count: int) -> list[str]:
    if len(words) != count:
        raise Refused(EINVAL)
    return words


def _driver(act: Callable[[], Result]) -> Result:
    """What fails inside the emulator is an input/output error to its client, a line in the log, and no end of the daemon."""
    try:
        return act()
    except (Refused, Gone, OSError):
        raise
    except Exception as error:
        logging.getLogger(__name__).exception("the emulated driver failed")
        raise Refused(EIO) from error
