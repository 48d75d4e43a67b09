"""`hil sweep`: a trial for every combination of values, designers and seeds; one table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hil.commands import listing, study, swept, trials
from hil.commands.streams import Streams
from hil.commands.study import Study, Where
from hil.errors import InputError

DEPTH = "depth"  # the one key of --over that is a flag and no key of a file


@dataclass(frozen=True)
class Asked:
    """The flags of `hil sweep`. seeds: as they are, not how many."""

    paths: tuple[Path, ...]
    over: tuple[str, ...]
    designers: tuple[str, ...]
    seeds: tuple[int, ...]
    depth: str
    where: Where
    plan: bool = False
    list: bool = False


def sweep(streams: Streams, asked: Asked) -> int:
    """Returns the exit code: 0; 1 where a trial was infeasible."""
    if asked.list:
        return listing.bench(streams, asked.paths)
    made = _again(asked) if asked.where.resume is not None and not asked.paths else _study(asked)
    if asked.plan:
        return _plan(streams, made, asked)
    run, results = study.do(streams, made, asked.where)
    from hil.report import swept as report

    table = report.table(run, report.trials(run))
    for line in study.columns(table.head, table.rows):
        streams.result(line)
    streams.result(table.caption)
    infeasible = sum(bool(result["infeasible"]) for _, result in results)
    if infeasible:
        streams.say(f"{infeasible} of {len(results)} trials had a round in which no design was feasible")
    rows = [dict(zip(table.head, row)) for row in table.rows]
    return study.finish(streams, run, {"trials": len(results), "infeasible": infeasible, "table": rows}, ok=not infeasible)


def _study(asked: Asked) -> Study:
    from hil import bench as benches

    if not asked.paths:
        raise InputError("usage", "a bench is wanted", key="hil sweep", fix="hil sweep BENCH --over KEY=A,B, or hil sweep --resume RUN")
    bench, over = benches.load(*asked.paths), swept.parsed(asked.over)
    if "design.designer" in over:
        raise InputError("usage", "designers have a flag of their own", key="--over design.designer", fix="--designer A,B")
    designers = asked.designers or (bench.scenario.design.designer,)
    about = {"command": "sweep", "over": over, "designers": list(designers), "seeds": list(asked.seeds), "depth": asked.depth}
    for point in swept.grid(over):
        depth = point.get(DEPTH, asked.depth)
        if depth not in benches.DEPTHS:
            raise InputError("depth", "no such depth", key="--over depth", found=str(depth), allowed=", ".join(benches.DEPTHS))
        changed = bench.replace(_changes(point)) if _changes(point) else bench
        for name in designers:
            benches.designers_of(changed, name)
    return _made(about, bench)


def _again(asked: Asked) -> Study:
    """From the folder of the run that is resumed."""
    from hil import bench as benches

    run = study.begun(str(asked.where.resume), asked.where.runs, "sweep")
    return _made(json.loads(run.input("study.json")), benches.load(run.folder / "scenario.toml", run.folder / "testbed.toml"))


def _made(about: Mapping[str, Any], bench: Any) -> Study:
    """The study of what was asked for; the same for the same files and flags."""
    asked = {key: about[key] for key in ("command", "over", "designers", "seeds", "depth")}
    tasks = [
        {"changes": _changes(point), "designer": designer, "seed": seed, "depth": point.get(DEPTH, asked["depth"])}
        for point in swept.grid(asked["over"]) for designer in asked["designers"] for seed in asked["seeds"]
    ]  # fmt: skip
    common = {"bench": trials.texts(bench.inputs)}
    rows = lambda parameters, result: _rows(asked["over"], parameters, result)
    return Study(f"sweep-{bench.scenario.name}", bench.scenario.name, asked, trials.trial, tasks, rows, bench.inputs, common, depth=asked["depth"])


def _changes(point: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in point.items() if key != DEPTH}


def _rows(over: Mapping[str, Sequence[Any]], parameters: Mapping[str, Any], result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every line of the trial's results.csv, with what was swept. last: 1 in the last round of the trial's own designer."""
    point = {key: parameters["depth"] if key == DEPTH else parameters["changes"][key] for key in over}
    own = [row["round"] for row in result["rows"] if row["round"] > 0]
    told = {**point, "seed": parameters["seed"], "infeasible": int(result["infeasible"])}
    if not own:
        empty = {name: None for name in ("promised_db", "predicted_db", "measured_db")}
        return [{**told, "last": 1, "round": 0, "designer": parameters["designer"], "user": "", **empty}]
    return [{**told, "last": int(row["round"] == max(own)), **row} for row in result["rows"]]


def _plan(streams: Streams, made: Study, asked: Asked) -> int:
    about = made.asked
    grid = " x ".join(f"{len(values)} {key}" for key, values in about["over"].items())
    counts = [grid] if grid else []
    counts += [f"{len(about['designers'])} designers"] if len(about["designers"]) > 1 else []
    counts += [f"{len(about['seeds'])} seeds"]
    streams.result(f"plan: {len(made.tasks)} trials ({' x '.join(counts)}), {asked.where.engine}; nothing was started")
    streams.done({"trials": len(made.tasks), **{key: about[key] for key in ("over", "designers", "seeds", "depth")}})
    return 0
