"""The bench of two cells in numbers: what every link, the room's echoes and every target's echo amount to. From the emulator's truth.

    python -m benchmarks.cells [--bench examples/multicell] [--seeds 20]

All elements of a base station at their cap, without any beam: SNR of a tone at each user from either station; ripple of a link over 1 MHz
and rms delay spread times 1 MHz; SNR of each target's echo at one receiving antenna after 50 ms; what a station hears of itself and of the
other, over noise of the whole band.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

import hil.bench
from hil.clock import VirtualClock
from hil.units import SPEED_OF_LIGHT
from hil.waveform.numerology import Numerology

ROOT = Path(__file__).resolve().parents[1]
KT = 1.380649e-23 * 290.0  # W/Hz
NARROW_HZ, LOOK_S = 1e6, 0.05


def db(ratio: ArrayLike) -> NDArray[np.float64]:
    """Of powers."""
    return 10.0 * np.log10(ratio)


@dataclass(frozen=True)
class Budget:
    """Decibels. snr: (station, user) of a tone. ripple: (station, user), worst antenna. spread: rms delay times 1 MHz. echo: (station, target
    of station) at one antenna after LOOK_S, by that station's own light. itself, other: (station,) heard over the noise of the band.
    bearing: (station, user and then target) degrees from broadside; distance: metres, likewise."""

    snr: NDArray[np.float64]
    ripple: NDArray[np.float64]
    spread: NDArray[np.float64]
    echo: NDArray[np.float64]
    itself: NDArray[np.float64]
    other: NDArray[np.float64]
    bearing: NDArray[np.float64]
    distance: NDArray[np.float64]


def budget(bench: hil.bench.Bench, seed: int) -> Budget:
    """Of one seed's room."""
    scenario, testbed = bench.scenario, bench.testbed
    world = hil.bench.build_world(bench, seed, VirtualClock())
    signal = scenario.signal
    numerology = Numerology(signal.sample_rate_hz, signal.used_bandwidth_hz)
    noise = KT * 10.0 ** (world.emulated.receiver.noise_figure_db / 10.0)  # W/Hz, where the gain is high
    cells = [(scenario.part(cell.transmit), scenario.part(cell.receive), cell) for cell in scenario.cell]
    radios = [testbed.wire_of(send.name).radio for send, _, _ in cells]
    narrow = np.linspace(-NARROW_HZ / 2, NARROW_HZ / 2, 41)
    shape = len(cells), len(scenario.user)
    snr, ripple, spread = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    echo, itself, other = np.zeros((3, len(cells)))
    places = [*(user.position_m for user in scenario.user), *(world.truth.target(name=name)[0] for name in scenario.targets)]
    away = np.array([[np.subtract(place, send.origin_m) for place in places] for send, _, _ in cells])
    distance = np.linalg.norm(away, axis=-1)
    bearing = np.degrees(np.arcsin(np.einsum("nps,ns->np", away, np.array([send.axis for send, _, _ in cells])) / distance))
    for n, (send, _, _) in enumerate(cells):
        for u, user in enumerate(scenario.user):
            rays = world.truth.rays(radios[n], testbed.wire_of(user.name).radio)
            delay, gain = rays.delay[:, 0], rays.gain[:, 0]
            tone = send.elements * send.element_power / numerology.used
            snr[n, u] = db(tone * np.mean(np.sum(np.abs(gain) ** 2, axis=0)) / (noise * numerology.spacing_hz))
            turned = gain * np.exp(-2j * np.pi * signal.carrier_hz * delay)
            level = db(np.abs(np.einsum("pe,pef->ef", turned, np.exp(-2j * np.pi * delay[..., None] * narrow))) ** 2)
            ripple[n, u] = np.max(np.ptp(level, axis=1))
            share = np.abs(gain) ** 2 / np.sum(np.abs(gain) ** 2, axis=0)
            mean = np.sum(share * delay, axis=0)
            spread[n, u] = NARROW_HZ * np.max(np.sqrt(np.sum(share * (delay - mean) ** 2, axis=0)))
        own, far = (world.truth.rays(radio, radios[n]).gain for radio in (radios[n], radios[1 - n]))
        heard = send.element_power * np.sum(np.mean(np.abs(own[-len(cells) :][n]) ** 2, axis=0))
        echo[n] = db(heard * LOOK_S / noise)
        for out, gains in ((itself, own), (other, far)):
            out[n] = db(send.element_power * np.sum(np.mean(np.abs(gains[0]) ** 2, axis=0)) / (noise * signal.sample_rate_hz))
    return Budget(snr, ripple, spread, echo, itself, other, bearing, distance)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.cells", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", type=Path, default=ROOT / "examples" / "multicell")
    parser.add_argument("--seeds", type=int, default=20)
    told = parser.parse_args(arguments)
    bench = hil.bench.load(told.bench)
    scenario = bench.scenario
    found = [budget(bench, seed) for seed in range(1, told.seeds + 1)]
    first, cell_of = found[0], {user: n for n, cell in enumerate(scenario.cell) for user in cell.users}
    names = [user.name for user in scenario.user] + list(scenario.targets)
    users = len(scenario.user)
    print(f"seed 1; wavelength {SPEED_OF_LIGHT / scenario.signal.carrier_hz * 1e3:.1f} mm")
    print(f"{'':8}{'from':>6}" + "".join(f"{name:>8}" for name in names))
    for n, cell in enumerate(scenario.cell):
        for what, row, digits in (("metres", first.distance[n], 1), ("degrees", first.bearing[n], 1), ("SNR, dB", first.snr[n], 1),
                                  ("ripple", first.ripple[n], 2), ("spread", first.spread[n], 3)):  # fmt: skip
            print(f"{what:8}{cell.name:>6}" + "".join(f"{value:8.{digits}f}" for value in row))
    mine = np.array([[cell_of[user.name] == n for user in scenario.user] for n in range(len(scenario.cell))])
    snr, ripple, spread = (np.array([getattr(one, key) for one in found]) for key in ("snr", "ripple", "spread"))
    apart = np.array([[np.min(np.abs(np.delete(row, at) - row[at])) for row in one.bearing for at in range(users, row.size)] for one in found])
    print(f"\n{told.seeds} seeds: median, least .. largest")
    for what, values in (
        ("SNR of a tone within cells, dB", snr[:, mine]), ("between cells, dB", snr[:, ~mine]), ("ripple over 1 MHz, dB", ripple),
        ("delay spread x 1 MHz", spread), ("echo after 50 ms, dB", np.array([one.echo for one in found])),
        ("station heard by itself over noise, dB", np.array([one.itself for one in found])),
        ("by the other, dB", np.array([one.other for one in found])), ("a target from anybody else, degrees", apart),
    ):  # fmt: skip
        print(f"{what:42}{np.median(values):8.3g}   {values.min():.3g} .. {values.max():.3g}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
