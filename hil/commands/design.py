"""`hil design`: a design per designer and seed on the emulated bench, judged by the adversary; nothing is pushed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hil.commands import listing, study, trials
from hil.commands.streams import Streams
from hil.commands.study import Study, Where
from hil.errors import InputError

_COLUMNS = ("unit", "promised", "predicted", "bound", "worst", "kept", "took_s", "achievable")


@dataclass(frozen=True)
class Asked:
    """The flags of `hil design`. seeds: as they are, not how many."""

    paths: tuple[Path, ...]
    designers: tuple[str, ...]
    seeds: tuple[int, ...]
    where: Where
    plan: bool = False
    list: bool = False


def design(streams: Streams, asked: Asked) -> int:
    """Returns the exit code: 0; 1 where no design was feasible, or the adversary broke a promise."""
    if asked.list:
        return listing.bench(streams, asked.paths)
    made = _again(asked) if asked.where.resume is not None and not asked.paths else _study(asked)
    if asked.plan:
        streams.result(f"plan: {len(made.tasks)} designs ({', '.join(made.asked['designers'])}), {asked.where.engine}; nothing was started")
        streams.done({"designs": len(made.tasks), **{key: made.asked[key] for key in ("designers", "seeds")}})
        return 0
    run, results = study.do(streams, made, asked.where)
    from hil.report import designs

    table = designs.table(run)
    for line in study.columns(table.head, table.rows):
        streams.result(line)
    infeasible = sum(result["infeasible"] for _, result in results)
    broken = sum(result.get("kept") is False for _, result in results)
    if infeasible:
        best = [result["achievable"] for _, result in results if result["infeasible"] and result["achievable"] is not None]
        streams.say(f"{infeasible} of {len(results)} designs infeasible" + (f"; best achievable {max(best):.2f}" if best else ""))
    rows = [{**dict(parameters), **result} for parameters, result in results]
    return study.finish(streams, run, {"designs": rows, "infeasible": infeasible, "broken": broken}, ok=not infeasible and not broken)


def _study(asked: Asked) -> Study:
    from hil import bench as benches

    if not asked.paths:
        raise InputError("usage", "a bench is wanted", key="hil design", fix="hil design BENCH, or hil design --resume RUN")
    bench = benches.load(*asked.paths)
    designers = asked.designers or (bench.scenario.design.designer,)
    for name in designers:
        benches.designers_of(bench, name)
    return _made({"command": "design", "designers": list(designers), "seeds": list(asked.seeds)}, bench)


def _again(asked: Asked) -> Study:
    """From the folder of the run that is resumed."""
    from hil import bench as benches

    run = study.begun(str(asked.where.resume), asked.where.runs, "design")
    return _made(json.loads(run.input("study.json")), benches.load(run.folder / "scenario.toml", run.folder / "testbed.toml"))


def _made(about: Mapping[str, Any], bench: Any) -> Study:
    asked = {key: about[key] for key in ("command", "designers", "seeds")}
    tasks = [{"changes": {}, "designer": designer, "seed": seed} for designer in asked["designers"] for seed in asked["seeds"]]
    common = {"bench": trials.texts(bench.inputs)}
    return Study(f"design-{bench.scenario.name}", bench.scenario.name, asked, trials.design, tasks, _rows, bench.inputs, common)


def _rows(parameters: Mapping[str, Any], result: Mapping[str, Any]) -> list[dict[str, Any]]:
    told = {"designer": parameters["designer"], "seed": parameters["seed"], "infeasible": int(result["infeasible"])}
    values = {name: result.get(name) for name in _COLUMNS}
    return [{**told, **{name: int(value) if isinstance(value, bool) else value for name, value in values.items()}}]
