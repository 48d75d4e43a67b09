"""Multi-cell designs of a whole band: one narrow-band problem for every block of tones, made of what is known, and its answers as one design.

Blocks share the power of an element as they share tones. A block's channel is the mean over its tones, once the phase that a receiver
equalises away is taken out of each; what single tones have besides carries interference, which a design knows once it is made: it is
designed for as noise of a size that is then held against what it came to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hil.errors import Infeasible, InputError
from hil.knowledge import Design, Knowledge, Reflections
from hil.systems.multicell.problem import Mode, Precoding, Problem
from hil.systems.multicell.solve import Scheme, rejudged, schemes
from hil.units import to_db

SURE_PHASE = np.radians(20.0)  # below this standard deviation the phases of echoes are used as they are
AGAIN, ROOM = 4, 1.2  # designs for ever more interference between tones, and how much more than the last one had
SURE_ANGLE = 0.2  # of the width of a beam: below this an angle is used as it is


class Asked(Protocol):
    """What a designer is asked on a whole channel, of many tones or of one carrier, and how it becomes narrow-band problems and back."""

    asked: float
    positions: NDArray[np.float64] | None
    rng: np.random.Generator

    def problems(self, knowledge: Knowledge, mode: Mode) -> Iterator[tuple[Problem, Uneven]]: ...

    def joined(self, made: Sequence[Precoding], knowledge: Knowledge) -> tuple[NDArray[np.complex128], NDArray[np.float64], NDArray[np.float64]]: ...

    def without_residual(self, sinr: float) -> float: ...

    def with_residual(self, sinr: NDArray[np.float64]) -> NDArray[np.float64]: ...


@dataclass(frozen=True, eq=False)
class Residual:
    """An SINR that is asked for, and the error power that the chains of both ends add over all that is received (EVM^2), linear."""

    asked: float
    residual: float

    def __post_init__(self) -> None:
        if not 0.0 < self.asked < 1.0 / max(self.residual, 1e-30):
            limit = "no limit" if self.residual <= 0.0 else f"{to_db(1.0 / self.residual):.1f} dB, the chains' own error"
            raise InputError("asked", "this SINR cannot be asked for", key="design.asked_db", found=f"{to_db(self.asked):.1f} dB",
                             allowed=f"below {limit}")  # fmt: skip

    def without_residual(self, sinr: float) -> float:
        """The linear SINR to design for: what the chains add then leaves `sinr`."""
        return sinr * (1.0 + self.residual) / (1.0 - self.residual * sinr)

    def with_residual(self, sinr: NDArray[np.float64]) -> NDArray[np.float64]:
        """Linear SINRs with the chains' own error in them."""
        return sinr / (1.0 + self.residual * (1.0 + sinr))


@dataclass(frozen=True, eq=False, kw_only=True)
class Band(Residual):
    """What is asked of a multi-cell designer. Frozen.

    cells: (user,) its base station. block_of_tone: (tone,). element_power_w: (base station, antenna) watts, caps on sum over tones of |w|^2.
    transmit_place, receive_place: (antenna,) wavelengths along the arrays. length: OFDM symbols that a look at the targets takes. coherent: whether
    base stations share reference and start, so that multipoint can be thought of.
    """

    cells: NDArray[np.int64]
    block_of_tone: NDArray[np.int64]
    element_power_w: NDArray[np.float64]
    transmit_place: NDArray[np.float64]
    receive_place: NDArray[np.float64]
    length: int
    coherent: bool = False
    positions: NDArray[np.float64] | None = None
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def __post_init__(self) -> None:
        shape = (int(np.max(self.cells)) + 1, len(self.transmit_place))
        if self.element_power_w.shape != shape or not np.all(self.element_power_w > 0.0):
            raise InputError("power-cap", "one positive cap per (base station, antenna)", found=str(self.element_power_w.shape), allowed=str(shape))
        super().__post_init__()

    @property
    def stations(self) -> int:
        return self.element_power_w.shape[0]

    @property
    def antennas(self) -> int:
        return self.element_power_w.shape[1]

    @property
    def blocks(self) -> int:
        return int(self.block_of_tone.max()) + 1

    @cached_property
    def tones(self) -> NDArray[np.float64]:
        """(block,) tones in each block."""
        return np.bincount(self.block_of_tone, minlength=self.blocks).astype(float)

    def problems(self, knowledge: Knowledge, mode: Mode) -> Iterator[tuple[Problem, Uneven]]:
        """The narrow-band problem of every block for one mode, watts per tone, and what its tones have besides."""
        channel, radius = knowledge.channel, knowledge.radius
        if channel is None or radius is None or knowledge.reflections is None:
            raise InputError("knowledge", "a multi-cell design needs channels, their sets and what is known of the targets")
        tones = channel.value[..., 0, :]  # (base station, user, tone, antenna)
        share = self.element_power_w / len(self.block_of_tone)
        for block in range(self.blocks):
            mean, uneven = over_tones(tones[:, :, self.block_of_tone == block], mode)
            problem = Problem(
                mean, self.cells, radius[..., block], knowledge.noise.value, share.sum(1), knowledge.reflections.angle,
                knowledge.reflections.gain, knowledge.reflections.noise, self.transmit_place, self.receive_place, self.length,
                element_power=share, gains=knowledge.reflections.sent, rng=self.rng,
            )  # fmt: skip
            yield seen_by(knowledge.reflections, problem), uneven

    def judged(self, knowledge: Knowledge, made: Design) -> Iterator[Problem]:
        """The problem of every block as a design has made it: its own interference between tones is noise."""
        for block, (problem, uneven) in enumerate(self.problems(knowledge, made.mode)):  # type: ignore[arg-type]
            yield replace(problem, noise=problem.noise + uneven.power(made.precoders[:, block]))

    def predicted(self, knowledge: Knowledge, w: NDArray[np.complex128]) -> NDArray[np.float64]:
        """(user, block) SINR, linear, on the channels as they are known: mean signal over mean interference and noise of a block's tones.

        Without one reference base stations add up in power.
        """
        assert knowledge.channel is not None
        heard = np.einsum("nuta,ntas->nuts", knowledge.channel.value[..., 0, :], w[:, self.block_of_tone])
        power = np.abs(heard.sum(0)) ** 2 if self.coherent else np.sum(np.abs(heard) ** 2, 0)  # (user, tone, stream)
        total = np.add.reduceat(power, np.flatnonzero(np.diff(self.block_of_tone, prepend=-1)), axis=1) / self.tones[:, None]
        own = total[np.arange(len(self.cells)), :, np.arange(len(self.cells))]
        return own / (total.sum(-1) - own + knowledge.noise.value[:, None])

    def joined(self, made: Sequence[Precoding], knowledge: Knowledge) -> tuple[NDArray[np.complex128], NDArray[np.float64], NDArray[np.float64]]:
        """Precoders (base station, block, antenna, stream), (user, block) linear SINR on the channels as known, (target,) t of all tones."""
        w = np.stack([one.waveform for one in made], axis=1)
        return w, self.predicted(knowledge, w), np.sum([tones * one.t for tones, one in zip(self.tones, made)], axis=0)

    def check(self, made: Design) -> None:
        """InputError when a design is malformed or exceeds a cap."""
        w = np.asarray(made.precoders)
        shape = (self.stations, self.blocks, self.antennas, len(self.cells))
        if w.shape != shape or not np.all(np.isfinite(w)):
            raise InputError("design-shape", "precoders (base station, block, antenna, stream), finite", where=made.designer, found=str(w.shape),
                             allowed=str(shape))  # fmt: skip
        spent = np.einsum("b,abns->an", self.tones, np.abs(w) ** 2)
        if np.max(spent / self.element_power_w) > 1.0 + 1e-9:
            a, n = np.unravel_index(int(np.argmax(spent / self.element_power_w)), spent.shape)
            raise InputError("power-cap", f"base station {a} antenna {n} exceeds its cap", where=made.designer, found=f"{spent[a, n]:.6e} W",
                             allowed=f"{self.element_power_w[a, n]:.6e} W")  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Uneven:
    """What single tones of a channel have besides their mean. away: (base station, user, tone, antenna), or (1, user, tone, base station x
    antenna) where base stations send streams together."""

    away: NDArray[np.complex128]

    def power(self, waveform: NDArray[np.complex128], symbols: int = 1) -> NDArray[np.float64]:
        """(user,) mean over tones of what W (base station, antenna, stream), or X over its `symbols`, sends through it."""
        sent = waveform if len(self.away) == len(waveform) else waveform.reshape(1, -1, waveform.shape[-1])
        heard = np.einsum("nuti,nis->nuts", self.away, sent, optimize=True)
        return np.sum(np.abs(heard) ** 2, axis=(0, 2, 3)) / (self.away.shape[2] * symbols)

    def expected(self, power: NDArray[np.float64]) -> NDArray[np.float64]:
        """(user,) of waveforms that know nothing of the channel. power: (base station,)."""
        rows = np.mean(np.abs(self.away) ** 2, axis=2)  # (base station or all, user, antenna)
        if len(rows) != len(power):
            rows = np.moveaxis(rows[0].reshape(rows.shape[1], len(power), -1), 1, 0)
        return np.einsum("n,nui->u", power, rows) / rows.shape[2]


def over_tones(channel: NDArray[np.complex128], mode: Mode) -> tuple[NDArray[np.complex128], Uneven]:
    """Mean channel (base station, user, antenna) of tones, and what they have besides. channel: (base station, user, tone, antenna).

    Each tone's phase is free: one for all base stations that send a stream together, one for each where they do not.
    """
    stations, users, tones, antennas = channel.shape
    seen = channel if mode == "cbf" else np.moveaxis(channel, 0, 2).reshape(1, users, tones, stations * antennas)
    mean = seen[:, :, tones // 2]
    for _ in range(3):
        turn = np.sum(seen * mean.conj()[:, :, None], -1, keepdims=True)
        aligned = seen * np.exp(-1j * np.angle(turn))
        mean = aligned.mean(2)
    away = aligned - mean[:, :, None]
    return (mean if mode == "cbf" else np.moveaxis(mean.reshape(users, stations, antennas), 1, 0)), Uneven(away)


def seen_by(reflections: Reflections, problem: Problem) -> Problem:
    """The problem with every view of the targets that cannot be excluded: phases not known, angles not sure."""
    width = 1.0 / np.ptp(problem.transmit_place) if problem.antennas > 1 else np.inf
    if np.max(2.0 * reflections.angle_std) > SURE_ANGLE * width:
        problem = problem.angle_robust(reflections.angle_std)
    return problem.phase_robust() if np.max(reflections.phase_std) > SURE_PHASE else problem


@dataclass(frozen=True)
class Cellular:
    """A designer of the whole band: (band, knowledge) -> Design, one scheme on every block."""

    scheme: Scheme

    @property
    def name(self) -> str:
        return self.scheme.name

    @property
    def coherent(self) -> bool:
        """Whether base stations must be in phase for it."""
        return self.scheme.mode == "comp"

    def apart(self) -> Cellular:
        """What is designed when base stations are not in phase."""
        return Cellular(schemes[self.name.replace("comp", "cbf")])

    def __call__(self, problem: Asked, knowledge: Knowledge) -> Design:
        """Raises Infeasible, with what could be promised, when a block cannot have what is asked."""
        made: list[Precoding] = []
        for one, uneven in problem.problems(knowledge, self.scheme.mode):
            made.append(self._alone(problem, one, uneven, made[-1].waveform if made else None))
        w, nominal, t = problem.joined(made, knowledge)
        with np.errstate(divide="ignore"):
            worst = np.array([one.sinr for one in made]).T
            promised, predicted = (10.0 * np.log10(problem.with_residual(each)) for each in (worst, nominal))
        steps = sum(len(one.history) for one in made)
        return Design(
            w, np.array(problem.positions), promised=float(promised.min()), predicted=float(predicted.min()), promised_each=promised,
            predicted_each=predicted, designer=self.name, steps=steps, stopped=made[0].stopped, knowledge=knowledge.version, mode=self.scheme.mode,
            kind=self.scheme.kind, sensing_std=1.0 / np.sqrt(np.maximum(t, 1e-300)),
        )  # fmt: skip

    def _alone(self, problem: Asked, one: Problem, uneven: Uneven, near: NDArray[np.complex128] | None) -> Precoding:
        """One narrow-band design, with noise for what its tones have besides: expected first, then as much as designs have sent there.

        near: of the block before, to begin from.
        """
        asked, symbols = problem.without_residual(problem.asked), one.length if self.scheme.kind == "slp" else 1
        between = uneven.expected(one.power)
        for _ in range(AGAIN):
            found = self.scheme(replace(one, noise=one.noise + between), asked, problem.rng, near)
            if found.status == "infeasible" or found.waveform is None:
                raise self._infeasible(problem, found)
            sent = uneven.power(found.waveform, symbols)
            if np.all(sent <= between):
                break
            between, near = np.maximum(between, ROOM * sent), found.waveform
        return rejudged(replace(one, noise=one.noise + sent), found)

    def _infeasible(self, problem: Asked, found: Precoding) -> Infeasible:
        best = None if not found.achievable else float(to_db(problem.with_residual(np.array(found.achievable))))
        said = "nothing" if best is None else f"{best:.1f} dB"
        return Infeasible(
            f"no {self.scheme.mode.upper()} precoder promises every user {to_db(problem.asked):.1f} dB for all channels in the sets", achievable=best,
            found=f"at most {said}", fix="ask for less, or give more power, or sound longer",
        )  # fmt: skip


designers: dict[str, Callable[[], Cellular]] = {name: partial(Cellular, scheme) for name, scheme in schemes.items()}
