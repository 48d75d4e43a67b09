"""The tasks of `hil sweep` and `hil design`: one trial, or one design, of a bench that travels as the text of its files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from hil.errors import Infeasible
from hil.tasks import Parameters


def texts(inputs: Mapping[str, bytes]) -> dict[str, str]:
    """Files of a bench, as JSON can hold them."""
    return {name: content.decode() for name, content in inputs.items()}


def bench_of(files: Mapping[str, str], changes: Mapping[str, Any], folder: Path) -> Any:
    """The bench again, with some keys changed."""
    from hil import bench

    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    loaded = bench.load(folder / "scenario.toml", folder / "testbed.toml")
    return loaded.replace(changes) if changes else loaded


def trial(parameters: Parameters, seed: np.random.SeedSequence) -> dict[str, Any]:
    """A whole trial, nothing of it kept but its rows. Its randomness is the trial's own seed, so that `hil run --seed` repeats it.

    parameters: `bench` (files by name), `changes`, `designer`, `seed`, `depth`. The rows are those of results.csv.
    """
    import hil
    from hil.records import read

    with TemporaryDirectory(prefix="hil-sweep-") as folder:
        changes = {**parameters["changes"], "design.designer": parameters["designer"]}
        bench = bench_of(parameters["bench"], changes, Path(folder, "bench"))
        with hil.open(bench, depth=parameters["depth"], seed=parameters["seed"], runs=Path(folder, "runs")) as lab:
            lab.run()
            infeasible = lab.trial.infeasible
        run = read(lab.folder)
        table = {name: column.tolist() for name, column in run.table().items()}
        rows = [dict(zip(table, values)) for values in zip(*table.values())]
        return {
            "rows": [{name: _finite(value) for name, value in row.items()} for row in rows],
            "ended": run.ended,
            "infeasible": infeasible is not None,
            "achievable": None if infeasible is None else infeasible.achievable,
        }


def design(parameters: Parameters, seed: np.random.SeedSequence) -> dict[str, Any]:
    """One design on sounded channels and the adversary's verdict. parameters: `bench`, `changes`, `designer`, `seed`."""
    import hil

    with TemporaryDirectory(prefix="hil-design-") as folder:
        bench = bench_of(parameters["bench"], parameters["changes"], Path(folder))
        try:
            made = hil.design(bench, parameters["designer"], seed=parameters["seed"])
        except Infeasible as error:
            return {"infeasible": True, "achievable": error.achievable, "unit": error.unit}
        verdict = made.verdict
        return {
            "infeasible": False, "unit": made.design.unit, "promised": made.promised, "predicted": made.predicted, "bound": made.bound,
            "worst": float(verdict.worst_db), "kept": bool(verdict.passed), "took_s": made.took_s,
        }  # fmt: skip


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not np.isfinite(value) else value
