"""The same bits whoever compiled: alone, beside another, or with half of it found in the cache."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numba.core.dispatcher
import pytest

import sim_backend.world  # noqa: F401

ROOT = Path(__file__).parents[2]
HEARD = """
import hashlib
import numpy as np
from sites import RATE, radio, rail, running, site, waveform
from hil.device import Move

radios = [radio("ap1", 4, 0, [0, 0, 1.0], stage="rail1"), radio("u1", 0, 2, [10.0, 0, 1.0])]
bench = site(radios, stages=[rail("rail1", "abcd")], emulated={"severity": 1.0, "room": {"scatterers": 4}})
world = running(bench, {"ap1": waveform(np.random.default_rng(1), 4, 512)})
stage = world.stage("rail1")
still = world.radio("u1").capture(4096, 1.0)
there = {axis: value + 0.05 for axis, value in stage.where().axes.items()}
found = []
world.clock.together([
    lambda: stage.move(Move(there, 0.1, 0.5), 20.0),
    lambda: (world.clock.sleep(0.35), found.append(world.radio("u1").capture(65536, 1.0))),
])
for capture in (still, *found):
    print(hashlib.sha256(np.ascontiguousarray(capture.samples).tobytes()).hexdigest())
"""


def kernels():
    modules = [module for name, module in sorted(sys.modules.items()) if name.startswith("sim_backend.")]
    found = {id(f): f for module in modules for f in vars(module).values() if isinstance(f, numba.core.dispatcher.Dispatcher)}
    return list(found.values())


def test_every_kernel_is_compiled_with_the_same_flags():
    """The compiler makes products and quotients of complex numbers once a process, with the flags of the first kernel that asks, and its key
    for them knows nothing of flags: with different ones, bits depend on which kernels came from the cache."""
    flags = {kernel.__name__: (str(kernel.targetoptions.get("fastmath")), kernel.targetoptions.get("error_model")) for kernel in kernels()}
    assert len(flags) > 30
    assert len(set(flags.values())) == 1, flags


@pytest.mark.slow
def test_two_first_runs_at_once_hear_the_same_as_one_alone(tmp_path):
    """Two processes begin with one empty cache at the same time; a third finds all but what complex arithmetic was compiled for first."""

    def start(cache: Path) -> subprocess.Popen[str]:
        environment = os.environ | {"NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests" / "physics")])}
        return subprocess.Popen([sys.executable, "-c", HEARD], env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True)

    def heard(process: subprocess.Popen[str]) -> list[str]:
        printed, _ = process.communicate(timeout=600)
        assert process.returncode == 0
        return printed.split()

    both = [start(tmp_path / "shared") for _ in range(2)]
    one, other = [heard(process) for process in both]
    indices = sorted((tmp_path / "shared").rglob("*.nbi"))
    again = [path for path in indices if path.name.split("-")[0] in ("sweep._line", "sweep._power", "sweep._turns", "sweep.bundles", "sweep.still")]
    assert len(again) == 5
    for path in again:
        path.unlink()
    assert len(one) == 2
    assert one == other == heard(start(tmp_path / "shared"))
