"""The driver of radios beside plain pyadi-iio, on the same connection to an emulated daemon that runs as fast as it is asked.

`python -m benchmarks.radio [--quick]`. A capture of 64 k samples of 1, 4 and 16 channels, transfer included: ours as complex64, (channel,
sample), with status and gains looked at, against `rx()`. Both read on in a stream that is open: a call is one refill and drops no block.

The daemon computes its samples while either waits in refill. No driver can therefore be more than (wait + what rx() adds) / wait times as
fast, which is given as the most. Beside it the same against a daemon whose samples are ready (`benchmarks.ready`). Then an attribute's round
trip, opening, and the daemon against a raw socket.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import socket
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.ready import ReadyProcess
from hil.clock import WallClock
from hil.device import Setting
from hil.parts import capability
from hil.radios import library, opening
from hil.radios.radio import AdiRadio
from sim_backend.iiod.serve import RadioProcess

SAMPLES = 1 << 16
RATE = 15.36e6
CASES = (("pluto", 1), ("fmcomms5", 4), ("ad9081", 16))
BAR = 3.0  # times as fast as rx()
TIMEOUT_S = 30.0
TURNS = 5


def site(part: str, channels: int) -> dict[str, Any]:
    """One radio with its antennas and nothing on the air."""
    antennas = [
        {"transmit": n, "receive": n, "origin_m": [0.0, 0.0, 1.0], "axis": [0.0, 1.0, 0.0], "offset_m": 0.05 * n, "stage": None,
         "stage_axis": None, "sign": 1, "gain_dbi": 0.0}
        for n in range(channels)
    ]  # fmt: skip
    can = asdict(capability(part, "emulated-r", channels=channels))
    radio = {"name": "r", "serial": "emulated-r", "part": part, "capability": can, "antennas": antennas, "rate_hz": RATE}
    return {"carrier_hz": 3.5e9, "seed": 1, "target": None, "stages": [], "radios": [radio], "emulated": {}}


def median_ms(work: Callable[[], object], times: int) -> float:
    work()
    took = []
    for _ in range(times):
        begun = time.perf_counter()
        work()
        took.append(time.perf_counter() - begun)
    return statistics.median(took) * 1e3


class Refill:
    """libiio's refill with a stop watch: milliseconds of the latest call."""

    def __init__(self, iio: Any) -> None:
        self._whole, self.ms = iio.Buffer.refill, 0.0
        iio.Buffer.refill = lambda buffer: self._timed(buffer)

    def _timed(self, buffer: Any) -> None:
        begun = time.perf_counter()
        self._whole(buffer)
        self.ms = (time.perf_counter() - begun) * 1e3


@dataclass
class Spent:
    """Milliseconds of whole calls, and of the refills in them; medians are what counts."""

    calls: list[float] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)

    def time(self, work: Callable[[], object], refill: Refill, times: int) -> None:
        """The first call, which opens a buffer, does not count."""
        work()
        for _ in range(times):
            begun = time.perf_counter()
            work()
            self.calls.append((time.perf_counter() - begun) * 1e3)
            self.waits.append(refill.ms)

    @property
    def whole(self) -> float:
        return statistics.median(self.calls)

    @property
    def wait(self) -> float:
        return statistics.median(self.waits)


def captures(kind: type[RadioProcess], part: str, channels: int, times: int, refill: Refill) -> tuple[Spent, Spent]:
    """A capture of ours and of `rx()`, in turns of some of each."""
    ours, theirs = Spent(), Spent()
    with kind(site(part, channels), free_run=True) as process:
        can = capability(part, "emulated-r", channels=channels)
        with opening.radio("r", WallClock(), uri=process.uris["r"], capability=can, timeout_s=TIMEOUT_S) as radio:
            gains = float(round(can.receive_gain_db[1] / 2.0))
            radio.configure(Setting(3.5e9, RATE, (gains,) * channels, (can.attenuation_db[1],) * channels))
            sdr = radio.board.sdr
            for _ in range(TURNS):
                ours.time(lambda: radio.capture(SAMPLES, TIMEOUT_S), refill, times // TURNS)
                _drop_buffer(radio)
                sdr.rx_buffer_size = SAMPLES
                theirs.time(sdr.rx, refill, times // TURNS)
                _drop_buffer(radio)
    return ours, theirs


def _drop_buffer(radio: AdiRadio) -> None:
    buffer, radio.board.sdr._rxbuf = radio.board.sdr._rxbuf, None
    radio.board.destroy(buffer)


def attributes(times: int) -> tuple[float, float, float]:
    """Milliseconds of reading an attribute, of opening our radio, and of `adi.Pluto`."""
    with RadioProcess(site("pluto", 1), free_run=True) as process:
        uri, can = process.uris["r"], capability("pluto", "emulated-r")
        with opening.radio("r", WallClock(), uri=uri, capability=can) as radio:
            read = median_ms(lambda: radio.board.text(radio.board.sdr._ctrl, "ensm_mode"), 20 * times)
        ours = median_ms(lambda: opening.radio("r", WallClock(), uri=uri, capability=can).close(), times)
        theirs = median_ms(lambda: library.load().adi.Pluto(uri), times)
        return read, ours, theirs


def _serve_raw(port: int, size: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as channel:
        block = bytes(size)
        while channel.recv(1):
            channel.sendall(block)


def raw_ms(size: int, times: int) -> float:
    """Milliseconds to ask a plain socket for so many bytes and have them."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        peer = multiprocessing.get_context("spawn").Process(target=_serve_raw, args=(server.getsockname()[1], size))
        peer.start()
        channel, _ = server.accept()
        with channel:
            memory = memoryview(bytearray(size))

            def fetch() -> None:
                channel.sendall(b".")
                have = 0
                while have < size:
                    have += channel.recv_into(memory[have:])

            took = median_ms(fetch, times)
        peer.join(10.0)
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="15 captures of each instead of 60")
    times = 15 if parser.parse_args().quick else 60
    rows: list[dict[str, Any]] = []
    refill = Refill(library.load().iio)
    raw = {channels: raw_ms(4 * SAMPLES * channels, times) for _, channels in CASES}
    print("64 k samples, ms             wait in refill   raw socket      ours      rx()   times   at most")
    for kind, samples in ((RadioProcess, "computed"), (ReadyProcess, "ready")):
        for part, channels in CASES:
            ours, theirs = captures(kind, part, channels, times, refill)
            ratio = theirs.whole / ours.whole
            most = 1.0 + (theirs.whole - theirs.wait) / ours.wait
            print(f"{part:>8} x {channels:<4} {samples:8}{ours.wait:17.2f}{raw[channels]:13.2f}{ours.whole:10.2f}{theirs.whole:10.2f}", end="")
            print(f"{ratio:8.1f}{most:10.1f}")
            what = f"64 k x {channels}, samples {samples}"
            rows.append({"what": f"capture of {what}, times as fast as rx()", "value": round(ratio, 2), "bar": BAR, "ok": ratio >= BAR})
            rows.append({"what": f"{what}, the most that any driver could reach", "value": round(most, 1), "bar": None, "ok": True})
    print("at most: (wait + what rx() adds) / wait, for a driver that adds nothing; below 3 the emulator computes for too long")
    read, ours, theirs = attributes(times)
    print(f"attribute read {read:.3f} ms; opening {ours:.1f} ms, identified and silenced; adi.Pluto {theirs:.1f} ms")
    rows.append({"what": "attribute round trip, ms", "value": round(read, 3), "bar": 1.0, "ok": read <= 1.0})
    print(json.dumps({"benchmark": "radio", "results": rows}))


if __name__ == "__main__":
    main()
