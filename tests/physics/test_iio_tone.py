"""A tone from one radio on the network to another arrives at the level, the frequency and the delay that the world says."""

from __future__ import annotations

import numpy as np
import pytest
from daemon_bench import site
from wire_client import Wire, as_bytes, codes

from sim_backend.iiod.daemon import Daemon

PHY, ADC, DAC = "ad9361-phy", "cf-ad9361-lpc", "cf-ad9361-dds-core-lpc"
RATE, LO = 4_000_000, 2_400_000_000
PERIOD, BIN = 4096, 205
CLOCKS = {"class": "perfect", "spread_ppm": 5.0, "clock_offset_ns": 0.0, "phase_noise_deg": 0.0}


def configure(wire: Wire, gain: int, attenuation: float) -> None:
    for place, text in (
        (f"{PHY} INPUT voltage0 sampling_frequency", RATE), (f"{PHY} OUTPUT altvoltage0 frequency", LO), (f"{PHY} OUTPUT altvoltage1 frequency", LO),
        (f"{PHY} INPUT voltage0 gain_control_mode", "manual"), (f"{PHY} INPUT voltage0 hardwaregain", gain),
        (f"{PHY} OUTPUT voltage0 hardwaregain", -attenuation),
    ):  # fmt: skip
        assert wire.write(place, str(text)) > 0


@pytest.fixture(scope="module", params=[False, True], ids=["ideal", "quickstart hardware"])
def bench(request):
    """Two Plutos that hear each other through 43.5 m of air and nothing else; ideal but for their clocks, or as imperfect as most."""
    about = {"severity": 1.0 if request.param else 0.0, "oscillator": CLOCKS, "room": {"scatterers": 0, "self_interference_db": -200.0}}
    plain = site("pluto", names=("a", "b"), cable_db=None, **about)
    for antenna in plain["radios"][1]["antennas"]:
        antenna["origin_m"] = [43.5, 0.0, 1.5]
    with Daemon(plain, free_run=True) as daemon, Wire(daemon.ports["a"]) as a, Wire(daemon.ports["b"]) as b:
        for wire in (a, b):
            configure(wire, 60, 0.0)
        yield daemon, a, b


def capture(daemon: Daemon, b: Wire, samples: int) -> tuple[np.ndarray, int]:
    """Fresh samples, and the tick of the receiver's clock at which the first came out of its pipeline."""
    assert b.ask(f"SET {ADC} BUFFERS_COUNT 1") == 0 and b.ask(f"OPEN {ADC} {samples} 00000003") == 0
    first = daemon.boards["b"].front.inputs.open_now[-1]._ring.oldest
    got = codes(b.readbuf(ADC, 4 * samples))[0]
    assert b.ask(f"CLOSE {ADC}") == 0
    return got, first


def test_level_and_frequency(bench):
    daemon, a, b = bench
    tone = np.exp(2j * np.pi * BIN * np.arange(PERIOD) / PERIOD)
    assert a.ask(f"OPEN {DAC} {PERIOD} 00000003 CYCLIC") == 0
    a.writebuf(DAC, as_bytes((2**14 * tone)[None]))
    daemon.pace.sleep(0.02)
    samples, _ = capture(daemon, b, 1 << 17)
    a.ask(f"CLOSE {DAC}")

    truth = daemon.world.truth
    (_, y_a), (_, y_b) = truth.oscillator("a"), truth.oscillator("b")
    sent = BIN * RATE / PERIOD
    wanted = ((LO + sent) * (1.0 + y_a) - LO * (1.0 + y_b)) / (1.0 + y_b)  # on the receiver's own clock
    assert abs(y_a - y_b) * LO > 1000.0, "the clocks differ enough to be seen"
    n = np.arange(samples.size)
    turned = (samples * np.exp(-2j * np.pi * wanted * n / RATE)).reshape(64, -1).sum(axis=1)  # what is left turns slowly
    slope = np.polyfit(np.arange(64) * samples.size / 64 / RATE, np.unwrap(np.angle(turned)), 1)[0]
    assert abs(slope / (2 * np.pi)) < 1.0

    transfer = np.abs(truth.channel("a", "b", np.array([sent]), carrier=LO)[0, 0, 0]) ** 2
    port_dbm = 7.0 - 6.0206 + 10 * np.log10(transfer)
    found = 20 * np.log10(np.abs(turned.sum()) / samples.size / 2048) + (-10.0 - 60.0)
    assert found == pytest.approx(port_dbm, abs=0.1)


def test_delay(bench):
    daemon, a, b = bench
    rng = np.random.default_rng(5)
    bins = np.r_[-1400:0, 1:1401]  # flat over 0.68 of the rate
    spectrum = np.zeros(PERIOD, complex)
    spectrum[bins] = np.exp(2j * np.pi * rng.random(bins.size))
    wave = np.fft.ifft(spectrum)
    wave *= 2**14 / np.abs(wave).max()
    assert a.ask(f"OPEN {DAC} {PERIOD} 00000003 CYCLIC") == 0
    a.writebuf(DAC, as_bytes(np.round(wave)[None]))
    daemon.pace.sleep(0.02)
    samples, first = capture(daemon, b, 2 * PERIOD)
    a.ask(f"CLOSE {DAC}")

    world, truth = daemon.world, daemon.world.truth
    sender, receiver = (daemon.boards[name].front for name in "ab")
    (_, y_a), (_, y_b) = truth.oscillator("a"), truth.oscillator("b")
    offset = LO * (y_a - y_b) / (1.0 + y_b)
    at_rest = samples[:PERIOD] * np.exp(-2j * np.pi * offset * np.arange(PERIOD) / RATE)
    response = np.fft.fft(at_rest)[bins] / spectrum[bins]
    coarse = int(np.argmax(np.abs(np.fft.ifft(np.fft.fft(at_rest) * np.conj(spectrum)))))
    straight = np.unwrap(np.angle(response * np.exp(2j * np.pi * bins * coarse / PERIOD)))
    measured = coarse - np.polyfit(bins, straight, 1)[0] * PERIOD / (2 * np.pi)

    middle = first + PERIOD // 2  # clocks drift apart by a little within the capture
    instant = receiver.reference(world.now)[0].tick(middle - 28, RATE)
    flight = 43.5 / 299792458.0
    clock = sender.reference(world.now)[0].local(instant.after(-flight))
    origin = sender.sending._played[-1].origin
    sample = (clock.whole * RATE - origin - 36) + clock.fraction * RATE  # which one leaves the antenna then
    wanted = (PERIOD // 2 - sample) % PERIOD
    assert (measured - wanted + PERIOD / 2) % PERIOD - PERIOD / 2 == pytest.approx(0.0, abs=0.1)


def test_a_stream_of_blocks_is_one_tone(bench):
    """Through the air: a tone pushed in blocks has no step in phase or level where they join."""
    daemon, a, b = bench
    for wire in (a, b):
        configure(wire, 60, 0.0)
    block, count = 2000, 24
    step = 2j * np.pi * 0.05
    assert b.ask(f"SET {ADC} BUFFERS_COUNT 8") == 0 and b.ask(f"OPEN {ADC} 8000 00000003") == 0
    b.readbuf(ADC, 32000)
    assert a.ask(f"OPEN {DAC} {block} 00000003") == 0
    for k in range(count):
        n = np.arange(k * block, (k + 1) * block)
        assert a.writebuf(DAC, as_bytes((2**14 * np.exp(step * n))[None])) == 4 * block
    heard = np.concatenate([codes(b.readbuf(ADC, 32000))[0] for _ in range(7)])
    a.ask(f"CLOSE {DAC}")
    b.ask(f"CLOSE {ADC}")
    level = np.abs(heard)
    loud = np.flatnonzero(level > 0.5 * np.percentile(level, 70))
    inside = heard[loud[0] + 200 : loud[0] + (count - 5) * block]  # the last blocks were cut off with the buffer
    (_, y_a), (_, y_b) = (daemon.world.truth.oscillator(name) for name in "ab")
    offset = LO * (y_a - y_b)
    at_rest = inside * np.exp(-(step + 2j * np.pi * offset / RATE) * np.arange(inside.size))
    blocks = at_rest[: inside.size // 500 * 500].reshape(-1, 500).mean(axis=1)
    left = np.unwrap(np.angle(blocks))
    left -= np.polyval(np.polyfit(np.arange(left.size), left, 1), np.arange(left.size))
    assert np.abs(left).max() < 0.05 and np.ptp(20 * np.log10(np.abs(blocks))) < 0.2
