"""Reads a run folder: of a run that ended, was interrupted, or is still going on."""

from __future__ import annotations

import copy
import dataclasses
import io
import json
import tomllib
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha512
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.clock import Instant
from hil.errors import RecordError
from hil.knowledge import Design
from hil.records import events, files, layout, names, results, sigmf

FINISHED = ("converged", "limit", "done")


class TornRecord(UserWarning):
    """A last line was not whole and was left out."""


def read(run: str | Path = "last", runs_dir: str | Path = "runs") -> Run:
    """A run by path, name, `last`, `last~1` or a unique part of its name.

    InputError when there is no such run, RecordError when it is damaged. A torn last event line is left out with a TornRecord warning.
    """
    return Run(names.resolve(run, runs_dir))


class Run:
    """What one run folder holds. Nothing is written; files are read when they are asked for.

    about: run.json. events: every whole line, as dicts. dropped: lines left out at the end because they were cut short.
    """

    def __init__(self, folder: Path) -> None:
        self._begin(folder)
        self.events, self.dropped, self._last_line = self._read_events()
        self._require_event_format()

    @classmethod
    def leniently(cls, folder: Path) -> Run:
        """For `hil verify`: damaged event lines are left out wherever they stand."""
        run = cls.__new__(cls)
        run._begin(folder)
        path = folder / "events.jsonl"
        lines = path.read_bytes().splitlines() if path.exists() else []
        run.events = tuple(event for event in map(events.decode, lines) if event is not None)
        run.dropped, run._last_line = len(lines) - len(run.events), b""
        run._require_event_format()
        return run

    def _begin(self, folder: Path) -> None:
        self.folder, self.name = folder, folder.resolve().name
        self.about: dict[str, Any] = self._json("run.json")
        self._require_format("run.json", self.about.get("format"), layout.RUN_FORMAT)

    def _require_event_format(self) -> None:
        for event in self.of("started"):
            self._require_format("events.jsonl", event.get("format", events.FORMAT), events.FORMAT)

    def _require_format(self, file: str, found: Any, known: str) -> None:
        if found != known:
            raise RecordError(
                "run-format", "written in a format this version does not know", where=f"{self.name} {file}", found=str(found), allowed=known,
                fix=f"read it with the version that wrote it (hil {self.about.get('hil') or 'unknown'})",
            )  # fmt: skip

    def until(self, n: int) -> Run:
        """The same run as it stood before event n; files that came later are still there."""
        earlier = copy.copy(self)
        earlier.events = self.events[:n]
        return earlier

    # ---- how far it came

    @property
    def interrupted(self) -> bool:
        """Whether there is something to resume: no end was recorded, or one that was not a finish."""
        return (self.about.get("ended") or {}).get("how") not in FINISHED

    @property
    def ended(self) -> str:
        """How it ended; `interrupted` too when it never said."""
        return str((self.about.get("ended") or {}).get("how", "interrupted"))

    @property
    def recorded(self) -> tuple[tuple[int, str], ...]:
        """(round, what) of everything whole: explore, baselines' names and `round`, in order."""
        return tuple((event["round"], event["what"]) for event in self.of("recorded"))

    @property
    def last_whole_round(self) -> int | None:
        return max((number for number, what in self.recorded if what == "round"), default=None)

    @property
    def rounds(self) -> tuple[int, ...]:
        """Numbers of the rounds that have events, whole or not."""
        return tuple(sorted({event["round"] for event in self.events if event["round"] is not None}))

    @property
    def last_instant(self) -> Instant:
        """Exact time of the last event; the clock's epoch when there is none."""
        return events.instant_of(self._last_line) if self._last_line else Instant(0, 0.0)

    # ---- events

    def of(self, event: str, round: int | None = None, **fields: Any) -> list[dict[str, Any]]:
        """Events of one kind, of one round if given, whose named fields have the given values."""
        return [
            line
            for line in self.events
            if line["event"] == event and (round is None or line["round"] == round) and all(line.get(k) == v for k, v in fields.items())
        ]

    def round(self, number: int) -> list[dict[str, Any]]:
        """Every event of one round."""
        return [line for line in self.events if line["round"] == number]

    def _read_events(self) -> tuple[tuple[dict[str, Any], ...], int, bytes]:
        path = self.folder / "events.jsonl"
        lines = path.read_bytes().splitlines() if path.exists() else []
        whole: list[dict[str, Any]] = []
        for index, line in enumerate(lines):
            event = events.decode(line)
            if event is not None and event["n"] == index:
                whole.append(event)
                continue
            if index < len(lines) - 1:
                raise RecordError(
                    "bad-event",
                    "an event in the middle of the stream is not what was written",
                    where=f"{self.name} events.jsonl:{index + 1}",
                    found="check sum or count is wrong",
                    fix="restore the file from a copy; only a last line may be torn",
                )
            warnings.warn(f"{self.name} events.jsonl:{index + 1}: last line is not whole, left out", TornRecord, stacklevel=4)
        return tuple(whole), len(lines) - len(whole), lines[len(whole) - 1] if whole else b""

    # ---- tables, inputs, settings

    def table(self) -> dict[str, NDArray[Any]]:
        """results.csv as numpy columns; empty cells are NaN. {} when no round was recorded."""
        path = self.folder / "results.csv"
        return results.decode(path.read_text()) if path.exists() else {}

    def timing(self) -> dict[str, NDArray[np.float64]]:
        """timing.jsonl: n and wall_s of each event line; whole lines only."""
        path = self.folder / "timing.jsonl"
        rows = []
        for line in path.read_bytes().splitlines() if path.exists() else []:
            try:
                row = json.loads(line)
                rows.append((row["n"], row["wall_s"]))
            except (ValueError, KeyError):
                continue
        pairs = np.array(rows, dtype=np.float64).reshape(-1, 2)
        return {"n": pairs[:, 0], "wall_s": pairs[:, 1]}

    @property
    def wall_s(self) -> float:
        """Wall seconds up to the last event."""
        times = self.timing()["wall_s"]
        return float(times[-1]) if len(times) else 0.0

    @cached_property
    def settings(self) -> dict[str, list[dict[str, Any]]]:
        """device -> what it was asked and became, every time; {} before the first."""
        return self._json("settings.json") if (self.folder / "settings.json").exists() else {}

    def input(self, name: str) -> bytes:
        """The byte copy of one input file, checked against its hash."""
        path = files.inside(self.folder, name)
        if name not in self.about["inputs"] or not path.exists():
            raise RecordError(
                "no-input", "not among this run's inputs", where=self.name, found=name, allowed=", ".join(self.about["inputs"])
            )
        content = path.read_bytes()
        if sha512(content).hexdigest() != self.about["inputs"][name]:
            raise RecordError("bad-hash", "not the file this run began with", where=f"{self.name} {name}", fix="restore it from a copy")
        return content

    @cached_property
    def scenario(self) -> dict[str, Any]:
        """scenario.toml as plain values; {} when the run has none."""
        return tomllib.loads(self.input("scenario.toml").decode()) if "scenario.toml" in self.about["inputs"] else {}

    @cached_property
    def study(self) -> dict[str, Any]:
        """study.json, what a sweep, designs or a figure were asked for, with the `command` that makes them; {} for a trial."""
        held: dict[str, Any] = json.loads(self.input("study.json")) if "study.json" in self.about["inputs"] else {}
        return held

    # ---- captures, designs, fields

    @property
    def captures(self) -> list[str]:
        """Names of the captures whose metadata is in place."""
        return sorted(path.stem for path in (self.folder / "captures").glob("*.sigmf-meta"))

    def capture(self, name: str, verify: bool = False) -> sigmf.Recorded:
        """One capture with its samples and positions. verify: compare the data's SHA-512 first."""
        name = name.removeprefix("captures/").removesuffix(".sigmf-data")
        meta = self.metadata(name)
        path = self.folder / layout.data_file(name)
        if verify and (found := files.sha512_of(path)) != meta["global"]["core:sha512"]:
            raise RecordError(
                "bad-hash",
                "the samples are not those recorded",
                where=f"{self.name} {name}",
                found=found[:16] + "...",
                allowed=meta["global"]["core:sha512"][:16] + "...",
            )
        return sigmf.recorded(name, meta, path.read_bytes())

    def metadata(self, capture: str) -> dict[str, Any]:
        """The SigMF metadata of one capture."""
        file = layout.meta_file(capture)
        there = self.captures if not (self.folder / file).exists() else []
        held: dict[str, Any] = self._json(file, missing=f"captures: {', '.join(there[:8])}" + (" ..." if there[8:] else ""))
        return held

    def design(self, round: int, designer: str, step: str = "") -> Design:
        """The design of a round as its designer made it."""
        arrays = self.design_arrays(round, designer, step)
        held = {f.name: _scalar(arrays[f.name]) for f in dataclasses.fields(Design) if f.name in arrays}
        return Design(**held)

    def design_arrays(self, round: int, designer: str, step: str = "") -> dict[str, NDArray[Any]]:
        """Everything stored beside a design: its fields and what it was made from."""
        return self._npz(layout.design_file(round, designer, step))

    def fields(self) -> Iterator[tuple[int, str, str, dict[str, NDArray[Any]]]]:
        """(round, transmitter, user, arrays) of each channel along a rail (`layout.RAIL`), in the order of the `mapped` events."""
        for event in self.of("mapped"):
            yield event["round"], event["transmitter"], event["user"], self.field_arrays(event["file"])

    def field_arrays(self, file: str) -> dict[str, NDArray[Any]]:
        """The channel along one rail, by the file its `mapped` event names."""
        return self._npz(file)

    def _npz(self, file: str) -> dict[str, NDArray[Any]]:
        path = self.folder / file
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as held:
                return {key: held[key] for key in held.files}
        except FileNotFoundError:
            there = ", ".join(sorted(entry.name for entry in path.parent.glob("*"))) or "none"
            raise RecordError("no-file", "not in this run", where=f"{self.name} {file}", found=there) from None
        except (ValueError, zipfile.BadZipFile, EOFError) as error:
            raise RecordError("bad-file", "cannot be read", where=f"{self.name} {file}", found=str(error)) from error

    def _json(self, file: str, missing: str = "") -> Any:
        try:
            return json.loads((self.folder / file).read_bytes())
        except FileNotFoundError:
            raise RecordError("no-file", "not in this run", where=f"{self.folder.name} {file}", found=missing) from None
        except ValueError as error:
            raise RecordError("bad-file", "cannot be read", where=f"{self.folder.name} {file}", found=str(error)) from error


def _scalar(array: NDArray[Any]) -> Any:
    return array.item() if array.ndim == 0 else array


@dataclass(frozen=True, slots=True)
class Listed:
    """One line of `hil runs`. measured: worst user's of the last round, None where there is none."""

    name: str
    folder: Path
    scenario: str
    seed: int
    depth: str
    started: str
    ended: str
    rounds: int
    measured: float | None
    unit: str = "dB"


def list_runs(runs_dir: str | Path = "runs") -> list[Listed]:
    """Every run in a folder, oldest first; one whose run.json cannot be read is listed as `damaged`."""
    return [_listed(Path(runs_dir) / name) for name in names.known(runs_dir)]


def _listed(folder: Path) -> Listed:
    try:
        about: Mapping[str, Any] = json.loads((folder / "run.json").read_bytes())
        table = results.decode((folder / "results.csv").read_text()) if (folder / "results.csv").exists() else {}
        ended = (about.get("ended") or {}).get("how", "interrupted")
    except (OSError, ValueError):
        about, table, ended = {}, {}, "damaged"
    rounds, measured = table.get("round", np.zeros(0)), table.get("measured_db", np.zeros(0))
    last = measured[rounds == rounds[-1]] if len(rounds) else np.zeros(0)
    air = about.get("air", False)
    return Listed(
        folder.name,
        folder,
        about.get("scenario", ""),
        about.get("seed", 0),
        "air" if air else about.get("depth", ""),
        about.get("started", ""),
        ended,
        int(rounds.max()) if len(rounds) else 0,
        float(np.nanmin(last)) if np.isfinite(last).any() else None,
    )
