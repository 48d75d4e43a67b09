"""The driver of radios beside plain pyadi-iio, on the same connection to an emulated daemon that runs as fast as it is asked.

`python -m benchmarks.radio [--quick]`. A capture of 64 k samples of 1, 4 and 16 channels, transfer included: ours as complex64, (channel,
sample), with status and gains looked at, against `rx()`. The daemon computes the samples while both wait in libiio's refill; so the same is also
given without that wait, as what driver and pyadi add to it. Then an attribute's round trip, opening, and the daemon against a raw socket.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import socket
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from hil.clock import WallClock
from hil.device import Setting
from hil.parts import capability
from hil.radios import library, opening
from sim_backend.iiod.serve import RadioProcess

SAMPLES = 1 << 16
RATE = 15.36e6
CASES = (("pluto", 1), ("fmcomms5", 4), ("ad9081", 16))
BAR = 3.0  # times as fast as rx()
TIMEOUT_S = 30.0


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


def both_ms(work: Callable[[], object], refill: Refill, times: int) -> tuple[float, float]:
    """Medians of a whole call and of what it adds to the refill in it."""
    work()
    whole, added = [], []
    for _ in range(times):
        begun = time.perf_counter()
        work()
        whole.append((time.perf_counter() - begun) * 1e3)
        added.append(whole[-1] - refill.ms)
    return statistics.median(whole), statistics.median(added)


def captures(part: str, channels: int, times: int, refill: Refill) -> tuple[tuple[float, float], tuple[float, float]]:
    """(whole call, added to refill) in milliseconds of a capture of ours and of `rx()`."""
    with RadioProcess(site(part, channels), free_run=True) as process:
        can = capability(part, "emulated-r", channels=channels)
        with opening.radio("r", WallClock(), uri=process.uris["r"], capability=can, timeout_s=TIMEOUT_S) as radio:
            gains = float(round(can.receive_gain_db[1] / 2.0))
            radio.configure(Setting(3.5e9, RATE, (gains,) * channels, (can.attenuation_db[1],) * channels))
            ours = both_ms(lambda: radio.capture(SAMPLES, TIMEOUT_S), refill, times)
            sdr = radio.board.sdr
            buffer, sdr._rxbuf = sdr._rxbuf, None
            radio.board.destroy(buffer)
            sdr.rx_buffer_size = SAMPLES
            theirs = both_ms(sdr.rx, refill, times)
            return ours, theirs


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
    print(f"{'64 k samples, ms':34}{'ours':>9}{'rx()':>9}{'times':>8}{'ours adds':>12}{'rx() adds':>12}{'times':>8}")
    for part, channels in CASES:
        (ours, added), (theirs, their_added) = captures(part, channels, times, refill)
        name = f"{part}, {channels} channel{'s' if channels > 1 else ''}"
        print(f"{name:34}{ours:9.2f}{theirs:9.2f}{theirs / ours:8.1f}{added:12.2f}{their_added:12.2f}{their_added / added:8.1f}")
        whole, own = f"capture of 64 k x {channels}, times as fast as rx()", f"64 k x {channels}, what is added to refill, times less than rx()"
        rows.append({"what": whole, "value": round(theirs / ours, 2), "bar": BAR, "ok": theirs >= BAR * ours})
        rows.append({"what": own, "value": round(their_added / added, 1), "bar": BAR, "ok": their_added >= BAR * added})
        if channels == 1:
            raw = raw_ms(4 * SAMPLES, times)
            print(f"{'the same bytes over a raw socket':34}{raw:9.2f}   the daemon takes {(ours - added) / raw:.0f} times as long: it computes them")
    read, ours, theirs = attributes(times)
    print(f"attribute read {read:.3f} ms; opening {ours:.1f} ms, identified and silenced; adi.Pluto {theirs:.1f} ms")
    rows.append({"what": "attribute round trip, ms", "value": round(read, 3), "bar": 1.0, "ok": read <= 1.0})
    print(json.dumps({"benchmark": "radio", "results": rows}))


if __name__ == "__main__":
    main()
