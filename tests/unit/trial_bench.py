"""Small benches for trials: the quickstart in a quarter of its band, so that a round takes a second, with designers that need none."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from bench_files import QUICKSTART, SCENARIO, TESTBED, changed

import hil.bench
from hil.bench import Bench

OWN = QUICKSTART.parent / "own_designer.py"
NARROW = (
    ("sample_rate_hz = 15.36e6, used_bandwidth_hz = 11.52e6", "sample_rate_hz = 3.84e6, used_bandwidth_hz = 2.88e6"),
    ("rounds = { max = 5", "rounds = { max = 1"),
    ('baselines = ["fixed-rzf", "fixed", "sparse"]', "baselines = []"),
    ("steps = 400", "steps = 20\nstarts = 1"),
)


def narrow(folder: Path, *changes: tuple[str, str]) -> Path:
    """A bench folder: 3.84 MS/s, one round, no baselines, a hasty designer; then the changes to its scenario."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "scenario.toml").write_text(changed(SCENARIO, *NARROW, *changes))
    (folder / "testbed.toml").write_text(TESTBED)
    return folder


def lone_bench(folder: Path, **changes: Any) -> Bench:
    """One access point and its user, nobody else and no target: a trial of a second or two."""
    narrow(folder)
    scenario, testbed = (folder / "scenario.toml").read_text(), (folder / "testbed.toml").read_text()
    first, *arrays = scenario.split("[[array]]")
    head = "".join(line for line in first.splitlines(keepends=True) if not line.startswith("target"))
    head = changed(head, (', { name = "u2", position_m = [11.0, -6.0, 1.5] }', ""))
    (folder / "scenario.toml").write_text(head + "[[array]]" + arrays[0] + "[design]" + scenario.split("[design]")[1])
    wires = testbed.split("[[wire]]")
    kept = [wires[0], *(wire for wire in wires[1:] if '"ap1"' in wire or 'user = "u1"' in wire)]
    (folder / "testbed.toml").write_text("[[wire]]".join(kept) + "[emulated]" + testbed.split("[emulated]")[1])
    bench = hil.bench.load(folder)
    return bench.replace({key.replace("__", "."): value for key, value in changes.items()}) if changes else bench


def narrow_bench(folder: Path, **changes: Any) -> Bench:
    """The same, loaded; changes by key with `__` for the dot."""
    bench = hil.bench.load(narrow(folder))
    return bench.replace({key.replace("__", "."): value for key, value in changes.items()}) if changes else bench


def own_designer() -> Any:
    """The class of examples/own_designer.py, as a user's script would have it."""
    spec = importlib.util.spec_from_file_location("own_designer", OWN)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Matched()


def quiet_and_still(world: Any) -> bool:
    """Whether, in truth, nothing is on the air and no carriage moves, now or a second later."""
    before = {name: stage.where().axes for name, stage in world.stages.items()}
    on_air = [radio.version for radio in world.radios.values() if radio.version is not None]
    aired = [airing for airing in world.airings() if airing.stop is None]
    world.advance(1.0)
    return not on_air and not aired and before == {name: stage.where().axes for name, stage in world.stages.items()}
