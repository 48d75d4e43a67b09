"""Tables in HTML."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

_LONG = 26  # letters: a longer cell may break


def table(head: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]], caption: str = "", left: Collection[int] = ()) -> str:
    """rows: (class of the row, cells). Cells and heads are HTML already; columns in `left` hold text, the others numbers."""
    top = f"<thead><tr>{_cells('th', head, left)}</tr></thead>" if any(head) else ""
    body = "\n".join(f"<tr{_classes(kind)}>{_cells('td', cells, left)}</tr>" for kind, cells in rows)
    said = f"<caption>{caption}</caption>" if caption else ""
    return f"<table>{said}{top}<tbody>{body}</tbody></table>"


def _cells(tag: str, values: Sequence[str], left: Collection[int]) -> str:
    parts = []
    for index, value in enumerate(values):
        long = len(re.sub("<[^>]*>", "", value)) > _LONG
        parts.append(f"<{tag}{_classes(('t ' if index in left else '') + ('w' if long else ''))}>{value}</{tag}>")
    return "".join(parts)


def _classes(names: str) -> str:
    return f' class="{names.strip()}"' if names.strip() else ""
