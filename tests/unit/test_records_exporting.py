"""`hil export`: SigMF that the reference library opens and finds valid, sample for sample what was captured."""

from __future__ import annotations

import json
import resource
from hashlib import sha512
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import sigmf as reference
import synthetic_run

from hil import cli
from hil.device import Capture
from hil.errors import InputError, RecordError
from hil.records import RunWriter, read
from hil.records.exporting import export

SCHEMA = Path(__file__).parents[2] / "docs" / "sigmf-hil.json"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two captures of four channels in two rounds, one of one channel."""
    rng = np.random.default_rng(1)
    folder = tmp_path_factory.mktemp("export")
    facts = dict(scenario_name="quickstart", command="hil run x", seed=1, depth="process", versions={"hil": "0.1.0"})
    with RunWriter.create(folder, synthetic_run.NAME, inputs={"scenario.toml": b"name = 'x'\n"}, **facts) as writer:
        from hil.clock import Instant

        for number, device, channels in ((0, "sense1", 4), (0, "u1", 1), (1, "sense1", 4)):
            codes = rng.integers(-2048, 2048, (channels, 300, 2)).astype(np.float32)
            capture = Capture(
                (codes / np.float32(2048)).view(np.complex64)[..., 0], 15.36e6, 3.5e9, gain_db=tuple(30.0 + c for c in range(channels)), device=device
            )
            file, digest = writer.capture(
                f"r{number:03d}-sound-{device}", capture, purpose="sound", round=number, positions=np.arange(3.0 * channels).reshape(channels, 3)
            )
            writer.event("captured", number, Instant.of(number), file=file, sha512=digest, device=device, purpose="sound", samples=300)
        writer.results([{"round": 1, "designer": "robust", "user": "u1", "measured_db": 17.0}])
        writer.round_ends(1, t=Instant.of(2.0))
        writer.end("limit", muted=True, at_rest=True, t=Instant.of(3.0))
    return read(writer.folder)


def codes_of(recording) -> np.ndarray:
    """(sample, channel) complex codes, as the reference library reads them."""
    return np.asarray(recording.read_samples()).reshape(300, -1) * 32768


def test_whole_captures_are_valid_sigmf_with_the_bytes_of_the_run(run, tmp_path):
    made = export(run, tmp_path / "out")
    assert (made.captures, made.recordings, made.bytes) == (3, 3, 300 * 4 * 9)
    for name in run.captures:
        recording = reference.fromfile(str(tmp_path / "out" / f"{name}.sigmf-meta"))
        recording.validate()
        assert recording.calculate_hash() == recording.get_global_field("core:sha512")
        assert (tmp_path / "out" / f"{name}.sigmf-data").read_bytes() == (run.folder / "captures" / f"{name}.sigmf-data").read_bytes()
    for beside in ("results.csv", "events.jsonl", "run.json", "scenario.toml"):
        assert (tmp_path / "out" / beside).read_bytes() == (run.folder / beside).read_bytes()
    assert made.files == ("results.csv", "events.jsonl", "run.json", "scenario.toml")


def test_split_gives_each_channel_a_file_of_its_own(run, tmp_path):
    made = export(run, tmp_path, split=True)
    assert (made.captures, made.recordings, made.bytes) == (3, 9, 300 * 4 * 9)
    schema = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()))
    samples = run.capture("r001-sound-sense1").samples
    for channel in range(4):
        path = tmp_path / f"r001-sound-sense1-ch{channel}.sigmf-meta"
        recording = reference.fromfile(str(path))
        recording.validate()
        assert recording.num_channels == 1 and recording.get_global_field("core:sha512") == recording.calculate_hash()
        assert np.array_equal(codes_of(recording)[:, 0], samples[channel] * 2048)
        meta = json.loads(path.read_text())
        schema.validate(meta)
        segment = meta["captures"][0]
        assert segment["hil:gain_db"] == [30.0 + channel] and segment["hil:positions_m"] == [[3.0 * channel + axis for axis in range(3)]]
        assert meta["global"]["core:description"] == f"sound, sense1, channel {channel} of 4"
    alone = reference.fromfile(str(tmp_path / "r000-sound-u1.sigmf-meta"))
    assert np.array_equal(codes_of(alone)[:, 0], run.capture("r000-sound-u1").samples[0] * 2048)


@pytest.mark.parametrize("split", [False, True])
def test_collections_tie_what_was_exported(run, tmp_path, split):
    export(run, tmp_path, split=split)
    tied = reference.fromfile(str(tmp_path / "r000.sigmf-collection"))
    tied.verify_stream_hashes()
    channels = [f"r000-sound-sense1-ch{c}" for c in range(4)] if split else ["r000-sound-sense1"]
    assert tied.get_stream_names() == [*channels, "r000-sound-u1"]


def test_a_folder_that_holds_something_is_left_alone(run, tmp_path):
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(InputError) as caught:
        export(run, tmp_path)
    assert str(caught.value) == (
        f"error[folder-exists] {tmp_path}: there is something here already\n  fix: take another name; nothing is overwritten"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    with pytest.raises(InputError):
        export(run, tmp_path / "mine")


def test_altered_captures_are_not_handed_over(run, tmp_path):
    import shutil

    folder = shutil.copytree(run.folder, tmp_path / run.name)
    data = folder / "captures" / "r000-sound-u1.sigmf-data"
    data.write_bytes(data.read_bytes()[:-8])
    with pytest.raises(RecordError) as caught:
        export(read(folder), tmp_path / "out")
    assert str(caught.value) == (
        f"error[bad-captures] {run.name}: a capture is not what was recorded\n"
        "  found truncated captures/r000-sound-u1.sigmf-data: 1192 of 1200 bytes; fix: restore them from a copy; see hil verify"
    )
    assert not (tmp_path / "out").exists()


def test_a_full_disk_blames_the_folder_that_is_written_to(run, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (600, hard))
    try:
        with pytest.raises(RecordError) as caught:
            export(run, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    out = tmp_path / "out"
    first, second = str(caught.value).splitlines()
    assert first == f"error[disk-full] {out}/r000-sound-sense1.sigmf-data: could not be written: no space"
    assert second.endswith(
        f" MB free (File too large); the run itself is untouched; fix: free some space, remove {out} and export again, "
        "or use --out DIR on another disk"
    )
    assert list(out.iterdir()) == []


def test_the_command(run, tmp_path, capsys):
    out = tmp_path / "out"
    assert cli.call(["export", str(run.folder), "--out", str(out), "--split"]) == 0
    assert capsys.readouterr().out == f"{out}   9 recordings of 3 captures, 0.0 MB; results.csv, events.jsonl, run.json, scenario.toml\n"
    assert cli.call(["export", str(run.folder), "--out", str(out)]) == 2
    assert cli.call(["export", str(run.folder)]) == 2
    assert sha512((out / "r000-sound-u1.sigmf-data").read_bytes()).hexdigest() == run.of("captured")[1]["sha512"]
