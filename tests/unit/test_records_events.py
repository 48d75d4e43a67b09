"""Events: exact, canonical, checked, and free of everything that differs between two runs of one seed."""

import json
from enum import StrEnum
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil.clock import Instant
from hil.records import EVENTS, events

T = Instant(12, 0.25)


def line_of(event="warned", **fields):
    return events.encode(3, T, event, 2, fields)[0]


def test_line_is_canonical_whatever_the_order_of_the_fields():
    one = line_of("measured", user="u1", sinr_db=17.5, target={"error": 0.5, "crlb": 0.4})
    other = line_of("measured", target={"crlb": 0.4, "error": 0.5}, sinr_db=17.5, user="u1")
    assert one == other
    assert one.startswith(
        b'{"n":3,"t":12.25,"event":"measured","round":2,"sinr_db":17.5,"target":{"crlb":0.4,"error":0.5},"user":"u1","crc":'
    )


def test_crc_is_of_the_line_without_it():
    line = line_of(id="x", message="text")
    whole = json.loads(line)
    crc = whole.pop("crc")
    assert crc32(json.dumps(whole, separators=(",", ":")).encode()) == crc
    assert events.decode(line) == {**whole, "crc": crc}


@pytest.mark.parametrize("cut", [1, 2, 5, 20, 40])
def test_a_line_cut_short_is_not_an_event(cut):
    assert events.decode(line_of(id="clipped", message="gain too high")[:-cut] + b"\n") is None or cut == 1


def test_one_changed_digit_is_found():
    line = line_of("measured", sinr_db=17.5)
    assert events.decode(line) is not None
    assert events.decode(line.replace(b"17.5", b"17.6")) is None


def test_an_event_without_fields_has_a_valid_crc():
    line, made = events.encode(0, T, "warned", None, {})
    assert events.decode(line) == made and made["round"] is None


def test_numpy_values_become_plain_numbers_with_all_their_digits():
    value = np.float64(0.1) + np.float64(0.2)
    made = events.decode(
        line_of("estimated", value=np.array([value]), std=np.float32(0.5), bound_std=np.int64(3), above_threshold=np.bool_(True))
    )
    assert made["value"] == [float(value)] and made["std"] == 0.5 and made["bound_std"] == 3 and made["above_threshold"] is True


def test_complex_numbers_are_pairs():
    assert events.decode(line_of("estimated", value=np.array([[1 + 2j]])))["value"] == [[[1.0, 2.0]]]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), np.float64("-inf")])
def test_a_number_that_is_not_finite_becomes_null(value):
    assert events.decode(line_of("estimated", value=value, std=[value, 1.0]))["std"] == [None, 1.0]


def test_enumerations_are_their_word():
    class Loss(StrEnum):
        SOME = "some"

    assert events.decode(line_of("captured", loss=Loss.SOME))["loss"] == "some"


@pytest.mark.parametrize("value", [Path("/tmp/x"), object(), b"bytes", {1: 2}])
def test_what_json_cannot_hold_is_refused(value):
    with pytest.raises(TypeError, match="estimated"):
        line_of("estimated", value=value)


def test_the_run_name_never_reaches_the_stream():
    line, _ = events.encode(
        0, T, "failed", 1, {"fix": "hil run --resume 20260314-152033-quickstart-k7qd"}, "20260314-152033-quickstart-k7qd"
    )
    assert events.decode(line)["fix"] == "hil run --resume RUN"


def test_unknown_events_and_fields_are_refused_by_name():
    with pytest.raises(ValueError, match="no such event: 'measurd'"):
        line_of("measurd")
    with pytest.raises(ValueError, match="'sinr'"):
        line_of("measured", sinr=1.0)


@given(st.integers(-(10**9), 10**9), st.floats(0.0, 1.0, exclude_max=True))
def test_an_instant_survives_to_a_femtosecond(whole, fraction):
    t = Instant(whole, fraction)
    line, _ = events.encode(0, t, "warned", None, {})
    assert abs(events.instant_of(line).since(t)) <= 1e-15
    assert json.loads(line)["t"] == pytest.approx(t.seconds, abs=1e-6)


def test_eighteen_digits_of_time():
    assert events.time_text(Instant(123, 0.123456789012345)) == "123.123456789012345"
    assert events.time_text(Instant(4, 0.9999999999999999)) == "5.0"
    assert events.time_text(Instant(-1, 0.75)) == "-0.25"


def test_every_field_has_a_meaning():
    for event, fields in EVENTS.items():
        for name, (_unit, meaning) in fields.items():
            assert meaning and "|" not in meaning, (event, name)
            assert not set(fields) & {"n", "t", "event", "round", "crc"}
