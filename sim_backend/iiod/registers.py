"""`direct_reg_access`: write `ADDRESS VALUE`, or write an address and read its value. The converter's status is sticky."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sim_backend.iiod.values import EINVAL, Refused, Value, integer

STATUS = 0x80000088
OVERFLOW, UNDERFLOW = 4, 1
Live = tuple[Callable[[], int], Callable[[int], None]]


def registers(fixed: Mapping[int, int], live: Mapping[int, Live] | None = None) -> Value:
    """fixed: what registers hold at first. live: (read, write) of those that the hardware changes. The last address is remembered."""
    kept, acting, at = dict(fixed), live or {}, [0]

    def write(text: str) -> None:
        words = text.split()
        if len(words) not in (1, 2):
            raise Refused(EINVAL)
        numbers = [integer(word) for word in words]
        if not all(0 <= number < 1 << 32 for number in numbers):
            raise Refused(EINVAL)
        at[0] = numbers[0]
        if len(numbers) == 2 and at[0] in acting:
            acting[at[0]][1](numbers[1])
        elif len(numbers) == 2:
            kept[at[0]] = numbers[1]

    def read() -> str:
        return hex(acting[at[0]][0]() if at[0] in acting else kept.get(at[0], 0))

    return Value(read, write)


def sticky(bit: int, risen: Callable[[], bool], clear: Callable[[], None]) -> dict[int, Live]:
    """The status register: the bit stays until it is written back."""

    def write(value: int) -> None:
        if value & bit:
            clear()

    return {STATUS: (lambda: bit if risen() else 0, write)}
