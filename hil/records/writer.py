"""Writes a run folder while the run goes on, so that whatever happens the folder can be read and the run resumed.

Every file is either whole or absent, except events.jsonl, timing.jsonl, results.csv and log.txt, which grow line by line; a line that a
full disk cut short is taken back before the next is written.
"""

from __future__ import annotations

import dataclasses
import io
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import UTC, datetime
from hashlib import sha512
from pathlib import Path
from typing import Any

import numpy as np

from hil.clock import Clock, Instant
from hil.device import Capture, Setting, Tolerance, differences
from hil.errors import RecordError
from hil.records import cut, events, files, layout, names, results, sigmf
from hil.records.growing import Growing
from hil.records.reader import read

HOWS = ("converged", "limit", "done", "interrupted", "fault", "safe")
_HANDS = 4  # captures or growing files written at once
_NOT_SUMMED = ("SHA512SUMS", "report.html", "log.txt", "figures")  # made again at any time, or still growing

Observer = Callable[[dict[str, Any]], None]


def _utc() -> datetime:
    return datetime.now(UTC)


class RunWriter:
    """One run's folder. Made by `create` or `resume`; ended by `end`. A context manager that closes, without claiming an end."""

    def __init__(
        self, folder: Path, about: dict[str, Any], *, clock: Clock | None = None, observers: Iterable[Observer] = (),
        utc: Callable[[], datetime] = _utc, wall: Callable[[], float] = time.monotonic, wall_before: float = 0.0,
        hashes: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        self.folder, self.name, self.about = folder, folder.name, about
        self.observers: list[Observer] = list(observers)
        self._clock, self._utc, self._wall = clock, utc, wall
        self._wall_zero = wall() - wall_before
        self._hashes = dict(hashes or {})
        self._settings: dict[str, list[dict[str, Any]]] = {}
        self._columns: list[str] = []
        self._meta_hashes: dict[str, str] = {}
        self._events = Growing(folder / "events.jsonl", self.name, alone=True)
        self._timing = Growing(folder / "timing.jsonl", self.name)
        self._log = Growing(folder / "log.txt", self.name)
        self._results: Growing | None = None
        self._hands = ThreadPoolExecutor(_HANDS, thread_name_prefix="record")  # hashing, writing and waiting for disks let go of the interpreter

    # ---- beginning and end

    @classmethod
    def create(
        cls, runs_dir: str | Path, name: str, *, scenario_name: str, command: str, seed: int, depth: str, inputs: Mapping[str, bytes],
        versions: Mapping[str, str], commit: str | None = None, dirty: bool | None = None, air: bool = False, host: str | None = None,
        clock: Clock | None = None, observers: Iterable[Observer] = (), utc: Callable[[], datetime] = _utc,
        wall: Callable[[], float] = time.monotonic,
    ) -> RunWriter:  # fmt: skip
        """Makes runs_dir/name with run.json and byte copies of `inputs` (path in the run folder -> content).

        name: from `names.new`. depth: process, nodes or device. `clock` is asked for the time of events that do not bring their own.
        """
        if not names.PATTERN.fullmatch(name):
            raise ValueError(f"not a run name: {name!r}")
        folder = Path(runs_dir) / name
        with files.writing(folder, name):
            folder.parent.mkdir(parents=True, exist_ok=True)
            try:
                folder.mkdir()
            except FileExistsError:
                raise RecordError("run-exists", "a run of this name is there already", where=str(folder), fix="take another name") from None
        hashes = {}
        for inside, content in inputs.items():
            files.write_whole(files.inside(folder, inside), content, run=name)
            hashes[inside] = sha512(content).hexdigest()
        about = {
            "format": layout.RUN_FORMAT, "name": name, "scenario": scenario_name, "command": command, "seed": seed, "depth": depth, "air": air,
            "started": _stamp(utc()), "hil": versions.get("hil", ""), "versions": dict(versions), "commit": commit, "dirty": dirty,
            "host": host if host is not None else socket.gethostname(), "inputs": hashes,
        }  # fmt: skip
        files.write_whole(folder / "run.json", files.json_bytes(about), run=name)
        return cls(folder, about, clock=clock, observers=observers, utc=utc, wall=wall, hashes=hashes)

    @classmethod
    def resume(
        cls, folder: str | Path, *, command: str, clock: Clock | None = None, observers: Iterable[Observer] = (),
        utc: Callable[[], datetime] = _utc, wall: Callable[[], float] = time.monotonic,
    ) -> RunWriter:  # fmt: skip
        """Goes on after the last `recorded` event. What came later was not whole: it is moved to interrupted/N/, not lost.

        Read the folder afterwards (`hil.records.read`) for what the loop needs. RecordError `nothing-to-resume` when the run ended well.
        """
        folder = Path(folder)
        before = read(folder)
        if not before.interrupted:
            how = (before.about.get("ended") or {}).get("how", "")
            raise RecordError(
                "nothing-to-resume", "this run has ended", where=folder.name, found=f"ended: {how}", fix="hil run BENCH starts a new one"
            )
        guard = Growing(folder / "events.jsonl", folder.name, alone=True)  # refuses while another process still writes here
        try:
            kept = cut.after_last_recorded(before)
        finally:
            guard.close()
        about = {key: value for key, value in before.about.items() if key != "ended"}
        about["resumed"] = [*about.get("resumed", []), {"utc": _stamp(utc()), "command": command, "after_event": len(kept.events) - 1}]
        files.write_whole(folder / "run.json", files.json_bytes(about), run=folder.name)
        hashes = dict(before.about["inputs"]) | {event["file"]: event["sha512"] for event in kept.of("captured") if "sha512" in event}
        writer = cls(
            folder, about, clock=clock, observers=observers, utc=utc, wall=wall, wall_before=kept.wall_s, hashes=hashes
        )  # fmt: skip
        last = len(kept.events) - 1  # what was configured after it belonged to what was put aside
        writer._settings = {device: [entry for entry in history if entry["after_event"] < last] for device, history in kept.settings.items()}
        writer._columns = list(kept.table())
        writer._meta_hashes = {path.stem: files.sha512_of(path) for path in (folder / "captures").glob("*.sigmf-meta")}
        return writer

    def end(self, how: str, *, muted: bool, at_rest: bool, t: Instant | None = None) -> None:
        """Writes `ended` as event and into run.json, SHA512SUMS, and closes. how: converged, limit, done, interrupted, fault or safe."""
        if how not in HOWS:
            raise ValueError(f"how a run ended: one of {', '.join(HOWS)}, found {how!r}")
        self.event("ended", t=t, how=how, muted=muted, at_rest=at_rest)
        self._flush()
        now = _stamp(self._utc())
        self.about["ended"] = {"how": how, "muted": muted, "at_rest": at_rest, "utc": now, "wall_s": self._wall() - self._wall_zero}
        files.write_whole(self.folder / "run.json", files.json_bytes(self.about), run=self.name)
        self.close()
        self._write_sums()

    def close(self) -> None:
        """Closes the files. A run that is closed without `end` reads as interrupted. Closing twice is fine."""
        self._hands.shutdown()
        for growing in (self._events, self._timing, self._log, self._results):
            if growing is not None:
                growing.close()

    def __enter__(self) -> RunWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- while it runs

    def event(self, event: str, round: int | None = None, t: Instant | None = None, **fields: Any) -> dict[str, Any]:
        """Appends one event and shows it to the observers. A field named like a Python word takes a trailing underscore: `from_`.

        ValueError: no such event or field in `events.EVENTS`. TypeError: a value JSON cannot hold. Non-finite numbers become null.
        """
        if t is None:
            if self._clock is None:
                raise ValueError("an event needs its time: pass t, or a clock when the writer is made")
            t = self._clock.now()
        named = {key.rstrip("_"): value for key, value in fields.items()}
        n = self._events.lines
        line, made = events.encode(n, t, event, round, named, self.name)
        self._events.append(line)
        wall = self._wall() - self._wall_zero
        self._timing.append(f'{{"n":{n},"utc":"{_stamp(self._utc())}","wall_s":{wall:.6f}}}\n'.encode())
        for observer in self.observers:
            observer(made)
        return made

    def capture(
        self, name: str, capture: Capture, *, purpose: str, round: int, positions: Any = None, position_std: Any = None, node: str = "",
        serial: str = "", hw: str = "", settings: str = "", annotations: Iterable[tuple[str, int, int]] = (),
    ) -> tuple[str, str]:  # fmt: skip
        """Records one capture of one device: data, hash, then metadata. Returns (file in the run folder, SHA-512 of the data).

        name: `r003-sound-u1`, its round first. positions, position_std: (channel, xyz) metres in the world. settings: key of settings.json.
        annotations: (preamble | pilots | payload | lost, first sample, samples). The `captured` event is the caller's.
        """
        if not name.startswith(f"r{round:03d}-") or not layout.CAPTURE_LETTERS >= set(name):
            raise ValueError(f"a capture of round {round} is named r{round:03d}-... in a-z 0-9 - _ . only, found {name!r}")
        file, meta = layout.data_file(name), self.folder / layout.meta_file(name)
        if meta.exists():
            raise RecordError(
                "capture-exists", "a capture of this name is recorded already", where=name, fix="name captures by round and purpose"
            )
        codes = sigmf.codes(capture).data
        digest = sha512(codes).hexdigest()
        described = sigmf.metadata(
            capture, sha512=digest, run=self.name, round=round, purpose=purpose, utc=self._utc(), node=node, serial=serial, hw=hw,
            settings=settings, positions=positions, position_std=position_std, emulated=not self.about["air"],
            recorder=f"hil {self.about['hil']}".strip(), annotations=annotations, collection=f"r{round:03d}",
        )  # fmt: skip
        content = files.json_bytes(described)
        files.write_whole(self.folder / file, codes, run=self.name)
        files.write_whole(meta, content, run=self.name)
        self._hashes[file] = digest
        self._meta_hashes[name] = sha512(content).hexdigest()
        return file, digest

    def captures(self, several: Mapping[str, tuple[Capture, Mapping[str, Any]]]) -> dict[str, tuple[str, str]]:
        """Records captures side by side: name -> (capture, what else `capture` takes). After an error the others are whole or absent."""
        made = {name: self._hands.submit(self.capture, name, capture, **rest) for name, (capture, rest) in several.items()}
        wait(made.values())
        return {name: future.result() for name, future in made.items()}

    def design(self, round: int, designer: str, design: Any, extras: Mapping[str, Any] | None = None, *, step: str = "") -> tuple[str, str]:
        """Stores a `hil.knowledge.Design` and what it was made from as designs/rNNN-DESIGNER[-STEP].npz. Returns (file, SHA-512).

        extras: arrays, numbers or texts of any name that is not a field of Design (knowledge, verdict, powers, selection, filters).
        """
        arrays = {f.name: getattr(design, f.name) for f in dataclasses.fields(design)}
        twice = sorted(set(arrays) & set(extras or {}))
        if twice:
            raise ValueError(f"already fields of a design: {', '.join(twice)}")
        return self._npz(layout.design_file(round, designer, step), arrays | dict(extras or {}))

    def field(self, round: int, transmitter: str, user: str, arrays: Mapping[str, Any]) -> tuple[str, str]:
        """Stores the channel along one rail as fields/rNNN-TRANSMITTER-USER.npz; keys as in `layout.RAIL`. Returns (file, SHA-512)."""
        missing, strangers = sorted(set(layout.RAIL_REQUIRED) - set(arrays)), sorted(set(arrays) - set(layout.RAIL))
        if missing or strangers:
            raise ValueError(f"channel along a rail: missing {missing}, unknown {strangers}; known: {', '.join(layout.RAIL)}")
        return self._npz(layout.field_file(round, transmitter, user), arrays)

    def results(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Appends rows to results.csv (columns: `results.COLUMNS`, and any others); the first call fixes the columns."""
        if not rows:
            return
        header = not self._columns
        columns = self._columns or results.columns_of(rows)
        text = results.encode(rows, columns, header)
        self._open_results().append(text.encode())
        self._columns = columns

    def round_ends(self, round: int, what: str = "round", t: Instant | None = None) -> None:
        """Says that a whole round (`what` "round"), the exploring or one baseline is recorded: resume goes on from here.

        Ties the round's captures into a SigMF Collection and brings everything to disk.
        """
        streams = self._metas(round)
        if streams:
            content = files.json_bytes(sigmf.collection(streams, self.name, round))
            files.write_whole(self.folder / layout.collection_file(round), content, run=self.name)
        rows = self._open_results().lines if (self.folder / "results.csv").exists() else 0
        self.event("recorded", round, t, what=what, rows=rows)
        self._flush()

    def settings(self, device: str, asked: Setting, became: Setting, tolerance: Tolerance | None = None, t: Instant | None = None) -> None:
        """Adds to settings.json what a device was asked and what it became; call after each configuring."""
        tolerance = tolerance or Tolerance()
        missed = [dataclasses.asdict(difference) for difference in differences(asked, became, tolerance)]
        entry = {
            "asked": dataclasses.asdict(asked), "became": dataclasses.asdict(became), "tolerance": dataclasses.asdict(tolerance),
            "differences": missed, "after_event": self._events.lines - 1,
            "t": t.seconds if t else self._clock.now().seconds if self._clock else None,
        }  # fmt: skip
        self._settings.setdefault(device, []).append(events.plain(entry))
        files.write_whole(self.folder / "settings.json", files.json_bytes(self._settings), run=self.name)

    def log(self, text: str) -> None:
        """Appends lines to log.txt, each with its UTC."""
        stamp = _stamp(self._utc())
        self._log.append("".join(f"{stamp} {line}\n" for line in text.splitlines()).encode())

    # ---- below

    def _npz(self, file: str, arrays: Mapping[str, Any]) -> tuple[str, str]:
        held: dict[str, Any] = {}
        for key, value in arrays.items():
            if value is None:
                continue
            array = np.asarray(value)
            if array.dtype == object:
                raise ValueError(f"{file}: {key} is not an array of numbers or texts")
            held[key] = array
        buffer = io.BytesIO()
        np.savez(buffer, **held)
        content = buffer.getbuffer()
        files.write_whole(self.folder / file, content, run=self.name)
        self._hashes[file] = sha512(content).hexdigest()
        return file, self._hashes[file]

    def _metas(self, round: int) -> list[tuple[str, str]]:
        return sorted((name, digest) for name, digest in self._meta_hashes.items() if name.startswith(f"r{round:03d}-"))

    def _open_results(self) -> Growing:
        if self._results is None:
            self._results = Growing(self.folder / "results.csv", self.name)
        return self._results

    def _flush(self) -> None:
        grown = [growing for growing in (self._results, self._timing, self._log, self._events) if growing is not None]
        made = [self._hands.submit(growing.to_disk) for growing in grown]  # one turn of the disk takes them all
        wait(made)
        for future in made:
            future.result()

    def _write_sums(self) -> None:
        lines = []
        with files.writing(self.folder / "SHA512SUMS", self.name):
            for path in sorted(self.folder.rglob("*")):
                inside = path.relative_to(self.folder).as_posix()
                if path.is_file() and inside.split("/")[0] not in _NOT_SUMMED and not path.name.startswith("."):
                    lines.append(f"{self._hashes.get(inside) or files.sha512_of(path)}  {inside}\n")
        files.write_whole(self.folder / "SHA512SUMS", "".join(lines).encode(), run=self.name)


def _stamp(utc: datetime) -> str:
    return utc.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
