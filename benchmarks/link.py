"""The link beside a raw TCP socket, in the same run: a control round trip, and IQ frames.

`python -m benchmarks.link [--quick]`. Round trips: one blocking request of a real node process (typed messages, reply cache, checks) and a
TCP echo of the same bytes. IQ: the same messages as a measuring frame's captures and waveforms, through the link's own sockets and options
and through `sendall` / `recv_into`, one process each side; and a whole prepare of two 4-channel radios.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import socket
import statistics
import struct
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import zmq

from hil.device import Setting
from hil.link import messages as m
from hil.link.client import ZeroMq, connect
from hil.link.link import Call
from hil.link.sockets import prepared
from hil.node.launch import LocalNodes
from hil.node.plan import Device, NodePlan

SAMPLES = 153_440  # a measuring frame
FRAMES = {
    "capture, 4 channels of int16, 2.4 MB": (4, SAMPLES, 2, "<i2"),
    "waveform, 4 channels of complex64, 4.9 MB": (4, SAMPLES, 1, "<c8"),
}
ROUND_TRIP_BAR = 30.0  # times a raw TCP echo: a request is checked, carried out and remembered, in Python at both ends
IQ_RATIO_BAR = 0.5  # of raw TCP's rate over tcp; ipc is faster


def each(work: Callable[[], object], times: int) -> list[float]:
    """Seconds of every call."""
    took = []
    for _ in range(times):
        begun = time.perf_counter()
        work()
        took.append(time.perf_counter() - begun)
    return took


def exactly(channel: socket.socket, view: memoryview) -> None:
    have = 0
    while have < len(view):
        have += channel.recv_into(view[have:]) or _ended()


def _ended() -> int:
    raise ConnectionError("the other side ended")


def tcp_peer(port: int) -> None:
    """Echoes messages up to 4 kB; swallows longer ones and answers with one byte."""
    with socket.create_connection(("127.0.0.1", port), timeout=30.0) as channel:
        channel.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        head, buffer = bytearray(8), bytearray(1 << 23)
        while True:
            exactly(channel, memoryview(head))
            (size,) = struct.unpack("<Q", head)
            if size == 0:
                return
            exactly(channel, memoryview(buffer)[:size])
            channel.sendall(memoryview(buffer)[:size] if size <= 4096 else b".")


def zmq_peer(address: str) -> None:
    """Swallows IQ messages as the link receives them and answers with one byte; ends at an empty one."""
    context = zmq.Context()
    end = prepared(context.socket(zmq.DEALER))
    end.connect(address)
    while True:
        frames = end.recv_multipart(copy=False)
        if not len(frames[-1]):
            break
        np.frombuffer(frames[-1].buffer, dtype=np.uint8)
        end.send(b".")
    end.close()
    context.term()


def raw_tcp(small: bytes, arrays: dict[str, np.ndarray], times: int) -> tuple[list[float], dict[str, float]]:
    """Seconds per echo of the small message; median seconds per array."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        peer = multiprocessing.get_context("spawn").Process(target=tcp_peer, args=(server.getsockname()[1],), daemon=True)
        peer.start()
        server.settimeout(30.0)
        channel, _ = server.accept()
    with channel:
        channel.settimeout(30.0)
        channel.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        back = bytearray(len(small))

        def echo() -> None:
            channel.sendall(struct.pack("<Q", len(small)) + small)
            exactly(channel, memoryview(back))

        def push(array: np.ndarray) -> None:
            channel.sendall(struct.pack("<Q", array.nbytes))
            channel.sendall(array.data.cast("B"))
            exactly(channel, memoryview(bytearray(1)))

        each(echo, 50)
        echoes = each(echo, times)
        pushes = {name: statistics.median(each(lambda a=array: push(a), max(10, times // 50))) for name, array in arrays.items()}
        channel.sendall(struct.pack("<Q", 0))
    peer.join(5.0)
    return echoes, pushes


def over_zmq(address: str, arrays: dict[str, np.ndarray], times: int) -> dict[str, float]:
    """Median seconds per array, through the link's encoder and socket options."""
    context = zmq.Context()
    end = prepared(context.socket(zmq.DEALER))
    end.setsockopt(zmq.RCVTIMEO, 30_000)
    end.bind(address)
    peer = multiprocessing.get_context("spawn").Process(target=zmq_peer, args=(end.getsockopt_string(zmq.LAST_ENDPOINT),), daemon=True)
    peer.start()

    def push(array: np.ndarray) -> None:
        frames = m.encode_request(m.Prepare(version=1, radios={"ap1": 0}), [array], session="benchmark", id=1, deadline_s=2.0)
        end.send_multipart(frames, copy=False)
        end.recv()

    result = {}
    for name, array in arrays.items():
        each(lambda a=array: push(a), 5)
        result[name] = statistics.median(each(lambda a=array: push(a), max(10, times // 50)))
    end.send(b"")
    peer.join(5.0)
    end.close()
    context.term()
    return result


def plans(listen: str = "") -> list[NodePlan]:
    entry = "hil.testing.instant:radio"
    channels = {"transmit_channels": 4, "receive_channels": 4}
    return [
        NodePlan(
            name=name, listen=listen if name == "ap1" else "", devices=(Device(kind="radio", name=name, entry=entry, arguments=channels),)
        )
        for name in ("ap1", "ap2")
    ]


def node_round_trips(times: int, listen: str) -> tuple[list[float], float]:
    """Seconds per status request of a node at `listen` ("": ipc), and per prepare of two radios at two nodes."""
    with LocalNodes(plans(listen)) as nodes:
        transport = ZeroMq({"ap1": nodes.addresses["ap1"]}, session="benchmark")
        call = [Call("ap1", m.Status(), timeout_s=5.0)]
        each(lambda: transport.exchange(call), 50)
        status = each(lambda: transport.exchange(call), times)
        transport.close()
        with connect(nodes.addresses, timeout_s=10.0) as link:
            setting = Setting(3.5e9, 15.36e6, (30.0,) * 4, (20.0,) * 4)
            link.configure_all({"ap1": setting, "ap2": setting})
            generator = np.random.default_rng(1)
            wave = (generator.uniform(-0.3, 0.3, (4, 2 * SAMPLES)).astype(np.float32)).view(np.complex64)
            versions = iter(range(10_000))
            prepare = statistics.median(each(lambda: link.prepare(next(versions), {"ap1": wave, "ap2": wave}), 5))
    return status, prepare


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="500 round trips instead of 5000")
    times = 500 if parser.parse_args().quick else 5000
    generator = np.random.default_rng(1)
    arrays = {}
    for name, (channels, samples, parts, kind) in FRAMES.items():
        codes = generator.integers(-2048, 2048, (channels, samples, 2)).astype("<i2")
        arrays[name] = codes if parts == 2 else (codes.astype(np.float32) / 2048).view(np.complex64)[..., 0].astype(kind)
    small = bytes(m.encode_request(m.Status(), session="benchmark", id=1, deadline_s=5.0)[0])
    tcp_small, tcp_iq = raw_tcp(small, arrays, times)
    node_tcp, prepare = node_round_trips(times, f"tcp://127.0.0.1:{free_port()}")
    node_ipc, _ = node_round_trips(times, "")
    iq_tcp = over_zmq("tcp://127.0.0.1:*", arrays, times)
    with tempfile.TemporaryDirectory() as folder:
        iq_ipc = over_zmq(f"ipc://{Path(folder)}/iq", arrays, times)

    print(f"{'':58}{'ours':>10}{'raw TCP':>10}{'ratio':>8}")
    rows = []
    for label, status in (("tcp", node_tcp), ("ipc", node_ipc)):
        for share, word in ((0.5, "median"), (0.99, "99th percentile")):
            ours, peer = quantile(status, share) * 1e6, quantile(tcp_small, share) * 1e6
            print(f"{f'status round trip of a node over {label}, {word}, us':58}{ours:10.0f}{peer:10.0f}{ours / peer:8.1f}")
        ratio = statistics.median(status) / statistics.median(tcp_small)
        what = f"round trip of a node over {label}, times a raw TCP echo"
        rows.append({"what": what, "value": round(ratio, 1), "bar": ROUND_TRIP_BAR, "ok": ratio <= ROUND_TRIP_BAR})
    for label, rates in (("tcp", iq_tcp), ("ipc", iq_ipc)):
        for name, seconds in rates.items():
            ours, peer = arrays[name].nbytes / seconds / 1e9, arrays[name].nbytes / tcp_iq[name] / 1e9
            print(f"{f'{name}, over {label}, GB/s':58}{ours:10.2f}{peer:10.2f}{ours / peer:8.2f}")
            what = f"{name}, {label} rate over raw TCP's"
            rows.append({"what": what, "value": round(ours / peer, 2), "bar": IQ_RATIO_BAR, "ok": ours >= IQ_RATIO_BAR * peer})
    print(f"{'prepare of two 4-channel radios, checked and loaded, ms':58}{prepare * 1e3:10.0f}")
    rows.append({"what": "prepare of two 4-channel radios, s", "value": round(prepare, 3), "bar": 1.0, "ok": prepare <= 1.0})
    print(json.dumps({"benchmark": "link", "results": rows}))


if __name__ == "__main__":
    main()
