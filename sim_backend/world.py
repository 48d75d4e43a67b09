"""A world: radios, stages, a room and what was commanded when. `build` makes one from plain values.

Samples are a pure function of the history of commands and of the seeds: any window that has passed can be evaluated again, in any
order and cut in any way, with equal bits.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.clock import Clock, Instant
from hil.device import Capability
from sim_backend import noise, receive, seeds, symptoms, transmit
from sim_backend.converter import noise_power
from sim_backend.faults import ROOM, Faults
from sim_backend.faults import parse as parse_faults
from sim_backend.history import Airing, Phase, Tuning
from sim_backend.kernels import BLOCK
from sim_backend.limits import with_bits
from sim_backend.medium import Medium
from sim_backend.motion import Journey
from sim_backend.obstacles import Obstacles
from sim_backend.oscillator import Oscillator, draw
from sim_backend.radio import PHASE_EVENTS, Radio
from sim_backend.scene import Fittings, Room, antennas, draw_scatterers, draw_targets
from sim_backend.settings import Emulated
from sim_backend.sharing import join
from sim_backend.stage import Stage, journey, neighbours
from sim_backend.truth import Truth
from sim_backend.wiring import Cable

MEMORY_S = 30.0  # how long ended transmissions and moves are remembered
AT_HAND_S = 0.5  # how long their spectra are kept
BATCH = 512  # blocks evaluated at once
FRONTS = 4096  # receive chains kept
ALONE = 1 << 16  # samples of all channels together that one thread digitises as fast as several


class World:
    """Radios and stages by name, on one clock. `truth` is for tests: no radio tells it."""

    def __init__(self, clock: Clock, seed: int, emulated: Emulated, room: Room, oscillators: Mapping[str, Oscillator]) -> None:
        self.clock, self.seed, self.emulated, self.room = clock, seed, emulated, room
        self.oscillators = dict(oscillators)
        self.medium = Medium(room)
        self.windows: deque[tuple[Tuning, int, int]] = deque(maxlen=64)  # the latest captures: tuning, first tick, samples
        self.faults = Faults()
        self.truth = Truth(self)
        self._radios: dict[str, Radio] = {}
        self._stages: dict[str, Stage] = {}
        self._journeys: dict[str, Journey] = {}
        self._airings: list[Airing] = []
        self._fronts: dict[tuple[str, tuple[float, ...]], receive.Front] = {}
        self._aired = 0
        self._lock = threading.RLock()

    @property
    def now(self) -> Instant:
        return self.clock.now()

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.sleep(seconds)

    @property
    def radios(self) -> Mapping[str, Radio]:
        return self._radios

    @property
    def stages(self) -> Mapping[str, Stage]:
        return self._stages

    def radio(self, name: str) -> Radio:
        """What a controller holds. KeyError for a name the site lacks."""
        return self._radios[name]

    def stage(self, name: str) -> Stage:
        return self._stages[name]

    def samples(
        self, tuning: Tuning, first: int, count: int, channels: Sequence[int] | None = None
    ) -> tuple[NDArray[np.complex64], float]:
        """What a receiver digitised, (channel, sample) fractions of full scale, from its tick `first`; and the fraction at the rails.
        channels: those that matter, all of them by default; the others are left at zero."""
        airings = self.airings()
        capability = self._radios[tuning.radio].capability
        front = self.front(tuning.radio, tuning.gain_db)
        chosen = range(len(tuning.gain_db)) if channels is None else channels
        out = np.zeros((capability.receive_channels, count), np.complex64)
        clipped = 0
        at = first - first % BLOCK
        while at < first + count:
            size = min(BATCH * BLOCK, -(-(first + count - at) // BLOCK) * BLOCK)
            heard = self._heard(tuning, at, size // BLOCK, airings)
            low, high = max(first, at), min(first + count, at + size)
            whole = high - low == count
            codes = out if whole else np.empty((len(out), high - low), np.complex64)
            digitiser = front.digitiser(at, tuning.rate, capability.bits, low - at, high - low)

            def digitise(channel: int) -> int:
                self._add_noise(tuning, channel, at, heard)  # noqa: B023
                return digitiser.channel(channel, heard[0], heard[1], codes)  # noqa: B023

            clipped += sum(side_by_side(digitise, chosen, high - low))
            if not whole:
                out[:, low - first : high - first] = codes
            at += size
        return out, clipped / max(1, len(chosen) * count)

    def port(self, tuning: Tuning, first: int, blocks: int, airings: list[Airing]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Signals and noise at the ports of a receiver, (channel, sample) in square-root watts, whole blocks from tick `first`."""
        heard = self._heard(tuning, first, blocks, airings)
        for channel in range(len(tuning.gain_db)):
            self._add_noise(tuning, channel, first, heard)
        return heard[0], heard[1]

    def _heard(self, tuning: Tuning, first: int, blocks: int, airings: list[Airing]) -> NDArray[np.float32]:
        """(real and imaginary, channel, sample) at the ports, without noise."""
        wired = self.channels(tuning.radio, "receive")
        heard = np.zeros((2, wired.size, blocks * BLOCK), np.float32)
        if wired.size:
            self.medium.receive(tuning, airings, first, heard[0], heard[1])
            symptoms.at_ports(self.faults, self.seed, tuning, first, wired, heard)
        channels = len(tuning.gain_db)
        if wired.size == channels:
            return heard
        port = np.zeros((2, channels, blocks * BLOCK), np.float32)
        port[:, wired] = heard
        return port

    def _add_noise(self, tuning: Tuning, channel: int, first: int, heard: NDArray[np.float32]) -> None:
        key = seeds.key(self.seed, tuning.radio, "noise", channel, tuning.rate)
        power = noise_power(tuning.rate, self.emulated.receiver.noise_figure_db, tuning.gain_db[channel])
        noise.add(key, first, power, heard[0, channel], heard[1, channel])

    def front(self, radio: str, gain_db: tuple[float, ...]) -> receive.Front:
        """The receive chains of a radio at these gains."""
        key = radio, gain_db
        found = self._fronts.get(key)
        if found is None:  # an automatic gain asks for a few dozen, again and again; several of them for many
            found = receive.draw(self.emulated, radio, self._radios[radio].capability.receive_full_scale_dbm, gain_db)
            if len(self._fronts) >= FRONTS:
                self._fronts.clear()
            self._fronts[key] = found
        return found

    def chains(self, radio: str, attenuation_db: tuple[float, ...], tuning: object = 0) -> transmit.Chains:
        """The transmit chains of a radio's elements at these attenuations; the phase of its leakage belongs to the tuning."""
        return transmit.draw(self.emulated, radio, self.channels(radio, "transmit"), attenuation_db, tuning)

    def phase_noise(self, radio: str, side: str) -> Phase:
        """Key and radians rms of a synthesiser's phase noise. side: transmit or receive."""
        own = "receive" if self.emulated.shared_lo else side
        return seeds.key(self.seed, radio, "phase noise", own), self.emulated.phase_noise

    def channels(self, radio: str, side: str) -> NDArray[np.int64]:
        """Channels of a radio that have an antenna, in the order of the antennas."""
        return self.room.channels(radio, side)

    def air(self, airing: Airing) -> None:
        """Remember a transmission that starts; forget those that ended long ago."""
        with self._lock:
            self._aired += 1
            airing.number = self._aired
            horizon = self.clock.now().after(-MEMORY_S)
            self._airings = [other for other in self._airings if other.stop is None or horizon < other.stop] + [airing]
            for other in self._airings:
                if other.stop is not None and other.stop < self.clock.now().after(-AT_HAND_S):
                    other.lighten()
            for journey in self._journeys.values():
                journey.forget_before(horizon)

    def forget(self, airings: Collection[Airing]) -> None:
        """Before their time, because they are many: what a stream has sent."""
        with self._lock:
            self._airings = [other for other in self._airings if other not in airings]

    def airings(self) -> list[Airing]:
        """Every transmission remembered, in the order of their starts."""
        with self._lock:
            return list(self._airings)

    @property
    def history(self) -> object:
        """What was commanded: equal values, equal samples at a receiver that is not tuned otherwise."""
        moves = [(len(journey.ramps), journey.ramps[-1:]) for journey in self._journeys.values()]
        return [(airing.number, airing.stop) for airing in self.airings()], moves

    def on_air(self, radio: str, at: Instant) -> Airing | None:
        """The transmission of a radio at an instant."""
        with self._lock:
            found = [a for a in self._airings if a.radio == radio and a.start <= at and (a.stop is None or at < a.stop)]
        return found[-1] if found else None


def side_by_side(work: Callable[[int], int], channels: Sequence[int], samples: int) -> list[int]:
    """What `work` answers for every channel. It spends its time in compiled loops of so many samples: several cores share many of them."""
    if len(channels) == 1 or len(channels) * samples <= ALONE:
        return [work(channel) for channel in channels]
    return list(_workers().map(work, channels))


@cache
def _workers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count(), "digitise")


def build(site: Mapping[str, Any], clock: Clock) -> World:
    """A world of plain values.

    site: carrier_hz; seed (of noise, scatterers, target, latencies, phases); radios [name, serial, part, capability {fields of
    `Capability`}, phase_events [some of retune, rate, power, buffer], antennas [transmit, receive (channel or None), origin_m, axis,
    offset_m, stage, stage_axis, sign, gain_dbi]];
    stages [name, axes {axis: steps_per_mm, travel_mm, speed_mm_s, acceleration_mm_s2, start_mm, carriage_mm (default 0)},
    settle_ms (how long a move waits, default 120), approach ("+", "-" or None), homed (default True)];
    targets [name, position_m, position_std_m, speed_m_s, area_m2]; shared [radios (names), reference, trigger (booleans, see `sharing`)];
    emulated: the table of `settings.Emulated`, whose seed draws the imperfections of the devices. ValueError for an [emulated] key or
    value that cannot be.
    """
    emulated = Emulated.parse(site.get("emulated") or {})
    seed = int(site.get("seed", 1))
    stages = {item["name"]: item for item in site.get("stages", ())}
    journeys = {name: journey(item, emulated) for name, item in stages.items()}
    targets = draw_targets(emulated, site.get("targets", ()), seed)
    channels = {(item["name"], side): int(item["capability"][f"{side}_channels"]) for item in site["radios"] for side in ("transmit", "receive")}
    cables = tuple(Cable.parse(item, channels) for item in emulated.cables)
    room = Room(
        float(site["carrier_hz"]),
        {radio["name"]: antennas(radio, "transmit", cables) for radio in site["radios"]},
        {radio["name"]: antennas(radio, "receive", cables) for radio in site["radios"]},
        journeys,
        draw_scatterers(emulated, seed),
        targets,
        fittings=Fittings.of(emulated, cables, seed),
    )
    for item in site["radios"]:
        for side, own in (("transmit", emulated.transmitter), ("receive", emulated.receiver)):
            channels = room.channels(item["name"], side)
            room.chain_delays[item["name"], side] = transmit.chain_delay(own.chain, emulated.seed, item["name"], side, channels)
    drawn = {radio["name"]: draw(emulated.oscillator, emulated.seed, radio["name"]) for radio in site["radios"]}
    oscillators, triggers = join(site.get("shared", ()), drawn, emulated.site_drift, room.carrier, emulated.seed)
    world = World(clock, seed, emulated, room, oscillators)
    for item in site["radios"]:
        plain = {"part": item.get("part", ""), "serial": item.get("serial", "")} | dict(item["capability"])
        name, events = item["name"], item.get("phase_events", PHASE_EVENTS[:3])
        if name in triggers:
            plain["start"] = "triggered"
        capability = Capability(**{key: tuple(value) if isinstance(value, list) else value for key, value in plain.items()})
        capability = with_bits(capability, emulated.receiver.bits)
        world._radios[name] = Radio(world, name, capability, oscillators[name], events, triggers.get(name))
    for name, item in stages.items():
        world._journeys[name] = journeys[name]
        world._stages[name] = Stage(world, item, journeys[name], neighbours(site["radios"], item))
    world.faults = parse_faults(emulated.faults, world.radios, world.stages, clock.now())
    for fault in world.faults.all(ROOM, "target-vanishes"):
        if fault["target"] not in ("", *targets):
            raise ValueError(f"[emulated] fault.target: found {fault['target']}; allowed {' | '.join(targets) or 'nobody walks'}")
    room.obstacles = Obstacles(world.faults)
    return world
