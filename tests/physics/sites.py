"""Small benches and single links for the emulator's tests, as plain values."""

from __future__ import annotations

from typing import Any

import numpy as np

from hil.clock import Instant, VirtualClock
from hil.device import Setting
from sim_backend import oracle, receive
from sim_backend.history import Airing, Program, Tuning
from sim_backend.kernels import BLOCK
from sim_backend.medium import Medium
from sim_backend.oscillator import Oscillator
from sim_backend.paths import Path, Rays, trace
from sim_backend.world import World, build

CARRIER, RATE = 3.5e9, 15.36e6
WAVELENGTH = 299792458.0 / CARRIER
CAPABILITY = {
    "carrier_hz": [70e6, 6e9],
    "sample_rate_hz": [0.5e6, 61.44e6],
    "receive_gain_db": [-3.0, 71.0],
    "receive_gain_step_db": 1.0,
    "attenuation_db": [0.0, 89.75],
    "attenuation_step_db": 0.25,
    "bits": 12,
    "transmit_full_scale_dbm": 7.0,
    "receive_full_scale_dbm": -10.0,
}
PERFECT = Oscillator()
OSCILLATOR = {"class": "tcxo", "spread_ppm": 3.0, "clock_offset_ns": 300.0}  # what the sites' clocks are unless a test says otherwise
QUIET = {"bits": 24, "noise_figure_db": -1000.0}  # a receiver that adds nothing


def radio(name: str, transmit: int, receive: int, origin: list[float], *, stage: str | None = None, **capability: Any) -> dict:
    """Transmit element i and receive antenna i hang on channel i, half a wavelength apart along y."""
    antennas = []
    for side, count in (("transmit", transmit), ("receive", receive)):
        for channel in range(count):
            place: dict[str, Any] = {
                "origin_m": list(origin),
                "axis": [0.0, 1.0, 0.0],
                "offset_m": (channel - (count - 1) / 2) * WAVELENGTH / 2,
            }
            if stage and side == "transmit":
                place |= {"stage": stage, "stage_axis": "abcd"[channel], "sign": 1, "offset_m": 0.0}
            antennas.append({"transmit": None, "receive": None, side: channel, "gain_dbi": 0.0} | place)
    fields = {**CAPABILITY, "transmit_channels": transmit, "receive_channels": receive, **capability}
    return {"name": name, "serial": f"emulated-{name}", "part": "fmcomms5", "capability": fields, "antennas": antennas}


def rail(name: str = "rail1", axes: str = "abcd", **more: Any) -> dict:
    """Carriages that start half a wavelength apart."""
    axis = {"steps_per_mm": 80.0, "travel_mm": [-400.0, 400.0], "speed_mm_s": 100.0, "acceleration_mm_s2": 500.0}
    half = WAVELENGTH / 2 * 1e3
    return {"name": name, "axes": {letter: {**axis, "start_mm": (i - 1.5) * half} for i, letter in enumerate(axes)}, **more}


def site(radios: list[dict], **more: Any) -> dict:
    """Devices are ideal but for their oscillators, and for what `emulated` says."""
    emulated = {"severity": 0.0, **(more.pop("emulated", None) or {})}
    emulated["oscillator"] = OSCILLATOR | emulated.get("oscillator", {})
    return {"carrier_hz": CARRIER, "seed": 1, "radios": radios, "stages": [], "targets": [], "emulated": emulated, **more}


def trial(seed: int = 1, emulated: dict | None = None, target: bool = True) -> dict:
    """Two access points with four carriages each, a sensing array, two users, a walking target."""
    return site(
        [
            radio("ap1", 4, 4, [0.0, -3.0, 2.0], stage="rail1"),
            radio("ap2", 4, 4, [0.0, 3.0, 2.0], stage="rail2"),
            radio("sense1", 0, 4, [2.0, 0.0, 2.0]),
            radio("u1", 0, 1, [14.0, 3.0, 1.5]),
            radio("u2", 0, 1, [11.0, -6.0, 1.5]),
        ],
        stages=[rail("rail1"), rail("rail2")],
        targets=[{"name": "target", "position_m": [9.0, -4.0, 1.0], "position_std_m": 2.0, "speed_m_s": 1.0}] if target else [],
        seed=seed,
        emulated=emulated,
    )


def pair(emulated: dict | None = None, *, transmit: int = 2, receive: int = 2, seed: int = 1, **more: Any) -> dict:
    """One transmitter and one receiver 10 m apart, no scatterers unless `emulated` says so."""
    radios = [radio("a", transmit, 0, [0.0, 0.0, 1.0]), radio("b", 0, receive, [10.0, 0.0, 1.0])]
    return site(radios, seed=seed, emulated={"room": {"scatterers": 0}, **(emulated or {})}, **more)


def waveform(rng: np.random.Generator, channels: int, samples: int, used: float = 0.375, rms: float = 0.2) -> np.ndarray:
    """Random tones within +-used of the rate, (channel, sample), within full scale."""
    tones = np.abs(np.fft.fftfreq(samples)) <= used
    spectrum = np.zeros((channels, samples), complex)
    spectrum[:, tones] = rng.standard_normal((channels, tones.sum())) + 1j * rng.standard_normal((channels, tones.sum()))
    x = np.fft.ifft(spectrum, axis=1)
    x *= rms / np.sqrt((np.abs(x) ** 2).mean())
    return (np.clip(x.real, -1, 1) + 1j * np.clip(x.imag, -1, 1)).astype(np.complex64)


def configure(world: World, *, gain: float = 40.0, attenuation: float = 20.0, carrier: float = CARRIER, rate: float = RATE) -> None:
    """Every radio of a world, one setting for all channels."""
    for one in world.radios.values():
        limits = one.capability
        one.configure(Setting(carrier, rate, (gain,) * limits.receive_channels, (attenuation,) * limits.transmit_channels))


def running(site: dict, waveforms: dict[str, np.ndarray], *, start: Instant | None = None, oscillators=None, **setting: float) -> World:
    """A world whose radios send these waveforms, some milliseconds on. oscillators: name -> Oscillator instead of the drawn ones."""
    world = build(site, VirtualClock(start or Instant(0, 0.0)))
    for name, oscillator in (oscillators or {}).items():
        world.oscillators[name] = world.radio(name)._oscillator = oscillator
    configure(world, **setting)
    for version, (name, samples) in enumerate(waveforms.items(), start=1):
        world.radio(name).load(version, samples)
        world.radio(name).apply(version)
    world.advance(0.005)
    return world


def at_port(world: World, tuning: Tuning, ticks: np.ndarray) -> np.ndarray:
    """What the medium and the noise put on the receive ports at single ticks, (antenna, tick) square-root watts."""
    out = []
    for n in ticks:
        block = int(n - n % BLOCK)
        re, im = world.port(tuning, block, 1, world.airings())
        out.append((re + 1j * im)[:, int(n) - block])
    return np.array(out).T


def error_db(found: np.ndarray, wanted: np.ndarray, of: np.ndarray | None = None) -> float:
    """Power of the difference against that of `of` (else of `wanted`)."""
    return 10 * np.log10((np.abs(found - wanted) ** 2).mean() / (np.abs(wanted if of is None else of) ** 2).mean())


class Still:
    """A scene of given paths between given antennas; `track` moves a path of its own: instant -> Path."""

    def __init__(self, paths: list[Path], transmit=((0.0, 0.0, 0.0),), receive=((0.0, 0.0, 0.0),), track=None) -> None:
        self._paths, self._transmit, self._receive, self._track = paths, np.array(transmit), np.array(receive), track

    def moves_within(self, transmitter, receiver, begin, end) -> bool:
        return False

    def place(self, transmitter, receiver, at):
        return ()

    def static(self, transmitter, receiver, at) -> Rays:
        return self._rays(self._paths, at)

    def moving(self, transmitter, receiver, at) -> Rays:
        return self._rays([] if self._track is None else [self._track(at)], at)

    def _rays(self, paths, at) -> Rays:
        shape = (len(at), 1, 1)
        return trace(paths, np.tile(self._transmit, shape), np.tile(self._receive, shape), WAVELENGTH)


def spectrum_of(bins: dict[int, complex], period: int = 64) -> np.ndarray:
    """One element's waveform, (1, sample), with these Fourier coefficients."""
    n = np.arange(period)
    return sum(z * np.exp(2j * np.pi * k * n / period) for k, z in bins.items())[None]


def airing(samples: np.ndarray, oscillator: Oscillator = PERFECT, phase: float = 0.0, start: int = 0, **more: Any) -> Airing:
    """Samples in square-root watts on the air since tick `start`. phase: rad."""
    elements = np.arange(samples.shape[0])
    first = oscillator.tick(start, int(RATE))
    fields = dict(carrier=int(CARRIER), rate=int(RATE), first_tick=start, start=first, phase=phase / (2 * np.pi), number=1)
    return Airing("tx", Program(1, samples, 1), elements, np.ones(elements.size), oscillator, **(fields | more))


def tuning(oscillator: Oscillator = PERFECT, phase: float = 0.0, carrier: float = CARRIER, rate: float = RATE) -> Tuning:
    return Tuning("rx", oscillator, int(carrier), int(rate), phase / (2 * np.pi))


def tabled(scene, tuned: Tuning, airings: list[Airing], ticks, antennas: int = 1) -> np.ndarray:
    """What the fast medium gives at single ticks, (antenna, tick)."""
    medium, out = Medium(scene), []
    for n in ticks:
        re, im = np.zeros((2, antennas, BLOCK), np.float32)
        medium.receive(tuned, airings, int(n - n % BLOCK), re, im)
        out.append((re + 1j * im)[:, int(n % BLOCK)])
    return np.array(out).T


def exact(scene, tuned: Tuning, airings: list[Airing], ticks) -> np.ndarray:
    """What the reference gives at single ticks, (antenna, tick)."""
    return oracle.receive(scene, tuned, airings, list(ticks))


def digitise(port_re: np.ndarray, port_im: np.ndarray, scale: np.ndarray, bits: int) -> tuple[np.ndarray, int]:
    """Fractions of full scale behind an ideal receive chain, (channel, sample), and how many samples met a rail."""
    return receive.Front.ideal(scale).digitise(port_re, port_im, 0, RATE, bits, 0, port_re.shape[1])
