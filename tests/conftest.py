"""Before workers start: the emulator's kernels are compiled once, by one process.

Helpers, as products and quotients of complex numbers, are compiled with the flags of whoever asks for them first; so all kernels use the same,
`**COMPILE` of `sim_backend.kernels`. Compilers that start side by side from an empty cache still find some inner functions made by each other
and call them instead of taking them in. Either way sums are rounded differently, and a run no longer equals, bit for bit, the run of a process
that compiled alone.
"""

import pytest


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        import sim_backend.world  # noqa: F401
