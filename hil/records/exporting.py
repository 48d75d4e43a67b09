"""Hands a run's captures over as SigMF Recordings that any reader opens, with its tables and events beside them."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha512
from pathlib import Path
from typing import Any

import numpy as np

from hil.errors import InputError, RecordError
from hil.records import files, sigmf, verifying
from hil.records.reader import Run

BESIDE = ("results.csv", "events.jsonl", "run.json", "settings.json", "scenario.toml", "testbed.toml")
PER_CHANNEL = ("hil:positions_m", "hil:position_std_m", "hil:gain_db")


@dataclass(frozen=True, slots=True)
class Exported:
    """captures of the run, recordings they became, bytes of samples, files beside them."""

    captures: int
    recordings: int
    bytes: int
    files: tuple[str, ...]


def export(run: Run, out: Path, *, split: bool = False) -> Exported:
    """Copies captures, a SigMF Collection per round, tables and events into `out`. split: one channel per Recording.

    InputError `folder-exists` when `out` holds something; RecordError `bad-captures` before anything is copied.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError("folder-exists", "there is something here already", file=str(out), fix="take another name; nothing is overwritten")
    verifying.require_captures(run)
    try:
        return _export(run, out, split)
    except RecordError as error:
        if error.id == "disk-full":
            raise RecordError(error.id, error.what, where=error.where, found=error.found, note="the run itself is untouched",
                              fix=f"free some space, remove {out} and export again, or use --out DIR on another disk") from error  # fmt: skip
        raise


def _export(run: Run, out: Path, split: bool) -> Exported:
    recordings = size = 0
    streams: dict[int, list[tuple[str, str]]] = {}
    events = run.of("captured")
    for event in events:
        for name, meta, codes in _recordings(run, event, split):
            described = files.json_bytes(meta)
            files.write_whole(out / f"{name}.sigmf-data", codes)
            files.write_whole(out / f"{name}.sigmf-meta", described)
            streams.setdefault(event["round"], []).append((name, sha512(described).hexdigest()))
            recordings, size = recordings + 1, size + len(codes)
    for number, tied in streams.items():
        files.write_whole(out / f"r{number:03d}.sigmf-collection", files.json_bytes(sigmf.collection(tied, run.name, number)))
    beside = tuple(name for name in BESIDE if (run.folder / name).exists())
    for name in beside:
        files.write_whole(out / name, (run.folder / name).read_bytes())
    return Exported(len(events), recordings, size, beside)


def _recordings(run: Run, event: dict[str, Any], split: bool) -> Iterator[tuple[str, dict[str, Any], bytes]]:
    """(name, metadata, samples) of a capture: as it is, or channel by channel."""
    name = event["file"].removeprefix("captures/").removesuffix(".sigmf-data")
    data, meta = (run.folder / event["file"]).read_bytes(), run.metadata(name)
    channels = meta["global"]["core:num_channels"]
    if not split or channels == 1:
        yield name, meta, data
        return
    codes = np.frombuffer(data, "<i2").reshape(-1, channels, 2)
    for channel in range(channels):
        alone = codes[:, channel].tobytes()
        yield f"{name}-ch{channel}", _one_channel(meta, channel, alone), alone


def _one_channel(meta: dict[str, Any], channel: int, data: bytes) -> dict[str, Any]:
    """The metadata of one channel of a capture: what is said per channel is said of this one."""
    alone = copy.deepcopy(meta)
    overall, segment = alone["global"], alone["captures"][0]
    described = f"{overall['core:description']}, channel {channel} of {overall['core:num_channels']}"
    overall |= {"core:num_channels": 1, "core:sha512": sha512(data).hexdigest(), "core:description": described}
    for key in PER_CHANNEL:
        if segment.get(key):
            segment[key] = segment[key][channel : channel + 1]
    return alone
