"""The emulator's medium with every impairment on: speed, time to load, error against the reference, noise, memory, cost.

Rates are time steps per second of one core (processor time of this thread, best of several): 4 channels at 10 MS/s are 40 million samples
a second. What is timed is `World.samples`: paths, oscillators, phase noise, receiver noise, the receive chain and 12-bit conversion.
Amplifiers and tables are paid when a waveform is loaded and when antennas come to rest, in the column "load".

Peers, in the same run and turn about with ours: `paths`, plain numpy, every pair and path at a whole number of samples, one rotation per
transmitter, PCG64 noise; `FFT FIR`, overlap-save with a matrix of responses (4096 points, hop 3072, scipy.fft in single precision), the
same rotation and noise. Both are cheaper physics that stands still: no clocks, no phase noise, no filter, no converter.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
import tracemalloc
from collections.abc import Callable

import numpy as np
import scipy.fft

from benchmarks.turns import interleaved
from hil.clock import VirtualClock
from hil.device import Move, Setting
from sim_backend import noise, oracle
from sim_backend.history import Airing, Tuning
from sim_backend.kernels import BLOCK
from sim_backend.world import World, build

CARRIER, RATE = 3.5e9, 15.36e6
HALF_WAVE = 299792458.0 / CARRIER / 2
PERIOD = 15360
SIZE, HOP = 4096, 3072  # of the FFT matrix FIR
QUIET = (0, 0.0)
MOTIONS = ("static", "target", "elements")
Window = tuple[Tuning, int]


def bench(transmitters: int, elements: int, receivers: list[int], scatterers: int, motion: str) -> World:
    """Access points along a wall, their elements on carriages, receivers across the room. motion: one of MOTIONS; both others walk a
    target as well."""

    def radio(name: str, side: str, count: int, x: float, y: float) -> dict:
        capability = {
            "transmit_channels": count if side == "transmit" else 0, "receive_channels": count if side == "receive" else 0,
            "carrier_hz": [70e6, 6e9], "sample_rate_hz": [0.5e6, 61.44e6], "receive_gain_db": [0.0, 70.0], "receive_gain_step_db": 1.0,
            "attenuation_db": [0.0, 80.0], "attenuation_step_db": 0.25, "bits": 12, "transmit_full_scale_dbm": 7.0,
            "receive_full_scale_dbm": -10.0,
        }  # fmt: skip
        antennas = [
            {"transmit": None, "receive": None, side: i, "origin_m": [x, y, 2.0], "axis": [0.0, 1.0, 0.0], "offset_m": i * HALF_WAVE}
            | ({"stage": f"rail-{name}", "stage_axis": "abcd"[i], "sign": 1} if side == "transmit" else {})
            for i in range(count)
        ]
        return {"name": name, "capability": capability, "antennas": antennas}

    axis = {"steps_per_mm": 80.0, "travel_mm": [-500.0, 500.0], "speed_mm_s": 100.0, "acceleration_mm_s2": 500.0, "start_mm": 0.0}
    aps = [f"ap{i}" for i in range(transmitters)]
    radios = [radio(name, "transmit", elements, 0.0, 2.0 * i) for i, name in enumerate(aps)]
    radios += [radio(f"rx{i}", "receive", count, 14.0, 3.0 * i - 2.0) for i, count in enumerate(receivers)]
    site = {
        "carrier_hz": CARRIER, "seed": 1, "radios": radios,
        "stages": [{"name": f"rail-{name}", "axes": {letter: axis for letter in "abcd"[:elements]}} for name in aps],
        "targets": [] if motion == "static" else [{"name": "target", "position_m": [9.0, -4.0, 1.0], "speed_m_s": 1.0}],
        "emulated": {"severity": 1.0, "room": {"scatterers": scatterers}},
    }  # fmt: skip
    return build(site, VirtualClock())


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


def listen(world: World, samples: int, motion: str) -> tuple[list[Window], float]:
    """A window of `samples` per receiver, with everything in motion that shall be, and the seconds that amplifiers and tables took."""
    names = [name for name in world.radios if name.startswith("rx")]
    begin = time.thread_time()
    for name in names:
        world.radio(name).capture(BLOCK, 1.0)
    load = time.thread_time() - begin
    if motion == "elements":
        moves = [
            lambda stage=stage, k=k: stage.move(Move({axis: 0.2 + 0.01 * k for axis in stage.where().axes}, 0.1, 0.5), 20.0)
            for k, stage in enumerate(world.stages.values())
        ]
        world.clock.together([*moves, lambda: world.advance(0.5)])
        back = 1.5  # seconds; the moves take longer than two
    else:
        world.advance(samples / RATE + 0.01)
        back = 0.0
    windows = []
    for name in names:
        tuning, first, _ = world.truth.windows(name)[-1]
        windows.append((tuning, first if not back else tuning.oscillator.next_tick(world.now.after(-back), tuning.rate)))
    return windows, load


def plain(world: World, window: Window, airings: list[Airing], count: int) -> np.ndarray:
    """The numpy model: (antenna, sample)."""
    tuning, first = window
    at = tuning.oscillator.tick(first, tuning.rate)
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
        out = rotated(airing, tuning, heard, first) if out is None else out + rotated(airing, tuning, heard, first)
    return noisy(out)


def responses(world: World, window: Window, airings: list[Airing]) -> list[np.ndarray]:
    """What the FFT matrix FIR knows beforehand: (receive antenna, element, bin) of every transmission."""
    tuning, first = window
    at = tuning.oscillator.tick(first, tuning.rate)
    found = [world.truth.rays(airing.radio, tuning.radio, at) for airing in airings]
    bins = np.fft.fftfreq(SIZE, 1 / RATE)
    return [(gain[..., None] * np.exp(-2j * np.pi * delay[..., None] * (CARRIER + bins))).sum(axis=0).astype(np.complex64) for delay, gain in found]


def filtered(known: list[np.ndarray], window: Window, airings: list[Airing], count: int) -> np.ndarray:
    """The FFT matrix FIR: (antenna, sample)."""
    tuning, first = window
    blocks = -(-count // HOP)
    out = None
    for airing, response in zip(airings, known):
        waveform = (airing.program.codes / airing.program.full_scale * airing.amplitude[:, None]).astype(np.complex64)
        begin = (first - airing.first_tick - (SIZE - HOP)) % waveform.shape[1]
        laps = np.tile(waveform, (1, -(-(blocks * HOP + SIZE) // waveform.shape[1]) + 1))[:, begin:]
        spectra = scipy.fft.fft(np.lib.stride_tricks.sliding_window_view(laps, SIZE, axis=1)[:, : blocks * HOP : HOP], axis=2)
        heard = np.zeros((response.shape[0], blocks, SIZE), np.complex64)
        for r, row in enumerate(response):
            for one, spectrum in zip(row, spectra):
                heard[r] += one * spectrum
        heard = scipy.fft.ifft(heard, axis=2, overwrite_x=True)[:, :, SIZE - HOP :].reshape(heard.shape[0], -1)[:, :count]
        out = rotated(airing, tuning, heard, first) if out is None else out + rotated(airing, tuning, heard, first)
    return noisy(out)


def rotated(airing: Airing, tuning: Tuning, heard: np.ndarray, first: int) -> np.ndarray:
    at = tuning.oscillator.tick(first, tuning.rate)
    offset = CARRIER * (airing.oscillator.error(at)[1] - tuning.oscillator.error(at)[1])
    return heard * np.exp(2j * np.pi * offset / RATE * np.arange(heard.shape[1])).astype(np.complex64)


def noisy(out: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(1)
    return out + 1e-7 * (rng.standard_normal(out.shape, np.float32) + 1j * rng.standard_normal(out.shape, np.float32))


def best(call: Callable[[], object], times: int) -> float:
    """Least processor seconds of this thread, so that a busy machine says nearly the same."""
    return min(interleaved([call], times))


def error_db(world: World, window: Window, count: int, phase_noise: bool) -> float:
    """Error of the medium against the reference, relative to the received power, at 24 samples of a window."""
    tuning, first = window
    airings = world.airings()
    if not phase_noise:
        tuning = dataclasses.replace(tuning, phase_noise=QUIET)
        airings = [dataclasses.replace(airing, phase_noise=QUIET) for airing in airings]
    ticks = np.sort(first + np.random.default_rng(2).choice(count, 24, replace=False))
    exact, found = oracle.receive(world.room, tuning, airings, list(ticks)), []
    for tick in ticks:
        block = int(tick - tick % BLOCK)
        re, im = np.zeros((2, exact.shape[0], BLOCK), np.float32)
        world.medium.receive(tuning, airings, block, re, im)
        found.append((re + 1j * im)[:, int(tick) - block])
    return float(10 * np.log10((np.abs(np.array(found).T - exact) ** 2).mean() / (np.abs(exact) ** 2).mean()))


def case(label: str, transmitters: int, elements: int, receivers: list[int], paths: int, times: int, samples: int) -> dict:
    """One row: rates of three motions and of the peers, time to load, errors."""
    row: dict = {"what": label}
    for motion in MOTIONS:
        row |= measured(bench(transmitters, elements, receivers, paths - 1, motion), motion, times, samples)
    return row


def measured(world: World, motion: str, times: int, samples: int) -> dict:
    airings = start(world, PERIOD)
    windows, load = listen(world, samples, motion)
    calls: list[Callable[[], object]] = [lambda: [world.samples(*window, samples) for window in windows]]
    if motion == "target":
        known = [responses(world, window, airings) for window in windows]
        calls.append(lambda: [plain(world, window, airings, samples) for window in windows])
        calls.append(lambda: [filtered(one, window, airings, samples) for one, window in zip(known, windows)])
    rates = [samples / seconds / 1e6 for seconds in interleaved(calls, times)]
    found = dict(zip((motion, "paths", "fir"), rates)) | {f"{motion} error": error_db(world, windows[0], samples, phase_noise=False)}
    if motion == "static":
        found |= {"load": load, "noisy error": error_db(world, windows[0], samples, phase_noise=True)}
    return found


def cost(motion: str, paths: int, times: int, samples: int) -> float:
    """Nanoseconds a time step of 8 x 4 with so many still paths."""
    world = bench(2, 4, [4], paths - 1, motion)
    start(world, PERIOD)
    (window,), _ = listen(world, samples, motion)
    return best(lambda: world.samples(*window, samples), times) / samples * 1e9


def memory(lengths: tuple[int, ...]) -> list[float]:
    """MiB beside the samples themselves that a capture needs at most, for several lengths."""
    world = bench(2, 4, [4], 3, "target")
    start(world, PERIOD)
    (window,), _ = listen(world, max(lengths), "target")
    world.samples(*window, BLOCK)
    found = []
    for length in lengths:
        tracemalloc.start()
        samples, _ = world.samples(*window, length)
        found.append((tracemalloc.get_traced_memory()[1] - samples.nbytes) / 2**20)
        tracemalloc.stop()
    return found


def gaussian(samples: int) -> tuple[list[tuple[int, float]], int]:
    """Of the receiver's noise: samples beyond 3, 4, 5 sigma against those of a normal distribution, and words that came twice."""
    part, beyond = np.zeros((2, 1 << 20), np.float32), np.zeros(3)
    for first in range(0, samples, part.shape[1]):
        part[:] = 0.0
        noise.add(7, first, 2.0, part[0], part[1])
        beyond += [np.count_nonzero(np.abs(part) > sigma) for sigma in (3, 4, 5)]
    expected = np.array([2.6997961e-3, 6.3342484e-5, 5.7330314e-7]) * 2 * samples
    words = noise.words(7, 0, 1 << 20).astype(np.uint64)
    pairs = np.concatenate([(words[0] << 32) | words[1], (words[2] << 32) | words[3]])
    return [(sigma, float(ratio)) for sigma, ratio in zip((3, 4, 5), beyond / expected)], pairs.size - np.unique(pairs).size


def frame(times: int) -> tuple[float, float]:
    """A measuring frame of 153440 samples, two access points of four elements, six receive antennas, seven still paths and a target:
    seconds to build all tables, and seconds for a 50 ms capture of four channels once they are there."""
    spent = []
    for _ in range(times):
        world = bench(2, 4, [1, 1, 4], 6, "target")
        start(world, 153440)
        begin = time.thread_time()
        for name in ("rx0", "rx1", "rx2"):
            world.radio(name).capture(BLOCK, 1.0)
        spent.append(time.thread_time() - begin)
    capture = best(lambda: world.radio("rx2").capture(768000, 1.0), times)
    return min(spent), capture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer repetitions, shorter windows")
    quick = parser.parse_args().quick
    times, samples = (3, 128 * BLOCK) if quick else (7, 256 * BLOCK)
    cases = [("1x1x4", 1, 1, [1], 4), ("8x4x4", 2, 4, [4], 4), ("16x4x6", 4, 4, [4], 6), ("16x16x10", 4, 4, [4] * 4, 10)]
    rows = [case(*sizes, times, samples) for sizes in cases]
    columns = ("static", "target", "elements", "paths", "fir", "load", "static error", "target error", "elements error", "noisy error")
    heads = ("static", "target", "elements", "np paths", "FFT FIR", "load s", "static dB", "target dB", "elem. dB", "+ph.noise")
    print("T x R x paths   MS/s per core, every impairment on        peers            error against the reference")
    print(f"{'':10}" + "".join(f"{head:>10}" for head in heads))
    for row in rows:
        print(f"{row['what']:10}" + "".join(f"{row[column]:10.{3 if column == 'load' else 1 if 'error' in column else 2}f}" for column in columns))
    pairs = [transmitters * elements * sum(receivers) for _, transmitters, elements, receivers, _ in cases]
    growth = []  # (what, ratio, bar)
    for motion in (*MOTIONS, "paths", "fir"):
        each = [1e3 / row[motion] / count for row, count in zip(rows, pairs)]
        print(f"ns a time step, per transmit x receive antenna, {motion}: " + ", ".join(f"{case[0]} {ns:.2f}" for case, ns in zip(cases, each)))
        if motion in MOTIONS:
            growth.append((f"cost per transmit x receive antenna, 16x16x10 over 8x4x4, {motion}", each[3] / each[1], 1.1))
    for motion in MOTIONS:
        steps = {paths: cost(motion, paths, max(2, times - 3), samples // 2) for paths in (1, 4, 16)}
        print(f"8x4, {motion}: " + ", ".join(f"{paths} paths {ns:.0f} ns" for paths, ns in steps.items()))
        growth.append((f"cost of 16 still paths over 4, {motion}", steps[16] / steps[4], 1.5))
    buffer = np.zeros((2, 1 << 20), np.float32)
    noise_rate = buffer.shape[1] / best(lambda: noise.add(1, 0, 1.0, buffer[0], buffer[1]), times) / 1e6
    rng = np.random.default_rng(1)
    numpy_rate = buffer.shape[1] / best(lambda: rng.standard_normal((2, buffer.shape[1]), np.float32), times) / 1e6
    tails, twice = gaussian(1 << (22 if quick else 25))
    print(f"complex noise {noise_rate:.0f} MS/s (numpy {numpy_rate:.0f}); beyond " + ", ".join(f"{s} sigma {r:.3f}" for s, r in tails)
          + f" of normal; {twice} of 2^21 words came twice")  # fmt: skip
    lengths = (1 << 20, 1 << 21, 1 << 23)
    peaks = memory(lengths[: 2 if quick else 3])
    print("memory beside the samples: " + ", ".join(f"2^{length.bit_length() - 1} samples {peak:.0f} MiB" for length, peak in zip(lengths, peaks)))
    build_s, capture_s = frame(min(times, 3))
    print(f"measuring frame: tables for 6 receive antennas {build_s:.3f} s; 50 ms of 4 channels with a walking target {capture_s:.3f} s")
    middle = rows[2]
    bars = [
        ("16x4x6 static, MS/s", middle["static"], 8.0, middle["static"] >= 8.0),
        ("16x4x6 with a walking target, MS/s", middle["target"], 5.0, middle["target"] >= 5.0),
        ("16x4x6 with elements in motion, MS/s", middle["elements"], 1.3, middle["elements"] >= 1.3),
        *[
            (f"error, {motion}, dB", max(row[f"{motion} error"] for row in rows), bar, max(row[f"{motion} error"] for row in rows) <= bar)
            for motion, bar in zip(MOTIONS, (-100.0, -100.0, -70.0))
        ],
        *[(what, ratio, bar, ratio <= bar) for what, ratio, bar in growth],
        ("complex noise, MS/s", noise_rate, 100.0, noise_rate >= 100.0),
        ("noise words that came twice", twice, 0, twice == 0),
        ("memory of the longest capture over the shortest", peaks[-1] / peaks[0], 1.1, peaks[-1] <= 1.1 * peaks[0]),
        ("tables of a measuring frame, s", build_s, 0.5, build_s <= 0.5),
        ("50 ms capture of 4 channels, s", capture_s, 0.4, capture_s <= 0.4),
    ]
    results = [{"what": what, "value": round(float(value), 4), "bar": bar, "ok": bool(ok)} for what, value, bar, ok in bars]
    print(json.dumps({"benchmark": "medium", "results": results}))


if __name__ == "__main__":
    main()
