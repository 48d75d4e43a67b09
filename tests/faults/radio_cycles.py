"""Opens, streams from and closes two radios in threads, over and over: python radio_cycles.py CYCLES URI_A URI_B [leave].

Prints open descriptors and resident kilobytes after the third cycle and after the last. `leave`: end without closing the last two.
Every third cycle an exception is raised in mid-stream and its traceback kept, as test runners and notebooks do.
"""

from __future__ import annotations

import os
import resource
import sys
import threading

import numpy as np

from hil.clock import WallClock
from hil.device import DeviceError, Setting
from hil.parts import capability
from hil.radios import opening
from hil.radios.radio import AdiRadio

kept: list[BaseException] = []
left: list[AdiRadio] = []


def stream(name: str, uri: str, cycle: int, leave: bool) -> None:
    radio = opening.radio(name, WallClock(), uri=uri, capability=capability("pluto", f"emulated-{name}"))
    try:
        radio.configure(Setting(3.5e9, 4e6, (30.0,), (20.0,)))
        radio.load(1, np.full((1, 512), 0.3, np.complex64))
        radio.apply(1)
        for _ in range(3):
            radio.capture(4096, 5.0)
        if cycle % 3 == 2:
            radio.apply(99)
    except DeviceError as error:
        assert error.id == "not-loaded", error
        kept.append(error)
    finally:
        if leave:
            left.append(radio)
        else:
            radio.close()


def main() -> None:
    cycles, uris, leave = int(sys.argv[1]), sys.argv[2:4], "leave" in sys.argv[4:]
    failed: list[BaseException] = []

    def run(*arguments: object) -> None:
        try:
            stream(*arguments)  # type: ignore[arg-type]
        except BaseException as error:
            failed.append(error)

    for cycle in range(cycles):
        threads = [threading.Thread(target=run, args=(name, uri, cycle, leave and cycle == cycles - 1)) for name, uri in zip("ab", uris)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60.0)
        if failed:
            raise failed[0]
        if cycle in (2, cycles - 1):
            print(len(os.listdir("/proc/self/fd")), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, flush=True)


if __name__ == "__main__":
    main()
