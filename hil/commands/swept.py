"""`--over KEY=A,B,..` and `KEY=LO:HI:N`: what is swept, as values."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from hil.errors import InputError

FLAG = "--over"
_FIX = "KEY=A,B,.. or KEY=LO:HI:N, as --over rounds.max=2,4 or --over design.confidence=0.5:0.95:4"


def parsed(texts: Sequence[str]) -> dict[str, list[Any]]:
    """Key -> its values, in the order given. Numbers and true/false as in TOML, anything else text."""
    over: dict[str, list[Any]] = {}
    for text in texts:
        key, equals, values = text.partition("=")
        if not equals or not key or not values:
            raise InputError("usage", "a key and its values are wanted", key=FLAG, found=text, fix=_FIX)
        if key in over:
            raise InputError("usage", "swept twice", key=f"{FLAG} {key}", found=text, fix="all its values in one --over")
        over[key] = _spread(text, values) if values.count(":") == 2 else [value_of(one) for one in values.split(",")]
        if len({(type(one), one) for one in over[key]}) < len(over[key]):
            raise InputError("usage", "the same value twice", key=f"{FLAG} {key}", found=values)
    return over


def value_of(text: str) -> Any:
    """A number, true, false, or the text itself."""
    text = text.strip()
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            value = kind(text)
        except ValueError:
            continue
        return value if math.isfinite(value) else text
    return text


def _spread(text: str, values: str) -> list[Any]:
    """N values from LO to HI, both among them; whole numbers where both are and every step is."""
    low, high, count = (value_of(one) for one in values.split(":"))
    if any(isinstance(one, (str, bool)) for one in (low, high)) or not isinstance(count, int) or count < 2:
        raise InputError("usage", "two numbers and how many values are wanted", key=FLAG, found=text, allowed="LO:HI:N, N at least 2", fix=_FIX)
    if isinstance(low, int) and isinstance(high, int) and (high - low) % (count - 1) == 0:
        return [low + index * ((high - low) // (count - 1)) for index in range(count)]
    return [low + (high - low) * index / (count - 1) for index in range(count)]


def grid(over: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Every combination; the last key changes fastest."""
    return [dict(zip(over, values)) for values in itertools.product(*over.values())]
