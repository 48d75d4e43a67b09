"""Captures: exact codes, SigMF that the reference library accepts, and positions that come back."""

import hashlib
import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import sigmf as reference

from hil.clock import Instant
from hil.device import Capture, Loss
from hil.errors import RecordError
from hil.records import RunWriter, read, sigmf

NAME = "20260314-152033-quickstart-k7qd"
SCHEMA = Path(__file__).parents[2] / "docs" / "sigmf-hil.json"


def writer_in(folder):
    facts = dict(scenario_name="quickstart", command="hil run x", seed=1, depth="process", host="h", versions={"hil": "0.1.0"})
    return RunWriter.create(folder, NAME, inputs={}, utc=lambda: datetime(2026, 3, 14, 15, 20, 33, tzinfo=UTC), **facts)


def capture_of(rng, channels=3, count=50, full_scale=2048, bits=12, **more):
    codes = rng.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (channels, count, 2))
    samples = (codes.astype(np.float32) / np.float32(full_scale)).view(np.complex64)[..., 0]
    return codes, Capture(samples, 15.36e6, 3.5e9, gain_db=(40.0,) * channels, full_scale=full_scale, device="u1", **more)


@pytest.mark.parametrize("full_scale, bits", [(2048, 12), (2047, 12), (32768, 16), (32767, 16), (512, 16)])
def test_codes_come_back_exactly(tmp_path, full_scale, bits):
    codes, capture = capture_of(np.random.default_rng(1), full_scale=full_scale, bits=bits)
    with writer_in(tmp_path) as writer:
        file, _ = writer.capture("r003-sound-u1", capture, purpose="sound", round=3)
        stored = np.fromfile(writer.folder / file, "<i2").reshape(-1, 3, 2)
    assert np.array_equal(stored, codes.transpose(1, 0, 2))  # interleaved: sample, channel, I then Q
    back = read(tmp_path / NAME).capture("r003-sound-u1", verify=True)
    assert np.array_equal(back.samples, capture.samples) and back.samples.dtype == np.complex64


def test_everything_a_capture_says_survives(tmp_path):
    positions, std = np.arange(9.0).reshape(3, 3) + 0.125, np.full((3, 3), 1e-4)
    clock = Instant(1_000_000_000, 0.123456789)
    _, capture = capture_of(np.random.default_rng(2), first_sample=77, version=12, loss=Loss.NONE, clipped=0.25, clock=clock)
    marks = [("payload", 30, 20), ("preamble", 0, 10), ("pilots", 10, 20)]
    with writer_in(tmp_path) as writer:
        writer.capture(
            "r003-measure-u1",
            capture,
            purpose="measure",
            round=3,
            positions=positions,
            position_std=std,
            node="east",
            serial="e-u1",
            settings="u1",
            annotations=marks,
        )
    back = read(tmp_path / NAME).capture("r003-measure-u1")
    for name in ("sample_rate_hz", "carrier_hz", "gain_db", "first_sample", "version", "loss", "clock", "full_scale", "clipped", "device"):
        assert getattr(back, name) == getattr(capture, name), name
    assert np.array_equal(back.positions, positions) and np.array_equal(back.position_std, std)
    assert (back.purpose, back.round, back.node, back.serial, back.settings) == ("measure", 3, "east", "e-u1", "u1")
    assert back.annotations == (("preamble", 0, 10), ("pilots", 10, 20), ("payload", 30, 20))
    assert (back.rate, back.carrier) == (15.36e6, 3.5e9)


def test_what_is_unknown_stays_unknown(tmp_path):
    _, capture = capture_of(np.random.default_rng(3))
    with writer_in(tmp_path) as writer:
        writer.capture("r000-idle-u1", capture, purpose="idle", round=0)
        meta = json.loads((writer.folder / "captures/r000-idle-u1.sigmf-meta").read_bytes())
    back = read(tmp_path / NAME).capture("r000-idle-u1")
    assert (back.first_sample, back.version, back.clock, back.positions, back.loss) == (None, None, None, None, Loss.UNKNOWN)
    assert "core:global_index" not in meta["captures"][0]


def test_the_reference_library_validates_recordings_and_collection(tmp_path):
    rng = np.random.default_rng(4)
    with writer_in(tmp_path) as writer:
        for device in ("u1", "u2"):
            codes, capture = capture_of(rng, channels=2)
            _, digest = writer.capture(
                f"r001-sound-{device}", capture, purpose="sound", round=1, positions=np.zeros((2, 3)), annotations=[("pilots", 0, 9)]
            )
        writer.round_ends(1, t=Instant(0, 0.0))
        folder = writer.folder / "captures"
    recording = reference.fromfile(str(folder / "r001-sound-u2.sigmf-meta"))
    recording.validate()
    assert recording.get_global_field("core:sha512") == digest == recording.calculate_hash()
    # the reference reader hands out int16 fractions of 2^15
    assert np.allclose(np.asarray(recording.read_samples()).reshape(-1, 2) * 32768, codes[..., 0].T + 1j * codes[..., 1].T)
    tied = reference.fromfile(str(folder / "r001.sigmf-collection"))
    assert tied.get_stream_names() == ["r001-sound-u1", "r001-sound-u2"]
    tied.verify_stream_hashes()
    assert recording.get_global_field("core:collection") == "r001"


def test_metadata_keeps_to_the_published_extension_schema(tmp_path):
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    rng = np.random.default_rng(5)
    full = dict(first_sample=5, version=3, loss=Loss.SOME, clock=Instant(3, 0.5))
    with writer_in(tmp_path) as writer:
        writer.capture("r001-sound-u1", capture_of(rng)[1], purpose="sound", round=1)
        writer.capture("r001-measure-u1", capture_of(rng, **full)[1], purpose="measure", round=1, positions=np.ones((3, 3)), settings="u1")
        metas = [json.loads(path.read_bytes()) for path in sorted((writer.folder / "captures").glob("*.sigmf-meta"))]
    ours = {key for meta in metas for part in (meta["global"], meta["captures"][0]) for key in part if key.startswith("hil:")}
    documented = set(schema["properties"]["global"]["properties"]) | set(schema["$defs"]["capture"]["properties"])
    assert ours == {key for key in documented if key.startswith("hil:")}
    for meta in metas:
        jsonschema.validate(meta, schema)
        meta["captures"][0]["hil:loss"] = "perhaps"
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(meta, schema)


@pytest.mark.parametrize(
    "spoil", [lambda s: s * 1.01, lambda s: s + np.float32(0.3 / 2048), lambda s: s * np.float32("nan"), lambda s: s * 64]
)
def test_samples_that_are_not_codes_are_refused_and_nothing_is_left(tmp_path, spoil):
    _, capture = capture_of(np.random.default_rng(6))
    bad = Capture(spoil(capture.samples), 15.36e6, 3.5e9, device="u1")
    with writer_in(tmp_path) as writer, pytest.raises(RecordError) as caught:
        writer.capture("r000-idle-u1", bad, purpose="idle", round=0)
    assert caught.value.id == "not-codes" and "u1" in str(caught.value)
    assert not list((tmp_path / NAME).glob("captures/*"))


def test_negative_full_scale_is_a_code():
    codes = sigmf.codes(Capture.of(np.array([-1 - 1j]), rate=1.0, carrier=1.0, full_scale=32768))
    assert codes.min() == -32768


def test_a_capture_is_recorded_once(tmp_path):
    _, capture = capture_of(np.random.default_rng(7))
    with writer_in(tmp_path) as writer:
        writer.capture("r000-idle-u1", capture, purpose="idle", round=0)
        with pytest.raises(RecordError, match="capture-exists"):
            writer.capture("r000-idle-u1", capture, purpose="idle", round=0)
        for name in ("r001-idle-u1", "R000-idle", "r000-../x"):
            with pytest.raises(ValueError):
                writer.capture(name, capture, purpose="idle", round=0)


@pytest.mark.parametrize(
    "wrong",
    [
        dict(positions=np.zeros((2, 3))),
        dict(positions=np.full((3, 3), np.nan)),
        dict(purpose="look"),
        dict(annotations=[("pilots", 40, 20)]),
    ],
)
def test_wrong_facts_about_a_capture_are_refused(tmp_path, wrong):
    _, capture = capture_of(np.random.default_rng(8))
    with writer_in(tmp_path) as writer, pytest.raises(ValueError):
        writer.capture("r000-idle-u1", capture, **(dict(purpose="idle", round=0) | wrong))


def test_altered_samples_are_found(tmp_path):
    _, capture = capture_of(np.random.default_rng(9))
    with writer_in(tmp_path) as writer:
        file, _ = writer.capture("r000-idle-u1", capture, purpose="idle", round=0)
        path = writer.folder / file
    data = bytearray(path.read_bytes())
    data[7] ^= 1
    path.write_bytes(data)
    read(tmp_path / NAME).capture("r000-idle-u1")
    with pytest.raises(RecordError, match="bad-hash"):
        read(tmp_path / NAME).capture("r000-idle-u1", verify=True)
    path.write_bytes(data[:-2])
    with pytest.raises(RecordError, match="bad-capture"):
        read(tmp_path / NAME).capture("r000-idle-u1")


def test_sums_are_checked_by_sha512sum_and_agree_with_hashlib(tmp_path):
    with writer_in(tmp_path) as writer:
        file, digest = writer.capture("r000-idle-u1", capture_of(np.random.default_rng(10))[1], purpose="idle", round=0)
        writer.round_ends(0, t=Instant(0, 0.0))
        writer.log("done")
        writer.end("limit", muted=True, at_rest=True, t=Instant(1, 0.0))
    folder = tmp_path / NAME
    assert digest == hashlib.sha512((folder / file).read_bytes()).hexdigest()
    done = subprocess.run(["sha512sum", "-c", "SHA512SUMS"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    listed = {line.split("  ")[1] for line in (folder / "SHA512SUMS").read_text().splitlines()}
    assert {file, "events.jsonl", "run.json", "captures/r000.sigmf-collection", "timing.jsonl"} <= listed
