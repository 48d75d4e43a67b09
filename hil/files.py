"""The files of a bench: a folder, or the file or files it would hold; each is known by its first key, `format`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hil import profile, scenario, strict, testbed
from hil.crosscheck import check_bench
from hil.errors import InputError
from hil.scenario import Scenario
from hil.strict import Source
from hil.testbed import NodeFile, Testbed

#: format -> how a file of it is read, alone.
KINDS: dict[str, Callable[[Path], Any]] = {
    "hil.scenario.v1": scenario.load,
    "hil.testbed.v1": testbed.load,
    "hil.node.v1": testbed.load_node,
    "hil.radio.v1": lambda path: profile.radio_profile(strict.parse(path)),
    "hil.stage.v1": lambda path: profile.stage_profile(strict.parse(path)),
}


@dataclass(frozen=True)
class BenchFiles:
    """What was read for one bench. nodes: those whose node.toml lies in the bench's folder `nodes/`."""

    scenario: Scenario
    testbed: Testbed
    nodes: Mapping[str, NodeFile]
    folder: Path

    @property
    def names(self) -> tuple[str, ...]:
        """The files, as `hil check` counts them: scenario.toml, testbed.toml, 3 profiles."""
        profiles = len(self.testbed.radio_profiles) + len(self.testbed.stage_profiles)
        counted = [f"{profiles} profile{'' if profiles == 1 else 's'}"]
        if self.nodes:
            counted.append(f"{len(self.nodes)} node file{'' if len(self.nodes) == 1 else 's'}")
        return (*(Path(one.file).name for one in (self.scenario.source, self.testbed.source) if one is not None), *counted)


def read_bench(*paths: Path | str) -> BenchFiles:
    """Read and cross-check a bench: a folder, or its scenario and testbed files. InputErrors holds every mistake in all of them."""
    found = _sorted(paths)
    missing = [kind for kind in ("scenario", "testbed") if f"hil.{kind}.v1" not in found]
    if missing:
        given = ", ".join(str(path) for path in paths)
        raise InputError(
            "no-bench",
            f"no {' and no '.join(f'{kind}.toml' for kind in missing)} among what was given",
            file=given,
            fix="give a folder that holds scenario.toml and testbed.toml, or both files; `hil new DIR` makes one",
        )
    errors: list[InputError] = []
    files = {kind: [_collect(errors, KINDS[kind], path) for path in found[kind]] for kind in found}
    strict.raise_all(errors)
    bench = BenchFiles(
        scenario=files["hil.scenario.v1"][0],
        testbed=files["hil.testbed.v1"][0],
        nodes={node.name: node for node in files.get("hil.node.v1", [])},
        folder=found["hil.testbed.v1"][0].parent,
    )
    strict.raise_all(check_bench(bench.scenario, bench.testbed, bench.nodes))
    return bench


def check(*paths: Path | str) -> list[str]:
    """Read every file and cross-check every bench; one line of names per bench or file. InputErrors holds every mistake."""
    errors: list[InputError] = []
    fine: list[str] = []
    for path in (Path(path) for path in paths):
        try:
            if path.is_dir():
                fine.append(", ".join(read_bench(path).names))
            else:
                KINDS[kind_of(strict.parse(path))](path)
                fine.append(str(path))
        except InputError as error:
            errors += getattr(error, "errors", (error,))
    files = [Path(path) for path in paths if Path(path).is_file()]
    if not errors and {"hil.scenario.v1", "hil.testbed.v1"} <= {kind_of(strict.parse(path)) for path in files}:
        read_bench(*files)
    strict.raise_all(errors)
    return fine


def kind_of(source: Source) -> str:
    """The format a file names; InputError for none or an unknown one."""
    found = source.document.get("format")
    if found is None:
        raise InputError(
            "no-format",
            "does not say what kind of file it is",
            file=source.file,
            line=1,
            fix='format = "hil.scenario.v1" or another, first line',
        )
    if found not in KINDS:
        raise source.error("wrong-format", "no such kind or version of file", "format", found=f'"{found}"', allowed=" | ".join(KINDS))
    return str(found)


def _sorted(paths: tuple[Path | str, ...]) -> dict[str, list[Path]]:
    """Files by format, folders opened; InputError for two scenarios or two testbeds."""
    files: list[Path] = []
    for path in (Path(path) for path in paths):
        if not path.is_dir():
            files.append(path)
            continue
        inside = [path / name for name in ("scenario.toml", "testbed.toml")]
        files += [one for one in inside if one.exists()] + sorted((path / "nodes").glob("*.toml"))
    found: dict[str, list[Path]] = {}
    for file in files:
        kind = kind_of(strict.parse(file))
        if kind in ("hil.scenario.v1", "hil.testbed.v1") and kind in found:
            raise InputError(
                "one-bench", "a second file of this kind", file=str(file), found=f"{found[kind][0]} before it", fix="give one bench"
            )
        found.setdefault(kind, []).append(file)
    return found


def _collect(errors: list[InputError], read: Callable[[Path], Any], path: Path) -> Any:
    try:
        return read(path)
    except InputError as error:
        errors += getattr(error, "errors", (error,))
        return None
