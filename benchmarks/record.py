"""Recording a capture: check the codes, hash, write, describe - beside merely writing the same bytes.

`python -m benchmarks.record [--quick]`. The captures are a round's: a 4-channel sensing array and two single-channel users on a
280-symbol measuring frame, and sounding frames. Ours is what the loop calls; the peers are `ndarray.tofile` of ready codes (the least any
recorder must do) and the `sigmf` package's own writer with its hash.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import sigmf as reference

from hil.device import Capture
from hil.records import RunWriter, new_name, read
from hil.records.sigmf import codes

SHAPES = ((4, 153_440), (1, 153_440), (1, 153_440), (4, 15_344), (1, 15_344), (1, 15_344), (1, 15_344), (1, 15_344))
ROUND_MB_BAR = 25  # the most a round records
SECONDS_BAR = 0.5  # for that much


def captures(rng: np.random.Generator) -> list[Capture]:
    drawn = [rng.integers(-2048, 2048, (*shape, 2)).astype(np.float32) / np.float32(2048) for shape in SHAPES]
    return [Capture(values.view(np.complex64)[..., 0], 15.36e6, 3.5e9, gain_db=(40.0,) * len(values), device="rx") for values in drawn]


def timed(work: Callable[[int], None], rounds: int) -> float:
    """Median wall seconds of one round."""
    took = []
    for number in range(rounds):
        start = time.perf_counter()
        work(number)
        took.append(time.perf_counter() - start)
    return statistics.median(took)


def measure(folder: Path, rounds: int) -> dict[str, float]:
    made = captures(np.random.default_rng(1))
    ready = [codes(capture) for capture in made]
    megabytes = sum(block.nbytes for block in ready) / 1e6
    writer = RunWriter.create(
        folder, new_name("benchmark"), scenario_name="benchmark", command="", seed=1, depth="process", inputs={}, versions={}
    )

    def ours(number: int) -> None:
        for index, capture in enumerate(made):
            positions = np.zeros((len(capture.samples), 3))
            writer.capture(f"r{number:03d}-measure-{index}", capture, purpose="measure", round=number, positions=positions)

    def plain(number: int) -> None:
        for index, block in enumerate(ready):
            block.tofile(folder / f"plain-{number}-{index}")

    def library(number: int) -> None:
        for index, (capture, block) in enumerate(zip(made, ready)):
            path = folder / f"library-{number}-{index}.sigmf-data"
            block.tofile(path)
            facts = {"core:datatype": "ci16_le", "core:sample_rate": capture.sample_rate_hz, "core:num_channels": len(capture.samples)}
            meta = reference.SigMFFile(data_file=str(path), global_info=facts)
            meta.add_capture(0, {"core:frequency": capture.carrier_hz})
            meta.tofile(str(path.with_suffix(".sigmf-meta")))

    for work in (ours, plain, library):  # once before the clock runs: folders, imports, caches
        work(999)
    result = {"megabytes": megabytes, "ours": timed(ours, rounds), "plain": timed(plain, rounds), "library": timed(library, rounds)}
    writer.close()
    run = read(writer.folder)
    back = [run.capture(f"r000-measure-{index}", verify=True).samples for index in range(len(made))]
    same = all(np.array_equal(samples, capture.samples) for samples, capture in zip(back, made))
    return result | {"exact": float(same)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="5 rounds instead of 30")
    rounds = 5 if parser.parse_args().quick else 30
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), rounds)
    megabytes, ours = found["megabytes"], found["ours"]
    print(f"one round, {len(SHAPES)} captures, {megabytes:.1f} MB; median of {rounds}")
    print(f"{'':34}{'ours':>10}{'peer':>10}{'ratio':>8}")
    for name, peer in (("against plain tofile, ms", found["plain"]), ("against the sigmf package, ms", found["library"])):
        print(f"{name:34}{1e3 * ours:10.1f}{1e3 * peer:10.1f}{ours / peer:8.2f}")
    for_most = ours / megabytes * ROUND_MB_BAR
    results = [
        {"what": f"seconds to record {ROUND_MB_BAR} MB", "value": round(for_most, 4), "bar": SECONDS_BAR, "ok": for_most <= SECONDS_BAR},
        {"what": "MB/s", "value": round(megabytes / ours, 1), "bar": 50.0, "ok": megabytes / ours >= 50.0},
        {"what": "time over plain tofile", "value": round(ours / found["plain"], 2), "bar": 15.0, "ok": ours <= 15.0 * found["plain"]},
        {"what": "time over the sigmf package", "value": round(ours / found["library"], 2), "bar": 1.0, "ok": ours <= found["library"]},
        {"what": "samples read back exactly", "value": found["exact"], "bar": 1.0, "ok": found["exact"] == 1.0},
    ]
    print(json.dumps({"benchmark": "record", "results": results}))


if __name__ == "__main__":
    main()
