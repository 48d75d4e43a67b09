"""The emulated bench with a walking target, captured by the sensing array while both access points send measuring frames."""

import numpy as np
from sites import CARRIER, RATE, WAVELENGTH, radio, rail, site

from hil.clock import VirtualClock
from hil.device import Setting
from hil.estimate.acquisition import acquire
from hil.estimate.echoes import Illumination
from hil.waveform import MeasuringFrame, Numerology, amplitude
from sim_backend.world import build

GRID = Numerology(RATE, 11.52e6)
PRIOR = {"name": "target", "position_m": [9.0, -4.0, 1.0], "position_std_m": 2.0, "speed_m_s": 1.0}


def bench(seed, emulated=None):
    sense = radio("sense1", 0, 4, [0.0, 8.0, 2.0])
    for antenna, x in zip(sense["antennas"], np.linspace(-4, 4, 4) * WAVELENGTH):
        antenna["offset_m"] = float(x)
    rails = [rail("rail1"), rail("rail2")]
    for each, layout in zip(rails, ([-4.0, -1.7, 0.9, 4.0], [-3.6, -1.1, 1.9, 3.3])):
        for axis, x in zip("abcd", layout):
            each["axes"][axis]["start_mm"] = x * WAVELENGTH * 1e3
    radios = [radio("ap1", 4, 4, [0.0, 0.0, 2.0], stage="rail1"), radio("ap2", 4, 4, [0.0, -7.0, 2.0], stage="rail2"), sense]
    return build(site(radios, stages=rails, targets=[PRIOR], seed=seed, emulated=emulated), VirtualClock())


def precoder(world, name, user, rng):
    """(block, antenna, 1) at -20 dBm per element: matched to a user on each block's true channel, with some spread."""
    elements = world.truth.elements(name, "transmit")
    w = np.exp(2j * np.pi / WAVELENGTH * np.linalg.norm(elements - user, axis=1))
    w = w + 0.7 * (rng.standard_normal((GRID.blocks, 4)) + 1j * rng.standard_normal((GRID.blocks, 4)))
    w = w / np.sqrt(np.mean(np.abs(w) ** 2, axis=0)) * np.sqrt(1e-5 / GRID.used)
    return w[:, :, None]


def walk(seed, symbols=280 * 5 + 30, emulated=None):
    """(capture, lights, receivers, truth position at mid-capture, truth velocity)."""
    rng = np.random.default_rng(seed)
    world = bench(seed, emulated)
    frames = {}
    for device, (name, user) in enumerate({"ap1": [14.0, 3.0, 1.5], "ap2": [11.0, -6.0, 1.5]}.items()):
        frame = MeasuringFrame(GRID, device, 1, precoder(world, name, np.array(user), rng), seed=seed)
        unit = world.radio(name)
        unit.configure(Setting(CARRIER, RATE, (20.0,) * 4, (12.0,) * 4))
        unit.load(1, amplitude.to_fractions(frame.samples(), unit.capability, 12.0))
        unit.apply(1)
        frames[name] = frame
    ears = world.radio("sense1")
    ears.configure(Setting(CARRIER, RATE, (45.0,) * 4, ()))
    world.clock.sleep(0.05)
    before = world.now
    capture = ears.capture(symbols * GRID.symbol_samples, 5.0)
    span = world.now.since(before)
    middle = before.after(span - 0.5 * capture.samples.shape[1] / RATE)
    lights = []
    for name, frame in frames.items():
        found = acquire(capture, frame)
        assert found.above_threshold
        elements = world.truth.elements(name, "transmit")
        lights.append(Illumination(frame.reference[..., 0], frame.precoder[..., 0], elements, found.start, found.cfo_hz))
    return capture, lights, world.truth.elements("sense1", "receive"), *world.truth.target(middle)
