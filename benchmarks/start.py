"""What a newcomer waits for: `python -m benchmarks.start [--quick]`.

The dry run as `make dry-run` does it after installation, report included, with the compiled kernels of the emulator thrown away first;
and `hil --help`, beside an interpreter that only imports the library it is written with. Whole processes, wall seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.scenes import QUICKSTART

BARS = {"dry run, wall s": 60.0, "hil --help, wall s": 0.3}


def seconds(command: list[str], environment: dict[str, str] | None = None) -> float:
    """Wall time of a whole process that must succeed."""
    begun = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, **(environment or {})})
    return time.monotonic() - begun


def least(command: list[str], times: int) -> float:
    """The quietest of several runs: what the command needs when nothing else runs."""
    return min(seconds(command) for _ in range(times))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round and compiled kernels kept: under 50 s, not to be held against the bar")
    asked = parser.parse_args()
    hil = str(Path(sys.executable).with_name("hil"))
    results = []

    def say(what: str, value: float, peer: float | None, note: str, counts: bool = True) -> None:
        bar = BARS.get(what) if counts else None
        results.append({"what": what, "value": round(value, 3), "bar": bar, "ok": bar is None or value <= bar})
        ratio = "" if peer is None else f"{peer:8.2f} {value / peer:8.2f}"
        print(f"{what:45} {value:8.2f} {ratio:17} {'' if bar is None else f'bar {bar}'}   {note}")

    print(f"{'':45} {'ours':>8} {'peer':>8} {'ratio':>8}")
    help_s, peer = least([hil, "--help"], 5), least([sys.executable, "-c", "import typer; typer.Typer()"], 5)
    say("hil --help, wall s", help_s, peer, "peer: python importing typer")
    with tempfile.TemporaryDirectory() as folder:
        command = [hil, "run", str(QUICKSTART), "--runs", folder]
        if asked.quick:
            say("one round, wall s", seconds([*command, "--rounds", "1"]), None, "kernels compiled before", counts=False)
        else:
            for _ in range(2):
                cold = seconds(command, {"NUMBA_CACHE_DIR": tempfile.mkdtemp(dir=folder)})
                say("dry run, wall s", cold, None, "kernels compiled within, report made")
    print(json.dumps({"benchmark": "start", "results": results}))


if __name__ == "__main__":
    main()
