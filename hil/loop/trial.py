"""A trial with antennas on rails: explore, then rounds of moving, sounding, designing, pushing and measuring."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil import adversary
from hil.clock import Instant
from hil.estimate import stillness
from hil.estimate.chains import ChainGains
from hil.estimate.stillness import Looks
from hil.knowledge import Design, Estimate, Knowledge
from hil.loop import measuring
from hil.loop.course import Course, Round, say_decided, say_judged, user_row
from hil.loop.exploring import Explored, array_chains, explore, fit_paths, learn, say_map
from hil.loop.lab import STILL, Lab
from hil.loop.sounding import Sounding, sounded_knowledge
from hil.loop.states import State
from hil.systems.maxmin.problem import Problem, Rail
from hil.uncertainty import ball_around, ball_radius

WORTH_DB = 0.05  # a move must promise this much more than the last round did where the elements stand


@dataclass(eq=False)
class Trial(Course):
    """A trial with movable elements: explore along the rails, then design positions and precoders round after round."""

    def __post_init__(self) -> None:
        super().__post_init__()
        lab = self.lab
        self.sounding = Sounding(lab)
        self.problem = maxmin_problem(lab)
        self.explored: Explored | None = None
        self.chains: dict[str, ChainGains] = {}  # array -> gains of its elements' chains, where anything is known of them
        self._standing: float | None = None  # promise of the last round where the elements stand now, decibels
        self._knowledge = 0
        self._fix: tuple[Estimate, Instant] | None = None
        self._paths: dict[Any, Any] = {}
        self._best: tuple[float, NDArray[np.float64]] | None = None  # the largest promise so far, and where
        self._expected: float | None = None  # promise on predicted channels of the positions last moved to
        self._optimism = 0.0  # by how much it was higher than what could be promised there once sounded: the best of many guesses flatters
        self._searched: dict[Any, Any] | None = None  # the paths that positions were last searched on

    # -- before the first round ------------------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Devices, levels, the visits along the rails and the paths they tell."""
        self.set_up()
        self.explored = explore(self.lab, self.sounding)
        self._fit()

    def recall(self) -> None:
        """Devices and levels anew; visits and paths from the recorded captures."""
        lab, before = self.lab, self.before
        assert before is not None
        self.set_up()
        lab.enter(State.ESTIMATING, "levels set")
        self.explored = before.explored(lab, self.sounding)
        self._fit(tell=False)
        for here, links in before.learned(lab, self.sounding):
            self.explored, self._paths = learn(lab, self.explored, self._paths, here, links, tell=False)

    def _fit(self, *, tell: bool = True) -> None:
        """Paths of every link, and what they tell of the chains."""
        assert self.explored is not None
        self._paths = fit_paths(self.lab, self.explored, tell=tell)
        self.chains = array_chains(self.lab, self.explored, self._paths, tell=tell)
        gains = [self.chains[array.name].balanced for array in self.lab.transmitters]
        self.problem = replace(self.problem, gains=np.array(gains))

    def set_up(self) -> None:
        """Devices opened and compared, sounding frames loaded, receive gains set, noise heard."""
        self.lab.open_devices()
        self.lab.enter(State.SOUNDING, "devices opened")
        self.sounding.prepare()
        self.sounding.level(again=len(self.done))

    def settled(self, made: Round, number: int) -> None:
        """What the next search for positions must beat."""
        self._standing = made.promised if number > 0 else None
        if made.promised is not None and (self._best is None or made.promised > self._best[0]):
            self._best = (made.promised, np.array(made.design.positions))
        expected, self._expected = self._expected, None
        if number > 0 and made.moved and made.promised is not None and expected is not None:
            self._optimism = max(expected - made.promised, 0.0)

    # -- one round -------------------------------------------------------------------------------------------------------------------------

    def one(self, designer: Any) -> Round:
        """Positions, move, sound, estimate, set, precoders, verdict, push, measure."""
        lab = self.lab
        moved, knowledge, design, verdict, channels = self._designed(designer)
        version = lab.next_version()
        self._say_designed(design, version, verdict, knowledge)
        frames = measuring.push(lab, design, version, self._payload_seed())
        measured = measuring.measure(lab, self.sounding, design, version, frames, channels, self._prior(), self.chains, self._rng("minimum"))
        if measured.fix is not None and measured.fix.above_threshold and measured.fix.estimate.epoch is not None:
            self._fix = (measured.fix.estimate, measured.fix.estimate.epoch)
        return Round(lab.round, designer.name, design, measured, verdict, moved)

    def _designed(self, designer: Any) -> tuple[int, Knowledge, Design, adversary.Verdict, dict[str, dict[str, Any]]]:
        """Up to the verdict: elements moved, what was known, the design, its judgement, and the channels at every receiver."""
        lab = self.lab
        goal = self._goal(designer)
        moved = lab.move(goal, "design")
        lab.enter(State.SOUNDING, "settled" if moved else "positions kept")
        heard = self.sounding.hear(f"sound-{designer.name}", "sound")
        lab.enter(State.ESTIMATING, "heard")
        looks = [self.sounding.understand(look, raw=False) for look in heard]
        links = self.sounding.links(looks)
        knowledge = self.know(sounded_knowledge(lab, looks, links), self._moving(links))
        self._map_again(links)
        if moved and (lab.round > 0 or not self.trusted) and self.explored is not None:
            self.explored, self._paths = learn(lab, self.explored, self._paths, lab.here(), links)
        lab.clock.charge("estimate")
        lab.enter(State.DESIGNING, "channels known")
        design = self._design(designer, self.problem.at(lab.here()), knowledge)
        return moved, knowledge, design, self._judge(design, knowledge), looks[0]

    def decided(self, designer: Any) -> tuple[Design, adversary.Verdict]:
        """A design and its verdict."""
        _, _, design, verdict, _ = self._designed(designer)
        return design, verdict

    def _goal(self, designer: Any) -> NDArray[np.float64]:
        """Where this designer wants to stand: its own layout, or what it designs on predicted channels; else where we are."""
        lab = self.lab
        layout = designer.positions(self.problem) if hasattr(designer, "positions") else None
        if layout is not None:
            return np.asarray(layout, dtype=float)
        if self._standing is not None and self._searched is self._paths:
            return lab.here()  # nothing was learnt since the last search: the fast loop, precoders only
        self._searched = self._paths
        if not self.trusted:
            lab.event("warned", id="paths-untrusted", device="", fix="more visits, a quieter room or more power",
                      message="a path fit does not predict its own visits: no position is designed on it, the best one tried is kept")  # fmt: skip
            return self._best[1] if self._best is not None else self.problem.spread
        lab.enter(State.DESIGNING, "where to go")
        knowledge = self.know(None)
        design = self._design(designer, self.problem, knowledge)
        file, _ = lab.run.design(lab.round, designer.name, design, step="positions")
        say_decided(lab, design, None, "positions", file)
        if self._standing is not None and design.promised is not None:
            worth = max(WORTH_DB, lab.scenario.rounds.stop_change_db)
            if design.promised - self._optimism < self._standing + worth:
                return lab.here()
        self._expected = design.promised
        return np.where(np.abs(design.positions - lab.here()) > STILL, design.positions, lab.here())

    def _design(self, designer: Any, problem: Problem, knowledge: Knowledge) -> Design:
        lab = self.lab
        design = designer(replace(problem, rng=self._rng("design")), knowledge)
        lab.link.progress()
        lab.clock.charge("design")
        stays = np.max(np.abs(design.positions - lab.here())) <= STILL  # where a stage says we are is no layout to be judged
        (problem.at(design.positions) if stays else problem).check(design)
        return replace(design, designer=designer.name)

    def _judge(self, design: Design, knowledge: Knowledge) -> adversary.Verdict:
        lab = self.lab
        assert knowledge.channel is not None and knowledge.radius is not None
        return adversary.verdict(
            design.precoders, knowledge.channel.value[..., 0, :], knowledge.radius, knowledge.noise.value, lab.numerology.block_of_tone,
            self.problem.serving, design.promised, self._rng("adversary"), residual=self.problem.residual,
        )  # fmt: skip

    def _say_designed(self, design: Design, version: int, verdict: adversary.Verdict, knowledge: Knowledge) -> None:
        lab = self.lab
        assert knowledge.channel is not None and knowledge.radius is not None
        extras = {"version": version, "radius": knowledge.radius, "channel": knowledge.channel.value, "noise": knowledge.noise.value,
                  "worst_each": verdict.worst_each}  # fmt: skip
        file, _ = lab.run.design(lab.round, design.designer, design, extras)
        say_decided(lab, design, version, "precoders", file)
        say_judged(lab, design, version, verdict)

    def _rng(self, purpose: str) -> np.random.Generator:
        """Of this seed, round, designer and purpose: a resumed run draws what an uninterrupted one would have."""
        lab = self.lab
        return np.random.default_rng([lab.seed, lab.round, *(lab.designer or "").encode(), *purpose.encode()])

    def _payload_seed(self) -> int:
        """Of this round's payload; the same at every depth."""
        return int(self._rng("payload").integers(1 << 31))

    @property
    def trusted(self) -> bool:
        """Every link has a path fit that predicts what it was not told."""
        return bool(self._paths) and all(fit.above_threshold for fit in self._paths.values())

    # -- knowledge -------------------------------------------------------------------------------------------------------------------------

    def _moving(self, links: dict[tuple[int, int], Looks]) -> NDArray[np.float64]:
        """(transmitter, user) by how much what moves may be off when the design is in force, from the exploring and this round's looks."""
        now = np.array([[links[t, u].moving for u in range(len(self.lab.users))] for t in range(len(self.lab.transmitters))])
        return stillness.off(*((now, 1) if self.explored is None else (self.explored.moving, self.explored.positions.shape[1])), now)

    def know(self, channel: Estimate | None, moving: NDArray[np.float64] | None = None) -> Knowledge:
        """What a designer may see now. The ball around a channel holds its estimate's error and what moves, as its echo was there with
        one phase when the channel was sounded and will be with another when the design is on the air. moving: by how much it may be off."""
        lab = self.lab
        self._knowledge += 1
        confidence = lab.scenario.design.confidence
        radius = None
        if moving is None and self.explored is not None:
            moving = stillness.off(self.explored.moving, self.explored.positions.shape[1])
        if channel is not None:
            covariance = np.asarray(channel.covariance)
            joint = int(np.prod(covariance.shape[:3]))
            radius = noisy = ball_radius(covariance, confidence, joint=joint)
            least = ball_radius(channel.bound, confidence, joint=joint)
            if moving is not None:
                radius = ball_around(covariance, np.sqrt(covariance.shape[-1]) * moving[..., None], confidence, joint=joint)
            for t, array in enumerate(lab.transmitters):
                for u, user in enumerate(lab.users):
                    parts = {"noise": float(noisy[t, u].mean()), "moving": float((radius - noisy)[t, u].mean())}
                    lab.event("bounded", what="channel", of=f"{array.name}-{user}", shape="ball", size=radius[t, u], bound_size=least[t, u], unit="1",
                              confidence=confidence, age=lab.clock.now().since(channel.epoch) if channel.epoch else 0.0, parts=parts)  # fmt: skip
        return Knowledge(
            self._knowledge, confidence, self.sounding.level_per_tone(), lab.here(), channel, radius, dict(self._paths), self._target_now(),
            moving=moving,
        )  # fmt: skip

    def _prior(self) -> Estimate | None:
        """What the scenario says of the target."""
        target = self.lab.scenario.target
        if target is None:
            return None
        covariance = np.diag([target.position_std_m**2] * 2 + [0.05**2])
        return Estimate("target position", "target", np.array(target.position_m, dtype=float), covariance, "m", assumptions=("scenario",))

    def _target_now(self) -> Estimate | None:
        """Prior and last fix together, the fix aged by the speed the target may have."""
        prior = self._prior()
        if prior is None or self._fix is None:
            return prior
        fix, epoch = self._fix
        target = self.lab.scenario.target
        assert target is not None
        walked = target.speed_m_s * max(self.lab.clock.now().since(epoch), 0.0)
        informations = [np.linalg.inv(prior.covariance), np.linalg.inv(fix.covariance + np.eye(3) * walked**2)]
        covariance = np.linalg.inv(sum(informations))
        value = covariance @ sum(information @ estimate.value for information, estimate in zip(informations, (prior, fix)))
        return replace(prior, value=value, covariance=covariance, assumptions=("scenario", f"fix {walked:.1f} m ago"))

    def _map_again(self, links: dict[tuple[int, int], Looks]) -> None:
        """The re-sounded channels beside what the path fits had predicted there."""
        lab = self.lab
        centre = int(np.argmin(np.abs(lab.numerology.frequencies_hz)))
        here = lab.here()
        for (t, u), link in links.items():
            lab.event("estimated", what="channel", of=f"{lab.transmitters[t].name}-{lab.users[u]}", value=float(np.mean(np.abs(link.mean) ** 2)),
                      unit="power gain", std=float(np.mean(link.variance)), bound_std=None, above_threshold=True, assumes=["static but for a part"],
                      from_=[], residual_test=None)  # fmt: skip
            error = np.broadcast_to(link.variance + link.moving, here[t].shape)
            if self.explored is not None:
                say_map(lab, self.explored, self._paths[t, u], t, u, (here[t], link.mean[:, centre], error))

    # -- record ----------------------------------------------------------------------------------------------------------------------------

    def rows(self, made: Round, took: float) -> None:
        """A line for every user."""
        lab, measured = self.lab, made.measured_design
        fix = measured.fix
        bound = None if fix is None or fix.estimate.bound is None else float(np.sqrt(np.trace(fix.estimate.bound[:2, :2])))
        movable = sum(array.elements for array in lab.transmitters if array.rail is not None)
        lab.run.results([
            user_row(made, u, user, took)
            | {"target_error_m": measured.target_error, "target_crlb_m": bound, "moved": made.moved, "movable": movable}
            for u, user in enumerate(lab.users)
        ])  # fmt: skip


def maxmin_problem(lab: Lab) -> Problem:
    """The design problem of this bench: rails, caps, tones, who serves whom, the floor towards the target."""
    scenario, numerology = lab.scenario, lab.numerology
    rails = tuple(
        Rail(tuple(array.origin), tuple(array.axis), array.travel, array.spacing, array.elements) for array in lab.transmitters
    )  # fmt: skip
    return Problem(
        wavelength=scenario.wavelength, frequencies_hz=numerology.frequencies_hz, block_of_tone=numerology.block_of_tone, arrays=rails,
        serving=tuple(range(len(lab.users))), element_power_w=np.array([np.full(a.elements, a.element_power) for a in lab.transmitters]),
        floor_w=scenario.target.floor if scenario.target is not None else 0.0, rng=np.random.default_rng([lab.seed, 17]),
        steps=scenario.design.steps, starts=scenario.design.starts, residual=residual(lab),
    )  # fmt: skip


def residual(lab: Lab) -> float:
    """Error power that the parts of a link add over all it carries, linear: what the profiles of the worst of either end say."""
    sides = [array.radio for array in lab.transmitters], list(lab.user_radio.values())
    return sum(max(10.0 ** (lab.testbed.radio_profile(radio).evm_db / 10.0) for radio in side) for side in sides)
