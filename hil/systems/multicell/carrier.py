"""Multi-cell designs of a single carrier: one narrow-band problem, a payload that is part of it, and a waveform as the answer.

Block-level schemes send W S, symbol-level ones their X: either way a design is what every antenna sends, symbol by symbol. The payload's
rows are orthogonal over its length, so that what W promises of powers holds for W S to the last digit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from hil.errors import InputError
from hil.knowledge import Design, Knowledge
from hil.systems.multicell import margin, worst_case
from hil.systems.multicell.band import Residual, Uneven, over_tones, seen_by
from hil.systems.multicell.problem import Mode, Precoding, Problem


def payload(users: int, length: int, rng: np.random.Generator) -> NDArray[np.complex128]:
    """(user, symbol) QPSK, rows orthogonal: Walsh functions under one random scrambling. InputError unless length is a power of two."""
    if length < users or length & (length - 1):
        raise InputError("payload", "a payload's length is a power of two, one symbol per user at least", found=str(length),
                         allowed=f"{users} or more")  # fmt: skip
    walsh = np.ones((1, 1))
    while len(walsh) < length:
        walsh = np.block([[walsh, walsh], [walsh, -walsh]])
    rows = walsh[rng.choice(length, users, replace=False)]
    return rows * np.exp(0.5j * np.pi * (rng.integers(4, size=length) + 0.5))


@dataclass(frozen=True, eq=False, kw_only=True)
class Carrier(Residual):
    """What is asked of a multi-cell designer on one carrier. Frozen.

    cells: (user,) its base station. tones: (tone,) numbers of the sounded tones; shape: (tone,) amplitude of a pulse behind its matched filter,
    0 outside; blocks: (tone,) block of each. wider: symbol rate over tone spacing, whole: noise of a symbol over that of a tone.
    element_power_w: (base station, antenna) watts, mean over the payload. transmit_place, receive_place: (antenna,) wavelengths.
    payload: (user, symbol) unit amplitude; turns: how often it is sent while targets are looked at. coherent: whether base stations share
    reference and start.
    """

    cells: NDArray[np.int64]
    tones: NDArray[np.int64]
    shape: NDArray[np.float64]
    blocks: NDArray[np.int64]
    wider: int
    element_power_w: NDArray[np.float64]
    transmit_place: NDArray[np.float64]
    receive_place: NDArray[np.float64]
    payload: NDArray[np.complex128]
    turns: int
    coherent: bool = False
    positions: NDArray[np.float64] | None = None
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    @property
    def inside(self) -> NDArray[np.bool_]:
        """(tone,) which sounded tones the carrier occupies."""
        return self.shape > 0.0

    def folded(self, channel: NDArray[np.complex128]) -> NDArray[np.complex128]:
        """(base station, user, tone within half a symbol rate, antenna): what symbols see, tones a symbol rate apart added up.

        channel: (base station, user, sounded tone, antenna).
        """
        middle = np.flatnonzero(np.abs(self.tones) <= self.wider // 2)
        total = np.zeros((*channel.shape[:2], middle.size, channel.shape[3]), complex)
        for place, tone in enumerate(self.tones[middle]):
            alike = np.flatnonzero(((self.tones - tone) % self.wider == 0) & self.inside)
            total[:, :, place] = np.einsum("nuti,t->nui", channel[:, :, alike], self.shape[alike]) / self.shape[alike].sum()
        return total

    def problems(self, knowledge: Knowledge, mode: Mode) -> Iterator[tuple[Problem, Uneven]]:
        """The one problem there is, watts, and what the channel has besides being flat."""
        channel, radius, seen = knowledge.channel, knowledge.radius, knowledge.reflections
        if channel is None or radius is None or seen is None:
            raise InputError("knowledge", "a multi-cell design needs channels, their sets and what is known of the targets")
        power = self.element_power_w.sum(1)
        mean, uneven = over_tones(self.folded(channel.value[..., 0, :]), mode)
        problem = Problem(
            mean, self.cells, radius[..., np.unique(self.blocks[self.inside])].max(-1), knowledge.noise.value * self.wider, power, seen.angle,
            seen.gain, seen.noise * self.wider, self.transmit_place, self.receive_place, self.payload.shape[1],
            element_power=self.element_power_w, gains=seen.sent, payload=self.payload,
            rng=self.rng,
        )  # fmt: skip
        yield seen_by(seen, problem), uneven

    def judged(self, knowledge: Knowledge, made: Design) -> Iterator[Problem]:
        """The problem as a design has made it: interference between its own symbols is noise."""
        for problem, uneven in self.problems(knowledge, made.mode):  # type: ignore[arg-type]
            yield replace(problem, noise=problem.noise + uneven.power(made.precoders[:, 0], problem.length))

    def joined(self, made: Sequence[Precoding], knowledge: Knowledge) -> tuple[NDArray[np.complex128], NDArray[np.float64], NDArray[np.float64]]:
        """X (base station, 1, antenna, symbol), (user, 1) linear SINR or squared margin over noise as channels are known, (target,) t."""
        (found,) = made
        assert found.waveform is not None and found.t is not None
        problem, uneven = next(self.problems(knowledge, found.mode))
        between = uneven.power(found.waveform, self.payload.shape[1] if found.kind == "slp" else 1)
        known = replace(problem.nominal(), noise=problem.noise + between)
        if found.kind == "slp":
            return found.waveform[:, None], margin.sinr(known, found.waveform, found.mode)[:, None], found.t * self.turns
        nominal = worst_case.sinr(known, found.mode, found.waveform)
        return (found.waveform @ self.payload)[:, None], nominal[:, None], found.t * self.turns

    def check(self, made: Design) -> None:
        """InputError when a design is malformed or exceeds a cap."""
        x = np.asarray(made.precoders)
        shape = (len(self.element_power_w), 1, self.element_power_w.shape[1], self.payload.shape[1])
        if x.shape != shape or not np.all(np.isfinite(x)):
            raise InputError("design-shape", "waveform (base station, 1, antenna, symbol), finite", where=made.designer, found=str(x.shape),
                             allowed=str(shape))  # fmt: skip
        spent = np.mean(np.abs(x[:, 0]) ** 2, axis=-1)
        if np.max(spent / self.element_power_w) > 1.0 + 1e-9:
            a, n = np.unravel_index(int(np.argmax(spent / self.element_power_w)), spent.shape)
            raise InputError("power-cap", f"base station {a} antenna {n} exceeds its cap", where=made.designer, found=f"{spent[a, n]:.6e} W",
                             allowed=f"{self.element_power_w[a, n]:.6e} W")  # fmt: skip

    def at(self, rng: np.random.Generator) -> Carrier:
        """With another payload of the same length."""
        return replace(self, payload=payload(len(self.cells), self.payload.shape[1], rng))
