"""What travels in the wheel: packages by name, none forgotten."""

from __future__ import annotations

import tomllib
from fnmatch import fnmatch
from pathlib import Path

import hil

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
TOOL = PROJECT["tool"]["setuptools"]


def test_every_package_is_listed_and_nothing_else() -> None:
    there = {".".join(path.parent.relative_to(ROOT).parts) for top in ("hil", "sim_backend", "calibration", "firmware_configs")
             for path in (ROOT / top).rglob("__init__.py")}  # fmt: skip
    assert set(TOOL["packages"]) == there | {"hil.examples"}


def test_every_file_of_a_package_that_is_no_source_travels_too() -> None:
    forgotten = []
    for package in TOOL["packages"]:
        folder = ROOT / TOOL["package-dir"].get(package, package.replace(".", "/"))
        patterns = TOOL["package-data"].get(package, []) + TOOL["package-data"].get("*", [])
        for path in folder.iterdir():
            if path.is_file() and path.suffix not in (".py", ".pyc") and not any(fnmatch(path.name, pattern) for pattern in patterns):
                forgotten.append(str(path.relative_to(ROOT)))
    assert forgotten == []


def test_every_example_travels() -> None:
    patterns = TOOL["package-data"]["hil.examples"]
    for path in (ROOT / "examples").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            inside = path.relative_to(ROOT / "examples")
            assert any(inside.match(pattern) for pattern in patterns) or path.suffix == ".py", inside


def test_the_core_needs_few_things_and_extras_name_the_rest() -> None:
    project = PROJECT["project"]
    core = {requirement.split(">")[0] for requirement in project["dependencies"]}
    assert core == {"numpy", "msgspec", "pyzmq", "pyserial", "typer", "rich"}
    assert set(project["optional-dependencies"]) == {"radio", "design", "emulate", "report", "learn", "sweep", "all", "dev"}
    assert project["scripts"] == {"hil": "hil.cli:main"} and hil.__version__


def test_constraints_hold_everything_that_is_installed_by_default() -> None:
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line}
    extras = PROJECT["project"]["optional-dependencies"]
    wanted = PROJECT["project"]["dependencies"] + [one for extra in ("radio", "design", "emulate", "report", "sweep", "dev") for one in extras[extra]]
    names = {requirement.split("=")[0].split(">")[0].split("<")[0].split("[")[0].lower() for requirement in wanted}
    assert names <= pinned
    assert "torch==2.13.0" in (ROOT / "constraints.txt").read_text().splitlines()
