"""Values of attributes as a kernel driver shows them: text with units, ranges, grids, and refusals by error number."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

Rule = Callable[[str], str]

ENOENT, EIO, ENXIO, EBADF, ENOMEM, EACCES, EBUSY, ENODEV, EINVAL, EOPNOTSUPP, ETIMEDOUT = 2, 5, 6, 9, 12, 13, 16, 19, 22, 95, 110


class Refused(Exception):
    """What a driver does not do; `number` is the errno that goes over the wire, negative."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@dataclass(slots=True)
class Value:
    """One file of a driver. read and write raise `Refused`; without one of them it cannot be read or written."""

    read: Callable[[], str] | None = None
    write: Callable[[str], None] | None = None

    def get(self) -> str:
        if self.read is None:
            raise Refused(EACCES)
        return self.read()

    def set(self, text: str) -> None:
        if self.write is None:
            raise Refused(EACCES)
        self.write(text)


def constant(text: str) -> Value:
    return Value(lambda: text)


def refusing(number: int) -> Value:
    """An attribute that a driver lists and cannot serve."""

    def refuse(*_: str) -> str:
        raise Refused(number)

    return Value(refuse)


def held(text: str, rule: Rule, then: Callable[[str], None] | None = None) -> Value:
    """A value that a write replaces: `rule` makes of what was written what is kept, or refuses; `then` is told of it."""
    kept = [text]

    def write(asked: str) -> None:
        became = rule(asked)
        if then is not None:
            then(became)
        kept[0] = became

    return Value(lambda: kept[0], write)


def integer(text: str) -> int:
    """As kstrtoll reads it: decimal, or hexadecimal after 0x."""
    try:
        return int(text.strip(), 0)
    except ValueError:
        raise Refused(EINVAL) from None


def decimal(text: str) -> float:
    """A number, perhaps with a unit behind it."""
    words = text.split()
    try:
        value = float(words[0])
    except (ValueError, IndexError):
        raise Refused(EINVAL) from None
    if not math.isfinite(value):
        raise Refused(EINVAL)
    return value


def within(value: float, least: float, most: float) -> float:
    if not least <= value <= most:
        raise Refused(EINVAL)
    return value


def whole(least: int, most: int) -> Rule:
    return lambda text: str(int(within(integer(text), least, most)))


def ratio(least: float, most: float) -> Rule:
    """A number with six decimals."""
    return lambda text: f"{within(decimal(text), least, most):.6f}"


def choice(*words: str) -> Rule:
    def rule(text: str) -> str:
        if text.strip() not in words:
            raise Refused(EINVAL)
        return text.strip()

    return rule


def flag(text: str) -> str:
    """As kstrtobool reads it."""
    word = text.strip().lower()
    if word[:1] in ("1", "y", "t") or word == "on":
        return "1"
    if word[:1] in ("0", "n", "f") or word == "off":
        return "0"
    raise Refused(EINVAL)


def anything(text: str) -> str:
    return text.strip()


def span(least: float, step: float, most: float, decimals: int = 0) -> str:
    """`[min step max]`."""
    return f"[{least:.{decimals}f} {step:.{decimals}f} {most:.{decimals}f}]"


def decibels(value: float) -> str:
    return f"{value:.6f} dB"
