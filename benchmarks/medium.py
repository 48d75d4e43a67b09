"""The emulator's medium against a plain numpy model of the same paths: speed, time to load, error against the reference.

The numpy model is cheaper physics: every pair and path at a whole number of samples, one rotation per receiver and transmitter, noise from
PCG64. Rates are time steps per second of one core (processor time): 4 channels at 10 MS/s are 40 million samples a second.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import numpy as np

from hil.clock import VirtualClock
from hil.device import Setting
from sim_backend import noise
from sim_backend.history import Airing, Tuning
from sim_backend.kernels import BLOCK
from sim_backend.world import World, build

CARRIER, RATE = 3.5e9, 15.36e6
HALF_WAVE = 299792458.0 / CARRIER / 2


def bench(transmitters: int, elements: int, receivers: list[int], scatterers: int, moving: bool) -> World:
    """Access points along a wall, receivers across the room."""

    def radio(name: str, side: str, count: int, x: float, y: float) -> dict:
        capability = {
            "transmit_channels": count if side == "transmit" else 0, "receive_channels": count if side == "receive" else 0,
            "carrier_hz": [70e6, 6e9], "sample_rate_hz": [0.5e6, 61.44e6], "receive_gain_db": [0.0, 70.0], "receive_gain_step_db": 1.0,
            "attenuation_db": [0.0, 80.0], "attenuation_step_db": 0.25, "bits": 12, "transmit_full_scale_dbm": 7.0,
            "receive_full_scale_dbm": -10.0,
        }  # fmt: skip
        antennas = [
            {"transmit": None, "receive": None, side: i, "origin_m": [x, y, 2.0], "axis": [0.0, 1.0, 0.0], "offset_m": i * HALF_WAVE}
            for i in range(count)
        ]
        return {"name": name, "capability": capability, "antennas": antennas}

    radios = [radio(f"ap{i}", "transmit", elements, 0.0, 2.0 * i) for i in range(transmitters)]
    radios += [radio(f"rx{i}", "receive", count, 14.0, 3.0 * i - 2.0) for i, count in enumerate(receivers)]
    target = {"position_m": [9.0, -4.0, 1.0], "speed_m_s": 1.0} if moving else None
    emulated = {"room": {"scatterers": scatterers}}
    return build({"carrier_hz": CARRIER, "seed": 1, "radios": radios, "stages": [], "target": target, "emulated": emulated}, VirtualClock())


def start(world: World, period: int) -> list[Airing]:
    """Everybody sends its own noise-like cyclic waveform; receivers are tuned."""
    rng = np.random.default_rng(1)
    used = np.abs(np.fft.fftfreq(period)) < 0.375
    for name, radio in world.radios.items():
        limits = radio.capability
        radio.configure(Setting(CARRIER, RATE, (40.0,) * limits.receive_channels, (20.0,) * limits.transmit_channels))
        if limits.transmit_channels:
            shape = (limits.transmit_channels, period)
            spectrum = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) * used
            waveform = np.fft.ifft(spectrum, axis=1) * np.sqrt(period) * 0.15
            world.radio(name).load(1, np.clip(waveform.real, -1, 1) + 1j * np.clip(waveform.imag, -1, 1))
            world.radio(name).apply(1)
    world.advance(0.003)
    return world.airings()


def plain(world: World, tuning: Tuning, airings: list[Airing], first: int, count: int) -> np.ndarray:
    """The numpy model: (antenna, sample)."""
    at = tuning.oscillator.tick(first, tuning.rate)
    n = np.arange(count)
    out = None
    for airing in airings:
        delay, gain = world.truth.rays(airing.radio, tuning.radio, at)
        gain = (gain * np.exp(-2j * np.pi * CARRIER * delay)).astype(np.complex64)
        waveform = airing.program.codes / airing.program.full_scale * airing.amplitude[:, None].astype(np.float32)
        period = waveform.shape[1]
        begin = first - airing.first_tick
        heard = np.zeros((delay.shape[1], count), np.complex64)
        laps = np.tile(waveform, (1, -(-count // period) + 2))
        for p in range(delay.shape[0]):
            for r in range(delay.shape[1]):
                for e in range(delay.shape[2]):
                    late = (begin - round(delay[p, r, e] * RATE)) % period
                    heard[r] += gain[p, r, e] * laps[e, late : late + count]
        offset = CARRIER * (airing.oscillator.error(at)[1] - tuning.oscillator.error(at)[1])
        heard *= np.exp(2j * np.pi * offset / RATE * n).astype(np.complex64)
        out = heard if out is None else out + heard
    rng = np.random.default_rng(1)
    return out + 1e-7 * (rng.standard_normal(out.shape, np.float32) + 1j * rng.standard_normal(out.shape, np.float32))


def best(call: Callable[[], object], times: int) -> float:
    """Least processor seconds of this thread, so that a busy machine says the same."""
    spent = []
    for _ in range(times):
        begin = time.thread_time()
        call()
        spent.append(time.thread_time() - begin)
    return min(spent)


def error_db(world: World, tuning: Tuning, first: int, count: int) -> float:
    """Error of the medium against the reference, relative to the received power, at 24 samples of the first antenna's window."""
    ticks = np.sort(first + np.random.default_rng(2).choice(count, 24, replace=False))
    exact, found = world.truth.heard(tuning, ticks), []
    for tick in ticks:
        block = int(tick - tick % BLOCK)
        re, im = np.zeros((2, exact.shape[0], BLOCK), np.float32)
        world.medium.receive(tuning, world.airings(), block, re, im)
        found.append((re + 1j * im)[:, int(tick) - block])
    return float(10 * np.log10((np.abs(np.array(found).T - exact) ** 2).mean() / (np.abs(exact) ** 2).mean()))


def case(
    label: str, transmitters: int, elements: int, receivers: list[int], scatterers: int, moving: bool, samples: int, times: int
) -> dict:
    """One row: rates of both models, time to load, error."""
    world = bench(transmitters, elements, receivers, scatterers, moving)
    airings = start(world, 15360)
    names = [name for name in world.radios if name.startswith("rx")]
    begin = time.thread_time()
    for name in names:
        world.radio(name).capture(BLOCK, 1.0)
    load = time.thread_time() - begin
    tunings = {name: world.truth.windows(name)[-1][:2] for name in names}
    ours = best(lambda: [world.samples(*tunings[name], samples) for name in names], times)
    peer = best(lambda: [plain(world, tunings[name][0], airings, tunings[name][1], samples) for name in names], max(1, times - 2))
    short = max(error_db(world, *tunings[name], samples) for name in names[:1])
    return {"what": label, "ours": samples / ours / 1e6, "peer": samples / peer / 1e6, "load_s": load, "error_db": short}


def frame(times: int) -> tuple[float, float]:
    """A measuring frame of 153440 samples, two access points of four elements, six receive antennas, seven still paths and a target:
    seconds to build all tables, and seconds for a 50 ms capture of four channels once they are there."""
    spent = []
    for _ in range(times):
        world = bench(2, 4, [1, 1, 4], 6, True)
        start(world, 153440)
        begin = time.thread_time()
        for name in ("rx0", "rx1", "rx2"):
            world.radio(name).capture(BLOCK, 1.0)
        spent.append(time.thread_time() - begin)
    capture = best(lambda: world.radio("rx2").capture(768000, 1.0), times)
    return min(spent), capture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer repetitions, under 50 s")
    times = 3 if parser.parse_args().quick else 7
    samples = 64 * BLOCK
    rows = [
        case("8x4x4 static", 2, 4, [4], 3, False, samples, times),
        case("8x4x4 target", 2, 4, [4], 3, True, samples, times),
        case("16x4x6 static", 4, 4, [4], 5, False, samples, times),
        case("16x4x6 target", 4, 4, [4], 5, True, samples, times),
    ]
    print(f"{'transmit x receive x paths':28} {'ours MS/s':>10} {'numpy MS/s':>11} {'ratio':>6} {'load s':>7} {'error dB':>9}")
    for row in rows:
        ratio = row["ours"] / row["peer"]
        print(f"{row['what']:28} {row['ours']:10.2f} {row['peer']:11.2f} {ratio:6.1f} {row['load_s']:7.3f} {row['error_db']:9.1f}")
    buffer = np.zeros((2, 1 << 20), np.float32)
    noise_rate = buffer.shape[1] / best(lambda: noise.add(1, 0, 1.0, buffer[0], buffer[1]), times) / 1e6
    rng = np.random.default_rng(1)
    numpy_rate = buffer.shape[1] / best(lambda: rng.standard_normal((2, buffer.shape[1]), np.float32), times) / 1e6
    print(f"{'complex noise':28} {noise_rate:10.0f} {numpy_rate:11.0f} {noise_rate / numpy_rate:6.1f}")
    build_s, capture_s = frame(min(times, 3))
    print(f"measuring frame: tables for 6 receive antennas {build_s:.3f} s; 50 ms of 4 channels with a walking target {capture_s:.3f} s")
    bars = [
        ("16x4x6 static, MS/s", rows[2]["ours"], 8.0, rows[2]["ours"] >= 8.0),
        ("16x4x6 with a walking target, MS/s", rows[3]["ours"], 5.0, rows[3]["ours"] >= 5.0),
        ("error against the reference, dB", max(row["error_db"] for row in rows), -100.0, max(row["error_db"] for row in rows) <= -100.0),
        ("complex noise, MS/s", noise_rate, 100.0, noise_rate >= 100.0),
        ("tables of a measuring frame, s", build_s, 0.5, build_s <= 0.5),
        ("50 ms capture of 4 channels, s", capture_s, 0.4, capture_s <= 0.4),
    ]
    results = [{"what": what, "value": round(float(value), 4), "bar": bar, "ok": bool(ok)} for what, value, bar, ok in bars]
    print(json.dumps({"benchmark": "medium", "results": results}))


if __name__ == "__main__":
    main()
