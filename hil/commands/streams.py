"""Where words go: results to stdout, all else to stderr; plain, coloured or as one JSON object."""

from __future__ import annotations

import json
import logging
import math
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TextIO

import hil
from hil.errors import HilError

_CODES = {"red": "31", "green": "32", "yellow": "33", "bold": "1"}


@dataclass
class Streams:
    """How a command was asked to speak. `verbose`: 0 rounds, 1 states and settings, 2 wire traffic."""

    command: str = ""
    quiet: bool = False
    verbose: int = 0
    json: bool = False
    color: str = "auto"
    out: TextIO = field(default_factory=lambda: sys.stdout)
    err: TextIO = field(default_factory=lambda: sys.stderr)
    _status: bool = False

    def __post_init__(self) -> None:
        level = {0: logging.WARNING, 1: logging.INFO}.get(self.verbose, logging.DEBUG)
        logger = logging.getLogger("hil")
        logger.setLevel(logging.ERROR if self.quiet else level)
        logger.handlers = [_Lines(self)]
        logger.propagate = False

    def result(self, text: str) -> None:
        """A line of the result; not with --json, whose one object says it all."""
        if not self.json:
            self._wipe()
            print(text, file=self.out, flush=True)

    def say(self, text: str) -> None:
        """Progress."""
        if not self.quiet:
            self._wipe()
            print(text, file=self.err, flush=True)

    def status(self, text: str) -> None:
        """The one line that is written over, under all others; only where somebody looks at a screen."""
        if not self.quiet and self.terminal(self.err):
            self._wipe()
            print(text, end="", file=self.err, flush=True)
            self._status = bool(text)

    def _wipe(self) -> None:
        if self._status:
            print("\r\x1b[2K", end="", file=self.err)
            self._status = False

    def done(self, result: Mapping[str, Any], ok: bool = True) -> None:
        """The one JSON object of a command that came to its end."""
        if self.json:
            self._object({"ok": ok, "result": result})

    def failed(self, error: HilError) -> None:
        """An error in its two lines; with --json also as the one object on stdout."""
        self._wipe()
        for line in error.message.splitlines():
            head, bracket, rest = line.partition("] ")
            print(
                self.paint(head + bracket.strip(), "red") + (f" {rest}" if bracket else "") if line.startswith("error[") else line,
                file=self.err,
            )
        self.err.flush()
        if self.json:
            errors = getattr(error, "errors", (error,))
            more = {"errors": [as_plain(one) for one in errors]} if len(errors) > 1 else {}
            self._object({"ok": False, "error": as_plain(errors[0]), **more})

    def _object(self, content: Mapping[str, Any]) -> None:
        print(json.dumps({"hil": hil.__version__, "command": self.command, **_finite(content)}), file=self.out, flush=True)

    def paint(self, text: str, how: str, stream: TextIO | None = None) -> str:
        """Coloured where colour is wanted; it never carries meaning alone."""
        return f"\x1b[{_CODES[how]}m{text}\x1b[0m" if self.colours(stream or self.err) else text

    def colours(self, stream: TextIO) -> bool:
        if self.color != "auto":
            return self.color == "always"
        if os.environ.get("NO_COLOR"):
            return False
        return bool(os.environ.get("FORCE_COLOR")) or self.terminal(stream)

    @staticmethod
    def terminal(stream: TextIO) -> bool:
        """Whether somebody looks at it on a screen that can move its cursor."""
        return stream.isatty() and os.environ.get("TERM", "") != "dumb"


class _Lines(logging.Handler):
    """Log records as lines on stderr."""

    def __init__(self, streams: Streams) -> None:
        super().__init__()
        self.streams = streams

    def emit(self, record: logging.LogRecord) -> None:
        print(f"{record.levelname.lower():7} {record.name}: {record.getMessage()}", file=self.streams.err, flush=True)


def as_plain(error: HilError) -> dict[str, Any]:
    """An error as the JSON object describes it."""
    facts = {name: getattr(error, name, None) or None for name in ("file", "line", "key", "found", "allowed", "fix")}
    return {"id": error.id, "message": error.what, "where": error.where or None, **facts, "note": error.note or None}


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinity: null."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
