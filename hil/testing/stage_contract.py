"""What every Stage must do, in the words of `hil.device.Stage`. Plain asserts; no test runner needed."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

from hil.device import Move, Position, Stage
from hil.testing.radio_contract import refused

TIMEOUT_S = 30.0


def stage_contract(make: Callable[[], Stage], *, speed: float = 0.05, acceleration: float = 0.5, wall_clock: bool = False) -> None:
    """Put the stage that `make()` opens through the contract; AssertionError says what it breaks. `make` is called once per rule.

    Moves every axis a tenth of its travel at `speed` m/s: clear the rail. wall_clock: the stage takes real time and may be halted from
    another thread, so that is tried as well.
    """
    rules = RULES + ((a_halt_brakes_on_the_way,) if wall_clock else ())
    for rule in rules:
        stage = make()
        try:
            if not stage.where().homed:
                stage.home(120.0)
            rule(stage, speed, acceleration)
        except AssertionError as error:
            raise AssertionError(f"{getattr(stage, 'name', stage)}: {rule.__name__.replace('_', ' ')}: {error}") from error
        finally:
            stage.close()


def _inward(stage: Stage, fraction: float = 0.1) -> dict[str, float]:
    """Targets: every axis the same distance, all in the direction in which all have most room, so that neighbours keep their gaps."""
    here = stage.where().axes
    up = min(most - here[axis] for axis, (_, most) in stage.axes.items())
    down = min(here[axis] - least for axis, (least, _) in stage.axes.items())
    shortest = min(most - least for least, most in stage.axes.values())
    step = fraction * shortest
    shift = min(step, up) if up >= down else -min(step, down)
    return {axis: here[axis] + shift for axis in stage.axes}


def _near(position: Position, targets: dict[str, float]) -> None:
    for axis, target in targets.items():
        allowed = 1e-3 + 5.0 * position.std[axis]
        assert abs(position.axes[axis] - target) <= allowed, f"axis {axis} at {position.axes[axis]}, asked {target}"


def is_a_stage(stage: Stage, speed: float, acceleration: float) -> None:
    assert isinstance(stage, Stage), "methods of hil.device.Stage are missing"
    assert stage.axes, "a stage has at least one axis"
    for axis, (least, most) in stage.axes.items():
        assert math.isfinite(least) and math.isfinite(most) and least < most, f"travel of {axis} must be (least, most)"


def a_homed_stage_knows_where_it_is(stage: Stage, speed: float, acceleration: float) -> None:
    position = stage.where()
    assert position.homed and not position.moving
    assert set(position.axes) == set(stage.axes) == set(position.std)
    for axis, (least, most) in stage.axes.items():
        assert least - 1e-3 <= position.axes[axis] <= most + 1e-3, f"{axis} reads {position.axes[axis]} outside its travel"
        assert position.std[axis] > 0.0, "no read-back is exact"


def a_move_returns_when_arrived(stage: Stage, speed: float, acceleration: float) -> None:
    targets = _inward(stage)
    begun = stage.where()
    position = stage.move(Move(targets, speed, acceleration), TIMEOUT_S)
    _near(position, targets)
    assert not position.moving, "arrived and settled"
    _near(stage.where(), targets)
    if begun.at is not None and position.at is not None:
        distance = max(abs(targets[axis] - begun.axes[axis]) for axis in targets)
        assert position.at.since(begun.at) >= 0.9 * distance / speed, "a move takes its time"


def axes_that_are_not_named_stay(stage: Stage, speed: float, acceleration: float) -> None:
    targets = _inward(stage, 0.01)
    alone = next(iter(stage.axes))
    before = stage.where().axes
    position = stage.move(Move({alone: targets[alone]}, speed, acceleration), TIMEOUT_S)
    for other in stage.axes:
        if other != alone:
            assert abs(position.axes[other] - before[other]) < 1e-3, f"axis {other} was not asked to move"


def a_move_beyond_limits_moves_nothing(stage: Stage, speed: float, acceleration: float) -> None:
    before = dict(stage.where().axes)
    axis, (least, most) = next(iter(stage.axes.items()))
    for target in (most + 0.01, least - 0.01, math.nan, math.inf):
        with refused():
            stage.move(Move({axis: target}, speed, acceleration), TIMEOUT_S)
    with refused():
        stage.move(Move({"no such axis": 0.0}, speed, acceleration), TIMEOUT_S)
    for bad in (0.0, -1.0, math.nan):
        with refused():
            stage.move(Move({axis: before[axis]}, bad, acceleration), TIMEOUT_S)
        with refused():
            stage.move(Move({axis: before[axis]}, speed, bad), TIMEOUT_S)
    _near(stage.where(), before)


def a_halted_stage_moves_again(stage: Stage, speed: float, acceleration: float) -> None:
    stage.halt()
    stage.halt()
    targets = _inward(stage, 0.02)
    _near(stage.move(Move(targets, speed, acceleration), TIMEOUT_S), targets)


def homing_reads_the_same_every_time(stage: Stage, speed: float, acceleration: float) -> None:
    first = stage.home(120.0)
    assert first.homed and not first.moving
    targets = _inward(stage, 0.02)
    stage.move(Move(targets, speed, acceleration), TIMEOUT_S)
    _near(stage.home(120.0), dict(first.axes))


def closing_is_final_and_may_be_repeated(stage: Stage, speed: float, acceleration: float) -> None:
    targets = _inward(stage, 0.02)
    stage.close()
    stage.close()
    stage.halt()
    with refused():
        stage.move(Move(targets, speed, acceleration), TIMEOUT_S)


def a_halt_brakes_on_the_way(stage: Stage, speed: float, acceleration: float) -> None:
    start = stage.where().axes
    targets = _inward(stage, 0.5)
    failed: list[Exception] = []
    slow = max(abs(targets[axis] - start[axis]) for axis in targets) / 3.0  # takes at least three seconds

    def go() -> None:
        try:
            stage.move(Move(targets, slow, acceleration), TIMEOUT_S)
        except Exception as error:
            failed.append(error)

    mover = threading.Thread(target=go)
    mover.start()
    time.sleep(0.3)
    halted = time.monotonic()
    stage.halt()
    mover.join(2.0)
    assert not mover.is_alive() and time.monotonic() - halted < 1.0, "a halt ends the move"
    assert failed, "a move that was halted has not arrived, and says so"
    position = stage.where()
    assert not position.moving
    for axis, target in targets.items():
        assert abs(position.axes[axis] - target) > 0.2 * abs(target - start[axis]), "it stopped on the way"


RULES = (
    is_a_stage, a_homed_stage_knows_where_it_is, a_move_returns_when_arrived, axes_that_are_not_named_stay,
    a_move_beyond_limits_moves_nothing,
    a_halted_stage_moves_again, homing_reads_the_same_every_time, closing_is_final_and_may_be_repeated,
)  # fmt: skip
