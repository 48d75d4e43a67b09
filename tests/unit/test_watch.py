"""`hil watch` against a run folder that grows while it is followed."""

import fcntl
import io
import json
import shutil
from datetime import UTC, datetime

import pytest
from synthetic_run import make

from hil.cli import call
from hil.commands.rounds import RoundsView
from hil.commands.streams import Streams
from hil.commands.watch import GONE, Lines, Times, is_written, watch
from hil.files import read_bench


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """A run that converged, and its event lines."""
    folder = make(tmp_path_factory.mktemp("whole"))
    return folder, (folder / "events.jsonl").read_bytes().splitlines(keepends=True)


@pytest.fixture
def growing(ended, tmp_path):
    """A copy that has only begun, held by a writer; `more` lets it grow by pieces of bytes at each wait, then the writer goes."""
    folder = tmp_path / ended[0].name
    shutil.copytree(ended[0], folder)
    (folder / "report.html").unlink(missing_ok=True)
    file = open(folder / "events.jsonl", "wb", buffering=0)
    fcntl.flock(file, fcntl.LOCK_EX)

    def more(pieces):
        left = iter(pieces)

        def sleep(seconds):
            assert 0 < seconds < 1
            piece = next(left, None)
            file.close() if piece is None else file.write(piece)

        return sleep

    yield folder, more
    file.close()


def run(folder, sleep, timeout=60.0, **how):
    out, err = io.StringIO(), io.StringIO()
    code = watch(Streams("watch", color="never", out=out, err=err, **how), folder, timeout, sleep)
    return code, out.getvalue(), err.getvalue()


def no_wait(_):
    raise AssertionError("there is nothing to wait for")


def test_a_growing_run_is_followed_to_its_end_though_lines_come_in_halves(ended, growing):
    folder, more = growing
    whole = b"".join(ended[1])
    pieces = [whole[start : start + 7919] for start in range(0, len(whole), 7919)]  # tears nearly every line it ends in
    code, out, err = run(folder, more(pieces))
    assert code == 0 and err == ""
    assert out == run(ended[0], no_wait)[1].replace(str(ended[0]), str(folder))


def test_it_prints_the_lines_that_hil_run_printed(ended):
    folder, lines = ended
    began = datetime(2026, 3, 14, 15, 20, 33, tzinfo=UTC)
    streams = Streams("run", color="never", out=io.StringIO(), err=io.StringIO())
    view = RoundsView(streams, utc=lambda: began)
    bench = read_bench(folder)
    view.opening(str(folder), 1, "process", bench.scenario, bench.testbed)
    for line in lines:
        view(json.loads(line))

    def plain(text):
        return [line.partition("Z ")[2] or line for line in text.splitlines()]

    printed = plain(streams.err.getvalue()) + view.summary()
    assert plain(run(folder, no_wait)[1])[: len(printed)] == printed and len(printed) > 12


def test_lines_carry_the_time_of_their_event_not_of_the_watching(ended):
    folder, lines = ended
    times = Times(folder, datetime(2000, 1, 1, tzinfo=UTC))
    assert times() == datetime(2000, 1, 1, tzinfo=UTC)
    times.line = len(lines) - 1
    last = json.loads((folder / "timing.jsonl").read_text().splitlines()[-1])
    assert times() == datetime.fromisoformat(last["utc"])


def test_json_passes_the_lines_on_byte_for_byte(ended, growing):
    folder, more = growing
    code, out, err = run(folder, more([b"".join(ended[1][:5]), b"".join(ended[1][5:])]), json=True)
    assert (code, out.encode(), err) == (0, b"".join(ended[1]), "")


def test_a_process_that_went_without_an_end_is_said_to_be_gone(ended, growing, monkeypatch):
    folder, more = growing
    monkeypatch.setattr("hil.commands.watch.QUIET_S", 0.0)
    half = len(ended[1]) // 2
    code, out, err = run(folder, more([b"".join(ended[1][:half]), b"".join(ended[1][half : half + 1])[:20]]))
    assert code == GONE and "fixed-rzf" in out
    assert f"its process is gone and it has not ended\nresume      hil run --resume {folder.name}" in err


def test_a_process_that_says_nothing_more_is_not_waited_for_for_ever(ended, growing, monkeypatch):
    folder, more = growing
    monkeypatch.setattr("hil.commands.watch.QUIET_S", 0.0)
    code, _, err = run(folder, more([b"".join(ended[1][:3])] + [b""] * 10**6), timeout=0.05)
    assert code == GONE and "nothing new for 0.05 s, though its process is still there" in err
    assert is_written(folder)


def test_what_a_resumed_run_took_back_is_not_shown_twice(ended, tmp_path):
    path, lines = tmp_path / "events.jsonl", ended[1]
    path.write_bytes(b"".join(lines[:9]))
    tail = Lines(path)
    assert len(tail.fresh()) == 9 and tail.fresh() == []
    path.write_bytes(b"".join(lines[:6]))  # shorter: three lines belonged to a round that was not whole
    assert tail.fresh() == []
    path.write_bytes(b"".join(lines[:6]) + lines[10] + lines[11])
    assert tail.fresh() == [lines[10][:-1], lines[11][:-1]]
    path.write_bytes(b"".join(lines[:4]) + b"".join(lines[20:40]))  # shorter and longer again between two looks
    assert tail.fresh() == [line[:-1] for line in lines[20:40]]


@pytest.mark.parametrize(("how", "code"), [("limit", 0), ("interrupted", 130), ("safe", 4), ("fault", 3)])
def test_the_shell_is_told_how_the_run_ended(tmp_path, how, code):
    assert run(make(tmp_path, rounds=1, end=how), no_wait)[0] == code


def test_from_the_command_line(ended, capsys):
    assert call(["watch", ended[0].name, "--runs", str(ended[0].parent), "--color", "never"]) == 0
    assert "robust      17.5 dB" in capsys.readouterr().out
    assert call(["watch", "nothing", "--runs", str(ended[0].parent)]) == 2
