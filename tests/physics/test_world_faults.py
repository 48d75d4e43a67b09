"""Each fault shows in what it should change, and in nothing else; without one every capture is what it was, bit for bit."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from sites import CARRIER, QUIET, RATE, configure, pair, radio, rail, site, waveform

from hil.clock import Instant, VirtualClock
from hil.device import DeviceError, Loss, Setting
from sim_backend import ring
from sim_backend.faults import KINDS, parse
from sim_backend.history import Tuning
from sim_backend.oscillator import Oscillator
from sim_backend.reception import _settling
from sim_backend.world import build

BIN, PERIOD = 37, 512
WEIGHTS = np.array([1.0, 0.5j])  # of the two transmit channels, so that the receive channels differ
TONE = (WEIGHTS[:, None] * 0.5 * np.exp(2j * np.pi * BIN * np.arange(PERIOD) / PERIOD)).astype(np.complex64)
OTHER = np.tile(0.5 * np.exp(-2j * np.pi * 90 * np.arange(PERIOD) / PERIOD), (2, 1)).astype(np.complex64)


def bench(*faults, emulated=None, send=True, **capability):
    """Two channels send a tone to two, 10 m apart, perfect clocks and quiet receivers; at 0.1 s all is running."""
    table = {"receiver": QUIET | {"bits": 12}, "fault": list(faults), **(emulated or {})}
    plan = pair(table)
    plan["radios"][1]["capability"] |= capability
    world = build(plan, VirtualClock())
    for one in world.radios.values():
        world.oscillators[one.name] = one._oscillator = Oscillator()
    configure(world, gain=50.0)
    if send:
        world.radio("a").load(1, TONE)
        world.radio("a").apply(1)
    world.advance(Instant(0, 0.1).since(world.now))
    return world


def fault(what, where="b", at_s=0.05, **more):
    return {"what": what, "where": where, "at_s": at_s, **more}


def take(world, samples=4096, name="b"):
    return world.radio(name).capture(samples, 1.0)


def level(samples, bin=BIN, n=PERIOD):
    """Complex amplitude of one tone per channel; (channel,)."""
    whole = samples[:, : samples.shape[1] // n * n]
    return (whole * np.exp(-2j * np.pi * bin * np.arange(whole.shape[1]) / n)).mean(axis=1)


def db(x, y):
    return 20 * np.log10(np.abs(x) / np.abs(y))


def refused(id):
    return pytest.raises(DeviceError, match=rf"error\[{id}\]")


@pytest.fixture(scope="module")
def good():
    return take(bench())


# -- the schedule -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"what": "gremlin", "where": "b", "at_s": 0}, "fault[0].what: found gremlin; allowed lost-block |"),
        ({"what": "lost-block", "at_s": 0}, "fault[0].where: found None; allowed a radio: a | b"),
        ({"what": "lost-block", "where": "rail1", "at_s": 0}, "fault[0].where: found rail1; allowed a radio: a | b"),
        ({"what": "alarm", "where": "b", "at_s": 0}, "fault[0].where: found b; allowed a stage: there is none"),
        ({"what": "lost-block", "where": "b"}, "fault[0].at_s: found None; allowed seconds"),
        ({"what": "lost-block", "where": "b", "at_s": -1}, "fault[0].at_s: found -1"),
        ({"what": "lost-block", "where": "b", "at_s": 0, "for_s": "long"}, "fault[0].for_s: found long"),
        ({"what": "lost-block", "where": "b", "at_s": 0, "rate": 3}, "fault[0].rate: found unknown key; allowed what | where | at_s |"),
        ({"what": "dead-channel", "where": "b", "at_s": 0, "channel": 0.5}, "fault[0].channel: found 0.5; allowed a whole number in 0 .. 63"),
        ({"what": "path-blocked", "at_s": 0, "between": "b"}, "fault[0].between: found b; allowed a>b | b>a"),
        ({"what": "returns-short", "where": "b", "at_s": 0, "share": 2}, "fault[0].share: found 2; allowed a number in 0 .. 1"),
    ],
)  # fmt: skip
def test_a_fault_that_cannot_be(table, says):
    with pytest.raises(ValueError, match=r"\[emulated\]") as caught:
        build(pair({"fault": [table]}), VirtualClock())
    assert says in str(caught.value)


def test_a_schedule_counts_from_where_its_world_began():
    faults = parse([fault("dead-channel", at_s=2.0, for_s=1.5), fault("dead-channel", at_s=3.0)], ["b"], [], Instant(1000, 0.5))
    at = Instant(1000, 0.5).after
    assert [faults.active("b", "dead-channel", at(s)) is not None for s in (1.9, 2.0, 3.4, 9.0)] == [False, True, True, True]
    assert faults.active("b", "dead-channel", at(3.2)).at_s == 3.0 and faults.active("a", "dead-channel", at(2.5)) is None
    assert len(faults.within("b", "dead-channel", at(0.0), at(2.0))) == 0 and len(faults.within("b", "dead-channel", at(0.0), at(3.1))) == 2
    assert faults.edges("b", ["dead-channel"], at(2.0), at(4.0)) == [at(3.0), at(3.5)]
    assert [(entry.what, entry.at) for entry in faults.log(at(3.2))] == [("dead-channel", at(2.0)), ("dead-channel", at(3.0))]


@pytest.mark.parametrize("what", [kind for kind, its in KINDS.items() if its.of in ("radio", "room")])
def test_before_a_fault_every_bit_is_as_without_it(what, good):
    """Scheduled for later, a fault changes no capture: the same codes, whatever its kind."""
    where = "room" if KINDS[what].of == "room" else "b"
    world = bench(fault(what, where, 0.5) | ({"between": "a>b"} if what == "path-blocked" else {}))
    assert np.array_equal(take(world).samples, good.samples) and not world.truth.log


# -- captures ---------------------------------------------------------------------------------------------------------------------------


def test_lost_samples_vanish_in_multiples_and_show_where_the_part_can_tell():
    n = np.arange(200_000)
    for what, sign in (("lost-block", 1), ("repeated-block", -1)):
        world = bench(fault(what, rate_hz=400.0, samples=192), reports_loss=True)
        capture = take(world, n.size)
        assert capture.loss == Loss.SOME and capture.samples.shape[1] == n.size
        turned = np.unwrap(np.angle(capture.samples[0] * np.exp(-2j * np.pi * BIN * n / PERIOD)))
        coarse = turned[50::100]
        jumps = np.diff(coarse)[np.abs(np.diff(coarse)) > 0.1]
        expected = sign * 2 * np.pi * BIN * 192 / PERIOD
        wrapped = np.angle(np.exp(1j * (jumps - expected)))
        assert 1 <= jumps.size <= 15 and np.abs(wrapped).max() < 0.05
        again = bench(fault(what, rate_hz=400.0, samples=192), reports_loss=True)
        assert np.array_equal(take(again, n.size).samples, capture.samples)
    blind = bench(fault("lost-block", rate_hz=400.0))
    assert take(blind, n.size).loss == Loss.UNKNOWN


def test_losses_are_a_poisson_process_of_the_ticks():
    found = ring.slips(5, 100.0 / RATE, 0, True, 0, int(20 * RATE))
    assert len(found) == pytest.approx(2000, abs=4 * 2000**0.5)
    gaps = np.diff([slip.tick for slip in found]) / RATE
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.1)
    assert all(slip.tick % 64 == 0 and slip.size == 1024 for slip in found)
    halves = ring.slips(5, 100.0 / RATE, 0, True, 0, 12_345_678) + ring.slips(5, 100.0 / RATE, 0, True, 12_345_678, int(20 * RATE))
    assert halves == found


def test_pieces_by_hand():
    lost, twice = ring.Slip(150, 64, True), ring.Slip(300, 128, False)
    assert ring.pieces(100, 50, [lost]) == [(100, 50)]
    assert ring.pieces(100, 100, [lost]) == [(100, 50), (214, 50)]
    assert ring.pieces(100, 300, [lost, twice]) == [(100, 50), (214, 86), (172, 128), (300, 36)]
    assert ring.pieces(160, 10, [lost]) == [(160, 10)]


def test_a_stuck_ring_gives_the_last_capture_again():
    world = bench(fault("stuck-ring", at_s=0.2))
    first = take(world)
    world.advance(0.2)
    world.radio("a").mute()
    stuck = take(world)
    assert np.array_equal(stuck.samples, first.samples)
    assert np.array_equal(take(world).samples, first.samples)


def test_a_driver_that_does_not_discard_reads_blocks_of_their_own_time_and_setting():
    """Silence then, a tone now: four blocks are old, the fifth is new; and the old ones have the gain they were taken with."""
    world = bench(fault("stale-buffer"), send=False, emulated={"receiver": {"bits": 12}})
    b = world.radio("b")
    b.configure(Setting(CARRIER, RATE, (50.0, 50.0)))
    world.radio("a").load(1, TONE)
    world.radio("a").apply(1)
    b.configure(Setting(CARRIER, RATE, (46.0, 46.0)))
    world.advance(0.1)
    powers = [float(np.mean(np.abs(take(world, 1024).samples) ** 2)) for _ in range(6)]
    clear = bench(send=False, emulated={"receiver": {"bits": 12}})
    configure(clear, gain=50.0)
    silence = float(np.mean(np.abs(take(clear, 1024).samples) ** 2))
    assert powers[:4] == pytest.approx([silence] * 4, rel=0.2)
    assert min(powers[4:]) > 5 * silence
    cured = bench(send=False)
    cured.radio("a").load(1, TONE)
    cured.radio("a").apply(1)
    cured.advance(0.1)
    assert np.abs(level(take(cured).samples)).min() > 0.01  # what a driver that discards gets at once


def test_captures_that_do_not_come_as_they_should():
    world = bench(fault("capture-never-returns", for_s=0.3))
    begun = world.now
    with refused("capture-timeout"):
        world.radio("b").capture(100, 0.4)
    assert world.now.since(begun) == pytest.approx(0.4)
    assert take(world, 100).samples.shape == (2, 100)
    assert take(bench(fault("returns-short", share=0.25)), 4000).samples.shape == (2, 1000)
    world, begun = bench(fault("returns-late", late_s=0.3)), Instant(0, 0.1)
    take(world)
    assert 0.3 < world.now.since(begun) < 0.31
    assert take(bench(fault("overflow-stuck"), reports_loss=True)).loss == Loss.SOME
    assert take(bench(reports_loss=True)).loss == Loss.NONE


def codes(capture):
    return np.rint(capture.samples * 2048)


def test_faults_of_the_converter_and_its_channels(good):
    sound = codes(good)
    dead = codes(take(bench(fault("dead-channel", channel=1))))
    assert not dead[1].any() and np.array_equal(dead[0], sound[0])
    stuck = codes(take(bench(fault("adc-stuck-bit", channel=0, bit=5))))
    assert np.all(stuck[0].real.astype(int) & 32) and np.array_equal(stuck[0].imag, sound[0].imag) and np.array_equal(stuck[1], sound[1])
    flipped = codes(take(bench(fault("polarity-flip", channel=1))))
    assert np.array_equal(flipped, sound * np.array([[1], [-1]]))
    swapped = codes(take(bench(fault("channels-swapped", channel=0, other=1))))
    assert np.array_equal(swapped, sound[::-1]) and not np.array_equal(sound[0], sound[1])
    jumped = codes(take(bench(fault("dc-jump", channel=0, level_dbfs=-20.0))))
    assert np.mean(jumped[0] - sound[0]) == pytest.approx(204.8, abs=0.6) and np.array_equal(jumped[1], sound[1])
    image = take(bench(fault("iq-tracking-off", image_dbc=-30.0))).samples
    assert db(level(image, -BIN), level(image)) == pytest.approx([-30.0] * 2, abs=0.3)
    assert db(level(good.samples, -BIN), level(good.samples)).max() < -50.0


def test_a_weak_channel_keeps_its_noise_and_a_loose_cable_flickers(good):
    weak = take(bench(fault("weak-channel", channel=1, loss_db=20.0))).samples
    assert db(level(weak), level(good.samples)) == pytest.approx([0.0, -20.0], abs=0.1)
    noisy = {"receiver": {"bits": 12}}
    idle = [take(bench(*faults, send=False, emulated=noisy)).samples for faults in ((), (fault("weak-channel", channel=1),))]
    assert np.array_equal(*idle) and idle[0][1].any()
    loose = take(bench(fault("cable-loose", channel=0)), 200_000).samples
    each = np.abs(loose).reshape(2, -1, 500).mean(axis=2)
    ratio = db(each[0], np.median(np.abs(good.samples[0])))
    assert np.sum(np.abs(ratio) < 0.5) > 20 and np.sum(np.abs(ratio + 20.0) < 0.7) > 20 and np.ptp(db(each[1], each[1][0])) < 0.2


def test_a_fault_lasts_from_its_instant_to_its_end():
    world = bench(fault("dead-channel", at_s=0.11, for_s=0.01))
    capture = take(world, int(0.04 * RATE))
    (tuned, first, _), silent = world.truth.windows("b")[-1], np.abs(capture.samples[0]) == 0
    ticks = [tuned.oscillator.next_tick(Instant.of(0.11 + s), tuned.rate) - first for s in (0.0, 0.01)]
    assert silent[ticks[0] : ticks[1]].all() and not silent[: ticks[0]].any() and not silent[ticks[1] :].any()


# -- tuning -----------------------------------------------------------------------------------------------------------------------------


def test_a_retune_that_does_not_lock():
    world = bench(fault("unlocked-retune", where="b", at_s=0.05, for_s=0.1, offset_hz=60e3))
    b = world.radio("b")
    assert b.configure(Setting(CARRIER + 1e6, RATE, (50.0, 50.0))).carrier_hz == CARRIER + 1e6  # it does not tell
    world.radio("a").configure(Setting(CARRIER + 1e6, RATE, (), (20.0, 20.0)))
    world.radio("a").apply(1)
    bins = (BIN * RATE / PERIOD - 60e3) / RATE * 51200
    spectrum = np.abs(np.fft.fft(take(world, 51200).samples[0]))
    assert spectrum.argmax() == round(bins)
    world.advance(0.2)
    b.configure(Setting(CARRIER + 1e6, RATE, (50.0, 50.0)))
    b.configure(Setting(CARRIER, RATE, (50.0, 50.0)))
    b.configure(Setting(CARRIER + 1e6, RATE, (50.0, 50.0)))
    assert np.abs(np.fft.fft(take(world, 51200).samples[0])).argmax() == BIN * 100
    deaf = bench(fault("unlocked-retune", where="b", at_s=0.0, offset_hz=0.0))
    assert not take(deaf).samples.any()


def phase_over(world, samples=400_000):
    capture = take(world, samples)
    first = world.truth.windows("b")[0][1]
    n = first + np.arange(samples)
    return n / RATE, np.unwrap(np.angle(capture.samples[0] * np.exp(-2j * np.pi * BIN * (n % PERIOD) / PERIOD)))


@pytest.mark.parametrize(("where", "sign"), [("b", -1), ("a", 1)])
def test_steps_of_phase_clock_and_frequency(where, sign):
    t, phase = phase_over(bench(fault("lo-phase-jump", where, at_s=0.115, cycles=0.2)))
    before, after = phase[(t > 0.11) & (t < 0.1149)].mean(), phase[(t > 0.1151) & (t < 0.12)].mean()
    assert np.angle(np.exp(1j * (after - before))) == pytest.approx(sign * 2 * np.pi * 0.2, abs=0.01)
    t, phase = phase_over(bench(fault("clock-step", where, at_s=0.115, step_ns=20.0)))
    before, after = phase[(t > 0.11) & (t < 0.1148)].mean(), phase[(t > 0.1152) & (t < 0.12)].mean()
    assert np.angle(np.exp(1j * (after - before))) == pytest.approx(sign * 2 * np.pi * BIN * RATE / PERIOD * 20e-9, abs=0.01)
    t, phase = phase_over(bench(fault("frequency-step", where, at_s=0.115, step_ppm=0.1)))
    slope = [np.polyfit(t[part], phase[part], 1)[0] / (2 * np.pi) for part in ((t > 0.105) & (t < 0.1148), (t > 0.1152) & (t < 0.125))]
    assert slope[0] == pytest.approx(0.0, abs=0.5)
    assert slope[1] == pytest.approx(sign * 1e-7 * (CARRIER + BIN * RATE / PERIOD), abs=0.5)
    close = [phase[(t > 0.1148) & (t < 0.11495)].mean(), phase[(t > 0.11505) & (t < 0.1152)].mean()]
    assert abs(close[1] - close[0]) < 0.6  # no jump: 350 Hz for a tenth of a millisecond is 0.2 rad


def test_the_truth_about_a_clock_knows_its_steps():
    steps = [fault("clock-step", at_s=1.0, step_ns=100.0), fault("frequency-step", at_s=2.0, step_ppm=0.1)]
    world = bench(*steps)
    found = [world.truth.oscillator("b", Instant.of(s)) for s in (0.9, 1.5, 4.0)]
    assert np.array(found) == pytest.approx(np.array([[0.0, 0.0], [100e-9, 0.0], [100e-9 + 2.0 * 1e-7, 1e-7]]), abs=1e-15)


def test_a_reference_that_loses_its_lock_goes_on_where_it_was_and_then_wanders():
    world = bench(fault("reference-unlock", "b", at_s=100.0))
    b = world.radio("b")
    free = [b.reference(Instant.of(s)) for s in (99.0, 100.0)]
    assert free[0] == (b._oscillator, 0.0) and free[1][0] != b._oscillator
    at = Instant.of(100.0)
    assert free[1][0].local(at).since(b._oscillator.local(at)) == pytest.approx(0.0, abs=1e-15)
    assert free[1][0].error(at)[1] == pytest.approx(0.0, abs=1e-18)
    assert free[1][0].error(at)[0] + free[1][1] == pytest.approx(0.0, abs=1e-15)  # the carrier's phase, per hertz
    wander = [free[1][0].error(Instant.of(100.0 + s))[1] for s in (1.0, 1000.0)]
    assert 1e-13 < abs(wander[0]) < 1e-9 and 1e-12 < abs(wander[1]) < 1e-7


def test_what_is_read_back_is_not_what_is():
    wrong = bench(fault("gain-readback-wrong", at_s=0.0, error_db=6.0))
    assert wrong.radio("b").setting.receive_gain_db == (56.0, 56.0) == take(wrong).gain_db
    assert wrong.truth.setting("b").receive_gain_db == (50.0, 50.0)
    ignored = bench(fault("gain-step-ignored"))
    before = level(take(ignored).samples)
    assert ignored.radio("b").configure(Setting(CARRIER, RATE, (40.0, 40.0))).receive_gain_db == (40.0, 40.0)
    assert db(level(take(ignored).samples), before) == pytest.approx([0.0] * 2, abs=0.01)
    kept = bench()
    before = level(take(kept).samples)
    kept.radio("b").configure(Setting(CARRIER, RATE, (40.0, 40.0)))
    assert db(level(take(kept).samples), before) == pytest.approx([-10.0] * 2, abs=0.05)


# -- transmission -----------------------------------------------------------------------------------------------------------------------


def test_a_reload_that_is_ignored_tells_the_new_version():
    world = bench(fault("reload-ignored", "a"))
    world.radio("a").load(2, OTHER)
    world.radio("a").apply(2)
    assert world.radio("a").version == 2
    heard = take(world).samples
    assert np.all(db(level(heard), level(heard, -90)) > 40.0)
    assert len(world.airings()) == 1 and world.airings()[0].stop is None


def test_a_converter_that_wraps_does_so_on_the_air():
    world = bench(fault("dac-wrap", "a", at_s=0.0, scale=8.0))
    sent = world.airings()[0].program.codes
    scaled = np.rint(TONE.view(np.float32).astype(float) * 2048 * 8)
    assert np.abs(sent.view(np.float32)).max() <= 2048
    assert np.abs((sent.view(np.float32) - scaled + 1024) % 4096 - 1024).max() <= 1.0
    heard = take(world).samples
    fundamental = np.abs(level(heard)[0]) ** 2
    assert fundamental < 0.7 * np.mean(np.abs(heard[0]) ** 2)  # a sine that wraps is a sine no more


def test_amplifiers_that_weaken_or_die_in_mid_transmission():
    for what, loss, left in (("amplifier-gain-drop", 1.0, 10 ** (-1 / 20)), ("amplifier-death", 0.0, 0.0)):
        more = {"loss_db": loss} if loss else {}
        world = bench(fault(what, "a", at_s=0.12, channel=0, **more))
        capture = take(world, int(0.04 * RATE))
        first = world.truth.windows("b")[0][1]
        cut = round(0.12 * RATE) - first
        late = -(-cut // PERIOD) * PERIOD
        before, after = level(capture.samples[:, : late - 2 * PERIOD]), level(capture.samples[:, late : late + 200 * PERIOD])
        h = world.truth.channel("a", "b", np.array([BIN * RATE / PERIOD]))[0]
        assert after / before == pytest.approx((h @ (np.array([left, 1.0]) * WEIGHTS)) / (h @ WEIGHTS), abs=2e-3)


@pytest.mark.parametrize(("what", "then"), [("power-cycle", "not-configured"), ("node-reboot", "closed")])
def test_a_loss_of_power_ends_a_transmission(what, then):
    world = bench(fault(what, "a", at_s=0.12, for_s=0.2))
    heard = np.abs(take(world, int(0.04 * RATE)).samples[0])
    cut = round(0.12 * RATE) - world.truth.windows("b")[0][1]
    assert heard[: cut - 100].min() > 0.0 and not heard[cut + 100 :].any()
    assert world.radio("a").version is None
    with refused("no-answer"):
        world.radio("a").apply(1)
    world.advance(0.5)
    with refused(then):
        world.radio("a").apply(1)


# -- the room ---------------------------------------------------------------------------------------------------------------------------


def test_an_interferer_is_a_tone_at_every_port():
    offset = 1_230_000.0
    world = bench(fault("interferer", "room", carrier_hz=CARRIER + offset, at_port_dbm=-60.0), send=False)
    heard = take(world, 51200).samples
    spectrum = np.fft.fft(heard[0]) / 51200
    assert np.abs(spectrum).argmax() == round(offset / RATE * 51200)
    assert 20 * np.log10(np.abs(spectrum).max()) == pytest.approx(-60.0 - (-10.0 - 50.0), abs=0.05)
    far = bench(fault("interferer", "room", carrier_hz=CARRIER + 30e6), send=False)
    assert not take(far).samples.any()


def test_a_blocked_path_weakens_in_its_direction_and_recovers():
    world = bench(fault("path-blocked", "room", at_s=0.2, for_s=0.3, between="a>b"))
    found = []
    for at in (0.15, 0.21, 0.3, 0.52, 0.6):
        world.advance(Instant.of(at).since(world.now))
        found.append(abs(level(take(world, 51200).samples)[0]))
    sound, coming, blocked, going, free = db(np.array(found), found[0])
    assert blocked == pytest.approx(-15.0, abs=0.1) and free == pytest.approx(0.0, abs=0.01)
    assert -6.0 < coming < -2.0 and -10.0 < going < -5.0 and sound == 0.0
    h = [np.abs(world.truth.channel("a", "b", np.zeros(1), at=Instant.of(s))) for s in (0.1, 0.4)]
    assert db(h[1], h[0]) == pytest.approx(-15.0 * np.ones((1, 2, 2)))
    other = bench(fault("path-blocked", "room", between="b>a"))
    assert np.array_equal(take(other).samples, take(bench()).samples)


def test_a_target_that_vanishes_leaves_no_echo():
    still = {"position_m": [5.0, 3.0, 1.0], "radius_m": 0.0, "area_m2": 1000.0}
    world = bench(fault("target-vanishes", "room", at_s=0.2, for_s=0.1), emulated={"target": still})
    found = []
    for at in (0.15, 0.22, 0.32):
        world.advance(Instant.of(at).since(world.now))
        found.append(level(take(world).samples))
    bare = level(take(bench()).samples)
    assert np.abs(found[1] / bare) == pytest.approx(1.0, abs=2e-3) and np.abs(np.abs(found[0] / bare) - 1.0).max() > 0.02
    assert np.abs(found[2]) == pytest.approx(np.abs(found[0]), rel=2e-3)


# -- the ring and the automatic gain ----------------------------------------------------------------------------------------------------


def test_a_ring_fills_stops_and_is_cured_by_discarding():
    buffer = ring.Ring(1000, depth=4, block=100)
    later = 50_000
    assert [buffer.take(later) for _ in range(6)] == [1000, 1100, 1200, 1300, 50_000, 50_100]
    streaming = ring.Ring(1000, depth=4, block=100)
    assert [streaming.take(0) for _ in range(6)] == [1000, 1100, 1200, 1300, 1400, 1500]
    buffer = ring.Ring(1000, depth=4, block=100)
    assert buffer.discard_before(later) == 4 and buffer.oldest == later
    running = ring.Ring(1000, depth=4, block=100)
    assert running.discard_before(1150) == 2 and running.oldest == 1200  # it had not stopped


def test_blocks_from_before_the_lock_have_ten_times_the_phase_noise():
    """A ring opened with the retune holds what came before lock; a driver that does not discard reads it."""
    rms = []
    for faults in ((), (fault("stale-buffer", at_s=0.0),)):
        world = bench(*faults, emulated={"oscillator": {"phase_noise_deg": 0.45}})
        plain = world.radio("b").setting
        world.radio("b").configure(Setting(plain.carrier_hz, 7.68e6, plain.receive_gain_db))
        world.radio("b").configure(Setting(plain.carrier_hz, RATE, plain.receive_gain_db))
        heard = take(world, 4 * ring.BLOCK).samples[0]
        phase = np.unwrap(np.angle(heard * np.exp(-2j * np.pi * BIN * np.arange(heard.size) / PERIOD)))
        rms.append(np.degrees(phase[:2048].std()))
    assert 0.3 < rms[0] < 1.0 and 2.0 < rms[1] < 8.0


def test_a_new_gain_comes_about_in_twenty_microseconds():
    osc = Oscillator()
    before, after = (Tuning("b", osc, int(CARRIER), int(RATE), 0.1, (gain, gain)) for gain in (50.0, 40.0))
    steps = _settling(before, after)
    assert [tuned.gain_db[0] for _, tuned in steps] == [48.75, 46.25, 43.75, 41.25, 40.0]
    assert steps[0][0] == 0 and steps[-1][0] == math.ceil(20e-6 * RATE) and steps[-1][1] is after
    assert _settling(after, after) == [(0, after)]


@pytest.mark.parametrize(("events", "redrawn"), [(("retune", "rate", "power"), False), (("buffer",), True)])
def test_phases_are_drawn_at_the_events_of_the_part(events, redrawn):
    plan = pair({"receiver": QUIET})
    plan["radios"][1]["phase_events"] = list(events)
    world = build(plan, VirtualClock())
    configure(world)
    phases = []
    for _ in range(3):
        world.radio("b").configure(Setting(CARRIER, RATE, (40.0, 40.0)))
        take(world, 10)
        phases.append(world.truth.windows("b")[-1][0].phase)
    assert (len(set(phases)) == 3) is redrawn


def automatic(mode, amplitude=1.0):
    world = bench(send=False, emulated={"receiver": {"bits": 12}})
    world.radio("b").configure(Setting(CARRIER, RATE, (0.0, 0.0), gain_mode=mode))
    world.radio("a").load(1, (amplitude * TONE).astype(np.complex64))
    world.radio("a").apply(1)
    world.advance(0.01)
    return world


@pytest.mark.parametrize(("mode", "target", "within"), [("slow", -12.0, 3.6), ("fast", -6.0, 2.1)])
@pytest.mark.parametrize("amplitude", [1.0, 0.05])
def test_automatic_gain_brings_a_steady_tone_to_its_level(mode, target, within, amplitude):
    world = automatic(mode, amplitude=amplitude)
    capture = take(world, 60_000)
    peak = 20 * np.log10(np.abs(capture.samples).max(axis=1))
    assert np.abs(peak - target).max() <= within and capture.clipped == 0.0
    assert capture.gain_db == world.radio("b").setting.receive_gain_db  # the latest, and that only
    assert capture.gain_db == world.truth.windows("b")[-1][0].gain_db


def test_slow_gain_steps_by_a_decibel_a_millisecond_when_the_signal_goes():
    world = automatic("slow")

    def fall_silent():
        world.advance(0.005)
        world.radio("a").mute()

    _, capture = world.clock.together([fall_silent, lambda: take(world, int(0.0305 * RATE))])
    gains = [(first, tuned.gain_db[0]) for tuned, first, _ in world.truth.windows("b") if tuned.gain_db[0] % 1.0 == 0.0]
    steps = [(b[0] - a[0], b[1] - a[1]) for a, b in itertools.pairwise(gains) if a[1] != b[1]]
    assert len(steps) >= 5 and {step for _, step in steps} == {1.0} and capture.gain_db[0] == gains[-1][1]
    starts = [first for (_, before), (first, gain) in itertools.pairwise(gains) if gain != before]
    lasted = np.diff(starts) / RATE * 1e3
    assert lasted == pytest.approx(np.round(lasted), abs=1e-3) and lasted[:3] == pytest.approx(1.0, abs=1e-3)


def test_unknown_modes_are_refused():
    world = bench()
    with refused("out-of-range"):
        world.radio("b").configure(Setting(CARRIER, RATE, gain_mode="hybrid"))
    assert world.radio("b").configure(Setting(CARRIER, RATE, gain_mode="fast")).gain_mode == "fast"


# -- defaults ---------------------------------------------------------------------------------------------------------------------------


def test_stages_and_radios_share_a_schedule():
    plan = site([radio("ap1", 4, 0, [0, 0, 1], stage="rail1")], stages=[rail("rail1")])
    plan["emulated"]["fault"] = [{"what": "alarm", "where": "rail1", "at_s": 1.0}, {"what": "amplifier-death", "where": "ap1", "at_s": 0.5}]
    world = build(plan, VirtualClock())
    world.advance(0.7)
    assert [entry.what for entry in world.truth.log] == ["amplifier-death"]


def test_a_waveform_of_many_tones_is_heard_alike_with_and_without_a_cut():
    """A transmission that a fault cuts in pieces has no seam: what follows the cut is what would have followed without it."""
    wave = waveform(np.random.default_rng(1), 2, 500)
    found = []
    for faults in ((), (fault("amplifier-gain-drop", "a", at_s=0.12, channel=1, loss_db=0.0),)):
        world = bench(*faults, send=False)
        world.radio("a").load(1, wave)
        world.radio("a").apply(1)
        world.advance(Instant(0, 0.11).since(world.now))
        found.append(codes(take(world, int(0.03 * RATE))))
    assert np.abs(found[0] - found[1]).max() <= np.sqrt(2) and np.mean(found[0] != found[1]) < 1e-3
