"""An open bench: its devices through the link, its clock, its run folder, and what state it is in.

Everything here moves settings, samples and positions and says so in events; it knows no estimator and no design.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hil import units
from hil.clock import Clock
from hil.device import Capability, Capture, DeviceError, Loss, Position, Setting, differences
from hil.errors import HilError, InputError
from hil.link.link import Link
from hil.loop.arrays import BenchArray, sense_arrays, transmit_arrays
from hil.loop.states import State, check_step
from hil.records.events import EVENTS
from hil.records.record import Record
from hil.scenario import Scenario
from hil.testbed import Testbed
from hil.waveform.amplitude import receive_scale, to_fractions
from hil.waveform.numerology import Numerology

DESIGNED = frozenset(name for name, fields in EVENTS.items() if "designer" in fields)  # events that say who is in charge
CAPTURE_SLACK_S = 5.0  # beyond a capture's own airtime
MOVE_SLACK_S = 10.0  # beyond a move's own duration
CREST_DB = 14.0  # an OFDM frame's largest sample over its mean: passed once in ten thousand frames
BRAKE_S, LOOK_S = 2.0, 0.02  # longest wait for stages to stand after a halt, and how often they are asked
STILL = 2e-5  # metres, a motor step or so; a layout closer than this is where we are


class Sent(Protocol):
    """What a radio is to send over and over: a frame, or its part of one."""

    def samples(self) -> NDArray[np.complex128]:
        """(antenna, sample) sqrt(W) at the antenna ports."""


@dataclass(frozen=True, slots=True, eq=False)
class Taken:
    """A capture with what only the loop knows of it. samples of `amplitude` are sqrt(W) at the port."""

    name: str
    file: str
    radio: str
    capture: Capture

    def amplitude(self, capability: Capability) -> NDArray[np.complex64]:
        """(channel, sample) sqrt(W) at the antenna ports."""
        return self.capture.samples * receive_scale(capability, self.capture.gain_db)[:, None].astype(np.float32)


@dataclass(eq=False)
class Lab:
    """What a trial works with. `survey(at, name)` gives a target's true place where somebody has surveyed it, for the record only."""

    scenario: Scenario
    testbed: Testbed
    link: Link
    clock: Clock
    run: Record
    seed: int
    depth: str
    survey: Callable[..., NDArray[np.float64]] | None = None
    state: State = State.IDLE
    round: int = 0
    designer: str | None = None
    capability: dict[str, Capability] = field(default_factory=dict)
    setting: dict[str, Setting] = field(default_factory=dict)
    positions: dict[str, Position] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.numerology = Numerology(self.scenario.signal.sample_rate_hz, self.scenario.signal.used_bandwidth_hz)
        self.transmitters: tuple[BenchArray, ...] = transmit_arrays(self.scenario, self.testbed)
        self.sensors: tuple[BenchArray, ...] = sense_arrays(self.scenario, self.testbed)
        self.users = tuple(user.name for user in self.scenario.user)
        self.user_radio = {user: self.testbed.wire_of(user).radio for user in self.users}
        self.user_channel = {user: self.testbed.wire_of(user).channels[0] for user in self.users}
        self._version = 0
        self._on_air: int | None = None
        self._heard: dict[str, str] = {}  # radio -> hash of its last capture
        self._loaded: dict[int, dict[str, tuple[float, ...]]] = {}

    # -- words ---------------------------------------------------------------------------------------------------------------------------

    def event(self, event: str, **fields: Any) -> None:
        """Into the record, with the round and, where there is one, the designer in charge."""
        if self.designer is not None and "designer" not in fields and event in DESIGNED:
            fields["designer"] = self.designer
        self.run.event(event, self.round, **fields)

    def enter(self, state: State, why: str = "") -> None:
        """The next state; staying in one says nothing."""
        if state is self.state:
            return
        check_step(self.state, state)
        before, self.state = self.state, state
        who = {"designer": self.designer} if self.designer else {}
        self.run.event("state", self.round, from_=str(before), to=str(state), why=why, **who)

    # -- opening -------------------------------------------------------------------------------------------------------------------------

    def open_devices(self) -> None:
        """Meet every device, apply profiles, read back, compare. Raises DeviceError `did-not-take`, `wrong-device` or `not-homed`."""
        described = self.link.describe()
        for node, reply in described.items():
            for name, capability in reply.radios.items():
                self.capability[name] = capability
                wanted = self.testbed.radio_named(name)
                if capability.serial != wanted.identity:
                    raise DeviceError("wrong-device", "another radio answers at this address", where=name, found=f"serial {capability.serial}",
                                      allowed=wanted.identity, fix="swap the cables, or correct the serial in testbed.toml")  # fmt: skip
                profile = self.testbed.radio_profile(name)
                self.configure(
                    name,
                    Setting(
                        self.scenario.signal.carrier_hz, self.scenario.signal.sample_rate_hz,
                        (profile.gain.receive_db,) * capability.receive_channels, (profile.gain.attenuation_db,) * capability.transmit_channels,
                    ),
                )  # fmt: skip
                self.event("opened", device=name, serial=capability.serial, profile=wanted.profile, differences=[], node=node,
                           part=capability.part, firmware=capability.firmware,
                           receive_full_scale_dbm=capability.receive_full_scale_dbm, capability=asdict(capability))  # fmt: skip
        stages = [stage.name for stage in self.testbed.stage]
        self.positions = self.link.where(stages) if stages else {}
        for stage in self.testbed.stage:
            if not self.positions[stage.name].homed:
                raise DeviceError("not-homed", "positions are unknown until homed", where=stage.name, fix=f"hil home for {stage.name}")
            self.event("opened", device=stage.name, serial="", profile=stage.profile, differences=[], node=stage.node,
                       part=self.testbed.stage_profile(stage.name).controller, firmware="", axes=self.positions[stage.name].axes,
                       std=self.positions[stage.name].std)  # fmt: skip

    def configure(self, name: str, asked: Setting) -> Setting:
        """Ask, read back, compare; a difference beyond the profile's tolerance is DeviceError `did-not-take`."""
        became = self.link.configure(name, asked)
        tolerance = self.testbed.radio_profile(name).tolerance.values
        self.run.settings(name, asked, became, tolerance)
        wrong = differences(asked, became, tolerance)
        if wrong:
            first = wrong[0]
            raise DeviceError("did-not-take", f"{first.setting} did not become what was asked", where=name, note="transmitter silent",
                              found=f"{first.became:g}", allowed=f"{first.asked:g} within {first.tolerance:g}",
                              fix=f"another program holds the radio? see the profile `{self.testbed.radio_named(name).profile}`")  # fmt: skip
        self.setting[name] = became
        return became

    # -- transmitting --------------------------------------------------------------------------------------------------------------------

    def next_version(self) -> int:
        self._version += 1
        return self._version

    def follow(self, version: int) -> None:
        """Count on from a version that an interrupted run had reached."""
        self._version = max(self._version, version)

    def prepare(self, version: int, frames: Mapping[str, Sent]) -> None:
        """Load frames (radio -> frame) as one version, on the air nowhere. Power and peaks are checked here and at the node."""
        waveforms, powers = {}, {}
        for array in self.transmitters:
            if array.radio not in frames:
                continue
            samples = frames[array.radio].samples()
            capability = self.capability[array.radio]
            attenuation = self.setting[array.radio].attenuation_db
            fractions = np.zeros((capability.transmit_channels, samples.shape[-1]), dtype=np.complex64)
            fractions[list(array.channels)] = to_fractions(samples, capability, [attenuation[c] for c in array.channels])
            waveforms[array.radio] = fractions
            mean = np.zeros(capability.transmit_channels)
            mean[list(array.channels)] = np.mean(np.abs(samples) ** 2, axis=-1)
            powers[array.radio] = tuple(units.to_dbm(power) if power > 0.0 else -200.0 for power in mean)
        self.link.prepare(version, waveforms, powers)
        self._loaded[version] = {name: tuple(round(p, 3) for p in power) for name, power in powers.items()}
        self.event("prepared", version=version, nodes=sorted(waveforms), power_dbm=self._loaded[version])

    def set_attenuation(self, array: BenchArray) -> None:
        """The largest step at which a signal of the array's power cap keeps its peaks below full scale. InputError `full-scale` for none."""
        capability = self.capability[array.radio]
        least, most = capability.attenuation_db
        room = capability.transmit_full_scale_dbm - units.to_dbm(array.element_power) - CREST_DB
        if room < least:
            raise InputError("full-scale", "the radio cannot send this power without clipping its peaks", key=f"array.{array.name}.element_power_dbm",
                             found=f"{units.to_dbm(array.element_power):.1f} dBm and {CREST_DB:g} dB of crest",
                             allowed=f"{capability.transmit_full_scale_dbm - least:.1f} dBm", fix="lower it")  # fmt: skip
        step = capability.attenuation_step_db
        attenuation = min(most, least + float(np.floor((room - least) / step)) * step)
        setting = self.setting[array.radio]
        self.configure(array.radio, replace(setting, attenuation_db=(attenuation,) * len(setting.attenuation_db)))

    def apply(self, version: int) -> None:
        """Put a prepared version on the air."""
        self.link.apply(version)
        self._on_air = version
        self.event("applied", version=version, nodes=sorted(self._loaded[version]), power_dbm=self._loaded[version])

    def mute(self, why: str = "") -> None:
        """Everything silent; said only when something was on the air."""
        self.link.mute(why)
        if self._on_air is not None:
            self.event("muted", nodes=list(self.link.nodes), version=self._on_air)
        self._on_air = None

    @contextmanager
    def muted_after(self, why: str) -> Iterator[None]:
        """Silence everything when the block is left; after an error without waiting long for any node, and without hiding the error."""
        try:
            yield
        except BaseException:
            with suppress(HilError):
                self.link.stop(why)
            raise
        self.mute(why)

    # -- receiving -----------------------------------------------------------------------------------------------------------------------

    def capture(self, name: str, purpose: str, samples: Mapping[str, int], transmitter: str | None = None) -> dict[str, Taken]:
        """Radio -> capture, all side by side, recorded as rNNN-NAME-RADIO. DeviceError `clipped` above 1 % at the rails, `stale-capture`
        where a radio gives the samples that it gave before."""
        rate = self.scenario.signal.sample_rate_hz
        longest = max(samples.values()) / rate
        version = self._on_air
        captures = self.link.capture(samples, purpose, longest + CAPTURE_SLACK_S)
        captures = {radio: replace(capture, version=version) for radio, capture in captures.items()}
        points = {radio: self.antenna_points(radio) for radio in captures}
        full = {radio: f"r{self.round:03d}-{name}-{radio}" for radio in captures}
        files = self.run.captures({
            full[radio]: (capture, dict(
                purpose=purpose, round=self.round, positions=points[radio], node=self.testbed.radio_named(radio).node, settings=radio,
                serial=self.capability[radio].serial, hw=self.capability[radio].part,
            )) for radio, capture in captures.items()
        })  # fmt: skip
        taken = {}
        for radio, capture in captures.items():
            file, digest = files[full[radio]]
            self.event("captured", file=file, sha512=digest, device=radio, purpose=purpose, samples=capture.samples.shape[-1],
                       version=version, positions=points[radio], loss=str(capture.loss), clipped=capture.clipped,
                       **({"transmitter": transmitter} if transmitter else {}))  # fmt: skip
            if self._heard.get(radio) == digest:
                raise DeviceError("stale-capture", "the same samples came twice: noise never repeats", where=radio,
                                  found=f"{file} equals the capture before",
                                  fix="the receive ring is stuck: restart the device, then hil run --resume")  # fmt: skip
            self._heard[radio] = digest
            if capture.clipped > 0.01:
                raise DeviceError("clipped", "the converter is driven beyond its range", where=radio, found=f"{capture.clipped:.1%} of samples",
                                  allowed="1 %", fix="a lower receive gain: raise the level step's head-room")  # fmt: skip
            if capture.loss is Loss.SOME:
                self.event("warned", id="samples-lost", message=f"{full[radio]}: samples are missing", device=radio)
            taken[radio] = Taken(full[radio], file, radio, capture)
        return taken

    def antenna_points(self, radio: str) -> NDArray[np.float64]:
        """(receive channel, xyz) metres of a receiver's antennas; what is not wired has no place and is left at NaN."""
        points = np.full((self.capability[radio].receive_channels, 3), np.nan)
        for array in (*self.transmitters, *self.sensors):  # where one of each hangs on a radio, the sensing one has the receive channels
            if array.radio == radio:
                points[list(array.channels)] = array.points(array.local(self.positions))
        for user, name in self.user_radio.items():
            if name == radio:
                points[self.user_channel[user]] = self.scenario.part(user).position_m  # type: ignore[union-attr]
        return points

    # -- moving --------------------------------------------------------------------------------------------------------------------------

    def here(self) -> NDArray[np.float64]:
        """(transmitter, antenna) metres of local x, as read back last."""
        return np.array([array.local(self.positions) for array in self.transmitters])

    def here_std(self) -> NDArray[np.float64]:
        """(transmitter, antenna) metres."""
        return np.array([array.std(self.positions) for array in self.transmitters])

    def move(self, goal: NDArray[np.float64], purpose: str) -> int:
        """Mute (unless the scenario radiates on the way), move every rail at once, settle, read back; how many elements moved."""
        start = self.here()
        plans = {array.stage: array.plan(s, g) for array, s, g in zip(self.transmitters, start, goal) if np.max(np.abs(s - g)) > STILL}
        moves = {stage: plan.move for stage, plan in plans.items() if plan is not None and stage is not None}
        if moves:
            if self.scenario.rounds.move == "muted":
                self.mute("moving")
            self.enter(State.MOVING, purpose)
            before = dict(self.positions)
            longest = max(plan.duration for plan in plans.values() if plan is not None)
            self.positions |= self.link.move(moves, longest + MOVE_SLACK_S)
            self.enter(State.SETTLING, "arrived")
            self._say_moved(plans, before)
        reached = self.here()
        moved = int(np.sum(np.abs(goal - start) > STILL)) if moves else 0
        self.event("placed", purpose=purpose, asked=goal, reached=reached, std=self.here_std(), moved=moved,
                   movable=sum(array.elements for array in self.transmitters if array.rail is not None))  # fmt: skip
        return moved

    def _say_moved(self, plans: Mapping[str | None, Any], before: Mapping[str, Position]) -> None:
        for stage, plan in plans.items():
            if stage is None or plan is None:
                continue
            profile = self.testbed.stage_profile(stage)
            after = self.positions[stage]
            for axis, asked in plan.move.targets.items():
                if abs(after.axes[axis] - asked) > profile.arrival.tolerance:
                    near = f"{asked * 1e3:.3f} +- {profile.arrival.tolerance * 1e3:.3f} mm"
                    raise DeviceError("not-arrived", f"axis {axis} did not arrive", where=stage, found=f"{after.axes[axis] * 1e3:.3f} mm",
                                      allowed=near, fix="look at the rail, then home it")  # fmt: skip
                self.event("moved", stage=stage, axis=axis, from_=before[stage].axes[axis], asked=asked, reached=after.axes[axis],
                           std=after.std[axis], peak_speed=plan.peak_speed, settle=profile.arrival.settle, closest=plan.closest)  # fmt: skip

    # -- the end -------------------------------------------------------------------------------------------------------------------------

    def rest(self, why: str) -> tuple[bool, bool]:
        """Mute and brake everything, without waiting long for anybody; whether all said they are silent, and at rest."""
        try:
            silent = self.link.stop(why)
        except Exception as error:  # the leases do the rest; the end of a run must be written whatever happens
            self.run.log(f"{why}: {error}")
            return False, False
        if self._on_air is not None and not silent:
            self.event("muted", nodes=list(self.link.nodes), version=self._on_air)
            self._on_air = None
        if silent:
            self.run.log(f"{why}: no answer from {', '.join(silent)}, which their leases silence")
        return not silent, not silent and self._stands(why)

    def _stands(self, why: str) -> bool:
        """Whether every stage says that it stands still, given the time to brake."""
        try:
            for _ in range(round(BRAKE_S / LOOK_S)):
                if not any(position.moving for position in self.link.where([stage.name for stage in self.testbed.stage]).values()):
                    return True
                self.clock.sleep(LOOK_S)
        except Exception as error:
            self.run.log(f"{why}: {error}")
        return False
