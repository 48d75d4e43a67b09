"""A server that talks nonsense to the driver: whatever it says, an error with a name, in good time; what libiio would trip over is seen before."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from against_bad_servers import HERE, LIMIT_S, against, record
from bad_server import BadServer, Book
from daemon_bench import require_libiio

from hil.clock import WallClock
from hil.device import DeviceError, Setting
from hil.parts import capability
from hil.radios import opening


@pytest.fixture(autouse=True)
def libiio() -> None:
    require_libiio()


@pytest.fixture(scope="module")
def books() -> dict[str, Book]:
    require_libiio()
    return record()


def told(book: Book, old: bytes, new: bytes) -> Book:
    """The same with a context in which something is different."""
    text = book[b"PRINT"].partition(b"\n")[2].rstrip(b"\n").replace(old, new)
    assert new in text
    return {**book, b"PRINT": b"%d\n%s\n" % (len(text), text)}


def test_what_a_server_must_not_say_is_told_before_libiio_trips_over_it(books: dict[str, Book]) -> None:
    book, temperature = books["pluto"], b"READ iio:device1 INPUT temp0 input"
    assert temperature in book, [one for one in book if b"temp0" in one]
    expected = (
        (book, "whole"),
        (told(book, b"le:S16/16&gt;&gt;0", b"le:S16/16X0&gt;&gt;0"), "wrong-part"),  # libiio would divide by it
        (told(book, b"le:S12/16&gt;&gt;0", b"le:S12/0&gt;&gt;0"), "wrong-part"),
        (told(book, b'index="1"', b'index="0"'), "wrong-part"),
        (told(book, b'id="voltage1" type="input"', b'id="voltage7" type="input"'), "wrong-part"),
        ({**book, temperature: b"6\n1e999\0\n"}, "bad-answer"),
        ({**book, b"VERSION": b"0.24.\xff\xfe\xfd\xfc\xfb\xfa\xf9\n"}, "no-context"),
    )
    servers = [BadServer(one) for one, _ in expected]
    code = "import sys, against_bad_servers as a\nfor uri in sys.argv[1:]: print(a.attempt('pluto', uri), flush=True)"
    path = ":".join(map(str, (HERE.parents[1], HERE.parent / "unit", HERE)))
    try:  # in a process that libiio may take along
        done = subprocess.run(
            [sys.executable, "-c", code, *(server.uri for server in servers)], capture_output=True, text=True, timeout=60.0 + LIMIT_S, check=False,
            env={**os.environ, "PYTHONPATH": path},
        )  # fmt: skip
    finally:
        for server in servers:
            server.close()
    assert done.returncode == 0 and done.stdout.split() == [how for _, how in expected], f"{done.returncode} {done.stdout} {done.stderr[-500:]}"


@pytest.mark.parametrize(("waits_s", "id"), [(0.0, "unplugged"), (0.6, "no-answer")])
def test_a_block_that_does_not_come_is_told_from_a_connection_that_ends(books: dict[str, Book], waits_s: float, id: str) -> None:
    class Mute(BadServer):
        def _reply(self, words: list[bytes], line: bytes) -> bytes:
            if words[0] == b"READBUF":
                time.sleep(waits_s)
                raise OSError  # and leaves
            return super()._reply(words, line)

    server = Mute(books["pluto"])
    try:
        with opening.radio("a", WallClock(), uri=server.uri, capability=capability("pluto", "emulated-a")) as radio:
            radio.configure(Setting(3.5e9, 4e6, (20.0,), (20.0,)))
            with pytest.raises(DeviceError) as caught:
                radio.capture(2048, 0.25)
    finally:
        server.close()
    assert caught.value.id == id and (id == "unplugged" or caught.value.allowed == "0.25 s")


def test_a_sample_of_bad_servers(books: dict[str, Book]) -> None:
    outcome = against(100, seed=1, books=books)
    assert outcome.well, outcome
    assert sum(outcome.ways.values()) + len(outcome.overruns) == 100 and len(outcome.ways) > 4 and outcome.ways["whole"] < 50


def test_who_watches_counts_what_dies_and_goes_on_behind_it(tmp_path: Path) -> None:
    program = tmp_path / "dies.py"
    program.write_text(
        "import os, signal, sys\n"
        "first, count = map(int, sys.argv[4:])\n"
        "for number in range(first, first + count):\n"
        "    print('>', number, flush=True)\n"
        "    if number in (3, 5):\n"
        "        if number == 5: print('~', number, flush=True)\n"
        "        os.kill(os.getpid(), signal.SIGSEGV)\n"
        "    print('<', number, '!KeyError:x' if number == 7 else 'refused', 99.0 if number == 8 else 0.1, flush=True)\n"
    )
    outcome = against(10, seed=1, books={}, program=program)
    assert outcome.crashes == [(3, "signal 11")] and outcome.overruns == [5] and outcome.late == [8]
    assert [number for number, _ in outcome.faults] == [7] and outcome.ways == {"refused": 7, "!KeyError": 1}


@pytest.mark.soak
def test_a_hundred_thousand_bad_servers(books: dict[str, Book]) -> None:
    outcome = against(100_000, seed=12, processes=10, books=books)
    assert outcome.well, outcome
    assert sum(outcome.ways.values()) + len(outcome.overruns) == 100_000
