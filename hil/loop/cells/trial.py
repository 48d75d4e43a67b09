"""A trial of several cells: rounds of sounding, designing, pushing and measuring, together while the phases between them are trusted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from hil.adversary import Verdict
from hil.clock import Instant
from hil.errors import Infeasible, InputError
from hil.estimate import stillness
from hil.estimate.coherence import Drift, Look, coherence
from hil.knowledge import Design, Knowledge
from hil.loop.cells import carrier, chains, measuring, sensing, tones
from hil.loop.cells.hearing import Heard, understand
from hil.loop.cells.sensing import AngleFix
from hil.loop.cells.stations import Stations
from hil.loop.course import Course, Round, say_decided, say_judged, user_row
from hil.loop.sounding import Sounding
from hil.loop.states import State
from hil.loop.trial import residual
from hil.uncertainty import ball_around, ball_radius
from hil.units import from_db

IN_FORCE_S = 1.5  # from the sounding a design rests on to the end of its measuring, at least: designing, loading, a capture
DRIFT = Drift(rate_std=0.005, diffusion=1e-4, spread=2.0)  # of the phase between stations on one reference, before the first look
MOST_TURNED = 0.2  # rad rms between stations beyond which an error is no small one beside a channel
REMEMBERED = 12  # looks from which the drift is told


@dataclass(eq=False)
class CellsTrial(Course):
    """A trial with base stations that stand still: a user's promise, a target's angle, and who may help whom."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.stations = Stations.of(self.lab)
        self.sounding = _UsersListen(self.lab, self.stations.speakers)
        told = float(from_db(self.lab.scenario.design.asked_db)), residual(self.lab), np.random.default_rng([self.lab.seed, 19])
        self.single = self.lab.scenario.design.waveform == "single-carrier"
        if self.single and not self.stations.together:
            raise InputError("no-trigger", "one carrier for all is sent by base stations that share reference and start", key="design.waveform",
                             found="no [[shared]] in testbed.toml that joins their radios", fix='add one, or waveform = "ofdm"')  # fmt: skip
        self.asked: Any = carrier.carrier_of(self.stations, *told) if self.single else tones.band(self.stations, *told)
        self._fixes: tuple[AngleFix | None, ...] = (None,) * len(self.stations.each)
        self._moving: list[NDArray[np.float64]] = []  # power of what moves in every link, of each sounding so far
        self._looks: list[Look] = []  # what tells how the phase between stations drifts: they stand still, one place for all rounds
        self._chains: chains.Learnt | None = None
        self._opened: Instant | None = None  # when the first sounding had been understood
        self._in_force = IN_FORCE_S  # seconds, as long as it took so far
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
        on_air = self._on_air(design, knowledge, version)
        measuring.push(self.stations, on_air)
        measured = measuring.measure(self.stations, design, on_air, self._chains, self._rng("minimum"))
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
        looks = [self.sounding.understand(look, raw=False) for look in heard]
        told = understand(self.stations, self.sounding, looks)
        if self._chains is None:
            self._chains = chains.learn(self.stations, looks[0])
            self.sounding.mutual = False
        lab.clock.charge("estimate")
        self._remember(told)
        sounded = lab.clock.now()
        chosen, phases = self._in_phase(designer, told)
        knowledge = self._know(told, phases)
        lab.enter(State.DESIGNING, "channels known")
        if self.single:
            carrier.require_flat(self.stations, self.asked, told)
            self.asked = self.asked.at(self._rng("payload"))
        problem = replace(self.asked, rng=self._rng("design"), positions=lab.here())
        try:
            design = chosen(problem, knowledge)
        except Infeasible as error:
            if not getattr(chosen, "coherent", False):
                raise
            why = "together base stations cannot promise what is asked"
            chosen = self._apart(chosen, why, error.found, "sound more often, or mend the reference")
            knowledge = self._know(told, np.zeros(len(phases)))
            design = chosen(problem, knowledge)
        design = replace(design, designer=designer.name)
        lab.link.progress()
        lab.clock.charge("design")
        self._in_force = max(self._in_force, lab.clock.now().since(sounded) + IN_FORCE_S)
        self.asked.check(design)
        if self.single:
            return design, carrier.judge(self.asked, design, knowledge, self._rng("adversary")), knowledge
        return design, tones.judge(self.asked, design, knowledge, self._rng("adversary")), knowledge

    def _on_air(self, design: Design, knowledge: Knowledge, version: int) -> measuring.OnAir:
        if self.single:
            return carrier.OnCarrier.of(self.stations, self.sounding, design, self.asked, knowledge, version)
        return tones.OnTones.of(self.stations, self.sounding, design, version, int(self._rng("payload").integers(1 << 31)))

    def _remember(self, heard: Heard) -> None:
        """What later rounds learn from this sounding: what moves, and how base stations turn against each other."""
        self._moving.append(heard.moving)
        if self.stations.together and heard.channel.epoch is not None:
            began = self.lab.clock.now().since(self._opened) if self._opened else 0.0
            self._opened = self._opened or self.lab.clock.now()
            pairs = zip(heard.looks, heard.variance, heard.times)
            self._looks += [Look(np.asarray(look), np.asarray(variance), began + float(at)) for look, variance, at in pairs]
            self._looks = self._looks[-REMEMBERED:]

    def _in_phase(self, designer: Any, heard: Heard) -> tuple[Any, NDArray[np.float64]]:
        """The designer, or what designs in its place when stations cannot be trusted to be in phase; (station,) phase errors, rad, that a
        design has to stand, none where no phase between stations is used."""
        lab, still = self.lab, np.zeros(len(self.stations.each))
        if not getattr(designer, "coherent", False):
            return designer, still
        if not self.stations.together:
            return self._apart(designer, "base stations share no reference and start", "no [[shared]] in testbed.toml that joins them all",
                               "one reference and one trigger for all, and a [[shared]] that says so"), still  # fmt: skip
        found = coherence([self._looks], DRIFT)
        phases = found.phase_stds(self._in_force, turned=False)
        said = found.rates
        lab.event("estimated", what="phase between stations", of=said.of, value=said.value, unit=said.unit, std=said.std, bound_std=said.bound_std,
                  above_threshold=found.above_threshold, assumes=[*said.assumptions, f"{phases.max():.3g} rad after {self._in_force:.2g} s"],
                  from_=[], residual_test=None)  # fmt: skip
        if found.above_threshold and phases.max() < MOST_TURNED:
            return designer, phases
        return self._apart(designer, "the phase between base stations is not kept until a design has been measured", f"{phases.max():.3g} rad",
                           "sound more often, or mend the reference"), still  # fmt: skip

    def _apart(self, designer: Any, why: str, found: str, fix: str) -> Any:
        instead = designer.apart()
        self.lab.event("warned", id="not-coherent", message=f"{why}: {designer.name} gives way to {instead.name}", device="", found=found,
                       allowed=f"{MOST_TURNED:g} rad, and a promise", fix=fix)  # fmt: skip
        return instead

    def _block_means(self, tones: NDArray[np.complex128]) -> NDArray[np.complex128]:
        """(station, user, block, antenna) of (station, user, tone, antenna)."""
        return self.lab.numerology.block_mean(tones, axis=2)

    def _radius(self, heard: Heard) -> NDArray[np.float64]:
        """(station, user, block) of the balls around the links, for their noise and for what moves."""
        covariance = np.asarray(heard.channel.covariance)
        joint = int(np.prod(covariance.shape[:3]))
        moving = stillness.off(np.mean(self._moving, axis=0), len(self._moving), heard.moving)
        return ball_around(covariance, np.sqrt(covariance.shape[-1]) * moving[..., None], self.lab.scenario.design.confidence, joint=joint)

    def _know(self, heard: Heard, phases: NDArray[np.float64]) -> Knowledge:
        """What a designer may see now; said as `bounded` events, a link each. phases: (station,) rad rms, added to the radii, not in squares."""
        lab, channel = self.lab, heard.channel
        self._knowledge += 1
        confidence = lab.scenario.design.confidence
        covariance = np.asarray(channel.covariance)
        joint = int(np.prod(covariance.shape[:3]))
        noisy, least = (ball_radius(part, confidence, joint=joint) for part in (covariance, channel.bound))
        still = self._radius(heard)
        sure = ndtri(0.5 + 0.5 * confidence ** (1.0 / max(len(phases) - 1, 1)))
        turned = np.linalg.norm(self._block_means(channel.value[..., 0, :]), axis=-1) * (sure * phases)[:, None, None]
        radius = still + turned
        for n, one in enumerate(self.stations.each):
            for u, user in enumerate(lab.users):
                parts = {"noise": noisy, "moving": still - noisy, "phase": turned}
                lab.event("bounded", what="channel", of=f"{one.cell}-{user}", shape="ball", size=radius[n, u], bound_size=least[n, u], unit="1",
                          confidence=confidence, age=lab.clock.now().since(channel.epoch),
                          parts={name: float(part[n, u].mean()) for name, part in parts.items()})  # fmt: skip
        noise = np.array([np.mean(self.sounding.noise[one.receive.radio].value[list(one.receive.channels)]) for one in self.stations.each])
        seen = sensing.reflections(self.stations, noise, self._fixes, self._chains, lab.clock.now().after(self._in_force))
        return Knowledge(self._knowledge, confidence, self.sounding.level_per_tone(), lab.here(), channel, radius, reflections=seen)

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
    """Base stations speak, users listen, and as long as `mutual` the base stations to each other: of itself each hears while it measures."""

    mutual = True

    def listening(self, look: int) -> list[str]:
        """The users, to every look; everybody to the first that tells of the base stations' chains."""
        return self.receivers if look == 0 and self.mutual else list(self.lab.user_radio.values())
