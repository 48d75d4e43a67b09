"""An engine by the name it has on the command line."""

from __future__ import annotations

from hil.errors import InputError
from hil.tasks.local import LocalProcesses
from hil.tasks.running import Engine


def engine(name: str = "local", jobs: int | None = None) -> Engine:
    """`local`: processes of this machine; `dask://HOST:PORT`: the workers of a dask scheduler. jobs: tasks at a time, at most."""
    if name == "local":
        return LocalProcesses(jobs)
    if name.startswith("dask://"):
        from hil.tasks.cluster import Dask

        return Dask(name, jobs=jobs)
    raise InputError("no-engine", f"no engine `{name}`", key="--engine", found=name, allowed="local, dask://HOST:PORT")
