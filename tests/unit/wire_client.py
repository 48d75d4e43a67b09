"""A client of the IIO network protocol in plain sockets: what goes over the wire, byte by byte, and nothing of a library."""

from __future__ import annotations

import re
import socket
import struct

import numpy as np


class Wire:
    """One connection. Text commands are sent as libiio does; every wait ends after `timeout_s`."""

    def __init__(self, port: int, timeout_s: float = 20.0) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout_s)
        self.stream = self.socket.makefile("rb")

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        self.stream.close()
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def line(self) -> bytes:
        """Up to the newline, which must be there."""
        line = self.stream.readline()
        assert line.endswith(b"\n"), f"the connection ended after {line!r}"
        return line[:-1]

    def ask(self, command: str) -> int:
        """The number with which a command is answered."""
        self.send(command.encode() + b"\r\n")
        return int(self.line())

    def blob(self, size: int) -> bytes:
        data = self.stream.read(size + 1)
        assert data[-1:] == b"\n"
        return data[:-1]

    def xml(self) -> bytes:
        return self.blob(self.ask("PRINT"))

    def read(self, place: str) -> str | int:
        """The text of an attribute, or a negative error number."""
        size = self.ask(f"READ {place}")
        if size < 0:
            return size
        data = self.blob(size)
        assert data.endswith(b"\0")
        return data[:-1].decode()

    def read_all(self, place: str) -> list[str | int]:
        data, out = self.blob(self.ask(f"READ {place} ")), []
        while data:
            (size,) = struct.unpack(">i", data[:4])
            out.append(size if size < 0 else data[4 : 4 + size].rstrip(b"\0").decode())
            data = data[4 + max(size, 0) + -max(size, 0) % 4 :]
        return out

    def write(self, place: str, text: str) -> int:
        payload = text.encode() + b"\0"
        self.send(f"WRITE {place} {len(payload)}\r\n".encode() + payload)
        return int(self.line())

    def readbuf(self, device: str, size: int) -> bytes | int:
        """Blocks until `size` bytes are there; the mask comes once."""
        self.send(f"READBUF {device} {size}\r\n".encode())
        data, mask = b"", None
        while len(data) < size:
            count = int(self.line())
            if count <= 0:
                return count
            if mask is None:
                mask = self.line()
                assert re.fullmatch(rb"([0-9a-f]{8})+", mask)
            data += self.stream.read(count)
        return data

    def writebuf(self, device: str, data: bytes) -> int:
        first = self.ask(f"WRITEBUF {device} {len(data)}")
        if first < 0:
            return first
        self.send(data)
        return int(self.line())


def codes(data: bytes, channels: int = 1) -> np.ndarray:
    """(channel, sample) complex whole numbers of interleaved I and Q."""
    pairs = np.frombuffer(data, "<i2").astype(float).reshape(-1, channels, 2)
    return (pairs[..., 0] + 1j * pairs[..., 1]).T


def as_bytes(samples: np.ndarray) -> bytes:
    """Interleaved I and Q of (channel, sample)."""
    pairs = np.stack([samples.real, samples.imag], axis=-1).astype("<i2")
    return pairs.transpose(1, 0, 2).tobytes()
