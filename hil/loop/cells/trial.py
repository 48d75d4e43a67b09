"""A trial of several cells: rounds of sounding, designing, pushing and measuring, together while the phases between them are trusted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.adversary import Verdict
from hil.adversary import cells as adversary
from hil.estimate import coherence
from hil.knowledge import Design, Knowledge
from hil.loop.cells import measuring
from hil.loop.cells.hearing import understand
from hil.loop.cells.measuring import Measured
from hil.loop.cells.sensing import AngleFix
from hil.loop.cells.stations import Stations
from hil.loop.course import Course, say_decided, say_judged, user_row
from hil.loop.measuring import ECHO_S, broken
from hil.loop.sounding import Sounding
from hil.loop.states import State
from hil.loop.trial import residual
from hil.systems.multicell.band import Band
from hil.units import from_db, to_db

MEMBERS = 256  # of every block's sets that the adversary draws before it searches
IN_FORCE_S = 1.5  # from the sounding a design rests on to the end of its measuring: designing, loading, a capture


@dataclass(frozen=True, slots=True, eq=False)
class Round:
    """One design that was pushed and measured. Decibels of the worst user; None where there is none."""

    number: int
    designer: str
    design: Design
    measured_design: Measured
    verdict: Verdict
    unit: str = "dB"

    @property
    def promised(self) -> float | None:
        return self.design.promised

    @property
    def predicted(self) -> float | None:
        return self.design.predicted

    @property
    def measured(self) -> float:
        return self.measured_design.sinr

    @property
    def bound(self) -> float | None:
        return self.design.bound

    @property
    def kept(self) -> bool:
        return not broken(self.design, self.measured_design)


@dataclass(eq=False)
class CellsTrial(Course):
    """A trial with base stations that stand still: a user's promise, a target's angle, and who may help whom."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.stations = Stations.of(self.lab)
        self.sounding = _UsersListen(self.lab, self.stations.speakers)
        self.band = band(self.stations)
        self._fixes: tuple[AngleFix | None, ...] = (None,) * len(self.stations.each)
        self._moving: list[NDArray[np.float64]] = []  # power of what moves in every link, of each sounding so far
        self._phases = coherence.Phases(len(self.stations.each))
        self._knowledge = 0

    # -- before the first round ------------------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Devices, sounding frames, levels, noise."""
        self.lab.open_devices()
        self.lab.enter(State.SOUNDING, "devices opened")
        self.sounding.prepare()
        self.sounding.level(again=len(self.done))

    def recall(self) -> None:
        """The same: what moves and where targets are is heard anew."""
        self.prepare()
        self.lab.enter(State.ESTIMATING, "levels set")

    # -- one round -------------------------------------------------------------------------------------------------------------------------

    def one(self, designer: Any) -> Round:
        """Sound, estimate, set, precoders, verdict, push, measure."""
        lab = self.lab
        design, verdict, knowledge = self._designed(designer)
        version = lab.next_version()
        self._say_designed(design, version, verdict, knowledge)
        on_air = measuring.push(self.stations, design, version, int(self._rng("payload").integers(1 << 31)))
        measured = measuring.measure(self.stations, self.sounding, design, on_air, self._rng("minimum"))
        self._fixes = tuple(new if new is not None and new.bearing.above_threshold else old for new, old in zip(measured.angles, self._fixes))
        return Round(lab.round, designer.name, design, measured, verdict)

    def decided(self, designer: Any) -> tuple[Design, Verdict]:
        """A design and its verdict."""
        design, verdict, _ = self._designed(designer)
        return design, verdict

    def settled(self, made: Round, number: int) -> None:
        """Nothing that the next round rests on."""

    def _designed(self, designer: Any) -> tuple[Design, Verdict, Knowledge]:
        lab = self.lab
        lab.enter(State.SOUNDING, "round begun")
        heard = self.sounding.hear(f"sound-{designer.name}", "sound")
        lab.enter(State.ESTIMATING, "heard")
        told = understand(self.stations, self.sounding, [self.sounding.understand(look, raw=False) for look in heard])
        lab.clock.charge("estimate")
        knowledge, drift, ready = self._know(told)
        lab.enter(State.DESIGNING, "channels known")
        chosen = self._in_phase(designer, ready, drift)
        design = replace(chosen(replace(self.band, rng=self._rng("design"), positions=lab.here()), knowledge), designer=designer.name)
        lab.link.progress()
        lab.clock.charge("design")
        self.band.check(design)
        return design, self._judge(design, knowledge), knowledge

    def _judge(self, design: Design, knowledge: Knowledge) -> Verdict:
        """The adversary's word on every block, as one."""
        band, each = self.band, []
        rng = self._rng("adversary")
        promised = None if design.promised is None else float(to_db(band.without_residual(float(from_db(design.promised)))))
        for block, problem in enumerate(band.problems(knowledge, design.mode)):
            each.append(adversary.verdict(
                design.precoders[:, block], problem.channel, problem.radius, problem.noise, problem.cells, design.mode, promised, rng,
                members=MEMBERS,
            ))  # fmt: skip
        worst = to_db(band.with_residual(from_db(np.array([one.worst_each for one in each]).T)))
        return Verdict(
            float(worst.min()), worst, max(one.shortfall_db for one in each), sum(one.members for one in each), all(one.passed for one in each)
        )  # fmt: skip

    def _say_designed(self, design: Design, version: int, verdict: Verdict, knowledge: Knowledge) -> None:
        lab = self.lab
        assert knowledge.channel is not None and knowledge.radius is not None and knowledge.reflections is not None
        seen = knowledge.reflections
        extras = {"version": version, "radius": knowledge.radius, "channel": knowledge.channel.value, "noise": knowledge.noise.value,
                  "worst_each": verdict.worst_each, "angle": seen.angle, "angle_std": seen.angle_std, "gain": seen.gain}  # fmt: skip
        file, _ = lab.run.design(lab.round, design.designer, design, extras)
        say_decided(lab, design, version, "precoders", file)
        say_judged(lab, design, version, verdict)

    def _rng(self, purpose: str) -> np.random.Generator:
        """Of this seed, round, designer and purpose: a resumed run draws what an uninterrupted one would have."""
        lab = self.lab
        return np.random.default_rng([lab.seed, lab.round, *(lab.designer or "").encode(), *purpose.encode()])

    # -- record ----------------------------------------------------------------------------------------------------------------------------

    def rows(self, made: Round, took: float) -> None:
        """A line for every user; a cell's target beside each of its users."""
        lab, measured, design = self.lab, made.measured_design, made.design
        rows = []
        for u, user in enumerate(lab.users):
            cell = int(self.stations.cells[u])
            fix, promise = measured.angles[cell], design.sensing_std
            rows.append(user_row(made, u, user, took) | {
                "moved": 0, "movable": 0, "mode": design.mode, "symbol_errors": measured.quality[u].symbol_errors.errors,
                "symbols": measured.quality[u].symbol_errors.of, "target": self.stations.each[cell].cell,
                "angle_error_deg": None if fix is None or fix.error is None else float(np.degrees(fix.error)),
                "angle_std_deg": None if fix is None else float(np.degrees(fix.bearing.azimuth.std[0])),
                "angle_crlb_deg": None if fix is None else float(np.degrees(np.sqrt(fix.bearing.ideal))),
                "angle_promised_deg": None if promise is None else float(np.degrees(promise[cell])),
                "angle_trusted": None if fix is None else int(fix.bearing.above_threshold),
            })  # fmt: skip
        lab.run.results(rows)


class _UsersListen(Sounding):
    """Base stations speak, users listen: what a base station hears of itself is looked at while it measures."""

    def listening(self, look: int) -> list[str]:
        """The users, to every look."""
        return list(self.lab.user_radio.values())


def band(stations: Stations) -> Band:
    """The design problem of this bench: places of elements, caps, tones, cells, what is asked."""
    lab, scenario = stations.lab, stations.lab.scenario
    first = stations.each[0]
    return Band(
        stations.cells, lab.numerology.block_of_tone, np.array([np.full(one.transmit.elements, one.transmit.element_power) for one in stations.each]),
        stations.wavelengths(first.transmit), stations.wavelengths(first.receive), int(ECHO_S / lab.numerology.symbol_time_s),
        float(from_db(scenario.design.asked_db)), residual(lab), stations.together, rng=np.random.default_rng([lab.seed, 19]),
    )  # fmt: skip
