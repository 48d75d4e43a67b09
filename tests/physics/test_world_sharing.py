"""Radios on one reference and one trigger: what repeats from load to load, what drifts, what stays random."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from sites import CARRIER, QUIET, RATE, configure, radio, site

from hil.clock import Instant, VirtualClock
from hil.device import Setting
from sim_backend.oscillator import Oscillator
from sim_backend.sharing import EDGES, SKEW_S, Trigger, join
from sim_backend.world import build

PERIOD = 512
BOTH = {"reference": True, "trigger": True}
QUIETLY = {"receiver": QUIET, "room": {"scatterers": 0}}


def world_of(shared: dict | None = None, emulated: dict | None = None, names: tuple[str, ...] = ("a", "b", "rx"), **more):
    """Two transmitters and a receiver 10 m away, all of them on what is shared."""
    radios = [radio("a", 1, 0, [0.0, 0.0, 1.0]), radio("b", 1, 0, [0.0, 4.0, 1.0]), radio("rx", 0, 1, [10.0, 0.0, 1.0])]
    groups = [{"radios": list(names), **shared}] if shared else []
    made = build(site(radios, shared=groups, emulated={**QUIETLY, **(emulated or {})}, **more), VirtualClock())
    configure(made)
    return made


def tones(*bins: int) -> np.ndarray:
    n = np.arange(PERIOD)
    return sum(0.2 * np.exp(2j * np.pi * k * n / PERIOD) for k in bins)[None].astype(np.complex64)


def load(world, version: int, later_s: float = 0.0) -> tuple[float, float]:
    """Both on the air with one version, b a while later: seconds from a's sample 0 to b's (as sent when they are in step), and cycles by
    which b's middle tone is ahead of a's two, as the receiver hears it, whenever its window begins."""
    for name, bins in (("a", (-5, 9)), ("b", (2,))):
        world.radio(name).load(version, tones(*bins))
    for name in "ab":
        world.radio(name).apply(version)
        world.advance(later_s)
    begins = []
    for name in "ab":
        airing = world.on_air(name, world.now)
        begins.append(airing.oscillator.tick(airing.first_tick, airing.rate))
    world.advance(0.001)
    heard = np.fft.fft(world.radio("rx").capture(8 * PERIOD, 1.0).samples[0])[:: 8]
    ahead = 2 * np.angle(heard[2]) - np.angle(heard[-5]) - np.angle(heard[9])
    return begins[1].since(begins[0]), ahead / (2 * np.pi) % 1.0


def apart(cycles: list[float]) -> float:
    """Largest distance from the first, cycles."""
    return max(abs((one - cycles[0] + 0.5) % 1.0 - 0.5) for one in cycles)


def test_start_and_phase_repeat_over_reloads():
    found = [load(world, version, later) for world in [world_of(BOTH)] for version, later in enumerate([0.0, 0.0, 2e-3, 7e-3, 0.4e-3], start=1)]
    starts, ahead = zip(*found)
    assert np.ptp(starts) < 1e-12 and abs(starts[0]) < SKEW_S * 2 + 1.0 / RATE
    assert apart(ahead) < 2e-4


def test_drift_is_the_reference_s_not_the_load_s():
    world = world_of(BOTH, {"oscillator": {"site_drift_rad": 0.02}})
    starts, ahead = zip(*(load(world, version) for version in range(1, 7)))
    assert 1e-4 < apart(ahead) < 0.1 and np.ptp(starts) < 1e-10


def test_without_a_trigger_starts_are_arbitrary():
    starts, ahead = zip(*(load(world, version) for world in [world_of({"reference": True, "trigger": False})] for version in range(1, 5)))
    assert np.ptp(starts) > 1e-4 and apart(ahead) > 0.05


def test_without_a_reference_starts_are_each_clock_s_own_and_phases_turn():
    world = world_of({"reference": False, "trigger": True})
    found = [load(world, version) for version in range(1, 9)]
    starts, ahead = zip(*found)
    assert 1e-9 < np.ptp(starts) < 2.0 / RATE + 1e-9 and abs(starts[0]) < 1.0 / RATE + 2 * SKEW_S
    assert apart(ahead) > 0.05


def test_phases_are_drawn_anew_by_a_retune_and_jump_when_a_synthesiser_does():
    jump = {"what": "lo-phase-jump", "where": "b", "at_s": 0.1, "cycles": 0.07}
    world = world_of(BOTH, {"fault": [jump]})
    ahead = [load(world, 1)[1], load(world, 2)[1]]
    world.advance(0.1)
    ahead += [load(world, 3)[1], load(world, 4)[1]]
    assert apart(ahead[:2]) < 2e-4 and apart(ahead[2:]) < 2e-4
    assert (ahead[2] - ahead[1]) % 1.0 == pytest.approx(2 * 0.07, abs=1e-3)
    b = world.radio("b")
    for carrier in (CARRIER + 1e6, CARRIER):
        b.configure(replace(b.setting, carrier_hz=carrier))
    assert apart([ahead[3], load(world, 5)[1]]) > 0.01


def test_gains_may_change_and_the_phase_stays():
    world = world_of(BOTH)
    before = load(world, 1)[1]
    world.radio("a").configure(Setting(CARRIER, RATE, (), (25.0,)))
    assert apart([before, load(world, 2)[1]]) < 2e-4


def test_one_reference_has_one_error_and_clocks_of_their_own():
    world = world_of(BOTH)
    at = Instant(100, 0.25)
    found = {name: world.truth.oscillator(name, at) for name in ("a", "b", "rx")}
    assert found["a"] == found["b"] == found["rx"] and found["a"][0] != 0.0
    assert len({world.truth.clock_offset(name) for name in found}) == 3
    alone = world_of()
    assert alone.truth.oscillator("a", at) == found["a"] and alone.truth.oscillator("b", at) != found["b"]


def test_capabilities_say_who_is_triggered():
    world = world_of({"reference": True, "trigger": True}, names=("a", "b"))
    assert [world.radio(name).capability.start for name in ("a", "b", "rx")] == ["triggered", "triggered", "arbitrary"]
    assert world_of({"reference": True}).radio("a").capability.start == "arbitrary"


def test_a_group_of_strangers_is_refused():
    with pytest.raises(ValueError, match=r"shared: found c; allowed a \| b \| rx"):
        world_of(BOTH, names=("a", "c"))


def test_phase_between_two_radios_walks_at_the_stated_rate():
    drift, lags, rows = 0.3, (0.1, 1.0, 10.0, 100.0), []
    drawn = {name: Oscillator(constant=1e-6) for name in ("a", "b")}
    for seed in range(200):
        found, _ = join([{"radios": ["a", "b"], "reference": True}], drawn, drift, CARRIER, seed)
        between = [
            2 * math.pi * CARRIER * (found["a"].error(at)[0] - found["b"].error(at)[0])
            for at in (Instant(50, 0.0), *(Instant(50, 0.0).after(lag) for lag in lags))
        ]
        rows.append((np.array(between[1:]) - between[0]) ** 2 / (drift**2 * np.array(lags)))
    assert np.mean(rows, axis=0) == pytest.approx(np.ones(4), abs=0.3)  # chi-squared of one degree over 200: 0.1 rms
    still, _ = join([{"radios": ["a", "b"], "reference": True}], drawn, 0.0, CARRIER, 1)
    assert still["a"].error(Instant(50, 0.0)) == still["b"].error(Instant(50, 0.0))


def test_a_trigger_s_edges():
    trigger = Trigger(Oscillator(), {"a": 2e-9, "b": -3e-9})
    assert trigger.start("a", 1, Instant(3, 0.0002)).since(Instant(3, 0.001)) == pytest.approx(2e-9, abs=1e-15)
    assert trigger.start("b", 1, Instant(3, 0.0047)).since(Instant(3, 0.001)) == pytest.approx(-3e-9, abs=1e-15)  # in step with a
    trigger.release("a")
    assert trigger.start("a", 2, Instant(3, 0.0047)).since(Instant(3, 0.005)) == pytest.approx(2e-9, abs=1e-15)
    trigger.release("b")
    assert trigger.start("b", 1, Instant(3, 0.999)).since(Instant(4, 0.0)) == pytest.approx(-3e-9, abs=1e-15)
    assert EDGES == 1000
