"""`hil reproduce`: a figure of a paper, with what of the paper's claims holds."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hil.commands import listing, study
from hil.commands.streams import Streams
from hil.commands.study import Study, Where
from hil.commands.trial import shown
from hil.errors import InputError
from hil.figure import Claim


@dataclass(frozen=True)
class Asked:
    """The flags of `hil reproduce`. seeds: number of drops; None: as many as the figure wants."""

    system: str | None
    figure: str | None
    seeds: int | None
    where: Where
    plan: bool = False
    list: bool = False


def reproduce(streams: Streams, asked: Asked) -> int:
    """Returns the exit code: 0; 1 where a claim that the figure has to show does not hold."""
    if asked.list:
        return listing.figures(streams, asked.system)
    made = _again(asked) if asked.where.resume is not None and asked.figure is None else _study(asked)
    if asked.plan:
        streams.result(f"plan: {len(made.tasks)} tasks, {asked.where.engine}; nothing was started")
        streams.done({"tasks": len(made.tasks), "seeds": made.asked["seeds"]})
        return 0
    run, _ = study.do(streams, made, asked.where)
    from hil.report.study import content

    told = content(run)
    heads = [f"{told.head}", f"{told.table.caption}      {len(made.tasks)} tasks, {study.lasting(run.wall_s)}"]
    for line in [*heads, *study.columns(told.table.head, told.table.rows), *said(told.claims)]:
        streams.result(line)
    failed = [one for one in told.claims if one.holds is False and one.must]
    result = {
        "title": told.head, "figure": str(run.folder / "figures" / "study.png"),
        "table": [dict(zip(told.table.head, row)) for row in told.table.rows], "claims": [dataclasses.asdict(one) for one in told.claims],
    }  # fmt: skip
    code = study.finish(streams, run, result, ok=not failed)
    streams.result(f"figure      {shown(run.folder / 'figures' / 'study.png')}")
    return code


def said(claims: Sequence[Claim]) -> list[str]:
    """Two lines each: what the paper says, and what of it holds."""
    from hil.report.study import HOLDS

    lines = []
    for one in claims:
        lines.append(f"paper       {one.paper}")
        lines.append(f"  {HOLDS[one.holds]}: {one.found}" + (f"; {one.why}" if one.why else ""))
    return lines


def _study(asked: Asked) -> Study:
    from hil.report.study import figures

    if asked.system is None or asked.figure is None:
        raise InputError("usage", "a system and a figure are wanted", key="hil reproduce", fix="hil reproduce multicell 6; hil reproduce --list")
    held = figures(asked.system)
    if asked.figure not in held:
        raise InputError("no-figure", "there is no such figure", key=f"hil reproduce {asked.system}", found=asked.figure, allowed=", ".join(held))
    return _made(asked.system, asked.figure, held[asked.figure].seeds if asked.seeds is None else asked.seeds)


def _again(asked: Asked) -> Study:
    about: dict[str, Any] = json.loads(study.begun(str(asked.where.resume), asked.where.runs, "reproduce").input("study.json"))
    return _made(about["system"], about["figure"], about["seeds"])


def _made(system: str, number: str, seeds: int) -> Study:
    from hil.report.study import figures

    wanted = figures(system)[number]
    about = {"command": "reproduce", "system": system, "figure": number, "seeds": seeds}
    return Study(f"{system}-{number}", f"{system}-{number}", about, wanted.work, wanted.tasks(seeds), wanted.rows)
