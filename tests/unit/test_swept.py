"""--over: values as TOML would have them, grids in order, refusals that say how."""

from __future__ import annotations

from typing import Any

import pytest

from hil.commands import swept
from hil.errors import InputError


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("rounds.max=2,4", [2, 4]),
        ("a=1,2.5,-3e-2", [1, 2.5, -0.03]),
        ("depth=process,device", ["process", "device"]),
        ("signal.on=true,false", [True, False]),
        ("a=1:5:5", [1, 2, 3, 4, 5]),
        ("a=0:1:5", [0.0, 0.25, 0.5, 0.75, 1.0]),
        ("a=3:-3:3", [3, 0, -3]),
        ("a=0.5:0.95:2", [0.5, 0.95]),
        ("a=nan", ["nan"]),
    ],
)
def test_values(text: str, values: list[Any]) -> None:
    (found,) = swept.parsed([text]).values()
    assert found == values and [type(one) for one in found] == [type(one) for one in values]


def test_a_grid_has_every_combination_the_last_key_fastest() -> None:
    over = swept.parsed(["a=1,2", "b=x,y,z"])
    assert [(point["a"], point["b"]) for point in swept.grid(over)] == [(a, b) for a in (1, 2) for b in "xyz"]
    assert swept.grid({}) == [{}]


@pytest.mark.parametrize("text", ["a", "=1", "a=", "a=1:2:x", "a=1:2:1", "a=x:2:3", "a=1:2:0.5", "a=1,1", "a=true:3:2"])
def test_what_is_no_sweep_is_refused(text: str) -> None:
    with pytest.raises(InputError) as caught:
        swept.parsed([text])
    assert caught.value.id == "usage" and caught.value.key.startswith("--over")


def test_a_key_is_swept_once() -> None:
    with pytest.raises(InputError, match="swept twice"):
        swept.parsed(["a=1", "a=2"])


def test_one_and_true_are_two_values() -> None:
    assert swept.parsed(["a=1,true"]) == {"a": [1, True]}
