"""The emulated radios' network daemon by itself: how fast it answers, and how many radios keep up with their own sample clocks.

`python -m benchmarks.iiod [--quick] [--rates 4e6 ...] [--seconds 60]`. One daemon in a process of its own, four Plutos that all send a tone
and hear each other, quickstart hardware (phase noise, images, offsets). Clients are plain sockets in this process. Free-running: samples as fast
as they are computed, and processor time per sample. Paced: at each rate the share of the samples' time that arrived, and how often the
overflow bit rose.

The honest limit is arithmetic: a sample of a radio that hears four transmitters costs so many nanoseconds of a processor as the free run says
("4 of 4"), wherever it is taken. Four radios at rate R need 4 R times that, of the cores there are less what clients and others take; beyond
it blocks are lost and the overflow bit says so. A transmitter that streams costs each who hears it some 400 ns a sample more than one that
repeats itself: a piece of a stream is filtered and tabulated anew for every receiver.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from hil.parts import capability
from sim_backend.iiod.serve import RadioProcess

PHY, ADC, DAC = "ad9361-phy", "cf-ad9361-lpc", "cf-ad9361-dds-core-lpc"
BLOCK = 1 << 16
RADIOS = ("a", "b", "c", "d")
RATES = (2.1e6, 3e6, 4e6)
ASKED = 4e6  # of each of four radios on two cores, without overflow


def site() -> dict[str, Any]:
    """Four radios in a row, three metres apart."""
    radios = []
    for number, name in enumerate(RADIOS):
        antenna = {"transmit": 0, "receive": 0, "origin_m": [3.0 * number, 0.0, 1.0]}
        can = dataclasses.asdict(capability("pluto", name))
        radios.append({"name": name, "serial": name, "part": "pluto", "capability": can, "antennas": [antenna]})
    return {"carrier_hz": 2.4e9, "seed": 1, "radios": radios, "emulated": {"room": {"scatterers": 0}}}


class Client:
    """Connections to one radio: settings, a tone that is sent, samples that are read."""

    def __init__(self, uri: str, rate: int) -> None:
        _, host, port = uri.split(":")
        self._lines = [socket.create_connection((host, int(port)), 60.0) for _ in range(3)]
        self._heard = [line.makefile("rb") for line in self._lines]
        for place, value in (
            ("INPUT voltage0 sampling_frequency", rate), ("OUTPUT altvoltage0 frequency", 2_400_000_000),
            ("OUTPUT altvoltage1 frequency", 2_400_000_000), ("INPUT voltage0 gain_control_mode", "manual"), ("INPUT voltage0 hardwaregain", 20),
        ):  # fmt: skip
            self.write(f"{PHY} {place}", str(value))
        tone = 2**13 * np.exp(2j * np.pi * 99 * np.arange(4096) / 4096)
        data = np.stack([tone.real, tone.imag], axis=1).astype("<i2").tobytes()
        self._ask(1, f"OPEN {DAC} 4096 00000003 CYCLIC")
        self._ask(1, f"WRITEBUF {DAC} {len(data)}")
        self._lines[1].sendall(data)
        self._heard[1].readline()
        self._ask(2, f"OPEN {ADC} {BLOCK} 00000003")

    def close(self) -> None:
        for line in (*self._heard, *self._lines):
            line.close()

    def _ask(self, line: int, command: str) -> int:
        self._lines[line].sendall(command.encode() + b"\r\n")
        return int(self._heard[line].readline())

    def read(self, place: str) -> str:
        return self._heard[0].read(self._ask(0, f"READ {place}") + 1)[:-2].decode()

    def write(self, place: str, text: str) -> None:
        data = text.encode() + b"\0"
        self._lines[0].sendall(f"WRITE {place} {len(data)}\r\n".encode() + data)
        if int(self._heard[0].readline()) < 0:
            raise RuntimeError(f"{place} = {text} was refused")

    def block(self) -> None:
        self._lines[2].sendall(f"READBUF {ADC} {4 * BLOCK}\r\n".encode())
        left = 4 * BLOCK
        while left:
            count = int(self._heard[2].readline())
            if count <= 0:
                raise RuntimeError(f"READBUF ended with {count}")
            if left == 4 * BLOCK:
                self._heard[2].readline()  # the mask
            left -= len(self._heard[2].read(count))

    def overflowed(self) -> bool:
        """Whether samples were lost since it was asked last."""
        self.write(f"{ADC} DEBUG direct_reg_access", "0x80000088")
        risen = int(self.read(f"{ADC} DEBUG direct_reg_access"), 0) & 4
        self.write(f"{ADC} DEBUG direct_reg_access", "0x80000088 0x4")
        return bool(risen)


@contextmanager
def clients(process: RadioProcess, rate: int) -> Iterator[list[Client]]:
    with ExitStack() as stack:
        made = []
        for uri in process.uris.values():
            made.append(Client(uri, rate))
            stack.callback(made[-1].close)
        yield made


def processor_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100.0


def together(work: Callable[[Client], Any], who: list[Client]) -> list[Any]:
    """One thread each."""
    found: list[Any] = [None] * len(who)

    def run(k: int) -> None:
        found[k] = work(who[k])

    threads = [threading.Thread(target=run, args=(k,)) for k in range(len(who))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def median_ms(work: Callable[[], object], times: int) -> float:
    took = []
    for _ in range(times):
        begun = time.perf_counter()
        work()
        took.append(time.perf_counter() - begun)
    return 1e3 * statistics.median(took)


def free_running(blocks: int) -> None:
    with RadioProcess(site(), free_run=True) as process, clients(process, 4_000_000) as found:
        one = found[0]
        print(f"attribute   read {median_ms(lambda: one.read(f'{PHY} OUTPUT altvoltage0 frequency'), 200):.3f} ms", end="")
        print(f", write {median_ms(lambda: one.write(f'{PHY} OUTPUT voltage0 hardwaregain', '-10'), 200):.3f} ms (medians)")
        for count in (1, 2, 4):
            together(lambda client: [client.block() for _ in range(6)], found[:count])
            assert process.pid is not None
            spent, begun = processor_s(process.pid), time.perf_counter()
            together(lambda client: [client.block() for _ in range(blocks)], found[:count])
            took, spent = time.perf_counter() - begun, processor_s(process.pid) - spent
            samples = count * blocks * BLOCK
            print(f"free run    {count} of 4 read: {samples / took / 1e6:5.1f} MS/s in all, {spent / samples * 1e9:4.0f} ns of processor per sample")


def paced(rates: list[float], seconds: float) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    with RadioProcess(site()) as process:
        for rate in rates:
            with clients(process, round(rate)) as found:

                def listen(client: Client) -> tuple[float, int]:
                    for _ in range(6):
                        client.block()
                    client.overflowed()
                    begun, blocks, lost = time.perf_counter(), 0, 0
                    while time.perf_counter() - begun < seconds:
                        client.block()
                        blocks += 1
                        lost += blocks % 8 == 0 and client.overflowed()
                    return blocks * BLOCK / (time.perf_counter() - begun), lost + client.overflowed()

                assert process.pid is not None
                spent, begun = processor_s(process.pid), time.perf_counter()
                results = together(listen, found)
                load = (processor_s(process.pid) - spent) / (time.perf_counter() - begun)
                least, lost = min(one for one, _ in results) / rate, sum(count for _, count in results)
                told = f"{100 * least:5.1f} % arrived, overflow seen {lost} times, {load:.2f} cores"
                print(f"paced       4 x {rate / 1e6:.1f} MS/s for {seconds:.0f} s: {told}")
                row = {"what": f"four radios at {rate / 1e6:.1f} MS/s for {seconds:.0f} s, overflows", "value": lost}
                rows.append(row | ({"bar": 0, "ok": lost == 0} if rate == ASKED else {}))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.iiod", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="five seconds at each rate instead of 60")
    parser.add_argument("--rates", type=float, nargs="+", default=list(RATES), help="samples a second of each radio")
    parser.add_argument("--seconds", type=float, help="at each rate")
    told = parser.parse_args()
    free_running(20 if told.quick else 100)
    rows = paced(told.rates, told.seconds or (5.0 if told.quick else 60.0))
    print(json.dumps({"benchmark": "iiod", "results": rows}))


if __name__ == "__main__":
    main()
