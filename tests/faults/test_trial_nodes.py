"""Whole trials over real node processes that are interrupted, killed, silenced or abandoned in mid-round: the command as a user has it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from link_bench import children, gone, wait_for
from trial_bench import OWN, narrow

from hil.clock import WallClock
from hil.records import read
from hil.report import render

pytestmark = pytest.mark.slow


class Command:
    """`hil run` at depth nodes in a process group of its own, its words, its processes and the world they share."""

    def __init__(self, folder: Path, *more: str) -> None:
        self.runs = folder / "runs"
        bench = narrow(folder / "bench")
        line = [sys.executable, "-m", "hil.cli", "run", str(bench), "--depth", "nodes", "--designer", "own_designer:Matched"]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).resolve().parents[2])])}
        self.process = subprocess.Popen(
            [*line, "--runs", str(self.runs), "-v", *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True, cwd=OWN.parent, env=environment,
        )  # fmt: skip
        self.words = ""
        self.everybody: list[int] = []

    def until(self, *wanted: str) -> None:
        """Read what it says up to a line that holds all these words."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.words += line
            if all(word in line for word in wanted):
                mine = children(self.process.pid)
                self.everybody = mine + [grandchild for child in mine for grandchild in children(child)]
                return
        raise AssertionError(self.words)

    def pids(self, what: str) -> list[int]:
        """Of its processes whose command line holds this."""
        return [pid for pid in self.everybody if what in Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")]

    def device(self, kind: str, name: str):
        """A second connection to a device of the world."""
        from sim_backend import remote

        (pid,) = self.pids("sim_backend.server")
        socket = Path(f"/proc/{pid}/cmdline").read_text().split("\0")[4]
        return getattr(remote, kind)(name, WallClock(), address=socket)

    def end(self, timeout_s: float = 60.0) -> tuple[int, str]:
        """(exit code, what it said on stderr); nothing of it may be left."""
        _, words = self.process.communicate(timeout=timeout_s)
        self.words += words
        wait_for(lambda: all(gone(pid) for pid in self.everybody), 8.0)
        assert "Traceback" not in self.words, self.words
        return self.process.returncode, self.words

    @property
    def run(self):
        return read("last", self.runs)


@pytest.fixture
def command(tmp_path):
    started = Command(tmp_path)
    yield started
    try:
        os.killpg(started.process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    started.process.wait(10.0)


def readable(command: Command, how: str, quiet: bool = True) -> None:
    run = command.run
    ended = run.events[-1]
    assert (ended["event"], ended["how"]) == ("ended", how)
    assert (ended["muted"], ended["at_rest"]) == (quiet, quiet)
    for event in run.of("captured"):
        run.capture(event["file"].removeprefix("captures/").removesuffix(".sigmf-data"), verify=True)
    assert render(run).stat().st_size > 10_000


def test_ctrl_c_while_measuring(command):
    command.until("to=measuring")
    os.killpg(command.process.pid, signal.SIGINT)
    code, words = command.end()
    assert code == 130, words
    assert f"hil run --resume {command.run.name} --runs " in words and "error[" not in words
    readable(command, "interrupted")


def test_ctrl_c_while_moving_brakes_and_positions_stay_known(command):
    command.until("to=exploring")
    rail = command.device("stage", "rail1")  # before it moves: who opens a stage halts it, and a halted move ends the trial
    try:
        command.until("to=moving")
        wait_for(lambda: rail.where().moving)
        time.sleep(0.3)
        at = time.monotonic()
        os.killpg(command.process.pid, signal.SIGINT)
        wait_for(lambda: not rail.where().moving)
        took = time.monotonic() - at
        stopped = rail.where()
    finally:
        rail.close()
    code, words = command.end()
    assert code == 130, words
    assert took < 0.6, f"{took:.3f} s: 0.1 s to hear of it, 0.2 s to brake, and a busy machine"
    profile_start, asked = 0.2858, 0.0074  # element a of rail1 goes from the middle to the low end
    assert asked < stopped.axes["a"] < profile_start and stopped.homed
    readable(command, "interrupted")


def test_a_second_ctrl_c_leaves_nothing_behind(command):
    command.until("to=moving")
    os.kill(command.process.pid, signal.SIGSTOP)
    for number in (signal.SIGINT, signal.SIGTERM):
        os.killpg(command.process.pid, number)
        time.sleep(0.1)
    os.kill(command.process.pid, signal.SIGCONT)
    code, _ = command.end(10.0)
    assert code in (130, 143)
    assert command.run.ended == "interrupted"


def test_a_node_killed_in_mid_round(command):
    command.until("to=sounding", "visit 1")
    guardian = min(command.pids("/0.json"))  # of site1, then its worker
    both = [guardian, *children(guardian)]
    for pid in both:
        os.kill(pid, signal.SIGKILL)
    radio = command.device("radio", "ap1")
    try:
        wait_for(lambda: radio.version is None, 1.0)  # its connections ended with it
    finally:
        radio.close()
    code, words = command.end()
    assert code == 3, words
    name = command.run.name
    first, second = words.splitlines()[-2:]
    assert re.fullmatch(r"error\[no-answer\] node `site1` ipc://\S+: silent for \d+\.\d s in `(apply`, version \d|mute`)", first), words
    assert second.startswith("  reached 4 of 5 nodes; ") and ("by its lease" in second or "by their leases" in second), second
    assert second.endswith(f"fix: on that machine `hil node node.toml -v`; then hil run --resume {name} --runs {command.runs}"), second
    readable(command, "fault", quiet=False)  # nobody confirms it for a node that is gone
    assert command.run.of("failed")[0]["id"] == "no-answer"


def test_a_worker_that_falls_silent_is_replaced_and_holds_itself(command):
    """The guardian kills it, which ends its transmission, and the new one stays in the safe state: exit code 4."""
    command.until("to=sounding", "visit 1")
    guardian = min(command.pids("/0.json"))
    (worker,) = children(guardian)
    os.kill(worker, signal.SIGSTOP)
    code, words = command.end()
    assert code == 4, words
    assert "error[safe-state] node `site1`: muted and halted itself" in words and "was silent for" in words
    readable(command, "safe")


def test_a_silent_node(command):
    """Guardian and worker stopped: nothing answers at all."""
    command.until("to=sounding", "visit 1")
    guardian = min(command.pids("/0.json"))
    both = [guardian, *children(guardian)]
    for pid in both:
        os.kill(pid, signal.SIGSTOP)
    _, words = command.process.communicate(timeout=60)
    os.kill(both[1], signal.SIGCONT)
    words = command.words + words
    assert command.process.returncode == 3, words
    assert "error[no-answer] node `site1` " in words and f"; then hil run --resume {command.run.name}" in words
    wait_for(lambda: all(gone(pid) for pid in command.everybody), 8.0)
    readable(command, "fault", quiet=False)


def test_the_controller_killed_in_mid_round(command):
    command.until("to=moving")
    time.sleep(0.3)
    os.kill(command.process.pid, signal.SIGKILL)
    command.process.wait(5.0)
    wait_for(lambda: all(gone(pid) for pid in command.everybody), 8.0)
    run = command.run
    assert run.ended == "interrupted" and "ended" not in run.about, "no word of an end is an interruption"
    assert render(run).stat().st_size > 10_000


def test_a_controller_that_hangs_loses_its_leases(command):
    """Controller and lease process stopped in mid-move: nodes mute and halt by themselves; when it wakes up it finds them safe."""
    command.until("to=exploring")
    rail = command.device("stage", "rail1")  # before it moves: who opens a stage halts it
    try:
        command.until("to=moving")
        wait_for(lambda: rail.where().moving)
        hung = [*command.pids("hil.link.lease"), command.process.pid]
        at = time.monotonic()
        for pid in hung:
            os.kill(pid, signal.SIGSTOP)
        wait_for(lambda: not rail.where().moving, 3.0)
        assert time.monotonic() - at < 1.5, "half a second of lease, and the brake"
        assert rail.where().axes["a"] > 0.01, "it had not arrived"
        for pid in reversed(hung):
            os.kill(pid, signal.SIGCONT)
    finally:
        rail.close()
    code, words = command.end()
    assert code == 4, words
    assert "silent for longer than its lease of 0.5 s" in words and "fix: hil clear BENCH" in words
    readable(command, "safe")
