"""The layers of the design, held by reading every import there is, those inside functions included."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Top first. A module imports from rows below its own, from its own unit, and from what SIDEWAYS lists.
ROWS: list[list[str]] = [
    ["hil.cli", "hil.commands"],
    ["hil.bench"],
    ["calibration", "hil.loop", "hil.report", "hil.testing"],
    ["hil.systems"],
    ["hil.learn", "hil.estimate", "hil.adversary"],
    ["hil.model"],
    ["hil.link", "hil.records", "hil.uncertainty", "hil.waveform", "hil.knowledge", "hil.figure", "hil.reach", "hil.checkup"],
    ["hil.envelope", "hil.motion"],
    ["hil.files", "hil.crosscheck", "hil.scenario", "hil.testbed", "hil.profile", "hil.parts", "hil.fir", "firmware_configs"],
    ["hil.device"],
    ["hil.units", "hil.clock", "hil.tasks", "hil.interrupts", "hil.errors", "hil.strict", "hil.toml_lines", "hil.quantities"],
]
ROW = {unit: row for row, units in enumerate(ROWS, 1) for unit in units}
# Inside a row: files of a bench know each other; knowledge is a value that its whole row passes on; the command line is one unit.
SIDEWAYS = {1: None, 9: None, 11: None, 7: {"hil.knowledge"}}
BESIDE = ("hil.node", "hil.radios", "hil.stages")  # beside the hardware: hil.link and rows 8 to 11
MAY_IMPORT_BESIDE = ("hil.bench", "hil.reach", "hil.commands.serve", *BESIDE)  # composition of devices, and `hil node` itself
LIGHT = ("torch", "cvxpy", "scipy", "numba")  # not on a single-board computer
EMULATOR_KNOWS = {"hil.device", "hil.clock", "hil.units"}


def modules() -> dict[str, Path]:
    """Dotted name -> file of everything that travels in the wheel."""
    found = {}
    for package in ("hil", "sim_backend", "calibration", "firmware_configs"):
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports(name: str) -> Iterator[tuple[str, int]]:
    """(module, line) of every import in a module; `from package import module` names the module."""
    tree = ast.parse(MODULES[name].read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}:{node.lineno}: imports are written in full"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield (inner if inner in MODULES else str(node.module)), node.lineno
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "import_module" and node.args:
            if isinstance(node.args[0], ast.Constant):
                yield str(node.args[0].value), node.lineno


def unit(name: str) -> str | None:
    """The row's entry that a module belongs to."""
    while name:
        if name in ROW or name in BESIDE:
            return name
        name = name.rpartition(".")[0]
    return None


def top(name: str) -> str:
    return name.partition(".")[0]


def violations(name: str) -> list[str]:
    """What a module imports and may not, in words."""
    wrong = []
    if name == "hil":  # the public names: lazily from anywhere
        return []
    mine = unit(name)
    for other, line in imports(name):
        if top(other) not in ("hil", "sim_backend", "calibration", "firmware_configs", "benchmarks", "tests", "docs"):
            continue
        where = f"{name}:{line} imports {other}"
        if top(other) in ("benchmarks", "tests", "docs"):
            wrong.append(f"{where}: not part of the product")
        elif top(name) == "sim_backend":
            if top(other) != "sim_backend" and other not in EMULATOR_KNOWS:
                wrong.append(f"{where}: the emulator knows only {', '.join(sorted(EMULATOR_KNOWS))}")
        elif top(other) == "sim_backend":
            if mine != "hil.bench":
                wrong.append(f"{where}: only hil.bench imports the emulator")
        elif mine is None:
            wrong.append(f"{where}: {name} is in no row")
        elif other == "hil":
            if mine not in ("hil.commands", "hil.cli", "hil.bench", "hil.loop", "hil.testing", "hil.report"):
                wrong.append(f"{where}: the package itself stands above every row")
        else:
            wrong += [f"{where}: {why}" for why in refusals(name, mine, other)]
    return wrong


def refusals(name: str, mine: str, other: str) -> list[str]:
    theirs = unit(other)
    if theirs is None:
        return [f"{other} is in no row"]
    if theirs in BESIDE:
        return (
            []
            if name in MAY_IMPORT_BESIDE or mine in BESIDE or mine == "hil.bench"
            else ["nodes and drivers are composed by hil.bench only"]
        )
    if mine in BESIDE:
        return [] if theirs == "hil.link" or ROW[theirs] >= 8 else ["beside the hardware only hil.link and rows 8 to 11 are known"]
    if theirs == mine:
        return different_systems(name, other)
    if ROW[theirs] > ROW[mine]:
        return []
    if ROW[theirs] == ROW[mine] and ROW[mine] in SIDEWAYS:
        among = SIDEWAYS[ROW[mine]]
        if among is None or theirs in among:
            return []
    return [f"row {ROW[theirs]} is not below row {ROW[mine]}"]


def different_systems(name: str, other: str) -> list[str]:
    """Systems are blind to each other."""
    a, b = name.split("."), other.split(".")
    if a[1] == b[1] == "systems" and len(a) > 2 and len(b) > 2 and a[2] != b[2]:
        return ["systems are blind to each other"]
    return []


@pytest.mark.parametrize("name", sorted(MODULES))
def test_imports_only_from_rows_below(name: str) -> None:
    assert violations(name) == []


@pytest.mark.parametrize(
    "name",
    sorted(
        name for name in MODULES if (unit(name) in ROW and ROW[str(unit(name))] >= 7) or unit(name) in ("hil.estimate", "hil.adversary")
    ),
)
def test_no_torch_in_or_below_row_seven_nor_in_estimators(name: str) -> None:
    assert [line for other, line in imports(name) if top(other) == "torch"] == []


def test_the_emulator_uses_no_torch() -> None:
    assert [name for name in MODULES if top(name) == "sim_backend" for other, _ in imports(name) if top(other) == "torch"] == []


def test_the_adversary_shares_no_code_with_what_it_judges() -> None:
    for name in MODULES:
        if unit(name) == "hil.adversary":
            assert not [other for other, _ in imports(name) if unit(other) in ("hil.model", "hil.systems", "hil.estimate")]


def closure(starts: list[str]) -> set[str]:
    """Every module of ours that importing these could bring in, parents' packages included."""
    seen: set[str] = set()
    waiting = list(starts)
    while waiting:
        name = waiting.pop()
        parents = [name.rsplit(".", depth)[0] for depth in range(1, name.count(".") + 1)]
        for one in [name, *parents]:
            if one in MODULES and one not in seen and one != "hil":
                seen.add(one)
                waiting += [other for other, _ in imports(one)]
    return seen


def test_a_node_needs_no_heavy_library() -> None:
    reached = closure([name for name in MODULES if unit(name) in BESIDE])
    assert [(name, other) for name in sorted(reached) for other, _ in imports(name) if top(other) in LIGHT] == []


def test_only_public_names_are_in_the_package_itself() -> None:
    import hil

    assert all(module in MODULES for module, _ in hil._NAMES.values())
    assert {"load", "open", "read", "design", "check", "Capture", "Estimate", "Design", "Move", "InputError", "estimate", "testing"} == set(
        hil.__all__
    )


@pytest.mark.parametrize(
    ("name", "source", "complaint"),
    [
        ("hil.scenario", "def late():\n    from hil.loop import lab\n", "row 3 is not below row 9"),
        ("hil.estimate.carrier", "import hil.model.arrays\n", None),
        ("hil.model.arrays", "import hil.estimate.carrier\n", "row 5 is not below row 6"),
        ("sim_backend.medium", "import hil.waveform.ofdm\n", "the emulator knows only"),
        ("hil.loop.lab", "import sim_backend.world\n", "only hil.bench imports the emulator"),
        ("hil.node.worker", "import hil.records\n", "beside the hardware"),
        ("hil.records.writer", "import hil.waveform\n", "row 7 is not below row 7"),
        ("hil.loop.lab", "import tests.unit\n", "not part of the product"),
    ],
)
def test_the_checker_sees(name: str, source: str, complaint: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "module.py"
    file.write_text(source)
    monkeypatch.setitem(MODULES, name, file)
    found = violations(name)
    assert found == [] if complaint is None else complaint in found[0]
