"""Several radios as one array: many channels behind one name, each radio with its own oscillator, its own phase and its own start.

Of such an array nothing is known between two radios but what is measured: `supports("coherent")` is False, and captures are taken side by
side, not aligned. Whoever needs phase or time between its channels estimates both, as between any two nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import accumulate
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from hil.clock import Clock
from hil.device import Capability, Capture, DeviceError, Loss, Radio, Setting

Result = TypeVar("Result")
_WORST = (Loss.NONE, Loss.UNKNOWN, Loss.SOME)


class RadioArray:
    """`hil.device.Radio` over radios of one part; channels in the radios' order. Closing it closes them."""

    def __init__(self, name: str, radios: Sequence[Radio], clock: Clock) -> None:
        self.name, self._radios, self._clock = name, tuple(radios), clock
        self._capability = _together(name, [radio.capability for radio in self._radios])
        self._send = _slices([radio.capability.transmit_channels for radio in self._radios])
        self._hear = _slices([radio.capability.receive_channels for radio in self._radios])
        self._setting: Setting | None = None
        self._version: int | None = None

    @property
    def capability(self) -> Capability:
        return self._capability

    @property
    def setting(self) -> Setting | None:
        return self._setting

    @property
    def version(self) -> int | None:
        return self._version if all(radio.version == self._version for radio in self._radios) else None

    def configure(self, setting: Setting) -> Setting:
        """Every radio alike, gains per channel. DeviceError `did-not-take` when their carriers or rates came out differently."""
        with self._silent_on_error():
            self.mute()
            for what, values, channels in (
                ("receive gain", setting.receive_gain_db, self._capability.receive_channels),
                ("attenuation", setting.attenuation_db, self._capability.transmit_channels),
            ):
                if len(values) not in (0, channels):
                    found = str(len(values))
                    raise DeviceError("bad-setting", f"{what} needs one value per channel", where=self.name, found=found, allowed=str(channels))
            parts = [
                replace(setting, receive_gain_db=setting.receive_gain_db[hear], attenuation_db=setting.attenuation_db[send])
                for hear, send in zip(self._hear, self._send)
            ]
            became = self._together([lambda r=radio, p=part: r.configure(p) for radio, part in zip(self._radios, parts)])
            for what in ("carrier_hz", "sample_rate_hz", "gain_mode"):
                values = [getattr(one, what) for one in became]
                if len(set(values)) > 1:
                    found = ", ".join(f"{radio.name} {value}" for radio, value in zip(self._radios, values))
                    raise DeviceError("did-not-take", f"the radios of this array differ in {what}", where=self.name, found=found, note="all silent")
            self._setting = replace(
                became[0], receive_gain_db=tuple(gain for one in became for gain in one.receive_gain_db),
                attenuation_db=tuple(value for one in became for value in one.attenuation_db),
            )  # fmt: skip
            return self._setting

    def load(self, version: int, waveform: NDArray[np.complex64]) -> None:
        with self._silent_on_error():
            array = np.asarray(waveform)
            if array.ndim != 2 or array.shape[0] != self._capability.transmit_channels:
                raise DeviceError(
                    "bad-waveform", "cannot be sent", where=self.name, found=str(array.shape),
                    allowed=f"({self._capability.transmit_channels} transmit channels, samples)", note="nothing was loaded",
                )  # fmt: skip
            for radio, send in zip(self._radios, self._send):
                radio.load(version, array[send])

    def apply(self, version: int) -> None:
        """All go on the air, each whenever its own buffer opens; one that cannot silences all."""
        with self._silent_on_error():
            self._version = None
            self._together([lambda r=radio: r.apply(version) for radio in self._radios])
            self._version = version

    def capture(self, samples: int, timeout_s: float) -> Capture:
        """Captures taken side by side: they overlap, but no two radios' first samples belong together."""
        with self._silent_on_error():
            version = self.version
            taken = self._together([lambda r=radio: r.capture(samples, timeout_s) for radio in self._radios])
            clocks = [capture.clock for capture in taken if capture.clock is not None]
            if self._setting is not None and self._setting.gain_mode != "manual":
                self._setting = replace(self._setting, receive_gain_db=tuple(gain for one in taken for gain in one.gain_db))
            return replace(
                taken[0], samples=np.concatenate([capture.samples for capture in taken]),
                gain_db=tuple(gain for capture in taken for gain in capture.gain_db), first_sample=None, version=version,
                loss=max((capture.loss for capture in taken), key=_WORST.index), clock=min(clocks, default=None),
                clipped=float(np.average([capture.clipped for capture in taken], weights=[len(capture.samples) for capture in taken])),
                device=self.name,
            )  # fmt: skip

    def mute(self) -> None:
        self._version = None
        for radio in self._radios:
            with suppress(Exception):
                radio.mute()

    def supports(self, what: str) -> bool:
        """What every radio supports; never coherence."""
        return what not in ("coherent", "first-sample") and all(radio.supports(what) for radio in self._radios)

    def close(self) -> None:
        self.mute()
        errors = []
        for radio in self._radios:
            try:
                radio.close()
            except Exception as error:
                errors.append(error)
        if errors:
            raise errors[0]

    def _together(self, calls: Sequence[Callable[[], Result]]) -> list[Result]:
        return self._clock.together(calls)

    @contextmanager
    def _silent_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.mute()
            raise


def _slices(counts: Sequence[int]) -> list[slice]:
    ends = list(accumulate(counts))
    return [slice(end - count, end) for count, end in zip(counts, ends)]


def _together(name: str, parts: Sequence[Capability]) -> Capability:
    """What all can do: channels add, ranges meet."""
    if not parts:
        raise DeviceError("no-such-radio", "an array needs at least one radio", where=name)
    if len({(one.part, one.bits, one.transmit_full_scale_dbm, one.receive_full_scale_dbm) for one in parts}) > 1:
        raise DeviceError("wrong-part", "the radios of an array are of one part", where=name, found=", ".join(one.part for one in parts))

    def meet(key: str) -> tuple[float, float]:
        ranges = [getattr(one, key) for one in parts]
        return max(low for low, _ in ranges), min(high for _, high in ranges)

    return replace(
        parts[0], serial="+".join(one.serial for one in parts), transmit_channels=sum(one.transmit_channels for one in parts),
        receive_channels=sum(one.receive_channels for one in parts), carrier_hz=meet("carrier_hz"), sample_rate_hz=meet("sample_rate_hz"),
        receive_gain_db=meet("receive_gain_db"), attenuation_db=meet("attenuation_db"), start="arbitrary", reports_first_sample=False,
        reports_loss=all(one.reports_loss for one in parts), switch_gap_s=max(one.switch_gap_s for one in parts),
        longest_waveform=min(one.longest_waveform for one in parts),
    )  # fmt: skip
