"""What a scenario of system `multicell` must keep: every cell has two arrays of its own, every user one cell."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from hil.errors import InputError
from hil.scenario.checks import not_here
from hil.strict import Source

if TYPE_CHECKING:
    from hil.scenario import Scenario

SIDES = (("transmit", "transmit"), ("receive", "sense"))  # key of a cell, role of the array it names


def check(scenario: Scenario, source: Source) -> list[InputError]:
    """Cells and what they name; keys that this system needs, and keys that only another has."""
    errors = not_here(source, "multicell", {("target",): scenario.target})
    if scenario.design.asked_db is None:
        errors.append(_missing(source, "asked_db", "-30 ... 60 dB", "SINR that every user is promised", "design"))
    if not scenario.cell:
        return [*errors, _missing(source, "cell", "", "[[cell]]: who serves whom, and senses what")]
    taken: dict[str, int] = {}
    for index, cell in enumerate(scenario.cell):
        for key, role in SIDES:
            errors += _array(scenario, source, index, key, role, taken)
        for place, user in enumerate(cell.users):
            path = ("cell", index, "users", place)
            if user in (known := [one.name for one in scenario.user]):
                errors += _once(source, user, path, taken)
            else:
                errors.append(_unknown(source, "user", user, known, path))
    errors += _left_over(scenario, source, taken)
    return errors or _alike(scenario, source)


def _missing(source: Source, key: str, allowed: str, about: str, *path: str) -> InputError:
    facts = {"allowed": allowed} if allowed else {}
    return source.error("missing-key", "must be given, there is no default", *path, key, fix=f"add {key} = ...   ({about})", **facts)


def _unknown(source: Source, what: str, name: str, known: Iterable[str], path: tuple[str | int, ...]) -> InputError:
    return source.error(
        "no-such-name", f"there is no {what} of this name", *path, found=f'"{name}"', allowed=", ".join(known) or "none",
        fix=f"use one of these, or add the {what}",
    )  # fmt: skip


def _array(scenario: Scenario, source: Source, index: int, key: str, role: str, taken: dict[str, int]) -> list[InputError]:
    """One of a cell's arrays: it exists, does what the cell wants of it, and is nobody else's."""
    name, path = str(getattr(scenario.cell[index], key)), ("cell", index, key)
    found = next((array for array in scenario.array if array.name == name), None)
    able = [array.name for array in scenario.array if array.role == role]
    if found is None:
        return [_unknown(source, "array", name, able, path)]
    if found.role != role:
        said, allowed = f'"{name}", role "{found.role}"', ", ".join(able) or "none of that role yet"
        return [source.error("wrong-role", f'an array with role = "{role}" is wanted', *path, found=said, allowed=allowed)]
    return _once(source, name, path, taken)


def _once(source: Source, name: str, path: tuple[str | int, ...], taken: dict[str, int]) -> list[InputError]:
    if name in taken:
        found = f'"{name}", first in line {taken[name]}'
        return [source.error("two-cells", "is in a cell already", *path, found=found, fix="every array and every user belongs to one cell")]
    taken[name] = source.line(*path)
    return []


def _left_over(scenario: Scenario, source: Source, taken: Iterable[str]) -> list[InputError]:
    """Users and arrays that no cell names."""
    errors = []
    for index, user in enumerate(scenario.user):
        if user.name not in taken:
            errors.append(source.error("no-cell", "no cell serves this user", "user", index, fix="add it to the users of one cell, or leave it out"))
    for index, array in enumerate(scenario.array):
        if array.name not in taken:
            errors.append(source.error("no-cell", "no cell uses this array", "array", index, fix="name it in a cell, or leave it out"))
    return errors


def _alike(scenario: Scenario, source: Source) -> list[InputError]:
    """One kind of base station: as many elements in every cell."""
    errors = []
    elements = {array.name: (index, array.elements) for index, array in enumerate(scenario.array)}
    for key, _ in SIDES:
        _, wanted = elements[str(getattr(scenario.cell[0], key))]
        for cell in scenario.cell[1:]:
            index, count = elements[str(getattr(cell, key))]
            if count != wanted:
                path, allowed = ("array", index, "elements"), f"{wanted}, as cell `{scenario.cell[0].name}`"
                errors.append(source.error("uneven-cells", f"all cells {key} with as many elements", *path, found=str(count), allowed=allowed))
    return errors
