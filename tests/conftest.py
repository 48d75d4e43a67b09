"""Before workers start: the emulator's kernels are compiled once, by one process.

Compilers that start side by side from an empty cache find some of the inner functions made by each other and call them instead of taking
them in. Sums are rounded differently then, and a run no longer equals, bit for bit, the run of a process that compiled alone.
"""

import pytest


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        import sim_backend.world  # noqa: F401
