"""On which line of a TOML file each key stands.

`tomllib` knows values and no lines; this scanner knows lines and no values. It is given text that `tomllib` has accepted, so it needs no
errors of its own. A path is a tuple of keys and list indices, ("array", 0, "elements"), as they lead to a value in the parsed document.
"""

from __future__ import annotations

import re
import tomllib

Path = tuple[str | int, ...]

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_SCALAR = re.compile(r"[^\s,\]}#]+(?: \d[^\s,\]}#]*)?")  # a date and its time may be parted by one space


class Lines:
    """Line numbers (from 1) of every table, key and list item of a TOML text."""

    def __init__(self, text: str) -> None:
        self._at: dict[Path, int] = {(): 1}
        _Scanner(text, self._at).document()

    def of(self, path: Path) -> int:
        """Line of `path`, or of the nearest table around it where the path itself is not in the file."""
        while path not in self._at:
            path = path[:-1]
        return self._at[path]

    def __contains__(self, path: object) -> bool:
        return path in self._at


class _Scanner:
    """Walks over a valid TOML text once and notes where things begin."""

    def __init__(self, text: str, at: dict[Path, int]) -> None:
        self.text, self.at = text, at
        self.place, self.line = 0, 1
        self.entries: dict[Path, int] = {}  # arrays of tables: entries so far

    def document(self) -> None:
        table: Path = ()
        while True:
            self.blank(newlines=True)
            if self.place >= len(self.text):
                return
            if self.text[self.place] == "[":
                table = self.header()
            else:
                self.pair(table)

    # -- small steps ---------------------------------------------------------------------------------------------------------------

    def note(self, path: Path) -> None:
        self.at.setdefault(path, self.line)

    def advance(self, count: int) -> str:
        piece = self.text[self.place : self.place + count]
        self.place += count
        self.line += piece.count("\n")
        return piece

    def blank(self, newlines: bool) -> None:
        """Skip spaces and comments, and line ends where they may stand."""
        while self.place < len(self.text):
            char = self.text[self.place]
            if char == "#":
                end = self.text.find("\n", self.place)
                self.place = len(self.text) if end < 0 else end
            elif char in " \t\r" or (newlines and char == "\n"):
                self.advance(1)
            else:
                return

    def keys(self) -> tuple[str, ...]:
        """A dotted key: bare and quoted parts."""
        parts: list[str] = []
        while True:
            self.blank(newlines=False)
            if self.text[self.place] in "\"'":
                quoted = self.string()
                parts.append(quoted[1:-1] if quoted[0] == "'" else tomllib.loads(f"key = {quoted}")["key"])
            else:
                match = _BARE.match(self.text, self.place)
                parts.append(match.group() if match else "")
                self.advance(max(1, len(parts[-1])))
            self.blank(newlines=False)
            if self.text[self.place : self.place + 1] != ".":
                return tuple(parts)
            self.advance(1)

    def string(self) -> str:
        """A string of any of the four kinds, with its quotes."""
        quote = self.text[self.place]
        triple = self.text.startswith(quote * 3, self.place)
        end = self.place + (3 if triple else 1)
        closing = quote * 3 if triple else quote
        while not self.text.startswith(closing, end):
            end += 2 if quote == '"' and self.text[end] == "\\" else 1
        end += len(closing)
        while triple and self.text.startswith(quote, end):  # up to two quotes may stand before the closing three
            end += 1
        return self.advance(end - self.place)

    def inside(self, path: Path) -> Path:
        """`path` with the present entry put in after each array of tables on the way."""
        whole: Path = ()
        for key in path:
            whole += (key,)
            if whole in self.entries:
                whole += (self.entries[whole] - 1,)
        return whole

    # -- the grammar ---------------------------------------------------------------------------------------------------------------

    def header(self) -> Path:
        """`[table]` or `[[table]]`; returns the table's path."""
        array = self.text.startswith("[[", self.place)
        self.advance(2 if array else 1)
        keys = self.keys()
        parent = self.inside(keys[:-1])
        for depth in range(1, len(keys)):
            self.note(self.inside(keys[:depth]))
        path = parent + keys[-1:]
        if array:
            self.note(path)
            self.entries[path] = self.entries.get(path, 0) + 1
            path += (self.entries[path] - 1,)
        elif path in self.entries:
            path += (self.entries[path] - 1,)
        self.note(path)
        self.advance(2 if array else 1)
        return path

    def pair(self, table: Path) -> None:
        """`key = value`."""
        here = self.line
        keys = self.keys()
        for depth in range(1, len(keys) + 1):
            self.at.setdefault(table + keys[:depth], here)
        self.advance(1)  # the equals sign
        self.blank(newlines=False)
        self.value(table + keys)

    def value(self, path: Path) -> None:
        char = self.text[self.place]
        if char in "\"'":
            self.string()
        elif char == "[":
            self.sequence(path)
        elif char == "{":
            self.inline(path)
        else:
            match = _SCALAR.match(self.text, self.place)
            self.advance(len(match.group()) if match else 1)

    def sequence(self, path: Path) -> None:
        self.advance(1)
        index = 0
        while True:
            self.blank(newlines=True)
            if self.text[self.place] == "]":
                self.advance(1)
                return
            if self.text[self.place] == ",":
                self.advance(1)
                continue
            self.note((*path, index))
            self.value((*path, index))
            index += 1

    def inline(self, path: Path) -> None:
        self.advance(1)
        while True:
            self.blank(newlines=True)
            if self.text[self.place] == "}":
                self.advance(1)
                return
            if self.text[self.place] == ",":
                self.advance(1)
                continue
            self.pair(path)
