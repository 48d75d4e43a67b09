"""Blocks worked out ahead by a daemon whose time waits: the same samples as without, whatever is commanded in between."""

from __future__ import annotations

import numpy as np
import pytest
from daemon_bench import site
from wire_client import Wire, as_bytes

from sim_backend.iiod.ahead import Ahead
from sim_backend.iiod.daemon import Daemon
from sim_backend.iiod.inlet import Inlet

PHY, ADC, DAC = "ad9361-phy", "cf-ad9361-lpc", "cf-ad9361-dds-core-lpc"
SAMPLES = 3000


def exchange(monkeypatch, prepares: bool) -> tuple[list[bytes], list[bool]]:
    """Blocks read while gain, carrier and what another radio sends change; and for each of them whether one that was prepared served."""
    served: list[bool] = []
    taken = Inlet._take

    def take(inlet, ring):
        before = inlet._ahead._prepared
        history = inlet._ahead._history
        inlet._refresh()
        served.append(before is not None and before[:2] == (ring.oldest, history()))
        return taken(inlet, ring)

    monkeypatch.setattr(Inlet, "_take", take)
    if not prepares:
        monkeypatch.setattr(Ahead, "prepare", lambda ahead, tick: None)
    wave = as_bytes((2**13 * np.exp(2j * np.pi * 0.05 * np.arange(1000)))[None])
    blocks: list[bytes] = []
    with Daemon(site("pluto", ("a", "b"), severity=1.0), free_run=True) as daemon, Wire(daemon.ports["a"]) as a, Wire(daemon.ports["b"]) as b:
        for wire in (a, b):
            wire.write(f"{PHY} INPUT voltage0 gain_control_mode", "manual")
            wire.write(f"{PHY} INPUT voltage0 sampling_frequency", "4000000")
            wire.write(f"{PHY} OUTPUT altvoltage1 frequency", "2400000000")
        assert b.ask(f"OPEN {ADC} {SAMPLES} 00000003") == 0

        def read(count: int) -> None:
            for _ in range(count):
                blocks.append(b.readbuf(ADC, 4 * SAMPLES))

        read(8)
        b.write(f"{PHY} INPUT voltage0 hardwaregain", "40")
        read(8)
        assert a.ask(f"OPEN {DAC} 1000 00000003 CYCLIC") == 0
        a.writebuf(DAC, wave)
        read(8)
        b.write(f"{PHY} INPUT altvoltage0 frequency", "2400001000")
        read(4)
        a.ask(f"CLOSE {DAC}")
        read(8)
        assert a.ask(f"OPEN {DAC} 1000 00000003") == 0  # a stream: what is heard next nobody knows yet
        for _ in range(12):
            a.writebuf(DAC, wave)
            read(1)
    return blocks, served


@pytest.fixture
def both():
    with pytest.MonkeyPatch.context() as patch:
        ahead = exchange(patch, True)
    with pytest.MonkeyPatch.context() as patch:
        return ahead, exchange(patch, False)


def test_what_was_prepared_is_what_would_have_been_computed(both):
    (ahead, served), (asked, never) = both
    assert ahead == asked
    assert not any(never) and sum(served) > 20, "most blocks were prepared"
    assert not any(served[-11:]), "beside a stream none is"


def test_a_prepared_block_counts_only_for_its_tick_and_its_history():
    history, computed = [1], []

    def take(tick: int) -> int:
        computed.append(tick)
        return tick * history[0]

    ahead = Ahead(take, lambda: history[0])
    ahead.prepare(5)
    assert ahead.block(5) == 5 and computed == [5], "worked out once"
    ahead.prepare(6)
    assert ahead.block(7) == 7, "another tick"
    ahead.prepare(8)
    history[0] = 2
    assert ahead.block(8) == 16, "something was commanded"
    history[0] = None
    ahead.prepare(9)
    assert ahead._prepared is None, "nobody can say"
