"""Random numbers that depend on what they are for, never on the order in which they are asked."""

from __future__ import annotations

import hashlib

import numpy as np


def key(*parts: object) -> int:
    """64 bits from (seed, device, purpose, index, ...): the same parts give the same bits on every machine."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def generator(*parts: object) -> np.random.Generator:
    """A generator of its own for one purpose."""
    return np.random.default_rng(key(*parts))


def uniform(low: float, high: float, *parts: object) -> float:
    """One draw in [low, high) for one purpose."""
    return low + (high - low) * (key(*parts) >> 11) * 2.0**-53
