"""Faults of a radio as a client on the network sees them: what goes wrong shows there and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
from daemon_bench import site
from wire_client import Wire, as_bytes, codes

from sim_backend.iiod.daemon import Daemon

PHY, ADC, DAC = "ad9361-phy", "cf-ad9361-lpc", "cf-ad9361-dds-core-lpc"
GAIN = f"{PHY} INPUT voltage0 hardwaregain"
TONE = 2**14 * np.exp(2j * np.pi * np.arange(512) / 32)


class Bench:
    """A radio that hears its own tone through a cable; the fault begins a second after it is up."""

    def __init__(self, daemon: Daemon, wire: Wire) -> None:
        self.daemon, self.wire = daemon, wire
        for place, value in (
            ("INPUT voltage0 sampling_frequency", 4_000_000), ("OUTPUT altvoltage1 frequency", 2_400_000_000),
            ("INPUT voltage0 gain_control_mode", "manual"), ("INPUT voltage0 hardwaregain", 10),
        ):  # fmt: skip
            assert wire.write(f"{PHY} {place}", str(value)) > 0
        self.send()
        wire.ask(f"SET {ADC} BUFFERS_COUNT 1")

    def send(self, samples: np.ndarray = TONE) -> None:
        self.wire.ask(f"CLOSE {DAC}")
        assert self.wire.ask(f"OPEN {DAC} {samples.size} 00000003 CYCLIC") == 0
        assert self.wire.writebuf(DAC, as_bytes(samples[None])) == 4 * samples.size
        self.daemon.pace.sleep(0.01)

    def begin(self) -> None:
        """Go to where the fault is."""
        self.daemon.pace.sleep(2.0)

    def hear(self, samples: int = 4096) -> np.ndarray:
        assert self.wire.ask(f"OPEN {ADC} {samples} 00000003") == 0
        got = self.wire.readbuf(ADC, 4 * samples)
        assert self.wire.ask(f"CLOSE {ADC}") == 0
        assert isinstance(got, bytes)
        return codes(got)[0]

    def level(self) -> float:
        return float(np.sqrt(np.mean(np.abs(self.hear()) ** 2)))

    @property
    def overflowed(self) -> bool:
        self.wire.write(f"{ADC} DEBUG direct_reg_access", "0x80000088")
        return self.wire.read(f"{ADC} DEBUG direct_reg_access") == "0x4"


@pytest.fixture
def bench(request):
    what, parameters = request.param
    fault = {"what": what, "where": "a", "at_s": 1.0, **parameters}
    with Daemon(site("pluto", fault=[fault]), free_run=True) as daemon, Wire(daemon.ports["a"]) as wire:
        yield Bench(daemon, wire)


def with_fault(what: str, **parameters: float):
    return pytest.mark.parametrize("bench", [(what, parameters)], indirect=True, ids=[what])


@with_fault("overflow-stuck")
def test_the_overflow_bit_cannot_be_cleared(bench):
    assert not bench.overflowed
    bench.begin()
    bench.wire.write(f"{ADC} DEBUG direct_reg_access", "0x80000088 0x4")
    assert bench.overflowed and bench.level() > 100.0


@with_fault("lost-block", rate_hz=4000.0, samples=192)
def test_lost_samples_raise_the_overflow_bit_and_break_the_phase(bench):
    def steps() -> int:
        samples = bench.hear(16384) * np.exp(-2j * np.pi * 7 / 500 * np.arange(16384))
        return int(np.sum(np.abs(np.angle(samples[32:] * np.conj(samples[:-32]))) > 0.5))

    bench.send(2**14 * np.exp(2j * np.pi * np.arange(500) * 7 / 500))  # of which 192 samples are no whole number of turns
    assert steps() == 0 and not bench.overflowed
    bench.begin()
    assert steps() > 0 and bench.overflowed


@with_fault("capture-never-returns")
def test_a_capture_that_never_returns_ends_at_the_clients_time_out(bench):
    bench.begin()
    bench.wire.ask("TIMEOUT 30")
    assert bench.wire.ask(f"OPEN {ADC} 1024 00000003") == 0 and bench.wire.readbuf(ADC, 4096) == -110


@with_fault("returns-short", share=0.25)
def test_a_short_refill_ends_early(bench):
    bench.begin()
    assert bench.wire.ask(f"OPEN {ADC} 1024 00000003") == 0
    bench.wire.send(f"READBUF {ADC} 4096\r\n".encode())
    assert bench.wire.line() == b"1024" and bench.wire.line() == b"00000003"
    bench.wire.stream.read(1024)
    assert bench.wire.line() == b"0"
    assert bench.wire.ask("TIMEOUT 2500") == 0


@with_fault("returns-late", late_s=0.3)
def test_a_late_refill_comes_later(bench):
    bench.begin()
    begun = bench.daemon.pace.now()
    bench.hear()
    assert bench.daemon.pace.now().since(begun) > 0.3


@with_fault("stuck-ring")
def test_a_stuck_ring_gives_the_same_again(bench):
    assert bench.wire.ask(f"OPEN {ADC} 1024 00000003") == 0
    assert bench.wire.readbuf(ADC, 4096) != bench.wire.readbuf(ADC, 4096)
    bench.begin()
    assert bench.wire.readbuf(ADC, 4096) == bench.wire.readbuf(ADC, 4096)


@with_fault("gain-readback-wrong", error_db=6.0)
def test_a_wrong_gain_is_read_back(bench):
    before = bench.level()
    bench.begin()
    assert bench.wire.read(GAIN) == "16.000000 dB" and bench.level() == pytest.approx(before, rel=0.02)


@with_fault("gain-step-ignored")
def test_a_gain_is_read_back_that_was_not_taken(bench):
    before = bench.level()
    bench.begin()
    assert bench.wire.write(GAIN, "20") == 3
    assert bench.wire.read(GAIN) == "20.000000 dB" and bench.level() == pytest.approx(before, rel=0.02)


@with_fault("unlocked-retune", offset_hz=50e3)
def test_a_retune_ends_off_frequency(bench):
    def peak() -> float:
        return float(np.fft.fftfreq(4096, 1 / 4e6)[int(np.argmax(np.abs(np.fft.fft(bench.hear()))))])

    assert peak() == 125e3
    bench.begin()
    assert peak() == 125e3  # nothing was tuned meanwhile
    assert bench.wire.write(f"{PHY} OUTPUT altvoltage1 frequency", "2400000000") > 0
    assert bench.wire.read(f"{PHY} OUTPUT altvoltage1 frequency") == "2400000000"
    bench.daemon.pace.sleep(0.01)
    assert peak() == pytest.approx(175e3, abs=1e3)


@with_fault("dac-wrap", scale=3.0)
def test_codes_that_wrap_are_no_tone(bench):
    def purity() -> float:
        spectrum = np.abs(np.fft.fft(bench.hear())) ** 2
        return float(spectrum.max() / spectrum.sum())

    assert purity() > 0.99
    bench.begin()
    bench.send()
    assert purity() < 0.8


@with_fault("power-cycle")
def test_a_power_cycle_ends_what_is_sent(bench):
    assert bench.level() > 100.0
    bench.begin()
    assert bench.level() < 10.0
