"""Composition root: a bench folder becomes an open lab. The only place that imports the emulator, nodes and drivers."""

from __future__ import annotations

import dataclasses
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from hil import crosscheck, scenario, testbed
from hil.clock import Clock, VirtualClock, WallClock
from hil.envelope import Limits
from hil.envelope import Rail as GuardedRail
from hil.errors import InputError, InputErrors
from hil.scenario import Scenario
from hil.strict import raise_all
from hil.testbed import Testbed, Wire

DEPTHS = ("process", "nodes")
CHARGES = {"estimate": 0.1, "design": 1.0}  # seconds that a virtual clock is charged for computing: knowledge ages during it


@dataclass(frozen=True)
class Bench:
    """A scenario and the testbed to study it with, both checked, and checked against each other."""

    scenario: Scenario
    testbed: Testbed
    folder: Path

    def replace(self, changes: Mapping[str, Any]) -> Bench:
        """A changed copy, checked again: key paths as in messages, `{"rounds.max": 4, "emulated.seed": 2}`; testbed keys by their tables."""
        tables = set(Scenario.__struct_fields__)
        mine = {key: value for key, value in changes.items() if key.split(".")[0] in tables}
        others = {key: value for key, value in changes.items() if key not in mine}
        bench = Bench(
            self.scenario.replace(mine) if mine else self.scenario, self.testbed.replace(others) if others else self.testbed, self.folder
        )
        crosscheck.require_bench(bench.scenario, bench.testbed)
        return bench

    @property
    def inputs(self) -> dict[str, bytes]:
        """Byte copies of the files, by their names in a run folder."""
        source = self.scenario.source
        texts = {"scenario.toml": source.text if source else "", **self.testbed.sources}
        return {name: text.encode() for name, text in texts.items()}


def load(*paths: Path | str) -> Bench:
    """A bench folder, or its two files in any order. InputErrors with every mistake of both and of their agreement."""
    folder = Path(paths[0])
    files = [Path(path) for path in paths] if len(paths) > 1 else [folder / "scenario.toml", folder / "testbed.toml"]
    if len(files) != 2:
        raise InputError("bench", "a bench is a folder, or scenario.toml and testbed.toml", found=" ".join(map(str, paths)))
    files.sort(key=lambda file: file.name != "scenario.toml")
    errors: list[InputError] = []
    parts: list[Any] = []
    for read, file in zip((scenario.load, testbed.load), files):
        try:
            parts.append(read(file))
        except InputErrors as several:
            errors += several.errors
        except InputError as error:
            errors.append(error)
    raise_all(errors)
    crosscheck.require_bench(parts[0], parts[1])
    return Bench(parts[0], parts[1], files[0].parent)


# -- the emulated site ------------------------------------------------------------------------------------------------------------------


def site(bench: Bench, seed: int) -> dict[str, Any]:
    """The bench in plain values, as `sim_backend.world.build` takes it: geometry and parts, and the table [emulated] as it stands."""
    radios = []
    for radio in bench.testbed.radio:
        wires = [wire for wire in bench.testbed.wire if wire.radio == radio.name]
        antennas = [antenna for wire in wires for antenna in _antennas(bench, wire)]
        capability = dataclasses.asdict(bench.testbed.capability(radio.name))
        part = bench.testbed.radio_profile(radio.name).part
        radios.append({"name": radio.name, "serial": radio.identity, "part": part, "capability": capability, "antennas": antennas})
    stages = []
    for stage in bench.testbed.stage:
        profile = bench.testbed.stage_profile(stage.name)
        start = _start_readings(bench, stage.name)
        axes = {
            name: {
                "steps_per_mm": axis.steps_per_mm, "travel_mm": list(axis.travel_mm), "speed_mm_s": axis.speed_mm_s,
                "acceleration_mm_s2": axis.acceleration_mm_s2, "start_mm": start.get(name, axis.travel_mm[0]),
            }
            for name, axis in profile.axis.items()
        }  # fmt: skip
        stages.append({"name": stage.name, "axes": axes, "settle_ms": profile.arrival.settle_ms})
    target = bench.scenario.target
    prior = None if target is None else {
        "position_m": list(target.position_m), "position_std_m": target.position_std_m, "speed_m_s": target.speed_m_s
    }  # fmt: skip
    return {
        "carrier_hz": bench.scenario.signal.carrier_hz, "seed": seed, "radios": radios, "stages": stages, "target": prior,
        "emulated": dict(bench.testbed.emulated),
    }  # fmt: skip


def _antennas(bench: Bench, wire: Wire) -> Iterator[dict[str, Any]]:
    part = bench.scenario.part(wire.of)
    user = wire.user is not None
    origin = part.position_m if user else part.origin_m  # type: ignore[union-attr]
    axis = (1.0, 0.0, 0.0) if user else part.axis  # type: ignore[union-attr]
    capability = bench.testbed.capability(wire.radio)
    for element in wire.elements:
        sends = not user and part.role == "transmit" or element.channel < capability.transmit_channels
        yield {
            "transmit": element.channel if sends else None, "receive": element.channel, "origin_m": list(origin), "axis": list(axis),
            "offset_m": element.offset, "stage": element.stage, "stage_axis": element.axis, "sign": element.sign,
            "gain_dbi": wire.antenna_gain_dbi,
        }  # fmt: skip


def _start_readings(bench: Bench, stage: str) -> dict[str, float]:
    """Where carriages stand when an emulated rail is switched on: half a wavelength apart around the middle, in mm of each axis."""
    readings = {}
    for wire in bench.testbed.wire:
        riding = [element for element in wire.elements if element.stage == stage and element.axis is not None]
        gap = max(bench.scenario.wavelength / 2, bench.testbed.carriage(wire)) if riding else 0.0
        for index, element in enumerate(riding):
            local = (index - (len(riding) - 1) / 2) * gap
            readings[str(element.axis)] = (local - element.offset) * element.sign * 1e3
    return readings


# -- nodes ------------------------------------------------------------------------------------------------------------------------------


def _limits(bench: Bench) -> Limits:
    licence = bench.testbed.limits
    return Limits(band_hz=licence.band_hz, eirp_dbm=licence.eirp_dbm, duty=licence.duty)


def _guards(bench: Bench, node: str) -> tuple[dict[str, GuardedRail], dict[str, tuple[float, ...]]]:
    """Rails whose carriages must not meet, and antenna gain per transmit channel, of one node's devices."""
    rails, gains = {}, {}
    for wire in bench.testbed.wire:
        if bench.testbed.radio_named(wire.radio).node == node and wire.array is not None:
            channels = bench.testbed.capability(wire.radio).transmit_channels
            gains[wire.radio] = (wire.antenna_gain_dbi,) * channels
        riding = [element for element in wire.elements if element.stage is not None]
        if riding and bench.testbed.stage_named(str(riding[0].stage)).node == node:
            part = bench.scenario.part(wire.of)
            gap = max(part.min_spacing(bench.scenario.wavelength), bench.testbed.carriage(wire))  # type: ignore[union-attr]
            rails[str(riding[0].stage)] = GuardedRail(
                tuple(str(e.axis) for e in riding), tuple(e.offset for e in riding), tuple(e.sign for e in riding), gap
            )
    return rails, gains


def _world(bench: Bench, seed: int, clock: Clock) -> Any:
    from sim_backend.world import build

    try:
        return build(site(bench, seed), clock)
    except ValueError as error:
        source = bench.testbed.source
        raise InputError("emulated", f"the emulator refuses its table: {error}", file=source.file if source else "", key="emulated") from error


# -- opening ----------------------------------------------------------------------------------------------------------------------------


def _workers(bench: Bench, world: Any, clock: Clock) -> list[Any]:
    from hil.node.worker import Worker

    workers = []
    for node in bench.testbed.node:
        rails, gains = _guards(bench, node.name)
        radios = {radio.name: world.radio(radio.name) for radio in bench.testbed.radio if radio.node == node.name}
        stages = {stage.name: world.stage(stage.name) for stage in bench.testbed.stage if stage.node == node.name}
        workers.append(Worker(node.name, radios, stages, _limits(bench), clock=clock, rails=rails, antenna_gain_dbi=gains))
    return workers


def _designer(wanted: Any) -> Any:
    """A listed name, `module:Class`, or a designer itself."""
    from hil.systems.maxmin import designers

    if not isinstance(wanted, str):
        return wanted
    if wanted in designers:
        return designers[wanted]()
    if ":" in wanted:
        import importlib

        module, _, name = wanted.partition(":")
        sys.path.insert(0, str(Path.cwd()))
        try:
            return getattr(importlib.import_module(module), name)()
        except (ImportError, AttributeError) as error:
            raise InputError("no-designer", f"no designer `{wanted}`", key="design.designer", found=str(error), allowed="module:Class") from error
        finally:
            sys.path.pop(0)
    raise InputError("no-designer", f"no designer `{wanted}`", key="design.designer", found=wanted, allowed=", ".join(designers) + ", module:Class")


@contextmanager
def open(
    bench: Bench, *, depth: str = "process", seed: int = 1, designer: Any = None, runs: Path | str = "runs", observers: Sequence[Callable] = (),
    command: str = "", timeout: float = 2.0,
) -> Iterator[Any]:  # fmt: skip
    """An open lab (`hil.loop.trial.OpenLab`): devices reached, run folder made; leaving the block mutes and stops everything."""
    if depth not in DEPTHS:
        raise InputError("depth", "no such depth", key="--depth", found=depth, allowed=", ".join(DEPTHS))
    from hil.loop.opened import OpenLab
    from hil.records import names
    from hil.records.writer import RunWriter

    chosen = _designer(designer or bench.scenario.design.designer)
    baselines = [_designer(name) for name in bench.scenario.design.baselines]
    with ExitStack() as stack:
        clock: Clock = VirtualClock(charges=CHARGES) if depth == "process" else WallClock()
        link, survey = stack.enter_context(_process(bench, seed, clock, timeout) if depth == "process" else _nodes(bench, seed, clock, timeout))
        name = names.new(bench.scenario.name)
        commit, dirty = _commit()
        run = stack.enter_context(
            RunWriter.create(
                runs, name, scenario_name=bench.scenario.name, command=command, seed=seed, depth=depth, inputs=bench.inputs,
                versions=versions(), commit=commit, dirty=dirty, clock=clock, observers=observers,
            )
        )  # fmt: skip
        yield OpenLab(bench.scenario, bench.testbed, link, clock, run, seed, depth, survey, chosen, baselines)


@contextmanager
def _process(bench: Bench, seed: int, clock: Clock, timeout: float) -> Iterator[tuple[Any, Any]]:
    """Everything in this process, in virtual time."""
    from hil.link.local import local_link

    world = _world(bench, seed, clock)

    def survey(at):
        found = world.truth.target(at)
        return None if found is None else found[0]

    link = local_link(_workers(bench, world, clock), clock, timeout_s=timeout)
    link.world = world
    try:
        yield link, survey if bench.scenario.target is not None else None
    finally:
        link.close()


def versions() -> dict[str, str]:
    """Of this program and what its numbers rest on."""
    found = {"python": platform.python_version()}
    for package in ("hil", "numpy", "scipy", "torch", "clarabel", "numba", "pyzmq", "msgspec"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _commit() -> tuple[str | None, bool | None]:
    """Commit of the checkout this program runs from, and whether it was changed since; (None, None) for an installed wheel."""
    here = Path(__file__).resolve().parent.parent
    if not (here / ".git").exists():
        return None, None
    try:
        commit = subprocess.run(["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=True).stdout.strip()
        status = subprocess.run(["git", "-C", str(here), "status", "--porcelain"], capture_output=True, text=True, timeout=5, check=True).stdout
        return commit, bool(status.strip())
    except (OSError, subprocess.SubprocessError):
        return None, None
