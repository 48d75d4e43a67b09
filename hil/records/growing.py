"""Files that grow line by line and never keep half a line."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from hil.errors import RecordError
from hil.records import files

try:
    import fcntl
except ImportError:  # pragma: no cover - no file locks on this system
    fcntl = None  # type: ignore[assignment]


class Growing:
    """An append-only file. Each `append` reaches the system at once; `to_disk` the disk.

    alone: RecordError `run-in-use` while another process writes it.
    """

    def __init__(self, path: Path, run: str = "", alone: bool = False) -> None:
        self._path, self._run = path, run
        with files.writing(path, run):
            self._file = open(path, "ab", buffering=0)
        if alone and fcntl is not None:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                self._file.close()
                raise RecordError(
                    "run-in-use", "another process is writing this run", where=run or str(path), fix="let it end, or stop it, first"
                ) from None
        self._good, self._lines = -1, 0
        self._on_disk = -1  # length of what is known to be there
        self._agree()

    def append(self, data: bytes) -> None:
        """Whole or not at all, as far as the disk lets: what a failed write left is cut off, now or before the next one."""
        with files.writing(self._path, self._run):
            self._agree()
            view = memoryview(data)
            try:
                while view:
                    view = view[self._file.write(view) or 0 :]
            except OSError:
                with suppress(OSError):  # the next append tries again; a reader drops a torn last line
                    self._file.truncate(self._good)
                raise
        self._good, self._lines = self._good + len(data), self._lines + data.count(b"\n")

    @property
    def lines(self) -> int:
        """Whole lines in the file."""
        self._agree()
        return self._lines

    def _agree(self) -> None:
        """Looks again when the file is not as long as this object thinks: a failed write, or Ctrl-C between writing and counting."""
        if self._file.closed or os.fstat(self._file.fileno()).st_size == self._good:
            return
        written = self._path.read_bytes()
        whole = written.rfind(b"\n") + 1
        if whole < len(written):
            self._file.truncate(whole)
        self._good, self._lines = whole, written.count(b"\n")

    def to_disk(self) -> None:
        """Waits until the disk has every line."""
        if self._file.closed:
            return
        with files.writing(self._path, self._run):
            self._agree()
            if (length := self._good) != self._on_disk:
                os.fsync(self._file.fileno())
                self._on_disk = length

    def close(self) -> None:
        """Closing twice is fine."""
        self._file.close()
