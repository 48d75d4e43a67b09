"""Messages: strict, versioned, lossless; whatever is not one of ours is told so and nothing else happens."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hil import device
from hil.clock import Instant
from hil.errors import DeviceError, HilError, InputError, LinkError, SafeState
from hil.link import control
from hil.link import messages as m
from hil.records import sigmf

CAN = device.Capability(
    "pluto", "1044", 1, 1, (70e6, 6e9), (0.5e6, 61.44e6), (0.0, 71.0), 1.0, (0.0, 89.75), 0.25, 12, 7.0, 0.0, firmware="0.38"
)
POSITION = device.Position({"a": 0.1, "b": 0.2}, {"a": 1e-5, "b": 1e-5}, True, False, Instant(3, 0.25), {"state": "Idle"})
REQUESTS = [
    m.Hello(controller="c"), m.Describe(), m.Configure(device="r", setting=device.Setting(3.5e9, 15.36e6, (40.0, 41.0), (12.0,))),
    m.Prepare(version=12, radios={"r": 0}, power_dbm={"r": (-20.0,)}), m.Apply(version=12),
    m.Capture(device="r", samples=153440, timeout_s=5.0, purpose="measure"), m.Mute(why="done", hold=True), m.Halt(),
    m.Move(stage="rail", move=device.Move({"a": 0.1}, 0.1, 0.5), timeout_s=30.0), m.Where(stage="rail"),
    m.Home(stage="rail", timeout_s=60.0),
    m.Lease(sequence=3, valid_s=0.1), m.Clear(), m.Status(), m.Bye(),
]  # fmt: skip
REPLIES = [
    m.Described(node="n", state=m.State(state="ready"),
    lease_s=0.1, radios={"r": CAN}, settings={"r": None}, stages={"s": {"a": (0.0, 0.3)}}),
    m.Configured(setting=device.Setting(3.5e9, 15.36e6)), m.Prepared(version=1, power_dbm={"r": (-20.0, -21.0)}), m.Applied(version=1),
    m.Positioned(position=POSITION), m.Done(), m.State(state="safe", why="lease", version=None, radiating=("r",), executed=4),
    m.Failed(kind="device", id="power-cap", what="too much"),
]  # fmt: skip


def through(frames: list) -> list[bytes]:
    """As the wire carries them."""
    return [bytes(frame) for frame in frames]


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda r: type(r).__name__)
def test_request_arrives_as_it_was_sent(request_):
    wave = (np.arange(12, dtype=np.float32).reshape(2, 6) + 0.5j).astype(np.complex64)
    frames = through(m.encode_request(request_, [wave], session="s", id=7, deadline_s=2.0))
    head = m.decode_request_head(frames)
    body, arrays = m.decode_request_body(head, frames)
    assert (head.session, head.id, head.deadline_s) == ("s", 7, 2.0)
    assert body == request_
    assert arrays[0].dtype == np.complex64 and np.array_equal(arrays[0], wave)
    assert not arrays[0].flags.writeable


@pytest.mark.parametrize("reply", REPLIES, ids=lambda r: type(r).__name__)
def test_reply_arrives_as_it_was_sent(reply):
    frames = through(m.encode_reply(reply, id=9, node="n", at=Instant(5, 0.125)))
    head, body, arrays = m.decode_reply(frames)
    assert (head.id, head.node, head.at) == (9, "n", (5, 0.125))
    assert body == reply and arrays == []


@pytest.mark.parametrize(("full_scale", "bytes_per_sample"), [(2048, 4), (32768, 4), (2000, 4)])
def test_capture_of_codes_travels_as_int16_and_comes_back_bit_for_bit(full_scale, bytes_per_sample):
    codes = np.random.default_rng(1).integers(-min(full_scale, 32767), min(full_scale, 32767), (3, 500, 2))
    samples = (codes.astype(np.float32) / np.float32(full_scale)).view(np.complex64)[..., 0]
    capture = device.Capture(samples, 15.36e6, 3.5e9, (40.0,) * 3, None, 4, device.Loss.SOME, Instant(1, 0.5), full_scale, 0.01, "u1")
    frames = through(m.encode_reply(m.Captured.of(capture), [capture.samples], id=1, node="n", at=(0, 0.0)))
    assert len(frames[1]) == samples.size * bytes_per_sample
    _, body, arrays = m.decode_reply(frames)
    back = body.capture(arrays[0])
    assert back.samples.tobytes() == samples.tobytes()
    for name in m.Captured.__struct_fields__:
        assert getattr(back, name) == getattr(capture, name)


def test_capture_that_is_not_of_codes_travels_unrounded():
    samples = np.random.default_rng(2).normal(size=(2, 64)).astype(np.float32).view(np.complex64)
    for array in (samples, np.full((1, 4), 40.0 + 0j, np.complex64)):
        frames = through(
            m.encode_reply(m.Captured.of(device.Capture.of(array, rate=1e6, carrier=1e9)), [array], id=1, node="n", at=(0, 0.0))
        )
        assert m.decode_reply(frames)[2][0].tobytes() == array.tobytes()


def test_codes_travel_as_the_converter_left_them_and_are_recorded_so():
    values = np.random.default_rng(3).integers(-2048, 2048, (200, 3, 2)).astype(np.int16)
    head = m.Captured(device="u1", sample_rate_hz=1e6, carrier_hz=1e9)
    frames = through(m.encode_reply(head, [values], id=1, node="n", at=(0, 0.0)))
    assert frames[1] == values.tobytes()
    _, body, arrays = m.decode_reply(frames)
    back = body.capture(arrays[0])
    assert np.array_equal(sigmf.codes(back), values) and back.codes is not None
    assert np.array_equal(back.samples, (values[..., 0] + 1j * values[..., 1]).T / 2048)


@pytest.mark.parametrize("array", [np.zeros((4, 5), np.int16), np.zeros((4, 2, 3), np.int16)], ids=lambda a: str(a.shape))
def test_a_capture_with_other_axes_is_told_where_it_arrives(array):
    frames = through(m.encode_reply(m.Captured(device="u1", sample_rate_hz=1e6, carrier_hz=1e9), [array], id=1, node="n", at=(0, 0.0)))
    with pytest.raises(LinkError, match="other axes"):
        m.decode_reply(frames, "n")


def test_numpy_numbers_travel_as_numbers():
    move = m.Move(stage="rail", move=device.Move({"a": np.float64(0.25)}, np.float64(0.1), 0.5), timeout_s=np.float64(3.0))
    frames = through(m.encode_request(move, session="s", id=1, deadline_s=1.0))
    assert m.decode_request_body(m.decode_request_head(frames), frames)[0].move.targets["a"] == 0.25


@pytest.mark.parametrize("kind", [InputError, DeviceError, LinkError, SafeState])
def test_an_error_is_rebuilt_word_for_word(kind):
    error = kind("some-id", "what went wrong", found="1.0 dBm", allowed="0.0 dBm", fix="less", note="nothing was sent")
    error.where = "ap1"
    back = control.error_of(control.failure(error))
    assert type(back) is kind and back.exit_code == error.exit_code
    assert back.message == error.message and str(back) == back.message


def test_another_protocol_version_is_told_at_the_first_word():
    frames = through(m.encode_request(m.Status(), session="s", id=1, deadline_s=1.0))
    alien = [control.first_word(control.PROTOCOL + 1) + b"\xc1 nothing that version 1 could decode"]
    assert m.decode_request_head(frames).id == 1
    for decode in (m.decode_request_head, m.decode_reply):
        with pytest.raises(LinkError) as caught:
            decode(alien)
        assert caught.value.id == "protocol-mismatch"
        assert caught.value.found == f"version {control.PROTOCOL + 1}" and caught.value.allowed == f"version {control.PROTOCOL}"


def _request(**changes) -> list[bytes]:
    """A well-formed request of which one part of the header or body is replaced."""
    body = {"type": "capture", "device": "r", "samples": 10, "timeout_s": 1.0} | changes.pop("body", {})
    head = {"session": "s", "id": 1, "deadline_s": 1.0, "arrays": [], "body": body} | changes
    return [control.first_word() + msgspec.msgpack.encode(head)]


@pytest.mark.parametrize(
    "frames",
    [
        [b""], [b"hil"], [b"GET / HTTP/1.1"], [control.first_word()], [control.first_word() + b"\xff" * 100],
        [control.first_word() + b"\x00" * (control.MOST_HEADER + 1)], [control.first_word()] * (control.MOST_PARTS + 1), [],
        _request(id=-1), _request(id="1"), _request(deadline_s=0.0), _request(deadline_s=math.nan), _request(deadline_s=math.inf),
        _request(session="s" * 65), _request(surplus=1), _request(arrays=[["<f8", [2]]]), _request(arrays=[["<c8", [1, 1, 1, 1]]]),
        _request(arrays=[["<c8", [-1, 2]]]), _request(arrays=[["<c8", [2, 2]]]),
        _request(body={"type": "format-disk"}), _request(body={"samples": 0}), _request(body={"samples": 1.5}),
        _request(body={"samples": True}),
        _request(body={"timeout_s": math.nan}), _request(body={"surplus": 1}), _request(body={"device": 3}),
        _request(arrays=[["<c8", [1, 2]]]) + [b"short"], _request(arrays=[["<c8", [1 << 28, 1 << 28, 1 << 28]]]) + [b"short"],
        _request() + [b"surplus"],
    ],
)  # fmt: skip
def test_what_is_not_a_request_is_refused(frames):
    with pytest.raises(LinkError) as caught:
        m.decode_request_body(m.decode_request_head(frames), frames)
    assert caught.value.id == "bad-message"


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=60), max_size=4), st.booleans(), st.randoms(use_true_random=False))
def test_no_bytes_do_more_than_be_refused(frames, ours, random):
    if ours:  # a true message with some bytes changed
        frame = bytearray(_request(arrays=[["<c8", [1, 2]]])[0])
        for _ in range(random.randint(1, 4)):
            frame[random.randrange(4, len(frame))] = random.randrange(256)
        frames = [bytes(frame), b"\x00" * 16]
    for decode in (lambda: m.decode_request_body(m.decode_request_head(frames), frames), lambda: m.decode_reply(frames)):
        try:
            decode()
        except HilError as error:
            assert error.id in ("bad-message", "protocol-mismatch")


def test_nan_in_a_position_or_setting_survives_to_be_refused_by_the_envelope():
    frames = through(
        m.encode_request(m.Move(stage="s", move=device.Move({"a": math.nan}, 0.1, 0.5), timeout_s=1.0), session="s", id=1, deadline_s=1.0)
    )
    assert math.isnan(m.decode_request_body(m.decode_request_head(frames), frames)[0].move.targets["a"])
