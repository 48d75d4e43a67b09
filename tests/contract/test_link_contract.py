"""One suite for every way to reach a node: in this process, and through real ZeroMQ node processes, over ipc and tcp,
with and without lease."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import hil
from hil.clock import VirtualClock, WallClock
from hil.link.client import connect
from hil.link.local import local_link
from hil.node.launch import LocalNodes
from hil.node.plan import Device, NodePlan
from hil.node.worker import Worker
from hil.testing import InstantRadio, InstantStage, link_contract

ENTRY = "hil.testing.instant:"
WITHHELD = ("torch", "cvxpy", "scipy", "numba", "clarabel", "matplotlib", "sigmf", "typer", "rich")


def plans(**changes) -> list[NodePlan]:
    return [
        NodePlan(name="ap1", devices=(
            Device(kind="radio", name="ap1", entry=ENTRY + "radio"), Device(kind="stage", name="rail1", entry=ENTRY + "stage"),
        ), **changes),
        NodePlan(name="ap2", devices=(Device(kind="radio", name="ap2", entry=ENTRY + "radio"),)),
        NodePlan(name="u1", devices=(Device(kind="radio", name="u1", entry=ENTRY + "radio", arguments={"transmit_channels": 0}),)),
    ]  # fmt: skip


@pytest.mark.parametrize("kind", [VirtualClock, WallClock])
def test_workers_in_this_process(kind):
    def make():
        clock = kind()
        return local_link(
            [
                Worker("ap1", {"ap1": InstantRadio("ap1", clock)}, {"rail1": InstantStage("rail1", clock)}, clock=clock),
                Worker("ap2", {"ap2": InstantRadio("ap2", clock)}, {}, clock=clock),
                Worker("u1", {"u1": InstantRadio("u1", clock, transmit_channels=0)}, {}, clock=clock),
            ],
            clock,
        )

    link_contract(make)


def test_node_processes():
    with LocalNodes(plans()) as nodes:
        link_contract(lambda: connect(nodes.addresses))


def test_node_processes_with_a_lease_process():
    with LocalNodes(plans()) as nodes:
        link_contract(lambda: connect(nodes.addresses, lease_s=0.4))


def test_node_processes_over_tcp():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with LocalNodes(plans(listen=f"tcp://127.0.0.1:{port}")) as nodes:
        assert nodes.addresses["ap1"] == f"tcp://127.0.0.1:{port}"
        link_contract(lambda: connect(nodes.addresses))


def test_a_node_needs_none_of_the_heavy_libraries(tmp_path):
    """The suite against nodes that cannot import them, as on a machine where they are not installed."""
    hook = (
        "import sys\n"
        "class Withheld:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.split('.')[0] in {WITHHELD!r}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Withheld())\n"
    )
    (tmp_path / "sitecustomize.py").write_text(hook)
    root = str(Path(hil.__file__).parents[1])
    environment = {"PYTHONPATH": os.pathsep.join([str(tmp_path), root])}
    for library in WITHHELD[:4]:  # the hook holds
        code = subprocess.run(
            [sys.executable, "-c", f"import {library}"], env={**os.environ, **environment}, capture_output=True, timeout=20
        ).returncode
        assert code != 0
    remote = "import sim_backend.remote, hil.node.serve, hil.link.lease"
    assert subprocess.run([sys.executable, "-c", remote], env={**os.environ, **environment}, timeout=20).returncode == 0
    with LocalNodes(plans(), environment=environment) as nodes:
        link_contract(lambda: connect(nodes.addresses))


def test_the_lease_process_needs_only_messages_and_sockets():
    heavy = "numpy torch scipy numba cvxpy typer rich matplotlib".split()
    code = f"import sys, hil.link.lease; print([name for name in {heavy!r} if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20)
    assert loaded.stdout.strip() == "[]", loaded
