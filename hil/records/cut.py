"""Takes an interrupted run back to its last whole round: what came after it is put aside in interrupted/N/."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from hil.records import files, layout
from hil.records.reader import Run, read


def after_last_recorded(run: Run) -> Run:
    """Moves lines and files that belong to nothing recorded out of the way; returns the run as it reads then."""
    folder = run.folder
    keep = max((event["n"] + 1 for event in run.of("recorded")), default=0)
    rows = max((event["rows"] for event in run.of("recorded")), default=0)
    kept = run.events[:keep]
    aside = folder / "interrupted" / str(1 + len(list((folder / "interrupted").glob("*"))))
    with files.writing(folder / "events.jsonl", run.name):
        _cut_lines(folder / "events.jsonl", keep, aside)
        _cut_lines(folder / "timing.jsonl", keep, aside)
        _cut_lines(folder / "results.csv", rows, aside)
        for path in unclaimed(folder, kept):
            target = aside / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, target)
        (folder / "SHA512SUMS").unlink(missing_ok=True)
    return read(folder)


def _cut_lines(path: Path, keep: int, aside: Path) -> None:
    if not path.exists():
        return
    lines = path.read_bytes().splitlines(keepends=True)
    if len(lines) <= keep:
        return
    aside.mkdir(parents=True, exist_ok=True)
    (aside / path.name).write_bytes(b"".join(lines[keep:]))
    if keep:
        os.truncate(path, sum(map(len, lines[:keep])))
    elif path.name == "results.csv":
        path.unlink()
    else:
        os.truncate(path, 0)


def unclaimed(folder: Path, kept: tuple[dict[str, Any], ...]) -> list[Path]:
    """Captures, designs and fields that no kept event names."""
    claimed = {event["file"] for event in kept if event.get("file")}
    claimed |= {file.removesuffix("data") + "meta" for file in claimed if file.endswith("-data")}
    rounds = {event["round"] for event in kept if event["event"] == "captured"}
    claimed |= {layout.collection_file(number) for number in rounds if number is not None}
    found = [path for part in ("captures", "designs", "fields") for path in sorted((folder / part).glob("*")) if path.is_file()]
    return [path for path in found if path.relative_to(folder).as_posix() not in claimed]
