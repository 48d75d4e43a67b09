"""The settings of an AD9081: digital oscillators before converters at radio frequency; no gains, no attenuators, a rate its build fixes."""

from __future__ import annotations

from hil.device import DeviceError, Difference, Setting, differences
from hil.radios.board import LOOK, Board, require_agreement
from hil.radios.fitting import Fitting

MAIN, FINE = "main_nco_frequency", "channel_nco_frequency"


class Converters:
    """All channels of the chip, tuned alike. Carriers beyond half a converter's clock are reached through their image in its other zones."""

    gain_modes = ("manual",)
    loops_back = False  # its framer's loop wants both links built alike, which the chip does not say

    def __init__(self, board: Board, channels: int, fitting: Fitting) -> None:
        self._board, self._channels, self._fitting = board, channels, fitting
        self._chip = board.sdr._rxadc
        heard, sent = board.sdr._rx_fine_ddc_channel_names, board.sdr._tx_fine_duc_channel_names
        self._tuned = [(name, False) for name in heard] + [(name, True) for name in sent]
        self._carrier_hz = 0.0

    def apply(self, setting: Setting) -> Setting:
        """Set carriers; the rate is taken, or the radio says that it is fixed."""
        board = self._board
        for output in (False, True):
            found = board.number(self._chip, "sampling_frequency", self._first(output), output)
            if abs(found - setting.sample_rate_hz) > self._fitting.tolerance.sample_rate_hz:
                try:
                    board.write(self._chip, "sampling_frequency", round(setting.sample_rate_hz), self._first(output), output)
                except DeviceError as error:
                    if error.id != "refused":
                        raise
                    raise DeviceError(
                        "fixed-rate", "the sampling rate is fixed by this radio's firmware", where=board.where,
                        found=f"{setting.sample_rate_hz:.0f} Hz asked", allowed=f"{found:.0f} Hz",
                        fix="`signal.sample_rate_hz` of the scenario at that rate, or another build of the firmware",
                    ) from error  # fmt: skip
        self._carrier_hz = setting.carrier_hz
        for channel, output in self._tuned:
            board.write(self._chip, MAIN, round(_folded(setting.carrier_hz, self._clock_hz(output))), channel, output)
            board.write(self._chip, FINE, 0, channel, output)
        self.require_agreement()
        return self.read()

    def read(self) -> Setting:
        """What the chip says it is: carrier and rate of its first receive channel."""
        carriers, rates = self._read()
        return Setting(carriers[0], rates[0], self.receive_gain_db(), self.attenuation_db())

    def require_agreement(self) -> None:
        """DeviceError `did-not-take` when channels or directions differ in carrier or rate."""
        carriers, rates = self._read()
        require_agreement(self._board, carriers, self._fitting.tolerance.carrier_hz, rates)

    def _read(self) -> tuple[list[float], list[float]]:
        carriers = []
        for channel, output in self._tuned:
            tuned = sum(self._board.number(self._chip, name, channel, output) for name in (MAIN, FINE))
            clock = self._clock_hz(output)
            carriers.append(tuned if clock is None else tuned + clock * round((self._carrier_hz - tuned) / clock))
        return carriers, [self._board.number(self._chip, "sampling_frequency", self._first(output), output) for output in (False, True)]

    def loud(self, setting: Setting) -> None:
        """Nothing: there is no attenuator."""

    def quiet(self) -> None:
        """Nothing: there is no attenuator; silence is a converter that is fed zeros."""

    def attenuation_db(self) -> tuple[float, ...]:
        return (0.0,) * self._channels

    def receive_gain_db(self) -> tuple[float, ...]:
        return (0.0,) * self._channels

    def audit(self, rate: float) -> list[tuple[str, str, str]]:
        """Nothing that a profile fixes is left to the chip."""
        return []

    def compared(self, asked: Setting, became: Setting) -> list[Difference]:
        return differences(asked, became, self._fitting.tolerance)

    def carrier_range_hz(self) -> tuple[float, float] | None:
        return None  # the device states the range of its oscillators, which fold

    def temperature_c(self) -> float | None:
        chip = self._chip
        return self._board.number(chip, "input", "temp0") * 1e-3 if self._board.has(chip, "input", "temp0") else None

    def step_hz(self, carrier_hz: float) -> float:
        return 1.0  # as the driver takes it; the oscillators themselves have 48 bits

    def reference_hz(self) -> tuple[int, tuple[int, int] | None] | None:
        return None

    def set_reference_hz(self, value: int) -> None:
        raise DeviceError("no-such-attribute", "the part has no correction of its reference", where=self._board.where)

    def loopback(self, on: bool) -> None:
        raise DeviceError("no-such-attribute", "this part has no loopback that is sure to close", where=self._board.where)

    def _first(self, output: bool) -> str:
        return next(name for name, direction in self._tuned if direction is output)

    def _clock_hz(self, output: bool) -> float | None:
        name = "dac_frequency" if output else "adc_frequency"
        if not self._board.has(self._chip, name, self._first(output), output):
            return None
        clock = self._board.number(self._chip, name, self._first(output), output)
        if clock <= 0.0:
            raise DeviceError("bad-answer", f"`{name}` is no clock", where=self._board.where, found=f"{clock:g} Hz", fix=LOOK)
        return clock


def _folded(carrier_hz: float, clock_hz: float | None) -> float:
    """Where an oscillator within half a converter's clock must stand for a carrier; the image keeps its sense of frequency."""
    return carrier_hz if clock_hz is None else (carrier_hz + clock_hz / 2.0) % clock_hz - clock_hz / 2.0
