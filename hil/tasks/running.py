"""Doing tasks on an engine, keeping what is done."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from hil.tasks.local import LocalProcesses
from hil.tasks.task import Call, Outcome, Parameters, TasksFailed, Work


class Engine(Protocol):
    """Where tasks are done: processes of this machine, or a cluster."""

    def work(self, call: Call, tasks: Mapping[str, Parameters], came: Callable[[Outcome], None]) -> None:
        """Do every task (key -> parameters) by `call(key, parameters)`, telling `came` of each outcome, in any order, in this thread.

        KeyboardInterrupt lets the tasks in hand finish, tells of them, begins no other, and is raised then.
        """


def run(
    function: Work,
    tasks: Sequence[Parameters],
    *,
    seed: int,
    common: Parameters | None = None,
    engine: Engine | None = None,
    folder: Path | None = None,
    done: Callable[[Outcome], None] | None = None,
) -> list[Outcome]:
    """Do every task; outcomes in the order of `tasks`. Raises TasksFailed after all have ended if some have no result.

    common: parameters that all of them share: part of their names, given to the function with the others, kept once by whoever has them.
    engine: LocalProcesses() by default. done: told of each outcome as it comes. Ctrl-C lets the tasks in hand finish, keeps their results
    and is raised then.
    """
    call = Call(function, common or {}, seed)
    keys = [call.key(parameters) for parameters in tasks]
    found: dict[str, Outcome] = {}

    def came(outcome: Outcome) -> None:
        if folder is not None and not outcome.error and not outcome.kept:
            _keep(folder / f"{outcome.key}.json", outcome, seed)
        found[outcome.key] = outcome
        if done is not None:
            done(outcome)

    for key, parameters in zip(keys, tasks):
        if folder is not None and key not in found and (result := _kept(folder / f"{key}.json")) is not None:
            came(Outcome(key, parameters, result["result"], kept=True))
    missing = {key: parameters for key, parameters in zip(keys, tasks) if key not in found}
    if missing:
        (engine or LocalProcesses()).work(call, missing, came)
    outcomes = [found[key] for key in keys]
    if any(outcome.error for outcome in outcomes):
        raise TasksFailed(outcomes)
    return outcomes


def kept(function: Work, tasks: Sequence[Parameters], *, seed: int, folder: Path, common: Parameters | None = None) -> list[tuple[Parameters, Any]]:
    """(parameters, result) of the tasks whose result is in a folder, in their order; nothing is done."""
    call = Call(function, common or {}, seed)
    found = [(parameters, _kept(folder / f"{call.key(parameters)}.json")) for parameters in tasks]
    return [(parameters, content["result"]) for parameters, content in found if content is not None]


def _kept(path: Path) -> dict[str, Any] | None:
    """A result that is there and whole; anything else is done again."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) and "result" in content else None


def _keep(path: Path, outcome: Outcome, seed: int) -> None:
    """Write beside, then rename: a file with the final name is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = json.dumps(
        {"key": outcome.key, "seed": seed, "parameters": dict(outcome.parameters), "result": outcome.result}, sort_keys=True
    )
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".", suffix=".part", delete=False) as file:
        file.write(content)
    os.replace(file.name, path)
