"""The report of a sweep: medians and bands over seeds, a curve per designer, the bound apart, every trial once in the ECDF."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hil.report import curves, swept
from hil.report.swept import Trial


def run(**over: list[Any]) -> Any:
    return SimpleNamespace(study={"over": over})


def some(points: list[tuple[Any, ...]], designers: tuple[str, ...] = ("robust", "nominal"), seeds: int = 5) -> list[Trial]:
    """Measured: 10 dB and the seed, one more for every point; nominal 2 dB more, with its promise broken."""
    return [
        Trial(point, designer, seed, 9.0 + place, 10.0 + place, 10.0 + seed + place + 2.0 * (designer == "nominal"), 20.0 + place,
              designer == "robust")
        for place, point in enumerate(points) for designer in designers for seed in range(seeds)
    ]  # fmt: skip


def test_curves_are_medians_with_the_band_of_the_seeds() -> None:
    found = some([(0.5,), (0.9,)])
    objective, ecdf = swept.drawing(run(confidence=[0.5, 0.9]), found).panels
    robust = objective.curves[0]
    assert (robust.label, robust.hue, list(robust.x), list(robust.y)) == ("robust", "robust", [0.5, 0.9], [12.0, 13.0])
    assert list(robust.low or ()) == [np.percentile(range(10, 15), 5), np.percentile(range(11, 16), 5)]
    bound = [curve for curve in objective.curves if curve.hue == "bound"]
    assert bound[0].line == "dashed" and list(bound[0].y) == [20.0, 21.0]
    assert len(ecdf.curves) == 4 and all(curve.stepped and curve.y[-1] == 1.0 and len(curve.x) == 6 for curve in ecdf.curves)


def test_what_is_no_number_stands_side_by_side() -> None:
    objective, _ = swept.drawing(run(depth=["process", "device"]), some([("process",), ("device",)])).panels
    assert objective.ticks == {0.0: "process", 1.0: "device"} and list(objective.curves[0].x) == [0.0, 1.0]


def test_many_values_are_taken_together_in_the_ecdf() -> None:
    points = [(float(value),) for value in range(5)]
    _, ecdf = swept.drawing(run(power=[value for (value,) in points]), some(points)).panels
    assert [curve.label for curve in ecdf.curves] == ["robust", "nominal"] and len(ecdf.curves[0].x) == 26


def test_other_keys_make_curves_of_their_own() -> None:
    found = some([(value, kind) for value in (1, 2) for kind in ("a", "b")], ("robust",))
    objective, _ = swept.drawing(run(**{"rounds.max": [1, 2], "x.kind": ["a", "b"]}), found).panels
    labels = [curve.label for curve in objective.curves if curve.hue != "bound"]
    assert labels == ["robust, kind a", "robust, kind b"] and len({curve.hue for curve in objective.curves}) == 3


def test_a_table_counts_promises_and_what_could_be_had() -> None:
    missing = Trial((0.5,), "robust", 9, math.nan, math.nan, math.nan, math.nan, None)
    made = swept.table(run(confidence=[0.5]), [*some([(0.5,)]), missing])
    rows = [dict(zip(made.head, row)) for row in made.rows]
    assert [row["kept"] for row in rows] == ["5/5", "0/5"] and [row["feasible"] for row in rows] == ["5/6", "5/5"]
    assert [row["measured"] for row in rows] == ["12.0", "14.0"] and rows[0]["promised"] == "9.0"


def test_two_values_are_compared_seed_by_seed() -> None:
    found = some([("process",), ("device",)], ("robust",))
    caption = swept.table(run(depth=["process", "device"]), found).caption
    assert "device less process: +1.00 dB in the median of 5 pairs, +1.00 ... +1.00." in caption  # the seeds' own spread is 1.6 dB
    assert "less" not in swept.table(run(a=[1, 2, 3]), some([(1,), (2,), (3,)])).caption


@pytest.mark.parametrize("points", [[()], [(1,)], [(1, "a"), (2, "a"), (1, "b"), (2, "b")]])
def test_every_sweep_can_be_drawn(points: list[tuple[Any, ...]]) -> None:
    over = {name: [point[place] for point in points] for place, name in enumerate(("one.key", "other.key")[: len(points[0])])}
    assert curves.svg(swept.drawing(run(**over), some(points)), "study").startswith(b"<?xml")
