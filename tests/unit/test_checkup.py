"""What a doctor's arithmetic says of captures whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from hil import checkup
from hil.clock import WallClock
from hil.device import Capture, Loss, Setting
from hil.testing import InstantRadio

RATE, CARRIER = 4e6, 3.5e9


def noise(dbfs: float, channels: int = 1, samples: int = checkup.SAMPLES, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    scale = np.sqrt(10 ** (dbfs / 10) / 2)
    return scale * (rng.standard_normal((channels, samples)) + 1j * rng.standard_normal((channels, samples)))


def tone(hz: float, dbfs: float, samples: int = checkup.SAMPLES) -> np.ndarray:
    return 10 ** (dbfs / 20) * np.exp(2j * np.pi * hz / RATE * np.arange(samples))


def capture(samples: np.ndarray, **more) -> Capture:
    return Capture.of(samples, rate=RATE, carrier=CARRIER, **more)


@pytest.mark.parametrize("level", [-60.0, -30.0])
def test_the_noise_floor_is_that_of_the_noise_whatever_lines_stand_in_it(level: float) -> None:
    heard = noise(level, 2) + tone(700e3, level + 30.0) + 10 ** ((level + 20.0) / 20.0)
    assert checkup.noise_dbfs(capture(heard)) == pytest.approx((level, level), abs=0.3)


def test_lines_are_found_at_their_frequency_and_level_and_noise_makes_none() -> None:
    assert [line for seed in range(20) for line in checkup.lines(capture(noise(-50.0, 2, seed=seed)))] == []
    heard = noise(-60.0, 2)
    heard[1] += tone(-300 * RATE / checkup.CYCLE, -45.0) + tone(900 * RATE / checkup.CYCLE, -50.0) + 0.1
    found = checkup.lines(capture(heard))
    assert [(line.channel, round(line.hz)) for line in found] == [(1, round(-300 * RATE / 4096)), (1, round(900 * RATE / 4096))]
    assert [line.dbfs for line in found] == pytest.approx([-45.0, -50.0], abs=0.3)


def test_a_port_without_a_converter_is_dead_and_a_quiet_one_is_not() -> None:
    heard = np.stack([np.full(1000, 3.0 / 2048), (np.round(noise(-66.0, samples=1000)[0] * 2048) / 2048)])
    assert checkup.dead_channels(capture(heard)) == [0]


@pytest.mark.parametrize("channels", [1, 4, 8])
def test_every_channel_s_tone_is_told_from_the_others(channels: int) -> None:
    sent = checkup.tones(channels, 0.02)
    assert len({checkup.tone_cycles(channel, channels) for channel in range(channels)}) == channels
    gains = np.ones(channels)
    gains[-1] = 0.0  # a transmitter that is not connected
    off = np.exp(2j * np.pi * 3000.0 / RATE * np.arange(checkup.SAMPLES))
    silence = noise(-60.0, 1)
    heard = noise(-60.0, 1, seed=2) + (gains @ np.tile(sent, checkup.SAMPLES // checkup.CYCLE)) * off
    levels = checkup.heard(capture(heard), capture(silence), channels)
    assert levels.shape == (channels, 1, 2)
    for channel in range(channels - 1):
        assert levels[channel, 0, 0] == pytest.approx(20 * np.log10(0.02), abs=1.5) and levels[channel, 0, 1] > checkup.HEARD_DB
    assert levels[-1, 0, 1] < checkup.HEARD_DB


@pytest.mark.parametrize("off", [0.0, 1.7, -4321.0, 120e3])
def test_how_far_two_clocks_are_apart(off: float) -> None:
    cycles = checkup.tone_cycles(0, 1)
    heard = noise(-50.0) + tone(cycles / checkup.CYCLE * RATE + off, -20.0)
    assert checkup.offset_hz(capture(heard), 0, cycles) == pytest.approx(off, abs=1.0)


class Looping(InstantRadio):
    """Returns what it sends as codes, from somewhere in the cycle on, one of them damaged where `damage` says."""

    damage = 0

    def loopback(self, on: bool) -> None:
        self.on = on

    def supports(self, what: str) -> bool:
        return what == "loopback" or super().supports(what)

    def capture(self, samples: int, timeout_s: float) -> Capture:
        taken = super().capture(samples, timeout_s)
        assert self.on and self._version is not None
        codes = np.floor(self._loaded[self._version].view(np.float32) * 2048 + np.float32(0.5)).view(np.complex64)
        back = np.roll(np.tile(codes, (1, samples // codes.shape[1])), 777, axis=1)
        back[:, : self.damage] += 1
        return Capture.of(back / 2048, rate=taken.sample_rate_hz, carrier=taken.carrier_hz)


@pytest.mark.parametrize("damage", [0, 5])
def test_loopback_counts_codes(damage: int) -> None:
    radio = Looping("r", WallClock())
    radio.damage = damage
    radio.configure(Setting(CARRIER, 15.36e6, (0.0, 0.0), (80.0, 80.0)))
    waveform = np.random.default_rng(1).uniform(-0.5, 0.5, (2, 512, 2)).astype(np.float32).view(np.complex64)[..., 0]
    assert checkup.looped_back(radio, waveform, 12) == pytest.approx(1.0 - damage / 512)
    assert radio.on is False and radio.version is None
    assert checkup.looped_back(InstantRadio("r", WallClock()), waveform, 12) is None


class Paced:
    """A radio whose samples come at a rate of their own, each block some time after its end."""

    def __init__(self, rate: float, delays: list[float], lost: int = 0) -> None:
        self.capability = InstantRadio("r").capability
        self._rate, self._delays, self._lost, self._taken, self._start = rate, delays, lost, 0, WallClock().now()

    def capture(self, samples: int, timeout_s: float) -> Capture:
        index, self._taken = self._taken, self._taken + 1
        at = self._start.after(index * samples / self._rate + self._delays[index % len(self._delays)])
        loss = Loss.SOME if index < self._lost else Loss.NONE
        return Capture.of(np.zeros((1, 1)), rate=self._rate, carrier=CARRIER, clock=at, loss=loss)


def test_a_host_that_is_late_does_not_make_a_sample_clock_slow() -> None:
    rng = np.random.default_rng(3)
    delays = list(rng.exponential(0.02, 2 * checkup.BLOCKS))
    delays[4] = delays[13] = 0.0
    assert checkup.pace(Paced(RATE, delays), WallClock(), RATE).rate_hz == pytest.approx(RATE, rel=1e-9)
    assert checkup.pace(Paced(RATE / 2, delays), WallClock(), RATE).rate_hz == pytest.approx(RATE / 2, rel=0.05)
    spoilt = checkup.pace(Paced(RATE, delays, lost=3), WallClock(), RATE)
    assert np.isnan(spoilt.rate_hz) and spoilt.lost == 3


def told_clock(delays: list[float], rate: float = RATE, lost: int = 0) -> checkup.Finding:
    rows = checkup.paces(Paced(rate, delays, lost), WallClock(), RATE)
    return checkup.sample_clock("r sample clock", rows, RATE)


def test_a_clock_that_is_off_every_time_is_to_be_fixed() -> None:
    quiet = list(np.random.default_rng(4).exponential(1e-4, 2 * checkup.BLOCKS))
    assert told_clock(quiet).verdict == "ok"
    for rate in (RATE / 2, 1.2 * RATE):
        wrong = told_clock(quiet, rate)
        assert wrong.verdict == "FIX" and f"{checkup.ROWS} times" in wrong.found
        assert float(wrong.found.split()[0]) == pytest.approx(rate / 1e6, rel=2e-3)
    assert told_clock(quiet, lost=3).verdict == "-"


@pytest.mark.parametrize("seed", range(8))
def test_a_host_that_is_busy_is_no_reason_to_fix_a_clock(seed: int) -> None:
    """A stream that has to be opened anew leaves a gap, and the gaps add up."""
    rng = np.random.default_rng(seed)
    gaps = np.cumsum(rng.exponential(0.02, 2 * checkup.BLOCKS * checkup.ROWS))
    found = told_clock(list(gaps))
    assert found.verdict in ("ok", "WARN") and (found.verdict == "ok" or "busy" in found.fix)
    calm = np.concatenate([gaps[: 2 * checkup.BLOCKS], np.full(2 * checkup.BLOCKS, gaps[-1])])  # and then it has time again
    assert told_clock(list(calm)).verdict == "ok"
