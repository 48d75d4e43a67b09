"""Lines of keys: every form TOML has, and against a second way of finding them."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil.toml_lines import Lines

EVERYTHING = '''# a comment = with "signs" [and] {more}
title = "x # not a comment"
dotted.key.deep = 1
"quoted key" = 2
'literal.key' = 3

[table]          # comment
text = """
several [lines]
key = "not one"
"""
literal = \'\'\'
# nor a comment
\'\'\'
list = [ 1, 2,  # two
  3,
  [ "a",
    "]" ] ]
when = 1979-05-27 07:32:00
inline = { a = 1, b = { c = "}" }, d = [ { e = 1 },
  { e = 2 } ] }

[[row]]
name = "first"
[row.sub]
deep = 1
[[row.item]]
x = 1
[[row.item]]
x = 2
[[row]]
name = "second"
[[row.item]]
x = 3
[far.away]
end = "\\"quoted\\""
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("title",), 2),
        (("dotted",), 3),
        (("dotted", "key", "deep"), 3),
        (("quoted key",), 4),
        (("literal.key",), 5),
        (("table",), 7),
        (("table", "text"), 8),
        (("table", "literal"), 12),
        (("table", "list"), 15),
        (("table", "list", 1), 15),
        (("table", "list", 2), 16),
        (("table", "list", 3), 17),
        (("table", "list", 3, 1), 18),
        (("table", "when"), 19),
        (("table", "inline", "b", "c"), 20),
        (("table", "inline", "d", 0, "e"), 20),
        (("table", "inline", "d", 1, "e"), 21),
        (("row",), 23),
        (("row", 0), 23),
        (("row", 0, "name"), 24),
        (("row", 0, "sub", "deep"), 26),
        (("row", 0, "item", 0, "x"), 28),
        (("row", 0, "item", 1, "x"), 30),
        (("row", 1), 31),
        (("row", 1, "name"), 32),
        (("row", 1, "item", 0, "x"), 34),
        (("far",), 35),
        (("far", "away", "end"), 36),
    ],
)
def test_line_of_each_form(path: tuple[str | int, ...], line: int) -> None:
    assert Lines(EVERYTHING).of(path) == line


def every_path(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(deeper for key, item in items for deeper in every_path(item, (*path, key)))]


def test_every_value_of_the_document_has_a_line() -> None:
    lines = Lines(EVERYTHING)
    assert [path for path in every_path(tomllib.loads(EVERYTHING)) if path not in lines] == []


def test_what_is_not_there_has_the_line_of_what_is_around_it() -> None:
    assert Lines(EVERYTHING).of(("row", 1, "missing", "deep")) == 31
    assert Lines(EVERYTHING).of(("nowhere",)) == 1


KEYS = st.text(st.sampled_from("abc-_ .#[]{}\"'=é\n"), max_size=4)
STRINGS = st.text(st.sampled_from("ab #=[]{},.\"'\\\té"), max_size=6)
VALUES = st.recursive(
    st.one_of(st.integers(-5, 5), st.booleans(), st.just(1.5e-3), STRINGS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=6,
)


def quoted(text: str) -> str:
    escaped = "".join(f"\\u{ord(char):04x}" if char in "\n\t" else f"\\{char}" if char in '"\\' else char for char in text)
    return f'"{escaped}"'


def written(value: Any, lines: dict[tuple[str | int, ...], int], path: tuple[str | int, ...], at: int) -> tuple[str, int]:
    """A value as TOML with a line end before each list item, noting where each thing begins: a writer as second method."""
    if isinstance(value, bool):
        return str(value).lower(), at
    if isinstance(value, (int, float)):
        return repr(value), at
    if isinstance(value, str):
        return quoted(value), at
    if isinstance(value, list):
        text = "["
        for index, item in enumerate(value):
            at += 1
            lines[(*path, index)] = at
            inner, at = written(item, lines, (*path, index), at)
            text += f"\n{inner},"
        return text + "]", at
    parts = []
    for key, item in value.items():
        lines[(*path, key)] = at
        inner, at = written(item, lines, (*path, key), at)
        parts.append(f"{quoted(key)} = {inner}")
    return "{" + ", ".join(parts) + "}", at


@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_agrees_with_a_writer_that_counts(document: dict[str, Any]) -> None:
    lines: dict[tuple[str | int, ...], int] = {}
    text, at = "", 1
    for key, value in document.items():
        lines[(key,)] = at
        inner, at = written(value, lines, (key,), at)
        text += f"{quoted(key)} = {inner} # end\n"
        at += 1
    assert tomllib.loads(text) == document
    found = Lines(text)
    assert {path: found.of(path) for path in lines} == lines
