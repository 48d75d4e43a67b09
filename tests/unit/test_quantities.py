"""Units in keys."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil import quantities


@pytest.mark.parametrize(
    ("key", "stem", "suffix"),
    [
        ("carrier_hz", "carrier", "hz"),
        ("speed_mm_s", "speed", "mm_s"),
        ("acceleration_mm_s2", "acceleration", "mm_s2"),
        ("min_spacing_wavelengths", "min_spacing", "wavelengths"),
        ("elements", "elements", ""),
        ("s", "s", ""),
        ("mm_s", "mm", "s"),
    ],
)
def test_stem_and_suffix(key: str, stem: str, suffix: str) -> None:
    assert quantities.split(key) == (stem, suffix)


@pytest.mark.parametrize(
    ("value", "given_in", "wanted", "result"),
    [
        (3.5, "ghz", "hz", 3.5e9),
        (20.0, "dbm", "w", 0.1),
        (0.1, "w", "dbm", 20.0),
        (30.0, "dbw", "dbm", 60.0),
        (60.0, "mm_min", "mm_s", 1.0),
        (1.0, "ppb", "ppm", 1e-3),
        (180.0, "deg", "rad", math.pi),
    ],
)
def test_conversion(value: float, given_in: str, wanted: str, result: float) -> None:
    assert quantities.converted(value, given_in, wanted) == pytest.approx(result, rel=1e-12)


@pytest.mark.parametrize(("value", "given_in", "wanted"), [(1.0, "hz", "s"), (0.0, "w", "dbm"), (1.0, "", "hz"), (1.0, "wavelengths", "m")])
def test_no_conversion_between_different_quantities(value: float, given_in: str, wanted: str) -> None:
    assert quantities.converted(value, given_in, wanted) is None


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("3.5 GHz", (3.5, "ghz")),
        ("15.36e6", (15.36e6, "")),
        ("-20dBm", (-20.0, "dbm")),
        ("100 mm/s", (100.0, "mm_s")),
        ("fast", None),
        ("3 parsec", None),
    ],
)
def test_quantities_in_text(text: str, result: tuple[float, str] | None) -> None:
    assert quantities.parse(text) == result


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3.5e9, "3.5e9"),
        (15.36e6, "15.36e6"),
        (-20.0, "-20.0"),
        (4, "4"),
        (0.05, "0.05"),
        (2e-9, "2e-9"),
        (0.1 + 0.2, "0.3"),
        (True, "true"),
    ],
)
def test_numbers_as_one_writes_them(value: float, text: str) -> None:
    assert quantities.number(value) == text


@given(st.floats(-1e12, 1e12, allow_nan=False))
def test_a_written_number_is_the_number(value: float) -> None:
    assert float(quantities.number(value)) == pytest.approx(value, rel=1e-11, abs=1e-300)


@pytest.mark.parametrize(
    ("hertz", "text"), [(2.5e9, "2.500 GHz"), (2.4835e9, "2.4835 GHz"), (2.4e9, "2.400 GHz"), (440e6, "440.000 MHz"), (50.0, "50 Hz")]
)
def test_frequencies_for_people(hertz: float, text: str) -> None:
    assert quantities.frequency(hertz) == text
