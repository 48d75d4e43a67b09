"""What can go wrong, as one small tree.

Every error says what, where, what was found, what is allowed and what to do about it; `id` names it in `docs/errors.md`
and `exit_code` is what the command line leaves with (2 input, 3 bench, 4 safe state).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class HilError(Exception):
    """Base of every error this project raises on purpose. `str(error)` is the two-line message a user sees."""

    exit_code = 3

    def __init__(
        self, id: str, what: str, *, where: str = "", found: str = "", allowed: str = "", fix: str = "", note: str = ""
    ) -> None:
        self.id, self.what, self.where = id, what, where
        self.found, self.allowed, self.fix, self.note = found, allowed, fix, note
        super().__init__(self.message)

    @property
    def message(self) -> str:
        """`error[id] WHERE: WHAT` and, below it, found / allowed / fix, each only where there is one."""
        first = f"error[{self.id}] {self.where}: {self.what}" if self.where else f"error[{self.id}] {self.what}"
        facts = [f"found {self.found}" if self.found else "", f"allowed {self.allowed}" if self.allowed else "", self.note]
        facts += [f"fix: {self.fix}" if self.fix else ""]
        second = "; ".join(fact for fact in facts if fact)
        return f"{first}\n  {second}" if second else first

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.__dict__)


def _rebuild(kind: type[HilError], state: dict[str, Any]) -> HilError:
    error = kind.__new__(kind)
    error.__dict__.update(state)
    Exception.__init__(error, error.message)
    return error


class InputError(HilError):
    """A file, a flag or an argument is wrong; nothing was started. `.file .line .key .found .allowed .fix` say where."""

    exit_code = 2

    def __init__(self, id: str, what: str, *, file: str = "", line: int = 0, key: str = "", where: str = "", **facts: str) -> None:
        self.file, self.line, self.key = file, line, key
        place = f"{file}:{line}" if line else file
        super().__init__(id, what, where=" ".join(part for part in (where, place, key) if part), **facts)


class InputErrors(InputError):
    """Several mistakes found at once, `.errors`, in the order of their lines; its own facts are those of the first."""

    def __init__(self, errors: Sequence[InputError]) -> None:
        self.errors = tuple(errors)
        self.__dict__.update(self.errors[0].__dict__, errors=self.errors)
        Exception.__init__(self, self.message)

    @property
    def message(self) -> str:
        return "\n".join(error.message for error in self.errors)


class DeviceError(HilError):
    """A radio or a stage refused, failed or did not take what it was given."""


class LinkError(HilError):
    """A node did not answer, answered wrongly or speaks another protocol."""


class RecordError(HilError):
    """A run folder could not be written or read as it must be."""


class SafeState(HilError):
    """The bench muted and halted itself (limit or lease); it wants `hil clear`."""

    exit_code = 4


class Infeasible(HilError):
    """No design meets the constraints. `achievable` is the best objective that can be had, in `unit`."""

    exit_code = 1

    def __init__(self, what: str, *, achievable: float | None = None, unit: str = "", **facts: str) -> None:
        self.achievable, self.unit = achievable, unit
        super().__init__("infeasible", what, **facts)
