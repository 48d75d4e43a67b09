"""A bad IIO server: answers as a radio's daemon once did, until it cuts off, garbles, floods, stalls, lies about a length or a format.

What an honest daemon says is recorded once (`recorded`), by a server in between; replayed, it costs a client's attempt no emulator.
"""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

WAYS = ("cut", "stall", "flip", "noise", "number", "value", "xml", "flood", "twice")
SHARES = (0.16, 0.005, 0.165, 0.12, 0.14, 0.14, 0.17, 0.05, 0.05)  # a stall costs somebody's time-out
STALL_S, PATIENCE_S = 20.0, 0.1  # for how long it says nothing, and waits for somebody who waits for more of what was spoilt
NUMBERS = (
    b"-1", b"-5", b"-22", b"-110", b"-2147483648", b"0", b"1", b"7", b"2147483647", b"4294967296", b"9223372036854775808", b"99999999999999999999",
    b"65536", b"1048577", b"", b" ", b"0x10", b"1e9", b"NaN", b"%s%n", b"12 34", b"\0", b"\xff\xfe", b"5" * 2000,
)  # fmt: skip
VALUES = (
    b"", b"\0", b"NaN", b"nan dB", b"inf", b"-1e999", b"1" * 400, b"-0", b"%s%s%n%n", b"A" * 4095, b"A" * 70_000, b"\xff\xfe\x80", b"[1 2", b"[]",
    b"0", b"-1", b"99999999999999999999", b"manual\0\0\0manual", b"../../etc/passwd", b"1 2 3 4 5 6 7 8 9",
)  # fmt: skip
ATTRIBUTES = (
    b"", b"0", b"-1", b"2147483647", b"4294967295", b"99999999999999999999", b"A" * 5000, b"%s%n%n", b"&lt;", b"&amp;&#x0;", b"\xff\xfe", b"input",
    b"output", b"voltage0", b"iio:device0", b"ad9361-phy", b"le:S12/0&gt;&gt;0", b"le:S0/16&gt;&gt;0", b"le:S255/255&gt;&gt;255",
    b"be:u64/64X65535&gt;&gt;0", b"le:S16/16X0&gt;&gt;0", b"le:s12/7&gt;&gt;3", b"xx", b"le:S12/4294967295&gt;&gt;0", b"le:S12/16&gt;&gt;99",
)  # fmt: skip
BOMB = b'<!DOCTYPE context [<!ENTITY a "aaaaaaaaaa">' + b"".join(
    b'<!ENTITY %c "%s">' % (98 + n, b"&%c;" % (97 + n) * 10) for n in range(9)
) + b"]>"  # fmt: skip

Book = Mapping[bytes, bytes]  # command -> the whole reply


@dataclass(frozen=True)
class Spoiling:
    """One attempt's: in which way, from which reply of it on, and whether later ones are spoilt as well."""

    way: str
    reply: int
    again: float
    rng: np.random.Generator


def drawn(seed: int, number: int) -> Spoiling:
    """The one of a number, the same each time."""
    rng = np.random.default_rng([seed, number])
    way = str(rng.choice(WAYS, p=SHARES))
    return Spoiling(way, 0 if way == "xml" else int(10 ** rng.uniform(0.0, 2.3)) - 1, float(rng.choice([0.0, 0.3])), rng)


class BadServer:
    """Answers from a book on a port of its own, one attempt at a time; honest while `spoil` is None."""

    def __init__(self, book: Book) -> None:
        self.book = book
        self._spoil: Spoiling | None = None
        self._replies, self._lock = 0, threading.Lock()
        self.spoilt_block: Callable[[], None] = lambda: None  # called before an answer to READBUF that is not as it should be
        self._server = socket.create_server(("127.0.0.1", 0))
        self.uri = f"ip:127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._welcome, daemon=True).start()

    def spoil(self, how: Spoiling | None) -> None:
        with self._lock:
            self._spoil, self._replies = how, 0

    def close(self) -> None:
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _welcome(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._server.accept()
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError, ValueError), client, client.makefile("rb") as heard:
            while line := heard.readline(4096):
                words = line.split()
                if not words:
                    continue
                if words[0] == b"EXIT":
                    return
                if words[0] in (b"WRITE", b"WRITEBUF"):
                    if words[0] == b"WRITEBUF":
                        client.sendall(b"0\n")
                    heard.read(int(words[-1]))
                if not self._say(client, self._reply(words, line), words[0] == b"READBUF"):
                    return

    def _reply(self, words: list[bytes], line: bytes) -> bytes:
        match words[0]:
            case b"WRITE" | b"WRITEBUF":
                return words[-1] + b"\n"
            case b"READBUF":
                size = int(words[-1])
                return b"%d\n%08x\n" % (size, (1 << 2 * self._pairs()) - 1) + (b"\x10\0\xf0\xff" * (size // 4 + 1))[:size]
            case b"TIMEOUT" | b"SET" | b"OPEN" | b"CLOSE":
                return b"0\n"
        return self.book.get(line.strip(), b"-22\n")

    def _pairs(self) -> int:
        return int(self.book[b"PAIRS"])

    def _say(self, client: socket.socket, reply: bytes, block: bool) -> bool:
        """Whether the conversation goes on."""
        with self._lock:
            how, number = self._spoil, self._replies
            self._replies += 1
            spoilt = how is not None and (number == how.reply or (number > how.reply and how.rng.random() < how.again))
            if spoilt and how is not None:
                said = spoilt_reply(reply, how.way, how.rng)
        if not spoilt or how is None:
            client.sendall(reply)
            return True
        if block:
            self.spoilt_block()
        client.sendall(said)
        client.settimeout(STALL_S if how.way == "stall" else PATIENCE_S)
        if how.way == "stall":
            while client.recv(1 << 12):  # until it leaves
                pass
        return how.way not in ("cut", "stall")


def spoilt_reply(reply: bytes, way: str, rng: np.random.Generator) -> bytes:
    _, _, rest = reply.partition(b"\n")
    match way:
        case "cut" | "stall":
            return reply[: rng.integers(len(reply))]
        case "flip":
            whole = bytearray(reply)
            reach = len(whole) if rng.random() < 0.5 else min(len(whole), 40)
            for place in rng.integers(reach, size=int(rng.integers(1, 21))):
                whole[place] ^= 1 << int(rng.integers(8))
            return bytes(whole)
        case "noise":
            return rng.bytes(int(10 ** rng.uniform(0.0, 4.3)))
        case "number":
            return NUMBERS[rng.integers(len(NUMBERS))] + b"\n" + rest
        case "value":
            value = VALUES[rng.integers(len(VALUES))]
            return b"%d\n%s\n" % (len(value) + int(rng.integers(-1, 2)) * int(rng.integers(2)), value)
        case "xml" if rest.startswith(b"<?xml"):
            text = spoilt_xml(rest.rstrip(b"\n"), rng)
            return b"%d\n%s\n" % (len(text), text)
        case "flood":
            return reply + rng.bytes(100_000)
    return reply + reply


def spoilt_xml(text: bytes, rng: np.random.Generator) -> bytes:
    """A context as no daemon describes one, some things of it at a time."""
    for _ in range(int(rng.integers(1, 6))):
        match int(rng.integers(9)):
            case 0 | 1 | 2:  # another value of an attribute, preferably where samples are laid out
                names = rb'(?:format|index|type)="([^"]*)"' if rng.random() < 0.5 else rb'="([^"]*)"'
                found = list(re.finditer(names, text))
                if found:
                    one = found[rng.integers(len(found))]
                    text = text[: one.start(1)] + ATTRIBUTES[rng.integers(len(ATTRIBUTES))] + text[one.end(1) :]
            case 3:  # every format the same
                text = re.sub(rb'format="[^"]*"', b'format="%s"' % ATTRIBUTES[rng.integers(16, len(ATTRIBUTES))], text)
            case 4:  # an element gone, or there twice
                found = list(re.finditer(rb"<(?!/|\?|!)[^>]*/>", text))
                if found:
                    one = found[rng.integers(len(found))]
                    text = text[: one.start()] + one[0] * int(rng.choice([0, 2, 500])) + text[one.end() :]
            case 5:
                text = text[: rng.integers(len(text))]
            case 6:  # two pieces exchanged
                a, b = sorted(int(place) for place in rng.integers(len(text) + 1, size=2))
                text = text[b:] + text[a:b] + text[:a]
            case 7:
                text = BOMB + b"<context name='network' description='&j;'/>" if rng.random() < 0.3 else b"<device>" * 3000 + text
            case _:
                place = int(rng.integers(len(text) + 1))
                text = text[:place] + rng.bytes(int(rng.integers(1, 50))) + text[place:]
    return text


class Recorder:
    """Between a client and an honest daemon: keeps the last reply to every command that has one of its own."""

    def __init__(self, behind: tuple[str, int], pairs: int) -> None:
        self._behind = behind
        self.book: dict[bytes, bytes] = {b"PAIRS": b"%d" % pairs}
        self._server = socket.create_server(("127.0.0.1", 0))
        self.uri = f"ip:127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._welcome, daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _welcome(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._server.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError, ValueError), client, socket.create_connection(self._behind) as daemon:
            with client.makefile("rb") as asked, daemon.makefile("rb") as heard:
                while line := asked.readline():
                    words = line.split()
                    if not words:
                        continue
                    daemon.sendall(line)
                    if words[0] == b"EXIT":
                        return
                    if words[0] == b"WRITEBUF":
                        client.sendall(heard.readline())
                    if words[0] in (b"WRITE", b"WRITEBUF"):
                        daemon.sendall(asked.read(int(words[-1])))
                    reply = heard.readline()
                    if words[0] == b"READBUF":
                        reply += heard.readline()
                    if words[0] in (b"PRINT", b"READ", b"READBUF") and int(reply.split()[0]) >= 0:
                        reply += heard.read(int(reply.split()[0]) + (words[0] != b"READBUF"))
                    if words[0] in (b"PRINT", b"READ", b"VERSION", b"GETTRIG"):
                        self.book[line.strip()] = reply
                    client.sendall(reply)
