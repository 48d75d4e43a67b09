"""The attributes of an AD936x: `ad9361-phy` as its driver shows it, acting on a chip."""

from __future__ import annotations

from collections.abc import Callable

from sim_backend.iiod import rates
from sim_backend.iiod.chip import CRYSTAL, Chip, gain_range
from sim_backend.iiod.context import Device
from sim_backend.iiod.frontend import RECEIVE, TRANSMIT
from sim_backend.iiod.registers import registers
from sim_backend.iiod.values import EINVAL, EIO, Value, anything, choice, constant, decibels, flag, held, refusing, span, whole

MODES = {"manual": "manual", "fast_attack": "fast", "slow_attack": "slow", "hybrid": "slow"}
RECEIVE_PORTS = "A_BALANCED B_BALANCED C_BALANCED A_N A_P B_N B_P C_N C_P TX_MONITOR1 TX_MONITOR2 TX_MONITOR1_2"
CALIBRATIONS = "auto manual manual_tx_quad tx_quad rf_dc_offs rssi_gain_step"
STATES = "sleep wait alert fdd pinctrl pinctrl_fdd_indep"
PRODUCT = 0x37, 0x0A  # register and its value


def device(chip: Chip, id: str, name: str, label: str | None = None) -> Device:
    """`ad9361-phy` with all its channels and attributes."""
    phy = Device(id, name, label)
    _synthesisers(chip, phy)
    fir = Value(lambda: str(int(chip.fir_on)), chip.switch_fir)
    rate = {
        "sampling_frequency": Value(lambda: str(chip.rate), chip.set_rate),
        "sampling_frequency_available": Value(lambda: span(rates.least(chip.filter), 1, rates.MOST_RATE)),
        "filter_fir_en": fir,
    }
    received = {
        **rate,
        "rf_bandwidth": held("18000000", whole(200_000, 56_000_000)),
        "rf_bandwidth_available": constant("[200000 1 56000000]"),
        "gain_control_mode_available": constant(" ".join(MODES)),
        "hardwaregain_available": Value(lambda: span(gain_range(chip.lo[RECEIVE])[0], 1, gain_range(chip.lo[RECEIVE])[1])),
        "rf_port_select_available": constant(RECEIVE_PORTS),
        "quadrature_tracking_en": held("1", flag),
        "rf_dc_offset_tracking_en": held("1", flag),
        "bb_dc_offset_tracking_en": held("1", flag),
    }
    sent = {
        **rate,
        "rf_bandwidth": held("18000000", whole(200_000, chip.part.bandwidth)),
        "rf_bandwidth_available": constant(f"[200000 1 {chip.part.bandwidth}]"),
        "hardwaregain_available": constant(span(-89.75, 0.25, 0.0, 6)),
        "rf_port_select_available": constant("A B"),
    }
    for place, channel in enumerate(chip.receive):
        phy.channel(f"voltage{place}", _received(chip, channel), shared=received)
    for place, channel in enumerate(chip.transmit):
        phy.channel(f"voltage{place}", _sent(chip, channel), output=True, shared=sent)
    phy.channel("voltage2", {"raw": constant("1041"), "scale": constant("0.305250"), "offset": constant("57")})
    for extra in ("voltage2", "voltage3"):
        phy.channel(extra, {"raw": held("306", whole(0, 1023)), "scale": constant("1.000000")}, output=True)
    phy.channel("temp0", {"input": Value(chip.temperature)})
    phy.channel("out", {"voltage_filter_fir_en": fir})
    phy.attributes = _attributes(chip)
    phy.debug = _debug(chip)
    return phy


def _synthesisers(chip: Chip, phy: Device) -> None:
    for number, (side, name) in enumerate(((RECEIVE, "RX_LO"), (TRANSMIT, "TX_LO"))):
        least, most = chip.part.receive_lo if side == RECEIVE else chip.part.transmit_lo
        values = {
            "frequency": _lo_value(chip, side),
            "frequency_available": constant(f"[{least} 1 {most}]"),
            "powerdown": held("0", flag, _told(chip.power, side)),
            "external": held("0", flag),
            "fastlock_load": held("0", anything),
            "fastlock_recall": refusing(EINVAL),
            "fastlock_save": held("0 0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0", anything),
            "fastlock_store": held("0", anything),
        }
        phy.channel(f"altvoltage{number}", values, output=True, name=name)


def _lo_value(chip: Chip, side: str) -> Value:
    return Value(lambda: str(chip.lo[side]), lambda text: chip.set_lo(side, text))


def _received(chip: Chip, channel: int) -> dict[str, Value]:
    def set_mode(mode: str) -> None:
        chip.front.hear([channel], mode=MODES[mode])

    return {
        "hardwaregain": Value(lambda: chip.read_gain(channel), lambda text: chip.set_gain(channel, text)),
        "gain_control_mode": held("slow_attack", choice(*MODES), set_mode),
        "rf_port_select": held("A_BALANCED", choice(*RECEIVE_PORTS.split()), _told(chip.select, (RECEIVE, channel))),
        "rssi": Value(lambda: chip.rssi(channel)),
    }


def _sent(chip: Chip, channel: int) -> dict[str, Value]:
    return {
        "hardwaregain": Value(lambda: decibels(-chip.front.mouths[channel].attenuation_db), lambda text: chip.set_attenuation(channel, text)),
        "rf_port_select": held("A", choice("A", "B"), _told(chip.select, (TRANSMIT, channel))),
        "rssi": constant("0.00 dB"),
    }


def _attributes(chip: Chip) -> dict[str, Value]:
    return {
        "calib_mode": held("auto", choice(*CALIBRATIONS.split())),
        "calib_mode_available": constant(CALIBRATIONS),
        "dcxo_tune_coarse": refusing(EIO),
        "dcxo_tune_coarse_available": constant("[0 0 0]"),
        "dcxo_tune_fine": refusing(EIO),
        "dcxo_tune_fine_available": constant("[0 0 0]"),
        "ensm_mode": held("fdd", choice(*STATES.split()), chip.set_state),
        "ensm_mode_available": constant(STATES),
        "filter_fir_config": Value(lambda: str(chip.fir or "FIR Rx: 0,0 Tx: 0,0"), chip.load_fir),
        "multichip_sync": Value(None, lambda text: None),
        "rssi_gain_step_error": constant("lna_error: 0 0 0 0\nmixer_error: 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\ngain_step_calib_reg_val: 0 0 0 0 0"),
        "rx_path_rates": Value(lambda: rates.path(chip.rate, chip.filter, False)),
        "trx_rate_governor": held("nominal", choice("nominal", "highest_osr")),
        "trx_rate_governor_available": constant("nominal highest_osr"),
        "tx_path_rates": Value(lambda: rates.path(chip.rate, chip.filter, True)),
        "xo_correction": held(str(CRYSTAL), whole(CRYSTAL - 8000, CRYSTAL + 8000), chip.correct),
        "xo_correction_available": constant(span(CRYSTAL - 8000, 1, CRYSTAL + 8000)),
    }


def _debug(chip: Chip) -> dict[str, Value]:
    switches = "frequency-division-duplex-mode-enable 2rx-2tx-mode-enable tx-fastlock-delay-ns digital-interface-tune-fir-disable"
    return {
        "direct_reg_access": registers({PRODUCT[0]: PRODUCT[1]}),
        "loopback": held("0", whole(0, 2), chip.loop),
        "initialize": Value(lambda: "0", lambda text: None),
        "bist_prbs": held("0", whole(0, 2)),
        "bist_tone": held("0 0 0 0", anything),
        "bist_timing_analysis": constant("0"),
        "calibration_switch_control": held("0", anything),
        "digital_tune": held("0", anything),
        "gaininfo_rx1": constant("71 76 0 0 0 0 0 0"),
        "gaininfo_rx2": constant("71 76 0 0 0 0 0 0"),
        **{f"adi,{switch}": held("0", anything) for switch in switches.split()},
    }


def _told(what: Callable[..., None], about: object) -> Callable[[str], None]:
    return lambda text: what(about, text)
