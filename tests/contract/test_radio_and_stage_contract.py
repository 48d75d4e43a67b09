"""One suite for every radio, one for every stage; and the suites notice implementations that break a rule."""

from __future__ import annotations

import numpy as np
import pytest

from hil.clock import VirtualClock, WallClock
from hil.device import Codes, Move, Setting, interleaved
from hil.testing import InstantRadio, InstantStage, radio_contract, stage_contract
from sim_backend import remote, wire
from sim_backend.server import WorldProcess
from sim_backend.world import build


def capability(transmit: int, receive: int) -> dict:
    return {
        "transmit_channels": transmit, "receive_channels": receive, "carrier_hz": [70e6, 6e9], "sample_rate_hz": [0.5e6, 61.44e6],
        "receive_gain_db": [0.0, 60.0], "receive_gain_step_db": 1.0, "attenuation_db": [0.0, 80.0], "attenuation_step_db": 0.25, "bits": 12,
        "transmit_full_scale_dbm": 7.0, "receive_full_scale_dbm": 0.0,
    }  # fmt: skip


def antenna(channel: int, offset: float, origin: list[float], transmits: bool, axis: str | None = None) -> dict:
    return {
        "transmit": channel if transmits else None, "receive": channel, "origin_m": origin, "axis": [0.0, 1.0, 0.0], "offset_m": offset,
        "stage": "rail" if axis else None, "stage_axis": axis, "sign": 1, "gain_dbi": 0.0,
    }  # fmt: skip


SITE = {
    "carrier_hz": 3.5e9, "seed": 1, "emulated": {},
    "radios": [
        {"name": "ap", "serial": "emulated-ap", "part": "fmcomms5", "capability": capability(2, 2),
         "antennas": [antenna(0, -0.05, [0.0, 0.0, 2.0], True, "a"), antenna(1, 0.05, [0.0, 0.0, 2.0], True, "b")]},
        {"name": "user", "serial": "emulated-user", "part": "pluto", "capability": capability(0, 1),
         "antennas": [antenna(0, 0.0, [10.0, 3.0, 1.5], False)]},
    ],
    "stages": [{"name": "rail", "axes": {
        axis: {"steps_per_mm": 80.0, "travel_mm": [0.0, 300.0], "speed_mm_s": 500.0, "acceleration_mm_s2": 5000.0,
        "start_mm": 100.0} for axis in "ab"
    }}],
}  # fmt: skip


@pytest.fixture(scope="module")
def world():
    with WorldProcess(SITE) as process:
        yield process


@pytest.mark.parametrize("channels", [(2, 2), (0, 1), (1, 0)])
def test_instant_radio(channels):
    radio_contract(lambda: InstantRadio("r", VirtualClock(), transmit_channels=channels[0], receive_channels=channels[1]))


@pytest.mark.parametrize("name", ["ap", "user"])
@pytest.mark.parametrize("severity", [0.0, 2.0])
def test_emulated_radio(name, severity):
    radio_contract(lambda: build({**SITE, "emulated": {"severity": severity}}, VirtualClock()).radio(name))


@pytest.mark.parametrize("name", ["ap", "user"])
def test_remote_radio(name, world):
    radio_contract(lambda: Fresh(remote.radio(name, WallClock(), address=world.address)))


class Fresh:
    """A remote radio whose world may hold a setting from before: the contract's first rule is about a device just switched on."""

    def __init__(self, radio):
        self._radio, self._configured = radio, False

    def __getattr__(self, name):
        return getattr(self._radio, name)

    @property
    def setting(self):
        return self._radio.setting if self._configured else None

    def configure(self, setting):
        self._configured = True
        return self._radio.configure(setting)

    def capture(self, samples, timeout_s):
        if not self._configured:
            from hil.device import DeviceError

            raise DeviceError("not-configured", "no setting yet", where="fresh")
        return self._radio.capture(samples, timeout_s)


def test_instant_stage():
    stage_contract(lambda: InstantStage("s", VirtualClock(), axes={"a": (0.0, 0.3), "b": (0.0, 0.3)}))
    stage_contract(lambda: InstantStage("s", WallClock(), axes={"a": (0.0, 0.1)}), speed=2.0, wall_clock=True)


@pytest.mark.parametrize("more", [{}, {"approach": "-"}])
@pytest.mark.parametrize("severity", [0.0, 2.0])
def test_emulated_stage(severity, more):
    plan = {**SITE, "emulated": {"severity": severity}, "stages": [{**item, **more} for item in SITE["stages"]]}
    stage_contract(lambda: build(plan, VirtualClock()).stage("rail"), acceleration=5.0)


def test_remote_stage(world):
    stage_contract(lambda: remote.stage("rail", WallClock(), address=world.address), speed=0.5, acceleration=5.0, wall_clock=True)


def test_remote_samples_are_the_world_s_own_codes(world):
    """Packing for the socket changes no bit."""
    radio = remote.radio("user", WallClock(), address=world.address)
    radio.configure(Setting(3.5e9, 15.36e6, (40.0,), ()))
    capture = radio.capture(5000, 5.0)
    codes = capture.samples.view(np.float32) * capture.full_scale
    assert np.array_equal(codes, np.rint(codes)) and codes.std() > 0.1
    radio.close()


# -- what the suites must notice -----------------------------------------------------------------------------------------------------------


class LoadsOntoTheAir(InstantRadio):
    def load(self, version, waveform):
        super().load(version, waveform)
        self.apply(version)


class KeepsSendingWhenConfigured(InstantRadio):
    def configure(self, setting):
        version = self._version
        became = super().configure(setting)
        self._version = version
        return became


class KeepsSendingAfterAnError(InstantRadio):
    def apply(self, version):
        before = self._version
        try:
            super().apply(version)
        except Exception:
            self._version = before
            raise


class TakesNan(InstantRadio):
    def load(self, version, waveform):
        super().load(version, np.nan_to_num(waveform))


class ClipsInSilence(InstantRadio):
    def load(self, version, waveform):
        super().load(version, (waveform / max(1.0, float(np.abs(waveform).max(initial=0.0)))).astype(np.complex64))


class LiesAboutItsSetting(InstantRadio):
    def configure(self, setting):
        became = super().configure(setting)
        return type(became)(became.carrier_hz + 1e3, became.sample_rate_hz, became.receive_gain_db, became.attenuation_db)


class RoundsNothing(InstantRadio):
    def capture(self, samples, timeout_s):
        from dataclasses import replace

        capture = super().capture(samples, timeout_s)
        return replace(capture, samples=(capture.samples * 0.9).astype(np.complex64))


class GivesOtherCodes(InstantRadio):
    def capture(self, samples, timeout_s):
        from dataclasses import replace

        capture = super().capture(samples, timeout_s)
        return replace(capture, codes=Codes(interleaved(capture.samples, capture.full_scale)[::-1], capture.samples))


class KeepsTheCallersArray(InstantRadio):
    def load(self, version, waveform):
        super().load(version, waveform)
        self._loaded[version] = waveform


class SupportsEverything(InstantRadio):
    def supports(self, what):
        return True


class ReturnsWhatItHeardBefore(InstantRadio):
    """A driver that leaves blocks in the buffer: every capture is the one before."""

    _waiting = None

    def capture(self, samples, timeout_s):
        old, self._waiting = self._waiting, super().capture(samples, timeout_s)
        return old or self._waiting


class IgnoresTheGainMode(InstantRadio):
    def configure(self, setting):
        from dataclasses import replace

        return super().configure(replace(setting, gain_mode="manual"))


class ReturnsBeforeItArrives(InstantStage):
    def move(self, move, timeout_s):
        super().move(Move({axis: self._at[axis] for axis in move.targets}, move.speed, move.acceleration), timeout_s)
        return self.where()


class ClampsTargets(InstantStage):
    def move(self, move, timeout_s):
        inside = {axis: float(np.clip(np.nan_to_num(value), *self._axes.get(axis, (0, 1)))) for axis, value in move.targets.items()}
        return super().move(Move(inside, move.speed, move.acceleration), timeout_s)


class MovesEverything(InstantStage):
    def move(self, move, timeout_s):
        position = super().move(move, timeout_s)
        self._at = {axis: value + 0.005 for axis, value in self._at.items()}
        return position


@pytest.mark.parametrize(
    "wrong",
    [
        LoadsOntoTheAir, KeepsSendingWhenConfigured, KeepsSendingAfterAnError, TakesNan, ClipsInSilence, LiesAboutItsSetting, RoundsNothing,
        GivesOtherCodes, KeepsTheCallersArray, SupportsEverything, ReturnsWhatItHeardBefore, IgnoresTheGainMode,
    ],
)  # fmt: skip
def test_suite_notices_a_wrong_radio(wrong):
    with pytest.raises(AssertionError):
        radio_contract(lambda: wrong("r", VirtualClock()))


@pytest.mark.parametrize("wrong", [ReturnsBeforeItArrives, ClampsTargets, MovesEverything])
def test_suite_notices_a_wrong_stage(wrong):
    with pytest.raises(AssertionError):
        stage_contract(lambda: wrong("s", VirtualClock(), axes={"a": (0.0, 0.3), "b": (0.0, 0.3)}))


def test_who_leaves_late_does_not_stop_who_came_after(tmp_path):
    """A connection's end is noticed at any time after it; what the next holder has begun by then goes on."""
    from sim_backend.server import Server

    world = build(SITE, VirtualClock())
    server = Server(world.radios, world.stages, world.clock, str(tmp_path / "socket"))
    called: list[str] = []
    first = server._hold(wire.Open("radio", "user", False), lambda: called.append("quiet"))
    control = server._hold(wire.Open("radio", "user", True), lambda: called.append("quiet"))
    assert called == ["quiet"]  # whoever opens a device finds it silent
    control()
    assert len(called) == 2
    second = server._hold(wire.Open("radio", "user", False), lambda: called.append("quiet"))
    assert len(called) == 3
    first()
    control()
    assert len(called) == 3
    second()
    assert len(called) == 4


def test_a_gain_mode_travels():
    """Over the link of a node and over the world's own socket."""
    import msgspec

    from hil.link.messages import Configure

    setting = Setting(3.5e9, 15.36e6, (40.0,), (), "slow")
    for body in (Configure(device="user", setting=setting), wire.Configure(setting)):
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(body), type=type(body)).setting == setting
    old = msgspec.msgpack.encode({"carrier_hz": 1e9, "sample_rate_hz": 1e6})
    assert msgspec.msgpack.decode(old, type=Setting).gain_mode == "manual"  # of a record that knew no modes
