"""What `sweep`, `design` and `reproduce` have in common: many tasks, one run folder, one table; stopped and resumed cleanly."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hil import tasks
from hil.commands.streams import Streams
from hil.commands.trial import command_line, named, shown
from hil.errors import HilError, InputError
from hil.interrupts import held

FORMAT = "hil.study.v1"
_BAR = 20  # characters
_LINES = 40  # of progress at most, where nobody looks at a bar


@dataclass(frozen=True)
class Study:
    """name: the middle of the run's name; scenario: what `hil runs` shows. asked: plain data that says all of what was asked for, kept as
    study.json; inputs: files it was made from. rows: lines of results.csv for the result of one task."""

    name: str
    scenario: str
    asked: Mapping[str, Any]
    function: tasks.Work
    tasks: Sequence[tasks.Parameters]
    rows: Callable[[tasks.Parameters, Any], list[dict[str, Any]]]
    inputs: Mapping[str, bytes] = field(default_factory=dict)
    common: tasks.Parameters = field(default_factory=dict)
    seed: int = 0
    depth: str = "process"

    @property
    def command(self) -> str:
        return str(self.asked["command"])

    @property
    def files(self) -> dict[str, bytes]:
        """Inputs of the run folder."""
        about = json.dumps({"format": FORMAT, **self.asked}, indent=1, sort_keys=True) + "\n"
        return {"study.json": about.encode(), **self.inputs}


@dataclass(frozen=True)
class Where:
    """The flags that all three commands have."""

    runs: Path
    engine: str = "local"
    jobs: int | None = None
    resume: str | None = None


def begun(resume: str, runs: Path, command: str) -> Any:
    """The run that --resume names. InputError where it is no study of this command, or one of its files was altered."""
    from hil.records import read

    run = read(resume, runs)
    found = run.study.get("command", "run")
    if found != command:
        raise InputError("another-command", "this run was begun by another command", key="--resume", found=f"hil {found}",
                         fix=f"hil {found} --resume {run.name}")  # fmt: skip
    for name in run.about["inputs"]:
        run.input(name)
    return run


def do(streams: Streams, study: Study, where: Where) -> tuple[Any, list[tuple[tasks.Parameters, Any]]]:
    """Every task that is not done yet; returns the run and all results in the order of the tasks.

    KeyboardInterrupt after the tasks in hand are finished and kept; HilError with how to go on where tasks failed.
    """
    from hil.records import read

    engine = tasks.engine(where.engine, where.jobs)
    writer = _resumed(streams, study, where) if where.resume is not None else _created(study, where)
    progress = Progress(streams, len(study.tasks), writer)
    again = f"hil {study.command} --resume {named(writer.folder)}"
    with writer:
        writer.event("started", format="hil.events.v1", seed=study.seed, depth=study.depth)
        streams.say(f"run     {shown(writer.folder)}      {_counted(len(study.tasks), 'task')}, {where.engine}")
        try:
            tasks.run(study.function, study.tasks, seed=study.seed, common=study.common, engine=engine, folder=writer.folder / "tasks", done=progress)
        except KeyboardInterrupt:
            with held():
                _close(writer, study, progress.found, "interrupted")
            _stopped(streams, progress, writer.folder, again)
            raise
        except HilError as error:
            _close(writer, study, progress.found, "fault")
            error.fix = f"{error.fix}; then {again}" if error.fix and error.id != "tasks-failed" else again
            raise
        with held():
            _close(writer, study, progress.found, "done")
    streams.status("")
    return read(writer.folder), done(study, progress.found)


def done(study: Study, found: Mapping[str, Any]) -> list[tuple[tasks.Parameters, Any]]:
    """(parameters, result) of the tasks that have one, in their order."""
    keys = [tasks.key_of(study.function, {**study.common, **one}, study.seed) for one in study.tasks]
    return [(one, found[key]) for key, one in zip(keys, study.tasks) if key in found]


def _created(study: Study, where: Where) -> Any:
    from hil import bench
    from hil.clock import WallClock
    from hil.records import RunWriter, new_name

    commit, dirty = bench.checkout()
    return RunWriter.create(
        where.runs, new_name(study.name), scenario_name=study.scenario, command=command_line(), seed=study.seed, depth=study.depth,
        inputs=study.files, versions=bench.versions(), commit=commit, dirty=dirty, clock=WallClock(),
    )  # fmt: skip


def _resumed(streams: Streams, study: Study, where: Where) -> Any:
    """The writer of the run to go on with, which must have been asked for exactly this."""
    from hil import bench
    from hil.clock import WallClock
    from hil.records import RunWriter

    run = begun(str(where.resume), where.runs, study.command)
    for name, content in study.files.items():
        if name not in run.about["inputs"] or run.input(name) != content:
            raise InputError("resume-changed", "not what this run began with", file=run.name, found=f"another {name}{_difference(run, study)}",
                             fix=f"hil {study.command} --resume {run.name}, without other flags; or begin a new one")  # fmt: skip
    commit, _ = bench.checkout()
    if commit != run.about.get("commit"):
        streams.say(f"note    begun with commit {run.about.get('commit')}, now {commit}: results of both will stand in one table")
    return RunWriter.resume(run.folder, command=command_line(), clock=WallClock())


def _difference(run: Any, study: Study) -> str:
    """What of study.json is not as it was."""
    differ = [f"{key} {value} was {run.study.get(key)}" for key, value in study.asked.items() if run.study.get(key) != json.loads(json.dumps(value))]
    return f": {', '.join(differ)}" if differ else ""


def _close(writer: Any, study: Study, found: Mapping[str, Any], how: str) -> None:
    """The table of what is done, and the end. Only what is complete is `recorded`: otherwise the table is made anew on resume."""
    writer.results([row for parameters, result in done(study, found) for row in study.rows(parameters, result)])
    if how == "done":
        writer.round_ends(0, what="tasks")
    writer.end(how, muted=True, at_rest=True)


def _stopped(streams: Streams, progress: Progress, folder: Path, again: str) -> None:
    streams.say(f"so far      {shown(folder)}   {len(progress.found)} of {progress.total} tasks; hil report {named(folder)}\nresume      {again}")
    if streams.json:
        note = f"{len(progress.found)} of {progress.total} tasks are done and kept"
        streams.failed(HilError("interrupted", "interrupted", where=folder.name, note=note, fix=again))


class Progress:
    """Told of each outcome: an event in the record, a bar on a terminal, otherwise a line now and then. found: key -> result."""

    def __init__(self, streams: Streams, total: int, writer: Any, now: Callable[[], float] = time.monotonic) -> None:
        self.found: dict[str, Any] = {}
        self.total, self.failed = total, 0
        self._streams, self._writer, self._now, self._began = streams, writer, now, now()
        self._kept, self._said = 0, 0

    def __call__(self, outcome: tasks.Outcome) -> None:
        error = {"error": outcome.error} if outcome.error else {}
        self._writer.event("task", key=outcome.key, parameters=dict(outcome.parameters), kept=outcome.kept, **error)
        if outcome.error:
            self.failed += 1
            self._say(f"task    {outcome.error}")
        else:
            self.found[outcome.key] = outcome.result
        self._kept += outcome.kept
        done = len(self.found) + self.failed
        text = f"{done}/{self.total} tasks{self._left(done)}"
        filled = _BAR * done // self.total
        self._streams.status(f"[{'#' * filled}{'.' * (_BAR - filled)}]  {text}")
        if not self._streams.terminal(self._streams.err) and not outcome.kept and (_LINES * done // self.total) > self._said:
            self._said = _LINES * done // self.total
            self._say(text)

    def _left(self, done: int) -> str:
        """By the mean of what was done now, once there are a few."""
        fresh = done - self._kept
        if fresh < 3 or done == self.total:
            return ""
        return f", about {lasting((self._now() - self._began) / fresh * (self.total - done))} left"

    def _say(self, text: str) -> None:
        self._streams.say(text if self._streams.terminal(self._streams.err) else f"{datetime.now(UTC):%H:%M:%SZ} {text}")


def lasting(seconds: float) -> str:
    """12 s, 6 min 12 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"


def finish(streams: Streams, run: Any, result: Mapping[str, Any], ok: bool) -> int:
    """The report, the last line and the JSON object; returns the exit code."""
    from hil.report import render

    page = render(run)
    streams.result(f"report      {shown(page)}   {page.stat().st_size / 1e6:.1f} MB   ({lasting(run.wall_s)})")
    streams.done({"run": run.name, "folder": str(run.folder), "report": str(page), **result}, ok=ok)
    return 0 if ok else 1


def columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table: the first column and words begin together, numbers end together."""
    widths = [max(len(row[index]) for row in (head, *rows)) for index in range(len(head))]
    words = {place for place in range(len(head)) if not any(row[place][:1].isdigit() or row[place][:1] in "-\N{MINUS SIGN}" for row in rows)} | {0}
    cells = lambda row: (cell.ljust(width) if place in words else cell.rjust(width) for place, (cell, width) in enumerate(zip(row, widths)))
    return ["   ".join(cells(row)).rstrip() for row in (head, *rows)]


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
