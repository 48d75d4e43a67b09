"""`python -m benchmarks.chains`: what the emulated chains cost on this machine: a load, a received sample, a sample of phase noise."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import scipy.fft

from sim_backend import phasenoise, receive, transmit
from sim_backend.kernels import BLOCK
from sim_backend.settings import Emulated

RATE, FULL_SCALE_W = 15.36e6, 5e-3


def seconds(work: Callable[[], object], runs: int = 7) -> float:
    """Least CPU time of several runs."""
    work()
    taken = []
    for _ in range(runs):
        begin = time.process_time()
        work()
        taken.append(time.process_time() - begin)
    return min(taken)


def load(elements: int, samples: int, attenuation_db: float, **table: object) -> float:
    rng = np.random.default_rng(0)
    codes = (0.1 * rng.standard_normal((elements, samples, 2))).astype(np.float32).view(np.complex64)[..., 0]
    spectrum, largest = scipy.fft.fft(codes, axis=1, norm="forward"), np.abs(codes).max(axis=1).astype(float)
    chains = transmit.draw(Emulated.parse(table), "radio", np.arange(elements), (attenuation_db,) * elements, 0)
    amplitude = np.full(elements, np.sqrt(FULL_SCALE_W * 10 ** (-attenuation_db / 10)))
    return seconds(lambda: transmit.radiated(spectrum, largest, amplitude, chains, RATE))


def main() -> None:
    print("load: codes' spectra to antenna ports, ms        16 x 15360   8 x 153440")
    rows: list[tuple[str, float, dict[str, object]]] = [
        ("ideal", 0.0, {"severity": 0.0}),
        ("all, rapp, 30 dB down (it does not bend)", 30.0, {}),
        *((f"all, {model}, full scale", 0.0, {"amplifier": {"model": model}}) for model in ("linear", "rapp", "cubic", "saleh")),
    ]
    for name, attenuation, table in rows:
        print(f"  {name:46s} {1e3 * load(16, 15360, attenuation, **table):9.1f} {1e3 * load(8, 153440, attenuation, **table):12.1f}")
    front = receive.draw(Emulated.parse({}), "radio", -10.0, (40.0,) * 4)
    size = 256 * BLOCK
    re, im = (np.random.default_rng(1).standard_normal((2, 4, size)) * 1e-4).astype(np.float32)
    spent = seconds(lambda: front.digitise(re, im, 0, RATE, 12, 0, size))
    print(f"receive chain: {1e9 * spent / (4 * size):.2f} ns per sample and antenna")
    spent = seconds(lambda: phasenoise.track(1, 0.01, 0, 1 << 20))
    print(f"phase noise: {1e9 * spent / (1 << 20) * phasenoise.GRID_HZ / RATE:.2f} ns per sample at 15.36 MS/s")


if __name__ == "__main__":
    main()
