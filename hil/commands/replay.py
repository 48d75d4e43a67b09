"""`hil replay`: every estimate of a run again from its captures, and what came out otherwise."""

from __future__ import annotations

import math
import platform
import socket
from pathlib import Path
from typing import Any

from hil.commands.streams import Streams

ELSEWHERE = 1e-9  # relative difference that other libraries, compilers and processors may make
SHOWN = 12  # differences in words; --json has all


def replay(streams: Streams, name: str, folder: Path) -> int:
    """Returns 0 when everything came again, 1 when something differs. RecordError when the run is not what was recorded."""
    from hil import bench as benches
    from hil.loop import replaying
    from hil.records import read

    run = read(name, folder)
    for each in run.about["inputs"]:
        run.input(each)
    bench = benches.load(run.folder / "scenario.toml", run.folder / "testbed.toml")
    others = other_versions(run.about, benches.versions(), *benches.checkout())
    allowed = ELSEWHERE if others else 0.0
    streams.result(f"run         {run.name}   ended: {run.ended}, whole up to {_far(run)}")
    told = f"not those of the run: {'; '.join(others)}; so equal to {allowed:g}, not to the bit" if others else "those of the run"
    streams.result(f"versions    {told}")
    found = replaying.replay(run, bench.scenario, bench.testbed)
    for line in lines(found, allowed):
        streams.result(line)
    agrees = found.agrees(allowed)
    streams.done(
        {"run": run.name, "folder": str(run.folder), "other_versions": others, "allowed": allowed, "captures": found.captures,
         "events": found.events, "identical": found.identical, "arrays": found.arrays, "largest": found.largest,
         "differences": [{"where": one.where, "field": one.field, "relative": one.relative} for one in found.departures],
         "missing": list(found.missing), "stopped": found.stopped.what if found.stopped else None},
        ok=agrees,
    )  # fmt: skip
    return 0 if agrees else 1


def lines(found: Any, allowed: float) -> list[str]:
    """What a replay found, in words; the largest differences first."""
    same = "all to the bit" if found.identical == found.events > 0 else f"{found.identical} of them to the bit"
    told = [f"recomputed  {found.events} estimates, sets and measurements from {found.captures} captures: {same}; {found.arrays} stored arrays"]
    largest = f"largest {found.largest:.1e} of what was recorded" if math.isfinite(found.largest) else "not all of one kind and size"
    told.append(f"difference  {f'{largest}; allowed {allowed:g}' if found.departures else 'none'}")
    beyond = sorted((one for one in found.departures if one.relative > allowed), key=lambda one: -one.relative)
    told += [f"differs     {one}" for one in beyond[:SHOWN]]
    told += [f"            ... and {len(beyond) - SHOWN} more (--json)"] if beyond[SHOWN:] else []
    told += [f"missing     {len(found.missing)} recorded and not made again, first {found.missing[0]}"] if found.missing else []
    if found.stopped is not None:
        told += [f"stopped     {line.strip()}" for line in found.stopped.message.splitlines()]
    return told


def other_versions(about: dict[str, Any], versions: dict[str, str], commit: str | None, dirty: bool | None) -> list[str]:
    """What is not as it was when the run was made: libraries, this program's code, the machine."""
    then = about["versions"]
    other = [name for name in sorted({*versions, *then}) if versions.get(name) != then.get(name)]
    told = [f"{name} {versions.get(name, 'none')} was {then.get(name, 'none')}" for name in other]
    now, was = _code(commit, dirty), _code(about.get("commit"), about.get("dirty"))
    if now != was or dirty:
        told.append(f"code {now} was {was}")
    here = socket.gethostname()
    if about.get("host") != here:
        told.append(f"machine {here} ({platform.machine()}) was {about.get('host')}")
    return told


def _code(commit: str | None, dirty: bool | None) -> str:
    return "installed" if commit is None else f"{commit[:7]}{' and changes' if dirty else ''}"


def _far(run: Any) -> str:
    return "nothing" if not run.recorded else f"round {run.last_whole_round}" if run.last_whole_round is not None else f"{run.recorded[-1][1]}"
