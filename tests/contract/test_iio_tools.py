"""Debian's libiio-utils as a foreign client of the emulated radios. CI must not skip these."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import numpy as np
import pytest
from daemon_bench import site
from wire_client import codes

from sim_backend.iiod.daemon import Daemon

PARTS = {"pluto": 1, "ad9361": 2, "fmcomms5": 4, "ad9081": 16}
KNOWN = {"fastlock_recall", "dcxo_tune_coarse", "dcxo_tune_fine", "multichip_sync", "filter_fir_config"}  # not readable on a real one either

pytestmark = pytest.mark.skipif(
    shutil.which("iio_info") is None and "CI" not in os.environ, reason="libiio-utils is missing: apt install libiio-utils"
)


@pytest.fixture(scope="module")
def uris():
    found, daemons = {}, []
    for part, channels in PARTS.items():
        daemons.append(Daemon(site(part, channels=channels), free_run=True))
        daemons[-1].start()
        found[part] = daemons[-1].uris["a"]
    yield found
    for daemon in daemons:
        daemon.stop()


def tool(*words: str, data: bytes = b"") -> bytes:
    """What it prints; it must end well and say nothing on stderr."""
    done = subprocess.run(words, input=data, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    assert not done.stderr, done.stderr.decode()
    return done.stdout


def attribute(uri: str, *words: str) -> str:
    return tool("iio_attr", "-u", uri, *words).decode().strip()


@pytest.mark.parametrize("part", PARTS)
def test_iio_info_shows_the_whole_context(uris, part):
    text = tool("iio_info", "-u", uris[part]).decode()
    failed = set(re.findall(r"(\w+) ERROR", text))
    assert failed <= KNOWN, failed - KNOWN
    assert "hw_serial: emulated-a" in text
    names = {"pluto": ["ad9361-phy", "cf-ad9361-lpc", "cf-ad9361-dds-core-lpc"], "fmcomms5": ["ad9361-phy-B", "cf-ad9361-A", "cf-ad9361-dds-core-B"]}
    for name in names.get(part, []):
        assert re.search(rf": {name}( |$)", text, re.M)
    scans = len(re.findall(r"\(input, index: \d+, format: le:S1[26]/16>>0\)", text))
    assert scans == 2 * PARTS[part]


def test_iio_attr_sets_and_reads(uris):
    uri = uris["pluto"]
    assert attribute(uri, "-c", "ad9361-phy", "RX_LO", "frequency", "2412000000") == "2412000000"
    assert attribute(uri, "-i", "-c", "ad9361-phy", "voltage0", "gain_control_mode", "manual") == "manual"
    assert attribute(uri, "-i", "-c", "ad9361-phy", "voltage0", "hardwaregain", "33") == "33.000000 dB"
    assert attribute(uri, "-i", "-c", "ad9361-phy", "voltage0", "sampling_frequency", "5000000") == "5000000"
    assert attribute(uri, "-o", "-c", "ad9361-phy", "voltage0", "sampling_frequency") == "5000000"
    assert attribute(uri, "-d", "ad9361-phy", "ensm_mode") == "fdd"
    assert attribute(uri, "-D", "ad9361-phy", "loopback", "1") == "1"
    assert attribute(uri, "-D", "ad9361-phy", "loopback", "0") == "0"
    assert attribute(uri, "-B", "cf-ad9361-lpc", "watermark", "512") == "512"
    assert "hw_serial: emulated-a" in attribute(uri, "-C")


def test_iio_attr_is_told_of_a_refusal(uris):
    done = subprocess.run(["iio_attr", "-u", uris["pluto"], "-c", "ad9361-phy", "TX_LO", "frequency", "9000000000"], capture_output=True, text=True)
    assert done.returncode != 0 or "Invalid argument" in done.stderr + done.stdout
    assert attribute(uris["pluto"], "-c", "ad9361-phy", "TX_LO", "frequency") == "2450000000"


STREAMS = [("pluto", "cf-ad9361-lpc", 4), ("fmcomms5", "cf-ad9361-A", 16), ("ad9081", "axi-ad9081-rx-hpc", 64)]


@pytest.mark.parametrize(("part", "device", "step"), STREAMS)
def test_iio_readdev_gets_samples(uris, part, device, step):
    data = tool("iio_readdev", "-u", uris[part], "-b", "1024", "-s", "4096", device)
    assert len(data) == 4096 * step
    assert np.all(np.std(codes(data, step // 4), axis=1) > 0.5)  # each of them alive


def test_iio_writedev_sends_a_file(uris):
    samples = np.random.default_rng(0).integers(-8000, 8000, 2 * 8192).astype("<i2")
    tool("iio_writedev", "-u", uris["pluto"], "-b", "1024", "-s", "8192", "cf-ad9361-dds-core-lpc", data=samples.tobytes())


def test_iio_reg_reads_and_writes(uris):
    assert int(tool("iio_reg", "-u", uris["ad9361"], "ad9361-phy", "0x37"), 0) == 0x0A
    tool("iio_reg", "-u", uris["ad9361"], "ad9361-phy", "0x3", "0x5c")
    assert int(tool("iio_reg", "-u", uris["ad9361"], "ad9361-phy", "0x3"), 0) == 0x5C


@pytest.mark.parametrize("part", PARTS)
def test_iio_genxml_gives_the_context_back(uris, part):
    text = tool("iio_genxml", "-u", uris[part]).decode()
    assert text.count("<device ") == {"pluto": 5, "ad9361": 4, "fmcomms5": 7, "ad9081": 3}[part]
