"""`hil emulate`: says where each radio of a bench answers once it does, and ends when told to."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from wire_client import Wire

from hil import bench

EXAMPLES = Path(__file__).parents[2] / "examples" / "emulated"
STARTING_S = 120.0  # on a busy machine, kernels perhaps still to be compiled


def emulate(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "hil.cli", "emulate", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONUNBUFFERED": ""})


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_prints_a_line_per_radio_once_it_answers_and_ends_cleanly(number):
    with emulate(str(EXAMPLES / "two_plutos"), "--port", "0") as process:
        lines = [process.stdout.readline().split() for _ in range(2)]  # through a pipe: not before they are flushed
        assert [name for name, _ in lines] == ["pluto-a", "pluto-b"]
        for _, uri in lines:
            scheme, host, port = uri.split(":")
            assert (scheme, host) == ("ip", "127.0.0.1")
            with Wire(int(port)) as wire:
                assert b'name="ad9361-phy"' in wire.xml()
        process.send_signal(number)
        assert process.wait(STARTING_S) == 0
        assert "Traceback" not in process.stderr.read()


def test_as_json_one_object_names_the_addresses_once_they_answer():
    with emulate(str(EXAMPLES / "pluto"), "--port", "0", "--json") as process:
        said = json.loads(process.stdout.readline())
        assert said["ok"] and list(said["result"]["radios"]) == ["pluto"]
        with Wire(int(said["result"]["radios"]["pluto"].rsplit(":", 1)[1])) as wire:
            assert wire.ask("TIMEOUT 2500") == 0
        process.terminate()
        assert process.wait(STARTING_S) == 0


def test_an_address_that_is_taken_is_an_error_with_the_remedy():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "hil.cli", "emulate", str(EXAMPLES / "pluto"), "--port", str(port)]
        done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    assert "error[no-address]" in done.stderr and str(port) in done.stderr and "--port 0" in done.stderr


@pytest.mark.parametrize("name", ["pluto", "ad9361", "fmcomms5", "ad9081", "two_plutos"])
def test_every_emulated_bench_cables_each_transmitter_to_its_receiver_at_minus_30_db(name):
    lab = bench.load(EXAMPLES / name)
    cables = {(cable["from"], cable["to"]): cable["gain_db"] for cable in lab.testbed.emulated["cable"]}
    assert cables == {(f"{radio.name}.tx0", f"{radio.name}.rx0"): -30.0 for radio in lab.testbed.radio}
