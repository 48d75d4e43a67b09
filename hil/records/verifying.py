"""Whether a run folder holds what was recorded, all of it, and nothing else."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hil.errors import RecordError
from hil.records import cut, events, files, layout
from hil.records.reader import FINISHED, Run

SAMPLE_BYTES = 4  # one ci16 sample of one channel


@dataclass(frozen=True, slots=True)
class Problem:
    """kind: missing, truncated, altered, unclaimed, torn or incomplete. file: in the run folder."""

    kind: str
    file: str
    what: str


@dataclass(slots=True)
class Verified:
    """What was looked at, by kind, and what is wrong with it."""

    run: str
    looked_at: dict[str, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        return not self.problems


def verify(folder: Path) -> Verified:
    """Hashes, check sums and completeness of a run folder. RecordError where run.json cannot be read or is of another format."""
    found = Verified(folder.resolve().name)
    run = Run.leniently(folder)
    digests: dict[str, str] = {}
    for count, kind, problems in (
        (len(run.about["inputs"]), "inputs", _inputs(run)),
        (len(run.events), "events", _events(run)),
        (len(run.of("captured")), "captures", _captures(run, digests)),
        (len(_files(run, "designed")), "designs", _arrays(run, "designed")),
        (len(_files(run, "mapped")), "maps", _arrays(run, "mapped")),
        (len(run.recorded), "whole parts", _ending(run)),
        (len(_sums(run)), "hashes", _summed(run, digests)),
    ):
        found.looked_at[kind] = count
        found.problems += problems
    first: dict[tuple[str, bool], Problem] = {}  # a file that fails twice is named once, for the plainer reason
    for problem in found.problems:
        first.setdefault((problem.file, problem.kind == "incomplete"), problem)
    found.problems = list(first.values())
    return found


def require_captures(run: Run) -> None:
    """RecordError `bad-captures` naming every capture that is not what its event says; all are looked at before."""
    problems = list(_captures(run, {}, strangers=False))
    if problems:
        shown = "; ".join(f"{one.kind} {one.file}: {one.what}" for one in problems[:5]) + (" ..." if problems[5:] else "")
        count = "a capture is" if len(problems) == 1 else f"{len(problems)} captures are"
        raise RecordError(
            "bad-captures", f"{count} not what was recorded", where=run.name, found=shown, fix="restore them from a copy; see hil verify"
        )


def _inputs(run: Run) -> Iterator[Problem]:
    for name, digest in run.about["inputs"].items():
        path = run.folder / name
        if not path.exists():
            yield Problem("missing", name, "an input of this run")
        elif files.sha512_of(path) != digest:
            yield Problem("altered", name, "not the file this run began with")


def _events(run: Run) -> Iterator[Problem]:
    path = run.folder / "events.jsonl"
    lines = path.read_bytes().splitlines() if path.exists() else []
    if not lines:
        yield Problem("missing", "events.jsonl", "no events")
    count = 0
    for number, line in enumerate(lines, 1):
        event = events.decode(line)
        if event is None and number == len(lines):
            yield Problem("torn", f"events.jsonl:{number}", "the last line is not whole")
        elif event is None:
            yield Problem("altered", f"events.jsonl:{number}", "its check sum is wrong")
        elif event["n"] != count:
            yield Problem("missing", f"events.jsonl:{number}", f"event {event['n']} stands where {count} belongs")
        count = (count if event is None else event["n"]) + 1
    rows = max((event["rows"] for event in run.of("recorded")), default=0)
    table = run.folder / "results.csv"
    there = table.read_bytes().count(b"\n") if table.exists() else 0
    if there < rows:
        yield Problem("truncated" if there else "missing", "results.csv", f"{there} lines, {rows} were recorded")


def _captures(run: Run, digests: dict[str, str], *, strangers: bool = True) -> Iterator[Problem]:
    """digests: filled with those of the data files. strangers: files of which no event tells are named too."""
    for event in run.of("captured"):
        yield from _capture(run, event, digests)
    if strangers:
        for path in cut.unclaimed(run.folder, run.events):
            yield Problem("unclaimed", path.relative_to(run.folder).as_posix(), "no event tells of it")
        for path in sorted((run.folder / "captures").glob("*.sigmf-collection")):
            yield from _collection(run, path)


def _capture(run: Run, event: Mapping[str, Any], digests: dict[str, str]) -> Iterator[Problem]:
    file = event["file"]
    data, meta = run.folder / file, run.folder / (file.removesuffix("data") + "meta")
    try:
        overall = json.loads(meta.read_bytes())["global"]
        channels, said = int(overall["core:num_channels"]), overall["core:sha512"]
    except FileNotFoundError:
        yield Problem("missing", meta.relative_to(run.folder).as_posix(), "metadata of a capture")
        channels, said = 0, event["sha512"]
    except (ValueError, KeyError, TypeError):
        yield Problem("altered", meta.relative_to(run.folder).as_posix(), "not metadata of a capture")
        channels, said = 0, event["sha512"]
    if not data.exists():
        yield Problem("missing", file, "samples of a capture")
        return
    wanted, size = event["samples"] * channels * SAMPLE_BYTES, data.stat().st_size
    digests[file] = files.sha512_of(data)
    if channels and size < wanted:
        yield Problem("truncated", file, f"{size} of {wanted} bytes")
    elif digests[file] != event["sha512"]:
        yield Problem("altered", file, "not the samples that were recorded")
    if said != event["sha512"]:
        yield Problem("altered", meta.relative_to(run.folder).as_posix(), "another hash than its event's")


def _collection(run: Run, path: Path) -> Iterator[Problem]:
    name = path.relative_to(run.folder).as_posix()
    try:
        streams = json.loads(path.read_bytes())["collection"]["core:streams"]
        for stream in streams:
            meta = run.folder / layout.meta_file(stream["name"])
            if meta.exists() and files.sha512_of(meta) != stream["hash"]:
                yield Problem("altered", layout.meta_file(stream["name"]), f"not the metadata that {path.name} ties")
    except (ValueError, KeyError, TypeError):
        yield Problem("altered", name, "not a SigMF collection")


def _files(run: Run, event: str) -> list[str]:
    return list(dict.fromkeys(one["file"] for one in run.of(event) if one.get("file")))


def _arrays(run: Run, event: str) -> Iterator[Problem]:
    for file in _files(run, event):
        try:
            with np.load(io.BytesIO((run.folder / file).read_bytes()), allow_pickle=False) as held:
                for key in held.files:
                    held[key]
        except FileNotFoundError:
            yield Problem("missing", file, f"a `{event}` event names it")
        except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            yield Problem("altered", file, f"cannot be read: {error}")


def _sums(run: Run) -> dict[str, str]:
    """File -> hash of SHA512SUMS."""
    path = run.folder / "SHA512SUMS"
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    pairs = (line.partition("  ") for line in lines)
    return {file: digest for digest, _, file in pairs}


def _summed(run: Run, digests: Mapping[str, str]) -> Iterator[Problem]:
    sums = _sums(run)
    if "ended" in run.about and not sums:
        yield Problem("missing", "SHA512SUMS", "an ended run has one")
    for file, digest in sums.items():
        path = run.folder / file
        if not path.is_file():
            yield Problem("missing", file, "SHA512SUMS lists it")
        elif (digests.get(file) or files.sha512_of(path)) != digest:
            yield Problem("altered", file, "another hash than in SHA512SUMS")


def _ending(run: Run) -> Iterator[Problem]:
    ended = run.about.get("ended")
    said = run.of("ended")
    last = run.last_whole_round
    far = f"after round {last}" if last is not None else "before a round was whole"
    if ended is None:
        yield Problem("incomplete", "run.json", f"no end is recorded: interrupted {far}; hil run --resume {run.name}")
    elif not said:
        yield Problem("missing", "events.jsonl", f"run.json says it ended ({ended['how']}), no event does")
    elif ended["how"] not in FINISHED:
        yield Problem("incomplete", "run.json", f"ended by {ended['how']} {far}; hil run --resume {run.name}")
    elif last is None and not run.study and not run.of("designed", infeasible=True):
        yield Problem("missing", "events.jsonl", "no round was recorded whole")
