"""`hil new` and `hil check`: a bench begins as a copy of an example; every file is read, all mistakes at once."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import hil
from hil.commands.streams import Streams
from hil.errors import InputError


def examples_folder() -> Path:
    """Example benches: inside the installed package, or beside it in a clone."""
    package = Path(hil.__file__).resolve().parent
    return package / "examples" if (package / "examples").is_dir() else package.parent / "examples"


def examples() -> list[str]:
    """Names of the example benches."""
    return sorted(path.parent.name for path in examples_folder().glob("*/scenario.toml"))


def new(streams: Streams, folder: Path, example: str) -> None:
    """Copy an example under a new name; refuses a folder that exists."""
    if example not in examples():
        known = ", ".join(examples())
        raise InputError("no-example", "there is no such example", key="--from", found=example, allowed=known)
    if folder.exists():
        raise InputError(
            "folder-exists", "there is something here already", file=str(folder), fix="take another name; nothing is overwritten"
        )
    shutil.copytree(examples_folder() / example, folder, ignore=shutil.ignore_patterns("runs", "__pycache__"))
    scenario = folder / "scenario.toml"
    name = re.sub(r"[^a-z0-9-]+", "-", folder.resolve().name.lower()).strip("-")[:32] or example
    scenario.write_text(re.sub(r'^(name\s*=\s*)"[^"]*"', rf'\g<1>"{name}"', scenario.read_text(), count=1, flags=re.MULTILINE))
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        streams.result(str(file))
    streams.done({"folder": str(folder), "from": example, "files": sorted(str(path) for path in folder.rglob("*") if path.is_file())})


def check(streams: Streams, paths: list[Path]) -> None:
    """Read every file, cross-check every bench; one `ok` line for each."""
    from hil import files

    lines = files.check(*paths)
    for line in lines:
        streams.result(f"{streams.paint('ok', 'green', streams.out)}  {line}")
    streams.done({"checked": lines})
