"""Ctrl-C in every state of a trial at depth `process`, and what must not become of it: lost, taken for a fault, half a record."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, nullcontext

import pytest
from trial_bench import lone_bench, narrow, own_designer, quiet_and_still

import hil.bench
from hil import interrupts
from hil.errors import InputError, LinkError, RecordError, SafeState
from hil.records import read
from hil.report import render

STATES = ("idle", "exploring", "sounding", "estimating", "designing", "moving", "settling", "loading", "measuring")


def press_in(state, round=None):
    """An observer that presses Ctrl-C at the first event of a state."""
    pressed = []

    def observer(event):
        if not pressed and event["event"] == "state" and event["to"] == state and round in (None, event["round"]):
            pressed.append(event["n"])
            raise KeyboardInterrupt

    return observer


@contextmanager
def opened(folder, *observers, designer=None, **changes):
    bench = lone_bench(folder / "bench", **changes)
    with hil.bench.open(bench, designer=designer or own_designer(), runs=folder, observers=list(observers)) as lab:
        yield lab


def interrupted_well(lab) -> None:
    """Muted and at rest in the record and in truth, and the run so far can be read."""
    run = read(lab.folder)
    ended = run.events[-1]
    assert (ended["event"], ended["how"], ended["muted"], ended["at_rest"]) == ("ended", "interrupted", True, True)
    assert run.ended == "interrupted" and run.interrupted and run.dropped == 0
    assert run.of("state")[-1]["to"] == "idle" and not run.of("failed")
    for event in run.of("captured"):
        run.capture(event["file"].removeprefix("captures/").removesuffix(".sigmf-data"), verify=True)


@pytest.mark.parametrize("state", STATES)
def test_ctrl_c_in_every_state(state, tmp_path):
    with opened(tmp_path, press_in(state)) as lab:
        with pytest.raises(KeyboardInterrupt):
            lab.run()
        interrupted_well(lab)
        assert quiet_and_still(lab.link.world)
    assert read(lab.folder).of("state")[-1]["from"] == state or state == "idle"
    if state in ("exploring", "measuring"):
        assert "interrupted" in render(read(lab.folder)).read_text()


def test_ctrl_c_on_the_way_brakes_where_it_can_be_told(tmp_path):
    """In the middle of a move, on the virtual clock: the carriages stop between start and goal, and the stage knows where."""
    slept = []

    def press_while_moving(event):
        if event["event"] == "state" and event["to"] == "moving" and not slept:
            world = lab.link.world
            began, sleep = {name: stage.where().axes for name, stage in world.stages.items()}, world.clock.sleep

            def sleep_and_press(seconds):
                sleep(seconds)
                slept.append(seconds)
                if len(slept) == 20:
                    raise KeyboardInterrupt

            world.clock.sleep = sleep_and_press
            slept.append(began)

    with opened(tmp_path, press_while_moving) as lab:
        with pytest.raises(KeyboardInterrupt):
            lab.run()
        began = slept[0]
        rail = lab.link.world.stages["rail1"]
        stopped = rail.where()
        assert stopped.axes != began["rail1"] and stopped.homed, "it had moved, and positions stay known"
        assert quiet_and_still(lab.link.world)
        interrupted_well(lab)


@pytest.mark.parametrize(("method", "nth"), [("capture", 6), ("apply", 6), ("configure", 6), ("load", 2)])
def test_ctrl_c_inside_a_device(method, nth, tmp_path, monkeypatch):
    from sim_backend.radio import Radio

    calls, whole = [], getattr(Radio, method)

    def press(self, *arguments):
        calls.append(self.name)
        if len(calls) == nth:
            raise KeyboardInterrupt
        return whole(self, *arguments)

    monkeypatch.setattr(Radio, method, press)
    with opened(tmp_path) as lab:
        with pytest.raises(KeyboardInterrupt):
            lab.run()
        monkeypatch.undo()
        interrupted_well(lab)
        assert quiet_and_still(lab.link.world)


def test_a_failure_on_the_way_out_does_not_hide_ctrl_c(tmp_path):
    """A node that cannot confirm the mute that follows: still an interruption, and no claim to be muted."""

    def press(event):
        if event["event"] == "state" and event["to"] == "measuring":
            lab.link.mute = fail
            lab.link.stop = lambda why="": ["site1"]
            raise KeyboardInterrupt

    def fail(why=""):
        raise LinkError("no-answer", "silent", where="node `site1`")

    with opened(tmp_path, press) as lab, pytest.raises(KeyboardInterrupt):
        lab.run()
    ended = read(lab.folder).events[-1]
    assert (ended["how"], ended["muted"], ended["at_rest"]) == ("interrupted", False, False)


@pytest.mark.parametrize("reason", [KeyboardInterrupt, LinkError("no-answer", "silent", where="node `u1`")])
def test_a_failed_mute_does_not_hide_why_a_capture_ended(reason, tmp_path, monkeypatch):
    from sim_backend.radio import Radio

    def press(self, samples, timeout_s):
        lab.link.mute = lab.link.stop = fail
        raise reason

    def fail(why=""):
        raise LinkError("no-answer", "silent in `mute`", where="node `site1`")

    monkeypatch.setattr(Radio, "capture", press)
    with opened(tmp_path) as lab, pytest.raises(type(reason) if isinstance(reason, Exception) else reason) as caught:
        lab.run()
    assert "in `mute`" not in str(caught.value)
    assert read(lab.folder).ended == ("fault" if isinstance(reason, Exception) else "interrupted")


@pytest.mark.parametrize(
    ("error", "how", "state"),
    [
        (SafeState("interrupted", "muted and halted on request", where="node `site1`", found="SIGINT there"), "interrupted", "idle"),
        (SafeState("safe-state", "muted and halted itself", where="node `site1`"), "safe", "safe"),
        (LinkError("no-answer", "silent for 2.0 s in `prepare`", where="node `site1`"), "fault", "idle"),
    ],
)
def test_how_a_trial_ends_by_what_stopped_it(error, how, state, tmp_path):
    """Nodes that the lease process holds after Ctrl-C refuse: an interruption. Nodes that hold themselves: the safe state."""

    def refuse(event):
        if event["event"] == "state" and event["to"] == "moving":
            raise error

    with opened(tmp_path, refuse) as lab:
        with pytest.raises(type(error)):
            lab.run()
        assert quiet_and_still(lab.link.world)
    run = read(lab.folder)
    assert run.ended == how and run.events[-1]["muted"] and run.of("state")[-1]["to"] == state
    assert run.of("failed")[0]["id"] == error.id


def test_a_bug_in_a_designer_still_ends_muted(tmp_path):
    class Broken:
        name = "broken"

        def __call__(self, problem, knowledge):
            raise ZeroDivisionError

    with opened(tmp_path, designer=Broken()) as lab:
        with pytest.raises(ZeroDivisionError):
            lab.run()
        assert quiet_and_still(lab.link.world)
    assert read(lab.folder).ended == "fault"


def test_leaving_the_block_in_the_middle_of_the_rounds_ends_the_trial(tmp_path):
    """An error of the user's own between two rounds, the iterator still alive in the traceback."""
    with pytest.raises(ZeroDivisionError), opened(tmp_path, design__baselines=["fixed-rzf"]) as lab:
        for _ in lab.rounds():
            raise ZeroDivisionError
    interrupted_well(lab)


# -- going on ------------------------------------------------------------------------------------------------------------------------------


def test_resume_goes_on_after_the_last_whole_round(tmp_path):
    with opened(tmp_path, press_in("measuring", 2), rounds__max=2) as lab, pytest.raises(KeyboardInterrupt):
        lab.run()
    before = read(lab.folder)
    assert before.last_whole_round == 1
    whole = before.of("recorded")[-1]["n"] + 1
    kept = (lab.folder / "events.jsonl").read_bytes().splitlines()[:whole]
    rows = (lab.folder / "results.csv").read_text()
    with pytest.raises(InputError, match="resume-changed"), hil.bench.resume(lab.folder, designer="nominal"):
        pass
    with hil.bench.resume(lab.folder.name, designer=own_designer(), runs=tmp_path) as again:
        rounds = again.run()
        assert quiet_and_still(again.link.world)
    assert [r.number for r in rounds] == [2]
    run = read(lab.folder)
    assert run.ended == "limit" and run.recorded == ((0, "explore"), (1, "round"), (2, "round"))
    assert (run.folder / "events.jsonl").read_bytes().splitlines()[:whole] == kept
    assert (run.folder / "results.csv").read_text().startswith(rows)
    assert (run.folder / "interrupted" / "1" / "events.jsonl").exists(), "what was not whole is put aside, not lost"
    times = [event["t"] for event in run.events]
    assert times == sorted(times)
    assert len({event["file"] for event in run.of("captured")}) == len(run.of("captured"))
    with pytest.raises(RecordError) as caught, hil.bench.resume(lab.folder.name, designer=own_designer(), runs=tmp_path):
        pass
    assert caught.value.id == "nothing-to-resume"


def test_resume_of_a_run_that_never_explored_begins_again(tmp_path):
    bench = lone_bench(tmp_path / "bench", design__baselines=["fixed-rzf"])
    with hil.bench.open(bench, runs=tmp_path, observers=[press_in("exploring")]) as lab, pytest.raises(KeyboardInterrupt):
        lab.run()
    with hil.bench.resume(lab.folder.name, runs=tmp_path, observers=[press_in("designing", 1)]) as again, pytest.raises(KeyboardInterrupt):
        again.run()
    run = read(lab.folder)
    assert run.recorded == ((0, "explore"), (0, "fixed-rzf")) and len(run.of("started")) == 1
    assert len(run.about["resumed"]) == 1


# -- the handler ---------------------------------------------------------------------------------------------------------------------------


class Left(BaseException):
    pass


def handler(now=time.monotonic):
    def leave(code):
        raise Left(code)

    return interrupts.Interrupts(leave, now)


@pytest.fixture
def put_back():
    """Handlers as they were before, whatever a test installs."""
    before = {number: signal.getsignal(number) for number in interrupts.SIGNALS}
    yield
    for number, old in before.items():
        signal.signal(number, old)


@pytest.fixture
def installed(put_back):
    """The handler in force."""
    taken = handler()
    taken.install()
    return taken


@pytest.fixture
def pythons_own(put_back):
    """What Python itself installs, whatever the tests before have called in this process."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def test_the_second_within_five_seconds_leaves_at_once():
    at = [0.0]
    taken = handler(lambda: at[0])
    with pytest.raises(KeyboardInterrupt):
        taken(signal.SIGINT)
    at[0] = 5.1
    with pytest.raises(KeyboardInterrupt):
        taken(signal.SIGINT)
    at[0] = 10.0
    with pytest.raises(Left) as left:
        taken(signal.SIGTERM)
    assert left.value.args == (130,), "how it began counts"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 130)])
def test_codes(installed, number, code):
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), number)
        time.sleep(1.0)
    assert installed.code == code


def test_what_must_end_whole_is_not_interrupted_but_by_the_second(installed):
    ended = []
    with pytest.raises(KeyboardInterrupt), interrupts.held():
        os.kill(os.getpid(), signal.SIGINT)
        with interrupts.held():
            time.sleep(0.05)
        ended.append(True)
    assert ended and signal.getsignal(signal.SIGINT) is installed
    with pytest.raises(Left), interrupts.held():
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1.0)
    assert signal.getsignal(signal.SIGINT) is installed


def test_held_without_a_command_around_it(pythons_own):
    """In somebody's own script Python's own handler is in force: held back as well, and a second one breaks through."""
    ended = []
    with pytest.raises(KeyboardInterrupt), interrupts.held():
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.05)
        ended.append(1)
    with pytest.raises(KeyboardInterrupt), interrupts.held():
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1.0)
        ended.append(2)
    assert ended == [1]


def test_held_in_a_thread_is_nothing():
    done = []

    def work():
        with interrupts.held():
            done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(5.0)
    assert done


def test_leaving_is_whole_and_keeps_what_went_wrong(installed):
    closed = []

    @contextmanager
    def resource():
        try:
            yield 1
        finally:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.05)
            closed.append(True)

    with pytest.raises(KeyboardInterrupt), interrupts.LeftWhole(resource()) as one:
        assert one == 1
    assert closed
    with pytest.raises(ZeroDivisionError), interrupts.LeftWhole(nullcontext()):
        raise ZeroDivisionError


def test_an_interruption_behind_an_error():
    try:
        try:
            raise KeyboardInterrupt
        finally:
            raise LinkError("no-answer", "x")
    except LinkError as error:
        assert interrupts.behind(error)
    assert not interrupts.behind(LinkError("no-answer", "x"))


# -- the command ---------------------------------------------------------------------------------------------------------------------------


def command(tmp_path, *more, **popen):
    bench = narrow(tmp_path / "bench", ("steps = 20", "steps = 4000"))
    line = [sys.executable, "-m", "hil.cli", "run", str(bench), "--runs", str(tmp_path / "runs"), "-v", *more]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, **popen)


def until(process, state):
    """Reads the command's words up to the one that says it has entered a state."""
    words = []
    for line in process.stderr:
        words.append(line)
        if f"state from={state[0]} to={state[1]}" in line or (" state " in line and f"to={state[1]}" in line and state[0] == ""):
            return words
    raise AssertionError("".join(words))


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=SLOW), pytest.param(signal.SIGHUP, 130, marks=SLOW)],
)
def test_a_signal_inside_the_solver_ends_the_command_in_order(number, code, tmp_path):
    process = command(tmp_path)
    try:
        until(process, ("", "designing"))
        time.sleep(0.5)
        at = time.monotonic()
        os.killpg(process.pid, number)
        out, err = process.communicate(timeout=30)
        took = time.monotonic() - at
    finally:
        process.kill()
    assert process.returncode == code, err
    run = read("last", tmp_path / "runs")
    assert f"hil run --resume {run.name} --runs " in err and "Traceback" not in err and out == ""
    assert run.ended == "interrupted" and run.events[-1]["muted"] and run.events[-1]["at_rest"]
    assert took < 10.0


@pytest.mark.slow
def test_a_second_ctrl_c_leaves_at_once_and_the_run_can_be_read(tmp_path):
    process = command(tmp_path)
    try:
        until(process, ("", "designing"))
        os.kill(process.pid, signal.SIGSTOP)  # so that both are there before it looks
        os.kill(process.pid, signal.SIGINT)
        os.kill(process.pid, signal.SIGTERM)
        os.kill(process.pid, signal.SIGCONT)
        process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode in (130, 143)
    assert read("last", tmp_path / "runs").ended == "interrupted"


@pytest.mark.slow
def test_a_closed_terminal_ends_a_run_in_order(tmp_path):
    """The terminal goes away, and with it every place to write to."""
    import pty

    pid, terminal = pty.fork()
    bench = None if pid == 0 else narrow(tmp_path / "bench", ("steps = 20", "steps = 4000"))
    if pid == 0:
        time.sleep(1.0)
        os.execv(sys.executable, [sys.executable, "-m", "hil.cli", "run", str(tmp_path / "bench"), "--runs", str(tmp_path / "runs"), "-v"])
    assert bench is not None
    words = b""
    while b"to=designing" not in words:
        words += os.read(terminal, 4096)
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 130
    run = read("last", tmp_path / "runs")
    assert run.ended == "interrupted" and "ended" in run.about
