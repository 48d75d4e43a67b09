"""`--list`: the designers and keys of a bench, the figures of the systems."""

from __future__ import annotations

import pkgutil
from pathlib import Path
from typing import Any

from hil.commands.streams import Streams
from hil.errors import InputError


def bench(streams: Streams, paths: tuple[Path, ...]) -> int:
    """Designers, and every key with the value it has now; entries of a list of tables by their name."""
    from hil import bench as benches
    from hil import strict

    if not paths:
        raise InputError("usage", "a bench is wanted", key="--list", fix="hil sweep BENCH --list")
    loaded = benches.load(*paths)
    names = benches.designer_names(loaded)
    keys = {key: value for part in (loaded.scenario, loaded.testbed) for key, value in _keys(strict.plain(part), "")}
    streams.result(f"designers   {', '.join(names)}, module:Class")
    streams.result("depth       process, nodes, device")
    for key, value in keys.items():
        streams.result(f"{key} = {strict.spelled(value)}")
    streams.done({"designers": names, "keys": keys})
    return 0


def _keys(value: Any, path: str) -> list[tuple[str, Any]]:
    from hil import strict

    if isinstance(value, dict):
        return [found for key, inner in value.items() if key != "format" for found in _keys(inner, f"{path}.{key}" if path else key)]
    if isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
        return [found for one in value if strict.entry_name(one) for found in _keys(one, f"{path}.{strict.entry_name(one)}")]
    return [(path, value)]


def systems() -> list[str]:
    """Systems whose figures can be made, by name, without importing them."""
    from hil import systems as package

    folder = Path(package.__path__[0])
    named = sorted(one.name for one in pkgutil.iter_modules(package.__path__) if one.ispkg)
    return [name for name in named if (folder / name / "figures.py").exists() or (folder / name / "figures").is_dir()]


def figures(streams: Streams, system: str | None) -> int:
    """Every figure, with its title and its number of drops."""
    from hil.report.study import figures as of

    found = {name: of(name) for name in ([system] if system else systems())}
    for name, held in found.items():
        for number, one in held.items():
            streams.result(f"{name} {number:<4} {one.title} ({one.seeds} drops)")
    streams.done({name: {number: {"title": one.title, "seeds": one.seeds} for number, one in held.items()} for name, held in found.items()})
    return 0
