"""`hil verify` and `hil export`: whether a run folder is whole, and handing its captures over."""

from __future__ import annotations

from pathlib import Path

from hil.commands.streams import Streams


def verify(streams: Streams, name: str, folder: Path) -> int:
    """Returns 0 when everything is there as recorded, 1 when something is missing, altered or was never finished."""
    from hil.records import resolve, verifying

    found = verifying.verify(resolve(name, folder))
    counts = ", ".join(f"{count} {kind}" for kind, count in found.looked_at.items())
    streams.result(f"{found.run}   {counts}: {'all as recorded' if found.whole else _problems(len(found.problems))}")
    for one in found.problems:
        streams.result(f"{one.kind:<11} {one.file}: {one.what}")
    streams.done(
        {"run": found.run, "looked_at": found.looked_at, "problems": [{"kind": p.kind, "file": p.file, "what": p.what} for p in found.problems]},
        ok=found.whole,
    )  # fmt: skip
    return 0 if found.whole else 1


def _problems(count: int) -> str:
    return f"{count} problem{'' if count == 1 else 's'}"


def export(streams: Streams, name: str, folder: Path, out: Path, split: bool) -> None:
    """Copies captures, events and tables of a run into an empty folder."""
    from hil.records import exporting, read

    run = read(name, folder)
    found = exporting.export(run, out, split=split)
    streams.result(f"{out}   {found.recordings} recordings of {found.captures} captures, {found.bytes / 1e6:.1f} MB; {', '.join(found.files)}")
    streams.done(
        {"run": run.name, "out": str(out), "captures": found.captures, "recordings": found.recordings, "bytes": found.bytes, "files": found.files}
    )  # fmt: skip
