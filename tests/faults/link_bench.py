"""Real node processes with instant devices that keep a journal of what was done to them and when."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from hil.device import Setting
from hil.link.link import Link
from hil.node.plan import Device, NodePlan

SETTING = Setting(3.5e9, 10e6, (30.0, 30.0), (20.0, 20.0))
ENTRY = "hil.testing.instant:"


def plan(name: str, journal: Path, *, stage: bool = False, lease_s: float = 0.3, extra_s: float = 0.0, **changes) -> NodePlan:
    """A node with the radio NAME and, when asked, the stage rail-NAME of 1 m."""
    devices = [Device(kind="radio", name=name, entry=ENTRY + "radio", arguments={"journal": str(journal), "extra_s": extra_s})]
    if stage:
        arguments = {"journal": str(journal), "axes": {"x": [0.0, 1.0]}}
        devices.append(Device(kind="stage", name=f"rail-{name}", entry=ENTRY + "stage", arguments=arguments))
    return NodePlan(name=name, devices=tuple(devices), lease_s=lease_s, silence_s=0.5, **changes)


def wave(amplitude: float = 0.3) -> np.ndarray:
    return np.full((2, 512), amplitude, dtype=np.complex64)


def radiate(link: Link, *names: str, version: int = 1) -> None:
    link.configure_all({name: SETTING for name in names})
    link.prepare(version, {name: wave() for name in names})
    link.apply(version)


def journal(path: Path) -> list[tuple[float, str, str]]:
    """(monotonic seconds, device, what), in order."""
    if not path.exists():
        return []
    lines = [line.split(" ", 2) for line in path.read_text().splitlines() if line.count(" ") >= 2]
    return [(int(ns) * 1e-9, device, what) for ns, device, what in lines]


def when(path: Path, what: str, after: float = 0.0, device: str = "") -> float | None:
    """When something was first done after a time."""
    return next((t for t, who, did in journal(path) if did.startswith(what) and t >= after and device in who), None)


def wait_for(condition: Callable[[], object], timeout_s: float = 5.0) -> object:
    """The condition's value as soon as it is true; AssertionError after the time."""
    end = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.005)
    return value


def children(pid: int) -> list[int]:
    """Process ids of a process's children."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def gone(pid: int) -> bool:
    """Ended, or waiting only for its parent to notice."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] in "ZX"
    except OSError:
        return True


def controller(script: str, *arguments: str) -> subprocess.Popen[str]:
    """A controller in a process group of its own; returns when it has printed its first line."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])}
    process = subprocess.Popen(
        [sys.executable, "-c", script, *arguments], stdout=subprocess.PIPE, text=True, start_new_session=True, env=environment
    )  # fmt: skip
    assert process.stdout is not None and process.stdout.readline(), "the controller did not start"
    return process


def kill_group(process: subprocess.Popen[str], number: int = signal.SIGKILL) -> float:
    """Signal a controller's whole group; the monotonic time just before."""
    at = time.monotonic()
    os.killpg(process.pid, number)
    return at


def end(process: subprocess.Popen[str]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait(5.0)
    if process.stdout is not None:
        process.stdout.close()
