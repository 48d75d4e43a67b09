"""The settings of AD9361 chips, one or two of them on a board: carriers, rate and filter, gains, attenuation, ports, tracking."""

from __future__ import annotations

import re
from typing import Any

from hil.device import DeviceError, Difference, Setting, differences
from hil.fir import most_taps, parse
from hil.radios.board import Board, require_agreement
from hil.radios.fitting import Fitting
from hil.radios.trim import step_hz

MODES = {"manual": "manual", "slow": "slow_attack", "fast": "fast_attack"}
SLOWEST_WITHOUT_FIR_HZ = 25_000_000 // 12
BANDWIDTH_HZ = (200_000, 56_000_000)
TRACKING = {"quadrature": "quadrature_tracking_en", "rf_dc": "rf_dc_offset_tracking_en", "baseband_dc": "bb_dc_offset_tracking_en"}
SILENT_DB = 89.75
REFERENCE = "xo_correction"


class Transceiver:
    """Two channels per chip each way; all chips of a board are set alike."""

    gain_modes = tuple(MODES)
    loops_back = True

    def __init__(self, board: Board, channels: int, fitting: Fitting) -> None:
        self._board, self._fitting = board, fitting
        phy = board.sdr._ctrl
        second = getattr(board.sdr, "_ctrl_b", None)
        self.chips: list[Any] = [phy] if second is None else [phy, second]
        self._channels = [(self.chips[number // 2], f"voltage{number % 2}") for number in range(channels)]
        self._fitted: float | None = None  # rate at which filter, ports and tracking were last set

    # -- applying ------------------------------------------------------------------------------------------------------------------------

    def apply(self, setting: Setting) -> Setting:
        """Set everything and return what the chips then say. The transmitter must be silent and stay so."""
        board = self._board
        for chip in self.chips:
            for oscillator in ("altvoltage0", "altvoltage1"):
                board.write(chip, "frequency", round(setting.carrier_hz), oscillator, True)
        if self._fitted != setting.sample_rate_hz:
            self._set_rate(round(setting.sample_rate_hz))
            self._fit(setting.sample_rate_hz)
            self._fitted = setting.sample_rate_hz
        for number, (chip, channel) in enumerate(self._channels):
            board.write(chip, "gain_control_mode", MODES[setting.gain_mode], channel)
            if setting.gain_mode == "manual" and setting.receive_gain_db:  # in another mode the chip would ignore it without a word
                board.write(chip, "hardwaregain", float(setting.receive_gain_db[number]), channel)
        self.loud(setting)
        self.require_agreement()
        return self.read()

    def loud(self, setting: Setting) -> None:
        """Attenuators as the setting has them."""
        for (chip, channel), attenuation in zip(self._channels, setting.attenuation_db):
            self._board.write(chip, "hardwaregain", -float(attenuation), channel, True)

    def quiet(self) -> None:
        """Attenuators to their most."""
        for chip, channel in self._channels:
            self._board.write(chip, "hardwaregain", -SILENT_DB, channel, True)

    def attenuation_db(self) -> tuple[float, ...]:
        return tuple(-self._board.number(chip, "hardwaregain", channel, True) for chip, channel in self._channels)

    def receive_gain_db(self) -> tuple[float, ...]:
        return tuple(self._board.number(chip, "hardwaregain", channel) for chip, channel in self._channels)

    def read(self) -> Setting:
        """What the chips say they are: carrier and rate of the first chip's receiver."""
        chip = self.chips[0]
        modes = [self._board.text(chip, "gain_control_mode", channel).strip() for chip, channel in self._channels]
        words = {theirs: ours for ours, theirs in MODES.items()}
        mode = words.get(modes[0], modes[0]) if len(set(modes)) == 1 else "/".join(modes)
        carrier, rate = self._board.number(chip, "frequency", "altvoltage0", True), self._board.number(chip, "sampling_frequency", "voltage0")
        return Setting(carrier, rate, self.receive_gain_db(), self.attenuation_db(), mode)

    def require_agreement(self) -> None:
        """DeviceError `did-not-take` when chips or directions of the board differ in carrier or rate."""
        board = self._board
        carriers = [board.number(chip, "frequency", oscillator, True) for chip in self.chips for oscillator in ("altvoltage0", "altvoltage1")]
        rates = [board.number(chip, "sampling_frequency", "voltage0", output) for chip in self.chips for output in (False, True)]
        require_agreement(board, carriers, self._fitting.tolerance.carrier_hz, rates)

    # -- rate and filter --------------------------------------------------------------------------------------------------------------------

    def _set_rate(self, rate: int) -> None:
        if self._fitting.fir is None:
            with self._board.speaking("set the sampling rate", f"{rate} Hz"):
                self._board.sdr.sample_rate = rate  # with pyadi's own filter for the rate, in the order that the chips' rules want
            return
        fir = parse(self._fitting.fir)
        for chip in self.chips:
            self._load_filter(chip, fir.text)
            if rate <= SLOWEST_WITHOUT_FIR_HZ:  # so slow only once the filter decimates
                self._enable(chip, True)
                self._write_rate(chip, rate)
            else:
                self._write_rate(chip, rate)
                self._require_taps(chip, len(fir.transmit), rate)
                self._enable(chip, True)
            answer = self._board.text(chip, "filter_fir_config").strip()
            if answer != fir.read_back:
                raise self._not_taken("the FIR filter", fir.read_back, answer)

    def _load_filter(self, chip: Any, text: str) -> None:
        if self._board.number(chip, "voltage_filter_fir_en", "out") > 0.0:
            if self._board.number(chip, "sampling_frequency", "voltage0") <= SLOWEST_WITHOUT_FIR_HZ:
                self._write_rate(chip, 3_000_000)
            self._enable(chip, False)
        self._board.write(chip, "filter_fir_config", text)

    def _write_rate(self, chip: Any, rate: int) -> None:
        self._board.write(chip, "sampling_frequency", rate, "voltage0")

    def _enable(self, chip: Any, on: bool) -> None:
        self._board.write(chip, "voltage_filter_fir_en", int(on), "out")

    def _require_taps(self, chip: Any, taps: int, rate: int) -> None:
        rates = dict(re.findall(r"(\w+):(\d+)", self._board.text(chip, "tx_path_rates")))
        if "DAC" in rates and taps > (most := most_taps(float(rates["DAC"]), rate)):
            raise DeviceError(
                "bad-filter", "the FIR filter has more taps than the chip computes at this rate", where=self._board.where,
                found=f"{taps} taps at {rate} Hz", allowed=f"at most {most}", fix="a shorter filter or a lower rate (profile, filter.fir)",
            )  # fmt: skip

    # -- what a profile says beside the setting -----------------------------------------------------------------------------------------------

    def _fit(self, rate: float) -> None:
        for chip, name, channel, output, value in self._wanted(rate):
            self._board.write(chip, name, value, channel, output)
        for difference in self.audit(rate):
            raise self._not_taken(*difference)

    def _wanted(self, rate: float) -> list[tuple[Any, str, str, bool, str | int]]:
        """(chip, attribute, channel, output, value) of everything that a profile fixes and a setting does not."""
        bandwidth = round(min(max(self._fitting.bandwidth_hz or rate, BANDWIDTH_HZ[0]), BANDWIDTH_HZ[1]))
        wanted: list[tuple[Any, str, str, bool, str | int]] = []
        for chip in self.chips:
            wanted += [(chip, "rf_bandwidth", "voltage0", output, bandwidth) for output in (False, True)]
            wanted += [(chip, TRACKING[what], "voltage0", False, int(on)) for what, on in self._fitting.tracking.items()]
            if self._fitting.ports is not None:
                wanted += [(chip, "rf_port_select", "voltage0", False, self._fitting.ports["receive"])]
                wanted += [(chip, "rf_port_select", "voltage0", True, self._fitting.ports["transmit"])]
        return wanted

    def audit(self, rate: float) -> list[tuple[str, str, str]]:
        """(what, asked, found) wherever the chips differ from the profile; reads only."""
        found = []
        for chip, name, channel, output, value in self._wanted(rate):
            answer = self._board.text(chip, name, channel, output).strip()
            if answer != str(value):
                found.append((f"{chip.name} {'transmit' if output else 'receive'} {name}", str(value), answer))
        return found

    def _not_taken(self, what: str, asked: str, found: str) -> DeviceError:
        return DeviceError("did-not-take", f"{what} did not become what was asked", where=self._board.where, found=found, allowed=asked,
                           note="transmitter silent", fix="another program holds the radio? see `hil doctor BENCH`")  # fmt: skip

    # -- the rest -----------------------------------------------------------------------------------------------------------------------------

    def compared(self, asked: Setting, became: Setting) -> list[Difference]:
        return differences(asked, became, self._fitting.tolerance)

    def carrier_range_hz(self) -> tuple[float, float] | None:
        """As the device itself states it."""
        return self._range("frequency_available", "altvoltage0", True)

    def temperature_c(self) -> float | None:
        chip = self.chips[0]
        return self._board.number(chip, "input", "temp0") * 1e-3 if self._board.has(chip, "input", "temp0") else None

    def step_hz(self, carrier_hz: float) -> float:
        return step_hz(carrier_hz)

    def reference_hz(self) -> tuple[int, tuple[int, int] | None] | None:
        """Correction of the reference in force and its range; None where the part has none."""
        if not self._board.has(self.chips[0], REFERENCE):
            return None
        limits = self._range(f"{REFERENCE}_available")
        return round(self._board.number(self.chips[0], REFERENCE)), None if limits is None else (round(limits[0]), round(limits[1]))

    def set_reference_hz(self, value: int) -> None:
        self._fitted = None  # the rate is divided from the same reference
        for chip in self.chips:
            self._board.write(chip, REFERENCE, value)
            found = round(self._board.number(chip, REFERENCE))
            if found != value:
                raise self._not_taken(REFERENCE, str(value), str(found))

    def loopback(self, on: bool) -> None:
        """Digital loopback: what is sent comes back as received codes, shifted right by four."""
        for chip in self.chips:
            with self._board.speaking("set loopback", str(int(on))):
                chip.debug_attrs["loopback"].value = str(int(on))

    def _range(self, name: str, channel: str = "", output: bool = False) -> tuple[float, float] | None:
        chip = self.chips[0]
        if not self._board.has(chip, name, channel, output):
            return None
        numbers = [float(one) for one in re.findall(r"[-+]?\d+(?:\.\d+)?", self._board.text(chip, name, channel, output))]
        return (numbers[0], numbers[-1]) if len(numbers) >= 2 else None
