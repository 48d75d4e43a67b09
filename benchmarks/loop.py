"""What a round costs beside its physics: five node processes, `python -m benchmarks.loop [--quick]`.

A round as the loop makes it, with devices that answer at once and know no air: the messages to five nodes (apply, mute, where, a carrier of
nothing else), 65 536 samples x 4 channels from each of three receivers over ZeroMQ, their checks, hashes, files and events. Outside are
design, estimation, adversary, emulation, motion, settling and airtime, and the upload of a waveform, which is shown beside. The peer for the
IQ is a raw TCP socket in the same run. Beside the time that passed stands the controller's own processor time, all its threads together, which
other work on the machine hardly changes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.link import over_zmq, raw_tcp
from hil.clock import WallClock
from hil.device import Capture, Codes, Loss, Setting
from hil.link import messages as m
from hil.link.client import connect
from hil.node.launch import LocalNodes
from hil.node.plan import Device, NodePlan
from hil.records import RunWriter, new_name
from hil.testing.instant import InstantRadio

SAMPLES, CHANNELS = 65_536, 4
TRANSMITTERS, RECEIVERS = ("ap1", "ap2"), ("sense1", "u1", "u2")
FRAME = 15_344  # samples of a sounding frame
ROUND_BAR, MESSAGES_BAR, IQ_BAR = 20e-3, 5e-3, 0.5


class ReadyRadio(InstantRadio):
    """Has its next capture ready when it is asked, as a converter leaves it: no airtime, no signal processing."""

    def capture(self, samples: int, timeout_s: float) -> Capture:
        setting = self.setting
        assert setting is not None
        if not hasattr(self, "_ready"):
            self._ready = Codes.of(np.random.default_rng(1).integers(-2000, 2000, (samples, CHANNELS, 2), dtype=np.int16), 2048)
        return Capture(self._ready.samples, setting.sample_rate_hz, setting.carrier_hz, setting.receive_gain_db, version=self.version,
                       loss=Loss.NONE, clock=WallClock().now(), full_scale=2048, device=self.name, codes=self._ready)  # fmt: skip


def radio(name: str, clock: Any = None, **arguments: Any) -> ReadyRadio:
    return ReadyRadio(name, clock, **arguments)


def plans() -> list[NodePlan]:
    channels = {"transmit_channels": CHANNELS, "receive_channels": CHANNELS}
    return [
        NodePlan(name=name, devices=(Device(kind="radio", name=name, entry="benchmarks.loop:radio", arguments=channels),))
        for name in (*TRANSMITTERS, *RECEIVERS)
    ]


PARTS = {  # name -> between which marks
    "messages": ((1, 2), (3, 4)), "IQ transfer": ((2, 3),), "checks, hashes, files": ((4, 5),), "round": ((1, 5),), "upload of waveforms": ((0, 1),),
}  # fmt: skip


def rounds(count: int) -> dict[str, NDArray[np.float64]]:
    """(round, [passed, processor]) seconds of each part."""
    marks: list[list[tuple[float, float]]] = []

    def mark() -> None:
        marks[-1].append((time.perf_counter(), time.process_time()))

    generator = np.random.default_rng(1)
    wave = (generator.uniform(-0.3, 0.3, (CHANNELS, 2 * FRAME)).astype(np.float32)).view(np.complex64)
    points = np.zeros((CHANNELS, 3))
    with LocalNodes(plans()) as nodes, connect(nodes.addresses, timeout_s=10.0) as link, tempfile.TemporaryDirectory() as folder:
        setting = Setting(3.5e9, 15.36e6, (30.0,) * CHANNELS, (20.0,) * CHANNELS)
        link.configure_all(dict.fromkeys((*TRANSMITTERS, *RECEIVERS), setting))
        run = RunWriter.create(Path(folder), new_name("benchmark"), scenario_name="benchmark", command="", seed=1, depth="nodes", inputs={},
                               versions={}, clock=WallClock())  # fmt: skip
        for number in range(count + 3):
            marks.append([])
            mark()
            link.prepare(number, dict.fromkeys(TRANSMITTERS, wave))
            mark()
            link.apply(number)
            link.status()
            mark()
            captures = link.capture(dict.fromkeys(RECEIVERS, SAMPLES), "measure", 5.0)
            mark()
            link.mute("measured")
            mark()
            rest = {name: dict(purpose="measure", round=number, positions=points, node=name) for name in captures}
            files = run.captures({f"r{number:03d}-measure-{name}": (capture, rest[name]) for name, capture in captures.items()})
            for (name, capture), (file, digest) in zip(captures.items(), files.values()):
                run.event("captured", number, file=file, sha512=digest, device=name, purpose="measure", samples=SAMPLES, version=number,
                          positions=points, loss=str(capture.loss), clipped=capture.clipped)  # fmt: skip
            run.event("applied", number, version=number, nodes=list(TRANSMITTERS), power_dbm={})
            run.round_ends(number)
            mark()
        run.close()
    times = np.array(marks[3:])  # (round, mark, [passed, processor]); before, first captures are drawn and caches filled
    return {name: sum(times[:, end] - times[:, begin] for begin, end in spans) for name, spans in PARTS.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="20 rounds instead of 200")
    quick = parser.parse_args().quick
    took = rounds(20 if quick else 200)
    codes = np.random.default_rng(1).integers(-2048, 2048, (CHANNELS, SAMPLES, 2)).astype("<i2")
    small = bytes(m.encode_request(m.Status(), session="benchmark", id=1, deadline_s=5.0)[0])
    times = 2000 if quick else 10000  # a fiftieth of it with the arrays
    first = raw_tcp(small, {"IQ": codes}, times)[1]["IQ"]
    ours = over_zmq("tcp://127.0.0.1:*", {"IQ": codes}, times)["IQ"]
    peer = statistics.median([first, raw_tcp(small, {"IQ": codes}, times)[1]["IQ"]])
    print(f"{'five nodes; milliseconds':44}{'median':>9}{'95 %':>9}{'least':>9}{'processor':>11}")
    for name, seconds in took.items():
        passed, processor = 1e3 * seconds.T
        print(f"{name:44}{np.median(passed):9.2f}{np.quantile(passed, 0.95):9.2f}{passed.min():9.2f}{np.median(processor):11.2f}")
    print(f"{'IQ over ZeroMQ, GB/s; raw TCP; ratio':44}{codes.nbytes / ours / 1e9:9.2f}{codes.nbytes / peer / 1e9:9.2f}{peer / ours:9.2f}")
    whole, words, upload = (float(np.median(took[name][:, 0])) for name in ("round", "messages", "upload of waveforms"))
    results = [
        {"what": "a round outside its physics, median, ms", "value": round(1e3 * whole, 2), "bar": 1e3 * ROUND_BAR, "ok": whole <= ROUND_BAR},
        {"what": "messages of it, median, ms", "value": round(1e3 * words, 2), "bar": 1e3 * MESSAGES_BAR, "ok": words <= MESSAGES_BAR},
        {"what": "IQ over ZeroMQ, rate over that of a raw TCP socket", "value": round(peer / ours, 2), "bar": IQ_BAR, "ok": peer >= IQ_BAR * ours},
        {"what": "upload of a sounding frame to two nodes, median, ms", "value": round(1e3 * upload, 2), "bar": None, "ok": True},
    ]  # fmt: skip
    print(json.dumps({"benchmark": "loop", "results": results}))


if __name__ == "__main__":
    main()
