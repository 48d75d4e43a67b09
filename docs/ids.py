"""Which ids of errors and warnings the source uses and what they say, found by reading it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_ID = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_METHODS = {"error", "add"}  # of hil.strict: an InputError at a place in a file
WARNING = "warning"  # in place of a kind of error: the run goes on
EXIT = {"InputError": 2, "InputErrors": 2, "SafeState": 4, "Infeasible": 1}  # every other kind: 3


@dataclass
class Id:
    """One id: kinds of error, or WARNING; the sentences and remedies it comes with, and the files that raise it."""

    kinds: list[str] = field(default_factory=list)
    says: list[str] = field(default_factory=list)
    fixes: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)


def sources() -> list[Path]:
    """Every file of the product."""
    return [path for package in ("hil", "sim_backend", "calibration") for path in sorted((ROOT / package).rglob("*.py"))]


def classes() -> dict[str, str]:
    """Everything that descends from HilError -> the parent that decides its exit code."""
    bases: dict[str, list[str]] = {}
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                bases[node.name] = [base.id for base in node.bases if isinstance(base, ast.Name)]
    found = {"HilError": "HilError"}
    while True:
        more = {name: next(found[base] for base in above if base in found) for name, above in bases.items() if set(above) & set(found)}
        more = {name: name if name in EXIT or kind == "HilError" else kind for name, kind in more.items()}
        if more.keys() <= found.keys():
            return found
        found |= more


def used() -> dict[str, Id]:
    """Every id, in order."""
    kinds = classes()
    found: dict[str, Id] = {}
    for path in sources():
        tree = ast.parse(path.read_text())
        told = [(kind, node.args[0], node.args[1] if len(node.args) > 1 else None, _keyword(node, "fix")) for kind, node in _raised(tree, kinds)]
        told += [(WARNING, id, _keyword(node, "message"), _keyword(node, "fix")) for node in _warned(tree) if (id := _keyword(node, "id"))]
        for kind, first, says, fix in told:
            if not (isinstance(first, ast.Constant) and isinstance(first.value, str) and _ID.fullmatch(first.value)):
                continue
            one = found.setdefault(first.value, Id())
            _once(one.kinds, kind)
            _once(one.files, str(path.relative_to(ROOT)))
            for text in _texts(says) if says else []:
                _once(one.says, text)
            for text in _texts(fix) if fix else []:
                _once(one.fixes, text)
    return dict(sorted(found.items()))


def _warned(tree: ast.Module) -> list[ast.Call]:
    """Calls that record a `warned` event."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "event"]
    return [node for node in calls if node.args and isinstance(node.args[0], ast.Constant) and node.args[0].value == "warned"]


def _keyword(node: ast.Call, name: str) -> ast.expr | None:
    return next((keyword.value for keyword in node.keywords if keyword.arg == name), None)


def _raised(tree: ast.Module, kinds: dict[str, str]) -> Iterator[tuple[str, ast.Call]]:
    """(kind of error, call that makes it)."""
    inside: dict[ast.Call, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and node.name in kinds:
            inside |= {call: node.name for call in ast.walk(node) if isinstance(call, ast.Call)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        if isinstance(node.func, ast.Name) and node.func.id in kinds:
            yield node.func.id, node
        elif isinstance(node.func, ast.Attribute) and node.func.attr in kinds:
            yield node.func.attr, node
        elif isinstance(node.func, ast.Attribute) and node.func.attr == "__init__" and node in inside:
            yield inside[node], node
        elif isinstance(node.func, ast.Attribute) and node.func.attr in _METHODS and len(node.args) > 1:
            yield "InputError", node


def _once(list_: list[str], item: str) -> None:
    if item and item not in list_:
        list_.append(item)


def _texts(node: ast.expr) -> list[str]:
    """What an argument can say; parts that depend on the case are an ellipsis. Nothing where all of it does."""
    if isinstance(node, ast.Constant):
        return [str(node.value)]
    if isinstance(node, ast.IfExp):
        return _texts(node.body) + _texts(node.orelse)
    if isinstance(node, ast.JoinedStr):
        text = "".join(str(part.value) if isinstance(part, ast.Constant) else "..." for part in node.values)
        return [text] if text.strip(". ") else []
    return []
