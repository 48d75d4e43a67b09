"""An emulated stage: `hil.device.Stage` on top of the world. All axes of one stage move as one synchronous straight line.

The stage knows its count of steps and says so. Where the carriages really are (`Journey.at`) belongs to the world.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hil.clock import Instant
from hil.device import DeviceError, Move, Position
from sim_backend import rail, seeds
from sim_backend.motion import Carriage, Journey, Ramp
from sim_backend.settings import Emulated

if TYPE_CHECKING:
    from sim_backend.world import World

SLICE_S = 0.02  # how often a waiting move looks whether it was halted
STEPS_PER_TURN = 3200  # of a motor with 200 full steps and 16 microsteps each: the period of a belt's or screw's error
RING_HZ = (15.0, 25.0)
PULL_OFF = 0.5e-3  # metres by which a position is approached from one side, and a switch is left again; more than any play
LOOKS = 64  # at a move, to see how close carriages come


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis. travel, start: metres; speed m/s, acceleration m/s^2: what it can do; step, width of its carriage: metres."""

    travel: tuple[float, float]
    start: float
    speed: float
    acceleration: float
    step: float
    width: float = 0.0

    @classmethod
    def parse(cls, item: Mapping[str, Any]) -> Axis:
        step = 1e-3 / float(item["steps_per_mm"])
        travel = tuple(1e-3 * float(v) for v in item["travel_mm"])
        start = step * round(1e-3 * float(item.get("start_mm", item["travel_mm"][0])) / step)
        return cls(
            travel, start, 1e-3 * float(item["speed_mm_s"]), 1e-3 * float(item["acceleration_mm_s2"]), step,  # type: ignore[arg-type]
            1e-3 * float(item.get("carriage_mm", 0.0)),
        )  # fmt: skip

    def on_step(self, position: float) -> float:
        """The nearest position of the step counter, metres."""
        return self.step * round(position / self.step)


def journey(item: Mapping[str, Any], emulated: Emulated) -> Journey:
    """The carriages of one stage at their start, with the errors that severity and seed give them."""
    made, axes = emulated.stage, {name: Axis.parse(axis) for name, axis in item["axes"].items()}
    carriages = {}
    for name, axis in axes.items():
        draw = seeds.generator(emulated.seed, item["name"], name, "carriage")
        lead_phase, bend_phase, ring = 2 * math.pi * draw.uniform(), 2 * math.pi * draw.uniform(), draw.uniform(*RING_HZ)
        carriages[name] = Carriage(
            scale_error=made.scale_error, lead_error=made.lead_error, lead=STEPS_PER_TURN * axis.step, lead_phase=lead_phase,
            backlash=made.backlash, overshoot=made.overshoot, acceleration=axis.acceleration, frequency=ring,
            settle=0.12 if made.settle is None else made.settle,
            straightness=made.straightness, bend=axis.travel[1] - axis.travel[0], bend_phase=bend_phase,
        )  # fmt: skip
    lost = {name: switch_error(emulated, emulated.seed, item["name"], name, 0) for name in axes}
    return Journey({name: axis.start for name, axis in axes.items()}, carriages=carriages, lost=lost)


def neighbours(radios: Iterable[Mapping[str, Any]], item: Mapping[str, Any]) -> tuple[tuple[rail.Rider, rail.Rider], ...]:
    """Pairs of carriages of a stage that stand side by side, as the antennas of the radios tell."""
    axes = {name: Axis.parse(axis) for name, axis in item["axes"].items()}
    start = {name: axis.start for name, axis in axes.items()}
    return rail.neighbours(radios, item["name"], start, {name: axis.width for name, axis in axes.items()})


def switch_error(emulated: Emulated, seed: int, stage: str, axis: str, homing: int) -> float:
    """Metres by which a homing set the count wrong; none on an ideal stage."""
    if emulated.severity == 0.0:
        return 0.0
    return emulated.stage.repeatability * float(seeds.generator(seed, stage, axis, "home", homing).standard_normal())


class Stage:
    """One controller with its axes.

    item: the stage in plain values, as `world.build` takes it. pairs: carriages that stand side by side. With `approach` "+" or "-" every
    position is reached moving that way, which takes the play up on one side.
    """

    def __init__(self, world: World, item: Mapping[str, Any], journey: Journey, pairs: Iterable[tuple[rail.Rider, rail.Rider]] = ()) -> None:
        self.name: str = item["name"]
        self._world, self._journey, self._pairs = world, journey, tuple(pairs)
        self._axes = {name: Axis.parse(axis) for name, axis in item["axes"].items()}
        self._settle = 1e-3 * float(item.get("settle_ms", 120.0))
        self._approach = {"+": 1.0, "-": -1.0, None: 0.0}[item.get("approach")]
        self._homed = bool(item.get("homed", True))
        self._homings = 0
        self._seen = world.clock.now()  # resets before this are dealt with
        self._lock = threading.RLock()
        self._busy = self._closed = False

    @property
    def axes(self) -> Mapping[str, tuple[float, float]]:
        return {name: axis.travel for name, axis in self._axes.items()}

    def where(self) -> Position:
        self._open()
        with self._lock:
            now = self._world.clock.now()
            self._resets(now)
            if not self._homed:
                return Position({}, {}, False, self._journey.moving(now), now)
            count = {name: self._axes[name].on_step(value) for name, value in self._journey.steps(now).items()}
            repeats = self._world.emulated.stage.repeatability
            std = {name: math.hypot(axis.step / math.sqrt(12.0), repeats) for name, axis in self._axes.items()}
            return Position(count, std, True, self._journey.moving(now), now)

    def move(self, move: Move, timeout_s: float) -> Position:
        self._ready()
        if not self._homed:
            raise self._error("not-homed", "does not know where it is", fix="home it first")
        goal = self._goal(move)
        return self._go(self._legs(goal), move.speed, move.acceleration, timeout_s)

    def halt(self) -> None:
        with self._lock:
            self._brake(self._world.clock.now())

    def home(self, timeout_s: float) -> Position:
        """To the switches, which stand where the axes started, off them again, and count from there."""
        self._ready()
        axes = self._axes.values()
        start = {name: axis.start for name, axis in self._axes.items()}
        speed, acceleration = min(axis.speed for axis in axes), min(axis.acceleration for axis in axes)
        with self._lock:
            self._homings += 1
            wrong = {name: switch_error(self._world.emulated, self._world.seed, self.name, name, self._homings) for name in start}
            now = self._world.clock.now()
            if fault := self._world.faults.active(self.name, "switch-bounce", now):
                wrong |= {name: 1e-3 * fault["error_mm"] for name in wrong if fault["axis"] in ("", name)}
            if not self._journey.moving(now):
                self._recount(now, {name: motor - wrong[name] for name, motor in self._journey.motors(now).items()})
        position = self._go([{name: at - PULL_OFF for name, at in start.items()}, start], speed, acceleration, timeout_s)
        self._homed = True
        return position if position.homed else self.where()

    def close(self) -> None:
        self.halt()
        self._closed = True

    # ------------------------------------------------------------------------------------------------------------------------------

    def _goal(self, move: Move) -> dict[str, float]:
        """Where every axis shall stand, on its step grid; refuses what cannot be before anything moves."""
        goal = self._journey.steps(self._world.clock.now())
        for name, target in move.targets.items():
            if name not in self._axes:
                raise self._error("unknown-axis", f"has no axis {name}", name, ", ".join(self._axes))
            least, most = self._axes[name].travel
            if not least <= target <= most:
                travel = f"{least * 1e3:.3f} .. {most * 1e3:.3f} mm"
                raise self._error(
                    "beyond-travel", f"axis {name} cannot go there", f"{target * 1e3:.3f} mm", travel, "stay within the travel"
                )
            goal[name] = self._axes[name].on_step(target)
        for key, value in (("speed", move.speed), ("acceleration", move.acceleration)):
            if not (math.isfinite(value) and value > 0.0):
                raise self._error("bad-move", f"{key} must be positive", f"{value:g}", "more than 0")
        return goal

    def _legs(self, goal: dict[str, float]) -> list[dict[str, float]]:
        """Straight to the goal, or past it first where an axis would come from the wrong side."""
        begin, side = self._journey.steps(self._world.clock.now()), self._approach
        if not any(side * (goal[name] - begin[name]) < 0.0 for name in goal):
            return [goal]
        past = dict(goal)  # all that move go past, so that neighbours keep their gaps at the turn
        for name, (least, most) in self.axes.items():
            if goal[name] != begin[name]:
                past[name] = min(max(goal[name] - side * PULL_OFF, least), most)
        return [past, goal]

    def _go(self, legs: Sequence[dict[str, float]], speed: float, acceleration: float, timeout_s: float) -> Position:
        with self._lock:
            begun = self._world.clock.now()
            if self._busy or self._journey.moving(begun):
                raise self._error("busy", "is still moving", fix="wait, or halt it")
            ramps = self._ramps(begun, legs, speed, acceleration)
            needed = ramps[-1].end.since(begun) + self._settle
            if needed > timeout_s:
                raise self._error(
                    "too-slow", "cannot arrive in time", f"{needed:.3f} s needed", f"{timeout_s:g} s", "wait longer, or move faster"
                )
            slowness = 2.0 if self._world.faults.active(self.name, "half-speed", begun) else 1.0
            for ramp in self._ramps(begun, legs, speed / slowness, acceleration / slowness**2):
                self._add(ramp)
                if not math.isinf(self._journey.ramps[-1].brake):
                    break  # an alarm on the way
            last = self._journey.ramps[-1]
            self._busy = True
        try:
            self._wait(begun, last, timeout_s)
        finally:
            self._busy = False
        return self.where()

    def _ramps(self, at: Instant, legs: Sequence[dict[str, float]], speed: float, acceleration: float) -> list[Ramp]:
        begin, ramps = self._journey.steps(at), []
        for goal in legs:
            ramps.append(self._ramp(at, begin, goal, speed, acceleration))
            at, begin = ramps[-1].end, goal
        return ramps

    def _ramp(self, now: Instant, begin: dict[str, float], goal: dict[str, float], speed: float, acceleration: float) -> Ramp:
        """Speed and acceleration are those of the axis that travels furthest, lowered until every axis can follow."""
        way = {name: abs(goal[name] - begin[name]) for name in goal}
        length = max(way.values())
        for name, metres in way.items():
            if metres > 0.0:
                speed = min(speed, self._axes[name].speed * length / metres)
                acceleration = min(acceleration, self._axes[name].acceleration * length / metres)
        return Ramp(now, begin, goal, length, speed, acceleration)

    def _add(self, ramp: Ramp) -> None:
        """Send the carriages on their way, with the faults of that time and the collisions that come of it."""
        faults, stalls = self._world.faults, {}
        for name in self._axes:
            way = abs(ramp.goal[name] - ramp.begin[name])
            for fault in faults.within(self.name, "lost-steps", ramp.start, ramp.end):
                if fault["axis"] in ("", name) and way > 0.0:
                    stalls[name] = max(0.0, 1.0 - fault["steps"] * self._axes[name].step / way)
            if any(fault["axis"] in ("", name) for fault in faults.within(self.name, "stuck-axis", ramp.start, ramp.end)):
                stalls[name] = 0.0
        shaken = faults.within(self.name, "overshoot-x5", ramp.start, ramp.end)
        ramp = replace(ramp, stalls=stalls, ringing=shaken[0]["times"] if shaken else 1.0)
        self._journey.add(ramp)
        motors = self._journey.motors(ramp.start)
        lost = {name: motor - ramp.begin[name] for name, motor in motors.items()}
        ramp, meetings = rail.with_collisions(self._pairs, ramp, lost)
        if meetings:
            self._journey.add(ramp)
        for meeting in meetings:
            faults.note(ramp.when(meeting.share), self.name, "collision", axes=meeting.axes, gap=meeting.gap)
        self._look(ramp)
        for kind in ("alarm", "controller-reset"):
            for fault in faults.begun(self.name, kind, ramp.start, ramp.end):
                self._brake(fault.begins)

    def _look(self, ramp: Ramp) -> None:
        """Log how far carriages leave their travel or come closer than their width, all along a move and its ringing."""
        whole = self._journey.still(ramp).since(ramp.start)
        closest: dict[tuple[str, str], tuple[float, Instant]] = {}
        furthest: dict[str, tuple[float, Instant]] = {}
        for look in range(LOOKS + 1):
            at = ramp.start.after(whole * look / LOOKS)
            real = self._journey.at(at)
            for a, b in self._pairs:
                room = b.local(real[b.axis]) - a.local(real[a.axis]) - (a.width + b.width) / 2.0
                closest[a.axis, b.axis] = min(closest.get((a.axis, b.axis), (math.inf, at)), (room, at))
            for name, axis in self._axes.items():
                beyond = max(axis.travel[0] - real[name], real[name] - axis.travel[1])
                furthest[name] = max(furthest.get(name, (-math.inf, at)), (beyond, at))
        for axes, (room, at) in closest.items():
            if room < 0.0:
                self._world.faults.note(at, self.name, "too-close", axes=axes, by=-room)
        for name, (beyond, at) in furthest.items():
            if beyond > PULL_OFF:
                self._world.faults.note(at, self.name, "beyond-travel", axis=name, by=beyond)

    def _brake(self, at: Instant) -> None:
        ramp = self._journey.in_force(at)
        if ramp is not None and at < ramp.end and math.isinf(ramp.brake):
            self._journey.add(replace(ramp, brake=max(0.0, at.since(ramp.start))))
            for what in ("collision", "too-close", "beyond-travel"):
                self._world.faults.retract(self.name, what, self._journey.still(self._journey.ramps[-1]))

    def _recount(self, at: Instant, count: Mapping[str, float]) -> None:
        """Set the count without a motion."""
        shift = {name: old - count[name] for name, old in self._journey.steps(at).items()}
        self._journey.add(Ramp(at, dict(count), dict(count), 0.0, 1.0, 1.0, shift=shift))

    def _wait(self, begun: Instant, last: Ramp, timeout_s: float) -> None:
        clock, faults = self._world.clock, self._world.faults
        while True:
            with self._lock:
                present = self._journey.in_force(last.start) or last
            left = present.end.since(clock.now())
            if left <= 0.0:
                break
            if clock.now().since(begun) >= timeout_s:
                self.halt()
                raise self._error("timeout", "did not arrive", f"still moving after {timeout_s:g} s", fix="look where it stands")
            clock.sleep(min(left, SLICE_S))
        if not math.isinf(present.brake):
            now = clock.now()
            self._resets(now)
            if faults.begun(self.name, "controller-reset", begun, now):
                raise self._error("reset", "started anew on the way", fix="home it")
            if faults.begun(self.name, "alarm", begun, now):
                raise self._error("alarm", "stopped in an alarm", "ALARM:1", fix="clear it, and look where it stands")
            raise self._error("halted", "was halted on the way", fix="look where it stands before moving on")
        clock.sleep(self._settle)

    def _resets(self, now: Instant) -> None:
        """What the controller forgot since it was last asked."""
        for fault in self._world.faults.begun(self.name, "count-reset", self._seen, now):
            ends = [ramp.end for ramp in self._journey.ramps[-1:]]  # a count that runs is set when it stands
            self._recount(max([fault.begins, *ends]), {name: axis.start for name, axis in self._axes.items()})
        if self._world.faults.begun(self.name, "controller-reset", self._seen, now):
            self._homed = False
        self._seen = now

    def _ready(self) -> None:
        self._open()
        with self._lock:
            now = self._world.clock.now()
            self._resets(now)
        if self._world.faults.active(self.name, "alarm", now):
            raise self._error("alarm", "is in an alarm", "ALARM:1", fix="clear it")

    def _open(self) -> None:
        if self._closed:
            raise self._error("closed", "is closed", fix="open it again")

    def _error(self, id: str, what: str, found: str = "", allowed: str = "", fix: str = "") -> DeviceError:
        return DeviceError(id, what, where=self.name, found=found, allowed=allowed, fix=fix)
