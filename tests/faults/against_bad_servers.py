"""The driver against bad servers, many thousand times:

    PYTHONPATH=.:tests/unit python tests/faults/against_bad_servers.py COUNT [--seed S] [--first N] [--processes P]

Each process opens one radio after the other at a server of its own, whose every attempt is spoilt by a number's own random generator, and does
what a trial does with one. Whoever watches gives each attempt a deadline; a process that dies by a signal is libiio's crash, counted with the
number that repeats it (`--first N`, COUNT 1), and another goes on behind it.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import queue
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from bad_server import BadServer, Book, Recorder, drawn
from daemon_bench import RATE, site

from hil.clock import WallClock
from hil.device import DeviceError, Setting
from hil.parts import capability
from hil.radios import opening
from sim_backend.iiod.daemon import Daemon

LIMIT_S = 15.0  # of an attempt: libiio waits five seconds for a context, and each of a few answers after that as long as it was told
TIMEOUT_S, HONEST_S = 0.1, 30.0
PARTS = {"pluto": 1, "fmcomms5": 4, "ad9081": 2}
TURN = ("pluto",) * 8 + ("fmcomms5", "ad9081")
PROGRAM = Path(__file__).resolve()
HERE = PROGRAM.parent


@dataclass
class Outcome:
    """How attempts ended, and the numbers of those that should not have ended so. mib: most memory that a process held.

    overruns: crashes after a block that was not as asked. libiio 0.24 takes as many bytes as a server says its block has, however few it has
    room for; nothing above it can tell before it is too late.
    """

    ways: Counter[str] = field(default_factory=Counter)
    overruns: list[int] = field(default_factory=list)
    crashes: list[tuple[int, str]] = field(default_factory=list)
    late: list[int] = field(default_factory=list)
    faults: list[tuple[int, str]] = field(default_factory=list)
    cpu_s: float = 0.0
    mib: float = 0.0

    @property
    def well(self) -> bool:
        return not (self.crashes or self.late or self.faults)


def attempt(part: str, uri: str, timeout_s: float = TIMEOUT_S) -> str:
    """One trial's worth of the driver; how it ended."""
    channels = PARTS[part]
    can = capability(part, "emulated-a", channels=channels)
    try:
        with opening.radio("a", WallClock(), uri=uri, capability=can, timeout_s=timeout_s) as radio:
            radio.audit()
            radio.temperature_c()
            rate = RATE.get(part, 4e6)
            least, most = can.receive_gain_db
            radio.configure(Setting(3.5e9, rate, (min(most, max(least, 20.0)),) * channels, (min(20.0, can.attenuation_db[1]),) * channels))
            radio.load(1, np.full((channels, 512), 0.3, np.complex64))
            radio.apply(1)
            for _ in range(2):
                radio.capture(2048, timeout_s)
            return "whole"
    except DeviceError as error:
        return error.id


def record() -> dict[str, Book]:
    """What honest daemons say to `attempt`."""
    books: dict[str, Book] = {}
    for part, channels in PARTS.items():
        with Daemon(site(part, channels=channels), free_run=True) as daemon:
            host, _, port = daemon.uris["a"].removeprefix("ip:").rpartition(":")
            recorder = Recorder((host, int(port)), channels)
            try:
                ended = attempt(part, recorder.uri, HONEST_S)
            finally:
                recorder.close()
            if ended != "whole":
                raise RuntimeError(f"{part}: an honest daemon ended in {ended}")
            books[part] = recorder.book
    return books


def child(books_file: str, seed: int, first: int, count: int) -> None:
    """Attempts of `count` numbers; a line `> N` before each, `~ N` before a spoilt block, `< N WAY SECONDS` behind it."""
    servers = {part: BadServer(book) for part, book in pickle.loads(Path(books_file).read_bytes()).items()}
    for number in range(first, first + count):
        part = TURN[number % len(TURN)]
        servers[part].spoilt_block = lambda number=number: _say(f"~ {number}")
        servers[part].spoil(drawn(seed, number))
        _say(f"> {number}")
        begun = time.monotonic()
        try:
            ended = attempt(part, servers[part].uri)
        except Exception as error:  # none but DeviceErrors may come out
            ended = f"!{type(error).__name__}:{str(error)[:60]}".replace(" ", "_")
        _say(f"< {number} {ended} {time.monotonic() - begun:.2f}")
    used = resource.getrusage(resource.RUSAGE_SELF)
    _say(f"= {used.ru_utime + used.ru_stime:.2f} {used.ru_maxrss / 1024:.0f}")


def _say(line: str) -> None:
    os.write(1, line.encode() + b"\n")  # whole, whatever else the process's threads say


def against(
    count: int, seed: int, *, books: Mapping[str, Book], first: int = 0, processes: int = 1, say: bool = False, program: Path = PROGRAM
) -> Outcome:
    """Attempts `first` ... `first + count - 1`, by processes of a program that says what `child` says. books: of `record`."""
    outcome, lock = Outcome(), threading.Lock()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "books"
        file.write_bytes(pickle.dumps(dict(books)))
        share = -(-count // processes)
        runs = [(start, min(share, first + count - start)) for start in range(first, first + count, share)]
        with ThreadPoolExecutor(len(runs)) as pool:
            watchers = [pool.submit(_watch, str(file), seed, *run, outcome, lock, say, program) for run in runs]
        for watcher in watchers:
            watcher.result()
    return outcome


def _watch(books: str, seed: int, first: int, count: int, outcome: Outcome, lock: threading.Lock, say: bool, program: Path) -> None:
    """Processes one after the other until all numbers are through."""
    path = {"PYTHONPATH": ":".join(map(str, (HERE.parents[1], HERE.parent / "unit", HERE)))}
    end = first + count
    while first < end:
        arguments = [sys.executable, str(program), "--child", books, str(seed), str(first), str(end - first)]
        process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace", env={**os.environ, **path})
        lines: queue.Queue[str] = queue.Queue()
        errors: list[str] = []
        readers = [threading.Thread(target=_lines, args=(process.stdout, lines.put)), threading.Thread(target=_tail, args=(process.stderr, errors))]
        for reader in readers:
            reader.start()
        at, hung, block = first, False, -1
        while True:
            try:
                line = lines.get(timeout=2 * LIMIT_S)
            except queue.Empty:
                hung = True
                process.kill()
                break
            if not line:
                break
            if line[0] == "~":
                block = int(line[1:])
                continue
            with lock:
                at = _note(line, outcome, at, say)
        process.wait()
        for reader in readers:
            reader.join()
        with lock:
            if hung:
                outcome.late.append(at)
            elif process.returncode < 0 and block == at:
                outcome.overruns.append(at)
            elif process.returncode < 0:
                outcome.crashes.append((at, f"signal {-process.returncode}"))
            elif process.returncode:
                outcome.faults.append((at, "".join(errors)[-300:]))
        first = end if process.returncode == 0 else at + 1


def _note(line: str, outcome: Outcome, at: int, say: bool) -> int:
    sign, *words = line.split()
    if sign == ">":
        return int(words[0])
    if sign == "=":
        outcome.cpu_s += float(words[0])
        outcome.mib = max(outcome.mib, float(words[1]))
        return at
    number, ended, took = int(words[0]), words[1], float(words[2])
    outcome.ways[ended.partition(":")[0]] += 1
    if ended.startswith("!"):
        outcome.faults.append((number, ended))
    if took > LIMIT_S:
        outcome.late.append(number)
    if say and number % 1000 == 999:
        print(number + 1, dict(outcome.ways.most_common(4)), flush=True)
    return at


def _lines(stream, put) -> None:
    for line in stream:
        put(line)
    put("")


def _tail(stream, into: list[str]) -> None:
    for line in stream:
        into.append(line)
        del into[:-20]


def main() -> int:
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], *map(int, sys.argv[3:]))
        return 0
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=12)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--processes", type=int, default=8)
    asked = parser.parse_args()
    begun = time.monotonic()
    outcome = against(asked.count, asked.seed, books=record(), first=asked.first, processes=asked.processes, say=True)
    took = time.monotonic() - begun
    print(f"{asked.count} attempts in {took:.0f} s, {outcome.cpu_s:.0f} s of processors, at most {outcome.mib:.0f} MiB in a process")
    print(json.dumps(vars(outcome)))
    return 0 if outcome.well else 1


if __name__ == "__main__":
    sys.exit(main())
