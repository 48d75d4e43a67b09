"""The scenario as a value: what its numbers mean in SI, and changed copies."""

from __future__ import annotations

import math
import pickle

import msgspec
import pytest
from bench_files import QUICKSTART, SCENARIO, changed

from hil import scenario
from hil.errors import InputError


@pytest.fixture
def quickstart() -> scenario.Scenario:
    return scenario.load(QUICKSTART)


def test_numbers_in_si(quickstart: scenario.Scenario) -> None:
    ap1 = quickstart.transmitters[0]
    assert quickstart.wavelength == pytest.approx(299792458 / 3.5e9, rel=1e-15)
    assert ap1.travel(quickstart.wavelength) == pytest.approx((-4 * quickstart.wavelength, 4 * quickstart.wavelength), rel=1e-15)
    assert ap1.min_spacing(quickstart.wavelength) == pytest.approx(quickstart.wavelength / 2)
    assert ap1.element_power == pytest.approx(1e-5, rel=1e-12)
    assert quickstart.target is not None and quickstart.target.floor == pytest.approx(10**-4.3, rel=1e-12)
    assert quickstart.signal.band_hz == (3.5e9 - 5.76e6, 3.5e9 + 5.76e6)


def test_roles_keep_the_order_of_the_file(quickstart: scenario.Scenario) -> None:
    assert [array.name for array in quickstart.transmitters] == ["ap1", "ap2"]
    assert [array.name for array in quickstart.sensors] == ["sense1"]
    assert quickstart.sensors[0].element_power == 0.0
    assert quickstart.part("u2").position_m == (11.0, -6.0, 1.5)  # type: ignore[union-attr]
    with pytest.raises(KeyError):
        quickstart.part("u3")


def test_a_place_on_the_rail_is_origin_plus_axis(quickstart: scenario.Scenario) -> None:
    slanted = msgspec.structs.replace(quickstart.array[0], origin_m=(1.0, 2.0, 3.0), axis=(0.6, 0.0, -0.8))
    assert slanted.place(0.5) == pytest.approx((1.3, 2.0, 2.6))
    assert math.dist(slanted.place(-0.1), slanted.place(0.4)) == pytest.approx(0.5)


def test_it_is_frozen(quickstart: scenario.Scenario) -> None:
    with pytest.raises(AttributeError):
        quickstart.rounds.max = 3  # type: ignore[misc]


def test_a_changed_copy_leaves_the_original(quickstart: scenario.Scenario) -> None:
    other = quickstart.replace({"rounds.max": 4, "array.ap1.elements": 3, "design.confidence": 0.9})
    assert (other.rounds.max, other.array[0].elements, other.array[1].elements, other.design.confidence) == (4, 3, 4, 0.9)
    assert (quickstart.rounds.max, quickstart.array[0].elements) == (5, 4)


def test_a_path_without_a_name_means_every_entry(quickstart: scenario.Scenario) -> None:
    assert [array.travel_wavelengths for array in quickstart.replace({"array.travel_wavelengths": 6.0}).array] == [6.0, 6.0, 6.0]


def test_a_changed_copy_is_checked_again(quickstart: scenario.Scenario) -> None:
    with pytest.raises(InputError) as caught:
        quickstart.replace({"array.ap1.elements": 18})
    assert (caught.value.id, caught.value.line, caught.value.key) == ("rail-too-short", 13, "array.ap1.elements")
    with pytest.raises(InputError) as caught:
        quickstart.replace({"rounds.max": 2.5})
    assert caught.value.id == "wrong-type"


@pytest.mark.parametrize("path", ["rounds.mx", "arry.ap1.elements", "array.ap9.elements", "rounds.max.deep", "nothing"])
def test_a_path_that_leads_nowhere_is_refused(quickstart: scenario.Scenario, path: str) -> None:
    with pytest.raises(InputError) as caught:
        quickstart.replace({path: 1})
    assert caught.value.id == "unknown-key" and caught.value.key == path


def test_changing_a_table_the_file_left_out(quickstart: scenario.Scenario) -> None:
    assert quickstart.replace({"design.starts": 2}).design.starts == 2
    assert quickstart.design.starts == 8


def test_where_it_was_read_does_not_make_it_another(quickstart: scenario.Scenario) -> None:
    moved = scenario.parse("# a comment first\n" + SCENARIO, "elsewhere.toml")
    assert moved == quickstart
    assert scenario.parse(changed(SCENARIO, ("max = 5", "max = 9"))) != quickstart


def test_it_survives_pickling_and_says_itself_in_plain_values(quickstart: scenario.Scenario) -> None:
    assert pickle.loads(pickle.dumps(quickstart)) == quickstart
    plain = quickstart.plain()
    assert plain["array"][0]["name"] == "ap1" and "source" not in plain and "normal" not in plain["array"][0]
    assert msgspec.convert(plain, scenario.Scenario, strict=True) == quickstart


def test_whole_numbers_serve_where_decimals_are_wanted() -> None:
    assert scenario.parse(changed(SCENARIO, ("travel_wavelengths = 8.0", "travel_wavelengths = 8"))).array[0].travel_wavelengths == 8.0


def test_the_rail_may_be_exactly_as_long_as_it_must() -> None:
    assert scenario.parse(changed(SCENARIO, ("travel_wavelengths = 8.0", "travel_wavelengths = 1.5"))).array[0].travel_wavelengths == 1.5


@pytest.mark.parametrize("name", ["robust", "learned+robust", "my_module:MyDesigner", "my.package.module:Mine"])
def test_ways_to_name_a_designer(name: str) -> None:
    assert scenario.parse(changed(SCENARIO, ('designer = "robust"', f'designer = "{name}"'))).design.designer == name
