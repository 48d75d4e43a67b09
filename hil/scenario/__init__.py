"""What is studied: the file `scenario.toml` as a strict, typed, frozen value.

Keys keep the unit they have in the file; methods and properties give SI. The scenario knows no address, port or serial number: which
hardware plays which part is in `hil.testbed`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from hil import strict
from hil.errors import InputError
from hil.scenario import cells, checks
from hil.scenario.parts import Array, Cell, Name, Planner, Rounds, Signal, Target, User, Whereabouts
from hil.strict import Source

__all__ = ["Array", "Cell", "Planner", "Rounds", "Scenario", "Signal", "Target", "User", "Whereabouts", "check", "load", "parse"]


class Scenario(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole of scenario.toml."""

    format: Annotated[Literal["hil.scenario.v1"], Meta(description="first line of the file")]
    name: Annotated[Name, Meta(description="part of the run's name")]
    system: Annotated[Literal["maxmin", "multicell"], Meta(description="which problem is solved")]
    signal: Signal
    user: Annotated[tuple[User, ...], Meta(min_length=1, description="maxmin: user u is served by the u-th transmit array")]
    target: Annotated[Target, Meta(description="maxmin: left out where nothing is sensed")] | None = None
    rounds: Rounds
    array: Annotated[tuple[Array, ...], Meta(min_length=1)]
    cell: Annotated[tuple[Cell, ...], Meta(description="multicell: who serves whom, and senses what")] = ()
    design: Planner
    source: Source | None = None

    @property
    def wavelength(self) -> float:
        """Metres."""
        return self.signal.wavelength

    @property
    def transmitters(self) -> tuple[Array, ...]:
        """Arrays that serve users, in the order of the file; of maxmin, transmitter t serves user t."""
        return tuple(array for array in self.array if array.role == "transmit")

    @property
    def sensors(self) -> tuple[Array, ...]:
        """Arrays that listen for the target."""
        return tuple(array for array in self.array if array.role == "sense")

    @property
    def targets(self) -> dict[str, Whereabouts]:
        """What is known of every target, by name: its cell's, or `target` where there is one and no cells."""
        if self.cell:
            return {cell.name: cell.target for cell in self.cell}
        return {} if self.target is None else {"target": self.target}

    def part(self, name: str) -> Array | User:
        """The array or user of that name; KeyError for none."""
        parts: tuple[Array | User, ...] = (*self.array, *self.user)
        for part in parts:
            if part.name == name:
                return part
        raise KeyError(name)

    def replace(self, changes: Mapping[str, Any]) -> Scenario:
        """A changed copy, checked again: `{"rounds.max": 4, "array.ap1.elements": 3}`; the paths are those of messages."""
        return _checked(strict.replaced(self, changes))

    def plain(self) -> dict[str, Any]:
        """As dictionaries, lists and scalars, keys as in the file."""
        document = strict.plain(self)
        assert isinstance(document, dict)
        return document


def load(path: Path | str) -> Scenario:
    """Read scenario.toml (or the one in a bench folder); InputError, or InputErrors with every mistake in it."""
    path = Path(path)
    return _checked(strict.parse(path / "scenario.toml" if path.is_dir() else path))


def parse(text: str, file: str = "scenario.toml") -> Scenario:
    """The same from text; `file` is what messages call it."""
    return _checked(strict.parse(file, text.encode()))


def _checked(source: Source) -> Scenario:
    scenario = strict.read(source, Scenario)
    strict.raise_all(check(scenario))
    return scenario


def check(scenario: Scenario) -> list[InputError]:
    """What the types of single keys cannot say: names, unit vectors, lengths, who is served by whom."""
    assert scenario.source is not None
    own = checks.maxmin if scenario.system == "maxmin" else cells.check
    return checks.parts(scenario, scenario.source) + own(scenario, scenario.source)
