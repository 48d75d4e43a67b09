"""Random benches around the quickstart: where access points, users and the target stand differs, and with the seed everything else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import hil
from hil.bench import Bench

QUICKSTART = Path(__file__).resolve().parent.parent / "examples" / "quickstart"
ROOM = ((0.0, 30.0), (-10.0, 10.0))
CLEAR = 6.0  # metres between users, access points and the walking target


def quickstart(**changes: Any) -> Bench:
    """The quickstart bench with keys changed (double underscores for dots)."""
    bench = hil.load(QUICKSTART)
    return bench.replace({key.replace("__", "."): value for key, value in changes.items()}) if changes else bench


def severity(times: float) -> dict[str, Any]:
    """Changes that make the emulated devices `times` as bad, the clocks that the quickstart writes out among them."""
    return {
        "emulated__severity": times, "emulated__oscillator__spread_ppm": 3.0 * times, "emulated__oscillator__clock_offset_ns": 300.0 * times,
    }  # fmt: skip


def random_bench(rng: np.random.Generator, **changes: Any) -> Bench:
    """Everybody at a random place of the room, nobody closer than six metres to another, the target ten."""
    while True:
        floor = [tuple(rng.uniform(low, high) for low, high in ROOM) for _ in range(6)]
        apart = min(np.hypot(a[0] - b[0], a[1] - b[1]) for i, a in enumerate(floor) for b in floor[:i])
        target = min(np.hypot(floor[5][0] - p[0], floor[5][1] - p[1]) for p in floor[:4])
        if apart >= CLEAR and target >= 10.0 and 2.6 <= floor[5][0] <= 27.4 and abs(floor[5][1]) <= 7.4:
            break
    heights = (2.0, 2.0, 1.5, 1.5, 2.0, 1.0)
    ap1, ap2, u1, u2, sense, walker = [[round(float(x), 3), round(float(y), 3), z] for (x, y), z in zip(floor, heights)]
    return quickstart(
        array__ap1__origin_m=ap1, array__ap2__origin_m=ap2, array__sense1__origin_m=sense, user__u1__position_m=u1, user__u2__position_m=u2,
        target__position_m=walker, target__position_std_m=0.5, **changes,
    )  # fmt: skip
