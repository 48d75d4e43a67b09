"""`hil run`: a trial from its files to its report; or only its plan; or a refusal that names what is missing."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hil import reach
from hil.commands.rounds import RoundsView
from hil.commands.streams import Streams
from hil.errors import HilError, Infeasible, InputError
from hil.files import BenchFiles, read_bench
from hil.interrupts import INTERRUPTED, LeftWhole

FINISHED = ("converged", "limit", "done")


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
    yes: bool = False

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
    if asked.plan:
        return _describe(streams, asked)
    if asked.air and not _confirmed(streams, asked):
        streams.say("nothing was opened, sent or moved")
        streams.done({"started": False}, ok=False)
        return 1
    return _trial(streams, asked)


def _refuse_beside_resume(asked: Asked) -> None:
    """A resumed run goes on as it began: its bench, seed, depth and designer are those in its folder."""
    flags = {"BENCH": asked.paths, "--rounds": asked.rounds, "--designer": asked.designer, "--plan": asked.plan}
    given = [flag for flag, is_given in flags.items() if is_given]
    if given:
        raise InputError(
            "usage", "a resumed run goes on as it began", key="--resume", found=", ".join(given), fix=f"hil run --resume {asked.resume}"
        )


def _planned(asked: Asked) -> tuple[BenchFiles, Any]:
    """The bench as asked for, and what a run of it would do, from its files."""
    from hil.commands import plan

    if asked.resume is not None:
        from hil.records import resolve

        folder = resolve(asked.resume, asked.runs)
        files = read_bench(folder / "scenario.toml", folder / "testbed.toml")
    else:
        files = read_bench(*asked.paths)
    if asked.changes:
        files = BenchFiles(files.scenario.replace(asked.changes), files.testbed, files.nodes, files.folder)
    return files, plan.plan(files)


def _describe(streams: Streams, asked: Asked) -> int:
    """--plan: what would be done. Opens no device."""
    from hil.commands import plan

    files, planned = _planned(asked)
    radiates, moves = plan.radiates(files, planned), plan.moves(files, planned)
    if asked.air:
        _say_plan(streams.say, radiates, moves)
        reach.require_air(files.scenario, files.testbed, files.nodes)
    streams.result(planned.line(asked.runs))
    streams.done(
        {"devices": planned.devices, "rounds": planned.rounds, "virtual_s": planned.seconds, "capture_bytes": planned.bytes,
         "duty": planned.duty, "radiates": radiates, "moves": moves}
    )  # fmt: skip
    return 0


def _say_plan(say: Callable[[str], None], radiates: list[str], moves: list[str]) -> None:
    for head, lines in (("Radiates", radiates), ("Moves", moves)):
        for index, line in enumerate(lines):
            say(f"{head if index == 0 else '':<9} {line}")


def _confirmed(streams: Streams, asked: Asked) -> bool:
    """Say what would radiate and move, refuse what cannot be done, and ask; with --yes the question is skipped, nothing else.

    Asked on stderr, whatever -q says: without having read it nobody can answer.
    """
    from hil.commands import plan

    files, planned = _planned(asked)
    say = streams.say if asked.yes else lambda text: print(text, file=streams.err)
    _say_plan(say, plan.radiates(files, planned), plan.moves(files, planned))
    reach.require_air(files.scenario, files.testbed, files.nodes)
    if asked.yes:
        return True
    if not sys.stdin.isatty():
        raise InputError("usage", "nobody can be asked: stdin is not a terminal", key="--air", note="nothing was opened, sent or moved",
                         fix="--yes, where whoever starts this has seen to it")  # fmt: skip
    rounds, minutes = f"{planned.rounds} round{'' if planned.rounds == 1 else 's'}", max(1, round(planned.seconds / 60))
    say(f"{rounds}, about {minutes} min; Ctrl-C mutes first, then brakes")
    print("Continue? [y/N] ", end="", file=streams.err, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _trial(streams: Streams, asked: Asked) -> int:
    from hil import bench as benches
    from hil.records import read

    view = RoundsView(streams)
    more: dict[str, Any] = {"observers": [view], "runs": asked.runs, "command": command_line()}
    if asked.air:
        more |= {"air": True, "confirm": False}  # asked above
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
        go_on = f"hil run --resume {named(lab.folder)}{view.where}"
        if error.id == "interrupted":  # the nodes were told so, by whom else the signal reached
            error.fix = go_on
            streams.failed(error)
            return INTERRUPTED
        if error.exit_code == 3:
            error.fix = f"{error.fix}; then {go_on}" if error.fix else go_on
        raise
    return finish(streams, view, read(lab.folder), lab.trial.infeasible)


def named(folder: Path) -> str:
    """A run as the command line finds it from here: its name, and where runs are kept unless that is the usual place."""
    return folder.name if folder.parent.resolve() == Path("runs").resolve() else f"{folder.name} --runs {shlex.quote(shown(folder.parent))}"


def _interrupted(streams: Streams, view: RoundsView, folder: Path) -> None:
    """Ctrl-C, SIGTERM, a closed terminal: what there is, and how to go on with it."""
    if view.how in FINISHED:  # it came while the run was being closed
        streams.say(f"run         {shown(folder)} had come to its end\nreport      hil report {named(folder)}")
    else:
        _readable(streams, view, folder)
    if streams.json:
        rest = ", ".join(word for word, key in (("muted", "muted"), ("at rest", "at_rest")) if view.ended.get(key))
        streams.failed(HilError("interrupted", "interrupted", where=folder.name, note=rest, fix=f"hil run --resume {named(folder)}{view.where}"))


def _readable(streams: Streams, view: RoundsView, folder: Path) -> None:
    """What a run that was cut short leaves behind."""
    for line in view.summary():
        streams.say(line)
    streams.say(f"so far      {shown(folder)}   hil report {named(folder)}\nresume      hil run --resume {named(folder)}{view.where}")


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
    if view.how in FINISHED:
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
