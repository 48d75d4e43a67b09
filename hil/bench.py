"""Composition root: a bench folder becomes an open lab. The only place that imports the emulator, nodes and drivers."""

from __future__ import annotations

import dataclasses
import importlib
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from hashlib import sha512
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hil import crosscheck, reach
from hil.clock import Clock, VirtualClock, WallClock
from hil.envelope import Rail as GuardedRail
from hil.errors import InputError
from hil.files import read_bench
from hil.loop.opened import Designed, OpenLab
from hil.loop.resuming import Before
from hil.records import Run, RunWriter, new_name, read, resolve
from hil.scenario import Scenario
from hil.testbed import NodeFile, Testbed, Wire

DEPTHS = ("process", "nodes", "device")
LEASE_S = 0.5  # a node that hears nothing for longer while it radiates or moves mutes and halts
PROGRESS_S = 120.0  # the lease is not renewed for a controller that shows no progress for longer
CHARGES = {"estimate": 0.1, "design": 1.0}  # seconds that a virtual clock is charged for computing: knowledge ages during it


@dataclass(frozen=True)
class Bench:
    """A scenario and the testbed to study it with, both checked, and checked against each other."""

    scenario: Scenario
    testbed: Testbed
    folder: Path
    nodes: Mapping[str, NodeFile] = dataclasses.field(default_factory=dict)

    def replace(self, changes: Mapping[str, Any]) -> Bench:
        """A changed copy, checked again: key paths as in messages, `{"rounds.max": 4, "emulated.seed": 2}`; testbed keys by their tables."""
        tables = set(Scenario.__struct_fields__)
        mine = {key: value for key, value in changes.items() if key.split(".")[0] in tables}
        others = {key: value for key, value in changes.items() if key not in mine}
        bench = Bench(
            self.scenario.replace(mine) if mine else self.scenario, self.testbed.replace(others) if others else self.testbed, self.folder, self.nodes
        )
        crosscheck.require_bench(bench.scenario, bench.testbed, bench.nodes)
        return bench

    @property
    def inputs(self) -> dict[str, bytes]:
        """Byte copies of the files, by their names in a run folder."""
        source = self.scenario.source
        texts = {"scenario.toml": source.as_used if source else "", **self.testbed.sources}
        return {name: text.encode() for name, text in texts.items()}


def load(*paths: Path | str) -> Bench:
    """A bench folder, or the files it would hold. InputErrors with every mistake of all of them and of their agreement."""
    files = read_bench(*paths)
    return Bench(files.scenario, files.testbed, files.folder, files.nodes)


# -- the emulated site ------------------------------------------------------------------------------------------------------------------


def site(bench: Bench, seed: int) -> dict[str, Any]:
    """The bench in plain values, as `sim_backend.world.build` takes it: geometry and parts, and the table [emulated] as it stands."""
    radios = []
    for radio in bench.testbed.radio:
        wires = [wire for wire in bench.testbed.wire if wire.radio == radio.name]
        antennas = [antenna for wire in wires for antenna in _antennas(bench, wire)]
        capability = dataclasses.asdict(bench.testbed.capability(radio.name))
        part = bench.testbed.radio_profile(radio.name).part
        radios.append({
            "name": radio.name, "serial": radio.identity, "part": part, "capability": capability, "antennas": antennas,
            "rate_hz": bench.scenario.signal.sample_rate_hz,  # for parts whose rate is built in
        })  # fmt: skip
    stages = []
    for stage in bench.testbed.stage:
        profile = bench.testbed.stage_profile(stage.name)
        start = _start_readings(bench, stage.name)
        axes = {
            name: {
                "steps_per_mm": axis.steps_per_mm, "travel_mm": list(axis.travel_mm), "speed_mm_s": axis.speed_mm_s,
                "acceleration_mm_s2": axis.acceleration_mm_s2, "start_mm": start.get(name, axis.travel_mm[0]),
                "carriage_mm": axis.carriage_mm,
            }
            for name, axis in profile.axis.items()
        }  # fmt: skip
        stages.append({"name": stage.name, "axes": axes, "settle_ms": profile.arrival.settle_ms, "approach": profile.arrival.approach})
    targets = [
        {"name": name, "position_m": list(one.position_m), "position_std_m": one.position_std_m, "speed_m_s": one.speed_m_s}
        for name, one in bench.scenario.targets.items()
    ]
    shared = [{"radios": list(one.radios), "reference": one.reference, "trigger": one.trigger} for one in bench.testbed.shared]
    return {
        "carrier_hz": bench.scenario.signal.carrier_hz, "seed": seed, "radios": radios, "stages": stages, "targets": targets,
        "shared": shared, "emulated": dict(bench.testbed.emulated),
    }  # fmt: skip


def _antennas(bench: Bench, wire: Wire) -> Iterator[dict[str, Any]]:
    """An element sends and receives on its channel, for the medium lets any radio hear itself; but not where another wire of the radio has
    that channel the other way, and what only listens does not send beside a transmit array."""
    part = bench.scenario.part(wire.of)
    user = wire.user is not None
    origin = part.position_m if user else part.origin_m  # type: ignore[union-attr]
    axis = (1.0, 0.0, 0.0) if user else part.axis  # type: ignore[union-attr]
    capability = bench.testbed.capability(wire.radio)
    sends, hears = (_wired_channels(bench, wire.radio, way) for way in ("transmit", "receive"))
    for element in wire.elements:
        channel, way = element.channel, _way(bench, wire)
        transmit = channel < capability.transmit_channels and (way == "transmit" or not sends)
        receive = way == "receive" or (channel < capability.receive_channels and channel not in hears)
        yield {
            "transmit": channel if transmit else None, "receive": channel if receive else None, "origin_m": list(origin), "axis": list(axis),
            "offset_m": element.offset, "stage": element.stage, "stage_axis": element.axis, "sign": element.sign,
            "gain_dbi": wire.antenna_gain_dbi,
        }  # fmt: skip


def _way(bench: Bench, wire: Wire) -> str:
    """transmit or receive: which channels a wire counts."""
    part = bench.scenario.part(wire.of)
    return "transmit" if wire.array is not None and part.role == "transmit" else "receive"  # type: ignore[union-attr]


def _wired_channels(bench: Bench, radio: str, way: str) -> set[int]:
    """Channels of a radio that wires count that way."""
    wires = [wire for wire in bench.testbed.wire if wire.radio == radio and _way(bench, wire) == way]
    return {channel for wire in wires for channel in wire.channels}


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


def _guards(bench: Bench, node: str) -> tuple[dict[str, GuardedRail], dict[str, tuple[float, ...]]]:
    """Rails whose carriages must not meet, and antenna gain per transmit channel, of one node's devices."""
    rails, gains = {}, {}
    for wire in bench.testbed.wire:
        if bench.testbed.radio_named(wire.radio).node == node and wire.array is not None:
            channels = bench.testbed.capability(wire.radio).transmit_channels
            if wire.radio not in gains or _way(bench, wire) == "transmit":  # beside a transmit array, what listens does not count
                gains[wire.radio] = (wire.antenna_gain_dbi,) * channels
        riding = [element for element in wire.elements if element.stage is not None]
        if riding and bench.testbed.stage_named(str(riding[0].stage)).node == node:
            part = bench.scenario.part(wire.of)
            gap = max(part.min_spacing(bench.scenario.wavelength), bench.testbed.carriage(wire))  # type: ignore[union-attr]
            rails[str(riding[0].stage)] = GuardedRail(
                tuple(str(e.axis) for e in riding), tuple(e.offset for e in riding), tuple(e.sign for e in riding), gap
            )
    return rails, gains


def build_world(bench: Bench, seed: int, clock: Clock) -> Any:
    """The emulator (`sim_backend.world.World`) of a bench. InputError `emulated` where it refuses its table."""
    from sim_backend.world import build

    try:
        return build(site(bench, seed), clock)
    except ValueError as error:
        source = bench.testbed.source
        raise InputError("emulated", f"the emulator refuses its table: {error}", file=source.file if source else "", key="emulated") from error


def emulated_radios(bench: Bench, seed: int = 1, *, host: str = "127.0.0.1", port: int = 0, free_run: bool = False) -> Any:
    """The radios of a bench as network daemons (`sim_backend.iiod.daemon.Daemon`), ready to be started; kernels are compiled by then."""
    from sim_backend.iiod import daemon

    build_world(bench, seed, VirtualClock())  # a table the emulator refuses is refused in these words
    plain = site(bench, seed)
    daemon.warm_up(plain)
    return daemon.Daemon(plain, host=host, port=port, free_run=free_run)


def sound(bench: Bench, seed: int = 1) -> Any:
    """The emulator measured by its own sounder with the devices of a bench (`sim_backend.sounder.Sounding`); nothing is pushed or kept."""
    from sim_backend import sounder

    build_world(bench, seed, VirtualClock())  # a table the emulator refuses is refused in these words
    return sounder.sound(site(bench, seed), bench.scenario.signal.sample_rate_hz)


# -- opening ----------------------------------------------------------------------------------------------------------------------------


def _workers(bench: Bench, world: Any, clock: Clock) -> list[Any]:
    from hil.node.worker import Worker

    workers = []
    for node in bench.testbed.node:
        rails, gains = _guards(bench, node.name)
        limits = reach.limits(bench.testbed, node.name, bench.nodes)
        radios = {radio.name: world.radio(radio.name) for radio in bench.testbed.radio if radio.node == node.name}
        stages = {stage.name: world.stage(stage.name) for stage in bench.testbed.stage if stage.node == node.name}
        workers.append(Worker(node.name, radios, stages, limits, clock=clock, rails=rails, antenna_gain_dbi=gains))
    return workers


def _designer(bench: Bench, wanted: Any) -> Any:
    """A listed name, `module:Class`, or a designer itself."""
    designers = _listed(bench)
    if not isinstance(wanted, str):
        return wanted
    if wanted in designers:
        return designers[wanted]()
    if ":" in wanted:
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
    command: str = "", timeout: float = 2.0, world: Callable[[Clock], Any] | None = None, air: bool = False, confirm: bool = True,
) -> Iterator[OpenLab]:  # fmt: skip
    """An open lab: devices reached, run folder made; leaving the block mutes and stops everything.

    designer: a listed name, `module:Class`, or a callable (problem, knowledge) -> Design; None takes the scenario's. observers are called
    with every event. timeout: longest wait for one answer, seconds. world: makes what depth `process` emulates with, in place of the
    bench's own table [emulated]: a test then holds the truth, and the bench need not know it. air: the hardware at the testbed's addresses,
    at depth `device` whatever `depth` says; who wants that asks somebody first and then says so: confirm=False.
    """
    if air:
        _require_asked(confirm)
        reach.require_air(bench.scenario, bench.testbed, bench.nodes)
        depth = "device"
    if depth not in DEPTHS:
        raise InputError("depth", "no such depth", key="--depth", found=depth, allowed=", ".join(DEPTHS))
    chosen, baselines = designers_of(bench, designer)
    clock: Clock = VirtualClock(charges=CHARGES) if depth == "process" else WallClock()
    commit, dirty = checkout()
    with _depth(bench, depth, seed, clock, timeout, world, air) as (link, survey), RunWriter.create(
        runs, new_name(bench.scenario.name), scenario_name=bench.scenario.name, command=command, seed=seed, depth=depth, inputs=bench.inputs,
        versions=versions(), commit=commit, dirty=dirty, air=air, clock=clock, observers=observers,
    ) as run:  # fmt: skip
        shown = "air" if air else depth
        with closing(OpenLab(bench.scenario, bench.testbed, link, clock, run, seed, shown, survey, chosen, baselines)) as lab:
            yield lab


@contextmanager
def resume(
    run: Path | str, *, designer: Any = None, runs: Path | str = "runs", observers: Sequence[Callable] = (), command: str = "",
    timeout: float = 2.0, air: bool = False, confirm: bool = True,
) -> Iterator[OpenLab]:  # fmt: skip
    """The lab of an interrupted run, to go on after its last whole round: the scenario, testbed, seed and depth it began with.

    designer: needed again where it was given as an object. air, confirm: as for `open`; a run over the air goes on there or not at all.

    RecordError `nothing-to-resume` when it has ended; InputError `resume-changed` when the bench in its folder was altered.
    """
    folder = resolve(str(run), runs)
    earlier = read(folder)
    if earlier.study:
        command = f"hil {earlier.study['command']} --resume {folder.name}"
        raise InputError("another-command", "no trial, but many tasks", file=folder.name, fix=command)
    if bool(earlier.about.get("air")) != air:
        where = ("emulated", "over the air")
        raise InputError("resume-changed", "a run goes on where it began", file=folder.name, found=where[air], allowed=where[not air],
                         fix=f"{'leave out' if air else 'add'} --air")  # fmt: skip
    if air:
        _require_asked(confirm)
    _unaltered(earlier)
    bench = load(folder / "scenario.toml", folder / "testbed.toml")
    if air:
        reach.require_air(bench.scenario, bench.testbed, bench.nodes)
    seed, depth = int(earlier.about["seed"]), str(earlier.about["depth"])
    started = earlier.of("started")
    chosen, baselines = designers_of(bench, designer)
    if started and chosen.name != started[0]["designer"]:
        if designer is not None:
            raise InputError("resume-changed", "another designer than the one this run began with", key="designer", found=chosen.name,
                             allowed=started[0]["designer"])  # fmt: skip
        chosen, _ = designers_of(bench, started[0]["designer"])
    start = earlier.last_instant
    clock: Clock = VirtualClock(start, CHARGES) if depth == "process" else WallClock(start)
    with _depth(bench, depth, seed, clock, timeout, air=air) as (link, survey), RunWriter.resume(
        folder, command=command, clock=clock, observers=observers
    ) as writer:
        kept = read(folder)
        before = Before(kept, chosen.name) if kept.of("started") else None
        shown = "air" if air else depth
        with closing(OpenLab(bench.scenario, bench.testbed, link, clock, writer, seed, shown, survey, chosen, baselines, before=before)) as lab:
            yield lab


def _require_asked(confirm: bool) -> None:
    if confirm:
        raise InputError("not-confirmed", "nobody was asked whether this may radiate and move", key="air=True",
                         fix="`hil run BENCH --air` asks; a program that has asked says confirm=False")  # fmt: skip


def _unaltered(run: Run) -> None:
    for name, digest in run.about["inputs"].items():
        if sha512((run.folder / name).read_bytes()).hexdigest() != digest:
            raise InputError("resume-changed", "the bench is not the one this run began with", file=str(run.folder / name), found="another content",
                             fix="hil run BENCH starts a new run; the old one stays readable")  # fmt: skip


def design(bench: Bench, designer: Any = None, *, seed: int = 1) -> Designed:
    """One design on the emulated bench: explore, sound where the designer wants to stand, design, and let the adversary judge.

    Nothing is pushed and no run is kept. Raises Infeasible with what is achievable.
    """
    chosen, _ = designers_of(bench, designer)
    clock = VirtualClock(charges=CHARGES)
    commit, dirty = checkout()
    with TemporaryDirectory(prefix="hil-design-") as folder, _depth(bench, "process", seed, clock, 2.0) as (link, survey), RunWriter.create(
        folder, new_name(bench.scenario.name), scenario_name=bench.scenario.name, command="design", seed=seed, depth="process",
        inputs=bench.inputs, versions=versions(), commit=commit, dirty=dirty, clock=clock,
    ) as run:  # fmt: skip
        return OpenLab(bench.scenario, bench.testbed, link, clock, run, seed, "process", survey, chosen, ()).design()


def designer_names(bench: Bench) -> list[str]:
    """The listed designers of the bench's system."""
    return list(_listed(bench))


def _listed(bench: Bench) -> Mapping[str, Callable[[], Any]]:
    """Name -> what makes that designer, of the bench's system."""
    listed: Mapping[str, Callable[[], Any]] = importlib.import_module(f"hil.systems.{bench.scenario.system}").designers
    return listed


def designers_of(bench: Bench, designer: Any) -> tuple[Any, list[Any]]:
    """The designer, the scenario's where that is None, and the baselines. InputError `no-designer` for a name that nobody has."""
    return _designer(bench, designer or bench.scenario.design.designer), [_designer(bench, name) for name in bench.scenario.design.baselines]


def _depth(
    bench: Bench, depth: str, seed: int, clock: Clock, timeout: float, world: Callable[[Clock], Any] | None = None, air: bool = False
) -> AbstractContextManager[tuple[Any, Any]]:
    """(link, survey) of a bench opened at a depth, or over the air."""
    if air:
        return _air(bench, clock, timeout)
    if depth == "process":
        return _process(bench, world(clock) if world else build_world(bench, seed, clock), clock, timeout)
    return _nodes(bench, seed, clock, timeout) if depth == "nodes" else _devices(bench, seed, clock, timeout)


@contextmanager
def _process(bench: Bench, world: Any, clock: Clock, timeout: float) -> Iterator[tuple[Any, Any]]:
    """Everything in this process, in virtual time."""
    from hil.link.local import local_link

    def survey(at, name="target"):
        found = world.truth.target(at, name)
        return None if found is None else found[0]

    link = local_link(_workers(bench, world, clock), clock, timeout_s=timeout)
    link.world = world
    try:
        yield link, survey if bench.scenario.targets else None
    finally:
        link.close()


@contextmanager
def _nodes(bench: Bench, seed: int, clock: Clock, timeout: float) -> Iterator[tuple[Any, Any]]:
    """One process per node over ZeroMQ and one that owns the world, on the wall clock; all gone when the block is left."""
    from sim_backend import remote
    from sim_backend.server import WorldProcess

    build_world(bench, seed, VirtualClock())  # a table the emulator refuses is refused here, in this process's words
    with WorldProcess(site(bench, seed)) as world:
        to = {"address": world.address}
        radios = {radio.name: ("sim_backend.remote:radio", to) for radio in bench.testbed.radio}
        stages = {stage.name: ("sim_backend.remote:stage", to) for stage in bench.testbed.stage}
        with _served(bench, radios, stages, clock, max(timeout, 5.0)) as link, closing(remote.Survey(world.address, clock)) as survey:
            yield link, survey if bench.scenario.targets else None


@contextmanager
def _devices(bench: Bench, seed: int, clock: Clock, timeout: float) -> Iterator[tuple[Any, Any]]:
    """As `_nodes`, but radios are reached by their drivers over the network, as hardware is; stages share their world."""
    from sim_backend import remote
    from sim_backend.iiod.serve import RadioProcess

    reach.require_library()
    reach.require_own_start(bench.testbed)
    build_world(bench, seed, VirtualClock())
    with RadioProcess(site(bench, seed), patient=True) as world:
        radios = {name: (reach.DRIVER, reach.arguments(bench.testbed, name, uri)) for name, uri in world.uris.items()}
        stages = {stage.name: ("sim_backend.remote:stage", {"address": world.address}) for stage in bench.testbed.stage}
        with _served(bench, radios, stages, clock, max(timeout, 5.0)) as link, closing(remote.Survey(world.address, clock)) as survey:
            yield link, survey if bench.scenario.targets else None


@contextmanager
def _air(bench: Bench, clock: Clock, timeout: float) -> Iterator[tuple[Any, Any]]:
    """As `_devices`, at the testbed's own addresses; nobody has surveyed where the target is."""
    reach.require_library()
    radios = {radio.name: (reach.DRIVER, reach.arguments(bench.testbed, radio.name)) for radio in bench.testbed.radio}
    with _served(bench, radios, {}, clock, max(timeout, 5.0)) as link:
        yield link, None


Entry = tuple[str, dict[str, Any]]  # what opens a device, `module:function`, and its arguments


@contextmanager
def _served(bench: Bench, radios: Mapping[str, Entry], stages: Mapping[str, Entry], clock: Clock, timeout: float) -> Iterator[Any]:
    """A link to one process per node, each with its devices; all gone when the block is left."""
    from hil.link.client import connect
    from hil.node.launch import LocalNodes
    from hil.node.plan import Device, NodePlan

    plans = []
    for node in bench.testbed.node:
        rails, gains = _guards(bench, node.name)
        limits = reach.limits(bench.testbed, node.name, bench.nodes)
        here = [("radio", radio.name, radios[radio.name]) for radio in bench.testbed.radio if radio.node == node.name]
        here += [("stage", stage.name, stages[stage.name]) for stage in bench.testbed.stage if stage.node == node.name]
        devices = tuple(Device(kind=kind, name=name, entry=entry, arguments=told) for kind, name, (entry, told) in here)  # type: ignore[arg-type]
        plans.append(NodePlan(name=node.name, lease_s=LEASE_S, limits=limits, devices=devices, rails=rails, antenna_gain_dbi=gains))
    with LocalNodes(plans) as nodes, connect(
        nodes.addresses, clock=clock, timeout_s=timeout, lease_s=LEASE_S, progress_deadline_s=PROGRESS_S
    ) as link:  # fmt: skip
        yield link


def versions() -> dict[str, str]:
    """Of this program and what its numbers rest on."""
    found = {"python": platform.python_version()}
    for package in ("hil", "numpy", "scipy", "torch", "clarabel", "numba", "pyzmq", "msgspec"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def checkout() -> tuple[str | None, bool | None]:
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
