"""What a loop tells its record: a run folder (`hil.records.writer.RunWriter`), or what a replay compares with one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from hil.clock import Instant
from hil.device import Capture, Setting, Tolerance


class Record(Protocol):
    """Methods as `RunWriter` documents them."""

    def event(self, event: str, round: int | None = None, t: Instant | None = None, **fields: Any) -> dict[str, Any]: ...

    def capture(
        self, name: str, capture: Capture, *, purpose: str, round: int, positions: Any = None, position_std: Any = None, node: str = "",
        serial: str = "", hw: str = "", settings: str = "", annotations: Iterable[tuple[str, int, int]] = (),
    ) -> tuple[str, str]: ...  # fmt: skip

    def captures(self, several: Mapping[str, tuple[Capture, Mapping[str, Any]]]) -> dict[str, tuple[str, str]]: ...

    def design(
        self, round: int, designer: str, design: Any, extras: Mapping[str, Any] | None = None, *, step: str = ""
    ) -> tuple[str, str]: ...

    def field(self, round: int, transmitter: str, user: str, arrays: Mapping[str, Any]) -> tuple[str, str]: ...

    def results(self, rows: Sequence[Mapping[str, Any]]) -> None: ...

    def settings(
        self, device: str, asked: Setting, became: Setting, tolerance: Tolerance | None = None, t: Instant | None = None
    ) -> None: ...

    def round_ends(self, round: int, what: str = "round", t: Instant | None = None) -> None: ...

    def log(self, text: str) -> None: ...

    def end(self, how: str, *, muted: bool, at_rest: bool, t: Instant | None = None) -> None: ...
