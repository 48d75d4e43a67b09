"""What goes wrong around a radio: every error names device, value, limit and remedy, nothing crashes, and the transmitter is silent."""

from __future__ import annotations

import dataclasses
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from daemon_bench import opened, require_libiio, site

from hil.clock import WallClock
from hil.device import DeviceError, Setting
from hil.envelope import Limits
from hil.link import messages as m
from hil.node.worker import Worker
from hil.parts import capability
from hil.radios import opening
from sim_backend.iiod.daemon import Daemon
from sim_backend.iiod.values import Value

HERE = Path(__file__).resolve().parent
SETTING = Setting(3.5e9, 4e6, (20.0,), (20.0,))
WAVE = np.full((1, 512), 0.3, np.complex64)


@pytest.fixture
def daemon():
    require_libiio()
    with Daemon(site("pluto", ("a", "b"))) as one:
        yield one


def on_air(daemon: Daemon, name: str = "a") -> bool:
    return daemon.world.on_air(name, daemon.pace.now()) is not None


def becomes_silent(daemon: Daemon, name: str = "a", within_s: float = 3.0) -> bool:
    """A daemon notices a connection's end a moment after it."""
    deadline = time.monotonic() + within_s
    while on_air(daemon, name) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not on_air(daemon, name)


def sending(daemon: Daemon, name: str = "a"):
    radio = opened(daemon, name, "pluto")
    radio.configure(SETTING)
    radio.load(1, WAVE)
    radio.apply(1)
    time.sleep(0.01)
    assert on_air(daemon, name)
    return radio


def refusal(call) -> DeviceError:
    with pytest.raises(DeviceError) as caught:
        call()
    error = caught.value
    assert error.where and error.what
    return error


# -- finding the radio ---------------------------------------------------------------------------------------------------------------------


def test_another_radio_answers(daemon) -> None:
    error = refusal(lambda: opened(daemon, "a", "pluto", uri=daemon.uris["b"]))
    assert (error.id, error.found) == ("wrong-device", "serial emulated-b") and "emulated-a" in error.allowed and error.fix
    assert error.where == f"a {daemon.uris['b']}"


def test_another_part_answers(daemon) -> None:
    error = refusal(lambda: opened(daemon, "a", "ad9361"))
    assert error.id == "wrong-part" and error.found.startswith("pluto") and error.allowed == "ad9361" and "profile" in error.fix


def test_another_number_of_channels() -> None:
    require_libiio()
    with Daemon(site("ad9081", channels=2)) as two:
        error = refusal(lambda: opened(two, "a", "ad9081", channels=4))
        assert error.id == "wrong-part" and error.found == "2" and error.allowed.startswith("4")
    with Daemon(site("ad9361")) as one:  # several chips, synchronised, need a driver of their own
        error = refusal(lambda: opened(one, "a", "ad9361", channels=4))
        assert error.id == "wrong-part" and error.found == "2" and error.allowed.startswith("4")


def test_a_pluto_with_both_its_pairs_is_as_good_as_an_ad9361() -> None:
    require_libiio()
    both = Daemon(site("ad9361"))
    both.boards["a"].context.attributes["hw_model"] = "Analog Devices PlutoSDR Rev.C (Z7010-AD9363A)"
    with both, opened(both, "a", "ad9361") as radio:
        radio.configure(dataclasses.replace(SETTING, receive_gain_db=(20.0, 20.0), attenuation_db=(20.0, 20.0)))
        assert radio.capture(1024, 5.0).samples.shape == (2, 1024)


def test_a_capture_that_comes_late_is_dated_by_when_it_was_taken() -> None:
    """However long samples take to come, a new buffer's first one was taken when it was opened."""
    require_libiio()
    clock, late = WallClock(), {"at_s": 0.0, "for_s": 1e6, "what": "returns-late", "where": "a", "late_s": 0.6}
    with Daemon(site("pluto", fault=[late])) as daemon:
        told = {"uri": daemon.uris["a"], "capability": capability("pluto", "emulated-a")}
        with opening.radio("a", clock, **told) as radio:
            radio.configure(SETTING)
            before = clock.now()
            capture = radio.capture(4096, 5.0)
            took = clock.now().since(before)
    assert took > 0.6 and capture.clock is not None and -1e-3 < capture.clock.since(before) < took - 0.5


def test_nobody_listens(daemon) -> None:
    uri = daemon.uris["a"]
    daemon.stop()
    error = refusal(lambda: opened(daemon, "a", "pluto", uri=uri))
    assert error.id == "nobody-listens" and error.where == f"a {uri}" and "hil doctor" in error.fix


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x00" * 4096, b"12\nhello\n"])
def test_something_else_listens(answer: bytes) -> None:
    require_libiio()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            for _ in range(2):  # the driver knocks first
                with suppress(OSError), server.accept()[0] as client:
                    client.settimeout(0.5)
                    client.recv(100)
                    client.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        error = refusal(lambda: opened(None, "a", "pluto", uri=f"ip:127.0.0.1:{server.getsockname()[1]}"))
    assert error.id == "no-context" and "iio_info" in error.fix


def test_a_profile_beyond_the_device(daemon) -> None:
    wide = dataclasses.replace(capability("pluto", "emulated-a"), carrier_hz=(70e6, 6e9))
    error = refusal(lambda: opened(daemon, "a", "pluto", capability=wide))
    assert error.id == "beyond-part" and "6e+09" in error.found and "3.8e+09" in error.allowed and "profile" in error.fix


# -- settings and samples --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"carrier_hz": 6e9}, "6e+09 Hz"), ({"carrier_hz": float("nan")}, "nan Hz"), ({"sample_rate_hz": 100e3}, "100000 Hz"),
        ({"receive_gain_db": (99.0,)}, "99 dB"), ({"attenuation_db": (-1.0,)}, "-1 dB"), ({"gain_mode": "hybrid"}, "hybrid"),
        ({"receive_gain_db": (1.0, 2.0)}, "2"),
    ],
)  # fmt: skip
def test_a_setting_that_cannot_be_is_refused_before_anything_is_written(daemon, change, found) -> None:
    radio = sending(daemon)
    before = radio.read()
    error = refusal(lambda: radio.configure(dataclasses.replace(SETTING, **change)))
    assert error.found == found and error.allowed
    assert not on_air(daemon) and radio.version is None
    after = radio.read()
    assert (after.carrier_hz, after.sample_rate_hz, after.receive_gain_db) == (before.carrier_hz, before.sample_rate_hz, before.receive_gain_db)
    radio.close()


def test_a_carrier_outside_the_licensed_band_never_reaches_the_radio(daemon) -> None:
    """The tighter of licence and node, checked by the worker that owns the radio."""
    radio = opened(daemon, "a", "pluto")
    licence, node = Limits(band_hz=(3.4e9, 3.6e9)), Limits(band_hz=(3.3e9, 3.5e9))
    worker = Worker("desk", {"a": radio}, {}, node.tightened(licence), clock=WallClock())
    before = radio.read().carrier_hz
    for carrier in (3.55e9, 3.35e9):
        error = refusal(lambda carrier=carrier: worker.handle(m.Configure(device="a", setting=dataclasses.replace(SETTING, carrier_hz=carrier))))
        assert error.id == "out-of-band" and "3.4 ... 3.5 GHz" in error.allowed and error.note == "nothing was sent"
    assert radio.read().carrier_hz == before
    worker.close()


def test_a_buffer_longer_than_the_time_out_allows(daemon) -> None:
    radio = sending(daemon)
    error = refusal(lambda: radio.capture(4_000_001, 2.0))
    assert error.id == "capture-timeout" and "1.000 s" in error.found and "4000000 samples" in error.allowed and "time-out" in error.fix
    assert not on_air(daemon)
    radio.close()


def stubborn(daemon: Daemon, device: str, file: str) -> None:
    """From here on the device takes what is written there and keeps what it had."""
    found = next(one for one in daemon.boards["a"].context.devices if one.name == device)
    held = found.files if file in found.files else found.attributes
    held[file] = Value(held[file].read, lambda text: None)


@pytest.mark.parametrize(
    ("part", "device", "file", "what"),
    [
        ("pluto", "ad9361-phy", "out_altvoltage0_RX_LO_frequency", "carriers"),
        ("pluto", "ad9361-phy", "out_altvoltage1_TX_LO_frequency", "carriers"),
        ("fmcomms5", "ad9361-phy-B", "out_altvoltage0_RX_LO_frequency", "carriers"),
        ("pluto", "ad9361-phy", "in_voltage0_hardwaregain", "receive_gain_db"),
        ("fmcomms5", "ad9361-phy-B", "in_voltage1_hardwaregain", "receive_gain_db[3]"),
        ("pluto", "ad9361-phy", "out_voltage0_hardwaregain", "attenuation_db"),
        ("pluto", "ad9361-phy", "in_voltage_rf_bandwidth", "rf_bandwidth"),
        ("ad9361", "ad9361-phy", "in_voltage_quadrature_tracking_en", "quadrature"),
    ],
)  # fmt: skip
def test_a_setter_that_did_not_take_is_an_error(part: str, device: str, file: str, what: str) -> None:
    require_libiio()
    with Daemon(site(part)) as daemon:
        stubborn(daemon, device, file)
        fitting = {"bandwidth_hz": 5e6, "tracking": {"quadrature": False}}
        with opened(daemon, "a", part, fitting=fitting) as radio:
            count = radio.capability.receive_channels
            error = refusal(lambda: radio.configure(Setting(3.5e9, 4e6, (20.0,) * count, (20.0,) * count)))
            assert error.id == "did-not-take" and what in error.what and error.found and "another program" in error.fix
            assert radio.setting is None and radio.version is None


def test_an_attenuator_that_does_not_open_lets_nothing_out(daemon) -> None:
    radio = opened(daemon, "a", "pluto")
    radio.configure(SETTING)
    radio.load(1, WAVE)
    stubborn(daemon, "ad9361-phy", "out_voltage0_hardwaregain")
    error = refusal(lambda: radio.apply(1))
    assert error.id == "did-not-take" and error.found == "89.75 dB" and error.allowed == "20 dB"
    assert not any(airing for airing in daemon.world._airings), "not one sample went out"
    radio.close()


def test_a_gain_that_somebody_else_changed_is_noticed(daemon) -> None:
    radio = sending(daemon)
    radio.capture(1000, 5.0)
    radio.board.write(radio.board.sdr._ctrl, "hardwaregain", 60.0, "voltage0")
    time.sleep(0.01)
    error = refusal(lambda: radio.capture(1000, 5.0))
    assert error.id == "did-not-take" and error.found == "60 dB" and error.allowed.startswith("20 dB") and not on_air(daemon)
    radio.close()


def test_automatic_gain_that_somebody_else_switched_on_is_no_silent_skip(daemon) -> None:
    """In another mode than manual the chip ignores a gain; configuring sets the mode first."""
    radio = opened(daemon, "a", "pluto")
    radio.board.write(radio.board.sdr._ctrl, "gain_control_mode", "fast_attack", "voltage0")
    assert radio.configure(SETTING).receive_gain_db == (20.0,)
    radio.close()


def test_a_tone_that_somebody_left_on_is_silenced_when_the_radio_is_opened(daemon) -> None:
    first = opened(daemon, "a", "pluto")
    first.board.sdr.dds_single_tone(100_000, 0.5)
    time.sleep(0.01)
    assert on_air(daemon)
    second = opened(daemon, "a", "pluto")
    time.sleep(0.01)
    assert not on_air(daemon)
    first.close()
    second.close()


# -- the radio goes away -----------------------------------------------------------------------------------------------------------------------


def test_unplugged_in_mid_capture(daemon) -> None:
    radio = sending(daemon)
    threading.Timer(0.2, daemon.stop).start()
    began = time.monotonic()
    error = refusal(lambda: radio.capture(4_000_000, 8.0))
    assert time.monotonic() - began < 3.0
    assert error.id in ("unplugged", "no-answer") and error.where.startswith("a ip:") and "hil doctor" in error.fix
    assert radio.version is None and becomes_silent(daemon)
    for call in (lambda: radio.capture(100, 1.0), lambda: radio.configure(SETTING), lambda: radio.apply(1)):
        refusal(call)
    radio.mute()
    radio.close()
    radio.close()


def test_a_second_transmission_is_refused_with_the_reason(daemon) -> None:
    first, second = sending(daemon), opened(daemon, "a", "pluto")
    second.configure(SETTING)
    second.load(1, WAVE)
    error = refusal(lambda: second.apply(1))
    assert error.id == "no-answer" and "transmit buffer" in error.what
    first.close()
    second.apply(1)
    second.close()
    assert becomes_silent(daemon)


# -- processes that end ---------------------------------------------------------------------------------------------------------------------------


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(HERE.parents[1])}


def python(*arguments: str, timeout_s: float = 120.0) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, errors="replace", timeout=timeout_s, env=ENVIRONMENT
    )


def cycles(daemon: Daemon, count: int, *more: str) -> None:
    ended = python(str(HERE / "radio_cycles.py"), str(count), daemon.uris["a"], daemon.uris["b"], *more)
    assert ended.returncode == 0, ended.stderr[-2000:]
    (early, small), (late, large) = (map(int, line.split()) for line in ended.stdout.splitlines())
    assert "leave" in more or late <= early, f"{late - early} descriptors more"
    assert large - small < 4096, f"{large - small} kB more"
    assert becomes_silent(daemon) and becomes_silent(daemon, "b")


def test_opened_and_closed_over_and_over(daemon) -> None:
    cycles(daemon, 6)


def test_left_open_at_the_end_of_the_process(daemon) -> None:
    cycles(daemon, 4, "leave")


@pytest.mark.slow
def test_fifty_cycles_leave_nothing_behind(daemon) -> None:
    cycles(daemon, 50)


SENDS = """
import signal
import sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a shell has put all of this behind
import numpy as np
from hil.clock import WallClock
from hil.device import Setting
from hil.parts import capability
from hil.radios import opening
from hil.radios import opening
radio = opening.radio("a", WallClock(), uri=sys.argv[1], capability=capability("pluto", "emulated-a"))
radio.configure(Setting(3.5e9, 4e6, (20.0,), (20.0,)))
radio.load(1, np.full((1, 512), 0.3, np.complex64))
radio.apply(1)
print("sends", flush=True)
if sys.argv[2] == "raise":
    raise RuntimeError("in the middle")
while True:
    radio.capture(400_000, 5.0)
"""


@pytest.mark.parametrize(
    ("how", "code"), [("raise", 1), (signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, (-signal.SIGINT, 1))]
)
def test_a_process_that_ends_leaves_silence(daemon, how, code) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", SENDS, daemon.uris["a"], str(how)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    )
    try:
        assert child.stdout is not None and child.stdout.readline() == "sends\n", child.stderr and child.stderr.read()
        if how != "raise":
            assert on_air(daemon)
            time.sleep(0.15)
            child.send_signal(how)
        assert child.wait(20.0) in (code if isinstance(code, tuple) else (code,))
    finally:
        child.kill()
        child.communicate()
    assert becomes_silent(daemon)


# -- libraries -------------------------------------------------------------------------------------------------------------------------------------

LOADS = "from hil.radios import library\nfrom hil.errors import HilError\ntry:\n    library.load()\nexcept HilError as error:\n    print(error)\n"


def said(before: str) -> str:
    ended = python("-c", before + LOADS)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_without_the_c_library() -> None:
    require_libiio()
    text = said("import ctypes.util\nctypes.util.find_library = lambda name: None\n")
    assert text.startswith("error[no-libiio] this machine: libiio (C library, 0.24 ... 0.26) was not found\n  fix: Debian/Ubuntu `apt install lib")
    assert text.rstrip().endswith("Emulated runs at depth process and nodes work without it")


@pytest.mark.parametrize(("module", "package"), [("iio", "pylibiio"), ("adi", "pyadi-iio")])
def test_without_the_bindings(module: str, package: str) -> None:
    if module == "adi":
        require_libiio()
    hide = (
        "import sys, importlib.abc\n"
        "class Hidden(importlib.abc.MetaPathFinder):\n"
        f"    def find_spec(self, name, path, target=None):\n        if name == '{module}': raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Hidden())\n"
    )
    text = said(hide)
    assert text.startswith(f"error[no-pyadi] this machine: the Python package {package} is missing") and "pip install" in text


def test_bindings_for_another_library(tmp_path: Path) -> None:
    (tmp_path / "iio.py").write_text("raise FileNotFoundError(2, 'libiio version 1.x required, found version 0')\n")
    text = said(f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\n")
    assert text.startswith("error[wrong-libiio]") and "pip install 'pylibiio>=0.25,<1'" in text


def test_a_library_of_another_age(tmp_path: Path) -> None:
    (tmp_path / "iio.py").write_text("version = (0, 21, 'v0.21')\n")
    (tmp_path / "adi.py").write_text("")
    text = said(f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\n")
    assert "error[wrong-libiio]" in text and "found 0.21; allowed 0.24 ... 0.26" in text


# -- a daemon that is not well ----------------------------------------------------------------------------------------------------------------


def test_an_answer_that_is_no_number_is_said_to_be_none(daemon) -> None:
    radio = opened(daemon, "a", "pluto")
    error = refusal(lambda: radio.board.number(radio.board.sdr._ctrl, "ensm_mode"))
    assert (error.id, error.found) == ("bad-answer", "fdd")
    error = refusal(lambda: radio.board.number(radio.board.sdr._ctrl, "no_such_attribute"))
    assert error.id == "no-such-attribute" and "firmware 0.38" in error.found
    radio.close()
