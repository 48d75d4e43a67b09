"""Writing files so that each is either whole or not there, and saying plainly when a disk will not take them."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha512
from pathlib import Path
from typing import Any

import msgspec

from hil.errors import RecordError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def writing(path: Path, run: str = "") -> Iterator[None]:
    """Turns an OSError into a RecordError that names the file, what is free and what to do. What was written before stays readable."""
    try:
        yield
    except OSError as error:
        resume = f", then hil run --resume {run}" if run else ""
        if error.errno in _FULL:
            found = f"{_free_mb(path)} MB free ({error.strerror})"
            raise RecordError(
                "disk-full", "could not be written: no space", where=str(path), found=found,
                note="what was recorded before it is whole", fix=f"free some space or raise the quota, or use --runs DIR on another disk{resume}",
            ) from error  # fmt: skip
        raise RecordError(
            "cannot-write", "could not be written", where=str(path), found=f"{error.strerror or error}",
            note="what was recorded before it is whole", fix=f"check the folder's permissions and disk{resume}",
        ) from error  # fmt: skip


def _free_mb(path: Path) -> int | str:
    for folder in (path, *path.parents):
        if folder.is_dir():
            return shutil.disk_usage(folder).free // 1_000_000
    return "unknown"


def write_whole(path: Path, *parts: Any, run: str = "") -> None:
    """Writes bytes-like parts beside `path` and renames them into place; on failure nothing is left behind."""
    beside = path.with_name(f".{path.name}.part")
    with writing(path, run):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(beside, "wb") as file:
                for part in parts:
                    file.write(part)
            os.replace(beside, path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise


def json_bytes(value: Any) -> bytes:
    """Readable JSON, one line per key of the outer levels; NaN is refused."""
    compact = json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    return msgspec.json.format(compact, indent=1) + b"\n"  # ten times as fast as json's own indenting, and the same


def sha512_of(path: Path) -> str:
    """Hexadecimal SHA-512 of a file, read in pieces."""
    digest = sha512()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def inside(folder: Path, name: str) -> Path:
    """`name` as a path under `folder`; ValueError for one that leads out of it."""
    path = Path(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ValueError(f"not a name inside a run folder: {name!r}")
    return folder / path
