"""`hil verify`: every way a run folder can be other than what was recorded, named by its file."""

from __future__ import annotations

import json
import shutil

import pytest
import synthetic_run

from hil import cli
from hil.errors import RecordError
from hil.records import read
from hil.records.verifying import verify


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return synthetic_run.make(tmp_path_factory.mktemp("verify"), rounds=2)


@pytest.fixture
def folder(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / whole.name)


def found(folder):
    return [(one.kind, one.file, one.what) for one in verify(folder).problems]


def test_a_run_that_ended_is_whole_and_what_was_looked_at_is_said(whole, capsys):
    looked = verify(whole)
    assert looked.whole
    run = read(whole)
    sums = (whole / "SHA512SUMS").read_text().count("\n")
    counts = {"inputs": 2, "events": len(run.events), "captures": len(run.captures), "designs": 5, "maps": 12, "whole parts": 6, "hashes": sums}
    assert looked.looked_at == counts
    assert cli.call(["verify", str(whole)]) == 0
    assert capsys.readouterr().out == f"{whole.name}   {', '.join(f'{count} {kind}' for kind, count in counts.items())}: all as recorded\n"


CAPTURE = "captures/r001-v4-sound-u1.sigmf"


def spoil(folder, file, change):
    path = folder / file
    path.write_bytes(change(path.read_bytes()))


SPOILT = {
    "altered samples": (
        f"{CAPTURE}-data", lambda b: b[:-1] + bytes([b[-1] ^ 1]), [("altered", f"{CAPTURE}-data", "not the samples that were recorded")]
    ),
    "cut samples": (f"{CAPTURE}-data", lambda b: b[:100], [("truncated", f"{CAPTURE}-data", "100 of 800 bytes")]),
    "longer samples": (f"{CAPTURE}-data", lambda b: b + b"more", [("altered", f"{CAPTURE}-data", "not the samples that were recorded")]),
    "altered metadata": (
        f"{CAPTURE}-meta", lambda b: b.replace(b"38.0", b"39.0"), [("altered", f"{CAPTURE}-meta", "not the metadata that r001.sigmf-collection ties")]
    ),
    "another hash": (
        f"{CAPTURE}-meta", lambda b: b.replace(b'sha512": "', b'sha512": "0'), [("altered", f"{CAPTURE}-meta", "another hash than its event's")]
    ),
    "no metadata": (f"{CAPTURE}-meta", lambda b: b"{}", [("altered", f"{CAPTURE}-meta", "not metadata of a capture")]),
    "a design": ("designs/r002-robust.npz", lambda b: b[:300], [("altered", "designs/r002-robust.npz", "cannot be read: File is not a zip file")]),
    "a map": (
        "fields/r002-ap1-u1.npz", lambda b: b[:200] + b"x" + b[201:],
        [("altered", "fields/r002-ap1-u1.npz", "cannot be read: Bad CRC-32 for file 'grid.npy'")],
    ),
    "an input": ("scenario.toml", lambda b: b + b"# more\n", [("altered", "scenario.toml", "not the file this run began with")]),
    "the table": ("results.csv", lambda b: b"".join(b.splitlines(keepends=True)[:-2]), [("truncated", "results.csv", "9 lines, 11 were recorded")]),
    "settings": ("settings.json", lambda b: b + b" ", [("altered", "settings.json", "another hash than in SHA512SUMS")]),
}  # fmt: skip


@pytest.mark.parametrize("how", sorted(SPOILT))
def test_what_was_altered_is_named(how, folder):
    file, change, wanted = SPOILT[how]
    spoil(folder, file, change)
    assert found(folder) == wanted


@pytest.mark.parametrize(
    ("file", "what"),
    [
        (f"{CAPTURE}-data", "samples of a capture"),
        (f"{CAPTURE}-meta", "metadata of a capture"),
        ("designs/r000-fixed.npz", "a `designed` event names it"),
        ("fields/r002-ap2-u2.npz", "a `mapped` event names it"),
        ("testbed.toml", "an input of this run"),
        ("captures/r001.sigmf-collection", "SHA512SUMS lists it"),
        ("SHA512SUMS", "an ended run has one"),
    ],
)
def test_what_is_missing_is_named(file, what, folder):
    (folder / file).unlink()
    assert found(folder) == [("missing", file, what)]


@pytest.mark.parametrize("file", ["captures/r002-sound-u9.sigmf-data", "designs/r009-robust.npz", "fields/r009-ap1-u1.npz"])
def test_what_no_event_tells_of_is_named(file, folder):
    (folder / file).write_bytes(b"stray")
    assert found(folder) == [("unclaimed", file, "no event tells of it")]


def test_event_lines_are_named_by_number(folder, capsys):
    lines = (folder / "events.jsonl").read_bytes().splitlines(keepends=True)
    lines[4] = lines[4].replace(b'"n":4', b'"n":5')
    del lines[9]
    (folder / "events.jsonl").write_bytes(b"".join(lines))
    assert found(folder) == [
        ("altered", "events.jsonl:5", "its check sum is wrong"),
        ("missing", "events.jsonl:10", "event 10 stands where 9 belongs"),
        ("altered", "events.jsonl", "another hash than in SHA512SUMS"),
    ]
    assert cli.call(["verify", str(folder)]) == 1
    assert "events.jsonl:5: its check sum is wrong" in capsys.readouterr().out


def test_an_interrupted_run_says_what_is_missing(tmp_path):
    folder = synthetic_run.make(tmp_path, rounds=2, end=None)
    go_on = f"hil run --resume {folder.name}"
    assert found(folder) == [("incomplete", "run.json", f"no end is recorded: interrupted after round 2; {go_on}")]
    with (folder / "events.jsonl").open("ab") as file:
        file.write(b'{"n":99')
    torn, incomplete = found(folder)
    assert torn[0] == "torn" and torn[2] == "the last line is not whole" and incomplete[0] == "incomplete"
    stopped = synthetic_run.make(tmp_path / "other", rounds=0, end="fault")
    assert found(stopped) == [("incomplete", "run.json", f"ended by fault before a round was whole; {go_on}")]


def test_a_run_that_says_it_ended_but_has_lost_its_last_events(folder):
    lines = (folder / "events.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "events.jsonl").write_bytes(b"".join(lines[:-1]))
    assert ("missing", "events.jsonl", "run.json says it ended (converged), no event does") in found(folder)


def test_a_run_of_another_format_is_refused_by_every_reader(folder, capsys):
    about = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(about | {"format": "hil.run.v2", "hil": "2.0.0"}))
    said = (
        f"error[run-format] {folder.name} run.json: written in a format this version does not know\n"
        "  found hil.run.v2; allowed hil.run.v1; fix: read it with the version that wrote it (hil 2.0.0)"
    )
    for reader in (read, verify):
        with pytest.raises(RecordError) as caught:
            reader(folder)
        assert str(caught.value) == said
    for command in ("verify", "replay", "report"):
        assert cli.call([command, str(folder)]) == 3
        assert capsys.readouterr().err == said + "\n"
