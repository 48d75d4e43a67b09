"""`hil run`: a trial from its files to its report; or only its plan; or a refusal that names what is missing."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hil.commands.rounds import RoundsView
from hil.commands.streams import Streams
from hil.errors import HilError, Infeasible, InputError
from hil.files import BenchFiles, read_bench
from hil.interrupts import INTERRUPTED, LeftWhole

FINISHED = ("converged", "limit")


@dataclass(frozen=True)
class Asked:
    """The flags of `hil run`."""

    paths: tuple[Path, ...]
    runs: Path
    seed: int = 1
    depth: str = "process"
    rounds: int | None = None
    designer: str | None = None
    timeout: float | None = None
    resume: str | None = None
    plan: bool = False
    air: bool = False

    @property
    def changes(self) -> dict[str, Any]:
        """What the flags change in the scenario."""
        changes: dict[str, Any] = {} if self.rounds is None else {"rounds.max": self.rounds}
        return changes if self.designer is None else {**changes, "design.designer": self.designer}


def run(streams: Streams, asked: Asked) -> int:
    """Returns the exit code: 0, 1 where a design was infeasible, 3 or 4 where the bench failed, 130 where it was interrupted."""
    if asked.resume is not None:
        _refuse_beside_resume(asked)
    elif not asked.paths:
        raise InputError("usage", "a bench is wanted", key="hil run", fix="hil run BENCH, or hil run --resume RUN")
    if asked.air or asked.plan:
        return _describe(streams, asked)
    return _trial(streams, asked)


def _refuse_beside_resume(asked: Asked) -> None:
    """A resumed run goes on as it began: its bench, seed, depth and designer are those in its folder."""
    flags = {"BENCH": asked.paths, "--rounds": asked.rounds, "--designer": asked.designer, "--plan": asked.plan, "--air": asked.air}
    given = [flag for flag, is_given in flags.items() if is_given]
    if given:
        raise InputError(
            "usage", "a resumed run goes on as it began", key="--resume", found=", ".join(given), fix=f"hil run --resume {asked.resume}"
        )


def _describe(streams: Streams, asked: Asked) -> int:
    """--plan and --air: what would be done. Opens no device."""
    from hil.commands import plan

    files = read_bench(*asked.paths)
    if asked.changes:
        files = BenchFiles(files.scenario.replace(asked.changes), files.testbed, files.nodes, files.folder)
    planned = plan.plan(files)
    radiates, moves = plan.radiates(files, planned), plan.moves(files, planned)
    if asked.air:
        for head, lines in (("Radiates", radiates), ("Moves", moves)):
            for index, line in enumerate(lines):
                streams.say(f"{head if index == 0 else '':<9} {line}")
        raise plan.no_driver(files)
    line = planned.line(asked.runs)
    streams.result(line)
    streams.done(
        {"devices": planned.devices, "rounds": planned.rounds, "virtual_s": planned.seconds, "capture_bytes": planned.bytes,
         "duty": planned.duty, "radiates": radiates, "moves": moves}
    )  # fmt: skip
    return 0


def _trial(streams: Streams, asked: Asked) -> int:
    from hil import bench as benches
    from hil.records import read

    view = RoundsView(streams)
    more: dict[str, Any] = {"observers": [view], "runs": asked.runs, "command": command_line()}
    if asked.timeout is not None:
        more["timeout"] = asked.timeout
    if asked.resume is not None:
        opened = benches.resume(asked.resume, **more)
    else:
        bench = benches.load(*asked.paths)
        bench = bench.replace(asked.changes) if asked.changes else bench
        opened = benches.open(bench, depth=asked.depth, seed=asked.seed, **more)
    lab: Any = None
    try:
        with LeftWhole(opened) as lab:
            view.opening(shown(lab.folder), lab.seed, lab.depth, lab.scenario, lab.testbed)
            lab.run()
    except KeyboardInterrupt:
        if lab is not None:
            _interrupted(streams, view, lab.folder)
        raise
    except HilError as error:
        if lab is None:
            raise
        _readable(streams, view, lab.folder)
        go_on = f"hil run --resume {_named(lab.folder)}"
        if error.id == "interrupted":  # the nodes were told so, by whom else the signal reached
            error.fix = go_on
            streams.failed(error)
            return INTERRUPTED
        if error.exit_code == 3:
            error.fix = f"{error.fix}; then {go_on}" if error.fix else go_on
        raise
    return finish(streams, view, read(lab.folder), lab.trial.infeasible)


def _named(folder: Path) -> str:
    """A run as the command line finds it from here: its name, and where runs are kept unless that is the usual place."""
    return folder.name if folder.parent.resolve() == Path("runs").resolve() else f"{folder.name} --runs {shlex.quote(shown(folder.parent))}"


def _interrupted(streams: Streams, view: RoundsView, folder: Path) -> None:
    """Ctrl-C, SIGTERM, a closed terminal: what there is, and how to go on with it."""
    if view.how in FINISHED:  # it came while the run was being closed
        streams.say(f"run         {shown(folder)} had come to its end\nreport      hil report {_named(folder)}")
    else:
        _readable(streams, view, folder)
    if streams.json:
        rest = ", ".join(word for word, key in (("muted", "muted"), ("at rest", "at_rest")) if view.ended.get(key))
        streams.failed(HilError("interrupted", "interrupted", where=folder.name, note=rest, fix=f"hil run --resume {_named(folder)}"))


def _readable(streams: Streams, view: RoundsView, folder: Path) -> None:
    """What a run that was cut short leaves behind."""
    for line in view.summary():
        streams.say(line)
    streams.say(f"so far      {shown(folder)}   hil report {_named(folder)}\nresume      hil run --resume {_named(folder)}")


def finish(streams: Streams, view: RoundsView, run: Any, infeasible: Infeasible | None = None) -> int:
    """The last lines of a run that came to its end, however it did, and the code to leave with."""
    from hil.report import render

    code = exit_code(view)
    if code >= 3:
        _readable(streams, view, run.folder)
        streams.done({"run": run.name, "folder": str(run.folder), **view.result()}, ok=False)
        return code
    if infeasible is not None:
        streams.say(infeasible.message)
    page = render(run)
    for line in view.summary():
        streams.result(line)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    size = page.stat().st_size / 1e6
    streams.result(f"report      {shown(page)}   {size:.1f} MB   ({run.wall_s:.0f} s on {cores} core{'' if cores == 1 else 's'})")
    streams.done({"run": run.name, "folder": str(run.folder), "report": str(page), **view.result()}, ok=code == 0)
    return code


def exit_code(view: RoundsView) -> int:
    """What the way a run ended means to the shell."""
    if view.how in ("converged", "limit"):
        return 1 if any(row.infeasible for row in view.rows) else 0
    return {"interrupted": 130, "safe": 4}.get(view.how, 3)


def shown(path: Path) -> str:
    """Relative where that is shorter."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def command_line() -> str:
    """The command as it was typed, for the record."""
    return shlex.join(["hil", *sys.argv[1:]])
