"""The command line: streams, exit codes, messages, help."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bench_files import DESK_SCENARIO, EAST, QUICKSTART, changed, desk

from hil import cli, files
from hil.commands.streams import Streams
from hil.errors import DeviceError, HilError, InputError, SafeState


def hil(*arguments: str | Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = cli.call([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, out, err


# -- help --------------------------------------------------------------------------------------------------------------------------------

COMMANDS = (
    "new", "check", "doctor", "profile", "run", "runs", "report", "compare", "replay", "verify", "export", "design", "sweep", "reproduce", "node",
)  # fmt: skip


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_ends_with_two_examples_that_parse(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = hil(*command.split(), "--help", capsys=capsys)
    examples = out.partition("Examples:\n")[2].splitlines()
    assert code == 0 and len(examples) == 2
    assert all(example.startswith(f"  hil {command}".rstrip()) for example in examples)
    for example in examples:
        for one in example.split("&&"):
            name, *rest = one.split()[1:]
            typed = cli.typer.main.get_command(cli.app).commands[name]
            typed.make_context(name, list(rest), resilient_parsing=False)


def test_commands_are_grouped_by_what_one_wants(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = hil("--help", capsys=capsys)
    places = [out.index(f"\n{group}:\n") for group in ("start", "run", "look", "design", "serve")]
    assert places == sorted(places)
    assert [word for word in COMMANDS if f"\n  {word} " not in out] == []


@pytest.mark.parametrize(
    "later", ["calibrate", "where", "stop", "train", "keys"]
)
def test_what_does_not_exist_yet_is_no_command(later: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = hil(later, capsys=capsys)
    assert (code, out) == (2, "") and err.startswith("error[usage] hil: no such command")


HEAVY = ("numpy", "scipy", "torch", "cvxpy", "numba", "matplotlib", "zmq", "rich", "msgspec")


def test_help_imports_nothing_heavy() -> None:
    code = f"import sys, hil.cli; hil.cli.call(['--help']); print([n for n in {HEAVY!r} if n in sys.modules], file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0 and done.stderr.strip() == "[]"


def test_importing_hil_is_light() -> None:
    code = f"import sys, hil; print([n for n in {HEAVY!r} if n in sys.modules], 'hil.bench' in sys.modules, 'load' in dir(hil))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.stdout.strip() == "[] False True"


# -- new and check -----------------------------------------------------------------------------------------------------------------------


def test_new_then_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lab = tmp_path / "My Lab"
    code, out, err = hil("new", lab, capsys=capsys)
    assert (code, err) == (0, "")
    assert [Path(line).name for line in out.splitlines()] == ["README.md", "scenario.toml", "testbed.toml"]
    bench = files.read_bench(lab)
    assert bench.scenario.name == "my-lab"
    assert bench.testbed.wire == files.read_bench(QUICKSTART).testbed.wire
    code, out, err = hil("check", lab, capsys=capsys)
    assert (code, out, err) == (0, "ok  scenario.toml, testbed.toml, 3 profiles\n", "")


def test_new_overwrites_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").mkdir()
    code, out, err = hil("new", tmp_path / "mine", capsys=capsys)
    assert (code, out) == (2, "")
    assert (
        err == f"error[folder-exists] {tmp_path}/mine: there is something here already\n  fix: take another name; nothing is overwritten\n"
    )
    assert list((tmp_path / "mine").iterdir()) == []


def test_new_names_the_examples_there_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = hil("new", tmp_path / "x", "--from", "quickstar", capsys=capsys)
    assert (
        code == 2
        and err.startswith("error[no-example] --from: there is no such example\n  found quickstar; allowed ")
        and "quickstart" in err
    )
    assert not (tmp_path / "x").exists()


def test_every_example_bench_passes_check(capsys: pytest.CaptureFixture[str]) -> None:
    for scenario in QUICKSTART.parent.glob("*/scenario.toml"):
        assert hil("check", scenario.parent, capsys=capsys)[0] == 0, scenario


def test_check_takes_files_of_every_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = desk(tmp_path)
    (folder / "node.toml").write_text(EAST)
    given = [
        folder / name for name in ("scenario.toml", "testbed.toml", "node.toml", "profiles/pluto-2g45.toml", "profiles/belt-rail-300.toml")
    ]
    code, out, _ = hil("check", *given, capsys=capsys)
    assert (code, out.splitlines()) == (0, [f"ok  {path}" for path in given])


def test_check_says_all_mistakes_and_exits_with_two(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = desk(tmp_path, changed(DESK_SCENARIO, ("elements = 1", "elments = 1"), ("steps = 400", "steps = 0")))
    code, out, err = hil("check", folder, capsys=capsys)
    assert (code, out) == (2, "")
    assert [line.split("]")[0] for line in err.splitlines() if line.startswith("error")] == ["error[unknown-key", "error[out-of-range"]


# -- run: what is asked before anything is opened -----------------------------------------------------------------------------------------


def test_plan_opens_nothing_and_says_what_would_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = hil("run", QUICKSTART, "--plan", "--rounds", "3", "--runs", tmp_path / "runs", capsys=capsys)
    assert (code, err) == (0, "")
    assert out.startswith("plan: 7 devices, at most 3 rounds, about ") and "of captures" in out and "GB free" in out
    assert not (tmp_path / "runs").exists()


def test_a_plan_grows_with_its_rounds_and_is_one_object_with_json(capsys: pytest.CaptureFixture[str]) -> None:
    plans = [json.loads(hil("run", QUICKSTART, "--plan", "--rounds", str(rounds), "--json", capsys=capsys)[1]) for rounds in (1, 2, 3)]
    assert {plan["ok"] for plan in plans} == {True} and {plan["command"] for plan in plans} == {"run"}
    sizes = [plan["result"]["capture_bytes"] for plan in plans]
    # per push: two sounding frames and a measuring frame, two periods each, 14 receive channels, 4 bytes a sample
    assert sizes[1] - sizes[0] == sizes[2] - sizes[1] == pytest.approx(2 * (2 * 28 + 280) * 548 * 14 * 4, rel=1e-9)
    assert plans[0]["result"]["virtual_s"] < plans[2]["result"]["virtual_s"]


def test_air_says_what_would_radiate_and_move_and_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = desk(tmp_path / "desk")
    code, out, err = hil("run", folder, "--air", "-y", "--runs", tmp_path / "runs", capsys=capsys)
    lines = err.splitlines()
    assert (code, out) == (2, "")
    assert lines[0].startswith("Radiates  pluto-a tx0  2.450 GHz, at most 3.0 dBm + 2.2 dBi = 5.2 dBm EIRP (limit 10.0), duty ")
    assert lines[0].endswith("(limit 10 %; both testbed.toml:3)")
    assert lines[1].startswith("Moves     rail x  15 ... 285 mm of 0 ... 300, at most 100 mm/s, about ")
    assert lines[2] == f"error[no-driver] {folder}/testbed.toml:8 stage: no driver for stage `rail` (grbl-1.1) yet"
    assert lines[3].startswith("  nothing was opened, sent or moved; fix: leave out --air: emulated")
    assert not (tmp_path / "runs").exists()


def test_air_checks_the_files_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = desk(tmp_path, changed(DESK_SCENARIO, ("2.45e9", "2.5e9")))
    code, _, err = hil("run", folder, "--air", capsys=capsys)
    assert code == 2 and err.startswith("error[out-of-band]")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run"], "error[usage] hil run: a bench is wanted"),
        (["run", "--resume", "last", str(QUICKSTART)], "error[usage] --resume: a resumed run goes on as it began\n  found BENCH;"),
        (["run", "--resume", "last", "--rounds", "3"], "found --rounds;"),
        (["run", "x", "--depth", "radio"], "'radio' is not one of 'process', 'nodes', 'device'"),
        (["run", "x", "--air", "--depth", "nodes"], "error[usage] --air --depth: one of the two"),
        (["run", "x", "--seed", "-1"], "error[usage] hil run:"),
        (["run", "x", "--seed", "one"], "error[usage] hil run:"),
        (["run", "x", "--sed", "1"], "error[usage] hil run: no such option"),
        (["new"], "error[usage] hil new: missing argument"),
        (["rum"], "error[usage] hil: no such command 'rum'"),
    ],
)
def test_a_bad_command_line_is_two_lines_and_code_two(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = hil(*arguments, capsys=capsys)
    assert (code, out) == (2, "") and words in err and len(err.splitlines()) == 2


def test_a_flag_that_makes_the_scenario_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = hil("run", QUICKSTART, "--rounds", "0", "--plan", capsys=capsys)
    assert code == 2 and err.startswith("error[out-of-range]") and "rounds.max" in err


@pytest.mark.parametrize(
    ("typed", "wanted"),
    [
        ("hil report 2026", "20260314-152033-quickstart-k7qd"),
        ("hil run --resume la", "last"),
        ("hil run --designer n", "nominal"),
        ("hil new x --from q", "quickstart"),
        ("hil ch", "check"),
        ("hil run --depth n", "nodes"),
    ],
)
def test_completion_knows_names_on_disk(typed: str, wanted: str, tmp_path: Path) -> None:
    run = tmp_path / "runs" / "20260314-152033-quickstart-k7qd"
    run.mkdir(parents=True)
    (run / "run.json").write_text("{}")
    words = typed.split()
    env = {
        **os.environ,
        "PYTHONPATH": str(QUICKSTART.parents[1]),
        "_HIL_COMPLETE": "complete_bash",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(len(words) - 1),
    }
    done = subprocess.run([sys.executable, "-m", "hil.cli"], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=30)
    assert done.stdout.split() == [wanted], done.stderr


# -- runs, report, node ------------------------------------------------------------------------------------------------------------------


def test_no_runs_is_not_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert hil("runs", "--runs", tmp_path, capsys=capsys) == (0, "", f"no runs in {tmp_path}; `hil run BENCH` makes one\n")
    code, out, _ = hil("runs", "--runs", tmp_path, "--json", capsys=capsys)
    assert (code, json.loads(out)["result"]) == (0, {"runs": []})


def test_a_report_of_a_run_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = hil("report", "last", "--runs", tmp_path, capsys=capsys)
    assert (code, out) == (2, "") and err.startswith("error[no-such-run]")


def test_a_node_without_keys_refuses_any_address_but_loopback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "node.toml").write_text(changed(EAST, ("127.0.0.1", "10.0.0.11")))
    code, out, err = hil("node", tmp_path / "node.toml", capsys=capsys)
    assert (code, out) == (2, "")
    assert err.startswith(f"error[not-loopback] {tmp_path}/node.toml:3 listen: without keys a node answers on this machine only\n")


# -- how it speaks -----------------------------------------------------------------------------------------------------------------------


def test_json_of_an_error_has_every_part(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = desk(tmp_path, changed(DESK_SCENARIO, ("carrier_hz = 2.45e9", "carrier_ghz = 2.45")))
    code, out, err = hil("check", folder, "--json", capsys=capsys)
    said = json.loads(out)
    assert code == 2 and said["hil"] == cli.hil.__version__ and said["command"] == "check" and said["ok"] is False
    error = said["error"]
    assert (error["id"], error["file"], error["line"], error["key"]) == ("wrong-unit", f"{folder}/scenario.toml", 4, "signal.carrier_ghz")
    assert (error["message"], error["found"], error["fix"]) == (
        "this quantity is given in hertz",
        "carrier_ghz = 2.45",
        "carrier_hz = 2.45e9",
    )
    assert err.startswith("error[wrong-unit]")


def test_json_of_several_errors_has_them_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = desk(tmp_path, changed(DESK_SCENARIO, ("elements = 1", "elements = 0"), ("steps = 400", "steps = 0")))
    said = json.loads(hil("check", folder, "--json", capsys=capsys)[1])
    assert said["error"] == said["errors"][0] and [error["key"] for error in said["errors"]] == ["array.tx.elements", "design.steps"]


def test_a_bad_command_line_obeys_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = hil("run", "--nothing", "--json", capsys=capsys)
    assert (code, json.loads(out)["error"]["id"]) == (2, "usage")


def test_colour_only_where_it_is_wanted(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    assert "\x1b[" not in hil("check", "nothing", capsys=capsys)[2]
    assert "\x1b[31merror[no-file]\x1b[0m" in hil("check", "nothing", "--color", "always", capsys=capsys)[2]
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[" in hil("check", "nothing", capsys=capsys)[2]
    assert "\x1b[" not in hil("check", "nothing", "--color", "never", capsys=capsys)[2]
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in hil("check", "nothing", capsys=capsys)[2]


def test_quiet_is_errors_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert hil("runs", "--runs", tmp_path, "-q", capsys=capsys) == (0, "", "")
    assert hil("check", "nothing", "-q", capsys=capsys)[2].startswith("error[no-file]")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("usage", "x"), 2),
        (DeviceError("did-not-take", "x"), 3),
        (SafeState("lease-lost", "x"), 4),
        (HilError("anything", "x"), 3),
        (KeyboardInterrupt(), 130),
    ],
)
def test_exit_codes(error: BaseException, code: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("hil.files.check", fail)
    assert hil("check", "x", capsys=capsys)[0] == code


def test_a_bug_is_code_seventy_and_its_traceback_is_in_a_file(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("who divides by zero")

    monkeypatch.setattr("hil.files.check", fail)
    code, out, err = hil("check", "x", capsys=capsys)
    assert (code, out) == (70, "") and err.startswith("error[bug] ZeroDivisionError: who divides by zero\n") and "Traceback" not in err
    log = Path(err.partition("the traceback is in ")[2].partition(";")[0])
    assert "ZeroDivisionError: who divides by zero" in log.read_text() and "in fail" in log.read_text()
    log.unlink()
    assert "Traceback" in hil("check", "x", "-vv", capsys=capsys)[2]


def test_an_error_s_two_lines_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    Streams("x").failed(
        DeviceError("did-not-take", "receive gain is wrong", where="pluto-b", found="62 dB", allowed="40 dB", fix="see the radio")
    )
    out, err = capsys.readouterr()
    assert (out, err) == ("", "error[did-not-take] pluto-b: receive gain is wrong\n  found 62 dB; allowed 40 dB; fix: see the radio\n")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 130)])
def test_signals_end_a_command_with_their_code(number: int, code: int, tmp_path: Path) -> None:
    pipe = tmp_path / "scenario.toml"
    os.mkfifo(pipe)  # a file that never ends: we hold it open for writing and write nothing
    process = subprocess.Popen([sys.executable, "-m", "hil.cli", "check", str(pipe)], stderr=subprocess.PIPE)
    try:
        writer = _opened_by_reader(pipe)
        time.sleep(0.3)  # from its open to its read: a signal in between would find it not yet waiting
        process.send_signal(number)
        assert process.wait(20) == code
        os.close(writer)
    finally:
        process.kill()
        process.communicate()


def _opened_by_reader(pipe: Path) -> int:
    """The pipe's writing end, which can be had as soon as the process reads from it."""
    deadline = time.monotonic() + 20
    while True:
        try:
            return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            assert time.monotonic() < deadline, "the command never came to read its file"
            time.sleep(0.01)
