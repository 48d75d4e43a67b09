"""`hil watch`: follows a run's folder while another process writes it, and prints what `hil run` would; or the events as they are."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hil.commands.rounds import RoundsView
from hil.commands.streams import Streams
from hil.commands.trial import exit_code, shown
from hil.errors import InputError
from hil.files import read_bench
from hil.records import events

try:
    import fcntl
except ImportError:  # pragma: no cover - no file locks on this system
    fcntl = None  # type: ignore[assignment]

POLL_S = 0.2  # between two looks at the file
QUIET_S = 2.0  # without a new event before anybody asks whether the run's process is still there
GONE = 3  # to the shell: the bench failed, or nobody is left to say how it went


class Lines:
    """Whole lines of a file that another process appends to, and now and then takes some back from: a resumed run does."""

    def __init__(self, path: Path) -> None:
        self._path, self._read, self._seen = path, 0, list[bytes]()

    def fresh(self) -> list[bytes]:
        """Lines that were not there at the last call; half a line waits for its end."""
        data = self._after(self._read)
        if self._path.stat().st_size < self._read or (data and events.decode(data.split(b"\n", 1)[0]) is None):
            return self._again()
        self._read += len(data)
        lines = data.splitlines()
        self._seen += lines
        return lines

    def _again(self) -> list[bytes]:
        """From the start: what the file still has in common with what was seen is not new."""
        data = self._after(0)
        lines = data.splitlines()
        same = next((i for i, (old, new) in enumerate(zip(self._seen, lines)) if old != new), min(len(self._seen), len(lines)))
        self._read, self._seen = len(data), lines
        return lines[same:]

    def _after(self, offset: int) -> bytes:
        with open(self._path, "rb") as file:
            file.seek(offset)
            data = file.read()
        return data[: data.rfind(b"\n") + 1]


def follow(folder: Path, timeout: float, sleep: Callable[[float], None] = time.sleep, now: Callable[[], float] = time.monotonic) -> Iterator[bytes]:
    """Event lines as they are appended. Ends after the event `ended`, when no process writes the run any more, or after `timeout` seconds
    without a new line."""
    lines, last = Lines(folder / "events.jsonl"), now()
    while True:
        alive = now() - last < QUIET_S or is_written(folder)  # asked before the last look: nothing is written after it went
        for line in lines.fresh():
            last = now()
            yield line
            if (events.decode(line) or {}).get("event") == "ended":
                return
        if not alive or now() - last > timeout:
            return
        sleep(POLL_S)


def is_written(folder: Path) -> bool:
    """Whether a process holds the run's events open to write; True where the system cannot say."""
    if fcntl is None:
        return True
    with open(folder / "events.jsonl", "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def watch(streams: Streams, folder: Path, timeout: float, sleep: Callable[[float], None] = time.sleep) -> int:
    """Returns what the run's own command returned, or GONE where it has not ended and nobody writes it."""
    about = json.loads((folder / "run.json").read_bytes())
    utc = Times(folder, datetime.fromisoformat(about["started"]))
    view = RoundsView(_to_stdout(streams), utc=utc)
    if not streams.json:
        _opening(view, folder, about)
    for line in follow(folder, timeout, sleep):
        event = events.decode(line) or {}
        if streams.json:
            print(line.decode(), file=streams.out, flush=True)
            view.how = str(event.get("how") or "") if event.get("event") == "ended" else view.how
        else:
            utc.line = int(event.get("n", -1))
            view(event)
    if not view.how:
        _unended(streams, folder, timeout)
        return GONE
    if not streams.json:
        for text in view.summary():
            streams.result(text)
        page = folder / "report.html"
        streams.result(f"report      {shown(page) if page.exists() else f'hil report {folder.name}'}")
    return exit_code(view)


class Times:
    """When line number `line` of the events was written, in UTC, by timing.jsonl; before the first, when the run began."""

    def __init__(self, folder: Path, began: datetime) -> None:
        self._path, self._began, self._known = folder / "timing.jsonl", began, dict[int, datetime]()
        self.line = -1

    def __call__(self) -> datetime:
        if self.line >= 0 and self.line not in self._known:
            with suppress(ValueError):  # half a line: somebody is writing
                for row in map(json.loads, self._path.read_bytes().splitlines()):
                    self._known[row["n"]] = datetime.fromisoformat(row["utc"])
        return self._known.get(self.line, self._began if self.line < 0 else datetime.now(UTC))


def _to_stdout(streams: Streams) -> Streams:
    """Lines that are progress to `hil run` are the result here."""
    mine = copy.copy(streams)
    mine.err = streams.out
    return mine


def _opening(view: RoundsView, folder: Path, about: dict[str, Any]) -> None:
    with suppress(InputError):  # a bench that this version no longer reads: its rounds can be followed all the same
        bench = read_bench(folder / "scenario.toml", folder / "testbed.toml")
        view.opening(shown(folder), about["seed"], about["depth"], bench.scenario, bench.testbed)


def _unended(streams: Streams, folder: Path, timeout: float) -> None:
    if is_written(folder):
        streams.say(f"run         {folder.name}: nothing new for {timeout:g} s, though its process is still there")
    else:
        streams.say(f"run         {folder.name}: its process is gone and it has not ended\nresume      hil run --resume {folder.name}")
