"""What every scenario must keep beyond the types of its keys, and what one of system `maxmin` must."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from hil import quantities
from hil.errors import InputError
from hil.scenario.parts import Array, Cell, Signal, User
from hil.strict import Source

if TYPE_CHECKING:
    from hil.scenario import Scenario

MAXMIN_BASELINES = ("fixed-rzf", "fixed", "sparse", "nominal")


def parts(scenario: Scenario, source: Source) -> list[InputError]:
    """Names, unit vectors, lengths, band."""
    errors = _names(scenario, source)
    for index, array in enumerate(scenario.array):
        errors += _array(array, source, ("array", index))
    return errors + _signal(scenario.signal, source)


def maxmin(scenario: Scenario, source: Source) -> list[InputError]:
    """Who is served by whom, who listens, known baselines, and nothing of other systems."""
    errors = []
    for index, name in enumerate(scenario.design.baselines):
        if name not in MAXMIN_BASELINES:
            near = difflib.get_close_matches(name, MAXMIN_BASELINES, n=1)
            errors.append(
                source.error(
                    "not-allowed", "is none of the words allowed here", "design", "baselines", index, found=f'"{name}"',
                    allowed=" | ".join(MAXMIN_BASELINES), note=f"did you mean `{near[0]}`?" if near else "",
                )
            )  # fmt: skip
    design = scenario.design
    errors += not_here(source, "maxmin", {("cell",): scenario.cell, ("design", "asked_db"): design.asked_db, ("design", "waveform"): design.waveform})
    served, serving = len(scenario.user), len(scenario.transmitters)
    if served != serving:
        errors.append(
            source.error(
                "unserved",
                "as many users as transmit arrays are wanted: user u is served by transmit array u",
                "user",
                found=f'{served} users, {serving} arrays with role = "transmit"',
                fix="add or remove one or the other",
            )
        )
    if scenario.target is not None and not scenario.sensors:
        errors.append(
            source.error(
                "unsensed",
                "nobody listens for the target",
                "target",
                found='no array with role = "sense"',
                fix="add one, or leave [target] out",
            )
        )
    return errors


def not_here(source: Source, system: str, keys: Mapping[tuple[str, ...], object]) -> list[InputError]:
    """Keys (path -> value) of another system that a file states all the same."""
    return [
        source.error("not-here", f'means nothing with system = "{system}"', *path, fix="leave it out, or change system")
        for path, value in keys.items()
        if value not in (None, ())
    ]


def _names(scenario: Scenario, source: Source) -> list[InputError]:
    seen: dict[str, int] = {}
    errors = []
    tables: tuple[tuple[str, tuple[Array | Cell | User, ...]], ...] = (("user", scenario.user), ("array", scenario.array), ("cell", scenario.cell))
    for table, entries in tables:
        for index, entry in enumerate(entries):
            if entry.name in seen:
                errors.append(
                    source.error(
                        "duplicate-name",
                        "this name is taken",
                        table,
                        index,
                        "name",
                        found=f'"{entry.name}", first used in line {seen[entry.name]}',
                        fix="users, arrays and cells need different names",
                    )
                )
            seen.setdefault(entry.name, source.line(table, index, "name"))
    return errors


def _array(array: Array, source: Source, path: tuple[str, int]) -> list[InputError]:
    errors = []
    for key, vector in (("axis", array.axis), ("normal", array.normal)):
        if vector is not None and abs((length := math.hypot(*vector)) - 1.0) > 1e-6:
            unit = [round(part / length, 6) for part in vector] if length > 0 else [1.0, 0.0, 0.0]
            errors.append(
                source.error(
                    "not-unit",
                    "a direction is a unit vector",
                    *path,
                    key,
                    found=f"{quantities.toml(vector)}, length {length:.6g}",
                    fix=f"{key} = {quantities.toml(unit)}",
                )
            )
    if array.normal is not None and abs(sum(a * b for a, b in zip(array.axis, array.normal))) > 1e-6:
        errors.append(
            source.error("not-normal", "must stand at right angles to axis", *path, "normal", found=quantities.toml(array.normal))
        )
    if array.role == "transmit" and array.element_power_dbm is None:
        errors.append(
            source.error(
                "missing-key",
                "must be given, there is no default",
                *path,
                "element_power_dbm",
                allowed="-60 ... 40 dBm",
                fix="add element_power_dbm = ...   (cap per element, always on)",
            )
        )
    gaps = array.elements - 1
    need = gaps * array.min_spacing_wavelengths
    if need > array.travel_wavelengths * (1 + 1e-9):
        most = int(array.travel_wavelengths / array.min_spacing_wavelengths + 1e-9) + 1
        spacing, travel = quantities.number(array.min_spacing_wavelengths), quantities.number(array.travel_wavelengths)
        short, roomy = quantities.number(need), quantities.number(need + 1.0)
        errors.append(
            source.error(
                "rail-too-short",
                f"{array.elements} elements do not fit the travel",
                *path,
                "elements",
                found=f"{gaps} gaps x {spacing} = {short} wavelengths, travel {travel}",
                fix=f"elements <= {most}, or travel_wavelengths >= {short} ({roomy} leaves room to move)",
            )
        )
    return errors


def _signal(signal: Signal, source: Source) -> list[InputError]:
    errors = []
    if signal.used_bandwidth_hz > 0.9 * signal.sample_rate_hz:
        errors.append(
            source.error(
                "band-too-wide",
                "the used band does not fit the sampling rate",
                "signal",
                "used_bandwidth_hz",
                found=f"{quantities.frequency(signal.used_bandwidth_hz)} of {quantities.frequency(signal.sample_rate_hz)}",
                allowed=f"at most 0.9 of it, {quantities.frequency(0.9 * signal.sample_rate_hz)}",
            )
        )
    return errors
