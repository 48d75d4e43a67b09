"""Names of runs: `YYYYMMDD-HHMMSS-NAME-xxxx` in UTC; and the short ways to say one."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from hil.errors import InputError

_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"  # without 0, 1, l and o: a name is read aloud in a laboratory
PATTERN = re.compile(r"\d{8}-\d{6}-[a-z0-9][a-z0-9-]{0,47}-[a-z0-9]{4}")
_LAST = re.compile(r"last(?:~(\d+))?")


def new(scenario: str, now: datetime | None = None, pick: Callable[[str], str] = secrets.choice) -> str:
    """A fresh name. The four last characters come from the system's randomness, not the run's: two runs of one seed are two runs."""
    utc = (now or datetime.now(UTC)).astimezone(UTC)
    name = f"{utc:%Y%m%d-%H%M%S}-{scenario}-{''.join(pick(_LETTERS) for _ in range(4))}"
    if not PATTERN.fullmatch(name):
        raise ValueError(f"not a run name: {name!r} (a-z 0-9 and - only)")
    return name


def known(runs_dir: str | Path) -> list[str]:
    """Names of the runs in a folder, oldest first. A folder without run.json is none."""
    folder = Path(runs_dir)
    if not folder.is_dir():
        return []
    return sorted(entry.name for entry in folder.iterdir() if PATTERN.fullmatch(entry.name) and (entry / "run.json").is_file())


def resolve(text: str | Path, runs_dir: str | Path = "runs") -> Path:
    """The folder of one run: its path, its name, `last`, `last~1` (the one before), or any part of a name that only one run has.

    InputError `no-such-run` or `ambiguous-run`, saying which runs there are.
    """
    given = Path(text)
    if (given / "run.json").is_file():
        return given
    names = known(runs_dir)
    if not names:
        raise InputError(
            "no-such-run", f"no run `{text}`", found=f"no runs in {runs_dir}", fix="hil run BENCH makes one, --runs DIR looks elsewhere"
        )
    text = str(text)
    if match := _LAST.fullmatch(text):
        back = int(match.group(1) or 0)
        if back < len(names):
            return Path(runs_dir) / names[-1 - back]
        raise InputError(
            "no-such-run", f"no run `{text}`", found=f"{len(names)} runs in {runs_dir}", allowed=f"last ... last~{len(names) - 1}"
        )
    matches = [name for name in names if name == text] or [name for name in names if text and text in name]
    if len(matches) == 1:
        return Path(runs_dir) / matches[0]
    if matches:
        shown = ", ".join(matches[-5:])
        count = f"{len(matches)} runs, among them " if len(matches) > 5 else ""
        raise InputError("ambiguous-run", f"`{text}` is part of more than one run's name", found=count + shown, fix="give more of the name")
    raise InputError("no-such-run", f"no run `{text}` in {runs_dir}", found=f"latest: {', '.join(names[-3:])}", fix="hil runs lists them")
