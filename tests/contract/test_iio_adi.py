"""pyadi-iio's own classes against the emulated radios: what a user of them does, unchanged."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import numpy as np
import pytest
from daemon_bench import require_libiio, site

from sim_backend.iiod.daemon import Daemon

CABLE_ONLY = {"room": {"scatterers": 0, "self_interference_db": -200.0}}
TONE = 2**14 * np.exp(2j * np.pi * np.arange(1024) * 64 / 1024)


@pytest.fixture(scope="module")
def adi():
    require_libiio()
    import adi

    return adi


@contextmanager
def opened(make, uri):
    """Buffers go before their context: the other way round the library reads what has been freed."""
    sdr = make(uri=uri)
    try:
        yield sdr
    finally:
        sdr.tx_destroy_buffer()
        sdr.rx_destroy_buffer()
        del sdr
        gc.collect()


def tune(sdr, chains=("",), rate=4_000_000):
    sdr.sample_rate = rate
    for chip in chains:
        for side in ("rx", "tx"):
            setattr(sdr, f"{side}_lo{chip}", 2_400_000_000)
        for channel in range(2 if hasattr(sdr, f"gain_control_mode{chip}_chan1") else 1):
            setattr(sdr, f"gain_control_mode{chip}_chan{channel}", "manual")
            setattr(sdr, f"rx_hardwaregain{chip}_chan{channel}", 10)
            setattr(sdr, f"tx_hardwaregain{chip}_chan{channel}", -10)


def level_db(samples, full_scale):
    return 20 * np.log10(np.sqrt(np.mean(np.abs(samples) ** 2)) / full_scale)


@pytest.mark.parametrize(("name", "part", "channels"), [("Pluto", "pluto", 1), ("ad9361", "ad9361", 2), ("FMComms5", "fmcomms5", 4)])
def test_a_cyclic_tone_comes_back_through_each_cable(adi, name, part, channels):
    with Daemon(site(part, **CABLE_ONLY), free_run=True) as daemon, opened(getattr(adi, name), daemon.uris["a"]) as sdr:
        tune(sdr, chains=("", "_chip_b") if part == "fmcomms5" else ("",))
        sdr.rx_buffer_size, sdr.tx_cyclic_buffer = 4096, True
        for speaking in range(channels):
            sdr.rx_destroy_buffer()
            sdr.tx_destroy_buffer()
            sent = [TONE if channel == speaking else 0 * TONE for channel in range(channels)]
            sdr.tx(sent if channels > 1 else sent[0])
            daemon.pace.sleep(0.01)
            heard = sdr.rx() if channels > 1 else [sdr.rx()]
            levels = [level_db(samples, 2048) for samples in heard]
            assert levels[speaking] == pytest.approx(7.0 - 6.02 - 10.0 - 30.0 + 10.0 + 10.0, abs=0.1)
            assert max([level for channel, level in enumerate(levels) if channel != speaking], default=-99.0) < -45.0
            peak = int(np.argmax(np.abs(np.fft.fft(heard[speaking]))))
            assert peak == 64 * 4  # the positive side


def test_an_array_of_16_with_phases_of_its_own(adi):
    with Daemon(site("ad9081", channels=16, **CABLE_ONLY), free_run=True) as daemon, opened(adi.ad9081, daemon.uris["a"]) as sdr:
        assert len(sdr.rx_main_nco_frequencies) == len(sdr.tx_main_nco_frequencies) == 16
        sdr.rx_main_nco_frequencies = [-500_000_000] * 16
        sdr.tx_main_nco_frequencies = [3_500_000_000] * 16
        sdr.rx_buffer_size, sdr.tx_cyclic_buffer = 2048, True
        sdr.tx([TONE] * 16)
        daemon.pace.sleep(0.01)
        before = sdr.rx()
        assert level_db(before[5], 32768) == pytest.approx(4.0 - 6.02 - 30.0 - 4.4, abs=0.1)
        order = sdr._rx_fine_ddc_channel_names  # the class goes by id as text: 0, 10, 11, ... 1, 2
        sdr.rx_channel_nco_phases = [90_000 if name == "voltage5_i" else 0 for name in order]
        sdr.rx_destroy_buffer()
        after = sdr.rx()

        def phase(samples, channel):
            return np.angle(np.vdot(samples[0], samples[channel]))

        turned = np.angle(np.exp(1j * (phase(after, 5) - phase(before, 5))), deg=True)
        assert turned == pytest.approx(-90.0, abs=0.5)
        assert np.angle(np.exp(1j * (phase(after, 6) - phase(before, 6))), deg=True) == pytest.approx(0.0, abs=0.5)


def test_tones_of_the_generators(adi):
    with Daemon(site("pluto"), free_run=True) as daemon, opened(adi.Pluto, daemon.uris["a"]) as sdr:
        tune(sdr)
        for wanted in (300_000, -300_000):
            sdr.dds_single_tone(wanted, 0.5)
            daemon.pace.sleep(0.01)
            sdr.rx_destroy_buffer()
            sdr.rx_buffer_size = 4096
            samples = sdr.rx()
            found = np.fft.fftfreq(4096, 1 / 4e6)[int(np.argmax(np.abs(np.fft.fft(samples * np.hanning(4096)))))]
            assert found == pytest.approx(wanted, abs=1000)
        sdr.tx(TONE)  # puts the generators out
        sdr.tx_destroy_buffer()
        assert set(sdr.dds_enabled) == {"0"} and daemon.world.on_air("a", daemon.world.now) is None


@pytest.mark.parametrize("rate", [521_000, 1_000_000, 2_500_000, 20_000_000, 30_720_000, 50_000_000, 61_440_000])
def test_any_rate_with_its_filter(adi, rate):
    with Daemon(site("pluto"), free_run=True) as daemon, opened(adi.Pluto, daemon.uris["a"]) as sdr:
        sdr.sample_rate = rate
        assert sdr.sample_rate == rate


def test_old_blocks_come_first_and_count_1_cures_it(adi):
    with Daemon(site("pluto"), free_run=True) as daemon, opened(adi.Pluto, daemon.uris["a"]) as sdr:
        tune(sdr)
        sdr.rx_buffer_size, sdr.tx_cyclic_buffer = 4096, True
        sdr.rx()
        daemon.pace.sleep(0.1)
        sdr.tx(TONE)
        daemon.pace.sleep(0.1)
        assert [bool(np.std(sdr.rx()) > 50) for _ in range(6)] == [False] * 4 + [True] * 2
        sdr.rx_destroy_buffer()
        sdr._rxadc.set_kernel_buffers_count(1)
        sdr.rx()
        sdr.tx_destroy_buffer()
        daemon.pace.sleep(0.1)
        sdr.rx()
        assert np.std(sdr.rx()) < 50


def test_a_killed_client_is_silent(adi):
    """kill -9 in the middle of a cyclic transmission."""
    sends = "import adi, sys, time, numpy; s = adi.Pluto(sys.argv[1]); s.tx_cyclic_buffer = True; s.tx(8192 * numpy.ones(1024))"
    sends += "; print('on', flush=True); time.sleep(60)"
    with Daemon(site("pluto")) as daemon:
        with subprocess.Popen([sys.executable, "-c", sends, daemon.uris["a"]], stdout=subprocess.PIPE) as client:
            assert client.stdout.readline() == b"on\n"
            time.sleep(0.01)
            assert daemon.world.on_air("a", daemon.world.now) is not None
            os.kill(client.pid, signal.SIGKILL)
        deadline = time.monotonic() + 10.0
        while daemon.clients and time.monotonic() < deadline:
            time.sleep(0.01)
        assert daemon.world.on_air("a", daemon.world.now) is None and daemon.clients == 0
