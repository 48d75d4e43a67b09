"""Two-way exchange of nodes that hear themselves: its arithmetic exactly, and through emulated radios."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hil.clock import Instant
from hil.device import Capture
from hil.errors import HilError, InputError
from hil.estimate import tracking, twoway
from hil.estimate.twoway import Lateness, Loop
from hil.waveform import SoundingFrame
from tests.physics.exchange_bench import USUAL, WIDE, Pair
from tests.physics.synthetic import received

FRAME_S, FC, WAY = 0.9989583e-3, 3.5e9, 33.4e-9
LOOPS = Loop(7e-9, (10e-12) ** 2), Loop(4e-9, (20e-12) ** 2)


def heard(offset, stretch, at, *, sign, loop, jitter=0.0, way=WAY, variance=(0.12e-9) ** 2, content=0.0):
    """What a node (sign +1: the first) hears at `at` s when the second's frame is late by offset(t) = offset - stretch t."""
    late = offset - stretch * at
    mine = content + at if sign > 0 else content + at - late  # where its own frame is on the air
    own = (mine - loop) % FRAME_S
    other = ((content + at - late if sign > 0 else content + at) - way) % FRAME_S
    return Lateness((own - other) % FRAME_S, variance, sign * stretch * FC, 0.36, FC, FRAME_S, own, other, Instant.of(20.0 + at + jitter),
                    "a" if sign > 0 else "b", True)  # fmt: skip


@pytest.mark.parametrize("turnaround", [1e-3, 10e-3, -0.1])
@pytest.mark.parametrize("offset", [300e-9, -0.3e-3, 0.4e-3])
def test_offset_holds_at_the_middle_and_range_is_corrected_for_the_rate(turnaround, offset):
    stretch = 3e-6
    first = heard(offset, stretch, 0.7e-3, sign=1, loop=7e-9, content=0.4e-3)
    second = heard(offset, stretch, 0.7e-3 + turnaround, sign=-1, loop=4e-9, jitter=2e-4, content=0.4e-3)
    found = twoway.exchange(first, second, *LOOPS)
    middle = 0.7e-3 + turnaround / 2.0
    assert found.offset.value[0] == pytest.approx(offset - stretch * middle, abs=2e-13)  # at either epoch: 1.5 ns per ms off
    assert found.offset.value[1] == pytest.approx(-stretch, rel=1e-9)
    assert found.range.value[0] == pytest.approx(WAY, abs=2e-13)  # uncorrected: 1.5 ns per ms
    assert found.apart_s == pytest.approx(turnaround, abs=1e-9)
    assert found.offset.epoch.since(first.at) == pytest.approx(turnaround / 2.0, abs=1e-9)
    assert found.offset.above_threshold


def test_variance_is_a_quarter_of_the_sum_loops_included():
    first, second = heard(1e-7, 0.0, 0.0, sign=1, loop=7e-9), heard(1e-7, 0.0, 1e-3, sign=-1, loop=4e-9)
    bare = twoway.exchange(first, second, Loop(7e-9), Loop(4e-9))
    assert np.sqrt(bare.offset.bound[0, 0]) == pytest.approx(0.12e-9 / np.sqrt(2.0))
    full = twoway.exchange(first, second, *LOOPS)
    assert full.offset.bound[0, 0] - bare.offset.bound[0, 0] == pytest.approx((10e-12**2 + 20e-12**2) / 4.0)
    assert np.sqrt(full.offset.bound[1, 1]) * FC == pytest.approx(0.6 / np.sqrt(2.0))
    wrong = twoway.exchange(first, second, Loop(7e-9), Loop(4e-9 + 2e-10))
    assert wrong.offset.value[0] - bare.offset.value[0] == pytest.approx(-1e-10)
    assert wrong.range.value[0] - bare.range.value[0] == pytest.approx(1e-10)


def test_monte_carlo_of_readings_covers():
    rng, off = np.random.default_rng(1), []
    for _ in range(500):
        noise = 0.12e-9 * rng.standard_normal(2)
        first, second = heard(2e-7, 2e-6, 0.0, sign=1, loop=7e-9), heard(2e-7, 2e-6, 1e-3, sign=-1, loop=4e-9)
        found = twoway.exchange(replace(first, seconds=first.seconds + noise[0]), replace(second, seconds=second.seconds + noise[1]),
                                Loop(7e-9), Loop(4e-9), tracking.ClockNoise(0.0, 0.0))  # fmt: skip
        off.append(found.offset.value[0] - (2e-7 - 2e-6 * 0.5e-3))
    assert np.std(off) == pytest.approx(0.0849e-9, rel=0.1) and abs(np.mean(off)) < 4 * 0.0849e-9 / np.sqrt(500)


def test_carriers_that_disagree_flag_the_exchange():
    first, second = heard(1e-7, 1e-6, 0.0, sign=1, loop=7e-9), heard(1e-7, 1e-6, 1e-3, sign=-1, loop=4e-9)
    bad = twoway.exchange(first, replace(second, cfo_hz=second.cfo_hz + 120.0), *LOOPS)
    assert not bad.offset.above_threshold and "carriers of both ways disagree" in bad.offset.assumptions
    with pytest.raises(InputError):
        _ = bad.reading
    assert twoway.exchange(first, second, *LOOPS).reading.offset == pytest.approx(1e-7 - 0.5e-9, abs=1e-12)


def test_epochs_are_counted_in_turns_of_the_own_frame():
    """Readings jitter by a tenth of a frame and run away from the frames by a whole turn within the run."""
    rng = np.random.default_rng(2)
    first = heard(0.0, 0.0, 0.1e-3, sign=1, loop=7e-9, jitter=2e-4)
    turns = twoway.Turns.begin(first)
    for at in np.arange(1, 150) * 3.0:
        turns, told = turns.dated(heard(0.0, 0.0, float(at), sign=1, loop=7e-9, jitter=2e-4 + 3e-6 * at + 1e-4 * float(rng.standard_normal())))
        assert told.at.since(first.at) == pytest.approx(at - 0.1e-3, abs=1e-9)
    again = replace(told, at=turns.zero.after(turns.late_s + 450_000.5 * FRAME_S + told.own))  # reloaded: the frame begins elsewhere
    with pytest.raises(HilError) as caught:
        turns.dated(again)
    assert caught.value.id == "frame-slipped"


def test_copy_of_a_frame_is_what_an_exact_channel_gives():
    """Start, carrier and drift: with the sign of the drift wrong, or none, the copy is 20 dB off."""
    frame = SoundingFrame(USUAL, 0, 1, 1, 1.0, 1, 28)
    start, cfo = 1234.37, 20e3
    y = received(frame.samples(), np.ones((1, 1, 1)), np.zeros(1), rate=15.36e6, carrier_hz=FC, cfo_hz=cfo, start=start, samples=20_000)
    capture = Capture.of(y, rate=15.36e6, carrier=FC)
    told, copy = twoway._heard(capture, frame, twoway.acquire(capture, frame), False)
    assert abs(told.carrier.start - start) < 0.02
    left = (y - copy)[:, 200:-200]  # the frame's own edges: the channel is smoothed there
    assert 10 * np.log10(np.mean(np.abs(left) ** 2) / np.mean(np.abs(y) ** 2)) < -45.0


def test_hundreds_of_nanoseconds_and_ppm_come_down_to_tens_of_picoseconds():
    pair = Pair.on_air(1)
    before = abs(pair.world.truth.clock_offset("a") - pair.world.truth.clock_offset("b"))
    off, ratio = [], []
    for _ in range(3):
        found = pair.exchange()
        off.append(pair.error(found.offset.value[0], pair.middle))
        ratio.append([off[-1] / found.offset.std[0], (found.range.value[0] - pair.way) / found.range.std[0]])
        assert found.offset.above_threshold and found.offset.std[0] < 0.06e-9
        pair.clock.sleep(0.05)
    assert before > 20e-9 and abs(pair.near["a"]) > 200.0
    assert np.max(np.abs(off)) < 0.2e-9
    assert np.all(np.abs(ratio) < 4.0)


def test_what_is_asked_wrongly_is_refused():
    frame = SoundingFrame(USUAL, 0, 1, 1, 1.0, 1, 28)
    capture = Capture.of(np.ones(20_000), rate=15.36e6, carrier=FC, clock=Instant(1, 0.0))
    with pytest.raises(HilError) as caught:
        twoway.lateness(capture, frame, SoundingFrame(USUAL, 1, 1, 1, 1.0, 1, 56))
    assert caught.value.id == "exchange" and "15344 and 30688" in caught.value.found
    with pytest.raises(HilError):
        twoway.lateness(replace(capture, clock=None), frame, SoundingFrame(USUAL, 1, 1, 1, 1.0, 1, 28))
    with pytest.raises(InputError) as caught:
        twoway.separated(capture, [SoundingFrame(USUAL, 0, 1, 4, 1.0, 4, 28)])
    assert "one antenna" in str(caught.value)


@pytest.mark.slow
def test_nineteen_megahertz_at_20_db_are_good_to_a_tenth_of_a_nanosecond():
    """Through radios that hear themselves 7 dB below the other; offsets against what was on the air at the middle of the exchange."""
    off, told = [], []
    for seed in range(3):
        pair = Pair.on_air(seed, WIDE)
        for _ in range(5):
            found = pair.exchange()
            off.append([pair.error(found.offset.value[0], pair.middle), found.range.value[0] - pair.way])
            told.append([found.offset.std[0], found.range.std[0]])
            pair.clock.sleep(0.02)
    rms = np.sqrt(np.mean(np.square(off), axis=0))
    assert np.all(rms < 0.1e-9)
    assert np.sqrt(np.mean(np.square(np.array(off) / told), axis=0)) == pytest.approx([1.0, 1.0], abs=0.45)


@pytest.mark.slow
def test_a_track_on_exchanges_predicts_the_offset_at_the_age_of_a_push():
    """Exchanges ten times a second through emulated TCXOs; a tenth of a second later the offset of the frames is where the track says."""
    noise, ratio = tracking.ClockNoise(1.4e-19, 7e-18, 8e-18), []  # what fits such pairs at this pace
    for seed in (5, 6):
        pair = Pair.on_air(seed)
        found = []
        for _ in range(14):
            found.append((pair.exchange(noise=noise), pair.middle))
            pair.clock.sleep(0.09)
        zero, track = found[0][1], tracking.Track.begin(found[0][0].reading, noise)
        for number, (exchange, _) in enumerate(found[1:-1], 2):
            track = track.updated(exchange.reading)
            ahead, when = found[number]
            value, covariance = track.after(ahead.offset.epoch.since(track.at))
            ratio.append(pair.error(value[0], zero.after(when.since(zero))) / np.sqrt(covariance[0, 0]))
        assert track.generation == 0
    assert np.sqrt(np.mean(np.square(ratio))) == pytest.approx(1.0, abs=0.4)
