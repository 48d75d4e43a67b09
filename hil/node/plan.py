"""What a node process is told to be: its name, its address, its limits, its devices.

Devices are composed by name: `entry` is `module:function`, called with `name`, `clock` and the entry's arguments, so that this package
imports neither drivers nor an emulator.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from hil.clock import Clock
from hil.device import Radio, Stage
from hil.envelope import Limits, Rail
from hil.errors import InputError
from hil.node.worker import Worker


class Device(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One radio or stage and how to open it."""

    kind: Literal["radio", "stage"]
    name: str
    entry: str
    arguments: dict[str, Any] = {}


class NodePlan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A node process. listen "" leaves the address to the launcher; silence_s: a worker silent for longer is killed and started anew."""

    name: str
    listen: str = ""
    lease_s: float = 0.5
    silence_s: float = 1.0
    limits: Limits = Limits()
    devices: tuple[Device, ...] = ()
    rails: dict[str, Rail] = {}
    antenna_gain_dbi: dict[str, tuple[float, ...]] = {}


class Devices(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a testbed adds to a node file: devices and their geometry."""

    devices: tuple[Device, ...] = ()
    rails: dict[str, Rail] = {}
    antenna_gain_dbi: dict[str, tuple[float, ...]] = {}


def read_plan(path: Path | str, devices: Path | str | None = None) -> NodePlan:
    """A plan from a `.json` written by the launcher, or from a node file (`hil.node.v1`) and, beside it, a JSON of devices.

    InputError with the file when it is not a plan.
    """
    try:
        if Path(path).suffix == ".json":
            return msgspec.json.decode(Path(path).read_bytes(), type=NodePlan)
        extra = msgspec.json.decode(Path(devices).read_bytes(), type=Devices) if devices else Devices()
    except OSError as error:
        raise InputError("no-such-file", "cannot be read", file=str(path), found=str(error)) from error
    except (msgspec.DecodeError, ValueError) as error:
        raise InputError("bad-plan", "not a node plan", file=str(path), found=str(error)) from error
    from hil.testbed import load_node

    node = load_node(Path(path))
    return NodePlan(
        name=node.name, listen=node.listen, lease_s=node.lease_ms * 1e-3, limits=limits_of(node.limits), devices=extra.devices,
        rails=extra.rails, antenna_gain_dbi=extra.antenna_gain_dbi,
    )  # fmt: skip


def limits_of(limits: Any) -> Limits:
    """The envelope's limits from those of a node file: fields of the same name, missing ones unlimited."""
    names = {"band_hz", "power_dbm", "eirp_dbm", "duty", "duty_window_s", "temperature_c"}
    values = limits if isinstance(limits, Mapping) else {name: getattr(limits, name, None) for name in names}
    present: dict[str, Any] = {name: value for name, value in values.items() if name in names and value is not None}
    if "band_hz" in present:
        present["band_hz"] = tuple(present["band_hz"])
    try:
        return Limits(**present)
    except ValueError as error:
        raise InputError("bad-limits", str(error)) from error


def _entry(name: str) -> Callable[..., Any]:
    module, _, function = name.partition(":")
    try:
        opens: Callable[..., Any] = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(
            "no-such-entry", f"`{name}` names no function that opens a device", found=str(error), allowed="module:function"
        ) from error
    return opens


def compose(plan: NodePlan, clock: Clock, safe: str = "") -> Worker:
    """Open a plan's devices and put a worker over them; what was opened is closed again when one cannot be."""
    opened: dict[str, dict[str, Any]] = {"radio": {}, "stage": {}}
    try:
        for device in plan.devices:
            opened[device.kind][device.name] = _entry(device.entry)(name=device.name, clock=clock, **device.arguments)
        radios: dict[str, Radio] = opened["radio"]
        stages: dict[str, Stage] = opened["stage"]
        return Worker(
            plan.name, radios, stages, plan.limits, clock=clock, lease_s=plan.lease_s, rails=plan.rails,
            antenna_gain_dbi=plan.antenna_gain_dbi, safe=safe,
        )  # fmt: skip
    except BaseException:
        for device in [*opened["radio"].values(), *opened["stage"].values()]:
            device.close()
        raise
