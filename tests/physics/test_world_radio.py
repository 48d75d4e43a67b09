"""An emulated radio behaves as radios do: starts, gaps, refusals, and samples that depend on nothing but the history."""

from __future__ import annotations

import threading
from functools import partial

import numpy as np
import pytest
from sites import QUIET, RATE, configure, error_db, pair, radio, running, site, trial, waveform

from hil.clock import Instant, VirtualClock, WallClock
from hil.device import DeviceError, Radio, Setting
from sim_backend.oscillator import Oscillator
from sim_backend.world import build

WAVE = waveform(np.random.default_rng(0), 2, 512)


@pytest.fixture
def world():
    made = build(pair(), VirtualClock())
    configure(made)
    return made


def refused(id: str):
    return pytest.raises(DeviceError, match=rf"error\[{id}\]")


def test_is_a_radio(world):
    assert isinstance(world.radio("a"), Radio)
    with pytest.raises(KeyError):
        world.radio("nobody")


def test_loading_radiates_nothing(world):
    a, b = world.radio("a"), world.radio("b")
    idle = (np.abs(b.capture(20000, 1.0).samples) ** 2).mean()
    a.load(1, WAVE)
    assert a.version is None
    assert (np.abs(b.capture(20000, 1.0).samples) ** 2).mean() == pytest.approx(idle, rel=0.1)
    a.apply(1)
    assert a.version == 1
    assert (np.abs(b.capture(20000, 1.0).samples) ** 2).mean() > 4 * idle


def test_apply_is_silent_for_the_gap_and_starts_anew_each_time(world):
    a = world.radio("a")
    a.load(1, WAVE)
    a.load(2, WAVE)
    a.apply(1)
    world.advance(0.001)
    before = world.now
    a.apply(2)
    first, second = world.airings()
    assert first.stop == before
    assert 2.2e-3 <= second.start.since(before) <= 4e-3 + 1e-6
    assert world.now.since(second.start) == pytest.approx(0.0, abs=1e-7)
    assert (second.first_tick - first.first_tick) % 512 != 0  # the cyclic phase moved
    world.advance(0.001)
    a.mute()
    assert a.version is None and world.airings()[-1].stop == world.now


def test_a_capture_begins_at_an_own_tick_after_a_latency_of_its_own(world):
    b, begins = world.radio("b"), []
    for _ in range(40):
        asked = world.now
        capture = b.capture(100, 1.0)
        tuned, first, count = world.truth.windows("b")[-1]
        begin = tuned.oscillator.tick(first, tuned.rate)
        begins.append(begin.since(asked))
        assert count == 100 and capture.samples.shape == (2, 100) and capture.first_sample is None
        assert world.now.since(tuned.oscillator.tick(first + 28 + 100, tuned.rate)) == pytest.approx(0.0, abs=1e-9)  # through the pipeline
        assert abs(capture.clock.since(begin)) < 1e-3
    assert 0.19e-3 <= min(begins) < 0.5e-3 and 1.7e-3 < max(begins) <= 2e-3 + 1024 / RATE  # a block that was being filled is discarded


def test_a_part_that_reports_its_first_sample_does():
    made = build(site([radio("b", 0, 1, [0, 0, 1], reports_first_sample=True, reports_loss=True)]), VirtualClock())
    configure(made)
    capture = made.radio("b").capture(100, 1.0)
    assert capture.first_sample == made.truth.windows("b")[-1][1] + 28  # the pipeline's
    assert capture.loss == "none" and made.radio("b").supports("first-sample") and not made.radio("b").supports("teleportation")


def test_captures_name_the_version_of_their_own_radio():
    made = build(trial(), VirtualClock())
    configure(made)
    made.radio("ap1").load(7, waveform(np.random.default_rng(0), 4, 64))
    assert made.radio("ap1").capture(100, 1.0).version is None
    made.radio("ap1").apply(7)
    assert made.radio("ap1").capture(100, 1.0).version == 7
    assert made.radio("u1").capture(100, 1.0).version is None


def test_what_a_setting_becomes(world):
    became = world.radio("a").configure(Setting(2.4e9 + 0.4, RATE, (), (3.3, 200.0)))
    assert became == Setting(2.4e9, RATE, (), (3.25, 89.75)) == world.radio("a").setting
    assert world.radio("b").configure(Setting(3.5e9, RATE, (33.4, -10.0))).receive_gain_db == (33.0, -3.0)
    kept = world.radio("b").configure(Setting(3.5e9, RATE))
    assert kept.receive_gain_db == (33.0, -3.0)


@pytest.mark.parametrize(
    ("id", "setting"),
    [
        ("out-of-range", Setting(7e9, RATE)),
        ("out-of-range", Setting(float("nan"), RATE)),
        ("out-of-range", Setting(3.5e9, 1e3)),
        ("bad-setting", Setting(3.5e9, RATE, (), (1.0,))),
        ("bad-setting", Setting(3.5e9, RATE, (), (1.0, float("nan")))),
    ],
)
def test_settings_that_are_refused_silence_the_transmitter(world, id, setting):
    a = world.radio("a")
    a.load(1, WAVE)
    a.apply(1)
    before = a.setting
    with refused(id):
        a.configure(setting)
    assert a.version is None and a.setting == before


@pytest.mark.parametrize(
    "wrong",
    [
        WAVE[:1],
        WAVE[0],
        WAVE[:, :0],
        np.full((2, 8), np.nan + 0j),
        np.full((2, 8), 1.01),
        np.full((2, 8), 1.01j),
        np.full((2, 8), np.inf),
        np.ones((2, 8), int),
    ],
    ids=["channels", "flat", "empty", "nan", "loud", "loud-q", "infinite", "integers"],
)
def test_waveforms_that_are_refused(world, wrong):
    a = world.radio("a")
    a.load(1, WAVE)
    a.apply(1)
    with refused("bad-waveform"):
        a.load(2, wrong)
    assert a.version is None
    with refused("not-loaded"):
        a.apply(2)


def test_what_a_radio_cannot_do_it_refuses(world):
    a, b = world.radio("a"), world.radio("b")
    with refused("no-transmitter"):
        b.load(1, np.zeros((0, 4), np.complex64))
    with refused("no-receiver"):
        a.capture(10, 1.0)
    for samples in (0, -1, 1.5, True):
        with refused("bad-request"):
            b.capture(samples, 1.0)
    before = world.now
    with refused("capture-timeout"):
        b.capture(int(RATE), 0.5)
    assert world.now.since(before) == pytest.approx(0.5)
    fresh = build(pair(), VirtualClock())
    assert fresh.radio("b").setting is None
    with refused("not-configured"):
        fresh.radio("b").capture(10, 1.0)


def test_a_closed_radio_only_mutes_and_closes(world):
    a = world.radio("a")
    a.load(1, WAVE)
    a.apply(1)
    a.close()
    assert a.version is None and world.airings()[-1].stop is not None
    a.close()
    a.mute()
    for call in (lambda: a.apply(1), lambda: a.load(1, WAVE), lambda: a.configure(Setting(3.5e9, RATE)), lambda: a.capture(1, 1.0)):
        with refused("closed"):
            call()


def test_the_caller_may_reuse_its_array(world):
    a, mine = world.radio("a"), WAVE.copy()
    a.load(1, mine)
    mine[:] = 0
    a.apply(1)
    assert np.abs(world.airings()[-1].program.codes).max() > 0


def test_phase_is_drawn_anew_when_retuned_and_only_then(world):
    b = world.radio("b")

    def phase():
        b.capture(10, 1.0)
        return world.truth.windows("b")[-1][0].phase

    first = phase()
    b.configure(Setting(3.5e9, RATE, (20.0, 20.0)))
    assert phase() == first  # a gain step does not retune
    b.configure(Setting(3.4e9, RATE))
    b.configure(Setting(3.5e9, RATE))
    assert phase() != first


def samples_of(world, name, pieces):
    tuned, first, _ = world.truth.windows(name)[-1]
    return np.concatenate([world.samples(tuned, first + begin, size)[0] for begin, size in pieces], axis=1)


def test_samples_are_equal_bit_for_bit_however_they_are_asked_for():
    waves = {"ap1": waveform(np.random.default_rng(1), 4, 700), "ap2": waveform(np.random.default_rng(2), 4, 512)}
    world = running(trial(), waves)
    whole = world.radio("sense1").capture(20000, 1.0).samples
    cuts = [(0, 1), (1, 1022), (1023, 7001), (8024, 11976)]
    assert np.array_equal(samples_of(world, "sense1", cuts), whole)
    backwards = [samples_of(world, "sense1", [cut]) for cut in reversed(cuts)]
    assert np.array_equal(np.concatenate(backwards[::-1], axis=1), whole)
    world.medium._shelf.clear()  # nothing depends on what was computed before
    assert np.array_equal(samples_of(world, "sense1", cuts), whole)
    again = running(trial(), waves)
    assert np.array_equal(again.radio("sense1").capture(20000, 1.0).samples, whole)
    assert not np.array_equal(running(trial(seed=2), waves).radio("sense1").capture(20000, 1.0).samples, whole)


def test_order_of_captures_side_by_side_does_not_matter():
    waves = {"ap1": waveform(np.random.default_rng(1), 4, 700)}
    found = []
    for order in (("u1", "u2", "sense1"), ("sense1", "u2", "u1")):
        world = running(trial(), waves)
        captures = world.clock.together([partial(world.radio(name).capture, 3000, 1.0) for name in order])
        found.append({capture.device: capture.samples for capture in captures})
    for name in ("u1", "u2", "sense1"):
        assert np.array_equal(found[0][name], found[1][name])


def test_seeds_of_devices_and_of_the_trial_are_apart():
    def facts(seed, imperfections):
        world = build(trial(seed, {"seed": imperfections}), VirtualClock())
        return world.truth.oscillator("u1", Instant(10, 0.0)), world.truth.scatterers()[0].tolist(), world.truth.target()[0].tolist()

    base, trial2, bench2 = facts(1, 1), facts(2, 1), facts(1, 2)
    assert base[0] == trial2[0] != bench2[0]
    assert base[1] == bench2[1] != trial2[1] and base[2] == bench2[2] != trial2[2]


def test_unwired_channels_hear_noise_and_send_nothing():
    plan = pair({"receiver": QUIET}, transmit=2, receive=2)
    for item in plan["radios"]:
        item["antennas"] = item["antennas"][1:]  # channel 0 of each has no antenna
    world = running(plan, {"a": np.stack([WAVE[0], np.zeros(512)]).astype(np.complex64)})
    assert not world.radio("b").capture(2000, 1.0).samples.any()
    world.radio("a").load(9, np.stack([np.zeros(512), WAVE[0]]).astype(np.complex64))
    world.radio("a").apply(9)
    heard = world.radio("b").capture(2000, 1.0).samples
    assert not heard[0].any() and heard[1].any()


def test_narrowband_channel_matrix_is_what_the_samples_show():
    """y = H x on one tone, oscillators perfect: the sign test of the whole chain, to -100 dB."""
    plan = pair({"receiver": QUIET, "room": {"scatterers": 3}}, transmit=2, receive=2)
    n, k = np.arange(512), 37
    measured = []
    for element in range(2):
        x = np.zeros((2, 512), np.complex64)
        x[element] = 0.5 * np.exp(2j * np.pi * k * n / 512)
        world = running(plan, {"a": x}, oscillators={"a": Oscillator(), "b": Oscillator()})
        world.radio("b").capture(4096, 1.0)
        tuned, first, _ = world.truth.windows("b")[-1]
        (sent,) = world.airings()
        block = first - first % 1024
        re, im = world.port(tuned, block, 1, [sent])
        at = block + n - sent.first_tick
        turn = np.exp(2j * np.pi * (k * at / 512 + sent.phase - tuned.phase))
        measured.append(((re + 1j * im)[:, :512] / turn).mean(axis=1) / (0.5 * sent.amplitude[element]))
    h = world.truth.channel("a", "b", np.array([k * RATE / 512]))[0]
    assert error_db(np.array(measured).T, h) < -100.0


def test_old_transmissions_are_forgotten_and_the_present_one_is_not(world):
    a = world.radio("a")
    a.load(1, WAVE)
    for _ in range(20):
        a.apply(1)
        world.advance(10.0)
    assert len(world.airings()) <= 5
    assert world.airings()[-1].stop is None and a.version == 1


def test_a_radio_without_antennas_disturbs_nobody():
    plan = pair({"receiver": QUIET, "room": {"scatterers": 2}})
    plan["radios"].append(radio("c", 1, 1, [3.0, 0.0, 1.0]) | {"antennas": []})
    world = running(plan, {"a": WAVE, "c": WAVE[:1]})
    heard = world.radio("b").capture(2000, 1.0).samples
    world.radio("c").mute()
    assert heard.any() and not world.radio("c").capture(1000, 1.0).samples.any()


def test_threads_on_a_wall_clock():
    world = build(trial(), WallClock())
    configure(world)
    world.radio("ap1").load(1, waveform(np.random.default_rng(0), 4, 512))
    world.radio("ap1").apply(1)
    captures = world.clock.together([partial(world.radio(name).capture, 5000, 5.0) for name in ("u1", "u2", "sense1")])
    assert [capture.device for capture in captures] == ["u1", "u2", "sense1"]
    timer = threading.Timer(0.02, world.radio("ap1").mute)
    timer.start()
    heard = world.radio("u1").capture(int(0.06 * RATE), 5.0).samples[0]
    timer.join()
    power = (np.abs(heard.reshape(-1)[: heard.size // 100 * 100].reshape(100, -1)) ** 2).mean(axis=1)
    assert power[0] > 10 * power[-1]
