"""Opening a radio from plain values, as a node's plan and a bench have them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from hil.clock import Clock
from hil.device import Capability
from hil.radios.array import RadioArray
from hil.radios.board import Board
from hil.radios.fitting import Fitting
from hil.radios.radio import AdiRadio


def radio(
    name: str, clock: Clock, *, uri: str, capability: Mapping[str, Any] | Capability, fitting: Mapping[str, Any] | None = None,
    timeout_s: float = 5.0,
) -> AdiRadio:  # fmt: skip
    """The radio at an address, its transmitter silent. capability: of its part within its profile; its serial must answer ("" for any).

    timeout_s: longest wait for one answer to a setting. DeviceErrors: no-libiio, nobody-listens, no-context, wrong-device, wrong-part,
    beyond-part.
    """
    can = capability if isinstance(capability, Capability) else _capability(capability)
    board = Board(name, uri, can.part, can.serial, timeout_s)
    try:
        with board.speaking("show its channels"):
            return AdiRadio(name, board, can, Fitting.of(fitting or {}), clock)
    except BaseException:
        board.close()
        raise


def array(name: str, clock: Clock, *, radios: Sequence[Mapping[str, Any]]) -> RadioArray:
    """Several radios as one array: `name` and the arguments of `radio` of each. Those already open are closed when one cannot be."""
    opened: list[AdiRadio] = []
    try:
        for one in radios:
            opened.append(radio(clock=clock, **one))
        return RadioArray(name, opened, clock)
    except BaseException:
        for one_open in opened:
            one_open.close()
        raise


def _capability(plain: Mapping[str, Any]) -> Capability:
    known = {field.name for field in fields(Capability)}
    return Capability(**{key: tuple(value) if isinstance(value, list) else value for key, value in plain.items() if key in known})
