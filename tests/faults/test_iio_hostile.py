"""Random, truncated and hostile bytes on the IIO daemon: no crash, no hang, nothing leaks, and the next client is served."""

from __future__ import annotations

import os
import socket
import struct
import threading
import time

import numpy as np
import pytest
from daemon_bench import site
from wire_client import Wire

from sim_backend.iiod.daemon import Daemon

DEADLINE_S = 20.0
HONEST = (
    b"PRINT\r\n", b"VERSION\r\n", b"TIMEOUT 2500\r\n", b"READ ad9361-phy OUTPUT altvoltage0 frequency\r\n", b"READ ad9361-phy \r\n",
    b"WRITE ad9361-phy OUTPUT altvoltage0 frequency 11\r\n2400000000\0", b"WRITE ad9361-phy filter_fir_config 20\r\nRX 3 GAIN -6 DEC 4\r\n",
    b"WRITE cf-ad9361-dds-core-lpc OUTPUT TX1_I_F1 raw 2\r\n1\0", b"WRITE ad9361-phy INPUT voltage0 sampling_frequency 8\r\n4000000\0",
    b"WRITE ad9361-phy  40\r\n" + bytes(40), b"SET cf-ad9361-lpc BUFFERS_COUNT 2\r\n", b"GETTRIG cf-ad9361-lpc\r\n",
    b"OPEN cf-ad9361-lpc 64 00000003\r\nREADBUF cf-ad9361-lpc 256\r\nCLOSE cf-ad9361-lpc\r\n",
    b"OPEN cf-ad9361-dds-core-lpc 16 00000003 CYCLIC\r\nWRITEBUF cf-ad9361-dds-core-lpc 64\r\n" + bytes(range(64)),
    b"OPEN cf-ad9361-dds-core-lpc 16 00000001\r\nWRITEBUF cf-ad9361-dds-core-lpc 32\r\n" + bytes(32), b"EXIT\r\n", b"BINARY\r\n", b"ZPRINT\r\n",
)  # fmt: skip
NASTY = (
    b"-1", b"99999999999999999999", b"%s%n", b"\xff\xfe", b"\0", b"NaN", b"../..", b"0x", b" " * 300, b"ffffffff", b"1e9", b"\r",
    b"18446744073709551616",
)  # fmt: skip


def hostile(rng: np.random.Generator) -> bytes:
    """A few commands as no client should send them."""
    out = b""
    for _ in range(int(rng.integers(1, 5))):
        match int(rng.integers(6)):
            case 0:
                out += rng.bytes(int(rng.integers(1, 200)))
            case 1:
                one = HONEST[rng.integers(len(HONEST))]
                out += one[: rng.integers(len(one) + 1)]  # cut off
            case 2:
                words = HONEST[rng.integers(len(HONEST))].split(b" ")
                words[rng.integers(len(words))] = NASTY[rng.integers(len(NASTY))]
                out += b" ".join(words) + b"\r\n"
            case 3:
                one = bytearray(HONEST[rng.integers(len(HONEST))])
                one[rng.integers(len(one))] ^= 1 << int(rng.integers(8))
                out += bytes(one)
            case 4:
                out += b"".join(HONEST[k] for k in rng.integers(len(HONEST), size=3))  # without waiting for an answer
            case _:
                words = HONEST[rng.integers(len(HONEST))].split(b" ")
                rng.shuffle(words)
                out += b" ".join(words)
    return out


def attack(port: int, rng: np.random.Generator) -> bytes:
    """One connection: send, perhaps listen a little, and leave in one way or another. What was sent."""
    data = hostile(rng)
    channel = socket.create_connection(("127.0.0.1", port), DEADLINE_S)
    try:
        channel.sendall(data)
        manner = int(rng.integers(4))
        if manner == 0:
            channel.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
        elif manner == 1:
            channel.shutdown(socket.SHUT_WR)
            while channel.recv(1 << 16):  # to the end, which must come
                pass
        elif manner == 2:
            channel.settimeout(0.002)
            try:
                channel.recv(1 << 16)
            except TimeoutError:
                pass
    except ConnectionError:
        pass  # it had enough
    finally:
        channel.close()
    return data


def bombard(count: int, seed: int, every: int) -> None:
    with Daemon(site("pluto"), free_run=True) as daemon:
        port, rng = daemon.ports["a"], np.random.default_rng(seed)
        faults: list[object] = []
        before = threading.excepthook
        threading.excepthook = faults.append
        try:
            for number in range(count):
                sent = attack(port, rng)
                assert not faults, (faults[0], sent)
                if number % every == 0:
                    with Wire(port, DEADLINE_S) as wire:
                        assert wire.ask("TIMEOUT 2500") == 0, sent
                        assert wire.read("ad9361-phy ensm_mode"), sent
            deadline = time.monotonic() + DEADLINE_S
            while daemon.clients and time.monotonic() < deadline:
                time.sleep(0.01)
            assert daemon.clients == 0 and not daemon.boards["a"].front.inputs.open_now
            with Wire(port, DEADLINE_S) as wire:
                assert wire.ask("OPEN cf-ad9361-dds-core-lpc 64 00000003 CYCLIC") == 0
                assert b"ad9361-phy" in wire.xml()
        finally:
            threading.excepthook = before


def test_a_sample_of_hostile_bytes():
    bombard(300, 11, 10)


def test_descriptors_and_threads_are_given_back():
    with Daemon(site("pluto"), free_run=True) as daemon:
        rng = np.random.default_rng(4)
        for _ in range(5):
            attack(daemon.ports["a"], rng)
        threads, files = [], []
        for _ in range(3):
            for _ in range(20):
                attack(daemon.ports["a"], rng)
            deadline = time.monotonic() + DEADLINE_S
            while daemon.clients and time.monotonic() < deadline:
                time.sleep(0.01)
            threads.append(threading.active_count())
            files.append(len(os.listdir("/proc/self/fd")))
        assert len(set(threads)) == 1 and len(set(files)) == 1


@pytest.mark.soak
def test_a_hundred_thousand_hostile_sequences():
    bombard(100_000, 12, 500)
