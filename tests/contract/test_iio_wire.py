"""The IIO daemon byte by byte, by a client of plain sockets: what libiio sends, what it expects, and what must never hurt."""

from __future__ import annotations

import socket
import time
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from daemon_bench import site
from wire_client import Wire, as_bytes, codes

from sim_backend.iiod.daemon import Daemon

PHY, ADC, DAC = "ad9361-phy", "cf-ad9361-lpc", "cf-ad9361-dds-core-lpc"
RX_LO, TX_LO = f"{PHY} OUTPUT altvoltage0 frequency", f"{PHY} OUTPUT altvoltage1 frequency"
RATE = f"{PHY} INPUT voltage0 sampling_frequency"
GAIN, MODE = f"{PHY} INPUT voltage0 hardwaregain", f"{PHY} INPUT voltage0 gain_control_mode"
FIR = "RX 3 GAIN -6 DEC {0}\nTX 3 GAIN 0 INT {0}\n" + "-1500,-1500\n" * 128 + "\n"


@pytest.fixture
def daemon():
    with Daemon(site("pluto", names=("a", "b")), free_run=True) as one:
        yield one


@pytest.fixture
def wire(daemon):
    with Wire(daemon.ports["a"]) as one:
        yield one


def settle(daemon: Daemon, clients: int) -> None:
    """The daemon notices the end of a connection a moment after it."""
    deadline = time.monotonic() + 10.0
    while daemon.clients > clients and time.monotonic() < deadline:
        time.sleep(0.005)
    assert daemon.clients == clients


# -- the control connection -------------------------------------------------------------------------------------------------------------


def test_version_has_two_dots_and_seven_characters_behind(wire):
    wire.send(b"VERSION\r\n")
    major, minor, rest = wire.line().split(b".")
    assert major.isdigit() and minor.isdigit() and len(rest) >= 7


def test_context_is_xml_with_a_dtd_and_unique_identity(daemon, wire):
    text = wire.xml()
    assert b"<!DOCTYPE context [" in text
    tree = ElementTree.fromstring(text)
    devices = {device.get("name"): device for device in tree.findall("device")}
    assert {PHY, ADC, DAC} <= set(devices)
    formats = [one.find("scan-element").get("format") for one in devices[ADC].findall("channel")]
    assert formats == ["le:S12/16>>0"] * 2
    found = {one.get("name"): one.get("value") for one in tree.findall("context-attribute")}
    assert found["hw_serial"] == "emulated-a" and "uri" not in found and "ip,ip-addr" not in found
    with Wire(daemon.ports["b"]) as other:
        assert b"emulated-b" in other.xml()


def test_lines_end_as_they_like_and_empty_ones_mean_nothing(wire):
    wire.send(b"\r\n\n  \nTIMEOUT 2500  \r\nTIMEOUT 0\n")
    assert wire.line() == b"0" and wire.line() == b"0"


UNKNOWN = ["BINARY", "ZPRINT", "HELLO", "print", "READ", "WRITE x", "OPEN", "READBUF", "SET a b", "TIMEOUT -1", "TIMEOUT x", "_DO_READ x"]
EXCESS = [b"WRITE ad9361-phy ensm_mode 99999999999999\r\n", b"x" * 100000, b"\0\xff\xfe\n" * 50, b"OPEN cf-ad9361-lpc 99999999999 00000003\n"]


@pytest.mark.parametrize("line", UNKNOWN)
def test_what_it_does_not_know_is_refused_and_the_next_command_served(wire, line):
    assert wire.ask(line) < 0
    assert wire.ask("TIMEOUT 2500") == 0


def test_read_counts_the_nul_and_not_the_newline(wire):
    wire.send(f"READ {RX_LO}\r\n".encode())
    assert wire.line() == b"11"
    assert wire.stream.read(12) == b"2400000000\0\n"


def test_id_and_name_mean_the_same_device_and_channel(wire):
    device = next(d for d in ElementTree.fromstring(wire.xml()) if d.get("name") == PHY).get("id")
    assert wire.read(f"{device} OUTPUT RX_LO frequency") == wire.read(RX_LO) == "2400000000"


def test_read_all_gives_lengths_and_refusals_in_order(wire):
    phy = next(d for d in ElementTree.fromstring(wire.xml()) if d.get("name") == PHY)
    names = [one.get("name") for one in phy.findall("attribute")]
    found = dict(zip(names, wire.read_all(PHY), strict=True))
    assert found["ensm_mode"] == "fdd" and found["dcxo_tune_coarse"] == -5
    channel = next(c for c in phy.findall("channel") if c.get("name") == "TX_LO")
    names = [one.get("name") for one in channel.findall("attribute")]
    assert dict(zip(names, wire.read_all(f"{PHY} OUTPUT altvoltage1"), strict=True))["frequency"] == "2450000000"
    assert len(wire.read_all(f"{ADC} BUFFER")) == 3 and "0" in wire.read_all(f"{PHY} DEBUG")


def test_write_may_come_in_pieces_and_is_answered_with_its_length(wire):
    wire.send(f"WRITE {RX_LO} 11\r\n24120".encode())
    time.sleep(0.01)
    wire.send(b"00000\0")
    assert wire.line() == b"11"
    assert wire.read(RX_LO) == "2412000000"


@pytest.mark.parametrize(
    ("place", "text", "number"),
    [
        (RX_LO, "9000000000", -22),
        (RX_LO, "2.4 GHz", -22),
        (f"{PHY} OUTPUT voltage0 hardwaregain", "-90", -22),
        (f"{PHY} OUTPUT voltage0 hardwaregain", "0.25", -22),
        (GAIN, "10", -95),  # while automatic control has it
        (MODE, "slow", -22),
        (f"{PHY} INPUT voltage0 rssi", "1", -13),
        (f"{PHY} filter_fir_config", "RX 3 GAIN -6 DEC 3", -22),
        (f"{PHY} INPUT out voltage_filter_fir_en", "1", -22),  # nothing is loaded
        (f"{PHY} nothing", "1", -2),
        (f"{PHY} INPUT voltage9 raw", "1", -6),
        ("nobody nothing", "1", -19),
    ],
)
def test_refusals_have_their_number_and_leave_the_stream_in_step(wire, place, text, number):
    assert wire.write(place, text) == number
    assert wire.read(RX_LO) == "2400000000"


def test_values_are_kept_by_file(wire):
    assert wire.write(RATE, "4000000") == 8
    assert wire.read(f"{PHY} OUTPUT voltage0 sampling_frequency") == "4000000"
    assert wire.read(f"{ADC} INPUT voltage1 sampling_frequency") == "4000000"
    assert wire.read(f"{ADC} INPUT voltage0 sampling_frequency_available") == "4000000 500000"
    assert wire.write(f"{PHY} OUTPUT voltage0 hardwaregain", "-10.3") == 6
    assert wire.read(f"{PHY} OUTPUT voltage0 hardwaregain") == "-10.250000 dB"


def test_the_synthesiser_has_steps(wire):
    assert wire.write(TX_LO, "3500000000") == 11
    assert wire.read(TX_LO) == "3500000002"  # fractional-N, modulus 8388593 of 80 MHz, halves in the driver


def test_rates_need_the_filter_below_the_converters_least(wire):
    floor = f"{PHY} INPUT out voltage_filter_fir_en"
    assert wire.write(RATE, "2000000") == -22
    assert wire.write(f"{PHY} filter_fir_config", FIR.format(4)) > 1000
    assert wire.read(f"{PHY} filter_fir_config") == "FIR Rx: 128,4 Tx: 128,4"
    assert wire.write(RATE, "3000000") == 8
    assert wire.write(floor, "1") == 2
    assert wire.write(RATE, "600000") == 7
    fields = dict(field.split(":") for field in str(wire.read(f"{PHY} tx_path_rates")).split())
    assert list(fields) == ["BBPLL", "DAC", "T2", "T1", "TF", "TXSAMP"]
    assert int(fields["TF"]) == 2_400_000 and int(fields["DAC"]) >= 25_000_000 and int(fields["DAC"]) % int(fields["T2"]) == 0
    assert wire.write(floor, "0") == -22  # the rate would have nothing to hold it
    assert wire.write(f"{PHY} filter_fir_config", FIR.format(1)) > 0
    assert wire.write(RATE, "61440000") == -22  # no time for 128 taps


def test_gain_reaches_as_far_as_its_band(wire):
    for lo, reach in (("900000000", "[-1 1 73]"), ("2400000000", "[-3 1 71]")):
        wire.write(RX_LO, lo)
        assert wire.read(f"{PHY} INPUT voltage0 hardwaregain_available") == reach


def test_registers_keep_the_last_address(wire):
    assert wire.write(f"{PHY} DEBUG direct_reg_access", "55") == 3
    assert wire.read(f"{PHY} DEBUG direct_reg_access") == "0xa"
    assert wire.write(f"{PHY} DEBUG direct_reg_access", "0x3 0x1f") == 9
    assert wire.read(f"{PHY} DEBUG direct_reg_access") == "0x1f"


def test_there_is_no_trigger(wire):
    assert wire.ask(f"GETTRIG {ADC}") == 0 and wire.ask(f"SETTRIG {ADC} timer") == -19


# -- buffers ----------------------------------------------------------------------------------------------------------------------------


def test_masks_count_every_channel_of_the_device():
    with Daemon(site("ad9081", channels=16), free_run=True) as daemon, Wire(daemon.ports["a"]) as wire:
        assert wire.ask("OPEN axi-ad9081-tx-hpc 1024 ffffffff") == -22
        assert wire.ask("OPEN axi-ad9081-tx-hpc 1024 0000000000000000ffffffff") == 0
        assert wire.ask("CLOSE axi-ad9081-tx-hpc") == 0
        assert wire.ask("OPEN axi-ad9081-tx-hpc 1024 000000000000000100000000") == -22  # a tone generator has no samples
        assert wire.ask("OPEN axi-ad9081-rx-hpc 512 0000000000000003") == 0
        assert len(wire.readbuf("axi-ad9081-rx-hpc", 2048)) == 2048


def test_receives_whole_blocks_of_what_is_enabled(wire):
    assert wire.ask(f"READBUF {ADC} 16") == -9
    assert wire.ask(f"CLOSE {ADC}") == -6
    assert wire.ask(f"OPEN {ADC} 4 3") == -22
    assert wire.ask(f"OPEN {ADC} 1024 00000003") == 0
    assert wire.ask(f"OPEN {ADC} 1024 00000003") == -16
    samples = codes(wire.readbuf(ADC, 4096))
    assert samples.shape == (1, 1024) and np.any(samples)  # never all zero: there is noise
    assert len(wire.readbuf(ADC, 10000)) == 10000  # across blocks
    assert wire.ask(f"WRITEBUF {ADC} 16") == -9
    assert wire.ask(f"CLOSE {ADC}") == 0


def test_a_subset_of_channels_is_the_same_samples():
    with Daemon(site("ad9361"), free_run=True) as daemon, Wire(daemon.ports["a"]) as one, Wire(daemon.ports["a"]) as two:
        one.write(RATE, "2500000")
        for wire, mask in ((one, "0000000f"), (two, "0000000a")):
            assert wire.ask(f"OPEN {ADC} 16384 {mask}") == 0
        whole = np.frombuffer(one.readbuf(ADC, 8 * 16384), "<i2").reshape(-1, 4)[:, [1, 3]]
        half = np.frombuffer(two.readbuf(ADC, 4 * 16384), "<i2").reshape(-1, 2)
        early, late = whole.astype(float), half.astype(float)  # two clients of one converter, each with a ring of its own
        met = np.abs(np.fft.ifft(np.fft.fft(early[:, 0]) * np.conj(np.fft.fft(late[:, 0]))))
        lag = int(np.argmax(met))
        if lag > 8192:
            whole, half, lag = half, whole, 16384 - lag
        assert np.array_equal(whole[lag:], half[: 16384 - lag])


def test_a_buffer_that_fills_and_waits_is_old_until_it_is_emptied(daemon, wire):
    for place, text in ((RATE, "4000000"), (TX_LO, "2400000000"), (MODE, "manual"), (GAIN, "20")):
        assert wire.write(place, text) > 0
    assert wire.ask(f"SET {ADC} BUFFERS_COUNT 3") == 0
    assert wire.ask(f"SET {ADC} BUFFERS_COUNT 0") == -22
    assert wire.ask(f"OPEN {ADC} 2048 00000003") == 0
    daemon.pace.sleep(0.1)
    assert wire.ask(f"OPEN {DAC} 512 00000003 CYCLIC") == 0
    assert wire.writebuf(DAC, as_bytes(np.full((1, 512), 1 << 14) * np.exp(2j * np.pi * np.arange(512) / 32))) == 2048
    daemon.pace.sleep(0.1)
    levels = [float(np.abs(codes(wire.readbuf(ADC, 8192))).mean()) for _ in range(6)]
    assert max(levels[:3]) < 10.0 and min(levels[3:]) > 100.0


def test_overflow_and_underflow_stay_until_they_are_written_back(daemon, wire):
    status = f"{ADC} DEBUG direct_reg_access"

    def register(device: str) -> int:
        wire.write(f"{device} DEBUG direct_reg_access", "0x80000088")
        return int(str(wire.read(f"{device} DEBUG direct_reg_access")), 0)

    wire.write(RATE, "4000000")
    wire.ask(f"OPEN {ADC} 1024 00000003")
    wire.readbuf(ADC, 4096)
    assert register(ADC) == 0
    daemon.pace.sleep(0.5)
    assert register(ADC) == 4
    wire.write(status, "0x80000088 0x4")
    assert register(ADC) == 4, "the ring is still full"
    for _ in range(5):
        wire.readbuf(ADC, 4096)
    wire.write(status, "0x80000088 0x4")
    assert register(ADC) == 0
    wire.ask(f"OPEN {DAC} 1024 00000003")
    assert wire.writebuf(DAC, bytes(4096)) == 4096 and register(DAC) == 0
    daemon.pace.sleep(0.5)
    assert register(DAC) == 1
    wire.write(f"{DAC} DEBUG direct_reg_access", "0x80000088 0x1")
    wire.writebuf(DAC, bytes(4096))
    wire.write(f"{DAC} DEBUG direct_reg_access", "0x80000088 0x1")
    assert register(DAC) == 0


def test_digital_loopback_returns_the_codes_shifted_right_by_four(daemon, wire):
    wire.write(f"{PHY} DEBUG loopback", "1")
    sent = np.random.default_rng(3).integers(-32768, 32768, (512, 2)).astype("<i2")
    wire.ask(f"OPEN {DAC} 512 00000003 CYCLIC")
    wire.writebuf(DAC, sent.tobytes())
    daemon.pace.sleep(0.01)
    wire.ask(f"SET {ADC} BUFFERS_COUNT 1")
    wire.ask(f"OPEN {ADC} 4096 00000003")
    wire.readbuf(ADC, 16384)
    heard = np.frombuffer(wire.readbuf(ADC, 16384), "<i2").reshape(-1, 2)
    wanted = np.tile(sent >> 4, (8, 1))
    assert any(np.array_equal(np.roll(wanted, shift, axis=0), heard) for shift in range(512))


def test_a_stream_comes_back_without_a_seam(wire):
    """Blocks pushed one after the other, through the digital loopback: every code once and in order."""
    wire.write(RATE, "4000000")
    wire.write(f"{PHY} DEBUG loopback", "1")
    sent = np.arange(1, 1793, dtype="<i2")  # a counter
    wire.ask(f"OPEN {ADC} 8192 00000001")
    wire.readbuf(ADC, 16384)
    wire.ask(f"OPEN {DAC} 256 00000001")
    for block in (sent << 4).reshape(7, 256):
        assert wire.writebuf(DAC, block.tobytes()) == 512
    heard = np.concatenate([np.frombuffer(wire.readbuf(ADC, 16384), "<i2") for _ in range(3)])
    begin = int(np.flatnonzero(heard)[0])
    assert np.array_equal(heard[begin : begin + sent.size], sent) and not heard[begin + sent.size :].any()


def test_a_second_output_is_busy_until_the_first_has_gone(daemon, wire):
    with Wire(daemon.ports["a"]) as other:
        assert other.ask(f"OPEN {DAC} 512 00000003 CYCLIC") == 0
        assert other.writebuf(DAC, bytes(2048)) == 2048
        assert other.writebuf(DAC, bytes(2048)) == -16
        assert wire.ask(f"OPEN {DAC} 512 00000003") == -16
        assert wire.ask(f"SET {DAC} BUFFERS_COUNT 2") == -16
        other.send(f"CLOSE {DAC}\r\n".encode())
        assert wire.ask(f"OPEN {DAC} 512 00000003") == 0, "the close may come a moment after"


def test_a_transmission_ends_with_its_connection(daemon, wire):
    with Wire(daemon.ports["a"]) as other:
        other.ask(f"OPEN {DAC} 512 00000003 CYCLIC")
        other.writebuf(DAC, as_bytes(np.full((1, 512), 10000)))
        daemon.pace.sleep(0.01)
        assert daemon.world.on_air("a", daemon.world.now) is not None
        other.socket.shutdown(socket.SHUT_RDWR)
    settle(daemon, 1)
    daemon.pace.sleep(0.01)
    assert daemon.world.on_air("a", daemon.world.now) is None
    assert wire.ask("TIMEOUT 1") == 0


def test_tones_radiate_until_a_buffer_takes_the_converter(daemon, wire):
    for name, phase in (("TX1_I_F1", "90000"), ("TX1_Q_F1", "0")):
        for attribute, text in (("frequency", "480000"), ("scale", "0.5"), ("phase", phase)):
            assert wire.write(f"{DAC} OUTPUT {name} {attribute}", text) > 0
    assert daemon.world.on_air("a", daemon.world.now) is None
    wire.write(f"{DAC} OUTPUT altvoltage0 raw", "1")
    daemon.pace.sleep(0.01)
    airing = daemon.world.on_air("a", daemon.world.now)
    bins = np.abs(airing.spectrum[0])
    peak = int(np.argmax(bins))
    rate = 30.72e6
    assert peak * rate / airing.program.period == pytest.approx(480000.0, abs=rate / 65536)  # above the carrier: a positive tone
    power = 10 * np.log10(np.sum(bins**2) / 1e-3)
    assert power == pytest.approx(7.0 - 6.02 - 10.0, abs=0.05)  # half of full scale behind 10 dB
    assert wire.read(f"{DAC} OUTPUT TX1_Q_F2 raw") == "1"
    wire.ask(f"OPEN {DAC} 512 00000003")
    assert daemon.world.on_air("a", daemon.world.now) is None
    wire.ask(f"CLOSE {DAC}")
    daemon.pace.sleep(0.01)
    assert daemon.world.on_air("a", daemon.world.now) is not None
    wire.write(f"{DAC} OUTPUT altvoltage3 raw", "0")
    assert daemon.world.on_air("a", daemon.world.now) is None


def test_automatic_gain_follows_the_level(daemon, wire):
    wire.write(RATE, "4000000")
    wire.write(TX_LO, "2400000000")
    quiet = float(str(wire.read(GAIN)).split()[0])
    wire.ask(f"OPEN {DAC} 512 00000003 CYCLIC")
    wire.writebuf(DAC, as_bytes(np.full((1, 512), 1 << 14) * np.exp(2j * np.pi * np.arange(512) / 32)))
    daemon.pace.sleep(0.1)
    loud = float(str(wire.read(GAIN)).split()[0])
    assert quiet > 50.0 and loud == pytest.approx(-10.0 - 12.0 + 39.0, abs=3.5)  # full scale at 0 dB, target, level
    level = float(str(wire.read(f"{PHY} INPUT voltage0 rssi")).split()[0])
    assert level == pytest.approx(39.0, abs=0.5)  # -9 dBm through 30 dB


@pytest.mark.parametrize(
    ("place", "off", "on"),
    [
        ("OUTPUT voltage0 rf_port_select", "B", "A"), ("INPUT voltage0 rf_port_select", "C_BALANCED", "A_BALANCED"), ("ensm_mode", "sleep", "fdd"),
        ("OUTPUT altvoltage1 powerdown", "1", "0"), ("OUTPUT altvoltage0 powerdown", "1", "0"), ("OUTPUT voltage0 hardwaregain", "-80", "0"),
        ("OUTPUT altvoltage1 frequency", "2420000000", "2400000000"),
    ],
)  # fmt: skip
def test_what_turns_a_signal_off_does_so_while_it_is_sent(daemon, wire, place, off, on):
    for where, text in ((RATE, "4000000"), (TX_LO, "2400000000"), (MODE, "manual"), (GAIN, "10")):
        assert wire.write(where, text) > 0
    wire.ask(f"OPEN {DAC} 512 00000003 CYCLIC")
    wire.writebuf(DAC, as_bytes(np.full((1, 512), 1 << 14) * np.exp(2j * np.pi * np.arange(512) / 32)))
    wire.ask(f"SET {ADC} BUFFERS_COUNT 1")
    wire.ask(f"OPEN {ADC} 2048 00000003")
    levels = []
    for text in (on, off, on):
        assert wire.write(f"{PHY} {place}", text) > 0
        daemon.pace.sleep(0.01)
        wire.readbuf(ADC, 8192)
        levels.append(float(np.abs(codes(wire.readbuf(ADC, 8192))).mean()))
    assert levels[0] > 100.0 and levels[1] < 10.0 and levels[2] == pytest.approx(levels[0], rel=0.01)


def test_armed_buffers_start_together():
    with Daemon(site("ad9081", channels=2), free_run=True) as daemon, Wire(daemon.ports["a"]) as wire, Wire(daemon.ports["a"]) as data:
        rx, tx = "axi-ad9081-rx-hpc", "axi-ad9081-tx-hpc"
        wire.write(f"{rx} INPUT voltage0_i main_nco_frequency", "-500000000")  # 3.5 GHz, in the second zone
        wire.write(f"{rx} OUTPUT voltage0_i main_nco_frequency", "3500000000")
        marker = np.zeros((1, 4096), complex)
        marker[0, 100] = 30000
        places = []
        for _ in range(2):
            for device in (rx, tx):
                assert wire.write(f"{device} sync_start_enable", "arm") == 4
            assert wire.write(f"{rx} sync_start_enable", "now") == -22
            assert data.ask(f"OPEN {rx} 1024 00000003") == 0 and data.ask(f"OPEN {tx} 4096 00000003 CYCLIC") == 0
            assert data.writebuf(tx, as_bytes(marker)) == 16384
            assert daemon.world.on_air("a", daemon.world.now) is None
            assert wire.write(f"{tx} sync_start_enable", "trigger_manual") == 15
            places.append(int(np.argmax(np.abs(codes(data.readbuf(rx, 4096))))))
            assert wire.read(f"{rx} sync_start_enable") == wire.read(f"{tx} sync_start_enable") == "disarm"
            assert data.ask(f"CLOSE {rx}") == 0 and data.ask(f"CLOSE {tx}") == 0
        assert places[0] == places[1] == 100 + 36 + 28


def test_waits_for_the_sample_clock_and_gives_up_in_time():
    with Daemon(site("pluto")) as daemon, Wire(daemon.ports["a"]) as wire:
        wire.write(RATE, "3000000")
        begun = time.monotonic()
        wire.ask(f"OPEN {ADC} 150000 00000003")
        assert len(wire.readbuf(ADC, 600000)) == 600000
        assert time.monotonic() - begun >= 0.05  # 150000 samples last so long
        wire.ask(f"CLOSE {ADC}")
        wire.ask("TIMEOUT 20")
        wire.ask(f"OPEN {ADC} 3000000 00000003")
        assert wire.readbuf(ADC, 4) == -110


# -- those who behave badly ---------------------------------------------------------------------------------------------------------------


def test_a_vanished_client_leaves_nothing(daemon):
    for garbage in (b"", b"READ", f"OPEN {ADC} 1024 00000003\r\nREADBUF {ADC} 4000000000\r\n".encode(), b"WRITE ad9361-phy ensm_mode 900\r\nfd"):
        with Wire(daemon.ports["a"]) as wire:
            wire.send(garbage)
    settle(daemon, 0)
    assert not daemon.boards["a"].front.inputs.open_now


@pytest.mark.parametrize("line", EXCESS)
def test_excess_costs_the_client_and_nobody_else(daemon, line):
    with Wire(daemon.ports["a"]) as wire:
        wire.send(line)
    with Wire(daemon.ports["a"]) as wire:
        assert wire.read(RX_LO) == "2400000000"


def test_many_clients_at_once(daemon):
    wires = [Wire(daemon.ports["a"]) for _ in range(40)]
    for number, wire in enumerate(wires):
        wire.send(f"READ {RX_LO}\r\n".encode() if number % 2 else f"OPEN {ADC} 512 00000003\r\n".encode())
    for number, wire in enumerate(wires):
        assert wire.line() == (b"11" if number % 2 else b"0")
    for wire in wires:
        wire.close()
    settle(daemon, 0)
