"""Clients that read, send, retune and reopen one radio at the same time: everybody gets an answer, nothing locks up."""

from __future__ import annotations

import itertools
import threading
import time

import numpy as np
import pytest
from daemon_bench import site
from wire_client import Wire, as_bytes, codes

from sim_backend.iiod.daemon import Daemon

PHY, ADC, DAC = "ad9361-phy", "cf-ad9361-lpc", "cf-ad9361-dds-core-lpc"
DEADLINE_S = 60.0
TONE = as_bytes(2**13 * np.exp(2j * np.pi * np.arange(512) / 16)[None])


def reading(wire: Wire) -> None:
    assert wire.ask(f"OPEN {ADC} 1024 00000003") == 0
    for _ in range(3):
        assert len(wire.readbuf(ADC, 4096)) == 4096
    assert wire.ask(f"CLOSE {ADC}") == 0


def sending(wire: Wire, cyclic: str = "") -> None:
    if wire.ask(f"OPEN {DAC} 512 00000003{cyclic}") == 0:
        assert wire.writebuf(DAC, TONE) == 2048
        assert wire.ask(f"CLOSE {DAC}") == 0


def retuning(wire: Wire, number: int) -> None:
    assert wire.write(f"{PHY} OUTPUT altvoltage{number % 2} frequency", str(2_400_000_000 + 1000 * number)) > 0
    assert wire.write(f"{PHY} INPUT voltage0 sampling_frequency", str((3_000_000, 4_000_000)[number % 2])) > 0
    assert wire.write(f"{PHY} OUTPUT voltage0 hardwaregain", f"-{number % 40}") > 0


def looking(wire: Wire) -> None:
    for place in ("INPUT voltage0 rssi", "INPUT voltage0 hardwaregain", "INPUT temp0 input", "tx_path_rates"):
        assert isinstance(wire.read(f"{PHY} {place}"), str)
    wire.write(f"{ADC} DEBUG direct_reg_access", "0x80000088")
    assert wire.read(f"{ADC} DEBUG direct_reg_access") in ("0x0", "0x4")
    assert wire.write(f"{DAC} OUTPUT TX1_I_F1 raw", "0") == 2


def test_clients_of_one_radio_do_not_stand_in_each_others_way():
    numbers = itertools.count()
    acts = (reading, reading, sending, lambda w: sending(w, " CYCLIC"), lambda w: retuning(w, next(numbers)), looking)
    done, failed = [0] * len(acts), []

    def run(index: int, daemon: Daemon, name: str) -> None:
        try:
            with Wire(daemon.ports[name], DEADLINE_S) as wire:
                for _ in range(12):
                    acts[index](wire)
                    done[index] += 1
        except BaseException as error:
            failed.append((acts[index], error))

    with Daemon(site("pluto", names=("a", "b")), free_run=True) as daemon:
        threads = [threading.Thread(target=run, args=(k, daemon, "ab"[k % 2 if k > 1 else 0]), daemon=True) for k in range(len(acts))]
        for thread in threads:
            thread.start()
        until = time.monotonic() + DEADLINE_S
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
        assert not failed and not any(thread.is_alive() for thread in threads), (failed, done)


@pytest.mark.parametrize("rate", ["8000000", "3000000"])
def test_a_new_rate_leaves_full_blocks_as_they_are_and_starts_the_others_anew(rate):
    with Daemon(site("pluto"), free_run=True) as daemon, Wire(daemon.ports["a"]) as wire:
        place = f"{PHY} INPUT voltage0 sampling_frequency"
        assert wire.write(place, "4000000") > 0
        assert wire.ask(f"OPEN {ADC} 2048 00000003") == 0
        assert wire.ask(f"OPEN {DAC} 512 00000003 CYCLIC") == 0 and wire.writebuf(DAC, TONE) == 2048
        daemon.pace.sleep(0.0026)  # some of the four blocks are full
        before = daemon.pace.now()
        assert wire.write(place, rate) > 0
        for _ in range(12):
            assert np.any(codes(wire.readbuf(ADC, 8192)))
        spent = daemon.pace.now().since(before)
        assert 8 * 2048 / float(rate) < spent < 12 * 2048 / float(rate) + 1e-3


def test_a_corrected_crystal_moves_what_is_heard():
    """A tone of another radio, before and after: the receiver's carrier moves by as many ppm, and the tone the other way."""
    clocks = {"class": "perfect", "spread_ppm": 0.0, "clock_offset_ns": 0.0, "phase_noise_deg": 0.0}
    plain = site("pluto", names=("a", "b"), oscillator=clocks)
    with Daemon(plain, free_run=True) as daemon, Wire(daemon.ports["a"]) as a, Wire(daemon.ports["b"]) as b:
        for wire in (a, b):
            wire.write(f"{PHY} INPUT voltage0 sampling_frequency", "4000000")
            for number in range(2):
                wire.write(f"{PHY} OUTPUT altvoltage{number} frequency", "2400000000")
            wire.write(f"{PHY} OUTPUT voltage0 hardwaregain", "0")
        a.ask(f"OPEN {DAC} 512 00000003 CYCLIC")
        a.writebuf(DAC, TONE)
        found = []
        for correction in ("40000000", "40000200"):  # the crystal is taken for 5 ppm faster than it is, so all comes out slower
            assert b.write(f"{PHY} xo_correction", correction) > 0
            daemon.pace.sleep(0.01)
            b.ask(f"OPEN {ADC} 65536 00000003")
            samples = codes(b.readbuf(ADC, 4 * 65536))[0]
            b.ask(f"CLOSE {ADC}")
            blocks = (samples * np.exp(-2j * np.pi * np.arange(65536) / 16)).reshape(1024, -1).sum(axis=1)
            turn = np.angle(np.vdot(blocks[:-1], blocks[1:]))
            found.append(turn / (2 * np.pi) * 4e6 / 64)
        # the tone is heard on a clock that is slower by 5 ppm: 12 kHz higher, and as many ppm more
        assert found[1] - found[0] == pytest.approx(5e-6 * (2.4e9 + 250e3), abs=2.0)
